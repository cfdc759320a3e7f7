"""
Register an event of an asset of another deployment, so that the DAGs there that are scheduled on it run.

The event is registered once, also if the task is retried; clearing the task registers another one. The remote DAG
updates an asset of its own when it is done, which the second task waits for.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.asset import RemoteAssetEventOperator
from astronomer_remote.sensors.asset import RemoteAssetSensor

habits = {"retries": 2, "retry_delay": timedelta(minutes=1), "astronomer_conn_id": "astronomer_default"}

with DAG("remote_assets", schedule=None, default_args=habits):
    event = RemoteAssetEventOperator(
        task_id="orders_are_there",
        uri="s3://sales/orders",
        extra={"loaded_by": "{{ run_id }}", "rows": 1234},
    )

    report = RemoteAssetSensor(
        task_id="report_is_there",
        uri="s3://sales/report",
        deferrable=True,
        timeout=timedelta(hours=1).total_seconds(),
    )

    event >> report
