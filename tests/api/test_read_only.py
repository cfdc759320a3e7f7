"""A connection that can only read: whatever changes something is refused before any request."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from astronomer_remote.api.dialects.base import Dialect, Operation
from astronomer_remote.api.dialects.experimental import ExperimentalDialect
from astronomer_remote.api.dialects.v1 import V1Dialect
from astronomer_remote.api.dialects.v2 import V2Dialect
from astronomer_remote.api.protocol.errors import AccessDenied, NotSupported
from astronomer_remote.api.protocol.flow import Request, only_reads
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEventIntent,
    AssetRef,
    DagRun,
    Pool,
    TaskInstance,
    TriggerIntent,
    Version,
)
from astronomer_remote.api.protocol.pool_changes import PoolChange
from astronomer_remote.api.protocol.settings import Settings
from tests.api.script import EXPERIMENTAL, OPEN, URL, V1, V1_OLDEST, V2, V2_OLDEST, ScriptedRemote, Turn, answer, ok

READ_ONLY = replace(OPEN, read_only=True)
RUN = DagRun("d", "r", "running", logical_date="2026-11-22T07:00:00+00:00")
INSTANCE = TaskInstance("t", state="success", try_number=1)
POOL = Pool("p", 1)
ARGUMENTS: Mapping[str, Any] = {
    "action": "create",
    "asset": Asset(1, "s3://a", name="a"),
    "bound": "2026-11-22T07:00:00+00:00",
    "changed": frozenset({"slots"}),
    "changes": [PoolChange("create", "p", after=POOL)],
    "dag_id": "d",
    "dag_ids": ["d"],
    "date": "2026-11-22T07:00:00+00:00",
    "earlier": True,
    "instance": INSTANCE,
    "key": "k",
    "lines": 1,
    "map_index": -1,
    "name": "p",
    "note": "n",
    "only_failed": True,
    "paused": True,
    "pool": POOL,
    "run": RUN,
    "run_id": "r",
    "run_ids": ["r"],
    "since": "2026-11-22T07:00:00+00:00",
    "state": "failed",
    "task_id": "t",
}
INTENTS = {
    "trigger": TriggerIntent("d", "r"),
    "create_asset_event": AssetEventIntent(AssetRef(uri="s3://a"), "m"),
}
CHANGES = {
    "change_pools",
    "clear_run",
    "create_asset_event",
    "create_pool",
    "delete_pool",
    "delete_run",
    "set_paused",
    "set_run_note",
    "set_run_state",
    "trigger",
    "update_pool",
}
"""Operations that change something. What is not one of them has to be a read in each dialect."""

DIALECTS: Mapping[str, Dialect] = {
    EXPERIMENTAL: ExperimentalDialect(URL, None),
    V1_OLDEST: V1Dialect(URL, Version(V1_OLDEST)),
    V1: V1Dialect(URL, Version(V1)),
    V2_OLDEST: V2Dialect(URL, Version(V2_OLDEST)),
    V2: V2Dialect(URL, Version(V2)),
}


def operations() -> list[str]:
    """Every method of a dialect that returns an operation."""
    return sorted(
        {
            name
            for dialect in DIALECTS.values()
            for name, method in inspect.getmembers(type(dialect), inspect.isfunction)
            if not name.startswith("_") and "Operation[" in str(method.__annotations__.get("return"))
        }
    )


def made(dialect: Dialect, name: str) -> Operation[Any] | None:
    """An operation of a dialect with made-up arguments; ``None`` if the dialect does not have it."""
    method: Callable[..., Any] = getattr(dialect, name)
    needed = [
        each
        for each in inspect.signature(method).parameters.values()
        if each.default is each.empty or each.name == "asset"
    ]
    arguments = {each.name: INTENTS[name] if each.name == "intent" else ARGUMENTS[each.name] for each in needed}
    try:
        operation: Operation[Any] | None = method(**arguments)
    except NotSupported:
        return None
    return operation


ALL = [
    (version, name)
    for version, dialect in DIALECTS.items()
    for name in operations()
    if hasattr(dialect, name) and made(dialect, name) is not None
]


def test_every_change_is_an_operation_of_some_dialect() -> None:
    assert {name for _, name in ALL} >= CHANGES
    assert {name for _, name in ALL} - CHANGES >= {"dag_run", "ended_runs", "ended_tasks", "pools", "assets", "proof"}


@pytest.mark.parametrize(("version", "name"), [each for each in ALL if each[1] in CHANGES])
def test_a_change_is_refused_before_any_request(version: str, name: str) -> None:
    operation = made(DIALECTS[version], name)
    assert operation
    # Its version is not known yet: not even that is requested.
    remote = ScriptedRemote(READ_ONLY)
    with pytest.raises(AccessDenied, match="read_only") as error:
        remote.play(remote.client.request(operation))
    assert operation.action in error.value.message
    assert (error.value.method, error.value.path) == (operation.request.method, operation.request.path)
    with pytest.raises(AccessDenied, match="read_only"):
        remote.play(remote.client.send(operation.request), *remote.speech.detection())


@pytest.mark.parametrize(("version", "name"), [each for each in ALL if each[1] not in CHANGES])
def test_a_read_is_sent(version: str, name: str) -> None:
    operation = made(DIALECTS[version], name)
    assert operation
    remote = ScriptedRemote(READ_ONLY, version)
    reply = answer(404, {"detail": "no"})
    sent = Turn(f"{operation.request.method} {operation.request.target}", reply)
    assert remote.play(remote.client.send(operation.request), sent) is not None


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1, V2])
def test_a_trigger_of_a_deployment_is_refused_without_a_request_for_it(version: str) -> None:
    remote = ScriptedRemote(READ_ONLY, version)
    with pytest.raises(AccessDenied, match="Could not trigger DAG 'd': the connection is read_only"):
        remote.play(remote.deployment.trigger_dag_run("d"))


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_of_the_requests_of_a_user_only_get_is_sent(method: str) -> None:
    remote = ScriptedRemote(READ_ONLY, V2)
    with pytest.raises(AccessDenied, match=f"Could not call {method} /variables"):
        remote.play(remote.deployment.call(method, "/variables"))
    turn = Turn("GET /api/v2/variables", ok({"variables": []}))
    assert remote.play(remote.deployment.call("GET", "/variables"), turn) == {"variables": []}


@pytest.mark.parametrize("endpoint", ["/dags/d/paused/true", "/dags/d/p%61used/fals%65"])
def test_a_get_of_airflow_1_10_that_pauses_a_dag_is_no_read(endpoint: str) -> None:
    remote = ScriptedRemote(READ_ONLY, EXPERIMENTAL)
    with pytest.raises(AccessDenied, match="read_only"):
        remote.play(remote.deployment.call("GET", endpoint))
    assert only_reads("GET", "/api/experimental/dags/d/paused")


def test_a_connection_that_becomes_read_only_while_a_request_is_retried_stops_it() -> None:
    remote = ScriptedRemote(Settings(URL, password="old", authentication="astro_token"), V2)
    request = Request("DELETE", "/api/v2/pools/p")
    now = Settings(URL, password="new", authentication="astro_token", read_only=True)
    with pytest.raises(AccessDenied, match="read_only"):
        remote.play(
            remote.client.send(request), Turn("DELETE /api/v2/pools/p", answer(401, {"detail": "expired"})), now
        )


@pytest.mark.parametrize(("version", "said"), [(V2, "may not trigger, write pools"), (EXPERIMENTAL, "reading is")])
def test_the_connection_test_reports_it(version: str, said: str) -> None:
    remote = ScriptedRemote(READ_ONLY, version)
    found = remote.drive(remote.deployment.describe(), lambda request: answer(404, {"detail": "no"}))
    assert "The connection is read_only." in found
    assert said in found
    assert {request.method for request in remote.requests} <= {"GET"}
