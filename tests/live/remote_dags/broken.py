"""A file that would define the DAG broken_dag for airflow, were it not for a missing import."""

from __future__ import annotations

from datetime import datetime, timezone

import a_module_that_is_not_installed  # noqa: F401
from airflow import DAG

broken_dag = DAG("broken_dag", start_date=datetime(2021, 1, 1, tzinfo=timezone.utc))
