"""An Airflow DAG with a parameter x: since 2.2 a trigger with an x that is no integer is refused."""

from __future__ import annotations

from typing import Any

from _airflow_compat import DAG, OPTIONS, integer_param, python_task


def show(conf: dict[str, Any]) -> Any:
    return conf.get("x")


with DAG("with_params", params={"x": integer_param(1)}, **OPTIONS) as dag:
    python_task("show", show)
