"""
Wait for runs that somebody else makes in another deployment, its own schedule for example.

The first two sensors look for a run by its date, so a DAG like this has the schedule of the one that it waits for.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.sensors.dag_run import RemoteDagRunSensor

habits = {
    "retries": 2,
    "astronomer_conn_id": "astronomer_default",
    "deferrable": True,
    "poke_interval": 60,
    "timeout": timedelta(hours=6).total_seconds(),
    # Without it a failed run is waited for until the timeout, in case somebody mends it.
    "failed_states": ["failed"],
}

with DAG("wait_for_another_run", schedule=None, default_args=habits):
    RemoteDagRunSensor(task_id="run_of_the_same_date", external_dag_id="load_sales")

    RemoteDagRunSensor(
        task_id="run_of_an_hour_earlier",
        external_dag_id="load_sales",
        execution_delta=timedelta(hours=1),
    )

    RemoteDagRunSensor(task_id="newest_run", external_dag_id="load_sales", latest_run=True)

    RemoteDagRunSensor(
        task_id="one_task_of_the_newest_run",
        external_dag_id="load_sales",
        external_task_id="publish",
        latest_run=True,
        failed_states=["failed", "upstream_failed"],
        check_existence=True,
    )
