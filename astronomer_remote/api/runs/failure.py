"""Why a DAG run failed: the tasks that failed first and the end of their logs, as an error and as XCom."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.paging import PageReader, instance_key
from astronomer_remote.api.dialects.base import Operation, Page
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import RemoteError, TransientError
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import DagRun, TaskInstance

LARGEST_REPORT = 32_768
"""Bytes of a report as JSON: half of the smallest column in which a local Airflow may keep an XCom."""

MOST_FAILED_TASKS = 5
"""How many failed task instances a report has."""

PAGES_OF_FAILED_TASKS = 10
"""How many pages of failed task instances are looked through for the first ones."""


@dataclass(frozen=True)
class FailedTask:
    """
    One task instance that failed.

    :param instance: the task instance.
    :param log: the last lines of the log of its last try.
    :param log_missing: why there are none, if some were requested.
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
    Why a run failed, as far as the remote shows it.

    :param run: the run.
    :param tasks: the task instances that failed first, in the order in which they did; not those that only never
        started because of others.
    :param failed_count: how many failed in all; ``None`` if unknown.
    :param task_count: how many the run has.
    :param remark: what the remote does not show, or anything else.
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


class Failures:
    """Reads why runs of a deployment failed, as far as it shows that."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def report(self, run: DagRun, *, log_lines: int, task_ids: Sequence[str] = ()) -> Flow[FailureReport]:
        """
        Why a run failed.

        :param log_lines: how many of the last lines of each log to read.
        :param task_ids: tasks that are of interest before all others.
        :raises RemoteError: if the remote does not even show the run's tasks.
        """
        dialect = yield from self._client.dialect()
        if not dialect.lists_task_instances:
            return (yield from self._of_named(run, task_ids))
        failed, count = yield from self._failed(run)
        everything = yield from self._client.request(dialect.task_instances(run, limit=1))
        if not failed:
            return FailureReport(run, (), 0, everything.total, _remark_without_failures(run))
        named = [each for each in failed if each.task_id in task_ids]
        tasks = yield from self._with_logs(run, first_failures(named or failed, MOST_FAILED_TASKS), log_lines)
        return FailureReport(run, tasks, count, everything.total)

    def _failed(self, run: DagRun) -> Flow[tuple[list[TaskInstance], int]]:
        """Those that failed by themselves, as many of them as are looked through, and how many there are in all."""
        dialect = yield from self._client.dialect()

        def page(offset: int, limit: int) -> Operation[Page[TaskInstance]]:
            return dialect.task_instances(run, state="failed", offset=offset, limit=limit)

        reader = PageReader(page, instance_key)
        yield from self._client.read_on(reader, PAGES_OF_FAILED_TASKS)
        return reader.items, reader.total

    def _with_logs(self, run: DagRun, instances: Sequence[TaskInstance], lines: int) -> Flow[tuple[FailedTask, ...]]:
        dialect = yield from self._client.dialect()
        named: list[FailedTask] = []
        out_of_reach: str | None = None
        for instance in instances:
            if lines < 1 or out_of_reach:
                named.append(FailedTask(instance, log_missing=out_of_reach))
                continue
            if instance.try_number < 1:
                named.append(FailedTask(instance, log_missing="it was never started"))
                continue
            try:
                log = yield from self._client.request(dialect.task_log(run, instance, lines=lines))
                named.append(FailedTask(instance, tuple(log)))
            except RemoteError as error:
                # What is known is worth reporting without it.
                named.append(FailedTask(instance, log_missing=error.message))
                out_of_reach = error.message if isinstance(error, TransientError) else None
        return tuple(named)

    def _of_named(self, run: DagRun, task_ids: Sequence[str]) -> Flow[FailureReport]:
        """The report for a remote that shows only the state of a task of a given id."""
        dialect = yield from self._client.dialect()
        failed = []
        for task_id in task_ids:
            instance = yield from self._client.request(dialect.task_instance(run, task_id))
            failed += [FailedTask(instance)] if instance.state == "failed" else []
        remark = f"{dialect.label} shows neither the tasks of a run nor their logs; see the link."
        return FailureReport(run, tuple(failed), remark=remark)


def _remark_without_failures(run: DagRun) -> str:
    return (
        f"None of its task instances is failed, though the run is {run.state}: it may have been set to that state, "
        "have run into its dagrun_timeout, or been cleared meanwhile."
    )
