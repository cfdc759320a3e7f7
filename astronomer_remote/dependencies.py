"""What a task or an asset trigger depends on in a remote deployment; each class states it for the map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

DAG, TASK, TASK_GROUP, ASSET, POOL, POOLS = "DAG", "task", "task group", "asset", "pool", "pools"
"""Kinds of what is depended on; the last stands for all pools of a deployment."""


@dataclass(frozen=True)
class Dependency:
    """
    One thing of a remote deployment that a task depends on.

    Its values are those of the DAG file; the map shows a template, or the result of another task, as unknown.

    :param how: what the task does with it, such as ``triggers``.
    :param kind: what it is, such as :data:`DAG`.
    :param name: its id, its name, or the asset.
    :param dag_id: DAG of a task or task group.
    :param slots: how many slots a pool must have.
    :param optional: whether the task also succeeds if it does not exist.
    :param conn_id: its connection; ``None`` for the task's own ``astronomer_conn_id``.
    """

    how: str
    kind: str
    name: Any
    dag_id: Any = None
    slots: Any = None
    optional: bool = False
    conn_id: Any = None

    def each(self) -> Iterator[Dependency]:
        """One for each name of a list or a mapping; itself if its names are not known."""
        # It imports Airflow, which what only shows a map does without.
        from astronomer_remote.arguments import is_plain

        if isinstance(self.name, str) and self.name.lstrip().startswith(("[", "{")):
            # A list as text, which is read when the task runs.
            yield replace(self, name=Ellipsis)
            return
        if not is_plain(self.name) or not isinstance(self.name, (list, tuple, set, frozenset, Mapping)):
            yield self
            return
        for name in self.name:
            yield replace(self, name=name)
