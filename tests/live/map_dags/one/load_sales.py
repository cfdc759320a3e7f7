"""A DAG of Airflow 2 that local DAGs trigger and wait for."""

from __future__ import annotations

from datetime import datetime

from airflow import DAG
from airflow.operators.empty import EmptyOperator

with DAG("load_sales", start_date=datetime(2026, 1, 1), schedule=None, is_paused_upon_creation=False):
    EmptyOperator(task_id="rows")
