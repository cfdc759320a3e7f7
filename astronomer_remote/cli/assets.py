"""``astronomer-remote assets``."""

from __future__ import annotations

import argparse

from astronomer_remote.cli.commands import COMMON, Command, Group, argument, number
from astronomer_remote.cli.output import print_fields, print_rows
from astronomer_remote.cli.remote import remote_of
from astronomer_remote.cli.runs import json_of

ASSET_COLUMNS = {"uri": "uri", "name": "name", "producing_dag_ids": "producers", "consuming_dag_ids": "consumers"}
EVENT_COLUMNS = {"timestamp": "timestamp", "uri": "uri", "source_dag_id": "dag", "extra": "extra"}


def list_assets(arguments: argparse.Namespace) -> None:
    """Print the assets of a deployment."""
    found = remote_of(arguments).run(lambda deployment: deployment.list_assets(uri_pattern=arguments.uri_pattern))
    print_rows([asset.as_dict() for asset in found], ASSET_COLUMNS, arguments.output)


def events(arguments: argparse.Namespace) -> None:
    """Print events, newest first."""
    found = remote_of(arguments).run(
        lambda deployment: deployment.list_asset_events(arguments.asset, since=arguments.since, limit=arguments.limit)
    )
    print_rows([event.as_dict(largest=None) for event in found], EVENT_COLUMNS, arguments.output)


def register(arguments: argparse.Namespace) -> None:
    """Register an event."""
    extra = json_of(arguments.extra, "--extra")
    event = remote_of(arguments).run(lambda deployment: deployment.create_asset_event(arguments.asset, extra=extra))
    print_fields(event.as_dict(largest=None), arguments.output)


ASSET = argument("asset", metavar="ASSET", help="URI or name of the asset")

COMMANDS = (
    Group(
        "assets",
        "List assets and their events, and register events",
        (
            Command(
                "list",
                "List the assets of a deployment",
                list_assets,
                (argument("--uri-pattern", metavar="TEXT", help="only those whose URI contains this"), *COMMON),
            ),
            Command(
                "events",
                "List asset events, newest first",
                events,
                (
                    argument("asset", nargs="?", metavar="ASSET", help="URI or name of the asset (default: all)"),
                    argument("--since", metavar="DATE", help="ISO 8601, UTC if without a zone"),
                    argument("--limit", type=number, default=100, help="how many at most (default: 100)"),
                    *COMMON,
                ),
            ),
            Command(
                "register",
                "Register an event of an asset",
                register,
                (ASSET, argument("--extra", metavar="JSON|@FILE", help="JSON object for the event"), *COMMON),
                changes=True,
            ),
        ),
    ),
)
