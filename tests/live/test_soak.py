"""Two hundred tasks at a time, a fifth of all requests fails: two hundred runs, two hundred successes."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from astronomer_remote.exceptions import TransientError
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from dev.faults import AT_RANDOM, Rule
from dev.proxy import Proxy
from tests.airflow.local import in_dag, local_task, only_event, restored
from tests.live.fault_cases import TRIGGER, VERSIONS, remote
from tests.live.intents import Intents

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

TASKS = 200
SHARE = 0.2
SEEDS = {"1.10.15": 110, "2.11.2": 211, "3.3.2": 332}
AT_ONCE = 8
ATTEMPTS = 4


class Mapped:
    """
    The instances of one mapped task: each triggers in a worker, waits with all others in one triggerer, and resumes.

    :param conn_id: of the connection to the remote.
    """

    def __init__(self, conn_id: str) -> None:
        self._operator: Any = in_dag(
            RemoteTriggerDagRunOperator,
            "soak",
            trigger_dag_id="nothing",
            astronomer_conn_id=conn_id,
            wait_for_completion=True,
            poke_interval=1,
            deferrable=True,
            retries=ATTEMPTS - 1,
        )
        self.attempts = dict.fromkeys(range(TASKS), 0)
        self.results: dict[int, dict[str, Any]] = {}

    def carry_out(self) -> None:
        """Let Airflow's retries run their course."""
        for _ in range(ATTEMPTS):
            left = [index for index in self.attempts if index not in self.results]
            with ThreadPoolExecutor(AT_ONCE) as workers:
                deferred = dict(zip(left, workers.map(self._start, left), strict=True))
                events = asyncio.run(self._wait({index: each for index, each in deferred.items() if each}))
                list(workers.map(self._resume, events, events.values()))

    def _start(self, index: int) -> TaskDeferred | None:
        self.attempts[index] += 1
        try:
            self._attempt(index, lambda operator, context: operator.execute(context))
        except TaskDeferred as deferred:
            return deferred
        return None

    async def _wait(self, deferred: dict[int, TaskDeferred]) -> dict[int, Any]:
        events = await asyncio.gather(*(only_event(restored(each.trigger)) for each in deferred.values()))
        return dict(zip(deferred, events, strict=True))

    def _resume(self, index: int, event: Any) -> None:
        run_id = event["run"]["run_id"]
        self._attempt(index, lambda operator, context: operator.execute_complete(context, event, run_id))

    def _attempt(self, index: int, work: Callable[[Any, Any], Any]) -> None:
        # Each instance has an operator for itself, as in Airflow, where it is made in a process of its own.
        operator = copy.copy(self._operator)
        context = local_task(operator, map_index=index, try_number=self.attempts[index]).context()
        try:
            self.results[index] = work(operator, context)
        except TransientError as error:
            print(f"{index} is up for retry: {error}")


@pytest.mark.parametrize("version", VERSIONS)
def test_two_hundred_intents_make_two_hundred_runs(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = [Rule(AT_RANDOM, share=SHARE)]
    with remote(version) as deployment, Proxy(deployment.url, rules, seed=SEEDS[version]) as proxy:
        intents = Intents(deployment, monkeypatch)
        mapped = Mapped(intents.connect(proxy.url))
        mapped.carry_out()
        runs = intents.remote.runs("__soak.local_task.")
        met = sum(each.fault is not None for each in proxy.passed)
        facts = {
            "version": version,
            "seed": proxy.seed,
            "requests": len(proxy.passed),
            "met a fault": met,
            "requests to trigger": proxy.requests("POST", TRIGGER),
            "attempts": sum(mapped.attempts.values()),
        }
    print(json.dumps(facts))
    assert sorted(run.run_id for run in runs) == sorted(each["run_id"] for each in mapped.results.values())
    assert len({run.run_id for run in runs}) == len(runs) == TASKS
    assert {each["state"] for each in mapped.results.values()} == {"success"}
    assert 0.15 < met / len(proxy.passed) < 0.25
