"""What all waits of one event loop share for a deployment that they poll on a condition, and the loop of one wait."""

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections.abc import Awaitable, Callable
from typing import ClassVar, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary, WeakValueDictionary

from astronomer_remote.api.client.retry import SECONDS_BETWEEN_LOGINS, RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import AuthenticationFailed, TransientError
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
        self._refusal: AuthenticationFailed | None = None
        self._refused_at = 0.0

    @classmethod
    def of(cls: type[SharedT], settings: Settings, reload: ReloadSettings) -> SharedT:
        """The one of a deployment in the running event loop; it is dropped with the last wait."""
        of_this_loop = cls._all.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
        found = of_this_loop.get((cls, settings))
        if found is None:
            found = of_this_loop[cls, settings] = cls(settings, reload)
        return cast("SharedT", found)

    def raise_refusal(self, seconds: float = math.inf) -> None:
        """
        Raise the last refusal of the login again, as each attempt may lock the account.

        :param seconds: how old it may be, :data:`~astronomer_remote.api.client.retry.SECONDS_BETWEEN_LOGINS` at most.
        :raises AuthenticationFailed: if there is one.
        """
        if self._refusal and time.monotonic() - self._refused_at < min(seconds, SECONDS_BETWEEN_LOGINS):
            # Raising changes it, and it may be raised many times.
            raise copy.copy(self._refusal)

    async def ahead(self) -> float:
        """
        Seconds by which the remote's clock is ahead of the local one; less than a second off.

        :raises AuthenticationFailed: also if the login was refused recently.
        """
        client = self._deployment.client

        def flow() -> Flow[float]:
            # Any reply has the remote's date.
            yield from client.dialect()
            return client.remote_clock() - client.clock()

        async with self._lock:
            self.raise_refusal()
            return await self._run(flow())

    async def _run(self, flow: Flow[T]) -> T:
        try:
            async with async_driver(self._deployment.settings, self._reload) as driver:
                result = await driver.run(flow)
        except AuthenticationFailed as error:
            # A copy has no traceback, which would keep this object alive.
            self._refusal, self._refused_at = copy.copy(error), time.monotonic()
            raise
        self._refusal = None
        return result


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
