"""What local Airflow DAGs do with a remote; each runs once, as soon as Airflow knows it."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.common.compat.sdk import DAG, task

from astronomer_remote.operators import pool_loan
from astronomer_remote.operators.dag import (
    RemoteCancelDagRunOperator,
    RemoteClearDagRunOperator,
    RemoteDeleteDagRunOperator,
    dag_paused,
)
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.operators.pool import (
    RemoteCreatePoolOperator,
    RemoteDeletePoolOperator,
    RemoteSyncPoolsOperator,
    RemoteUpdatePoolOperator,
)
from astronomer_remote.operators.pool_loan import borrowed_slots
from astronomer_remote.sensors.pool import RemotePoolSlotSensor

CONNECTION = {"astronomer_conn_id": "remote"}


def once(dag_id: str, **defaults: Any) -> DAG:
    """A DAG that runs once."""
    habits = {"retries": 0, "retry_delay": timedelta(seconds=1), **CONNECTION, **defaults}
    return DAG(dag_id, schedule="@once", start_date=datetime(2024, 1, 1, tzinfo=timezone.utc), default_args=habits)


def die() -> None:
    """End as a process does that the machine has no memory for: nothing is cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


class DiesAfterTheChange(pool_loan.RemoteBorrowPoolSlotsOperator):
    """A borrower that dies before it reports what it did; a second attempt does not."""

    def execute(self, context: Any) -> None:
        """Change the pool, and die."""
        super().execute(context)
        if context["ti"].try_number == 1:
            die()


@task
def work(pool: str, what: str = "look") -> list[Any]:
    """What is done while slots are borrowed."""
    from astronomer_remote.hooks.astronomer import AstronomerHook

    hook = AstronomerHook("remote")
    seen = [hook.get_pool(pool).slots]
    if what == "meddle":
        hook.update_pool(pool, slots=7)
    if what == "die":
        die()
    if what == "sleep":
        time.sleep(900)
    return seen


with once("managed"):
    (
        RemoteCreatePoolOperator(task_id="create", pool_name="managed", slots="{{ 2 + 3 }}")
        >> RemoteUpdatePoolOperator(task_id="update", pool_name="managed", slots=6)
        >> RemoteSyncPoolsOperator(task_id="dry", pools={"synced": 9}, dry_run=True)
        >> RemoteSyncPoolsOperator(task_id="sync", pools={"synced": 2, "managed": 7})
        >> RemoteDeletePoolOperator(task_id="delete", pool_name="managed")
    )

for name, borrower, retries in (
    ("borrower_dies", DiesAfterTheChange, 0),
    ("borrower_dies_once", DiesAfterTheChange, 1),
):
    pool_loan.RemoteBorrowPoolSlotsOperator = borrower
    with once(name), borrowed_slots(name, 9, retries=retries, **CONNECTION):
        work(name)
    pool_loan.RemoteBorrowPoolSlotsOperator = DiesAfterTheChange.__base__

for name, what in (("worker_dies", "die"), ("meddled", "meddle"), ("run_is_marked", "sleep")):
    with once(name), borrowed_slots(name, 9, **CONNECTION):
        work(name, what)

with once("temporary"), borrowed_slots("temporary", 4, temporary=True, **CONNECTION):
    work("temporary")

with once("crowded", pool_name="crowded", slots=2, poke_interval=2, timeout=600):
    RemotePoolSlotSensor(task_id="poke")
    RemotePoolSlotSensor(task_id="reschedule", mode="reschedule")
    RemotePoolSlotSensor(task_id="defer", deferrable=True) >> RemoteTriggerDagRunOperator(
        task_id="trigger", trigger_dag_id="quick", trigger_run_id="there_was_room"
    )

with once("switches", external_dag_id="paused_dag", external_run_id="to_switch"), dag_paused("quick", **CONNECTION):

    @task
    def is_paused() -> bool | None:
        """Whether it is, in between."""
        from astronomer_remote.hooks.astronomer import AstronomerHook

        return AstronomerHook("remote").get_dag("quick").is_paused

    (
        is_paused()
        >> RemoteTriggerDagRunOperator(task_id="trigger", trigger_dag_id="paused_dag", trigger_run_id="to_switch")
        >> RemoteCancelDagRunOperator(task_id="cancel")
        >> RemoteClearDagRunOperator(task_id="clear")
        >> RemoteCancelDagRunOperator(task_id="cancel_again")
        >> RemoteDeleteDagRunOperator(task_id="delete")
    )
