"""Runs the selected scenarios against one remote: all local DAG runs at once, so that they share the waiting."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from dev.loopback import free_port
from tests.live.local import LocalAirflow
from tests.live.plan import DEFERRABLE, Pair, Scenario
from tests.live.remote import RemoteAirflow
from tests.waiting import wait_until

DATE = datetime(2024, 1, 5, 6, tzinfo=timezone.utc)
"""Logical date of every local DAG run."""
HOUR = timedelta(hours=1)

# What nothing of the local deployment may show in any form.
PASSWORDS = {role: f"{role}-pa55w0rd-9f8e7d6c" for role in ("admin", "viewer", "user", "op")}
WRONG = "wr0ng-pa55w0rd-5b4a3c2d"
USERS = {role: (role, password) for role, password in PASSWORDS.items()}

# Prints each trigger that waits, with its arguments decrypted.
SHOW_TRIGGERS = """
import json
from airflow.models.trigger import Trigger
from airflow.utils.session import create_session
with create_session() as session:
    print(json.dumps([[each.classpath, each.kwargs] for each in session.query(Trigger)], default=str))
"""


class Sensed(NamedTuple):
    """A run that is made in the remote once the sensors wait for it."""

    dag_id: str
    run_id: str
    hours: int = 0
    conf: dict[str, Any] = {}  # noqa: RUF012  # never changed


SENSED = (
    Sensed("quick", "sensed"),
    Sensed("quick", "sensed-earlier", hours=-1),
    Sensed("grouped", "sensed"),
    Sensed("grouped", "sensed-failing", hours=-1, conf={"fail_b": True}),
    Sensed("grouped", "sensed-skipping", hours=-2, conf={"skip_a": True}),
    Sensed("failing", "sensed"),
    Sensed("sleeper", "sensed", conf={"seconds": 2}),
)


class Campaign:
    """
    One local and one remote deployment, and the local DAG runs of all scenarios.

    :param target: scenarios, each with a mode.
    """

    def __init__(
        self, pair: Pair, local: LocalAirflow, remote: RemoteAirflow, target: Sequence[tuple[Scenario, str]]
    ) -> None:
        self.pair = pair
        self.local = local
        self.remote = remote
        self.connection = f"remote_{pair.remote.replace('.', '_')}"
        self.triggers: list[tuple[str, dict[str, Any]]] = []
        self._target = target

    def dag_id(self, name: str, mode: str) -> str:
        """Id of the local DAG of a scenario."""
        return f"{name}.{mode}.{self.connection}"

    def start(self) -> None:
        """Start the local DAG runs and, once some are seen to wait, the remote runs that they wait for."""
        if not self.pair.smoke:
            for conn_id, fields in connections(self.remote, self.connection).items():
                self.local.add_connection(conn_id, **fields)
        waiting = [each for each in self._target if each[1] in each[0].waits]
        if waiting:
            self._run(f"{self.connection}_waiting", waiting)
            wait_until(lambda: not self._not_waiting(waiting), lambda: self._not_waiting(waiting), timeout=600)
            shown = self.local.deployment.python("-c", SHOW_TRIGGERS).stdout.strip().splitlines()[-1]
            self.triggers = [(path, kwargs) for path, kwargs in json.loads(shown)]
        for run in SENSED[:1] if self.pair.smoke else SENSED:
            self.remote.make_run(run.dag_id, run.run_id, f"{DATE + run.hours * HOUR:%Y-%m-%dT%H:%M:%SZ}", run.conf)
        self._run(self.connection, [each for each in self._target if each not in waiting])

    def _run(self, name: str, scenarios: Sequence[tuple[Scenario, str]]) -> None:
        """
        Add a DAG file, whose DAGs then run by themselves.

        They are not triggered through the REST API, which in Airflow 3 on SQLite locks itself out of its own database
        when it gets a request to change something while tasks report to it.
        """
        target = [(scenario.name, mode) for scenario, mode in scenarios]
        text = (
            f'"""Airflow DAGs of the live tests for the remote {self.pair.remote}."""\n\nfrom _build import build\n\n'
            f"build({self.connection!r}, {self.remote.version!r}, {DATE.isoformat()!r}, {target!r})\n"
        )
        part = self.local.deployment.dags / f"_{name}.part"
        part.write_text(text)
        part.rename(part.with_name(f"{name}.py"))
        self.local.deployment.wait_dags([self.dag_id(*each) for each in target], timeout=120)

    def _not_waiting(self, scenarios: Sequence[tuple[Scenario, str]]) -> str:
        """Name the tasks of a local DAG that do not wait yet; nothing when all of all do."""
        self.local.check_alive()
        for scenario, mode in scenarios:
            dag_id = self.dag_id(scenario.name, mode)
            tasks = self.local.tasks(dag_id)
            states = {"deferred"} if mode == DEFERRABLE else {"running", "up_for_reschedule"}
            lacking = [f"{each['task_id']} is {each['state']}" for each in tasks if each["state"] not in states]
            if lacking or not tasks:
                return f"{dag_id}: {', '.join(lacking) or 'no task yet'}"
        return ""


def connections(remote: RemoteAirflow, conn_id: str) -> dict[str, dict[str, Any]]:
    """Connections to a remote, as accounts of different rights, and one to nothing."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    if remote.deployment.generation == "experimental":  # open to everybody
        return {conn_id: {"host": remote.url}, f"{conn_id}_down": {"host": nowhere}}
    admin, viewer = remote.deployment.users["admin"], remote.deployment.users["viewer"]
    return {
        conn_id: {"host": remote.url, "login": admin[0], "password": admin[1]},
        f"{conn_id}_viewer": {"host": remote.url, "login": viewer[0], "password": viewer[1]},
        f"{conn_id}_wrong": {"host": remote.url, "login": admin[0], "password": WRONG},
        f"{conn_id}_down": {"host": nowhere, "login": admin[0], "password": admin[1]},
    }
