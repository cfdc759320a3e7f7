"""Flows that read the log of one task instance."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.dialects.logs import MOST_LINES
from astronomer_remote.api.protocol.errors import NotFound
from astronomer_remote.api.protocol.flow import Flow, Sleep
from astronomer_remote.api.protocol.models import FINISHED_TASK_STATES, DagRun, TaskInstance
from astronomer_remote.api.runs.follow import read_part
from astronomer_remote.api.runs.poll import Poller
from astronomer_remote.api.runs.runs import Runs
from astronomer_remote.api.waiting.log_stream import GROWING, NOT_BEGUN, LogStream, LogWarning, name_and_try

MOST_REPLIES_OF_A_LOG = 1000
"""How many replies are read of one log at a time: where logs are kept in Elasticsearch, each has 1000 lines."""

MOST_NAMED = 20
"""How many tasks or map indexes an error names."""


class TaskLogs:
    """Reads logs of task instances of one deployment."""

    def __init__(self, client: Client, runs: Runs, poller: Poller) -> None:
        self._client = client
        self._runs = runs
        self._poller = poller

    def read(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        *,
        on_line: Callable[[str], None],
        map_index: int = -1,
        try_number: int | None = None,
        poke_interval: float | None = None,
    ) -> Flow[TaskInstance]:
        """
        Read the log of a task instance; of a very long one, the end.

        :param on_line: is called with each line, and with a :class:`LogWarning` for what is no line of the log.
        :param map_index: of a mapped task; -1 of any other.
        :param try_number: which try, default the last one.
        :param poke_interval: read on in this interval, in seconds, until the try has ended; ``None`` does not.
        :return: the task instance, as last read.
        :raises NotFound: if there is no such run, task, instance or try, or if it has not started; with a
            ``poke_interval``, its start is waited for.
        :raises NotSupported: on 1.10.
        """
        dialect = yield from self._client.dialect()
        if not dialect.lists_task_instances:
            raise dialect.cannot("show the log of a task")
        run = DagRun(dag_id, run_id)
        instance = yield from self._find(run, task_id, map_index)
        if poke_interval is not None:
            instance = yield from self._started(run, instance, try_number, poke_interval, on_line)
        number = instance.try_number if try_number is None else try_number
        if number < 1 or (number > instance.try_number and instance.state in FINISHED_TASK_STATES):
            raise NotFound(
                f"Task {instance.name} of run {run_id!r} is {instance.state or 'not scheduled'}, and has had "
                f"{instance.try_number or 'no'} {'try' if instance.try_number == 1 else 'tries'}."
            )
        stream = LogStream(replace(instance, try_number=number))
        while True:
            over = poke_interval is None or instance.state not in GROWING or instance.try_number > number
            stream.ended = over
            yield from self._read_on(run, stream, on_line)
            if over or poke_interval is None:
                return instance
            yield Sleep(poke_interval)
            instance = yield from self._find(run, task_id, map_index)

    def text(
        self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1, try_number: int | None = None
    ) -> Flow[str]:
        """
        The log of a task instance; of a very long one, the end.

        :param map_index: as in :meth:`read`, like the others.
        :raises NotFound: as :meth:`read`.
        """
        lines: deque[str] = deque(maxlen=MOST_LINES)

        def keep(line: str) -> None:
            if not isinstance(line, LogWarning):
                lines.append(line)

        yield from self.read(dag_id, run_id, task_id, on_line=keep, map_index=map_index, try_number=try_number)
        return "\n".join(lines)

    def _started(
        self,
        run: DagRun,
        instance: TaskInstance,
        try_number: int | None,
        poke_interval: float,
        on_line: Callable[[str], None],
    ) -> Flow[TaskInstance]:
        """Wait until a try has started, or never will."""
        reported = False
        while _is_to_start(instance, try_number):
            if not reported:
                reported = True
                state = instance.state or "not scheduled"
                on_line(LogWarning(f"Task {instance.name} is {state}; waiting for the try to start"))
            yield Sleep(poke_interval)
            instance = yield from self._find(run, instance.task_id, instance.map_index)
        return instance

    def _read_on(self, run: DagRun, stream: LogStream, on_line: Callable[[str], None]) -> Flow[None]:
        """Read what a log has, after what was read of it."""
        for _ in range(MOST_REPLIES_OF_A_LOG):
            begins = not stream.sent
            part = yield from read_part(self._client, run, stream)
            lines = stream.new_lines(part)
            if begins and part.cut:
                on_line(
                    LogWarning(f"The log of {name_and_try(stream.instance)} is very long; its beginning is left out")
                )
            for line in lines:
                on_line(line)
            if not stream.has_more:
                return

    def _find(self, run: DagRun, task_id: str, map_index: int) -> Flow[TaskInstance]:
        dialect = yield from self._client.dialect()
        try:
            return (yield from self._client.request(dialect.task_instance(run, task_id, map_index)))
        except NotFound as error:
            # Raises what fits, if there is no such DAG or run.
            yield from self._runs.get(run.dag_id, run.run_id)
            why = _why_missing(task_id, map_index, (yield from self._poller.task_instances(run)))
            raise error.restated(NotFound, f"Run {run.run_id!r} of DAG {run.dag_id!r} {why}") from None


def _is_to_start(instance: TaskInstance, try_number: int | None) -> bool:
    """Whether the try is yet to start."""
    if instance.state in FINISHED_TASK_STATES:
        return False
    if try_number is not None and try_number != instance.try_number:
        return try_number > instance.try_number
    has_begun = instance.state not in NOT_BEGUN and instance.try_number > 0
    return not has_begun


def _why_missing(task_id: str, map_index: int, instances: list[TaskInstance]) -> str:
    indexes = sorted(each.map_index for each in instances if each.task_id == task_id)
    if not indexes:
        return f"has no task {task_id!r}. It has: {_first(sorted({each.task_id for each in instances}))}."
    if indexes == [-1]:
        return f"has no instance {map_index} of task {task_id!r}, which is not mapped."
    return (
        f"has several instances of task {task_id!r}, which is mapped. Choose one by its map index: {_first(indexes)}."
    )


def _first(names: list[str] | list[int]) -> str:
    more = ", …" if len(names) > MOST_NAMED else ""
    return f"{', '.join(map(str, names[:MOST_NAMED]))}{more}" if names else "none"
