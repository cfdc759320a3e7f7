"""Trigger one run per region in another deployment, all from one mapped task, and collect their states."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

with DAG("fan_out", schedule=None, default_args={"retries": 2}):

    @task
    def confs() -> list[dict[str, Any]]:
        return [{"region": region} for region in ("africa", "americas", "asia", "europe", "oceania")]

    @task
    def summarize(runs: list[dict[str, Any]]) -> dict[str, str]:
        return {run["run_id"]: run["state"] for run in runs}

    loads = RemoteTriggerDagRunOperator.partial(
        task_id="load_region",
        astronomer_conn_id="astronomer_default",
        trigger_dag_id="load_region",
        wait_for_completion=True,
        deferrable=True,
        poke_interval=30,
        failed_states=["failed"],
        # To limit the number of parallel runs, use a pool that counts deferred tasks.
        pool="default_pool",
    ).expand(conf=confs())

    summarize(loads.output)
