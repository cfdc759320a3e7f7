"""The UI of Airflow 2.11."""

from __future__ import annotations

import re
from urllib.parse import urlencode

from playwright.sync_api import Locator, Page, expect

from astronomer_remote.get_provider_info import HOOK_NAME
from tests.browser.ui import SECONDS_TO_TEST, Ui


class Airflow2(Ui):
    """The form is a page of its own, and tests what stands in it, saved or not."""

    line = "airflow-2"

    def log_in(self) -> None:
        self.page.goto(f"{self.url}/login/")
        self.page.get_by_label("Username").fill(self.login)
        self.page.get_by_label("Password").fill(self.password)
        self.page.get_by_role("button", name="Sign In").click()
        expect(self.page.get_by_role("link", name="Admin")).to_be_visible()

    def new_connection(self, conn_id: str) -> None:
        # From the list, since Save leads back to where one came from.
        self.page.goto(f"{self.url}/connection/list/")
        self.page.get_by_role("link", name="Add").click()
        self.page.get_by_label("Connection Id").fill(conn_id)
        self.page.locator("#conn_type").select_option(label=HOOK_NAME)

    def edit_connection(self, conn_id: str) -> None:
        self.page.goto(f"{self.url}/connection/list/")
        row = self.page.get_by_role("row").filter(has=self.page.get_by_role("cell", name=conn_id, exact=True))
        row.get_by_role("link", name="Edit").click()

    def field(self, label: str) -> Locator:
        return self.page.locator("#model_form tr").filter(has=self.page.get_by_text(label, exact=True))

    def choices(self, label: str) -> list[str]:
        # This line lets a provider have no list to pick from.
        named = re.search(r"One of: (.+)\.", self.field(label).inner_text())
        return named[1].split(", ") if named else []

    def choose(self, label: str, choice: str) -> None:
        self.box(label).fill(choice)

    def chosen(self, label: str, choice: str) -> None:
        expect(self.box(label)).to_have_value(choice)

    def save(self, conn_id: str) -> None:
        self.page.get_by_role("button", name="Save").click()
        expect(self.page.get_by_role("cell", name=conn_id, exact=True)).to_be_visible()

    def press_test_and_save(self, conn_id: str) -> str:
        self.page.get_by_role("button", name="Test").click()
        # Another text is there before, and green is what it becomes whatever is said.
        said = self.page.locator(".alert-success")
        expect(said).to_be_visible(timeout=SECONDS_TO_TEST * 1000)
        self.page.evaluate("scrollTo(0, 0)")
        self.picture("test")
        lines = said.inner_text()
        self.save(conn_id)
        return lines

    def open_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        query = urlencode({"dag_run_id": run_id, "task_id": task_id, "tab": "details"})
        self.page.goto(f"{self.url}/dags/{dag_id}/grid?{query}")
        expect(self.link).to_be_visible()

    def follow_link(self) -> Page:
        with self.page.expect_popup() as opened:
            self.link.click()
        return opened.value

    def shows_run(self, page: Page, dag_id: str, run_id: str) -> None:
        expect_run(page, dag_id, run_id)
        page.close()


def expect_run(page: Page, dag_id: str, run_id: str) -> None:
    """Expect that a page is the one of a DAG run that exists."""
    expect(page).to_have_url(re.compile(rf"/dags/{dag_id}/grid\?"))
    expect(page.get_by_role("row", name="Run ID")).to_contain_text(run_id)
