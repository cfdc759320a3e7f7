"""The DAGs that the example DAGs trigger and wait for, as a remote of Airflow 1.10, 2 or 3 has them."""

# No single Airflow has all of these names.
# mypy: ignore-errors
# ruff: noqa: AIR002, AIR302, AIR311

from __future__ import annotations

import time
from datetime import datetime, timedelta

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
TRIGGERED = {
    "load_sales": ("publish", 5),
    "load_region": ("load", 1),
    "refresh_dashboards": ("refresh", 1),
    "daily_report": ("report", 1),
    "legacy_load": ("load", 1),
}
# These have a schedule of their own, and one run as soon as the deployment is up: that of yesterday.
NIGHTLY = {
    "nightly_sales": ("publish", 1),
    "legacy_check": ("count_rows", 1),
}


def work(seconds, **context):
    conf = context["dag_run"].conf or {}
    print(f"the conf of this run is {conf}")
    time.sleep(seconds)
    return {"region": conf.get("region"), "rows": 1234}


def options(seconds):
    given = {"op_kwargs": {"seconds": seconds}}
    return given if AIRFLOW >= (2, 0) else {"provide_context": True, **given}


def every_night():
    """Every day at midnight; the run's logical date is the midnight before, in Airflow 3 too."""
    if AIRFLOW < (3, 0):
        return "@daily"
    from airflow.timetables.interval import CronDataIntervalTimetable

    return CronDataIntervalTimetable("@daily", timezone="UTC")


for dag_id, (task_id, seconds) in {**TRIGGERED, **NIGHTLY}.items():
    with DAG(
        dag_id,
        # Without a zone, which means UTC: those of the standard library give 1.10 no schedule.
        start_date=datetime(2021, 1, 1),
        catchup=False,
        # The scheduler may start the first run of a schedule before the API server listens, which fails its task.
        default_args={"retries": 3, "retry_delay": timedelta(seconds=10)},
        **{"schedule" if AIRFLOW >= (2, 4) else "schedule_interval": every_night() if dag_id in NIGHTLY else None},
    ) as dag:
        PythonOperator(task_id=task_id, python_callable=work, **options(seconds))
    globals()[dag_id] = dag

if AIRFLOW >= (2, 4):
    try:
        from airflow.sdk import Asset
    except ImportError:
        from airflow.datasets import Dataset as Asset

    # An event of the one asset runs this DAG, which makes an event of the other.
    with DAG(
        "report_on_orders",
        start_date=datetime(2021, 1, 1),
        catchup=False,
        schedule=[Asset("s3://sales/orders")],
    ) as report_on_orders:
        PythonOperator(task_id="report", python_callable=work, outlets=[Asset("s3://sales/report")], **options(1))

    # Another deployment registers the events of this asset.
    with DAG(
        "count_orders", start_date=datetime(2021, 1, 1), catchup=False, schedule=[Asset("s3://shop/orders")]
    ) as count_orders:
        PythonOperator(task_id="count", python_callable=work, **options(1))

    # Runs whenever the asset is materialized.
    with DAG("count_customers", start_date=datetime(2021, 1, 1), catchup=False, schedule=None) as count_customers:
        PythonOperator(task_id="count", python_callable=work, outlets=[Asset("s3://sales/customers")], **options(1))
