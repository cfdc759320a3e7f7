"""
What a remote sends, made safe for those who read it here: a JSON parser, a terminal, a log, a database.

Everything in this module is a pure function, bounded in time and size, and never raises for what a remote sends except
where it says so. Text is data (:func:`storable`: kept as it is as far as a database can hold it) or it is shown to a
person (:func:`readable`: one line, nothing that a terminal or a log viewer acts on).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

LONGEST_LINE = 1000
"""Characters of remote text in one line for a person."""

LONGEST_NAME = 256
"""Characters of an id, a name or a state; the longest that Airflow stores is a pool's name."""

DEEPEST = 64
"""Levels of nested lists and objects that are kept: Airflow walks values recursively."""

LARGEST_INTEGER = 2**63
"""Airflow's processes send values to each other as MessagePack, which holds 64 bits."""

TOO_DEEP = "(left out: nested too deeply)"

REPLACEMENT = "\ufffd"
"""Unicode's replacement for a character that cannot be stored."""

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""PostgreSQL stores no null character, and UTF-8 has no halves of surrogate pairs."""

# What JSON has to hold for its text to match UNSTORABLE.
ESCAPED_UNSTORABLE = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")

UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, line separators, what reverses the direction of text, and halves of surrogate pairs."""

INVISIBLE = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]")
"""What has no width: a reader takes two texts for the same that differ in it. Joiners stay, which emoji are made of."""

FOLD = re.compile(r"::(?=(?:end)?group)|##(?=\[(?:end)?group)")
"""Begins what Airflow's log viewer folds a log at, wherever it is in a line."""

TOKEN = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
"""What has to be known of JSON to see how deeply it is nested; nothing in it repeats, so that nothing backtracks."""


def loads(body: bytes, parse: Callable[..., Any] = json.loads) -> Any:
    """
    Parse JSON, with text that can be stored.

    What is nested too deeply to be parsed is replaced by a text that says so, so that one such value in a listing does
    not hide the others. Integers with too many digits for Python become text.

    :param parse: what parses JSON; takes ``parse_int`` like :func:`json.loads`.
    :raises ValueError: when it is not JSON.
    """
    text = body.decode(json.detect_encoding(body), errors="replace")
    try:
        value = parse(text)
    except RecursionError:
        value = parse(_pruned(text), parse_int=_integer)
    except json.JSONDecodeError:
        raise
    except ValueError:
        value = _with_long_integers(text, parse)
    return _mapped_text(value, storable_text) if ESCAPED_UNSTORABLE.search(text) else value


def storable_text(text: str) -> str:
    """Text that any database and encoding can hold."""
    return UNSTORABLE.sub(REPLACEMENT, text)


def storable(value: Any, levels: int = DEEPEST) -> Any:
    """
    A value of JSON that any database of a local deployment can hold, and Airflow can pass on.

    Numbers that JSON does not have (NaN, infinities) become ``None``, as Airflow 3 sends them; integers of more than
    64 bits become text; what is nested too deeply is left out.

    :param levels: how many levels of lists and objects to keep.
    """
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, int) and not -LARGEST_INTEGER <= value < LARGEST_INTEGER:
        return _digits(value)
    if isinstance(value, (dict, list)) and not levels:
        return TOO_DEEP
    if isinstance(value, dict):
        return {storable_text(str(key)): storable(each, levels - 1) for key, each in value.items()}
    return [storable(each, levels - 1) for each in value] if isinstance(value, list) else value


def small_number(value: int | None) -> int | None:
    """An integer of at most 64 bits; ``None`` for a larger one."""
    return value if value is not None and -LARGEST_INTEGER <= value < LARGEST_INTEGER else None


def shortened(value: dict[str, Any]) -> dict[str, Any]:
    """:func:`storable`, with texts cut after :data:`LONGEST_LINE` characters."""
    return {key: _cut(storable(each)) for key, each in value.items()}


def size(value: Any) -> int:
    """Bytes of a value as JSON."""
    return len(json.dumps(value))


def readable(text: object, limit: int = LONGEST_LINE) -> str:
    """
    Remote text for a person: one line, in which nothing acts on a terminal, a log or its viewer.

    :param text: the text, or an object to show as text.
    :param limit: characters to keep; an ellipsis stands for the rest.
    """
    # Cut before it is searched; what is made visible below takes more space.
    shown = INVISIBLE.sub(_visible, _harmless(str(text)[: limit + 1]))
    return shown if len(shown) <= limit else f"{shown[:limit]}…"


def name(value: Any) -> Any:
    """
    An id, a name or a state as the remote sends it; what is not text stays as it is.

    No API can address a name with a control character, so that nothing is lost when it is made visible.
    """
    if not isinstance(value, str):
        return value
    shown = _harmless(value[: LONGEST_NAME + 1])
    return shown if len(shown) <= LONGEST_NAME else f"{shown[:LONGEST_NAME]}…"


def sentence(text: object, limit: int = LONGEST_LINE) -> str:
    """Remote text of several lines as one line: whitespace of any kind becomes one space."""
    return readable(" ".join(str(text)[: 4 * limit].split()), limit)


def http_date(text: str) -> datetime | None:
    """Read a date of a header field; ``None`` for what is none."""
    try:
        date = parsedate_to_datetime(text)
        aware = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        return aware.astimezone(timezone.utc)
    except (ValueError, TypeError, LookupError, OverflowError):
        # Numbers of any length, zones beyond a day and years beyond a calendar raise different errors.
        return None


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_LINE else f"{value[:LONGEST_LINE]}…"
    if isinstance(value, dict):
        return {key: _cut(each) for key, each in value.items()}
    return [_cut(each) for each in value] if isinstance(value, list) else value


def _harmless(text: str) -> str:
    """The text without what acts on a terminal, a log or its viewer."""
    return FOLD.sub(lambda found: " ".join(found[0]), UNSAFE.sub(_visible, text))


def _visible(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _digits(value: int) -> str:
    try:
        return str(value)
    except ValueError:  # more of them than Python writes
        return f"(left out: an integer of {value.bit_length()} bits)"


def _mapped_text(value: Any, change: Callable[[str], str]) -> Any:
    """A value with all its texts changed; without recursion, as it may be nested as deeply as Python parses."""
    root = [value]
    todo: list[Any] = [root]
    while todo:
        holder = todo.pop()
        if isinstance(holder, dict) and any(UNSTORABLE.search(key) for key in holder):
            changed = {change(key): each for key, each in holder.items()}
            holder.clear()
            holder.update(changed)
        for key, each in holder.items() if isinstance(holder, dict) else enumerate(holder):
            if isinstance(each, str):
                holder[key] = change(each)
            elif isinstance(each, (dict, list)):
                todo.append(each)
    return root[0]


def _with_long_integers(text: str, parse: Callable[..., Any]) -> Any:
    try:
        return parse(text, parse_int=_integer)
    except RecursionError:
        return parse(_pruned(text), parse_int=_integer)


def _integer(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


def _pruned(text: str) -> str:
    """JSON without what is nested too deeply; brackets that do not match are left to the parser to find."""
    kept: list[str] = []
    depth = begin = 0
    in_text = False
    for token in TOKEN.finditer(text):
        if token[0] == '"':
            in_text = not in_text
        elif in_text or token[0][0] == "\\":
            continue
        elif token[0] in "[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept += text[begin : token.start()], json.dumps(TOO_DEEP)
        else:
            if depth == DEEPEST + 1:
                begin = token.end()
            depth -= 1
    return "".join([*kept, text[begin:]])
