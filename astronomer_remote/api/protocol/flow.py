"""
Flows: what is sent to a remote and in which order, without any I/O.

A flow is a generator, written once for sync and async. It yields what to do next, a
:class:`Request`, a :class:`Sleep`, a :class:`Reload` or a :class:`Compute`, and is resumed with the outcome, or with a
:class:`TransportError` thrown in. Two small drivers in :mod:`astronomer_remote.api.transport` run flows:
one over ``requests``, one over ``aiohttp``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Generator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar
from urllib.parse import quote, unquote, urlencode, urlsplit

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import Unreachable

T = TypeVar("T")

LENGTH_OF_A_BEGINNING = 16 * 1024
"""Bytes of a page in which its title is searched."""

LARGEST_ENTRY = 32 * 1024 * 1024
"""
Bytes of a reply about one thing that are read: a run's conf may be many megabytes.

Airflow 2.9 to 2.11 can leave the conf out of a run that is read or listed by GET (``fields``), and are requested to. No
other version can, nor can ``POST /dags/~/dagRuns/list`` of any: there, a run of more than this cannot be read, and is
left out of listings.
"""

LARGEST_PAGE = 8 * 1024 * 1024
"""Bytes of a page of a listing that are read; a longer one is requested again in smaller pages. As Python objects,
JSON takes up to twenty times its size, and 50 ms per megabyte to parse."""

LARGEST_REPLY = 32 * 1024 * 1024
"""Bytes that are read of a log as text, whose end is needed, and of the reply to a request of the user's own."""

UNPARSED: Any = object()

PAUSE_BY_GET = re.compile(r"/api/experimental/dags/.+/paused/[^/]")
"""What Airflow 1.10 does on a GET although it changes a DAG."""

LARGE_JSON = 64 * 1024
"""Bytes of a reply's body, whatever its type, from which on it is read beside an event loop, not in it."""


@dataclass(frozen=True)
class Request:
    """
    One HTTP request to the remote.

    Bodies and headers may hold secrets and are therefore left out of the representation.

    :param method: HTTP verb in capitals.
    :param path: path below the deployment's URL, already quoted (see :func:`path`).
    :param query: names and values of the query; a list or tuple of values repeats the name.
    :param body: what to send as JSON; ``None`` sends no body.
    :param form: what to send as an HTML form instead of JSON.
    :param headers: headers of this request alone.
    :param authenticated: whether the credentials of the connection belong to this request.
    :param repeatable: whether sending it twice has the same effect as sending it once. It says so itself,
        because many reads of this API are POSTs. Defaults to what HTTP says of the verb.
    :param once: whether it is never retried, whatever the failure: the caller can do without the reply, or retries by
        itself.
    :param reads: whether it changes nothing in the remote; by default what :func:`only_reads` says.
    :param largest_reply: how many bytes of the reply's body are read at most.
    :param url: where to send it instead of the deployment, see :func:`request_to`.
    :param only_at: URL of the deployment whose numbers or credentials it contains: it is not sent to another one.
        ``None`` if it contains none; the client adds its credentials to each attempt.
    """

    method: str
    path: str
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    authenticated: bool = True
    repeatable: bool | None = None
    once: bool = False
    reads: bool | None = None
    largest_reply: int = LARGEST_ENTRY
    url: str | None = None
    only_at: str | None = None

    def __post_init__(self) -> None:
        if self.url and self.authenticated:
            raise ValueError("the deployment's credentials are sent to no other URL")

    @property
    def may_repeat(self) -> bool:
        if self.once:
            return False
        return self.method != "POST" if self.repeatable is None else self.repeatable

    @property
    def only_reads(self) -> bool:
        return only_reads(self.method, self.path) if self.reads is None else self.reads

    @property
    def target(self) -> str:
        """Path with the query, quoted."""
        if not self.query:
            return self.path
        named = {name: _text(value) for name, value in self.query.items()}
        # Only an endpoint that a user wrote can have a query already.
        return f"{self.path}{'&' if '?' in self.path else '?'}{urlencode(named, doseq=True, quote_via=quote, safe='~')}"

    def content(self) -> bytes | None:
        """The body's bytes, if there is a JSON body."""
        return None if self.body is None else json.dumps(self.body, allow_nan=False).encode()

    def with_headers(self, headers: Mapping[str, str]) -> Request:
        return replace(self, headers={**self.headers, **headers})


def request_to(
    url: str,
    *,
    method: str = "POST",
    body: Any = None,
    form: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Request:
    """
    A request of a login to another URL than the deployment's, such as that of a token endpoint.

    The client sends it only to a URL of :attr:`~astronomer_remote.api.protocol.auth.Authentication.urls`. It gets
    neither the credentials, headers and client certificate of the connection nor more than 64 KiB of a reply. Its
    certificate is always checked, and a redirect is not followed. It is retried like a read.

    :param url: absolute URL.
    :param method: HTTP verb in capitals, default ``POST``.
    :param body: what to send as JSON.
    :param form: what to send as an HTML form instead.
    :param headers: headers of this request.
    """
    return Request(
        method,
        urlsplit(url).path or "/",
        body=body,
        form=form,
        headers=headers or {},
        authenticated=False,
        repeatable=True,
        largest_reply=LARGE_JSON,
        url=url,
    )


def only_reads(method: str, path: str) -> bool:
    """Whether a request of the caller's own certainly changes nothing in the remote."""
    return method.upper() in ("GET", "HEAD") and not PAUSE_BY_GET.search(unquote(path))


def _text(value: Any) -> str | list[str]:
    if isinstance(value, bool):
        return "true" if value else "false"
    return [str(each) for each in value] if isinstance(value, (list, tuple)) else str(value)


def _as_it_is(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Response:
    """
    One HTTP reply, its body read up to the transport's limit.

    :param status: HTTP status.
    :param headers: header fields, names in lower case.
    :param body: the body's bytes.
    :param truncated: whether the body was longer than the limit and was cut.
    :param redact: hides secrets in a part of the reply that is shown to a person: it may repeat the request.
    :param clean: hides secrets in the body's JSON, or a part of it.
    :param clean_text: the same for a body that is text.
    :param parsed: the body as JSON, or the error if it is none, where that was parsed already.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    truncated: bool = False
    redact: Callable[[str], str] = field(default=str, repr=False, compare=False)
    clean: Callable[[Any], Any] = field(default=_as_it_is, repr=False, compare=False)
    clean_text: Callable[[bytes], bytes] = field(default=_as_it_is, repr=False, compare=False)
    parsed: Any = field(default=UNPARSED, repr=False, compare=False)

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_json(self) -> bool:
        """Whether the remote calls the body JSON; Airflow 2 calls its errors ``application/problem+json``."""
        return self.content_type == "application/json" or self.content_type.endswith("+json")

    @property
    def is_page(self) -> bool:
        """Whether it is an HTML page, for a browser."""
        return self.content_type == "text/html"

    @property
    def is_airflow_error(self) -> bool:
        """
        Whether the body is an error as Airflow puts it: a JSON object with ``detail`` or, from Airflow 1.10 and where
        Airflow 3 has no such endpoint, ``error``. Whatever else says no is something before the deployment.
        """
        try:
            body = self.json() if self.is_json else None
        except ValueError:
            return False
        return isinstance(body, dict) and ("detail" in body or "error" in body)

    def beginning(self, length: int = LENGTH_OF_A_BEGINNING) -> str:
        """The first bytes of the body as text: all that is read of a body that is not JSON."""
        return self.body[:length].decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body as JSON, in which all text can be stored. :raises ValueError: when it is none."""
        if isinstance(self.parsed, ValueError):
            raise self.parsed
        return untrusted.loads(self.body) if self.parsed is UNPARSED else self.parsed

    def parse(self, skip: Collection[str] = ()) -> Response:
        """
        The same reply with its JSON parsed, in steps between which other threads run; for a thread of its own.

        :param skip: names of what need not be kept, see :func:`json_in_steps`.
        """
        try:
            return replace(self, parsed=untrusted.loads(self.body, partial(json_in_steps, skip=skip)))
        except ValueError as error:
            return replace(self, parsed=error)


def json_in_steps(text: str, *, skip: Collection[str] = (), parse_int: Callable[[str], Any] | None = None) -> Any:
    """
    Parse JSON like :func:`json.loads`, in steps of at most 64 KiB.

    Python's parser lets no other thread run until it is done. Between two steps, others have their turn.

    :param skip: names whose values are not kept where they, or what they are a part of, are larger than a step.
    :param parse_int: what reads an integer.
    :raises ValueError: when it is not JSON.
    """
    steps = _Steps(text, frozenset(skip), json.JSONDecoder(parse_int=parse_int))
    value, end = steps.value(0)
    if text[_after_space(text, end) :]:
        raise ValueError(f"more than one JSON value: {end}")
    return value


class _Steps:
    """
    Reads JSON values one after the other from a window that moves over a text.

    What does not fit into the window is gone through part by part.
    """

    def __init__(self, text: str, skip: Collection[str], decoder: json.JSONDecoder) -> None:
        self._text = text
        self._skip = skip
        self._decoder = decoder
        self._base = 0
        self._window = text[:LARGE_JSON]

    def value(self, at: int, *, keep: bool = True) -> tuple[Any, int]:
        """The value at a position, and where it ends. :param keep: whether it matters what comes out."""
        at = _after_space(self._text, at)
        small = self._small(at)
        if small:
            return small
        opening = self._text[at : at + 1]
        if opening == "{":
            return self._object(at + 1, keep=keep)
        return self._list(at + 1, keep=keep) if opening == "[" else self._decoder.raw_decode(self._text, at)

    def _small(self, at: int) -> tuple[Any, int] | None:
        """A value that fits into the window, which is moved for it if need be."""
        for base in (self._base, at):
            if base != self._base:
                self._base, self._window = base, self._text[base : base + LARGE_JSON]
            try:
                found, end = self._decoder.raw_decode(self._window, at - base)
            except json.JSONDecodeError:
                continue
            # A number may continue behind the window.
            if self._window[end : end + 1] not in ("", ".", "e", "E") or base + end == len(self._text):
                return found, base + end
        return None

    def _list(self, at: int, *, keep: bool) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = _after_space(self._text, at)
        more = self._text[at : at + 1] != "]"
        while more:
            value, at = self.value(at, keep=keep)
            if keep:
                found.append(value)
            at, more = self._next(at, "]")
        return found, at + 1

    def _object(self, at: int, *, keep: bool) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = _after_space(self._text, at)
        more = self._text[at : at + 1] != "}"
        while more:
            _expect(self._text, at, '"')
            name, at = self._decoder.raw_decode(self._text, at)
            at = _expect(self._text, _after_space(self._text, at), ":")
            kept = keep and name not in self._skip
            value, at = self.value(at, keep=kept)
            if kept:
                found[name] = value
            at, more = self._next(at, "}")
            at = _after_space(self._text, at)
        return found, at + 1

    def _next(self, at: int, closing: str) -> tuple[int, bool]:
        """Where the next entry of a container begins, or the container ends. :raises ValueError: if neither does."""
        at = _after_space(self._text, at)
        if self._text[at : at + 1] == closing:
            return at, False
        return _expect(self._text, at, ","), True


def _after_space(text: str, at: int) -> int:
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


def _expect(text: str, at: int, character: str) -> int:
    """The position after a character that is due. :raises ValueError: if there is another."""
    if text[at : at + 1] != character:
        raise ValueError(f"{character!r} expected: {at}")
    return at + 1


class TransportError(Exception):
    """
    No (whole) reply arrived.

    :param reason: what happened, in words that hold no secret.
    :param sent: whether the request may have reached the remote; ``False`` only if it certainly did not.
    :param proxy: the proxy that was used and where it is configured, without its credentials.
    :param out_of_time: whether it was not sent because the caller's own time is over.
    """

    def __init__(self, reason: str, *, sent: bool = True, proxy: str | None = None, out_of_time: bool = False) -> None:
        super().__init__(reason)
        self.out_of_time = out_of_time
        self.reason = reason
        self.sent = sent
        self.proxy = proxy


@dataclass(frozen=True)
class Sleep:
    """A pause. :param seconds: how long."""

    seconds: float


@dataclass(frozen=True)
class Reload:
    """Reads the connection again, after its secret was refused."""


@dataclass(frozen=True)
class Compute:
    """
    A calculation that may take long, made in a thread beside an event loop.

    :param work: what is calculated. Its exception is handed back like a result: only a transport may throw.
    :param blocks: whether it mostly waits, so that several may run at a time.
    """

    work: Callable[[], Any]
    blocks: bool = False

    def run(self) -> Any:
        """Calculate. :return: the result, or the exception."""
        try:
            return self.work()
        except Exception as error:  # noqa: BLE001  # raised again in the flow
            return error


Step: TypeAlias = Request | Sleep | Reload | Compute
Flow: TypeAlias = Generator[Step, Any, T]


def send(request: Request) -> Flow[Response]:
    """Yield a request and name the type of what comes back, which the type of a generator cannot."""
    response: Response = yield request
    return response


def blocking(work: Callable[[], T]) -> Flow[T]:
    """
    Call a library that blocks, in a thread beside an event loop. It has to limit its own time.

    :raises Unreachable: if the caller's own time is over before.
    :raises: what it raises.
    """
    try:
        return (yield from compute(work, blocks=True))
    except TransportError as error:
        raise Unreachable(f"No reply to the login: {error.reason}.") from None


def compute(work: Callable[[], T], *, blocks: bool = False) -> Flow[T]:
    """Calculate beside an event loop what may take long. :raises: what the calculation raises."""
    outcome = yield Compute(work, blocks)
    if isinstance(outcome, Exception):
        raise outcome
    result: T = outcome
    return result


def path(*segments: str) -> str:
    """Join segments into a path, each quoted once and whole, so that none can reach another endpoint."""
    return "/" + "/".join(quote(segment, safe="~") for segment in segments)


def quoted(text: str) -> str:
    """Text quoted for the query of a link."""
    return quote(text, safe="~")
