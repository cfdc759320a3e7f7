"""The Keycloak auth manager of a real Airflow 3, with a stand-in for Keycloak itself behind it."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import AuthenticationFailed
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure
from astronomer_remote.testing.server import RecordedRequest, Reply, Server
from dev.deployments import Airflow

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

CLIENT, SECRET = "airflow", "secret-of-the-client"
USER, PASSWORD = "ada", "password-of-ada"
LIFETIME = 8
MANAGER = "airflow.providers.keycloak.auth_manager.keycloak_auth_manager.KeycloakAuthManager"
UMA = "urn:ietf:params:oauth:grant-type:uma-ticket"


def jwt(**claims: Any) -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in ({}, claims))
    return ".".join((*parts, base64.urlsafe_b64encode(b"signature").decode()))


class Identities:
    """What stands in for Keycloak: issues tokens that live for some seconds, and allows everything with them."""

    def __init__(self) -> None:
        self.url = ""
        self.valid: dict[str, float] = {}
        self.grants: list[str] = []
        self.refused = 0

    def issue(self, form: dict[str, str]) -> dict[str, Any] | None:
        """A token, if the client is the one of Airflow, and the user is known."""
        grant = form.get("grant_type", "")
        is_client = (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        is_user = (form.get("username"), form.get("password")) == (USER, PASSWORD)
        if not is_client or (grant == "password" and not is_user):
            return None
        self.grants.append(grant)
        token = jwt(sub=grant, number=len(self.grants), exp=int(time.time()) + LIFETIME)
        self.valid[token] = time.time() + LIFETIME
        refresh = {"refresh_token": jwt(typ="Refresh")} if grant == "password" else {}
        return {"access_token": token, "expires_in": LIFETIME, "token_type": "Bearer", **refresh}

    def knows(self, header: str) -> bool:
        """Whether a token is valid now."""
        found = self.valid.get(header.removeprefix("Bearer "), 0) > time.time()
        self.refused += not found
        return found

    def reply(self, path: str, form: dict[str, str], header: str) -> tuple[int, dict[str, Any]]:
        """Status and body of a reply."""
        if path.endswith("/userinfo"):
            known = self.knows(header)
            return (200, {"sub": "someone", "preferred_username": "someone"}) if known else (401, {"error": "expired"})
        if form.get("grant_type") == UMA:
            known = self.knows(header)
            return (200, {"access_token": "a"}) if known else (400, {"error": "invalid_grant"})
        token = self.issue(form)
        return (200, token) if token else (401, {"error": "invalid_client"})


@contextmanager
def identities() -> Iterator[Identities]:
    """It, on a free port of this machine."""
    found = Identities()

    def answer(request: RecordedRequest) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        return Reply(*found.reply(request.path, form, request.headers.get("authorization", "")))

    with closing(Server(answer, keep_alive=False)) as server:
        found.url = f"{server.url}/"
        yield found


class Managed:
    """A deployment with the auth manager, and what stands behind it."""

    def __init__(self, remote: Airflow, keycloak: Identities) -> None:
        self.remote = remote
        self.keycloak = keycloak

    def run(self, flow: Any, **fields: Any) -> Any:
        """Run a flow of the deployment with a connection."""
        settings = Settings.parse(host=self.remote.url, **fields)
        with configure(requests.Session(), settings) as session:
            return SyncDriver(session, settings, reload=lambda: settings).run(flow(Deployment(settings)))


@pytest.fixture(scope="module")
def managed() -> Iterator[Managed]:
    with identities() as keycloak:
        env = {
            "AIRFLOW__CORE__AUTH_MANAGER": MANAGER,
            "AIRFLOW__KEYCLOAK_AUTH_MANAGER__CLIENT_ID": CLIENT,
            "AIRFLOW__KEYCLOAK_AUTH_MANAGER__CLIENT_SECRET": SECRET,
            "AIRFLOW__KEYCLOAK_AUTH_MANAGER__REALM": "team",
            "AIRFLOW__KEYCLOAK_AUTH_MANAGER__SERVER_URL": keycloak.url,
        }
        extras = ["apache-airflow-providers-keycloak"]
        with Airflow("3.3.2", name="keycloak", extras=extras, env=env, components=["api-server"]) as remote:
            yield Managed(remote, keycloak)


CONNECTIONS: dict[str, dict[str, Any]] = {
    "client_credentials": {"login": CLIENT, "password": SECRET, "extra": {"auth": "keycloak_client"}},
    "password": {"login": USER, "password": PASSWORD},
}


@pytest.mark.parametrize("grant", CONNECTIONS)
def test_pools_are_managed_while_tokens_of_keycloak_expire(managed: Managed, grant: str) -> None:
    keycloak = managed.keycloak
    keycloak.grants.clear()
    refused = keycloak.refused

    def flow(deployment: Deployment) -> Any:
        yield from deployment.ensure_pool(f"of_{grant}", 3)
        ends = time.monotonic() + 2.5 * LIFETIME
        while time.monotonic() < ends:
            pool = yield from deployment.get_pool(f"of_{grant}")
            time.sleep(0.2)
        yield from deployment.delete_pool(f"of_{grant}")
        return pool

    assert managed.run(flow, **CONNECTIONS[grant]).slots == 3
    # Airflow's own tokens live for a day. A new one was requested before the one of Keycloak inside expired.
    assert set(keycloak.grants) == {grant}
    assert 3 <= len(keycloak.grants) <= 8
    assert keycloak.refused == refused


@pytest.mark.parametrize("grant", CONNECTIONS)
def test_a_wrong_secret_is_reported_and_not_shown(managed: Managed, grant: str) -> None:
    fields = {**CONNECTIONS[grant], "password": "a-wrong-secret"}
    with pytest.raises(AuthenticationFailed, match="did not accept the connection's login") as error:
        managed.run(lambda deployment: deployment.get_pool("default_pool"), **fields)
    assert "a-wrong-secret" not in str(error.value)
