"""What a deployment can be asked for about its pools, as the hook has it."""

from __future__ import annotations

from astronomer_remote.api.pools.pools import Pools
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import Pool


class PoolOperations:
    """The part of a deployment that is about pools."""

    pools: Pools

    def list_pools(self) -> Flow[list[Pool]]:
        """List every pool."""
        return (yield from self.pools.all())

    def get_pool(self, name: str) -> Flow[Pool]:
        """Read one pool. :raises NotFound: if there is none."""
        return (yield from self.pools.get(name))

    def create_pool(
        self, name: str, slots: int, *, description: str | None = None, include_deferred: bool | None = None
    ) -> Flow[Pool]:
        """
        Create a pool.

        :param slots: its size, -1 for unlimited (1.10 and Airflow 3.1.8 and later).
        :param include_deferred: whether deferred tasks hold slots; Airflow 2.7 and later.
        :raises Conflict: if there is one of this name.
        """
        pool = Pool(name, slots, description=description, include_deferred=include_deferred)
        return (yield from self.pools.create(pool))

    def update_pool(
        self,
        name: str,
        *,
        slots: int | None = None,
        description: str | None = None,
        include_deferred: bool | None = None,
    ) -> Flow[Pool]:
        """Change what is given of a pool, and nothing else. :raises NotFound: if there is none."""
        return (
            yield from self.pools.update(name, slots=slots, description=description, include_deferred=include_deferred)
        )

    def ensure_pool(
        self, name: str, slots: int, *, description: str | None = None, include_deferred: bool | None = None
    ) -> Flow[bool]:
        """
        Create a pool, or change it where it differs.

        :param description: ``None`` leaves it as it is; so with the next one.
        :return: whether anything was changed.
        """
        pool = Pool(name, slots, description=description, include_deferred=include_deferred)
        return (yield from self.pools.ensure(pool)) is not None

    def delete_pool(self, name: str) -> Flow[None]:
        """Delete a pool, even one with occupied slots. :raises NotFound: if there is none."""
        yield from self.pools.delete(name)
