"""The sensor that waits for runs, tasks and task groups of a remote."""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseHook,
    TaskDeferred,
)
from airflow.providers.standard.sensors.external_task import ExternalTaskSensor

from astronomer_remote.api.protocol import errors
from astronomer_remote.api.waiting import waiter
from astronomer_remote.api.waiting.target import WaitResult
from astronomer_remote.compat import AIRFLOW_3, polls_before_reschedule
from astronomer_remote.exceptions import (
    AuthenticationFailed,
    DagNotFound,
    DagRunFailed,
    DagRunVanished,
    InvalidSettings,
    NotFound,
    NotSupported,
    RemoteError,
    UnexpectedReply,
)
from astronomer_remote.links import RemoteDagRunLink
from astronomer_remote.sensors.base import Limit
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.sensors.pool import RemotePoolSlotSensor
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import (
    DATE,
    AirflowRescheduleException,
    come_back,
    in_dag,
    local_task,
    only_event,
    restored,
    resume,
    through_the_database,
)

Start = Callable[..., FakeDeployment]

EXPECTED = {
    # Parameters of ExternalTaskSensor and their defaults, in the standard provider 1.21.
    "external_dag_id": inspect.Parameter.empty,
    "external_task_id": None,
    "external_task_ids": None,
    "external_task_group_id": None,
    "allowed_states": None,
    "skipped_states": None,
    "failed_states": None,
    "execution_delta": None,
    "execution_date_fn": None,
    "check_existence": False,
    "poll_interval": None,
    "deferrable": False,
}

BOTH_MODES = pytest.mark.parametrize("deferrable", [False, True], ids=["poke", "deferred"])
TODAY = DATE.isoformat()


def sensor(**arguments: Any) -> RemoteDagRunSensor:
    defaults = {"external_dag_id": "quick", "poke_interval": 0.01, "timeout": 0.1}
    made: RemoteDagRunSensor = in_dag(RemoteDagRunSensor, **{**defaults, **arguments})
    return made


def pool_sensor(**arguments: Any) -> RemotePoolSlotSensor:
    defaults = {"pool_name": "default_pool", "slots": 1000, "poke_interval": 0.01, "timeout": 0.1}
    made: RemotePoolSlotSensor = in_dag(RemotePoolSlotSensor, **{**defaults, **arguments})
    return made


BOTH_SENSORS = pytest.mark.parametrize("make", [sensor, pool_sensor], ids=["run", "pool"])


def run(made: Any, context: Any = None, **facts: Any) -> Any:
    """Run a sensor to its end, through its deferral if there is one."""
    context = context or local_task(made, **facts).context()
    try:
        return made.execute(context)
    except TaskDeferred as deferred:
        return resume(deferred, made, context)


def parameters_of(cls: type) -> dict[str, Any]:
    known = inspect.signature(cls.__init__).parameters.values()
    return {each.name: each.default for each in known if each.kind is each.KEYWORD_ONLY}


# Like Airflow's own


def test_it_has_the_parameters_and_defaults_of_airflows_own() -> None:
    ours = parameters_of(RemoteDagRunSensor)
    assert {name: ours[name] for name in EXPECTED} == EXPECTED


def test_airflows_own_has_no_others() -> None:
    assert parameters_of(ExternalTaskSensor) == EXPECTED


def test_all_that_airflows_own_renders_is_rendered() -> None:
    assert set(ExternalTaskSensor.template_fields) <= set(RemoteDagRunSensor.template_fields)


@pytest.mark.parametrize(
    ("arguments", "interval"),
    [
        # In Airflow 2.11 the triggerer takes poll_interval, in Airflow 3 poke_interval stands in for it.
        ({"poll_interval": 7, "deferrable": True}, 7),
        ({"poll_interval": 7, "poke_interval": 5, "deferrable": True}, 7),
        ({"poll_interval": timedelta(seconds=7), "deferrable": True}, 7),
        ({"poll_interval": 7}, 7),
        ({"poll_interval": 7, "poke_interval": 5}, 5),
        ({"poke_interval": 5, "deferrable": True}, 5),
    ],
)
def test_poll_interval_is_the_interval_of_the_triggerer(arguments: dict[str, Any], interval: float) -> None:
    made = in_dag(RemoteDagRunSensor, external_dag_id="quick", **arguments)
    assert made.poke_interval == interval


@pytest.mark.parametrize("poll_interval", [0, -1, "often", float("inf")])
def test_a_poll_interval_that_makes_no_sense_fails(poll_interval: Any) -> None:
    with pytest.raises(InvalidSettings, match="poll_interval"):
        in_dag(RemoteDagRunSensor, external_dag_id="quick", poll_interval=poll_interval)


# Making one


def test_making_one_sends_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a request while a DAG file is parsed")

    monkeypatch.setattr(BaseHook, "get_connection", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    made = sensor(check_existence=True, deferrable=True, execution_delta=timedelta(days=1))
    stored = through_the_database(made.dag).get_task("local_task")
    assert [link.name for link in stored.operator_extra_links] == [RemoteDagRunLink.name]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"external_dag_id": ""}, "external_dag_id"),
        ({"external_dag_id": "a/b"}, "external_dag_id"),
        ({"external_task_id": "a", "external_task_ids": ["b"]}, "Only one of"),
        ({"external_task_id": "a", "external_task_group_id": "b"}, "Only one of"),
        ({"external_run_id": "r", "latest_run": True}, "Only one of"),
        ({"external_run_id": "r", "execution_delta": timedelta(1)}, "Only one of"),
        ({"execution_delta": timedelta(1), "execution_date_fn": lambda date: date}, "Only one of"),
        ({"allowed_states": ["done"]}, "'done'"),
        ({"allowed_states": ["skipped"]}, "'skipped'"),
        ({"external_task_id": "a", "failed_states": ["broken"]}, "'broken'"),
        ({"failed_states": "failed"}, "failed_states must be a list"),
        ({"match_by": "start_date"}, "match_by='start_date' must be one of"),
        ({"match_by": "data_interval_end", "latest_run": True}, "match_by means nothing"),
        ({"failed_states": ["{{ 'failed' }}"]}, "failed_states is not templated"),
        ({"external_task_ids": ["a/b"]}, "external_task_ids"),
        ({"external_task_ids": "task"}, "external_task_ids must be a list"),
        ({"allowed_states": ["failed"], "failed_states": ["failed"]}, "only one of allowed_states"),
    ],
)
def test_what_is_wrong_is_refused_while_the_dag_is_parsed(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSettings, match=said):
        sensor(**arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"external_task_ids": ["a", "a"]}, "twice"),
        ({"external_task_ids": "{{ ['a/b'] }}"}, "external_task_ids"),
        ({"external_task_ids": "{{ 'a' }}"}, "external_task_ids must be a list"),
        ({"execution_date_fn": lambda date: []}, "no date"),
        ({"execution_date_fn": lambda date: "sometime"}, "not a date"),
        ({"external_dag_id": "{{ '..' }}"}, "external_dag_id"),
    ],
)
@BOTH_MODES
def test_what_turns_out_wrong_is_refused_before_the_first_request(
    remote: FakeDeployment, arguments: dict[str, Any], said: str, deferrable: bool
) -> None:
    made = sensor(**arguments, deferrable=deferrable)
    made.render_template_fields(local_task(made).context())
    with pytest.raises(InvalidSettings, match=said):
        run(made)
    assert remote.requests == []


def test_every_templated_field_is_rendered() -> None:
    for name in RemoteDagRunSensor.template_fields:
        template: Any = "{{ params.greeting }}"
        made = sensor(**{name: [template] if name == "external_task_ids" else template})
        made.render_template_fields(local_task(made).context())
        assert getattr(made, name) == (["hello"] if name == "external_task_ids" else "hello")


# Which run


@BOTH_MODES
def test_it_waits_for_the_run_of_the_same_date(any_remote: FakeDeployment, deferrable: bool) -> None:
    any_remote.add_run("quick", "other", logical_date="2026-05-03T00:00:00Z")
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(deferrable=deferrable))
    any_remote.add_run("quick", "same", logical_date=TODAY)
    run(sensor(deferrable=deferrable))


@pytest.mark.parametrize(
    "which",
    [
        {"execution_delta": timedelta(days=1)},
        {"execution_date_fn": lambda date: date - timedelta(days=1)},
        {"execution_date_fn": lambda date, params: date - timedelta(days=len(params))},
        {"execution_date_fn": lambda date, **context: context["dag_run"].logical_date - timedelta(days=1)},
        {"execution_date_fn": lambda date, context: context["logical_date"] - timedelta(days=1)},
        {"execution_date_fn": lambda date: [date - timedelta(days=1)]},
        {"execution_date_fn": lambda date: "2026-05-03"},
    ],
)
@BOTH_MODES
def test_the_date_may_be_another(remote: FakeDeployment, which: dict[str, Any], deferrable: bool) -> None:
    made = sensor(**which, deferrable=deferrable)
    with pytest.raises(AirflowSensorTimeout):
        run(made)
    remote.add_run("quick", "yesterday", logical_date="2026-05-03T00:00:00Z")
    run(sensor(**which, deferrable=deferrable))


@BOTH_MODES
def test_of_several_dates_every_one_is_waited_for(any_remote: FakeDeployment, deferrable: bool) -> None:
    def both(date: datetime) -> list[datetime]:
        return [date, date - timedelta(days=1)]

    any_remote.add_run("quick", "today", logical_date=TODAY)
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(execution_date_fn=both, deferrable=deferrable))
    any_remote.add_run("quick", "yesterday", logical_date="2026-05-03T00:00:00Z")
    run(sensor(execution_date_fn=both, deferrable=deferrable))


def test_a_local_run_without_a_logical_date_has_the_date_it_was_to_run_after(remote: FakeDeployment) -> None:
    local_run: dict[str, Any] = {"logical_date": None, "run_after": datetime(2026, 2, 2, tzinfo=timezone.utc)}
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(), **local_run)
    remote.add_run("quick", "then", logical_date="2026-02-02T00:00:00Z")
    run(sensor(), **local_run)


@BOTH_MODES
def test_the_run_may_be_named(any_remote: FakeDeployment, deferrable: bool) -> None:
    any_remote.add_run("quick", "mine", logical_date="2021-01-01T00:00:00Z")
    run(sensor(external_run_id="mine", deferrable=deferrable))
    with pytest.raises(AirflowSensorTimeout, match=r"quick|timed out"):
        run(sensor(external_run_id="other", deferrable=deferrable))


@BOTH_MODES
def test_the_run_may_be_the_newest(any_remote: FakeDeployment, deferrable: bool) -> None:
    any_remote.add_run("bad", "old", logical_date="2021-01-01T00:00:00Z")
    any_remote.add_run("bad", "new", state="failed", logical_date="2021-01-02T00:00:00Z")
    with pytest.raises(DagRunFailed, match="new"):
        run(sensor(external_dag_id="bad", latest_run=True, failed_states=["failed"], deferrable=deferrable))


@BOTH_MODES
def test_the_newest_run_stays_the_one_that_was_newest(remote: FakeDeployment, deferrable: bool) -> None:
    remote.add_dag("slow", polls=3)
    remote.add_run("slow", "first", state="running", logical_date="2021-01-01T00:00:00Z")
    made = sensor(external_dag_id="slow", latest_run=True, deferrable=deferrable, timeout=30)
    context = local_task(made).context()
    polled = made._snapshot  # what happens in the remote between two polls

    def poll(*arguments: Any) -> Any:
        found = polled(*arguments)
        if len(remote.runs("slow")) == 1:
            remote.add_run("slow", "second", state="running", logical_date="2021-01-02T00:00:00Z")
            remote.add_dag("slow", stays="running")
            remote.finish("slow", "first")
        return found

    made._snapshot = poll  # type: ignore[method-assign]
    run(made, context)
    assert context["ti"].xcoms["trigger_run_id"] == "first"


# Runs of another generation, which dates them otherwise

YESTERDAY = "2026-05-03T00:00:00Z"
TOMORROW = "2026-05-05T00:00:00Z"


def said(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> str:
    """What went to the log, wherever this Airflow writes it."""
    captured = capsys.readouterr()
    return captured.out + captured.err + caplog.text


@BOTH_MODES
@pytest.mark.parametrize("version", ["2.4.0", "2.11.2", "3.0.6", "3.3.2"])
def test_runs_may_be_matched_by_the_end_of_their_data_interval(start: Start, version: str, deferrable: bool) -> None:
    remote = start(version)
    remote.add_dag("quick", tasks=["hello"], stays="running")
    # Airflow 2 dates it by the start of its interval, Airflow 3 by the end.
    date = YESTERDAY if version < "3" else TODAY
    waits: dict[str, Any] = {"match_by": "data_interval_end", "deferrable": deferrable}
    for number in range(25):
        remote.add_run("quick", f"by hand {number}", logical_date=date, data_interval=(YESTERDAY, TODAY))
    remote.add_run("quick", "scheduled__before", logical_date="2026-05-02T00:00:00Z", data_interval=(YESTERDAY,) * 2)
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(**waits))
    remote.add_run("quick", "scheduled__it", state="running", logical_date=date, data_interval=(YESTERDAY, TODAY))
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(**waits))
    remote.finish("quick", "scheduled__it")
    run(sensor(**waits))
    run(sensor(**waits, external_task_id="hello"))


@BOTH_MODES
def test_the_local_runs_data_interval_may_end_later_than_its_date(remote: FakeDeployment, deferrable: bool) -> None:
    remote.add_run("quick", "scheduled__it", logical_date=TODAY, data_interval=(TODAY, TODAY))
    made = sensor(match_by="data_interval_end", deferrable=deferrable)
    local = local_task(made, logical_date=datetime(2026, 5, 3, tzinfo=timezone.utc))
    run(made, {**local.context(), "data_interval_end": DATE})
    delayed = sensor(match_by="data_interval_end", deferrable=deferrable, execution_delta=timedelta(days=1))
    run(delayed, {**local_task(delayed).context(), "data_interval_end": DATE + timedelta(days=1)})


@BOTH_MODES
@pytest.mark.parametrize("version", ["1.10.15", "2.3.4"])
def test_data_intervals_cannot_be_seen_before_2_4(start: Start, version: str, deferrable: bool) -> None:
    start(version).add_dag("quick")
    with pytest.raises(NotSupported, match=r"2\.4"):
        run(sensor(match_by="data_interval_end", deferrable=deferrable))


@BOTH_MODES
@pytest.mark.parametrize("version", ["1.10.15", "2.11.2", "3.3.2"])
def test_a_wait_that_finds_nothing_logs_once_the_runs_near_the_date(
    start: Start, version: str, deferrable: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    remote = start(version)
    remote.add_dag("quick")
    remote.add_run("quick", "long before", logical_date="2026-05-01T00:00:00Z")
    remote.add_run("quick", "the day before", logical_date=YESTERDAY)
    remote.add_run("quick", "the day after", logical_date=TOMORROW)
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(deferrable=deferrable, poke_interval=0.05, timeout=1))
    log = said(capsys, caplog)
    assert "'the day before' of 2026-05-03T00:00:00Z, which an execution_delta would fit that is longer by 1 day" in log
    assert "'the day after' of 2026-05-05T00:00:00Z, which an execution_delta would fit that is shorter by 1 day" in log
    assert "timedelta(seconds=86400)" in log
    assert "long before" not in log
    assert ("match_by='data_interval_end'" in log) is (version != "1.10.15")
    lines = {line for line in log.splitlines() if "no run of 2026-05-04" in line}
    assert len(lines) in (1, 2), "once, in each of the two places where a log may go"


@pytest.mark.parametrize("earlier", [0, 1, 2, 3])
def test_a_rescheduled_wait_logs_it_at_its_third_poll(
    remote: FakeDeployment,
    earlier: int,
    not_rescheduled_yet: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = sensor(mode="reschedule", timeout=60)
    monkeypatch.setattr(sys.modules[RemoteDagRunSensor.__module__], "polls_before_reschedule", lambda _: earlier)
    with pytest.raises(AirflowRescheduleException):
        made.execute(local_task(made).context())
    assert ("no run near" in said(capsys, caplog)) is (earlier == 2)


def test_how_often_a_sensor_was_rescheduled_is_read_from_airflow(database: None) -> None:
    context = local_task(sensor(mode="reschedule")).context()
    assert polls_before_reschedule({**context, "task_reschedule_count": 2}) == (2 if AIRFLOW_3 else 0)
    assert polls_before_reschedule(context) == 0


@BOTH_MODES
@pytest.mark.parametrize(
    ("dag_id", "which", "expected"),
    [
        ("quick", {}, "has no run near 2026-05-04T00:00:00Z yet"),
        ("quick", {"match_by": "data_interval_end"}, "whose data interval ends at 2026-05-04T00:00:00Z"),
        ("nowhere", {}, "has no such DAG yet, or does not show it to this account: 'nowhere'"),
        ("nowhere", {"latest_run": True}, "has no such DAG yet, or does not show it to this account: 'nowhere'"),
    ],
)
def test_a_wait_that_finds_nothing_logs_why(
    start: Start,
    dag_id: str,
    which: dict[str, Any],
    expected: str,
    deferrable: bool,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    remote = start("2.11.2")
    remote.add_dag("quick")
    if which:
        remote.add_run("quick", "scheduled__x", logical_date=YESTERDAY, data_interval=(YESTERDAY, YESTERDAY))
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(**which, external_dag_id=dag_id, deferrable=deferrable, poke_interval=0.05, timeout=1))
    assert expected in said(capsys, caplog)


# What counts


@BOTH_MODES
def test_nothing_found_is_never_success(any_remote: FakeDeployment, deferrable: bool) -> None:
    for which in ({}, {"latest_run": True}, {"external_task_id": "hello"}):
        with pytest.raises(AirflowSensorTimeout):
            run(sensor(**which, deferrable=deferrable))


@BOTH_MODES
def test_a_failed_run_is_waited_for_unless_failed_states_contains_it(
    any_remote: FakeDeployment, deferrable: bool
) -> None:
    any_remote.add_run("bad", "today", state="failed", logical_date=TODAY)
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(external_dag_id="bad", deferrable=deferrable))
    with pytest.raises(DagRunFailed, match="failed") as caught:
        run(sensor(external_dag_id="bad", failed_states=["failed"], deferrable=deferrable))
    assert any_remote.url in str(caught.value)
    assert not isinstance(caught.value, AirflowFailException)
    run(sensor(external_dag_id="bad", allowed_states=["failed"], deferrable=deferrable))


@BOTH_MODES
def test_a_skipped_state_skips(remote: FakeDeployment, deferrable: bool) -> None:
    remote.add_dag("parts", tasks=["a", "b"])
    remote.add_run("parts", "today", logical_date=TODAY)
    remote.set_task_state("parts", "today", "a", "skipped")
    made = sensor(
        external_dag_id="parts", external_task_ids=["a", "b"], skipped_states=["skipped"], deferrable=deferrable
    )
    with pytest.raises(AirflowSkipException, match="skipped"):
        run(made)


@BOTH_MODES
def test_an_unknown_state_keeps_waiting(remote: FakeDeployment, deferrable: bool) -> None:
    remote.add_dag("odd", stays="pondering")
    remote.add_run("odd", "today", state="running", logical_date=TODAY)
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(external_dag_id="odd", failed_states=["failed"], deferrable=deferrable))


@BOTH_MODES
def test_a_task_may_end_before_its_run(any_remote: FakeDeployment, deferrable: bool) -> None:
    any_remote.add_dag("parts", tasks=["a", "b"], stays="running")
    any_remote.add_run("parts", "today", state="running", logical_date=TODAY)
    waits: dict[str, Any] = {"external_dag_id": "parts", "external_task_id": "a", "deferrable": deferrable}
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(**waits))
    any_remote.set_task_state("parts", "today", "a", "success")
    run(sensor(**waits))
    any_remote.set_task_state("parts", "today", "a", "upstream_failed")
    with pytest.raises(DagRunFailed, match="upstream_failed"):
        run(sensor(**waits, failed_states=["failed", "upstream_failed"]))


@BOTH_MODES
def test_of_several_tasks_every_one_is_waited_for_and_any_failure_fails(
    any_remote: FakeDeployment, deferrable: bool
) -> None:
    any_remote.add_dag("parts", tasks=["a", "b"], stays="running")
    any_remote.add_run("parts", "today", state="running", logical_date=TODAY)
    any_remote.set_task_state("parts", "today", "a", "success")
    waits: dict[str, Any] = {"external_dag_id": "parts", "external_task_ids": ["a", "b"], "deferrable": deferrable}
    with pytest.raises(AirflowSensorTimeout):
        run(sensor(**waits))
    any_remote.set_task_state("parts", "today", "b", "failed")
    with pytest.raises(DagRunFailed):
        run(sensor(**waits, failed_states=["failed"]))


@BOTH_MODES
def test_a_task_group_may_have_skipped_tasks(start: Start, deferrable: bool) -> None:
    for version in ("2.11.2", "3.3.2"):
        remote = start(version)
        remote.add_dag("parts", tasks=["load.a", "load.b", "other"], stays="running")
        remote.add_run("parts", "today", state="running", logical_date=TODAY)
        remote.set_task_state("parts", "today", "load.a", "success")
        waits: dict[str, Any] = {
            "external_dag_id": "parts",
            "external_task_group_id": "load",
            "deferrable": deferrable,
        }
        with pytest.raises(AirflowSensorTimeout):
            run(sensor(**waits))
        remote.set_task_state("parts", "today", "load.b", "skipped")
        run(sensor(**waits))


@BOTH_MODES
def test_a_task_group_cannot_be_seen_in_1_10(start: Start, deferrable: bool) -> None:
    remote = start("1.10.15")
    remote.add_dag("parts", tasks=["load.a"])
    remote.add_run("parts", "today", logical_date=TODAY)
    with pytest.raises(NotSupported, match="task group"):
        run(sensor(external_dag_id="parts", external_task_group_id="load", deferrable=deferrable))


# Existence


NOT_THERE: list[dict[str, Any]] = [
    {},
    {"latest_run": True},
    {"external_run_id": "mine"},
    {"external_task_id": "hello", "external_run_id": "mine"},
    {"external_task_ids": ["hello"]},
    {"external_task_group_id": "group"},
]


@BOTH_MODES
@pytest.mark.parametrize("version", ["1.10.15", "2.2.5", "2.11.2", "3.0.6", "3.3.2"])
def test_a_dag_that_is_not_there_yet_is_waited_for(
    start: Start, version: str, deferrable: bool, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    remote = start(version)
    for which in NOT_THERE:
        if which.get("external_task_group_id") and version == "1.10.15":
            continue
        with pytest.raises(AirflowSensorTimeout):
            run(sensor(**which, external_dag_id="later", deferrable=deferrable))
    if not version.startswith("2"):  # there a listing of runs does not show it
        assert "has no such DAG" in capsys.readouterr().out + caplog.text
    made = sensor(external_dag_id="later", external_run_id="mine", deferrable=deferrable, timeout=30)
    context = local_task(made).context()
    polled = made._snapshot

    def poll(*arguments: Any) -> Any:
        found = polled(*arguments)
        remote.add_dag("later")
        remote.add_run("later", "mine")
        return found

    made._snapshot = poll  # type: ignore[method-assign]
    run(made, context)


@BOTH_MODES
def test_a_dag_that_goes_away_with_its_run_is_no_timeout(
    start: Start, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiter, "SECONDS_BEFORE_DELETED", 0.1)
    remote = start("1.10.15")
    remote.add_dag("slow", stays="running")
    remote.add_run("slow", "mine", state="running")
    made = sensor(external_dag_id="slow", external_run_id="mine", deferrable=deferrable, timeout=30)
    context = local_task(made).context()
    context["ti"].xcom_push = lambda key, value: remote.remove_dag("slow") if key == "remote_run_state" else None
    with pytest.raises(DagRunVanished):
        run(made, context)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ({"external_dag_id": "no_such_dag"}, DagNotFound),
        ({"external_task_id": "no_such_task"}, NotFound),
        ({"external_task_ids": ["hello", "no_such_task"]}, NotFound),
        ({"external_task_group_id": "no_such_group"}, NotFound),
    ],
)
@BOTH_MODES
@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_check_existence_fails_at_once_for_what_does_not_exist(
    start: Start, version: str, missing: dict[str, Any], expected: type[RemoteError], deferrable: bool
) -> None:
    start(version).add_dag("quick", tasks=["hello"])
    with pytest.raises(expected, match="no_such") as caught:
        run(sensor(**missing, check_existence=True, deferrable=deferrable))
    assert type(caught.value) is expected


def test_in_1_10_a_dag_and_a_task_can_be_checked(start: Start) -> None:
    remote = start("1.10.15")
    remote.add_dag("quick", tasks=["hello"])
    remote.add_run("quick", "today", logical_date=TODAY)
    run(sensor(external_task_id="hello", check_existence=True))
    for missing in ({"external_dag_id": "no_such_dag"}, {"external_task_id": "no_such_task"}):
        with pytest.raises(NotFound, match="no_such"):
            run(sensor(**missing, check_existence=True))


def test_existence_is_checked_once(remote: FakeDeployment) -> None:
    made = sensor(check_existence=True, external_task_id="hello")
    context = local_task(made).context()
    assert not made.poke(context)
    assert not made.poke(context)
    looks = [path for _, path in remote.requests]
    assert looks.count("/api/v2/dags/quick/tasks/hello") == 1
    assert looks.count("/api/v2/dags/quick/dagRuns") == 2


# Ending otherwise


@BOTH_MODES
def test_a_soft_failure_skips(remote: FakeDeployment, deferrable: bool) -> None:
    remote.add_run("bad", "today", state="failed", logical_date=TODAY)
    for arguments in ({"external_dag_id": "bad", "failed_states": ["failed"]}, {}):
        with pytest.raises(AirflowSkipException):
            run(sensor(**arguments, soft_fail=True, deferrable=deferrable))


@BOTH_MODES
@pytest.mark.parametrize("softly", ["soft_fail", "never_fail"])
def test_a_soft_failure_skips_whatever_the_first_poll_finds(
    remote: FakeDeployment, add_connection: Any, deferrable: bool, softly: str
) -> None:
    add_connection(**remote.connection(password="wrong"))
    with pytest.raises(AirflowSkipException):
        run(sensor(deferrable=deferrable, timeout=60, **{softly: True}))


@BOTH_MODES
def test_what_waiting_cannot_fix_fails_at_once(remote: FakeDeployment, add_connection: Any, deferrable: bool) -> None:
    add_connection(**remote.connection(password="wrong"))
    with pytest.raises(AuthenticationFailed):
        run(sensor(deferrable=deferrable, timeout=60))


@pytest.mark.usefixtures("no_pauses")
@BOTH_MODES
def test_a_remote_that_is_down_for_a_while_is_waited_for(remote: FakeDeployment, deferrable: bool) -> None:
    remote.add_run("quick", "today", logical_date=TODAY)
    remote.disturb(503, times=8)
    made = sensor(deferrable=deferrable, timeout=30)
    run(made)
    assert remote.requests[-1][0] == "GET"


@pytest.mark.usefixtures("no_pauses")
def test_a_remote_that_stays_down_ends_in_the_sensors_timeout(remote: FakeDeployment) -> None:
    remote.disturb(503, times=10_000)
    with pytest.raises(AirflowSensorTimeout):
        run(sensor())


@BOTH_MODES
def test_a_named_run_that_vanishes_is_no_timeout(
    remote: FakeDeployment, deferrable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiter, "SECONDS_BEFORE_DELETED", 0.1)
    remote.add_dag("slow", stays="running")
    remote.add_run("slow", "mine", state="running")
    made = sensor(external_dag_id="slow", external_run_id="mine", deferrable=deferrable, timeout=30)
    context = local_task(made).context()
    context["ti"].xcom_push = lambda key, value: remote.runs("slow") and remote.delete("slow", "mine")
    with pytest.raises(DagRunVanished):
        run(made, context)


def test_a_run_that_is_not_shown_for_a_moment_is_waited_for(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.add_dag("slow", stays="running")
    remote.add_run("slow", "mine", state="running")
    made = sensor(external_dag_id="slow", external_run_id="mine")
    context = local_task(made).context()
    assert made.poke(context) is False
    remote.disturb(404, times=1, path="/dagRuns/mine")
    assert made.poke(context) is False
    remote.finish("slow", "mine")
    assert made.poke(context) is True


# Limits


@BOTH_SENSORS
def test_a_deferred_wait_ends_with_the_earlier_limit(remote: FakeDeployment, make: Any) -> None:
    short, long = timedelta(seconds=0.2), timedelta(hours=1)
    began = time.monotonic()
    with pytest.raises(AirflowTaskTimeout, match=r"execution_timeout of 0\.2 s"):
        run(make(deferrable=True, execution_timeout=short, timeout=3600))
    with pytest.raises(AirflowSensorTimeout, match=r"timeout of 0\.2 s") as caught:
        run(make(deferrable=True, execution_timeout=long, timeout=0.2))
    assert time.monotonic() - began < 30
    assert "no such run" not in str(caught.value)


@BOTH_SENSORS
@pytest.mark.parametrize("softly", ["soft_fail", "never_fail"])
def test_an_execution_timeout_skips_softly(remote: FakeDeployment, make: Any, softly: str) -> None:
    with pytest.raises(AirflowSkipException, match=softly):
        run(make(deferrable=True, execution_timeout=timedelta(seconds=0.2), timeout=3600, **{softly: True}))


@BOTH_SENSORS
@BOTH_MODES
def test_without_time_it_polls_once(remote: FakeDeployment, make: Any, deferrable: bool) -> None:
    made = make(deferrable=deferrable, timeout=0)
    with pytest.raises(AirflowSensorTimeout):
        made.execute(local_task(made).context())
    assert remote.requests
    made = make(deferrable=deferrable, timeout=0, soft_fail=True)
    with pytest.raises(AirflowSkipException):
        made.execute(local_task(made).context())


@BOTH_SENSORS
@BOTH_MODES
@pytest.mark.parametrize(
    ("softly", "expected"),
    [
        ({}, AirflowNotFoundException),
        ({"soft_fail": True}, AirflowNotFoundException),
        ({"never_fail": True}, AirflowSkipException),
    ],
    ids=["plain", "soft", "never"],
)
def test_a_missing_connection_is_the_same_in_both_modes(
    make: Any, deferrable: bool, softly: dict[str, Any], expected: type[Exception]
) -> None:
    with pytest.raises(expected):
        run(make(deferrable=deferrable, astronomer_conn_id="nowhere", timeout=30, **softly))


@BOTH_SENSORS
@pytest.mark.parametrize("softly", [{}, {"soft_fail": True}], ids=["plain", "soft"])
def test_a_connection_that_only_the_triggerer_lacks_is_no_soft_failure(
    remote: FakeDeployment, make: Any, softly: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(deferrable=True, timeout=30, **softly)
    context = local_task(made).context()
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(context)
    monkeypatch.delenv("AIRFLOW_CONN_ASTRONOMER_DEFAULT")
    with pytest.raises(AirflowNotFoundException, match="astronomer_default"):
        resume(deferred.value, made, context)


RULES = [
    # What BaseSensorOperator makes of an error of a poll, where the sensor waits in a worker.
    ({}, AirflowFailException("for good"), AirflowFailException),
    ({"soft_fail": True}, AirflowFailException("for good"), AirflowSkipException),
    ({"never_fail": True}, AirflowFailException("for good"), AirflowSkipException),
    ({"silent_fail": True}, AirflowFailException("for good"), AirflowFailException),
    ({}, AirflowException("perhaps"), AirflowException),
    ({"soft_fail": True}, AirflowException("perhaps"), AirflowException),
    ({"never_fail": True}, AirflowException("perhaps"), AirflowSkipException),
    ({"silent_fail": True}, AirflowException("perhaps"), None),
    ({"silent_fail": True, "never_fail": True}, AirflowException("perhaps"), None),
    ({"silent_fail": True, "soft_fail": True}, AirflowException("perhaps"), None),
    ({"silent_fail": True}, AirflowSkipException("skip"), AirflowSkipException),
    ({"silent_fail": True}, AirflowTaskTimeout("time"), AirflowTaskTimeout),
    ({"soft_fail": True}, AirflowSensorTimeout("time"), AirflowSkipException),
]


@pytest.mark.parametrize(
    ("softly", "error", "expected"),
    RULES,
    ids=[f"{'+'.join(softly)} {type(error).__name__}" for softly, error, _ in RULES],
)
@pytest.mark.parametrize("where", ["a worker", "the poll before a deferral", "the triggerer"])
@BOTH_SENSORS
def test_an_error_ends_a_wait_by_the_same_rules_wherever_it_comes_up(
    remote: FakeDeployment,
    make: Any,
    where: str,
    softly: dict[str, Any],
    error: Exception,
    expected: type[Exception] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remote.add_run("quick", "today", logical_date=TODAY)
    made = make(deferrable=where != "a worker", timeout=600, poke_interval=0.01, **softly)
    context = local_task(made).context()
    failures = [error]

    def fail(*_: Any, **__: Any) -> bool:
        if failures:
            raise failures.pop()
        return True

    def wait() -> Any:
        if where == "the triggerer":
            monkeypatch.setattr(type(made), "execute_complete", fail)
            return made.resume_execution("execute_complete", {"event": {}, "limited_by": "timeout"}, context)
        monkeypatch.setattr(type(made), "poke", fail)
        monkeypatch.setattr(type(made), "poll", fail)
        return made.execute(context)

    if expected is not None:
        with pytest.raises(expected) as caught:
            wait()
        assert type(caught.value) is expected
    elif where == "a worker":
        wait()
    else:
        with pytest.raises(TaskDeferred) as deferred:
            wait()
        # It polls again when its next poll is due, and keeps its deadline.
        _, arguments = deferred.value.trigger.serialize()
        assert arguments["deadline"] == pytest.approx(time.time() + 600, abs=60)
        monkeypatch.undo()
    assert not failures


@BOTH_SENSORS
def test_a_wait_that_continues_silently_keeps_its_deadline_and_polls_an_interval_later(
    remote: FakeDeployment, make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make(deferrable=True, timeout=600, poke_interval=30, silent_fail=True)
    context = local_task(made).context()
    with pytest.raises(TaskDeferred) as first:
        made.execute(context)
    event = WaitResult.of_error(errors.Unreachable("No reply")).as_dict()
    with pytest.raises(TaskDeferred) as second:
        come_back(first.value, made, context, event)
    before, after = (deferred.value.trigger.serialize()[1] for deferred in (first, second))
    assert before["begin"] is None
    assert after["begin"] == pytest.approx(time.time() + 30, abs=10)
    assert after["deadline"] == before["deadline"]
    # There was no poll in the meantime, so it may have ended at any moment.
    assert after["target"].get("since", 0.0) == 0.0
    assert second.value.kwargs["deadline"] == before["deadline"]
    monkeypatch.setattr(time, "time", lambda: before["deadline"] + 1)
    with pytest.raises(AirflowSensorTimeout):
        come_back(second.value, made, context, event)


@BOTH_SENSORS
def test_a_trigger_polls_first_at_its_begin(remote: FakeDeployment, make: Any) -> None:
    remote.add_run("quick", "today", logical_date=TODAY)
    made = make(deferrable=True, timeout=600, silent_fail=True, **({"slots": 1} if make is pool_sensor else {}))
    context = local_task(made).context()
    before = len(remote.requests)
    with pytest.raises(TaskDeferred) as deferred:
        made._poll_and_defer(context, Limit(time.time() + 60, "timeout"), time.time() + 0.3)
    assert len(remote.requests) == before
    began = time.monotonic()
    asyncio.run(only_event(restored(deferred.value.trigger)))
    assert time.monotonic() - began >= 0.25


def test_a_run_that_finished_while_its_sensor_could_not_poll_is_found(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.add_run("quick", "today", logical_date=TODAY)
    made = sensor(deferrable=True, timeout=600)
    monkeypatch.setattr(type(made), "_snapshot", lambda *_: None)
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(local_task(made).context())
    assert deferred.value.trigger.serialize()[1]["target"]["since"] == 0.0


# Modes


def test_in_reschedule_mode_it_gives_its_slot_back(remote: FakeDeployment, not_rescheduled_yet: None) -> None:
    made = sensor(mode="reschedule", poke_interval=30, timeout=60)
    task = local_task(made)
    with pytest.raises(AirflowRescheduleException) as again:
        made.execute(task.context())
    assert again.value.reschedule_date > datetime.now(timezone.utc) + timedelta(seconds=10)
    remote.add_run("quick", "today", logical_date=TODAY)
    made.execute(task.context())


def test_it_polls_once_before_it_defers(any_remote: FakeDeployment) -> None:
    any_remote.add_run("quick", "today", logical_date=TODAY)
    made = sensor(deferrable=True)
    assert made.execute(local_task(made).context()) is None


@BOTH_MODES
def test_it_returns_nothing_whenever_it_succeeds(remote: FakeDeployment, deferrable: bool) -> None:
    remote.add_run("quick", "today", logical_date=TODAY)
    assert run(sensor(deferrable=deferrable)) is None
    remote.add_dag("slow", polls=3)
    remote.add_run("slow", "mine", state="running")
    assert run(sensor(external_dag_id="slow", external_run_id="mine", deferrable=deferrable, timeout=30)) is None
    assert run(pool_sensor(slots=1, deferrable=deferrable)) is None


def test_it_defers_with_plain_arguments_and_an_absolute_deadline(remote: FakeDeployment) -> None:
    made = sensor(deferrable=True, timeout=3600, failed_states=["failed"])
    before = datetime.now(timezone.utc).timestamp()
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(local_task(made).context())
    path, arguments = deferred.value.trigger.serialize()
    assert path == "astronomer_remote.triggers.wait.RemoteWaitTrigger"
    assert json.loads(json.dumps(arguments)) == arguments
    assert 0 <= arguments["deadline"] - before - 3600 < 60
    assert arguments["cancel_on_kill"] is False
    assert "admin" not in str(arguments)


def test_the_run_that_it_waits_for_is_in_xcom(any_remote: FakeDeployment) -> None:
    any_remote.add_run("quick", "today", logical_date=TODAY)
    made = sensor()
    task = local_task(made)
    made.execute(task.context())
    assert task.xcoms["trigger_run_id"] == "today"
    assert task.xcoms["remote_run_url"].startswith(any_remote.url)


def test_a_poll_pushes_only_what_has_changed(remote: FakeDeployment) -> None:
    remote.add_dag("slow", stays="running")
    remote.add_run("slow", "mine", state="running")
    made = sensor(external_dag_id="slow", external_run_id="mine")
    task = local_task(made)
    assert [made.poke(task.context()), made.poke(task.context())] == [False, False]
    remote.finish("slow", "mine")
    assert made.poke(task.context())
    assert [key for key, _ in task.pushed] == ["trigger_run_id", "remote_run_url"] + ["remote_run_state"] * 2
    assert [value for key, value in task.pushed if key == "remote_run_state"] == ["running", "success"]


@pytest.mark.parametrize("event", [None, "success", {}, {"status": "splendid", "summary": "", "run": None}])
def test_an_event_that_is_not_ours_is_an_error(event: Any) -> None:
    made = sensor(deferrable=True)
    with pytest.raises(UnexpectedReply, match="event"):
        made.execute_complete(local_task(made).context(), event=event)


def test_an_error_in_the_triggerer_comes_back_as_itself() -> None:
    made = sensor(deferrable=True)
    event = {"status": None, "summary": "what happened", "run": None, "error": "AuthenticationFailed"}
    with pytest.raises(AuthenticationFailed, match="what happened"):
        made.execute_complete(local_task(made).context(), event=event)
