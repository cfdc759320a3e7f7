"""
Pools of other deployments on the command line.

Airflow 3.2 and later get ``airflow remote-pools`` from :func:`get_commands`. For earlier ones, and for machines whose
Airflow is not configured, the command ``astronomer-remote-pools`` (:func:`main`) does the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

NAME = "remote-pools"
HELP = "List, compare and synchronise the pools of another deployment"

SAME, FAILED, DIFFERENT = 0, 1, 2
"""Exit codes."""

CONN_ID = "astronomer_default"


class Argument(NamedTuple):
    """An argument for both parsers."""

    flags: tuple[str, ...]
    options: dict[str, Any]


class Command(NamedTuple):
    """A command for both parsers."""

    name: str
    help: str
    function: Callable[[argparse.Namespace], None]
    arguments: tuple[Argument, ...]


def _argument(*flags: str, **options: Any) -> Argument:
    return Argument(flags, options)


CONNECTION = _argument("--conn-id", default=CONN_ID, help=f"connection of the deployment (default: {CONN_ID})")
VERBOSE = _argument("--verbose", "-v", action="store_true", help="also show log messages")
OUTPUT = _argument("--output", "-o", choices=("table", "json"), default="table", help="format of the output")
FILE = _argument("--file", "-f", help="the declaration: a file in the format of `airflow pools export`, JSON or YAML")
SOURCE = _argument("--source-conn-id", help="the declaration, instead: connection of the deployment to copy")
PRUNE = _argument("--prune", action="store_true", help="delete pools that are not declared, unless they are occupied")
FORCE = _argument("--force", action="store_true", help="with --prune: delete occupied ones, too")
FIELDS = _argument("--fields", help="fields to compare and change, separated by commas (default: all)")
DRY_RUN = _argument("--dry-run", action="store_true", help="as `diff`: change nothing")

DECLARATION = (CONNECTION, FILE, SOURCE, PRUNE, FORCE, FIELDS, OUTPUT, VERBOSE)


def list_pools(arguments: argparse.Namespace) -> None:
    """Print the pools of a deployment."""
    pools = _hook(arguments.conn_id).list_pools()
    if arguments.output == "json":
        _print_json([pool.as_dict() for pool in pools])
        return
    from astronomer_remote.api.pools.diff import table

    columns = ("name", "slots", "occupied_slots", "open_slots", "include_deferred", "description")
    rows = [["-" if pool[column] is None else str(pool[column]) for column in columns] for pool in map(vars, pools)]
    print(table([column.removesuffix("_slots") for column in columns], rows))


def diff(arguments: argparse.Namespace) -> None:
    """Print the differences, and exit with 2 if there are any."""
    plan = _plan(arguments)
    _print_json(plan.as_dict()) if arguments.output == "json" else print(plan.table())
    if plan.changes:
        raise SystemExit(DIFFERENT)


def sync(arguments: argparse.Namespace) -> None:
    """Print the differences, and apply them; a second run finds none."""
    if arguments.dry_run:
        diff(arguments)
        return
    from astronomer_remote.api.pools.sync import SyncProgress

    plan = _plan(arguments)
    if arguments.output == "table":
        print(plan.table())
    progress = SyncProgress(plan)
    try:
        _hook(arguments.conn_id).run_flow(
            lambda deployment: deployment.pool_sync.apply(plan, force=arguments.force, progress=progress)
        )
    finally:
        if arguments.output == "json":
            _print_json(plan.as_dict(progress.outcomes))


COMMANDS = (
    Command("list", "List the pools of a deployment", list_pools, (CONNECTION, OUTPUT, VERBOSE)),
    Command("diff", "Compare them with a declaration: 0 if they match, 2 if not", diff, DECLARATION),
    Command("sync", "Make them match a declaration", sync, (*DECLARATION, DRY_RUN)),
)


def get_commands() -> list[CLICommand]:
    """The commands for Airflow, which finds this function in the provider info."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    commands = [
        ActionCommand(
            name=command.name,
            help=command.help,
            func=_guarded(command.function),
            args=[
                Arg(argument.flags, **argument.options)  # type: ignore[no-untyped-call]  # so in Airflow
                for argument in command.arguments
            ],
        )
        for command in COMMANDS
    ]
    return [GroupCommand(name=NAME, help=HELP, subcommands=commands)]


class _Parser(argparse.ArgumentParser):
    """Exits with another code for a wrong call than for pools that differ."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command of this package."""
    parser = _Parser(prog=f"astronomer-{NAME}", description=HELP)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = commands.add_parser(command.name, help=command.help, description=command.help)
        for argument in command.arguments:
            subparser.add_argument(*argument.flags, **argument.options)
        subparser.set_defaults(function=command.function)
    arguments = parser.parse_args(argv)
    _guarded(arguments.function)(arguments)


def _guarded(function: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
    """A command that prints an error of the remote in one line, and exits with 1, instead of a traceback."""

    def run(arguments: argparse.Namespace) -> None:
        from airflow.providers.common.compat.sdk import AirflowException
        from airflow.utils.cli import suppress_logs_and_warning

        try:
            # Airflow 2 logs to stdout, which must contain only JSON with --output json.
            suppress_logs_and_warning(function)(arguments)
        except AirflowException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            raise SystemExit(FAILED) from None

    return run


def _plan(arguments: argparse.Namespace) -> Any:
    from astronomer_remote.api.pools import files
    from astronomer_remote.api.protocol.errors import InvalidSettings
    from astronomer_remote.api.protocol.pool_changes import FIELDS
    from astronomer_remote.exceptions import airflow_exceptions

    with airflow_exceptions():
        if (arguments.file is None) == (arguments.source_conn_id is None):
            raise InvalidSettings("Give the declaration by either --file or --source-conn-id.")
        if arguments.source_conn_id == arguments.conn_id:
            raise InvalidSettings(f"--source-conn-id and --conn-id are both {arguments.conn_id!r}.")
        fields = arguments.fields.split(",") if arguments.fields else FIELDS
        declared = files.read(arguments.file) if arguments.file else _hook(arguments.source_conn_id).list_pools()
    return _hook(arguments.conn_id).run_flow(
        lambda deployment: deployment.pool_sync.plan(
            declared, prune=arguments.prune, force=arguments.force, fields=fields
        )
    )


def _hook(conn_id: str) -> Any:
    # It imports HTTP libraries, which would slow down Airflow's other commands.
    from astronomer_remote.compat import connection_of_a_command
    from astronomer_remote.hooks.astronomer import AstronomerHook

    class CommandHook(AstronomerHook):
        get_connection = staticmethod(connection_of_a_command)

    return CommandHook(conn_id)


def _print_json(value: Any) -> None:
    from astronomer_remote.api.protocol.untrusted import UNSAFE

    text = json.dumps(value, indent=2, ensure_ascii=False)
    # JSON does not escape all characters that control a terminal; its own line breaks stay.
    print(UNSAFE.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text))
