"""The progress of a run on a terminal, drawn again in the same lines. Imports rich, which Airflow installs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.models import FINISHED_TASK_STATES, REMOVED, DagRun, TaskInstance
from astronomer_remote.api.waiting.log_stream import Progress, name_and_try

MOST_ROWS = 8
"""Tasks that are shown, each in a line."""

WIDEST_BAR = 40

SHOWN = ("running", "deferred", "up_for_retry", "failed")
"""States of the tasks that are shown."""

COLOURS = {"success": "green", "failed": "red", "upstream_failed": "red", "running": "cyan", "up_for_retry": "yellow"}


class LiveProgress:
    """
    Draws the state of a run and of its tasks while it is entered, and leaves nothing of that.

    :param run: the run.
    :param console: where to draw; stderr by default.
    """

    def __init__(self, run: DagRun, console: Console | None = None) -> None:
        self._run = run
        self._instances: list[TaskInstance] = []
        self._began = time.monotonic()
        self._console = console or Console(stderr=True)
        self._live = Live(
            console=self._console,
            get_renderable=self.drawn,
            refresh_per_second=2,
            transient=True,
            # Only the result is printed there, after this.
            redirect_stdout=False,
        )

    def __enter__(self) -> LiveProgress:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def show(self, run: DagRun | None, instances: Sequence[TaskInstance]) -> None:
        """Draw what a poll has found."""
        self._run = run or self._run
        self._instances = [each for each in instances if each.state != REMOVED]
        self._live.refresh()

    def line(self, line: str) -> None:
        """Print a line above it, unless it shows the same."""
        if not isinstance(line, Progress):
            # As it is: a link that is broken into lines cannot be opened.
            self._console.print(Text(untrusted.readable(line, 4000)), soft_wrap=True)

    def drawn(self) -> RenderableType:
        """What is drawn now."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        rows = Table.grid(padding=(0, 1))
        for _ in range(2):
            rows.add_column(no_wrap=True)
        rows.add_column()
        name = f"{self._run.dag_id} {self._run.run_id}"
        rows.add_row(f"{minutes}:{seconds:02}", _state(self._run.state), _name(name))
        shown = [each for each in self._instances if each.state in SHOWN]
        for each in sorted(shown, key=lambda each: (each.state != "running", each.name))[:MOST_ROWS]:
            rows.add_row("", _state(each.state), _name(name_and_try(each)))
        more = [Text(f"and {len(shown) - MOST_ROWS} more")] if len(shown) > MOST_ROWS else []
        return Group(rows, *more, *self._bar())

    def _bar(self) -> list[RenderableType]:
        """How many tasks are done."""
        if not self._instances:
            return []
        counts = Counter(each.state for each in self._instances)
        total, done = len(self._instances), sum(counts[state] for state in FINISHED_TASK_STATES)
        failed = f", {counts['failed']} failed" if counts["failed"] else ""
        # Half of a narrow terminal is left for the words.
        width = min(WIDEST_BAR, self._console.width // 2)
        line = Table.grid(padding=(0, 1))
        line.add_column()
        line.add_column(no_wrap=True, overflow="ellipsis")
        bar = ProgressBar(total, done, width=width, complete_style="green", finished_style="green")
        line.add_row(bar, f"{done}/{total} tasks{failed}")
        return [line]


def _name(text: str) -> Text:
    """A text whose end a narrow terminal has no room for. Of columns that do not wrap, rich would shorten all."""
    return Text(untrusted.readable(text), no_wrap=True, overflow="ellipsis")


def _state(state: str | None) -> Text:
    return Text(untrusted.readable(state or "unknown"), style=COLOURS.get(state or "", ""))
