"""A real remote on PostgreSQL with many runs in it, and what its processes and its database spend."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import platform
import signal
import subprocess
import tempfile
from base64 import b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import psycopg2
import requests

from dev import prepare
from dev.database import OWNER, Postgres, postgres
from dev.deployments import Airflow
from dev.environments import environment
from dev.settings import DEFAULT_USERS, Place, settings
from dev.versions import Release

Connection: TypeAlias = psycopg2.extensions.connection

DAGS = 200
# What ran in a year, and what was made in the last hour.
PAST_SECONDS, RUNNING_SECONDS = 365 * 86_400, 3_600
# Counts the time that statements take, and has room for a million rows. Statements of
# Airflow and of the benchmark are distinguished by the owner of the database.
OPTIONS = {"shared_preload_libraries": "pg_stat_statements", "shared_buffers": "512MB", "max_wal_size": "4GB"}
DRIVERS = {"v1": ("psycopg2-binary",), "v2": ("asyncpg", "psycopg2-binary")}
ANSWER_SECONDS = 20.0


class LoadedRemote:
    """
    A running remote.

    :param deployment: its web server.
    :param database: its PostgreSQL server.
    :param connection: our own to that.
    """

    def __init__(self, deployment: Airflow, database: Postgres, connection: Connection) -> None:
        self.deployment = deployment
        self._database = database
        self._connection = connection
        self._web = Release.parse(deployment.version).web
        self._ended: list[str] = []
        self.login, self.password = deployment.users["admin"]

    # -- what it holds ------------------------------------------------------------------------------------

    def runs(self, number: int) -> list[dict[str, str]]:
        """The youngest of the running ones: DAG, run id and the date that a listing is bounded by."""
        dated = "run_after" if self.deployment.generation == "v2" else "execution_date"
        with self._connection.cursor() as cursor:
            cursor.execute(
                f"SELECT dag_id, run_id, {dated} FROM dag_run WHERE state = 'running' ORDER BY {dated} DESC LIMIT %s",
                [number],
            )
            return [{"dag_id": row[0], "run_id": row[1], "date": row[2].isoformat()} for row in cursor.fetchall()]

    def end(self, run: dict[str, str]) -> None:
        """End a run as a scheduler does."""
        self._execute(
            "UPDATE dag_run SET state = 'success', end_date = clock_timestamp(), updated_at = clock_timestamp() "
            "WHERE dag_id = %s AND run_id = %s",
            [run["dag_id"], run["run_id"]],
        )
        self._ended.append(run["run_id"])

    def reset(self) -> None:
        """Let what was running run again, and leave the table as tidy as it was."""
        self._execute("UPDATE dag_run SET state = 'running', end_date = NULL WHERE run_id = ANY(%s)", [self._ended])
        self._ended.clear()
        self._execute("VACUUM ANALYZE dag_run")

    # -- what it spends -----------------------------------------------------------------------------------

    def requests(self) -> int:
        """How many requests about runs its web server has logged."""
        return sum("/dagRuns" in each.path for each in self.deployment.logged_requests())

    def server_seconds(self) -> float:
        """Seconds of CPU that its web server has used."""
        return cpu_seconds(self.deployment.processes[self._web])

    def database_seconds(self) -> float:
        """Seconds of CPU that PostgreSQL has used, but for us."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (own,) = cursor.fetchone()
        return cpu_seconds(self._database.pid) - cpu_seconds(own)

    def statement_seconds(self) -> float:
        """Seconds in which the database has carried out Airflow's statements."""
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT coalesce(sum(total_exec_time), 0) / 1000 FROM pg_stat_statements "
                "JOIN pg_roles ON pg_roles.oid = userid WHERE rolname = %s",
                [OWNER],
            )
            return float(cursor.fetchone()[0])

    def connections(self) -> dict[str, int]:
        """How many connections the web server has open, by what they do."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT state, count(*) FROM pg_stat_activity WHERE usename = %s GROUP BY 1", [OWNER])
            return {str(state): int(count) for state, count in cursor.fetchall()}

    # -- how it is ----------------------------------------------------------------------------------------

    def headers(self) -> dict[str, str]:
        """The credentials: a token for Airflow 3, user and password for Airflow 2."""
        if self.deployment.generation == "v1":
            return {"Authorization": f"Basic {b64encode(f'{self.login}:{self.password}'.encode()).decode()}"}
        pair = {"username": self.login, "password": self.password}
        reply = requests.post(f"{self.deployment.url}/auth/token", json=pair, timeout=ANSWER_SECONDS)
        return {"Authorization": f"Bearer {reply.json()['access_token']}"}

    def answers(self, headers: dict[str, str]) -> bool:
        """Whether it still reads a run."""
        url = f"{self.deployment.url}/api/{self.deployment.generation}/dags/dag_0/dagRuns/running__0"
        try:
            return requests.get(url, headers=headers, timeout=ANSWER_SECONDS).status_code == 200
        except requests.RequestException:
            return False

    def restart(self) -> None:
        """End the web server, however it is, and start it again."""
        self.deployment.stop_component(self._web, signal.SIGKILL)
        self.deployment.start_component(self._web, timeout=120)

    def _execute(self, statement: str, values: Sequence[object] | None = None) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)


@contextlib.contextmanager
def remote(version: str, *, past: int, running: int) -> Iterator[LoadedRemote]:
    """Start a remote with so many runs, and end it in the end."""
    parsed = Release.parse(version)
    extras = DRIVERS[parsed.generation]
    with postgres(OPTIONS) as database:
        database.execute("CREATE EXTENSION pg_stat_statements", user="postgres")
        env = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.dsn(driver="postgresql+psycopg2")}
        _migrate(version, extras, env)
        with contextlib.closing(psycopg2.connect(database.dsn("postgres"))) as connection:
            connection.autocommit = True
            _fill(connection, parsed.generation, past=past, running=running)
            with Airflow(version, name="benchmark", components=[parsed.web], extras=extras, env=env) as deployment:
                yield LoadedRemote(deployment, database, connection)


def _fill(connection: Connection, generation: str, *, past: int, running: int) -> None:
    """Insert DAGs and runs."""
    with connection.cursor() as cursor:
        if generation == "v2":
            cursor.execute("INSERT INTO dag_bundle (name, active) VALUES ('benchmark', true)")
        _insert(cursor, "dag", _dag_columns(), DAGS)
        conf = {"conf": "'{}'" if generation == "v2" else f"'\\x{pickle.dumps({}).hex()}'"}
        date = f"now() - i * interval '{PAST_SECONDS / max(past, 1)} seconds'"
        _insert(cursor, "dag_run", _run_columns("past", date, ended=True) | conf, past)
        date = f"now() - i * interval '{RUNNING_SECONDS / max(running, 1)} seconds' + interval '1 microsecond'"
        _insert(cursor, "dag_run", _run_columns("running", date, ended=False) | conf, running)
        cursor.execute("VACUUM ANALYZE")


def _insert(cursor: Any, table: str, values: dict[str, str], number: int) -> None:
    """Insert so many rows, numbered `i`, with those of the columns that this version has."""
    cursor.execute("SELECT column_name FROM information_schema.columns WHERE table_name = %s", [table])
    known = {name for (name,) in cursor.fetchall()}
    names = [name for name in values if name in known]
    columns, expressions = ", ".join(names), ", ".join(values[name] for name in names)
    cursor.execute(f"INSERT INTO {table} ({columns}) SELECT {expressions} FROM generate_series(0, {number - 1}) AS i")


def _migrate(version: str, extras: Sequence[str], env: dict[str, str]) -> None:
    """Make Airflow's tables and, for Airflow 2, its users."""
    parsed, installed = Release.parse(version), environment(version, extras=extras)
    users = DEFAULT_USERS if parsed.generation == "v1" else {}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "airflow.cfg").touch()
        done = subprocess.run(
            [str(installed / "bin" / "python"), "-I", prepare.__file__, json.dumps({"users": users})],
            env=settings(parsed, Place(installed, home, home / "dags", 0), DEFAULT_USERS, None, env),
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"the database could not be prepared:\n{done.stderr[-4000:]}")


def _dag_columns() -> dict[str, str]:
    """Values of the columns of the DAGs, for every generation."""
    texts = {
        "dag_id": "'dag_' || i",
        "bundle_name": "'benchmark'",
        "fileloc": "'/dags/dag_' || i || '.py'",
        "relative_fileloc": "'dag_' || i || '.py'",
        "owners": "'airflow'",
        "timetable_type": "'airflow.timetables.simple.NullTimetable'",
        "default_view": "'grid'",
        "partition_mapper_info": "'{}'",
    }
    numbers = {"max_active_tasks": "16", "max_active_runs": "16", "max_consecutive_failed_dag_runs": "0"}
    no = ("is_paused", "is_stale", "is_subdag", "has_task_concurrency_limits", "has_import_errors")
    return texts | numbers | dict.fromkeys(no, "false") | {"is_active": "true", "last_parsed_time": "now()"}


def _run_columns(name: str, date: str, *, ended: bool) -> dict[str, str]:
    """Values of the columns of runs, for every generation."""
    dates = ("logical_date", "execution_date", "run_after", "data_interval_start", "data_interval_end")
    began = ("queued_at", "start_date", "created_at", "last_scheduling_decision")
    return dict.fromkeys((*dates, *began), date) | {
        "dag_id": f"'dag_' || (i % {DAGS})",
        "run_id": f"'{name}__' || i",
        "state": "'success'" if ended else "'running'",
        "run_type": "'manual'",
        "end_date": f"{date} + interval '5 minutes'" if ended else "NULL",
        "updated_at": date,
        "external_trigger": "true",
    }


def machine() -> str:
    """The machine of a measurement."""
    return f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU of a process, of its descendants, and of those that have ended."""
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total
