"""
Where the events come from that become events of local assets.

A source reads the events of one asset, or the ends of the runs of one DAG. All sources of one event loop that concern
the same deployment with the same credentials share one listing per poll.
"""

from __future__ import annotations

import copy
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from weakref import WeakSet

from astronomer_remote.api.assets.assets import MOST_EVENTS, SECONDS_OF_OVERLAP
from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    DagRunNotFound,
    NotSupported,
    RemoteError,
    ReplyTooLarge,
    TransientError,
)
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import DagRun, utc_text, utc_text_of
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.waiting.event_cursor import SECONDS_SHOWN_LATE, RemoteEvent, event_key
from astronomer_remote.api.waiting.waiter import seconds_of
from astronomer_remote.api.watch.asset_watcher import EventFeed, Subscriber
from astronomer_remote.api.watch.shared import ReloadSettings, Shared

log = logging.getLogger(__name__)

IDENTITIES = {"asset_event": ("event_id",), "dag_run": ("run_id", "state")}
"""What distinguishes an event from others of its kind and moment: fields of its payload."""

MOMENTS = {"asset_event": "timestamp", "dag_run": "end_date"}
"""When it happened: a field of its payload."""


def key_of(payload: Mapping[str, Any]) -> str:
    """
    What distinguishes an event from others that a source finds, in whatever form a remote writes its dates.

    :raises KeyError: for any other payload, like :class:`~astronomer_remote.api.protocol.errors.InvalidSettings`.
    """
    kind = payload["kind"]
    return event_key(*(str(payload[name]) for name in IDENTITIES[kind]), utc_text(payload[MOMENTS[kind]], "moment"))


@dataclass(frozen=True)
class Found:
    """
    What a poll found.

    :param events: events since a moment.
    :param listed_at: when the listing was requested, in seconds since the epoch by the remote's clock.
    :param ends: when the first event happened that is not among them, as it could not be read yet.
    """

    events: list[RemoteEvent]
    listed_at: float
    ends: float | None = None

    @property
    def read_until(self) -> float:
        """Until when all events were read."""
        return self.listed_at if self.ends is None else min(self.listed_at, self.ends)


class EventSource(Protocol):
    """What a trigger polls."""

    async def ahead(self) -> float:
        """Seconds by which the remote's clock is ahead of the local one."""

    async def poll(self, since: float, seconds: float, seen: Collection[str] = ()) -> Found:
        """
        Read the events since a moment.

        :param seconds: how old the last listing may be.
        :param seen: keys of events that are left out.
        :raises NotFound: if the remote has nothing of that name.
        :raises AuthenticationFailed: also if the login was refused recently, by whichever source.
        """

    def age(self) -> float:
        """Seconds since the last listing."""


class AssetEvents:
    """
    The events of an asset.

    :param target: which asset, and which extra an event must have.
    :param on_line: is called with a line if events were left out.
    """

    def __init__(
        self, target: AssetTarget, settings: Settings, reload: ReloadSettings, on_line: Callable[[str], None]
    ) -> None:
        self._feed = EventFeed.of(settings, reload)
        self._subscriber = Subscriber(target)
        self._on_line = on_line

    async def ahead(self) -> float:
        return await self._feed.ahead()

    def age(self) -> float:
        return self._feed.age()

    async def poll(self, since: float, seconds: float, seen: Collection[str] = ()) -> Found:
        self._subscriber.advance(since)
        # Unlike a task that waits, a watcher never gives up.
        self._feed.raise_refusal()
        events = await self._feed.events(self._subscriber, seconds)
        if self._subscriber.is_cut:
            self._subscriber.is_cut = False
            self._on_line(
                f"The asset has at least {MOST_EVENTS} events since {utc_text_of(since)}, which is the most that is "
                "read. Older ones are left out."
            )
        found = []
        for event in events:
            payload = {"kind": "asset_event", **event.as_dict()}
            if key_of(payload) not in seen:
                found.append(RemoteEvent(key_of(payload), seconds_of(event.timestamp), payload))
        return Found(found, self._subscriber.listed_at)


MOST_WHOLE_RUNS = 200
"""Runs that are kept with their conf, for all that watch them."""

ATTEMPTS_PER_RUN = 3
"""After so many failures, a run is passed on without its conf, so that it does not keep back those after it."""


class RunFeed(Shared):
    """The runs that ended in several DAGs of a deployment, read once for all that watch them."""

    def __init__(self, settings: Settings, reload: ReloadSettings) -> None:
        super().__init__(settings, reload)
        self._watching: WeakSet[EndedRuns] = WeakSet()
        self._polled_at: float | None = None
        self._failure: TransientError | None = None
        self._whole: dict[str, DagRun] = {}
        self._failures: Counter[str] = Counter()
        self.listed_at = 0.0

    def age(self) -> float:
        """Seconds since the last listing, or the last failure."""
        return 0.0 if self._polled_at is None else time.monotonic() - self._polled_at

    async def read(self, source: EndedRuns, seconds: float) -> None:
        """Hand the runs that ended to all that watch, unless the last listing was for this one and is recent."""
        # Before the lock: the listing that another one is about to request is then for this one, too.
        self._watching.add(source)
        async with self._lock:
            self.raise_refusal()
            if self._failure and self.age() < seconds:
                # Raising changes it, and it may be raised many times.
                raise copy.copy(self._failure)
            if source.is_listed and source.age() < seconds:
                return
            try:
                await self._list_with(source)
            except TransientError as error:
                self._failure, self._polled_at = error, time.monotonic()
                raise
            self._failure = None

    async def _list_with(self, source: EndedRuns) -> None:
        """List for all that watch, but not together with one that starts too long ago for a listing."""
        watching = list(self._watching)
        try:
            await self._list(watching)
        except NotSupported:
            oldest = min(watching, key=lambda each: each.next_since)
            others = [each for each in watching if each is not oldest]
            if not others:
                raise
            await self._list([source] if source is oldest else others)

    async def _list(self, watching: list[EndedRuns]) -> None:
        dag_ids = sorted({source.dag_id for source in watching})
        client = self._deployment.client

        def flow() -> Flow[tuple[list[DagRun], float, float]]:
            dialect = yield from client.dialect()
            if not dialect.lists_ended_runs:
                raise NotSupported("Airflow 1.10 does not report when a run ended. Watch DAGs of Airflow 2 and later.")
            began = client.remote_clock()
            since = min([began - SECONDS_OF_OVERLAP, *(source.next_since for source in watching)])
            # A run of an old date may end today.
            return (yield from self._deployment.runs.ended(dag_ids, since=since, bound=0.0)), since, began

        runs, since, began = await self._run(flow())
        self.listed_at, self._polled_at = began, time.monotonic()
        for source in watching:
            source.offer([run for run in runs if run.dag_id == source.dag_id], since, began)

    def now(self) -> float:
        """The time by the remote's clock."""
        return self._deployment.client.remote_clock()

    async def check(self, dag_id: str) -> None:
        """:raises DagNotFound: if the remote has no such DAG, or does not show it to this account."""
        await self._run(self._deployment.dags.get(dag_id))

    async def whole(self, run: DagRun) -> DagRun:
        """
        The same run with its conf and note; as it is, if it was deleted meanwhile or cannot be read.

        :raises RemoteError: if it could not be read, up to :data:`ATTEMPTS_PER_RUN` times.
        """
        key = f"{run.dag_id} {_key(run)}"
        async with self._lock:
            if key not in self._whole:
                # One request for all that watch this run. The oldest ones are dropped.
                for old in list(self._whole)[: max(0, len(self._whole) - MOST_WHOLE_RUNS + 1)]:
                    del self._whole[old]
                self._whole[key] = await self._read(run, key)
            return self._whole[key]

    async def _read(self, run: DagRun, key: str) -> DagRun:
        try:
            read = await self._run(self._deployment.runs.get(run.dag_id, run.run_id))
        except AuthenticationFailed:
            raise
        except RemoteError as error:
            self._failures[key] += 1
            final = isinstance(error, (DagRunNotFound, AccessDenied, ReplyTooLarge))
            if not final and self._failures[key] < ATTEMPTS_PER_RUN:
                raise
            log.warning("Run %s of DAG %s is passed on without its conf: %s", run.run_id, run.dag_id, error)
            del self._failures[key]
            return run
        del self._failures[key]
        # It may be running again by now; what counts is how it ended.
        return replace(read, state=run.state, start_date=run.start_date, end_date=run.end_date)


class EndedRuns:
    """
    The ends of the runs of a DAG.

    A run that is cleared and ends again has another end.

    :param dag_id: DAG of the remote.
    :param states: only runs count that ended in one of these states.
    """

    def __init__(self, dag_id: str, states: Collection[str], settings: Settings, reload: ReloadSettings) -> None:
        self._feed = RunFeed.of(settings, reload)
        self.dag_id = dag_id
        self._states = frozenset(states)
        self._since = 0.0
        self._found: dict[str, DagRun] = {}
        self._wide_at: float | None = None
        self._listed_at: float | None = None
        self._offered_at = 0.0
        self._exists = False

    @property
    def is_listed(self) -> bool:
        """Whether a listing was for this one."""
        return self._listed_at is not None

    @property
    def next_since(self) -> float:
        """From when on the next listing has to read, by the remote's clock."""
        is_wide = self._wide_at is None or time.monotonic() - self._wide_at >= SECONDS_SHOWN_LATE / 2
        if is_wide or self._listed_at is None:
            return self._since
        # The remote's clock may have been set back.
        return min(self._listed_at, self._feed.now()) - SECONDS_OF_OVERLAP

    def offer(self, runs: list[DagRun], since: float, listed_at: float) -> None:
        """
        Take the runs that ended. A few may have been offered before.

        :param since: how far back the listing reaches. It may do so for another one that watches.
        """
        if since <= self._since:
            self._wide_at = time.monotonic()
        self._listed_at, self._offered_at = listed_at, time.monotonic()
        self._found |= {_key(run): run for run in runs if run.end_date}

    async def ahead(self) -> float:
        return await self._feed.ahead()

    def age(self) -> float:
        return time.monotonic() - self._offered_at

    async def poll(self, since: float, seconds: float, seen: Collection[str] = ()) -> Found:
        self._since = since
        await self._feed.read(self, seconds)
        if not self._exists:
            # A listing of a DAG that does not exist is just empty.
            await self._feed.check(self.dag_id)
            self._exists = True
        self._found = {key: run for key, run in self._found.items() if _moment(run) >= since}
        found: list[RemoteEvent] = []
        for key, run in sorted(self._found.items(), key=lambda item: _moment(item[1])):
            if run.state not in self._states or key in seen:
                continue
            try:
                whole = await self._feed.whole(run)
            except AuthenticationFailed:
                raise
            except RemoteError:
                if not found:
                    raise
                # Those before it are passed on, and the next poll continues with it.
                return Found(found, self._feed.listed_at, _moment(run))
            found.append(RemoteEvent(key, _moment(run), {"kind": "dag_run", **whole.as_dict()}))
        return Found(found, self._feed.listed_at)


def _moment(run: DagRun) -> float:
    return seconds_of(run.end_date or "")


def _key(run: DagRun) -> str:
    return key_of({"kind": "dag_run", "run_id": run.run_id, "state": run.state, "end_date": run.end_date})
