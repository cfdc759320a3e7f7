"""An Airflow of its own for these tests: a temporary home, no examples, connections from the environment."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import pytest

# Airflow reads its configuration when it is first imported, which is while tests are collected.
HOME = tempfile.mkdtemp(prefix="astronomer-remote-tests-")
os.environ.update(
    {
        "AIRFLOW_HOME": HOME,
        "AIRFLOW__CORE__DAGS_FOLDER": os.path.join(HOME, "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
)
atexit.register(shutil.rmtree, HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def database() -> None:
    """Airflow's metadata database, for what reads or writes DAG runs, XComs or variables."""
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def add_connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Define a connection as a user's environment would; returns its id."""

    def add(conn_id: str = "astronomer_default", **fields: Any) -> str:
        value = json.dumps({"conn_type": "astronomer", **fields})
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", value)
        return conn_id

    return add
