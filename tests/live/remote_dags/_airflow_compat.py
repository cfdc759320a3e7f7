"""What differs between Airflow 1.10, 2.x and 3.x for the DAG files beside this one, which run on all of them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any, Callable

from airflow import __version__

AIRFLOW = tuple(int(part) for part in __version__.split(".")[:2])

if AIRFLOW >= (3, 0):
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG, Param, TaskGroup
elif AIRFLOW >= (2, 0):
    from airflow import DAG
    from airflow.operators.python import PythonOperator
    from airflow.utils.task_group import TaskGroup

    if AIRFLOW >= (2, 2):
        from airflow.models.param import Param
else:
    from airflow import DAG
    from airflow.operators.python_operator import PythonOperator

__all__ = ["AIRFLOW", "DAG", "OPTIONS", "TaskGroup", "integer_param", "python_task"]

if AIRFLOW < (2, 0):

    class TaskGroup:  # type: ignore[no-redef]
        """Stands in where there are no groups: nothing but the prefix of the task ids."""

        def __init__(self, group_id: str) -> None:
            self.group_id = group_id

        def __enter__(self) -> TaskGroup:
            return self

        def __exit__(self, *_: object) -> None:
            pass


# For DAG(...): never scheduled, no backlog, and room for many runs at a time.
OPTIONS: dict[str, Any] = {
    "start_date": datetime(2021, 1, 1, tzinfo=timezone.utc),
    "catchup": False,
    "max_active_runs": 16,
    ("schedule" if AIRFLOW >= (2, 4) else "schedule_interval"): None,
}


def python_task(task_id: str, function: Callable[[dict[str, Any]], Any], group: str = "") -> PythonOperator:
    """Return a task without retries that calls `function` with the conf of its DAG run."""

    def call(**context: Any) -> Any:
        return function(context["dag_run"].conf or {})

    options: dict[str, Any] = {"retries": 0}
    if AIRFLOW < (2, 0):
        options["provide_context"] = True
        task_id = f"{group}.{task_id}" if group else task_id
    return PythonOperator(task_id=task_id, python_callable=call, **options)


def integer_param(default: int) -> Any:
    """Return a DAG parameter that refuses what is no integer, or only its default before Airflow 2.2."""
    return Param(default, type="integer") if AIRFLOW >= (2, 2) else default
