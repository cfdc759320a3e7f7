"""
Wait for runs that another deployment starts itself, for example on its own schedule.

By default, the sensor waits for the run of its own logical date, which is right for a DAG with the same schedule as the
remote one; ``execution_delta`` is for an earlier date. This DAG can be started at any time of the day, so it calculates
the date.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.sensors.dag_run import RemoteDagRunSensor

habits = {
    "retries": 2,
    "astronomer_conn_id": "astronomer_default",
    "deferrable": True,
    "poke_interval": 60,
    "timeout": timedelta(hours=6).total_seconds(),
    # Without it, the sensor waits for a failed run until the timeout, in case someone fixes it.
    "failed_states": ["failed"],
}


def yesterday(logical_date: datetime, **context: Any) -> datetime:
    """The logical date of the run that a daily schedule started last midnight, UTC."""
    return logical_date.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


with DAG("wait_for_another_run", schedule=None, default_args=habits):
    RemoteDagRunSensor(task_id="run_of_yesterday", external_dag_id="nightly_sales", execution_date_fn=yesterday)

    RemoteDagRunSensor(
        task_id="one_task_of_yesterday",
        external_dag_id="nightly_sales",
        external_task_id="publish",
        execution_date_fn=yesterday,
        failed_states=["failed", "upstream_failed"],
    )

    RemoteDagRunSensor(task_id="newest_run", external_dag_id="nightly_sales", latest_run=True)

    RemoteDagRunSensor(
        task_id="one_task_of_the_newest_run",
        external_dag_id="nightly_sales",
        external_task_id="publish",
        latest_run=True,
        failed_states=["failed", "upstream_failed"],
        check_existence=True,
    )
