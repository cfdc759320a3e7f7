"""Proxies and certificates: what lies between us and a deployment, resolved alike for both drivers."""

from __future__ import annotations

import os
import ssl
import stat
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from certifi import where as certifi_file

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.settings import Settings, proxy_url

LARGEST_CERTIFICATE_FILE = 16 * 1024 * 1024
"""Bytes of a file of certificates; the authorities of a whole system are a fiftieth of it."""


@dataclass(frozen=True)
class Proxy:
    """
    The proxy before a deployment.

    :param url: with scheme and, where it needs them, credentials.
    :param source: where it is configured.
    """

    url: str = field(repr=False)
    source: str

    @property
    def label(self) -> str:
        """How an error calls it, without its credentials."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]} ({self.source})"


def proxy_of(settings: Settings) -> Proxy | None:
    """
    The proxy before a deployment: the connection's, else the environment's (``HTTPS_PROXY``, ``NO_PROXY``, …).

    :raises InvalidSettings: for a proxy of the environment that is none, or of a kind that is not supported.
    """
    if settings.proxy:
        return Proxy(settings.proxy, "the connection's proxy")
    url = urlsplit(settings.base_url)
    proxies = getproxies()
    if proxy_bypass(url.netloc) or _is_excepted(url.hostname or "", url.port, proxies.get("no", "")):
        return None
    for name in (url.scheme, "all"):
        if proxies.get(name):
            source = f"the environment's {name.upper()}_PROXY"
            return Proxy(proxy_url(proxies[name], source[0].upper() + source[1:]), source)
    return None


def _is_excepted(host: str, port: int | None, exceptions: str) -> bool:
    """Whether ``NO_PROXY`` names a host by a network (``10.0.0.0/8``) or a pattern (``*.example.com``)."""
    for exception in exceptions.split(","):
        name = exception.strip().lower()
        if port:
            name = name.removesuffix(f":{port}")
        try:
            if ip_address(host) in ip_network(name.strip("[]"), strict=False):
                return True
        except ValueError:
            # One of them is a name.
            if name.startswith("*.") and host.endswith(name[1:]):
                return True
    return False


def ca_file_of(settings: Settings) -> str:
    """
    The certificates to check a deployment against: the connection's, else what ``requests`` would take.

    :raises InvalidSettings: for a file that cannot be used.
    """
    if settings.ca_file:
        return _authorities(settings.ca_file, "The connection's ca_file")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(name):
            return _authorities(os.environ[name], f"The environment's {name}")
    return certifi_file()


def client_certificate_of(settings: Settings) -> str | tuple[str, str] | None:
    """
    Our own certificate: its file, or the files of it and its key.

    :raises InvalidSettings: for a file that cannot be used, such as a key that is encrypted.
    """
    if not settings.client_certificate:
        return None
    files = [_regular(settings.client_certificate, "The connection's client_certificate")]
    if settings.client_key_file:
        files.append(_regular(settings.client_key_file, "The connection's client_key_file"))
    _load_own(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)
    return files[0] if len(files) == 1 else (files[0], files[1])


def tls_context(settings: Settings) -> ssl.SSLContext | bool:
    """How ``aiohttp`` is to check the deployment; ``True`` where there is no TLS to set up."""
    if not settings.base_url.startswith("https:"):
        return True
    context = _verified(ca_file_of(settings)) if settings.verify else _unverified()
    certificate = client_certificate_of(settings)
    if certificate:
        _load_own(context, [certificate] if isinstance(certificate, str) else list(certificate))
    return context


def _load_own(context: ssl.SSLContext, files: list[str]) -> None:
    def no_passphrase() -> str:
        # OpenSSL would prompt for it at the terminal, and wait.
        raise InvalidSettings(
            f"The key of the connection's client_certificate, in {files[-1]!r}, is encrypted, and there is no "
            "passphrase for it. Give the connection a key that is not, readable by Airflow alone."
        )

    try:
        context.load_cert_chain(files[0], files[1] if len(files) > 1 else None, no_passphrase)
    except OSError as error:
        raise InvalidSettings(
            f"The connection's client_certificate in {', '.join(files)} cannot be used: {error}. PEM files with the "
            "certificate and its key are needed."
        ) from None


def _authorities(file: str, name: str) -> str:
    if os.path.isdir(file):
        return file
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(_regular(file, name))
    except OSError as error:
        raise InvalidSettings(
            f"{name}={file!r} cannot be used: {error}. A PEM file with certificates is needed."
        ) from None
    return file


def _verified(authorities: str) -> ssl.SSLContext:
    # The variables may also name a folder of certificates.
    folder = os.path.isdir(authorities)
    return ssl.create_default_context(cafile=None if folder else authorities, capath=authorities if folder else None)


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _regular(file: str, name: str) -> str:
    """The path of a file that can be read without waiting. :raises InvalidSettings: if it cannot."""
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        raise InvalidSettings(f"{name}={file!r} does not exist on this machine.") from None
    # Reading a named pipe or a device may never end.
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_CERTIFICATE_FILE:
        raise InvalidSettings(f"{name}={file!r} must be an ordinary file of at most {LARGEST_CERTIFICATE_FILE} bytes.")
    if not os.access(file, os.R_OK):
        raise InvalidSettings(f"{name}={file!r} may not be read by the user that Airflow runs as.")
    return file
