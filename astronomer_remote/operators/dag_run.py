"""Triggers DAG runs in another deployment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout
from airflow.providers.common.compat.sdk import conf as airflow_conf

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.ids import LONGEST_NOTE, digest_of_intent, run_id_of_intent
from astronomer_remote.api.protocol.models import DagRun, TriggerIntent
from astronomer_remote.api.runs.runs import ON_RETRY, IfExists, Triggered
from astronomer_remote.api.waiting.log_stream import log_sink
from astronomer_remote.api.waiting.target import Snapshot, WaitResult, WaitStatus, WaitTarget, evaluate
from astronomer_remote.arguments import (
    DAG_RUN_STATES,
    Readers,
    boolean,
    date,
    date_or_notset,
    description,
    ids,
    interval,
    is_plain,
    json_object,
    optional_id,
    optional_seconds,
    required_id,
    results_to_read,
    seconds,
    states,
    text,
)
from astronomer_remote.compat import (
    NOTSET,
    ArgNotSet,
    intent_identity,
    map_index,
    publish_try,
    task_page,
    try_number,
    was_given_up,
    was_stopped_by_a_person,
)
from astronomer_remote.dependencies import DAG, TASK, Dependency
from astronomer_remote.exceptions import (
    DagRunAlreadyExists,
    RemoteError,
    TransientError,
    WaitTimeout,
    airflow_exceptions,
)
from astronomer_remote.links import RemoteDagRunLink, publish_run, publish_state
from astronomer_remote.operators import lineage, trigger_loops
from astronomer_remote.operators.base import RemoteOperator, began, check_failure_log_lines, one_of, run_failed
from astronomer_remote.triggers.base import SECONDS_TO_SETTLE, read_event
from astronomer_remote.triggers.wait import RemoteWaitTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from astronomer_remote.api.deployment import Deployment
    from astronomer_remote.api.protocol.flow import Flow
    from astronomer_remote.api.protocol.models import AssetNumber

__all__ = ["RemoteTriggerDagRunOperator"]

SECONDS_IN_WORKER = 20.0
"""How long a deferrable task waits in its worker at most, if the runs of its DAG usually are short."""

SECONDS_FOR_LAST_POLL = 5.0
"""How long its last poll may take then: a remote that does not answer does not hold the worker up."""

FIRST_PAUSE = 1.0
"""Seconds between the first polls in a worker: ``poke_interval`` is chosen with long runs in mind, and many are short.
"""

ROOM_FOR_MARK = 50
"""Characters of a note that are left for :func:`astronomer_remote.api.protocol.ids.marked_note`."""


class RemoteTriggerDagRunOperator(lineage.ReportsRemoteJobs, RemoteOperator):
    """
    Triggers a DAG run in another deployment, exactly once per intent, and optionally waits for it.

    Parameters, names and defaults are those of ``TriggerDagRunOperator``; the others are marked as added. Run id, URL
    and state of the run are pushed to XCom before any waiting, as ``trigger_run_id``, ``remote_run_url`` and
    ``remote_run_state``.

    A retry of the task finds the run that the try before it triggered, and keeps waiting for it. Clearing the task
    triggers a new one.

    :param trigger_dag_id: DAG of the remote (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated). Added.
    :param trigger_run_id: id of the run (templated); by default one that is derived from the local task instance. A run
        with an id of your own gets a last line in its note by which a retry recognizes it, on remote Airflow 2.5 and
        later.
    :param conf: JSON object for the run, or its text (templated).
    :param logical_date: datetime or ISO 8601 text, UTC if without a zone (templated). Not given, or
        rendered to an empty text: the time of the request, or no date if ``run_after`` or ``partition_key`` is given.
        ``None``: no date. Only remote Airflow 3 has runs without one; earlier ones get the time of the request.
    :param run_after: do not start the run before this date (templated); remote Airflow 3.
    :param data_interval: start and end of the run's data interval, each a datetime or ISO 8601 text (templated); remote
        Airflow 2.9 and later. Added.
    :param partition_key: of the run (templated); remote Airflow 3.2 and later. Added.
    :param reset_dag_run: whether an existing run of this run id or logical date that this task did not trigger is
        cleared and taken over, default ``False``.
    :param wait_for_completion: whether to wait for the end of the run, default ``False`` (templated).
    :param poke_interval: seconds between two polls while waiting, default 60 (templated); fewer at the beginning of a
        wait.
    :param allowed_states: run states that end the wait successfully, default ``["success"]``.
    :param failed_states: run states that fail the task, default ``["failed"]``. As in ``TriggerDagRunOperator``, a
        state that is also in ``allowed_states`` fails the task: to allow ``failed``, also set this to ``[]``.
    :param skip_when_already_exists: whether the task is skipped if a run of this run id or logical date exists that
        this task did not trigger, default ``False`` (templated).
    :param fail_when_dag_is_paused: whether to fail instead of triggering a paused DAG, default ``False``.
    :param note: note of the run (templated); remote Airflow 2.5 and later. By default it says which task of which DAG
        run triggered the run, with a link, if the remote has notes; an empty text sends no note.
    :param on_retry: what a retry of the task does if its run has failed: ``new_run`` (default), ``clear`` (run
        the whole run again under its id) or ``clear_failed`` (only its failed tasks). Added.
    :param cancel_on_kill: whether the run that this task triggered is set to failed when the task is killed, marked,
        cleared or times out, default ``True``. A restart of a worker or triggerer does not cancel it. Not on remotes
        before 2.2, whose API cannot. Added.
    :param wait_timeout: seconds or timedelta to wait at most, from the start of a try, default no limit but
        ``execution_timeout`` (templated). Added.
    :param results: tasks whose XComs are read after waiting and returned as ``results`` (templated, except task ids
        that are keys). A list of task ids reads their return values, by task id; ``{"task": ["key", ...]}`` reads these
        XCom keys, by task id and key.
        Values of a mapped task are a list. They must be JSON; remote Airflow 2.10 and later. A set or tuple is read as
        a list from Airflow 3, and as text from Airflow 2. If the remote has a custom XCom backend, the value is what
        that backend stores in the database. Added.
    :param skip_on_all_skipped: whether this task is skipped if every task of the remote run was, default ``False``;
        not on 1.10. Added.
    :param stream_logs: tasks of the remote run whose logs are copied to the log of this one while it waits, each line
        with its task, map index and try (templated): new lines about once a minute, and the rest at the end; of each
        log the last 200 lines at a time, of up to 20 tries. Each line is copied once, but a retry of this task, and a
        triggerer that takes over the wait from another, begin again. Logs that cannot be read are a warning, not a
        failure. Not on 1.10. Added.
    :param prevent_loops: whether to stop DAGs that trigger each other in a loop: the run's conf gets the DAGs and
        deployments that led to it, as ``astronomer_remote_path``, and the task fails if this DAG is among them already;
        default ``False``. Every task in the loop must set it. Added.
    :param failure_log_lines: how many of the last lines of each failed task's log are in the error of a failed run,
        default 20; 0 reads no logs, ``None`` turns the failure report off. The report says which tasks of the run
        failed first, and on which try; it is also in XCom as ``remote_failure``, a dict. It takes a few requests, and
        never changes how the task fails. On 1.10 there is little to read. Added.
    :param deferrable: whether to wait in the triggerer, default ``[operators] default_deferrable``. If at least half of
        the newest runs of the DAG took at most 15 s, the task first waits up to 20 s in its worker (25 s if the remote
        does not answer), unless ``stream_logs`` is set or the run is planned for later.
    :param openlineage_inject_parent_info: whether the run's conf gets the OpenLineage identifiers of this task and of
        its root, as ``openlineage``, default ``True``. Only if the OpenLineage provider, 2.8 or later, is installed and
        enabled here, and the conf names no parent itself. The remote's OpenLineage provider reports them as parent of
        the run. A run that a retry finds keeps those of the try that triggered it.
    :return: the run id or, after waiting, the run as a dict of plain JSON
        (see :class:`astronomer_remote.api.protocol.models.DagRun`).
    :raises DagRunAlreadyExists: if a run of this run id or logical date exists that this task did not trigger.
    :raises DagRunFailed: if the run ends in one of ``failed_states``; Airflow's retries apply.
    :raises WaitTimeout: if the run does not end in time; Airflow's retries apply.
    :raises PermanentError: for what a retry cannot fix, see :mod:`astronomer_remote.exceptions`.
    """

    template_fields: Sequence[str] = (
        "trigger_dag_id",
        "astronomer_conn_id",
        "trigger_run_id",
        "conf",
        "logical_date",
        "run_after",
        "data_interval",
        "partition_key",
        "wait_for_completion",
        "poke_interval",
        "wait_timeout",
        "skip_when_already_exists",
        "note",
        "results",
        "stream_logs",
    )
    readers: ClassVar[Readers] = {
        **RemoteOperator.readers,
        "trigger_dag_id": required_id,
        "trigger_run_id": optional_id,
        "conf": json_object,
        "logical_date": date_or_notset,
        "run_after": date_or_notset,
        "data_interval": interval,
        "partition_key": text,
        "wait_for_completion": boolean,
        "poke_interval": seconds,
        "wait_timeout": optional_seconds,
        "skip_when_already_exists": boolean,
        "note": description,
        "results": results_to_read,
        "stream_logs": ids,
    }
    template_fields_renderers = {"conf": "py"}  # noqa: RUF012  # as Airflow declares it
    ui_color = "#ffefeb"
    lineage_direction = "downstream"
    lineage_type = "DIRECT_INVOCATION"
    operator_extra_links = (RemoteDagRunLink(),)

    def __init__(
        self,
        *,
        trigger_dag_id: str,
        astronomer_conn_id: str = "astronomer_default",
        trigger_run_id: str | None = None,
        conf: Mapping[str, Any] | str | None = None,
        logical_date: str | datetime | ArgNotSet | None = NOTSET,
        run_after: str | datetime | ArgNotSet | None = NOTSET,
        data_interval: tuple[str | datetime, str | datetime] | None = None,
        partition_key: str | None = None,
        reset_dag_run: bool = False,
        wait_for_completion: bool = False,
        poke_interval: float = 60,
        allowed_states: Collection[str] | None = None,
        failed_states: Collection[str] | None = None,
        skip_when_already_exists: bool = False,
        fail_when_dag_is_paused: bool = False,
        note: str | None = None,
        on_retry: str = "new_run",
        cancel_on_kill: bool = True,
        wait_timeout: float | timedelta | None = None,
        results: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        skip_on_all_skipped: bool = False,
        stream_logs: Sequence[str] | None = None,
        prevent_loops: bool = False,
        failure_log_lines: int | None = 20,
        deferrable: bool = airflow_conf.getboolean("operators", "default_deferrable", fallback=False),
        openlineage_inject_parent_info: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.trigger_dag_id = trigger_dag_id
        self.astronomer_conn_id = astronomer_conn_id
        self.trigger_run_id = trigger_run_id
        self.conf: Any = conf
        self.logical_date: Any = logical_date
        self.run_after: Any = run_after
        self.data_interval: Any = data_interval
        self.partition_key = partition_key
        self.reset_dag_run = reset_dag_run
        self.wait_for_completion = wait_for_completion
        self.poke_interval = poke_interval
        self.skip_when_already_exists = skip_when_already_exists
        self.fail_when_dag_is_paused = fail_when_dag_is_paused
        self.note = note
        self.on_retry = on_retry
        self.cancel_on_kill = cancel_on_kill
        self.wait_timeout: Any = wait_timeout
        self.results = results
        self.skip_on_all_skipped = skip_on_all_skipped
        self.stream_logs = stream_logs
        self.prevent_loops = prevent_loops
        self.failure_log_lines = failure_log_lines
        self.deferrable = deferrable
        self.openlineage_inject_parent_info = openlineage_inject_parent_info
        self._ti: Any = None
        with airflow_exceptions():
            self.allowed_states = states(allowed_states or ["success"], "allowed_states", DAG_RUN_STATES)
            self.failed_states = states(
                ["failed"] if failed_states is None else failed_states, "failed_states", DAG_RUN_STATES
            )
            check_failure_log_lines(failure_log_lines)
            one_of(on_retry, "on_retry", ON_RETRY)
            self._check_combinations()
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        waits = " and waits for" if task.wait_for_completion is True else ""
        yield Dependency(f"triggers{waits}", DAG, task.trigger_dag_id)
        for how, names in (("reads results of", task.results), ("reads logs of", task.stream_logs)):
            if isinstance(names, Collection) and names:
                yield from Dependency(how, TASK, names, dag_id=task.trigger_dag_id).each()

    def _check_combinations(self) -> None:
        """Called again once the fields are rendered."""
        if self.wait_for_completion is False:
            for name in ("results", "skip_on_all_skipped", "stream_logs"):
                if getattr(self, name):
                    raise InvalidSettings(f"{name} needs wait_for_completion=True.")
        for task_id in self.results if isinstance(self.results, Mapping) else ():
            if not is_plain(task_id):
                raise InvalidSettings(f"results has the key {task_id!r}, but Airflow renders no templates in keys.")
        if self.reset_dag_run and self.skip_when_already_exists is True:
            raise InvalidSettings("reset_dag_run and skip_when_already_exists exclude each other; set one of them.")

    def execute(self, context: Context) -> str | dict[str, Any]:
        self.read_values()
        with airflow_exceptions():
            self._check_combinations()
        try:
            triggered = self.hook.run_flow(lambda deployment: self._trigger(deployment, context))
        except DagRunAlreadyExists as error:
            if self.skip_when_already_exists:
                raise AirflowSkipException(str(error)) from None
            error.message += " Or set reset_dag_run or skip_when_already_exists."
            raise
        run = triggered.run
        self._remember(context, run.dag_id, run.run_id)
        publish_run(context, run)
        self.report_run(run)
        self.log.info("%s run %s: %s", "Continuing with" if triggered.existed else "Triggered", run.run_id, run.url)
        return self._wait(run, context) if self.wait_for_completion else run.run_id

    # Triggering

    def _trigger(self, deployment: Deployment, context: Context) -> Flow[Triggered]:
        """Trigger the run, or find the one that an earlier try triggered, once the remote is known to support it."""
        asset = yield from self._choose_dag(deployment)
        conf = dict(self.conf)
        if self.prevent_loops:
            local_conf = getattr(context["dag_run"], "conf", None)
            conf[trigger_loops.PATH_KEY] = trigger_loops.extended_path(
                local_conf, address=deployment.settings.base_url, dag_id=self.trigger_dag_id
            )
        dialect = yield from deployment.client.dialect()
        if self.openlineage_inject_parent_info:
            conf = lineage.with_parent(conf, context["ti"], "conf")
        note = _origin(context) if self.note is None and dialect.accepts_notes else self.note
        yield from self._check_remote(deployment)
        ti = context["ti"]
        task: dict[str, Any] = {"dag_id": ti.dag_id, "task_id": ti.task_id, "map_index": map_index(context)}
        digest = digest_of_intent(**task, identity=intent_identity(context))
        intent = TriggerIntent(
            dag_id=self.trigger_dag_id,
            run_id=self.trigger_run_id or run_id_of_intent(digest, **task),
            conf=conf,
            logical_date=date(self.logical_date, "logical_date"),
            run_after=date(self.run_after, "run_after"),
            data_interval=self.data_interval,
            note=note or None,
            partition_key=self.partition_key,
            # TriggerDagRunOperator has the same rule.
            dated_now=self.logical_date is NOTSET and self.run_after is NOTSET and not self.partition_key,
            mark=digest if self.trigger_run_id else None,
            asset=asset,
        )
        if_exists = IfExists(
            generated_id=not self.trigger_run_id,
            # Never less than the attempts since the task was last cleared, and the same whatever `retries` is by now.
            attempt=try_number(context),
            mark=digest,
            reset=self.reset_dag_run,
            on_retry=self.on_retry,
            failed_states=self.failed_states,
        )
        return (yield from deployment.runs.ensure(intent, if_exists))

    def _choose_dag(self, deployment: Deployment) -> Flow[AssetNumber | None]:
        """
        Set ``trigger_dag_id``, where the remote decides which DAG it is.

        :return: the asset that the DAG is triggered for, if the remote is to get its number.
        """
        yield from ()
        return None

    def _check_remote(self, deployment: Deployment) -> Flow[None]:
        """
        Check the remote before anything is triggered there.

        :raises NotSupported: if its API lacks what reading the run's results, logs or skipped tasks takes.
        :raises DagIsPaused: if ``fail_when_dag_is_paused`` is set and the DAG is paused.
        """
        dialect = yield from deployment.client.dialect()
        if self.results:
            yield from deployment.results.check()
        if self.stream_logs:
            yield from deployment.follower.check()
        if self.skip_on_all_skipped and not dialect.lists_task_instances:
            raise dialect.cannot("report whether the tasks of a run were skipped")
        if self.fail_when_dag_is_paused:
            yield from deployment.dags.refuse_paused(self.trigger_dag_id)

    def _remember(self, context: Context, dag_id: str, run_id: str) -> None:
        """From here on :meth:`on_kill` can cancel the run."""
        self.trigger_dag_id = dag_id
        self.trigger_run_id = run_id
        self._ti = context["ti"]

    # Waiting

    def _wait(self, run: DagRun, context: Context, *, resumed: bool = False) -> dict[str, Any]:
        """
        Wait for the end of a run, in the worker or in the triggerer; return at once if it has ended.

        :param resumed: whether a wait in the triggerer is over, which has streamed all logs.
        """
        target = WaitTarget(
            dag_id=run.dag_id,
            allowed_states=self.allowed_states,
            failed_states=self.failed_states,
            since=began(context),
            progress=True,
            stream=tuple(self.stream_logs or ()),
        ).of(run)
        seen = Snapshot.of_run(run)
        status = evaluate(seen, target)
        # The run was read a moment ago; it is polled again only for logs that were not streamed yet.
        if status and (resumed or not target.stream):
            return self._conclude(WaitResult(status, seen.summary(), run), context)
        if resumed:
            publish_state(context, run)
        limit = self._limit()
        deadline = None if limit is None else began(context) + limit
        if self.deferrable and not status:
            publish_try(context["ti"])
            result = None if resumed else self._wait_briefly(run, target, deadline)
            if result:
                return self._conclude(result, context)
            trigger = RemoteWaitTrigger(
                astronomer_conn_id=self.astronomer_conn_id,
                target=target.as_dict(),
                poke_interval=self.poke_interval,
                deadline=deadline,
                cancel_on_kill=self.cancel_on_kill,
            )
            self.wait_in_triggerer(trigger, context, "execute_complete", run_id=run.run_id, dag_id=run.dag_id)
        waited = self.hook.run_flow(
            lambda deployment: deployment.poller.wait(
                target,
                poke_interval=self.poke_interval,
                deadline=deadline,
                on_line=log_sink(self.log),
                first_pause=FIRST_PAUSE,
            )
        )
        return self._conclude(waited, context)

    def _wait_briefly(self, run: DagRun, target: WaitTarget, deadline: float | None) -> WaitResult | None:
        """
        Wait in the worker for a run that will probably end before a deferral could.

        :return: ``None`` if the task is to be deferred.
        """
        if target.stream:
            # The triggerer would copy all lines again.
            return None
        limit = time.time() + SECONDS_IN_WORKER

        def flow(deployment: Deployment) -> Flow[WaitResult | None]:
            if not (yield from deployment.runs.is_probably_short(run, SECONDS_TO_SETTLE)):
                return None
            return (
                yield from deployment.poller.wait(
                    target,
                    poke_interval=self.poke_interval,
                    deadline=limit if deadline is None else min(limit, deadline),
                    on_line=log_sink(self.log),
                    first_pause=FIRST_PAUSE,
                )
            )

        try:
            result = self.hook.run_flow(flow, total_seconds=SECONDS_IN_WORKER + SECONDS_FOR_LAST_POLL)
        except TransientError as error:
            self.log.warning("Could not wait for the run in the worker, the triggerer will: %s", error)
            return None
        is_over = result is not None and result.status is not WaitStatus.TIMEOUT
        is_overdue = deadline is not None and deadline <= time.time()
        return result if is_over or is_overdue else None

    def execute_complete(
        self, context: Context, event: Any, run_id: str | None = None, dag_id: str | None = None
    ) -> dict[str, Any]:
        """
        Come back from the triggerer.

        The event is only a hint: the run is read again, and its current state counts. Resuming twice is therefore
        harmless, and a run that was cleared meanwhile is waited for again.
        """
        result = read_event(event)
        # Airflow's dag.test() comes back with the event alone.
        run_id = run_id or (result.run.run_id if result.run else str(self.trigger_run_id))
        dag_id = dag_id or (result.run.dag_id if result.run else self.trigger_dag_id)
        self._remember(context, dag_id, run_id)
        run = self.hook.run_flow(lambda deployment: deployment.runs.get_seen(dag_id, run_id))
        self.report_run(run)
        # If the trigger may cancel the run, it set "failed". A scheduler that is working on the run at that moment may
        # overwrite that with success, as the run's tasks were skipped.
        over = self.allowed_states if self.cancel_on_kill else (*self.allowed_states, *self.failed_states)
        cancelled = self.cancel_on_kill and result.run is not None and result.run.state == "failed"
        if result.status is WaitStatus.TIMEOUT and (cancelled or run.state not in over):
            raise self._timed_out(context, run, result.summary)
        return self._wait(run, context, resumed=True)

    def _conclude(self, result: WaitResult, context: Context) -> dict[str, Any]:
        run = result.run
        if result.status is WaitStatus.TIMEOUT or run is None:
            raise self._timed_out(context, run, result.summary)
        publish_state(context, run)
        if result.status is WaitStatus.FAILED:
            what = f"Run {run.run_id!r} of DAG {run.dag_id!r} ended as {run.state}"
            if run.state in self.allowed_states:
                what += (
                    ", which is in both failed_states and allowed_states; to allow it, leave it out of failed_states"
                )
            raise run_failed(self, context, run, what, log_lines=self.failure_log_lines)
        self.log.info("Run %s finished: %s", run.run_id, run.state)
        if self.skip_on_all_skipped and self.hook.run_flow(lambda deployment: deployment.results.all_skipped(run)):
            raise AirflowSkipException(f"All tasks of run {run.run_id!r} of DAG {run.dag_id!r} were skipped: {run.url}")
        results = self.results
        if not results:
            return run.as_dict()
        return {
            **run.as_dict(),
            "results": self.hook.run_flow(lambda deployment: deployment.results.read(run, results)),
        }

    def _limit(self) -> float | None:
        """The shorter of ``execution_timeout`` and ``wait_timeout`` in seconds, both from the start of this try."""
        limits = [self.wait_timeout] if self.wait_timeout is not None else []
        if self.execution_timeout is not None:
            limits.append(self.execution_timeout.total_seconds())
        return min(limits, default=None)

    def _timed_out(self, context: Context, run: DagRun | None, summary: str) -> WaitTimeout:
        """The error of a wait that took too long, after the run was cancelled."""
        try:
            cancelled = self._cancel_in_time()
        except AirflowTaskTimeout:
            # Airflow's own limit passes at about the same time, once.
            cancelled = self._cancel_in_time()
        run = cancelled or run
        if run:
            try:
                publish_state(context, run)
            except (Exception, AirflowTaskTimeout) as error:  # noqa: BLE001  # it must not hide the timeout
                self.log.warning("Could not push the state of run %s: %r", run.run_id, error)
        # The limit may be gone from the DAG file since the task was deferred.
        limit = self._limit()
        within = "in time" if limit is None else f"within {limit:g} s"
        where = f": {run.url}" if run else ""
        return WaitTimeout(f"DAG {self.trigger_dag_id!r} did not end {within} ({summary}){where}")

    # Cancelling

    def on_kill(self) -> None:
        """Cancel the remote run if a person or a timeout ended the task; not if the worker restarts."""
        if self._ti is None:
            return
        if self._check_locally(was_stopped_by_a_person):
            self._cancel()
        else:
            self.log.warning("The worker stops; run %s continues in the remote", self.trigger_run_id)

    def _cancel_in_time(self) -> DagRun | None:
        """Cancel the remote run, unless a later try of the task continues with it. :return: the run afterwards."""
        if self._check_locally(was_given_up):
            self.log.warning("A later try of this task continues with run %s", self.trigger_run_id)
            return None
        return self._cancel()

    def _check_locally(self, check: Callable[[Any], bool]) -> bool:
        """What the local deployment says about this task; ``False`` if it does not answer."""
        try:
            return check(self._ti)
        except AirflowTaskTimeout:
            raise
        except Exception as error:  # noqa: BLE001  # the local deployment may be going down, in any way
            self.log.warning("The local deployment does not report the state of this task: %r", error)
            return False

    def _cancel(self) -> DagRun | None:
        if not self.cancel_on_kill:
            return None
        try:
            # The hook in use may be in the middle of a request.
            run = self.new_hook().cancel_dag_run(self.trigger_dag_id, str(self.trigger_run_id))
        except RemoteError as error:
            self.log.warning("Could not cancel run %s in the remote: %s", self.trigger_run_id, error)
            return None
        # It may have ended by itself in the meantime.
        self.log.info("Run %s in the remote is now %s: %s", run.run_id, run.state, run.url)
        return run


def _origin(context: Context) -> str:
    """The default note: the local task instance and its page, whose URL also shows the deployment."""
    ti, index = context["ti"], map_index(context)
    task = f"{ti.task_id}[{index}]" if index >= 0 else ti.task_id
    origin = f"Triggered by task {task} of DAG {ti.dag_id}, run {ti.run_id}, in another Airflow deployment"
    page = task_page(ti)
    return (f"{origin}: {page}" if page else f"{origin}.")[: LONGEST_NOTE - ROOM_FOR_MARK]
