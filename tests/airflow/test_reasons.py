"""A task that fails because a remote run did says why that did."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred

from astronomer_remote.exceptions import DagRunFailed, InvalidSettings
from astronomer_remote.operators import base
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import LocalTask, in_dag, local_task, resume

Start = Callable[..., FakeDeployment]
Make = Callable[..., Any]


def operator(**arguments: Any) -> Any:
    return in_dag(
        RemoteTriggerDagRunOperator,
        **{"trigger_dag_id": "crowded", "poke_interval": 0.01, "wait_for_completion": True, **arguments},
    )


def sensor(**arguments: Any) -> Any:
    given = {"external_dag_id": "crowded", "latest_run": True, "failed_states": ["failed"], "poke_interval": 0.01}
    return in_dag(RemoteDagRunSensor, **{**given, "timeout": 5, **arguments})


@pytest.fixture
def crowded(start: Start, request: pytest.FixtureRequest) -> FakeDeployment:
    """A deployment with a run in which two of five task instances failed by themselves."""
    return with_crowd(start(getattr(request, "param", "3.3.2")))


def with_crowd(remote: FakeDeployment) -> FakeDeployment:
    remote.add_dag(
        "crowded",
        tasks=["extract", "load", "after"],
        ends="failed",
        polls=1,
        mapped={"load": 3},
        task_ends={"load": "success", "load[1]": "failed", "after": "upstream_failed"},
        logs={"extract": ["Traceback", "OSError: disk full"], "load[1]": ["ValueError: part 1"]},
    )
    remote.add_run("crowded", "made by others", state="failed")
    return remote


def last_words(task: dict[str, Any]) -> str:
    """The end of a log without the date that Airflow 3 puts before each line."""
    return str(task["log"][-1]).rpartition(" INFO ")[2]


def fail(made: Any) -> tuple[str, LocalTask]:
    """Run a task, and its deferral if there is one. :return: the error's text, and the local task."""
    local = local_task(made)
    with pytest.raises(DagRunFailed) as failed:
        to_the_end(made, local.context())
    return str(failed.value), local


def to_the_end(made: Any, context: Any) -> None:
    try:
        made.execute(context)
    except TaskDeferred as deferred:
        resume(deferred, made, context)


@pytest.mark.parametrize("crowded", ["2.3.0", "2.11.2", "3.0.6", "3.3.2"], indirect=True)
@pytest.mark.parametrize("make", [operator, sensor])
@pytest.mark.parametrize("deferrable", [False, True])
def test_error_and_xcom_report_what_failed_first(crowded: FakeDeployment, make: Make, deferrable: bool) -> None:
    text, local = fail(make(deferrable=deferrable))
    assert local.xcoms["remote_run_url"] in text.splitlines()[0]
    assert "2 of 5 task instances failed:\n- extract (try 1, FakeOperator, " in text
    assert "OSError: disk full\n- load[1] (try 1" in text
    assert text.endswith("ValueError: part 1")
    lines = local.xcoms["remote_failure"]
    assert [(task["task_id"], task["map_index"], last_words(task)) for task in lines["tasks"]] == [
        ("extract", -1, "OSError: disk full"),
        ("load", 1, "ValueError: part 1"),
    ]
    assert json.loads(json.dumps(lines)) == lines


def test_1_10_has_a_short_report(start: Start) -> None:
    with_crowd(start("1.10.15"))
    text, local = fail(operator())
    assert "shows neither the tasks of a run nor their logs" in text
    assert local.xcoms["remote_failure"]["tasks"] == []


def test_a_sensor_of_tasks_reports_those_first(crowded: FakeDeployment) -> None:
    text, local = fail(sensor(external_task_id="load", failed_states=["failed"]))
    assert [task["task_id"] for task in local.xcoms["remote_failure"]["tasks"]] == ["load"]
    assert "What was waited for failed" in text


def test_a_sensor_that_fails_softly_says_why_it_was_skipped(crowded: FakeDeployment) -> None:
    made = sensor(soft_fail=True)
    with pytest.raises(AirflowSkipException, match="OSError: disk full"):
        made.execute(local_task(made).context())


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_the_length_of_the_logs_is_the_authors_choice(crowded: FakeDeployment, lines: int) -> None:
    _, local = fail(operator(failure_log_lines=lines))
    assert len(local.xcoms["remote_failure"]["tasks"][0]["log"]) == lines
    assert any("/logs/" in path for _, path in crowded.requests) is bool(lines)


@pytest.mark.parametrize("make", [operator, sensor])
def test_it_can_be_turned_off(crowded: FakeDeployment, make: Make) -> None:
    text, local = fail(make(failure_log_lines=None))
    assert "extract" not in text
    assert "remote_failure" not in local.xcoms
    assert not any(request.query.get("state") == ["failed"] for request in crowded.received)


def test_a_successful_run_in_failed_states_has_no_report(start: Start) -> None:
    start().add_dag("crowded")
    _, local = fail(operator(allowed_states=["failed"], failed_states=["success"]))
    assert "remote_failure" not in local.xcoms


@pytest.mark.parametrize("status", [None, 404, 503])
def test_a_report_that_cannot_be_read_changes_nothing(
    crowded: FakeDeployment, no_pauses: None, status: int | None
) -> None:
    crowded.disturb(status, times=99, path="taskInstances")
    text, local = fail(operator())
    assert "ended as failed: http" in text
    assert "remote_failure" not in local.xcoms


def test_a_report_that_xcom_refuses_is_in_the_error_all_the_same(
    crowded: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    push = LocalTask.xcom_push

    def refuse(self: LocalTask, key: str, value: Any) -> None:
        if key == "remote_failure":
            raise RuntimeError("too large")
        push(self, key, value)

    monkeypatch.setattr(LocalTask, "xcom_push", refuse)
    text, _ = fail(operator())
    assert "OSError: disk full" in text


def test_a_report_that_takes_too_long_is_left_out(crowded: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SECONDS_TO_EXPLAIN", 0.5)
    crowded.disturb(503, times=99, path="taskInstances")
    _, local = fail(operator())
    assert "remote_failure" not in local.xcoms


@pytest.mark.parametrize("make", [operator, sensor])
@pytest.mark.parametrize("lines", [-1, 201, "many"])
def test_a_number_of_lines_that_makes_no_sense_is_refused(make: Make, lines: Any) -> None:
    with pytest.raises(InvalidSettings, match="failure_log_lines"):
        make(failure_log_lines=lines)
