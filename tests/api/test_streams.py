"""What remote tasks write into their logs is shown in the log of a wait: each line once, at a bounded cost, as text."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.dialects.logs import LogPart, record_part, second_of_pairs, text_part
from astronomer_remote.api.protocol.errors import NotSupported
from astronomer_remote.api.protocol.flow import Flow, Response, Sleep
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.runs import follow as follower
from astronomer_remote.api.runs.follow import MOST_REPLIES, PAGES_OF_TASKS, SECONDS_FOR_LAST_LINES
from astronomer_remote.api.transport.async_driver import AsyncDriver
from astronomer_remote.api.waiting.log_stream import (
    FOLLOWED_AT_ONCE,
    LARGE_REPLY,
    LINES_PER_POLL,
    MOST_STREAMS,
    LogStream,
    LogStreams,
    LogWarning,
    log_sink,
)
from astronomer_remote.api.waiting.target import WaitStatus, WaitTarget
from astronomer_remote.api.waiting.waiter import Waiter
from astronomer_remote.api.watch import watcher
from astronomer_remote.api.watch.watcher import REQUESTS_AT_ONCE, watch
from astronomer_remote.testing import FakeDeployment
from tests.api.script import EXPERIMENTAL, LOST, STABLE, V1, V2, ScriptedRemote, Speech, Turn, answer, ok, plain

BOTH = pytest.mark.parametrize("version", [V1, V2])
REFUSED = answer(400, {"detail": "Bad Signature."})
FORBIDDEN = answer(403, {"detail": "Forbidden"})


# The forms in which a log comes


def test_a_log_of_airflow_2_is_text_in_a_list_in_text_in_json() -> None:
    log = " INFO - ::group::Log message source details\n*** Found local files:\n***   * /x\n INFO - ::endgroup::\n"
    content = str([("host", f"{log}[2026] {{x.py:1}} INFO - it's \\d\n\x1b[1mbold\x1b[0m\n*** not a source")])
    part = text_part({"content": content, "continuation_token": "t"})
    assert part == LogPart(("[2026] {x.py:1} INFO - it's \\d", "bold", "*** not a source"), "t")


@pytest.mark.parametrize("content", ["no list", "[1, 2]", "[('host'", "[('a', 'b', 'c')]", "(" * 9999])
def test_what_is_no_such_list_is_shown_as_it_is(content: str) -> None:
    assert text_part({"content": content}) == LogPart((content if len(content) < 500 else f"{content[:500]}…",), None)


@given(st.lists(st.tuples(st.text(), st.text(alphabet="'\"\\\na,()[]")), max_size=4))
def test_every_list_of_pairs_is_read_as_python_writes_it(logs: list[tuple[str, str]]) -> None:
    assert list(second_of_pairs(str(logs))) == [log for _, log in logs]


@pytest.mark.parametrize(
    "content", ["[" + "1," * 500_000 + "]", "[('h', '" + "\\'" * 500_000, "[" + "('a', 'b'), " * 200_000 + "]"]
)
def test_a_text_made_to_cost_memory_is_shown_as_it_is(content: str) -> None:
    tracemalloc.start()
    try:
        text_part({"content": content})
        # Python's parser takes more than a hundred times its size.
        assert tracemalloc.get_traced_memory()[1] < 20 * len(content)
    finally:
        tracemalloc.stop()


def test_a_log_of_airflow_3_is_a_list_of_records() -> None:
    records = [
        {"event": "::group::Log message source details", "sources": ["/x"]},
        {"event": "/x"},
        {"event": "::endgroup::"},
        {"timestamp": "2026", "level": "info", "event": "two\nlines", "rows": 3},
        {"event": "::group::Pre Execute"},
        "no record",
    ]
    part = record_part({"content": records, "continuation_token": None})
    assert part == LogPart(("2026 INFO two", "lines rows=3", "no record"), None)


def test_a_list_of_sources_without_an_end_takes_nothing_away() -> None:
    assert record_part({"content": []}).lines == ()
    assert record_part({"content": ["::group::Log message source details", "a"]}).lines == ("a",)


# What is new in it


def of(*lines: str, token: str | None = None) -> LogPart:
    return LogPart(lines, token)


def test_a_line_is_shown_once_whether_the_remote_continues_or_starts_over() -> None:
    stream = LogStream(TaskInstance("load", 3, "running", 2))
    assert stream.take(of("a", "b", token="t")) == ["load[3] (try 2): a", "load[3] (try 2): b"]
    assert stream.take(of("b", token="t")) == ["load[3] (try 2): b"]
    assert stream.take(of(token="t")) == []
    assert stream.take(of("a", "b", "b", "c", token="t")) == ["load[3] (try 2): c"]
    assert stream.take(of("d")) == ["load[3] (try 2): d"]
    assert stream.take(of("a", "b", "b", "c", "d", "e")) == ["load[3] (try 2): e"]


@pytest.mark.parametrize(
    ("whole", "on_line"),
    [(("x", "a", "b", "c"), ["c"]), (("b", "a", "c"), ["a", "c"]), (("x", "y", "z"), ["z"]), ((), [])],
)
def test_a_log_whose_order_has_changed_is_shown_from_the_last_known_line(
    whole: tuple[str, ...], on_line: list[str]
) -> None:
    stream = LogStream(TaskInstance("t"))
    stream.take(of("a", "b"))
    assert stream.take(of(*whole)) == [f"t: {line}" for line in on_line]


def test_much_at_a_time_is_shown_in_part() -> None:
    lines = LogStream(TaskInstance("t")).take(of(*map(str, range(LINES_PER_POLL + 7))))
    assert lines[:2] == ["t: (7 lines are left out here)", "t: 7"]
    assert len(lines) == LINES_PER_POLL + 1


FAILED = {"event": "Task failed", "error_detail": [{"exc_type": "E", "exc_value": "boom"}]}
ERROR = ["Task failed", "E: boom"]


def printed(first: int, count: int) -> list[dict[str, Any]]:
    """Lines of a log."""
    return [{"event": f"line {number}"} for number in range(first, first + count)]


def test_of_much_at_a_time_the_error_is_shown_although_much_was_printed_after_it() -> None:
    stream = LogStream(TaskInstance("t"))
    part = record_part({"content": [*printed(0, 300), FAILED, *printed(300, 300)]})
    assert [part.lines[number] for number in part.error] == ERROR
    lines = [line.removeprefix("t: ") for line in stream.take(part)]
    last = [f"line {number}" for number in range(600 - (LINES_PER_POLL - 2), 600)]
    assert lines == ["(402 lines are left out here)", *ERROR, *last]
    again = record_part({"content": [*printed(0, 300), FAILED, *printed(300, 600)]})
    assert not set(ERROR).intersection(line.removeprefix("t: ") for line in stream.take(again)), "it was shown before"


@pytest.mark.parametrize("after", [0, 1, LINES_PER_POLL - 3, LINES_PER_POLL - 2, LINES_PER_POLL - 1, LINES_PER_POLL])
def test_an_error_near_the_end_is_shown_once(after: int) -> None:
    part = record_part({"content": [*printed(0, 300), FAILED, *printed(300, after)]})
    lines = [line.removeprefix("t: ") for line in LogStream(TaskInstance("t")).take(part)]
    assert [line for line in lines if line in ERROR] == ERROR
    assert len(lines) == len(set(lines)) == LINES_PER_POLL + 1


def test_an_error_longer_than_what_is_shown_per_poll_is_shown_once_and_whole() -> None:
    frames = [{"filename": "x.py", "lineno": number, "name": "f"} for number in range(LINES_PER_POLL + 50)]
    long = {"event": "Task failed", "error_detail": [{"exc_type": "E", "exc_value": "boom", "frames": frames}]}
    part = record_part({"content": [*printed(0, 300), long, *printed(300, 10)]})
    lines = [line.removeprefix("t: ") for line in LogStream(TaskInstance("t")).take(part)]
    assert lines[-11:] == ["E: boom", *(f"line {number}" for number in range(300, 310))]
    assert len(lines) == len(set(lines)) <= LINES_PER_POLL + 1


# Which logs are read


def due(streams: LogStreams, *instances: TaskInstance, complete: bool = True) -> list[str]:
    """The tries whose logs are read in a poll."""
    found, _ = streams.due(instances, complete=complete)
    for stream in found:
        stream.take(of())
    return [f"{stream.instance.task_id} {stream.instance.try_number}" for stream in found]


def test_a_log_is_read_while_its_task_writes_and_once_after_its_end() -> None:
    streams = LogStreams(["t"])
    looks: list[tuple[str | None, int, list[str]]] = [
        (None, 0, []),
        ("queued", 1, []),
        ("running", 1, ["t 1"]),
        # As versions before 2.10 send it.
        ("deferred", 0, ["t 1"]),
        ("queued", 0, []),
        ("running", 1, ["t 1"]),
        ("up_for_retry", 1, ["t 1"]),
        ("queued", 1, []),
        ("running", 2, ["t 2"]),
        ("running", 3, ["t 2", "t 3"]),
        ("success", 3, ["t 3"]),
        ("success", 3, []),
    ]
    for state, number, target in looks:
        assert due(streams, TaskInstance("t", state=state, try_number=number), TaskInstance("other")) == target


def test_a_task_that_is_gone_is_read_once_more() -> None:
    streams = LogStreams(["t"])
    assert due(streams, TaskInstance("t", state="running", try_number=1)) == ["t 1"]
    assert due(streams) == ["t 1"]
    assert due(streams) == []


def test_a_log_that_could_not_be_read_at_the_end_is_read_later() -> None:
    streams = LogStreams(["t"])
    ended = TaskInstance("t", state="success", try_number=1)
    for _ in range(2):
        assert len(streams.due([ended], complete=True)[0]) == 1
    assert due(streams, ended) == ["t 1"]
    assert due(streams, ended) == []


def test_what_is_not_there_is_said_once() -> None:
    streams = LogStreams(["t", "typo", "error"])
    here = [TaskInstance("t")]
    assert streams.due([], complete=True) == ([], [])
    assert streams.due(here, complete=False) == ([], [])
    _, said = streams.due(here, complete=True)
    assert said == ["The run has no task error, typo, so its log cannot be shown."]
    assert isinstance(said[0], LogWarning)
    assert streams.due(here, complete=True) == ([], [])


def test_of_many_only_some_are_read_and_that_is_said_once() -> None:
    streams = LogStreams(["t"])
    many = [TaskInstance("t", index, "running", 1) for index in range(MOST_STREAMS + 2)]
    found, said = streams.due(many, complete=True)
    assert len(found) == MOST_STREAMS
    assert said == ["The logs of 20 tries have been followed; those of t[20] and others are not."]
    found, said = streams.due(many, complete=True)
    assert (len(found), said) == (MOST_STREAMS, [])


def test_a_log_warning_is_logged_as_a_warning() -> None:
    heard: list[tuple[str, str]] = []

    class Log:
        def info(self, line: str) -> None:
            heard.append(("info", line))

        def warning(self, line: str) -> None:
            heard.append(("warning", line))

    sink = log_sink(Log())
    sink("all is well")
    sink(LogWarning("is it?"))
    assert heard == [("info", "all is well"), ("warning", "is it?")]


# The flows


def listing(version: str, *tasks: tuple[str, str | None], total: int | None = None, offset: int = 0) -> Turn:
    found = [{"task_id": task, "state": state, "try_number": 1 if state else 0} for task, state in tasks]
    body = {"task_instances": found, "total_entries": len(found) if total is None else total}
    return Turn(f"GET {Speech(version).runs_path}/r/taskInstances?limit=100&offset={offset}", ok(body))


def log(
    version: str, *lines: str, task: str = "t", sent: str = "", token: str | None = None, reply: Any = None
) -> Turn:
    """One reading of a log. :param sent: the token of the request. :param token: the one that comes back."""
    content: Any = str([("host", "\n".join(lines))]) if version < "3" else [{"event": line} for line in lines]
    query = f"?token={sent}" if sent else ""
    target = f"GET {Speech(version).runs_path}/r/taskInstances/{task}/logs/1{query}"
    return Turn(target, reply or ok({"content": content, "continuation_token": token}))


def wait(version: str, *turns: Turn, stream: tuple[str, ...] = ("t",), progress: bool = False) -> list[str]:
    """Wait for a run, polling once a minute. :return: the lines of its logs."""
    remote, lines = ScriptedRemote(version=version), []
    target = WaitTarget("d", run_id="r", stream=stream, progress=progress, failed_states=("failed",))
    flow = remote.deployment.poller.wait(target, poke_interval=60, deadline=None, on_line=lines.append)
    assert remote.play(flow, *turns).status is WaitStatus.SUCCESS
    assert all("Accept" not in request.headers for request in remote.requests)
    return [line for line in lines if not line.startswith("Waiting")]


def running(version: str) -> Turn:
    return Speech(version).get(Speech(version).run())


def over(version: str) -> Turn:
    return Speech(version).get(Speech(version).run(state="success"))


@pytest.mark.parametrize("version", STABLE[1:])
def test_lines_are_shown_as_they_come_and_the_last_at_the_end(version: str) -> None:
    on_line = wait(
        version,
        *[running(version), listing(version, ("t", None), ("u", None))],
        *[running(version), listing(version, ("t", "running"), ("u", None)), log(version, "a", "b", token="x")],
        *[running(version), listing(version, ("t", "running"), ("u", "running")), log(version, sent="x", token="y")],
        *[over(version), listing(version, ("t", "success"), ("u", "success")), log(version, "c", sent="y")],
    )
    assert on_line == ["t: a", "t: b", "t: c"]


@BOTH
def test_a_run_that_has_ended_by_the_first_poll_is_shown_as_well(version: str) -> None:
    assert wait(version, over(version), listing(version, ("t", "success")), log(version, "a")) == ["t: a"]


@BOTH
def test_it_shares_the_listing_with_the_progress(version: str) -> None:
    on_line = wait(
        version,
        *[running(version), listing(version, ("t", "running")), log(version, "a")],
        *[over(version), listing(version, ("t", "success")), log(version, "a", "b")],
        progress=True,
    )
    assert on_line == ["0/1 tasks done, running: t", "t: a", "t: b"]


def test_in_a_large_run_it_is_looked_for_on_more_pages_up_to_a_number() -> None:
    pages = [listing(V2, (f"u{number}", None), total=999, offset=number) for number in range(PAGES_OF_TASKS - 1)]
    last = listing(V2, ("t", "running"), total=999, offset=PAGES_OF_TASKS - 1)
    ends = listing(V2, ("t", "success"), total=2), listing(V2, total=2, offset=1)
    on_line = wait(V2, running(V2), *pages, last, log(V2, "a"), over(V2), *ends, log(V2, "a", "b"), progress=True)
    assert on_line == ["Run r has 999 task instances, too many to log its progress.", "t: a", "t: b"]


@pytest.mark.parametrize("replies", [2, MOST_REPLIES])
def test_the_end_of_a_log_that_comes_in_large_parts_is_read_as_well(replies: int) -> None:
    large = [str(number) for number in range(LARGE_REPLY)]
    parts = [log(V1, f"part {number}", *large, sent=f"{number}", token=f"{number + 1}") for number in range(replies)]
    whole = log(V1, "begin", token="0")
    rest = [] if replies == MOST_REPLIES else [log(V1, "the end", sent=f"{replies}", token="x")]
    looks = [running(V1), listing(V1, ("t", "running")), whole, over(V1), listing(V1, ("t", "success"))]
    on_line = wait(V1, *looks, *parts, *rest)
    assert sum("left out" in line for line in on_line) == replies
    assert on_line[-1] == ("t: the end" if rest else f"t: {large[-1]}")


def test_1_10_is_refused() -> None:
    remote = ScriptedRemote(version=EXPERIMENTAL)
    with pytest.raises(NotSupported, match="logs of a run's tasks"):
        remote.play(remote.deployment.follower.check())
    with pytest.raises(NotSupported, match="log of a task"):
        remote.play(remote.client.dialect()).log_part(DagRun("d", "r"), TaskInstance("t"))
    ScriptedRemote(version=V1).play(ScriptedRemote(version=V1).deployment.follower.check())


# What goes wrong


@BOTH
def test_a_token_that_the_remote_no_longer_knows_is_done_without(version: str) -> None:
    on_line = wait(
        version,
        *[running(version), listing(version, ("t", "running")), log(version, "a", token="x")],
        *[over(version), listing(version, ("t", "success")), log(version, sent="x", reply=REFUSED)],
        log(version, "a", "b"),
    )
    assert on_line == ["t: a", "t: b"]


@pytest.mark.parametrize("version", ["3.2.0", "3.3.0"])
def test_a_remote_that_cannot_continue_a_log_sends_all_of_it_from_then_on(version: str) -> None:
    on_line = wait(
        version,
        *[running(version), listing(version, ("t", "running")), log(version, "a", token="x")],
        *[running(version), listing(version, ("t", "running")), log(version, sent="x", reply=BROKEN)],
        log(version, "a", "b", token="y"),
        *[over(version), listing(version, ("t", "success")), log(version, "a", "b", "c", token="z")],
    )
    assert on_line == ["t: a", "t: b", "t: c"]


@pytest.mark.parametrize("version", ["3.1.8", "3.3.1"])
def test_an_error_page_is_no_reason_to_read_a_whole_log_where_it_can_be_continued(version: str) -> None:
    # Where logs are kept in Elasticsearch, a whole log is only its first 1,000 lines.
    on_line = wait(
        version,
        *[running(version), listing(version, ("t", "running")), log(version, "a", token="x")],
        *[over(version), listing(version, ("t", "success")), log(version, sent="x", reply=BROKEN)],
        *[listing(version, ("t", "success")), log(version, "b", sent="x")],
    )
    assert [line for line in on_line if not isinstance(line, LogWarning)] == ["t: a", "t: b"]


BROKEN = answer(500, {"detail": "islice"})
TOO_LARGE = Response(200, {"content-type": "application/json"}, b"{", truncated=True)


@pytest.mark.parametrize("reply", [REFUSED, answer(404, {"detail": "TaskInstance not found"}), TOO_LARGE])
def test_a_log_that_cannot_be_read_is_not_requested_again_while_others_are(reply: Response) -> None:
    both = ("t", "running"), ("u", "running")
    on_line = wait(
        V2,
        *[running(V2), listing(V2, *both), log(V2, reply=reply), log(V2, "a", task="u")],
        *[over(V2), listing(V2, *both), log(V2, "a", "b", task="u")],
        stream=("t", "u"),
    )
    assert on_line[0].startswith("Could not read all logs of the remote tasks: ")
    assert on_line[1:] == ["u: a", "u: b"]


def test_without_permission_to_read_logs_a_warning_says_so_and_progress_is_still_logged() -> None:
    on_line = wait(
        V2,
        *[running(V2), listing(V2, ("t", "running"), ("u", "running")), log(V2, reply=FORBIDDEN)],
        *[running(V2), listing(V2, ("t", "success"), ("u", "running")), over(V2)],
        stream=("t", "u"),
        progress=True,
    )
    assert on_line[0] == "0/2 tasks done, running: t, u"
    assert on_line[1].startswith("Could not read all logs of the remote tasks: Could not read the log of t")
    assert on_line[2:] == ["1/2 tasks done, running: u"]


def test_without_permission_to_list_tasks_one_warning_says_so() -> None:
    forbidden = Turn(listing(V2).expected, FORBIDDEN)
    (line,) = wait(V2, running(V2), forbidden, running(V2), over(V2), forbidden)
    assert line.startswith("Could not read all logs of the remote tasks: Could not list tasks")


@pytest.mark.parametrize("passes", [True, False])
def test_what_may_pass_is_requested_later_and_a_few_times_when_the_wait_is_over(passes: bool) -> None:
    lost = log(V2, reply=LOST)
    looks = [running(V2)] * 2
    last = [listing(V2, ("t", "success")), log(V2, sent="x", reply=LOST)]
    on_line = wait(
        V2,
        *[*looks[:1], listing(V2, ("t", "running")), lost, *looks[1:]],
        *[running(V2), listing(V2, ("t", "running")), log(V2, "a", token="x")],
        *[over(V2), *last, *last],
        *([last[0], log(V2, "b", sent="x")] if passes else last),
    )
    assert [isinstance(line, LogWarning) for line in on_line[:2]] == [True, False]
    assert on_line[1:] == (["t: a", "t: b"] if passes else ["t: a"])


def test_the_pause_after_failures_grows_and_ends_with_a_reply() -> None:
    failed = log(V2, reply=LOST)
    read = [running(V2), listing(V2, ("t", "running"))]
    on_line = wait(
        V2,
        *[*read, failed, running(V2), *read, failed, *[running(V2)] * 3, *read, log(V2, "a")],
        *[*read, log(V2, "a", "b")],
        *[over(V2), listing(V2, ("t", "success")), log(V2, "a", "b", "c")],
    )
    assert on_line[1:] == ["t: a", "t: b", "t: c"]


def test_a_limit_of_requests_holds_up_no_poll_and_the_end_only_for_seconds() -> None:
    remote, lines = ScriptedRemote(version=V2), []
    target = WaitTarget("d", run_id="r", stream=("t",), failed_states=("failed",))
    flow = remote.deployment.poller.wait(target, poke_interval=60, deadline=None, on_line=lines.append)
    limited = log(V2, reply=plain(429, "", **{"retry-after": "20"}))
    turns = [running(V2), listing(V2, ("t", "running")), limited, over(V2)]
    ended = listing(V2, ("t", "success"))
    remote.play(flow, *turns, ended, limited, ended, log(V2, "a"))
    assert remote.sleeps == [60, 0, 2]
    assert lines[-1] == "t: a"


def test_the_end_is_not_held_up_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    remote, lines = ScriptedRemote(version=V2), []
    target = WaitTarget("d", run_id="r", stream=("t", "u"))
    flow = remote.deployment.poller.wait(target, poke_interval=60, deadline=None, on_line=lines.append)
    read = follower.RunFollower._read

    def slow(self: Any, run: Any, stream: Any) -> Any:
        remote.clock.now += SECONDS_FOR_LAST_LINES + 1
        return (yield from read(self, run, stream))

    monkeypatch.setattr(follower.RunFollower, "_read", slow)
    remote.play(flow, over(V2), listing(V2, ("t", "success"), ("u", "success")), log(V2, "a"))
    assert lines[1:] == ["t: a", "Reading logs took too long; what was written last is in the remote."]


# In a triggerer


def settings_of(fake: FakeDeployment) -> Settings:
    connection = fake.connection()
    return Settings.parse(host=connection["host"], login=connection["login"], password=connection["password"])


async def watch_run(fake: FakeDeployment, run_id: str, on_line: Any, **more: Any) -> Any:
    settings = settings_of(fake)

    async def reload() -> Settings:
        return settings

    target = WaitTarget("d", run_id=run_id, exists=True, since=time.time() - 1, stream=("t",), **more)
    return await watch(
        target, settings=settings, reload=reload, poke_interval=0.05, deadline=time.time() + 30, on_line=on_line
    )


def ending(fake: FakeDeployment, *lines: str) -> Any:
    """Ends a run once a line of its log was shown, after some were added."""

    def on_line(line: str) -> None:
        heard.append(line)
        if line.endswith("first"):
            fake.add_dag("d", tasks=["t"], stays="running", logs={"t": ["first", *lines]})
            fake.finish("d", "r")

    heard: list[str] = []
    on_line.heard = heard  # type: ignore[attr-defined]
    return on_line


@pytest.mark.parametrize("version", ["2.4.3", "2.11.2", "3.0.6", "3.3.2"])
def test_a_watcher_shows_the_last_lines_before_the_wait_ends(version: str) -> None:
    with FakeDeployment(version) as fake:
        fake.add_dag("d", tasks=["t"], stays="running", logs={"t": ["first"]})
        fake.add_run("d", "r", state="running")
        on_line = ending(fake, "second", "third")
        outcome = asyncio.run(watch_run(fake, "r", on_line))
    assert outcome.status is WaitStatus.SUCCESS
    words = [line.split()[-1] for line in on_line.heard if line.startswith("t: ")]
    assert words == ["first", "second", "third"]


def test_few_requests_are_under_way_at_once_however_many_logs_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[int] = []
    now = 0
    send = AsyncDriver._send

    async def counted(self: AsyncDriver, request: Any) -> Any:
        nonlocal now
        now += 1
        at_once.append(now)
        try:
            await asyncio.sleep(0.01)
            return await send(self, request)
        finally:
            now -= 1

    monkeypatch.setattr(AsyncDriver, "_send", counted)
    monkeypatch.setattr(follower, "SECONDS_BETWEEN_PROGRESS", 0.05)
    runs = [f"r{number}" for number in range(9)]
    with FakeDeployment("3.3.2") as fake:
        fake.add_dag("d", tasks=["t"], stays="running", logs={"t": ["a"]})
        for run_id in runs:
            fake.add_run("d", run_id, state="running")
        on_line: list[str] = []

        def sink(line: str) -> None:
            on_line.append(line)
            if sum("t: " in each for each in on_line) == len(runs):
                for run_id in runs:
                    fake.finish("d", run_id)

        async def watch_all() -> Any:
            # Who waits for two states is looked at individually.
            waits = [watch_run(fake, run_id, sink, skipped_states=("queued",)) for run_id in runs]
            return await asyncio.gather(*waits)

        assert {outcome.status for outcome in asyncio.run(watch_all())} == {WaitStatus.SUCCESS}
    assert 2 < max(at_once) <= REQUESTS_AT_ONCE


def test_the_end_of_the_wait_does_not_overtake_what_is_being_read(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def slow(name: str) -> Any:
        def flow(self: Any, waiter: Waiter) -> Flow[None]:
            order.append(f"{name} begins")
            yield Sleep(0.05)
            order.append(f"{name} ends")

        return flow

    for name in ("follow", "report_last_lines"):
        monkeypatch.setattr(follower.RunFollower, name, slow(name))

    async def run(flow: Flow[None]) -> None:
        for pause in flow:
            await asyncio.sleep(pause.seconds)

    async def play() -> None:
        remote = ScriptedRemote(version=V2)
        waiter = Waiter(WaitTarget("d", run_id="r", stream=("t",)), 5, lambda update: None, answered_at=0.0)
        at = watcher.FollowLoop(remote.deployment.follower, run)
        at.follow([waiter], 0.0)
        at.follow([waiter], 0.0)
        await asyncio.sleep(0.01)
        await at.report_last_lines(waiter)
        at.follow([waiter], 0.0)
        await asyncio.sleep(0)
        await at.close()

    asyncio.run(play())
    assert order == [
        "follow begins",
        "follow ends",
        "report_last_lines begins",
        "report_last_lines ends",
        "follow begins",
    ]


def test_what_is_read_for_a_run_is_decided_by_its_wait_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str | None] = []

    def follow(self: Any, waiter: Waiter) -> Flow[None]:
        read.append(waiter.target.run_id)
        return (yield from ())

    monkeypatch.setattr(follower.RunFollower, "follow", follow)

    async def run(flow: Flow[None]) -> None:
        assert list(flow) == []

    def waiter(run_id: str, due: float = 0.0, **shown: Any) -> Waiter:
        made = Waiter(WaitTarget("d", run_id=run_id, **shown), 5, lambda update: None, answered_at=0.0)
        made.follow_due = due
        return made

    async def play() -> None:
        at = watcher.FollowLoop(ScriptedRemote(version=V2).deployment.follower, run)
        plain = [waiter(f"plain{number}") for number in range(FOLLOWED_AT_ONCE)]
        progress = [waiter(f"progress{number}", 1.0 + number, progress=True) for number in range(2)]
        at.follow([*plain, *progress, waiter("log", 3.0, stream=("t",))], 10.0)
        await asyncio.sleep(0)
        await at.close()

    asyncio.run(play())
    # One that shows nothing takes no turn, and one whose progress has to wait holds up no log.
    assert read == ["progress0", "log"]


def test_once_a_loop_is_closed_nothing_uses_its_session() -> None:
    order: list[str] = []

    async def run(flow: Flow[None]) -> None:
        flow.close()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            order.append("stopped")

    async def play() -> None:
        at = watcher.FollowLoop(ScriptedRemote(version=V2).deployment.follower, run)
        at.follow([Waiter(WaitTarget("d", run_id="r", stream=("t",)), 5, lambda update: None, answered_at=0.0)], 0.0)
        await asyncio.sleep(0)
        await at.close()
        order.append("closed")

    asyncio.run(play())
    assert order == ["stopped", "closed"]


def test_an_error_that_is_not_the_remotes_ends_no_wait() -> None:
    closed, waiter = [], Waiter(WaitTarget("d", run_id="r", stream=("t",)), 5, lambda update: None, answered_at=0.0)

    async def fail(flow: Any) -> None:
        closed.append(flow.close())
        raise RuntimeError("the connection is gone from Airflow")

    asyncio.run(watcher.FollowLoop(ScriptedRemote(version=V2).deployment.follower, fail).report_last_lines(waiter))
    assert len(closed) == 1
    assert waiter.ended is None


def test_a_task_that_the_run_does_not_have_is_named_once_its_whole_listing_was_seen() -> None:
    partly = listing(V2, ("u", None), total=200)
    repeated = listing(V2, ("u", None), total=200, offset=1)
    whole = listing(V2, ("u", "success"))
    on_line = wait(V2, running(V2), partly, repeated, running(V2), whole, over(V2), whole, stream=("typo",))
    assert on_line == ["The run has no task typo, so its log cannot be shown."]
