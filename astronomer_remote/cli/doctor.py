"""``astronomer-remote doctor``: what a deployment is, how it is, and what the account may do."""

from __future__ import annotations

import argparse

from astronomer_remote.cli.commands import COMMON, Command, Exit
from astronomer_remote.cli.output import print_fields, print_json
from astronomer_remote.cli.remote import remote_of


def doctor(arguments: argparse.Namespace) -> Exit:
    """Print what a few requests find out; they change nothing. Exit with 1 if a component is not healthy, or the
    health cannot be read.
    """
    from astronomer_remote.api.client.client import Client
    from astronomer_remote.api.client.retry import RetryPolicy
    from astronomer_remote.api.connection_test import ConnectionTest

    # A request that fails is a finding, too. It changes nothing, so it does not wake a Deployment.
    once = RetryPolicy(attempts=1, wakes=False)
    checkup = remote_of(arguments).run(
        lambda deployment: ConnectionTest(Client(deployment.settings, retry=once)).examine(), contact=False
    )
    found = checkup.as_dict()
    if arguments.output == "json":
        print_json(found)
    else:
        health = {f"health: {name}": state for name, state in (found.pop("health") or {}).items()}
        may = {f"may {name}": answer for name, answer in found.pop("may").items()}
        print_fields({**found, **health, **may}, arguments.output)
    return Exit.SUCCESS if checkup.is_healthy else Exit.FAILED


COMMANDS = (Command("doctor", "Check the connection, the health and the account's permissions", doctor, COMMON),)
