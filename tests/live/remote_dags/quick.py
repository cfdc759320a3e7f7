"""An Airflow DAG that succeeds at once and hands back its conf by XCom."""

from __future__ import annotations

from typing import Any

from _airflow_compat import DAG, OPTIONS, python_task


def hello(conf: dict[str, Any]) -> dict[str, Any]:
    print(f"hello, conf is {conf}")
    return {"conf": conf}


with DAG("quick", **OPTIONS) as dag:
    python_task("hello", hello)
