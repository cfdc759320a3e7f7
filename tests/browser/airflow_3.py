"""The UI of Airflow 3.3."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from playwright.sync_api import Locator, Page, expect

from astronomer_remote.get_provider_info import FIELDS, HOOK_NAME, RELABELING
from tests.browser.ui import SECONDS_TO_TEST, Ui

EXTRA = {field.label for field in FIELDS}


class Airflow3(Ui):
    """The form is a dialog with sections that unfold, and a connection is tested where it is listed, once saved."""

    line = "airflow-3"

    def log_in(self) -> None:
        self.page.goto(f"{self.url}/auth/login")
        self.page.get_by_label("Username").fill(self.login)
        self.page.get_by_label("Password").fill(self.password)
        self.page.get_by_role("button", name="Sign in").click()
        expect(self.page.get_by_role("button", name="Admin")).to_be_visible()

    @property
    def _dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def _row(self, conn_id: str) -> Locator:
        return self.page.get_by_role("row").filter(has=self.page.get_by_role("cell", name=conn_id, exact=True))

    def new_connection(self, conn_id: str) -> None:
        self.page.goto(f"{self.url}/connections")
        self.page.get_by_role("button", name="Add Connection").click()
        self._dialog.get_by_role("textbox", name="Connection ID").fill(conn_id)
        self._dialog.get_by_role("combobox", name="Connection Type").fill(HOOK_NAME)
        self.page.get_by_role("option", name=HOOK_NAME, exact=True).click()

    def edit_connection(self, conn_id: str) -> None:
        self.page.goto(f"{self.url}/connections")
        self._row(conn_id).get_by_role("button", name="Edit Connection").click()

    def field(self, label: str) -> Locator:
        section = "Extra Fields" if label in EXTRA else "Standard Fields"
        fold = self._dialog.get_by_role("button", name=section, exact=True)
        expect(fold).to_be_visible()
        if fold.get_attribute("aria-expanded") != "true":
            fold.click()
        return self._dialog.get_by_role("group").filter(has=self.page.get_by_text(label, exact=True))

    def choices(self, label: str) -> list[str]:
        self.field(label).get_by_role("combobox").click()
        options = self.page.get_by_role("listbox").get_by_role("option")
        expect(options.first).to_be_visible()
        found = options.all_inner_texts()
        self.page.keyboard.press("Tab")
        expect(options).to_have_count(0)
        return found

    def choose(self, label: str, choice: str) -> None:
        self.field(label).get_by_role("combobox").click()
        self.page.get_by_role("option", name=choice, exact=True).click()

    def chosen(self, label: str, choice: str) -> None:
        expect(self.field(label).get_by_text(choice, exact=True)).to_be_visible()

    def save(self, conn_id: str) -> None:
        self._dialog.get_by_role("button", name="Save").click()
        expect(self._dialog).to_be_hidden()
        expect(self._row(conn_id)).to_be_visible()

    def press_test_and_save(self, conn_id: str) -> str:
        # 3.3.1 and 3.3.2 test nothing that was saved without a port.
        self.fill_in({RELABELING["port"]: str(urlsplit(self.url).port)})
        self.picture("connection")
        self.save(conn_id)
        said = self._press_test(conn_id)
        self.picture("test")
        return said

    def press_test_of_saved(self, conn_id: str) -> str:
        """Press Test in the list of connections, and return what it says."""
        self.page.goto(f"{self.url}/connections")
        return self._press_test(conn_id)

    def _press_test(self, conn_id: str) -> str:
        self._row(conn_id).get_by_role("button", name="Test Connection").click()
        said = self.page.get_by_role("status").filter(has_text=re.compile("Test Connection (Successful|Failed)"))
        expect(said).to_be_visible(timeout=SECONDS_TO_TEST * 1000)
        return said.inner_text()

    def open_task(self, dag_id: str, run_id: str, task_id: str) -> None:
        self.page.goto(f"{self.url}/dags/{dag_id}/runs/{quote(run_id)}/tasks/{task_id}")
        self.page.get_by_role("link", name="Details", exact=True).click()
        expect(self.link).to_be_visible()

    def follow_link(self) -> Page:
        # This line opens what has the same address as itself in the same tab.
        self.link.click()
        return self.page

    def shows_run(self, page: Page, dag_id: str, run_id: str) -> None:
        expect(page).to_have_url(re.compile(rf"/dags/{dag_id}/runs/"))
        expect(page.get_by_role("heading", name=run_id, exact=True)).to_be_visible()
