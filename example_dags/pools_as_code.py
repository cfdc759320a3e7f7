"""
Keep the pools of another deployment in sync with this declaration.

The log shows the differences before anything changes. Pools that are not declared are left alone; ``prune=True`` would
delete those that no task uses.
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
