"""Flows about pools: get, list, create, ensure, update, delete."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from astronomer_remote.api.client.client import Client, one_retry_budget
from astronomer_remote.api.dialects.base import Dialect, Operation, Page
from astronomer_remote.api.pools.diff import check_slots, compare
from astronomer_remote.api.protocol.errors import (
    Conflict,
    InvalidSettings,
    NotFound,
    PoolIsOccupied,
    TransientError,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.api.protocol.pool_changes import DEFAULT_POOL, PoolChange

FORCE_HINT = "Delete it with force if that does not matter."

ATTEMPTS = 3
"""How often a pool may change between reading and writing it before this fails."""


class Pools:
    """Pools of one deployment."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list_all(self, *, with_usage: bool = False) -> Flow[list[Pool]]:
        """
        List every pool.

        :param with_usage: whether occupied and open slots are needed.
        :raises NotSupported: on 1.10, which has no usage.
        """
        dialect = yield from self._client.dialect()
        if with_usage:
            require_usage(dialect)

        def page(offset: int, limit: int) -> Operation[Page[Pool]]:
            return dialect.pools(offset=offset, limit=limit)

        return (yield from self._client.paginate(page, lambda pool: pool.name))

    def get(self, name: str, *, with_usage: bool = False) -> Flow[Pool]:
        """
        Read one pool.

        :param with_usage: whether occupied and open slots are needed.
        :raises NotFound: if there is none.
        :raises NotSupported: on 1.10, which has no usage.
        """
        dialect = yield from self._client.dialect()
        if with_usage:
            require_usage(dialect)
        return (yield from self._client.request(dialect.pool(name)))

    def get_or_none(self, name: str) -> Flow[Pool | None]:
        """Read one pool, or ``None`` if there is none."""
        try:
            return (yield from self.get(name))
        except NotFound:
            return None

    @one_retry_budget
    def create(self, pool: Pool, *, retrying: bool = False) -> Flow[Pool]:
        """
        Create a pool, once however often its request or reply is lost on the way.

        :param retrying: whether this is a further attempt for the same intent, so that an existing pool that is as
            requested was made by an earlier attempt.
        :raises Conflict: if there is one of this name.
        """
        check_slots(pool.slots)
        dialect = yield from self._client.dialect()
        operation = dialect.create_pool(pool)
        if dialect.overwrites_pools and (there := (yield from self._get_own(pool, ours=retrying))):
            return there
        uncertain = retrying
        while True:
            try:
                return (yield from self._client.request(operation))
            except (Conflict, TransientError) as error:
                failure = error
            uncertain = uncertain or isinstance(failure, TransientError)
            if uncertain and (there := (yield from self._get_own(pool, ours=True))):
                return there
            if isinstance(failure, Conflict):
                raise failure
            yield from self._client.back_off(failure)

    def _get_own(self, pool: Pool, *, ours: bool) -> Flow[Pool | None]:
        """
        Read a pool that was to be created, if it is there.

        :param ours: whether one that is as requested may be the result of our own request.
        :raises Conflict: if one is there that is not ours.
        """
        there = yield from self.get_or_none(pool.name)
        if there and not (ours and compare(there, pool) is None):
            raise Conflict(f"The remote has a pool {pool.name!r} already, of {there.slots} slots.")
        return there

    def update(
        self,
        name: str,
        *,
        slots: int | None = None,
        description: str | None = None,
        include_deferred: bool | None = None,
    ) -> Flow[Pool]:
        """Change what is given of a pool, and nothing else."""
        if slots is not None:
            check_slots(slots)
        given = {"slots": slots, "description": description, "include_deferred": include_deferred}
        changed = {key: value for key, value in given.items() if value is not None}
        if not changed:
            raise InvalidSettings("Name at least one of slots, description and include_deferred to change.")
        dialect = yield from self._client.dialect()
        current = yield from self.get(name)
        target = replace(current, **changed)  # type: ignore[arg-type]  # mypy sees one type for all fields
        # What the generation cannot do is refused, even if there is nothing to do.
        dialect.update_pool(target, frozenset(changed))
        change = compare(current, target)
        if change is None:
            return current
        return (yield from self._client.request(dialect.update_pool(target, frozenset(change.fields))))

    @one_retry_budget
    def create_if_missing(self, pool: Pool) -> Flow[Pool]:
        """Create a pool if there is none of its name; an existing one stays as it is."""
        for _ in range(ATTEMPTS):
            try:
                return (yield from self.create(pool))
            except Conflict as error:
                failure = error
            # It may be deleted again before it is read.
            if there := (yield from self.get_or_none(pool.name)):
                return there
        raise failure

    @one_retry_budget
    def ensure(self, pool: Pool) -> Flow[PoolChange | None]:
        """
        Create a pool or change it, so that it is as requested.

        :param pool: the pool as it will be; ``None`` in a field leaves it as it is.
        :return: what was changed, ``None`` if nothing was.
        """
        check_slots(pool.slots)
        for _ in range(ATTEMPTS):
            change = compare((yield from self.get_or_none(pool.name)), pool)
            if change is None:
                return None
            try:
                yield from self.apply(change)
            except (Conflict, NotFound) as error:
                # It was created or deleted since it was read.
                failure = error
            else:
                return change
        raise failure

    @one_retry_budget
    def apply(self, change: PoolChange) -> Flow[None]:
        """
        Carry out a change that was found necessary.

        :raises Conflict: if a pool to be created is there meanwhile.
        :raises NotFound: if a pool to be updated is gone meanwhile.
        """
        if change.after is None:
            yield from self._delete_if_there(change.name)
        elif change.before is None:
            yield from self.create(change.after)
        else:
            dialect = yield from self._client.dialect()
            yield from self._client.request(dialect.update_pool(change.after, frozenset(change.fields)))

    @one_retry_budget
    def delete(self, name: str) -> Flow[None]:
        """Delete a pool, even if tasks hold slots of it. :raises NotFound: if there is none."""
        dialect = yield from self._client.dialect()
        check_deletable(name)
        yield from self._client.request(dialect.delete_pool(name))

    @one_retry_budget
    def delete_if_unused(self, name: str, *, force: bool = False) -> Flow[bool]:
        """
        Delete a pool that no task uses, if there is one.

        :param force: delete it even if tasks hold slots of it.
        :return: whether it was there.
        :raises PoolIsOccupied: if tasks hold slots of it.
        :raises NotSupported: on 1.10, which does not report that, unless forced.
        """
        check_deletable(name)
        dialect = yield from self._client.dialect()
        if not force:
            require_usage(dialect, FORCE_HINT)
        pool = yield from self.get_or_none(name)
        if pool is None:
            return False
        if pool.occupied_slots is None and not force:
            raise UnexpectedReply(
                f"The remote does not report how many slots of pool {name!r} are occupied, so that it is not deleted. "
                f"{FORCE_HINT}"
            )
        if pool.occupied_slots and not force:
            raise PoolIsOccupied(
                f"{pool.occupied_slots} of the {pool.slots} slots of pool {name!r} are occupied. Wait for its tasks to "
                "end, or delete it with force: what waits for a slot of it then never runs."
            )
        yield from self._delete_if_there(name)
        return True

    def _delete_if_there(self, name: str) -> Flow[None]:
        """Delete a pool that may be gone already, for example if the reply to an earlier request was lost."""
        with suppress(NotFound):
            yield from self.delete(name)


def require_usage(dialect: Dialect, instead: str = "") -> None:
    """:raises NotSupported: on 1.10, which does not report how many slots of a pool are occupied."""
    if not dialect.has_pool_usage:
        raise dialect.cannot("show whether slots of a pool are occupied", instead)


def check_deletable(name: str) -> None:
    """:raises InvalidSettings: for the pool that Airflow needs."""
    if name == DEFAULT_POOL:
        raise InvalidSettings("Airflow does not allow deleting default_pool.")
