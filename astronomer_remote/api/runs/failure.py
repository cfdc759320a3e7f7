"""Why a DAG run of the remote failed: what is told of it in an error, and to other tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.models import DagRun, TaskInstance

LARGEST_REPORT = 32_768
"""Bytes of a report as JSON: half of the smallest column in which a local Airflow may keep an XCom."""


@dataclass(frozen=True)
class FailedTask:
    """
    One task instance that failed.

    :param instance: the task instance.
    :param log: the last lines of the log of its last try.
    :param log_missing: why there are none, if some were wanted.
    """

    instance: TaskInstance
    log: tuple[str, ...] = ()
    log_missing: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        shown = self.instance
        return {
            "task_id": shown.task_id,
            "map_index": shown.map_index,
            "try_number": shown.try_number,
            "operator": shown.operator,
            "start_date": shown.start_date,
            "end_date": shown.end_date,
            "duration": shown.duration,
            "log": list(self.log),
            "log_missing": self.log_missing,
        }

    def __str__(self) -> str:
        shown = self.instance
        facts = [f"try {shown.try_number}", shown.operator or ""]
        if shown.duration is not None:
            facts.append(f"after {shown.duration:.1f} s")
        if shown.end_date:
            facts.append(f"at {shown.end_date}")
        head = untrusted.readable(f"- {shown.name} ({', '.join(fact for fact in facts if fact)})")
        missing = [f"    (no log: {untrusted.readable(self.log_missing)})"] if self.log_missing else []
        # With something before it, no line of the remote's log can pass for one of the local log.
        return "\n".join([head, *(f"    | {untrusted.readable(line)}" for line in self.log), *missing])


@dataclass(frozen=True)
class FailureReport:
    """
    Why a run failed, as far as the remote tells.

    :param run: the run.
    :param tasks: the task instances that failed first, in the order in which they did; not those that only never
        started because of others.
    :param failed_count: how many failed in all; ``None`` where it is not told.
    :param task_count: how many the run has.
    :param remark: what the remote does not tell, or what else there is to say.
    """

    run: DagRun
    tasks: tuple[FailedTask, ...] = ()
    failed_count: int | None = None
    task_count: int | None = None
    remark: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, as it goes to XCom: of logs that are too long, the beginning is left out."""
        tasks = self.tasks
        while True:
            shown: dict[str, Any] = {
                "dag_id": self.run.dag_id,
                "run_id": self.run.run_id,
                "state": self.run.state,
                "url": self.run.url,
                "task_count": self.task_count,
                "failed_count": self.failed_count,
                "tasks": [task.as_dict() for task in tasks],
                "remark": self.remark,
            }
            if not any(task.log for task in tasks) or len(json.dumps(shown)) <= LARGEST_REPORT:
                return {name: untrusted.storable(value) for name, value in shown.items()}
            tasks = tuple(replace(task, log=task.log[len(task.log) // 2 + 1 :]) for task in tasks)

    def __str__(self) -> str:
        lines = [str(task) for task in self.tasks]
        if self.tasks and self.failed_count is not None:
            of = f" of {self.task_count}" if self.task_count is not None else ""
            first = f"; the first {len(self.tasks)}" if self.failed_count > len(self.tasks) else ""
            lines.insert(0, f"{self.failed_count}{of} task instances failed{first}:")
        return "\n".join([*lines, *([self.remark] if self.remark else [])])


def first_failures(instances: Sequence[TaskInstance], count: int) -> list[TaskInstance]:
    """Those that ended first; one that does not say when comes last."""
    return sorted(instances, key=lambda each: (each.end_date is None, each.end_date or "", each.name))[:count]
