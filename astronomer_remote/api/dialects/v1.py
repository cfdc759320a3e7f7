"""Airflow 2's ``/api/v1``, from 2.0 to 2.11."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from astronomer_remote.api.dialects.base import PAGE, Operation, Page, nothing
from astronomer_remote.api.dialects.logs import text_lines, text_part
from astronomer_remote.api.dialects.readers import about, read_pool
from astronomer_remote.api.dialects.rest import RestDialect
from astronomer_remote.api.protocol.flow import Request, quoted
from astronomer_remote.api.protocol.ids import checked
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEvent,
    AssetEventIntent,
    DagRun,
    Generation,
    Pool,
    TaskInstance,
    TriggerIntent,
    Version,
)


class V1Dialect(RestDialect):
    """The first stable REST API, which grew with each minor version."""

    generation = Generation.V1

    # 2.11 answers both with 403 and no detail.
    distinguishes_bad_credentials = False
    date_field = "execution_date"
    bound_field = "execution_date"
    # The run that was made last: a run by hand has the date of that moment, a scheduled one that of its interval.
    newest = "-id"
    # The JSON would be Python's text form of a list of hosts and logs.
    log_type = "text/plain"
    read_log = staticmethod(text_lines)
    read_log_part = staticmethod(text_part)
    note_path = "/setNote"
    asset_word = "dataset"
    creator_of_events = "User"

    def __init__(self, base_url: str, version: Version) -> None:
        super().__init__(base_url, version)
        self.orders_runs = version >= (2, 1)
        self.accepts_notes = version >= (2, 5)
        self.has_data_intervals = version >= (2, 4)
        self.has_typed_xcoms = version >= (2, 10)
        self.selects_fields = version >= (2, 9)
        self.breaks_on_tasks_of_triggered_dag = version.numbers[:2] == (2, 2)
        self.breaks_on_refused_conf = (2, 3) <= version.numbers[:2] < (2, 9)
        self.lists_ended_tasks = version >= (2, 8)
        self.reader_of_pools = "Viewer" if version >= (2, 8) else "Op"
        if not version >= (2, 2):
            # Until then a run was called running from its first moment on, even if its DAG was paused.
            self.waiting_states = frozenset({"running"})

    def trigger_fields(self, intent: TriggerIntent) -> Mapping[str, Any]:
        if intent.run_after or intent.partition_key:
            raise self.cannot(f"trigger with {'run_after' if intent.run_after else 'partition_key'}")
        fields: dict[str, Any] = {}
        if intent.logical_date:
            fields["logical_date" if self.version >= (2, 2) else "execution_date"] = intent.logical_date
        if intent.note is not None:
            self._need((2, 5), "give a DAG run a note")
            fields["note"] = intent.note
        if intent.data_interval:
            # Replies have these fields from 2.4 on; requests may not have them before 2.9.
            self._need((2, 9), "be given a data interval")
            fields["data_interval_start"], fields["data_interval_end"] = intent.data_interval
        return fields

    def dag_params(self, dag_id: str) -> Operation[Mapping[str, Any]]:
        request = Request("GET", self.at("dags", checked(dag_id, "dag_id"), "details"))
        return Operation(request, lambda body: dict(body["params"]), f"read the params of DAG {dag_id!r}", "Viewer")

    def set_run_state(self, dag_id: str, run_id: str, state: str) -> Operation[DagRun]:
        self._need((2, 2), "cancel a DAG run" if state == "failed" else "set the state of a DAG run")
        return super().set_run_state(dag_id, run_id, state)

    def set_run_note(self, dag_id: str, run_id: str, note: str) -> Operation[None]:
        self._need((2, 5), "change the note of a DAG run")
        return super().set_run_note(dag_id, run_id, note)

    def clear_run(self, run: DagRun, *, only_failed: bool) -> Operation[None]:
        body: dict[str, Any] = {"dry_run": False}
        action = f"clear run {run.run_id!r} of DAG {run.dag_id!r}"
        if self.version >= (2, 4) and not only_failed:
            request = Request("POST", f"{self._run_path(run.dag_id, run.run_id)}/clear", body=body)
            return Operation(request, nothing, action, "User")
        # Only this endpoint can leave the succeeded tasks alone. Before 2.4 it selects by date; a date names
        # one run of a DAG there.
        body |= {
            "only_failed": only_failed,
            "only_running": False,
            "reset_dag_runs": True,
            "include_subdags": True,
        }
        if self.version >= (2, 4):
            body["dag_run_id"] = run.run_id
        else:
            body |= {"start_date": run.logical_date, "end_date": run.logical_date}
        request = Request("POST", self.at("dags", run.dag_id, "clearTaskInstances"), body=body)
        return Operation(request, nothing, action, "User")

    def fields_of_run(self, run: DagRun) -> dict[str, Any]:
        if self.version >= (2, 8):
            return super().fields_of_run(run)
        # Before, this listing is narrowed by date, and a date names one run of a DAG there.
        return {"dag_ids": [run.dag_id], "execution_date_gte": run.logical_date, "execution_date_lte": run.logical_date}

    def ended_tasks(
        self, dag_ids: Sequence[str], run_ids: Sequence[str], *, since: str, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[TaskInstance]]:
        self._need((2, 8), "list the tasks that ended in some runs")
        return super().ended_tasks(dag_ids, run_ids, since=since, limit=limit, offset=offset)

    def run_url(self, run: DagRun) -> str:
        if self.version >= (2, 3):
            return f"{self.base_url}/dags/{quoted(run.dag_id)}/grid?dag_run_id={quoted(run.run_id)}"
        return f"{self.base_url}/graph?dag_id={quoted(run.dag_id)}&execution_date={quoted(run.logical_date or '')}"

    def xcom_query(self) -> dict[str, Any]:
        return {"stringify": False} if self.has_typed_xcoms else {}

    def pool_fields(self, pool: Pool) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if pool.description:
            self._need((2, 3), "give a pool a description")
        if pool.description is not None and self.version >= (2, 3):
            # Sent even if empty: 2.11 breaks on an update mask that names a field which the body lacks.
            fields["description"] = pool.description
        if pool.include_deferred is not None:
            self._need((2, 7), "count deferred tasks in a pool")
            fields["include_deferred"] = pool.include_deferred
        if pool.team_name is not None:
            raise self.cannot("give a pool to a team")
        return fields

    def update_pool(self, pool: Pool, changed: frozenset[str]) -> Operation[Pool]:
        self._refuse_unlimited(pool)
        # Without the mask the request would also rename the pool and reset what it does not name.
        body = {"name": pool.name, "slots": pool.slots, **self.pool_fields(pool)}
        request = Request("PATCH", self._pool_path(pool.name), {"update_mask": ",".join(sorted(changed))}, body)
        return Operation(request, about(read_pool, name=pool.name), f"update pool {pool.name!r}", "Op")

    def assets(
        self, *, uri_pattern: str | None = None, name_pattern: str | None = None, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[Asset]]:
        self._need((2, 4), "list datasets")
        if name_pattern is not None:
            raise self.cannot("find an asset by its name", "Its datasets have a URI only.")
        return super().assets(uri_pattern=uri_pattern, limit=limit, offset=offset)

    def asset_events(
        self, asset: Asset | None = None, *, since: str | None = None, limit: int = PAGE, offset: int = 0
    ) -> Operation[Page[AssetEvent]]:
        self._need((2, 4), "list dataset events")
        return super().asset_events(asset, since=since, limit=limit, offset=offset)

    def event_fields(self, asset: Asset, intent: AssetEventIntent) -> dict[str, Any]:
        self._need((2, 9), "register a dataset event through its API")
        if intent.partition_key is not None:
            self._need((3, 2), "register a dataset event with partition_key")
        return {"dataset_uri": asset.uri}
