"""The trigger that waits for runs, tasks and task groups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from astronomer_remote.api.protocol.models import DagRun
from astronomer_remote.api.waiting.log_stream import log_sink
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus, WaitTarget
from astronomer_remote.compat import (
    TRIGGERS_HAVE_ON_KILL,
    triggerer_stats,
    was_trigger_given_up,
    was_trigger_stopped_by_a_person,
)
from astronomer_remote.exceptions import RemoteError
from astronomer_remote.triggers.base import RemoteTrigger

if TYPE_CHECKING:
    from astronomer_remote.hooks.astronomer import AstronomerHook

__all__ = ["RemoteWaitTrigger"]

SECONDS_TO_CANCEL = 20.0
"""How long a cancellation may take; Airflow grants ``[triggerer] on_kill_timeout``, 30 s by default."""


class RemoteWaitTrigger(RemoteTrigger):
    """
    Waits in the triggerer for a run, tasks or a task group of a remote deployment.

    It only reads, unless ``cancel_on_kill`` is set. Its ``target`` is a
    :class:`~astronomer_remote.api.waiting.target.WaitTarget` as a dict, the other arguments are those of
    :class:`~astronomer_remote.triggers.base.RemoteTrigger`.

    :param cancel_on_kill: whether this task triggered the remote run, so that the run is cancelled when a person ends
        the task while it waits, or when the deadline passes; default ``False``.
    """

    def __init__(self, *, cancel_on_kill: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cancel_on_kill = cancel_on_kill

    def arguments(self) -> dict[str, Any]:
        return {**super().arguments(), "cancel_on_kill": self.cancel_on_kill}

    async def watch(self, hook: AstronomerHook) -> WaitResult:
        from astronomer_remote.api.watch.watcher import watch

        result = await watch(
            WaitTarget.from_dict(self.target),
            settings=await hook.shared_settings(),
            reload=hook.async_settings,
            poke_interval=self.poke_interval,
            deadline=self.deadline,
            on_line=log_sink(self.log),
            stats=triggerer_stats(),
        )
        if result.status is not WaitStatus.TIMEOUT:
            return result
        self.log.warning("The wait has reached its time limit: %s", result.summary or "the remote has not answered yet")
        # Airflow 2 does not resume a task whose execution_timeout has passed, so the run is cancelled here.
        run = None if await self._is_given_up() else await self._cancel("its time limit has passed")
        return replace(result, run=run or result.run)

    async def on_kill(self) -> None:
        """Cancel the remote run that the task triggered; Airflow 3.3 calls it when a person ends the deferred task."""
        # Airflow also calls it when another triggerer has taken the trigger over, and the task keeps waiting there.
        await self._cancel_if_stopped(in_doubt=True)

    async def on_cancelled(self) -> None:
        """Before 3.3: cancel the remote run if a person ended the task; not if the triggerer restarts."""
        if not TRIGGERS_HAVE_ON_KILL:
            # In doubt the run continues: a person can cancel a run, but a restart must not cost one.
            await self._cancel_if_stopped(in_doubt=False)

    async def _cancel_if_stopped(self, *, in_doubt: bool) -> None:
        """:param in_doubt: whether to cancel the run if the local deployment does not say what happened."""
        if not self.cancel_on_kill:
            return
        stopped = await self._check_locally(was_trigger_stopped_by_a_person)
        if stopped is False:
            self.log.info("The triggerer stops; run %s continues in the remote", self.target["run_id"])
        if in_doubt if stopped is None else stopped:
            await self._cancel("its task was ended")

    async def _is_given_up(self) -> bool:
        """Whether a later try of the task continues with the run, so that this try's time limit does not count."""
        # dag.test() has no task instance for a trigger.
        if not self.cancel_on_kill or self.task_instance is None:
            return False
        given_up = await self._check_locally(was_trigger_given_up)
        if given_up:
            self.log.warning("A later try of this task continues with run %s", self.target["run_id"])
        return bool(given_up)

    async def _check_locally(self, check: Callable[[Any, str], Coroutine[Any, Any, bool]]) -> bool | None:
        """What the local deployment says about this task; ``None`` if it does not answer."""
        try:
            return await check(self.task_instance, self.target["run_id"])
        except Exception as error:  # noqa: BLE001  # the local deployment may be going down, in any way
            self.log.warning("The local deployment does not report the state of this task: %r", error)
            return None

    async def _cancel(self, why: str) -> DagRun | None:
        """Cancel the remote run if the task triggered it. :return: the run afterwards, ``None`` if that failed."""
        if not self.cancel_on_kill:
            return None
        from astronomer_remote.hooks.astronomer import AstronomerHook

        hook = AstronomerHook(self.astronomer_conn_id)
        dag_id, run_id = self.target["dag_id"], self.target["run_id"]
        try:
            run = await asyncio.wait_for(hook.async_cancel_dag_run(dag_id, run_id), SECONDS_TO_CANCEL)
        except (RemoteError, asyncio.TimeoutError) as error:
            self.log.warning("Could not cancel run %s of DAG %s in the remote: %s", run_id, dag_id, error)
            return None
        self.log.info("Run %s in the remote is now %s, since %s: %s", run_id, run.state, why, run.url)
        return run
