"""The processes of one running deployment: which were started, when, and what they wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from dev.processes import ComponentEnded, Processes


class StartError(RuntimeError):
    """A deployment did not come up; the text ends with the last lines that its components wrote."""


class Components:
    """Starts, ends and watches the components below one folder, which holds their logs."""

    def __init__(self, folder: Path, title: str, *, keep: bool) -> None:
        self._title = title
        self._logs = folder / "logs"
        self._logs.mkdir()
        self._processes = Processes(folder, keep=keep)
        self.supervisor = self._processes.pid
        self.pids: dict[str, int] = {}
        # When each was started, in UTC and written as Airflow's database writes it.
        self.started: dict[str, str] = {}
        # How long its log was then.
        self._written: dict[str, int] = {}

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> None:
        """Start one component; what it wrote before a restart stays in its log."""
        if name in self.pids:
            raise RuntimeError(f"{name} runs already")
        self.started[name] = f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S.%f}"
        log = self.log_path(name)
        self._written[name] = log.stat().st_size if log.exists() else 0
        self.pids[name] = self._processes.start(name, command, env, log)

    def stop(self, name: str, sig: int, grace: float) -> None:
        """End one component and all its descendants."""
        self._processes.stop(name, sig, grace)
        del self.pids[name]
        del self.started[name]

    def end(self) -> None:
        """End everything."""
        self._processes.end()
        self.pids.clear()
        self.started.clear()

    @property
    def alive(self) -> bool:
        """Whether the supervisor runs."""
        return self._processes.alive

    def log(self, name: str, lines: int = 200) -> str:
        """The last lines that a component wrote."""
        path = self.log_path(name)
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def wrote(self, name: str, text: str) -> bool:
        """Whether a component has written a text since it was started last."""
        with self.log_path(name).open(errors="replace") as lines:
            lines.seek(self._written[name])
            return any(text in line for line in lines)

    def logs(self, lines: int) -> str:
        """The last lines of every component."""
        return "\n".join(f"--- {name} ---\n{self.log(name, lines)}" for name in self.pids)

    def failure(self, why: str) -> StartError:
        """The error that says which deployment failed."""
        return StartError(f"{self._title}: {why}")

    def ended(self) -> dict[str, int]:
        """Which components have ended by themselves, and their exit codes; a negative one names a signal."""
        try:
            found = self._processes.poll()
        except ComponentEnded as error:
            raise self.failure(str(error)) from error
        return {name: code for name, (_, code) in found.items() if code is not None}

    def check(self) -> None:
        """Raise an error that says why when a component has ended by itself."""
        for name, code in self.ended().items():
            raise self.failure(f"{name} exited with code {code}; it wrote:\n{self.log(name, 60)}")

    def log_path(self, name: str) -> Path:
        """The file that a component writes to."""
        return self._logs / f"{name}.log"
