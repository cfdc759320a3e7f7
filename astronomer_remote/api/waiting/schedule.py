"""What a watcher requests in each poll, and when the next poll is. No I/O, and no clock of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nsmallest

from astronomer_remote.api.protocol.errors import AuthenticationFailed
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.waiting.waiter import Key, Waiter, seconds_of, shortest_interval

OVERLAP = 15.0
"""Seconds by which a poll's listing reaches back before the last one: clocks are read to the second, and a run's end
is written a moment after it."""

OVERLAPPING = 100
"""How many ends it lists again at most, a page: where very many end, their scheduler writes them all the sooner."""

SECONDS_BETWEEN_WIDE_POLLS = 300.0
"""How often a listing reaches far back, for ends that were written late."""

WIDEST_LISTING = 1800.0
"""How far back it then reaches at most, in seconds: a wait may take days, in which very many runs may end."""

POLLS_BETWEEN_CHECKS = 6
"""Polls after which one wait that the listing serves is polled by itself: runs may be deleted, or never start."""

MOST_CHECKS = 32
"""How many of them are polled by themselves at once, after such a check found a run that no listing had."""

EARLY = 0.25
"""By which part of the interval a wait may be polled early, so that it does not wait for another whole interval."""

OUTLIERS = 10
"""How many runs of a much older date are polled by themselves, so that they do not widen the listing of all."""

SECONDS_TO_OUTLIERS = 86_400.0

FAILURES_BEFORE_PROBE = 3
"""After how many failed listings in a row a single run is read, to find out whether only the listing is broken."""

MOST_REFUSALS = 4
"""Reads in a row whose credentials are refused before no other wait of the same poll sends them: servers lock accounts
out that fail too often."""

LONGEST_PAUSE = 300.0
"""Seconds between polls of a slow remote at most, unless all waits have a longer interval."""

LONGEST_PAUSE_WHILE_UNREACHABLE = 60.0
"""The same for one that does not answer: at most so long after it is back, it is polled."""


@dataclass(frozen=True)
class PollPlan:
    """
    What one poll requests.

    :param dag_ids: DAGs whose ended runs are listed; none if the listing serves no wait.
    :param since: what ended since then is listed, in seconds since the epoch by the remote's clock.
    :param bound: the earliest date of a run that a wait served by the listing is for.
    :param served: those it serves.
    :param parts: those served by a listing of tasks that ended, since they wait for parts of runs.
    :param parts_since: the same as `since`, for tasks.
    :param individually: those that are polled by themselves.
    :param checked: those among them that a listing serves.
    """

    dag_ids: Sequence[str]
    since: float
    bound: float
    served: Sequence[Waiter]
    parts: Sequence[Waiter]
    parts_since: float
    individually: Sequence[Waiter]
    checked: Sequence[Waiter] = ()

    @cached_property
    def runs(self) -> dict[tuple[str, str], list[Waiter]]:
        """Those who wait for parts of runs, by DAG and run."""
        index: dict[tuple[str, str], list[Waiter]] = {}
        for waiter in self.parts:
            run_id = waiter.run.run_id if waiter.run else ""
            index.setdefault((waiter.target.dag_id, run_id), []).append(waiter)
        return index

    def waiting_for(self, runs: Iterable[DagRun]) -> list[tuple[Waiter, DagRun]]:
        """Which of the waits it serves are for some of these runs, each with such a run."""
        # The few runs are indexed, not the many waits: ten thousand new lists in each poll would bring the next full
        # garbage collection closer.
        by_key: dict[Key, list[DagRun]] = {}
        for run in runs:
            by_key.setdefault((run.dag_id, run.run_id), []).append(run)
            if run.logical_date:
                by_key.setdefault((run.dag_id, seconds_of(run.logical_date)), []).append(run)
        if not by_key:
            return []
        return [(waiter, run) for waiter in self.served for key in waiter.keys for run in by_key.get(key, ())]

    def waiting_for_task(self, task: TaskInstance) -> list[Waiter]:
        """Those who wait for a task."""
        found = self.runs.get((str(task.dag_id), str(task.run_id)), [])
        return [waiter for waiter in found if waiter.target.is_for_task(task.task_id)]


@dataclass(frozen=True)
class Clock:
    """
    When a poll takes place.

    :param now: the local time.
    :param skew: by how much the remote's clock is ahead of the local one.
    """

    now: float
    skew: float = 0.0

    @property
    def remote(self) -> float:
        """The remote's time."""
        return self.now + self.skew


@dataclass
class Cursor:
    """
    How far the listings of one kind of thing that ended have come.

    :param available: whether the remote offers such a listing.
    :param resume_at: from when on the next one lists, by the remote's clock; ``None`` to reach back to every beginning.
    :param failures: how many in a row have failed.
    """

    available: bool = True
    resume_at: float | None = None
    failures: int = 0

    def advance(self, ends: Iterable[str | None], requested_at: float) -> None:
        """Move on after a listing. :param requested_at: when it was requested, by the remote's clock."""
        known = sorted(seconds_of(end) for end in ends if end)[-OVERLAPPING:]
        crowded = len(known) == OVERLAPPING
        self.failures = 0
        self.resume_at = max(requested_at - OVERLAP, min(known[0], requested_at) if crowded else 0.0)

    def since(self, waiters: Collection[Waiter], clock: Clock) -> float:
        """From when on the next listing reads."""
        widest = clock.now - WIDEST_LISTING
        beginnings = [
            max(waiter.target.since, widest if waiter.listed else 0.0) + clock.skew - OVERLAP
            for waiter in waiters
            if self.resume_at is None or not waiter.listed
        ]
        return min([*beginnings, clock.remote - OVERLAP if self.resume_at is None else self.resume_at])


@dataclass
class Checks:
    """
    How many of the waits that a listing serves are polled by themselves, in case it does not list everything.

    A run may be over and have no end date, so that no listing of ended runs holds it. One check in a while finds one of
    those, and as long as checks find some, the next poll has twice as many.

    :param number: how many in this poll.
    """

    number: int = 0
    _target: int = 0
    _polls: int = 0

    def next(self) -> None:
        """Begin a poll."""
        self._polls += 1
        due = self._polls % POLLS_BETWEEN_CHECKS == 0
        self.number = self._target or (1 if due else 0)

    def record(self, found: int) -> None:
        """Record how many of the checks found that the wait was over."""
        self._target = min(2 * self.number, MOST_CHECKS) if found else 0


@dataclass
class Refusals:
    """Reads of one poll whose credentials were refused: once that is true of all, no more are sent."""

    _refused: int = 0
    _accepted: bool = False
    _last: AuthenticationFailed | None = None

    def record(self, waiter: Waiter) -> None:
        """Record a read that was sent for a wait."""
        if isinstance(waiter.ended, AuthenticationFailed):
            self._refused, self._last = self._refused + 1, waiter.ended
        else:
            self._accepted = True

    @property
    def of_all(self) -> AuthenticationFailed | None:
        """What ends the waits that were not read yet, if the remote accepts these credentials for nothing."""
        return self._last if self._refused >= MOST_REFUSALS and not self._accepted else None


def spread(waiters: Iterable[Waiter]) -> list[Waiter]:
    """The same in an order in which one of each DAG comes first, then a second one of each, and so on."""
    seen: Counter[str] = Counter()
    numbered = []
    for waiter in waiters:
        seen[waiter.target.dag_id] += 1
        numbered.append((seen[waiter.target.dag_id], waiter))
    return [waiter for _, waiter in sorted(numbered, key=lambda each: each[0])]


def plan(waiters: Collection[Waiter], clock: Clock, *, checks: int, runs: Cursor, tasks: Cursor) -> PollPlan:
    """
    Decide what a poll requests.

    :param checks: how many of those that a listing serves are polled by themselves.
    :param runs: the listings of runs that ended.
    :param tasks: the listings of tasks that ended.
    """
    now = clock.now
    listable = {waiter: waiter.date or 0.0 for waiter in waiters if runs.available and waiter.listable}
    dates = nsmallest(OUTLIERS + 1, listable.values())
    oldest = dates[-1] - SECONDS_TO_OUTLIERS if dates else now
    served = [waiter for waiter, date in listable.items() if date >= oldest]
    parts = [waiter for waiter in waiters if tasks.available and waiter.part_listable]
    listed = [*served, *parts]
    rest = set(waiters).difference(listed)
    early = EARLY * _interval(waiters, now)
    individually = [waiter for waiter in rest if waiter.due - early <= now]
    # One at a time, since it takes a few requests.
    individually += [waiter for waiter in listed if waiter.should_explain_absence(now)][:1]
    checked = nsmallest(checks, listed, key=lambda waiter: waiter.due)
    return PollPlan(
        dag_ids=sorted({waiter.target.dag_id for waiter in served}),
        since=runs.since(served, clock),
        # A run of a future date is made before it.
        bound=min([*(listable[waiter] for waiter in served), clock.remote]),
        served=served,
        parts=parts,
        parts_since=tasks.since(parts, clock),
        individually=[*individually, *checked],
        checked=checked,
    )


def seconds_to_next_poll(
    waiters: Collection[Waiter], *, now: float, took: float, failures: int, jitter: float
) -> float:
    """
    Seconds until the next poll: the smallest interval of all waits, counted from the start of the last poll, and
    stretched when the remote is slow or down.

    :param now: the local time.
    :param took: seconds that the last poll took.
    :param failures: how many polls in a row have failed.
    :param jitter: a random number in [0, 1).
    """
    interval = _interval(waiters, now)
    if failures:
        stretched, longest = interval * 2.0 ** min(failures, 8), LONGEST_PAUSE_WHILE_UNREACHABLE
    else:
        # A remote that answers slowly is left alone for four fifths of the time.
        stretched, longest = max(interval - took, 4 * took), LONGEST_PAUSE
    return min(stretched, max(interval, longest)) * (0.9 + jitter / 5)


def _interval(waiters: Collection[Waiter], now: float) -> float:
    """The smallest interval of all waits, in seconds."""
    if not waiters:
        return 1.0
    # The same as the smallest `waiter.interval(now)`, without a call for each of many.
    youngest = max(waiter.target.since for waiter in waiters)
    return min(min(waiter.poke_interval for waiter in waiters), shortest_interval(youngest, now))
