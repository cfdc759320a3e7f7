"""
The demonstration: two real Airflow deployments, and a DAG in one that drives the other.

``python -m dev.demo --local 3.3.2 --remote 2.11.2`` starts both, runs ``example_dags/tour.py`` in the local one's
scheduler and triggerer, shows each step, checks in the remote what came of it, and removes everything. ``--keep``
leaves both running until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from astronomer_remote.api import deployment as api
from astronomer_remote.api.errors import NotFound, RemoteError
from astronomer_remote.api.models import FINISHED_TASK_STATES, DagRun
from astronomer_remote.api.settings import Settings
from astronomer_remote.api.transport import SyncDriver, configure
from astronomer_remote.api.wire import Flow
from dev.deployments import ROOT, Deployment, StartError
from dev.environments import InstallError
from dev.needs import LOCAL, REMOTE, demo_versions
from dev.templates import PrepareError
from dev.versions import Version

T = TypeVar("T")

REMOTE_DAGS = Path(__file__).with_name("demo_dags")
DAG_ID, REMOTE_DAG_ID = "tour", "load_sales"
CONNECTION_ID = "astronomer_default"
POOL, SLOTS = "warehouse", 4
RUN_SECONDS = 240.0
QUIET_SECONDS = 15.0
LOG_LINES = 25
OLDEST_LOCAL = (2, 11)
TOLD_STATES = ("running", "deferred", "up_for_retry", "success", "failed", "upstream_failed")
"""States of a task that are worth a line; those between them are over in a moment."""


class DemoFailed(RuntimeError):
    """Something did not come out as it should; the text says what, with the end of the task's log."""


class Progress:
    """Tells what happens and, if nothing did for a while, that something still is to."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self.doing = "starting"
        self._over = threading.Event()
        threading.Thread(target=self._say_that_it_goes_on, daemon=True).start()

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Print a step, with the seconds that have passed."""
        self._last = time.monotonic()
        print(f"[{self.seconds:4.0f} s] {text}", flush=True)

    def end(self) -> None:
        """There will be no more steps."""
        self._over.set()

    def _say_that_it_goes_on(self) -> None:
        while not self._over.wait(1):
            if time.monotonic() - self._last > QUIET_SECONDS:
                self.say(f"... {self.doing}")


class Client:
    """Talks to a deployment by this package's own conversations, which need no Airflow."""

    def __init__(self, deployment: Deployment) -> None:
        import requests

        settings = Settings.parse(**connection(deployment))
        self.api = api.Deployment(settings)
        self._driver = SyncDriver(configure(requests.Session(), settings), settings, reload=lambda: settings)

    def do(self, flow: Flow[T]) -> T:
        """Carry a conversation out."""
        return self._driver.run(flow)


def connection(deployment: Deployment) -> dict[str, Any]:
    """How to reach a deployment, and as whom; 1.10 lets everybody in here, as its default is."""
    if deployment.generation == "experimental":
        return {"host": deployment.url}
    login, password = deployment.users["admin"]
    return {"host": deployment.url, "login": login, "password": password}


@contextmanager
def running(deployments: list[Deployment], progress: Progress) -> Iterator[None]:
    """Start deployments at the same time, and end them whatever happens."""
    with ThreadPoolExecutor(len(deployments)) as pool:
        starting = {pool.submit(each.start): each for each in deployments}
        try:
            left = set(starting)
            while left:
                done, left = wait(left, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                    progress.doing = f"starting {' and '.join(starting[each].name for each in left)}"
                    progress.say(f"{address(starting[future])} is up")
            yield
        finally:
            # A start that is still under way fails at once when its processes end, ...
            for each in deployments:
                each.stop()
    # ... and what it had left is ended here, when its thread is over.
    for each in deployments:
        each.stop()


def address(deployment: Deployment) -> str:
    """A deployment's name, version, address and login, in one line."""
    login, password = deployment.users["admin"]
    return f"{deployment.name}: Airflow {deployment.version} at {deployment.url} (login {login}, password {password})"


def tour(local: Deployment, remote: Deployment, progress: Progress) -> None:
    """Run the example DAG in the local deployment and check in the remote what came of it."""
    here, there = Client(local), Client(remote)
    there.do(there.api.create_pool(POOL, SLOTS))
    progress.say(f"remote: pool {POOL!r} made, {SLOTS} slots")
    body = {"connection_id": CONNECTION_ID, "conn_type": "astronomer", **connection(remote)}
    here.do(here.api.call("POST", "/connections", json=body))
    progress.say(f"local: connection {CONNECTION_ID!r} made, to {remote.url}")
    run = here.do(here.api.trigger_dag_run(DAG_ID))
    progress.say(f"local: DAG {DAG_ID!r} triggered, {run.url}")
    progress.doing = "waiting for the local run"
    states = follow(local, here, run, progress)
    if "deferred" not in states["trigger_and_wait"]:
        raise DemoFailed("The task 'trigger_and_wait' did not wait in the triggerer.")
    check(there, value(here, run, "trigger_and_wait")["run_id"], progress)


def follow(local: Deployment, here: Client, run: DagRun, progress: Progress) -> dict[str, list[str]]:
    """Tell each step of the local run until it has ended. :return: the states that each task went through."""
    states: dict[str, list[str]] = {}
    deadline = time.monotonic() + RUN_SECONDS
    while True:
        instances = here.do(here.api.observer.task_instances(run))
        for instance in instances:
            passed, state = states.setdefault(instance.task_id, []), instance.state or ""
            if state in TOLD_STATES and state not in passed[-1:]:
                passed.append(state)
                progress.say(f"local: {instance.task_id}: {state}{note(here, run, instance.task_id, state)}")
        if instances and all(instance.state in FINISHED_TASK_STATES for instance in instances):
            break
        if time.monotonic() > deadline:
            raise DemoFailed(f"The local run did not end within {RUN_SECONDS:.0f} s: {states}{logs(local, run)}")
        time.sleep(2)
    failed = [task_id for task_id, passed in states.items() if passed[-1:] != ["success"]]
    if failed:
        raise DemoFailed(f"In the local run these did not succeed: {', '.join(failed)}{logs(local, run)}")
    return states


def note(here: Client, run: DagRun, task_id: str, state: str) -> str:
    """What a task left in XCom, as far as it is worth telling."""
    if (task_id, state) == ("trigger_and_wait", "deferred"):
        return f", waits without a worker for {value(here, run, task_id, 'remote_run_url')}"
    if state != "success":
        return ""
    returned = value(here, run, task_id)
    if task_id == "trigger_and_wait":
        return f", remote run {returned['run_id']} ended as {returned['state']}"
    if task_id == "resize_pool":
        return f", {returned['name']} has {returned['slots']} slots"
    return f", {returned}"


def value(here: Client, run: DagRun, task_id: str, key: str = "return_value") -> Any:
    """An XCom value of a local task."""
    try:
        return here.do(here.api.get_xcom(run.dag_id, run.run_id, task_id, key))
    except NotFound:
        return None


def check(there: Client, run_id: str, progress: Progress) -> None:
    """Ask the remote itself for what the local DAG is supposed to have done there."""
    runs = [(run.run_id, run.state) for run in there.do(there.api.list_dag_runs(REMOTE_DAG_ID))]
    if runs != [(run_id, "success")]:
        raise DemoFailed(f"The remote should have one successful run {run_id!r}, but has {runs}.")
    slots = there.do(there.api.get_pool(POOL)).slots
    if slots != 2 * SLOTS:
        raise DemoFailed(f"The remote's pool {POOL!r} should have {2 * SLOTS} slots, but has {slots}.")
    progress.say(f"remote: has exactly one run of {REMOTE_DAG_ID!r}, successful, and {slots} slots in {POOL!r}")


def logs(local: Deployment, run: DagRun) -> str:
    """The end of each log of the run's tasks, the last try only."""
    newest: dict[Path, Path] = {}
    for path in sorted((local.home / "logs" / f"dag_id={run.dag_id}").rglob("attempt=*.log")):
        newest[path.parent] = path
    ends = [f"\n--- {path.parent.name}, {path.stem} ---\n{tail(path)}" for path in newest.values()]
    return "".join(ends) or "\nNo task wrote a log; the scheduler's:\n" + local.log("scheduler", LOG_LINES)


def tail(path: Path) -> str:
    """The last lines of a task's log; Airflow 3 writes each as a JSON object."""
    told = []
    for line in path.read_text(errors="replace").splitlines()[-LOG_LINES:]:
        try:
            entry = json.loads(line)
            error = (entry.get("error_detail") or [{}])[0]
            line = f"{entry.get('level', '')}: {entry.get('event', '')} {error.get('exc_value', '')}"
        except (ValueError, AttributeError):
            pass
        told.append(line.rstrip()[:500])
    return "\n".join(told)


def stay(deployments: list[Deployment]) -> None:
    """Leave the deployments up until Ctrl-C, or until they are stopped from elsewhere."""
    print("\nBoth stay up. Ctrl-C ends them.")
    for each in deployments:
        print(f"  {address(each)}; its DAG files are in {each.dags}", flush=True)
    try:
        while all(each.alive for each in deployments):
            time.sleep(1)
    except KeyboardInterrupt:
        print("\nEnding both.", flush=True)


def local_version(text: str) -> str:
    """Check a version that this package is to run in."""
    if Version.parse(text).minor < OLDEST_LOCAL:
        raise argparse.ArgumentTypeError("this package runs in Airflow 2.11 and 3; older ones can be the remote")
    return text


def remote_version(text: str) -> str:
    """Check a version."""
    return Version.parse(text).text


def main() -> int:
    """Run the demonstration. :return: the exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.demo", description=__doc__)
    parser.add_argument("--local", type=local_version, help=f"Airflow that runs the DAG (default: {LOCAL})")
    parser.add_argument("--remote", type=remote_version, help=f"Airflow that is driven (default: {REMOTE})")
    parser.add_argument("--keep", action="store_true", help="leave both running until Ctrl-C")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        given.local, given.remote, note = demo_versions(given.local, given.remote)
    except InstallError as error:
        sys.exit(f"error: {error}")
    progress = Progress()
    local = Deployment(
        given.local,
        name="local",
        project=True,
        dags=ROOT / "example_dags",
        report=lambda text: progress.say(f"local: {text}"),
    )
    remote = Deployment(
        given.remote, name="remote", dags=REMOTE_DAGS, report=lambda text: progress.say(f"remote: {text}")
    )
    progress.say(f"starting Airflow {given.local} (local) and Airflow {given.remote} (remote)")
    if note:
        progress.say(f"{note}")
    try:
        with running([remote, local], progress):
            tour(local, remote, progress)
            print(
                f"\nDone in {progress.seconds:.0f} s: a DAG in Airflow {given.local} triggered a DAG in Airflow "
                f"{given.remote}, waited for it in the triggerer, read its result, and resized a pool there."
            )
            progress.end()
            if given.keep:
                stay([local, remote])
    except KeyboardInterrupt:
        print("\nInterrupted; everything was ended.", file=sys.stderr)
        return 128 + signal.SIGINT
    except (
        DemoFailed,
        RemoteError,
        StartError,
        InstallError,
        PrepareError,
        OSError,
        subprocess.SubprocessError,
    ) as error:
        print(f"\nThe demo failed; everything was ended. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
