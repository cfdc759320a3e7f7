"""The fake of Airflow 2's ``/api/v1``."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Mapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

from astronomer_remote.testing.assets import AssetApi
from astronomer_remote.testing.base import BROKEN, Endpoint, Refused, within
from astronomer_remote.testing.contents import FAILED, FakeAsset, FakeAssetEvent, FakeDag, FakePool, FakeRun
from astronomer_remote.testing.rest import FROM_LINE
from astronomer_remote.testing.runs import GOOD_RUN_ID, RESERVED_RUN_IDS
from astronomer_remote.testing.server import RecordedRequest, Reply

PROBLEM = "application/problem+json"
TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 409: "Conflict"}

LOGIN_PAGE = '<html><title>Sign In - Airflow</title><input name="csrf_token" type="hidden" value="fake-csrf"></html>'

RUN_FIELDS: tuple[tuple[tuple[int, ...], tuple[str, ...]], ...] = (
    ((2, 0), ("dag_run_id", "conf", "execution_date")),
    ((2, 2), ("logical_date",)),
    ((2, 5), ("note",)),
    ((2, 9), ("data_interval_start", "data_interval_end")),
)
"""Fields of a trigger by the version that brought them."""

LISTING = {"limit", "offset", "order_by", "state", "fields"}

EVENT_LISTING = {"limit", "offset", "order_by", "dataset_id"}


class V1Api(AssetApi):
    """The API that grew with each minor version, with Basic authentication and web sessions."""

    prefix = "/api/v1"
    notes_are_patched = False
    range_fields = ("execution_date", "start_date", "end_date")
    dates_of_instances = ("execution_date",)
    asset_word = "dataset"
    assets_since = (2, 4)
    asset_events_since = (2, 9)

    @property
    def first_state(self) -> str:  # type: ignore[override]  # a constant everywhere else
        return "queued" if self.version >= (2, 2) else "running"

    def open_endpoints(self) -> Iterable[Endpoint]:
        return [
            ("GET", "/api/v1/version", self.get_version),
            ("GET", "/api/v1/health", self.health),
            ("GET", "/health", self.health),
            ("GET", "/login/", self.login_page),
            ("POST", "/login/", self.log_in),
        ]

    def endpoints(self) -> Iterable[Endpoint]:
        more: list[Endpoint] = [("POST", "/dags/{}/clearTaskInstances", self.clear_tasks)]
        if self.version >= (2, 5):
            more.append(("PATCH", "/dags/{}/dagRuns/{}/setNote", self.set_note))
        return [*super().endpoints(), *self.below_prefix(more)]

    def get_version(self, request: RecordedRequest) -> Reply:
        return Reply(200, {"version": str(self.version), "git_version": ""})

    def components(self) -> dict[str, str | None]:
        newer = {"triggerer": "healthy", "dag_processor": None} if self.version >= (2, 6) else {}
        return {**super().components(), **newer}

    def unknown_path(self, request: RecordedRequest) -> Reply:
        if request.path.startswith(self.prefix):
            return self.problem(404, "The requested URL was not found on the server.")
        return super().unknown_path(request)

    def problem(self, status: int, detail: Any) -> Reply:
        body = {"detail": detail, "status": status, "title": TITLES[status], "type": "about:blank"}
        return Reply(status, body, PROBLEM)

    def forbidden(self) -> Reply:
        return self.problem(403, None)

    # Logins

    def user_of(self, request: RecordedRequest) -> str:
        kind, _, pair = request.headers.get("authorization", "").partition(" ")
        if kind == "Basic":
            login, _, password = base64.b64decode(pair).decode().partition(":")
            if self.accounts.knows(login, password):
                return login
        cookie = SimpleCookie(request.headers.get("cookie", "")).get("session")
        if cookie is not None and cookie.value in self.accounts.issued:
            return self.accounts.issued[cookie.value]
        # Airflow 2.11 answers wrong credentials like a missing permission.
        raise self.refuse(403 if self.version >= (2, 11) else 401, None)

    def login_page(self, request: RecordedRequest) -> Reply:
        return Reply(200, LOGIN_PAGE, "text/html", {"Set-Cookie": "session=fake-login-page; HttpOnly; Path=/"})

    def log_in(self, request: RecordedRequest) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        login, password = form.get("username", ""), form.get("password")
        if form.get("csrf_token") != "fake-csrf" or not self.accounts.knows(login, password):
            return self.login_page(request)
        session = f"fake-{uuid4()}"
        self.accounts.issued[session] = login
        return Reply(302, None, headers={"Location": "/home", "Set-Cookie": f"session={session}; HttpOnly; Path=/"})

    # Runs

    def trigger_fields(self) -> Collection[str]:
        return [name for version, names in RUN_FIELDS if self.version >= version for name in names]

    def read_trigger(self, dag: Any, body: Mapping[str, Any]) -> FakeRun:
        if "conf" in body and body["conf"] is None:
            raise self.refuse(400, "None is not of type 'object' - 'conf'")
        run_id = body.get("dag_run_id") or ""
        if run_id.startswith(RESERVED_RUN_IDS) and self.version >= (2, 11):
            raise self.refuse(400, f"The run id {run_id!r} is reserved")
        if run_id and self.version >= (2, 6, 3) and not GOOD_RUN_ID.fullmatch(run_id):
            raise Refused(BROKEN)
        return super().read_trigger(dag, body)

    def read_logical_date(self, body: Mapping[str, Any], run: FakeRun) -> Any:
        named = [name for name in ("logical_date", "execution_date") if name in body]
        dates = {self.body_date(body, name) for name in named}
        if len(dates) > 1:
            raise self.refuse(400, "logical_date conflicts with execution_date")
        return dates.pop() if dates else self.contents.now()

    def list_runs(self, request: RecordedRequest, dag_id: str) -> Reply:
        known = LISTING | {f"{field}_{end}" for field in self.range_fields for end in ("gte", "lte")}
        known -= set() if self.version >= (2, 1) else {"order_by"}
        known -= set() if self.version >= (2, 9) else {"fields"}
        for name in request.query:
            if name not in known:
                raise self.refuse(400, f"Extra query parameter(s) {name} not in spec")
        return super().list_runs(request, dag_id)

    def selected_fields(self, run: FakeRun, request: RecordedRequest) -> dict[str, Any]:
        shown = super().selected_fields(run, request)
        target = [name for names in request.query.get("fields", []) for name in names.split(",")]
        for name in target:
            if name not in shown:
                raise self.refuse(400, f"{name} not in DAGRunSchema")
        return {name: shown[name] for name in target} if target else shown

    def dags_to_list_runs_of(self, dag_id: str) -> list[FakeDag]:
        """Of a DAG that is not there it lists no runs, where 1.10 and 3.x answer 400 and 404."""
        return [dag for dag in self.contents.dags.values() if dag.dag_id == dag_id]

    def patch_run(self, request: RecordedRequest, dag_id: str, run_id: str) -> Reply:
        if not self.version >= (2, 2):
            return Reply(405, {"detail": None, "status": 405, "title": "Method Not Allowed"}, PROBLEM)
        return super().patch_run(request, dag_id, run_id)

    def set_note(self, request: RecordedRequest, dag_id: str, run_id: str) -> Reply:
        _, run = self.run(dag_id, run_id)
        run.note = request.json()["note"]
        return Reply(200, self.run_json(run))

    def date_is_taken(self, run: FakeRun) -> Refused:
        return super().date_is_taken(run) if self.version >= (2, 2) else Refused(BROKEN)

    def clear_run(self, request: RecordedRequest, dag_id: str, run_id: str) -> Reply:
        return super().clear_run(request, dag_id, run_id) if self.version >= (2, 4) else self.unknown_path(request)

    def clear_tasks(self, request: RecordedRequest, dag_id: str) -> Reply:
        dag, body = self.dag(dag_id), request.json()
        only_failed = body.get("only_failed", True)
        target = [run for run in dag.runs.values() if self.is_meant(run, body)]
        shown = [
            {"dag_id": dag_id, "dag_run_id": run.run_id, "task_id": task, **self.dates_of_run(run)}
            for run in target
            for task in dag.tasks
            if not only_failed or dag.task_state(run, task) in FAILED
        ]
        for run in target:
            if not body.get("dry_run", True):
                dag.clear(run, self.first_state, only_failed=only_failed)
        return Reply(200, {"task_instances": shown})

    def is_meant(self, run: FakeRun, body: Mapping[str, Any]) -> bool:
        """Whether the tasks of a run are cleared."""
        if "dag_run_id" in body:
            return bool(run.run_id == body["dag_run_id"])
        bounds = {"logical_date_gte": body.get("start_date"), "logical_date_lte": body.get("end_date")}
        return within(bounds.get, ["logical_date"])(lambda _: run.logical_date)

    def run_json(self, run: FakeRun) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "conf": run.conf,
            "dag_id": run.dag_id,
            "dag_run_id": run.run_id,
            "end_date": self.date(run.end_date),
            "execution_date": self.date(run.logical_date),
            "external_trigger": True,
            "start_date": self.date(run.start_date),
            "state": run.state,
        }
        if self.version >= (2, 2):
            shown["logical_date"] = shown["execution_date"]
        if self.version >= (2, 4):
            shown["run_type"] = run.run_type
            shown["data_interval_start"] = self.date(run.data_interval_start)
            shown["data_interval_end"] = self.date(run.data_interval_end)
        return {**shown, "note": run.note} if self.version >= (2, 5) else shown

    def log_reply(self, request: RecordedRequest, run: FakeRun, lines: list[str], *, grows: bool) -> Reply:
        if request.headers.get("accept") == "text/plain":
            return Reply(200, "\n".join(["fake-host", *lines, ""]), "text/plain")
        # Before 2.5 a token changes nothing.
        shown = self.log_offset(request) if self.version >= (2, 5) else 0
        log = "\n".join(lines[shown:] if shown else ["*** Found local files:", *lines])
        # The JSON holds Python's text form of a list of hosts and their logs.
        return Reply(200, {"content": str([("fake-host", log)]), "continuation_token": f"{FROM_LINE}{len(lines)}"})

    def dates_of_run(self, run: FakeRun) -> dict[str, Any]:
        return {"execution_date": self.date(run.logical_date)}

    # Assets

    def list_assets(self, request: RecordedRequest) -> Reply:
        reply = super().list_assets(request)
        # It counts all of them, whatever the pattern.
        return Reply(200, {**reply.body, "total_entries": len(self.contents.assets)})

    def list_asset_events(self, request: RecordedRequest) -> Reply:
        for name in request.query:
            if name not in EVENT_LISTING:
                raise self.refuse(400, f"Extra query parameter(s) {name} not in spec")
        return super().list_asset_events(request)

    def asset_of_event(self, body: Mapping[str, Any]) -> FakeAsset:
        for asset in self.contents.assets:
            if asset.uri == body["dataset_uri"]:
                return asset
        raise Refused(self.missing(f"Dataset with uri: '{body['dataset_uri']}'"))

    def event_fields(self) -> Collection[str]:
        return (*super().event_fields(), "dataset_uri")

    def asset_json(self, asset: FakeAsset) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "id": asset.asset_id,
            "uri": asset.uri,
            "extra": {},
            "created_at": self.date(asset.added),
            "updated_at": self.date(asset.added),
            "consuming_dags": [self.reference(asset, dag_id) for dag_id in asset.consumers],
            "producing_tasks": [self.reference(asset, dag_id, "produce") for dag_id in asset.producers],
        }
        return {**shown, "aliases": []} if self.version >= (2, 10) else shown

    def asset_event_json(self, event: FakeAssetEvent) -> dict[str, Any]:
        return {**self.event_source(event), "dataset_uri": event.asset.uri}

    # Pools

    def patch_pool(self, request: RecordedRequest, name: str) -> Reply:
        pool, body = self.pool(name), request.json()
        mask = [field for text in request.query.get("update_mask", []) for field in text.split(",")]
        self.check_pool_fields(body, {"name"})
        if not {"name", "slots"} <= set(body) and not mask:
            raise self.refuse(400, "Missing required property(ies): name, slots")
        if mask and not set(mask) <= set(body):
            raise Refused(BROKEN)
        self.change_pool(pool, body, mask or ["slots", "description", "include_deferred"])
        return Reply(200, self.pool_json(pool))

    def pool_json(self, pool: FakePool) -> dict[str, Any]:
        shown = super().pool_json(pool)
        if self.version >= (2, 3):
            shown["description"] = pool.description
        if self.version >= (2, 7):
            shown |= {"include_deferred": pool.include_deferred, "deferred_slots": 0, "scheduled_slots": 0}
        return shown
