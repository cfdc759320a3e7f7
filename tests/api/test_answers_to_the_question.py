"""A reply must be about what was requested, and nothing is concluded from what a remote does not show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.pools.diff import plan
from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.errors import ListingChanged, PoolIsOccupied, RemoteError, UnexpectedReply
from astronomer_remote.api.protocol.flow import Flow, Request, Response
from astronomer_remote.api.protocol.models import DagRun, Pool, TaskInstance, TriggerIntent
from tests.api.script import DATE, EXPERIMENTAL, STABLE, V1, V2, VERSIONS, ScriptedRemote, Speech, ok

ONCE = RetryPolicy(attempts=1)
RUN = DagRun("d", "r", "success", logical_date=DATE)


def lines(version: str, flow: Callable[[Deployment], Flow[Any]], *replies: Any) -> Any:
    """What comes out if all requests are answered so, one after the other, and the last reply again and again."""
    remote, left = ScriptedRemote(version=version, retry=ONCE), list(replies)

    def answer(_: Request) -> Response:
        reply = left.pop(0) if len(left) > 1 else left[0]
        return reply if isinstance(reply, Response) else ok(reply)

    return remote.drive(flow(remote.deployment), answer)


def instance(**changes: Any) -> dict[str, Any]:
    return {"dag_id": "d", "dag_run_id": "r", "task_id": "t", "map_index": -1, "state": "success", **changes}


def listing(name: str, *entries: Any) -> dict[str, Any]:
    return {name: list(entries), "total_entries": len(entries)}


def single_instance(to: Deployment) -> Flow[TaskInstance]:
    dialect = yield from to.client.dialect()
    return (yield from to.client.request(dialect.task_instance(RUN, "t")))


IDS = {"dag_id": "d", "dag_run_id": "r", "state": "success", "is_paused": False}
XCOM = {"key": "return_value", "task_id": "t", "value": 1}
POOL = {"name": "p", "slots": 1, "occupied_slots": 0, "open_slots": 1}
QUESTIONS: dict[str, tuple[Callable[[Deployment], Flow[Any]], Any]] = {
    "another run": (lambda to: to.get_dag_run("d", "r"), IDS | {"dag_run_id": "other"}),
    "a run of another DAG": (lambda to: to.get_dag_run("d", "r"), IDS | {"dag_id": "e"}),
    "runs of another DAG": (lambda to: to.list_dag_runs("d"), listing("dag_runs", IDS | {"dag_id": "e"})),
    "instances of another run": (
        lambda to: to.poller.task_instances(RUN),
        listing("task_instances", instance(dag_run_id="other")),
    ),
    "an instance of another task": (single_instance, instance(task_id="u")),
    "another DAG": (lambda to: to.get_dag("d"), IDS | {"dag_id": "e"}),
    "whether another DAG is paused": (lambda to: to.dags.is_paused("d"), IDS | {"dag_id": "e"}),
    "whether a DAG is paused, or not known": (lambda to: to.dags.refuse_paused("d"), IDS | {"is_paused": None}),
    "another pool": (lambda to: to.get_pool("p"), POOL | {"name": "q"}),
    "another XCom": (lambda to: to.get_xcom("d", "r", "t"), XCOM | {"key": "other"}),
    "an XCom of another task": (lambda to: to.get_xcom("d", "r", "t"), XCOM | {"task_id": "u"}),
}


@pytest.mark.parametrize("version", STABLE)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_reply_about_something_else_is_none(version: str, question: str) -> None:
    flow, reply = QUESTIONS[question]
    with pytest.raises(UnexpectedReply):
        lines(version, flow, reply)


def test_a_trigger_whose_reply_is_about_another_run_is_looked_up() -> None:
    for version in VERSIONS:
        remote, speech = ScriptedRemote(version=version), Speech(version)
        other = {"run_id": "other", "execution_date": DATE} if speech.experimental else speech.run("other", "queued")
        turns = [speech.post(ok(other)), speech.get(speech.run("r", "queued"))]
        triggered = remote.play(remote.deployment.runs.trigger(TriggerIntent("d", "r")), *turns)
        assert triggered.run.run_id == "r"


def test_1_10_shows_no_more_of_other_dags_than_other_versions() -> None:
    other = Speech(EXPERIMENTAL).run() | {"dag_id": "e"}
    with pytest.raises(UnexpectedReply):
        lines(EXPERIMENTAL, lambda to: to.get_dag_run("d", "r"), [other])
    with pytest.raises(UnexpectedReply):
        lines(EXPERIMENTAL, lambda to: to.dags.is_paused("d"), [Speech(EXPERIMENTAL).run()], {"is_paused": None})


def test_runs_of_other_dates_are_left_out_should_the_remote_not_know_the_filter() -> None:
    speech = Speech(V2)
    runs = [speech.run(), speech.run("other", date="2026-11-23T07:00:00Z"), speech.run("dateless", date=None)]
    found = lines(V2, lambda to: to.list_dag_runs("d", logical_date=DATE), listing("dag_runs", *runs))
    assert [run.run_id for run in found] == ["r"]


@pytest.mark.parametrize("version", [V1, V2])
@pytest.mark.parametrize("occupied", [None, "0", 0.0, True, ...])
def test_a_pool_whose_use_is_not_known_counts_as_used(version: str, occupied: Any) -> None:
    pool = {name: value for name, value in POOL.items() if name != "occupied_slots"}
    pool |= {} if occupied is ... else {"occupied_slots": occupied}
    with pytest.raises(UnexpectedReply, match="does not report how many slots of pool 'p' are occupied"):
        lines(version, lambda to: to.pools.delete_if_unused("p"), pool)
    known = lines(version, lambda to: to.get_pool("p"), pool)
    assert not PoolTarget("p", empty=True).is_met_by(known)
    assert not PoolTarget("p").is_met_by(replace(known, open_slots=None))
    planned = plan([known], [], prune=True)
    assert (planned.changes, list(planned.kept)) == ((), ["p"])
    assert [change.name for change in plan([known], [], prune=True, force=True).changes] == ["p"]


def test_a_pool_that_is_not_in_the_second_listing_is_read_before_it_is_deleted() -> None:
    def prune(to: Deployment) -> Flow[Any]:
        found = yield from to.pool_sync.plan([], prune=True)
        assert [change.name for change in found.changes] == ["p"]
        return (yield from to.pool_sync.apply(found))

    missing = listing("pools", {"name": "p", "slots": "many"})
    occupied = POOL | {"occupied_slots": 1}
    progress = lines(V2, prune, listing("pools", POOL), missing, occupied)
    assert "occupied" in progress.summary()
    with pytest.raises(UnexpectedReply):
        lines(V2, prune, listing("pools", POOL), missing, {"name": "p", "slots": "many"})


def test_a_pool_in_use_is_distinguished_from_one_whose_use_is_unknown() -> None:
    with pytest.raises(PoolIsOccupied):
        lines(V2, lambda to: to.pools.delete_if_unused("p"), POOL | {"occupied_slots": 1})


@pytest.mark.parametrize("odd", [{"map_index": "0"}, {"map_index": None}, {"task_id": 5}, {"state": 1}])
def test_results_are_not_read_of_a_run_whose_instances_are_not_all_known(odd: dict[str, Any]) -> None:
    gone = Response(404, {"content-type": "application/json"}, b'{"detail": "none"}')
    with pytest.raises(ListingChanged, match="results may be missing"):
        lines(
            V2,
            lambda to: to.results.read(RUN, ["t"]),
            gone,
            listing("task_instances", instance(map_index=0), instance(**odd)),
        )


def test_what_is_only_shown_is_left_out_if_it_is_odd() -> None:
    odd = instance(try_number="1", operator=3, start_date="soon", end_date=5, duration="x", map_index=2)
    (found,) = lines(V2, lambda to: to.poller.task_instances(RUN), listing("task_instances", odd))
    assert found == TaskInstance("t", 2, "success", dag_id="d", run_id="r")
    pool = lines(V2, lambda to: to.get_pool("p"), POOL | {"description": 5, "include_deferred": "no", "team_name": []})
    assert pool == Pool("p", 1, occupied_slots=0, open_slots=1)
    run = lines(V2, lambda to: to.get_dag_run("d", "r"), {"dag_id": "d", "dag_run_id": "r", "conf": [1], "note": {}})
    assert (run.conf, run.note) == (None, None)


def test_no_error_about_our_settings_comes_from_what_a_remote_sends() -> None:
    for version in STABLE:
        odd = Speech(version).run(date="soon") | {"end_date": "0000", "start_date": "9999-12-31T23:59:59-23:59"}
        run = lines(version, lambda to: to.get_dag_run("d", "r"), odd)
        assert (run.logical_date, run.end_date, run.start_date) == (None, None, None)
        assert isinstance(run, DagRun)
    assert issubclass(UnexpectedReply, RemoteError)
