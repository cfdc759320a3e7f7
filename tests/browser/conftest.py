"""Starts a deployment of either line, one after the other, and a browser that is logged in to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Browser, ViewportSize, sync_playwright

from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.server import Reply
from dev import chromium as chromiums
from dev.deployments import Airflow
from tests.browser.airflow_2 import Airflow2
from tests.browser.airflow_3 import Airflow3
from tests.browser.saved import Saved, save
from tests.browser.ui import Ui, window

if TYPE_CHECKING:
    from tests.browser.page import Server

HERE = Path(__file__).parent
VERSIONS = ("3.3.2", "2.11.2")
WINDOW = ViewportSize(width=1280, height=900)
SECONDS_PER_TEST = 600  # the first of a line starts its deployment

USERS = {"admin": ("robot", "s3cr3t-of-the-robot")}
SETTINGS = {
    # By default a run id holds nothing that a URL must quote but "+" and ":".
    "AIRFLOW__SCHEDULER__ALLOWED_RUN_ID_PATTERN": r"^[A-Za-z0-9_.~:+%, -]+$",
    # Airflow 2's one web server process has to answer its own Test button, and connections that a browser holds ready.
    "GUNICORN_CMD_ARGS": "--threads=8",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", type=Path, help="folder to keep the documentation's pictures in")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("browser")
            item.add_marker(pytest.mark.timeout(SECONDS_PER_TEST))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The machine's own Chromium, otherwise the one that Playwright has installed; without any, tests are skipped."""
    found = chromiums.executable()
    if found is None:
        raise chromiums.missing()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


@pytest.fixture(scope="session", params=VERSIONS)
def deployment(request: pytest.FixtureRequest) -> Iterator[Airflow]:
    """A deployment that is its own remote, which saves the time and the memory of another one."""
    with Airflow(request.param, name="browser", project=True, dags=HERE / "dags", users=USERS, env=SETTINGS) as started:
        yield started


@pytest.fixture(scope="session")
def ui(chromium: Browser, deployment: Airflow, request: pytest.FixtureRequest) -> Iterator[Ui]:
    """The deployment's UI, after the login."""
    with window(chromium, WINDOW) as context:
        kind = Airflow3 if deployment.generation == "v2" else Airflow2
        opened = kind(context.new_page(), deployment, request.config.getoption("--pictures"))
        opened.log_in()
        yield opened


@pytest.fixture(scope="session")
def saved(ui: Ui, deployment: Airflow) -> Saved:
    """The connection to the deployment itself, made in its form."""
    return save(ui, deployment.generation)


@pytest.fixture
def remotes(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FakeDeployment]]:
    """Starts fake deployments behind connections, which are removed afterwards; `answer` is all that one replies."""
    added = []
    with ExitStack() as running:

        def start(conn_id: str, version: str = "3.3.2", answer: Reply | None = None, **fields: Any) -> FakeDeployment:
            fake = FakeDeployment(version)
            if answer:
                monkeypatch.setattr(fake, "_answer", lambda request: answer)
            running.enter_context(fake)
            server.add(conn_id, **fake.connection(**fields))
            added.append(conn_id)
            return fake

        yield start
    for conn_id in added:
        server.remove(conn_id)
