"""What runs: one state file for each deployment, trusted only while its supervisor holds its lock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from dev.places import subfolder
from dev.supervisor import LOCK_NAME

STATE_NAME = "state.json"
STOP_SECONDS = 20.0


@dataclass(frozen=True)
class State:
    """A deployment as another process can know it."""

    name: str
    version: str
    url: str
    folder: str
    home: str
    owner: int
    supervisor: int
    processes: dict[str, int]
    logins: dict[str, tuple[str, str]]
    keep: bool

    def write(self) -> None:
        """Replace the state file at once, so that a reader never sees half of it."""
        target = Path(self.folder) / STATE_NAME
        part = target.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=2))
        part.replace(target)


def running() -> list[State]:
    """Return the deployments that run, and clear away what a killed supervisor left behind."""
    found = []
    for path in sorted(subfolder("run").glob(f"*/{STATE_NAME}")):
        with contextlib.suppress(OSError, ValueError, TypeError):  # it may be ending right now
            state = State(**json.loads(path.read_text()))
            if _supervised(path.parent):
                found.append(state)
            elif not state.keep:
                shutil.rmtree(path.parent, ignore_errors=True)
    return found


def stop(state: State) -> None:
    """Make a deployment's supervisor end everything, and wait until it has."""
    folder = Path(state.folder)
    with contextlib.suppress(ProcessLookupError):
        if _supervised(folder):
            os.kill(state.supervisor, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _supervised(folder):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{state.name} (supervisor {state.supervisor}) did not end")
        time.sleep(0.1)


def _supervised(folder: Path) -> bool:
    """Return whether a supervisor holds the folder's lock: surer than a pid, which may be used again."""
    try:
        with (folder / LOCK_NAME).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
