"""DAG runs as the fakes of Airflow 2's and Airflow 3's REST APIs have them."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any

from astronomer_remote.testing.base import Endpoint, Refused, moment, within
from astronomer_remote.testing.contents import FINISHED, FakeDag, FakeRun
from astronomer_remote.testing.rest import MOST, RestApi
from astronomer_remote.testing.server import RecordedRequest, Reply

GOOD_RUN_ID = re.compile(r"[A-Za-z0-9_.~:+-]+")
RESERVED_RUN_IDS = ("scheduled__", "backfill__", "asset_triggered__", "dataset_triggered__")

CAN_BE_SET = ("queued", "success", "failed")


class RunApi(RestApi):
    """Subclasses hold what differs."""

    range_fields: tuple[str, ...]
    """Dates of a run that a listing can be narrowed by."""
    dates_of_instances: tuple[str, ...]
    """Those of them by which a listing of its task instances can be, too."""
    notes_are_patched = True
    """Whether the request that changes a run's state changes its note, too."""

    def endpoints(self) -> Iterable[Endpoint]:
        run = "/dags/{}/dagRuns/{}"
        return [
            *super().endpoints(),
            *self.below_prefix(
                [
                    ("POST", "/dags/{}/dagRuns", self.trigger),
                    ("GET", "/dags/{}/dagRuns", self.list_runs),
                    ("POST", "/dags/~/dagRuns/list", self.list_runs_by_body),
                    ("POST", "/dags/~/dagRuns/~/taskInstances/list", self.list_task_instances_by_body),
                    ("GET", run, self.get_run),
                    ("PATCH", run, self.patch_run),
                    ("DELETE", run, self.delete_run),
                    ("POST", f"{run}/clear", self.clear_run),
                ]
            ),
        ]

    @abstractmethod
    def trigger_fields(self) -> Collection[str]:
        """Fields that the body of a trigger may have."""

    @abstractmethod
    def run_json(self, run: FakeRun) -> dict[str, Any]:
        """A run as this version describes it."""

    def trigger(self, request: RecordedRequest, dag_id: str) -> Reply:
        body = request.json()
        unknown = set(body) - set(self.trigger_fields())
        if unknown:
            raise self.refuse(self.unreadable, f"Unknown field(s): {', '.join(sorted(unknown))}")
        dag = self.dag(dag_id)
        if dag.is_stale:
            raise Refused(self.missing(f"DAG {dag_id}"))
        if dag.has_import_errors:
            raise self.refuse(400, f"DAG with dag_id: '{dag_id}' has import errors and cannot be triggered")
        run = self.read_trigger(dag, body)
        if run.run_id in dag.runs:
            raise self.exists(f"DAGRun with DAG ID: '{dag_id}' and DAGRun ID: '{run.run_id}' already exists")
        if run.logical_date and any(run.logical_date == other.logical_date for other in dag.runs.values()):
            raise self.date_is_taken(run)
        return Reply(200, self.run_json(self.add_run(run)))

    def date_is_taken(self, run: FakeRun) -> Refused:
        """The reply if there is a run of this logical date already."""
        date = self.date(run.logical_date)
        return self.exists(f"DAGRun with DAG ID: '{run.dag_id}' and DAGRun logical date: '{date}' already exists")

    def read_trigger(self, dag: FakeDag, body: Mapping[str, Any]) -> FakeRun:
        """The run that a trigger's body describes."""
        if not isinstance(body.get("conf", {}), dict):
            raise self.refuse(self.unreadable, f"{body['conf']!r} is not of type 'object' - 'conf'")
        named = ("run_after", "data_interval_start", "data_interval_end")
        dates = {name: self.body_date(body, name) for name in named if body.get(name)}
        if ("data_interval_start" in dates) != ("data_interval_end" in dates):
            raise self.refuse(self.unreadable, "Both data_interval_start and data_interval_end must be provided")
        run = FakeRun(
            dag.dag_id,
            run_id=body.get("dag_run_id") or "",
            state=self.first_state,
            run_after=dates.pop("run_after", self.contents.now()),
            conf=body.get("conf") or {},
            note=body.get("note"),
            partition_key=body.get("partition_key"),
            **dates,
        )
        run.logical_date = self.read_logical_date(body, run)
        run.run_id = run.run_id or f"manual__{self.date(run.logical_date or run.run_after)}"
        return run

    @abstractmethod
    def read_logical_date(self, body: Mapping[str, Any], run: FakeRun) -> Any:
        """The logical date of a trigger's body."""

    def body_date(self, body: Mapping[str, Any], name: str) -> Any:
        try:
            return moment(body[name])
        except ValueError:
            raise self.refuse(self.unreadable, f"{body[name]!r} is not a 'date-time' - '{name}'") from None

    def get_run(self, request: RecordedRequest, dag_id: str, run_id: str) -> Reply:
        dag, run = self.run(dag_id, run_id)
        return Reply(200, self.selected_fields(dag.read(run, self.contents.now()), request))

    def selected_fields(self, run: FakeRun, request: RecordedRequest) -> dict[str, Any]:
        """The fields of a run that a GET returns: all of them, or a selection in versions that support it."""
        return self.run_json(run)

    def list_runs(self, request: RecordedRequest, dag_id: str) -> Reply:
        runs = self.read_all([*self.contents.dags.values()] if dag_id == "~" else self.dags_to_list_runs_of(dag_id))

        def value(name: str) -> str | None:
            return request.query.get(name, [None])[0]

        states = request.query.get("state", [])
        try:
            matches = within(value, self.range_fields)
        except ValueError as error:
            raise self.refuse(400, str(error)) from None
        found = [run for run in runs if (not states or run.state in states) and matches(partial(self.date_of, run))]
        return self.page_of_runs(found, request, request.query.get("order_by", []))

    def dags_to_list_runs_of(self, dag_id: str) -> list[FakeDag]:
        return [self.dag(dag_id)]

    def list_runs_by_body(self, request: RecordedRequest) -> Reply:
        body = request.json()
        target, states = body.get("dag_ids") or [], body.get("states")
        dags = [dag for dag in self.contents.dags.values() if not target or dag.dag_id in target]
        matches = within(body.get, self.range_fields)
        found = [
            run
            for run in self.read_all(dags)
            if (states is None or run.state in states) and matches(partial(self.date_of, run))
        ]
        order = [body["order_by"]] if body.get("order_by") else []
        return self.page_of_runs(found, request, order, body.get("page_offset", 0), body.get("page_limit", MOST))

    def list_task_instances_by_body(self, request: RecordedRequest) -> Reply:
        body = request.json()
        if "dag_run_ids" in body and not self.version >= (2, 7):
            raise self.refuse(self.unreadable, "{'dag_run_ids': ['Unknown field.']}")
        target = body.get("dag_run_ids")
        matches, ended = within(body.get, self.dates_of_instances), within(body.get, ["end_date"])
        found = [
            self.task_instance_json(dag, run, task, index)
            for dag in self.contents.dags.values()
            if dag.dag_id in body["dag_ids"]
            for run in self.read_all([dag])
            if (target is None or run.run_id in target) and matches(partial(self.date_of, run))
            for task, index in dag.instances()
            if ended(partial(self.end_of_task, run, task))
        ]
        offset = body.get("page_offset", 0)
        chosen = found[offset:][: body.get("page_limit", MOST)] if self.version >= (2, 10) else found
        return Reply(200, {"task_instances": chosen, "total_entries": len(found)})

    def page_of_runs(
        self,
        runs: list[FakeRun],
        request: RecordedRequest,
        order: Collection[str],
        offset: int = 0,
        limit: int | None = None,
    ) -> Reply:
        for field in order:
            name = field.removeprefix("-")
            if name == "id":
                # They are kept in the order they were made.
                runs = runs[::-1] if field.startswith("-") else runs
                continue
            runs.sort(key=lambda run: str(self.date_of(run, name) or ""), reverse=field.startswith("-"))
        if limit is None:
            return self.page("dag_runs", runs, lambda run: self.selected_fields(run, request), request)
        chosen = [self.run_json(run) for run in runs[offset:][:limit]]
        return Reply(200, {"dag_runs": chosen, "total_entries": len(runs)})

    def read_all(self, dags: Iterable[FakeDag]) -> list[FakeRun]:
        """Every run of some DAGs. Each of them counts as read, whether it is then returned or not."""
        now = self.contents.now()
        return [dag.read(run, now) for dag in dags for run in dag.runs.values()]

    def date_of(self, run: FakeRun, field: str) -> Any:
        """A date of a run, by the name of its field."""
        return getattr(run, "logical_date" if field == "execution_date" else field)

    def end_of_task(self, run: FakeRun, task: str, _: str) -> Any:
        """When a task ended."""
        return run.task_end_dates.get(task) or run.end_date

    def patch_run(self, request: RecordedRequest, dag_id: str, run_id: str) -> Reply:
        _, run = self.run(dag_id, run_id)
        body = request.json()
        if "state" in body:
            if body["state"] not in CAN_BE_SET:
                raise self.refuse(self.unreadable, f"{body['state']!r} is not one of {CAN_BE_SET} - 'state'")
            if run.state in FINISHED:
                # Airflow keeps the date when it ended first.
                run.state = body["state"]
            else:
                run.end(body["state"], self.contents.now())
        if "note" in body:
            if not self.notes_are_patched:
                raise self.refuse(self.unreadable, "{'note': ['Unknown field.']}")
            run.note = body["note"]
        return Reply(200, self.run_json(run))

    def delete_run(self, request: RecordedRequest, dag_id: str, run_id: str) -> Reply:
        dag, run = self.run(dag_id, run_id)
        if run.state not in (*FINISHED, "queued") and self.version >= (3, 1):
            raise self.refuse(409, f"The DagRun with run_id: `{run_id}` cannot be deleted in {run.state} state")
        del dag.runs[run_id]
        return Reply(204)

    def clear_run(self, request: RecordedRequest, dag_id: str, run_id: str) -> Reply:
        dag, run = self.run(dag_id, run_id)
        body = request.json()
        if body.get("dry_run", True):
            return Reply(200, {"task_instances": [self.task_instance_json(dag, run, task) for task in dag.tasks]})
        dag.clear(run, self.first_state, only_failed=body.get("only_failed", False))
        return Reply(200, self.run_json(run))
