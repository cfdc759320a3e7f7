"""What the sensors share: polls in a worker or in the triggerer, with the same limits and rules for errors."""

from __future__ import annotations

import inspect
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
)

from astronomer_remote.compat import TaskDeferralError
from astronomer_remote.operators.base import RemoteOperator, began
from astronomer_remote.triggers.base import RemoteTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from astronomer_remote.api.assets.target import AssetTarget
    from astronomer_remote.api.pools.target import PoolTarget
    from astronomer_remote.api.waiting.target import WaitTarget

DEADLINE = "deadline"
"""Key in a deferral's kwargs: when the wait ends at the latest."""

NEVER_SILENT = (AirflowSensorTimeout, AirflowTaskTimeout, AirflowFailException)
"""Errors that ``silent_fail`` does not suppress, and ``soft_fail`` turns into a skip."""


@dataclass(frozen=True)
class Limit:
    """
    When a wait in the triggerer ends at the latest.

    :param deadline: in seconds since the epoch.
    :param name: the argument that sets it, ``timeout`` or ``execution_timeout``.
    """

    deadline: float
    name: str


class RemoteSensor(RemoteOperator, BaseSensorOperator):
    """A sensor that behaves the same whether it waits in a worker or in the triggerer."""

    trigger_class: ClassVar[type[RemoteTrigger]]
    deferrable: bool
    target: WaitTarget | PoolTarget | AssetTarget

    @abstractmethod
    def make_target(self, context: Context) -> WaitTarget | PoolTarget | AssetTarget:
        """What to wait for, from the templated fields."""

    @abstractmethod
    def poll(self, context: Context) -> bool:
        """Poll :attr:`target` once. :return: whether the wait is over."""

    def execute(self, context: Context) -> Any:
        if self.deferrable:
            self._poll_and_defer(context, self._limit(context))
        else:
            # Airflow 2.11 takes super().execute() for a call outside of a task, and warns or fails.
            inspect.unwrap(BaseSensorOperator.execute)(self, context)
        return self.result()

    def result(self) -> Any:
        """What the task returns once the wait is over."""
        return None

    def poke(self, context: Context) -> bool:
        self.target = self.make_target(context)
        return self.poll(context)

    def _limit(self, context: Context) -> Limit:
        """The earlier of ``timeout``, from now on, and ``execution_timeout``, from the start of the try."""
        limits = [Limit(time.time() + self.timeout, "timeout")]
        if self.execution_timeout is not None:
            # Airflow 3 does not enforce it on a deferred task, so the trigger has to.
            limits.append(Limit(began(context) + self.execution_timeout.total_seconds(), "execution_timeout"))
        return min(limits, key=lambda limit: limit.deadline)

    def _poll_and_defer(self, context: Context, limit: Limit, begin: float | None = None) -> None:
        """:param begin: when to poll next, in seconds since the epoch, default at once."""
        with self._error_rules(may_continue=False):
            self.target = self.make_target(context)
        if begin is None:
            with self._error_rules():
                if self.poll(context):
                    return
        if limit.deadline <= time.time():
            self.time_out(limit.name, f"still waiting for {self.target}")
        trigger = self.trigger_class(
            astronomer_conn_id=self.astronomer_conn_id,
            target=self.target.as_dict(),
            poke_interval=float(self.poke_interval),
            deadline=limit.deadline,
            begin=begin,
        )
        self.wait_in_triggerer(trigger, context, "execute_complete", limited_by=limit.name, deadline=limit.deadline)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Come back from the triggerer, with the rules for errors that a sensor in a worker has.

        Airflow's own differ by version: ``never_fail`` counts from 3.0 on, ``soft_fail`` skips for every error, and
        ``silent_fail`` is ignored.
        """
        kwargs = dict(next_kwargs or {})
        deadline = kwargs.pop(DEADLINE, None)
        try:
            return super().resume_execution(next_method, kwargs, context)
        except TaskDeferralError:
            # The trigger itself failed, for which a worker has no rule.
            raise
        except AirflowException as raised:
            skipped = isinstance(raised, AirflowSkipException)
            error = raised.__cause__ if skipped else raised
            if not isinstance(error, AirflowException) or isinstance(error, TaskDeferralError):
                raise
            if not self._is_silent(error):
                self._end(error)
            self.log.exception("The wait failed; waiting again, since silent_fail is set")
        limit = Limit(deadline, kwargs.get("limited_by", "timeout")) if deadline else self._limit(context)
        return self._poll_and_defer(context, limit, time.time() + self.poke_interval)

    def time_out(self, limited_by: str, what: str) -> NoReturn:
        """
        End a wait that took too long, as Airflow does where a sensor waits in a worker.

        :param limited_by: the argument that set the limit.
        :param what: what the wait was for, and its state.
        :raises AirflowSensorTimeout: for ``timeout``; Airflow does not retry the task then.
        :raises AirflowTaskTimeout: for ``execution_timeout``; Airflow's retries apply.
        """
        by_airflow = limited_by == "execution_timeout" and self.execution_timeout is not None
        seconds = self.execution_timeout.total_seconds() if by_airflow and self.execution_timeout else self.timeout
        message = f"The wait has reached its {limited_by} of {seconds:g} s: {what}"
        if self.soft_fail or (by_airflow and self.never_fail):
            raise AirflowSkipException(f"Skipping due to {'soft_fail' if self.soft_fail else 'never_fail'}: {message}")
        raise AirflowTaskTimeout(message) if by_airflow else AirflowSensorTimeout(message)

    @contextmanager
    def _error_rules(self, *, may_continue: bool = True) -> Iterator[None]:
        """
        Apply ``soft_fail``, ``never_fail`` and ``silent_fail`` to the poll before a deferral.

        For a sensor that waits in a worker, Airflow does so in ``BaseSensorOperator.execute``. The rules are the same:
        ``soft_fail`` is for timeouts and for what a retry cannot change, ``silent_fail`` for everything else.

        :param may_continue: whether the wait can continue after an error that ``silent_fail`` suppresses.
        """
        try:
            yield
        except AirflowSkipException:
            raise
        except Exception as error:
            if not (may_continue and self._is_silent(error)):
                self._end(error)
            self.log.exception("A poll failed; continuing, since silent_fail is set")

    def _is_silent(self, error: Exception) -> bool:
        return self.silent_fail and not isinstance(error, NEVER_SILENT)

    def _end(self, error: Exception) -> NoReturn:
        by_rule = self.soft_fail and isinstance(error, NEVER_SILENT)
        if by_rule or self.never_fail:
            name = "soft_fail" if by_rule else "never_fail"
            raise AirflowSkipException(f"Skipping due to {name}: {error}") from error
        raise error
