"""Hours of waiting in no time: an event loop whose clock leaps to what is due next, and a remote to wait for."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from random import Random
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeVar

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.flow import Compute, Reload, Request, Response, Sleep, Step, TransportError
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.async_driver import AsyncDriver
from astronomer_remote.api.waiting.target import WaitResult, WaitTarget
from astronomer_remote.api.watch import watcher
from astronomer_remote.api.watch.watcher import watch
from astronomer_remote.testing import FakeDeployment
from tests.api.script import OPEN

if TYPE_CHECKING:
    import pytest

T = TypeVar("T")

EPOCH = 1_800_000_000.0
RUN, LISTING = "/api/v2/dags/d/dagRuns/", "/api/v2/dags/~/dagRuns/list"


class LeapingLoop(asyncio.SelectorEventLoop):
    """An event loop that never sleeps: when nothing is ready, it is the time of what is due next."""

    def __init__(self) -> None:
        self.now = 0.0
        loop = self

        class Selector(selectors.DefaultSelector):
            def select(self, timeout: float | None = None) -> Any:
                if timeout is None:
                    raise RuntimeError("everybody waits for something that never happens")
                loop.now += max(timeout, 0.0)
                return super().select(0)

        super().__init__(Selector())

    def time(self) -> float:
        return self.now


@dataclass
class Run:
    """
    A run in the remote; times in seconds since the epoch, by the true clock.

    :param ends: when it ends, ``None`` for never.
    :param written: seconds until its end is written into the database.
    :param undated: further seconds for which it has a state, but no end date.
    """

    run_id: str
    date: float
    ends: float | None = None
    written: float = 0.0
    undated: float = 0.0

    def state(self, now: float) -> str:
        return "success" if self.ends is not None and now >= self.ends + self.written else "running"

    def end_date(self, now: float) -> float | None:
        return self.ends if self.ends is not None and now >= self.ends + self.written + self.undated else None


@dataclass
class Simulation:
    """
    A remote with the DAG `d`, and those who wait for its runs.

    :param skew: by how much the remote's clock is ahead.
    :param latency: seconds that it takes to answer.
    :param listing: what it says instead of listing runs.
    :param down: from when to when it does not answer, in seconds from the beginning.
    :param gateway: from when to when a gateway answers in its place, in seconds from the beginning, and what it says.
    :param received: all requests, and when they came.
    :param noticed: when the end of each run was noticed.
    """

    skew: float = 0.0
    latency: float = 0.01
    listing: Response | None = None
    down: tuple[float, float] = (0.0, 0.0)
    gateway: tuple[float, float, Response] | None = None
    runs: dict[str, Run] = field(default_factory=dict)
    received: list[tuple[float, Request]] = field(default_factory=list)
    noticed: dict[str, float] = field(default_factory=dict)
    added: int = 0
    under_way: int = 0
    most_under_way: int = 0
    loop: LeapingLoop = field(default_factory=LeapingLoop)

    def __post_init__(self) -> None:
        self.fake = FakeDeployment("3.3.2", login=None, clock=lambda: self.now + self.skew)
        self.fake.add_dag("d", stays="running")

    @property
    def now(self) -> float:
        return EPOCH + self.loop.now

    def live(self, main: Coroutine[Any, Any, T]) -> T:
        """Run to the end, and see that nothing is left over."""
        try:
            result = self.loop.run_until_complete(main)
            self.loop.run_until_complete(asyncio.sleep(0.1))
            assert not asyncio.all_tasks(self.loop)
            return result
        finally:
            self.loop.close()

    def add(self, *, age: float = 60.0, **facts: Any) -> Run:
        """Make a run, whose date is so many seconds ago."""
        run = Run(f"r{self.added}", self.now - age, **facts)
        self.added += 1
        self.runs[run.run_id] = run
        self.fake.add_run("d", run.run_id, state="running")
        self.fake._contents.dags["d"].runs[run.run_id].run_after = self._date(run.date)
        return run

    def listings(self, since: float = 0.0) -> list[Request]:
        """The listings of finished runs, from a moment on."""
        return [request for at, request in self.received if request.path == LISTING and at >= since]

    def reads(self, since: float = 0.0) -> list[str]:
        """Which runs were read individually, from when on."""
        return [
            request.path.removeprefix(RUN)
            for at, request in self.received
            if request.path.startswith(RUN) and at >= since
        ]

    # -- who waits ----------------------------------------------------------------------------------------

    async def wait_for(
        self, run: Run, *, poke_interval: float = 5.0, deadline: float | None = None, **changes: Any
    ) -> WaitResult:
        """Wait as a trigger does."""
        given: dict[str, Any] = {
            "run_id": run.run_id,
            "failed_states": ("failed",),
            "exists": True,
            "date": moment(run.date + self.skew),
            "since": self.now,
        }

        async def reload() -> Settings:
            return OPEN

        outcome = await watch(
            WaitTarget("d", **(given | changes)),
            settings=OPEN,
            reload=reload,
            poke_interval=poke_interval,
            deadline=deadline,
            on_line=lambda line: None,
        )
        self.noticed[run.run_id] = self.now
        return outcome

    async def wait_for_all(self, **arguments: Any) -> None:
        await asyncio.gather(*(self.wait_for(run, **arguments) for run in self.runs.values()))

    def lags(self) -> list[float]:
        """Seconds from the end of each run to its being noticed, sorted."""
        return sorted(at - (self.runs[run_id].ends or 0.0) for run_id, at in self.noticed.items())

    # -- what it answers ----------------------------------------------------------------------------------

    async def deliver(self, request: Request) -> Response:
        self.received.append((self.loop.now, request))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.latency)
        finally:
            self.under_way -= 1
        if self.down[0] <= self.loop.now < self.down[1]:
            raise TransportError("ConnectionRefusedError", sent=False)
        if self.gateway and self.gateway[0] <= self.loop.now < self.gateway[1]:
            return self.gateway[2]
        return self._answer(request)

    def _answer(self, request: Request) -> Response:
        if request.path == LISTING:
            assert (request.body["dag_ids"], request.body["order_by"]) == (["d"], "end_date")
            if self.listing:
                return self.listing
        runs = self.fake._contents.dags["d"].runs
        for run_id in runs.keys() - self.runs.keys():
            self.fake.delete("d", run_id)
        single = self.runs.get(request.path.removeprefix(RUN))
        for run in [single] if single else self.runs.values():
            end = run.end_date(self.now)
            runs[run.run_id].state = run.state(self.now)
            runs[run.run_id].end_date = None if end is None else self._date(end)
        return self.fake.handle(request)

    def _date(self, seconds: float) -> datetime:
        """A date by the remote's clock."""
        return datetime.fromtimestamp(seconds + self.skew, timezone.utc)


class VirtualDriver(AsyncDriver):
    """
    Runs flows on an event loop, against a function in place of a network.

    :param deliver: answers a request.
    :param settings: what the connection is when it is read again.
    """

    def __init__(self, deliver: Callable[[Request], Awaitable[Response | TransportError]], settings: Settings) -> None:
        self._deliver = deliver
        self._settings = settings
        self.sent = 0

    async def _carry_out(self, step: Step) -> Any:
        if isinstance(step, Sleep):
            return await asyncio.sleep(step.seconds)
        if isinstance(step, Reload):
            return self._settings
        if isinstance(step, Compute):
            return step.run()
        self.sent += 1
        try:
            return await self._deliver(step)
        except TransportError as error:
            return error


def moment(seconds: float) -> str:
    """A date as Airflow writes it."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")


def simulate(simulation: Simulation, patch: pytest.MonkeyPatch) -> Simulation:
    """Let watchers live in a simulation."""

    @asynccontextmanager
    async def driver(*_: Any) -> AsyncIterator[VirtualDriver]:
        yield VirtualDriver(simulation.deliver, OPEN)

    def deployment(settings: Settings, retry: RetryPolicy) -> Deployment:
        talk = Client(settings, retry=retry, clock=lambda: simulation.now, jitter=chance.random)
        return Deployment(settings, client=talk)

    chance = Random(1)  # the same simulation each time
    patch.setattr(watcher, "async_driver", driver)
    patch.setattr(watcher, "Deployment", deployment)
    patch.setattr(watcher, "random", chance)
    patch.setattr(watcher, "time", SimpleNamespace(time=lambda: simulation.now, monotonic=lambda: simulation.loop.now))
    return simulation
