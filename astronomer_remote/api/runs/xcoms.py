"""Reads what the tasks of a run returned, as JSON of the types it had, or an error that says why not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.client.paging import INSTANCES_PER_PAGE, instance_key
from astronomer_remote.api.dialects.base import Operation, Page
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import ListingChanged, NotFound, NotSupported
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import REMOVED, DagRun, TaskInstance

RETURN_VALUE = "return_value"
"""XCom key of what a task returned."""

LARGEST_RESULTS = 256 * 1024
"""Bytes of all results together, as JSON: they become an XCom of the local deployment."""

MOST_INSTANCES = 100
"""Instances of a mapped task whose results are read: each is a request of its own."""

TEXT_OF_AN_OBJECT = re.compile(r"([\w.]+)@version=\d+\(")
"""How Airflow 2.10 and 2.11 send a value that is not JSON; sets and tuples look like any text there."""

SEQUENCES = {"builtins.tuple", "builtins.set", "builtins.frozenset"}
"""What becomes a list, as JSON has it."""


class Results:
    """XCom values of finished runs of one deployment."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def check(self) -> Flow[None]:
        """:raises NotSupported: if the remote sends no XCom as JSON."""
        dialect = yield from self._client.dialect()
        if not dialect.has_typed_xcoms:
            raise dialect.cannot("return XCom values with their types", "Airflow 2.10 and later can.")

    def read(self, run: DagRun, results: Sequence[str] | Mapping[str, Sequence[str]]) -> Flow[dict[str, Any]]:
        """
        What tasks returned.

        :param results: ids of tasks whose return values are read, or by task id the XCom keys to read instead.
        :return: by task id the value or, if there are keys, the values by key; ``None`` for what is not there. Of a
            mapped task it is a list of them, in the order of its map indexes.
        :raises NotFound: if the run has no such task.
        :raises NotSupported: for values that are no JSON or nested too deeply, or of more than 256 KiB together. In
            texts, what no database can hold (null characters, halves of surrogate pairs) is replaced by ``�``.
        """
        yield from self.check()
        found: dict[str, Any] = {}
        size = 0
        instances: list[TaskInstance] | None = None
        by_key = isinstance(results, Mapping)
        keys = results if isinstance(results, Mapping) else dict.fromkeys(results, (RETURN_VALUE,))
        for task_id in keys:
            values: dict[str, Any] = {}
            for key in keys[task_id]:
                value, there = yield from self._value(run, task_id, key, -1)
                if not there:
                    instances = instances if instances is not None else (yield from self._instances(run))
                    value = yield from self._of_instances(run, task_id, key, instances, size)
                size += untrusted.size(value)
                _check_size(run, size)
                values[key] = value
            found[task_id] = values if by_key else values[RETURN_VALUE]
        _check_size(run, untrusted.size(found))
        return found

    def all_skipped(self, run: DagRun) -> Flow[bool]:
        """Whether a run has tasks, and every one of them was skipped. :raises NotSupported: on 1.10."""
        dialect = yield from self._client.dialect()
        everything = yield from self._client.request(dialect.task_instances(run, limit=1))
        skipped = yield from self._client.request(dialect.task_instances(run, state="skipped", limit=1))
        if skipped.total in (0, everything.total):
            return skipped.total > 0
        # Those that its DAG does not have any more do not count.
        removed = yield from self._client.request(dialect.task_instances(run, state=REMOVED, limit=1))
        return everything.total == skipped.total + removed.total

    def _instances(self, run: DagRun) -> Flow[list[TaskInstance]]:
        dialect = yield from self._client.dialect()

        def page(offset: int, limit: int) -> Operation[Page[TaskInstance]]:
            return dialect.task_instances(run, offset=offset, limit=limit)

        reader = yield from self._client.read_all(page, instance_key, widest=INSTANCES_PER_PAGE)
        if not reader.whole or reader.unreadable:
            raise ListingChanged(
                f"Not all task instances of run {run.run_id!r} are known, so that results may be missing."
            )
        return [each for each in reader.items if each.state != REMOVED]

    def _of_instances(
        self, run: DagRun, task_id: str, key: str, instances: Sequence[TaskInstance], size: int
    ) -> Flow[Any]:
        """
        The values of a mapped task; ``None`` if the task is none, and so has no such value.

        :param size: bytes of the results that were read before.
        """
        indexes = sorted(each.map_index for each in instances if each.task_id == task_id)
        if not indexes:
            raise NotFound(
                f"Run {run.run_id!r} of DAG {run.dag_id!r} has no task {task_id!r}, so its result cannot be read."
            )
        if indexes == [-1]:
            return None
        if len(indexes) > MOST_INSTANCES:
            raise NotSupported(
                f"Task {task_id!r} has {len(indexes)} instances, and the results of {MOST_INSTANCES} are the most that "
                "are read. Let a task after it collect them."
            )
        values = []
        for index in indexes:
            value, _ = yield from self._value(run, task_id, key, index)
            size += untrusted.size(value)
            _check_size(run, size)
            values.append(value)
        return values

    def _value(self, run: DagRun, task_id: str, key: str, index: int) -> Flow[tuple[Any, bool]]:
        """A value, and whether there is one: Airflow keeps none of a task that returns ``None``."""
        dialect = yield from self._client.dialect()
        try:
            value = yield from self._client.request(dialect.xcom(run.dag_id, run.run_id, task_id, key, index))
        except NotFound:
            return None, False
        return _plain(value, f"XCom {key!r} of task {task_id!r} in run {run.run_id!r}"), True


def _check_size(run: DagRun, size: int) -> None:
    """:raises NotSupported: if results are too large; at once, before more of them are read."""
    if size > LARGEST_RESULTS:
        raise NotSupported(
            f"The results of run {run.run_id!r} are {size} bytes of JSON or more, and {LARGEST_RESULTS} are the most "
            "that are handed on. Let its tasks return where their data is, rather than the data."
        )


def _plain(value: Any, name: str, levels: int = untrusted.DEEPEST) -> Any:
    """A value as JSON. :raises NotSupported: naming what it is instead."""
    if isinstance(value, (dict, list)) and not levels:
        raise _no_json(name, f"nested more than {untrusted.DEEPEST} times")
    if isinstance(value, dict):
        kind = value.get("__classname__")
        if kind is None:
            return {key: _plain(each, name, levels - 1) for key, each in value.items()}
        value = value.get("__data__") if kind in SEQUENCES else kind
        if not isinstance(value, list):
            raise _no_json(name, str(kind))
    if isinstance(value, list):
        return [_plain(each, name, levels - 1) for each in value]
    if isinstance(value, int) and untrusted.storable(value) != value:
        raise _no_json(name, "an integer of more than 64 bits")
    text = TEXT_OF_AN_OBJECT.match(value) if isinstance(value, str) else None
    if text or (isinstance(value, float) and (value != value or value in (float("inf"), float("-inf")))):
        raise _no_json(name, text[1] if text else str(value))
    return value


def _no_json(name: str, kind: str) -> NotSupported:
    return NotSupported(
        f"{name} is not JSON, but {kind}. Let the task return text, numbers, lists and dicts of "
        "them, or leave it out of results."
    )
