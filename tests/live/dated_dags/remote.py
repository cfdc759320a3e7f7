"""DAGs for airflow 2.x: one with two scheduled runs, and one that others trigger."""

from __future__ import annotations

from datetime import datetime, timezone

import pendulum
from airflow import DAG, __version__
from airflow.models import BaseOperator

SCHEDULE = "schedule" if tuple(map(int, __version__.split(".")[:2])) >= (2, 4) else "schedule_interval"


class Nothing(BaseOperator):
    """Succeed."""

    def execute(self, context: object) -> None:
        pass


# Of the hours from 0:00 and from 1:00. With a schedule, 2.2 takes no other zones than pendulum's.
with DAG(
    "hourly",
    start_date=pendulum.datetime(2024, 1, 5, 0, tz="UTC"),
    end_date=pendulum.datetime(2024, 1, 5, 1, tz="UTC"),
    catchup=True,
    **{SCHEDULE: "0 * * * *"},
) as hourly:
    Nothing(task_id="nothing")

nothing = DAG("nothing", start_date=datetime(2021, 1, 1, tzinfo=timezone.utc), catchup=False, **{SCHEDULE: None})
