"""What is changed for a while is put back as it was, and changes by others in between are not overwritten."""

from __future__ import annotations

import json
from typing import Any

import pytest

from astronomer_remote.api.pools.loans import Loan
from astronomer_remote.api.protocol.errors import Conflict, InvalidSettings, NotFound, NotSupported, PoolIsOccupied
from astronomer_remote.api.protocol.models import Pool
from tests.api.pool_remote import PoolRemote
from tests.api.script import EXPERIMENTAL, V1, V2, V2_OLDEST, VERSIONS

every_version = pytest.mark.parametrize("version", VERSIONS)


def record(remote: PoolRemote, slots: int = 9, name: str = "p", **options: Any) -> Loan:
    description = options.pop("description", None)
    found = remote.run(remote.deployment.loans.record(Pool(name, slots, description=description), **options))
    assert {request.method for request in remote.requests} == {"GET"}, "noting changes nothing"
    # It crosses a database.
    return Loan.from_dict(json.loads(json.dumps(found.as_dict())))


def take(remote: PoolRemote, loan: Loan) -> bool:
    return remote.run(remote.deployment.loans.take(loan))


def give_back(remote: PoolRemote, loan: Loan, **options: Any) -> str:
    return remote.run(remote.deployment.loans.give_back(loan, **options))


@every_version
def test_a_pool_is_changed_and_put_back(version: str) -> None:
    remote = PoolRemote(version, {"p": 5})
    loan = record(remote)
    assert take(remote, loan) is True
    assert remote.sizes()["p"] == 9
    assert give_back(remote, loan) == "It is put back: pool 'p' (5 slots before, 9 slots for a while)"
    assert remote.sizes()["p"] == 5


@every_version
def test_a_pool_is_made_and_deleted(version: str) -> None:
    remote = PoolRemote(version)
    loan = record(remote, temporary=True, force=True)
    assert take(remote, loan) is True
    assert remote.sizes()["p"] == 9
    assert "put back" in give_back(remote, loan)
    assert "p" not in remote.pools


@pytest.mark.parametrize("temporary", [False, True])
@every_version
def test_whoever_dies_in_between_does_no_harm(version: str, temporary: bool) -> None:
    remote = PoolRemote(version, {} if temporary else {"p": 5})
    before = remote.sizes()
    loan = record(remote, temporary=temporary, force=True)
    assert "is as it was" in give_back(remote, loan), "nothing was changed yet"
    take(remote, loan)
    assert take(remote, loan) is False, "a retry"
    give_back(remote, loan)
    assert "is as it was" in give_back(remote, loan), "a retry"
    assert remote.sizes() == before


@every_version
def test_changes_by_others_meanwhile_are_not_overwritten(version: str) -> None:
    remote = PoolRemote(version, {"p": 5})
    loan = record(remote)
    take(remote, loan)
    remote.pools["p"].slots = 7
    with pytest.raises(
        Conflict, match=r"Another task or user changed pool 'p' \(5 .*It is now 7 slots, and stays like that"
    ):
        give_back(remote, loan)
    assert "stays as it is" in give_back(remote, loan, if_changed="keep")
    assert remote.sizes()["p"] == 7
    assert "put back" in give_back(remote, loan, if_changed="restore")
    assert remote.sizes()["p"] == 5


@every_version
def test_a_pool_that_was_deleted_meanwhile_comes_back_only_if_configured(version: str) -> None:
    remote = PoolRemote(version, {"p": {"slots": 5, "description": "d"}})
    loan = record(remote)
    take(remote, loan)
    del remote.pools["p"]
    with pytest.raises(Conflict, match="It is now missing"):
        give_back(remote, loan)
    if version in ("2.0.2", "2.2.5"):
        return
    give_back(remote, loan, if_changed="restore")
    assert (remote.pools["p"].slots, remote.pools["p"].description) == (5, "d")


def test_other_fields_are_not_part_of_it() -> None:
    remote = PoolRemote(V2, {"p": {"slots": 5, "description": "old"}})
    loan = record(remote)
    take(remote, loan)
    remote.pools["p"].description = "new"
    give_back(remote, loan)
    assert (remote.pools["p"].slots, remote.pools["p"].description) == (5, "new")


@every_version
def test_what_was_changed_between_noting_and_changing_is_left_alone(version: str) -> None:
    remote = PoolRemote(version, {"p": 5})
    loan = record(remote)
    remote.pools["p"].slots = 6
    with pytest.raises(Conflict, match="It is now 6 slots"):
        take(remote, loan)
    assert remote.sizes()["p"] == 6


def test_a_temporary_pool_that_was_changed_is_not_deleted() -> None:
    remote = PoolRemote(V2)
    loan = record(remote, temporary=True, description="for tonight")
    take(remote, loan)
    remote.pools["p"].description = "mine now"
    with pytest.raises(Conflict, match="It is now 9 slots"):
        give_back(remote, loan)
    give_back(remote, loan, if_changed="restore")
    assert "p" not in remote.pools


def test_a_temporary_pool_in_use_is_deleted_later_or_by_force() -> None:
    remote = PoolRemote(V1)
    loan = record(remote, temporary=True)
    take(remote, loan)
    remote.pools["p"].occupied = 1
    with pytest.raises(PoolIsOccupied):
        give_back(remote, loan)
    give_back(remote, Loan(None, loan.during, force=True))
    assert "p" not in remote.pools


def test_what_cannot_work_is_refused_before_anything_changes() -> None:
    remote = PoolRemote(V2, {"p": 5})
    with pytest.raises(Conflict, match="has a pool 'p' already"):
        record(remote, temporary=True)
    with pytest.raises(NotFound, match="no pool 'q' to borrow slots in"):
        record(remote, name="q")
    with pytest.raises(InvalidSettings):
        record(remote, -5)
    older = PoolRemote(V2_OLDEST, {"p": 5})
    for temporary, name in ((False, "p"), (True, "q")):
        with pytest.raises(NotSupported, match="unlimited"):
            record(older, -1, name, temporary=temporary)
    with pytest.raises(NotSupported, match="cannot show whether slots"):
        record(PoolRemote(EXPERIMENTAL), temporary=True)


def test_a_pool_that_has_its_size_for_the_while_already_is_taken_for_changed_only_if_it_was_noted_before() -> None:
    remote = PoolRemote(V2, {"p": 9})
    assert record(remote).before == Pool("p", 9, description="", include_deferred=False)
    with pytest.raises(Conflict, match="Give it its own size back first"):
        record(remote, recorded_before=True)
    assert record(remote, 8, recorded_before=True).during == Pool("p", 8)


def test_a_loan_says_what_it_is() -> None:
    assert str(Loan(None, Pool("p", 3))) == "pool 'p' (not there before, 3 slots for a while)"


def test_a_description_that_is_too_long_to_be_put_back_is_refused_before_anything_is_changed() -> None:
    remote = PoolRemote(V2, {"p": 5})
    remote.pools["p"].description = "x" * 8192
    assert record(remote).before == Pool("p", 5, description="x" * 8192, include_deferred=False)
    remote.pools["p"].description = "x" * 8193
    with pytest.raises(NotSupported, match=r"has 8193 characters, and 8192 are the most"):
        record(remote)
