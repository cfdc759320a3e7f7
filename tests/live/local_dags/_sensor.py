"""What local Airflow DAGs do with RemoteDagRunSensor.

The remote has the runs they wait for later than they start: see RUNS in the tests.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.sensors.pool import RemotePoolSlotSensor

if TYPE_CHECKING:
    from _given import Given

HOUR = timedelta(hours=1)


def an_hour_before(logical_date: datetime) -> datetime:
    return logical_date - HOUR


def both_hours(logical_date: datetime, dag: Any) -> list[datetime]:
    """The second argument is taken from the context, as ExternalTaskSensor does it."""
    assert dag.dag_id
    return [logical_date, logical_date - HOUR]


def same_date(given: Given) -> None:
    RemoteDagRunSensor(task_id="wait", external_dag_id="quick")


def earlier_date(given: Given) -> None:
    RemoteDagRunSensor(task_id="delta", external_dag_id="quick", execution_delta=HOUR)
    RemoteDagRunSensor(task_id="function", external_dag_id="quick", execution_date_fn=an_hour_before)
    RemoteDagRunSensor(task_id="several", external_dag_id="quick", execution_date_fn=both_hours)


def named_run(given: Given) -> None:
    RemoteDagRunSensor(task_id="wait", external_dag_id="quick", external_run_id="{{ 'sensed' }}")


def newest_run(given: Given) -> None:
    RemoteDagRunSensor(task_id="wait", external_dag_id="sleeper", latest_run=True)


def remote_tasks(given: Given) -> None:
    RemoteDagRunSensor(task_id="one", external_dag_id="grouped", external_task_id="load.a", check_existence=True)
    RemoteDagRunSensor(task_id="two", external_dag_id="grouped", external_task_ids=["load.b", "outside"])


def remote_group(given: Given) -> None:
    RemoteDagRunSensor(task_id="wait", external_dag_id="grouped", external_task_group_id="load", check_existence=True)


def remote_failure(given: Given) -> None:
    RemoteDagRunSensor(task_id="run", external_dag_id="failing", failed_states=["failed"])
    of_task: dict[str, Any] = {"external_dag_id": "grouped", "external_task_id": "load.b", "execution_delta": HOUR}
    RemoteDagRunSensor(task_id="task", failed_states=["failed"], **of_task)
    RemoteDagRunSensor(task_id="soft", failed_states=["failed"], soft_fail=True, **of_task)


def remote_skip(given: Given) -> None:
    RemoteDagRunSensor(
        task_id="wait",
        external_dag_id="grouped",
        external_task_id="load.a",
        execution_delta=2 * HOUR,
        skipped_states=["skipped"],
    )


def rescheduled(given: Given) -> None:
    # Airflow loses track of a task that is started again before its worker has ended.
    RemoteDagRunSensor(task_id="wait", external_dag_id="quick", mode="reschedule", poke_interval=15)


def timed_out(given: Given) -> None:
    RemoteDagRunSensor(task_id="hard", external_dag_id="quick", external_run_id="never", timeout=5, retries=2)
    RemoteDagRunSensor(task_id="soft", external_dag_id="quick", external_run_id="never", timeout=5, soft_fail=True)


def overdue(given: Given) -> None:
    """Airflow 3 leaves it to the trigger to end a deferred task in time."""
    short = timedelta(seconds=20)
    RemoteDagRunSensor(task_id="run", external_dag_id="quick", external_run_id="never", execution_timeout=short)
    RemoteDagRunSensor(task_id="once", external_dag_id="quick", external_run_id="never", timeout=0)
    if given.version >= (2, 0):
        RemotePoolSlotSensor(task_id="pool", pool_name="default_pool", slots=100_000, execution_timeout=short)


def typos(given: Given) -> None:
    habits: dict[str, Any] = {"check_existence": True, "retries": 2, "external_run_id": "never"}
    RemoteDagRunSensor(task_id="dag", external_dag_id="quik", **habits)
    RemoteDagRunSensor(task_id="task", external_dag_id="grouped", external_task_id="load.c", **habits)
    # 2.2 cannot list the tasks of a DAG that was triggered with a conf.
    if given.version >= (2, 3) or (2, 0) <= given.version < (2, 2):
        RemoteDagRunSensor(task_id="group", external_dag_id="grouped", external_task_group_id="lod", **habits)


def unreachable_remote(given: Given) -> None:
    """A sensor's own timeout says how long it puts up with a remote that is down."""
    RemoteDagRunSensor(
        task_id="wait", astronomer_conn_id=given.down, external_dag_id="quick", external_run_id="any", timeout=1
    )
