"""
What mapped triggers cost a deployment with Celery, next to Airflow's own operators: ``python -m benchmarks.engine``.

In each round, as many tasks of each kind run one kind after the other in the same deployment, which has two
schedulers, two triggerers and two workers on PostgreSQL and Redis: ``EmptyOperator``, which no worker executes,
``BashOperator``, ``TriggerDagRunOperator`` and ours; the last two wait deferred. The remote has one API worker on
PostgreSQL and no scheduler: its runs end by an UPDATE.

Two cores take more than an hour to run 5,000 tasks of one kind. So most of the 5,000 waits of the last round are copies
of a deferred task instance, of its trigger and of its remote run, in the two databases.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from astronomer_remote.api.pools.diff import table
from benchmarks.remote import cpu_seconds, machine
from dev.deployments import Airflow
from dev.places import ROOT
from dev.versions import Release, kind

RESULTS = ROOT / "benchmarks" / "results"
WAITED_FOR = "waited_for"
REMOTE_DAG = f"""
from datetime import datetime
from airflow import DAG
dag = DAG("{WAITED_FOR}", schedule=None, start_date=datetime(2020, 1, 1), is_paused_upon_creation=True)
"""
LOCAL_DAGS = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
except ImportError:
    from airflow.operators.bash import BashOperator
    from airflow.operators.empty import EmptyOperator
    from airflow.operators.trigger_dagrun import TriggerDagRunOperator
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

NUMBERS = [{{"number": str(each)}} for each in range({number})]
OPTIONS = {{"schedule": None, "start_date": datetime(2020, 1, 1), "max_active_tasks": {number}}}
WAITS = {{"wait_for_completion": True, "deferrable": True, "poke_interval": {interval}}}


# One that can be mapped.
class Empty(EmptyOperator):
    def __init__(self, number, **others):
        super().__init__(**others)


waited_for = DAG("{waited_for}", is_paused_upon_creation=True, **OPTIONS)
with DAG("empty", **OPTIONS):
    Empty.partial(task_id="task").expand(number=list(range({number})))
with DAG("bash", **OPTIONS):
    BashOperator.partial(task_id="task", bash_command="true").expand(env=NUMBERS)
with DAG("airflows", **OPTIONS):
    TriggerDagRunOperator.partial(task_id="task", trigger_dag_id="{waited_for}", **WAITS).expand(conf=NUMBERS)
with DAG("ours", **OPTIONS):
    RemoteTriggerDagRunOperator.partial(
        task_id="task", trigger_dag_id="{waited_for}", astronomer_conn_id="remote", **WAITS
    ).expand(conf=NUMBERS)
"""
KINDS = {
    "empty": "EmptyOperator",
    "bash": "BashOperator",
    "airflows": "TriggerDagRunOperator",
    "ours": "RemoteTriggerDagRunOperator",
}
LONGEST = 1800.0
# Run by the local deployment's Python, which knows how triggers are stored. In one transaction, since a triggerer
# removes triggers that no task instance has.
COPY_WAITS = """
import copy, sys
from sqlalchemy import text
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.utils.session import create_session
numbers = range(*map(int, sys.argv[1:]))
changed = {"id": "gen_random_uuid()", "map_index": ":number", "trigger_id": ":trigger"}
values = {f'"{column.name}"': changed.get(column.name, f'"{column.name}"') for column in TaskInstance.__table__.columns}
with create_session() as session:
    found = session.query(Trigger).join(TaskInstance, TaskInstance.trigger_id == Trigger.id).filter(
        TaskInstance.dag_id == "ours"
    ).first()
    made = []
    for number in numbers:
        kwargs = copy.deepcopy(dict(found.kwargs))
        kwargs["target"]["run_id"] = f"copy__{number}"
        made.append(Trigger(classpath=found.classpath, kwargs=kwargs))
    session.add_all(made)
    session.flush()
    session.execute(
        text(
            f"INSERT INTO task_instance ({', '.join(values)}) SELECT {', '.join(values.values())} FROM task_instance "
            f"WHERE trigger_id = {found.id}"
        ),
        [{"number": number, "trigger": trigger.id} for number, trigger in zip(numbers, made)],
    )
"""


class Measuring:
    """
    Runs tasks of each kind.

    :param local: that runs them.
    :param remote: whose runs our operator triggers.
    :param arguments: of the command line.
    """

    def __init__(self, local: Airflow, remote: Airflow, arguments: argparse.Namespace) -> None:
        self._local, self._remote = local, remote
        self._number: int = arguments.number
        self._waiting: int = arguments.waiting
        self._interval: float = arguments.interval
        self._seconds: float = arguments.seconds

    def round(self, number: int, dag_id: str, *, last: bool) -> Iterator[dict[str, Any]]:
        """Run tasks of one kind; in the last round, also measure what it costs that all of them wait."""
        run_id, name = f"round_{number}", KINDS[dag_id]
        waits = dag_id in ("airflows", "ours")
        yield self._phase(name, "begin", dag_id, run_id, "deferred" if waits else "success")
        if not waits:
            return
        if last:
            yield {"kind": name, "phase": "rest", "tasks": self._number, **self._at_rest()}
        if last and dag_id == "ours" and self._waiting > self._number:
            self._copy()
            yield {"kind": name, "phase": "rest", "tasks": self._waiting, **self._at_rest()}
        else:
            yield self._phase(name, "end", dag_id, run_id, "success")

    def _phase(self, name: str, phase: str, dag_id: str, run_id: str, state: str) -> dict[str, Any]:
        """Begin or end tasks. :return: the seconds until all have reached a state, and the CPU that it took."""
        spent, began, reached = self._local_seconds(), time.monotonic(), 0
        if phase == "begin":
            self._local.run("dags", "trigger", dag_id, "--run-id", run_id)
        else:
            (self._remote if dag_id == "ours" else self._local).database.execute(
                "UPDATE dag_run SET state = 'success', end_date = clock_timestamp(), updated_at = clock_timestamp() "
                "WHERE dag_id = ? AND state <> 'success'",
                WAITED_FOR,
            )
        while reached < self._number:
            if time.monotonic() > began + LONGEST:
                raise RuntimeError(f"only {reached} of {self._number} tasks of {dag_id} are {state}")
            time.sleep(0.5)
            sql = "SELECT count(*) FROM task_instance WHERE dag_id = ? AND run_id = ? AND state = ?"
            reached = int(self._local.database.query(sql, dag_id, run_id, state)[0][0])
        seconds, cpu = time.monotonic() - began, self._local_seconds() - spent
        return {"kind": name, "phase": phase, "tasks": self._number, "seconds": seconds, "cpu_seconds": cpu}

    def _local_seconds(self) -> float:
        """Seconds of CPU of all components of the local deployment, of PostgreSQL and of Redis."""
        servers = (self._local.server.pid, self._local.broker.service.pid)
        return sum(map(cpu_seconds, (*self._local.processes.values(), *servers)))

    def _at_rest(self) -> dict[str, Any]:
        """Shares of a core, and requests per interval, while nothing ends."""
        time.sleep(2 * self._interval + 2)
        pids = {name: pid for name, pid in self._local.processes.items() if kind(name) == "triggerer"}
        pids |= {"remote": self._remote.processes[Release.parse(self._remote.version).web]}
        pids |= {"remote's database": self._remote.server.pid, "local database": self._local.server.pid}
        before, requests = {name: cpu_seconds(pid) for name, pid in pids.items()}, self._requests()
        time.sleep(self._seconds)
        return {
            "cpu": {name: (cpu_seconds(pid) - before[name]) / self._seconds for name, pid in pids.items()},
            "requests": (self._requests() - requests) * self._interval / self._seconds,
            "megabytes": {name: memory(pid) for name, pid in pids.items() if kind(name) == "triggerer"},
            "triggers": self._shares(),
        }

    def _requests(self) -> int:
        return sum("/dagRuns" in each.path for each in self._remote.logged_requests())

    def _shares(self) -> list[int]:
        """How many triggers each triggerer has."""
        sql = "SELECT count(*) FROM trigger WHERE triggerer_id IS NOT NULL GROUP BY triggerer_id"
        return sorted(int(row[0]) for row in self._local.database.query(sql))

    def _copy(self) -> None:
        """Add waits of our operator to both databases, and wait until the triggerers have them."""
        server, (first, last) = self._remote.server, (self._number, self._waiting - 1)
        # Two runs of a DAG have two dates.
        dated = "execution_date" if self._remote.generation == "v1" else "logical_date"
        changed = {"id": "1000000 + n", "run_id": "'copy__' || n", dated: f"{dated} + n * interval '1 microsecond'"}
        values = {f'"{each}"': changed.get(each, f'"{each}"') for each in sorted(server.columns("dag_run"))}
        server.execute(
            f"INSERT INTO dag_run ({', '.join(values)}) SELECT {', '.join(values.values())} FROM dag_run, "
            f"generate_series({first}, {last}) AS n WHERE id = (SELECT max(id) FROM dag_run)"
        )
        self._local.python("-c", COPY_WAITS, str(first), str(last + 1))
        deadline = time.monotonic() + LONGEST
        while sum(self._shares()) < self._waiting:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the triggerers have only {self._shares()} of {self._waiting} triggers")
            time.sleep(1)
        # Until each of them has polled its run for the first time.
        time.sleep(30)


def memory(pid: int) -> float:
    """Megabytes of a process and its descendants that no other process shares."""
    each = psutil.Process(pid)
    return sum(float(one.memory_full_info().uss) for one in [each, *each.children(recursive=True)]) / 2**20


@contextmanager
def deployments(arguments: argparse.Namespace) -> Iterator[tuple[Airflow, Airflow]]:
    """The local and the remote one."""
    release = Release.parse(arguments.remote)
    parser = "dag-processor" if release.generation == "v2" else "scheduler"
    with tempfile.TemporaryDirectory() as folder:
        near, far = Path(folder, "local"), Path(folder, "remote")
        for path in (near, far):
            path.mkdir()
        (far / "dag.py").write_text(REMOTE_DAG)
        filled = {"number": arguments.number, "interval": arguments.interval, "waited_for": WAITED_FOR}
        (near / "dags.py").write_text(LOCAL_DAGS.format(**filled))
        components = [release.web, parser]
        with Airflow(arguments.remote, name="remote", dags=far, database="postgresql", components=components) as remote:
            remote.wait_dags([WAITED_FOR])
            # What runs nothing and reads no files does not get in the way.
            remote.stop_component(parser)
            login, password = remote.users["admin"]
            connection = {"conn_type": "astronomer", "host": remote.url, "login": login, "password": password}
            env = {
                "AIRFLOW_CONN_REMOTE": json.dumps(connection),
                "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
                "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "3600",
                # Each may have all of them.
                "AIRFLOW__TRIGGERER__CAPACITY": "10000",
                "AIRFLOW__TRIGGERER__DEFAULT_CAPACITY": "10000",
            }
            with Airflow(arguments.version, name="local", project=True, dags=near, engine="celery", env=env) as local:
                yield local, remote
                # Killed, since what a triggerer does when it is stopped is not measured.
                for name in [each for each in local.processes if kind(each) == "triggerer"]:
                    local.stop_component(name, signal.SIGKILL)


def rates(found: list[dict[str, Any]]) -> str:
    """A table of how many tasks of each kind begin and end each second, and of the CPU that each takes."""
    rows = []
    for name in dict.fromkeys(each["kind"] for each in found):
        row = [name]
        for phase in ("begin", "end"):
            those = [each for each in found if (each["kind"], each["phase"]) == (name, phase)]
            tasks = sum(each["tasks"] for each in those)
            row.append(f"{tasks / sum(each['seconds'] for each in those):.2f}" if those else "")
            row.append(f"{sum(each['cpu_seconds'] for each in those) / tasks:.2f} s" if those else "")
        rows.append(tuple(row))
    return table(("tasks", "begin per second", "CPU of each", "end per second", "CPU of each"), rows)


def rests(found: list[dict[str, Any]]) -> str:
    """A table of what it costs that tasks wait."""
    rows = [
        (
            each["kind"],
            f"{each['tasks']:,}",
            f"{each['requests']:.1f}",
            *(f"{100 * share:.1f} %" for share in each["cpu"].values()),
            " + ".join(f"{size:.0f} MB" for size in each["megabytes"].values()),
            " + ".join(map(str, each["triggers"])),
        )
        for each in found
        if each["phase"] == "rest"
    ]
    if not rows:
        return ""
    cpu = next(each["cpu"] for each in found if each["phase"] == "rest")
    return table(("waiting", "number", "requests", *cpu, "memory", "triggers"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default="3.3.2", help="version of the local deployment (default 3.3.2)")
    parser.add_argument("--remote", default="3.3.2", help="version of the remote (default 3.3.2)")
    parser.add_argument("--number", type=int, default=100, help="tasks of each kind in a round (default 100)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each kind is run (default 3)")
    parser.add_argument("--waiting", type=int, default=5_000, help="waits at rest, most of them copies (default 5,000)")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two polls (default 5)")
    parser.add_argument("--seconds", type=float, default=60.0, help="for which the wait is measured (default 60)")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS), help="kinds of tasks (all)")
    arguments = parser.parse_args()
    found = []
    with deployments(arguments) as (local, remote):
        measuring = Measuring(local, remote, arguments)
        # One kind after the other in each round, so that what else the machine does concerns all of them.
        for number in range(arguments.rounds):
            for dag_id in arguments.kinds:
                for each in measuring.round(number, dag_id, last=number == arguments.rounds - 1):
                    found.append(each)
                    print(json.dumps(each), file=sys.stderr, flush=True)
    what = (
        f"Airflow {arguments.version} with Celery, polls every {arguments.interval:g} s; remote: Airflow "
        f"{arguments.remote}, one API worker, PostgreSQL; {datetime.now(timezone.utc):%Y-%m-%d}, {machine()}"
    )
    print(f"{what}\n\n{rates(found)}\n\n{rests(found)}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"engine-{arguments.version}.json"
    path.write_text(json.dumps({"what": what, "measured": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
