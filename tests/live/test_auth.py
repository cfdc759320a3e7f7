"""Fifty tasks of a real Airflow wait behind a gateway, while tokens expire, are revoked, and the secret is rotated."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.flow import Flow
from dev.deployments import Airflow
from tests.live.deployments import airflow
from tests.live.local import LocalAirflow
from tests.live.oauth import CLIENT, FIRST_SECRET, SECOND_SECRET, Gateway, Issuer, issuer
from tests.live.remote import RemoteAirflow, RemoteApi
from tests.live.stage import LOCAL
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

HERE = Path(__file__).parent
LOCAL_VERSION = "3.3.2"
CONN_ID = "behind_gateway"
LIFETIME = 20
WAITING = 50


class Gated:
    """A local deployment, and a remote one behind a gateway."""

    def __init__(self, local: Airflow, remote: Airflow, gateway: Gateway, tokens: Issuer) -> None:
        self.local = LocalAirflow(local)
        self.remote = RemoteAirflow(remote)
        self.api = RemoteApi(remote)
        self.gateway = gateway
        self.tokens = tokens

    def until(self, states: dict[str, int]) -> None:
        """Wait until the tasks of the local DAG are in these states."""

        def reached() -> bool:
            self.local.check_alive()
            return self.local.states("auth") == states

        wait_until(reached, lambda: f"{self.local.states('auth')}\n{self.local.mentions('auth')}", timeout=600, poll=1)

    def end_run(self) -> None:
        """Let the remote run end, as a person does."""

        def end(deployment: Deployment) -> Flow[Any]:
            dialect = yield from deployment.client.dialect()
            return (yield from deployment.client.request(dialect.set_run_state("sleeper", "held", "success")))

        self.api.run(end(self.api.remote))


@pytest.fixture(scope="module", params=["3.3.2", "2.11.2"])
def gated(request: pytest.FixtureRequest) -> Iterator[Gated]:
    with ExitStack() as stack:
        remote = stack.enter_context(airflow(request.param, name="remote", dags=HERE / "remote_dags"))
        tokens = stack.enter_context(issuer(LIFETIME))
        gateway = stack.enter_context(Gateway(remote, tokens))
        local = airflow(LOCAL_VERSION, name="local", project=True, dags=HERE / "auth_dags", env=LOCAL)
        yield Gated(stack.enter_context(local), remote, gateway, tokens)


def test_fifty_waits_end_well_though_tokens_expire_and_the_secret_is_rotated(gated: Gated) -> None:
    local, tokens, gateway = gated.local, gated.tokens, gated.gateway
    extra = f'{{"auth": "oauth2", "token_url": "{tokens.url}"}}'
    local.add_connection(CONN_ID, host=gateway.url, login=CLIENT, password=FIRST_SECRET, extra=extra)
    wait_until(lambda: local.query("SELECT 1 FROM serialized_dag WHERE dag_id = 'auth'"), str, timeout=120)
    local.request("POST", "/dags/auth/dagRuns", json={"dag_run_id": "once", "logical_date": None})
    gated.until({"success": 2, "deferred": WAITING})
    assert gated.remote.slots("of_client") == 3

    # A token expires while they wait: the next one is used, and the gateway turns nobody away.
    issued, turned_away = len(tokens.valid), gateway.turned_away
    wait_until(lambda: len(tokens.valid) >= issued + 3, lambda: f"{len(tokens.valid)} tokens", timeout=3 * LIFETIME)
    assert gateway.turned_away == turned_away
    # One triggerer waits for all of them: a token each half of its life, not fifty.
    assert len(tokens.valid) <= issued + 4

    # The secret is rotated, and every token that was issued with the old one is revoked.
    tokens.client.secret = SECOND_SECRET
    local.change_password(CONN_ID, SECOND_SECRET)
    tokens.valid.clear()
    passed = len(gateway.passed)
    wait_until(
        lambda: any(each.status == 200 for each in gateway.passed[passed:]),
        lambda: f"{gateway.passed[passed:][-5:]}, {tokens.refused} refused",
        timeout=3 * LIFETIME,
    )
    assert local.states("auth") == {"success": 2, "deferred": WAITING}
    assert 1 <= len(tokens.valid) <= 2
    assert tokens.refused == 1

    gated.end_run()
    gated.until({"success": 2 + WAITING})
    assert {task["try_number"] for task in local.tasks("auth")} == {1}
    assert [run.state for run in gated.remote.runs("held")] == ["success"]


def test_no_secret_and_no_token_is_in_a_log_or_the_database(gated: Gated) -> None:
    secrets = [each.encode() for each in (FIRST_SECRET, SECOND_SECRET)]
    secrets += [header.removeprefix("Bearer ").encode() for header in gated.gateway.shown]
    assert len(secrets) > 10
    contents = gated.local.contents()
    assert len(contents) > WAITING
    for name, content in contents.items():
        assert not [secret for secret in secrets if secret in content], name
