"""Pools are created once, brought to match, and not taken from under running tasks; whoever else is at work."""

from __future__ import annotations

from typing import Any

import pytest

from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    Conflict,
    InvalidSettings,
    NotFound,
    NotSupported,
    PoolIsOccupied,
    RemoteUnavailable,
    Unreachable,
)
from astronomer_remote.api.protocol.flow import Flow, Request, Response
from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.testing.contents import FakePool
from tests.api.pool_remote import PoolRemote, Reply, at
from tests.api.script import EXPERIMENTAL, LOST, V1, V1_OLD, V1_OLDEST, V2, V2_OLDEST, VERSIONS, answer

every_version = pytest.mark.parametrize("version", VERSIONS)
every_version_with_usage = pytest.mark.parametrize("version", VERSIONS[1:])


# Create


@every_version
def test_a_pool_that_is_there_is_not_created_again(version: str) -> None:
    remote = PoolRemote(version, {"p": 3})
    with pytest.raises(Conflict, match="'p'"):
        remote.run(remote.deployment.create_pool("p", 5))
    assert remote.sizes()["p"] == 3


@every_version
def test_a_pool_whose_reply_was_lost_is_found(version: str) -> None:
    remote = PoolRemote(version)
    remote.fake.disturb(None, method="POST")
    assert remote.run(remote.deployment.create_pool("p", 5)).slots == 5
    assert remote.sizes()["p"] == 5


@every_version_with_usage
def test_a_pool_whose_request_was_lost_is_requested_again(version: str) -> None:
    remote = PoolRemote(version)
    lost = at("POST")
    remote.interfere = lambda request: LOST if lost(request) else None
    assert remote.run(remote.deployment.create_pool("p", 5)).slots == 5
    assert remote.methods() == ["POST", "GET", "POST"]


def test_a_pool_of_other_values_that_appeared_while_a_reply_was_lost_is_not_ours() -> None:
    remote = PoolRemote(V2)

    def other(request: Request) -> Reply | None:
        if request.method != "POST":
            return None
        remote.pools["p"] = FakePool("p", 9)
        return LOST

    remote.interfere = other
    with pytest.raises(Conflict, match="of 9 slots"):
        remote.run(remote.deployment.create_pool("p", 5))


def test_a_remote_that_stays_away_is_given_up() -> None:
    remote = PoolRemote(V2)
    remote.interfere = lambda request: answer(503) if request.method == "POST" else None
    with pytest.raises(RemoteUnavailable):
        remote.run(remote.deployment.create_pool("p", 5))
    remote.interfere = lambda request: LOST
    with pytest.raises(Unreachable):
        remote.run(remote.deployment.create_pool("p", 5))


@every_version
def test_a_retry_finds_the_pool_that_the_attempt_before_made(version: str) -> None:
    remote = PoolRemote(version, {"p": 5})
    assert remote.run(remote.deployment.pools.create(Pool("p", 5), retrying=True)).slots == 5
    with pytest.raises(Conflict):
        remote.run(remote.deployment.pools.create(Pool("p", 6), retrying=True))
    assert remote.sizes()["p"] == 5


def test_a_conflict_over_a_pool_that_is_gone_again_is_raised() -> None:
    remote = PoolRemote(V2)
    remote.interfere = lambda request: answer(409, {"detail": "there"}) if request.method == "POST" else None
    with pytest.raises(Conflict, match="there"):
        remote.run(remote.deployment.pools.create(Pool("p", 6), retrying=True))


# Ensure


@every_version
def test_a_pool_is_made_changed_and_left_alone_as_is_needed(version: str) -> None:
    remote = PoolRemote(version)
    ensure = remote.deployment.ensure_pool
    assert remote.run(ensure("p", 5)) is True
    assert remote.run(ensure("p", 5)) is False
    assert remote.run(ensure("p", 6)) is True
    assert remote.sizes()["p"] == 6


def test_what_is_not_named_stays_as_it_is() -> None:
    remote = PoolRemote(V2, {"p": {"slots": 1, "description": "d", "include_deferred": True}})
    remote.run(remote.deployment.ensure_pool("p", 2))
    assert remote.pools["p"] == FakePool("p", 2, "d", include_deferred=True)


@every_version_with_usage
def test_two_who_ensure_a_pool_at_once_make_one(version: str) -> None:
    remote = PoolRemote(version)
    other = PoolRemote(version)
    other.fake = remote.fake

    def be_second(request: Request) -> Reply | None:
        if request.method == "POST":
            other.run(other.deployment.ensure_pool("p", 5))
        return None

    remote.interfere = be_second
    assert remote.run(remote.deployment.ensure_pool("p", 5)) is False
    assert remote.sizes() == {"default_pool": 128, "p": 5}


@every_version_with_usage
def test_a_pool_that_is_deleted_between_read_and_write_is_made_again(version: str) -> None:
    remote = PoolRemote(version, {"p": 1})
    first = at("PATCH")

    def delete(request: Request) -> Reply | None:
        if first(request):
            del remote.pools["p"]
        return None

    remote.interfere = delete
    assert remote.run(remote.deployment.ensure_pool("p", 5)) is True
    assert remote.sizes()["p"] == 5


def test_the_attempts_end_if_another_user_undoes_everything() -> None:
    remote = PoolRemote(V2, {"p": 1})
    remote.interfere = lambda request: answer(404, {"detail": "gone"}) if request.method == "PATCH" else None
    with pytest.raises(NotFound):
        remote.run(remote.deployment.ensure_pool("p", 5))


def test_an_update_of_a_pool_that_is_deleted_between_read_and_write_says_so() -> None:
    remote = PoolRemote(V2, {"p": 1})
    remote.interfere = lambda request: answer(404, {"detail": "gone"}) if request.method == "PATCH" else None
    with pytest.raises(NotFound):
        remote.run(remote.deployment.update_pool("p", slots=5))


@every_version
def test_an_update_to_what_is_there_already_writes_nothing(version: str) -> None:
    remote = PoolRemote(version, {"p": 1})
    assert remote.run(remote.deployment.update_pool("p", slots=1, description="")).slots == 1
    assert set(remote.methods()) == {"GET"}
    if version not in (V1_OLDEST, V1_OLD):
        remote.run(remote.deployment.update_pool("p", slots=1, description="new"))
        assert remote.pools["p"].description == "new"


@every_version
def test_an_unknown_pool_is_not_found_whatever_is_to_be_done_to_it(version: str) -> None:
    remote = PoolRemote(version)
    deployment = remote.deployment
    for flow in (deployment.get_pool("p"), deployment.update_pool("p", slots=1), deployment.delete_pool("p")):
        with pytest.raises(NotFound):
            remote.run(flow)
    assert remote.sizes() == {"default_pool": 128}


@every_version
def test_whoever_only_wants_some_pool_takes_the_one_that_is_there(version: str) -> None:
    remote = PoolRemote(version, {"p": 3})
    assert remote.run(remote.deployment.pools.create_if_missing(Pool("p", 5))).slots == 3
    assert remote.run(remote.deployment.pools.create_if_missing(Pool("q", 5))).slots == 5
    assert remote.sizes() == {"default_pool": 128, "p": 3, "q": 5}


@every_version_with_usage
def test_a_pool_that_stood_in_the_way_and_is_gone_again_is_made(version: str) -> None:
    remote = PoolRemote(version, {"p": 3})
    first = at("POST")

    def delete_after(request: Request) -> Reply | None:
        if not first(request):
            return None
        del remote.pools["p"]
        return answer(409, {"detail": "Pool: p already exists"})

    remote.interfere = delete_after
    assert remote.run(remote.deployment.pools.create_if_missing(Pool("p", 5))).slots == 5
    assert remote.methods() == ["POST", "GET", "POST"]


def test_a_pool_that_comes_and_goes_for_ever_is_given_up() -> None:
    remote = PoolRemote(V2)
    remote.interfere = lambda request: answer(409, {"detail": "there"}) if request.method == "POST" else None
    with pytest.raises(Conflict, match="there"):
        remote.run(remote.deployment.pools.create_if_missing(Pool("p", 5)))


# Remove


@every_version_with_usage
def test_a_pool_in_use_is_not_removed_unless_forced(version: str) -> None:
    remote = PoolRemote(version, {"p": {"slots": 3, "occupied": 2}})
    with pytest.raises(PoolIsOccupied, match="2 of the 3 slots of pool 'p' are occupied"):
        remote.run(remote.deployment.pools.delete_if_unused("p"))
    assert "p" in remote.pools
    assert remote.run(remote.deployment.pools.delete_if_unused("p", force=True)) is True
    assert "p" not in remote.pools


@every_version_with_usage
def test_a_pool_that_is_not_there_need_not_be_removed(version: str) -> None:
    remote = PoolRemote(version)
    assert remote.run(remote.deployment.pools.delete_if_unused("p")) is False
    assert remote.methods() == ["GET"]


def test_1_10_does_not_show_whether_a_pool_is_in_use() -> None:
    remote = PoolRemote(EXPERIMENTAL, {"p": 1})
    with pytest.raises(NotSupported, match="cannot show whether slots of a pool are occupied"):
        remote.run(remote.deployment.pools.delete_if_unused("p"))
    assert remote.run(remote.deployment.pools.delete_if_unused("p", force=True)) is True


@every_version
def test_a_removal_whose_reply_was_lost_is_a_removal(version: str) -> None:
    remote = PoolRemote(version, {"p": 1})
    remote.fake.disturb(None, method="DELETE")
    assert remote.run(remote.deployment.pools.delete_if_unused("p", force=True)) is True
    assert "p" not in remote.pools


@every_version
def test_default_pool_is_never_removed(version: str) -> None:
    remote = PoolRemote(version)
    with pytest.raises(InvalidSettings, match="default_pool"):
        remote.run(remote.deployment.pools.delete_if_unused("default_pool", force=True))
    assert remote.requests == []


# Names and sizes


@pytest.mark.parametrize("name", ["", "  ", "x" * 257, "..", "a\nb"])
@every_version
def test_a_name_that_no_pool_can_have_is_refused_before_any_request(version: str, name: str) -> None:
    remote = PoolRemote(version)
    deployment = remote.deployment
    for flow in (deployment.ensure_pool(name, 1), deployment.create_pool(name, 1), deployment.delete_pool(name)):
        with pytest.raises(InvalidSettings, match="pool name"):
            remote.run(flow)
    assert remote.requests == []


@pytest.mark.parametrize("name", ["a b", "100%", "a%2Fb", "a..b", "größe", "池", "a?b&c#d", "x" * 50])
@every_version
def test_any_other_name_is_quoted_and_comes_back_as_it_was(version: str, name: str) -> None:
    remote = PoolRemote(version)
    remote.run(remote.deployment.ensure_pool(name, 1))
    remote.run(remote.deployment.ensure_pool(name, 2))
    assert remote.sizes()[name] == 2
    remote.run(remote.deployment.delete_pool(name))
    assert name not in remote.pools


@pytest.mark.parametrize("name", ["a/b", "/a", "a/", "a//b"])
@every_version
def test_a_name_with_a_slash_is_for_airflow_3_alone(version: str, name: str) -> None:
    remote = PoolRemote(version)
    deployment = remote.deployment
    flows = [deployment.ensure_pool(name, 1), deployment.update_pool(name, slots=2), deployment.delete_pool(name)]
    if version.startswith("3."):
        for flow in flows:
            remote.run(flow)
        assert remote.methods() == ["GET", "POST", "GET", "PATCH", "DELETE"]
        return
    for flow in flows:
        with pytest.raises(InvalidSettings, match="no Airflow API can address"):
            remote.run(flow)
    assert remote.requests == []


def test_1_10_has_room_for_fifty_characters_of_a_name() -> None:
    remote = PoolRemote(EXPERIMENTAL)
    with pytest.raises(InvalidSettings, match="51 characters long; Airflow stores 50"):
        remote.run(remote.deployment.create_pool("x" * 51, 1))


@pytest.mark.parametrize("slots", [-5, -2, 2**31, "many", 1.5, True])
@every_version
def test_what_is_no_size_is_refused_before_any_request(version: str, slots: Any) -> None:
    remote = PoolRemote(version)
    deployment = remote.deployment
    for make in (deployment.ensure_pool, deployment.create_pool, deployment.update_pool):
        with pytest.raises(InvalidSettings, match="must be a whole number"):
            remote.run(make("p", slots=slots))
    assert remote.requests == []


@every_version
def test_a_pool_may_be_closed_and_as_large_as_the_database_can_store(version: str) -> None:
    remote = PoolRemote(version)
    for slots in (0, 2**31 - 1):
        remote.run(remote.deployment.ensure_pool("p", slots))
        assert remote.run(remote.deployment.get_pool("p")).slots == slots


@every_version
def test_what_a_generation_does_not_show_of_a_pool_is_none(version: str) -> None:
    remote = PoolRemote(version, {"p": {"slots": 3, "occupied": 1, "include_deferred": True}})
    pool = remote.run(remote.deployment.get_pool("p"))
    unknown = {name for name, value in pool.as_dict().items() if value is None}
    assert ("occupied_slots" in unknown) is ("open_slots" in unknown) is (version == EXPERIMENTAL)
    assert ("include_deferred" in unknown) is (version in (EXPERIMENTAL, V1_OLDEST, V1_OLD))


@pytest.mark.parametrize("version", [EXPERIMENTAL, "3.1.8", V2])
def test_unlimited_is_a_size_where_the_remote_can_have_it(version: str) -> None:
    remote = PoolRemote(version)
    remote.run(remote.deployment.ensure_pool("p", -1))
    assert remote.run(remote.deployment.get_pool("p")).slots == -1


@pytest.mark.parametrize("version", [V1_OLDEST, V1, V2_OLDEST, "3.1.7"])
def test_unlimited_is_refused_where_it_breaks_the_remote(version: str) -> None:
    remote = PoolRemote(version, {"p": 1})
    for name in ("p", "q"):
        with pytest.raises(NotSupported, match="Its list of pools fails"):
            remote.run(remote.deployment.ensure_pool(name, -1))
    assert set(remote.methods()) == {"GET"}


@pytest.mark.parametrize(
    ("version", "possible"), [(V1_OLD, False), (EXPERIMENTAL, False), ("3.1.8", False), (V2, True)]
)
def test_a_pool_is_given_to_a_team_where_there_are_teams(version: str, possible: bool) -> None:
    remote = PoolRemote(version)
    flow = remote.deployment.pools.ensure(Pool("p", 1, team_name="t"))
    if possible:
        remote.run(flow)
        assert remote.pools["p"].team_name == "t"
        return
    with pytest.raises(NotSupported, match="give a pool to a team"):
        remote.run(flow)


def test_airflow_3_keeps_the_description_of_default_pool() -> None:
    remote = PoolRemote(V2)
    with pytest.raises(NotSupported, match="default_pool"):
        remote.run(remote.deployment.update_pool("default_pool", description="mine"))
    remote.run(remote.deployment.update_pool("default_pool", slots=64, include_deferred=True))
    assert remote.sizes() == {"default_pool": 64}


@every_version_with_usage
def test_missing_rights_name_the_operation_and_the_least_role(version: str) -> None:
    remote = PoolRemote(version, {"q": 1})
    remote.interfere = lambda request: None if request.method == "GET" else answer(403, {"detail": "Forbidden"})
    deployment = remote.deployment
    flows: dict[str, Flow[Any]] = {
        "create pool 'p'": deployment.ensure_pool("p", 1),
        "update pool 'q'": deployment.update_pool("q", slots=2),
        "delete pool 'q'": deployment.pools.delete_if_unused("q"),
    }
    for action, flow in flows.items():
        with pytest.raises(AccessDenied, match=rf"Could not {action}: .*Op is the least"):
            remote.run(flow)
    assert remote.sizes() == {"default_pool": 128, "q": 1}


def test_a_delete_answered_by_an_empty_page_is_a_deletion() -> None:
    remote = PoolRemote(V2, {"p": 1})
    remote.interfere = lambda request: Response(204) if request.method == "DELETE" else None
    remote.run(remote.deployment.delete_pool("p"))
    assert remote.methods().count("DELETE") == 1
