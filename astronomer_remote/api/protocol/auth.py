"""
Authentication: how requests prove who sends them.

A login is a class that is found by the name in the connection's ``auth``: one of :data:`BUILT_IN`, or one that an
installed package declares as an entry point of the group :data:`GROUP`. A connection never names a module.

:meth:`Authentication.prepare` is a flow that gets ready (logs in), and :meth:`Authentication.headers` are what an
authenticated request then carries. The client calls :meth:`Authentication.refused` to find out whether the credentials
were refused, and :meth:`Authentication.refresh` to get a new token or to present them another way.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, ClassVar
from urllib.parse import urlsplit

from astronomer_remote.api.protocol.errors import InvalidSettings, UnexpectedReply
from astronomer_remote.api.protocol.flow import LARGE_JSON, Flow, Request, Response
from astronomer_remote.api.protocol.models import Generation, Version
from astronomer_remote.api.protocol.untrusted import http_date

Send = Callable[[Request], Flow[Response]]
"""Sends a request with retries, and returns the reply, whatever its status."""

GROUP = "astronomer_remote.auth"
"""Group of the entry points that declare further logins."""

AUTO, NONE = "auto", "none"

BUILT_IN: Mapping[str, str] = {
    "astro_token": "astronomer_remote.api.logins.astro:AstroToken",
    "software_api_key": "astronomer_remote.api.logins.token:SoftwareApiKey",
    "basic": "astronomer_remote.api.logins.basic:Basic",
    "airflow_login": "astronomer_remote.api.logins.airflow_login:AirflowLogin",
    "oauth2": "astronomer_remote.api.logins.oauth2:OAuth2",
    "keycloak_client": "astronomer_remote.api.logins.keycloak:KeycloakClient",
    "mwaa": "astronomer_remote.api.logins.mwaa:Mwaa",
    "composer": "astronomer_remote.api.logins.composer:Composer",
}
"""The logins of this package. No other package can replace them."""

AUTHENTICATIONS = (AUTO, *BUILT_IN, NONE)
"""What a connection's ``auth`` may be, besides the logins of other packages."""

REFRESH_SECONDS_BEFORE_EXPIRY = 60.0
"""A token is refreshed this long before it expires, so that it does not expire on its way; one of less than two
minutes after half its life."""

LONGEST_TOKEN = 16 * 1024
"""Characters of a token or cookie; no server takes a header that is longer."""


@dataclass(frozen=True)
class Credentials:
    """
    What a login may read of a connection.

    :param base_url: the deployment's URL; empty until :meth:`Authentication.locate` has found it.
    :param login: user name.
    :param password: the connection's password.
    :param fields: the fields of the connection's extra that the login has declared, without empty ones.
    """

    base_url: str
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    fields: Mapping[str, str] = field(default_factory=dict, repr=False)

    def url(self, name: str) -> str:
        """
        A field that is the URL of an endpoint, such as ``token_url``.

        :raises InvalidSettings: if it is no ``http`` or ``https`` URL, or has a user name, a query or a fragment.
        """
        text = self.fields.get(name, "")
        try:
            url = urlsplit(text)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            usable = False
        if not usable or not is_token_text(text) or any(character in text for character in "@?#\\"):
            # It is not repeated: a secret may be in it by mistake.
            raise InvalidSettings(
                f"The connection's {name} must be a URL such as https://login.example.com/oauth2/token, without a "
                "user name, a query and a fragment."
            )
        return text


@dataclass(frozen=True)
class Token:
    """
    A token that a server has issued.

    :param text: the token itself.
    :param expires: when, in seconds since the epoch by the local clock; ``None`` if that is not known.
    """

    text: str = field(repr=False)
    expires: float | None = None


@dataclass(frozen=True)
class Cookie:
    """
    A cookie that a server has set.

    :param value: its value.
    :param seconds: how long it is valid, by its ``Max-Age``, else from ``Date`` to ``Expires``; ``None`` if that is not
        known.
    """

    value: str = field(repr=False)
    seconds: float | None = None


class Authentication:
    """
    No authentication, and the base of all logins.

    The constructor checks the connection and does no I/O: it is called when the connection is read.

    :param credentials: what the connection says.
    :raises InvalidSettings: if something is missing or wrong.
    """

    needs: ClassVar[tuple[str, ...]] = ()
    """What the connection must have: ``login``, ``password`` or names of fields."""

    fields: ClassVar[tuple[str, ...]] = ()
    """Names of the fields of the connection's extra that the login reads, all of them text."""

    secret_fields: ClassVar[tuple[str, ...]] = ()
    """Names of further such fields, whose values are masked in logs and in what the remote sends back."""

    place: ClassVar[str | None] = None
    """Name of the field that names the deployment for :meth:`locate`, for connections without a host."""

    before_detection: ClassVar[bool] = True
    """Whether it can log in before the remote's version of Airflow is known. The detection sends its headers only if
    a request without them is refused."""

    must_verify: ClassVar[bool] = False
    """Whether ``verify`` must be on: what it sends belongs to the machine, not to the connection."""

    account: str | None = None
    """Who its service says that the credentials belong to. The Test button shows it instead of the user name."""

    urls: tuple[str, ...] = ()
    """The URLs outside of the deployment that it sends requests to, from the connection's fields. Others are refused;
    what a reply names is never one of them."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials

    @property
    def label(self) -> str:
        """What the deployment gets, as an error calls it."""
        if self.credentials.login:
            return f"the connection's login {self.credentials.login!r}"
        return "the connection's token or key" if self.credentials.password else "what the connection's login sends"

    def advice(self, status: int) -> str:
        """What to check if the deployment does not accept it. :param status: HTTP status of the refusal."""
        return "Check the connection's login, password and authentication; a token may have expired."

    def locate(self, send: Send) -> Flow[str]:
        """
        Find the deployment's URL by the field :attr:`place`, for a connection without a host.

        The result is remembered for some minutes. It must be checked: the deployment's credentials are sent there.

        :param send: sends a request.
        :raises RemoteError: if it is not found.
        """
        raise NotImplementedError

    def remote_is(self, generation: Generation, version: Version | None) -> None:
        """Called once, before the first request that needs a login. :param version: ``None`` for Airflow 1.10."""

    def prepare(self, now: float, send: Send) -> Flow[None]:
        """
        Get ready to authenticate a request; called before each.

        Requests of a client that are sent meanwhile wait until it is done.

        :param now: seconds since the epoch.
        :param send: sends a request.
        :raises AuthenticationFailed: if the credentials are refused: the connection is read again once.
        """
        yield from ()

    def headers(self) -> Mapping[str, str]:
        """What an authenticated request carries. It is sent to the deployment alone."""
        return {}

    def refused(self, response: Response) -> bool:
        """Whether a reply says that the credentials were not accepted, rather than that a permission is missing."""
        # Airflow 2.11 answers missing and wrong credentials with 403 and no detail; with a detail it is a permission.
        if response.status != 403:
            return says_unauthorized(response)
        return response.is_airflow_error and _detail(response) is None

    @property
    def issued(self) -> tuple[str, ...]:
        """Secrets that the remote has issued to us, which are masked like those of the connection."""
        return ()

    def refresh(self) -> bool:
        """After a refusal: drop the token or use another form of the credentials. :return: whether a retry may help."""
        return False


class TokenLogin(Authentication):
    """A login that gets a token, sends it as ``Bearer``, and refreshes it before it expires."""

    def __init__(self, credentials: Credentials) -> None:
        super().__init__(credentials)
        self._token: Token | None = None
        self._refresh_at = math.inf

    @property
    def label(self) -> str:
        return "the token that the connection's login got"

    def advice(self, status: int) -> str:
        return "Check that the login is for this deployment, and for whom it gets the token."

    def fetch(self, now: float, send: Send) -> Flow[Token]:
        """
        Get a token.

        :raises AuthenticationFailed: if the credentials are refused: the connection is read again once.
        :raises UnexpectedReply: for a reply that may pass: it is retried.
        """
        raise NotImplementedError

    def prepare(self, now: float, send: Send) -> Flow[None]:
        if self._token and now < self._refresh_at:
            return
        self._token = token = yield from self.fetch(now, send)
        expires = math.inf if token.expires is None else token.expires
        self._refresh_at = expires - min(REFRESH_SECONDS_BEFORE_EXPIRY, max(expires - now, 0.0) / 2)

    def headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._token.text}"} if self._token else {}

    def refused(self, response: Response) -> bool:
        return refused_by_gateway(response)

    @property
    def issued(self) -> tuple[str, ...]:
        return (self._token.text,) if self._token else ()

    def refresh(self) -> bool:
        had_token, self._token = self._token is not None, None
        return had_token


@cache
def find(name: str) -> type[Authentication]:
    """
    The login of a name. It is looked up and imported once per process.

    :raises InvalidSettings: if there is none, or it cannot be used.
    """
    if name in (AUTO, NONE):
        return Authentication
    if name in BUILT_IN:
        entry_point = EntryPoint(name, BUILT_IN[name], GROUP)
    else:
        found = {each.value: each for each in entry_points(group=GROUP) if each.name == name}
        if not found:
            raise InvalidSettings(
                f"The connection's auth={name!r} must be one of: {', '.join(names())}. Further ones come with a "
                f"package that has an entry point of the group {GROUP}, installed for workers and triggerer."
            )
        if len(found) > 1:
            raise InvalidSettings(f"Several packages have a login {name!r}: {', '.join(sorted(found))}. Keep one.")
        (entry_point,) = found.values()
    try:
        login = entry_point.load()
    except Exception as error:  # whatever importing another package raises
        raise InvalidSettings(
            f"The login {name!r} ({entry_point.value}) cannot be imported: {type(error).__name__}: {error}."
        ) from error
    if not (isinstance(login, type) and issubclass(login, Authentication)):
        raise InvalidSettings(f"The login {name!r} ({entry_point.value}) is no subclass of Authentication.")
    return login


def names() -> list[str]:
    """What a connection's ``auth`` may be, with the logins of installed packages."""
    return list(dict.fromkeys((*AUTHENTICATIONS, *sorted(entry_points(group=GROUP).names))))


def read_token(reply: Response, now: float) -> Token:
    """
    The token in a reply that grants one, as OAuth2 has it: ``access_token``, ``token_type`` and ``expires_in``.

    Without ``expires_in``, a JSON Web Token says itself when it expires. Its signature is not checked: only the server
    can do that.

    :raises UnexpectedReply: if there is none.
    """
    try:
        granted = reply.json() if reply.status in (200, 201) and len(reply.body) <= LARGE_JSON else {}
    except ValueError:
        granted = {}
    granted = granted if isinstance(granted, dict) else {}
    text, kind = granted.get("access_token"), granted.get("token_type")
    is_bearer = kind is None or (isinstance(kind, str) and kind.lower() == "bearer")
    if not (isinstance(text, str) and is_token_text(text) and len(text) <= LONGEST_TOKEN and is_bearer):
        raise UnexpectedReply(f"The reply to a login (HTTP {reply.status}) has no token.", status=reply.status)
    lifetime = granted.get("expires_in")
    if isinstance(lifetime, (int, float, str)) and not isinstance(lifetime, bool):
        try:
            seconds = float(lifetime)
        except (ValueError, OverflowError):
            seconds = math.nan
        if math.isfinite(seconds) and seconds > 0:
            return Token(text, now + seconds)
    return Token(text, expiry_of(text, now))


def read_cookie(response: Response, name: str) -> Cookie | None:
    """A cookie that a reply sets."""
    # Several cookies may have been joined into one field, which http.cookies cannot take apart.
    found = re.search(
        rf"(?:^|[,;\s]){re.escape(name)}=([^;,\s]+)((?:;(?: *[Ee]xpires=[A-Za-z]+,[^;,]*|[^;,]*))*)",
        response.headers.get("set-cookie", ""),
    )
    if not (found and is_token_text(found[1]) and len(found[1]) <= LONGEST_TOKEN):
        return None
    parts = (each.partition("=") for each in found[2].split(";"))
    attributes = {key.strip().lower(): text.strip() for key, _, text in parts}
    expires, date = http_date(attributes.get("expires", "")), http_date(response.headers.get("date", ""))
    seconds = (expires - date).total_seconds() if expires and date else 0.0
    if re.fullmatch("[0-9]{1,12}", attributes.get("max-age", ""), re.ASCII):
        seconds = float(attributes["max-age"])
    # One that has expired already says nothing about the next one.
    return Cookie(found[1], seconds if seconds > 0 else None)


def is_token_text(text: str) -> bool:
    """Whether a text can be sent as a token: visible characters of ASCII alone."""
    return text.isascii() and text.isprintable() and " " not in text and bool(text)


def refused_by_gateway(response: Response) -> bool:
    """Whether Airflow or a gateway in front of it says that the credentials were not accepted."""
    # The gateway in front of a hosted deployment answers with a page of its own, or redirects to a login page.
    return response.status in (301, 302, 303, 307, 308, 401) or (
        response.status == 403 and names_the_credentials(response)
    )


def says_unauthorized(response: Response) -> bool:
    """Whether Airflow itself says that the credentials were not accepted."""
    # A page without WWW-Authenticate is not Airflow's: a gateway may send it while the deployment is down.
    return response.status == 401 and (not response.is_page or "www-authenticate" in response.headers)


def names_the_credentials(response: Response) -> bool:
    """Whether a 403 is about the credentials rather than a permission."""
    return _detail(response) in (None, "Invalid JWT token") or not response.is_json


def _detail(response: Response) -> object:
    try:
        body = response.json()
    except ValueError:
        return response.beginning()
    return body.get("detail") if isinstance(body, dict) else body


def expiry_of(token: str, now: float) -> float | None:
    """
    When a JSON Web Token expires, by the local clock; ``None`` for another token.

    Its life is the time from ``iat`` to ``exp``, as the clocks of the two machines may differ.

    One of Airflow's Keycloak auth manager contains a token of Keycloak, which usually expires earlier. Airflow then
    answers with 403, as if a permission were missing (its ``_is_authorized``).
    """
    claims = _claims(token)
    inner = claims.get("access_token")
    both = [_local_expiry(each, now) for each in (claims, _claims(inner) if isinstance(inner, str) else {})]
    return min((expires for expires in both if expires is not None), default=None)


def _local_expiry(claims: Mapping[str, Any], now: float) -> float | None:
    expires, issued = _date(claims.get("exp")), _date(claims.get("iat"))
    if expires is None or issued is None or issued >= expires:
        return expires
    life = now + expires - issued
    # A token may be older than the reply. One that has expired already is from a machine whose clock is behind.
    return min(expires, life) if expires > now else life


def _claims(token: str) -> dict[str, Any]:
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (LookupError, ValueError, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _date(value: Any) -> float | None:
    try:
        date = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return date if math.isfinite(date) else None
