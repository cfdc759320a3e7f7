"""The OpenLineage identifiers of a local task in what it starts in the remote, by the real OpenLineage provider."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from typing import Any
from uuid import UUID

import pytest
from airflow.providers.openlineage import conf as openlineage_conf
from airflow.providers.openlineage.extractors import ExtractorManager
from airflow.providers.openlineage.plugins import macros
from airflow.utils.state import TaskInstanceState
from openlineage.client.uuid import generate_static_uuid

from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.exceptions import DagRunFailed
from astronomer_remote.hooks.astronomer import AstronomerHook
from astronomer_remote.operators import lineage
from astronomer_remote.operators.asset import RemoteAssetEventOperator, RemoteMaterializeAssetOperator
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.asset import RemoteAssetSensor
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import LocalRun, LocalTask, in_dag, to_the_end

Start = Callable[..., FakeDeployment]
AddConnection = Callable[..., str]

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


PRODUCER = {
    "parentJobNamespace": "theirs",
    "parentJobName": "load.orders",
    "parentRunId": "01941f29-7c00-7087-a8c8-6a2f8f2e2a11",
}


SOURCE = {"source_dag_id": "load", "source_task_id": "orders"}


@pytest.fixture
def there(enabled: None, start: Start, add_connection: AddConnection) -> Start:
    """Start a fake deployment whose connection names its OpenLineage namespace."""

    def begin(version: str = "3.3.2", namespace: str | None = "there") -> FakeDeployment:
        remote = start(version)
        fields = remote.connection()
        extra = {**(fields.get("extra") or {}), **({"openlineage_namespace": namespace} if namespace else {})}
        add_connection(**{**fields, "extra": extra})
        remote.add_dag("quick", tasks=["hello"])
        remote.add_dag("bad", ends="failed")
        remote.add_asset(URI, producers=["quick"])
        return remote

    return begin


def dependencies_of(operator: Any) -> dict[str, list[tuple[str, str, str | None, str]]]:
    """What the OpenLineage provider finds about the remote when a task has ended, by direction."""
    found = (
        ExtractorManager()
        .extract_metadata(LocalRun(), operator, TaskInstanceState.SUCCESS, task_of(operator))
        .run_facets
    )
    facet = found.get("jobDependencies")
    return {
        direction: [
            (each.job.namespace, each.job.name, each.run.runId if each.run else None, each.dependency_type)
            for each in getattr(facet, direction)
        ]
        for direction in ("upstream", "downstream")
        if facet and getattr(facet, direction)
    }


def id_of(run: dict[str, Any], dag_id: str) -> str:
    """The id that the OpenLineage provider of the remote gives to a run."""
    date = datetime.fromisoformat(run["logical_date"] or run["run_after"])
    return str(generate_static_uuid(date, f"there.{dag_id}.0".encode()))


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
@pytest.mark.parametrize(
    ("make", "arguments"),
    [(RemoteTriggerDagRunOperator, {"trigger_dag_id": "quick"}), (RemoteMaterializeAssetOperator, {"uri": URI})],
)
def test_a_run_that_is_triggered_is_a_dependency(
    there: Start, version: str, deferrable: bool, make: type, arguments: dict[str, Any]
) -> None:
    remote = there(version)
    operator = in_dag(make, wait_for_completion=True, deferrable=deferrable, poke_interval=0.01, **arguments)
    to_the_end(operator, task_of(operator).context())
    (run,) = remote.runs("quick")
    assert dependencies_of(operator) == {"downstream": [("there", "quick", id_of(run, "quick"), "DIRECT_INVOCATION")]}


def test_a_run_that_failed_is_a_dependency_too(there: Start) -> None:
    remote = there()
    operator = in_dag(RemoteTriggerDagRunOperator, trigger_dag_id="bad", wait_for_completion=True, poke_interval=0.01)
    with pytest.raises(DagRunFailed):
        operator.execute(task_of(operator).context())
    (run,) = remote.runs("bad")
    assert [each[2] for each in dependencies_of(operator)["downstream"]] == [id_of(run, "bad")]


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_a_run_that_is_waited_for_comes_before(there: Start, version: str, deferrable: bool) -> None:
    remote = there(version)
    run = remote.add_run("quick", "manual", logical_date="2026-05-04T01:02:03.456789+00:00")
    operator = in_dag(
        RemoteDagRunSensor,
        external_dag_id="quick",
        external_run_id="manual",
        deferrable=deferrable,
        poke_interval=0.01,
    )
    to_the_end(operator, task_of(operator).context())
    assert dependencies_of(operator) == {"upstream": [("there", "quick", id_of(run, "quick"), "IMPLICIT_DEPENDENCY")]}


def test_what_produced_an_event_comes_before(there: Start) -> None:
    remote = there()
    remote.add_asset_event(URI, {"openlineage": PRODUCER})
    remote.add_asset_event(URI, {"openlineage": PRODUCER})
    remote.add_asset_event(URI)
    operator = in_dag(RemoteAssetSensor, uri=URI, since="2020-01-01T00:00:00Z", count=3)
    operator.execute(task_of(operator).context())
    expected = ("theirs", "load.orders", PRODUCER["parentRunId"], "IMPLICIT_DEPENDENCY")
    assert dependencies_of(operator) == {"upstream": [expected]}


@pytest.mark.parametrize(
    ("event", "job"),
    [
        (SOURCE, ("there", "load.orders", None)),
        (
            {"source_dag_id": "load", "source_task_id": "orders", "extra": {"openlineage": "odd"}},
            ("there", "load.orders", None),
        ),
        ({"source_dag_id": "load", "source_task_id": None, "extra": None}, None),
        ({"extra": {"openlineage": {**PRODUCER, "parentRunId": "odd"}}}, None),
        ({"extra": {"openlineage": {**PRODUCER, "parentJobName": 7}}}, None),
        ({"extra": {"openlineage": {**PRODUCER, "parentJobName": "x" * 1001}}}, None),
        ({"extra": {"openlineage": PRODUCER}}, tuple(PRODUCER.values())),
    ],
)
def test_what_a_remote_says_of_a_producer_is_checked(
    there: Start, event: dict[str, Any], job: tuple[str, str, str | None] | None
) -> None:
    there()
    operator = in_dag(RemoteAssetSensor, uri=URI)
    operator.report_producers([event])
    found = [each[:3] for each in dependencies_of(operator).get("upstream", [])]
    assert found == ([job] if job else [])


def test_a_hundred_producers_are_reported_at_most(there: Start) -> None:
    there()
    operator = in_dag(RemoteAssetSensor, uri=URI)
    operator.report_producers({"source_dag_id": "load", "source_task_id": f"task_{number}"} for number in range(200))
    assert len(dependencies_of(operator)["upstream"]) == 100


@pytest.mark.parametrize("run", [DagRun("quick", "dateless"), DagRun("quick", "odd", logical_date="no date")])
def test_a_run_whose_id_is_unknown_is_no_reason_to_fail(
    there: Start, run: DagRun, caplog: pytest.LogCaptureFixture
) -> None:
    there()
    operator = in_dag(RemoteTriggerDagRunOperator, trigger_dag_id="quick")
    operator.report_run(run)
    if run.logical_date:
        assert not dependencies_of(operator)
        assert "OpenLineage gets no remote runs of this task" in caplog.text
    else:
        assert dependencies_of(operator) == {"downstream": [("there", "quick", None, "DIRECT_INVOCATION")]}


def test_no_dependency_is_reported_without_the_namespace(there: Start) -> None:
    there(namespace=None)
    operator = in_dag(RemoteTriggerDagRunOperator, trigger_dag_id="quick")
    operator.execute(task_of(operator).context())
    assert dependencies_of(operator) == {}


def test_no_dependency_is_looked_for_if_the_provider_is_disabled(
    there: Start, configured: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    there()
    configured(disabled="true")
    monkeypatch.delattr(AstronomerHook, "openlineage_namespace")
    operator = in_dag(RemoteTriggerDagRunOperator, trigger_dag_id="quick")
    operator.execute(task_of(operator).context())
    assert dependencies_of(operator) == {}


def test_the_namespace_is_read_without_finding_the_deployment(add_connection: AddConnection) -> None:
    # Its URL would be looked up at the Astro API.
    extra = {"astro_organization_id": "acme", "astro_deployment": "x", "openlineage_namespace": "there"}
    add_connection(password="a-token", extra=extra)
    assert AstronomerHook().openlineage_namespace() == "there"


def test_no_dag_file_imports_the_provider_to_be_parsed() -> None:
    code = (
        "import sys, astronomer_remote.operators.dag_run, astronomer_remote.operators.asset;"
        "print([name for name in sys.modules if 'openlineage.client' in name or 'openlineage.plugins' in name])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
