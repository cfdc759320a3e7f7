"""
The two drivers that carry out flows, one over ``requests`` and one over ``aiohttp``: the only code that waits.

They hold no policy. Both bound what a reply may cost in memory and time, follow no redirects, keep no cookies,
and read no ``.netrc``, which would put its own login in place of the connection's.
"""

from __future__ import annotations

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar, cast

import aiohttp
import requests
import urllib3
from yarl import URL

from astronomer_remote import __version__
from astronomer_remote.api.network import ca_file_of, client_certificate_of, proxy_of, tls_context
from astronomer_remote.api.settings import Settings
from astronomer_remote.api.wire import Flow, Request, Response, Sleep, Step, TransportError

T = TypeVar("T")

LARGEST_BODY = 32 * 1024 * 1024
"""Bytes of a reply that are read: far more than a page of a listing, far less than a worker's memory."""

LONGEST_REPLY = 120.0
"""Seconds a whole reply may take, however steadily it trickles in."""

NO_CONNECTION = (
    requests.ConnectTimeout,
    requests.exceptions.ProxyError,
    urllib3.exceptions.NewConnectionError,
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    ssl.SSLCertVerificationError,
)
"""What says that no request was sent, in the words of both libraries."""

CHUNK = 64 * 1024
OWN_HEADERS = {"Accept": "application/json", "User-Agent": f"astronomer-remote/{__version__}"}


class SyncDriver:
    """
    Carries out flows over a ``requests`` session.

    :param session: made ready by :func:`configure`.
    :param settings: where the deployment is.
    :param reload: reads the connection anew.
    :param sleep: how to pause.
    :param total_seconds: how long everything may take from now on, pauses included; then no reply arrives any more.
    """

    def __init__(
        self,
        session: requests.Session,
        settings: Settings,
        *,
        reload: Callable[[], Settings],
        sleep: Callable[[float], None] = time.sleep,
        total_seconds: float | None = None,
    ) -> None:
        self._session = session
        self._settings = settings
        self._reload = reload
        self._sleep = sleep
        self._total = total_seconds
        self._ends = math.inf if total_seconds is None else time.monotonic() + total_seconds

    def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end. :return: what it returns. :raises: what it raises."""
        outcome: Any = None
        try:
            while True:
                outcome = self._carry_out(_resume(flow, outcome))
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            flow.close()

    def _carry_out(self, step: Step) -> Any:
        if isinstance(step, Request):
            return self._send(step)
        if isinstance(step, Sleep):
            return self._sleep(min(step.seconds, max(self._ends - time.monotonic(), 0.0)))
        self._settings = self._reload()
        return self._settings

    def _send(self, request: Request) -> Response | TransportError:
        body, headers = _content(request)
        left = round(self._ends - time.monotonic(), 1)
        if left <= 0:
            return TransportError(f"the time for it, {self._total:g} s in all, is over", sent=False)
        settings, longest = _hurried(self._settings, left), min(LONGEST_REPLY, left)
        try:
            with self._session.request(
                request.method,
                settings.base_url + request.target,
                data=body,
                headers=headers,
                # So that both together take no longer than what is left; the types of requests do not know it.
                timeout=urllib3.Timeout(left, settings.connect_timeout, settings.read_timeout),  # type: ignore[arg-type]
                allow_redirects=False,
                stream=True,
            ) as reply:
                content, truncated = self._read(reply, time.monotonic() + longest)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            return TransportError(_reason(error, settings, longest), sent=not _never_left(error))
        return Response(
            reply.status_code,
            {name.lower(): text for name, text in reply.headers.items()},
            content,
            truncated,
        )

    def _read(self, reply: requests.Response, ends: float) -> tuple[bytes, bool]:
        content = bytearray()
        # What has arrived is read at once, so that a reply that trickles in does not hold us up for good.
        read = getattr(reply.raw, "read1", reply.raw.read)
        while chunk := read(CHUNK, decode_content=True):
            content += chunk
            if len(content) > LARGEST_BODY:
                return bytes(content[:LARGEST_BODY]), True
            if time.monotonic() > ends:
                raise requests.Timeout
        return bytes(content), False


class AsyncDriver:
    """
    Carries out flows over an ``aiohttp`` session; made by :func:`async_driver`.

    :param session: opened for the deployment.
    :param settings: where the deployment is.
    :param reload: reads the connection anew.
    :param sleep: how to pause.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        settings: Settings,
        *,
        reload: Callable[[], Awaitable[Settings]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session = session
        self._settings = settings
        self._reload = reload
        self._sleep = sleep
        self._proxy = proxy_of(settings)
        self.sent = 0
        """How many requests it has sent."""

    async def run(self, flow: Flow[T]) -> T:
        """Run a flow to its end. :return: what it returns. :raises: what it raises."""
        outcome: Any = None
        try:
            while True:
                outcome = await self._carry_out(_resume(flow, outcome))
        except StopIteration as end:
            return cast("T", end.value)
        finally:
            flow.close()

    async def _carry_out(self, step: Step) -> Any:
        if isinstance(step, Request):
            return await self._send(step)
        if isinstance(step, Sleep):
            return await self._sleep(step.seconds)
        self._settings = await self._reload()
        return self._settings

    async def _send(self, request: Request) -> Response | TransportError:
        body, headers = _content(request)
        settings = self._settings
        self.sent += 1
        try:
            async with self._session.request(
                request.method,
                URL(settings.base_url + request.target, encoded=True),
                data=body,
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=LONGEST_REPLY,
                    sock_connect=settings.connect_timeout,
                    sock_read=settings.read_timeout,
                ),
                allow_redirects=False,
                proxy=self._proxy,
            ) as reply:
                content, truncated = await self._read(reply)
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:
            return TransportError(_reason(error, settings, LONGEST_REPLY), sent=not _never_left(error))
        named = {name.lower(): ", ".join(reply.headers.getall(name)) for name in reply.headers}
        return Response(reply.status, named, content, truncated)

    async def _read(self, reply: aiohttp.ClientResponse) -> tuple[bytes, bool]:
        content = bytearray()
        async for chunk in reply.content.iter_chunked(CHUNK):
            content += chunk
            if len(content) > LARGEST_BODY:
                return bytes(content[:LARGEST_BODY]), True
        return bytes(content), False


def configure(session: requests.Session, settings: Settings) -> requests.Session:
    """
    Make a ``requests`` session ready for a deployment.

    :raises InvalidSettings: for a certificate file that is not there.
    """
    proxy = proxy_of(settings)
    # The environment's proxies are read here; what else ``requests`` would read there is ``.netrc``.
    session.trust_env = False
    session.proxies = {"http": proxy, "https": proxy} if proxy else {}
    session.verify = ca_file_of(settings) if settings.verify else False
    session.cert = client_certificate_of(settings)
    session.headers.update({**OWN_HEADERS, **settings.headers})
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


@asynccontextmanager
async def async_driver(settings: Settings, reload: Callable[[], Awaitable[Settings]]) -> AsyncIterator[AsyncDriver]:
    """
    Open an asynchronous driver for a deployment, and close its connections in the end.

    :raises InvalidSettings: for a certificate file that is not there.
    """
    # Loading a few hundred certificates takes longer than an event loop should be kept waiting.
    tls = await asyncio.to_thread(tls_context, settings)
    async with aiohttp.ClientSession(
        headers={**OWN_HEADERS, **settings.headers},
        connector=aiohttp.TCPConnector(ssl=tls),
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield AsyncDriver(session, settings, reload=reload)


def _resume(flow: Flow[Any], outcome: Any) -> Step:
    return flow.throw(outcome) if isinstance(outcome, TransportError) else flow.send(outcome)


def _content(request: Request) -> tuple[Any, dict[str, str]]:
    headers = dict(request.headers)
    if request.form is not None:
        return dict(request.form), headers
    content = request.content()
    return content, {**headers, "Content-Type": "application/json"} if content is not None else headers


def _never_left(error: Exception) -> bool:
    """Whether a request certainly did not reach the remote, since no connection came about."""
    return any(isinstance(cause, NO_CONNECTION) for cause in _causes(error))


def _hurried(settings: Settings, left: float) -> Settings:
    """Settings with which nothing takes longer than the time that is left."""
    connect, read = settings.connect_timeout, settings.read_timeout
    return replace(settings, connect_timeout=min(connect, left), read_timeout=min(read, left))


def _reason(error: Exception, settings: Settings, longest: float) -> str:
    """What happened, without the URLs that libraries put into their errors, which may hold a proxy's password."""
    causes = list(_causes(error))
    if isinstance(error, (requests.ConnectTimeout, aiohttp.ConnectionTimeoutError)):
        return f"connecting took longer than {settings.connect_timeout:g} s"
    if any(isinstance(cause, (urllib3.exceptions.ReadTimeoutError, aiohttp.SocketTimeoutError)) for cause in causes):
        return f"nothing more came for {settings.read_timeout:g} s"
    if isinstance(error, (requests.Timeout, asyncio.TimeoutError)):
        return f"the reply did not end within {longest:g} s"
    root = causes[-1]
    told = isinstance(root, OSError) and not isinstance(root, requests.RequestException)
    return f"{type(root).__name__}: {root}" if told else type(root).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it; ``urllib3`` hands some causes on as an argument."""
    while error:
        yield error
        handed_on = (argument for argument in error.args if isinstance(argument, BaseException))
        error = error.__cause__ or error.__context__ or next(handed_on, None)
