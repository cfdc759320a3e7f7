"""What local Airflow DAGs do whose tasks, or whose Airflow, are ended while they wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

if TYPE_CHECKING:
    from _given import Given


def held(given: Given) -> None:
    RemoteTriggerDagRunOperator(task_id="trigger", trigger_dag_id="held", wait_for_completion=True, retries=2)


def queued(given: Given) -> None:
    RemoteTriggerDagRunOperator(task_id="trigger", trigger_dag_id="queued", wait_for_completion=True, retries=2)


def fifty(given: Given) -> None:
    RemoteTriggerDagRunOperator.partial(
        task_id="trigger", trigger_dag_id="queued", wait_for_completion=True, retries=2
    ).expand(conf=[{"number": number} for number in range(50)])
