"""The same page in a larger deployment: roles of FAB, PostgreSQL, several processes, URLs below a path."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, expect

from astronomer_remote.testing import FakeDeployment
from tests.browser.conftest import WINDOW
from tests.browser.page import PATH, Server, opened, signed_in, started, status
from tests.browser.test_ui_page import VERSIONS
from tests.browser.ui import window

WORKERS = 3
BELOW = "/team/airflow"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    env = {"AIRFLOW__API__WORKERS": str(WORKERS)}
    with started(VERSIONS[0], auth_manager="fab", database="postgresql", path=BELOW, env=env) as airflow:
        yield Server(airflow)


def test_it_is_in_the_menu_and_its_links_keep_the_path(
    chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment]
) -> None:
    remotes("warehouse")
    with opened(chromium, server, "op") as (page, frame):
        expect(status(frame, "warehouse").locator(".badge.good")).to_have_text("Reachable")
        expect(frame.frame_locator("#map").locator(".card").first).to_be_visible()
        page.goto(f"{server.airflow.url}/")
        page.get_by_role("button", name="Browse").click()
        page.get_by_role("menuitem", name="Remote deployments").click()
        again = page.frame_locator('iframe[title="Remote deployments"]')
        expect(again.locator("#connections")).to_contain_text("Airflow 3.3.2")
        # Airflow 3.3 adds the path of what it shows to the address, so that it can be kept.
        expect(page).to_have_url(f"{server.airflow.url}/plugin/remote-deployments{BELOW}{PATH}")
        page.reload()
        expect(again.locator("#connections")).to_contain_text("Airflow 3.3.2")
        icons = [each["icon"] for each in server.call("GET", "/api/v2/plugins")["plugins"][0]["external_views"]]
        assert all(each.startswith(f"{BELOW}{PATH}") for each in icons), icons


def test_a_role_without_the_right_to_read_connections_sees_nothing(
    chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment]
) -> None:
    fake = remotes("warehouse")
    for role in ("viewer", "user"):
        for path in ("connections/warehouse", "operators", "map"):
            assert server.call("GET", f"{PATH}api/{path}", role=role) == 403
    # FAB shows plugins to administrators and to users with the right to read them: others have no menu entry.
    with window(chromium, WINDOW) as context:
        page = signed_in(context, server, "viewer").new_page()
        page.goto(f"{server.airflow.url}/")
        expect(page.get_by_role("button", name="Browse")).to_be_visible()
        page.get_by_role("button", name="Browse").click()
        expect(page.get_by_role("menuitem").first).to_be_visible()
        expect(page.get_by_role("menuitem", name="Remote deployments")).to_have_count(0)
        page.goto(f"{server.airflow.url}{PATH}")
        expect(page.get_by_role("alert")).to_contain_text("You do not have permission to read connections")
        expect(page.locator("main")).not_to_contain_text("warehouse")
    assert fake.requests == []


def test_all_processes_together_send_two_requests_a_minute(
    server: Server, remotes: Callable[..., FakeDeployment]
) -> None:
    # Not that of another test, whose status is still known.
    fake = remotes("depot")
    path = f"{PATH}api/connections/depot"

    def read(_: int) -> str:
        state: str = server.call("GET", path)["state"]
        return state

    # Each request has a connection of its own, which the system gives to any of the processes.
    with ThreadPoolExecutor(WORKERS * 2) as viewers:
        while set(viewers.map(read, range(WORKERS * 10))) != {"healthy"}:
            time.sleep(0.2)
        before, ends = len(fake.requests), time.monotonic() + 60
        while time.monotonic() < ends:
            assert set(viewers.map(read, range(30))) == {"healthy"}
            time.sleep(5)
    sent = fake.requests[before:]
    print(f"{WORKERS} processes, the remote got {before} requests at first, then {sent} in a minute")
    assert before <= 5
    assert len(sent) <= 2
