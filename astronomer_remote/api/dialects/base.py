"""The operations of a dialect. What a generation cannot do fails here with a clear error, before any request."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Generic, NoReturn, TypeVar

from astronomer_remote.api.dialects.logs import LogPart
from astronomer_remote.api.protocol.errors import InvalidSettings, NotFound, NotSupported, RemoteError
from astronomer_remote.api.protocol.flow import Request, path
from astronomer_remote.api.protocol.ids import stays_below
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEvent,
    AssetEventIntent,
    Dag,
    DagRun,
    DatedRun,
    Generation,
    Health,
    ImportFailure,
    Pool,
    TaskInstance,
    TriggerIntent,
    Version,
)
from astronomer_remote.api.protocol.pool_changes import PoolChange, PoolsChanged

T = TypeVar("T")
U = TypeVar("U")

LONGEST_REASON = 200
"""Characters that are repeated of what is wrong with an entry of a listing."""

PAGE = 100
"""Entries of a page: the most that Airflow returns by default (``[api] maximum_page_limit``)."""


MOST_COMPONENTS = 20
"""Components of a deployment whose health is shown; Airflow has five."""

UNREADABLE = (LookupError, TypeError, AttributeError, ValueError, OverflowError, RecursionError)
"""What reading a reply raises that is not what Airflow sends."""

NOT_IN_A_URL = re.compile(r"[^A-Za-z0-9_.~%:/?@!$&'()*+,;=-]")
"""Characters that a URL cannot hold unless they are quoted."""


@dataclass(frozen=True)
class Operation(Generic[T]):
    """
    One request and how its reply is read.

    :param request: what to send.
    :param read: turns the reply's JSON into a model.
    :param action: what it does, as an error puts it: "Could not <operation>".
    :param least_role: the least of Airflow's own roles that may do it.
    :param missing: the error for a reply that says there is no such thing.
    :param missing_status: the HTTP status that says so.
    :param hint: what to do if the remote refuses it to every account.
    :param text: whether the reply is not JSON: ``read`` gets its bytes.
    :param unread: names of fields of the reply that ``read`` does not look at; large ones are not even parsed.
    """

    request: Request
    read: Callable[[Any], T]
    action: str
    least_role: str | None = None
    missing: type[NotFound] = NotFound
    missing_status: int = 404
    hint: str = ""
    text: bool = False
    unread: Collection[str] = ()

    def reading(self, read: Callable[[Any], U], action: str | None = None) -> Operation[U]:
        """The same request, with another reader of its reply."""
        return Operation(
            self.request,
            read,
            action or self.action,
            self.least_role,
            self.missing,
            self.missing_status,
            self.hint,
            self.text,
            self.unread,
        )

    def once(self) -> Operation[T]:
        """The same without retries, for a caller that can do without the reply or retries by itself."""
        return replace(self, request=replace(self.request, once=True))

    def only_at(self, base_url: str) -> Operation[T]:
        """The same for one deployment: it contains numbers that mean something else in another one."""
        return replace(self, request=replace(self.request, only_at=base_url))


@dataclass(frozen=True)
class Page(Generic[T]):
    """
    Part of a listing.

    :param items: those that could be read.
    :param total: length of the whole listing.
    :param unreadable: what is wrong with each of the others.
    """

    items: list[T]
    total: int
    unreadable: Sequence[str] = ()

    @property
    def entries(self) -> int:
        """How many entries came."""
        return len(self.items) + len(self.unreadable)


class Dialect(ABC):
    """
    The requests of one generation, for one version of it.

    :param base_url: URL of the deployment.
    :param version: the remote's version; ``None`` on 1.10, which does not report it.
    """

    generation: Generation

    lists_task_instances = True
    """Whether one request lists the task instances of a run."""

    lists_ended_runs = True
    """Whether one request lists what ended in several DAGs."""

    lists_ended_tasks = True
    """Whether one request lists the tasks that ended in several runs."""

    orders_runs = True
    """Whether a listing of runs can begin with the newest."""

    breaks_on_tasks_of_triggered_dag = False
    """Whether the tasks of a DAG can no longer be listed once it was triggered with a conf, which Airflow 2.2 takes
    over into its params."""

    breaks_on_refused_conf = False
    """Whether a conf that a DAG's params reject returns an error page of status 500 instead of a reason."""

    breaks_on_log_tokens = False
    """Whether a log that is to be continued returns an error page of status 500."""

    breaks_on_pause_of_unknown_dag = False
    """Whether reading the pause of an unknown DAG returns an error page instead of a 404."""

    distinguishes_bad_credentials = True
    """Whether wrong credentials and a missing permission get different replies."""

    needs_logical_date = True
    """Whether every run has a logical date. One that is chosen here cannot collide for long, and shows whose it is."""

    overwrites_pools = False
    """Whether the request that creates a pool changes one that is there already."""

    has_data_intervals = True
    """Whether the remote shows the data interval of a DAG run."""
    has_typed_xcoms = True
    """Whether XCom values come with their types, rather than as Python's text form of them."""

    accepts_notes = True
    """Whether a run can be given a note when it is triggered."""

    has_pool_usage = True
    """Whether the occupied and open slots of a pool are shown."""

    names_assets = False
    """Whether assets have a name besides their URI."""

    materializes_with_body = False
    """Whether the request that materializes an asset takes a run id and a conf."""

    selects_fields = False
    """Whether a run can be read without its conf and note: with ``fields``, which only Airflow 2.9 to 2.11 take."""

    waiting_states: frozenset[str] = frozenset({"queued"})
    """States of a run that has not begun."""

    def __init__(self, base_url: str, version: Version | None) -> None:
        self.base_url = base_url
        self.version = version

    @property
    def label(self) -> str:
        """What errors call the remote."""
        return f"Airflow {self.version}" if self.version else self.generation.label

    @property
    def prefix(self) -> str:
        """Path of the API."""
        return f"/api/{self.generation.value}"

    def cannot(self, action: str, instead: str = "") -> NotSupported:
        """The error for an operation that the remote does not have."""
        return NotSupported(f"{self.label} cannot {action}.{f' {instead}' if instead else ''}")

    def says_it_exists(self, error: RemoteError) -> bool:
        """Whether the refusal of a trigger means that there is such a run already."""
        return error.status == 409

    def _refuse(self, action: str) -> NoReturn:
        raise self.cannot(action)

    # Runs

    @abstractmethod
    def trigger(self, intent: TriggerIntent) -> Operation[DagRun]:
        """Make a DAG run."""

    @abstractmethod
    def dag_run(self, dag_id: str, run_id: str, *, bare: bool = False) -> Operation[DagRun]:
        """Read one DAG run. :param bare: without its conf and note, which may be many megabytes."""

    @abstractmethod
    def dag_runs(
        self,
        dag_id: str,
        *,
        logical_date: str | None = None,
        newest_first: bool = False,
        due_by: str | None = None,
        bare: bool = False,
        limit: int = PAGE,
        offset: int = 0,
    ) -> Operation[Page[DagRun]]:
        """
        List DAG runs of a DAG, those of one logical date if it is given.

        :param due_by: without those that are to run later, as far as the remote can leave them out.
        :param bare: without their confs and notes.
        """

    @abstractmethod
    def runs_near(
        self, dag_id: str, date: str, *, earlier: bool, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[DatedRun]]:
        """List the runs of a DAG that are dated up to a date, or from it on, the nearest first, without their confs."""

    def ended_runs(
        self, dag_ids: Sequence[str], *, since: str, bound: str, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[DagRun]]:
        """
        List the runs of several DAGs that ended since a moment, without their confs and notes.

        :param bound: no expected run has an earlier date; it lets the remote's database use an index.
        """
        self._refuse("list the runs that ended")

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> Operation[DagRun]:
        """Set a DAG run to ``success`` or ``failed``, which ends its tasks."""
        self._refuse("cancel a DAG run" if state == "failed" else "set the state of a DAG run")

    def set_run_note(self, dag_id: str, run_id: str, note: str) -> Operation[None]:
        """Give a DAG run another note."""
        self._refuse("change the note of a DAG run")

    def clear_run(self, run: DagRun, *, only_failed: bool) -> Operation[None]:
        """Let a DAG run, or only its failed tasks, run again."""
        self._refuse("clear a DAG run")

    def delete_run(self, dag_id: str, run_id: str) -> Operation[None]:
        """Delete a DAG run."""
        self._refuse("delete a DAG run")

    @abstractmethod
    def run_url(self, run: DagRun) -> str:
        """Page of a run in the remote's UI."""

    # DAGs and tasks

    @abstractmethod
    def dag(self, dag_id: str) -> Operation[Dag]:
        """Read one DAG."""

    def dags(self, *, limit: int = PAGE, offset: int = 0) -> Operation[Page[Dag]]:
        """List the DAGs that are in a DAG file."""
        self._refuse("list DAGs")

    def dag_params(self, dag_id: str) -> Operation[Mapping[str, Any]]:
        """Read the params of a DAG, each with its value and schema."""
        self._refuse("read the params of a DAG")

    @abstractmethod
    def is_paused(self, dag_id: str) -> Operation[bool]:
        """Read whether a DAG is paused."""

    @abstractmethod
    def set_paused(self, dag_id: str, *, paused: bool) -> Operation[None]:
        """Pause or unpause a DAG."""

    def import_failures(self, *, limit: int = PAGE, offset: int = 0) -> Operation[Page[ImportFailure]]:
        """List the DAG files that the remote could not parse."""
        self._refuse("list import errors")

    @abstractmethod
    def task(self, dag_id: str, task_id: str) -> Operation[None]:
        """Read whether a DAG has a task."""

    def task_ids(self, dag_id: str) -> Operation[list[str]]:
        """List the tasks of a DAG."""
        self._refuse("list the tasks of a DAG")

    def task_instances(
        self, run: DagRun, *, state: str | None = None, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[TaskInstance]]:
        """
        List the task instances of a run, those in one state if it is given.

        :param limit: more than :data:`PAGE` only if no state is given.
        """
        self._refuse("list the task instances of a DAG run")

    def ended_tasks(
        self, dag_ids: Sequence[str], run_ids: Sequence[str], *, since: str, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[TaskInstance]]:
        """List the task instances of several runs that ended since a moment."""
        self._refuse("list the tasks that ended")

    @abstractmethod
    def task_instance(self, run: DagRun, task_id: str, map_index: int = -1) -> Operation[TaskInstance]:
        """Read the task instance of a task. :param map_index: of a mapped task, which has none without it."""

    def task_log(self, run: DagRun, instance: TaskInstance, *, lines: int) -> Operation[list[str]]:
        """Read the last lines of the log of a task instance's last try."""
        self._refuse("show the log of a task")

    def log_part(self, run: DagRun, instance: TaskInstance, token: str | None = None) -> Operation[LogPart]:
        """Read the log of a try of a task instance. :param token: continue where the reply with this token ended."""
        self._refuse("show the log of a task")

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int) -> Operation[Any]:
        """Read an XCom value."""
        self._refuse("read XComs")

    # Pools

    @abstractmethod
    def pools(self, *, limit: int = PAGE, offset: int = 0) -> Operation[Page[Pool]]:
        """List pools."""

    @abstractmethod
    def pool(self, name: str) -> Operation[Pool]:
        """Read one pool."""

    @abstractmethod
    def create_pool(self, pool: Pool) -> Operation[Pool]:
        """Create a pool."""

    @abstractmethod
    def update_pool(self, pool: Pool, changed: frozenset[str]) -> Operation[Pool]:
        """Change a pool. :param pool: as it will be. :param changed: names of the fields that differ."""

    @abstractmethod
    def delete_pool(self, name: str) -> Operation[None]:
        """Delete a pool."""

    def change_pools(self, changes: Sequence[PoolChange]) -> Operation[PoolsChanged] | None:
        """Carry out several changes at once; ``None`` where each needs a request of its own."""
        return None

    # Assets

    def assets(
        self, *, uri_pattern: str | None = None, name_pattern: str | None = None, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[Asset]]:
        """
        List assets in the order in which they were added.

        With a pattern, the total of a page may count more assets than match it.

        :param uri_pattern: only those whose URI contains this text; ``%`` and ``_`` are wildcards.
        :param name_pattern: the same for names.
        """
        self._refuse("list assets")

    def asset_events(
        self, asset: Asset | None = None, *, since: str | None = None, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[AssetEvent]]:
        """
        List asset events, newest first.

        :param asset: only those of this asset.
        :param since: without those that are older, where the remote can leave them out.
        """
        self._refuse("list asset events")

    def create_asset_event(self, asset: Asset, intent: AssetEventIntent) -> Operation[AssetEvent]:
        """Register an asset event."""
        self._refuse("register an asset event")

    # The deployment itself

    @abstractmethod
    def proof(self) -> Operation[None]:
        """A cheap read that works only with a valid login."""

    @abstractmethod
    def health(self) -> Operation[Health]:
        """Read the state of the remote's components."""

    def config(self) -> Operation[dict[str, dict[str, str]]]:
        """Read the remote's configuration, as far as it shows it."""
        self._refuse("show its configuration")

    def at(self, *segments: str) -> str:
        """Path of an endpoint, of its segments."""
        return self.prefix + path(*segments)

    def endpoint(self, endpoint: str) -> str:
        """
        Full path of an endpoint that a user wrote.

        :param endpoint: below the API (``/dags/x/dagRuns``), with the API's path, or with the deployment's URL as well.
        :raises InvalidSettings: if it leads out of the API, or is not quoted as a URL must be.
        """
        own = "/" + endpoint.strip().removeprefix(self.base_url).lstrip("/")
        way = own.partition("?")[0]
        if not stays_below(way) or "://" in way or NOT_IN_A_URL.search(own):
            raise InvalidSettings(
                f"endpoint={endpoint!r} leads out of the API or is not quoted; give it as /pools/my_pool, for example."
            )
        return own if own.startswith(f"{self.prefix}/") else self.prefix + own


class AnotherReply(ValueError):
    """The reply is not about what was requested; a proxy may mix replies up."""


def page_of(entries: Any, read: Callable[[Any], T], total: int) -> Page[T]:
    """A page of a listing; an entry that cannot be read keeps no other back. :raises AnotherReply: as `read` does."""
    if not isinstance(entries, list):
        # Of an object, every key would be an entry that cannot be read, and the listing empty.
        raise TypeError(f"a list is due, not {type(entries).__name__}")
    items: list[T] = []
    unreadable: list[str] = []
    for entry in entries:
        try:
            items.append(read(entry))
        except AnotherReply:
            raise
        except UNREADABLE as error:
            unreadable.append(ascii(f"{type(error).__name__}: {error}"[:LONGEST_REASON]))
    return Page(items, total, unreadable)


def health_of(body: Mapping[str, Any]) -> Health:
    """The health of every generation has the same shape."""
    first = islice(body.items(), MOST_COMPONENTS)
    found = {name: component.get("status") for name, component in first if isinstance(component, dict)}
    # What is neither a text nor nothing is not a state of a component.
    return Health({name: status for name, status in found.items() if status is None or isinstance(status, str)})


def nothing(_: Any) -> None:
    """Reads a reply whose body does not matter."""
