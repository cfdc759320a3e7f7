"""The side where our code runs: a task instance and its context, as far as this package looks at them."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import DAG, TaskDeferred

try:
    from airflow.sdk.exceptions import AirflowRescheduleException as AirflowRescheduleException
except ImportError:
    from airflow.exceptions import AirflowRescheduleException as AirflowRescheduleException

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

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

    def get_first_reschedule_date(self, context: Any) -> None:
        """When a sensor was first rescheduled, which Airflow 3 reads from the task instance."""

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


def run(operator: Any, **facts: Any) -> Any:
    """Run an operator's task to its end."""
    return to_the_end(operator, local_task(operator, **facts).context())


def to_the_end(operator: Any, context: dict[str, Any]) -> Any:
    """Execute a task, and its deferral if there is one."""
    try:
        return operator.execute(context)
    except TaskDeferred as deferred:
        return resume(deferred, operator, context)


def resume(deferred: TaskDeferred, operator: Any, context: dict[str, Any]) -> Any:
    """What Airflow does with a deferred task: runs the trigger elsewhere, and the task again with its event."""
    return come_back(deferred, operator, context, asyncio.run(only_event(restored(deferred.trigger))))


def come_back(deferred: TaskDeferred, operator: Any, context: dict[str, Any], event: Any) -> Any:
    """What Airflow does when the trigger has ended."""
    return operator.resume_execution(deferred.method_name, {**(deferred.kwargs or {}), "event": event}, context)


def restored(trigger: BaseTrigger) -> Any:
    """A trigger as it comes out of the database."""
    path, arguments = trigger.serialize()
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))


async def only_event(trigger: BaseTrigger) -> Any:
    """The one event of a trigger, as it comes out of the database."""
    (event,) = [event async for event in trigger.run()]
    return json.loads(json.dumps(event.payload))


def through_the_database(dag: Any) -> Any:
    """A DAG as the scheduler and the web server see it."""
    try:
        from airflow.serialization.serialized_objects import DagSerialization as Serialization
    except ImportError:  # Airflow 2 to 3.1
        from airflow.serialization.serialized_objects import (  # type: ignore[attr-defined]  # private since 3.2
            SerializedDAG as Serialization,
        )
    return Serialization.from_dict(json.loads(json.dumps(Serialization.to_dict(dag))))
