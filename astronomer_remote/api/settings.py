"""Where a remote is and how to reach it, checked once and early, from an Airflow connection's plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from astronomer_remote.api.errors import InvalidSettings
from astronomer_remote.api.models import Generation

AUTO = "auto"
READABLE_IN_A_PATH = "/%:@!$&'()*+,;=~"
"""Characters of a URL's path that stay as they are; what is quoted already is not quoted again."""

AUTHENTICATIONS = (AUTO, "astro_token", "software_api_key", "basic", "airflow_login", "none")
NEEDED_BY_AUTHENTICATION = {
    "astro_token": ("password",),
    "software_api_key": ("password",),
    "basic": ("login", "password"),
    "airflow_login": ("login", "password"),
}


@dataclass(frozen=True)
class Settings:
    """
    Everything a connection says about a remote.

    :param base_url: the deployment's URL without a trailing slash and without the API's own path.
    :param login: user name.
    :param password: the user's password, or an API token or key.
    :param authentication: one of :data:`AUTHENTICATIONS`.
    :param generation: the API to speak; ``None`` finds it out.
    :param connect_timeout: seconds.
    :param read_timeout: seconds between two pieces of a reply.
    :param verify: whether the remote's TLS certificate is checked.
    :param ca_file: file of certificates to check it against, instead of the system's.
    :param client_certificate: file with our own certificate (PEM).
    :param client_key_file: file with its key, where the certificate's file does not hold it.
    :param proxy: URL of a proxy.
    :param headers: additional headers of each request.
    """

    base_url: str
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    authentication: str = AUTO
    generation: Generation | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    verify: bool = True
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key_file: str | None = None
    proxy: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

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
        given = {key: value for key, value in (extra or {}).items() if value is not None and value != ""}
        api = _choice(given, "api", (AUTO, *(generation.value for generation in Generation)))
        settings = cls(
            base_url=_base_url(host or "", schema or "", port),
            login=login or None,
            password=password or None,
            authentication=_choice(given, "auth", AUTHENTICATIONS),
            generation=None if api == AUTO else Generation(api),
            connect_timeout=_seconds(given, "connect_timeout", cls.connect_timeout),
            read_timeout=_seconds(given, "read_timeout", cls.read_timeout),
            verify=_boolean(given, "verify", default=cls.verify),
            ca_file=_text(given, "ca_file"),
            client_certificate=_text(given, "client_certificate"),
            client_key_file=_text(given, "client_key_file"),
            proxy=_text(given, "proxy"),
            headers=_headers(given, "secret_headers"),
        )
        for name in NEEDED_BY_AUTHENTICATION.get(settings.authentication, ()):
            if not getattr(settings, name):
                raise InvalidSettings(f"auth={settings.authentication!r} needs the connection's {name}.")
        settings._check_token()
        return settings

    def _check_token(self) -> None:
        is_token = not self.login or self.authentication in ("astro_token", "software_api_key")
        if self.password and is_token and (not self.password.isascii() or not re.fullmatch(r"\S+", self.password)):
            raise InvalidSettings(
                "The connection's password is to be sent as a token, but holds a line break, a space or a character "
                "beyond ASCII. Was it cut and pasted whole?"
            )


def _base_url(host: str, schema: str, port: int | None) -> str:
    """What a person pastes from the browser, cut down to the URL below which the API lies."""
    host = host.strip()
    if not host:
        raise InvalidSettings(
            "The connection has no host. Set it to the Deployment's URL, for example https://airflow.example.com."
        )
    if "://" not in host:
        # Airflow keeps the path of a connection's URI in "schema", where HTTP connections have their scheme.
        is_scheme = schema in ("http", "https")
        host = f"{schema if is_scheme else 'https'}://{host}{'' if is_scheme or not schema else f'/{schema}'}"
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
    if url.username or url.password:
        raise InvalidSettings("Put login and password into their own fields, not into the connection's host.")
    name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    number = given_port or port
    if number and not 0 < number < 65536:
        raise InvalidSettings(f"The connection's port={number} must be a number from 1 to 65535.")
    if number == {"http": 80, "https": 443}[url.scheme]:
        number = None
    kept = re.sub(r"(/api(/v1|/v2|/experimental)?(/.*)?|/home)?/*$", "", url.path)
    return f"{url.scheme}://{name}{f':{number}' if number else ''}{quote(kept, safe=READABLE_IN_A_PATH)}"


def _choice(given: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = str(given.get(name, AUTO)).strip().lower()
    if value not in choices:
        raise InvalidSettings(f"The connection's {name}={value!r} must be one of: {', '.join(choices)}.")
    return value


def _seconds(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name, default)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
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


def _headers(given: Mapping[str, Any], name: str) -> dict[str, str]:
    # Its values are secrets, so no error repeats them.
    value = given.get(name, {})
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, dict) or not all(
        isinstance(text, str) and (key + text).isascii() and (key + text).isprintable() for key, text in value.items()
    ):
        raise InvalidSettings(f"The connection's {name} must be a JSON object of header names and texts.")
    return value
