"""A fake deployment for tests of pools, in whose requests a test can interfere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from astronomer_remote.api.protocol.flow import Flow, Request, Response, TransportError
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.contents import FakePool
from tests.api.script import ScriptedRemote

T = TypeVar("T")

Reply = Response | TransportError


class PoolRemote(ScriptedRemote):
    """
    A remote that keeps pools.

    :param version: version of Airflow.
    :param pools: slots, or fields, by name, besides ``default_pool``.
    """

    def __init__(self, version: str, pools: Mapping[str, Any] | None = None) -> None:
        super().__init__(version=version)
        self.fake = FakeDeployment(version, login=None, clock=self.clock)
        for name, given in (pools or {}).items():
            fields = given if isinstance(given, Mapping) else {"slots": given}
            self.fake.add_pool(name, **{field: value for field, value in fields.items() if value is not None})
        self.interfere: Callable[[Request], Reply | None] = lambda request: None
        """Called before each request. Its reply is used; with ``None`` the fake deployment replies."""

    @property
    def pools(self) -> dict[str, FakePool]:
        return self.fake._contents.pools

    def run(self, flow: Flow[T]) -> T:
        """Run a flow."""
        return self.drive(flow, lambda request: self.interfere(request) or self.fake.handle(request))

    def methods(self) -> list[str]:
        """HTTP methods of the requests so far."""
        return [request.method for request in self.requests]

    def sizes(self) -> dict[str, int]:
        """Slots by name."""
        return self.fake.pools()


def at(method: str, *, first: int = 1) -> Callable[[Request], bool]:
    """Whether a request is one of the first of a method."""
    left = [first]

    def matches(request: Request) -> bool:
        if request.method != method or left[0] == 0:
            return False
        left[0] -= 1
        return True

    return matches
