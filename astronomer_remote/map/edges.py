"""
What the tasks and the schedule of a DAG depend on: of a DAG that was parsed, or of one that Airflow stored.

Airflow stores the templated fields of a task, as text if they are not JSON, and neither its other arguments nor its
class's base classes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import import_module
from itertools import islice, product
from types import SimpleNamespace
from typing import Any, NamedTuple

from astronomer_remote.arguments import is_plain
from astronomer_remote.dependencies import Dependency
from astronomer_remote.get_provider_info import get_provider_info

MOST_COMBINATIONS = 1000
"""Instances of a mapped task that are shown one by one."""

UNTIL_RUN = object()
"""A value that is not known before the task runs, or that was not stored."""

USES = "uses"
"""What a stored task does whose class may be derived from one of several."""

CUT = re.compile(r"Truncated\. You can change this behaviour|MappedArgument\(")
"""How the text begins that Airflow stores for a long value, and for an argument of a mapped task group."""

STORED_ASSET = re.compile(r"(?:Asset|Dataset)\(.*?\buri='([^']*)'")

STORED_RESULT = re.compile(r"\{\{ task_instance\.xcom_pull\(task_ids='([^']*)', .*\) \}\}")
"""The template that Airflow stores for the result of another task."""


def edges_of(dag: Any, file: str) -> Iterator[dict[str, Any]]:
    """What the tasks and the schedule of a DAG depend on, as fields of :class:`Edge`, each once."""
    known = set()
    for edge in _all_edges(dag):
        facts = tuple(edge.values())
        if facts not in known:
            known.add(facts)
            yield {"dag_id": dag.dag_id, "file": file, **edge}


def _all_edges(dag: Any) -> Iterator[dict[str, Any]]:
    for asset in _assets(getattr(dag.timetable, "asset_condition", None)):
        for watcher in getattr(asset, "watchers", ()):
            yield from _edges_of_trigger(watcher.trigger)
    for task in sorted(dag.tasks, key=lambda task: str(task.task_id)):
        known = _class_of(task)
        if known is None:
            continue
        if getattr(task, "partial_kwargs", None) is None:
            instances: Iterable[Any] = [_Stored(task, dag) if known.stored else task]
        else:
            instances = map(_Arguments, _instances(dag, task, known))
        for instance in instances:
            for edge in _edges(task.task_id, task.task_type, known.cls, instance):
                yield {**edge, "how": known.how or edge["how"]}


def _assets(condition: Any) -> Iterator[Any]:
    """The assets in a condition, which may be nested."""
    if hasattr(condition, "watchers"):
        yield condition
    for part in getattr(condition, "objects", ()):
        yield from _assets(part)


def _edges_of_trigger(trigger: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(trigger, Mapping):
        yield from _edges(None, type(trigger).__name__, type(trigger), trigger)
        return
    # As it is stored.
    module, _, name = str(trigger.get("classpath")).rpartition(".")
    if module == "astronomer_remote.triggers.event":
        cls = getattr(import_module(module), name, None)
        yield from _edges(None, name, cls, _Arguments(trigger.get("kwargs") or {}))


def _edges(task_id: str | None, name: str, cls: Any, task: Any) -> Iterator[dict[str, Any]]:
    if not hasattr(cls, "remote_dependencies"):
        return
    for dependency in cls.remote_dependencies(task):
        yield {
            "task_id": task_id,
            "operator": name,
            "how": dependency.how,
            "conn_id": _known(task.astronomer_conn_id if dependency.conn_id is None else dependency.conn_id),
            "kind": dependency.kind,
            "name": _known(dependency.name),
            "remote_dag_id": _known(dependency.dag_id),
            "slots": _slots(dependency),
            "optional": dependency.optional,
        }


def _known(value: Any) -> str | None:
    """A text that the DAG file gives; ``None`` for a template."""
    if isinstance(value, str):
        return value if is_plain(value) else None
    # An asset of Airflow.
    for name in ("uri", "name"):
        if isinstance(getattr(value, name, None), str):
            return str(getattr(value, name))
    return None


def _slots(dependency: Dependency) -> int | None:
    number = dependency.slots
    if isinstance(number, str) and number.strip().isdecimal():
        return int(number)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


# Which class a task has


class _Class(NamedTuple):
    """
    The class of a task or, of a stored one, a base class of ours.

    :param stored: whether the task was stored.
    :param exact: whether it is the task's own class.
    :param how: what a task of it does, if that depends on which of several classes it is derived from.
    """

    cls: type
    stored: bool = False
    exact: bool = True
    how: str | None = None


def _class_of(task: Any) -> _Class | None:
    cls = getattr(task, "operator_class", None) or type(task)
    if isinstance(cls, type) and not cls.__module__.startswith("airflow.serialization"):
        return _Class(cls) if hasattr(cls, "remote_dependencies") else None
    fields = set(task.template_fields)
    if "astronomer_conn_id" not in fields:
        return None
    for each in _ours():
        if (each.__module__, each.__name__) == (task._task_module, task.task_type):  # stored so
            return _Class(each, stored=True)
    # A class of a DAG file, which cannot be imported here. It has the templated fields of its base class.
    fitting = [each for each in _ours() if fields.issuperset(each.template_fields)]
    most = max((len(each.template_fields) for each in fitting), default=0)
    bases = [each for each in fitting if len(each.template_fields) == most]
    if not bases:
        return None
    return _Class(bases[0], stored=True, exact=False, how=USES if len(bases) > 1 else None)


@cache
def _ours() -> Sequence[Any]:
    """The operators and sensors of this package."""
    info = get_provider_info()
    names = [name for kind in ("operators", "sensors") for each in info[kind] for name in each["python-modules"]]
    public = [getattr(module, name) for module in map(import_module, names) for name in module.__all__]
    return [each for each in public if hasattr(each, "remote_dependencies")]


# Its arguments


class _Stored:
    """A stored task: its templated fields, as far as they are known."""

    def __init__(self, task: Any, dag: Any) -> None:
        self._task = task
        self._dag = dag

    def __getattr__(self, name: str) -> Any:
        if name not in self._task.template_fields:
            return UNTIL_RUN
        value = getattr(self._task, name, None)
        if not isinstance(value, str):
            return value
        if CUT.match(value):
            return UNTIL_RUN
        asset, result = STORED_ASSET.match(value), STORED_RESULT.fullmatch(value)
        if asset:
            return SimpleNamespace(uri=asset[1])
        if result and self._dag.has_task(result[1]):
            return SimpleNamespace(operator=_Stored(self._dag.get_task(result[1]), self._dag))
        return value


class _Arguments:
    """Arguments as attributes; any other is not known before the task runs."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known

    def __getattr__(self, name: str) -> Any:
        return self._known.get(name, UNTIL_RUN)


def _instances(dag: Any, task: Any, known: _Class) -> Iterator[dict[str, Any]]:
    """The arguments of each instance of a mapped task, as far as the DAG file has them."""
    # Airflow applies the default_args when it makes the instances.
    ours = {**dag.default_args, **getattr(task.task_group, "default_args", {}), **task.partial_kwargs}
    given = {**(_defaults(known.cls) if known.exact else {}), **ours}
    expanded = getattr(task.expand_input, "value", None)
    # A task with its own arguments in `expand_kwargs` has them here, and one of `expand` has none.
    if isinstance(expanded, Mapping):
        plain = {name: _values(values) for name, values in expanded.items()}
        instances: Iterator[Mapping[str, Any]] = (
            dict(zip(plain, values, strict=True)) for values in product(*plain.values())
        )
    elif isinstance(expanded, (list, tuple)) and all(isinstance(each, Mapping) for each in expanded):
        instances = iter(expanded)
    else:
        # The result of another task may hold any argument.
        yield ours
        return
    for instance in islice(instances, MOST_COMBINATIONS):
        yield {**given, **instance}
    # What any of the others has stands for all of them.
    for instance in islice(instances, 1):
        yield {**given, **dict.fromkeys(instance, UNTIL_RUN)}


def _values(values: Any) -> list[Any]:
    if isinstance(values, (list, tuple)) and values:
        return list(values)
    return [UNTIL_RUN]


def _defaults(cls: type) -> dict[str, Any]:
    """Defaults of a class's arguments; a constructor that is not ours may give its base class others."""
    found: dict[str, Any] = {}
    for each in cls.__mro__:
        if "__init__" not in vars(each):
            continue
        for parameter in inspect.signature(each.__init__).parameters.values():  # type: ignore[misc]  # it is read only
            if parameter.default is not parameter.empty:
                found.setdefault(parameter.name, parameter.default)
        if not each.__module__.startswith("astronomer_remote."):
            break
    return found
