"""Operators, sensors and triggers in front of a hostile remote: the same promises as for each single operation."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from random import Random
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, AirflowSkipException, TaskDeferred

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.protocol.flow import Request, Response, TransportError
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.async_driver import AsyncDriver
from astronomer_remote.api.transport.sync_driver import SyncDriver
from astronomer_remote.api.watch import shared, watcher
from astronomer_remote.exceptions import RemoteError
from astronomer_remote.hooks import astronomer
from astronomer_remote.hooks.astronomer import AstronomerHook
from astronomer_remote.operators.asset import RemoteAssetEventOperator, RemoteMaterializeAssetOperator
from astronomer_remote.operators.dag import (
    RemoteCancelDagRunOperator,
    RemoteClearDagRunOperator,
    RemotePauseDagOperator,
)
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.operators.pool import RemoteCreatePoolOperator, RemoteSyncPoolsOperator
from astronomer_remote.sensors.asset import RemoteAssetSensor
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.sensors.pool import RemotePoolSlotSensor
from tests.airflow.local import come_back, in_dag, local_task, restored
from tests.api.virtual import LeapingLoop, VirtualDriver
from tests.fuzz.flows import check_storable_json
from tests.fuzz.remote import Endless, HostileRemote
from tests.fuzz.test_fuzz import RATES, VERSIONS, Tally, documented, furnished, report


@dataclass(frozen=True)
class Task:
    """
    A task to run.

    :param operator: its class.
    :param arguments: what it is given, besides the id.
    :param may_succeed: whether its success can be true; runs of the DAG `slow` never end, the pool `narrow` is full.
    """

    operator: Any
    arguments: dict[str, Any]
    may_succeed: bool = False


TRIGGER = {"wait_for_completion": True, "poke_interval": 60, "wait_timeout": 3600}
SENSE = {"poke_interval": 60, "timeout": 3600, "external_dag_id": "slow", "failed_states": ["failed"]}
WAITS = {
    "trigger": Task(RemoteTriggerDagRunOperator, {"trigger_dag_id": "slow", **TRIGGER}),
    "trigger a DAG that fails": Task(RemoteTriggerDagRunOperator, {"trigger_dag_id": "bad", **TRIGGER}),
    "trigger for results and logs": Task(
        RemoteTriggerDagRunOperator,
        {"trigger_dag_id": "quick", "results": ["hello"], "stream_logs": ["hello"], **TRIGGER},
        may_succeed=True,
    ),
    "materialize": Task(
        RemoteMaterializeAssetOperator,
        {"asset": "s3://orders", **TRIGGER},
        may_succeed=True,
    ),
    "sensor of a run": Task(RemoteDagRunSensor, {"external_run_id": "held", **SENSE}),
    "sensor of the newest run": Task(RemoteDagRunSensor, {"latest_run": True, **SENSE}),
    "sensor of a task": Task(RemoteDagRunSensor, {"external_run_id": "held", "external_task_id": "hello", **SENSE}),
    "sensor of open slots": Task(RemotePoolSlotSensor, {"pool_name": "narrow", "poke_interval": 60, "timeout": 3600}),
    "sensor of asset events": Task(
        RemoteAssetSensor,
        {"asset": "s3://orders", "extra": {"rows": 8}, "since": "2026-01-01", "poke_interval": 60, "timeout": 3600},
    ),
}
TASKS = {
    **{f"{name}, sync": task for name, task in WAITS.items()},
    **{
        f"{name}, deferrable": replace(task, arguments={**task.arguments, "deferrable": True})
        for name, task in WAITS.items()
    },
    "pause": Task(RemotePauseDagOperator, {"external_dag_id": "quick"}, may_succeed=True),
    "clear": Task(RemoteClearDagRunOperator, {"external_dag_id": "bad", "external_run_id": "broken"}, may_succeed=True),
    "cancel": Task(
        RemoteCancelDagRunOperator, {"external_dag_id": "slow", "external_run_id": "held"}, may_succeed=True
    ),
    "register an asset event": Task(RemoteAssetEventOperator, {"asset": "s3://orders"}, may_succeed=True),
    "create a pool": Task(RemoteCreatePoolOperator, {"pool_name": "new", "slots": 3}, may_succeed=True),
    "synchronise pools": Task(RemoteSyncPoolsOperator, {"pools": {"wide": 9, "other": 2}}, may_succeed=True),
}


class SimulatedTask:
    """
    One task, its triggerer and the remote, which share a clock that never waits.

    :param patch: puts the remote in the place of both drivers.
    """

    def __init__(self, remote: HostileRemote, patch: pytest.MonkeyPatch) -> None:
        self.remote = remote
        self._patch = patch
        patch.setattr(time, "time", remote.clock)
        patch.setattr(time, "monotonic", remote.clock)
        patch.setitem(Client.__init__.__kwdefaults__, "clock", remote.clock)
        patch.setattr(SyncDriver, "run", lambda _, flow: remote.drive(flow))
        for module in (watcher, shared, astronomer):
            patch.setattr(module, "async_driver", self._async_driver)
        patch.setattr(asyncio, "to_thread", _at_once)
        patch.setattr(AstronomerHook, "async_settings", self._settings)
        patch.setattr(AstronomerHook, "_read_settings", lambda *_, **__: remote.settings)

    def run(self, task: Task) -> tuple[Any, dict[str, Any]]:
        """Run a task to its end. :return: its result, and the XComs that it pushed."""
        operator = in_dag(task.operator, **task.arguments)
        started = datetime.fromtimestamp(self.remote.clock.now, timezone.utc)
        instance = local_task(operator, start_date=started)
        context = instance.context()
        deferrals = 0
        try:
            result = self._until_done(operator, context)
        except TaskDeferred as deferred:
            while True:
                deferrals += 1
                assert deferrals < 10, "it defers for ever"
                event = self._event(deferred)
                try:
                    result = come_back(deferred, operator, context, event)
                    break
                except TaskDeferred as again:
                    deferred = again
        return result, instance.xcoms

    def _until_done(self, operator: Any, context: dict[str, Any]) -> Any:
        """A sensor's loop is Airflow's own, which sleeps by :func:`time.sleep`."""
        self._patch.setattr(time, "sleep", self.remote.clock.sleep)
        return operator.execute(context)

    def _event(self, deferred: TaskDeferred) -> Any:
        loop = SharedTime(self.remote)
        try:
            return loop.run_until_complete(_only_event(restored(deferred.trigger)))
        finally:
            loop.run_until_complete(asyncio.sleep(0.1))
            loop.close()

    @asynccontextmanager
    async def _async_driver(self, *_: Any) -> AsyncIterator[AsyncDriver]:
        yield VirtualDriver(self._deliver, self.remote.settings)

    async def _deliver(self, request: Request) -> Response | TransportError:
        await asyncio.sleep(0.01)
        return self.remote.send(request)

    async def _settings(self, *_: Any) -> Settings:
        return self.remote.settings


class SharedTime(LeapingLoop):
    """An event loop in which waiting moves the remote's clock."""

    def __init__(self, remote: HostileRemote) -> None:
        self._remote = remote
        super().__init__()
        # Dates since the epoch leave floating point fewer digits than asyncio counts on.
        self._clock_resolution = 1e-3

    @property
    def now(self) -> float:  # type: ignore[override]
        return self._remote.clock.now

    @now.setter
    def now(self, value: float) -> None:
        if value > self._remote.clock.now:
            self._remote.clock.sleep(value - self._remote.clock.now)
            self._remote.clock.now = value


async def _at_once(function: Any, *arguments: Any) -> Any:
    return function(*arguments)


async def _only_event(trigger: Any) -> Any:
    (event,) = [event async for event in trigger.run()]
    check_storable_json(event.payload)
    return json.loads(json.dumps(event.payload))


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("version", ["1.10.15", "2.11.2", "3.3.2"])
def test_a_task_in_front_of_a_remote_that_answers_rightly(
    name: str, version: str, monkeypatch: pytest.MonkeyPatch, not_rescheduled_yet: None
) -> None:
    end, fault = _try(version, name, 0, monkeypatch, rate=0.0)
    assert fault is None
    expected = {
        True: {"result", "NotSupported"},
        False: {"WaitTimeout", "AirflowSensorTimeout", "DagRunFailed", "NotSupported"},
    }
    assert end in expected[TASKS[name].may_succeed]


@pytest.mark.fuzz
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_task_gets_out_of_hand(
    version: str, fuzz_cases: int, fuzz_seed: int, monkeypatch: pytest.MonkeyPatch, not_rescheduled_yet: None
) -> None:
    tally = Tally(version)
    for name, seed in tally.cases(TASKS, max(100, fuzz_cases // 20), fuzz_seed):
        with monkeypatch.context() as patch:
            tally.add(name, seed, *_try(version, name, seed, patch))
    tally.check()


def _try(
    version: str, name: str, seed: int, patch: pytest.MonkeyPatch, rate: float | None = None
) -> tuple[str, str | None]:
    random = Random(seed)
    remote = furnished(version, random, rate=random.choice(RATES) if rate is None else rate)
    task = TASKS[name]
    try:
        result, xcoms = SimulatedTask(remote, patch).run(task)
        assert task.may_succeed, f"a false success: {result!r:.200}"
        check_storable_json([result, xcoms])
    except AirflowSkipException:
        return "skipped", "nothing was there to skip for"
    except AirflowSensorTimeout:
        return "AirflowSensorTimeout", None
    except RemoteError as error:
        return documented(error, remote)
    except (Exception, Endless) as error:  # noqa: BLE001  # whatever it is, it is the fault that is looked for
        return type(error).__name__, report(error, remote)
    return "result", None
