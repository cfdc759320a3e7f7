"""Flows against a function: what a user's test and the tests here rely on."""

from __future__ import annotations

import pytest

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.protocol.errors import AuthenticationFailed, NotFound, Unreachable
from astronomer_remote.api.protocol.flow import Compute, Flow, Reload, Request, Response, Sleep, TransportError
from astronomer_remote.api.waiting.target import WaitStatus, WaitTarget
from astronomer_remote.testing import FakeDeployment, VirtualClock, drive

VERSIONS = ("1.10.15", "2.2.5", "2.11.2", "3.3.2")


def send(request: Request) -> Flow[str]:
    try:
        response = yield request
    except TransportError as error:
        return f"lost: {error.reason}"
    return f"{response.status}"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_fake_deployment_needs_no_server(version: str) -> None:
    remote = FakeDeployment(version, path="/below")
    remote.add_dag("d", ends="failed")
    run = drive(remote.deployment().trigger_dag_run("d", conf={"k": "v"}), remote.handle)
    assert remote.runs("d")[0]["conf"] == {"k": "v"}
    assert drive(remote.deployment().get_dag_run("d", run.run_id), remote.handle).state == "failed"
    assert all(path.startswith("/below/") for _, path in remote.requests)


def test_a_wait_of_hours_moves_the_clock_only() -> None:
    clock = VirtualClock()
    remote = FakeDeployment(clock=clock)
    remote.add_dag("d", stays="running")
    remote.add_run("d", "r", state="running")
    deadline = clock() + 7200
    target = WaitTarget("d", run_id="r")
    flow = remote.deployment().poller.wait(target, poke_interval=60, deadline=deadline)
    assert drive(flow, remote.handle, clock=clock).status is WaitStatus.TIMEOUT
    assert clock.now == deadline
    assert clock.sleeps == [60] * 120


def test_a_wait_ends_with_the_time_of_its_caller() -> None:
    clock = VirtualClock()
    remote = FakeDeployment(clock=clock)
    remote.add_dag("d", stays="running")
    remote.add_run("d", "r", state="running")
    began, late = clock(), TransportError("the time for it is over", sent=False, out_of_time=True)
    flow = remote.deployment().poller.wait(WaitTarget("d", run_id="r"), poke_interval=60, deadline=began + 7200)

    def answer(request: Request) -> Response | TransportError:
        return late if clock() - began > 600 else remote.handle(request)

    assert drive(flow, answer, clock=clock).status is WaitStatus.TIMEOUT
    assert clock() - began < 1000


@pytest.mark.parametrize(("login", "error"), [({}, NotFound), ({"password": "wrong"}, AuthenticationFailed)])
def test_its_logins_are_checked(login: dict[str, str], error: type[Exception]) -> None:
    remote = FakeDeployment("2.11.2")
    deployment = remote.deployment(**login)
    with pytest.raises(error):
        drive(deployment.get_pool("p"), remote.handle, reload=lambda: deployment.settings)


def test_a_lost_reply_reaches_the_flow() -> None:
    remote = FakeDeployment(login=None)
    remote.disturb(None, times=9)
    with pytest.raises(Unreachable, match="closed before a reply"):
        drive(remote.deployment(retry=RetryPolicy(attempts=1)).get_pool("p"), remote.handle)

    def lost(_: Request) -> Response:
        raise TransportError("raised")

    assert drive(send(Request("GET", "/")), lost) == "lost: raised"
    assert drive(send(Request("GET", "/")), lambda _: TransportError("returned")) == "lost: returned"


def test_another_error_of_the_handler_ends_the_flow() -> None:
    closed = []

    def flow() -> Flow[None]:
        try:
            yield Request("GET", "/")
        finally:
            closed.append(True)

    def broken(_: Request) -> Response:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        drive(flow(), broken)
    assert closed == [True]


def test_a_flow_that_does_not_end_is_an_error() -> None:
    def endless() -> Flow[None]:
        while True:
            yield Request("GET", "/again")
            yield Sleep(1)

    with pytest.raises(RuntimeError, match=r"not over after 5 requests.*/again"):
        drive(endless(), lambda _: Response(200), max_requests=5)


def test_calculations_are_made_and_settings_are_read_again_only_if_expected() -> None:
    def flow() -> Flow[tuple[int, str]]:
        result = yield Compute(lambda: 42)
        settings = yield Reload()
        return result, settings

    with pytest.raises(RuntimeError, match="pass `reload`"):
        drive(flow(), lambda _: Response(200))
    settings = FakeDeployment().deployment().settings
    assert drive(flow(), lambda _: Response(200), reload=lambda: settings) == (42, settings)
