"""An Airflow DAG that runs for as many seconds as its conf says, 30 by default."""

from __future__ import annotations

import time
from typing import Any

from _airflow_compat import DAG, OPTIONS, python_task


def sleep(conf: dict[str, Any]) -> None:
    time.sleep(float(conf.get("seconds", 30)))


with DAG("sleeper", **OPTIONS) as dag:
    python_task("sleep", sleep)
