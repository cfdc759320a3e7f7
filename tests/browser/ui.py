"""What a person does in Airflow's UI; how it is done in either line stands in :mod:`airflow_2` and :mod:`airflow_3`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dev.deployments import Airflow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Locator, Page, ViewportSize

SECONDS_PER_STEP = 60  # a small machine that does other things, too, draws slowly
SECONDS_TO_TEST = 15
"""What the Test button may take at most, as the documentation says."""

LINK = "Remote DAG run"


@contextmanager
def window(browser: Browser, size: ViewportSize) -> Iterator[BrowserContext]:
    """Open a browser of one's own, with its cookies."""
    from playwright.sync_api import expect

    with browser.new_context(viewport=size, reduced_motion="reduce") as context:
        context.set_default_timeout(SECONDS_PER_STEP * 1000)
        expect.set_options(timeout=SECONDS_PER_STEP * 1000)
        yield context


class Ui(ABC):
    """One person's browser, with the UI of a deployment in it."""

    line: str

    def __init__(self, page: Page, deployment: Airflow, pictures: Path | None) -> None:
        self.page = page
        self.url = deployment.url
        self.version = deployment.version
        self.login, self.password = deployment.users["admin"]
        self._pictures = pictures
        self._taken: set[str] = set()

    def picture(self, name: str) -> None:
        """Keep what the page shows now, if pictures are requested; of each name, the first moment stays."""
        if self._pictures and name not in self._taken:
            self._taken.add(name)
            self.page.screenshot(path=self._pictures / f"{name}-{self.line}.png", animations="disabled")

    @abstractmethod
    def log_in(self) -> None: ...

    # -- the connection form --------------------------------------------------------------------------------

    @abstractmethod
    def new_connection(self, conn_id: str) -> None:
        """Open an empty form for a connection of our type, by the type's name."""

    @abstractmethod
    def edit_connection(self, conn_id: str) -> None: ...

    @abstractmethod
    def field(self, label: str) -> Locator:
        """Everything that belongs to a field: label, box, and the text that explains it."""

    def box(self, label: str) -> Locator:
        """What a field is filled in with."""
        return self.field(label).locator("input, textarea").first

    def fill_in(self, values: Mapping[str, str]) -> None:
        """Fill in fields, by their labels."""
        for label, value in values.items():
            self.box(label).fill(value)

    @abstractmethod
    def choices(self, label: str) -> list[str]:
        """What a field offers to choose from."""

    @abstractmethod
    def choose(self, label: str, choice: str) -> None: ...

    @abstractmethod
    def chosen(self, label: str, choice: str) -> None:
        """Expect that a field has this choice."""

    @abstractmethod
    def save(self, conn_id: str) -> None: ...

    @abstractmethod
    def press_test_and_save(self, conn_id: str) -> str:
        """Press Test and Save, in the order in which this line lets you, and return what Test says."""

    # -- a task and where its link leads --------------------------------------------------------------------

    @abstractmethod
    def open_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Open the page of a task instance that has its links, and wait for ours."""

    @property
    def link(self) -> Locator:
        """The link to the remote run."""
        return self.page.get_by_role("link", name=LINK, exact=True)

    @abstractmethod
    def follow_link(self) -> Page:
        """Click the link to the remote run; return the page that opens."""

    @abstractmethod
    def shows_run(self, page: Page, dag_id: str, run_id: str) -> None:
        """Expect that a page is the one of a DAG run that exists."""
