"""Pools of real remotes, and what they hold afterwards by their own account: their database."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from astronomer_remote.api.pools.diff import parse
from astronomer_remote.api.pools.sync import SyncProgress
from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    Conflict,
    InvalidSettings,
    NotFound,
    NotSupported,
    PoolIsOccupied,
    RequestRefused,
)
from astronomer_remote.api.protocol.flow import Request, Response, TransportError
from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus
from astronomer_remote.api.watch.pool_watcher import watch_pool
from dev.deployments import Airflow
from tests.live.remote import VERSIONS, RemoteApi

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


class PoolsOf(RemoteApi):
    """A real remote's pools: changed through this package, read from its database."""

    def rows(self) -> dict[str, tuple[Any, ...]]:
        """Its pools, as its database has them."""
        more = ", include_deferred" if self.version >= (2, 7) else ""
        found = self.query(f"SELECT pool, slots, description{more} FROM slot_pool")
        return {name: (slots, description or "", bool(rest and rest[0])) for name, slots, description, *rest in found}

    def sizes(self) -> dict[str, int]:
        """Sizes by name, besides `default_pool`."""
        return {name: row[0] for name, row in self.rows().items() if name != "default_pool"}

    def occupy(self, pool: str, state: str | None) -> None:
        """Let a task of the remote be in a state in a pool, or none."""
        self.execute("DELETE FROM task_instance WHERE task_id = 'occupant'")
        if state is None:
            return
        known_columns = self.query("SELECT name, \"notnull\", dflt_value FROM pragma_table_info('task_instance')")
        columns = {name: (needed, default) for name, needed, default in known_columns}
        known: dict[str, Any] = {
            "id": "01900000000070008000000000000001",
            "task_id": "occupant",
            "dag_id": "occupant",
            "run_id": "occupant",
            "execution_date": "2026-01-01 00:00:00",
            "map_index": -1,
            "pool": pool,
            "pool_slots": 2,
            "state": state,
        }
        usual = {name: "0" for name, (needed, default) in columns.items() if needed and default is None}
        values = {**usual, **{name: value for name, value in known.items() if name in columns}}
        names = ", ".join(values)
        self.execute(f"INSERT INTO task_instance ({names}) VALUES ({', '.join('?' * len(values))})", *values.values())


@pytest.fixture(scope="module", params=VERSIONS)
def at(request: pytest.FixtureRequest) -> Iterator[PoolsOf]:
    # Pools need no scheduler.
    component = "api-server" if request.param.startswith("3") else "webserver"
    with Airflow(request.param, name="pools", components=[component]) as deployment:
        yield PoolsOf(deployment)


@pytest.fixture(autouse=True)
def clean(at: PoolsOf) -> Iterator[None]:
    yield
    at.occupy("default_pool", None)
    at.execute("DELETE FROM slot_pool WHERE pool != 'default_pool'")
    at.execute("UPDATE slot_pool SET slots = 128")


def test_each_operation_does_to_the_remote_what_it_says(at: PoolsOf) -> None:
    remote, describes = at.remote, at.version < (2,) or at.version >= (2, 3)
    more: dict[str, Any] = {"description": "what for"} if describes else {}
    assert at.run(remote.create_pool("p q", 5, **more)).slots == 5
    assert at.rows()["p q"] == (5, "what for" if describes else "", False)
    with pytest.raises(Conflict):
        at.run(remote.create_pool("p q", 6))
    assert at.run(remote.pools.create_if_missing(Pool("p q", 6))).slots == 5
    assert at.run(remote.update_pool("p q", slots=6)).slots == 6
    assert at.rows()["p q"] == (6, "what for" if describes else "", False)
    assert at.run(remote.ensure_pool("p q", 6)) is False
    assert at.run(remote.ensure_pool("p q", 7)) is True
    assert at.rows()["p q"] == (7, "what for" if describes else "", False)
    if at.version >= (2, 7):
        assert at.run(remote.ensure_pool("p q", 7, include_deferred=True)) is True
        at.run(remote.update_pool("p q", description="else"))
        assert at.rows()["p q"] == (7, "else", True)
    assert {pool.name for pool in at.run(remote.list_pools())} == {"default_pool", "p q"}
    assert at.run(remote.get_pool("p q")).slots == 7
    at.run(remote.update_pool("default_pool", slots=64))
    assert at.rows()["default_pool"][:2] == (64, "Default pool")
    at.run(remote.delete_pool("p q"))
    assert at.sizes() == {}
    with pytest.raises(NotFound):
        at.run(remote.get_pool("p q"))


@pytest.mark.parametrize(
    "name", [" a b ", "100%", "a%2Fb", "größe 池", "a..b", "a?b#c;d&e=f+g", "x" * 50, "a/b", "/a", "a/", "a//b"]
)
def test_odd_names_come_back_as_they_were_or_are_refused(at: PoolsOf, name: str) -> None:
    if "/" in name and at.version < (3,):
        with pytest.raises(InvalidSettings):
            at.run(at.remote.ensure_pool(name, 1))
        assert at.sizes() == {}
        return
    assert at.run(at.remote.ensure_pool(name, 1)) is True
    assert at.run(at.remote.ensure_pool(name, 2)) is True
    assert at.sizes() == {name: 2}
    at.run(at.remote.delete_pool(name))
    assert at.sizes() == {}


def test_bad_input_leaves_the_remote_as_it_is(at: PoolsOf) -> None:
    for name in ("", " ", "..", "x" * 257):
        with pytest.raises(InvalidSettings):
            at.run(at.remote.create_pool(name, 1))
    slots: Any
    for slots in (-5, 2**31, "many"):
        with pytest.raises(InvalidSettings):
            at.run(at.remote.create_pool("p", slots))
    at.run(at.remote.create_pool("none", 0))
    at.run(at.remote.create_pool("most", 2**31 - 1))
    assert at.sizes() == {"none": 0, "most": 2**31 - 1}
    if at.version < (2,) or at.version >= (3, 1, 8):
        at.run(at.remote.create_pool("endless", -1))
        assert at.sizes()["endless"] == -1
    else:
        with pytest.raises(NotSupported):
            at.run(at.remote.create_pool("endless", -1))
    assert len(at.run(at.remote.list_pools())) == len(at.sizes()) + 1


def test_an_unknown_pool_is_not_found(at: PoolsOf) -> None:
    remote = at.remote
    for flow in (remote.get_pool("p"), remote.update_pool("p", slots=1), remote.delete_pool("p")):
        with pytest.raises(NotFound):
            at.run(flow)
    assert at.run(remote.pools.delete_if_unused("p", force=True)) is False
    assert at.sizes() == {}


def test_the_longest_name_that_fits_comes_back(at: PoolsOf) -> None:
    name = "ä" * (50 if at.version < (2,) else 256)
    assert at.run(at.remote.ensure_pool(name, 1)) is True
    assert at.sizes() == {name: 1}
    at.run(at.remote.delete_pool(name))
    with pytest.raises(InvalidSettings):
        at.run(at.remote.create_pool(f"{name}x", 1))
    assert at.sizes() == {}


def test_what_is_given_up_for_empty_is_left_alone_where_there_is_no_such_field(at: PoolsOf) -> None:
    at.run(at.remote.create_pool("p", 1))
    assert at.run(at.remote.update_pool("p", slots=2, description="")).slots == 2
    assert at.sizes() == {"p": 2}


def test_who_may_only_read_gets_an_error_that_says_so(at: PoolsOf) -> None:
    if at.version < (2,):
        pytest.skip("its API knows no users")
    viewer = at.of("viewer")
    declared = parse({"p": 1, "q": 1})

    def sync() -> Any:
        yield from viewer.pool_sync.apply((yield from viewer.pool_sync.plan(declared)))

    flows = (viewer.create_pool("p", 1), viewer.update_pool("default_pool", slots=1), viewer.delete_pool("p"), sync())
    for flow in flows:
        with pytest.raises(AccessDenied, match="Op is the least"):
            at.run(flow, "viewer")
    assert at.sizes() == {}
    assert at.rows()["default_pool"][0] == 128


def before_writing(at: PoolsOf, monkeypatch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Let another client do something after a pool was read and before it is written."""
    driver = at.drivers["admin"][1]
    send, left = driver._send, [do]

    def meddle(request: Request) -> Response | TransportError:
        if left and request.method in ("POST", "PATCH") and "/pools" in request.path:
            left.pop()()
        return send(request)

    monkeypatch.setattr(driver, "_send", meddle)


def test_a_pool_that_is_deleted_between_read_and_write(at: PoolsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def delete() -> None:
        at.execute("DELETE FROM slot_pool WHERE pool = 'p'")

    at.run(at.remote.create_pool("p", 1))
    before_writing(at, monkeypatch, delete)
    assert at.run(at.remote.ensure_pool("p", 5)) is True
    assert at.sizes() == {"p": 5}
    before_writing(at, monkeypatch, delete)
    if at.version < (2,):
        # There, the request that changes a pool makes one.
        at.run(at.remote.update_pool("p", slots=6))
        assert at.sizes() == {"p": 6}
        return
    with pytest.raises(NotFound):
        at.run(at.remote.update_pool("p", slots=6))
    assert at.sizes() == {}


def test_what_the_remote_says_of_a_single_pool_is_reported(at: PoolsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    if at.version < (3,):
        pytest.skip("it has no bulk endpoint")
    plan = at.run(at.remote.pool_sync.plan(parse({"a": 1, "b": 2, "c": 3})))
    at.run(at.remote.create_pool("b", 9))
    driver = at.drivers["admin"][1]
    send = driver._send

    def insist(request: Request) -> Response | TransportError:
        # No request of this package is refused for a single pool, so it is made to request more.
        for action in request.body["actions"] if request.method == "PATCH" else []:
            action["action_on_existence"] = "fail"
        return send(request)

    monkeypatch.setattr(driver, "_send", insist)
    progress = SyncProgress(plan)
    with pytest.raises(RequestRefused, match=r"'b'.*already exist.*done: create 'a', create 'c'; failed: create 'b'"):
        at.run(at.remote.pool_sync.apply(plan, progress=progress))
    assert progress.outcomes == {"a": "done", "b": "failed", "c": "done"}
    assert at.sizes() == {"a": 1, "b": 9, "c": 3}


def test_a_team_is_given_where_there_are_teams(at: PoolsOf) -> None:
    kind = RequestRefused if at.version >= (3, 2) else NotSupported
    with pytest.raises(kind):
        at.run(at.remote.pools.ensure(Pool("p", 1, team_name="nobody")))
    assert at.sizes() == {}


def test_room_is_waited_for_with_one_listing_for_all(at: PoolsOf) -> None:
    at.run(at.remote.create_pool("p", 3))
    if at.version < (2,):
        with pytest.raises(NotSupported):
            at.run(at.remote.pools.get("p", with_usage=True))
        return
    at.occupy("p", "running")
    settings = at.settings("admin")

    async def reload() -> Settings:
        return settings

    async def wait() -> list[WaitResult]:
        target = [PoolTarget("p", 3), PoolTarget("p", 2), PoolTarget("p", empty=True)] * 5
        waits = [
            watch_pool(each, settings=settings, reload=reload, poke_interval=1, deadline=None, on_line=lines.append)
            for each in target
        ]
        together = asyncio.gather(*waits)
        await asyncio.sleep(3)
        assert not together.done()
        at.occupy("p", None)
        return await together

    lines: list[str] = []
    outcomes = asyncio.run(asyncio.wait_for(wait(), 60))
    assert {outcome.status for outcome in outcomes} == {WaitStatus.SUCCESS}
    assert "Pool 'p': 2 of 3 slots occupied, 1 open; 3 open needed" in lines


def test_a_pool_in_use_is_kept_and_its_open_slots_are_shown(at: PoolsOf) -> None:
    at.run(at.remote.create_pool("p", 3))
    if at.version < (2,):
        with pytest.raises(NotSupported):
            at.run(at.remote.pools.delete_if_unused("p"))
        assert at.run(at.remote.pools.delete_if_unused("p", force=True)) is True
        return
    at.occupy("p", "running")
    pool = at.run(at.remote.pools.get("p", with_usage=True))
    assert (pool.occupied_slots, pool.running_slots, pool.open_slots) == (2, 2, 1)
    with pytest.raises(PoolIsOccupied):
        at.run(at.remote.pools.delete_if_unused("p"))
    plan = at.run(at.remote.pool_sync.plan([], prune=True))
    assert plan.kept["p"] == "not declared, but 2 of its slots are occupied"
    assert at.sizes() == {"p": 3}
    at.occupy("p", None)
    assert at.run(at.remote.pools.delete_if_unused("p")) is True
    assert at.sizes() == {}


def test_a_declaration_is_met_in_one_run_and_the_next_changes_nothing(at: PoolsOf) -> None:
    for name, size in (("shrinks", 9), ("grows", 1), ("goes", 4), ("same", 2)):
        at.run(at.remote.create_pool(name, size))
    declared: dict[str, Any] = {"shrinks": 3, "grows": 5, "same": 2, "default_pool": 64}
    if at.version >= (2, 7):
        declared |= {"a new one": {"slots": 1, "description": "d", "include_deferred": True}}
    else:
        declared |= {"a new one": 1}
    force = at.version < (2,)

    def sync() -> SyncProgress:
        plan = at.run(at.remote.pool_sync.plan(parse(declared), prune=True, force=force))
        return at.run(at.remote.pool_sync.apply(plan, force=force))

    progress = sync()
    assert set(progress.outcomes.values()) == {"done"}
    assert at.sizes() == {"shrinks": 3, "grows": 5, "same": 2, "a new one": 1}
    assert at.rows()["default_pool"][:2] == (64, "Default pool")
    if at.version >= (2, 7):
        assert at.rows()["a new one"] == (1, "d", True)
    assert sync().plan.changes == ()


def test_a_real_export_is_a_declaration_that_changes_nothing(at: PoolsOf, tmp_path: Any) -> None:
    from astronomer_remote.api.pools import files

    at.run(at.remote.create_pool("p", 3))
    path = tmp_path / "pools.json"
    command = ("pool", "-e", str(path)) if at.version < (2,) else ("pools", "export", str(path))
    at.deployment.run(*command)
    assert json.loads(path.read_text())["p"]["slots"] == 3
    plan = at.run(at.remote.pool_sync.plan(files.read(path), prune=True))
    assert (plan.changes, plan.same) == ((), 2)


def test_slots_are_borrowed_and_returned(at: PoolsOf) -> None:
    loans = at.remote.loans
    at.run(at.remote.create_pool("p", 5))
    loan = at.run(loans.record(Pool("p", 9)))
    at.run(loans.take(loan))
    assert at.sizes() == {"p": 9}
    at.run(loans.give_back(loan))
    assert at.sizes() == {"p": 5}
    temporary = at.run(loans.record(Pool("t", 2), temporary=True, force=True))
    at.run(loans.take(temporary))
    assert at.sizes() == {"p": 5, "t": 2}
    at.execute("UPDATE slot_pool SET slots = 4 WHERE pool = 't'")
    with pytest.raises(Conflict):
        at.run(loans.give_back(temporary))
    assert at.sizes() == {"p": 5, "t": 4}
    at.run(loans.give_back(temporary, if_changed="restore"))
    assert at.sizes() == {"p": 5}


def test_two_at_once_make_one_pool(at: PoolsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    # One has found that there is no pool; before it creates it, the other does.
    other = PoolsOf(at.deployment)
    before_writing(at, monkeypatch, lambda: other.run(other.remote.ensure_pool("p", 5)))
    # 1.10 writes the same once more, and does not say so.
    assert at.run(at.remote.ensure_pool("p", 5)) is (at.version < (2,))
    assert at.sizes() == {"p": 5}
    before_writing(at, monkeypatch, lambda: other.run(other.remote.ensure_pool("q", 5)))
    assert at.run(at.remote.pools.create_if_missing(Pool("q", 5))).slots == 5
    assert at.sizes() == {"p": 5, "q": 5}


def test_two_who_sync_at_once_make_one_pool_of_each_name(at: PoolsOf, monkeypatch: pytest.MonkeyPatch) -> None:
    other, declared = PoolsOf(at.deployment), parse({"a": 1, "b": 2, "c": 3})

    def sync(of: PoolsOf) -> SyncProgress:
        return of.run(of.remote.pool_sync.apply(of.run(of.remote.pool_sync.plan(declared))))

    before_writing(at, monkeypatch, lambda: sync(other))
    assert set(sync(at).outcomes.values()) == {"done"}
    assert at.sizes() == {"a": 1, "b": 2, "c": 3}
