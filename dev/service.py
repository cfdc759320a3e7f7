"""A server beside Airflow, such as a database: one program on a loopback port, which may be ended and started again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dev.processes import Processes

START_SECONDS = 60.0


class Service:
    """
    A server under a supervisor of its own, which ends it and removes its folder when this process ends.

    :param name: of the program, for errors.
    :param home: folder that it runs in and that is removed in the end.
    :param command: that starts it in the foreground.
    :param problem: returns why it does not answer yet, None when it does.
    """

    def __init__(self, name: str, home: Path, command: Sequence[str], problem: Callable[[], str | None]) -> None:
        self.name = name
        self._home = home
        self._command = command
        self._problem = problem
        self._processes = Processes(home, keep=False)
        self.pid = 0

    def start(self) -> None:
        """
        Start it and wait until it answers.

        :raises RuntimeError: with what it wrote, when it does not.
        """
        log = self._home / f"{self.name}.log"
        self.pid = self._processes.start(self.name, self._command, dict(os.environ), log)
        ends = time.monotonic() + START_SECONDS
        while why := self._problem():
            if time.monotonic() > ends:
                raise RuntimeError(f"{self.name} did not start: {why}\n{log.read_text()}")
            time.sleep(0.1)

    def stop(self, sig: int = signal.SIGINT) -> None:
        """Signal it, and wait until its processes are gone; SIGINT closes connections that clients still use."""
        self._processes.stop(self.name, sig)

    def end(self) -> None:
        """End it for good."""
        self._processes.end()
