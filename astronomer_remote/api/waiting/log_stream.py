"""What a wait logs: the progress of its run, and new lines of its tasks' logs. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from astronomer_remote.api.dialects.logs import LogPart, last_after_error
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.models import FINISHED_TASK_STATES, REMOVED, TaskInstance

SECONDS_BETWEEN_PROGRESS = 60.0
"""Seconds between two lines of progress of a run: each costs the remote a listing."""

FOLLOWED_AT_ONCE = 2
"""Of how many runs progress and logs are read at a time, however many wait; the others follow in turn."""

SECONDS_BETWEEN_RUNS = 10.0
"""Seconds between two runs whose progress is read, so that six waits get theirs every minute."""

LONGEST_RUN = 100
"""Task instances of a run whose progress is logged: as many as come in one page."""

RUNNING_NAMED = 5


def progress_line(instances: Sequence[TaskInstance]) -> str:
    """Such as ``3/12 tasks done, running: load_orders (try 2), transform[7]``."""
    instances = [each for each in instances if each.state != REMOVED]
    done = sum(each.state in FINISHED_TASK_STATES for each in instances)
    running = [name_and_try(each) for each in instances if each.state in ("running", "deferred")]
    more = f" and {len(running) - RUNNING_NAMED} more" if len(running) > RUNNING_NAMED else ""
    suffix = f", running: {', '.join(running[:RUNNING_NAMED])}{more}" if running else ""
    return f"{done}/{len(instances)} tasks done{suffix}"


def name_and_try(instance: TaskInstance) -> str:
    """What to call a task instance in a log, such as ``transform[7] (try 2)``."""
    return f"{instance.name} (try {instance.try_number})" if instance.try_number > 1 else instance.name


LINES_PER_POLL = 200
"""Lines of one log that are shown per poll: the last ones, if there are more."""

LARGE_REPLY = 500
"""Lines of a reply after which more may be waiting: where logs are kept in Elasticsearch, 1000 come at a time."""

MOST_STREAMS = 20
"""Tries of task instances whose logs one wait shows: each costs a request per poll while it runs."""

GROWING = {"running", "deferred", "up_for_reschedule", "restarting"}
"""States of a try whose log grows."""

NOT_BEGUN = {None, "scheduled", "queued", "upstream_failed", "removed"}
"""States in which a task instance writes nothing, and may never have written anything."""


class LogWarning(str):
    """A line to log as a warning."""

    __slots__ = ()


class Progress(str):
    """A line about the state of the wait, which a display shows in another way."""

    __slots__ = ()


def log_sink(log: Any) -> Callable[[str], None]:
    """Returns a function that writes lines to a log, each :class:`LogWarning` as a warning."""

    def sink(line: str) -> None:
        said = untrusted.readable(line)
        if isinstance(line, LogWarning):
            log.warning(said)
        else:
            log.info(said)

    return sink


@dataclass
class LogStream:
    """
    The log of one try.

    :param instance: the task instance, in that try.
    :param token: makes the remote continue from the end of its last reply, if it sent one.
    :param sent: how many lines have been shown.
    :param first: the first line; if it comes again, the remote has ignored the token.
    :param last: the last line.
    :param ended: whether the try has ended.
    :param over: whether all of it has been shown.
    :param large: whether the last reply was a large one.
    :param continues: whether the remote can continue from the end of its last reply.
    """

    instance: TaskInstance
    token: str | None = None
    sent: int = 0
    first: str = ""
    last: str = ""
    ended: bool = False
    over: bool = False
    large: bool = False
    continues: bool = True

    @property
    def has_more(self) -> bool:
        """Whether the end of the log may be further on than what the last reply held."""
        return self.over and self.large and self.token is not None

    def take(self, part: LogPart) -> list[str]:
        """The new lines of a reply as a wait shows them: with the task, and shortened if there are too many."""
        new = self.new_lines(part)
        name = name_and_try(self.instance)
        return [f"{name}: {line}" for line in _shortened(new, part)] if new else []

    def new_lines(self, part: LogPart) -> Sequence[str]:
        """The new lines of a reply."""
        begins = part.first or next(iter(part.lines), "")
        is_rest = self.token is not None and begins != self.first
        new = part.lines if is_rest else self._unsent(part)
        self.token = part.token if self.continues else None
        self.over, self.large = self.ended, len(new) >= LARGE_REPLY
        if new:
            self.first = self.first or begins
            self.sent, self.last = self.sent + len(new), new[-1]
        return new

    def _unsent(self, part: LogPart) -> Sequence[str]:
        """The lines of a whole log after those that were shown."""
        lines = part.lines
        if part.cut:
            ends = (number for number in range(len(lines), 0, -1) if lines[number - 1] == self.last)
            return lines[next(ends, 0) :]
        if not self.sent or lines[self.sent - 1 : self.sent] == (self.last,):
            return lines[self.sent :]
        # Where the log is found changes when a task ends, and with that perhaps the order of lines of one moment.
        ends = (number for number in range(len(lines), 0, -1) if lines[number - 1] == self.last)
        return lines[next(ends, self.sent) :]


def _shortened(new: Sequence[str], part: LogPart) -> Sequence[str]:
    """The new lines of a reply, in as many lines as are shown per poll."""
    if len(new) <= LINES_PER_POLL:
        return new
    # What a task prints reaches the log on another way than its error, and may stand there long after that.
    known, further_up = len(part.lines) - len(new), len(part.lines) - LINES_PER_POLL
    error = part.error if known <= part.error.start < further_up else range(known, known)
    sent = last_after_error(part.lines[error.start : error.stop], part.lines[error.stop :], LINES_PER_POLL)
    return [f"({len(new) - len(sent)} lines are left out here)", *sent]


class LogStreams:
    """
    The logs that one wait shows.

    :param task_ids: the tasks.
    """

    def __init__(self, task_ids: Collection[str]) -> None:
        self.task_ids = frozenset(task_ids)
        self.warned = False
        self._all: dict[tuple[str, int, int], LogStream] = {}
        self._checked = False

    def stop(self) -> None:
        """Show no more."""
        self.task_ids = frozenset()
        self._all.clear()

    def due(self, instances: Sequence[TaskInstance], *, complete: bool) -> tuple[list[LogStream], list[str]]:
        """
        The logs that may have grown, and what there is to say about others.

        :param instances: those of the run.
        :param complete: whether these are all it has.
        """
        now = {(each.task_id, each.map_index): each for each in instances if each.task_id in self.task_ids}
        remarks = self._check({each.task_id for each in instances}) if complete and instances else []
        remarks += self._begin([each for each in now.values() if each.state not in NOT_BEGUN and each.try_number > 0])
        due = []
        for (task_id, map_index, number), stream in self._all.items():
            known = now.get((task_id, map_index))
            # Before 2.10 a deferred task instance has the number of the try before.
            same = known is not None and known.try_number <= number
            if stream.over or (same and known is not None and known.state in NOT_BEGUN):
                continue
            stream.ended = known is None or not same or known.state not in GROWING
            due.append(stream)
        return due, remarks

    def _check(self, task_ids: Collection[str]) -> list[str]:
        missing = sorted(self.task_ids.difference(task_ids))
        first, self._checked = not self._checked, True
        return (
            [LogWarning(f"The run has no task {', '.join(missing)}, so its log cannot be shown.")]
            if missing and first
            else []
        )

    def _begin(self, instances: Sequence[TaskInstance]) -> list[str]:
        for each in instances:
            key = each.task_id, each.map_index, each.try_number
            if key in self._all:
                continue
            if len(self._all) >= MOST_STREAMS:
                first, self.warned = not self.warned, True
                said = f"The logs of {MOST_STREAMS} tries have been followed; those of {each.name} and others are not."
                return [LogWarning(said)] if first else []
            self._all[key] = LogStream(each)
        return []


NO_STREAMS = LogStreams(())
"""Those of a wait that shows no logs: one for all such waits, of which there are many."""
