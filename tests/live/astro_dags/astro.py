"""Tasks that use a Deployment of Astro while it hibernates, and tasks that wait for a run of it meanwhile."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.operators.pool import RemoteCreatePoolOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor

CONN_ID = "of_astro"

with DAG("astro", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=timezone.utc)):
    trigger = RemoteTriggerDagRunOperator(
        task_id="trigger", trigger_dag_id="paused_dag", trigger_run_id="held", astronomer_conn_id=CONN_ID
    )
    for number in range(2):
        # Three tasks, each in a process of its own, find that it hibernates at the same time.
        RemoteCreatePoolOperator(
            task_id=f"pool_{number}", pool_name=f"pool_{number}", slots=1, astronomer_conn_id=CONN_ID
        )
    for number in range(40):
        trigger >> RemoteDagRunSensor(
            task_id=f"wait_{number:02}",
            external_dag_id="paused_dag",
            external_run_id="held",
            astronomer_conn_id=CONN_ID,
            deferrable=True,
            poke_interval=5,
        )
