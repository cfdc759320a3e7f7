"""When a request is sent again: the pure decision, and the loop that follows it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.client.retry import TRANSIENT_STATUSES, RetryBudget, RetryPolicy, retry_after_seconds
from astronomer_remote.api.protocol.errors import RemoteError, RemoteUnavailable, Unreachable
from astronomer_remote.api.protocol.flow import Request, Response, TransportError
from tests.api.script import LOST, UNSENT, V1, V2, ScriptedRemote, Turn, answer, ok, page, plain

NOW = datetime(2026, 11, 22, 7, 0, tzinfo=timezone.utc)

policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 20),
    total_seconds=st.floats(0, 10_000),
    first_wait=st.floats(0, 100),
    longest_wait=st.floats(0, 1_000),
    longest_retry_after=st.floats(0, 1_000),
)
jitters = st.floats(0, 1, exclude_max=True)


# The decision


@given(policies, st.integers(1, 2_000), st.floats(0, 20_000), jitters, st.none() | st.floats(0, allow_infinity=True))
def test_a_wait_is_bounded_capped_and_never_leads_beyond_the_total(
    policy: RetryPolicy, attempt: int, elapsed: float, jitter: float, retry_after: float | None
) -> None:
    wait = policy.wait(attempt, elapsed, jitter, retry_after)
    if wait is not None:
        assert attempt < policy.attempts
        assert 0 <= wait <= max(policy.longest_wait, policy.longest_retry_after)
        assert elapsed + wait < policy.total_seconds


@given(policies, st.integers(1, 20), jitters)
def test_attempts_are_given_up_in_the_end(policy: RetryPolicy, attempt: int, jitter: float) -> None:
    assert policy.wait(policy.attempts + attempt - 1, 0, jitter) is None


@given(st.integers(1, 5), jitters, st.floats(0, 60))
def test_a_reasonable_retry_after_is_waited_at_least(attempt: int, jitter: float, retry_after: float) -> None:
    wait = RetryPolicy().wait(attempt, 0, jitter, retry_after)
    assert wait is not None
    assert wait >= retry_after


def test_an_attempt_that_would_start_after_the_total_is_not_made() -> None:
    policy = RetryPolicy(total_seconds=10)
    assert policy.wait(3, 7.9, 0.0) == 2
    assert policy.wait(3, 8.0, 0.0) is None
    assert policy.wait(1, 0.0, 0.0, retry_after=10) is None


def test_waits_double_up_to_their_cap_and_are_spread_by_half() -> None:
    policy = RetryPolicy(attempts=10)
    assert [policy.wait(attempt, 0, 0.999999) for attempt in range(1, 8)] == pytest.approx(
        [1, 2, 4, 8, 16, 30, 30], rel=1e-3
    )
    assert [policy.wait(attempt, 0, 0.0) for attempt in range(1, 8)] == [0.5, 1, 2, 4, 8, 15, 15]


@pytest.mark.parametrize("header", ["0", "1", " 30 ", "120", "9" * 5000])
def test_retry_after_is_read_in_seconds(header: str) -> None:
    assert retry_after_seconds({"retry-after": header}, NOW) == float(header)


@given(st.integers(-1_000_000, 1_000_000))
def test_retry_after_is_read_as_a_date_and_never_negative(seconds: int) -> None:
    until = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_seconds({"retry-after": until}, NOW) == max(0, seconds)


def test_a_retry_after_date_is_compared_with_the_remotes_clock_not_with_ours() -> None:
    remote_now = NOW - timedelta(hours=3)
    headers = {
        "date": format_datetime(remote_now, usegmt=True),
        "retry-after": format_datetime(remote_now + timedelta(seconds=20), usegmt=True),
    }
    assert retry_after_seconds(headers, NOW) == 20


def test_a_date_of_any_zone_is_read() -> None:
    assert retry_after_seconds({"retry-after": "Sun, 22 Nov 2026 09:00:05 +0200"}, NOW) == 5


def test_a_budget_that_only_the_time_limits_ends_with_no_number_of_attempts() -> None:
    budget = RetryBudget(RetryPolicy(attempts=2, total_seconds=100.0), 1000.0)
    assert [budget.wait(1000.0, 0.0, None, by_time=True) for _ in range(5)] == [0.5] * 5
    assert budget.wait(1000.0, 0.0, None, by_time=False) is None


def test_of_the_time_of_a_part_only_that_with_failures_counts() -> None:
    budget = RetryBudget(RetryPolicy(total_seconds=100.0), 1000.0)
    budget.advance(2000.0)
    assert budget.wait(2050.0, 0.0, None, by_time=False) == 0.5
    budget.advance(2060.0)
    # Of the second part, 60 seconds; of the third, 39.
    assert budget.wait(2099.0, 0.0, None, by_time=False) == 0.5
    assert budget.wait(2100.0, 0.0, None, by_time=False) is None


def test_a_date_without_a_zone_is_universal_time() -> None:
    assert retry_after_seconds({"retry-after": "Sun, 22 Nov 2026 07:00:05 -0000"}, NOW) == 5


@given(st.text() | st.sampled_from(["", "-1", "1.5", "soon", "²", "Sun, 22 Nov 2026 07:00:05 +9999"]))
def test_any_other_retry_after_is_not_obeyed_and_does_no_harm(text: str) -> None:
    seconds = retry_after_seconds({"retry-after": text, "date": text}, NOW)
    assert seconds is None or seconds >= 0


# The loop


def get_pool(reply: Response | TransportError) -> Turn:
    return Turn("GET /api/v2/pools/p", reply)


def post_pool(reply: Response | TransportError) -> Turn:
    return Turn("POST /api/v2/pools", reply)


POOL = ok({"name": "p", "slots": 1})


@pytest.mark.parametrize("status", sorted(TRANSIENT_STATUSES))
def test_a_read_is_sent_again_after_a_passing_status(status: int) -> None:
    remote = ScriptedRemote(version=V2)
    remote.play(remote.deployment.get_pool("p"), get_pool(plain(status, "")), get_pool(answer(status)), get_pool(POOL))
    assert remote.sleeps == [0.5, 1.0]


@pytest.mark.parametrize("failure", [LOST, UNSENT])
def test_a_read_is_sent_again_after_a_lost_reply(failure: TransportError) -> None:
    remote = ScriptedRemote(version=V2)
    pool = remote.play(remote.deployment.get_pool("p"), get_pool(failure), get_pool(POOL))
    assert (pool.name, pool.slots) == ("p", 1)


def test_a_change_that_may_be_repeated_is_repeated() -> None:
    remote = ScriptedRemote(version=V2)
    remote.play(
        remote.deployment.delete_pool("p"),
        Turn("DELETE /api/v2/pools/p", LOST),
        Turn("DELETE /api/v2/pools/p", Response(204)),
    )
    assert [request.method for request in remote.requests].count("DELETE") == 2


@pytest.mark.parametrize("failure", [UNSENT, answer(429), page(429)])
def test_a_post_is_sent_again_if_it_certainly_did_nothing(failure: Response | TransportError) -> None:
    remote = ScriptedRemote(version=V2)
    pool = remote.play(remote.deployment.create_pool("p", 1), post_pool(failure), post_pool(POOL))
    assert (pool.name, pool.slots) == ("p", 1)


@pytest.mark.parametrize(
    ("failure", "error"),
    [(LOST, Unreachable), *((plain(status, ""), RemoteUnavailable) for status in (408, 425, 500, 502, 503, 504))],
)
def test_a_post_that_may_have_done_something_is_not_sent_again(
    failure: Response | TransportError, error: type[Exception]
) -> None:
    remote = ScriptedRemote(version=V2)
    with pytest.raises(error):
        remote.play(remote.deployment.call("POST", "/pools"), post_pool(failure))
    assert remote.sleeps == []


@pytest.mark.parametrize("failure", [UNSENT, LOST, answer(429), plain(503, ""), page()])
def test_what_is_to_be_sent_once_is_never_sent_again(failure: Response | TransportError) -> None:
    remote = ScriptedRemote(version=V2)
    operation = remote.play(remote.client.dialect()).pool("p").once()
    with pytest.raises(RemoteError):
        remote.play(remote.client.request(operation), get_pool(failure))
    assert remote.sleeps == []


def test_retries_end_with_the_last_failure() -> None:
    remote = ScriptedRemote(version=V1)
    turn = Turn("GET /api/v1/pools/p", LOST)
    last = Turn("GET /api/v1/pools/p", TransportError("TimeoutError"))
    with pytest.raises(
        Unreachable, match=r"No reply from https://airflow.example.com: TimeoutError\. Check"
    ) as failure:
        remote.play(remote.deployment.get_pool("p"), *[turn] * 5, last)
    assert (failure.value.status, failure.value.method, failure.value.path) == (None, "GET", "/api/v1/pools/p")
    assert str(failure.value).endswith("[GET /api/v1/pools/p]")
    assert sum(remote.sleeps) < 180


def test_retries_can_be_fewer() -> None:
    remote = ScriptedRemote(version=V2, retry=RetryPolicy(attempts=1))
    with pytest.raises(Unreachable):
        remote.play(remote.deployment.get_pool("p"), get_pool(LOST))


def test_retry_after_is_waited_up_to_a_minute() -> None:
    remote = ScriptedRemote(version=V2)
    later = format_datetime(datetime.fromtimestamp(remote.clock.now, timezone.utc) + timedelta(seconds=9), usegmt=True)
    turns = [
        get_pool(plain(503, "", **{"retry-after": "7"})),
        get_pool(plain(429, "", **{"retry-after": "86400"})),
        get_pool(POOL),
    ]
    remote.play(remote.deployment.get_pool("p"), get_pool(plain(429, "", **{"retry-after": later})), *turns)
    assert remote.sleeps == [9.0, 7.0, 60.0]


def test_the_error_of_an_unavailable_remote_has_status_and_words() -> None:
    remote = ScriptedRemote(version=V2)
    busy = answer(503, {"detail": "Upgrade in progress"}, retry_after="1")
    with pytest.raises(RemoteUnavailable, match="Upgrade in progress") as failure:
        remote.play(remote.deployment.get_pool("p"), *[get_pool(busy)] * 6)
    assert failure.value.status == 503
    assert failure.value.retry_after == 1


ODD_DATES = [
    *(
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 10000 00:00:00 GMT",
        "Mon, 01 Jan 0000 00:00:00 GMT",
    ),
    *("Mon, 01 Jan 0001 00:00:00 +2359", "Mon, 31 Dec 9999 23:59:59 -2359", "Mon, 01 Jan 2026 00:00:00 +99999999999"),
    *(
        "Mon, 01 Jan 2026 99:99:99 GMT",
        "Mon, 99 Jan 2026 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:" + "9" * 5000 + " GMT",
    ),
    *(
        "1 1 1",
        ",",
        "",
        "\x00",
        "a" * 60_000,
        "Mon, 01 Jan " + "9" * 5000,
        "Mon,,,,,,",
        "00:00:00",
        "+",
        "-1",
        "1e999",
        "NaN",
    ),
]


@pytest.mark.parametrize("odd", ODD_DATES)
def test_an_odd_date_is_none_or_one_that_can_be_calculated_with(odd: str) -> None:
    for headers in (
        {"retry-after": odd},
        {"retry-after": format_datetime(NOW, usegmt=True), "date": odd},
        {"retry-after": odd, "date": odd},
    ):
        seconds = retry_after_seconds(headers, NOW)
        assert seconds is None or seconds >= 0


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_header_field_is_read(retry_after: str, date: str) -> None:
    found = retry_after_seconds({"retry-after": retry_after, "date": date}, NOW)
    assert found is None or found >= 0


@pytest.mark.parametrize("odd", [*ODD_DATES, "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"])
def test_an_odd_date_of_a_reply_leaves_the_clock_alone(odd: str) -> None:
    remote = ScriptedRemote(version=V2)
    before = remote.client.remote_clock()
    remote.play(remote.client.send(Request("GET", "/x")), Turn("GET /x", ok({}, date=odd)))
    assert remote.client.remote_clock() == before


@pytest.mark.parametrize("digits", [1, 300, 400, 5000])
def test_a_pause_of_any_length_is_capped(digits: int) -> None:
    seconds = retry_after_seconds({"retry-after": "9" * digits}, NOW)
    wait = RetryPolicy().wait(1, 0.0, 0.0, seconds)
    assert wait is not None
    assert wait <= 60
