"""Reads replies: either a model comes out, or the one error that fits, with a sentence on what to do."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from astronomer_remote.api.client.retry import retry_after_seconds
from astronomer_remote.api.dialects.base import UNREADABLE, Dialect, Operation
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.auth import Authentication
from astronomer_remote.api.protocol.errors import (
    LONGEST_DETAIL,
    AccessDenied,
    AuthenticationFailed,
    Conflict,
    InvalidSettings,
    PermanentError,
    RemoteError,
    RemoteUnavailable,
    ReplyTooLarge,
    RequestRefused,
    UnexpectedReply,
    Unreachable,
)
from astronomer_remote.api.protocol.flow import LENGTH_OF_A_BEGINNING, Request, Response, TransportError
from astronomer_remote.api.protocol.models import Generation
from astronomer_remote.api.protocol.settings import Settings

T = TypeVar("T")
E = TypeVar("E", bound=RemoteError)

CAUSES: dict[int, type[RemoteError]] = {403: AccessDenied, 409: Conflict}


def check(operation: Operation[T], response: Response) -> None:
    """:raises RemoteError: the one that fits the reply, if it is an error."""
    request, action = operation.request, operation.action
    if 200 <= response.status < 300:
        return
    said = detail(response)
    if 300 <= response.status < 400:
        cause: type[RemoteError] = UnexpectedReply
        why = (
            "The remote redirects instead of answering, to "
            f"{_without_query(response)}; redirects are not followed. "
            "The connection's host may be wrong, or the credentials are missing."
        )
    elif response.status >= 500:
        cause = RemoteUnavailable
        why = f"Could not {action}: the remote could not answer now{_instead(response)}."
    elif not _is_airflows(request, response):
        cause = UnexpectedReply
        why = f"Could not {action}: {_kind(response)} came back where JSON was due ({_title(response)})."
    else:
        missing = response.status == operation.missing_status
        cause = operation.missing if missing else CAUSES.get(response.status, RequestRefused)
        why = f"Could not {action}{_advice(404 if missing else response.status, operation, said)}"
    raise error_of(cause, why, request, response)


def error_of(kind: type[E], message: str, request: Request, response: Response) -> E:
    """An error with what is known of the request and the reply."""
    return kind(message, status=response.status, method=request.method, path=request.path, detail=detail(response))


def read(operation: Operation[T], response: Response) -> T:
    """Turn the body of a good reply into the operation's result."""
    request = operation.request
    facts: dict[str, Any] = {"status": response.status, "method": request.method, "path": request.path}
    if operation.text and not response.is_page:
        return operation.read(response.clean_text(response.body))
    try:
        body = response.json() if response.body.strip() else None
    except ValueError:
        page = f" but a page ({_title(response)})" if response.is_page else ""
        raise UnexpectedReply(
            f"Could not {operation.action}: the reply is not JSON{page}. A proxy or login page may be in front of "
            "the deployment, or the connection's host is not an Airflow.",
            **facts,
        ) from None
    try:
        return operation.read(response.clean(body))
    except UNREADABLE as error:
        raise UnexpectedReply(
            f"Could not {operation.action}: the reply is not what Airflow sends "
            f"({type(error).__name__}: {_short(response, str(error))}).",
            **facts,
        ) from None


def read_in_steps(operation: Operation[T], response: Response) -> T:
    """The same as :func:`read` for a large body: parses it in steps between which other threads run."""
    return read(operation, response if operation.text else response.parse(operation.unread))


def detail(response: Response) -> str | None:
    """The server's own words, shortened. Each generation has its own place for them."""
    try:
        body = response.json()
    except ValueError:
        return None if response.is_page else _short(response, response.beginning()) or None
    said = (body.get("detail") or body.get("error") or body.get("title")) if isinstance(body, dict) else body
    if isinstance(said, list):
        said = "; ".join(_problem(item) for item in said)
    elif isinstance(said, dict):
        said = said.get("message") if said.get("reason") is None else said["reason"]
    return (_short(response, str(said)) or None) if said else None


def unreachable(settings: Settings, request: Request, error: TransportError) -> Unreachable:
    """The error for a request that got no reply."""
    by_way_of = f" through the proxy {error.proxy}" if error.proxy else ""
    which = "URL for it" if request.url else "host"
    check = "the proxy, whether NO_PROXY must name the host, " if error.proxy else ""
    found = Unreachable(
        f"No reply from {request.url or settings.base_url}{by_way_of}: {error.reason}. Check the connection's {which}, "
        f"{check}the network between the two deployments, and whether the remote is up.",
        method=request.method,
        path=request.path,
    )
    found.out_of_time = error.out_of_time
    return found


def unavailable(request: Request, response: Response, now: datetime) -> RemoteUnavailable:
    """The error for a remote that is overloaded or broken for now. :param now: the local time."""
    why = f"{request.url or 'The remote'} could not answer now (HTTP {response.status})."
    error = error_of(RemoteUnavailable, why, request, response)
    error.retry_after = retry_after_seconds(response.headers, now)
    return error


def check_size(request: Request, response: Response) -> None:
    """:raises ReplyTooLarge: for a reply that was cut; of an error, its beginning is enough."""
    if response.truncated and response.status < 400:
        raise ReplyTooLarge(
            f"The reply is larger than this package reads ({request.largest_reply} bytes), or does not end.",
            status=response.status,
            method=request.method,
            path=request.path,
        )


def authentication_advice(login: Authentication, response: Response, dialect: Dialect | None) -> str:
    """What to do about credentials that were refused. :param login: what sent them."""
    if type(login) is Authentication:
        return (
            "The remote requires credentials, and the connection sends none: give it login and password, or a token, "
            "and another auth than 'none'."
        )
    text = f"The remote did not accept {login.label}"
    if response.status == 403 and dialect is not None and dialect.generation is Generation.V1:
        text += ", or the account lacks every permission: Airflow 2.11 answers both with 403 and no reason"
    return f"{text}. {login.advice(response.status)}"


def login_refused(error: RemoteError) -> AuthenticationFailed:
    """The error for a refusal that concerns the login, not a request."""
    refused = error.restated(AuthenticationFailed, error.message)
    refused.at_login = True
    return refused


def _advice(status: int, operation: Operation[Any], said: str | None) -> str:
    # A configuration that is hidden from everybody is refused with 403 as well, but with a reason.
    if status == 403 and said not in (None, "Forbidden"):
        return f": the remote does not allow it. {operation.hint}".rstrip()
    if status == 403:
        role = operation.least_role
        least = f"; of Airflow's own roles, {role} is the least that may" if role else ""
        return f": the account behind the connection lacks the permission{least}."
    return {
        404: ": there is no such thing, or the account may not see it.",
        405: ": this version of Airflow does not offer it.",
        409: ": it conflicts with what is there.",
    }.get(status, ": the remote refused the request.")


def _problem(item: Any) -> str:
    if not isinstance(item, dict):
        return str(item)
    where = item.get("loc")
    return f"{'.'.join(map(str, where)) if isinstance(where, list) else where}: {item.get('msg')}"


def _is_airflows(request: Request, response: Response) -> bool:
    """Whether a refusal is the deployment's own, rather than that of a gateway before it, which may pass."""
    if response.is_airflow_error:
        return True
    # Airflow 1.10 refuses in a single word of text whoever may not use its API at all.
    return request.path.startswith("/api/experimental") and response.status in (401, 403) and not response.is_page


def _kind(response: Response) -> str:
    if response.is_page:
        return "an HTML page"
    return "an error that is not Airflow's" if response.is_json else "something else"


def _instead(response: Response) -> str:
    return f", but an HTML page came back ({_title(response)})" if response.is_page else ""


def _title(response: Response) -> str:
    """What a page calls itself. It is searched step by step: regular expressions take long for some pages."""
    page = response.body[:LENGTH_OF_A_BEGINNING]
    # Bytes have the same length in lower case.
    lower = page.lower()
    start = lower.find(b">", lower.find(b"<title")) + 1 if b"<title" in lower else 0
    end = lower.find(b"</title", start) if start else -1
    if end < 0:
        return "without a title"
    return f"titled {_short(response, page[start:end].decode(errors='replace'))!r}"


def _without_query(response: Response) -> str:
    location = response.headers.get("location", "nowhere").partition("?")[0]
    return repr(_short(response, location))


def _short(response: Response, text: str) -> str:
    # Redacted before it is cut: a part of a secret would not be recognised.
    return untrusted.sentence(response.redact(text[:LENGTH_OF_A_BEGINNING]), LONGEST_DETAIL)


def refuses(error: RemoteError) -> bool:
    """
    Whether the remote refuses a listing permanently; other requests may still work.

    A refused login and an invalid connection concern every request, so they do not count.
    """
    if isinstance(error, AuthenticationFailed):
        return not error.at_login
    return isinstance(error, PermanentError) and not isinstance(error, InvalidSettings)


def may_refuse(error: RemoteError) -> bool:
    """Whether a gateway may block this one request permanently, rather than all requests for now."""
    if error.status == 501:
        return True
    return isinstance(error, UnexpectedReply) and 300 <= (error.status or 0) < 500
