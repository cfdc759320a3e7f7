"""Which events of remotes the local deployment has registered already, read through its own API."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import AssetEvent, AssetRef, utc_text_of
from astronomer_remote.api.watch.event_sources import key_of
from astronomer_remote.api.watch.shared import Shared


class RegisteredEvents(Shared):
    """The events of local assets, read with one login for all watchers that use the same connection."""

    async def known(self, name: str, keys: Collection[str], since: float) -> set[str]:
        """
        Which events of remotes a local asset has.

        :param name: of the local asset.
        :param keys: of the remote's events, see :func:`~astronomer_remote.api.watch.event_sources.key_of`.
        :param since: from when on they may have been registered, in seconds since the epoch.
        :return: the keys of those that it has.
        :raises AuthenticationFailed: also if the login was refused recently.
        """
        missing = set(keys)

        def found(event: AssetEvent) -> None:
            missing.discard(_key_in(event.extra))

        def flow() -> Flow[None]:
            assets = self._deployment.assets
            asset = yield from assets.get(AssetRef(name=name))
            yield from assets.each_event(found, asset, since=utc_text_of(since), until=lambda event: not missing)

        async with self._lock:
            self.raise_refusal()
            await self._run(flow())
        return set(keys) - missing


def _key_in(extra: Mapping[str, Any]) -> str:
    """The key of the remote's event in the extra of a local event, nothing if it came from elsewhere."""
    try:
        return key_of(extra["payload"])
    except (KeyError, TypeError, InvalidSettings):
        return ""
