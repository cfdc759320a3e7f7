"""Whether what the map names exists in the remote deployments, works there, and may be done by the account."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import uuid4

from astronomer_remote.api.connection_test import ConnectionTest
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.dialects.base import Dialect, Operation
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    InvalidSettings,
    NotFound,
    NotSupported,
    RemoteError,
)
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
from astronomer_remote.api.waiting.target import in_group
from astronomer_remote.dependencies import ASSET, DAG, POOL, POOLS, TASK, TASK_GROUP
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

MAKES = ("creates", "sets", "reads")
"""What a task does with a pool that it makes if there is none."""

RESIZES = ("creates", "sets", "updates", "borrows")
"""What a task does with a pool whose size it may change."""


def check(deployment: Deployment, edges: Sequence[Edge]) -> Flow[None]:
    """
    Set the status and the problems of the edges of one deployment. Changes nothing there.

    It sends one request for each kind of change; one for each DAG and asset or, if there are fewer, for each page of
    the listing of DAGs or assets; one for the tasks of each DAG of which tasks are named; some more for each asset that
    is missing; one for each page of the listing of pools and, if a DAG is missing, of import errors.

    :raises RemoteError: if the deployment cannot be read. What is known by then is kept.
    """
    dialect = yield from deployment.client.dialect()
    try:
        yield from _check_rights(deployment, dialect, edges)
        yield from _check_dags(deployment, dialect, edges)
        yield from _check_pools(deployment, [edge for edge in edges if edge.kind in (POOL, POOLS)])
        yield from _check_assets(deployment, [edge for edge in edges if edge.kind == ASSET])
    except RemoteError:
        for edge in edges:
            edge.status = Status.BROKEN if edge.problems else Status.UNCHECKED
        raise
    for edge in edges:
        if edge.status is Status.UNCHECKED:
            edge.status = Status.OK if edge.is_known else Status.UNKNOWN


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
    found = yield from deployment.dags.get_each(by_dag)
    for dag_id, concerned in by_dag.items():
        dag = found[dag_id]
        if not isinstance(dag, Dag):
            _break(concerned, dag.message)
            continue
        if dag.is_stale:
            _break(concerned, f"No DAG file of the remote defines DAG {dag_id!r} any more.")
            continue
        paused = dag.is_paused
        if paused is None:
            paused = yield from deployment.dags.is_paused(dag_id)
        _check_dag(dag, concerned, paused=paused)
        parts = [edge for edge in concerned if edge.kind != DAG and edge.name is not None]
        if parts:
            yield from _check_tasks(deployment, dialect, dag_id, parts)


def _check_dag(dag: Dag, edges: Sequence[Edge], *, paused: bool) -> None:
    unpaused = any(edge.how.startswith("unpauses") for edge in edges)
    for edge in edges:
        if dag.has_import_errors:
            edge.break_(f"DAG {dag.dag_id!r} has an import error in the remote.")
        if paused and edge.how.startswith(NEEDS_RUNS):
            if unpaused:
                edge.leave_unknown()
            else:
                edge.break_(f"DAG {dag.dag_id!r} is paused.")


def _check_tasks(deployment: Deployment, dialect: Dialect, dag_id: str, edges: Sequence[Edge]) -> Flow[None]:
    try:
        known = yield from deployment.dags.task_ids(dag_id)
    except NotSupported:
        known = None
    if known is None:
        yield from _check_tasks_one_by_one(deployment, dialect, dag_id, edges)
        return
    for edge in edges:
        is_there = in_group if edge.kind == TASK_GROUP else str.__eq__
        if not any(is_there(each, edge.name or "") for each in known):
            edge.break_(f"DAG {dag_id!r} has no {edge.kind} {edge.name!r}.")


def _check_tasks_one_by_one(deployment: Deployment, dialect: Dialect, dag_id: str, edges: Sequence[Edge]) -> Flow[None]:
    for edge in edges:
        if edge.kind != TASK:
            edge.leave_unknown()
            continue
        try:
            yield from deployment.client.request(dialect.task(dag_id, edge.name or ""))
        except (NotFound, InvalidSettings):
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
    made = {edge.name for edge in edges if edge.optional and edge.how.startswith(MAKES)}
    resized = {edge.name for edge in edges if edge.how.startswith(RESIZES)}
    for edge in edges:
        if edge.kind != POOL or edge.name is None:
            continue
        pool = pools.get(edge.name)
        problem = _problem_of_pool(pool, edge)
        if problem and edge.name in (made if pool is None else resized):
            # Another task makes it what this one needs, or does not.
            edge.leave_unknown()
        elif problem:
            edge.break_(problem)


def _problem_of_pool(pool: Pool | None, edge: Edge) -> str | None:
    if pool is None:
        return None if edge.optional else f"There is no pool {edge.name!r}."
    if edge.slots is not None and not pool.unlimited and pool.slots < edge.slots:
        return f"Pool {edge.name!r} has {pool.slots} slots, and the task waits for {edge.slots}."
    return None


def _check_assets(deployment: Deployment, edges: Sequence[Edge]) -> Flow[None]:
    uris = list(dict.fromkeys(edge.name for edge in edges if edge.name is not None))
    try:
        listed = yield from deployment.assets.listed(uris)
    except NotSupported:
        # Each says so below.
        listed = set()
    for uri in uris:
        if uri in listed:
            continue
        try:
            yield from deployment.assets.get(asset_ref(uri))
        except (NotFound, AccessDenied, NotSupported, InvalidSettings) as error:
            _break([edge for edge in edges if edge.name == uri], error.message)


def _break(edges: Iterable[Edge], problem: str) -> None:
    for edge in edges:
        edge.break_(problem)
