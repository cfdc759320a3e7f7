"""
Follow a DAG of another deployment: whenever a run of it succeeds there, this DAG runs here.

No task waits for it. The triggerer polls the other deployment, and each successful run becomes an event of a local
asset. Airflow may merge several events into one run, so the task reads all of them.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

from astronomer_remote.assets import remote_dag_asset

sales = remote_dag_asset("load_sales", astronomer_conn_id="astronomer_default")

habits = {"retries": 2, "retry_delay": timedelta(minutes=1)}

with DAG("mirror_dag", schedule=sales, default_args=habits):

    @task
    def run_ids(triggering_asset_events=None):
        return [event.extra["payload"]["run_id"] for event in triggering_asset_events[sales]]

    run_ids()
