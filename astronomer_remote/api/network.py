"""Proxies and certificates: what lies between us and a deployment, resolved alike for both drivers."""

from __future__ import annotations

import os
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from certifi import where as certifi_file

from astronomer_remote.api.errors import InvalidSettings
from astronomer_remote.api.settings import Settings


def proxy_of(settings: Settings) -> str | None:
    """The proxy before a deployment: the connection's, else the environment's (``HTTPS_PROXY``, ``NO_PROXY``, …)."""
    if settings.proxy:
        return settings.proxy
    url = urlsplit(settings.base_url)
    if proxy_bypass(url.netloc):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


def ca_file_of(settings: Settings) -> str:
    """The certificates to check a deployment against: the connection's, else what ``requests`` would take."""
    if settings.ca_file:
        return _existing(settings.ca_file, "The connection's ca_file")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        if os.environ.get(name):
            return _existing(os.environ[name], f"The environment's {name}")
    return certifi_file()


def client_certificate_of(settings: Settings) -> str | tuple[str, str] | None:
    """Our own certificate: its file, or the files of it and its key."""
    if not settings.client_certificate:
        return None
    certificate = _existing(settings.client_certificate, "The connection's client_certificate")
    if not settings.client_key_file:
        return certificate
    return certificate, _existing(settings.client_key_file, "The connection's client_key_file")


def tls_context(settings: Settings) -> ssl.SSLContext | bool:
    """How ``aiohttp`` is to check the deployment; ``True`` where there is no TLS to set up."""
    if not settings.base_url.startswith("https:"):
        return True
    context = _verified(ca_file_of(settings)) if settings.verify else _unverified()
    certificate = client_certificate_of(settings)
    if certificate:
        files = (certificate,) if isinstance(certificate, str) else certificate
        context.load_cert_chain(*files)
    return context


def _verified(authorities: str) -> ssl.SSLContext:
    # The variables may also name a folder of certificates.
    folder = os.path.isdir(authorities)
    return ssl.create_default_context(cafile=None if folder else authorities, capath=authorities if folder else None)


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _existing(file: str, name: str) -> str:
    if not os.path.exists(file):
        raise InvalidSettings(f"{name}={file!r} does not exist on this machine.")
    return file
