"""What the command shows while it waits: drawn on a terminal that can, else as lines."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.waiting.log_stream import Progress
from astronomer_remote.cli.live import MOST_ROWS, LiveProgress
from astronomer_remote.testing import FakeDeployment
from tests.api.command import COMMAND, LOGIN

COLOUR = re.compile(r"\x1b\[[0-9;]*[34][0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
RUN = DagRun("load", "manual__1", "running")


class Terminal:
    """
    A terminal for stderr of a command.

    :param width: in columns.
    """

    def __init__(self, width: int) -> None:
        self._ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))

    def run(self, *arguments: str, on_text: Callable[[str], None] = lambda _: None, **environment: str) -> Any:
        """Run a command. :return: its exit code, its stdout, and all that was written to the terminal."""
        # These would say how wide the terminal is.
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        started = subprocess.Popen(
            [*COMMAND, *arguments],
            env={**inherited, **LOGIN, "TERM": "xterm-256color", **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.theirs,
            text=True,
        )
        os.close(self.theirs)
        written = b""
        try:
            while more := self._read():
                written += more
                on_text(written.decode(errors="replace"))
            out, _ = started.communicate(timeout=60)
        finally:
            started.kill()
            os.close(self._ours)
        return started.returncode, out, written.decode()

    def _read(self) -> bytes:
        try:
            return os.read(self._ours, 65536)
        except OSError:
            # As Linux reports the end.
            return b""


@pytest.mark.parametrize(
    ("version", "width", "environment"),
    [("1.10.15", 80, {}), ("2.11.2", 80, {}), ("3.3.2", 24, {"NO_COLOR": "1"})],
)
def test_progress_is_drawn_on_a_terminal(version: str, width: int, environment: dict[str, str]) -> None:
    over = threading.Event()
    with FakeDeployment(version) as remote:
        remote.add_dag("load", stays="running", tasks=["extract", "transform", "a_task_with_quite_a_long_name"])
        remote.add_run("load", "r", state="running")
        if version > "2":
            remote.set_task_state("load", "r", "extract", "success")

        def finish(text: str) -> None:
            if ("transform" in text or (version < "2" and "running" in text)) and not over.is_set():
                over.set()
                remote.finish("load", "r")

        code, out, drawn = Terminal(width).run(
            *("wait", "load", "r", "--poll", "0.2", "-o", "json", "--url", remote.url), on_text=finish, **environment
        )
    assert (code, json.loads(out)["state"]) == (0, "success")
    assert bool(COLOUR.search(drawn)) is not bool(environment)
    assert "Waiting for" not in drawn
    lines = re.split(r"[\r\n]+", CONTROL.sub("", drawn))
    assert max(map(len, lines)) <= width
    if version > "2":
        assert any(line.endswith("1/3 tasks") for line in map(str.rstrip, lines))
        assert any(re.match(r" +running transform", line) for line in lines)
    # The cursor is visible again, and the last that is written erases what was drawn.
    assert drawn.rindex("\x1b[?25h") > drawn.rindex("\x1b[?25l")
    assert drawn.endswith("\x1b[2K")


def test_a_link_is_not_broken_into_lines() -> None:
    with FakeDeployment() as remote:
        remote.add_dag("load", stays="running", tasks=["t"], logs={"t": ["https://example.com/" + "x" * 100]})
        remote.add_run("load", "r", state="running")
        _, _, drawn = Terminal(40).run(
            *("wait", "load", "r", "--poll", "0.2", "--timeout", "1", "--logs", "t", "--url", remote.url)
        )
    assert "https://example.com/" + "x" * 100 in drawn


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"PYTHONPATH": "without-rich"}])
def test_lines_are_printed_where_nothing_can_be_drawn(environment: dict[str, str], tmp_path: Any) -> None:
    if "PYTHONPATH" in environment:
        (tmp_path / "rich").mkdir()
        (tmp_path / "rich" / "__init__.py").write_text("raise ModuleNotFoundError('rich', name='rich')\n")
        environment = {"PYTHONPATH": os.pathsep.join((str(tmp_path), *filter(None, sys.path)))}
    with FakeDeployment() as remote:
        remote.add_dag("load", polls=2)
        code, _, drawn = Terminal(80).run(
            "trigger", "load", "--wait", "--poll", "0.1", "--url", remote.url, **environment
        )
    assert (code, "Waiting for run" in drawn, "\x1b" in drawn) == (0, True, False)


# What is drawn


def drawn(instances: list[TaskInstance], *, state: str = "running", width: int = 60, run: DagRun = RUN) -> list[str]:
    written = io.StringIO()
    console = Console(file=written, width=width, force_terminal=True, color_system=None)
    display = LiveProgress(run, console)
    display.show(DagRun(run.dag_id, run.run_id, state), instances)
    console.print(display.drawn())
    return [line.rstrip() for line in written.getvalue().splitlines()]


def test_without_tasks_only_the_run_is_drawn() -> None:
    assert drawn([], state="queued") == ["0:00 queued load manual__1"]


def test_tasks_that_have_not_ended_and_failed_ones_are_drawn() -> None:
    states = {"a": "success", "b": "failed", "c": "running", "d": None, "e": "skipped", "f": "removed"}
    lines = drawn([TaskInstance(name, state=state, try_number=2) for name, state in states.items()])
    assert lines[:-1] == ["0:00 running load manual__1", "     running c (try 2)", "     failed  b (try 2)"]
    assert lines[-1].endswith("3/5 tasks, 1 failed")
    assert lines[-1].count("━") == 18


def test_of_many_tasks_some_are_drawn() -> None:
    lines = drawn([TaskInstance("t", number, "running", 1) for number in range(MOST_ROWS + 3)])
    assert [line.strip() for line in lines[-2:]] == ["and 3 more", f"0/{MOST_ROWS + 3} tasks"]
    assert len(lines) == 1 + MOST_ROWS + 2


def test_no_name_acts_on_the_terminal() -> None:
    evil = "\x1b[2J[red]x[/red]"
    text = "\n".join(drawn([TaskInstance(evil, state="running")], run=DagRun("d", evil, evil), state=evil, width=200))
    assert "\x1b" not in text
    assert text.count("\\x1b[2J[red]x[/red]") == 3


def test_lines_are_printed_above_it_unless_it_shows_them() -> None:
    written = io.StringIO()
    display = LiveProgress(RUN, Console(file=written, width=20))
    display.line(Progress("Waiting"))
    display.line("t: [bold]a\x1b[2Jb")
    assert written.getvalue() == "t: [bold]a\\x1b[2Jb\n"
