"""A complete, real Airflow deployment of a given version that lives as long as it is needed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

from dev import health
from dev.broker import Redis, redis
from dev.components import Components, StartError
from dev.database import Database, Postgres, Sqlite, postgres
from dev.environments import environment
from dev.loopback import bypass_proxy, free_port
from dev.places import ROOT, subfolder
from dev.settings import (
    DATABASE_FILE,
    DATABASE_VARIABLE,
    DEFAULT_USERS,
    Place,
    Users,
    celery_settings,
    server_settings,
    settings,
    with_long_timeouts,
)
from dev.state import State
from dev.templates import SERVER_DATA, fill_home, home_template
from dev.versions import Generation, Release, kind

__all__ = ["ROOT", "Airflow", "StartError", "environment"]

FAB_REQUIREMENT = "apache-airflow-providers-fab"
CELERY_REQUIREMENTS: dict[Generation, str] = {
    # Since 3.12 a worker looks for others of its name, and then all but one of its processes hang; from 3.16 to 3.17.1
    # tasks are sent under a name that the workers do not know.
    "v1": "apache-airflow-providers-celery==3.11.*",
    "v2": "apache-airflow-providers-celery",
}
POSTGRES_DRIVERS: dict[Generation, tuple[str, ...]] = {
    "experimental": (),
    "v1": ("psycopg2-binary",),
    "v2": ("asyncpg", "psycopg2-binary"),
}
PORT_ATTEMPTS = 3
# What uvicorn and gunicorn report about a port that is in use.
PORT_TAKEN = re.compile("(address already|connection) in use", re.IGNORECASE)
# A line of the access log as gunicorn writes it, and as Airflow 3 does.
REQUEST = re.compile(r'"(?P<method>[A-Z]+) (?P<path>/\S*) HTTP|method=(?P<verb>[A-Z]+) path=(?P<where>/\S*)')
LINKED = "my_dags"
AIRFLOW_3_ONLY = "airflow_3"
"""A folder of DAG files that an older Airflow cannot import."""
POLL_SECONDS = 0.25


class LoggedRequest(NamedTuple):
    """A request in the access log; Airflow 3 leaves out the query."""

    method: str
    path: str


class Airflow:
    """A deployment on free loopback ports; a context manager that starts it and surely ends it.

    `dags` is a folder whose files are copied into the deployment's DAG folder. `own_dags` is one that is linked into
    it, so that files which are put there while it runs are found, and stay when it ends. `env` overrides any setting.
    `users` maps a role (admin, op, user, viewer) to a user name and a password. `components` names the
    processes to start, all when None. `host` is the name that its addresses have; it always listens on 127.0.0.1.
    `path` is the one below which an Airflow 3 has all of them, such as "/team/airflow". With `keep` the AIRFLOW_HOME is
    left behind when it ends.
    `database="postgresql"` gives it a PostgreSQL server of its own instead of SQLite (see :mod:`dev.database`).
    `engine="celery"` runs its tasks by the CeleryExecutor on PostgreSQL, with two schedulers, two triggerers, two
    workers and a Redis server of its own (see :mod:`dev.broker`), which with `durable_broker` keeps its messages.
    `auth_manager="fab"` makes Airflow 3 use the auth manager of the FAB provider. `report` is called with a line about
    each step of the installation and the start. The other arguments are those of :func:`environment`.
    """

    def __init__(
        self,
        version: str,
        *,
        name: str = "airflow",
        dags: Path | None = None,
        own_dags: Path | None = None,
        project: bool = False,
        extras: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        users: Users | None = None,
        components: Sequence[str] | None = None,
        auth_manager: str | None = None,
        database: Literal["sqlite", "postgresql"] = "sqlite",
        engine: Literal["local", "celery"] = "local",
        durable_broker: bool = False,
        host: str = "127.0.0.1",
        path: str = "",
        keep: bool = False,
        python: str | None = None,
        exclude_newer: str | None = None,
        start_timeout: float = 300.0,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self._release = Release.parse(version)
        self.name = name
        self.users: dict[str, tuple[str, str]] = dict(users or DEFAULT_USERS)
        self._source = dags
        self._own_dags = own_dags
        # Airflow 3's API server talks to the database asynchronously as well.
        self._by_celery, self._durable_broker = engine == "celery", durable_broker
        if self._by_celery and self._release.minor < (2, 11):
            raise ValueError(f"Airflow {version} is started without Celery only; it is for 2.11 and later")
        self._on_server = self._by_celery or database == "postgresql"
        drivers = POSTGRES_DRIVERS[self.generation] if self._on_server else ()
        wants_fab = auth_manager == "fab" and self.generation == "v2"
        self._install = functools.partial(
            environment,
            version,
            extras=(
                *extras,
                *([FAB_REQUIREMENT] if wants_fab else []),
                *([CELERY_REQUIREMENTS[self.generation]] if self._by_celery else []),
                *drivers,
            ),
            project=project,
            python=python,
            exclude_newer=exclude_newer,
            report=report,
        )
        self._report = report or (lambda text: None)
        self._overrides = dict(env or {})
        self._auth_manager = auth_manager
        self._host, self._path = host, path
        known = self._release.celery_components if self._by_celery else self._release.components
        self._target = tuple(known if components is None else components)
        self._keep = keep
        self._server: Postgres | None = None
        self._broker: Redis | None = None
        self._resources = contextlib.ExitStack()
        self._start_timeout = start_timeout
        self._folder: Path | None = None
        self._place: Place | None = None
        self._components: Components | None = None
        self._stopped = False
        if self._on_server and self._release.minor < (2, 3):
            raise ValueError(f"Airflow {version} is started on SQLite only; PostgreSQL is for 2.3 and later")
        if unknown := set(self._target) - set(known):
            raise ValueError(f"Airflow {version} has no {sorted(unknown)}, but {known}")

    # -- what it is ---------------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """The version of Airflow."""
        return self._release.text

    @property
    def generation(self) -> Generation:
        """The REST API it speaks: experimental, v1 or v2."""
        return self._release.generation

    @property
    def url(self) -> str:
        """The base of the web UI and the API, without a trailing slash."""
        return self._located.url

    @property
    def home(self) -> Path:
        """Its AIRFLOW_HOME."""
        return self._located.home

    @property
    def dags(self) -> Path:
        """Its DAG folder; files added later are found within a few seconds."""
        return self._located.dags

    @property
    def database(self) -> Database:
        """Its metadata database, as one sees it from outside."""
        return self._server or Sqlite(self.home / DATABASE_FILE)

    @property
    def server(self) -> Postgres:
        """Its PostgreSQL server."""
        assert self._server is not None, f"{self.name} has no server of its own"
        return self._server

    @property
    def broker(self) -> Redis:
        """The Redis server of its CeleryExecutor."""
        assert self._broker is not None, f"{self.name} has no broker"
        return self._broker

    @property
    def env(self) -> dict[str, str]:
        """The whole environment of a process of this deployment."""
        return settings(self._release, self._located, self.users, self._auth_manager, self._overrides)

    @property
    def processes(self) -> dict[str, int]:
        """The pid of each component that was started and not stopped."""
        return dict(self._components.pids) if self._components else {}

    @property
    def _located(self) -> Place:
        if self._place is None:
            raise RuntimeError(f"the deployment {self.name!r} has not been started")
        return self._place

    @property
    def _running(self) -> Components:
        if self._components is None:
            raise RuntimeError(f"the deployment {self.name!r} does not run")
        return self._components

    # -- life ---------------------------------------------------------------------------------------------

    def __enter__(self) -> Airflow:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Install what is missing, start every component and wait until all are healthy."""
        if self._components is not None:
            raise RuntimeError(f"the deployment {self.name!r} runs already")
        self._stopped = False
        bypass_proxy()
        installed = self._install()
        self._check_not_stopped()
        self._report("preparing its database")
        template = home_template(self._release, installed, self.users, self._auth_manager, on_server=self._on_server)
        self._check_not_stopped()
        if self._on_server:
            self._server = self._resources.enter_context(postgres(template=template / SERVER_DATA))
            address = {DATABASE_VARIABLE: self._server.dsn(driver="postgresql+psycopg2")}
            self._overrides = server_settings() | self._overrides | address
        if self._by_celery:
            self._broker = self._resources.enter_context(redis(durable=self._durable_broker))
            self._overrides = celery_settings(self._broker.url) | self._overrides
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self.name}-", dir=subfolder("run")))
        try:
            self._fill(installed, template)
            self._check_not_stopped()
            self._report(f"starting {', '.join(self._target)}")
            self._components = Components(self._folder, f"{self.name} ({self.version})", keep=self._keep)
            self._check_not_stopped()
            self._start_components()
        except BaseException:
            self.stop()
            raise

    def _check_not_stopped(self) -> None:
        """Fail if another thread has stopped it meanwhile, which could not end what was not there yet."""
        if self._stopped:
            raise StartError(f"{self.name} ({self.version}) was stopped before it had started")

    def _fill(self, installed: Path, template: Path) -> None:
        assert self._folder is not None
        home = self._folder / "home"
        self._place = Place(installed, home, home / "dags", free_port(), self._host, self._path)
        home.mkdir()
        fill_home(template, home)
        if self._source is None:
            self.dags.mkdir()
        else:
            unusable = [] if self.generation == "v2" else [AIRFLOW_3_ONLY]
            shutil.copytree(self._source, self.dags, ignore=shutil.ignore_patterns("__pycache__", *unusable))
        if self._own_dags is not None:
            (self.dags / LINKED).symlink_to(self._own_dags.resolve(), target_is_directory=True)

    def _start_components(self) -> None:
        """Start all at once; on the rare chance that someone took the port meanwhile, start again."""
        for attempt in range(1, PORT_ATTEMPTS + 1):
            log = self.log_path(self._release.web)
            written = log.stat().st_size if log.exists() else 0
            for name in self._target:
                self._launch(name)
            try:
                self._wait_healthy(self._start_timeout, functools.partial(self._check_port, log, written))
            except StartError as error:
                if attempt == PORT_ATTEMPTS or not PORT_TAKEN.search(str(error)):
                    raise
                for name in self._target:
                    self.stop_component(name, grace=1.0)
                self._place = dataclasses.replace(self._located, port=free_port())
            else:
                return

    def _check_port(self, log: Path, written: int) -> None:
        """Raise an error as soon as the web server says that its port is taken: Airflow 2's waits for minutes then."""
        if not log.exists():
            return
        with log.open(errors="replace") as lines:
            lines.seek(written)
            for line in lines:
                if PORT_TAKEN.search(line):
                    raise self._running.failure(line.strip())

    def stop(self) -> None:
        """End every process and, unless `keep`, remove its folder; harmless when it has ended already.

        Another thread may call it during a start, which then fails.
        """
        self._stopped = True
        if self._components is not None:
            self._components.end()
        self._components = None
        self._resources.close()
        if self._folder is not None and not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def alive(self) -> bool:
        """Whether it still runs: ``python -m dev stop`` may have ended it from outside."""
        return self._components is not None and self._components.alive

    # -- components ---------------------------------------------------------------------------------------

    def ended(self) -> dict[str, int]:
        """Which components have ended by themselves, and their exit codes; a negative one names a signal."""
        return self._running.ended()

    def problem(self) -> str | None:
        """Why it is not healthy now, or None when it is."""
        return self._why_not_healthy()

    def restart_component(self, name: str) -> None:
        """Start a component once more, with what is left of it ended before; :meth:`problem` says when it is up."""
        self.stop_component(name, grace=1.0)
        self._launch(name)

    def configure(self, settings: Mapping[str, str]) -> None:
        """Change environment variables of the components that are started from now on."""
        self._overrides |= settings

    def start_component(self, *names: str, timeout: float = 60.0) -> None:
        """Start components that were stopped, with the same port and home, and wait until all are up.

        ``triggerer-2`` is one more of its kind; it ends with the others.
        """
        for name in names:
            self._launch(name)
        self.wait_healthy(timeout=timeout)

    def stop_component(self, name: str, sig: int = signal.SIGTERM, grace: float = 15.0) -> None:
        """Signal one component and wait until it and all its descendants are gone.

        SIGKILL hits the whole family at once, as the loss of a container would. Any other signal goes to
        the component alone; what is left after `grace` seconds is killed.
        """
        self._running.stop(name, sig, grace)
        self._write_state()

    def _launch(self, name: str) -> None:
        command = [str(self._located.environment / "bin" / "airflow"), *self._release.command(name)]
        self._running.start(name, command, self.env if name == "api-server" else with_long_timeouts(self.env))
        self._write_state()

    def log(self, name: str, lines: int = 200) -> str:
        """Return the last lines that a component wrote."""
        return self._running.log(name, lines)

    def log_path(self, name: str) -> Path:
        """Return the file that a component writes to."""
        return self._running.log_path(name)

    def logged_requests(self) -> Iterator[LoggedRequest]:
        """Return every request to its web server since it was first started, from any client."""
        with self.log_path(self._release.web).open(errors="replace") as lines:
            for found in map(REQUEST.search, lines):
                if found:
                    yield LoggedRequest(found["method"] or found["verb"], found["path"] or found["where"])

    def _write_state(self) -> None:
        State(
            name=self.name,
            version=self.version,
            url=self.url,
            folder=str(self._folder),
            home=str(self.home),
            owner=os.getpid(),
            supervisor=self._running.supervisor,
            processes=self.processes,
            logins=self.users,
            keep=self._keep,
        ).write()

    # -- waiting ------------------------------------------------------------------------------------------

    def wait_healthy(self, timeout: float = 120.0) -> None:
        """Wait until every started component is up and each DAG file that was copied has been parsed.

        A file counts as a DAG file as in Airflow (it mentions both "dag" and "airflow"), unless its name starts
        with an underscore: name modules so that only help DAG files.
        """
        self._wait_healthy(timeout, lambda: None)

    def _wait_healthy(self, timeout: float, check: Callable[[], None]) -> None:
        """The same; `check` raises an error that ends the wait."""

        def problem() -> str | None:
            check()
            return self._why_not_healthy()

        self._wait(problem, timeout)
        if {"scheduler", "dag-processor"} & set(map(kind, self.processes)) and self._source is not None:
            files = health.dag_files(self.dags)
            self._wait(lambda: self._why_not_parsed(files), timeout)

    def wait_dags(self, dag_ids: Sequence[str], timeout: float = 60.0) -> None:
        """Wait until these DAGs can be triggered."""

        def missing() -> str | None:
            lacking = set(dag_ids) - health.known_dags(self.database)
            return f"DAGs not known: {sorted(lacking)}" if lacking else None

        self._wait(missing, timeout)

    def _why_not_healthy(self) -> str | None:
        for name in self.processes:
            if kind(name) == "worker" and not self._running.wrote(name, "ready."):
                return f"{name} is not ready"
        return health.unhealthy(self._release, self.url, self.database, self._running.started)

    def _why_not_parsed(self, files: Sequence[Path]) -> str | None:
        left = health.unparsed(self.database, files)
        return f"DAG files not parsed: {sorted(left)}" if left else None

    def _wait(self, problem: Callable[[], str | None], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while why := problem():
            self._running.check()
            if time.monotonic() > deadline:
                raise self._running.failure(f"after {timeout:.0f} s: {why}\n{self._running.logs(30)}")
            time.sleep(POLL_SECONDS)

    # -- commands -----------------------------------------------------------------------------------------

    def run(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run its own `airflow` command."""
        return self._command("airflow", arguments, check)

    def python(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run its own Python."""
        return self._command("python", arguments, check)

    def _command(self, program: str, arguments: Sequence[str], check: bool) -> subprocess.CompletedProcess[str]:
        command = [str(self._located.environment / "bin" / program), *arguments]
        return subprocess.run(command, env=self.env, cwd=self.home, capture_output=True, text=True, check=check)
