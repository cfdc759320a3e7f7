"""The progress of a run: logged when it changes, and at a bounded cost."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import replace
from typing import Any

import pytest

from astronomer_remote.api.protocol.flow import Response
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.runs import follow as follower
from astronomer_remote.api.runs.follow import LONGEST_PAUSE
from astronomer_remote.api.waiting.log_stream import FOLLOWED_AT_ONCE, progress_line
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.api.waiting.waiter import Waiter
from astronomer_remote.api.watch import watcher
from astronomer_remote.api.watch.watcher import watch
from astronomer_remote.testing import FakeDeployment
from tests.api.script import EXPERIMENTAL, LOST, V1, V2, ScriptedRemote, Speech, Turn, answer, ok


def instances(*states: str | None) -> list[dict[str, Any]]:
    return [{"task_id": f"t{number}", "state": state, "try_number": 1} for number, state in enumerate(states)]


def progress(version: str, *states: str | None, total: int | None = None) -> Turn:
    speech = Speech(version)
    body = {"task_instances": instances(*states), "total_entries": len(states) if total is None else total}
    return Turn(f"GET {speech.runs_path}/r/taskInstances?limit=100&offset=0", ok(body))


def wait(version: str, *turns: Turn, target: bool = True, every: float = 60) -> list[str]:
    """Wait for a run. :return: the lines about its progress."""
    remote, lines = ScriptedRemote(version=version), []
    flow = remote.deployment.poller.wait(
        WaitTarget("d", run_id="r", progress=target), poke_interval=every, deadline=None, on_line=lines.append
    )
    assert remote.play(flow, *turns).status is WaitStatus.SUCCESS
    return [line for line in lines if not line.startswith("Waiting")]


def test_a_line_names_what_is_done_and_what_runs() -> None:
    given = [
        *(TaskInstance(f"done_{state}", state=state) for state in ("success", "failed", "skipped", "upstream_failed")),
        TaskInstance("load_orders", state="running", try_number=2),
        TaskInstance("transform", 7, "deferred", 1),
        *(TaskInstance("later", state=state) for state in (None, "scheduled", "queued", "up_for_retry")),
    ]
    assert progress_line(given) == "4/10 tasks done, running: load_orders (try 2), transform[7]"
    assert progress_line(given[:4]) == "4/4 tasks done"


def test_a_line_is_short() -> None:
    many = [TaskInstance("t", index, "running", 1) for index in range(20)]
    assert progress_line(many) == "0/20 tasks done, running: t[0], t[1], t[2], t[3], t[4] and 15 more"


@pytest.mark.parametrize("version", [V1, V2])
def test_it_is_logged_when_it_changes(version: str) -> None:
    speech = Speech(version)
    running, over = speech.get(speech.run()), speech.get(speech.run(state="success"))
    lines = wait(
        version,
        *[running, progress(version)],
        *[running, progress(version, "running", None)],
        *[running, progress(version, "running", None)],
        *[running, progress(version, "success", "running"), over],
    )
    assert lines == ["0/2 tasks done, running: t0", "1/2 tasks done, running: t1"]


@pytest.mark.parametrize(
    ("reply", "pause"),
    [
        (answer(403, {"detail": "Forbidden"}), math.inf),
        (answer(503), 120),
        (answer(503, retry_after="3600"), LONGEST_PAUSE),
    ],
)
def test_what_cannot_be_read_for_now_is_read_later_and_what_is_refused_no_more(reply: Response, pause: float) -> None:
    remote = ScriptedRemote(version=V2)
    target = WaitTarget("d", run_id="r", exists=True, progress=True)
    waiting = Waiter(target, 60.0, lambda update: None, answered_at=remote.clock.now)
    remote.play(remote.deployment.follower.follow(waiting), replace(progress(V2), reply=reply))
    assert waiting.follow_due == remote.clock.now + pause


def test_last_lines_that_are_refused_are_a_warning() -> None:
    remote = ScriptedRemote(version=V2)
    lines: list[Any] = []
    waiting = Waiter(WaitTarget("d", run_id="r", stream=("t",)), 60.0, lines.append, answered_at=remote.clock.now)
    waiting.run = DagRun("d", "r", "success")
    refused = replace(progress(V2), reply=answer(403, {"detail": "Forbidden"}))
    remote.play(remote.deployment.follower.report_last_lines(waiting), refused)
    (line,) = lines
    assert line.startswith("Could not read all logs of the remote tasks: ")


def test_it_is_polled_at_a_slower_pace_than_the_run() -> None:
    speech = Speech(V2)
    running, over = speech.get(speech.run()), speech.get(speech.run(state="success"))
    assert wait(
        V2, running, progress(V2, "running"), running, running, running, progress(V2, None), over, every=20
    ) == [
        "0/1 tasks done, running: t0",
        "0/1 tasks done",
    ]


def test_a_display_gets_it_with_every_poll() -> None:
    speech, shown = Speech(V2), []
    running, over = speech.get(speech.run()), speech.get(speech.run(state="success"))
    remote = ScriptedRemote(version=V2)
    flow = remote.deployment.poller.wait(
        WaitTarget("d", run_id="r", progress=True),
        poke_interval=5,
        deadline=None,
        on_line=lambda _: None,
        on_poll=lambda run, instances: shown.append((run.state, [each.state for each in instances])),
    )
    remote.play(flow, running, progress(V2, "running"), running, progress(V2, "success"), over)
    assert shown == [("running", ["running"]), ("running", ["success"])]
    assert remote.sleeps == [5, 5]


def test_it_is_not_requested_where_it_is_off_or_not_available() -> None:
    for version, target in ((V2, False), (EXPERIMENTAL, True)):
        speech = Speech(version)
        assert wait(version, speech.get(speech.run()), speech.get(speech.run(state="success")), target=target) == []


def test_the_progress_of_a_large_run_is_not_logged_and_that_is_said_once() -> None:
    speech = Speech(V2)
    running, over = speech.get(speech.run()), speech.get(speech.run(state="success"))
    assert wait(V2, running, progress(V2, None, total=101), running, over) == [
        "Run r has 101 task instances, too many to log its progress."
    ]


def test_a_refusal_of_it_is_final_and_disturbs_no_wait() -> None:
    speech = Speech(V2)
    running, over = speech.get(speech.run()), speech.get(speech.run(state="success"))
    forbidden = Turn(progress(V2).expected, answer(403, {"detail": "Forbidden"}))
    assert wait(V2, running, forbidden, running, over) == []


def test_what_may_pass_is_requested_again_later_and_holds_up_no_wait() -> None:
    speech = Speech(V2)
    running, over = speech.get(speech.run()), speech.get(speech.run(state="success"))
    lost = Turn(progress(V2).expected, LOST)
    lines = wait(V2, running, lost, running, running, progress(V2, "success"), over, every=300)
    assert lines == ["1/1 tasks done"]


def test_a_watcher_logs_it_in_turn_at_a_cost_that_does_not_follow_the_number_of_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(follower, "SECONDS_BETWEEN_PROGRESS", 600.0)
    monkeypatch.setattr(watcher, "SECONDS_BETWEEN_RUNS", 0.0)
    under_way: list[int] = []
    follow = follower.RunFollower.follow
    now = 0

    def counted(self: Any, waiter: Any) -> Any:
        nonlocal now
        now += 1
        under_way.append(now)
        yield from follow(self, waiter)
        now -= 1

    monkeypatch.setattr(follower.RunFollower, "follow", counted)
    with FakeDeployment("3.3.2") as fake:
        fake.add_dag("d", tasks=["t"], stays="running")
        runs = [fake.add_run("d", f"r{number}", state="running")["run_id"] for number in range(5)]
        lines = asyncio.run(watch_all(fake, runs))
        listed = sum("taskInstances" in path for _, path in fake.requests)
    assert sorted(lines) == ["0/1 tasks done, running: t"] * 5
    assert max(under_way) == FOLLOWED_AT_ONCE
    assert listed == 5


async def watch_all(fake: FakeDeployment, runs: list[str]) -> list[str]:
    """Wait for all runs until each has logged its progress."""
    connection = fake.connection()
    settings = Settings.parse(host=connection["host"], login=connection["login"], password=connection["password"])
    lines: list[str] = []
    all_logged = asyncio.Event()

    def on_line(line: str) -> None:
        if not line.startswith("Waiting"):
            lines.append(line)
        if len(lines) == len(runs):
            all_logged.set()

    async def reload() -> Settings:
        return settings

    def wait_for(run_id: str) -> Any:
        target = WaitTarget("d", run_id=run_id, exists=True, since=time.time() - 1, progress=True)
        return watch(
            target,
            settings=settings,
            reload=reload,
            poke_interval=0.05,
            deadline=time.time() + 30,
            on_line=on_line,
        )

    waits = [asyncio.create_task(wait_for(run_id)) for run_id in runs]
    await asyncio.wait_for(all_logged.wait(), 30)
    for run_id in runs:
        fake.finish("d", run_id)
    outcomes: list[WaitResult] = await asyncio.gather(*waits)
    assert {outcome.status for outcome in outcomes} == {WaitStatus.SUCCESS}
    return lines
