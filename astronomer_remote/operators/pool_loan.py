"""
Changes a pool of another deployment for a part of a DAG, and restores it whatever happens in between.

Three tasks do it. The first records the pool; the second changes it; the third, a teardown, restores what the first
recorded. The first two are setups, so that the third also runs if the second dies in the middle of the change, and a
retry of the second does not take the changed pool for the original one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from astronomer_remote.api.pools.loans import IF_CHANGED, Loan
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import Pool
from astronomer_remote.arguments import Readers
from astronomer_remote.arguments import description as text_of_description
from astronomer_remote.compat import was_cleared
from astronomer_remote.dependencies import POOL, Dependency
from astronomer_remote.exceptions import airflow_exceptions
from astronomer_remote.operators.base import RemoteOperator, one_of
from astronomer_remote.operators.pool import _PoolOperator, size
from astronomer_remote.operators.setup_teardown import setup_and_teardown

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = [
    "RemoteBorrowPoolSlotsOperator",
    "RemoteRecordPoolOperator",
    "RemoteReturnPoolSlotsOperator",
    "borrowed_slots",
]


def _loan_fields(value: Any, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidSettings(f"{name} must be what RemoteRecordPoolOperator returned, not {value!r}.")
    return value


class RemoteRecordPoolOperator(_PoolOperator):
    """
    Records a pool of another deployment, before slots are borrowed; changes nothing.

    :param pool_name: name of the pool (templated).
    :param slots: its size while slots are borrowed, -1 for unlimited (templated).
    :param temporary: whether the pool is created for this time, and deleted afterwards; default ``False``: it must
        exist, and only its size changes.
    :param description: description of a temporary pool; Airflow 1.10, 2.3 and later (templated).
    :param force: whether a temporary pool is deleted even if tasks still hold slots of it, default ``False``.
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: what the other two operators take as ``loan``.
    """

    template_fields: Sequence[str] = ("pool_name", "slots", "description", "astronomer_conn_id")
    readers: ClassVar[Readers] = {**_PoolOperator.readers, "slots": size, "description": text_of_description}

    def __init__(
        self,
        *,
        pool_name: str,
        slots: int | str,
        temporary: bool = False,
        description: str | None = None,
        force: bool = False,
        astronomer_conn_id: str = "astronomer_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_name=pool_name, astronomer_conn_id=astronomer_conn_id, **kwargs)
        self.slots: Any = slots
        self.temporary = temporary
        self.description = description
        self.force = force
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        return (Dependency("reads", POOL, task.pool_name, optional=task.temporary is True),)

    def execute(self, context: Context) -> dict[str, Any]:
        self.read_values()
        target = Pool(self.pool_name, self.slots, description=self.description)
        loan = self.hook.run_flow(
            lambda deployment: deployment.loans.record(
                target, temporary=self.temporary, force=self.force, recorded_before=was_cleared(context)
            )
        )
        self.log.info("Recorded: %s", loan)
        with airflow_exceptions():
            return loan.as_dict()


class _LoanOperator(RemoteOperator):
    template_fields: Sequence[str] = ("loan", "astronomer_conn_id")
    readers: ClassVar[Readers] = {**RemoteOperator.readers, "loan": _loan_fields}
    how: ClassVar[str]
    """What it does with the pool, for the map."""

    def __init__(self, *, loan: Any, astronomer_conn_id: str = "astronomer_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loan = loan
        self.astronomer_conn_id = astronomer_conn_id
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        # The task that recorded the pool names it.
        recorded_by = getattr(task.loan, "operator", None)
        return (Dependency(cls.how, POOL, getattr(recorded_by, "pool_name", task.loan), optional=True),)


class RemoteBorrowPoolSlotsOperator(_LoanOperator):
    """
    Changes a pool of another deployment as recorded; a setup.

    A retry finds what the try before it did. A pool that was changed since it was recorded is left alone.

    :param loan: what :class:`RemoteRecordPoolOperator` returned (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :raises Conflict: if the pool was changed since it was recorded.
    """

    how = "borrows slots of"

    def execute(self, context: Context) -> None:
        self.read_values()
        loan = _loan(self.loan)
        changed = self.hook.run_flow(lambda deployment: deployment.loans.take(loan))
        self.log.info("%s: %s", "Changed" if changed else "Changed already", loan)


class RemoteReturnPoolSlotsOperator(_LoanOperator):
    """
    Restores a pool of another deployment as it was recorded; a teardown.

    :param loan: what :class:`RemoteRecordPoolOperator` returned (templated).
    :param if_changed: what to do if the pool was changed by others meanwhile: ``fail`` (default), ``keep`` (leave it as
        it is) or ``restore`` (restore it all the same).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :raises Conflict: if the pool was changed by others meanwhile, and ``if_changed`` is ``fail``.
    :raises PoolIsOccupied: if tasks hold slots of a temporary pool; Airflow's retries apply.
    """

    how = "returns slots of"

    def __init__(self, *, if_changed: str = "fail", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.if_changed = if_changed
        with airflow_exceptions():
            one_of(if_changed, "if_changed", IF_CHANGED)

    def execute(self, context: Context) -> None:
        self.read_values()
        loan = _loan(self.loan)
        done = self.hook.run_flow(lambda deployment: deployment.loans.give_back(loan, if_changed=self.if_changed))
        self.log.info("%s", done)


@contextmanager
def borrowed_slots(
    pool_name: str,
    slots: int | str,
    *,
    temporary: bool | None = None,
    description: str | None = None,
    force: bool | None = None,
    if_changed: str | None = None,
    task_id: str = "borrow_slots",
    **kwargs: Any,
) -> Iterator[None]:
    """
    Change a pool of another deployment while the tasks of the ``with`` block run.

    ::

        with borrowed_slots("warehouse", slots=32):
            load() >> check()

    The DAG's ``max_active_runs`` should be 1: of two runs that borrow at once, the one that finishes later finds that
    the other has restored the pool.

    :param pool_name: as in :class:`RemoteRecordPoolOperator`, as are ``slots``, ``temporary``, ``description`` and
        ``force``.
    :param if_changed: as in :class:`RemoteReturnPoolSlotsOperator`.
    :param task_id: of the task that changes the pool; the others' are made from it by adding ``_record``, ``_return``
        and ``_done``. The last is empty; it lets the DAG run fail if the pool could not be restored.
    :param kwargs: of all three operators, ``astronomer_conn_id`` and ``retries`` for example; what is not given comes
        from the DAG's ``default_args``.
    """
    # A default here would override the DAG's default_args.
    about_pool = _given(temporary=temporary, description=description, force=force)
    record = RemoteRecordPoolOperator(
        task_id=f"{task_id}_record", pool_name=pool_name, slots=slots, **about_pool, **kwargs
    )
    borrow = RemoteBorrowPoolSlotsOperator(task_id=task_id, loan=record.output, **kwargs)
    give_back = RemoteReturnPoolSlotsOperator(
        task_id=f"{task_id}_return", loan=record.output, **_given(if_changed=if_changed), **kwargs
    )
    with setup_and_teardown(record, borrow, give_back):
        yield


def _given(**arguments: Any) -> dict[str, Any]:
    """The arguments that were given."""
    return {name: value for name, value in arguments.items() if value is not None}


def _loan(given: Mapping[str, Any]) -> Loan:
    with airflow_exceptions():
        return Loan.from_dict(given)
