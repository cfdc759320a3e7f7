"""Keeps secrets out of text that a remote sent: an error page may repeat the request that it answers."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable
from urllib.parse import quote, quote_plus

from astronomer_remote.api.settings import Settings

MASK = "***"

SHORTEST = 5
"""Characters of a secret that is looked for; a shorter one is part of any text."""

SHORTEST_ISSUED = 16
"""The same for what a remote issues, so that it cannot have ordinary words hidden. Airflow's are far longer."""

MOST_ISSUED = 100
"""Issued secrets that are remembered; the oldest is forgotten first."""

on_issued: list[Callable[[str], object]] = []
"""Called with each secret that a remote issues, once; here the hook registers Airflow's own masking of logs."""


class Redaction:
    """The secrets of one conversation, and how to hide them."""

    def __init__(self) -> None:
        self._issued: dict[str, None] = {}

    def add(self, secrets: Iterable[str]) -> None:
        """Take note of what a remote has issued: tokens and session cookies."""
        for secret in secrets:
            if len(secret) < SHORTEST_ISSUED or secret in self._issued:
                continue
            if len(self._issued) >= MOST_ISSUED:
                del self._issued[next(iter(self._issued))]
            self._issued[secret] = None
            for callback in on_issued:
                callback(secret)

    def hide(self, text: str, settings: Settings) -> str:
        """The text without any secret of the connection and of this conversation, in whichever way it is quoted."""
        known = [secret for secret in (*settings.secrets, *self._issued) if len(secret) >= SHORTEST]
        # The longest first, as one may be part of another.
        for form in sorted({form for secret in known for form in _forms(secret)}, key=len, reverse=True):
            text = text.replace(form, MASK)
        return text


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
