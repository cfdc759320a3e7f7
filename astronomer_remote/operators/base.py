"""What every operator and sensor of this package shares."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime, timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.arguments import Readers, is_plain, required, whole
from astronomer_remote.dependencies import Dependency
from astronomer_remote.exceptions import DagRunFailed, airflow_exceptions

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context
    from airflow.triggers.base import BaseTrigger

    from astronomer_remote.api.protocol.models import DagRun
    from astronomer_remote.api.runs.failure import FailureReport
    from astronomer_remote.hooks.astronomer import AstronomerHook

DEFERRED_BY = "deferred_by_try"
"""Key in a deferral's kwargs: number of the try that was deferred."""

REMOTE_FAILURE = "remote_failure"
"""XCom key of the report on a failed remote run, a dict."""

SECONDS_TO_EXPLAIN = 60.0
"""How long the failure report may delay a task that fails anyway."""

MOST_LOG_LINES = 200


class RemoteOperator(BaseOperator):
    """
    An operator or sensor with a connection to a remote deployment.

    Subclasses set their fields in ``__init__`` and then call :meth:`check_values`; ``execute`` begins with
    :meth:`read_values`.
    """

    readers: ClassVar[Readers] = {"astronomer_conn_id": required}
    """How each templated field is checked and converted once it is rendered."""

    astronomer_conn_id: str

    def check_values(self) -> None:
        """
        Check the templated fields that are known while the DAG is parsed.

        :raises InvalidSettings: for a value that cannot be used.
        """
        with airflow_exceptions():
            for name, read in self.readers.items():
                try:
                    # A base class's constructor runs before the subclass has set fields of its own.
                    if hasattr(self, name) and is_plain(getattr(self, name)):
                        read(getattr(self, name), name)
                except RecursionError:
                    raise InvalidSettings(f"{name} is nested too deeply.") from None

    def read_values(self) -> None:
        """
        Convert the rendered templated fields to the types that the rest of the task expects.

        :raises InvalidSettings: for a value that cannot be used.
        """
        with airflow_exceptions():
            for name, read in self.readers.items():
                setattr(self, name, read(getattr(self, name), name))

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        """
        What a task of this class depends on in remote deployments, for the map.

        :param task: the task or, of a mapped one, an object with its arguments as attributes.
        """
        return ()

    @cached_property
    def hook(self) -> AstronomerHook:
        """The hook of the connection, created on first use."""
        return self.new_hook()

    def new_hook(self, conn_id: str | None = None) -> AstronomerHook:
        """Another hook: for when :attr:`hook` is in the middle of a request, or for another deployment."""
        # It imports HTTP libraries, which would slow down parsing a DAG file.
        from astronomer_remote.hooks.astronomer import AstronomerHook

        return AstronomerHook(conn_id or self.astronomer_conn_id)

    def wait_in_triggerer(self, trigger: BaseTrigger, context: Context, method_name: str, **kwargs: Any) -> None:
        """Defer the task. :param method_name: the method that gets the event and `kwargs` afterwards."""
        self.defer(trigger=trigger, method_name=method_name, kwargs={**kwargs, DEFERRED_BY: context["ti"].try_number})

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """
        Come back from the triggerer, but only in the try that was deferred.

        Airflow 3.0 keeps the resume point when that try fails: the next try would begin with the old event.
        """
        kwargs = dict(next_kwargs or {})
        if kwargs.pop(DEFERRED_BY, None) not in (None, context["ti"].try_number):
            return self.execute(context)
        self.read_values()
        return super().resume_execution(next_method, kwargs, context)


def began(context: Context) -> float:
    """When this try of the local task started, in seconds since the epoch; a deferral does not change it."""
    return float((context["ti"].start_date or datetime.now(timezone.utc)).timestamp())


def one_of(value: str, name: str, known: Collection[str]) -> None:
    """:raises InvalidSettings: if an argument has none of the known values."""
    if value not in known:
        raise InvalidSettings(f"{name}={value!r} must be one of: {', '.join(known)}.")


def check_failure_log_lines(value: Any) -> None:
    """:raises InvalidSettings: for a ``failure_log_lines`` that cannot be used."""
    if value is not None and not 0 <= whole(value, "failure_log_lines") <= MOST_LOG_LINES:
        raise InvalidSettings(f"failure_log_lines must be a number from 0 to {MOST_LOG_LINES}, or None.")


def run_failed(
    task: RemoteOperator,
    context: Context,
    run: DagRun,
    what: str,
    *,
    log_lines: int | None,
    task_ids: Sequence[str] = (),
) -> DagRunFailed:
    """
    The error for a failed run, with the failure report that was also pushed to XCom.

    :param what: what happened, in a line.
    :param log_lines: last lines of each log to read; ``None`` for no report.
    :param task_ids: tasks to report before all others.
    """
    reported = log_lines is not None and run.state != "success"
    report = _report(task, context, run, log_lines or 0, task_ids) if reported else None
    return DagRunFailed(f"{what}: {run.url}\n{report}" if report else f"{what}: {run.url}")


def _report(
    task: RemoteOperator, context: Context, run: DagRun, log_lines: int, task_ids: Sequence[str]
) -> FailureReport | None:
    report = None
    try:
        report = task.hook.run_flow(
            lambda deployment: deployment.failures.report(run, log_lines=log_lines, task_ids=task_ids),
            total_seconds=SECONDS_TO_EXPLAIN,
        )
        context["ti"].xcom_push(key=REMOTE_FAILURE, value=report.as_dict())
    except Exception as error:  # noqa: BLE001  # the task fails in any case, and must not fail for another reason
        task.log.warning("The failure report on run %s is incomplete: %s", run.run_id, error)
    return report
