"""
The plugin, for the entry point ``airflow.plugins``.

Every component of Airflow loads it, so that it imports nothing: the API server builds the application when the page is
opened for the first time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from airflow.plugins_manager import AirflowPlugin
from airflow.providers.common.compat.sdk import conf

SECTION, OPTION = "astronomer_remote", "ui_page"
"""Where Airflow's configuration turns the page off."""

PREFIX = "/astronomer-remote"
"""Path of the application below the URL of the API server."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]


class LazyApp:
    """An ASGI application that is built for its first request."""

    def __init__(self) -> None:
        self._app: Callable[[Scope, Receive, Send], Awaitable[None]] | None = None
        self._building = Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            # The API server answers other requests meanwhile.
            await asyncio.to_thread(self._build)
        assert self._app is not None  # noqa: S101  # just built
        await self._app(scope, receive, send)

    def _build(self) -> None:
        with self._building:
            if self._app is None:
                from astronomer_remote.ui.app import create
                from astronomer_remote.ui.one_poller import shared_folder

                self._app = create(folder=shared_folder())


def is_on() -> bool:
    """Whether the page is part of the UI, as it is by default where plugins can have one: from Airflow 3.1 on."""
    return hasattr(AirflowPlugin, "external_views") and bool(conf.getboolean(SECTION, OPTION, fallback=True))


def apps() -> list[dict[str, Any]]:
    """The plugin's ``fastapi_apps``."""
    return [{"name": "Remote deployments", "app": LazyApp(), "url_prefix": PREFIX}] if is_on() else []


def views() -> list[dict[str, Any]]:
    """The plugin's ``external_views``."""
    if not is_on():
        return []
    # Airflow shows the URL as it is, also if its own URLs begin with a path.
    base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
    icons = {"icon": f"{base}{PREFIX}/icon-light.svg", "icon_dark_mode": f"{base}{PREFIX}/icon-dark.svg"}
    return [
        {
            "name": "Remote deployments",
            "href": f"{base}{PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "remote-deployments",
            **icons,
        }
    ]


class AstronomerRemotePlugin(AirflowPlugin):
    """Both lists are empty before Airflow 3.1."""

    name = "astronomer_remote"
    fastapi_apps = apps()
    external_views = views()
