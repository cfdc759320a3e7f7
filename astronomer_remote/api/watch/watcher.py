"""
Waits for runs and tasks of remote deployments in a triggerer: one loop per deployment, however many wait.

All waits of one event loop that concern the same deployment with the same credentials share a :class:`Watcher`: one
HTTP session, one login, one poll. A poll reads the runs that *ended* since the last one, so that its cost
follows what happens and not how many wait; what cannot be seen that way is polled by itself, a few at a time.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from heapq import nsmallest
from typing import ClassVar, Protocol, TypeVar
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from astronomer_remote.api.client.responses import may_refuse, refuses
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import RemoteError, TransientError
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.runs.follow import RunFollower
from astronomer_remote.api.transport.async_driver import AsyncDriver, async_driver
from astronomer_remote.api.waiting.log_stream import FOLLOWED_AT_ONCE, SECONDS_BETWEEN_RUNS
from astronomer_remote.api.waiting.schedule import (
    FAILURES_BEFORE_PROBE,
    SECONDS_BETWEEN_WIDE_POLLS,
    Checks,
    Clock,
    Cursor,
    PollPlan,
    Refusals,
    plan,
    seconds_to_next_poll,
    spread,
)
from astronomer_remote.api.waiting.target import Snapshot, WaitResult, WaitStatus, WaitTarget
from astronomer_remote.api.waiting.waiter import Update, Waiter, seconds_of
from astronomer_remote.api.watch.shared import ReloadSettings


class Stats(Protocol):
    """Where metrics go; Airflow's own ``Stats`` is one."""

    def gauge(self, stat: str, value: float, *, tags: dict[str, str]) -> None: ...

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, str]) -> None: ...

    def timing(self, stat: str, dt: timedelta, *, tags: dict[str, str]) -> None: ...


class Metrics:
    """
    The metrics of one watcher, all tagged with the ``host`` of the remote.

    ``astronomer_remote.waiting`` (gauge), ``astronomer_remote.requests`` and ``astronomer_remote.errors`` (counters),
    ``astronomer_remote.poll`` (timer: how long a poll took) and ``astronomer_remote.lag``
    (timer: from the end of a run to its being seen here).

    :param stats: where they go; without, nowhere.
    """

    def __init__(self, settings: Settings, stats: Stats | None) -> None:
        self._stats = stats
        self._tags = {"host": urlsplit(settings.base_url).netloc}

    def poll(self, *, waiting: int, requests: int, failed: bool, took: float) -> None:
        """A poll is over. :param took: seconds."""
        if self._stats is None:
            return
        self._stats.gauge("astronomer_remote.waiting", waiting, tags=self._tags)
        self._stats.incr("astronomer_remote.requests", requests, tags=self._tags)
        self._stats.timing("astronomer_remote.poll", timedelta(seconds=took), tags=self._tags)
        if failed:
            self._stats.incr("astronomer_remote.errors", tags=self._tags)

    def seen(self, runs: Iterable[DagRun], now: float) -> None:
        """Runs that have ended were seen. :param now: the remote's time in seconds since the epoch."""
        if self._stats is None:
            return
        for end_date in [run.end_date for run in runs if run.end_date]:
            lag = timedelta(seconds=max(0.0, now - seconds_of(end_date)))
            self._stats.timing("astronomer_remote.lag", lag, tags=self._tags)


log = logging.getLogger(__name__)

SECONDS_BETWEEN_EXPIRIES = 0.2
"""How often it is checked at most which deadlines have passed: that visits all waits."""

T = TypeVar("T")
Ended = TypeVar("Ended", DagRun, TaskInstance)

POLL_RETRY = RetryPolicy(attempts=2, waits_for_wake=False)
"""The retries of a request within a poll: few, since the next poll is a retry, too. For a deployment that was woken,
the polls wait: each task then logs it."""

REQUESTS_AT_ONCE = 4
"""How many requests a process has under way to one deployment at most."""


async def watch(
    target: WaitTarget,
    *,
    settings: Settings,
    reload: ReloadSettings,
    poke_interval: float,
    deadline: float | None,
    on_line: Callable[[str], None],
    stats: Stats | None = None,
) -> WaitResult:
    """
    Wait until the target is reached.

    :param settings: where the deployment is.
    :param reload: reads the connection again.
    :param poke_interval: seconds between two polls.
    :param deadline: when to give up, in seconds since the epoch.
    :param on_line: is called with a line whenever something changed, by the waiting task itself, since Airflow
        finds a trigger's log by the task that writes it.
    :param stats: where metrics go, see :class:`~astronomer_remote.api.watch.watcher.Metrics`.
    """
    updates = Updates()
    deadline = math.inf if deadline is None else deadline
    now = time.time()
    waiter = Waiter(target, poke_interval, updates.put, answered_at=now, queued_since=now, deadline=deadline)
    watcher = Watcher.of(settings, reload, stats)
    watcher.join(waiter)
    try:
        while waiter.ended is None:
            await updates.arrival()
            _log(updates.take(), on_line)
            if waiter.expires <= time.time():
                waiter.expire()
        if isinstance(waiter.ended, Exception):
            # The same error may end many waits; each gets its own, since raising adds to it.
            raise copy.copy(waiter.ended)
        if waiter.ended.status is not WaitStatus.TIMEOUT:
            await watcher.report_last_lines(waiter)
            _log(updates.take(), on_line)
        return waiter.ended
    finally:
        watcher.leave(waiter)


def _log(updates: Iterable[Update], on_line: Callable[[str], None]) -> None:
    for line in updates:
        if isinstance(line, str):
            on_line(line)


class Updates:
    """
    The updates of one wait, for the task that waits.

    An ``asyncio.Queue``, with a timer for the deadline, would add fifteen objects to each of many waits. A full garbage
    collection visits all of them, and blocks the event loop meanwhile.
    """

    __slots__ = ("_arrival", "_arrived")

    def __init__(self) -> None:
        self._arrived: list[Update] | None = None
        self._arrival: asyncio.Future[None] | None = None

    def put(self, update: Update) -> None:
        """Add one."""
        self._arrived = self._arrived or []
        self._arrived.append(update)
        if self._arrival and not self._arrival.done():
            self._arrival.set_result(None)

    def arrival(self) -> asyncio.Future[None]:
        """Done as soon as there is one."""
        self._arrival = asyncio.get_running_loop().create_future()
        if self._arrived:
            self._arrival.set_result(None)
        return self._arrival

    def take(self) -> list[Update]:
        """All that have arrived."""
        arrived, self._arrived, self._arrival = self._arrived or [], None, None
        return arrived


class Watcher:
    """
    The one loop that watches a deployment.

    :param settings: where the deployment is.
    :param reload: reads the connection again.
    :param stats: where metrics go.
    """

    _all: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, Watcher]]] = WeakKeyDictionary()

    def __init__(self, settings: Settings, reload: ReloadSettings, stats: Stats | None = None) -> None:
        self._settings = settings
        self._metrics = Metrics(settings, stats)
        self._reload = reload
        self._deployment = Deployment(settings, retry=POLL_RETRY)
        self._waiters: set[Waiter] = set()
        self._joined = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._at_once = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._ended_runs = Cursor()
        self._ended_tasks = Cursor()
        self._checks = Checks()
        self._follow_loop: FollowLoop | None = None
        self._widened = 0.0
        self._next_expiry: asyncio.TimerHandle | None = None

    @classmethod
    def of(cls, settings: Settings, reload: ReloadSettings, stats: Stats | None = None) -> Watcher:
        """The watcher of a deployment in the running event loop, made if there is none."""
        watchers = cls._all.setdefault(asyncio.get_running_loop(), {})
        if settings not in watchers:
            watchers[settings] = cls(settings, reload, stats)
        return watchers[settings]

    def join(self, waiter: Waiter) -> None:
        """Add a wait; the first one starts the loop."""
        self._waiters.add(waiter)
        self._joined.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        self._expire_at(waiter.deadline if waiter.deadline > time.time() else waiter.expires)

    def leave(self, waiter: Waiter) -> None:
        """Remove a wait; the last one ends the loop at once, so that the next one starts another."""
        self._waiters.discard(waiter)
        if self._waiters or self._task is None:
            return
        self._task.cancel()
        if self._next_expiry:
            self._next_expiry.cancel()
        self._retire()

    async def report_last_lines(self, waiter: Waiter) -> None:
        """Report, for a wait that is over, what was written into the logs last."""
        if self._follow_loop and waiter.streams.task_ids:
            await self._follow_loop.report_last_lines(waiter)

    def _expire_at(self, moment: float) -> None:
        """Check at some moment which deadlines have passed, unless that is done earlier. One timer serves all waits."""
        loop = asyncio.get_running_loop()
        at = loop.time() + moment - time.time()
        if self._next_expiry:
            if self._next_expiry.when() <= at:
                return
            self._next_expiry.cancel()
        self._next_expiry = loop.call_at(at, self._expire) if moment < math.inf else None

    def _expire(self) -> None:
        """End the waits whose time is over."""
        now = time.time()
        for waiter in [each for each in self._waiters if each.expires <= now]:
            waiter.expire()
        self._next_expiry = None
        left = (each.deadline if each.deadline > now else each.expires for each in self._waiters if not each.ended)
        self._expire_at(max(min(left, default=math.inf), now + SECONDS_BETWEEN_EXPIRIES))

    def _retire(self) -> None:
        """Forget this watcher: no wait may join one whose loop is over."""
        watchers = self._all.get(asyncio.get_running_loop(), {})
        if watchers.get(self._settings) is self:
            del watchers[self._settings]

    async def _run(self) -> None:
        try:
            async with async_driver(self._settings, self._reload) as driver:
                self._follow_loop = FollowLoop(self._deployment.follower, partial(self._run_flow, driver))
                try:
                    await self._poll_loop(driver)
                finally:
                    await self._follow_loop.close()
        except Exception as error:  # noqa: BLE001  # whatever ends the loop must reach its waits
            self._retire()
            for waiter in set(self._waiters):
                waiter.end(error)

    async def _poll_loop(self, driver: AsyncDriver) -> None:
        failures = counted = 0
        while True:
            started = time.monotonic()
            waiting, answered = len(self._waiters), await self._poll(driver)
            took = time.monotonic() - started
            sent, counted = driver.sent - counted, driver.sent
            failures = 0 if answered else failures + 1
            self._metrics.poll(waiting=waiting, requests=sent, failed=not answered, took=took)
            log.debug("A poll for %d waits: %d requests in %.3f s", waiting, sent, took)
            await self._pause(took, failures)

    async def _pause(self, took: float, failures: int) -> None:
        """Sleep until the next poll; a wait that joins meanwhile may need it earlier."""
        over, jitter = time.monotonic(), random.random()  # noqa: S311  # no secret
        while True:
            seconds = seconds_to_next_poll(self._waiters, now=time.time(), took=took, failures=failures, jitter=jitter)
            self._joined.clear()
            try:
                await asyncio.wait_for(self._joined.wait(), over + seconds - time.monotonic())
            except asyncio.TimeoutError:
                return

    async def _poll(self, driver: AsyncDriver) -> bool:
        """Poll once. :return: whether the remote answered."""
        client = self._deployment.client
        try:
            # Detecting the generation also shows the remote's time, which the listing depends on.
            dialect = await driver.run(client.dialect())
        except TransientError as error:
            self._record_failure(set(self._waiters), error)
            return False
        clock = Clock(client.clock(), client.remote_clock() - client.clock())
        if clock.now - self._widened > SECONDS_BETWEEN_WIDE_POLLS:
            # One that was refused or failed is tried again, and given up at once if it still does not work.
            self._ended_runs = Cursor(failures=self._ended_runs.failures)
            self._ended_tasks = Cursor(available=dialect.lists_ended_tasks, failures=self._ended_tasks.failures)
            self._widened = clock.now
        self._checks.next()
        poll, available = self._plan(clock), self._available
        answered = await self._list_runs(driver, poll) and await self._list_tasks(driver, poll)
        if self._available != available:
            # Those whom a listing was to serve that is refused.
            poll = self._plan(clock)
        left = [waiter for waiter in poll.individually if waiter.ended is None]
        refusals = Refusals()
        await asyncio.gather(*(self._poll_one(driver, waiter, refusals) for waiter in spread(left)))
        self._checks.record(sum(waiter.ended is not None for waiter in poll.checked if waiter in left))
        if answered and self._follow_loop:
            self._follow_loop.follow(self._waiters, clock.now)
        return answered

    @property
    def _available(self) -> tuple[bool, bool]:
        return self._ended_runs.available, self._ended_tasks.available

    def _plan(self, clock: Clock) -> PollPlan:
        checks = self._checks.number
        return plan(self._waiters, clock, checks=checks, runs=self._ended_runs, tasks=self._ended_tasks)

    async def _list_runs(self, driver: AsyncDriver, poll: PollPlan) -> bool:
        """List the runs that have ended. :return: whether the remote answered."""
        flow = self._deployment.runs.ended(poll.dag_ids, since=poll.since, bound=poll.bound)
        ended = await self._list(driver, self._ended_runs, poll.served, flow)
        if ended is None:
            return False
        now = self._deployment.client.clock()
        matched = [(waiter, run) for waiter, run in poll.waiting_for(ended) if waiter.ended is None]
        self._metrics.seen({run.run_id: run for _, run in matched}.values(), self._deployment.client.remote_clock())
        for waiter, run in matched:
            if waiter.target.run_id:
                waiter.record_snapshot(Snapshot.of_run(run), now)
        # A wait for dates may be for several, of which this is one.
        several = {waiter for waiter, _ in matched if not waiter.target.run_id}
        await asyncio.gather(*(self._poll_one(driver, waiter) for waiter in several))
        return True

    async def _list_tasks(self, driver: AsyncDriver, poll: PollPlan) -> bool:
        """List the tasks that have ended, and poll the waits for them. :return: as for runs."""
        flow = self._deployment.poller.ended_tasks(poll.runs, since=poll.parts_since)
        ended = await self._list(driver, self._ended_tasks, poll.parts, flow)
        if ended is None:
            return False
        matched = {waiter for task in ended for waiter in poll.waiting_for_task(task)}
        await asyncio.gather(*(self._poll_one(driver, waiter) for waiter in matched))
        return True

    async def _list(
        self, driver: AsyncDriver, listing: Cursor, served: Sequence[Waiter], flow: Flow[list[Ended]]
    ) -> list[Ended] | None:
        """List what has ended. :return: that, nothing if the remote refuses, ``None`` if it did not answer."""
        if not served:
            # The next wait may have begun long ago: nothing is known of that time.
            listing.resume_at = None
            return []
        client = self._deployment.client
        requested_at = client.remote_clock()
        try:
            ended = await self._run_flow(driver, flow)
        except TransientError as error:
            listing.failures += 1
            suspicious = listing.failures >= FAILURES_BEFORE_PROBE or may_refuse(error)
            probe = min(served, key=lambda waiter: waiter.due) if suspicious else None
            if probe is None or not await self._can_be_read(driver, probe):
                self._record_failure(set(served).difference({probe}), error)
                return None
            refusal: RemoteError = error
        except RemoteError as error:
            if not refuses(error):
                raise
            refusal = error
        else:
            listing.advance((each.end_date for each in ended), requested_at)
            now = client.clock()
            for waiter in served:
                # What ended up to now has been reported.
                waiter.listed, waiter.answered_at = True, now
            return ended
        log.warning("The remote does not list what ended; for now, every run is read individually: %s", refusal)
        listing.available = False
        return []

    async def _can_be_read(self, driver: AsyncDriver, probe: Waiter) -> bool:
        """Read what one of the waits is for. :return: whether the remote answered."""
        before = probe.answered_at
        await self._poll_one(driver, probe)
        return isinstance(probe.ended, WaitResult) or probe.answered_at != before

    async def _poll_one(self, driver: AsyncDriver, waiter: Waiter, refusals: Refusals | None = None) -> None:
        refusals = refusals or Refusals()
        try:
            async with self._at_once:
                if refusals.of_all:
                    waiter.end(refusals.of_all)
                    return
                await driver.run(self._deployment.poller.poll(waiter, bare=True))
                refusals.record(waiter)
        except Exception as error:  # noqa: BLE001  # whatever is wrong with one run must not end the waits for others
            waiter.end(error)

    async def _run_flow(self, driver: AsyncDriver, flow: Flow[T]) -> T:
        """Run a flow, which has one request under way at a time."""
        async with self._at_once:
            return await driver.run(flow)

    def _record_failure(self, waiters: Iterable[Waiter], error: TransientError) -> None:
        now = self._deployment.client.clock()
        for waiter in waiters:
            waiter.record_failure(error, now)


class FollowLoop:
    """
    Reads progress and logs of a few runs at a time, so that it costs the remote no more if more wait.

    It runs beside the polls: a log may take long to read, and other waits must not be delayed by it.

    :param follower: has the flows.
    :param run: runs one of them.
    """

    def __init__(self, follower: RunFollower, run: Callable[[Flow[None]], Awaitable[None]]) -> None:
        self._follower = follower
        self._run = run
        self._under_way: dict[Waiter, asyncio.Task[None]] = {}
        self._next_progress = 0.0

    def follow(self, waiters: Iterable[Waiter], now: float) -> None:
        """Start to read for those whose turn it is."""
        in_turn = now >= self._next_progress
        # Logs are read in each poll: a user who sets stream_logs has accepted what that costs.
        due = [
            waiter
            for waiter in waiters
            if waiter.follow_due <= now
            and (in_turn or waiter.streams.task_ids)
            and waiter.is_followed
            and waiter not in self._under_way
        ]
        streaming = [waiter for waiter in due if waiter.streams.task_ids]
        others = (waiter for waiter in due if not waiter.streams.task_ids)
        first = nsmallest(FOLLOWED_AT_ONCE, others, key=_follow_due)
        for waiter in sorted([*streaming, *first], key=_follow_due):
            if len(self._under_way) >= FOLLOWED_AT_ONCE:
                return
            if not waiter.streams.task_ids:
                if now < self._next_progress:
                    continue
                self._next_progress = now + SECONDS_BETWEEN_RUNS
            self._under_way[waiter] = asyncio.create_task(self._follow_one(waiter))

    async def report_last_lines(self, waiter: Waiter) -> None:
        """Report, for a wait that is over, what was written into the logs last."""
        if waiter in self._under_way:
            await asyncio.wait({self._under_way[waiter]})
        await self._run_safely(self._follower.report_last_lines(waiter))

    async def close(self) -> None:
        """Stop."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow_one(self, waiter: Waiter) -> None:
        try:
            await self._run_safely(self._follower.follow(waiter))
        finally:
            del self._under_way[waiter]

    async def _run_safely(self, flow: Flow[None]) -> None:
        try:
            await self._run(flow)
        except Exception as error:  # noqa: BLE001  # whatever it is, the watcher meets it too, and knows what to do
            log.debug("Could not read all progress and logs: %s", error)


def _follow_due(waiter: Waiter) -> float:
    return waiter.follow_due
