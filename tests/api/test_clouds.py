"""The logins of Amazon MWAA and Cloud Composer, with the real libraries and their services on this machine."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3")
pytest.importorskip("google.auth")

from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    CredentialRetrievalError,
    IncompleteReadError,
    MetadataRetrievalError,
)
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account

from astronomer_remote.api.client.places import Place
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.logins import libraries
from astronomer_remote.api.logins import mwaa as mwaa_login
from astronomer_remote.api.logins.composer import Composer
from astronomer_remote.api.logins.mwaa import Mwaa
from astronomer_remote.api.protocol.auth import expiry_of
from astronomer_remote.api.protocol.errors import (
    AuthenticationFailed,
    InvalidSettings,
    NotFound,
    RemoteError,
    RequestRefused,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Request, Response
from astronomer_remote.api.protocol.settings import Settings
from tests.api.script import V1, V2, ScriptedRemote, Turn, answer, ok, page
from tests.api.test_oauth2 import jwt
from tests.clouds import AIRFLOW_URI, ENVIRONMENT, IDENTITY, ROLE, Cloud, cloud, write_key

# In old versions of both.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")

LOOKUP = f"GET /v1/{ENVIRONMENT}"
CUSTOM_DOMAIN = "https://airflow.example.com"
FOUND = ok({"name": "p", "slots": 1})
REFUSED = answer(401, {"detail": "expired"})
KEYS = {"login": "AKIAOFTHEUSER0000000", "password": "s3cret-key-of-the-user"}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cloud]:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    Place._all.clear()
    # boto3 sends requests to MWAA to the host "env." and so on, which does not exist here.
    config = mwaa_login._config().merge(Config(inject_host_prefix=False))
    monkeypatch.setattr(mwaa_login, "_config", lambda: config)
    with cloud() as found:
        monkeypatch.setenv("AWS_ENDPOINT_URL_MWAA", found.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", found.url)
        yield found


def mwaa(host: str | None = CUSTOM_DOMAIN, given: dict[str, Any] | None = None, **extra: Any) -> Settings:
    fields = {"auth": "mwaa", "mwaa_environment": "prod", "aws_region": "eu-west-1", **extra}
    return Settings.parse(host=host, **(KEYS if given is None else given), extra=fields)


def web_login(path: str, cookie: str | None, status: int = 302) -> Turn:
    return Turn(f"POST {path}", page(status, **({"set_cookie": f"other=1, {cookie}; Path=/"} if cookie else {})))


V2_LOGIN, V1_LOGIN = "/pluginsv2/aws_mwaa/login", "/aws_mwaa/login"


def test_mwaa_with_airflow_3_sends_its_token_and_refreshes_it(service: Cloud) -> None:
    remote = ScriptedRemote(mwaa(), V2)
    now = int(remote.clock.now)
    first, second = jwt(iat=now, exp=now + 600), jwt(iat=now, exp=now + 9000)
    pool = "GET /api/v2/pools/p"
    get = remote.deployment.get_pool
    remote.play(get("p"), web_login(V2_LOGIN, f"_token={first}"), Turn(pool, FOUND, authorization=f"Bearer {first}"))
    assert remote.requests[0].form == {"token": service.issued[0]}
    assert "Authorization" not in remote.requests[0].headers
    assert service.received[0][0] == "/webtoken/prod"
    assert f"Credential={KEYS['login']}" in service.received[0][1]
    remote.clock.now += 541
    remote.play(get("p"), web_login(V2_LOGIN, f"_token={second}"), Turn(pool, FOUND, authorization=f"Bearer {second}"))
    assert remote.client.account == IDENTITY
    for secret in (*service.issued, first, second):
        assert remote.client.redact(secret) == "***"


def test_mwaa_with_airflow_2_sends_its_session_and_gets_another_after_a_refusal(service: Cloud) -> None:
    remote = ScriptedRemote(mwaa(), V1)
    get, pool = remote.deployment.get_pool, "GET /api/v1/pools/p"
    first, second = "first-session-of-the-web-server", "second-session-of-the-web-server"
    logged_in = web_login(V1_LOGIN, f"session={first}")
    remote.play(get("p"), logged_in, Turn(pool, FOUND, cookie=f"session={first}", authorization=None))
    again = web_login(V1_LOGIN, f"session={second}", 200)
    moved = Turn(pool, page(302), cookie=f"session={first}")
    remote.play(get("p"), moved, again, Turn(pool, FOUND, cookie=f"session={second}"))
    remote.clock.now += 12 * 3600
    remote.play(get("p"), logged_in, Turn(pool, FOUND, cookie=f"session={first}"))
    assert len(service.issued) == 3


@pytest.mark.parametrize(
    ("attributes", "seconds"),
    [
        ("Path=/; Max-Age=600; HttpOnly", 600),
        ("Expires=Sun, 26 Jul 2026 07:10:00 GMT; HttpOnly; Path=/", 600),
        ("expires=Sunday, 26-Jul-26 07:10:00 GMT", 600),
        ("Expires=Sun, 26 Jul 2026 07:10:00 GMT; max-age=300", 300),
        ("Path=/; Max-Age=9999999", 43200),
        ("Path=/, csrf=1; Max-Age=5", 43200),
        ("Path=/; Max-Age=0", 43200),
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT", 43200),
        ("Expires=soon", 43200),
        ("Max-Age=٣٠٠", 43200),
    ],
)
def test_a_session_of_mwaa_is_replaced_before_its_cookie_expires(service: Cloud, attributes: str, seconds: int) -> None:
    remote = ScriptedRemote(mwaa(), V1)
    get, pool = remote.deployment.get_pool, Turn("GET /api/v1/pools/p", FOUND)
    cookie = f"other=1; Max-Age=1, session=session-of-the-web-server; {attributes}"
    login = Turn(f"POST {V1_LOGIN}", page(302, set_cookie=cookie, date="Sun, 26 Jul 2026 07:00:00 GMT"))
    for later, turns in ((0, [login, pool]), (seconds - 61, [pool]), (1, [login, pool])):
        remote.clock.now += later
        assert remote.play(get("p"), *turns).name == "p"
    assert sum(each.path == V1_LOGIN for each in remote.requests) == 2


def test_a_session_that_is_always_refused_is_an_error_after_one_new_one(service: Cloud) -> None:
    settings = mwaa(given={}, aws_role_arn=ROLE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", KEYS["login"])
        patch.setenv("AWS_SECRET_ACCESS_KEY", KEYS["password"])
        remote = ScriptedRemote(settings, V2)
        turns = [web_login(V2_LOGIN, "_token=t0ken-of-the-web-server"), Turn("GET /api/v2/pools/p", REFUSED)]
        with pytest.raises(
            AuthenticationFailed,
            match=r"did not accept the session of .*worker in the environment 'prod'.*which Airflow role",
        ):
            remote.play(remote.deployment.get_pool("p"), *turns, *turns, settings)
    assert len(service.issued) == 2
    assert "RoleSessionName=astronomer-remote" in service.received[0][2]
    assert "Credential=ASIAOFTHEROLE0000000" in service.received[1][1]


def test_before_the_version_is_known_both_logins_of_mwaa_are_tried(service: Cloud) -> None:
    remote = ScriptedRemote(mwaa())
    version = "GET /api/v2/version"
    session = "session-of-the-web-server"
    turns = [
        Turn(version, page(403)),
        web_login(V2_LOGIN, None, 404),
        web_login(V1_LOGIN, f"session={session}"),
        Turn(version, page(404), cookie=f"session={session}"),
        Turn("GET /api/v1/version", ok({"version": V1})),
    ]
    assert remote.play(remote.client.dialect(), *turns).generation.value == "v1"
    assert len(set(service.issued)) == 2


@pytest.mark.parametrize(("status", "error"), [(403, AuthenticationFailed), (404, UnexpectedReply)])
def test_a_web_login_that_is_refused_says_what_to_check(service: Cloud, status: int, error: type[RemoteError]) -> None:
    login = Mwaa(mwaa().credentials)

    def refuse(request: Request) -> Response:
        return page(status)

    remote = ScriptedRemote(mwaa(), V2)
    flow = login.fetch(0.0, remote.client._send_for(login))
    with pytest.raises(error, match=rf"{V2_LOGIN} → {status}, {V1_LOGIN} → {status}"):
        remote.drive(flow, refuse)


@pytest.mark.parametrize(
    ("failure", "error", "said"),
    [
        ((403, "AccessDeniedException"), AuthenticationFailed, "airflow:CreateWebLoginToken"),
        ((403, "ExpiredTokenException"), AuthenticationFailed, "Check the credentials"),
        ((404, "ResourceNotFoundException"), NotFound, "aws_region"),
        ((400, "ValidationException"), InvalidSettings, "mwaa_environment"),
        ((400, "ThrottlingException"), UnexpectedReply, "no web login token"),
        ((500, "InternalServerException"), UnexpectedReply, "no web login token"),
    ],
)
def test_refusals_of_aws(service: Cloud, failure: tuple[int, str], error: type[RemoteError], said: str) -> None:
    service.failure = failure[0], {"code": failure[1], "message": "the reason\nof AWS"}
    with pytest.raises(error, match=said) as raised:
        Mwaa(mwaa().credentials)._web_login()
    assert raised.value.detail == "the reason of AWS"
    assert raised.value.status == failure[0]


def test_what_aws_says_is_masked_cleaned_and_short(service: Cloud) -> None:
    said = f"no access\x1b[2J for {KEYS['password']}\n2026 INFO forged {'x' * 5000}"
    service.failure = 403, {"code": "AccessDeniedException", "message": said}
    remote = ScriptedRemote(mwaa(None))
    with pytest.raises(AuthenticationFailed, match="CreateWebLoginToken") as error:
        remote.play(remote.client.locate())
    text = f"{error.value} {error.value!r}"
    assert KEYS["password"] not in text
    assert "no access" in text
    assert "***" in text
    assert "\x1b" not in text
    assert "\n" not in text
    assert len(str(error.value)) < 2500


def test_secrets_of_a_role_are_masked_in_what_aws_says(service: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    answer_as_usual = Cloud.answer

    def refuse(self: Cloud, path: str, authorization: str, body: str) -> tuple[int, str, str]:
        if path.startswith("/webtoken/"):
            self.failure = 403, {"code": "AccessDeniedException", "message": "not with session-t0ken-of-the-role"}
        return answer_as_usual(self, path, authorization, body)

    monkeypatch.setattr(Cloud, "answer", refuse)
    remote = ScriptedRemote(mwaa(None, aws_role_arn=ROLE))
    with pytest.raises(AuthenticationFailed, match=r"not with \*\*\*"):
        remote.play(remote.client.locate())


@pytest.mark.parametrize("auth", ["mwaa", "composer"])
def test_a_token_of_the_machines_identity_is_not_sent_without_a_check_of_the_certificate(auth: str) -> None:
    make = {"mwaa": mwaa, "composer": composer}[auth]
    with pytest.raises(InvalidSettings, match=f"With auth='{auth}', the connection's verify must be on"):
        make(verify=False)
    assert make(verify="true", proxy="http://proxy.example.com:3128").verify


def test_aws_that_does_not_answer_and_credentials_that_are_missing(
    service: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AuthenticationFailed, match="Unable to locate credentials"):
        Mwaa(mwaa(given={}).credentials)._web_login()
    with pytest.raises(AuthenticationFailed, match=r"The config profile \(none\) could not be found"):
        Mwaa(mwaa(given={}, aws_profile="none").credentials)._web_login()
    with pytest.raises(AuthenticationFailed, match="specify a region"):
        Mwaa(mwaa(aws_region=None).credentials)._web_login()
    monkeypatch.setattr(Cloud, "answer", lambda *_: (200, "{}", ""))
    with pytest.raises(UnexpectedReply, match="has no web login token"):
        Mwaa(mwaa().credentials)._web_login()
    monkeypatch.setenv("AWS_ENDPOINT_URL_MWAA", "http://127.0.0.1:1")
    with pytest.raises(UnexpectedReply, match="AWS could not be reached"):
        Mwaa(mwaa().credentials)._web_login()


def test_the_url_of_an_environment_of_mwaa_is_found_by_its_name(service: Cloud) -> None:
    for host in (service.host, "0123-vpce.c2.airflow.eu-west-1.on.aws"):
        service.host = host
        remote = ScriptedRemote(mwaa(None))
        Place._all.clear()
        assert remote.play(remote.client.locate()).base_url == f"https://{host}"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "c2.eu-west-1.airflow.amazonaws.com.example.com",
        "c2.us-east-1.airflow.amazonaws.com",
        "eu-west-1.airflow.amazonaws.com@example.com",
        "example.com/c2.eu-west-1.airflow.amazonaws.com",
        "example.com#.eu-west-1.airflow.amazonaws.com",
        f"{'a' * 250}.eu-west-1.airflow.amazonaws.com",
    ],
)
def test_another_host_than_one_of_mwaa_gets_no_token(service: Cloud, host: str) -> None:
    service.host = host
    remote = ScriptedRemote(mwaa(None))
    with pytest.raises(InvalidSettings, match="which is none of Amazon MWAA in eu-west-1"):
        remote.play(remote.client.locate())
    assert remote.requests == []


@pytest.mark.parametrize(
    ("given", "extra", "said"),
    [
        (KEYS, {"mwaa_environment": "no name"}, "mwaa_environment"),
        (KEYS, {"mwaa_environment": None}, "needs the connection's mwaa_environment"),
        (KEYS, {"aws_region": "eu-west-1.example.com"}, "a region such as"),
        (KEYS, {"aws_role_arn": "airflow"}, "the ARN of a role"),
        ({"login": "AKIA"}, {}, "belong together"),
        (KEYS, {"aws_profile": "dev"}, "Keep one of them"),
    ],
)
def test_a_connection_to_mwaa_is_checked_early(given: dict[str, str], extra: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        mwaa(given=given, **extra)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (lambda: mwaa(), r"boto3.*airflow-provider-astronomer-remote\[aws\]"),
        (lambda: composer(), r"google\.auth.*airflow-provider-astronomer-remote\[google\]"),
    ],
)
@pytest.mark.parametrize("missing", [None, ModuleNotFoundError])
def test_a_missing_library_is_an_early_error(
    settings: Any, said: str, missing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> None:
        if missing:
            raise missing(name)

    monkeypatch.setattr(libraries, "find_spec", find)
    with pytest.raises(InvalidSettings, match=said):
        settings()


def test_no_token_is_logged_at_any_level(service: Cloud, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    Mwaa(mwaa(aws_role_arn=ROLE).credentials)._web_login()
    remote = ScriptedRemote(composer(google_key_file=str(write_key(tmp_path / "key.json", service.token_uri))), V2)
    remote.play(remote.deployment.get_pool("p"), Turn("GET /api/v2/pools/p", FOUND))
    assert "botocore" in caplog.text
    for secret in (*service.issued, "s3cret-of-the-role", "session-t0ken-of-the-role", KEYS["password"]):
        assert secret not in caplog.text
    logging.getLogger("botocore.parsers").debug("others may log")
    assert "others may log" in caplog.text


# Composer


def composer(host: str | None = AIRFLOW_URI, **extra: Any) -> Settings:
    return Settings.parse(host=host, extra={"auth": "composer", **extra})


def test_composer_sends_a_token_for_the_key_of_a_service_account(service: Cloud, tmp_path: Path) -> None:
    settings = composer(google_key_file=str(write_key(tmp_path / "key.json", service.token_uri)))
    remote = ScriptedRemote(settings, V2)
    pool, get = "GET /api/v2/pools/p", remote.deployment.get_pool
    remote.clock.now = time.time()
    remote.play(get("p"), Turn(pool, FOUND, authorization="Bearer t0ken-number-0-of-the-cloud"))
    remote.clock.now += 3000
    remote.play(get("p"), Turn(pool, FOUND, authorization="Bearer t0ken-number-0-of-the-cloud"))
    remote.clock.now += 600
    refused = Turn(pool, REFUSED, authorization="Bearer t0ken-number-1-of-the-cloud")
    last = Turn(pool, REFUSED, authorization="Bearer t0ken-number-2-of-the-cloud")
    with pytest.raises(AuthenticationFailed, match=r"the access token of airflow@my-project.*Composer User"):
        remote.play(get("p"), refused, last, settings)
    assert remote.client.account is None or "gserviceaccount" in remote.client.account
    assert len(service.issued) == 3


def test_composer_uses_application_default_credentials(
    service: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(write_key(tmp_path / "key.json", service.token_uri)))
    remote = ScriptedRemote(composer(), V2)
    authorization = "Bearer t0ken-number-0-of-the-cloud"
    remote.play(remote.deployment.get_pool("p"), Turn("GET /api/v2/pools/p", FOUND, authorization=authorization))
    assert remote.client.account == "airflow@my-project.iam.gserviceaccount.com"
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    remote = ScriptedRemote(composer(), V2)
    with pytest.raises(AuthenticationFailed, match="google-auth found no credentials"):
        remote.play(remote.deployment.get_pool("p"), composer())


@pytest.mark.parametrize(
    ("failure", "error", "said"),
    [
        ((400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}), AuthenticationFailed, "key"),
        ((503, {"error": "unavailable"}), UnexpectedReply, "Google issued no access token"),
    ],
)
def test_refusals_of_google(
    service: Cloud, tmp_path: Path, failure: Any, error: type[RemoteError], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    settings = composer(google_key_file=str(write_key(tmp_path / "key.json", service.token_uri)))
    service.failure = failure
    remote = ScriptedRemote(settings, V2)
    with pytest.raises(error, match=said):
        remote.play(remote.deployment.get_pool("p"), *([settings] if error is AuthenticationFailed else []))


def test_google_that_does_not_answer_is_retried(
    service: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    path = write_key(tmp_path / "key.json", service.token_uri)
    path.write_text(path.read_text().replace(service.url, "http://127.0.0.1:1"))
    remote = ScriptedRemote(composer(google_key_file=str(path)), V2)
    with pytest.raises(UnexpectedReply, match="Google could not be reached"):
        remote.play(remote.deployment.get_pool("p"))
    assert len(remote.sleeps) == 5


@pytest.mark.parametrize(
    ("outcome", "error", "said"),
    [
        (GoogleAuthError("not here"), AuthenticationFailed, "could not get an access token: not here"),
        (None, UnexpectedReply, "has no access token"),
    ],
)
def test_what_else_google_auth_may_do(
    service: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outcome: Any, error: type[RemoteError], said: str
) -> None:
    def refresh(*_: Any) -> None:
        if outcome:
            raise outcome

    monkeypatch.setattr(service_account.Credentials, "refresh", refresh)
    login = Composer(composer(google_key_file=str(write_key(tmp_path / "key.json", service.token_uri))).credentials)
    with pytest.raises(error, match=said):
        login._access_token()


KEY_FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "no JSON": lambda path: path.write_text("no JSON with a s3cret"),
    "no object": lambda path: path.write_text('["s3cret"]'),
    "no fields": lambda path: path.write_text('{"type": "service_account", "s3cret": 1}'),
    "odd fields": lambda path: path.write_text(
        '{"type": "service_account", "client_email": 1, "token_uri": 2, "private_key": 3}'
    ),
    "another kind": lambda path: path.write_text('{"type": "external_account", "s3cret": 1}'),
    "too large": lambda path: path.write_text('{"type": "service_account"}' + " " * 64 * 1024),
    "a folder": lambda path: path.mkdir(),
    "a named pipe": os.mkfifo,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("make", KEY_FILES.values(), ids=KEY_FILES)
def test_a_key_file_is_only_a_service_accounts(service: Cloud, tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "key.json"
    make(path)
    remote = ScriptedRemote(composer(google_key_file=str(path)), V2)
    with pytest.raises(InvalidSettings, match="must be the JSON key of a service account") as raised:
        remote.play(remote.deployment.get_pool("p"))
    assert "s3cret" not in str(raised.value)


def test_the_url_of_an_environment_of_composer_is_found_by_its_name(service: Cloud, tmp_path: Path) -> None:
    key = str(write_key(tmp_path / "key.json", service.token_uri))
    settings = composer(None, composer_environment=ENVIRONMENT, google_key_file=key)
    token = "Bearer t0ken-number-0-of-the-cloud"
    remote = ScriptedRemote(settings)
    reply = ok({"state": "RUNNING", "config": {"airflowUri": AIRFLOW_URI}})
    assert remote.play(remote.client.locate(), Turn(LOOKUP, reply, authorization=token)).base_url == AIRFLOW_URI
    assert remote.requests[0].url == f"https://composer.googleapis.com/v1/{ENVIRONMENT}"
    for turn, error, said in (
        (answer(403, {"error": {"message": "It is disabled."}}), AuthenticationFailed, "roles/composer.user.*disabled"),
        (answer(404, {}), NotFound, "There is no environment"),
        (answer(400, {"error": {"message": "no such region"}}), RequestRefused, "refused to show .*no such region"),
        (answer(400, {"error": "odd"}), RequestRefused, "refused to show"),
        (page(412), RequestRefused, "refused to show"),
        (ok({"config": {"airflowUri": "https://evil.example.com"}}), InvalidSettings, "no token is sent there"),
        (ok({"config": {"airflowUri": f"{AIRFLOW_URI}.example.com"}}), InvalidSettings, "no token is sent there"),
        (ok({"config": {"airflowUri": AIRFLOW_URI.replace("s:", ":")}}), InvalidSettings, "no token is sent there"),
    ):
        Place._all.clear()
        remote = ScriptedRemote(settings)
        with pytest.raises(error, match=said):
            remote.play(remote.client.locate(), Turn(LOOKUP, turn))
    for reply in (ok({"state": "CREATING"}), ok([]), page(200)):
        Place._all.clear()
        remote = ScriptedRemote(settings)
        with pytest.raises(UnexpectedReply, match="shows no URL"):
            remote.drive(remote.client.locate(), lambda request, reply=reply: reply)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"extra": {"composer_environment": "prod"}}, "full name of an environment"),
        ({"extra": {"composer_environment": ENVIRONMENT + "/../x"}}, "full name of an environment"),
        ({"login": "me", "password": "x"}, "takes no login and password"),
    ],
)
def test_a_connection_to_composer_is_checked_early(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        Settings.parse(host=AIRFLOW_URI, **{**given, "extra": {"auth": "composer", **given.get("extra", {})}})


@pytest.mark.parametrize(
    ("claims", "expires"),
    [
        ({"iat": 1000, "exp": 1600}, 1600.0),
        # The clock of the server is ahead, and behind.
        ({"iat": 9000, "exp": 9600}, 1600.0),
        ({"iat": 100, "exp": 700}, 1600.0),
        # It was issued earlier than it was sent.
        ({"iat": 500, "exp": 1100}, 1100.0),
        ({"iat": 700, "exp": 700}, 700.0),
        ({"exp": 1100}, 1100.0),
    ],
)
def test_a_token_expires_by_the_local_clock(claims: dict[str, Any], expires: float) -> None:
    assert expiry_of(jwt(**claims), 1000.0) == expires


@pytest.mark.parametrize(
    "error",
    [
        MetadataRetrievalError(error_msg="timed out"),
        CredentialRetrievalError(provider="custom-process", error_msg="busy"),
        IncompleteReadError(actual_bytes=1, expected_bytes=2),
    ],
)
def test_credentials_that_cannot_be_read_for_a_moment_are_read_again(
    service: Cloud, monkeypatch: pytest.MonkeyPatch, error: BotoCoreError
) -> None:
    session, errors = Mwaa._session, iter([error])

    def read(login: Mwaa) -> Any:
        for each in errors:
            raise each
        return session(login)

    monkeypatch.setattr(Mwaa, "_session", read)
    remote = ScriptedRemote(mwaa(), V1)
    turns = [
        web_login(V1_LOGIN, "session=first-session"),
        Turn("GET /api/v1/pools/p", FOUND, cookie="session=first-session"),
    ]
    assert remote.play(remote.deployment.get_pool("p"), *turns).name == "p"
    assert len(remote.sleeps) == 1


def test_a_refusal_with_a_cookie_is_no_login(service: Cloud) -> None:
    remote = ScriptedRemote(mwaa(), V1)
    with pytest.raises(AuthenticationFailed, match="did not accept the web login token"):
        remote.play(remote.deployment.get_pool("p"), web_login(V1_LOGIN, "session=anonymous", 403), mwaa())


@pytest.mark.parametrize(
    "host",
    [
        "https://evil.example.com",
        "http://0123-dot-europe-west1.composer.googleusercontent.com",
        "https://0123-dot-europe-west1.composer.googleusercontent.com:8443",
        "https://composer.googleusercontent.com.example.com",
    ],
)
def test_the_token_of_a_worker_at_google_goes_to_no_host_that_a_connection_chooses(host: str) -> None:
    with pytest.raises(InvalidSettings, match="no token is sent elsewhere"):
        composer(host)


def test_a_web_login_token_is_sent_over_tls_only() -> None:
    with pytest.raises(InvalidSettings, match="must begin with https://"):
        mwaa("http://airflow.example.com")


def test_a_web_login_token_is_not_sent_to_another_environment(service: Cloud) -> None:
    remote = ScriptedRemote(mwaa("https://another.c2.eu-west-1.airflow.amazonaws.com"), V2)
    with pytest.raises(InvalidSettings, match="Leave the host empty"):
        remote.play(remote.deployment.get_pool("p"))
    assert remote.requests == []


@pytest.mark.parametrize("body", [b"<AssumeRoleResponse><SecretAccessKey>s3cr", b"<AssumeRoleResponse/>"])
def test_a_reply_of_aws_that_cannot_be_read_is_not_repeated(
    service: Cloud, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    class Cut(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Cut) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_port}")
        remote = ScriptedRemote(
            mwaa(None, aws_role_arn="arn:aws:iam::123456789012:role/airflow"), retry=RetryPolicy(attempts=1)
        )
        with pytest.raises(UnexpectedReply, match="The reply of AWS cannot be read") as error:
            remote.play(remote.client.locate())
        server.shutdown()
    assert "s3cr" not in "".join(traceback.format_exception(error.value))


def test_neither_library_is_imported_before_it_is_used() -> None:
    code = (
        "import sys; from astronomer_remote.api.protocol.settings import Settings; "
        "Settings.parse(host='https://h', extra={'auth': 'mwaa', 'mwaa_environment': 'e'}); "
        "Settings.parse(host='https://a.composer.googleusercontent.com', extra={'auth': 'composer'}); "
        "assert not {'boto3', 'botocore', 'google.auth'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
