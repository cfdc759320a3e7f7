"""A DAG of Airflow 3 that a local sensor waits for, and that produces an asset."""

from __future__ import annotations

from datetime import datetime

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset

with DAG("publish", start_date=datetime(2026, 1, 1), schedule=None, is_paused_upon_creation=False):
    EmptyOperator(task_id="write", outlets=[Asset("s3://lake/reports")])
