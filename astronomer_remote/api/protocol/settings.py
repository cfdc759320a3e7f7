"""Where a remote is and how to reach it, checked once and early, from an Airflow connection's plain values."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from astronomer_remote.api.protocol.auth import AUTO, NONE, Credentials, find, is_token_text
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import Generation

READABLE_IN_A_PATH = "/%:!$&'()*+,;=~"
"""Characters of a URL's path that stay as they are; what is quoted already is not quoted again."""

PAGES = frozenset({"api", "dags"})
"""Where pages of Airflow's UI and its API begin: from there on, a path is no part of a deployment's URL."""

LAST_PAGES = frozenset(
    {
        *("assets", "backfills", "cluster_activity", "configs", "configuration", "connections", "dag_runs", "datasets"),
        *(
            "events",
            "home",
            "jobs",
            "list",
            "login",
            "plugins",
            "pools",
            "providers",
            "required_actions",
            "task_instances",
        ),
        *("variables", "xcoms"),
    }
)
"""Further pages, of which only the last segment of an address is taken for one: the names are not Airflow's alone."""

LISTS = frozenset({"connection", "dagrun", "job", "log", "pool", "slamiss", "taskinstance", "variable", "xcom"})
"""What comes before ``/list`` in the addresses of Airflow 2."""

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
FRAMING = frozenset({"connection", "content-length", "transfer-encoding", "content-encoding", "upgrade"})
"""Headers that say where a request ends and how it is sent, which only the HTTP library knows."""

PROXIES = ("http", "https")


@dataclass(frozen=True)
class Settings:
    """
    Everything a connection says about a remote.

    :param base_url: the deployment's URL without a trailing slash and without the API's own path; empty if the login
        finds it by a field of its own.
    :param login: user name.
    :param password: the user's password, or an API token or key.
    :param authentication: one of :data:`~astronomer_remote.api.protocol.auth.AUTHENTICATIONS`, or the login of another
        package.
    :param login_fields: what the login reads of the connection's extra.
    :param generation: the API to speak; ``None`` finds it out.
    :param connect_timeout: seconds.
    :param read_timeout: seconds between two pieces of a reply.
    :param verify: whether the remote's TLS certificate is checked.
    :param ca_file: file of certificates to check it against, instead of the system's.
    :param client_certificate: file with our own certificate (PEM).
    :param client_key_file: file with its key, where the certificate's file does not hold it.
    :param proxy: URL of a proxy.
    :param headers: additional headers of each request.
    :param read_only: whether to send only requests that change nothing.
    :param wake: whether to wake a Deployment of Astro that hibernates.
    :param openlineage_namespace: the namespace that the deployment's own OpenLineage events have.
    """

    base_url: str
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    authentication: str = AUTO
    login_fields: Mapping[str, str] = field(default_factory=dict, repr=False)
    generation: Generation | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    verify: bool = True
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key_file: str | None = None
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    read_only: bool = False
    wake: bool = False
    openlineage_namespace: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown: the password, and the forms of it that requests carry."""
        pair = f"{self.login or ''}:{self.password or ''}".encode()
        basic = base64.b64encode(pair).decode() if self.password else None
        fields = (self.login_fields.get(name) for name in find(self.authentication).secret_fields)
        return tuple(filter(None, (self.password, basic, *fields, *self._secrets_of_proxy(), *self.headers.values())))

    @property
    def credentials(self) -> Credentials:
        """What a login may read of them."""
        return Credentials(self.base_url, self.login, self.password, self.login_fields)

    def _secrets_of_proxy(self) -> tuple[str, ...]:
        """The proxy's password: quoted as in the URL, plain, and encoded with the user name as the proxy gets it."""
        parts = urlsplit(self.proxy or "")
        if not parts.password:
            return ()
        user, password = unquote(parts.username or ""), unquote(parts.password)
        return parts.password, password, base64.b64encode(f"{user}:{password}".encode()).decode()

    def __hash__(self) -> int:
        # The generated one cannot take the headers; equality looks at all fields.
        return hash((self.base_url, self.login, self.password))

    @classmethod
    def parse(
        cls,
        *,
        host: str | None,
        schema: str | None = None,
        port: int | None = None,
        login: str | None = None,
        password: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Settings:
        """
        Read the fields of a connection; ``None`` and ``""`` mean "not set".

        :raises InvalidSettings: naming the field, what is wrong with it and what would be right.
        """
        if not isinstance(extra or {}, Mapping):
            raise InvalidSettings(
                'The connection\'s extra must be a JSON object such as {"auth": "basic"}, '
                f"not {type(extra).__name__}."
            )
        given = {key: value for key, value in (extra or {}).items() if value is not None and value != ""}
        proxy = _text(given, "proxy")
        auth = str(given.get("auth", AUTO)).strip().lower()
        if auth == AUTO and "astro_deployment" in given:
            auth = "astro_token"
        login_class = find(auth)
        located = not (host or "").strip() and bool(login_class.place and _text(given, login_class.place))
        api = _choice(given, "api", (AUTO, *(generation.value for generation in Generation)))
        settings = cls(
            base_url="" if located else _base_url(host or "", schema or "", port),
            login=login or None,
            password=password or None,
            authentication=auth,
            login_fields=_texts(given, (*login_class.fields, *login_class.secret_fields)),
            generation=None if api == AUTO else Generation(api),
            connect_timeout=_seconds(given, "connect_timeout", cls.connect_timeout),
            read_timeout=_seconds(given, "read_timeout", cls.read_timeout),
            verify=_boolean(given, "verify", default=cls.verify),
            ca_file=_text(given, "ca_file"),
            client_certificate=_text(given, "client_certificate"),
            client_key_file=_text(given, "client_key_file"),
            proxy=proxy_url(proxy, "The connection's proxy") if proxy else None,
            headers=_headers(given, "secret_headers"),
            read_only=_boolean(given, "read_only", default=cls.read_only),
            wake=_boolean(given, "wake", default=cls.wake),
            openlineage_namespace=_text(given, "openlineage_namespace"),
        )
        has = {"login": settings.login, "password": settings.password, **settings.login_fields}
        for name in login_class.needs:
            if not has.get(name):
                raise InvalidSettings(f"auth={auth!r} needs the connection's {name}.")
        if login_class.must_verify and not settings.verify:
            raise InvalidSettings(
                f"With auth={auth!r}, the connection's verify must be on: what is sent belongs to an identity of the "
                "machine. For a private authority, set ca_file."
            )
        settings._check_token()
        settings._check_wake()
        # Raises what else is wrong for this login.
        login_class(settings.credentials)
        return settings

    def _check_wake(self) -> None:
        if self.wake and not self.login_fields.get("astro_deployment"):
            raise InvalidSettings(
                "The connection's wake needs an Astro API token, astro_organization_id and astro_deployment."
            )
        if self.wake and self.read_only:
            raise InvalidSettings("The connection's wake changes a Deployment, which read_only forbids. Set only one.")

    def _check_token(self) -> None:
        is_token = self.authentication in ("astro_token", "software_api_key") or (
            self.authentication in (AUTO, NONE) and not self.login
        )
        if self.password and is_token and not is_token_text(self.password):
            raise InvalidSettings(
                "The connection's password is to be sent as a token, but holds a line break, a space, a control "
                "character or a character beyond ASCII. Was it cut and pasted whole?"
            )


def proxy_url(text: str, name: str) -> str:
    """
    The URL of a proxy, with a scheme.

    :param text: as configured; without a scheme it is ``http``.
    :param name: where it is configured, for the error, which does not repeat the text: it may hold a password.
    :raises InvalidSettings: for what is none, or of another kind than ``http`` and ``https``.
    """
    text = text.strip()
    scheme, found, rest = text.partition("://")
    if not found:
        scheme, rest = "http", text.removeprefix("//")
    if scheme.lower() not in PROXIES:
        raise InvalidSettings(
            f"{name} must be an http or https proxy, for example http://proxy.example.com:3128; other kinds, such as "
            "socks5, are not supported."
        )
    # A path after it means nothing, but many write the slash.
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    try:
        url = urlsplit(f"{scheme.lower()}://{authority}")
        usable = bool(url.hostname) and url.port != 0 and "@" not in rest[len(authority) :]
    except ValueError:
        usable = False
    if not usable or not authority.isascii() or not is_token_text(authority):
        raise InvalidSettings(
            f"{name} is not a URL such as http://proxy.example.com:3128. In its user name and password, characters "
            "such as '/', '@' and '#' must be written as %2F, %40 and %23."
        )
    return f"{scheme.lower()}://{authority}"


def _base_url(host: str, schema: str, port: int | None) -> str:
    """What a person pastes from the browser, cut down to the URL below which the API lies."""
    host = host.strip()
    if not host:
        raise InvalidSettings(
            "The connection has no host. Set it to the Deployment's URL, for example https://airflow.example.com."
        )
    if "@" in host:
        # Said without the host itself, and before it is taken apart: it may hold a password in an odd place.
        raise InvalidSettings(
            "Put login and password into their own fields, not into the connection's host. "
            "An '@' in the URL's path must be written as %40."
        )
    host = _with_scheme_and_path(host, schema)
    try:
        url = urlsplit(host)
        given_port = url.port
    except ValueError as error:
        raise InvalidSettings(f"The connection's host is not a URL: {error}.") from None
    if url.scheme not in ("http", "https") or not url.hostname or re.search(r"\s", url.hostname):
        raise InvalidSettings(
            f"The connection's host must be an http or https URL, not one of scheme {url.scheme!r} "
            f"and host {url.hostname!r}."
        )
    name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    number = given_port or port
    if number and not 0 < number < 65536:
        raise InvalidSettings(f"The connection's port={number} must be a number from 1 to 65535.")
    if number == {"http": 80, "https": 443}[url.scheme]:
        number = None
    kept = without_pages(url.path)
    return f"{url.scheme}://{name}{f':{number}' if number else ''}{quote(kept, safe=READABLE_IN_A_PATH)}"


def _with_scheme_and_path(host: str, schema: str) -> str:
    """
    A connection's host as a URL.

    Airflow keeps the path of a connection's URI in "schema", where HTTP connections have their scheme.
    """
    is_scheme = schema in ("http", "https")
    scheme, found, rest = host.partition("://")
    if not found:
        scheme, rest = schema if is_scheme else "https", host
    name, _, path = rest.partition("/")
    with suppress(ValueError):
        # Airflow takes the brackets off the address in a connection's URI.
        name = f"[{IPv6Address(name)}]"
    return f"{scheme}://{name}/{path or ('' if is_scheme else schema.lstrip('/'))}"


def without_pages(path: str) -> str:
    """The path below which the API lies, of the path of any page of an Airflow."""
    segments = path.rstrip("/").split("/")
    for place, segment in enumerate(segments):
        if segment in PAGES:
            segments = segments[:place]
            break
    if segments[-1] in LAST_PAGES:
        is_list = segments[-1] == "list"
        if not is_list:
            segments = segments[:-1]
        elif segments[-2] in LISTS:
            segments = segments[:-2]
    return "/".join(segments).rstrip("/")


def _choice(given: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = str(given.get(name, AUTO)).strip().lower()
    if value not in choices:
        raise InvalidSettings(f"The connection's {name}={value!r} must be one of: {', '.join(choices)}.")
    return value


def _seconds(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name, default)
    try:
        seconds = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise InvalidSettings(f"The connection's {name}={value!r} must be a number of seconds, up to 3600.")
    return seconds


def _boolean(given: Mapping[str, Any], name: str, *, default: bool) -> bool:
    words = {
        "true": True,
        "1": True,
        "yes": True,
        "y": True,  # what the Test button of Airflow 2 sends for a ticked box
        "on": True,
        "false": False,
        "0": False,
        "no": False,
        "off": False,
    }
    value = str(given.get(name, default)).strip().lower()
    if value not in words:
        raise InvalidSettings(f"The connection's {name}={value!r} must be true or false.")
    return words[value]


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidSettings(f"The connection's {name} must be text, not {type(value).__name__}.")
    return value.strip() if value else None


def _texts(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    return {name: text for name in names if (text := _text(given, name))}


def _headers(given: Mapping[str, Any], name: str) -> dict[str, str]:
    # Its values are secrets, so no error repeats them.
    value = given.get(name, {})
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise InvalidSettings(f"The connection's {name} must be a JSON object of header names and texts.")
    for place, (key, text) in enumerate(value.items(), 1):
        if not HEADER_NAME.fullmatch(key):
            raise InvalidSettings(
                f"The connection's {name} must have names of letters, digits and hyphens, such as X-Gateway-Key; "
                f"the name number {place} is none."
            )
        if key.lower() in FRAMING:
            raise InvalidSettings(f"The connection's {name} must not set {key}, which belongs to the HTTP library.")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable() or text != text.strip():
            raise InvalidSettings(
                f"The connection's {name} must have texts as values, in ASCII, without line breaks and without "
                f"spaces around them; that of {key} is none."
            )
    return dict(value)
