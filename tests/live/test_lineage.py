"""The OpenLineage providers of two real deployments connect what a local task starts in a remote with that task."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dev.deployments import Airflow
from tests.live.deployments import airflow
from tests.live.local import LocalAirflow
from tests.live.plan import Pair
from tests.live.remote import RemoteAirflow
from tests.live.stage import LOCAL
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

DAGS = Path(__file__).parent / "lineage_dags"
PROVIDER = ("apache-airflow-providers-openlineage",)
PAIRS = [Pair("3.3.2", "2.11.2"), Pair("3.3.2", "3.3.2"), Pair("2.11.2", "3.3.2")]
START = "START"
COMPLETE = "COMPLETE"

Event = dict[str, Any]


class Deployments:
    """Two deployments that write their OpenLineage events into files."""

    def __init__(self, local: Airflow, remote: Airflow, files: Path) -> None:
        self.local = LocalAirflow(local)
        self.remote = RemoteAirflow(remote)
        self._files = files

    def found(self, kind: str, namespace: str, job: str) -> list[Event]:
        """The events of a deployment about the starts, or the ends, of a job."""
        found = [json.loads(path.read_text()) for path in sorted(self._files.glob(f"{namespace}*"))]
        return [each for each in found if (each["eventType"], each["job"]["name"]) == (kind, job)]

    def start(self, namespace: str, job: str) -> Event:
        """The one event about the start of a job, once it was written."""
        return self._only(START, namespace, job)

    def dependencies(self, job: str) -> Event:
        """What the event about the end of a local task says of the remote."""
        return dict(self._only(COMPLETE, "local", job)["run"]["facets"]["jobDependencies"])

    def _only(self, kind: str, namespace: str, job: str) -> Event:
        wait_until(lambda: self.found(kind, namespace, job), lambda: self.mentions(namespace), timeout=300)
        (event,) = self.found(kind, namespace, job)
        assert event["job"]["namespace"] == namespace
        return event

    def mentions(self, namespace: str) -> str:
        local = self.local.mentions("OpenLineage") if namespace == "local" else ""
        return f"{sorted(path.name for path in self._files.iterdir())}\n{local}"


@pytest.fixture(scope="module", params=PAIRS, ids=str)
def deployments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployments]:
    files = tmp_path_factory.mktemp("lineage")

    def options(namespace: str) -> dict[str, str]:
        # One file for each event, as several processes write at a time.
        transport = {"type": "file", "log_file_path": str(files / namespace), "append": False}
        return {
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": namespace,
        }

    with ExitStack() as stack:
        remote = airflow(
            request.param.remote,
            name="remote",
            dags=DAGS / "remote",
            extras=PROVIDER,
            env=options("remote"),
            # The provider builds the events of runs in a process forked from the scheduler, which reads the database.
            # With SQLite, that fails now and then ("database disk image is malformed"), and the producer is left out.
            database="postgresql",
        )
        stack.enter_context(remote)
        login, password = remote.users["admin"]
        connection = {
            "conn_type": "astronomer",
            "host": remote.url,
            "login": login,
            "password": password,
            "extra": {"openlineage_namespace": "remote"},
        }
        env = LOCAL | options("local") | {"AIRFLOW_CONN_ASTRONOMER_DEFAULT": json.dumps(connection)}
        # Without PostgreSQL here, an API server hangs when many tasks start at once.
        env["AIRFLOW__CORE__PARALLELISM"] = "3"
        local = airflow(request.param.local, name="local", project=True, dags=DAGS / "local", extras=PROVIDER, env=env)
        stack.enter_context(local)
        yield Deployments(local, remote, files)


def identity(of: Any, *, root: bool = False) -> tuple[str, str, str]:
    """Namespace, job and run of an event, or of a facet that names another one."""
    part = of["root"] if root else of
    return part["job"]["namespace"], part["job"]["name"], part["run"]["runId"]


@pytest.mark.parametrize(("job", "local_dag"), [("triggered", "starts_run"), ("produces", "materializes")])
def test_a_run_that_is_triggered_names_its_parent_and_root(deployments: Deployments, job: str, local_dag: str) -> None:
    parent = deployments.start("remote", job)["run"]["facets"]["parent"]
    assert identity(parent) == identity(deployments.start("local", f"{local_dag}.start"))
    assert identity(parent, root=True) == identity(deployments.start("local", local_dag))


def test_the_tasks_of_that_run_have_the_same_root(deployments: Deployments) -> None:
    parent = deployments.start("remote", "triggered.work")["run"]["facets"]["parent"]
    assert identity(parent) == identity(deployments.start("remote", "triggered"))
    assert identity(parent, root=True) == identity(deployments.start("local", "starts_run"))


def test_a_run_that_an_event_started_names_its_producer(deployments: Deployments) -> None:
    (producer,) = deployments.start("remote", "scheduled")["run"]["facets"]["jobDependencies"]["upstream"]
    assert identity(producer) == identity(deployments.start("local", "starts_event.start"))


@pytest.mark.parametrize(
    ("job", "local_task"),
    [
        ("triggered", "starts_run.start"),
        ("waited_for", "starts_run_and_waits.start"),
        ("produces", "materializes.start"),
    ],
)
def test_a_task_names_the_run_that_it_triggered(deployments: Deployments, job: str, local_task: str) -> None:
    (run,) = deployments.dependencies(local_task)["downstream"]
    assert identity(run) == identity(deployments.start("remote", job))
    assert run["dependency_type"] == "DIRECT_INVOCATION"


def test_a_sensor_names_the_run_that_it_waited_for(deployments: Deployments) -> None:
    (run,) = deployments.dependencies("waits_for_run.wait")["upstream"]
    assert identity(run) == identity(deployments.start("remote", "produces"))


def test_a_sensor_names_the_task_that_registered_the_event(deployments: Deployments) -> None:
    (task,) = deployments.dependencies("waits_for_events.orders")["upstream"]
    assert identity(task) == identity(deployments.start("local", "starts_event.start"))


def test_a_sensor_names_the_remote_task_that_produced_the_asset(deployments: Deployments) -> None:
    (task,) = deployments.dependencies("waits_for_events.produced")["upstream"]
    assert task["job"] == {"namespace": "remote", "name": "produces.work"}
    assert task.get("run") is None
