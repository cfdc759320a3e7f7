"""
Authentication: how requests prove who sends them.

Each login is a small object: :meth:`Authentication.prepare` is a flow that gets ready (logs in), and
:meth:`Authentication.headers` are what an authenticated request then carries. The client calls
:meth:`Authentication.refused` to find out whether the credentials were refused, and
:meth:`Authentication.refresh` to get a new token or to present them another way.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from astronomer_remote.api.protocol.errors import AuthenticationFailed, TransientError, UnexpectedReply
from astronomer_remote.api.protocol.flow import LARGE_JSON, Flow, Request, Response
from astronomer_remote.api.protocol.models import Generation, Version
from astronomer_remote.api.protocol.settings import AUTO, Settings, is_token_text

Send = Callable[[Request], Flow[Response]]
"""Sends a request with retries, and returns the reply, whatever its status."""

REFRESH_SECONDS_BEFORE_EXPIRY = 60
"""A token is refreshed this long before it expires, so that it does not expire on its way."""

LOGIN_PATH = "/auth/token"
"""Where Airflow 3 gives out a token for user name and password."""

LARGEST_LOGIN_PAGE = 512 * 1024
"""Bytes of a login page that are searched; Airflow's has a few thousand."""

LONGEST_TOKEN = 16 * 1024
"""Characters of a token or cookie; no server takes a header that is longer."""

BASIC_REQUESTS_BEFORE_SESSION = 2
"""A web session costs two requests to get, which pays off from the third request on."""


class Authentication:
    """No authentication, and the base of all others."""

    def prepare(self, now: float, send: Send) -> Flow[None]:
        """Get ready to authenticate a request. :param now: seconds since the epoch."""
        yield from ()

    def headers(self) -> Mapping[str, str]:
        """What an authenticated request carries."""
        return {}

    def refused(self, response: Response) -> bool:
        """Whether a reply says that the credentials were not accepted, rather than that a permission is missing."""
        # Airflow 2.11 answers missing and wrong credentials with 403 and no detail; with a detail it is a permission.
        if response.status != 403:
            return _says_unauthorized(response)
        return response.is_airflow_error and _detail(response) is None

    @property
    def issued(self) -> tuple[str, ...]:
        """Secrets that the remote has issued to us."""
        return ()

    def refresh(self) -> bool:
        """After a refusal: drop the token or use another form of the credentials. :return: whether a retry may help."""
        return False


class StaticHeader(Authentication):
    """
    A token or key that is sent as it is.

    :param values: forms of the ``Authorization`` header, tried in order until one is accepted: an Astro API token is
        sent as ``Bearer``, while Astronomer Software's service accounts need the bare key.
    """

    def __init__(self, *values: str) -> None:
        self._values = list(values)

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": self._values[0]}

    def refused(self, response: Response) -> bool:
        # The gateway in front of a hosted deployment answers with a page of its own, or redirects to a login page.
        return response.status in (301, 302, 303, 307, 308, 401) or (
            response.status == 403 and _names_the_credentials(response)
        )

    def refresh(self) -> bool:
        if len(self._values) == 1:
            return False
        self._values.pop(0)
        return True


class Basic(Authentication):
    """
    User and password on Airflow 2, turned into a web session where the server allows it.

    Airflow 2 hashes the password again for each request with Basic authentication, about 100 ms of CPU. A web
    session of the same user, which its API accepts with the ``session`` backend (the default since 2.3), costs
    none of it. Where logging in does not work, Basic continues.
    """

    def __init__(self, login: str, password: str, *, may_use_session: bool) -> None:
        self._login, self._password = login, password
        self._may_use_session = may_use_session
        self._cookie: str | None = None
        self._cookie_proved = False
        self._requests = 0

    def prepare(self, now: float, send: Send) -> Flow[None]:
        if self._cookie:
            self._cookie_proved = True
        elif self._may_use_session and self._requests >= BASIC_REQUESTS_BEFORE_SESSION:
            self._cookie = yield from self._open_session(send)
            self._may_use_session = self._cookie is not None
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
        # A session that was never accepted never will be: the API's session backend is off.
        self._may_use_session = self._cookie_proved
        self._cookie, self._cookie_proved, self._requests = None, False, 0
        return True

    def _open_session(self, send: Send) -> Flow[str | None]:
        try:
            return (yield from self._log_in(send))
        except TransientError:
            # The login page may be broken, or allow few logins at a time, where the API works.
            return None

    def _log_in(self, send: Send) -> Flow[str | None]:
        page = yield from send(Request("GET", "/login/", authenticated=False))
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
                repeatable=True,
            )
        )
        # A wrong password shows the form again, a right one leads to the home page.
        return _session_cookie(reply) if reply.status == 302 else None


class AirflowLogin(Authentication):
    """User and password on Airflow 3: gets a token, and refreshes it before it expires."""

    def __init__(self, login: str, password: str) -> None:
        self._login, self._password = login, password
        self._token: str | None = None
        self._expires: float | None = None

    def prepare(self, now: float, send: Send) -> Flow[None]:
        if self._token and (self._expires is None or now < self._expires - REFRESH_SECONDS_BEFORE_EXPIRY):
            return
        request = Request(
            "POST",
            LOGIN_PATH,
            body={"username": self._login, "password": self._password},
            authenticated=False,
            repeatable=True,
        )
        reply = yield from send(request)
        self._token = _access_token(reply, self._login)
        self._expires = _expiry(self._token)

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def refused(self, response: Response) -> bool:
        # Airflow says it in JSON; a page is that of a gateway, which knows nothing of this token.
        if response.status != 403:
            return _says_unauthorized(response)
        return response.is_airflow_error and _names_the_credentials(response)

    @property
    def issued(self) -> tuple[str, ...]:
        return (self._token,) if self._token else ()

    def refresh(self) -> bool:
        had_token, self._token = self._token is not None, None
        return had_token


def choose(settings: Settings, generation: Generation, version: Version | None) -> Authentication:
    """The authentication that the connection names, or that fits its fields and the remote."""
    way = settings.authentication
    login, secret = settings.login or "", settings.password or ""
    if way == AUTO and settings.login and settings.password:
        way = "airflow_login" if generation is Generation.V2 else "basic"
    if way == "basic":
        # Several authentication backends at once, and so the web session's, exist since 2.3.
        may_use_session = generation is Generation.V1 and version is not None and version >= (2, 3)
        return Basic(login, secret, may_use_session=may_use_session)
    if way == "airflow_login":
        return AirflowLogin(login, secret)
    return static(settings) or Authentication()


def static(settings: Settings) -> StaticHeader | None:
    """The token or key in the connection, which needs no knowledge of the remote; ``None`` without one."""
    key = settings.password
    if not key or settings.authentication in ("basic", "airflow_login", "none"):
        return None
    if settings.authentication == "software_api_key":
        return StaticHeader(key)
    if settings.authentication == "astro_token":
        return StaticHeader(f"Bearer {key}")
    return None if settings.login else StaticHeader(f"Bearer {key}", key)


def _access_token(reply: Response, login: str) -> str:
    try:
        granted = reply.status in (200, 201) and len(reply.body) <= LARGE_JSON
        token = reply.json()["access_token"] if granted else None
    except (ValueError, KeyError, TypeError):
        token = None
    if isinstance(token, str) and is_token_text(token) and len(token) <= LONGEST_TOKEN:
        return token
    facts: dict[str, Any] = {"status": reply.status, "method": "POST", "path": LOGIN_PATH}
    if reply.status in (400, 401, 403, 422) and reply.is_airflow_error:
        raise AuthenticationFailed(
            f"The remote did not accept the connection's login {login!r}. Check the connection's login and password.",
            **facts,
        )
    why = (
        f"Could not log in as {login!r}. This deployment may not let users log in with a password; give the "
        "connection an API token instead."
    )
    if reply.status >= 400 and reply.is_airflow_error:
        raise AuthenticationFailed(why, **facts)
    # Airflow itself says no in JSON; whatever else this is comes and goes with a gateway.
    raise UnexpectedReply(f"{why} Or a proxy or login page is in front of it.", **facts)


def _expiry(token: str) -> float | None:
    """When a JSON Web Token expires. Its signature is not checked: only the server can do that."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        expires = float(claims["exp"])
    except (LookupError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    return expires if math.isfinite(expires) else None


def _csrf_token(page: Response) -> str | None:
    """The token in the form of a login page, searched step by step: regular expressions take long for some pages."""
    text = page.beginning(LARGEST_LOGIN_PAGE)
    start = text.find('name="csrf_token"')
    tag = text[start : text.find(">", start)] if start >= 0 else ""
    token = tag.partition('value="')[2].partition('"')[0]
    return token if is_token_text(token) and len(token) <= LONGEST_TOKEN else None


def _session_cookie(response: Response) -> str | None:
    # Several cookies may have been joined into one field, which http.cookies cannot take apart.
    found = re.search(r"(?:^|[,;\s])(session=[^;,\s]+)", response.headers.get("set-cookie", ""))
    cookie = found[1] if found else ""
    return cookie if is_token_text(cookie) and len(cookie) <= LONGEST_TOKEN else None


def _says_unauthorized(response: Response) -> bool:
    # A page without WWW-Authenticate is not Airflow's: a gateway may send it while the deployment is down.
    return response.status == 401 and (not response.is_page or "www-authenticate" in response.headers)


def _detail(response: Response) -> object:
    try:
        body = response.json()
    except ValueError:
        return response.beginning()
    return body.get("detail") if isinstance(body, dict) else body


def _names_the_credentials(response: Response) -> bool:
    return _detail(response) in (None, "Invalid JWT token") or not response.is_json
