"""Local DAGs that start something in a remote, or wait for it; each runs once, as soon as Airflow knows it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.asset import RemoteAssetEventOperator, RemoteMaterializeAssetOperator
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.asset import RemoteAssetSensor
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor

BEGIN = datetime(2024, 1, 1, tzinfo=timezone.utc)
# On a busy machine, a task may not reach the local API server in time to start.
AGAIN = {"retries": 3, "retry_delay": timedelta(seconds=2)}

with DAG("starts_run", schedule="@once", start_date=BEGIN, default_args=AGAIN) as starts_run:
    RemoteTriggerDagRunOperator(task_id="start", trigger_dag_id="triggered", conf={"k": "v"})

with DAG("starts_event", schedule="@once", start_date=BEGIN, default_args=AGAIN) as starts_event:
    RemoteAssetEventOperator(task_id="start", uri="s3://lineage/orders")

with DAG("materializes", schedule="@once", start_date=BEGIN, default_args=AGAIN) as materializes:
    RemoteMaterializeAssetOperator(task_id="start", uri="s3://lineage/produced")

with DAG("starts_run_and_waits", schedule="@once", start_date=BEGIN, default_args=AGAIN) as starts_run_and_waits:
    RemoteTriggerDagRunOperator(
        task_id="start", trigger_dag_id="waited_for", wait_for_completion=True, deferrable=True, poke_interval=2
    )

with DAG("waits_for_run", schedule="@once", start_date=BEGIN, default_args=AGAIN) as waits_for_run:
    RemoteDagRunSensor(task_id="wait", external_dag_id="produces", latest_run=True, deferrable=True, poke_interval=2)

with DAG("waits_for_events", schedule="@once", start_date=BEGIN, default_args=AGAIN) as waits_for_events:
    for name in ("orders", "produced"):
        RemoteAssetSensor(task_id=name, uri=f"s3://lineage/{name}", since=BEGIN, deferrable=True, poke_interval=2)
