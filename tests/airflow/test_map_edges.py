"""What tasks and schedules depend on, as DAGs are parsed and as Airflow stores them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, Asset, BaseOperator, TaskGroup, task, task_group

from astronomer_remote.compat import AIRFLOW_3
from astronomer_remote.map.edges import MOST_COMBINATIONS
from astronomer_remote.map.find import map_of
from astronomer_remote.map.model import Map
from astronomer_remote.operators.asset import RemoteMaterializeAssetOperator
from astronomer_remote.operators.dag import (
    RemoteClearDagRunOperator,
    RemoteDeleteDagRunOperator,
    RemotePauseDagOperator,
    dag_paused,
)
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.operators.pool import (
    RemoteCreatePoolOperator,
    RemoteDeletePoolOperator,
    RemoteSyncPoolsOperator,
    RemoteUpdatePoolOperator,
)
from astronomer_remote.operators.pool_loan import (
    RemoteBorrowPoolSlotsOperator,
    RemoteRecordPoolOperator,
    borrowed_slots,
)
from astronomer_remote.sensors.asset import RemoteAssetSensor
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.sensors.pool import RemotePoolSlotSensor
from tests.airflow.local import through_the_database


@task
def a_loan() -> dict[str, int]:
    return {}


Row = tuple[str, str, str, str, str]
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def dag_of(make: Callable[[], Any], schedule: Any = None, **arguments: Any) -> Any:
    with DAG("local", schedule=schedule, start_date=START, **arguments) as dag:
        make()
    return dag


def rows(found: Map) -> list[Row]:
    """Task, what it does, kind, what, and connection of each edge."""
    return [(edge.source, edge.how, edge.kind, edge.target, edge.connection) for edge in found.edges]


def in_a_dag(make: Callable[[], Any], **arguments: Any) -> list[Row]:
    """What a DAG depends on, which is the same once it is stored."""
    dag = dag_of(make, **arguments)
    found = rows(map_of([dag]))
    assert rows(map_of([through_the_database(dag)])) == found
    return found


def test_each_operator_and_sensor_states_what_it_depends_on() -> None:
    def make() -> None:
        with borrowed_slots("warehouse", slots=9):
            RemoteDeletePoolOperator(task_id="drop", pool_name="old", astronomer_conn_id="b")
        with dag_paused("load"):
            RemoteSyncPoolsOperator(task_id="sync", pools={"x": 1, "y": {"slots": 2}})
        RemoteSyncPoolsOperator(task_id="sync_copy", source_conn_id="b")
        RemoteSyncPoolsOperator(task_id="sync_file", pools_file="pools.json")
        RemoteCreatePoolOperator(task_id="t_create", pool_name="new", slots=1)
        RemoteUpdatePoolOperator(task_id="t_update", pool_name="{{ x }}", slots=1)
        RemoteMaterializeAssetOperator(task_id="u_make", uri="s3://a", wait_for_completion=True)
        RemoteAssetSensor(task_id="u_wait", asset="s3://a")
        RemoteClearDagRunOperator(task_id="v_clear", external_dag_id="load", external_run_id="x")
        RemoteDeleteDagRunOperator(task_id="v_delete", external_dag_id="load", external_run_id="x")
        RemoteDagRunSensor(task_id="w", external_dag_id="load", external_task_ids=["a", "b"])
        RemoteDagRunSensor(task_id="w_group", external_dag_id="{{ x }}", external_task_group_id="g")
        RemoteTriggerDagRunOperator(
            task_id="x", trigger_dag_id="load", wait_for_completion=True, results={"a": ["k"]}, stream_logs=["b"]
        )

    default = "astronomer_default"
    assert in_a_dag(make) == [
        ("borrow_slots", "borrows slots of", "pool", "warehouse", default),
        ("borrow_slots_record", "reads", "pool", "warehouse", default),
        ("borrow_slots_return", "returns slots of", "pool", "warehouse", default),
        ("drop", "deletes", "pool", "old", "b"),
        ("pause_load", "pauses", "DAG", "load", default),
        ("pause_load_record", "reads", "DAG", "load", default),
        ("pause_load_restore", "restores", "DAG", "load", default),
        ("sync", "sets", "pool", "x", default),
        ("sync", "sets", "pool", "y", default),
        ("sync_copy", "copies", "pools", "all", "b"),
        ("sync_copy", "sets", "pools", "all", default),
        ("sync_file", "sets", "pool", "(unknown)", default),
        ("t_create", "creates", "pool", "new", default),
        ("t_update", "updates", "pool", "(unknown)", default),
        ("u_make", "materializes and waits for", "asset", "s3://a", default),
        ("u_wait", "waits for events of", "asset", "s3://a", default),
        ("v_clear", "clears runs of", "DAG", "load", default),
        ("v_delete", "deletes runs of", "DAG", "load", default),
        ("w", "waits for", "task", "load.a", default),
        ("w", "waits for", "task", "load.b", default),
        ("w_group", "waits for", "task group", "(unknown).g", default),
        ("x", "triggers and waits for", "DAG", "load", default),
        ("x", "reads results of", "task", "load.a", default),
        ("x", "reads logs of", "task", "load.b", default),
    ]


class ForRegion(RemoteTriggerDagRunOperator):
    """A subclass with arguments of its own."""

    def __init__(self, *, region: str, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id=f"load_{region}", **kwargs)


def test_mapped_tasks_subclasses_and_groups_are_found() -> None:
    def make() -> None:
        with TaskGroup("group"):
            RemoteTriggerDagRunOperator.partial(task_id="many", astronomer_conn_id="one").expand(
                trigger_dag_id=["a", "b", "{{ c }}"]
            )
        ForRegion(task_id="region", region="eu")
        ForRegion.partial(task_id="regions").expand(region=["eu", "us"])
        listed = RemoteTriggerDagRunOperator.partial(task_id="kwargs", trigger_dag_id="c")
        listed.expand_kwargs([{"conf": {}}, {"astronomer_conn_id": "two"}])
        first = RemoteClearDagRunOperator(task_id="first", external_dag_id="a", external_run_id="r")
        RemotePoolSlotSensor.partial(task_id="late").expand(pool_name=first.output)
        RemotePoolSlotSensor.partial(task_id="later", pool_name="p").expand_kwargs(first.output)

    assert in_a_dag(make, default_args={"astronomer_conn_id": "given"}) == [
        ("first", "clears runs of", "DAG", "a", "given"),
        ("group.many", "triggers", "DAG", "a", "one"),
        ("group.many", "triggers", "DAG", "b", "one"),
        ("group.many", "triggers", "DAG", "(unknown)", "one"),
        ("kwargs", "triggers", "DAG", "c", "given"),
        ("kwargs", "triggers", "DAG", "c", "two"),
        ("late", "waits for slots of", "pool", "(unknown)", "given"),
        ("later", "waits for slots of", "pool", "p", "given"),
        ("region", "triggers", "DAG", "load_eu", "given"),
        ("regions", "triggers", "DAG", "(unknown)", "given"),
    ]


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no asset watchers")
def test_the_triggers_of_asset_watchers_are_found() -> None:
    from airflow.sdk import Asset, AssetAll, AssetWatcher

    from astronomer_remote.assets import remote_asset, remote_dag_asset
    from astronomer_remote.triggers.event import RemoteAssetEventTrigger, RemoteDagRunTrigger

    events = RemoteAssetEventTrigger(asset="s3://a", astronomer_conn_id="one")
    runs = RemoteDagRunTrigger(dag_id="load", astronomer_conn_id="two")
    watched = Asset("local", watchers=[AssetWatcher(name="a", trigger=events), AssetWatcher(name="b", trigger=runs)])
    found = [
        ("(schedule)", "waits for events of", "asset", "s3://a", "one"),
        ("(schedule)", "waits for", "DAG", "load", "two"),
    ]
    assert in_a_dag(bool, schedule=AssetAll(watched, Asset("other"))) == found
    assert in_a_dag(bool, schedule=watched) == found
    assert in_a_dag(bool, schedule=[remote_asset(name="a", asset="s3://a"), remote_dag_asset("load")]) == [
        ("(schedule)", "waits for events of", "asset", "s3://a", "astronomer_default"),
        ("(schedule)", "waits for", "DAG", "load", "astronomer_default"),
    ]


def test_a_trigger_of_another_package_is_no_dependency() -> None:
    watcher = SimpleNamespace(trigger={"classpath": "astronomer_remote.hooks.astronomer.AstronomerHook", "kwargs": {}})
    other = SimpleNamespace(trigger={"classpath": "somewhere.Else", "kwargs": None})
    asset = SimpleNamespace(watchers=[watcher, other, SimpleNamespace(trigger=object())])
    dag = SimpleNamespace(dag_id="d", timetable=SimpleNamespace(asset_condition=asset), tasks=[], fileloc="d.py")
    assert map_of([dag]) == Map(dags=1)


def test_mapped_arguments_beyond_the_limit_are_unknown() -> None:
    def make() -> None:
        names = [f"dag_{number}" for number in range(3)]
        confs = [{"number": number} for number in range(MOST_COMBINATIONS // 2)]
        RemoteTriggerDagRunOperator.partial(task_id="a").expand(trigger_dag_id=names, conf=confs)
        listed = [{"trigger_dag_id": f"dag_{number}"} for number in range(MOST_COMBINATIONS + 5)]
        RemoteTriggerDagRunOperator.partial(task_id="b").expand_kwargs(listed)

    found = in_a_dag(make)
    assert [what for task_id, _, _, what, _ in found if task_id == "a"] == ["dag_0", "dag_1", "(unknown)"]
    assert [what for task_id, _, _, what, _ in found if task_id == "b"][-2:] == ["dag_999", "(unknown)"]


def test_a_subclass_of_a_dag_file_is_found_by_its_templated_fields_once_it_is_stored() -> None:
    class Pausing(RemotePauseDagOperator):
        pass

    class Noted(RemotePoolSlotSensor):
        template_fields = (*RemotePoolSlotSensor.template_fields, "note_of_ours")
        note_of_ours = "x"

    class Other(BaseOperator):
        template_fields = ("astronomer_conn_id",)
        astronomer_conn_id = "x"

    def make() -> None:
        Noted(task_id="noted", pool_name="p")
        Other(task_id="other")
        Pausing(task_id="pausing", external_dag_id="load")

    dag = dag_of(make)
    default = "astronomer_default"
    noted = ("noted", "waits for slots of", "pool", "p", default)
    assert rows(map_of([dag])) == [noted, ("pausing", "pauses", "DAG", "load", default)]
    found = map_of([through_the_database(dag)])
    # Operators that pause, unpause and record a DAG have the same fields.
    assert rows(found) == [noted, ("pausing", "uses", "DAG", "load", default)]
    assert [edge.operator for edge in found.edges] == ["Noted", "Pausing"]


def test_what_airflow_does_not_store_is_unknown() -> None:
    def make() -> None:
        first = a_loan()
        RemoteBorrowPoolSlotsOperator(task_id="borrow", loan=first)
        RemoteSyncPoolsOperator(task_id="sync", pools={f"pool_{number:03}": 1 for number in range(500)})
        RemoteRecordPoolOperator(task_id="zz", pool_name="p", slots=1, temporary=True)

    dag = dag_of(make)
    parsed, found = map_of([dag]), map_of([through_the_database(dag)])
    assert len(parsed.edges) == 502
    assert parsed.edges[-1].optional
    assert rows(found) == [
        ("borrow", "borrows slots of", "pool", "(unknown)", "astronomer_default"),
        ("sync", "sets", "pool", "(unknown)", "astronomer_default"),
        ("zz", "reads", "pool", "p", "astronomer_default"),
    ]


def test_arguments_of_a_mapped_task_group_are_unknown() -> None:
    @task_group
    def group(name: Any) -> None:
        RemoteTriggerDagRunOperator(task_id="mapped", trigger_dag_id=name)

    assert in_a_dag(lambda: group.expand(name=["a", "b"])) == [
        ("group.mapped", "triggers", "DAG", "(unknown)", "astronomer_default")
    ]


def test_assets_and_lists_given_in_other_ways() -> None:
    def make() -> None:
        RemoteAssetSensor(task_id="a", asset=Asset("s3://lake/a"))
        RemoteTriggerDagRunOperator(
            task_id="b", trigger_dag_id="load", wait_for_completion=True, results='["x"]', stream_logs="{{ x }}"
        )

    default = "astronomer_default"
    assert in_a_dag(make) == [
        ("a", "waits for events of", "asset", "s3://lake/a", default),
        ("b", "triggers and waits for", "DAG", "load", default),
        # A text is read as a list when the task runs.
        ("b", "reads results of", "task", "load.(unknown)", default),
        ("b", "reads logs of", "task", "load.(unknown)", default),
    ]
