"""The page "Remote deployments", served by real API servers: what it shows of remotes in each state, and to whom."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, FloatRect, Frame, Page, ViewportSize, expect

from astronomer_remote.api.logins.astro import TEST_API
from astronomer_remote.map.model import Edge, Map
from astronomer_remote.map.page import page as page_of
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.server import Reply
from tests.astro import NAME, ORGANIZATION, TOKEN, FakeAstro, served
from tests.browser.page import PATH, Server, opened, row, started, status

VERSIONS = ("3.3.2", "3.1.8")
"""The newest, and the first line whose plugins may add a page."""

TALL = ViewportSize(width=1360, height=1480)
PICTURE = FloatRect(x=0, y=0, width=1360, height=1050)
"""What the documentation shows of it; a larger picture would have too many bytes."""

HOSTILE = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
WAITING = {"astronomer_conn_id": "warehouse", "external_dag_id": "load_orders"}


COUNT_SHIFTS = """
{
window.shift = 0;
window.shifted = [];
const place = ({ x, y, width, height }) => [x, y, width, height].map(Math.round).join(" ");
const name = (node) => (node ? `${node.nodeName} ${(node.textContent || "").trim().slice(0, 30)}` : "gone");
const moved = ({ node, previousRect, currentRect }) => `${name(node)}: ${place(previousRect)} -> ${place(currentRect)}`;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    window.shift += entry.value;
    window.shifted.push(`${entry.value} after ${entry.startTime} ms: ${entry.sources.map(moved).join("; ")}`);
  }
}).observe({ type: "layout-shift", buffered: true });
}
"""


@pytest.fixture(scope="module")
def astro() -> FakeAstro:
    return FakeAstro()


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest, astro: FakeAstro) -> Iterator[Server]:
    with served(astro) as url, started(request.param, env={TEST_API: url}) as airflow:
        yield Server(airflow)


def with_map(context: BrowserContext, answer: dict[str, Any]) -> None:
    """Let the API server answer otherwise about the map."""
    context.route(f"**{PATH}api/map", lambda route: route.fulfill(**answer))


def test_without_a_connection_it_says_what_to_do(chromium: Browser, server: Server) -> None:
    empty = {"body": page_of(Map(dags=4)), "content_type": "text/html"}
    with opened(chromium, server, before=lambda context: with_map(context, empty)) as (page, frame):
        expect(frame.get_by_role("heading", name="No connection to a remote deployment")).to_be_visible()
        frame.get_by_role("link", name="Connections").click()
        expect(page).to_have_url(f"{server.airflow.url}/connections")


def test_a_viewer_sees_nothing(chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment]) -> None:
    fake = remotes("warehouse")
    for path in ("connections/warehouse", "operators", "map"):
        assert server.call("GET", f"{PATH}api/{path}", role="viewer") == 403
    with opened(chromium, server, "viewer") as (_, frame):
        expect(frame.get_by_role("alert")).to_contain_text("You do not have permission to read connections")
        expect(frame.locator("main")).not_to_contain_text("warehouse")
        expect(frame.locator("table")).to_have_count(3)
        for table in frame.locator("table").all():
            expect(table).to_be_hidden()
        expect(frame.locator("#map")).to_be_hidden()
        assert frame.locator("#map").get_attribute("src") is None
    assert fake.requests == []


def test_each_state_has_a_label_and_says_what_to_do(
    chromium: Browser,
    server: Server,
    astro: FakeAstro,
    remotes: Callable[..., FakeDeployment],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remotes("warehouse")
    old = remotes("old_one", "2.11.2")
    remotes("oldest", "1.10.15")
    remotes("refused", password="wrong")
    remotes("stopped").stop()
    remotes("busy").disturb(503, times=99)
    remotes("denied").disturb(403, times=99, path="/dags")
    sick = remotes("sick")
    monkeypatch.setattr(sick._api, "components", lambda: {"scheduler": "unhealthy", "triggerer": None})
    remotes("wrong", extra='{"auth": "unknown"}')
    asleep = FakeDeployment("3.3.2", api_token=TOKEN)
    astro.hibernate()
    with asleep:
        asleep.disturb(503, times=99)
        astro.deployment["webServerAirflowApiUrl"] = f"{asleep.url}/api/v2"
        extra = {"auth": "astro_token", "astro_organization_id": ORGANIZATION, "astro_deployment": NAME, "wake": True}
        server.add("asleep", conn_type="astronomer", password=TOKEN, extra=json.dumps(extra))
        try:
            with opened(chromium, server) as (_, frame):
                for conn_id, label, explained in (
                    ("warehouse", "Reachable", ""),
                    ("old_one", "Reachable", ""),
                    ("oldest", "Reachable", ""),
                    ("refused", "Login refused", "login"),
                    ("stopped", "Unreachable", "No reply from (host)"),
                    ("busy", "Unavailable", "503"),
                    ("denied", "No permission", "Could not list DAGs"),
                    ("sick", "Unhealthy", ""),
                    ("wrong", "Misconfigured", "unknown"),
                    ("asleep", "Hibernating", "is hibernating until 2026-11-28"),
                    ("analytics", "No such connection", "A DAG names it"),
                ):
                    expect(status(frame, conn_id).locator(".badge")).to_have_text(label)
                    expect(status(frame, conn_id)).to_contain_text(explained)
                expect(row(frame, "old_one")).to_contain_text("Airflow 2.11.2")
                expect(row(frame, "oldest")).to_contain_text("Airflow 1.10")
                expect(row(frame, "sick").locator("td").nth(4)).to_have_text("unhealthy")
                expect(row(frame, "warehouse").locator("td").nth(4)).to_have_text("healthy")
        finally:
            server.remove("asleep")
    assert astro.woken == 0
    assert {method for method, _ in old.requests} == {"GET"}


def test_two_hundred_waiting_tasks_are_counted_and_listed(
    chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment]
) -> None:
    remotes("warehouse")
    run_id = server.run("backfill", paused=True)
    for number in range(200):
        server.write("backfill", run_id, "wait", number, "deferred", {**WAITING, "external_run_id": f"day_{number}"})
    try:
        with opened(chromium, server) as (_, frame):
            expect(frame.get_by_role("heading", name="Waiting tasks (200)")).to_be_visible()
            expect(frame.locator("#waiting tbody tr")).to_have_count(200)
            # Airflow 3.1 does not list the connection of a task.
            knows = server.airflow.version != "3.1.8"
            expect(row(frame, "warehouse").locator("td").nth(5)).to_have_text(re.compile("200" if knows else r"^\W$"))
            oldest = frame.locator("#waiting tbody tr").first
            expect(oldest).to_contain_text("backfill.wait[199]")
            expect(oldest).to_contain_text("3 h ago")
            # A long list has its own scroll bar; the page around it stays usable.
            size = frame.locator("#waiting").evaluate("table => table.parentElement.getBoundingClientRect().height")
            assert size <= 422
    finally:
        server.call("DELETE", f"/api/v2/dags/backfill/dagRuns/{quote(run_id)}")


def test_real_runs_are_shown_with_links_both_ways(
    chromium: Browser,
    server: Server,
    remotes: Callable[..., FakeDeployment],
    request: pytest.FixtureRequest,
) -> None:
    warehouse, analytics = remotes("warehouse"), remotes("analytics", "2.11.2")
    warehouse.add_dag("load_orders", stays="running")
    warehouse.add_dag("load_rates")
    warehouse.add_pool("loading", slots=1)
    analytics.add_dag("publish_reports")
    analytics.add_dag("archive_reports", ends="failed")
    server.run("sales")
    server.run("reports")
    knows = server.airflow.version != "3.1.8"
    with opened(chromium, server, size=TALL) as (page, frame):
        expect(frame.get_by_role("heading", name="Waiting tasks (2)")).to_be_visible(timeout=180_000)
        runs = frame.locator("#runs tbody tr")
        expect(runs.filter(has_text="reports.archive")).to_contain_text("failed", timeout=120_000)
        expect(runs.filter(has_text="reports.publish")).to_contain_text("success", timeout=60_000)
        expect(runs.filter(has_text="sales.load_rates")).to_contain_text("success", timeout=60_000)
        waits = runs.filter(has_text="sales.load_orders")
        (made,) = warehouse.runs("load_orders")
        expect(waits).to_contain_text("waiting")
        link = waits.get_by_role("link").first
        expect(link).to_have_text(made["run_id"])
        expect(link).to_have_attribute("href", f"{warehouse.url}/dags/load_orders/runs/{quote(made['run_id'])}")
        if knows:
            expect(waits).to_contain_text("load_orders")
            expect(row(frame, "warehouse").locator("td").nth(5)).to_contain_text("2")
            # By keyboard: a connection shows only what is its own.
            frame.get_by_role("button", name="analytics", exact=True).press("Enter")
            expect(frame.get_by_role("heading", name="Waiting tasks for analytics (0)")).to_be_visible()
            expect(runs).to_have_count(2)
            expect(frame.get_by_role("button", name="analytics", exact=True)).to_be_focused()
            page.keyboard.press("Enter")
            expect(frame.get_by_role("heading", name="Waiting tasks (2)")).to_be_visible()
        mapped = frame.frame_locator("#map")
        expect(mapped.locator("#summary")).to_contain_text("of 4 DAGs on 2 connections")
        take_pictures(page, frame, request, server.airflow.version)
        waits.get_by_role("link", name="sales.load_orders", exact=True).click()
        expect(page).to_have_url(re.compile(r"/dags/sales/runs/.+/tasks/load_orders"))


def take_pictures(page: Page, frame: Frame, request: pytest.FixtureRequest, version: str) -> None:
    """Keep the page in both themes for the documentation, and see that it follows Airflow's theme."""
    pictures: Path | None = request.config.getoption("--pictures")
    page.mouse.move(0, 0)
    frame.evaluate("document.activeElement.blur()")
    for theme, dark in (("light", False), ("dark", True)):
        page.evaluate("theme => { document.documentElement.className = theme; }", theme)
        expect(frame.locator("html")).to_have_class("dark" if dark else "")
        expect(frame.frame_locator("#map").locator("html")).to_have_attribute("data-theme", theme)
        if pictures and version == VERSIONS[0]:
            page.screenshot(path=pictures / f"ui-page-{theme}.png", animations="disabled", clip=PICTURE)


def test_a_remote_that_stops_turns_red_within_a_minute(
    chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment]
) -> None:
    fake = remotes("warehouse")
    with opened(chromium, server) as (_, frame):
        expect(status(frame, "warehouse").locator(".badge.good")).to_have_text("Reachable")
        fake.stop()
        stopped = time.monotonic()
        expect(status(frame, "warehouse").locator(".badge.bad")).to_have_text("Unreachable")
        took = time.monotonic() - stopped
    assert took < 60
    print(f"{server.airflow.version}: shown as unreachable {took:.0f} s after it stopped")


def test_thirty_viewers_cost_a_remote_two_requests_a_minute(
    chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment]
) -> None:
    fake = remotes("warehouse")
    path = f"{PATH}api/connections/warehouse"
    with opened(chromium, server) as (_, frame):
        expect(status(frame, "warehouse").locator(".badge.good")).to_be_visible()
        # The first poll finds out the version and logs in.
        before, ends, reads = len(fake.requests), time.monotonic() + 60, 0
        while time.monotonic() < ends:
            # What 29 more open pages request in ten seconds, one after the other: SQLite lets few in at once.
            for _ in range(29):
                assert server.call("GET", path)["state"] == "healthy"
                reads += 1
            time.sleep(max(0.0, min(10.0, ends - time.monotonic())))
    sent = fake.requests[before:]
    print(f"{server.airflow.version}: {reads} reads in a minute, the remote got {sent}")
    assert reads > 29 * 4
    assert len(sent) <= 2


def test_nothing_that_a_remote_sends_runs_or_breaks_the_page(
    chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = remotes("analytics")
    monkeypatch.setattr(fake._api, "components", lambda: {"scheduler": HOSTILE, HOSTILE: HOSTILE})
    remotes("loud", answer=Reply(500, {"detail": HOSTILE, "title": HOSTILE}))
    remotes(
        "liar", answer=Reply(200, {"version": HOSTILE, "dags": [], "total_entries": 0, HOSTILE: {"status": HOSTILE}})
    )
    run_id = server.run("uploads", paused=True)
    fields = {"astronomer_conn_id": "analytics", "trigger_dag_id": HOSTILE, "note": HOSTILE}
    urls = {"stage": "javascript:document.title='ran'", "clean": f"{fake.url}/dags/x/runs/{quote(HOSTILE, safe='')}"}
    for task_id, url in urls.items():
        server.write("uploads", run_id, task_id, -1, "success", fields)
        server.push("uploads", run_id, task_id, remote_run_url=url, remote_run_state=HOSTILE)
    server.write("uploads", run_id, "publish", -1, "deferred", {**fields, "astronomer_conn_id": HOSTILE})
    knows = server.airflow.version != "3.1.8"
    edge = Edge("local", HOSTILE, HOSTILE, HOSTILE, HOSTILE, "triggers", HOSTILE, "dag", HOSTILE)
    drawn = {"body": page_of(Map(dags=1, edges=[edge])), "content_type": "text/html"}
    try:
        with opened(chromium, server, before=lambda context: with_map(context, drawn)) as (page, frame):
            expect(row(frame, "analytics").locator("td").nth(4)).to_contain_text("<img src=x")
            expect(status(frame, "loud").locator(".badge.bad")).to_be_visible()
            # What a deployment sends does not move the rest of the page either.
            heights = {row(frame, each).evaluate("row => row.offsetHeight") for each in ("analytics", "loud", "liar")}
            assert len(heights) == 1
            expect(status(frame, "liar").locator(".badge")).not_to_have_text("Checking…")
            runs = frame.locator("#runs tbody tr")
            expect(runs.filter(has_text="uploads.clean").get_by_role("link").first).to_contain_text("<img src=x")
            first = runs.filter(has_text="uploads.stage")
            expect(first).to_contain_text("<img src=x")
            # An address that is no web page is text.
            expect(first.get_by_role("link")).to_have_count(1)
            expect(first.get_by_role("link")).to_have_text("uploads.stage")
            expect(frame.locator("#waiting")).to_contain_text("<img src=x" if knows else "uploads.publish")
            # Neither does what a DAG file names.
            expect(status(frame, HOSTILE).locator(".badge")).to_have_text("No such connection")
            frame.get_by_role("button", name=HOSTILE, exact=True).click()
            expect(frame.get_by_role("heading", name=f"Remote runs for {HOSTILE}", exact=True)).to_be_visible()
            expect(frame.frame_locator("#map").locator(".row", has_text="<img src=x").first).to_be_visible()
            for each in page.frames:
                assert each.locator("img[src='x']").count() == 0
                assert each.title() != "ran"
                assert each.locator("script", has_text="document.title='ran'").count() == 0
    finally:
        server.call("DELETE", f"/api/v2/dags/uploads/dagRuns/{quote(run_id)}")


def test_a_map_that_cannot_be_read_leaves_the_rest_of_the_page(
    chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment]
) -> None:
    remotes("warehouse")
    failure = {"status": 503, "json": {"detail": "no"}}
    with opened(chromium, server, before=lambda context: with_map(context, failure)) as (_, frame):
        expect(frame.get_by_text("Airflow's stored DAGs could not be read")).to_be_visible()
        expect(frame.locator("#map")).to_be_hidden()
        expect(status(frame, "warehouse").locator(".badge.good")).to_be_visible()


def test_the_page_does_not_jump_while_it_loads(
    chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment]
) -> None:
    remotes("warehouse")
    remotes("analytics").stop()
    with opened(chromium, server, before=lambda context: context.add_init_script(COUNT_SHIFTS)) as (_, frame):
        expect(status(frame, "analytics").locator(".badge.bad")).to_be_visible()
        expect(frame.frame_locator("#map").locator(".card").first).to_be_visible()
        shift, shifted = frame.evaluate("[window.shift, window.shifted]")
    print(f"{server.airflow.version}: layout shift {shift:.3f}", *shifted, sep="\n")
    # Up to 0.1 counts as good: https://web.dev/articles/cls
    assert shift < 0.1, "\n".join(shifted)
