"""The side where our code runs: a task instance and its context, as far as this package looks at them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from airflow.providers.common.compat.sdk import DAG

STARTED = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=timezone.utc)
DATE = datetime(2026, 5, 4, tzinfo=timezone.utc)


@dataclass
class LocalRun:
    """A local DAG run."""

    run_id: str = "scheduled__2026-05-04"
    start_date: datetime | None = STARTED
    logical_date: datetime | None = DATE
    run_after: datetime = DATE


@dataclass
class LocalTask:
    """A local task instance."""

    task: Any
    map_index: int = -1
    try_number: int = 1
    max_tries: int = 0
    start_date: datetime | None = None
    run: LocalRun = field(default_factory=LocalRun)
    pushed: list[tuple[str, Any]] = field(default_factory=list)

    @property
    def dag_id(self) -> str:
        return str(self.task.dag_id)

    @property
    def task_id(self) -> str:
        return str(self.task.task_id)

    @property
    def run_id(self) -> str:
        return self.run.run_id

    @property
    def xcoms(self) -> dict[str, Any]:
        return dict(self.pushed)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed.append((key, value))

    def context(self) -> dict[str, Any]:
        return {
            "ti": self,
            "task": self.task,
            "dag_run": self.run,
            "run_id": self.run.run_id,
            "logical_date": self.run.logical_date,
            "params": {"greeting": "hello"},
        }


def local_task(operator: Any, **facts: Any) -> LocalTask:
    """A first try of an operator's task; `max_tries` follows from its retries as in Airflow."""
    run = LocalRun(**{name: facts.pop(name) for name in list(facts) if name in ("run_id", "logical_date", "run_after")})
    facts.setdefault("start_date", datetime.now(timezone.utc))
    return LocalTask(operator, **{"max_tries": operator.retries, "run": run, **facts})


def in_dag(make: Any, dag_id: str = "local_dag", **arguments: Any) -> Any:
    """An operator in a DAG, which is where templates are rendered and tasks get their ids from."""
    with DAG(dag_id, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None):
        return make(task_id="local_task", **arguments)
