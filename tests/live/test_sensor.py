"""A DAG in a real local Airflow waits for what others run in real remotes."""

from __future__ import annotations

from tests.live.plan import BOTH, DEFERRABLE, SYNC, scenario
from tests.live.seen import Seen

# Those in the worker find what they wait for there already: waiting, they would take up its slots.
DEFERRED = (DEFERRABLE,)


def check_waited(seen: Seen, *task_ids: str) -> None:
    """Check that sensors succeeded, after having been deferred if they were to be."""
    seen.succeeded(*task_ids)
    for task_id in task_ids:
        assert seen.was_deferred(task_id) == seen.deferrable


@scenario("same_date", waits=BOTH, smoke=True)
def test_a_run_of_the_same_date(seen: Seen) -> None:
    check_waited(seen, "wait")
    assert seen.xcom("wait", "trigger_run_id") == "sensed"
    assert seen.xcom("wait", "remote_run_url").startswith(seen.remote.url)


@scenario("earlier_date", waits=DEFERRED)
def test_runs_of_other_dates(seen: Seen) -> None:
    check_waited(seen, "delta", "function", "several")
    assert seen.xcom("delta", "trigger_run_id") == "sensed-earlier"
    assert seen.xcom("function", "trigger_run_id") == "sensed-earlier"


@scenario("named_run", waits=DEFERRED)
def test_a_run_by_its_id(seen: Seen) -> None:
    check_waited(seen, "wait")


@scenario("newest_run", waits=DEFERRED)
def test_the_newest_run(seen: Seen) -> None:
    check_waited(seen, "wait")
    assert seen.xcom("wait", "trigger_run_id") == "sensed"


@scenario("remote_tasks", waits=DEFERRED)
def test_one_task_and_several(seen: Seen) -> None:
    check_waited(seen, "one", "two")


@scenario("remote_group", waits=DEFERRED, since=(2, 0))
def test_a_task_group(seen: Seen) -> None:
    check_waited(seen, "wait")


@scenario("remote_failure", waits=DEFERRED)
def test_a_failed_run_or_task_fails_the_sensor(seen: Seen) -> None:
    seen.failed("run", "DagRunFailed", "failed")
    seen.failed("task", "DagRunFailed", "load.b")
    seen.assert_state("skipped", "soft")


@scenario("remote_skip", waits=DEFERRED)
def test_a_skipped_task_skips_the_sensor(seen: Seen) -> None:
    seen.assert_state("skipped", "wait")


@scenario("rescheduled", SYNC, waits=BOTH)
def test_a_sensor_can_be_rescheduled(seen: Seen) -> None:
    seen.succeeded("wait")


@scenario("timed_out")
def test_a_timeout_is_final_or_skips(seen: Seen) -> None:
    seen.failed("hard", "AirflowSensorTimeout")
    seen.assert_state("skipped", "soft")


@scenario("overdue", DEFERRABLE)
def test_a_deferred_wait_ends_with_its_execution_timeout(seen: Seen) -> None:
    # With which error, depends: Airflow 2 has a timeout of its own for triggers.
    seen.failed("run")
    assert seen.was_deferred("run")
    seen.failed("once", "AirflowSensorTimeout", "timeout of 0 s")
    assert not seen.was_deferred("once")
    if seen.remote.version >= (2, 0):
        seen.failed("pool")
        assert seen.was_deferred("pool")


@scenario("typos")
def test_a_typo_fails_at_once(seen: Seen) -> None:
    seen.failed("dag", "DagNotFound", "quik")
    seen.failed("task", "NotFound", "has no task 'load.c'")
    if seen.remote.version >= (2, 3) or (2, 0) <= seen.remote.version < (2, 2):
        seen.failed("group", "NotFound", "has no task group 'lod'")


@scenario("unreachable_remote", SYNC)
def test_an_unreachable_remote_is_put_up_with_until_the_timeout(seen: Seen) -> None:
    seen.failed("wait", "AirflowSensorTimeout", "No reply from http://127.0.0.1:")
