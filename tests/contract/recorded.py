"""Requests to real deployments and their replies, as `record.py` wrote them, for any test that needs real replies."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import RemoteError
from astronomer_remote.api.protocol.flow import Flow, Request, Response
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.testing import drive

T = TypeVar("T")

FOLDER = Path(__file__).parent / "replies"
BASE_URL = "http://airflow.test"
"""What stands for the deployment's URL."""

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d(?::|%3A)\d\d(?::|%3A)\d\d(?:\.\d{3}(?:000)?)?")
AT_ONCE = timedelta(seconds=1)
"""Longer than any flow takes by the clock of a recording."""


@dataclass(frozen=True)
class Recorded:
    """
    One request and its reply.

    :param request: method, path, query, body and so on, as :func:`described`.
    :param response: what came back; HTML is cut down to its title and the fields of its form.
    """

    request: dict[str, Any]
    response: Response


@dataclass(frozen=True)
class Recording:
    """
    One flow.

    :param started: when, in seconds since the epoch.
    :param operations: its requests and replies.
    :param outcome: what it came to, in plain JSON.
    """

    started: float
    operations: list[Recorded]
    outcome: Any

    @property
    def response(self) -> Response:
        """The reply to the last request."""
        return self.operations[-1].response


def versions() -> list[str]:
    """The versions of Airflow that were recorded, oldest first."""
    return sorted((file.stem for file in FOLDER.glob("*.json")), key=lambda text: [int(n) for n in text.split(".")])


@cache
def replies(version: str) -> dict[str, Recording]:
    """The recordings of one version, by the name of the flow."""
    return {name: _recording(facts) for name, facts in document(version)["flows"].items()}


def roles(version: str) -> dict[str, dict[str, int]]:
    """The HTTP statuses that Airflow's own roles met, by the name of the operation and the role."""
    found: dict[str, dict[str, int]] = document(version)["roles"]
    return found


@cache
def document(version: str) -> dict[str, Any]:
    """The file of one version."""
    found: dict[str, Any] = json.loads((FOLDER / f"{version}.json").read_text())
    return found


def _recording(facts: dict[str, Any]) -> Recording:
    operations = [Recorded(each["request"], _response(each["response"])) for each in facts["operations"]]
    return Recording(facts["started"], operations, facts["outcome"])


def _response(facts: dict[str, Any]) -> Response:
    body = json.dumps(facts["json"]) if "json" in facts else facts["text"]
    return Response(facts["status"], facts["headers"], body.encode())


def described(request: Request) -> dict[str, Any]:
    """A request in plain JSON, in which the credentials are named by their kind alone."""
    kinds = {"Authorization": request.headers.get("Authorization", "").partition(" ")[0], "Cookie": "Cookie"}
    facts = {
        "method": request.method,
        "path": request.path,
        "query": dict(request.query),
        "body": request.body,
        "form": request.form,
        "credentials": next((kind for header, kind in kinds.items() if header in request.headers), None),
    }
    return {name: value for name, value in facts.items() if value not in (None, {})}


def plain(outcome: Any) -> Any:
    """An outcome in plain JSON. An error's own words are this package's, not the deployment's, and may change."""
    if isinstance(outcome, RemoteError):
        return {"error": type(outcome).__name__, "status": outcome.status, "detail": outcome.detail}
    if isinstance(outcome, (list, tuple)):
        return [plain(item) for item in outcome]
    if is_dataclass(outcome) and not isinstance(outcome, type):
        known = {each.name for each in fields(outcome) if each.compare}
        return {name: part for name, part in json.loads(json.dumps(asdict(outcome))).items() if name in known}
    return outcome


def administrator(base_url: str, authorization: str) -> Settings:
    """Settings of an account whose login is not part of each flow: the header that it leads to is sent as it is."""
    return Settings(base_url, password=authorization, authentication="software_api_key")


class _Client(Client):
    """One whose dates do not depend on when other flows ran."""

    def remote_clock(self) -> float:
        return self.clock()


def deployment(settings: Settings, started: float) -> Deployment:
    """
    A deployment whose clock advances by a millisecond each time it is read.

    It does not retry, so that a busy deployment causes a failure and not a recording.
    """
    client = _Client(settings, retry=RetryPolicy(attempts=1), clock=_clock(started))
    return Deployment(settings, client=client)


def _clock(started: float) -> Callable[[], float]:
    polls = count()
    return lambda: round(started + next(polls) / 1000, 3)


class Moments:
    """
    Which moment of a recording is which one now.

    A flow that chooses a date takes it from a clock, which shows another time if the code looks at it more often than
    it did when the recording was made. That is no difference in what is said.
    """

    def __init__(self) -> None:
        self._now: dict[str, str] = {}
        """By the recorded moment, both to the millisecond."""

    def meet(self, said: Any, recorded: Any) -> None:
        """Learn from two requests that should be the same, as plain JSON."""
        pairs = zip(*(map(unquote, MOMENT.findall(json.dumps(each))) for each in (recorded, said)), strict=False)
        for then, now in pairs:
            if abs(datetime.fromisoformat(then) - datetime.fromisoformat(now)) < AT_ONCE:
                self._now.setdefault(then, now)

    def as_recorded(self, said: Any) -> Any:
        """What was said, in plain JSON, with the recorded moments."""
        return _replaced(said, {now: then for then, now in self._now.items()})

    def as_now(self, response: Response) -> Response:
        """A recorded reply with the moments of now."""
        body = _replaced(response.body.decode(), self._now)
        return replace(response, body=body.encode())


def _replaced(value: Any, moments: dict[str, str]) -> Any:
    if isinstance(value, str):
        # In a URL, its colons are quoted.
        quoted = {quote(before): quote(after) for before, after in moments.items()}
        return MOMENT.sub(lambda found: (moments | quoted).get(found[0], found[0]), value)
    return json.loads(_replaced(json.dumps(value), moments))


def replay(flow: Flow[T], operations: list[Recorded], moments: Moments | None = None) -> T:
    """Run a flow on recorded replies; it must send exactly the recorded requests."""
    left: Iterator[Recorded] = iter(operations)
    moments = moments or Moments()

    def reply(request: Request) -> Response:
        recorded = next(left, None)
        sent = described(request)
        assert recorded, f"it sends more than was recorded: {sent}"
        moments.meet(sent, recorded.request)
        assert moments.as_recorded(sent) == recorded.request
        return moments.as_now(recorded.response)

    result = drive(flow, reply)
    assert next(left, None) is None, "it sends less than was recorded"
    return result
