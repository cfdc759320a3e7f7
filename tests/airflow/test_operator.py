"""The operator that triggers a remote DAG run."""

from __future__ import annotations

import inspect
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec
from uuid import uuid4

import pytest
from airflow.providers.common.compat.sdk import (
    DAG,
    AirflowFailException,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseHook,
    TaskDeferred,
    TaskGroup,
)
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

from astronomer_remote.api.protocol.flow import Reload
from astronomer_remote.api.runs.poll import Poller
from astronomer_remote.api.runs.runs import Runs
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus
from astronomer_remote.compat import AIRFLOW_3, NOTSET, RUN_TRY, LocalState, state_of_try
from astronomer_remote.exceptions import (
    AuthenticationFailed,
    DagIsPaused,
    DagNotFound,
    DagRunAlreadyExists,
    DagRunFailed,
    InvalidSettings,
    NotSupported,
    RemoteError,
    UnexpectedReply,
    Unreachable,
    WaitTimeout,
)
from astronomer_remote.hooks.astronomer import AstronomerHook
from astronomer_remote.links import RemoteDagRunLink
from astronomer_remote.operators import dag_run
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.triggers.wait import RemoteWaitTrigger
from tests.airflow.local import STARTED, come_back, in_dag, local_task, resume, through_the_database, to_the_end

Start = Callable[..., FakeDeployment]

EXPECTED = {
    # Parameters of TriggerDagRunOperator and their defaults, in the standard provider 1.21.
    "trigger_dag_id": inspect.Parameter.empty,
    "trigger_run_id": None,
    "conf": None,
    "logical_date": NOTSET,
    "run_after": NOTSET,
    "reset_dag_run": False,
    "wait_for_completion": False,
    "poke_interval": 60,
    "allowed_states": None,
    "failed_states": None,
    "skip_when_already_exists": False,
    "fail_when_dag_is_paused": False,
    "note": None,
    "deferrable": False,
    "openlineage_inject_parent_info": True,
}


def operator(**arguments: Any) -> RemoteTriggerDagRunOperator:
    made: RemoteTriggerDagRunOperator = in_dag(
        RemoteTriggerDagRunOperator, **{"trigger_dag_id": "quick", "poke_interval": 0.01, **arguments}
    )
    return made


def parameters_of(cls: type) -> dict[str, Any]:
    known = inspect.signature(cls.__init__).parameters.values()
    return {each.name: each.default for each in known if each.kind is each.KEYWORD_ONLY}


# Like Airflow's own


def test_it_has_the_parameters_and_defaults_of_airflows_own() -> None:
    ours = parameters_of(RemoteTriggerDagRunOperator)
    assert {name: ours[name] for name in EXPECTED} == EXPECTED


def test_airflows_own_has_no_others() -> None:
    assert parameters_of(TriggerDagRunOperator) == EXPECTED


def test_all_that_airflows_own_renders_is_rendered() -> None:
    assert set(TriggerDagRunOperator.template_fields) <= set(RemoteTriggerDagRunOperator.template_fields)


# Making one


def test_making_one_sends_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a request while a DAG file is parsed")

    monkeypatch.setattr(BaseHook, "get_connection", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    made = operator(wait_for_completion=True, deferrable=True, conf={"day": "{{ ds }}"})
    assert "hook" not in vars(made)
    through_the_database(made.dag)


def nested(depth: int) -> dict[str, Any]:
    conf: dict[str, Any] = {}
    for _ in range(depth):
        conf = {"a": conf}
    return conf


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"trigger_dag_id": ""}, "trigger_dag_id"),
        ({"trigger_dag_id": "a/b"}, "trigger_dag_id"),
        ({"trigger_dag_id": ".."}, "trigger_dag_id"),
        ({"trigger_run_id": "a\nb"}, "trigger_run_id"),
        ({"trigger_run_id": "x" * 251}, "251"),
        ({"poke_interval": 0}, "poke_interval"),
        ({"poke_interval": -1}, "poke_interval"),
        ({"poke_interval": "often"}, "poke_interval"),
        ({"wait_timeout": -5}, "wait_timeout"),
        ({"allowed_states": ["done"]}, "'done'"),
        ({"allowed_states": "success"}, "allowed_states"),
        ({"failed_states": ["skipped"]}, "'skipped'"),
        ({"on_retry": "again"}, "on_retry"),
        ({"reset_dag_run": True, "skip_when_already_exists": True}, "exclude each other"),
        ({"failure_log_lines": -1}, "failure_log_lines"),
        ({"failure_log_lines": 201}, "failure_log_lines"),
        ({"failure_log_lines": "many"}, "failure_log_lines"),
        ({"data_interval": ("2026-01-01", None)}, "both a start and an end"),
        ({"data_interval": (None, "2026-01-01")}, "both a start and an end"),
        ({"data_interval": ("2026-01-01",)}, "a pair of start and end"),
        ({"data_interval": "2026-01-01"}, "data_interval must be a pair"),
        ({"data_interval": ("soon", "2026-01-01")}, "data_interval='soon' is not a date"),
        ({"conf": "{not json"}, "conf must be a JSON object"),
        ({"conf": "{'a': 1}"}, "tojson"),
        ({"conf": "[1]"}, "conf must be a JSON object, not list"),
        ({"conf": {"when": datetime(2026, 1, 1, tzinfo=timezone.utc)}}, "conf must be JSON"),
        ({"conf": {"n": float("nan")}}, "conf must be JSON"),
        ({"conf": "[" * 100_000}, "conf is nested too deeply"),
        ({"conf": nested(100_000)}, "conf is nested too deeply"),
        ({"logical_date": "yesterday"}, "logical_date='yesterday' is not a date"),
        ({"run_after": "soon"}, "run_after"),
        ({"wait_for_completion": "perhaps"}, "wait_for_completion"),
        ({"allowed_states": ["{{ 'success' }}"]}, "not templated"),
    ],
)
def test_what_is_wrong_is_refused_while_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        operator(**arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"conf": "{{ '[1]' }}"}, "conf must be a JSON object, not list"),
        ({"conf": "{{ {'a': 1} }}"}, "tojson"),
        ({"conf": "{{ '[' * 100000 }}"}, "conf is nested too deeply"),
        ({"logical_date": "{{ 'yesterday' }}"}, "logical_date='yesterday' is not a date"),
        ({"run_after": "{{ 'soon' }}"}, "run_after"),
        ({"wait_for_completion": "{{ 'perhaps' }}"}, "wait_for_completion"),
        ({"trigger_dag_id": "{{ params.nothing or '' }}"}, "trigger_dag_id"),
        ({"trigger_dag_id": "{{ '../variables' }}"}, "trigger_dag_id"),
    ],
)
def test_what_turns_out_wrong_is_refused_before_the_first_request(
    remote: FakeDeployment, arguments: dict[str, Any], said: str
) -> None:
    made = operator(**arguments)
    context = {**local_task(made).context(), "params": {"nothing": None}}
    made.render_template_fields(context)
    with pytest.raises(InvalidSettings, match=said) as caught:
        made.execute(context)
    assert isinstance(caught.value, AirflowFailException)
    assert remote.requests == []


# Templates


def test_every_templated_field_is_rendered() -> None:
    fields = dict.fromkeys(RemoteTriggerDagRunOperator.template_fields, "{{ params.greeting }}")
    made = operator(**{**fields, "conf": {"nested": ["{{ params.greeting }}"]}})
    made.render_template_fields(local_task(made).context())
    rendered = {name: getattr(made, name) for name in RemoteTriggerDagRunOperator.template_fields}
    assert rendered == {**dict.fromkeys(fields, "hello"), "conf": {"nested": ["hello"]}}


@pytest.mark.parametrize("nothing", ["", "None", None])
def test_a_date_that_renders_to_nothing_was_not_given(remote: FakeDeployment, nothing: Any) -> None:
    date = "{{ params.greeting }}"
    made = operator(logical_date=date, run_after=date, data_interval=(date, date))
    context = {**local_task(made).context(), "params": {"greeting": nothing}}
    made.render_template_fields(context)
    made.execute(context)
    # As in TriggerDagRunOperator, None says that the run has no date.
    assert (remote.received[-1].json()["logical_date"] is None) == (nothing != "")
    assert not set(remote.received[-1].json()) & {"run_after", "data_interval_start", "data_interval_end"}


@pytest.mark.parametrize(("text", "waits"), [("False", False), ("", False), ("None", False), ("True", True)])
def test_a_boolean_that_was_rendered_is_read_as_a_boolean(remote: FakeDeployment, text: str, waits: bool) -> None:
    made = operator(wait_for_completion="{{ params.greeting }}")
    context = {**local_task(made).context(), "params": {"greeting": text}}
    made.render_template_fields(context)
    assert isinstance(made.execute(context), dict if waits else str)


def test_a_skip_that_was_rendered_false_does_not_skip(remote: FakeDeployment) -> None:
    remote.add_run("quick", "taken")
    made = operator(trigger_run_id="taken", skip_when_already_exists="False")
    with pytest.raises(DagRunAlreadyExists):
        made.execute(local_task(made).context())


def test_conf_may_be_the_text_of_a_json_object(remote: FakeDeployment) -> None:
    made = operator(conf='{"day": "{{ params.greeting }}"}')
    context = local_task(made).context()
    made.render_template_fields(context)
    made.execute(context)
    assert remote.runs("quick")[0]["conf"] == {"day": "hello"}


# Triggering


def test_all_arguments_reach_the_remote(remote: FakeDeployment) -> None:
    made = operator(
        trigger_run_id="mine",
        conf={"k": [1, None]},
        logical_date="2021-11-16T11:34:00",
        note="a note",
        partition_key="p",
        data_interval=("2021-11-15", datetime(2021, 11, 16, tzinfo=timezone.utc)),
        run_after="2021-11-17T00:00:00+02:00",
    )
    assert made.execute(local_task(made).context()) == "mine"
    body = remote.received[-1].json()
    note, _, mark = body.pop("note").partition("\n")
    assert note == "a note"
    assert re.fullmatch(r"\[astronomer_remote [0-9a-f]{16}\]", mark)
    assert body == {
        "dag_run_id": "mine",
        "conf": {"k": [1, None]},
        "logical_date": "2021-11-16T11:34:00Z",
        "partition_key": "p",
        "data_interval_start": "2021-11-15T00:00:00Z",
        "data_interval_end": "2021-11-16T00:00:00Z",
        "run_after": "2021-11-16T22:00:00Z",
    }


def test_what_a_generation_cannot_do_fails_with_a_clear_error(start: Start) -> None:
    start("1.10.15").add_dag("quick")
    made = operator(note="a note")
    with pytest.raises(NotSupported, match="note"):
        made.execute(local_task(made).context())


def test_the_run_is_in_xcom_before_any_waiting(any_remote: FakeDeployment) -> None:
    any_remote.add_dag("slow", stays="running")
    made = operator(trigger_dag_id="slow", wait_for_completion=True, wait_timeout=0.05, cancel_on_kill=False)
    task = local_task(made)
    with pytest.raises(WaitTimeout):
        made.execute(task.context())
    (run,) = any_remote.runs("slow")
    assert task.xcoms["trigger_run_id"] == run["run_id"]
    assert task.xcoms["remote_run_url"].startswith(any_remote.url)
    assert task.pushed[0] == ("trigger_run_id", run["run_id"])


@pytest.mark.parametrize("deferrable", [False, True])
def test_only_the_state_is_pushed_twice(remote: FakeDeployment, deferrable: bool) -> None:
    remote.add_dag("slow", polls=2)
    made = operator(trigger_dag_id="slow", wait_for_completion=True, deferrable=deferrable)
    task = local_task(made)
    to_the_end(made, task.context())
    pushed = [(key, value) for key, value in task.pushed if key != RUN_TRY]
    assert [key for key, _ in pushed] == ["trigger_run_id", "remote_run_url", "remote_run_state", "remote_run_state"]
    assert pushed[-1][1] == "success"


def test_without_waiting_it_returns_the_run_id_and_never_defers(any_remote: FakeDeployment) -> None:
    made = operator(deferrable=True, wait_for_completion=False)
    assert made.execute(local_task(made).context()) == any_remote.runs("quick")[0]["run_id"]


def test_after_waiting_it_returns_the_run(any_remote: FakeDeployment) -> None:
    any_remote.add_dag("slow", polls=2)
    made = operator(trigger_dag_id="slow", wait_for_completion=True)
    task = local_task(made)
    run = made.execute(task.context())
    assert json.loads(json.dumps(run)) == run
    assert (run["dag_id"], run["state"]) == ("slow", "success")
    assert task.xcoms["remote_run_state"] == "success"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failed_run_fails_the_task_and_lets_airflow_retry(any_remote: FakeDeployment, deferrable: bool) -> None:
    made = operator(trigger_dag_id="bad", wait_for_completion=True, deferrable=deferrable)
    context = local_task(made).context()
    with pytest.raises(DagRunFailed, match="failed") as failed:
        to_the_end(made, context)
    assert any_remote.url in str(failed.value)
    assert not isinstance(failed.value, AirflowFailException)


def test_the_states_that_count_are_the_users(remote: FakeDeployment) -> None:
    made = operator(trigger_dag_id="bad", wait_for_completion=True, allowed_states=["failed"], failed_states=[])
    assert made.execute(local_task(made).context())["state"] == "failed"


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_that_takes_too_long_ends_and_cancels_the_run(remote: FakeDeployment, deferrable: bool) -> None:
    remote.add_dag("slow", stays="running")
    made = operator(
        trigger_dag_id="slow", wait_for_completion=True, wait_timeout=timedelta(seconds=0.2), deferrable=deferrable
    )
    context = local_task(made).context()
    with pytest.raises(WaitTimeout):
        to_the_end(made, context)
    assert [run["state"] for run in remote.runs("slow")] == ["failed"]


def test_airflows_own_limit_does_not_get_in_the_way_of_a_cancellation(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.add_dag("slow", stays="running")
    cancel, alarms = AstronomerHook.cancel_dag_run, [AirflowTaskTimeout()]

    def interrupted(hook: AstronomerHook, dag_id: str, run_id: str) -> Any:
        if alarms:
            raise alarms.pop()
        return cancel(hook, dag_id, run_id)

    monkeypatch.setattr(AstronomerHook, "cancel_dag_run", interrupted)
    made = operator(trigger_dag_id="slow", wait_for_completion=True, execution_timeout=timedelta(seconds=0.2))
    with pytest.raises(WaitTimeout, match=r"did not end within 0\.2 s"):
        made.execute(local_task(made).context())
    assert [run["state"] for run in remote.runs("slow")] == ["failed"]


@pytest.mark.parametrize("error", [RuntimeError("the API server does not answer"), AirflowTaskTimeout()])
def test_a_state_that_cannot_be_pushed_neither_stops_the_cancellation_nor_hides_the_timeout(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    remote.add_dag("slow", stays="running")
    made = operator(trigger_dag_id="slow", wait_for_completion=True, wait_timeout=0.1)
    context = local_task(made).context()
    pushed: list[str] = []

    def push(context: Any, run: Any) -> None:
        pushed.append(run.state)
        raise error

    monkeypatch.setattr(dag_run, "publish_state", push)
    with pytest.raises(WaitTimeout, match="did not end within"):
        made.execute(context)
    assert [run["state"] for run in remote.runs("slow")] == pushed == ["failed"]


def test_a_limit_that_is_gone_when_the_task_resumes_does_not_hide_the_timeout(remote: FakeDeployment) -> None:
    remote.add_dag("slow", stays="running")
    made = operator(trigger_dag_id="slow", wait_for_completion=True, deferrable=True, wait_timeout=60)
    context = local_task(made).context()
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(context)
    made.wait_timeout = None
    event = WaitResult(WaitStatus.TIMEOUT, "run r: running").as_dict()
    with pytest.raises(WaitTimeout, match="did not end in time"):
        come_back(deferred.value, made, context, event)
    assert [run["state"] for run in remote.runs("slow")] == ["failed"]


def test_the_state_is_pushed_if_a_resumed_task_keeps_waiting(remote: FakeDeployment) -> None:
    remote.add_dag("slow", stays="running")
    made = operator(trigger_dag_id="slow", wait_for_completion=True, deferrable=True)
    task = local_task(made)
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(task.context())
    task.xcoms["remote_run_state"] = "queued"
    with pytest.raises(TaskDeferred):
        come_back(deferred.value, made, task.context(), WaitResult(WaitStatus.FAILED, "run r: failed").as_dict())
    assert task.xcoms["remote_run_state"] == "running"


@pytest.mark.parametrize(
    ("wait_timeout", "execution_timeout", "seconds"), [(60, 50, 50), (50, 60, 50), (60, None, 60), (None, 50, 50)]
)
def test_the_deadline_is_the_shorter_limit_counted_from_the_start_of_the_try(
    remote: FakeDeployment, wait_timeout: float | None, execution_timeout: float | None, seconds: float
) -> None:
    remote.add_dag("slow", stays="running")
    began = datetime.now(timezone.utc) - timedelta(seconds=30)
    made = operator(
        trigger_dag_id="slow",
        wait_for_completion=True,
        deferrable=True,
        wait_timeout=wait_timeout,
        execution_timeout=timedelta(seconds=execution_timeout) if execution_timeout else None,
    )
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(local_task(made, start_date=began).context())
    _, arguments = deferred.value.trigger.serialize()
    assert arguments["deadline"] == pytest.approx(began.timestamp() + seconds, abs=0.001)


def test_without_a_limit_there_is_no_deadline(remote: FakeDeployment) -> None:
    remote.add_dag("slow", stays="running")
    made = operator(trigger_dag_id="slow", wait_for_completion=True, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(local_task(made).context())
    assert deferred.value.trigger.serialize()[1]["deadline"] is None


def test_a_paused_dag_is_triggered_unless_the_task_is_to_fail(any_remote: FakeDeployment) -> None:
    any_remote.add_dag("sleeping", is_paused=True)
    refuses = operator(trigger_dag_id="sleeping", fail_when_dag_is_paused=True)
    with pytest.raises(DagIsPaused):
        refuses.execute(local_task(refuses).context())
    assert any_remote.runs("sleeping") == []
    triggers = operator(trigger_dag_id="sleeping")
    triggers.execute(local_task(triggers).context())
    assert len(any_remote.runs("sleeping")) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"trigger_dag_id": "no_such_dag"}, DagNotFound), ({"astronomer_conn_id": "wrong"}, AuthenticationFailed)],
)
def test_what_a_retry_cannot_fix_fails_at_once(
    remote: FakeDeployment, add_connection: Any, change: dict[str, Any], expected: type[RemoteError]
) -> None:
    add_connection("wrong", **remote.connection(password="wrong"))
    made = operator(**change)
    with pytest.raises(expected) as caught:
        made.execute(local_task(made).context())
    assert isinstance(caught.value, AirflowFailException)


@pytest.mark.usefixtures("no_pauses")
def test_transient_errors_are_left_to_airflows_retries(remote: FakeDeployment) -> None:
    remote.disturb(503, times=100)
    made = operator()
    with pytest.raises(RemoteError) as caught:
        made.execute(local_task(made).context())
    assert not isinstance(caught.value, AirflowFailException)


def test_the_error_for_an_unknown_dag_names_the_files_that_are_broken(remote: FakeDeployment) -> None:
    remote.add_import_error("broken.py", "Traceback …\nModuleNotFoundError: No module named 'pandas'")
    made = operator(trigger_dag_id="broken_dag")
    with pytest.raises(DagNotFound, match=r"broken\.py.*No module named 'pandas'"):
        made.execute(local_task(made).context())


# Exactly once


def run_id_of(remote: FakeDeployment, **facts: Any) -> str:
    made = operator(retries=3)
    run_id = made.execute(local_task(made, **facts).context())
    assert isinstance(run_id, str)
    return run_id


def test_the_same_try_makes_one_run_however_often_it_is_made(any_remote: FakeDeployment) -> None:
    assert run_id_of(any_remote) == run_id_of(any_remote) == run_id_of(any_remote, try_number=2)
    assert len(any_remote.runs("quick")) == 1


@pytest.mark.parametrize("facts", [{"map_index": 0}, {"map_index": 1}, {"run_id": "other"}, {"max_tries": 4}])
def test_another_intent_makes_another_run(remote: FakeDeployment, facts: dict[str, Any]) -> None:
    assert run_id_of(remote) != run_id_of(remote, **facts)
    assert len(remote.runs("quick")) == 2


def test_a_finished_local_run_that_is_cleared_makes_another_run(remote: FakeDeployment) -> None:
    made = operator()
    task = local_task(made)
    first = made.execute(task.context())
    again = operator()
    task = local_task(again)
    task.run.start_date = STARTED + timedelta(microseconds=1)
    assert again.execute(task.context()) != first


def test_a_run_id_is_readable_and_safe_everywhere(remote: FakeDeployment) -> None:
    long = in_dag(RemoteTriggerDagRunOperator, dag_id="a-dag.of" + "x" * 240, trigger_dag_id="quick")
    run_id = long.execute(local_task(long).context())
    assert len(run_id) <= 250
    assert run_id_of(remote).startswith("remote__local_dag.local_task__")


@pytest.mark.usefixtures("no_pauses")
def test_replies_that_were_lost_leave_one_run(any_remote: FakeDeployment) -> None:
    any_remote.disturb(None, method="POST", path="/dags/")
    any_remote.disturb(502, times=2, method="GET", path="/dags/")
    made = operator(wait_for_completion=True)
    run = made.execute(local_task(made).context())
    assert [run["run_id"]] == [each["run_id"] for each in any_remote.runs("quick")]


@pytest.mark.usefixtures("no_pauses")
def test_a_request_that_the_remote_was_too_busy_for_is_made_again(any_remote: FakeDeployment) -> None:
    any_remote.disturb(503, times=3, method="POST", path="/dags/")
    made = operator()
    made.execute(local_task(made).context())
    assert len(any_remote.runs("quick")) == 1


def test_a_retry_continues_with_the_run_of_the_try_before(any_remote: FakeDeployment) -> None:
    any_remote.add_dag("slow", polls=3)
    first = operator(trigger_dag_id="slow", retries=1)
    run_id = first.execute(local_task(first).context())
    retry = operator(trigger_dag_id="slow", retries=1, wait_for_completion=True)
    run = retry.execute(local_task(retry, try_number=2).context())
    assert (run["run_id"], run["state"]) == (run_id, "success")
    assert len(any_remote.runs("slow")) == 1


def down(remote: FakeDeployment) -> None:
    remote.disturb(503, times=10_000)


def up(remote: FakeDeployment) -> None:
    remote._disturbances.clear()


GIVEN = {"trigger_run_id": "nightly", "wait_for_completion": True, "retries": 1}


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("state", ["success", "running"])
def test_a_retry_of_what_never_reached_the_remote_adopts_no_other_run(any_remote: FakeDeployment, state: str) -> None:
    any_remote.add_dag("slow", stays="running")
    any_remote.add_run("slow", "nightly", state=state)
    first = operator(trigger_dag_id="slow", **GIVEN)
    down(any_remote)
    with pytest.raises(RemoteError):
        first.execute(local_task(first).context())
    up(any_remote)
    for options, outcome in (({}, DagRunAlreadyExists), ({"skip_when_already_exists": True}, AirflowSkipException)):
        retry = operator(trigger_dag_id="slow", wait_timeout=0.1, **GIVEN, **options)
        with pytest.raises(outcome):
            retry.execute(local_task(retry, try_number=2).context())
        retry.on_kill()
    assert [(run["run_id"], run["state"]) for run in any_remote.runs("slow")] == [("nightly", state)]


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("version", ["2.4.3", "2.11.2", "3.3.2"])
def test_a_retry_resets_what_the_first_attempt_could_not_and_what_it_did_only_once(start: Start, version: str) -> None:
    remote = start(version)
    remote.add_dag("slow", polls=1)
    remote.add_run("slow", "nightly", state="success")
    options = {"trigger_dag_id": "slow", "reset_dag_run": True, **GIVEN}
    first = operator(**options)
    down(remote)
    with pytest.raises(RemoteError):
        first.execute(local_task(first).context())
    up(remote)
    for number, cleared in ((2, True), (3, version == "2.4.3")):
        before, retry = len(remote.received), operator(**options)
        assert retry.execute(local_task(retry, try_number=number).context())["state"] == "success"
        paths = [path for _, path in remote.requests[before:]]
        # A run of 2.4 cannot have a mark, and is reset as by a first attempt.
        assert any(path.endswith("/clear") for path in paths) is cleared
    assert len(remote.runs("slow")) == 1


@pytest.mark.parametrize("skips", [False, True])
def test_a_retry_continues_with_the_run_of_a_chosen_id_that_an_attempt_before_it_made(
    any_remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, skips: bool
) -> None:
    options = {"skip_when_already_exists": skips, **GIVEN}
    first = operator(**options)
    with monkeypatch.context() as dying:
        # Its worker dies before it has pushed or deferred anything.
        dying.setattr(first, "_remember", create_autospec(first._remember, side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            first.execute(local_task(first).context())
    retry = operator(**options)
    assert retry.execute(local_task(retry, try_number=2).context())["run_id"] == "nightly"
    assert len(any_remote.runs("quick")) == 1


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_another_number_of_retries_after_a_deploy_changes_nothing(any_remote: FakeDeployment, retries: int) -> None:
    any_remote.add_dag("slow", polls=1)
    any_remote.add_run("slow", "taken", logical_date="2021-11-16T00:00:00Z")
    for taken in ({"trigger_run_id": "taken"}, {"logical_date": "2021-11-16T00:00:00Z"}):
        for number in (1, 2, 3):
            made = operator(trigger_dag_id="slow", retries=retries, **taken)
            with pytest.raises(DagRunAlreadyExists, match="Or set reset_dag_run or skip_when_already_exists"):
                made.execute(local_task(made, try_number=number, max_tries=2).context())
    for number in (1, 2, 3):
        made = operator(trigger_dag_id="slow", retries=retries, trigger_run_id="mine")
        made.execute(local_task(made, try_number=number, max_tries=2).context())
    assert [run["run_id"] for run in any_remote.runs("slow")] == ["taken", "mine"]


ENDED_ONCE = STARTED + timedelta(hours=1)


@pytest.mark.parametrize(
    ("max_tries", "retries", "started", "runs"),
    [
        # A retry after `retries` was lowered from 3 to 2, or raised to 5: Airflow keeps the number.
        (3, 2, STARTED, 1),
        (3, 5, STARTED, 1),
        # Cleared after its first try, which sets the number to that try and the retries of now.
        (1 + 3, 3, STARTED, 2),
        (1 + 1, 1, STARTED, 2),
        # The same number as before; only the end of the local run distinguishes a clear from a retry.
        (1 + 2, 2, STARTED, 1),
        (1 + 2, 2, ENDED_ONCE, 2),
    ],
)
def test_a_clear_after_retries_were_lowered_makes_a_new_run_where_airflow_distinguishes_it_from_a_retry(
    remote: FakeDeployment, max_tries: int, retries: int, started: datetime, runs: int
) -> None:
    remote.add_dag("slow", polls=1)
    first = operator(trigger_dag_id="slow", retries=3, wait_for_completion=True)
    before = first.execute(local_task(first).context())
    again = operator(trigger_dag_id="slow", retries=retries, wait_for_completion=True)
    task = local_task(again, try_number=2, max_tries=max_tries)
    task.run.start_date = started
    assert (again.execute(task.context())["run_id"] == before["run_id"]) == (runs == 1)
    assert len(remote.runs("slow")) == runs


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_a_cleared_task_takes_no_run_of_a_chosen_id_for_its_own(start: Start, version: str) -> None:
    start(version).add_dag("quick")
    first = operator(**GIVEN)
    assert first.execute(local_task(first).context())["run_id"] == "nightly"
    retry = operator(**GIVEN)
    assert retry.execute(local_task(retry, try_number=2).context())["run_id"] == "nightly"
    # Clearing it after two tries sets max_tries to these and its retries.
    cleared = operator(**GIVEN)
    with pytest.raises(DagRunAlreadyExists, match="nightly"):
        cleared.execute(local_task(cleared, try_number=3, max_tries=2 + 1).context())


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("status", [None, 504])
def test_a_retry_whose_replies_are_lost_makes_one_run_of_a_dag_that_fails_at_once(
    any_remote: FakeDeployment, status: int | None
) -> None:
    options = {"trigger_dag_id": "bad", "retries": 1, "wait_for_completion": True}
    first = operator(**options)
    with pytest.raises(DagRunFailed):
        first.execute(local_task(first).context())
    any_remote.disturb(status, times=3, method="POST", path="/dags/")
    before, retry = len(any_remote.received), operator(**options)
    with pytest.raises(DagRunFailed):
        retry.execute(local_task(retry, try_number=2).context())
    assert len(any_remote.runs("bad")) == 2
    assert len(any_remote.received) - before < 40


@pytest.mark.parametrize(("on_retry", "runs"), [("new_run", 2), ("clear", 1), ("clear_failed", 1)])
def test_on_retry_decides_what_a_retry_does_with_a_failed_run(remote: FakeDeployment, on_retry: str, runs: int) -> None:
    options = {"trigger_dag_id": "bad", "retries": 1, "wait_for_completion": True, "on_retry": on_retry}
    first = operator(**options)
    with pytest.raises(DagRunFailed):
        first.execute(local_task(first).context())
    remote.add_dag("bad", ends="success")
    retry = operator(**options)
    assert retry.execute(local_task(retry, try_number=2).context())["state"] == "success"
    assert len(remote.runs("bad")) == runs


@pytest.mark.parametrize("taken", [{"trigger_run_id": "taken"}, {"logical_date": "2021-11-16T00:00:00Z"}])
def test_a_run_that_the_task_did_not_trigger_is_an_error_a_skip_or_taken_over(
    start: Start, taken: dict[str, str]
) -> None:
    remote = start("2.11.2")
    remote.add_dag("quick")
    remote.add_run("quick", "taken", logical_date="2021-11-16T00:00:00Z")
    refuses = operator(**taken)
    with pytest.raises(DagRunAlreadyExists, match="taken") as caught:
        refuses.execute(local_task(refuses).context())
    assert isinstance(caught.value, AirflowFailException)
    skips = operator(**taken, skip_when_already_exists=True)
    with pytest.raises(AirflowSkipException, match="taken"):
        skips.execute(local_task(skips).context())
    resets = operator(**taken, reset_dag_run=True)
    assert resets.execute(local_task(resets).context()) == "taken"
    assert remote.requests.count(("POST", "/api/v1/dags/quick/dagRuns/taken/clear")) == 1


# Deferring


def deferred_by(made: RemoteTriggerDagRunOperator, context: dict[str, Any]) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(context)
    return deferred.value


def test_it_defers_with_plain_arguments_and_no_secret(start: Start) -> None:
    remote = start(password="s3cr3t")
    remote.add_dag("quick")
    made = operator(wait_for_completion=True, deferrable=True, execution_timeout=timedelta(hours=1))
    deferred = deferred_by(made, local_task(made).context())
    assert isinstance(deferred.trigger, RemoteWaitTrigger)
    path, arguments = deferred.trigger.serialize()
    assert path == "astronomer_remote.triggers.wait.RemoteWaitTrigger"
    assert json.loads(json.dumps(arguments)) == arguments
    assert json.loads(json.dumps(deferred.kwargs)) == deferred.kwargs
    token = remote.received[-1].headers["authorization"]
    for secret in ("s3cr3t", token.partition(" ")[2]):
        assert secret not in f"{arguments} {deferred.kwargs} {deferred.trigger!r}"


def test_a_run_of_a_dag_whose_runs_are_short_is_waited_for_in_the_worker(any_remote: FakeDeployment) -> None:
    any_remote.add_run("quick", "earlier")
    any_remote.add_dag("quick", polls=2)
    made = operator(wait_for_completion=True, deferrable=True)
    context = local_task(made).context()
    if any_remote.version == "1.10.15":
        # It does not show when a run ended.
        deferred_by(made, context)
    else:
        assert made.execute(context)["state"] == "success"


@pytest.mark.parametrize(("ended", "running", "is_deferred"), [(0, 0, True), (1, 1, False), (2, 3, True)])
def test_runs_count_as_short_if_half_of_the_newest_ones_have_ended_soon(
    remote: FakeDeployment, ended: int, running: int, is_deferred: bool
) -> None:
    remote.add_dag("quick", polls=50)
    for number in range(ended + running):
        remote.add_run("quick", f"r{number}", state="success" if number < ended else "running")
    remote.add_dag("quick", polls=1)
    made = operator(wait_for_completion=True, deferrable=True)
    context = local_task(made).context()
    if is_deferred:
        deferred_by(made, context)
    else:
        assert made.execute(context)["state"] == "success"


@pytest.mark.parametrize("more", [{"stream_logs": ["load"]}, {"run_after": datetime(2099, 1, 1, tzinfo=timezone.utc)}])
def test_a_run_of_such_a_dag_is_waited_for_in_the_triggerer(
    remote: FakeDeployment, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "run_after" in more and remote.version < "3":
        pytest.skip("its runs are not planned for later")
    monkeypatch.setattr(Poller, "wait", lambda *_, **__: pytest.fail("it waited in the worker"))
    remote.add_run("quick", "earlier")
    remote.add_dag("quick", stays="running")
    made = operator(wait_for_completion=True, deferrable=True, **more)
    deferred = deferred_by(made, local_task(made).context())
    assert deferred.trigger.serialize()[0].endswith("RemoteWaitTrigger")


def test_a_wait_in_the_worker_that_takes_too_long_cancels_the_run_at_once(remote: FakeDeployment) -> None:
    remote.add_run("quick", "earlier")
    remote.add_dag("quick", stays="running")
    made = operator(wait_for_completion=True, deferrable=True, wait_timeout=0.1)
    with pytest.raises(WaitTimeout, match=r"did not end within 0\.1 s"):
        made.execute(local_task(made).context())
    assert [run["state"] for run in remote.runs("quick")] == ["success", "failed"]


def test_a_remote_that_does_not_answer_does_not_hold_the_worker_up(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dag_run, "SECONDS_FOR_LAST_POLL", 0.5)
    monkeypatch.setattr(dag_run, "SECONDS_IN_WORKER", 0.5)
    remote.add_run("quick", "earlier")
    remote.add_dag("quick", stays="running")
    made = operator(wait_for_completion=True, deferrable=True)
    context = local_task(made).context()
    is_short = Runs.is_probably_short

    def then_fails(runs: Runs, *given: Any) -> Any:
        short = yield from is_short(runs, *given)
        remote.disturb(times=1000)
        return short

    monkeypatch.setattr(Runs, "is_probably_short", then_fails)
    began = time.monotonic()
    deferred_by(made, context)
    assert time.monotonic() - began < 10
    assert [run["state"] for run in remote.runs("quick")] == ["success", "running"]


def test_a_connection_that_cannot_be_read_again_does_not_fail_a_task_that_can_be_deferred(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.add_run("quick", "earlier")
    remote.add_dag("quick", stays="running")
    made = operator(wait_for_completion=True, deferrable=True)
    context = local_task(made).context()

    def fails(*_: Any, **__: Any) -> Any:
        raise Unreachable("the Astro API does not answer")

    def read_again(*_: Any) -> Any:
        monkeypatch.setattr(AstronomerHook, "_parse_settings", fails)
        yield Reload()
        pytest.fail("it was read")

    monkeypatch.setattr(Runs, "is_probably_short", read_again)
    assert isinstance(deferred_by(made, context).trigger, RemoteWaitTrigger)
    assert len(remote.runs("quick")) == 2


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 shows the try to triggers")
def test_the_try_is_known_while_the_task_waits_in_its_worker(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = operator(wait_for_completion=True, deferrable=True)
    task = local_task(made, try_number=3)
    known: list[Any] = []
    monkeypatch.setattr(
        RemoteTriggerDagRunOperator, "_wait_briefly", lambda *_: known.append(task.xcoms.get("remote_run_try"))
    )
    deferred_by(made, task.context())
    assert known == [3]


def test_a_run_that_takes_unusually_long_is_waited_for_in_the_triggerer(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dag_run, "SECONDS_IN_WORKER", 0.1)
    remote.add_run("quick", "earlier")
    remote.add_dag("quick", stays="running")
    made = operator(wait_for_completion=True, deferrable=True, cancel_on_kill=True)
    context = local_task(made).context()
    assert deferred_by(made, context).trigger.serialize()[1]["cancel_on_kill"] is True
    assert [run["state"] for run in remote.runs("quick")] == ["success", "running"]


def test_deferred_it_returns_what_it_returns_otherwise(any_remote: FakeDeployment) -> None:
    any_remote.add_dag("slow", polls=2)
    made = operator(trigger_dag_id="slow", wait_for_completion=True, deferrable=True)
    task = local_task(made)
    deferred = deferred_by(made, task.context())
    run_id = task.xcoms["trigger_run_id"]
    # It comes back as another object, in another process.
    again = operator(trigger_dag_id="slow", wait_for_completion=True, deferrable=True)
    run = resume(deferred, again, task.context())
    assert (run["run_id"], run["state"]) == (run_id, "success")
    assert again.trigger_run_id == run_id


def test_a_run_that_was_cleared_meanwhile_is_waited_for_again(remote: FakeDeployment) -> None:
    made = operator(wait_for_completion=True, deferrable=True)
    context = local_task(made).context()
    deferred = deferred_by(made, context)
    (run,) = remote.runs("quick")
    remote.add_dag("quick", polls=1)
    remote.clear("quick", run["run_id"])
    event = {"status": "success", "summary": "", "run": None, "error": None}
    with pytest.raises(TaskDeferred) as again:
        come_back(deferred, made, context, event)
    assert again.value.kwargs == deferred.kwargs
    assert resume(again.value, made, context)["state"] == "success"


def test_an_event_says_less_than_the_run_itself(remote: FakeDeployment) -> None:
    made = operator(trigger_dag_id="bad", wait_for_completion=True, deferrable=True)
    context = local_task(made).context()
    deferred = deferred_by(made, context)
    event = {"status": "success", "summary": "", "run": None, "error": None}
    remote.finish("bad", remote.runs("bad")[0]["run_id"], "failed")
    with pytest.raises(DagRunFailed):
        come_back(deferred, made, context, event)


def test_a_run_that_ended_at_the_last_moment_did_not_time_out(remote: FakeDeployment) -> None:
    made = operator(wait_for_completion=True, deferrable=True, wait_timeout=60)
    context = local_task(made).context()
    deferred = deferred_by(made, context)
    event = {"status": "timeout", "summary": "", "run": None, "error": None}
    assert come_back(deferred, made, context, event)["state"] == "success"


def test_a_run_that_was_cancelled_at_the_deadline_is_no_success_whatever_its_scheduler_says(
    remote: FakeDeployment,
) -> None:
    # A scheduler that is at work on the run when its tasks are skipped writes success over its state.
    made = operator(wait_for_completion=True, deferrable=True, wait_timeout=60)
    context = local_task(made).context()
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(context)
    (run,) = AstronomerHook().list_dag_runs("quick")
    assert run.state == "success"
    outline = {**run.outline, "state": "failed"}
    event = {"status": "timeout", "summary": "", "run": outline, "error": None}
    with pytest.raises(WaitTimeout):
        come_back(deferred.value, made, context, event)


@pytest.mark.parametrize(("ours", "error"), [(True, WaitTimeout), (False, DagRunFailed)])
def test_a_run_that_failed_after_the_deadline_was_cancelled_if_it_may_be(
    remote: FakeDeployment, ours: bool, error: type[Exception]
) -> None:
    made = operator(
        trigger_dag_id="bad", wait_for_completion=True, deferrable=True, wait_timeout=60, cancel_on_kill=ours
    )
    context = local_task(made).context()
    deferred = deferred_by(made, context)
    remote.finish("bad", remote.runs("bad")[0]["run_id"], "failed")
    event = {"status": "timeout", "summary": "", "run": None, "error": None}
    with pytest.raises(error):
        come_back(deferred, made, context, event)


def test_the_event_alone_is_enough_to_come_back_with(remote: FakeDeployment) -> None:
    # It is all that Airflow's own `dag.test()` comes back with.
    made = operator(wait_for_completion=True, deferrable=True)
    context = local_task(made).context()
    deferred = deferred_by(made, context)
    deferred.kwargs = None
    assert resume(deferred, operator(wait_for_completion=True, deferrable=True), context)["state"] == "success"


@pytest.mark.parametrize("state", ["success", "failed"])
def test_coming_back_costs_the_remote_one_request(start: Start, state: str) -> None:
    remote = start("3.3.2")
    remote.add_dag("bad", stays="running")
    made = operator(trigger_dag_id="bad", wait_for_completion=True, deferrable=True, failure_log_lines=None)
    context = local_task(made).context()
    deferred = deferred_by(made, context)
    (run,) = remote.runs("bad")
    remote.finish("bad", run["run_id"], state)
    event = {"status": state, "summary": "", "run": None, "error": None}
    before = len(remote.requests)
    try:
        came_back = come_back(deferred, made, context, event)["state"]
    except DagRunFailed:
        came_back = "failed"
    assert came_back == state
    assert remote.requests[before:] == [("GET", f"/api/v2/dags/bad/dagRuns/{run['run_id']}")]


def test_a_retry_starts_again_even_where_airflow_resumes_it_with_the_event_of_the_try_before(
    remote: FakeDeployment,
) -> None:
    made = operator(trigger_dag_id="bad", wait_for_completion=True, deferrable=True, retries=1)
    deferred = deferred_by(made, local_task(made).context())
    (run,) = remote.runs("bad")
    remote.finish("bad", run["run_id"], "failed")
    event = {"status": "failed", "summary": "", "run": None, "error": None}
    again = operator(trigger_dag_id="bad", wait_for_completion=True, deferrable=True, retries=1)
    with pytest.raises(DagRunFailed):
        come_back(deferred, again, local_task(again, try_number=2).context(), event)
    assert len(remote.runs("bad")) == 2


@pytest.mark.parametrize(
    "event",
    [
        None,
        "success",
        {},
        {"status": "success"},
        {"status": "splendid", "summary": "", "run": None, "error": None},
        {"status": "success", "summary": "", "run": {"nonsense": 1}, "error": None},
    ],
)
def test_an_event_that_is_not_ours_is_an_error(remote: FakeDeployment, event: Any) -> None:
    made = operator(wait_for_completion=True, deferrable=True)
    with pytest.raises(UnexpectedReply, match="event"):
        made.execute_complete(local_task(made).context(), event=event, run_id="r")


@pytest.mark.parametrize("name", ["DagRunVanished", "AuthenticationFailed", "Unreachable"])
def test_an_error_in_the_triggerer_comes_back_as_itself(remote: FakeDeployment, name: str) -> None:
    made = operator(wait_for_completion=True, deferrable=True)
    event = {"status": None, "summary": "what happened", "run": None, "error": name}
    with pytest.raises(RemoteError, match="what happened") as caught:
        made.execute_complete(local_task(made).context(), event=event, run_id="r")
    assert type(caught.value).__name__ == name


# In a DAG


def test_mapped_grouped_and_as_setup_it_goes_through_the_database() -> None:
    with DAG("local_dag", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None) as dag:
        before = RemoteTriggerDagRunOperator(task_id="before", trigger_dag_id="quick").as_setup()
        after = RemoteTriggerDagRunOperator(task_id="after", trigger_dag_id="quick").as_teardown(setups=before)
        with TaskGroup("group"):
            fan = RemoteTriggerDagRunOperator.partial(task_id="fan", trigger_dag_id="quick").expand(
                conf=[{"n": 1}, {"n": 2}]
            )
        before >> fan >> after
    stored = through_the_database(dag)
    assert set(stored.task_ids) == {"before", "after", "group.fan"}
    assert stored.get_task("before").is_setup
    assert stored.get_task("after").is_teardown
    assert hasattr(stored.get_task("group.fan"), "expand_input")
    assert set(stored.get_task("before").template_fields) == set(RemoteTriggerDagRunOperator.template_fields)


def test_the_link_to_the_run_goes_through_the_database() -> None:
    stored = through_the_database(operator().dag).get_task("local_task")
    assert [link.name for link in stored.operator_extra_links] == [RemoteDagRunLink.name]


def test_the_link_leads_to_what_the_task_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[dict[str, Any]] = []

    class XComs:
        @staticmethod
        def get_value(**arguments: Any) -> str | None:
            reads.append(arguments)
            return "https://remote.example/run" if len(reads) == 1 else None

    monkeypatch.setattr("astronomer_remote.links.XCom", XComs)
    link, key = RemoteDagRunLink(), object()
    assert link.get_link(operator(), ti_key=key) == "https://remote.example/run"  # type: ignore[arg-type]
    assert reads == [{"key": link.xcom_key, "ti_key": key}]
    assert link.get_link(operator(), ti_key=key) == ""  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("by_a_person", "cancel_on_kill", "state"),
    [(True, True, "failed"), (False, True, "running"), (True, False, "running")],
)
def test_ending_a_task_cancels_the_run_it_made_if_a_person_did_it(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, by_a_person: bool, cancel_on_kill: bool, state: str
) -> None:
    monkeypatch.setattr("astronomer_remote.operators.dag_run.was_stopped_by_a_person", lambda _: by_a_person)
    remote.add_dag("slow", stays="running")
    made = operator(trigger_dag_id="slow", cancel_on_kill=cancel_on_kill)
    run_id = made.execute(local_task(made).context())
    AstronomerHook().get_dag_run("slow", str(run_id))
    made.on_kill()
    assert [run["state"] for run in remote.runs("slow")] == [state]


def test_a_cancellation_that_fails_is_a_warning(
    remote: FakeDeployment,
    monkeypatch: pytest.MonkeyPatch,
    add_connection: Any,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("astronomer_remote.operators.dag_run.was_stopped_by_a_person", lambda _: True)
    made = operator()
    run_id = made.execute(local_task(made).context())
    add_connection(**remote.connection(password="wrong"))
    made.on_kill()
    assert ("PATCH", remote.requests[-1][1]) not in remote.requests
    assert f"Could not cancel run {run_id} in the remote: " in capsys.readouterr().out + caplog.text


def test_a_cancellation_does_not_use_the_hook_that_is_in_the_middle_of_a_request(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astronomer_remote.operators.dag_run.was_stopped_by_a_person", lambda _: True)
    remote.add_dag("slow", stays="running")
    made = operator(trigger_dag_id="slow", wait_for_completion=True, poke_interval=60)
    polled = AstronomerHook.run_flow

    def killed_while_it_polls(hook: AstronomerHook, *arguments: Any, **options: Any) -> Any:
        if made._ti is None:
            return polled(hook, *arguments, **options)
        monkeypatch.setattr(AstronomerHook, "run_flow", polled)
        monkeypatch.setattr(hook, "_driver", create_autospec(hook._driver, side_effect=AssertionError("it is busy")))
        made.on_kill()
        raise KeyboardInterrupt

    monkeypatch.setattr(AstronomerHook, "run_flow", killed_while_it_polls)
    with pytest.raises(KeyboardInterrupt):
        made.execute(local_task(made).context())
    assert [run["state"] for run in remote.runs("slow")] == ["failed"]


def test_ending_a_task_that_triggered_nothing_cancels_nothing(remote: FakeDeployment) -> None:
    operator().on_kill()
    assert remote.requests == []


@contextmanager
def ending(made: RemoteTriggerDagRunOperator) -> Iterator[None]:
    """What Airflow does about an exception: it ends the task."""
    try:
        yield
    except AirflowTaskTimeout:
        made.on_kill()
        raise


PERSON = ("failed", "success", "skipped", "upstream_failed", "removed", "restarting")
NEXT_TRY = ("up_for_retry", "scheduled", "queued", "deferred")


@pytest.mark.parametrize(
    ("local", "cancelled"),
    [
        *((LocalState(state), True) for state in PERSON),
        *((LocalState(state, 1), True) for state in PERSON),
        # A person has deleted the local run.
        (LocalState(exists=False), True),
        # Cleared while it runs, for which Airflow 3 gives it a new id at once.
        (LocalState("restarting", replaced=True), True),
        # Of a try after this one.
        *((LocalState(state, 2), False) for state in (*PERSON, *NEXT_TRY, "running")),
        *((LocalState(state, replaced=True), False) for state in ("failed", "success", "running", None)),
        *((LocalState(state), False) for state in (*NEXT_TRY, "running", None)),
        (LocalState("up_for_retry", 1), False),
        (LocalState("running", 1), False),
    ],
)
def test_a_worker_that_was_suspended_leaves_its_run_to_the_next_try(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, local: LocalState, cancelled: bool
) -> None:
    monkeypatch.setattr("astronomer_remote.compat.state_of_try", lambda _: local)
    remote.add_dag("slow", stays="running")
    made = operator(trigger_dag_id="slow")
    made.execute(local_task(made).context())
    made.on_kill()
    assert (remote.runs("slow")[0]["state"] == "failed") == cancelled


@pytest.mark.parametrize(
    ("local", "cancelled"),
    [
        (LocalState("running"), True),
        (LocalState("running", 1), True),
        (LocalState("running", 2), False),
        # Another try runs, which Airflow 3 shows only by the id.
        (LocalState("running", replaced=True), False),
        *((LocalState(state), False) for state in NEXT_TRY),
        (LocalState(exists=False), True),
    ],
)
def test_a_timeout_of_a_try_that_airflow_has_given_up_does_not_cancel_the_run(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, local: LocalState, cancelled: bool
) -> None:
    monkeypatch.setattr("astronomer_remote.compat.state_of_try", lambda _: local)
    remote.add_dag("slow", stays="running")
    made = operator(trigger_dag_id="slow", wait_for_completion=True, wait_timeout=0.05)
    with pytest.raises(WaitTimeout):
        made.execute(local_task(made).context())
    assert (remote.runs("slow")[0]["state"] == "failed") == cancelled
    remote.add_dag("slower", stays="running")
    made = operator(trigger_dag_id="slower")
    made.execute(local_task(made).context())
    with pytest.raises(AirflowTaskTimeout), ending(made):
        raise AirflowTaskTimeout("Timeout")
    assert (remote.runs("slower")[0]["state"] == "failed") == cancelled


def test_a_run_continues_if_the_local_deployment_does_not_answer(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> LocalState:
        raise ConnectionError("the local deployment is going down, too")

    monkeypatch.setattr("astronomer_remote.compat.state_of_try", broken)
    remote.add_dag("slow", stays="running")
    made = operator(trigger_dag_id="slow")
    made.execute(local_task(made).context())
    made.on_kill()
    assert remote.runs("slow")[0]["state"] != "failed"


class Supervisor:
    """Airflow 3's replies to a task: the state of its newest try, and whether it knows the current one."""

    def __init__(self, refusal: int | None, states: dict[str, Any]) -> None:
        self.refusal, self.states = refusal, states
        self.messages: list[str] = []

    def send(self, message: Any) -> Any:
        from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
        from airflow.sdk.execution_time.comms import ErrorResponse, TaskStatesResult

        self.messages.append(type(message).__name__)
        if self.refusal is not None and self.messages[-1] == "ValidateInletsAndOutlets":
            detail = {"status_code": self.refusal, "message": "refused"}
            raise AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail))
        return TaskStatesResult(task_states=self.states)


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 shows the number of the try")
@pytest.mark.parametrize(
    ("refusal", "states", "local", "count"),
    [
        (None, {"run": {"task": "running"}}, LocalState("running"), 2),
        (None, {"run": {"task": None}}, LocalState(None), 2),
        (404, {"run": {"task": "running"}}, LocalState("running", replaced=True), 2),
        (410, {"run": {"task": "queued"}}, LocalState("queued", replaced=True), 2),
        (404, {}, LocalState(exists=False, replaced=True), 2),
        # Its token has expired while the worker was suspended, so that nothing else is answered.
        (401, {}, LocalState(replaced=True), 1),
        (403, {}, LocalState(replaced=True), 1),
        (500, {"run": {"task": "running"}}, LocalState("running"), 2),
    ],
)
def test_airflow_3_gets_a_request_with_the_id_of_the_try(
    monkeypatch: pytest.MonkeyPatch, refusal: int | None, states: dict[str, Any], local: LocalState, count: int
) -> None:
    from airflow.sdk.execution_time import task_runner

    supervisor = Supervisor(refusal, states)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    ti = SimpleNamespace(id=uuid4(), dag_id="dag", task_id="task", run_id="run", map_index=-1)
    assert state_of_try(ti) == local
    assert len(supervisor.messages) == count
