"""An Airflow connection by its id: of the environment without Airflow, which takes a second or more to import."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.cli.output import without_logs

if TYPE_CHECKING:
    from astronomer_remote.api.protocol.settings import Settings

EXTRA = "__extra__"
"""The part of a connection's URI that holds the whole extra, as Airflow writes it."""


def settings_of_connection(conn_id: str) -> Settings:
    """
    Settings of the connection in ``AIRFLOW_CONN_…``, else of the one that Airflow finds.

    :raises InvalidSettings: if there is none, or it cannot be used.
    """
    from astronomer_remote.api.protocol.settings import Settings

    name = f"AIRFLOW_CONN_{conn_id.upper()}"
    text = os.environ.get(name, "").strip()
    if text:
        return Settings.parse(**parts_of(text, name))
    if find_spec("airflow") is None:
        raise InvalidSettings(
            f"There is no {name} in the environment, and no Airflow here that may have the connection. Set {name}, or "
            "give --url."
        )
    with without_logs():
        from astronomer_remote.compat import connection_of_a_command, connection_parts

        return Settings.parse(**connection_parts(connection_of_a_command(conn_id)))


def is_of_airflow(error: Exception) -> bool:
    """Whether Airflow raised an error, such as that of an unknown connection."""
    # It is imported only if the command has used it.
    exceptions = sys.modules.get("airflow.exceptions")
    return exceptions is not None and isinstance(error, exceptions.AirflowException)


def parts_of(text: str, name: str) -> dict[str, Any]:
    """
    A connection's values, as :meth:`astronomer_remote.api.protocol.settings.Settings.parse` takes them.

    :param text: the connection as JSON or as URI, as Airflow reads it.
    :param name: the variable that it comes from.
    :raises InvalidSettings: if it is neither. It holds a password, so that the error repeats nothing of it.
    """
    try:
        return _parts_of_json(text) if text.startswith("{") else _parts_of_uri(text)
    except (ValueError, AttributeError, RecursionError):
        kind = "JSON object" if text.startswith("{") else "URI"
        raise InvalidSettings(f"{name} is no {kind} of a connection.") from None


def _parts_of_json(text: str) -> dict[str, Any]:
    given = json.loads(text)
    extra = given.get("extra")
    port = given.get("port")
    parts = {name: given.get(name) for name in ("host", "schema", "login", "password")}
    return {
        **parts,
        "port": int(port) if port is not None and port != "" else None,
        "extra": json.loads(extra) if isinstance(extra, str) and extra else extra,
    }


def _parts_of_uri(text: str) -> dict[str, Any]:
    """
    The same as ``Connection._parse_from_uri`` of Airflow, except that a value of the query stays text.

    A URI may have a second scheme, which is that of the host: ``astronomer://https://login:password@host``.
    """
    _, found, rest = text.partition("://")
    if not found or rest.count("://") > 1:
        raise ValueError("no URI")
    protocol, second, _ = rest.partition("://")
    if second and any(character in protocol for character in "@:/?#"):
        raise ValueError("two schemes, and something between them")
    url = urlsplit(rest if second else f"//{rest}")
    host = unquote(url.hostname or "")
    if "/" in host:
        # A path that is quoted, whose case counts.
        host = unquote(url.netloc.rpartition("@")[2].partition(":")[0])
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    return {
        "host": f"{protocol}://{host}" if second and host else host,
        "schema": unquote(url.path[1:]),
        "port": url.port,
        "login": unquote(url.username) if url.username else None,
        "password": unquote(url.password) if url.password else None,
        "extra": json.loads(query[EXTRA] or "{}") if EXTRA in query else query,
    }
