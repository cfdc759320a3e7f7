"""What deferrable sensors share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowException, AirflowSkipException

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseSensorOperator


@contextmanager
def first_look(sensor: BaseSensorOperator) -> Iterator[None]:
    """
    Heed ``soft_fail`` and ``never_fail`` in the look before a deferral.

    Airflow does so for the looks of a sensor that is not deferrable, and when a deferred one comes back
    (``BaseSensorOperator.resume_execution``), but not between the two.
    """
    try:
        yield
    except AirflowSkipException:
        raise
    except AirflowException as error:
        for name in ("soft_fail", "never_fail"):
            if getattr(sensor, name):
                raise AirflowSkipException(f"Skipping due to {name}: {error}") from error
        raise
