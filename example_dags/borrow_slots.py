"""
Create a temporary pool in another deployment for the tasks in the block, and delete it afterwards.

Even if a task in the block fails, the pool is restored as it was before: here there was none.
"""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from astronomer_remote.operators.pool_loan import borrowed_slots

with DAG("borrow_slots", schedule=None, max_active_runs=1, default_args={"retries": 2}):

    @task
    def load() -> dict[str, Any]:
        from astronomer_remote.hooks.astronomer import AstronomerHook

        return AstronomerHook("astronomer_default").get_pool("tonight").as_dict()

    with borrowed_slots("tonight", 16, temporary=True, astronomer_conn_id="astronomer_default"):
        load()
