"""A real Airflow that is stopped and started, behind a gateway and a stand-in for the Astro API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.outages import Outage
from astronomer_remote.api.client.places import Place
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.logins.astro import TEST_API
from astronomer_remote.api.protocol.errors import InvalidSettings, RemoteUnavailable
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import run_once
from dev.deployments import Airflow
from dev.faults import Reply
from dev.proxy import Proxy
from tests.astro import NAME, ORGANIZATION, TOKEN, Answer, FakeAstro, served
from tests.live.deployments import airflow
from tests.live.local import LocalAirflow
from tests.live.remote import RemoteAirflow, RemoteApi
from tests.live.stage import LOCAL
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]

HERE = Path(__file__).parent
VERSION = "3.3.2"
CONN_ID = "of_astro"
WAITING = 40
EXTRA = {"auth": "astro_token", "astro_organization_id": ORGANIZATION, "astro_deployment": NAME}


class Gateway(Proxy):
    """Answers as Astro's gateway does: 503 if nothing runs behind it, 401 without the token."""

    def __init__(self, remote: Airflow) -> None:
        super().__init__(remote.url)
        self._remote_airflow = remote
        self._own = ""
        self.asleep = False
        self.shown: set[str] = set()

    def wake(self) -> None:
        """Let requests through, with a login of its own."""
        login, password = self._remote_airflow.users["admin"]
        with requests.Session() as session:
            session.trust_env = False
            given = {"username": login, "password": password}
            granted = session.post(f"{self.target}/auth/token", json=given, timeout=120).json()
        self._own, self.asleep = f"Bearer {granted['access_token']}", False

    async def _send(self, method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> Reply:
        self.shown |= {value for name, value in fields if name.lower() == "authorization"}
        if self.asleep:
            return Reply(503, [("Content-Type", "text/plain")], b"no healthy upstream")
        if ("Authorization", f"Bearer {TOKEN}") not in fields and not target.endswith("/version"):
            return Reply(401, [("Content-Type", "text/html")], b"<html></html>")
        others = [each for each in fields if each[0].lower() not in ("authorization", "cookie")]
        return await super()._send(method, target, [*others, ("Authorization", self._own)], body)


class Astro(FakeAstro):
    """Starts the remote when it is woken."""

    def __init__(self, remote: Airflow, gateway: Gateway) -> None:
        super().__init__(f"{gateway.url}/api/v2")
        self._remote = remote
        self._gateway = gateway
        self._components = list(remote.processes)
        self._starting: threading.Thread | None = None

    def stop(self) -> None:
        """Stop the remote."""
        self._gateway.asleep = True
        for name in self._components:
            self._remote.stop_component(name)

    def answer(self, method: str, url: str, token: str, body: Any) -> Answer:
        outcome = super().answer(method, url, token, body)
        if method == "POST" and outcome[0] == 200 and self._starting is None:
            self._starting = threading.Thread(target=self.start)
            self._starting.start()
        return outcome

    def start(self) -> None:
        """Start the remote."""
        self.deployment["status"] = "DEPLOYING"
        self._remote.start_component(*self._components, timeout=240)
        self._gateway.wake()
        self.is_ready()
        self._starting = None

    def join(self) -> None:
        if self._starting:
            self._starting.join()


class Stage:
    """A local deployment, and the Deployment."""

    def __init__(self, local: Airflow, remote: Airflow, gateway: Gateway, astro: Astro) -> None:
        self.local = LocalAirflow(local)
        self.remote = RemoteAirflow(remote)
        self.api = RemoteApi(remote)
        self.gateway = gateway
        self.astro = astro

    def until(self, states: dict[str, int]) -> None:
        """Wait until the tasks of the local DAG are in these states."""

        def reached() -> bool:
            self.local.check_alive()
            return self.local.states("astro") == states

        wait_until(reached, self.describe, timeout=600, poll=1)

    def describe(self) -> str:
        passed = [f"{each.method} {each.target} {each.status}" for each in self.gateway.passed[-10:]]
        parts = [f"{self.local.states('astro')}", self.local.mentions("astro"), *map(str, self.astro.received), *passed]
        return "\n".join(parts)

    def end_run(self) -> None:
        """Let the remote run end, as a person does."""

        def end(deployment: Deployment) -> Flow[Any]:
            dialect = yield from deployment.client.dialect()
            return (yield from deployment.client.request(dialect.set_run_state("paused_dag", "held", "success")))

        self.api.run(end(self.api.remote))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        remote = stack.enter_context(airflow(VERSION, name="remote", dags=HERE / "remote_dags"))
        gateway = Gateway(remote)
        stack.enter_context(gateway)
        gateway.wake()
        astro = Astro(remote, gateway)
        stack.callback(astro.join)
        url = stack.enter_context(served(astro))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv(TEST_API, url)
        env = {**LOCAL, TEST_API: url}
        local = airflow(VERSION, name="local", project=True, dags=HERE / "astro_dags", env=env)
        yield Stage(stack.enter_context(local), remote, gateway, astro)


def message_of(host: str | None, extra: dict[str, Any]) -> str:
    """What a request says that fails, in a process that knows nothing yet."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Outage, "_all", {})
        patch.setattr(Place, "_all", {})
        settings = Settings.parse(host=host, password=TOKEN, extra=extra)
        settings = run_once(Client(settings).locate(), settings)
        deployment = Deployment(settings, retry=RetryPolicy(attempts=1))
        with pytest.raises(RemoteUnavailable) as error:
            run_once(deployment.list_pools(), settings)
        return error.value.message


def test_hibernating_is_distinguished_from_down(stage: Stage) -> None:
    astro = stage.astro
    astro.stop()
    try:
        astro.deployment.update(status="UNHEALTHY", statusReason="the webserver is restarting")
        assert "is unhealthy (the webserver is restarting), according" in message_of(None, EXTRA)
        del astro.deployment["statusReason"]
        astro.deployment["status"] = "DEPLOYING"
        assert "is being deployed, according" in message_of(None, EXTRA)
        astro.hibernate()
        assert "is hibernating until 2026-11-28T06:00:00Z, according" in message_of(None, EXTRA)
        astro.failing = 500, {}
        assert message_of(stage.gateway.url, EXTRA) == message_of(stage.gateway.url, {"auth": "astro_token"})
        astro.failing = 404, {}
        assert "does not exist in the Organization" in message_of(stage.gateway.url, EXTRA)
        assert astro.woken == 0
    finally:
        astro.failing = None
        astro.start()


def test_the_url_of_another_host_is_refused(stage: Stage) -> None:
    astro, shown = stage.astro, set(stage.gateway.shown)
    with Gateway(stage.remote.deployment) as other:
        # The stand-in allows this machine, but not under another name.
        astro.deployment["webServerAirflowApiUrl"] = other.url.replace("127.0.0.1", "localhost")
        try:
            with pytest.raises(InvalidSettings, match="so the token is not sent there"):
                message_of(None, EXTRA)
        finally:
            astro.deployment["webServerAirflowApiUrl"] = f"{stage.gateway.url}/api/v2"
        assert not other.passed
    assert stage.gateway.shown == shown


def test_forty_tasks_that_wait_wake_it_once_and_no_retry_is_used(stage: Stage) -> None:
    local, astro = stage.local, stage.astro
    local.add_connection(CONN_ID, password=TOKEN, extra=json.dumps({**EXTRA, "wake": True}))
    wait_until(lambda: local.query("SELECT 1 FROM serialized_dag WHERE dag_id = 'astro'"), str, timeout=120)

    # Three tasks need it at the same time. Each process wakes it at most once, and they do not disturb each other.
    astro.stop()
    astro.hibernate()
    local.request("POST", "/dags/astro/dagRuns", json={"dag_run_id": "once", "logical_date": None})
    stage.until({"success": 3, "deferred": WAITING})
    assert 1 <= astro.woken <= 3
    assert [(run.run_id, run.state) for run in stage.remote.runs("held")] == [("held", "queued")]
    logs = [local.log("astro", "once", task_id) for task_id in ("trigger", "pool_0", "pool_1")]
    assert any("is hibernating until 2026-11-28T06:00:00Z" in each for each in logs), logs
    assert any("It was woken; that may take 10 minutes" in each for each in logs), logs

    # It hibernates again while forty tasks wait in the triggerer.
    woken, received = astro.woken, len(astro.received)
    astro.stop()
    astro.hibernate()
    wait_until(lambda: astro.woken > woken, stage.describe, timeout=300, poll=1)
    wait_until(lambda: astro.deployment["status"] == "HEALTHY", stage.describe, timeout=300, poll=1)
    before = len(stage.gateway.passed)
    wait_until(lambda: any(each.status == 200 for each in stage.gateway.passed[before:]), stage.describe, timeout=120)
    assert astro.woken == woken + 1
    assert len(astro.received) - received <= 6, astro.received[received:]
    assert local.states("astro") == {"success": 3, "deferred": WAITING}
    assert "It was woken; that may take 10 minutes" in local.log("astro", "once", "wait_07")

    stage.end_run()
    stage.until({"success": 3 + WAITING})
    assert {task["try_number"] for task in local.tasks("astro")} == {1}
    assert [(run.run_id, run.state) for run in stage.remote.runs("held")] == [("held", "success")]
    assert astro.woken == woken + 1


def test_the_token_is_in_no_log_and_was_sent_to_nobody_else(stage: Stage) -> None:
    assert stage.gateway.shown == {f"Bearer {TOKEN}"}
    contents = stage.local.contents()
    assert len(contents) > WAITING
    for name, content in contents.items():
        assert TOKEN.encode() not in content, name
