"""Changes a pool for a while and puts it back as it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from astronomer_remote.api.client.client import Client, one_retry_budget
from astronomer_remote.api.pools.diff import check_slots, compare, row
from astronomer_remote.api.pools.pools import FORCE_HINT, Pools, require_usage
from astronomer_remote.api.protocol.errors import Conflict, NotFound, NotSupported
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.api.protocol.pool_changes import FIELDS

LONGEST_DESCRIPTION = 8192
"""Characters of a pool's description that are noted, to be put back."""

IF_CHANGED = ("fail", "keep", "restore")


@dataclass(frozen=True)
class Loan:
    """
    What is changed for a while; plain JSON, so that it survives whoever changes it.

    :param before: the pool as it was, ``None`` if there was none.
    :param during: the pool as it is in the meantime.
    :param force: whether a temporary pool is deleted even if tasks hold slots of it.
    """

    before: Pool | None
    during: Pool
    force: bool = False

    def as_dict(self) -> dict[str, Any]:
        """
        Plain JSON, as it goes to XCom.

        :raises NotSupported: for a pool whose description is too long to be handed on; a cut one could not be put back.
        """
        before = row(self.before) if self.before else None
        length = len(str(before["description"])) if before and before.get("description") else 0
        if length > LONGEST_DESCRIPTION:
            raise NotSupported(
                f"The description of pool {self.during.name!r} has {length} characters, and {LONGEST_DESCRIPTION} are "
                "the most that are noted. Shorten it in the remote."
            )
        return {"pool": self.during.name, "before": before, "during": row(self.during), "force": self.force}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Loan:
        """The inverse of :meth:`as_dict`."""
        name, before = data["pool"], data["before"]
        was = Pool(name, **before) if before is not None else None
        return cls(was, Pool(name, **data["during"]), data["force"])

    def describes(self, there: Pool | None, then: Pool | None) -> bool:
        """Whether a pool is as it is described; of one that is only changed, its size counts."""
        if there is None or then is None:
            return there is then
        return compare(there, then, FIELDS if self.before is None else ("slots",)) is None

    def __str__(self) -> str:
        before = f"{self.before.slots} slots" if self.before else "not there"
        return f"pool {self.during.name!r} ({before} before, {self.during.slots} slots for a while)"


class Loans:
    """Changes for a while of one deployment's pools."""

    def __init__(self, client: Client, pools: Pools) -> None:
        self._client = client
        self._pools = pools

    @one_retry_budget
    def record(
        self, target: Pool, *, temporary: bool = False, force: bool = False, recorded_before: bool = False
    ) -> Flow[Loan]:
        """
        Record how a pool is before it is changed, and change nothing.

        :param target: the pool as it is for a while; of one that is not temporary, its size counts.
        :param temporary: whether the pool is to be made, and deleted afterwards, instead of changed.
        :param force: whether a temporary pool is deleted even if tasks hold slots of it.
        :param recorded_before: whether it was recorded before, and that record is lost: a pool that is changed already
            is not taken for one that has always been like this.
        :raises Conflict: if a temporary pool is there already, or one seems to be changed already.
        :raises NotFound: if a pool to be changed is not there.
        """
        check_slots(target.slots)
        dialect = yield from self._client.dialect()
        there = yield from self._pools.get_or_none(target.name)
        if temporary:
            if there:
                raise Conflict(f"The remote has a pool {target.name!r} already; a temporary one would be deleted.")
            if not force:
                require_usage(dialect, FORCE_HINT)
            dialect.create_pool(target)
            return Loan(None, target, force)
        if there is None:
            raise NotFound(f"The remote has no pool {target.name!r} to borrow slots in.")
        if recorded_before and there.slots == target.slots:
            raise Conflict(
                f"Pool {target.name!r} has {target.slots} slots already, maybe since they were borrowed before this "
                "task was cleared: what it had before is not known any more. Give it its own size back first."
            )
        dialect.update_pool(replace(there, slots=target.slots), frozenset({"slots"}))
        return Loan(Pool(there.name, **row(there)), Pool(there.name, target.slots))

    @one_retry_budget
    def take(self, loan: Loan) -> Flow[bool]:
        """
        Change a pool as recorded.

        :return: whether it had to be changed; a retry finds what the attempt before did.
        :raises Conflict: if another task or user has changed it since.
        """
        target = loan.during
        there = yield from self._pools.get_or_none(target.name)
        if loan.describes(there, target):
            return False
        if not loan.describes(there, loan.before):
            raise _changed(loan, there)
        if loan.before is None:
            yield from self._pools.create(target, retrying=True)
        else:
            yield from self._pools.update(target.name, slots=target.slots)
        return True

    @one_retry_budget
    def give_back(self, loan: Loan, *, if_changed: str = "fail") -> Flow[str]:
        """
        Put a pool back as it was.

        :param if_changed: what to do if another task or user has changed it meanwhile: ``fail``, ``keep`` (leave it) or
            ``restore`` (put it back all the same).
        :return: what was done, for a log line.
        :raises Conflict: if another task or user has changed it meanwhile.
        :raises PoolIsOccupied: if tasks hold slots of a temporary pool.
        """
        before = loan.before
        there = yield from self._pools.get_or_none(loan.during.name)
        if loan.describes(there, before):
            return f"It is as it was: {loan}"
        if not loan.describes(there, loan.during):
            if if_changed == "fail":
                raise _changed(loan, there)
            if if_changed == "keep":
                return f"Another task or user changed it, so it stays as it is: {loan}"
        if before is None:
            yield from self._pools.delete_if_unused(loan.during.name, force=loan.force)
        elif there is None:
            yield from self._pools.ensure(before)
        else:
            yield from self._pools.update(before.name, slots=before.slots)
        return f"It is put back: {loan}"


def _changed(loan: Loan, there: Pool | None) -> Conflict:
    now = f"{there.slots} slots" if there else "missing"
    return Conflict(f"Another task or user changed {loan}. It is now {now}, and stays like that.")
