"""The requests in the access log of a deployment's web server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from dev.versions import Release

if TYPE_CHECKING:
    from dev.deployments import Airflow

# As gunicorn writes it, and as Airflow 3 does.
REQUEST = re.compile(r'"(?P<method>[A-Z]+) (?P<path>/\S*) HTTP|method=(?P<verb>[A-Z]+) path=(?P<where>/\S*)')


class LoggedRequest(NamedTuple):
    """One request; Airflow 3 leaves out the query."""

    method: str
    path: str


def logged_requests(deployment: Airflow) -> Iterator[LoggedRequest]:
    """Every request since it was first started, from any client."""
    web = Release.parse(deployment.version).web
    with (deployment.home.parent / "logs" / f"{web}.log").open(errors="replace") as lines:
        for found in map(REQUEST.search, lines):
            if found:
                yield LoggedRequest(found["method"] or found["verb"], found["path"] or found["where"])
