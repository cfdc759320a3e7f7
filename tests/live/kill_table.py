"""The table of `docs/faults.md` of what became of runs and tasks when something was ended, written by live tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.live.fault_cases import PAGE
from tests.live.plan import BOTH, DEFERRABLE, SYNC, Pair
from tests.live.tables import Results, Table, in_attempt, markdown

PAIRS = (Pair("3.3.2", "1.10.15"), Pair("3.3.2", "2.11.2"), Pair("3.3.2", "3.3.2"), Pair("2.11.2", "2.11.2"))

ACTS = {"failed": "marks the task failed", "success": "marks the task success", "clear": "clears the task"}
REMOTELY = {"held": "running", "queued": "queued"}
SIGNALS = {"SIGTERM": "terminated", "SIGKILL": "killed"}
OVERDUE = {"overdue": "`execution_timeout`", "impatient": "`wait_timeout`"}
HARMS = {
    "down": "the remote's web server is down for 30 s",
    "secret": "the secret for the remote's tokens and sessions is changed",
    "password": "the password is changed, in the remote and in the connection",
}

POSTED = "the worker is killed right after it triggered"
KILLED = "the worker is killed while it waits"
LOST = "the worker and the process that supervises it are killed"
SUSPENDED = "the worker is suspended, and resumes after Airflow has given up on it"
COMING_BACK = "the worker is killed when it resumes from the triggerer"
LATE = "`wait_timeout` passes while no triggerer runs"
ALL_END = "… and then all 50 runs finish"


def by_a_person(act: str, name: str) -> str:
    return f"a user {ACTS[act]} while its run is {REMOTELY[name]}"


def scheduler(signal: str) -> str:
    return f"the local scheduler is {SIGNALS[signal]}"


def triggerer(signal: str) -> str:
    return f"the triggerer is {SIGNALS[signal]} while 50 wait"


def overdue(name: str) -> str:
    return f"{OVERDUE[name]} passes"


def harm(name: str) -> str:
    return f"{HARMS[name]} while 50 wait"


ROWS = (
    *((by_a_person(act, name), mode) for act in ACTS for name in REMOTELY for mode in BOTH),
    *((POSTED, mode) for mode in BOTH),
    (KILLED, SYNC),
    (LOST, SYNC),
    (SUSPENDED, SYNC),
    (COMING_BACK, DEFERRABLE),
    *((scheduler(signal), mode) for signal in SIGNALS for mode in BOTH),
    *((overdue(name), mode) for name in OVERDUE for mode in BOTH),
    (LATE, DEFERRABLE),
    *((triggerer(signal), DEFERRABLE) for signal in SIGNALS),
    *((harm(name), DEFERRABLE) for name in HARMS),
    (ALL_END, DEFERRABLE),
)


def happens(row: str, pair: Pair) -> bool:
    """Whether a row makes sense for a pair: 1.10 is open to everybody, and knows neither secrets nor passwords."""
    return pair.remote != "1.10.15" or row not in (harm("secret"), harm("password"))


def key(pair: Pair, mode: str, row: str) -> str:
    """The name of a cell."""
    return f"{pair}, {mode}, {row}"


def draw(known: Results, pairs: Sequence[Pair] = PAIRS, rows: Sequence[tuple[str, str]] = ROWS) -> str:
    """A table in Markdown."""
    lines = (
        [row, mode, *(_cell(known.get(key(pair, mode, row))) if happens(row, pair) else "" for pair in pairs)]
        for row, mode in rows
    )
    return markdown(["what happens", "mode", *(f"{pair.local} → {pair.remote}" for pair in pairs)], lines)


def _cell(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return "not run yet"
    runs, tasks = (", ".join(f"{number} {state}" for state, number in seen[of].items()) for of in ("runs", "tasks"))
    if not runs:  # those of another operator
        return f"tasks: {tasks}{in_attempt(seen)}"
    return f"runs: {runs}; tasks: {tasks}{in_attempt(seen)}; {seen['sent']} of {seen['requests']}"


KILLS_TABLE = Table(PAGE, "kills", Path(__file__).with_name("kills.json"), draw)
