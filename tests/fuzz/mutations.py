"""
What a hostile or broken remote may make of a reply: one change at a time, so that each has to be noticed by itself.

No change puts a state that counts as success where none was: such a lie cannot be detected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from random import Random
from typing import Any

from astronomer_remote.api.protocol.flow import Response

DEEP = 2_000

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 10**30, -(10**30), 1e308, float("nan"), float("inf"), "", " ", "~", "..", "../../x",
    "a/b", "nul\x00", "half \ud800", "\x1b[31mred\x1b[0m", "one\ntwo\r\nthree", "\u202eevil", "::group::x",
    "x" * 70_000,
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "yesterday", "2026-13-45T99:99:99Z", "None", "null",
    [], {}, [[]], [None], {"": None}, {"a": {"b": [1, 2, {"c": None}]}}, ["success"], {"state": "running"},
    "9" * 5_000,
)  # fmt: skip
"""Values of every type and of odd kinds, to stand where another is due."""

BODIES: tuple[bytes, ...] = (
    b"", b"null", b"true", b"0", b'"text"', b"[]", b"{}", b"[{}]", b"{", b"\xff\xfe\x00", b"\x00" * 100, b"NaN",
    b"<html><head><title>Sign in</title></head></html>", b"default backend - 404", b"<title" * 20_000,
    b'<input name="csrf_token" ' * 5_000, b"[" * DEEP, b'{"a":' * DEEP, b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP, b'{"detail": ' + b"9" * 5_000 + b"}", b"\xef\xbb\xbf{}",
    b'{"dag_runs": [{}], "total_entries": 1000000000}', b'{"dag_runs": [], "total_entries": 1000000000}',
)  # fmt: skip
"""Whole bodies that are not what was requested."""

STATUSES = (
    0, 100, 101, 199, 200, 201, 202, 204, 206, 226, 299, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404,
    405, 406, 407, 408, 409, 410, 413, 415, 418, 422, 425, 426, 429, 431, 451, 500, 501, 502, 503, 504, 507, 511, 520,
    599, 600, 999,
)  # fmt: skip

HEADERS: tuple[tuple[str, str], ...] = (
    ("content-type", ""), ("content-type", "text/html"), ("content-type", "application/json; charset=none-such"),
    ("content-type", "application/json; charset=utf-16"), ("date", "never"),
    ("date", "Mon, 01 Jan 0001 00:00:00 +9999"),
    ("date", "Fri, 31 Dec 9999 23:59:59 -2359"), ("date", "Fri, 31 Dec 99999999999 23:59:59 GMT"), ("date", ""),
    ("retry-after", "-5"), ("retry-after", "1e400"), ("retry-after", "nan"), ("retry-after", "9" * 400),
    ("retry-after", "Fri, 31 Dec 9999 23:59:59 -2359"), ("retry-after", "soon"), ("location", "http://[bad"),
    ("location", "//u:p@h/"), ("location", "\x00"), ("location", "http://h:99999999/"),
    ("set-cookie", "session=\x00; a"),
    ("set-cookie", "=;;;,,,"), ("set-cookie", "session=" + "x" * 70_000), ("airflow-continuation-token", "\x00"),
    ("content-encoding", "gzip"), ("server", "\x1b]0;title\x07"),
)  # fmt: skip
"""Header fields, names in lower case as the drivers give them."""


def spoil(response: Response, random: Random) -> tuple[str, Response]:
    """
    Change one thing about a reply.

    :param response: what the remote answered.
    :param random: decides what is changed.
    :return: what was changed, for the report, and the changed reply.
    """
    change = random.choices((_value, _status, _header, _body, _bytes), weights=(10, 2, 2, 2, 1))[0]
    return change(response, random)


def _value(response: Response, random: Random) -> tuple[str, Response]:
    """Put another value somewhere into the JSON, or take something out of it."""
    try:
        document = json.loads(response.body)
    except ValueError:
        return _body(response, random)
    places = [*_places(document)]
    if not places:
        return _body(response, random)
    where, container, key = random.choice(places)
    if random.random() < 0.15 and isinstance(container, dict):
        del container[key]
        said = f"{where} is missing"
    elif random.random() < 0.1 and isinstance(container, list):
        container.append(container[key])
        said = f"{where} comes twice"
    else:
        value = random.choice(VALUES)
        container[key] = value
        said = f"{where} = {str(value)[:60]!r}"
    return said, replace(response, body=json.dumps(document).encode())


def _status(response: Response, random: Random) -> tuple[str, Response]:
    status = random.choice(STATUSES)
    return f"status {status}", replace(response, status=status)


def _header(response: Response, random: Random) -> tuple[str, Response]:
    name, text = random.choice(HEADERS)
    said = f"{name}: {text[:60]!r}"
    status = random.choice((429, 503)) if name == "retry-after" else 302 if name == "location" else response.status
    return said, replace(response, status=status, headers={**response.headers, name: text})


def _body(response: Response, random: Random) -> tuple[str, Response]:
    body = random.choice(BODIES)
    return f"body {body[:60]!r}", replace(response, body=body)


def _bytes(response: Response, random: Random) -> tuple[str, Response]:
    """Cut the body short, or change a few of its bytes."""
    body = bytearray(response.body)
    if not body or random.random() < 0.3:
        cut = random.randrange(len(body) + 1)
        return f"cut after {cut} bytes", replace(response, body=bytes(body[:cut]), truncated=True)
    where = random.randrange(len(body))
    body[where] = random.randrange(256)
    return f"byte {where} changed", replace(response, body=bytes(body))


def _places(node: Any, where: str = "$") -> Iterator[tuple[str, Any, Any]]:
    """Every place in a JSON document: its name, what holds it, and its key there."""
    items: Any = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in [*items]:
        yield f"{where}.{key}", node, key
        yield from _places(value, f"{where}.{key}")


Change = Callable[[Response, Random], tuple[str, Response]]
