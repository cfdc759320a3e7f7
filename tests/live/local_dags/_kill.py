"""What local Airflow DAGs do whose tasks, or whose Airflow, are ended while they wait."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

try:
    from airflow.providers.standard.operators.bash import BashOperator
except ImportError:  # Airflow 2.11 without that provider
    from airflow.operators.bash import BashOperator

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

if TYPE_CHECKING:
    from _given import Given

LIMIT = timedelta(seconds=45)
FIRST_LIMIT = timedelta(seconds=60)
SECOND_TRY_HAS_TIME = f"{{{{ {FIRST_LIMIT.total_seconds()} if ti.try_number == 1 else 600 }}}}"


def waits(trigger_dag_id: str, **arguments: Any) -> None:
    RemoteTriggerDagRunOperator(
        task_id="trigger", trigger_dag_id=trigger_dag_id, wait_for_completion=True, **{"retries": 2, **arguments}
    )


def held(given: Given) -> None:
    waits("held")


def queued(given: Given) -> None:
    waits("queued")


def suspended(given: Given) -> None:
    # Long enough for what was suspended to come back before the next try.
    waits("queued", retry_delay=timedelta(seconds=40))


def overtaken(given: Given) -> None:
    # Airflow 2.11 takes the end of a try that it gave up for the end of the one that runs.
    waits("queued", wait_timeout=SECOND_TRY_HAS_TIME, retries=5)


def cleared_again(given: Given) -> None:
    # A run of a DAG without tasks cannot be cleared.
    waits("parked", wait_timeout=SECOND_TRY_HAS_TIME, on_retry="clear", retries=5)


def overdue(given: Given) -> None:
    waits("queued", execution_timeout=LIMIT, retries=0)


def impatient(given: Given) -> None:
    waits("queued", wait_timeout=LIMIT, retries=0)


def many(number: int, **arguments: Any) -> None:
    RemoteTriggerDagRunOperator.partial(
        task_id="trigger", trigger_dag_id="queued", wait_for_completion=True, retries=2, **arguments
    ).expand(conf=[{"number": each} for each in range(number)])


def eight(given: Given) -> None:
    many(8)


def twenty(given: Given) -> None:
    many(20)


def two_hundred(given: Given) -> None:
    many(200, poke_interval=5)


def plain(given: Given) -> None:
    # What Airflow itself does with the tasks of others.
    BashOperator.partial(task_id="trigger", retries=2).expand(bash_command=["sleep 2"] * 20)


def plain_long(given: Given) -> None:
    # Celery checks for messages to deliver again every 100 seconds.
    command = "sleep {{ 150 if ti.try_number == 1 else 1 }}"
    BashOperator.partial(task_id="trigger", retries=2).expand(bash_command=[command] * 4)


def four(given: Given) -> None:
    many(4)


def fifty(given: Given) -> None:
    many(50)


def thousand(given: Given) -> None:
    many(1000, poke_interval=5)
