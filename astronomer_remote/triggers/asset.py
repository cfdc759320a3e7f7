"""The trigger that waits for events of an asset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.waiting.log_stream import log_sink
from astronomer_remote.api.waiting.target import WaitResult
from astronomer_remote.triggers.base import RemoteTrigger

if TYPE_CHECKING:
    from astronomer_remote.hooks.astronomer import AstronomerHook

__all__ = ["RemoteAssetTrigger"]


class RemoteAssetTrigger(RemoteTrigger):
    """
    Waits in the triggerer for events of an asset of a remote deployment. It only reads.

    Its ``target`` is an :class:`~astronomer_remote.api.assets.target.AssetTarget` as a dict, the other arguments are
    those of :class:`~astronomer_remote.triggers.base.RemoteTrigger`.
    """

    async def watch(self, hook: AstronomerHook) -> WaitResult:
        from astronomer_remote.api.watch.asset_watcher import watch_asset

        return await watch_asset(
            AssetTarget.from_dict(self.target),
            settings=await hook.shared_settings(),
            reload=hook.async_settings,
            poke_interval=self.poke_interval,
            deadline=self.deadline,
            on_line=log_sink(self.log),
        )
