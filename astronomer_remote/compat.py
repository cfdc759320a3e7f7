"""The only module that asks which Airflow it runs in, with the reason beside each difference."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.connection import get_async_connection
from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseHook, Connection

try:
    # Airflow 3 moved it, and its serializer knows the new one only.
    from airflow.sdk.definitions._internal.types import NOTSET, ArgNotSet
except ImportError:
    from airflow.utils.types import NOTSET, ArgNotSet  # type: ignore[no-redef,attr-defined]

__all__ = ["NOTSET", "ArgNotSet", "attempt", "connection_parts", "intent_identity", "logical_date", "map_index"]


def logical_date(context: Mapping[str, Any]) -> datetime:
    """
    The local run's logical date; in Airflow 3 a run may have none, and the date it was to run after stands in.

    As ``ExternalTaskSensor`` does it.
    """
    return context.get("logical_date") or context["dag_run"].run_after  # type: ignore[no-any-return]


def attempt(context: Mapping[str, Any]) -> int:
    """
    Number of the attempt at the local task since it was last cleared, from 1.

    Clearing a task raises ``max_tries`` by its retries above the tries it has had, which a retry never does
    (``airflow.models.taskinstance.clear_task_instances``). It tells a clear from a retry without any memory.
    """
    ti = context["ti"]
    return int(ti.try_number) - (int(ti.max_tries) - int(ti.task.retries))


def map_index(context: Mapping[str, Any]) -> int:
    """The local task's map index, -1 if it is not mapped."""
    index = context["ti"].map_index
    return -1 if index is None else int(index)


def intent_identity(context: Mapping[str, Any]) -> tuple[str, ...]:
    """
    What tells one wish of a local task from another, besides its DAG, task and map index.

    The local run's ``start_date`` tells two deployments apart that run the same DAG, by its microseconds; it
    changes only when a finished run is cleared. ``max_tries`` changes only when the task is cleared.
    """
    run, ti = context["dag_run"], context["ti"]
    started = run.start_date.isoformat() if run.start_date else ""
    return str(run.run_id), started, str(ti.max_tries)


def connection_parts(connection: Connection) -> dict[str, Any]:
    """A connection's plain values, as :meth:`astronomer_remote.api.settings.Settings.parse` takes them."""
    return {
        "host": connection.host,
        "schema": connection.schema,
        "port": connection.port,
        "login": connection.login,
        "password": connection.password,
        "extra": connection.extra_dejson,
    }


async def async_connection_parts(conn_id: str, hook: type[BaseHook]) -> dict[str, Any]:
    """The same, read on an event loop without holding it up."""
    connection = await get_async_connection(conn_id, hook)
    # Reading the extra masks its secrets, which asks Airflow's supervisor, synchronously in most versions.
    return await sync_to_async(connection_parts)(connection)
