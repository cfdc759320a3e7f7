"""
Amazon MWAA and Cloud Composer, as far as one machine shows: the real boto3 and google-auth, stand-ins for the services
that issue tokens, and a gateway that lets only these through to a real Airflow.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
from botocore.config import Config
from moto.server import ThreadedMotoServer

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.logins import composer, mwaa
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import run_once
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.api.watch.watcher import watch
from dev.deployments import Airflow
from dev.faults import Reply
from tests.clouds import IDENTITY, ROLE, Cloud, cloud, write_key
from tests.live.oauth import PAGE, Gateway
from tests.live.remote import RemoteAirflow

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

WAITING = 20
LIFETIME = 8
"""Seconds that a token of Google and a session of MWAA are valid."""


class CloudGateway(Gateway):
    """The web server of an environment: knows the tokens of the cloud, and issues sessions for them."""

    def __init__(self, remote: Airflow, found: Cloud) -> None:
        super().__init__(remote, self)  # type: ignore[arg-type]  # it decides itself what it accepts
        self._cloud = found
        self._newer = remote.generation == "v2"
        self.valid: dict[str, float] = {}
        self.logins = 0

    def accepts(self, header: str) -> bool:
        return self.valid.get(header, 0) > time.time()

    async def _send(self, method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> Reply:
        if target == ("/pluginsv2/aws_mwaa/login" if self._newer else "/aws_mwaa/login"):
            return self._log_in(parse_qs(body.decode())["token"][0])
        for token in self._cloud.issued:
            self.valid.setdefault(f"Bearer {token}", time.time() + LIFETIME)
        named = {name.lower(): value for name, value in fields}
        session = SimpleCookie(named.get("cookie", "")).get("session")
        if session and not self._newer:
            fields = [*fields, ("Authorization", f"Session {session.value}")]
        return await super()._send(method, target, fields, body)

    def _log_in(self, token: str) -> Reply:
        if token not in self._cloud.issued:
            return Reply(403, [("Content-Type", "text/html")], PAGE)
        self.logins += 1
        # A web login token is good for one login, and for nothing else.
        self._cloud.issued.remove(token)
        now = int(time.time())
        claims = base64.urlsafe_b64encode(json.dumps({"iat": now, "exp": now + LIFETIME}).encode()).decode().rstrip("=")
        issued = f"e30.{claims}.{secrets.token_urlsafe(32)}"
        kind, cookie = ("Bearer", "_token") if self._newer else ("Session", "session")
        self.valid[f"{kind} {issued}"] = now + LIFETIME
        return Reply(302, [("Location", "/home"), ("Set-Cookie", f"{cookie}={issued}; HttpOnly; Path=/; Secure")])


class Environment:
    """A real Airflow in an environment of a cloud."""

    def __init__(self, remote: Airflow, gateway: CloudGateway, key: Path) -> None:
        self.remote = RemoteAirflow(remote)
        self.gateway = gateway
        self.key = key

    def settings(self, auth: str) -> Settings:
        fields = {
            "mwaa": {"mwaa_environment": "prod", "aws_region": "eu-west-1", "aws_role_arn": ROLE},
            "composer": {"google_key_file": str(self.key)},
        }
        return Settings.parse(host=self.gateway.url, extra={"auth": auth, **fields[auth]})


@pytest.fixture(scope="module", params=["3.3.2", "2.11.2"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    with ExitStack() as stack:
        remote = stack.enter_context(Airflow(request.param, name="remote", dags=Path(__file__).parent / "remote_dags"))
        found = stack.enter_context(cloud())
        found.lifetime = LIFETIME
        roles = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        roles.start()
        stack.callback(roles.stop)
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        host, port = roles.get_host_and_port()
        patch.setenv("AWS_ENDPOINT_URL_STS", f"http://{host}:{port}")
        patch.setenv("AWS_ENDPOINT_URL_MWAA", found.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "AKIAOFTHEUSER0000000")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret-key-of-the-user")
        # boto3 sends requests to MWAA to the host "env." and so on, which does not exist here.
        config = mwaa._config().merge(Config(inject_host_prefix=False))
        patch.setattr(mwaa, "_config", lambda: config)
        # The gateway stands for the host of an environment.
        patch.setattr(mwaa, "SCHEME", "http://127.0.0.1:")
        patch.setattr(composer, "AIRFLOW_URL", re.compile("http://127.0.0.1:[0-9]+"))
        gateway = stack.enter_context(CloudGateway(remote, found))
        yield Environment(remote, gateway, write_key(tmp_path_factory.mktemp("key") / "key.json", found.token_uri))


@pytest.mark.parametrize("auth", ["mwaa", "composer"])
def test_runs_and_pools_of_an_environment(environment: Environment, auth: str) -> None:
    """Triggers, waits as a triggerer does while tokens expire and are revoked, and uses pools."""
    settings, gateway = environment.settings(auth), environment.gateway
    deployment = Deployment(settings)
    run_id, pool = f"of_{auth}", f"pool_of_{auth}"
    run_once(deployment.trigger_dag_run("sleeper", run_id=run_id, conf={"seconds": 900}), settings)
    run_once(deployment.create_pool(pool, 3), settings)
    assert environment.remote.slots(pool) == 3
    who = IDENTITY if auth == "mwaa" else "airflow@my-project.iam.gserviceaccount.com"
    assert f"answers as {who}." in run_once(Deployment(settings).describe(), settings)

    async def reload() -> Settings:
        return settings

    async def wait() -> list[WaitResult]:
        target = WaitTarget("sleeper", run_id=run_id, failed_states=("failed",))
        waits = [
            asyncio.create_task(
                watch(
                    target, settings=settings, reload=reload, poke_interval=1, deadline=time.time() + 200, on_line=print
                )
            )
            for _ in range(WAITING)
        ]
        await asyncio.sleep(2 * LIFETIME)
        logins = gateway.logins
        gateway.valid.clear()
        gateway._cloud.issued.clear()
        await asyncio.sleep(LIFETIME)
        # Once after the refusal, and once for each half of a life.
        assert gateway.logins - logins <= 5
        assert not any(each.done() for each in waits)
        await asyncio.to_thread(run_once, Deployment(settings).cancel_dag_run("sleeper", run_id), settings)
        return await asyncio.gather(*waits)

    results = asyncio.run(wait())
    assert {result.status for result in results} == {WaitStatus.FAILED}
    assert [run.state for run in environment.remote.runs(run_id)] == ["failed"]


def test_what_is_not_issued_for_the_environment_gets_no_answer(environment: Environment) -> None:
    with requests.Session() as session:
        session.trust_env = False
        found: Any = session.get(f"{environment.gateway.url}/api/v2/dags", timeout=30)
    assert found.status_code == 401
