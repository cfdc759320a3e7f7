"""A real HTTP server on this machine that answers, or fails to, exactly as a test says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias


@dataclass(frozen=True)
class Received:
    """
    A request as it came in.

    :param connection: number of the TCP connection that it came through, from 1.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


Reply: TypeAlias = Callable[[Received, socket.socket], object]
"""Writes what it likes to the socket; returns ``False`` to have the connection closed after it."""


def reply(status: int = 200, body: bytes = b"{}", *fields: str) -> bytes:
    lines = (f"HTTP/1.1 {status} Whatever", "Content-Type: application/json", f"Content-Length: {len(body)}", *fields)
    return "\r\n".join((*lines, "", "")).encode() + body


def answering(data: bytes, *, then_close: bool = False) -> Reply:
    def answer(_: Received, connection: socket.socket) -> bool:
        connection.sendall(data)
        return not then_close

    return answer


def tunnel(request: Received, connection: socket.socket) -> bool:
    """What a forward proxy does with ``CONNECT``: it leads to the requested address, and reads nothing."""
    host, _, port = request.target.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as target:
        connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_copy, args=(target, connection), daemon=True)
        back.start()
        _copy(connection, target)
        back.join(10)
    return False


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@dataclass
class Server:
    """
    :param answer: what becomes of each request.
    :param tls: certificate of the server, to speak TLS.
    """

    answer: Reply
    tls: ssl.SSLContext | None = None
    received: list[Received] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._open: set[socket.socket] = set()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._talk, args=(connection, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _talk(self, connection: socket.socket, number: int) -> None:
        self._open.add(connection)
        try:
            # What a client does to its connection is what the tests are about, so that no failure here counts.
            with contextlib.suppress(OSError, ValueError), connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.tls:
                    with self.tls.wrap_socket(connection, server_side=True) as secure:
                        self._answer(secure, number)
                else:
                    self._answer(connection, number)
        finally:
            self._open.discard(connection)

    def _answer(self, connection: socket.socket, number: int) -> None:
        with connection.makefile("rb") as stream:
            while line := stream.readline():
                method, target, _ = line.decode().split()
                headers: dict[str, str] = {}
                while (text := stream.readline().decode().strip()) != "":
                    name, _, value = text.partition(":")
                    headers[name.lower()] = value.strip()
                body = stream.read(int(headers.get("content-length", 0)))
                request = Received(method, target, headers, body, number)
                self.received.append(request)
                if self.answer(request, connection) is False:
                    return

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(10)
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)


@contextlib.contextmanager
def serving(answer: Reply, tls: Any = None) -> Iterator[Server]:
    server = Server(answer, tls)
    try:
        yield server
    finally:
        server.stop()
