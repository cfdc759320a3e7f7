"""What is waited for in an asset's events, and whether it has happened: no I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.models import AssetEvent, AssetRef
from astronomer_remote.api.waiting.target import Target


@dataclass(frozen=True)
class AssetTarget(Target):
    """
    The events of an asset that are waited for; plain JSON, so that it survives a deferral.

    :param uri: URI of the asset.
    :param name: its name, which is compared if no asset has the URI.
    :param since: only events from this moment on count, ISO 8601 in UTC.
    :param count: how many events there must be.
    :param extra: keys that an event's extra must have, with their values.
    """

    uri: str | None
    name: str | None
    since: str
    count: int = 1
    extra: Mapping[str, Any] | None = None

    @property
    def ref(self) -> AssetRef:
        """What identifies the asset."""
        return AssetRef(self.uri, self.name)

    def __str__(self) -> str:
        events = "an event" if self.count == 1 else f"{self.count} events"
        extra = f" with {', '.join(self.extra)} in extra as given" if self.extra else ""
        return f"{events} of asset {self.ref} since {self.since}{extra}"

    def matches(self, event: AssetEvent) -> bool:
        """Whether an event of the asset, which is not older than :attr:`since`, counts."""
        return all(key in event.extra and event.extra[key] == value for key, value in (self.extra or {}).items())

    def is_met_by(self, events: Sequence[AssetEvent]) -> bool:
        """Whether these are enough events."""
        return len(events) >= self.count

    def summary(self, events: Sequence[AssetEvent]) -> str:
        """The state, for a log line."""
        return untrusted.readable(f"{len(events)} of {self.count} events: waiting for {self}")
