"""Waits in tests: a condition and a deadline, never a fixed time."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(
    condition: Callable[[], bool], describe: Callable[[], str], timeout: float = 300, poll: float = 1
) -> None:
    """
    Wait until a condition holds.

    :param describe: says how things stand when time is up.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {timeout:.0f} s: {describe()}")
        time.sleep(poll)
