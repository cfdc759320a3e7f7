"""Pauses DAGs of another deployment, and clears, cancels and deletes their runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.arguments import Readers, boolean, is_nothing, required_id
from astronomer_remote.dependencies import DAG, Dependency
from astronomer_remote.exceptions import DagRunNotFound, airflow_exceptions
from astronomer_remote.links import RemoteDagRunLink, publish_run
from astronomer_remote.operators.base import RemoteOperator, one_of
from astronomer_remote.operators.pool import IF_MISSING
from astronomer_remote.operators.setup_teardown import setup_and_teardown

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from astronomer_remote.api.deployment import Deployment
    from astronomer_remote.api.protocol.flow import Flow

__all__ = [
    "RemoteCancelDagRunOperator",
    "RemoteClearDagRunOperator",
    "RemoteDeleteDagRunOperator",
    "RemotePauseDagOperator",
    "RemoteRecordDagOperator",
    "RemoteRestoreDagOperator",
    "RemoteUnpauseDagOperator",
    "dag_paused",
]


def _was_paused(value: Any, name: str) -> bool:
    if is_nothing(value):
        raise InvalidSettings(f"{name} must be what RemoteRecordDagOperator returned.")
    return boolean(value, name)


class _DagOperator(RemoteOperator):
    """
    An operator for one DAG of another deployment.

    :param external_dag_id: DAG of the remote (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    """

    template_fields: Sequence[str] = ("external_dag_id", "astronomer_conn_id")
    readers: ClassVar[Readers] = {**RemoteOperator.readers, "external_dag_id": required_id}
    how = "reads"
    """What it does with the DAG, for the map."""

    def __init__(self, *, external_dag_id: str, astronomer_conn_id: str = "astronomer_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.external_dag_id = external_dag_id
        self.astronomer_conn_id = astronomer_conn_id
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        return (Dependency(cls.how, DAG, task.external_dag_id),)

    def _switch(self, *, paused: bool) -> bool:
        self.read_values()

        def flow(deployment: Deployment) -> Flow[bool]:
            was_paused = yield from deployment.dags.is_paused(self.external_dag_id)
            if was_paused != paused:
                yield from deployment.dags.set_paused(self.external_dag_id, paused=paused)
            return was_paused

        was_paused = self.hook.run_flow(flow)
        state = "paused" if paused else "not paused"
        self.log.info("DAG %s is %s %s", self.external_dag_id, "still" if was_paused is paused else "now", state)
        return was_paused


class RemoteRecordDagOperator(_DagOperator):
    """
    Records whether a DAG of another deployment is paused; changes nothing.

    :param external_dag_id: DAG of the remote (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: whether it is paused.
    """

    def execute(self, context: Context) -> bool:
        self.read_values()
        return self.hook.run_flow(lambda deployment: deployment.dags.is_paused(self.external_dag_id))


class RemotePauseDagOperator(_DagOperator):
    """
    Pauses a DAG of another deployment: its runs start no more tasks.

    :param external_dag_id: DAG of the remote (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: whether it was paused before.
    """

    how = "pauses"

    def execute(self, context: Context) -> bool:
        return self._switch(paused=True)


class RemoteUnpauseDagOperator(_DagOperator):
    """
    Unpauses a DAG of another deployment.

    :param external_dag_id: DAG of the remote (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: whether it was paused before.
    """

    how = "unpauses"

    def execute(self, context: Context) -> bool:
        return self._switch(paused=False)


class RemoteRestoreDagOperator(_DagOperator):
    """
    Pauses or unpauses a DAG of another deployment as recorded; a teardown.

    :param external_dag_id: DAG of the remote (templated).
    :param paused: what :class:`RemoteRecordDagOperator` returned (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    """

    template_fields: Sequence[str] = ("external_dag_id", "paused", "astronomer_conn_id")
    readers: ClassVar[Readers] = {**_DagOperator.readers, "paused": _was_paused}
    how = "restores"

    def __init__(self, *, paused: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.paused = paused
        self.check_values()

    def execute(self, context: Context) -> None:
        self.read_values()
        self._switch(paused=self.paused)


class _DagRunOperator(_DagOperator):
    """
    An operator for one DAG run of another deployment.

    :param external_run_id: the run (templated).
    """

    template_fields: Sequence[str] = ("external_dag_id", "external_run_id", "astronomer_conn_id")
    readers: ClassVar[Readers] = {**_DagOperator.readers, "external_run_id": required_id}
    operator_extra_links = (RemoteDagRunLink(),)

    def __init__(self, *, external_run_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.external_run_id = external_run_id
        self.check_values()

    def _publish(self, context: Context, run: DagRun) -> dict[str, Any]:
        publish_run(context, run)
        self.log.info("Run %s is %s: %s", run.run_id, run.state, run.url)
        return run.as_dict()


class RemoteClearDagRunOperator(_DagRunOperator):
    """
    Clears a DAG run of another deployment, so that it runs again under its run id.

    A retry of the task clears the run again. Not on 1.10, whose API cannot.

    :param external_dag_id: DAG of the remote (templated).
    :param external_run_id: the run (templated).
    :param only_failed: only its failed and upstream-failed tasks, default ``False``.
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: the run as a dict of plain JSON (see :class:`astronomer_remote.api.protocol.models.DagRun`).
    """

    how = "clears runs of"

    def __init__(self, *, only_failed: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.only_failed = only_failed

    def execute(self, context: Context) -> dict[str, Any]:
        self.read_values()
        run = self.hook.clear_dag_run(self.external_dag_id, self.external_run_id, only_failed=self.only_failed)
        return self._publish(context, run)


class RemoteCancelDagRunOperator(_DagRunOperator):
    """
    Sets a DAG run of another deployment to failed, which ends its tasks; a finished run is left as it is.

    Not on remotes before 2.2, whose API cannot.

    :param external_dag_id: DAG of the remote (templated).
    :param external_run_id: the run (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: the run as a dict of plain JSON (see :class:`astronomer_remote.api.protocol.models.DagRun`).
    """

    how = "cancels runs of"

    def execute(self, context: Context) -> dict[str, Any]:
        self.read_values()
        return self._publish(context, self.hook.cancel_dag_run(self.external_dag_id, self.external_run_id))


class RemoteDeleteDagRunOperator(_DagRunOperator):
    """
    Deletes a DAG run of another deployment. Airflow 3.1 and later do not delete a running one; 1.10 cannot delete runs.

    :param external_dag_id: DAG of the remote (templated).
    :param external_run_id: the run (templated).
    :param if_missing: what to do if there is no such run: ``skip`` (default; the task succeeds) or ``fail``. A retry
        after a try that deleted the run and then died fails with ``fail``, as nothing shows which task deleted it.
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: whether there was such a run.
    """

    how = "deletes runs of"

    def __init__(self, *, if_missing: str = "skip", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.if_missing = if_missing
        with airflow_exceptions():
            one_of(if_missing, "if_missing", IF_MISSING)

    def execute(self, context: Context) -> bool:
        self.read_values()
        try:
            self.hook.delete_dag_run(self.external_dag_id, self.external_run_id)
        except DagRunNotFound as error:
            if self.if_missing == "fail":
                raise error.restated(
                    DagRunNotFound,
                    f"{error.message} An earlier try of this task may have deleted it; if_missing='skip' lets the task "
                    "succeed then.",
                ) from None
            self.log.info("Run %s does not exist", self.external_run_id)
            return False
        return True


@contextmanager
def dag_paused(
    external_dag_id: str, *, paused: bool = True, task_id: str | None = None, **kwargs: Any
) -> Iterator[None]:
    """
    Keep a DAG of another deployment paused while the tasks of the ``with`` block run, and restore it afterwards.

    ::

        with dag_paused("load_sales"):
            migrate()

    :param external_dag_id: DAG of the remote.
    :param paused: ``False`` keeps it unpaused instead.
    :param task_id: of the task that switches it, default ``pause`` or ``unpause`` and the DAG's id; the others' are
        made from it by adding ``_record``, ``_restore`` and ``_done``. The last is empty; it lets the DAG run fail if
        the DAG could not be restored.
    :param kwargs: of all three operators, ``astronomer_conn_id`` and ``retries`` for example; what is not given comes
        from the DAG's ``default_args``.
    """
    kwargs["external_dag_id"] = external_dag_id
    switch = RemotePauseDagOperator if paused else RemoteUnpauseDagOperator
    name = task_id or f"{'pause' if paused else 'unpause'}_{external_dag_id}"
    record = RemoteRecordDagOperator(task_id=f"{name}_record", **kwargs)
    change = switch(task_id=name, **kwargs)
    restore = RemoteRestoreDagOperator(task_id=f"{name}_restore", paused=record.output, **kwargs)
    with setup_and_teardown(record, change, restore):
        yield
