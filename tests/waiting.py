"""Waits in tests: a condition and a deadline, never a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from astronomer_remote.testing import VirtualClock


def wait_until(
    condition: Callable[[], bool],
    describe: Callable[[], str] = lambda: "it did not happen in time",
    timeout: float = 300,
    poll: float = 1,
) -> None:
    """
    Wait until a condition holds.

    :param describe: the state to report when the time is over.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:.0f} s: {describe()}")
        time.sleep(poll)


def soon(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until a condition of processes on this machine holds."""
    wait_until(condition, timeout=seconds, poll=0.05)


def living(pids: set[int]) -> set[int]:
    """Those that run. Zombies do not count: without an init process they stay as long as the container."""
    found = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                found.add(pid)
        except OSError:
            continue
    return found


class RealClock(VirtualClock):
    """Pauses that take their time, in front of a real deployment."""

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
