"""The promise of exactly one run, against a small Airflow that fails in every order there is."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.protocol.errors import DagRunAlreadyExists
from astronomer_remote.api.protocol.flow import Flow, Request, Response, TransportError
from astronomer_remote.api.protocol.models import TriggerIntent, same_moment
from astronomer_remote.api.runs.runs import IfExists
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from tests.api.script import VERSIONS, Remote, Speech, answer, ok, page, plain

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
"""What may become of a request: whether the server acted on it, and what came back instead of its answer."""


class SmallAirflow:
    """
    Makes and lists the runs of DAG ``d``, in the words of one version, and fails as told.

    :param faults: one per request, in order; then it works.

    Its newest run takes the states in `ends`, one at each look.
    """

    def __init__(self, speech: Speech, faults: list[str]) -> None:
        self.speech = speech
        self.faults = list(faults)
        self.runs: list[dict[str, Any]] = []
        self.ends: list[str] = []
        self.first_state = "queued"

    def __call__(self, request: Request) -> Response | TransportError:
        fault = self.faults.pop(0) if self.faults else "none"
        reply = self.act(request) if fault == "none" or fault.endswith("after") else Response(0)
        kind = fault.partition(" ")[0]
        if kind in ("429", "500", "502", "503", "504"):
            return page(int(kind), "Oops") if kind == "500" else plain(int(kind), "")
        return {
            "none": reply,
            "unsent": TransportError("ConnectionRefusedError", sent=False),
            "lost": TransportError("RemoteDisconnected"),
            "page": page(200),
            "blocked": page(403),
            "odd": ok({"odd": json.loads(reply.body or b"0")}),
            "cut": Response(200, {"content-type": "application/json"}, reply.body[:-1]),
        }[kind]

    def act(self, request: Request) -> Response:
        url = urlsplit(request.target)
        if request.method == "GET" and self.runs and self.ends:
            self.runs[-1]["state"] = self.ends.pop(0)
        if request.method == "POST":
            return self.make(json.loads(request.content() or b""))
        if url.path != self.speech.runs_path:
            run_id = unquote(url.path.rpartition("/")[2])
            found = [run for run in self.runs if run["dag_run_id"] == run_id]
            return ok(found[0]) if found else self.speech.no_run(run_id)
        if self.speech.experimental:
            return ok(self.runs)
        date = next(text[0] for name, text in parse_qs(url.query).items() if name.endswith("_gte"))
        of_date = [run for run in self.runs if same_moment(run[self.speech.date_field], date)]
        return ok({"dag_runs": of_date, "total_entries": len(of_date)})

    def make(self, wish: dict[str, Any]) -> Response:
        run_id = wish[self.speech.id_field]
        date = wish.get("logical_date") or wish.get("execution_date")
        if any(run[self.speech.id_field] == run_id for run in self.runs):
            return self.speech.exists(run_id)
        if date and any(same_moment(self.date_of(run), date) for run in self.runs):
            return page(500) if self.speech.numbers < (2, 1) else self.speech.exists(run_id)
        more = {"note": wish["note"]} if "note" in wish else {}
        self.runs.append(self.speech.run(run_id, self.first_state, date, **more))
        return ok({"run_id": run_id, "execution_date": date} if self.speech.experimental else self.runs[-1])

    def date_of(self, run: dict[str, Any]) -> str | None:
        date: str | None = run.get(self.speech.date_field)
        return date


dates = st.none() | st.just("2026-11-22T07:00:00Z")
MARK = "0123456789abcdef"
patient = RetryPolicy(attempts=20, total_seconds=10_000)


@pytest.mark.parametrize("version", VERSIONS)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=12), date=dates)
def test_whatever_goes_wrong_on_the_way_one_wish_makes_one_run(
    version: str, faults: list[str], date: str | None
) -> None:
    server = SmallAirflow(Speech(version), faults)
    remote = Remote(version=version, retry=patient)
    intent = TriggerIntent("d", "r", conf={"k": 1}, logical_date=date, mark=MARK)
    triggered = remote.carry_out(remote.deployment.runs.obtain(intent, IfExists()), server)
    assert [run[server.speech.id_field] for run in server.runs] == ["r"]
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
    server = SmallAirflow(Speech(version), first)
    intent = TriggerIntent("d", "r", logical_date=date)
    flow = Remote(version=version, retry=patient).deployment.runs.obtain(intent, IfExists(generated_id=True))
    dies_after(flow, server, died_after)
    server.faults = list(second)
    remote = Remote(version=version, retry=patient)
    successor = remote.deployment.runs.obtain(intent, IfExists(generated_id=True, attempt=2))
    assert remote.carry_out(successor, server).run.run_id == "r"
    assert [run[server.speech.id_field] for run in server.runs] == ["r"]


def dies_after(flow: Flow[Any], server: SmallAirflow, steps: int) -> None:
    """A worker that gets so far in a conversation, unless it is told no before."""
    step: Any = next(flow)
    for _ in range(steps):
        reply = server(step) if isinstance(step, Request) else None
        try:
            step = flow.throw(reply) if isinstance(reply, TransportError) else flow.send(reply)
        except (StopIteration, DagRunAlreadyExists):
            break
    flow.close()


@pytest.mark.parametrize("version", VERSIONS)
@given(
    first=st.lists(st.sampled_from(FAULTS), max_size=4),
    second=st.lists(st.sampled_from(FAULTS), max_size=6),
    died_after=st.integers(1, 6),
    strangers=st.booleans(),
)
def test_a_successor_takes_the_run_of_its_own_task_and_no_other_where_the_id_was_given(
    version: str, first: list[str], second: list[str], died_after: int, strangers: bool
) -> None:
    server = SmallAirflow(Speech(version), first)
    if strangers:
        server.runs.append(server.speech.run("r", "success", "2026-11-21T07:00:00Z"))
    intent = TriggerIntent("d", "r", mark=MARK)
    dies_after(Remote(version=version, retry=patient).deployment.runs.obtain(intent), server, died_after)
    server.faults = list(second)
    remote = Remote(version=version, retry=patient)
    flow = remote.deployment.runs.obtain(intent, IfExists(attempt=2, mark=MARK))
    if strangers:
        with pytest.raises(DagRunAlreadyExists):
            remote.carry_out(flow, server)
    else:
        assert remote.carry_out(flow, server).run.run_id == "r"
    assert [run[server.speech.id_field] for run in server.runs] == ["r"]


@pytest.mark.parametrize("attempt", [1, 2, 5])
@pytest.mark.parametrize("version", VERSIONS)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=12))
def test_one_attempt_makes_one_run_at_most_even_if_it_fails_before_anybody_looks(
    version: str, faults: list[str], attempt: int
) -> None:
    server = SmallAirflow(Speech(version), faults)
    server.first_state = "failed"
    remote = Remote(version=version, retry=patient)
    flow = remote.deployment.runs.obtain(TriggerIntent("d", "r"), IfExists(generated_id=True, attempt=attempt))
    assert remote.carry_out(flow, server).run.run_id == "r"
    assert len(server.runs) == 1


@pytest.mark.parametrize("version", VERSIONS)
@given(
    faults=st.lists(st.sampled_from(FAULTS), max_size=12),
    looks=st.integers(0, 4),
    end=st.sampled_from(["success", "failed"]),
)
def test_whatever_goes_wrong_on_the_way_the_end_of_the_one_run_is_told(
    version: str, faults: list[str], looks: int, end: str
) -> None:
    server = SmallAirflow(Speech(version), faults)
    server.ends = ["running"] * looks + [end]
    remote = Remote(version=version)

    def trigger_and_wait() -> Flow[WaitResult]:
        triggered = yield from remote.deployment.runs.obtain(TriggerIntent("d", "r"), IfExists(generated_id=True))
        target = WaitTarget("d", run_id=triggered.run.run_id, exists=True, failed_states=("failed",))
        return (yield from remote.deployment.poller.wait(target, poke_interval=5, deadline=None))

    outcome = remote.carry_out(trigger_and_wait(), server)
    assert outcome.status is (WaitStatus.SUCCESS if end == "success" else WaitStatus.FAILED)
    assert [(run[server.speech.id_field], run["state"]) for run in server.runs] == [("r", end)]


@pytest.mark.parametrize("version", VERSIONS)
@given(faults=st.lists(st.sampled_from(FAULTS), max_size=6))
def test_a_run_that_failed_is_followed_by_one_new_run_whatever_goes_wrong(version: str, faults: list[str]) -> None:
    speech = Speech(version)
    server = SmallAirflow(speech, faults)
    server.runs.append(speech.run("r", "failed", "2026-11-21T07:00:00Z"))
    remote = Remote(version=version, retry=patient)
    flow = remote.deployment.runs.obtain(TriggerIntent("d", "r"), IfExists(generated_id=True, attempt=2))
    assert remote.carry_out(flow, server).run.run_id == "r.2"
    assert [run[speech.id_field] for run in server.runs] == ["r", "r.2"]


def test_the_small_airflow_says_no_like_a_real_one() -> None:
    for version in VERSIONS:
        speech = Speech(version)
        server = SmallAirflow(speech, ["429"])
        request = Request("POST", speech.runs_path, body={speech.id_field: "r", "execution_date": "2026-11-22T07:00Z"})
        statuses = [getattr(server(request), "status", None) for _ in range(3)]
        assert statuses == [429, 200, answer(400).status if speech.experimental else 409]
