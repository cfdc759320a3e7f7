"""Remote DAGs, of Airflow 2 and 3: two are triggered, one is started by an asset event, one produces an asset."""

from __future__ import annotations

from datetime import datetime, timezone

try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.sdk import DAG, Asset
except ImportError:
    from airflow import DAG
    from airflow import Dataset as Asset
    from airflow.operators.bash import BashOperator

BEGIN = datetime(2024, 1, 1, tzinfo=timezone.utc)

with DAG("triggered", schedule=None, start_date=BEGIN) as triggered:
    BashOperator(task_id="work", bash_command="true")

with DAG("waited_for", schedule=None, start_date=BEGIN) as waited_for:
    BashOperator(task_id="work", bash_command="true")

with DAG("scheduled", schedule=[Asset("s3://lineage/orders")], start_date=BEGIN) as scheduled:
    BashOperator(task_id="work", bash_command="true")

with DAG("produces", schedule=None, start_date=BEGIN) as produces:
    BashOperator(task_id="work", bash_command="true", outlets=[Asset("s3://lineage/produced")])
