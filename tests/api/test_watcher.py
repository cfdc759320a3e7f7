"""One loop per deployment: against a fake deployment on a real loopback server, with intervals of milliseconds."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import accumulate
from typing import Any

import pytest
import requests

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import AuthenticationFailed, DagRunVanished, RemoteError, Unreachable
from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.async_driver import AsyncDriver
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure
from astronomer_remote.api.waiting import waiter
from astronomer_remote.api.waiting.schedule import Clock
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.api.waiting.waiter import Waiter
from astronomer_remote.api.watch import watcher as module
from astronomer_remote.api.watch.watcher import Metrics, Watcher, watch
from astronomer_remote.testing import FakeDeployment

VERSIONS = ("1.10.15", "2.0.2", "2.11.2", "3.0.6", "3.3.2")
INTERVAL = 0.05


class WatchedRemote:
    """A fake deployment whose DAG `d` runs until the test ends its runs, and how to wait for them."""

    def __init__(self, fake: FakeDeployment) -> None:
        self.fake = fake
        fake.add_dag("d", tasks=["t"], stays="running")
        connection = fake.connection()
        self.settings = Settings.parse(
            host=connection["host"], login=connection.get("login"), password=connection.get("password")
        )

    def trigger(self, **fields: Any) -> DagRun:
        session = configure(requests.Session(), self.settings)
        with session:
            driver = SyncDriver(session, self.settings, reload=lambda: self.settings)
            return driver.run(Deployment(self.settings).trigger_dag_run("d", **fields))

    def watch(self, target: WaitTarget | DagRun, **changes: Any) -> Awaitable[WaitResult]:
        if isinstance(target, DagRun):
            target = WaitTarget("d", failed_states=("failed",), since=time.time() - 1).of(target)
        given: dict[str, Any] = {
            "settings": self.settings,
            "reload": self.reload,
            "poke_interval": INTERVAL,
            "deadline": time.time() + 60,
            "on_line": lambda line: None,
        }
        return watch(target, **(given | changes))

    async def reload(self) -> Settings:
        return self.settings

    def listings(self, of: str = "dagRuns") -> int:
        """How often the listing of finished runs was requested."""
        return sum(f"/{of}/list" in path for _, path in self.fake.requests)


@pytest.fixture(params=VERSIONS)
def each(request: pytest.FixtureRequest) -> Iterator[WatchedRemote]:
    with FakeDeployment(request.param) as fake:
        yield WatchedRemote(fake)


@pytest.fixture
def remote() -> Iterator[WatchedRemote]:
    with FakeDeployment("3.3.2") as fake:
        yield WatchedRemote(fake)


async def until(condition: Callable[[], Any]) -> None:
    ends = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)


def watchers() -> int:
    return len(Watcher._all.get(asyncio.get_running_loop(), {}))


def test_many_waits_end_each_with_its_own_run(each: WatchedRemote) -> None:
    runs = [each.trigger() for _ in range(6)]

    async def main() -> None:
        waits = [asyncio.ensure_future(each.watch(run)) for run in runs]
        await asyncio.sleep(3 * INTERVAL)
        for number, run in enumerate(runs):
            each.fake.finish("d", run.run_id, "failed" if number % 2 else "success")
        outcomes = await asyncio.gather(*waits)
        assert [outcome.status for outcome in outcomes] == [WaitStatus.SUCCESS, WaitStatus.FAILED] * 3
        assert [outcome.run.run_id for outcome in outcomes if outcome.run] == [run.run_id for run in runs]
        assert watchers() == 0

    asyncio.run(main())


def test_the_cost_does_not_follow_the_number_of_waits(remote: WatchedRemote) -> None:
    runs = [remote.trigger() for _ in range(50)]
    before = len(remote.fake.requests)

    async def main() -> None:
        waits = [asyncio.ensure_future(remote.watch(run)) for run in runs]
        await until(lambda: remote.listings() >= 3)
        for run in runs:
            remote.fake.finish("d", run.run_id, "success")
        await asyncio.gather(*waits)

    asyncio.run(main())
    requested = [path for _, path in remote.fake.requests[before:]]
    individually = [path for path in requested if "/dagRuns/remote" in path]
    # Two to detect the generation and log in, a listing per poll, and one run checked by itself every sixth poll.
    assert len(requested) == 2 + remote.listings() + len(individually)
    assert len(individually) <= 1 + remote.listings() // 6


class Heard:
    """Airflow's ``Stats``, which keeps what it gets."""

    def __init__(self) -> None:
        self.lines: dict[str, list[Any]] = {}

    def add(self, stat: str, value: Any = 1, *, tags: dict[str, str]) -> None:
        assert set(tags) == {"host"}
        self.lines.setdefault(stat.removeprefix("astronomer_remote."), []).append(value)

    gauge = incr = timing = add


class Recorder:
    """Airflow's ``Stats``, which keeps each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def gauge(self, stat: str, value: float, *, tags: dict[str, str]) -> None:
        self.calls.append(("gauge", stat, value, tags))

    def incr(self, stat: str, count: int = 1, *, tags: dict[str, str]) -> None:
        self.calls.append(("incr", stat, count, tags))

    def timing(self, stat: str, dt: timedelta, *, tags: dict[str, str]) -> None:
        self.calls.append(("timing", stat, dt, tags))


def test_each_metric_has_a_name_a_value_and_the_host_of_the_remote() -> None:
    recorder, tags = Recorder(), {"host": "airflow.example.com:8080"}
    metrics = Metrics(Settings("https://airflow.example.com:8080/team"), recorder)
    metrics.poll(waiting=3, requests=5, failed=False, took=0.5)
    polled = [
        ("gauge", "astronomer_remote.waiting", 3, tags),
        ("incr", "astronomer_remote.requests", 5, tags),
        ("timing", "astronomer_remote.poll", timedelta(seconds=0.5), tags),
    ]
    assert recorder.calls == polled
    metrics.poll(waiting=3, requests=5, failed=True, took=0.5)
    assert recorder.calls == [*polled, *polled, ("incr", "astronomer_remote.errors", 1, tags)]
    recorder.calls.clear()
    ended = DagRun("d", "r", "success", end_date="2027-01-15T08:00:00Z")
    metrics.seen([ended, DagRun("d", "without an end")], now=1_800_000_002.5)
    # The remote's clock is known to a second, so that an end may seem to lie ahead.
    metrics.seen([ended], now=1_799_999_999.0)
    lags = [timedelta(seconds=2.5), timedelta()]
    assert recorder.calls == [("timing", "astronomer_remote.lag", lag, tags) for lag in lags]


def test_the_metrics_have_how_many_wait_what_it_costs_and_how_late_it_is(remote: WatchedRemote) -> None:
    runs, heard = [remote.trigger() for _ in range(3)], Heard()
    before = len(remote.fake.requests)

    async def main() -> None:
        waits = [asyncio.ensure_future(remote.watch(run, stats=heard)) for run in runs]
        await until(lambda: remote.listings() >= 2)
        remote.fake.disturb(503, times=1, method="POST")
        for run in runs[1:]:
            remote.fake.finish("d", run.run_id, "success")
        await asyncio.gather(*waits[1:])
        remote.fake.finish("d", runs[0].run_id, "success")
        await waits[0]

    asyncio.run(main())
    requests = len(remote.fake.requests) - before
    assert heard.lines["waiting"][0] == 3
    # The last poll has ended the loop before it was counted.
    assert requests - 6 <= sum(heard.lines["requests"]) <= requests
    assert len(heard.lines["poll"]) == len(heard.lines["requests"])
    assert len(heard.lines["lag"]) == 3
    assert all(0 <= lag.total_seconds() < 30 for lag in heard.lines["lag"])


def test_each_request_is_counted_once_with_the_poll_that_sent_it(remote: WatchedRemote) -> None:
    run, counted, received = remote.trigger(), list[int](), list[int]()
    before = len(remote.fake.requests)

    class Counting(Recorder):
        def incr(self, stat: str, count: int = 1, *, tags: dict[str, str]) -> None:
            counted.append(count)
            received.append(len(remote.fake.requests) - before)

    async def main() -> None:
        wait = asyncio.ensure_future(remote.watch(run, stats=Counting()))
        await until(lambda: len(counted) >= 3)
        remote.fake.finish("d", run.run_id, "success")
        await wait

    asyncio.run(main())
    assert list(accumulate(counted)) == received


@pytest.mark.parametrize("of", ["dagRuns", "taskInstances"])
def test_a_poll_that_fails_is_counted_as_an_error(
    remote: WatchedRemote, of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_RETRY", RetryPolicy(attempts=1))
    run, heard = remote.trigger(), Heard()
    target = run if of == "dagRuns" else of_tasks(run)

    async def main() -> None:
        wait = asyncio.ensure_future(remote.watch(target, stats=heard))
        await until(lambda: remote.listings(of) >= 1)
        remote.fake.disturb(503, times=1, method="POST")
        await until(lambda: heard.lines.get("errors"))
        remote.fake.finish("d", run.run_id, "success")
        await wait

    asyncio.run(main())
    assert heard.lines["errors"] == [1]


def of_tasks(run: DagRun, **part: Any) -> WaitTarget:
    return WaitTarget(
        "d", run_id=run.run_id, failed_states=("failed",), since=time.time() - 1, **(part or {"task_ids": ("t",)})
    )


@pytest.mark.parametrize("part", [{"task_ids": ("g.t",)}, {"task_group_id": "g"}], ids=str)
def test_many_waits_for_tasks_cost_one_listing_per_poll(remote: WatchedRemote, part: dict[str, Any]) -> None:
    remote.fake.add_dag("d", tasks=["g.t", "other"], stays="running")
    runs = [remote.trigger() for _ in range(30)]
    before = len(remote.fake.requests)

    async def main() -> list[WaitResult]:
        waits = [asyncio.ensure_future(remote.watch(of_tasks(run, **part))) for run in runs]
        await until(lambda: remote.listings("taskInstances") >= 3)
        for run in runs:
            remote.fake.set_task_state("d", run.run_id, "g.t", "success")
        return await asyncio.gather(*waits)

    assert {outcome.status for outcome in asyncio.run(main())} == {WaitStatus.SUCCESS}
    requested = [path for _, path in remote.fake.requests[before:]]
    individually = [path for path in requested if path.endswith("/taskInstances")]
    # Each is polled when its wait begins and when its task has ended, besides the check in every sixth poll.
    assert len(individually) <= 2 * 30 + remote.listings("taskInstances") // 6


@pytest.mark.parametrize("version", ["1.10.15", "2.2.5"])
def test_tasks_are_polled_by_themselves_where_no_listing_shows_which_ended(
    version: str, caplog: pytest.LogCaptureFixture
) -> None:
    with FakeDeployment(version) as fake:
        remote = WatchedRemote(fake)
        run = remote.trigger()

        async def main() -> WaitResult:
            wait = asyncio.ensure_future(remote.watch(of_tasks(run)))
            await asyncio.sleep(3 * INTERVAL)
            fake.set_task_state("d", run.run_id, "t", "success")
            return await wait

        assert asyncio.run(main()).status is WaitStatus.SUCCESS
        assert not remote.listings("taskInstances")
        # Nothing was refused: such a version has no such listing.
        assert "does not list" not in caplog.text


def test_a_run_that_is_read_individually_is_read_without_its_conf_and_note() -> None:
    with FakeDeployment("2.11.2") as fake:
        remote = WatchedRemote(fake)
        run = remote.trigger()
        fake.set_task_state("d", run.run_id, "t", "success")
        assert asyncio.run(_result(remote.watch(of_tasks(run)))).status is WaitStatus.SUCCESS
        reads = [each for each in fake.received if (each.method, each.path.endswith(run.run_id)) == ("GET", True)]
    assert reads
    for read in reads:
        fields = ",".join(read.query["fields"]).split(",")
        assert "state" in fields
        assert not {"conf", "note"}.intersection(fields)


@pytest.mark.parametrize("status", [403, 404, 405, 503])
def test_tasks_are_found_although_the_listing_is_refused_or_away_for_a_while(
    remote: WatchedRemote, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POLL_RETRY", RetryPolicy(attempts=1))
    run = remote.trigger()
    # The login is a POST too, so that this account comes with a token of its own.
    settings = replace(remote.settings, login=None, password=_token(remote))
    remote.fake.disturb(status, times=2, method="POST")

    async def main() -> WaitResult:
        wait = asyncio.ensure_future(remote.watch(of_tasks(run), settings=settings))
        await until(lambda: remote.listings("taskInstances") >= 1)
        remote.fake.set_task_state("d", run.run_id, "t", "success")
        return await wait

    assert asyncio.run(main()).status is WaitStatus.SUCCESS


def test_a_run_that_ended_before_the_triggerer_came_back_is_found(remote: WatchedRemote) -> None:
    run = remote.trigger()
    remote.fake.finish("d", run.run_id, "success")
    assert asyncio.run(_result(remote.watch(run))).status is WaitStatus.SUCCESS


def test_tasks_newest_runs_and_states_on_the_way_are_waited_for_too(remote: WatchedRemote) -> None:
    run = remote.trigger(logical_date="2026-11-22T07:00:00Z")

    async def main() -> list[WaitResult]:
        waits = [
            asyncio.ensure_future(remote.watch(target))
            for target in (
                WaitTarget("d", newest=True),
                WaitTarget("d", run_id=run.run_id, task_ids=("t",), allowed_states=("success", "failed")),
                WaitTarget("d", run_id=run.run_id, allowed_states=("running", "queued")),
                WaitTarget("d", logical_dates=("2026-11-22T07:00:00Z",), since=time.time() - 1),
            )
        ]
        assert (await waits[2]).status is WaitStatus.SUCCESS
        remote.fake.finish("d", run.run_id, "success")
        return list(await asyncio.gather(*waits))

    assert {outcome.status for outcome in asyncio.run(main())} == {WaitStatus.SUCCESS}


def test_who_waits_for_a_date_looks_once_a_run_of_it_is_listed_as_ended(remote: WatchedRemote) -> None:
    run = remote.trigger(logical_date="2026-11-22T07:00:00Z")

    async def main() -> WaitResult:
        target = WaitTarget("d", logical_dates=("2026-11-22T07:00:00Z",), since=time.time() - 1)
        wait = asyncio.ensure_future(remote.watch(target))
        await until(lambda: remote.listings() >= 2)
        remote.fake.finish("d", run.run_id, "success")
        return await wait

    outcome = asyncio.run(main())
    assert outcome.status is WaitStatus.SUCCESS
    assert outcome.run is not None
    assert outcome.run.run_id == run.run_id


def test_a_cancelled_wait_leaves_the_others_alone(remote: WatchedRemote) -> None:
    runs = [remote.trigger() for _ in range(2)]

    async def main() -> WaitResult:
        doomed, other = (asyncio.ensure_future(remote.watch(run)) for run in runs)
        await until(lambda: remote.listings() >= 1)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        assert watchers() == 1
        remote.fake.finish("d", runs[1].run_id, "success")
        return await other

    assert asyncio.run(main()).status is WaitStatus.SUCCESS


def test_a_wait_that_joins_a_slow_loop_does_not_wait_for_its_next_poll(remote: WatchedRemote) -> None:
    runs = [remote.trigger() for _ in range(2)]

    async def main() -> WaitResult:
        slow = asyncio.ensure_future(remote.watch(runs[0], poke_interval=3600))
        await until(lambda: remote.listings() >= 1)
        remote.fake.finish("d", runs[1].run_id, "success")
        outcome = await asyncio.wait_for(remote.watch(runs[1]), 60)
        slow.cancel()
        return outcome

    assert asyncio.run(main()).status is WaitStatus.SUCCESS


def test_a_wait_that_joins_during_the_poll_in_which_the_last_one_leaves_does_not_hang(remote: WatchedRemote) -> None:
    runs = [remote.trigger() for _ in range(2)]

    async def main() -> WaitResult:
        first = asyncio.ensure_future(remote.watch(runs[0]))
        await until(lambda: remote.listings() >= 1)
        first.cancel()
        second = asyncio.ensure_future(remote.watch(runs[1]))
        remote.fake.finish("d", runs[1].run_id, "success")
        return await second

    assert asyncio.run(main()).status is WaitStatus.SUCCESS


def test_a_deadline_ends_one_wait_and_reports_the_last_states(remote: WatchedRemote) -> None:
    run = remote.trigger()
    outcome = asyncio.run(
        _result(remote.watch(WaitTarget("d", run_id=run.run_id, task_ids=("t",)), deadline=time.time() + 1))
    )
    assert outcome.status is WaitStatus.TIMEOUT
    assert "t: running" in outcome.summary
    assert outcome.run is not None
    assert outcome.run.run_id == run.run_id


def test_a_wait_is_made_of_few_objects_and_a_poll_makes_none_for_it(remote: WatchedRemote) -> None:
    # A full garbage collection visits all of them, and the event loop stands still meanwhile.
    runs, more = [remote.trigger() for _ in range(2)], 200

    async def main() -> tuple[float, int]:
        waits = [asyncio.ensure_future(remote.watch(run)) for run in runs]
        await until(lambda: remote.listings() >= 2)
        gc.collect()
        before = len(gc.get_objects())
        waits += [asyncio.ensure_future(remote.watch(runs[0])) for _ in range(more)]
        seen = remote.listings()
        await until(lambda: remote.listings() >= seen + 3)
        gc.collect()
        of_one = (len(gc.get_objects()) - before) / more
        gc.disable()
        before = gc.get_count()[0]
        watcher = next(iter(Watcher._all[asyncio.get_running_loop()].values()))
        poll = watcher._plan(Clock(time.time()))
        assert poll.waiting_for([DagRun("d", "another")]) == []
        made = gc.get_count()[0] - before
        gc.enable()
        assert len(poll.served) == more + len(runs)
        for run in runs:
            remote.fake.finish("d", run.run_id, "success")
        await asyncio.gather(*waits)
        return of_one, made

    of_one, made = asyncio.run(main())
    # The task of the wait and what asyncio makes for it are nine of them.
    assert of_one <= 16
    assert made < more / 2


def test_a_deleted_run_ends_its_wait_alone(remote: WatchedRemote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiter, "SECONDS_BEFORE_DELETED", 2 * INTERVAL)
    runs = [remote.trigger() for _ in range(2)]

    async def main() -> None:
        deleted, other = (asyncio.ensure_future(remote.watch(run)) for run in runs)
        await until(lambda: remote.listings() >= 1)
        remote.fake.delete("d", runs[0].run_id)
        with pytest.raises(DagRunVanished):
            await deleted
        assert not other.done()
        remote.fake.finish("d", runs[1].run_id, "success")
        assert (await other).status is WaitStatus.SUCCESS

    asyncio.run(main())


@pytest.mark.parametrize("status", [403, 404, 405])
def test_every_run_is_read_individually_where_the_listing_is_refused(remote: WatchedRemote, status: int) -> None:
    runs = [remote.trigger() for _ in range(3)]
    # The login is a POST too, so that this account comes with a token of its own.
    settings = replace(remote.settings, login=None, password=_token(remote))
    remote.fake.disturb(status, times=1000, method="POST")

    async def main() -> list[WaitResult]:
        waits = [asyncio.ensure_future(remote.watch(run, settings=settings)) for run in runs]
        await asyncio.sleep(2 * INTERVAL)
        for run in runs:
            remote.fake.finish("d", run.run_id, "success")
        return list(await asyncio.gather(*waits))

    assert {outcome.status for outcome in asyncio.run(main())} == {WaitStatus.SUCCESS}


def test_wrong_credentials_end_every_wait_each_with_an_error_of_its_own(remote: WatchedRemote) -> None:
    runs = [remote.trigger() for _ in range(2)]
    settings = replace(remote.settings, password="wrong")

    async def reload() -> Settings:
        return settings

    async def main() -> None:
        waits = [asyncio.ensure_future(remote.watch(run, settings=settings, reload=reload)) for run in runs]
        errors = await asyncio.gather(*waits, return_exceptions=True)
        assert [type(error) for error in errors] == [AuthenticationFailed] * 2
        assert errors[0] is not errors[1]
        assert watchers() == 0

    asyncio.run(main())


def test_a_remote_that_is_down_for_a_while_ends_no_wait(remote: WatchedRemote, quick_retries: None) -> None:
    run = remote.trigger()
    lines: list[str] = []

    async def main() -> WaitResult:
        wait = asyncio.ensure_future(remote.watch(run, on_line=lines.append))
        await until(lambda: remote.listings() >= 1)
        remote.fake.disturb(503, times=2)
        await until(lambda: any("will keep waiting" in line for line in lines))
        remote.fake.finish("d", run.run_id, "success")
        return await wait

    assert asyncio.run(main()).status is WaitStatus.SUCCESS


def test_a_remote_that_never_answers_ends_the_wait_after_the_timeout(
    remote: WatchedRemote, quick_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = remote.trigger()
    remote.fake.stop()
    monkeypatch.setattr(waiter, "UNREACHABLE_TIMEOUT", 0.0)
    with pytest.raises(Unreachable):
        asyncio.run(_result(remote.watch(run)))


def test_at_most_four_requests_are_under_way_at_once(remote: WatchedRemote, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [remote.trigger() for _ in range(12)]
    under_way = most = 0
    send = AsyncDriver._send

    async def counted(self: Any, request: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            return await send(self, request)
        finally:
            under_way -= 1

    monkeypatch.setattr(AsyncDriver, "_send", counted)

    async def main() -> None:
        waits = [
            asyncio.ensure_future(remote.watch(WaitTarget("d", run_id=run.run_id, task_ids=("t",)))) for run in runs
        ]
        await asyncio.sleep(4 * INTERVAL)
        for run in runs:
            remote.fake.finish("d", run.run_id, "success")
        await asyncio.gather(*waits)

    asyncio.run(main())
    assert 1 < most <= module.REQUESTS_AT_ONCE


def test_nothing_survives_an_event_loop_that_is_gone(remote: WatchedRemote) -> None:
    for _ in range(2):
        run = remote.trigger()
        remote.fake.finish("d", run.run_id, "success")
        assert asyncio.run(_result(remote.watch(run))).status is WaitStatus.SUCCESS


def test_what_breaks_the_loop_reaches_those_who_wait_and_not_those_who_come_later(
    remote: WatchedRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = remote.trigger()

    async def broken(*_: Any) -> bool:
        raise LookupError("a bug")

    async def main() -> WaitResult:
        with monkeypatch.context() as patch:
            patch.setattr(Watcher, "_poll", broken)
            with pytest.raises(LookupError, match="a bug"):
                await remote.watch(run)
        remote.fake.finish("d", run.run_id, "success")
        return await remote.watch(run)

    assert asyncio.run(main()).status is WaitStatus.SUCCESS


async def _result(wait: Awaitable[WaitResult]) -> WaitResult:
    return await wait


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single requests are not retried: this tests how long the wait tolerates failures."""
    from astronomer_remote.api.client.retry import RetryPolicy

    monkeypatch.setattr(RetryPolicy, "wait", lambda *_: None)


def _token(remote: WatchedRemote) -> str:
    reply = requests.post(
        f"{remote.settings.base_url}/auth/token", json={"username": "admin", "password": "admin"}, timeout=5
    )
    if reply.status_code == 201:
        return str(reply.json()["access_token"])
    raise RemoteError(reply.text)


def test_a_wait_that_ends_as_its_time_is_over_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = WaitResult(WaitStatus.SUCCESS, "run r: success", None)

    class Ended:
        def join(self, waiter: Waiter) -> None:
            assert waiter.queued_since == pytest.approx(time.time(), abs=60)
            waiter.notify("a line")
            asyncio.get_running_loop().call_later(0.01, self.end, waiter)

        def end(self, waiter: Waiter) -> None:
            waiter.summary = "run r: running"
            waiter.end(ended)

        async def report_last_lines(self, waiter: Waiter) -> None:
            waiter.notify("the last line")

        def leave(self, waiter: Waiter) -> None: ...

    monkeypatch.setattr(module.Watcher, "of", lambda *_: Ended())
    lines: list[str] = []
    with FakeDeployment() as fake:
        outcome = asyncio.run(
            as_coroutine(WatchedRemote(fake).watch(WaitTarget("d", "r"), deadline=time.time(), on_line=lines.append))
        )
    assert outcome is ended
    assert lines == ["a line", "the last line"]


async def as_coroutine(found: Awaitable[WaitResult]) -> WaitResult:
    return await found
