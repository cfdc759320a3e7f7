"""Whether what the map names exists in the remote deployments, works there, and may be done by the account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import uuid4

from astronomer_remote.api.connection_test import ConnectionTest
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.dialects.base import Dialect, Operation
from astronomer_remote.api.protocol.errors import AccessDenied, DagNotFound, NotFound, NotSupported, TransientError
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEventIntent,
    AssetRef,
    Dag,
    DagRun,
    Generation,
    Pool,
    TriggerIntent,
    asset_ref,
)
from astronomer_remote.dependencies import ASSET, DAG, POOL, POOLS, TASK
from astronomer_remote.map.model import Edge, Status

Probe = Callable[[Dialect, str], Operation[Any]]


def _pool(dialect: Dialect, nobody: str) -> Operation[Any]:
    return dialect.delete_pool(nobody)


def _trigger(dialect: Dialect, nobody: str) -> Operation[Any]:
    return dialect.trigger(TriggerIntent(nobody, nobody))


def _event(dialect: Dialect, nobody: str) -> Operation[Any]:
    # No database gives this number to an asset.
    return dialect.create_asset_event(Asset(0, nobody), AssetEventIntent(AssetRef(uri=nobody), nobody))


PROBES: dict[str, Probe] = {
    "triggers": _trigger,
    "materializes": _trigger,
    "pauses": lambda dialect, nobody: dialect.set_paused(nobody, paused=True),
    "unpauses": lambda dialect, nobody: dialect.set_paused(nobody, paused=False),
    "restores": lambda dialect, nobody: dialect.set_paused(nobody, paused=True),
    "clears": lambda dialect, nobody: dialect.clear_run(DagRun(nobody, nobody), only_failed=False),
    "cancels": lambda dialect, nobody: dialect.set_run_state(nobody, nobody, "failed"),
    "deletes runs": lambda dialect, nobody: dialect.delete_run(nobody, nobody),
    "registers": _event,
    "creates": _pool,
    "updates": _pool,
    "deletes": _pool,
    "sets": _pool,
    "borrows": _pool,
    "returns": _pool,
}
"""
For how an edge begins, a request that would do the same with something that certainly does not exist. An account
without the permission gets a 403, others a 404. The first that fits counts.
"""

NEEDS_RUNS = ("triggers", "waits for")
"""What a task does with a DAG that must not be paused."""


def check(deployment: Deployment, edges: Sequence[Edge]) -> Flow[None]:
    """
    Set the status and the problems of the edges of one deployment. Changes nothing there.

    It sends one request for each DAG, for the tasks of each DAG, for each asset, and for each kind of change, and one
    for the pools; one more for the import errors if a DAG is missing.

    :raises RemoteError: if the deployment cannot be read.
    """
    dialect = yield from deployment.client.dialect()
    for edge in edges:
        edge.status = Status.OK if edge.name is not None and edge.target else Status.UNKNOWN
    yield from _check_rights(deployment, dialect, edges)
    yield from _check_dags(deployment, dialect, edges)
    yield from _check_pools(deployment, [edge for edge in edges if edge.kind in (POOL, POOLS)])
    yield from _check_assets(deployment, [edge for edge in edges if edge.kind == ASSET])


def _check_rights(deployment: Deployment, dialect: Dialect, edges: Sequence[Edge]) -> Flow[None]:
    by_probe: dict[str, list[Edge]] = {}
    for edge in edges:
        # "deletes runs" must not be taken for "deletes", which comes later.
        change = next((name for name in PROBES if edge.how.startswith(name)), None)
        if change:
            by_probe.setdefault(change, []).append(edge)
    for change, concerned in by_probe.items():
        problem = yield from _refusal(deployment, dialect, PROBES[change])
        if problem:
            _break(concerned, problem)


def _refusal(deployment: Deployment, dialect: Dialect, probe: Probe) -> Flow[str | None]:
    """Why the account, or the remote's version, does not do something; ``None`` if nothing is known against it."""
    try:
        operation = probe(dialect, f"astronomer_remote_test_{uuid4()}")
        if dialect.generation is Generation.EXPERIMENTAL and not deployment.settings.read_only:
            # It knows no accounts, and would not reply with a 404 to each of these.
            return None
        may = yield from ConnectionTest(deployment.client).may(operation)
    except NotSupported as error:
        return error.message
    if may is False:
        if deployment.settings.read_only:
            return "The connection is read_only."
        role = f" It takes at least the role {operation.least_role}." if operation.least_role else ""
        return f"The account may not do this.{role}"
    return None


def _check_dags(deployment: Deployment, dialect: Dialect, edges: Sequence[Edge]) -> Flow[None]:
    by_dag: dict[str, list[Edge]] = {}
    for edge in edges:
        dag_id = edge.name if edge.kind == DAG else edge.remote_dag_id
        if dag_id is not None:
            by_dag.setdefault(dag_id, []).append(edge)
    for dag_id, concerned in by_dag.items():
        try:
            dag = yield from deployment.get_dag(dag_id)
            paused = dag.is_paused
            if paused is None:
                paused = yield from deployment.dags.is_paused(dag_id)
        except (DagNotFound, AccessDenied) as error:
            _break(concerned, error.message)
            continue
        _check_dag(dag, concerned, paused=paused)
        parts = [edge for edge in concerned if edge.kind != DAG and edge.name is not None]
        if parts:
            yield from _check_tasks(deployment, dialect, dag_id, parts)


def _check_dag(dag: Dag, edges: Iterable[Edge], *, paused: bool) -> None:
    for edge in edges:
        if dag.has_import_errors:
            edge.break_(f"DAG {dag.dag_id!r} has an import error in the remote.")
        if paused and edge.how.startswith(NEEDS_RUNS):
            edge.break_(f"DAG {dag.dag_id!r} is paused.")


def _check_tasks(deployment: Deployment, dialect: Dialect, dag_id: str, edges: Sequence[Edge]) -> Flow[None]:
    try:
        known = yield from deployment.client.request(dialect.task_ids(dag_id))
    except (NotSupported, TransientError):
        # 1.10 has no such listing, and that of 2.2 fails once the DAG was triggered with a conf.
        yield from _check_tasks_one_by_one(deployment, dialect, dag_id, edges)
        return
    for edge in edges:
        is_group = edge.kind != TASK
        if not any(each == edge.name or (is_group and each.startswith(f"{edge.name}.")) for each in known):
            edge.break_(f"DAG {dag_id!r} has no {edge.kind} {edge.name!r}.")


def _check_tasks_one_by_one(deployment: Deployment, dialect: Dialect, dag_id: str, edges: Sequence[Edge]) -> Flow[None]:
    for edge in edges:
        if edge.kind != TASK:
            edge.status = Status.UNKNOWN if edge.status is Status.OK else edge.status
            continue
        try:
            yield from deployment.client.request(dialect.task(dag_id, edge.name or ""))
        except NotFound:
            edge.break_(f"DAG {dag_id!r} has no {edge.kind} {edge.name!r}.")


def _check_pools(deployment: Deployment, edges: Sequence[Edge]) -> Flow[None]:
    if not edges:
        return
    try:
        found = yield from deployment.list_pools()
    except AccessDenied as error:
        _break(edges, error.message)
        return
    pools = {pool.name: pool for pool in found}
    for edge in edges:
        if edge.kind == POOL and edge.name is not None:
            _check_pool(pools.get(edge.name), edge)


def _check_pool(pool: Pool | None, edge: Edge) -> None:
    if pool is None:
        if not edge.optional:
            edge.break_(f"There is no pool {edge.name!r}.")
    elif edge.slots is not None and not pool.unlimited and pool.slots < edge.slots:
        edge.break_(f"Pool {edge.name!r} has {pool.slots} slots, and the task waits for {edge.slots}.")


def _check_assets(deployment: Deployment, edges: Sequence[Edge]) -> Flow[None]:
    for uri in dict.fromkeys(edge.name for edge in edges if edge.name is not None):
        try:
            yield from deployment.assets.get(asset_ref(uri))
        except (NotFound, AccessDenied, NotSupported) as error:
            _break([edge for edge in edges if edge.name == uri], error.message)


def _break(edges: Iterable[Edge], problem: str) -> None:
    for edge in edges:
        edge.break_(problem)
