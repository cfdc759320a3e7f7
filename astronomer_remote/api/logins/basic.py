"""User and password on Airflow 2."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from astronomer_remote.api.protocol.auth import (
    LONGEST_TOKEN,
    Authentication,
    Credentials,
    Send,
    is_token_text,
    read_cookie,
)
from astronomer_remote.api.protocol.errors import ReplyTooLarge, TransientError
from astronomer_remote.api.protocol.flow import Flow, Request, Response
from astronomer_remote.api.protocol.models import Generation, Version

LARGEST_LOGIN_PAGE = 512 * 1024
"""Bytes of a login page that are read; Airflow's has 20,000."""

BASIC_REQUESTS_BEFORE_SESSION = 10
"""
Requests of a client before it opens a web session. That costs the remote about as much as two requests with Basic, and
Airflow's login page allows five logins in 40 seconds for all clients of one address, which may be everybody's behind a
proxy (Flask AppBuilder's ``AUTH_RATE_LIMIT``). So most tasks, with their few requests, open none.
"""

SECONDS_BETWEEN_ATTEMPTS = 300.0
"""After a failure that may pass, seconds until a session is tried again."""


class Basic(Authentication):
    """
    User and password on Airflow 2, turned into a web session where the server allows it.

    Airflow 2 hashes the password again for each request with Basic authentication, about 100 ms of CPU. A web
    session of the same user, which its API accepts with the ``session`` backend (the default since 2.3), costs
    none of it. Where logging in does not work, Basic continues; no request is held up by a retry.
    """

    needs = ("login", "password")
    before_detection = False

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._login, self._password = credentials.login or "", credentials.password or ""
        self._may_use_session = False
        self._cookie: str | None = None
        self._requests = 0
        self._requests_before_session = BASIC_REQUESTS_BEFORE_SESSION
        self._due = 0.0

    def remote_is(self, generation: Generation, version: Version | None) -> None:
        # Several authentication backends at once, and so the web session's, exist since 2.3.
        self._may_use_session = generation is Generation.V1 and version is not None and version >= (2, 3)

    def prepare(self, now: float, send: Send) -> Flow[None]:
        if self._cookie:
            return
        if self._may_use_session and self._requests >= self._requests_before_session and now >= self._due:
            try:
                self._cookie = yield from self._log_in(send)
                self._may_use_session = self._cookie is not None
            except ReplyTooLarge:
                self._may_use_session = False
            except TransientError:
                # The login page may be broken, or allow few logins at a time, where the API works.
                self._due = now + SECONDS_BETWEEN_ATTEMPTS
        self._requests += 1

    def headers(self) -> Mapping[str, str]:
        if self._cookie:
            return {"Cookie": self._cookie}
        pair = f"{self._login}:{self._password}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}

    @property
    def issued(self) -> tuple[str, ...]:
        return (self._cookie.removeprefix("session="),) if self._cookie else ()

    def refresh(self) -> bool:
        if not self._cookie:
            return False
        # Where the API's session backend is off, no session is accepted: so each is opened later than the one before.
        self._cookie, self._requests = None, 0
        self._requests_before_session *= 2
        return True

    def _log_in(self, send: Send) -> Flow[str | None]:
        page = yield from send(
            Request("GET", "/login/", authenticated=False, once=True, largest_reply=LARGEST_LOGIN_PAGE)
        )
        token = _csrf_token(page)
        if page.status != 200 or not token:
            return None
        form = {"username": self._login, "password": self._password, "csrf_token": token}
        reply = yield from send(
            Request(
                "POST",
                "/login/",
                form=form,
                headers={"Cookie": _session_cookie(page) or ""},
                authenticated=False,
                once=True,
            )
        )
        # A wrong password shows the form again, a right one leads to the home page.
        return _session_cookie(reply) if reply.status == 302 else None


def _csrf_token(page: Response) -> str | None:
    """The token in the form of a login page, searched step by step: regular expressions take long for some pages."""
    text = page.beginning(LARGEST_LOGIN_PAGE)
    start = text.find('name="csrf_token"')
    tag = text[start : text.find(">", start)] if start >= 0 else ""
    token = tag.partition('value="')[2].partition('"')[0]
    return token if is_token_text(token) and len(token) <= LONGEST_TOKEN else None


def _session_cookie(response: Response) -> str | None:
    found = read_cookie(response, "session")
    return f"session={found.value}" if found else None
