"""Whether remote deployments answer: polled seldom, whatever the number of those who look at the page."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    InvalidSettings,
    PermanentError,
    RemoteError,
    RemoteUnavailable,
)
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import Generation
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure
from astronomer_remote.compat import connection_of_a_command, connection_parts, mask_secret
from astronomer_remote.get_provider_info import CONNECTION_TYPE

if TYPE_CHECKING:
    from requests import Session

SECONDS_BETWEEN_POLLS = 30.0

SECONDS_AFTER_REFUSAL = 300.0
"""Between two attempts to log in with what was refused: a server may lock an account that fails often."""

SECONDS_PER_POLL = 10.0
"""How long one poll may take."""

SECONDS_PER_CLIENT = 3600.0
"""After this time the version is read again."""

MOST_CONNECTIONS = 500
"""Connections whose status is kept in memory."""

LINES = {Generation.EXPERIMENTAL: "1.10", Generation.V1: "2", Generation.V2: "3"}
"""What is known of the version if the deployment does not show it."""

THREADS = 4
"""Deployments that are polled at the same time."""


class State(str, Enum):
    """What is known of a deployment; the page has a label for each."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    NO_PERMISSION = "no_permission"
    LOGIN_REFUSED = "login_refused"
    UNAVAILABLE = "unavailable"
    UNREACHABLE = "unreachable"
    MISCONFIGURED = "misconfigured"


@dataclass(frozen=True)
class Status:
    """
    What the last poll found.

    :param problem: what is wrong and what to do, without the deployment's host.
    :param airflow: its Airflow, as far as a poll has seen it.
    :param components: state of each component, as the deployment reports it; empty if it could not be read.
    """

    state: State
    problem: str | None = None
    airflow: str | None = None
    components: dict[str, str | None] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


class NoSuchConnection(Exception):
    """There is no connection of this id and type."""


def parts_of(conn_id: str) -> dict[str, Any]:
    """
    Values of a connection, from wherever Airflow keeps it.

    :raises NoSuchConnection: if there is none, or it is of another type.
    """
    try:
        connection = connection_of_a_command(conn_id)
    except Exception as error:  # a secrets backend raises what it likes, and its text may hold a secret
        raise NoSuchConnection(conn_id) from error
    if connection.conn_type != CONNECTION_TYPE:
        raise NoSuchConnection(conn_id)
    return connection_parts(connection)


class Remote:
    """
    Polls the deployment of one connection.

    In turn, a poll proves that the login works and reads the health of the components: one request. The first one, and
    one after a failure, does both, detects the version and logs in.

    :param read: reads the connection, before each poll.
    :param clock: seconds.
    """

    def __init__(self, read: Callable[[], dict[str, Any]], clock: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._clock = clock
        self._settings: Settings | None = None
        self._deployment: Deployment | None = None
        self._session: Session | None = None
        self._since = 0.0
        self._reads_health = False
        self._airflow: str | None = None
        self._components: dict[str, str | None] = {}
        self._denied: str | None = None
        self._refused: tuple[Settings, float, Status] | None = None

    def poll(self) -> Status:
        """
        Send one request, or a few.

        :raises NoSuchConnection: if there is no such connection any more.
        """
        parts = self._read()
        hosts = _hosts(parts.get("host"))
        try:
            settings = Settings.parse(**parts)
        except InvalidSettings as error:
            self._forget()
            return Status(State.MISCONFIGURED, _without(hosts, error.message))
        if self._refused and self._refused[0] == settings and self._clock() < self._refused[1]:
            return self._refused[2]
        self._refused = None
        try:
            self._run(settings)
        except RemoteError as error:
            return self._failed(settings, error, hosts | _hosts(settings.base_url) | _hosts(settings.proxy))
        state = State.HEALTHY
        if self._denied:
            state = State.NO_PERMISSION
        elif any(each not in (None, "healthy") for each in self._components.values()):
            state = State.UNHEALTHY
        return Status(state, self._denied, self._airflow, self._components)

    def _run(self, settings: Settings) -> None:
        if settings != self._settings or self._deployment is None or self._clock() > self._since + SECONDS_PER_CLIENT:
            from requests import Session

            self._forget()
            for value in settings.secrets:
                mask_secret(value)
            self._settings, self._since = settings, self._clock()
            # A failure is what the page has to show, at once.
            self._deployment = Deployment(settings, retry=RetryPolicy(attempts=1, wakes=False))
            self._session = configure(Session(), settings)
        assert self._session is not None  # noqa: S101  # made with the deployment
        driver = SyncDriver(self._session, settings, reload=lambda: settings, total_seconds=SECONDS_PER_POLL)
        driver.run(self._flow(self._deployment))

    def _flow(self, deployment: Deployment) -> Flow[None]:
        client = deployment.client
        dialect = yield from client.dialect()
        is_first = self._airflow is None
        number = str(dialect.version) if dialect.version else LINES[dialect.generation]
        self._airflow = untrusted.readable(client.redact(f"Airflow {number}"))
        if is_first or not self._reads_health:
            self._denied = None
            try:
                yield from client.request(dialect.proof())
            except AccessDenied as error:
                self._denied = error.message
        if is_first or self._reads_health:
            try:
                health = yield from client.request(dialect.health())
                self._components = {
                    untrusted.readable(client.redact(name)): untrusted.name(state)
                    for name, state in health.components.items()
                }
            except PermanentError:
                # Some gateways do not let it through.
                self._components = {}
        self._reads_health = not self._reads_health

    def _failed(self, settings: Settings, error: RemoteError, hosts: set[str]) -> Status:
        airflow = self._airflow
        self._forget()
        kind = State.UNREACHABLE
        if isinstance(error, AuthenticationFailed):
            kind = State.LOGIN_REFUSED
        elif isinstance(error, RemoteUnavailable):
            kind = State.UNAVAILABLE
        elif isinstance(error, PermanentError):
            kind = State.MISCONFIGURED
        status = Status(kind, _without(hosts, error.message), airflow)
        if kind is State.LOGIN_REFUSED:
            self._refused = settings, self._clock() + SECONDS_AFTER_REFUSAL, status
        return status

    def _forget(self) -> None:
        if self._session is not None:
            self._session.close()
        self._settings = self._deployment = self._session = self._airflow = self._denied = None
        self._components = {}
        self._reads_health = False


@dataclass
class _Entry:
    remote: Remote
    future: Future[Status]
    began: float


class Statuses:
    """
    The status of each connection, polled when it is needed and at most every :data:`SECONDS_BETWEEN_POLLS`.

    :param read: reads a connection by its id, see :func:`parts_of`.
    :param clock: seconds.
    """

    def __init__(
        self,
        read: Callable[[str], dict[str, Any]] = parts_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_connection = read
        self._clock = clock
        self._lock = Lock()
        self._entries: dict[str, _Entry] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="remote deployments")

    def of(self, conn_id: str) -> tuple[Future[Status], float]:
        """
        The newest status, or the one that is being read. Does not block.

        :return: the status, and in how many seconds the next poll may begin.
        """
        with self._lock:
            now = self._clock()
            entry = self._entries.pop(conn_id, None)
            if entry is None or (entry.future.done() and now >= entry.began + SECONDS_BETWEEN_POLLS):
                remote = entry.remote if entry else Remote(lambda: self._read_connection(conn_id), self._clock)
                entry = _Entry(remote, self._threads.submit(remote.poll), now)
            # The one that was used last is the last to be dropped.
            self._entries[conn_id] = entry
            if len(self._entries) > MOST_CONNECTIONS:
                del self._entries[next(iter(self._entries))]
            return entry.future, max(0.0, entry.began + SECONDS_BETWEEN_POLLS - now)


def _hosts(url: str | None) -> set[str]:
    """What names a host in a URL: the URL, its host with the port, and its host."""
    text = (url or "").strip().rstrip("/")
    found = {text}
    with suppress(ValueError):
        parts = urlsplit(text if "//" in text else f"//{text}")
        found |= {parts.netloc, parts.hostname or ""}
    return {each for each in found if each}


def _without(hosts: set[str], text: str) -> str:
    """
    The text without hosts: a connection from the environment is not part of the UI.

    Who may see the connection sees its host next to it.
    """
    for each in sorted(hosts, key=len, reverse=True):
        text = text.replace(each, "(host)")
    return text
