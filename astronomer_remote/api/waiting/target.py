"""
What is waited for, and when the wait is over: decided here, once, for every mode and generation.

No I/O; :mod:`astronomer_remote.api.runs.poll` polls.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeVar

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import LONGEST_MESSAGE, UnexpectedReply, written_by_another_version
from astronomer_remote.api.protocol.models import (
    FINISHED_RUN_STATES,
    FINISHED_TASK_STATES,
    OUTLINE,
    REMOVED,
    DagRun,
    TaskInstance,
)

BY_LOGICAL_DATE = "logical_date"
BY_DATA_INTERVAL_END = "data_interval_end"

NO_SUCH_DAG = "the remote has no such DAG yet, or does not show it to this account"


class WaitStatus(str, enum.Enum):
    """How a wait ends."""

    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    TIMEOUT = "timeout"


TargetT = TypeVar("TargetT", bound="Target")


@dataclass(frozen=True)
class Target:
    """What a wait is for; plain JSON, so that it survives a deferral."""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, lists for tuples."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls: type[TargetT], data: Mapping[str, Any]) -> TargetT:
        """
        The inverse of :meth:`as_dict`.

        :raises UnexpectedReply: for what another version of this package has written, and this one does not know.
        """
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in data.items()
        }
        try:
            return cls(**values)
        except TypeError as error:
            raise written_by_another_version(error) from None


@dataclass(frozen=True)
class WaitTarget(Target):
    """
    What is waited for; plain JSON through and through, so that it survives a deferral.

    :param dag_id: DAG of the remote.
    :param run_id: one run by its id.
    :param logical_dates: else the runs of these dates, ISO 8601 in UTC.
    :param match_by: which date of a run that is: :data:`BY_LOGICAL_DATE` or :data:`BY_DATA_INTERVAL_END`.
    :param newest: else the newest run at the time of the first poll.
    :param task_ids: tasks of those runs, instead of the runs themselves.
    :param task_group_id: a task group of those runs, instead of the runs themselves.
    :param allowed_states: states that end the wait well, once everything is in one of them.
    :param failed_states: states that end it badly, as soon as anything is in one of them.
    :param skipped_states: states that end it as skipped, likewise.
    :param exists: whether the run has been seen, so that it must still be there.
    :param date: the date by which the remote finds the run quickest, ISO 8601, if it is known.
    :param since: when the wait began, in seconds since the epoch: what ended before has been looked at.
    :param progress: whether progress of the run is logged, as far as that costs the remote little.
    :param stream: tasks of the run whose logs are shown.
    """

    dag_id: str
    run_id: str | None = None
    logical_dates: tuple[str, ...] = ()
    match_by: str = BY_LOGICAL_DATE
    newest: bool = False
    task_ids: tuple[str, ...] = ()
    task_group_id: str | None = None
    allowed_states: tuple[str, ...] = ("success",)
    failed_states: tuple[str, ...] = ()
    skipped_states: tuple[str, ...] = ()
    exists: bool = False
    date: str | None = None
    since: float = 0.0
    progress: bool = False
    stream: tuple[str, ...] = ()

    @property
    def dates_of_runs(self) -> tuple[str, ...]:
        """The logical dates of the runs that are waited for, where these are known."""
        return self.logical_dates if self.match_by == BY_LOGICAL_DATE else ()

    @property
    def ends_with_the_run(self) -> bool:
        """Whether only the end of whole runs can end the wait."""
        return not self._is_for_tasks and self._states <= FINISHED_RUN_STATES

    @property
    def ends_with_tasks(self) -> bool:
        """Whether only the end of tasks can end the wait."""
        return self._is_for_tasks and self._states <= FINISHED_TASK_STATES

    @property
    def _is_for_tasks(self) -> bool:
        return bool(self.task_ids) or self.task_group_id is not None

    @property
    def _states(self) -> set[str]:
        return {*self.allowed_states, *self.failed_states, *self.skipped_states}

    def counting(self, instances: Sequence[TaskInstance]) -> list[str | None]:
        """
        The states that count of the instances of a task or a group.

        One is called removed that its DAG does not have any more, for example after a mapped task was cleared and got
        fewer instances. Airflow does not count it for the state of a run. If there is nothing else, it counts.
        """
        states = [each.state for each in instances]
        left = [state for state in states if state != REMOVED or REMOVED in self._states]
        return left or states

    def is_for_task(self, task_id: str) -> bool:
        """Whether a task of the run is among those that are waited for."""
        if self.task_group_id is not None:
            return in_group(task_id, self.task_group_id)
        return task_id in self.task_ids

    def after(self, snapshot: Snapshot) -> WaitTarget:
        """The same after a poll: the newest run stays the same one, and a run that was found must not vanish."""
        run = snapshot.run
        if run is None or self.exists or self.dates_of_runs:
            return self
        return self.of(run)

    def of(self, run: DagRun) -> WaitTarget:
        """The same for one run that has been seen."""
        # Airflow 3 has an index on the one date, Airflow 2 on the other; it has no "run_after".
        date = run.run_after or run.logical_date
        return replace(self, run_id=run.run_id, newest=False, exists=True, date=date)

    def __str__(self) -> str:
        of = "of" if self.match_by == BY_LOGICAL_DATE else "whose data interval ends at"
        runs = f"run {self.run_id!r}" if self.run_id else f"the runs {of} {', '.join(self.logical_dates)}"
        of = "the newest run" if self.newest and not self.run_id else runs
        part = f"task group {self.task_group_id!r} in " if self.task_group_id else ""
        part = f"task(s) {', '.join(self.task_ids)} in " if self.task_ids else part
        return f"{part}{of} of DAG {self.dag_id!r}"


@dataclass(frozen=True)
class Snapshot:
    """
    What one poll saw of a target.

    :param states: for each expected thing (a run, a task of a run, a task group of a run) the states found for
        it: none if it does not exist yet, several for a mapped task or a group.
    :param run: the run that was looked at, if it is a single one.
    :param whole: whether nothing that is waited for may be missing.
    :param dag_is_missing: whether the remote said that it has no such DAG.
    """

    states: Mapping[str, Sequence[str | None]]
    run: DagRun | None = None
    whole: bool = True
    dag_is_missing: bool = False

    @classmethod
    def of_run(cls, run: DagRun) -> Snapshot:
        """The snapshot of a run, where it alone is waited for."""
        return cls({f"run {run.run_id}": [run.state]}, run)

    def summary(self) -> str:
        """The states, for a log line."""
        parts = (
            f"{name}: {'/'.join(sorted({str(state) for state in states})) or 'not there yet'}"
            for name, states in self.states.items()
        )
        missing = "" if self.whole else " (not all of the listing could be read)"
        summary = untrusted.readable(", ".join(parts) or "no run yet") + missing
        return f"{summary} ({NO_SUCH_DAG})" if self.dag_is_missing else summary


@dataclass(frozen=True)
class WaitResult:
    """
    How a wait ended.

    From a triggerer it crosses the database of the local deployment, where text from a remote must do no harm: a
    triggerer stops, with all its waits, if an event cannot be stored. So :meth:`as_dict` has of a run only what the
    task needs to read it again.

    :param status: how, or ``None`` if an error ended it.
    :param summary: the states at the end, or the text of the error.
    :param run: the run that was waited for, if it is a single one.
    :param error: name of the class of the error.
    """

    status: WaitStatus | None
    summary: str
    run: DagRun | None = None
    error: str | None = None

    @classmethod
    def of_error(cls, error: Exception, summary: str | None = None) -> WaitResult:
        """A wait that an error ended."""
        return cls(None, str(error) if summary is None else summary, error=type(error).__name__)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON of a few kilobytes at most, which any database can store."""
        return {
            "status": self.status.value if self.status else None,
            "summary": untrusted.readable(self.summary, LONGEST_MESSAGE),
            "run": untrusted.storable(self.run.outline) if self.run else None,
            "error": self.error,
        }

    @classmethod
    def parse(cls, event: Any) -> WaitResult:
        """
        The inverse of :meth:`as_dict`; an earlier version wrote more of the run.

        :raises UnexpectedReply: if it is no such dict, as after an upgrade during the wait.
        """
        try:
            status, run = event["status"], event["run"]
            return cls(
                status=WaitStatus(status) if status is not None else None,
                summary=str(event["summary"]),
                run=DagRun(**{name: run[name] for name in OUTLINE}) if run is not None else None,
                error=event["error"],
            )
        except (KeyError, TypeError, ValueError):
            shown = untrusted.readable(repr(event))
            raise UnexpectedReply(f"The triggerer sent an event that is not one of this package: {shown}") from None


def evaluate(snapshot: Snapshot, target: WaitTarget) -> WaitStatus | None:
    """
    Whether the wait is over; ``None`` while it is not.

    Anything failed ends it at once, then anything skipped; it ends well only if every expected thing is there
    and in an allowed state. Nothing found is never success, nor is a part of a listing, and a state that is not known
    means "not yet".
    """
    states = [state for found in snapshot.states.values() for state in found]
    if _any_in(states, target.failed_states):
        return WaitStatus.FAILED
    if _any_in(states, target.skipped_states):
        return WaitStatus.SKIPPED
    complete = snapshot.whole and bool(snapshot.states) and all(snapshot.states.values())
    return WaitStatus.SUCCESS if complete and all(state in target.allowed_states for state in states) else None


def _any_in(states: Sequence[str | None], those: Collection[str]) -> bool:
    return any(state in those for state in states)


def in_group(task_id: str, task_group_id: str) -> bool:
    """Whether a task belongs to a group, by its id: the REST API has no groups."""
    return task_id.startswith(f"{task_group_id}.")
