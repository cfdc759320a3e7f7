"""Each state that a check of the map marks, with a deployment of each generation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from astronomer_remote.cli import map as command
from astronomer_remote.map.model import Edge, Map, Status
from astronomer_remote.map.writers import table
from astronomer_remote.testing import FakeDeployment

BOTH = pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])


def edge(how: str, kind: str, name: str | None, task_id: str = "t", **fields: Any) -> Edge:
    return Edge("here", "d", task_id, "O", "d.py", how, "astronomer_default", kind, name, **fields)


def checked(*edges: Edge) -> Map:
    found = Map(list(edges), 1)
    command.check_all(found)
    return found


def problems(*edges: Edge) -> list[tuple[Status, list[str]]]:
    return [(each.status, each.problems) for each in checked(*edges).edges]


@BOTH
def test_a_dag_that_is_gone_or_does_not_import(version: str, start: Callable[..., FakeDeployment]) -> None:
    remote = start(version)
    remote.add_dag("gone", is_stale=True)
    remote.add_dag("broken", has_import_errors=True)
    remote.add_dag("fine")
    found = [
        (Status.BROKEN, ["No DAG file of the remote defines DAG 'gone' any more."]),
        (Status.BROKEN, ["DAG 'broken' has an import error in the remote."]),
        (Status.OK, []),
    ]
    names = ["gone", "broken", "fine"]
    assert problems(*(edge("triggers", "DAG", name) for name in names)) == found
    # As it would be found when the tasks run.
    for name in names:
        assert problems(edge("waits for", "DAG", name)) == [found[names.index(name)]]


@BOTH
def test_many_dags_are_read_from_the_listing(version: str, start: Callable[..., FakeDeployment]) -> None:
    remote = start(version)
    names = [f"dag_{number}" for number in range(150)]
    for name in names:
        remote.add_dag(name)
    found = checked(*(edge("waits for", "DAG", name) for name in [*names, "none", "neither"]))
    assert [each.name for each in found.broken] == ["none", "neither"]
    paths = [path.partition("?")[0] for _, path in remote.requests]
    assert sum(path.endswith("/dags") for path in paths) == 2
    assert sum("/dags/" in path for path in paths) == 2
    assert sum(path.endswith("/importErrors") for path in paths) == 1


@BOTH
def test_many_assets_are_read_from_the_listing(version: str, start: Callable[..., FakeDeployment]) -> None:
    remote = start(version)
    names = [f"s3://lake/{number}" for number in range(150)]
    for name in names:
        remote.add_asset(name)
    found = checked(*(edge("waits for events of", "asset", name) for name in [*names, "s3://none"]))
    assert [each.name for each in found.broken] == ["s3://none"]
    assert {each.status for each in found.edges[:-1]} == {Status.OK}
    paths = [path for _, path in remote.requests if "assets" in path or "datasets" in path]
    assert len(paths) < 10


def test_assets_of_a_version_without_them(start: Callable[..., FakeDeployment]) -> None:
    start("2.2.5")
    (found, _), *_ = problems(*(edge("waits for events of", "asset", f"s3://lake/{number}") for number in range(4)))
    assert found is Status.BROKEN


@BOTH
def test_a_dag_that_another_task_unpauses_may_be_paused(version: str, start: Callable[..., FakeDeployment]) -> None:
    start(version).add_dag("load", is_paused=True)
    tasks = [edge("triggers", "DAG", "load"), edge("waits for", "task", "task", remote_dag_id="load")]
    assert [status for status, _ in problems(*tasks)] == [Status.BROKEN, Status.BROKEN]
    tasks = [edge("triggers", "DAG", "load"), edge("unpauses", "DAG", "load"), edge("reads", "DAG", "load")]
    assert [status for status, _ in problems(*tasks)] == [Status.UNKNOWN, Status.OK, Status.OK]


@BOTH
def test_pools_that_another_task_makes_or_enlarges(version: str, start: Callable[..., FakeDeployment]) -> None:
    remote = start(version)
    remote.add_pool("small", 1)
    needs = [edge("waits for slots of", "pool", name, slots=8) for name in ("small", "none")]
    assert problems(*needs) == [
        (Status.BROKEN, ["Pool 'small' has 1 slots, and the task waits for 8."]),
        (Status.BROKEN, ["There is no pool 'none'."]),
    ]

    def statuses(*others: Edge) -> list[Status]:
        again = [edge("waits for slots of", "pool", name, slots=8) for name in ("small", "none")]
        return [status for status, _ in problems(*again, *others)][:2]

    unknown, broken = Status.UNKNOWN, Status.BROKEN
    assert statuses(edge("creates", "pool", "none", optional=True)) == [broken, unknown]
    assert statuses(edge("updates", "pool", "small"), edge("updates", "pool", "none")) == [unknown, broken]
    # A loan makes a pool only if it is temporary, which its first task says.
    borrowed = [edge("borrows slots of", "pool", name, optional=True) for name in ("small", "none")]
    assert statuses(*borrowed) == [unknown, broken]
    assert statuses(*borrowed, edge("reads", "pool", "none", optional=True)) == [unknown, unknown]
    assert statuses(edge("deletes", "pool", "none", optional=True)) == [broken, broken]


@BOTH
def test_what_the_dag_file_does_not_say_is_unknown(version: str, start: Callable[..., FakeDeployment]) -> None:
    start(version).add_dag("load", tasks=["a.b", "c"])
    tasks = [
        edge("waits for", "task", "c"),
        edge("waits for", "task", None, remote_dag_id="load"),
        edge("triggers", "DAG", None),
        edge("waits for", "task group", "a", remote_dag_id="load"),
        # A task is no group.
        edge("waits for", "task group", "c", remote_dag_id="load"),
    ]
    unknown = [Status.UNKNOWN] * 3
    assert [status for status, _ in problems(*tasks)] == [*unknown, Status.OK, Status.BROKEN]
    nowhere = Edge("here", "d", "t", "O", "d.py", "triggers", None, "DAG", "load")
    assert [each.status for each in checked(nowhere).edges] == [Status.UNKNOWN]


@BOTH
def test_what_cannot_exist_hides_nothing(version: str, start: Callable[..., FakeDeployment]) -> None:
    start(version).add_dag("load")
    tasks = [
        edge("triggers", "DAG", "../x"),
        edge("waits for events of", "asset", " "),
        edge("triggers", "DAG", "load"),
    ]
    assert [status for status, _ in problems(*tasks)] == [Status.BROKEN, Status.BROKEN, Status.OK]


@BOTH
def test_a_check_that_cannot_be_finished_calls_nothing_checked(
    version: str, start: Callable[..., FakeDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = start(version)
    remote.add_dag("load", is_paused=True)
    remote.add_dag("fine")
    remote.disturb(503, path="/pools", times=99)
    monkeypatch.setattr(command, "SECONDS_PER_DEPLOYMENT", 2.0)
    found = checked(
        edge("waits for", "DAG", "load"), edge("waits for", "DAG", "fine"), edge("reads", "pool", "default_pool")
    )
    assert [each.status for each in found.edges] == [Status.BROKEN, Status.UNCHECKED, Status.UNCHECKED]
    assert list(found.unreachable) == ["astronomer_default"]


def test_a_task_of_2_2_that_breaks_the_listing(start: Callable[..., FakeDeployment]) -> None:
    remote = start("2.2.5")
    remote.add_dag("load", tasks=["a"])
    remote.disturb(500, path="/dags/load/tasks")
    tasks = [edge("waits for", kind, "a", remote_dag_id="load") for kind in ("task", "task group")]
    assert [status for status, _ in problems(*tasks)] == [Status.OK, Status.UNKNOWN]


def test_the_same_problem_of_several_tasks_is_one_line(start: Callable[..., FakeDeployment]) -> None:
    start().add_dag("load", is_paused=True)
    found = checked(*(edge("triggers", "DAG", "load", f"task_{number}") for number in range(7)))
    last = table(found).splitlines()[-1]
    assert last == "d.task_0, d.task_1, d.task_2, d.task_3, d.task_4 and 2 more: DAG 'load' is paused."
