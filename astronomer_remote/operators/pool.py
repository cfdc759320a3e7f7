"""Creates, updates, deletes and synchronises pools of another deployment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from astronomer_remote.api.pools.diff import MOST_LISTED, check_fields, check_slots
from astronomer_remote.api.pools.pools import check_deletable
from astronomer_remote.api.pools.sync import SyncProgress
from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.api.protocol.pool_changes import FIELDS
from astronomer_remote.arguments import Readers, boolean, description, is_nothing, required_pool, text, whole
from astronomer_remote.dependencies import POOL, POOLS, Dependency
from astronomer_remote.exceptions import NotFound, RemoteError, airflow_exceptions
from astronomer_remote.operators.base import RemoteOperator, one_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from astronomer_remote.api.deployment import Deployment
    from astronomer_remote.api.protocol.flow import Flow

__all__ = [
    "RemoteCreatePoolOperator",
    "RemoteDeletePoolOperator",
    "RemoteSyncPoolsOperator",
    "RemoteUpdatePoolOperator",
]

IF_EXISTS = ("fail", "skip", "update")
IF_MISSING = ("skip", "fail")


def size(value: Any, name: str) -> int:
    """A pool's size, also from the text a template renders to."""
    number = whole(value, name)
    check_slots(number)
    return number


def optional_size(value: Any, name: str) -> int | None:
    """The same; ``None`` if none was given."""
    return None if is_nothing(value) else size(value, name)


def _flag(value: Any, name: str) -> bool | None:
    return None if is_nothing(value) else boolean(value, name)


def _declaration(value: Any, name: str) -> Mapping[str, Any] | str | None:
    if is_nothing(value):
        return None
    if not isinstance(value, (Mapping, str)):
        raise InvalidSettings(f"{name} must be an object or its JSON text, not {type(value).__name__}.")
    return value


FIELD_READERS = {"description": description, "include_deferred": _flag}
"""Readers of a pool's optional fields."""


class _PoolOperator(RemoteOperator):
    """
    An operator for one pool of another deployment.

    :param pool_name: name of the pool (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    """

    template_fields: Sequence[str] = ("pool_name", "astronomer_conn_id")
    readers: ClassVar[Readers] = {**RemoteOperator.readers, "pool_name": required_pool}

    def __init__(self, *, pool_name: str, astronomer_conn_id: str = "astronomer_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pool_name = pool_name
        self.astronomer_conn_id = astronomer_conn_id
        self.check_values()


class RemoteCreatePoolOperator(_PoolOperator):
    """
    Creates a pool in another deployment.

    It is created once, even if requests or replies are lost. A retry of the task is different: a pool does not show who
    created it, so a retry does what the first try would have done. With ``if_exists="fail"`` it fails if the try before
    it created the pool and then died; ``skip`` and ``update`` succeed.

    :param pool_name: name of the pool (templated). It is not called ``pool``, which says where this task itself runs.
    :param slots: its size, -1 for unlimited on 1.10, and Airflow 3.1.8 and later (templated).
    :param description: its description; Airflow 1.10, 2.3 and later (templated).
    :param include_deferred: whether deferred tasks hold slots of it; Airflow 2.7 and later.
    :param if_exists: what to do if there is a pool of this name: ``fail`` (default), ``skip`` (leave it as it is; the
        task succeeds) or ``update`` (change it to what is given here).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: the pool as a dict of plain JSON (see :class:`astronomer_remote.api.protocol.models.Pool`).
    :raises Conflict: if there is a pool of this name, and ``if_exists`` is ``fail``.
    """

    template_fields: Sequence[str] = ("pool_name", "slots", "description", "include_deferred", "astronomer_conn_id")
    readers: ClassVar[Readers] = {**_PoolOperator.readers, **FIELD_READERS, "slots": size}

    def __init__(
        self,
        *,
        pool_name: str,
        slots: int | str,
        description: str | None = None,
        include_deferred: bool | None = None,
        if_exists: str = "fail",
        astronomer_conn_id: str = "astronomer_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_name=pool_name, astronomer_conn_id=astronomer_conn_id, **kwargs)
        self.slots: Any = slots
        self.description = description
        self.include_deferred = include_deferred
        self.if_exists = if_exists
        with airflow_exceptions():
            one_of(if_exists, "if_exists", IF_EXISTS)
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        return (Dependency("creates", POOL, task.pool_name, optional=True),)

    def execute(self, context: Context) -> dict[str, Any]:
        self.read_values()
        pool = Pool(self.pool_name, self.slots, description=self.description, include_deferred=self.include_deferred)
        made = self.hook.run_flow(lambda deployment: self._make(deployment, pool))
        return untrusted.shortened(made.as_dict())

    def _make(self, deployment: Deployment, pool: Pool) -> Flow[Pool]:
        if self.if_exists == "update":
            change = yield from deployment.pools.ensure(pool)
            self.log.info("%s", change or f"Pool {pool.name!r} is unchanged")
            return (yield from deployment.pools.get(pool.name))
        make = deployment.pools.create_if_missing if self.if_exists == "skip" else deployment.pools.create
        return (yield from make(pool))


class RemoteUpdatePoolOperator(_PoolOperator):
    """
    Updates the given fields of a pool in another deployment.

    :param pool_name: name of the pool (templated).
    :param slots: its new size, -1 for unlimited; default as it is (templated).
    :param description: its new description; default as it is (templated).
    :param include_deferred: whether deferred tasks hold slots of it; default as it is.
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: the pool as a dict of plain JSON (see :class:`astronomer_remote.api.protocol.models.Pool`).
    :raises NotFound: if there is no such pool.
    """

    template_fields: Sequence[str] = ("pool_name", "slots", "description", "include_deferred", "astronomer_conn_id")
    readers: ClassVar[Readers] = {**_PoolOperator.readers, **FIELD_READERS, "slots": optional_size}

    def __init__(
        self,
        *,
        pool_name: str,
        slots: int | str | None = None,
        description: str | None = None,
        include_deferred: bool | None = None,
        astronomer_conn_id: str = "astronomer_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_name=pool_name, astronomer_conn_id=astronomer_conn_id, **kwargs)
        self.slots: Any = slots
        self.description = description
        self.include_deferred = include_deferred
        self._check_change()
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        return (Dependency("updates", POOL, task.pool_name),)

    def _check_change(self) -> None:
        with airflow_exceptions():
            if self.slots is None and self.description is None and self.include_deferred is None:
                raise InvalidSettings("Give at least one of slots, description and include_deferred.")

    def execute(self, context: Context) -> dict[str, Any]:
        self.read_values()
        self._check_change()
        updated = self.hook.update_pool(
            self.pool_name, slots=self.slots, description=self.description, include_deferred=self.include_deferred
        )
        return untrusted.shortened(updated.as_dict())


class RemoteDeletePoolOperator(_PoolOperator):
    """
    Deletes an unused pool of another deployment.

    ``default_pool`` cannot be deleted; Airflow needs it. The use of the pool is checked just before it is deleted; a
    task may still take a slot in between.

    :param pool_name: name of the pool (templated).
    :param if_missing: what to do if there is no such pool: ``skip`` (default; the task succeeds) or ``fail``.
    :param force: delete it even if tasks hold slots of it, default ``False``. Tasks that wait for a slot of it never
        run then. Needed on 1.10, whose API does not show the use of a pool.
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: whether there was such a pool.
    :raises PoolIsOccupied: if tasks hold slots of it; Airflow's retries apply.
    :raises NotFound: if there is no such pool, and ``if_missing`` is ``fail``.
    """

    def __init__(
        self,
        *,
        pool_name: str,
        if_missing: str = "skip",
        force: bool = False,
        astronomer_conn_id: str = "astronomer_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_name=pool_name, astronomer_conn_id=astronomer_conn_id, **kwargs)
        self.if_missing = if_missing
        self.force = force
        with airflow_exceptions():
            check_deletable(pool_name)
            one_of(if_missing, "if_missing", IF_MISSING)
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        return (Dependency("deletes", POOL, task.pool_name, optional=task.if_missing == "skip"),)

    def execute(self, context: Context) -> bool:
        self.read_values()
        found = self.hook.run_flow(
            lambda deployment: deployment.pools.delete_if_unused(self.pool_name, force=self.force)
        )
        if not found and self.if_missing == "fail":
            raise NotFound(
                f"The remote has no pool {self.pool_name!r}. An earlier try of this task may have deleted it; "
                "if_missing='skip' lets the task succeed then."
            )
        self.log.info("Pool %r %s", self.pool_name, "was deleted" if found else "does not exist")
        return found


class RemoteSyncPoolsOperator(RemoteOperator):
    """
    Makes the pools of another deployment match a declaration.

    The differences are logged as a table before anything is changed. Pools are first enlarged and created, then made
    smaller, then deleted, so that tasks that move from one to another find slots. A field that is not declared stays as
    it is; ``default_pool`` is never deleted and keeps its description. After a failure the log and the XCom ``diff``
    show of each change whether it was done; run the task again to do the rest.

    :param pools: the declaration: an object with a pool's name as key, and as value its slots, or an object of slots,
        ``description``, ``include_deferred`` and ``team_name``; or the JSON text of that (templated).
    :param pools_file: instead: a file in the format of ``airflow pools export``, JSON or YAML, as the worker sees it
        (templated).
    :param source_conn_id: instead: connection of a deployment whose pools are the declaration (templated).
    :param fields: the fields to compare and change, default all: ``slots``, ``description``, ``include_deferred``,
        ``team_name``. For remotes that lack some of them.
    :param prune: whether pools that are not declared are deleted, default ``False``; not if tasks hold slots of them.
    :param force: with ``prune``: delete them even then, default ``False``. Needed on 1.10, whose API does not
        show the use of a pool.
    :param dry_run: only log and return the diff, default ``False``.
    :param astronomer_conn_id: connection of the deployment to change, default ``astronomer_default`` (templated).
    :return: the diff as a dict of plain JSON: ``changes`` (``pool``, ``action``, ``fields``, ``before``, ``after`` and,
        unless a dry run, ``outcome``), ``kept`` (reasons by pool) and ``same``. It holds the first 200 changes and
        kept pools, and 256 KiB at most; ``left_out`` has the number of those that are missing.
    """

    template_fields: Sequence[str] = (
        "pools",
        "pools_file",
        "source_conn_id",
        "prune",
        "is_dry_run",
        "astronomer_conn_id",
    )
    readers: ClassVar[Readers] = {
        **RemoteOperator.readers,
        "pools": _declaration,
        "pools_file": text,
        "source_conn_id": text,
        "prune": boolean,
        "is_dry_run": boolean,
    }
    template_fields_renderers = {"pools": "json"}  # noqa: RUF012  # as Airflow declares it

    def __init__(
        self,
        *,
        pools: Mapping[str, Any] | str | None = None,
        pools_file: str | None = None,
        source_conn_id: str | None = None,
        fields: Collection[str] = FIELDS,
        prune: bool | str = False,
        force: bool = False,
        dry_run: bool | str = False,
        astronomer_conn_id: str = "astronomer_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pools = pools
        self.pools_file = pools_file
        self.source_conn_id = source_conn_id
        self.fields = fields
        self.prune: Any = prune
        self.force = force
        self.is_dry_run: Any = dry_run  # Airflow has a method of the shorter name
        self.astronomer_conn_id = astronomer_conn_id
        with airflow_exceptions():
            check_fields(fields)
            self._check_source()
        self.check_values()

    def _check_source(self) -> None:
        given = [each for each in (self.pools, self.pools_file, self.source_conn_id) if each is not None]
        if len(given) != 1:
            raise InvalidSettings("Give exactly one of pools, pools_file and source_conn_id.")
        if self.source_conn_id == self.astronomer_conn_id:
            raise InvalidSettings(f"source_conn_id and astronomer_conn_id are both {self.source_conn_id!r}.")

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        if task.source_conn_id is not None:
            yield Dependency("copies", POOLS, "all", conn_id=task.source_conn_id)
            yield Dependency("sets", POOLS, "all")
        elif isinstance(task.pools, Mapping):
            yield from Dependency("sets", POOL, task.pools, optional=True).each()
        else:
            # The worker's file, or a text, which is read when the task runs.
            yield Dependency("sets", POOL, Ellipsis)

    def execute(self, context: Context) -> dict[str, Any]:
        self.read_values()
        with airflow_exceptions():
            self._check_source()
            declared = self._declared()
        found = self.hook.run_flow(
            lambda deployment: deployment.pool_sync.plan(
                declared, prune=self.prune, force=self.force, fields=self.fields
            )
        )
        self.log.info(
            "Pools of %s, compared with the declaration:\n%s", self.astronomer_conn_id, found.table(MOST_LISTED)
        )
        if self.is_dry_run:
            return found.for_xcom()
        progress = SyncProgress(found)
        try:
            self.hook.run_flow(
                lambda deployment: deployment.pool_sync.apply(found, force=self.force, progress=progress)
            )
        except RemoteError:
            context["ti"].xcom_push(key="diff", value=found.for_xcom(progress.outcomes))
            raise
        return found.for_xcom(progress.outcomes)

    def _declared(self) -> list[Pool]:
        from astronomer_remote.api.pools import files

        if self.source_conn_id is not None:
            return self.new_hook(self.source_conn_id).list_pools()
        if self.pools_file is not None:
            return files.read(self.pools_file)
        return files.from_text(self.pools)
