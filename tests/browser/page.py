"""A deployment with the page "Remote deployments", and the page in a browser."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from dev.deployments import Airflow
from tests.browser.conftest import HERE, WINDOW
from tests.browser.ui import window
from tests.waiting import wait_until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Frame, Locator, Page, ViewportSize

PATH = "/astronomer-remote/"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")


def started(version: str, **how: Any) -> Airflow:
    """A deployment whose DAGs depend on others."""
    return Airflow(version, name="page", project=True, dags=HERE / "page_dags", components=COMPONENTS, **how)


class Server:
    """A deployment with the page, as users of it call its API."""

    def __init__(self, airflow: Airflow) -> None:
        self.airflow = airflow
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
            "RemoteDagRunSensor" if dag_id == "backfill" else "RemoteTriggerDagRunOperator",
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


def signed_in(context: BrowserContext, server: Server, role: str) -> BrowserContext:
    """A browser whose user has logged in."""
    context.add_cookies([{"name": "_token", "value": server.token(role), "domain": "127.0.0.1", "path": "/"}])
    return context


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
        before(signed_in(context, server, role))
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
