"""What each deployment is started with is what its Airflow understands."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from dev.settings import DEFAULT_USERS, Place, settings
from dev.versions import Release


def test_a_task_of_airflow_3_waits_a_minute_for_a_busy_api_server(tmp_path: Path) -> None:
    place = Place(Path(sys.prefix), tmp_path, tmp_path, 1)
    env = settings(Release.parse("3.3.2"), place, DEFAULT_USERS, None, {})
    code = "from airflow.sdk.api.client import API_TIMEOUT; print(API_TIMEOUT)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "60.0"


def test_each_url_of_a_deployment_begins_with_its_path(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path, tmp_path, 1, path="/team/airflow")
    env = settings(Release.parse("3.3.2"), place, DEFAULT_USERS, None, {})
    assert env["AIRFLOW__API__BASE_URL"] == "http://127.0.0.1:1/team/airflow"
    assert env["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:1/team/airflow/execution/"
