"""What templates render to, natively and not: every templated field of every operator and sensor."""

from __future__ import annotations

import inspect
import pkgutil
from datetime import datetime, timezone
from importlib import import_module
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

import astronomer_remote
from astronomer_remote.compat import NOTSET
from astronomer_remote.exceptions import InvalidSettings
from astronomer_remote.operators.base import RemoteOperator
from astronomer_remote.operators.pool import RemoteUpdatePoolOperator
from tests.airflow.local import LocalTask, local_task


def classes_of_tasks() -> list[type[Any]]:
    """Every operator and sensor of the package."""
    found = set()
    for folder in ("operators", "sensors"):
        package = import_module(f"{astronomer_remote.__name__}.{folder}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, each in inspect.getmembers(import_module(module.name), inspect.isclass):
                # In Python 3.10, `list[str]` passes for a class, but not as what issubclass() takes.
                public = (
                    each.__module__ == module.name and not name.startswith("_") and not module.name.endswith(".base")
                )
                if public and issubclass(each, BaseOperator):
                    found.add(each)
    return sorted(found, key=lambda each: str(each.__name__))


CLASSES = classes_of_tasks()

LOAN = {
    "pool": "p",
    "temporary": False,
    "before": {"slots": 1},
    "during": {"slots": 2},
}

NEEDED = {
    "trigger_dag_id": "d",
    "asset": "a",
    "external_dag_id": "d",
    "external_run_id": "r",
    "pool_name": "p",
    "slots": 1,
    "paused": True,
    "loan": LOAN,
    "pools_file": "/pools.json",
}
"""Values of fields without which a task cannot be made."""

REFUSED = "refused"

NUMBER = 20240101
DATE, NEXT_DATE = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"

NOTHING: list[Any] = [None, "", "None"]

TEXT_VALUES: dict[Any, Any] = {"text": "text", "20240101": "20240101", NUMBER: "20240101"}
COUNTS: dict[Any, Any] = {"text": REFUSED, "3": 3, 3: 3, True: REFUSED}
SECONDS: dict[Any, Any] = {"text": REFUSED, "3": 3.0, 3: 3.0, 0.5: 0.5, 0: REFUSED}
FLAGS: dict[Any, Any] = {"text": REFUSED, True: True, "True": True, "false": False, 0: False}
DATES: dict[Any, Any] = {
    "text": REFUSED,
    "20240101": DATE,
    NUMBER: DATE,
    "2024-01-01": DATE,
    datetime(2024, 1, 1, tzinfo=timezone.utc): DATE,
    datetime(2024, 1, 1, tzinfo=timezone.utc).date(): DATE,
}
LISTS: dict[Any, Any] = {"text": REFUSED, NUMBER: REFUSED, "['a', 'b']": ["a", "b"], '["a"]': ["a"], "[]": None}


def refusing(values: dict[Any, Any]) -> dict[Any, Any]:
    """A field that must be given."""
    return {**values, **dict.fromkeys(NOTHING, REFUSED)}


def optional(values: dict[Any, Any], nothing: Any = None) -> dict[Any, Any]:
    """A field that need not be given."""
    return {**values, **dict.fromkeys(NOTHING, nothing)}


EXPECTED: dict[str, dict[Any, Any]] = {
    "asset": optional(TEXT_VALUES),
    "astronomer_conn_id": refusing(TEXT_VALUES),
    "conf": optional({"text": REFUSED, NUMBER: REFUSED, '{"a": 1}': {"a": 1}, "null": {}, "  ": {}}, {}),
    "count": refusing(COUNTS),
    "data_interval": optional({"text": REFUSED, NUMBER: REFUSED, '["2024-01-01", "2024-01-02"]': (DATE, NEXT_DATE)}),
    "description": {**optional(TEXT_VALUES), "": ""},
    "empty": optional(FLAGS, False),
    "external_dag_id": refusing(TEXT_VALUES),
    "external_run_id": optional(TEXT_VALUES),
    "external_task_group_id": optional(TEXT_VALUES),
    "external_task_id": optional(TEXT_VALUES),
    "external_task_ids": optional(LISTS),
    "extra": optional({"text": REFUSED, NUMBER: REFUSED, '{"a": 1}': {"a": 1}}, {}),
    "include_deferred": optional(FLAGS),
    "is_dry_run": optional(FLAGS, False),
    "loan": refusing({"text": REFUSED, NUMBER: REFUSED}),
    "logical_date": {**optional(DATES), "": NOTSET},
    "note": {**optional(TEXT_VALUES), "": ""},
    "partition_key": optional(TEXT_VALUES),
    "paused": refusing(FLAGS),
    "poke_interval": refusing(SECONDS),
    "pool_name": refusing({**TEXT_VALUES, "a/b": "a/b"}),
    "pools": optional({"text": "text"}),
    "pools_file": optional(TEXT_VALUES),
    "prune": optional(FLAGS, False),
    "results": optional({**LISTS, "{'a': ['x', 'y']}": {"a": ["x", "y"]}, '{"a": ["x"]}': {"a": ["x"]}, "{}": None}),
    "run_after": {**optional(DATES), "": NOTSET},
    "since": optional(DATES),
    "skip_when_already_exists": optional(FLAGS, False),
    "slots": refusing(COUNTS),
    "source_conn_id": optional(TEXT_VALUES),
    "stream_logs": optional(LISTS),
    "trigger_dag_id": refusing(TEXT_VALUES),
    "trigger_run_id": optional(TEXT_VALUES),
    "uri": optional(TEXT_VALUES),
    "wait_for_completion": optional(FLAGS, False),
    "wait_timeout": optional(SECONDS),
}
"""By field and rendered value: what the task takes it for, whether it is rendered natively or as text."""

ONLY_NATIVE: dict[str, list[tuple[Any, Any]]] = {
    "conf": [({"a": "b"}, {"a": "b"}), (["a"], REFUSED)],
    "external_task_ids": [(["a", 7], ["a", "7"]), ([], None), (["a", None], REFUSED), (["a/b"], REFUSED)],
    "loan": [(LOAN, LOAN)],
    "pools": [({"p": 1}, {"p": 1}), (NUMBER, REFUSED), (["p"], REFUSED)],
    "data_interval": [
        (("2024-01-01", "2024-01-02"), (DATE, NEXT_DATE)),
        ([NUMBER, "2024-01-02"], (DATE, NEXT_DATE)),
        (("", "None"), None),
        (("2024-01-01", ""), REFUSED),
        (("2024-01-01",), REFUSED),
        ({"start": "2024-01-01", "end": "2024-01-02"}, REFUSED),
    ],
    "results": [
        (("a", "b"), ["a", "b"]),
        ([{}], REFUSED),
        ({"a": ("x",)}, {"a": ["x"]}),
        ({"a": []}, REFUSED),
        ({"a": "x"}, REFUSED),
        ({"a/b": ["x"]}, REFUSED),
    ],
    "trigger_run_id": [(1.5, REFUSED), (True, REFUSED), (["a"], REFUSED), ({"a": 1}, REFUSED), (b"a", REFUSED)],
}
"""The same of values that are something else as text."""

NOT_ALONE = ("asset", "pools", "pools_file", "source_conn_id", "uri")
"""Fields without a value of which a constructor refuses what else is given here."""

REQUIRED_HERE = {"external_run_id": "RemoteDagRunSensor"}
"""Fields that only one class can do without."""


def case_ids(case: tuple[type[Any], str]) -> str:
    return f"{case[0].__name__}.{case[1]}"


FIELDS = pytest.mark.parametrize("case", [(cls, name) for cls in CLASSES for name in cls.template_fields], ids=case_ids)


def expected_of(cls: type[Any], name: str) -> list[tuple[Any, Any]]:
    """What is to be made of values of a field."""
    values = EXPECTED[name]
    if REQUIRED_HERE.get(name, cls.__name__) != cls.__name__:
        values = refusing(values)
    if cls is RemoteUpdatePoolOperator and name == "slots":
        values = optional(values)
    return list(values.items())


def with_neighbours(name: str) -> dict[str, Any]:
    """Arguments that another one makes no sense without."""
    return {
        "results": {"wait_for_completion": True},
        "stream_logs": {"wait_for_completion": True},
    }.get(name, {})


def arguments(cls: type[Any], name: str, value: Any) -> dict[str, Any]:
    """Arguments of a task with a value for one field."""
    known = {parameter for base in cls.__mro__ for parameter in inspect.signature(base.__init__).parameters}
    needed = {key: given for key, given in NEEDED.items() if key in known}
    if "trigger_dag_id" not in cls.template_fields:
        needed.pop("trigger_dag_id", None)
    if name in ("pools", "source_conn_id"):
        del needed["pools_file"]
    if name == "uri":
        del needed["asset"]
    if cls.__name__ == "RemoteDagRunSensor" and name.startswith("external_task"):
        needed.pop("external_run_id")
    return {**needed, **with_neighbours(name), {"is_dry_run": "dry_run"}.get(name, name): value}


def made(cls: type[Any], name: str, value: Any, *, native: bool) -> Any:
    start = datetime(2026, 1, 1, tzinfo=timezone.utc)
    with DAG("local_dag", start_date=start, schedule=None, render_template_as_native_obj=native):
        return cls(task_id="local_task", **arguments(cls, name, value))


def check(read: Any, value: Any, expected: Any, name: str) -> None:
    """Compare what a task makes of a value with what it is to make of it."""
    if isinstance(expected, str) and expected is REFUSED:
        with pytest.raises(InvalidSettings, match=r"(?s)."):
            read()
        return
    found = getattr(read(), name)
    assert found == expected, f"{value!r} became {found!r}"
    assert type(found) is type(expected), f"{value!r} became {found!r}"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: str(cls.__name__))
def test_every_templated_field_is_read(cls: type[Any]) -> None:
    assert issubclass(cls, RemoteOperator)
    assert set(cls.readers) == set(cls.template_fields)
    assert set(cls.template_fields) <= set(EXPECTED), "give the new field its row above"


@FIELDS
@pytest.mark.parametrize("native", [True, False], ids=["native", "text"])
def test_it_does_not_matter_how_a_template_is_rendered(case: tuple[type[Any], str], native: bool) -> None:
    cls, name = case
    for value, expected in expected_of(cls, name) + (ONLY_NATIVE.get(name, []) if native else []):

        def read(value: Any = value) -> Any:
            task = made(cls, name, "{{ params.value }}", native=native)
            context = {**local_task(task).context(), "params": {"value": value}}
            task.render_template_fields(context)
            task.read_values()
            once = getattr(task, name)
            task.read_values()
            assert getattr(task, name) == once, "read twice it is something else"
            return task

        check(read, value, expected, name)


@FIELDS
def test_the_result_of_another_task_will_do(case: tuple[type[Any], str], monkeypatch: pytest.MonkeyPatch) -> None:
    cls, name = case
    # Airflow 2 calls this method of a task instance.
    monkeypatch.setattr(LocalTask, "get_relevant_upstream_map_indexes", lambda *_, **__: None, raising=False)
    for value, expected in expected_of(cls, name) + ONLY_NATIVE.get(name, []):
        monkeypatch.setattr(LocalTask, "xcom_pull", lambda *_, value=value, **__: value, raising=False)

        def read() -> Any:
            start = datetime(2026, 1, 1, tzinfo=timezone.utc)
            with DAG("local_dag", start_date=start, schedule=None):
                other = RemoteUpdatePoolOperator(task_id="other", pool_name="p", slots=1)
                task = cls(task_id="local_task", **arguments(cls, name, other.output))
            assert task.upstream_task_ids == {"other"}
            task.render_template_fields({**local_task(task).context(), "expanded_ti_count": None})
            task.read_values()
            return task

        check(read, value, expected, name)


@FIELDS
def test_a_mapped_task_takes_the_same_values(case: tuple[type[Any], str]) -> None:
    cls, name = case
    for value, expected in expected_of(cls, name) + ONLY_NATIVE.get(name, []):
        alone = name in NOT_ALONE or (cls is RemoteUpdatePoolOperator and name == "slots")
        if alone and (value is None or (name in ("asset", "uri") and value in NOTHING)):
            expected = REFUSED

        def read(value: Any = value) -> Any:
            fixed = arguments(cls, name, value)
            argument = {"is_dry_run": "dry_run"}.get(name, name)
            mapped = {argument: fixed.pop(argument)}
            start = datetime(2026, 1, 1, tzinfo=timezone.utc)
            with DAG("local_dag", start_date=start, schedule=None):
                task = cls.partial(task_id="local_task", **fixed).expand(**{argument: [value]})
            task = task.unmap(mapped)
            task.render_template_fields(local_task(task, map_index=0).context())
            task.read_values()
            return task

        check(read, value, expected, name)


class Read(Exception):
    """Raised in place of reading the fields."""


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: str(cls.__name__))
def test_every_task_reads_its_fields_before_it_does_anything(cls: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def read(self: Any) -> None:
        raise Read

    monkeypatch.setattr(cls, "read_values", read)
    name = cls.template_fields[0]
    task = made(cls, name, NEEDED.get(name, "d"), native=False)
    context = local_task(task).context()
    with pytest.raises(Read):
        task.execute(context)
    with pytest.raises(Read):
        task.resume_execution("execute_complete", {}, context)
