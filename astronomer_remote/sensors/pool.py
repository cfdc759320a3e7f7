"""Waits for room in a pool of another deployment."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseSensorOperator
from airflow.providers.common.compat.sdk import conf as airflow_conf

from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.waiting.target import WaitStatus
from astronomer_remote.arguments import Readers, boolean, required_pool, room
from astronomer_remote.exceptions import PassingError, airflow_exceptions
from astronomer_remote.operators.connected import Connected
from astronomer_remote.operators.deferral import Limit, WaitsInTriggerer
from astronomer_remote.triggers.pool import RemotePoolTrigger
from astronomer_remote.triggers.wait import WaitEvent

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class RemotePoolSlotSensor(WaitsInTriggerer, BaseSensorOperator):
    """
    Waits until a pool of another deployment has open slots, or is empty.

    It takes no slots: whoever is next to ask finds the same ones open. Not on 1.10, which does not tell them.

    :param pool_name: name of the pool (templated).
    :param slots: how many slots shall be open, default 1 (templated).
    :param empty: whether to wait until no slot is occupied, instead; default ``False`` (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :param deferrable: whether to wait in the triggerer, where one listing of the pools serves all who wait there for
        the deployment; default ``[operators] default_deferrable``.
    :param kwargs: those of every sensor: ``poke_interval`` (seconds), ``timeout`` (seconds, from the start of a try;
        0: a single look), ``execution_timeout``, ``mode``, ``soft_fail``, …
    :raises NotFound: if there is no such pool.
    :raises AirflowSensorTimeout: when ``timeout`` has passed; Airflow does not retry the task.
    :raises AirflowTaskTimeout: when ``execution_timeout`` has passed; Airflow's retries apply.
    """

    template_fields: Sequence[str] = ("pool_name", "slots", "empty", "astronomer_conn_id")
    readers: ClassVar[Readers] = {**Connected.readers, "pool_name": required_pool, "slots": room, "empty": boolean}
    ui_color = "#4db7db"

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
        self.slots = slots
        self.empty = empty
        self.astronomer_conn_id = astronomer_conn_id
        self.deferrable = deferrable
        self.check_values()

    def execute(self, context: Context) -> Any:
        if not self.deferrable:
            return super().execute(context)
        limit = self.limit(context)
        with self.as_in_a_worker():
            if self.poke(context):
                return None
        return self._defer(context, limit)

    def _defer(self, context: Context, limit: Limit, begin: float | None = None) -> None:
        if limit.deadline <= time.time():
            self.time_out(limit.name, f"there is no such room in pool {self.pool_name!r}")
        trigger = RemotePoolTrigger(
            astronomer_conn_id=self.astronomer_conn_id,
            target=self._target().as_dict(),
            poke_interval=float(self.poke_interval),
            deadline=limit.deadline,
            begin=begin,
        )
        self.wait_in_triggerer(trigger, context, "execute_complete", limited_by=limit.name, deadline=limit.deadline)

    def wait_again(self, context: Context, limit: Limit, begin: float) -> None:
        self._defer(context, limit, begin)

    def poke(self, context: Context) -> bool:
        target = self._target()
        try:
            pool = self.hook.run_flow(lambda deployment: deployment.pools.get(target.pool, with_usage=True))
        except PassingError as error:
            # The timeout of the sensor says how long to wait, also for a remote that is down.
            self.log.warning("Could not poll the remote, will keep waiting: %s", error)
            return False
        self.log.info("%s", target.summary(pool))
        return target.is_met_by(pool)

    def execute_complete(self, context: Context, event: Any, limited_by: str = "timeout") -> None:
        """Come back from the triggerer."""
        with airflow_exceptions():
            ended = WaitEvent.parse(event)
            ended.raise_error()
        if ended.status is WaitStatus.TIMEOUT:
            self.time_out(limited_by, ended.summary or "the remote said nothing of the pool")
        self.log.info("%s", ended.summary)

    def _target(self) -> PoolTarget:
        self.read_values()
        return PoolTarget(self.pool_name, room(self.slots, "slots"), boolean(self.empty, "empty"))
