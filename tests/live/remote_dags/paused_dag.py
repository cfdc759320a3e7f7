"""An Airflow DAG that is paused from its beginning."""

from __future__ import annotations

from typing import Any

from _airflow_compat import DAG, OPTIONS, python_task


def nothing(conf: dict[str, Any]) -> None:
    print("this runs once somebody unpauses the DAG")


with DAG("paused_dag", is_paused_upon_creation=True, **OPTIONS) as dag:
    python_task("nothing", nothing)
