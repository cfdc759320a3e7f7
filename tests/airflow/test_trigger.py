"""The trigger behind deferred waits."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest
from airflow.models.trigger import Trigger

from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.compat import (
    AIRFLOW_3,
    RUN_TRY,
    TRIGGERS_HAVE_ON_KILL,
    LocalState,
    triggerer_stats,
    was_trigger_stopped_by_a_person,
)
from astronomer_remote.exceptions import RemoteError
from astronomer_remote.hooks.astronomer import AstronomerHook
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.triggers import base, wait
from astronomer_remote.triggers.base import read_event
from astronomer_remote.triggers.pool import RemotePoolTrigger
from astronomer_remote.triggers.wait import RemoteWaitTrigger
from tests.airflow.local import only_event, restored

Start = Callable[..., FakeDeployment]


def trigger(dag_id: str = "quick", run_id: str | None = "r", **arguments: Any) -> RemoteWaitTrigger:
    names = ("poke_interval", "deadline", "cancel_on_kill", "astronomer_conn_id")
    own = {name: arguments.pop(name) for name in names if name in arguments}
    target = WaitTarget(dag_id, run_id, **{"failed_states": ("failed",), **arguments})
    options: dict[str, Any] = {"astronomer_conn_id": "astronomer_default", "poke_interval": 0.01, **own}
    return RemoteWaitTrigger(target=target.as_dict(), **options)


def event_of(made: RemoteWaitTrigger) -> dict[str, Any]:
    event: dict[str, Any] = asyncio.run(only_event(made))
    return event


# One event


@pytest.mark.parametrize(("dag_id", "status"), [("quick", "success"), ("bad", "failed")])
def test_it_ends_with_one_event_that_contains_the_run(any_remote: FakeDeployment, dag_id: str, status: str) -> None:
    any_remote.add_run(dag_id, "r", state="running")
    event = event_of(trigger(dag_id))
    assert (event["status"], event["error"]) == (status, None)
    assert (event["run"]["run_id"], event["run"]["state"]) == ("r", status)
    assert WaitResult.parse(event).as_dict() == event


HOSTILE = {
    "null\0character": "a\0b",
    "numbers": [float("nan"), float("inf"), 10**300],
    "halves": "\ud800",
    "deep": json.loads("[" * 500 + "]" * 500),
    "large": "x" * 5_000_000,
}


def test_an_event_contains_only_what_the_task_needs(remote: FakeDeployment) -> None:
    # PostgreSQL refuses some of this, and then the triggerer ends, with every wait that is in it.
    remote.add_run("quick", "r")
    run = remote._contents.dags["quick"].runs["r"]
    run.conf, run.note = HOSTILE, "\0" * 5000
    event = event_of(trigger())
    text = json.dumps(event, allow_nan=False, ensure_ascii=False)
    assert (len(text) < 1000, "\0" in text, "\\u0000" in text) == (True, False, False)
    assert event["run"] == {
        "dag_id": "quick",
        "run_id": "r",
        "state": "success",
        "logical_date": event["run"]["logical_date"],
        "url": event["run"]["url"],
    }


def test_a_long_or_hostile_summary_stays_short_and_in_one_line() -> None:
    event = WaitResult(
        None, "\x1b[2J\n[2026-01-01] INFO - well \0\ud800" + "x" * 5_000_000, error="Unreachable"
    ).as_dict()
    assert event["summary"].startswith("\\x1b[2J\\n[2026-01-01] INFO - well \\x00\\ud800xxx")
    assert len(event["summary"]) < 5000


def test_an_event_of_an_earlier_version_is_read() -> None:
    run = DagRun("d", "r", "success", conf={"a": 1}, note="n", url="u")
    event = {"status": "success", "summary": "s", "run": {**vars(run), "more": 1}, "error": None}
    assert WaitResult.parse(event).run == DagRun("d", "r", "success", url="u")


@pytest.mark.parametrize(
    "made",
    [
        RemoteWaitTrigger(astronomer_conn_id="astronomer_default", target={"dag_id": "d", "new": 1}, poke_interval=1),
        RemotePoolTrigger(astronomer_conn_id="astronomer_default", target={"pool": "p", "new": 1}, poke_interval=1),
    ],
    ids=["run", "pool"],
)
def test_a_wait_that_another_version_began_ends_with_a_clear_error(remote: FakeDeployment, made: Any) -> None:
    event = event_of(made)
    assert (event["status"], event["error"]) == (None, "UnexpectedReply")
    assert "was begun by another version of this package" in event["summary"]
    assert "'new'" in event["summary"]


@pytest.mark.parametrize(
    ("watcher", "made"),
    [
        ("astronomer_remote.api.watch.watcher.watch", trigger()),
        (
            "astronomer_remote.api.watch.pool_watcher.watch_pool",
            RemotePoolTrigger(
                astronomer_conn_id="astronomer_default", target=PoolTarget("p").as_dict(), poke_interval=1
            ),
        ),
    ],
)
def test_an_unexpected_error_does_not_reach_the_database_as_it_is(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, watcher: str, made: Any
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise LookupError("what came was \0\x1b[2J\n[2026-01-01] INFO - all is well")

    monkeypatch.setattr(watcher, fail)
    event = event_of(made)
    said = "Unexpected in the triggerer: LookupError: what came was \\x00\\x1b[2J\\n[2026-01-01] INFO - all is well"
    assert event == {"status": None, "summary": said, "run": None, "error": "LookupError"}
    with pytest.raises(RemoteError, match="LookupError"):
        read_event(event)


def test_a_state_that_is_to_skip_ends_it_as_skipped(remote: FakeDeployment) -> None:
    remote.add_run("quick", "r")
    remote.set_task_state("quick", "r", "hello", "skipped")
    assert event_of(trigger(task_ids=("hello",), skipped_states=("skipped",)))["status"] == "skipped"


@pytest.mark.parametrize("unfinished", [{"stays": "queued"}, {"stays": "running"}, {"stays": "pondering"}])
def test_the_deadline_ends_it_in_any_state_of_the_run(remote: FakeDeployment, unfinished: dict[str, str]) -> None:
    remote.add_dag("slow", **unfinished)
    remote.add_run("slow", "r", state="queued")
    event = event_of(trigger("slow", deadline=time.time() + 0.3))
    assert event["status"] == "timeout"
    assert unfinished["stays"] in event["summary"]


def test_the_deadline_holds_after_a_restart(remote: FakeDeployment) -> None:
    remote.add_dag("slow", stays="running")
    remote.add_run("slow", "r", state="running")
    deadline = time.time() + 0.3
    again = restored(restored(trigger("slow", deadline=deadline)))
    assert again.deadline == deadline
    event_of(again)
    assert time.time() >= deadline


def test_it_polls_once_although_the_deadline_passed_while_no_triggerer_ran(remote: FakeDeployment) -> None:
    remote.add_run("quick", "r", state="success")
    assert event_of(trigger(deadline=time.time() - 60))["status"] == "success"


def test_the_cost_of_waiting_is_in_the_triggerers_metrics(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[tuple[str, str]] = []
    stats = triggerer_stats()
    for kind in ("gauge", "incr", "timing"):
        # With the signature of Airflow's own, so that it would refuse what that does.
        own = create_autospec(
            getattr(stats, kind), side_effect=lambda stat, *_, kind=kind, **__: lines.append((kind, stat))
        )
        monkeypatch.setattr(stats, kind, own)
    remote.add_dag("slow", polls=2)
    remote.add_run("slow", "r", state="running")
    event_of(trigger("slow"))
    assert ("gauge", "astronomer_remote.waiting") in lines
    assert ("timing", "astronomer_remote.poll") in lines


@pytest.mark.parametrize(("trigger_id", "least"), [(1, 1.0), (None, 0.0)])
def test_in_a_triggerer_a_wait_does_not_end_before_airflow_has_recorded_the_deferral(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, trigger_id: int | None, least: float
) -> None:
    monkeypatch.setattr(base, "SECONDS_TO_SETTLE", 1.0)
    remote.add_run("quick", "r", state="success")
    began = time.time()
    # However long ago the task began: it may have taken it a while to make the run.
    made = trigger(since=began - 60)
    made.trigger_id = trigger_id
    assert event_of(made)["status"] == "success"
    assert least <= time.time() - began < 25.0


def test_a_long_wait_is_not_delayed() -> None:
    made = trigger()
    made.trigger_id = 1
    began = time.monotonic()
    asyncio.run(made._settle(began - 60, WaitResult(WaitStatus.FAILED, "")))
    assert time.monotonic() - began < base.SECONDS_TO_SETTLE / 3


@pytest.mark.parametrize(
    ("stream", "status", "has_lines"),
    [
        (("load",), WaitStatus.SUCCESS, True),
        ((), WaitStatus.SUCCESS, False),
        ((), WaitStatus.FAILED, False),
        ((), WaitStatus.TIMEOUT, True),
        ((), None, True),
    ],
)
def test_the_last_lines_of_a_log_are_written_before_a_wait_ends(
    monkeypatch: pytest.MonkeyPatch, stream: tuple[str, ...], status: WaitStatus | None, has_lines: bool
) -> None:
    least = 0.5 if has_lines and AIRFLOW_3 else 0.0
    monkeypatch.setattr(base, "SECONDS_TO_LOG", 0.5)
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", pause)
    made = trigger(stream=stream)
    made.trigger_id = 1
    asyncio.run(made._settle(time.monotonic() - 60, WaitResult(status, "")))
    assert paused == [pytest.approx(least, abs=0.01)]


def test_a_wait_for_a_pool_lets_airflow_record_the_deferral_too(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "SECONDS_TO_SETTLE", 1.0)
    remote.add_pool("etl", slots=2)
    began = time.time()
    made = RemotePoolTrigger(
        astronomer_conn_id="astronomer_default", target=PoolTarget("etl").as_dict(), poke_interval=0.01
    )
    made.trigger_id = 1
    assert asyncio.run(only_event(made))["status"] == "success"
    assert time.time() - began >= 1.0


def test_it_sends_no_write_request(any_remote: FakeDeployment) -> None:
    any_remote.add_dag("slow", polls=3)
    any_remote.add_run("slow", "r", state="running")
    event_of(trigger("slow", exists=True))
    written = [path for method, path in any_remote.requests if method != "GET"]
    assert all(path.endswith(("/auth/token", "/login/", "/dagRuns/list")) for path in written)


# Errors


def test_a_connection_that_does_not_exist_becomes_an_event() -> None:
    event = event_of(trigger(astronomer_conn_id="forgotten"))
    assert (event["status"], event["error"]) == (None, "AirflowNotFoundException")
    assert "forgotten" in event["summary"]


def test_an_error_becomes_an_event_that_names_it(remote: FakeDeployment, add_connection: Any) -> None:
    add_connection(**remote.connection(password="wrong-s3cr3t"))
    event = event_of(trigger())
    assert (event["status"], event["error"]) == (None, "AuthenticationFailed")
    assert "admin" in event["summary"]
    assert "s3cr3t" not in json.dumps(event)


def test_a_run_that_vanished_becomes_an_event(remote: FakeDeployment) -> None:
    assert event_of(trigger(exists=True))["error"] == "DagRunVanished"


def test_a_wrong_connection_becomes_an_event(add_connection: Callable[..., str]) -> None:
    add_connection(host="ftp://host.example")
    assert event_of(trigger())["error"] == "InvalidSettings"


def test_a_remote_that_is_down_for_a_while_is_waited_for(remote: FakeDeployment) -> None:
    remote.add_run("quick", "r", state="running")
    remote.disturb(503, times=1)
    assert event_of(trigger())["status"] == "success"


def test_a_secret_that_was_changed_is_read_again(start: Start, add_connection: Any) -> None:
    remote = start("2.11.2")
    remote.add_dag("slow", stays="running")
    remote.add_run("slow", "r", state="running")

    async def change_meanwhile() -> Any:
        waiting = asyncio.create_task(only_event(trigger("slow")))
        await requested(remote, 3)
        remote.change_secret("changed")
        add_connection(**remote.connection())
        remote.finish("slow", "r")
        return await asyncio.wait_for(waiting, 60)

    assert asyncio.run(change_meanwhile())["status"] == "success"


async def requested(remote: FakeDeployment, requests: int) -> None:
    """Wait until a remote has got some requests."""
    for _ in range(6000):
        if len(remote.requests) >= requests:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"only {remote.requests}")


# In the triggerer


def test_the_connection_is_not_looked_up_on_the_event_loop(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_up = AstronomerHook.get_connection

    def off_the_loop(conn_id: str) -> Any:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return look_up(conn_id)
        raise AssertionError("looked up on the event loop")

    monkeypatch.setattr(AstronomerHook, "get_connection", staticmethod(off_the_loop))
    remote.add_run("quick", "r")
    assert event_of(trigger())["status"] == "success"


def test_the_event_loop_is_never_blocked(remote: FakeDeployment) -> None:
    remote.add_dag("slow", polls=20)
    remote.add_run("slow", "r", state="running")

    async def beside() -> float:
        waiting = asyncio.create_task(only_event(trigger("slow")))
        # What is imported and set up at the first request is not what this is about.
        await requested(remote, 3)
        # The time of this thread alone counts: the remote has threads of its own, and the machine may be busy.
        longest = 0.0
        while not waiting.done():
            before = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - before)
        return longest

    gc.disable()  # All that other tests have left is nobody's business here.
    try:
        assert asyncio.run(beside()) < 0.2
    finally:
        gc.enable()


def test_a_deferred_wait_is_made_of_few_objects(remote: FakeDeployment) -> None:
    remote.add_dag("slow", stays="running")
    remote.add_run("slow", "r", state="running")

    async def objects_of_one() -> float:
        waiting = [asyncio.ensure_future(only_event(trigger("slow")))]
        await requested(remote, 4)
        gc.collect()
        before = len(gc.get_objects())
        waiting += [asyncio.ensure_future(only_event(trigger("slow"))) for _ in range(100)]
        await requested(remote, len(remote.requests) + 4)
        gc.collect()
        made = (len(gc.get_objects()) - before) / 100
        for each in waiting:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return made

    # A full garbage collection visits all of them. An adapter for `requests` alone would be a dozen.
    assert asyncio.run(objects_of_one()) <= 55


def test_many_waits_of_one_triggerer_all_end(any_remote: FakeDeployment) -> None:
    any_remote.add_dag("slow", polls=3)
    for number in range(20):
        any_remote.add_run("slow", f"r{number}", state="running", logical_date=f"2026-01-{number + 1:02}T00:00:00Z")

    async def wait_for_all() -> list[Any]:
        return await asyncio.gather(*(only_event(trigger("slow", f"r{number}")) for number in range(20)))

    events = asyncio.run(wait_for_all())
    assert [(event["status"], event["run"]["run_id"]) for event in events] == [
        ("success", f"r{number}") for number in range(20)
    ]


def test_it_survives_airflows_database_without_a_secret(start: Start) -> None:
    start(password="s3cr3t")
    made = trigger(deadline=1.5, cancel_on_kill=True)
    stored = Trigger.from_object(made)
    assert stored.classpath == "astronomer_remote.triggers.wait.RemoteWaitTrigger"
    assert restored(made).serialize() == made.serialize() == (stored.classpath, stored.kwargs)
    for text in (repr(made), str(vars(made)), str(stored.kwargs)):
        assert "s3cr3t" not in text


# Kills


async def cancelled(made: RemoteWaitTrigger, remote: FakeDeployment) -> None:
    """Let it look for a while, and cancel it as a triggerer does."""
    waiting = asyncio.create_task(only_event(made))
    await requested(remote, 4)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@pytest.fixture
def endless(start: Start) -> FakeDeployment:
    """A remote with a run that never finishes."""
    remote = start()
    remote.add_dag("slow", stays="running")
    remote.add_run("slow", "r", state="running")
    return remote


def state_of(remote: FakeDeployment) -> Any:
    return remote.runs("slow")[0]["state"]


def test_a_cancellation_passes_through_and_leaves_a_run_that_is_only_watched(endless: FakeDeployment) -> None:
    asyncio.run(cancelled(trigger("slow"), endless))
    assert state_of(endless) == "running"


@pytest.mark.parametrize("by_a_person", [True, False])
def test_a_cancellation_ends_the_run_only_if_a_person_caused_it(
    endless: FakeDeployment, monkeypatch: pytest.MonkeyPatch, by_a_person: bool
) -> None:
    async def found_out(*_: Any) -> bool:
        return by_a_person

    monkeypatch.setattr(wait, "was_trigger_stopped_by_a_person", found_out)
    asyncio.run(cancelled(trigger("slow", cancel_on_kill=True), endless))
    assert (state_of(endless) == "failed") == (by_a_person and not TRIGGERS_HAVE_ON_KILL)


BY_A_PERSON = ("failed", "success", "skipped", "removed", "restarting", None, "scheduled")


@dataclass
class LocalXComs:
    """
    What a local task of Airflow 3 has in XCom.

    :param later: what it has from the second look on.
    """

    now: dict[str, Any]
    later: dict[str, Any] | None = None

    def get(self, _: Any, key: str) -> Any:
        found = self.now.get(key)
        if self.later is not None:
            self.now = self.later
        return found


OWN = LocalXComs({RUN_TRY: 1, "trigger_run_id": "r"})
NEXT_TRY = {RUN_TRY: 2, "trigger_run_id": "r"}
CLEARED = {RUN_TRY: 2, "trigger_run_id": "r2"}


@pytest.mark.parametrize(
    ("local", "xcoms", "cancelled"),
    [
        *((state, OWN, True) for state in BY_A_PERSON),
        # Another triggerer has taken the trigger over, or Airflow has given up on this try.
        *((state, OWN, False) for state in ("deferred", "up_for_retry")),
        # Another triggerer has sent this try back to a worker.
        ("running", OWN, False),
        # The next try waits for the same run, having cleared it; a person may have ended that one, too.
        *((state, LocalXComs(NEXT_TRY), False) for state in ("running", "scheduled", "failed")),
        # The task was cleared, and has made another run by now.
        *((state, LocalXComs(CLEARED), True) for state in ("running", "failed")),
        # Another try has begun. It pushes its run later or not at all.
        ("running", LocalXComs({}, NEXT_TRY), False),
        ("running", LocalXComs({}, CLEARED), True),
        ("running", LocalXComs({}), False),
    ],
)
def test_a_supposed_kill_leaves_the_run(
    endless: FakeDeployment, monkeypatch: pytest.MonkeyPatch, local: str | None, xcoms: LocalXComs, cancelled: bool
) -> None:
    assert (asyncio.run(killed(endless, monkeypatch, LocalState(local), xcoms)) == "failed") == cancelled


def test_a_kill_cancels_the_run_of_a_local_run_that_was_deleted(
    endless: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert asyncio.run(killed(endless, monkeypatch, LocalState(exists=False), LocalXComs({}))) == "failed"


async def killed(endless: FakeDeployment, monkeypatch: pytest.MonkeyPatch, local: LocalState, xcoms: LocalXComs) -> Any:
    """State of the run once Airflow has called the trigger's on_kill."""
    local_airflow(monkeypatch, local, xcoms)
    waiting = trigger("slow", cancel_on_kill=True)
    waiting.task_instance = deferred_task()
    await waiting.on_kill()
    return state_of(endless)


def deferred_task() -> Any:
    return SimpleNamespace(try_number=1, max_tries=0, dag_id="local", task_id="task", run_id="run", map_index=-1)


def local_airflow(monkeypatch: pytest.MonkeyPatch, local: LocalState, xcoms: LocalXComs) -> None:
    """Let the local Airflow say how a task stands."""
    monkeypatch.setattr("astronomer_remote.compat._local_state", lambda _: local)
    monkeypatch.setattr("astronomer_remote.compat._xcom", replace(xcoms).get)
    monkeypatch.setattr("astronomer_remote.compat.SECONDS_UNTIL_PUBLISHED", 2)


@pytest.mark.parametrize(
    ("local", "xcoms", "cancelled"),
    [
        (LocalState("deferred", 1, 0), None, True),
        (LocalState("running", 1, 0), None, True),
        (LocalState("up_for_retry", 1, 0), None, False),
        (LocalState("deferred", 2, 0), None, False),
        (LocalState("deferred"), None, True),
        (LocalState("up_for_retry"), None, False),
        (LocalState("queued"), OWN, True),
        (LocalState("running"), OWN, False),
        (LocalState("running"), LocalXComs(NEXT_TRY), False),
        (LocalState("running"), LocalXComs(CLEARED), True),
        (LocalState(exists=False), None, True),
    ],
)
def test_a_deadline_that_a_suspended_triggerer_finds_passed_leaves_the_run_to_the_next_try(
    endless: FakeDeployment,
    monkeypatch: pytest.MonkeyPatch,
    local: LocalState,
    xcoms: LocalXComs | None,
    cancelled: bool,
) -> None:
    local_airflow(monkeypatch, local, xcoms or LocalXComs({}))
    waiting = trigger("slow", cancel_on_kill=True, deadline=time.time())
    waiting.task_instance = deferred_task()
    assert event_of(waiting)["status"] == "timeout"
    assert (state_of(endless) == "failed") == cancelled


def test_a_deadline_ends_the_run_if_the_local_deployment_does_not_answer(
    endless: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> LocalState:
        raise ConnectionError("the local deployment is going down, too")

    monkeypatch.setattr("astronomer_remote.compat._local_state", broken)
    waiting = trigger("slow", cancel_on_kill=True, deadline=time.time())
    waiting.task_instance = deferred_task()
    assert (event_of(waiting)["status"], state_of(endless)) == ("timeout", "failed")


@pytest.mark.parametrize(
    ("local", "cancelled"),
    [
        *((LocalState(state, 1, 0), True) for state in ("failed", "success", "skipped", "removed", "restarting")),
        (LocalState("scheduled", 1, 0, "__fail__"), True),
        # Cleared, and by now on its way again.
        *((LocalState(state, 2, 1), True) for state in (None, "scheduled", "queued", "running", "deferred")),
        # Another triggerer has taken the trigger over, and sent the task back to a worker or to wait for another.
        *((LocalState(state, 1, 0), False) for state in ("scheduled", "queued", "running", "deferred")),
        *((LocalState(state, 2, 0), False) for state in ("up_for_retry", "scheduled", "queued", "running", "deferred")),
    ],
)
def test_airflow_2_says_whether_a_deferred_task_was_cleared(
    monkeypatch: pytest.MonkeyPatch, local: LocalState, cancelled: bool
) -> None:
    monkeypatch.setattr("astronomer_remote.compat._local_state", lambda _: local)
    ti = SimpleNamespace(try_number=1, max_tries=0)
    assert asyncio.run(was_trigger_stopped_by_a_person(ti, "run")) is cancelled


@pytest.mark.parametrize("unknown", [True, False], ids=["no answer", "answered"])
def test_a_cancellation_of_unknown_cause_leaves_the_run(
    endless: FakeDeployment, monkeypatch: pytest.MonkeyPatch, unknown: bool
) -> None:
    async def check(*_: Any) -> bool:
        if unknown:
            raise ConnectionError("the database is going down, too")
        return True

    # As Airflow before 3.3 has it, where a cancellation is all that a trigger gets.
    monkeypatch.setattr(wait, "TRIGGERS_HAVE_ON_KILL", False)
    monkeypatch.setattr(wait, "was_trigger_stopped_by_a_person", check)
    asyncio.run(cancelled(trigger("slow", cancel_on_kill=True), endless))
    assert state_of(endless) == ("running" if unknown else "failed")


@pytest.mark.parametrize(("ours", "state"), [(True, "failed"), (False, "running")])
def test_a_kill_ends_the_run_if_the_task_made_it(endless: FakeDeployment, ours: bool, state: str) -> None:
    asyncio.run(trigger("slow", cancel_on_kill=ours).on_kill())
    assert state_of(endless) == state


@pytest.mark.parametrize(("ours", "state"), [(True, "failed"), (False, "running")])
def test_a_deadline_ends_the_run_if_the_task_made_it(endless: FakeDeployment, ours: bool, state: str) -> None:
    # Airflow 2 ends a task whose execution_timeout is over without letting it come back.
    event = event_of(trigger("slow", cancel_on_kill=ours, deadline=time.time()))
    assert (event["status"], event["run"]["state"], state_of(endless)) == ("timeout", state, state)


def test_a_cancellation_that_fails_is_a_warning(
    endless: FakeDeployment, add_connection: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    add_connection(**endless.connection(password="wrong"))
    asyncio.run(trigger("slow", cancel_on_kill=True).on_kill())
    assert state_of(endless) == "running"
    assert "Could not cancel run r of DAG slow in the remote: " in capsys.readouterr().out + caplog.text


def test_the_message_of_a_cancellation_arrives_even_while_the_connection_is_read(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Airflow 3.3 distinguishes a kill from a restart by the message of the cancellation.
    read, reading = AstronomerHook.get_connection, threading.Event()

    def slow(conn_id: str) -> Any:
        reading.set()
        time.sleep(0.5)
        return read(conn_id)

    monkeypatch.setattr(AstronomerHook, "get_connection", staticmethod(slow))

    async def wait_for_it() -> tuple[Any, ...]:
        with pytest.raises(asyncio.CancelledError) as caught:
            await only_event(trigger())
        return caught.value.args

    async def kill() -> tuple[Any, ...]:
        waiting = asyncio.ensure_future(wait_for_it())
        await asyncio.to_thread(reading.wait, 10)
        waiting.cancel("user action")
        return await waiting

    assert asyncio.run(kill()) == ("user action",)
