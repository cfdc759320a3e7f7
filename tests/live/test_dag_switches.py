"""Switches of DAGs and runs of real remotes, and how these stand afterwards by their own account: their database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from astronomer_remote.api.protocol.errors import AccessDenied, DagNotFound, DagRunNotFound, NotSupported
from tests.live.deployments import airflow
from tests.live.remote import VERSIONS, RemoteApi
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

DAGS = Path(__file__).parent / "remote_dags"


class DagsOf(RemoteApi):
    """A real remote's DAGs: switched through this package, read from its database."""

    def is_paused(self, dag_id: str) -> bool:
        """Whether a DAG is paused."""
        return bool(self.query("SELECT is_paused FROM dag WHERE dag_id = ?", dag_id)[0][0])

    def state(self, run_id: str) -> str | None:
        """State of a run, `None` if there is none."""
        found = self.query("SELECT state FROM dag_run WHERE run_id = ?", run_id)
        return str(found[0][0]) if found else None

    def tries(self, run_id: str) -> int:
        """How often the only task of a run was tried; since 2.2."""
        return int(str(self.query("SELECT try_number FROM task_instance WHERE run_id = ?", run_id)[0][0]))

    def make_run(self, dag_id: str, run_id: str, until: str, **conf: Any) -> None:
        """Make a run and wait until it has the given state."""
        self.run(self.remote.trigger_dag_run(dag_id, run_id=run_id, conf=conf))
        self.wait(run_id, until)

    def wait(self, run_id: str, state: str) -> None:
        """Wait until a run is in a state."""
        wait_until(lambda: self.state(run_id) == state, lambda: f"{run_id} is {self.state(run_id)}", timeout=240)


@pytest.fixture(scope="module", params=VERSIONS)
def at(request: pytest.FixtureRequest) -> Iterator[DagsOf]:
    with airflow(request.param, name="switches", dags=DAGS) as deployment:
        yield DagsOf(deployment)


def test_a_dag_is_paused_and_unpaused(at: DagsOf) -> None:
    for _ in range(2):  # a retry does no harm
        at.run(at.remote.pause_dag("quick"))
        assert at.is_paused("quick")
    for _ in range(2):
        at.run(at.remote.unpause_dag("quick"))
        assert not at.is_paused("quick")
    for flow in (at.remote.pause_dag("no_such_dag"), at.remote.unpause_dag("no_such_dag")):
        with pytest.raises(DagNotFound):
            at.run(flow)


def test_who_may_only_read_switches_nothing(at: DagsOf) -> None:
    if at.version < (2,):
        pytest.skip("its API knows no users")
    viewer = at.of("viewer")
    waiting = "queued" if at.version >= (2, 2) else "running"
    at.make_run("paused_dag", "not_yours", waiting)
    switches = [viewer.pause_dag("quick"), viewer.clear_dag_run("paused_dag", "not_yours")]
    switches.append(viewer.delete_dag_run("paused_dag", "not_yours"))
    if at.version >= (2, 2):
        switches.append(viewer.cancel_dag_run("paused_dag", "not_yours"))
    for flow in switches:
        with pytest.raises(AccessDenied, match="User is the least"):
            at.run(flow, "viewer")
    assert at.is_paused("quick") is False
    assert at.state("not_yours") == waiting


def test_a_running_run_is_cancelled(at: DagsOf) -> None:
    if at.version < (2, 2):
        with pytest.raises((NotSupported, DagRunNotFound)):
            at.run(at.remote.cancel_dag_run("sleeper", "cancelled"))
        return
    at.make_run("sleeper", "cancelled", "running", seconds=600)
    # Airflow skips a task that has not begun, and its scheduler may then take the run for a success.
    begun = "SELECT state FROM task_instance WHERE run_id = 'cancelled'"
    wait_until(lambda: at.query(begun) == [("running",)], lambda: str(at.query(begun)))
    assert at.run(at.remote.cancel_dag_run("sleeper", "cancelled")).state == "failed"
    assert at.state("cancelled") == "failed"
    at.run(at.remote.cancel_dag_run("sleeper", "cancelled"))
    assert at.state("cancelled") == "failed"


def test_a_run_is_cleared_and_runs_again(at: DagsOf) -> None:
    if at.version < (2,):
        with pytest.raises((NotSupported, DagRunNotFound)):
            at.run(at.remote.clear_dag_run("quick", "cleared"))
        return
    at.make_run("quick", "cleared", "success")
    at.run(at.remote.clear_dag_run("quick", "cleared"))
    if at.version >= (2, 2):
        wait_until(lambda: at.tries("cleared") > 1, lambda: f"it was tried {at.tries('cleared')} times")
    at.wait("cleared", "success")


def test_a_run_is_deleted(at: DagsOf) -> None:
    if at.version < (2,):
        with pytest.raises((NotSupported, DagRunNotFound)):
            at.run(at.remote.delete_dag_run("quick", "deleted"))
        return
    at.make_run("quick", "deleted", "success")
    at.run(at.remote.delete_dag_run("quick", "deleted"))
    assert at.state("deleted") is None
    with pytest.raises(DagRunNotFound):
        at.run(at.remote.delete_dag_run("quick", "deleted"))
