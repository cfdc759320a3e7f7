"""What the remote tasks write into their logs stands in the local one, while the task waits and when it defers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from astronomer_remote.api.waiting.log_stream import log_sink
from astronomer_remote.exceptions import DagRunFailed, InvalidSettings, NotSupported
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import in_dag, local_task, restored, run

Start = Callable[..., FakeDeployment]

BOTH_MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["waiting", "deferred"])
VERSIONS = pytest.mark.parametrize("version", ["2.0.2", "2.11.2", "3.0.6", "3.3.2"])


class Heard(list[str]):
    """The lines of the local log, warnings with a mark."""

    def info(self, line: str, *arguments: Any) -> None:
        self.append(line % arguments if arguments else line)

    def warning(self, line: str, *arguments: Any) -> None:
        self.info(f"! {line}", *arguments)

    def lines(self, name: str) -> list[str]:
        """The lines of one log."""
        return [line.partition(": ")[2].split("INFO ")[-1] for line in self if line.startswith(f"{name}: ")]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    lines = Heard()
    for name in ("astronomer_remote.operators.dag_run.log_sink", "astronomer_remote.triggers.wait.log_sink"):
        monkeypatch.setattr(name, lambda _: log_sink(lines))
    return lines


def operator(**arguments: Any) -> Any:
    given = {"trigger_dag_id": "load", "poke_interval": 0.01, "wait_for_completion": True, "stream_logs": ["extract"]}
    return in_dag(RemoteTriggerDagRunOperator, **{**given, **arguments})


def loading(remote: FakeDeployment, **options: Any) -> FakeDeployment:
    logs = {"extract": ["read 3 files", "100 % done"], "other": ["of another task"]}
    remote.add_dag("load", **{"tasks": ["extract", "other"], "logs": logs, "polls": 2, **options})
    return remote


@BOTH_MODES
@VERSIONS
def test_each_line_is_in_the_local_log_once(start: Start, heard: Heard, version: str, deferrable: bool) -> None:
    remote = loading(start(version))
    assert run(operator(deferrable=deferrable))["state"] == "success"
    assert heard.lines("extract") == ["read 3 files", "100 % done"]
    assert not any("of another task" in line for line in heard)
    assert not any("/other/logs" in path for _, path in remote.requests)


@BOTH_MODES
def test_the_log_of_a_failed_run_is_streamed_completely(start: Start, heard: Heard, deferrable: bool) -> None:
    loading(start(), ends="failed")
    with pytest.raises(DagRunFailed):
        run(operator(deferrable=deferrable))
    assert heard.lines("extract") == ["read 3 files", "100 % done"]


def test_the_log_of_a_run_that_is_cleared_while_the_task_comes_back_is_streamed_further(
    start: Start, heard: Heard
) -> None:
    remote = loading(start(), polls=0)
    made = operator(deferrable=True)
    context = local_task(made).context()
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(context)
    event = {"status": "success", "summary": "", "run": None, "error": None}
    run_id = deferred.value.kwargs["run_id"]  # type: ignore[index]
    loading(remote, stays="running")
    with pytest.raises(TaskDeferred) as again:
        made.execute_complete(context, event, run_id=run_id)
    assert restored(again.value.trigger).target["stream"] == ["extract"]


@BOTH_MODES
@pytest.mark.parametrize("status", [None, 404, 503])
def test_logs_that_cannot_be_read_are_one_warning(
    start: Start, heard: Heard, no_pauses: None, status: int | None, deferrable: bool
) -> None:
    loading(start()).disturb(status, times=99, path="/logs/")
    assert run(operator(deferrable=deferrable))["state"] == "success"
    (warning,) = [line for line in heard if line.startswith("! ")]
    assert "Could not read all logs of the remote tasks" in warning


def test_a_task_that_is_not_there_is_a_warning(start: Start, heard: Heard) -> None:
    loading(start())
    run(operator(stream_logs=["typo"]))
    assert "! The run has no task typo, so its log cannot be shown." in heard


def test_no_log_is_read_without_it(start: Start) -> None:
    remote = loading(start())
    run(operator(stream_logs=None))
    assert not any("/logs/" in path for _, path in remote.requests)


def test_1_10_is_refused_before_anything_runs_there(start: Start) -> None:
    remote = loading(start("1.10.15"))
    with pytest.raises(NotSupported, match=r"1\.10.* cannot show the logs of a run's tasks"):
        run(operator())
    assert remote.runs("load") == []


def test_it_is_a_template() -> None:
    assert "stream_logs" in RemoteTriggerDagRunOperator.template_fields


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"stream_logs": "extract"}, "stream_logs must be a list"),
        ({"wait_for_completion": False}, "stream_logs needs wait_for_completion"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        operator(**arguments)
