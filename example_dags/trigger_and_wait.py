"""Trigger a DAG in another deployment and wait for it without occupying a worker slot."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

with DAG("trigger_and_wait", schedule=None, default_args={"retries": 2}):
    RemoteTriggerDagRunOperator(
        task_id="load_sales",
        astronomer_conn_id="astronomer_default",
        trigger_dag_id="load_sales",
        conf={"requested_by": "{{ run_id }}"},
        wait_for_completion=True,
        deferrable=True,
        poke_interval=30,
        failed_states=["failed"],
        execution_timeout=timedelta(hours=6),
    )
