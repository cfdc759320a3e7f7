"""Runs flows in a test: no socket, no event loop, and no time passes but on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar, cast

from astronomer_remote.api.protocol.flow import Compute, Flow, Reload, Request, Response, Sleep, TransportError
from astronomer_remote.api.protocol.settings import Settings

T = TypeVar("T")

Handler: TypeAlias = Callable[[Request], Response | TransportError]


class VirtualClock:
    """
    A clock that moves only when a flow pauses or a test sets :attr:`now`.

    :param now: seconds since the epoch, default January 2027.
    """

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now
        self.sleeps: list[float] = []
        """Seconds of each pause so far."""

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Move on at once."""
        self.sleeps.append(seconds)
        self.now += seconds


def drive(
    flow: Flow[T],
    handler: Handler,
    *,
    clock: VirtualClock | None = None,
    reload: Callable[[], Settings] | None = None,
    max_requests: int = 10_000,
) -> T:
    """
    Run a flow, as the drivers of this package do, against a function in place of a network.

    :param flow: for example ``deployment.trigger_dag_run("load")``.
    :param handler: answers a request: :meth:`FakeDeployment.handle`, or a function of yours. A
        :class:`~astronomer_remote.api.protocol.flow.TransportError` that it raises or returns reaches the flow as a
        lost reply; every other exception ends the flow.
    :param clock: moves on when the flow pauses. Pass the one that the flow's deployment reads, if it waits with a
        deadline.
    :param reload: reads the connection again after its secret was refused; default: not expected.
    :param max_requests: after so many requests, a flow that is still not over is an error.
    :return: what the flow returns.
    :raises RuntimeError: if the flow does not end.
    """
    clock = clock or VirtualClock()
    sent = 0
    outcome: Any = None
    try:
        while True:
            step = flow.throw(outcome) if isinstance(outcome, TransportError) else flow.send(outcome)
            outcome = None
            if isinstance(step, Sleep):
                clock.sleep(step.seconds)
            elif isinstance(step, Compute):
                outcome = step.run()
            elif isinstance(step, Reload):
                if reload is None:
                    raise RuntimeError("The flow reads the connection again: pass `reload`.")
                outcome = reload()
            elif sent == max_requests:
                raise RuntimeError(f"The flow is not over after {sent} requests. The next one: {step}")
            else:
                sent += 1
                outcome = _reply(handler, step)
    except StopIteration as end:
        return cast("T", end.value)
    finally:
        flow.close()


def _reply(handler: Handler, request: Request) -> Response | TransportError:
    try:
        return handler(request)
    except TransportError as error:
        return error
