"""Airflow 3's ``/api/v2``, from 3.0 on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from astronomer_remote.api.dialects.base import Operation, nothing
from astronomer_remote.api.dialects.logs import record_lines, record_part
from astronomer_remote.api.dialects.readers import about, read_pool
from astronomer_remote.api.dialects.rest import RestDialect
from astronomer_remote.api.protocol.flow import Request, quoted
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEventIntent,
    DagRun,
    Generation,
    Pool,
    TriggerIntent,
    Version,
)
from astronomer_remote.api.protocol.pool_changes import CREATE, DEFAULT_POOL, DELETE, UPDATE, PoolChange, PoolsChanged


class V2Dialect(RestDialect):
    """The second stable REST API, which refuses unknown fields of a body and ignores unknown ones of a query."""

    generation = Generation.V2
    health_path = "/monitor/health"
    config_section = "api"
    date_field = "logical_date"
    bound_field = "run_after"
    newest = "-run_after"
    # The JSON would be one list of all records.
    log_type = "application/x-ndjson"
    read_log = staticmethod(record_lines)
    read_log_part = staticmethod(record_part)
    asset_word = "asset"
    creator_of_events = "Op"
    names_assets = True
    slash_in_pool_names = True
    needs_logical_date = False

    def __init__(self, base_url: str, version: Version) -> None:
        super().__init__(base_url, version)
        # Before, it could not put their open slots into a reply.
        self.accepts_unlimited_pools = version >= (3, 1, 8)
        # Before, it ignored the body, so that two requests made two runs.
        self.materializes_with_body = version >= (3, 3)
        # "Got islice instead" in Airflow's file_task_handler.py: with a continuation token, for logs in files.
        self.breaks_on_log_tokens = (3, 2) <= version.numbers < (3, 3, 1)

    def trigger(self, intent: TriggerIntent) -> Operation[DagRun]:
        operation = super().trigger(intent)
        if intent.asset is None:
            return operation
        where = self.at("assets", str(intent.asset.number), "materialize")
        request = replace(operation.request, path=where, only_at=intent.asset.base_url)
        action = f"materialize an asset with DAG {intent.dag_id!r}"
        return replace(operation, request=request, action=action, least_role=self.creator_of_events)

    def trigger_fields(self, intent: TriggerIntent) -> Mapping[str, Any]:
        # The field is required and may be null.
        fields: dict[str, Any] = {"logical_date": intent.logical_date}
        if intent.run_after:
            fields["run_after"] = intent.run_after
        if intent.data_interval:
            fields["data_interval_start"], fields["data_interval_end"] = intent.data_interval
        if intent.note is not None:
            fields["note"] = intent.note
        if intent.partition_key is not None:
            self._need((3, 2), "trigger with partition_key")
            fields["partition_key"] = intent.partition_key
        return fields

    def due_query(self, due_by: str) -> dict[str, Any]:
        return {"run_after_lte": due_by}

    def clear_run(self, run: DagRun, *, only_failed: bool) -> Operation[None]:
        body = {"dry_run": False, "only_failed": only_failed}
        request = Request("POST", f"{self._run_path(run.dag_id, run.run_id)}/clear", body=body)
        return Operation(request, nothing, f"clear run {run.run_id!r} of DAG {run.dag_id!r}", "User")

    def run_url(self, run: DagRun) -> str:
        return f"{self.base_url}/dags/{quoted(run.dag_id)}/runs/{quoted(run.run_id)}"

    def since_query(self, since: str) -> dict[str, Any]:
        return {"timestamp_gte": since}

    def event_fields(self, asset: Asset, intent: AssetEventIntent) -> dict[str, Any]:
        fields: dict[str, Any] = {"asset_id": asset.asset_id}
        if intent.partition_key is not None:
            self._need((3, 2), "register an asset event with partition_key")
            fields["partition_key"] = intent.partition_key
        return fields

    def pool_fields(self, pool: Pool) -> dict[str, Any]:
        # From 3.3 on a change needs all fields, even those that the mask leaves out.
        fields = {"description": pool.description or "", "include_deferred": bool(pool.include_deferred)}
        if pool.team_name is None:
            return fields
        self._need((3, 2), "give a pool to a team")
        return {**fields, "team_name": pool.team_name}

    def update_pool(self, pool: Pool, changed: frozenset[str]) -> Operation[Pool]:
        self._check_update(pool, changed)
        body = {"pool": pool.name, "slots": pool.slots, **self.pool_fields(pool)}
        request = Request("PATCH", self._pool_path(pool.name), {"update_mask": sorted(changed)}, body)
        return Operation(request, about(read_pool, name=pool.name), f"update pool {pool.name!r}", "Op")

    def _check_update(self, pool: Pool, changed: Collection[str]) -> None:
        self._refuse_unlimited(pool)
        if pool.name == DEFAULT_POOL and not {"slots", "include_deferred"}.issuperset(changed):
            raise self.cannot("change more of default_pool than its slots and whether they count deferred tasks")

    def change_pools(self, changes: Sequence[PoolChange]) -> Operation[PoolsChanged]:
        # An action for each pool, so that one that is refused keeps no other back, as it would within its action.
        body = {"actions": [self._bulk_action(change) for change in changes]}

        def read(answer: Any) -> PoolsChanged:
            parts = [answer[action] for action in (CREATE, UPDATE, DELETE) if answer.get(action)]
            return PoolsChanged(
                frozenset(name for part in parts for name in part["success"]),
                tuple(str(error["error"]) for part in parts for error in part["errors"]),
            )

        request = Request("PATCH", self.at("pools"), body=body)
        return Operation(request, read, f"change {len(changes)} pools", "Op")

    def _bulk_action(self, change: PoolChange) -> dict[str, Any]:
        pool = change.after
        if pool is None:
            return {"action": DELETE, "entities": [self.pool_name(change.name)], "action_on_non_existence": "skip"}
        entity = {"name": self.pool_name(pool.name), "slots": pool.slots, **self.pool_fields(pool)}
        if change.action == CREATE:
            self._refuse_unlimited(pool)
            return {"action": CREATE, "entities": [entity], "action_on_existence": "skip"}
        self._check_update(pool, change.fields)
        # 3.2 learned the mask, and needs it for default_pool; before, every field of the body was taken.
        mask = {"update_mask": list(change.fields)} if self.version >= (3, 2) else {}
        return {"action": UPDATE, "entities": [entity], "action_on_non_existence": "skip", **mask}
