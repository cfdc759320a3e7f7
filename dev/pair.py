"""The two deployments of the demonstration, with everything that the example DAGs need to succeed there."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

from astronomer_remote.api import deployment as api
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure
from dev.deployments import Airflow, StartError
from dev.health import login_problem
from dev.places import ROOT
from dev.pythons import pythons
from dev.supervisor import descendants

T = TypeVar("T")

EXAMPLE_DAGS = ROOT / "example_dags"
REMOTE_DAGS = Path(__file__).with_name("demo_dags")
OWN_DAGS = ROOT / "my_dags"
"""Where a person puts DAG files; git ignores it, and nothing here removes what is in it."""

CONNECTION_ID = "astronomer_default"
POOL, SLOTS = "warehouse", 4
LOGIN_SECONDS = 120.0
END_SECONDS = 5.0

EASY_TO_EXPLORE = {
    # A browser keeps connections open without sending anything, and each would keep Airflow 2's only process busy.
    "GUNICORN_CMD_ARGS": "--threads=8",
}
SHOWS_CONFIGURATION = {"v1": "AIRFLOW__WEBSERVER__EXPOSE_CONFIG", "v2": "AIRFLOW__API__EXPOSE_CONFIG"}


class Pair(NamedTuple):
    """A deployment whose DAGs drive another one, and that other one."""

    local: Airflow
    remote: Airflow


def pair(
    local: str,
    remote: str,
    *,
    engine: Literal["local", "celery"] = "local",
    own_dags: Path | None = None,
    report: Callable[[str, str], None] | None = None,
) -> Pair:
    """Describe the two deployments; :func:`running` starts them.

    :param local: version of Airflow that runs the example DAGs.
    :param remote: version of Airflow that is driven.
    :param engine: what runs the tasks of the local one, see :class:`Airflow`.
    :param own_dags: folder whose subfolders ``local`` and ``remote`` have a person's own DAG files.
    :param report: called with a deployment's name and a line about each step of its installation and start.
    """
    driver = Airflow(
        local,
        name="local",
        project=True,
        dags=EXAMPLE_DAGS,
        engine=engine,
        own_dags=own_dags / "local" if own_dags else None,
        env=EASY_TO_EXPLORE,
        report=partial(report, "local") if report else None,
    )
    driven = Airflow(
        remote,
        name="remote",
        dags=REMOTE_DAGS,
        own_dags=own_dags / "remote" if own_dags else None,
        env=EASY_TO_EXPLORE,
        # A browser gives its cookies to every port of a host: with one name for both, logging in to one UI would be
        # logging out of the other.
        host="localhost",
        report=partial(report, "remote") if report else None,
    )
    shows = SHOWS_CONFIGURATION.get(driven.generation)
    driven.configure({shows: "True"} if shows else {})
    return Pair(driver, driven)


class Caller:
    """Calls a deployment with this package's own client, which needs no Airflow."""

    def __init__(self, deployment: Airflow) -> None:
        import requests

        settings = Settings.parse(**connection(deployment))
        self.api = api.Deployment(settings)
        self._driver = SyncDriver(configure(requests.Session(), settings), settings, reload=lambda: settings)

    def do(self, flow: Flow[T]) -> T:
        """Run a flow."""
        return self._driver.run(flow)


def connection(deployment: Airflow) -> dict[str, Any]:
    """How to reach a deployment, and as whom; 1.10 lets everybody in here, as its default is."""
    # The URL has the port already, but the Test button of Airflow 3.3.1 and 3.3.2 wants the field filled in.
    address = {"host": deployment.url, "port": urlsplit(deployment.url).port}
    if deployment.generation == "experimental":
        return address
    login, password = deployment.users["admin"]
    return {**address, "login": login, "password": password}


def furnish(local: Caller, remote: Caller, to: Airflow) -> None:
    """Make what the example DAGs need beside the DAGs of the remote: a pool there, and the connection to it here."""
    remote.do(remote.api.create_pool(POOL, SLOTS))
    body = {"connection_id": CONNECTION_ID, "conn_type": "astronomer", **connection(to)}
    local.do(local.api.call("POST", "/connections", json=body))


@contextmanager
def running(deployments: list[Airflow], started: Callable[[Airflow], None]) -> Iterator[None]:
    """Start deployments at the same time, and end them whatever happens, soon and completely.

    :param deployments: what to start.
    :param started: called with each that is up, which is when a person can log in to its UI.
    :raises StartError, InstallError, PrepareError: for the first that does not come up.
    """
    outcomes: queue.SimpleQueue[tuple[Airflow, BaseException | None]] = queue.SimpleQueue()
    # Remembered from here on: a start that is ended while it looks for them would find none, and remember that.
    pythons()
    # They are daemons: what a thread waits for, such as another process that installs the same, holds up no end.
    threads = [threading.Thread(target=_start, args=(each, outcomes), daemon=True) for each in deployments]
    others = descendants({os.getpid()})
    try:
        for thread in threads:
            thread.start()
        for _ in threads:
            deployment, error = outcomes.get()
            if error:
                raise error
            started(deployment)
        yield
    finally:
        with _undisturbed():
            _end(deployments, threads, others)


def _start(deployment: Airflow, outcomes: queue.SimpleQueue[tuple[Airflow, BaseException | None]]) -> None:
    try:
        deployment.start()
        _wait_for_login(deployment)
    except BaseException as error:  # noqa: BLE001  # it is raised in the caller of the start
        outcomes.put((deployment, error))
    else:
        outcomes.put((deployment, None))


def _wait_for_login(deployment: Airflow) -> None:
    deadline = time.monotonic() + LOGIN_SECONDS
    login, password = deployment.users["admin"]
    while problem := login_problem(deployment.generation, deployment.url, login, password):
        if time.monotonic() > deadline:
            raise StartError(f"{deployment.name} ({deployment.version}): {problem}")
        time.sleep(0.5)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no further Ctrl-C come between, where it can be kept away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _end(deployments: list[Airflow], starting: list[threading.Thread], others: set[int]) -> None:
    """End every process of the deployments, and of starts that are under way; `others` were there before."""
    ending = [threading.Thread(target=each.stop) for each in deployments]
    for thread in ending:
        thread.start()
    for thread in ending:
        thread.join()
    if any(thread.is_alive() for thread in starting):
        # One installs, prepares a database or has just started something: without its processes it fails at once, ...
        _kill_descendants(others)
        deadline = time.monotonic() + END_SECONDS
        for thread in starting:
            thread.join(max(deadline - time.monotonic(), 0.0))
        # ... and removes what it had made.
        for each in deployments:
            each.stop()


def _kill_descendants(others: set[int]) -> None:
    """End every process below this one, but for some and what is below those."""
    began = time.monotonic()
    while left := descendants({os.getpid()}) - others - descendants(others):
        waited = time.monotonic() - began
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if waited < END_SECONDS / 2 else signal.SIGKILL)
        if waited > END_SECONDS:
            return
        time.sleep(0.1)
