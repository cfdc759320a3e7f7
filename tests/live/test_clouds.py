"""
Amazon MWAA and Cloud Composer, as far as one machine shows: tasks of a real Airflow use the real boto3 and google-auth.

The hosts of both clouds are on this machine, under their names: stand-ins for the services that issue tokens, and a
gateway that lets only these through to a real Airflow. Each environment is found by its name.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import formatdate
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from moto.server import ThreadedMotoServer

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import run_once
from dev.deployments import Airflow
from dev.faults import Reply
from tests.clouds import AIRFLOW_URI, ENVIRONMENT, HOST, IDENTITY, ROLE, Cloud, cloud, write_key
from tests.internet import Internet, internet
from tests.live.deployments import airflow
from tests.live.local import LocalAirflow
from tests.live.oauth import PAGE, Gateway
from tests.live.remote import RemoteAirflow, RemoteApi
from tests.live.stage import LOCAL
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
LOCAL_VERSION = "3.3.2"
WAITING = 20
LIFETIME = 16
"""Seconds that a token of Google and a session of MWAA are valid."""

AWS_KEYS = {"AWS_ACCESS_KEY_ID": "AKIAOFTHEUSER0000000", "AWS_SECRET_ACCESS_KEY": "s3cret-key-of-the-user"}
TOKEN_URI = "https://oauth2.googleapis.com/token"


class CloudGateway(Gateway):
    """The web server of an environment: knows the tokens of the cloud, and issues sessions for them."""

    def __init__(self, remote: Airflow, found: Cloud) -> None:
        super().__init__(remote, self)  # type: ignore[arg-type]  # it decides itself what it accepts
        self._cloud = found
        self._newer = remote.generation == "v2"
        self.valid: dict[str, float] = {}
        self.lifetime = found.lifetime
        self.logins = 0
        self.secrets: set[str] = set()

    def accepts(self, header: str) -> bool:
        return self.valid.get(header, 0) > time.time()

    async def _send(self, method: str, target: str, fields: list[tuple[str, str]], body: bytes) -> Reply:
        if target == ("/pluginsv2/aws_mwaa/login" if self._newer else "/aws_mwaa/login"):
            return self._log_in(parse_qs(body.decode())["token"][0])
        for token in list(self._cloud.issued):
            self.secrets.add(token)
            self.valid.setdefault(f"Bearer {token}", time.time() + self.lifetime)
        named = {name.lower(): value for name, value in fields}
        session = SimpleCookie(named.get("cookie", "")).get("session")
        if session and not self._newer:
            fields = [*fields, ("Authorization", f"Session {session.value}")]
        return await super()._send(method, target, fields, body)

    def _log_in(self, token: str) -> Reply:
        if token not in self._cloud.issued:
            return Reply(403, [("Content-Type", "text/html")], PAGE)
        self.logins += 1
        self.secrets.add(token)
        # A web login token is good for one login, and for nothing else.
        self._cloud.issued.remove(token)
        self.valid.pop(f"Bearer {token}", None)
        now = int(time.time())
        issued = secrets.token_urlsafe(32)
        if self._newer:
            claims = json.dumps({"iat": now, "exp": now + self.lifetime})
            issued = f"e30.{base64.urlsafe_b64encode(claims.encode()).decode().rstrip('=')}.{issued}"
        self.secrets.add(issued)
        kind, cookie = ("Bearer", "_token") if self._newer else ("Session", "session")
        self.valid[f"{kind} {issued}"] = now + self.lifetime
        # As Flask writes it.
        ends = "" if self._newer else f"Expires={formatdate(now + self.lifetime, usegmt=True)}; "
        issues = ("Set-Cookie", f"{cookie}={issued}; {ends}HttpOnly; Path=/; Secure")
        return Reply(302, [("Location", "/home"), ("Date", formatdate(now, usegmt=True)), issues])

    @property
    def issued(self) -> tuple[int, int]:
        """How many sessions of MWAA and tokens of Google."""
        return self.logins, [path for path, _, _ in self._cloud.received].count("/token")

    def issue_for(self, seconds: int) -> None:
        """How long those are valid that are issued from now on."""
        self.lifetime = self._cloud.lifetime = seconds

    def revoke(self) -> None:
        """Accept nothing that was issued so far."""
        self.valid.clear()
        self._cloud.issued.clear()


class Stage:
    """A real Airflow in an environment of each cloud, and a local one whose tasks use it."""

    def __init__(self, local: Airflow, remote: Airflow, gateway: CloudGateway, hosts: Internet, key: Path) -> None:
        self.local = LocalAirflow(local)
        self.remote = RemoteAirflow(remote)
        self.api = RemoteApi(remote)
        self.gateway = gateway
        self.internet = hosts
        self.extras: dict[str, dict[str, str]] = {
            "mwaa": {"mwaa_environment": "prod", "aws_region": "eu-west-1", "aws_role_arn": ROLE},
            "composer": {"composer_environment": ENVIRONMENT, "google_key_file": str(key)},
        }

    def until(self, states: dict[str, int]) -> None:
        """Wait until the tasks of the local DAG are in these states."""

        def reached() -> bool:
            self.local.check_alive()
            return self.local.states("clouds") == states

        wait_until(reached, self.describe, timeout=300, poll=1)

    def until_issued_again(self, change: Callable[[], None]) -> None:
        """Do something, and wait until each cloud has issued a session or token after that."""
        before = self.gateway.issued
        change()

        def issued() -> bool:
            return all(now > then for now, then in zip(self.gateway.issued, before, strict=True))

        wait_until(issued, self.describe, timeout=60)

    def describe(self) -> str:
        passed = [f"{each.method} {each.target} {each.status}" for each in self.gateway.passed[-10:]]
        return "\n".join([f"{self.local.states('clouds')}", self.local.mentions("clouds"), *passed])

    def end_runs(self) -> None:
        """Let the remote runs end, as a person does."""

        def end(deployment: Deployment) -> Flow[Any]:
            dialect = yield from deployment.client.dialect()
            for auth in self.extras:
                yield from deployment.client.request(dialect.set_run_state("sleeper", f"of_{auth}", "success"))

        self.api.run(end(self.api.remote))


@pytest.fixture(scope="module", params=["3.3.2", "2.11.2"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("clouds")
    with ExitStack() as stack:
        remote = stack.enter_context(airflow(request.param, name="remote", dags=HERE / "remote_dags"))
        found = stack.enter_context(cloud())
        found.lifetime = LIFETIME
        roles = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
        roles.start()
        stack.callback(roles.stop)
        host, port = roles.get_host_and_port()
        gateway = stack.enter_context(CloudGateway(remote, found))
        of_aws = dict.fromkeys(("sts.amazonaws.com", "sts.eu-west-1.amazonaws.com"), f"http://{host}:{port}")
        of_aws["env.airflow.eu-west-1.amazonaws.com"] = found.url
        of_google = dict.fromkeys(("oauth2.googleapis.com", "composer.googleapis.com"), found.url)
        of_airflow = dict.fromkeys((HOST, urlsplit(AIRFLOW_URI).hostname or ""), gateway.url)
        hosts = stack.enter_context(internet({**of_aws, **of_google, **of_airflow}, folder))
        key = write_key(folder / "key.json", TOKEN_URI)
        local = airflow(
            LOCAL_VERSION,
            name="local",
            project=True,
            extras=["boto3", "google-auth"],
            dags=HERE / "cloud_dags",
            env={**LOCAL, **hosts.env, **AWS_KEYS},
        )
        yield Stage(stack.enter_context(local), remote, gateway, hosts, key)


@pytest.mark.parametrize("auth", ["mwaa", "composer"])
def test_an_environment_is_found_by_its_name(stage: Stage, auth: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in {**stage.internet.env, **AWS_KEYS}.items():
        monkeypatch.setenv(name, text)
    settings = Settings.parse(host=None, extra={"auth": auth, **stage.extras[auth]})
    settings = run_once(Client(settings).locate(), settings)
    assert settings.base_url == {"mwaa": f"https://{HOST}", "composer": AIRFLOW_URI}[auth]
    who = IDENTITY if auth == "mwaa" else "airflow@my-project.iam.gserviceaccount.com"
    found = run_once(Deployment(settings).describe(), settings)
    assert f"Airflow {stage.remote.deployment.version} at {settings.base_url} answers as {who}." in found
    assert urlsplit(settings.base_url).hostname in {call.partition("/")[0] for call in stage.internet.called}


def test_tasks_trigger_wait_and_use_pools_while_tokens_expire_and_are_revoked(stage: Stage) -> None:
    local, gateway = stage.local, stage.gateway
    for auth, extra in stage.extras.items():
        local.add_connection(auth, extra=json.dumps({"auth": auth, **extra}))
    wait_until(lambda: local.query("SELECT 1 FROM serialized_dag WHERE dag_id = 'clouds'"), str, timeout=120)
    local.request("POST", "/dags/clouds/dagRuns", json={"dag_run_id": "once", "logical_date": None})
    # A pool, its free slots and the trigger, of each cloud; the pools are deleted in the end.
    stage.until({"success": 6, "deferred": WAITING, None: 2})  # type: ignore[dict-item]  # a state of Airflow's
    assert [stage.remote.slots(f"of_{auth}") for auth in stage.extras] == [3, 3]

    # Tokens expire twice: the triggerer gets new ones in time, one for all waits of an environment.
    issued, passed = gateway.issued, len(gateway.passed)
    time.sleep(2 * LIFETIME)
    assert all(2 <= now - before <= 6 for now, before in zip(gateway.issued, issued, strict=True)), gateway.issued
    assert not [each for each in gateway.passed[passed:] if each.status == 401]

    # Then all of them are revoked long before they expire, which costs a refused request for each environment.
    stage.until_issued_again(lambda: gateway.issue_for(3600))
    passed = len(gateway.passed)
    stage.until_issued_again(gateway.revoke)
    assert 2 <= [each.status for each in gateway.passed[passed:]].count(401) <= 4
    assert local.states("clouds")["deferred"] == WAITING

    stage.end_runs()
    stage.until({"success": 8 + WAITING})
    assert {task["try_number"] for task in local.tasks("clouds")} == {1}
    for auth in stage.extras:
        assert [run.state for run in stage.remote.runs(f"of_{auth}")] == ["success"]
    hosts = {call.partition("/")[0] for call in stage.internet.called}
    assert {"env.airflow.eu-west-1.amazonaws.com", "composer.googleapis.com", "oauth2.googleapis.com"} <= hosts


def test_no_secret_and_no_token_is_in_a_log_or_the_database(stage: Stage) -> None:
    contents = stage.local.contents()
    known = [secret.encode() for secret in (*stage.gateway.secrets, AWS_KEYS["AWS_SECRET_ACCESS_KEY"])]
    assert len(contents) > WAITING
    assert len(known) > 4
    for name, content in contents.items():
        assert not [secret for secret in known if secret in content], name


def test_what_is_not_issued_for_the_environment_gets_no_answer(stage: Stage) -> None:
    with requests.Session() as session:
        session.trust_env = False
        found: Any = session.get(f"{stage.gateway.url}/api/v2/dags", timeout=30)
    assert found.status_code == 401
