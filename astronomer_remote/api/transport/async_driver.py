"""
The driver over ``aiohttp`` that runs flows in triggerers.

It holds no policy, bounds what a reply may cost in memory and time, follows no redirects, keeps no cookies, and reads
no ``.netrc``, like :mod:`~astronomer_remote.api.transport.sync_driver`.

The connection's headers and credentials are given to each request, never to the session: ``aiohttp`` shows a
session's headers to a proxy, in clear, when it opens a tunnel (``CONNECT``).
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import replace
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

import aiohttp
from yarl import URL

from astronomer_remote.api.protocol.flow import Compute, Flow, Request, Response, Sleep, Step, TransportError
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.common import (
    CHUNK,
    LONGEST_REPLY,
    USER_AGENT,
    Body,
    LibraryErrors,
    content_of,
    failure,
    limit_of,
    resume,
    settings_for,
)
from astronomer_remote.api.transport.network import proxy_of, tls_context

T = TypeVar("T")

MOST_FIELDS = 200
"""Header fields of a reply."""

ERRORS = LibraryErrors(
    no_connection=(
        aiohttp.ClientConnectorError,
        aiohttp.ClientHttpProxyError,
        aiohttp.ConnectionTimeoutError,
        ssl.SSLCertVerificationError,
    ),
    connect_timeout=(aiohttp.ConnectionTimeoutError,),
    read_timeout=(aiohttp.SocketTimeoutError,),
    timeout=(asyncio.TimeoutError,),
)


class AsyncDriver:
    """
    Carries out flows over an ``aiohttp`` session; made by :func:`async_driver`.

    :param session: opened for the deployment.
    :param settings: where the deployment is.
    :param reload: reads the connection again.
    :param sleep: how to pause.
    :param tls: how the deployment's certificate is checked, from
        :func:`~astronomer_remote.api.transport.network.tls_context`.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: Settings,
        *,
        reload: Callable[[], Awaitable[Settings]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tls: ssl.SSLContext | bool = True,
    ) -> None:
        self._session = session
        self._settings = settings
        self._reload = reload
        self._sleep = sleep
        self._proxy = proxy_of(settings)
        self._tls = tls
        self._tls_elsewhere: ssl.SSLContext | bool | None = None
        self.sent = 0
        """How many requests it has sent."""

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end. :return: what it returns. :raises: what it raises."""
        outcome: Any = None
        try:
            while True:
                outcome = await self._carry_out(resume(flow, outcome))
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            flow.close()

    async def _carry_out(self, step: Step) -> Any:
        if isinstance(step, Request):
            return await self._send(step)
        if isinstance(step, Sleep):
            return await self._sleep(step.seconds)
        if isinstance(step, Compute):
            if step.blocks:
                return await _in_own_thread(step.run)
            async with _one_at_a_time():
                return await asyncio.to_thread(step.run)
        settings = await self._reload()
        if settings != self._settings:
            self._tls_elsewhere = None
            self._tls = await asyncio.to_thread(tls_context, settings)
            self._settings, self._proxy = settings, proxy_of(settings)
        return settings

    async def _send(self, request: Request) -> Response | TransportError:
        settings, proxy, tls = self._settings, self._proxy, self._tls
        body, headers = content_of(request, settings)
        self.sent += 1
        try:
            if request.url:
                settings = settings_for(request, settings)
                proxy, tls = proxy_of(settings), await self._tls_for(settings)
            async with self._session.request(
                request.method,
                URL(request.url or settings.base_url + request.target, encoded=True),
                # Beyond a megabyte, aiohttp wants a file: it would hold up the event loop with the whole.
                data=io.BytesIO(body) if isinstance(body, bytes) else body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=LONGEST_REPLY,
                    sock_connect=settings.connect_timeout,
                    sock_read=settings.read_timeout,
                ),
                allow_redirects=False,
                proxy=proxy.url if proxy else None,
                ssl=tls,
            ) as reply:
                received = Body(reply.headers.get("Content-Encoding"), limit_of(request, reply.status))
                async for chunk in reply.content.iter_chunked(CHUNK):
                    if not received.add(chunk):
                        break
                content, named = received.end(), _named(reply.headers)
        except Exception as error:  # noqa: BLE001  # whatever a reply makes the library raise
            return failure(error, proxy, (settings.connect_timeout, settings.read_timeout, LONGEST_REPLY), ERRORS)
        return Response(reply.status, named, content, received.truncated)

    async def _tls_for(self, elsewhere: Settings) -> ssl.SSLContext | bool:
        """How the certificate of another host than the deployment's is checked."""
        if self._tls_elsewhere is None:
            self._tls_elsewhere = await asyncio.to_thread(tls_context, replace(elsewhere, base_url="https:"))
        return self._tls_elsewhere


@asynccontextmanager
async def async_driver(settings: Settings, reload: Callable[[], Awaitable[Settings]]) -> AsyncIterator[AsyncDriver]:
    """
    Open an asynchronous driver for a deployment, and close its connections in the end.

    :raises InvalidSettings: for a certificate file or a proxy that cannot be used.
    """
    # Loading a few hundred certificates takes longer than an event loop should be kept waiting.
    tls = await asyncio.to_thread(tls_context, settings)
    async with aiohttp.ClientSession(
        headers={"User-Agent": USER_AGENT},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    ) as session:
        yield AsyncDriver(session, settings, reload=reload, tls=tls)


_COMPUTING: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def _one_at_a_time() -> asyncio.Lock:
    """
    What lets one large reply of an event loop be read at a time.

    Several threads would not read them sooner, since only one runs Python at a time, but would need the memory of all
    of them and let the event loop wait for its turn longer.
    """
    return _COMPUTING.setdefault(asyncio.get_running_loop(), asyncio.Lock())


THREADS = 8
"""Libraries that are waited for at a time, each for a login."""

_THREADS: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


async def _in_own_thread(work: Callable[[], Any]) -> Any:
    """
    Call what blocks in a thread of our own.

    Those of :func:`asyncio.to_thread` are few, and everything else on the event loop needs them: name resolution, too.
    """
    loop = asyncio.get_running_loop()
    if loop not in _THREADS:
        _THREADS[loop] = ThreadPoolExecutor(THREADS, thread_name_prefix="astronomer-remote-login")
    return await loop.run_in_executor(_THREADS[loop], copy_context().run, work)


def _named(fields: Mapping[str, str]) -> dict[str, str]:
    """Header fields by name, those of one name joined, as `requests` gives them."""
    if len(fields) > MOST_FIELDS:
        # Python's own HTTP takes a hundred; of aiohttp, only newer versions have a limit.
        raise aiohttp.ClientPayloadError
    texts: dict[str, list[str]] = {}
    for name, text in fields.items():
        texts.setdefault(name.lower(), []).append(text)
    return {name: ", ".join(each) for name, each in texts.items()}
