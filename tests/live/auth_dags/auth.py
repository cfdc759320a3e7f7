"""Tasks that wait for a run of a remote behind a gateway, and tasks that use its pools."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.operators.pool import RemoteCreatePoolOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor

CONN_ID = "behind_gateway"

with DAG("auth", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=timezone.utc)):
    pool = RemoteCreatePoolOperator(task_id="pool", pool_name="of_client", slots=3, astronomer_conn_id=CONN_ID)
    trigger = RemoteTriggerDagRunOperator(
        task_id="trigger",
        trigger_dag_id="sleeper",
        trigger_run_id="held",
        conf={"seconds": 900},
        astronomer_conn_id=CONN_ID,
    )
    pool >> trigger
    for number in range(50):
        trigger >> RemoteDagRunSensor(
            task_id=f"wait_{number:02}",
            external_dag_id="sleeper",
            external_run_id="held",
            astronomer_conn_id=CONN_ID,
            deferrable=True,
            poke_interval=5,
        )
