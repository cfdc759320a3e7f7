"""A fake deployment that corrupts some of its replies, on a virtual clock."""

from __future__ import annotations

from random import Random
from typing import TypeVar

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.flow import Flow, Request, Response, TransportError
from astronomer_remote.testing import FakeDeployment, VirtualClock, drive
from tests.fuzz.mutations import spoil

T = TypeVar("T")

MOST_REQUESTS = 600
"""More than any flow here needs."""
MOST_SECONDS = 40 * 3600.0
"""Virtual time that a flow may take: the longest wait here has a limit of an hour."""


class Endless(BaseException):
    """A flow that does not end; no `except Exception` may hide it."""


class HostileRemote:
    """
    A fake deployment whose replies go wrong.

    :param version: of Airflow.
    :param random: decides what goes wrong.
    :param rate: share of the replies that are spoiled.
    """

    def __init__(self, version: str, random: Random, rate: float) -> None:
        self.clock = HostileClock()
        self.fake = FakeDeployment(version, clock=self.clock)
        self.sent = 0
        self.spoiled: list[str] = []
        self._random = random
        self._rate = rate
        self._replies: list[Response] = []
        self.settings = self.deployment().settings

    def deployment(self) -> Deployment:
        """A new connection to it."""
        return self.fake.deployment()

    def drive(self, flow: Flow[T]) -> T:
        """Run a flow. :raises Endless: if it sends or sleeps too much."""
        return drive(flow, self.send, clock=self.clock, reload=lambda: self.settings)

    def send(self, request: Request) -> Response | TransportError:
        """Answer a request, wrongly now and then."""
        self.sent += 1
        if self.sent > MOST_REQUESTS:
            raise Endless(f"more than {MOST_REQUESTS} requests, the last one {request}")
        return self._maybe_spoiled(request, self.fake.handle(request))

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


class HostileClock(VirtualClock):
    """A virtual clock that notices a pause that is too long, and waits without end."""

    def sleep(self, seconds: float) -> None:
        assert 0 <= seconds < MOST_SECONDS, f"a pause of {seconds} s"
        self.now += seconds
        if self.now > 1_800_000_000.0 + MOST_SECONDS:
            raise Endless(f"it still waits after {MOST_SECONDS:.0f} s")
