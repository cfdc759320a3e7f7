"""DAGs that depend on two other deployments, for the page of remote deployments."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.asset import RemoteMaterializeAssetOperator
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.sensors.pool import RemotePoolSlotSensor

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
WAREHOUSE = {"astronomer_conn_id": "warehouse", "poke_interval": 2, "deferrable": True, "retries": 0}
ANALYTICS = {**WAREHOUSE, "astronomer_conn_id": "analytics"}

with DAG("sales", start_date=START, schedule=None, default_args=WAREHOUSE):
    RemoteTriggerDagRunOperator(task_id="load_orders", trigger_dag_id="load_orders", wait_for_completion=True)
    RemoteTriggerDagRunOperator(task_id="load_rates", trigger_dag_id="load_rates", wait_for_completion=True)
    RemotePoolSlotSensor(task_id="free_slots", pool_name="loading", slots=2)

with DAG("reports", start_date=START, schedule=None, default_args=ANALYTICS):
    RemoteTriggerDagRunOperator(task_id="publish", trigger_dag_id="publish_reports", wait_for_completion=True)
    RemoteTriggerDagRunOperator(task_id="archive", trigger_dag_id="archive_reports", wait_for_completion=True)

# These two are paused: the tests write what their tasks have done.

with DAG("backfill", start_date=START, schedule=None, default_args=WAREHOUSE):
    RemoteDagRunSensor.partial(task_id="wait", external_dag_id="load_orders").expand(
        external_run_id=[f"day_{number}" for number in range(200)]
    )

with DAG("uploads", start_date=START, schedule=None, default_args=ANALYTICS):
    RemoteTriggerDagRunOperator(task_id="stage", trigger_dag_id="stage_files")
    RemoteTriggerDagRunOperator(task_id="clean", trigger_dag_id="clean_files")
    RemoteMaterializeAssetOperator(task_id="publish", uri="s3://lake/orders")
