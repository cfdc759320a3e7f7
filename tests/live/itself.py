"""A deployment with a connection to itself, so that our operator and Airflow's own trigger runs of the same DAG."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.deployments import Airflow
from tests.live.local import LocalAirflow

SHORT_DAGS = Path(__file__).parent / "short_dags"


@contextmanager
def calling_itself(version: str, **env: str) -> Iterator[LocalAirflow]:
    """Start it, on PostgreSQL; it stops at the end. :param env: more of its settings."""
    env = {"AIRFLOW__CORE__PARALLELISM": "32", **env}
    with Airflow(version, name="itself", dags=SHORT_DAGS, project=True, database="postgresql", env=env) as deployment:
        local = LocalAirflow(deployment)
        login, password = deployment.users["admin"]
        local.add_connection("astronomer_default", host=deployment.url, login=login, password=password)
        yield local


def start(local: LocalAirflow, dag_id: str, number: int = 0) -> None:
    """Trigger a run."""
    body = {"dag_run_id": f"round_{number}", **({"logical_date": None} if local.deployment.generation == "v2" else {})}
    local.request("POST", f"/dags/{dag_id}/dagRuns", json=body)


def is_finished(local: LocalAirflow, dag_id: str) -> bool:
    """Whether no run of a DAG is queued or running."""
    sql = "SELECT count(*) FROM dag_run WHERE dag_id = ? AND state IN ('queued', 'running')"
    return int(local.query(sql, dag_id)[0][0]) == 0
