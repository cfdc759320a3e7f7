"""
Trigger a run for a given date.

A date without a time zone is UTC. The name of the field in the API differs by version of Airflow; the operator handles
that.
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
        # A DAG has one run per date: here it does not matter if it exists already.
        skip_when_already_exists=True,
        wait_for_completion=True,
        deferrable=True,
        failed_states=["failed"],
    )
