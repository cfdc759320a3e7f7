"""The entry points: the parser, and what every command has in common around it."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from astronomer_remote import __version__
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import InvalidSettings, PermanentError, PoolIsOccupied, RemoteError
from astronomer_remote.cli.commands import Command, Exit, Group, Interrupted
from astronomer_remote.cli.connection import is_of_airflow
from astronomer_remote.cli.output import say
from astronomer_remote.cli.registry import COMMANDS

PROGRAM = "astronomer-remote"
HELP = "Trigger, monitor and manage work in another Airflow deployment"

CLOSED_PIPE = 128 + signal.SIGPIPE

NOT_WRITTEN = 74
"""The output could not be written, as ``EX_IOERR`` of ``sysexits.h`` says it."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run ``astronomer-remote``."""
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does: what the terminal cannot show is no reason to fail.
        sys.stdout.reconfigure(errors="backslashreplace")
    parser = parser_of(COMMANDS, PROGRAM, HELP)
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    if "_ARGCOMPLETE" in os.environ:
        # Airflow installs it; where there is none, nothing is completed.
        with suppress(ModuleNotFoundError):
            import argcomplete

            argcomplete.autocomplete(parser)
    given = sys.argv[1:] if argv is None else argv
    if any(map(_is_undecodable, given)):
        parser.error("an argument is not valid UTF-8")
    arguments = parser.parse_args(given)
    guarded(arguments.command)(arguments)


def _open_closed_streams() -> None:
    """Python has no stream object for what a shell has closed (``>&-``), and prints errors to stdout then."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115  # until the process ends


def _is_undecodable(text: str) -> bool:
    """Whether an argument has bytes that Python could not decode."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def pools_main() -> None:
    """Run ``astronomer-remote-pools``, another name of ``astronomer-remote pools``."""
    main(["pools", *sys.argv[1:]])


def parser_of(commands: Sequence[Command | Group], program: str, description: str) -> argparse.ArgumentParser:
    """The parser of some commands."""
    parser = Parser(prog=program, description=description)
    _add(parser, commands)
    return parser


class Parser(argparse.ArgumentParser):
    """Takes optional positional arguments after options, too, which argparse alone does not always do."""

    _intermixed = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        # After `--` nothing is an option, which argparse forgets between the two passes of the intermixed way.
        if self._intermixed or self._subparsers is not None or "--" in args:
            return super().parse_known_args(args, namespace)
        self._intermixed = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = False


def _add(parser: argparse.ArgumentParser, commands: Sequence[Command | Group]) -> None:
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in commands:
        subparser = subparsers.add_parser(command.name, help=command.help, description=command.help)
        if isinstance(command, Group):
            _add(subparser, command.commands)
            continue
        for argument in command.arguments:
            subparser.add_argument(*argument.flags, **argument.options)
        subparser.set_defaults(command=command)


def guarded(command: Command) -> Callable[[argparse.Namespace], None]:
    """The function of a command, which ends with its exit code, and prints an error of the remote in one line."""

    def run(arguments: argparse.Namespace) -> None:
        try:
            with _signals():
                code = int(_reported(command, arguments))
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader, such as `head`, has seen enough. Python would write the rest when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = CLOSED_PIPE
        except OSError as error:
            # A full disk. Python would try again when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            _complain("The output could not be written", error)
            code = NOT_WRITTEN
        if code:
            raise SystemExit(code)

    return run


def _reported(command: Command, arguments: argparse.Namespace) -> int:
    try:
        return command.function(arguments) or Exit.SUCCESS
    except RemoteError as error:
        _complain(type(error).__name__, error)
        return exit_of(error)
    except Interrupted as interrupt:
        if command.changes and not interrupt.reported:
            say("Interrupted. What was requested may have been done all the same.")
        return 128 + interrupt.number
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("astronomer_remote"):
            raise
        say(f"{error.name} is not installed here, and this command needs it.")
        return Exit.USAGE
    except Exception as error:
        if not is_of_airflow(error):
            raise
        _complain(type(error).__name__, error)
        return Exit.USAGE


def exit_of(error: RemoteError) -> Exit:
    """The exit code of an error."""
    if isinstance(error, InvalidSettings):
        return Exit.USAGE
    return Exit.REFUSED if isinstance(error, (PermanentError, PoolIsOccupied)) else Exit.UNREACHABLE


def _complain(kind: str, error: Exception) -> None:
    print(f"{kind}: {untrusted.readable(str(error), 8000)}", file=sys.stderr)


@contextmanager
def _signals() -> Iterator[None]:
    """Within it, SIGINT and SIGTERM raise :class:`Interrupted`."""

    def interrupt(number: int, _: Any) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
