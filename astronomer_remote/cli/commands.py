"""What a command is made of. Each module of this folder lists its own; ``registry`` collects them."""

from __future__ import annotations

import argparse
import enum
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple


class Exit(enum.IntEnum):
    """Exit codes, which scripts rely on; also 74, 130, 141 and 143, see ``main``."""

    SUCCESS = 0
    FAILED = 1
    """The run failed or, for commands that compare or check, something differs."""
    USAGE = 2
    """A wrong argument, or a connection that cannot be used."""
    TIMEOUT = 3
    REFUSED = 4
    """The deployment refused: wrong login, no permission, an unknown DAG, a run that exists."""
    UNREACHABLE = 5
    """No reply, or none that is Airflow's."""


class Interrupted(KeyboardInterrupt):
    """
    Ctrl-C, or the request of a CI server to end.

    :param number: of the signal.
    """

    reported = False
    """Whether what it means was printed."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Argument(NamedTuple):
    """An argument, for our own parser and for Airflow's."""

    flags: tuple[str, ...]
    options: dict[str, Any]


class Command(NamedTuple):
    """
    A command.

    :param function: returns the exit code; ``None`` for success.
    :param changes: whether it changes something in the deployment.
    """

    name: str
    help: str
    function: Callable[[argparse.Namespace], Exit | None]
    arguments: tuple[Argument, ...]
    changes: bool = False


class Group(NamedTuple):
    """Commands below one name."""

    name: str
    help: str
    commands: Sequence[Command]


def argument(*flags: str, **options: Any) -> Argument:
    """An argument, as ``add_argument`` of argparse takes it."""
    return Argument(flags, options)


def seconds(text: str) -> float:
    """A positive number of seconds, for argparse."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def number(text: str) -> int:
    """A positive number, for argparse."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def index(text: str) -> int:
    """A number from 0, for argparse."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


CONN_ID = "astronomer_default"

REMOTE = (
    argument("--conn-id", help=f"Airflow connection of the deployment (default without --url: {CONN_ID})"),
    argument("--url", help="URL of the deployment, instead; see ASTRONOMER_REMOTE_TOKEN, _USER and _PASSWORD"),
)
OUTPUT = argument(
    "--output",
    "-o",
    choices=("table", "json", "plain"),
    default="table",
    help="format of the output (default: table); plain: one line each, separated by tabs, without a header",
)
VERBOSE = argument("--verbose", "-v", action="store_true", help="also show log messages")
COMMON = (*REMOTE, OUTPUT, VERBOSE)
DAG_ID = argument("dag_id", metavar="DAG_ID", help="the DAG")
RUN_ID = argument("run_id", metavar="RUN_ID", help="the DAG run")
