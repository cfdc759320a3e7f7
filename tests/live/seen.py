"""What a live test sees: a finished local DAG run, and what it left in the remote."""

from __future__ import annotations

from typing import Any

from tests.live.campaign import Campaign
from tests.live.plan import DEFERRABLE
from tests.live.remote import RemoteAirflow, RemoteRun
from tests.waiting import wait_until


class Seen:
    """A local DAG run."""

    def __init__(self, campaign: Campaign, dag_id: str, mode: str) -> None:
        self.dag_id = dag_id
        self.deferrable = mode == DEFERRABLE
        self._local = campaign.local
        self._remote = campaign.remote
        self._run_id = ""
        self._tasks: dict[tuple[str, int], dict[str, Any]] = {}

    @property
    def remote(self) -> RemoteAirflow:
        """The remote."""
        return self._remote

    def wait(self) -> None:
        """Wait for its end."""
        wait_until(self._ended, self._describe, timeout=600)
        for each in self._local.tasks(self.dag_id):
            self._tasks[each["task_id"], each["map_index"]] = each

    def _ended(self) -> bool:
        self._local.check_alive()
        run = self._local.run(self.dag_id)
        self._run_id = run["dag_run_id"] if run else ""
        return bool(run) and run["state"] in ("success", "failed")

    def _describe(self) -> str:
        tasks = self._local.tasks(self.dag_id)
        return "\n".join(
            f"{each['task_id']} is {each['state']}:\n{self.log(each['task_id'], each['map_index'])[-3000:]}"
            for each in tasks
        )

    def state(self, task_id: str = "trigger", map_index: int = -1) -> str:
        """State of a task."""
        return str(self._tasks[task_id, map_index]["state"])

    def assert_state(self, expected: str, task_id: str, map_index: int = -1) -> None:
        """Check a task's state; the message of a failure holds its log."""
        found = self.state(task_id, map_index)
        if found != expected:
            lines = f"{self.log(task_id, map_index)[-6000:]}\n{self._local.mentions(self.dag_id)}"
            raise AssertionError(f"{task_id} is {found}, not {expected}:\n{lines}")

    def succeeded(self, *task_ids: str) -> None:
        """Check that tasks succeeded."""
        for task_id in task_ids:
            self.assert_state("success", task_id)

    def failed(self, task_id: str, *words: str, tries: int = 1) -> None:
        """Check that a task failed, in which try, and what its log says of it."""
        self.assert_state("failed", task_id)
        log, tried = self.log(task_id), self._tasks[task_id, -1]["try_number"]
        if tried != tries:
            why = f"{log[-6000:]}\n{self._local.mentions(self.dag_id)}"
            raise AssertionError(f"{task_id} failed in try {tried}, not {tries}:\n{why}")
        for word in words:
            assert word in log, f"{word!r} is not in the log:\n{log[-6000:]}"

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Value of an XCom."""
        return self._local.xcom(self.dag_id, self._run_id, task_id, key, map_index)

    def log(self, task_id: str, map_index: int = -1) -> str:
        """Everything a task logged."""
        return self._local.log(self.dag_id, self._run_id, task_id, map_index)

    def was_deferred(self, task_id: str, map_index: int = -1) -> bool:
        """Whether a task left its worker, according to its log."""
        return "Pausing task as DEFERRED" in self.log(task_id, map_index)

    def remote_runs(self) -> list[RemoteRun]:
        """The remote's runs that were made by this local DAG run."""
        return self._remote.runs(self.dag_id)
