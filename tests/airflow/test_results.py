"""What a task returns of the remote run, and the note that it writes to the remote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException, TaskDeferred

from astronomer_remote.exceptions import InvalidSettings, NotFound, NotSupported, Unreachable
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import in_dag, local_task, run, to_the_end

Start = Callable[..., FakeDeployment]

BOTH_MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferred"])
WITH_TYPES = ["2.11.2", "3.0.6", "3.3.2"]


def operator(**arguments: Any) -> Any:
    given = {"trigger_dag_id": "load", "poke_interval": 0.01, "wait_for_completion": True}
    return in_dag(RemoteTriggerDagRunOperator, **{**given, **arguments})


def loading(remote: FakeDeployment, **options: Any) -> FakeDeployment:
    given = {
        "tasks": ["count", "part", "none"],
        "mapped": {"part": 2},
        "results": {"count": {"rows": 3, "of": [1, None]}, "part": ["a", "b"]},
        "polls": 1,
    }
    remote.add_dag("load", **{**given, **options})
    return remote


# Results


@BOTH_MODES
@pytest.mark.parametrize("version", WITH_TYPES)
def test_results_are_part_of_what_it_returns(start: Start, version: str, deferrable: bool) -> None:
    loading(start(version))
    returned = run(operator(results=["count", "part", "none"], deferrable=deferrable))
    assert returned["state"] == "success"
    assert returned["results"] == {"count": {"rows": 3, "of": [1, None]}, "part": ["a", "b"], "none": None}


def test_results_can_be_read_by_key(start: Start) -> None:
    loading(start())
    returned = run(operator(results={"count": ["return_value", "other"]}))
    assert returned["results"] == {"count": {"return_value": {"rows": 3, "of": [1, None]}, "other": None}}


def test_each_task_has_keys_of_its_own(start: Start) -> None:
    loading(start())
    returned = run(operator(results={"count": ["return_value"], "part": ["return_value", "other"]}))
    assert returned["results"] == {
        "count": {"return_value": {"rows": 3, "of": [1, None]}},
        "part": {"return_value": ["a", "b"], "other": [None, None]},
    }


def test_no_xcom_is_read_without_them(start: Start) -> None:
    remote = loading(start())
    assert "results" not in run(operator())
    assert not any("xcomEntries" in path for _, path in remote.requests)


@pytest.mark.parametrize("version", ["1.10.15", "2.9.3"])
def test_a_remote_without_typed_xcoms_fails_before_anything_runs_there(start: Start, version: str) -> None:
    remote = loading(start(version))
    with pytest.raises(NotSupported, match="types"):
        run(operator(results=["count"]))
    assert remote.runs("load") == []


def test_a_task_that_is_not_there_fails_the_local_one(start: Start) -> None:
    loading(start())
    with pytest.raises(NotFound, match="no task 'typo'"):
        run(operator(results=["typo"]))


def test_a_retry_reads_the_results_of_the_run_that_is_there(start: Start, no_pauses: None) -> None:
    remote = loading(start())
    made = operator(results=["count"], retries=1)
    remote.disturb(None, times=6, path="xcomEntries")
    with pytest.raises(Unreachable):
        run(made)
    assert run(operator(results=["count"], retries=1), try_number=2)["results"]["count"]["rows"] == 3
    assert len(remote.runs("load")) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"results": "count"}, "results must be a list or an object"),
        ({"results": ["a/b"]}, "results"),
        ({"results": {"a": "key"}}, r"results\['a'\] must be a list"),
        ({"results": {"a": []}}, "results has no XCom key for task 'a'"),
        ({"results": {"{{ task }}": ["key"]}}, "Airflow renders no templates in keys"),
        ({"results": {"a/b": ["key"]}}, "results"),
        ({"results": 5}, "results must be a list"),
        ({"results": ["a"], "wait_for_completion": False}, "results needs wait_for_completion"),
        ({"skip_on_all_skipped": True, "wait_for_completion": False}, "needs wait_for_completion"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        operator(**arguments)


# Skips


@BOTH_MODES
@pytest.mark.parametrize("version", ["2.0.2", *WITH_TYPES])
def test_a_run_in_which_all_was_skipped_can_skip_the_task(start: Start, version: str, deferrable: bool) -> None:
    loading(start(version), mapped={}, task_ends=dict.fromkeys(["count", "part", "none"], "skipped"))
    with pytest.raises(AirflowSkipException, match="All tasks of run"):
        run(operator(skip_on_all_skipped=True, deferrable=deferrable))


def test_it_does_not_do_so_by_itself(start: Start) -> None:
    loading(start(), task_ends=dict.fromkeys(["count", "part", "none"], "skipped"))
    assert run(operator())["state"] == "success"


def test_a_run_in_which_something_was_done_skips_nothing(start: Start) -> None:
    loading(start(), task_ends={"part": "skipped", "none": "skipped"})
    assert run(operator(skip_on_all_skipped=True))["state"] == "success"


def test_1_10_does_not_report_skips(start: Start) -> None:
    remote = loading(start("1.10.15"))
    with pytest.raises(NotSupported, match="skipped"):
        run(operator(skip_on_all_skipped=True))
    assert remote.runs("load") == []


# Where a run comes from


@pytest.mark.parametrize("version", ["2.5.0", "2.11.2", "3.3.2"])
def test_a_run_says_where_it_comes_from(start: Start, version: str) -> None:
    remote = loading(start(version))
    run(operator(), run_id="local run", map_index=2)
    (note,) = [run["note"] for run in remote.runs("load")]
    assert note == "Triggered by task local_task[2] of DAG local_dag, run local run, in another Airflow deployment."


@pytest.mark.parametrize("lines", ["https://here.example/dags/d/task", "https://here.exampledags/d/task"])
def test_it_leads_to_the_page_of_the_local_task(start: Start, monkeypatch: pytest.MonkeyPatch, lines: str) -> None:
    # Airflow 3.0 leaves out the slash that the base lacks.
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://here.example")
    monkeypatch.setattr("tests.airflow.local.LocalTask.log_url", lines, raising=False)
    remote = loading(start())
    run(operator())
    page = "https://here.example/dags/d/task"
    assert remote.runs("load")[0]["note"].endswith(f"in another Airflow deployment: {page}")


@pytest.mark.parametrize(
    ("arguments", "note"), [({"note": "mine"}, "mine"), ({"note": ""}, None), ({"note": "{{ params.none }}"}, None)]
)
def test_a_note_of_the_authors_own_stays_as_it_is(start: Start, arguments: dict[str, Any], note: str | None) -> None:
    remote = loading(start())
    made = operator(**arguments)
    context = {**local_task(made).context(), "params": {"none": ""}}
    made.render_template_fields(context)
    to_the_end(made, context)
    assert remote.runs("load")[0]["note"] == note


@pytest.mark.parametrize("version", ["1.10.15", "2.2.5"])
def test_a_remote_without_notes_gets_none(start: Start, version: str) -> None:
    remote = loading(start(version), mapped={})
    run(operator())
    assert remote.runs("load")[0]["note"] is None


# How far it is


def test_the_progress_of_the_run_is_logged(start: Start) -> None:
    remote = loading(start(), polls=3)
    made = operator(deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(local_task(made).context())
    assert deferred.value.trigger.target["progress"] is True  # type: ignore[attr-defined]
    run(operator())
    assert any(path.endswith("/taskInstances") for _, path in remote.requests)
