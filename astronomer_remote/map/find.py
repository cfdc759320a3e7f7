"""
Finds the dependencies in a folder of DAG files, without a request to a remote.

Each folder is parsed in a process of its own (:func:`main`): two deployments may have modules of the same name, and a
DAG file may print, or end the process.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from itertools import islice, product
from pathlib import Path
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.arguments import is_plain
from astronomer_remote.dependencies import Dependency
from astronomer_remote.map.model import Edge, Map

MOST_COMBINATIONS = 1000
"""Instances of a mapped task that are shown one by one."""

UNTIL_RUN = object()
"""A value that is not known before the task runs."""


def read_folders(folders: Mapping[str, Path]) -> Map:
    """
    Parse the DAG files of local deployments.

    :param folders: a folder of DAG files by the deployment's name.
    :raises InvalidSettings: if a folder cannot be read.
    """
    found = Map()
    for name, folder in folders.items():
        if not folder.is_dir():
            raise InvalidSettings(f"There is no folder {str(folder)!r}.")
        read = _in_another_process(folder.resolve())
        found.dags += read["dags"]
        found.edges += [Edge(local=name, **fields) for fields in read["edges"]]
        label = f"{name}: " if len(folders) > 1 else ""
        found.import_errors |= {f"{label}{file}": error for file, error in read["import_errors"].items()}
    return found


def _in_another_process(folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        result = Path(scratch, "map.json")
        environment = {
            **os.environ,
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            # Airflow adds it in a process that parses DAG files, but not to every command.
            "PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])),
        }
        command = [sys.executable, "-m", "astronomer_remote.map.find", str(folder), str(result)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603  # our own module
        if not result.exists():
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InvalidSettings(f"The DAG files in {str(folder)!r} could not be parsed: {last}")
        read: dict[str, Any] = json.loads(result.read_text())
        return read


def main(folder: str, result: str) -> None:
    """Parse a folder, and write what was found as JSON."""
    bag = _bag(folder)
    errors = {_below(folder, file): _last_line(error) for file, error in bag.import_errors.items()}
    dags = sorted(bag.dags.values(), key=lambda dag: str(dag.dag_id))
    edges = [edge for dag in dags for edge in edges_of(dag, _below(folder, dag.fileloc))]
    found = {"dags": len(dags), "edges": edges, "import_errors": dict(sorted(errors.items()))}
    # Another process may not see half of it.
    Path(f"{result}.part").write_text(json.dumps(found))
    Path(f"{result}.part").rename(result)


def _bag(folder: str) -> Any:
    try:
        # Airflow 3.1 moved it.
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag  # type: ignore[no-redef]
    return DagBag(dag_folder=folder)


def _below(folder: str, file: str) -> str:
    path = Path(file)
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(file)


def _last_line(error: str) -> str:
    return untrusted.readable((error.strip().splitlines() or ["no reason given"])[-1].strip())


def edges_of(dag: Any, file: str) -> Iterator[dict[str, Any]]:
    """What the tasks and the schedule of a DAG depend on, as fields of :class:`Edge`."""
    for asset in _assets(getattr(dag.timetable, "asset_condition", None)):
        for watcher in getattr(asset, "watchers", ()):
            yield from _edges(dag.dag_id, None, file, type(watcher.trigger), watcher.trigger)
    for task in sorted(dag.tasks, key=lambda task: str(task.task_id)):
        if getattr(task, "partial_kwargs", None) is None:
            yield from _edges(dag.dag_id, task.task_id, file, type(task), task)
            continue
        known: list[dict[str, Any]] = []
        for arguments in _instances(task):
            for edge in _edges(dag.dag_id, task.task_id, file, task.operator_class, _Arguments(arguments)):
                if edge not in known:
                    known.append(edge)
        yield from known


def _assets(condition: Any) -> Iterator[Any]:
    """The assets in a condition, which may be nested."""
    if hasattr(condition, "watchers"):
        yield condition
    for part in getattr(condition, "objects", ()):
        yield from _assets(part)


def _edges(dag_id: str, task_id: str | None, file: str, cls: Any, task: Any) -> Iterator[dict[str, Any]]:
    if not hasattr(cls, "remote_dependencies"):
        return
    for dependency in cls.remote_dependencies(task):
        yield {
            "dag_id": dag_id,
            "task_id": task_id,
            "operator": cls.__name__,
            "file": file,
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


class _Arguments:
    """The arguments of a mapped task as attributes; any other is not known before the task runs."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._known = known

    def __getattr__(self, name: str) -> Any:
        return self._known.get(name, UNTIL_RUN)


def _instances(task: Any) -> Iterator[dict[str, Any]]:
    """The arguments of each instance of a mapped task, as far as the DAG file has them."""
    # Airflow applies the default_args when it makes the instances.
    ours = {**task.dag.default_args, **getattr(task.task_group, "default_args", {}), **task.partial_kwargs}
    given = {**_defaults(task.operator_class), **ours}
    expanded = getattr(task.expand_input, "value", None)
    # A task with its own arguments in `expand_kwargs` has them here, and one of `expand` has none.
    if isinstance(expanded, Mapping):
        plain = {name: _values(values) for name, values in expanded.items()}
        combinations = product(*plain.values())
        for values in islice(combinations, MOST_COMBINATIONS):
            yield {**given, **dict(zip(plain, values, strict=True))}
    elif isinstance(expanded, (list, tuple)) and all(isinstance(each, Mapping) for each in expanded):
        for each in expanded[:MOST_COMBINATIONS]:
            yield {**given, **each}
    else:
        # The result of another task may hold any argument.
        yield ours


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


if __name__ == "__main__":
    main(*sys.argv[1:])
