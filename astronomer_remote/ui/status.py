"""Whether remote deployments answer: polled seldom, whatever the number of those who look at the page."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.outages import Outage
from astronomer_remote.api.client.retry import SECONDS_BETWEEN_LOGINS, RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.dialects.base import Dialect
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    InvalidSettings,
    PermanentError,
    RemoteError,
    RemoteUnavailable,
    TransientError,
    UnexpectedReply,
    Unreachable,
)
from astronomer_remote.api.protocol.flow import Flow, Request, TransportError
from astronomer_remote.api.protocol.models import Generation
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure, run_once
from astronomer_remote.compat import connection_of_a_command, connection_parts, mask_secret
from astronomer_remote.get_provider_info import CONNECTION_TYPE
from astronomer_remote.ui.workers import Workers

if TYPE_CHECKING:
    from requests import Session

SECONDS_BETWEEN_POLLS = 30.0
"""At least this long for each request of a poll that failed."""

LONGEST_RETRY_AFTER = 300.0
"""How long a deployment can delay the next poll by ``Retry-After``."""

SECONDS_PER_POLL = 10.0
"""How long one poll may take."""

SECONDS_TO_CONNECT = 4.0

SECONDS_PER_CLIENT = 3600.0
"""After this time the version is read again."""

MOST_CONNECTIONS = 1000
"""Connections whose status is kept in memory."""

SECONDS_UNUSED = 300.0
"""After this time without a request, a status may be dropped in favour of another one."""

SECONDS_WHILE_POLLING = 1.0
"""When to read a status again whose poll is under way."""

THREADS = 16
"""Deployments that are polled at the same time."""

LINES = {Generation.EXPERIMENTAL: "1.10", Generation.V1: "2", Generation.V2: "3"}
"""What is known of the version if the deployment does not show it."""

URL = re.compile(r"(?:\bhttps?:)?//[^\s'\"<>()]+[^\s'\"<>().,:;]", re.IGNORECASE)

T = TypeVar("T")


class State(str, Enum):
    """What is known of a deployment; the page has a label for each."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    NO_PERMISSION = "no_permission"
    LOGIN_REFUSED = "login_refused"
    HIBERNATING = "hibernating"
    UNAVAILABLE = "unavailable"
    UNREACHABLE = "unreachable"
    UNEXPECTED_REPLY = "unexpected_reply"
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


class UnreadableConnection(Exception):
    """There may be one, but its values cannot be read."""


class TooManyConnections(Exception):
    """There are already :data:`MOST_CONNECTIONS` whose status is read."""


def parts_of(conn_id: str) -> dict[str, Any]:
    """
    Values of a connection, from wherever Airflow keeps it.

    :raises NoSuchConnection: if there is none, or it is of another type.
    :raises UnreadableConnection: if reading it fails.
    """
    # A secrets backend raises what it likes, and its text may hold a secret.
    try:
        connection = connection_of_a_command(conn_id)
    except AirflowNotFoundException:
        raise NoSuchConnection(conn_id) from None
    except Exception as error:  # noqa: BLE001  # whatever it is
        raise UnreadableConnection(type(error).__name__) from None
    if connection.conn_type != CONNECTION_TYPE:
        raise NoSuchConnection(conn_id)
    try:
        return connection_parts(connection)
    except Exception as error:  # noqa: BLE001  # whatever it is
        raise UnreadableConnection(type(error).__name__) from None


class Remote:
    """
    Polls the deployment of one connection.

    In turn, a poll proves that the login works and reads the health of the components: one request. The first one also
    detects the version and logs in.

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
        self._is_first = True
        self._has_failed = False
        self._shows_health = True
        self._reads_health = False
        self._airflow: str | None = None
        self._components: dict[str, str | None] = {}
        self._denied: str | None = None
        self._refused: tuple[Settings, float, Status] | None = None
        self._requests = 0
        self.pause = SECONDS_BETWEEN_POLLS
        """Seconds from the beginning of the last poll to the next one."""

    def poll(self) -> Status:
        """
        Send one request, or a few.

        :raises NoSuchConnection: if there is no such connection any more.
        """
        self.pause, self._requests = SECONDS_BETWEEN_POLLS, 0
        hosts: set[str] = set()
        try:
            parts = self._read()
            hosts = _hosts(parts.get("host"))
            # Opening a page changes no deployment.
            given = replace(Settings.parse(**parts), read_only=True)
        except UnreadableConnection as error:
            self._forget()
            return Status(State.MISCONFIGURED, f"The connection could not be read ({error}).")
        except InvalidSettings as error:
            self._forget()
            return Status(State.MISCONFIGURED, _without(hosts, error.message))
        if self._refused and self._refused[0] == given and self._clock() < self._refused[1]:
            return self._refused[2]
        self._refused = None
        # A host that does not accept connections holds up the others.
        settings = replace(given, connect_timeout=min(given.connect_timeout, SECONDS_TO_CONNECT))
        try:
            self._run(self._located(settings))
        except RemoteError as error:
            for each in (settings, self._settings or settings):
                hosts |= _hosts(each.base_url) | _hosts(each.proxy)
            return self._failed(given, error, hosts)
        state = State.HEALTHY
        if self._denied:
            state = State.NO_PERMISSION
        elif any(each not in (None, "healthy") for each in self._components.values()):
            state = State.UNHEALTHY
        return Status(state, self._denied and _without(hosts, self._denied), self._airflow, self._components)

    def _located(self, settings: Settings) -> Settings:
        """The settings with the deployment's URL, which some logins look up; what they find is kept for minutes."""
        if settings.base_url:
            return settings
        flow = Client(settings, retry=RetryPolicy(attempts=1)).locate()
        return run_once(flow, settings, total_seconds=SECONDS_PER_POLL)

    def _run(self, settings: Settings) -> None:
        if settings != self._settings or self._deployment is None or self._clock() > self._since + SECONDS_PER_CLIENT:
            from requests import Session

            if settings != self._settings:
                self._airflow = None
            self._forget()
            for value in settings.secrets:
                mask_secret(value)
            self._settings, self._since, self._is_first = settings, self._clock(), True
            # A failure is what the page has to show, at once; that a person opens it is no reason to wake a deployment.
            self._deployment = Deployment(settings, retry=RetryPolicy(attempts=1, wakes=False))
            self._session = configure(Session(), settings)
        assert self._session is not None  # noqa: S101  # made with the deployment
        driver = SyncDriver(self._session, settings, reload=lambda: settings, total_seconds=SECONDS_PER_POLL)
        driver.run(self._counted(self._flow(self._deployment.client)))

    def _counted(self, flow: Flow[T]) -> Flow[T]:
        """Run a flow, and count its requests."""
        try:
            step = next(flow)
            while True:
                self._requests += isinstance(step, Request)
                try:
                    outcome = yield step
                except TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(outcome)
        except StopIteration as end:
            found: T = end.value
            return found
        finally:
            flow.close()

    def _flow(self, client: Client) -> Flow[None]:
        dialect = yield from client.dialect()
        number = str(dialect.version) if dialect.version else LINES[dialect.generation]
        self._airflow = untrusted.readable(client.redact(f"Airflow {number}"))
        if self._is_first or not self._reads_health:
            yield from self._prove(client, dialect)
        if self._shows_health and (self._is_first or self._reads_health):
            try:
                health = yield from client.request(dialect.health())
                self._components = {
                    untrusted.readable(client.redact(name)): untrusted.name(state)
                    for name, state in health.components.items()
                }
            except Unreachable:
                raise
            except RemoteError:
                # Some gateways do not let it through, whatever they reply.
                if not self._is_first:
                    yield from self._prove(client, dialect)
                self._shows_health, self._components = False, {}
        if self._has_failed and not self._is_first:
            # It may have come back as another version, which the next poll finds out.
            self._since = -math.inf
        self._reads_health = self._shows_health and not self._reads_health
        self._is_first = self._has_failed = False

    def _prove(self, client: Client, dialect: Dialect) -> Flow[None]:
        self._denied = None
        try:
            yield from client.request(dialect.proof())
        except AccessDenied as error:
            self._denied = error.message

    def _failed(self, given: Settings, error: RemoteError, hosts: set[str]) -> Status:
        self._has_failed = True
        outage = Outage.of(given)
        kind = State.UNREACHABLE
        if isinstance(error, AuthenticationFailed):
            kind = State.LOGIN_REFUSED
        elif outage and outage.hibernates and isinstance(error, TransientError):
            kind = State.HIBERNATING
        elif isinstance(error, RemoteUnavailable):
            kind = State.UNAVAILABLE
        elif isinstance(error, PermanentError):
            kind = State.MISCONFIGURED
        elif isinstance(error, UnexpectedReply):
            kind = State.UNEXPECTED_REPLY
        status = Status(kind, _without(hosts, error.message), self._airflow)
        self.pause = SECONDS_BETWEEN_POLLS * max(1, self._requests)
        if isinstance(error, RemoteUnavailable) and error.retry_after:
            self.pause = max(self.pause, min(error.retry_after, LONGEST_RETRY_AFTER))
        if kind is State.LOGIN_REFUSED:
            self._refused = given, self._clock() + SECONDS_BETWEEN_LOGINS, status
            self._forget()
        return status

    def _forget(self) -> None:
        """Begin again with the next poll; what is known of the version stays until then."""
        if self._session is not None:
            self._session.close()
        self._settings = self._deployment = self._session = self._denied = None
        self._components = {}
        self._reads_health, self._shows_health = False, True


@dataclass
class _Entry:
    """
    :param used: when a status was last requested.
    :param began: when the last poll began that has ended.
    :param next_poll: when the next poll may begin.
    :param poll: the one that is under way.
    :param last: the one before it.
    """

    remote: Remote
    used: float
    began: float = 0.0
    next_poll: float = -math.inf
    poll: Future[Status] | None = None
    last: Future[Status] | None = None


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
        self._workers = Workers(THREADS, "remote deployments")

    def of(self, conn_id: str) -> Future[Status]:
        """
        The newest status; before there is one, the one that is being read. Does not block.

        :return: may raise :class:`NoSuchConnection`.
        :raises TooManyConnections: if there is no room for one more.
        """
        with self._lock:
            now = self._clock()
            entry = self._entries.pop(conn_id, None)
            if entry is None:
                self._make_room(now)
                entry = _Entry(Remote(lambda: self._read_connection(conn_id), self._clock), now)
            entry.used = now
            # The one that was used last is the last to be dropped.
            self._entries[conn_id] = entry
            if entry.poll is None and now >= entry.next_poll:
                entry.poll = self._workers.submit(lambda: self._poll(conn_id, entry))
            found = entry.last or entry.poll
            assert found is not None  # noqa: S101  # the first poll is under way at least
            return found

    def times(self, conn_id: str) -> tuple[float, float | None]:
        """In how many seconds to read a status again, and how many seconds ago its poll began."""
        with self._lock:
            now, entry = self._clock(), self._entries.get(conn_id)
            if entry is None or entry.last is None:
                return SECONDS_WHILE_POLLING, None
            until = SECONDS_WHILE_POLLING if entry.poll else max(0.0, entry.next_poll - now)
            return until, now - entry.began

    def _make_room(self, now: float) -> None:
        if len(self._entries) >= MOST_CONNECTIONS:
            oldest, entry = next(iter(self._entries.items()))
            if entry.poll is not None or now < entry.used + SECONDS_UNUSED:
                raise TooManyConnections
            del self._entries[oldest]

    def _poll(self, conn_id: str, entry: _Entry) -> Status:
        began = self._clock()
        try:
            return entry.remote.poll()
        except NoSuchConnection:
            # It takes no room, and is read again when it is requested again.
            with self._lock:
                self._entries.pop(conn_id, None)
            raise
        finally:
            with self._lock:
                entry.last, entry.poll, entry.began = entry.poll, None, began
                entry.next_poll = began + entry.remote.pause


def _hosts(url: str | None) -> set[str]:
    """What names a host in a URL: its host with and without the port, as it is written and in lower case."""
    text = (url or "").strip().rstrip("/")
    found = {text}
    with suppress(ValueError):
        parts = urlsplit(text if "//" in text else f"//{text}")
        found |= {parts.netloc, parts.netloc.rpartition("@")[2].partition(":")[0], parts.hostname or ""}
    return {each for each in found if each}


def _without(hosts: set[str], text: str) -> str:
    """
    The text without hosts: a connection from the environment is not part of the UI.

    Who may see the connection sees its host next to it.
    """
    # Also such as the one that the Astro API returned, where a token comes from, or where a redirect leads to.
    text = URL.sub("(host)", text)
    for each in sorted(hosts, key=len, reverse=True):
        text = re.sub(rf"(?<![\w.-]){re.escape(each)}(?![\w-])", "(host)", text)
    return text
