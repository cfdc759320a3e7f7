"""What local Airflow DAGs do that wait for runs of a remote that means harm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor

if TYPE_CHECKING:
    from _given import Given

KINDS = ("null_character", "not_a_number", "surrogate", "deep", "large", "huge_number")
"""What is wrong with the conf of a run."""


def hostile(given: Given) -> None:
    """Watch one run of each kind, and take another one over."""
    for kind in KINDS:
        RemoteDagRunSensor(task_id=f"see_{kind}", external_dag_id="held", external_run_id=f"seen-{kind}")
        RemoteTriggerDagRunOperator(
            task_id=f"take_{kind}",
            trigger_dag_id="held",
            trigger_run_id=f"taken-{kind}",
            reset_dag_run=True,
            wait_for_completion=True,
        )


def fails_fast(given: Given) -> None:
    """Trigger what fails at once, and again."""
    RemoteTriggerDagRunOperator(task_id="trigger", trigger_dag_id="fails", wait_for_completion=True, retries=1)
