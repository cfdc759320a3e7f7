"""
The two drivers that run flows, one over ``requests`` and one over ``aiohttp``: the only code that waits.

They hold no policy. Both bound what a reply may cost in memory and time, follow no redirects, keep no cookies,
and read no ``.netrc``, which would put its own login in place of the connection's. Whatever goes wrong on the way
is a :class:`~astronomer_remote.api.protocol.flow.TransportError`: what a remote sends must not choose the exception.

The connection's headers and credentials are given to each request, never to the session: ``aiohttp`` shows a
session's headers to a proxy, in clear, when it opens a tunnel (``CONNECT``).
"""

from __future__ import annotations

import asyncio
import io
import math
import ssl
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import aiohttp
import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.structures import CaseInsensitiveDict
from requests.utils import prepend_scheme_if_needed
from yarl import URL

from astronomer_remote import __version__
from astronomer_remote.api.protocol.flow import Compute, Flow, Request, Response, Sleep, Step, TransportError
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.deadlines import DeadlinePassed, deadline, limit
from astronomer_remote.api.transport.network import Proxy, ca_file_of, client_certificate_of, proxy_of, tls_context

T = TypeVar("T")

LARGEST_BODY = 32 * 1024 * 1024
"""Bytes of any reply that are read at most, whatever its request allows."""

LARGEST_ERROR = 256 * 1024
"""Bytes of a reply that are read if it is an error, of which a few words are repeated."""

LONGEST_REPLY = 120.0
"""Seconds from connecting to the last byte of the reply, however steadily it trickles in."""

MOST_FIELDS = 200
"""Header fields of a reply."""

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
USER_AGENT = f"astronomer-remote/{__version__}"
OWN_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": USER_AGENT}
ZLIB_FORMATS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""How `zlib` calls the packed bodies that are unpacked; only the first is ever requested."""


class Body:
    """
    A reply's body as it arrives, unpacked and cut at a limit.

    It does not leave the unpacking to the HTTP libraries, of which older versions unpack a chunk at once, to a
    thousand times its size.

    :param encoding: the reply's ``Content-Encoding``; what is not known is kept as it is.
    :param limit: how many bytes are kept.
    """

    def __init__(self, encoding: str | None, limit: int) -> None:
        self._limit = limit
        format_ = ZLIB_FORMATS.get((encoding or "").strip().lower())
        self._unpacker = zlib.decompressobj(format_) if format_ else None
        self._content = bytearray()
        self._began = False
        self.truncated = False

    def add(self, chunk: bytes) -> bool:
        """Take in what arrived. :return: whether to read more. :raises zlib.error: if it cannot be unpacked."""
        self._began = True
        room = self._limit + 1 - len(self._content)
        self._content += self._unpacker.decompress(chunk, room) if self._unpacker else chunk
        self.truncated = len(self._content) > self._limit
        return not self.truncated

    def end(self) -> bytes:
        """All of it, at the end of the reply. :raises zlib.error: if the end is missing."""
        if self.truncated:
            return bytes(self._content[: self._limit])
        if self._unpacker and self._unpacker.unused_data:
            raise zlib.error("something follows the end of the packed body")
        # An empty body, such as that of a 204, may be called packed.
        if self._unpacker and self._began and not self._unpacker.eof:
            raise zlib.error("the packed body is incomplete")
        return bytes(self._content)


class SyncDriver:
    """
    Carries out flows over a ``requests`` session.

    :param session: made ready by :func:`configure`.
    :param settings: where the deployment is.
    :param reload: reads the connection again.
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
        if isinstance(step, Compute):
            return step.run()
        settings = self._reload()
        if settings != self._settings:
            self._settings = settings
            configure(self._session, settings)
        return settings

    def _send(self, request: Request) -> Response | TransportError:
        settings, now = self._settings, time.monotonic()
        longest = min(LONGEST_REPLY, self._ends - now)
        if longest <= 0:
            return TransportError(f"the time for it, {self._total:g} s in all, is over", sent=False)
        connect, read = min(settings.connect_timeout, longest), settings.read_timeout
        try:
            with deadline(now + longest), self._open(request, (connect, read)) as reply:
                body = Body(reply.headers.get("Content-Encoding"), _limit(request, reply.status_code))
                while chunk := reply.raw.read(CHUNK, decode_content=False):
                    if not body.add(chunk):
                        break
                content = body.end()
        except Exception as error:  # noqa: BLE001  # whatever a reply makes the libraries raise
            return _failure(error, proxy_of(_settings_for(request, settings)), (connect, read, longest))
        return Response(
            reply.status_code,
            {name.lower(): text for name, text in reply.headers.items()},
            content,
            body.truncated,
        )

    def _open(self, request: Request, timeout: tuple[float, float]) -> requests.Response:
        session, url = self._session, request.url or self._settings.base_url + request.target
        body, headers = _content(request, self._settings)
        prepared = session.prepare_request(requests.Request(request.method, url, headers=headers, data=body))
        adapter = session.get_adapter(url)
        verify, cert, proxies = True if session.verify is None else session.verify, session.cert, session.proxies
        if request.url:
            elsewhere = _settings_for(request, self._settings)
            verify, cert, proxies = ca_file_of(elsewhere), None, _proxies(proxy_of(elsewhere), [adapter])
        # Not through the session: it would read the whole body of a redirect, and the address that it leads to.
        return adapter.send(prepared, stream=True, timeout=timeout, verify=verify, cert=cert, proxies=proxies)


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
        if isinstance(step, Compute):
            if step.blocks:
                return await asyncio.to_thread(step.run)
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
        body, headers = _content(request, settings)
        self.sent += 1
        try:
            if request.url:
                settings = _settings_for(request, settings)
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
                received = Body(reply.headers.get("Content-Encoding"), _limit(request, reply.status))
                async for chunk in reply.content.iter_chunked(CHUNK):
                    if not received.add(chunk):
                        break
                content, named = received.end(), _named(reply.headers)
        except Exception as error:  # noqa: BLE001  # whatever a reply makes the library raise
            return _failure(error, proxy, (settings.connect_timeout, settings.read_timeout, LONGEST_REPLY))
        return Response(reply.status, named, content, received.truncated)

    async def _tls_for(self, elsewhere: Settings) -> ssl.SSLContext | bool:
        """How the certificate of another host than the deployment's is checked."""
        if self._tls_elsewhere is None:
            self._tls_elsewhere = await asyncio.to_thread(tls_context, replace(elsewhere, base_url="https:"))
        return self._tls_elsewhere


def run_once(flow: Flow[T], settings: Settings, *, total_seconds: float | None = None) -> T:
    """
    Run a flow on TCP connections of its own.

    :param total_seconds: limit for all its requests together.
    """
    with requests.Session() as session:
        configure(session, settings)
        return SyncDriver(session, settings, reload=lambda: settings, total_seconds=total_seconds).run(flow)


def configure(session: requests.Session, settings: Settings) -> requests.Session:
    """
    Make a ``requests`` session ready for a deployment, after its adapters are mounted and before its first request.

    :raises InvalidSettings: for a certificate file or a proxy that cannot be used.
    """
    proxy = proxy_of(settings)
    # The environment's proxies are read here; what else ``requests`` would read there is ``.netrc``.
    session.trust_env = False
    session.verify = ca_file_of(settings) if settings.verify else False
    session.cert = client_certificate_of(settings)
    session.headers.update(OWN_HEADERS)
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for adapter in session.adapters.values():
        if isinstance(adapter, HTTPAdapter):
            limit(adapter.poolmanager)
    session.proxies = _proxies(proxy, session.adapters.values())
    return session


def _proxies(proxy: Proxy | None, adapters: Iterable[BaseAdapter]) -> dict[str, str]:
    """A proxy as ``requests`` takes it, once its connections respect deadlines."""
    if proxy is None:
        return {}
    # By the name that requests gives it, so that it is the one that requests will use.
    name = prepend_scheme_if_needed(proxy.url, "http")  # type: ignore[no-untyped-call]  # so in its types
    for adapter in (each for each in adapters if isinstance(each, HTTPAdapter)):
        limit(adapter.proxy_manager_for(name))
    return {"http": proxy.url, "https": proxy.url}


def _settings_for(request: Request, settings: Settings) -> Settings:
    """How to reach the URL of a request: the deployment, or another host, which gets no secret of it."""
    if not request.url:
        return settings
    url = urlsplit(request.url)
    return replace(
        settings,
        base_url=f"{url.scheme}://{url.netloc}",
        verify=True,
        client_certificate=None,
        client_key_file=None,
        headers={},
    )


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


def _limit(request: Request, status: int) -> int:
    """How many bytes of a reply's body are read."""
    return min(request.largest_reply, LARGEST_BODY, LARGEST_ERROR if status >= 400 else LARGEST_BODY)


def _resume(flow: Flow[Any], outcome: Any) -> Step:
    return flow.throw(outcome) if isinstance(outcome, TransportError) else flow.send(outcome)


def _content(request: Request, settings: Settings) -> tuple[Any, dict[str, str]]:
    """A request's body and all of its headers, which are looked at without regard to case."""
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict({**OWN_HEADERS})
    headers.update(_settings_for(request, settings).headers)
    headers.update(request.headers)
    if request.form is not None:
        return dict(request.form), dict(headers)
    content = request.content()
    if content is not None:
        headers["Content-Type"] = "application/json"
    return content, dict(headers)


def _named(fields: Mapping[str, str]) -> dict[str, str]:
    """Header fields by name, those of one name joined, as `requests` gives them."""
    if len(fields) > MOST_FIELDS:
        # Python's own HTTP takes a hundred; of aiohttp, only newer versions have a limit.
        raise aiohttp.ClientPayloadError
    texts: dict[str, list[str]] = {}
    for name, text in fields.items():
        texts.setdefault(name.lower(), []).append(text)
    return {name: ", ".join(each) for name, each in texts.items()}


def _failure(error: Exception, proxy: Proxy | None, timeouts: tuple[float, float, float]) -> TransportError:
    never_left = any(isinstance(cause, NO_CONNECTION) for cause in _causes(error))
    return TransportError(_reason(error, *timeouts), sent=not never_left, proxy=proxy.label if proxy else None)


def _reason(error: Exception, connect: float, read: float, longest: float) -> str:
    """What happened, without the URLs that libraries put into their errors, which may hold a proxy's password."""
    causes = list(_causes(error))
    if any(isinstance(cause, DeadlinePassed) for cause in causes):
        return f"the reply did not end within {longest:.3g} s"
    if isinstance(error, (requests.ConnectTimeout, aiohttp.ConnectionTimeoutError)):
        return f"connecting took longer than {connect:.3g} s"
    if any(isinstance(cause, (urllib3.exceptions.ReadTimeoutError, aiohttp.SocketTimeoutError)) for cause in causes):
        return f"nothing more came for {read:.3g} s"
    if isinstance(error, asyncio.TimeoutError):
        return f"the reply did not end within {longest:.3g} s"
    root = causes[-1]
    if isinstance(root, zlib.error):
        return "the reply's body cannot be unpacked"
    speaks = isinstance(root, OSError) and not isinstance(root, requests.RequestException)
    return f"{type(root).__name__}: {root}" if speaks else type(root).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it; ``urllib3`` hands some causes on as an argument."""
    while error:
        yield error
        handed_on = (argument for argument in error.args if isinstance(argument, BaseException))
        error = error.__cause__ or error.__context__ or next(handed_on, None)
