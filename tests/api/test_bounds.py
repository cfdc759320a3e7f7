"""What a remote sends costs little, however much it sends: of the memory, and of the event loop that reads it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from astronomer_remote.api.client import client as client
from astronomer_remote.api.client import responses
from astronomer_remote.api.client.paging import LARGEST_BARE_LISTING, LARGEST_LISTING
from astronomer_remote.api.dialects import detect
from astronomer_remote.api.dialects.base import MOST_COMPONENTS
from astronomer_remote.api.dialects.logs import (
    LONGEST_END,
    LONGEST_LINES,
    MOST_LINES,
    MOST_RECORDS,
    record_part,
    text_part,
)
from astronomer_remote.api.logins.airflow_login import AirflowLogin
from astronomer_remote.api.pools.diff import LARGEST_DIFF, MOST_LISTED, plan
from astronomer_remote.api.pools.sync import SyncProgress
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.auth import Credentials
from astronomer_remote.api.protocol.errors import NotSupported, RemoteError, ReplyTooLarge
from astronomer_remote.api.protocol.flow import LARGE_JSON, LARGEST_ENTRY, Compute, Flow, Request, Response
from astronomer_remote.api.protocol.models import DagRun, Pool, TaskInstance
from astronomer_remote.api.runs.xcoms import LARGEST_RESULTS
from astronomer_remote.api.waiting.log_stream import LINES_PER_POLL, LogStream
from astronomer_remote.api.waiting.target import WaitTarget
from tests.api.script import DATE, OPEN, STABLE, V1, V2, ScriptedRemote, Speech, answer, ok, only

RUN = DagRun("d", "r")
TASK = TaskInstance("t", try_number=1)
LONG = {"k": "x" * LARGE_JSON}

Read = Callable[[ScriptedRemote], Flow[Any]]

# What is read beside the event loop

READS: dict[str, tuple[Read, Any]] = {
    "a run": (lambda to: to.deployment.get_dag_run("d", "r"), {"dag_id": "d", "dag_run_id": "r", "conf": LONG}),
    "a poll of a wait": (
        lambda to: to.deployment.poller.snapshot(WaitTarget("d", run_id="r"), bare=True),
        {"dag_id": "d", "dag_run_id": "r", "conf": LONG},
    ),
    "a listing": (
        lambda to: to.deployment.list_dag_runs("d"),
        {"dag_runs": [{"dag_id": "d", "dag_run_id": "r", "conf": LONG}], "total_entries": 1},
    ),
    "runs that ended": (
        lambda to: to.deployment.runs.ended(["d"], since=0, bound=0),
        {"dag_runs": [{"dag_id": "d", "dag_run_id": "r", "conf": LONG}], "total_entries": 1},
    ),
    "a log": (lambda to: log_of(to), {"content": [{"event": "x" * LARGE_JSON}], "continuation_token": None}),
    "a call": (lambda to: to.deployment.call("GET", "/plugins"), LONG),
    "a refusal": (lambda to: to.deployment.call("GET", "/plugins"), {"detail": "x" * LARGE_JSON}),
}


def log_of(remote: ScriptedRemote) -> Flow[Any]:
    dialect = yield from remote.client.dialect()
    return (yield from remote.client.request(dialect.log_part(RUN, TASK)))


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/html", ""])
@pytest.mark.parametrize("name", READS)
def test_a_large_reply_is_parsed_beside_the_event_loop_whatever_it_calls_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    beside: list[bool] = []
    computing = False
    loads, read, run = untrusted.loads, responses.read, Compute.run

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            beside.append(computing)
            return function(*args)

        return call

    def compute(step: Compute) -> Any:
        nonlocal computing
        computing = True
        try:
            return run(step)
        finally:
            computing = False

    remote = ScriptedRemote(version=V2)
    monkeypatch.setattr(untrusted, "loads", watched(loads))
    monkeypatch.setattr(responses, "read", watched(read))
    monkeypatch.setattr(Compute, "run", compute)
    flow, body = READS[name]
    reply = Response(403 if "detail" in body else 200, {"content-type": kind}, json.dumps(body).encode())
    try:
        remote.drive(flow(remote), lambda _: reply)
    except RemoteError:
        assert kind != "application/json" or name == "a refusal"
    assert beside
    assert all(beside)


def test_what_is_calculated_beside_the_event_loop_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(body: Any) -> Any:
        raise ZeroDivisionError

    remote = ScriptedRemote(version=V2)
    dialect = remote.play(remote.client.dialect())
    operation = dialect.dag_run("d", "r").reading(broken)
    with pytest.raises(ZeroDivisionError):
        remote.drive(remote.client.request(operation), lambda _: ok(LONG))


@pytest.mark.parametrize("path", ["/api/v2/version", "/auth/token"])
def test_what_is_far_too_long_to_be_a_version_or_a_token_is_not_parsed_at_all(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(Response, "json", lambda _: pytest.fail("parsed"))
    long = Response(200, {"content-type": "application/json"}, json.dumps(LONG).encode())
    assert len(long.body) > LARGE_JSON
    remote = ScriptedRemote(OPEN)

    def deliver(request: Request) -> Flow[Response]:
        yield from ()
        return long

    flow: Flow[Any] = (
        detect.dialect(OPEN, deliver, None, lambda: 0.0)
        if "version" in path
        else AirflowLogin(Credentials("", "u", "p")).prepare(0, deliver)
    )
    with pytest.raises(RemoteError):
        remote.drive(flow, lambda _: long)


# What is kept of runs

HEAVY = {"conf": {"k": ["x" * 1000] * 100}, "note": "n" * 1000}


@pytest.mark.parametrize("version", STABLE)
def test_of_runs_that_ended_neither_conf_nor_note_is_kept(version: str) -> None:
    remote, speech = ScriptedRemote(version=version), Speech(version)
    runs = [speech.run(f"r{n}", "success", end_date=DATE, **HEAVY) for n in range(100)]
    reply = ok({"dag_runs": runs, "total_entries": len(runs)})
    assert len(reply.body) > LARGE_JSON
    ended = remote.drive(remote.deployment.runs.ended(["d"], since=0, bound=0), lambda _: reply)
    assert [(run.run_id, run.conf, run.note) for run in ended] == [(f"r{n}", None, None) for n in range(100)]


@pytest.mark.parametrize("version", STABLE)
@pytest.mark.parametrize(
    "target",
    [WaitTarget("d", run_id="r"), WaitTarget("d", newest=True), WaitTarget("d", logical_dates=(DATE,))],
    ids=str,
)
def test_a_wait_in_a_triggerer_keeps_neither_conf_nor_note_of_its_run(version: str, target: WaitTarget) -> None:
    remote, run = ScriptedRemote(version=version), Speech(version).run("r", **HEAVY)

    def reply(request: Request) -> Response:
        return ok(run if request.path.endswith("/r") else {"dag_runs": [run], "total_entries": 1})

    seen = remote.drive(remote.deployment.poller.snapshot(target, bare=True), reply).run
    assert seen
    assert (seen.run_id, seen.conf, seen.note) == ("r", None, None)
    whole = remote.drive(remote.deployment.poller.snapshot(target), reply).run
    assert whole
    assert (whole.conf, whole.note) == (HEAVY["conf"], HEAVY["note"])


def test_a_wait_requests_no_more_than_it_needs_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("2.8.4", "2.9.3", V1, V2):
        remote, speech = ScriptedRemote(version=version), Speech(version)
        look = remote.deployment.poller.snapshot(WaitTarget("d", run_id="r"), bare=True)
        remote.drive(look, lambda _, speech=speech: ok(speech.run("r")))  # type: ignore[misc]
        assert remote.requests[-1].target.partition("?")[2] == only(version).lstrip("&")


def test_a_run_that_is_too_large_is_read_without_its_conf_where_it_can_be(caplog: pytest.LogCaptureFixture) -> None:
    def reply(request: Request) -> Response:
        return ok(Speech(V1).run("r")) if request.query else Response(200, {}, b"{", truncated=True)

    remote = ScriptedRemote(version=V1)
    with caplog.at_level(logging.WARNING):
        run = remote.drive(remote.deployment.get_dag_run("d", "r"), reply)
    assert (run.run_id, run.conf) == ("r", None)
    assert f"without its conf and note: The reply is larger than this package reads ({LARGEST_ENTRY}" in caplog.text
    for version in ("2.8.4", V2):
        remote = ScriptedRemote(version=version)
        with pytest.raises(ReplyTooLarge):
            remote.drive(remote.deployment.get_dag_run("d", "r"), reply)


@pytest.mark.parametrize("bare", [False, True])
def test_a_listing_is_bounded_by_the_bytes_of_all_its_pages_together(
    monkeypatch: pytest.MonkeyPatch, bare: bool
) -> None:
    assert LARGEST_LISTING < LARGEST_BARE_LISTING
    monkeypatch.setattr(client, "LARGEST_LISTING", 2**20)
    monkeypatch.setattr(client, "LARGEST_BARE_LISTING", 2 * 2**20)
    remote, most, page = ScriptedRemote(version=V2), (2 if bare else 1) * 2**20, 2**17

    def reply(request: Request) -> Response:
        given = request.body or request.query
        offset, limit = (given.get(name, given.get(f"page_{name}")) for name in ("offset", "limit"))
        runs = [Speech(V2).run(f"r{n}") for n in range(offset, offset + limit)]
        found = ok({"dag_runs": runs, "total_entries": 100_000})
        return Response(200, found.headers, found.body + b" " * (page - len(found.body)))

    flow: Flow[Any] = remote.deployment.list_dag_runs("d")
    if bare:
        flow = remote.deployment.runs.ended(["d"], since=0, bound=0)
    with pytest.raises(NotSupported, match=f"of 100000 entries are more than {most // 2**20} MB.*for each by its id"):
        remote.drive(flow, reply)
    assert len(remote.requests) == most // page + 1


# Logs


def lines(stream: LogStream, part: Any) -> list[str]:
    return [line.removeprefix("t: ") for line in stream.take(part)]


def test_of_a_very_long_part_of_a_log_only_the_end_is_taken_apart() -> None:
    lines = [f"line {number}" for number in range(200_000)]
    part = text_part({"content": repr([("h", "*** Found it\n" + "\n".join(lines))]), "continuation_token": None})
    assert part.cut
    assert part.first == "line 0"
    assert sum(map(len, part.lines)) <= LONGEST_END
    assert part.lines == tuple(lines[-len(part.lines) :])
    part = record_part({"content": [{"event": line} for line in lines]})
    assert (part.cut, part.first, part.lines) == (True, "line 0", tuple(lines[-MOST_RECORDS:]))
    part = record_part({"content": [{"event": "one"}, {"event": "\n".join(lines)}, {"event": "\n".join(lines[:9000])}]})
    assert (part.cut, part.first) == (True, "one") or len(part.lines) <= 2 * MOST_LINES
    assert all(len(line) <= LONGEST_LINES for line in part.lines)


@pytest.mark.parametrize("form", ["text", "records"])
@pytest.mark.parametrize("token", [None, "t"])
def test_a_very_long_log_that_comes_whole_each_time_is_shown_once(form: str, token: str | None) -> None:
    def part(count: int) -> Any:
        lines = [f"line {number}" for number in range(count)]
        if form == "text":
            return text_part({"content": repr([("h", "\n".join(lines))]), "continuation_token": token})
        return record_part({"content": [{"event": line} for line in lines], "continuation_token": token})

    stream = LogStream(TASK)
    assert lines(stream, part(50_000))[-1] == "line 49999"
    assert lines(stream, part(50_000)) == []
    assert lines(stream, part(50_003)) == ["line 50000", "line 50001", "line 50002"]
    # So much more came that none of what was shown is left in it.
    assert lines(stream, part(150_000))[1:] == [f"line {number}" for number in range(150_000 - LINES_PER_POLL, 150_000)]


def test_the_error_is_shown_although_very_much_was_printed_after_it() -> None:
    failed = {"event": "Task failed", "error_detail": [{"exc_type": "E", "exc_value": "boom"}]}
    more = [{"event": f"line {number}"} for number in range(3 * MOST_RECORDS)]
    part = record_part({"content": [{"event": "first"}, failed, *more]})
    assert [part.lines[number] for number in part.error] == ["Task failed", "E: boom"]
    assert lines(LogStream(TASK), part)[1:3] == ["Task failed", "E: boom"]


# What is handed on, where a remote decides how many things it lists

POOLS = [Pool(f"p{n}", n, "d" * 2000, include_deferred=False, occupied_slots=n % 2) for n in range(5_000)]


@pytest.mark.parametrize("outcomes", [False, True])
@pytest.mark.parametrize("name", ["p", "p" * 900])
def test_a_diff_of_very_many_pools_is_handed_on_and_logged_in_part_with_the_number_of_the_rest(
    name: str, outcomes: bool
) -> None:
    pools = [replace(pool, name=name + pool.name) for pool in POOLS]
    found = plan(pools, [], prune=True)
    progress = SyncProgress(found)
    diff = found.for_xcom(progress.outcomes if outcomes else None)
    count = len(diff["changes"])
    assert untrusted.size(diff) <= LARGEST_DIFF
    assert (count == MOST_LISTED) is (name == "p") or outcomes
    assert diff["left_out"] == {"changes": 2_500 - count, "kept": 2_500 - len(diff["kept"])}
    assert [each["pool"] for each in diff["changes"]] == [change.name for change in found.changes[:count]]
    assert len(found.table().splitlines()) > 2_500
    lines = found.table(MOST_LISTED).splitlines()
    assert f"and {2_500 - MOST_LISTED} more" in lines
    assert len(lines) < 2 * MOST_LISTED + 10
    assert "not done: delete" in progress.summary()
    assert progress.summary().endswith("and 2480 more")


def test_a_diff_of_a_few_pools_is_handed_on_as_a_whole() -> None:
    found = plan(POOLS[:3], [Pool("new", 1)], prune=True)
    assert found.for_xcom() == untrusted.shortened(found.as_dict())
    assert "left_out" not in found.for_xcom()


def test_kept_pools_of_one_reason_and_of_very_many_are_listed_in_part() -> None:
    same = plan(POOLS, []).table(MOST_LISTED)
    assert same.splitlines()[0].endswith(f" and {5_000 - MOST_LISTED} more")
    many = plan([replace(pool, occupied_slots=n + 1) for n, pool in enumerate(POOLS)], [], prune=True).table(
        MOST_LISTED
    )
    assert len(many.splitlines()) == MOST_LISTED + 2
    assert f"kept, for {5_000 - MOST_LISTED} more reasons: others" in many


def test_results_are_refused_before_all_of_them_are_read() -> None:
    remote = ScriptedRemote(version=V2)
    instances = [{"task_id": "t", "map_index": n, "state": "success"} for n in range(100)]

    def reply(request: Request) -> Response:
        if request.path.endswith("/taskInstances"):
            return ok({"task_instances": instances, "total_entries": 100})
        if "map_index" not in request.query:
            return answer(404, {"detail": "XCom entry not found"})
        return ok({"key": "return_value", "value": "x" * (LARGEST_RESULTS // 3)})

    with pytest.raises(NotSupported, match="bytes of JSON or more"):
        remote.drive(remote.deployment.results.read(RUN, ["t"]), reply)
    assert sum("map_index" in request.query for request in remote.requests) == 3


def test_the_health_of_some_of_very_many_components_is_shown() -> None:
    remote = ScriptedRemote(version=V2)
    reply = ok({f"c{n}": {"status": "healthy"} for n in range(10_000)})
    assert len(remote.drive(remote.deployment.get_health(), lambda _: reply).components) == MOST_COMPONENTS


# Runs whose confs are too much for one reply


@pytest.mark.parametrize("version", STABLE)
@pytest.mark.parametrize("most", [0, 1, 3, 7])
def test_the_newest_run_and_that_of_an_interval_are_looked_for_in_smaller_pages(version: str, most: int) -> None:
    remote, speech = ScriptedRemote(version=version), Speech(version)
    made = [speech.run(f"r{n}", "success", start_date=DATE, run_type="manual") for n in range(20)]
    target = {**made[10], "dag_run_id": "scheduled", "run_type": "scheduled", "data_interval_end": DATE}

    def reply(request: Request) -> Response:
        offset, limit = request.query["offset"], request.query["limit"]
        if limit > most:
            return Response(200, {}, b"{", truncated=True)
        ordered = made if "order_by" not in request.query else made[::-1]
        runs = [*ordered[:10], target, *ordered[10:]] if "_lte" in "".join(request.query) else ordered
        return ok({"dag_runs": runs[offset:][:limit], "total_entries": len(runs)})

    def newest() -> DagRun | None:
        return remote.drive(remote.deployment.get_newest_dag_run("d"), reply)

    def of_interval() -> DagRun | None:
        return remote.drive(remote.deployment.poller.dated_runs.of_interval_end("d", DATE), reply)

    reads = [newest, of_interval] if version in (V1, V2) else [newest]
    if not most:
        for read in reads:
            with pytest.raises(ReplyTooLarge):
                read()
        return
    found = [read() for read in reads]
    assert [run and run.run_id for run in found][1:] == ["scheduled"] * (len(reads) - 1)
    assert found[0]
    assert found[0].run_id in ("r19", "scheduled")
