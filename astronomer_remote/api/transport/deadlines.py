"""
One deadline over a whole request and its reply for ``urllib3``, whose own timeouts start again with every byte.

A remote that sends a byte now and then, in the status line, the headers, interim replies (100), chunk sizes or
trailers, would otherwise hold its reader for good. The deadline is checked before each read from the socket, which
also covers the reply of a proxy to ``CONNECT``. No thread and no signal takes part.
"""

from __future__ import annotations

import http.client
import io
import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family, create_connection

PIECE = 16 * 1024
"""Bytes sent under one timeout: as many as a TLS record holds."""

_ends: ContextVar[float] = ContextVar("ends", default=math.inf)


class DeadlinePassed(TimeoutError):
    """Request and reply took longer than they may."""


@contextmanager
def deadline(ends: float) -> Iterator[None]:
    """Limit the requests in this block. :param ends: when their replies must be complete, by :func:`time.monotonic`."""
    token = _ends.set(ends)
    try:
        yield
    finally:
        _ends.reset(token)


def limit(manager: PoolManager) -> None:
    """Make a pool manager respect :func:`deadline`; to be called before its first request."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


@contextmanager
def _in_time(sock: Any, timeout: float | None, ends: float) -> Iterator[None]:
    """Give a socket as much time for one step as is left. :raises DeadlinePassed: if that is over."""
    sock.settimeout(_left(timeout, ends))
    try:
        yield
    except TimeoutError:
        # Either the step's own timeout, or the deadline.
        _left(timeout, ends)
        raise


def _left(timeout: float | None, ends: float) -> float | None:
    """The timeout of one step. :raises DeadlinePassed: if there is no time left for it."""
    left = ends - time.monotonic()
    if left <= 0:
        raise DeadlinePassed
    if math.isinf(left):
        return timeout
    return left if timeout is None else min(timeout, left)


class _Incoming(io.RawIOBase):
    """What arrives at a socket, read under the deadline."""

    def __init__(self, raw: io.RawIOBase, sock: Any) -> None:
        self._raw, self._sock = raw, sock
        self._ends, self._timeout = _ends.get(), sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        with _in_time(self._sock, self._timeout, self._ends):
            return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Reply(http.client.HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # All that is ever read of a reply is read through this file.
        self.fp = io.BufferedReader(_Incoming(self.fp.detach(), sock))


class _Connection(HTTPConnection):
    response_class = _Reply

    def _new_conn(self) -> socket.socket:
        # One timeout for all addresses of the host together; urllib3 has one for each.
        timeout = self.timeout if isinstance(self.timeout, (int, float)) else None
        try:
            seconds = _left(timeout, _ends.get())
            family = allowed_gai_family()
            found = socket.getaddrinfo(self._dns_host, self.port, family, socket.SOCK_STREAM)
            return self._first_of([address[4][:2] for address in found], seconds)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out.") from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error

    def _first_of(self, addresses: list[Any], seconds: float | None) -> socket.socket:
        ends = math.inf if seconds is None else time.monotonic() + seconds
        for untried in range(len(addresses), 0, -1):
            share = None if seconds is None else max(ends - time.monotonic(), 0.001) / untried
            try:
                return create_connection(
                    addresses[-untried],
                    share,
                    source_address=self.source_address,
                    socket_options=self.socket_options,
                )
            except OSError as error:
                failure = error
        raise failure

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        pieces = [data[start : start + PIECE] for start in range(0, len(data), PIECE)] if _is_bytes(data) else [data]
        for piece in pieces:
            with _in_time(self.sock, self.timeout, _ends.get()):
                super().send(piece)


def _is_bytes(data: Any) -> bool:
    return isinstance(data, (bytes, bytearray))


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection
