"""What a deployment is and what the account may do: a few sentences for the Test button, or all of it as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar
from uuid import uuid4

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.dialects.base import Dialect, Operation
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    Conflict,
    NotFound,
    NotSupported,
    RemoteError,
    RequestRefused,
    TransientError,
)
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEventIntent,
    AssetRef,
    DagRun,
    Generation,
    TaskInstance,
    TriggerIntent,
    utc_text_of,
)

T = TypeVar("T")

LONGEST = 2000
"""Characters that are shown."""

LATENCY_REQUESTS = 3
"""How many requests the latency is measured with; the fastest counts."""

YES, NO, UNKNOWN, UNSUPPORTED = "yes", "no", "unknown", "not supported"


@dataclass(frozen=True)
class Checkup:
    """
    What is known of a deployment and an account.

    :param url: URL of the deployment.
    :param airflow: its Airflow.
    :param api: its API.
    :param login: who requests are sent as, if that is known.
    :param read_only: whether the connection is ``read_only``.
    :param latency_ms: milliseconds of the fastest of a few small requests, connected and logged in.
    :param clock_skew_seconds: by how much the remote's clock is ahead, to a second.
    :param maximum_page_limit: entries of a page at most, if the account may read the configuration.
    :param health: state of each component; ``None`` if it could not be read.
    :param may: whether the account may do something: ``yes``, ``no``, ``unknown`` or ``not supported``.
    """

    url: str
    airflow: str
    api: str
    login: str | None
    read_only: bool
    latency_ms: float
    clock_skew_seconds: float
    maximum_page_limit: str | None
    health: Mapping[str, str | None] | None
    may: Mapping[str, str]

    @property
    def is_healthy(self) -> bool:
        """Whether the health could be read, and every component that reports its state is healthy."""
        return self.health is not None and all(state in (None, "healthy") for state in self.health.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


class ConnectionTest:
    """Reads what a deployment is and what the account may do, and changes nothing."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def report(self) -> Flow[str]:
        """
        A few sentences on the remote.

        :raises RemoteError: if nothing is, or the login does not work.
        """
        dialect = yield from self._client.dialect()
        settings = self._client.settings
        may_read = yield from self.may(dialect.proof())
        rights = yield from self._rights(dialect, may_read=may_read)
        health = yield from self._health(dialect)
        account = self._client.account
        who = f" as {account}" if account else " with the token or key" if settings.password else ""
        label = self._client.redact(dialect.label)
        only = " The connection is read_only." if settings.read_only else ""
        astro = yield from self._client.astro_status()
        return untrusted.readable(
            f"{astro}{label} at {settings.base_url} answers{who}.{only} {rights} {health}", LONGEST
        )

    def examine(self) -> Flow[Checkup]:
        """
        All that the replies show, in about twenty requests; changes nothing.

        :raises RemoteError: if there is no Airflow, or the login does not work.
        """
        client = self._client
        dialect = yield from client.dialect()
        # The first one may log in.
        may_read = yield from self.may(dialect.proof())
        latencies = []
        for _ in range(LATENCY_REQUESTS):
            began = client.clock()
            yield from self.may(dialect.proof())
            latencies.append(client.clock() - began)
        may = {"read DAGs": _word(may_read)}
        for name, operation in self._operations(dialect).items():
            may[name] = yield from self._tried(operation)
        health = yield from self._shown(dialect.health)
        config = yield from self._shown(dialect.config)
        return Checkup(
            url=client.settings.base_url,
            airflow=untrusted.readable(client.redact(dialect.label)),
            api=dialect.generation.value,
            login=client.account,
            read_only=client.settings.read_only,
            latency_ms=round(1000 * min(latencies), 1),
            # The remote sends its time in whole seconds, cut off.
            clock_skew_seconds=round(client.remote_clock() - client.clock() + 0.5),
            maximum_page_limit=(config or {}).get("api", {}).get("maximum_page_limit"),
            health={client.redact(name): state for name, state in health.components.items()} if health else None,
            may=may,
        )

    def _operations(self, dialect: Dialect) -> dict[str, Callable[[], Operation[Any]]]:
        """One request for each permission, about what certainly does not exist: it changes nothing."""
        nobody = f"astronomer_remote_test_{uuid4()}"
        run, instance = DagRun(nobody, nobody, logical_date="2000-01-01T00:00:00Z"), TaskInstance(nobody, try_number=1)
        now = utc_text_of(self._client.clock())
        event = AssetEventIntent(AssetRef(uri=nobody), nobody)
        reads: dict[str, Callable[[], Operation[Any]]] = {
            "read DAG runs": lambda: dialect.dag_run(nobody, nobody),
            "read task instances": lambda: dialect.task_instances(run, limit=1),
            "read task logs": lambda: dialect.task_log(run, instance, lines=1),
            "read XComs": lambda: dialect.xcom(nobody, nobody, nobody, "return_value", -1),
            "list the runs that ended in several DAGs": lambda: dialect.ended_runs(
                [nobody], since=now, bound=now, limit=1
            ),
            "list the tasks that ended in several runs": lambda: dialect.ended_tasks(
                [nobody], [nobody], since=now, limit=1
            ),
            "read pools": lambda: dialect.pools(limit=1),
            "read assets": lambda: dialect.assets(limit=1),
            "read the configuration": dialect.config,
        }
        if dialect.generation is Generation.EXPERIMENTAL:
            # It knows no accounts, and answers some requests about what does not exist with an error page.
            return reads
        return {
            **reads,
            "trigger": lambda: dialect.trigger(TriggerIntent(nobody, nobody)),
            "cancel DAG runs": lambda: dialect.set_run_state(nobody, nobody, "failed"),
            "clear DAG runs": lambda: dialect.clear_run(run, only_failed=False),
            "delete DAG runs": lambda: dialect.delete_run(nobody, nobody),
            "pause DAGs": lambda: dialect.set_paused(nobody, paused=True),
            "write pools": lambda: dialect.delete_pool(nobody),
            "register asset events": lambda: dialect.create_asset_event(Asset(0, nobody), event),
        }

    def _shown(self, operation: Callable[[], Operation[T]]) -> Flow[T | None]:
        try:
            return (yield from self._client.request_or_none(operation))
        except TransientError:
            return None

    def _tried(self, operation: Callable[[], Operation[Any]]) -> Flow[str]:
        try:
            return _word((yield from self.may(operation())))
        except NotSupported:
            return UNSUPPORTED
        except RemoteError:
            return UNKNOWN

    def _rights(self, dialect: Dialect, *, may_read: bool | None) -> Flow[str]:
        if dialect.generation is Generation.EXPERIMENTAL:
            allowed = "reading" if self._client.settings.read_only else "everything it offers"
            return f"Its API knows no accounts: {allowed} is allowed."
        # What certainly does not exist gets a 403 for an account without the permission, and a 404 for others.
        nobody = f"astronomer_remote_test_{uuid4()}"
        operations: dict[str, Callable[[], Operation[Any]]] = {
            "trigger": lambda: dialect.trigger(TriggerIntent(nobody, nobody)),
            "read pools": lambda: dialect.pools(limit=1),
            "write pools": lambda: dialect.delete_pool(nobody),
        }
        found: dict[str, bool | None] = {"read DAGs": may_read}
        for name, operation in operations.items():
            found[name] = yield from self.may(operation())
        openings = {True: "The account may", False: "It may not", None: "It is unknown whether it may"}
        sentences = {each: [name for name, may in found.items() if may is each] for each in openings}
        return " ".join(f"{openings[each]} {', '.join(names)}." for each, names in sentences.items() if names)

    def may(self, operation: Operation[Any]) -> Flow[bool | None]:
        """Whether the account may do something; ``None`` if the reply does not show it."""
        try:
            yield from self._client.request(operation)
        except AccessDenied:
            return False
        except NotFound:
            return True
        except (Conflict, RequestRefused):
            return None
        return True

    def _health(self, dialect: Dialect) -> Flow[str]:
        try:
            health = yield from self._client.request(dialect.health())
        except RemoteError as error:
            return f"Its health could not be read ({error.message})"
        openings = ", ".join(f"{name} is {status}" for name, status in health.components.items() if status)
        return f"Its {self._client.redact(openings)}."


def _word(may: bool | None) -> str:
    return {True: YES, False: NO, None: UNKNOWN}[may]
