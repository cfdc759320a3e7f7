"""What local Airflow DAGs do with RemoteTriggerDagRunOperator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import TaskGroup

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

if TYPE_CHECKING:
    from _given import Given


def trigger_now(given: Given) -> None:
    RemoteTriggerDagRunOperator(task_id="trigger", trigger_dag_id="quick", fail_when_dag_is_paused=True)


def wait_for_success(given: Given) -> None:
    RemoteTriggerDagRunOperator(
        task_id="trigger", trigger_dag_id="quick", conf={"token": "from {{ dag.dag_id }}"}, wait_for_completion=True
    )


def stream_logs(given: Given) -> None:
    RemoteTriggerDagRunOperator(
        task_id="trigger",
        trigger_dag_id="chatty",
        conf={"seconds": 10},
        wait_for_completion=True,
        stream_logs=["speak"],
        prevent_loops=True,
    )


def wait_for_failure(given: Given) -> None:
    RemoteTriggerDagRunOperator(
        task_id="trigger", trigger_dag_id="flaky", conf={"fail": True}, wait_for_completion=True, retries=1
    )


def clear_on_retry(given: Given) -> None:
    RemoteTriggerDagRunOperator(
        task_id="trigger",
        trigger_dag_id="flaky",
        conf={"fail": True},
        wait_for_completion=True,
        retries=1,
        on_retry="clear",
    )


def clear_failed_on_retry(given: Given) -> None:
    RemoteTriggerDagRunOperator(
        task_id="trigger", trigger_dag_id="failing", wait_for_completion=True, retries=1, on_retry="clear_failed"
    )


def unknown_dag(given: Given) -> None:
    RemoteTriggerDagRunOperator(task_id="unknown", trigger_dag_id="no_such_dag", retries=2)
    RemoteTriggerDagRunOperator(task_id="broken", trigger_dag_id="broken_dag", wait_for_completion=True, retries=2)


def paused_dag(given: Given) -> None:
    RemoteTriggerDagRunOperator(
        task_id="trigger",
        trigger_dag_id="paused_dag",
        fail_when_dag_is_paused=True,
        wait_for_completion=True,
        retries=2,
    )


def wrong_credentials(given: Given) -> None:
    RemoteTriggerDagRunOperator(task_id="trigger", astronomer_conn_id=given.wrong, trigger_dag_id="quick", retries=2)


def no_permission(given: Given) -> None:
    RemoteTriggerDagRunOperator(task_id="trigger", astronomer_conn_id=given.viewer, trigger_dag_id="quick", retries=2)


def refused_conf(given: Given) -> None:
    RemoteTriggerDagRunOperator(
        task_id="trigger", trigger_dag_id="with_params", conf={"x": "three"}, wait_for_completion=True, retries=2
    )


def unreachable(given: Given) -> None:
    RemoteTriggerDagRunOperator(
        task_id="trigger", astronomer_conn_id=given.down, trigger_dag_id="quick", wait_for_completion=True, retries=1
    )


def existing_run(given: Given) -> None:
    habits: dict[str, Any] = {"trigger_dag_id": "quick", "trigger_run_id": "taken.{{ dag.dag_id }}"}
    first = RemoteTriggerDagRunOperator(task_id="first", wait_for_completion=True, **habits)
    refused = RemoteTriggerDagRunOperator(task_id="refused", retries=2, **habits)
    skipped = RemoteTriggerDagRunOperator(task_id="skipped", skip_when_already_exists=True, **habits)
    reset = RemoteTriggerDagRunOperator(
        task_id="reset", reset_dag_run=True, wait_for_completion=True, trigger_rule="all_done", **habits
    )
    first >> [refused, skipped] >> reset


def for_a_date(given: Given) -> None:
    date = f"2021-11-16T11:{35 if given.deferrable else 34}:00"
    first = RemoteTriggerDagRunOperator(
        task_id="first", trigger_dag_id="quick", logical_date=date, wait_for_completion=True
    )
    again = RemoteTriggerDagRunOperator(task_id="again", trigger_dag_id="quick", logical_date=date, retries=2)
    first >> again


def mapped(given: Given) -> None:
    RemoteTriggerDagRunOperator.partial(task_id="trigger", trigger_dag_id="quick", wait_for_completion=True).expand(
        conf=[{"token": f"{number} of {{{{ dag.dag_id }}}}"} for number in range(3)]
    )


def grouped(given: Given) -> None:
    """In a task group, as setup and as teardown."""
    with TaskGroup("group"):
        inside = RemoteTriggerDagRunOperator(task_id="inside", trigger_dag_id="quick", wait_for_completion=True)
    before = RemoteTriggerDagRunOperator(task_id="before", trigger_dag_id="quick", wait_for_completion=True)
    after = RemoteTriggerDagRunOperator(task_id="after", trigger_dag_id="quick", wait_for_completion=True)
    before.as_setup() >> inside >> after.as_teardown(setups=before)


def with_note(given: Given) -> None:
    RemoteTriggerDagRunOperator(task_id="trigger", trigger_dag_id="paused_dag", note="by {{ dag.dag_id }}", retries=2)
