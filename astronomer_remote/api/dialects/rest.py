"""What Airflow 2's and Airflow 3's REST APIs have in common, which is most of them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from astronomer_remote.api.dialects.base import (
    PAGE,
    AnotherReply,
    Dialect,
    Operation,
    Page,
    health_of,
    nothing,
    page_of,
)
from astronomer_remote.api.dialects.logs import LogPart
from astronomer_remote.api.dialects.readers import (
    about,
    check_about,
    date_if_any,
    event_reader,
    flag,
    named,
    named_if_any,
    read_asset,
    read_dag,
    read_pool,
    read_task_instance,
    state,
    text,
    text_if_any,
    whole_number,
)
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import DagNotFound, DagRunNotFound
from astronomer_remote.api.protocol.flow import LARGEST_ENTRY, LARGEST_PAGE, LARGEST_REPLY, Request, path
from astronomer_remote.api.protocol.ids import INTENT_KEY, LONGEST_POOL_NAME, checked
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEvent,
    AssetEventIntent,
    Dag,
    DagRun,
    DatedRun,
    Health,
    ImportFailure,
    Pool,
    TaskInstance,
    TriggerIntent,
    Version,
)

T = TypeVar("T")

LONGEST_TRACE = 16 * 1024
"""Characters that are kept of the end of a stack trace, where the error is."""

BULK_OF_TASKS = ("rendered_fields", "executor_config", "note", "trigger", "triggerer_job", "dag_version")
"""Fields of a task instance that may be long, and that nothing here reads."""

BULK = ("conf", "note")
"""Fields of a run that a user may make as long as they like, and that a wait does not need."""

BARE_FIELDS = (
    *("dag_id", "dag_run_id", "state", "logical_date", "start_date", "end_date"),
    *("run_type", "data_interval_end"),
)
"""All other fields that are read of a run, for remotes that can return only some fields."""


class RestDialect(Dialect):
    """The stable REST API; subclasses hold what differs."""

    version: Version
    health_path = "/health"
    config_section = "webserver"
    """Where the remote's own configuration says whether it may be read."""
    date_field: str
    """The field of a run's logical date in requests."""
    bound_field: str
    """The field of a run's date that the remote's database has an index on."""
    newest: str
    """What to order a listing of runs by to get the newest first."""
    note_path = ""
    """Where a run's note is changed, below the run's own path."""
    asset_word: str
    """What the generation calls an asset in paths and fields."""
    creator_of_events: str
    """The least of Airflow's own roles that may register asset events."""
    slash_in_pool_names = False
    reader_of_pools = "Viewer"
    """The least of Airflow's own roles that may read pools."""
    accepts_unlimited_pools = False
    log_type: str
    """Content type in which a log comes line by line, so that its end can be found."""
    read_log: Callable[[bytes, int], list[str]]
    """Reads the last so many lines of a log in this form."""
    read_log_part: Callable[[Any], LogPart]
    """Reads a log that comes as JSON, which alone has a token to continue from its end."""

    # Runs

    def trigger(self, intent: TriggerIntent) -> Operation[DagRun]:
        body: dict[str, Any] = {
            "dag_run_id": checked(intent.run_id, "run_id"),
            "conf": dict(intent.conf),
            **self.trigger_fields(intent),
        }
        request = Request("POST", self.at("dags", checked(intent.dag_id, "dag_id"), "dagRuns"), body=body)
        read = self._reader_of_run(intent.dag_id, intent.run_id)
        return Operation(request, read, f"trigger DAG {intent.dag_id!r}", "User", DagNotFound)

    @abstractmethod
    def trigger_fields(self, intent: TriggerIntent) -> Mapping[str, Any]:
        """The fields of a trigger that not every version has."""

    def dag_run(self, dag_id: str, run_id: str, *, bare: bool = False) -> Operation[DagRun]:
        request = Request("GET", self._run_path(dag_id, run_id), self._selection(bare=bare))
        action = f"read run {run_id!r} of DAG {dag_id!r}"
        read = about(self.read_bare_run if bare else self.read_run, dag_id=dag_id, dag_run_id=run_id)
        return Operation(request, read, action, "Viewer", DagRunNotFound, unread=BULK if bare else ())

    def _selection(self, *, bare: bool) -> dict[str, Any]:
        """Limits the reply to the fields that are read, where the remote can do that."""
        return {"fields": list(BARE_FIELDS)} if bare and self.selects_fields else {}

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
        query: dict[str, Any] = {"limit": limit, "offset": offset, **self._selection(bare=bare)}
        if logical_date:
            query |= {f"{self.date_field}_gte": logical_date, f"{self.date_field}_lte": logical_date}
        if newest_first:
            query["order_by"] = self.newest
        if due_by:
            query |= self.due_query(due_by)
        request = Request("GET", self.at("dags", checked(dag_id, "dag_id"), "dagRuns"), query)
        read = about(self.read_bare_run if bare else self.read_run, dag_id=dag_id)
        listing = self._listing(request, "dag_runs", read, f"list runs of DAG {dag_id!r}")
        return replace(listing, missing=DagNotFound, unread=BULK if bare else ())

    def due_query(self, due_by: str) -> dict[str, Any]:
        """What leaves out runs that are to run later."""
        return {}

    def runs_near(
        self, dag_id: str, date: str, *, earlier: bool, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[DatedRun]]:
        query: dict[str, Any] = {"limit": limit, "offset": offset, **self._selection(bare=True)}
        query[f"{self.date_field}_{'lte' if earlier else 'gte'}"] = date
        query["order_by"] = f"-{self.date_field}" if earlier else self.date_field
        request = Request("GET", self.at("dags", checked(dag_id, "dag_id"), "dagRuns"), query)

        def read(body: Any) -> DatedRun:
            return DatedRun(self.read_bare_run(body), date_if_any(body, "data_interval_end"))

        listing = self._listing(request, "dag_runs", about(read, dag_id=dag_id), f"list runs of DAG {dag_id!r}")
        return replace(listing, missing=DagNotFound, unread=BULK)

    def ended_runs(
        self, dag_ids: Sequence[str], *, since: str, bound: str, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[DagRun]]:
        body: dict[str, Any] = {
            "dag_ids": [checked(dag_id, "dag_id") for dag_id in dag_ids],
            # A run without an end is left out by this request, unlike by the GET of the same name in Airflow 3.
            "end_date_gte": since,
            f"{self.bound_field}_gte": bound,
            "page_limit": limit,
            "page_offset": offset,
        }
        if self.orders_runs:
            # What ends meanwhile is added at the end, so that no page misses a run.
            body["order_by"] = "end_date"
        request = Request("POST", self.at("dags", "~", "dagRuns", "list"), body=body, repeatable=True, reads=True)
        listing = self._listing(request, "dag_runs", self.read_bare_run, "list the runs that ended")
        return replace(listing, unread=BULK)

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> Operation[DagRun]:
        request = Request("PATCH", self._run_path(dag_id, run_id), body={"state": state})
        action = f"set run {run_id!r} of DAG {dag_id!r} to {state}"
        return Operation(request, self._reader_of_run(dag_id, run_id), action, "User", DagRunNotFound)

    def set_run_note(self, dag_id: str, run_id: str, note: str) -> Operation[None]:
        request = Request("PATCH", self._run_path(dag_id, run_id) + self.note_path, body={"note": note})
        return Operation(request, nothing, f"change the note of run {run_id!r} of DAG {dag_id!r}", "User")

    def delete_run(self, dag_id: str, run_id: str) -> Operation[None]:
        request = Request("DELETE", self._run_path(dag_id, run_id))
        return Operation(request, nothing, f"delete run {run_id!r} of DAG {dag_id!r}", "User", DagRunNotFound)

    def read_run(self, body: Any) -> DagRun:
        """Read a run."""
        run, conf = self.read_bare_run(body), body.get("conf")
        storable = untrusted.storable(conf) if isinstance(conf, dict) else None
        return replace(run, conf=storable, note=text_if_any(body, "note"))

    def read_bare_run(self, body: Any) -> DagRun:
        """A run without its conf and note."""
        run = DagRun(
            dag_id=named(body, "dag_id"),
            run_id=named(body, "dag_run_id"),
            state=state(body),
            logical_date=date_if_any(body, "logical_date") or date_if_any(body, "execution_date"),
            run_after=date_if_any(body, "run_after"),
            start_date=date_if_any(body, "start_date"),
            end_date=date_if_any(body, "end_date"),
            run_type=named_if_any(body, "run_type"),
        )
        return replace(run, url=self.run_url(run))

    def _reader_of_run(self, dag_id: str, run_id: str) -> Callable[[Any], DagRun]:
        return about(self.read_run, dag_id=dag_id, dag_run_id=run_id)

    def _run_path(self, dag_id: str, run_id: str) -> str:
        return self.at("dags", checked(dag_id, "dag_id"), "dagRuns", checked(run_id, "run_id"))

    # DAGs and tasks

    def dag(self, dag_id: str) -> Operation[Dag]:
        request = Request("GET", self.at("dags", checked(dag_id, "dag_id")))
        return Operation(request, about(read_dag, dag_id=dag_id), f"read DAG {dag_id!r}", "Viewer", DagNotFound)

    def dags(self, *, limit: int = PAGE, offset: int = 0) -> Operation[Page[Dag]]:
        request = Request("GET", self.at("dags"), {"limit": limit, "offset": offset})
        return self._listing(request, "dags", read_dag, "list DAGs", "Viewer")

    def is_paused(self, dag_id: str) -> Operation[bool]:
        return self.dag(dag_id).reading(about(lambda body: flag(body, "is_paused"), dag_id=dag_id))

    def set_paused(self, dag_id: str, *, paused: bool) -> Operation[None]:
        request = Request("PATCH", self.at("dags", checked(dag_id, "dag_id")), body={"is_paused": paused})
        return Operation(request, nothing, f"{'pause' if paused else 'unpause'} DAG {dag_id!r}", "User", DagNotFound)

    def import_failures(self, *, limit: int = PAGE, offset: int = 0) -> Operation[Page[ImportFailure]]:
        def item(entry: Any) -> ImportFailure:
            return ImportFailure(
                untrusted.readable(text(entry, "filename")), (text_if_any(entry, "stack_trace") or "")[-LONGEST_TRACE:]
            )

        query = {"limit": limit, "offset": offset} if offset else {"limit": limit}
        request = Request("GET", self.at("importErrors"), query)
        return self._listing(request, "import_errors", item, "list import errors")

    def task(self, dag_id: str, task_id: str) -> Operation[None]:
        request = Request("GET", self.at("dags", checked(dag_id, "dag_id"), "tasks", checked(task_id, "task_id")))
        return Operation(request, nothing, f"read task {task_id!r} of DAG {dag_id!r}", "Viewer")

    def task_ids(self, dag_id: str) -> Operation[list[str]]:
        request = Request("GET", self.at("dags", checked(dag_id, "dag_id"), "tasks"))
        return Operation(
            request,
            lambda body: [named(task, "task_id") for task in body["tasks"]],
            f"list tasks of DAG {dag_id!r}",
            "Viewer",
        )

    def task_instances(
        self, run: DagRun, *, state: str | None = None, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[TaskInstance]]:
        if limit > PAGE:
            body = {**self.fields_of_run(run), "page_limit": limit, "page_offset": offset}
            request = Request("POST", self._all_task_instances, body=body, repeatable=True, reads=True)
        else:
            query: dict[str, Any] = {"limit": limit, "offset": offset}
            if state is not None:
                query["state"] = state
            request = Request("GET", f"{self._run_path(run.dag_id, run.run_id)}/taskInstances", query)
        # A caller that filters by state relies on it, so each entry is checked.
        read = read_task_instance if state is None else about(read_task_instance, state=state)
        listing = self._listing(request, "task_instances", _about_run(read, run), f"list tasks of run {run.run_id!r}")
        return replace(listing, unread=BULK_OF_TASKS)

    def fields_of_run(self, run: DagRun) -> dict[str, Any]:
        """What narrows a listing of task instances down to those of one run."""
        return {"dag_ids": [checked(run.dag_id, "dag_id")], "dag_run_ids": [checked(run.run_id, "run_id")]}

    def task_instance(self, run: DagRun, task_id: str, map_index: int = -1) -> Operation[TaskInstance]:
        index = [str(map_index)] if map_index >= 0 else []
        where = self._run_path(run.dag_id, run.run_id) + path("taskInstances", checked(task_id, "task_id"), *index)
        read = about(
            _about_run(read_task_instance, run), task_id=task_id, **({"map_index": map_index} if index else {})
        )
        return Operation(Request("GET", where), read, f"read task {task_id!r} of run {run.run_id!r}", "Viewer")

    @property
    def _all_task_instances(self) -> str:
        return self.at("dags", "~", "dagRuns", "~", "taskInstances", "list")

    def ended_tasks(
        self, dag_ids: Sequence[str], run_ids: Sequence[str], *, since: str, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[TaskInstance]]:
        body: dict[str, Any] = {
            "dag_ids": [checked(dag_id, "dag_id") for dag_id in dag_ids],
            "dag_run_ids": [checked(run_id, "run_id") for run_id in run_ids],
            "end_date_gte": since,
            "page_limit": limit,
            "page_offset": offset,
        }
        request = Request("POST", self._all_task_instances, body=body, repeatable=True, reads=True)
        listing = self._listing(request, "task_instances", read_task_instance, "list the tasks that ended")
        return replace(listing, unread=BULK_OF_TASKS)

    def task_log(self, run: DagRun, instance: TaskInstance, *, lines: int) -> Operation[list[str]]:
        headers = {"Accept": self.log_type}
        request = replace(self._log_request(run, instance), headers=headers, largest_reply=LARGEST_REPLY)
        return Operation(
            request, lambda body: self.read_log(body, lines), f"read the log of {instance.name}", "Viewer", text=True
        )

    def log_part(self, run: DagRun, instance: TaskInstance, token: str | None = None) -> Operation[LogPart]:
        request = self._log_request(run, instance, {"token": token} if token else {})
        request = replace(request, largest_reply=LARGEST_REPLY)
        return Operation(request, self.read_log_part, f"read the log of {instance.name}", "Viewer")

    def _log_request(self, run: DagRun, instance: TaskInstance, query: Mapping[str, Any] | None = None) -> Request:
        log = path("taskInstances", checked(instance.task_id, "task_id"), "logs", str(instance.try_number))
        index = {"map_index": instance.map_index} if instance.map_index >= 0 else {}
        return Request("GET", self._run_path(run.dag_id, run.run_id) + log, {**index, **(query or {})})

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int) -> Operation[Any]:
        entry = path("taskInstances", checked(task_id, "task_id"), "xcomEntries", checked(key, "key"))
        query = self.xcom_query() | ({"map_index": map_index} if map_index >= 0 else {})
        request = Request("GET", self._run_path(dag_id, run_id) + entry, query)
        read = about(lambda body: body["value"], dag_id=dag_id, task_id=task_id, key=key)
        return Operation(request, read, f"read XCom {key!r} of task {task_id!r}", "Viewer")

    def xcom_query(self) -> dict[str, Any]:
        """What makes the remote give an XCom as JSON rather than as Python's representation of it."""
        return {}

    # Pools

    def pools(self, *, limit: int = PAGE, offset: int = 0) -> Operation[Page[Pool]]:
        request = Request("GET", self.at("pools"), {"limit": limit, "offset": offset})
        return self._listing(request, "pools", read_pool, "list pools", self.reader_of_pools)

    def pool(self, name: str) -> Operation[Pool]:
        request = Request("GET", self._pool_path(name))
        return Operation(request, about(read_pool, name=name), f"read pool {name!r}", self.reader_of_pools)

    def create_pool(self, pool: Pool) -> Operation[Pool]:
        self._refuse_unlimited(pool)
        body = {"name": self.pool_name(pool.name), "slots": pool.slots, **self.pool_fields(pool)}
        read = about(read_pool, name=pool.name)
        return Operation(Request("POST", self.at("pools"), body=body), read, f"create pool {pool.name!r}", "Op")

    def delete_pool(self, name: str) -> Operation[None]:
        return Operation(Request("DELETE", self._pool_path(name)), nothing, f"delete pool {name!r}", "Op")

    def _refuse_unlimited(self, pool: Pool) -> None:
        if pool.unlimited and not self.accepts_unlimited_pools:
            raise self.cannot("have a pool of unlimited slots", "Its list of pools fails as long as there is one.")

    @abstractmethod
    def pool_fields(self, pool: Pool) -> dict[str, Any]:
        """The fields of a pool that not every version has."""

    def pool_name(self, name: str) -> str:
        """A pool's name that this generation can address."""
        return checked(name, "pool name", slash=self.slash_in_pool_names, longest=LONGEST_POOL_NAME)

    def _pool_path(self, name: str) -> str:
        return self.at("pools", self.pool_name(name))

    # Assets

    def assets(
        self, *, uri_pattern: str | None = None, name_pattern: str | None = None, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[Asset]]:
        query: dict[str, Any] = {"limit": limit, "offset": offset, "order_by": "id"}
        if uri_pattern is not None:
            query["uri_pattern"] = uri_pattern
        if name_pattern is not None:
            query["name_pattern"] = name_pattern
        plural = f"{self.asset_word}s"
        return self._listing(Request("GET", self.at(plural), query), plural, read_asset, f"list {plural}")

    def asset_events(
        self, asset: Asset | None = None, *, since: str | None = None, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[AssetEvent]]:
        query: dict[str, Any] = {"limit": limit, "offset": offset, "order_by": "-timestamp"}
        read = event_reader(self.asset_word)
        if asset is not None:
            field = f"{self.asset_word}_id"
            query[field] = asset.asset_id
            read = _about_asset(read, asset, field)
        if since is not None:
            query |= self.since_query(since)
        request = Request("GET", self.at(f"{self.asset_word}s", "events"), query)
        return self._listing(request, f"{self.asset_word}_events", read, f"list {self.asset_word} events")

    def since_query(self, since: str) -> dict[str, Any]:
        """Leaves out events before a moment."""
        return {}

    def create_asset_event(self, asset: Asset, intent: AssetEventIntent) -> Operation[AssetEvent]:
        body = {**self.event_fields(asset, intent), "extra": {**intent.extra, INTENT_KEY: intent.mark}}
        request = Request("POST", self.at(f"{self.asset_word}s", "events"), body=body)
        read = event_reader(self.asset_word)
        return Operation(request, read, f"register an event of {self.asset_word} {asset.uri!r}", self.creator_of_events)

    @abstractmethod
    def event_fields(self, asset: Asset, intent: AssetEventIntent) -> dict[str, Any]:
        """The fields of an asset event that the generations name differently, or that not every version has."""

    # The deployment itself

    def proof(self) -> Operation[None]:
        return Operation(Request("GET", self.at("dags"), {"limit": 1}), nothing, "list DAGs", "Viewer")

    def health(self) -> Operation[Health]:
        request = Request("GET", self.prefix + self.health_path, authenticated=False)
        return Operation(request, health_of, "read the deployment's health")

    def config(self) -> Operation[dict[str, dict[str, str]]]:
        def read(body: Any) -> dict[str, dict[str, str]]:
            return {
                section["name"]: {option["key"]: option["value"] for option in section["options"]}
                for section in body["sections"]
            }

        return Operation(
            Request("GET", self.at("config")),
            read,
            "read the remote's configuration",
            "Op",
            hint=f"Let it set [{self.config_section}] expose_config to True or non-sensitive-only.",
        )

    def _need(self, version: tuple[int, int], action: str) -> None:
        """:raises NotSupported: before this version of Airflow."""
        if not self.version >= version:
            raise self.cannot(action, f"Airflow {'.'.join(map(str, version))} and later can.")

    def _listing(
        self, request: Request, key: str, item: Callable[[Any], T], action: str, least_role: str = "Viewer"
    ) -> Operation[Page[T]]:
        def read(body: Any) -> Page[T]:
            return page_of(body[key], item, whole_number(body, "total_entries"))

        # One entry may be as long as the reply about a single thing.
        single = 1 in (request.query.get("limit"), (request.body or {}).get("page_limit"))
        request = replace(request, largest_reply=LARGEST_ENTRY if single else LARGEST_PAGE)
        return Operation(request, read, action, least_role)


def _about_asset(read: Callable[[Any], AssetEvent], asset: Asset, field: str) -> Callable[[Any], AssetEvent]:
    """Reads an event that must be one of this asset: those of another one must not pass for it."""

    def checked_read(body: Any) -> AssetEvent:
        check_about(body, **{field: asset.asset_id})
        event = read(body)
        if event.uri not in (None, asset.uri):
            raise AnotherReply("it is about another asset")
        return event

    return checked_read


def _about_run(read: Callable[[Any], T], run: DagRun) -> Callable[[Any], T]:
    return about(read, dag_id=run.dag_id, dag_run_id=run.run_id)
