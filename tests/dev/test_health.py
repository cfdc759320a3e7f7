"""Logging in to a UI: what counts as done, and what is said when it is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from dev.health import login_problem
from dev.loopback import free_port

FORM = '<form><input id="csrf_token" name="csrf_token" type="hidden" value="t0ken"></form>'


class UserInterface(BaseHTTPRequestHandler):
    """The login of Airflow 3 by JSON, and that of older ones by a form with a token and a cookie."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def answer(self, status: int, body: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body.encode())

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/login/":
            self.answer(200, FORM, Content_Type="text/html", Set_Cookie="session=begun; Path=/")
        elif path == "/home" and "session=in" not in self.headers.get("Cookie", ""):
            self.answer(302, Location="/login/")
        else:
            self.answer(200, "<html>", Content_Type="text/html; charset=utf-8")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path == "/auth/token":
            self.answer(201 if json.loads(body)["password"] == "right" else 401, "{}")
            return
        given = {name: values[0] for name, values in parse_qs(body).items()}
        begun = "session=begun" in self.headers.get("Cookie", "")
        if begun and (given["csrf_token"], given["password"]) == ("t0ken", "right"):
            self.answer(302, Location="/home", Set_Cookie="session=in; Path=/")
        else:
            self.answer(302, Location="/login/")


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), UserInterface) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("generation", ["experimental", "v1", "v2"])
def test_the_right_password_lets_in(url: str, generation: str) -> None:
    assert login_problem(generation, url, "admin", "right") is None  # type: ignore[arg-type]


@pytest.mark.parametrize("generation", ["experimental", "v1", "v2"])
def test_a_wrong_password_does_not(url: str, generation: str) -> None:
    problem = login_problem(generation, url, "admin", "wrong")  # type: ignore[arg-type]
    assert problem
    assert f"{url} does not let 'admin' in" in problem


@pytest.mark.parametrize("generation", ["v1", "v2"])
def test_a_server_that_does_not_answer_is_no_ui(generation: str) -> None:
    problem = login_problem(generation, f"http://127.0.0.1:{free_port()}", "admin", "right")  # type: ignore[arg-type]
    assert problem
    assert "Connection refused" in problem


def test_a_proxy_is_not_used(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert login_problem("v2", url, "admin", "right") is None
