"""The page "Remote deployments", served by real API servers: what it shows of remotes in each state, and to whom."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, BrowserContext, FloatRect, Frame, Locator, Page, ViewportSize, expect

from astronomer_remote.api.logins.astro import TEST_API
from astronomer_remote.map.model import Map
from astronomer_remote.map.page import page as page_of
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.server import Reply
from dev.deployments import Airflow
from tests.astro import NAME, ORGANIZATION, TOKEN, FakeAstro, served
from tests.browser.conftest import HERE, WINDOW
from tests.browser.ui import window
from tests.waiting import wait_until

VERSIONS = ("3.3.2", "3.1.8")
"""The newest, and the first line whose plugins may add a page."""

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
PATH = "/astronomer-remote/"
TALL = ViewportSize(width=1360, height=1480)
PICTURE = FloatRect(x=0, y=0, width=1360, height=1050)
"""What the documentation shows of it; a larger picture would have too many bytes."""

HOSTILE = "<img src=x onerror=\"document.title='ran'\"><script>document.title='ran'</script>"
WAITING = {"astronomer_conn_id": "warehouse", "external_dag_id": "load_orders"}


COUNT_SHIFTS = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""


class Server:
    """A deployment with the page, as users of it call its API."""

    def __init__(self, airflow: Airflow, astro: FakeAstro) -> None:
        self.airflow = airflow
        self.astro = astro
        self._tokens: dict[str, str] = {}

    def token(self, role: str) -> str:
        if role not in self._tokens:
            login, password = self.airflow.users[role]
            self._tokens[role] = self._send("POST", "/auth/token", {"username": login, "password": password}, {})[
                "access_token"
            ]
        return self._tokens[role]

    def call(self, method: str, path: str, body: Any = None, role: str = "admin") -> Any:
        """Call the API server. :return: its JSON, or the status of an error."""
        return self._send(method, path, body, {"Authorization": f"Bearer {self.token(role)}"})

    def _send(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Any:
        data = None if body is None else json.dumps(body).encode()
        sent = urllib.request.Request(
            f"{self.airflow.url}{path}", data, {"Content-Type": "application/json", **headers}, method=method
        )
        try:
            with urllib.request.urlopen(sent) as reply:
                return json.loads(reply.read() or b"null")
        except urllib.error.HTTPError as error:
            return error.code

    def add(self, conn_id: str, **fields: Any) -> None:
        self.remove(conn_id)
        made = self.call("POST", "/api/v2/connections", {"connection_id": conn_id, **fields})
        assert made["connection_id"] == conn_id

    def remove(self, conn_id: str) -> None:
        self.call("DELETE", f"/api/v2/connections/{conn_id}")

    def run(self, dag_id: str, *, paused: bool = False) -> str:
        """Make a run of a DAG. :return: its id."""
        wait_until(lambda: isinstance(self.call("GET", f"/api/v2/dags/{dag_id}"), dict), lambda: f"no DAG {dag_id}")
        self.call("PATCH", f"/api/v2/dags/{dag_id}", {"is_paused": paused})
        made = self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": {}})
        return str(made["dag_run_id"])

    def write(self, dag_id: str, run_id: str, task_id: str, map_index: int, state: str, fields: dict[str, Any]) -> None:
        """Write what a task of a paused DAG has come to."""
        where = (dag_id, run_id, task_id, map_index)
        self.airflow.database.execute(
            "UPDATE task_instance SET state = ?, try_number = 1, operator = ?, start_date = datetime('now', ?)"
            " WHERE dag_id = ? AND run_id = ? AND task_id = ? AND map_index = ?",
            state,
            "RemoteDagRunSensor" if dag_id == "many" else "RemoteTriggerDagRunOperator",
            f"-{map_index + 5} minutes",
            *where,
        )
        self.airflow.database.execute(
            "INSERT INTO rendered_task_instance_fields (dag_id, run_id, task_id, map_index, rendered_fields)"
            " VALUES (?, ?, ?, ?, ?)",
            *where,
            json.dumps(fields),
        )

    def push(self, dag_id: str, run_id: str, task_id: str, **values: str) -> None:
        """Write XComs of a task."""
        for key, value in values.items():
            path = f"/api/v2/dags/{dag_id}/dagRuns/{quote(run_id)}/taskInstances/{task_id}/xcomEntries"
            assert isinstance(self.call("POST", path, {"key": key, "value": value}), dict)


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    astro = FakeAstro()
    with ExitStack() as running:
        env = {TEST_API: running.enter_context(served(astro))}
        airflow = Airflow(
            request.param, name="page", project=True, dags=HERE / "page_dags", components=COMPONENTS, env=env
        )
        yield Server(running.enter_context(airflow), astro)


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


@contextmanager
def opened(
    chromium: Browser,
    server: Server,
    role: str = "admin",
    size: ViewportSize = WINDOW,
    before: Callable[[BrowserContext], None] = lambda context: None,
) -> Iterator[tuple[Page, Frame]]:
    """The page in Airflow's UI, for a user who is logged in."""
    with window(chromium, size) as context:
        context.add_cookies([{"name": "_token", "value": server.token(role), "url": server.airflow.url}])
        before(context)
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{server.airflow.url}/plugin/remote-deployments")
        element = page.locator('iframe[title="Remote deployments"]').element_handle()
        frame = element.content_frame()
        assert frame
        yield page, frame
        assert errors == []


def row(frame: Frame, conn_id: str) -> Locator:
    """The row of a connection."""
    return frame.locator("#connections tbody tr").filter(has=frame.get_by_role("button", name=conn_id, exact=True))


def status(frame: Frame, conn_id: str) -> Locator:
    return row(frame, conn_id).locator("td").nth(2)


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
    chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment], monkeypatch: pytest.MonkeyPatch
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
    server.astro.hibernate()
    with asleep:
        asleep.disturb(503, times=99)
        server.astro.deployment["webServerAirflowApiUrl"] = f"{asleep.url}/api/v2"
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
    assert server.astro.woken == 0
    assert {method for method, _ in old.requests} == {"GET"}


def test_two_hundred_waiting_tasks_are_counted_and_listed(
    chromium: Browser, server: Server, remotes: Callable[..., FakeDeployment]
) -> None:
    remotes("warehouse")
    run_id = server.run("many", paused=True)
    for number in range(200):
        server.write("many", run_id, "wait", number, "deferred", {**WAITING, "external_run_id": f"day_{number}"})
    try:
        with opened(chromium, server) as (_, frame):
            expect(frame.get_by_role("heading", name="Waiting tasks (200)")).to_be_visible()
            expect(frame.locator("#waiting tbody tr")).to_have_count(200)
            # Airflow 3.1 does not list the connection of a task.
            knows = server.airflow.version != "3.1.8"
            expect(row(frame, "warehouse").locator("td").nth(5)).to_have_text(re.compile("200" if knows else r"^\W$"))
            oldest = frame.locator("#waiting tbody tr").first
            expect(oldest).to_contain_text("many.wait[199]")
            expect(oldest).to_contain_text("3 h ago")
            # A long list has its own scroll bar; the page around it stays usable.
            size = frame.locator("#waiting").evaluate("table => table.parentElement.getBoundingClientRect().height")
            assert size <= 422
    finally:
        server.call("DELETE", f"/api/v2/dags/many/dagRuns/{quote(run_id)}")


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
    run_id = server.run("hostile", paused=True)
    fields = {"astronomer_conn_id": "analytics", "trigger_dag_id": HOSTILE, "note": HOSTILE}
    urls = {"first": "javascript:document.title='ran'", "second": f"{fake.url}/dags/x/runs/{quote(HOSTILE, safe='')}"}
    for task_id, url in urls.items():
        server.write("hostile", run_id, task_id, -1, "success", fields)
        server.push("hostile", run_id, task_id, remote_run_url=url, remote_run_state=HOSTILE)
    server.write("hostile", run_id, "third", -1, "deferred", fields)
    knows = server.airflow.version != "3.1.8"
    try:
        with opened(chromium, server) as (page, frame):
            expect(row(frame, "analytics").locator("td").nth(4)).to_contain_text("<img src=x")
            expect(status(frame, "loud").locator(".badge.bad")).to_be_visible()
            expect(status(frame, "liar").locator(".badge")).not_to_have_text("Checking…")
            runs = frame.locator("#runs tbody tr")
            expect(runs.filter(has_text="hostile.second").get_by_role("link").first).to_contain_text("<img src=x")
            first = runs.filter(has_text="hostile.first")
            expect(first).to_contain_text("<img src=x")
            # An address that is no web page is text.
            expect(first.get_by_role("link")).to_have_count(1)
            expect(first.get_by_role("link")).to_have_text("hostile.first")
            expect(frame.locator("#waiting")).to_contain_text("<img src=x" if knows else "hostile.third")
            expect(frame.frame_locator("#map").locator(".row", has_text="<b>orders</b>")).to_be_visible()
            for each in page.frames:
                assert each.locator("img[src='x']").count() == 0
                assert each.title() != "ran"
                assert each.locator("script", has_text="document.title='ran'").count() == 0
    finally:
        server.call("DELETE", f"/api/v2/dags/hostile/dagRuns/{quote(run_id)}")


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
        shift = frame.evaluate("window.shift")
    print(f"{server.airflow.version}: layout shift {shift:.3f}")
    # Up to 0.1 counts as good: https://web.dev/articles/cls
    assert shift < 0.1
