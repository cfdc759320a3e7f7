"""The hook and the command with a connection that names a Deployment of Astro, which has no host."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from astronomer_remote.api.client.outages import Outage
from astronomer_remote.api.client.places import Place
from astronomer_remote.api.logins.astro import TEST_API
from astronomer_remote.cli.main import main
from astronomer_remote.cli.remote import FIRST_ATTEMPTS
from astronomer_remote.exceptions import InvalidSettings, NotFound
from astronomer_remote.hooks.astronomer import AstronomerHook
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.ui.status import Remote, State
from tests.astro import NAME, ORGANIZATION, TOKEN, FakeAstro, error, served

EXTRA = {"auth": "astro_token", "astro_organization_id": ORGANIZATION, "astro_deployment": NAME}

WAITS = """
from airflow.providers.common.compat.sdk import DAG
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor

with DAG("waits"):
    RemoteDagRunSensor(task_id="wait", external_dag_id="d", astronomer_conn_id="of_astro")
"""

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


@pytest.fixture
def of_astro(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAstro]:
    """The Astro API, for the command, whose connection is in the environment."""
    monkeypatch.setattr(Place, "_all", {})
    connection = {"conn_type": "astronomer", "password": TOKEN, "extra": EXTRA}
    monkeypatch.setenv("AIRFLOW_CONN_OF_ASTRO", json.dumps(connection))
    api = FakeAstro()
    with served(api) as url:
        monkeypatch.setenv(TEST_API, url)
        yield api


@contextmanager
def hanging(api: FakeAstro) -> Iterator[list[str]]:
    """Within it, the Astro API does not answer. :return: the URLs that were called."""
    over, called, answer = threading.Event(), [], api.answer

    def hang(method: str, url: str, *_: Any) -> Any:
        called.append(url)
        over.wait(60)
        return error(503, "later")

    api.answer = hang  # type: ignore[method-assign]
    try:
        yield called
    finally:
        over.set()
        api.answer = answer  # type: ignore[method-assign]


def test_the_limit_of_the_test_includes_finding_the_deployment(
    of_astro: FakeAstro, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astronomer_remote.hooks.astronomer.SECONDS_TO_TEST", 1.0)
    with hanging(of_astro) as called:
        good, message = AstronomerHook("of_astro").test_connection()
    assert (good, len(called)) == (False, 1)
    # Not the connection's read_timeout.
    assert "the reply did not end within" in message


@pytest.mark.parametrize(
    "command",
    [["wait", "d", "r", "--timeout", "1"], ["trigger", "d", "--wait", "--timeout", "1"], ["map", "dags", "--check"]],
    ids=["wait", "trigger", "map"],
)
def test_the_limit_of_a_command_includes_finding_the_deployment(
    of_astro: FakeAstro,
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("astronomer_remote.cli.map.SECONDS_PER_DEPLOYMENT", 1.0)
    monkeypatch.chdir(tmp_path)
    Path("dags").mkdir()
    Path("dags/waits.py").write_text(WAITS)
    arguments = command if command[0] == "map" else [*command, "--conn-id", "of_astro"]
    with hanging(of_astro) as received, pytest.raises(SystemExit) as end:
        main(arguments)
    said = capsys.readouterr().err
    assert end.value.code == 5, said
    assert "No reply from" in said
    # Another attempt would need time that is over.
    assert len(received) == 1


def test_an_astro_api_that_is_about_to_answer_is_waited_for(
    of_astro: FakeAstro, remote: FakeDeployment, capsys: pytest.CaptureFixture[str]
) -> None:
    answer, failures = of_astro.answer, iter([error(503, "later")] * FIRST_ATTEMPTS)
    of_astro.deployment.update(webServerAirflowApiUrl=f"{remote.url}/api/v2")
    of_astro.answer = lambda *given: next(failures, None) or answer(*given)  # type: ignore[method-assign]
    main(["pools", "list", "--conn-id", "of_astro", "-o", "json"])
    assert json.loads(capsys.readouterr().out)[0]["name"] == "default_pool"
