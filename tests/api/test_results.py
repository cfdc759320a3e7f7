"""What the tasks of a remote run returned."""

from __future__ import annotations

import json
from typing import Any

import pytest

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.protocol.errors import AccessDenied, NotFound, NotSupported, UnexpectedReply
from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.api.runs.xcoms import LARGEST_RESULTS, MOST_INSTANCES
from tests.api.script import EXPERIMENTAL, V1, V1_OLDEST, V2, V2_OLDEST, ScriptedRemote, Turn, answer, ok

RUN = DagRun("d", "r", "success", logical_date="2026-11-22T07:00:00Z")
GONE = answer(404, {"detail": "XCom entry not found"})


def base(version: str) -> str:
    return f"/api/{'v1' if version < '3' else 'v2'}/dags/d/dagRuns/r/taskInstances"


def xcom(version: str, value: Any, task_id: str = "t", key: str = "return_value", index: int = -1) -> Turn:
    """The request for a value, and its answer; ``...`` for none."""
    query = [*(["stringify=false"] if version < "3" else []), *([f"map_index={index}"] if index >= 0 else [])]
    target = f"{base(version)}/{task_id}/xcomEntries/{key}" + (f"?{'&'.join(query)}" if query else "")
    return Turn(f"GET {target}", GONE if value is ... else ok({"key": key, "value": value}))


def instances(version: str, *found: tuple[str, int]) -> Turn:
    lines = [{"task_id": task_id, "map_index": index, "state": "success"} for task_id, index in found]
    body = {"task_instances": lines, "total_entries": len(lines)}
    return Turn(f"GET {base(version)}?limit=100&offset=0", ok(body))


def results(version: str, *turns: Turn, task_ids: tuple[str, ...] = ("t",), keys: tuple[str, ...] = ()) -> Any:
    remote = ScriptedRemote(version=version)
    return remote.play(remote.deployment.results.read(RUN, dict.fromkeys(task_ids, keys) if keys else task_ids), *turns)


@pytest.mark.parametrize("version", [V1, V2_OLDEST, V2])
@pytest.mark.parametrize("value", [{"a": [1, None, 2.5, True]}, "text", "(a, b)", 0, [], {"__data__": 1}])
def test_a_value_keeps_its_types(version: str, value: Any) -> None:
    assert results(version, xcom(version, value)) == {"t": value}


def test_keys_are_distinguished() -> None:
    turns = [xcom(V2, 1, "a", "x"), xcom(V2, 2, "a", "y"), xcom(V2, 3, "b", "x"), xcom(V2, 4, "b", "y")]
    found = results(V2, *turns, task_ids=("a", "b"), keys=("x", "y"))
    assert found == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 4}}


@pytest.mark.parametrize("version", [V1, V2])
def test_a_task_that_returned_nothing_has_nothing(version: str) -> None:
    assert results(version, xcom(version, ...), instances(version, ("t", -1))) == {"t": None}


def test_a_mapped_task_has_a_list_in_the_order_of_its_indexes() -> None:
    parts = instances(V2, ("t", 2), ("other", -1), ("t", 0), ("t", 1), ("u", 0))
    each = [xcom(V2, 10, index=0), xcom(V2, ..., index=1), xcom(V2, 12, index=2)]
    also = [xcom(V2, ..., "u"), xcom(V2, 5, "u", index=0)]
    found = results(V2, xcom(V2, ...), parts, *each, *also, task_ids=("t", "u"))
    assert found == {"t": [10, None, 12], "u": [5]}


def test_a_task_with_too_many_instances_is_refused() -> None:
    many = instances(V2, *(("t", index) for index in range(MOST_INSTANCES + 1)))
    with pytest.raises(NotSupported, match="101 instances"):
        results(V2, xcom(V2, ...), many)


def test_a_task_that_the_run_does_not_have_is_an_error() -> None:
    with pytest.raises(NotFound, match="has no task 't'"):
        results(V2, xcom(V2, ...), instances(V2, ("other", -1)))


@pytest.mark.parametrize("kind", ["tuple", "set", "frozenset"])
def test_what_is_a_sequence_becomes_a_list(kind: str) -> None:
    inner = {"__classname__": "builtins.tuple", "__version__": 1, "__data__": ["a"]}
    value = {"__classname__": f"builtins.{kind}", "__version__": 1, "__data__": [1, inner]}
    assert results(V2, xcom(V2, {"x": value})) == {"t": {"x": [1, ["a"]]}}


@pytest.mark.parametrize(
    ("version", "value", "said"),
    [
        (V2, {"__classname__": "datetime.timedelta", "__version__": 2, "__data__": 5.0}, "datetime.timedelta"),
        (V2, [{"__classname__": "builtins.tuple", "__data__": None}], "builtins.tuple"),
        (V2, {"__classname__": "a.Vector", "__version__": 1, "__data__": [1, 2]}, "a.Vector"),
        (V1, "datetime.timedelta@version=2(5.0)", "datetime.timedelta"),
        (V1, [float("nan")], "nan"),
        (V1, {"x": float("inf")}, "inf"),
        (V1, float("-inf"), "-inf"),
        (V2, {"x": [2**63]}, "an integer of more than 64 bits"),
        (V2, json.loads("[" * 65 + "]" * 65), "nested more than 64 times"),
        (V2, json.loads('{"a":' * 65 + "1" + "}" * 65), "nested more than 64 times"),
    ],
)
def test_a_value_that_is_no_json_is_named_and_not_mangled(version: str, value: Any, said: str) -> None:
    with pytest.raises(
        NotSupported, match=f"XCom 'return_value' of task 't' in run 'r' is not JSON, but {said}[.] Let the"
    ):
        results(version, xcom(version, value))


def test_a_value_may_be_nested_64_times() -> None:
    for deep in (json.loads("[" * 64 + "]" * 64), json.loads('{"a":' * 64 + "1" + "}" * 64)):
        assert results(V2, xcom(V2, deep)) == {"t": deep}


def test_in_texts_what_no_database_can_hold_is_replaced() -> None:
    assert results(V2, xcom(V2, {"a\0": "b\ud800c"})) == {"t": {"a\ufffd": "b\ufffdc"}}


def test_results_that_are_too_large_are_refused() -> None:
    with pytest.raises(NotSupported, match="where their data is"):
        results(V2, xcom(V2, "x" * LARGEST_RESULTS))


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1_OLDEST, "2.9.3"])
def test_a_remote_that_sends_no_types_fails_before_any_request(version: str) -> None:
    with pytest.raises(
        NotSupported, match=r"cannot return XCom values with their types\. Airflow 2\.10 and later can\.$"
    ):
        results(version)


def test_a_missing_permission_is_no_missing_value() -> None:
    with pytest.raises(AccessDenied):
        results(V2, Turn(xcom(V2, 1).expected, answer(403, {"detail": "Forbidden"})))


def counted(version: str, number: int, state: str | None = None) -> Turn:
    query = f"limit=1&offset=0{f'&state={state}' if state else ''}"
    return Turn(f"GET {base(version)}?{query}", ok({"task_instances": [], "total_entries": number}))


def test_a_removed_instance_neither_keeps_a_run_from_being_skipped_nor_has_a_result() -> None:
    turns = [counted(V1, 5), counted(V1, 3, "skipped"), counted(V1, 2, "removed")]
    remote = ScriptedRemote(version=V1)
    assert remote.play(remote.deployment.results.all_skipped(RUN), *turns) is True
    lines = [
        {"task_id": "t", "map_index": index, "state": "removed" if index == 2 else "success"} for index in range(3)
    ]
    parts = Turn(f"GET {base(V1)}?limit=100&offset=0", ok({"task_instances": lines, "total_entries": 3}))
    found = results(V1, xcom(V1, ...), parts, xcom(V1, 10, index=0), xcom(V1, 11, index=1))
    assert found == {"t": [10, 11]}


@pytest.mark.parametrize("version", [V1, V2])
def test_the_reply_to_another_request_does_not_pass_for_skipped_tasks(version: str) -> None:
    listed = {"task_instances": [{"task_id": "t", "state": "success"}], "total_entries": 1}
    remote = ScriptedRemote(version=version, retry=RetryPolicy(attempts=1))
    turns = [counted(version, 1), Turn(counted(version, 1, "skipped").expected, ok(listed))]
    with pytest.raises(UnexpectedReply):
        remote.play(remote.deployment.results.all_skipped(RUN), *turns)


@pytest.mark.parametrize("version", [V1_OLDEST, V1, V2])
@pytest.mark.parametrize(
    ("tasks", "skipped", "all_of_them"), [(3, 3, True), (3, 2, False), (3, 1, False), (1, 1, True), (0, 0, False)]
)
def test_a_run_is_skipped_if_it_has_tasks_and_all_of_them_are(
    version: str, tasks: int, skipped: int, all_of_them: bool
) -> None:
    remote = ScriptedRemote(version=version)
    turns = [counted(version, tasks), counted(version, skipped, "skipped")]
    if 0 < skipped < tasks:
        turns.append(counted(version, 0, "removed"))
    assert remote.play(remote.deployment.results.all_skipped(RUN), *turns) is all_of_them
