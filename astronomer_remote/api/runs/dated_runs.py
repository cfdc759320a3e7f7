"""Flows about runs by date: the one of a data interval, and which ones are near a date."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from astronomer_remote.api.client.client import Client, one_retry_budget
from astronomer_remote.api.protocol.errors import (
    DagNotFound,
    PermanentError,
    ReplyTooLarge,
    TransientError,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import DagRun, DatedRun, parse_date, same_moment, utc_text
from astronomer_remote.api.waiting.target import BY_DATA_INTERVAL_END, NO_SUCH_DAG, WaitTarget

T = TypeVar("T")

RUNS_WITH_A_SCHEDULE = frozenset({"scheduled", "backfill"})
"""Types of runs whose data interval is that of the schedule; that of a manual run is guessed by Airflow."""

PAGE_OF_RUNS = 20
"""How many runs are read at a time: the right one is nearly always among the first."""

MOST_PAGES_OF_RUNS = 10
"""How many pages are read at most, where very many manual runs are dated after the right one."""


class DatedRuns:
    """Finds runs of one deployment by dates."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @one_retry_budget
    def of_interval_end(self, dag_id: str, date: str) -> Flow[DagRun | None]:
        """
        The scheduled run whose data interval ends at a date, however its Airflow dates runs.

        :param date: ISO 8601 in UTC.
        :raises NotSupported: if the remote does not show data intervals.
        """
        dialect = yield from self._client.dialect()
        if not dialect.has_data_intervals:
            raise dialect.cannot("show the data intervals of runs", "Airflow 2.4 and later can.")
        looked, limit = 0, PAGE_OF_RUNS
        while looked < MOST_PAGES_OF_RUNS * PAGE_OF_RUNS:
            # A run is dated by the start of its interval, or by its end, and so never later than that.
            listing = dialect.runs_near(dag_id, date, earlier=True, limit=limit, offset=looked)
            try:
                found = yield from self._client.request(listing)
            except ReplyTooLarge:
                # The confs of so many runs are too much for one reply.
                if limit == 1:
                    raise
                limit //= 2
                continue
            looked += limit
            for each in found.items:
                if each.run.run_type not in RUNS_WITH_A_SCHEDULE or each.data_interval_end is None:
                    continue
                if same_moment(each.data_interval_end, date):
                    return each.run
                if _moment(each.data_interval_end) < _moment(date):
                    # Of a schedule, an earlier date has an earlier interval.
                    return None
            if found.entries < limit:
                return None
        return None

    @one_retry_budget
    def why_none(self, target: WaitTarget, *, once: bool = True) -> Flow[str | None]:
        """
        Why there may be no run that is waited for, in a line for the log.

        :param once: whether there are no retries.
        :return: ``""`` if the remote shows no reason; ``None`` if it may show one later.
        """
        dialect = yield from self._client.dialect()
        try:
            dag = dialect.dag(target.dag_id)
            yield from self._client.request(dag.once() if once else dag)
        except DagNotFound:
            return f"Nothing found yet: {NO_SUCH_DAG}: {target.dag_id!r}."
        except (PermanentError, UnexpectedReply):
            return ""
        except TransientError:
            return None
        if not (target.logical_dates and dialect.orders_runs):
            return ""
        date, by_interval = target.logical_dates[0], target.match_by == BY_DATA_INTERVAL_END
        near: list[DatedRun] = []
        all_read = True
        for earlier in (True, False):
            listing = partial(dialect.runs_near, target.dag_id, date, earlier=earlier, limit=1)
            try:
                page = yield from self._client.request_or_none(listing, once=once)
            except TransientError:
                page, all_read = None, False
            near += page.items if page else []
        said = [each for each in (_distance(run, date, by_interval=by_interval) for run in near) if each]
        if not (said or all_read):
            return None
        if not said:
            return f"DAG {target.dag_id!r} has no run near {date} yet."
        hint = ""
        if not by_interval and dialect.has_data_intervals:
            hint = (
                " Where it is a matter of how Airflow dates scheduled runs (by the start of their data interval in"
                " Airflow 2, by the time they are due in Airflow 3), match_by='data_interval_end' fits all of them."
            )
        of = "whose data interval ends at" if by_interval else "of"
        return f"DAG {target.dag_id!r} has no run {of} {date} yet, but {'; and '.join(said)}.{hint}"


def _moment(date: str) -> datetime:
    return parse_date(utc_text(date, "date"))


def _distance(dated: DatedRun, date: str, *, by_interval: bool) -> str:
    """By how much a run misses a date."""
    found = dated.data_interval_end if by_interval else dated.run.logical_date
    if found is None:
        return ""
    missed = _moment(date) - _moment(found)
    way = "longer" if missed > timedelta() else "shorter"
    seconds = f"{abs(missed).total_seconds():g}"
    return (
        f"{dated.run.run_id!r} of {utc_text(found, 'date')}, which an execution_delta would fit that is {way} by "
        f"{abs(missed)} (timedelta(seconds={seconds}))"
    )
