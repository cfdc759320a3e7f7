"""The fake deployment as users have it for tests of their DAGs."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial
from threading import active_count

import pytest
import requests
from airflow.providers.common.compat.sdk import Connection

from astronomer_remote.exceptions import AuthenticationFailed, DagRunNotFound, RemoteUnavailable
from astronomer_remote.hooks.astronomer import AstronomerHook
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.fixtures import fake_deployment, offline_deployment  # noqa: F401  # fixtures

Start = Callable[..., FakeDeployment]

VERSIONS = pytest.mark.parametrize("version", ["1.10.15", "2.11.2", "3.3.2"])


def test_the_fixture_stands_behind_the_default_connection(fake_deployment: FakeDeployment) -> None:  # noqa: F811
    fake_deployment.add_dag("quick")
    AstronomerHook().trigger_dag_run("quick", run_id="mine", conf={"k": "v"})
    (run,) = fake_deployment.runs("quick")
    assert (run["run_id"], run["state"], run["conf"]) == ("mine", "queued", {"k": "v"})
    assert ("POST", "/api/v2/dags/quick/dagRuns") in fake_deployment.requests


def test_its_connection_is_what_airflow_calls_one() -> None:
    with FakeDeployment() as remote:
        connection = Connection(conn_id="somewhere", **remote.connection(description="a fake"))
        assert (connection.conn_type, connection.login, connection.host) == ("astronomer", "admin", remote.url)


@VERSIONS
def test_a_run_finishes_when_it_is_polled(version: str, start: Start) -> None:
    remote = start(version)
    remote.add_dag("slow", polls=2)
    remote.add_run("slow", "r", state="running")
    hook = AstronomerHook()
    assert [hook.get_dag_run("slow", "r").state for _ in range(4)] == ["running", "running", "success", "success"]


@VERSIONS
def test_a_run_that_stays_ends_when_the_test_finishes_it(version: str, start: Start) -> None:
    remote = start(version)
    remote.add_dag("slow", stays="running")
    remote.add_run("slow", "r", state="running")
    hook = AstronomerHook()
    assert hook.get_dag_run("slow", "r").state == "running"
    remote.finish("slow", "r", "failed")
    assert hook.get_dag_run("slow", "r").state == "failed"
    remote.clear("slow", "r")
    assert hook.get_dag_run("slow", "r").state == "running"
    remote.delete("slow", "r")
    with pytest.raises(DagRunNotFound):
        hook.get_dag_run("slow", "r")


def test_what_happened_can_be_read(remote: FakeDeployment) -> None:
    remote.add_pool("small", 3)
    AstronomerHook().update_pool("small", slots=5)
    assert remote.pools() == {"default_pool": 128, "small": 5}
    changed = [request for request in remote.received if request.method == "PATCH"]
    assert [request.json()["slots"] for request in changed] == [5]


def test_it_has_a_url_only_while_it_runs() -> None:
    remote = FakeDeployment()
    with pytest.raises(RuntimeError, match="with"):
        _ = remote.url
    with remote:
        url = remote.url
        requests.get(f"{url}/api/v2/version", timeout=5)
    with pytest.raises(RuntimeError, match="with"):
        _ = remote.url
    port = int(url.rpartition(":")[2])
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", port)) != 0


def test_it_leaves_no_thread_behind_even_with_a_client_that_stays() -> None:
    before = active_count()
    with requests.Session() as session:
        with FakeDeployment() as remote:
            for _ in range(3):
                session.get(f"{remote.url}/api/v2/version", timeout=5)
        assert active_count() == before


def test_a_fault_of_its_own_is_reported_and_not_repeated(remote: FakeDeployment) -> None:
    body = '{"name": "n", "slots": 1'
    token = requests.post(
        f"{remote.url}/auth/token", json={"username": "admin", "password": "admin"}, timeout=5
    ).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    reply = requests.post(f"{remote.url}/api/v2/pools", data=body, headers=headers, timeout=5)
    assert reply.status_code == 501
    assert "fake deployment broke" in reply.json()["detail"]


def test_without_a_server_a_hook_reaches_it_and_does_not_sleep(
    offline_deployment: FakeDeployment,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket.socket, "connect", None)
    monkeypatch.delattr("time.sleep")
    offline_deployment.add_pool("small", 3)
    offline_deployment.disturb(503, times=3)
    offline_deployment.disturb(None)
    assert AstronomerHook().get_pool("small").slots == 3
    offline_deployment.change_secret("another")
    with pytest.raises(AuthenticationFailed):
        AstronomerHook().get_pool("small")


def test_without_a_server_retries_that_only_the_time_limits_end(
    offline_deployment: FakeDeployment,  # noqa: F811
) -> None:
    offline_deployment.add_dag("load")
    offline_deployment.add_asset("s3://shop/orders")
    hook = AstronomerHook()
    hook.get_version()
    for attempt in (partial(hook.trigger_dag_run, "load"), partial(hook.create_asset_event, "s3://shop/orders")):
        offline_deployment.disturb(503, times=2_000)
        began = offline_deployment.clock()
        with pytest.raises(RemoteUnavailable):
            attempt()
        assert 100 < offline_deployment.clock() - began < 200
