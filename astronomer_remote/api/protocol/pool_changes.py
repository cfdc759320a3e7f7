"""Changes of pools, and their results."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.models import Pool

DEFAULT_POOL = "default_pool"
"""The pool that every deployment has, and must keep."""


FIELDS = ("slots", "description", "include_deferred", "team_name")
"""What a declaration may say of a pool; what it leaves out, or gives as ``None``, stays as it is."""


CREATE, UPDATE, DELETE = "create", "update", "delete"


@dataclass(frozen=True)
class PoolChange:
    """
    What happens to one pool.

    :param action: ``create``, ``update`` or ``delete``.
    :param name: the pool's name.
    :param before: the pool as it is, ``None`` if there is none.
    :param after: the pool as it will be, ``None`` if it is deleted.
    :param fields: what differs, of :data:`FIELDS`.
    """

    action: str
    name: str
    before: Pool | None = None
    after: Pool | None = None
    fields: tuple[str, ...] = ()

    @property
    def takes_away(self) -> bool:
        """Whether tasks may have fewer slots afterwards."""
        if self.before is None or self.after is None:
            return self.after is None
        shrinks = _size(self.after) < _size(self.before)
        return shrinks or bool(self.after.include_deferred and not self.before.include_deferred)

    @property
    def phase(self) -> tuple[bool, bool]:
        """Its place in the order: changes that add slots, then those that take some away, then deletions."""
        return self.action == DELETE, self.takes_away

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "pool": self.name,
            "action": self.action,
            "fields": list(self.fields),
            "before": _facts(self.before),
            "after": _facts(self.after),
        }

    def __str__(self) -> str:
        if self.before is None or self.after is None:
            return f"{self.action} {self.name!r}"
        before, after = (
            {name: field_text(getattr(pool, name)) for name in FIELDS} for pool in (self.before, self.after)
        )
        changes = ", ".join(f"{name} {before[name]} → {after[name]}" for name in self.fields)
        return untrusted.readable(f"{self.action} {self.name!r} ({changes})")


@dataclass(frozen=True)
class PoolsChanged:
    """
    The result of one request that changes several pools.

    :param done: names of the pools that were changed.
    :param errors: what the remote said of those it did not change.
    """

    done: frozenset[str]
    errors: tuple[str, ...] = ()


def _size(pool: Pool) -> float:
    return math.inf if pool.unlimited else pool.slots


def _facts(pool: Pool | None) -> dict[str, Any] | None:
    return {name: value for name, value in asdict(pool).items() if name in FIELDS} if pool else None


def field_text(value: Any) -> str:
    """The value of a field for a person to read."""
    if value is None:
        return "-"
    if value == -1:
        return "unlimited"
    return " ".join(value.split()) or '""' if isinstance(value, str) else str(value)
