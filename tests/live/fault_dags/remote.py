"""DAGs for airflow 1.10, 2.x and 3.x whose runs cost nothing, however many there are and however long they last."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from airflow import DAG, __version__
from airflow.models import BaseOperator

OPTIONS: dict[str, Any] = {
    "start_date": datetime(2021, 1, 1, tzinfo=timezone.utc),
    "catchup": False,
    "max_active_runs": 64,
    ("schedule" if tuple(map(int, __version__.split(".")[:2])) >= (2, 4) else "schedule_interval"): None,
}


class Nothing(BaseOperator):
    """Succeed."""

    def execute(self, context: Any) -> None:
        pass


class Refuse(BaseOperator):
    """Fail."""

    def execute(self, context: Any) -> None:
        raise ValueError("this one always fails")


# Without a task, a run ends as soon as a scheduler looks at it.
nothing = DAG("nothing", **OPTIONS)
with DAG("fails", **OPTIONS) as fails:
    Refuse(task_id="refuse")
# Its runs are queued until it is unpaused.
queued = DAG("queued", is_paused_upon_creation=True, **OPTIONS)
with DAG("parked", is_paused_upon_creation=True, **OPTIONS) as parked:
    Nothing(task_id="nothing")
# Its runs are running until there is a pool of this name.
with DAG("held", **OPTIONS) as held:
    Nothing(task_id="wait", pool="gate")
