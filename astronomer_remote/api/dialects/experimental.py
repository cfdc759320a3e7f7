"""Airflow 1.10's experimental API."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from astronomer_remote.api.dialects.base import PAGE, Dialect, Operation, Page, health_of, nothing, page_of
from astronomer_remote.api.dialects.readers import (
    about,
    check_about,
    date_if_any,
    flag,
    named,
    state,
    text,
    text_if_any,
    whole_number,
)
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import DagNotFound, DagRunNotFound, RemoteError
from astronomer_remote.api.protocol.flow import LARGEST_REPLY, Request, quoted
from astronomer_remote.api.protocol.ids import checked
from astronomer_remote.api.protocol.models import (
    Dag,
    DagRun,
    DatedRun,
    Generation,
    Health,
    Pool,
    TaskInstance,
    TriggerIntent,
    parse_date,
    same_moment,
    utc_text,
)


class ExperimentalDialect(Dialect):
    """
    An API that knows runs by their date, shows little of them and cannot change any.

    Nearly all of what it lists comes unpaged; listings are cut to size here.
    """

    generation = Generation.EXPERIMENTAL
    lists_task_instances = False
    overwrites_pools = True
    has_pool_usage = False
    has_data_intervals = False
    has_typed_xcoms = False
    accepts_notes = False
    lists_ended_runs = lists_ended_tasks = False
    breaks_on_pause_of_unknown_dag = True
    # A run is called running from its first moment on, even if its DAG is paused.
    waiting_states = frozenset({"running"})

    def says_it_exists(self, error: RemoteError) -> bool:
        return error.status == 400 and "already exists" in (error.detail or "")

    # Runs

    def trigger(self, intent: TriggerIntent) -> Operation[DagRun]:
        for name in ("run_after", "data_interval", "note", "partition_key"):
            if getattr(intent, name) is not None:
                raise self.cannot(f"trigger with {name}")
        body: dict[str, Any] = {"run_id": checked(intent.run_id, "run_id"), "conf": dict(intent.conf)}
        if intent.logical_date:
            # Without "replace_microseconds", and only as text, 1.10 would cut a given date to its second.
            body |= {"execution_date": intent.logical_date, "replace_microseconds": "false"}
        request = Request("POST", self.at("dags", checked(intent.dag_id, "dag_id"), "dag_runs"), body=body)

        def read(answer: Any) -> DagRun:
            # The reply has no state; a run is called running from its start, even if its DAG is paused.
            check_about(answer, run_id=intent.run_id)
            return self._run(intent.dag_id, named(answer, "run_id"), "running", date_if_any(answer, "execution_date"))

        return Operation(request, read, f"trigger DAG {intent.dag_id!r}", missing=DagNotFound)

    def dag_run(self, dag_id: str, run_id: str, *, bare: bool = False) -> Operation[DagRun]:
        listing = self.dag_runs(dag_id)

        def read(body: Any) -> DagRun:
            for run in listing.read(body).items:
                if run.run_id == run_id:
                    return run
            raise DagRunNotFound(f"{self.label} knows no run {run_id!r} of DAG {dag_id!r}.", status=404)

        return listing.reading(read, f"read run {run_id!r} of DAG {dag_id!r}")

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
        where = self.at("dags", checked(dag_id, "dag_id"), "dag_runs")
        # It comes as one page, however long it is.
        request = Request("GET", where, largest_reply=LARGEST_REPLY)

        def item(entry: Any) -> DagRun:
            check_about(entry, dag_id=dag_id)
            date = date_if_any(entry, "execution_date")
            return self._run(dag_id, named(entry, "run_id"), state(entry), date, date_if_any(entry, "start_date"))

        def read(body: Any) -> Page[DagRun]:
            # The last one made is the newest.
            entries = sorted(body, key=lambda entry: whole_number(entry, "id"), reverse=True) if newest_first else body
            found = page_of(entries, item, len(body))
            runs = [run for run in found.items if not logical_date or same_moment(run.logical_date, logical_date)]
            # All of them came at once; pages of the usual size would only repeat the request.
            runs = runs[offset:]
            return Page(runs, offset + len(runs) + len(found.unreadable), found.unreadable)

        # 1.10 says 400 where later ones say 404.
        return Operation(request, read, f"list runs of DAG {dag_id!r}", missing=DagNotFound, missing_status=400)

    def runs_near(
        self, dag_id: str, date: str, *, earlier: bool, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[DatedRun]]:
        listing = self.dag_runs(dag_id, limit=0)

        def read(body: Any) -> Page[DatedRun]:
            around = parse_date(utc_text(date, "date"))
            dated = [
                (parse_date(utc_text(run.logical_date, "date")), run)
                for run in listing.read(body).items
                if run.logical_date
            ]
            found = [each for each in dated if (each[0] <= around if earlier else each[0] >= around)]
            found.sort(key=lambda each: each[0], reverse=earlier)
            return Page([DatedRun(run) for _, run in found[offset:][:limit]], len(found))

        return listing.reading(read)

    def run_url(self, run: DagRun) -> str:
        return f"{self.base_url}/graph?dag_id={quoted(run.dag_id)}&execution_date={quoted(run.logical_date or '')}"

    def _run(self, dag_id: str, run_id: str, state: str | None, date: str | None, start: str | None = None) -> DagRun:
        run = DagRun(dag_id, run_id, state, logical_date=date, start_date=start)
        return replace(run, url=self.run_url(run))

    # DAGs and tasks

    def dag(self, dag_id: str) -> Operation[Dag]:
        # There is no endpoint that describes a DAG; the listing of its runs at least shows whether it exists.
        return self.dag_runs(dag_id).reading(lambda _: Dag(dag_id), f"read DAG {dag_id!r}")

    def task(self, dag_id: str, task_id: str) -> Operation[None]:
        where = self.at("dags", checked(dag_id, "dag_id"), "tasks", checked(task_id, "task_id"))
        return Operation(Request("GET", where), nothing, f"read task {task_id!r} of DAG {dag_id!r}")

    def is_paused(self, dag_id: str) -> Operation[bool]:
        request = Request("GET", self.at("dags", checked(dag_id, "dag_id"), "paused"))
        return Operation(request, lambda body: flag(body, "is_paused"), f"read whether DAG {dag_id!r} is paused")

    def set_paused(self, dag_id: str, *, paused: bool) -> Operation[None]:
        request = Request("GET", self.at("dags", checked(dag_id, "dag_id"), "paused", str(paused).lower()))
        return Operation(request, nothing, f"{'pause' if paused else 'unpause'} DAG {dag_id!r}")

    def task_instance(self, run: DagRun, task_id: str, map_index: int = -1) -> Operation[TaskInstance]:
        where = ("dags", run.dag_id, "dag_runs", run.logical_date or "", "tasks", checked(task_id, "task_id"))

        def read(body: Any) -> TaskInstance:
            # Every value comes as text here, a missing one as "None".
            known = {key: untrusted.name(value) for key, value in body.items() if value not in ("None", "")}
            return TaskInstance(
                task_id=task_id,
                state=state(known),
                try_number=int(known.get("try_number", 0)),
                operator=known.get("operator"),
                start_date=known.get("start_date"),
                end_date=known.get("end_date"),
                duration=float(known["duration"]) if "duration" in known else None,
            )

        return Operation(Request("GET", self.at(*where)), read, f"read task {task_id!r} of run {run.run_id!r}")

    # Pools

    def pools(self, *, limit: int = PAGE, offset: int = 0) -> Operation[Page[Pool]]:
        def read(body: Any) -> Page[Pool]:
            # All of them came at once; pages of the usual size would only repeat the request.
            return page_of(body[offset:], _read_pool, len(body))

        return Operation(Request("GET", self.at("pools")), read, "list pools")

    def pool(self, name: str) -> Operation[Pool]:
        request = Request("GET", self.at("pools", _checked_pool(name)))
        return Operation(request, about(_read_pool, pool=name), f"read pool {name!r}")

    def create_pool(self, pool: Pool) -> Operation[Pool]:
        return self._write_pool(pool, f"create pool {pool.name!r}")

    def update_pool(self, pool: Pool, changed: frozenset[str]) -> Operation[Pool]:
        return self._write_pool(pool, f"update pool {pool.name!r}")

    def delete_pool(self, name: str) -> Operation[None]:
        request = Request("DELETE", self.at("pools", _checked_pool(name)))
        return Operation(request, nothing, f"delete pool {name!r}")

    def _write_pool(self, pool: Pool, action: str) -> Operation[Pool]:
        if pool.include_deferred is not None:
            raise self.cannot("count deferred tasks in a pool")
        if pool.team_name is not None:
            raise self.cannot("give a pool to a team")
        body = {
            "name": _checked_pool(pool.name),
            "slots": pool.slots,
            "description": pool.description or "",
        }
        # One request creates and updates alike, so that sending it twice does no harm.
        request = Request("POST", self.at("pools"), body=body, repeatable=True)
        return Operation(request, about(_read_pool, pool=pool.name), action)

    # The deployment itself

    def proof(self) -> Operation[None]:
        return self.pools().reading(nothing)

    def health(self) -> Operation[Health]:
        return Operation(Request("GET", "/health", authenticated=False), health_of, "read the deployment's health")


def _checked_pool(name: str) -> str:
    return checked(name, "pool name", longest=50)


def _read_pool(body: Any) -> Pool:
    return Pool(text(body, "pool", empty=True), whole_number(body, "slots"), text_if_any(body, "description"))
