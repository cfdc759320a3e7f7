"""Flows about DAGs: read, pause, check, and why one is missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from astronomer_remote.api.client.client import Client, one_retry_budget
from astronomer_remote.api.client.paging import PageReader
from astronomer_remote.api.dialects.base import Dialect, Operation, Page
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    DagIsPaused,
    DagNotFound,
    InvalidSettings,
    NotFound,
    PermanentError,
    RemoteError,
    ReplyTooLarge,
    TransientError,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import Dag, Generation, ImportFailure
from astronomer_remote.api.waiting.target import in_group

log = logging.getLogger(__name__)

PAGES_OF_IMPORT_ERRORS = 10
"""How many pages of broken DAG files are looked through for the one that may hold a DAG."""

MOST_IMPORT_ERRORS = 3
"""How many broken DAG files an error names."""


class Dags:
    """DAGs of one deployment."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @one_retry_budget
    def get(self, dag_id: str) -> Flow[Dag]:
        """Read one DAG. :raises DagNotFound: if there is none."""
        dialect = yield from self._client.dialect()
        try:
            return (yield from self._client.request(dialect.dag(dag_id)))
        except DagNotFound as error:
            raise (yield from self.explain_missing(dag_id, error)) from None

    def get_each(self, dag_ids: Collection[str]) -> Flow[dict[str, Dag | PermanentError]]:
        """
        Read several DAGs: from the listing of all, if that takes fewer requests than to read each.

        :return: for each, the DAG, or why it could not be read.
        """
        dialect = yield from self._client.dialect()
        found: dict[str, Dag | PermanentError] = {}
        found.update((yield from self._listed(dialect, dag_ids)))
        broken_files = None
        for dag_id in dag_ids:
            if dag_id in found:
                continue
            try:
                found[dag_id] = yield from self._client.request(dialect.dag(dag_id))
            except DagNotFound as error:
                if broken_files is None:
                    broken_files = yield from self._broken_files()
                found[dag_id] = _explained(dag_id, error, broken_files)
            except (AccessDenied, InvalidSettings) as error:
                found[dag_id] = error
        return found

    def _listed(self, dialect: Dialect, dag_ids: Collection[str]) -> Flow[dict[str, Dag]]:
        """Those of some DAGs that the listing holds; none if it is too long to be worth it."""
        if dialect.generation is Generation.EXPERIMENTAL:
            return {}

        def page(offset: int, limit: int) -> Operation[Page[Dag]]:
            return dialect.dags(offset=offset, limit=limit)

        listed = yield from self._client.read_named(page, lambda dag: dag.dag_id, lambda dag: [dag.dag_id], dag_ids)
        return {dag.dag_id: dag for dag in listed if dag.dag_id in dag_ids}

    @one_retry_budget
    def is_paused(self, dag_id: str) -> Flow[bool]:
        """Whether a DAG is paused. :raises DagNotFound: if there is none."""
        dialect = yield from self._client.dialect()
        if dialect.breaks_on_pause_of_unknown_dag:
            yield from self.get(dag_id)
        try:
            return (yield from self._client.request(dialect.is_paused(dag_id)))
        except DagNotFound as error:
            raise (yield from self.explain_missing(dag_id, error)) from None

    def refuse_paused(self, dag_id: str) -> Flow[None]:
        """:raises DagIsPaused: if the DAG is paused."""
        if (yield from self.is_paused(dag_id)):
            raise DagIsPaused(
                f"DAG {dag_id!r} is paused in the remote, so that its runs would not start. Unpause it there, or leave "
                "fail_when_dag_is_paused off."
            )

    @one_retry_budget
    def set_paused(self, dag_id: str, *, paused: bool) -> Flow[None]:
        """Pause or unpause a DAG."""
        dialect = yield from self._client.dialect()
        if dialect.breaks_on_pause_of_unknown_dag:
            yield from self.get(dag_id)
        yield from self._client.request(dialect.set_paused(dag_id, paused=paused))

    @one_retry_budget
    def check_existence(self, dag_id: str, task_ids: Sequence[str], task_group_id: str | None) -> Flow[None]:
        """
        Make sure that a DAG has certain tasks.

        :raises NotFound: naming what is missing.
        """
        dialect = yield from self._client.dialect()
        yield from self.get(dag_id)
        for task_id in task_ids:
            try:
                yield from self._client.request(dialect.task(dag_id, task_id))
            except NotFound as error:
                raise NotFound(f"The remote's DAG {dag_id!r} has no task {task_id!r}.", status=error.status) from None
        if task_group_id is not None:
            yield from self._check_group(dialect, dag_id, task_group_id)

    def _check_group(self, dialect: Dialect, dag_id: str, task_group_id: str) -> Flow[None]:
        known = yield from self.task_ids(dag_id)
        if known is None:
            log.warning("The remote does not show whether DAG %r has the task group %r", dag_id, task_group_id)
        elif not any(in_group(task_id, task_group_id) for task_id in known):
            raise NotFound(
                f"The remote's DAG {dag_id!r} has no task group {task_group_id!r}; a group made with "
                "prefix_group_id=False cannot be seen through the REST API."
            )

    @one_retry_budget
    def task_ids(self, dag_id: str) -> Flow[list[str] | None]:
        """
        The tasks of a DAG; ``None`` for a DAG of Airflow 2.2 that was triggered with a conf.

        :raises NotSupported: on 1.10.
        """
        dialect = yield from self._client.dialect()
        listing = dialect.task_ids(dag_id)
        while dialect.breaks_on_tasks_of_triggered_dag:
            try:
                return (yield from self._client.request(listing.once()))
            except ReplyTooLarge:
                raise
            except TransientError as error:
                if error.status == 500:
                    return None
                yield from self._client.back_off(error)
        return (yield from self._client.request(listing))

    def refused_param(self, dag_id: str, conf: Mapping[str, Any]) -> Flow[str | None]:
        """
        Which param of a DAG refuses a conf, as far as the remote and the param's schema show.

        :raises TransientError: if it may be shown later; the caller retries.
        """
        dialect = yield from self._client.dialect()
        try:
            params = yield from self._client.request(dialect.dag_params(dag_id).once())
        except (PermanentError, UnexpectedReply) as error:
            log.debug("The params of DAG %r are not known: %s", dag_id, error)
            return None
        return refused_param(params, conf)

    @one_retry_budget
    def explain_missing(self, dag_id: str, error: DagNotFound) -> Flow[DagNotFound]:
        """Add to the error of a missing DAG the DAG files that the remote could not parse, if it lists them."""
        return _explained(dag_id, error, (yield from self._broken_files()))

    def _broken_files(self) -> Flow[_BrokenFiles]:
        dialect = yield from self._client.dialect()

        def page(offset: int, limit: int) -> Operation[Page[ImportFailure]]:
            return dialect.import_failures(offset=offset, limit=limit)

        try:
            reader = PageReader(page, lambda each: each)
            yield from self._client.read_on(reader, PAGES_OF_IMPORT_ERRORS)
        except RemoteError:
            # Whatever keeps us from this extra must not hide the error it would only explain.
            return _BrokenFiles([], 0, are_listed=False)
        return _BrokenFiles(reader.items, reader.total)


class _BrokenFiles(NamedTuple):
    """
    The DAG files that a remote could not parse.

    :param total: how many there are.
    :param are_listed: whether the remote shows them.
    """

    failures: list[ImportFailure]
    total: int
    are_listed: bool = True


def _explained(dag_id: str, error: DagNotFound, files: _BrokenFiles) -> DagNotFound:
    """The error of a missing DAG, with the DAG files that the remote could not parse."""
    remark = "It reports no broken DAG file" if files.are_listed else "The remote does not list broken DAG files"
    failures = sorted(files.failures, key=lambda failure: dag_id not in failure.filename + failure.stack_trace)
    if failures:
        named = "; ".join(_last_line(failure) for failure in failures[:MOST_IMPORT_ERRORS])
        remark = f"It could not import {files.total} DAG file(s), and the DAG may be in one of them: {named}"
    return error.restated(
        DagNotFound,
        f"The remote knows no DAG {dag_id!r}, or does not show it to this account. {remark}. A new DAG file may "
        "not be parsed yet.",
    )


def _last_line(failure: ImportFailure) -> str:
    lines = failure.stack_trace.strip().splitlines()
    return f"{failure.filename} ({lines[-1].strip()[:200] if lines else 'no reason given'})"


# Params
#
# The schemas come from the remote, so that only what is cheap and harmless is checked: no pattern, no reference.

Check = Callable[[Any, Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


TYPES: Mapping[str, Callable[[Any], bool]] = {
    "array": lambda value: isinstance(value, list),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
    "null": lambda value: value is None,
    "number": _is_number,
    "object": lambda value: isinstance(value, dict),
    "string": lambda value: isinstance(value, str),
}

BOUNDS: Mapping[str, Check] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
}

LENGTHS: Mapping[str, Check] = {
    "minLength": lambda value, bound: len(value) >= bound,
    "maxLength": lambda value, bound: len(value) <= bound,
}


def refused_param(params: Mapping[str, Any], conf: Mapping[str, Any]) -> str | None:
    """
    What is wrong with a conf, in one sentence.

    :param params: the DAG's params by name, as its details hold them: each with ``value`` and ``schema``.
    :param conf: what the run was to be given.
    :return: ``None`` if nothing was found, which does not mean that nothing is wrong.
    """
    for name, param in params.items():
        if not isinstance(param, dict) or not isinstance(param.get("schema"), dict):
            continue
        value = conf.get(name, param.get("value"))
        for keyword, target in param["schema"].items():
            if not _fits(value, keyword, target):
                given = f"has the value {value!r:.80}" if name in conf else "is not given"
                return f"Param {name!r:.80} {given}, and its schema wants {keyword} {target!r:.80}."
    return None


def _fits(value: Any, keyword: str, target: Any) -> bool:
    """Whether a value satisfies one keyword of a JSON schema; ``True`` for what is not checked here."""
    if keyword == "type":
        names = [target] if isinstance(target, str) else [each for each in _items(target) if isinstance(each, str)]
        return not set(names) & set(TYPES) or any(TYPES[name](value) for name in names if name in TYPES)
    if keyword == "enum":
        # To Python, True is 1; to JSON it is not.
        same = (each == value and isinstance(each, bool) is isinstance(value, bool) for each in _items(target))
        return not isinstance(target, list) or any(same)
    if keyword in BOUNDS:
        return not (_is_number(value) and _is_number(target)) or BOUNDS[keyword](value, target)
    if keyword in LENGTHS:
        return not (isinstance(value, str) and _is_number(target)) or LENGTHS[keyword](value, target)
    return True


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
