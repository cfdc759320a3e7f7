"""``astronomer-remote pools``."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from astronomer_remote.cli.commands import COMMON, Command, Exit, Group, argument
from astronomer_remote.cli.output import print_json, print_rows
from astronomer_remote.cli.remote import Remote, remote_of, remote_of_connection

if TYPE_CHECKING:
    from astronomer_remote.api.pools.diff import PoolPlan

FILE = argument("--file", "-f", help="the declaration: a file in the format of `airflow pools export`, JSON or YAML")
SOURCE = argument("--source-conn-id", help="the declaration, instead: connection of the deployment to copy")
PRUNE = argument("--prune", action="store_true", help="delete pools that are not declared, unless they are occupied")
FORCE = argument("--force", action="store_true", help="with --prune: delete occupied ones, too")
FIELDS = argument("--fields", help="fields to compare and change, separated by commas (default: all)")
DRY_RUN = argument("--dry-run", action="store_true", help="as `diff`: change nothing")

DECLARATION = (FILE, SOURCE, PRUNE, FORCE, FIELDS, *COMMON)

COLUMNS = {
    "name": "name",
    "slots": "slots",
    "occupied_slots": "occupied",
    "open_slots": "open",
    "include_deferred": "include_deferred",
    "description": "description",
}


def list_pools(arguments: argparse.Namespace) -> None:
    """Print the pools of a deployment."""
    pools = remote_of(arguments).run(lambda deployment: deployment.list_pools())
    print_rows([pool.as_dict() for pool in pools], COLUMNS, arguments.output)


def diff(arguments: argparse.Namespace) -> Exit:
    """Print the differences, and exit with 1 if there are any."""
    return _shown(_plan(remote_of(arguments), arguments), arguments)


def sync(arguments: argparse.Namespace) -> Exit:
    """Print the differences, and apply them; a second run finds none."""
    from astronomer_remote.api.pools.sync import SyncProgress

    remote = remote_of(arguments)
    plan = _plan(remote, arguments)
    if arguments.dry_run:
        return _shown(plan, arguments)
    if arguments.output != "json":
        print(plan.table())
    progress = SyncProgress(plan)
    try:
        remote.run(lambda deployment: deployment.pool_sync.apply(plan, force=arguments.force, progress=progress))
    finally:
        if arguments.output == "json":
            print_json(plan.as_dict(progress.outcomes))
    return Exit.SUCCESS


def _shown(plan: PoolPlan, arguments: argparse.Namespace) -> Exit:
    print_json(plan.as_dict()) if arguments.output == "json" else print(plan.table())
    return Exit.FAILED if plan.changes else Exit.SUCCESS


def _plan(remote: Remote, arguments: argparse.Namespace) -> Any:
    from astronomer_remote.api.pools import files
    from astronomer_remote.api.protocol.errors import InvalidSettings
    from astronomer_remote.api.protocol.pool_changes import FIELDS as ALL_FIELDS

    if (arguments.file is None) == (arguments.source_conn_id is None):
        raise InvalidSettings("Give the declaration by either --file or --source-conn-id.")
    fields = arguments.fields.split(",") if arguments.fields else ALL_FIELDS
    if arguments.file:
        declared = files.read(arguments.file)
    else:
        source = remote_of_connection(arguments.source_conn_id)
        if source.deployment.settings.base_url == remote.deployment.settings.base_url:
            raise InvalidSettings(f"--source-conn-id {arguments.source_conn_id!r} is the same deployment.")
        declared = source.run(lambda deployment: deployment.list_pools())
    return remote.run(
        lambda deployment: deployment.pool_sync.plan(
            declared, prune=arguments.prune, force=arguments.force, fields=fields
        )
    )


COMMANDS = (
    Group(
        "pools",
        "List, compare and synchronise the pools of a deployment",
        (
            Command("list", "List the pools of a deployment", list_pools, COMMON),
            Command("diff", "Compare them with a declaration: 0 if they match, 1 if not", diff, DECLARATION),
            Command("sync", "Make them match a declaration", sync, (*DECLARATION, DRY_RUN), changes=True),
        ),
    ),
)
