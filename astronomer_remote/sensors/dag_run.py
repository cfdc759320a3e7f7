"""Waits for DAG runs, tasks and task groups of another deployment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.providers.common.compat.sdk import conf as airflow_conf

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import DagRun, utc_text
from astronomer_remote.api.waiting import waiter
from astronomer_remote.api.waiting.target import (
    BY_DATA_INTERVAL_END,
    BY_LOGICAL_DATE,
    Snapshot,
    WaitStatus,
    WaitTarget,
    evaluate,
)
from astronomer_remote.api.waiting.waiter import POLLS_BEFORE_EXPLAINING
from astronomer_remote.arguments import (
    DAG_RUN_STATES,
    TASK_STATES,
    Readers,
    boolean,
    ids,
    optional_id,
    required_id,
    seconds,
    states,
)
from astronomer_remote.compat import data_interval_end, determine_kwargs, logical_date, polls_before_reschedule
from astronomer_remote.dependencies import DAG, TASK, TASK_GROUP, Dependency
from astronomer_remote.exceptions import DagRunFailed, DagRunVanished, TransientError, airflow_exceptions
from astronomer_remote.links import RemoteDagRunLink, publish_run, publish_state
from astronomer_remote.operators.base import RemoteOperator, check_failure_log_lines, one_of, run_failed
from astronomer_remote.operators.lineage import ReportsRemoteJobs
from astronomer_remote.sensors.base import RemoteSensor
from astronomer_remote.triggers.base import read_event
from astronomer_remote.triggers.wait import RemoteWaitTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from astronomer_remote.api.deployment import Deployment
    from astronomer_remote.api.protocol.flow import Flow

__all__ = ["RemoteDagRunSensor"]

MATCH_BY = (BY_LOGICAL_DATE, BY_DATA_INTERVAL_END)


class RemoteDagRunSensor(ReportsRemoteJobs, RemoteSensor):
    """
    Waits for a DAG run, tasks or a task group of another deployment.

    Parameters, names and defaults are those of ``ExternalTaskSensor``; the others are marked as added. As there, a
    failed run or task is waited for until the timeout, in case someone clears it, unless ``failed_states`` contains its
    state. Nothing found is never success.

    :param external_dag_id: DAG of the remote (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated). Added.
    :param external_task_id: wait for this task instead of the whole run (templated).
    :param external_task_ids: wait for these tasks (templated).
    :param external_task_group_id: wait for the tasks of this group (templated): those whose ids begin with its id,
        as they do unless the group was made with ``prefix_group_id=False``. Not on 1.10.
    :param external_run_id: wait in this run instead of the one of a logical date (templated). Added.
    :param latest_run: wait in the newest run, which is the one made last or, in Airflow 3, due last, at the first poll
        (in mode ``reschedule``, where each poll is independent: at each), default ``False``; if there is none, wait
        for one to appear. Added.
    :param allowed_states: states that end the wait successfully, default ``["success"]``; for a task group, whose tasks
        may be skipped, ``["success", "skipped"]``.
    :param skipped_states: states that skip this task, default none.
    :param failed_states: states that fail this task, default none.
    :param execution_delta: how long before the local logical date the remote one is, default the same date.
    :param execution_date_fn: gets the local logical date and, by name, values of the context; returns the remote's
        logical date or a list of them.
    :param match_by: which date of a remote run is compared: ``logical_date`` (default), or ``data_interval_end``, which
        Airflow 2 and Airflow 3 have in common for runs of the same schedule, whatever their logical dates are. Then the
        local run's ``data_interval_end`` takes the place of its logical date in everything above, and only scheduled
        runs and backfills count, since Airflow guesses the interval of a manual run. Remote Airflow 2.4 and later.
        Added.
    :param check_existence: whether to fail at once if the remote has no such DAG, task or group, default ``False``.
    :param failure_log_lines: how many of the last lines of each failed task's log are in the error of a failed run,
        default 20; 0 reads no logs, ``None`` turns the failure report off. The report says which tasks of the run
        failed first, and on which try; it is also in XCom as ``remote_failure``, a dict. Added.
    :param poll_interval: seconds between two polls in the triggerer, default ``poke_interval``. In a worker it counts
        only if there is no ``poke_interval``. ``ExternalTaskSensor`` of Airflow 3 calls it deprecated.
    :param deferrable: whether to wait in the triggerer, default ``[operators] default_deferrable``.
    :param kwargs: those of every sensor: ``poke_interval`` (seconds), ``timeout`` (seconds, from the start of a try;
        0: a single poll), ``execution_timeout``, ``mode``, ``soft_fail``, …
    :raises DagRunFailed: if something reaches one of ``failed_states``; Airflow's retries apply.
    :raises AirflowSensorTimeout: when ``timeout`` has passed; Airflow does not retry the task.
    :raises AirflowTaskTimeout: when ``execution_timeout`` has passed; Airflow's retries apply.
    :raises PermanentError: for what waiting cannot fix, see :mod:`astronomer_remote.exceptions`.
    """

    template_fields: Sequence[str] = (
        "external_dag_id",
        "astronomer_conn_id",
        "external_task_id",
        "external_task_ids",
        "external_task_group_id",
        "external_run_id",
    )
    readers: ClassVar[Readers] = {
        **RemoteOperator.readers,
        "external_dag_id": required_id,
        "external_task_id": optional_id,
        "external_task_ids": ids,
        "external_task_group_id": optional_id,
        "external_run_id": optional_id,
    }
    ui_color = "#4db7db"
    lineage_direction = "upstream"
    lineage_type = "IMPLICIT_DEPENDENCY"
    operator_extra_links = (RemoteDagRunLink(),)
    trigger_class = RemoteWaitTrigger
    target: WaitTarget

    def __init__(
        self,
        *,
        external_dag_id: str,
        astronomer_conn_id: str = "astronomer_default",
        external_task_id: str | None = None,
        external_task_ids: Collection[str] | None = None,
        external_task_group_id: str | None = None,
        external_run_id: str | None = None,
        latest_run: bool = False,
        allowed_states: Iterable[str] | None = None,
        skipped_states: Iterable[str] | None = None,
        failed_states: Iterable[str] | None = None,
        execution_delta: timedelta | None = None,
        execution_date_fn: Callable[..., datetime | list[datetime]] | None = None,
        match_by: str = BY_LOGICAL_DATE,
        check_existence: bool = False,
        failure_log_lines: int | None = 20,
        poll_interval: float | None = None,
        deferrable: bool = airflow_conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        if poll_interval is not None:
            with airflow_exceptions():
                interval = seconds(poll_interval, "poll_interval")
            if deferrable or "poke_interval" not in kwargs:
                kwargs["poke_interval"] = interval
        super().__init__(**kwargs)
        self.external_dag_id = external_dag_id
        self.astronomer_conn_id = astronomer_conn_id
        self.external_task_id = external_task_id
        self.external_task_ids = external_task_ids
        self.external_task_group_id = external_task_group_id
        self.external_run_id = external_run_id
        self.latest_run = latest_run
        self.execution_delta = execution_delta
        self.execution_date_fn = execution_date_fn
        self.match_by = match_by
        self.check_existence = check_existence
        self.failure_log_lines = failure_log_lines
        self.deferrable = deferrable
        self._existence_checked = False
        self._seen: WaitTarget | None = None
        self._published: DagRun | None = None
        self._empty_polls = 0
        self._missing_since: float | None = None
        whole_run = not (external_task_id or external_task_ids or external_task_group_id)
        known = DAG_RUN_STATES if whole_run else TASK_STATES
        well = ["success", "skipped"] if external_task_group_id else ["success"]
        with airflow_exceptions():
            self.allowed_states = states(allowed_states or well, "allowed_states", known)
            self.skipped_states = states(skipped_states, "skipped_states", known)
            self.failed_states = states(failed_states, "failed_states", known)
            if not allowed_states:
                taken = {*self.skipped_states, *self.failed_states}
                self.allowed_states = tuple(state for state in self.allowed_states if state not in taken)
            check_failure_log_lines(failure_log_lines)
            one_of(match_by, "match_by", MATCH_BY)
            self._check_combinations()
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        parts = (
            (TASK, task.external_task_id),
            (TASK, task.external_task_ids),
            (TASK_GROUP, task.external_task_group_id),
        )
        named = [(kind, names) for kind, names in parts if names]
        for kind, names in named:
            yield from Dependency("waits for", kind, names, dag_id=task.external_dag_id).each()
        if not named:
            yield Dependency("waits for", DAG, task.external_dag_id)

    def _check_combinations(self) -> None:
        """Called again once the fields are rendered."""
        _only_one(self, "external_task_id", "external_task_ids", "external_task_group_id")
        _only_one(self, "external_run_id", "latest_run", "execution_delta", "execution_date_fn")
        if self.match_by != BY_LOGICAL_DATE and (self.external_run_id or self.latest_run):
            raise InvalidSettings("match_by means nothing with external_run_id or latest_run, which name the run.")
        named = [*self.allowed_states, *self.skipped_states, *self.failed_states]
        if len(named) != len(set(named)):
            raise InvalidSettings("A state may be in only one of allowed_states, skipped_states and failed_states.")

    def make_target(self, context: Context) -> WaitTarget:
        """The same run once it was seen: the newest one must not be replaced by a newer, nor a seen one be missing."""
        if self._seen:
            return self._seen
        with airflow_exceptions():
            self.read_values()
            self._check_combinations()
            task_ids = self._task_ids()
            if len(task_ids) != len(set(task_ids)):
                raise InvalidSettings("external_task_ids contains a task twice.")
            by_date = not (self.external_run_id or self.latest_run)
            return WaitTarget(
                dag_id=self.external_dag_id,
                run_id=self.external_run_id or None,
                newest=boolean(self.latest_run, "latest_run"),
                logical_dates=self._logical_dates(context) if by_date else (),
                match_by=self.match_by,
                task_ids=tuple(task_ids),
                task_group_id=self.external_task_group_id or None,
                allowed_states=self.allowed_states,
                failed_states=self.failed_states,
                skipped_states=self.skipped_states,
            )

    def poll(self, context: Context) -> bool:
        target, started = self.target, time.time()
        # Without a reply the run may have ended at any time.
        self.target = replace(target, since=0.0)
        snapshot = self._snapshot(target, context)
        if snapshot is None:
            return False
        self.target = replace(target.after(snapshot), since=started)
        self._seen = self.target if self.target.exists else None
        if not any(snapshot.states.values()):
            self._explain_absence(target, context)
        return self._conclude(evaluate(snapshot, target), snapshot.summary(), snapshot.run, context)

    def execute_complete(self, context: Context, event: Any, limited_by: str = "timeout") -> None:
        """Come back from the triggerer."""
        result = read_event(event)
        if result.run:
            self._publish(context, result.run)
        if result.status is WaitStatus.TIMEOUT:
            found = result.summary or "the remote has not answered yet"
            self.time_out(limited_by, f"still waiting for DAG {self.external_dag_id!r} ({found})")
        self._conclude(result.status, result.summary, result.run, context)

    def _publish(self, context: Context, run: DagRun) -> None:
        """Push to XCom what has changed since the last poll."""
        before, self._published = self._published, run
        if before is None or before.run_id != run.run_id:
            publish_run(context, run)
            self.report_run(run)
        elif before.state != run.state:
            publish_state(context, run)

    def _snapshot(self, target: WaitTarget, context: Context) -> Snapshot | None:
        """Poll once; ``None`` if the remote did not answer."""
        try:
            snapshot = self.hook.run_flow(lambda deployment: self._poll_flow(deployment, target))
        except TransientError as error:
            # The timeout of the sensor limits the wait, also while the remote is down.
            self.log.warning("Could not poll the remote, will keep waiting: %s", error)
            return None
        except DagRunVanished as error:
            # A remote that reads from a replica of its database may lag behind; the triggerer waits as long.
            self._missing_since = self._missing_since or time.monotonic()
            if time.monotonic() - self._missing_since >= waiter.SECONDS_BEFORE_DELETED:
                raise
            self.log.warning("The run counts as deleted if it stays missing: %s", error)
            return None
        self._missing_since = None
        self._existence_checked = True
        if snapshot.run:
            self._publish(context, snapshot.run)
        self.log.info("Waiting for %s: %s", target, snapshot.summary())
        return snapshot

    def _poll_flow(self, deployment: Deployment, target: WaitTarget) -> Flow[Snapshot]:
        if self.check_existence and not self._existence_checked:
            yield from deployment.dags.check_existence(target.dag_id, target.task_ids, target.task_group_id)
        return (yield from deployment.poller.snapshot(target))

    def _explain_absence(self, target: WaitTarget, context: Context) -> None:
        """Log once, after a few polls in a worker, why there may be no run; the trigger does so itself."""
        self._empty_polls += 1
        # In mode reschedule, each poll is made by another object.
        earlier = polls_before_reschedule(context) if self.reschedule else 0
        if self._empty_polls + earlier != POLLS_BEFORE_EXPLAINING:
            return
        try:
            reason = self.hook.run_flow(lambda deployment: deployment.poller.dated_runs.why_none(target, once=False))
        except TransientError:
            return
        if reason:
            self.log.warning("%s", reason)

    def _conclude(self, status: WaitStatus | None, summary: str, run: DagRun | None, context: Context) -> bool:
        where = f": {run.url}" if run else ""
        if status is WaitStatus.FAILED:
            what = f"What was waited for failed ({summary})"
            if run is None:
                self._fail(DagRunFailed(what))
            lines, task_ids = self.failure_log_lines, self._task_ids()
            self._fail(run_failed(self, context, run, what, log_lines=lines, task_ids=task_ids))
        if status is WaitStatus.SKIPPED:
            raise AirflowSkipException(f"What was waited for reached one of skipped_states ({summary}){where}")
        return status is WaitStatus.SUCCESS

    def _fail(self, error: Exception) -> NoReturn:
        if self.soft_fail:
            raise AirflowSkipException(f"Skipping due to soft_fail: {error}")
        raise error

    def _task_ids(self) -> list[str]:
        return [self.external_task_id] if self.external_task_id else list(self.external_task_ids or ())

    def _logical_dates(self, context: Context) -> tuple[str, ...]:
        local = data_interval_end(context) if self.match_by == BY_DATA_INTERVAL_END else logical_date(context)
        if self.execution_delta is not None:
            return (utc_text(local - self.execution_delta, "execution_delta"),)
        if self.execution_date_fn is None:
            return (utc_text(local, "logical_date"),)
        # As ExternalTaskSensor calls it: the date first, then whatever it names of the context.
        named = {name: value for name, value in context.items() if name not in ("logical_date", "execution_date")}
        kwargs = determine_kwargs(self.execution_date_fn, (local,), {**named, "context": context})
        target = self.execution_date_fn(local, **kwargs)
        dates = target if isinstance(target, (list, tuple)) else [target]
        if not dates:
            raise InvalidSettings("execution_date_fn returned no date to wait for.")
        return tuple(utc_text(date, "execution_date_fn's date") for date in dates)


def _only_one(sensor: RemoteDagRunSensor, *names: str) -> None:
    given = [name for name in names if getattr(sensor, name)]
    if len(given) > 1:
        raise InvalidSettings(f"Only one of {', '.join(names)} can be given, not {' and '.join(given)}.")
