"""A file that would define the Airflow DAG broken_dag, were it not for a missing import."""

from __future__ import annotations

import a_module_that_is_not_installed  # noqa: F401
from _airflow_compat import DAG, OPTIONS, python_task

with DAG("broken_dag", **OPTIONS) as dag:
    python_task("never", lambda conf: None)
