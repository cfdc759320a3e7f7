"""What a watcher knows of each of its waiters, and what it asks in a tick: no I/O, and no clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, TypeAlias

from astronomer_remote.api.errors import PassingError
from astronomer_remote.api.models import DagRun, TaskInstance, utc_text
from astronomer_remote.api.streams import Caution, Streams
from astronomer_remote.api.waiting import Observation, Outcome, Wanted, judge

News: TypeAlias = "str | Outcome | Exception"

Key: TypeAlias = "tuple[str, str | float]"
"""A DAG, and a run id or a logical date in it."""

OVERLAP = 15.0
"""Seconds by which a tick's listing reaches back before the last one: clocks are read to the second, and a run's end
is written a moment after it."""

SECONDS_BETWEEN_WIDE_TICKS = 300.0
"""How often a listing reaches far back, for ends that were written late."""

WIDEST_LISTING = 1800.0
"""How far back it then reaches at most, in seconds: a wait may go on for days, in which very many runs may end."""

TICKS_BETWEEN_CHECKS = 6
"""How often one of those that the listing serves is looked at singly: runs may be deleted, or never begin."""

OUTLIERS = 10
"""How many runs of a much older date are looked at singly, lest they widen everybody's listing."""

SHORTEST_INTERVAL = 5.0
"""Seconds between two looks at what has just been begun to wait for, unless its interval is shorter: an interval is
chosen with long runs in mind, and many are short."""

SECONDS_TO_OUTLIERS = 86_400.0


@dataclass(eq=False)
class Waiter:
    """
    One wait.

    :param wanted: what for.
    :param poke_interval: seconds between two looks.
    :param tell: gets lines for the log, and at last what ended the wait.
    :param reached: when the remote last answered about it, or the wait began.
    :param queued_since: since when its run has not begun, until that is explained or over.
    """

    wanted: Wanted
    poke_interval: float
    tell: Callable[[News], None]
    reached: float
    queued_since: float | None = None

    due: float = 0.0
    """When it is to be looked at singly."""
    listed: bool = False
    """Whether a listing has covered all the time since the wait began."""
    summary: str = ""
    run: DagRun | None = None
    ended: Outcome | Exception | None = None
    progress: str = ""
    telling_due: float = 0.0
    """When it is next told how far its run is, and what that writes into its logs."""

    def __post_init__(self) -> None:
        self.progressing = self.wanted.progress
        self.streams = Streams(self.wanted.stream)

    @cached_property
    def date(self) -> float | None:
        """The earliest date of a run that it waits for, in seconds since the epoch, if it is known."""
        dates = [self.wanted.date] if self.wanted.date else self.wanted.logical_dates
        return min(map(seconds_of, dates)) if dates else None

    @cached_property
    def keys(self) -> frozenset[Key]:
        """What the runs it waits for have in common with it."""
        dag_id, run_id = self.wanted.dag_id, self.wanted.run_id
        return frozenset([(dag_id, run_id)] if run_id else ((dag_id, seconds_of(d)) for d in self.wanted.logical_dates))

    @property
    def telling(self) -> DagRun | None:
        """The run of which something is to be told."""
        if not (self.progressing or self.streams.task_ids) or self.ended or self.wanted.run_id is None:
            return None
        return self.run or DagRun(self.wanted.dag_id, self.wanted.run_id)

    @property
    def part_listable(self) -> bool:
        """Whether a listing of tasks that ended tells when it is worth a look."""
        return self.run is not None and self.wanted.ends_with_tasks

    @property
    def listable(self) -> bool:
        """Whether a listing of runs that ended tells all it wants to know."""
        named = self.wanted.exists or self.wanted.logical_dates
        return bool(named) and self.date is not None and self.wanted.ends_with_the_run

    def interval(self, now: float) -> float:
        """Seconds between two looks: those that were asked for, and fewer while the wait is young."""
        return min(self.poke_interval, max(SHORTEST_INTERVAL, (now - self.wanted.since) / 4))

    def see(self, observation: Observation, now: float) -> None:
        """Take note of how things stand, tell what has changed, and whether the wait is over."""
        self.reached, self.due = now, now + self.interval(now)
        self.run, summary = observation.run or self.run, observation.summary()
        if summary != self.summary:
            self.summary = summary
            self.tell(f"Waiting for {self.wanted}: {summary}")
        verdict = judge(observation, self.wanted)
        if verdict:
            self.end(Outcome(verdict, summary, observation.run))
        known = self.wanted.after(observation)
        if known is not self.wanted:
            self.wanted = known
            vars(self).pop("date", None)
            vars(self).pop("keys", None)

    def miss(self, error: PassingError, now: float, patience: float) -> None:
        """Take note that the remote could not be asked, and give up once it has not been for long."""
        self.due = now + self.interval(now)
        if now - self.reached > patience:
            self.end(error)
        else:
            self.tell(f"Waiting on, although the remote could not be asked: {error}")

    def end(self, how: Outcome | Exception) -> None:
        """End the wait, once."""
        if self.ended is None:
            self.ended = how
            self.tell(how)


@dataclass(frozen=True)
class Tick:
    """
    What one tick asks.

    :param dag_ids: DAGs whose ended runs are listed; none if nobody is served by a listing.
    :param since: what ended since then is listed, in seconds since the epoch by the remote's clock.
    :param bound: the earliest date of a run that anybody served by the listing waits for.
    :param served: those it serves.
    :param parts: those served by a listing of the tasks that ended since then, since they wait for parts of runs.
    :param singly: those that are looked at singly.
    """

    dag_ids: Sequence[str]
    since: float
    bound: float
    served: Sequence[Waiter]
    parts: Sequence[Waiter]
    singly: Sequence[Waiter]

    @cached_property
    def runs(self) -> dict[tuple[str, str], list[Waiter]]:
        """Those who wait for parts of runs, by DAG and run."""
        index: dict[tuple[str, str], list[Waiter]] = {}
        for waiter in self.parts:
            run_id = waiter.run.run_id if waiter.run else ""
            index.setdefault((waiter.wanted.dag_id, run_id), []).append(waiter)
        return index

    @cached_property
    def by_key(self) -> dict[Key, list[Waiter]]:
        """Those it serves, by what tells whose run is whose."""
        index: dict[Key, list[Waiter]] = {}
        for waiter in self.served:
            for key in waiter.keys:
                index.setdefault(key, []).append(waiter)
        return index

    def waiting_for(self, run: DagRun) -> list[Waiter]:
        """Those who wait for a run."""
        found = list(self.by_key.get((run.dag_id, run.run_id), ()))
        if run.logical_date:
            found += self.by_key.get((run.dag_id, seconds_of(run.logical_date)), ())
        return found

    def waiting_for_task(self, task: TaskInstance) -> list[Waiter]:
        """Those who wait for a task."""
        found = self.runs.get((str(task.dag_id), str(task.run_id)), [])
        return [waiter for waiter in found if waiter.wanted.is_for_task(task.task_id)]


def plan(
    waiters: Collection[Waiter],
    *,
    number: int,
    cursor: float | None,
    now: float,
    skew: float,
    lists: bool,
    lists_tasks: bool = False,
) -> Tick:
    """
    Decide what a tick asks.

    :param number: number of the tick, from 0.
    :param cursor: when the last listing was made, by the remote's clock; ``None`` to reach back to every beginning.
    :param now: the local time.
    :param skew: by how much the remote's clock is ahead of the local one.
    :param lists: whether the remote lets us list the runs that ended.
    :param lists_tasks: whether it lets us list the tasks that ended.
    """
    listable = {waiter: waiter.date or 0.0 for waiter in waiters if lists and waiter.listable}
    dates = sorted(listable.values())
    oldest = dates[min(OUTLIERS, len(dates) - 1)] - SECONDS_TO_OUTLIERS if dates else now
    served = [waiter for waiter, date in listable.items() if date >= oldest]
    parts = [waiter for waiter in waiters if lists_tasks and waiter.part_listable]
    listed = [*served, *parts]
    rest = set(waiters).difference(listed)
    singly = [waiter for waiter in rest if waiter.due <= now]
    if listed and number % TICKS_BETWEEN_CHECKS == TICKS_BETWEEN_CHECKS - 1:
        singly.append(min(listed, key=lambda waiter: waiter.due))
    beginnings = [
        max(waiter.wanted.since, now - WIDEST_LISTING if waiter.listed else 0.0) + skew
        for waiter in listed
        if cursor is None or not waiter.listed
    ]
    return Tick(
        dag_ids=sorted({waiter.wanted.dag_id for waiter in served}),
        since=min([*beginnings, now + skew if cursor is None else cursor]) - OVERLAP,
        # A run of a future date is made before it.
        bound=min([*(listable[waiter] for waiter in served), now + skew]),
        served=served,
        parts=parts,
        singly=singly,
    )


def pause(waiters: Collection[Waiter], *, now: float, took: float, failures: int, jitter: float) -> float:
    """
    Seconds until the next tick: the smallest interval anybody wants, counted from the beginning of the last one, and
    stretched when the remote is slow or down.

    :param now: the local time.
    :param took: seconds the last tick took.
    :param failures: how many ticks in a row have failed.
    :param jitter: a random number in [0, 1).
    """
    wanted = min((waiter.interval(now) for waiter in waiters), default=1.0)
    # A remote that answers slowly is left alone for four fifths of the time.
    patient = max(wanted - took, 4 * took) * 2.0 ** min(failures, 4)
    return min(patient, max(wanted, 300.0)) * (0.9 + jitter / 5)


def told_to(log: Any) -> Callable[[str], None]:
    """What tells lines to a log, cautions as warnings."""

    def tell(line: str) -> None:
        if isinstance(line, Caution):
            log.warning(line)
        else:
            log.info(line)

    return tell


def seconds_of(date: str) -> float:
    """A date as seconds since the epoch."""
    return datetime.fromisoformat(utc_text(date, "date").replace("Z", "+00:00")).timestamp()
