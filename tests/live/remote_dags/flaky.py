"""An Airflow DAG that fails exactly when its conf has a true "fail"."""

from __future__ import annotations

from typing import Any

from _airflow_compat import DAG, OPTIONS, python_task


def maybe(conf: dict[str, Any]) -> str:
    if conf.get("fail"):
        raise RuntimeError("failed because the conf said so")
    return "fine"


with DAG("flaky", **OPTIONS) as dag:
    python_task("maybe", maybe)
