"""Calls the command against a fake deployment."""

from __future__ import annotations

import sys

from astronomer_remote.cli.main import main
from astronomer_remote.testing import FakeDeployment

COMMAND = (sys.executable, "-m", "astronomer_remote.cli")
LOGIN = {"ASTRONOMER_REMOTE_USER": "admin", "ASTRONOMER_REMOTE_PASSWORD": "admin"}


def run(remote: FakeDeployment, *arguments: str) -> int:
    """Call the command in this process. :return: its exit code."""
    return code_of(*arguments, "--url", remote.url)


def code_of(*arguments: str) -> int:
    """The same with the arguments as they are."""
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0
