"""What a fake deployment holds, and how its DAG runs finish: by being read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from astronomer_remote.api.protocol.models import FINISHED_TASK_STATES

FINISHED = ("success", "failed")
FAILED = ("failed", "upstream_failed")

READER = "viewer"
"""User who may read everything and change nothing."""


@dataclass
class FakeRun:
    """A DAG run. :param polls_left: how often it is still read before it is finished."""

    dag_id: str
    run_id: str
    state: str
    run_after: datetime
    polls_left: int = 0
    conf: dict[str, Any] = field(default_factory=dict)
    note: str | None = None
    logical_date: datetime | None = None
    data_interval_start: datetime | None = None
    data_interval_end: datetime | None = None
    partition_key: str | None = None
    start_date: datetime | None = None
    end_date: datetime | None = None
    tries: dict[str, int] = field(default_factory=dict)
    task_states: dict[str, str | None] = field(default_factory=dict)
    task_end_dates: dict[str, datetime] = field(default_factory=dict)

    @property
    def run_type(self) -> str:
        """What created it, according to its id."""
        known = ("scheduled", "backfill")
        return next((name for name in known if self.run_id.startswith(f"{name}__")), "manual")

    def set_task_state(self, task: str, state: str | None, now: datetime) -> None:
        """Set the state of one task."""
        self.task_states[task] = state
        self.task_end_dates.pop(task, None)
        if state in FINISHED_TASK_STATES:
            self.task_end_dates[task] = now

    @property
    def seconds(self) -> float | None:
        """How long it took."""
        return (self.end_date - self.start_date).total_seconds() if self.end_date and self.start_date else None

    def end(self, state: str, now: datetime) -> None:
        """End it in a state."""
        self.state = state
        self.start_date = self.start_date or now
        self.end_date = now

    def as_dict(self) -> dict[str, Any]:
        """The fields that a test checks, as plain JSON."""
        return {
            "dag_id": self.dag_id,
            "run_id": self.run_id,
            "state": self.state,
            "conf": self.conf,
            "note": self.note,
            "logical_date": self.logical_date.isoformat() if self.logical_date else None,
            "run_after": self.run_after.isoformat(),
            "partition_key": self.partition_key,
        }


@dataclass
class FakeDag:
    """A DAG with its runs by their ids; see :meth:`astronomer_remote.testing.FakeDeployment.add_dag`."""

    dag_id: str
    tasks: tuple[str, ...]
    ends: str = "success"
    polls: int = 0
    stays: str | None = None
    task_ends: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    mapped: Mapping[str, int] = field(default_factory=dict)
    logs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    is_paused: bool = False
    is_stale: bool = False
    has_import_errors: bool = False
    runs: dict[str, FakeRun] = field(default_factory=dict)

    def read(self, run: FakeRun, now: datetime) -> FakeRun:
        """Advance a run, because it is read."""
        if run.state in FINISHED or self.is_paused:
            return run
        run.start_date = run.start_date or now
        if self.stays is not None:
            run.state = self.stays
        elif run.polls_left > 0:
            run.polls_left -= 1
            run.state = "running"
        else:
            run.end(self.ends, now)
        return run

    def clear(self, run: FakeRun, state: str, *, only_failed: bool) -> None:
        """Clear a run, or only its failed tasks."""
        for task in self.tasks:
            if not only_failed or self.task_state(run, task) in FAILED:
                run.tries[task] = self.try_number(run, task) + 1
                run.task_states.pop(task, None)
            else:
                run.task_states[task] = self.task_state(run, task)
        run.state, run.polls_left, run.start_date, run.end_date = state, self.polls, None, None

    def task_state(self, run: FakeRun, task: str) -> str | None:
        """State of a task in a run: as it was set, else that of its run."""
        if task in run.task_states:
            return run.task_states[task]
        if run.state in FINISHED:
            return self.task_ends.get(task, run.state)
        return None if run.state == "queued" else run.state

    def instances(self) -> list[tuple[str, int]]:
        """Each task with its map index, -1 if it is not mapped."""
        indexes = {task: range(self.mapped[task]) if task in self.mapped else [-1] for task in self.tasks}
        return [(task, index) for task in self.tasks for index in indexes[task]]

    def instance_state(self, run: FakeRun, task: str, index: int) -> str | None:
        """State of one instance of a task: as its own end was scripted, else that of the task."""
        own = self.task_ends.get(f"{task}[{index}]")
        return own if own and run.state in FINISHED and task not in run.task_states else self.task_state(run, task)

    def log(self, run: FakeRun, task: str, index: int) -> list[str]:
        """Lines of the log of a task instance."""
        name = f"{task}[{index}]" if index >= 0 else task
        return [*self.logs.get(name, self.logs.get(task, [f"{name} ended as {self.instance_state(run, task, index)}"]))]

    def try_number(self, run: FakeRun, task: str) -> int:
        return run.tries.get(task, 1 if self.task_state(run, task) else 0)


@dataclass
class FakePool:
    """A pool."""

    name: str
    slots: int
    description: str = ""
    include_deferred: bool = False
    occupied: int = 0
    team_name: str | None = None


@dataclass(frozen=True)
class FakeAsset:
    """An asset. :param producers: DAGs with a task that has it as an outlet. :param consumers: DAGs scheduled on it."""

    asset_id: int
    uri: str
    name: str
    added: datetime
    producers: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()


@dataclass(frozen=True)
class FakeAssetEvent:
    """An event of an asset that came through the API."""

    event_id: int
    asset: FakeAsset
    extra: dict[str, Any]
    timestamp: datetime
    partition_key: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """The event in plain JSON, for a test."""
        return {
            "uri": self.asset.uri,
            "name": self.asset.name,
            "extra": self.extra,
            "partition_key": self.partition_key,
            "timestamp": self.timestamp.isoformat(),
        }


@dataclass
class Contents:
    """Everything a deployment holds. :param clock: seconds since the epoch."""

    clock: Callable[[], float]
    assets: list[FakeAsset] = field(default_factory=list)
    asset_events: list[FakeAssetEvent] = field(default_factory=list)
    dags: dict[str, FakeDag] = field(default_factory=dict)
    pools: dict[str, FakePool] = field(default_factory=dict)
    import_errors: dict[str, str] = field(default_factory=dict)
    config: dict[str, dict[str, str]] | None = None

    def __post_init__(self) -> None:
        self.pools["default_pool"] = FakePool("default_pool", 128, "Default pool")

    def add_asset_event(
        self, asset: FakeAsset, extra: dict[str, Any], partition_key: str | None = None
    ) -> FakeAssetEvent:
        """Register an event of an asset."""
        event = FakeAssetEvent(len(self.asset_events) + 1, asset, extra, self.now(), partition_key)
        self.asset_events.append(event)
        return event

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), timezone.utc)


@dataclass
class Accounts:
    """
    Who is let in.

    :param passwords: passwords by user name; one may do everything, the other may only read.
    :param issued: who got which token or session cookie.
    """

    passwords: dict[str, str]
    issued: dict[str, str] = field(default_factory=dict)

    def knows(self, login: object, password: object) -> bool:
        return isinstance(login, str) and self.passwords.get(login) == password
