"""Flows that poll what is waited for, once or until the wait is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import setitem
from typing import TypeVar

from astronomer_remote.api.client.client import Client, one_retry_budget
from astronomer_remote.api.client.paging import INSTANCES_PER_PAGE, PageAt, instance_key
from astronomer_remote.api.client.responses import refuses
from astronomer_remote.api.dialects.base import Dialect, Operation
from astronomer_remote.api.protocol.errors import (
    DagNotFound,
    DagRunNotFound,
    DagRunVanished,
    NotFound,
    NotSupported,
    PermanentError,
    RemoteError,
    TransientError,
)
from astronomer_remote.api.protocol.flow import Flow, Sleep
from astronomer_remote.api.protocol.ids import is_addressable
from astronomer_remote.api.protocol.models import DagRun, TaskInstance, utc_text_of
from astronomer_remote.api.runs.dated_runs import DatedRuns
from astronomer_remote.api.runs.follow import RunFollower
from astronomer_remote.api.runs.runs import Runs
from astronomer_remote.api.waiting.schedule import SECONDS_BETWEEN_WIDE_POLLS
from astronomer_remote.api.waiting.target import BY_DATA_INTERVAL_END, Snapshot, WaitResult, WaitStatus, WaitTarget
from astronomer_remote.api.waiting.waiter import Update, Waiter

log = logging.getLogger(__name__)

PAUSE_PER_SECOND = 0.25
"""By how much the pause between two polls grows with each second of a wait that begins with short ones."""

NO_REASON = "the remote shows no reason; its scheduler or workers may be busy"
NOT_ANSWERED = "the remote did not answer all requests for the reason"

SECONDS_QUEUED_BEFORE_EXPLAINING = 120.0
"""Seconds that a run may be queued before the log explains why."""

RUNS_AT_ONCE = 500
"""How many runs are named in one request."""

TASKS_READ_INDIVIDUALLY = 3
"""Up to so many tasks, the instances are read one by one instead of all that the run has."""

MOST_KNOWN_AS_MAPPED = 10_000
"""Of how many tasks it is remembered that they are mapped, so that they cannot be read individually."""


class Poller:
    """Polls runs and tasks of one deployment."""

    def __init__(self, client: Client, runs: Runs, follower: RunFollower) -> None:
        self._client = client
        self._runs = runs
        self._follower = follower
        self._diagnosis = Diagnosis(client)
        self.dated_runs = DatedRuns(client)
        self._mapped: set[tuple[str, str]] = set()
        self._listing_refused_until = 0.0

    @one_retry_budget
    def snapshot(self, target: WaitTarget, *, bare: bool = False) -> Flow[Snapshot]:
        """
        Poll once.

        :param bare: without the confs and notes of runs.
        :raises DagRunVanished: if the run was seen before and is there no more.
        """
        try:
            runs, dag_is_missing = (yield from self._find(target, bare=bare)), False
        except DagNotFound as error:
            if target.exists:
                raise _vanished(target, error) from None
            # As with ExternalTaskSensor, the wait continues until the DAG exists.
            runs, dag_is_missing = _nothing(target), True
        if target.task_group_id is not None:
            dialect = yield from self._client.dialect()
            if not dialect.lists_task_instances:
                raise dialect.cannot("wait for a task group")
        things: dict[str, list[str | None]] = {}
        whole = True
        for name, run in runs.items():
            if not target.task_ids and target.task_group_id is None:
                things[name] = [run.state] if run else []
                continue
            instances, complete = (yield from self._instances(run, target)) if run else ([], True)
            whole = whole and complete
            if target.task_group_id is not None:
                of_group = [each for each in instances if target.is_for_task(each.task_id)]
                things[f"{name}, group {target.task_group_id}"] = target.counting(of_group)
            for task_id in target.task_ids:
                of_task = [each for each in instances if each.task_id == task_id]
                things[f"{name}, task {task_id}"] = target.counting(of_task)
        return Snapshot(things, next(iter(runs.values())) if len(runs) == 1 else None, whole, dag_is_missing)

    def wait(
        self,
        target: WaitTarget,
        *,
        poke_interval: float,
        deadline: float | None,
        on_line: Callable[[str], None] = log.info,
        first_pause: float | None = None,
        on_poll: Callable[[DagRun | None, Sequence[TaskInstance]], None] | None = None,
    ) -> Flow[WaitResult]:
        """
        Poll until the wait is over.

        A remote that cannot be reached for a while is no reason to give up.

        :param poke_interval: seconds between two polls.
        :param deadline: when to give up, in seconds since the epoch.
        :param on_line: is called with a line whenever something changed.
        :param first_pause: seconds between the first polls, from where the pause grows to ``poke_interval``.
        :param on_poll: is called after each poll with the run and its task instances, as far as they are known. They
            are read with every poll: one more request.
        :raises TransientError: if the remote was unreachable for
            :data:`~astronomer_remote.api.waiting.waiter.UNREACHABLE_TIMEOUT` seconds.
        """
        clock = self._client.clock
        began = clock()
        waiter = Waiter(target, poke_interval, _lines_only(on_line), answered_at=began, queued_since=began)
        instances: list[TaskInstance] = []
        if on_poll:
            waiter.on_progress = partial(setitem, instances, slice(None))
        while True:
            yield from self.poll(waiter)
            if isinstance(waiter.ended, Exception):
                raise waiter.ended
            if waiter.ended:
                yield from self._follower.report_last_lines(waiter)
                return waiter.ended
            yield from self._follower.follow(waiter)
            if on_poll:
                on_poll(waiter.run, instances)
            left = deadline - clock() if deadline is not None else poke_interval
            if left <= 0:
                return WaitResult(WaitStatus.TIMEOUT, waiter.summary, waiter.run)
            pause = poke_interval if first_pause is None else max(first_pause, PAUSE_PER_SECOND * (clock() - began))
            yield Sleep(min(pause, poke_interval, left))

    @one_retry_budget
    def poll(self, waiter: Waiter, *, bare: bool = False) -> Flow[None]:
        """Poll once for a waiter, and notify it. :param bare: without the confs and notes of runs."""
        clock = self._client.clock
        try:
            waiter.record_snapshot((yield from self.snapshot(waiter.target, bare=bare)), clock())
            yield from self._explain_queueing(waiter)
            yield from self._explain_absence(waiter)
        except TransientError as error:
            waiter.record_failure(error, clock())
        except DagRunVanished as error:
            waiter.record_missing(error, clock())
        except RemoteError as error:
            waiter.end(error)

    def _explain_absence(self, waiter: Waiter) -> Flow[None]:
        """Log once why nothing is found."""
        if waiter.ended or not waiter.should_explain_absence(self._client.clock()):
            return
        reason = yield from self.dated_runs.why_none(waiter.target)
        if reason is None and waiter.may_explain_later():
            waiter.absence_since = self._client.clock()
            return
        waiter.absence_explained = True
        if reason:
            waiter.notify(reason)

    def _explain_queueing(self, waiter: Waiter) -> Flow[None]:
        """Log once why a run does not start."""
        dialect = yield from self._client.dialect()
        run, since = waiter.run, waiter.queued_since
        if waiter.ended or run is None or since is None:
            return
        if run.state in dialect.waiting_states:
            if self._client.clock() - since < SECONDS_QUEUED_BEFORE_EXPLAINING:
                return
            reason = yield from self._diagnosis.why_not_started(run)
            if reason is None and waiter.may_explain_later():
                waiter.queued_since = self._client.clock()
                return
            if reason or run.state == "queued":
                reason = NOT_ANSWERED if reason is None else reason or NO_REASON
                waiter.notify(f"Run {run.run_id} is still {run.state}: {reason}.")
        waiter.queued_since = None

    def _find(self, target: WaitTarget, *, bare: bool) -> Flow[dict[str, DagRun | None]]:
        """The runs that are waited for, by what to call them."""
        if target.run_id is not None:
            return {f"run {target.run_id}": (yield from self._find_by_id(target, target.run_id, bare=bare))}
        if target.newest:
            newest = yield from self._runs.newest(target.dag_id, bare=bare)
            if newest and not is_addressable(newest.run_id):
                raise NotSupported(
                    f"The newest run of DAG {target.dag_id!r} is {newest.run_id!r}, an id that no Airflow API can "
                    "address, so that its end cannot be waited for. Wait for a run by its logical date instead."
                )
            return {f"run {newest.run_id}": newest} if newest else {}
        found: dict[str, DagRun | None] = {}
        for date in target.logical_dates:
            if target.match_by == BY_DATA_INTERVAL_END:
                found[f"run of {date}"] = yield from self.dated_runs.of_interval_end(target.dag_id, date)
                continue
            of_date = yield from self._runs.list_all(target.dag_id, date, bare=bare)
            found[f"run of {date}"] = of_date[0] if of_date else None
        return found

    def _find_by_id(self, target: WaitTarget, run_id: str, *, bare: bool) -> Flow[DagRun | None]:
        try:
            return (yield from self._runs.get(target.dag_id, run_id, bare=bare))
        except DagRunNotFound as error:
            if not target.exists:
                return None
            raise _vanished(target, error) from None

    def _instances(self, run: DagRun, target: WaitTarget) -> Flow[tuple[list[TaskInstance], bool]]:
        """The task instances of a run, as far as they are of interest, and whether none of those is missing."""
        dialect = yield from self._client.dialect()
        if not dialect.lists_task_instances:
            return (yield from self._individually(run, target.task_ids)), True
        refused = bool(target.task_ids) and self._client.clock() < self._listing_refused_until
        few = 0 < len(target.task_ids) <= TASKS_READ_INDIVIDUALLY and not self._are_mapped(target)
        found = (yield from self._individually(run, target.task_ids)) if refused or few else []
        if refused or (few and len(found) == len(target.task_ids)):
            return found, len(found) == len(target.task_ids)
        try:
            reader = yield from self._client.read_all(_pages_of(dialect, run), instance_key, widest=INSTANCES_PER_PAGE)
        except PermanentError as error:
            if not target.task_ids or not refuses(error):
                raise
            log.warning("The remote does not list task instances; for now, tasks are read one by one: %s", error)
            self._listing_refused_until = self._client.clock() + SECONDS_BETWEEN_WIDE_POLLS
            return (yield from self._instances(run, target))
        mapped = {each.task_id for each in reader.items if each.map_index >= 0 and each.task_id in target.task_ids}
        if len(self._mapped) < MOST_KNOWN_AS_MAPPED:
            self._mapped.update((run.dag_id, task_id) for task_id in mapped)
        return reader.items, reader.whole and not reader.unreadable

    def _individually(self, run: DagRun, task_ids: Sequence[str]) -> Flow[list[TaskInstance]]:
        """The instances of tasks that are not mapped, as far as there are any."""
        dialect = yield from self._client.dialect()
        instances: list[TaskInstance] = []
        for task_id in task_ids:
            try:
                instances.append((yield from self._client.request(dialect.task_instance(run, task_id))))
            except NotFound:
                log.debug("No instance of task %s in run %s yet, or several", task_id, run.run_id)
        return instances

    def _are_mapped(self, target: WaitTarget) -> bool:
        """Whether any of the tasks that are waited for was found to be mapped."""
        return any((target.dag_id, task_id) in self._mapped for task_id in target.task_ids)

    def ended_tasks(self, runs: Iterable[tuple[str, str]], *, since: float) -> Flow[list[TaskInstance]]:
        """
        The task instances of runs that ended since a moment.

        :param runs: each by its DAG and its own id.
        :param since: in seconds, by the remote's clock.
        """
        dialect = yield from self._client.dialect()
        dag_ids, run_ids = (sorted(set(ids)) for ids in zip(*runs, strict=True))
        after = utc_text_of(since)

        def listing(some: Sequence[str]) -> PageAt[TaskInstance]:
            return lambda offset, limit: dialect.ended_tasks(dag_ids, some, since=after, offset=offset, limit=limit)

        ended: list[TaskInstance] = []
        for first in range(0, len(run_ids), RUNS_AT_ONCE):
            some = listing(run_ids[first : first + RUNS_AT_ONCE])
            # Whatever is missing, each of these has ended; the next listing reaches back over some of this one's time.
            ended += (yield from self._client.read_all(some, instance_key, widest=INSTANCES_PER_PAGE)).items
        return ended

    def task_instances(self, run: DagRun) -> Flow[list[TaskInstance]]:
        """Every task instance of a run."""
        dialect = yield from self._client.dialect()
        return (yield from self._client.paginate(_pages_of(dialect, run), instance_key, widest=INSTANCES_PER_PAGE))


def _pages_of(dialect: Dialect, run: DagRun) -> PageAt[TaskInstance]:
    return lambda offset, limit: dialect.task_instances(run, offset=offset, limit=limit)


def _nothing(target: WaitTarget) -> dict[str, DagRun | None]:
    """What is waited for, where there is no run at all."""
    if target.run_id is not None:
        return {f"run {target.run_id}": None}
    return {f"run of {date}": None for date in target.logical_dates}


def _vanished(target: WaitTarget, error: RemoteError) -> DagRunVanished:
    message = f"Run {target.run_id!r} of DAG {target.dag_id!r} no longer exists: it was deleted in the remote."
    return error.restated(DagRunVanished, message)


def _lines_only(on_line: Callable[[str], None]) -> Callable[[Update], None]:
    """The loop in :meth:`Poller.wait` reads the result from the waiter itself."""
    return lambda update: on_line(update) if isinstance(update, str) else None


T = TypeVar("T")


class Diagnosis:
    """Checks the usual reasons why a run does not start, as far as the deployment shows them."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def why_not_started(self, run: DagRun) -> Flow[str | None]:
        """
        Why a run waits to begin, as far as the remote shows it.

        :return: ``""`` if it shows no reason; ``None`` if it may show one later.
        """
        dialect = yield from self._client.dialect()
        reasons, all_read = [], True

        def read(operation: Callable[[], Operation[T]]) -> Flow[T | None]:
            nonlocal all_read
            try:
                return (yield from self._client.request_or_none(operation))
            except TransientError:
                all_read = False
                return None

        if (yield from read(lambda: dialect.is_paused(run.dag_id))):
            reasons.append("its DAG is paused: unpause it in the remote")
        dag = yield from read(lambda: dialect.dag(run.dag_id))
        if dag and dag.has_import_errors:
            reasons.append(f"its DAG file {dag.fileloc} has an import error")
        health = yield from read(dialect.health)
        scheduler = health.components.get("scheduler") if health else None
        if scheduler and scheduler != "healthy":
            reasons.append(f"the remote's scheduler is {scheduler}")
        limit = dag.max_active_runs if dag else None
        if limit:
            newest = partial(dialect.dag_runs, run.dag_id, newest_first=dialect.orders_runs, bare=True)
            page = yield from read(newest)
            running = sum(each.state == "running" for each in page.items) if page else 0
            if running >= limit:
                reasons.append(f"{running} runs of its DAG are running, and max_active_runs is {limit}")
        return "; ".join(reasons) if reasons or all_read else None
