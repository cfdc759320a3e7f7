"""Flows about DAG runs: trigger one exactly once, read, cancel, clear, delete."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from astronomer_remote.api.client.client import Client, one_retry_budget
from astronomer_remote.api.client.paging import MOST_ENTRIES, PageReader, run_key
from astronomer_remote.api.dialects.base import PAGE, Dialect, Operation, Page
from astronomer_remote.api.protocol.errors import (
    DagNotFound,
    DagRunAlreadyExists,
    DagRunNotFound,
    DeploymentChanged,
    NotFound,
    RemoteError,
    ReplyTooLarge,
    RequestRefused,
    TransientError,
)
from astronomer_remote.api.protocol.flow import Flow, Sleep
from astronomer_remote.api.protocol.ids import (
    UNSAFE_IN_RUN_ID,
    is_marked,
    marked_note,
    microsecond_of,
    run_id_of_repetition,
)
from astronomer_remote.api.protocol.models import DagRun, TriggerIntent, parse_date, same_moment, utc_text, utc_text_of
from astronomer_remote.api.runs.dags import Dags
from astronomer_remote.api.waiting.waiter import seconds_of

log = logging.getLogger(__name__)

SECONDS_BEFORE_CANCEL = (0, 1, 3)
"""Pauses before a run's state is set: a scheduler at work on the same run may write its own state over ours."""

FIRST_PAGE = 10
"""How many runs are read at first for the newest one, as runs that are planned for later do not count."""

MOST_PLANNED = 500
"""How many runs are looked through at most for the newest one."""

SECONDS_PLANNED = 60.0
"""From how many seconds ahead on a run counts as planned for later: the remote's clock is known to a second at best."""

SECONDS_UNTIL_SHOWN = (1, 2, 4)
"""
Pauses before something that was changed is read again: the remote may still be working on the request, or read from a
copy of its database that lags.
"""

SECONDS_OF_AGREEMENT = 1.5
"""By how much the local clock and the remote's, which it sends in whole seconds, may seem to differ."""

MAYBE_THE_CONF = "Airflow 2.3 to 2.8 also answer like this if a param of the DAG refuses the conf."

ON_RETRY = ("new_run", "clear", "clear_failed")


@dataclass(frozen=True)
class Triggered:
    """
    The result of a trigger.

    :param run: the run that stands for it.
    :param existed: whether it existed before the first request for it.
    """

    run: DagRun
    existed: bool


@dataclass(frozen=True)
class IfExists:
    """
    What to do about a run that is there already.

    An attempt does what the first one would have done, unless the run itself shows that it was made or taken over for
    the same intent: by an id that was derived from the intent, or by the intent's mark.

    :param generated_id: whether the run id was derived from the intent, so that a run of this id was made for it.
    :param attempt: number of this attempt at the intent, from 1; each made one run at most.
    :param mark: digest of the intent: a run whose note holds it was made or taken over for the intent.
    :param reset: whether a run of another task or user is cleared and taken over.
    :param on_retry: what to do about our own run that has failed: ``new_run``, ``clear``, ``clear_failed``.
    :param failed_states: the states that count as failed.
    """

    generated_id: bool = False
    attempt: int = 1
    mark: str | None = None
    reset: bool = False
    on_retry: str = "new_run"
    failed_states: Collection[str] = ("failed",)

    def is_ours(self, run: DagRun, intent: TriggerIntent, dialect: Dialect) -> bool:
        """Whether an existing run is known to have been made, or taken over, for the same intent."""
        if self.generated_id and run.run_id == intent.run_id:
            return True
        if self.mark is not None and is_marked(run.note, self.mark):
            return True
        return bool(_carries_mark(run, intent, dialect))


REFUSE = IfExists()


class Runs:
    """DAG runs of one deployment."""

    def __init__(self, client: Client, dags: Dags) -> None:
        self._client = client
        self._dags = dags

    @one_retry_budget
    def ensure(self, intent: TriggerIntent, if_exists: IfExists = REFUSE) -> Flow[Triggered]:
        """
        Make the run that an intent stands for, or find the one that was made for it before.

        At most one run is made. What became of it while its reply was on the way does not matter: a run that this
        attempt requested is its own, whatever state it is in.

        :raises DagRunAlreadyExists: if a run of another task or user is in the way.
        """
        dialect = yield from self._client.dialect()
        # Refuses what this generation cannot do, before any request.
        dialect.trigger(self._dated(intent, dialect))
        number = 1
        while True:
            numbered = replace(intent, run_id=run_id_of_repetition(intent.run_id, number))
            triggered = yield from self._existing(numbered, if_exists)
            if triggered is None:
                triggered = yield from self.trigger(numbered)
                if not triggered.existed or (if_exists.generated_id and triggered.run.run_id == numbered.run_id):
                    return triggered
            run = triggered.run
            if not if_exists.is_ours(run, numbered, dialect):
                if not if_exists.reset:
                    raise _in_the_way(run, retrying=if_exists.attempt > 1)
                return Triggered((yield from self._take_over(run, if_exists, dialect)), existed=True)
            if run.state not in if_exists.failed_states:
                return triggered
            if if_exists.reset or if_exists.on_retry != "new_run":
                cleared = yield from self.clear(run, only_failed=if_exists.on_retry == "clear_failed")
                return Triggered(cleared, existed=True)
            if not if_exists.generated_id or number >= if_exists.attempt:
                return triggered
            number += 1

    def _existing(self, intent: TriggerIntent, if_exists: IfExists) -> Flow[Triggered | None]:
        """
        A run of the intent's id that existed before this attempt requested one.

        The first attempt need not look for a derived id: nobody else could have made that run.
        """
        if if_exists.generated_id and if_exists.attempt == 1:
            return None
        there = yield from self.get_or_none(intent.dag_id, intent.run_id)
        return Triggered(there, existed=True) if there else None

    def _take_over(self, run: DagRun, if_exists: IfExists, dialect: Dialect) -> Flow[DagRun]:
        """Clear a run of another task or user, and mark it as ours: a run without the mark is cleared again."""
        run = yield from self.clear(run)
        note = marked_note(run.note, if_exists.mark) if if_exists.mark and dialect.accepts_notes else run.note
        if note is None or note == run.note:
            return run
        try:
            yield from self._client.request(dialect.set_run_note(run.dag_id, run.run_id, note))
        except RemoteError as error:
            log.warning("Run %s could not be marked, so that a retry would clear it again: %s", run.run_id, error)
            return run
        return replace(run, note=note)

    @one_retry_budget
    def trigger(self, intent: TriggerIntent) -> Flow[Triggered]:
        """
        Make one run, however often its request or reply is lost.

        :return: the run with the intent's run id or, where one of the same logical date is in its way, that one.
        :raises DagNotFound: with what the remote says of DAG files it could not parse.
        :raises Conflict: if the remote says that there is such a run already, and does not show one for a while.
        """
        dialect = yield from self._client.dialect()
        uncertain = conf_checked = False
        while True:
            dated = self._dated(_noted(intent, dialect), dialect)
            try:
                run = yield from self._client.request(dialect.trigger(dated))
                return Triggered(run, existed=False)
            except DagNotFound as error:
                raise (yield from self._explain_missing(intent, error)) from None
            except RemoteError as error:
                may_be_made = isinstance(error, TransientError) and not isinstance(error, DeploymentChanged)
                if not (may_be_made or dialect.says_it_exists(error)):
                    raise
                failure = error
            uncertain = uncertain or isinstance(failure, TransientError)
            broken = failure if failure.status == 500 and dialect.breaks_on_refused_conf else None
            try:
                # A date of our own making is not looked for: whoever else has it, the next attempt has another.
                there = yield from self._look_up(intent, dialect)
            except TransientError as error:
                there, failure = None, error
            if there:
                marked = _carries_mark(there, intent, dialect)
                # A gateway may have sent our own request twice, so that even a refusal can be about our own run.
                made = there.run_id == intent.run_id and (uncertain if marked is None else marked)
                return Triggered(there, existed=not made)
            if isinstance(failure, TransientError):
                _check_run_id(intent.run_id, failure)
                if broken and not conf_checked:
                    conf_checked = yield from self._check_conf(intent, broken)
            # A run that is said to exist and is not shown: another one has the date that was chosen here, or the
            # remote reads from a copy of its database that lags behind.
            transient = isinstance(failure, TransientError)
            if broken is failure:
                failure.message = f"{failure.message} {MAYBE_THE_CONF}"
            yield from self._client.back_off(failure, by_time=transient)

    def _explain_missing(self, intent: TriggerIntent, error: DagNotFound) -> Flow[NotFound]:
        """The error for a request to trigger a DAG, or to materialize an asset, that the remote does not find."""
        if intent.asset:
            changed = f"DAG {intent.dag_id!r} of the remote no longer produces the asset. Materialize it again."
            return error.restated(NotFound, changed)
        return (yield from self._dags.explain_missing(intent.dag_id, error))

    @one_retry_budget
    def get(self, dag_id: str, run_id: str, *, bare: bool = False) -> Flow[DagRun]:
        """
        Read one run.

        :param bare: without its conf and note.
        :raises DagRunNotFound: if there is none.
        """
        dialect = yield from self._client.dialect()
        try:
            return (yield from self._client.request(dialect.dag_run(dag_id, run_id, bare=bare)))
        except ReplyTooLarge as error:
            if bare or not dialect.selects_fields:
                raise
            log.warning("Run %r of DAG %r is read without its conf and note: %s", run_id, dag_id, error)
        return (yield from self._client.request(dialect.dag_run(dag_id, run_id, bare=True)))

    @one_retry_budget
    def get_seen(self, dag_id: str, run_id: str) -> Flow[DagRun]:
        """
        Read a run that was there a moment ago: a remote that reads from a copy of its database may lag behind.

        :raises DagRunNotFound: if it stays away.
        """
        for wait in SECONDS_UNTIL_SHOWN:
            run = yield from self.get_or_none(dag_id, run_id)
            if run is not None:
                return run
            yield Sleep(wait)
        return (yield from self.get(dag_id, run_id))

    def get_or_none(self, dag_id: str, run_id: str) -> Flow[DagRun | None]:
        """Read one run, or ``None`` if there is none."""
        try:
            return (yield from self.get(dag_id, run_id))
        except DagRunNotFound:
            return None

    def list_all(self, dag_id: str, logical_date: str | None = None, *, bare: bool = False) -> Flow[list[DagRun]]:
        """Every run of a DAG, or every one of a logical date. :param bare: without their confs and notes."""
        dialect = yield from self._client.dialect()

        def page(offset: int, limit: int) -> Operation[Page[DagRun]]:
            return dialect.dag_runs(dag_id, logical_date=logical_date, bare=bare, offset=offset, limit=limit)

        found = yield from self._client.paginate(page, run_key)
        # Airflow 3 ignores what it does not know in a query.
        return [run for run in found if logical_date is None or same_moment(run.logical_date, logical_date)]

    def ended(self, dag_ids: Sequence[str], *, since: float, bound: float) -> Flow[list[DagRun]]:
        """
        The runs of several DAGs that ended since a moment, whoever made them, without their confs and notes.

        :param since: seconds since the epoch, by the remote's clock.
        :param bound: no expected run has an earlier date.
        """
        dialect = yield from self._client.dialect()
        if dialect.lists_ended_runs:
            after, dated = utc_text_of(since), utc_text_of(bound)

            def page(offset: int, limit: int) -> Operation[Page[DagRun]]:
                return dialect.ended_runs(dag_ids, since=after, bound=dated, offset=offset, limit=limit)

            if dialect.orders_runs:
                return (yield from self._ended_in_order(dag_ids, after, dated, dialect))
            # Whatever is missing, each of these has ended; the next listing reaches back over some of this one's time.
            return (yield from self._client.read_all(page, run_key)).items
        ended: list[DagRun] = []
        for dag_id in dag_ids:
            try:
                runs = yield from self.list_all(dag_id)
            except DagNotFound:
                # A DAG that does not exist (yet) must not hide what ended in the others.
                continue
            ended += [run for run in runs if run.finished]
        return ended

    def _ended_in_order(self, dag_ids: Sequence[str], after: str, dated: str, dialect: Dialect) -> Flow[list[DagRun]]:
        """
        List runs by their ends. Each page begins where the one before ended, so that a run whose end is removed as it
        is cleared moves no other run to a page that was read already.
        """
        found: dict[tuple[str, str], DagRun] = {}
        size = 0
        while True:

            def page(offset: int, limit: int, since: str = after) -> Operation[Page[DagRun]]:
                return dialect.ended_runs(dag_ids, since=since, bound=dated, offset=offset, limit=limit)

            reader = PageReader(page, run_key)
            reader.bytes = size
            yield from self._client.read_on(reader, pages=1)
            size = reader.bytes
            found |= {run_key(run): run for run in reader.items}
            ends = [run.end_date for run in reader.items if run.end_date]
            newest = max(ends, key=seconds_of, default=after)
            if reader.over or len(found) > MOST_ENTRIES:
                break
            if reader.too_long:
                # It says how many there are.
                return (yield from self._client.read_all(page, run_key)).items
            if seconds_of(newest) <= seconds_of(after):
                # Nothing but runs that ended at the same moment, or none that can be read.
                yield from self._client.read_on(reader)
                found |= {run_key(run): run for run in reader.items}
                break
            after = utc_text(newest, "end_date")
        return list(found.values())

    @one_retry_budget
    def newest(self, dag_id: str, *, bare: bool = False) -> Flow[DagRun | None]:
        """
        The newest run of a DAG: the one that was made last or, in Airflow 3, the one that was due last.

        One that is planned for later does not count, as long as it has not begun. Of more than
        :data:`MOST_PLANNED` runs, those that were made last are looked through.

        :param bare: without its conf and note.
        """
        dialect = yield from self._client.dialect()
        now = self._client.remote_clock() + SECONDS_PLANNED
        looked, limit, largest = 0, FIRST_PAGE, PAGE
        while looked < MOST_PLANNED:
            try:
                page = yield from self._newest_ones(dag_id, dialect, now, limit, looked, bare=bare)
            except ReplyTooLarge:
                # The confs of so many runs are too much for one reply.
                if limit == 1:
                    raise
                limit = largest = limit // 2
                continue
            newest = next((run for run in page.items if not _is_planned(run, now)), None)
            looked += limit
            if newest or looked >= page.total:
                return newest
            limit = largest
        return None

    @one_retry_budget
    def is_probably_short(self, run: DagRun, seconds: float) -> Flow[bool]:
        """
        Whether a run will probably take at most so many seconds: at least half of the newest ones of its DAG did.

        One of them that has not ended counts as longer. ``False`` also if the run is planned for later, has taken
        longer already, or if the remote does not show the others.

        :param run: a run that has not ended.
        """
        dialect = yield from self._client.dialect()
        now = self._client.remote_clock()
        takes_longer = run.start_date is not None and now - seconds_of(run.start_date) > seconds
        if not dialect.lists_ended_runs or takes_longer or _is_planned(run, now + SECONDS_OF_AGREEMENT):
            return False
        try:
            newest = self._newest_ones(run.dag_id, dialect, now + SECONDS_PLANNED, FIRST_PAGE, 0, bare=True)
            page = yield from newest
        except RemoteError as error:
            log.debug("Could not read how long runs of DAG %s take: %s", run.dag_id, error)
            return False
        others = [each for each in page.items if each.run_id != run.run_id]
        short = sum(_took_at_most(seconds, each) for each in others)
        return 0 < len(others) <= 2 * short

    def _newest_ones(
        self, dag_id: str, dialect: Dialect, now: float, limit: int, offset: int, *, bare: bool
    ) -> Flow[Page[DagRun]]:
        """A page of a listing that begins with the newest run."""
        if not dialect.orders_runs:
            return (yield from self._from_the_end(dag_id, dialect, limit, offset, bare=bare))
        ordered = dialect.dag_runs(
            dag_id, newest_first=True, due_by=utc_text_of(now), bare=bare, limit=limit, offset=offset
        )
        return (yield from self._client.request(ordered))

    def _from_the_end(
        self, dag_id: str, dialect: Dialect, limit: int, offset: int, *, bare: bool
    ) -> Flow[Page[DagRun]]:
        """A page of a listing of Airflow 2.0, which lists runs in the order they were made; the last one first."""
        page = yield from self._client.request(dialect.dag_runs(dag_id, bare=bare, limit=min(limit, FIRST_PAGE)))
        if page.total > min(limit, FIRST_PAGE):
            end = max(page.total - offset, 1)
            first = max(end - limit, 0)
            last = dialect.dag_runs(dag_id, bare=bare, limit=end - first, offset=first)
            page = yield from self._client.request(last)
        return replace(page, items=page.items[::-1])

    @one_retry_budget
    def cancel(self, dag_id: str, run_id: str) -> Flow[DagRun]:
        """
        Set a run to failed, which ends its tasks, unless it has ended already.

        A scheduler that is at work on the run at this moment may write its own state over that, so the run is read
        again; if it has not ended, it is set to failed up to two more times.

        :return: the run as the remote shows it afterwards. A run whose last tasks end meanwhile may still become
            ``success``.
        :raises DagRunNotFound: if there is none.
        """
        dialect = yield from self._client.dialect()
        change = dialect.set_run_state(dag_id, run_id, "failed")
        # A run that was made a moment ago may not be shown yet; that there is none, the change itself says.
        run = yield from self.get_or_none(dag_id, run_id)
        if run and run.finished:
            return run
        for wait in SECONDS_BEFORE_CANCEL:
            yield Sleep(wait)
            changed = yield from self._client.request(change)
            run = (yield from self.get_or_none(dag_id, run_id)) or changed
            if run.finished:
                return run
        # The remote may read from a copy of its database that lags behind.
        yield Sleep(SECONDS_UNTIL_SHOWN[-1])
        return (yield from self.get_or_none(dag_id, run_id)) or changed

    @one_retry_budget
    def clear(self, run: DagRun, *, only_failed: bool = False) -> Flow[DagRun]:
        """
        Let a run, or only its failed tasks, run again under the same run id; once, if the reply is lost on the way.

        :param run: as it was read last.
        :return: the run as it is afterwards.
        """
        dialect = yield from self._client.dialect()
        while True:
            failure: TransientError | None = None
            try:
                yield from self._client.request(dialect.clear_run(run, only_failed=only_failed))
            except TransientError as error:
                failure = error
            now = yield from self._changed(run, SECONDS_UNTIL_SHOWN if failure is None else ())
            if failure is None or _course(now) != _course(run):
                return now
            yield from self._client.back_off(failure)

    def _changed(self, before: DagRun, waits: Sequence[float]) -> Flow[DagRun]:
        """
        Read a run that was cleared.

        One that had ended must not be read as it was before: its old end would be taken for the new one.

        :param waits: pauses before it is read again if it looks as it did.
        """
        run = yield from self.get(before.dag_id, before.run_id)
        for wait in waits:
            if not run.finished or _course(run) != _course(before):
                break
            yield Sleep(wait)
            run = yield from self.get(before.dag_id, before.run_id)
        return run

    @one_retry_budget
    def delete(self, dag_id: str, run_id: str) -> Flow[None]:
        """
        Delete a run, once if the reply is lost on the way.

        :raises DagRunNotFound: if there was none when this began.
        """
        dialect = yield from self._client.dialect()
        deletion = dialect.delete_run(dag_id, run_id)
        yield from self.get(dag_id, run_id)
        # The request is sent again when its reply is lost: then, too, the run is gone.
        with suppress(DagRunNotFound):
            yield from self._client.request(deletion)

    def _check_conf(self, intent: TriggerIntent, failure: RemoteError) -> Flow[bool]:
        """
        Find out whether the remote broke on a conf that a param of its DAG refuses.

        :return: whether the remote answered.
        :raises RequestRefused: if it did.
        """
        try:
            refused = yield from self._dags.refused_param(intent.dag_id, intent.conf)
        except TransientError:
            return False
        if refused:
            message = f"The remote broke on the conf for DAG {intent.dag_id!r}. {refused}"
            raise failure.restated(RequestRefused, message) from failure
        return True

    def _dated(self, intent: TriggerIntent, dialect: Dialect) -> TriggerIntent:
        """The intent with the date of a run for now."""
        if not _chooses_date(intent, dialect):
            return intent
        now = datetime.fromtimestamp(self._now(), timezone.utc)
        date = now.replace(microsecond=microsecond_of(intent.mark)) if intent.mark else now
        return replace(intent, logical_date=utc_text(date if date <= now else date - timedelta(seconds=1), "now"))

    def _now(self) -> float:
        """
        The remote's time, which is that of the local clock if the two agree: Airflow 2 does not start future runs.

        The remote sends it in whole seconds, so the rest comes from the local clock: else many runs that are
        triggered at the same time would get the same date.
        """
        local = self._client.clock()
        remote = self._client.remote_clock()
        return local if abs(local - remote) <= SECONDS_OF_AGREEMENT else int(remote) - 1 + local % 1

    def _look_up(self, intent: TriggerIntent, dialect: Dialect) -> Flow[DagRun | None]:
        """
        The run that may be in the way of an intent: the one of its run id, else the one of its date.

        Each request is sent once: the caller retries in a loop of its own.
        """
        try:
            return (yield from self._client.request(dialect.dag_run(intent.dag_id, intent.run_id).once()))
        except DagRunNotFound:
            pass
        if not intent.logical_date:
            return None
        page = dialect.dag_runs(intent.dag_id, logical_date=intent.logical_date).once()
        of_date = (yield from self._client.request(page)).items
        own = [run for run in of_date if run.run_id == intent.run_id]
        return next(iter(own or of_date), None)


def _is_planned(run: DagRun, now: float) -> bool:
    """Whether a run is for later, and has not begun."""
    due = run.run_after or run.logical_date
    return run.start_date is None and not run.finished and due is not None and seconds_of(due) > now


def _took_at_most(seconds: float, run: DagRun) -> bool:
    """Whether a run has ended within a time."""
    if not (run.start_date and run.end_date):
        return False
    return seconds_of(run.end_date) - seconds_of(run.start_date) <= seconds


def _chooses_date(intent: TriggerIntent, dialect: Dialect) -> bool:
    """Whether the run's logical date is chosen here."""
    return intent.logical_date is None and (intent.dated_now or dialect.needs_logical_date)


def _noted(intent: TriggerIntent, dialect: Dialect) -> TriggerIntent:
    """The intent with its mark in the note, where there is one."""
    if intent.mark is None or not dialect.accepts_notes:
        return intent
    return replace(intent, note=marked_note(intent.note, intent.mark))


def _carries_mark(run: DagRun, intent: TriggerIntent, dialect: Dialect) -> bool | None:
    """Whether a run carries the mark of an intent, in its note or its date; ``None`` if it could carry none."""
    if intent.mark is None:
        return None
    if is_marked(run.note, intent.mark):
        return True
    if _chooses_date(intent, dialect):
        return _microsecond(run.logical_date) == microsecond_of(intent.mark)
    return False if is_marked(_noted(intent, dialect).note, intent.mark) else None


def _microsecond(date: str | None) -> int | None:
    """The microsecond of a date from a remote, if there is one."""
    return parse_date(utc_text(date, "date")).microsecond if date else None


def _in_the_way(run: DagRun, *, retrying: bool) -> DagRunAlreadyExists:
    maybe_ours = "Nothing of it shows that an earlier attempt at this task made it. " if retrying else ""
    return DagRunAlreadyExists(
        f"DAG {run.dag_id!r} already has the run {run.run_id!r} of logical date {run.logical_date}, "
        f"in state {run.state}: {run.url} . {maybe_ours}Give another run id or logical date."
    )


def _check_run_id(run_id: str, failure: TransientError) -> None:
    """Airflow 2.6.3 to 2.11 answer a run id of a form they do not allow with an error page of status 500."""
    if failure.status == 500 and UNSAFE_IN_RUN_ID.search(run_id):
        raise failure.restated(
            RequestRefused,
            f"The remote broke on the run id {run_id!r}, which holds characters that Airflow refuses by default. "
            "Use letters, digits and _.~:+- only.",
        ) from failure


def _course(run: DagRun) -> tuple[str | None, ...]:
    """What being cleared changes of a run."""
    return run.state, run.start_date, run.end_date
