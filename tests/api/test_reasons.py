"""Why a remote run failed: what failed first, and what its logs say last."""

from __future__ import annotations

import json
from typing import Any

import pytest

from astronomer_remote.api.dialects.logs import LONGEST_END, LONGEST_LOG_LINE, record_lines, text_lines
from astronomer_remote.api.protocol.errors import AccessDenied
from astronomer_remote.api.protocol.flow import Response
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.runs.failure import (
    LARGEST_REPORT,
    MOST_FAILED_TASKS,
    PAGES_OF_FAILED_TASKS,
    FailedTask,
    FailureReport,
)
from tests.api.script import EXPERIMENTAL, STABLE, V1, V2, ScriptedRemote, Turn, answer, ok, page

RUN = DagRun("d", "r", "failed", logical_date="2026-11-22T07:00:00Z", url="https://airflow.example.com/d/r")


def instance(task_id: str = "t", **facts: Any) -> dict[str, Any]:
    return {"task_id": task_id, "map_index": -1, "state": "failed", "try_number": 1, "operator": "BashOperator"} | facts


def listing(version: str, *found: dict[str, Any], total: int | None = None, offset: int = 0) -> Turn:
    base = "/api/v1" if version < "3" else "/api/v2"
    body = {"task_instances": list(found), "total_entries": len(found) if total is None else total}
    return Turn(f"GET {base}/dags/d/dagRuns/r/taskInstances?limit=100&offset={offset}&state=failed", ok(body))


def counting(version: str, total: int = 12) -> Turn:
    base = "/api/v1" if version < "3" else "/api/v2"
    body = {"task_instances": [], "total_entries": total}
    return Turn(f"GET {base}/dags/d/dagRuns/r/taskInstances?limit=1&offset=0", ok(body))


def log(version: str, text: str | Response, task_id: str = "t", try_number: int = 1, query: str = "") -> Turn:
    base = "/api/v1" if version < "3" else "/api/v2"
    kind = "text/plain" if version < "3" else "application/x-ndjson"
    body = text if version < "3" or isinstance(text, Response) else json.dumps({"event": text})
    reply = body if isinstance(body, Response) else Response(200, {"content-type": kind}, body.encode())
    return Turn(f"GET {base}/dags/d/dagRuns/r/taskInstances/{task_id}/logs/{try_number}{query}", reply)


def report(version: str, *turns: Turn, log_lines: int = 20, task_ids: tuple[str, ...] = ()) -> FailureReport:
    remote = ScriptedRemote(version=version)
    return remote.play(remote.deployment.failures.report(RUN, log_lines=log_lines, task_ids=task_ids), *turns)


# What failed first


@pytest.mark.parametrize("version", STABLE)
def test_what_failed_first_comes_first_with_the_end_of_its_log(version: str) -> None:
    found = report(
        version,
        listing(
            version,
            instance("later", end_date="2026-11-22T07:02:00Z"),
            instance("first", end_date="2026-11-22T07:01:00Z", try_number=3, duration=12.34),
            instance("part", end_date="2026-11-22T07:01:30Z", map_index=7),
        ),
        counting(version),
        log(version, "boom", "first", 3),
        log(version, "bang", "part", query="?map_index=7"),
        log(version, "crash", "later"),
    )
    assert [task.instance.name for task in found.tasks] == ["first", "part[7]", "later"]
    assert [task.log for task in found.tasks] == [("boom",), ("bang",), ("crash",)]
    assert str(found).splitlines() == [
        "3 of 12 task instances failed:",
        "- first (try 3, BashOperator, after 12.3 s, at 2026-11-22T07:01:00Z)",
        "    | boom",
        "- part[7] (try 1, BashOperator, at 2026-11-22T07:01:30Z)",
        "    | bang",
        "- later (try 1, BashOperator, at 2026-11-22T07:02:00Z)",
        "    | crash",
    ]


def test_what_does_not_say_when_it_failed_comes_last() -> None:
    unknown, known = instance("a"), instance("b", end_date="2026-11-22T07:01:00Z")
    found = report(V2, listing(V2, unknown, known), counting(V2), log_lines=0)
    assert [task.instance.name for task in found.tasks] == ["b", "a"]


def test_one_line_of_a_log_may_be_enough() -> None:
    found = report(V2, listing(V2, instance()), counting(V2), log(V2, "boom"), log_lines=1)
    assert found.tasks[0].log == ("boom",)


def test_a_task_that_was_never_started_has_no_log_and_does_not_hide_the_rest() -> None:
    found = report(V2, listing(V2, instance("a", try_number=0), instance("b")), counting(V2), log(V2, "boom", "b"))
    assert [(task.log, task.log_missing) for task in found.tasks] == [((), "it was never started"), (("boom",), None)]


def test_a_log_is_requested_in_the_form_whose_end_can_be_found() -> None:
    for version, form in ((V1, "text/plain"), (V2, "application/x-ndjson")):
        remote = ScriptedRemote(version=version)
        turns = [listing(version, instance()), counting(version), log(version, "x")]
        remote.play(remote.deployment.failures.report(RUN, log_lines=5), *turns)
        assert remote.requests[-1].headers["Accept"] == form


def test_only_the_first_of_many_are_reported() -> None:
    many = [instance("t", map_index=n, end_date=f"2026-11-22T07:{n:02}:00Z") for n in range(MOST_FAILED_TASKS + 2)]
    logs = [log(V2, "x", query=f"?map_index={n}") for n in range(MOST_FAILED_TASKS)]
    found = report(V2, listing(V2, *reversed(many)), counting(V2, 99), *logs)
    assert [task.instance.map_index for task in found.tasks] == list(range(MOST_FAILED_TASKS))
    assert str(found).startswith("7 of 99 task instances failed; the first 5:")


def test_the_first_are_looked_for_on_every_page_as_far_as_that_is_bearable() -> None:
    pages = [
        listing(V1, instance("t", map_index=n, end_date=f"2026-11-22T07:{59 - n}:00Z"), total=500, offset=n)
        for n in range(PAGES_OF_FAILED_TASKS)
    ]
    found = report(V1, *pages, counting(V1, 600), log_lines=0)
    assert [task.instance.map_index for task in found.tasks] == [9, 8, 7, 6, 5]
    assert found.failed_count == 500


def test_a_listing_that_promises_more_than_it_has_ends() -> None:
    found = report(V1, listing(V1, instance(), total=2), listing(V1, total=2, offset=1), counting(V1), log_lines=0)
    assert len(found.tasks) == 1


def test_the_tasks_that_were_waited_for_come_before_all_others() -> None:
    found = report(V2, listing(V2, instance("a"), instance("b")), counting(V2), log(V2, "x", "b"), task_ids=("b", "c"))
    assert [task.instance.name for task in found.tasks] == ["b"]


def test_a_run_in_which_nothing_failed_says_so() -> None:
    found = report(V2, listing(V2), counting(V2, 3))
    assert str(found).startswith("None of its task instances is failed, though the run is failed")
    assert (found.failed_count, found.task_count, found.tasks) == (0, 3, ())


# What cannot be reported


def test_a_log_that_cannot_be_read_does_not_hide_the_rest() -> None:
    gone = answer(404, {"detail": "TaskInstance not found"})
    found = report(V2, listing(V2, instance("a"), instance("b")), counting(V2), log(V2, gone, "a"), log(V2, "x", "b"))
    assert "no such thing" in str(found.tasks[0].log_missing)
    assert f"(no log: {found.tasks[0].log_missing})" in str(found)
    assert found.tasks[1].log == ("x",)


def test_a_page_in_place_of_a_log_is_no_log_and_no_other_log_is_requested() -> None:
    found = report(V2, listing(V2, instance("a"), instance("b")), counting(V2), *[log(V2, page(200), "a")] * 6)
    assert all("JSON" in str(task.log_missing) and not task.log for task in found.tasks)


def test_a_task_that_never_started_has_no_log() -> None:
    found = report(V2, listing(V2, instance(try_number=0)), counting(V2))
    assert found.tasks[0].log_missing == "it was never started"


def test_logs_that_are_not_needed_are_not_requested() -> None:
    found = report(V2, listing(V2, instance()), counting(V2), log_lines=0)
    assert (found.tasks[0].log, found.tasks[0].log_missing) == ((), None)


def test_who_may_not_even_list_tasks_hears_so() -> None:
    forbidden = answer(403, {"detail": "Forbidden"})
    with pytest.raises(AccessDenied):
        report(V2, Turn(listing(V2).expected, forbidden))


def test_1_10_shows_the_tasks_that_were_waited_for_and_nothing_else() -> None:
    base = "GET /api/experimental/dags/d/dag_runs/2026-11-22T07%3A00%3A00Z/tasks"
    failed = ok({"task_id": "a", "state": "failed", "try_number": "2", "duration": "1.5"})
    fine = ok({"task_id": "b", "state": "success", "try_number": "1"})
    found = report(EXPERIMENTAL, Turn(f"{base}/a", failed), Turn(f"{base}/b", fine), task_ids=("a", "b"))
    assert str(found).splitlines() == [
        "- a (try 2, after 1.5 s)",
        "Airflow 1.10's experimental API shows neither the tasks of a run nor their logs; see the link.",
    ]


# Logs


def records(*given: dict[str, Any] | str) -> bytes:
    """A log as Airflow 3 gives it."""
    return "".join(
        f"{each if isinstance(each, str) else json.dumps(each, separators=(',', ':'))}\n" for each in given
    ).encode()


FAILED = {
    "timestamp": "2026-11-22T16:40:39Z",
    "event": "Task failed with exception",
    "level": "error",
    "logger": "task",
    "dag_id": "d",
    "error_detail": [
        {
            "exc_type": "RuntimeError",
            "exc_value": "it broke\nin two lines",
            "frames": [{"filename": "a.py", "lineno": 3, "name": "f"}],
        },
        {"exc_type": "KeyError", "exc_value": "'x'", "frames": []},
    ],
}
ERROR = [
    "2026-11-22T16:40:39Z ERROR Task failed with exception",
    "KeyError: 'x'",
    "Traceback (most recent call last):",
    '  File "a.py", line 3, in f',
    "RuntimeError: it broke",
    "in two lines",
]


def test_a_text_is_shown_by_its_last_lines_without_colours_folds_and_empty_lines() -> None:
    text = "host\n[…] INFO - ::group::Pre\none\n\n\x1b[31mtwo\x1b[0m\x07\n[…] INFO - ::endgroup::\nthree  \n"
    assert text_lines(text.encode(), 3) == ["one", "two\\x07", "three"]
    assert text_lines(text.encode(), 0) == []


def test_a_long_line_is_cut() -> None:
    assert text_lines(b"x" * 9999, 5) == ["x" * LONGEST_LOG_LINE + "…"]


def test_of_a_huge_text_the_end_is_read_from_the_beginning_of_a_line_on() -> None:
    huge = b"\n".join(b"line %07d" % number for number in range(100_000))
    lines = text_lines(huge, 10**6)
    assert lines[-1] == "line 0099999"
    assert lines[0].startswith("line 00")
    assert len("\n".join(lines)) <= LONGEST_END


def test_records_become_lines_that_show_what_is_not_in_the_report_already() -> None:
    given = {
        "timestamp": "T",
        "event": "hello",
        "level": "info",
        "dag_id": "d",
        "rows": 3,
        "chan": "stdout",
        "none": None,
    }
    assert record_lines(records({"timestamp": None, "event": "::group::x"}, given, {"event": "two\nlines"}), 9) == [
        "T INFO hello rows=3",
        "two",
        "lines",
    ]


def test_an_exception_is_shown_as_a_traceback_after_what_caused_it() -> None:
    assert record_lines(records({"event": "before"}, FAILED, {"event": "after"}), 99) == ["before", *ERROR, "after"]


def test_the_exception_is_shown_although_much_was_printed_after_it() -> None:
    printed = [{"event": f"line {number}"} for number in range(50_000)]
    assert record_lines(records(*printed, FAILED, *printed), 12) == [
        *ERROR,
        *(f"line {number}" for number in range(49_994, 50_000)),
    ]


def test_most_lines_belong_to_an_exception_that_has_more() -> None:
    printed = [{"event": f"line {number}"} for number in range(50)]
    assert record_lines(records(FAILED, *printed), 4) == [*ERROR[-3:], "line 49"]


@pytest.mark.parametrize("line", ["no JSON", "[" * 50_000, "[1, 2]"], ids=["text", "deep", "list"])
def test_a_record_that_is_none_is_shown_as_it_is(line: str) -> None:
    lines, end = record_lines(records(line, {"event": "end"}), 2)
    assert (lines[:4], end) == (line[:4], "end")


@pytest.mark.parametrize("detail", ["text", ["text"], [{"frames": ["x"]}], [{"frames": "x"}]])
def test_an_exception_of_another_shape_is_borne_with(detail: Any) -> None:
    assert record_lines(records({"event": "e", "error_detail": detail}), 9)[0] == "e"


# In JSON


def test_a_report_is_plain_json() -> None:
    failed = FailedTask(TaskInstance("t", 3, "failed", 2, "BashOperator", "a", "b", 1.5), ("x",), None)
    lines = FailureReport(RUN, (failed,), 1, 2).as_dict()
    assert json.loads(json.dumps(lines)) == lines
    assert lines == {
        "dag_id": "d",
        "run_id": "r",
        "state": "failed",
        "url": RUN.url,
        "task_count": 2,
        "failed_count": 1,
        "tasks": [
            {
                "task_id": "t",
                "map_index": 3,
                "try_number": 2,
                "operator": "BashOperator",
                "start_date": "a",
                "end_date": "b",
                "duration": 1.5,
                "log": ["x"],
                "log_missing": None,
            }
        ],
        "remark": None,
    }


def test_a_report_is_no_larger_than_an_xcom_may_be_and_keeps_the_ends_of_its_logs() -> None:
    lines = tuple(f"{number} " + "ß" * 490 for number in range(200))
    lines = FailureReport(RUN, tuple(FailedTask(TaskInstance(f"t{n}"), lines) for n in range(5)), 5, 5).as_dict()
    assert LARGEST_REPORT / 4 < len(json.dumps(lines)) <= LARGEST_REPORT
    assert all(task["log"][-1].startswith("199 ") for task in lines["tasks"])


def test_an_unknown_count_is_left_out() -> None:
    assert str(FailureReport(RUN, (FailedTask(TaskInstance("t")),), 1)) == "1 task instances failed:\n- t (try 0)"
