"""What sensors share that can wait in the triggerer: their limits, and what ends them otherwise."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)

from astronomer_remote.compat import TaskDeferralError
from astronomer_remote.operators.connected import Connected, began

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


DEADLINE = "deadline"
"""Under which name a deferral says when it ends at the latest."""

ENDS_SILENCE = (AirflowSensorTimeout, AirflowTaskTimeout, AirflowFailException)
"""What ``silent_fail`` does not keep silent, and ``soft_fail`` makes a skip of."""


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
    poke_interval: float
    soft_fail: bool
    never_fail: bool
    silent_fail: bool
    log: Any

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
    def as_in_a_worker(self, *, may_go_on: bool = True) -> Iterator[None]:
        """
        Apply ``soft_fail``, ``never_fail`` and ``silent_fail`` to the look before a deferral.

        Airflow does so for the looks of a sensor that waits in a worker, in ``BaseSensorOperator.execute``, and the
        rules are those of there: ``soft_fail`` is for timeouts and for what a retry cannot change, ``silent_fail``
        for everything else.

        :param may_go_on: whether the wait can go on after an error that ``silent_fail`` keeps silent.
        """
        try:
            yield
        except AirflowSkipException:
            raise
        except Exception as error:
            if not (may_go_on and self._is_silent(error)):
                self._end(error)
            self.log.exception("A look failed, and silent_fail says to go on")

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Come back from the triggerer, by the rules of a sensor that waits in a worker.

        Airflow's own differ by version: ``never_fail`` counts from 3.0 on, ``soft_fail`` skips for every error, and
        ``silent_fail`` is not known.
        """
        kwargs = dict(next_kwargs or {})
        deadline = kwargs.pop(DEADLINE, None)
        try:
            return super().resume_execution(next_method, kwargs, context)
        except TaskDeferralError:
            # The trigger itself came to no end, for which a worker knows no rule.
            raise
        except AirflowException as raised:
            skipped = isinstance(raised, AirflowSkipException)
            error = raised.__cause__ if skipped else raised
            if not isinstance(error, AirflowException) or isinstance(error, TaskDeferralError):
                raise
            if not self._is_silent(error):
                self._end(error)
            self.log.exception("The wait failed, and silent_fail says to go on")
        limit = Limit(deadline, kwargs.get("limited_by", "timeout")) if deadline else self.limit(context)
        return self.wait_again(context, limit, time.time() + self.poke_interval)

    @abstractmethod
    def wait_again(self, context: Context, limit: Limit, begin: float) -> Any:
        """Wait in the triggerer. :param begin: when to look first, in seconds since the epoch."""

    def _is_silent(self, error: Exception) -> bool:
        return self.silent_fail and not isinstance(error, ENDS_SILENCE)

    def _end(self, error: Exception) -> NoReturn:
        by_rule = self.soft_fail and isinstance(error, ENDS_SILENCE)
        if by_rule or self.never_fail:
            name = "soft_fail" if by_rule else "never_fail"
            raise AirflowSkipException(f"Skipping due to {name}: {error}") from error
        raise error
