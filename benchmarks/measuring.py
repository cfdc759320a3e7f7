"""One measurement: a process with so many waits, what it and the remote spend, and when it hears of an end."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from benchmarks.remote import LoadedRemote
from dev.places import ROOT

MOST_ENDS_PER_SECOND = 50.0
"""A busy remote; the listing has to be paged from 20 a second on, at an interval of 5 s."""


@dataclass
class Figures:
    """
    What so many waits cost, each figure as a share of one core or per interval.

    :param requests: requests about runs per interval.
    :param server: share of a core that the web server used.
    :param database: the same for PostgreSQL.
    :param statements: milliseconds per interval in which the database carried out statements.
    :param own: share of a core that the waiting process used.
    :param stall: the longest time in seconds for which its event loop was held up.
    :param errors: requests that failed.
    :param intervals: how many intervals this was measured for.
    """

    requests: float
    server: float
    database: float
    statements: float
    own: float
    stall: float
    errors: int
    intervals: float


@dataclass
class Measurement:
    """
    All about one way of waiting with so many waits.

    :param quiet: while nothing ends.
    :param busy: while runs end.
    :param kilobytes: memory per wait.
    :param lags: seconds between a run's end and the event, sorted.
    :param ended: how many runs ended.
    :param per_second: how many of them each second.
    :param note: what was out of the ordinary.
    """

    way: str
    waiting: int
    quiet: Figures | None = None
    busy: Figures | None = None
    kilobytes: float = 0.0
    lags: list[float] = field(default_factory=list)
    ended: int = 0
    per_second: float = 0.0
    note: str = ""

    def lag(self, share: float) -> float:
        """A quantile of the lag: the smallest one that at least this share does not exceed."""
        return self.lags[max(0, -int(-share * len(self.lags) // 1) - 1)] if self.lags else float("nan")

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "lags": {"median": self.lag(0.5), "p99": self.lag(0.99), "count": len(self.lags)}}


class Waits:
    """The process that waits."""

    def __init__(self) -> None:
        self.facts: list[dict[str, Any]] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.waits"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._seen = psutil.Process(self._process.pid)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._until("loaded")
        self._before = self._memory()

    def begin(self, job: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        self._until("waiting")

    def seconds(self) -> float:
        times = self._seen.cpu_times()
        return float(times.user + times.system)

    def kilobytes(self) -> float:
        """What has been added to its memory since it began."""
        return (self._memory() - self._before) / 1024

    def reported(self, kind: str, since: float = 0.0) -> list[dict[str, Any]]:
        return [fact for fact in list(self.facts) if kind in fact and fact["at"] >= since]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()

    def _memory(self) -> int:
        return int(self._seen.memory_full_info().uss)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.facts.append(json.loads(line))

    def _until(self, stage: str) -> None:
        while not any(fact.get("stage") == stage for fact in list(self.facts)):
            if self._process.poll() is not None:
                raise RuntimeError("the waiting process has ended by itself")
            time.sleep(0.05)


@contextlib.contextmanager
def waits() -> Iterator[Waits]:
    process = Waits()
    try:
        yield process
    finally:
        process.end()


class Measuring:
    """
    Measures one way of waiting after another against the same remote.

    :param interval: seconds between two polls.
    :param seconds: how long each of the two phases takes.
    """

    def __init__(self, remote: LoadedRemote, *, interval: float, seconds: float) -> None:
        self._remote = remote
        self._interval = interval
        self._seconds = seconds

    def idle(self) -> Measurement:
        """What the remote does while nobody waits."""
        done = Measurement("nobody", 0)
        with waits() as process:
            process.begin(self._job("ours", []))
            done.quiet = self._figures(process, lambda: time.sleep(self._seconds))
        return done

    def measure(self, way: str, waiting: int) -> Measurement:
        """Let so many wait, first while nothing ends, then while half of them do."""
        self._remote.reset()
        runs = self._remote.runs(waiting)
        done = Measurement(way, waiting)
        with waits() as process:
            process.begin(self._job(way, runs))
            # The first polls, which log in and find out the generation, are not what is measured.
            time.sleep(2 * self._interval + 2)
            done.quiet = self._figures(process, lambda: time.sleep(self._seconds))
            done.kilobytes = process.kilobytes() / waiting
            ends: dict[str, float] = {}
            done.busy = self._figures(process, lambda: self._end_half(runs, ends))
            self._await_events(process, ends)
            noticed = {fact["event"]: fact["at"] for fact in process.reported("event")}
        done.ended, done.per_second = len(ends), len(ends) / self._seconds
        done.lags = sorted(noticed[run_id] - at for run_id, at in ends.items() if run_id in noticed)
        if len(done.lags) < len(ends):
            done.note = f"{len(ends) - len(done.lags)} ends not noticed"
        return done

    def _job(self, way: str, runs: list[dict[str, str]]) -> dict[str, Any]:
        remote = self._remote
        return {
            "way": way,
            "runs": runs,
            "url": remote.deployment.url,
            "generation": remote.deployment.generation,
            "login": remote.login,
            "password": remote.password,
            "headers": remote.headers() if way == "singly" else {},
            "interval": self._interval,
            "since": time.time(),
        }

    def _figures(self, process: Waits, phase: Callable[[], None]) -> Figures:
        began, before = time.time(), self._counters(process)
        phase()
        took = time.time() - began
        requests, server, database, statements, own = (
            after - first for after, first in zip(self._counters(process), before, strict=True)
        )
        intervals = took / self._interval
        return Figures(
            requests=requests / intervals,
            server=server / took,
            database=database / took,
            statements=1000 * statements / intervals,
            own=own / took,
            stall=max((fact["stall"] for fact in process.reported("stall", began)), default=0.0),
            errors=len(process.reported("error", began)),
            intervals=intervals,
        )

    def _counters(self, process: Waits) -> tuple[float, ...]:
        remote = self._remote
        return (
            float(remote.requests()),
            remote.server_seconds(),
            remote.database_seconds(),
            remote.statement_seconds(),
            process.seconds(),
        )

    def _end_half(self, runs: list[dict[str, str]], ends: dict[str, float]) -> None:
        """End half of the runs in even steps, in no order."""
        rate = min(MOST_ENDS_PER_SECOND, max(len(runs) / 2, 1) / self._seconds)
        began, number = time.monotonic(), int(rate * self._seconds)
        for step, run in enumerate(random.sample(runs, max(number, 1))):
            time.sleep(max(0.0, began + step / rate - time.monotonic()))
            self._remote.end(run)
            ends[run["run_id"]] = time.time()
        time.sleep(max(0.0, began + self._seconds - time.monotonic()))

    def _await_events(self, process: Waits, ends: dict[str, float]) -> None:
        """Give the last of them time to be noticed."""
        backoff = time.monotonic() + 2 * self._interval + 10
        while time.monotonic() < backoff and len(process.reported("event")) < len(ends):
            time.sleep(0.2)
