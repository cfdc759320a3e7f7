"""Conversations that look at what is waited for, once or until the wait is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone

from astronomer_remote.api.client.client import Conversation, one_budget
from astronomer_remote.api.client.paging import INSTANCES_AT_ONCE, PageAt, instance_key
from astronomer_remote.api.client.refusals import refuses
from astronomer_remote.api.dialects.base import Dialect
from astronomer_remote.api.protocol.errors import (
    DagNotFound,
    DagRunNotFound,
    DagRunVanished,
    NotFound,
    NotSupported,
    PassingError,
    PermanentError,
    RemoteError,
)
from astronomer_remote.api.protocol.flow import Flow, Sleep
from astronomer_remote.api.protocol.ids import is_addressable
from astronomer_remote.api.protocol.models import DagRun, TaskInstance, utc_text
from astronomer_remote.api.runs.dated_runs import DatedRuns
from astronomer_remote.api.runs.diagnosis import Diagnosis
from astronomer_remote.api.runs.follow import Telling
from astronomer_remote.api.runs.runs import Runs
from astronomer_remote.api.waiting.schedule import SECONDS_BETWEEN_WIDE_TICKS
from astronomer_remote.api.waiting.target import BY_DATA_INTERVAL_END, Observation, Outcome, Verdict, Wanted
from astronomer_remote.api.waiting.waiter import News, Waiter

log = logging.getLogger(__name__)

SECONDS_QUEUED_BEFORE_EXPLAINING = 120.0
"""How long a run may wait to begin before its reader is told why."""

SECONDS_OF_PATIENCE = 600.0
"""How long a remote may be out of reach during a wait: longer than a deployment's restart or upgrade takes."""


RUNS_AT_ONCE = 500
"""How many runs are named in one request."""

TASKS_READ_SINGLY = 3
"""Of how many tasks, at most, the instances are read one by one instead of all that the run has."""

MOST_KNOWN_AS_MAPPED = 10_000
"""Of how many tasks it is remembered that they are mapped, so that they cannot be read singly."""


class Observer:
    """Looks at runs and tasks of one deployment."""

    def __init__(self, conversation: Conversation, runs: Runs, telling: Telling) -> None:
        self._conversation = conversation
        self._runs = runs
        self._telling = telling
        self._diagnosis = Diagnosis(conversation)
        self.dated_runs = DatedRuns(conversation)
        self._mapped: set[tuple[str, str]] = set()
        self._listing_refused_until = 0.0

    @one_budget
    def look(self, wanted: Wanted, *, bare: bool = False) -> Flow[Observation]:
        """
        Look once.

        :param bare: without the confs and notes of runs.
        :raises DagRunVanished: if the run was seen before and is there no more.
        """
        try:
            runs, dag_is_missing = (yield from self._find(wanted, bare=bare)), False
        except DagNotFound as error:
            if wanted.exists:
                raise _vanished(wanted, error) from None
            # As ExternalTaskSensor does, a wait goes on until the DAG is there.
            runs, dag_is_missing = _nothing(wanted), True
        if wanted.task_group_id is not None:
            dialect = yield from self._conversation.dialect()
            if not dialect.lists_task_instances:
                raise dialect.cannot("wait for a task group")
        things: dict[str, list[str | None]] = {}
        whole = True
        for name, run in runs.items():
            if not wanted.task_ids and wanted.task_group_id is None:
                things[name] = [run.state] if run else []
                continue
            instances, complete = (yield from self._instances(run, wanted)) if run else ([], True)
            whole = whole and complete
            if wanted.task_group_id is not None:
                of_group = [each for each in instances if wanted.is_for_task(each.task_id)]
                things[f"{name}, group {wanted.task_group_id}"] = wanted.counting(of_group)
            for task_id in wanted.task_ids:
                of_task = [each for each in instances if each.task_id == task_id]
                things[f"{name}, task {task_id}"] = wanted.counting(of_task)
        return Observation(things, next(iter(runs.values())) if len(runs) == 1 else None, whole, dag_is_missing)

    def wait(
        self,
        wanted: Wanted,
        *,
        poke_interval: float,
        deadline: float | None,
        told: Callable[[str], None] = log.info,
    ) -> Flow[Outcome]:
        """
        Look until the wait is over.

        A remote that cannot be reached for a while is no reason to give up.

        :param poke_interval: seconds between two looks.
        :param deadline: when to give up, in seconds since the epoch.
        :param told: gets a line whenever something changed.
        :raises PassingError: when the remote could not be asked for longer than :data:`SECONDS_OF_PATIENCE`.
        """
        clock = self._conversation.clock
        waiter = Waiter(wanted, poke_interval, _lines_only(told), reached=clock(), queued_since=clock())
        while True:
            yield from self.look_for(waiter)
            if isinstance(waiter.ended, Exception):
                raise waiter.ended
            if waiter.ended:
                yield from self._telling.rest(waiter)
                return waiter.ended
            yield from self._telling.tell(waiter)
            left = deadline - clock() if deadline is not None else poke_interval
            if left <= 0:
                return Outcome(Verdict.TIMEOUT, waiter.summary, waiter.run)
            yield Sleep(min(poke_interval, left))

    @one_budget
    def look_for(self, waiter: Waiter, *, bare: bool = False) -> Flow[None]:
        """Poll once for a waiter, and notify it. :param bare: without the confs and notes of runs."""
        clock = self._conversation.clock
        try:
            waiter.see((yield from self.look(waiter.wanted, bare=bare)), clock())
            yield from self._explain_queueing(waiter)
            yield from self._explain_absence(waiter)
        except PassingError as error:
            waiter.miss(error, clock(), SECONDS_OF_PATIENCE)
        except DagRunVanished as error:
            waiter.lose(error, clock())
        except RemoteError as error:
            waiter.end(error)

    def _explain_absence(self, waiter: Waiter) -> Flow[None]:
        """Tell once why nothing is found."""
        if waiter.ended or not waiter.wonders(self._conversation.clock()):
            return
        waiter.absence_explained = True
        reason = yield from self.dated_runs.why_none(waiter.wanted)
        if reason:
            waiter.tell(reason)

    def _explain_queueing(self, waiter: Waiter) -> Flow[None]:
        """Tell once why a run does not begin."""
        dialect = yield from self._conversation.dialect()
        run, since = waiter.run, waiter.queued_since
        if waiter.ended or run is None or since is None:
            return
        if run.state in dialect.waiting_states:
            if self._conversation.clock() - since < SECONDS_QUEUED_BEFORE_EXPLAINING:
                return
            reason = yield from self._diagnosis.why_not_started(run)
            if reason or run.state == "queued":
                reason = reason or "the remote shows no reason; its scheduler or workers may be busy"
                waiter.tell(f"Run {run.run_id} is still {run.state}: {reason}.")
        waiter.queued_since = None

    def _find(self, wanted: Wanted, *, bare: bool) -> Flow[dict[str, DagRun | None]]:
        """The runs that are waited for, by what to call them."""
        if wanted.run_id is not None:
            return {f"run {wanted.run_id}": (yield from self._find_by_id(wanted, wanted.run_id, bare=bare))}
        if wanted.newest:
            newest = yield from self._runs.newest(wanted.dag_id, bare=bare)
            if newest and not is_addressable(newest.run_id):
                raise NotSupported(
                    f"The newest run of DAG {wanted.dag_id!r} is {newest.run_id!r}, an id that no Airflow API can "
                    "address, so that its end cannot be waited for. Wait for a run by its logical date instead."
                )
            return {f"run {newest.run_id}": newest} if newest else {}
        found: dict[str, DagRun | None] = {}
        for date in wanted.logical_dates:
            if wanted.match_by == BY_DATA_INTERVAL_END:
                found[f"run of {date}"] = yield from self.dated_runs.of_interval_end(wanted.dag_id, date)
                continue
            of_date = yield from self._runs.all(wanted.dag_id, date, bare=bare)
            found[f"run of {date}"] = of_date[0] if of_date else None
        return found

    def _find_by_id(self, wanted: Wanted, run_id: str, *, bare: bool) -> Flow[DagRun | None]:
        try:
            return (yield from self._runs.get(wanted.dag_id, run_id, bare=bare))
        except DagRunNotFound as error:
            if not wanted.exists:
                return None
            raise _vanished(wanted, error) from None

    def _instances(self, run: DagRun, wanted: Wanted) -> Flow[tuple[list[TaskInstance], bool]]:
        """The task instances of a run, as far as they are of interest, and whether none of those is missing."""
        dialect = yield from self._conversation.dialect()
        if not dialect.lists_task_instances:
            return (yield from self._singly(run, wanted.task_ids)), True
        refused = bool(wanted.task_ids) and self._conversation.clock() < self._listing_refused_until
        few = 0 < len(wanted.task_ids) <= TASKS_READ_SINGLY and not self._are_mapped(wanted)
        found = (yield from self._singly(run, wanted.task_ids)) if refused or few else []
        if refused or (few and len(found) == len(wanted.task_ids)):
            return found, len(found) == len(wanted.task_ids)
        try:
            reading = yield from self._conversation.read_all(
                _pages_of(dialect, run), instance_key, widest=INSTANCES_AT_ONCE
            )
        except PermanentError as error:
            if not wanted.task_ids or not refuses(error):
                raise
            log.warning("The remote does not list task instances; for now, tasks are read one by one: %s", error)
            self._listing_refused_until = self._conversation.clock() + SECONDS_BETWEEN_WIDE_TICKS
            return (yield from self._instances(run, wanted))
        mapped = {each.task_id for each in reading.items if each.map_index >= 0 and each.task_id in wanted.task_ids}
        if len(self._mapped) < MOST_KNOWN_AS_MAPPED:
            self._mapped.update((run.dag_id, task_id) for task_id in mapped)
        return reading.items, reading.whole and not reading.unreadable

    def _singly(self, run: DagRun, task_ids: Sequence[str]) -> Flow[list[TaskInstance]]:
        """The instances of tasks that are not mapped, as far as there are any."""
        dialect = yield from self._conversation.dialect()
        instances: list[TaskInstance] = []
        for task_id in task_ids:
            try:
                instances.append((yield from self._conversation.ask(dialect.task_instance(run, task_id))))
            except NotFound:
                log.debug("No instance of task %s in run %s yet, or several", task_id, run.run_id)
        return instances

    def _are_mapped(self, wanted: Wanted) -> bool:
        """Whether any of the tasks that are waited for was found to be mapped."""
        return any((wanted.dag_id, task_id) in self._mapped for task_id in wanted.task_ids)

    def ended_tasks(self, runs: Iterable[tuple[str, str]], *, since: float) -> Flow[list[TaskInstance]]:
        """
        The task instances of runs that ended since a moment.

        :param runs: each by its DAG and its own id.
        :param since: in seconds, by the remote's clock.
        """
        dialect = yield from self._conversation.dialect()
        dag_ids, run_ids = (sorted(set(ids)) for ids in zip(*runs, strict=True))
        after = utc_text(datetime.fromtimestamp(since, timezone.utc), "date")

        def listing(some: Sequence[str]) -> PageAt[TaskInstance]:
            return lambda offset, limit: dialect.ended_tasks(dag_ids, some, since=after, offset=offset, limit=limit)

        ended: list[TaskInstance] = []
        for first in range(0, len(run_ids), RUNS_AT_ONCE):
            some = listing(run_ids[first : first + RUNS_AT_ONCE])
            # Whatever is missing, each of these has ended; the next listing reaches back over some of this one's time.
            ended += (yield from self._conversation.read_all(some, instance_key, widest=INSTANCES_AT_ONCE)).items
        return ended

    def task_instances(self, run: DagRun) -> Flow[list[TaskInstance]]:
        """Every task instance of a run."""
        dialect = yield from self._conversation.dialect()
        return (yield from self._conversation.ask_all(_pages_of(dialect, run), instance_key, widest=INSTANCES_AT_ONCE))


def _pages_of(dialect: Dialect, run: DagRun) -> PageAt[TaskInstance]:
    return lambda offset, limit: dialect.task_instances(run, offset=offset, limit=limit)


def _nothing(wanted: Wanted) -> dict[str, DagRun | None]:
    """What is waited for, where there is no run at all."""
    if wanted.run_id is not None:
        return {f"run {wanted.run_id}": None}
    return {f"run of {date}": None for date in wanted.logical_dates}


def _vanished(wanted: Wanted, error: RemoteError) -> DagRunVanished:
    return DagRunVanished(
        f"Run {wanted.run_id!r} of DAG {wanted.dag_id!r} was there and is gone: somebody deleted it in the remote.",
        status=error.status,
        method=error.method,
        path=error.path,
    )


def _lines_only(told: Callable[[str], None]) -> Callable[[News], None]:
    """Who waits in a loop of his own sees the end of the wait for himself."""
    return lambda news: told(news) if isinstance(news, str) else None
