"""Operators and sensors for assets of another deployment."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    Asset,
    TaskDeferred,
)

from astronomer_remote.api.client import client
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.compat import AIRFLOW_3
from astronomer_remote.exceptions import InvalidSettings, NotFound, NotSupported, RemoteUnavailable, UnexpectedReply
from astronomer_remote.operators.asset import RemoteAssetEventOperator
from astronomer_remote.sensors.asset import RemoteAssetSensor
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.sensors.pool import RemotePoolSlotSensor
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import (
    AirflowRescheduleException,
    LocalRun,
    in_dag,
    local_task,
    only_event,
    restored,
    resume,
    through_the_database,
    to_the_end,
)

Start = Callable[..., FakeDeployment]

KEY = "astronomer_remote_intent"
URI = "s3://shop/orders"


@pytest.fixture(params=["2.11.2", "3.3.2"])
def shop(request: pytest.FixtureRequest, start: Start) -> FakeDeployment:
    """A remote with an asset."""
    remote = start(request.param)
    remote.add_asset(URI)
    return remote


def emit(**arguments: Any) -> Any:
    """Run the operator. :param arguments: of it; ``task`` has those of the local task instance."""
    facts = arguments.pop("task", {})
    made = in_dag(RemoteAssetEventOperator, **{"asset": URI, "retries": 2, **arguments})
    task = local_task(made, **facts)
    return made.execute(task.context())


def test_an_event_is_registered_and_returned(shop: FakeDeployment) -> None:
    event = emit(extra={"rows": 7})
    (registered,) = shop.asset_events(URI)
    assert event["extra"] == registered["extra"]
    assert registered["extra"].keys() == {"rows", KEY, "from_rest_api"}
    assert event["uri"] == URI
    assert event["event_id"] == 1


@pytest.mark.parametrize("given", [{"asset": Asset(URI)}, {"uri": URI, "asset": None}, {"asset": URI}])
def test_an_asset_is_an_object_a_uri_or_either(shop: FakeDeployment, given: dict[str, Any]) -> None:
    emit(**given)
    assert len(shop.asset_events(URI)) == 1


def test_an_asset_of_airflow_3_has_a_name(start: Start) -> None:
    remote = start("3.3.2")
    remote.add_asset(URI, name="orders")
    emit(asset="orders")
    assert len(remote.asset_events(URI)) == 1


def test_a_retry_finds_the_event_of_the_attempt_before(shop: FakeDeployment) -> None:
    first = emit()
    second = emit(task={"try_number": 2})
    assert first == second
    assert len(shop.asset_events()) == 1


def test_a_clear_registers_a_new_event(shop: FakeDeployment, no_pauses: None) -> None:
    for number, most in ((1, 2), (2, 3)):
        emit(task={"try_number": number, "max_tries": most})
    marks = [event["extra"][KEY] for event in shop.asset_events()]
    assert len(set(marks)) == 2


def test_each_mapped_task_registers_its_own(shop: FakeDeployment) -> None:
    for index in range(3):
        emit(task={"map_index": index})
    assert len({event["extra"][KEY] for event in shop.asset_events()}) == 3


@pytest.mark.parametrize("status", [500, 503, None])
def test_a_lost_reply_or_an_error_makes_no_second_event(
    shop: FakeDeployment, status: int | None, no_pauses: None
) -> None:
    shop.disturb(status, method="POST", path="events")
    emit()
    assert len(shop.asset_events()) == 1


def test_a_remote_that_stays_broken_fails_the_task(
    shop: FakeDeployment, no_pauses: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RetryPolicy", partial(RetryPolicy, total_seconds=3))
    shop.disturb(503, times=1000, path="sets")
    shop.disturb(503, times=1000, path="asset")
    with pytest.raises(RemoteUnavailable):
        emit()
    assert shop.asset_events() == []


def test_an_unknown_asset_names_similar_ones(shop: FakeDeployment) -> None:
    with pytest.raises(NotFound, match="Similar ones are: 's3://shop/orders'"):
        emit(asset="s3://shop/order")


def test_a_remote_that_cannot_fails_the_task(start: Start) -> None:
    start("2.8.4").add_asset(URI)
    with pytest.raises(NotSupported, match=r"Airflow 2\.8\.4 cannot register a dataset event"):
        emit()


def test_a_partition_of_an_event(start: Start) -> None:
    remote = start("3.3.2")
    remote.add_asset(URI)
    assert emit(partition_key="2026-11-01")["partition_key"] == "2026-11-01"


def test_values_are_templates(shop: FakeDeployment) -> None:
    arguments = {"asset": "s3://shop/{{ params.greeting }}", "extra": '{"who": "{{ params.greeting }}"}'}
    shop.add_asset("s3://shop/hello")
    made = in_dag(RemoteAssetEventOperator, **arguments)
    task = local_task(made)
    made.render_template_fields(task.context())
    assert made.execute(task.context())["extra"]["who"] == "hello"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({}, "exactly one of asset and uri"),
        ({"asset": URI, "uri": URI}, "exactly one of asset and uri"),
        ({"asset": [URI]}, "asset must be a text, not"),
        ({"asset": URI, "extra": "{"}, "extra must be a JSON object"),
        ({"asset": URI, "extra": [1]}, "extra must be a JSON object"),
    ],
)
def test_what_is_wrong_is_found_while_the_dag_is_parsed(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidSettings, match=error):
        in_dag(RemoteAssetEventOperator, **arguments)


def test_a_template_that_renders_to_nothing_is_an_error(shop: FakeDeployment) -> None:
    made = in_dag(RemoteAssetEventOperator, asset="{{ none }}")
    made.asset = "None"
    with pytest.raises(InvalidSettings, match="exactly one of asset and uri"):
        made.execute(local_task(made).context())


# The sensor


def sense(**arguments: Any) -> Any:
    """The sensor and its local task."""
    facts = arguments.pop("task", {})
    started = facts.pop("run_started", None)
    made = in_dag(RemoteAssetSensor, **{"asset": URI, "poke_interval": 0.1, "timeout": 20, **arguments})
    task = local_task(made, **facts)
    if started:
        task.run = LocalRun(start_date=started)
    return made, task


@pytest.mark.skipif(AIRFLOW_3, reason="only Airflow 2 warns about nested calls of execute")
@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("kind", [RemoteAssetSensor, RemoteDagRunSensor, RemotePoolSlotSensor])
def test_no_sensor_looks_like_a_call_outside_of_a_task(
    shop: FakeDeployment, monkeypatch: pytest.MonkeyPatch, kind: Any, deferrable: bool
) -> None:
    from airflow.models import baseoperator

    monkeypatch.setattr(baseoperator.ExecutorSafeguard, "test_mode", False)
    shop.add_dag("d")
    shop.add_run("d", "r")
    shop.add_pool("p", 1)
    shop.add_asset_event(URI)
    of = {
        RemoteAssetSensor: {"asset": URI, "since": "2020-01-01"},
        RemoteDagRunSensor: {"external_dag_id": "d", "external_run_id": "r"},
        RemotePoolSlotSensor: {"pool_name": "p"},
    }
    made = in_dag(kind, **of[kind], deferrable=deferrable, allow_nested_operators=False)
    # As Airflow calls it.
    made.execute(local_task(made).context(), **{f"{kind.__name__}__sentinel": baseoperator._sentinel})


MODES: list[dict[str, Any]] = [{}, {"mode": "reschedule"}, {"deferrable": True}]


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_an_event_that_is_there_ends_the_wait_at_the_first_poll(
    shop: FakeDeployment, mode: dict[str, Any], not_rescheduled_yet: None
) -> None:
    shop.add_asset_event(URI, {"rows": 7})
    made, task = sense(**mode)
    (event,) = made.execute(task.context())
    assert (event["extra"], event["uri"]) == ({"rows": 7}, URI)


def test_a_sensor_waits_in_a_worker(shop: FakeDeployment, no_pauses: None) -> None:
    made, task = sense(count=3, poke_interval=0.01)
    polls = []

    def poll(context: Any) -> bool:
        shop.add_asset_event(URI, {"number": len(polls)})
        polls.append(0)
        return RemoteAssetSensor.poll(made, context)

    made.poll = poll
    assert [event["extra"]["number"] for event in made.execute(task.context())] == [0, 1, 2]
    assert len(polls) == 3


def test_a_rescheduled_sensor_gives_up_its_worker(shop: FakeDeployment, not_rescheduled_yet: None) -> None:
    made, task = sense(mode="reschedule")
    with pytest.raises(AirflowRescheduleException):
        made.execute(task.context())
    shop.add_asset_event(URI)
    assert len(made.execute(task.context())) == 1


def test_a_deferred_sensor_waits_in_the_triggerer(shop: FakeDeployment) -> None:
    made, task = sense(deferrable=True, count=2)
    shop.add_asset_event(URI, {"number": 1})
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(task.context())
    shop.add_asset_event(URI, {"number": 2})
    events = resume(deferred.value, made, task.context())
    assert [event["extra"]["number"] for event in events] == [1, 2]


def test_a_deferred_sensor_with_a_predicate_comes_back_for_each_candidate(shop: FakeDeployment) -> None:
    made, task = sense(deferrable=True, predicate=lambda event: event["extra"]["rows"] > 5)
    shop.add_asset_event(URI, {"rows": 1})
    with pytest.raises(TaskDeferred) as first:
        made.execute(task.context())
    assert restored(first.value.trigger).target["count"] == 2
    shop.add_asset_event(URI, {"rows": 2})
    with pytest.raises(TaskDeferred) as second:
        resume(first.value, made, task.context())
    assert restored(second.value.trigger).target["count"] == 3
    assert second.value.trigger.serialize()[1]["deadline"] == first.value.trigger.serialize()[1]["deadline"]
    shop.add_asset_event(URI, {"rows": 9})
    (event,) = resume(second.value, made, task.context())
    assert event["extra"] == {"rows": 9}


def test_a_predicate_gets_all_of_a_large_extra(shop: FakeDeployment) -> None:
    shop.add_asset_event(URI, {"text": "x" * 40_000})
    made, task = sense(predicate=lambda event: len(event["extra"]["text"]) == 40_000)
    (event,) = made.execute(task.context())
    assert event["extra"] is None
    assert "left_out" in event


def test_many_large_events_fit_into_an_xcom(shop: FakeDeployment) -> None:
    for number in range(50):
        shop.add_asset_event(URI, {"number": number, "text": "x" * 30_000})
    made, task = sense(count=50, predicate=lambda event: len(event["extra"]["text"]) == 30_000)
    events = made.execute(task.context())
    assert [event["event_id"] for event in events] == [*range(1, 51)]
    assert len(json.dumps(events)) <= 2**20
    assert "extra" in events[0]["left_out"]


def test_only_events_with_the_extra_count(shop: FakeDeployment) -> None:
    shop.add_asset_event(URI, {"region": "asia"})
    shop.add_asset_event(URI, {"region": "europe", "rows": 7})
    made, task = sense(extra={"region": "europe"})
    assert made.execute(task.context())[0]["extra"]["rows"] == 7
    made, task = sense(extra={"region": None}, timeout=0.01, deferrable=True, soft_fail=True)
    with pytest.raises(AirflowSkipException):
        to_the_end(made, task.context())


def test_only_events_since_the_dag_run_or_a_given_moment_count(shop: FakeDeployment) -> None:
    shop.add_asset_event(URI)
    tomorrow = datetime.now(timezone.utc) + timedelta(days=2)
    for arguments in ({"since": tomorrow}, {"since": str(tomorrow.date())}, {"task": {"run_started": tomorrow}}):
        made, task = sense(timeout=0.01, deferrable=True, **arguments)
        with pytest.raises(AirflowSensorTimeout):
            to_the_end(made, task.context())
    made, task = sense(since="2020-01-01", task={"run_started": tomorrow})
    assert len(made.execute(task.context())) == 1


@pytest.mark.parametrize("limit", ["timeout", "execution_timeout"])
def test_a_wait_that_takes_too_long_ends(shop: FakeDeployment, limit: str) -> None:
    limits = {"timeout": {"timeout": 0.5}, "execution_timeout": {"execution_timeout": timedelta(seconds=0.5)}}[limit]
    made, task = sense(deferrable=True, **limits)
    error = AirflowSensorTimeout if limit == "timeout" else AirflowTaskTimeout
    with pytest.raises(error, match=r"(0 of 1 events: |still )waiting for an event of asset 's3://shop/orders'"):
        to_the_end(made, task.context())


def test_a_remote_that_is_down_is_polled_again(shop: FakeDeployment, no_pauses: None) -> None:
    shop.disturb(503, times=6, path="asset")
    shop.disturb(503, times=6, path="dataset")
    shop.add_asset_event(URI)
    made, task = sense()
    assert len(made.execute(task.context())) == 1


def test_an_unknown_asset_fails_the_sensor(shop: FakeDeployment) -> None:
    for mode in ({}, {"deferrable": True}):
        made, task = sense(asset="s3://shop/order", **mode)
        with pytest.raises(NotFound, match="Similar ones are"):
            made.execute(task.context())


def test_a_remote_without_datasets_fails_the_sensor(start: Start) -> None:
    start("2.3.4")
    made, task = sense()
    with pytest.raises(NotSupported, match="cannot list datasets"):
        made.execute(task.context())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"asset": None}, "exactly one of asset and uri"),
        ({"predicate": "rows > 5"}, "predicate must be a function, not str"),
        ({"count": 0}, "count=0 must be from 1 to 1000"),
        ({"count": "many"}, "count='many' must be a whole number"),
        ({"since": "soon"}, "since='soon' is not a date"),
        ({"extra": [1]}, "extra must be a JSON object"),
    ],
)
def test_a_wrong_sensor_is_found_while_the_dag_is_parsed(arguments: dict[str, Any], error: str) -> None:
    with pytest.raises(InvalidSettings, match=error):
        sense(**arguments)


def test_an_event_of_another_version_of_this_package_is_an_error(shop: FakeDeployment) -> None:
    made, task = sense(deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        made.execute(task.context())
    trigger = restored(deferred.value.trigger)
    trigger.target["unknown"] = 1
    event = asyncio.run(only_event(trigger))
    assert event["error"] == "UnexpectedReply"
    with pytest.raises(UnexpectedReply, match="another version"):
        made.execute_complete(task.context(), event)


@pytest.mark.parametrize("kind", [RemoteAssetEventOperator, RemoteAssetSensor])
def test_an_asset_object_is_rendered_and_serialized(shop: FakeDeployment, kind: Any) -> None:
    shop.add_asset_event(URI)
    made = in_dag(kind, asset=Asset(URI))
    assert through_the_database(made.dag).task_dict["local_task"].task_type == kind.__name__
    task = local_task(made)
    made.render_template_fields(task.context())
    made.execute(task.context())
    assert made.asset == Asset(URI)
