"""Conversations about DAG runs: make one exactly once, read, cancel, clear, delete."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from astronomer_remote.api.conversation import Conversation
from astronomer_remote.api.dags import Dags
from astronomer_remote.api.dialects.base import Dialect, Exchange, Page
from astronomer_remote.api.errors import (
    DagNotFound,
    DagRunAlreadyExists,
    DagRunNotFound,
    PassingError,
    RemoteError,
    RequestRefused,
)
from astronomer_remote.api.ids import UNSAFE_IN_RUN_ID, run_id_of_repetition
from astronomer_remote.api.models import DagRun, TriggerIntent, same_moment, utc_text
from astronomer_remote.api.paging import run_key
from astronomer_remote.api.watching import seconds_of
from astronomer_remote.api.wire import Flow, Sleep

SECONDS_BEFORE_CANCEL = (0, 1, 3)
"""Pauses before a run's state is set: a scheduler at work on the same run may write its own state over ours."""

MOST_PLANNED = 10
"""How many runs are looked through for the newest one, as runs that are planned for later do not count."""

SECONDS_PLANNED = 60.0
"""From how many seconds ahead on a run counts as planned for later: the remote's clock is known to a second at best."""

ON_RETRY = ("new_run", "clear", "clear_failed")


@dataclass(frozen=True)
class Triggered:
    """
    What became of a wish for a run.

    :param run: the run that stands for it.
    :param existed: whether it was there before this wish's first request.
    """

    run: DagRun
    existed: bool


@dataclass(frozen=True)
class IfExists:
    """
    What to do about a run that is there already.

    :param generated_id: whether the run id was derived from the wish, so that a run of this id was made for it.
    :param retrying: whether this is a further attempt at the same wish, so that what is there is its own.
    :param reset: whether somebody else's run is cleared and taken over.
    :param on_retry: what to do about our own run that has failed: ``new_run``, ``clear``, ``clear_failed``.
    :param failed_states: the states that count as failed.
    """

    generated_id: bool = False
    retrying: bool = False
    reset: bool = False
    on_retry: str = "new_run"
    failed_states: Collection[str] = ("failed",)

    def is_ours(self, run: DagRun, intent: TriggerIntent) -> bool:
        """Whether an existing run was made, or taken over, for the same wish."""
        same_id = run.run_id == intent.run_id
        return (same_id and (self.generated_id or self.retrying)) or (self.reset and self.retrying)


REFUSE = IfExists()


class Runs:
    """DAG runs of one deployment."""

    def __init__(self, conversation: Conversation, dags: Dags) -> None:
        self._conversation = conversation
        self._dags = dags

    def obtain(self, intent: TriggerIntent, if_exists: IfExists = REFUSE) -> Flow[Triggered]:
        """
        Make the run that an intent stands for, or find the one that was made for it before.

        :raises DagRunAlreadyExists: when somebody else's run is in the way.
        """
        number = 1
        while True:
            wish = replace(intent, run_id=run_id_of_repetition(intent.run_id, number))
            triggered = (yield from self._there_before(wish, if_exists)) or (yield from self.trigger(wish))
            run = triggered.run
            # A run that has failed already when a further attempt finds it is the one of the attempt before, even
            # if a reply of this one was lost.
            stale = if_exists.retrying and run.state in if_exists.failed_states
            if not (triggered.existed or stale):
                return triggered
            if not if_exists.is_ours(run, wish):
                if not if_exists.reset:
                    raise _in_the_way(run)
                return Triggered((yield from self.clear(run)), existed=True)
            if run.state not in if_exists.failed_states:
                return triggered
            if if_exists.reset or if_exists.on_retry != "new_run":
                cleared = yield from self.clear(run, only_failed=if_exists.on_retry == "clear_failed")
                return Triggered(cleared, existed=True)
            if not if_exists.generated_id:
                return triggered
            number += 1

    def _there_before(self, intent: TriggerIntent, if_exists: IfExists) -> Flow[Triggered | None]:
        """
        Somebody else's run, if it has the run id that is wanted.

        Should the reply to our own request be lost, nobody could tell it from the one that we made.
        """
        if if_exists.generated_id or if_exists.retrying:
            return None
        dialect = yield from self._conversation.dialect()
        # Refuses what this generation cannot do, before any request.
        dialect.trigger(self._dated(intent, dialect))
        there = yield from self.find(intent.dag_id, intent.run_id)
        return Triggered(there, existed=True) if there else None

    def trigger(self, intent: TriggerIntent) -> Flow[Triggered]:
        """
        Make one run, however often its request or reply is lost.

        :return: the run with the intent's run id or, where one of the same logical date is in its way, that one.
        :raises DagNotFound: with what the remote says of DAG files it could not parse.
        """
        dialect = yield from self._conversation.dialect()
        started, attempt, uncertain = self._conversation.clock(), 0, False
        while True:
            attempt += 1
            wish = self._dated(intent, dialect)
            try:
                run = yield from self._conversation.ask(dialect.trigger(wish))
                return Triggered(run, existed=False)
            except DagNotFound as error:
                raise (yield from self._dags.explain_missing(intent.dag_id, error)) from None
            except RemoteError as error:
                if not (isinstance(error, PassingError) or dialect.says_it_exists(error)):
                    raise
                failure = error
            uncertain = uncertain or isinstance(failure, PassingError)
            try:
                # A date of our own making is not looked for: whoever else has it, the next attempt has another.
                there = yield from self._look_up(intent, dialect)
            except PassingError as error:
                there, failure = None, error
            if there and there.run_id == intent.run_id:
                return Triggered(there, existed=not uncertain)
            if there:
                return Triggered(there, existed=True)
            if not isinstance(failure, PassingError):
                raise failure
            _check_run_id(intent.run_id, failure)
            yield from self._conversation.pause(failure, attempt, started)

    def get(self, dag_id: str, run_id: str) -> Flow[DagRun]:
        """Read one run. :raises DagRunNotFound: if there is none."""
        dialect = yield from self._conversation.dialect()
        return (yield from self._conversation.ask(dialect.dag_run(dag_id, run_id)))

    def find(self, dag_id: str, run_id: str) -> Flow[DagRun | None]:
        """Read one run, or ``None`` if there is none."""
        try:
            return (yield from self.get(dag_id, run_id))
        except DagRunNotFound:
            return None

    def all(self, dag_id: str, logical_date: str | None = None) -> Flow[list[DagRun]]:
        """Every run of a DAG, or every one of a logical date."""
        dialect = yield from self._conversation.dialect()

        def page(offset: int, limit: int) -> Exchange[Page[DagRun]]:
            return dialect.dag_runs(dag_id, logical_date=logical_date, offset=offset, limit=limit)

        found = yield from self._conversation.ask_all(page, run_key)
        # Airflow 3 ignores what it does not know in a query.
        return [run for run in found if logical_date is None or same_moment(run.logical_date, logical_date)]

    def ended(self, dag_ids: Sequence[str], *, since: float, bound: float) -> Flow[list[DagRun]]:
        """
        The runs of several DAGs that ended since a moment, whoever made them.

        :param since: seconds since the epoch, by the remote's clock.
        :param bound: no run wanted is of an earlier date.
        """
        dialect = yield from self._conversation.dialect()
        if dialect.lists_ended_runs:
            after, dated = (utc_text(datetime.fromtimestamp(each, timezone.utc), "date") for each in (since, bound))

            def page(offset: int, limit: int) -> Exchange[Page[DagRun]]:
                return dialect.ended_runs(dag_ids, since=after, bound=dated, offset=offset, limit=limit)

            # Whatever is missing, each of these has ended; the next listing reaches back over some of this one's time.
            return (yield from self._conversation.read_all(page, run_key)).items
        ended: list[DagRun] = []
        for dag_id in dag_ids:
            try:
                runs = yield from self.all(dag_id)
            except DagNotFound:
                # A DAG that does not exist (yet) must not hide what ended in the others.
                continue
            ended += [run for run in runs if run.finished]
        return ended

    def newest(self, dag_id: str) -> Flow[DagRun | None]:
        """
        The newest run of a DAG: the one that was made last or, in Airflow 3, the one that was due last.

        One that is planned for later does not count, as long as it has not begun.
        """
        dialect = yield from self._conversation.dialect()
        now = self._conversation.remote_clock() + SECONDS_PLANNED
        if dialect.orders_runs:
            due_by = utc_text(datetime.fromtimestamp(now, timezone.utc), "due_by")
            newest = dialect.dag_runs(dag_id, newest_first=True, due_by=due_by, limit=MOST_PLANNED)
            found = (yield from self._conversation.ask(newest)).items
        else:
            # Airflow 2.0 lists runs in the order they were made, so that the last ones of the listing are wanted.
            page = yield from self._conversation.ask(dialect.dag_runs(dag_id, limit=MOST_PLANNED))
            if page.total > MOST_PLANNED:
                last = page.total - MOST_PLANNED
                page = yield from self._conversation.ask(dialect.dag_runs(dag_id, limit=MOST_PLANNED, offset=last))
            found = page.items[::-1]
        return next((run for run in found if not _is_planned(run, now)), None)

    def cancel(self, dag_id: str, run_id: str) -> Flow[DagRun]:
        """
        Set a run to failed, which ends its tasks, unless it has ended already.

        :return: the run as it is afterwards.
        """
        dialect = yield from self._conversation.dialect()
        change = dialect.set_run_state(dag_id, run_id, "failed")
        run = yield from self.get(dag_id, run_id)
        for wait in SECONDS_BEFORE_CANCEL:
            if run.finished:
                break
            yield Sleep(wait)
            yield from self._conversation.ask(change)
            run = yield from self.get(dag_id, run_id)
        return run

    def clear(self, run: DagRun, *, only_failed: bool = False) -> Flow[DagRun]:
        """
        Let a run, or only its failed tasks, run again under the same run id; once, if the reply is lost on the way.

        :param run: as it was read last.
        :return: the run as it is afterwards.
        """
        dialect = yield from self._conversation.dialect()
        started, attempt = self._conversation.clock(), 0
        while True:
            attempt += 1
            failure: PassingError | None = None
            try:
                yield from self._conversation.ask(dialect.clear_run(run, only_failed=only_failed))
            except PassingError as error:
                failure = error
            now = yield from self.get(run.dag_id, run.run_id)
            if failure is None or _course(now) != _course(run):
                return now
            yield from self._conversation.pause(failure, attempt, started)

    def delete(self, dag_id: str, run_id: str) -> Flow[None]:
        """Delete a run."""
        dialect = yield from self._conversation.dialect()
        yield from self._conversation.ask(dialect.delete_run(dag_id, run_id))

    def _dated(self, intent: TriggerIntent, dialect: Dialect) -> TriggerIntent:
        if intent.logical_date or not dialect.needs_logical_date:
            return intent
        now = datetime.fromtimestamp(self._conversation.clock(), timezone.utc)
        return replace(intent, logical_date=utc_text(now, "now"))

    def _look_up(self, intent: TriggerIntent, dialect: Dialect) -> Flow[DagRun | None]:
        """The run that may be in the way of an intent: the one of its run id, else the one of its date."""
        run = yield from self.find(intent.dag_id, intent.run_id)
        if run is None and intent.logical_date:
            of_date = yield from self.all(intent.dag_id, intent.logical_date)
            run = of_date[0] if of_date else None
        return run


def _is_planned(run: DagRun, now: float) -> bool:
    """Whether a run is for later, and has not begun."""
    due = run.run_after or run.logical_date
    return run.start_date is None and not run.finished and due is not None and seconds_of(due) > now


def _in_the_way(run: DagRun) -> DagRunAlreadyExists:
    return DagRunAlreadyExists(
        f"DAG {run.dag_id!r} already has the run {run.run_id!r} of logical date {run.logical_date}, "
        f"in state {run.state}: {run.url} . Give another trigger_run_id or logical_date, or set reset_dag_run "
        "or skip_when_already_exists."
    )


def _check_run_id(run_id: str, failure: PassingError) -> None:
    """Airflow 2.6.3 to 2.11 answer a run id of a form they do not allow with an error page of status 500."""
    if failure.status == 500 and UNSAFE_IN_RUN_ID.search(run_id):
        raise RequestRefused(
            f"The remote broke on trigger_run_id={run_id!r}, which holds characters that Airflow refuses by default. "
            "Use letters, digits and _.~:+- only.",
            status=failure.status,
            method=failure.method,
            path=failure.path,
        ) from failure


def _course(run: DagRun) -> tuple[str | None, ...]:
    """What being cleared changes of a run."""
    return run.state, run.start_date, run.end_date
