"""
Register each event of a local asset in another deployment, too, so that the DAGs there that are scheduled on it run.

Each mapped task registers its event once, also if it is retried.
"""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, task

from astronomer_remote.operators.asset import RemoteAssetEventOperator

orders = Asset("s3://shop/orders")

habits = {"retries": 2, "retry_delay": timedelta(minutes=1)}

with DAG("republish_asset", schedule=orders, default_args=habits):

    @task
    def extras(triggering_asset_events=None):
        return [event.extra for event in triggering_asset_events[orders]]

    RemoteAssetEventOperator.partial(
        task_id="republish", astronomer_conn_id="astronomer_default", uri="s3://shop/orders"
    ).expand(extra=extras())
