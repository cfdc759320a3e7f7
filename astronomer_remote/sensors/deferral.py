"""What sensors share that can wait in the triggerer: their limits, and what ends them otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from astronomer_remote.connected import Connected, began

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


@dataclass(frozen=True)
class Limit:
    """
    When a wait in the triggerer ends at the latest.

    :param deadline: in seconds since the epoch.
    :param name: the argument that says so, ``timeout`` or ``execution_timeout``.
    """

    deadline: float
    name: str


class WaitsInTriggerer(Connected):
    """A sensor that ends alike, whether it waits in a worker or in the triggerer."""

    timeout: float
    execution_timeout: timedelta | None
    soft_fail: bool
    never_fail: bool

    def limit(self, context: Context) -> Limit:
        """
        The earlier one of the sensor's ``timeout`` and its ``execution_timeout``, to be asked when the wait begins.

        Airflow 3 does not enforce the latter on a deferred task, so that the trigger has to.
        """
        limits = [Limit(time.time() + self.timeout, "timeout")]
        if self.execution_timeout is not None:
            limits.append(Limit(began(context) + self.execution_timeout.total_seconds(), "execution_timeout"))
        return min(limits, key=lambda limit: limit.deadline)

    def time_out(self, limited_by: str, what: str) -> NoReturn:
        """
        End a wait that took too long, as Airflow does where a sensor waits in a worker.

        :param limited_by: the argument that said how long.
        :param what: how things stand.
        :raises AirflowSensorTimeout: for ``timeout``; Airflow does not retry the task then.
        :raises AirflowTaskTimeout: for ``execution_timeout``; Airflow's retries apply.
        """
        by_airflow = limited_by == "execution_timeout" and self.execution_timeout is not None
        seconds = self.execution_timeout.total_seconds() if by_airflow and self.execution_timeout else self.timeout
        said = f"The wait has reached its {limited_by} of {seconds:g} s: {what}"
        if self.soft_fail or (by_airflow and self.never_fail):
            raise AirflowSkipException(f"Skipping due to {'soft_fail' if self.soft_fail else 'never_fail'}: {said}")
        raise AirflowTaskTimeout(said) if by_airflow else AirflowSensorTimeout(said)

    @contextmanager
    def as_in_a_worker(self) -> Iterator[None]:
        """
        Heed ``soft_fail`` and ``never_fail`` in the look before a deferral.

        Airflow does so for the looks of a sensor that waits in a worker, in ``BaseSensorOperator.execute``, and the
        rules are those of there: ``soft_fail`` is for timeouts and for what a retry cannot change.
        """
        try:
            yield
        except AirflowSkipException:
            raise
        except (AirflowSensorTimeout, AirflowTaskTimeout, AirflowFailException) as error:
            if self.soft_fail or self.never_fail:
                name = "soft_fail" if self.soft_fail else "never_fail"
                raise AirflowSkipException(f"Skipping due to {name}: {error}") from error
            raise
        except Exception as error:
            if self.never_fail:
                raise AirflowSkipException(f"Skipping due to never_fail: {error}") from error
            raise

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Come back from the triggerer. A connection that is not there is no soft failure in a worker, either."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException as skip:
            if isinstance(skip.__cause__, AirflowNotFoundException) and not self.never_fail:
                raise skip.__cause__ from None
            raise
