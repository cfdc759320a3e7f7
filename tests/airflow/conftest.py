"""An Airflow of its own for these tests: a temporary home, no examples, connections from the environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from astronomer_remote.api.transport.sync_driver import SyncDriver
from astronomer_remote.testing import FakeDeployment

# First of all, since Airflow reads its configuration when it is imported, which is while tests are collected.
from tests.airflow import home  # noqa: F401


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


@pytest.fixture
def start(add_connection: Callable[..., str]) -> Iterator[Callable[..., FakeDeployment]]:
    """Start a fake deployment of a version behind the default connection, or another one."""
    with ExitStack() as running:

        def start(version: str = "3.3.2", conn_id: str = "astronomer_default", **options: Any) -> FakeDeployment:
            remote = running.enter_context(FakeDeployment(version, **options))
            add_connection(conn_id, **remote.connection())
            return remote

        yield start


@pytest.fixture
def remote(start: Callable[..., FakeDeployment]) -> FakeDeployment:
    """A fake deployment of the newest Airflow with a DAG `quick` that succeeds and a DAG `bad` that fails."""
    return with_dags(start())


@pytest.fixture(params=["1.10.15", "2.11.2", "3.3.2"])
def any_remote(request: pytest.FixtureRequest, start: Callable[..., FakeDeployment]) -> FakeDeployment:
    """The same of every generation."""
    return with_dags(start(request.param))


@pytest.fixture
def not_rescheduled_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow 2 reads from its database when a sensor was first rescheduled."""
    from airflow.providers.common.compat.sdk import BaseSensorOperator

    base = sys.modules[BaseSensorOperator.__module__]
    if hasattr(base, "_orig_start_date"):
        monkeypatch.setattr(base, "_orig_start_date", lambda **_: None)


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no time pass between two attempts or two polls."""
    monkeypatch.setitem(SyncDriver.__init__.__kwdefaults__, "sleep", lambda seconds: None)


def with_dags(remote: FakeDeployment) -> FakeDeployment:
    remote.add_dag("quick", tasks=["hello"], results={"hello": {"answer": 42}})
    remote.add_dag("bad", ends="failed")
    return remote
