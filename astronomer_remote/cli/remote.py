"""The deployment that a command is about, and how a flow is run against it."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.cli.commands import CONN_ID

if TYPE_CHECKING:
    from astronomer_remote.api.deployment import Deployment
    from astronomer_remote.api.protocol.flow import Flow
    from astronomer_remote.api.protocol.settings import Settings

T = TypeVar("T")

USER, PASSWORD, TOKEN = "ASTRONOMER_REMOTE_USER", "ASTRONOMER_REMOTE_PASSWORD", "ASTRONOMER_REMOTE_TOKEN"


class Remote:
    """
    A deployment whose settings come from the environment.

    :param settings: reads them, also again if the login is refused.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        from requests import Session

        from astronomer_remote.api.deployment import Deployment
        from astronomer_remote.api.transport.sync_driver import configure

        self._settings = settings
        self.deployment = Deployment(self._read())
        self._session = configure(Session(), self.deployment.settings)

    def run(self, flow: Callable[[Deployment], Flow[T]], *, total_seconds: float | None = None) -> T:
        """
        Run a flow.

        :param total_seconds: limit for all its requests together, default none.
        """
        from astronomer_remote.api.transport.sync_driver import SyncDriver

        settings = self.deployment.settings
        driver = SyncDriver(self._session, settings, reload=self._read, total_seconds=total_seconds)
        return driver.run(flow(self.deployment))

    def _read(self) -> Settings:
        from astronomer_remote.api.client.client import Client
        from astronomer_remote.api.client.places import SECONDS_AFTER_REFUSAL
        from astronomer_remote.api.transport.sync_driver import run_once

        settings = self._settings()
        if settings.base_url:
            return settings
        return run_once(Client(settings).locate(SECONDS_AFTER_REFUSAL), settings)


def remote_of(arguments: argparse.Namespace) -> Remote:
    """The deployment that ``--url`` or ``--conn-id`` names."""
    quiet(verbose=arguments.verbose)
    if arguments.url is not None:
        if arguments.conn_id:
            raise InvalidSettings("Give only one of --url and --conn-id.")
        url = arguments.url
        return Remote(lambda: settings_of_url(url, os.environ))
    return remote_of_connection(arguments.conn_id or CONN_ID)


def remote_of_connection(conn_id: str) -> Remote:
    """The deployment of an Airflow connection: ``AIRFLOW_CONN_…`` of the environment, else as Airflow finds it."""
    return Remote(lambda: _settings_of_connection(conn_id))


def settings_of_url(url: str, environment: Mapping[str, str]) -> Settings:
    """
    Settings of a deployment whose login is in the environment.

    :raises InvalidSettings: if they cannot be used.
    """
    from astronomer_remote.api.protocol.settings import Settings

    if not url.strip():
        raise InvalidSettings("--url is empty. Give the URL of the deployment as a browser shows it.")
    token, user, password = (environment.get(name) for name in (TOKEN, USER, PASSWORD))
    if token and (user or password):
        raise InvalidSettings(f"Set either {TOKEN}, or {USER} and {PASSWORD}.")
    if bool(user) != bool(password):
        raise InvalidSettings(f"{USER} and {PASSWORD} belong together; only one of them is set.")
    return Settings.parse(host=url, login=user, password=token or password)


def _settings_of_connection(conn_id: str) -> Settings:
    from astronomer_remote.api.protocol.settings import Settings

    text = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}", "")
    if text.startswith("{"):
        # Airflow takes a second or more to import, which this does not need.
        return Settings.parse(**_parts_of_json(conn_id, text))
    from astronomer_remote.compat import connection_of_a_command, connection_parts

    return Settings.parse(**connection_parts(connection_of_a_command(conn_id)))


def _parts_of_json(conn_id: str, text: str) -> dict[str, Any]:
    try:
        given = json.loads(text)
        extra = given.get("extra")
        port = given.get("port")
        parts = {name: given.get(name) for name in ("host", "schema", "login", "password")}
        return {
            **parts,
            "port": int(port) if port is not None and port != "" else None,
            "extra": json.loads(extra) if isinstance(extra, str) and extra else extra,
        }
    except (ValueError, AttributeError, RecursionError):
        # Its text holds a password, so that the error repeats nothing of it.
        raise InvalidSettings(f"AIRFLOW_CONN_{conn_id.upper()} is no JSON object of a connection.") from None


def quiet(*, verbose: bool) -> None:
    """Let only the command itself print: Airflow 2 logs to stdout, which must contain only JSON with --output json."""
    if verbose:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        return
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
