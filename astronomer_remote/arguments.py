"""
Checks of what a DAG author passes to operators and sensors.

What is a template, or comes out of another task, can only be checked once it is rendered: the constructors check
what is plain already, and the same checks run again before the first request.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from astronomer_remote.api.errors import InvalidSettings
from astronomer_remote.api.ids import LONGEST_POOL_NAME, checked
from astronomer_remote.api.models import plain_json, utc_text
from astronomer_remote.compat import NOTSET

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


def is_plain(value: Any) -> bool:
    """Whether a value is known while the DAG is parsed, rather than a template or another task's result."""
    if isinstance(value, str):
        return "{{" not in value and "{%" not in value
    return value is None or isinstance(value, (bool, int, float, timedelta, list, tuple, set, frozenset))


def check_id(value: Any, name: str) -> None:
    """Check an id as far as it is known yet. :raises InvalidSettings: for one that cannot be addressed."""
    if value is not None and is_plain(value):
        checked(value, name)


def check_pool(value: Any, name: str = "pool_name") -> None:
    """Check a pool's name as far as it is known yet. :raises InvalidSettings: for one that no generation can have."""
    if is_plain(value):
        checked(value, name, slash=True, longest=LONGEST_POOL_NAME)


def boolean(value: Any, name: str) -> bool:
    """A truth value, also from the text a template renders to, of which ``bool`` would take "False" for true."""
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


def states(given: Iterable[Any] | None, name: str, known: tuple[str | None, ...]) -> tuple[Any, ...]:
    """States by their plain names, from names or members of Airflow's own enumerations."""
    if given is None:
        return ()
    if isinstance(given, str):
        raise InvalidSettings(f"{name} must be a list of states, not the text {given!r}.")
    plain = tuple(getattr(state, "value", state) for state in given)
    for state in plain:
        if is_plain(state) and state not in known:
            raise InvalidSettings(f"{name} holds {state!r}; known are: {', '.join(map(str, known))}.")
    return plain


def json_object(given: Any, name: str) -> dict[str, Any]:
    """A JSON object, also from its text, as ``TriggerDagRunOperator`` takes it."""
    try:
        value = json.loads(given) if isinstance(given, str) and given.strip() else given or {}
    except ValueError as error:
        raise InvalidSettings(f"{name} must be a JSON object: {error}.") from None
    if not isinstance(value, Mapping):
        raise InvalidSettings(f"{name} must be a JSON object, not {type(value).__name__}.")
    plain: dict[str, Any] = plain_json(dict(value), name)
    return plain


def date(given: Any, name: str) -> str | None:
    """A date as the remote wants it; ``None`` if none was given, or a template rendered to nothing."""
    return utc_text(given, name) if given is not NOTSET and given not in (None, "", "None") else None
