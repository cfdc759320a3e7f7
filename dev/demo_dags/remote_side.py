"""The DAGs that the example DAGs trigger and wait for, as a remote of Airflow 1.10, 2 or 3 has them."""

# No single Airflow has all of these names.
# mypy: ignore-errors
# ruff: noqa: AIR002, AIR302, AIR311

from __future__ import annotations

import time
from datetime import datetime, timezone

from airflow import DAG, __version__

try:
    from airflow.providers.standard.operators.python import PythonOperator
except ImportError:
    try:
        from airflow.operators.python import PythonOperator
    except ImportError:
        from airflow.operators.python_operator import PythonOperator

AIRFLOW = tuple(int(part) for part in __version__.split(".")[:2])

# The task of each DAG, and the seconds that it takes.
DAGS = {
    "load_sales": ("publish", 5),
    "load_region": ("load", 1),
    "refresh_dashboards": ("refresh", 1),
    "daily_report": ("report", 1),
    "legacy_load": ("load", 1),
    "legacy_check": ("count_rows", 1),
}


def work(seconds, **context):
    conf = context["dag_run"].conf or {}
    print(f"asked for {conf}")
    time.sleep(seconds)
    return {"region": conf.get("region"), "rows": 1234}


def options(seconds):
    given = {"op_kwargs": {"seconds": seconds}}
    return given if AIRFLOW >= (2, 0) else {"provide_context": True, **given}


for dag_id, (task_id, seconds) in DAGS.items():
    with DAG(
        dag_id,
        start_date=datetime(2021, 1, 1, tzinfo=timezone.utc),
        catchup=False,
        **{"schedule" if AIRFLOW >= (2, 4) else "schedule_interval": None},
    ) as dag:
        PythonOperator(task_id=task_id, python_callable=work, **options(seconds))
    globals()[dag_id] = dag
