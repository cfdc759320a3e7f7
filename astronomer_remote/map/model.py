"""The map: its edges, and what was found out about them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import Enum
from importlib.resources import files
from typing import Any

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.dependencies import TASK, TASK_GROUP

UNKNOWN = "(unknown)"
"""Stands for what a template hides."""

NO_REASON = "no reason given"
"""Stands for the error of a DAG file, or of the process that parsed it, that has no text."""


class Status(str, Enum):
    """What a check found out about an edge."""

    OK = "ok"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    UNCHECKED = "unchecked"


@dataclass
class Edge:
    """
    A local task, or a DAG's schedule, that depends on one thing of a remote deployment.

    :param local: name of the local deployment.
    :param task_id: ``None`` for an asset watcher of the DAG's schedule.
    :param operator: name of the class.
    :param file: DAG file, below the folder.
    :param how: what the task does, such as ``triggers``.
    :param conn_id: connection of the remote deployment; ``None`` if it is not known before the task runs, as for the
        next two.
    :param name: id, name or URI of what is depended on.
    :param remote_dag_id: its DAG, if it is a task or a task group.
    :param slots: how many slots a pool must have.
    :param optional: whether the task also succeeds if it does not exist.
    :param problems: what is wrong, in one sentence each.
    """

    local: str
    dag_id: str
    task_id: str | None
    operator: str
    file: str
    how: str
    conn_id: str | None
    kind: str
    name: str | None
    remote_dag_id: str | None = None
    slots: int | None = None
    optional: bool = False
    status: Status = Status.UNCHECKED
    problems: list[str] = field(default_factory=list)

    @property
    def source(self) -> str:
        """The local task, for people."""
        return self.task_id if self.task_id is not None else "(schedule)"

    @property
    def target(self) -> str:
        """What is depended on, for people."""
        name = UNKNOWN if self.name is None else self.name
        if self.kind in (TASK, TASK_GROUP):
            return f"{UNKNOWN if self.remote_dag_id is None else self.remote_dag_id}.{name}"
        return name

    @property
    def is_known(self) -> bool:
        """Whether the DAG file says what is depended on, and through which connection."""
        needed = [self.conn_id, self.name, *([self.remote_dag_id] if self.kind in (TASK, TASK_GROUP) else [])]
        return None not in needed

    @property
    def connection(self) -> str:
        """The connection, for people."""
        return UNKNOWN if self.conn_id is None else self.conn_id

    def break_(self, problem: str) -> None:
        """Mark it as broken. :param problem: a sentence."""
        self.status = Status.BROKEN
        self.problems.append(untrusted.readable(problem))

    def leave_unknown(self) -> None:
        """Mark what only shows when the task runs, unless a problem is known already."""
        if self.status is not Status.BROKEN:
            self.status = Status.UNKNOWN


@dataclass(frozen=True)
class ImportFailure:
    """
    A DAG file that could not be read.

    :param local: name of its deployment.
    :param file: below the folder.
    :param error: why, in one line.
    """

    local: str
    file: str
    error: str


@dataclass
class Map:
    """
    What local DAGs depend on.

    :param edges: in the order of deployment, DAG and task.
    :param dags: how many local DAGs were read.
    :param import_errors: the DAG files that could not be read.
    :param unreachable: why a deployment could not be checked, by connection.
    :param checked: whether the remote deployments were read.
    """

    edges: list[Edge] = field(default_factory=list)
    dags: int = 0
    import_errors: list[ImportFailure] = field(default_factory=list)
    unreachable: dict[str, str] = field(default_factory=dict)
    checked: bool = False

    @property
    def broken(self) -> Sequence[Edge]:
        """The edges in which the check found a problem."""
        return [edge for edge in self.edges if edge.status is Status.BROKEN]

    def find(self, **values: Any) -> list[Edge]:
        """
        The edges that have these values.

        :param values: by fields of :class:`Edge`, such as ``dag_id="sales"``.
        :raises TypeError: for a field that edges do not have.
        """
        unknown = values.keys() - {each.name for each in fields(Edge)}
        if unknown:
            raise TypeError(f"An edge has no field {', '.join(map(repr, sorted(unknown)))}.")
        return [edge for edge in self.edges if all(getattr(edge, name) == value for name, value in values.items())]

    def by_connection(self) -> Iterator[tuple[str | None, list[Edge]]]:
        """The edges of each connection."""
        for conn_id in dict.fromkeys(edge.conn_id for edge in self.edges):
            yield conn_id, [edge for edge in self.edges if edge.conn_id == conn_id]

    def as_dict(self) -> dict[str, Any]:
        """The map as plain JSON, which :func:`json_schema` describes."""
        return {
            "dags": self.dags,
            "checked": self.checked,
            "edges": [{**asdict(edge), "status": edge.status.value} for edge in self.edges],
            "import_errors": [asdict(each) for each in self.import_errors],
            "unreachable": self.unreachable,
        }


def json_schema() -> dict[str, Any]:
    """The JSON Schema of what ``astronomer-remote map --output json`` prints."""
    text = (files("astronomer_remote.map") / "schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema
