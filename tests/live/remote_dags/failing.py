"""An Airflow DAG whose second task always fails, so that its third never runs."""

from __future__ import annotations

from typing import Any

from _airflow_compat import DAG, OPTIONS, python_task


def ok(conf: dict[str, Any]) -> str:
    return "ok"


def boom(conf: dict[str, Any]) -> None:
    raise ValueError("boom on purpose")


with DAG("failing", **OPTIONS) as dag:
    python_task("ok", ok) >> python_task("boom", boom) >> python_task("after", ok)
