"""
Register an event of an asset of another deployment, so that the DAGs there that are scheduled on it run.

The event is registered once, also if the task is retried; clearing the task registers another one.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.asset import RemoteAssetEventOperator

habits = {"retries": 2, "retry_delay": timedelta(minutes=1), "astronomer_conn_id": "astronomer_default"}

with DAG("remote_assets", schedule=None, default_args=habits):
    RemoteAssetEventOperator(
        task_id="orders_are_there",
        uri="s3://sales/orders",
        extra={"loaded_by": "{{ run_id }}", "rows": 1234},
    )
