"""Who we are to a remote: how credentials are presented, renewed, and what happens when they are refused."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.logins.basic import BASIC_REQUESTS_BEFORE_SESSION, SECONDS_BETWEEN_ATTEMPTS
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    DeploymentChanged,
    RemoteUnavailable,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Request, Response, Sleep
from astronomer_remote.api.protocol.settings import Settings
from tests.api.script import (
    EXPERIMENTAL,
    LOST,
    OPEN,
    URL,
    V1,
    V1_OLD,
    V2,
    VERSIONS,
    ScriptedRemote,
    Speech,
    Turn,
    answer,
    ok,
    page,
    plain,
)

USER = Settings(URL, login="me", password="pa:ß")
KEY = Settings(URL, password="k3y")
BASIC = "Basic " + base64.b64encode("me:pa:ß".encode()).decode()
FORM = '<form><input id="csrf_token" name="csrf_token" type="hidden" value="c5rf"></form>'
FORBIDDEN = answer(403, {"detail": "Forbidden"})
NO_REASON = answer(403, {"detail": None, "status": 403, "title": "Forbidden", "type": "about:blank"})
INVALID_TOKEN = answer(403, {"detail": "Invalid JWT token"})
EXPIRED = answer(401, {"detail": "Token Expired"})
UNAUTHORIZED = answer(401, {"detail": None, "status": 401, "title": "Unauthorized"})


def pool_turn(version: str, reply: Response | None = None, **checks: Any) -> Turn:
    body = {"pool": "p", "slots": 1} if version == EXPERIMENTAL else {"name": "p", "slots": 1}
    return Turn(f"GET {Speech(version).base}/pools/p", reply or ok(body), **checks)


def proof_turn(reply: Response, **checks: Any) -> Turn:
    """Airflow 2.11 refuses a missing permission like wrong credentials: a read that every account may do decides."""
    return Turn("GET /api/v1/dags?limit=1", reply, **checks)


def token(name: str = "t", *, ends: float | None = None) -> str:
    """A JSON Web Token as Airflow makes them."""
    claims = {"sub": name} if ends is None else {"sub": name, "exp": ends}
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({}, claims))
    return ".".join((*parts, "signature"))


def login_turn(reply: Any = None, *, password: str = "pa:ß") -> Turn:
    if not isinstance(reply, Response):
        reply = answer(201, {"access_token": reply or token()})
    return Turn("POST /auth/token", reply, body={"username": "me", "password": password}, authorization=None)


def presented(remote: ScriptedRemote) -> list[str | None]:
    """The credentials of each request for the pool."""
    sent = [request.headers for request in remote.requests if "/pools/" in request.path]
    return [headers.get("Authorization") or headers.get("Cookie") for headers in sent]


SESSION = "session=s3ssion"


# What is presented


@pytest.mark.parametrize(
    ("authentication", "version", "presented"),
    [
        ("astro_token", V2, "Bearer k3y"),
        ("astro_token", V1, "Bearer k3y"),
        ("software_api_key", V1, "k3y"),
        ("software_api_key", EXPERIMENTAL, "k3y"),
        ("auto", V2, "Bearer k3y"),
        ("auto", EXPERIMENTAL, "Bearer k3y"),
        ("none", V1, None),
    ],
)
def test_a_secret_without_a_login_is_sent_as_configured(authentication: str, version: str, presented: Any) -> None:
    remote = ScriptedRemote(replace(KEY, authentication=authentication), version)
    assert remote.play(remote.deployment.get_pool("p"), pool_turn(version, authorization=presented)).name == "p"


@pytest.mark.parametrize(
    ("authentication", "version"), [("auto", EXPERIMENTAL), ("auto", V1_OLD), ("auto", V1), ("basic", V2)]
)
def test_a_login_with_a_password_is_presented_in_the_basic_way(authentication: str, version: str) -> None:
    remote = ScriptedRemote(replace(USER, authentication=authentication), version)
    assert remote.play(remote.deployment.get_pool("p"), pool_turn(version, authorization=BASIC)).name == "p"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_connection_without_credentials_presents_none(version: str) -> None:
    remote = ScriptedRemote(Settings(URL), version)
    assert remote.play(remote.deployment.get_pool("p"), pool_turn(version, authorization=None, cookie=None)).name == "p"


def test_a_login_without_a_password_presents_nothing() -> None:
    remote = ScriptedRemote(Settings(URL, login="me"), V2)
    assert remote.play(remote.deployment.get_pool("p"), pool_turn(V2, authorization=None)).name == "p"


def test_a_token_is_presented_even_beside_a_login_if_the_connection_says_so() -> None:
    remote = ScriptedRemote(replace(USER, password="t", authentication="astro_token"), V2)
    assert remote.play(remote.deployment.get_pool("p"), pool_turn(V2, authorization="Bearer t")).name == "p"


def test_what_is_public_is_requested_without_credentials() -> None:
    remote = ScriptedRemote(KEY, V2)
    turn = Turn("GET /api/v2/monitor/health", ok({"x": {}, "y": 1}), authorization=None)
    remote.play(remote.deployment.get_health(), turn)
    assert [request.headers.get("Authorization") for request in remote.requests] == [None]


@pytest.mark.parametrize("refusal", [page(401), page(302), answer(401, {"detail": "Unauthorized"})])
def test_what_is_public_is_requested_with_credentials_behind_a_gateway(refusal: Response) -> None:
    remote = ScriptedRemote(KEY, V2)
    turns = [
        Turn("GET /api/v2/monitor/health", refusal, authorization=None),
        Turn("GET /api/v2/monitor/health", ok({"metadatabase": {"status": "healthy"}}), authorization="Bearer k3y"),
    ]
    assert remote.play(remote.deployment.get_health(), *turns).components == {"metadatabase": "healthy"}


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        (KEY, {"Authorization": "Bearer k3y"}),
        (OPEN, {}),
        (replace(USER, authentication="basic"), {"Authorization": BASIC}),
    ],
)
def test_the_headers_that_authenticate_can_be_read(settings: Settings, headers: Any) -> None:
    remote = ScriptedRemote(settings, V2)
    assert remote.play(remote.client.authorization()) == headers


# Token or key


def test_a_refused_bearer_token_is_presented_as_a_bare_key_from_then_on() -> None:
    remote = ScriptedRemote(KEY, V1)
    turns = [
        pool_turn(V1, UNAUTHORIZED, authorization="Bearer k3y"),
        pool_turn(V1, authorization="k3y"),
        pool_turn(V1, authorization="k3y"),
    ]
    remote.play(remote.deployment.get_pool("p"), *turns[:2])
    remote.play(remote.deployment.get_pool("p"), *turns[2:])
    assert presented(remote) == ["Bearer k3y", "k3y", "k3y"]


@pytest.mark.parametrize("refusal", [page(403), page(302), plain(307, ""), UNAUTHORIZED, INVALID_TOKEN, NO_REASON])
def test_a_token_that_gateway_or_airflow_refuses_is_an_authentication_failure(refusal: Response) -> None:
    remote = ScriptedRemote(replace(KEY, authentication="astro_token"), V2)
    with pytest.raises(AuthenticationFailed, match="did not accept the connection's token or key") as failure:
        remote.play(remote.deployment.get_pool("p"), pool_turn(V2, refusal), replace(KEY, authentication="astro_token"))
    assert (failure.value.status, failure.value.method) == (refusal.status, "GET")
    assert failure.value.path == "/api/v2/pools/p"


@pytest.mark.parametrize("settings", [KEY, replace(USER, authentication="basic"), USER])
def test_a_403_that_names_a_missing_permission_is_no_refusal_of_the_credentials(settings: Settings) -> None:
    remote = ScriptedRemote(settings, V2)
    login = [login_turn()] if settings is USER else []
    with pytest.raises(AccessDenied, match=r"lacks the permission; of Airflow's own roles, Viewer .* said: Forbidden"):
        remote.play(remote.deployment.get_pool("p"), *login, pool_turn(V2, FORBIDDEN))


@pytest.mark.parametrize("settings", [replace(USER, authentication="basic"), USER])
def test_a_gateways_page_is_no_refusal_of_the_credentials(settings: Settings) -> None:
    remote = ScriptedRemote(settings, V2)
    login = [login_turn()] if settings is USER else []
    remote.play(remote.deployment.get_pool("p"), *login, *[pool_turn(V2, page(403))] * 3, pool_turn(V2))
    assert len(presented(remote)) == 4
    assert len(set(presented(remote))) == 1


# Rotated secrets


def test_a_rotated_secret_is_read_again_when_the_old_one_is_refused() -> None:
    settings = replace(KEY, authentication="astro_token")
    remote = ScriptedRemote(settings, V2)
    remote.play(
        remote.deployment.get_pool("p"),
        pool_turn(V2, UNAUTHORIZED, authorization="Bearer k3y"),
        replace(settings, password="n3w"),
        pool_turn(V2, authorization="Bearer n3w"),
    )
    assert remote.deployment.settings.password == "n3w"


def test_a_rotated_secret_is_tried_in_both_forms_and_the_connection_read_only_once() -> None:
    remote = ScriptedRemote(KEY, V2)
    with pytest.raises(AuthenticationFailed):
        remote.play(
            remote.deployment.get_pool("p"),
            pool_turn(V2, UNAUTHORIZED, authorization="Bearer k3y"),
            pool_turn(V2, UNAUTHORIZED, authorization="k3y"),
            replace(KEY, password="n3w"),
            pool_turn(V2, UNAUTHORIZED, authorization="Bearer n3w"),
            pool_turn(V2, UNAUTHORIZED, authorization="n3w"),
        )


def test_a_rotated_password_is_read_again_when_logging_in_is_refused() -> None:
    remote = ScriptedRemote(USER, V2)
    remote.play(
        remote.deployment.get_pool("p"),
        login_turn(answer(401, {"detail": "Invalid credentials"})),
        replace(USER, password="n3w"),
        login_turn(password="n3w"),
        pool_turn(V2),
    )
    assert remote.deployment.settings.password == "n3w"


def test_a_new_password_that_is_refused_too_ends_it() -> None:
    remote = ScriptedRemote(USER, V2)
    refused = answer(401, {"detail": "Invalid credentials"})
    with pytest.raises(AuthenticationFailed, match=r"login 'me'\. Check the connection's login and password"):
        remote.play(
            remote.deployment.get_pool("p"),
            login_turn(refused),
            replace(USER, password="n3w"),
            login_turn(refused, password="n3w"),
        )


# Basic, and the web session that saves Airflow 2 the work of hashing a password


def login_page() -> Response:
    return Response(200, {"content-type": "text/html", "set-cookie": "session=anon; HttpOnly; Path=/"}, FORM.encode())


def session_turns(page_reply: Any = None, form_reply: Any = None) -> list[Turn]:
    turns = [Turn("GET /login/", page_reply or login_page(), authorization=None)]
    if page_reply is None:
        cookie = "lang=en; Path=/, session=s3ssion; Expires=Tue, 22 Dec 2026 07:00:00 GMT; HttpOnly"
        moved = page(302, location="/home", set_cookie=cookie)
        turns.append(Turn("POST /login/", form_reply or moved, authorization=None, cookie="session=anon"))
    return turns


def after_ten_requests(version: str = V1) -> ScriptedRemote:
    remote = ScriptedRemote(USER, version)
    for _ in range(BASIC_REQUESTS_BEFORE_SESSION):
        remote.play(remote.deployment.get_pool("p"), pool_turn(version, authorization=BASIC, cookie=None))
    return remote


def test_basic_turns_into_a_session_after_ten_requests() -> None:
    remote = after_ten_requests()
    with_session = pool_turn(V1, authorization=None, cookie="session=s3ssion")
    remote.play(remote.deployment.get_pool("p"), *session_turns(), with_session)
    remote.play(remote.deployment.get_pool("p"), with_session)
    form = next(request.form for request in remote.requests if request.method == "POST")
    assert form == {"username": "me", "password": "pa:ß", "csrf_token": "c5rf"}


def test_airflow_before_2_3_gets_no_request_for_a_session() -> None:
    remote = after_ten_requests(V1_OLD)
    remote.play(remote.deployment.get_pool("p"), pool_turn(V1_OLD, authorization=BASIC))
    assert set(presented(remote)) == {BASIC}


@pytest.mark.parametrize(
    "turns",
    [
        session_turns(page(404)),
        session_turns(page(200, "Sign in with SSO")),
        session_turns(form_reply=page(200, "Sign in")),
        session_turns(form_reply=page(302, location="/home")),
    ],
    ids=["no page", "no form", "form again", "no cookie"],
)
def test_basic_continues_for_good_where_logging_in_does_not_work(turns: list[Turn]) -> None:
    remote = after_ten_requests()
    for each in (turns, [], []):
        remote.play(remote.deployment.get_pool("p"), *each, pool_turn(V1, authorization=BASIC))
        remote.clock.now += 2 * SECONDS_BETWEEN_ATTEMPTS
    assert set(presented(remote)) == {BASIC}


@pytest.mark.parametrize(
    "turns",
    [
        [Turn("GET /login/", page(500))],
        [Turn("GET /login/", LOST)],
        [session_turns()[0], Turn("POST /login/", answer(429, {}, Retry_After="40"))],
    ],
    ids=["broken", "lost", "too many logins"],
)
def test_no_request_waits_for_a_session_and_it_is_tried_again_later(turns: list[Turn]) -> None:
    remote = after_ten_requests()
    for each in (turns, []):
        remote.play(remote.deployment.get_pool("p"), *each, pool_turn(V1, authorization=BASIC))
    assert remote.sleeps == []
    remote.clock.now += SECONDS_BETWEEN_ATTEMPTS
    with_session = pool_turn(V1, authorization=None, cookie="session=s3ssion")
    remote.play(remote.deployment.get_pool("p"), *session_turns(), with_session)


def test_a_login_page_without_a_cookie_is_answered_without_one() -> None:
    remote = after_ten_requests()
    bare = Response(200, {"content-type": "text/html"}, FORM.encode())
    turns = [Turn("GET /login/", bare), Turn("POST /login/", page(200), cookie="")]
    remote.play(remote.deployment.get_pool("p"), *turns, pool_turn(V1, authorization=BASIC))
    assert set(presented(remote)) == {BASIC}


def test_where_the_api_takes_no_sessions_each_is_tried_later_than_the_one_before() -> None:
    remote = after_ten_requests()
    refused, basic = pool_turn(V1, UNAUTHORIZED, cookie="session=s3ssion"), pool_turn(V1, authorization=BASIC)
    for number in (20, 40, 80):
        for nth in range(number):
            again = [] if nth else [*session_turns(), refused]
            remote.play(remote.deployment.get_pool("p"), *again, basic)
    assert presented(remote).count(SESSION) == 3


def test_a_login_page_that_is_too_large_is_given_up() -> None:
    remote = after_ten_requests()
    large = Response(200, {"content-type": "text/html"}, b"<", truncated=True)
    remote.play(remote.deployment.get_pool("p"), Turn("GET /login/", large), pool_turn(V1, authorization=BASIC))
    remote.clock.now += 2 * SECONDS_BETWEEN_ATTEMPTS
    remote.play(remote.deployment.get_pool("p"), pool_turn(V1, authorization=BASIC))
    assert [request.path for request in remote.requests].count("/login/") == 1


def test_a_session_that_ended_is_followed_by_basic_and_then_by_a_new_session() -> None:
    remote = after_ten_requests()
    with_session = pool_turn(V1, cookie="session=s3ssion", authorization=None)
    basic = pool_turn(V1, cookie=None, authorization=BASIC)
    remote.play(remote.deployment.get_pool("p"), *session_turns(), with_session)
    remote.play(remote.deployment.get_pool("p"), with_session)
    ended = pool_turn(V1, NO_REASON, cookie="session=s3ssion")
    remote.play(remote.deployment.get_pool("p"), ended, proof_turn(NO_REASON, cookie="session=s3ssion"), basic)
    for _ in range(2 * BASIC_REQUESTS_BEFORE_SESSION - 1):
        remote.play(remote.deployment.get_pool("p"), basic)
    remote.play(remote.deployment.get_pool("p"), *session_turns(), with_session)
    assert presented(remote) == [*[BASIC] * 10, *[SESSION] * 3, *[BASIC] * 20, SESSION]


@pytest.mark.parametrize("refusal", [UNAUTHORIZED, NO_REASON])
def test_a_wrong_password_on_airflow_2_is_named_whether_it_says_401_or_403_without_a_reason(refusal: Response) -> None:
    remote = ScriptedRemote(USER, V1)
    proof = [proof_turn(refusal)] if refusal is NO_REASON else []
    with pytest.raises(AuthenticationFailed, match="did not accept the connection's login 'me'") as failure:
        remote.play(remote.deployment.get_pool("p"), pool_turn(V1, refusal), *proof, USER)
    assert ("2.11 answers both with 403 and no reason" in str(failure.value)) == (refusal.status == 403)


def test_a_missing_permission_on_airflow_2_is_distinguished_from_a_wrong_password_by_another_request() -> None:
    remote = ScriptedRemote(USER, V1)
    with pytest.raises(AccessDenied, match="lacks the permission"):
        remote.play(
            remote.deployment.delete_pool("p"), Turn("DELETE /api/v1/pools/p", NO_REASON), proof_turn(ok({"dags": []}))
        )


@pytest.mark.parametrize("refusal", [UNAUTHORIZED, NO_REASON])
def test_the_error_for_a_connection_without_credentials_says_that_the_remote_needs_some(refusal: Response) -> None:
    remote = ScriptedRemote(Settings(URL), V1)
    with pytest.raises(AuthenticationFailed, match="requires credentials, and the connection sends none"):
        remote.play(remote.deployment.get_pool("p"), pool_turn(V1, refusal), Settings(URL))


# Airflow 3: the password is exchanged for a token


def test_a_password_is_exchanged_for_a_token_that_is_used_until_it_ends() -> None:
    remote = ScriptedRemote(USER, V2)
    first = token("first", ends=remote.clock.now + 86_400)
    with_first = pool_turn(V2, authorization=f"Bearer {first}")
    remote.play(remote.deployment.get_pool("p"), login_turn(first), with_first)
    remote.clock.now += 86_000
    remote.play(remote.deployment.get_pool("p"), with_first)
    assert presented(remote) == [f"Bearer {first}"] * 2


def test_a_token_is_renewed_a_minute_before_it_ends() -> None:
    remote = ScriptedRemote(USER, V2)
    first, second = token("first", ends=remote.clock.now + 86_400), token("second")
    remote.play(remote.deployment.get_pool("p"), login_turn(first), pool_turn(V2))
    remote.clock.now += 86_341
    remote.play(remote.deployment.get_pool("p"), login_turn(second), pool_turn(V2, authorization=f"Bearer {second}"))
    assert presented(remote) == [f"Bearer {first}", f"Bearer {second}"]


def ending(exp: str) -> str:
    """A token whose claims say in JSON when it ends."""
    claims = '{"exp": %s}' % exp  # noqa: UP031  # braces of JSON
    return f"a.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.c"


ODD_ENDS = ("NaN", "Infinity", "1e999", "9" * 400, "9" * 5000, "[]", "[" * 9000)


@pytest.mark.parametrize(
    "odd",
    ["opaque", "a.b.c", "a.bnVsbA.c", "a.eyJleHAiOiAibmV2ZXIifQ.c", "a.!.c", *(ending(each) for each in ODD_ENDS)],
)
def test_a_token_without_an_expiry_is_used_until_it_is_refused(odd: str) -> None:
    remote = ScriptedRemote(USER, V2)
    remote.play(remote.deployment.get_pool("p"), login_turn(odd), pool_turn(V2))
    remote.clock.now += 1e9
    assert remote.play(remote.deployment.get_pool("p"), pool_turn(V2)).name == "p"


@pytest.mark.parametrize(
    "odd", ["a\r\nX-Evil: b", "a b", "a\x00b", "a.\u00df.c", "\ud800", "", "x" * 20_000, 7, None, ["a"]]
)
def test_what_cannot_be_sent_as_a_token_is_none(odd: Any) -> None:
    remote = ScriptedRemote(USER, V2, retry=RetryPolicy(attempts=1))
    reply = answer(201, {"access_token": odd})
    with pytest.raises(UnexpectedReply, match="Could not log in as"):
        remote.play(remote.deployment.get_pool("p"), Turn("POST /auth/token", reply))


@pytest.mark.parametrize("refusal", [EXPIRED, INVALID_TOKEN])
def test_a_token_refused_early_is_renewed(refusal: Response) -> None:
    remote = ScriptedRemote(USER, V2)
    second = token("second")
    remote.play(remote.deployment.get_pool("p"), login_turn(), pool_turn(V2))
    found = remote.play(
        remote.deployment.get_pool("p"),
        pool_turn(V2, refusal),
        login_turn(second),
        pool_turn(V2, authorization=f"Bearer {second}"),
    )
    assert found.name == "p"


@pytest.mark.parametrize("refusal", [EXPIRED, INVALID_TOKEN])
def test_a_token_is_renewed_exactly_once_for_a_request(refusal: Response) -> None:
    remote = ScriptedRemote(USER, V2)
    with pytest.raises(AuthenticationFailed, match=r"the token that Airflow issued for the login 'me'\. .*jwt_secret"):
        remote.play(
            remote.deployment.get_pool("p"),
            login_turn(),
            pool_turn(V2, refusal),
            login_turn(),
            pool_turn(V2, refusal),
            USER,
        )


def test_a_lost_login_is_sent_again() -> None:
    remote = ScriptedRemote(USER, V2)
    lost = replace(login_turn(), reply=LOST)
    assert remote.play(remote.deployment.get_pool("p"), lost, login_turn(), pool_turn(V2)).name == "p"
    assert remote.sleeps == [0.5]


def test_a_login_that_is_out_of_order_for_now_is_no_wrong_password() -> None:
    remote = ScriptedRemote(USER, V2)
    with pytest.raises(RemoteUnavailable, match=r"POST /auth/token → 503"):
        remote.play(remote.deployment.get_pool("p"), *[login_turn(page(503))] * 6)


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (answer(401, {"detail": "Invalid credentials"}), "login and password"),
        (answer(422, {"detail": []}), "login and password"),
        (answer(404, {"detail": "Not Found"}), "give the connection an API token instead"),
    ],
)
def test_a_login_that_is_refused_says_what_to_do(reply: Response, advice: str) -> None:
    remote = ScriptedRemote(USER, V2)
    with pytest.raises(AuthenticationFailed, match=advice) as failure:
        remote.play(remote.deployment.get_pool("p"), login_turn(reply), USER)
    assert "pa:ß" not in str(failure.value) + repr(failure.value)


@pytest.mark.parametrize(
    "reply",
    [
        *[page(status) for status in (200, 302, 401, 403, 404)],
        *[ok(body) for body in (["access_token"], {"access_token": ""}, {"access_token": 7})],
        Response(201, {"content-type": "application/json"}, b'{"access_'),
    ],
)
def test_a_login_that_something_else_answers_is_repeated_and_no_wrong_password(reply: Response) -> None:
    remote = ScriptedRemote(USER, V2)
    remote.play(remote.deployment.get_pool("p"), login_turn(reply), login_turn(), pool_turn(V2))
    assert remote.sleeps == [0.5]
    hurried = ScriptedRemote(USER, V2, retry=RetryPolicy(attempts=1))
    with pytest.raises(UnexpectedReply, match="token instead") as failure:
        hurried.play(hurried.deployment.get_pool("p"), login_turn(reply))
    assert "pa:ß" not in str(failure.value) + repr(failure.value)


# Several flows of one client at a time, as in a triggerer


class SideBySide:
    """Two flows of one remote, each resumed when the test says so."""

    def __init__(self, remote: ScriptedRemote) -> None:
        self.remote = remote
        self.flows = [remote.deployment.get_pool("p") for _ in range(2)]
        self.steps: list[Any] = [next(flow) for flow in self.flows]

    def resume(self, number: int, outcome: Any) -> Any:
        try:
            self.steps[number] = self.flows[number].send(outcome)
        except StopIteration as end:
            self.steps[number] = end.value
        return self.steps[number]


def shown(step: Any) -> str | None:
    assert isinstance(step, Request)
    return step.headers.get("Authorization")


def test_two_flows_with_the_same_expired_token_both_continue_with_a_new_one() -> None:
    remote = ScriptedRemote(USER, V2)
    remote.play(remote.deployment.get_pool("p"), login_turn("old"), pool_turn(V2))
    both = SideBySide(remote)
    assert shown(both.steps[0]) == shown(both.steps[1]) == "Bearer old"
    assert both.resume(0, EXPIRED).path == "/auth/token"
    assert shown(both.resume(0, answer(201, {"access_token": "new"}))) == "Bearer new"
    assert shown(both.resume(1, EXPIRED)) == "Bearer new"
    assert both.resume(1, pool_turn(V2).reply).name == "p"
    assert both.resume(0, pool_turn(V2).reply).name == "p"


def test_two_flows_with_the_same_refused_form_of_a_key_both_continue_with_the_other() -> None:
    both = SideBySide(ScriptedRemote(KEY, V1))
    assert shown(both.resume(0, UNAUTHORIZED)) == "k3y"
    assert shown(both.resume(1, UNAUTHORIZED)) == "k3y"


def test_two_flows_that_read_a_rotated_secret_again_both_continue_with_it() -> None:
    settings = replace(KEY, authentication="astro_token")
    both = SideBySide(ScriptedRemote(settings, V2))
    rotated = replace(settings, password="n3w")
    for number in (0, 1):
        both.resume(number, UNAUTHORIZED)
    for number in (0, 1):
        assert shown(both.resume(number, rotated)) == "Bearer n3w"


def test_a_connection_that_points_elsewhere_meanwhile_is_detected_again() -> None:
    settings = replace(KEY, authentication="astro_token")
    remote = ScriptedRemote(settings, V2)
    flow = remote.deployment.get_pool("p")
    next(flow)
    flow.send(UNAUTHORIZED)
    step = flow.send(replace(settings, base_url="https://elsewhere.example.com", password="n3w"))
    assert isinstance(step, Request)
    assert (step.path, shown(step)) == ("/api/v2/version", None)


def test_a_password_is_not_sent_to_where_the_connection_points_now() -> None:
    elsewhere = replace(USER, base_url="https://elsewhere.example.com", password="n3w")
    remote = ScriptedRemote(USER, V2)
    flow = remote.deployment.get_pool("p")
    step = next(flow)
    assert isinstance(step, Request)
    assert step.path == "/auth/token"
    assert isinstance(flow.send(plain(503, "")), Sleep)
    # Another flow of this client has read the connection again meanwhile.
    remote.client.settings, remote.client._authentication, remote.client._dialect = elsewhere, None, None
    probes = [flow.send(None), flow.send(answer(404, {"detail": "no"}))]
    assert [(each.path, shown(each), each.body) for each in probes] == [
        ("/api/v2/version", None, None),
        ("/api/v1/version", None, None),
    ]
    # The login that fits that deployment, not the old one.
    assert shown(flow.send(ok({"version": V1}))) == "Basic " + base64.b64encode(b"me:n3w").decode()


def test_headers_for_another_program_are_only_of_the_deployment_that_it_calls() -> None:
    remote = ScriptedRemote(KEY, V2)
    assert remote.play(remote.client.authorization(URL)) == {"Authorization": "Bearer k3y"}
    with pytest.raises(DeploymentChanged, match=r"points to https://airflow\.example\.com now"):
        remote.play(remote.client.authorization("https://elsewhere.example.com"))


def test_a_flow_that_is_refused_after_another_read_the_new_secret_sends_the_new_one() -> None:
    settings = replace(KEY, authentication="astro_token")
    both = SideBySide(ScriptedRemote(settings, V2))
    both.resume(0, UNAUTHORIZED)
    both.resume(0, replace(settings, password="n3w"))
    assert shown(both.resume(1, UNAUTHORIZED)) == "Bearer n3w"
    assert isinstance(both.resume(1, plain(503, "")), Sleep)


def csrf_page(body: bytes) -> Response:
    return Response(200, {"content-type": "text/html", "set-cookie": "session=before"}, body)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "body",
    [
        b'name="csrf_token"' * 1_000_000,
        b'<input name="csrf_token"' + b' value="' * 2_000_000,
        b'<input name="csrf_token"' + b"x" * 20_000_000,
        b'<input name="csrf_token" value="a b">',
        b'<input name="csrf_token" value="">',
        b"x" * 600_000 + b'<input name="csrf_token" value="late">',
    ],
    ids=["names", "values", "endless", "odd", "empty", "late"],
)
def test_a_login_page_without_a_token_is_soon_read_and_basic_continues(body: bytes) -> None:
    remote = after_ten_requests()
    started = time.monotonic()
    remote.play(remote.deployment.get_pool("p"), Turn("GET /login/", csrf_page(body)), pool_turn(V1))
    assert time.monotonic() - started < 1
    assert presented(remote)[-1].startswith("Basic ")
