"""The log of one task instance: which one, what is read of it, and how long it is read on."""

from __future__ import annotations

from typing import Any

import pytest

from astronomer_remote.api.dialects.logs import LONGEST_END, MOST_LINES
from astronomer_remote.api.protocol.errors import DagRunNotFound, NotFound, NotSupported, RemoteError, ReplyTooLarge
from astronomer_remote.api.protocol.flow import Response
from astronomer_remote.api.runs.task_logs import MOST_REPLIES_OF_A_LOG
from astronomer_remote.api.waiting.log_stream import LARGE_REPLY, LogWarning
from tests.api.script import EXPERIMENTAL, V1, V2, ScriptedRemote, Speech, Turn, answer, ok

BOTH = pytest.mark.parametrize("version", [V1, V2])
REFUSED = answer(400, {"detail": "Bad Signature."})
MISSING = answer(404, {"detail": "Task instance not found"})


def instance(version: str, state: str | None, number: int = 1, index: int = -1, reply: Any = None) -> Turn:
    body = {"task_id": "t", "state": state, "try_number": number, "map_index": index}
    which = f"/{index}" if index >= 0 else ""
    return Turn(f"GET {Speech(version).runs_path}/r/taskInstances/t{which}", reply or ok(body))


def log(
    version: str, *lines: str, number: int = 1, query: str = "", token: str | None = None, reply: Any = None
) -> Turn:
    content: Any = str([("host", "\n".join(lines))]) if version < "3" else [{"event": line} for line in lines]
    target = f"GET {Speech(version).runs_path}/r/taskInstances/t/logs/{number}{query}"
    return Turn(target, reply or ok({"content": content, "continuation_token": token}))


def listing(version: str, *instances: tuple[str, int]) -> Turn:
    found = [{"task_id": task, "map_index": index, "state": "success", "try_number": 1} for task, index in instances]
    body = {"task_instances": found, "total_entries": len(found)}
    return Turn(f"GET {Speech(version).runs_path}/r/taskInstances?limit=100&offset=0", ok(body))


def read(version: str, *turns: Turn, **options: Any) -> tuple[list[str], ScriptedRemote]:
    """Read the log of task ``t``. :return: its lines, and the remote."""
    remote, lines = ScriptedRemote(version=version), []
    remote.play(remote.deployment.task_logs.read("d", "r", "t", on_line=lines.append, **options), *turns)
    return lines, remote


def failure(version: str, *turns: Turn, **options: Any) -> RemoteError:
    with pytest.raises(RemoteError) as failed:
        read(version, *turns, **options)
    return failed.value


@BOTH
def test_the_log_of_the_last_try_is_read(version: str) -> None:
    lines, remote = read(version, instance(version, "success", 2), log(version, "a", "b", number=2))
    assert (lines, remote.sleeps) == (["a", "b"], [])


@BOTH
def test_a_try_and_an_instance_can_be_chosen(version: str) -> None:
    chosen = {"map_index": 3, "try_number": 1}
    turns = instance(version, "running", 2, index=3), log(version, "a", query="?map_index=3")
    assert read(version, *turns, **chosen)[0] == ["a"]


@BOTH
def test_what_follows_a_large_reply_is_read_as_well(version: str) -> None:
    first, second = [f"{number}" for number in range(LARGE_REPLY)], ["x"]
    turns = log(version, *first, token="u"), log(version, *second, query="?token=u", token="v")
    assert read(version, instance(version, "failed"), *turns)[0] == [*first, *second]


@BOTH
def test_the_hook_gets_it_as_one_text(version: str) -> None:
    chosen = {"map_index": 3, "try_number": 1}
    remote = ScriptedRemote(version=version)
    turns = instance(version, "running", 2, index=3), log(version, "a", "b", query="?map_index=3")
    assert remote.play(remote.deployment.get_task_log("d", "r", "t", **chosen), *turns) == "a\nb"


def test_the_text_of_a_very_long_log_is_its_end() -> None:
    remote = ScriptedRemote(version=V1)
    turns = [
        log(V1, *["x" * 100] * 4000, token="t"),
        *[log(V1, *[f"{n}"] * 1000, query=f"?token={'t' * n}", token="t" * (n + 1)) for n in range(1, 7)],
        log(V1, "end", query=f"?token={'t' * 7}", token="t" * 8),
    ]
    text = remote.play(remote.deployment.get_task_log("d", "r", "t"), instance(V1, "failed"), *turns)
    lines = text.splitlines()
    assert len(lines) == MOST_LINES
    assert (lines[0], lines[-1]) == ("2", "end")
    assert "left out" not in text


def test_a_log_without_an_end_is_read_up_to_a_number_of_replies() -> None:
    def large(number: int) -> Turn:
        lines = [f"{number}", *["x"] * LARGE_REPLY]
        return log(V2, *lines, query=f"?token={number}" if number else "", token=f"{number + 1}")

    lines, _ = read(V2, instance(V2, "failed"), *map(large, range(MOST_REPLIES_OF_A_LOG)))
    assert len(lines) == MOST_REPLIES_OF_A_LOG * (LARGE_REPLY + 1)


def test_that_the_beginning_of_a_very_long_log_is_left_out_is_said() -> None:
    lines, _ = read(V1, instance(V1, "failed"), log(V1, *["x" * 99] * (LONGEST_END // 50)))
    assert isinstance(lines[0], LogWarning)
    assert "its beginning is left out" in lines[0]
    assert set(lines[1:]) == {"x" * 99}


@BOTH
def test_it_is_read_on_until_the_try_has_ended(version: str) -> None:
    turns = [
        *[instance(version, None, 0), instance(version, "queued", 0)],
        *[instance(version, "running"), log(version, "a", token="u")],
        *[instance(version, "running"), log(version, query="?token=u", token="v")],
        *[instance(version, "up_for_retry"), log(version, "b", query="?token=v")],
    ]
    lines, remote = read(version, *turns, poke_interval=7)
    assert lines == ["Task t is not scheduled; waiting for the try to start", "a", "b"]
    assert [isinstance(line, LogWarning) for line in lines] == [True, False, False]
    assert remote.sleeps == [7] * 4


def test_the_end_of_an_earlier_try_is_not_waited_for() -> None:
    chosen = {"poke_interval": 7, "try_number": 1}
    assert read(V2, instance(V2, "queued", 2), log(V2, "a"), **chosen)[0] == ["a"]
    # Another one has begun meanwhile.
    turns = instance(V2, "running"), log(V2, "a"), instance(V2, "running", 2), log(V2, "a", "b")
    assert read(V2, *turns, poke_interval=7)[0] == ["a", "b"]


def test_a_later_try_is_waited_for() -> None:
    chosen = {"poke_interval": 7, "try_number": 2}
    turns = [
        *[instance(V2, "running"), instance(V2, "up_for_retry")],
        *[instance(V2, "success", 2), log(V2, "a", number=2)],
    ]
    lines, _ = read(V2, *turns, **chosen)
    assert lines == ["Task t is running; waiting for the try to start", "a"]
    assert failure(V2, instance(V2, "success"), **chosen).message.endswith("has had 1 try.")


def test_a_token_that_is_not_valid_any_more_costs_no_line() -> None:
    turns = [
        *[instance(V2, "running"), log(V2, "a", token="u")],
        *[instance(V2, "success"), log(V2, query="?token=u", reply=REFUSED), log(V2, "a", "b")],
    ]
    assert read(V2, *turns, poke_interval=1)[0] == ["a", "b"]


@pytest.mark.parametrize(
    ("version", "status", "query", "lines"),
    [("3.2.2", 500, "", ["a", "b"]), ("3.2.2", 503, "?token=u", ["b"]), (V2, 500, "?token=u", ["b"])],
)
def test_what_follows_a_token_is_requested_again_or_with_the_whole_log(
    version: str, status: int, query: str, lines: list[str]
) -> None:
    turns = [instance(version, "running"), log(version, "a", token="u"), instance(version, "success")]
    failed = log(version, query="?token=u", reply=answer(status, {"detail": "not now"}))
    shown, _ = read(version, *turns, failed, log(version, *lines, query=query), poke_interval=5)
    assert shown == ["a", "b"]


def test_a_refusal_without_a_token_is_an_error() -> None:
    assert failure(V2, instance(V2, "failed"), log(V2, reply=REFUSED)).status == 400


@pytest.mark.parametrize("options", [{}, {"poke_interval": 1}])
def test_a_task_that_never_starts_has_no_log(options: dict[str, Any]) -> None:
    error = failure(V2, instance(V2, "upstream_failed", 0), **options)
    assert isinstance(error, NotFound)
    assert error.message == "Task t of run 'r' is upstream_failed, and has had no tries."


def test_a_try_that_does_not_exist_is_an_error() -> None:
    error = failure(V2, instance(V2, "success"), try_number=3)
    assert error.message == "Task t of run 'r' is success, and has had 1 try."


@BOTH
@pytest.mark.parametrize(
    ("found", "index", "why"),
    [
        ([("a", -1), ("b", 0), ("b", 1)], -1, "has no task 't'. It has: a, b."),
        ([], -1, "has no task 't'. It has: none."),
        ([("t", -1)], 2, "has no instance 2 of task 't', which is not mapped."),
        ([("t", 1), ("t", 0)], 2, "several instances of task 't', which is mapped. Choose one by its map index: 0, 1."),
        ([("t", number) for number in range(21)], -1, "17, 18, 19, …."),
    ],
)
def test_what_exists_is_named(version: str, found: list[tuple[str, int]], index: int, why: str) -> None:
    turns = instance(version, None, index=index, reply=MISSING), Speech(version).get(Speech(version).run())
    error = failure(version, *turns, listing(version, *found), map_index=index)
    assert isinstance(error, NotFound)
    assert error.message.endswith(why)
    assert error.status == 404


@BOTH
def test_a_run_that_does_not_exist_is_named(version: str) -> None:
    error = failure(version, instance(version, None, reply=MISSING), Speech(version).get())
    assert isinstance(error, DagRunNotFound)


def test_airflow_1_shows_no_logs() -> None:
    assert isinstance(failure(EXPERIMENTAL), NotSupported)


def test_a_log_that_cannot_be_continued_is_read_whole_also_after_a_limit_of_requests() -> None:
    turns = [instance("3.2.2", "running"), log("3.2.2", "a", token="u"), instance("3.2.2", "success")]
    limited, broken = (
        log("3.2.2", query="?token=u", reply=answer(status, {"detail": "not now"}, retry_after=seconds))
        for status, seconds in ((429, "20"), (500, "0"))
    )
    shown, remote = read("3.2.2", *turns, limited, broken, log("3.2.2", "a", "b"), poke_interval=5)
    assert shown == ["a", "b"]
    assert remote.sleeps == [5, 20]


def test_the_rest_of_a_log_that_is_too_large_is_requested_once() -> None:
    large = Response(200, {"content-type": "application/json"}, b"{", truncated=True)
    turns = [instance(V2, "running"), log(V2, "a", token="u"), instance(V2, "success")]
    with pytest.raises(ReplyTooLarge):
        read(V2, *turns, log(V2, query="?token=u", reply=large), poke_interval=5)
