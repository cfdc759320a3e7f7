"""
Sends any request: with credentials, with retries, and with one place that reads the reply.

Everything above calls :meth:`Client.request` with an :class:`~astronomer_remote.api.dialects.base.Operation`;
nothing else in the package knows what 403 means or when to retry.
"""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, cast

from astronomer_remote.api.client import responses
from astronomer_remote.api.client.outages import OUTAGES, SECONDS_BETWEEN_ATTEMPTS, Outage
from astronomer_remote.api.client.paging import (
    FEWEST_LISTED,
    LARGEST_BARE_LISTING,
    LARGEST_LISTING,
    LISTING_ATTEMPTS,
    MOST_ENTRIES,
    MOST_PAGES,
    PageAt,
    PageReader,
)
from astronomer_remote.api.client.places import SECONDS_REMEMBERED, Place
from astronomer_remote.api.client.responses import refuses
from astronomer_remote.api.client.retry import TRANSIENT_STATUSES, RetryBudget, RetryPolicy
from astronomer_remote.api.dialects import detect
from astronomer_remote.api.dialects.base import PAGE, Dialect, Operation
from astronomer_remote.api.logins.choose import before_detection, choose
from astronomer_remote.api.protocol.auth import Authentication, Send, find, refused_by_gateway
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    DeploymentChanged,
    InvalidSettings,
    ListingChanged,
    NotSupported,
    PermanentError,
    RemoteError,
    RemoteUnavailable,
    ReplyTooLarge,
    TransientError,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import (
    LARGE_JSON,
    Flow,
    Reload,
    Request,
    Response,
    Sleep,
    TransportError,
    compute,
    send,
)
from astronomer_remote.api.protocol.redaction import Redaction
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.protocol.untrusted import http_date

T = TypeVar("T")
P = ParamSpec("P")

log = logging.getLogger(__name__)

MOST_REPORTED = 100
"""Listings of which it is logged, once each, that a part could not be read."""

LOGIN_POLL = 0.1
"""Seconds between two checks whether another flow of this client has logged in."""

LARGEST_SKEW = 366 * 86400.0
"""Seconds by which a remote's clock may be off."""


class Client:
    """
    The client of one remote: its dialect, its login, and the retries of each request.

    :param settings: where the remote is and how to reach it.
    :param retry: when requests are retried.
    :param clock: seconds since the epoch; only differences, the expiry of tokens and dates in ``Retry-After`` depend
        on it.
    :param jitter: a random number in [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        retry: RetryPolicy | None = None,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.settings = settings
        self._retry = retry or RetryPolicy()
        self.clock = clock
        self._jitter = jitter
        self._dialect: Dialect | None = None
        self._authentication: Authentication | None = None
        self._logging_in = False
        self._skew = 0.0
        self._reported: set[str] = set()
        self._accepts_large_pages = True
        self._retry_budget: RetryBudget | None = None
        self._redaction = Redaction()

    def redact(self, text: str) -> str:
        """Hide the secrets of the connection and those that the remote has issued."""
        return self._redaction.hide(text, self.settings)

    def remote_clock(self) -> float:
        """The remote's time in seconds since the epoch, to a second, from the ``Date`` of its replies."""
        return self.clock() + self._skew

    def locate(self, oldest: float = SECONDS_REMEMBERED) -> Flow[Settings]:
        """
        The settings with the deployment's URL, which the login looks up if the connection has no host.

        :param oldest: how many seconds ago it may have been looked up.
        :raises RemoteError: if it is not found.
        """
        if self.settings.base_url:
            return self.settings
        login = find(self.settings.authentication)(self.settings.credentials)

        def look_up() -> Flow[str]:
            return (yield from self._retrying(lambda: self._guarded(login, login.locate(self._send_for(login)))))

        url = yield from Place.of(self.settings).find(look_up, self.clock, oldest)
        return replace(self.settings, base_url=url)

    @property
    def account(self) -> str | None:
        """Who requests are sent as, as far as it is known."""
        found = self._authentication.account if self._authentication else None
        return self.redact(found) if found else self.settings.login

    def dialect(self) -> Flow[Dialect]:
        """The dialect of the remote, detected once."""
        reloaded = False
        while self._dialect is None:
            try:
                self._dialect = yield from self._retrying(self._detect)
            except (AuthenticationFailed, detect.TokenRefused) as error:
                if reloaded or not (yield from self._reload()):
                    raise responses.login_refused(error) from None
                reloaded = True
            except DeploymentChanged:
                # With the login of the other one, then.
                continue
        return self._dialect

    def _detect(self) -> Flow[Dialect]:
        if self._authentication is None:
            self._authentication = before_detection(self.settings)
        login = self._authentication
        try:
            found = yield from detect.dialect(self.settings, self._send_with_retries, login, self._prepare)
        except (UnexpectedReply, AuthenticationFailed):
            # Each form of a token was refused. A gateway that is broken for now does so, too.
            self._authentication = None
            raise
        if login:
            login.remote_is(found.generation, found.version)
        return found

    def request(self, operation: Operation[T], attempts_if_missing: int | None = None) -> Flow[T]:
        """
        Send an operation's request and read its reply. A reply that is not from Airflow is retried if that is safe.

        :param attempts_if_missing: how often it is sent at most if a page of status 404 comes back.
        :raises RemoteError: the one that fits the reply, see :mod:`astronomer_remote.api.protocol.errors`.
        """
        return (yield from self._request(operation, attempts_if_missing))[0]

    def request_or_none(self, operation: Callable[[], Operation[T]], *, once: bool = True) -> Flow[T | None]:
        """
        Read what only explains something; ``None`` if the remote does not have it or does not show it.

        :param once: whether there are no retries.
        :raises TransientError: if it may be shown later.
        """
        try:
            return (yield from self.request(operation().once() if once else operation()))
        except (PermanentError, UnexpectedReply):
            return None

    def _request(self, operation: Operation[T], attempts_if_missing: int | None = None) -> Flow[tuple[T, int]]:
        """The same. :return: what was read, and how many bytes the reply had."""
        return (yield from self.with_retry_budget(self._request_with_retries(operation, attempts_if_missing)))

    def _request_with_retries(self, operation: Operation[T], attempts_if_missing: int | None) -> Flow[tuple[T, int]]:
        self._check_read_only(operation.request, operation.action)
        attempt = 0
        while True:
            attempt += 1
            response = yield from self.send(operation.request)
            try:
                responses.check(operation, response)
                return (yield from self._read(operation, response)), len(response.body)
            except UnexpectedReply as error:
                if not operation.request.may_repeat or (error.status == 404 and attempt == attempts_if_missing):
                    raise
                yield from self.back_off(error)

    def _read(self, operation: Operation[T], response: Response) -> Flow[T]:
        if len(response.body) > LARGE_JSON:
            return (yield from compute(lambda: responses.read_in_steps(operation, response)))
        return responses.read(operation, response)

    def paginate(self, page: PageAt[T], key: Callable[[T], Hashable], *, widest: int = PAGE) -> Flow[list[T]]:
        """
        Read a whole listing; entries that cannot be read are left out of it.

        :param page: as in :meth:`read_all`, like the others.
        :raises ListingChanged: if it was not seen as a whole.
        :raises NotSupported: if it is longer than is read.
        """
        reader = yield from self.read_all(page, key, widest=widest)
        if not reader.whole:
            raise ListingChanged(
                f"Could not {reader.next().action}: it changed each of the {LISTING_ATTEMPTS} times it was read, so "
                f"that not all of its {reader.total} entries are known."
            )
        return reader.items

    def read_all(self, page: PageAt[T], key: Callable[[T], Hashable], *, widest: int = PAGE) -> Flow[PageReader[T]]:
        """
        Read a listing, again if it changes meanwhile.

        :param page: the operation for a page, from its offset and its number of entries.
        :param key: identifies an entry.
        :param widest: entries of a page if the listing does not fit into one of the usual size; twice as many each
            time it is read again.
        :return: the last reader, which may not have seen all of it.
        :raises NotSupported: if it is longer than is read.
        """
        return (yield from self.with_retry_budget(self._read_pages(page, key, widest)))

    def _read_pages(self, page: PageAt[T], key: Callable[[T], Hashable], widest: int) -> Flow[PageReader[T]]:
        for number in range(LISTING_ATTEMPTS):
            reader = PageReader(
                page, key, widest=widest * 2**number if widest > PAGE and self._accepts_large_pages else 0
            )
            yield from self.read_on(reader)
            if reader.too_long:
                raise NotSupported(
                    f"Could not {reader.next().action}: there are {reader.total} entries, and {MOST_ENTRIES} are "
                    "the most that are read."
                )
            if reader.whole:
                break
        return reader

    def read_on(self, reader: PageReader[T], pages: int = MOST_PAGES) -> Flow[None]:
        """
        Read a listing to its end, or so many pages of it; nothing more of one that is too long.

        :raises NotSupported: if its entries are larger than is read.
        """
        yield from self.with_retry_budget(self._read_on(reader, pages))

    def read_named(
        self,
        page: PageAt[T],
        key: Callable[[T], Hashable],
        names: Callable[[T], Iterable[str]],
        needed: Collection[str],
    ) -> Flow[list[T]]:
        """
        Read a listing as far as entries of certain names need it.

        :param names: the names of an entry.
        :param needed: names of the entries that are needed.
        :return: those that were read; not all if there are few of them, if the listing is so long that reading each by
            itself takes fewer requests, or if the account may not list.
        """
        missing = set(needed)
        if len(missing) < FEWEST_LISTED:
            return []

        def last(entry: T) -> bool:
            missing.difference_update(names(entry))
            return not missing

        reader = PageReader(page, key, until=last)
        try:
            yield from self.read_on(reader, 1)
            if reader.total - PAGE <= PAGE * len(missing):
                yield from self.read_on(reader, len(needed))
        except AccessDenied:
            # Some may be readable by themselves.
            return []
        return reader.items

    def _read_on(self, reader: PageReader[T], pages: int) -> Flow[None]:
        while not reader.over and reader.pages < pages and not reader.too_long:
            operation = reader.next()
            try:
                page, size = yield from self._request(operation)
                reader.add(page, size)
                if operation.request.may_repeat:
                    # There is one, since :meth:`read_on` shares one. A caller that retries by itself has its own limit.
                    cast("RetryBudget", self._retry_budget).advance(self.clock())
            except ReplyTooLarge as error:
                reader.shrink(error.message)
            except PermanentError as error:
                # Larger pages take another request, which not every account may send.
                if not (reader.widened and refuses(error)):
                    raise
                log.debug("The remote gives a listing in small pages only: %s", error)
                self._accepts_large_pages = False
                reader.narrow()
            self._report_unreadable(operation.action, reader.unreadable)
            most = LARGEST_BARE_LISTING if operation.unread else LARGEST_LISTING
            if reader.bytes > most:
                raise NotSupported(
                    f"Could not {operation.action}: {len(reader.items)} of {reader.total} entries are more than "
                    f"{most // 2**20} MB, which is the most that is read of a listing. Request fewer of them, for "
                    "example those of one logical_date, or for each by its id."
                )

    def _report_unreadable(self, action: str, reasons: Sequence[str]) -> None:
        """Log once what could not be read of a listing."""
        if reasons and action not in self._reported and len(self._reported) < MOST_REPORTED:
            self._reported.add(action)
            log.warning("Could not %s in full; what cannot be read is left out, for example: %s", action, reasons[0])

    def send(self, request: Request) -> Flow[Response]:
        """
        Send a request with credentials and retries.

        :return: the reply, whatever its status.
        :raises AccessDenied: if the request changes something and the connection is ``read_only``.
        """
        return (yield from self.with_retry_budget(self._send_authenticated(request)))

    def _send_authenticated(self, request: Request) -> Flow[Response]:
        if not request.authenticated:
            response = yield from self._send_with_retries(request)
            # A gateway may require the login for what the deployment shows to everybody.
            if not refused_by_gateway(response) or not (yield from self.authorization()):
                return response
        refreshed = reloaded = False
        while True:
            authentication, shown, response = yield from self._send_with_login(request)
            if not authentication.refused(response):
                return response
            try:
                if (yield from self._is_authenticated(response, authentication, shown)):
                    return response
            except DeploymentChanged:
                continue
            # Another flow of this client may have met the same refusal and refreshed the login.
            stale = authentication is not self._authentication or authentication.headers() != shown
            if not refreshed and (stale or authentication.refresh()):
                refreshed = True
            elif reloaded or not (yield from self._reload()):
                raise self._refusal(authentication, request, response)
            else:
                refreshed, reloaded = False, True

    def _send_with_login(self, request: Request) -> Flow[tuple[Authentication, Mapping[str, str], Response]]:
        """Send a request with the login as it is at each retry: a token may expire during the pauses between them."""
        while True:
            authentication = yield from self._authenticate()
            # Again, since the connection may have been read again.
            self._check_read_only(request, f"send {request.method} {request.path}")
            shown = authentication.headers()
            outcome = yield from self._attempt(request.with_headers(shown))
            if isinstance(outcome, Response):
                return authentication, shown, outcome
            yield from self.back_off(outcome)

    def _check_read_only(self, request: Request, action: str) -> None:
        if self.settings.read_only and not request.only_reads:
            raise AccessDenied(
                f"Could not {action}: the connection is read_only, so that nothing is sent that may change something. "
                "Use a connection without read_only for it.",
                method=request.method,
                path=request.path,
            )

    def _check_deployment(self, request: Request) -> None:
        if request.only_at not in (None, self.settings.base_url):
            raise DeploymentChanged(
                f"The connection points to {self.settings.base_url} now. This request was made for {request.only_at} "
                "and was not sent, since it contains numbers or credentials of that deployment.",
                method=request.method,
                path=request.path,
            )

    def authorization(self, only_at: str | None = None) -> Flow[dict[str, str]]:
        """
        Headers that authenticate a request which another program sends.

        :param only_at: URL of the deployment that the request is sent to.
        :raises DeploymentChanged: if the connection, read again, points to another one.
        """
        authentication = yield from self._authenticate()
        self._check_deployment(Request("GET", "/", only_at=only_at))
        return dict(authentication.headers())

    def _authenticate(self) -> Flow[Authentication]:
        reloaded = False
        while True:
            # The connection, read again, may point to a deployment of another generation.
            dialect = yield from self.dialect()
            if self._authentication is None:
                self._authentication = choose(self.settings, dialect.generation)
                self._authentication.remote_is(dialect.generation, dialect.version)
            authentication = self._authentication
            try:
                yield from self._prepare(authentication)
            except AuthenticationFailed as error:
                error.at_login = True
                if authentication is not self._authentication:
                    # Another flow has read the connection again meanwhile.
                    continue
                if reloaded:
                    raise
                # Flows that wait for the login must not try the old secret again meanwhile.
                self._logging_in = True
                try:
                    reloaded = yield from self._reload()
                finally:
                    self._logging_in = False
                if not reloaded:
                    raise
            except DeploymentChanged:
                continue
            else:
                if authentication is self._authentication:
                    return authentication

    def _prepare(self, authentication: Authentication) -> Flow[None]:
        """Log in, once for all flows of this client that need it at the same time."""
        while self._logging_in:
            yield Sleep(LOGIN_POLL)
        if authentication is not self._authentication:
            # Another flow was refused and reads the connection again.
            return
        self._logging_in = True
        try:
            yield from self._retrying(partial(self._log_in, authentication))
        finally:
            self._logging_in = False

    def _log_in(self, authentication: Authentication) -> Flow[None]:
        # What it sends to get a token may be repeated by the reply.
        self._redaction.add(authentication.issued)
        yield from self._guarded(authentication, authentication.prepare(self.clock(), self._send_for(authentication)))
        self._redaction.add(authentication.issued)

    def _guarded(self, login: Authentication, flow: Flow[T]) -> Flow[T]:
        """Run a flow of a login, which may be of another package or use a library that raises anything."""
        try:
            return (yield from flow)
        except RemoteError as error:
            # The words of a library's service may repeat what it got.
            self._redaction.add(login.issued)
            error.redact(self.redact)
            raise
        except TransportError:
            raise
        except Exception as error:  # noqa: BLE001
            # Its text may hold a secret, as of a reply that a library cannot read.
            raise UnexpectedReply(f"The login {type(login).__name__} failed: {type(error).__name__}.") from None

    def _is_authenticated(self, response: Response, login: Authentication, shown: Mapping[str, str]) -> Flow[bool]:
        """
        Whether a 403 is about a missing permission, not about the login.

        Where the remote answers both alike, this reads something that nearly every account may read.
        """
        dialect = yield from self.dialect()
        if response.status != 403 or not shown or dialect.distinguishes_bad_credentials:
            return False
        proof = yield from self._send_with_retries(
            replace(dialect.proof().request.with_headers(shown), only_at=login.credentials.base_url)
        )
        return proof.status == 200

    def _reload(self) -> Flow[bool]:
        """After a refusal: read the connection again, since its secret may have changed."""
        before = self.settings
        settings: Settings = yield Reload()
        self.settings, self._authentication = settings, None
        if (settings.base_url, settings.generation) != (before.base_url, before.generation):
            # It points to another deployment now, which may be of another generation.
            self._dialect = None
        return settings != before

    def _refusal(self, login: Authentication, request: Request, response: Response) -> AuthenticationFailed:
        advice = responses.authentication_advice(login, response, self._dialect)
        return responses.error_of(AuthenticationFailed, advice, request, response)

    def _retrying(self, flow: Callable[[], Flow[T]]) -> Flow[T]:
        return (yield from self.with_retry_budget(self._retry_unexpected(flow)))

    def _retry_unexpected(self, flow: Callable[[], Flow[T]]) -> Flow[T]:
        while True:
            try:
                return (yield from flow())
            except UnexpectedReply as error:
                # A page of a gateway may pass, like its 503.
                yield from self.back_off(error)

    def with_retry_budget(self, flow: Flow[T], retry: RetryPolicy | None = None) -> Flow[T]:
        """
        Run a flow whose requests share one retry budget.

        A flow inside another one uses the budget of the outer one. Several flows of a client may run at once, each
        with a budget of its own.

        :param retry: when they are retried, instead of the client's policy.
        """
        if self._retry_budget is not None:
            return (yield from flow)
        budget = RetryBudget(retry or self._retry, self.clock())
        outcome: Any = None
        try:
            while True:
                self._retry_budget = budget
                try:
                    step = flow.throw(outcome) if isinstance(outcome, TransportError) else flow.send(outcome)
                except StopIteration as end:
                    return cast("T", end.value)
                finally:
                    self._retry_budget = None
                try:
                    outcome = yield step
                except TransportError as error:
                    outcome = error
        finally:
            flow.close()

    def back_off(self, failure: RemoteError, *, by_time: bool = False) -> Flow[None]:
        """
        Wait before a retry. Without a retry budget, see :meth:`with_retry_budget`, there is no retry.

        :param by_time: whether only the time limits the attempts, not their number.
        :raises RemoteError: the failure itself, once the limit is reached.
        """
        retry_after, budget = (
            failure.retry_after if isinstance(failure, RemoteUnavailable) else None,
            self._retry_budget,
        )
        if budget and isinstance(failure, TransientError) and failure.waking:
            if not budget.policy.waits_for_wake:
                raise failure
            yield Sleep(SECONDS_BETWEEN_ATTEMPTS)
            budget.exclude(SECONDS_BETWEEN_ATTEMPTS)
            return
        wait = budget.wait(self.clock(), self._jitter(), retry_after, by_time=by_time) if budget else None
        if wait is None:
            raise failure
        yield Sleep(wait)

    def _send_for(self, login: Authentication | None) -> Send:
        """What a login sends its requests with, which go to the deployment or to its ``urls``."""

        def send_for(request: Request) -> Flow[Response]:
            if request.url and not (login and request.url in login.urls):
                raise InvalidSettings(
                    f"The login sends a request to {request.url!r}, which is none of its `urls`.",
                    method=request.method,
                    path=request.path,
                )
            if login:
                # A reply may repeat what a request contains.
                self._redaction.add(login.issued)
                if not request.url:
                    request = replace(request, only_at=login.credentials.base_url)
            return self._send_with_retries(request)

        return send_for

    def _send_with_retries(self, request: Request) -> Flow[Response]:
        """Send a request as it is, and retry it if that is safe."""
        while True:
            outcome = yield from self._attempt(request)
            if isinstance(outcome, Response):
                return outcome
            yield from self.back_off(outcome)

    def _attempt(self, request: Request) -> Flow[Response | TransientError]:
        """
        Send a request once.

        A request that may not be repeated is retried only if it certainly did nothing: it never left, or the remote
        answered 429. One that is to be sent once is not retried even then.

        :return: the reply, or the failure after which a retry is safe.
        :raises TransientError: the failure after which it is not.
        """
        self._check_deployment(request)
        began = self.clock()
        try:
            response = self._redacted(request, (yield from send(request)))
        except TransportError as error:
            # A proxy's refusal may repeat the credentials that the proxy got.
            error.reason = self.redact(error.reason)
            failure: TransientError = responses.unreachable(self.settings, request, error)
            harmless, explained = not error.sent, not error.out_of_time
        else:
            if not request.url:
                self._record_clock_skew(response)
                self._record_answer(response)
            if response.status not in TRANSIENT_STATUSES:
                responses.check_size(request, response)
                if response.status >= 400 and len(response.body) > LARGE_JSON:
                    response = yield from compute(response.parse)
                return response
            failure = responses.unavailable(request, response, datetime.fromtimestamp(self.clock(), timezone.utc))
            harmless, explained = response.status == 429, True
        if explained:
            yield from self._explain(request, failure)
        if failure.waking and self._retry_budget:
            self._retry_budget.exclude(self.clock() - began)
        if request.once or not (request.may_repeat or harmless):
            raise failure
        return failure

    def _send_once(self, request: Request) -> Flow[Response]:
        """Send a request as it is, without retries."""
        outcome = yield from self._attempt(request)
        if isinstance(outcome, Response):
            return outcome
        raise outcome

    def _explain(self, request: Request, failure: TransientError) -> Flow[None]:
        """Add to a failure what Astro knows of its cause, and read the connection again if the Deployment has moved."""
        outage = None if request.url or failure.status not in OUTAGES else Outage.of(self.settings)
        if outage is None:
            return
        yield from outage.explain(failure, self.clock, self._send_once, wake=self._wakes)
        if outage.url and Place.of(self.settings).move(self.settings.base_url, outage.url):
            log.warning("The Deployment has moved from %s to %s", self.settings.base_url, outage.url)
            yield from self._reload()

    @property
    def _wakes(self) -> bool:
        # The connection may have been read again, so the settings alone do not decide it.
        return self.settings.wake and self._retry.wakes

    def astro_status(self) -> Flow[str]:
        """A sentence on the Deployment from the Astro API; empty if the connection does not name one."""
        outage = Outage.of(self.settings)
        return (yield from outage.status(self._send_once)) if outage else ""

    def _record_answer(self, response: Response) -> None:
        """Record that a Deployment that was woken has answered."""
        outage = Outage.of(self.settings) if self._wakes and response.status not in OUTAGES else None
        if outage:
            outage.answered()

    def _redacted(self, request: Request, response: Response) -> Response:
        """A reply whose secrets are masked before a person or a database gets it."""
        return replace(
            response,
            redact=self.redact,
            clean=lambda value: self._redaction.hide_in(value, self.settings, request),
            clean_text=lambda text: self._redaction.hide_in_bytes(text, self.settings),
        )

    def _record_clock_skew(self, response: Response) -> None:
        date = http_date(response.headers.get("date", ""))
        skew = date.timestamp() - self.clock() if date else math.inf
        # A larger difference is no clock error, and would lead to dates out of range.
        if abs(skew) < LARGEST_SKEW:
            self._skew = skew


def one_retry_budget(method: Callable[P, Flow[T]]) -> Callable[P, Flow[T]]:
    """Let all requests of a flow share one retry budget. For methods of a class that has a ``_client``."""

    @wraps(method)
    def flow(*args: P.args, **kwargs: P.kwargs) -> Flow[T]:
        owner: Any = args[0]
        shared: Flow[T] = owner._client.with_retry_budget(method(*args, **kwargs))
        return shared

    return flow
