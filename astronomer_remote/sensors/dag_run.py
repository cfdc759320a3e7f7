"""Waits for DAG runs, tasks and task groups of another deployment."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.exceptions import AirflowProviderDeprecationWarning
from airflow.providers.common.compat.sdk import AirflowSkipException, BaseSensorOperator
from airflow.providers.common.compat.sdk import conf as airflow_conf

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import DagRun, utc_text
from astronomer_remote.api.waiting import waiter
from astronomer_remote.api.waiting.target import BY_DATA_INTERVAL_END, BY_LOGICAL_DATE, WaitStatus, WaitTarget, evaluate
from astronomer_remote.api.waiting.waiter import POLLS_BEFORE_EXPLAINING
from astronomer_remote.arguments import (
    DAG_RUN_STATES,
    TASK_STATES,
    Readers,
    boolean,
    ids,
    optional_id,
    required_id,
    states,
)
from astronomer_remote.compat import data_interval_end, determine_kwargs, logical_date, looks_before_reschedules
from astronomer_remote.exceptions import DagRunFailed, DagRunVanished, PassingError, airflow_exceptions
from astronomer_remote.links import RemoteDagRunLink, publish_run
from astronomer_remote.operators.deferral import Limit, WaitsInTriggerer
from astronomer_remote.operators.explained import Explains
from astronomer_remote.triggers.wait import RemoteWaitTrigger, WaitEvent

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from astronomer_remote.api.deployment import Deployment
    from astronomer_remote.api.protocol.flow import Flow
    from astronomer_remote.api.waiting.target import Snapshot

MATCH_BY = (BY_LOGICAL_DATE, BY_DATA_INTERVAL_END)


class RemoteDagRunSensor(WaitsInTriggerer, Explains, BaseSensorOperator):
    """
    Waits for a DAG run, tasks or a task group of another deployment.

    Parameters, names and defaults are those of ``ExternalTaskSensor``; what is added here is said so. As there,
    a failed run or task is waited for until the timeout, in case somebody mends it, unless ``failed_states`` names
    its state. Nothing found is never success.

    :param external_dag_id: DAG of the remote (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated). Added.
    :param external_task_id: wait for this task instead of the whole run (templated).
    :param external_task_ids: wait for these tasks (templated).
    :param external_task_group_id: wait for the tasks of this group (templated); those whose ids begin with its id,
        as they do unless the group was made with ``prefix_group_id=False``. Not on 1.10.
    :param external_run_id: wait in this run instead of the one of a logical date (templated). Added.
    :param latest_run: wait in the newest run there is, which is the one made last or, in Airflow 3, due last, at the
        first look (in mode ``reschedule``, whose looks know nothing of each other: at each), default ``False``; with
        none, wait for one to appear. Added.
    :param allowed_states: states that end the wait well, default ``["success"]``; for a task group, whose tasks may
        well be skipped, ``["success", "skipped"]``.
    :param skipped_states: states that skip this task, default none.
    :param failed_states: states that fail this task, default none.
    :param execution_delta: how long before the local logical date the remote one is, default the same date.
    :param execution_date_fn: gets the local logical date, and what it names of the context, and returns the remote's
        logical date or a list of them.
    :param match_by: which date of a remote run is compared: ``logical_date`` (default), or ``data_interval_end``, which
        Airflow 2 and Airflow 3 have in common for runs of the same schedule, whatever they date them by. Then the local
        run's ``data_interval_end`` takes the place of its logical date in everything above, and only scheduled runs
        and backfills count, since the interval of a manual run is guessed by Airflow. Remote Airflow 2.3 and later.
        Added.
    :param check_existence: whether to fail at once if the remote has no such DAG, task or group, default ``False``.
    :param explain_failure: whether the error of a failed run says which of its tasks failed first, on which try, and
        with which last lines in their logs, default ``True``; XCom has the same as ``remote_failure``, a dict. Added.
    :param failure_log_lines: how many of the last lines of each log, default 20; 0 reads no log. Added.
    :param poll_interval: deprecated, as there: use ``poke_interval``.
    :param deferrable: whether to wait in the triggerer, default ``[operators] default_deferrable``.
    :param kwargs: those of every sensor: ``poke_interval`` (seconds), ``timeout`` (seconds, from the start of a try;
        0: a single look), ``execution_timeout``, ``mode``, ``soft_fail``, …
    :raises DagRunFailed: if something reaches one of ``failed_states``; Airflow's retries apply.
    :raises AirflowSensorTimeout: when ``timeout`` has passed; Airflow does not retry the task.
    :raises AirflowTaskTimeout: when ``execution_timeout`` has passed; Airflow's retries apply.
    :raises PermanentError: for what waiting cannot mend, see :mod:`astronomer_remote.exceptions`.
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
        **Explains.readers,
        "external_dag_id": required_id,
        "external_task_id": optional_id,
        "external_task_ids": ids,
        "external_task_group_id": optional_id,
        "external_run_id": optional_id,
    }
    ui_color = "#4db7db"
    operator_extra_links = (RemoteDagRunLink(),)

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
        explain_failure: bool = True,
        failure_log_lines: int = 20,
        poll_interval: float | None = None,
        deferrable: bool = airflow_conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        if poll_interval is not None:
            warnings.warn(
                "The parameter poll_interval is deprecated, as in ExternalTaskSensor; use poke_interval instead.",
                AirflowProviderDeprecationWarning,
                stacklevel=2,
            )
            kwargs.setdefault("poke_interval", poll_interval)
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
        self.explain_failure = explain_failure
        self.failure_log_lines = failure_log_lines
        self.deferrable = deferrable
        self._existence_checked = False
        self._held_on_to: WaitTarget | None = None
        self._looks_in_vain = 0
        self._looked = False
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
            self._check_arguments()
        self.check_values()

    def _check_arguments(self) -> None:
        """Refuse while the DAG is parsed what is known to be wrong by then."""
        _only_one(self, "external_task_id", "external_task_ids", "external_task_group_id")
        _only_one(self, "external_run_id", "latest_run", "execution_delta", "execution_date_fn")
        if self.match_by not in MATCH_BY:
            raise InvalidSettings(f"match_by={self.match_by!r} must be one of: {', '.join(MATCH_BY)}.")
        if self.match_by != BY_LOGICAL_DATE and (self.external_run_id or self.latest_run):
            raise InvalidSettings("match_by means nothing with external_run_id or latest_run, which name the run.")
        self.check_explanation()
        named = [*self.allowed_states, *self.skipped_states, *self.failed_states]
        if len(named) != len(set(named)):
            raise InvalidSettings("A state may stand in only one of allowed_states, skipped_states and failed_states.")

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        return self._look_and_defer(context, self.limit(context))

    def _look_and_defer(self, context: Context, limit: Limit, begin: float | None = None) -> None:
        with self.as_in_a_worker(may_go_on=False):
            target = self._target(context)
        self._looked = False
        if begin is None:
            with self.as_in_a_worker():
                if self._poke_for(target, context):
                    return
        target = self._held_on_to or target
        if limit.deadline <= time.time():
            self.time_out(limit.name, f"still waiting for {target}")
        if not self._looked:
            # It may have ended at any time.
            target = replace(target, since=0.0)
        trigger = RemoteWaitTrigger(
            astronomer_conn_id=self.astronomer_conn_id,
            target=target.as_dict(),
            poke_interval=float(self.poke_interval),
            deadline=limit.deadline,
            begin=begin,
        )
        self.wait_in_triggerer(trigger, context, "execute_complete", limited_by=limit.name, deadline=limit.deadline)

    def wait_again(self, context: Context, limit: Limit, begin: float) -> None:
        self._look_and_defer(context, limit, begin)

    def poke(self, context: Context) -> bool:
        return self._poke_for(self._held_on_to or self._target(context), context)

    def _poke_for(self, target: WaitTarget, context: Context) -> bool:
        snapshot = self._poll(target, context)
        self._looked = snapshot is not None
        if snapshot is None:
            return False
        # The newest run stays the one that was newest, and a run that was seen must not vanish.
        seen = target.after(snapshot)
        self._held_on_to = seen if seen.exists else None
        if not any(snapshot.states.values()):
            self._explain_absence(target, context)
        return self._conclude(evaluate(snapshot, target), snapshot.summary(), snapshot.run, context)

    def execute_complete(self, context: Context, event: Any, limited_by: str = "timeout") -> None:
        """Come back from the triggerer."""
        with airflow_exceptions():
            ended = WaitEvent.parse(event)
            ended.raise_error()
        if ended.run:
            publish_run(context, ended.run)
        if ended.status is WaitStatus.TIMEOUT:
            found = ended.summary or "the remote said nothing of it"
            self.time_out(limited_by, f"still waiting for DAG {self.external_dag_id!r} ({found})")
        self._conclude(ended.status, ended.summary, ended.run, context)

    def _poll(self, target: WaitTarget, context: Context) -> Snapshot | None:
        """Look once; ``None`` if the remote could not be asked."""
        try:
            snapshot = self.hook.run_flow(lambda deployment: self._look(deployment, target))
        except PassingError as error:
            # The timeout of the sensor says how long to wait, also for a remote that is down.
            self.log.warning("Could not poll the remote, will keep waiting: %s", error)
            return None
        except DagRunVanished as error:
            # A remote that reads from a copy of its database may lag behind; the triggerer waits as long.
            self._missing_since = self._missing_since or time.monotonic()
            if time.monotonic() - self._missing_since >= waiter.SECONDS_BEFORE_DELETED:
                raise
            self.log.warning("The run counts as deleted if that lasts: %s", error)
            return None
        self._missing_since = None
        self._existence_checked = True
        if snapshot.run:
            publish_run(context, snapshot.run)
        self.log.info("Waiting for %s: %s", target, snapshot.summary())
        return snapshot

    def _explain_absence(self, target: WaitTarget, context: Context) -> None:
        """Say once, after a few looks in a worker, why there may be nothing; the trigger does so for itself."""
        self._looks_in_vain += 1
        # In mode reschedule, each look is made by an object of its own.
        earlier = looks_before_reschedules(context) if self.reschedule else 0
        if self._looks_in_vain + earlier != POLLS_BEFORE_EXPLAINING:
            return
        try:
            reason = self.hook.run_flow(lambda deployment: deployment.poller.dated_runs.why_none(target))
        except PassingError:
            return
        if reason:
            self.log.warning("%s", reason)

    def _look(self, deployment: Deployment, target: WaitTarget) -> Flow[Snapshot]:
        if self.check_existence and not self._existence_checked:
            yield from deployment.dags.check_existence(target.dag_id, target.task_ids, target.task_group_id)
        return (yield from deployment.poller.snapshot(target))

    def _conclude(self, status: WaitStatus | None, summary: str, run: DagRun | None, context: Context) -> bool:
        where = f": {run.url}" if run else ""
        if status is WaitStatus.FAILED:
            what = f"What was waited for failed ({summary})"
            self._fail(self.failure(context, run, what, self._task_ids()) if run else DagRunFailed(what))
        if status is WaitStatus.SKIPPED:
            raise AirflowSkipException(f"What was waited for reached one of skipped_states ({summary}){where}")
        return status is WaitStatus.SUCCESS

    def _fail(self, error: Exception) -> NoReturn:
        if self.soft_fail:
            raise AirflowSkipException(f"Skipping due to soft_fail: {error}")
        raise error

    def _target(self, context: Context) -> WaitTarget:
        with airflow_exceptions():
            return self._checked(context)

    def _checked(self, context: Context) -> WaitTarget:
        self.read_values()
        self._check_arguments()
        task_ids = self._task_ids()
        if len(task_ids) != len(set(task_ids)):
            raise InvalidSettings("external_task_ids holds a task twice.")
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
            since=time.time(),
        )

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
