"""
Waits for asset events of remote deployments in a triggerer: one listing of new events serves all waits.

All waits of one event loop that concern the same deployment with the same credentials share an :class:`EventFeed`. Each
wait first reads the past events of its own asset; from then on, the feed hands it the new ones. The first wait that
needs a newer listing than the last one reads it for all.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from weakref import WeakSet

from astronomer_remote.api.assets.assets import SECONDS_OF_OVERLAP
from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.protocol.errors import TransientError
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import Asset, AssetEvent, utc_text_of
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.waiting.schedule import SECONDS_BETWEEN_WIDE_POLLS
from astronomer_remote.api.waiting.target import WaitResult
from astronomer_remote.api.waiting.waiter import ConditionWaiter, seconds_of
from astronomer_remote.api.watch.shared import ReloadSettings, Shared, poll_until_met


async def watch_asset(
    target: AssetTarget,
    *,
    settings: Settings,
    reload: ReloadSettings,
    poke_interval: float,
    deadline: float | None,
    on_line: Callable[[str], None],
) -> WaitResult:
    """
    Wait for events of an asset.

    :param settings: where the deployment is.
    :param reload: reads the connection again.
    :param poke_interval: seconds between two polls.
    :param deadline: when to give up, in seconds since the epoch.
    :param on_line: is called with a line whenever something changed.
    :raises NotFound: for an unknown asset.
    :raises TransientError: when the remote could not be reached for longer than
        :data:`~astronomer_remote.api.waiting.waiter.UNREACHABLE_TIMEOUT` seconds.
    """
    feed = EventFeed.of(settings, reload)
    subscriber = Subscriber(target)
    waiter = ConditionWaiter(target, poke_interval, deadline, on_line, time.time, time.monotonic)
    return await poll_until_met(waiter, partial(feed.events, subscriber, poke_interval), feed.age)


class Subscriber:
    """
    One wait for events of an asset.

    :param target: what for.
    """

    def __init__(self, target: AssetTarget) -> None:
        self.target = target
        self.found: dict[int, AssetEvent] = {}
        self.listed_at = 0.0
        """When its events were last listed, in seconds since the epoch by the remote's clock."""
        self.is_cut = False
        """Whether its asset has more past events than are read."""
        self._since = seconds_of(target.since)
        self._asset: Asset | None = None
        self._settings: Settings | None = None
        self._read_until = 0.0

    def start(self, asset: Asset, events: Mapping[int, AssetEvent], settings: Settings, until: float) -> None:
        """
        Take the past events of its asset.

        :param events: those that count.
        :param settings: where they were read; the numbers of events and assets are those of this deployment.
        :param until: when they are to be read again, by the monotonic clock.
        """
        if settings != self._settings:
            self.found.clear()
        self._asset, self._settings, self._read_until = asset, settings, until
        self.found |= events

    def is_behind(self, settings: Settings) -> bool:
        """Whether the past events of its asset are to be read. :param settings: where events are read now."""
        return self._asset is None or settings != self._settings or time.monotonic() >= self._read_until

    def advance(self, since: float) -> None:
        """Drop the events before a moment, and take no more of them. :param since: in seconds since the epoch."""
        self.target = replace(self.target, since=utc_text_of(since))
        self._since = since
        self.found = {key: event for key, event in self.found.items() if seconds_of(event.timestamp) >= since}

    def restart(self) -> None:
        """Let the past events be read again."""
        self._asset = None

    def offer(self, event: AssetEvent) -> None:
        """Take an event if it counts. It may have been offered before."""
        asset = self._asset
        own = asset is not None and event.asset_id == asset.asset_id and event.uri in (None, asset.uri)
        if own and seconds_of(event.timestamp) >= self._since and self.target.matches(event):
            self.found[event.event_id] = event.light()


class EventFeed(Shared):
    """The new events of all assets of a deployment, read once for all waits."""

    def __init__(self, settings: Settings, reload: ReloadSettings) -> None:
        super().__init__(settings, reload)
        self._subscribers: WeakSet[Subscriber] = WeakSet()
        self._cursor: float | None = None
        """When the last listing began that was read, in seconds since the epoch by the remote's clock."""
        self._polled_at = time.monotonic()
        self._failure: TransientError | None = None

    def age(self) -> float:
        """Seconds since the last listing, or the last failure."""
        return time.monotonic() - self._polled_at

    async def events(self, subscriber: Subscriber, seconds: float) -> list[AssetEvent]:
        """
        The events that a wait has found so far.

        :param seconds: how old the last listing may be.
        :raises TransientError: if the remote did not answer; one failure counts for all waits.
        :raises AuthenticationFailed: likewise.
        """
        async with self._lock:
            self.raise_refusal(seconds)
            if self._failure and self.age() < seconds:
                # Raising changes it, and it may be raised many times.
                raise copy.copy(self._failure)
            try:
                if subscriber.is_behind(self._deployment.settings):
                    await self._read_past(subscriber)
                elif self.age() >= seconds:
                    await self._read_new()
            except TransientError as error:
                self._failure, self._polled_at = error, time.monotonic()
                raise
            self._failure = None
        return [*subscriber.found.values()]

    async def _read_past(self, subscriber: Subscriber) -> None:
        """
        Read the events before now of one wait's asset. No listing of new events comes between, so none is missed.

        It is repeated now and then: an event that was shown much later than its timestamp says is not among the new
        ones. And an asset gets another number when the remote's database is cleaned.
        """
        target, client = subscriber.target, self._deployment.client
        matching: dict[int, AssetEvent] = {}

        def found(event: AssetEvent) -> None:
            if target.matches(event):
                matching[event.event_id] = event.light()

        def flow() -> Flow[tuple[Asset, float, bool]]:
            asset = yield from self._deployment.assets.get(target.ref)
            began = client.remote_clock()
            if self._cursor is None:
                self._cursor = began
            return asset, began, (yield from self._deployment.assets.each_event(found, asset, since=target.since))

        asset, subscriber.listed_at, subscriber.is_cut = await self._run(flow())
        subscriber.start(asset, matching, self._deployment.settings, time.monotonic() + SECONDS_BETWEEN_WIDE_POLLS)
        self._subscribers.add(subscriber)

    async def _read_new(self) -> None:
        """Read the events since the last listing, for all waits."""
        began = self._deployment.client.remote_clock()

        def waiting() -> list[Subscriber]:
            # The connection may be read again meanwhile.
            return [each for each in self._subscribers if not each.is_behind(self._deployment.settings)]

        def found(event: AssetEvent) -> None:
            for subscriber in waiting():
                subscriber.offer(event)

        # An event may be shown later than its timestamp says; and the remote's clock may be set back.
        since = utc_text_of(min(self._cursor or began, began) - SECONDS_OF_OVERLAP)
        are_cut = await self._run(self._deployment.assets.each_event(found, since=since))
        self._cursor, self._polled_at = began, time.monotonic()
        for subscriber in waiting():
            subscriber.listed_at = began
            if are_cut:
                # Some were left out. Each wait then reads those of its own asset again.
                subscriber.restart()
