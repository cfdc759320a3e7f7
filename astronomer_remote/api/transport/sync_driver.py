"""
The driver over ``requests`` that runs flows in workers and commands.

It holds no policy, bounds what a reply may cost in memory and time, follows no redirects, keeps no cookies, and reads
no ``.netrc``, which would put its own login in place of the connection's.
"""

from __future__ import annotations

import math
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar, cast

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.utils import prepend_scheme_if_needed

from astronomer_remote.api.protocol.flow import Compute, Flow, Request, Response, Sleep, Step, TransportError
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.common import (
    CHUNK,
    LONGEST_REPLY,
    OWN_HEADERS,
    Body,
    LibraryErrors,
    content_of,
    failure,
    limit_of,
    resume,
    settings_for,
)
from astronomer_remote.api.transport.deadlines import DeadlinePassed, deadline, limit
from astronomer_remote.api.transport.network import Proxy, ca_file_of, client_certificate_of, proxy_of

T = TypeVar("T")

ERRORS = LibraryErrors(
    no_connection=(
        requests.ConnectTimeout,
        requests.exceptions.ProxyError,
        urllib3.exceptions.NewConnectionError,
        ssl.SSLCertVerificationError,
    ),
    connect_timeout=(requests.ConnectTimeout,),
    read_timeout=(urllib3.exceptions.ReadTimeoutError,),
    timeout=(TimeoutError,),
    deadline=(DeadlinePassed,),
    silent=(requests.RequestException,),
)


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
                outcome = self._carry_out(resume(flow, outcome))
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
            return self._call(step) if step.blocks and self._total is not None else step.run()
        settings = self._reload()
        if settings != self._settings:
            self._settings = settings
            configure(self._session, settings)
        return settings

    def _call(self, step: Compute) -> Any:
        """Wait for a library as long as there is time. It is left alone after that, until its own time is over."""
        outcomes: list[Any] = []
        thread = threading.Thread(
            target=lambda: outcomes.append(step.run()), name="astronomer-remote-login", daemon=True
        )
        thread.start()
        thread.join(max(self._ends - time.monotonic(), 0.0))
        return outcomes[0] if outcomes else self._out_of_time()

    def _out_of_time(self) -> TransportError:
        return TransportError(
            f"the time for it, {round(self._total or 0, 1):g} s in all, is over", sent=False, out_of_time=True
        )

    def _send(self, request: Request) -> Response | TransportError:
        settings, now = self._settings, time.monotonic()
        longest = min(LONGEST_REPLY, self._ends - now)
        if longest <= 0:
            return self._out_of_time()
        connect, read = min(settings.connect_timeout, longest), settings.read_timeout
        try:
            with deadline(now + longest), self._open(request, (connect, read)) as reply:
                body = Body(reply.headers.get("Content-Encoding"), limit_of(request, reply.status_code))
                while chunk := reply.raw.read(CHUNK, decode_content=False):
                    if not body.add(chunk):
                        break
                content = body.end()
        except Exception as error:  # noqa: BLE001  # whatever a reply makes the libraries raise
            return failure(error, proxy_of(settings_for(request, settings)), (connect, read, longest), ERRORS)
        return Response(
            reply.status_code,
            {name.lower(): text for name, text in reply.headers.items()},
            content,
            body.truncated,
        )

    def _open(self, request: Request, timeout: tuple[float, float]) -> requests.Response:
        session, url = self._session, request.url or self._settings.base_url + request.target
        body, headers = content_of(request, self._settings)
        prepared = session.prepare_request(requests.Request(request.method, url, headers=headers, data=body))
        adapter = session.get_adapter(url)
        verify, cert, proxies = True if session.verify is None else session.verify, session.cert, session.proxies
        if request.url:
            elsewhere = settings_for(request, self._settings)
            verify, cert, proxies = ca_file_of(elsewhere), None, _proxies(proxy_of(elsewhere), [adapter])
        # Not through the session: it would read the whole body of a redirect, and the address that it leads to.
        return adapter.send(prepared, stream=True, timeout=timeout, verify=verify, cert=cert, proxies=proxies)


def run_once(flow: Flow[T], settings: Settings, *, total_seconds: float | None = None) -> T:
    """
    Run a flow on TCP connections of its own.

    :param total_seconds: limit for all its requests together.
    """
    with requests.Session() as session:
        configure(session, settings)
        return SyncDriver(session, settings, reload=lambda: settings, total_seconds=total_seconds).run(flow)


def seconds_until(ends: float | None) -> float | None:
    """
    Seconds that are left; ``None`` if there is no limit.

    :param ends: when time is over, by :func:`time.monotonic`.
    """
    return None if ends is None else max(ends - time.monotonic(), 0.0)


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
