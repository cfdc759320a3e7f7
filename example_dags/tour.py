"""
A tour of another deployment, in one DAG; ``make demo`` runs it.

Trigger a DAG there and wait, read the return value of its last task, list the pools and resize one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

with DAG("tour", schedule=None, default_args={"retries": 2, "retry_delay": timedelta(seconds=10)}):
    load = RemoteTriggerDagRunOperator(
        task_id="trigger_and_wait",
        astronomer_conn_id="astronomer_default",
        trigger_dag_id="load_sales",
        conf={"region": "europe", "requested_by": "{{ run_id }}"},
        wait_for_completion=True,
        deferrable=True,
        poke_interval=5,
        failed_states=["failed"],
    )

    @task
    def read_result(run: dict[str, Any]) -> Any:
        from astronomer_remote.exceptions import NotSupported
        from astronomer_remote.hooks.astronomer import AstronomerHook

        try:
            return AstronomerHook("astronomer_default").get_xcom(run["dag_id"], run["run_id"], "publish")
        except NotSupported as error:
            # Airflow 1.10 shows no XComs; the state of the run is what there is.
            print(error)
            return run["state"]

    @task
    def list_pools() -> dict[str, int]:
        from astronomer_remote.hooks.astronomer import AstronomerHook

        return {pool.name: pool.slots for pool in AstronomerHook("astronomer_default").list_pools()}

    @task
    def resize_pool(pools: dict[str, int]) -> dict[str, Any]:
        from astronomer_remote.hooks.astronomer import AstronomerHook

        more = pools["warehouse"] * 2
        return AstronomerHook("astronomer_default").update_pool("warehouse", slots=more).as_dict()

    pools = list_pools()
    read_result(load.output) >> pools
    resize_pool(pools)
