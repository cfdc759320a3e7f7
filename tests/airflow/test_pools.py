"""The operators and the sensor for pools."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseOperator,
    TaskDeferred,
)

from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.exceptions import (
    AccessDenied,
    Conflict,
    InvalidSettings,
    NotFound,
    NotSupported,
    PoolIsOccupied,
    RemoteUnavailable,
    UnexpectedReply,
)
from astronomer_remote.operators.pool import (
    RemoteCreatePoolOperator,
    RemoteDeletePoolOperator,
    RemoteSyncPoolsOperator,
    RemoteUpdatePoolOperator,
)
from astronomer_remote.operators.pool_loan import (
    RemoteBorrowPoolSlotsOperator,
    RemoteRecordPoolOperator,
    RemoteReturnPoolSlotsOperator,
    borrowed_slots,
)
from astronomer_remote.sensors.pool import RemotePoolSlotSensor
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import (
    AirflowRescheduleException,
    in_dag,
    local_task,
    only_event,
    restored,
    resume,
    through_the_database,
)

Start = Callable[..., FakeDeployment]

RETRY = {"try_number": 2}


def execute(kind: type, *, task: dict[str, Any] | None = None, **arguments: Any) -> Any:
    made = in_dag(kind, **{"retries": 2, **arguments})
    return made.execute(local_task(made, **(task or {})).context())


# Create, update, delete


def test_a_pool_is_created_changed_and_deleted(any_remote: FakeDeployment) -> None:
    assert execute(RemoteCreatePoolOperator, pool_name="p", slots="5")["slots"] == 5
    assert any_remote.pools() == {"default_pool": 128, "p": 5}
    assert execute(RemoteUpdatePoolOperator, pool_name="p", slots="7")["slots"] == 7
    assert any_remote.pools()["p"] == 7
    assert execute(RemoteDeletePoolOperator, pool_name="p", force=True) is True
    assert any_remote.pools() == {"default_pool": 128}


def test_a_pool_that_exists_is_an_error_left_alone_or_updated(any_remote: FakeDeployment) -> None:
    any_remote.add_pool("p", 3)
    with pytest.raises(Conflict) as caught:
        execute(RemoteCreatePoolOperator, pool_name="p", slots=5)
    assert isinstance(caught.value, AirflowFailException)
    assert execute(RemoteCreatePoolOperator, pool_name="p", slots=5, if_exists="skip")["slots"] == 3
    assert execute(RemoteCreatePoolOperator, pool_name="p", slots=5, if_exists="update")["slots"] == 5
    assert execute(RemoteCreatePoolOperator, pool_name="q", slots=5, if_exists="skip")["slots"] == 5
    assert any_remote.pools() == {"default_pool": 128, "p": 5, "q": 5}


def test_a_retry_does_what_the_first_attempt_would_have_done(any_remote: FakeDeployment) -> None:
    any_remote.add_pool("p", 5)
    for task in ({}, RETRY):
        # Another task may have created it; a task that takes it for its own would delete it later.
        for slots in (5, 6):
            with pytest.raises(Conflict):
                execute(RemoteCreatePoolOperator, task=task, pool_name="p", slots=slots)
        assert execute(RemoteCreatePoolOperator, task=task, pool_name="p", slots=5, if_exists="skip")["slots"] == 5
    execute(RemoteDeletePoolOperator, pool_name="p", if_missing="fail", force=True)
    for task in ({}, RETRY):
        with pytest.raises(NotFound, match="An earlier try of this task may have deleted it"):
            execute(RemoteDeletePoolOperator, task=task, pool_name="p", if_missing="fail", force=True)
        assert execute(RemoteDeletePoolOperator, task=task, pool_name="p", force=True) is False


@pytest.mark.parametrize("if_exists", ["skip", "update"])
def test_several_at_once_make_one_pool_and_no_error(any_remote: FakeDeployment, if_exists: str) -> None:
    made = [
        in_dag(RemoteCreatePoolOperator, f"dag_{number}", pool_name="p", slots=5, if_exists=if_exists)
        for number in range(4)
    ]
    with ThreadPoolExecutor() as pool:
        # What execute() does; Airflow itself lets nobody call that from another thread.
        flows = [lambda deployment, each=each: each._make(deployment, Pool("p", 5)) for each in made]
        outcomes = [pool.submit(each.hook.run_flow, flow) for each, flow in zip(made, flows, strict=True)]
        assert [outcome.result().slots for outcome in outcomes] == [5] * 4
    assert any_remote.pools() == {"default_pool": 128, "p": 5}


def test_every_task_can_be_retried_however_much_of_it_was_done(any_remote: FakeDeployment) -> None:
    any_remote.add_pool("p", 3)
    tasks: list[tuple[type, dict[str, Any], dict[str, int]]] = [
        (RemoteCreatePoolOperator, {"pool_name": "q", "slots": 1, "if_exists": "skip"}, {"p": 3, "q": 1}),
        (RemoteCreatePoolOperator, {"pool_name": "q", "slots": 2, "if_exists": "skip"}, {"p": 3, "q": 1}),
        (RemoteCreatePoolOperator, {"pool_name": "q", "slots": 2, "if_exists": "update"}, {"p": 3, "q": 2}),
        (RemoteUpdatePoolOperator, {"pool_name": "p", "slots": 4}, {"p": 4, "q": 2}),
        (RemoteSyncPoolsOperator, {"pools": {"p": 5}, "prune": True, "force": True}, {"p": 5}),
        (RemoteDeletePoolOperator, {"pool_name": "p", "force": True}, {}),
    ]
    for kind, arguments, after in tasks:
        for number in (1, 2, 3):
            execute(kind, task={"try_number": number}, **arguments)
            assert any_remote.pools() == {"default_pool": 128, **after}, (kind, number)


def test_a_pool_in_use_is_not_deleted_unless_forced(start: Start) -> None:
    remote = start()
    remote.add_pool("p", 3, occupied=2)
    with pytest.raises(PoolIsOccupied) as caught:
        execute(RemoteDeletePoolOperator, pool_name="p")
    assert not isinstance(caught.value, AirflowFailException), "it may be free at the next try"
    execute(RemoteDeletePoolOperator, pool_name="p", force=True)
    made = in_dag(RemoteDeletePoolOperator, pool_name="{{ params.name }}", force=True)
    made.pool_name = "default_pool"
    with pytest.raises(InvalidSettings, match="default_pool"):
        made.execute(local_task(made).context())
    with pytest.raises(NotFound):
        execute(RemoteUpdatePoolOperator, pool_name="p", slots=1)


def test_an_account_with_read_permissions_changes_nothing(start: Start, add_connection: Callable[..., str]) -> None:
    remote = start()
    remote.add_pool("busy", 3)
    add_connection(**remote.connection(login="viewer", password="viewer"))
    tasks: list[tuple[type, dict[str, Any]]] = [
        (RemoteCreatePoolOperator, {"pool_name": "p", "slots": 1}),
        (RemoteCreatePoolOperator, {"pool_name": "p", "slots": 1, "if_exists": "skip"}),
        (RemoteCreatePoolOperator, {"pool_name": "p", "slots": 1, "if_exists": "update"}),
        (RemoteUpdatePoolOperator, {"pool_name": "default_pool", "slots": 1}),
        (RemoteDeletePoolOperator, {"pool_name": "busy", "force": True}),
        (RemoteSyncPoolsOperator, {"pools": {"p": 1, "q": 2}}),
    ]
    for kind, arguments in tasks:
        with pytest.raises(AccessDenied, match="Op is the least"):
            execute(kind, **arguments)
    assert remote.pools() == {"default_pool": 128, "busy": 3}


@pytest.mark.parametrize("slots", [-5, -2, 2**31, "many", "1.5", None, True])
def test_an_invalid_size_is_an_error(start: Start, slots: Any) -> None:
    remote = start()
    with pytest.raises(InvalidSettings, match="slots="):
        execute(RemoteCreatePoolOperator, pool_name="p", slots=slots)
    assert remote.requests == []


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (RemoteCreatePoolOperator, {"pool_name": "p", "slots": -2}),
        (RemoteCreatePoolOperator, {"pool_name": "p", "slots": 1, "if_exists": "ignore"}),
        (RemoteCreatePoolOperator, {"pool_name": " ", "slots": 1}),
        (RemoteCreatePoolOperator, {"pool_name": None, "slots": 1}),
        (RemoteUpdatePoolOperator, {"pool_name": "p"}),
        (RemoteUpdatePoolOperator, {"pool_name": "..", "slots": 1}),
        (RemoteDeletePoolOperator, {"pool_name": "default_pool"}),
        (RemoteDeletePoolOperator, {"pool_name": ""}),
        (RemotePoolSlotSensor, {"pool_name": "x" * 257}),
        (RemotePoolSlotSensor, {"pool_name": "p", "slots": 2**31}),
        (RemoteRecordPoolOperator, {"pool_name": "a/../b", "slots": 1}),
        (RemoteUpdatePoolOperator, {"pool_name": "p", "slots": "many"}),
        (RemoteDeletePoolOperator, {"pool_name": "p", "if_missing": "ignore"}),
        (RemoteSyncPoolsOperator, {}),
        (RemoteSyncPoolsOperator, {"pools": {}, "pools_file": "f"}),
        (RemoteSyncPoolsOperator, {"pools": {}, "fields": ["size"]}),
        (RemoteSyncPoolsOperator, {"source_conn_id": "a", "astronomer_conn_id": "a"}),
        (RemotePoolSlotSensor, {"pool_name": "p", "slots": 0}),
        (RemoteRecordPoolOperator, {"pool_name": "p", "slots": "many"}),
        (RemoteReturnPoolSlotsOperator, {"loan": {}, "if_changed": "ignore"}),
    ],
)
def test_what_is_known_to_be_wrong_is_refused_while_the_dag_is_parsed(kind: type, arguments: Any) -> None:
    with pytest.raises(InvalidSettings):
        in_dag(kind, **arguments)


@pytest.mark.parametrize("name", ["", " ", "x" * 257, ".."])
def test_an_invalid_name_is_an_error(any_remote: FakeDeployment, name: str) -> None:
    tasks: list[tuple[type, dict[str, Any]]] = [
        (RemoteCreatePoolOperator, {"slots": 1}),
        (RemoteUpdatePoolOperator, {"slots": 1}),
        (RemoteDeletePoolOperator, {"force": True}),
        (RemoteRecordPoolOperator, {"slots": 1}),
    ]
    for kind, arguments in tasks:
        made = in_dag(kind, pool_name="{{ params.name }}", **arguments)
        made.pool_name = name  # as the template is rendered to
        with pytest.raises(InvalidSettings, match="pool_name"):
            made.execute(local_task(made).context())
    assert not [path for _, path in any_remote.requests if "pools" in path], "nothing but which Airflow it is"


@pytest.mark.parametrize("name", ["a b", "100%", "a%2Fb", "a..b", "größe 池", "x" * 50])
def test_any_other_name_is_valid(any_remote: FakeDeployment, name: str) -> None:
    execute(RemoteCreatePoolOperator, pool_name=name, slots=0)
    execute(RemoteUpdatePoolOperator, pool_name=name, slots=2)
    execute(RemoteSyncPoolsOperator, pools={name: 3})
    assert any_remote.pools() == {"default_pool": 128, name: 3}
    assert execute(RemoteDeletePoolOperator, pool_name=name, force=True) is True
    assert any_remote.pools() == {"default_pool": 128}


def test_a_name_with_a_slash_is_for_airflow_3(start: Start) -> None:
    newer = start()
    execute(RemoteCreatePoolOperator, pool_name="a/b %ü", slots=1)
    assert newer.pools()["a/b %ü"] == 1
    older = start("2.11.2")
    with pytest.raises(InvalidSettings, match="no Airflow API can address"):
        execute(RemoteCreatePoolOperator, pool_name="a/b", slots=1)
    with pytest.raises(NotSupported, match="unlimited"):
        execute(RemoteCreatePoolOperator, pool_name="p", slots=-1)
    assert older.pools() == {"default_pool": 128}


# Synchronise


def test_pools_are_changed_after_the_table_is_logged(
    any_remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[tuple[str, list[str]]] = []

    class Log:
        def info(self, text: str, *arguments: Any) -> None:
            lines.append((text % arguments, [method for method, _ in any_remote.requests if method != "GET"]))

        def warning(self, *arguments: Any) -> None:
            """Airflow says that this is no real task."""

    monkeypatch.setattr(RemoteSyncPoolsOperator, "log", Log())
    any_remote.add_pool("shrinks", 9)
    any_remote.add_pool("stays", 1)
    declared = {"shrinks": 3, "new": {"slots": 2}}
    diff = execute(RemoteSyncPoolsOperator, pools=declared)
    assert any_remote.pools() == {"default_pool": 128, "shrinks": 3, "stays": 1, "new": 2}
    assert json.loads(json.dumps(diff)) == diff
    assert [(each["pool"], each["action"], each["outcome"]) for each in diff["changes"]] == [
        ("new", "create", "done"),
        ("shrinks", "update", "done"),
    ]
    assert diff["kept"] == {"default_pool": "not declared", "stays": "not declared"}
    ((table, done_before),) = lines
    assert "9 → 3" in table
    assert len(done_before) <= 1, "nothing but the login"
    assert execute(RemoteSyncPoolsOperator, pools=json.dumps(declared))["changes"] == []


def test_a_dry_run_changes_nothing(any_remote: FakeDeployment) -> None:
    diff = execute(RemoteSyncPoolsOperator, pools={"p": 1}, dry_run=True)
    assert [(each["pool"], each["action"]) for each in diff["changes"]] == [("p", "create")]
    assert "outcome" not in diff["changes"][0]
    assert any_remote.pools() == {"default_pool": 128}
    assert {method for method, path in any_remote.requests if path.endswith("pools")} == {"GET"}


def test_another_deployment_can_be_the_declaration(start: Start) -> None:
    source, remote = start("2.11.2", "source"), start("3.3.2")
    source.add_pool("p", 3, description="what for")
    remote.add_pool("gone", 3)
    remote.add_pool("busy", 3, occupied=1)
    diff = execute(RemoteSyncPoolsOperator, source_conn_id="source", prune=True)
    assert remote.pools() == {"default_pool": 128, "p": 3, "busy": 3}
    assert diff["kept"] == {"busy": "not declared, but 1 of its slots are occupied"}
    assert source.pools() == {"default_pool": 128, "p": 3}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pools.json", '{"default_pool": {"slots": 64, "description": "Default pool"}, "p": {"slots": 1}}'),
        ("pools.yaml", "default_pool:\n  slots: 64\n  description: Default pool\np: 1\n"),
        ("POOLS.YML", "{default_pool: 64, p: {slots: 1, description: null}}"),
    ],
)
def test_a_file_can_be_the_declaration(any_remote: FakeDeployment, tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    execute(RemoteSyncPoolsOperator, pools_file=str(path))
    assert any_remote.pools() == {"default_pool": 64, "p": 1}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("missing.json", None, "cannot be read"),
        ("pools.json", "\xff", "cannot be read"),
        ("pools.json", "{", "is not JSON"),
        ("pools.json", '{"p": 1, "p": 2}', "'p' is declared twice"),
        ("pools.json", '{"p": {"slots": 1, "slots": 2}}', "'slots' is declared twice"),
        ("pools.json", '{"p": "many"}', "Pool 'p': slots='many'"),
        ("pools.yaml", "p: 1\np: 2\n", "'p' is declared twice"),
        ("pools.yaml", "p: [", "is not YAML"),
        ("pools.yaml", "? [a]\n: 1\n", "is not YAML"),
        ("pools.yaml", "p: !!python/object:os.system {}", "is not YAML"),
        ("pools.yaml", "- p", "not as list"),
    ],
)
def test_the_error_says_why_a_file_is_no_declaration(
    start: Start, tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    remote = start()
    path = tmp_path / name
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidSettings, match=words):
        execute(RemoteSyncPoolsOperator, pools_file=str(path))
    assert remote.requests == []


def test_without_the_library_for_yaml_it_is_named(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = start()
    path = tmp_path / "pools.yaml"
    path.write_text("p: 1\n")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(InvalidSettings, match=r"pools\.yaml: to read YAML, install PyYAML"):
        execute(RemoteSyncPoolsOperator, pools_file=str(path))
    assert remote.requests == []


def test_the_error_says_why_a_text_is_no_declaration(start: Start) -> None:
    start()
    for pools, words in (("{", "must be an object or its JSON text"), ("[]", "not as list"), ('{"p": -9}', "slots=-9")):
        with pytest.raises(InvalidSettings, match=words):
            execute(RemoteSyncPoolsOperator, pools=pools)


def test_after_a_failure_the_diff_says_what_was_done(start: Start, no_pauses: None) -> None:
    remote = start("2.11.2")
    remote.add_pool("z", 9)
    made = in_dag(RemoteSyncPoolsOperator, pools={"a": 1, "z": 3}, prune=True)
    task = local_task(made)
    remote.disturb(503, times=100, method="PATCH")
    with pytest.raises(RemoteUnavailable, match=r"done: create 'a'; failed: update 'z'"):
        made.execute(task.context())
    assert [each["outcome"] for each in task.xcoms["diff"]["changes"]] == ["done", "failed"]
    assert remote.pools() == {"default_pool": 128, "z": 9, "a": 1}


# Wait for open slots


def sensor(**arguments: Any) -> RemotePoolSlotSensor:
    made: RemotePoolSlotSensor = in_dag(
        RemotePoolSlotSensor, **{"pool_name": "p", "poke_interval": 0.05, "timeout": 20, **arguments}
    )
    return made


def wait(made: RemotePoolSlotSensor) -> Any:
    context = local_task(made).context()
    try:
        return made.execute(context)
    except TaskDeferred as deferred:
        return resume(deferred, made, context)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("version", ["2.0.2", "2.11.2", "3.3.2"])
def test_open_slots_are_waited_for(start: Start, version: str, deferrable: bool) -> None:
    remote = start(version)
    remote.add_pool("p", 3, occupied=3)
    timer = threading.Timer(0.5, lambda: remote.add_pool("p", 3, occupied=1))
    timer.start()
    wait(sensor(slots="2", deferrable=deferrable))
    assert timer.finished.is_set(), "it did not wait until the slots were open"
    timer.join()
    wait(sensor(slots=2, deferrable=deferrable))
    remote.add_pool("p", 3, occupied=0)
    wait(sensor(empty="true", deferrable=deferrable))


@pytest.mark.parametrize("version", ["2.0.2", "2.11.2", "3.3.2"])
def test_a_rescheduled_sensor_polls_once_and_comes_back(start: Start, version: str, not_rescheduled_yet: None) -> None:
    remote = start(version)
    remote.add_pool("p", 3, occupied=3)
    made = sensor(slots=2, mode="reschedule", poke_interval=60)
    task = local_task(made)
    with pytest.raises(AirflowRescheduleException):
        made.execute(task.context())
    assert [method for method, path in remote.requests if path.endswith("/pools/p")] == ["GET"]
    remote.add_pool("p", 3, occupied=1)
    # A worker that comes back knows nothing of the one before.
    again = sensor(slots=2, mode="reschedule", poke_interval=60)
    again.execute(local_task(again).context())


def test_all_waits_of_a_triggerer_share_one_listing_per_interval(start: Start) -> None:
    remote = start()
    interval, waiters = 0.4, 50
    remote.add_pool("p", 3, occupied=3)

    def deferred(number: int) -> Any:
        made = sensor(slots=1 + number % 3, deferrable=True, poke_interval=interval, timeout=100)
        with pytest.raises(TaskDeferred) as caught:
            made.execute(local_task(made).context())
        return restored(caught.value.trigger)

    def paths() -> list[str]:
        return [path for _, path in remote.requests[before:] if "/pools" in path]

    async def wait(triggers: list[Any]) -> list[Any]:
        events = [asyncio.create_task(only_event(trigger)) for trigger in triggers]
        while len(paths()) < 4:  # noqa: ASYNC110  # what happens in the server's thread sets no event
            await asyncio.sleep(0.01)
        remote.add_pool("p", 3, occupied=0)
        return await asyncio.gather(*events)

    triggers = [deferred(number) for number in range(waiters)]
    before, began = len(remote.requests), time.monotonic()
    events = asyncio.run(wait(triggers))
    assert {event["status"] for event in events} == {"success"}
    assert set(paths()) == {"/api/v2/pools"}
    # However long it takes: two listings are an interval apart.
    assert len(paths()) <= 1 + (time.monotonic() - began) / interval


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_for_slots_ends_in_time(start: Start, deferrable: bool) -> None:
    remote = start()
    remote.add_pool("p", 3, occupied=3)
    with pytest.raises(AirflowSensorTimeout):
        wait(sensor(deferrable=deferrable, timeout=0.2))
    with pytest.raises(AirflowSkipException):
        wait(sensor(deferrable=deferrable, timeout=0.2, soft_fail=True))


@pytest.mark.parametrize("deferrable", [False, True])
def test_what_waiting_cannot_fix_fails_at_once(start: Start, deferrable: bool) -> None:
    start()
    with pytest.raises(NotFound):
        wait(sensor(deferrable=deferrable))
    start("1.10.15")
    with pytest.raises(NotSupported, match="cannot show whether slots of a pool are occupied"):
        wait(sensor(deferrable=deferrable))


def test_a_remote_that_is_down_is_waited_for(start: Start, no_pauses: None) -> None:
    remote = start()
    remote.add_pool("p", 3)
    remote.disturb(503, times=6, path="/pools")
    wait(sensor())
    assert sum("/pools" in path for _, path in remote.requests) >= 7


def test_a_pool_that_vanishes_during_a_deferred_wait_is_an_error(start: Start) -> None:
    remote = start()
    remote.add_pool("p", 3, occupied=3)
    made = sensor(deferrable=True)
    context = local_task(made).context()
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(context)
    del remote._contents.pools["p"]
    with pytest.raises(NotFound, match="no pool 'p'"):
        resume(deferred.value, made, context)
    with pytest.raises(UnexpectedReply):
        made.execute_complete(context, {"old": "event"})


# Borrow slots for a while


def test_slots_are_borrowed_and_returned(any_remote: FakeDeployment) -> None:
    any_remote.add_pool("p", 5)
    loan = execute(RemoteRecordPoolOperator, pool_name="p", slots="9")
    loan = json.loads(json.dumps(loan))
    execute(RemoteBorrowPoolSlotsOperator, loan=loan)
    assert any_remote.pools()["p"] == 9
    execute(RemoteBorrowPoolSlotsOperator, loan=loan)
    any_remote.add_pool("p", 6)
    with pytest.raises(Conflict, match="It is now 6 slots"):
        execute(RemoteReturnPoolSlotsOperator, loan=loan)
    execute(RemoteReturnPoolSlotsOperator, loan=loan, if_changed="keep")
    assert any_remote.pools()["p"] == 6
    execute(RemoteReturnPoolSlotsOperator, loan=loan, if_changed="restore")
    execute(RemoteReturnPoolSlotsOperator, loan=loan)
    assert any_remote.pools()["p"] == 5


def test_a_task_that_was_cleared_does_not_take_the_borrowed_size_for_the_pool_s_own(start: Start) -> None:
    remote = start()
    remote.add_pool("p", 9)
    execute(RemoteRecordPoolOperator, pool_name="p", slots=9)
    with pytest.raises(Conflict, match="Give it its own size back first"):
        execute(RemoteRecordPoolOperator, task={"max_tries": 3, "try_number": 2}, pool_name="p", slots=9)


@pytest.mark.parametrize("loan", [None, "", [1]])
def test_an_invalid_loan_is_an_error(start: Start, loan: Any) -> None:
    start()
    for kind in (RemoteBorrowPoolSlotsOperator, RemoteReturnPoolSlotsOperator):
        with pytest.raises(InvalidSettings, match="loan must be what RemoteRecordPoolOperator returned"):
            execute(kind, loan=loan)


def test_tasks_of_the_block_run_between_setup_and_teardown() -> None:
    with DAG("d", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None) as dag:
        with borrowed_slots("p", 9, task_id="more", retries=4):
            BaseOperator(task_id="work")
        BaseOperator(task_id="apart")
    tasks = dag.task_dict
    assert {name: task.is_setup for name, task in tasks.items() if name.startswith("more")} == {
        "more_record": True,
        "more": True,
        "more_return": False,
        "more_done": False,
    }
    assert tasks["more_return"].is_teardown
    # The state of the DAG run depends on the tasks of the block and on whether the pool was restored.
    assert not tasks["more_return"].on_failure_fail_dagrun
    assert tasks["work"].downstream_task_ids == {"more_return"}
    assert tasks["more_done"].upstream_task_ids == {"more_return"}
    assert tasks["more_done"].inherits_from_empty_operator
    assert tasks["more"].upstream_task_ids == {"more_record"}
    assert tasks["work"].upstream_task_ids == {"more_record", "more"}
    assert tasks["more_return"].upstream_task_ids == {"more_record", "more", "work"}
    assert tasks["apart"].upstream_task_ids == set()
    assert tasks["more"].retries == 4
    through_the_database(dag)


def test_every_task_survives_the_database(start: Start) -> None:
    remote = start()
    remote.add_pool("p", 1)
    with DAG("d", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None) as dag:
        RemoteCreatePoolOperator(task_id="create", pool_name="{{ params.p }}", slots="{{ params.n }}")
        RemoteUpdatePoolOperator(task_id="update", pool_name="p", slots="{{ params.n }}")
        RemoteDeletePoolOperator(task_id="delete", pool_name="p")
        RemoteSyncPoolsOperator(task_id="sync", pools={"p": "{{ params.n }}"})
        RemotePoolSlotSensor(task_id="sense", pool_name="p", slots="{{ params.n }}")
        RemoteCreatePoolOperator.partial(task_id="mapped", slots=1).expand(pool_name=["a", "b"])
    assert set(through_the_database(dag).task_dict) == {"create", "update", "delete", "sync", "sense", "mapped"}
    assert remote.requests == []
