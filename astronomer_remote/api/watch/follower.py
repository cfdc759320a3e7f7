"""Tells those who wait in an event loop what there is to tell, beside the ticks of their watcher."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.runs.follow import RunFollower
from astronomer_remote.api.waiting.progress import FOLLOWED_AT_ONCE, SECONDS_BETWEEN_RUNS
from astronomer_remote.api.waiting.waiter import Waiter

log = logging.getLogger(__name__)


class FollowLoop:
    """
    Lets a few at a time be told, so that it costs the remote no more if more wait.

    It goes on beside the ticks: a log may take long to read, and who waits for nothing else must not wait for it.

    :param follower: the conversations.
    :param run: runs one of them.
    """

    def __init__(self, follower: RunFollower, run: Callable[[Flow[None]], Awaitable[None]]) -> None:
        self._follower = follower
        self._run = run
        self._under_way: dict[Waiter, asyncio.Task[None]] = {}
        self._next_progress = 0.0

    def follow(self, waiters: Iterable[Waiter], now: float) -> None:
        """Begin to tell those whose turn it is."""
        due = {waiter for waiter in waiters if waiter.followed_run and waiter.follow_due <= now}
        idle = sorted(due.difference(self._under_way), key=lambda waiter: waiter.follow_due)
        for waiter in idle:
            if len(self._under_way) >= FOLLOWED_AT_ONCE:
                return
            # Whoever wants to see logs has asked for what that costs.
            if not waiter.streams.task_ids:
                if now < self._next_progress:
                    continue
                self._next_progress = now + SECONDS_BETWEEN_RUNS
            self._under_way[waiter] = asyncio.create_task(self._tell_one(waiter))

    async def follow_rest(self, waiter: Waiter) -> None:
        """Tell somebody whose wait is over what was written into the logs last."""
        if waiter in self._under_way:
            await asyncio.wait({self._under_way[waiter]})
        await self._tell(self._follower.finish(waiter))

    async def close(self) -> None:
        """Tell no more."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell_one(self, waiter: Waiter) -> None:
        try:
            await self._tell(self._follower.follow(waiter))
        finally:
            del self._under_way[waiter]

    async def _tell(self, flow: Flow[None]) -> None:
        try:
            await self._run(flow)
        except Exception as error:  # noqa: BLE001  # whatever it is, the watcher meets it too, and knows what to do
            log.debug("Not all could be told: %s", error)
