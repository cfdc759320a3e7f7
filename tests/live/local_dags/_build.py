"""Builds the Airflow DAGs of the live tests: one for each scenario, mode and remote."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import _hook
import _hostile
import _kill
import _sensor
import _trigger
from _given import Given
from airflow.providers.common.compat.sdk import DAG, get_parsing_context

MODULES = (_trigger, _sensor, _hook, _hostile, _kill)


def build(connection: str, version: tuple[int, ...], date: str, target: Iterable[tuple[str, str]]) -> None:
    """
    Make the DAGs for one remote; Airflow runs each of them once, as soon as it knows it.

    :param connection: id of the connection to the remote, to which others add a suffix.
    :param version: of the remote's Airflow.
    :param date: logical date of the DAG runs.
    :param target: names of scenarios, which are functions of `MODULES`, each with a mode.
    """
    running = get_parsing_context().dag_id
    for name, mode in target:
        dag_id = f"{name}.{mode}.{connection}"
        # A task only needs its own DAG of the many that are in the file.
        if running not in (None, dag_id):
            continue
        given = Given(connection, version, deferrable=mode == "deferrable")
        habits = {
            "astronomer_conn_id": connection,
            "deferrable": given.deferrable,
            "poke_interval": 2,
            "retries": 0,
            "retry_delay": timedelta(seconds=1),
        }
        with DAG(dag_id, schedule="@once", start_date=datetime.fromisoformat(date), default_args=habits):
            next(getattr(module, name) for module in MODULES if hasattr(module, name))(given)
