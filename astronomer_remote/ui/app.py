"""The application behind the page: its files, and what the API server has to read for it."""

from __future__ import annotations

import asyncio
from importlib import import_module
from importlib.resources import files
from typing import Any

from airflow.api_fastapi.core_api.security import requires_access_connection
from fastapi import Depends, FastAPI, HTTPException, Response

from astronomer_remote.get_provider_info import get_provider_info
from astronomer_remote.links import RemoteDagRunLink
from astronomer_remote.ui.status import NoSuchConnection, Statuses

HEADERS = {
    # Nothing but the files of this package runs, and nothing leaves the deployment.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

FILES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "icon-light.svg": ("icon-light.svg", "image/svg+xml"),
    "icon-dark.svg": ("icon-dark.svg", "image/svg+xml"),
}
"""By their path; the page refers to them."""


def create(statuses: Statuses | None = None) -> FastAPI:
    """
    Build the application.

    Its files contain no data, and need no login. Its API needs the right to read connections, which Airflow's auth
    manager decides. Everything else the page reads with the user's own login from Airflow's REST API.

    :param statuses: what is known of the connections, default nothing yet.
    """
    known = statuses or Statuses()
    app = FastAPI(title="Remote deployments", openapi_url=None)

    for path, (name, kind) in FILES.items():
        app.add_api_route(f"/{path}", _file(name, kind), methods=["GET"])

    may_read = [Depends(requires_access_connection("GET"))]

    @app.get("/api/operators", dependencies=may_read)
    def operators() -> dict[str, list[str]]:
        return operator_names()

    @app.get("/api/connections/{connection_id:path}", dependencies=may_read)
    async def connection(connection_id: str, response: Response) -> dict[str, Any]:
        response.headers.update(HEADERS)
        status, seconds = known.of(connection_id)
        try:
            found = await asyncio.shield(asyncio.wrap_future(status))
        except NoSuchConnection:
            raise HTTPException(404, "There is no connection of this id and type.") from None
        return {**found.as_dict(), "seconds_to_next_poll": round(seconds, 1)}

    return app


def operator_names() -> dict[str, list[str]]:
    """Names of the operators and sensors: all, and those whose tasks have a link to a remote run."""
    info = get_provider_info()
    modules = [name for kind in ("operators", "sensors") for each in info[kind] for name in each["python-modules"]]
    classes = [getattr(module, name) for module in map(import_module, modules) for name in module.__all__]
    linked = [
        each
        for each in classes
        if any(isinstance(link, RemoteDagRunLink) for link in getattr(each, "operator_extra_links", ()))
    ]
    return {"all": sorted({each.__name__ for each in classes}), "of_runs": sorted({each.__name__ for each in linked})}


def _file(name: str, kind: str) -> Any:
    content = (files("astronomer_remote.ui") / name).read_bytes()

    def serve() -> Response:
        return Response(content, media_type=kind, headers=HEADERS)

    return serve
