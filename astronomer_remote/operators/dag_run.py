"""Triggers DAG runs in another deployment."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowSkipException, BaseOperator
from airflow.providers.common.compat.sdk import conf as airflow_conf

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.runs.runs import ON_RETRY
from astronomer_remote.arguments import DAG_RUN_STATES, Readers, boolean, seconds, states
from astronomer_remote.compat import NOTSET, ArgNotSet
from astronomer_remote.exceptions import DagRunAlreadyExists, airflow_exceptions
from astronomer_remote.links import RemoteDagRunLink, publish_run
from astronomer_remote.operators.room import WaitsForRoom
from astronomer_remote.operators.run_trigger import MakesItsRun, interval
from astronomer_remote.operators.run_wait import WaitsForItsRun

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class RemoteTriggerDagRunOperator(MakesItsRun, WaitsForItsRun, WaitsForRoom, BaseOperator):
    """
    Triggers a DAG run in another deployment, exactly once per intent, and waits for it if told to.

    Parameters, names and defaults are those of ``TriggerDagRunOperator``; what is added here is said so. The run id,
    the page of the run in its deployment and its state go to XCom before any waiting, as ``trigger_run_id``,
    ``remote_run_url`` and ``remote_run_state``.

    A retry of the task finds the run that the attempt before it made, and goes on waiting for it. Clearing the task
    makes a new one.

    :param trigger_dag_id: DAG of the remote (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated). Added.
    :param trigger_run_id: id of the run (templated); by default one that is derived from the local task instance. A run
        with an id of your own gets a last line in its note that shows a retry whose it is, on remote Airflow 2.5 and
        later.
    :param conf: JSON object for the run, or its text (templated).
    :param logical_date: datetime or ISO 8601 text, UTC if without a zone (templated). Not given, or
        rendered to an empty text: the time of the request, or no date if ``run_after`` or ``partition_key`` is given.
        ``None``: no date. Only remote Airflow 3 has runs without one; earlier ones get the time of the request.
    :param run_after: do not start the run before this date (templated); remote Airflow 3.
    :param data_interval_start: of the run, with ``data_interval_end`` (templated); remote Airflow 2.3 and later. Added.
    :param data_interval_end: of the run (templated). Added.
    :param partition_key: of the run (templated); remote Airflow 3.2 and later. Added.
    :param reset_dag_run: whether an existing run of this run id or logical date, made by somebody else, is cleared and
        taken over, default ``False``.
    :param wait_for_completion: whether to wait for the run's end, default ``False`` (templated).
    :param poke_interval: seconds between two looks while waiting, default 60 (templated).
    :param allowed_states: run states that end the wait well, default ``["success"]``.
    :param failed_states: run states that fail the task, default ``["failed"]``. As in ``TriggerDagRunOperator``, a
        state that ``allowed_states`` names as well fails the task: to allow ``failed``, set this to ``[]``, too.
    :param skip_when_already_exists: whether the task is skipped if somebody else's run of this run id or logical date
        exists, default ``False`` (templated).
    :param fail_when_dag_is_paused: whether to fail instead of triggering a paused DAG, default ``False``.
    :param note: note of the run (templated); remote Airflow 2.5 and later.
    :param on_retry: what a retry of the task does if the run it made has failed: ``new_run`` (default), ``clear`` (run
        the whole run again under its id) or ``clear_failed`` (only its failed tasks). Added.
    :param cancel_on_kill: whether the run that this task made is set to failed when the task is killed, marked, cleared
        or times out, default ``True``. A restart of a worker or triggerer leaves it alone. Not on remotes before 2.2,
        whose API cannot. Added.
    :param wait_timeout: seconds or timedelta to wait at most, from the start of a try, default no limit but
        ``execution_timeout`` (templated). Added.
    :param unpause_dag: whether a paused DAG is unpaused before it is triggered, default ``False``. Added.
    :param wait_for_pool: wait until this pool of the remote has open slots before triggering (templated); not on 1.10.
        Nothing keeps others from taking them in the meantime. Added.
    :param wait_for_pool_slots: how many, default 1 (templated); ``pool_slots`` is about the local pool. Added.
    :param result_task_ids: tasks of the remote run whose return values are read after waiting, and returned as
        ``results``, by task id; those of a mapped task as a list (templated). They must be JSON; remote Airflow 2.10
        and later. A set or tuple comes as a list from Airflow 3, and from Airflow 2 as text. From a deployment with an
        XCom backend of its own comes what that keeps in the database. Added.
    :param xcom_keys: XCom keys of those tasks to read instead of the return value; ``results`` then has the values by
        task id and key (templated). Added.
    :param skip_on_all_skipped: whether this task is skipped if every task of the remote run was, default ``False``;
        not on 1.10. Added.
    :param note_origin: whether a run that is given no ``note`` gets one that says which task of which DAG run triggered
        it, with a link, default ``True``; remote Airflow 2.5 and later. Added.
    :param log_progress: whether the log tells how far the run is when that has changed, at most once a minute and
        for up to 100 task instances, default ``True``; not on 1.10. Added.
    :param stream_logs: tasks of the remote run whose logs are told in the log of this one while it waits, each line
        with its task, map index and try (templated): what is new about once a minute, and the rest at the end; of each
        log the last 200 lines at a time, of up to 20 tries. A line comes once, but a retry of this task, and a
        triggerer that takes over the wait from another, begin anew. Logs that cannot be had are a warning, no failure.
        Not on 1.10. Added.
    :param refuse_circles: whether the run's conf gets the DAGs and deployments that were triggered on the way to it,
        as ``astronomer_remote_hops``, and the task fails if this one is among them already, so that DAGs which trigger
        each other in a circle come to an end, default ``False``. It takes each task in the circle to be set so. Added.
    :param explain_failure: whether the error of a failed run says which of its tasks failed first, on which try, and
        with which last lines in their logs, default ``True``; XCom has the same as ``remote_failure``, a dict. Finding
        it out takes a few requests, and never changes how the task fails. On 1.10 there is little to read. Added.
    :param failure_log_lines: how many of the last lines of each log, default 20; 0 reads no log. Added.
    :param deferrable: whether to wait in the triggerer, default ``[operators] default_deferrable``.
    :param openlineage_inject_parent_info: accepted for compatibility; no lineage is sent to the remote yet.
    :return: the run id or, after waiting, the run as a dict of plain JSON
        (see :class:`astronomer_remote.api.protocol.models.DagRun`).
    :raises DagRunAlreadyExists: if somebody else's run of this run id or logical date exists.
    :raises DagRunFailed: if the run ends in one of ``failed_states``; Airflow's retries apply.
    :raises PermanentError: for what a retry cannot mend, see :mod:`astronomer_remote.exceptions`.
    """

    template_fields: Sequence[str] = (
        "trigger_dag_id",
        "astronomer_conn_id",
        "trigger_run_id",
        "conf",
        "logical_date",
        "run_after",
        "data_interval_start",
        "data_interval_end",
        "partition_key",
        "wait_for_completion",
        "poke_interval",
        "wait_timeout",
        "skip_when_already_exists",
        "note",
        "wait_for_pool",
        "wait_for_pool_slots",
        "result_task_ids",
        "xcom_keys",
        "stream_logs",
    )
    readers: ClassVar[Readers] = {**MakesItsRun.readers, **WaitsForItsRun.readers, **WaitsForRoom.readers}
    template_fields_renderers = {"conf": "py"}  # noqa: RUF012  # as Airflow declares it
    ui_color = "#ffefeb"
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
        data_interval_start: str | datetime | None = None,
        data_interval_end: str | datetime | None = None,
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
        unpause_dag: bool = False,
        wait_for_pool: str | None = None,
        wait_for_pool_slots: int | str | None = None,
        result_task_ids: Sequence[str] | None = None,
        xcom_keys: Sequence[str] | None = None,
        skip_on_all_skipped: bool = False,
        note_origin: bool = True,
        log_progress: bool = True,
        stream_logs: Sequence[str] | None = None,
        refuse_circles: bool = False,
        explain_failure: bool = True,
        failure_log_lines: int = 20,
        deferrable: bool = airflow_conf.getboolean("operators", "default_deferrable", fallback=False),
        openlineage_inject_parent_info: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.trigger_dag_id = trigger_dag_id
        self.astronomer_conn_id = astronomer_conn_id
        self.trigger_run_id = trigger_run_id
        self.conf = conf
        self.logical_date = logical_date
        self.run_after = run_after
        self.data_interval_start = data_interval_start
        self.data_interval_end = data_interval_end
        self.partition_key = partition_key
        self.reset_dag_run = reset_dag_run
        self.wait_for_completion = wait_for_completion
        self.poke_interval = poke_interval
        self.skip_when_already_exists = skip_when_already_exists
        self.fail_when_dag_is_paused = fail_when_dag_is_paused
        self.note = note
        self.on_retry = on_retry
        self.cancel_on_kill = cancel_on_kill
        self.wait_timeout = wait_timeout
        self.unpause_dag = unpause_dag
        self.wait_for_pool = wait_for_pool
        self.wait_for_pool_slots = wait_for_pool_slots
        self.result_task_ids = result_task_ids
        self.xcom_keys = xcom_keys
        self.skip_on_all_skipped = skip_on_all_skipped
        self.note_origin = note_origin
        self.log_progress = log_progress
        self.stream_logs = stream_logs
        self.refuse_circles = refuse_circles
        self.explain_failure = explain_failure
        self.failure_log_lines = failure_log_lines
        self.deferrable = deferrable
        self.openlineage_inject_parent_info = openlineage_inject_parent_info
        with airflow_exceptions():
            self.allowed_states = states(allowed_states or ["success"], "allowed_states", DAG_RUN_STATES)
            self.failed_states = states(
                ["failed"] if failed_states is None else failed_states, "failed_states", DAG_RUN_STATES
            )
            self._check_arguments()
        self.check_values()

    def _check_arguments(self) -> None:
        """Refuse while the DAG is parsed what is known to be wrong by then."""
        if self.unpause_dag and self.fail_when_dag_is_paused:
            raise InvalidSettings("unpause_dag and fail_when_dag_is_paused exclude each other; set one of them.")
        self.check_room()
        self.check_results()
        self.check_explanation()
        if self.on_retry not in ON_RETRY:
            raise InvalidSettings(f"on_retry={self.on_retry!r} must be one of: {', '.join(ON_RETRY)}.")
        if self.reset_dag_run and self.skip_when_already_exists is True:
            raise InvalidSettings("reset_dag_run and skip_when_already_exists exclude each other; set one of them.")
        interval(*(str(each or "") for each in (self.data_interval_start, self.data_interval_end)))

    def execute(self, context: Context) -> str | dict[str, Any]:
        self.read_values()
        with airflow_exceptions():
            self._check_arguments()
            intent = self.intent(context)
            pause = seconds(self.poke_interval, "poke_interval")
        # What was made before may itself be what fills the pool.
        if self.wait_for_pool and not self.made_before(intent, context):
            self.wait_for_room(context, pause, self.deadline(context))
        return self._trigger_and_wait(context)

    def execute_with_room(self, context: Context, event: Any) -> str | dict[str, Any]:
        """Come back from waiting for room in the triggerer."""
        self.come_back(event)
        return self._trigger_and_wait(context)

    def _trigger_and_wait(self, context: Context) -> str | dict[str, Any]:
        with airflow_exceptions():
            wait = boolean(self.wait_for_completion, "wait_for_completion")
            skip = boolean(self.skip_when_already_exists, "skip_when_already_exists")
            self._check_arguments()
            intent = self.intent(context)
        try:
            triggered = self.hook.run_flow(lambda deployment: self.ensure_run(deployment, intent, context))
        except DagRunAlreadyExists as error:
            if skip:
                raise AirflowSkipException(str(error)) from None
            raise
        run = triggered.run
        self.remember(context, run.run_id)
        publish_run(context, run)
        self.log.info("%s run %s: %s", "Found" if triggered.existed else "Made", run.run_id, run.url)
        return self.wait_for(run, context) if wait else run.run_id
