"""
Which param of a DAG refuses a conf, for the versions of Airflow that answer that with an error page.

The schemas come from the remote, so that only what is cheap and harmless is checked: no pattern, no reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any, Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


TYPES: Mapping[str, Callable[[Any], bool]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
    "null": lambda value: value is None,
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}

BOUNDS: Mapping[str, Check] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}

LENGTHS: Mapping[str, Check] = {
    "minLength": lambda value, bound: len(value) >= bound,
    "maxLength": lambda value, bound: len(value) <= bound,
}


def refused_param(params: Mapping[str, Any], conf: Mapping[str, Any]) -> str | None:
    """
    What is wrong with a conf, in one sentence.

    :param params: the DAG's params by name, as its details hold them: each with ``value`` and ``schema``.
    :param conf: what the run was to be given.
    :return: ``None`` if nothing was found, which does not mean that nothing is wrong.
    """
    for name, param in params.items():
        if not isinstance(param, dict) or not isinstance(param.get("schema"), dict):
            continue
        value = conf.get(name, param.get("value"))
        for keyword, target in param["schema"].items():
            if not _fits(value, keyword, target):
                given = f"has the value {value!r:.80}" if name in conf else "is not given"
                return f"Param {name!r:.80} {given}, and its schema wants {keyword} {target!r:.80}."
    return None


def _fits(value: Any, keyword: str, target: Any) -> bool:
    """Whether a value satisfies one keyword of a JSON schema; ``True`` for what is not checked here."""
    if keyword == "type":
        names = [target] if isinstance(target, str) else [each for each in _items(target) if isinstance(each, str)]
        return not set(names) & set(TYPES) or any(TYPES[name](value) for name in names if name in TYPES)
    if keyword == "enum":
        # To Python, True is 1; to JSON it is not.
        same = (each == value and isinstance(each, bool) is isinstance(value, bool) for each in _items(target))
        return not isinstance(target, list) or any(same)
    if keyword in BOUNDS:
        return not (_is_number(value) and _is_number(target)) or BOUNDS[keyword](value, target)
    if keyword in LENGTHS:
        return not (isinstance(value, str) and _is_number(target)) or LENGTHS[keyword](value, target)
    return True


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
