"""What Airflow 2 and Airflow 3 tell in the same form, as models."""

from __future__ import annotations

from typing import Any

from astronomer_remote.api import untrusted
from astronomer_remote.api.models import Dag, Pool, TaskInstance


def read_pool(body: Any) -> Pool:
    """A pool as the remote tells it."""
    return Pool(
        name=body["name"],
        slots=body["slots"],
        **{
            name: body.get(name)
            for name in (
                "description",
                "include_deferred",
                "occupied_slots",
                "running_slots",
                "queued_slots",
                "scheduled_slots",
                "deferred_slots",
                "open_slots",
                "team_name",
            )
        },
    )


def read_dag(body: Any) -> Dag:
    """A DAG as the remote tells it."""
    return Dag(
        dag_id=untrusted.name(body["dag_id"]),
        is_paused=body.get("is_paused"),
        has_import_errors=body.get("has_import_errors"),
        fileloc=untrusted.readable(body["fileloc"]) if body.get("fileloc") else None,
        max_active_runs=body.get("max_active_runs"),
    )


def read_task_instance(body: Any) -> TaskInstance:
    """A task instance as the remote tells it."""
    return TaskInstance(
        task_id=untrusted.name(body["task_id"]),
        map_index=body.get("map_index", -1),
        state=untrusted.name(body.get("state")),
        try_number=body.get("try_number") or 0,
        operator=untrusted.name(body.get("operator")),
        start_date=untrusted.name(body.get("start_date")),
        end_date=untrusted.name(body.get("end_date")),
        duration=body.get("duration"),
        dag_id=untrusted.name(body.get("dag_id")),
        run_id=untrusted.name(body.get("dag_run_id")),
    )
