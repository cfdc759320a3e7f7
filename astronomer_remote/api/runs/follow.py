"""What somebody who waits for a run is told meanwhile: how far it is, and what its tasks write into their logs."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TypeVar

from astronomer_remote.api.client.client import Client, one_retry_budget
from astronomer_remote.api.client.paging import PageReader, instance_key
from astronomer_remote.api.dialects.base import Operation, Page
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    NotFound,
    PassingError,
    RemoteError,
    ReplyTooLarge,
    RequestRefused,
)
from astronomer_remote.api.protocol.flow import Flow, Sleep
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.waiting.log_stream import (
    LONGEST_RUN,
    SECONDS_BETWEEN_PROGRESS,
    LogStream,
    LogWarning,
    progress_line,
)
from astronomer_remote.api.waiting.waiter import Waiter

T = TypeVar("T")

log = logging.getLogger(__name__)

PAGES = 10
"""How many pages of a run's task instances are looked through for those whose logs are wanted."""

MOST_REPLIES = 5
"""How many replies are read for the end of a log."""

PAUSES_BEFORE_LAST_LINES = (0, 2, 4)
"""In seconds, before each attempt to read the last lines of the logs, which nobody could read later."""

SECONDS_FOR_LAST_LINES = 60.0
"""How long the last lines of the logs may hold up the end of a wait, but for a last request."""


class RunFollower:
    """Reads what there is to tell. Whatever keeps it from that, the wait goes on, and ends as it would have."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def check(self) -> Flow[None]:
        """:raises NotSupported: if the remote shows no logs."""
        dialect = yield from self._client.dialect()
        if not dialect.lists_task_instances:
            raise dialect.cannot("show the logs of a run's tasks")

    @one_retry_budget
    def follow(self, waiter: Waiter) -> Flow[None]:
        """Tell what has changed, now and then."""
        dialect = yield from self._client.dialect()
        run, now = waiter.followed_run, self._client.clock()
        if run is None or now < waiter.follow_due or not dialect.lists_task_instances:
            return
        waiter.follow_due = now + max(SECONDS_BETWEEN_PROGRESS, waiter.poke_interval)
        try:
            page = yield from self._instances(run, all_of_them=bool(waiter.streams.task_ids))
            self._report_progress(waiter, run, page)
            yield from self._report_logs(waiter, run, page, until=math.inf)
        except Exception as error:  # noqa: BLE001  # nothing that is only told may end a wait
            log.debug("Of run %s not all could be found out: %s", run.run_id, error)
            passing = isinstance(error, PassingError)
            waiter.follow_due = now + 10 * SECONDS_BETWEEN_PROGRESS if passing else math.inf
            _warn(waiter, error)

    @one_retry_budget
    def report_last_lines(self, waiter: Waiter) -> Flow[None]:
        """Tell, once the wait is over, what was written into the logs since the last look."""
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
                if not isinstance(error, PassingError) or self._client.clock() > until:
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
        yield from self._client.read_on(reading, PAGES if all_of_them else 1)
        return reading

    def _report_progress(self, waiter: Waiter, run: DagRun, page: PageReader[TaskInstance]) -> None:
        if not waiter.progressing:
            return
        if page.total > LONGEST_RUN:
            waiter.progressing = False
            waiter.notify(f"Run {run.run_id} has {page.total} task instances; of so many no progress is told.")
            return
        line = progress_line(page.items)
        if page.items and line != waiter.progress:
            waiter.progress = line
            waiter.notify(line)

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
        except PassingError:
            raise
        except RemoteError as error:
            _warn(waiter, error)
            if isinstance(error, AccessDenied):
                waiter.streams.stop()
                return False
        return True

    def _read(self, run: DagRun, stream: LogStream) -> Flow[Sequence[str]]:
        """What is new in a log."""
        dialect = yield from self._client.dialect()
        try:
            return stream.take((yield from self._request_once(dialect.log_part(run, stream.instance, stream.token))))
        except RequestRefused:
            if stream.token:
                # It holds until the remote's web server gets another key; without it the log is told from its start.
                stream.token = None
                return stream.take((yield from self._request_once(dialect.log_part(run, stream.instance))))
            stream.over = True
            raise
        except NotFound:
            stream.over = True
            raise

    def _request_once(self, operation: Operation[T]) -> Flow[T]:
        # Once: it is not worth holding up the wait, and perhaps others.
        return (yield from self._client.request(operation.once()))


def _warn(waiter: Waiter, error: Exception) -> None:
    """Say once that logs which are wanted cannot be had."""
    if waiter.streams.task_ids and not waiter.streams.warned:
        waiter.streams.warned = True
        waiter.notify(LogWarning(f"Not all of the remote tasks' logs can be told: {error}"))
