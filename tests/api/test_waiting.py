"""When a wait is over and how, and how a remote is looked at until then."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    Conflict,
    DagRunVanished,
    ListingChanged,
    NotSupported,
    RemoteUnavailable,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.waiting.schedule import SECONDS_BETWEEN_WIDE_POLLS
from astronomer_remote.api.waiting.target import (
    BY_DATA_INTERVAL_END,
    NO_SUCH_DAG,
    Snapshot,
    WaitResult,
    WaitStatus,
    WaitTarget,
    evaluate,
)
from astronomer_remote.api.waiting.waiter import SECONDS_BEFORE_DELETED, UNREACHABLE_TIMEOUT
from astronomer_remote.testing import VirtualClock
from tests.api.script import (
    DATE,
    EXPERIMENTAL,
    LOST,
    STABLE,
    V1,
    V1_OLD,
    V2,
    VERSIONS,
    ScriptedRemote,
    Speech,
    Turn,
    answer,
    ok,
    page,
)

STATES = ("success", "failed", "skipped", "upstream_failed", "running", "queued", None, "a_new_state")
ANYTHING = WaitTarget("d", allowed_states=("success",), failed_states=("failed",), skipped_states=("skipped",))

things = st.dictionaries(st.text(max_size=3), st.lists(st.sampled_from(STATES), max_size=4), max_size=4)
targets = st.builds(
    WaitTarget,
    dag_id=st.just("d"),
    allowed_states=st.lists(st.sampled_from(STATES[:5]), max_size=3).map(tuple),
    failed_states=st.lists(st.sampled_from(STATES[:5]), max_size=2).map(tuple),
    skipped_states=st.lists(st.sampled_from(STATES[:5]), max_size=2).map(tuple),
)
every_version = pytest.mark.parametrize("version", VERSIONS)


# When a wait is over


@given(targets)
def test_nothing_found_is_never_success(target: WaitTarget) -> None:
    assert evaluate(Snapshot({}), target) is None
    assert evaluate(Snapshot({"run r": []}), target) is None


@given(things, targets)
def test_anything_failed_fails_first(found: dict[str, list[str | None]], target: WaitTarget) -> None:
    states = {state for those in found.values() for state in those}
    status = evaluate(Snapshot(found), target)
    if states & set(target.failed_states):
        assert status is WaitStatus.FAILED
    elif states & set(target.skipped_states):
        assert status is WaitStatus.SKIPPED
    else:
        assert status in (None, WaitStatus.SUCCESS)


@given(things, targets)
def test_success_means_that_everything_is_there_and_in_an_allowed_state(
    found: dict[str, list[str | None]], target: WaitTarget
) -> None:
    complete = bool(found) and all(found.values())
    allowed = all(state in target.allowed_states for those in found.values() for state in those)
    if evaluate(Snapshot(found), target) is WaitStatus.SUCCESS:
        assert complete
        assert allowed


@given(things)
def test_an_unknown_state_means_not_yet(found: dict[str, list[str | None]]) -> None:
    found = {**found, "new": ["a_new_state"]}
    assert evaluate(Snapshot(found), ANYTHING) in (None, WaitStatus.FAILED, WaitStatus.SKIPPED)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ({"a": ["success"]}, WaitStatus.SUCCESS),
        ({"a": ["success"], "b": []}, None),
        ({"a": ["success", None]}, None),
        ({"a": ["running"], "b": ["failed"]}, WaitStatus.FAILED),
        ({"a": ["skipped"], "b": ["failed"]}, WaitStatus.FAILED),
        ({"a": ["skipped"], "b": ["running"]}, WaitStatus.SKIPPED),
    ],
)
def test_one_failure_is_enough_and_everything_has_to_be_there(found: Any, status: WaitStatus | None) -> None:
    assert evaluate(Snapshot(found), ANYTHING) is status


# The target


@given(targets, st.none() | st.text(), st.lists(st.text(), max_size=2).map(tuple), st.booleans())
def test_a_target_survives_being_stored_as_json(
    target: WaitTarget, run_id: str | None, names: tuple[str, ...], flag: bool
) -> None:
    target = WaitTarget(
        "d",
        run_id=run_id,
        logical_dates=names,
        newest=flag,
        task_ids=names,
        task_group_id=run_id,
        allowed_states=target.allowed_states,
        failed_states=target.failed_states,
        skipped_states=target.skipped_states,
        exists=flag,
    )
    assert WaitTarget.from_dict(json.loads(json.dumps(target.as_dict()))) == target


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (WaitTarget("d", run_id="r"), "run 'r' of DAG 'd'"),
        (WaitTarget("d", newest=True), "the newest run of DAG 'd'"),
        (WaitTarget("d", logical_dates=("a", "b"), task_ids=("t", "u")), "task(s) t, u in the runs of a, b of DAG 'd'"),
        (
            WaitTarget("d", logical_dates=("a",), match_by=BY_DATA_INTERVAL_END),
            "the runs whose data interval ends at a of DAG 'd'",
        ),
        (WaitTarget("d", run_id="r", task_group_id="g"), "task group 'g' in run 'r' of DAG 'd'"),
    ],
)
def test_a_target_has_a_text(target: WaitTarget, words: str) -> None:
    assert str(target) == words


# A poll


def look(remote: ScriptedRemote, target: WaitTarget, *turns: Turn) -> Snapshot:
    return remote.play(remote.deployment.poller.snapshot(target), *turns)


def meet(version: str) -> tuple[ScriptedRemote, Speech]:
    return ScriptedRemote(version=version), Speech(version)


@every_version
def test_a_run_is_looked_at_by_the_id_that_the_remote_gave(version: str) -> None:
    remote, speech = meet(version)
    snapshot = look(remote, WaitTarget("d", run_id="r"), speech.get(speech.run(state="success")))
    assert snapshot.states == {"run r": ["success"]}
    assert snapshot.run is not None
    assert snapshot.summary() == "run r: success"


@every_version
def test_a_run_that_is_not_there_yet_is_nothing_found(version: str) -> None:
    remote, speech = meet(version)
    snapshot = look(remote, WaitTarget("d", run_id="r"), speech.get())
    assert snapshot == Snapshot({"run r": []})
    assert snapshot.summary() == "run r: not there yet"


@every_version
def test_a_run_that_was_seen_and_is_gone_has_vanished(version: str) -> None:
    remote, speech = meet(version)
    with pytest.raises(DagRunVanished, match="no longer exists") as failure:
        look(remote, WaitTarget("d", run_id="r", exists=True), speech.get())
    assert failure.value.status == 404


def test_a_page_of_a_gateway_does_not_make_a_run_vanish() -> None:
    remote, speech = meet(V2)
    with pytest.raises(UnexpectedReply):
        look(
            remote,
            WaitTarget("d", run_id="r", exists=True),
            *[Turn(speech.get_line(), page(404, "default backend"))] * 6,
        )


@every_version
def test_each_date_is_waited_for_and_a_missing_one_is_not_passed_over(version: str) -> None:
    remote, speech = meet(version)
    later = "2026-11-23T07:00:00Z"
    snapshot = look(
        remote,
        WaitTarget("d", logical_dates=(DATE, later)),
        speech.of_date(speech.run(state="success")),
        speech.of_date(date=later),
    )
    assert snapshot.states == {f"run of {DATE}": ["success"], f"run of {later}": []}
    assert snapshot.run is None
    assert evaluate(snapshot, ANYTHING) is None


@every_version
def test_the_newest_run_is_looked_at(version: str) -> None:
    remote, speech = meet(version)
    assert look(remote, WaitTarget("d", newest=True), speech.newest()) == Snapshot({})
    snapshot = look(remote, WaitTarget("d", newest=True), speech.newest(speech.run("n", "failed")))
    assert snapshot.states == {"run n": ["failed"]}


@pytest.mark.parametrize("version", STABLE)
def test_a_newest_run_that_cannot_be_addressed_is_no_fault_of_the_settings(version: str) -> None:
    remote, speech = meet(version)
    with pytest.raises(NotSupported, match="no Airflow API can address"):
        look(remote, WaitTarget("d", newest=True), speech.newest(speech.run("by hand/1", "running")))


def instance(task_id: str, state: str | None = "success", map_index: int = -1) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "state": state,
        "map_index": map_index,
        "try_number": None,
        "operator": "PythonOperator",
    }


def instance_turn(speech: Speech, task_id: str, found: dict[str, Any] | None = None) -> Turn:
    """The request for the one instance of a task; there is none of a mapped one, or of one that is not there yet."""
    reply = (
        ok(found) if found else answer(404, {"detail": "Task instance is mapped, add the map_index value to the URL"})
    )
    return Turn(f"GET {speech.runs_path}/r/taskInstances/{task_id}", reply)


def instances_turn(speech: Speech, *instances: dict[str, Any], total: int | None = None, offset: int = 0) -> Turn:
    line = f"GET {speech.runs_path}/r/taskInstances?limit=100&offset={offset}"
    return Turn(line, ok({"task_instances": list(instances), "total_entries": total or len(instances)}))


@pytest.mark.parametrize("version", STABLE)
def test_tasks_are_looked_at_one_by_one_and_a_mapped_one_with_all_its_indexes(version: str) -> None:
    remote, speech = meet(version)
    snapshot = look(
        remote,
        WaitTarget("d", run_id="r", task_ids=("a", "m", "missing")),
        speech.get(speech.run()),
        instance_turn(speech, "a", instance("a")),
        instance_turn(speech, "m"),
        instance_turn(speech, "missing"),
        instances_turn(
            speech, instance("a"), instance("b", "failed"), instance("m", map_index=0), instance("m", None, 1)
        ),
    )
    assert snapshot.states == {
        "run r, task a": ["success"],
        "run r, task m": ["success", None],
        "run r, task missing": [],
    }
    assert (
        snapshot.summary() == "run r, task a: success, run r, task m: None/success, run r, task missing: not there yet"
    )


def test_a_task_group_is_everything_below_its_name() -> None:
    remote, speech = meet(V2)
    snapshot = look(
        remote,
        WaitTarget("d", run_id="r", task_group_id="g"),
        speech.get(speech.run()),
        instances_turn(speech, instance("g.a"), instance("g.inner.b", "skipped"), instance("group.c"), instance("g")),
    )
    assert snapshot.states == {"run r, group g": ["success", "skipped"]}


def test_a_task_of_a_run_that_is_not_there_yet_is_nothing_found() -> None:
    remote, speech = meet(V2)
    assert look(remote, WaitTarget("d", run_id="r", task_ids=("a",)), speech.get()) == Snapshot({"run r, task a": []})


@pytest.mark.parametrize("version", STABLE)
def test_a_task_that_is_not_mapped_is_read_alone_however_many_instances_its_run_has(version: str) -> None:
    remote, speech = meet(version)
    turns = [speech.get(speech.run()), instance_turn(speech, "a", instance("a", "running"))]
    assert look(remote, WaitTarget("d", run_id="r", task_ids=("a",)), *turns).states == {"run r, task a": ["running"]}
    # Of one that is mapped, that is remembered.
    mapped = instances_turn(speech, instance("m", map_index=0))
    target = WaitTarget("d", run_id="r", task_ids=("m",))
    look(remote, target, speech.get(speech.run()), instance_turn(speech, "m"), mapped)
    assert look(remote, target, speech.get(speech.run()), mapped).states == {"run r, task m": ["success"]}
    # Not of others that came in the same listing.
    target = WaitTarget("d", run_id="r", task_ids=("a", "late"))
    turns = [speech.get(speech.run()), instance_turn(speech, "a", instance("a", "running"))]
    look(remote, target, *turns, instance_turn(speech, "late"), instances_turn(speech, instance("a", "running")))
    look(remote, target, *turns, instance_turn(speech, "late", instance("late")))


def test_of_how_many_tasks_it_is_remembered_that_they_are_mapped_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astronomer_remote.api.runs.poll.MOST_KNOWN_AS_MAPPED", 0)
    remote, speech = meet(V2)
    for _ in range(2):
        turns = [instance_turn(speech, "m"), instances_turn(speech, instance("m", map_index=0))]
        look(remote, WaitTarget("d", run_id="r", task_ids=("m",)), speech.get(speech.run()), *turns)


def all_turn(speech: Speech, limit: int, *instances: dict[str, Any], total: int | None = None, offset: int = 0) -> Turn:
    """The request for more than a page of a run's instances at once."""
    of_date = {"execution_date_gte": DATE, "execution_date_lte": DATE}
    of_run = of_date if speech.numbers < (2, 8) else {"dag_run_ids": ["r"]}
    return Turn(
        f"POST {speech.base}/dags/~/dagRuns/~/taskInstances/list",
        ok({"task_instances": list(instances), "total_entries": len(instances) if total is None else total}),
        {"dag_ids": ["d"], **of_run, "page_limit": limit, "page_offset": offset},
    )


@pytest.mark.parametrize("version", STABLE)
def test_more_than_a_page_of_task_instances_comes_at_once(version: str) -> None:
    remote, speech = meet(version)
    many = [instance(f"g.t{number}") for number in range(250)]
    turns = [speech.get(speech.run()), instances_turn(speech, *many[:100], total=250), all_turn(speech, 375, *many)]
    snapshot = look(remote, GROUP, *turns)
    assert len(snapshot.states["run r, group g"]) == 250
    assert evaluate(snapshot, GROUP) is WaitStatus.SUCCESS


GROUP = WaitTarget("d", run_id="r", task_group_id="g", failed_states=("failed",))
MANY = [instance(f"g.t{number}") for number in range(4_000)]


@pytest.mark.parametrize("version", [V1, V2])
def test_rows_that_move_between_pages_are_no_success_and_the_listing_is_read_again(version: str) -> None:
    remote, speech = meet(version)
    # The last one, which is running, has moved to the page that was read already.
    moved = [
        all_turn(speech, 2_000, *MANY[:2_000], total=4_000),
        all_turn(speech, 2_000, *MANY[1_999:3_999], offset=2_000, total=4_000),
    ]
    whole = [all_turn(speech, 4_000, *MANY[:3_999], instance("g.last", "running"))]
    first = instances_turn(speech, *MANY[:100], total=4_000)
    snapshot = look(remote, GROUP, speech.get(speech.run()), first, *moved, first, *whole)
    assert evaluate(snapshot, GROUP) is None
    assert snapshot.states["run r, group g"].count("running") == 1


def changing(speech: Speech, *, last: str = "success") -> list[Turn]:
    """A listing that is never seen as a whole: a row comes twice each time it is read."""
    found = [*MANY[:2_000], instance("g.last", last), MANY[0]]
    turns = []
    for number in range(4):
        limit = min(2_000 * 2**number, 2_302)
        turns.append(instances_turn(speech, *MANY[:100], total=2_002))
        for offset in range(0, len(found), limit):
            turns.append(all_turn(speech, limit, *found[offset : offset + limit], offset=offset, total=2_002))
    return turns


def test_what_is_never_seen_as_a_whole_is_no_success_but_a_failure_in_it_is_one() -> None:
    remote, speech = meet(V1)
    snapshot = look(remote, GROUP, speech.get(speech.run()), *changing(speech))
    assert evaluate(snapshot, GROUP) is None
    assert snapshot.summary() == "run r, group g: success (not all of the listing could be read)"
    snapshot = look(remote, GROUP, speech.get(speech.run()), *changing(speech, last="failed"))
    assert evaluate(snapshot, GROUP) is WaitStatus.FAILED


def test_a_wait_continues_while_the_listing_is_never_seen_as_a_whole() -> None:
    remote, speech = meet(V1)
    small = instances_turn(speech, instance("g.t"))
    turns = [speech.get(speech.run()), *changing(speech), speech.get(speech.run()), small]
    assert remote.play(wait(remote, GROUP), *turns).status is WaitStatus.SUCCESS


def test_an_instance_that_cannot_be_read_keeps_the_wait_from_success() -> None:
    remote, speech = meet(V2)
    odd = instance("g.b") | {"state": ["success"]}
    snapshot = look(remote, GROUP, speech.get(speech.run()), instances_turn(speech, instance("g.a"), odd))
    assert not snapshot.whole
    assert evaluate(snapshot, GROUP) is None


def test_a_list_of_all_instances_is_whole_or_an_error() -> None:
    remote, speech = meet(V1)
    with pytest.raises(ListingChanged, match="changed each of the 4 times it was read"):
        remote.play(remote.deployment.list_task_instances("d", "r"), speech.get(speech.run()), *changing(speech))


@pytest.mark.parametrize(
    "refusal", [answer(status, {"detail": "no"}) for status in (400, 403, 404, 405, 406, 409, 422)], ids=str
)
def test_where_many_at_once_are_refused_they_are_read_page_by_page(refusal: Any) -> None:
    remote, speech = meet(V2)
    pages = [instances_turn(speech, *MANY[at : at + 100], total=250, offset=at) for at in (0, 100)]
    pages.append(instances_turn(speech, *MANY[200:250], total=250, offset=200))
    refused = Turn(all_turn(speech, 375).expected, refusal)
    run = speech.get(speech.run())
    assert len(look(remote, GROUP, run, pages[0], refused, *pages).states["run r, group g"]) == 250
    # That is remembered.
    assert evaluate(look(remote, GROUP, run, *pages), GROUP) is WaitStatus.SUCCESS
    with pytest.raises(AccessDenied):
        look(remote, GROUP, run, Turn(pages[0].expected, answer(403, {"detail": "Forbidden"})))


REFUSALS = [answer(status, {"detail": "no"}) for status in (400, 403, 404, 405, 406, 409, 422)]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: str(refusal.status))
def test_where_instances_are_not_listed_the_tasks_are_read_one_by_one(refusal: Any) -> None:
    remote, speech = meet(V2)
    names = ("a", "b", "c", "e")
    target, run = WaitTarget("d", run_id="r", task_ids=names), speech.get(speech.run())
    individually = [instance_turn(speech, name, instance(name)) for name in names]
    refused = Turn(instances_turn(speech).expected, refusal)
    assert evaluate(look(remote, target, run, refused, *individually), target) is WaitStatus.SUCCESS
    # That is remembered for five minutes. What cannot be read alone, as one that is mapped, is not there yet.
    some = [*individually[:3], instance_turn(speech, "e")]
    assert evaluate(look(remote, target, run, *some), target) is None
    remote.clock.now += SECONDS_BETWEEN_WIDE_POLLS + 1
    listed = instances_turn(speech, *(instance(name) for name in names))
    assert evaluate(look(remote, target, run, listed), target) is WaitStatus.SUCCESS


def test_where_instances_are_not_listed_a_group_cannot_be_waited_for() -> None:
    remote, speech = meet(V2)
    refused = Turn(instances_turn(speech).expected, answer(409, {"detail": "no"}))
    with pytest.raises(Conflict):
        look(remote, GROUP, speech.get(speech.run()), refused)


def test_removed_instances_do_not_count_unless_they_are_waited_for() -> None:
    remote, speech = meet(V2)
    found = [instance("m", map_index=0), instance("m", map_index=1), instance("m", "removed", map_index=2)]
    for part, name in (({"task_ids": ("m",)}, "task m"), ({"task_group_id": "m"}, "group m")):
        some = [each | {"task_id": "m.t"} if "group" in name else each for each in found]
        turns = [speech.get(speech.run()), instances_turn(speech, *some)]
        single = [instance_turn(speech, "m")] if "task" in name else []
        target = WaitTarget("d", run_id="r", **part)
        snapshot = look(remote, target, turns[0], *single, turns[1])
        assert snapshot.states == {f"run r, {name}": ["success", "success"]}
        assert evaluate(snapshot, target) is WaitStatus.SUCCESS
        target = replace(target, failed_states=("removed",))
        assert evaluate(look(remote, target, *turns), target) is WaitStatus.FAILED
    gone = look(
        remote, WaitTarget("d", run_id="r", task_ids=("m",)), speech.get(speech.run()), instances_turn(speech, found[2])
    )
    assert gone.states == {"run r, task m": ["removed"]}


def test_the_tasks_that_ended_in_very_many_runs_come_in_several_listings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astronomer_remote.api.runs.poll.RUNS_AT_ONCE", 2)
    remote, speech = meet(V2)

    def turn(*run_ids: str) -> Turn:
        body = {"dag_ids": ["d"], "dag_run_ids": [*run_ids], "end_date_gte": "2027-01-15T08:00:00Z"}
        found = [{**instance("a"), "dag_id": "d", "dag_run_id": run_id} for run_id in run_ids]
        reply = ok({"task_instances": found, "total_entries": len(found)})
        line = f"POST {speech.base}/dags/~/dagRuns/~/taskInstances/list"
        return Turn(line, reply, {**body, "page_limit": 100, "page_offset": 0})

    runs = [("d", run_id) for run_id in ("b", "a", "c", "b")]
    ended = remote.deployment.poller.ended_tasks(runs, since=remote.clock.now)
    found = remote.play(ended, turn("a", "b"), turn("c"))
    assert [task.run_id for task in found] == ["a", "b", "c"]


def test_task_instances_of_a_run_are_listed() -> None:
    remote, speech = meet(V1)
    known = instance("a", "running") | {"try_number": 2, "duration": 1.5, "start_date": DATE, "end_date": None}
    turns = [speech.get(speech.run()), instances_turn(speech, known)]
    (found,) = remote.play(remote.deployment.list_task_instances("d", "r"), *turns)
    assert (found.task_id, found.state, found.try_number, found.duration) == ("a", "running", 2, 1.5)


def task_on_1_10(task_id: str, reply: Any) -> Turn:
    return Turn(f"GET /api/experimental/dags/d/dag_runs/2026-11-22T07%3A00%3A00Z/tasks/{task_id}", reply)


def test_1_10_gets_a_request_for_each_task_and_sends_everything_as_text() -> None:
    remote, speech = meet(EXPERIMENTAL)
    on_line = {
        "state": "failed",
        "try_number": "2",
        "duration": "0.5",
        "operator": "BashOperator",
        "start_date": "2026-11-22 07:00:01",
        "end_date": "None",
    }
    snapshot = look(
        remote,
        WaitTarget("d", run_id="r", task_ids=("a", "b", "c")),
        speech.get(speech.run()),
        task_on_1_10("a", ok(on_line)),
        task_on_1_10("b", ok({"state": "None", "duration": "None"})),
        task_on_1_10("c", answer(404, {"error": "Task c not found in dag d"})),
    )
    assert snapshot.states == {"run r, task a": ["failed"], "run r, task b": [None], "run r, task c": []}


def test_1_10_refuses_to_look_at_task_groups_and_to_list_task_instances() -> None:
    remote, speech = meet(EXPERIMENTAL)
    with pytest.raises(NotSupported, match="cannot wait for a task group"):
        look(remote, WaitTarget("d", run_id="r", task_group_id="g"), speech.get(speech.run()))
    with pytest.raises(NotSupported, match="cannot list the task instances of a DAG run"):
        remote.play(remote.deployment.list_task_instances("d", "r"), speech.get(speech.run()))


# The wait


def wait(
    remote: ScriptedRemote, target: WaitTarget, deadline: float | None = None, on_line: list[str] | None = None
) -> Flow[WaitResult]:
    lines: list[str] = [] if on_line is None else on_line
    return remote.deployment.poller.wait(target, poke_interval=10, deadline=deadline, on_line=lines.append)


TARGET = WaitTarget("d", run_id="r", failed_states=("failed",))


@every_version
def test_a_wait_looks_again_and_again_until_it_is_over(version: str) -> None:
    remote, speech = meet(version)
    states = ["queued", "running", "a_new_state", "success"]
    outcome = remote.play(wait(remote, TARGET), *[speech.get(speech.run(state=state)) for state in states])
    assert (outcome.status, outcome.summary) == (WaitStatus.SUCCESS, "run r: success")
    assert outcome.run is not None
    assert outcome.run.state == "success"
    assert remote.sleeps == [10, 10, 10]


def test_a_failed_run_ends_the_wait_at_once() -> None:
    remote, speech = meet(V2)
    outcome = remote.play(wait(remote, TARGET), speech.get(speech.run(state="failed")))
    assert outcome.status is WaitStatus.FAILED


def test_a_wait_logs_changes_only() -> None:
    remote, speech = meet(V2)
    lines: list[str] = []
    runs = [[], [], [speech.run()], [speech.run()], [speech.run(state="success")]]
    remote.play(wait(remote, TARGET, on_line=lines), *[speech.get(*run) for run in runs])
    assert lines == [
        "Waiting for run 'r' of DAG 'd': run r: not there yet",
        "Waiting for run 'r' of DAG 'd': run r: running",
        "Waiting for run 'r' of DAG 'd': run r: success",
    ]


def test_a_wait_for_a_run_that_nobody_made_yet_says_so() -> None:
    remote, speech = meet(V2)
    lines: list[str] = []
    newest = WaitTarget("d", newest=True)
    times = [VirtualClock(remote.clock.now + 10 * number) for number in range(3)]
    turns = [
        speech.newest(clock=times[0]),
        speech.newest(clock=times[1]),
        speech.newest(speech.run(state="success"), clock=times[2]),
    ]
    remote.play(wait(remote, newest, on_line=lines), *turns)
    assert lines == [
        "Waiting for the newest run of DAG 'd': no run yet",
        "Waiting for the newest run of DAG 'd': run r: success",
    ]


def test_the_newest_run_at_first_sight_stays_the_one_that_is_waited_for() -> None:
    remote, speech = meet(V2)
    turns = [speech.newest(speech.run()), speech.get(speech.run()), speech.get(speech.run(state="success"))]
    assert remote.play(wait(remote, WaitTarget("d", newest=True)), *turns).status is WaitStatus.SUCCESS


@pytest.mark.parametrize("target", [TARGET, WaitTarget("d", newest=True)])
def test_a_run_that_is_deleted_during_a_wait_has_vanished(target: WaitTarget) -> None:
    remote, speech = meet(V2)
    first = speech.newest(speech.run()) if target.newest else speech.get(speech.run())
    lines: list[str] = []
    with pytest.raises(DagRunVanished):
        remote.play(wait(remote, target, on_line=lines), first, *[speech.get()] * 4)
    assert sum(remote.sleeps) >= SECONDS_BEFORE_DELETED
    assert lines[-1] == "The remote does not show run r; it counts as deleted if that lasts"


@every_version
def test_a_run_that_the_remote_does_not_show_for_a_moment_is_waited_for(version: str) -> None:
    remote, speech = meet(version)
    made, unseen = speech.get(speech.run()), speech.get()
    outcome = remote.play(
        wait(remote, WaitTarget("d", run_id="r", exists=True)),
        *[unseen, unseen, made, unseen, unseen, unseen],
        speech.get(speech.run(state="success")),
    )
    assert outcome.status is WaitStatus.SUCCESS


def test_runs_of_a_date_may_come_and_go() -> None:
    remote, speech = meet(V2)
    turns = [speech.of_date(speech.run()), speech.of_date(), speech.of_date(speech.run("other", "success"))]
    outcome = remote.play(wait(remote, WaitTarget("d", logical_dates=(DATE,))), *turns)
    assert outcome.status is WaitStatus.SUCCESS


@every_version
def test_a_deadline_ends_the_wait_to_the_second(version: str) -> None:
    remote, speech = meet(version)
    outcome = remote.play(wait(remote, TARGET, remote.clock.now + 15), *[speech.get(speech.run())] * 3)
    assert outcome.status is WaitStatus.TIMEOUT
    assert outcome.summary == "run r: running"
    assert remote.sleeps == [10, 5]
    assert outcome.run is not None
    assert outcome.run.state == "running"
    remote.play(wait(remote, TARGET, remote.clock.now + 10.5), *[speech.get(speech.run())] * 3)
    assert remote.sleeps[2:] == [10, 0.5]


def test_a_wait_may_begin_with_short_pauses() -> None:
    remote, speech = meet(V2)
    flow = remote.deployment.poller.wait(TARGET, poke_interval=5, deadline=None, first_pause=1)
    remote.play(flow, *[speech.get(speech.run())] * 7, speech.get(speech.run(state="success")))
    assert remote.sleeps == [1, 1, 1, 1, 1, 1.25, 1.5625]


def test_a_deadline_that_has_passed_still_lets_us_look_once() -> None:
    remote, speech = meet(V2)
    assert remote.play(wait(remote, TARGET, 0), speech.get(speech.run(state="success"))).status is WaitStatus.SUCCESS
    assert remote.play(wait(remote, TARGET, 0), speech.get()).status is WaitStatus.TIMEOUT


def test_a_deadline_holds_while_the_remote_is_out_of_reach() -> None:
    remote = ScriptedRemote(version=V2, retry=RetryPolicy(attempts=1))
    outcome = remote.play(wait(remote, TARGET, remote.clock.now + 5), *[Turn(Speech(V2).get_line(), LOST)] * 2)
    assert outcome == WaitResult(WaitStatus.TIMEOUT, "", None)


@pytest.mark.parametrize("failure", [LOST, page(502), page(200), page(404)])
def test_a_remote_that_is_out_of_reach_for_a_while_is_no_reason_to_give_up(failure: Any) -> None:
    remote, speech = ScriptedRemote(version=V2, retry=RetryPolicy(attempts=1)), Speech(V2)
    lines: list[str] = []
    turns = [
        speech.get(speech.run()),
        *[Turn(speech.get_line(), failure)] * 20,
        speech.get(speech.run(state="success")),
    ]
    assert remote.play(wait(remote, TARGET, on_line=lines), *turns).status is WaitStatus.SUCCESS
    assert sum(line.startswith("Could not poll the remote, will keep waiting") for line in lines) == 20


def test_a_wait_fails_after_minutes_out_of_reach_which_count_from_the_last_answer() -> None:
    remote, speech = ScriptedRemote(version=V2, retry=RetryPolicy(attempts=1)), Speech(V2)
    down = Turn(speech.get_line(), page(503))
    almost = int(UNREACHABLE_TIMEOUT // 10)
    turns = [*[down] * almost, speech.get(speech.run()), *[down] * (almost + 1)]
    with pytest.raises(RemoteUnavailable):
        remote.play(wait(remote, TARGET), *turns)


def test_an_unknown_dag_is_waited_for_unless_its_run_was_seen() -> None:
    remote, _ = meet(EXPERIMENTAL)
    unknown = Turn("GET /api/experimental/dags/d/dag_runs", answer(400, {"error": "Dag id d not found"}))
    seen = look(remote, TARGET, unknown)
    assert seen.summary() == f"run r: not there yet ({NO_SUCH_DAG})"
    assert evaluate(seen, TARGET) is None
    with pytest.raises(DagRunVanished):
        look(remote, replace(TARGET, exists=True), unknown)


@pytest.mark.parametrize("version", [V1_OLD, V2])
def test_a_skipped_task_ends_the_wait_as_skipped_if_configured(version: str) -> None:
    remote, speech = meet(version)
    target = WaitTarget("d", run_id="r", task_ids=("a", "b"), skipped_states=("skipped",))
    tasks = [instance_turn(speech, "a", instance("a", "skipped")), instance_turn(speech, "b", instance("b", "running"))]
    turns = [speech.get(speech.run()), *tasks]
    assert remote.play(wait(remote, target), *turns).status is WaitStatus.SKIPPED
