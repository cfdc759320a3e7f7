"""The hook and the command with a connection that names a Deployment of Astro, which has no host."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from astronomer_remote.api.client.outages import Outage
from astronomer_remote.api.client.places import Place
from astronomer_remote.api.logins.astro import TEST_API
from astronomer_remote.cli.main import main
from astronomer_remote.exceptions import InvalidSettings, NotFound
from astronomer_remote.hooks.astronomer import AstronomerHook
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.ui.status import Remote, State
from tests.astro import NAME, ORGANIZATION, TOKEN, FakeAstro, served

EXTRA = {"auth": "astro_token", "astro_organization_id": ORGANIZATION, "astro_deployment": NAME}

pytestmark = pytest.mark.usefixtures("logging_as_before")


@pytest.fixture
def remote() -> Iterator[FakeDeployment]:
    with FakeDeployment("3.3.2", api_token=TOKEN) as deployment:
        yield deployment


@pytest.fixture
def astro(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, add_connection: Callable[..., str]
) -> Iterator[FakeAstro]:
    monkeypatch.setattr(Outage, "_all", {})
    monkeypatch.setattr(Place, "_all", {})
    api = FakeAstro(f"{remote.url}/api/v2")
    with served(api) as url:
        monkeypatch.setenv(TEST_API, url)
        add_connection("astronomer_default", password=TOKEN, extra=json.dumps(EXTRA))
        yield api


def test_workers_and_triggerers_find_the_deployment_once(astro: FakeAstro, remote: FakeDeployment) -> None:
    def version(number: int) -> str:
        hook = AstronomerHook()
        return asyncio.run(hook.async_get_version()) if number % 2 else hook.get_version()

    with ThreadPoolExecutor(4) as threads:
        assert {str(found) for found in threads.map(version, range(4))} == {str(AstronomerHook().get_version())}
    assert len(astro.received) == 1
    assert AstronomerHook().run("/api/v2/pools").status_code == 200
    assert len(astro.received) == 1
    tokens = {request.headers.get("authorization") for request in remote.received} - {None}
    assert tokens == {f"Bearer {TOKEN}"}


def test_a_deployment_that_has_moved_is_found_after_a_refusal(
    astro: FakeAstro, remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astronomer_remote.hooks.astronomer.SECONDS_AFTER_REFUSAL", 0.0)
    hook = AstronomerHook()
    assert hook.list_pools()
    remote.change_secret("no longer ours")
    with FakeDeployment("3.3.2", api_token=TOKEN) as moved:
        astro.deployment["webServerAirflowApiUrl"] = moved.url
        assert hook.list_pools()
        assert moved.received
    assert len(astro.received) == 2


def test_the_test_says_what_was_found(astro: FakeAstro) -> None:
    good, message = AstronomerHook().test_connection()
    assert good
    assert message.startswith(
        "The Deployment 'etl prod' is healthy in Astro (Airflow 3.3.2). Airflow 3.3.2 at http://127"
    )


def test_the_test_says_what_to_fix_and_wakes_nothing(
    astro: FakeAstro, remote: FakeDeployment, add_connection: Callable[..., str]
) -> None:
    add_connection("astronomer_default", password=TOKEN, extra=json.dumps({**EXTRA, "wake": True}))
    astro.hibernate()
    remote.stop()
    good, message = AstronomerHook().test_connection()
    assert not good
    assert message.startswith("The Deployment 'etl prod' is hibernating until 2026-11-28T06:00:00Z")
    add_connection("astronomer_default", password="another", extra=json.dumps(EXTRA))
    good, message = AstronomerHook().test_connection()
    assert not good
    assert message.startswith("The Astro API did not accept the token: it has expired")
    assert astro.woken == 0


@pytest.mark.parametrize("doctor", [False, True])
def test_neither_test_nor_doctor_wakes_it_after_they_read_the_connection_again(
    astro: FakeAstro, remote: FakeDeployment, add_connection: Callable[..., str], doctor: bool
) -> None:
    add_connection("astronomer_default", password=TOKEN, extra=json.dumps({**EXTRA, "wake": True}))
    astro.hibernate()
    remote.disturb(401, path="/dags")
    remote.disturb(503, times=100, path="/dags")
    if doctor:
        with pytest.raises(SystemExit) as end:
            main(["doctor"])
        assert end.value.code
    else:
        assert not AstronomerHook().test_connection()[0]
    assert any(request.path.endswith("/dags") for request in remote.received)
    assert astro.woken == 0


def test_the_page_wakes_nothing(astro: FakeAstro, remote: FakeDeployment) -> None:
    astro.hibernate()
    remote.stop()
    status = Remote(lambda: {"host": None, "password": TOKEN, "extra": {**EXTRA, "wake": True}}).poll()
    assert status.state is State.HIBERNATING
    assert "is hibernating" in (status.problem or "")
    assert astro.woken == 0


def test_a_deployment_that_is_not_found_raises_the_exception_for_airflow(
    astro: FakeAstro, remote: FakeDeployment
) -> None:
    astro.deployment["name"] = "another"
    with pytest.raises(NotFound, match="The Deployment 'etl prod' does not exist"):
        AstronomerHook().get_version()
    astro.deployment.update(name=NAME, webServerAirflowApiUrl="https://evil.example.com")
    with pytest.raises(InvalidSettings, match="the token is not sent there"):
        asyncio.run(AstronomerHook().async_get_version())
    assert not remote.received


def test_the_command_finds_it(
    astro: FakeAstro, remote: FakeDeployment, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "astronomer", "password": TOKEN, "extra": EXTRA}
    monkeypatch.setenv("AIRFLOW_CONN_OF_ASTRO", json.dumps(connection))
    main(["pools", "list", "--conn-id", "of_astro", "-o", "json"])
    assert json.loads(capsys.readouterr().out)[0]["name"] == "default_pool"
