"""OAuth2 with client credentials, and the client of the Keycloak auth manager."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.logins.oauth2 import CLIENT_REFUSED, REQUEST_REFUSED
from astronomer_remote.api.protocol.auth import read_token
from astronomer_remote.api.protocol.errors import (
    AuthenticationFailed,
    InvalidSettings,
    RemoteUnavailable,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Request, Response
from astronomer_remote.api.protocol.settings import Settings
from tests.api.script import URL, V1, V2, ScriptedRemote, Turn, answer, ok, page

TOKEN_URL = "https://login.example.com/realms/x/token"
SECRET = "s3cret: of a client/ß"
BASIC = "Basic " + base64.b64encode(b"our%20client:s3cret%3A%20of%20a%20client%2F%C3%9F").decode()


def settings(**extra: Any) -> Settings:
    given = {"auth": "oauth2", "token_url": TOKEN_URL, **extra}
    return Settings.parse(host=URL, login="our client", password=SECRET, extra=given)


def token_turn(reply: Response | None = None, token: str = "first-t0ken-issued", **more: Any) -> Turn:
    return Turn("POST /realms/x/token", reply or ok({"access_token": token, "token_type": "Bearer", **more}))


def pool_turn(reply: Response | None = None, token: str = "first-t0ken-issued", version: str = V2) -> Turn:
    base = "/api/v2" if version == V2 else "/api/v1"
    found = reply or ok({"name": "p", "slots": 1})
    return Turn(f"GET {base}/pools/p", found, authorization=f"Bearer {token}")


def error(name: str, status: int = 400, description: Any = "because") -> Response:
    return answer(status, {"error": name, "error_description": description})


def form_of(remote: ScriptedRemote) -> tuple[Any, str | None]:
    (request,) = (each for each in remote.requests if each.url)
    assert request.url == TOKEN_URL
    return request.form, request.headers.get("Authorization")


@pytest.mark.parametrize("version", [V1, V2])
def test_the_client_is_authenticated_in_the_header(version: str) -> None:
    remote = ScriptedRemote(settings(), version)
    remote.play(remote.deployment.get_pool("p"), token_turn(), pool_turn(version=version))
    assert form_of(remote) == ({"grant_type": "client_credentials"}, BASIC)


def test_the_client_is_authenticated_in_the_body() -> None:
    remote = ScriptedRemote(settings(client_auth="Body", scope="a b", audience="https://airflow"), V2)
    remote.play(remote.deployment.get_pool("p"), token_turn(), pool_turn())
    form = {
        "grant_type": "client_credentials",
        "scope": "a b",
        "audience": "https://airflow",
        "client_id": "our client",
        "client_secret": SECRET,
    }
    assert form_of(remote) == (form, None)


def test_a_token_is_refreshed_before_it_expires() -> None:
    remote = ScriptedRemote(settings(), V2)
    get = remote.deployment.get_pool
    remote.play(get("p"), token_turn(expires_in=300), pool_turn())
    remote.clock.now += 239
    remote.play(get("p"), pool_turn())
    remote.clock.now += 2
    turns = [token_turn(token="next-t0ken-issued"), pool_turn(token="next-t0ken-issued")]
    assert remote.play(get("p"), *turns).name == "p"


@pytest.mark.parametrize("refused", [answer(401, {"detail": "no"}), page(401), page(302), page(403)])
def test_a_token_that_is_refused_is_replaced(refused: Response) -> None:
    remote = ScriptedRemote(settings(), V2)
    turns = [token_turn(), pool_turn(refused), token_turn(token="next-t0ken-issued")]
    pool = remote.play(remote.deployment.get_pool("p"), *turns, pool_turn(token="next-t0ken-issued"))
    assert pool.name == "p"


def test_a_token_that_expires_between_two_retries_is_refreshed_before_the_next() -> None:
    remote = ScriptedRemote(settings(), V2)
    remote.play(remote.deployment.get_pool("p"), token_turn(expires_in=300), pool_turn())
    busy = answer(503, {}, retry_after="20")
    # It was refused and replaced before, which does not count for the token after it.
    turns = [
        pool_turn(page(401)),
        token_turn(token="short-lived-t0ken", expires_in=10),
        pool_turn(busy, token="short-lived-t0ken"),
        token_turn(token="last-t0ken-issued", expires_in=300),
        pool_turn(token="last-t0ken-issued"),
    ]
    assert remote.play(remote.deployment.get_pool("p"), *turns).name == "p"


def test_a_refused_refresh_reads_the_rotated_secret_from_the_connection() -> None:
    remote = ScriptedRemote(settings(client_auth="body"), V2)
    remote.play(remote.deployment.get_pool("p"), token_turn(expires_in=300), pool_turn())
    remote.clock.now += 300
    rotated = Settings.parse(
        host=URL, login="our client", password="rotated", extra={"auth": "oauth2", "token_url": TOKEN_URL}
    )
    turns = [token_turn(error("invalid_client", 401)), rotated, token_turn(token="next-t0ken-issued")]
    pool = remote.play(remote.deployment.get_pool("p"), *turns, pool_turn(token="next-t0ken-issued"))
    assert pool.name == "p"


@pytest.mark.parametrize("name", [*CLIENT_REFUSED, *REQUEST_REFUSED])
@pytest.mark.parametrize("status", [400, 401])
def test_a_refusal_of_the_server_is_named_and_not_retried(name: str, status: int) -> None:
    remote = ScriptedRemote(settings(), V2)
    same = settings()
    refused = token_turn(error(name, status, f"no client with {SECRET}"))
    with pytest.raises(AuthenticationFailed, match=f"{TOKEN_URL} .*{name}") as caught:
        remote.play(remote.deployment.get_pool("p"), refused, same)
    assert caught.value.detail == "no client with ***"
    assert ("client id" in caught.value.message) == (name in CLIENT_REFUSED)
    assert (caught.value.status, caught.value.path) == (status, "/realms/x/token")


@pytest.mark.parametrize(
    "reply",
    [
        page(200),
        page(404),
        answer(404, {"message": "no such realm"}),
        answer(400, {"error": "slow_down"}),
        answer(400, {"error": {"code": 1}}),
        answer(400, ["error"]),
        Response(400, {"content-type": "application/json"}, b"{"),
        ok({"token": "x"}),
    ],
)
def test_what_may_pass_is_retried(reply: Response) -> None:
    remote = ScriptedRemote(settings(), V2)
    remote.play(remote.deployment.get_pool("p"), token_turn(reply), token_turn(), pool_turn())
    remote = ScriptedRemote(settings(), V2, retry=RetryPolicy(attempts=1))
    with pytest.raises(UnexpectedReply, match=r"issued no token\. Check the connection's token_url"):
        remote.play(remote.deployment.get_pool("p"), token_turn(reply))


def test_a_server_that_is_down_for_a_while_is_waited_for() -> None:
    remote = ScriptedRemote(settings(), V2)
    remote.play(remote.deployment.get_pool("p"), token_turn(answer(503, {})), token_turn(), pool_turn())
    assert len(remote.sleeps) == 1


def test_no_secret_is_shown() -> None:
    ours = settings()
    remote = ScriptedRemote(ours, V2)
    remote.play(remote.deployment.get_pool("p"), token_turn(), pool_turn())
    shown = remote.client.redact(f"{SECRET} first-t0ken-issued {BASIC}")
    assert shown == "*** *** Basic ***"
    assert SECRET not in repr(ours) + repr(remote.requests)
    assert BASIC not in repr(remote.requests)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"token_url": ""}, "needs the connection's token_url"),
        ({"token_url": "ftp://x"}, "token_url must be a URL"),
        ({"client_auth": "jwt"}, "client_auth='jwt' must be one of: basic, body"),
        ({"scope": 7}, "scope must be text"),
    ],
)
def test_what_is_wrong_is_said_when_the_connection_is_read(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        settings(**changes)
    with pytest.raises(InvalidSettings, match="needs the connection's password"):
        Settings.parse(host=URL, login="c", extra={"auth": "oauth2", "token_url": TOKEN_URL})


def test_the_connection_test_reports_what_the_server_refused() -> None:
    remote = ScriptedRemote(settings(), V2)
    with pytest.raises(AuthenticationFailed, match="invalid_client"):
        remote.drive(
            remote.deployment.describe(),
            lambda request: error("invalid_client", 401) if request.url else ok({}),
            settings,
        )


# Keycloak


def jwt(**claims: Any) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({}, claims))
    return ".".join((*parts, "signature"))


def keycloak() -> Settings:
    return Settings.parse(host=URL, login="airflow", password=SECRET, extra={"auth": "keycloak_client"})


def test_the_client_of_the_keycloak_auth_manager_gets_a_token_of_airflow() -> None:
    remote = ScriptedRemote(keycloak(), V2)
    body = {"grant_type": "client_credentials", "client_id": "airflow", "client_secret": SECRET}
    token = jwt(sub="airflow")
    turns = [Turn("POST /auth/token", answer(201, {"access_token": token}), body=body), pool_turn(token=token)]
    assert remote.play(remote.deployment.get_pool("p"), *turns).name == "p"


def test_a_client_that_keycloak_refuses_is_reported() -> None:
    remote = ScriptedRemote(keycloak(), V2)
    refused = Turn("POST /auth/token", answer(403, {"detail": "Client credentials authentication failed"}))
    with pytest.raises(AuthenticationFailed, match="did not accept the connection's login 'airflow'"):
        remote.play(remote.deployment.get_pool("p"), refused, keycloak())


def test_a_token_is_refreshed_before_the_token_of_keycloak_in_it_expires() -> None:
    remote = ScriptedRemote(keycloak(), V2)
    now = remote.clock.now
    token = jwt(exp=now + 86400, access_token=jwt(exp=now + 300))

    def reply(request: Request) -> Response:
        return answer(201, {"access_token": token}) if request.path == "/auth/token" else ok({"name": "p", "slots": 1})

    remote.drive(remote.deployment.get_pool("p"), reply)
    remote.clock.now += 239
    remote.drive(remote.deployment.get_pool("p"), reply)
    assert [request.path for request in remote.requests].count("/auth/token") == 1
    remote.clock.now += 2
    remote.drive(remote.deployment.get_pool("p"), reply)
    assert [request.path for request in remote.requests].count("/auth/token") == 2


@pytest.mark.parametrize(
    ("claims", "expires"),
    [
        ({"exp": 10, "access_token": jwt(exp=5)}, 5.0),
        ({"exp": 5, "access_token": jwt(exp=10)}, 5.0),
        ({"exp": 5, "access_token": "opaque"}, 5.0),
        ({"exp": 5, "access_token": 7}, 5.0),
        ({"access_token": jwt(exp=10)}, 10.0),
        ({"exp": "soon"}, None),
        ({"exp": 1e999}, None),
    ],
)
def test_the_earlier_of_two_dates_counts(claims: dict[str, Any], expires: float | None) -> None:
    assert read_token(ok({"access_token": jwt(**claims)}), 0).expires == expires


def test_a_token_endpoint_that_cannot_answer_is_named() -> None:
    remote = ScriptedRemote(settings(), V2, retry=RetryPolicy(attempts=1))
    with pytest.raises(RemoteUnavailable, match="could not answer now") as raised:
        remote.play(remote.deployment.get_pool("p"), token_turn(page(503)))
    assert raised.value.message.startswith(TOKEN_URL)
