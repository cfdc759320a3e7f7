"""Boundary values of a wait: when it polls next, when it gives up, which lines of a log are new."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from astronomer_remote.api.dialects.logs import LogPart
from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.errors import AuthenticationFailed, DagRunVanished, UnexpectedReply, Unreachable
from astronomer_remote.api.protocol.models import FINISHED_TASK_STATES, DagRun, TaskInstance
from astronomer_remote.api.waiting.log_stream import (
    LARGE_REPLY,
    LINES_PER_POLL,
    RUNNING_NAMED,
    LogStream,
    LogStreams,
    progress_line,
)
from astronomer_remote.api.waiting.schedule import MOST_REFUSALS, OVERLAP, OVERLAPPING, Cursor, Refusals
from astronomer_remote.api.waiting.target import (
    BY_DATA_INTERVAL_END,
    Snapshot,
    WaitResult,
    WaitStatus,
    WaitTarget,
)
from astronomer_remote.api.waiting.waiter import ConditionWaiter, Waiter

NOW = 1_800_000_000.0
INTERVAL = 10.0
STREAMED = LogStream(TaskInstance("t"))


def waiter(run_id: str = "r") -> Waiter:
    target = WaitTarget("d", run_id=run_id, exists=True, since=NOW - 3600)
    return Waiter(target, INTERVAL, lambda update: None, answered_at=NOW)


def lines(*texts: str, token: str | None = None, cut: bool = False) -> LogPart:
    return LogPart(texts, token, cut=cut)


def numbered(count: int, first: int = 0) -> list[str]:
    return [f"line {number}" for number in range(first, first + count)]


def logged(stream: LogStream, part: LogPart) -> list[str]:
    return [line.removeprefix("t: ") for line in stream.take(part)]


def test_after_a_poll_that_failed_the_next_one_is_an_interval_away() -> None:
    waiting = waiter()
    waiting.record_failure(Unreachable("down"), NOW)
    assert waiting.due == NOW + INTERVAL


def test_after_a_poll_that_did_not_show_the_run_the_next_one_is_an_interval_away() -> None:
    waiting = waiter()
    waiting.record_missing(DagRunVanished("gone"), NOW)
    assert waiting.due == NOW + INTERVAL


def test_a_listing_that_worked_ends_a_row_of_failures() -> None:
    cursor = Cursor(failures=3)
    cursor.advance([], NOW)
    assert cursor.failures == 0


@pytest.mark.parametrize(
    ("count", "first_end", "expected"),
    [
        (OVERLAPPING - 1, NOW - OVERLAP - 60, NOW - OVERLAP),
        (OVERLAPPING, NOW - OVERLAP - 60, NOW - OVERLAP),
        (OVERLAPPING - 1, NOW - 1, NOW - OVERLAP),
        # So many ends in so short a time: the next listing repeats no more than these.
        (OVERLAPPING, NOW - 1, NOW - 1),
    ],
)
def test_the_next_listing_repeats_the_overlap_but_not_more_than_a_number_of_ends(
    count: int, first_end: float, expected: float
) -> None:
    cursor = Cursor()
    ends = [datetime.fromtimestamp(first_end + number / 1000, timezone.utc) for number in range(count)]
    cursor.advance([end.isoformat() for end in ends], NOW)
    assert cursor.resume_at == pytest.approx(expected, abs=1e-4)


def test_credentials_count_as_refused_only_after_enough_reads() -> None:
    refusals = Refusals()
    for number in range(MOST_REFUSALS):
        assert refusals.of_all is None, number
        refused = waiter()
        refused.end(AuthenticationFailed("no"))
        refusals.record(refused)
    assert refusals.of_all is refused.ended
    # One that is accepted shows that they are good for something.
    refusals.record(waiter())
    assert refusals.of_all is None


def test_a_target_is_written_as_lists_and_read_back() -> None:
    target = WaitTarget("d", logical_dates=("2027-01-15T07:00:00Z",), task_ids=("a", "b"))
    written = target.as_dict()
    assert written == json.loads(json.dumps(written))
    assert WaitTarget.from_dict(written) == target


def test_an_unknown_field_of_a_target_is_named() -> None:
    with pytest.raises(UnexpectedReply, match="unknown_field"):
        WaitTarget.from_dict({"dag_id": "d", "unknown_field": 1})


def test_a_target_that_has_found_its_run_is_no_longer_the_newest_one() -> None:
    target = WaitTarget("d", newest=True).of(DagRun("d", "r", "running"))
    assert (target.newest, target.run_id, target.exists) == (False, "r", True)


def test_a_run_by_the_end_of_its_data_interval_has_no_known_logical_date() -> None:
    target = WaitTarget("d", logical_dates=("2027-01-15T07:00:00Z",))
    assert target.dates_of_runs == target.logical_dates
    assert replace(target, match_by=BY_DATA_INTERVAL_END).dates_of_runs == ()


@pytest.mark.parametrize("state", [None, "up_for_retry"])
def test_only_states_at_which_a_task_ends_come_in_a_listing_of_ended_tasks(state: str | None) -> None:
    target = WaitTarget("d", run_id="r", task_ids=("t",), allowed_states=tuple(FINISHED_TASK_STATES))
    if state:
        target = replace(target, failed_states=(state,))
    assert target.ends_with_tasks == (state is None)


def test_a_result_is_written_as_json_and_read_back_with_what_identifies_the_run() -> None:
    run = DagRun("d", "r", "failed", logical_date="2027-01-15T07:00:00Z", conf={"k": 1}, note="n", url="https://a/b")
    result = WaitResult(WaitStatus.FAILED, "run r:\nfailed", run)
    written = result.as_dict()
    assert written == json.loads(json.dumps(written))
    assert written["summary"] == r"run r:\nfailed"
    assert WaitResult.parse(written) == replace(
        result, summary=r"run r:\nfailed", run=replace(run, conf=None, note=None)
    )
    # An earlier version wrote more of the run.
    assert WaitResult.parse({**written, "run": {**written["run"], "note": "n"}}) == WaitResult.parse(written)


def test_a_result_without_a_run_is_written_and_read_back() -> None:
    result = WaitResult(WaitStatus.TIMEOUT, "no run yet")
    assert result.as_dict() == {"status": "timeout", "summary": "no run yet", "run": None, "error": None}
    assert WaitResult.parse(result.as_dict()) == result


def test_an_error_that_ends_a_wait_is_written_by_its_class_and_its_text() -> None:
    failed = WaitResult.of_error(DagRunVanished("gone"))
    assert failed == WaitResult(None, "gone", error="DagRunVanished")
    assert WaitResult.parse(failed.as_dict()) == failed
    assert WaitResult.of_error(DagRunVanished("gone"), "where it stood").summary == "where it stood"


@pytest.mark.parametrize("event", [None, [], {}, {"status": "lost", "summary": "", "run": None, "error": None}])
def test_an_event_that_is_no_result_is_shown(event: object) -> None:
    with pytest.raises(UnexpectedReply, match="sent an event that is not one of this package: ") as failure:
        WaitResult.parse(event)
    assert str(failure.value).endswith(repr(event))


def test_the_end_of_one_run_comes_with_the_run() -> None:
    run = DagRun("d", "r", "success")
    assert Snapshot.of_run(run) == Snapshot({"run r": ["success"]}, run)


def test_a_condition_that_is_overdue_is_polled_at_once() -> None:
    waiting: ConditionWaiter[object] = ConditionWaiter(
        PoolTarget("p", 1), INTERVAL, NOW + 3, lambda line: None, clock=lambda: NOW, monotonic=lambda: NOW
    )
    assert [waiting.seconds_to_next_poll(age) for age in (0.0, 8.5, 10.0, 20.0)] == [3.0, 1.5, 0.0, 0.0]


@pytest.mark.parametrize("more", [0, 1])
def test_the_progress_counts_only_tasks_that_it_does_not_name(more: int) -> None:
    running = [TaskInstance(f"t{number}", state="running", try_number=1) for number in range(RUNNING_NAMED + more)]
    assert progress_line(running).endswith(" and 1 more" if more else f"t{RUNNING_NAMED - 1}")


def test_a_log_with_repeated_lines_continues_after_the_last_one_that_was_logged() -> None:
    stream = replace(STREAMED)
    assert logged(stream, lines("a", "b")) == ["a", "b"]
    assert logged(stream, lines("a", "b", "b", "c")) == ["b", "c"]


def test_a_cut_log_continues_after_the_last_line_even_if_that_is_its_first() -> None:
    stream = replace(STREAMED)
    logged(stream, lines("a", "b"))
    assert logged(stream, lines("b", "c", cut=True)) == ["c"]
    assert logged(stream, lines("x", "y", cut=True)) == ["x", "y"]


def test_as_many_lines_as_are_logged_per_poll_are_logged_in_full() -> None:
    assert logged(replace(STREAMED), lines(*numbered(LINES_PER_POLL))) == numbered(LINES_PER_POLL)


def test_lines_that_were_logged_do_not_come_again_with_many_new_ones() -> None:
    stream = replace(STREAMED)
    logged(stream, lines(*numbered(10)))
    count = LINES_PER_POLL + 50
    again = logged(stream, lines(*numbered(10 + count)))
    assert again == ["(50 lines are left out here)", *numbered(LINES_PER_POLL, first=10 + 50)]


@pytest.mark.parametrize(("count", "has_more"), [(LARGE_REPLY - 1, False), (LARGE_REPLY, True)])
def test_a_large_reply_may_not_be_the_end_of_a_log(count: int, has_more: bool) -> None:
    stream = replace(STREAMED, ended=True)
    stream.take(lines(*numbered(count), token="next"))
    assert stream.has_more is has_more


def test_a_further_try_is_followed_after_one_that_is_followed_already() -> None:
    streams = LogStreams(["t"])
    first, second = (TaskInstance("t", index, "running", 1) for index in (0, 1))
    streams.due([first], complete=True)
    found, _ = streams.due([first, second], complete=True)
    assert [stream.instance.map_index for stream in found] == [0, 1]


def test_no_task_is_followed_after_a_stop() -> None:
    streams = LogStreams(["t"])
    streams.stop()
    assert streams.due([TaskInstance("t", state="running", try_number=1)], complete=True) == ([], [])
