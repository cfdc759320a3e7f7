"""
What is declared for pools, and what has to change for that: decided here, once, for every generation.

No I/O; :mod:`astronomer_remote.api.pools.pools` and :mod:`astronomer_remote.api.pools.sync` send requests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import LARGEST_POOL, Pool
from astronomer_remote.api.protocol.pool_changes import (
    CREATE,
    DEFAULT_POOL,
    DELETE,
    FIELDS,
    UPDATE,
    PoolChange,
    field_text,
)

DONE, FAILED, LEFT, OCCUPIED = "done", "failed", "not done", "kept, since it was occupied meanwhile"
"""What has become of a change; one that failed may have been done nevertheless, if only the reply was lost."""


MOST_LISTED = 200
"""Changes, and kept pools, that are logged and pushed to XCom."""

LARGEST_DIFF = 256 * 1024
"""Bytes of a diff as JSON that are handed on as XCom."""


@dataclass(frozen=True)
class PoolPlan:
    """
    What has to happen for a remote's pools to match a declaration.

    :param changes: in a safe order: first what gives tasks more room, then what takes some away, last the deletions.
    :param kept: pools that are not declared and stay nevertheless, with the reason.
    :param same: how many pools are as declared.
    """

    changes: tuple[PoolChange, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    same: int = 0

    def for_xcom(self, outcomes: Mapping[str, str] | None = None) -> dict[str, Any]:
        """
        Plain JSON of at most :data:`LARGEST_DIFF` bytes: a remote decides how many pools it has.

        :param outcomes: what has become of each change, by pool.
        :return: as :meth:`as_dict`; where not all changes and kept pools fit, the first ones and ``left_out``, which
            says how many of each are missing. Texts are cut.
        """
        most = MOST_LISTED
        while True:
            some = replace(self, changes=self.changes[:most], kept=dict(islice(self.kept.items(), most)))
            plain = untrusted.shortened(some.as_dict(outcomes))
            missing = {"changes": len(self.changes) - len(some.changes), "kept": len(self.kept) - len(some.kept)}
            if any(missing.values()):
                plain["left_out"] = missing
            if untrusted.size(plain) <= LARGEST_DIFF:
                return plain
            most //= 2

    def as_dict(self, outcomes: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Plain JSON. :param outcomes: what has become of each change, by pool."""
        changes = [
            {**change.as_dict(), **({"outcome": outcomes[change.name]} if outcomes is not None else {})}
            for change in self.changes
        ]
        return {"changes": changes, "kept": dict(self.kept), "same": self.same}

    def table(self, most: int | None = None) -> str:
        """
        The plan for a person to read.

        :param most: how many changes are listed, and how many pools that are kept for the same reason, default all.
        """
        listed = self.changes[:most]
        rows = [(change.action, change.name, *(_cell(change, name) for name in FIELDS)) for change in listed]
        lines = [table(("action", "pool", *FIELDS), rows)] if rows else []
        if len(listed) < len(self.changes):
            lines.append(f"and {len(self.changes) - len(listed)} more")
        reasons = sorted(set(self.kept.values()))
        for reason in reasons[:most]:
            names = [untrusted.readable(name) or '""' for name, why in self.kept.items() if why == reason]
            lines.append(f"kept, {untrusted.readable(reason)}: {enumerated(names, most)}")
        if len(reasons[:most]) < len(reasons):
            lines.append(f"kept, for {len(reasons) - len(reasons[:most])} more reasons: others")
        lines.append(f"{len(self.changes)} to change, {self.same} as declared, {len(self.kept)} kept undeclared")
        return "\n".join(lines)


def check_slots(slots: object) -> None:
    """:raises InvalidSettings: for what is no size of a pool."""
    if not isinstance(slots, int) or isinstance(slots, bool) or not -1 <= slots <= LARGEST_POOL:
        raise InvalidSettings(f"slots={slots!r} must be a whole number from 0 to {LARGEST_POOL}, or -1 for unlimited.")


def check_fields(fields: Iterable[str]) -> None:
    """:raises InvalidSettings: for a field that a declaration cannot have."""
    unknown = sorted(set(fields) - set(FIELDS))
    if unknown:
        raise InvalidSettings(f"fields holds {', '.join(unknown)}; known are: {', '.join(FIELDS)}.")


def compare(current: Pool | None, target: Pool, fields: Collection[str] = FIELDS) -> PoolChange | None:
    """
    What has to change for a pool to be as declared; ``None`` if nothing has.

    :param current: the pool as it is, ``None`` if there is none.
    :param target: the pool as declared; ``None`` in a field leaves it as it is.
    :param fields: what to bring in line, of :data:`FIELDS`; a new pool needs a size in any case.
    """
    if current is None:
        ignored: dict[str, Any] = {name: None for name in FIELDS if name not in ("slots", *fields)}
        return PoolChange(CREATE, target.name, after=replace(target, **ignored))
    changed = {
        name: getattr(target, name)
        for name in FIELDS
        if name in fields
        and getattr(target, name) is not None
        and _plain(getattr(target, name)) != _plain(getattr(current, name))
    }
    if not changed:
        return None
    return PoolChange(UPDATE, target.name, current, replace(current, **changed), tuple(changed))


def _plain(value: Any) -> Any:
    """A value for comparison: empty, false and unknown are one where a generation does not know the field."""
    return value if isinstance(value, int) and not isinstance(value, bool) else value or None


def plan(
    current: Iterable[Pool],
    declared: Iterable[Pool],
    *,
    prune: bool = False,
    force: bool = False,
    fields: Collection[str] = FIELDS,
    reachable: Callable[[str], bool] = bool,
) -> PoolPlan:
    """
    Compare a remote's pools with a declaration.

    ``default_pool`` is never deleted, and its description, which is Airflow's own, is left alone.

    :param current: the remote's pools.
    :param declared: pools as they will be.
    :param prune: whether pools that are not declared are deleted.
    :param force: whether they are even if tasks hold slots of them.
    :param fields: what to bring in line, of :data:`FIELDS`.
    :param reachable: whether a pool of a name can be addressed by the remote's API.
    """
    there = {pool.name: pool for pool in current}
    target = {pool.name: pool for pool in declared}
    found = [compare(there.get(name), pool, _fields_of(name, fields)) for name, pool in target.items()]
    changes = [change for change in found if change]
    kept: dict[str, str] = {}
    for name, pool in there.items():
        if name in target:
            continue
        reason = _why_kept(pool, prune=prune, force=force, reachable=reachable)
        if reason is None:
            changes.append(PoolChange(DELETE, name, before=pool))
        else:
            kept[name] = reason
    # Tasks that move from one pool to another find their new room before they lose the old one.
    changes.sort(key=lambda change: (change.phase, change.name))
    return PoolPlan(tuple(changes), dict(sorted(kept.items())), same=found.count(None))


def parse(data: Any) -> list[Pool]:
    """
    Read a declaration in the format of ``airflow pools export``.

    :param data: an object with a pool's name as key, and as value an object of :data:`FIELDS`, or only the slots.
    :raises InvalidSettings: naming the pool and what is wrong with it.
    """
    if not isinstance(data, Mapping):
        raise InvalidSettings(f"Pools must be declared as an object by their names, not as {type(data).__name__}.")
    return [_parse_one(name, value) for name, value in data.items()]


def _parse_one(name: Any, value: Any) -> Pool:
    given = dict(value) if isinstance(value, Mapping) else {"slots": value}
    unknown = set(given) - set(FIELDS)
    if not isinstance(name, str) or not name.strip():
        raise InvalidSettings(f"A pool's name must be a non-empty text, not {name!r}.")
    if unknown:
        raise InvalidSettings(
            f"Pool {name!r} is declared with {', '.join(sorted(map(str, unknown)))}; known are: {', '.join(FIELDS)}."
        )
    try:
        check_slots(given.get("slots"))
    except InvalidSettings as error:
        raise InvalidSettings(f"Pool {name!r}: {error}") from None
    for key, kind in (("description", str), ("include_deferred", bool), ("team_name", str)):
        if not isinstance(given.get(key), (kind, type(None))):
            raise InvalidSettings(
                f"Pool {name!r}: {key}={given[key]!r} must be {'text' if kind is str else 'a boolean'}."
            )
        if isinstance(given.get(key), str) and untrusted.storable_text(given[key]) != given[key]:
            raise InvalidSettings(f"Pool {name!r}: {key} holds a null character or half a character.")
    return Pool(name, **given)


def enumerated(names: Sequence[str], most: int | None = None) -> str:
    """Names in a line. :param most: how many of them, default all."""
    left = len(names) - len(names[:most])
    return ", ".join(names[:most]) + (f" and {left} more" if left else "")


LONGEST_CELL = 200
"""Characters of one cell of a table."""


def table(header: Collection[str], rows: Iterable[Collection[str]]) -> str:
    """Rows of text in columns."""
    lines = [[untrusted.readable(text, LONGEST_CELL) for text in line] for line in (header, *rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def row(pool: Pool) -> dict[str, Any]:
    """A pool as a declaration puts it."""
    return {name: getattr(pool, name) for name in FIELDS if getattr(pool, name) is not None}


def _fields_of(name: str, fields: Collection[str]) -> Collection[str]:
    return [field for field in fields if field != "description"] if name == DEFAULT_POOL else fields


def _why_kept(pool: Pool, *, prune: bool, force: bool, reachable: Callable[[str], bool]) -> str | None:
    if not prune:
        return "not declared"
    if pool.name == DEFAULT_POOL:
        return "Airflow needs it"
    if not reachable(pool.name):
        return "not declared, but its name cannot be addressed by the remote's API"
    if pool.occupied_slots is None and not force:
        return "not declared, but the remote does not report whether its slots are occupied"
    if pool.occupied_slots and not force:
        return f"not declared, but {pool.occupied_slots} of its slots are occupied"
    return None


def _cell(change: PoolChange, name: str) -> str:
    before, after = (getattr(pool, name) if pool else None for pool in (change.before, change.after))
    if change.action == UPDATE and name in change.fields:
        return f"{field_text(before)} → {field_text(after)}"
    return field_text(after if change.after else before)
