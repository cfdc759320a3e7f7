"""A DAG in a real local Airflow triggers DAGs in real remotes."""

from __future__ import annotations

from tests.live.plan import SYNC, scenario
from tests.live.seen import Seen


@scenario("trigger_now", SYNC)
def test_a_run_now_needs_nothing_but_the_dag(seen: Seen) -> None:
    seen.succeeded("trigger")
    (run,) = seen.remote_runs()
    assert seen.xcom("trigger") == seen.xcom("trigger", "trigger_run_id") == run.run_id
    assert seen.xcom("trigger", "remote_run_url").startswith(seen.remote.url)


@scenario("wait_for_success", smoke=True)
def test_the_final_run_is_returned_and_the_remote_saw_the_conf(seen: Seen) -> None:
    seen.succeeded("trigger")
    (run,) = seen.remote_runs()
    returned = seen.xcom("trigger")
    assert (returned["run_id"], returned["state"], run.state) == (run.run_id, "success", "success")
    assert seen.xcom("trigger", "trigger_run_id") == run.run_id
    assert seen.xcom("trigger", "remote_run_state") == "success"
    assert seen.remote.logs_with(f"from {seen.dag_id}") == 1


@scenario("stream_logs", since=(2, 0))
def test_the_remote_log_is_copied_to_the_local_one(seen: Seen) -> None:
    seen.succeeded("trigger")
    assert seen.was_deferred("trigger") == seen.deferrable
    lines = [line for line in seen.log("trigger").splitlines() if "speak: " in line]
    assert [sum(f"word {number} of 5" in line for line in lines) for number in range(1, 6)] == [1] * 5
    # It has come by way of another deployment, whose address is the only one in its conf.
    assert seen.xcom("trigger")["conf"]["astronomer_remote_path"] == [
        {"deployment": seen.remote.url.partition("://")[2], "dag_id": "chatty"}
    ]


@scenario("wait_for_failure", smoke=True)
def test_a_retry_of_a_failed_run_makes_a_new_one(seen: Seen) -> None:
    first, second = seen.remote_runs()
    assert (first.state, second.state) == ("failed", "failed")
    assert second.run_id == f"{first.run_id}.2"
    url = seen.xcom("trigger", "remote_run_url")
    seen.failed("trigger", "DagRunFailed", f"Run {second.run_id!r} of DAG 'flaky' ended as failed", url, tries=2)
    assert url.startswith(seen.remote.url)


@scenario("clear_on_retry", since=(2, 2))
def test_a_retry_can_run_the_failed_run_again(seen: Seen) -> None:
    (run,) = seen.remote_runs()
    seen.failed("trigger", f"Run {run.run_id!r} of DAG 'flaky' ended as failed", tries=2)
    assert seen.remote.tries(run, "maybe") == 2, seen.log("trigger")


@scenario("clear_failed_on_retry", SYNC, since=(2, 2))
def test_a_retry_can_run_only_the_failed_tasks_again(seen: Seen) -> None:
    (run,) = seen.remote_runs()
    seen.failed("trigger", tries=2)
    assert (seen.remote.tries(run, "ok"), seen.remote.tries(run, "boom")) == (1, 2), seen.log("trigger")


@scenario("unknown_dag")
def test_an_unknown_dag_fails_at_once_and_says_what_may_be_broken(seen: Seen) -> None:
    lines = ["broken.py", "a_module_that_is_not_installed"] if seen.remote.version >= (2, 0) else []
    seen.failed("unknown", "DagNotFound", "no_such_dag", *lines)
    seen.failed("broken", "DagNotFound", "broken_dag", *lines)


@scenario("paused_dag")
def test_a_paused_dag_is_not_triggered_with_fail_when_dag_is_paused(seen: Seen) -> None:
    seen.failed("trigger", "DagIsPaused", "'paused_dag' is paused")
    assert not seen.remote_runs()


@scenario("wrong_credentials", SYNC, since=(2, 0))
def test_wrong_credentials_fail_at_once(seen: Seen) -> None:
    seen.failed("trigger", "AuthenticationFailed", "did not accept the connection's login 'admin'")
    if (2, 11) <= seen.remote.version < (3, 0):
        seen.failed("trigger", "answers both with 403 and no reason")


@scenario("no_permission", SYNC, since=(2, 0))
def test_a_missing_permission_names_operation_and_role(seen: Seen) -> None:
    seen.failed("trigger", "AccessDenied", "Could not trigger DAG 'quick'", "lacks the permission", "is the least")
    assert not seen.remote_runs()


@scenario("refused_conf", since=(2, 2))
def test_a_conf_that_the_remote_refuses_fails_with_its_words(seen: Seen) -> None:
    # From 2.3 to 2.8 the remote answers 500, so the error compares the conf with the schema of the DAG's params.
    breaks = (2, 3) <= seen.remote.version < (2, 9)
    words = "'three', and its schema wants type 'integer'" if breaks else "'three' is not of type 'integer'"
    seen.failed("trigger", "RequestRefused", words)
    assert not seen.remote_runs()


@scenario("unreachable", SYNC)
def test_an_unreachable_remote_is_tried_again(seen: Seen) -> None:
    seen.failed("trigger", "Unreachable", "No reply from http://127.0.0.1:", tries=2)


@scenario("existing_run")
def test_an_existing_run_is_named_skipped_or_reset_but_never_doubled(seen: Seen) -> None:
    (run,) = seen.remote_runs()
    seen.succeeded("first")
    seen.failed("refused", "DagRunAlreadyExists", f"already has the run {run.run_id!r}", seen.remote.url)
    seen.assert_state("skipped", "skipped")
    if seen.remote.version < (2, 0):
        seen.failed("reset", "NotSupported", "Airflow 1.10's experimental API cannot")
        return
    seen.succeeded("reset")
    assert run.state == seen.xcom("reset")["state"] == "success"
    assert seen.xcom("reset")["run_id"] == run.run_id
    # 2.0 leaves the start of a run as it was.
    assert seen.xcom("reset")["end_date"] > seen.xcom("first")["end_date"]


@scenario("for_a_date")
def test_a_run_for_a_date_is_unique(seen: Seen) -> None:
    (run,) = seen.remote_runs()
    seen.succeeded("first")
    expected = f"2021-11-16 11:{35 if seen.deferrable else 34}:00.000000"
    assert run.date == expected
    seen.failed("again", "DagRunAlreadyExists", run.run_id, seen.remote.url)


@scenario("mapped")
def test_each_mapped_task_has_its_own_run(seen: Seen) -> None:
    ids = {seen.xcom("trigger", map_index=index)["run_id"] for index in range(3)}
    assert ids == {run.run_id for run in seen.remote_runs()}
    assert len(ids) == 3
    for index in range(3):
        seen.assert_state("success", "trigger", index)
        assert seen.remote.logs_with(f"{index} of {seen.dag_id}") == 1


@scenario("grouped")
def test_groups_setups_and_teardowns_are_possible(seen: Seen) -> None:
    seen.succeeded("before", "group.inside", "after")
    assert len(seen.remote_runs()) == 3


@scenario("with_note", SYNC)
def test_a_note_is_set_or_refused_with_a_clear_error(seen: Seen) -> None:
    if seen.remote.version < (2, 5):
        seen.failed("trigger", "NotSupported", "note")
        assert not seen.remote_runs()
        return
    seen.succeeded("trigger")
    assert seen.remote.query("SELECT count(*) FROM dag_run_note WHERE content = ?", f"by {seen.dag_id}") == [(1,)]
