"""OAuth2 with the grant of client credentials, for a gateway or an auth manager that accepts such tokens."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote, urlsplit

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.auth import Credentials, Send, Token, TokenLogin, read_token
from astronomer_remote.api.protocol.errors import (
    LONGEST_DETAIL,
    AuthenticationFailed,
    InvalidSettings,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Flow, Response, request_to

BASIC, BODY = "basic", "body"

CLIENT_REFUSED = ("access_denied", "invalid_client", "invalid_grant", "unauthorized_client")
REQUEST_REFUSED = ("invalid_request", "invalid_scope", "invalid_target", "unsupported_grant_type")
"""Errors of RFC 6749 and RFC 8707 that no retry changes. All others may pass."""


class OAuth2(TokenLogin):
    """
    A token of an authorization server, for the client id in ``login`` and its secret in ``password``.

    No OAuth2 library is used: those that do no I/O read environment variables that turn checks off, and this grant is
    one form and one reply.
    """

    needs = ("login", "password", "token_url")
    fields = ("token_url", "scope", "audience", "client_auth")

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self.urls = (credentials.url("token_url"),)
        way = credentials.fields.get("client_auth", BASIC).lower()
        if way not in (BASIC, BODY):
            raise InvalidSettings(f"The connection's client_auth={way!r} must be one of: {BASIC}, {BODY}.")
        client, secret = credentials.login or "", credentials.password or ""
        named = {name: credentials.fields[name] for name in ("scope", "audience") if name in credentials.fields}
        self._form = {"grant_type": "client_credentials", **named}
        self._headers: dict[str, str] = {}
        self._basic = ""
        if way == BODY:
            self._form |= {"client_id": client, "client_secret": secret}
        else:
            # RFC 6749, 2.3.1: both are encoded first. A space as %20 is read by every kind of decoder.
            pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"
            self._basic = base64.b64encode(pair.encode()).decode()
            self._headers = {"Authorization": f"Basic {self._basic}"}

    @property
    def label(self) -> str:
        return f"the token that {self.urls[0]} issued for the client {self.credentials.login!r}"

    def advice(self, status: int) -> str:
        return (
            "Check the connection's scope and audience, and whether the deployment or its gateway accepts this client."
        )

    @property
    def issued(self) -> tuple[str, ...]:
        return (*super().issued, self._basic)

    def fetch(self, now: float, send: Send) -> Flow[Token]:
        reply = yield from send(request_to(self.urls[0], form=self._form, headers=self._headers))
        try:
            return read_token(reply, now)
        except UnexpectedReply:
            raise self._refusal(reply) from None

    def _refusal(self, reply: Response) -> AuthenticationFailed | UnexpectedReply:
        error, description = _error(reply)
        facts: dict[str, Any] = {"status": reply.status, "method": "POST", "path": urlsplit(self.urls[0]).path or "/"}
        if description:
            facts["detail"] = untrusted.sentence(reply.redact(description), LONGEST_DETAIL)
        if error in CLIENT_REFUSED:
            return AuthenticationFailed(
                f"{self.urls[0]} did not accept the client {self.credentials.login!r} ({error}). Check the "
                "connection's login (client id), password (client secret) and client_auth.",
                **facts,
            )
        if error in REQUEST_REFUSED:
            return AuthenticationFailed(
                f"{self.urls[0]} refused to issue a token ({error}). Check the connection's scope and audience, and "
                "whether the client may use the grant client_credentials.",
                **facts,
            )
        return UnexpectedReply(f"{self.urls[0]} issued no token. Check the connection's token_url.", **facts)


def _error(reply: Response) -> tuple[str, str]:
    """Name and description of an OAuth2 error; empty for a reply that is none."""
    try:
        body = reply.json() if reply.is_json else None
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return "", ""
    error, description = body.get("error"), body.get("error_description")
    return error if isinstance(error, str) else "", description if isinstance(description, str) else ""
