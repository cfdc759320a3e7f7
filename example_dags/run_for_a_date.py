"""
Trigger a run for a given date.

A date without a zone means UTC. Each generation of Airflow calls this field by its own name; that is taken care of.
"""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

with DAG("run_for_a_date", schedule=None, default_args={"retries": 2}):
    RemoteTriggerDagRunOperator(
        task_id="recompute",
        astronomer_conn_id="astronomer_default",
        trigger_dag_id="daily_report",
        logical_date="2021-11-16T11:34:00",
        # A DAG has one run per date: if somebody made it already, that is fine here.
        skip_when_already_exists=True,
        wait_for_completion=True,
        deferrable=True,
        failed_states=["failed"],
    )
