"""The hook with environments of clouds: found by their names, over HTTPS, with the real boto3 and google-auth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from astronomer_remote.api.client.places import Place
from astronomer_remote.api.connection_test import ConnectionTest
from astronomer_remote.hooks.astronomer import AstronomerHook
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.server import RecordedRequest, Reply, Server
from tests.clouds import AIRFLOW_URI, ENVIRONMENT, HOST, IDENTITY, Cloud, cloud, write_key
from tests.internet import Internet, internet

pytest.importorskip("boto3")
pytest.importorskip("google.auth")

# In old versions of both.
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utc:DeprecationWarning")

TOKEN_URI = "https://oauth2.googleapis.com/token"
OWN_TOKEN = "t0ken-of-the-fake-deployment"
ACCOUNT = "airflow@my-project.iam.gserviceaccount.com"
URLS = {"mwaa": f"https://{HOST}", "composer": AIRFLOW_URI}
HOSTS_OF_CLOUDS = ("env.airflow.eu-west-1.amazonaws.com", "oauth2.googleapis.com", "composer.googleapis.com")


class Web:
    """The web server of both environments: lets what the cloud issued through to a deployment."""

    def __init__(self, found: Cloud, remote: FakeDeployment) -> None:
        self._cloud = found
        self._remote = remote
        self.sessions: list[str] = []

    def answer(self, request: RecordedRequest) -> Reply:
        if request.path == "/pluginsv2/aws_mwaa/login":
            if parse_qs(request.body.decode())["token"][0] not in self._cloud.issued:
                return Reply(403, "<html></html>", "text/html")
            self.sessions.append(f"session-number-{len(self.sessions)}-of-the-web-server")
            return Reply(302, None, headers={"Set-Cookie": f"_token={self.sessions[-1]}; Path=/", "Location": "/"})
        shown = request.headers.get("authorization", "").removeprefix("Bearer ")
        if shown not in (*self.sessions, *self._cloud.issued):
            return Reply(401, "<html></html>", "text/html")
        headers = {"Authorization": f"Bearer {OWN_TOKEN}", "Content-Type": "application/json"}
        with requests.Session() as session:
            session.trust_env = False
            reply = session.request(
                request.method,
                self._remote.url + request.path,
                params=dict(request.query),
                data=request.body,
                headers=headers,
                timeout=30,
            )
        return Reply(reply.status_code, reply.text or None, reply.headers.get("Content-Type", ""))


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    monkeypatch.setattr(Place, "_all", {})
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with (
        FakeDeployment("3.3.2", api_token=OWN_TOKEN) as remote,
        cloud() as found,
        closing(Server(Web(found, remote).answer, keep_alive=False)) as web,
    ):
        remote.add_dag("quick")
        of_clouds = dict.fromkeys(HOSTS_OF_CLOUDS, found.url)
        of_airflow = {urlsplit(url).hostname or "": web.url for url in URLS.values()}
        with internet({**of_clouds, **of_airflow}, tmp_path) as started:
            for name, text in started.env.items():
                monkeypatch.setenv(name, text)
            yield started


@pytest.mark.parametrize("auth", URLS)
def test_an_environment_is_found_by_its_name(
    hosts: Internet, add_connection: Callable[..., str], tmp_path: Path, auth: str
) -> None:
    """Nothing of this package or of the libraries is replaced: the names of hosts are those of the clouds."""
    key = write_key(tmp_path / "key.json", TOKEN_URI)
    fields = {
        "mwaa": {
            "login": "AKIAOFTHEUSER0000000",
            "password": "s3cret-key-of-the-user",
            "extra": {"auth": "mwaa", "mwaa_environment": "prod", "aws_region": "eu-west-1"},
        },
        "composer": {
            "extra": {"auth": "composer", "composer_environment": ENVIRONMENT, "google_key_file": str(key)},
        },
    }
    add_connection(**fields[auth])
    hook = AstronomerHook()
    good, message = hook.test_connection()
    assert good, message
    who = {"mwaa": IDENTITY, "composer": ACCOUNT}[auth]
    assert message.startswith(f"Airflow 3.3.2 at {URLS[auth]} answers as {who}.")
    assert hook.run_flow(lambda deployment: ConnectionTest(deployment.client).examine()).login == who
    assert hook.create_pool("of_worker", 3).slots == 3
    assert asyncio.run(AstronomerHook().async_get_pool("of_worker")).slots == 3
    run = hook.trigger_dag_run("quick", run_id="by_name")
    assert asyncio.run(AstronomerHook().async_get_dag_run("quick", run.run_id)).run_id == "by_name"
    called = {each.partition("/")[0] for each in hosts.called}
    assert (
        called
        == {
            "mwaa": {HOSTS_OF_CLOUDS[0], HOST},
            "composer": {*HOSTS_OF_CLOUDS[1:], urlsplit(AIRFLOW_URI).hostname},
        }[auth]
    )
