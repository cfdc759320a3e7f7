"""An Airflow DAG with the tasks load.a and load.b (a task group since 2.0), and one outside of the group.

The conf decides: "fail_b" fails load.b, "skip_a" skips load.a.
"""

from __future__ import annotations

from typing import Any

from _airflow_compat import DAG, OPTIONS, TaskGroup, python_task
from airflow.exceptions import AirflowSkipException


def load_a(conf: dict[str, Any]) -> str:
    if conf.get("skip_a"):
        raise AirflowSkipException("skipped because the conf said so")
    return "a"


def load_b(conf: dict[str, Any]) -> str:
    if conf.get("fail_b"):
        raise RuntimeError("failed because the conf said so")
    return "b"


def outside(conf: dict[str, Any]) -> str:
    return "outside"


with DAG("grouped", **OPTIONS) as dag:
    with TaskGroup("load"):
        python_task("a", load_a, group="load")
        python_task("b", load_b, group="load")
    python_task("outside", outside)
