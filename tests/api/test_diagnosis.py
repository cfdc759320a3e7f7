"""Why a run does not start: shown once, in the log of the wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from astronomer_remote.api.protocol.flow import Flow, Response
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.api.waiting.waiter import MOST_EXPLANATIONS
from tests.api.script import (
    EXPERIMENTAL,
    LOST,
    UNSENT,
    V1,
    V1_OLDEST,
    V2,
    ScriptedRemote,
    Speech,
    Turn,
    answer,
    ok,
    only,
    page,
    plain,
)

HEALTHY = {"scheduler": {"status": "healthy"}}
HEALTH = {EXPERIMENTAL: "/health", V1_OLDEST: "/api/v1/health", V1: "/api/v1/health", V2: "/api/v2/monitor/health"}


def wait(remote: ScriptedRemote, lines: list[str]) -> Flow[WaitResult]:
    """Look every 150 seconds, so that the second look finds the run waiting for too long."""
    target = WaitTarget("d", run_id="r")
    return remote.deployment.poller.wait(target, poke_interval=150, deadline=None, on_line=lines.append)


def lines(version: str, *questions: Turn, state: str = "queued") -> list[str]:
    """What the log says of the reasons, beyond how things stand."""
    remote, speech = ScriptedRemote(version=version), Speech(version)
    lines: list[str] = []
    waiting = speech.get(speech.run(state=state))
    over = speech.get(speech.run(state="success"))
    outcome = remote.play(wait(remote, lines), waiting, waiting, *questions, waiting, over)
    assert outcome.status is WaitStatus.SUCCESS
    return [line for line in lines if "is still" in line]


def questions(version: str, *, dag: Any = None, health: Any = None, runs: Any = None) -> list[Turn]:
    """The requests about the DAG, the scheduler and the other runs of an Airflow 2 or 3."""
    speech = Speech(version)
    described = dag if isinstance(dag, Response) else ok({"dag_id": "d", "is_paused": False} | (dag or {}))
    turns = [
        *[Turn(f"GET {speech.base}/dags/d", described)] * 2,
        Turn(f"GET {HEALTH[version]}", health if isinstance(health, Response) else ok(health or HEALTHY)),
    ]
    if runs is not None:
        order = "" if version == V1_OLDEST else f"&order_by={'-run_after' if version == V2 else '-id'}"
        body = {"dag_runs": [speech.run(f"r{n}", state) for n, state in enumerate(runs)], "total_entries": len(runs)}
        reply = runs if isinstance(runs, Response) else ok(body)
        turns.append(Turn(f"GET {speech.runs_path}?limit=100&offset=0{only(version)}{order}", reply))
    return turns


@pytest.mark.parametrize("version", [V1_OLDEST, V1, V2])
def test_a_run_that_stays_queued_is_explained_by_all_that_the_remote_shows(version: str) -> None:
    dag = {"is_paused": True, "has_import_errors": True, "fileloc": "/d.py", "max_active_runs": 2}
    runs = ["running", "running", "queued"]
    turns = questions(version, dag=dag, health={"scheduler": {"status": "unhealthy"}}, runs=runs)
    # On 2.0 a run is called running from its first moment on.
    state = "running" if version == V1_OLDEST else "queued"
    assert lines(version, *turns, state=state) == [
        f"Run r is still {state}: its DAG is paused: unpause it in the remote; its DAG file /d.py has an import error; "
        "the remote's scheduler is unhealthy; 2 runs of its DAG are running, and max_active_runs is 2."
    ]


@pytest.mark.parametrize("version", [V1, V2])
def test_a_run_that_stays_queued_without_a_reason_is_reported_as_well(version: str) -> None:
    turns = questions(version, dag={"max_active_runs": 2}, runs=["running"])
    (line,) = lines(version, *turns)
    assert line == "Run r is still queued: the remote shows no reason; its scheduler or workers may be busy."


@pytest.mark.parametrize("failure", [LOST, UNSENT, plain(429, "", **{"retry-after": "60"}), plain(503, "")])
def test_a_wait_is_not_held_up_for_an_explanation(failure: Any) -> None:
    remote, speech, said = ScriptedRemote(version=V2), Speech(V2), []
    waiting, over = (speech.get(speech.run(state=state)) for state in ("queued", "success"))
    failed = [replace(turn, reply=failure) for turn in questions(V2)]
    shown = questions(V2, dag={"is_paused": True})
    remote.play(wait(remote, said), waiting, waiting, *failed, waiting, *shown, waiting, over)
    assert set(remote.sleeps) == {150}
    (reason,) = [line for line in said if "is still" in line]
    assert "its DAG is paused" in reason


def test_an_explanation_that_is_never_answered_costs_few_requests_and_is_not_waited_for() -> None:
    remote, speech, said = ScriptedRemote(version=V2), Speech(V2), list[str]()
    waiting, over = (speech.get(speech.run(state=state)) for state in ("queued", "success"))
    paused, dag, health = questions(V2)
    read = [paused, dag, replace(health, reply=plain(503, ""))]
    turns = [turn for _ in range(MOST_EXPLANATIONS) for turn in (waiting, *read)]
    remote.play(wait(remote, said), waiting, *turns, waiting, waiting, over)
    (reason,) = [line for line in said if "is still" in line]
    assert reason == "Run r is still queued: the remote did not answer all requests for the reason."


def test_a_reason_that_is_shown_is_logged_whatever_else_is_not() -> None:
    first, *others = questions(V2, dag={"is_paused": True})
    (line,) = lines(V2, first, *[replace(turn, reply=plain(503, "")) for turn in others])
    assert "its DAG is paused" in line


def test_an_explanation_that_cannot_be_read_does_not_end_the_wait() -> None:
    hidden = answer(403, {"detail": "Forbidden"})
    (line,) = lines(V2, *questions(V2, dag=hidden, health=page(200)))
    assert "the remote shows no reason" in line
    (line,) = lines(V2, *questions(V2, dag={"max_active_runs": 1}, runs=[])[:-1], runs_refused())
    assert "the remote shows no reason" in line


def runs_refused() -> Turn:
    path = Speech(V2).runs_path
    return Turn(f"GET {path}?limit=100&offset=0&order_by=-run_after", answer(403, {"detail": "Forbidden"}))


def test_a_run_on_1_10_is_called_running_even_while_its_paused_dag_keeps_it_from_beginning() -> None:
    speech = Speech(EXPERIMENTAL)
    paused = Turn(f"GET {speech.base}/dags/d/paused", ok({"is_paused": True}))
    turns = [paused, speech.get(speech.run()), Turn("GET /health", ok(HEALTHY))]
    assert lines(EXPERIMENTAL, *turns, state="running") == [
        "Run r is still running: its DAG is paused: unpause it in the remote."
    ]
    turns[0] = Turn(paused.expected, ok({"is_paused": False}))
    assert lines(EXPERIMENTAL, *turns, state="running") == []


@pytest.mark.parametrize("version", [V1, V2])
def test_a_run_that_got_going_is_not_explained(version: str) -> None:
    assert lines(version, state="running") == []
