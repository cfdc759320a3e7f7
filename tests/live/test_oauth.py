"""A real Airflow behind a gateway that accepts the tokens of a real authorization server alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import AccessDenied, AuthenticationFailed
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.async_driver import async_driver
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure
from astronomer_remote.api.watch.watcher import REQUESTS_AT_ONCE
from dev.deployments import Airflow
from tests.live.oauth import CLIENT, FIRST_SECRET, SECOND_SECRET, Gateway, Issuer, issuer

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


class Behind:
    """A deployment behind a gateway, and who issues the tokens for it."""

    def __init__(self, gateway: Gateway, tokens: Issuer) -> None:
        self.gateway = gateway
        self.tokens = tokens

    def settings(self, secret: str = FIRST_SECRET, **extra: Any) -> Settings:
        given = {"auth": "oauth2", "token_url": self.tokens.url, **extra}
        return Settings.parse(host=self.gateway.url, login=CLIENT, password=secret, extra=given)

    def run(self, flow: Any, settings: Settings, again: Settings | None = None) -> Any:
        """Run a flow of a deployment in a worker."""
        with configure(requests.Session(), settings) as session:
            driver = SyncDriver(session, settings, reload=lambda: again or settings)
            return driver.run(flow(Deployment(settings)))


@pytest.fixture(scope="module", params=["2.11.2", "3.3.2"])
def behind(request: pytest.FixtureRequest) -> Iterator[Behind]:
    component = "api-server" if request.param.startswith("3") else "webserver"
    with (
        Airflow(request.param, name="gated", components=[component]) as remote,
        issuer(lifetime=10) as tokens,
        Gateway(remote, tokens) as gateway,
    ):
        yield Behind(gateway, tokens)


@pytest.mark.parametrize("client_auth", ["basic", "body"])
def test_a_client_of_the_server_gets_through(behind: Behind, client_auth: str) -> None:
    settings = behind.settings(client_auth=client_auth)
    name = f"of_{client_auth}"
    assert behind.run(lambda deployment: deployment.create_pool(name, 3), settings).slots == 3
    assert behind.run(lambda deployment: deployment.get_pool(name), settings).slots == 3
    assert "answers as airflow-client" in behind.run(lambda deployment: deployment.describe(), settings)
    with pytest.raises(AccessDenied, match="read_only"):
        behind.run(lambda deployment: deployment.delete_pool(name), replace(settings, read_only=True))


def test_a_token_is_refreshed_in_time_and_replaced_if_it_is_revoked(behind: Behind) -> None:
    settings = behind.settings()

    async def poll() -> None:
        async def reload() -> Settings:
            raise AssertionError(f"refused for good: {behind.gateway.passed[-60:]}")

        async with async_driver(settings, reload) as driver:
            deployment = Deployment(settings)
            await driver.run(deployment.list_pools())
            issued, turned_away = len(behind.tokens.valid), behind.gateway.turned_away
            ends = time.monotonic() + 13
            while time.monotonic() < ends:
                await driver.run(deployment.list_pools())
                await asyncio.sleep(0.1)
            # Each token is used for half of its ten seconds.
            assert 2 <= len(behind.tokens.valid) - issued <= 4
            assert behind.gateway.turned_away == turned_away
            behind.tokens.valid.clear()
            # As many at once as a triggerer sends. With more than its database pool allows, Airflow 3.3 hangs.
            await asyncio.gather(*(driver.run(deployment.list_pools()) for _ in range(REQUESTS_AT_ONCE)))
            assert len(behind.tokens.valid) == 1

    asyncio.run(poll())


def test_a_secret_may_be_rotated(behind: Behind) -> None:
    old, new = behind.settings(), behind.settings(SECOND_SECRET)
    behind.tokens.client.secret = SECOND_SECRET
    try:
        assert behind.run(lambda deployment: deployment.list_pools(), old, new)
        with pytest.raises(AuthenticationFailed, match="did not accept the client 'airflow-client'") as error:
            behind.run(lambda deployment: deployment.list_pools(), old)
        assert FIRST_SECRET not in repr(error.value) + str(error.value)
    finally:
        behind.tokens.client.secret = FIRST_SECRET
