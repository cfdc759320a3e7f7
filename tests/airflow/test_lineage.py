"""The OpenLineage identifiers of a local task in what it starts in the remote, by the real OpenLineage provider."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any
from uuid import UUID

import pytest
from airflow.providers.openlineage import conf as openlineage_conf
from airflow.providers.openlineage.plugins import macros

from astronomer_remote.operators import lineage
from astronomer_remote.operators.asset import RemoteAssetEventOperator
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import LocalRun, LocalTask, in_dag

Start = Callable[..., FakeDeployment]

URI = "s3://shop/orders"
ROOT = {
    "rootParentRunId": "01941f29-7c00-7087-a8c8-6a2f8f2e2a10",
    "rootParentJobName": "first",
    "rootParentJobNamespace": "elsewhere",
}


@dataclass
class RunWithLineage(LocalRun):
    """A local DAG run with what the OpenLineage provider reads of it."""

    conf: Any = None
    clear_number: int = 0


@dataclass
class TaskWithLineage(LocalTask):
    """A local task instance with what the OpenLineage provider reads of it."""

    @property
    def dag_run(self) -> LocalRun:
        return self.run

    @property
    def logical_date(self) -> Any:
        return self.run.logical_date

    def get_template_context(self) -> dict[str, Any]:
        return self.context()


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set options of the OpenLineage provider, which remembers each of them."""

    def set_options(**options: str) -> None:
        for name, value in options.items():
            monkeypatch.setenv(f"AIRFLOW__OPENLINEAGE__{name.upper()}", value)
        for each in vars(openlineage_conf).values():
            if hasattr(each, "cache_clear"):
                each.cache_clear()

    yield set_options
    monkeypatch.undo()
    set_options()


@pytest.fixture
def enabled(configured: Callable[..., None]) -> None:
    configured(transport='{"type": "console"}', namespace="here")


def task_of(operator: Any, *, conf: Any = None, **facts: Any) -> TaskWithLineage:
    return TaskWithLineage(operator, run=RunWithLineage(conf=conf), max_tries=operator.retries, **facts)


def triggered_conf(remote: FakeDeployment, *, conf_of_local_run: Any = None, **arguments: Any) -> Any:
    """Trigger a run. :return: the conf that the remote has of it."""
    operator = in_dag(RemoteTriggerDagRunOperator, trigger_dag_id="quick", **arguments)
    operator.execute(task_of(operator, conf=conf_of_local_run).context())
    (run,) = remote.runs("quick")
    return run["conf"]


@pytest.mark.usefixtures("enabled")
def test_a_run_gets_its_parent_and_root(any_remote: FakeDeployment) -> None:
    conf = triggered_conf(any_remote, conf={"k": "v"})
    assert conf.keys() == {"k", "openlineage"}
    found = conf["openlineage"]
    assert (found["parentJobNamespace"], found["parentJobName"]) == ("here", "local_dag.local_task")
    assert (found["rootParentJobNamespace"], found["rootParentJobName"]) == ("here", "local_dag")
    assert UUID(found["parentRunId"]) != UUID(found["rootParentRunId"])


@pytest.mark.usefixtures("enabled")
def test_the_root_is_that_of_the_local_run(remote: FakeDeployment) -> None:
    conf = triggered_conf(remote, conf_of_local_run={"openlineage": ROOT})
    assert {name: conf["openlineage"][name] for name in ROOT} == ROOT


def test_nothing_is_added_if_the_provider_is_not_configured(
    remote: FakeDeployment, configured: Callable[..., None]
) -> None:
    configured(transport="")
    assert triggered_conf(remote, conf={"k": "v"}) == {"k": "v"}


def test_nothing_is_added_if_the_provider_is_disabled(remote: FakeDeployment, configured: Callable[..., None]) -> None:
    configured(transport='{"type": "console"}', disabled="true")
    assert triggered_conf(remote, conf={"k": "v"}) == {"k": "v"}


@pytest.mark.usefixtures("enabled")
def test_nothing_is_added_if_the_operator_is_not_to(remote: FakeDeployment) -> None:
    assert triggered_conf(remote, conf={"k": "v"}, openlineage_inject_parent_info=False) == {"k": "v"}


@pytest.mark.usefixtures("enabled")
def test_nothing_is_added_by_a_provider_that_is_not_installed(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As Python itself marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.conf", None)
    assert triggered_conf(remote, conf={"k": "v"}) == {"k": "v"}


@pytest.mark.usefixtures("enabled")
def test_nothing_is_added_by_a_provider_that_is_too_old(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    version = metadata.version

    def older(name: str) -> str:
        return "2.7.0" if name == "apache-airflow-providers-openlineage" else version(name)

    monkeypatch.setattr(metadata, "version", older)
    with caplog.at_level(logging.INFO):
        assert triggered_conf(remote, conf={"k": "v"}) == {"k": "v"}
    assert "conf gets no OpenLineage parent" in caplog.text


@pytest.mark.usefixtures("enabled")
def test_an_error_of_the_provider_does_not_fail_the_task(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> str:
        raise RuntimeError("the provider broke")

    monkeypatch.setattr(macros, "lineage_run_id", fail)
    assert triggered_conf(remote, conf={"k": "v"}) == {"k": "v"}
    assert "the provider broke" in caplog.text


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize(
    "given",
    ["a text", {"parentRunId": "mine"}, {"rootParentJobName": "mine"}, {"rootParentJobNamespace": "mine", "x": 1}],
)
def test_what_the_conf_has_of_it_is_not_changed(remote: FakeDeployment, given: Any) -> None:
    assert triggered_conf(remote, conf={"openlineage": given}) == {"openlineage": given}


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("given", [{"tags": ["a"]}, {}, None])
def test_other_keys_of_it_are_kept(remote: FakeDeployment, given: Any) -> None:
    conf = triggered_conf(remote, conf={"openlineage": given})
    assert conf["openlineage"] == {**(given or {}), **conf["openlineage"]}
    assert conf["openlineage"]["parentJobName"] == "local_dag.local_task"


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("trigger_run_id", [None, "mine"])
def test_a_retry_finds_the_run_of_the_try_before(any_remote: FakeDeployment, trigger_run_id: str | None) -> None:
    if trigger_run_id and any_remote.version == "1.10.15":
        pytest.skip("A run id of one's own is recognized by the run's note.")
    operator = in_dag(RemoteTriggerDagRunOperator, trigger_dag_id="quick", trigger_run_id=trigger_run_id, retries=1)
    operator.execute(task_of(operator).context())
    (first,) = any_remote.runs("quick")
    again = in_dag(RemoteTriggerDagRunOperator, trigger_dag_id="quick", trigger_run_id=trigger_run_id, retries=1)
    task = task_of(again, try_number=2)
    again.execute(task.context())
    (found,) = any_remote.runs("quick")
    assert (found["run_id"], found["conf"]) == (first["run_id"], first["conf"])
    # The identifier of each try is another one.
    own = lineage.with_parent({}, task, "conf")["openlineage"]["parentRunId"]
    assert first["conf"]["openlineage"]["parentRunId"] != own


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_an_event_gets_its_parent_and_root(start: Start, version: str) -> None:
    remote = start(version)
    remote.add_asset(URI)
    operator = in_dag(RemoteAssetEventOperator, uri=URI, extra={"rows": 7}, retries=1)
    operator.execute(task_of(operator).context())
    again = in_dag(RemoteAssetEventOperator, uri=URI, extra={"rows": 7}, retries=1)
    again.execute(task_of(again, try_number=2).context())
    (event,) = remote.asset_events(URI)
    found = event["extra"]["openlineage"]
    assert (found["parentJobName"], found["parentJobNamespace"]) == ("local_dag.local_task", "here")
    assert UUID(found["parentRunId"])
    assert event["extra"]["rows"] == 7


@pytest.mark.usefixtures("enabled")
def test_an_event_gets_nothing_if_the_operator_is_not_to(start: Start) -> None:
    remote = start()
    remote.add_asset(URI)
    operator = in_dag(RemoteAssetEventOperator, uri=URI, openlineage_inject_parent_info=False)
    operator.execute(task_of(operator).context())
    (event,) = remote.asset_events(URI)
    assert "openlineage" not in event["extra"]


def test_no_dag_file_imports_the_provider_to_be_parsed() -> None:
    code = (
        "import sys, astronomer_remote.operators.dag_run, astronomer_remote.operators.asset;"
        "print([name for name in sys.modules if 'openlineage.client' in name or 'openlineage.plugins' in name])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
