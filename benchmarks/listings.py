"""
How often a listing of a run's task instances has gaps, while its rows change, and what is concluded from it.

``python -m benchmarks.listings 2.11.2`` starts a remote on PostgreSQL whose one run has 1,680 task instances in a task
group. All but one have succeeded, and one is running all the time. Meanwhile rows are updated, as a scheduler does.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import requests

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.models import DagRun, TaskInstance
from astronomer_remote.api.settings import Settings
from astronomer_remote.api.transport import SyncDriver, configure
from astronomer_remote.api.waiting import Verdict, Wanted, judge
from benchmarks.remote import Remote, _insert, remote

RUN = {"dag_id": "dag_0", "run_id": "running__0"}
GROUP = "g"
PAGE = 100
UPDATES_PER_SECOND = 400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", nargs="?", default="2.11.2")
    parser.add_argument("--instances", type=int, default=1_680)
    parser.add_argument("--times", type=int, default=36)
    arguments = parser.parse_args()
    with remote(arguments.version, past=0, running=1) as there:
        _fill(there, arguments.instances)
        with _updating(there):
            found = {
                "page by page": _count(there, arguments.times, _page_by_page),
                "by this package": _count(there, arguments.times, _by_this_package),
            }
    print(json.dumps({"version": arguments.version, "instances": arguments.instances, **found}, indent=1))


def _fill(there: Remote, number: int) -> None:
    """Insert the task instances of a run."""
    values = {
        "id": "gen_random_uuid()",
        **{name: f"'{value}'" for name, value in RUN.items()},
        "task_id": f"'{GROUP}.t' || i",
        "map_index": "-1",
        "state": f"CASE i WHEN {number // 2} THEN 'running' ELSE 'success' END",
        "start_date": "now()",
        "end_date": f"CASE i WHEN {number // 2} THEN NULL ELSE now() END",
        "updated_at": "now()",
        **dict.fromkeys(("try_number", "max_tries", "pool_slots", "priority_weight"), "1"),
        "pool": "'default_pool'",
        "queue": "'default'",
        "operator": "'EmptyOperator'",
        "custom_operator_name": "''",
        "executor_config": r"'\x80047d942e'",
        "hostname": "''",
        "unixname": "''",
        "task_display_name": f"'{GROUP}.t' || i",
    }
    with there._connection.cursor() as cursor:
        _insert(cursor, "task_instance", values, number)


@contextmanager
def _updating(there: Remote) -> Iterator[None]:
    """Update one row after the other, at random, as it is when tasks are scheduled, run and end."""
    over = threading.Event()

    def update() -> None:
        with psycopg2.connect(there._database.dsn("airflow")) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                while not over.wait(1 / UPDATES_PER_SECOND):
                    cursor.execute(
                        "UPDATE task_instance SET updated_at = clock_timestamp() WHERE run_id = %s AND task_id = "
                        "(SELECT task_id FROM task_instance ORDER BY random() LIMIT 1)",
                        [RUN["run_id"]],
                    )

    thread = threading.Thread(target=update)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _count(there: Remote, times: int, read: Any) -> dict[str, Any]:
    """Read the listing so many times. :return: how it was."""
    settings = Settings.parse(host=there.deployment.url, login=there.login, password=there.password)
    whole = successes = unknown = 0
    began, before = time.monotonic(), there.requests()
    with requests.Session() as session:
        driver = SyncDriver(configure(session, settings), settings, reload=lambda: settings)
        deployment = Deployment(settings)
        for _ in range(times):
            states, complete = read(there, driver, deployment)
            whole += complete
            successes += judge(states, WANTED) is Verdict.SUCCESS
            unknown += not states.whole
    took = time.monotonic() - began
    return {
        "listings": times,
        "with duplicates and gaps": times - whole,
        "said to be incomplete": unknown,
        "success while a task runs": successes,
        "requests each": round((there.requests() - before) / times, 1),
        "seconds each": round(took / times, 2),
    }


WANTED = Wanted(**RUN, task_group_id=GROUP, failed_states=("failed",))


def _page_by_page(there: Remote, driver: SyncDriver, deployment: Deployment) -> Any:
    """As it was before: a page of the usual size after the other, until the number of them is the total."""
    from astronomer_remote.api.waiting import Observation

    dialect = driver.run(deployment.conversation.dialect())
    found: list[TaskInstance] = []
    while True:
        exchange = dialect.task_instances(DagRun(**RUN), offset=len(found))
        page = driver.run(deployment.conversation.ask(exchange))
        found += page.items
        if len(found) >= page.total or not page.items:
            break
    names = [each.name for each in found]
    return Observation({GROUP: [each.state for each in found]}), len(set(names)) == len(names) == page.total


def _by_this_package(there: Remote, driver: SyncDriver, deployment: Deployment) -> Any:
    """A look of the package's own, in which the state of the running task must be known."""
    observation = driver.run(deployment.observer.look(WANTED))
    (states,) = observation.things.values()
    return observation, len(states) == there_are(there) and "running" in states


def there_are(there: Remote) -> int:
    """How many task instances there are in the database."""
    with there._connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM task_instance")
        return int(cursor.fetchone()[0])


if __name__ == "__main__":
    main()
