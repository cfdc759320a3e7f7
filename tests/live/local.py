"""The local Airflow as the live tests see it: through its REST API and its log files, not through this package."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

from dev.deployments import Airflow


class LocalAirflow:
    """A local deployment."""

    def __init__(self, deployment: Airflow) -> None:
        self.deployment = deployment
        self._session = requests.Session()
        self._session.trust_env = False
        login, password = deployment.users["admin"]
        self._newer = deployment.generation == "v2"
        self._base = f"{deployment.url}/api/{deployment.generation}"
        if self._newer:
            given = {"username": login, "password": password}
            answer = self._session.post(f"{deployment.url}/auth/token", json=given, timeout=120)
            self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        else:
            self._session.auth = (login, password)

    def request(self, method: str, path: str, json: Any = None, **params: Any) -> Any:
        """Send a request to its API, again if its database was locked, as SQLite can be."""
        for _ in range(5):
            answer = self._session.request(method, self._base + path, json=json, params=params, timeout=120)
            if answer.status_code != 500:
                break
        assert answer.ok, f"{method} {path} → {answer.status_code}: {answer.text[:2000]}"
        return answer.json() if answer.content else None

    def add_connection(self, conn_id: str, **fields: Any) -> None:
        """Add a connection, as a person does with the form."""
        self.request("POST", "/connections", json={"connection_id": conn_id, "conn_type": "astronomer", **fields})

    def change_password(self, conn_id: str, password: str) -> None:
        """Change a connection, as a person does with the form."""
        body = {"connection_id": conn_id, "conn_type": "astronomer", "password": password}
        self.request("PATCH", f"/connections/{conn_id}", json=body, update_mask="password")

    def check_alive(self) -> None:
        """Fail at once if a component has ended, since nothing would come of waiting."""
        for name, pid in self.deployment.processes.items():
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                raise AssertionError(f"the local {name} has ended:\n{self.deployment.log(name, 40)}") from None

    def mentions(self, text: str) -> str:
        """What the components wrote that has to do with something, or with errors; the last of it."""
        words = (text, "Error", "locked", "Traceback")
        logs = {name: self.deployment.log(name, 2000).splitlines() for name in self.deployment.processes}
        found = [f"{name}: {line}" for name, lines in logs.items() for line in lines if any(w in line for w in words)]
        return "\n".join(line[:300] for line in found[-60:])

    def query(self, sql: str, *arguments: object) -> list[Any]:
        """Read its database."""
        return self.deployment.database.query(sql, *arguments)

    def contents(self) -> dict[str, bytes]:
        """All that is in its logs and in its database, for a search for secrets: content by name."""
        home = self.deployment.home
        logs = [*home.joinpath("logs").rglob("*"), *home.parent.joinpath("logs").rglob("*")]
        files = {str(path): path.read_bytes() for path in logs if path.is_file()}
        return {**files, "the database": self.deployment.database.dump()}

    def limit_tasks(self, number: int) -> None:
        """
        Let no more tasks be queued or running at a time.

        The local executor of Airflow 3.0 takes any number. When no more fit into its pipe, the scheduler stands still
        with the database locked, and so do the workers that could take some out.
        """
        self.deployment.database.execute("UPDATE slot_pool SET slots = ? WHERE pool = 'default_pool'", number)

    def states(self, dag_id: str) -> dict[str, int]:
        """How many tasks of a DAG are in which state."""
        return dict(self.query("SELECT state, count(*) FROM task_instance WHERE dag_id = ? GROUP BY state", dag_id))

    def mark(self, dag_id: str, state: str) -> None:
        """Mark the one task of a DAG, as a person does."""
        task = f"/dags/{dag_id}/dagRuns/{quote(self._run_id(dag_id), safe='')}/taskInstances/trigger"
        self.request("PATCH", task, json={"new_state": state, **({} if self._newer else {"dry_run": False})})

    def clear(self, dag_id: str) -> None:
        """Clear the one task of a DAG, as a person does."""
        if not self._newer:
            # The REST API of Airflow 2.11 does not end what is running, unlike its UI and this.
            self.deployment.run("tasks", "clear", "--yes", dag_id)
            return
        body = {"dag_run_id": self._run_id(dag_id), "task_ids": ["trigger"], "dry_run": False, "only_failed": False}
        self.request("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)

    def delete_run(self, dag_id: str) -> None:
        """Delete the DAG run of a DAG, as a person does; from 3.1 on, of one that runs only the database can."""
        path = f"{self._base}/dags/{dag_id}/dagRuns/{quote(self._run_id(dag_id), safe='')}"
        answer = self._session.delete(path, timeout=120)
        if self._newer and answer.status_code == 409:
            for table in ("dag_run", "task_instance"):
                self.deployment.database.execute(f"DELETE FROM {table} WHERE dag_id = ?", dag_id)
            return
        assert answer.status_code == 204, f"DELETE {path} → {answer.status_code}: {answer.text[:2000]}"

    def _run_id(self, dag_id: str) -> str:
        run = self.run(dag_id)
        assert run, f"{dag_id} has no run"
        return str(run["dag_run_id"])

    def run(self, dag_id: str) -> dict[str, Any] | None:
        """The DAG run of a DAG that has one, `None` if that was not made yet."""
        found: list[dict[str, Any]] = self.request("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]
        return found[0] if found else None

    def tasks(self, dag_id: str) -> list[dict[str, Any]]:
        """Task instances of a DAG run."""
        run = self.run(dag_id)
        path = f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}/taskInstances" if run else ""
        return list(self.request("GET", path)["task_instances"]) if run else []

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str, map_index: int) -> Any:
        """Value of an XCom."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        given = {} if self._newer else {"stringify": "false"}
        return self.request("GET", path, map_index=map_index, **given)["value"]

    def log(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
        """Everything a task instance logged, in all its tries, in the worker and in the triggerer."""
        folder = self.deployment.home / "logs" / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
        folder = folder / f"map_index={map_index}" if map_index >= 0 else folder
        return "\n".join(_read(path) for path in sorted(folder.glob("*.log*")))


def _read(path: Path) -> str:
    """A log file's text; Airflow 3 writes JSON, whose texts are what counts."""
    return "\n".join(_texts(line) for line in path.read_text(errors="replace").splitlines())


def _texts(line: str) -> str:
    try:
        found = json.loads(line)
    except ValueError:
        return line
    return " ".join(_leaves(found))


def _leaves(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [leaf for each in value.values() for leaf in _leaves(each)]
    if isinstance(value, list):
        return [leaf for each in value for leaf in _leaves(each)]
    return [str(value)]
