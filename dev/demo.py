"""
The demonstration: two real Airflow deployments, and a DAG in one that triggers a DAG in the other.

``python -m dev.demo --local 3.3.2 --remote 2.11.2`` starts both, runs ``example_dags/tour.py`` in the local one's
scheduler and triggerer, shows each step, checks the results in the remote, and removes everything. ``--keep``
leaves both running until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

from astronomer_remote.api.protocol.errors import NotFound, RemoteError
from astronomer_remote.api.protocol.models import FINISHED_TASK_STATES, DagRun
from dev.deployments import Airflow, StartError
from dev.environments import InstallError
from dev.needs import LOCAL, REMOTE, demo_versions
from dev.pair import CONNECTION_ID, EXAMPLE_DAGS, OWN_DAGS, POOL, SLOTS, Caller, Pair, furnish, pair, running
from dev.templates import PrepareError
from dev.upkeep import Upkeep
from dev.versions import Release

DAG_ID, REMOTE_DAG_ID = "tour", "load_sales"
RUN_SECONDS = 240.0
QUIET_SECONDS = 15.0
LOG_LINES = 25
OLDEST_LOCAL = (2, 11)
SHOWN_STATES = ("running", "deferred", "up_for_retry", "success", "failed", "upstream_failed")
"""States of a task that are worth a line; those between them are over in a moment."""


class DemoFailed(RuntimeError):
    """A result is not as expected; the text says which, with the last lines of the task's log."""


class Toured(NamedTuple):
    """Where to see what the tour did."""

    local_run: str
    remote_run: str


class Progress:
    """Prints each step and, after a while without one, what it waits for."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self.doing = "starting both deployments"
        self._over = threading.Event()
        # Both deployments are started at the same time, and each line is one.
        self._lock = threading.Lock()
        threading.Thread(target=self._repeat, daemon=True).start()

    @property
    def seconds(self) -> float:
        """Time since the beginning."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Print a step, with the seconds that have passed."""
        with self._lock:
            self._last = time.monotonic()
            print(f"[{self.seconds:4.0f} s] {text}", flush=True)

    def end(self) -> None:
        """There will be no more steps."""
        self._over.set()

    def _repeat(self) -> None:
        while not self._over.wait(1):
            if time.monotonic() - self._last > QUIET_SECONDS:
                self.say(f"... still {self.doing}")


def tour(both: Pair, progress: Progress, look: Callable[[], object]) -> Toured:
    """
    Run the example DAG in the local deployment and check its results in the remote.

    :param both: the deployments, furnished.
    :param progress: prints the steps.
    :param look: called about once a second while the DAG runs.
    :return: where a person can see both runs.
    :raises DemoFailed: if a result is not as expected.
    """
    here, there = Caller(both.local), Caller(both.remote)
    run_id = f"demo_{datetime.now(timezone.utc):%Y-%m-%dT%H.%M.%S}"
    run = here.do(here.api.trigger_dag_run(DAG_ID, run_id=run_id))
    progress.say(f"local: triggered the DAG {DAG_ID!r}, run {run_id}")
    progress.doing = f"waiting for the tasks of {run_id}"
    states = follow(both.local, here, run, progress, look)
    if "deferred" not in states["trigger_and_wait"]:
        raise DemoFailed("The task 'trigger_and_wait' did not wait in the triggerer.")
    check(here, there, run, progress)
    return Toured(run.url or "", value(here, run, "trigger_and_wait", "remote_run_url"))


def follow(
    local: Airflow, here: Caller, run: DagRun, progress: Progress, look: Callable[[], object]
) -> dict[str, list[str]]:
    """Print each step of the local run until it has ended. :return: the states that each task went through."""
    states: dict[str, list[str]] = {}
    deadline = time.monotonic() + RUN_SECONDS
    while True:
        look()
        instances = here.do(here.api.poller.task_instances(run))
        for instance in instances:
            passed, state = states.setdefault(instance.task_id, []), instance.state or ""
            if state in SHOWN_STATES and state not in passed[-1:]:
                passed.append(state)
                words = "resumes in a worker" if passed[-2:] == ["deferred", "running"] else None
                progress.say(f"local: {instance.task_id} {words or in_words(here, run, instance.task_id, state)}")
        if instances and all(instance.state in FINISHED_TASK_STATES for instance in instances):
            break
        if time.monotonic() > deadline:
            raise DemoFailed(f"The local run did not finish within {RUN_SECONDS:.0f} s: {states}{logs(local, run)}")
        time.sleep(1)
    failed = [task_id for task_id, passed in states.items() if passed[-1:] != ["success"]]
    if failed:
        raise DemoFailed(f"These tasks of the local run did not succeed: {', '.join(failed)}{logs(local, run)}")
    return states


def in_words(here: Caller, run: DagRun, task_id: str, state: str) -> str:
    """A task's state, with what it left in XCom as far as that is worth a line."""
    if (task_id, state) == ("trigger_and_wait", "deferred"):
        url = value(here, run, task_id, "remote_run_url")
        return f"is deferred: it has triggered a run in the remote and waits for it in the triggerer\n{'':9}{url}"
    if state != "success":
        return {"running": "runs", "up_for_retry": "failed and will be retried"}.get(state, f"is {state}")
    returned = value(here, run, task_id)
    if task_id == "trigger_and_wait":
        return f"succeeded: the remote run {returned['run_id']} finished: {returned['state']}"
    if task_id == "resize_pool":
        return f"succeeded: the remote's pool {returned['name']!r} has {returned['slots']} slots now"
    return f"succeeded and returned {returned}"


def value(here: Caller, run: DagRun, task_id: str, key: str = "return_value") -> Any:
    """An XCom value of a local task."""
    try:
        return here.do(here.api.get_xcom(run.dag_id, run.run_id, task_id, key))
    except NotFound:
        return None


def check(here: Caller, there: Caller, run: DagRun, progress: Progress) -> None:
    """
    Check in the remote itself what the local run should have done there.

    A user may use both deployments in the meantime, so only the effects of this run count.
    """
    run_id = value(here, run, "trigger_and_wait")["run_id"]
    runs = there.do(there.api.list_dag_runs(REMOTE_DAG_ID))
    own = [each for each in runs if each.run_id == run_id or (each.conf or {}).get("requested_by") == run.run_id]
    if [(each.run_id, each.state) for each in own] != [(run_id, "success")]:
        raise DemoFailed(f"The remote should have one successful run {run_id!r} of this tour, but has {own}.")
    before, after = value(here, run, "list_pools")[POOL], value(here, run, "resize_pool")["slots"]
    slots = there.do(there.api.get_pool(POOL)).slots
    if after != 2 * before or slots == before:
        raise DemoFailed(f"The pool {POOL!r} had {before} slots, was set to {after}, and has {slots} in the remote.")
    found = f"{slots} slots in {POOL!r}"
    if slots != after:
        found += f" (the tour left {after}; it has been changed since)"
    progress.say(f"remote: checked: exactly one run of this tour, state success; {found}")


def logs(local: Airflow, run: DagRun) -> str:
    """The end of each log of the run's tasks, the last try only."""
    newest: dict[Path, Path] = {}
    for path in sorted((local.home / "logs" / f"dag_id={run.dag_id}" / f"run_id={run.run_id}").rglob("attempt=*.log")):
        newest[path.parent] = path
    ends = [f"\n--- {path.parent.name}, {path.stem} ---\n{tail(path)}" for path in newest.values()]
    return "".join(ends) or "\nNo task wrote a log. The scheduler's log:\n" + local.log("scheduler", LOG_LINES)


def tail(path: Path) -> str:
    """The last lines of a task's log; Airflow 3 writes each as a JSON object."""
    lines = []
    for line in path.read_text(errors="replace").splitlines()[-LOG_LINES:]:
        try:
            entry = json.loads(line)
            error = (entry.get("error_detail") or [{}])[0]
            line = f"{entry.get('level', '')}: {entry.get('event', '')} {error.get('exc_value', '')}"
        except (ValueError, AttributeError):
            pass
        lines.append(line.rstrip()[:500])
    return "\n".join(lines)


def addresses(both: Pair) -> str:
    """Where to log in, and how."""
    login, password = both.local.users["admin"]
    lines = [f"  {each.name:<8}Airflow {each.version:<9}{each.url}" for each in both]
    return "\n".join([*lines, f"  Log in to either as {login}, password {password}."])


def advice(both: Pair, toured: Toured) -> str:
    """What to look at and to try while both are running."""
    local, remote = (os.path.relpath(OWN_DAGS / each.name) for each in both)
    examples = os.path.relpath(EXAMPLE_DAGS)
    within = "/tasks/" if both.local.generation == "v2" else "&task_id="
    task = f"{toured.local_run}{within}trigger_and_wait"
    refused = ""
    if both.remote.generation == "experimental":
        refused = "\n  (any_endpoint and borrow_slots fail: Airflow 1.10 lacks what they use, and their errors say so.)"
    again = " (type the password again first)" if both.local.generation == "v1" and not refused else ""
    return f"""
Look at
  the local run       {toured.local_run}
  the task that triggered the remote run; its link "Remote DAG run" leads there
                      {task}
  the remote run      {toured.remote_run}
  the connection      Admin > Connections > {CONNECTION_ID} in the local UI, with its Test button{again}

Try
  Every DAG in the local UI is a recipe from {examples}/ and runs without changes: press Trigger.{refused}
  A file that you put into {local}/ becomes a DAG of the local deployment within half a minute, one in
  {remote}/ a DAG of the remote. The files are kept when the demo stops. For example, from another terminal:

    sed 's/"trigger_and_wait"/"my_first"/' {examples}/trigger_and_wait.py > {local}/my_first.py
"""


def stay(both: Pair, upkeep: Upkeep) -> None:
    """Keep the deployments running until Ctrl-C, or until another process stops one."""
    try:
        while upkeep.look():
            time.sleep(1)
    except KeyboardInterrupt:
        print("\nStopping both.", flush=True)


def local_version(text: str) -> str:
    """Check a version that this package is to run in."""
    if Release.parse(text).minor < OLDEST_LOCAL:
        raise argparse.ArgumentTypeError("this package runs in Airflow 2.11 and 3; older ones can be the remote")
    return text


def remote_version(text: str) -> str:
    """Check a version."""
    return Release.parse(text).text


def show(both: Pair, progress: Progress, *, keep: bool) -> None:
    """Start both deployments, run the tour, and end them, at once or on Ctrl-C."""

    def started(deployment: Airflow) -> None:
        other = both.remote if deployment is both.local else both.local
        progress.say(f"{deployment.name}: Airflow {deployment.version} is up")
        progress.doing = f"starting {other.name}"

    with running(list(both), started):
        furnish(Caller(both.local), Caller(both.remote), both.remote)
        progress.say(f"remote: created the pool {POOL!r} with {SLOTS} slots")
        progress.say(f"local: created the connection {CONNECTION_ID!r} to the remote")
        progress.say("both deployments are ready:")
        print(addresses(both), flush=True)
        upkeep = Upkeep(list(both), progress.say)
        toured = tour(both, progress, upkeep.look)
        progress.end()
        print(
            f"\nDone in {progress.seconds:.0f} s. A DAG in Airflow {both.local.version} triggered a DAG in Airflow "
            f"{both.remote.version}, waited for it in the triggerer, read its result, and resized a pool there.",
            flush=True,
        )
        if keep:
            print(f"\nBoth keep running until you press Ctrl-C.\n{addresses(both)}\n{advice(both, toured)}", flush=True)
            stay(both, upkeep)
        else:
            print("Both are stopped. To keep them running: make demo KEEP=1", flush=True)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m dev.demo", description=__doc__)
    parser.add_argument("--local", type=local_version, help=f"Airflow that runs the DAG (default: {LOCAL})")
    parser.add_argument("--remote", type=remote_version, help=f"Airflow that is the remote (default: {REMOTE})")
    parser.add_argument(
        "--engine",
        choices=("local", "celery"),
        default="local",
        help="what runs the local tasks; celery: two workers, two schedulers, two triggerers, PostgreSQL and Redis",
    )
    parser.add_argument("--keep", action="store_true", help="leave both running until Ctrl-C")
    return parser.parse_args()


def run(given: argparse.Namespace) -> None:
    """Run the demo with these options."""
    local, remote, note = demo_versions(given.local, given.remote)
    progress = Progress()
    both = pair(
        local,
        remote,
        engine=given.engine,
        own_dags=OWN_DAGS,
        report=lambda name, text: progress.say(f"{name}: {text}"),
    )
    for each in both:
        (OWN_DAGS / each.name).mkdir(parents=True, exist_ok=True)
    progress.say(f"starting Airflow {local} (local) and Airflow {remote} (remote)")
    if note:
        progress.say(note)
    show(both, progress, keep=given.keep)


def main() -> int:
    """Run the demonstration. :return: the exit code."""
    given = options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        run(given)
    except KeyboardInterrupt:
        print("\nInterrupted; everything is stopped.", file=sys.stderr)
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
        print(f"\nThe demo failed; everything is stopped. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
