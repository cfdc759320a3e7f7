"""The page of remote deployments: when a remote is polled, what is shown of it, to whom, and what the plugin costs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.plugins_manager import AirflowPlugin
from airflow.providers.common.compat.sdk import DAG

from astronomer_remote.api.client.outages import Outage
from astronomer_remote.api.client.places import Place
from astronomer_remote.api.client.retry import SECONDS_BETWEEN_LOGINS
from astronomer_remote.api.logins.astro import TEST_API
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.server import RecordedRequest, Reply
from astronomer_remote.ui import plugin
from astronomer_remote.ui.status import (
    LONGEST_RETRY_AFTER,
    SECONDS_BETWEEN_POLLS,
    SECONDS_PER_CLIENT,
    SECONDS_UNUSED,
    NoSuchConnection,
    Remote,
    State,
    Status,
    Statuses,
    TooManyConnections,
    UnreadableConnection,
    _without,
    parts_of,
)
from tests.astro import NAME, ORGANIZATION, TOKEN, FakeAstro, served
from tests.waiting import wait_until

HOSTILE = "<img src=x onerror=alert(1)>"


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def parts(remote: FakeDeployment, **fields: Any) -> dict[str, Any]:
    return {name: each for name, each in remote.connection(**fields).items() if name != "conn_type"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def fake() -> Iterator[FakeDeployment]:
    with FakeDeployment("3.3.2") as started:
        yield started


def reads(remote: FakeDeployment) -> list[str]:
    return [path for _, path in remote.requests]


@pytest.mark.parametrize("version", ["1.10.15", "2.11.2", "3.3.2"])
def test_the_first_poll_reads_everything(version: str) -> None:
    with FakeDeployment(version) as fake:
        status = Remote(lambda: parts(fake)).poll()
        assert status.state is State.HEALTHY
        assert status.problem is None
        assert status.components["scheduler"] == "healthy"
        assert status.airflow == ("Airflow 1.10" if version.startswith("1.10") else f"Airflow {version}")


def test_each_further_poll_sends_one_request(fake: FakeDeployment) -> None:
    remote = Remote(lambda: parts(fake))
    remote.poll()
    sent = []
    for _ in range(4):
        before = len(fake.requests)
        assert remote.poll().state is State.HEALTHY
        sent += [reads(fake)[before:]]
    assert (
        sent == [["/api/v2/dags"], ["/api/v2/monitor/health"]] * 2
        or sent
        == [
            ["/api/v2/monitor/health"],
            ["/api/v2/dags"],
        ]
        * 2
    )


def test_a_deployment_that_stops_is_unreachable_and_one_that_starts_is_healthy() -> None:
    fake = FakeDeployment("3.3.2")
    fake.start()
    found = parts(fake)
    remote = Remote(lambda: found)
    assert remote.poll().state is State.HEALTHY
    fake.stop()
    for _ in range(3):
        status = remote.poll()
        assert status.state is State.UNREACHABLE
        assert status.airflow == "Airflow 3.3.2"
    assert status.problem is not None
    assert "127.0.0.1" not in status.problem
    assert "No reply from (host)" in status.problem
    with FakeDeployment("2.11.2") as other:
        found = parts(other)
        assert remote.poll().airflow == "Airflow 2.11.2"


def test_the_version_is_read_once_after_an_outage(fake: FakeDeployment) -> None:
    remote = Remote(lambda: parts(fake))
    remote.poll()
    fake.disturb(503, times=2)
    assert remote.poll().state is State.UNAVAILABLE
    found = []
    for _ in range(4):
        before = len(fake.requests)
        remote.poll()
        found.append(len(fake.requests) - before)
    assert found == [1, 4, 1, 1]


def test_a_connection_that_is_fixed_costs_one_first_poll(fake: FakeDeployment) -> None:
    found = parts(fake) | {"host": "http://127.0.0.1:9"}
    remote = Remote(lambda: found)
    assert remote.poll().state is State.UNREACHABLE
    found = parts(fake)
    remote.poll()
    before = len(fake.requests)
    remote.poll()
    remote.poll()
    assert len(fake.requests) == before + 2


def test_an_unhealthy_component_is_shown(fake: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote(lambda: parts(fake))
    monkeypatch.setattr(type(fake._api), "components", lambda _: {"scheduler": "unhealthy", "triggerer": None})
    status = remote.poll()
    assert status.state is State.UNHEALTHY
    assert status.components == {"metadatabase": "healthy", "scheduler": "unhealthy", "triggerer": None}


@pytest.mark.parametrize(
    ("status", "path", "state"),
    [
        (503, "", State.UNAVAILABLE),
        (403, "/dags", State.NO_PERMISSION),
        (404, "/health", State.HEALTHY),
    ],
)
def test_a_reply_is_a_state(fake: FakeDeployment, status: int, path: str, state: State) -> None:
    fake.disturb(status, times=9, path=path)
    assert Remote(lambda: parts(fake)).poll().state is state


def gateway(answers: Callable[[RecordedRequest], Reply | None]) -> FakeDeployment:
    """A deployment behind a gateway that answers some requests itself."""
    fake = FakeDeployment("3.3.2")
    behind = fake._answer

    def answer(request: RecordedRequest) -> Reply | None:
        own = answers(request)
        if own:
            fake.received.append(request)
        return own or behind(request)

    fake._answer = answer  # type: ignore[method-assign]
    return fake


PAGE = "<html><title>Sign in</title></html>"


@pytest.mark.parametrize("status", [200, 302, 403, 404, 500, 501, 503])
def test_a_gateway_that_hides_the_health_does_not_make_a_deployment_unreachable(status: int) -> None:
    def answers(request: RecordedRequest) -> Reply | None:
        return Reply(status, PAGE, "text/html") if request.path.endswith("/health") else None

    with gateway(answers) as fake:
        remote = Remote(lambda: parts(fake))
        assert remote.poll().state is State.HEALTHY
        before = len(fake.requests)
        assert [remote.poll().state for _ in range(4)] == [State.HEALTHY] * 4
        assert reads(fake)[before:] == ["/api/v2/dags"] * 4
        assert remote.pause == SECONDS_BETWEEN_POLLS


def test_a_gateway_that_begins_to_hide_the_health_costs_one_more_request() -> None:
    hidden: list[bool] = []

    def answers(request: RecordedRequest) -> Reply | None:
        return Reply(404, PAGE, "text/html") if hidden and request.path.endswith("/health") else None

    with gateway(answers) as fake:
        remote = Remote(lambda: parts(fake))
        remote.poll()
        hidden.append(True)
        sent = len(fake.requests)
        assert {remote.poll().state for _ in range(4)} == {State.HEALTHY}
        assert len(fake.requests) == sent + 5


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("auth", ["astro_token", "auto"])
def test_a_gateway_that_refuses_a_token_refuses_the_login(status: int, auth: str, clock: Clock) -> None:
    with gateway(lambda _: Reply(status, PAGE, "text/html")) as fake:
        remote = Remote(lambda: parts(fake, login=None, password="eyJ.token.abcdef", extra={"auth": auth}), clock)
        found = remote.poll()
        assert found.state is State.LOGIN_REFUSED
        sent = len(fake.requests)
        clock.now += SECONDS_BETWEEN_LOGINS - 1
        assert remote.poll() == found
        assert len(fake.requests) == sent


@pytest.mark.parametrize("status", [200, 401, 404])
def test_what_is_no_airflow_is_not_called_unreachable(status: int) -> None:
    with gateway(lambda _: Reply(status, PAGE, "text/html")) as fake:
        assert Remote(lambda: parts(fake)).poll().state is State.UNEXPECTED_REPLY


def test_a_poll_that_fails_costs_two_requests_a_minute_at_most() -> None:
    with gateway(lambda _: Reply(404, PAGE, "text/html")) as fake:
        remote = Remote(lambda: parts(fake))
        for _ in range(3):
            before = len(fake.requests)
            remote.poll()
            assert remote.pause == SECONDS_BETWEEN_POLLS * (len(fake.requests) - before)


def test_retry_after_is_respected() -> None:
    with gateway(lambda _: Reply(429, {}, headers={"Retry-After": "120"})) as fake:
        remote = Remote(lambda: parts(fake))
        assert remote.poll().state is State.UNAVAILABLE
        assert remote.pause == 120
    with gateway(lambda _: Reply(503, {}, headers={"Retry-After": "99999"})) as fake:
        remote = Remote(lambda: parts(fake))
        remote.poll()
        assert remote.pause == LONGEST_RETRY_AFTER


def test_a_redirect_shows_no_host() -> None:
    with gateway(lambda _: Reply(302, headers={"Location": "https://sso.corp.example/login"})) as fake:
        found = Remote(lambda: parts(fake)).poll()
        assert found.state is State.UNEXPECTED_REPLY
        assert "corp" not in str(found.problem)


def test_a_connection_that_cannot_be_read_is_not_called_missing(fake: FakeDeployment) -> None:
    def unreadable() -> dict[str, Any]:
        raise UnreadableConnection("InvalidToken")

    status = Remote(unreadable).poll()
    assert status.state is State.MISCONFIGURED
    assert status.problem == "The connection could not be read (InvalidToken)."


def test_a_permission_that_is_granted_is_noticed(fake: FakeDeployment) -> None:
    fake.disturb(403, path="/dags")
    remote = Remote(lambda: parts(fake))
    found = [remote.poll().state for _ in range(3)]
    assert found == [State.NO_PERMISSION, State.NO_PERMISSION, State.HEALTHY]


def test_a_wrong_password_is_seldom_sent(fake: FakeDeployment, clock: Clock) -> None:
    found = parts(fake, password="s3cr3t-but-wrong")
    remote = Remote(lambda: found, clock)
    status = remote.poll()
    assert status.state is State.LOGIN_REFUSED
    assert "s3cr3t" not in str(status)
    sent = len(fake.requests)
    clock.now += SECONDS_BETWEEN_LOGINS - 1
    assert remote.poll() == status
    assert len(fake.requests) == sent
    clock.now += 2
    assert remote.poll() == status
    assert len(fake.requests) > sent
    found = parts(fake)
    assert remote.poll().state is State.HEALTHY


@pytest.mark.parametrize("broken", [{"extra": {"auth": "unknown"}}, {"host": "ftp://sales.example.com"}, {"host": ""}])
def test_wrong_settings_are_explained_without_the_host(fake: FakeDeployment, broken: dict[str, Any]) -> None:
    status = Remote(lambda: parts(fake) | broken).poll()
    assert status.state is State.MISCONFIGURED
    assert status.problem
    assert "sales.example.com" not in status.problem


def test_the_version_is_read_again_after_an_hour(clock: Clock) -> None:
    with FakeDeployment("3.1.8") as old, FakeDeployment("3.3.2") as new:
        remote = Remote(lambda: parts(old), clock)
        assert remote.poll().airflow == "Airflow 3.1.8"
        old._answer = new._answer  # an upgrade in place
        clock.now += SECONDS_PER_CLIENT + 1
        sent = len(old.requests) + len(new.requests)
        remote.poll()
        assert len(old.requests) + len(new.requests) - sent > 1


def test_a_deployment_that_never_replies_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astronomer_remote.ui.status.SECONDS_PER_POLL", 0.5)
    end = Event()

    def answers(request: RecordedRequest) -> Reply | None:
        end.wait(30)
        return None

    with gateway(answers) as fake:
        began = time.monotonic()
        found = Remote(lambda: parts(fake)).poll()
        took = time.monotonic() - began
        end.set()
    assert found.state is State.UNREACHABLE
    assert took < 15


def test_what_a_remote_sends_is_cleaned(fake: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(fake._api), "components", lambda _: {f"a\x1b[2J{HOSTILE}": "b\u202e" * 1000})
    _, item = Remote(lambda: parts(fake)).poll().components.items()
    assert "\x1b" not in item[0]
    assert item[1] is not None
    assert "\u202e" not in item[1]
    assert len(item[1]) < 1000


def test_the_page_wakes_no_deployment_and_shows_that_it_hibernates(
    fake: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outage, "_all", {})
    monkeypatch.setattr(Place, "_all", {})
    astro = FakeAstro(f"{fake.url}/api/v2")
    with FakeDeployment("3.3.2", api_token=TOKEN) as remote, served(astro) as url:
        monkeypatch.setenv(TEST_API, url)
        astro.deployment["webServerAirflowApiUrl"] = f"{remote.url}/api/v2"
        extra = {"auth": "astro_token", "astro_organization_id": ORGANIZATION, "astro_deployment": NAME, "wake": True}
        page = Remote(lambda: {"host": None, "password": TOKEN, "extra": extra})
        assert page.poll().state is State.HEALTHY
        remote.disturb(503, times=99)
        assert page.poll().state is State.UNAVAILABLE
        Outage._all.clear()
        astro.hibernate()
        status = page.poll()
        assert status.state is State.HIBERNATING
        assert "is hibernating until 2026-11-28" in str(status.problem)
        assert "127.0.0.1" not in str(status.problem)
        assert astro.woken == 0
        remote._disturbances.clear()
        assert page.poll().state is State.HEALTHY


def test_no_url_that_was_found_elsewhere_is_shown() -> None:
    text = _without({"sales"}, "No reply from sales. See 'https://login.example.com/token' (http://x.example:8080/a).")
    assert text == "No reply from (host). See '(host)' ((host))."


# How often


def polled(statuses: Statuses, conn_id: str = "sales") -> Status:
    """The status after the poll that is due has ended."""
    statuses.of(conn_id).result()
    wait_until(lambda: statuses._entries[conn_id].poll is None, timeout=20, poll=0.01)
    return statuses.of(conn_id).result()


def test_thirty_viewers_are_one_poll(fake: FakeDeployment, clock: Clock) -> None:
    statuses = Statuses(lambda _: parts(fake), clock)
    with ThreadPoolExecutor(30) as viewers:
        found = list(viewers.map(lambda _: statuses.of("sales").result(), range(30)))
    assert len({id(each) for each in found}) == 1
    sent = len(fake.requests)
    for _ in range(10):
        clock.now += 30.0
        for _ in range(30):
            polled(statuses)
    assert len(fake.requests) == sent + 10


def test_the_next_poll_begins_half_a_minute_after_the_last_began(fake: FakeDeployment, clock: Clock) -> None:
    statuses = Statuses(lambda _: parts(fake), clock)
    assert statuses.times("sales") == (1.0, None)
    polled(statuses)
    assert statuses.times("sales") == (30.0, 0.0)
    clock.now += 10.0
    assert statuses.times("sales") == (20.0, 10.0)
    sent = len(fake.requests)
    clock.now += 19.9
    polled(statuses)
    assert len(fake.requests) == sent


def test_the_last_status_is_shown_while_the_next_is_read(clock: Clock) -> None:
    begun, finish = Event(), Event()

    def read(conn_id: str) -> dict[str, Any]:
        if clock.now > 1000:
            begun.set()
            finish.wait(20)
        return {"host": "ftp://sales.example.com" if clock.now > 1000 else ""}

    statuses = Statuses(read, clock)
    first = polled(statuses)
    clock.now += 30
    assert statuses.of("sales").result() == first
    assert begun.wait(20)
    assert statuses.of("sales").result() == first
    assert statuses.times("sales") == (1.0, 30.0)
    finish.set()
    assert polled(statuses) != first


def test_the_number_of_connections_in_memory_is_limited(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astronomer_remote.ui.status.MOST_CONNECTIONS", 3)
    statuses = Statuses(lambda _: {"host": ""}, clock)
    for conn_id in ("a", "b", "c"):
        polled(statuses, conn_id)
    # A request for another connection does not remove the status of these.
    with pytest.raises(TooManyConnections):
        statuses.of("d")
    clock.now += SECONDS_UNUSED
    statuses.of("a").result()
    polled(statuses, "d")
    assert sorted(statuses._entries) == ["a", "c", "d"]


def test_a_connection_that_does_not_exist_takes_no_room() -> None:
    def none(conn_id: str) -> dict[str, Any]:
        raise NoSuchConnection(conn_id)

    statuses = Statuses(none)
    with pytest.raises(NoSuchConnection):
        statuses.of("missing").result()
    assert statuses._entries == {}


def test_only_connections_of_this_type_are_read(add_connection: Callable[..., str]) -> None:
    add_connection("sales", host="https://sales.example.com", password="s3cr3t")
    assert parts_of("sales")["host"] == "https://sales.example.com"
    add_connection("other", conn_type="http", host="https://other.example.com")
    for conn_id in ("other", "missing"):
        with pytest.raises(NoSuchConnection):
            parts_of(conn_id)


def test_no_text_of_a_secrets_backend_is_shown_or_chained(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(conn_id: str) -> Any:
        raise PermissionError("vault: token s.SECRET123")

    monkeypatch.setattr("astronomer_remote.ui.status.connection_of_a_command", broken)
    with pytest.raises(UnreadableConnection) as raised:
        parts_of("sales")
    assert str(raised.value) == "PermissionError"
    assert raised.value.__suppress_context__

    # One whose values are of the wrong kind.
    monkeypatch.setattr(
        "astronomer_remote.ui.status.connection_of_a_command", lambda _: SimpleNamespace(conn_type="astronomer")
    )
    with pytest.raises(UnreadableConnection, match="AttributeError"):
        parts_of("sales")


def test_threads_that_poll_do_not_hold_up_the_end_of_a_process() -> None:
    script = (
        "import time; from astronomer_remote.ui.workers import Workers; workers = Workers(2, 'x');"
        "print(workers.submit(lambda: 1).result(9)); [workers.submit(lambda: time.sleep(600)) for _ in range(9)]"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "1\n"


# The plugin


def test_loading_the_plugin_imports_no_http_library() -> None:
    script = (
        "import sys, airflow.plugins_manager, airflow.providers.common.compat.sdk; before = set(sys.modules);"
        "import astronomer_remote.ui.plugin; new = sorted(set(sys.modules) - before);"
        "print([each for each in new if not each.startswith('astronomer_remote')], len(new))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "[]", done.stdout


def test_the_application_is_built_for_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.api_fastapi.core_api.security", reason="Airflow 2 has no FastAPI")
    from fastapi.testclient import TestClient

    (app,) = plugin.apps()
    assert app["app"]._app is None
    reply = TestClient(app["app"]).get("/")
    assert reply.status_code == 200
    assert app["app"]._app is not None


def test_the_switch_turns_the_page_off(monkeypatch: pytest.MonkeyPatch) -> None:
    # As Airflow 3.1 has it, and an earlier one does not.
    monkeypatch.setattr(AirflowPlugin, "external_views", [], raising=False)
    assert [each["url_prefix"] for each in plugin.apps()] == ["/astronomer-remote"]
    assert [each["href"].endswith("/astronomer-remote/") for each in plugin.views()] == [True]
    monkeypatch.setenv("AIRFLOW__ASTRONOMER_REMOTE__UI_PAGE", "False")
    assert plugin.apps() == plugin.views() == []
    monkeypatch.setenv("AIRFLOW__ASTRONOMER_REMOTE__UI_PAGE", "True")
    monkeypatch.delattr(AirflowPlugin, "external_views")
    assert plugin.apps() == plugin.views() == []


def test_airflow_knows_the_switch_and_its_default() -> None:
    from airflow.providers.common.compat.sdk import conf

    if not hasattr(AirflowPlugin, "external_views"):
        pytest.skip("this Airflow has no such page")
    assert conf.get(plugin.SECTION, plugin.OPTION) == "True"


def test_the_address_follows_the_path_of_the_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AirflowPlugin, "external_views", [], raising=False)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.com/my-release/")
    (view,) = plugin.views()
    assert view["href"] == "/my-release/astronomer-remote/"
    assert view["icon"] == "/my-release/astronomer-remote/icon-light.svg"


def test_airflow_loads_the_plugin() -> None:
    from airflow import plugins_manager

    plugins_manager.ensure_plugins_loaded()
    names = [each["name"] for each in plugins_manager.get_plugin_info(["name"])]
    assert "astronomer_remote" in names


# The application


@pytest.fixture
def may_read(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """Whom Airflow's auth manager lets read connections, by name."""
    security = pytest.importorskip("airflow.api_fastapi.core_api.security", reason="Airflow 2 has no FastAPI")
    allowed = {"op": True, "viewer": False}

    async def user_of(token: str | None) -> Any:
        if not token:
            raise security.HTTPException(401, "Not authenticated")
        return token

    def decide(*, method: str, details: Any, user: Any) -> bool:
        assert method == "GET"
        return allowed[user] and details.conn_id != "of_another_team"

    manager = SimpleNamespace(is_authorized_connection=decide, get_user_from_token=user_of)
    monkeypatch.setattr(security, "get_auth_manager", lambda: manager)
    return allowed


@pytest.fixture
def client(may_read: dict[str, bool]) -> Callable[..., Any]:
    from fastapi.testclient import TestClient

    from astronomer_remote.ui.app import create

    def make(read: Callable[[str], dict[str, Any]], user: str | None = "op") -> Any:
        headers = {"Authorization": f"Bearer {user}"} if user else {}
        return TestClient(create(Statuses(read)), headers=headers)

    return make


def test_a_user_reads_the_status(client: Callable[..., Any], fake: FakeDeployment) -> None:
    opened = client(lambda _: parts(fake))
    wait_until(lambda: opened.get("/api/connections/sales/europe").json()["state"] != "checking", timeout=20, poll=0.1)
    reply = opened.get("/api/connections/sales/europe")
    assert reply.status_code == 200
    found = reply.json()
    until, since = found.pop("seconds_to_next_poll"), found.pop("seconds_since_poll")
    assert until + since == pytest.approx(30)
    assert found.pop("components")["scheduler"] == "healthy"
    assert found == {"state": "healthy", "problem": None, "airflow": "Airflow 3.3.2"}
    assert "admin" not in reply.text


@pytest.mark.parametrize(("user", "status"), [("viewer", 403), (None, 401)])
@pytest.mark.parametrize("path", ["connections/sales", "operators", "map"])
def test_nobody_else_reads_anything(client: Callable[..., Any], user: str | None, status: int, path: str) -> None:
    def never(conn_id: str) -> dict[str, Any]:
        raise AssertionError(conn_id)

    reply = client(never, user).get(f"/api/{path}")
    assert reply.status_code == status
    assert set(reply.json()) == {"detail"}
    assert (reply.headers["cache-control"], reply.headers["x-content-type-options"]) == ("no-cache", "nosniff")


def test_the_right_is_that_for_the_one_connection(client: Callable[..., Any], fake: FakeDeployment) -> None:
    opened = client(lambda _: parts(fake))
    assert opened.get("/api/connections/of_another_team").status_code == 403
    assert fake.requests == []


def test_a_connection_that_does_not_exist_is_not_found(client: Callable[..., Any]) -> None:
    assert client(parts_of).get("/api/connections/missing").status_code == 404


def test_all_operators_are_named(client: Callable[..., Any]) -> None:
    found = client(parts_of).get("/api/operators").json()
    assert {"RemoteTriggerDagRunOperator", "RemoteDagRunSensor", "RemotePoolSlotSensor"} <= set(found["all"])
    assert {"RemoteTriggerDagRunOperator", "RemoteDagRunSensor"} <= set(found["of_runs"]) < set(found["all"])
    assert "RemotePoolSlotSensor" not in found["of_runs"]


def test_the_files_need_no_login_and_let_nothing_else_run(client: Callable[..., Any]) -> None:
    opened = client(parts_of, None)
    page = opened.get("/")
    names = ["page.css", "page.js", "icon-light.svg", "icon-dark.svg"]
    for name in names:
        assert opened.get(f"/{name}").status_code == 200
    assert all(name in page.text for name in names[:2])
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "<script>" not in page.text
    assert "style=" not in page.text
    script = opened.get("/page.js").text
    assert not [name for name in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(") if name in script]


def test_nothing_else_can_be_requested(client: Callable[..., Any]) -> None:
    opened = client(parts_of)
    for path in ("docs", "redoc", "openapi.json", "api", "page.html", "..%2fstatus.py"):
        assert opened.get(f"/{path}").status_code == 404, path
    for conn_id in ("", "x" * 251):
        assert opened.get(f"/api/connections/{conn_id}").status_code == 422
    for path in ("api/operators", "api/connections/sales", "api/map"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert opened.request(method, f"/{path}").status_code == 405


def test_the_page_has_a_label_for_each_state() -> None:
    script = (Path(plugin.__file__).parent / "page.js").read_text()
    labels = script[script.index("const LABELS") : script.index("const HINTS")]
    assert all(f"{state.value}: [" in labels for state in State)
    assert Status(State.HEALTHY).as_dict()["state"] == "healthy"


# The map


@pytest.fixture
def store(database: None) -> Iterator[Callable[..., None]]:
    """Stores DAGs as the DAG processor does."""
    pytest.importorskip("airflow.api_fastapi.core_api.security", reason="Airflow 2 has no such page")
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.serialized_dag import SerializedDagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    stored = []

    def put(dag: Any) -> None:
        with create_session() as session:
            session.merge(DagBundleModel(name="of_a_test"))
            session.flush()
            session.merge(DagModel(dag_id=dag.dag_id, bundle_name="of_a_test", fileloc=__file__, is_stale=False))
            session.flush()
            SerializedDagModel.write_dag(LazyDeserializedDAG.from_dag(dag), "of_a_test", session=session)
        stored.append(dag.dag_id)

    yield put
    with create_session() as session:
        for dag_id in set(stored):
            session.delete(session.get(DagModel, dag_id))


def dag_that_triggers(dag_id: str, *remote_dag_ids: str) -> Any:
    with DAG(dag_id, schedule=None) as dag:
        for each in remote_dag_ids:
            RemoteTriggerDagRunOperator(task_id=f"trigger_{each}", trigger_dag_id=each, astronomer_conn_id="sales")
    return dag


def triggered(maps: Any, *dag_ids: str) -> list[str | None]:
    from astronomer_remote.ui.stored_dags import merged

    return [edge.name for edge in merged(maps, dag_ids).edges]


def test_the_map_is_that_of_the_stored_dags(store: Callable[..., None], clock: Clock) -> None:
    from astronomer_remote.ui.stored_dags import SECONDS_BETWEEN_READS, StoredDags, merged

    store(dag_that_triggers("page_a", "load"))
    store(dag_that_triggers("page_b", "report"))
    store(dag_that_triggers("page_none"))
    dags = StoredDags(clock)
    first = dags.maps().result()
    assert triggered(first, "page_a", "page_b", "page_none") == ["load", "report"]
    found = merged(first, {"page_a", "page_none", "of_another_team"})
    assert (found.dags, [edge.conn_id for edge in found.edges]) == (2, ["sales"])
    store(dag_that_triggers("page_a", "load", "clean"))
    assert dags.maps().result() is first
    clock.now += SECONDS_BETWEEN_READS
    second = dags.maps().result()
    assert triggered(second, "page_a") == ["clean", "load"]
    assert second["page_b"] is first["page_b"]


def test_a_dag_that_no_file_defines_any_more_is_not_on_the_map(store: Callable[..., None], clock: Clock) -> None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    from astronomer_remote.ui.stored_dags import StoredDags

    store(dag_that_triggers("page_a", "load"))
    with create_session() as session:
        session.get(DagModel, "page_a").is_stale = True
    assert "page_a" not in StoredDags(clock).maps().result()


def test_only_dags_with_a_remote_are_deserialized(store: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.models.serialized_dag import SerializedDagModel

    from astronomer_remote.ui.stored_dags import StoredDags

    def broken(stored: Any) -> Any:
        raise KeyError(stored.dag_id)

    store(dag_that_triggers("page_a", "load"))
    store(dag_that_triggers("page_none"))
    monkeypatch.setattr(SerializedDagModel, "dag", property(broken))
    maps = StoredDags().maps().result()
    assert [(each.file, each.error) for each in maps["page_a"].import_errors] == [("page_a", "KeyError")]
    assert maps["page_none"].import_errors == []


@pytest.fixture
def may_read_dags(may_read: dict[str, bool], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The DAGs that every user may read."""
    from astronomer_remote.ui import app

    readable: set[str] = set()

    def of(*, user: str, method: str) -> set[str]:
        assert (user, method) == ("op", "GET")
        return readable

    monkeypatch.setattr(app, "get_auth_manager", lambda: SimpleNamespace(get_authorized_dag_ids=of))
    return readable


def test_a_user_sees_the_map_of_the_dags_that_the_user_may_read(
    client: Callable[..., Any], may_read_dags: set[str], store: Callable[..., None]
) -> None:
    store(dag_that_triggers("page_a", "load_a"))
    store(dag_that_triggers("page_b", "load_b"))
    opened = client(parts_of)
    assert "load_" not in opened.get("/api/map").text
    may_read_dags.add("page_a")
    reply = opened.get("/api/map")
    assert reply.headers["content-type"].startswith("text/html")
    assert reply.headers["content-security-policy"].endswith("frame-ancestors 'self'")
    assert "load_a" in reply.text
    assert "load_b" not in reply.text


def test_dags_that_cannot_be_read_are_an_error_of_the_map_only(
    client: Callable[..., Any],
    may_read_dags: set[str],
    store: Callable[..., None],
    fake: FakeDeployment,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As if Airflow had moved it.
    monkeypatch.setitem(sys.modules, "airflow.models.serialized_dag", None)
    opened = client(lambda _: parts(fake))
    assert opened.get("/api/map").status_code == 503
    assert opened.get("/api/connections/sales").status_code == 200
