"""Which events of a remote were passed on already: no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SECONDS_SHOWN_LATE = 600.0
"""How long after its timestamp an event may be shown by the remote, and is still passed on."""

SECONDS_KEPT = SECONDS_SHOWN_LATE * 1.5
"""How far a cursor reaches back: a listing that does is requested only every few minutes."""

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
    """

    since: float
    seen: Mapping[str, float] = field(default_factory=dict)

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
        """What was passed on according to either."""
        return _cursor(max(self.since, other.since), {**self.seen, **other.seen})

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {"since": self.since, "seen": dict(self.seen)}

    @classmethod
    def parse(cls, value: Any) -> EventCursor | None:
        """The inverse of :meth:`as_dict`; ``None`` for anything else."""
        if not isinstance(value, Mapping):
            return None
        since, seen = value.get("since"), value.get("seen")
        if not isinstance(since, (int, float)) or not isinstance(seen, Mapping):
            return None
        return cls(float(since), {str(key): float(moment) for key, moment in seen.items()})


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
