"""What a task wants of the remote, and the conversation in which it gets it: one run, exactly once."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.ids import digest_of_intent, run_id_of_intent
from astronomer_remote.api.protocol.models import TriggerIntent
from astronomer_remote.api.runs.runs import IfExists, Triggered
from astronomer_remote.arguments import (
    Readers,
    boolean,
    date,
    date_or_notset,
    description,
    json_object,
    optional_id,
    required_id,
    text,
)
from astronomer_remote.compat import NOTSET, intent_identity, map_index, try_number
from astronomer_remote.operators.connected import Connected
from astronomer_remote.operators.hops import HOPS, next_hop
from astronomer_remote.operators.origin import origin

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from astronomer_remote.api.deployment import Deployment
    from astronomer_remote.api.protocol.flow import Flow


class MakesItsRun(Connected):
    """A task that makes a remote run, or finds the one it made before."""

    readers: ClassVar[Readers] = {
        **Connected.readers,
        "trigger_dag_id": required_id,
        "trigger_run_id": optional_id,
        "conf": json_object,
        "logical_date": date_or_notset,
        "run_after": date_or_notset,
        "data_interval_start": date,
        "data_interval_end": date,
        "partition_key": text,
        "note": description,
        "skip_when_already_exists": boolean,
    }

    trigger_dag_id: str
    trigger_run_id: str | None
    conf: Mapping[str, Any] | str | None
    logical_date: Any
    run_after: Any
    data_interval_start: Any
    data_interval_end: Any
    partition_key: str | None
    note: str | None
    note_origin: bool
    reset_dag_run: bool
    fail_when_dag_is_paused: bool
    unpause_dag: bool
    on_retry: str
    failed_states: tuple[str, ...]
    result_task_ids: Sequence[str] | None
    stream_logs: Sequence[str] | None
    skip_on_all_skipped: bool
    refuse_circles: bool

    def intent(self, context: Context) -> TriggerIntent:
        """What this task instance wants, with everything checked that can be before the first request."""
        digest, task = _digest(context), _task(context)
        run_id = self.trigger_run_id or run_id_of_intent(digest, **task)
        start, end = (date(getattr(self, name), name) for name in ("data_interval_start", "data_interval_end"))
        return TriggerIntent(
            dag_id=self.trigger_dag_id,
            run_id=str(run_id),
            conf=self._conf(context),
            logical_date=date(self.logical_date, "logical_date"),
            run_after=date(self.run_after, "run_after"),
            data_interval=interval(start, end),
            note=self.note,
            partition_key=self.partition_key,
            dated_now=self._is_for_now,
            mark=digest if self.trigger_run_id else None,
        )

    @property
    def _is_for_now(self) -> bool:
        """Whether the run's logical date is the time of the request; ``TriggerDagRunOperator`` has the same rule."""
        not_given = self.logical_date is NOTSET and self.run_after is NOTSET
        return not_given and not self.partition_key

    def _conf(self, context: Context) -> dict[str, Any]:
        conf = json_object(self.conf, "conf")
        if not self.refuse_circles:
            return conf
        local = getattr(context["dag_run"], "conf", None)
        return {**conf, HOPS: next_hop(local, address=self.hook.run_flow(_address), dag_id=self.trigger_dag_id)}

    def made_before(self, intent: TriggerIntent, context: Context) -> bool:
        """Whether an earlier attempt has made the run."""
        if try_number(context) == 1:
            return False
        if_exists = self._if_exists(context)
        return self.hook.run_flow(lambda deployment: deployment.runs.find_own(intent, if_exists)) is not None

    def ensure_run(self, deployment: Deployment, intent: TriggerIntent, context: Context) -> Flow[Triggered]:
        """Make the run, or find it, after what the remote cannot do was refused."""
        dialect = yield from deployment.client.dialect()
        if self.result_task_ids:
            yield from deployment.results.check()
        if self.stream_logs:
            yield from deployment.follower.check()
        if self.skip_on_all_skipped and not dialect.lists_task_instances:
            raise dialect.cannot("tell whether the tasks of a run were skipped")
        if self.note_origin and intent.note is None and dialect.accepts_notes:
            intent = replace(intent, note=origin(context))
        if self.fail_when_dag_is_paused:
            yield from deployment.dags.refuse_paused(intent.dag_id)
        if self.unpause_dag:
            yield from deployment.dags.set_paused(intent.dag_id, paused=False)
        return (yield from deployment.runs.ensure(intent, self._if_exists(context)))

    def _if_exists(self, context: Context) -> IfExists:
        return IfExists(
            generated_id=not self.trigger_run_id,
            # Never less than the attempts since the task was last cleared, and the same whatever `retries` is by now.
            attempt=try_number(context),
            mark=_digest(context),
            reset=self.reset_dag_run,
            on_retry=self.on_retry,
            failed_states=self.failed_states,
        )


def _task(context: Context) -> dict[str, Any]:
    """What names the local task instance in its run."""
    return {"dag_id": context["ti"].dag_id, "task_id": context["ti"].task_id, "map_index": map_index(context)}


def _digest(context: Context) -> str:
    """What tells this intent from every other."""
    return digest_of_intent(**_task(context), identity=intent_identity(context))


def interval(start: str | None, end: str | None) -> tuple[str, str] | None:
    """A data interval. :raises InvalidSettings: for half of one."""
    if bool(start) != bool(end):
        raise InvalidSettings("data_interval_start and data_interval_end only go together.")
    return (start, end) if start and end else None


def _address(deployment: Deployment) -> Generator[Any, Any, str]:
    """A conversation in which nothing is said."""
    yield from ()
    return deployment.settings.base_url
