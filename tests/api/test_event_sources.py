"""Events of assets and ends of runs are read with one listing for all that watch a deployment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta, timezone
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from astronomer_remote.api.assets import assets
from astronomer_remote.api.assets.assets import SECONDS_OF_OVERLAP
from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.client import paging
from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.retry import SECONDS_BETWEEN_LOGINS, RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import AuthenticationFailed, NotSupported, RemoteUnavailable
from astronomer_remote.api.protocol.flow import Request, Response
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.waiting.event_cursor import SECONDS_SHOWN_LATE
from astronomer_remote.api.watch import asset_watcher, event_sources, shared
from astronomer_remote.api.watch.event_sources import ATTEMPTS_PER_RUN, AssetEvents, EndedRuns, Found, key_of
from astronomer_remote.testing import FakeDeployment, VirtualClock, drive
from tests.api.virtual import LeapingLoop, VirtualDriver

LONG_AGO = "1970-01-01T00:00:00Z"


@pytest.fixture(params=["2.11.2", "3.3.2"])
def remote(request: pytest.FixtureRequest) -> Iterator[FakeDeployment]:
    with FakeDeployment(request.param, api_key="key") as remote:
        remote.add_asset("s3://a")
        for dag_id in ("first", "second"):
            remote.add_dag(dag_id)
        yield remote


def settings_of(remote: FakeDeployment) -> Settings:
    return Settings(remote.url, password="key", authentication="software_api_key")


def runs_of(remote: FakeDeployment, dag_id: str = "first", states: tuple[str, ...] = ("success",)) -> EndedRuns:
    settings = settings_of(remote)

    async def reload() -> Settings:
        return settings

    return EndedRuns(dag_id, states, settings, reload)


def events_of(remote: FakeDeployment, lines: list[str], extra: dict[str, Any] | None = None) -> AssetEvents:
    settings = settings_of(remote)

    async def reload() -> Settings:
        return settings

    return AssetEvents(AssetTarget("s3://a", None, LONG_AGO, 1, extra), settings, reload, lines.append)


def ran(remote: FakeDeployment, run_id: str, state: str = "success", dag_id: str = "first", **facts: Any) -> None:
    remote.add_run(dag_id, run_id, state=state, **facts)


def run_ids(found: Found) -> list[str]:
    return [event.payload["run_id"] for event in found.events]


def listings(remote: FakeDeployment) -> int:
    return sum(path.endswith("/dagRuns/list") for _, path in remote.requests)


def test_events_of_an_asset_are_found_with_what_they_say(remote: FakeDeployment) -> None:
    lines: list[str] = []

    async def poll() -> None:
        source = events_of(remote, lines, {"k": 1})
        remote.add_asset_event("s3://a", {"k": 1, "rows": 5})
        remote.add_asset_event("s3://a", {"k": 2})
        (event,) = (await source.poll(0, 60)).events
        assert event.payload["kind"] == "asset_event"
        assert event.payload["extra"] == {"k": 1, "rows": 5}
        assert event.key == key_of(event.payload)
        found = await source.poll(event.moment + 0.001, 60)
        assert found.events == []
        assert abs(found.listed_at - time.time()) < 5
        assert source.age() < 5

    asyncio.run(poll())
    assert lines == []


EVENT = {"kind": "asset_event", "event_id": 7, "timestamp": "2026-01-01T00:00:00.5Z"}
END = {"kind": "dag_run", "run_id": "r", "state": "success", "end_date": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (EVENT, {**EVENT, "timestamp": "2026-01-01T00:00:00.500000+00:00"}),
        (END, {**END, "end_date": "2026-01-01T02:00:00+02:00", "conf": {"k": 1}}),
    ],
)
def test_an_upgrade_of_the_remote_repeats_no_event(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key_of(one) == key_of(other)


@pytest.mark.parametrize(
    "other",
    [{**END, "run_id": "s"}, {**END, "state": "failed"}, {**END, "end_date": "2026-01-01T00:00:00.1Z"}, EVENT],
)
def test_another_end_is_another_event(other: dict[str, Any]) -> None:
    assert key_of(END) != key_of(other)


def test_more_events_than_are_read_are_reported(remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "MOST_EVENTS", 2)
    lines: list[str] = []
    remote.add_asset_event("s3://a", {"k": 1})
    for _ in range(2):
        remote.add_asset_event("s3://a")

    async def poll() -> None:
        source = events_of(remote, lines, {"k": 1})
        for _ in range(2):
            # The only one that matches is not read.
            assert (await source.poll(0, 60)).events == []

    asyncio.run(poll())
    (line,) = lines
    assert line.startswith("The asset has at least")
    assert "events since 1970-01-01T00:00:00" in line


def test_the_end_of_a_run_is_found_with_its_conf(remote: FakeDeployment) -> None:
    ran(remote, "r1", conf={"k": 1})
    ran(remote, "r2", "failed")
    ran(remote, "r3", dag_id="second")

    async def poll() -> None:
        succeeded, ended = runs_of(remote), runs_of(remote, states=("failed", "success"))
        found = await succeeded.poll(0, 60)
        assert run_ids(found) == ["r1"]
        payload = found.events[0].payload
        assert (payload["kind"], payload["state"], payload["conf"]) == ("dag_run", "success", {"k": 1})
        assert found.events[0].key == key_of(payload)
        assert sorted(run_ids(await ended.poll(0, 60))) == ["r1", "r2"]
        assert run_ids(await succeeded.poll(time.time() + 60, 60)) == []
        assert ended.age() < 5

    asyncio.run(poll())


def test_a_run_that_ends_again_is_another_event(remote: FakeDeployment) -> None:
    ran(remote, "r1")

    async def poll() -> None:
        source = runs_of(remote)
        (first,) = (await source.poll(0, 0.01)).events
        remote.clear("first", "r1")
        await asyncio.sleep(0.05)
        remote.finish("first", "r1")
        keys = {event.key for event in (await source.poll(0, 0.01)).events}
        assert first.key in keys
        assert len(keys) == 2

    asyncio.run(poll())


def test_all_that_watch_runs_share_each_listing(remote: FakeDeployment) -> None:
    async def poll() -> None:
        sources = [runs_of(remote, "first" if number % 2 else "second") for number in range(50)]
        await asyncio.gather(*(source.poll(0, 60) for source in sources))
        assert 1 <= listings(remote) <= 2
        ran(remote, "r1")
        ran(remote, "r2", dag_id="second")
        before = listings(remote)
        for source in sources:
            source._offered_at -= 61
        found = await asyncio.gather(*(source.poll(0, 60) for source in sources))
        assert listings(remote) == before + 1
        assert [run_ids(each) for each in found] == [["r1"] if number % 2 else ["r2"] for number in range(50)]

    asyncio.run(poll())


def test_a_listing_reaches_back_now_and_then(remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    async def poll() -> None:
        source = runs_of(remote)
        assert source.next_since == 0
        await source.poll(5, 0.01)
        assert source.next_since == pytest.approx(time.time() - SECONDS_OF_OVERLAP, abs=5)
        monkeypatch.setattr(event_sources, "SECONDS_SHOWN_LATE", 0.0)
        assert source.next_since == 5

    asyncio.run(poll())


def reads_of_runs(remote: FakeDeployment) -> int:
    return sum("/dagRuns/r" in path for _, path in remote.requests)


def test_each_run_is_read_once_for_all_that_watch_it(remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        ran(remote, f"r{number}", conf={"n": number})

    async def poll() -> None:
        sources = [runs_of(remote) for _ in range(20)]
        found = await asyncio.gather(*(source.poll(0, 60) for source in sources))
        assert [run_ids(each) for each in found] == [["r0", "r1", "r2"]] * 20
        assert reads_of_runs(remote) == 3
        assert [event.payload["conf"] for event in found[-1].events] == [{"n": 0}, {"n": 1}, {"n": 2}]
        monkeypatch.setattr(event_sources, "MOST_WHOLE_RUNS", 2)
        for run_id in ("r3", "r4"):
            ran(remote, run_id)
        assert len((await sources[0].poll(0, 0.0)).events) == 5
        assert len(sources[0]._feed._whole) == 2

    asyncio.run(poll())


def test_what_was_passed_on_is_not_read_again(remote: FakeDeployment) -> None:
    ran(remote, "r1")
    remote.add_asset_event("s3://a")

    async def poll() -> None:
        for make in (partial(runs_of, remote), partial(events_of, remote, [])):
            (event,) = (await make().poll(0, 60)).events
            # As after a restart.
            assert (await make().poll(0, 60, {event.key: event.moment})).events == []
        assert reads_of_runs(remote) == 1

    asyncio.run(poll())


def test_a_listing_that_reaches_back_does_so_for_all(remote: FakeDeployment) -> None:
    async def poll() -> None:
        late, early = runs_of(remote), runs_of(remote, "second")
        await asyncio.gather(late.poll(5, 60), early.poll(5, 60))
        # The next listing is to reach back for one of them, and so it does for the other.
        late._wide_at = time.monotonic() - SECONDS_SHOWN_LATE
        early._wide_at = time.monotonic() - SECONDS_SHOWN_LATE / 2 + 10
        early._offered_at -= 61
        await early.poll(5, 60)
        for source in (late, early):
            assert source._wide_at == pytest.approx(time.monotonic(), abs=5)
        # One that does not reach back far enough for a source does not count for it.
        early._wide_at = time.monotonic() - SECONDS_SHOWN_LATE
        early.offer([], since=6, listed_at=time.time())
        assert early.next_since == 5

    asyncio.run(poll())


def test_how_far_the_clock_of_the_remote_is_ahead() -> None:
    with FakeDeployment("3.3.2", api_key="key", clock=lambda: time.time() - 3600) as remote:

        async def ahead() -> list[float]:
            return [await source.ahead() for source in (runs_of(remote), events_of(remote, []))]

        assert asyncio.run(ahead()) == [pytest.approx(-3600, abs=5)] * 2


def test_a_run_that_was_deleted_meanwhile_is_reported_as_it_was_listed(remote: FakeDeployment) -> None:
    ran(remote, "r1", conf={"k": 1})

    async def poll() -> Found:
        source = runs_of(remote)
        whole = source._feed.whole

        async def deleted(run: Any) -> Any:
            remote.delete("first", "r1")
            return await whole(run)

        source._feed.whole = deleted  # type: ignore[method-assign]
        return await source.poll(0, 60)

    (event,) = asyncio.run(poll()).events
    assert (event.payload["run_id"], event.payload["state"], event.payload["conf"]) == ("r1", "success", None)


def test_one_failure_counts_for_all_that_watch(remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "RETRY", RetryPolicy(attempts=1))

    async def poll() -> None:
        sources = [runs_of(remote) for _ in range(3)]
        remote.disturb(503, path="dagRuns/list")
        outcomes = await asyncio.gather(*(source.poll(0, 0.3) for source in sources), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [RemoteUnavailable] * 3
        assert listings(remote) == 1
        await asyncio.sleep(0.35)
        assert run_ids(await sources[0].poll(0, 0.3)) == []

    asyncio.run(poll())


def fail_reads_of(remote: FakeDeployment, run_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "RETRY", RetryPolicy(attempts=1))
    remote.disturb(503, times=1000, path=f"dagRuns/{run_id}")


def test_a_run_that_cannot_be_read_keeps_back_no_other_for_long(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(4):
        ran(remote, f"r{number}", conf={"n": number})
    for run in remote._contents.dags["first"].runs.values():
        assert run.end_date
        run.end_date -= timedelta(hours=1)
    fail_reads_of(remote, "r2", monkeypatch)

    async def poll() -> None:
        source, other = runs_of(remote), runs_of(remote)
        found = await source.poll(0, 0.0)
        assert run_ids(found) == ["r0", "r1"]
        # The next poll continues with it.
        assert found.read_until < found.listed_at
        seen = {event.key for event in found.events}
        with pytest.raises(RemoteUnavailable):
            await source.poll(0, 0.0, seen)
        found = await source.poll(0, 0.0, seen)
        assert [event.payload["conf"] for event in found.events] == [None, {"n": 3}]
        assert found.read_until == found.listed_at
        assert run_ids(await other.poll(0, 0.0)) == ["r0", "r1", "r2", "r3"]

    asyncio.run(poll())
    assert "Run r2 of DAG first is passed on without its conf" in caplog.text


def test_a_login_that_is_refused_drops_no_conf(remote: FakeDeployment) -> None:
    ran(remote, "r0", conf={"n": 0})

    async def poll() -> None:
        source = runs_of(remote)
        source._states = frozenset()
        assert run_ids(await source.poll(0, 0.0)) == []
        source._states = frozenset({"success"})
        remote._secret = "another key"
        for _ in range(ATTEMPTS_PER_RUN + 1):
            with pytest.raises(AuthenticationFailed):
                await source.poll(0, 60)

    asyncio.run(poll())


@pytest.mark.parametrize("kind", ["events", "runs"])
def test_a_login_that_is_refused_is_tried_again_every_five_minutes_by_one_for_all(
    remote: FakeDeployment, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, sent = LeapingLoop(), set[float]()

    async def deliver(request: Request) -> Response:
        sent.add(loop.now)
        return remote.handle(request)

    @asynccontextmanager
    async def driver(*_: Any) -> AsyncIterator[VirtualDriver]:
        yield VirtualDriver(deliver, settings_of(remote))

    monkeypatch.setattr(shared, "async_driver", driver)
    for module in (shared, asset_watcher, event_sources):
        monkeypatch.setattr(module, "time", SimpleNamespace(time=time.time, monotonic=lambda: loop.now))

    async def watch(source: AssetEvents | EndedRuns, offset: float) -> float:
        await asyncio.sleep(offset)
        while True:
            try:
                await source.ahead()
                await source.poll(0, 20.0)
            except AuthenticationFailed:
                await asyncio.sleep(20.0)
            else:
                return loop.now

    async def hour() -> list[float]:
        sources = [events_of(remote, []) if kind == "events" else runs_of(remote) for _ in range(10)]
        remote.change_secret("another key")
        watching = [asyncio.create_task(watch(source, number)) for number, source in enumerate(sources)]
        await asyncio.sleep(3599)
        remote.change_secret("key")
        return await asyncio.gather(*watching)

    with closing(loop):
        ends = loop.run_until_complete(hour())
    assert sorted(at for at in sent if at <= 3600) == [SECONDS_BETWEEN_LOGINS * number for number in range(13)]
    assert 3600 <= min(ends) <= max(ends) <= 3600 + 20


def test_one_that_starts_too_long_ago_does_not_stop_the_others(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MOST_ENTRIES", 110)
    for number in range(120):
        ran(remote, f"r{number}")
    ran(remote, "new", dag_id="second")
    for run in remote._contents.dags["first"].runs.values():
        run.start_date = run.end_date = datetime(2020, 1, 1, tzinfo=timezone.utc)

    async def poll() -> None:
        far, near, third = runs_of(remote), runs_of(remote, "second"), runs_of(remote, "second")
        with pytest.raises(NotSupported, match="the most that are read"):
            await far.poll(0, 0.0)
        since = time.time() - 600
        for source in (near, third):
            assert run_ids(await source.poll(since, 0.0)) == ["new"]
        with pytest.raises(NotSupported, match="the most that are read"):
            await far.poll(0, 0.0)
        # Alone it is read from a later moment on.
        assert run_ids(await far.poll(since, 0.0)) == []

    asyncio.run(poll())


def test_a_listing_counts_for_a_source_from_its_own_listing_on(remote: FakeDeployment) -> None:
    async def poll() -> None:
        first, second = events_of(remote, []), events_of(remote, [])
        one = await first.poll(0, 3600)
        second._feed._cursor = 5.0
        # The second one's past events are read much later than the last listing for all.
        other = await second.poll(0, 3600)
        assert second._feed is first._feed
        assert other.listed_at == pytest.approx(one.listed_at, abs=60)

    asyncio.run(poll())


@pytest.mark.parametrize("kind", ["asset_event", "dag_run"])
def test_a_listing_after_the_clock_of_the_remote_was_set_back_begins_then(kind: str) -> None:
    ahead = [7200.0]
    with FakeDeployment("3.3.2", api_key="key", clock=lambda: time.time() + ahead[0]) as remote:
        remote.add_asset("s3://a")
        remote.add_dag("first")

        async def poll() -> None:
            source: Any = runs_of(remote) if kind == "dag_run" else events_of(remote, [])
            assert (await source.poll(0, 0.0)).events == []
            ahead[0] = 0.0
            # Any reply has the remote's date.
            await source.poll(0, 0.0)
            ran(remote, "r") if kind == "dag_run" else remote.add_asset_event("s3://a")
            assert len((await source.poll(0, 0.0)).events) == 1

        asyncio.run(poll())


def test_a_remote_that_reports_no_ends_is_refused() -> None:
    with FakeDeployment("1.10.15") as remote:
        settings = Settings(remote.url)

        async def reload() -> Settings:
            return settings

        async def poll() -> Found:
            return await EndedRuns("first", ("success",), settings, reload).poll(0, 60)

        with pytest.raises(NotSupported, match="when a run ended"):
            asyncio.run(poll())


@pytest.mark.parametrize("at_once", [False, True])
def test_a_run_that_is_cleared_while_ends_are_listed_hides_no_other(at_once: bool) -> None:
    clock = VirtualClock()
    fake = FakeDeployment("3.3.2", api_key="key", clock=clock)
    fake.add_dag("first")
    runs = fake._contents.dags["first"].runs
    began = clock.now
    for number in range(250):
        ran(fake, f"r{number}")
        ended = datetime.fromtimestamp(began + (0 if at_once else number / 4), timezone.utc)
        runs[f"r{number}"].start_date = runs[f"r{number}"].end_date = ended
    pages: list[Request] = []

    def handle(request: Request) -> Any:
        reply = fake.handle(request)
        if request.path.endswith("dagRuns/list"):
            pages.append(request)
            if len(pages) == 1 and not at_once:
                # One of this page is cleared, and another run ends.
                runs["r50"].state, runs["r50"].end_date, runs["r50"].polls_left = "running", None, 10**6
                clock.now += 3600
                ran(fake, "new")
        return reply

    settings = Settings("http://fake", password="key", authentication="software_api_key")
    deployment = Deployment(settings, client=Client(settings, clock=clock))
    found = drive(deployment.runs.ended(["first"], since=began - 60, bound=0.0), handle, clock=clock)
    expected = {f"r{number}" for number in range(250)} | (set() if at_once else {"new"})
    assert {run.run_id for run in found} == expected
    assert len(pages) <= 8
