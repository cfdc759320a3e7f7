"""The deployment that a command is about, and how a flow is run against it."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from astronomer_remote.api.protocol.errors import InvalidSettings, RemoteError, RemoteUnavailable
from astronomer_remote.cli.commands import CONN_ID
from astronomer_remote.cli.connection import settings_of_connection
from astronomer_remote.cli.output import quiet

if TYPE_CHECKING:
    from astronomer_remote.api.client.client import Client
    from astronomer_remote.api.deployment import Deployment
    from astronomer_remote.api.protocol.flow import Flow
    from astronomer_remote.api.protocol.settings import Settings

T = TypeVar("T")

USER, PASSWORD, TOKEN = "ASTRONOMER_REMOTE_USER", "ASTRONOMER_REMOTE_PASSWORD", "ASTRONOMER_REMOTE_TOKEN"

FIRST_ATTEMPTS = 3
"""How often a command tries, within three seconds, to find an Airflow. Once it has answered, there are more retries."""

WITHOUT_CONNECTION = {
    r"\bthe connection's host is another\b": "--url is another",
    r"\bthe connection's host\b": "--url",
    r"\bthe connection's login, password and authentication\b": f"{TOKEN}, or {USER} and {PASSWORD}",
    r"\bthe connection's login and password\b": f"{USER} and {PASSWORD}",
    r"\bthe connection's password( and authentication)?\b": TOKEN,
    r"\bgive the connection an API token\b": f"set {TOKEN}",
    r"\bthe connection sends none: give it login and password, or a token(, and another auth than 'none')?": (
        f"there are none: set {TOKEN}, or {USER} and {PASSWORD}"
    ),
    r"\bPut login and password into their own fields\b": f"Put login and password into {USER} and {PASSWORD}",
    r"\bthe account behind the connection\b": "the account",
    r"\bthe connection's (?=login|token)": "the ",
    r"\bthe network between the two deployments\b": "the network",
}
"""What errors that speak of a connection say instead with ``--url``: patterns, without regard to case."""


class Remote:
    """
    A deployment whose settings come from the environment.

    :param settings: reads them, also again if the login is refused.
    :param reword: changes texts about it.
    :param ends: when to give up looking up its URL, if the connection has none; by :func:`time.monotonic`.
    """

    def __init__(
        self, settings: Callable[[], Settings], reword: Callable[[str], str] = str, *, ends: float | None = None
    ) -> None:
        from requests import Session

        from astronomer_remote.api.deployment import Deployment
        from astronomer_remote.api.transport.sync_driver import configure

        self._settings, self.reword = settings, reword
        with self._errors():
            self.deployment = Deployment(self._read(ends))
            self._session = configure(Session(), self.deployment.settings)
        self._answered = False

    def run(self, flow: Callable[[Deployment], Flow[T]], *, ends: float | None = None, contact: bool = True) -> T:
        """
        Run a flow.

        :param ends: when its requests must be complete, by :func:`time.monotonic`; default no limit.
        :param contact: whether to call a deployment that has not answered yet, and fail soon if it does not.
        """
        from astronomer_remote.api.transport.sync_driver import SyncDriver, seconds_until

        driver = SyncDriver(
            self._session,
            self.deployment.settings,
            reload=lambda: self._read(ends),
            total_seconds=seconds_until(ends),
        )
        with self._errors():
            if contact and not self._answered:
                driver.run(self._contact())
                self._answered = True
            return driver.run(flow(self.deployment))

    def _contact(self) -> Flow[None]:
        client = self.deployment.client
        try:
            yield from _soon(client, client.dialect())
        except RemoteUnavailable:
            # It is there, and may answer soon: the flow retries as usual.
            return

    def _read(self, ends: float | None) -> Settings:
        from astronomer_remote.api.client.client import Client
        from astronomer_remote.api.transport.sync_driver import run_once, seconds_until

        settings = self._settings()
        if settings.base_url:
            return settings
        return run_once(_located(Client(settings)), settings, total_seconds=seconds_until(ends))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except RemoteError as error:
            error.message = self.reword(error.message)
            raise


def _soon(client: Client, flow: Flow[T]) -> Flow[T]:
    """Run a flow with the retries of a first attempt."""
    from astronomer_remote.api.client.retry import RetryPolicy

    return client.with_retry_budget(flow, RetryPolicy(attempts=FIRST_ATTEMPTS))


def _located(client: Client) -> Flow[Settings]:
    from astronomer_remote.api.client.places import SECONDS_AFTER_REFUSAL

    try:
        return (yield from _soon(client, client.locate(SECONDS_AFTER_REFUSAL)))
    except RemoteUnavailable:
        # The API that knows the URL is there, and may answer soon.
        return (yield from client.locate(SECONDS_AFTER_REFUSAL))


def remote_of(arguments: argparse.Namespace, *, ends: float | None = None) -> Remote:
    """The deployment that ``--url`` or ``--conn-id`` names. :param ends: as of :class:`Remote`."""
    quiet(verbose=arguments.verbose)
    if arguments.url is not None:
        if arguments.conn_id:
            raise InvalidSettings("Give only one of --url and --conn-id.")
        url = arguments.url
        return Remote(lambda: settings_of_url(url, os.environ), without_connection)
    return remote_of_connection(arguments.conn_id or CONN_ID, ends=ends)


def remote_of_connection(conn_id: str, *, ends: float | None = None) -> Remote:
    """
    The deployment of an Airflow connection: ``AIRFLOW_CONN_…`` of the environment, else as Airflow finds it.

    :param ends: as of :class:`Remote`.
    """
    return Remote(lambda: settings_of_connection(conn_id), ends=ends)


def without_connection(text: str) -> str:
    """A text about a deployment that ``--url`` names, which comes from a module that knows only connections."""
    for pattern, instead in WITHOUT_CONNECTION.items():
        text = re.sub(pattern, instead, text, flags=re.IGNORECASE)
    return text


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
