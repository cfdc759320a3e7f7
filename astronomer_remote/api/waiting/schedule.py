"""What a watcher asks in a tick: no I/O, and no clock of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from astronomer_remote.api.protocol.errors import AuthenticationFailed
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.waiting.waiter import Key, Waiter, seconds_of

OVERLAP = 15.0
"""Seconds by which a tick's listing reaches back before the last one: clocks are read to the second, and a run's end
is written a moment after it."""

OVERLAPPING = 100
"""How many ends it lists again at most, a page: where very many end, their scheduler writes them all the sooner."""

SECONDS_BETWEEN_WIDE_POLLS = 300.0
"""How often a listing reaches far back, for ends that were written late."""

WIDEST_LISTING = 1800.0
"""How far back it then reaches at most, in seconds: a wait may go on for days, in which very many runs may end."""

POLLS_BETWEEN_CHECKS = 6
"""How often one of those that the listing serves is looked at singly: runs may be deleted, or never begin."""

MOST_CHECKS = 32
"""How many of them are looked at singly in a tick at most, after a check has found one that no listing had told of."""

EARLY = 0.25
"""By which part of the loop's interval one may be looked at early, lest it has to wait for a whole one more."""

OUTLIERS = 10
"""How many runs of a much older date are looked at singly, lest they widen everybody's listing."""

SECONDS_TO_OUTLIERS = 86_400.0

FAILURES_BEFORE_PROBE = 3
"""After how many failed listings in a row a single run is read, to find out whether only the listing is broken."""

MOST_REFUSALS = 4
"""Reads in a row whose credentials are refused before no other wait of the same tick shows them: servers lock accounts
out that fail too often."""

LONGEST_PAUSE = 300.0
"""How long a slow remote is left alone at most, in seconds, unless nobody wants to know sooner."""

LONGEST_PAUSE_WHILE_UNREACHABLE = 60.0
"""The same for one that does not answer: so long after it is back, at most, those who wait hear of it."""


@dataclass(frozen=True)
class PollPlan:
    """
    What one tick asks.

    :param dag_ids: DAGs whose ended runs are listed; none if nobody is served by a listing.
    :param since: what ended since then is listed, in seconds since the epoch by the remote's clock.
    :param bound: the earliest date of a run that anybody served by the listing waits for.
    :param served: those it serves.
    :param parts: those served by a listing of tasks that ended, since they wait for parts of runs.
    :param parts_since: the same as `since`, for tasks.
    :param singly: those that are looked at singly.
    :param checked: those among them that a listing serves.
    """

    dag_ids: Sequence[str]
    since: float
    bound: float
    served: Sequence[Waiter]
    parts: Sequence[Waiter]
    parts_since: float
    singly: Sequence[Waiter]
    checked: Sequence[Waiter] = ()

    @cached_property
    def runs(self) -> dict[tuple[str, str], list[Waiter]]:
        """Those who wait for parts of runs, by DAG and run."""
        index: dict[tuple[str, str], list[Waiter]] = {}
        for waiter in self.parts:
            run_id = waiter.run.run_id if waiter.run else ""
            index.setdefault((waiter.target.dag_id, run_id), []).append(waiter)
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
        return [waiter for waiter in found if waiter.target.is_for_task(task.task_id)]


@dataclass(frozen=True)
class Clock:
    """
    When a tick takes place.

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

    :param available: whether the remote lets us have it.
    :param resume_at: from when on the next one lists, by the remote's clock; ``None`` to reach back to every beginning.
    :param failures: how many in a row have failed.
    """

    available: bool = True
    resume_at: float | None = None
    failures: int = 0

    def advance(self, ends: Iterable[str | None], requested_at: float) -> None:
        """Take note of what a listing told. :param requested_at: when that was asked for, by the remote's clock."""
        known = sorted(seconds_of(end) for end in ends if end)[-OVERLAPPING:]
        crowded = len(known) == OVERLAPPING
        self.failures = 0
        self.resume_at = max(requested_at - OVERLAP, min(known[0], requested_at) if crowded else 0.0)

    def since(self, waiters: Collection[Waiter], clock: Clock) -> float:
        """From when on those that it serves are to be told what ended."""
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
    How many of those that a listing serves are looked at singly, in case that it does not tell everything.

    A run may be over and have no end date, so that no listing of ended runs holds it. One check in a while finds one of
    those, and as long as checks find some, the next tick has twice as many.

    :param number: how many in this tick.
    """

    number: int = 0
    _target: int = 0
    _polls: int = 0

    def next(self) -> None:
        """Begin a tick."""
        self._polls += 1
        due = self._polls % POLLS_BETWEEN_CHECKS == 0
        self.number = self._target or (1 if due else 0)

    def record(self, found: int) -> None:
        """Take note of how many of the checks found that the wait was over."""
        self._target = min(2 * self.number, MOST_CHECKS) if found else 0


@dataclass
class Refusals:
    """Reads of one tick whose credentials were refused: once that is true of all, no more are sent."""

    _refused: int = 0
    _accepted: bool = False
    _last: AuthenticationFailed | None = None

    def record(self, waiter: Waiter) -> None:
        """Take note of a read that was sent for a wait."""
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
    Decide what a tick asks.

    :param checks: how many of those that a listing serves are looked at singly.
    :param runs: the listings of runs that ended.
    :param tasks: the listings of tasks that ended.
    """
    now = clock.now
    listable = {waiter: waiter.date or 0.0 for waiter in waiters if runs.available and waiter.listable}
    dates = sorted(listable.values())
    oldest = dates[min(OUTLIERS, len(dates) - 1)] - SECONDS_TO_OUTLIERS if dates else now
    served = [waiter for waiter, date in listable.items() if date >= oldest]
    parts = [waiter for waiter in waiters if tasks.available and waiter.part_listable]
    listed = [*served, *parts]
    rest = set(waiters).difference(listed)
    early = EARLY * _interval(waiters, now)
    singly = [waiter for waiter in rest if waiter.due - early <= now]
    # One at a time, since it takes a few requests.
    singly += [waiter for waiter in listed if waiter.should_explain_absence(now)][:1]
    checked = sorted(listed, key=lambda waiter: waiter.due)[:checks] if checks else []
    return PollPlan(
        dag_ids=sorted({waiter.target.dag_id for waiter in served}),
        since=runs.since(served, clock),
        # A run of a future date is made before it.
        bound=min([*(listable[waiter] for waiter in served), clock.remote]),
        served=served,
        parts=parts,
        parts_since=tasks.since(parts, clock),
        singly=[*singly, *checked],
        checked=checked,
    )


def seconds_to_next_poll(
    waiters: Collection[Waiter], *, now: float, took: float, failures: int, jitter: float
) -> float:
    """
    Seconds until the next tick: the smallest interval anybody wants, counted from the beginning of the last one, and
    stretched when the remote is slow or down.

    :param now: the local time.
    :param took: seconds the last tick took.
    :param failures: how many ticks in a row have failed.
    :param jitter: a random number in [0, 1).
    """
    target = _interval(waiters, now)
    if failures:
        stretched, longest = target * 2.0 ** min(failures, 8), LONGEST_PAUSE_WHILE_UNREACHABLE
    else:
        # A remote that answers slowly is left alone for four fifths of the time.
        stretched, longest = max(target - took, 4 * took), LONGEST_PAUSE
    return min(stretched, max(target, longest)) * (0.9 + jitter / 5)


def _interval(waiters: Collection[Waiter], now: float) -> float:
    """The smallest interval that anybody wants, in seconds."""
    return min((waiter.interval(now) for waiter in waiters), default=1.0)
