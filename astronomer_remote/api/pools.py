"""Conversations about pools."""

from __future__ import annotations

from dataclasses import replace

from astronomer_remote.api.conversation import Conversation
from astronomer_remote.api.errors import InvalidSettings
from astronomer_remote.api.models import Pool
from astronomer_remote.api.wire import Flow

LARGEST_POOL = 2**31 - 1
"""What fits Airflow's database column."""


class Pools:
    """Pools of one deployment."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def all(self) -> Flow[list[Pool]]:
        """List every pool."""
        dialect = yield from self._conversation.dialect()
        return (yield from self._conversation.ask_all(lambda offset: dialect.pools(offset=offset)))

    def get(self, name: str) -> Flow[Pool]:
        """Read one pool. :raises NotFound: if there is none."""
        dialect = yield from self._conversation.dialect()
        return (yield from self._conversation.ask(dialect.pool(name)))

    def create(self, pool: Pool) -> Flow[Pool]:
        """Create a pool. :raises Conflict: if there is one of this name."""
        _check_slots(pool.slots)
        dialect = yield from self._conversation.dialect()
        return (yield from self._conversation.ask(dialect.create_pool(pool)))

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
            _check_slots(slots)
        given = {"slots": slots, "description": description, "include_deferred": include_deferred}
        changed = {key: value for key, value in given.items() if value is not None}
        if not changed:
            raise InvalidSettings("Name at least one of slots, description and include_deferred to change.")
        dialect = yield from self._conversation.dialect()
        current = yield from self.get(name)
        wanted = replace(current, **changed)  # type: ignore[arg-type]  # mypy sees one type for all fields
        return (yield from self._conversation.ask(dialect.update_pool(wanted, frozenset(changed))))

    def delete(self, name: str) -> Flow[None]:
        """Delete a pool. :raises NotFound: if there is none."""
        if name == "default_pool":
            raise InvalidSettings("Airflow does not let anybody delete default_pool.")
        dialect = yield from self._conversation.dialect()
        yield from self._conversation.ask(dialect.delete_pool(name))


def _check_slots(slots: object) -> None:
    if not isinstance(slots, int) or isinstance(slots, bool) or not -1 <= slots <= LARGEST_POOL:
        raise InvalidSettings(f"slots={slots!r} must be a whole number from 0 to {LARGEST_POOL}, or -1 for unlimited.")
