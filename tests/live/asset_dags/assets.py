"""What local Airflow DAGs do with the assets of a remote; each runs once, as soon as Airflow knows it."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.asset import RemoteAssetEventOperator, RemoteMaterializeAssetOperator
from astronomer_remote.sensors.asset import RemoteAssetSensor

# The test has a connection, and a proxy with faults, for each of these.
CASES: list[str] = json.loads(os.environ["ASSET_CASES"])
MODES: dict[str, dict[str, Any]] = {
    "poke": {},
    # Airflow fails a task that it has queued again by the time that the executor reports the end of the poll before.
    "reschedule": {"mode": "reschedule", "poke_interval": 20},
    "deferred": {"deferrable": True},
    "deferred_too": {"deferrable": True, "count": 2},
    "predicate": {"deferrable": True, "predicate": lambda event: event["extra"]["wave"] == 2},
}


def once(dag_id: str) -> DAG:
    """A DAG that runs once."""
    habits = {"retries": 2, "retry_delay": timedelta(seconds=1)}
    return DAG(dag_id, schedule="@once", start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), default_args=habits)


for case in CASES:
    with once(f"emit_{case}") as dag:
        RemoteAssetEventOperator(
            task_id="emit", astronomer_conn_id=f"emit_{case}", uri="s3://contract/orders", extra={"case": case}
        )
    globals()[dag.dag_id] = dag

    with once(f"materialize_{case}") as dag:
        RemoteMaterializeAssetOperator(
            task_id="materialize", astronomer_conn_id=f"materialize_{case}", uri="s3://contract/orders"
        )
    globals()[dag.dag_id] = dag

for name in ("sync", "deferred"):
    with once(f"wait_{name}") as dag:
        RemoteMaterializeAssetOperator(
            task_id="wait",
            astronomer_conn_id="wait",
            uri="s3://contract/orders",
            conf={"mode": name},
            wait_for_completion=True,
            poke_interval=2,
            deferrable=name == "deferred",
        )
    globals()[dag.dag_id] = dag

for name, mode in MODES.items():
    with once(f"sense_{name}") as dag:
        RemoteAssetSensor(
            task_id="sense",
            astronomer_conn_id="sense",
            uri="s3://contract/orphans",
            extra={"of": "live test"},
            timeout=1800,
            **{"poke_interval": 5, **mode},
        )
    globals()[dag.dag_id] = dag
