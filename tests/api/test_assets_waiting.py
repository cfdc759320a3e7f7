"""Events of assets are waited for with one listing of new events for all waits."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any

import pytest

from astronomer_remote.api.assets import assets
from astronomer_remote.api.assets.assets import SECONDS_OF_OVERLAP, Assets
from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.protocol.errors import AccessDenied, AuthenticationFailed, NotFound, UnexpectedReply
from astronomer_remote.api.protocol.models import Asset, AssetEvent, utc_text, utc_text_of
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus
from astronomer_remote.api.watch import asset_watcher, shared
from astronomer_remote.api.watch.asset_watcher import EventFeed, Subscriber, watch_asset
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.server import Reply

INTERVAL = 0.3
START, BEFORE_START = "2026-01-01T00:00:00Z", "2025-12-31T23:59:59.999999Z"


@pytest.fixture(params=["2.11.2", "3.3.2"])
def remote(request: pytest.FixtureRequest) -> Iterator[FakeDeployment]:
    with FakeDeployment(request.param, api_key="key") as remote:
        for name in ("a", "b"):
            remote.add_asset(f"s3://{name}")
        yield remote


def settings_of(remote: FakeDeployment) -> Settings:
    return Settings(remote.url, password="key", authentication="software_api_key")


def target(name: str = "a", **more: Any) -> AssetTarget:
    return AssetTarget(f"s3://{name}", None, **{"since": START, **more})


def wait(
    remote: FakeDeployment,
    what: AssetTarget,
    *,
    seconds: float = 20,
    lines: list[str] | None = None,
    reload: Callable[[], Awaitable[Settings]] | None = None,
) -> Any:
    """A wait, as a trigger makes it."""
    settings = settings_of(remote)

    async def as_before() -> Settings:
        return settings

    return watch_asset(
        what,
        settings=settings,
        reload=reload or as_before,
        poke_interval=INTERVAL,
        deadline=time.time() + seconds,
        on_line=(lines if lines is not None else []).append,
    )


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(400):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


def listings(remote: FakeDeployment) -> list[dict[str, list[str]]]:
    """The queries of the requests for events so far."""
    return [each.query for each in remote.received if each.path.endswith("/events")]


def own(query: dict[str, list[str]]) -> bool:
    """Whether a listing is that of one asset."""
    return "asset_id" in query or "dataset_id" in query


# Targets


def test_which_events_count() -> None:
    event = AssetEvent(1, 1, START, extra={"k": 1, "n": None})
    assert target().matches(event)
    assert target(extra={"k": 1}).matches(event)
    assert target(extra={"n": None}).matches(event)
    assert not target(extra={"k": 2}).matches(event)
    assert not target(extra={"m": None}).matches(event)
    assert not target(count=2).is_met_by([event])
    assert AssetTarget.from_dict(target(extra={"k": 1}).as_dict()) == target(extra={"k": 1})
    with pytest.raises(UnexpectedReply, match="another version"):
        AssetTarget.from_dict({"uri": "s3://a", "of": "the future"})


def test_the_state_of_a_wait() -> None:
    assert str(target()) == f"an event of asset 's3://a' since {START}"
    assert target(count=2, extra={"k": 1}).summary([]) == (
        f"0 of 2 events: waiting for 2 events of asset 's3://a' since {START} with k in extra as given"
    )


# Waits


def test_a_past_event_ends_a_wait_at_once(remote: FakeDeployment) -> None:
    remote.add_asset_event("s3://a")
    remote.add_asset_event("s3://b")
    result: WaitResult = asyncio.run(wait(remote, target()))
    assert result.status is WaitStatus.SUCCESS
    assert len(listings(remote)) == 1


def test_a_new_event_ends_the_waits_for_it(remote: FakeDeployment) -> None:
    async def both() -> list[WaitResult]:
        first = asyncio.create_task(wait(remote, target(extra={"k": 2})))
        second = asyncio.create_task(wait(remote, target("b", count=2), seconds=3))
        await until(lambda: len(listings(remote)) >= 2)
        remote.add_asset_event("s3://a", {"k": 1})
        remote.add_asset_event("s3://b")
        await asyncio.sleep(2 * INTERVAL)
        assert not first.done()
        remote.add_asset_event("s3://a", {"k": 2})
        return [await first, await second]

    first, second = asyncio.run(both())
    assert first.status is WaitStatus.SUCCESS
    assert second.status is WaitStatus.TIMEOUT
    assert second.summary.startswith("1 of 2 events")


def test_fifty_waits_share_each_listing(remote: FakeDeployment) -> None:
    async def many() -> list[WaitResult]:
        waits = [asyncio.create_task(wait(remote, target("a" if number % 2 else "b"))) for number in range(50)]
        await until(lambda: sum(map(own, listings(remote))) == 50)
        began = len(listings(remote))
        await asyncio.sleep(5 * INTERVAL)
        shared = listings(remote)[began:]
        assert not any(map(own, shared))
        assert 2 <= len(shared) <= 6
        remote.add_asset_event("s3://a")
        remote.add_asset_event("s3://b")
        return await asyncio.gather(*waits)

    assert {result.status for result in asyncio.run(many())} == {WaitStatus.SUCCESS}


def test_events_before_the_moment_do_not_count(remote: FakeDeployment) -> None:
    soon = utc_text(datetime.fromtimestamp(time.time() + 1, timezone.utc), "since")

    async def later() -> WaitResult:
        waits = asyncio.create_task(wait(remote, target(since=soon)))
        await until(lambda: len(listings(remote)) >= 1)
        remote.add_asset_event("s3://a", {"number": 1})
        await asyncio.sleep(1.2)
        assert not waits.done()
        remote.add_asset_event("s3://a", {"number": 2})
        return await waits

    assert asyncio.run(later()).status is WaitStatus.SUCCESS


def test_an_event_of_the_very_moment_counts() -> None:
    subscriber = Subscriber(target())
    at_the_moment, before = (AssetEvent(number, 1, moment) for number, moment in ((1, START), (2, BEFORE_START)))
    subscriber.start(Asset(1, "s3://a"), {}, Settings("https://airflow.example.com"), time.monotonic() + 60)
    for event in (at_the_moment, before):
        subscriber.offer(event)
    assert [*subscriber.found] == [1]


def test_past_events_are_read_from_the_moment_on_and_new_ones_from_when_the_past_ones_were_read(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.time()
    # A second passes between two readings of the clock, however long the test takes.
    clock = (began + seconds for seconds in count())
    monkeypatch.setattr(Client, "remote_clock", lambda self: next(clock))
    read: list[tuple[bool, str | None]] = []
    each_event = Assets.each_event

    def listed(self: Assets, found: Any, asset: Asset | None = None, *, since: str | None = None) -> Any:
        read.append((asset is not None, since))
        return each_event(self, found, asset, since=since)

    monkeypatch.setattr(Assets, "each_event", listed)

    async def listed_thrice() -> WaitResult:
        waits = asyncio.create_task(wait(remote, target()))
        await until(lambda: len(read) >= 3)
        remote.add_asset_event("s3://a")
        return await waits

    assert asyncio.run(listed_thrice()).status is WaitStatus.SUCCESS
    past, first, second = read[:3]
    assert past == (True, START)
    assert first == (False, utc_text_of(began - SECONDS_OF_OVERLAP))
    assert second == (False, utc_text_of(began + 1 - SECONDS_OF_OVERLAP))


def test_more_new_events_than_are_read_make_each_wait_read_its_own(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assets, "MOST_EVENTS", 5)

    async def flooded() -> WaitResult:
        waits = asyncio.create_task(wait(remote, target()))
        await until(lambda: len(listings(remote)) == 1)
        remote.add_asset_event("s3://a")
        for _ in range(20):
            remote.add_asset_event("s3://b")
        return await waits

    assert asyncio.run(flooded()).status is WaitStatus.SUCCESS
    assert [own(query) for query in listings(remote)] == [True, False, True]


def test_an_event_that_is_shown_long_after_its_timestamp_ends_the_wait(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_watcher, "SECONDS_BETWEEN_WIDE_POLLS", 4 * INTERVAL)

    async def late() -> WaitResult:
        waits = asyncio.create_task(wait(remote, target(), seconds=5))
        await until(lambda: len(listings(remote)) >= 2)
        remote.add_asset_event("s3://a")
        events = remote._contents.asset_events
        events[-1] = replace(events[-1], timestamp=events[-1].timestamp - timedelta(seconds=300))
        return await waits

    assert asyncio.run(late()).status is WaitStatus.SUCCESS
    assert sum(map(own, listings(remote))) == 2


def test_refused_credentials_are_tried_once_for_all_waits(remote: FakeDeployment) -> None:
    async def refused() -> tuple[list[Any], int]:
        waits = [asyncio.create_task(wait(remote, target("a" if number % 2 else "b"))) for number in range(12)]
        await until(lambda: sum(map(own, listings(remote))) == 12)
        remote.change_secret("another")
        before = len(remote.received)
        found = await asyncio.gather(*waits, return_exceptions=True)
        return found, len(remote.received) - before

    found, requests = asyncio.run(refused())
    assert {type(each) for each in found} == {AuthenticationFailed}
    assert requests <= 3


def test_a_connection_that_points_elsewhere_takes_no_numbers_along(remote: FakeDeployment) -> None:
    with FakeDeployment(remote.version, api_key="new") as moved:
        for name in ("b", "a"):
            moved.add_asset(f"s3://{name}")
        settings = Settings(moved.url, password="new", authentication="software_api_key")

        async def reload() -> Settings:
            return settings

        async def moves() -> WaitResult:
            waits = asyncio.create_task(wait(remote, target(count=2), reload=reload))
            remote.add_asset_event("s3://a")
            await until(lambda: len(listings(remote)) >= 2)
            remote.change_secret("another")
            await until(lambda: len(listings(moved)) >= 2)
            moved.add_asset_event("s3://b")
            moved.add_asset_event("s3://a")
            await asyncio.sleep(3 * INTERVAL)
            assert not waits.done()
            moved.add_asset_event("s3://a")
            return await waits

        assert asyncio.run(moves()).status is WaitStatus.SUCCESS


def test_a_remote_that_does_not_answer_is_polled_again(remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "RETRY", RetryPolicy(attempts=1))
    lines: list[str] = []

    async def down() -> list[WaitResult]:
        remote.disturb(503, times=2, path="s/events")
        waits = [asyncio.create_task(wait(remote, target(), lines=lines)) for _ in range(3)]
        await until(lambda: sum(map(own, listings(remote))) == 5)
        remote.disturb(503, times=2, path="s/events")
        seen = len(listings(remote))
        await until(lambda: len(listings(remote)) >= seen + 3)
        remote.add_asset_event("s3://a")
        return await asyncio.gather(*waits)

    assert {result.status for result in asyncio.run(down())} == {WaitStatus.SUCCESS}
    # Four requests failed, and each failure counts for the other waits, too.
    assert 4 < sum("will keep waiting" in line for line in lines) <= 12


def test_an_unknown_asset_ends_the_wait(remote: FakeDeployment) -> None:
    with pytest.raises(NotFound, match="no asset 's3://c'"):
        asyncio.run(wait(remote, target("c")))


def test_an_account_that_may_not_list_events_ends_the_wait(remote: FakeDeployment) -> None:
    answer = remote._answer

    def refuse(request: Any) -> Reply | None:
        refused = request.path.endswith("/events") and not own(request.query)
        return Reply(403, {"detail": "not yours"}) if refused else answer(request)

    remote._answer = refuse  # type: ignore[method-assign]
    remote.stop()
    with remote, pytest.raises(AccessDenied):
        asyncio.run(wait(remote, target()))


def test_the_feed_goes_with_the_last_wait(remote: FakeDeployment) -> None:
    settings = settings_of(remote)

    async def reload() -> Settings:
        return settings

    async def feeds() -> int:
        first = EventFeed.of(settings, reload)
        assert EventFeed.of(settings, reload) is first
        del first
        gc.collect()
        return len(EventFeed._all[asyncio.get_running_loop()])

    assert asyncio.run(feeds()) == 0
