"""Tasks that trigger runs of environments of clouds, wait for them, and use their pools."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.operators.pool import RemoteCreatePoolOperator, RemoteDeletePoolOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.sensors.pool import RemotePoolSlotSensor

with DAG("clouds", schedule=None, start_date=datetime(2024, 1, 1, tzinfo=timezone.utc)):
    for cloud in ("mwaa", "composer"):
        pool = RemoteCreatePoolOperator(
            task_id=f"pool_{cloud}", pool_name=f"of_{cloud}", slots=3, astronomer_conn_id=cloud
        )
        free = RemotePoolSlotSensor(
            task_id=f"free_{cloud}", pool_name=f"of_{cloud}", deferrable=True, poke_interval=2, astronomer_conn_id=cloud
        )
        trigger = RemoteTriggerDagRunOperator(
            task_id=f"trigger_{cloud}",
            trigger_dag_id="sleeper",
            trigger_run_id=f"of_{cloud}",
            conf={"seconds": 900},
            astronomer_conn_id=cloud,
        )
        delete = RemoteDeletePoolOperator(task_id=f"delete_{cloud}", pool_name=f"of_{cloud}", astronomer_conn_id=cloud)
        pool >> free >> trigger
        for number in range(10):
            wait = RemoteDagRunSensor(
                task_id=f"wait_{cloud}_{number}",
                external_dag_id="sleeper",
                external_run_id=f"of_{cloud}",
                astronomer_conn_id=cloud,
                deferrable=True,
                poke_interval=3,
            )
            trigger >> wait >> delete
