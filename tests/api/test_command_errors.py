"""What the command prints and how it ends when something is wrong, or when it is interrupted."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from astronomer_remote.cli.main import main
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.server import RecordedRequest, Reply
from tests.api.command import COMMAND, LOGIN, code_of, run

pytestmark = pytest.mark.usefixtures("logging_as_before")

TOKEN, USER, PASSWORD = (f"ASTRONOMER_REMOTE_{name}" for name in ("TOKEN", "USER", "PASSWORD"))
Output = pytest.CaptureFixture[str]


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)


Answer = Callable[[RecordedRequest], "Reply | None"]


class Altered(FakeDeployment):
    """Changes its replies. ``alter`` gets a request and what answers it."""

    def __init__(self, alter: Callable[[RecordedRequest, Answer], Reply | None]) -> None:
        super().__init__()
        self.alter = alter

    def _answer(self, request: RecordedRequest) -> Reply | None:
        return self.alter(request, super()._answer)


@contextmanager
def answering(reply: bytes | None) -> Iterator[str]:
    """A server that answers each request in the same way, or never. :return: its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        opened: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                opened.append(connection)
                if reply is not None:
                    connection.recv(65536)
                    connection.sendall(reply)
                    connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
        for connection in opened:
            connection.close()


PAGE = b"<html><title>Sign in</title></html>"
UNAUTHORIZED = (
    b"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
    % (len(PAGE), PAGE)
)


def test_a_gateway_that_refuses_the_token_ends_the_command_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setenv(TOKEN, "wrong-t0ken")
    before = time.monotonic()
    with answering(UNAUTHORIZED) as url:
        assert code_of("runs", "d", "--url", url) == 4
    assert time.monotonic() - before < 5
    printed = capsys.readouterr().err
    assert (f"Check {TOKEN}; it may have expired" in printed, "wrong-t0ken" in printed) == (True, False)


def test_with_a_url_no_error_speaks_of_a_connection(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    with FakeDeployment() as remote, answering(b"HTTP/1.0 302 Found\r\nLocation: http://x/\r\n\r\n") as redirecting:
        remote.add_dag("d")
        wrong: list[tuple[tuple[str, ...], dict[str, str], str]] = [
            (("--url", "http://127.0.0.1:9"), {}, "Check --url, the network"),
            (("--url", "ftp://a"), {}, "--url must be an http or https URL"),
            (("--url", "http://a b"), {}, "--url must be an http"),
            (("--url", "http://u:p@h"), {}, f"Put login and password into {USER} and {PASSWORD}, not into --url"),
            (("--url", "http://h:port"), {}, "--url is not a URL"),
            (("--url", remote.url), {USER: "admin", PASSWORD: "wrong"}, f"Check {USER} and {PASSWORD}"),
            (("--url", remote.url), {TOKEN: "wrong"}, f"did not accept the token or key. Check {TOKEN}"),
            (("--url", remote.url), {TOKEN: "two words"}, f"{TOKEN} is to be sent as a token"),
            (("--url", remote.url), {}, f"there are none: set {TOKEN}, or {USER}"),
            (("--url", redirecting), {}, "Check --url and token"),
        ]
        for arguments, environment, said in wrong:
            for name in (TOKEN, USER, PASSWORD):
                monkeypatch.delenv(name, raising=False)
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            assert code_of("runs", "d", *arguments) in (2, 4, 5)
            printed = capsys.readouterr().err
            assert said in printed, printed
            assert not re.search("the connection", printed, re.IGNORECASE), printed


def test_with_a_connection_errors_speak_of_it(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHELL", json.dumps({"host": "ftp://a"}))
    assert code_of("runs", "d", "--conn-id", "shell") == 2
    assert "The connection's host must be" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("wait", "d", "r"), ("trigger", "d", "--run-id", "r", "--wait")])
def test_a_timeout_limits_a_poll_that_hangs(
    command: tuple[str, ...], login: None, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr("astronomer_remote.cli.waiting.SECONDS_FOR_LAST_POLL", 0.5)
    over, reads = threading.Event(), []

    def hang(request: RecordedRequest, answer: Answer) -> Reply | None:
        if request.path.endswith("/r"):
            reads.append(request)
            if len(reads) > 2:
                over.wait(60)
        return answer(request)

    with Altered(hang) as remote:
        remote.add_dag("d", stays="running")
        if command[0] == "wait":
            remote.add_run("d", "r", state="running")
        before = time.monotonic()
        code = run(remote, *command, "--poll", "0.01", "--timeout", "1", "-o", "json")
        took = time.monotonic() - before
        over.set()
    said = capsys.readouterr()
    assert (code, took < 15, len(reads)) == (3, True, 3), said.err
    assert "did not end within 1 s; it continues" in said.err
    assert json.loads(said.out)["run_id"] == "r"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("trigger", "d"), "A run of DAG d may have been triggered all the same.\n"),
        (("trigger", "d", "--key", "k"), "may have been triggered all the same. The same --key finds it."),
        (("pause", "d"), "What was requested may have been done all the same."),
        (("runs", "d"), ""),
    ],
)
def test_an_interrupted_request_is_reported_if_it_may_have_changed_something(
    command: tuple[str, ...], said: str
) -> None:
    with answering(None) as url:
        started = subprocess.Popen(
            [*COMMAND, *command, "--url", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            deadline = time.monotonic() + 60
            while f"127.0.0.1:{url.rpartition(':')[2]}" not in connections_of(started.pid):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            started.send_signal(signal.SIGINT)
            out, err = started.communicate(timeout=60)
        finally:
            started.kill()
    assert (started.returncode, out) == (130, "")
    assert (said in err) if said else (err == "")


def connections_of(pid: int) -> str:
    """The addresses that a process is connected to."""
    lines = []
    with open(f"/proc/{pid}/net/tcp") as table:
        for line in table.read().splitlines()[1:]:
            fields = line.split()
            address, _, port = fields[2].partition(":")
            if fields[3] == "01" and address == "0100007F":
                lines.append(f"127.0.0.1:{int(port, 16)}")
    return "\n".join(lines)


def test_a_listing_that_is_incomplete_is_reported(login: None, capsys: Output) -> None:
    def without_slots(request: RecordedRequest, answer: Answer) -> Reply | None:
        reply = answer(request)
        if reply and request.path.endswith("/pools"):
            reply.body["pools"][1].pop("slots")
        return reply

    with Altered(without_slots) as remote:
        remote.add_pool("p", 3)
        assert run(remote, "pools", "list", "-o", "json") == 0
    said = capsys.readouterr()
    assert [pool["name"] for pool in json.loads(said.out)] == ["default_pool"]
    assert said.err.startswith("Warning: Could not list pools in full; what cannot be read is left out")


def test_no_log_message_of_another_library_is_printed(login: None, capsys: Output) -> None:
    with FakeDeployment() as remote:
        remote.add_dag("d")
        assert run(remote, "runs", "d") == 0
        logging.getLogger("urllib3").warning("something")
        logging.getLogger("astronomer_remote").warning("in\x1b[2Jvisible")
    assert capsys.readouterr().err == "Warning: in\\x1b[2Jvisible\n"


def test_pausing_prints_what_the_dag_is_now(login: None, capsys: Output) -> None:
    with FakeDeployment() as remote:
        remote.add_dag("d")
        for command, paused in (("pause", True), ("unpause", False)):
            assert run(remote, command, "d", "-o", "json") == 0
            assert json.loads(capsys.readouterr().out) == {"dag_id": "d", "is_paused": paused}


@pytest.mark.parametrize("output", ["json", "table", "plain"])
def test_a_terminal_that_has_not_all_characters_is_no_error(output: str) -> None:
    with FakeDeployment() as remote:
        remote.add_pool("p", 1, description="Lager für Zürich ✓")
        done = subprocess.run(
            [*COMMAND, "pools", "list", "-o", output, "--url", remote.url],
            env={**os.environ, **LOGIN, "PYTHONIOENCODING": "latin-1"},
            capture_output=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    if output == "json":
        assert json.loads(done.stdout.decode("ascii"))[1]["description"] == "Lager für Zürich ✓"
    else:
        assert "Lager für Zürich \\u2713" in done.stdout.decode("latin-1")


def test_a_connection_that_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setattr("astronomer_remote.cli.connection.find_spec", lambda name: None)
    with pytest.raises(SystemExit) as end:
        main(["runs", "d", "--conn-id", "shell"])
    assert end.value.code == 2
    assert "There is no AIRFLOW_CONN_SHELL in the environment" in capsys.readouterr().err


def test_a_deployment_that_is_about_to_answer_is_waited_for(login: None) -> None:
    with FakeDeployment() as remote:
        remote.add_dag("d")
        remote.disturb(503, times=4, path="/version")
        assert run(remote, "runs", "d") == 0


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    monkeypatch.setitem(sys.modules, "argcomplete.shell_integration", None)
    assert code_of("completion", "bash") == 2
    assert capsys.readouterr().err == (
        "argcomplete.shell_integration is not installed here, and this command needs it.\n"
    )
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    assert code_of("--version") == 0


def test_a_module_of_this_package_that_is_missing_is_a_fault_of_it(
    login: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "astronomer_remote.api.deployment", None)
    with pytest.raises(ModuleNotFoundError):
        code_of("runs", "d", "--url", "http://127.0.0.1:9")
