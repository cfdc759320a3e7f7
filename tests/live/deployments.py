"""The deployments of live tests, with the database that production has."""

from __future__ import annotations

import functools
from typing import Any, Literal

from dev import missing
from dev.database import ordinary_user, programs
from dev.deployments import Airflow
from dev.missing import Missing
from tests.live.plan import numbers


def airflow(version: str, **arguments: Any) -> Airflow:
    """
    A deployment, on PostgreSQL if this machine has a server or can get one.

    Remotes before 2.11 have SQLite.

    :param arguments: of :class:`dev.deployments.Airflow`.
    :raises Missing: if there is no server and everything must run.
    """
    usual = "sqlite" if numbers(version) < (2, 11) else _database()
    return Airflow(version, **{"database": usual, **arguments})


@functools.cache
def _database() -> Literal["postgresql", "sqlite"]:
    try:
        programs()
        ordinary_user()
    except Missing as error:
        if missing.strict():
            raise
        missing.record("live", error)
        return "sqlite"
    return "postgresql"
