"""The remote Airflow of live tests: through its database and log files, and through this package."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, TypeVar

import requests

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure
from dev.deployments import Airflow
from dev.settings import PASSWORDS_FILE
from tests.live.plan import numbers

T = TypeVar("T")

VERSIONS = ("1.10.15", "2.0.2", "2.11.2", "3.0.6", "3.3.2")
HASH = "import sys; from werkzeug.security import generate_password_hash; print(generate_password_hash(sys.argv[1]))"


class RemoteRun(NamedTuple):
    """A DAG run in the remote's database."""

    dag_id: str
    run_id: str
    state: str
    date: str | None


class RemoteAirflow:
    """A remote Airflow, seen from inside."""

    def __init__(self, deployment: Airflow) -> None:
        self.deployment = deployment
        self.version = numbers(deployment.version)
        self.url = deployment.url
        self.hides_config = deployment.env.get("AIRFLOW__API__EXPOSE_CONFIG") == "False"

    def query(self, sql: str, *arguments: object) -> list[Any]:
        """Read its database."""
        return self.deployment.database.query(sql, *arguments)

    def runs(self, part_of_id: str) -> list[RemoteRun]:
        """DAG runs whose run id holds a text."""
        date = "logical_date" if self.version >= (3, 0) else "execution_date"
        sql = f"SELECT dag_id, run_id, state, {date} FROM dag_run ORDER BY run_id"
        return [run for run in (RemoteRun(*row) for row in self.query(sql)) if part_of_id in run.run_id]

    def tries(self, run: RemoteRun, task_id: str) -> int:
        """How often a task was tried in a run; since 2.2."""
        sql = "SELECT try_number FROM task_instance WHERE dag_id = ? AND run_id = ? AND task_id = ?"
        return int(self.query(sql, run.dag_id, run.run_id, task_id)[0][0])

    def logs_with(self, text: str) -> int:
        """How many task logs hold a text."""
        logs = (self.deployment.home / "logs").rglob("*.log")
        return sum(
            text in path.read_text(errors="replace")
            for path in logs
            if not {"scheduler", "dag_processor"} & {*path.parts}
        )

    def slots(self, pool: str) -> int | None:
        """Size of a pool, `None` if there is none."""
        found = self.query("SELECT slots FROM slot_pool WHERE pool = ?", pool)
        return int(found[0][0]) if found else None

    def make_pool(self, name: str, slots: int) -> None:
        """Create or resize a pool, as another user."""
        if self.slots(name) is None:
            values = {"pool": name, "slots": slots, **({"include_deferred": 0} if self.version >= (2, 7) else {})}
            marks = ", ".join("?" * len(values))
            self._execute(f"INSERT INTO slot_pool ({', '.join(values)}) VALUES ({marks})", *values.values())
        else:
            self._execute("UPDATE slot_pool SET slots = ? WHERE pool = ?", slots, name)

    def drop_pool(self, name: str) -> None:
        """Delete a pool, as another user."""
        self._execute("DELETE FROM slot_pool WHERE pool = ?", name)

    def pause(self, dag_id: str, paused: bool) -> None:
        """Pause or unpause a DAG, as another user."""
        self._execute("UPDATE dag SET is_paused = ? WHERE dag_id = ?", int(paused), dag_id)

    def change_password(self, login: str, password: str) -> None:
        """Give a user another password; 2.11's own command for that does not work."""
        if self.version >= (3, 0):
            file = self.deployment.home / PASSWORDS_FILE
            file.write_text(json.dumps({**json.loads(file.read_text()), login: password}))
        else:
            hashed = self.deployment.python("-c", HASH, password).stdout.strip()
            self._execute("UPDATE ab_user SET password = ? WHERE username = ?", hashed, login)

    def _execute(self, sql: str, *arguments: object) -> None:
        self.deployment.database.execute(sql, *arguments)

    def make_run(self, dag_id: str, run_id: str, date: str, conf: dict[str, Any], role: str = "admin") -> None:
        """Trigger a DAG as another client, which may send what is no JSON, such as NaN."""
        generation = self.deployment.generation
        login, password = self.deployment.users[role]
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Content-Type"] = "application/json"
            if generation == "v2":
                given = {"username": login, "password": password}
                token = session.post(f"{self.url}/auth/token", json=given, timeout=120).json()["access_token"]
                session.headers["Authorization"] = f"Bearer {token}"
            elif generation == "v1":
                session.auth = (login, password)
            key = "logical_date" if self.version >= (2, 2) else "execution_date"
            if generation == "experimental":
                path, body = f"experimental/dags/{dag_id}/dag_runs", {"run_id": run_id, key: date, "conf": conf}
            else:
                path, body = f"{generation}/dags/{dag_id}/dagRuns", {"dag_run_id": run_id, key: date, "conf": conf}
            locked = False
            for _ in range(5):
                answer = session.post(f"{self.url}/api/{path}", data=json.dumps(body), timeout=120)
                if answer.status_code != 500:
                    break
                locked = True
        # SQLite may have been locked only after the run was stored.
        stored = locked and "already exists" in answer.text
        assert answer.ok or stored, f"{path} → {answer.status_code}: {answer.text[:2000]}"


class RemoteApi:
    """A remote Airflow, used through this package."""

    def __init__(self, deployment: Airflow) -> None:
        self.deployment = deployment
        self.version = numbers(deployment.version)
        self.drivers: dict[str, tuple[Deployment, SyncDriver]] = {}
        self.remote = self.of("admin")

    def settings(self, role: str) -> Settings:
        """A connection for a user of a role."""
        login, password = self.deployment.users[role]
        # 1.10 has no users at its API.
        extra = {"auth": "none"} if self.version < (2,) else {}
        return Settings.parse(host=self.deployment.url, login=login, password=password, extra=extra)

    def of(self, role: str) -> Deployment:
        """The remote for a user of a role."""
        if role not in self.drivers:
            settings = self.settings(role)
            driver = SyncDriver(configure(requests.Session(), settings), settings, reload=lambda: settings)
            self.drivers[role] = Deployment(settings), driver
        return self.drivers[role][0]

    def run(self, flow: Flow[T], role: str = "admin") -> T:
        """Run a flow."""
        return self.drivers[role][1].run(flow)

    def query(self, sql: str, *arguments: object) -> list[Any]:
        """Read its database."""
        return self.deployment.database.query(sql, *arguments)

    def execute(self, sql: str, *arguments: object) -> None:
        """Change its database."""
        self.deployment.database.execute(sql, *arguments)
