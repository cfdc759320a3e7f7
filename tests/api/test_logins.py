"""Logins of other packages: how they are found, what they may do, and what a connection cannot make them do."""

from __future__ import annotations

import asyncio
import importlib
import re
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.places import Place
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol import auth
from astronomer_remote.api.protocol.auth import (
    BUILT_IN,
    Authentication,
    Credentials,
    Send,
    Token,
    TokenLogin,
    find,
    names,
    read_token,
)
from astronomer_remote.api.protocol.errors import (
    AuthenticationFailed,
    InvalidSettings,
    RemoteError,
    RemoteUnavailable,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Compute, Flow, Request, Response, blocking, request_to
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.async_driver import AsyncDriver
from astronomer_remote.testing import drive
from tests.api.script import URL, V1, V2, ScriptedRemote, Turn, answer, ok, page, plain

PAGE = Path(__file__).parents[2] / "docs" / "connect" / "own_login.md"
TOKEN_URL = "https://login.example.com/token"
EXTRA = {"auth": "our_gateway", "token_url": TOKEN_URL, "gateway_key": "k3y-of-the-gateway"}
POOL = "GET /api/v2/pools/p"
FOUND = ok({"name": "p", "slots": 1})
REFUSED = answer(401, {"detail": "expired"})

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Installs a distribution with a module and entry points, as a package manager would."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    find.cache_clear()

    def installed(name: str, code: str, **logins: str) -> None:
        (tmp_path / f"{name}.py").write_text(code)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{login} = {value}" for login, value in logins.items()]
        (info / "entry_points.txt").write_text("\n".join(["[astronomer_remote.auth]", *lines, ""]))
        importlib.invalidate_caches()

    yield installed
    find.cache_clear()
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def gateway(install: Install) -> Settings:
    """The login of the page, installed, and a connection that names it."""
    code = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)[0]
    install("our_company", code, our_gateway="our_company:GatewayLogin")
    return Settings.parse(host=URL, extra=EXTRA)


def grant(token: str = "t0ken-of-the-gateway", **more: Any) -> Turn:
    return Turn("POST /token", ok({"access_token": token, **more}), body={"key": EXTRA["gateway_key"]})


def pool_turn(reply: Response = FOUND, token: str = "t0ken-of-the-gateway") -> Turn:
    return Turn(POOL, reply, authorization=f"Bearer {token}")


# The login of the page


def test_the_login_of_the_page_works_as_it_says(gateway: Settings) -> None:
    remote = ScriptedRemote(gateway, V2)
    get = remote.deployment.get_pool
    assert remote.play(get("p"), grant(expires_in=600), pool_turn()).name == "p"
    assert [request.url for request in remote.requests] == [TOKEN_URL, None]
    assert not any("Authorization" in request.headers for request in remote.requests if request.url)
    # It lasts until a minute before its end.
    remote.clock.now += 539
    remote.play(get("p"), pool_turn())
    remote.clock.now += 2
    remote.play(get("p"), grant("second-t0ken-of-it", expires_in=20), pool_turn(token="second-t0ken-of-it"))
    # One that is short-lived, for half its life.
    remote.clock.now += 9
    remote.play(get("p"), pool_turn(token="second-t0ken-of-it"))
    remote.clock.now += 2
    remote.play(get("p"), grant("third-t0ken-of-it"), pool_turn(token="third-t0ken-of-it"))
    remote.clock.now += 1e6
    # It ends without notice.
    remote.play(get("p"), pool_turn(REFUSED, "third-t0ken-of-it"), grant(), pool_turn())


def test_a_gateway_before_the_deployment_lets_the_detection_through_with_the_token(gateway: Settings) -> None:
    remote = ScriptedRemote(gateway)
    version = Turn("GET /api/v2/version", ok({"version": V2}), authorization="Bearer t0ken-of-the-gateway")
    refused = Turn("GET /api/v2/version", page(401), authorization=None)
    assert remote.play(remote.deployment.get_pool("p"), refused, grant(), version, pool_turn()).name == "p"
    assert remote.client.redact("Bearer t0ken-of-the-gateway") == "Bearer ***"


def test_a_token_is_kept_for_the_next_detection_if_the_deployment_is_down(gateway: Settings) -> None:
    remote = ScriptedRemote(gateway, retry=RetryPolicy(attempts=1))
    refused, down = Turn("GET /api/v2/version", page(401)), Turn("GET /api/v2/version", answer(503, {}))
    with pytest.raises(RemoteUnavailable):
        remote.play(remote.deployment.get_version(), refused, grant(), down)
    version = Turn("GET /api/v2/version", ok({"version": V2}), authorization="Bearer t0ken-of-the-gateway")
    assert remote.play(remote.deployment.get_pool("p"), refused, version, pool_turn()).name == "p"


def test_a_detection_that_is_refused_with_every_token_ends(gateway: Settings) -> None:
    remote = ScriptedRemote(gateway)
    requests = {"/token": ok({"access_token": "t0ken-of-the-gateway"})}
    with pytest.raises(
        AuthenticationFailed, match="did not accept the token that the connection's login got, and no new one"
    ):
        remote.drive(
            remote.deployment.get_version(), lambda request: requests.get(request.path, page(401)), lambda: gateway
        )
    # Not three probes and six attempts of each.
    assert [request.path for request in remote.requests].count("/token") == 2


@pytest.mark.parametrize(
    ("fields", "label", "advice"),
    [
        ({"login": "me", "password": "p", "extra": {"auth": "basic"}}, "the connection's login 'me'", "password"),
        ({"login": "me", "password": "p", "extra": {"auth": "airflow_login"}}, "Airflow issued for", "jwt_secret"),
        ({"login": "c", "password": "p", "extra": {"auth": "keycloak_client"}}, "for the client 'c'", "in Keycloak"),
        (
            {"login": "c", "password": "p", "extra": {"auth": "oauth2", "token_url": TOKEN_URL}},
            f"the token that {TOKEN_URL} issued for the client 'c'",
            "scope and audience",
        ),
        ({"password": "k", "extra": {"auth": "software_api_key"}}, "the connection's token or key", "deleted"),
        ({"password": "k", "extra": {"auth": "astro_token"}}, "the connection's token or key", "Astro answers"),
        ({"extra": {"auth": "mwaa", "mwaa_environment": "e"}}, "the environment 'e'", "which Airflow role"),
        (
            {"host": "https://a.composer.googleusercontent.com", "extra": {"auth": "composer"}},
            "the access token of",
            "Composer User",
        ),
    ],
)
def test_what_is_advised_after_a_refusal_is_about_the_login_in_use(
    fields: dict[str, Any], label: str, advice: str
) -> None:
    settings = Settings.parse(**{"host": URL, **fields})
    login = find(settings.authentication)(settings.credentials)
    assert label in login.label
    assert advice in login.advice(401)
    if not settings.login:
        assert "login and password" not in login.advice(401)


def test_a_login_of_another_package_need_not_say_what_it_sends() -> None:
    for credentials, label in (
        (Credentials(URL), "what the connection's login sends"),
        (Credentials(URL, password="k"), "the connection's token or key"),
    ):
        assert Authentication(credentials).label == label


@pytest.mark.parametrize("version", [None, V2])
def test_a_secret_that_is_refused_is_read_from_the_connection_again_once(gateway: Settings, version: Any) -> None:
    remote = ScriptedRemote(gateway, version)
    first = [] if version else [Turn("GET /api/v2/version", page(401))]
    denied = Turn("POST /token", answer(401, {"error": "unknown"}))
    with pytest.raises(AuthenticationFailed, match="did not accept the connection's gateway_key") as error:
        remote.play(remote.deployment.get_pool("p"), *first, denied, gateway)
    assert error.value.at_login
    rotated = Settings.parse(host=URL, extra={**EXTRA, "gateway_key": "an0ther-key"})
    granted = Turn("POST /token", ok({"access_token": "t0ken-of-the-gateway"}), body={"key": "an0ther-key"})
    detected = [Turn("GET /api/v2/version", page(401)), granted, Turn("GET /api/v2/version", ok({"version": V2}))]
    rest = [granted] if version else detected
    assert remote.play(remote.deployment.get_pool("p"), *first, denied, rotated, *rest, pool_turn()).name == "p"


def test_its_secrets_are_masked(gateway: Settings) -> None:
    assert set(gateway.secrets) == {EXTRA["gateway_key"]}
    assert EXTRA["gateway_key"] not in repr(gateway) + repr(gateway.credentials)
    remote = ScriptedRemote(gateway, V2)
    echo = answer(409, {"detail": f"{EXTRA['gateway_key']} t0ken-of-the-gateway"})
    with pytest.raises(RemoteError) as error:
        remote.play(remote.deployment.get_pool("p"), grant(), pool_turn(echo))
    assert error.value.detail == "*** ***"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"token_url": None}, "needs the connection's token_url"),
        ({"gateway_key": ""}, "needs the connection's gateway_key"),
        ({"gateway_key": 7}, "gateway_key must be text, not int"),
        ({"token_url": "login.example.com"}, "token_url must be a URL"),
        ({"token_url": "file:///etc/passwd"}, "token_url must be a URL"),
        ({"token_url": "https://me:s3cret@login.example.com/"}, "token_url must be a URL"),
        ({"token_url": "https://login.example.com/a b"}, "token_url must be a URL"),
        ({"token_url": "https://login.example.com:0/"}, "token_url must be a URL"),
        ({"token_url": "https://[::1"}, "token_url must be a URL"),
    ],
)
def test_what_is_missing_or_wrong_is_said_when_the_connection_is_read(
    gateway: Settings, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidSettings, match=said) as error:
        Settings.parse(host=URL, extra={**EXTRA, **changes})
    assert "s3cret" not in str(error.value)


# What a login may do


class Elsewhere(TokenLogin):
    """A login that sends something to a URL that the connection does not name."""

    def fetch(self, now: float, send: Send) -> Flow[Token]:
        reply = yield from send(request_to("https://evil.example.com/"))
        return read_token(reply, now)


class Broken(TokenLogin):
    def fetch(self, now: float, send: Send) -> Flow[Token]:
        reply = yield from send(Request("GET", "/x", authenticated=False))
        return Token(reply.json()["token"])


class Library(TokenLogin):
    """A login that calls a library that blocks."""

    running, most = 0, 0
    lock = threading.Lock()
    both = threading.Barrier(2)

    def fetch(self, now: float, send: Send) -> Flow[Token]:
        return (yield from blocking(self.library))

    def library(self) -> Token:
        assert threading.current_thread() is not threading.main_thread()
        self.both.wait(10)
        return Token("t0ken-of-a-library")


def settings_of(monkeypatch: pytest.MonkeyPatch, login: type[Authentication]) -> Settings:
    monkeypatch.setattr(auth, "BUILT_IN", {**BUILT_IN, "ours": f"{__name__}:{login.__name__}"})
    monkeypatch.setitem(sys.modules, __name__, sys.modules[login.__module__])
    find.cache_clear()
    return Settings(URL, authentication="ours")


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    yield
    find.cache_clear()


def test_a_request_to_a_url_that_the_login_does_not_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = ScriptedRemote(settings_of(monkeypatch, Elsewhere), V2)
    with pytest.raises(InvalidSettings, match=r"evil\.example\.com/', which is none of its `urls`"):
        remote.play(remote.deployment.get_pool("p"))


def test_credentials_of_the_deployment_cannot_be_sent_elsewhere() -> None:
    with pytest.raises(ValueError, match="no other URL"):
        replace(request_to(TOKEN_URL), authenticated=True)


def test_a_failure_of_a_login_is_retried_like_an_unexpected_reply(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = ScriptedRemote(settings_of(monkeypatch, Broken), V2)
    turns = [Turn("GET /x", ok({})), Turn("GET /x", ok({"token": "abc"})), Turn(POOL, FOUND)]
    assert remote.play(remote.deployment.get_pool("p"), *turns).name == "p"
    remote = ScriptedRemote(settings_of(monkeypatch, Broken), V2, retry=RetryPolicy(attempts=1))
    with pytest.raises(UnexpectedReply, match="The login Broken failed: KeyError"):
        remote.play(remote.deployment.get_pool("p"), Turn("GET /x", ok({})))


def test_a_login_without_a_way_to_get_a_token_says_so() -> None:
    with pytest.raises(NotImplementedError):
        next(TokenLogin(Credentials(URL)).fetch(0, lambda request: iter(())))  # type: ignore[arg-type, return-value]
    assert TokenLogin(Credentials(URL)).headers() == {}


def test_a_login_may_find_the_deployment_by_a_name(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Place, "_all", {})
    code = """
        from astronomer_remote.auth import Authentication

        class Placing(Authentication):
            fields = ("environment",)
            place = "environment"

            def locate(self, send):
                yield from ()
                return f"https://{self.credentials.fields['environment']}.example.com"
        """
    install("placing", dedent(code), placing="placing:Placing")
    settings = Settings.parse(host=None, extra={"auth": "placing", "environment": "e1"})
    assert (settings.base_url, drive(Client(settings).locate(), lambda _: ok({})).base_url) == (
        "",
        "https://e1.example.com",
    )
    with pytest.raises(InvalidSettings, match="no host"):
        Settings.parse(host=None, extra={"auth": "placing"})
    with pytest.raises(NotImplementedError):
        Authentication(Credentials("")).locate(lambda request: iter(()))  # type: ignore[arg-type, return-value]


def test_many_flows_that_wait_cause_one_refresh(gateway: Settings) -> None:
    counted = {"tokens": 0, "pools": 0}

    class Network(AsyncDriver):
        async def _send(self, request: Request) -> Any:
            await asyncio.sleep(0.01)
            counted["tokens" if request.url else "pools"] += 1
            token = "expired-t0ken-of-it" if counted["tokens"] == 1 else "t0ken-of-the-gateway"
            if request.url:
                return ok({"access_token": token, "expires_in": 3600})
            if request.path.endswith("version"):
                return ok({"version": V2})
            return REFUSED if "expired" in request.headers["Authorization"] else FOUND

    async def reload() -> Settings:
        raise AssertionError("not needed")

    async def run() -> list[Any]:
        deployment = Deployment(gateway, client=Client(gateway))
        driver = Network(None, gateway, reload=reload)  # type: ignore[arg-type]  # it sends nothing
        await driver.run(deployment.get_version())
        return await asyncio.gather(*(driver.run(deployment.get_pool("p")) for _ in range(1000)))

    assert {pool.name for pool in asyncio.run(run())} == {"p"}
    # The first token of all, and the one after its refusal.
    assert counted == {"tokens": 2, "pools": counted["pools"]}


class Network(AsyncDriver):
    """Answers without a network, after a moment in which other flows run."""

    def __init__(self, settings: Settings, reply: Callable[[Request], Response], rotated: Settings) -> None:
        async def reload() -> Settings:
            await asyncio.sleep(0.02)
            return rotated

        super().__init__(None, settings, reload=reload)  # type: ignore[arg-type]  # it sends nothing
        self._reply = reply

    async def _send(self, request: Request) -> Response:
        await asyncio.sleep(0.01)
        return self._reply(request)


def test_a_rotated_password_ends_no_flow_of_those_that_run_at_once() -> None:
    old, new = (Settings.parse(host=URL, login="u", password=f"{age}-password") for age in ("old", "new"))
    logins: list[str] = []

    def reply(request: Request) -> Response:
        if request.path == "/auth/token":
            logins.append(request.body["password"])
            return (
                answer(201, {"access_token": "t0ken-of-the-user"})
                if request.body["password"] == "new-password"
                else answer(401, {"detail": "Invalid credentials"})
            )
        return answer(200, {"version": "3.1.0"}) if request.path.endswith("version") else FOUND

    async def run() -> list[Any]:
        deployment, driver = Deployment(old, client=Client(old)), Network(old, reply, new)
        return await asyncio.gather(*(driver.run(deployment.get_pool("p")) for _ in range(20)))

    assert {pool.name for pool in asyncio.run(run())} == {"p"}
    assert logins == ["old-password", "new-password"]


def test_flows_that_start_at_once_behind_a_gateway_log_in_once() -> None:
    settings = Settings.parse(
        host=URL, login="c", password="s3cret-of-c", extra={"auth": "oauth2", "token_url": TOKEN_URL}
    )
    tokens: list[Request] = []

    def reply(request: Request) -> Response:
        if request.url == TOKEN_URL:
            tokens.append(request)
            return answer(200, {"access_token": "t0ken-of-the-client"})
        if "Authorization" not in request.headers:
            return page(401)
        return answer(200, {"version": "3.1.0"}) if request.path.endswith("version") else FOUND

    async def run() -> list[Any]:
        deployment, driver = Deployment(settings, client=Client(settings)), Network(settings, reply, settings)
        return await asyncio.gather(*(driver.run(deployment.get_pool("p")) for _ in range(50)))

    assert {pool.name for pool in asyncio.run(run())} == {"p"}
    assert len(tokens) == 1


def test_a_token_that_a_gateway_repeats_during_the_detection_is_masked() -> None:
    settings = Settings.parse(
        host=URL, login="c", password="s3cret-of-c", extra={"auth": "oauth2", "token_url": TOKEN_URL}
    )
    token = "abcdefghijklmnopqrstuvwxyz.0123456789"
    remote = ScriptedRemote(settings, retry=RetryPolicy(attempts=1))
    with pytest.raises(RemoteError) as raised:
        remote.play(
            remote.deployment.get_version(),
            Turn("GET /api/v2/version", page(401)),
            Turn("POST /token", ok({"access_token": token})),
            Turn("GET /api/v2/version", plain(503, f"bad header Authorization: Bearer {token}")),
        )
    assert "bad header" in str(raised.value)
    assert token not in str(raised.value)


def test_libraries_that_block_run_beside_the_event_loop_and_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(monkeypatch, Library)

    async def reload() -> Settings:
        raise AssertionError("not needed")

    async def run() -> list[Any]:
        driver = AsyncDriver(None, settings, reload=reload)  # type: ignore[arg-type]  # it sends nothing
        logins = [Library(settings.credentials) for _ in range(2)]
        # Each of the two waits for the other.
        await asyncio.gather(*(driver.run(login.prepare(0, lambda request: iter(()))) for login in logins))  # type: ignore[arg-type, return-value]
        return [login.headers() for login in logins]

    assert asyncio.run(run()) == [{"Authorization": "Bearer t0ken-of-a-library"}] * 2
    assert Compute(lambda: 1).blocks is False


# Replies with a token


@pytest.mark.parametrize(
    ("body", "expires"),
    [
        ({"access_token": "t"}, None),
        ({"access_token": "t", "token_type": "bearer", "expires_in": 10}, 110.0),
        ({"access_token": "t", "expires_in": "10"}, 110.0),
        ({"access_token": "t", "expires_in": -1}, None),
        ({"access_token": "t", "expires_in": True}, None),
        ({"access_token": "t", "expires_in": "soon"}, None),
        ({"access_token": "t", "expires_in": [1]}, None),
        ({"access_token": "t", "expires_in": 10**400}, None),
        ({"access_token": "e30.eyJleHAiOiA0Mn0.s"}, 42.0),
    ],
)
def test_a_token_expires_when_its_reply_or_itself_says(body: dict[str, Any], expires: float | None) -> None:
    token = read_token(ok(body), 100.0)
    assert token.expires == expires
    assert "e30" not in repr(token)


@pytest.mark.parametrize(
    "reply",
    [
        answer(400, {"access_token": "t"}),
        ok({"access_token": "t", "token_type": "mac"}),
        ok({"access_token": "t", "token_type": 1}),
        ok({"access_token": "a b"}),
        ok({"access_token": 1}),
        ok([]),
        page(200),
    ],
)
def test_what_has_no_token_is_an_unexpected_reply(reply: Response) -> None:
    with pytest.raises(UnexpectedReply, match="has no token"):
        read_token(reply, 0)


# How logins are found


def test_names_are_those_of_this_package_and_of_installed_ones(install: Install) -> None:
    install("other", "", b_login="other:X", a_login="other:Y", basic="other:Z")
    assert names() == ["auto", *BUILT_IN, "none", "a_login", "b_login"]


def test_no_other_package_can_replace_a_login_of_this_one(install: Install) -> None:
    install("other", "raise SystemExit", basic="other:Z", none="other:Z", auto="other:Z")
    assert find("basic").__module__ == "astronomer_remote.api.logins.basic"
    assert find("none") is find("auto") is Authentication
    assert "other" not in sys.modules


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "os",
        "subprocess:run",
        "astronomer_remote.cli.main:main",
        "astronomer_remote.api.logins.basic:Basic",
        "../../tmp/evil",
        "evil.py",
        "__import__('os').system('true')",
        "{{ var.value.x }}",
        "our_gateway;os:system",
        "\x00",
    ],
)
def test_a_connection_cannot_name_what_is_imported(
    name: str, gateway: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    monkeypatch.setattr(importlib, "import_module", lambda name, *_: imported.append(name))
    before = set(sys.modules)
    for extra in ({"auth": name}, {**EXTRA, "auth": name}):
        with pytest.raises(InvalidSettings, match="must be one of: auto, astro_token") as error:
            Settings.parse(host=URL, extra=extra)
        assert EXTRA["gateway_key"] not in str(error.value)
    assert not imported
    assert set(sys.modules) == before


def test_code_in_a_field_is_text_to_a_login(gateway: Settings) -> None:
    key = "__import__('os').system('true')"
    settings = Settings.parse(host=URL, extra={**EXTRA, "gateway_key": key, "entry_point": "os:system"})
    assert settings.login_fields == {"token_url": TOKEN_URL, "gateway_key": key}


@pytest.mark.parametrize(
    ("code", "value", "said"),
    [
        ("raise ValueError('odd')", "odd_login:X", "cannot be imported: ValueError: odd"),
        ("", "odd_login:X", "cannot be imported: AttributeError"),
        ("", "no_such_module:X", "cannot be imported: ModuleNotFoundError"),
        ("X = 1", "odd_login:X", "is no subclass of Authentication"),
        ("class X: pass", "odd_login:X", "is no subclass of Authentication"),
    ],
)
def test_a_login_that_cannot_be_used_is_reported(install: Install, code: str, value: str, said: str) -> None:
    install("odd_login", code, odd=value)
    with pytest.raises(InvalidSettings, match=f"The login 'odd' .*{said}"):
        Settings.parse(host=URL, extra={"auth": "odd"})


def test_two_packages_with_a_login_of_one_name_are_reported(install: Install) -> None:
    install("first", "", same="first:X")
    install("second", "", same="second:X")
    with pytest.raises(InvalidSettings, match="Several packages have a login 'same': first:X, second:X"):
        Settings.parse(host=URL, extra={"auth": "same"})


def test_a_named_login_is_used_whatever_the_version_of_airflow(gateway: Settings) -> None:
    remote = ScriptedRemote(gateway, V1)
    turn = Turn("GET /api/v1/pools/p", FOUND, authorization="Bearer t0ken-of-the-gateway")
    assert remote.play(remote.deployment.get_pool("p"), grant(), turn).name == "p"
