"""A DAG in a real local Airflow triggers DAGs in real remotes."""

from __future__ import annotations

from tests.live.plan import SYNC, scenario
from tests.live.seen import Seen


@scenario("trigger_now", SYNC)
def test_a_run_now_needs_nothing_but_the_dag(seen: Seen) -> None:
    seen.succeeded("trigger")
    run = seen.remote_runs()[0]
    assert len(seen.remote_runs()) == 1
    assert seen.xcom("trigger") == seen.xcom("trigger", "trigger_run_id") == run.run_id
    assert seen.xcom("trigger", "remote_run_url").startswith(seen.remote.url)


@scenario("wait_for_success", smoke=True)
def test_the_final_run_is_returned(seen: Seen) -> None:
    seen.succeeded("trigger")
    assert seen.was_deferred("trigger") == seen.deferrable
    (run,) = seen.remote_runs()
    returned = seen.xcom("trigger")
    assert (returned["run_id"], returned["state"], run.state) == (run.run_id, "success", "success")
    assert seen.xcom("trigger", "trigger_run_id") == run.run_id
    assert seen.remote.logs_with(f"from {seen.dag_id}") == 1
