"""The fake of Airflow 3's ``/api/v2``."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import uuid4

from astronomer_remote.testing.assets import AssetApi, is_since
from astronomer_remote.testing.base import Endpoint, Refused
from astronomer_remote.testing.contents import FakeAsset, FakeAssetEvent, FakePool, FakeRun
from astronomer_remote.testing.rest import FROM_LINE
from astronomer_remote.testing.runs import GOOD_RUN_ID, RESERVED_RUN_IDS
from astronomer_remote.testing.server import RecordedRequest, Reply

SECONDS_OF_A_TOKEN = 86400

CHANGEABLE_OF_DEFAULT_POOL = {"slots", "include_deferred"}
ONLY_SLOTS = "Only slots and included_deferred can be modified on Default Pool"


class V2Api(AssetApi):
    """Refuses unknown fields of a body, ignores unknown ones of a query, and needs tokens."""

    prefix = "/api/v2"
    unreadable = 422
    pool_created = 201
    usual_page = 50
    stringifies = "false"
    unquotes_first = False
    keep_alive = True
    range_fields = ("logical_date", "run_after", "start_date", "end_date")
    dates_of_instances = ("logical_date", "run_after")
    asset_word = "asset"
    assets_since = asset_events_since = (3,)

    def open_endpoints(self) -> Iterable[Endpoint]:
        return [
            ("GET", "/api/v2/version", self.get_version),
            ("GET", "/api/v2/monitor/health", self.health),
            ("POST", "/auth/token", self.log_in),
        ]

    def get_version(self, request: RecordedRequest) -> Reply:
        return Reply(200, {"version": str(self.version), "git_version": None})

    def components(self) -> dict[str, str | None]:
        return {"scheduler": "healthy", "triggerer": "healthy", "dag_processor": "healthy"}

    def unknown_path(self, request: RecordedRequest) -> Reply:
        if request.path.startswith("/api/v1"):
            said = "/api/v1 has been removed in Airflow 3, please use its upgraded version /api/v2 instead."
            return Reply(404, {"error": said})
        return Reply(404, {"error": "API route not found"})

    def problem(self, status: int, detail: Any) -> Reply:
        return Reply(status, {"detail": detail})

    def exists(self, detail: str) -> Refused:
        # The details of the database do not show whether the id or the date was taken.
        reason = {"reason": "Unique constraint violation", "statement": "hidden", "orig_error": "hidden"}
        return self.refuse(409, reason)

    def date(self, moment: Any) -> str | None:
        text = super().date(moment)
        return text.replace("+00:00", "Z") if text else None

    # Logins

    def user_of(self, request: RecordedRequest) -> str:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer":
            raise self.refuse(401, "Not authenticated")
        if token not in self.accounts.issued:
            raise self.refuse(403, "Invalid JWT token")
        return self.accounts.issued[token]

    def log_in(self, request: RecordedRequest) -> Reply:
        body = request.json()
        if not {"username", "password"} <= set(body):
            raise self.refuse(422, [{"type": "missing", "loc": ["body"], "msg": "Field required", "input": {}}])
        if not self.accounts.knows(body["username"], body["password"]):
            raise self.refuse(401, "Invalid credentials")
        issued = int(self.contents.clock())
        token = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in (
                {"alg": "none"},
                {"sub": body["username"], "iat": issued, "exp": issued + SECONDS_OF_A_TOKEN},
                {"fake": str(uuid4())},
            )
        )
        self.accounts.issued[token] = body["username"]
        return Reply(201, {"access_token": token})

    # Runs

    def trigger_fields(self) -> Collection[str]:
        older = (
            "dag_run_id",
            "conf",
            "logical_date",
            "run_after",
            "data_interval_start",
            "data_interval_end",
            "note",
        )
        return (*older, "partition_key") if self.version >= (3, 2) else older

    def read_trigger(self, dag: Any, body: Mapping[str, Any]) -> FakeRun:
        if "logical_date" not in body:
            missing = {"type": "missing", "loc": ["body", "logical_date"], "msg": "Field required", "input": {}}
            raise self.refuse(422, [missing])
        run_id = body.get("dag_run_id") or ""
        if run_id and not GOOD_RUN_ID.fullmatch(run_id):
            raise self.refuse(400, f"The run_id provided '{run_id}' does not match regex pattern")
        if run_id.startswith(RESERVED_RUN_IDS):
            raise self.refuse(400, f"The run_id provided '{run_id}' is reserved")
        return super().read_trigger(dag, {**body, "conf": body.get("conf") or {}})

    def read_logical_date(self, body: Mapping[str, Any], run: FakeRun) -> Any:
        return None if body["logical_date"] is None else self.body_date(body, "logical_date")

    def run_json(self, run: FakeRun) -> dict[str, Any]:
        dates = ("logical_date", "start_date", "end_date", "data_interval_start", "data_interval_end", "run_after")
        body: dict[str, Any] = {
            "dag_run_id": run.run_id,
            "dag_id": run.dag_id,
            **{name: self.date(getattr(run, name)) for name in dates},
            "queued_at": self.date(run.run_after),
            "run_type": run.run_type,
            "state": run.state,
            "triggered_by": "rest_api",
            "conf": run.conf,
            "note": run.note,
        }
        if self.version >= (3, 1):
            body["duration"] = run.seconds
        return {**body, "partition_key": run.partition_key} if self.version >= (3, 2) else body

    def log_reply(self, request: RecordedRequest, run: FakeRun, lines: list[str], *, grows: bool) -> Reply:
        date = self.date(run.start_date)
        records = [{"timestamp": date, "event": line, "level": "info", "logger": "task"} for line in lines]
        if request.headers.get("accept") == "application/x-ndjson":
            text = "".join(f"{json.dumps(record)}\n" for record in records)
            return Reply(200, text, "application/x-ndjson")
        body = self.log_offset(request)
        header = [{"event": each} for each in ("::group::Log message source details", "/fake.log", "::endgroup::")]
        # Before 3.2 it starts from the first line in spite of the token, only without the header.
        content = records[body if self.version >= (3, 2) else 0 :] if body else [*header, *records]
        return Reply(200, {"content": content, "continuation_token": f"{FROM_LINE}{len(lines)}" if grows else None})

    def dates_of_run(self, run: FakeRun) -> dict[str, Any]:
        return {"logical_date": self.date(run.logical_date), "run_after": self.date(run.run_after)}

    # Assets

    def is_meant_event(self, event: FakeAssetEvent, request: RecordedRequest) -> bool:
        return super().is_meant_event(event, request) and is_since(event, request)

    def asset_of_event(self, body: Mapping[str, Any]) -> FakeAsset:
        if not isinstance(body.get("asset_id"), int):
            missing = {"type": "missing", "loc": ["body", "asset_id"], "msg": "Field required", "input": body}
            raise self.refuse(422, [missing])
        return self.asset(body["asset_id"])

    def asset(self, asset_id: int) -> FakeAsset:
        for asset in self.contents.assets:
            if asset.asset_id == asset_id:
                return asset
        raise self.refuse(404, f"Asset with ID: `{asset_id}` was not found")

    def event_fields(self) -> Collection[str]:
        newer = ["partition_key"] if self.version >= (3, 2) else []
        return (*super().event_fields(), "asset_id", *newer)

    def materialize(self, request: RecordedRequest, asset_id: str) -> Reply:
        producers = [each.producers for each in self.contents.assets if each.asset_id == int(asset_id)]
        if not producers or not producers[0]:
            raise self.refuse(404, f"No Dag materializes asset with ID: {asset_id}")
        if len(producers[0]) > 1:
            raise self.refuse(409, f"More than one Dag materializes asset with ID: {asset_id}")
        if self.version >= (3, 3):
            return self.trigger(request, producers[0][0])
        # Before, it made a run of its own id, whatever the body said.
        dag = self.dag(producers[0][0])
        moment = self.contents.now()
        run = FakeRun(dag.dag_id, f"manual__{self.date(moment)}", self.first_state, run_after=moment)
        return Reply(200, self.run_json(self.add_run(run)))

    def asset_json(self, asset: FakeAsset) -> dict[str, Any]:
        consumers = "scheduled_dags" if self.version >= (3, 1) else "consuming_dags"
        shown = {
            "id": asset.asset_id,
            "name": asset.name,
            "uri": asset.uri,
            "group": "asset",
            "extra": {},
            "created_at": self.date(asset.added),
            "updated_at": self.date(asset.added),
            consumers: [self.reference(asset, dag_id) for dag_id in asset.consumers],
            "producing_tasks": [self.reference(asset, dag_id, "produce") for dag_id in asset.producers],
            "aliases": [],
        }
        if self.version >= (3, 1):
            last = next((event for event in reversed(self.contents.asset_events) if event.asset == asset), None)
            shown["consuming_tasks"] = []
            shown["last_asset_event"] = {
                "id": last.event_id if last else None,
                "timestamp": self.date(last.timestamp) if last else None,
            }
        return {**shown, "watchers": []} if self.version >= (3, 2) else shown

    def asset_event_json(self, event: FakeAssetEvent) -> dict[str, Any]:
        asset = event.asset
        shown = {**self.event_source(event), "uri": asset.uri, "name": asset.name, "group": "asset"}
        return {**shown, "partition_key": event.partition_key} if self.version >= (3, 2) else shown

    # Pools

    def endpoints(self) -> Iterable[Endpoint]:
        return [
            *super().endpoints(),
            ("PATCH", f"{self.prefix}/pools", self.change_pools),
            ("POST", f"{self.prefix}/assets/{{}}/materialize", self.materialize),
        ]

    def change_pools(self, request: RecordedRequest) -> Reply:
        """Several changes at once. The status is 200 even if some of them failed."""
        body: dict[str, Any] = {"create": None, "update": None, "delete": None}
        for action in request.json()["actions"]:
            kind = action["action"]
            body[kind] = body[kind] or {"success": [], "errors": []}
            names = [entity if kind == "delete" else entity["name"] for entity in action["entities"]]
            existing = set(names) & set(self.contents.pools)
            if kind == "create" and existing and action.get("action_on_existence") == "fail":
                taken = f"The pools with these pool names: {existing} already exist."
                body[kind]["errors"].append({"error": taken, "status_code": 409})
                continue
            for name, entity in zip(names, action["entities"], strict=True):
                if (name in self.contents.pools) is (kind == "create"):
                    continue  # an existing pool is not created, a missing one is neither changed nor deleted
                error = self.change_by_bulk(name, kind, entity, action.get("update_mask"))
                body[kind]["errors" if error else "success"].append(error or name)
        return Reply(200, body)

    def change_by_bulk(self, name: str, kind: str, entity: Any, mask: Any) -> dict[str, Any] | None:
        """One change of several. :return: the error, if it is refused."""
        if kind == "delete":
            del self.contents.pools[name]
            return None
        self.check_pool_fields(entity, {"name"})
        if kind == "update":
            if mask is not None and not self.version >= (3, 2):
                raise self.refuse(422, [{"type": "extra_forbidden", "loc": ["body", "update_mask"]}])
            if "include_deferred" not in entity:
                raise self.refuse(422, [{"type": "missing", "loc": ["body", "include_deferred"]}])
            if name == "default_pool" and self.version >= (3, 2) and set(mask or entity) - CHANGEABLE_OF_DEFAULT_POOL:
                return {"error": ONLY_SLOTS, "status_code": 400}
        pool = self.contents.pools.setdefault(name, FakePool(name, 0))
        self.change_pool(pool, entity, mask or set(entity) - {"name"})
        return None

    def patch_pool(self, request: RecordedRequest, name: str) -> Reply:
        pool, body = self.pool(name), request.json()
        mask = request.query.get("update_mask", [])
        self.check_pool_fields(body, {"pool"})
        if name == "default_pool":
            if not mask or set(mask) - CHANGEABLE_OF_DEFAULT_POOL:
                raise self.refuse(400, ONLY_SLOTS)
        elif self.version >= (3, 2) and not {"pool", "slots", "include_deferred"} <= set(body):
            raise self.refuse(422, [{"type": "missing", "loc": ["pool"], "msg": "Field required", "input": body}])
        elif body.get("pool", name) != name:
            raise self.refuse(400, "Invalid body, pool name from request body doesn't match uri parameter")
        self.change_pool(pool, body, mask or ["slots", "description", "include_deferred"])
        return Reply(200, self.pool_json(pool))

    def pool_json(self, pool: FakePool) -> dict[str, Any]:
        body = {
            **super().pool_json(pool),
            "description": pool.description,
            "include_deferred": pool.include_deferred,
            "deferred_slots": 0,
            "scheduled_slots": 0,
        }
        return {**body, "team_name": pool.team_name} if self.version >= (3, 2) else body
