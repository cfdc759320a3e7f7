"""``airflow remote``: the same commands in Airflow's own command line, 3.2 and later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from astronomer_remote.cli.commands import Command, Group
from astronomer_remote.cli.main import HELP, guarded
from astronomer_remote.cli.registry import COMMANDS

if TYPE_CHECKING:
    from airflow.cli.cli_config import CLICommand

NAME = "remote"


def get_commands() -> list[CLICommand]:
    """The commands for Airflow, which finds this function in the provider info."""
    from airflow.cli.cli_config import GroupCommand

    return [GroupCommand(name=NAME, help=HELP, subcommands=_converted(COMMANDS))]


def _converted(commands: Sequence[Command | Group]) -> list[CLICommand]:
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    return [
        GroupCommand(name=each.name, help=each.help, subcommands=_converted(each.commands))
        if isinstance(each, Group)
        else ActionCommand(
            name=each.name,
            help=each.help,
            func=guarded(each),
            args=[
                Arg(argument.flags, **argument.options)  # type: ignore[no-untyped-call]  # so in Airflow
                for argument in each.arguments
            ],
        )
        for each in commands
    ]
