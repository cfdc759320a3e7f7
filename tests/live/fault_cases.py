"""What may go wrong between a local task and a remote, and what must come of it: needs no Airflow to be read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from dev import faults
from dev.deployments import Airflow
from dev.faults import Fault, Rule
from dev.versions import Release
from tests.live.deployments import airflow
from tests.live.tables import ROOT, Results, Table, in_attempt, markdown

PAGE = ROOT / "docs" / "faults.md"
VERSIONS = ("1.10.15", "2.11.2", "3.3.2")
MODES = ("sync", "deferrable")
SHORT_READ_TIMEOUT = 3.0
TRIGGER = r"/(dagRuns|dag_runs)$"
ABOUT_RUNS = "dagRuns|dag_runs"
DAGS = Path(__file__).with_name("fault_dags")


class Case(NamedTuple):
    """
    Something that goes wrong.

    :param name: as the documentation calls it.
    :param rules: makes the rules that hold for the first attempt at the local task.
    :param sent: how many requests to trigger the run are sent, in the first attempt that comes so far.
    :param arrived: how many of them the remote gets.
    :param impatient: whether the connection has a short read timeout.
    :param attempts: at the local task; those after the first meet no fault.
    :param versions: of the remotes to which it may happen.
    """

    name: str
    rules: Callable[[], list[Rule]]
    sent: int
    arrived: int
    impatient: bool = False
    attempts: int = 1
    versions: Sequence[str] = VERSIONS


def rule(fault: Fault, path: str, method: str | None = None, nth: Sequence[int] = (1,)) -> Rule:
    return Rule([("met", fault)], method, path, nth)


def trigger(name: str, fault: Callable[[], Fault], *, sent: int = 1, arrived: int = 1, impatient: bool = False) -> Case:
    """The request that triggers the run meets a fault, once."""
    return Case(f"triggering: {name}", lambda: [rule(fault(), TRIGGER, "POST")], sent, arrived, impatient)


def wait(name: str, fault: Callable[[], Fault], *, times: int = 2, impatient: bool = False, attempts: int = 1) -> Case:
    """The first requests that poll the run meet a fault."""
    nth = range(1, times + 1)

    def rules() -> list[Rule]:
        return [rule(fault(), ABOUT_RUNS, "GET", nth), rule(fault(), "dagRuns/list", "POST", nth)]

    return Case(f"waiting: {name}", rules, 1, 1, impatient, attempts)


def first(name: str, fault: Callable[[], Fault]) -> Case:
    """The very first requests, which find out the remote's generation, meet a fault."""
    path = r"/version$|/experimental/test$"
    return Case(f"first requests: {name}", lambda: [rule(fault(), path, nth=(1, 2))], 1, 1)


def log_in(name: str, fault: Callable[[], Fault]) -> Case:
    """The login meets a fault."""
    # 1.10 is open to everybody, and 2.11 can do without: its web session only saves work.
    path = r"/auth/token$"
    return Case(f"logging in: {name}", lambda: [rule(fault(), path, nth=(1, 2))], 1, 1, versions=VERSIONS[-1:])


def soon() -> str:
    """A ``Retry-After`` in the form of a date."""
    return format_datetime(datetime.now(timezone.utc) + timedelta(seconds=3), usegmt=True)


def lost_from_sight() -> list[Rule]:
    return [rule(faults.lose_reply, TRIGGER, "POST"), rule(faults.status(503), ABOUT_RUNS, "GET", range(1, 7))]


def out_of_reach() -> list[Rule]:
    everything = range(1, 1000)
    lost = rule(faults.lose_reply, TRIGGER, "POST", everything)
    return [lost, rule(faults.status(503), ABOUT_RUNS, nth=everything)]


CASES = (
    Case("none", list, 1, 1),
    trigger("reply lost", lambda: faults.lose_reply),
    trigger("connection reset before", lambda: faults.reset_before, sent=2),
    trigger("connection reset after", lambda: faults.reset_after),
    *(
        trigger(f"{code} {when}", partial(faults.status, code, after=after), sent=1 if after else 2)
        for code in (500, 502, 503, 504)
        for when, after in (("before", False), ("after", True))
    ),
    trigger("429, Retry-After in seconds", lambda: faults.status(429, retry_after="3"), sent=2),
    trigger("429, Retry-After as a date", lambda: faults.status(429, retry_after=soon()), sent=2),
    trigger("HTML page with 200 before", lambda: faults.page(200), sent=2),
    trigger("HTML page with 200 after", lambda: faults.page(200, after=True)),
    trigger("HTML page with 403", lambda: faults.page(403), sent=2),
    trigger("JSON cut", lambda: faults.cut_json),
    trigger("JSON of wrong types", lambda: faults.wrong_types),
    trigger("body without an end", lambda: faults.endless),
    trigger("body that stalls", lambda: faults.stall, impatient=True),
    trigger("reply too late", lambda: faults.delay(SHORT_READ_TIMEOUT + 2), impatient=True),
    trigger("connection closed when idle", lambda: faults.close_when_idle),
    Case("triggering: reply lost, and then the run cannot be looked up", lost_from_sight, 2, 2),
    Case("triggering: replies lost until the task fails; its retry", out_of_reach, 6, 6, attempts=2),
    wait("reply lost", lambda: faults.lose_reply),
    wait("connection reset", lambda: faults.reset_before),
    wait("429 storm", lambda: faults.status(429, retry_after="2"), times=5),
    wait("500", lambda: faults.status(500), times=5),
    wait("503", lambda: faults.status(503), times=5),
    wait("HTML page with 200", lambda: faults.page(200)),
    wait("HTML page with 403", lambda: faults.page(403), times=1),
    wait("JSON cut", lambda: faults.cut_json),
    wait("JSON of wrong types", lambda: faults.wrong_types),
    # What is too large is not requested again, except by Airflow.
    wait("body without an end", lambda: faults.endless, attempts=2),
    wait("body that stalls", lambda: faults.stall, impatient=True),
    wait("connection closed when idle", lambda: faults.close_when_idle),
    # Before Airflow 3 there is no token: there, a 401 refuses login and password.
    wait("token expired", lambda: faults.said(401, "Token Expired"), times=1)._replace(versions=VERSIONS[-1:]),
    first("503", lambda: faults.status(503)),
    first("reply lost", lambda: faults.lose_reply),
    first("HTML page with 200", lambda: faults.page(200)),
    log_in("503", lambda: faults.status(503)),
    log_in("reply lost", lambda: faults.lose_reply),
    log_in("HTML page with 200", lambda: faults.page(200)),
    log_in("HTML page with 403", lambda: faults.page(403)),
    log_in("JSON of wrong types", lambda: faults.wrong_types),
)


def remote(version: str) -> Airflow:
    """A remote whose runs cost nothing, and in which nothing waits."""
    components = [each for each in Release.parse(version).components if each != "triggerer"]
    return airflow(version, name="remote", dags=DAGS, components=components)


# The table of the documentation


def key(version: str, mode: str, case: str) -> str:
    """The name of a cell."""
    return f"{version}, {mode}, {case}"


def draw(known: Results) -> str:
    """The table in Markdown."""
    columns = [(version, mode) for version in VERSIONS for mode in MODES]
    rows = []
    for case in CASES:
        cells = (_cell(known.get(key(*each, case.name))) if each[0] in case.versions else "" for each in columns)
        rows.append([case.name, *cells])
    return markdown(["fault", *(f"{version}, {mode}" for version, mode in columns)], rows)


def _cell(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return "not run yet"
    requests = f"{seen['sent']} ({seen['arrived']}) of {seen['requests']}"
    return f"{seen['runs']} run, {seen['state']}{in_attempt(seen)}; {requests}"


FAULTS_TABLE = Table(PAGE, "cells", Path(__file__).with_name("faults.json"), draw)
