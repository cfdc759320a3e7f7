"""Which of Airflow's own roles may make which request: measured with a real deployment, named in errors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import requests

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.dialects.base import Dialect, Operation
from astronomer_remote.api.protocol.errors import NotSupported
from astronomer_remote.api.protocol.models import (
    Asset,
    AssetEventIntent,
    AssetNumber,
    AssetRef,
    DagRun,
    Pool,
    TaskInstance,
    TriggerIntent,
)
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure

ROLES = ("Viewer", "User", "Op", "Admin")
"""The roles that both generations have, each with all that the one before it may."""

RUN = DagRun("paused_dag", "roles", logical_date="2020-01-01T00:00:00Z")
POOL = Pool("roles", 1)

ASSET = Asset(1, "s3://contract/orders")
EVENT = AssetEventIntent(AssetRef(uri=ASSET.uri), "0000000000000000")


def _materialize(to: Dialect) -> Operation[DagRun]:
    """Only where it is a request of its own, rather than a trigger."""
    if not to.materializes_with_body:
        raise to.cannot("materialize an asset with a conf")
    return to.trigger(
        TriggerIntent("produces_asset", "roles-materialize", asset=AssetNumber(ASSET.asset_id, to.base_url))
    )


# In this order: what is read, changed and deleted here was made by the lines before.
OPERATIONS: dict[str, Callable[[Dialect], Operation[Any]]] = {
    "trigger": lambda to: to.trigger(TriggerIntent(RUN.dag_id, RUN.run_id, logical_date=RUN.logical_date)),
    "dag_run": lambda to: to.dag_run(RUN.dag_id, RUN.run_id),
    "dag_runs": lambda to: to.dag_runs(RUN.dag_id),
    "ended_runs": lambda to: to.ended_runs([RUN.dag_id], since=str(RUN.logical_date), bound=str(RUN.logical_date)),
    "task_instances": lambda to: to.task_instances(RUN),
    "task_log": lambda to: to.task_log(RUN, TaskInstance("nothing", try_number=1), lines=1),
    "xcom": lambda to: to.xcom(RUN.dag_id, RUN.run_id, "nothing", "return_value", -1),
    "clear_run": lambda to: to.clear_run(RUN, only_failed=False),
    "clear_run, only_failed": lambda to: to.clear_run(RUN, only_failed=True),
    "set_run_state": lambda to: to.set_run_state(RUN.dag_id, RUN.run_id, "failed"),
    "delete_run": lambda to: to.delete_run(RUN.dag_id, RUN.run_id),
    "dag": lambda to: to.dag(RUN.dag_id),
    "set_paused": lambda to: to.set_paused(RUN.dag_id, paused=True),
    "import_failures": lambda to: to.import_failures(),
    "task": lambda to: to.task(RUN.dag_id, "nothing"),
    "task_ids": lambda to: to.task_ids(RUN.dag_id),
    "create_pool": lambda to: to.create_pool(POOL),
    "update_pool": lambda to: to.update_pool(POOL, frozenset({"slots"})),
    "pool": lambda to: to.pool(POOL.name),
    "pools": lambda to: to.pools(),
    "delete_pool": lambda to: to.delete_pool(POOL.name),
    "assets": lambda to: to.assets(),
    "asset_events": lambda to: to.asset_events(),
    "create_asset_event": lambda to: to.create_asset_event(ASSET, EVENT),
    "materialize": _materialize,
    "config": lambda to: to.config(),
}


def measure(
    url: str, users: Mapping[str, tuple[str, str]], names: Collection[str] = OPERATIONS
) -> dict[str, dict[str, int]]:
    """Send each operation as each role. :return: the HTTP statuses by operation and role."""
    sessions = {role: _session(url, *users[role.lower()]) for role in ROLES}
    dialect, _ = sessions["Admin"]
    found: dict[str, dict[str, int]] = {}
    for name in names:
        try:
            request = OPERATIONS[name](dialect).request
        except NotSupported:
            continue
        content = {"data": request.content(), "headers": {"Content-Type": "application/json"}} if request.body else {}
        found[name] = {
            role: session.request(request.method, url + request.target, timeout=300, **content).status_code
            for role, (_, session) in sessions.items()
        }
    return found


def least(statuses: Mapping[str, int]) -> str:
    """The first role that was not refused."""
    return next(role for role in ROLES if statuses[role] != 403)


def _session(url: str, login: str, password: str) -> tuple[Dialect, requests.Session]:
    settings = Settings.parse(host=url, login=login, password=password)
    session = configure(requests.Session(), settings)
    driver = SyncDriver(session, settings, reload=lambda: settings)
    client = Deployment(settings).client
    session.headers.update(driver.run(client.authorization()))
    return driver.run(client.dialect()), session
