"""Whether a path stays below the URL that it is put after, for every server that may read it."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote

MOST_UNQUOTED = 5
"""How often a path is unquoted before it counts as made to mislead: a proxy and a server unquote once each."""

FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\]|%u", re.IGNORECASE)
"""What some servers drop or take for a slash, and how some write any character."""


def is_within(url: str | None, base_url: str) -> bool:
    """
    Whether a URL lies below another one.

    :param url: the URL, with or without a query.
    :param base_url: the URL of the deployment, without a slash at its end.
    """
    path = (url or "").partition("?")[0].partition("#")[0]
    return path == base_url or (path.startswith(f"{base_url}/") and stays_below(path[len(base_url) :]))


def stays_below(path: str) -> bool:
    """
    Whether a path leads to something below, however a server reads it.

    Servers differ in whether they unquote a path before they resolve its dots, drop the parameters of a segment
    (``..;x``), merge slashes, take a backslash for one, or replace characters of Unicode by similar ones. A path that
    any of these could lead elsewhere does not stay below. A quoted slash between two names does no harm.

    :param path: the path with its first slash, without a query.
    """
    plain = _unquoted(path)
    if plain is None or FORBIDDEN.search(plain):
        return False
    # Where a path ends with a slash, nothing follows.
    segments = plain.removesuffix("/").split("/")[1:]
    return all(is_name(segment) for segment in segments)


def is_name(segment: str) -> bool:
    """Whether a segment is more than dots and spaces, also without its parameters."""
    return bool(segment.partition(";")[0].strip(" ."))


def _unquoted(path: str) -> str | None:
    """A path without any quoting and with usual characters for similar ones; ``None`` if it cannot be read."""
    for _ in range(MOST_UNQUOTED):
        try:
            plain = unicodedata.normalize("NFKC", unquote(path, errors="strict"))
        except UnicodeDecodeError:
            return None
        if plain == path:
            return plain
        path = plain
    return None
