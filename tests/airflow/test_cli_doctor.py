"""The command ``doctor``: what it finds out, that it changes nothing, and its exit codes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from astronomer_remote.cli.main import main
from astronomer_remote.testing import FakeDeployment

pytestmark = pytest.mark.usefixtures("logging_as_before")

Start = Callable[..., FakeDeployment]
Output = pytest.CaptureFixture[str]

LISTINGS = {"/api/v2/dags/~/dagRuns/list", "/api/v2/dags/~/dagRuns/~/taskInstances/list"}
"""What a POST only reads."""


def run(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def printed(capsys: Output, *arguments: str) -> Any:
    """What a command prints as JSON, if it succeeds."""
    assert run(*arguments) == 0, capsys.readouterr()
    return json.loads(capsys.readouterr().out)


def test_the_doctor_reports_what_the_account_may_do(any_remote: FakeDeployment, capsys: Output) -> None:
    before = any_remote.pools()
    found = printed(capsys, "doctor", "-o", "json")
    assert found["url"] == any_remote.url
    assert found["may"]["read DAG runs"] == "yes"
    # It hides its configuration.
    assert {name for name, answer in found["may"].items() if answer == "no"} <= {"read the configuration"}
    assert found["health"]["scheduler"] == "healthy"
    assert found["latency_ms"] > 0
    assert abs(found["clock_skew_seconds"]) <= 1
    assert (any_remote.pools(), any_remote.runs("quick")) == (before, [])
    assert run("doctor") == 0
    assert "health: scheduler" in capsys.readouterr().out


def test_a_viewer_may_only_read(start: Start, add_connection: Callable[..., str], capsys: Output) -> None:
    remote = start("2.11.2")
    add_connection(**{**remote.connection(), "login": "viewer", "password": "viewer"})
    may = printed(capsys, "doctor", "-o", "json")["may"]
    assert {name for name, answer in may.items() if answer == "yes"} >= {"read DAGs", "read pools", "read XComs"}
    assert {name for name, answer in may.items() if answer == "no"} == {
        "read the configuration",
        "trigger",
        "cancel DAG runs",
        "clear DAG runs",
        "delete DAG runs",
        "pause DAGs",
        "write pools",
        "register asset events",
    }


def test_the_doctor_reads_clock_and_page_limit(start: Start, capsys: Output) -> None:
    start(clock=lambda: time.time() - 3600, config={"api": {"maximum_page_limit": "50"}})
    found = printed(capsys, "doctor", "-o", "json")
    assert -3602 <= found["clock_skew_seconds"] <= -3598
    assert found["maximum_page_limit"] == "50"


def test_a_wrong_password_is_refused(start: Start, add_connection: Callable[..., str], capsys: Output) -> None:
    add_connection(**{**start().connection(), "password": "wrong"})
    assert run("doctor") == 4
    said = capsys.readouterr()
    assert ("AuthenticationFailed" in said.err, said.out) == (True, "")


def test_a_read_only_connection_may_only_read(start: Start, add_connection: Callable[..., str], capsys: Output) -> None:
    remote = start()
    add_connection(**{**remote.connection(), "extra": {"read_only": True}})
    found = printed(capsys, "doctor", "-o", "json")
    assert (found["read_only"], found["may"]["read pools"]) == (True, "yes")
    assert {found["may"][name] for name in ("trigger", "cancel DAG runs", "pause DAGs", "write pools")} == {"no"}
    assert {path for method, path in remote.requests if method != "GET"} <= {"/auth/token", *LISTINGS}


@pytest.mark.parametrize("output", ["json", "table"])
def test_a_health_that_cannot_be_read_is_a_failure(start: Start, capsys: Output, output: str) -> None:
    start().disturb(503, times=100, path="/health")
    assert run("doctor", "-o", output) == 1
    printed_ = capsys.readouterr().out
    assert ("health: " in printed_, "may trigger" in printed_ or '"trigger"' in printed_) == (False, True)


def test_a_deployment_that_is_down_is_not_reachable(add_connection: Callable[..., str], capsys: Output) -> None:
    add_connection(host="http://127.0.0.1:9")
    assert run("doctor") == 5
    assert "Unreachable" in capsys.readouterr().err
