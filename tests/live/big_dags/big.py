"""A DAG with a mapped task in a group, whose instances a live test multiplies."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, BaseOperator, TaskGroup


class Part(BaseOperator):
    """Return a number."""

    def __init__(self, number: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.number = number

    def execute(self, context: Any) -> int:
        return self.number


with DAG("big", schedule=None, start_date=datetime(2024, 1, 1)) as dag, TaskGroup("work"):
    Part.partial(task_id="parts").expand(number=[0, 1])
