"""Airflow 3's ``/api/v2``, from 3.0 on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from astronomer_remote.api.dialects.base import Exchange, nothing
from astronomer_remote.api.dialects.rest import RestDialect, quoted, read_pool
from astronomer_remote.api.models import DagRun, Generation, Pool, TriggerIntent, Version
from astronomer_remote.api.wire import Request


class V2Dialect(RestDialect):
    """The second stable REST API, which refuses unknown fields of a body and ignores unknown ones of a query."""

    generation = Generation.V2
    version: Version
    health_path = "/monitor/health"
    date_field = "logical_date"
    newest = "-run_after"
    slash_in_pool_names = True

    def trigger_fields(self, intent: TriggerIntent) -> Mapping[str, Any]:
        # The date is required and may be null: a run "now" has none, and so cannot collide with another.
        fields: dict[str, Any] = {"logical_date": intent.logical_date}
        if intent.run_after:
            fields["run_after"] = intent.run_after
        if intent.data_interval:
            fields["data_interval_start"], fields["data_interval_end"] = intent.data_interval
        if intent.note is not None:
            fields["note"] = intent.note
        if intent.partition_key is not None:
            if not self.version >= (3, 2):
                raise self.cannot("trigger with partition_key", "Airflow 3.2 and later can.")
            fields["partition_key"] = intent.partition_key
        return fields

    def clear_run(self, run: DagRun, *, only_failed: bool) -> Exchange[None]:
        body = {"dry_run": False, "only_failed": only_failed}
        request = Request("POST", f"{self._run_path(run.dag_id, run.run_id)}/clear", body=body, repeatable=True)
        return Exchange(request, nothing, f"clear run {run.run_id!r} of DAG {run.dag_id!r}", "User")

    def run_url(self, run: DagRun) -> str:
        return f"{self.base_url}/dags/{quoted(run.dag_id)}/runs/{quoted(run.run_id)}"

    def pool_fields(self, pool: Pool) -> dict[str, Any]:
        # From 3.3 on a change needs all fields, even those that the mask leaves out.
        return {"description": pool.description or "", "include_deferred": bool(pool.include_deferred)}

    def update_pool(self, pool: Pool, changed: frozenset[str]) -> Exchange[Pool]:
        body = {"pool": pool.name, "slots": pool.slots, **self.pool_fields(pool)}
        request = Request("PATCH", self._pool_path(pool.name), {"update_mask": sorted(changed)}, body)
        return Exchange(request, read_pool, f"update pool {pool.name!r}", "Op")
