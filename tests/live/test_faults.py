"""Every fault, with a real remote of every generation: one run by the remote's account, and a task that succeeds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from dev.faults import Fault, ProxiedRequest, Rule, none
from dev.proxy import Proxy
from tests.live.fault_cases import (
    CASES,
    FAULTS_TABLE,
    MODES,
    SHORT_READ_TIMEOUT,
    TRIGGER,
    VERSIONS,
    Case,
    key,
    remote,
)
from tests.live.intents import Intents, Task, WaitResult

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

AT_ONCE = 4


class Cells:
    """What became of every cell of the table for one remote; they are filled all at once, as most of it is waiting."""

    def __init__(self, intents: Intents, target: list[tuple[Case, str]]) -> None:
        self.intents = intents
        with ExitStack() as proxies:
            tasks: dict[tuple[str, str], Task] = {}
            for case, mode in target:
                proxy = proxies.enter_context(Proxy(intents.remote.url, case.rules()))
                extra = {"read_timeout": SHORT_READ_TIMEOUT} if case.impatient else {}
                tasks[case.name, mode] = Task(intents, proxy, mode, attempts=case.attempts, **extra)
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(Task.carry_out, tasks.values()))
            for task in tasks.values():
                task.count()
            self.outcomes = {key: task.outcome for key, task in tasks.items()}
        version = intents.remote.deployment.version
        FAULTS_TABLE.record(
            {key(version, mode, case): self._cell(seen) for (case, mode), seen in self.outcomes.items()}
        )

    def _cell(self, seen: WaitResult) -> dict[str, Any]:
        """What the documentation shows of a cell."""
        return {
            "runs": len(self.intents.runs(seen)),
            "state": seen.state,
            "attempts": seen.attempts,
            "sent": seen.sent,
            "arrived": seen.arrived,
            "requests": seen.requests,
        }


@pytest.fixture(scope="module", params=VERSIONS)
def cells(request: pytest.FixtureRequest) -> Iterator[Cells]:
    version = request.param
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    given: list[dict[str, Any]] = [item.callspec.params for item in items if "case" in item.fixturenames]
    target = [(each["case"], each["mode"]) for each in given if each["cells"] == version in each["case"].versions]
    with pytest.MonkeyPatch.context() as patch, remote(version) as deployment:
        yield Cells(Intents(deployment, patch), target)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_intent_makes_one_run_whatever_goes_wrong(cells: Cells, case: Case, mode: str) -> None:
    if cells.intents.remote.deployment.version not in case.versions:
        pytest.skip("cannot happen to this remote")
    seen: WaitResult = cells.outcomes[case.name, mode]
    (run,) = cells.intents.runs(seen)
    assert (seen.state, run.run_id, run.state) == ("success", seen.run_id, "success"), seen
    # A request that a remote on SQLite fails by itself is retried, and each attempt sends one more.
    # Where the timeout is short, it may still be processing the request when the run is looked up.
    more = seen.spoiled + seen.attempts - 1 + case.impatient
    assert 0 <= seen.sent - case.sent <= more, seen
    assert 0 <= seen.arrived - case.arrived <= more, seen
    assert bool(seen.met) == (case.name != "none"), seen
    assert seen.attempts <= case.attempts, seen
    assert seen.requests <= 100, seen


def test_there_is_no_run_without_an_intent(cells: Cells) -> None:
    assert cells.intents.remote.query("SELECT count(*) FROM dag_run") == [(len(cells.outcomes),)]


def together(number: int) -> Fault:
    """Let so many requests arrive at the same time."""
    here, all_here = [], asyncio.Event()

    async def fault(request: ProxiedRequest) -> None:
        here.append(request)
        if len(here) == number:
            all_here.set()
        await all_here.wait()
        await none(request)

    return fault


@pytest.mark.parametrize("mode", MODES)
def test_a_try_that_several_workers_execute_at_the_same_time_makes_one_run(cells: Cells, mode: str) -> None:
    # As when Celery delivers a message again, and Airflow has lost sight of the worker that has the first one.
    intents, number = cells.intents, 4
    with Proxy(intents.remote.url, [Rule([("met", together(number))], "POST", TRIGGER, range(1, number + 1))]) as proxy:
        task = Task(intents, proxy, mode)
        returned = task.carry_out_at_once(number)
        task.count()
    assert task.outcome.met == number
    (run,) = intents.runs(task.outcome)
    assert run.state == "success"
    assert {each["run_id"] for each in returned} == {run.run_id}
