"""What a watcher costs and how soon it hears of an end, over hours of waiting that take no time."""

from __future__ import annotations

import asyncio
import gc
import json
import math
from collections import Counter
from heapq import heapify
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.protocol.errors import AccessDenied, AuthenticationFailed
from astronomer_remote.api.protocol.flow import Request, Response
from astronomer_remote.api.waiting.schedule import (
    FAILURES_BEFORE_PROBE,
    LONGEST_PAUSE_WHILE_UNREACHABLE,
    MOST_REFUSALS,
    SECONDS_BETWEEN_WIDE_POLLS,
)
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus
from astronomer_remote.api.waiting.waiter import SECONDS_BEFORE_DELETED, SECONDS_FOR_FIRST_POLL
from astronomer_remote.api.watch.watcher import REQUESTS_AT_ONCE, Watcher
from tests.api.script import answer, ok, page, plain
from tests.api.virtual import EPOCH, LISTING, Simulation, moment, simulate

INTERVAL = 5.0
# Intervals vary by a tenth.
LONGEST = 1.1 * INTERVAL
OVERHEAD = 0.5
PER_DAY = 48


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Simulation:
    return simulate(Simulation(), monkeypatch)


def test_two_thousand_cost_a_request_per_interval_and_a_check_in_every_sixth(simulation: Simulation) -> None:
    for _ in range(2_000):
        simulation.add(ends=EPOCH + 500)
    simulation.live(simulation.wait_for_all())
    quiet = [at for at, _ in simulation.received if 10 < at < 490]
    assert len(quiet) <= (490 - 10) / (0.9 * INTERVAL) * (1 + 1 / 6) + 2
    assert simulation.lags()[-1] <= LONGEST + OVERHEAD + 20 * simulation.latency


@pytest.mark.parametrize(("waiting", "turns"), [(1, 60.0), (6, 10.0), (500, 10.0)])
def test_how_far_runs_are_is_found_out_for_one_at_a_time_however_many_wait(
    simulation: Simulation, waiting: int, turns: float
) -> None:
    for _ in range(waiting):
        simulation.add(ends=EPOCH + 600)
    simulation.live(simulation.wait_for_all(progress=True))
    found_out = sum(request.path.endswith("/taskInstances") for _, request in simulation.received)
    # A turn comes with a poll.
    assert 600 / (turns + LONGEST) <= found_out <= 600 / turns + 1


@pytest.mark.parametrize("per_second", [1, 19, 50, 100])
def test_ends_cost_a_page_for_each_hundred_and_are_noticed_within_an_interval(
    simulation: Simulation, per_second: int
) -> None:
    for number in range(40 * per_second):
        simulation.add(ends=EPOCH + 30 + number / per_second)
    simulation.live(simulation.wait_for_all())
    polls = [0]
    for at, request in simulation.received:
        if 40 < at < 65 and request.path.endswith("/list"):
            polls += [0] if request.body["page_offset"] == 0 else []
            polls[-1] += 1
    assert len(polls) > 25 / LONGEST
    # What the poll before has listed already is repeated on one page.
    assert max(polls[1:]) <= 1 + math.ceil(per_second * (LONGEST + OVERHEAD) / 100)
    lags = simulation.lags()
    assert lags[len(lags) // 2] <= INTERVAL / 2 + 0.3
    assert lags[-1] <= LONGEST + OVERHEAD


@pytest.mark.parametrize("skew", [-300.0, 0.0, 300.0])
def test_a_clock_that_is_five_minutes_off_delays_nothing(monkeypatch: pytest.MonkeyPatch, skew: float) -> None:
    simulation = simulate(Simulation(skew=skew), monkeypatch)
    for number in range(500):
        simulation.add(ends=EPOCH + 20 + number / 10)
    simulation.live(simulation.wait_for_all())
    assert simulation.lags()[-1] <= LONGEST + OVERHEAD
    assert len(simulation.reads()) <= 1 + len(simulation.listings()) / 6


@pytest.mark.parametrize("skew", [-300.0, 0.0, 300.0])
def test_an_end_before_the_triggerer_began_to_wait_is_noticed_at_once(
    monkeypatch: pytest.MonkeyPatch, skew: float
) -> None:
    simulation = simulate(Simulation(skew=skew), monkeypatch)
    run = simulation.add(ends=EPOCH + 20)

    async def main() -> None:
        await asyncio.sleep(30)
        await simulation.wait_for(run, since=EPOCH)

    simulation.live(main())
    assert simulation.noticed[run.run_id] <= EPOCH + 31


def test_very_many_that_end_at_the_same_moment_are_all_noticed(simulation: Simulation) -> None:
    for _ in range(1234):
        simulation.add(ends=EPOCH + 33)
    simulation.live(simulation.wait_for_all())
    assert len(simulation.noticed) == 1234
    assert simulation.lags()[-1] <= LONGEST + OVERHEAD


@pytest.mark.parametrize("late", [{"written": 10.0}, {"undated": 10.0}, {"written": 5.0, "undated": 5.0}])
@pytest.mark.parametrize("others", [0, 5])
def test_ends_that_are_written_late_are_noticed_when_they_are(
    simulation: Simulation, late: dict[str, float], others: int
) -> None:
    for number in range(100):
        simulation.add(ends=EPOCH + 20 + number, **late)
        for _ in range(others):
            simulation.add(ends=EPOCH + 20 + number)
    simulation.live(simulation.wait_for_all())
    assert simulation.lags()[-1] <= 10 + LONGEST + OVERHEAD


def test_an_end_that_is_written_very_late_is_noticed_when_the_listing_next_reaches_far_back(
    simulation: Simulation,
) -> None:
    simulation.add(ends=EPOCH + 20, written=120.0)
    for number in range(100):
        simulation.add(ends=EPOCH + 20 + 10 * number)
    simulation.live(simulation.wait_for_all())
    lag = simulation.noticed["r0"] - EPOCH - 20
    assert 120 <= lag <= 120 + SECONDS_BETWEEN_WIDE_POLLS + LONGEST + OVERHEAD


def test_a_run_that_is_cleared_before_its_end_was_noticed_is_waited_for_again(simulation: Simulation) -> None:
    run = simulation.add(ends=EPOCH + 20)

    async def main() -> None:
        waiting = asyncio.ensure_future(simulation.wait_for(run))
        await asyncio.sleep(19)
        run.ends = None
        await asyncio.sleep(600)
        assert not waiting.done()
        run.ends = simulation.now + 1
        await waiting

    simulation.live(main())
    assert simulation.lags()[0] <= LONGEST + OVERHEAD


def test_a_run_that_is_deleted_is_missed_when_its_turn_to_be_looked_at_comes(simulation: Simulation) -> None:
    runs = [simulation.add() for _ in range(3)]

    async def main() -> list[Any]:
        waits = [asyncio.ensure_future(simulation.wait_for(run)) for run in runs]
        await asyncio.sleep(30)
        del simulation.runs["r0"]
        done, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in rest:
            each.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        return [each.exception() for each in done]

    (error,) = simulation.live(main())
    assert "it was deleted" in str(error)
    # Every sixth poll checks one of the three; from then on, what is missing is checked in each poll.
    found = 30 + 3 * 6 * (LONGEST + OVERHEAD)
    assert 30 + SECONDS_BEFORE_DELETED <= simulation.loop.now <= found + SECONDS_BEFORE_DELETED + LONGEST + OVERHEAD


# A page may come from a gateway that lets no POST through.
@pytest.mark.parametrize(
    "refusal",
    [
        *(answer(status, {"detail": "no"}) for status in (400, 401, 403, 404, 405, 406, 409, 422, 501)),
        *(page(status) for status in (302, 401, 403, 406)),
    ],
    ids=lambda refusal: f"{refusal.status}, {'page' if refusal.is_page else 'JSON'}",
)
def test_where_the_listing_is_refused_each_is_read_once_per_interval_and_four_at_a_time(
    monkeypatch: pytest.MonkeyPatch, refusal: Response
) -> None:
    simulation = simulate(Simulation(listing=refusal, latency=0.02), monkeypatch)
    for _ in range(100):
        simulation.add(ends=EPOCH + 300)
    simulation.live(simulation.wait_for_all())
    assert simulation.most_under_way == REQUESTS_AT_ONCE
    for reads in Counter(simulation.reads()).values():
        assert reads <= 300 / (0.9 * INTERVAL) + 2
    # It is requested again when it would reach far back; where a page comes, twice within a second.
    assert len(simulation.listings()) <= 2 * 2
    assert simulation.lags()[-1] <= LONGEST + OVERHEAD + 1


@pytest.mark.parametrize(
    "failure", [answer(500, {"detail": "statement timeout"}), page(200, "Sign in")], ids=["500", "page"]
)
def test_where_only_the_listing_fails_each_is_read_individually_until_it_works_again(
    monkeypatch: pytest.MonkeyPatch, failure: Response
) -> None:
    simulation = simulate(Simulation(listing=failure), monkeypatch)
    for number in range(20):
        simulation.add(ends=EPOCH + 900 + number)

    async def main() -> None:
        waits = asyncio.ensure_future(simulation.wait_for_all())
        await asyncio.sleep(650)
        # Two requests in each of three polls, and in one of each five minutes after that.
        assert len(simulation.listings()) == 2 * (FAILURES_BEFORE_PROBE + 2)
        assert set(simulation.reads(since=600.0)) == set(simulation.runs)
        simulation.listing = None
        await waits

    simulation.live(main())
    assert simulation.lags()[-1] <= LONGEST + OVERHEAD
    # It works again, so that most runs are not read at all.
    assert len(simulation.reads(since=910.0)) <= 10


def test_where_only_the_listing_of_tasks_fails_it_is_seldom_requested(simulation: Simulation) -> None:
    simulation.fake.add_dag("d", tasks=["t"], stays="running")
    run = simulation.add()
    whole, requested = simulation._answer, list[float]()

    def reply(request: Request) -> Response:
        if not request.path.endswith("/taskInstances/list"):
            return whole(request)
        requested.append(simulation.loop.now)
        return answer(500, {"detail": "statement timeout"})

    simulation._answer = reply  # type: ignore[method-assign]

    async def main() -> None:
        wait = asyncio.ensure_future(simulation.wait_for(run, task_ids=("t",)))
        await asyncio.sleep(650)
        # As for runs: two requests in each of three polls, and in one of each five minutes after that.
        assert len(requested) == 2 * (FAILURES_BEFORE_PROBE + 2)
        simulation.fake.set_task_state("d", run.run_id, "t", "success")
        await wait

    simulation.live(main())
    assert simulation.loop.now - 650 <= LONGEST + OVERHEAD


def test_where_the_listing_is_refused_a_run_is_read_in_the_same_poll(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulate(Simulation(listing=answer(405, {"detail": "no"})), monkeypatch)
    run = simulation.add(ends=EPOCH)
    simulation.live(simulation.wait_for(run))
    assert simulation.lags()[-1] < 1


def test_a_wait_ends_when_its_own_read_is_refused_and_no_other_does(simulation: Simulation) -> None:
    simulation.listing = answer(401, {"detail": "not for you"})
    forbidden, other = simulation.add(ends=EPOCH + 60), simulation.add(ends=EPOCH + 60)
    whole = simulation._answer

    def reply(request: Request) -> Response:
        hidden = request.path.endswith(f"/{forbidden.run_id}")
        return answer(403, {"detail": "hidden"}) if hidden else whole(request)

    simulation._answer = reply  # type: ignore[method-assign]

    async def main() -> None:
        refused, outcome = await asyncio.gather(*map(simulation.wait_for, (forbidden, other)), return_exceptions=True)
        assert isinstance(refused, AccessDenied)
        assert isinstance(outcome, WaitResult)

    simulation.live(main())


def test_credentials_that_are_refused_everywhere_are_shown_a_few_times_however_many_wait(
    simulation: Simulation,
) -> None:
    for _ in range(500):
        simulation.add()
    whole, accepted = simulation._answer, 60.0

    def reply(request: Request) -> Response:
        if simulation.loop.now > accepted and not request.path.endswith("/version"):
            return answer(401, {"detail": "revoked"})
        return whole(request)

    simulation._answer = reply  # type: ignore[method-assign]

    async def main() -> None:
        errors = await asyncio.gather(*map(simulation.wait_for, simulation.runs.values()), return_exceptions=True)
        assert {type(error) for error in errors} == {AuthenticationFailed}

    simulation.live(main())
    assert len([at for at, _ in simulation.received if at > accepted]) <= 2 * (1 + MOST_REFUSALS + REQUESTS_AT_ONCE)


@pytest.mark.parametrize(
    ("answers", "seconds"),
    [(0.0, 0.0), (8.0, 8.0), (1000.0, SECONDS_FOR_FIRST_POLL)],
    ids=["answers at once", "answers late", "does not answer"],
)
@pytest.mark.parametrize("passed", [600.0, -5.0], ids=["long ago", "soon"])
def test_a_wait_whose_deadline_has_passed_has_time_for_its_first_poll(
    monkeypatch: pytest.MonkeyPatch, answers: float, seconds: float, passed: float
) -> None:
    simulation = simulate(Simulation(down=(0.0, answers)), monkeypatch)
    run = simulation.add()
    outcome = simulation.live(simulation.wait_for(run, deadline=EPOCH - passed, exists=False, date=None))
    assert outcome.status is WaitStatus.TIMEOUT
    assert max(seconds, -passed) <= simulation.noticed[run.run_id] - EPOCH <= max(seconds, -passed) + 12


def test_deadlines_end_their_waits_in_any_order(simulation: Simulation) -> None:
    ended: list[tuple[float, float]] = []

    async def wait_for(seconds: float | None) -> None:
        deadline = None if seconds is None else EPOCH + seconds
        outcome = await simulation.wait_for(simulation.add(), deadline=deadline)
        assert (outcome.status, seconds) != (WaitStatus.TIMEOUT, None)
        ended.append((simulation.loop.now, seconds or 0.0))

    async def main() -> None:
        waits = [asyncio.ensure_future(wait_for(each)) for each in (15.0, None, 5.0, 3600.0, 10.0, 10.05)]
        await asyncio.sleep(30)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    simulation.live(main())
    assert [seconds for _, seconds in sorted(ended)] == [5.0, 10.0, 10.05, 15.0]
    assert all(0 <= at - seconds < 1 for at, seconds in ended)


def test_three_days_of_waiting_leave_nothing_behind(simulation: Simulation) -> None:
    day, ended = 86_400.0, Counter[str]()
    simulation.fake.add_dag("d", tasks=["t"], stays="running")

    async def come_and_go(number: int) -> None:
        """A wait that ends with its run, with its deadline, or because it is cancelled."""
        lasts = 1000.0 if number % 3 else day * 10
        run = simulation.add(ends=simulation.now + lasts)
        task_ids = ("t",) if number % 2 else ()
        deadline = simulation.now + 3000
        wait = simulation.wait_for(run, poke_interval=300.0, deadline=deadline, task_ids=task_ids, progress=True)
        outcome = await asyncio.gather(asyncio.wait_for(wait, 2500 if number % 5 else 3500), return_exceptions=True)
        ended[str(getattr(outcome[0], "status", type(outcome[0]).__name__))] += 1
        del simulation.runs[run.run_id]

    def objects() -> int:
        """How many objects there are, without what the simulation itself keeps."""
        for kept in (simulation.received, simulation.noticed, simulation.fake.received):
            kept.clear()
        # asyncio keeps up to a hundred cancelled timers.
        loop: Any = simulation.loop
        loop._scheduled = [each for each in loop._scheduled if not each.cancelled()]
        heapify(loop._scheduled)
        gc.collect()
        return len(gc.get_objects())

    async def main() -> tuple[int, int]:
        throughout = [{"poke_interval": 300.0, "task_ids": task_ids} for task_ids in ((), ("t",))]
        waits = [asyncio.ensure_future(simulation.wait_for(simulation.add(), **each)) for each in throughout]
        after = []
        for number in range(3 * PER_DAY + 1):
            if number in (PER_DAY, 3 * PER_DAY):
                after.append(objects())
            waits.append(asyncio.ensure_future(come_and_go(number)))
            waits = [each for each in waits if not each.done()]
            await asyncio.sleep(day / PER_DAY)
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return after[0], after[1]

    after_one, after_three = simulation.live(main())
    assert simulation.now - EPOCH >= 3 * day
    assert len(ended) == 3
    assert min(ended.values()) >= 10
    # Meanwhile twice as many waits have ended.
    assert after_three - after_one < PER_DAY


@pytest.mark.parametrize("seconds", [30.0, 300.0])
def test_a_remote_that_was_down_is_polled_soon_and_not_too_often(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    simulation = simulate(Simulation(down=(60.0, 60.0 + seconds)), monkeypatch)
    for _ in range(200):
        simulation.add(ends=EPOCH + 70)
    simulation.live(simulation.wait_for_all())
    back = EPOCH + 60 + seconds
    # The last attempt of a poll may have been just before it was back.
    assert max(simulation.noticed.values()) - back <= 1.1 * LONGEST_PAUSE_WHILE_UNREACHABLE + 30
    assert len([at for at, _ in simulation.received if 60 <= at <= 60 + seconds]) <= 6 + seconds / 5
    assert simulation.most_under_way <= REQUESTS_AT_ONCE


def test_a_remote_that_is_down_from_the_beginning_is_polled_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulate(Simulation(down=(0.0, 300.0)), monkeypatch)
    simulation.add(ends=EPOCH + 10)
    simulation.live(simulation.wait_for_all())
    # Each poll sends two requests within two seconds. Pauses vary by a tenth.
    polls = [at for at, _ in simulation.received if at < 300][::2]
    pauses = [10, 20, 40, *[LONGEST_PAUSE_WHILE_UNREACHABLE] * 3]
    for pause, (poll, following) in zip(pauses, pairwise(polls), strict=True):
        assert 0.9 * pause <= following - poll <= 1.1 * pause + 2


def test_a_slow_remote_is_left_alone_for_most_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = simulate(Simulation(latency=4.0), monkeypatch)
    for _ in range(50):
        simulation.add(ends=EPOCH + 600)
    simulation.live(simulation.wait_for_all())
    assert len(simulation.received) * simulation.latency <= 0.25 * 600 + 20


@given(
    st.lists(
        st.tuples(
            st.floats(0, 120),  # joins
            st.one_of(st.none(), st.floats(0, 120)),  # is cancelled so many seconds later
            st.floats(0, 200),  # its run ends
            st.sampled_from([1.0, 5.0, 60.0]),  # its interval
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([-300.0, -0.7, 0.0, 0.7, 300.0]),
)
def test_however_they_join_and_leave_everybody_who_stays_hears_of_his_end(
    waits: list[tuple[float, float | None, float, float]], skew: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        simulation = simulate(Simulation(skew=skew), patch)

        async def one(joins: float, cancelled: float | None, ends: float, interval: float) -> bool:
            run = simulation.add(ends=EPOCH + ends)
            await asyncio.sleep(joins)
            # The task deferred at the very beginning, and its trigger begins later.
            wait = asyncio.ensure_future(simulation.wait_for(run, poke_interval=interval, since=EPOCH))
            if cancelled is not None:
                await asyncio.wait([wait], timeout=cancelled)
                wait.cancel()
                await asyncio.gather(wait, return_exceptions=True)
                return True
            await wait
            known = max(ends, joins)
            return simulation.loop.now - known <= 1.1 * max(interval, 5.0) + OVERHEAD + 15

        async def main() -> None:
            assert all(await asyncio.gather(*(one(*each) for each in waits)))
            assert not Watcher._all.get(asyncio.get_running_loop())

        simulation.live(main())
        assert simulation.most_under_way <= REQUESTS_AT_ONCE


def test_runs_that_are_over_without_an_end_date_are_noticed_soon_although_no_listing_has_them(
    simulation: Simulation,
) -> None:
    for _ in range(50):
        simulation.add(ends=EPOCH + 60, undated=1e6)
    for _ in range(50):
        simulation.add(ends=EPOCH + 900)
    simulation.live(simulation.wait_for_all())
    undated = sorted(simulation.noticed[run.run_id] - EPOCH - 60 for run in simulation.runs.values() if run.undated)
    # One at a time, it took 24 minutes. Which runs are checked first is chance: most often it takes two minutes.
    assert undated[-1] <= 600
    assert len(simulation.reads(since=660.0)) <= 1 + 240 / (0.9 * INTERVAL) / 6


STRANGER = {"dag_id": "d", "dag_run_id": "of-others", "state": "success", "logical_date": None, "conf": {}}
ODD_RUNS: dict[str, dict[str, Any]] = {
    "conf nested 600 deep": {"conf": json.loads('{"a":' * 600 + "1" + "}" * 600)},
    "end_date is no date": {"end_date": "yesterday"},
    "end_date is a number": {"end_date": 5},
    "end_date beyond all dates": {"end_date": "9999-12-31T23:59:59-23:59"},
    "logical_date is no date": {"logical_date": "soon"},
    "state is a list": {"state": ["success"]},
    "no run id": {"dag_run_id": None},
    "run id with half a surrogate": {"dag_run_id": "a\ud800"},
    "run id is a list": {"dag_run_id": ["x"]},
    "no end date": {"end_date": None},
    "a note of a megabyte": {"note": "x" * 10**6},
}


@pytest.mark.parametrize("odd", ODD_RUNS.values(), ids=ODD_RUNS)
def test_an_odd_run_of_another_user_disturbs_no_wait(simulation: Simulation, odd: dict[str, Any]) -> None:
    whole = simulation._answer

    def answer(request: Request) -> Response:
        reply = whole(request)
        if request.path != LISTING or simulation.loop.now < 12:
            return reply
        body = json.loads(reply.body)
        body["dag_runs"].append(STRANGER | {"end_date": moment(simulation.now)} | odd)
        return ok(body | {"total_entries": body["total_entries"] + 1})

    simulation._answer = answer  # type: ignore[method-assign]
    for number in range(5):
        simulation.add(ends=EPOCH + 900 + number)
    simulation.live(simulation.wait_for_all())
    assert simulation.lags()[-1] <= LONGEST + OVERHEAD


def test_a_poll_that_breaks_ends_its_own_wait_alone(simulation: Simulation) -> None:
    broken, other = simulation.add(), simulation.add(ends=EPOCH + 100)
    whole = simulation._answer

    def answer(request: Request) -> Response:
        if request.path.endswith(broken.run_id):
            raise RuntimeError("a fault of our own")
        return whole(request)

    simulation._answer = answer  # type: ignore[method-assign]

    async def main() -> None:
        waits = [simulation.wait_for(broken, exists=False, date=None), simulation.wait_for(other)]
        failure, outcome = await asyncio.gather(*waits, return_exceptions=True)
        assert isinstance(failure, RuntimeError)
        assert isinstance(outcome, WaitResult)

    simulation.live(main())


def test_a_listing_that_never_ends_is_given_up_and_every_run_is_read_individually(simulation: Simulation) -> None:
    whole = simulation._answer

    def answer(request: Request) -> Response:
        if request.path != LISTING:
            return whole(request)
        first = request.body["page_offset"]
        entries = [
            STRANGER | {"dag_run_id": f"made-up-{n}", "end_date": moment(EPOCH)} for n in range(first, first + 100)
        ]
        return ok({"dag_runs": entries, "total_entries": 10**9})

    simulation._answer = answer  # type: ignore[method-assign]
    run = simulation.add(ends=EPOCH + 60)
    simulation.live(simulation.wait_for(run))
    assert simulation.lags()[-1] <= LONGEST + OVERHEAD
    assert len(simulation.listings()) <= 2


GATEWAYS = {
    "404 page": page(404, "default backend - 404"),
    "404 text": plain(404, "default backend - 404"),
    "404 JSON": answer(404, {"message": "no Route matched with those values"}),
    "401 page": page(401),
    "403 page": page(403),
    "403 text": plain(403, "RBAC: access denied"),
    "403 JSON": answer(403, {"message": "Forbidden"}),
    "400 page": page(400),
    "200 page": page(200, "We are back soon"),
    "302": page(302, location="/maintenance"),
    "522": plain(522, "error code: 522"),
}


@pytest.mark.parametrize("instead", GATEWAYS)
@pytest.mark.parametrize(("since", "until"), [(0.0, 100.0), (30.0, 130.0)], ids=["from the first request", "amid"])
def test_a_gateway_that_answers_in_place_of_the_deployment_ends_no_wait(
    simulation: Simulation, since: float, until: float, instead: str
) -> None:
    simulation.gateway = (since, until, GATEWAYS[instead])
    for end in (60.0, 300.0):
        simulation.add(ends=EPOCH + end)
    simulation.live(simulation.wait_for_all())
    early, late = (simulation.noticed[run_id] - EPOCH for run_id in ("r0", "r1"))
    assert until < early < until + 4 * LONGEST_PAUSE_WHILE_UNREACHABLE
    assert 300.0 < late < 300.0 + LONGEST + OVERHEAD
