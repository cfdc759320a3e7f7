"""The trigger behind every deferred wait, and the event it ends with."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from astronomer_remote.api.protocol import errors, untrusted
from astronomer_remote.api.protocol.errors import LONGEST_MESSAGE
from astronomer_remote.api.protocol.models import OUTLINE, DagRun
from astronomer_remote.api.waiting.log_stream import log_sink
from astronomer_remote.api.waiting.target import WaitStatus, WaitTarget
from astronomer_remote.compat import (
    TRIGGERS_HEAR_OF_KILLS,
    triggerer_stats,
    was_trigger_given_up,
    was_trigger_stopped_by_a_person,
)
from astronomer_remote.exceptions import BY_NAME, RemoteError, UnexpectedReply


@dataclass(frozen=True)
class WaitEvent:
    """
    How a deferred wait ended.

    It crosses the database of the local deployment, in which what a remote sent must not do harm: a triggerer ends,
    with all its waits, if an event cannot be stored. So of a run it holds what the task needs to read it again.

    :param status: how, or ``None`` if an error ended it.
    :param summary: how things stood, or the error's text; one line of up to 4000 characters.
    :param run: the run that was waited for, if it is a single one; without conf and note.
    :param error: name of the class of :mod:`astronomer_remote.exceptions`.
    """

    status: WaitStatus | None
    summary: str
    run: DagRun | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON of a few kilobytes at most, which any database can hold."""
        return {
            "status": self.status.value if self.status else None,
            "summary": untrusted.readable(self.summary, LONGEST_MESSAGE),
            "run": untrusted.storable(self.run.outline) if self.run else None,
            "error": self.error,
        }

    @classmethod
    def parse(cls, event: Any) -> WaitEvent:
        """
        Read what arrived from the database; an earlier version wrote more of the run.

        :raises UnexpectedReply: when it is no such event, as after an upgrade in mid-wait.
        """
        try:
            status, run = event["status"], event["run"]
            return cls(
                status=WaitStatus(status) if status is not None else None,
                summary=str(event["summary"]),
                run=DagRun(**{name: run[name] for name in OUTLINE}) if run is not None else None,
                error=event["error"],
            )
        except (KeyError, TypeError, ValueError):
            shown = untrusted.readable(repr(event))
            raise UnexpectedReply(f"The triggerer sent an event that is not one of this package: {shown}") from None

    @classmethod
    def of_error(cls, error: Exception) -> WaitEvent:
        """One of :data:`ENDS_A_WAIT` as an event."""
        return cls(None, str(error), error=type(error).__name__)

    @classmethod
    def of_unexpected(cls, error: Exception, log: Any) -> WaitEvent:
        """
        Any other exception as an event; its traceback goes to the log.

        Left to Airflow, it would reach the database with its text, which may repeat what a remote sent.
        """
        lines = "".join(traceback.format_exception(error)).splitlines()
        text = "\n".join(f"    | {untrusted.readable(line)}" for line in lines[-MOST_TRACEBACK_LINES:])
        log.error("The wait ended with an unexpected error:\n%s", text)
        return cls(None, f"Unexpected in the triggerer: {type(error).__name__}: {error}", error=type(error).__name__)

    def raise_error(self) -> None:
        """Raise the error that ended the wait, if one did."""
        if self.status is None:
            if self.error == AirflowNotFoundException.__name__:
                raise AirflowNotFoundException(self.summary)
            raise BY_NAME.get(str(self.error), RemoteError)(self.summary)


ENDS_A_WAIT = (errors.RemoteError, AirflowNotFoundException)
"""What a task is told as its own error; the latter is about a connection that does not exist."""

MOST_TRACEBACK_LINES = 200
"""Lines at the end of a traceback that are logged."""

SECONDS_TO_SETTLE = 15.0
"""How long after its begin a wait in a triggerer may end at the earliest."""

SECONDS_TO_CANCEL = 20.0
"""How long a cancellation may take; Airflow grants ``[triggerer] on_kill_timeout``, 30 s by default."""


async def load_http_libraries() -> None:
    """
    Import the hook, and with it the HTTP libraries, which a DAG file that imports an operator must not pay for.

    It takes about a second, for which the event loop would be held up that all triggers of a triggerer share.
    """
    await asyncio.to_thread(import_module, "astronomer_remote.hooks.astronomer")


async def settle(trigger: BaseTrigger, began: float) -> None:
    """
    Let Airflow take note of a deferral before it hears that the wait is over.

    The executor's report that the worker is done with the task may come many seconds after it is. A scheduler that has
    queued the task again by then takes the report to be about that, and fails the task
    (``SchedulerJobRunner.process_executor_events``). How long ago the task began says nothing of that: to make the
    run may have taken a while.

    :param began: when the trigger began, by the monotonic clock.
    """
    if getattr(trigger, "trigger_id", None) is None:  # dag.test() waits for no executor
        return
    await asyncio.sleep(max(0.0, began + SECONDS_TO_SETTLE - time.monotonic()))


class RemoteWaitTrigger(BaseTrigger):
    """
    Waits in the triggerer until something in a remote deployment has come about.

    It only ever reads, but for a cancellation. Its arguments are plain JSON and the id of a connection; no secret is
    among them.

    :param astronomer_conn_id: connection of type ``astronomer``.
    :param target: a :class:`~astronomer_remote.api.waiting.target.WaitTarget` as a dict.
    :param poke_interval: seconds between two looks.
    :param deadline: when to give up, in seconds since the epoch: it holds however often a triggerer restarts.
    :param begin: when to look first, in seconds since the epoch, default at once.
    :param cancel_on_kill: whether the remote run was made by this task, so that it is cancelled when somebody ends
        the task while it waits, or the deadline passes.
    """

    def __init__(
        self,
        *,
        astronomer_conn_id: str,
        target: dict[str, Any],
        poke_interval: float,
        deadline: float | None = None,
        cancel_on_kill: bool = False,
        begin: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # so in Airflow
        self.astronomer_conn_id = astronomer_conn_id
        self.target = target
        self.poke_interval = poke_interval
        self.deadline = deadline
        self.begin = begin
        self.cancel_on_kill = cancel_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "astronomer_conn_id": self.astronomer_conn_id,
                "target": self.target,
                "poke_interval": self.poke_interval,
                "deadline": self.deadline,
                "begin": self.begin,
                "cancel_on_kill": self.cancel_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait. :return: exactly one event, a :class:`WaitEvent` as a dict."""
        began = time.monotonic()
        try:
            event = await self._wait()
            await settle(self, began)
        except asyncio.CancelledError:
            if not TRIGGERS_HEAR_OF_KILLS:
                await self._find_out_why()
            raise
        yield TriggerEvent(event.as_dict())  # type: ignore[no-untyped-call]  # so in Airflow

    async def on_kill(self) -> None:
        """Cancel the remote run that the task made; Airflow 3.3 calls it when somebody ends the deferred task."""
        # It also does when another triggerer has taken the trigger over, where the task waits on.
        if await self._is_stopped(in_doubt=True):
            await self._cancel("its task was ended")

    async def _cancel(self, why: str) -> DagRun | None:
        """Cancel the remote run, if the task made it. :return: it as it is afterwards, ``None`` if that failed."""
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
        self.log.info("Cancelled run %s in the remote, since %s: %s", run_id, why, run.url)
        return run

    async def _find_out_why(self) -> None:
        """Before 3.3: cancel the remote run if it was a person that ended the task, and not a restart."""
        # In doubt the run is left alone: a run too many can be cancelled by hand, a restart must not cost one.
        if await self._is_stopped(in_doubt=False):
            await self._cancel("its task was ended")

    async def _is_stopped(self, *, in_doubt: bool) -> bool:
        """Whether the run is to be cancelled. :param in_doubt: the answer if the local deployment gives none."""
        if not self.cancel_on_kill:
            return False
        try:
            ended = await was_trigger_stopped_by_a_person(self.task_instance, self.target["run_id"])
        except Exception as error:  # noqa: BLE001  # the local deployment may be what goes down, in any way
            self.log.warning("Not known why the wait for run %s is ended: %r", self.target["run_id"], error)
            return in_doubt
        if not ended:
            self.log.info("The triggerer stops; run %s goes on in the remote", self.target["run_id"])
        return ended

    async def _is_given_up(self) -> bool:
        """Whether a later try of the task goes on with the run, so that the end of this one's time does not count."""
        # dag.test() has no task instance for a trigger.
        if not self.cancel_on_kill or self.task_instance is None:
            return False
        try:
            given_up = await was_trigger_given_up(self.task_instance, self.target["run_id"])
        except Exception as error:  # noqa: BLE001  # as above
            self.log.warning("Not known whether a further try waits for run %s: %r", self.target["run_id"], error)
            return False
        if given_up:
            self.log.warning("A further try of this task goes on with run %s", self.target["run_id"])
        return given_up

    async def _wait(self) -> WaitEvent:
        await asyncio.sleep(max(0.0, (self.begin or 0.0) - time.time()))
        await load_http_libraries()
        from astronomer_remote.api.watch.watcher import watch
        from astronomer_remote.hooks.astronomer import AstronomerHook

        hook = AstronomerHook(self.astronomer_conn_id)
        try:
            outcome = await watch(
                WaitTarget.from_dict(self.target),
                settings=await hook.async_settings(),
                reload=hook.async_settings,
                poke_interval=self.poke_interval,
                deadline=self.deadline,
                on_line=log_sink(self.log),
                stats=triggerer_stats(),
            )
        except ENDS_A_WAIT as error:
            return WaitEvent.of_error(error)
        except Exception as error:  # noqa: BLE001  # whatever it is, it must not reach the database as it is
            return WaitEvent.of_unexpected(error, self.log)
        run = outcome.run
        if outcome.status is WaitStatus.TIMEOUT:
            self.log.warning(
                "The time is over, and this is how things stand: %s", outcome.summary or "nothing is known"
            )
            # Airflow 2 does not let a task come back whose execution_timeout is over.
            if not await self._is_given_up():
                run = await self._cancel("its time is over") or run
        return WaitEvent(outcome.status, outcome.summary, run)
