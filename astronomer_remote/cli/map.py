"""``astronomer-remote map``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astronomer_remote.api.protocol.errors import InvalidSettings, RemoteError, TransientError
from astronomer_remote.cli.commands import VERBOSE, Command, Exit, argument
from astronomer_remote.cli.connection import is_of_airflow
from astronomer_remote.cli.output import quiet, say
from astronomer_remote.cli.remote import remote_of_connection

if TYPE_CHECKING:
    from astronomer_remote.map import Edge, Map

SECONDS_PER_DEPLOYMENT = 120.0
"""How long the check of one deployment may take."""

FOLDERS = argument(
    "folders",
    nargs="+",
    metavar="DAGS_FOLDER",
    help="folder of DAG files; of several deployments, each as NAME=FOLDER or named after its folder",
)
OUTPUT = argument(
    "--output",
    "-o",
    choices=("table", "mermaid", "dot", "json", "html"),
    default="table",
    help="format of the output (default: table)",
)
CHECK = argument(
    "--check",
    action="store_true",
    help="read the other deployments, through Airflow connections: exit with 1 if something is missing, paused, broken "
    "or not allowed there, and with 5 if one cannot be reached",
)


def map_folders(arguments: argparse.Namespace) -> Exit:
    """Print the map of folders of DAG files, and check it."""
    from astronomer_remote.map import read_folders
    from astronomer_remote.map.page import page
    from astronomer_remote.map.writers import WRITERS

    quiet(verbose=arguments.verbose)
    found = read_folders(_named(arguments.folders))
    if arguments.check:
        check_all(found)
    print(page(found) if arguments.output == "html" else WRITERS[arguments.output](found))
    for failed in found.import_errors:
        label = f"{failed.local}: " if len(arguments.folders) > 1 else ""
        say(f"{label}{failed.file} could not be read: {failed.error}")
    for conn_id, error in found.unreachable.items():
        say(f"{conn_id} could not be checked: {error}")
    if arguments.check and (found.broken or found.import_errors):
        return Exit.FAILED
    return Exit.UNREACHABLE if found.unreachable else Exit.SUCCESS


def _named(folders: Sequence[str]) -> dict[str, Path]:
    """The folders by the names of their deployments. :raises InvalidSettings: if two have the same name."""
    named: dict[str, Path] = {}
    for given in folders:
        before, equals, after = given.partition("=")
        # The path of a folder may have the sign, too.
        is_named = bool(equals) and not Path(given).is_dir()
        folder = Path(after if is_named else given)
        full = folder.resolve()
        name = before if is_named else full.parent.name if full.name == "dags" else full.name
        if name in named:
            raise InvalidSettings(f"Two folders are named {name!r}; write them as NAME=FOLDER.")
        named[name] = folder
    return named


def check_all(found: Map) -> None:
    """Check the edges of each connection."""
    found.checked = True
    for conn_id, edges in found.by_connection():
        if conn_id is not None:
            _check_connection(found, conn_id, edges)
            continue
        for edge in edges:
            edge.leave_unknown()


def _check_connection(found: Map, conn_id: str, edges: Sequence[Edge]) -> None:
    from astronomer_remote.map.check import check

    try:
        ends = time.monotonic() + SECONDS_PER_DEPLOYMENT
        remote_of_connection(conn_id, ends=ends).run(lambda deployment: check(deployment, edges), ends=ends)
    except TransientError as error:
        found.unreachable[conn_id] = error.message
    except Exception as error:
        # There is no such connection, it is incomplete, or its login is refused.
        if not (isinstance(error, RemoteError) or is_of_airflow(error)):
            raise
        for edge in edges:
            edge.break_(str(error))


COMMANDS = (
    Command(
        "map",
        "Show which local DAGs and tasks depend on what in other deployments",
        map_folders,
        (FOLDERS, CHECK, OUTPUT, VERBOSE),
    ),
)
