"""A remote in memory that spoils some of its replies, and a flow's way to it in which no time passes."""

from __future__ import annotations

from random import Random
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlencode

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.flow import Compute, Flow, Reload, Request, Response, Sleep, Step, TransportError
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.server import RecordedRequest, Reply
from tests.fuzz.mutations import spoil

T = TypeVar("T")

URL = "http://airflow.test"
MOST_REQUESTS = 600
"""More than any conversation here needs: whoever sends more would go on for ever."""
MOST_SECONDS = 40 * 3600.0
"""Virtual time that a conversation may take: the longest wait here has a limit of an hour."""


class Endless(BaseException):
    """A conversation that does not come to its end; no `except Exception` may hide it."""


class HostileRemote:
    """
    A fake deployment whose replies go wrong.

    :param version: of Airflow.
    :param random: decides what goes wrong.
    :param rate: share of the replies that are spoiled.
    """

    def __init__(self, version: str, random: Random, rate: float) -> None:
        self.fake = FakeDeployment(version)
        self.now = 1_800_000_000.0
        self.sent = 0
        self.spoiled: list[str] = []
        self._random = random
        self._rate = rate
        self._replies: list[Response] = []
        login = {} if version.startswith("1.") else {"login": "admin", "password": "admin"}
        self.settings = Settings.parse(host=URL, **login)

    def deployment(self) -> Deployment:
        """What speaks to it, with a clock that moves only when a flow sleeps."""
        client = Client(self.settings, clock=lambda: self.now, jitter=lambda: 0.5)
        return Deployment(self.settings, client=client)

    def drive(self, flow: Flow[T]) -> T:
        """Run a flow to its end. :raises Endless: if it sends or sleeps too much."""
        outcome: Any = None
        try:
            while True:
                step = flow.throw(outcome) if isinstance(outcome, TransportError) else flow.send(outcome)
                outcome = self.carry_out(step)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        finally:
            flow.close()

    def carry_out(self, step: Step) -> Any:
        if isinstance(step, Sleep):
            return self.sleep(step.seconds)
        if isinstance(step, Compute):
            return step.run()
        return self.settings if isinstance(step, Reload) else self.send(step)

    def sleep(self, seconds: float) -> None:
        assert 0 <= seconds < MOST_SECONDS, f"a pause of {seconds} s"
        self.now += seconds
        if self.now > 1_800_000_000.0 + MOST_SECONDS:
            raise Endless(f"it still waits after {MOST_SECONDS:.0f} s")

    def send(self, request: Request) -> Response | TransportError:
        """Answer a request, wrongly now and then."""
        self.sent += 1
        if self.sent > MOST_REQUESTS:
            raise Endless(f"more than {MOST_REQUESTS} requests, the last one {request}")
        answer = self.fake._answer(_asked(request))
        if answer is None:
            return TransportError("the connection was cut")
        return self._maybe_spoiled(request, _response(answer))

    def _maybe_spoiled(self, request: Request, response: Response) -> Response | TransportError:
        self._replies.append(response)
        if self._random.random() >= self._rate:
            return response
        what, changed = self._wrong(response)
        self.spoiled.append(f"{request.method} {request.target[:120]}: {what}")
        return changed

    def _wrong(self, response: Response) -> tuple[str, Response | TransportError]:
        kind = self._random.random()
        if kind < 0.05:
            return "lost", TransportError("RemoteDisconnected")
        if kind < 0.15:
            return "the reply to another request", self._random.choice(self._replies)
        return spoil(response, self._random)


def _asked(request: Request) -> RecordedRequest:
    path, _, query = request.target.partition("?")
    headers = {name.lower(): text for name, text in request.headers.items()}
    body = urlencode(request.form).encode() if request.form is not None else request.content() or b""
    return RecordedRequest(request.method, path, parse_qs(query, keep_blank_values=True), headers, body)


def _response(answer: Reply) -> Response:
    headers = {"content-type": answer.content_type, **{name.lower(): text for name, text in answer.headers.items()}}
    return Response(answer.status, headers, answer.content())
