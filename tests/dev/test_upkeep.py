"""What keeps the demonstration up: components that have ended are started again, within limits, and what is said."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dev import upkeep
from dev.upkeep import Upkeep, how_it_ended


class Clock:
    """Stands in for the module's `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Fallible:
    """A deployment whose components end when a test says so."""

    name = "remote"
    alive = True

    def __init__(self) -> None:
        self.down: dict[str, int] = {}
        self.wrong: str | None = None
        self.restarted: list[str] = []

    def ended(self) -> dict[str, int]:
        return dict(self.down)

    def problem(self) -> str | None:
        if self.wrong == "locked":
            raise sqlite3.OperationalError("database is locked")
        return self.wrong

    def restart_component(self, name: str) -> None:
        self.restarted.append(name)
        del self.down[name]

    def log_path(self, name: str) -> Path:
        return Path(f"{name}.log")

    def log(self, name: str, lines: int) -> str:
        return f"the last words of the {name}"


class Watched:
    """A fallible deployment under upkeep, in a time of its own."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.deployment: Any = Fallible()
        self.said: list[str] = []
        self.upkeep = Upkeep([self.deployment], self.said.append)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.now += 1
            self.upkeep.look()

    def end(self, name: str, code: int) -> None:
        self.deployment.down[name] = code
        self.upkeep.look()


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    clock = Clock()
    monkeypatch.setattr(upkeep, "time", clock)
    return Watched(clock)


def test_nothing_is_said_of_what_works(watched: Watched) -> None:
    assert watched.upkeep.look()
    watched.pass_time(60)
    assert watched.said == []


def test_what_has_ended_is_started_again(watched: Watched) -> None:
    watched.deployment.wrong = "webserver does not answer"
    watched.end("webserver", 1)
    watched.pass_time(5)
    assert watched.said == ["remote: the webserver exited with code 1; restarting it"]
    watched.deployment.wrong = None
    watched.pass_time(2)
    assert watched.deployment.restarted == ["webserver"]
    assert watched.said[1:] == ["remote: is healthy again"]


def test_what_ends_again_and_again_stays_down(watched: Watched) -> None:
    for _ in range(5):
        watched.end("scheduler", -9)
        watched.pass_time(5)
    assert watched.deployment.restarted == ["scheduler"] * 3
    lines = [line for line in watched.said if "is not restarted" in line]
    assert lines == [
        "remote: the scheduler was killed by SIGKILL again and is not restarted. Last lines of scheduler.log:"
    ]
    assert watched.said.count("the last words of the scheduler") == 1


def test_what_ends_once_in_a_while_is_started_again_each_time(watched: Watched) -> None:
    for _ in range(5):
        watched.end("triggerer", 1)
        watched.pass_time(400)
    assert watched.deployment.restarted == ["triggerer"] * 5


@pytest.mark.parametrize(("wrong", "reason"), [("webserver does not answer", None), ("locked", "database is locked")])
def test_what_stays_unhealthy_is_said_once_and_its_end_too(watched: Watched, wrong: str, reason: str | None) -> None:
    watched.deployment.wrong = wrong
    watched.pass_time(20)
    assert watched.said == []
    watched.pass_time(60)
    assert watched.said == [f"remote: not healthy for 30 s: {reason or wrong}"]
    watched.deployment.wrong = None
    watched.pass_time(5)
    assert watched.said[1:] == ["remote: is healthy again"]


def test_a_deployment_that_was_stopped_is_noticed(watched: Watched) -> None:
    watched.deployment.alive = False
    assert not watched.upkeep.look()
    assert watched.said == ["remote: was stopped by another process"]


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exited with code 0"), (-15, "was killed by SIGTERM"), (-99, "was killed by signal 99")],
)
def test_an_exit_code_in_words(code: int, words: str) -> None:
    assert how_it_ended(code) == words
