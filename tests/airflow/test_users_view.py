"""A user's DAG from end to end, run by Airflow's own `dag.test()` against a fake deployment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from astronomer_remote.testing import FakeDeployment

DAG_FILE = """
from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor

with DAG("users_dag", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None) as dag:
    waits = RemoteTriggerDagRunOperator(
        task_id="waits",
        trigger_dag_id="quick",
        conf={"run": "{{ run_id }}"},
        wait_for_completion="{{ 1 == 1 }}",
        poke_interval=0.05,
    )
    defers = RemoteTriggerDagRunOperator(
        task_id="defers",
        trigger_dag_id="slow",
        conf={"before": "{{ ti.xcom_pull(task_ids='waits')['state'] }}"},
        wait_for_completion=True,
        deferrable=True,
        poke_interval=0.05,
    )
    fans_out = RemoteTriggerDagRunOperator.partial(task_id="fans_out", trigger_dag_id="fan").expand(
        conf=[{"n": 1}, {"n": 2}]
    )
    watches = RemoteDagRunSensor(
        task_id="watches",
        external_dag_id="slow",
        external_run_id="{{ ti.xcom_pull(task_ids='defers', key='trigger_run_id') }}",
        poke_interval=0.05,
        timeout=60,
    )
    waits >> defers >> fans_out >> watches

if __name__ == "__main__":
    run = dag.test()
    print("ENDED", getattr(run.state, "value", run.state))
"""


@pytest.mark.timeout(600)  # a busy machine takes a minute to make the database alone
@pytest.mark.usefixtures("database")
def test_a_users_dag_runs_from_end_to_end(remote: FakeDeployment) -> None:
    remote.add_dag("slow", polls=2)
    remote.add_dag("fan")
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    folder.mkdir(exist_ok=True)
    file = folder / "users_dag.py"
    file.write_text(DAG_FILE)
    # As a user starts it. Airflow 3 wants the file in its DAGs folder, Airflow 2 takes it from anywhere.
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=False)
    lines = done.stdout + done.stderr
    assert "ENDED success" in lines, lines[-5000:]

    (quick,) = remote.runs("quick")
    assert quick["run_id"].startswith("remote__users_dag.waits__")
    assert quick["conf"]["run"].startswith("manual__")
    assert [run["conf"] for run in remote.runs("slow")] == [{"before": "success"}]
    assert sorted(run["conf"]["n"] for run in remote.runs("fan")) == [1, 2]
