"""Operators and sensors for assets of another deployment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import Asset

from astronomer_remote.exceptions import InvalidSettings, NotFound, NotSupported, RemoteUnavailable
from astronomer_remote.operators.asset import RemoteAssetEventOperator
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import in_dag, local_task

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


def test_a_clear_registers_a_new_event(shop: FakeDeployment) -> None:
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


def test_a_remote_that_stays_broken_fails_the_task(shop: FakeDeployment, no_pauses: None) -> None:
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
        ({"asset": 5}, "asset must be a text, an Asset or a Dataset"),
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
