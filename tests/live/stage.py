"""A local and a remote deployment whose parts can be ended and whose tasks can be marked while they wait."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dev.deployments import Airflow
from dev.faults import Rule
from dev.proxy import Proxy
from dev.supervisor import descendants
from dev.versions import Release
from tests.live.deployments import airflow
from tests.live.fault_cases import ABOUT_RUNS, TRIGGER, remote
from tests.live.kill_table import KILLS_TABLE, key
from tests.live.local import LocalAirflow
from tests.live.plan import Pair
from tests.live.remote import RemoteAirflow, RemoteRun
from tests.live.tables import Table
from tests.waiting import wait_until

HERE = Path(__file__).parent
DATE = datetime(2024, 1, 5, 6, tzinfo=timezone.utc)
WAITS = {"sync": "running", "deferrable": "deferred"}
# A task whose worker is gone is missed soon, and a person's doing is noticed soon.
HEARTBEATS = {
    "v1": {
        "AIRFLOW__SCHEDULER__SCHEDULER_ZOMBIE_TASK_THRESHOLD": "20",
        "AIRFLOW__SCHEDULER__ZOMBIE_DETECTION_INTERVAL": "10",
        # What a person did is noticed at the second heartbeat after it. Should the scheduler be quicker, which takes a
        # task that was cleared for lost, then the task would run twice at a time.
        "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    },
    "v2": {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "2",
    },
}
LOCAL = {
    "AIRFLOW__CORE__PARALLELISM": "8",
    # So is a scheduler that is gone, with all that its workers did.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    # So that a triggerer that was killed is missed.
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "2",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "15",
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
        return "running" if self.name == "held" or self.stage.remote.version < (2, 0) else "queued"

    @property
    def cancelled_state(self) -> str:
        """The state of its remote run once that was cancelled, as far as the remote can."""
        return "failed" if self.stage.remote.version >= (2, 2) else self.remote_state

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
        target = sorted(remote)
        wait_until(
            lambda: self.states == states and self.remote_states() == target, self.describe, timeout=timeout, poll=0.5
        )

    def until_it_waits(self) -> None:
        """Wait until its task waits for its one remote run, and has looked for it."""
        self.until({WAITS[self.mode]: 1}, [self.remote_state])
        wait_until(lambda: self.looks > 0, self.describe)

    @property
    def looks(self) -> int:
        """How often runs were read successfully."""
        reads = (each for each in self.proxy.passed if each.status == 200 and re.search(ABOUT_RUNS, each.target))
        return sum(not (each.method == "POST" and re.search(TRIGGER, each.target)) for each in reads)

    def log(self) -> str:
        """What its task logged."""
        found = self.stage.local.run(self.dag_id)
        return self.stage.local.log(self.dag_id, found["dag_run_id"], "trigger") if found else ""

    @contextmanager
    def recorded_as(self, row: str, table: Table = KILLS_TABLE) -> Iterator[None]:
        """Write the result into the documentation, whether it is right or not."""
        try:
            yield
        finally:
            seen = {
                "runs": Counter(run.state for run in self.runs),
                "tasks": self.states,
                "attempts": self.tries,
                "sent": self.proxy.requests("POST", TRIGGER),
                "requests": self.proxy.requests(),
            }
            table.record({key(self.stage.pair, self.mode, row): seen})

    def describe(self) -> str:
        """How things stand."""
        passed = [f"{each.method} {each.target} {each.fault} {each.status}" for each in self.proxy.passed[-15:]]
        parts = [f"{self.dag_id}: {self.states}, made {self.runs}", self.log()[-6000:], *passed]
        return "\n".join([*parts, self.stage.local.deployment.log("triggerer", 60)])

    @property
    def tries(self) -> int:
        """The number of its task's try; of several tasks, the greatest."""
        return int(self._value("max(try_number)"))

    def kill_worker(self, *, supervised: bool = True) -> None:
        """
        End the task's process with SIGKILL.

        :param supervised: whether the process that started it is left, and reports it; else only a heartbeat is missed.
        """
        pid, parent = self._worker()
        if not supervised:
            os.kill(parent, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)

    @contextmanager
    def suspended_worker(self) -> Iterator[None]:
        """Suspend the task and the process that started it, and wait for the end of the task after that."""
        pid, parent = self._worker()
        with _suspended([parent, pid]):
            yield
        wait_until(lambda: not _is_alive(pid), self.describe)

    def _worker(self) -> tuple[int, int]:
        """The task's process, and the one that started it."""
        pid = int(self._value("pid"))
        # The parent's number comes after the process's name, which may hold anything, and its state.
        parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
        return pid, int(parent)

    def _value(self, column: str) -> object:
        ((value,),) = self.stage.local.query(f"SELECT {column} FROM task_instance WHERE dag_id = ?", self.dag_id)
        return value


class Stage:
    """
    Both deployments.

    :param proxies: closed in the end.
    """

    def __init__(self, local: Airflow, remote: Airflow, proxies: ExitStack) -> None:
        self.pair = Pair(local.version, remote.version)
        self.local = LocalAirflow(local)
        self.remote = RemoteAirflow(remote)
        self._proxies = proxies
        self._number = 0

    def start(self, *target: tuple[str, str], rules: Sequence[Rule] = ()) -> list[Waiting]:
        """
        Make local DAGs, which then run by themselves.

        :param target: names of functions in `local_dags/_kill.py`, each with a mode.
        :param rules: of each one's proxy.
        """
        waiting = [self._waiting(*each, rules) for each in target]
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
        # 1.10 is open to everybody.
        who = {"login": login, "password": password} if self.remote.version >= (2, 0) else {}
        self.local.add_connection(conn_id, host=proxy.url, **who)
        return Waiting(self, name, mode, proxy, conn_id)

    @contextmanager
    def suspended_triggerer(self) -> Iterator[None]:
        """Let the triggerer stand still, while another one does its work; afterwards there are both."""
        first = self.local.deployment.processes["triggerer"]
        with _suspended([first, *descendants({first})]):
            self.local.deployment.start_component("triggerer-2")
            yield

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Let remote runs end, which otherwise none does."""
        self.remote.make_pool("gate", 128)
        for dag_id in ("queued", "parked"):
            self.remote.pause(dag_id, False)
        yield
        for dag_id in ("queued", "parked"):
            self.remote.pause(dag_id, True)
        self.remote.drop_pool("gate")


@contextmanager
def _suspended(pids: Sequence[int]) -> Iterator[None]:
    """Let processes stand still."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@contextmanager
def stage(
    pair: Pair,
    remote_settings: Mapping[str, str] | None = None,
    **local: Any,
) -> Iterator[Stage]:
    """Both deployments, running; `local` has more arguments of the local one."""
    far = remote(pair.remote)
    far.configure(remote_settings or {})
    env = LOCAL | HEARTBEATS[Release.parse(pair.local).generation] | local.pop("env", {})
    with (
        far,
        airflow(pair.local, name="local", project=True, dags=HERE / "local_dags", env=env, **local) as near,
        ExitStack() as proxies,
    ):
        yield Stage(near, far, proxies)
