"""
Models from what Airflow 2 and Airflow 3 send in the same form.

What a remote sends is never trusted: what has to be right for a conclusion is checked, and what is only shown is left
out where it is not as it should be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from astronomer_remote.api.dialects.base import AnotherReply
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.models import (
    LONGEST_URI,
    MOST_CREATED_RUNS,
    Asset,
    AssetEvent,
    Dag,
    Pool,
    TaskInstance,
    utc_text,
)

T = TypeVar("T")


def read_pool(body: Any) -> Pool:
    """Read a pool."""
    counts = ("occupied_slots", "running_slots", "queued_slots", "scheduled_slots", "deferred_slots", "open_slots")
    return Pool(
        name=text(body, "name", empty=True),
        slots=whole_number(body, "slots"),
        description=text_if_any(body, "description"),
        include_deferred=flag_if_any(body, "include_deferred"),
        team_name=text_if_any(body, "team_name"),
        **{name: number_if_any(body, name) for name in counts},
    )


def read_dag(body: Any) -> Dag:
    """Read a DAG."""
    # Airflow 2 has the opposite.
    is_active = flag_if_any(body, "is_active")
    return Dag(
        dag_id=named(body, "dag_id"),
        is_paused=flag_if_any(body, "is_paused"),
        has_import_errors=flag_if_any(body, "has_import_errors"),
        is_stale=flag_if_any(body, "is_stale") if is_active is None else not is_active,
        fileloc=untrusted.readable(body["fileloc"]) if body.get("fileloc") else None,
        max_active_runs=number_if_any(body, "max_active_runs"),
    )


def read_task_instance(body: Any) -> TaskInstance:
    """Read a task instance."""
    return TaskInstance(
        task_id=named(body, "task_id"),
        map_index=whole_number(body, "map_index") if "map_index" in body else -1,
        state=state(body),
        try_number=number_if_any(body, "try_number") or 0,
        operator=named_if_any(body, "operator"),
        start_date=date_if_any(body, "start_date"),
        end_date=date_if_any(body, "end_date"),
        duration=seconds_if_any(body, "duration"),
        dag_id=named_if_any(body, "dag_id"),
        run_id=named_if_any(body, "dag_run_id"),
    )


def read_asset(body: Any) -> Asset:
    """An asset of Airflow 3, or a dataset of Airflow 2."""
    name, group = text_if_any(body, "name"), text_if_any(body, "group")
    # Airflow 3.1 renamed the list of DAGs that are scheduled on the asset.
    consumers = body.get("scheduled_dags", body.get("consuming_dags"))
    return Asset(
        asset_id=_row_id(body, "id"),
        uri=untrusted.readable(text(body, "uri", empty=True), LONGEST_URI),
        name=None if name is None else untrusted.readable(name, LONGEST_URI),
        group=None if group is None else untrusted.readable(group, LONGEST_URI),
        extra=untrusted.storable(body["extra"]) if isinstance(body.get("extra"), dict) else None,
        producing_dag_ids=_dag_ids(body.get("producing_tasks")),
        consuming_dag_ids=_dag_ids(consumers),
    )


def _dag_ids(entries: Any) -> tuple[str, ...]:
    found = [named_if_any(entry, "dag_id") for entry in _objects(entries)]
    return tuple(dict.fromkeys(dag_id for dag_id in found if dag_id))


def event_reader(asset: str) -> Callable[[Any], AssetEvent]:
    """
    Reads asset events.

    :param asset: how the generation's fields call an asset: ``asset`` or ``dataset``.
    """
    uri_field = "uri" if asset == "asset" else f"{asset}_uri"

    def read(body: Any) -> AssetEvent:
        timestamp = date_if_any(body, "timestamp")
        if timestamp is None:
            raise TypeError("timestamp is not a date")
        uri, name = text_if_any(body, uri_field), text_if_any(body, "name")
        return AssetEvent(
            event_id=_row_id(body, "id"),
            asset_id=_row_id(body, f"{asset}_id"),
            timestamp=timestamp,
            uri=None if uri is None else untrusted.readable(uri, LONGEST_URI),
            name=None if name is None else untrusted.readable(name, LONGEST_URI),
            extra=untrusted.storable(body["extra"]) if isinstance(body.get("extra"), dict) else {},
            source_dag_id=named_if_any(body, "source_dag_id"),
            source_task_id=named_if_any(body, "source_task_id"),
            source_run_id=named_if_any(body, "source_run_id"),
            source_map_index=untrusted.small_number(number_if_any(body, "source_map_index")),
            partition_key=named_if_any(body, "partition_key"),
            created_dag_runs=_created_runs(body.get("created_dagruns")),
        )

    return read


def _created_runs(entries: Any) -> tuple[tuple[str, str], ...]:
    found = []
    for entry in _objects(entries)[:MOST_CREATED_RUNS]:
        dag_id, run_id = named_if_any(entry, "dag_id"), named_if_any(entry, "run_id")
        run_id = run_id or named_if_any(entry, "dag_run_id")
        if dag_id and run_id:
            found.append((dag_id, run_id))
    return tuple(found)


def _objects(entries: Any) -> list[dict[str, Any]]:
    """The objects of a list. What is odd in a list that is only shown must not hide what it belongs to."""
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _row_id(body: Mapping[str, Any], name: str) -> int:
    """:raises TypeError: for what is no number of a row in a database."""
    value = untrusted.small_number(whole_number(body, name))
    if value is None:
        raise TypeError(f"{name} has more than 64 bits")
    return value


def check_about(body: Mapping[str, Any], **expected: object) -> None:
    """:raises AnotherReply: if a reply is not about what was requested; older versions do not name everything."""
    for name, value in expected.items():
        if name in body and body[name] != value:
            raise AnotherReply(f"it is about another {name}")


def about(read: Callable[[Any], T], **expected: object) -> Callable[[Any], T]:
    """Reads a reply that must be about what was requested."""

    def checked_read(body: Any) -> T:
        check_about(body, **expected)
        return read(body)

    return checked_read


def text(body: Mapping[str, Any], name: str, *, empty: bool = False) -> str:
    """:raises TypeError: for what is not text."""
    value = body[name]
    if not isinstance(value, str) or not (value or empty):
        raise TypeError(f"{name} is not text")
    return value


def named(body: Mapping[str, Any], name: str) -> str:
    """An id or a name, safe to be shown. :raises TypeError: for what is not text."""
    return str(untrusted.name(text(body, name)))


def text_if_any(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    return value if isinstance(value, str) else None


def named_if_any(body: Mapping[str, Any], name: str) -> str | None:
    value = text_if_any(body, name)
    return None if value is None else str(untrusted.name(value))


def state(body: Mapping[str, Any]) -> str | None:
    """:raises TypeError: for what is not a state, of which nothing can be concluded."""
    value = body.get("state")
    if value is not None and not isinstance(value, str):
        raise TypeError("state is not text")
    return None if value is None else str(untrusted.name(value))


def whole_number(body: Mapping[str, Any], name: str) -> int:
    """:raises TypeError: for what is not a whole number."""
    value = number_if_any(body, name)
    if value is None:
        raise TypeError(f"{name} is not a whole number")
    return value


def number_if_any(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def seconds_if_any(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def flag(body: Mapping[str, Any], name: str) -> bool:
    """:raises TypeError: for what is neither true nor false: unknown is not false."""
    value = body[name]
    if not isinstance(value, bool):
        raise TypeError(f"{name} is neither true nor false")
    return value


def flag_if_any(body: Mapping[str, Any], name: str) -> bool | None:
    value = body.get(name)
    return value if isinstance(value, bool) else None


def date_if_any(body: Mapping[str, Any], name: str) -> str | None:
    value = body.get(name)
    try:
        return value if isinstance(value, str) and utc_text(value, name) else None
    except ValueError:
        return None
