"""No budget of retries begins again inside another: what an operation costs at most, however its requests fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.retry import RetryBudget, RetryPolicy
from astronomer_remote.api.protocol.errors import RemoteError, Unreachable
from astronomer_remote.api.protocol.flow import Flow, Request, Response, Sleep, TransportError
from astronomer_remote.api.protocol.models import Pool, TriggerIntent
from astronomer_remote.api.runs.runs import SECONDS_BEFORE_CANCEL, SECONDS_UNTIL_SHOWN, IfExists
from astronomer_remote.api.waiting.target import WaitTarget
from tests.api.script import DATE, LOST, OPEN, UNSENT, V1, V2, ScriptedRemote, Speech, answer, ok, page, plain

RETRY = RetryPolicy()
FIXED = sum(SECONDS_UNTIL_SHOWN) + sum(SECONDS_BEFORE_CANCEL)
"""Seconds that are waited for a run to be shown, and before its state is set."""

FAILURES = [plain(503, ""), plain(429, ""), page(), page(502), page(404), LOST, UNSENT]
"""What may pass: it is answered in place of the deployment, or nothing is."""

SWALLOWED = 3
"""Requests whose failure does not end an operation, as it can do without their replies."""

INTENT = TriggerIntent("d", "r", logical_date=DATE)
POOL = Pool("p", 1)

OPERATIONS: dict[str, Callable[[ScriptedRemote], Flow[Any]]] = {
    "read a run": lambda to: to.deployment.get_dag_run("d", "r"),
    "read a run that was there": lambda to: to.deployment.runs.get_seen("d", "r"),
    "cancel a run": lambda to: to.deployment.cancel_dag_run("d", "r"),
    "clear a run": lambda to: to.deployment.clear_dag_run("d", "r"),
    "delete a run": lambda to: to.deployment.delete_dag_run("d", "r"),
    "find the newest run": lambda to: to.deployment.get_newest_dag_run("d"),
    "look for runs": lambda to: to.deployment.poller.snapshot(WaitTarget("d", logical_dates=(DATE,) * 3)),
    "look for tasks": lambda to: to.deployment.poller.snapshot(WaitTarget("d", run_id="r", task_ids=("a", "b", "c"))),
    "look for an interval": lambda to: to.deployment.poller.dated_runs.of_interval_end("d", DATE),
    "read a DAG": lambda to: to.deployment.get_dag("d"),
    "check a DAG": lambda to: to.deployment.dags.check_existence("d", ["a", "b"], "g"),
    "create a pool": lambda to: to.deployment.create_pool("p", 1),
    "ensure a pool": lambda to: to.deployment.pools.ensure(POOL),
    "remove a pool": lambda to: to.deployment.pools.delete_if_unused("p"),
}

LOGINS = {
    "none": OPEN,
    "password": replace(OPEN, login="u", password="p", authentication="auto"),
}


class Adversary:
    """A remote that answers by chance, more often wrongly than not."""

    def __init__(self, version: str, seed: int, wrong: float) -> None:
        self.speech = Speech(version)
        self.chance = random.Random(f"{version} {seed}")
        self.wrong = wrong
        self.failures = 0

    def __call__(self, request: Request) -> Response | TransportError:
        if self.chance.random() < self.wrong:
            self.failures += 1
            return self.chance.choice(FAILURES)
        return self._rightly(request)

    def _rightly(self, request: Request) -> Response:
        if request.path.endswith("/version"):
            is_it = request.path.startswith(self.speech.base)
            return ok({"version": self.speech.version}) if is_it else page(404)
        if request.path == "/auth/token":
            return ok({"access_token": "t"})
        if request.path.startswith("/login"):
            return plain(500, "broken")
        listed = request.path.rpartition("/")[2]
        if listed in ("dagRuns", "list", "taskInstances", "importErrors", "pools") and request.method != "PATCH":
            names = {"dagRuns": "dag_runs", "taskInstances": "task_instances", "importErrors": "import_errors"}
            return ok({names.get(listed, listed): [], "total_entries": 0})
        run = self.speech.run(state=self.chance.choice(["running", "success"]))
        missing = answer(404, {"detail": "not found"})
        return self.chance.choice([missing, ok(run), ok({"name": "p", "slots": 2, "occupied_slots": 0})])


def cost(
    flow: Callable[[ScriptedRemote], Flow[Any]], version: str, seed: int, login: str
) -> tuple[Adversary, ScriptedRemote]:
    remote, adversary = ScriptedRemote(LOGINS[login]), Adversary(version, seed, 0.3 + seed % 6 / 10)
    with suppress(RemoteError):
        remote.drive(flow(remote), adversary, lambda: LOGINS[login])
    return adversary, remote


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_fails_as_often_as_one_budget_allows_and_takes_no_longer(
    name: str, version: str, login: str
) -> None:
    for seed in range(60):
        adversary, remote = cost(OPERATIONS[name], version, seed, login)
        # The generation is detected before, with a budget of its own: three requests.
        detecting = sum(request.path.endswith(("/version", "/test")) for request in remote.requests)
        assert adversary.failures <= 2 * RETRY.attempts + detecting + SWALLOWED
        others = len(remote.requests) - detecting
        assert others <= 4 * RETRY.attempts, [request.path for request in remote.requests]
        assert sum(remote.sleeps) <= 2 * RETRY.total_seconds + FIXED


def test_a_run_that_was_there_is_read_with_one_budget() -> None:
    """Four reads, of which each found out after five failures that there is none, were 24 requests in 62 seconds."""
    remote = ScriptedRemote(version=V2)
    answers = ([plain(503, "")] * 5 + [Speech(V2).no_run()]) * 4

    with pytest.raises(RemoteError):
        remote.drive(remote.deployment.runs.get_seen("d", "r"), lambda _: answers.pop(0))
    assert len(remote.requests) == RETRY.attempts + 1
    assert sum(remote.sleeps) < 20


def test_a_trigger_is_bounded_by_one_time_whatever_happens_to_its_requests() -> None:
    for seed in range(200):
        remote, adversary = ScriptedRemote(version=V2), Adversary(V2, seed, 0.5 + seed % 5 / 10)
        with suppress(RemoteError):
            remote.drive(remote.deployment.runs.ensure(INTENT, IfExists(attempt=9)), adversary)
        assert sum(remote.sleeps) <= RETRY.total_seconds + FIXED
        posts = sum(request.method == "POST" for request in remote.requests)
        assert posts <= len(remote.sleeps) + 1


def test_pages_and_failures_in_turn_count_together() -> None:
    remote = ScriptedRemote(version=V2)
    answers = ([plain(503, "")] * 5 + [page()]) * 6
    with pytest.raises(RemoteError):
        remote.drive(remote.deployment.get_dag_run("d", "r"), lambda _: answers.pop(0))
    assert len(remote.requests) == RETRY.attempts


def test_a_long_listing_tolerates_failures_all_along_but_not_for_longer_than_one_budget() -> None:
    def listing(failures: int) -> ScriptedRemote:
        remote, left = ScriptedRemote(version=V2), [failures]

        def reply(request: Request) -> Response | TransportError:
            remote.clock.now += 1
            if left[0]:
                left[0] -= 1
                return LOST
            left[0] = failures
            offset, limit = request.query["offset"], request.query["limit"]
            runs = [Speech(V2).run(f"r{n}") for n in range(offset, min(offset + limit, 3_000))]
            return ok({"dag_runs": runs, "total_entries": 3_000})

        remote.drive(remote.deployment.list_dag_runs("d"), reply)
        return remote

    assert len(listing(1).requests) == 60
    assert len(listing(0).requests) == 30
    with pytest.raises(RemoteError):
        listing(5)


def test_flows_of_a_client_that_run_at_once_have_budgets_of_their_own() -> None:
    client = Client(OPEN, clock=lambda: 0.0, jitter=lambda: 0.0)
    seen: list[RetryBudget | None] = []

    def inner() -> Flow[None]:
        seen.append(client._retry_budget)
        yield Sleep(1)
        seen.append(client._retry_budget)

    def outer() -> Flow[None]:
        yield from client.with_retry_budget(inner())
        yield from client.with_retry_budget(inner())

    flows = [client.with_retry_budget(outer()) for _ in range(2)]
    for _ in range(2):
        for flow in flows:
            next(flow)
            assert client._retry_budget is None
    assert len({id(budget) for budget in seen}) == 2
    assert None not in seen
    flows[0].close()
    assert client._retry_budget is None


def test_a_budget_counts_failures_in_a_row_and_the_time_that_they_took() -> None:
    budget = RetryBudget(RetryPolicy(attempts=3, total_seconds=100, first_wait=1), 0.0)
    assert budget.wait(10, 0, None, by_time=False) == 0.5
    budget.advance(20)
    # What goes well takes as long as it takes.
    budget.advance(1_000)
    assert budget.wait(1_078, 0, None, by_time=False) == 0.5
    assert budget.wait(1_078, 0, None, by_time=False) == 1.0
    assert budget.wait(1_078, 0, None, by_time=False) is None
    assert budget.wait(1_078, 0, None, by_time=True) is not None
    assert budget.wait(1_080, 0, None, by_time=True) is None


def test_without_a_budget_nothing_is_tried_again() -> None:
    remote = ScriptedRemote(version=V2)
    with pytest.raises(Unreachable):
        remote.drive(remote.client.back_off(Unreachable("x")), lambda _: LOST)
    assert remote.sleeps == []
