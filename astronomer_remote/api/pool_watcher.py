"""
Waits for room in pools of remote deployments in a triggerer: one listing of the pools serves all who wait.

All waits of one event loop that concern the same deployment with the same credentials share :class:`PoolListings`.
Whoever is the first to want a fresher listing than the last makes one; the others take it, and look again when it is
as old as their interval: that brings them into step.
"""

from __future__ import annotations

import asyncio
import copy
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import ClassVar, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.errors import PassingError, RemoteError
from astronomer_remote.api.models import Pool
from astronomer_remote.api.pool_waiting import RoomWanted
from astronomer_remote.api.pools import SECONDS_OF_PATIENCE
from astronomer_remote.api.settings import Settings
from astronomer_remote.api.transport import async_driver
from astronomer_remote.api.waiting import Outcome, Verdict

Reload: TypeAlias = Callable[[], Awaitable[Settings]]

_ByLoop: TypeAlias = "WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[Settings, PoolListings]]"


async def watch_pool(
    wanted: RoomWanted,
    *,
    settings: Settings,
    reload: Reload,
    poke_interval: float,
    deadline: float | None,
    told: Callable[[str], None],
) -> Outcome:
    """
    Wait until a pool has room.

    :param settings: where the deployment is.
    :param reload: reads the connection anew.
    :param poke_interval: seconds between two looks.
    :param deadline: when to give up, in seconds since the epoch.
    :param told: gets a line whenever something changed.
    :raises PassingError: when the remote could not be asked for longer than
        :data:`~astronomer_remote.api.pools.SECONDS_OF_PATIENCE`.
    """
    listings, reached, summary = PoolListings.of(settings, reload), time.monotonic(), ""
    while True:
        try:
            pool = wanted.among(await listings.fresh(poke_interval))
        except PassingError as error:
            if time.monotonic() - reached > SECONDS_OF_PATIENCE:
                raise
            told(f"Waiting on, although the remote could not be asked: {error}")
        else:
            reached, before, summary = time.monotonic(), summary, wanted.summary(pool)
            if summary != before:
                told(summary)
            if wanted.is_in(pool):
                return Outcome(Verdict.SUCCESS, summary)
        left = poke_interval if deadline is None else deadline - time.time()
        if left <= 0:
            return Outcome(Verdict.TIMEOUT, summary)
        await asyncio.sleep(max(0.01, min(poke_interval - listings.age, left)))


class PoolListings:
    """
    Listings of the pools of a deployment, each made once for all who wait.

    :param settings: where the deployment is.
    :param reload: reads the connection anew.
    """

    _all: ClassVar[_ByLoop] = WeakKeyDictionary()

    def __init__(self, settings: Settings, reload: Reload) -> None:
        self._settings = settings
        self._reload = reload
        self._deployment = Deployment(settings)
        self._lock = asyncio.Lock()
        self._made: float | None = None
        self._outcome: Mapping[str, Pool] | RemoteError = {}

    @classmethod
    def of(cls, settings: Settings, reload: Reload) -> PoolListings:
        """Those of a deployment in the running event loop; they go when the last one who waits does."""
        of_this_loop = cls._all.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        found = of_this_loop.get(settings)
        if found is None:
            found = of_this_loop[settings] = cls(settings, reload)
        return found

    @property
    def age(self) -> float:
        """Seconds since the last listing."""
        return time.monotonic() - self._made if self._made is not None else 0.0

    async def fresh(self, seconds: float) -> Mapping[str, Pool]:
        """
        The pools by name.

        :param seconds: how old the listing may be.
        :raises RemoteError: if it failed; a failure, too, is one for all.
        """
        async with self._lock:
            outcome = await self._renewed(seconds)
        if isinstance(outcome, RemoteError):
            # Raising adds to it, and it may be raised many times.
            raise copy.copy(outcome)
        return outcome

    async def _renewed(self, seconds: float) -> Mapping[str, Pool] | RemoteError:
        if self._made is None or self.age >= seconds:
            self._outcome = await self._list()
            self._made = time.monotonic()
        return self._outcome

    async def _list(self) -> Mapping[str, Pool] | RemoteError:
        try:
            async with async_driver(self._settings, self._reload) as driver:
                return {pool.name: pool for pool in await driver.run(self._deployment.pools.all_with_use())}
        except RemoteError as error:
            return error
