"""
Keep the pools of another deployment as they are declared here.

The log shows what differs before anything changes. Pools that are not declared stay; ``prune=True`` would delete those
of them that no task is in.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.pool import RemoteSyncPoolsOperator

with DAG("pools_as_code", schedule=None, default_args={"retries": 2}):
    RemoteSyncPoolsOperator(
        task_id="sync_pools",
        astronomer_conn_id="astronomer_default",
        pools={
            "reporting": {"slots": 8, "description": "Reads of the reporting database"},
            "exports": 2,
        },
    )
