"""What a watcher decides: with a clock of the test's own, and no server."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from astronomer_remote.api.protocol.errors import Unreachable
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.waiting.schedule import (
    MOST_CHECKS,
    OUTLIERS,
    OVERLAP,
    OVERLAPPING,
    POLLS_BETWEEN_CHECKS,
    SECONDS_TO_OUTLIERS,
    WIDEST_LISTING,
    Checks,
    Clock,
    Cursor,
    PollPlan,
    plan,
    seconds_to_next_poll,
    spread,
)
from astronomer_remote.api.waiting.target import Snapshot, WaitResult, WaitStatus, WaitTarget
from astronomer_remote.api.waiting.waiter import Waiter, seconds_of

NOW = 1_800_000_000.0
TODAY = "2027-01-15T07:00:00Z"
BEFORE_TODAY = NOW - 3600.0


def waiter(run_id: str = "r", date: str | None = TODAY, since: float = NOW - 60, **more: Any) -> Waiter:
    target = replace(WaitTarget("d", failed_states=("failed",), since=since), run_id=run_id, exists=True, date=date)
    heard: list[Any] = []
    made = Waiter(replace(target, **more), 10.0, heard.append, answered_at=NOW)
    made.heard = heard  # type: ignore[attr-defined]
    return made


def poll(
    *waiters: Waiter,
    checks: int = 0,
    now: float = NOW,
    skew: float = 0.0,
    runs: Cursor | None = None,
    tasks: Cursor | None = None,
) -> PollPlan:
    runs = runs or Cursor(resume_at=NOW - 25)
    return plan(waiters, Clock(now, skew), checks=checks, runs=runs, tasks=tasks or Cursor(available=False))


def run(run_id: str = "r", state: str = "success", dag_id: str = "d", date: str = TODAY) -> DagRun:
    return DagRun(dag_id, run_id, state, logical_date=date)


def test_one_listing_serves_all_who_wait_for_the_end_of_runs() -> None:
    planned = poll(*(waiter(f"r{number}") for number in range(1000)))
    assert planned.dag_ids == ["d"]
    assert len(planned.served) == 1000
    assert planned.individually == []


def test_a_listing_names_each_dag_once() -> None:
    waiters = [waiter("a"), waiter("b"), waiter("c", dag_id="other")]
    assert poll(*waiters).dag_ids == ["d", "other"]


@pytest.mark.parametrize(
    "target",
    [
        {"task_ids": ("t",)},
        {"task_group_id": "g"},
        {"allowed_states": ("running",)},
        {"failed_states": ("queued",)},
        {"exists": False},
        {"date": None},
        {"run_id": None, "exists": False, "newest": True},
    ],
    ids=str,
)
def test_what_no_listing_of_finished_runs_can_show_is_polled_by_itself(target: dict[str, Any]) -> None:
    single = waiter(**target)
    planned = poll(single)
    assert planned.individually == [single]
    assert planned.dag_ids == []


def of_tasks(**more: Any) -> Waiter:
    made = waiter(**{"task_ids": ("t",), **more})
    made.run = run(made.target.run_id or "r", "running")
    return made


def test_who_waits_for_tasks_of_a_run_that_was_seen_is_served_by_a_listing_of_tasks_that_ended() -> None:
    tasks, group, other = of_tasks(), of_tasks(task_ids=(), task_group_id="g"), of_tasks(run_id="r2")
    planned = poll(tasks, group, other, tasks=Cursor())
    assert (planned.individually, planned.served) == ([], [])
    assert set(planned.runs) == {("d", "r"), ("d", "r2")}
    for task_id, found in (("t", [tasks]), ("g.a", [group]), ("ga", [])):
        assert planned.waiting_for_task(TaskInstance(task_id, dag_id="d", run_id="r")) == found
    assert planned.waiting_for_task(TaskInstance("t", dag_id="d", run_id="unknown")) == []


@pytest.mark.parametrize("more", [{"allowed_states": ("running",)}, {"failed_states": ("up_for_retry",)}], ids=str)
def test_tasks_whose_end_is_not_what_is_waited_for_are_looked_at_individually(more: dict[str, Any]) -> None:
    each = of_tasks(**more)
    assert poll(each, tasks=Cursor()).individually == [each]


def test_tasks_of_a_run_that_was_not_seen_yet_are_looked_at_individually() -> None:
    each = waiter(task_ids=("t",))
    assert poll(each, tasks=Cursor()).individually == [each]


def test_nobody_is_looked_at_long_before_his_interval_is_over() -> None:
    single = waiter(task_ids=("t",))
    single.record_snapshot(Snapshot({"x": ["running"]}), NOW)
    assert poll(single, now=NOW + 7).individually == []
    # The pauses vary by a tenth, and a poll takes time: a little before, rather than an interval later.
    assert poll(single, now=NOW + 8).individually == [single]


def test_everybody_is_looked_at_individually_where_the_listing_is_refused() -> None:
    served = waiter()
    assert poll(served, runs=Cursor(available=False)).individually == [served]


def waiter_that_was_served() -> Waiter:
    served = waiter()
    served.listed = True
    return served


def test_a_listing_reaches_back_a_little_before_the_last_one() -> None:
    served = waiter_that_was_served()
    listing = Cursor()
    listing.advance([], NOW - 10)
    assert poll(served, runs=listing).since == NOW - 10 - OVERLAP


def ends(number: int, per_second: float, until: float) -> list[str]:
    moments = [until - n / per_second for n in range(number)]
    return [datetime.fromtimestamp(moment, timezone.utc).isoformat() for moment in moments]


@pytest.mark.parametrize(("per_second", "again"), [(1, 15), (6, 90), (50, OVERLAPPING), (500, OVERLAPPING)])
def test_where_very_many_end_a_listing_repeats_no_more_than_a_page_of_them(per_second: float, again: int) -> None:
    known = ends(2000, per_second, until=NOW - 10)
    listing = Cursor()
    listing.advance(known, NOW - 10)
    since = poll(waiter_that_was_served(), runs=listing).since
    assert sum(seconds_of(end) >= since for end in known) == pytest.approx(again, abs=1)


@pytest.mark.parametrize("ahead", [-600.0, 600.0])
def test_ends_by_another_clock_than_the_web_servers_never_make_a_listing_miss_what_follows(ahead: float) -> None:
    listing = Cursor()
    listing.advance(ends(2000, 50, until=NOW - 10 + ahead), NOW - 10)
    assert poll(waiter_that_was_served(), runs=listing).since <= NOW - 10


def test_after_a_time_without_waits_a_listing_reaches_back_to_every_start() -> None:
    assert Cursor().since([], Clock(NOW, 5.0)) == NOW + 5 - OVERLAP


def test_a_listing_reaches_back_to_the_beginning_of_the_wait_of_who_has_just_joined() -> None:
    old, new = waiter("a", since=NOW - 9000), waiter("b", since=NOW - 500)
    old.listed = True
    assert poll(old, new).since == NOW - 500 - OVERLAP


def test_a_wide_listing_reaches_back_to_the_beginning_of_every_wait_but_no_further_than_half_an_hour() -> None:
    old, new = waiter("a", since=NOW - 1700), waiter("b", since=NOW - 500)
    old.listed = new.listed = True
    assert poll(old, new, runs=Cursor()).since == NOW - 1700 - OVERLAP
    ancient = waiter("c", since=NOW - 90_000)
    assert poll(old, ancient, runs=Cursor()).since == NOW - 90_000 - OVERLAP
    ancient.listed = True
    assert poll(old, ancient, runs=Cursor()).since == NOW - WIDEST_LISTING - OVERLAP


@pytest.mark.parametrize("skew", [-300.0, 0.0, 300.0])
def test_the_remote_is_polled_by_its_own_clock(skew: float) -> None:
    new = waiter(since=NOW - 500)
    assert poll(new, runs=Cursor(resume_at=NOW - 25 + skew), skew=skew).since == NOW + skew - 500 - OVERLAP


def test_a_listing_is_bounded_by_the_earliest_date_that_is_waited_for() -> None:
    bound = poll(waiter("a"), waiter("b", date="2027-01-15T06:00:00Z")).bound
    assert bound == poll(waiter("b", date="2027-01-15T06:00:00Z")).bound
    assert bound < NOW


def test_a_date_in_the_future_does_not_hide_a_run_that_is_made_now() -> None:
    assert poll(waiter(date="2099-01-01T00:00:00Z")).bound == NOW


def test_a_few_runs_of_a_very_old_date_are_looked_at_individually_and_widen_nobodys_listing() -> None:
    old = [waiter(f"old{number}", date="2001-01-01T00:00:00Z") for number in range(OUTLIERS)]
    rest = [waiter(f"r{number}") for number in range(50)]
    planned = poll(*old, *rest)
    assert set(planned.individually) == set(old)
    assert planned.bound > NOW - SECONDS_TO_OUTLIERS


def test_many_runs_of_an_old_date_are_listed_all_the_same() -> None:
    old = [waiter(f"old{number}", date="2001-01-01T00:00:00Z") for number in range(OUTLIERS + 1)]
    planned = poll(*old, waiter())
    assert planned.individually == []
    assert len(planned.served) == OUTLIERS + 2


def test_the_older_of_two_runs_does_not_widen_the_listing_of_the_other() -> None:
    old, new = waiter("old", date="2001-01-01T00:00:00Z"), waiter("new")
    planned = poll(old, new)
    assert (planned.individually, planned.served) == ([old], [new])


def test_the_absence_of_one_run_is_explained_in_each_poll() -> None:
    dated = {"run_id": None, "exists": False, "date": None, "logical_dates": (TODAY,), "since": NOW - 3600}
    absent = [waiter(**dated) for _ in range(3)]  # type: ignore[arg-type]
    assert poll(*absent).individually == absent[:1]


def test_reads_come_in_turn_for_each_dag() -> None:
    many, few = [waiter(f"r{number}") for number in range(3)], [waiter(f"r{number}", dag_id="e") for number in range(2)]
    assert spread([*many, *few]) == [many[0], few[0], many[1], few[1], many[2]]


def test_some_of_those_the_listing_serves_are_checked_in_turn() -> None:
    first, second, third = waiter("a"), waiter("b"), waiter("c")
    first.due, second.due, third.due = 1.0, 2.0, 3.0
    assert poll(third, first, second).individually == []
    assert poll(third, first, second, checks=1).individually == [first]
    assert poll(third, first, second, checks=2).checked == [first, second]


def test_one_check_in_a_while_is_enough_until_it_finds_what_no_listing_showed() -> None:
    checks, numbers = Checks(), []
    for _ in range(2 * POLLS_BETWEEN_CHECKS):
        checks.next()
        numbers.append(checks.number)
        checks.record(0)
    assert numbers == 2 * [*[0] * (POLLS_BETWEEN_CHECKS - 1), 1]
    checks.number = 1
    for expected in (2, 4, 8, 16, MOST_CHECKS, MOST_CHECKS):
        checks.record(1)
        checks.next()
        assert checks.number == expected
    checks.record(0)
    checks.next()
    assert checks.number == 0


def test_a_run_finds_those_who_wait_for_its_id_or_its_date() -> None:
    by_id, other = waiter("r"), waiter("s")
    by_date = waiter(run_id=None, exists=False, date=None, logical_dates=(TODAY, "2027-01-14T07:00:00Z"))  # type: ignore[arg-type]
    planned = poll(by_id, other, by_date)
    both = run("r", date="2027-01-15T08:00:00+01:00")
    assert dict(planned.waiting_for([both, run("x", date="2027-01-13T07:00:00Z")])) == {by_id: both, by_date: both}
    assert planned.waiting_for([run("r", dag_id="other", date="2027-01-13T07:00:00Z")]) == []
    assert planned.waiting_for([replace(run("x"), logical_date=None)]) == []
    assert planned.waiting_for([]) == []


def test_a_change_is_logged_once_and_the_end_ends_the_wait_once() -> None:
    waiting = waiter()
    for state in ("running", "running", "success", "failed"):
        waiting.record_snapshot(Snapshot({"run r": [state]}, run(state=state)), NOW)
    lines = [update for update in waiting.heard if isinstance(update, str)]  # type: ignore[attr-defined]
    ends = [update for update in waiting.heard if not isinstance(update, str)]  # type: ignore[attr-defined]
    assert [line.rpartition(" ")[2] for line in lines] == ["running", "success", "failed"]
    assert ends == [WaitResult(WaitStatus.SUCCESS, "run r: success", run())]


def test_who_waits_for_the_newest_run_stays_with_it_and_is_then_served_by_the_listing() -> None:
    waiting = waiter(run_id=None, exists=False, date=None, newest=True)  # type: ignore[arg-type]
    assert poll(waiting).individually == [waiting]
    assert not waiting.keys
    waiting.record_snapshot(Snapshot({"run n": ["running"]}, run("n", "running")), NOW)
    planned = poll(waiting)
    assert planned.waiting_for([run("n")]) == [(waiting, run("n"))]
    assert waiting.target.exists


def test_the_date_of_the_newest_run_is_known_once_it_was_seen() -> None:
    waiting = waiter(run_id=None, exists=False, date=None, newest=True)  # type: ignore[arg-type]
    assert (waiting.date, waiting.keys) == (None, ())
    waiting.record_snapshot(Snapshot({"run n": ["running"]}, run("n", "running")), NOW)
    assert (waiting.date, waiting.keys) == (seconds_of(TODAY), (("d", "n"),))


@pytest.mark.parametrize(
    ("snapshot", "found"),
    [
        (Snapshot({"run r, task a": []}), False),
        (Snapshot({"run r, task a": []}, run("r", "running")), True),
        (Snapshot({"run of a": ["running"], "run of b": []}), True),
    ],
)
def test_anything_that_was_there_once_needs_no_explanation_of_its_absence(snapshot: Snapshot, found: bool) -> None:
    waiting = waiter(exists=False)
    waiting.record_snapshot(snapshot, NOW)
    waiting.record_snapshot(Snapshot({}), NOW)
    assert waiting.found == found
    assert waiting.should_explain_absence(NOW + 3600) == (not found)


def test_an_unreachable_remote_is_tolerated_until_the_timeout() -> None:
    waiting, error = waiter(), Unreachable("down")
    waiting.record_failure(error, NOW + 599)
    assert waiting.ended is None
    waiting.record_failure(error, NOW + 601)
    assert waiting.ended is error


def test_the_loop_polls_at_the_smallest_interval_of_all_waits() -> None:
    slow, quick = waiter("a"), waiter("b")
    quick.poke_interval = 2.0
    assert seconds_to_next_poll([slow, quick], now=NOW, took=0.0, failures=0, jitter=0.5) == pytest.approx(2.0)


def test_pauses_are_spread_by_a_tenth() -> None:
    assert seconds_to_next_poll([waiter()], now=NOW, took=0.0, failures=0, jitter=0.0) == pytest.approx(9.0)
    assert seconds_to_next_poll([waiter()], now=NOW, took=0.0, failures=0, jitter=1.0) == pytest.approx(11.0)


def test_the_time_a_poll_takes_is_part_of_the_interval() -> None:
    assert seconds_to_next_poll([waiter()], now=NOW, took=1.5, failures=0, jitter=0.5) == pytest.approx(8.5)


def test_a_slow_remote_is_left_alone_for_four_fifths_of_the_time() -> None:
    assert seconds_to_next_poll([waiter()], now=NOW, took=5.0, failures=0, jitter=0.5) == pytest.approx(20.0)


def test_a_slow_remote_is_polled_every_five_minutes_at_least() -> None:
    assert seconds_to_next_poll([waiter()], now=NOW, took=500.0, failures=0, jitter=0.5) == pytest.approx(300.0)


# A poll that fails takes long by itself, since each of its requests is sent several times.
@pytest.mark.parametrize("took", [0.0, 25.0, 500.0])
def test_a_remote_that_is_down_is_polled_less_and_less_but_at_least_every_minute(took: float) -> None:
    pauses = [
        seconds_to_next_poll([waiter()], now=NOW, took=took, failures=failures, jitter=0.5)
        for failures in range(1, 500)
    ]
    assert pauses[:4] == pytest.approx([20.0, 40.0, 60.0, 60.0])
    assert set(pauses[2:]) == {pauses[2]}
    quick = waiter()
    quick.poke_interval = 2.0
    pauses = [
        seconds_to_next_poll([quick], now=NOW, took=took, failures=failures, jitter=0.5) for failures in range(1, 6)
    ]
    assert pauses == pytest.approx([4.0, 8.0, 16.0, 32.0, 60.0])


def test_an_interval_longer_than_five_minutes_is_kept() -> None:
    slow = waiter(since=NOW - 1_000_000)
    slow.poke_interval = 3600.0
    assert seconds_to_next_poll([slow], now=NOW, took=1.0, failures=2, jitter=0.5) == pytest.approx(3600.0)


@pytest.mark.parametrize(
    ("age", "interval", "expected"),
    [(0, 60, 5.0), (20, 60, 5.0), (100, 60, 25.0), (240, 60, 60.0), (10_000, 60, 60.0), (0, 2, 2.0), (100, 2, 2.0)],
)
def test_a_young_wait_is_looked_at_more_often(age: float, interval: float, expected: float) -> None:
    young = waiter(since=NOW - age)
    young.poke_interval = interval
    assert seconds_to_next_poll([young], now=NOW, took=0.0, failures=0, jitter=0.5) == pytest.approx(expected)
    young.record_failure(Unreachable("away"), NOW)
    assert young.due == pytest.approx(NOW + expected)
