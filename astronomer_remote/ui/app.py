"""The application behind the page: its files, and what the API server has to read for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_connection
from fastapi import Depends, FastAPI, Request, Response
from fastapi import Path as InPath
from fastapi.responses import JSONResponse

from astronomer_remote.get_provider_info import get_provider_info
from astronomer_remote.links import RemoteDagRunLink
from astronomer_remote.map.page import page
from astronomer_remote.ui.one_poller import NoReply, OnePoller
from astronomer_remote.ui.status import NoSuchConnection, Statuses, TooManyConnections
from astronomer_remote.ui.stored_dags import DagsUnreadable, StoredDags, merged

FRAMED = "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

HEADERS = {
    # Nothing but the files of this package runs, and nothing leaves the deployment.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    f"img-src 'self'; frame-src 'self'; {FRAMED}",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

# The map has its own script and the policy for it.
MAP_HEADERS = {"Content-Security-Policy": FRAMED}

REFUSALS: dict[type[Exception], tuple[int, str]] = {
    NoSuchConnection: (404, "There is no connection of this id and type, or it could not be read."),
    TooManyConnections: (429, "The status of too many connections is being read."),
    NoReply: (503, "The process of the API server that reads the status of the connections did not reply."),
    DagsUnreadable: (503, "Airflow's stored DAGs could not be read. The API server's log has the reason."),
}

SECONDS_TO_WAIT = 1.0
"""How long a request waits for the first status of a connection."""

SECONDS_TO_READ_DAGS = 60.0
"""How long a request waits for the map."""

ConnectionId = Annotated[str, InPath(min_length=1, max_length=250)]
"""As long as Airflow's database allows."""

FILES = {
    "": ("page.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "icon-light.svg": ("icon-light.svg", "image/svg+xml"),
    "icon-dark.svg": ("icon-dark.svg", "image/svg+xml"),
}
"""By their path; the page refers to them."""


def readable_dag_ids(user: GetUserDep) -> set[str]:
    """The DAGs that Airflow's auth manager lets a user read."""
    return get_auth_manager().get_authorized_dag_ids(user=user, method="GET")


def create(statuses: Statuses | None = None, dags: StoredDags | None = None, folder: Path | None = None) -> FastAPI:
    """
    Build the application.

    Its files contain no data, and need no login. Its API needs the right to read connections, which Airflow's auth
    manager decides, and the map shows the DAGs that the user may read. Everything else the page reads with the user's
    own login from Airflow's REST API.

    :param statuses: what is known of the connections, default nothing yet.
    :param dags: what is known of the DAGs, default nothing yet.
    :param folder: where the processes of the API server meet, so that one of them polls for all; default: none.
    """
    known = statuses or Statuses()
    stored = dags or StoredDags()
    app = FastAPI(title="Remote deployments", openapi_url=None)

    for path, (name, kind) in FILES.items():
        app.add_api_route(f"/{path}", _file(name, kind), methods=["GET"])

    may_read = [Depends(requires_access_connection("GET"))]

    @app.get("/api/operators", dependencies=may_read)
    def operators() -> dict[str, list[str]]:
        return operator_names()

    async def status_of(conn_id: str) -> dict[str, Any]:
        status = known.of(conn_id)
        # A request that takes longer would keep a browser from requesting anything else.
        ended = await _ended(status, SECONDS_TO_WAIT)
        found = status.result().as_dict() if ended else {"state": "checking"}
        until, since = known.times(conn_id)
        return {**found, "seconds_to_next_poll": until, "seconds_since_poll": since if ended else None}

    read_status = OnePoller(status_of, folder)

    @app.get("/api/connections/{connection_id:path}", dependencies=may_read)
    async def connection(connection_id: ConnectionId) -> dict[str, Any]:
        return await read_status(connection_id)

    @app.get("/api/map", dependencies=may_read)
    async def map_of_dags(dag_ids: Annotated[set[str], Depends(readable_dag_ids)]) -> Response:
        maps = stored.maps()
        if not await _ended(maps, SECONDS_TO_READ_DAGS):
            raise DagsUnreadable
        content = await asyncio.to_thread(page, merged(maps.result(), dag_ids))
        return Response(content, media_type="text/html", headers=MAP_HEADERS)

    for error, (code, text) in REFUSALS.items():
        app.add_exception_handler(error, _refusal(code, text))

    @app.middleware("http")
    async def with_headers(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

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
        return Response(content, media_type=kind)

    return serve


def _refusal(code: int, text: str) -> Any:
    def refuse(request: Request, error: Exception) -> Response:
        return JSONResponse({"detail": text}, code)

    return refuse


async def _ended(future: Future[Any], seconds: float) -> bool:
    """Wait so long for what a thread does. It continues if this is cancelled."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()

    def set_event(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(ended.set)

    future.add_done_callback(set_event)
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
    return future.done()
