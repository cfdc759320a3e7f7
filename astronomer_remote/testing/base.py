"""What the fakes of all generations have in common: a table of endpoints, dates, and lookups."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any, TypeAlias
from urllib.parse import unquote

from astronomer_remote.api.protocol.models import Version, parse_date
from astronomer_remote.testing.contents import READER, Accounts, Contents, FakeDag, FakePool, FakeRun
from astronomer_remote.testing.server import RecordedRequest, Reply

Endpoint: TypeAlias = tuple[str, str, Callable[..., Reply]]
"""Verb, path with ``{}`` for each id, and the method that replies, which gets the request and the ids."""

PAGE_NOT_FOUND = Reply(404, "<html><title>Airflow 404</title></html>", "text/html; charset=utf-8")
BROKEN = Reply(500, "<html><title>Airflow 500</title></html>", "text/html; charset=utf-8")
"""What Airflow before 3 returns for an unhandled exception."""


class Refused(Exception):
    """Carries the reply that refuses a request."""

    def __init__(self, answer: Reply) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Api(ABC):
    """
    The API of one generation.

    :param contents: DAGs, runs, pools and so on.
    :param accounts: users and their logins; ``None`` accepts every request.
    :param version: version of Airflow.
    """

    first_state = "queued"
    """State of a new run."""

    unquotes_first = True
    """Whether an id with a slash is lost, because the path is unquoted before it is taken apart."""

    keep_alive = False

    def __init__(self, contents: Contents, accounts: Accounts | None, version: Version) -> None:
        self.contents = contents
        self.accounts = accounts or Accounts({})
        self._is_open = accounts is None
        self.version = version
        self._open = [_compiled(endpoint) for endpoint in self.open_endpoints()]
        self._closed = [_compiled(endpoint) for endpoint in self.endpoints()]

    @abstractmethod
    def open_endpoints(self) -> Iterable[Endpoint]:
        """Endpoints that need no login."""

    @abstractmethod
    def endpoints(self) -> Iterable[Endpoint]:
        """Endpoints that need a login."""

    def user_of(self, request: RecordedRequest) -> str:
        """The user of a request. :raises Refused: if its credentials are missing or wrong."""
        return "anonymous"

    def forbidden(self) -> Reply:
        """The reply to a user who may only read; 1.10 has no users."""
        return Reply(403, "Forbidden", "text/html; charset=utf-8")

    @abstractmethod
    def missing(self, what: str) -> Reply:
        """The reply for something that does not exist."""

    def unknown_path(self, request: RecordedRequest) -> Reply:
        """The reply for an endpoint that does not exist."""
        return PAGE_NOT_FOUND

    def answer(self, request: RecordedRequest) -> Reply:
        """Reply to a request."""
        path = unquote(request.path) if self.unquotes_first else request.path
        try:
            for endpoints, is_open in ((self._open, True), (self._closed, False)):
                found = _match(endpoints, request.method, path)
                if found is None:
                    continue
                wants_login = not (is_open or self._is_open)
                if wants_login and self.user_of(request) == READER and self.writes(request):
                    return self.forbidden()
                answer, ids = found
                return answer(request, *(ids if self.unquotes_first else map(unquote, ids)))
        except Refused as refused:
            return refused.answer
        return self.unknown_path(request)

    def writes(self, request: RecordedRequest) -> bool:
        """Whether a request would change something."""
        return request.method != "GET" and not request.path.endswith("/list")

    # Lookups

    def dag(self, dag_id: str) -> FakeDag:
        dag = self.contents.dags.get(dag_id)
        if dag is None:
            raise Refused(self.missing(f"DAG {dag_id}"))
        return dag

    def run(self, dag_id: str, run_id: str) -> tuple[FakeDag, FakeRun]:
        dag = self.contents.dags.get(dag_id)
        run = dag.runs.get(run_id) if dag else None
        if dag is None or run is None:
            raise Refused(self.missing(f"DAGRun with DAG ID: '{dag_id}' and DagRun ID: '{run_id}'"))
        return dag, run

    def pool(self, name: str) -> FakePool:
        pool = self.contents.pools.get(name)
        if pool is None:
            raise Refused(self.missing(f"Pool {name}"))
        return pool

    def known_task(self, dag_id: str, task_id: str) -> FakeDag:
        dag = self.dag(dag_id)
        if task_id not in dag.tasks:
            raise Refused(self.missing(f"Task {task_id}"))
        return dag

    def add_run(self, run: FakeRun) -> FakeRun:
        """Store a new run."""
        dag = self.dag(run.dag_id)
        run.polls_left = dag.polls
        if run.state != "queued":
            run.start_date = run.start_date or run.run_after
        dag.runs[run.run_id] = run
        return run

    def health(self, request: RecordedRequest) -> Reply:
        """The health, in the same form in every generation."""
        beat = self.date(self.contents.now())
        body: dict[str, Any] = {"metadatabase": {"status": "healthy"}}
        for name, status in self.components().items():
            body[name] = {"status": status, f"latest_{name}_heartbeat": beat if status else None}
        return Reply(200, body)

    def components(self) -> dict[str, str | None]:
        """States of the components besides the database."""
        return {"scheduler": "healthy"}

    def date(self, moment: datetime | None) -> str | None:
        """A date as this generation writes it."""
        return moment.astimezone(timezone.utc).isoformat() if moment else None


def moment(text: Any) -> datetime:
    """Read a date. :raises ValueError: if it is none, or has no zone, which newer versions refuse."""
    found = parse_date(str(text))
    if found.tzinfo is None:
        raise ValueError(f"{text} has no zone")
    return found.astimezone(timezone.utc)


def within(value: Callable[[str], Any], fields: Iterable[str]) -> Callable[[Callable[[str], datetime | None]], bool]:
    """
    A filter by ``<field>_gte`` and ``<field>_lte``. A date that is not set is within no bounds.

    :param value: reads a parameter of the request.
    :param fields: dates that can be filtered by.
    :return: takes what reads a date by its field. :raises ValueError: if a bound is not a date.
    """
    named = [(field, value(f"{field}_gte"), value(f"{field}_lte")) for field in fields]
    bounds = [
        (field, None if low is None else moment(low), None if high is None else moment(high))
        for field, low, high in named
        if (low, high) != (None, None)
    ]

    def matches(date_of: Callable[[str], datetime | None]) -> bool:
        dates = [(date_of(field), low, high) for field, low, high in bounds]
        return all(
            date is not None and (low is None or date >= low) and (high is None or date <= high)
            for date, low, high in dates
        )

    return matches


def _compiled(endpoint: Endpoint) -> tuple[str, re.Pattern[str], Callable[..., Reply]]:
    method, path, answer = endpoint
    return method, re.compile(re.escape(path).replace(r"\{\}", "([^/]+)")), answer


def _match(
    endpoints: Iterable[tuple[str, re.Pattern[str], Callable[..., Reply]]], method: str, path: str
) -> tuple[Callable[..., Reply], tuple[str, ...]] | None:
    for verb, pattern, answer in endpoints:
        found = pattern.fullmatch(path)
        if found and verb == method:
            return answer, found.groups()
    return None
