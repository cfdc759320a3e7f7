"""User and password on Airflow 3."""

from __future__ import annotations

from typing import Any

from astronomer_remote.api.protocol.auth import (
    Credentials,
    Send,
    Token,
    TokenLogin,
    names_the_credentials,
    read_token,
    says_unauthorized,
)
from astronomer_remote.api.protocol.errors import AuthenticationFailed, UnexpectedReply
from astronomer_remote.api.protocol.flow import Flow, Request, Response

LOGIN_PATH = "/auth/token"
"""Where Airflow 3 gives out a token for user name and password."""


class AirflowLogin(TokenLogin):
    """User and password on Airflow 3: gets a token, and refreshes it before it expires."""

    needs = ("login", "password")
    before_detection = False

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._body = {"username": credentials.login, "password": credentials.password}

    @property
    def label(self) -> str:
        return f"the token that Airflow issued for the login {self.credentials.login!r}"

    def advice(self, status: int) -> str:
        return "Check whether the user still exists, and whether all API servers have the same [api_auth] jwt_secret."

    def fetch(self, now: float, send: Send) -> Flow[Token]:
        reply = yield from send(Request("POST", LOGIN_PATH, body=self._body, authenticated=False, repeatable=True))
        try:
            return read_token(reply, now)
        except UnexpectedReply:
            raise refusal(reply, self.credentials.login) from None

    def refused(self, response: Response) -> bool:
        # Airflow says it in JSON; a page is that of a gateway, which knows nothing of this token.
        if response.status != 403:
            return says_unauthorized(response)
        return response.is_airflow_error and names_the_credentials(response)


def refusal(reply: Response, login: str | None) -> AuthenticationFailed | UnexpectedReply:
    """The error for a reply without a token. :param login: whose it was."""
    facts: dict[str, Any] = {"status": reply.status, "method": "POST", "path": LOGIN_PATH}
    if reply.status in (400, 401, 403, 422) and reply.is_airflow_error:
        return AuthenticationFailed(
            f"The remote did not accept the connection's login {login!r}. Check the connection's login and password.",
            **facts,
        )
    why = (
        f"Could not log in as {login!r}. This deployment may not let users log in with a password; give "
        "the connection an API token instead."
    )
    if reply.status >= 400 and reply.is_airflow_error:
        return AuthenticationFailed(why, **facts)
    # Airflow itself says no in JSON; whatever else this is comes and goes with a gateway.
    return UnexpectedReply(f"{why} Or a proxy or login page is in front of it.", **facts)
