"""What all waits of one event loop share for a deployment that they poll on a condition, and the loop of one wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import TransientError
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.async_driver import async_driver
from astronomer_remote.api.waiting.target import WaitResult
from astronomer_remote.api.waiting.waiter import ConditionWaiter

ReloadSettings: TypeAlias = Callable[[], Awaitable[Settings]]

RETRY = RetryPolicy(waits_for_wake=False)
"""For a deployment that was woken, the polls wait: each task then logs it."""

T = TypeVar("T")
SharedT = TypeVar("SharedT", bound="Shared")

_ByKind: TypeAlias = "WeakValueDictionary[tuple[type[Shared], Settings], Shared]"


class Shared:
    """
    What the waits of one event loop share that concern the same deployment with the same credentials.

    :param settings: where the deployment is.
    :param reload: reads the connection again.
    """

    _all: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, _ByKind]] = WeakKeyDictionary()

    def __init__(self, settings: Settings, reload: ReloadSettings) -> None:
        self._reload = reload
        self._deployment = Deployment(settings, retry=RETRY)
        self._lock = asyncio.Lock()

    @classmethod
    def of(cls: type[SharedT], settings: Settings, reload: ReloadSettings) -> SharedT:
        """The one of a deployment in the running event loop; it is dropped with the last wait."""
        of_this_loop = cls._all.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        found = of_this_loop.get((cls, settings))
        if found is None:
            found = of_this_loop[cls, settings] = cls(settings, reload)
        return cast("SharedT", found)

    async def ahead(self) -> float:
        """Seconds by which the remote's clock is ahead of the local one; less than a second off."""
        client = self._deployment.client

        def flow() -> Flow[float]:
            # Any reply has the remote's date.
            yield from client.dialect()
            return client.remote_clock() - client.clock()

        async with self._lock:
            return await self._run(flow())

    async def _run(self, flow: Flow[T]) -> T:
        async with async_driver(self._deployment.settings, self._reload) as driver:
            return await driver.run(flow)


async def poll_until_met(
    waiter: ConditionWaiter[T], read: Callable[[], Awaitable[T]], age: Callable[[], float]
) -> WaitResult:
    """
    Poll until a condition is met or the time is over.

    :param read: what the condition is about, as it is now.
    :param age: seconds since it was read from the remote.
    :raises TransientError: if the remote was unreachable for
        :data:`~astronomer_remote.api.waiting.waiter.UNREACHABLE_TIMEOUT` seconds.
    """
    while True:
        outcome: T | TransientError
        try:
            outcome = await read()
        except TransientError as error:
            outcome = error
        result = waiter.record(outcome)
        if result:
            return result
        await asyncio.sleep(max(0.01, waiter.seconds_to_next_poll(age())))
