"""The demonstration as a person sees it: its connection tested, its run, and the link from there to the remote run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, ViewportSize

from dev.demo import DAG_ID, REMOTE_DAG_ID, Progress, tour
from dev.needs import LOCAL, REMOTE
from dev.pair import CONNECTION_ID, Caller, Pair, furnish, pair, running
from tests.browser.airflow_2 import Airflow2, expect_run
from tests.browser.airflow_3 import Airflow3
from tests.browser.ui import window

# The pictures are for the README: as wide as the headers of both UIs need, and not high.
WINDOW = ViewportSize(width=1280, height=700)


class Seen(NamedTuple):
    """Both deployments after the tour, the ids of its runs, and a person who is logged in to both."""

    both: Pair
    local_run: str
    remote_run: str
    local: Airflow3
    remote: Airflow2


@pytest.fixture(scope="module")
def seen(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Seen]:
    both = pair(LOCAL, REMOTE)
    pictures = request.config.getoption("--pictures")
    with running(list(both), lambda _: None):
        furnish(Caller(both.local), Caller(both.remote), both.remote)
        toured = tour(both, Progress(), lambda: None)
        with window(chromium, WINDOW) as context:
            local = Airflow3(context.new_page(), both.local, pictures)
            remote = Airflow2(context.new_page(), both.remote, pictures)
            local.log_in()
            remote.log_in()
            yield Seen(
                both,
                urlsplit(toured.local_run).path.rpartition("/")[2],
                parse_qs(urlsplit(toured.remote_run).query)["dag_run_id"][0],
                local,
                remote,
            )


def test_the_button_tests_the_connection_of_the_demo_as_it_stands(seen: Seen) -> None:
    assert f"Airflow {REMOTE} at {seen.both.remote.url} answers as admin." in seen.local.press_test_of_saved(
        CONNECTION_ID
    )


def test_the_link_leads_from_the_local_run_to_the_remote_run(seen: Seen) -> None:
    """Logged in to both at the same time."""
    seen.local.open_task(DAG_ID, seen.local_run, "trigger_and_wait")
    # The grid beside it is drawn later.
    seen.local.page.wait_for_load_state("networkidle")
    seen.local.picture("run")
    with seen.local.page.expect_popup() as opened:
        seen.local.link.click()
    expect_run(opened.value, REMOTE_DAG_ID, seen.remote_run)
    seen.remote.page = opened.value
    seen.remote.picture("run")
    # Nobody was logged out on the way.
    seen.local.open_task(DAG_ID, seen.local_run, "trigger_and_wait")
