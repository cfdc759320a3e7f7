"""The page of the map: searched, clicked, panned and used by keyboard in a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from astronomer_remote.map.model import Edge, ImportFailure, Map, Status
from astronomer_remote.map.page import page as page_of

WINDOW = ViewportSize(width=1280, height=720)
HOSTILE = "<img src=x onerror=\"document.title='ran'\"></script><script>document.title='ran'</script>"
TASKS = (
    ("sales", "load_sales", "triggers and waits for", "warehouse", "DAG", "load_sales", None),
    ("sales", "check_rows", "waits for", "warehouse", "task", "quality.rows", "load_sales"),
    ("sales", "free_slots", "waits for slots of", "warehouse", "pool", "loading", None),
    ("sales", "announce", "registers events of", "analytics", "asset", "s3://lake/sales", None),
    ("reports", "publish", "triggers", "analytics", "DAG", "publish_reports", None),
    ("reports", "enlarge_pool", "updates", "analytics", "pool", "reports", None),
    ("reports", "archive", "triggers", "analytics", "DAG", "archive_reports", None),
    ("features", "score", "triggers and waits for", "ml_platform", "DAG", "score_customers", None),
    ("features", "wait_for_sales", "waits for events of", "analytics", "asset", "s3://lake/sales", None),
    ("features", "free_gpu", "waits for slots of", "ml_platform", "pool", "gpu", None),
)


def example() -> Map:
    edges = [
        Edge("team_a", dag, task, "RemoteOperator", f"{dag}.py", how, conn, kind, name, parent, status=Status.OK)
        for dag, task, how, conn, kind, name, parent in TASKS
    ]
    edges[2].slots = 8
    edges[2].break_("Pool 'loading' has 4 slots, and the task waits for 8.")
    edges[6].break_("The remote knows no DAG 'archive_reports', or does not show it to this account.")
    return Map(edges, 3, checked=True)


class Opened:
    """Opens a map in a browser window."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._file = folder / "map.html"
        self.errors: list[str] = []

    def show(self, found: Map, scheme: Literal["light", "dark"] = "light") -> Page:
        self._file.write_text(page_of(found))
        page = self._browser.new_page(viewport=WINDOW, color_scheme=scheme, reduced_motion="reduce")
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(self._file.as_uri())
        return page


@pytest.fixture
def opened(chromium: Browser, tmp_path: Path) -> Iterator[Opened]:
    made = Opened(chromium, tmp_path)
    yield made
    assert made.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_click_shows_what_depends_on_what_and_why_it_is_broken(
    opened: Opened, request: pytest.FixtureRequest, scheme: Literal["light", "dark"]
) -> None:
    page = opened.show(example(), scheme)
    expect(page.locator("#summary")).to_have_text("10 dependencies of 3 DAGs on 3 connections · 2 problems")
    expect(page.locator("#lines path")).to_have_count(10)
    expect(page.locator("#lines .broken")).to_have_count(2)
    page.locator(".row", has_text="free_slots").click()
    details = page.locator("#details")
    expect(details).to_contain_text("Pool 'loading' has 4 slots, and the task waits for 8.")
    expect(page.locator("#lines .dim")).to_have_count(9)
    pictures = request.config.getoption("--pictures")
    if pictures:
        page.screenshot(path=pictures / f"map-{scheme}.png", animations="disabled")
    details.get_by_role("button", name="pool loading").click()
    expect(details.get_by_role("heading")).to_have_text("loading")
    expect(details).to_contain_text("pool in connection warehouse")
    expect(page.locator('.row[aria-pressed="true"]')).to_have_count(1)
    details.get_by_role("button", name="Close").click()
    expect(details).to_be_hidden()
    expect(page.locator("#lines .dim")).to_have_count(0)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(16, 20, 26)") is (scheme == "dark")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_frames_the_page_may_choose_its_colours(opened: Opened, scheme: Literal["light", "dark"]) -> None:
    page = opened.show(example(), scheme)
    other = "light" if scheme == "dark" else "dark"
    page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", other)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(246, 247, 249)", "dark": "rgb(16, 20, 26)"}[other]


def test_the_map_is_searched_and_filtered(opened: Opened) -> None:
    page = opened.show(example())
    page.keyboard.press("/")
    page.keyboard.type("s3://lake")
    expect(page.locator("#lines g:not([hidden])")).to_have_count(2)
    expect(page.locator(".row:visible .name")).to_have_text(["announce", "wait_for_sales", "s3://lake/sales"])
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_contain_text("s3://lake/sales")
    page.keyboard.press("Escape")
    expect(page.locator("#search")).to_have_value("")
    expect(page.locator("#lines .dim")).to_have_count(0)
    expect(page.locator("#lines g:not([hidden])")).to_have_count(10)
    page.get_by_label("Only problems").check()
    expect(page.locator("#lines g:not([hidden])")).to_have_count(2)
    expect(page.locator(".row:visible")).to_have_count(4)
    # What a link of the details leads to is shown, whatever the filter.
    page.locator(".row", has_text="archive_reports").click()
    page.locator("#details").get_by_role("button", name="reports.archive").click()
    expect(page.locator(".row:visible")).to_have_count(4)
    page.get_by_label("Search").fill("score no_such_word")
    expect(page.locator("#none")).to_be_visible()
    expect(page.locator(".row:visible")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#none")).to_be_hidden()


def test_the_keyboard_moves_along_tasks_and_edges(opened: Opened) -> None:
    page = opened.show(example())
    task = page.locator(".row", has_text="free_gpu")
    task.focus()
    page.keyboard.press("ArrowRight")
    focused = page.locator(".row:focus")
    expect(focused).to_contain_text("gpu")
    page.keyboard.press("ArrowLeft")
    expect(focused).to_contain_text("free_gpu")
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_contain_text("waits for slots of")
    page.keyboard.press("ArrowUp")
    expect(focused).not_to_contain_text("free_gpu")


def test_the_map_is_dragged_and_zoomed(opened: Opened) -> None:
    page = opened.show(example())
    world = page.locator("#world")
    before = world.bounding_box()
    assert before
    box = page.locator("#view").bounding_box()
    assert box
    # Between the two columns.
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 30, box["y"] + 90, steps=5)
    page.mouse.up()
    moved = world.bounding_box()
    assert moved
    assert (round(moved["x"] - before["x"]), round(moved["y"] - before["y"])) == (30, 50)
    first = page.locator(".card").first
    width = first.evaluate("card => card.getBoundingClientRect().width")
    page.get_by_role("button", name="Zoom in").click()
    assert first.evaluate("card => card.getBoundingClientRect().width") == pytest.approx(1.25 * width)
    page.mouse.wheel(0, 100)
    page.keyboard.press("0")
    assert first.evaluate("card => card.getBoundingClientRect().width") <= 1.25 * 400


def test_a_hundred_edges_stay_readable(opened: Opened) -> None:
    edges = [
        Edge("a", f"dag_{n % 12}", f"task_{n}", "O", "f.py", "triggers", f"conn_{n % 4}", "DAG", f"remote_{n % 30}")
        for n in range(100)
    ]
    page = opened.show(Map(edges, 12))
    size = page.locator(".row .name").first.evaluate("each => each.getBoundingClientRect().height")
    assert size >= 14  # pixels
    page.locator(".row", has_text="task_99").focus()
    page.keyboard.press("ArrowDown")
    shown = page.locator(".row:focus").bounding_box()
    assert shown
    assert 0 < shown["y"] < WINDOW["height"]


def test_thousands_of_edges_can_be_searched_and_moved(opened: Opened) -> None:
    edges = [
        Edge("a", f"dag_{n % 250}", f"task_{n}", "O", "f.py", "triggers", f"conn_{n % 8}", "DAG", f"remote_{n % 700}")
        for n in range(2000)
    ]
    for edge in edges[::40]:
        edge.break_("It is paused.")
    page = opened.show(Map(edges, 250, checked=True))
    # Only lines that begin or end in sight are drawn.
    expect(page.locator("#lines g[hidden]")).not_to_have_count(0)
    drawn = page.locator("#lines g:not([hidden])")
    assert 0 < drawn.count() < 200
    page.get_by_role("button", name="Fit").click()
    assert page.locator(".row .name").first.evaluate("each => each.getBoundingClientRect().height") > 2  # pixels
    page.get_by_label("Search").fill("task_1999")
    expect(page.locator(".row:visible .name")).to_have_text(["task_1999", "remote_599"])
    expect(drawn).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#details")).to_contain_text("remote_599")
    # Two tasks use it, of which the search shows one.
    page.locator("#details").get_by_role("button", name="DAG remote_599").click()
    page.locator("#details").get_by_role("button", name="dag_99.task_599").click()
    expect(page.locator(".row:focus")).to_contain_text("task_599")
    expect(page.get_by_label("Search")).to_have_value("")
    page.get_by_label("Only problems").check()
    expect(page.locator(".row:visible")).to_have_count(50 + 35)  # tasks, and the DAGs that they trigger


def test_no_name_runs_as_a_script(opened: Opened) -> None:
    edge = Edge(HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, HOSTILE, "pool", HOSTILE)
    edge.break_(HOSTILE)
    page = opened.show(Map([edge], 1, [ImportFailure(HOSTILE, HOSTILE, HOSTILE)], {HOSTILE: HOSTILE}, checked=True))
    page.locator(".row").first.click()
    expect(page.locator("#details")).to_contain_text("<img src=x")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert page.title() == "Map of remote deployments"
    # The page's policy stops a script that got into it all the same.
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'ran'";
            document.body.append(script);
        }"""
    )
    assert page.title() == "Map of remote deployments"


def test_an_empty_map_says_so(opened: Opened) -> None:
    page = opened.show(Map(dags=4))
    expect(page.locator("#empty")).to_have_text("None of the 4 DAGs uses a remote deployment.")
