"""A real run with 5,000 mapped task instances: how many requests it costs to wait for it, and to see why it failed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from astronomer_remote.api.protocol.errors import NotSupported
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.runs.failure import MOST_FAILED_TASKS, PAGES_OF_FAILED_TASKS
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.api.watch.watcher import watch
from dev.deployments import Airflow
from tests.live.remote import RemoteApi
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

DAGS = Path(__file__).parent / "big_dags"
INSTANCES = 5000
RUNNING = 1000
PAGES = 4
"""Of which all its instances are read: one of the usual size, and three large ones."""


class BigRun(RemoteApi):
    """A remote with the run, whose scheduler has stopped, and the number of requests to it."""

    def __init__(self, deployment: Airflow) -> None:
        super().__init__(deployment)
        self.made: DagRun = self.run(self.remote.trigger_dag_run("big", run_id="r"))
        wait_until(lambda: self.run(self.remote.get_dag_run("big", "r")).state == "success", timeout=200)
        deployment.stop_component("scheduler")
        columns = sorted(deployment.database.columns("task_instance"))
        # In Airflow 3 an instance has an id.
        other = {"map_index": "i", "id": "substr(id, 1, length(id) - 12) || printf('%012d', i)"}
        values = ", ".join(other.get(name, f'"{name}"') for name in columns)
        names = ", ".join(f'"{name}"' for name in columns)
        deployment.database.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {INSTANCES - 1}) "
            f"INSERT INTO task_instance ({names}) SELECT {values} FROM task_instance, n WHERE map_index = 0"
        )
        self.execute("UPDATE dag_run SET state = 'running', end_date = NULL")
        self.set_state("running", first=INSTANCES - RUNNING)

    def set_state(self, state: str, first: int = 0) -> None:
        """Set the state of its instances from an index on; those that end do so now."""
        end = "NULL" if state == "running" else "strftime('%Y-%m-%d %H:%M:%f', 'now')"
        self.execute(f"UPDATE task_instance SET state = ?, end_date = {end} WHERE map_index >= ?", state, first)

    def requests(self) -> int:
        """How many requests about runs and tasks it has got."""
        return sum("/dagRuns" in each.path for each in self.deployment.logged_requests())

    def counted(self, flow: Flow[Any]) -> tuple[Any, int]:
        """Run a flow. :return: its result, and how many requests it has sent."""
        before = self.requests()
        return self.run(flow), self.requests() - before

    def target(self, **changes: Any) -> WaitTarget:
        return WaitTarget("big", failed_states=("failed",), since=time.time(), **changes).of(self.made)


@pytest.fixture(scope="module", params=["2.11.2", "3.3.2"])
def big(request: pytest.FixtureRequest) -> Iterator[BigRun]:
    version = request.param
    web = "api-server" if version >= "3" else "webserver"
    components = [web, "scheduler", *(["dag-processor"] if version >= "3" else [])]
    with Airflow(version, name="big", dags=DAGS, components=components) as deployment:
        yield BigRun(deployment)


def test_few_requests_show_all_of_a_run_with_5000_instances(big: BigRun) -> None:
    cost: dict[str, int] = {}
    lines: list[str] = []
    wait = big.remote.poller.wait(
        big.target(progress=True), poke_interval=2, deadline=time.time() + 9, on_line=lines.append
    )
    outcome, cost["five polls with progress"] = big.counted(wait)
    assert outcome.status is WaitStatus.TIMEOUT
    assert any("5000 task instances, too many" in line for line in lines)
    assert cost["five polls with progress"] <= 6 + 1
    polled, cost["a poll of its task group"] = big.counted(big.remote.poller.snapshot(big.target(task_group_id="work")))
    (states,) = polled.states.values()
    assert (len(states), states.count("running")) == (INSTANCES, RUNNING)
    assert cost["a poll of its task group"] <= 1 + PAGES

    async def group() -> WaitResult:
        settings = big.settings("admin")

        async def reload() -> Settings:
            return settings

        wait = asyncio.ensure_future(
            watch(
                big.target(task_group_id="work"),
                settings=settings,
                reload=reload,
                poke_interval=2,
                deadline=time.time() + 120,
                on_line=lines.append,
            )
        )
        await asyncio.sleep(10)
        before = big.requests()
        await asyncio.sleep(24)
        cost["its task group in the triggerer, in 24 s with an interval of 2 s"] = big.requests() - before
        before = big.requests()
        big.set_state("success", first=INSTANCES - RUNNING)
        result = await wait
        cost["the end of a thousand of its instances"] = big.requests() - before
        return result

    assert asyncio.run(group()).status is WaitStatus.SUCCESS
    # A listing per interval, and the group in every sixth one.
    assert cost["its task group in the triggerer, in 24 s with an interval of 2 s"] <= 14 + 3 * (1 + PAGES)
    assert cost["the end of a thousand of its instances"] <= 2 * (PAGES + 1 + PAGES)
    big.set_state("failed")
    big.execute("UPDATE dag_run SET state = 'failed'")
    report, cost["the report of 5,000 failures"] = big.counted(big.remote.failures.report(big.made, log_lines=20))
    assert (report.failed_count, report.task_count, len(report.tasks)) == (INSTANCES, INSTANCES, MOST_FAILED_TASKS)
    assert cost["the report of 5,000 failures"] <= PAGES_OF_FAILED_TASKS + 1 + MOST_FAILED_TASKS
    before = big.requests()
    with pytest.raises(NotSupported, match="5000 instances"):
        big.run(big.remote.results.read(big.made, ["work.parts"]))
    cost["the refusal of its results"] = big.requests() - before
    assert cost["the refusal of its results"] <= 1 + PAGES
    print(json.dumps({"version": big.deployment.version, "requests": cost}))
