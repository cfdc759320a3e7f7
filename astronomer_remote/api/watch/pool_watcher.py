"""
Waits for open slots of pools in a triggerer: one listing of the pools serves all waits.

Where the remote refuses that listing, each pool is read on its own, once for all waits for that pool.

All waits of one event loop that concern the same deployment with the same credentials share :class:`PoolListings`.
The first wait that needs a newer listing than the last one requests it; the others use it, and poll again when it is
as old as their interval: that brings them into step.
"""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from astronomer_remote.api.client.responses import may_refuse, refuses
from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.errors import AuthenticationFailed, RemoteError, TransientError
from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.waiting.schedule import SECONDS_BETWEEN_WIDE_POLLS
from astronomer_remote.api.waiting.target import WaitResult
from astronomer_remote.api.waiting.waiter import ConditionWaiter
from astronomer_remote.api.watch.shared import ReloadSettings, Shared, poll_until_met

log = logging.getLogger(__name__)

ALL_POOLS = ""
"""Stands for the listing among the readings; no pool has this name."""


async def watch_pool(
    target: PoolTarget,
    *,
    settings: Settings,
    reload: ReloadSettings,
    poke_interval: float,
    deadline: float | None,
    on_line: Callable[[str], None],
) -> WaitResult:
    """
    Wait until a pool has open slots.

    :param settings: where the deployment is.
    :param reload: reads the connection again.
    :param poke_interval: seconds between two polls.
    :param deadline: when to give up, in seconds since the epoch.
    :param on_line: is called with a line whenever something changed.
    :raises TransientError: if the remote was unreachable for
        :data:`~astronomer_remote.api.waiting.waiter.UNREACHABLE_TIMEOUT` seconds.
    """
    listings = PoolListings.of(settings, reload)
    waiter = ConditionWaiter(target, poke_interval, deadline, on_line, time.time, time.monotonic)
    return await poll_until_met(
        waiter, partial(listings.pool, target, poke_interval), partial(listings.age, target.pool)
    )


class PoolListings(Shared):
    """Listings of the pools of a deployment, each requested once for all waits."""

    def __init__(self, settings: Settings, reload: ReloadSettings) -> None:
        super().__init__(settings, reload)
        self._readings: dict[str, _Reading] = {}
        self._refused_until = 0.0

    def age(self, name: str) -> float:
        """Seconds since the last reply about a pool."""
        reading = self._readings.get(self._key(name))
        return time.monotonic() - reading.made if reading else 0.0

    async def pool(self, target: PoolTarget, seconds: float) -> Pool:
        """
        The pool that a wait is for.

        :param seconds: how old the reading may be.
        :raises RemoteError: if it failed; a failure, too, is one for all.
        """
        async with self._lock:
            outcome = (await self._renewed(target.pool, seconds)).outcome
        if isinstance(outcome, RemoteError):
            # Raising adds a traceback, and it may be raised many times.
            raise copy.copy(outcome)
        return target.among(outcome)

    def _key(self, name: str) -> str:
        return name if time.monotonic() < self._refused_until else ALL_POOLS

    async def _renewed(self, name: str, seconds: float) -> _Reading:
        key = self._key(name)
        reading = self._readings.get(key)
        if reading is None or time.monotonic() - reading.made >= seconds:
            reading = await self._read(key)
            failure = reading.outcome if key == ALL_POOLS and isinstance(reading.outcome, RemoteError) else None
            if failure and (refuses(failure) or may_refuse(failure)):
                single = await self._read(name)
                # If no request gets through, the listing is not the cause.
                if not isinstance(single.outcome, (AuthenticationFailed, TransientError)):
                    log.warning("The remote does not list its pools; for now, each is read individually: %s", failure)
                    self._refused_until = time.monotonic() + SECONDS_BETWEEN_WIDE_POLLS
                    key, reading = name, single
            self._readings[key] = reading
        return reading

    async def _read(self, key: str) -> _Reading:
        pools = self._deployment.pools
        try:
            if key == ALL_POOLS:
                found = await self._run(pools.list_all(with_usage=True))
            else:
                found = [await self._run(pools.get(key, with_usage=True))]
        except RemoteError as error:
            return _Reading(error, time.monotonic())
        return _Reading({pool.name: pool for pool in found}, time.monotonic())


@dataclass(frozen=True)
class _Reading:
    """
    What a request returned.

    :param outcome: the pools by name, or why there are none.
    :param made: when, by the monotonic clock.
    """

    outcome: Mapping[str, Pool] | RemoteError
    made: float
