"""Runs by their dates: the one of a data interval, and what is said where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.protocol.errors import NotSupported
from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.api.runs.dated_runs import MOST_PAGES_OF_RUNS, PAGE_OF_RUNS
from astronomer_remote.api.waiting.target import BY_DATA_INTERVAL_END, WaitStatus, WaitTarget
from tests.api.script import (
    DATE,
    EXPERIMENTAL,
    V1,
    V1_OLD,
    V1_OLDEST,
    V2,
    ScriptedRemote,
    Speech,
    Turn,
    answer,
    ok,
    only,
)

BEFORE, AFTER = "2026-11-21T07:00:00Z", "2026-11-23T07:00:00Z"
TARGET = WaitTarget("d", logical_dates=(DATE,))


def field(version: str) -> str:
    return "execution_date" if version.startswith("2") else "logical_date"


def listing(version: str, *runs: dict[str, Any], earlier: bool = True, limit: int = 1, offset: int = 0) -> Turn:
    """The runs up to the date, or from it on."""
    speech, date = Speech(version), DATE.replace(":", "%3A")
    way, order = ("lte", "-") if earlier else ("gte", "")
    query = (
        f"limit={limit}&offset={offset}{only(version)}&{field(version)}_{way}={date}&order_by={order}{field(version)}"
    )
    return Turn(f"GET {speech.runs_path}?{query}", ok({"dag_runs": list(runs), "total_entries": len(runs)}))


def dag(version: str) -> Turn:
    return Turn(f"GET {Speech(version).base}/dags/d", ok({"dag_id": "d", "is_paused": False}))


def scheduled(version: str, run_id: str, end: str | None, **more: Any) -> dict[str, Any]:
    return Speech(version).run(run_id, **{"date": BEFORE, "run_type": "scheduled", "data_interval_end": end, **more})


def find(remote: ScriptedRemote, *turns: Turn) -> DagRun | None:
    return remote.play(remote.deployment.poller.dated_runs.of_interval_end("d", DATE), *turns)


def why(remote: ScriptedRemote, target: WaitTarget, *turns: Turn) -> str:
    said = remote.play(remote.deployment.poller.dated_runs.why_none(target), *turns)
    assert said is not None
    return said


@pytest.mark.parametrize("version", [V1, V2])
def test_the_scheduled_run_of_an_interval_is_found(version: str) -> None:
    runs = [
        scheduled(version, "by hand", DATE, run_type="manual"),
        scheduled(version, "of no interval", None),
        scheduled(version, "of no date", "soon"),
        scheduled(version, "later", "2026-11-23"),
        scheduled(version, "it", DATE.replace("Z", "+00:00")),
    ]
    found = find(ScriptedRemote(version=version), listing(version, *runs, limit=PAGE_OF_RUNS))
    assert found
    assert found.run_id == "it"


def test_there_may_be_none_at_all() -> None:
    assert find(ScriptedRemote(version=V2), listing(V2, limit=PAGE_OF_RUNS)) is None


@pytest.mark.parametrize("end", [BEFORE, "2026-11-21"])
def test_an_earlier_interval_ends_the_search(end: str) -> None:
    full = [scheduled(V2, "earlier", end)] * PAGE_OF_RUNS
    assert find(ScriptedRemote(version=V2), listing(V2, *full, limit=PAGE_OF_RUNS)) is None


def test_the_search_continues_page_by_page_and_not_for_ever() -> None:
    by_hand = [scheduled(V2, f"by hand {n}", DATE, run_type="manual") for n in range(PAGE_OF_RUNS)]
    pages = [listing(V2, *by_hand, limit=PAGE_OF_RUNS, offset=n * PAGE_OF_RUNS) for n in range(MOST_PAGES_OF_RUNS)]
    assert find(ScriptedRemote(version=V2), *pages) is None
    last = listing(V2, scheduled(V2, "it", DATE), limit=PAGE_OF_RUNS, offset=PAGE_OF_RUNS)
    found = find(ScriptedRemote(version=V2), pages[0], last)
    assert found
    assert found.run_id == "it"


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1_OLDEST, V1_OLD, "2.3.4"])
def test_remotes_that_show_no_data_intervals_are_refused(version: str) -> None:
    with pytest.raises(NotSupported, match=r"cannot show the data intervals of runs\. Airflow 2\.4 and later can\.$"):
        find(ScriptedRemote(version=version))


@pytest.mark.parametrize("version", [V1, V2])
def test_the_runs_next_to_a_date_are_named(version: str) -> None:
    speech = Speech(version)
    turns = [
        dag(version),
        listing(version, speech.run("before", date=BEFORE)),
        listing(version, speech.run("after", date=AFTER), earlier=False),
    ]
    said = why(ScriptedRemote(version=version), TARGET, *turns)
    assert f"no run of {DATE} yet" in said
    assert f"'before' of {BEFORE}, which an execution_delta would fit that is longer by 1 day" in said
    assert f"'after' of {AFTER}, which an execution_delta would fit that is shorter by 1 day" in said
    assert "timedelta(seconds=86400)" in said
    assert "match_by" in said


def test_1_10_shows_its_runs_at_once() -> None:
    speech = Speech(EXPERIMENTAL)
    runs = [speech.run("before", date=BEFORE), speech.run("long before", date="2026-11-01T07:00:00Z")]
    runs += [speech.run("after", date=AFTER), speech.run("of no date", date=None)]
    turns = [Turn(f"GET {speech.runs_path}", ok(runs))] * 3
    said = why(ScriptedRemote(version=EXPERIMENTAL), TARGET, *turns)
    assert "'before'" in said
    assert "'after'" in said
    assert "long before" not in said
    assert "match_by" not in said


def test_intervals_are_compared_by_their_ends() -> None:
    target = WaitTarget("d", logical_dates=(DATE,), match_by=BY_DATA_INTERVAL_END)
    turns = [
        dag(V2),
        listing(V2, scheduled(V2, "before", BEFORE)),
        listing(V2, scheduled(V2, "x", None), earlier=False),
    ]
    said = why(ScriptedRemote(version=V2), target, *turns)
    assert said == (
        f"DAG 'd' has no run whose data interval ends at {DATE} yet, but 'before' of {BEFORE}, which an "
        "execution_delta would fit that is longer by 1 day, 0:00:00 (timedelta(seconds=86400))."
    )


def test_what_the_remote_does_not_show_ends_nothing() -> None:
    denied = answer(403, {"detail": "Forbidden"})
    remote = ScriptedRemote(version=V2)
    assert why(remote, TARGET, Turn("GET /api/v2/dags/d", denied)) == ""
    turns = [dag(V2), Turn(listing(V2).expected, denied), Turn(listing(V2, earlier=False).expected, denied)]
    assert "has no run near" in why(remote, TARGET, *turns)


@pytest.mark.parametrize("version", [V1, V2])
def test_a_dag_that_is_not_there_is_the_reason(version: str) -> None:
    missing = Turn(f"GET {Speech(version).base}/dags/d", Speech(version).no_dag())
    assert "has no such DAG yet" in why(ScriptedRemote(version=version), TARGET, missing)


@pytest.mark.parametrize(
    ("version", "target"), [(V1_OLDEST, TARGET), (V2, WaitTarget("d", run_id="r")), (V2, WaitTarget("d", newest=True))]
)
def test_of_some_waits_only_the_dag_can_be_looked_for(version: str, target: WaitTarget) -> None:
    assert why(ScriptedRemote(version=version), target, dag(version)) == ""


@pytest.mark.parametrize(("version", "expected"), [(V1, 1), (V2, 0)])
def test_a_wait_says_once_why_nothing_is_found_if_there_is_a_reason(version: str, expected: int) -> None:
    remote, speech, lines = ScriptedRemote(version=version), Speech(version), []
    reason = Turn(f"GET {speech.base}/dags/d", speech.no_dag() if expected else ok({"dag_id": "d", "is_paused": False}))
    looks = [speech.get()] * 4
    wait = remote.deployment.poller.wait(
        WaitTarget("d", run_id="r"), poke_interval=10, deadline=remote.clock.now + 50, on_line=lines.append
    )
    outcome = remote.play(wait, *looks, reason, speech.get(), speech.get())
    assert outcome.status is WaitStatus.TIMEOUT
    assert len([line for line in lines if "has no such DAG yet" in line]) == expected


def test_a_poll_finds_the_run_of_an_interval() -> None:
    target = WaitTarget("d", logical_dates=(DATE,), match_by=BY_DATA_INTERVAL_END)
    remote = ScriptedRemote(version=V2)
    turn = listing(V2, scheduled(V2, "it", DATE, state="success"), limit=PAGE_OF_RUNS)
    snapshot = remote.play(remote.deployment.poller.snapshot(target), turn)
    assert snapshot.states == {f"run of {DATE}": ["success"]}
    assert snapshot.run is not None
    assert snapshot.run.run_id == "it"


def test_a_poll_finds_the_runs_of_several_intervals() -> None:
    target = WaitTarget("d", logical_dates=(DATE, AFTER), match_by=BY_DATA_INTERVAL_END)
    turn = listing(V2, scheduled(V2, "it", DATE, state="success"), limit=PAGE_OF_RUNS)
    later = listing(V2, scheduled(V2, "next", AFTER), limit=PAGE_OF_RUNS)
    quoted = [date.replace(":", "%3A") for date in (DATE, AFTER)]
    later = replace(later, expected=later.expected.replace(*quoted))
    remote = ScriptedRemote(version=V2)
    snapshot = remote.play(remote.deployment.poller.snapshot(target), turn, later)
    assert snapshot.states == {f"run of {DATE}": ["success"], f"run of {AFTER}": ["running"]}


def test_a_poll_for_a_date_finds_nothing_where_there_is_no_dag() -> None:
    remote, speech = ScriptedRemote(version=V2), Speech(V2)
    missing = Turn(speech.of_date().expected, speech.no_dag())
    snapshot = remote.play(remote.deployment.poller.snapshot(TARGET), missing)
    assert snapshot.states == {f"run of {DATE}": []}
    assert snapshot.dag_is_missing


def test_that_nothing_is_there_is_explained_later_if_the_remote_does_not_answer() -> None:
    remote, speech, said = ScriptedRemote(version=V2), Speech(V2), list[str]()
    nothing, limited = speech.of_date(), answer(429, {"detail": "later"}, retry_after="600")
    near = [dag(V2), listing(V2), listing(V2, speech.run("after", date=AFTER), earlier=False)]
    turns = [
        *[*[nothing] * 4, replace(dag(V2), reply=limited)],
        *[*[nothing] * 3, dag(V2), *[replace(each, reply=limited) for each in near[1:]]],
        *[*[nothing] * 3, *near],
        speech.of_date(speech.run(state="success")),
    ]
    flow = remote.deployment.poller.wait(TARGET, poke_interval=60, deadline=None, on_line=said.append)
    assert remote.play(flow, *turns).status is WaitStatus.SUCCESS
    assert set(remote.sleeps) == {60}
    assert sum("has no run" in line for line in said) == 1


def test_a_run_on_one_side_is_named_if_the_other_side_is_not_answered() -> None:
    limited = replace(listing(V2, earlier=False), reply=answer(500, {}))
    said = why(ScriptedRemote(version=V2), TARGET, dag(V2), listing(V2, Speech(V2).run("b", date=BEFORE)), limited)
    assert "but 'b'" in said


def test_in_a_worker_it_is_read_with_retries() -> None:
    limited = replace(dag(V2), reply=answer(429, {}))
    near = [listing(V2), listing(V2, Speech(V2).run("after", date=AFTER), earlier=False)]
    remote = ScriptedRemote(version=V2)
    said = remote.play(remote.deployment.poller.dated_runs.why_none(TARGET, once=False), limited, dag(V2), *near)
    assert "but 'after'" in (said or "")
    limits = [limited] * RetryPolicy().attempts
    assert remote.play(remote.deployment.poller.dated_runs.why_none(TARGET, once=False), *limits) is None
