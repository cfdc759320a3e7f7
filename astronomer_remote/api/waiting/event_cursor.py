"""Which events of a remote were passed on already: no I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

SECONDS_SHOWN_LATE = 600.0
"""How long after its timestamp an event may be shown by the remote, and is still passed on."""

SECONDS_KEPT = SECONDS_SHOWN_LATE * 1.5
"""How far a cursor reaches back: a listing that does is requested only every few minutes."""

SECONDS_AHEAD = 86_400.0
"""How far in the future a stored cursor may be; one that is further ahead would leave out events for long."""

MOST_KEPT = 500
"""Keys of events that a cursor contains at most; Airflow 3.3 recommends less than 64 KiB for a stored value."""


@dataclass(frozen=True)
class RemoteEvent:
    """
    Something that happened once in the remote.

    :param key: what distinguishes it from others, also after the remote's database was reset.
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
    """

    since: float
    seen: Mapping[str, float] = field(default_factory=dict)
    by_local_clock: bool = False

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

    def merged(self, other: EventCursor) -> EventCursor:
        """What was passed on according to either. Only one by the remote's clock counts."""
        if other.by_local_clock:
            return self
        return _cursor(max(self.since, other.since), {**self.seen, **other.seen})

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "since": self.since,
            "seen": dict(self.seen),
            **({"by_local_clock": True} if self.by_local_clock else {}),
        }

    @classmethod
    def parse(cls, value: Any, now: float) -> EventCursor | None:
        """
        The inverse of :meth:`as_dict`, also for what another version of this package has stored.

        Keys that cannot be read are left out, so that an event is rather passed on twice than not at all.

        :param now: seconds since the epoch.
        :return: ``None`` for anything else, and for a moment that cannot be.
        """
        if not isinstance(value, Mapping):
            return None
        since, seen = value.get("since"), value.get("seen")
        if not _is_moment(since) or since > now + SECONDS_AHEAD:
            return None
        pairs = seen.items() if isinstance(seen, Mapping) else ()
        kept = {str(key): float(moment) for key, moment in pairs if _is_moment(moment)}
        return replace(_cursor(float(since), kept), by_local_clock=value.get("by_local_clock") is True)


def _is_moment(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _cursor(since: float, seen: Mapping[str, float]) -> EventCursor:
    """A cursor of limited size."""
    kept = sorted(((moment, key) for key, moment in seen.items() if moment >= since), reverse=True)
    if len(kept) > MOST_KEPT:
        # Of events of the same moment, all are kept or none.
        oldest = kept[MOST_KEPT][0]
        newer = [each for each in kept if each[0] > oldest]
        if newer:
            kept, since = newer, newer[-1][0]
    return EventCursor(since, {key: moment for moment, key in reversed(kept)})
