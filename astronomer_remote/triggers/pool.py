"""The trigger that waits for room in a pool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.waiting.log_stream import log_sink
from astronomer_remote.triggers.wait import ENDS_A_WAIT, WaitEvent, load_http_libraries, settle


class RemotePoolTrigger(BaseTrigger):
    """
    Waits in the triggerer until a pool of a remote deployment has room.

    It only ever reads. Its arguments are plain JSON and the id of a connection; no secret is among them.

    :param astronomer_conn_id: connection of type ``astronomer``.
    :param target: a :class:`~astronomer_remote.api.pools.target.PoolTarget` as a dict.
    :param poke_interval: seconds between two looks.
    :param deadline: when to give up, in seconds since the epoch: it holds however often a triggerer restarts.
    :param begin: when to look first, in seconds since the epoch, default at once.
    """

    def __init__(
        self,
        *,
        astronomer_conn_id: str,
        target: dict[str, Any],
        poke_interval: float,
        deadline: float | None = None,
        begin: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # so in Airflow
        self.astronomer_conn_id = astronomer_conn_id
        self.target = target
        self.poke_interval = poke_interval
        self.deadline = deadline
        self.begin = begin

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "astronomer_conn_id": self.astronomer_conn_id,
                "target": self.target,
                "poke_interval": self.poke_interval,
                "deadline": self.deadline,
                "begin": self.begin,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait. :return: exactly one event, a :class:`~astronomer_remote.triggers.wait.WaitEvent` as a dict."""
        began = time.monotonic()
        event = await self._wait()
        await settle(self, began)
        yield TriggerEvent(event.as_dict())  # type: ignore[no-untyped-call]  # so in Airflow

    async def _wait(self) -> WaitEvent:
        await asyncio.sleep(max(0.0, (self.begin or 0.0) - time.time()))
        await load_http_libraries()
        from astronomer_remote.api.watch.pool_watcher import watch_pool
        from astronomer_remote.hooks.astronomer import AstronomerHook

        hook = AstronomerHook(self.astronomer_conn_id)
        try:
            outcome = await watch_pool(
                PoolTarget.from_dict(self.target),
                settings=await hook.async_settings(),
                reload=hook.async_settings,
                poke_interval=self.poke_interval,
                deadline=self.deadline,
                on_line=log_sink(self.log),
            )
        except ENDS_A_WAIT as error:
            return WaitEvent.of_error(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not reach the database as it is
            return WaitEvent.of_unexpected(error, self.log)
        return WaitEvent(outcome.status, outcome.summary)
