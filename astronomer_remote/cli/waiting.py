"""Waiting for a run: what is printed meanwhile, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from astronomer_remote.api.protocol.errors import RemoteError
from astronomer_remote.cli.commands import Exit, Interrupted, argument, seconds
from astronomer_remote.cli.output import print_fields, say
from astronomer_remote.cli.remote import Remote

if TYPE_CHECKING:
    from astronomer_remote.api.protocol.models import DagRun
    from astronomer_remote.cli.live import LiveProgress

LOG_LINES = 20
"""Last lines of each failed task's log that are shown."""

SECONDS_TO_EXPLAIN = 60.0

SECONDS_FOR_LAST_POLL = 5.0
"""How long a poll may continue after the timeout."""


WAITING = (
    argument(
        "--timeout", type=seconds, metavar="SECONDS", help="wait at most so long, from the start (default: no limit)"
    ),
    argument("--poll", type=seconds, default=10.0, metavar="SECONDS", help="pause between two polls (default: 10)"),
    argument("--logs", nargs="+", action="extend", default=[], metavar="TASK", help="print the logs of these tasks"),
    argument("--cancel-on-interrupt", action="store_true", help="cancel the run on Ctrl-C and SIGTERM"),
)


def end_of(arguments: argparse.Namespace) -> float | None:
    """When ``--timeout`` will have passed, by :func:`time.monotonic`."""
    return None if arguments.timeout is None else time.monotonic() + arguments.timeout


def wait_for(remote: Remote, run: DagRun, arguments: argparse.Namespace, ends: float | None) -> Exit:
    """
    Wait for the end of a run, print it, and return the exit code. Progress is printed on stderr.

    :param ends: as from :func:`end_of`.
    """
    from astronomer_remote.api.transport.sync_driver import seconds_until
    from astronomer_remote.api.waiting.target import WaitStatus, WaitTarget

    began = time.time()
    target = WaitTarget(
        dag_id=run.dag_id, failed_states=("failed",), since=began, progress=True, stream=tuple(arguments.logs)
    ).of(run)
    left = seconds_until(ends)
    try:
        with _display(run) as display:
            result = remote.run(
                lambda deployment: deployment.poller.wait(
                    target,
                    poke_interval=arguments.poll,
                    deadline=None if left is None else began + left,
                    on_line=_reworded(remote, display.line if display else say),
                    on_poll=display.show if display else None,
                ),
                ends=None if ends is None else ends + SECONDS_FOR_LAST_POLL,
            )
    except Interrupted as interrupt:
        interrupt.reported = True
        _interrupted(remote, run, cancel=arguments.cancel_on_interrupt)
        raise
    run = result.run or run
    if result.status is WaitStatus.TIMEOUT:
        say(f"Run {run.run_id} did not end within {arguments.timeout:g} s; it continues: {run.url}")
    fields: dict[str, Any] = run.as_dict(largest=None)
    if result.status is WaitStatus.FAILED:
        fields["failure"] = _explained(remote, run)
    if arguments.output != "json":
        fields.pop("failure", None)
    print_fields(fields, arguments.output)
    return {WaitStatus.SUCCESS: Exit.SUCCESS, WaitStatus.TIMEOUT: Exit.TIMEOUT}.get(
        result.status or WaitStatus.FAILED, Exit.FAILED
    )


def _display(run: DagRun) -> AbstractContextManager[LiveProgress | None]:
    """What draws the progress, if stderr is a terminal that can; ``None``: lines are printed."""
    if sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown"):
        # Airflow installs it; without Airflow, lines are enough.
        with suppress(ModuleNotFoundError):
            from astronomer_remote.cli.live import LiveProgress

            return LiveProgress(run)
    return nullcontext()


def _reworded(remote: Remote, on_line: Callable[[str], None]) -> Callable[[str], None]:
    """Changes the texts of lines, and keeps what they are."""
    return lambda line: on_line(type(line)(remote.reword(line)))


def _explained(remote: Remote, run: DagRun) -> dict[str, Any] | None:
    """Print why a run failed. :return: the same as JSON; ``None`` if the remote does not show it."""
    try:
        report = remote.run(
            lambda deployment: deployment.failures.report(run, log_lines=LOG_LINES),
            ends=time.monotonic() + SECONDS_TO_EXPLAIN,
        )
    except RemoteError as error:
        say(f"The failure report on run {run.run_id} could not be read: {error}")
        return None
    for line in str(report).splitlines():
        say(line)
    return report.as_dict()


def _interrupted(remote: Remote, run: DagRun, *, cancel: bool) -> None:
    if not cancel:
        say(f"Interrupted. Run {run.run_id} continues: {run.url}")
        return
    try:
        run = remote.run(lambda deployment: deployment.cancel_dag_run(run.dag_id, run.run_id))
        say(f"Interrupted. Run {run.run_id} is now {run.state}: {run.url}")
    except RemoteError as error:
        say(f"Interrupted. Run {run.run_id} could not be cancelled: {error}")
    except Interrupted as again:
        say(f"Interrupted. Run {run.run_id} may not have been cancelled: {run.url}")
        again.reported = True
        raise
