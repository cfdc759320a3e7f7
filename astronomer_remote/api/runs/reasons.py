"""Finds out why a run failed: what failed first, and what its logs say last."""

from __future__ import annotations

from collections.abc import Sequence

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.paging import Reading, instance_key
from astronomer_remote.api.dialects.base import Operation, Page
from astronomer_remote.api.protocol.errors import PassingError, RemoteError
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.runs.failure import FailedTask, FailureReport, first_failures

TASKS_TOLD = 5
"""How many of those that failed are told of."""

PAGES = 10
"""How many pages of failed task instances are looked through for the first ones."""


class Reasons:
    """Reads what a deployment tells of its failed runs, and bears with one that tells less."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def of(self, run: DagRun, *, log_lines: int, task_ids: Sequence[str] = ()) -> Flow[FailureReport]:
        """
        Why a run failed.

        :param log_lines: how many of the last lines of each log are wanted.
        :param task_ids: tasks that are of interest before all others.
        :raises RemoteError: when the remote does not even tell the run's tasks.
        """
        dialect = yield from self._client.dialect()
        if not dialect.lists_task_instances:
            return (yield from self._of_named(run, task_ids))
        failed, count = yield from self._failed(run)
        everything = yield from self._client.request(dialect.task_instances(run, limit=1))
        if not failed:
            return FailureReport(run, (), 0, everything.total, _remark_without_failures(run))
        named = [each for each in failed if each.task_id in task_ids]
        tasks = yield from self._with_logs(run, first_failures(named or failed, TASKS_TOLD), log_lines)
        return FailureReport(run, tasks, count, everything.total)

    def _failed(self, run: DagRun) -> Flow[tuple[list[TaskInstance], int]]:
        """Those that failed by themselves, as many of them as are looked through, and how many there are in all."""
        dialect = yield from self._client.dialect()

        def page(offset: int, limit: int) -> Operation[Page[TaskInstance]]:
            return dialect.task_instances(run, state="failed", offset=offset, limit=limit)

        reading = Reading(page, instance_key)
        yield from self._client.read_on(reading, PAGES)
        return reading.items, reading.total

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
                # What is known already is worth telling without it.
                named.append(FailedTask(instance, log_missing=error.message))
                out_of_reach = error.message if isinstance(error, PassingError) else None
        return tuple(named)

    def _of_named(self, run: DagRun, task_ids: Sequence[str]) -> Flow[FailureReport]:
        """What can be told where only the state of a task that one can name is told."""
        dialect = yield from self._client.dialect()
        failed = []
        for task_id in task_ids:
            instance = yield from self._client.request(dialect.task_instance(run, task_id))
            failed += [FailedTask(instance)] if instance.state == "failed" else []
        remark = f"{dialect.label} tells neither which tasks a run has nor what is in their logs; see the link."
        return FailureReport(run, tuple(failed), remark=remark)


def _remark_without_failures(run: DagRun) -> str:
    return (
        f"None of its task instances is failed, though the run is {run.state}: it may have been set to that state, "
        "have run into its dagrun_timeout, or been cleared meanwhile."
    )
