"""What is waited for in a pool, and when the wait is over. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import InvalidSettings, NotFound
from astronomer_remote.api.protocol.models import LARGEST_POOL, Pool
from astronomer_remote.api.waiting.target import Target


@dataclass(frozen=True)
class PoolTarget(Target):
    """
    What is waited for in a pool; plain JSON, so that it survives a deferral.

    :param pool: its name.
    :param slots: how many of its slots must be open.
    :param empty: whether none of them may be occupied, instead.
    """

    pool: str
    slots: int = 1
    empty: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.slots, int) or isinstance(self.slots, bool) or not 1 <= self.slots <= LARGEST_POOL:
            raise InvalidSettings(f"slots={self.slots!r} to wait for must be a whole number from 1 to {LARGEST_POOL}.")

    def __str__(self) -> str:
        return f"{'no occupied slots' if self.empty else f'{self.slots} open slots'} in pool {self.pool!r}"

    def is_met_by(self, pool: Pool) -> bool:
        """Whether a pool has enough open slots by all its numbers; if they contradict each other, it has not."""
        if self.empty:
            return pool.occupied_slots == 0
        if pool.open_slots is None or pool.occupied_slots is None:
            return False
        if pool.unlimited:
            # Airflow counts -1 open slots then.
            return pool.open_slots < 0
        return min(pool.open_slots, pool.slots - pool.occupied_slots) >= self.slots

    def among(self, pools: Mapping[str, Pool]) -> Pool:
        """The pool that is meant. :raises NotFound: if it is not there."""
        if self.pool not in pools:
            raise NotFound(f"The remote has no pool {self.pool!r}, or does not show it to this account.")
        return pools[self.pool]

    def summary(self, pool: Pool) -> str:
        """The pool's slots and the target, for a log line."""
        size, free = ("unlimited", "any number") if pool.unlimited else (pool.slots, pool.open_slots)
        target = "none occupied" if self.empty else f"{self.slots} open"
        line = f"Pool {pool.name!r}: {pool.occupied_slots} of {size} slots occupied, {free} open; {target} needed"
        too_large = not self.empty and not pool.unlimited and pool.slots < self.slots
        return untrusted.readable(f"{line}, which is more than it has" if too_large else line)
