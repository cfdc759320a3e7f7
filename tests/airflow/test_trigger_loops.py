"""DAGs that trigger each other in a loop stop, if their tasks say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from astronomer_remote.exceptions import InvalidSettings, PermanentError
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.operators.trigger_loops import PATH_KEY, extended_path
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import in_dag, local_task

Start = Callable[..., FakeDeployment]


def trigger(conf: Any = None, *, local_conf: Any = None, conn_id: str = "astronomer_default", **arguments: Any) -> Any:
    """Run a task that triggers `there`, in a DAG run with a conf of its own."""
    made = in_dag(
        RemoteTriggerDagRunOperator,
        **{"trigger_dag_id": "there", "astronomer_conn_id": conn_id, "conf": conf, "prevent_loops": True, **arguments},
    )
    context = local_task(made).context()
    context["dag_run"].conf = local_conf
    return made.execute(context)


def only_conf(remote: FakeDeployment) -> Any:
    (run,) = remote.runs("there")
    return run["conf"]


@pytest.fixture
def there(start: Start) -> Iterator[FakeDeployment]:
    remote = start(path="/name/airflow")
    remote.add_dag("there")
    return remote  # type: ignore[return-value]


def step(remote: FakeDeployment, dag_id: str = "there") -> dict[str, str]:
    return {"deployment": remote.url.removeprefix("http://"), "dag_id": dag_id}


@pytest.mark.parametrize("conf", [{"day": 1}, '{"day": 1}'])
@pytest.mark.parametrize("local_conf", [None, {}, {"other": 2}])
def test_a_run_has_the_path_to_it_in_its_conf(there: FakeDeployment, conf: Any, local_conf: Any) -> None:
    trigger(conf, local_conf=local_conf)
    assert only_conf(there) == {"day": 1, PATH_KEY: [step(there)]}


def test_it_extends_the_path_of_the_local_run(there: FakeDeployment) -> None:
    before = [{"deployment": "a.example", "dag_id": "there"}, step(there, "another")]
    trigger(local_conf={PATH_KEY: before, "x": 1})
    assert only_conf(there) == {PATH_KEY: [*before, step(there)]}


def test_a_conf_that_was_passed_on_whole_is_no_loop(there: FakeDeployment) -> None:
    before = [{"deployment": "a.example", "dag_id": "here"}]
    trigger({"x": 1, PATH_KEY: [step(there)]}, local_conf={PATH_KEY: before})
    assert only_conf(there) == {"x": 1, PATH_KEY: [*before, step(there)]}


def test_nothing_is_added_by_default(there: FakeDeployment) -> None:
    trigger({"x": 1}, local_conf={PATH_KEY: [step(there)]}, prevent_loops=False)
    assert only_conf(there) == {"x": 1}


def test_a_loop_fails_before_any_request(there: FakeDeployment) -> None:
    with pytest.raises(
        PermanentError, match=r"Trigger loop: DAG 'there' at .*: there at .* → back at b\.example → there at"
    ):
        trigger(local_conf={PATH_KEY: [step(there), {"deployment": "b.example", "dag_id": "back"}]})
    assert there.requests == []


def test_two_deployments_that_trigger_each_other_stop(start: Start) -> None:
    deployments = {name: start(conn_id=name) for name in ("a", "b")}
    conf: Any = None
    triggered = []
    for name in ("b", "a", "b"):
        deployments[name].add_dag("there")
        if len(triggered) == 2:
            with pytest.raises(InvalidSettings, match="Break the loop"):
                trigger(local_conf=conf, conn_id=name)
        else:
            trigger(local_conf=conf, conn_id=name)
            conf = only_conf(deployments[name])
            triggered.append(name)
    assert [each["deployment"] for each in conf[PATH_KEY]] == [
        step(deployments[name])["deployment"] for name in ("b", "a")
    ]


@pytest.mark.parametrize("found", ["text", 1, {"a": "b"}, ["a"], None])
def test_anything_else_under_its_key_fails(there: FakeDeployment, found: Any) -> None:
    with pytest.raises(InvalidSettings, match="is not a list of objects"):
        trigger(local_conf={PATH_KEY: found})
    assert there.requests == []


@pytest.mark.parametrize("conf", ["[1]", "no json", 5])
def test_a_conf_that_is_no_object_fails(there: FakeDeployment, conf: Any) -> None:
    with pytest.raises(InvalidSettings, match="conf must be a JSON object"):
        trigger(conf)


@pytest.mark.parametrize("address", ["https://Airflow.Example.com/X/", "http://user@airflow.example.com/X"])
def test_a_deployment_is_the_same_however_its_url_is_written(address: str) -> None:
    (found,) = extended_path(None, address=address, dag_id="d")
    assert found == {"deployment": "airflow.example.com/X", "dag_id": "d"}
