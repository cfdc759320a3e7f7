"""Waits for short runs while the executor reports late that a worker has ended: no task is lost to such a report."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from tests.live.itself import SHORT_DAGS, calling_itself, is_finished, start
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

AT_ONCE = 10
SECONDS_LATE = (4.0, 8.0)
"""Longer than the run takes: a task that resumed at once would be running or queued again when the report comes. A busy
machine adds some seconds, which may not come to more than the 15 s that a wait in the triggerer takes at least."""


@pytest.mark.parametrize("seconds", SECONDS_LATE)
@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_no_wait_is_lost_if_the_executor_reports_late_that_its_worker_has_ended(version: str, seconds: float) -> None:
    settings = {
        "AIRFLOW__CORE__EXECUTOR": "_late.LateExecutor",
        "PYTHONPATH": str(SHORT_DAGS),
        "SECONDS_LATE": str(seconds),
    }
    with calling_itself(version, **settings) as local:
        start(local, "late_reports")
        wait_until(lambda: is_finished(local, "late_reports"), timeout=600)
        states = Counter(local.query("SELECT task_id, state FROM task_instance WHERE dag_id = 'late_reports'"))
        runs = local.query("SELECT count(*) FROM dag_run WHERE dag_id = 'new' AND run_id LIKE 'remote%'")[0][0]
        logs = [local.log("late_reports", "round_0", "ours", number) for number in range(AT_ONCE)]
        late = re.findall(
            "Reporting late: .*dag_id='late_reports', task_id='ours'.*map_index=(\\d+)",
            local.deployment.log("scheduler", 100_000),
        )
    deferred = sum("DEFERRED" in log or "deferred" in log for log in logs)
    print(json.dumps({"version": version, "states": {" ".join(key): number for key, number in states.items()}}))
    # That each worker ended with a deferral, at least; the reports after that may come after the end of the local run.
    assert set(map(int, late)) == set(range(AT_ONCE))
    assert states["ours", "success"] == deferred == runs == AT_ONCE
