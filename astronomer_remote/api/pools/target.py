"""What is waited for in a pool, and when the wait is over. No I/O."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import InvalidSettings, NotFound, PassingError, written_by_another_version
from astronomer_remote.api.protocol.models import LARGEST_POOL, Pool
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus
from astronomer_remote.api.waiting.waiter import UNREACHABLE_TIMEOUT


@dataclass(frozen=True)
class PoolTarget:
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

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PoolTarget:
        """
        The inverse of :meth:`as_dict`.

        :raises UnexpectedReply: for what another version of this package has written, and this one does not know.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise written_by_another_version(error) from None

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


@dataclass
class PoolWaiter:
    """
    One wait for open slots, in a worker or in a triggerer.

    :param target: what for.
    :param poke_interval: seconds between two polls.
    :param deadline: when to give up, in seconds since the epoch; ``None`` never does.
    :param on_line: is called with a line whenever something changed.
    :param clock: seconds since the epoch.
    """

    target: PoolTarget
    poke_interval: float
    deadline: float | None
    on_line: Callable[[str], None]
    clock: Callable[[], float]
    summary: str = ""

    def __post_init__(self) -> None:
        self.answered_at = self.clock()

    def record(self, outcome: Pool | PassingError) -> WaitResult | None:
        """
        Record a poll.

        :param outcome: the pool, or why it could not be read.
        :return: the result, if the wait is over.
        :raises PassingError: if the remote has been unreachable for :data:`UNREACHABLE_TIMEOUT`.
        """
        now = self.clock()
        if isinstance(outcome, PassingError):
            if now - self.answered_at > UNREACHABLE_TIMEOUT:
                raise outcome
            self.on_line(f"Could not poll the remote, will keep waiting: {outcome}")
        else:
            summary = self.target.summary(outcome)
            if summary != self.summary:
                self.on_line(summary)
            self.answered_at, self.summary = now, summary
            if self.target.is_met_by(outcome):
                return WaitResult(WaitStatus.SUCCESS, summary)
        if self.deadline is not None and now >= self.deadline:
            return WaitResult(WaitStatus.TIMEOUT, self.summary)
        return None

    def seconds_to_next_poll(self, age: float = 0.0) -> float:
        """Seconds until the next poll. :param age: how many seconds ago the last reply came."""
        left = math.inf if self.deadline is None else self.deadline - self.clock()
        return max(0.0, min(self.poke_interval - age, left))
