"""
Keeps secrets out of what a remote sent: an error page may repeat the request that it answers, and so may the state of
a run or the name of a pool, which end up in logs, errors, XCom and the local database.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from astronomer_remote.api.protocol.flow import Request
from astronomer_remote.api.protocol.settings import Settings

MASK = "***"

SHORTEST = 5
"""Characters of a secret that is looked for; a shorter one is part of any text."""

SHORTEST_IN_DATA = 6
"""The same in data, such as a run's id, that this package continues to work with."""

LONGEST_WORD = 15
"""Characters of a secret of letters alone, or digits alone, that may be part of data by chance."""

SHORTEST_ISSUED = 16
"""The same for what a remote issues, so that it cannot have ordinary words hidden. Airflow's are far longer."""

MOST_ISSUED = 100
"""Issued secrets that are remembered; the oldest is forgotten first."""

on_issued: list[Callable[[str], object]] = []
"""Called with each secret that a remote issues, once; here the hook registers Airflow's own masking of logs."""


class Redaction:
    """The secrets of one client, and how to mask them."""

    def __init__(self) -> None:
        self._issued: dict[str, None] = {}

    def add(self, secrets: Iterable[str]) -> None:
        """Add what a remote has issued: tokens and session cookies."""
        for secret in secrets:
            if len(secret) < SHORTEST_ISSUED or secret in self._issued:
                continue
            if len(self._issued) >= MOST_ISSUED:
                del self._issued[next(iter(self._issued))]
            self._issued[secret] = None
            for callback in on_issued:
                callback(secret)

    def hide(self, text: str, settings: Settings) -> str:
        """The text without any secret of the connection and of this client, however it is quoted."""
        for form in _forms_of(secret for secret in self._known(settings) if len(secret) >= SHORTEST):
            text = text.replace(form, MASK)
        return text

    def hide_in(self, value: Any, settings: Settings, request: Request) -> Any:
        """
        A value of JSON without secrets in any text of it.

        It is data: a run's id, from which a letter is missing, names no run. So a secret stays that may be an ordinary
        word or number, and one that the request itself names, such as a DAG whose id a gateway's key is part of.

        :param request: the request that the value answers.
        """
        named = _named_in(request)
        texts = "\n".join(_texts(value))
        secrets = [secret for secret in self._known(settings) if _stands_out(secret) and secret not in named]
        found = [form for form in _forms_of(secrets) if form in texts]
        return _without(value, found) if found else value

    def hide_in_bytes(self, text: bytes, settings: Settings) -> bytes:
        """The same for a reply that is text."""
        for form in _forms_of(filter(_stands_out, self._known(settings))):
            text = text.replace(form.encode(), MASK.encode())
        return text

    def _known(self, settings: Settings) -> tuple[str, ...]:
        return (*settings.secrets, *self._issued)


def _stands_out(secret: str) -> bool:
    """Whether a secret is certainly no ordinary word or number."""
    ordinary = len(secret) <= LONGEST_WORD and (secret.isalpha() or secret.isdigit())
    return len(secret) >= SHORTEST_IN_DATA and not ordinary


def _named_in(request: Request) -> str:
    """What a request names: all of its path and body but the conf of a run, in which a user may pass anything on."""
    body = request.body
    if isinstance(body, dict):
        body = {key: value for key, value in body.items() if key != "conf"}
    return f"{unquote(request.target)} {json.dumps(body, ensure_ascii=False)}"


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value of JSON, without recursion, as it may be nested as deeply as Python parses."""
    todo = [value]
    while todo:
        each = todo.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, dict):
            todo += each.keys()
            todo += each.values()
        elif isinstance(each, list):
            todo += each


def _without(value: Any, forms: Sequence[str]) -> Any:
    """A value of JSON whose texts hold none of some others, likewise without recursion."""

    def clean(text: str) -> str:
        for form in forms:
            text = text.replace(form, MASK)
        return text

    def begin(each: Any) -> Any:
        if isinstance(each, str):
            return clean(each)
        if isinstance(each, (dict, list)):
            copied: Any = type(each)()
            todo.append((each, copied))
            return copied
        return each

    todo: list[tuple[Any, Any]] = []
    whole = begin(value)
    while todo:
        original, copied = todo.pop()
        if isinstance(original, dict):
            copied.update({clean(key): begin(each) for key, each in original.items()})
        else:
            copied.extend(begin(each) for each in original)
    return whole


def _forms_of(secrets: Iterable[str]) -> list[str]:
    """What to look for; the longest first, as one may be part of another."""
    return sorted({form for secret in secrets for form in _forms(secret)}, key=len, reverse=True)


def _forms(secret: str) -> set[str]:
    as_json = json.dumps(secret)[1:-1]
    return {
        secret,
        as_json,
        repr(secret)[1:-1],
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        html.escape(secret),
    }
