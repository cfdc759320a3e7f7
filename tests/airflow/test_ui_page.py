"""The page of remote deployments: when a remote is polled, what is shown of it, to whom, and what the plugin costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from astronomer_remote.testing import FakeDeployment
from astronomer_remote.ui import plugin
from astronomer_remote.ui.status import (
    MOST_CONNECTIONS,
    SECONDS_AFTER_REFUSAL,
    SECONDS_PER_CLIENT,
    NoSuchConnection,
    Remote,
    State,
    Status,
    Statuses,
    parts_of,
)

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
    status = remote.poll()
    assert status.state is State.UNREACHABLE
    assert status.airflow == "Airflow 3.3.2"
    assert status.problem is not None
    assert "127.0.0.1" not in status.problem
    assert "No reply from (host)" in status.problem
    with FakeDeployment("2.11.2") as other:
        found = parts(other)
        assert remote.poll().airflow == "Airflow 2.11.2"


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
    clock.now += SECONDS_AFTER_REFUSAL - 1
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


def test_what_a_remote_sends_is_cleaned(fake: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(fake._api), "components", lambda _: {f"a\x1b[2J{HOSTILE}": "b\u202e" * 1000})
    _, item = Remote(lambda: parts(fake)).poll().components.items()
    assert "\x1b" not in item[0]
    assert item[1] is not None
    assert "\u202e" not in item[1]
    assert len(item[1]) < 1000


# How often


def test_thirty_viewers_are_one_poll(fake: FakeDeployment, clock: Clock) -> None:
    statuses = Statuses(lambda _: parts(fake), clock)
    with ThreadPoolExecutor(30) as viewers:
        found = list(viewers.map(lambda _: statuses.of("sales")[0].result(), range(30)))
    assert len({id(each) for each in found}) == 1
    sent = len(fake.requests)
    for _ in range(10):
        clock.now += 30.0
        for _ in range(30):
            statuses.of("sales")[0].result()
    assert len(fake.requests) == sent + 10


def test_the_next_poll_begins_half_a_minute_after_the_last(fake: FakeDeployment, clock: Clock) -> None:
    statuses = Statuses(lambda _: parts(fake), clock)
    assert statuses.of("sales")[1] == 30.0
    statuses.of("sales")[0].result()
    clock.now += 10.0
    assert statuses.of("sales")[1] == 20.0
    sent = len(fake.requests)
    clock.now += 19.9
    statuses.of("sales")[0].result()
    assert len(fake.requests) == sent


def test_the_number_of_connections_in_memory_is_limited() -> None:
    def none(conn_id: str) -> dict[str, Any]:
        raise NoSuchConnection(conn_id)

    statuses = Statuses(none)
    for number in range(MOST_CONNECTIONS + 20):
        statuses.of(str(number))
    assert len(statuses._entries) == MOST_CONNECTIONS
    with pytest.raises(NoSuchConnection):
        statuses.of("0")[0].result()


def test_only_connections_of_this_type_are_read(add_connection: Callable[..., str]) -> None:
    add_connection("sales", host="https://sales.example.com", password="s3cr3t")
    assert parts_of("sales")["host"] == "https://sales.example.com"
    add_connection("other", conn_type="http", host="https://other.example.com")
    for conn_id in ("other", "missing"):
        with pytest.raises(NoSuchConnection):
            parts_of(conn_id)


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
    assert [each["url_prefix"] for each in plugin.apps()] == ["/astronomer-remote"]
    assert [each["href"].endswith("/astronomer-remote/") for each in plugin.views()] == [True]
    monkeypatch.setenv("AIRFLOW__ASTRONOMER_REMOTE__UI_PAGE", "False")
    assert plugin.apps() == plugin.views() == []


def test_the_address_follows_the_path_of_the_api_server(monkeypatch: pytest.MonkeyPatch) -> None:
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
    from types import SimpleNamespace

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
    reply = client(lambda _: parts(fake)).get("/api/connections/sales/europe")
    assert reply.status_code == 200
    found = reply.json()
    assert 29 < found.pop("seconds_to_next_poll") <= 30
    assert found.pop("components")["scheduler"] == "healthy"
    assert found == {"state": "healthy", "problem": None, "airflow": "Airflow 3.3.2"}
    assert "admin" not in reply.text


@pytest.mark.parametrize(("user", "status"), [("viewer", 403), (None, 401)])
@pytest.mark.parametrize("path", ["connections/sales", "operators"])
def test_nobody_else_reads_anything(client: Callable[..., Any], user: str | None, status: int, path: str) -> None:
    def never(conn_id: str) -> dict[str, Any]:
        raise AssertionError(conn_id)

    reply = client(never, user).get(f"/api/{path}")
    assert reply.status_code == status
    assert set(reply.json()) == {"detail"}


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


def test_the_page_has_a_label_for_each_state() -> None:
    script = (Path(plugin.__file__).parent / "page.js").read_text()
    labels = script[script.index("const LABELS") : script.index("const HINTS")]
    assert all(f"{state.value}: [" in labels for state in State)
    assert Status(State.HEALTHY).as_dict()["state"] == "healthy"
