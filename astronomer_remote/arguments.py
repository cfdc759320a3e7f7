"""
Checks of the arguments of operators and sensors.

A template, or the result of another task, can only be checked once it is rendered: the constructors check plain values,
and the same checks run again before the first request. A :data:`Reader` of a templated field converts whatever was
rendered, natively or not, to the type that the rest of the code expects; reading it again changes nothing.
"""

from __future__ import annotations

import ast
import datetime
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.ids import LONGEST_POOL_NAME, checked
from astronomer_remote.api.protocol.models import asset_ref, plain_json, utc_text
from astronomer_remote.compat import NOTSET

LONGEST_LIST = 100_000
"""Characters of a text that is parsed as a list or an object."""

DAG_RUN_STATES = ("queued", "running", "success", "failed")
TASK_STATES = (
    None,
    "removed",
    "scheduled",
    "queued",
    "running",
    "success",
    "restarting",
    "failed",
    "up_for_retry",
    "up_for_reschedule",
    "upstream_failed",
    "skipped",
    "deferred",
)


Reader: TypeAlias = Callable[[Any, str], Any]
"""Reads the value of a templated field; gets the value and the field's name, may raise ``InvalidSettings``."""

Readers: TypeAlias = Mapping[str, Reader]
"""The reader of each templated field of a class."""


def is_plain(value: Any) -> bool:
    """Whether a value is known while the DAG is parsed, rather than a template or another task's result."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(is_plain, value))
    if isinstance(value, Mapping):
        return all(is_plain(part) for item in value.items() for part in item)
    return value is None or value is NOTSET or isinstance(value, (bool, int, float, timedelta, datetime.date))


def is_nothing(value: Any) -> bool:
    """
    Whether a value counts as not given.

    That includes a template that renders to an empty text, or to ``None``, which is the text "None" in a DAG without
    ``render_template_as_native_obj``.
    """
    return value is None or value is NOTSET or (isinstance(value, str) and value.strip() in ("", "None"))


def text(value: Any, name: str) -> str | None:
    """
    An optional text; ``None`` if none was given.

    ``render_template_as_native_obj`` converts a text of digits to a number. A whole number is converted back. For
    a fraction that is impossible, since "1.10" has become 1.1.
    """
    if is_nothing(value):
        return None
    if isinstance(value, (bool, float)):
        raise InvalidSettings(
            f"{name} must be a text, not {value!r}. If render_template_as_native_obj has converted a text, put "
            "quotes within the template's own around it."
        )
    if not isinstance(value, str) and isinstance(value, (bytes, Iterable)):
        raise InvalidSettings(f"{name} must be a text, not {_short(value)}.")
    return str(value)


def free_text(value: Any, name: str) -> str | None:
    """A text for people, from any value; ``None`` if none was given."""
    return None if is_nothing(value) else str(value)


def description(value: Any, name: str) -> str | None:
    """The same where an empty text means that there is to be none."""
    return value if value == "" else free_text(value, name)


def required(value: Any, name: str) -> str:
    """A text that must be given."""
    found = text(value, name)
    if found is None:
        raise InvalidSettings(f"{name} must be a non-empty text, not {value!r}; did its template render to nothing?")
    return found


def asset_or_text(value: Any, name: str) -> Any:
    """An asset: a text, or an object of Airflow, which stays as it is; ``None`` if none was given."""
    return value if hasattr(value, "uri") or hasattr(value, "name") else text(value, name)


def check_asset(asset: Any, uri: Any) -> None:
    """
    Check what is known of an asset while the DAG is parsed.

    :raises InvalidSettings: unless exactly one is given, and identifies an asset.
    """
    is_known = is_plain(asset) or hasattr(asset, "uri") or hasattr(asset, "name")
    asset_ref(asset_or_text(asset, "asset") if is_known else "later", text(uri, "uri") if is_plain(uri) else "later")


def required_id(value: Any, name: str) -> str:
    """An id that must be given. :raises InvalidSettings: also for one that no URL can contain."""
    return checked(required(value, name), name)


def optional_id(value: Any, name: str) -> str | None:
    """An id; ``None`` if none was given."""
    found = text(value, name)
    return None if found is None else checked(found, name)


def required_pool(value: Any, name: str) -> str:
    """A pool's name. :raises InvalidSettings: also for one that no generation accepts."""
    return checked(required(value, name), name, slash=True, longest=LONGEST_POOL_NAME)


def texts(value: Any, name: str) -> list[str] | None:
    """
    An optional list of texts, also from the text that a template renders a list to; ``None`` if it is empty.

    A single text raises an error: Python would take it for the list of its letters.
    """
    if is_nothing(value):
        return None
    items = _collection(value, name) if isinstance(value, str) else value
    if isinstance(items, (bytes, Mapping)) or not isinstance(items, Iterable):
        raise InvalidSettings(f"{name} must be a list of texts, not {_short(items)}.")
    found = [text(item, name) for item in items]
    known = [item for item in found if item is not None]
    if len(known) < len(found):
        raise InvalidSettings(f"{name} contains an empty value: {found!r}.")
    return known or None


def ids(value: Any, name: str) -> list[str] | None:
    """An optional list of ids."""
    found = texts(value, name)
    return None if found is None else [checked(item, name) for item in found]


def results_to_read(value: Any, name: str) -> list[str] | dict[str, list[str]] | None:
    """
    The task ids whose return values are read, or the XCom keys to read by task id; ``None`` if there are none.

    Also from the text that a template renders either to.
    """
    found = (
        _collection(value, name, "a list or an object") if isinstance(value, str) and not is_nothing(value) else value
    )
    if not isinstance(found, Mapping):
        return ids(found, name)
    by_task = {required_id(task_id, name): texts(keys, f"{name}[{task_id!r}]") for task_id, keys in found.items()}
    without = [task_id for task_id, keys in by_task.items() if keys is None]
    if without:
        raise InvalidSettings(f"{name} has no XCom key for task {without[0]!r}.")
    return {task_id: keys for task_id, keys in by_task.items() if keys} or None


def interval(value: Any, name: str) -> tuple[str, str] | None:
    """Start and end of a data interval; ``None`` if it was not given, or both were rendered to nothing."""
    found = _collection(value, name, "a pair") if isinstance(value, str) and not is_nothing(value) else value
    if is_nothing(found):
        return None
    if not isinstance(found, (list, tuple)) or len(found) != 2:
        raise InvalidSettings(f"{name} must be a pair of start and end, not {_short(found)}.")
    start, end = (date(moment, name) for moment in found)
    if (start is None) != (end is None):
        raise InvalidSettings(f"{name} needs both a start and an end, not {_short(found)}.")
    return (start, end) if start and end else None


def _collection(given: str, name: str, kind: str = "a list") -> Any:
    """The list, tuple, set or object that a text is the JSON or Python notation of."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(given.strip()) if len(given) <= LONGEST_LIST else None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(found, (list, tuple, set, Mapping)):
            return found
    raise InvalidSettings(f"{name} must be {kind}, not the text {_short(given)}; write it in brackets.")


def boolean(value: Any, name: str) -> bool:
    """A boolean, also from the text that a template renders to; ``bool`` would take the text "False" for true."""
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "none": False, "": False}
    if isinstance(value, bool):
        return value
    known = words.get(str(value).strip().lower()) if value is not None else False
    if known is None:
        raise InvalidSettings(f"{name}={value!r} must be true or false.")
    return known


def whole(value: Any, name: str) -> int:
    """A whole number, also from the text a template renders to."""
    text = value.strip() if isinstance(value, str) else ""
    number = int(text) if text.removeprefix("-").isdecimal() else value
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidSettings(f"{name}={value!r} must be a whole number.")
    return number


def seconds(value: Any, name: str) -> float:
    """A positive number of seconds, also from a timedelta or the text a template renders to."""
    try:
        number = value.total_seconds() if isinstance(value, timedelta) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise InvalidSettings(f"{name}={value!r} must be a positive number of seconds.")
    return float(number)


def slots_to_wait_for(value: Any, name: str) -> int:
    """A number of slots."""
    return PoolTarget("any", whole(value, name)).slots


def optional_seconds(value: Any, name: str) -> float | None:
    """The same; ``None`` if none was given."""
    return None if is_nothing(value) else seconds(value, name)


def states(given: Iterable[Any] | None, name: str, known: tuple[str | None, ...]) -> tuple[Any, ...]:
    """States as text, from text or members of Airflow's own enumerations; they are not templated."""
    if given is None:
        return ()
    if isinstance(given, str):
        raise InvalidSettings(f"{name} must be a list of states, not the text {given!r}.")
    plain = tuple(getattr(state, "value", state) for state in given)
    for state in plain:
        if state not in known:
            hint = "" if is_plain(state) else f" {name} is not templated."
            raise InvalidSettings(f"{name} contains {state!r}; known states are: {', '.join(map(str, known))}.{hint}")
    return plain


def json_object(given: Any, name: str) -> dict[str, Any]:
    """A JSON object, also from its text, as in ``TriggerDagRunOperator``; an empty one if none was given."""
    if is_nothing(given):
        return {}
    try:
        value = json.loads(given) if isinstance(given, str) else given
    except RecursionError:
        raise InvalidSettings(f"{name} is nested too deeply.") from None
    except ValueError as error:
        hint = " End the template with the filter tojson." if given.lstrip().startswith("{") else ""
        raise InvalidSettings(f"{name} must be a JSON object: {error}.{hint}") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidSettings(f"{name} must be a JSON object, not {type(value).__name__}.")
    plain: dict[str, Any] = plain_json(dict(value), name)
    return plain


def date(given: Any, name: str) -> str | None:
    """
    A date as ISO 8601 in UTC; ``None`` if none was given.

    Also from a ``date``, and from the number to which ``render_template_as_native_obj`` converts ``{{ ds_nodash }}``.
    """
    if is_nothing(given):
        return None
    is_day = isinstance(given, datetime.date) and not isinstance(given, datetime.datetime)
    is_number = isinstance(given, int) and not isinstance(given, bool)
    return utc_text(str(given) if is_day or is_number else given, name)


def date_or_notset(given: Any, name: str) -> Any:
    """The same where "not given", also as an empty text, and "given as ``None``" differ."""
    return NOTSET if given is NOTSET or (isinstance(given, str) and not given.strip()) else date(given, name)


def _short(value: Any) -> str:
    """A value in an error message."""
    shown = repr(value)
    return shown if len(shown) <= 100 else f"{shown[:100]}…"
