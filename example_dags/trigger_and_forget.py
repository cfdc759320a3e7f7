"""Trigger a DAG in another deployment and do not wait for it. The run id and the URL of the run are in XCom."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import DAG, task

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

with DAG("trigger_and_forget", schedule=None, default_args={"retries": 2}):
    refresh = RemoteTriggerDagRunOperator(
        task_id="refresh_dashboards",
        astronomer_conn_id="astronomer_default",
        trigger_dag_id="refresh_dashboards",
        conf={},
        fail_when_dag_is_paused=True,
    )

    @task
    def show(remote_run_id: str, url: str) -> None:
        print(f"Triggered {remote_run_id}, see {url}")

    show(remote_run_id=refresh.output, url=refresh.output["remote_run_url"])
