"""The small process that owns a deployment's components and ends all of them, however its parent ends.

It runs as ``python supervisor.py FOLDER [--keep]`` with a pipe as its standard input. Each line in is a JSON
request, each line out the reply. When the pipe closes or the parent is gone (also after ``kill -9``), when
it gets SIGTERM, or on the request ``end``, it ends every process below it and removes FOLDER.

Airflow starts gunicorn, task runners and DAG processors that make sessions of their own or outlive the
process that started them. On Linux this process is therefore the *subreaper* of everything below it: an
orphan becomes its child instead of init's, so that nothing can slip away.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

LOCK_NAME = "supervisor.lock"
LINUX = sys.platform.startswith("linux")
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_AT_END = 2.0
POLL_SECONDS = 0.5


def _prctl(option: int, value: int) -> None:
    """Set an option of this process on Linux; do nothing elsewhere."""
    if LINUX:
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with_supervisor() -> None:
    """Runs in a component before its command: end it even if the supervisor itself is killed."""
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _parents() -> dict[int, int]:
    """Return each living process's parent, or nothing where there is no /proc."""
    parents: dict[int, int] = {}
    for entry in os.scandir("/proc") if LINUX else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # After the last ")" (a command may contain any character): state, parent, …
                state, parent = Path(entry.path, "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(entry.name)] = int(parent)
    return parents


def descendants(roots: set[int]) -> set[int]:
    """Return every living process below `roots`."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found


def in_sessions(leaders: set[int]) -> set[int]:
    """Return every living process of the sessions that these processes lead or led, as far as /proc shows."""
    found = set()
    for pid in _parents():
        with contextlib.suppress(OSError):
            if os.getsid(pid) in leaders:
                found.add(pid)
    return found


class Supervisor:
    """Starts and ends components, and answers one request at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parent = os.getppid()
        self.components: dict[str, subprocess.Popen[bytes]] = {}
        self.ending = False

    def serve(self) -> None:
        """Answer requests until there is nobody to answer."""
        buffer = b""
        while not self.ending and os.getppid() == self.parent:
            readable, _, _ = select.select([0], [], [], POLL_SECONDS)
            self._reap()
            if not readable:
                continue
            chunk = os.read(0, 65536)
            if not chunk:
                return
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                self._answer(json.loads(line))

    def _answer(self, request: dict[str, Any]) -> None:
        try:
            reply: object = getattr(self, f"do_{request.pop('do')}")(**request)
        except (OSError, KeyError) as error:  # such as a command that is not there, or an unknown name
            reply = {"error": f"{type(error).__name__}: {error}"}
        with contextlib.suppress(BrokenPipeError):
            os.write(1, json.dumps(reply).encode() + b"\n")

    def do_start(self, name: str, command: list[str], env: dict[str, str], log: str) -> dict[str, int]:
        """Start a component in a session of its own, so that signals to it reach no other component."""
        with Path(log).open("ab") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_supervisor,
            )
        self.components[name] = process
        return {"pid": process.pid}

    def do_poll(self) -> dict[str, list[int | None]]:
        """Return each component's pid and, when it has ended, its exit code."""
        self._reap()
        return {name: [process.pid, process.returncode] for name, process in self.components.items()}

    def do_stop(self, name: str, sig: int, grace: float) -> dict[str, int | None]:
        """End one component and all that belongs to it; forget it."""
        process = self.components[name]
        self._end({process.pid}, sig, grace)
        del self.components[name]
        return {"code": process.returncode}

    def do_end(self) -> dict[str, int]:
        """End everything; answered before it is done, the caller waits for this process to end."""
        self.ending = True
        return {}

    def end_all(self) -> None:
        """End every process below this one."""
        self._end({process.pid for process in self.components.values()}, signal.SIGTERM, GRACE_AT_END)
        while left := descendants({os.getpid()}):
            self._kill(left, signal.SIGKILL)
            self._reap()
            time.sleep(0.05)

    def _end(self, roots: set[int], sig: int, grace: float) -> None:
        """Send `sig` to component processes, wait, then kill what is left of them and of their descendants.

        SIGKILL goes to the whole family at once, as it would if their machine or container died. The family of a
        component that has died already are those of its session, which is its own.
        """
        family = roots | descendants(roots) | in_sessions(roots)
        self._kill(family if sig == signal.SIGKILL else roots, sig)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and self._living(family):
            time.sleep(0.05)
            family |= descendants(family)
        while left := self._living(family):
            self._kill(left, signal.SIGKILL)
            time.sleep(0.05)

    def _living(self, family: set[int]) -> set[int]:
        """Return who of `family` is left; only processes below this one, so a reused pid is never hit."""
        self._reap()
        if LINUX:
            return family & descendants({os.getpid()})
        return {p.pid for p in self.components.values() if p.pid in family and p.returncode is None}

    def _kill(self, pids: set[int], sig: int) -> None:
        """Signal processes; without /proc a component's whole group, since its descendants are not known."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                if LINUX:
                    os.kill(pid, sig)
                else:
                    os.killpg(pid, sig)

    def _reap(self) -> None:
        """Collect ended children, our own and the orphans that fell to us."""
        codes: dict[int, int] = {}
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                codes[ended[0]] = os.waitstatus_to_exitcode(ended[1])
        for process in self.components.values():
            if process.pid in codes:
                process.returncode = codes[process.pid]


def main() -> None:
    """Serve one parent, then clean up; a state file is trusted by others only while the lock is held."""
    folder = Path(sys.argv[1])
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    supervisor = Supervisor(folder)
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, lambda *_: None)  # unlike SIG_IGN, this is not inherited by the components
    signal.signal(signal.SIGTERM, lambda *_: setattr(supervisor, "ending", True))
    with (folder / LOCK_NAME).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.write(1, b'{"ready": true}\n')
        try:
            supervisor.serve()
        finally:
            supervisor.end_all()
            if "--keep" not in sys.argv:
                shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
