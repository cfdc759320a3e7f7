"""Makes a remote's pools match a declaration."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.dialects.base import Dialect
from astronomer_remote.api.pools.diff import (
    DONE,
    FAILED,
    LEFT,
    OCCUPIED,
    PoolPlan,
    check_fields,
    check_slots,
    enumerated,
    plan,
)
from astronomer_remote.api.pools.pools import FORCE_HINT, Pools, require_usage
from astronomer_remote.api.protocol.errors import Conflict, NotFound, RemoteError, RequestRefused
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.api.protocol.pool_changes import CREATE, DELETE, FIELDS, PoolChange, PoolsChanged

CHANGES_AT_ONCE = 100
"""How many pools one request changes at most, where it can change several: it must end before a proxy gives it up."""


MOST_CHANGES_NAMED = 20
"""How many changes of each outcome an error names."""


@dataclass
class SyncProgress:
    """
    How far a synchronisation has come.

    :param plan: what there is to do.
    :param outcomes: what has become of each change, by pool.
    """

    plan: PoolPlan
    outcomes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outcomes = {change.name: LEFT for change in self.plan.changes}

    def mark(self, outcome: str, changes: Iterable[PoolChange]) -> None:
        """Record the outcome of changes."""
        self.outcomes.update({change.name: outcome for change in changes})

    def summary(self) -> str:
        """Exactly what was done and what was not."""
        parts = []
        for outcome in (DONE, FAILED, LEFT, OCCUPIED):
            changes = [str(change) for change in self.plan.changes if self.outcomes[change.name] == outcome]
            if changes:
                parts.append(f"{outcome}: {enumerated(changes, MOST_CHANGES_NAMED)}")
        return "; ".join(parts)


class PoolSync:
    """Makes a remote's pools match a declaration."""

    def __init__(self, client: Client, pools: Pools) -> None:
        self._client = client
        self._pools = pools

    def plan(
        self,
        declared: Collection[Pool],
        *,
        prune: bool = False,
        force: bool = False,
        fields: Collection[str] = FIELDS,
    ) -> Flow[PoolPlan]:
        """
        Find out what has to change, and change nothing.

        :param declared: pools as they will be.
        :param prune: whether pools that are not declared are deleted.
        :param force: whether they are even if tasks hold slots of them.
        :param fields: what to bring in line.
        :raises NotSupported: naming every pool that the remote cannot have as declared.
        """
        check_fields(fields)
        dialect = yield from self._client.dialect()

        def reachable(name: str) -> bool:
            return not _refusals(dialect, [PoolChange(DELETE, name)])

        current = yield from self._pools.list_all()
        # 1.10 does not report occupied slots: there, deletions are refused below rather than left out.
        blind = force or not dialect.has_pool_usage
        found = plan(current, declared, prune=prune, force=blind, fields=fields, reachable=reachable)
        refusals = _refusals(dialect, found.changes)
        if refusals:
            raise type(refusals[0])("; ".join(error.message for error in refusals))
        if not force and any(change.action == DELETE for change in found.changes):
            require_usage(dialect, FORCE_HINT)
        return found

    def apply(
        self, found: PoolPlan, *, force: bool = False, progress: SyncProgress | None = None
    ) -> Flow[SyncProgress]:
        """
        Carry out a plan, up to the first failure.

        :param force: whether pools are deleted even if tasks hold slots of them.
        :param progress: where to record what was done, so that it is known after a failure, too.
        :raises RemoteError: the failure, with what was done and what was not. Running it again finishes the job.
        """
        progress = progress or SyncProgress(found)
        try:
            # Changes that take slots away are not sent together with those that add some, which may fail.
            for (deletions, _), part in groupby(found.changes, lambda change: change.phase):
                changes = list(part)
                if deletions and not force:
                    changes = yield from self._still_free(changes, progress)
                for start in range(0, len(changes), CHANGES_AT_ONCE):
                    yield from self._carry_out(changes[start:][:CHANGES_AT_ONCE], progress)
        except RemoteError as error:
            error.message = f"{error.message} Of the changes of pools: {progress.summary()}. Run it again to finish."
            raise
        return progress

    def _still_free(self, changes: Sequence[PoolChange], progress: SyncProgress) -> Flow[list[PoolChange]]:
        """Of pools to be deleted those that no task has moved into since they were listed."""
        there = {pool.name: pool for pool in (yield from self._pools.list_all())}
        occupied = set()
        for name in (change.name for change in changes):
            # One that is not in the listing may be gone, or may not have been readable there.
            pool = there.get(name) or (yield from self._pools.get_or_none(name))
            # Unknown counts as occupied.
            if pool is not None and pool.occupied_slots != 0:
                occupied.add(name)
        progress.mark(OCCUPIED, [change for change in changes if change.name in occupied])
        return [change for change in changes if change.name not in occupied]

    def _carry_out(self, batch: Sequence[PoolChange], progress: SyncProgress) -> Flow[None]:
        dialect = yield from self._client.dialect()
        operation = dialect.change_pools(batch) if len(batch) > 1 else None
        left = batch
        if operation:
            progress.mark(FAILED, batch)
            try:
                changed = yield from self._client.request(operation)
            except Conflict:
                # One of them was created at this very moment, and the remote rolled all of it back.
                changed = PoolsChanged(frozenset())
            left = [change for change in batch if change.name not in changed.done]
            progress.mark(DONE, [change for change in batch if change.name in changed.done])
            if changed.errors:
                raise RequestRefused(f"The remote refused to change pools: {'; '.join(changed.errors)}.")
        # What was neither changed nor refused at once was created or deleted meanwhile.
        progress.mark(LEFT, left)
        for change in left:
            progress.mark(FAILED, [change])
            yield from self._carry_out_one(change)
            progress.mark(DONE, [change])

    def _carry_out_one(self, change: PoolChange) -> Flow[None]:
        if change.after is None:
            yield from self._pools.apply(change)
            return
        try:
            yield from self._pools.apply(change)
        except (Conflict, NotFound):
            # It was created or deleted since it was listed.
            yield from self._pools.ensure(change.after)


def _refusals(dialect: Dialect, changes: Iterable[PoolChange]) -> list[RemoteError]:
    """Why the remote cannot make some changes, found out without a request."""
    refusals = []
    for change in changes:
        try:
            if change.after is None:
                dialect.delete_pool(change.name)
                continue
            check_slots(change.after.slots)
            if change.action == CREATE:
                dialect.create_pool(change.after)
            else:
                dialect.update_pool(change.after, frozenset(change.fields))
        except RemoteError as error:
            error.message = f"Pool {change.name!r}: {error.message}"
            refusals.append(error)
    return refusals
