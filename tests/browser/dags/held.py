"""A DAG whose runs do not finish until there is a file, and DAGs whose tasks wait for such a run."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from airflow.providers.common.compat.sdk import DAG, BaseSensorOperator

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
OURS = {"astronomer_conn_id": "{{ dag_run.conf['connection'] }}", "poke_interval": 2}
RUN_ID = "{{ dag_run.conf['run_id'] }}"


class FileExists(BaseSensorOperator):
    """Waits for a file in AIRFLOW_HOME."""

    def poke(self, context: object) -> bool:
        return Path(os.environ["AIRFLOW_HOME"], "released").exists()


with DAG("held", start_date=START, schedule=None):
    FileExists(task_id="hold", poke_interval=1)

# Each task is named after the state in which it waits.

with DAG("triggers", start_date=START, schedule=None, default_args=OURS):
    RemoteTriggerDagRunOperator(
        task_id="deferred", trigger_dag_id="held", trigger_run_id=RUN_ID, wait_for_completion=True, deferrable=True
    )

with DAG("watches", start_date=START, schedule=None, default_args=OURS):
    RemoteDagRunSensor(task_id="deferred", external_dag_id="held", external_run_id=RUN_ID, deferrable=True)
    RemoteDagRunSensor(task_id="running", external_dag_id="held", external_run_id=RUN_ID, deferrable=False)
