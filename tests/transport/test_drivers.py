"""Both drivers against a real server: what is sent, what comes back, and what may go wrong on the way."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import io
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import aiohttp
import pytest
import requests

from astronomer_remote.api.protocol.errors import InvalidSettings, Unreachable
from astronomer_remote.api.protocol.flow import (
    Flow,
    Reload,
    Request,
    Response,
    Sleep,
    TransportError,
    blocking,
    compute,
    path,
    request_to,
    send,
)
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport import async_driver as with_aiohttp
from astronomer_remote.api.transport import common
from astronomer_remote.api.transport import sync_driver as with_requests
from astronomer_remote.api.transport.async_driver import AsyncDriver, async_driver
from astronomer_remote.api.transport.network import ca_file_of, proxy_of, tls_context
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure
from astronomer_remote.testing import FakeDeployment
from tests.transport.server import Received, Reply, Server, answering, reply, serving, tunnel

T = TypeVar("T")
GET = Request("GET", "/x")
POST = Request("POST", "/x", body={"a": 1})


def over_requests(flow: Flow[T], settings: Settings, reload: Callable[[], Settings]) -> T:
    with configure(requests.Session(), settings) as session:
        return SyncDriver(session, settings, reload=reload).run(flow)


def shorten_longest_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    for driver in (with_requests, with_aiohttp):
        monkeypatch.setattr(driver, "LONGEST_REPLY", 0.5)


def over_aiohttp(flow: Flow[T], settings: Settings, reload: Callable[[], Settings]) -> T:
    async def reload_later() -> Settings:
        return reload()

    async def run() -> T:
        async with async_driver(settings, reload_later) as driver:
            return await driver.run(flow)

    return asyncio.run(run())


Run = Callable[..., Any]


@pytest.fixture(params=[over_requests, over_aiohttp], ids=["requests", "aiohttp"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a flow with one of the drivers."""
    carry_out = request.param

    def runs(flow: Flow[Any], settings: Settings, reload: Callable[[], Settings] | None = None) -> Any:
        return carry_out(flow, settings, reload or (lambda: settings))

    return runs


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers that end with the test."""
    started = []

    def start(answer: Reply | bytes = b"", tls: Any = None) -> Server:
        context = serving(answering(answer or reply()) if isinstance(answer, bytes) else answer, tls)
        started.append(context)
        return context.__enter__()

    yield start
    for context in reversed(started):
        context.__exit__(None, None, None)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, certificate or ``.netrc`` of the machine's own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def send_all(*requests_: Request) -> Flow[list[Any]]:
    """Send requests one after another; what comes out of each is a reply or a failure."""
    outcomes: list[Any] = []
    for request in requests_:
        try:
            outcomes.append((yield from send(request)))
        except TransportError as error:
            outcomes.append(error)
    return outcomes


def quick(server: Server | str, **more: Any) -> Settings:
    url = server if isinstance(server, str) else server.url
    return Settings(url, **{"connect_timeout": 5.0, "read_timeout": 5.0, **more})


# What takes long


def test_what_takes_long_is_calculated_in_another_thread_than_the_event_loops_and_one_after_the_other(
    serve: Any,
) -> None:
    settings, threads, under_way, most = quick(serve()), set[int](), 0, 0

    def work() -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        threads.add(threading.get_ident())
        time.sleep(0.01)
        under_way -= 1
        return 1

    async def reload() -> Settings:
        return settings

    async def main() -> list[int]:
        async with async_driver(settings, reload) as one, async_driver(settings, reload) as other:
            return await asyncio.gather(*(driver.run(compute(work)) for driver in [one, other] * 5))

    assert asyncio.run(main()) == [1] * 10
    assert threading.get_ident() not in threads
    assert most == 1


def test_what_fails_in_a_calculation_fails_in_the_flow(run: Run, serve: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        run(compute(lambda: 1 // 0), quick(serve()))


# What is sent and what comes back


def test_status_headers_and_body_come_back(run: Run, serve: Any) -> None:
    server = serve(reply(418, '{"a": "ß"}'.encode(), "X-Odd: One", "Retry-After: 7"))
    (response,) = run(send_all(GET), quick(server))
    assert response.status == 418
    assert response.json() == {"a": "ß"}
    assert response.is_json
    assert not response.truncated
    assert {name: response.headers[name] for name in ("x-odd", "retry-after")} == {"x-odd": "One", "retry-after": "7"}
    assert all(name == name.lower() for name in response.headers)


def test_an_empty_reply_is_a_reply(run: Run, serve: Any) -> None:
    (response,) = run(send_all(Request("DELETE", "/x")), quick(serve(reply(204, b""))))
    assert (response.status, response.body) == (204, b"")


def test_a_reply_without_a_length_ends_with_the_connection(run: Run, serve: Any) -> None:
    server = serve(answering(b"HTTP/1.1 200 OK\r\n\r\nbody", then_close=True))
    assert run(send_all(GET), quick(server))[0].body == b"body"


def test_a_packed_reply_is_unpacked(run: Run, serve: Any) -> None:
    server = serve(reply(200, gzip.compress(b'{"a": 1}', mtime=0), "Content-Encoding: gzip"))
    assert run(send_all(GET), quick(server))[0].json() == {"a": 1}


def test_what_is_sent_is_what_was_requested(run: Run, serve: Any) -> None:
    server = serve()
    settings = quick(server, headers={"X-Extra": "e", "Accept": "text/plain"})
    form = Request("POST", "/login/", form={"username": "m ß", "password": "a&b"}, headers={"Cookie": "session=s"})
    run(send_all(GET, POST.with_headers({"Authorization": "Bearer t"}), form), settings)
    got, posted, filled = server.received
    assert (got.method, got.target, got.body) == ("GET", "/x", b"")
    assert "content-type" not in got.headers
    assert got.headers["user-agent"].startswith("astronomer-remote/")
    assert got.headers["accept"] == "text/plain"
    assert (posted.method, json.loads(posted.body)) == ("POST", {"a": 1})
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["authorization"] == "Bearer t"
    assert filled.body == b"username=m+%C3%9F&password=a%26b"
    assert filled.headers["content-type"] == "application/x-www-form-urlencoded"
    assert filled.headers["cookie"] == "session=s"
    assert all(received.headers["x-extra"] == "e" for received in server.received)


def test_json_is_requested_unless_the_connection_says_otherwise(run: Run, serve: Any) -> None:
    server = serve()
    run(send_all(GET), quick(server))
    assert server.received[0].headers["accept"] == "application/json"


@pytest.mark.parametrize(
    "id_", ["manual__2026-11-22T07:00:00.000001+00:00", "a%2Fb", "größe", "a b?c#d&e=f", "~x...", "100%", "a;b,c"]
)
def test_an_id_arrives_at_the_server_as_it_was(run: Run, serve: Any, id_: str) -> None:
    server = serve()
    run(
        send_all(Request("GET", path("dags", id_, "dagRuns"), {"q": id_, "d": "2026-11-22T07:00:00+00:00"})),
        quick(server),
    )
    way, _, query = server.received[0].target.partition("?")
    assert way.count("/") == 3
    assert unquote(way) == f"/dags/{id_}/dagRuns"
    assert unquote(query) == f"q={id_}&d=2026-11-22T07:00:00+00:00"


def test_the_path_of_the_deployment_comes_first(run: Run, serve: Any) -> None:
    server = serve()
    run(send_all(GET), quick(server.url + "/solar-1/airflow"))
    assert server.received[0].target == "/solar-1/airflow/x"


def test_a_connection_is_kept_for_the_next_request(run: Run, serve: Any) -> None:
    server = serve()
    outcomes = run(send_all(GET, POST, GET), quick(server))
    assert [outcome.status for outcome in outcomes] == [200, 200, 200]
    assert [received.connection for received in server.received] == [1, 1, 1]


def test_a_connection_that_the_server_closes_is_opened_again(run: Run, serve: Any) -> None:
    server = serve(answering(reply(200, b"{}", "Connection: close"), then_close=True))
    outcomes = run(send_all(GET, GET), quick(server))
    assert [outcome.status for outcome in outcomes] == [200, 200]
    assert server.connections == 2


def test_redirects_are_not_followed(run: Run, serve: Any) -> None:
    other = serve()
    server = serve(reply(302, b"", f"Location: {other.url}/login"))
    (response,) = run(send_all(GET.with_headers({"Authorization": "Bearer s3cret"})), quick(server))
    assert (response.status, response.headers["location"]) == (302, f"{other.url}/login")
    assert len(server.received) == 1
    assert other.received == []


def test_no_cookies_are_kept_but_all_are_returned(run: Run, serve: Any) -> None:
    server = serve(reply(200, b"{}", "Set-Cookie: a=1; Path=/", "Set-Cookie: session=s; HttpOnly"))
    responses = run(send_all(GET, GET), quick(server))
    assert responses[0].headers["set-cookie"] == "a=1; Path=/, session=s; HttpOnly"
    assert all("cookie" not in received.headers for received in server.received)


def test_no_netrc_takes_the_place_of_the_connections_login(run: Run, serve: Any, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password else\ndefault login x password y\n")
    (tmp_path / ".netrc").chmod(0o600)
    server = serve()
    run(send_all(GET, GET.with_headers({"Authorization": "Bearer t"})), quick(server))
    assert [received.headers.get("authorization") for received in server.received] == [None, "Bearer t"]


@pytest.mark.parametrize(
    "location",
    ["http://[", "http://[::1", "//[", "http://a:b/", "http://\xff", "", "\\", "http://" + "a" * 70 + ".com/"],
)
def test_a_redirect_that_leads_nowhere_is_a_reply(run: Run, serve: Any, location: str) -> None:
    data = reply(302, b"{}", f"Location: {location}")
    assert run(send_all(GET), quick(serve(data)))[0].status == 302


@pytest.mark.parametrize(
    "field",
    [
        *("Date: Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "Retry-After: " + "9" * 5000, "Set-Cookie: =;;=\x01"),
        *(
            "Content-Type: ;;;=",
            "Content-Encoding: zstd",
            "Content-Encoding: br",
            "Content-Encoding: \x01",
            "X-\xff: \xff",
        ),
        *("Content-Type: text/html; charset=nonsense", "Link: <<<", "Refresh: 0; url=http://["),
    ],
)
def test_odd_header_fields_are_no_failure(run: Run, serve: Any, field: str) -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + field.encode("latin-1") + b"\r\n\r\n{}"
    (outcome,) = run(send_all(GET), quick(serve(data)))
    # aiohttp refuses some of these characters, as it may.
    assert isinstance(outcome, TransportError) or (outcome.status, outcome.body) == (200, b"{}")


@pytest.mark.parametrize(
    "data",
    [
        *(
            b"HTTP/1.1 999999999999 X\r\n\r\n",
            b"HTTP/1.1 abc X\r\n\r\n",
            b"HTTP/9.9 200 X\r\n\r\n",
            b"\r\n\r\n",
            b"\x00" * 99,
        ),
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabcde\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-A: a\r\n" * 5000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + gzip.compress(b"", mtime=0),
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ],
)
def test_odd_bytes_are_a_reply_or_a_failure(run: Run, serve: Any, data: bytes) -> None:
    (outcome,) = run(send_all(GET), quick(serve(answering(data, then_close=True)), read_timeout=2.0))
    assert isinstance(outcome, (TransportError, Response))


# Steps that are no requests


def test_sleeping_and_reading_the_settings_again(run: Run, serve: Any) -> None:
    old, new = serve(), serve()

    def flow() -> Flow[Any]:
        first = yield GET
        yield Sleep(0.01)
        settings = yield Reload()
        second = yield GET
        return first.status, settings.base_url, second.status

    result = run(flow(), quick(old), lambda: quick(new))
    assert result == (200, new.url, 200)
    assert (len(old.received), len(new.received)) == (1, 1)


def test_a_flow_is_closed_when_something_else_fails(run: Run, serve: Any) -> None:
    closed = []

    def flow() -> Flow[None]:
        try:
            yield Reload()
        finally:
            closed.append(True)

    def fail() -> Settings:
        raise LookupError("no such connection")

    with pytest.raises(LookupError):
        run(flow(), quick("http://127.0.0.1:1"), fail)
    assert closed == [True]


def test_what_a_flow_raises_comes_out(run: Run) -> None:
    def flow() -> Flow[None]:
        yield Sleep(0)
        raise InvalidSettings("no")

    with pytest.raises(InvalidSettings):
        run(flow(), quick("http://127.0.0.1:1"))


def test_settings_that_did_not_change_keep_the_connection(run: Run, serve: Any) -> None:
    server = serve()

    def flow() -> Flow[None]:
        yield GET
        yield Reload()
        yield GET

    run(flow(), quick(server))
    assert [received.connection for received in server.received] == [1, 1]


def test_an_adapter_of_another_kind_is_left_alone(serve: Any) -> None:
    class Canned(requests.adapters.BaseAdapter):
        def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
            response = requests.Response()
            response.status_code, response.raw = 218, io.BytesIO()
            response.raw.read = lambda *_, **__: b""
            return response

        def close(self) -> None:
            pass

    settings = quick("http://airflow.invalid")
    with requests.Session() as session:
        session.mount("http://", Canned())
        driver = SyncDriver(configure(session, settings), settings, reload=lambda: settings)
        assert driver.run(send_all(GET))[0].status == 218


# What may go wrong


def failure_of(run: Run, settings: Settings, request: Request = POST) -> TransportError:
    (outcome,) = run(send_all(request), settings)
    assert isinstance(outcome, TransportError), outcome
    assert "s3cret" not in str(outcome) + repr(outcome)
    return outcome


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_a_refused_connection_means_that_nothing_was_sent(run: Run) -> None:
    failure = failure_of(run, quick(f"http://127.0.0.1:{unused_port()}"))
    assert not failure.sent
    assert failure.reason.startswith("ConnectionRefusedError")


def test_an_unknown_host_means_that_nothing_was_sent(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(host: str, *_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    failure = failure_of(run, quick("http://airflow.invalid"))
    assert not failure.sent
    assert "Name or service not known" in failure.reason


@contextlib.contextmanager
def unanswering() -> Iterator[tuple[str, int]]:
    """An address to which no connection comes about."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # A listener that accepts nobody has room for very few; whoever comes then gets no answer.
        for _ in range(3):
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()


def test_a_connection_that_does_not_come_about_in_time_means_that_nothing_was_sent(run: Run) -> None:
    with unanswering() as (_, port):
        failure = failure_of(run, quick(f"http://127.0.0.1:{port}", connect_timeout=0.3, read_timeout=0.3))
    assert failure.reason == "connecting took longer than 0.3 s"
    assert not failure.sent


def reset(connection: socket.socket) -> None:
    """Close a connection so that the other side gets a reset instead of an end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.shutdown(socket.SHUT_RD)
    connection.close()


def reset_at_once(_: Received, connection: socket.socket) -> bool:
    reset(connection)
    return False


def reset_amid(_: Received, connection: socket.socket) -> bool:
    connection.sendall(reply(200, b"x" * 1000)[:-500])
    time.sleep(0.05)
    reset(connection)
    return False


@pytest.mark.parametrize(
    "answer",
    [
        lambda _, __: False,
        reset_at_once,
        reset_amid,
        answering(reply(200, b"x" * 1000)[:-500], then_close=True),
        answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", then_close=True),
        answering(b"HTT", then_close=True),
        answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", then_close=True),
        answering(reply(200, b"not packed", "Content-Encoding: gzip")),
    ],
    ids=["closed", "reset", "reset amid", "cut", "cut chunks", "cut line", "not HTTP", "not packed"],
)
def test_a_reply_that_does_not_arrive_whole_leaves_open_whether_the_request_did_something(
    run: Run, serve: Any, answer: Reply
) -> None:
    failure = failure_of(run, quick(serve(answer)))
    assert failure.sent
    assert failure.reason


def stall(data: bytes) -> Reply:
    def answer(_: Received, connection: socket.socket) -> bool:
        connection.sendall(data)
        connection.recv(1)
        return False

    return answer


@pytest.mark.parametrize("data", [b"", reply()[:20], reply(200, b"x" * 1000)[:-500]], ids=["reply", "head", "body"])
def test_a_server_that_stalls_is_left_after_the_time_that_the_connection_allows(
    run: Run, serve: Any, data: bytes
) -> None:
    started = time.monotonic()
    failure = failure_of(run, quick(serve(stall(data)), read_timeout=0.3))
    assert failure.reason == "nothing more came for 0.3 s"
    assert failure.sent
    assert time.monotonic() - started < 5


def endless(head: bytes, piece: bytes, pause: float, seen: list[str]) -> Reply:
    def answer(_: Received, connection: socket.socket) -> bool:
        connection.sendall(head)
        try:
            while True:
                connection.sendall(piece)
                time.sleep(pause)
        except OSError:
            seen.append("left")
        return False

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n"


@pytest.mark.parametrize(("head", "piece"), [(CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n"), (LONG, b"x" * 65536)])
def test_a_reply_that_does_not_end_is_cut_and_left(
    run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch, head: bytes, piece: bytes
) -> None:
    monkeypatch.setattr(common, "LARGEST_BODY", 300_000)
    seen: list[str] = []
    server = serve(endless(head, piece, 0, seen))
    (response,) = run(send_all(GET), quick(server))
    assert response.truncated
    assert len(response.body) == 300_000
    server.stop()
    assert seen == ["left"]


def test_a_small_reply_that_unpacks_to_a_huge_one_is_cut(run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "LARGEST_BODY", 300_000)
    bomb = gzip.compress(bytes(50_000_000), mtime=0)
    (response,) = run(send_all(GET), quick(serve(reply(200, bomb, "Content-Encoding: gzip"))))
    assert response.truncated
    assert len(response.body) == 300_000


def test_unpacking_takes_little_memory(run: Run, serve: Any) -> None:
    # A gigabyte in 50 kB: packed twice, of which one is unpacked.
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(10_000_000)) for _ in range(30)) + packer.flush()
    server = serve(reply(200, bomb, "Content-Encoding: gzip"))
    tracemalloc.start()
    try:
        (response,) = run(send_all(GET), quick(server))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert response.truncated
    assert peak < 4 * common.LARGEST_BODY


@pytest.mark.parametrize(
    "body",
    [gzip.compress(b"{}", mtime=0)[:-3], gzip.compress(b"{}", mtime=0) * 2, b"\x1f\x8b"],
    ids=["cut", "twice", "start"],
)
def test_a_packed_body_that_is_not_whole_is_a_failure(run: Run, serve: Any, body: bytes) -> None:
    failure = failure_of(run, quick(serve(reply(200, body, "Content-Encoding: gzip"))))
    assert failure.reason == "the reply's body cannot be unpacked"


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP", "deflate", "br", "identity"])
def test_an_empty_body_may_be_called_packed(run: Run, serve: Any, encoding: str) -> None:
    assert run(send_all(GET), quick(serve(reply(204, b"", f"Content-Encoding: {encoding}"))))[0].body == b""


@pytest.mark.parametrize(("head", "piece"), [(CHUNKED, b"1\r\nx\r\n"), (LONG, b"x")], ids=["chunked", "long"])
def test_a_reply_that_trickles_in_is_left_in_the_end(
    run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch, head: bytes, piece: bytes
) -> None:
    shorten_longest_reply(monkeypatch)
    started = time.monotonic()
    failure = failure_of(run, quick(serve(endless(head, piece, 0.02, []))))
    assert failure.reason == "the reply did not end within 0.5 s"
    assert failure.sent
    assert time.monotonic() - started < 5


def drip(before: bytes, piece: bytes, seen: list[str] | None = None) -> Reply:
    """Sends a piece every now and then, for ever, so that no single read ever takes long."""
    return endless(before, piece, 0.02, [] if seen is None else seen)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNK_OF_JSON = CHUNKED + b"2\r\n{}\r\n"
DRIPS = {
    "status line": (b"HTTP/1.1 200 ", b"O"),
    "header": (OK + b"X-A: ", b"a"),
    "headers": (OK, b"X-A: a\r\n"),
    "interim replies": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "interim header": (b"HTTP/1.1 100 Continue\r\nX-A: ", b"a"),
    "chunk extension": (CHUNK_OF_JSON + b"2;a=", b"a"),
    "trailers": (CHUNK_OF_JSON + b"0\r\n", b"X-A: a\r\n"),
    "trailer": (CHUNK_OF_JSON + b"0\r\nX-A: ", b"a"),
    "body of a redirect": (b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 99999\r\n\r\n", b"x"),
}


# asyncio waits for the other side's end of TLS, for half a minute; these tests end their event loop before.
ends_amid_tls = pytest.mark.filterwarnings("ignore:unclosed (transport|<socket):ResourceWarning")


@ends_amid_tls
@pytest.mark.timeout(20)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("what", DRIPS)
def test_whatever_part_of_a_reply_is_slow_the_request_ends_in_time(
    run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch, certificate: Certificate, what: str, secure: bool
) -> None:
    shorten_longest_reply(monkeypatch)
    server = serve(drip(*DRIPS[what]), tls=certificate.server_side() if secure else None)
    started = time.monotonic()
    failure = failure_of(run, quick(server, ca_file=certificate.file if secure else None))
    assert failure.reason == "the reply did not end within 0.5 s"
    assert failure.sent
    assert time.monotonic() - started < 5
    gc.collect()


@pytest.mark.timeout(20)
def test_a_proxy_that_lets_its_answer_to_connect_trickle_in_is_left_in_time(
    run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten_longest_reply(monkeypatch)
    proxy = serve(drip(OK + b"X-A: ", b"a"))
    started = time.monotonic()
    failure = failure_of(run, quick("https://airflow.invalid", proxy=proxy.url))
    assert failure.reason == "the reply did not end within 0.5 s"
    assert time.monotonic() - started < 5


@ends_amid_tls
@pytest.mark.timeout(30)
def test_a_server_that_reads_a_request_slowly_does_not_hold_it_up(
    run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch, certificate: Certificate
) -> None:
    shorten_longest_reply(monkeypatch)
    enough = threading.Event()

    class Slow(ssl.SSLSocket):
        def recv_into(self, *args: Any) -> int:
            enough.wait(0.05)
            return super().recv_into(*args)

    context = certificate.server_side()
    context.sslsocket_class = Slow
    server = serve(tls=context)
    started = time.monotonic()
    failure = failure_of(run, quick(server, ca_file=certificate.file), Request("POST", "/x", body="x" * 30_000_000))
    enough.set()
    assert failure.reason == "the reply did not end within 0.5 s"
    assert time.monotonic() - started < 5
    gc.collect()


def test_an_address_that_does_not_answer_leaves_time_for_the_next(
    run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    with unanswering() as silent:
        addresses = [silent, silent, ("127.0.0.1", server.port)]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        started = time.monotonic()
        (outcome,) = run(send_all(GET), quick("http://airflow.invalid:1", connect_timeout=1.5))
        assert outcome.status == 200
        assert time.monotonic() - started < 1.5
        found.pop()
        failure = failure_of(run, quick("http://airflow.invalid:1", connect_timeout=1.0))
    assert failure.reason == "connecting took longer than 1 s"
    assert not failure.sent
    assert time.monotonic() - started < 3.5


# All in all


def hurried(settings: Settings, seconds: float, *steps: Any) -> tuple[list[Any], float]:
    """What becomes of steps that may take so many seconds together, and how long they took."""
    started = time.monotonic()
    with requests.Session() as session:
        driver = SyncDriver(configure(session, settings), settings, reload=lambda: settings, total_seconds=seconds)
        return driver.run(send_all(*steps)), time.monotonic() - started


@pytest.mark.parametrize("data", [b"", CHUNKED], ids=["nothing", "head"])
def test_all_requests_together_take_no_longer_than_they_may(serve: Any, data: bytes) -> None:
    settings = quick(serve(stall(data)), connect_timeout=9.0, read_timeout=9.0)
    (first, second), took = hurried(settings, 0.5, GET, GET)
    assert first.reason == "the reply did not end within 0.5 s"
    assert second.reason == "the time for it, 0.5 s in all, is over"
    assert (first.sent, second.sent) == (True, False)
    assert (first.out_of_time, second.out_of_time) == (False, True)
    assert took < 3


def test_a_pause_takes_no_longer_than_what_is_left(serve: Any) -> None:
    (first, _, late), took = hurried(quick(serve()), 0.5, GET, Sleep(60), GET)
    assert first.status == 200
    assert "is over" in late.reason
    assert 0.4 < took < 3


def test_a_reply_that_trickles_in_takes_no_longer_than_what_is_left(serve: Any) -> None:
    (failure,), took = hurried(quick(serve(endless(CHUNKED, b"1\r\nx\r\n", 0.02, []))), 0.5, GET)
    assert failure.reason == "the reply did not end within 0.5 s"
    assert took < 3


# Proxies


def test_a_proxy_of_the_connection_is_used_with_its_own_login(run: Run, serve: Any) -> None:
    proxy = serve()
    settings = quick("http://airflow.invalid", proxy=f"http://u:p@127.0.0.1:{proxy.port}")
    assert run(send_all(GET), settings)[0].status == 200
    assert proxy.received[0].target == "http://airflow.invalid/x"
    assert proxy.received[0].headers["proxy-authorization"] == "Basic dTpw"
    assert proxy.received[0].headers["host"] == "airflow.invalid"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    proxy = serve()
    # CGI programs must not believe this variable in capitals, and Python then believes nobody.
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    monkeypatch.setenv(name, proxy.url)
    assert run(send_all(GET), quick("http://airflow.invalid"))[0].status == 200
    assert proxy.received[0].target == "http://airflow.invalid/x"


def test_a_host_that_the_environment_excepts_is_reached_directly(
    run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, server = serve(), serve()
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    run(send_all(GET), quick(server))
    assert (len(proxy.received), len(server.received)) == (0, 1)
    found = proxy_of(quick("http://airflow.invalid"))
    assert found is not None
    assert found.url == proxy.url
    assert proxy_of(quick("https://airflow.invalid")) is None


def test_a_proxy_that_is_not_there_means_that_nothing_was_sent_and_keeps_its_password(run: Run) -> None:
    settings = quick("http://airflow.invalid", proxy=f"http://u:s3cret@127.0.0.1:{unused_port()}")
    assert not failure_of(run, settings).sent


SECRETS = {"Authorization": "Bearer s3cret", "Cookie": "session=s3cret"}


def test_a_proxy_is_shown_none_of_what_is_meant_for_a_deployment_behind_tls(
    run: Run, serve: Any, certificate: Certificate
) -> None:
    server, proxy = serve(tls=certificate.server_side()), serve(tunnel)
    settings = quick(
        server,
        ca_file=certificate.file,
        proxy=f"http://u:p@127.0.0.1:{proxy.port}",
        headers={"X-Gateway-Key": "s3cret"},
    )
    assert run(send_all(POST.with_headers(SECRETS)), settings)[0].status == 200
    (connect,) = proxy.received
    assert (connect.method, connect.headers["proxy-authorization"]) == ("CONNECT", "Basic dTpw")
    assert not {"x-gateway-key", "authorization", "cookie"} & set(connect.headers)
    assert "s3cret" not in str(connect)
    (got,) = server.received
    assert got.headers["x-gateway-key"] == "s3cret"
    assert got.headers["authorization"] == "Bearer s3cret"
    assert "proxy-authorization" not in got.headers


def test_a_proxy_passes_on_what_is_meant_for_a_deployment_without_tls(run: Run, serve: Any) -> None:
    proxy = serve()
    settings = quick("http://airflow.invalid", proxy=f"127.0.0.1:{proxy.port}", headers={"X-Gateway-Key": "g"})
    settings = replace(settings, proxy=f"http://{settings.proxy}")
    assert run(send_all(GET.with_headers(SECRETS)), settings)[0].status == 200
    assert proxy.received[0].method == "GET"
    assert proxy.received[0].headers["x-gateway-key"] == "g"
    assert proxy.received[0].headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("url", ["http://airflow.invalid", "https://airflow.invalid"])
def test_a_failure_names_the_proxy_without_its_credentials(run: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    address = f"127.0.0.1:{unused_port()}"
    failure = failure_of(run, quick(url, proxy=f"http://u:s3cret@{address}"))
    assert failure.proxy == f"http://{address} (the connection's proxy)"
    monkeypatch.setenv("ALL_PROXY", f"u:s3cret@{address}")
    failure = failure_of(run, quick(url))
    assert failure.proxy == f"http://{address} (the environment's ALL_PROXY)"
    monkeypatch.setenv("NO_PROXY", "*.invalid")
    assert failure_of(run, quick(url)).proxy is None


@pytest.mark.parametrize(
    ("exceptions", "url", "direct"),
    [
        ("10.0.0.0/8", "http://10.1.2.3:8080", True),
        ("example.com, 10.0.0.0/8 ", "http://10.1.2.3", True),
        ("10.0.0.0/8", "http://11.1.2.3", False),
        ("10.0.0.0/8", "http://ten.example.com", False),
        ("10.1.2.3", "http://10.1.2.3:1", True),
        ("10.1.2.3:1", "http://10.1.2.3:1", True),
        ("10.1.2.3:2", "http://10.1.2.3:1", False),
        ("fd00::/8", "http://[fd00::1]:8080", True),
        ("[::1]", "http://[::1]:8080", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("fd00::/8", "http://[fe00::1]", False),
        ("example.com", "http://airflow.example.com", True),
        (".example.com", "http://airflow.example.com", True),
        ("*.example.com", "http://airflow.example.com", True),
        ("*.example.com:1", "http://airflow.example.com:1", True),
        ("*.example.com", "http://notexample.com", False),
        ("*", "http://airflow.example.com", True),
        ("", "http://airflow.example.com", False),
    ],
)
def test_what_the_environment_excepts_from_its_proxy(
    monkeypatch: pytest.MonkeyPatch, exceptions: str, url: str, direct: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "proxy:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)
    found = proxy_of(quick(url))
    assert (found is None) is direct
    assert found is None or found.url == "http://proxy:3128"


def test_a_proxy_of_the_environment_without_a_scheme_is_used_by_both_drivers(
    run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve()
    monkeypatch.setenv("HTTP_PROXY", f"127.0.0.1:{proxy.port}")
    assert run(send_all(GET), quick("http://airflow.invalid"))[0].status == 200
    assert proxy.received[0].target == "http://airflow.invalid/x"


def test_a_kind_of_proxy_that_is_not_supported_is_refused_by_both_drivers(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://u:s3cret@127.0.0.1:1")
    with pytest.raises(InvalidSettings, match="The environment's ALL_PROXY must be an http or https proxy") as failure:
        run(send_all(GET), quick("http://airflow.invalid"))
    assert "s3cret" not in str(failure.value)


def test_a_proxy_that_refuses_the_way_means_that_nothing_was_sent(run: Run, serve: Any) -> None:
    proxy = serve(reply(407, b"who are you?"))
    settings = quick("https://airflow.invalid", proxy=f"http://u:s3cret@127.0.0.1:{proxy.port}")
    assert not failure_of(run, settings).sent
    assert proxy.received[0].method == "CONNECT"


# Certificates


@dataclass(frozen=True)
class Certificate:
    """A certificate for this machine, its key, and both in one file."""

    file: str
    key: str
    both: str

    def server_side(self, client: Certificate | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.file, self.key)
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client.file)
        return context


def make_certificate(folder: Path, name: str) -> Certificate:
    file, key, both = (str(folder / f"{name}.{kind}") for kind in ("pem", "key", "both"))
    command = [
        *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", key, "-out", file),
    ]
    subprocess.run(command, check=True, capture_output=True)
    Path(both).write_text(Path(file).read_text() + Path(key).read_text())
    return Certificate(file, key, both)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "server")


@pytest.fixture(scope="module")
def our_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"), "client")


def test_a_server_nobody_vouches_for_is_refused_before_anything_is_sent(
    run: Run, serve: Any, certificate: Certificate
) -> None:
    server = serve(tls=certificate.server_side())
    failure = failure_of(run, quick(server))
    assert not failure.sent
    assert "certificate verify failed: self-signed certificate" in failure.reason
    assert server.received == []


def test_a_certificate_for_another_host_is_refused(run: Run, serve: Any, certificate: Certificate) -> None:
    server = serve(tls=certificate.server_side())
    failure = failure_of(run, quick(f"https://localhost:{server.port}", ca_file=certificate.file))
    assert not failure.sent
    assert "Hostname mismatch" in failure.reason


def test_a_server_without_tls_is_named(run: Run) -> None:
    with FakeDeployment() as remote:
        failure = failure_of(run, quick(remote.url.replace("http://", "https://")))
    assert failure.reason.startswith("what answers there does not use TLS, so that its URL begins with http://")


def test_a_server_that_the_connections_file_vouches_for_is_accepted(
    run: Run, serve: Any, certificate: Certificate
) -> None:
    server = serve(tls=certificate.server_side())
    assert run(send_all(GET), quick(server, ca_file=certificate.file))[0].status == 200


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_server_that_the_environments_file_vouches_for_is_accepted(
    run: Run, serve: Any, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, certificate.file)
    server = serve(tls=certificate.server_side())
    assert run(send_all(GET), quick(server))[0].status == 200


def test_the_environment_may_name_a_folder_of_certificates(
    run: Run, serve: Any, certificate: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    command = ["openssl", "x509", "-noout", "-hash", "-in", certificate.file]
    name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    (tmp_path / f"{name}.0").write_bytes(Path(certificate.file).read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    server = serve(tls=certificate.server_side())
    assert run(send_all(GET), quick(server))[0].status == 200


def test_a_file_that_the_environment_names_and_that_is_not_there_is_a_setting_to_fix(
    run: Run, serve: Any, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/file.pem")
    server = serve(tls=certificate.server_side())
    with pytest.raises(InvalidSettings, match=r"REQUESTS_CA_BUNDLE=.* does not exist"):
        run(send_all(GET), quick(server))


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_a_server_nobody_vouches_for_is_accepted_if_the_connection_says_so(
    run: Run, serve: Any, certificate: Certificate
) -> None:
    server = serve(tls=certificate.server_side())
    assert run(send_all(GET), quick(server, verify=False))[0].status == 200


@pytest.mark.parametrize("apart", [True, False])
def test_our_own_certificate_is_shown_to_a_server_that_wants_one(
    run: Run, serve: Any, certificate: Certificate, our_certificate: Certificate, apart: bool
) -> None:
    server = serve(tls=certificate.server_side(our_certificate))
    ours = {"client_certificate": our_certificate.both}
    if apart:
        ours = {"client_certificate": our_certificate.file, "client_key_file": our_certificate.key}
    assert run(send_all(GET), quick(server, ca_file=certificate.file, **ours))[0].status == 200


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_a_server_that_wants_a_certificate_refuses_us_without_one(
    run: Run, serve: Any, certificate: Certificate, our_certificate: Certificate
) -> None:
    server = serve(tls=certificate.server_side(our_certificate))
    # Since TLS 1.3 the refusal arrives after our first words, so that it looks like a lost reply.
    failure_of(run, quick(server, ca_file=certificate.file))
    assert server.received == []
    # Python 3.10 forgets to close the transport of such a connection, and complains of it when it finds it.
    gc.collect()


@pytest.mark.parametrize("name", ["ca_file", "client_certificate", "client_key_file"])
def test_a_certificate_file_that_is_not_there_is_named(run: Run, tmp_path: Path, name: str) -> None:
    there = tmp_path / "there.pem"
    there.write_text("")
    files: dict[str, Any] = {"client_certificate": str(there)} if name == "client_key_file" else {}
    settings = quick("https://127.0.0.1:1", **{**files, name: "/nowhere.pem"})
    if name != "ca_file":
        settings = quick("https://127.0.0.1:1", verify=False, **{**files, name: "/nowhere.pem"})
    with pytest.raises(InvalidSettings, match=rf"connection's {name}='/nowhere.pem' does not exist on this machine"):
        run(send_all(GET), settings)


def certificate_files(folder: Path, certificate: Certificate) -> dict[str, str]:
    """Files that cannot be used, by what is wrong with them."""
    os.mkfifo(folder / "pipe")
    (folder / "text").write_text("no certificate")
    encrypt = [
        "openssl",
        "pkey",
        "-in",
        certificate.key,
        "-aes128",
        "-passout",
        "pass:s3cret",
        "-out",
        str(folder / "locked"),
    ]
    subprocess.run(encrypt, check=True, capture_output=True)
    (folder / "both").write_text(Path(certificate.file).read_text() + (folder / "locked").read_text())
    return {name: str(folder / name) for name in ("pipe", "text", "locked", "both")} | {
        "folder": str(folder),
        "device": "/dev/zero",
        "NUL": "a\x00b",
    }


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("field", "file", "words"),
    [
        *(("ca_file", name, "connection's ca_file=.* must be an ordinary file") for name in ("pipe", "device")),
        ("ca_file", "text", "connection's ca_file=.* cannot be used: .*A PEM file with certificates is needed"),
        ("ca_file", "NUL", "does not exist on this machine"),
        *(
            ("client_certificate", name, "client_certificate=.* must be an ordinary file")
            for name in ("pipe", "folder")
        ),
        ("client_certificate", "text", "client_certificate in .* cannot be used"),
        ("client_certificate", "both", "client_certificate, in .*both', is encrypted, and there is no passphrase"),
        *(("client_key_file", name, "client_key_file=.* must be an ordinary file") for name in ("pipe", "folder")),
        ("client_key_file", "text", "client_certificate in .* cannot be used"),
        ("client_key_file", "locked", "client_certificate, in .*locked', is encrypted, and there is no passphrase"),
    ],
)
def test_a_certificate_file_that_cannot_be_used_is_a_setting_to_correct(
    run: Run, tmp_path: Path, certificate: Certificate, field: str, file: str, words: str
) -> None:
    own = {"client_certificate": certificate.file} if field == "client_key_file" else {}
    files = {**own, field: certificate_files(tmp_path, certificate)[file]}
    with pytest.raises(InvalidSettings, match=words):
        run(send_all(GET), quick("https://127.0.0.1:1", **files))


def test_a_certificate_file_that_may_not_be_read_is_named(
    run: Run, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root, everything may be read.
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InvalidSettings, match="may not be read by the user that Airflow runs as"):
        run(send_all(GET), quick("https://127.0.0.1:1", ca_file=certificate.file))


def test_settings_that_changed_are_those_of_the_next_request(
    run: Run, serve: Any, certificate: Certificate, our_certificate: Certificate
) -> None:
    server, proxy = serve(tls=certificate.server_side()), serve(tunnel)
    before = quick(server, ca_file=our_certificate.file, headers={"X-Key": "old"})
    after = replace(before, ca_file=certificate.file, proxy=proxy.url, headers={"X-Key": "new"})

    def flow() -> Flow[Any]:
        (refused,) = yield from send_all(GET)
        yield Reload()
        (response,) = yield from send_all(GET)
        return refused, response

    refused, response = run(flow(), before, lambda: after)
    assert "certificate verify failed" in refused.reason
    assert response.status == 200
    assert [received.headers["x-key"] for received in server.received] == ["new"]
    assert [received.method for received in proxy.received] == ["CONNECT"]


def test_without_tls_there_is_nothing_to_set_up() -> None:
    assert tls_context(quick("http://127.0.0.1:1")) is True
    assert ca_file_of(quick("https://127.0.0.1:1")).endswith(".pem")


# The event loop


def slowly(seconds: float) -> Reply:
    def answer(_: Received, connection: socket.socket) -> None:
        threading.Event().wait(seconds)
        connection.sendall(reply())

    return answer


async def heartbeat(gaps: list[float]) -> None:
    last = time.monotonic()
    while True:
        await asyncio.sleep(0.005)
        gaps.append(time.monotonic() - last)
        last = time.monotonic()


async def reload_settings() -> Settings:
    raise AssertionError("not expected")


def test_other_work_continues_while_a_reply_is_awaited(serve: Any, certificate: Certificate) -> None:
    server = serve(slowly(0.6), tls=certificate.server_side())
    gaps: list[float] = []

    async def main() -> Response:
        beating = asyncio.create_task(heartbeat(gaps))
        try:
            async with async_driver(quick(server, ca_file=certificate.file), reload_settings) as driver:
                (response,) = await driver.run(send_all(GET))
                return response  # type: ignore[no-any-return]
        finally:
            beating.cancel()

    assert asyncio.run(main()).status == 200
    # A loop that is blocked would have one gap of 600 ms; a busy machine has some short ones.
    gaps.sort()
    assert len(gaps) > 20
    assert gaps[len(gaps) * 9 // 10] < 0.05
    assert gaps[-1] < 0.4


def test_several_flows_share_a_driver_and_do_not_wait_for_each_other(serve: Any) -> None:
    server = serve(slowly(0.3))

    async def main() -> list[list[Any]]:
        async with async_driver(quick(server), reload_settings) as driver:
            return await asyncio.gather(*(driver.run(send_all(GET)) for _ in range(5)))

    started = time.monotonic()
    assert [outcomes[0].status for outcomes in asyncio.run(main())] == [200] * 5
    assert time.monotonic() - started < 1.2


def test_a_flow_is_closed_when_its_driver_is_cancelled(serve: Any) -> None:
    arrived, closed = threading.Event(), []

    def arrive_and_stall(request: Received, connection: socket.socket) -> object:
        arrived.set()
        return stall(b"")(request, connection)

    server = serve(arrive_and_stall)

    def flow() -> Flow[None]:
        try:
            yield GET
        finally:
            closed.append(True)

    async def main() -> None:
        async with async_driver(quick(server, read_timeout=30.0), reload_settings) as driver:
            running = asyncio.create_task(driver.run(flow()))
            assert await asyncio.to_thread(arrived.wait, 10)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    asyncio.run(main())
    assert closed == [True]


def test_the_drivers_sleep_as_long_as_a_flow_requests() -> None:
    slept: list[float] = []

    def flow() -> Flow[None]:
        yield Sleep(3)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    settings = quick("http://127.0.0.1:1")
    with requests.Session() as session:
        SyncDriver(session, settings, reload=lambda: settings, sleep=slept.append).run(flow())
    asyncio.run(AsyncDriver(None, settings, reload=reload_settings, sleep=sleep).run(flow()))  # type: ignore[arg-type]
    assert slept == [3, 3]


def test_a_reply_with_too_many_header_fields_is_no_reply() -> None:
    fields = {f"x-{number}": "" for number in range(with_aiohttp.MOST_FIELDS)}
    assert len(with_aiohttp._named(fields)) == with_aiohttp.MOST_FIELDS
    with pytest.raises(aiohttp.ClientPayloadError):
        with_aiohttp._named({**fields, "one-more": ""})


# Requests of a login to another host


def test_another_host_gets_no_header_of_the_connection(run: Run, serve: Any) -> None:
    deployment, other = serve(), serve()
    settings = Settings(f"http://127.0.0.1:{deployment.port}/team", headers={"X-Gateway-Key": "s3cret"})
    url = f"http://127.0.0.1:{other.port}"
    elsewhere = request_to(f"{url}/oauth2/token", form={"grant_type": "x y"}, headers={"X-Own": "1"})
    both = run(send_all(replace(GET, authenticated=False), elsewhere), settings)
    assert [each.status for each in both] == [200, 200]
    (first,), (second,) = deployment.received, other.received
    assert (first.target, second.target) == ("/team/x", "/oauth2/token")
    assert first.headers["x-gateway-key"] == "s3cret"
    assert "x-gateway-key" not in second.headers
    assert (second.headers["x-own"], second.headers["host"]) == ("1", url.removeprefix("http://"))
    assert second.body == b"grant_type=x+y"


def test_another_host_cannot_redirect(run: Run, serve: Any) -> None:
    target = serve()
    other = serve(reply(307, b"{}", f"Location: http://127.0.0.1:{target.port}/"))
    (found,) = run(send_all(request_to(f"http://127.0.0.1:{other.port}/token")), Settings("http://127.0.0.1:9"))
    assert found.status == 307
    assert target.received == []


def test_another_host_sends_no_more_than_a_token_needs(run: Run, serve: Any) -> None:
    other = serve(reply(200, b"x" * 100_000))
    (found,) = run(send_all(request_to(f"http://127.0.0.1:{other.port}/token")), Settings("http://127.0.0.1:9"))
    assert found.truncated
    assert len(found.body) == 64 * 1024


def test_another_host_is_reached_by_way_of_its_own_proxy(run: Run, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, deployment = serve(), serve()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    flow = send_all(replace(GET, authenticated=False), request_to("http://login.example.com/token"))
    assert [each.status for each in run(flow, Settings(f"http://127.0.0.1:{deployment.port}"))] == [200, 200]
    assert [each.target for each in deployment.received] == ["/x"]
    assert [each.target for each in proxy.received] == ["http://login.example.com/token"]


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_the_certificate_of_another_host_is_checked_even_if_that_of_the_deployment_is_not(
    run: Run, serve: Any, certificate: Certificate
) -> None:
    deployment, other = serve(tls=certificate.server_side()), serve(tls=certificate.server_side())
    there = request_to(f"https://127.0.0.1:{other.port}/token")
    settings = Settings(f"https://127.0.0.1:{deployment.port}", verify=False)
    first, second = run(send_all(replace(GET, authenticated=False), there), settings)
    assert first.status == 200
    assert "certificate verify failed" in second.reason
    # A private authority of the connection is trusted for both.
    trusting = replace(settings, ca_file=certificate.file)
    assert [each.status for each in run(send_all(there, there), trusting)] == [200, 200]


def test_another_host_is_not_shown_our_certificate(
    run: Run, serve: Any, certificate: Certificate, our_certificate: Certificate
) -> None:
    other = serve(tls=certificate.server_side(our_certificate))
    settings = Settings(
        "https://127.0.0.1:9", ca_file=certificate.file, client_certificate=our_certificate.both, read_timeout=5
    )
    (failure,) = run(send_all(request_to(f"https://127.0.0.1:{other.port}/token")), settings)
    assert isinstance(failure, TransportError)


def test_a_connection_that_is_read_again_trusts_other_authorities_for_another_host(
    run: Run, serve: Any, certificate: Certificate
) -> None:
    there = request_to(f"https://127.0.0.1:{serve(tls=certificate.server_side()).port}/token")
    settings = Settings("https://127.0.0.1:9")

    def flow() -> Flow[list[Any]]:
        before = yield from send_all(there)
        yield Reload()
        return [*before, *(yield from send_all(there))]

    before, after = run(flow(), settings, lambda: replace(settings, ca_file=certificate.file))
    assert isinstance(before, TransportError)
    assert after.status == 200


def test_a_library_that_blocks_is_left_alone_when_the_time_is_over() -> None:
    settings = Settings("http://127.0.0.1:9")
    done = threading.Event()
    with configure(requests.Session(), settings) as session:
        driver = SyncDriver(session, settings, reload=lambda: settings, total_seconds=0.3)
        assert driver.run(blocking(lambda: 1)) == 1
        started = time.monotonic()
        try:
            for _ in range(2):
                with pytest.raises(Unreachable, match=r"No reply to the login: the time for it, 0.3 s in all, is over"):
                    driver.run(blocking(lambda: done.wait(20)))
        finally:
            done.set()
    assert time.monotonic() - started < 5


def test_a_library_that_blocks_does_not_hold_up_the_threads_of_the_event_loop() -> None:
    settings = Settings("http://127.0.0.1:9")
    done = threading.Event()

    async def reload() -> Settings:
        return settings

    async def wait() -> list[Any]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        async with async_driver(settings, reload) as driver:
            waits = [asyncio.create_task(driver.run(blocking(lambda: done.wait(20)))) for _ in range(2)]
            # The one thread of the event loop is free.
            assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 10) == 1
            done.set()
            return await asyncio.gather(*waits)

    assert asyncio.run(wait()) == [True, True]
