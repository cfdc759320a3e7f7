"""The proxy lets through what no rule concerns, and each fault looks from both sides as it is described."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from dev import faults
from dev.faults import Fault, Rule
from dev.loopback import free_port
from dev.places import ROOT
from dev.proxy import Passed, Proxy
from tests.transport.server import Server, answering, reply, serving

BODY = b'{"state": "running", "number": 1}'


@pytest.fixture
def remote() -> Iterator[Server]:
    with serving(answering(reply(200, BODY, "X-Own: kept", "Set-Cookie: a=1", "Set-Cookie: b=2"))) as server:
        yield server


Send = Callable[..., requests.Response]


@pytest.fixture
def send() -> Iterator[Send]:
    with requests.Session() as session:
        session.trust_env = False
        yield lambda url, **given: session.request(given.pop("method", "GET"), url, timeout=5, **given)


def through(remote: Server, fault: Fault) -> Proxy:
    return Proxy(remote.url, [Rule([("it", fault)])])


def test_what_no_rule_concerns_goes_through_as_it_is(remote: Server, send: Send) -> None:
    with Proxy(remote.url) as proxy:
        answer = send(f"{proxy.url}/a%2Fb?c=%20", method="POST", json={"d": 1}, headers={"Authorization": "Bearer x"})
        send(proxy.url)
    (first, second) = remote.received
    assert (first.method, first.target, json.loads(first.body)) == ("POST", "/a%2Fb?c=%20", {"d": 1})
    assert (first.headers["authorization"], first.headers["content-type"]) == ("Bearer x", "application/json")
    assert (second.method, second.body) == ("GET", b"")
    assert (answer.status_code, answer.content, answer.headers["X-Own"]) == (200, BODY, "kept")
    assert answer.headers["Set-Cookie"] == "a=1, b=2"
    assert proxy.passed[0] == Passed("POST", "/a%2Fb?c=%20", None, True, 200, 200)
    assert proxy.requests() == 2
    assert proxy.requests("POST") == proxy.requests(path="/a%2F") == proxy.requests("POST", forwarded=True) == 1


@pytest.mark.parametrize(
    ("fault", "forwarded"),
    [(faults.lose_reply, True), (faults.reset_before, False), (faults.reset_after, True)],
)
def test_a_broken_connection(remote: Server, send: Send, fault: Fault, forwarded: bool) -> None:
    with through(remote, fault) as proxy, pytest.raises(requests.ConnectionError) as caught:
        send(proxy.url)
    assert ("reset" in str(caught.value)) == (fault is not faults.lose_reply)
    assert len(remote.received) == forwarded
    assert proxy.passed == [Passed("GET", "/", "it", forwarded, 200 if forwarded else None, None)]


@pytest.mark.parametrize("after", [False, True])
def test_another_reply_before_or_after_the_remote_acted(remote: Server, send: Send, after: bool) -> None:
    with through(remote, faults.status(503, after=after, retry_after="7")) as proxy:
        answer = send(proxy.url)
    assert (answer.status_code, answer.content, answer.headers["Retry-After"]) == (503, b"", "7")
    assert len(remote.received) == after
    with through(remote, faults.page(403, after=after)) as proxy:
        answer = send(proxy.url)
    assert (answer.status_code, answer.headers["Content-Type"], answer.content) == (403, "text/html", faults.PAGE)
    assert len(remote.received) == 2 * after
    assert proxy.requests(forwarded=True) == after
    with through(remote, faults.said(401, "Token Expired")) as proxy:
        assert send(proxy.url).json() == {"detail": "Token Expired"}


def test_bodies_that_mislead(remote: Server, send: Send) -> None:
    with through(remote, faults.cut_json) as proxy:
        assert send(proxy.url).content == BODY[:-1]
    with through(remote, faults.wrong_types) as proxy:
        assert send(proxy.url).json() == {"state": {"odd": ["running"]}, "number": {"odd": [1]}}
    assert len(remote.received) == 2


@pytest.mark.parametrize("fault", [faults.stall, faults.hold, faults.delay(0.6)])
def test_a_reply_that_takes_too_long(remote: Server, send: Send, fault: Fault) -> None:
    with through(remote, fault) as proxy, requests.Session() as session:
        session.trust_env = False
        with pytest.raises(requests.RequestException, match="timed out"):
            session.get(proxy.url, timeout=0.3)
    assert len(remote.received) == 1


def test_a_reply_without_an_end(remote: Server, send: Send) -> None:
    with through(remote, faults.endless) as proxy, send(proxy.url, stream=True) as answer:
        pieces = itertools.islice(answer.iter_content(faults.CHUNK), 20)
        assert sum(map(len, pieces)) == 20 * faults.CHUNK


def test_a_connection_that_was_to_be_kept_is_closed(remote: Server) -> None:
    """What the next request does about it is the business of the libraries; that it has to, is shown here."""
    with through(remote, faults.close_when_idle) as proxy, requests.Session() as session:
        session.trust_env = False
        with session.get(proxy.url, timeout=5, stream=True) as answer:
            connection: Any = answer.raw._connection.sock
            assert (answer.content, answer.headers.get("Connection")) == (BODY, None)
            connection.settimeout(5)
            assert connection.recv(1) == b""


def test_a_rule_says_which_requests_it_concerns(remote: Server, send: Send) -> None:
    rules = [Rule([("503", faults.status(503))], method="POST", path=r"/runs$", nth=(1, 3))]
    with Proxy(remote.url, rules) as proxy:
        sent = [("POST", "/runs"), ("GET", "/runs"), ("POST", "/runs?a=1"), ("POST", "/runs"), ("POST", "/runs")]
        statuses = [send(proxy.url + path, method=method).status_code for method, path in sent]
    assert statuses == [503, 200, 200, 200, 503]
    assert [each.fault for each in proxy.passed] == ["503", None, None, None, "503"]


def test_what_is_drawn_at_random_follows_from_the_seed(remote: Server, send: Send) -> None:
    def met(seed: int | None) -> tuple[list[str | None], int]:
        rules = [Rule([("500", faults.status(500)), ("503", faults.status(503))], share=0.5)]
        with Proxy(remote.url, rules, seed=seed) as proxy:
            for _ in range(40):
                send(proxy.url)
        return [each.fault for each in proxy.passed], proxy.seed

    first, seed = met(None)
    assert {*first} == {"500", "503", None}
    assert met(seed) == (first, seed)
    assert met(seed + 1)[0] != first


def test_a_remote_that_is_down_is_a_bad_gateway(send: Send) -> None:
    with Proxy(f"http://127.0.0.1:{free_port()}") as proxy:
        assert send(proxy.url).status_code == 502
    assert proxy.passed == [Passed("GET", "/", None, True, 502, 502)]


def test_the_command_line_shows_address_seed_and_requests(remote: Server, send: Send) -> None:
    command = [sys.executable, "-m", "dev.proxy", remote.url, "--share", "0", "--seed", "7"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={"PYTHONUNBUFFERED": "1"}) as run:
        assert run.stdout is not None
        try:
            first = run.stdout.readline()
            assert f"leads to {remote.url}, seed 7." in first
            assert send(first.split()[0] + "/x").content == BODY
            assert "'/x'" in run.stdout.readline()
        finally:
            run.terminate()
