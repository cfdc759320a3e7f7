"""Waits for open slots in a pool of another deployment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf as airflow_conf

from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.waiting.target import WaitStatus
from astronomer_remote.arguments import Readers, boolean, required_pool, slots_to_wait_for
from astronomer_remote.dependencies import POOL, Dependency
from astronomer_remote.exceptions import TransientError
from astronomer_remote.operators.base import RemoteOperator
from astronomer_remote.sensors.base import RemoteSensor
from astronomer_remote.triggers.base import read_event
from astronomer_remote.triggers.pool import RemotePoolTrigger

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = ["RemotePoolSlotSensor"]


class RemotePoolSlotSensor(RemoteSensor):
    """
    Waits until a pool of another deployment has open slots, or is empty.

    It reserves no slots: the next task may find the same ones open. Not on 1.10, whose API does not report them.

    :param pool_name: name of the pool (templated).
    :param slots: how many slots must be open, default 1 (templated).
    :param empty: whether to wait until no slot is occupied, instead; default ``False`` (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :param deferrable: whether to wait in the triggerer, where one listing of the pools serves all tasks that wait there
        for the deployment; default ``[operators] default_deferrable``.
    :param kwargs: those of every sensor: ``poke_interval`` (seconds), ``timeout`` (seconds, from the start of a try;
        0: a single poll), ``execution_timeout``, ``mode``, ``soft_fail``, …
    :raises NotFound: if there is no such pool.
    :raises AirflowSensorTimeout: when ``timeout`` has passed; Airflow does not retry the task.
    :raises AirflowTaskTimeout: when ``execution_timeout`` has passed; Airflow's retries apply.
    """

    template_fields: Sequence[str] = ("pool_name", "slots", "empty", "astronomer_conn_id")
    readers: ClassVar[Readers] = {
        **RemoteOperator.readers,
        "pool_name": required_pool,
        "slots": slots_to_wait_for,
        "empty": boolean,
    }
    ui_color = "#4db7db"
    trigger_class = RemotePoolTrigger
    target: PoolTarget

    def __init__(
        self,
        *,
        pool_name: str,
        slots: int | str = 1,
        empty: bool | str = False,
        astronomer_conn_id: str = "astronomer_default",
        deferrable: bool = airflow_conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pool_name = pool_name
        self.slots: Any = slots
        self.empty: Any = empty
        self.astronomer_conn_id = astronomer_conn_id
        self.deferrable = deferrable
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        slots = 0 if task.empty is True else task.slots
        return (Dependency("waits for slots of", POOL, task.pool_name, slots=slots),)

    def make_target(self, context: Context) -> PoolTarget:
        self.read_values()
        return PoolTarget(self.pool_name, self.slots, self.empty)

    def poll(self, context: Context) -> bool:
        target = self.target
        try:
            pool = self.hook.run_flow(lambda deployment: deployment.pools.get(target.pool, with_usage=True))
        except TransientError as error:
            # The timeout of the sensor limits the wait, also while the remote is down.
            self.log.warning("Could not poll the remote, will keep waiting: %s", error)
            return False
        self.log.info("%s", target.summary(pool))
        return target.is_met_by(pool)

    def execute_complete(self, context: Context, event: Any, limited_by: str = "timeout") -> None:
        """Come back from the triggerer."""
        result = read_event(event)
        if result.status is WaitStatus.TIMEOUT:
            self.time_out(limited_by, result.summary or "the remote did not report the pool")
        self.log.info("%s", result.summary)
