"""Exactly one run per intent, whatever fails on the way and in which order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import DagRunAlreadyExists
from astronomer_remote.api.protocol.flow import Flow, Request, Response, TransportError
from astronomer_remote.api.protocol.models import TriggerIntent
from astronomer_remote.api.runs.runs import IfExists, Triggered
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.testing import FakeDeployment, VirtualClock, drive
from tests.api.script import VERSIONS, ok, page, plain

T = TypeVar("T")

MANY_ATTEMPTS = RetryPolicy(attempts=20, total_seconds=10_000)

FAULTS = (
    "unsent",
    "lost before",
    "lost after",
    "429",
    "500 before",
    "500 after",
    "502 before",
    "503 after",
    "504 after",
    "page before",
    "page after",
    "blocked before",
    "blocked after",
    "cut after",
    "odd after",
)
"""What may happen to a request: whether the server processed it, and what is received in place of its reply."""


class FaultyAirflow:
    """
    A fake deployment with the DAG ``d``, some of whose replies go wrong.

    :param faults: one per request, in order; then it works.
    :param dag: how the DAG's runs end.
    """

    def __init__(self, version: str, faults: list[str], **dag: Any) -> None:
        self.clock = VirtualClock()
        self.fake = FakeDeployment(version, login=None, clock=self.clock)
        self.fake.add_dag("d", **dag)
        self.faults = list(faults)

    def run(self, make: Callable[[Deployment], Flow[T]], requests: int | None = None) -> T:
        """
        Run a flow of a new worker.

        :param requests: how many it sends before it dies.
        """
        left = [-1 if requests is None else requests]

        def handle(request: Request) -> Response:
            if left[0] == 0:
                raise Died
            left[0] -= 1
            return self.handle(request)

        deployment = self.fake.deployment(retry=MANY_ATTEMPTS)
        # Its version is known: faults while it is detected are a matter of other tests.
        drive(deployment.get_version(), self.fake.handle)
        return drive(make(deployment), handle, clock=self.clock)

    def runs(self) -> list[str]:
        """Ids of the runs."""
        return [run["run_id"] for run in self.fake.runs("d")]

    def handle(self, request: Request) -> Response:
        fault = self.faults.pop(0) if self.faults else "none"
        reply = self.fake.handle(request) if fault == "none" or fault.endswith("after") else Response(0)
        kind = fault.partition(" ")[0]
        if kind in ("unsent", "lost"):
            raise TransportError("RemoteDisconnected", sent=kind != "unsent")
        if kind in ("429", "500", "502", "503", "504"):
            return page(int(kind), "Oops") if kind == "500" else plain(int(kind), "")
        return {
            "none": reply,
            "page": page(200),
            "blocked": page(403),
            "odd": ok({"odd": reply.json() if reply.is_json and reply.body else 0}),
            "cut": Response(200, {"content-type": "application/json"}, reply.body[:-1]),
        }[kind]


class Died(Exception):
    """The end of a worker, in the middle of a flow."""


dates = st.none() | st.just("2026-11-22T07:00:00Z")
MARK = "0123456789abcdef"


@pytest.mark.parametrize("version", VERSIONS)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=12), date=dates)
def test_one_intent_makes_one_run_whatever_fails(version: str, faults: list[str], date: str | None) -> None:
    airflow = FaultyAirflow(version, faults)
    intent = TriggerIntent("d", "r", conf={"k": 1}, logical_date=date, mark=MARK)
    triggered = airflow.run(lambda remote: remote.runs.ensure(intent, IfExists()))
    assert airflow.runs() == ["r"]
    assert triggered.run.run_id == "r"
    assert not triggered.existed


@pytest.mark.parametrize("version", VERSIONS)
@given(
    first=st.lists(st.sampled_from(FAULTS), max_size=4),
    second=st.lists(st.sampled_from(FAULTS), max_size=6),
    died_after=st.integers(1, 6),
    date=dates,
)
def test_a_worker_that_dies_and_its_successor_make_one_run_between_them(
    version: str, first: list[str], second: list[str], died_after: int, date: str | None
) -> None:
    airflow = FaultyAirflow(version, first)
    intent = TriggerIntent("d", "r", logical_date=date)
    with suppress(Died, DagRunAlreadyExists):
        airflow.run(lambda remote: remote.runs.ensure(intent, IfExists(generated_id=True)), died_after)
    airflow.faults = list(second)
    successor = airflow.run(lambda remote: remote.runs.ensure(intent, IfExists(generated_id=True, attempt=2)))
    assert successor.run.run_id == "r"
    assert airflow.runs() == ["r"]


@pytest.mark.parametrize("version", VERSIONS)
@given(
    first=st.lists(st.sampled_from(FAULTS), max_size=4),
    second=st.lists(st.sampled_from(FAULTS), max_size=6),
    died_after=st.integers(1, 6),
    strangers=st.booleans(),
)
def test_a_successor_takes_the_run_of_its_own_task_and_no_other_if_the_user_chose_the_id(
    version: str, first: list[str], second: list[str], died_after: int, strangers: bool
) -> None:
    airflow = FaultyAirflow(version, first)
    if strangers:
        airflow.fake.add_run("d", "r", state="success", logical_date="2026-11-21T07:00:00Z")
    intent = TriggerIntent("d", "r", mark=MARK)
    with suppress(Died, DagRunAlreadyExists):
        airflow.run(lambda remote: remote.runs.ensure(intent), died_after)
    airflow.faults = list(second)

    def successor(remote: Deployment) -> Flow[Triggered]:
        return remote.runs.ensure(intent, IfExists(attempt=2, mark=MARK))

    if strangers:
        with pytest.raises(DagRunAlreadyExists):
            airflow.run(successor)
    else:
        assert airflow.run(successor).run.run_id == "r"
    assert airflow.runs() == ["r"]


@pytest.mark.parametrize("attempt", [1, 2, 5])
@pytest.mark.parametrize("version", VERSIONS)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=12))
def test_one_attempt_makes_at_most_one_run_even_if_that_has_failed_when_it_is_first_read(
    version: str, faults: list[str], attempt: int
) -> None:
    airflow = FaultyAirflow(version, faults, ends="failed")
    if_exists = IfExists(generated_id=True, attempt=attempt)
    triggered = airflow.run(lambda remote: remote.runs.ensure(TriggerIntent("d", "r"), if_exists))
    assert triggered.run.run_id == "r"
    assert airflow.runs() == ["r"]


@pytest.mark.parametrize("version", VERSIONS)
@given(
    faults=st.lists(st.sampled_from(FAULTS), max_size=12),
    polls=st.integers(0, 4),
    end=st.sampled_from(["success", "failed"]),
)
def test_the_final_state_of_the_one_run_is_returned_whatever_fails(
    version: str, faults: list[str], polls: int, end: str
) -> None:
    airflow = FaultyAirflow(version, faults, polls=polls, ends=end)

    def trigger_and_wait(remote: Deployment) -> Flow[WaitResult]:
        triggered = yield from remote.runs.ensure(TriggerIntent("d", "r"), IfExists(generated_id=True))
        target = WaitTarget("d", run_id=triggered.run.run_id, exists=True, failed_states=("failed",))
        return (yield from remote.poller.wait(target, poke_interval=5, deadline=None))

    outcome = airflow.run(trigger_and_wait)
    assert outcome.status is (WaitStatus.SUCCESS if end == "success" else WaitStatus.FAILED)
    assert [(run["run_id"], run["state"]) for run in airflow.fake.runs("d")] == [("r", end)]


@pytest.mark.parametrize("version", VERSIONS)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=6))
def test_a_run_that_failed_is_followed_by_one_new_run_whatever_fails(version: str, faults: list[str]) -> None:
    airflow = FaultyAirflow(version, faults)
    airflow.fake.add_run("d", "r", state="failed", logical_date="2026-11-21T07:00:00Z")
    if_exists = IfExists(generated_id=True, attempt=2)
    triggered = airflow.run(lambda remote: remote.runs.ensure(TriggerIntent("d", "r"), if_exists))
    assert triggered.run.run_id == "r.2"
    assert airflow.runs() == ["r", "r.2"]
