"""Pools are brought to match a declaration: in one run, in a safe order, with a report of what was done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astronomer_remote.api.pools.diff import PoolPlan, compare, parse, plan, row, table
from astronomer_remote.api.pools.sync import SyncProgress
from astronomer_remote.api.protocol.errors import (
    InvalidSettings,
    NotSupported,
    RemoteError,
    RemoteUnavailable,
    RequestRefused,
)
from astronomer_remote.api.protocol.flow import Request
from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.api.protocol.pool_changes import FIELDS, PoolChange
from astronomer_remote.testing.contents import FakePool
from tests.api.pool_remote import PoolRemote, Reply, at
from tests.api.script import EXPERIMENTAL, LOST, V1, V1_OLDEST, V2, V2_OLDEST, VERSIONS, answer, ok

every_version = pytest.mark.parametrize("version", VERSIONS)
every_version_with_usage = pytest.mark.parametrize("version", VERSIONS[1:])
BULK = pytest.mark.parametrize("version", [V2_OLDEST, "3.1.8", "3.2.2", V2])
SINGLE = (EXPERIMENTAL, V1_OLDEST, V1)


def sync(remote: PoolRemote, declared: Any, **options: Any) -> SyncProgress:
    found = remote.run(remote.deployment.pool_sync.plan(parse(declared), **options))
    return remote.run(remote.deployment.pool_sync.apply(found, force=options.get("force", False)))


# For any two sets of pools


def pools_of(version: str) -> st.SearchStrategy[dict[str, dict[str, Any]]]:
    numbers = tuple(int(part) for part in version.split("."))
    unlimited = numbers < (2,) or numbers >= (3, 1, 8)
    fields: dict[str, Any] = {"slots": st.integers(-1 if unlimited else 0, 2**31 - 1)}
    optional: dict[str, Any] = {}
    if numbers < (2,) or numbers >= (2, 3):
        optional["description"] = st.none() | st.text(
            st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5
        )
    if numbers >= (2, 7):
        optional["include_deferred"] = st.none() | st.booleans()
    letters = "ab %ü." + ("/" if numbers >= (3,) else "")
    # What means something else in a path is refused elsewhere.
    names = st.text(letters, min_size=1, max_size=4).filter(
        lambda name: name.strip() and not {".", ".."} & set(name.split("/"))
    )
    return st.dictionaries(names, st.fixed_dictionaries(fields, optional=optional), max_size=8)


@every_version
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_sync_makes_the_remote_equal_to_the_declaration_and_a_second_run_changes_nothing(
    version: str, data: st.DataObject
) -> None:
    before = data.draw(pools_of(version))
    declared = data.draw(pools_of(version))
    remote = PoolRemote(version, before)
    sync(remote, declared, prune=True, force=True)

    assert set(remote.pools) == {*declared, "default_pool"}
    for name, fields in declared.items():
        now, was = remote.pools[name], before.get(name, {})
        for field in ("slots", "description", "include_deferred"):
            target = fields.get(field) if fields.get(field) is not None else was.get(field)
            assert (getattr(now, field) or None) == (target or None), (name, field)

    remote.requests.clear()
    assert sync(remote, declared, prune=True, force=True).plan.changes == ()
    assert set(remote.methods()) == {"GET"}


@every_version
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_sync_that_failed_anywhere_is_finished_by_running_it_again(version: str, data: st.DataObject) -> None:
    before, declared = data.draw(pools_of(version)), data.draw(pools_of(version))
    remote = PoolRemote(version, before)
    backoff = data.draw(st.integers(0, 6))
    failure = data.draw(st.sampled_from([LOST, answer(400, {"detail": "no"}), answer(503)]))

    def fail(request: Request) -> Reply | None:
        nonlocal backoff
        backoff -= request.method != "GET"
        return failure if backoff < 0 and request.method != "GET" else None

    remote.interfere = fail
    try:
        sync(remote, declared, prune=True, force=True)
    except RemoteError as error:
        lines = error.message
    else:
        lines = "Of the changes of pools: "
    assert "Of the changes of pools: " in lines
    remote.interfere = lambda request: None
    sync(remote, declared, prune=True, force=True)
    assert set(remote.pools) == {*declared, "default_pool"}
    assert all(remote.pools[name].slots == fields["slots"] for name, fields in declared.items())


@settings(deadline=None)
@given(before=pools_of(V2), declared=pools_of(V2))
def test_no_pool_is_ever_smaller_than_both_sides_want_and_room_is_made_before_it_is_taken(
    before: dict[str, Any], declared: dict[str, Any]
) -> None:
    found = plan(parse(before), parse(declared), prune=True)
    takes = [(change.action == "delete", change.takes_away) for change in found.changes]
    assert takes == sorted(takes)


# The order, and what is requested


@every_version
def test_room_is_made_first_then_taken_and_what_is_not_declared_goes_last(version: str) -> None:
    remote = PoolRemote(version, {"shrinks": 9, "grows": 1, "goes": 4, "a-goes": 1, "same": 2})
    declared = {"shrinks": 3, "grows": 5, "new": 1, "same": 2}
    progress = sync(remote, declared, prune=True, force=True)
    assert [str(change).split(" (")[0] for change in progress.plan.changes] == [
        "update 'grows'",
        "create 'new'",
        "update 'shrinks'",
        "delete 'a-goes'",
        "delete 'goes'",
    ]
    assert remote.sizes() == {"default_pool": 128, "shrinks": 3, "grows": 5, "same": 2, "new": 1}
    assert set(progress.outcomes.values()) == {"done"}


def test_counting_deferred_tasks_takes_room_away() -> None:
    small, large = Pool("p", 1, include_deferred=True), Pool("p", 2, include_deferred=False)
    assert PoolChange("update", "p", large, small).takes_away
    assert not PoolChange("update", "p", small, large).takes_away
    assert PoolChange("update", "p", Pool("p", -1), Pool("p", 5)).takes_away
    assert PoolChange("update", "p", Pool("p", 5), Pool("p", 5, include_deferred=True)).takes_away
    assert not PoolChange("create", "p", None, Pool("p", 5)).takes_away


@BULK
def test_where_there_is_a_bulk_endpoint_a_hundred_pools_are_one_request(version: str) -> None:
    remote = PoolRemote(version, {f"old {number}": 1 for number in range(100)})
    declared = {f"p{number}": number for number in range(150)}
    sync(remote, declared, prune=True)
    # Two pages before, two chunks to create, the use of the pools once more, one to delete.
    assert remote.methods() == ["GET"] * 2 + ["PATCH"] * 2 + ["GET"] * 3 + ["PATCH"]
    assert len(remote.pools) == 151


def test_a_single_change_needs_no_bulk_request() -> None:
    remote = PoolRemote(V2, {"p": 1})
    sync(remote, {"p": 2})
    assert [request.path for request in remote.requests] == ["/api/v2/pools", "/api/v2/pools/p"]


@pytest.mark.parametrize("version", SINGLE)
def test_without_a_bulk_endpoint_each_change_is_one_request(version: str) -> None:
    remote = PoolRemote(version, {"p": 1, "q": 1})
    sync(remote, {"p": 2, "q": 2, "default_pool": 64})
    assert remote.sizes() == {"default_pool": 64, "p": 2, "q": 2}
    assert remote.methods().count("GET") == 1
    assert len(remote.requests) == 4


# What is kept


@every_version
def test_what_is_not_declared_stays_without_prune(version: str) -> None:
    remote = PoolRemote(version, {"p": 1})
    progress = sync(remote, {"q": 1})
    assert set(remote.pools) == {"default_pool", "p", "q"}
    assert progress.plan.kept == {"default_pool": "not declared", "p": "not declared"}


@every_version_with_usage
def test_what_is_occupied_is_not_pruned_unless_forced(version: str) -> None:
    remote = PoolRemote(version, {"p": {"slots": 3, "occupied": 2}, "q": 1})
    progress = sync(remote, {}, prune=True)
    assert set(remote.pools) == {"default_pool", "p"}
    assert progress.plan.kept == {
        "default_pool": "Airflow needs it",
        "p": "not declared, but 2 of its slots are occupied",
    }
    sync(remote, {}, prune=True, force=True)
    assert set(remote.pools) == {"default_pool"}


@every_version_with_usage
def test_what_a_task_moved_into_since_it_was_listed_is_not_pruned(version: str) -> None:
    remote = PoolRemote(version, {"p": 1, "q": 1})
    found = remote.run(remote.deployment.pool_sync.plan([], prune=True))
    remote.pools["p"].occupied = 1
    progress = remote.run(remote.deployment.pool_sync.apply(found))
    assert set(remote.pools) == {"default_pool", "p"}
    assert progress.outcomes == {"p": "kept, since it was occupied meanwhile", "q": "done"}


def test_1_10_prunes_only_if_forced() -> None:
    remote = PoolRemote(EXPERIMENTAL, {"p": 1})
    with pytest.raises(NotSupported, match="cannot show whether slots of a pool are occupied"):
        sync(remote, {"q": 1}, prune=True)
    assert set(remote.pools) == {"default_pool", "p"}
    sync(remote, {"q": 1}, prune=True, force=True)
    assert set(remote.pools) == {"default_pool", "q"}


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1])
def test_a_pool_whose_name_cannot_be_addressed_is_kept(version: str) -> None:
    remote = PoolRemote(version, {"a/b": 1, "": 1})
    progress = sync(remote, {}, prune=True, force=True)
    reason = "not declared, but its name cannot be addressed by the remote's API"
    assert progress.plan.kept == {"": reason, "a/b": reason, "default_pool": "Airflow needs it"}


@every_version
def test_the_description_of_default_pool_is_airflow_s_own(version: str) -> None:
    remote = PoolRemote(version)
    sync(remote, {"default_pool": {"slots": 64, "description": "mine"}})
    assert remote.pools["default_pool"].description == "Default pool"
    assert remote.sizes() == {"default_pool": 64}


@every_version
def test_only_the_given_fields_are_brought_in_line(version: str) -> None:
    remote = PoolRemote(version, {"p": 1})
    sync(remote, {"p": {"slots": 2, "description": "d"}, "q": {"slots": 3, "team_name": "t"}}, fields=["slots"])
    assert (remote.pools["p"].slots, remote.pools["p"].description or None) == (2, None)
    sync(remote, {"p": 7}, fields=["description"])
    assert remote.sizes() == {"default_pool": 128, "p": 2, "q": 3}
    with pytest.raises(InvalidSettings, match="fields holds size; known are: slots"):
        sync(remote, {}, fields=["size"])


# Failures


def test_what_the_remote_cannot_do_is_refused_with_every_pool_named_and_nothing_done() -> None:
    remote = PoolRemote(V1_OLDEST, {"grows": 1, "counts": 1})
    declared = {
        "grows": 5,
        "described": {"slots": 1, "description": "d"},
        "counts": {"slots": 1, "include_deferred": True},
        "endless": -1,
    }
    with pytest.raises(NotSupported) as caught:
        sync(remote, declared)
    for words in ("Pool 'described': Airflow 2.0.2 cannot give", "Pool 'counts': ", "Pool 'endless': "):
        assert words in str(caught.value)
    assert remote.sizes() == {"default_pool": 128, "grows": 1, "counts": 1}


def test_a_source_s_own_oddities_are_refused_too() -> None:
    remote = PoolRemote(V2)
    with pytest.raises(InvalidSettings, match=r"Pool 'p': slots=-5"):
        remote.run(remote.deployment.pool_sync.plan([Pool("p", -5)]))


@pytest.mark.parametrize("version", SINGLE)
def test_a_failure_in_the_middle_says_what_was_done_and_what_was_not(version: str) -> None:
    remote = PoolRemote(version, {"c": 9})
    deployment = remote.deployment
    remote.interfere = lambda request: (
        answer(400, {"detail": "no"}) if request.method == "POST" and request.body["name"] == "b" else None
    )
    found = remote.run(deployment.pool_sync.plan(parse({"a": 1, "b": 1, "c": 2}), prune=True))
    progress = SyncProgress(found)
    with pytest.raises(RequestRefused) as caught:
        remote.run(deployment.pool_sync.apply(found, progress=progress))
    assert progress.outcomes == {"a": "done", "b": "failed", "c": "not done"}
    assert "done: create 'a'; failed: create 'b'; not done: update 'c' (slots 9 → 2)" in str(caught.value)
    assert remote.sizes() == {"default_pool": 128, "a": 1, "c": 9}
    assert found.as_dict(progress.outcomes)["changes"][1] == {
        "pool": "b",
        "action": "create",
        "fields": [],
        "before": None,
        "after": {"slots": 1, "description": None, "include_deferred": None, "team_name": None},
        "outcome": "failed",
    }


@BULK
def test_what_the_bulk_endpoint_says_of_single_pools_is_reported(version: str) -> None:
    remote = PoolRemote(version)

    def refuse_b(request: Request) -> Reply | None:
        if request.method == "PATCH":
            remote.fake.add_pool("a", 1)
            error = {"error": "b is not to our liking", "status_code": 409}
            return ok({"create": {"success": ["a"], "errors": [error]}, "update": None, "delete": None})
        return None

    remote.interfere = refuse_b
    with pytest.raises(RequestRefused, match=r"b is not to our liking.*done: create 'a'; failed: create 'b'"):
        sync(remote, {"a": 1, "b": 1})


@every_version
def test_no_room_is_taken_away_if_none_could_be_made(version: str) -> None:
    remote = PoolRemote(version, {"shrinks": 9, "grows": 1, "goes": 1})

    def refuse(request: Request) -> Reply | None:
        writes = request.method in ("POST", "PATCH") and "grows" in f"{request.path} {request.body}"
        return answer(400, {"detail": "no"}) if writes else None

    remote.interfere = refuse
    found = remote.run(
        remote.deployment.pool_sync.plan(parse({"shrinks": 3, "grows": 5, "new": 2}), prune=True, force=True)
    )
    progress = SyncProgress(found)
    with pytest.raises(RequestRefused, match=r"not done: .*update 'shrinks' \(slots 9 → 3\), delete 'goes'"):
        remote.run(remote.deployment.pool_sync.apply(found, force=True, progress=progress))
    assert (remote.sizes()["shrinks"], remote.sizes()["goes"]) == (9, 1)
    assert (progress.outcomes["shrinks"], progress.outcomes["goes"]) == ("not done", "not done")


@BULK
def test_what_others_made_or_deleted_meanwhile_is_brought_to_match_all_the_same(version: str) -> None:
    remote = PoolRemote(version, {"vanishes": 1, "stays": 1, "goes": 1, "goes too": 1})
    declared = {"vanishes": 2, "stays": 2, "appears": 2}
    first = at("PATCH")

    def interfere(request: Request) -> Reply | None:
        if first(request):
            remote.pools.pop("vanishes", None)
            remote.pools.pop("goes", None)
            remote.pools.setdefault("appears", FakePool("appears", 7))
        return None

    remote.interfere = interfere
    progress = sync(remote, declared, prune=True)
    assert set(progress.outcomes.values()) == {"done"}
    assert remote.sizes() == {"default_pool": 128, "stays": 2, "vanishes": 2, "appears": 2}


@BULK
def test_two_who_sync_at_the_same_moment_make_one_pool_of_each_name(version: str) -> None:
    remote = PoolRemote(version)
    other = PoolRemote(version)
    other.fake = remote.fake
    first = at("PATCH")

    def be_second(request: Request) -> Reply | None:
        if not first(request):
            return None
        sync(other, {"a": 1, "b": 2})
        return answer(409, {"detail": {"reason": "Unique constraint violation", "statement": "INSERT"}})

    remote.interfere = be_second
    progress = sync(remote, {"a": 1, "b": 2, "c": 3})
    assert set(progress.outcomes.values()) == {"done"}
    assert remote.sizes() == {"default_pool": 128, "a": 1, "b": 2, "c": 3}


@BULK
def test_a_bulk_reply_that_was_lost_is_found_out_about(version: str) -> None:
    remote = PoolRemote(version, {"p": 1})
    remote.fake.disturb(None, method="PATCH")
    sync(remote, {"p": 2, "q": 3, "r": 4})
    assert remote.sizes() == {"default_pool": 128, "p": 2, "q": 3, "r": 4}


def test_a_failure_that_may_pass_stays_one_that_may_pass() -> None:
    remote = PoolRemote(V2, {"p": 1})
    remote.interfere = lambda request: answer(503) if request.method == "PATCH" else None
    with pytest.raises(RemoteUnavailable, match=r"failed: update 'p' \(slots 1 → 2\)\. Run it again to finish"):
        sync(remote, {"p": 2})


# Declarations, and how a plan looks


def test_an_export_of_airflow_is_a_declaration() -> None:
    exported = {"default_pool": {"description": "Default pool", "include_deferred": False, "slots": 128}}
    assert parse(exported) == [Pool("default_pool", 128, "Default pool", include_deferred=False)]
    assert parse({"p": 5, "q": {"slots": -1, "description": None}}) == [Pool("p", 5), Pool("q", -1)]
    assert row(Pool("p", 5, include_deferred=False)) == {"slots": 5, "include_deferred": False}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "as an object by their names, not as list"),
        ("p", "not as str"),
        ({"": 1}, "non-empty text"),
        ({1: 1}, "non-empty text"),
        ({"p": {}}, "Pool 'p': slots=None must be"),
        ({"p": None}, "Pool 'p': slots=None must be"),
        ({"p": "many"}, "Pool 'p': slots='many' must be"),
        ({"p": -5}, "Pool 'p': slots=-5 must be"),
        ({"p": 2**31}, "Pool 'p': slots=2147483648 must be"),
        ({"p": {"slots": 1, "description": 5}}, "Pool 'p': description=5 must be text"),
        ({"p": {"slots": 1, "description": "a\0"}}, "Pool 'p': description holds a null character"),
        ({"p": {"slots": 1, "include_deferred": "yes"}}, "include_deferred='yes' must be a boolean"),
        ({"p": {"slots": 1, "colour": "red", 3: 4}}, "Pool 'p' is declared with 3, colour; known are: slots"),
    ],
)
def test_a_wrong_declaration_names_the_pool_and_what_is_wrong(data: Any, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        parse(data)


def test_a_plan_is_a_table_for_people() -> None:
    current = [
        replace(pool, occupied_slots=0)
        for pool in parse({"a": {"slots": 1, "description": "old\nlines"}, "b": 2, "c": 3, "d": 4})
    ]
    declared = parse({"a": {"slots": -1, "description": ""}, "b": 2, "n": {"slots": 1, "include_deferred": True}})
    found = plan([*current[:3], Pool("d", 4, occupied_slots=1)], declared, prune=True)
    assert found.table().splitlines() == [
        "action  pool  slots          description     include_deferred  team_name",
        "------  ----  -------------  --------------  ----------------  ---------",
        'update  a     1 → unlimited  old lines → ""  -                 -',
        "create  n     1              -               True              -",
        "delete  c     3              -               -                 -",
        "kept, not declared, but 1 of its slots are occupied: d",
        "3 to change, 1 as declared, 1 kept undeclared",
    ]
    assert PoolPlan(same=2).table() == "0 to change, 2 as declared, 0 kept undeclared"
    assert table(("a",), []) == "a\n-"


def test_nothing_differs_where_a_generation_knows_no_such_field() -> None:
    assert compare(Pool("p", 1), Pool("p", 1, "", include_deferred=False)) is None
    assert compare(Pool("p", 0), Pool("p", 0)) is None
    assert FIELDS[0] == "slots"
