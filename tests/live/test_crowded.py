"""A real run with mapped tasks, retries, failures and 5 MB of logs: what a wait for it logs, and what that costs."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from astronomer_remote.api.protocol.flow import Flow, Request, Response, send
from astronomer_remote.api.runs.failure import LARGEST_REPORT
from astronomer_remote.api.waiting.log_stream import LINES_PER_POLL
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.testing import drive
from dev.deployments import Airflow
from tests.live.deployments import airflow
from tests.live.remote import RemoteApi
from tests.waiting import RealClock

T = TypeVar("T")

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

DAGS = Path(__file__).parent / "remote_dags"
STREAMED = ("stubborn", "talkative", "parts")


class Counting(RemoteApi):
    """A real remote that is waited for, and the paths of the requests."""

    def __init__(self, deployment: Airflow) -> None:
        super().__init__(deployment)
        self.paths: list[str] = []
        self.lines: list[str] = []
        self.outcome, self.seconds = self._crowded()
        self.waiting, self.paths = self.paths, []
        report = self.remote.failures.report(self._run(), log_lines=20)
        self.report = self._counted(report)

    def _run(self) -> Any:
        assert self.outcome.run
        return self.outcome.run

    def _crowded(self) -> tuple[WaitResult, float]:
        """Trigger the run, and wait for it."""
        made = self.run(self.remote.trigger_dag_run("crowded", run_id="live-crowded"))
        began = time.monotonic()
        target = WaitTarget("crowded", failed_states=("failed",), progress=True, stream=STREAMED).of(made)
        wait = self.remote.poller.wait(target, poke_interval=10, deadline=time.time() + 900, on_line=self.lines.append)
        return self._counted(wait), time.monotonic() - began

    def _counted(self, flow: Flow[T]) -> T:
        """Run a flow, and note its requests."""

        def forward(request: Request) -> Response:
            # A login is needed once in a month.
            if request.path != "/login/":
                self.paths.append(request.path)
            return self.run(send(request))

        return drive(flow, forward, clock=RealClock())

    def lines_of(self, name: str) -> list[str]:
        """The lines from one log."""
        return [line.partition(": ")[2] for line in self.lines if line.startswith(f"{name}: ")]


@pytest.fixture(scope="module", params=["2.11.2", "3.3.2"])
def at(request: pytest.FixtureRequest) -> Iterator[Counting]:
    with airflow(request.param, name="crowded", dags=DAGS) as deployment:
        yield Counting(deployment)


def test_the_report_names_the_roots_and_not_the_crowd(at: Counting) -> None:
    assert at.outcome.status is WaitStatus.FAILED
    tasks = {task.instance.name: task for task in at.report.tasks}
    assert set(tasks) == {"stubborn", "talkative", "parts[1]"}
    assert {name: task.instance.try_number for name, task in tasks.items()} == {
        "stubborn": 2,
        "talkative": 1,
        "parts[1]": 1,
    }
    assert at.report.failed_count == 3
    # Twelve tasks, one of which has three instances.
    assert at.report.task_count == 14
    last = {name: "\n".join(task.log) for name, task in tasks.items()}
    assert "boom on purpose" in last["stubborn"]
    assert "failed after 50000 lines" in last["talkative"]
    assert "part 2 is broken on purpose" in last["parts[1]"]
    assert all(len(task.log) <= 20 for task in at.report.tasks)
    assert len(json.dumps(at.report.as_dict())) <= LARGEST_REPORT


def test_each_line_of_the_logs_comes_once_and_a_part_where_there_is_too_much(at: Counting) -> None:
    assert any("boom on purpose" in line for line in at.lines_of("stubborn (try 2)"))
    assert any("part 2 is broken on purpose" in line for line in at.lines_of("parts[1]"))
    spoken = [line for line in at.lines_of("talkative") if "has much to say" in line]
    assert len(spoken) == len(set(spoken))
    assert any("lines are left out here" in line for line in at.lines_of("talkative"))
    assert any("failed after 50000 lines" in line for line in at.lines_of("talkative"))
    looks = sum("/talkative/logs/" in path for path in at.waiting)
    assert len(at.lines_of("talkative")) <= looks * (LINES_PER_POLL + 1)


def test_it_costs_little(at: Counting) -> None:
    runs = sum(path.endswith("/live-crowded") for path in at.waiting)
    listings = sum(path.endswith("/taskInstances") for path in at.waiting)
    logs = sum("/logs/" in path for path in at.waiting)
    # One read of the run each ten seconds; one of the rest each minute, once at the beginning and once at the end.
    assert runs <= at.seconds / 10 + 2
    assert listings <= at.seconds / 60 + 2
    # Six tries, each of which is read at most once per poll, and once after it has finished in up to five parts.
    assert logs <= 6 * (listings + 5)
    assert runs + listings + logs == len(at.waiting)
    # One listing of what failed, one that counts the rest, and a log of each of the three.
    assert len(at.paths) == 5
