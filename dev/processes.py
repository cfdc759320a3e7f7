"""The client of the supervisor: starts it, sends requests, and waits until it has ended."""

from __future__ import annotations

import contextlib
import json
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dev import supervisor

REPLY_SECONDS = 60.0


class ComponentEnded(RuntimeError):
    """A component, or the supervisor itself, is not there when it should be."""


class Processes:
    """A deployment's components, owned by a supervisor process that ends them when this process ends."""

    def __init__(self, folder: Path, *, keep: bool) -> None:
        command = [sys.executable, "-I", supervisor.__file__, str(folder), *(["--keep"] if keep else [])]
        self._lock = threading.Lock()
        self._supervisor = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal is this process's to handle, in order
        )
        self.pid = self._supervisor.pid
        try:
            self._reply()
        except BaseException:
            self.end()
            raise

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> int:
        """Start a component and return its pid."""
        answer = self._request(do="start", name=name, command=list(command), env=dict(env), log=str(log))
        return int(answer["pid"])

    def stop(self, name: str, sig: int = signal.SIGTERM, grace: float = 10.0) -> int | None:
        """Signal a component, return its exit code once it and its descendants are gone."""
        code: int | None = self._request(do="stop", name=name, sig=int(sig), grace=grace)["code"]
        return code

    def poll(self) -> dict[str, tuple[int, int | None]]:
        """Return pid and exit code (None: running) of each component."""
        return {name: (pid, code) for name, (pid, code) in self._request(do="poll").items()}

    def end(self) -> None:
        """End every component and the supervisor; no error when it has ended already.

        Closing the pipe alone would not do: a forked child of this process may hold it open as well.
        """
        with contextlib.suppress(ComponentEnded):
            self._request(do="end")
        with self._lock:
            if self._supervisor.stdin:
                with contextlib.suppress(BrokenPipeError):  # what was written last did not reach it
                    self._supervisor.stdin.close()
            self._supervisor.wait()
            if self._supervisor.stdout:
                self._supervisor.stdout.close()

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs; ``python -m dev stop`` ends it from outside."""
        return self._supervisor.poll() is None

    def _request(self, **request: Any) -> dict[str, Any]:
        with self._lock:
            assert self._supervisor.stdin is not None
            try:
                self._supervisor.stdin.write(json.dumps(request).encode() + b"\n")
                self._supervisor.stdin.flush()
            except (BrokenPipeError, ValueError) as error:
                raise ComponentEnded("the deployment was stopped") from error
            return self._reply()

    def _reply(self) -> dict[str, Any]:
        """Read one line; the supervisor always answers, so a long silence means that it is broken."""
        output = self._supervisor.stdout
        assert output is not None
        deadline = time.monotonic() + REPLY_SECONDS
        while not select.select([output], [], [], 0.5)[0]:
            if time.monotonic() > deadline:
                raise ComponentEnded("the supervisor does not answer")
        line = output.readline()
        if not line:
            raise ComponentEnded("the deployment was stopped")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ComponentEnded(reply["error"])
        return reply
