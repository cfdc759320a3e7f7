"""The state of one wait: when to poll it, what was found, and whether it is over. No I/O, and no clock of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from astronomer_remote.api.protocol.errors import DagRunVanished, TransientError
from astronomer_remote.api.protocol.models import DagRun, TaskInstance, parse_date, utc_text
from astronomer_remote.api.waiting.log_stream import NO_STREAMS, LogStreams, Progress
from astronomer_remote.api.waiting.target import Snapshot, WaitResult, WaitStatus, WaitTarget, evaluate

T = TypeVar("T")
C = TypeVar("C", contravariant=True)

Update: TypeAlias = "str | WaitResult | Exception"

Key: TypeAlias = "tuple[str, str | float]"
"""A DAG, and a run id or a logical date in it."""

SHORTEST_INTERVAL = 5.0
"""Seconds between two polls at the start of a wait, unless its interval is shorter: an interval is
chosen with long runs in mind, and many are short."""

MOST_EXPLANATIONS = 3
"""How often an explanation for the log is read if the remote does not answer: it may never do so."""

POLLS_BEFORE_EXPLAINING = 3
"""For how many intervals nothing is found until the log says why that may be."""

SECONDS_FOR_FIRST_POLL = 30.0
"""Seconds that a wait whose deadline has passed may take for its first poll."""

UNREACHABLE_TIMEOUT = 600.0
"""Seconds that a remote may be unreachable during a wait: longer than a deployment's restart or upgrade takes."""

SECONDS_BEFORE_DELETED = 30.0
"""How long a run that was there must be missing before it counts as deleted: a remote may read from a copy of its
database that lags behind."""


@dataclass(eq=False)
class Waiter:
    """
    One wait.

    :param target: what for.
    :param poke_interval: seconds between two polls.
    :param notify: is called with lines for the log, and at last with what ended the wait.
    :param answered_at: when the remote last answered about it, or the wait began.
    :param queued_since: since when its run has not begun, until that is explained or over.
    :param deadline: when to give up, in seconds since the epoch; never if it is infinite.
    """

    target: WaitTarget
    poke_interval: float
    notify: Callable[[Update], None]
    answered_at: float
    queued_since: float | None = None
    deadline: float = math.inf

    due: float = 0.0
    """When it is to be polled by itself."""
    listed: bool = False
    """Whether a listing has covered all the time since the wait began."""
    summary: str = ""
    run: DagRun | None = None
    ended: WaitResult | Exception | None = None
    missing_since: float | None = None
    """Since when its run, which was there before, is not shown."""
    progress: str = ""
    on_progress: Callable[[Sequence[TaskInstance]], None] | None = None
    """Gets the task instances of its run, which are then read with every poll."""
    found: bool = False
    """Whether anything of what it waits for has been there."""
    absence_explained: bool = False
    absence_since: float | None = None
    """When the remote last failed to explain that."""
    failed_explanations: int = 0
    """How often the remote failed to show why a run does not start, or why there is none."""
    follow_due: float = 0.0
    """When progress and logs of its run are next read."""
    follow_failures: int = 0
    """How often that failed in a row."""

    def __post_init__(self) -> None:
        self.began = self.answered_at
        self.progressing = self.target.progress
        self.streams = LogStreams(self.target.stream) if self.target.stream else NO_STREAMS
        self._aim_at(self.target)

    def _aim_at(self, target: WaitTarget) -> None:
        """Set what is waited for, and what follows from it: each poll checks that for all waits."""
        self.target = target
        dates = [target.date] if target.date else target.dates_of_runs
        self.date = min(map(seconds_of, dates)) if dates else None
        """The earliest date of a run that it waits for, in seconds since the epoch, if it is known."""
        by_date = [(target.dag_id, seconds_of(date)) for date in target.dates_of_runs]
        self.keys: Sequence[Key] = ((target.dag_id, target.run_id),) if target.run_id else tuple(by_date)
        """What the runs it waits for have in common with it."""
        named = target.exists or target.dates_of_runs
        self._ends_with_listed_run = bool(named) and self.date is not None and target.ends_with_the_run
        self._ends_with_listed_tasks = target.ends_with_tasks

    @property
    def expires(self) -> float:
        """When to give up, in seconds since the epoch."""
        # As a sensor does, it polls at least once: the deadline may pass while no triggerer runs.
        polled = self.listed or bool(self.summary)
        return self.deadline if polled else max(self.deadline, self.began + SECONDS_FOR_FIRST_POLL)

    @property
    def is_followed(self) -> bool:
        """Whether progress or logs of a run are read for it."""
        return (self.progressing or bool(self.streams.task_ids)) and not self.ended and self.target.run_id is not None

    @property
    def followed_run(self) -> DagRun | None:
        """The run whose progress or logs are read."""
        return self.run or DagRun(self.target.dag_id, str(self.target.run_id)) if self.is_followed else None

    @property
    def part_listable(self) -> bool:
        """Whether a listing of finished tasks shows when to poll it."""
        return self._ends_with_listed_tasks and self.run is not None and self.missing_since is None

    @property
    def listable(self) -> bool:
        """Whether a listing of finished runs shows everything that can end it."""
        return self._ends_with_listed_run and self.missing_since is None

    def interval(self, now: float) -> float:
        """Seconds between two polls: those requested, and fewer while the wait is young."""
        return min(self.poke_interval, shortest_interval(self.target.since, now))

    def should_explain_absence(self, now: float) -> bool:
        """Whether a few polls found nothing, and the log has not explained that yet."""
        if self.found or self.absence_explained or self.target.exists:
            return False
        since = self.absence_since or self.target.since or self.began
        return now - since >= POLLS_BEFORE_EXPLAINING * self.poke_interval

    def may_explain_later(self) -> bool:
        """Record that an explanation failed. :return: whether it is to be read again."""
        self.failed_explanations += 1
        return self.failed_explanations < MOST_EXPLANATIONS

    def record_snapshot(self, snapshot: Snapshot, now: float) -> None:
        """Record a snapshot, report what has changed, and end the wait if it is over."""
        self.answered_at, self.due, self.missing_since = now, now + self.interval(now), None
        self.run, summary = snapshot.run or self.run, snapshot.summary()
        self.found = self.found or self.run is not None or any(snapshot.states.values())
        if summary != self.summary:
            self.summary = summary
            self.notify(Progress(f"Waiting for {self.target}: {summary}"))
        status = evaluate(snapshot, self.target)
        if status:
            self.end(WaitResult(status, summary, snapshot.run))
        known = self.target.after(snapshot)
        if known is not self.target:
            self._aim_at(known)

    def record_failure(self, error: TransientError, now: float) -> None:
        """Record that the remote could not be polled, and fail after :data:`UNREACHABLE_TIMEOUT`."""
        self.due = now + self.interval(now)
        if error.out_of_time:
            self.expire()
        elif now - self.answered_at > UNREACHABLE_TIMEOUT and not error.waking:
            self.end(error)
        else:
            self.notify(f"Could not poll the remote, will keep waiting: {error}")

    def record_missing(self, error: DagRunVanished, now: float) -> None:
        """Record that the run is not shown, and fail after :data:`SECONDS_BEFORE_DELETED`."""
        self.answered_at, self.due = now, now + self.interval(now)
        if self.missing_since is None:
            self.missing_since = now
            self.notify(f"The remote does not show run {self.target.run_id}; it counts as deleted if that lasts")
        if now - self.missing_since >= SECONDS_BEFORE_DELETED:
            self.end(error)

    def expire(self) -> None:
        """End the wait, since its time is over."""
        self.end(WaitResult(WaitStatus.TIMEOUT, self.summary, self.run))

    def end(self, how: WaitResult | Exception) -> None:
        """End the wait, once."""
        if self.ended is None:
            self.ended = how
            self.notify(how)


def shortest_interval(since: float, now: float) -> float:
    """Seconds between two polls of a wait that began at a moment, unless its own interval is shorter."""
    return max(SHORTEST_INTERVAL, (now - since) / 4)


def seconds_of(date: str) -> float:
    """A date as seconds since the epoch."""
    return parse_date(utc_text(date, "date")).timestamp()


class Condition(Protocol[C]):
    """What a poll is checked for."""

    def summary(self, polled: C, /) -> str:
        """The state, for a log line."""
        ...

    def is_met_by(self, polled: C, /) -> bool:
        """Whether the wait is over."""
        ...


@dataclass
class ConditionWaiter(Generic[T]):
    """
    One wait for a condition that one poll after another is checked for.

    :param target: what for.
    :param poke_interval: seconds between two polls.
    :param deadline: when to give up, in seconds since the epoch; ``None`` never does.
    :param on_line: is called with a line whenever something changed.
    :param clock: seconds since the epoch, for the deadline.
    :param monotonic: seconds by a clock that is never set, for how long the remote was unreachable.
    """

    target: Condition[T]
    poke_interval: float
    deadline: float | None
    on_line: Callable[[str], None]
    clock: Callable[[], float]
    monotonic: Callable[[], float]
    summary: str = ""

    def __post_init__(self) -> None:
        self.answered_at = self.monotonic()

    def record(self, outcome: T | TransientError) -> WaitResult | None:
        """
        Record a poll.

        :param outcome: what the poll returned, or why it failed.
        :return: the result, if the wait is over.
        :raises TransientError: if the remote has been unreachable for :data:`UNREACHABLE_TIMEOUT`.
        """
        now = self.monotonic()
        if isinstance(outcome, TransientError):
            if now - self.answered_at > UNREACHABLE_TIMEOUT and not outcome.waking:
                raise outcome
            self.on_line(f"Could not poll the remote, will keep waiting: {outcome}")
        else:
            summary = self.target.summary(outcome)
            if summary != self.summary:
                self.on_line(summary)
            self.answered_at, self.summary = now, summary
            if self.target.is_met_by(outcome):
                return WaitResult(WaitStatus.SUCCESS, summary)
        if self.deadline is not None and self.clock() >= self.deadline:
            return WaitResult(WaitStatus.TIMEOUT, self.summary)
        return None

    def seconds_to_next_poll(self, age: float = 0.0) -> float:
        """Seconds until the next poll. :param age: how many seconds ago the last reply came."""
        left = math.inf if self.deadline is None else self.deadline - self.clock()
        return max(0.0, min(self.poke_interval - age, left))
