"""What a watcher tells of itself to those who operate the local deployment."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Protocol
from urllib.parse import urlsplit

from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.waiting.waiter import seconds_of


class Stats(Protocol):
    """Where metrics go; Airflow's own ``Stats`` is one."""

    def gauge(self, stat: str, value: float, *, tags: dict[str, str]) -> None: ...

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, str]) -> None: ...

    def timing(self, stat: str, dt: timedelta, *, tags: dict[str, str]) -> None: ...


class Metrics:
    """
    The metrics of one watcher, all tagged with the ``host`` of the remote.

    ``astronomer_remote.waiting`` (gauge), ``astronomer_remote.requests`` and ``astronomer_remote.errors`` (counters),
    ``astronomer_remote.poll`` (timer: how long the remote took to tell what is new) and ``astronomer_remote.lag``
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
