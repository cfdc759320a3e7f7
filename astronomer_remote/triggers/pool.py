"""The trigger that waits for open slots in a pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.waiting.log_stream import log_sink
from astronomer_remote.api.waiting.target import WaitResult
from astronomer_remote.triggers.base import RemoteTrigger

if TYPE_CHECKING:
    from astronomer_remote.hooks.astronomer import AstronomerHook

__all__ = ["RemotePoolTrigger"]


class RemotePoolTrigger(RemoteTrigger):
    """
    Waits in the triggerer until a pool of a remote deployment has open slots. It only reads.

    Its ``target`` is a :class:`~astronomer_remote.api.pools.target.PoolTarget` as a dict, the other arguments are those
    of :class:`~astronomer_remote.triggers.base.RemoteTrigger`.
    """

    async def watch(self, hook: AstronomerHook) -> WaitResult:
        from astronomer_remote.api.watch.pool_watcher import watch_pool

        return await watch_pool(
            PoolTarget.from_dict(self.target),
            settings=await hook.shared_settings(),
            reload=hook.async_settings,
            poke_interval=self.poke_interval,
            deadline=self.deadline,
            on_line=log_sink(self.log),
        )
