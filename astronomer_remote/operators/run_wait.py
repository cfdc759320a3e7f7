"""What becomes of a remote run once it is there: waiting for its end, here or in the triggerer, and cancelling it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import AirflowSkipException, AirflowTaskTimeout

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.api.waiting.log_stream import log_sink
from astronomer_remote.api.waiting.target import Snapshot, WaitResult, WaitStatus, WaitTarget, evaluate
from astronomer_remote.arguments import Readers, boolean, ids, optional_seconds, seconds, texts
from astronomer_remote.compat import publish_try, was_given_up, was_stopped_by_a_person
from astronomer_remote.exceptions import RemoteError, WaitTimeout, airflow_exceptions
from astronomer_remote.links import publish_run
from astronomer_remote.operators.connected import began
from astronomer_remote.operators.explained import Explains
from astronomer_remote.triggers.wait import RemoteWaitTrigger, WaitEvent

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class WaitsForItsRun(Explains):
    """A task that made a remote run, and waits for its end."""

    readers: ClassVar[Readers] = {
        **Explains.readers,
        "wait_for_completion": boolean,
        "poke_interval": seconds,
        "wait_timeout": optional_seconds,
        "result_task_ids": ids,
        "xcom_keys": texts,
        "stream_logs": ids,
    }

    trigger_dag_id: str
    trigger_run_id: str | None
    allowed_states: tuple[str, ...]
    failed_states: tuple[str, ...]
    poke_interval: Any
    wait_timeout: float | timedelta | None
    execution_timeout: timedelta | None
    cancel_on_kill: bool
    wait_for_completion: bool
    result_task_ids: Sequence[str] | None
    xcom_keys: Sequence[str] | None
    skip_on_all_skipped: bool
    log_progress: bool
    stream_logs: Sequence[str] | None
    deferrable: bool
    _ti: Any = None

    def check_results(self) -> None:
        """Refuse what is known to be wrong."""
        if self.xcom_keys and not self.result_task_ids:
            raise InvalidSettings("xcom_keys means nothing without result_task_ids.")
        if self.wait_for_completion is False and (self.result_task_ids or self.skip_on_all_skipped):
            raise InvalidSettings("result_task_ids and skip_on_all_skipped need wait_for_completion=True.")
        if self.wait_for_completion is False and self.stream_logs:
            raise InvalidSettings("stream_logs needs wait_for_completion=True.")

    def read_values(self) -> None:
        super().read_values()
        if self.result_task_ids is None:
            # Its template has rendered to nothing.
            self.xcom_keys = None

    def wait_for(self, run: DagRun, context: Context, *, resumed: bool = False) -> dict[str, Any]:
        """
        Wait for a run's end, here or in the triggerer; at once if it has ended.

        :param resumed: whether a wait in the triggerer is over, which told all there was in the logs.
        """
        target = WaitTarget(
            dag_id=run.dag_id,
            allowed_states=self.allowed_states,
            failed_states=self.failed_states,
            since=began(context),
            progress=self.log_progress,
            stream=tuple(self.stream_logs or ()),
        ).of(run)
        seen = Snapshot.of_run(run)
        status = evaluate(seen, target)
        # It has been read a moment ago; only logs that nobody has told yet are worth asking again.
        if status and (resumed or not target.stream):
            return self._conclude(WaitResult(status, seen.summary(), run), context)
        deadline = self.deadline(context)
        interval = seconds(self.poke_interval, "poke_interval")
        if self.deferrable and not status:
            trigger = RemoteWaitTrigger(
                astronomer_conn_id=self.astronomer_conn_id,
                target=target.as_dict(),
                poke_interval=interval,
                deadline=deadline,
                cancel_on_kill=self.cancel_on_kill,
            )
            publish_try(context["ti"])
            self.wait_in_triggerer(trigger, context, "execute_complete", run_id=run.run_id)
        outcome = self.hook.run_flow(
            lambda deployment: deployment.poller.wait(
                target, poke_interval=interval, deadline=deadline, on_line=log_sink(self.log)
            )
        )
        return self._conclude(outcome, context)

    def execute_complete(self, context: Context, event: Any, run_id: str | None = None) -> dict[str, Any]:
        """
        Come back from the triggerer.

        The event is only a hint: what counts is the run as it is now. Resuming twice is therefore harmless, and a
        run that was cleared meanwhile is waited for again.
        """
        with airflow_exceptions():
            ended = WaitEvent.parse(event)
            ended.raise_error()
        # Airflow's dag.test() comes back with the event alone.
        run_id = run_id or (ended.run.run_id if ended.run else str(self.trigger_run_id))
        self.remember(context, run_id)
        run = self.hook.run_flow(lambda deployment: deployment.runs.get_seen(self.trigger_dag_id, run_id))
        publish_run(context, run)
        # Its failure is the trigger's doing then, if that may cancel it. A scheduler at work on the run at that moment
        # may write success over it, as its tasks were skipped.
        over = self.allowed_states if self.cancel_on_kill else (*self.allowed_states, *self.failed_states)
        cancelled = self.cancel_on_kill and ended.run is not None and ended.run.state == "failed"
        if ended.status is WaitStatus.TIMEOUT and (cancelled or run.state not in over):
            raise self._timed_out(run, ended.summary)
        return self.wait_for(run, context, resumed=True)

    def _conclude(self, outcome: WaitResult, context: Context) -> dict[str, Any]:
        run = outcome.run
        if outcome.status is WaitStatus.TIMEOUT or run is None:
            raise self._timed_out(run, outcome.summary)
        publish_run(context, run)
        if outcome.status is WaitStatus.FAILED:
            what = f"Run {run.run_id!r} of DAG {run.dag_id!r} ended as {run.state}"
            if run.state in self.allowed_states:
                what += (
                    ", which failed_states names as well as allowed_states; to allow it, leave it out of failed_states"
                )
            raise self.failure(context, run, what)
        self.log.info("Run %s ended as %s", run.run_id, run.state)
        if self.skip_on_all_skipped and self.hook.run_flow(lambda deployment: deployment.results.all_skipped(run)):
            raise AirflowSkipException(f"All tasks of run {run.run_id!r} of DAG {run.dag_id!r} were skipped: {run.url}")
        return {**run.as_dict(), **self._results(run)}

    def _results(self, run: DagRun) -> dict[str, Any]:
        if not self.result_task_ids:
            return {}
        task_ids, keys = list(self.result_task_ids), list(self.xcom_keys or ())
        return {"results": self.hook.run_flow(lambda deployment: deployment.results.read(run, task_ids, keys))}

    def deadline(self, context: Context) -> float | None:
        """When the shorter of the limits ends, both counted from the start of this try as Airflow counts its own."""
        limits = [] if self.execution_timeout is None else [self.execution_timeout.total_seconds()]
        limit = optional_seconds(self.wait_timeout, "wait_timeout")
        if limit is not None:
            limits.append(limit)
        return began(context) + min(limits) if limits else None

    def _timed_out(self, run: DagRun | None, summary: str) -> WaitTimeout:
        """The error of a wait that took too long, after the run was cancelled."""
        try:
            self._cancel_in_time()
        except AirflowTaskTimeout:
            # Airflow's own limit passes at about the same time, once.
            self._cancel_in_time()
        limit: Any = self.wait_timeout or self.execution_timeout
        where = f": {run.url}" if run else ""
        limit = f"{limit:g} s" if isinstance(limit, (int, float)) else limit
        return WaitTimeout(f"DAG {self.trigger_dag_id!r} did not end within {limit} ({summary}){where}")

    def remember(self, context: Context, run_id: str) -> None:
        self.trigger_run_id = run_id
        self._ti = context["ti"]

    def on_kill(self) -> None:
        """Cancel the remote run, if it was a person or a timeout that ended the task, and not a worker's restart."""
        if self._ti is None:
            return
        if self._answer(was_stopped_by_a_person):
            self._cancel()
        else:
            self.log.warning("The worker stops; run %s goes on in the remote", self.trigger_run_id)

    def _cancel_in_time(self) -> None:
        """Cancel the remote run, unless a further try of the task goes on with it."""
        if self._answer(was_given_up):
            self.log.warning("A further try of this task goes on with run %s", self.trigger_run_id)
        else:
            self._cancel()

    def _answer(self, question: Callable[[Any], bool]) -> bool:
        """What the local deployment says of this task; ``False`` if it says nothing."""
        try:
            return question(self._ti)
        except AirflowTaskTimeout:
            raise
        except Exception as error:  # noqa: BLE001  # it may be what goes down, in any way
            self.log.warning("The local deployment does not say how this task stands: %r", error)
            return False

    def _cancel(self) -> None:
        if not self.cancel_on_kill:
            return
        try:
            # The hook in use may be in the middle of a request.
            run = self.new_hook().cancel_dag_run(self.trigger_dag_id, str(self.trigger_run_id))
        except RemoteError as error:
            self.log.warning("Could not cancel run %s in the remote: %s", self.trigger_run_id, error)
        else:
            self.log.info("Run %s in the remote is now %s: %s", run.run_id, run.state, run.url)
