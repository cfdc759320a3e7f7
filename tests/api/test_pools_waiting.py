"""Room in pools is waited for with one listing for all who wait."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from astronomer_remote.api.pools.pools import Pools
from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    InvalidSettings,
    NotFound,
    NotSupported,
    RemoteError,
    RemoteUnavailable,
    UnexpectedReply,
    Unreachable,
)
from astronomer_remote.api.protocol.flow import Flow, Sleep
from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.waiting import waiter as waiter_module
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus
from astronomer_remote.api.waiting.waiter import ConditionWaiter
from astronomer_remote.api.watch.pool_watcher import PoolListings, watch_pool
from astronomer_remote.api.watch.shared import poll_until_met
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.server import Reply
from tests.api.pool_remote import PoolRemote
from tests.api.script import EXPERIMENTAL, VERSIONS
from tests.api.virtual import LeapingLoop

INTERVAL = 0.3


# Whether there is room


@pytest.mark.parametrize(
    ("target", "pool", "met"),
    [
        (PoolTarget("p"), Pool("p", 3, occupied_slots=2, open_slots=1), True),
        (PoolTarget("p"), Pool("p", 3, occupied_slots=3, open_slots=0), False),
        (PoolTarget("p"), Pool("p", 3, occupied_slots=5, open_slots=-2), False),
        (PoolTarget("p", 2), Pool("p", 3, occupied_slots=2, open_slots=1), False),
        (PoolTarget("p", 9), Pool("p", -1, occupied_slots=7, open_slots=-1), True),
        (PoolTarget("p", 9), Pool("p", -1, occupied_slots=7, open_slots=0), False),
        (PoolTarget("p"), Pool("p", -5, occupied_slots=0, open_slots=-5), False),
        (PoolTarget("p"), Pool("p", 3, open_slots=1), False),
        (PoolTarget("p"), Pool("p", 3, occupied_slots=3, open_slots=1), False),
        (PoolTarget("p"), Pool("p", 3), False),
        (PoolTarget("p", empty=True), Pool("p", 3, occupied_slots=1, open_slots=2), False),
        (PoolTarget("p", empty=True), Pool("p", 0, occupied_slots=0, open_slots=0), True),
        (PoolTarget("p", empty=True), Pool("p", 3), False),
    ],
)
def test_there_is_room_if_slots_are_open_or_none_is_occupied(target: PoolTarget, pool: Pool, met: bool) -> None:
    assert target.is_met_by(pool) is met
    assert PoolTarget.from_dict(target.as_dict()) == target


def test_the_state_of_a_pool_in_a_line() -> None:
    pool = Pool("p", 3, occupied_slots=2, open_slots=1)
    assert PoolTarget("p", 2).summary(pool) == "Pool 'p': 2 of 3 slots occupied, 1 open; 2 open needed"
    assert PoolTarget("p", 4).summary(pool).endswith("4 open needed, which is more than it has")
    assert PoolTarget("p", 4, empty=True).summary(pool).endswith("; none occupied needed")
    assert str(PoolTarget("p", 4)) == "4 open slots in pool 'p'"
    assert str(PoolTarget("p", empty=True)) == "no occupied slots in pool 'p'"
    assert "2 of unlimited slots occupied, any number open" in PoolTarget("p").summary(
        Pool("p", -1, occupied_slots=2, open_slots=-1)
    )


@pytest.mark.parametrize("slots", [0, -1, "2", 2**31, True, None])
def test_no_room_at_all_cannot_be_waited_for(slots: Any) -> None:
    with pytest.raises(InvalidSettings, match="must be a whole number from 1 to 2147483647"):
        PoolTarget("p", slots)


@pytest.mark.parametrize("version", VERSIONS[1:])
def test_a_pool_is_looked_at(version: str) -> None:
    remote = PoolRemote(version, {"p": {"slots": 3, "occupied": 1}})
    assert remote.run(remote.deployment.pools.get("p", with_usage=True)).open_slots == 2


def test_1_10_does_not_show_what_is_open() -> None:
    remote = PoolRemote(EXPERIMENTAL, {"p": 3})
    for flow in (remote.deployment.pools.get("p", with_usage=True), remote.deployment.pools.list_all(with_usage=True)):
        with pytest.raises(NotSupported, match=r"cannot show whether slots of a pool are occupied\.$"):
            remote.run(flow)


# One wait


def pool_waiter(now: list[float], lines: list[str], **given: Any) -> ConditionWaiter[Pool]:
    limits = {"poke_interval": 60, "deadline": None, "clock": lambda: now[0], "monotonic": lambda: now[0], **given}
    return ConditionWaiter(PoolTarget("p", 2), **limits, on_line=lines.append)


FULL, FREE = Pool("p", 3, occupied_slots=3, open_slots=0), Pool("p", 3, occupied_slots=1, open_slots=2)


def test_a_wait_is_over_when_slots_are_open_and_logs_only_changes() -> None:
    lines: list[str] = []
    waiter = pool_waiter([0.0], lines)
    assert [waiter.record(FULL), waiter.record(FULL)] == [None, None]
    assert waiter.seconds_to_next_poll() == 60
    assert waiter.seconds_to_next_poll(age=20) == 40
    result = waiter.record(FREE)
    assert result is not None
    assert result.status is WaitStatus.SUCCESS
    assert len(lines) == 2


def test_a_wait_is_over_at_its_deadline() -> None:
    now = [0.0]
    waiter = pool_waiter(now, [], deadline=90)
    assert waiter.record(FULL) is None
    assert waiter.seconds_to_next_poll() == 60
    now[0] = 60
    assert waiter.record(FULL) is None
    assert waiter.seconds_to_next_poll() == 30
    now[0] = 90
    result = waiter.record(Unreachable("No reply"))
    assert result is not None
    assert (result.status, result.summary) == (WaitStatus.TIMEOUT, PoolTarget("p", 2).summary(FULL))


def test_a_wait_tolerates_a_remote_that_is_unreachable_for_a_limited_time() -> None:
    now, lines = [0.0], list[str]()
    waiter = pool_waiter(now, lines)
    now[0] = waiter_module.UNREACHABLE_TIMEOUT
    assert waiter.record(Unreachable("No reply")) is None
    assert "will keep waiting: No reply" in lines[0]
    assert waiter.record(FULL) is None
    now[0] = 2 * waiter_module.UNREACHABLE_TIMEOUT
    assert waiter.record(Unreachable("No reply")) is None
    now[0] += 1
    with pytest.raises(Unreachable):
        waiter.record(Unreachable("No reply"))


def test_a_clock_that_is_set_makes_no_remote_unreachable() -> None:
    wall, elapsed = [0.0], [0.0]
    waiter = pool_waiter(wall, [], monotonic=lambda: elapsed[0])
    wall[0] = 10 * waiter_module.UNREACHABLE_TIMEOUT
    assert waiter.record(Unreachable("No reply")) is None
    wall[0], elapsed[0] = 0.0, waiter_module.UNREACHABLE_TIMEOUT + 1
    with pytest.raises(Unreachable):
        waiter.record(Unreachable("No reply"))


# Waiting in an event loop


def watching(remote: FakeDeployment) -> Callable[..., Awaitable[WaitResult]]:
    connection = remote.connection()
    settings = Settings.parse(
        **{name: value for name, value in connection.items() if name in ("host", "login", "password")}
    )

    async def reload() -> Settings:
        return settings

    async def watch(target: PoolTarget, *, on_line: Callable[[str], None] = str, **limits: Any) -> WaitResult:
        given = {"poke_interval": INTERVAL, "deadline": None, **limits}
        return await watch_pool(target, settings=settings, reload=reload, on_line=on_line, **given)

    return watch


async def until(condition: Callable[[], Any]) -> None:
    while not condition():  # noqa: ASYNC110  # what happens in the server's thread sets no event
        await asyncio.sleep(0.01)


def listings(remote: FakeDeployment) -> int:
    return remote.requests.count(("GET", "/api/v2/pools"))


@pytest.mark.parametrize(("age", "every"), [(0.0, 0.3), (0.2, 0.1), (0.3, 0.01)])
def test_a_short_interval_is_kept_and_polls_never_follow_without_a_pause(age: float, every: float) -> None:
    loop, polled = LeapingLoop(), list[float]()

    async def read() -> Pool:
        polled.append(loop.time())
        return FULL if len(polled) < 4 else FREE

    try:
        loop.run_until_complete(poll_until_met(pool_waiter([0.0], [], poke_interval=0.3), read, lambda: age))
    finally:
        loop.close()
    assert polled == pytest.approx([0, every, 2 * every, 3 * every], abs=0.001)


def test_a_remote_that_does_not_show_what_is_open_ends_the_wait_at_once() -> None:
    with FakeDeployment("1.10.15") as remote:
        watch = watching(remote)

        async def wait() -> WaitResult:
            return await watch(PoolTarget("default_pool"), deadline=0.0)

        with pytest.raises(NotSupported, match="cannot show whether slots"):
            asyncio.run(wait())


def test_many_who_wait_share_one_listing_per_interval() -> None:
    async def wait() -> list[WaitResult]:
        tasks = [asyncio.create_task(watch(PoolTarget("p", 1 + number % 2))) for number in range(200)]
        await until(lambda: listings(remote) >= 4)
        remote.add_pool("p", 3, occupied=0)
        return await asyncio.gather(*tasks)

    with FakeDeployment() as remote:
        remote.add_pool("p", 3, occupied=3)
        watch, began = watching(remote), time.monotonic()
        outcomes = asyncio.run(asyncio.wait_for(wait(), 30))
        assert {outcome.status for outcome in outcomes} == {WaitStatus.SUCCESS}
        # However long it takes: two listings are an interval apart.
        assert listings(remote) <= 1 + (time.monotonic() - began) / INTERVAL
    assert outcomes[0].summary == "Pool 'p': 0 of 3 slots occupied, 3 open; 1 open needed"


def test_a_wait_ends_at_its_deadline() -> None:
    async def wait() -> WaitResult:
        return await watch(PoolTarget("p"), deadline=0.0, on_line=lines.append)

    lines: list[str] = []
    with FakeDeployment() as remote:
        remote.add_pool("p", 1, occupied=1)
        watch = watching(remote)
        outcome = asyncio.run(asyncio.wait_for(wait(), 30))
    assert (outcome.status, outcome.summary) == (WaitStatus.TIMEOUT, lines[0])
    assert listings(remote) == 1


def test_a_remote_that_is_away_for_a_while_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait() -> WaitResult:
        return await watch(PoolTarget("p"), on_line=lines.append)

    lines: list[str] = []
    with FakeDeployment() as remote:
        remote.add_pool("p", 1)
        watch = watching(remote)

        failures: list[Any] = [Unreachable("No reply")]
        listing = Pools.list_all

        def list_(self: Pools, **options: Any) -> Flow[list[Pool]]:
            if failures:
                raise failures.pop()
            return (yield from listing(self, **options))

        monkeypatch.setattr(Pools, "list_all", list_)
        assert asyncio.run(asyncio.wait_for(wait(), 30)).status is WaitStatus.SUCCESS
        assert lines[0] == "Could not poll the remote, will keep waiting: No reply"

        monkeypatch.setattr(waiter_module, "UNREACHABLE_TIMEOUT", -1.0)
        failures.append(Unreachable("No reply"))
        with pytest.raises(Unreachable):
            asyncio.run(asyncio.wait_for(wait(), 30))


def test_what_waiting_cannot_fix_ends_every_wait_with_an_error_of_its_own() -> None:
    async def wait(names: list[str]) -> list[Any]:
        return await asyncio.gather(*(watch(PoolTarget(name)) for name in names), return_exceptions=True)

    with FakeDeployment() as remote:
        watch = watching(remote)
        (missing,) = asyncio.run(asyncio.wait_for(wait(["p"]), 30))
        assert isinstance(missing, NotFound)
        assert "no pool 'p'" in str(missing)
        # The listing, and one pool, which would be read individually if only the listing were refused.
        remote.disturb(403, times=3, path="/pools")
        one, other = asyncio.run(asyncio.wait_for(wait(["p", "q"]), 30))
        assert isinstance(one, AccessDenied)
        assert isinstance(other, AccessDenied)
        assert one is not other


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 409, 422, 501])
def test_where_pools_are_not_listed_each_is_read_individually_once_for_all_who_wait_for_it(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wait() -> list[WaitResult]:
        tasks = [asyncio.create_task(watch(PoolTarget("pq"[number % 2]))) for number in range(50)]
        await until(lambda: remote.requests.count(("GET", "/api/v2/pools/p")) >= 3)
        remote.add_pool("p", 1)
        remote.add_pool("q", 1)
        return await asyncio.gather(*tasks)

    with FakeDeployment() as remote:
        remote.add_pool("p", 1, occupied=1)
        remote.add_pool("q", 1, occupied=1)
        answered, refused = remote._api.answer, Reply(status, {"detail": "no"})
        monkeypatch.setattr(
            remote._api, "answer", lambda request: refused if request.path == "/api/v2/pools" else answered(request)
        )
        watch, began = watching(remote), time.monotonic()
        outcomes = asyncio.run(asyncio.wait_for(wait(), 30))
        assert {outcome.status for outcome in outcomes} == {WaitStatus.SUCCESS}
        paths = [request.path for request in remote.received]
    assert paths.count("/api/v2/pools") <= 2
    for name in "pq":
        assert paths.count(f"/api/v2/pools/{name}") <= 1 + (time.monotonic() - began) / INTERVAL


@pytest.mark.parametrize(
    ("of_listing", "of_pool"),
    [
        (AuthenticationFailed("revoked", status=401), AuthenticationFailed("revoked", status=401)),
        (UnexpectedReply("a gateway's page", status=403), Unreachable("away")),
        (RemoteUnavailable("busy", status=503), None),
    ],
    ids=["credentials", "gateway", "busy"],
)
def test_what_every_request_meets_is_no_matter_of_the_listing(
    of_listing: RemoteError, of_pool: RemoteError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested = []

    def fail(action: str, error: RemoteError | None) -> Callable[..., Flow[Any]]:
        def flow(*_: Any, **__: Any) -> Flow[Any]:
            requested.append(action)
            yield Sleep(0)
            assert error
            raise error

        return flow

    async def reload() -> Settings:
        return settings

    async def read() -> None:
        listings_of = PoolListings(settings, reload)
        assert listings_of.age("p") == 0
        for name in ("p", "p", "another"):
            with pytest.raises(type(of_listing), match=of_listing.message):
                await listings_of.pool(PoolTarget(name), 60)
        assert 0 < listings_of.age("another") < 60

    settings = Settings("http://127.0.0.1:9")
    monkeypatch.setattr(Pools, "list_all", fail("list", of_listing))
    monkeypatch.setattr(Pools, "get", fail("read", of_pool))
    asyncio.run(read())
    # What has failed serves all who wait, too.
    assert requested == (["list", "read"] if of_pool else ["list"])


def test_the_listings_go_with_the_last_who_waits() -> None:
    async def wait() -> int:
        task = asyncio.create_task(watch(PoolTarget("p")))
        await asyncio.sleep(0.1)
        assert len(PoolListings._all[asyncio.get_running_loop()]) == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        del task
        await asyncio.sleep(0)
        gc.collect()
        return len(PoolListings._all[asyncio.get_running_loop()])

    with FakeDeployment() as remote:
        remote.add_pool("p", 1, occupied=1)
        watch = watching(remote)
        assert asyncio.run(wait()) == 0


def test_a_listing_that_is_fresh_serves_who_comes_after() -> None:
    async def twice() -> None:
        listings_of = PoolListings(settings, reload)
        assert await listings_of.pool(PoolTarget("p"), 60) is await listings_of.pool(PoolTarget("p", 2), 60)

    async def reload() -> Settings:
        return settings

    with FakeDeployment() as remote:
        remote.add_pool("p", 1)
        connection = remote.connection()
        settings = Settings.parse(**{name: connection[name] for name in ("host", "login", "password")})
        asyncio.run(twice())
        assert listings(remote) == 1
