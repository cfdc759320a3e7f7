"""Detects the generation and version of Airflow at a URL, in at most three requests without credentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from astronomer_remote.api.dialects.base import Dialect
from astronomer_remote.api.dialects.experimental import ExperimentalDialect
from astronomer_remote.api.dialects.v1 import V1Dialect
from astronomer_remote.api.dialects.v2 import V2Dialect
from astronomer_remote.api.protocol.auth import Authentication, Send
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    NotFound,
    RemoteError,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import LARGE_JSON, Flow, Request, Response
from astronomer_remote.api.protocol.models import LONGEST_VERSION, Generation, Version
from astronomer_remote.api.protocol.settings import Settings

LONGEST_TYPE = 50
"""Characters that an error repeats of what a reply calls itself."""

LOGIN_ATTEMPTS = 2
"""How often a probe is sent with credentials: in another form, or with another token, after a refusal."""

PERMANENT_REDIRECTS = frozenset({301, 308})
"""They are about the address, such as one with ``http``, not about the login."""

Prepare = Callable[[Authentication], Flow[None]]

PROBES: Mapping[Generation, str] = {
    Generation.V2: "/api/v2/version",
    Generation.V1: "/api/v1/version",
    Generation.EXPERIMENTAL: "/api/experimental/test",
}


class TokenRefused(UnexpectedReply):
    """
    Each probe was refused with the token, too, by pages or redirects.

    A gateway that is broken for now may answer like this, so it is retried.
    """


def dialect(settings: Settings, send: Send, login: Authentication | None, prepare: Prepare) -> Flow[Dialect]:
    """
    The dialect of the remote.

    :param settings: with the generation, if the connection names it; then only its version is read.
    :param login: a login that does not depend on the version. A gateway in front of a hosted deployment lets no
        request through without it; it is used only after a refusal.
    :param prepare: gets the login ready.
    :raises RemoteError: with what answered instead of Airflow.
    """
    generations = [settings.generation] if settings.generation else list(PROBES)
    if settings.generation is Generation.EXPERIMENTAL:
        return ExperimentalDialect(settings.base_url, None)
    answers: dict[str, Response] = {}
    for generation in generations:
        request = Request("GET", PROBES[generation], authenticated=False)
        reply = yield from send(request)
        if login and login.refused(reply):
            reply = yield from _with_login(settings, request, login, send, prepare)
        found = _recognise(settings, generation, reply)
        # Airflow 2.0 may offer the experimental API too, so that what did not deny the newer one may be such.
        if found and not (
            generation is Generation.EXPERIMENTAL and any(each.status < 400 for each in answers.values())
        ):
            return found
        answers[request.path] = reply
    if login and all(login.refused(reply) for reply in answers.values()):
        raise _token_refused(settings, answers, login)
    raise _nothing_found(settings, answers)


def _with_login(
    settings: Settings, request: Request, login: Authentication, send: Send, prepare: Prepare
) -> Flow[Response]:
    for _ in range(LOGIN_ATTEMPTS):
        yield from prepare(login)
        reply = yield from send(replace(request.with_headers(login.headers()), only_at=login.credentials.base_url))
        if not (login.refused(reply) and login.refresh()):
            return reply
    raise AuthenticationFailed(
        f"{settings.base_url} did not accept {login.label}, and no new one after it ({request.path} → "
        f"{_describe(reply)}). {login.advice(reply.status)}",
        status=reply.status,
        method=request.method,
        path=request.path,
    )


def _recognise(settings: Settings, generation: Generation, reply: Response) -> Dialect | None:
    if reply.status != 200 or len(reply.body) > LARGE_JSON:
        return None
    try:
        body = reply.json()
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    if generation is Generation.EXPERIMENTAL:
        return ExperimentalDialect(settings.base_url, None) if body.get("status") == "OK" else None
    text = body.get("version")
    version = Version(reply.redact(text) if isinstance(text, str) else "")
    if not version.numbers or len(version.text) > LONGEST_VERSION or not version.text.isprintable():
        return None
    if generation is Generation.V1:
        return V1Dialect(settings.base_url, version)
    return V2Dialect(settings.base_url, version)


def _token_refused(settings: Settings, answers: Mapping[str, Response], login: Authentication) -> RemoteError:
    """The error after each probe was refused with a token or key, too."""
    path, reply = next(iter(answers.items()))
    facts: dict[str, Any] = {"status": reply.status, "method": "GET", "path": path}
    statuses = {reply.status for reply in answers.values()}
    if statuses & PERMANENT_REDIRECTS:
        return _nothing_found(settings, answers)
    why = f"{settings.base_url} did not accept {login.label}. {login.advice(reply.status)}"
    if statuses == {401}:
        return AuthenticationFailed(f"{why} Replies: {_replies(answers)}.", **facts)
    return TokenRefused(
        f"{why} Or a proxy or login page is in front of it, or the connection's host is another. "
        f"Replies: {_replies(answers)}.",
        **facts,
    )


def _replies(answers: Mapping[str, Response]) -> str:
    return ", ".join(f"{path} → {_describe(reply)}" for path, reply in answers.items())


def _nothing_found(settings: Settings, answers: Mapping[str, Response]) -> RemoteError:
    said = _replies(answers)
    statuses = [reply.status for reply in answers.values()]
    # Airflow 1.10 knows of no later API and refuses in a word; what refuses all three, or with a page, is a gateway.
    if statuses in ([404, 404, 401], [404, 404, 403]) and not list(answers.values())[-1].is_page:
        return AccessDenied(
            f"{settings.base_url} answers like an Airflow 1.10 whose experimental API is closed. Set its "
            f"[api] auth_backend to airflow.api.auth.backend.default, behind a gateway of your own. Replies: {said}."
        )
    where = f"No Airflow REST API found at {settings.base_url}. Check the connection's"
    absent = {*statuses} <= {404, 405}
    if absent and all(reply.is_airflow_error for reply in answers.values()):
        return NotFound(f"{where} host, with its whole path, and its api. Replies: {said}.")
    # Every Airflow answers one of them. So even a 404 of all is not the deployment's, and may pass: a gateway says so
    # while a deployment restarts.
    if absent:
        return UnexpectedReply(f"{where} host, with its whole path. Replies: {said}.")
    return UnexpectedReply(f"{where} host and token; a proxy or login page may be in front of it. Replies: {said}.")


def _describe(reply: Response) -> str:
    named = reply.redact(reply.content_type)[:LONGEST_TYPE]
    kind = {"text/html": " an HTML page", "": " nothing"}.get(reply.content_type, f" {ascii(named)[1:-1]}")
    return f"{reply.status}{kind}"
