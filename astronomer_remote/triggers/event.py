"""
Triggers for asset watchers of Airflow 3: what happens in a remote deployment becomes an event of a local asset.

:mod:`astronomer_remote.assets` makes assets with them.
"""

from __future__ import annotations

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from importlib import import_module
from json import dumps
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from astronomer_remote.api.assets.assets import SECONDS_OF_OVERLAP
from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import AuthenticationFailed, InvalidSettings, TransientError
from astronomer_remote.api.protocol.models import FINISHED_RUN_STATES, asset_ref, utc_text, utc_text_of
from astronomer_remote.api.waiting.event_cursor import SECONDS_KEPT, SECONDS_SHOWN_LATE, EventCursor, RemoteEvent
from astronomer_remote.api.waiting.waiter import seconds_of
from astronomer_remote.arguments import (
    asset_or_text,
    check_asset,
    date,
    json_object,
    optional_id,
    required_id,
    seconds,
    states,
    text,
)
from astronomer_remote.compat import BaseEventTrigger, require_watchers, store_state, stored_state, unsent_events
from astronomer_remote.dependencies import ASSET, DAG, Dependency
from astronomer_remote.exceptions import airflow_exceptions

if TYPE_CHECKING:
    from astronomer_remote.api.watch.event_sources import EventSource
    from astronomer_remote.api.watch.registered_events import RegisteredEvents
    from astronomer_remote.hooks.astronomer import AstronomerHook

__all__ = ["RemoteAssetEventTrigger", "RemoteDagRunTrigger"]

LONGEST_PAUSE = 300.0
"""Seconds between two attempts at most while the remote cannot be read."""

LONGEST_SHOWN = 200
"""Characters of a stored value that are logged."""

FAILURES_UNTIL_RELOAD = 3
"""After so many failures in a row the connection is read again: the remote may have moved."""

SECONDS_BETWEEN_SAVES = 300.0
"""How far the cursor advances without events before it is stored."""

EVENTS_AT_ONCE = 200
"""After so many events the cursor is stored, so that a crash repeats no more of them."""

SECONDS_PER_TURN = 0.25
"""Seconds between two checks whether the triggerer has sent the events."""

TURNS_TO_SETTLE = 240
"""How many such pauses it is given if that cannot be checked: a minute."""


class RemoteEventTrigger(BaseEventTrigger):
    """
    Passes events of a remote on to a local asset, and never ends.

    :param astronomer_conn_id: connection of type ``astronomer``.
    :param since: from when on events count at the first start, ISO 8601; default: from the first start on. Later starts
        continue where the last one stopped.
    :param poke_interval: seconds between two polls.
    :param local_asset: the local asset that gets the events: its name, or an ``Asset``. In Airflow 3.3, the cursor is
        then in its state store rather than in a variable. Two local assets that watch the same need it.
    :param local_conn_id: connection of type ``astronomer`` to the local deployment itself. With it, events that the
        local asset has already are not passed on again. Needs ``local_asset``.
    """

    def __init__(
        self,
        *,
        astronomer_conn_id: str = "astronomer_default",
        since: str | datetime | None = None,
        poke_interval: float = 30.0,
        local_asset: Any = None,
        local_conn_id: str | None = None,
    ) -> None:
        require_watchers()
        super().__init__()  # type: ignore[no-untyped-call]  # so in Airflow
        with airflow_exceptions():
            self.astronomer_conn_id = required_id(astronomer_conn_id, "astronomer_conn_id")
            self.since = date(since, "since")
            self.poke_interval = seconds(poke_interval, "poke_interval")
            self.local_asset = text(getattr(local_asset, "name", local_asset), "local_asset")
            self.local_conn_id = optional_id(local_conn_id, "local_conn_id")
            if self.local_conn_id and not self.local_asset:
                raise InvalidSettings("local_conn_id needs local_asset, whose events are read there.")
        self._local: RegisteredEvents | None = None
        self._full_reported = False
        self._began = 0.0

    @abstractmethod
    def watched(self) -> dict[str, Any]:
        """The arguments that say what is watched."""

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        """What a trigger of this class depends on in the remote, for the map."""
        return ()

    @abstractmethod
    async def open(self, hook: AstronomerHook) -> EventSource:
        """What is polled."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        arguments = {
            "astronomer_conn_id": self.astronomer_conn_id,
            "since": self.since,
            "poke_interval": self.poke_interval,
            "local_asset": self.local_asset,
            "local_conn_id": self.local_conn_id,
            **self.watched(),
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    @property
    def cursor_key(self) -> str:
        """Key of the stored cursor, in the asset's state store or in Airflow's variables."""
        what = [self.local_asset, self.astronomer_conn_id, self.watched()]
        digest = sha256(dumps([type(self).__name__, what], sort_keys=True).encode()).hexdigest()
        return f"astronomer_remote_cursor_{digest[:24]}"

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """
        Poll the remote, for ever. :return: an event for each one there.

        The cursor is stored after Airflow has registered the events, so none is lost. Those that were registered right
        before a crash are repeated, unless they can be read from the local deployment.
        """
        # Before anything else: on a busy machine, it may take long until a cursor is stored.
        self._began = time.time()
        source: EventSource | None = None
        cursor: EventCursor | None = None
        saved = 0.0
        unsaved = False
        failures = 0
        while True:
            try:
                if cursor is None:
                    cursor = await self._cursor(None)
                    saved = 0.0 if cursor.by_local_clock else cursor.since
                if source is None or (failures and failures % FAILURES_UNTIL_RELOAD == 0):
                    # The former one is kept until then: it knows that a login was refused.
                    source, self._local = await self._source(), await self._registered_events()
                before = cursor
                cursor, fresh, read_until = await self._poll(source, cursor)
                unsaved = unsaved or cursor != before
            except Exception as error:  # noqa: BLE001  # Airflow would start a trigger that ends again, without a pause
                failures += 1
                pause = min(self.poke_interval * 2.0 ** min(failures - 1, 8), max(LONGEST_PAUSE, self.poke_interval))
                text = untrusted.readable(f"{type(error).__name__}: {error}")
                self.log.warning("Could not poll the remote, will try again in %.0f s: %s", pause, text)
                if not isinstance(error, (TransientError, AuthenticationFailed)):
                    # The connection is read again.
                    source = self._local = None
                await asyncio.sleep(pause)
                continue
            failures = 0
            for first in range(0, len(fresh), EVENTS_AT_ONCE):
                some = fresh[first : first + EVENTS_AT_ONCE]
                for event in some:
                    yield TriggerEvent(event.payload)  # type: ignore[no-untyped-call]  # so in Airflow 2
                self.log.info("Passed on %d events", len(some))
                cursor = cursor.passed(some)
                self._warn_if_full(cursor)
                unsaved = not await self._save(cursor, settle=True)
            cursor = cursor.after(read_until)
            if unsaved or cursor.since - saved >= SECONDS_BETWEEN_SAVES:
                stored = await self._save(cursor, settle=unsaved)
                unsaved, saved = unsaved and not stored, cursor.since if stored else saved
            await asyncio.sleep(max(SECONDS_PER_TURN, self.poke_interval - source.age()))

    async def _poll(self, source: EventSource, cursor: EventCursor) -> tuple[EventCursor, list[RemoteEvent], float]:
        """:return: what is known now, the events to pass on, and until when all were read, by the remote's clock."""
        if cursor.by_local_clock:
            cursor = cursor.by_remote_clock(await source.ahead())
        found = await source.poll(cursor.since, self.poke_interval, cursor.seen)
        if cursor.fresh(found.events):
            # Another triggerer may have passed some on while this one did not run.
            cursor = await self._cursor(cursor)
        if self._is_ahead(cursor, found.listed_at):
            cursor = cursor.reaching_back(found.listed_at)
            since = utc_text_of(cursor.since)
            self.log.warning("The clock of the remote was set back. Events since %s count, by its clock.", since)
        fresh = cursor.fresh(found.events)
        cursor = cursor.passed(await self._registered(fresh, found.listed_at))
        return cursor, cursor.fresh(fresh), found.read_until

    def _is_ahead(self, cursor: EventCursor, listed_at: float) -> bool:
        """Whether a cursor is in the future, by the remote's clock, and its ``since`` does not say so."""
        # It is known to a second at best.
        return cursor.since > max(listed_at + SECONDS_OF_OVERLAP, seconds_of(self.since) if self.since else 0.0)

    def _warn_if_full(self, cursor: EventCursor) -> None:
        """Log once that too many events come for all of them to be stored."""
        if cursor.is_full and not self._full_reported:
            self._full_reported = True
            self.log.warning(
                "There are more events than a cursor contains. One that the remote shows after younger ones, and whose "
                "timestamp is before %s, is not passed on.",
                utc_text_of(cursor.since),
            )

    async def _source(self) -> EventSource:
        return await self.open(await self._hook(self.astronomer_conn_id))

    async def _hook(self, conn_id: str) -> AstronomerHook:
        # It imports HTTP libraries, which takes about a second: in a thread, as all triggers share this event loop.
        await asyncio.to_thread(import_module, "astronomer_remote.hooks.astronomer")
        from astronomer_remote.hooks.astronomer import AstronomerHook

        return AstronomerHook(conn_id)

    async def _cursor(self, known: EventCursor | None) -> EventCursor:
        """The cursor, as far as it is known or stored."""
        value = await stored_state(self, self.cursor_key)
        stored = EventCursor.parse(value, time.time())
        if known and stored:
            return known.merged(stored)
        if known or stored:
            return known or stored  # type: ignore[return-value]  # one of them is there
        if value is not None:
            shown = untrusted.readable(repr(value), LONGEST_SHOWN)
            self.log.warning("The stored cursor %s cannot be read, starting over: %s", self.cursor_key, shown)
        if self.since:
            first = EventCursor(seconds_of(self.since))
        else:
            # Rather repeat events than lose some, if it was stored before.
            first = EventCursor(self._began - (0.0 if value is None else SECONDS_KEPT), by_local_clock=True)
        # At once, so that a restart before the first event does not skip events.
        await store_state(self, self.cursor_key, first.as_dict())
        self.log.info("Watching for the first time: events since %s", utc_text_of(first.since))
        return first

    async def _registered(self, events: list[RemoteEvent], listed_at: float) -> list[RemoteEvent]:
        """
        Those of the events that the local asset has: they were registered right before a crash.

        :param listed_at: when they were listed, by the remote's clock.
        """
        if not events or not self._local:
            return []
        # An event was registered after it happened, which is known by the remote's clock.
        age = listed_at - min(event.moment for event in events)
        since = max(0.0, time.time() - age - SECONDS_SHOWN_LATE)
        known = await self._local.known(str(self.local_asset), [event.key for event in events], since)
        return [event for event in events if event.key in known]

    async def _registered_events(self) -> RegisteredEvents | None:
        """What the local deployment has registered, if that is to be read."""
        if not self.local_conn_id:
            return None
        hook = await self._hook(self.local_conn_id)
        from astronomer_remote.api.watch.registered_events import RegisteredEvents

        return RegisteredEvents.of(await hook.shared_settings(), hook.async_settings)

    async def _save(self, cursor: EventCursor, *, settle: bool) -> bool:
        """
        Store the cursor.

        :param settle: whether to wait until Airflow has registered the events that were sent before.
        :return: whether it is stored; if not, that is tried again after the next poll.
        """
        try:
            if settle:
                # Airflow registers an event after the trigger has sent it: the triggerer's event loop sends what its
                # triggers have passed on to another process, about once a second, or later while it starts triggers.
                # That process handles one message at a time, in order, and registers events after each. So two answers
                # after the events were sent mean that they are registered.
                turns = 0
                while (unsent := unsent_events(self)) or (unsent is None and turns < TURNS_TO_SETTLE):
                    turns += 1
                    await asyncio.sleep(SECONDS_PER_TURN)
                for _ in range(2):
                    await stored_state(self, self.cursor_key)
            await store_state(self, self.cursor_key, cursor.as_dict())
        except Exception as error:  # noqa: BLE001  # it is stored after the next poll
            self.log.warning("Could not store which events were passed on: %s", untrusted.readable(str(error)))
            return False
        return True


class RemoteAssetEventTrigger(RemoteEventTrigger):
    """
    Makes each event of an asset of a remote deployment an event of a local asset. Remote: Airflow 2.4 and later.

    :param asset: the remote asset: its URI or name, or an ``Asset`` of Airflow.
    :param uri: the URI of the remote asset, instead.
    :param name: the name of the remote asset, besides ``uri``.
    :param extra: only events count whose extra has these keys with these values.
    :param kwargs: those of :class:`RemoteEventTrigger`: ``astronomer_conn_id``, ``since``, ``poke_interval``,
        ``local_asset``, ``local_conn_id``.
    """

    def __init__(
        self,
        *,
        asset: Any = None,
        uri: str | None = None,
        name: str | None = None,
        extra: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        with airflow_exceptions():
            if asset is not None or name is None:
                check_asset(asset, uri)
                ref = asset_ref(asset_or_text(asset, "asset"), uri)
                uri, name = ref.uri, ref.name
            self.extra = json_object(extra, "extra")
        self.uri = uri
        self.name = name

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        return (Dependency("waits for events of", ASSET, task.uri or task.name),)

    def watched(self) -> dict[str, Any]:
        return {"uri": self.uri, "name": self.name, "extra": self.extra}

    async def open(self, hook: AstronomerHook) -> EventSource:
        from astronomer_remote.api.watch.event_sources import AssetEvents

        target = AssetTarget(self.uri, self.name, utc_text("1970-01-01T00:00:00Z", "since"), 1, self.extra)
        return AssetEvents(target, await hook.shared_settings(), hook.async_settings, self.log.warning)


class RemoteDagRunTrigger(RemoteEventTrigger):
    """
    Makes the end of each run of a DAG of a remote deployment an event of a local asset. Remote: Airflow 2 and later.

    A run that is cleared and ends again is another event, and so is one whose state is changed after its end.

    :param dag_id: DAG of the remote.
    :param states: only runs count that ended in one of these states, default ``success``; ``failed`` is the other one.
    :param kwargs: those of :class:`RemoteEventTrigger`: ``astronomer_conn_id``, ``since``, ``poke_interval``,
        ``local_asset``, ``local_conn_id``.
    """

    def __init__(self, *, dag_id: str, states: Collection[Any] = ("success",), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        with airflow_exceptions():
            self.dag_id = required_id(dag_id, "dag_id")
            self.states = sorted(_states(states))

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        return (Dependency("waits for", DAG, task.dag_id),)

    def watched(self) -> dict[str, Any]:
        return {"dag_id": self.dag_id, "states": self.states}

    async def open(self, hook: AstronomerHook) -> EventSource:
        from astronomer_remote.api.watch.event_sources import EndedRuns

        return EndedRuns(self.dag_id, self.states, await hook.shared_settings(), hook.async_settings)


def _states(given: Collection[Any]) -> tuple[str, ...]:
    plain = states(given, "states", tuple(sorted(FINISHED_RUN_STATES)))
    if not plain:
        raise InvalidSettings("states must contain success, failed, or both.")
    return plain
