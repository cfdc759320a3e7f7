"""Eight dependencies on two deployments: in these, a DAG is missing and a pool is too small."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG
from helper_of_this_folder import START

from astronomer_remote.operators.asset import RemoteAssetEventOperator
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.operators.pool import RemoteUpdatePoolOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.sensors.pool import RemotePoolSlotSensor

print("DAG files may print")
with DAG("sales", schedule=None, start_date=START):
    RemoteTriggerDagRunOperator(
        task_id="load", trigger_dag_id="load_sales", astronomer_conn_id="one", wait_for_completion=True
    )
    RemoteTriggerDagRunOperator(task_id="missing", trigger_dag_id="no_such_dag", astronomer_conn_id="one")
    RemotePoolSlotSensor(task_id="room", pool_name="warehouse", slots=8, astronomer_conn_id="one")
    RemoteDagRunSensor(task_id="rows", external_dag_id="load_sales", external_task_id="rows", astronomer_conn_id="one")
with DAG("reports", schedule=None, start_date=START):
    RemoteDagRunSensor(task_id="upstream", external_dag_id="publish", astronomer_conn_id="two")
    RemoteUpdatePoolOperator(task_id="enlarge", pool_name="reports", slots=4, astronomer_conn_id="two")
    RemoteAssetEventOperator(task_id="announce", asset="s3://lake/reports", astronomer_conn_id="two")
    RemoteTriggerDagRunOperator(task_id="later", trigger_dag_id="{{ params.dag }}", astronomer_conn_id="two")
