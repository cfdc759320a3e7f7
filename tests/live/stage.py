"""A local and a remote deployment whose parts can be ended and whose tasks can be marked while they wait."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path

from dev.deployments import Deployment
from dev.faults import Rule
from dev.proxy import Proxy
from dev.settings import DATABASE_FILE
from tests.live.fault_cases import remote
from tests.live.local import Local
from tests.live.remote import Remote, RemoteRun
from tests.live.waiting import wait_until

HERE = Path(__file__).parent
DATE = datetime(2024, 1, 5, 6, tzinfo=timezone.utc)
WAITS = {"sync": "running", "deferrable": "deferred"}
LOCAL = {
    "AIRFLOW__CORE__PARALLELISM": "8",
    # A task whose worker is gone is missed soon.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    # And so is a scheduler, with all that its workers did.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    # So that a triggerer that was killed is missed.
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
}


class Waiting:
    """
    One local DAG whose task triggers a remote run and waits for it, through a proxy of its own.

    :param name: of the function in `local_dags/_kill.py` that makes it.
    """

    def __init__(self, stage: Stage, name: str, mode: str, proxy: Proxy, conn_id: str) -> None:
        self.stage = stage
        self.name = name
        self.mode = mode
        self.proxy = proxy
        self.conn_id = conn_id
        self.dag_id = f"{name}.{mode}.{conn_id}"

    @property
    def remote_state(self) -> str:
        """The state of its remote run while that lasts."""
        return "running" if self.name == "held" else "queued"

    @property
    def states(self) -> dict[str, int]:
        """How many of its tasks are in which state."""
        return self.stage.local.states(self.dag_id)

    @property
    def runs(self) -> list[RemoteRun]:
        """The remote's runs that it made."""
        return self.stage.remote.runs(f"__{self.dag_id}.")

    def remote_states(self) -> list[str]:
        """States of the runs that it made, in order."""
        return sorted(run.state for run in self.runs)

    def until(self, states: dict[str, int], remote: Sequence[str], timeout: float = 180) -> None:
        """Wait until its tasks, and the runs that they made, are in these states."""
        wanted = sorted(remote)
        wait_until(
            lambda: self.states == states and self.remote_states() == wanted, self.describe, timeout=timeout, poll=0.5
        )

    def until_it_waits(self) -> None:
        """Wait until its task waits for its one remote run, and has looked for it."""
        self.until({WAITS[self.mode]: 1}, [self.remote_state])
        wait_until(lambda: self.proxy.requests(path=r"dagRuns/") > 0, self.describe)

    def describe(self) -> str:
        """How things stand."""
        found = self.stage.local.run(self.dag_id)
        log = self.stage.local.log(self.dag_id, found["dag_run_id"], "trigger") if found else ""
        passed = [f"{each.method} {each.target} {each.fault} {each.status}" for each in self.proxy.passed[-15:]]
        parts = [f"{self.dag_id}: {self.states}, made {self.runs}", log[-6000:], *passed]
        return "\n".join([*parts, self.stage.local.deployment.log("triggerer", 60)])

    @property
    def tries(self) -> int:
        """The number of its task's try."""
        return int(self._told("try_number"))

    def kill_worker(self, *, supervised: bool = True) -> None:
        """
        End the task's process with SIGKILL.

        :param supervised: whether the process that started it is left, and tells; else only a heartbeat is missed.
        """
        pid = int(self._told("pid"))
        if not supervised:
            # The parent's number comes after the process's name, which may hold anything, and its state.
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            os.kill(int(parent), signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)

    def _told(self, column: str) -> object:
        ((value,),) = self.stage.local.query(f"SELECT {column} FROM task_instance WHERE dag_id = ?", self.dag_id)
        return value


class Stage:
    """
    Both deployments.

    :param proxies: closed in the end.
    """

    def __init__(self, local: Deployment, remote: Deployment, proxies: ExitStack) -> None:
        self.local = Local(local)
        self.remote = Remote(remote)
        self._proxies = proxies
        self._number = 0

    def start(self, *wanted: tuple[str, str], rules: Sequence[Rule] = ()) -> list[Waiting]:
        """
        Make local DAGs, which then run by themselves.

        :param wanted: names of functions in `local_dags/_kill.py`, each with a mode.
        :param rules: of each one's proxy.
        """
        waiting = [self._waiting(*each, rules) for each in wanted]
        self._number += 1
        builds = (
            f"build({each.conn_id!r}, {self.remote.version!r}, {DATE.isoformat()!r}, {[(each.name, each.mode)]!r})\n"
            for each in waiting
        )
        text = f'"""Airflow DAGs that wait to be ended."""\n\nfrom _build import build\n\n{"".join(builds)}'
        part = self.local.deployment.dags / f"_part_{self._number}"
        part.write_text(text)
        part.rename(part.with_name(f"kills_{self._number}.py"))
        self.local.deployment.wait_dags([each.dag_id for each in waiting], timeout=120)
        return waiting

    def _waiting(self, name: str, mode: str, rules: Sequence[Rule]) -> Waiting:
        self._number += 1
        proxy = self._proxies.enter_context(Proxy(self.remote.url, rules))
        conn_id = f"remote_{self._number}"
        login, password = self.remote.deployment.users["admin"]
        self.local.add_connection(conn_id, host=proxy.url, login=login, password=password)
        return Waiting(self, name, mode, proxy, conn_id)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let remote runs end, which otherwise none does."""
        self._let("is_paused = 0", "INSERT INTO slot_pool (pool, slots, include_deferred) VALUES ('gate', 128, 0)")
        yield
        self._let("is_paused = 1", "DELETE FROM slot_pool WHERE pool = 'gate'")

    def _let(self, paused: str, gate: str) -> None:
        where = self.remote.deployment.home / DATABASE_FILE
        with closing(sqlite3.connect(where, timeout=60)) as database, database:
            database.execute(f"UPDATE dag SET {paused} WHERE dag_id = 'queued'")
            database.execute(gate)


@contextmanager
def stage(here: str, there: str) -> Iterator[Stage]:
    """Both deployments, running."""
    with (
        remote(there) as far,
        Deployment(here, name="local", project=True, dags=HERE / "local_dags", env=LOCAL) as near,
        ExitStack() as proxies,
    ):
        yield Stage(near, far, proxies)
