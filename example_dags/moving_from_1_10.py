"""
Use an Airflow 1.10 from a new deployment while you migrate its DAGs one by one.

The tasks are the same as for any remote. When a DAG has been migrated, change the connection, not the DAG. What the
experimental API of 1.10 does not support fails with a clear error.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor

habits = {
    "retries": 2,
    "astronomer_conn_id": "astronomer_default",
    "deferrable": True,
    "poke_interval": 60,
}

with DAG("moving_from_1_10", schedule=None, default_args=habits):
    legacy = RemoteTriggerDagRunOperator(
        task_id="legacy_load",
        trigger_dag_id="legacy_load",
        conf={"full": False},
        wait_for_completion=True,
        failed_states=["failed"],
        execution_timeout=timedelta(hours=6),
    )
    # 1.10 knows whole runs and single tasks; task groups came with Airflow 2.
    checked = RemoteDagRunSensor(
        task_id="legacy_check",
        external_dag_id="legacy_check",
        external_task_id="count_rows",
        latest_run=True,
        failed_states=["failed", "upstream_failed"],
        timeout=timedelta(hours=6).total_seconds(),
    )
    legacy >> checked
