"""What the tests of links rely on fails where a link, or the page of a run, is missing: shown with pages of our own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.airflow_2 import Airflow2
from tests.browser.airflow_3 import Airflow3
from tests.browser.ui import LINK, SECONDS_PER_STEP, Ui

URL = "http://airflow.invalid"
RUN_ID = "50% of a+b"
LINKS = {
    Airflow2: f'<a href="#" target="_blank">{LINK}</a>',
    Airflow3: f'<a href="#">Details</a><a href="#">{LINK}</a>',
}
RUNS = {
    Airflow2: f'<div role="row" aria-label="Run ID">{RUN_ID}</div>',
    Airflow3: f"<h1>{RUN_ID}</h1>",
}
PATHS = {Airflow2: "/dags/held/grid?dag_run_id=x", Airflow3: "/dags/held/runs/x"}


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A page that gives up at once."""
    with chromium.new_context() as context:
        context.set_default_timeout(1000)
        expect.set_options(timeout=1000)
        yield context.new_page()
        expect.set_options(timeout=SECONDS_PER_STEP * 1000)


def ui_of(kind: Any, page: Page, html: str) -> Ui:
    """The UI of a deployment whose every page has this content."""

    def answer(route: Route) -> None:
        route.fulfill(body=f"<html><body>{html}</body></html>", content_type="text/html")

    page.route(re.compile(re.escape(URL)), answer)
    deployment: Any = SimpleNamespace(url=URL, version="3.3.2", users={"admin": ("robot", "s3cr3t")})
    opened: Ui = kind(page, deployment, None)
    return opened


@pytest.mark.parametrize("kind", [Airflow2, Airflow3])
def test_a_page_of_the_run_is_recognized(page: Page, kind: Any) -> None:
    ui = ui_of(kind, page, RUNS[kind])
    page.goto(URL + PATHS[kind])
    ui.shows_run(page, "held", RUN_ID)


@pytest.mark.parametrize("html", ["", "<h1>another run</h1>", '<div role="row" aria-label="Run ID">another run</div>'])
@pytest.mark.parametrize("kind", [Airflow2, Airflow3])
def test_a_page_without_the_run_is_an_error(page: Page, kind: Any, html: str) -> None:
    ui = ui_of(kind, page, html)
    page.goto(URL + PATHS[kind])
    with pytest.raises(AssertionError):
        ui.shows_run(page, "held", RUN_ID)


@pytest.mark.parametrize("kind", [Airflow2, Airflow3])
def test_a_page_of_another_dag_is_an_error(page: Page, kind: Any) -> None:
    ui = ui_of(kind, page, RUNS[kind])
    page.goto(URL + PATHS[kind].replace("held", "other"))
    with pytest.raises(AssertionError):
        ui.shows_run(page, "held", RUN_ID)


@pytest.mark.parametrize("kind", [Airflow2, Airflow3])
def test_a_task_without_the_link_is_an_error(page: Page, kind: Any) -> None:
    ui = ui_of(kind, page, LINKS[kind])
    ui.open_task("triggers", "by_hand", "deferred")
    ui = ui_of(kind, page, LINKS[kind].replace(LINK, "Another link"))
    with pytest.raises(AssertionError):
        ui.open_task("triggers", "by_hand", "deferred")


def test_a_test_button_that_says_nothing_is_an_error(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.browser.airflow_3.SECONDS_TO_TEST", 1)
    row = '<div role="row"><span role="cell">mine</span><button>Test Connection</button></div>'
    silent = ui_of(Airflow3, page, row)
    assert isinstance(silent, Airflow3)
    with pytest.raises(AssertionError):
        silent.press_test_of_saved("mine")
    speaking = ui_of(Airflow3, page, f'{row}<div role="status">Test Connection Successful: found</div>')
    assert isinstance(speaking, Airflow3)
    assert speaking.press_test_of_saved("mine").endswith("found")
