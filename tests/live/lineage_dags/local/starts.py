"""Local DAGs that start something in a remote; each runs once, as soon as Airflow knows it."""

from __future__ import annotations

from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.asset import RemoteAssetEventOperator, RemoteMaterializeAssetOperator
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

BEGIN = datetime(2024, 1, 1, tzinfo=timezone.utc)

with DAG("starts_run", schedule="@once", start_date=BEGIN) as starts_run:
    RemoteTriggerDagRunOperator(task_id="start", trigger_dag_id="triggered", conf={"k": "v"})

with DAG("starts_event", schedule="@once", start_date=BEGIN) as starts_event:
    RemoteAssetEventOperator(task_id="start", uri="s3://lineage/orders")

with DAG("materializes", schedule="@once", start_date=BEGIN) as materializes:
    RemoteMaterializeAssetOperator(task_id="start", uri="s3://lineage/produced")
