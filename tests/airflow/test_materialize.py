"""The operator that triggers the DAG of a remote that produces an asset."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, Asset, TaskDeferred

from astronomer_remote.api.waiting.target import WaitResult, WaitStatus
from astronomer_remote.exceptions import (
    Conflict,
    DagIsPaused,
    DagRunFailed,
    InvalidSettings,
    NotFound,
    NotSupported,
    WaitTimeout,
)
from astronomer_remote.operators import dag_run
from astronomer_remote.operators.asset import RemoteMaterializeAssetOperator
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import come_back, in_dag, local_task, resume, through_the_database, to_the_end

Start = Callable[..., FakeDeployment]

URI = "s3://shop/orders"


@pytest.fixture(params=["2.11.2", "3.1.8", "3.3.2"])
def shop(request: pytest.FixtureRequest, start: Start) -> FakeDeployment:
    """A remote with an asset that the DAG `load` produces."""
    return with_asset(start(request.param))


def with_asset(remote: FakeDeployment, **dag: Any) -> FakeDeployment:
    remote.add_dag("load", **dag)
    remote.add_dag("report")
    remote.add_asset(URI, name="orders", producers=["load"])
    remote.add_asset("s3://shop/both", producers=["report", "load"])
    remote.add_asset("s3://shop/none")
    return remote


def operator(**arguments: Any) -> RemoteMaterializeAssetOperator:
    given = {} if "asset" in arguments else {"uri": URI}
    made: RemoteMaterializeAssetOperator = in_dag(
        RemoteMaterializeAssetOperator, **{"poke_interval": 0.01, **given, **arguments}
    )
    return made


def test_the_dag_that_produces_the_asset_is_triggered(shop: FakeDeployment) -> None:
    task = local_task(operator(conf={"k": "v"}))
    returned = task.task.execute(task.context())
    (run,) = shop.runs("load")
    assert (run["run_id"], run["conf"]) == (returned, {"k": "v"})
    assert task.xcoms["trigger_run_id"] == returned
    assert returned in task.xcoms["remote_run_url"].replace("%2B", "+")
    assert task.xcoms["remote_run_state"] == "queued"
    assert [link.name for link in task.task.operator_extra_links] == ["Remote DAG run"]


@pytest.mark.parametrize(
    ("version", "path"),
    [
        ("2.4.3", "/api/v1/dags/load/dagRuns"),
        ("2.11.2", "/api/v1/dags/load/dagRuns"),
        ("3.0.6", "/api/v2/dags/load/dagRuns"),
        ("3.2.0", "/api/v2/dags/load/dagRuns"),
        ("3.3.2", "/api/v2/assets/1/materialize"),
    ],
)
def test_the_request_takes_the_run_id(start: Start, version: str, path: str) -> None:
    remote = with_asset(start(version))
    run_id = operator(trigger_run_id="mine").execute(local_task(operator()).context())
    assert run_id == "mine"
    posts = [request for request in remote.received if request.method == "POST" and request.path.startswith("/api/")]
    assert [(request.path, request.json()["dag_run_id"]) for request in posts] == [(path, "mine")]


@pytest.mark.parametrize("given", [{"asset": Asset(URI)}, {"asset": URI}, {"asset": "s3://shop/{{ params.greeting }}"}])
def test_an_asset_is_an_object_a_text_or_a_template(shop: FakeDeployment, given: dict[str, Any]) -> None:
    shop.add_asset("s3://shop/hello", producers=["load"])
    made = operator(**given)
    context = local_task(made).context()
    made.render_template_fields(context)
    made.execute(context)
    assert len(shop.runs("load")) == 1


@pytest.mark.parametrize("deferrable", [False, True])
def test_it_waits_for_the_run(shop: FakeDeployment, deferrable: bool) -> None:
    made = operator(wait_for_completion=True, deferrable=deferrable)
    task = local_task(made)
    returned = to_the_end(made, task.context())
    assert (returned["dag_id"], returned["state"]) == ("load", "success")
    assert task.xcoms["remote_run_state"] == "success"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_run_that_fails_is_reported(start: Start, deferrable: bool) -> None:
    with_asset(start(), ends="failed")
    made = operator(wait_for_completion=True, deferrable=deferrable)
    with pytest.raises(DagRunFailed, match="of DAG 'load' ended as failed"):
        to_the_end(made, local_task(made).context())


def test_a_deferred_task_comes_back_as_another_object(start: Start) -> None:
    with_asset(start())
    made = operator(wait_for_completion=True, deferrable=True)
    context = local_task(made).context()
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(context)
    assert resume(deferred.value, operator(wait_for_completion=True), context)["dag_id"] == "load"


def test_airflows_test_of_a_dag_comes_back_with_the_event_alone(start: Start) -> None:
    with_asset(start())
    made = operator(wait_for_completion=True, deferrable=True)
    context = local_task(made).context()
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(context)
    deferred.value.kwargs = {}
    assert resume(deferred.value, operator(wait_for_completion=True), context)["dag_id"] == "load"


def test_a_wait_that_takes_too_long_cancels_the_run(start: Start) -> None:
    remote = with_asset(start(), stays="running")
    made = operator(wait_for_completion=True, deferrable=True, wait_timeout=60)
    context = local_task(made).context()
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(context)
    over = WaitResult(WaitStatus.TIMEOUT, "still running").as_dict()
    with pytest.raises(WaitTimeout, match="DAG 'load' did not end within 60 s"):
        come_back(deferred.value, operator(wait_for_completion=True, wait_timeout=60), context, over)
    (run,) = remote.runs("load")
    assert run["state"] == "failed"


def test_a_kill_cancels_the_run(shop: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dag_run, "was_stopped_by_a_person", lambda ti: True)
    shop.add_dag("load", stays="running")
    made = operator()
    made.execute(local_task(made).context())
    made.on_kill()
    (run,) = shop.runs("load")
    assert run["state"] == "failed"


def test_a_retry_finds_the_run_of_the_try_before(shop: FakeDeployment) -> None:
    first = operator(retries=1).execute(local_task(operator(retries=1)).context())
    made = operator(retries=1)
    assert made.execute(local_task(made, try_number=2).context()) == first
    assert len(shop.runs("load")) == 1


def test_a_clear_triggers_another_run(shop: FakeDeployment) -> None:
    for number, most in ((1, 2), (2, 3)):
        made = operator(retries=2)
        made.execute(local_task(made, try_number=number, max_tries=most).context())
    assert len(shop.runs("load")) == 2


@pytest.mark.parametrize("status", [500, 503, 504, None])
def test_whatever_the_request_meets_there_is_one_run(shop: FakeDeployment, status: int | None, no_pauses: None) -> None:
    shop.disturb(status, method="POST", path="materialize" if shop.version == "3.3.2" else "dagRuns")
    made = operator()
    run_id = made.execute(local_task(made).context())
    assert [run["run_id"] for run in shop.runs("load")] == [run_id]


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("s3://shop/none", NotFound, "No DAG of the remote produces asset 's3://shop/none'"),
        ("s3://shop/both", Conflict, "Several DAGs of the remote produce asset 's3://shop/both': 'load', 'report'"),
        ("s3://shop/order", NotFound, "Similar ones are: 's3://shop/orders'"),
    ],
)
def test_an_asset_without_one_producer_is_an_error(
    shop: FakeDeployment, uri: str, error: type[Exception], message: str
) -> None:
    made = operator(uri=uri)
    with pytest.raises(error, match=message):
        made.execute(local_task(made).context())
    assert shop.runs("load") == []


@pytest.mark.parametrize("version", ["1.10.15", "2.3.4"])
def test_a_remote_that_cannot_fails_the_task(start: Start, version: str) -> None:
    start(version)
    made = operator()
    with pytest.raises(NotSupported):
        made.execute(local_task(made).context())


def test_other_parameters_are_about_the_dag_that_is_found(start: Start) -> None:
    remote = with_asset(start(), is_paused=True)
    made = operator(fail_when_dag_is_paused=True)
    with pytest.raises(DagIsPaused, match="load"):
        made.execute(local_task(made).context())
    made = operator(prevent_loops=True)
    made.execute(local_task(made).context())
    (run,) = remote.runs("load")
    assert [each["dag_id"] for each in run["conf"]["astronomer_remote_path"]] == ["load"]


def test_it_takes_an_asset_instead_of_a_dag() -> None:
    with pytest.raises(TypeError, match="trigger_dag_id"):
        operator(trigger_dag_id="load")
    with pytest.raises(InvalidSettings, match="asset"):
        in_dag(RemoteMaterializeAssetOperator)


def test_default_args_reach_the_parameters_it_shares(shop: FakeDeployment) -> None:
    habits = {"astronomer_conn_id": "other", "wait_for_completion": True, "uri": URI}
    with DAG("d", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None, default_args=habits) as dag:
        made = RemoteMaterializeAssetOperator(task_id="t")
    assert (made.astronomer_conn_id, made.wait_for_completion, made.uri) == ("other", True, URI)
    (restored,) = through_the_database(dag).tasks
    assert restored.template_fields[:2] == ["asset", "uri"]
