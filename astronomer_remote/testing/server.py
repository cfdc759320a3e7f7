"""A small HTTP server on a loopback port of its own; it knows nothing of Airflow."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecordedRequest:
    """
    One request as it arrived.

    :param method: HTTP verb.
    :param path: path without the query, still quoted.
    :param query: values of the query by name.
    :param headers: header fields, names in lower case.
    :param body: the body's bytes.
    """

    method: str
    path: str
    query: Mapping[str, list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        """The body as JSON; an empty one is an empty object."""
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Reply:
    """
    What to answer.

    :param status: HTTP status.
    :param body: what to send as JSON; text is sent as it is; ``None`` sends no body.
    :param content_type: of the body.
    :param headers: further header fields.
    """

    status: int = 200
    body: Any = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """The body's bytes."""
        if self.body is None:
            return b""
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


class Server:
    """
    Serves until it is closed.

    :param answer: answers a request; ``None`` cuts the connection without a word.
    :param keep_alive: whether connections are kept open, as Airflow 3's server does and those before it do not.
    """

    def __init__(self, answer: Callable[[RecordedRequest], Reply | None], *, keep_alive: bool) -> None:
        self._http = _HttpServer(("127.0.0.1", 0), _handler(answer, keep_alive))
        self._thread = Thread(target=self._http.serve_forever, args=(0.01,), name="fake Airflow", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        """Stop listening and cut every connection."""
        self._http.shutdown()
        self._http.cut()
        self._http.server_close()
        self._thread.join()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them

    def __init__(self, *arguments: Any) -> None:
        self._open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("A client went away")

    def cut(self) -> None:
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                log.debug("It was closed already")


def _handler(answer: Callable[[RecordedRequest], Reply | None], keep_alive: bool) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"answer": staticmethod(answer), "keep_alive": keep_alive})


class _Handler(BaseHTTPRequestHandler):
    answer: Callable[[RecordedRequest], Reply | None]
    keep_alive: bool
    protocol_version = "HTTP/1.1"
    timeout = 60
    # Head and body are two writes, which must not wait for each other's acknowledgement.
    disable_nagle_algorithm = True

    def handle_any(self) -> None:
        path, _, query = self.path.partition("?")
        request = RecordedRequest(
            self.command,
            path,
            parse_qs(query, keep_blank_values=True),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        try:
            reply = self.answer(request)
        except Exception as error:
            log.exception("The fake deployment broke on %s %s", request.method, request.path)
            # Of all errors the one that nobody repeats a request for.
            reply = Reply(501, {"detail": f"The fake deployment broke: {error!r}"})
        if reply is None or not self.keep_alive:
            self.close_connection = True
        if reply is not None:
            self.send(reply)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

    def send(self, reply: Reply) -> None:
        content = reply.content()
        # Without the Date of this machine: the reply has that of the fake's own clock.
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if content:
            self.send_header("Content-Type", reply.content_type)
        if reply.status != 204:
            self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:
        log.debug(format, *arguments)
