"""
Every flow of a deployment, and what must hold of its result whatever the remote answers.

Each flow gets a deployment whose contents are known, so that a result can be compared with the truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.ids import INTENT_KEY
from astronomer_remote.api.protocol.models import AssetEventIntent, AssetRef, Pool, TriggerIntent
from astronomer_remote.api.runs.runs import IfExists
from astronomer_remote.api.waiting.target import WaitStatus, WaitTarget
from tests.fuzz.remote import HostileRemote

DATE = "2026-05-04T00:00:00+00:00"


@dataclass(frozen=True)
class CheckedFlow:
    """
    One flow.

    :param flow: runs it.
    :param check: raises ``AssertionError`` if the result contradicts what the remote really holds.
    """

    flow: Callable[[Deployment], Flow[Any]]
    check: Callable[[HostileRemote, Any], None] = lambda remote, result: None


def furnish(remote: HostileRemote) -> None:
    """Put into a remote what the flows speak of."""
    fake = remote.fake
    fake.add_dag("quick", tasks=["hello", "load.a", "load.b"], results={"hello": {"answer": 42}}, logs={"hello": ["a"]})
    fake.add_dag("bad", tasks=["first", "second"], ends="failed", task_ends={"second": "upstream_failed"})
    fake.add_dag("slow", tasks=["hello"], stays="running")
    fake.add_dag("paused", is_paused=True)
    fake.add_run("quick", "done", state="success", logical_date=DATE)
    fake.add_run("bad", "broken", state="failed", logical_date=DATE)
    fake.add_run("slow", "held", state="running", logical_date=DATE)
    fake.add_pool("narrow", 4, occupied=4)
    fake.add_pool("wide", 8, occupied=1)
    if not fake.version.startswith(("1.", "2.0", "2.2")):
        fake.add_asset("s3://orders", name="orders", producers=["quick"], consumers=["slow"])
        fake.add_asset_event("s3://orders", {"rows": 7})
    fake.add_import_error("broken.py", "Traceback\nSyntaxError: invalid syntax")


# What must hold of every result


def check_types(value: Any, declared: Any = Any, where: str = "result") -> None:
    """Every field of every model has the type that it declares. :raises AssertionError: naming the field."""
    if is_dataclass(value) and not isinstance(value, type):
        hints = get_type_hints(type(value))
        for each in fields(value):
            check_types(getattr(value, each.name), hints[each.name], f"{where}.{each.name}")
        return
    assert _fits(value, declared), f"{where} = {str(value)[:80]!r} is no {declared}"
    if isinstance(value, (list, tuple)):
        for index, each in enumerate(value):
            check_types(each, Any, f"{where}[{index}]")


def _fits(value: Any, declared: Any) -> bool:
    origin = get_origin(declared)
    if declared is Any:
        return True
    if origin in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(declared))
    kind = origin or declared
    if kind is type(None):
        return value is None
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, kind):
        return False
    arguments = get_args(declared)
    if arguments and isinstance(value, Mapping):
        return all(_fits(name, arguments[0]) and _fits(each, arguments[1]) for name, each in value.items())
    if arguments and isinstance(value, (list, tuple, set, frozenset)):
        return all(_fits(each, arguments[0]) for each in value)
    return True


def check_storable(value: Any) -> None:
    """What goes to XCom can be stored by every database. :raises AssertionError: if it cannot."""
    for each in _dicts(value):
        check_storable_json(each)


def check_storable_json(value: Any) -> None:
    """Plain JSON that every database takes. :raises AssertionError: if one would not."""
    try:
        text = json.dumps(value, allow_nan=False)
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError, TypeError) as error:
        raise AssertionError(f"it cannot be stored: {error!r}") from None
    assert "\\u0000" not in text, "it holds a NUL, which PostgreSQL refuses"


def _dicts(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _dicts(each)
    elif hasattr(value, "as_dict"):
        yield value.as_dict()


# The truth


def _run_is(dag_id: str, run_id: str) -> Callable[[HostileRemote, Any], None]:
    def check(remote: HostileRemote, run: Any) -> None:
        assert (run.dag_id, run.run_id) == (dag_id, run_id), f"it took {run.dag_id}/{run.run_id} for its run"

    return check


def _run_exists(dag_id: str) -> Callable[[HostileRemote, Any], None]:
    def check(remote: HostileRemote, run: Any) -> None:
        there = {each["run_id"] for each in remote.fake.runs(dag_id)}
        assert run.dag_id == dag_id
        assert run.run_id in there, f"it says that it made {run.run_id}, but there are {there}"

    return check


def _one_run_more(dag_id: str, run_id: str) -> Callable[[HostileRemote, Any], None]:
    def check(remote: HostileRemote, triggered: Any) -> None:
        runs = [each["run_id"] for each in remote.fake.runs(dag_id)]
        assert triggered.run.run_id == run_id
        assert runs.count(run_id) == 1
        assert len(runs) == 2, f"one intent made {runs}"

    return check


def _not_before_it_ended(dag_id: str, run_id: str, task: str | None = None) -> Callable[[HostileRemote, Any], None]:
    def check(remote: HostileRemote, outcome: Any) -> None:
        (state,) = (each["state"] for each in remote.fake.runs(dag_id) if each["run_id"] == run_id)
        if outcome.status is WaitStatus.SUCCESS:
            assert state == "success", f"the run is {state}, and the wait ended as a success"
        if outcome.status is WaitStatus.FAILED:
            assert state == "failed", f"the run is {state}, and the wait ended as a failure"

    return check


def _pool_is(name: str) -> Callable[[HostileRemote, Any], None]:
    def check(remote: HostileRemote, pool: Any) -> None:
        assert pool.name == name, f"it took pool {pool.name!r} for {name!r}"

    return check


def _no_room(remote: HostileRemote, room: bool) -> None:
    assert not room, "all slots of the pool are occupied, and it says there is room"


def _wait(target: WaitTarget, now: float = 1_800_000_000.0) -> Callable[[Deployment], Flow[Any]]:
    def flow(remote: Deployment) -> Flow[Any]:
        return (yield from remote.poller.wait(target, poke_interval=60, deadline=now + 3600, on_line=lambda line: None))

    return flow


def _has_room(remote: Deployment) -> Flow[bool]:
    target = PoolTarget("narrow", 1)
    pools = yield from remote.list_pools()
    return target.is_met_by(target.among({pool.name: pool for pool in pools}))


def _refuse_paused(remote: Deployment) -> Flow[str]:
    yield from remote.dags.refuse_paused("paused")
    return "it is not paused"


def _not_passed(remote: HostileRemote, result: Any) -> None:
    # A remote that says so is believed.
    if any(each.endswith("$.is_paused = 'False'") for each in remote.spoiled):
        return
    raise AssertionError("the DAG is paused, and it was not noticed")


def _obtain(remote: Deployment) -> Flow[Any]:
    return (yield from remote.runs.ensure(TriggerIntent("slow", "intent"), IfExists(generated_id=True)))


def _reasons(remote: Deployment) -> Flow[Any]:
    run = yield from remote.get_dag_run("bad", "broken")
    return (yield from remote.failures.report(run, log_lines=20))


def _results(remote: Deployment) -> Flow[Any]:
    run = yield from remote.get_dag_run("quick", "done")
    return (yield from remote.results.read(run, ["hello"]))


def _all_skipped(remote: Deployment) -> Flow[bool]:
    run = yield from remote.get_dag_run("quick", "done")
    return (yield from remote.results.all_skipped(run))


def _not_skipped(remote: HostileRemote, skipped: bool) -> None:
    assert not skipped, "no task was skipped, and it says that all were"


def _loan(remote: Deployment) -> Flow[Any]:
    loan = yield from remote.loans.record(Pool("wide", 6))
    yield from remote.loans.take(loan)
    return (yield from remote.loans.give_back(loan))


def _retried_event(remote: Deployment) -> Flow[Any]:
    intent = AssetEventIntent(AssetRef("s3://orders"), "0123456789abcdef", first_attempt=remote.client.clock())
    return (yield from remote.assets.register_event(intent))


def _carries_the_intent(remote: HostileRemote, event: Any) -> None:
    marks = [each["extra"].get(INTENT_KEY) for each in remote.fake.asset_events()]
    assert "0123456789abcdef" in marks, f"it says that it registered an event, but there are {marks}"


def _events_of_one(remote: HostileRemote, events: Any) -> None:
    assert len({event.asset_id for event in events}) <= 1, "it took events of another asset for those of this one"


METHODS: dict[str, CheckedFlow] = {
    "trigger_dag_run": CheckedFlow(lambda d: d.trigger_dag_run("slow", conf={"k": 1}), _run_exists("slow")),
    "get_dag_run": CheckedFlow(lambda d: d.get_dag_run("slow", "held"), _run_is("slow", "held")),
    "get_newest_dag_run": CheckedFlow(lambda d: d.get_newest_dag_run("quick")),
    "list_dag_runs": CheckedFlow(lambda d: d.list_dag_runs("quick")),
    "cancel_dag_run": CheckedFlow(lambda d: d.cancel_dag_run("slow", "held"), _run_is("slow", "held")),
    "clear_dag_run": CheckedFlow(lambda d: d.clear_dag_run("bad", "broken"), _run_is("bad", "broken")),
    "delete_dag_run": CheckedFlow(lambda d: d.delete_dag_run("quick", "done")),
    "list_task_instances": CheckedFlow(lambda d: d.list_task_instances("bad", "broken")),
    "get_task_log": CheckedFlow(lambda d: d.get_task_log("bad", "broken", "first")),
    "get_xcom": CheckedFlow(lambda d: d.get_xcom("quick", "done", "hello")),
    "get_dag": CheckedFlow(lambda d: d.get_dag("quick")),
    "pause_dag": CheckedFlow(lambda d: d.pause_dag("quick")),
    "unpause_dag": CheckedFlow(lambda d: d.unpause_dag("paused")),
    "list_pools": CheckedFlow(lambda d: d.list_pools()),
    "get_pool": CheckedFlow(lambda d: d.get_pool("wide"), _pool_is("wide")),
    "create_pool": CheckedFlow(lambda d: d.create_pool("new", 3), _pool_is("new")),
    "update_pool": CheckedFlow(lambda d: d.update_pool("wide", slots=9), _pool_is("wide")),
    "ensure_pool": CheckedFlow(lambda d: d.ensure_pool("wide", slots=9)),
    "delete_pool": CheckedFlow(lambda d: d.delete_pool("wide")),
    "list_assets": CheckedFlow(lambda d: d.list_assets()),
    "list_asset_events": CheckedFlow(lambda d: d.list_asset_events("s3://orders"), _events_of_one),
    "create_asset_event": CheckedFlow(lambda d: d.create_asset_event("s3://orders", extra={"k": 1})),
    "materialize_asset": CheckedFlow(
        lambda d: d.materialize_asset("s3://orders", run_id="made"), _run_is("quick", "made")
    ),
    "get_config": CheckedFlow(lambda d: d.get_config()),
    "get_version": CheckedFlow(lambda d: d.get_version()),
    "get_health": CheckedFlow(lambda d: d.get_health()),
    "call": CheckedFlow(lambda d: d.call("GET", "/pools")),
    "describe": CheckedFlow(lambda d: d.describe()),
}
"""The flows of a deployment, which are the hook's methods."""

HELD = WaitTarget("slow", "held", failed_states=("failed",))
SLOW = _not_before_it_ended("slow", "held")

INTERNAL_FLOWS: dict[str, CheckedFlow] = {
    "trigger once": CheckedFlow(_obtain, _one_run_more("slow", "intent")),
    "wait for a run": CheckedFlow(_wait(HELD), SLOW),
    "wait for a run that failed": CheckedFlow(
        _wait(WaitTarget("bad", "broken", failed_states=("failed",))), _not_before_it_ended("bad", "broken")
    ),
    "wait for a task": CheckedFlow(_wait(replace(HELD, task_ids=("hello",))), SLOW),
    "wait for a group": CheckedFlow(
        _wait(WaitTarget("quick", "done", task_group_id="load", failed_states=("failed",)))
    ),
    "wait for a date": CheckedFlow(_wait(WaitTarget("slow", logical_dates=(DATE,), failed_states=("failed",))), SLOW),
    "wait for the newest run": CheckedFlow(_wait(WaitTarget("slow", newest=True, failed_states=("failed",))), SLOW),
    "wait and show progress and logs": CheckedFlow(
        _wait(replace(HELD, progress=True, stream=("hello",))),
        SLOW,
    ),
    "ended runs": CheckedFlow(lambda d: d.runs.ended(["quick", "bad"], since=0.0, bound=0.0)),
    "open slots": CheckedFlow(_has_room, _no_room),
    "refuse a paused DAG": CheckedFlow(_refuse_paused, _not_passed),
    "why a run failed": CheckedFlow(_reasons),
    "results of tasks": CheckedFlow(_results),
    "all tasks skipped": CheckedFlow(_all_skipped, _not_skipped),
    "borrow slots": CheckedFlow(_loan),
    "find assets": CheckedFlow(lambda d: d.list_assets(uri_pattern="orders")),
    "register an event again": CheckedFlow(_retried_event, _carries_the_intent),
    "wait for events": CheckedFlow(lambda d: d.assets.matching_events(AssetTarget("s3://orders", None, DATE))),
}
"""What operators, sensors and triggers do besides."""

FLOWS = {**METHODS, **INTERNAL_FLOWS}
