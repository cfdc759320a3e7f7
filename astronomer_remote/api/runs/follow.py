"""What a wait for a run logs meanwhile: the progress of the run, and new lines of its tasks' logs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

from astronomer_remote.api.client.client import Client, one_retry_budget
from astronomer_remote.api.client.paging import PageReader, instance_key
from astronomer_remote.api.dialects.base import Operation, Page
from astronomer_remote.api.dialects.logs import LogPart
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    NotFound,
    RemoteError,
    RemoteUnavailable,
    ReplyTooLarge,
    RequestRefused,
    TransientError,
)
from astronomer_remote.api.protocol.flow import Flow, Sleep
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.waiting.log_stream import (
    LONGEST_RUN,
    SECONDS_BETWEEN_PROGRESS,
    LogStream,
    LogWarning,
    Progress,
    progress_line,
)
from astronomer_remote.api.waiting.waiter import Waiter

log = logging.getLogger(__name__)

PAGES_OF_TASKS = 10
"""How many pages of a run's task instances are read to find those whose logs are shown."""

MOST_REPLIES = 5
"""How many replies are read for the end of a log."""

PAUSES_BEFORE_LAST_LINES = (0, 2, 4)
"""Seconds before each attempt to read the last lines of the logs, which are not read later."""

LONGEST_PAUSE = 10 * SECONDS_BETWEEN_PROGRESS
"""Seconds after a failure until progress and logs are read again, at most; two intervals after the first one."""

FULL_PAUSE = 10
"""Failures in a row, after which the pause is no longer doubled."""

SECONDS_FOR_LAST_LINES = 60.0
"""How long the last lines of the logs may hold up the end of a wait, but for a last request."""


class RunFollower:
    """Reads progress and logs of runs. If that fails, the wait continues and ends as it would have."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def check(self) -> Flow[None]:
        """:raises NotSupported: if the remote shows no logs."""
        dialect = yield from self._client.dialect()
        if not dialect.lists_task_instances:
            raise dialect.cannot("show the logs of a run's tasks")

    @one_retry_budget
    def follow(self, waiter: Waiter) -> Flow[None]:
        """Report what has changed, if it is due."""
        dialect = yield from self._client.dialect()
        run, now = waiter.followed_run, self._client.clock()
        if run is None or now < waiter.follow_due or not dialect.lists_task_instances:
            return
        waiter.follow_due = now + max(0.0 if waiter.on_progress else SECONDS_BETWEEN_PROGRESS, waiter.poke_interval)
        try:
            page = yield from self._instances(run, all_of_them=bool(waiter.streams.task_ids))
            self._report_progress(waiter, run, page)
            if waiter.streams.task_ids:
                yield from self._report_logs(waiter, run, page, until=math.inf)
            waiter.follow_failures = 0
        except Exception as error:  # noqa: BLE001  # what is only logged must not end a wait
            log.debug("Of run %s not all could be found out: %s", run.run_id, error)
            waiter.follow_failures += 1
            waiter.follow_due = now + _pause_after(error, waiter)
            _warn(waiter, error)

    @one_retry_budget
    def report_last_lines(self, waiter: Waiter) -> Flow[None]:
        """Report, once the wait is over, what was written into the logs since the last poll."""
        run = waiter.run
        if run is None or not waiter.streams.task_ids:
            return
        until = self._client.clock() + SECONDS_FOR_LAST_LINES
        for pause in PAUSES_BEFORE_LAST_LINES:
            yield Sleep(pause)
            try:
                page = yield from self._instances(run, all_of_them=True)
                yield from self._report_logs(waiter, run, page, until=until)
            except Exception as error:  # noqa: BLE001  # likewise
                failure = error
                if not isinstance(error, TransientError) or self._client.clock() > until:
                    break
            else:
                return
        _warn(waiter, failure)

    def _instances(self, run: DagRun, *, all_of_them: bool) -> Flow[PageReader[TaskInstance]]:
        """The task instances of a run; of a large one only the first."""
        dialect = yield from self._client.dialect()

        def page(offset: int, limit: int) -> Operation[Page[TaskInstance]]:
            return dialect.task_instances(run, limit=limit, offset=offset).once()

        reading = PageReader(page, instance_key, limit=LONGEST_RUN)
        yield from self._client.read_on(reading, PAGES_OF_TASKS if all_of_them else 1)
        return reading

    def _report_progress(self, waiter: Waiter, run: DagRun, page: PageReader[TaskInstance]) -> None:
        if not waiter.progressing:
            return
        if page.total > LONGEST_RUN:
            waiter.progressing = False
            waiter.notify(f"Run {run.run_id} has {page.total} task instances, too many to log its progress.")
            return
        if waiter.on_progress:
            waiter.on_progress(page.items)
        line = progress_line(page.items)
        if page.items and line != waiter.progress:
            waiter.progress = line
            waiter.notify(Progress(line))

    def _report_logs(self, waiter: Waiter, run: DagRun, page: PageReader[TaskInstance], *, until: float) -> Flow[None]:
        due, remarks = waiter.streams.due(page.items, complete=page.whole)
        for remark in remarks:
            waiter.notify(remark)
        for stream in due:
            if self._client.clock() > until:
                waiter.notify(LogWarning("Reading logs took too long; what was written last is in the remote."))
                return
            if not (yield from self._report_log(waiter, run, stream)):
                return

    def _report_log(self, waiter: Waiter, run: DagRun, stream: LogStream) -> Flow[bool]:
        """Show what is new in one log. :return: whether the other logs are worth a request."""
        try:
            for _ in range(MOST_REPLIES):
                for line in (yield from self._read(run, stream)):
                    waiter.notify(line)
                if not stream.has_more:
                    break
        except ReplyTooLarge as error:
            # Of this log alone no more can be read.
            stream.over = True
            _warn(waiter, error)
        except TransientError:
            raise
        except RemoteError as error:
            _warn(waiter, error)
            if isinstance(error, AccessDenied):
                waiter.streams.stop()
                return False
        return True

    def _read(self, run: DagRun, stream: LogStream) -> Flow[Sequence[str]]:
        """What is new in a log."""
        try:
            # Once: it is not worth holding up the wait, and perhaps others.
            return stream.take((yield from read_part(self._client, run, stream, once=True)))
        except (RequestRefused, NotFound):
            stream.over = True
            raise


def _pause_after(error: Exception, waiter: Waiter) -> float:
    """Seconds until progress and logs are read again."""
    if not isinstance(error, TransientError):
        return math.inf
    requested = (error.retry_after if isinstance(error, RemoteUnavailable) else None) or 0.0
    return min(LONGEST_PAUSE, max(requested, math.ldexp(waiter.poke_interval, min(waiter.follow_failures, FULL_PAUSE))))


def _warn(waiter: Waiter, error: Exception) -> None:
    """Log once that logs cannot be read."""
    if waiter.streams.task_ids and not waiter.streams.warned:
        waiter.streams.warned = True
        waiter.notify(LogWarning(f"Could not read all logs of the remote tasks: {error}"))


def read_part(client: Client, run: DagRun, stream: LogStream, *, once: bool = False) -> Flow[LogPart]:
    """
    What a log has after what was read of it; all of it, if the remote cannot continue there.

    :param once: whether each request is sent once only.
    """
    return (yield from client.with_retry_budget(_read_part(client, run, stream, once=once)))


def _read_part(client: Client, run: DagRun, stream: LogStream, *, once: bool) -> Flow[LogPart]:
    dialect = yield from client.dialect()
    while stream.token:
        try:
            return (yield from client.request(dialect.log_part(run, stream.instance, stream.token).once()))
        except RequestRefused:
            # A token is valid until the remote's web server gets another key. All of the log comes again.
            stream.token = None
        except ReplyTooLarge:
            raise
        except TransientError as error:
            if dialect.breaks_on_log_tokens and error.status == 500:
                stream.continues, stream.token = False, None
            elif once:
                raise
            else:
                yield from client.back_off(error)
    operation = dialect.log_part(run, stream.instance)
    return (yield from client.request(operation.once() if once else operation))
