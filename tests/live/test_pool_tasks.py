"""Tasks and commands of a real local Airflow that manage a real remote, and what its database says they did."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.live.deployments import airflow
from tests.live.local import LocalAirflow
from tests.live.remote import RemoteAirflow
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

HERE = Path(__file__).parent
BORROWERS = ("borrower_dies", "borrower_dies_once", "worker_dies", "meddled", "run_is_marked")
PAIRS = (("2.11.2", "2.11.2"), ("3.3.2", "3.3.2"))


class Both(NamedTuple):
    """A local and a remote deployment, and a file of local DAGs that each run once."""

    local: LocalAirflow
    remote: RemoteAirflow

    def states(self, dag_id: str) -> dict[str, str | None]:
        """State of each task of a local DAG, once its run has ended."""
        wait_until(lambda: self.ended(dag_id), lambda: f"{dag_id}: {self.local.tasks(dag_id)}", timeout=600)
        return {task["task_id"]: task["state"] for task in self.local.tasks(dag_id)}

    def ended(self, dag_id: str) -> bool:
        """Whether the run of a local DAG has ended."""
        self.local.check_alive()
        run = self.local.run(dag_id)
        return run is not None and run["state"] in ("success", "failed")

    def end(self, dag_id: str) -> str:
        """How the run of a local DAG has ended."""
        run = self.local.run(dag_id)
        assert run
        return str(run["state"])

    def returned(self, dag_id: str, task_id: str) -> Any:
        """What a local task returned."""
        run = self.local.run(dag_id)
        assert run
        return self.local.xcom(dag_id, run["dag_run_id"], task_id, "return_value", -1)

    def log(self, dag_id: str, task_id: str) -> str:
        """What a local task logged."""
        run = self.local.run(dag_id)
        assert run
        return self.local.log(dag_id, run["dag_run_id"], task_id)

    def command(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command where the local Airflow is."""
        return self.local.deployment._command(program, arguments, check=False)


@pytest.fixture(scope="module", params=PAIRS, ids="-to-".join)
def both(request: pytest.FixtureRequest) -> Iterator[Both]:
    local_version, remote_version = request.param
    with airflow(remote_version, name="remote", dags=HERE / "remote_dags") as there:
        remote = RemoteAirflow(there)
        for name in BORROWERS:
            remote.make_pool(name, 5)
        remote.make_pool("crowded", 0)
        login, password = there.users["admin"]
        connection = json.dumps({"conn_type": "astronomer", "host": there.url, "login": login, "password": password})
        env = {"AIRFLOW__CORE__PARALLELISM": "8", "AIRFLOW_CONN_REMOTE": connection}
        with airflow(local_version, name="local", project=True, dags=HERE / "pool_dags", env=env) as here:
            yield Both(LocalAirflow(here), remote)


def test_pools_are_created_changed_synchronised_and_deleted(both: Both) -> None:
    assert set(both.states("managed").values()) == {"success"}
    assert (both.remote.slots("managed"), both.remote.slots("synced")) == (None, 2)
    assert both.returned("managed", "create")["slots"] == 5
    assert [each["pool"] for each in both.returned("managed", "dry")["changes"]] == ["synced"]
    outcomes = {each["pool"]: each["outcome"] for each in both.returned("managed", "sync")["changes"]}
    assert outcomes == {"synced": "done", "managed": "done"}


@pytest.mark.parametrize(
    ("name", "task_id", "state"),
    [
        ("borrower_dies", "borrow_slots", "failed"),
        ("borrower_dies_once", "borrow_slots", "success"),
        ("worker_dies", "work", "failed"),
    ],
)
def test_borrowed_slots_come_back_although_a_process_was_killed(
    both: Both, name: str, task_id: str, state: str
) -> None:
    states = both.states(name)
    assert (states[task_id], states["borrow_slots_return"]) == (state, "success")
    assert "It is put back" in both.log(name, "borrow_slots_return")
    if name == "borrower_dies_once":
        assert both.returned(name, "work") == [9]
    assert both.remote.slots(name) == 5
    assert both.end(name) == ("success" if state == "success" else "failed")


def test_borrowed_slots_come_back_although_a_user_ends_the_run(both: Both) -> None:
    name = "run_is_marked"
    wait_until(lambda: both.remote.slots(name) == 9, lambda: str(both.local.tasks(name)))

    def works() -> bool:
        return {"running"} == {task["state"] for task in both.local.tasks(name) if task["task_id"] == "work"}

    wait_until(works, lambda: str(both.local.tasks(name)))
    run = both.local.run(name)
    assert run
    both.local.request("PATCH", f"/dags/{name}/dagRuns/{run['dag_run_id']}", json={"state": "failed"})
    wait_until(lambda: both.remote.slots(name) == 5, lambda: str(both.local.tasks(name)))


def test_what_another_user_changed_meanwhile_is_left_alone_and_reported(both: Both) -> None:
    states = both.states("meddled")
    assert (states["work"], states["borrow_slots_return"]) == ("success", "failed")
    assert "It is now 7 slots, and stays like that" in both.log("meddled", "borrow_slots_return")
    assert both.remote.slots("meddled") == 7
    assert both.end("meddled") == "failed"


def test_a_temporary_pool_is_there_for_a_while(both: Both) -> None:
    assert set(both.states("temporary").values()) == {"success"}
    assert both.returned("temporary", "work") == [4]
    assert both.remote.slots("temporary") is None


def test_room_is_waited_for_in_every_mode(both: Both) -> None:
    waiting = {"poke": "running", "reschedule": "up_for_reschedule", "defer": "deferred", "trigger": None}

    def now() -> dict[str, str | None]:
        return {task["task_id"]: task["state"] for task in both.local.tasks("crowded")}

    wait_until(lambda: now() == waiting, lambda: str(now()), timeout=400, poll=0.3)
    assert both.remote.runs("there_was_room") == []
    both.remote.make_pool("crowded", 2)
    assert set(both.states("crowded").values()) == {"success"}
    assert len(both.remote.runs("there_was_room")) == 1


def test_dags_and_runs_are_switched(both: Both) -> None:
    assert set(both.states("switches").values()) == {"success"}
    assert both.returned("switches", "is_paused") is True
    assert both.remote.query("SELECT is_paused FROM dag WHERE dag_id = 'quick'") == [(0,)]
    assert both.returned("switches", "cancel")["state"] == "failed"
    assert both.returned("switches", "clear")["state"] == "queued"
    assert both.remote.runs("to_switch") == []


def test_the_command_line_shows_what_differs_and_fixes_it(both: Both, tmp_path: Path) -> None:
    newer = both.local.deployment.generation == "v2"
    ways: list[tuple[str, ...]] = [("astronomer-remote-pools",), *([("airflow", "remote", "pools")] if newer else [])]
    login, password = both.remote.deployment.users["admin"]
    both.local.add_connection("stored", host=both.remote.url, login=login, password=password)
    declared = tmp_path / "pools.json"
    for number, way in enumerate(ways):
        name = f"commanded {number}"
        declared.write_text(json.dumps({name: {"slots": 3}}))

        def run(*arguments: str, way: tuple[str, ...] = way) -> subprocess.CompletedProcess[str]:
            return both.command(*way, *arguments, "--conn-id", "stored")

        done = run("diff", "--file", str(declared))
        assert (done.returncode, f"create  {name}" in done.stdout) == (1, True), done
        assert both.remote.slots(name) is None
        done = run("diff", "--file", str(declared), "--output", "json")
        assert (done.returncode, json.loads(done.stdout)["changes"][0]["pool"]) == (1, name), done
        done = run("sync", "--file", str(declared), "--output", "json")
        assert (done.returncode, json.loads(done.stdout)["changes"][0]["outcome"]) == (0, "done"), done
        assert both.remote.slots(name) == 3
        assert run("diff", "--file", str(declared)).returncode == 0
        same = run("diff", "--source-conn-id", "remote")
        assert (same.returncode, "is the same deployment" in same.stderr) == (2, True), same
        listed = run("list", "--output", "json")
        assert (name, 3) in [(pool["name"], pool["slots"]) for pool in json.loads(listed.stdout)], listed
        assert name in run("list").stdout
        for wrong in (("diff", "--file", "missing.json"), ("diff",), ("list", "--conn-id", "unknown")):
            done = both.command(*way, *wrong)
            assert done.returncode == 2, done
            assert "Traceback" not in done.stderr, done
        assert both.command(*way, "list", "--colour").returncode == 2
