"""
Refresh an asset of another deployment: trigger the DAG there that produces it, and wait for its run.

The task names the asset, not the DAG. A retry finds the run of the try before.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.asset import RemoteMaterializeAssetOperator

with DAG("materialize_asset", schedule=None, default_args={"retries": 2, "retry_delay": timedelta(minutes=1)}):
    RemoteMaterializeAssetOperator(
        task_id="refresh_customers",
        astronomer_conn_id="astronomer_default",
        uri="s3://sales/customers",
        conf={"requested_by": "{{ run_id }}"},
        wait_for_completion=True,
        poke_interval=20,
        deferrable=True,
    )
