"""What a task has that is to wait for room in a remote pool before it does its work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from astronomer_remote.api.pools.target import PoolTarget
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.waiting.log_stream import log_sink
from astronomer_remote.api.waiting.target import WaitStatus
from astronomer_remote.arguments import Readers, optional_pool, optional_room
from astronomer_remote.exceptions import WaitTimeout, airflow_exceptions
from astronomer_remote.operators.connected import Connected
from astronomer_remote.triggers.pool import RemotePoolTrigger
from astronomer_remote.triggers.wait import WaitEvent

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context


class WaitsForRoom(Connected):
    """A task that waits for room in a pool of the remote. :meth:`execute_with_room` is what it does then."""

    readers: ClassVar[Readers] = {
        **Connected.readers,
        "wait_for_pool": optional_pool,
        "wait_for_pool_slots": optional_room,
    }

    wait_for_pool: str | None
    wait_for_pool_slots: int | str | None
    deferrable: bool
    log: Any

    def check_room(self) -> None:
        """Refuse what is known to be wrong."""
        if self.wait_for_pool_slots is not None and self.wait_for_pool is None:
            raise InvalidSettings("wait_for_pool_slots means nothing without wait_for_pool.")

    def read_values(self) -> None:
        super().read_values()
        if self.wait_for_pool is None:
            # Its template has rendered to nothing.
            self.wait_for_pool_slots = None

    def wait_for_room(self, context: Context, poke_interval: float, deadline: float | None) -> None:
        """Wait, here or in the triggerer; at once if none is to be waited for, or there is some."""
        if not self.wait_for_pool:
            return
        with airflow_exceptions():
            target = PoolTarget(self.wait_for_pool, optional_room(self.wait_for_pool_slots, "wait_for_pool_slots") or 1)
        if self.deferrable:
            pool = self.hook.run_flow(lambda deployment: deployment.pools.get(target.pool, with_usage=True))
            self.log.info("%s", target.summary(pool))
            if target.is_met_by(pool):
                return
            trigger = RemotePoolTrigger(
                astronomer_conn_id=self.astronomer_conn_id,
                target=target.as_dict(),
                poke_interval=poke_interval,
                deadline=deadline,
            )
            self.wait_in_triggerer(trigger, context, "execute_with_room")
        outcome = self.hook.run_flow(
            lambda deployment: deployment.pools.wait(
                target, poke_interval=poke_interval, deadline=deadline, on_line=log_sink(self.log)
            )
        )
        _conclude(outcome.status, outcome.summary)

    def come_back(self, event: Any) -> None:
        """Come back from the triggerer."""
        with airflow_exceptions():
            ended = WaitEvent.parse(event)
            ended.raise_error()
        _conclude(ended.status, ended.summary)


def _conclude(status: WaitStatus | None, summary: str) -> None:
    if status is WaitStatus.TIMEOUT:
        raise WaitTimeout(f"There was no room in time, and nothing was triggered: {summary}")
