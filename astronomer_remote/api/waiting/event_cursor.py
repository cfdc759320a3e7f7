"""Which events of a remote were passed on already: no I/O."""

from __future__ import annotations

import math
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, TypeGuard

SECONDS_SHOWN_LATE = 600.0
"""How long after its timestamp an event may be shown by the remote, and is still passed on."""

SECONDS_KEPT = SECONDS_SHOWN_LATE * 1.5
"""How far a cursor reaches back: a listing that does is requested only every few minutes."""

SECONDS_AHEAD = 86_400.0
"""How far in the future a stored cursor may be; one that is further ahead would leave out events for long."""

LARGEST_CURSOR = 60_000
"""Bytes of the keys that a cursor contains; Airflow 3.3 recommends less than 64 KiB for a stored value."""

KEY_LENGTH = 10
"""Characters of a key: 60 bits, so that two of the thousands in a cursor are never the same by chance."""

BYTES_PER_SECOND = 18
"""How many bytes each second with events adds to a stored cursor."""


def event_key(*parts: str) -> str:
    """A short text that distinguishes an event from others."""
    digest = sha256("\0".join(parts).encode(errors="surrogatepass")).digest()
    return urlsafe_b64encode(digest)[:KEY_LENGTH].decode()


@dataclass(frozen=True)
class RemoteEvent:
    """
    Something that happened once in the remote.

    :param key: what distinguishes it from others, also after the remote's database was reset; see :func:`event_key`.
    :param moment: when, in seconds since the epoch by the remote's clock.
    :param payload: what is passed on, plain JSON.
    """

    key: str
    moment: float
    payload: dict[str, Any] = field(compare=False)


@dataclass(frozen=True)
class EventCursor:
    """
    How far the events of a remote were passed on.

    A number or a timestamp alone is not enough: the remote may show an event later than a younger one.

    :param since: earlier events are not passed on, in seconds since the epoch by the remote's clock.
    :param seen: the later ones that were passed on: their moments by their keys.
    :param by_local_clock: whether ``since`` is by the local clock, as the remote has not answered yet.
    :param is_full: whether ``since`` is later than it would be, as there are too many keys after it to store.
    """

    since: float
    seen: Mapping[str, float] = field(default_factory=dict)
    by_local_clock: bool = False
    is_full: bool = field(default=False, compare=False)

    def by_remote_clock(self, ahead: float) -> EventCursor:
        """The cursor by the remote's clock. :param ahead: seconds by which it is ahead of the local one."""
        return replace(self, since=self.since + ahead, by_local_clock=False) if self.by_local_clock else self

    def fresh(self, events: Iterable[RemoteEvent]) -> list[RemoteEvent]:
        """Those that were not passed on, oldest first."""
        found = {event.key: event for event in events if event.moment >= self.since and event.key not in self.seen}
        return sorted(found.values(), key=lambda event: event.moment)

    def passed(self, events: Iterable[RemoteEvent]) -> EventCursor:
        """The cursor after events were passed on; the next ones are not older."""
        return _cursor(self.since, {**self.seen, **{event.key: event.moment for event in events}})

    def after(self, listed_at: float) -> EventCursor:
        """
        The cursor after all events of a listing were passed on.

        :param listed_at: when the listing was requested, by the remote's clock.
        """
        return _cursor(max(self.since, listed_at - SECONDS_KEPT), self.seen)

    def reaching_back(self, listed_at: float) -> EventCursor:
        """
        The cursor after the remote's clock was set back: some of the events before now may not have been passed on.

        :param listed_at: when the remote was read, by its clock.
        """
        return replace(self, since=max(0.0, listed_at - SECONDS_KEPT))

    def merged(self, other: EventCursor) -> EventCursor:
        """What was passed on according to either. Only one by the remote's clock counts."""
        if other.by_local_clock:
            return self
        return _cursor(max(self.since, other.since), {**self.seen, **other.seen})

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: the keys of a second are one text, so that thousands of them are small enough to be stored."""
        return {
            "since": self.since,
            "seen": {str(second): "".join(keys) for second, keys in _by_second(self.seen).items()},
            **({"by_local_clock": True} if self.by_local_clock else {}),
        }

    @classmethod
    def parse(cls, value: Any, now: float) -> EventCursor | None:
        """
        The inverse of :meth:`as_dict`.

        Keys that cannot be read are left out, so that an event is rather passed on twice than not at all.

        :param now: seconds since the epoch.
        :return: ``None`` for anything else, and for a moment that cannot be.
        """
        if not isinstance(value, Mapping):
            return None
        since, seen = value.get("since"), value.get("seen")
        if not _is_moment(since) or since > now + SECONDS_AHEAD:
            return None
        kept = dict(_stored_keys(seen)) if isinstance(seen, Mapping) else {}
        return replace(_cursor(float(since), kept), by_local_clock=value.get("by_local_clock") is True)


def _is_moment(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _stored_keys(seen: Mapping[Any, Any]) -> Iterator[tuple[str, float]]:
    for second, keys in seen.items():
        if re.fullmatch("[0-9]{1,12}", str(second)) and isinstance(keys, str) and len(keys) % KEY_LENGTH == 0:
            for start in range(0, len(keys), KEY_LENGTH):
                yield keys[start : start + KEY_LENGTH], float(second)


def _by_second(seen: Mapping[str, float]) -> dict[int, list[str]]:
    """Keys by the second of their events, newest first."""
    found: dict[int, list[str]] = {}
    for each, moment in sorted(seen.items(), key=lambda item: (-int(item[1]), item[0])):
        found.setdefault(int(moment), []).append(each)
    return found


def _cursor(since: float, seen: Mapping[str, float]) -> EventCursor:
    """A cursor of limited size. Of the events of one second, all keys are kept or none."""
    kept: dict[str, float] = {}
    size = 0
    for second, keys in _by_second(seen).items():
        # Of a stored key, only the second is known.
        if second + 1 <= since:
            break
        size += BYTES_PER_SECOND + KEY_LENGTH * len(keys)
        if kept and size > LARGEST_CURSOR:
            return EventCursor(float(second + 1), kept, is_full=True)
        kept |= {each: seen[each] for each in keys}
    return EventCursor(since, kept)
