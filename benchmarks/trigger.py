"""
What our hook adds to a request: ``python -m benchmarks.trigger``.

Warm triggers by one hook and bare ``requests.post`` in turn, against the same real deployment: with a run id that we
generate, as the operator does by default, and with one that is given, which is looked for first. And reading a run
with user and password, where Airflow 2 checks a hash of the password with each request unless there is a session.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeAlias

import requests

from astronomer_remote.api.pools.diff import table
from benchmarks.remote import cpu_seconds, machine
from dev.deployments import Airflow
from dev.places import ROOT
from dev.versions import Release

RESULTS = ROOT / "benchmarks" / "results"
CONN_ID = "benchmark"
DAG_ID = "benchmark"
DAG = f"""
from datetime import datetime
from airflow import DAG
dag = DAG("{DAG_ID}", schedule=None, start_date=datetime(2020, 1, 1))
"""
SECONDS = 60.0
KINDS = {"trigger": "trigger", "trigger_named": "trigger, id given", "read": "read"}
MOST = {"trigger": 1.2, "read": 0.35}

Call: TypeAlias = Callable[[int], Any]


class Bare:
    """Requests as one writes them without a hook: a connection and credentials for each."""

    def __init__(self, deployment: Airflow) -> None:
        self._url = f"{deployment.url}/api/{deployment.generation}/dags/{DAG_ID}/dagRuns"
        login, password = deployment.users["admin"]
        # Airflow 3 wants to know the date, if only that there is none.
        self._fields: Mapping[str, None] = {"logical_date": None} if deployment.generation == "v2" else {}
        if deployment.generation == "v2":
            pair = {"username": login, "password": password}
            token = requests.post(f"{deployment.url}/auth/token", json=pair, timeout=SECONDS).json()["access_token"]
            self._headers = {"Authorization": f"Bearer {token}"}
        else:
            self._headers = {"Authorization": f"Basic {b64encode(f'{login}:{password}'.encode()).decode()}"}

    def trigger(self, number: int) -> None:
        self._trigger(f"bare__{number}")

    def trigger_named(self, number: int) -> None:
        self._trigger(f"bare_named__{number}")

    def _trigger(self, run_id: str) -> None:
        body: dict[str, Any] = {"dag_run_id": run_id, "conf": {}, **self._fields}
        requests.post(self._url, json=body, headers=self._headers, timeout=SECONDS).raise_for_status()

    def read(self, number: int) -> None:
        url = f"{self._url}/bare__{number}"
        requests.get(url, headers=self._headers, timeout=SECONDS).raise_for_status()


class Ours:
    """The same by the hook."""

    def __init__(self, deployment: Airflow) -> None:
        login, password = deployment.users["admin"]
        connection = {"conn_type": "astronomer", "host": deployment.url, "login": login, "password": password}
        os.environ[f"AIRFLOW_CONN_{CONN_ID.upper()}"] = json.dumps(connection)
        from astronomer_remote.hooks.astronomer import AstronomerHook

        self._hook = AstronomerHook(CONN_ID)

    def trigger(self, number: int) -> None:
        self._hook.trigger_dag_run(DAG_ID)

    def trigger_named(self, number: int) -> None:
        self._hook.trigger_dag_run(DAG_ID, run_id=f"ours__{number}")

    def read(self, number: int) -> None:
        self._hook.get_dag_run(DAG_ID, f"bare__{number}")


def measured(call: Call, number: int, pid: int) -> tuple[float, float]:
    """Milliseconds that a request takes, and those of the server's CPU."""
    server, began = cpu_seconds(pid), time.perf_counter()
    call(number)
    took = time.perf_counter() - began
    return 1000 * took, 1000 * (cpu_seconds(pid) - server)


def compare(deployment: Airflow, times: int) -> list[dict[str, Any]]:
    """Both in turn, so that whatever else the machine does meets both alike."""
    pid = deployment.processes[Release.parse(deployment.version).web]
    bare, ours = Bare(deployment), Ours(deployment)
    found = []
    for name in KINDS:
        pairs: list[tuple[Call, str]] = [(getattr(bare, name), "bare"), (getattr(ours, name), "ours")]
        for call, _ in pairs:
            for warming_up in range(3):
                call(warming_up if name == "read" else -1 - warming_up)
        spent: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
        for number in range(times):
            for call, who in pairs:
                spent[who].append(measured(call, number, pid))
        for column, what in enumerate(("time", "server CPU")):
            # The CPU clock has a resolution of 10 ms, so that only the sum of many requests is meaningful.
            middle = statistics.median if what == "time" else statistics.fmean
            theirs, own = (middle(each[column] for each in spent[who]) for who in ("bare", "ours"))
            found.append({"version": deployment.version, "what": name, "of": what, "bare": theirs, "ours": own})
    return found


def measure(version: str, times: int) -> list[dict[str, Any]]:
    """Start a deployment that knows a DAG, and compare."""
    parsed = Release.parse(version)
    parser = "dag-processor" if parsed.generation == "v2" else "scheduler"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "dag.py").write_text(DAG)
        os.environ["AIRFLOW_HOME"] = folder
        with Airflow(version, name="benchmark", dags=Path(folder), components=[parsed.web, parser]) as deployment:
            deployment.wait_dags([DAG_ID])
            # What runs nothing and reads no files does not get in the way.
            deployment.stop_component(parser)
            return compare(deployment, times)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=["3.3.2", "2.11.2"], help="versions (default 3.3.2 and 2.11.2)")
    parser.add_argument("--times", type=int, default=100, help="requests of each kind (default 100)")
    arguments = parser.parse_args()
    found = [each for version in arguments.versions for each in measure(version, arguments.times)]
    lines = []
    for each in found:
        # A read costs less than the bare one only where a session spares the password's hash.
        most = None if each["what"] == "read" and each["version"].startswith("3") else MOST.get(each["what"])
        ratio = each["ours"] / each["bare"]
        goal = "" if most is None else f"{'met' if ratio <= most else 'MISSED'} (at most {most})"
        bare, ours = (f"{each[who]:.1f}" for who in ("bare", "ours"))
        lines.append((each["version"], f"{KINDS[each['what']]}, {each['of']}", bare, ours, f"{ratio:.2f}", goal))
    print(f"{datetime.now(timezone.utc):%Y-%m-%d}, {machine()}, {arguments.times} requests of each kind, ms\n")
    print(table(("remote", "what", "bare", "ours", "ratio", "goal"), lines))
    RESULTS.mkdir(exist_ok=True)
    for version in arguments.versions:
        facts = [each for each in found if each["version"] == version]
        (RESULTS / f"trigger-{version}.json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
