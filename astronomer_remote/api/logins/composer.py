"""
An environment of Google Cloud Composer 2 or 3, for the credentials that google-auth finds.

Composer accepts an OAuth2 access token of the scope ``cloud-platform``, see
https://cloud.google.com/composer/docs/composer-3/access-airflow-api. Composer 1 has another login, which is not
supported.
"""

from __future__ import annotations

import json
import os
import re
import stat
from datetime import timezone
from functools import partial
from typing import TYPE_CHECKING, Any

from astronomer_remote.api.logins.libraries import SECONDS_TO_REPLY, require, unlogged
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.auth import Credentials, Send, Token, TokenLogin
from astronomer_remote.api.protocol.errors import (
    LONGEST_DETAIL,
    AuthenticationFailed,
    InvalidSettings,
    NotFound,
    RequestRefused,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Flow, Response, blocking, request_to

if TYPE_CHECKING:
    from google.auth.credentials import Credentials as GoogleCredentials

API = "https://composer.googleapis.com/v1"

NAME = re.compile(
    r"projects/(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]/locations/[a-z0-9-]{1,40}/environments/[a-z][a-z0-9-]{0,62}",
    re.ASCII,
)

AIRFLOW_URL = re.compile(r"https://(?:[a-z0-9-]{1,63}\.)+composer(?:\.byoid)?\.googleusercontent\.com", re.ASCII)
"""URLs of environments: below Google's domain for them, without a port and a path."""

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

LARGEST_KEY_FILE = 64 * 1024
"""Bytes of a key's file; a key has less than 4 KiB."""

LOGGERS = ("google.auth.transport.requests", "google.auth.transport._helpers", "google.auth._helpers")


class Composer(TokenLogin):
    """
    Application default credentials, or the key of a service account in the file ``google_key_file``.

    Without a host, the Composer API is read for the URL of ``composer_environment``.
    """

    fields = ("composer_environment", "google_key_file")
    must_verify = True
    place = "composer_environment"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        if credentials.login or credentials.password:
            raise InvalidSettings(
                "auth='composer' takes no login and password: google-auth finds the credentials, or google_key_file "
                "has them. Leave both empty."
            )
        if credentials.base_url and not AIRFLOW_URL.fullmatch(credentials.base_url):
            # The token gives access to all of Google Cloud, and the host comes from the connection.
            raise InvalidSettings(
                "With auth='composer', the connection's host must be the URL of an environment of Composer 2 or 3, "
                "such as https://0123abcd-dot-europe-west1.composer.googleusercontent.com: no token is sent elsewhere."
            )
        name = credentials.fields.get("composer_environment")
        if name is not None:
            if not NAME.fullmatch(name):
                raise InvalidSettings(
                    f"The connection's composer_environment={name!r} must be the full name of an environment, such as "
                    "projects/my-project/locations/europe-west1/environments/my-environment."
                )
            self.urls = (f"{API}/{name}",)
        require("google.auth", "google")
        self._shown = ""

    @property
    def label(self) -> str:
        return f"the access token of {self.account or 'the account that google-auth found'}"

    def advice(self, status: int) -> str:
        return (
            "The account needs the role Composer User (roles/composer.user) in the environment's project. If its "
            "address has more than 64 characters, it must be registered in Airflow first."
        )

    def fetch(self, now: float, send: Send) -> Flow[Token]:
        return (yield from blocking(self._access_token))

    @property
    def issued(self) -> tuple[str, ...]:
        return (*super().issued, self._shown)

    def locate(self, send: Send) -> Flow[str]:
        token = yield from blocking(self._access_token)
        self._shown = token.text
        headers = {"Authorization": f"Bearer {token.text}"}
        reply = yield from send(request_to(self.urls[0], method="GET", headers=headers))
        name = self.urls[0].removeprefix(f"{API}/")
        facts: dict[str, Any] = {"status": reply.status, "detail": _reason(reply)}
        if reply.status in (401, 403):
            raise AuthenticationFailed(
                f"The Composer API does not show the environment {name!r} to {self.account or 'these credentials'}. "
                "They need the role Composer User (roles/composer.user). Or set the connection's host to the "
                "environment's URL.",
                **facts,
            )
        if reply.status == 404:
            raise NotFound(f"There is no environment {name!r}. Check the connection's composer_environment.", **facts)
        if 400 <= reply.status < 500:
            raise RequestRefused(
                f"The Composer API refused to show the environment {name!r}. Check the connection's "
                "composer_environment.",
                **facts,
            )
        return _airflow_url(reply)

    def _access_token(self) -> Token:
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError, TransportError
        from google.auth.transport.requests import Request

        try:
            with unlogged(*LOGGERS):
                request: Any = partial(Request(), timeout=SECONDS_TO_REPLY)
                found = self._found(request)
                found.refresh(request)  # type: ignore[no-untyped-call]  # so in google-auth
        except DefaultCredentialsError as error:
            raise AuthenticationFailed(
                f"google-auth found no credentials in workers or triggerer: {_text(error)} Give the connection a "
                "google_key_file, or configure application default credentials."
            ) from None
        except TransportError as error:
            raise UnexpectedReply(f"Google could not be reached: {_text(error)}") from None
        except RefreshError as error:
            why = f"Google issued no access token: {_text(error)}"
            if error.retryable:
                raise UnexpectedReply(why) from None
            raise AuthenticationFailed(f"{why} Check the service account and its key.") from None
        except GoogleAuthError as error:
            raise AuthenticationFailed(f"google-auth could not get an access token: {_text(error)}") from None
        if not isinstance(found.token, str):
            raise UnexpectedReply("The reply of Google has no access token.")
        self.account = getattr(found, "service_account_email", None)
        expires = found.expiry.replace(tzinfo=timezone.utc).timestamp() if found.expiry else None
        return Token(found.token, expires)

    def _found(self, request: Any) -> GoogleCredentials:
        path = self.credentials.fields.get("google_key_file")
        if path is None:
            import google.auth

            credentials: GoogleCredentials = google.auth.default(scopes=SCOPES, request=request)[0]
            return credentials
        from google.oauth2 import service_account

        try:
            # Only the key of a service account: other kinds of files may name programs to run and hosts to call.
            key: GoogleCredentials = service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call]
                _key_in(path), scopes=SCOPES
            )
        except (OSError, ValueError, TypeError, AttributeError) as error:
            # The text of the others may repeat what is in the file.
            why = error.strerror if isinstance(error, OSError) else "it is not such a key"
            raise InvalidSettings(
                f"The connection's google_key_file {path!r} must be the JSON key of a service account, a regular file "
                f"of at most {LARGEST_KEY_FILE // 1024} KiB that workers and triggerer may read: {why}."
            ) from None
        return key


def _key_in(path: str) -> dict[str, Any]:
    """
    The key in a file.

    :raises OSError: if it cannot be opened.
    :raises ValueError: if it is no JSON key of a service account.
    """
    # A named pipe is opened without waiting for its writer.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("not a regular file")
        text = file.read(LARGEST_KEY_FILE + 1)
    if len(text) > LARGEST_KEY_FILE:
        raise ValueError("too large")
    key = json.loads(text)
    if not isinstance(key, dict) or key.get("type") != "service_account":
        raise ValueError("another kind of key")
    return key


def _reason(reply: Response) -> str | None:
    """Why Google refuses a request, in its own words."""
    try:
        error = reply.json().get("error")
    except (ValueError, AttributeError):
        return None
    message = error.get("message") if isinstance(error, dict) else None
    return reply.redact(message) if isinstance(message, str) and message else None


def _airflow_url(reply: Response) -> str:
    """The environment's URL in a reply of the Composer API."""
    try:
        config = reply.json().get("config") if reply.status == 200 else None
    except (ValueError, AttributeError):
        config = None
    url = config.get("airflowUri") if isinstance(config, dict) else None
    if not isinstance(url, str) or not url:
        raise UnexpectedReply(
            "The Composer API shows no URL of the environment; it may be under construction.", status=reply.status
        )
    if not AIRFLOW_URL.fullmatch(url.rstrip("/")):
        raise InvalidSettings(
            f"The Composer API names {reply.redact(url)!r} as the environment's URL, which is none of Composer 2 or 3: "
            "no token is sent there."
        )
    return url.rstrip("/")


def _text(error: Exception) -> str:
    """What google-auth says, in one line; of an error with a reply only its summary."""
    text = untrusted.sentence(str(error.args[0] if error.args else error), LONGEST_DETAIL)
    return text if text.endswith(".") else f"{text}."
