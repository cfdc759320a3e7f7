"""
What both drivers have in common: how a request is put together, what of a reply is kept, and how an error is called.

Whatever goes wrong on the way is a :class:`~astronomer_remote.api.protocol.flow.TransportError`: what a remote sends
must not choose the exception. It is recognised by the classes of the driver's own library, so that each driver
imports only its own.
"""

from __future__ import annotations

import ssl
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from astronomer_remote import __version__
from astronomer_remote.api.protocol.flow import Flow, Request, Step, TransportError
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.network import Proxy

NOT_TLS = "WRONG_VERSION_NUMBER"
"""What OpenSSL calls a reply that does not begin as TLS does."""

LARGEST_BODY = 32 * 1024 * 1024
"""Bytes of any reply that are read at most, whatever its request allows."""

LARGEST_ERROR = 256 * 1024
"""Bytes of a reply that are read if it is an error, of which a few words are repeated."""

LONGEST_REPLY = 120.0
"""Seconds from connecting to the last byte of the reply, however steadily it trickles in."""

MOST_FIELDS = 200
"""Header fields of a reply."""

CHUNK = 64 * 1024
USER_AGENT = f"astronomer-remote/{__version__}"
OWN_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": USER_AGENT}
ZLIB_FORMATS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""How `zlib` calls the packed bodies that are unpacked; only the first is ever requested."""


Errors = tuple[type[BaseException], ...]


@dataclass(frozen=True)
class LibraryErrors:
    """
    How an HTTP library calls what goes wrong.

    :param no_connection: what says that no request was sent.
    :param connect_timeout: connecting took too long.
    :param read_timeout: nothing more came.
    :param timeout: any other timeout, which is that of the whole reply.
    :param deadline: the same, also where it is the cause of one of those above.
    :param silent: an ``OSError`` whose text may hold a URL.
    """

    no_connection: Errors
    connect_timeout: Errors
    read_timeout: Errors
    timeout: Errors
    deadline: Errors = ()
    silent: Errors = ()


class Body:
    """
    A reply's body as it arrives, unpacked and cut at a limit.

    It does not leave the unpacking to the HTTP libraries, of which older versions unpack a chunk at once, to a
    thousand times its size.

    :param encoding: the reply's ``Content-Encoding``; what is not known is kept as it is.
    :param limit: how many bytes are kept.
    """

    def __init__(self, encoding: str | None, limit: int) -> None:
        self._limit = limit
        format_ = ZLIB_FORMATS.get((encoding or "").strip().lower())
        self._unpacker = zlib.decompressobj(format_) if format_ else None
        self._content = bytearray()
        self._began = False
        self.truncated = False

    def add(self, chunk: bytes) -> bool:
        """Take in what arrived. :return: whether to read more. :raises zlib.error: if it cannot be unpacked."""
        self._began = True
        room = self._limit + 1 - len(self._content)
        self._content += self._unpacker.decompress(chunk, room) if self._unpacker else chunk
        self.truncated = len(self._content) > self._limit
        return not self.truncated

    def end(self) -> bytes:
        """All of it, at the end of the reply. :raises zlib.error: if the end is missing."""
        if self.truncated:
            return bytes(self._content[: self._limit])
        if self._unpacker and self._unpacker.unused_data:
            raise zlib.error("something follows the end of the packed body")
        # An empty body, such as that of a 204, may be called packed.
        if self._unpacker and self._began and not self._unpacker.eof:
            raise zlib.error("the packed body is incomplete")
        return bytes(self._content)


def settings_for(request: Request, settings: Settings) -> Settings:
    """How to reach the URL of a request: the deployment, or another host, which gets no secret of it."""
    if not request.url:
        return settings
    url = urlsplit(request.url)
    return replace(
        settings,
        base_url=f"{url.scheme}://{url.netloc}",
        verify=True,
        client_certificate=None,
        client_key_file=None,
        headers={},
    )


def limit_of(request: Request, status: int) -> int:
    """How many bytes of a reply's body are read."""
    return min(request.largest_reply, LARGEST_BODY, LARGEST_ERROR if status >= 400 else LARGEST_BODY)


def resume(flow: Flow[Any], outcome: Any) -> Step:
    return flow.throw(outcome) if isinstance(outcome, TransportError) else flow.send(outcome)


def content_of(request: Request, settings: Settings) -> tuple[Any, dict[str, str]]:
    """A request's body and all of its headers, which are looked at without regard to case."""
    headers = _merged(OWN_HEADERS, settings_for(request, settings).headers, request.headers)
    if request.form is not None:
        return dict(request.form), headers
    content = request.content()
    if content is not None:
        headers["Content-Type"] = "application/json"
    return content, headers


def _merged(*groups: Mapping[str, str]) -> dict[str, str]:
    """Headers without regard to case; the last one of a name counts."""
    merged = {name.lower(): (name, text) for group in groups for name, text in group.items()}
    return dict(merged.values())


def failure(
    error: Exception, proxy: Proxy | None, timeouts: tuple[float, float, float], known: LibraryErrors
) -> TransportError:
    """
    An error of a library as ours.

    :param timeouts: seconds for connecting, between two pieces of a reply, and for all of it.
    :param known: the errors of this library.
    """
    never_left = any(isinstance(cause, known.no_connection) for cause in _causes(error))
    reason = _reason(error, timeouts, known)
    return TransportError(reason, sent=not never_left, proxy=proxy.label if proxy else None)


def _reason(error: Exception, timeouts: tuple[float, float, float], known: LibraryErrors) -> str:
    """What happened, without the URLs that libraries put into their errors, which may hold a proxy's password."""
    connect, read, longest = timeouts
    causes = list(_causes(error))
    if any(isinstance(cause, known.deadline) for cause in causes):
        return f"the reply did not end within {longest:.3g} s"
    if isinstance(error, known.connect_timeout):
        return f"connecting took longer than {connect:.3g} s"
    if any(isinstance(cause, known.read_timeout) for cause in causes):
        return f"nothing more came for {read:.3g} s"
    if isinstance(error, known.timeout):
        return f"the reply did not end within {longest:.3g} s"
    root = causes[-1]
    if isinstance(root, zlib.error):
        return "the reply's body cannot be unpacked"
    if isinstance(root, ssl.SSLError) and root.reason == NOT_TLS:
        return f"what answers there does not use TLS, so that its URL begins with http:// ({NOT_TLS})"
    speaks = isinstance(root, OSError) and not isinstance(root, known.silent)
    return f"{type(root).__name__}: {root}" if speaks else type(root).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it; ``urllib3`` hands some causes on as an argument."""
    while error:
        yield error
        handed_on = (argument for argument in error.args if isinstance(argument, BaseException))
        error = error.__cause__ or error.__context__ or next(handed_on, None)
