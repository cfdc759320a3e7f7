"""What is done with a run of 5,000 mapped task instances costs a few requests, and not one for each instance."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import NotSupported
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.api.runs.failure import MOST_FAILED_TASKS, PAGES_OF_FAILED_TASKS
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.testing import FakeDeployment, VirtualClock, drive
from tests.api.script import OPEN
from tests.api.virtual import Simulation, simulate
from tests.waiting import RealClock

INSTANCES = 5000
PAGES = 4
"""One of the usual size, and three large ones."""
RUN = DagRun("d", "r", "running", logical_date="2026-01-01T00:00:00Z", run_after="2026-01-01T00:00:00Z")


class BigRun:
    """A fake deployment with the run, and its client."""

    def __init__(self, version: str) -> None:
        self.fake = FakeDeployment(version, login=None)
        self.fake.add_dag("d", tasks=["work.parts", "report"], mapped={"work.parts": INSTANCES}, stays="running")
        self.fake.add_run("d", "r", state="running", logical_date=RUN.logical_date)
        self.deployment = Deployment(OPEN)
        self.run(self.deployment.get_dag_run("d", "r"))

    def run(self, flow: Flow[Any], clock: VirtualClock | None = None) -> Any:
        return drive(flow, self.fake.handle, clock=clock)

    def requests(self, flow: Flow[Any]) -> int:
        """How many requests a flow sends."""
        before = len(self.fake.requests)
        self.run(flow)
        return len(self.fake.requests) - before


@pytest.fixture(params=["2.11.2", "3.3.2"])
def big(request: pytest.FixtureRequest) -> BigRun:
    return BigRun(request.param)


def target(**changes: Any) -> WaitTarget:
    return WaitTarget("d", failed_states=("failed",), since=time.time() - 60, **changes).of(RUN)


def test_its_progress_is_a_remark_after_one_listing(big: BigRun) -> None:
    lines: list[str] = []
    deadline = time.time() + 0.05
    big.run(
        big.deployment.poller.wait(target(progress=True), poke_interval=0.01, deadline=deadline, on_line=lines.append),
        RealClock(),
    )
    assert sum("5001 task instances, too many" in line for line in lines) == 1
    assert sum("taskInstances" in path for _, path in big.fake.requests) == 1


def test_a_poll_of_its_task_group_reads_a_few_large_pages(big: BigRun) -> None:
    seen = []

    def poll() -> Flow[None]:
        seen.append((yield from big.deployment.poller.snapshot(target(task_group_id="work"))))

    assert big.requests(poll()) == 1 + PAGES
    (states,) = seen[0].states.values()
    assert len(states) == INSTANCES
    assert seen[0].whole


def test_the_report_of_5000_failures_reads_the_first_thousand_and_five_logs(big: BigRun) -> None:
    big.fake.finish("d", "r", "failed")
    seen = []

    def report() -> Flow[None]:
        seen.append((yield from big.deployment.failures.report(RUN, log_lines=20)))

    assert big.requests(report()) <= PAGES_OF_FAILED_TASKS + 1 + MOST_FAILED_TASKS
    assert (seen[0].failed_count, seen[0].task_count, len(seen[0].tasks)) == (5001, 5001, MOST_FAILED_TASKS)


def test_its_results_are_refused_before_any_instance_is_read(big: BigRun) -> None:
    big.fake.finish("d", "r", "success")

    def results() -> Flow[None]:
        with pytest.raises(NotSupported, match="5000 instances"):
            yield from big.deployment.results.read(RUN, ["work.parts"])

    assert big.requests(results()) == 1 + PAGES


def test_a_triggerer_reads_its_task_group_when_some_of_it_has_ended_and_not_more_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulation = simulate(Simulation(), monkeypatch)
    tasks = ["work.parts", "work.first"]
    simulation.fake.add_dag("d", tasks=tasks, mapped={"work.parts": INSTANCES}, stays="running")
    run = simulation.add()

    def requests(since: float, until: float) -> int:
        return sum(since < at <= until for at, _ in simulation.received)

    async def main() -> WaitResult:
        wait = asyncio.ensure_future(simulation.wait_for(run, task_group_id="work"))
        await asyncio.sleep(100)
        simulation.fake.set_task_state("d", run.run_id, "work.first", "success")
        await asyncio.sleep(20)
        assert not wait.done()
        simulation.fake.set_task_state("d", run.run_id, "work.parts", "success")
        return await wait

    assert simulation.live(main()).status is WaitStatus.SUCCESS
    # A listing of what ended per interval, and the group in every sixth one.
    assert requests(10, 100) <= 90 / (0.9 * 5) * (1 + (1 + PAGES) / 6) + 1 + PAGES
    # The listings of the next fifteen seconds have that end, and the group is read after each.
    assert requests(100, 120) <= (20 / (0.9 * 5) + 1) * (1 + 1 + PAGES)
    # All that ended at once, on large pages as well.
    assert requests(120, simulation.loop.now) <= PAGES + 1 + PAGES
    assert simulation.loop.now - 120 <= 1.1 * 5 + 1
