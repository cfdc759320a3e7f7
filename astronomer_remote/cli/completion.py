"""``astronomer-remote completion``."""

from __future__ import annotations

import argparse

from astronomer_remote.cli.commands import Command, argument


def completion(arguments: argparse.Namespace) -> None:
    """Print what makes a shell complete the command."""
    from argcomplete.shell_integration import shellcode

    print(shellcode(["astronomer-remote"], shell=arguments.shell))


COMMANDS = (
    Command(
        "completion",
        "Print the code for completion, to eval in the start-up file of the shell",
        completion,
        (argument("shell", choices=("bash", "zsh", "fish"), help="the shell"),),
    ),
)
