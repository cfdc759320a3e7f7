"""What a remote sends can neither act on a terminal nor forge a line of a log, wherever it is shown."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from astronomer_remote.api.client.responses import check, detail, read
from astronomer_remote.api.dialects.experimental import ExperimentalDialect
from astronomer_remote.api.dialects.logs import record_lines, record_part, text_lines, text_part
from astronomer_remote.api.dialects.v1 import V1Dialect
from astronomer_remote.api.dialects.v2 import V2Dialect
from astronomer_remote.api.pools.diff import plan
from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.errors import InvalidSettings, NotFound
from astronomer_remote.api.protocol.flow import Response
from astronomer_remote.api.protocol.models import DagRun, Pool, TaskInstance, Version
from astronomer_remote.api.protocol.untrusted import UNSAFE
from astronomer_remote.api.runs.failure import FailedTask, FailureReport
from astronomer_remote.api.waiting.log_stream import LogStream, LogWarning, log_sink, progress_line
from astronomer_remote.api.waiting.target import Snapshot
from tests.api.script import DATE

EVIL = "\x1b]0;gone\x07\r\n[2026-01-01T00:00:00] {x.py:1} INFO - all is well ::group::x ##[group]y \u202e\ud800\x9b"
DIALECTS = (
    V2Dialect("http://r", Version("3.3.2")),
    V1Dialect("http://r", Version("2.11.2")),
    ExperimentalDialect("http://r", None),
)
INSTANCE = TaskInstance(EVIL, state=EVIL, operator=EVIL, end_date=EVIL, try_number=1)
RUN = DagRun("d", "r", "failed", url="u")


def harmless(text: str, *, lines: bool = False) -> None:
    """Fail if a text acts on something; each line of several has to begin as ours do."""
    for line in text.split("\n") if lines else [text]:
        assert not UNSAFE.search(line)
        assert "::group" not in line
        assert "##[group" not in line
        assert not line.startswith("[20")
    text.encode()


def reply(body: Any, status: int = 200) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(body).encode())


def run_of(dialect: Any) -> DagRun:
    if isinstance(dialect, ExperimentalDialect):
        body: Any = [{"id": 1, "run_id": EVIL, "state": EVIL, "execution_date": EVIL, "start_date": EVIL}]
        return read(dialect.dag_runs("d"), reply(body)).items[0]
    dates = ("logical_date", "execution_date", "run_after", "start_date", "end_date", "run_type")
    # A reply about one run is refused if it is about another; a listing of what ended may hold any.
    body = {"dag_id": EVIL, "dag_run_id": EVIL, "state": EVIL, **dict.fromkeys(dates, EVIL)}
    listed = dialect.ended_runs(["d"], since=DATE, bound=DATE)
    return read(listed, reply({"dag_runs": [body], "total_entries": 1})).items[0]


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.generation.value)
def test_of_a_run(dialect: Any) -> None:
    run = run_of(dialect)
    for name, value in vars(run).items():
        if name not in ("conf", "note") and value is not None:
            harmless(value)
    harmless(Snapshot.of_run(run).summary())


@pytest.mark.parametrize("dialect", DIALECTS[:2], ids=lambda each: each.generation.value)
def test_of_task_instances_dags_and_import_errors(dialect: Any) -> None:
    each = dict.fromkeys(("task_id", "state", "operator", "start_date", "end_date", "dag_id", "dag_run_id"), EVIL)
    listed = dialect.ended_tasks(["d"], ["r"], since=DATE)
    (instance,) = read(listed, reply({"task_instances": [each], "total_entries": 1})).items
    for value in vars(instance).values():
        harmless(str(value))
    dag = read(dialect.dag("d"), reply({"dag_id": "d", "is_paused": False, "fileloc": EVIL}))
    harmless(str(dag.fileloc))
    errors = {"import_errors": [{"filename": EVIL, "stack_trace": EVIL}], "total_entries": 1}
    harmless(read(dialect.import_failures(), reply(errors)).items[0].filename)
    assert [*map(harmless, read(dialect.task_ids("d"), reply({"tasks": [{"task_id": EVIL}]})))]


@pytest.mark.parametrize("place", ["detail", "title", "error"])
def test_of_an_error(place: str) -> None:
    refused = reply({place: EVIL}, 422)
    assert "all is well" in str(detail(refused))
    with pytest.raises(Exception, match="all is well") as raised:
        check(DIALECTS[0].dag_run("d", "r"), refused)
    harmless(str(raised.value))


def test_of_a_page_a_redirect_and_an_error_of_ours() -> None:
    title = Response(502, {"content-type": "text/html"}, f"<title>{EVIL}</title>".encode("utf-8", "replace"))
    redirect = Response(302, {"location": f"http://{EVIL}"})
    for response in (title, redirect):
        with pytest.raises(Exception, match=r"\w") as raised:
            check(DIALECTS[0].dag_run("d", "r"), response)
        harmless(str(raised.value))
    error = NotFound(EVIL, detail=EVIL)
    harmless(str(error))
    harmless(error.message)
    assert len(str(InvalidSettings("x" * 5_000_000))) < 5000


def test_of_a_failed_run_each_line_is_ours() -> None:
    task = FailedTask(INSTANCE, tuple(EVIL.splitlines()), log_missing=EVIL)
    text = str(FailureReport(RUN, (task,), 1, 1))
    harmless(text, lines=True)
    assert [line[:6] for line in text.split("\n")[1:]] == ["- \\x1b", "    | ", "    | ", "    (n"]


def test_of_pools() -> None:
    pool = Pool(EVIL, 1, description=EVIL, occupied_slots=EVIL)  # type: ignore[arg-type]  # it may send anything
    declared = [Pool("p", 1)]
    for prune in (False, True):
        harmless(plan([pool], declared, prune=prune).table(), lines=True)
    harmless(str(plan([pool], [Pool(EVIL, 2, description="x")]).changes[0]))
    harmless(PoolTarget("p").summary(pool))


RECORDS = [{"event": EVIL, "timestamp": EVIL, "level": EVIL, "more": EVIL}, EVIL]


@pytest.mark.parametrize(
    "lines",
    [
        lambda: text_lines(EVIL.encode("utf-8", "replace"), 10),
        lambda: record_lines("\n".join(map(json.dumps, RECORDS)).encode(), 10),
        lambda: text_part({"content": str([("host", EVIL)])}).lines,
        lambda: text_part({"content": EVIL}).lines,
        lambda: record_part({"content": RECORDS}).lines,
    ],
)
def test_of_logs(lines: Callable[[], list[str]]) -> None:
    found = lines()
    assert found
    for line in found:
        assert not UNSAFE.search(line)
        assert "::group" not in line


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, line: str) -> None:
        self.lines.append(line)

    warning = info


def test_of_what_a_wait_logs() -> None:
    log = Log()
    sink = log_sink(log)
    for line in (
        progress_line([INSTANCE, TaskInstance(EVIL, state="running")]),
        *LogStream(INSTANCE).take(text_part({"content": EVIL})),
        EVIL,
        LogWarning(EVIL),
    ):
        sink(line)
    assert len(log.lines) >= 4
    for line in log.lines:
        harmless(line)
