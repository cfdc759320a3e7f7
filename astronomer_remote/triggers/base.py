"""What every trigger of this package shares, and the event that it ends with."""

from __future__ import annotations

import asyncio
import time
import traceback
from abc import abstractmethod
from collections.abc import AsyncIterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowNotFoundException
from airflow.triggers.base import BaseTrigger, TriggerEvent

from astronomer_remote.api.protocol import errors, untrusted
from astronomer_remote.api.waiting.target import WaitResult, WaitStatus
from astronomer_remote.compat import AIRFLOW_3
from astronomer_remote.exceptions import BY_NAME, RemoteError, airflow_exceptions

if TYPE_CHECKING:
    from astronomer_remote.hooks.astronomer import AstronomerHook

MOST_TRACEBACK_LINES = 200
"""Lines at the end of a traceback that are logged."""

SECONDS_TO_SETTLE = 15.0
"""How long after its start a trigger may send its event at the earliest."""

SECONDS_TO_LOG = 5.0
"""
How long after the last line of its log a trigger may send its event at the earliest, in Airflow 3.

There, lines and events go through two sockets to the process that writes the logs (``TriggerRunnerSupervisor``). If it
is busy and reads both at once, it closes the log of the task before it gets to the lines, and writes them to its own.
"""


class RemoteTrigger(BaseTrigger):
    """
    Waits in the triggerer for something in a remote deployment.

    Its arguments are plain JSON and the id of a connection; they contain no secret.

    :param astronomer_conn_id: connection of type ``astronomer``.
    :param target: what is waited for, as a dict.
    :param poke_interval: seconds between two polls.
    :param deadline: when to give up, in seconds since the epoch, default never. A restart of the triggerer does not
        change it.
    :param begin: when to poll first, in seconds since the epoch, default at once.
    """

    def __init__(
        self,
        *,
        astronomer_conn_id: str,
        target: dict[str, Any],
        poke_interval: float,
        deadline: float | None = None,
        begin: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # so in Airflow
        self.astronomer_conn_id = astronomer_conn_id
        self.target = target
        self.poke_interval = poke_interval
        self.deadline = deadline
        self.begin = begin

    def arguments(self) -> dict[str, Any]:
        """The arguments that make the same trigger again."""
        return {
            "astronomer_conn_id": self.astronomer_conn_id,
            "target": self.target,
            "poke_interval": self.poke_interval,
            "deadline": self.deadline,
            "begin": self.begin,
        }

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return f"{type(self).__module__}.{type(self).__qualname__}", self.arguments()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait. :return: exactly one event, a :class:`~astronomer_remote.api.waiting.target.WaitResult` as a dict."""
        began = time.monotonic()
        try:
            result = await self._result()
            await self._settle(began, result)
        except asyncio.CancelledError:
            await self.on_cancelled()
            raise
        yield TriggerEvent(result.as_dict())  # type: ignore[no-untyped-call]  # so in Airflow

    @abstractmethod
    async def watch(self, hook: AstronomerHook) -> WaitResult:
        """Wait for the target. Whatever it raises ends the wait as an error."""

    async def on_cancelled(self) -> None:
        """Called when Airflow cancels the trigger."""

    async def _result(self) -> WaitResult:
        await asyncio.sleep(max(0.0, (self.begin or 0.0) - time.time()))
        # It imports HTTP libraries, which takes about a second: in a thread, as all triggers share this event loop.
        await asyncio.to_thread(import_module, "astronomer_remote.hooks.astronomer")
        from astronomer_remote.hooks.astronomer import AstronomerHook

        # Without the adapter for `requests`, which is not used here and is made of a dozen objects per trigger.
        hook = AstronomerHook(self.astronomer_conn_id, tcp_keep_alive=False)
        try:
            return await self.watch(hook)
        except (errors.RemoteError, AirflowNotFoundException) as error:
            return WaitResult.of_error(error)
        except Exception as error:  # noqa: BLE001  # its text may repeat what a remote sent, and Airflow would store it
            lines = "".join(traceback.format_exception(error)).splitlines()
            text = "\n".join(f"    | {untrusted.readable(line)}" for line in lines[-MOST_TRACEBACK_LINES:])
            # Its traceback is in the text, line by line.
            self.log.error("The wait ended with an unexpected error:\n%s", text)  # noqa: TRY400
            return WaitResult.of_error(error, f"Unexpected in the triggerer: {type(error).__name__}: {error}")

    async def _settle(self, began: float, result: WaitResult) -> None:
        """
        Wait until Airflow has recorded the deferral, and what was logged.

        The executor may report many seconds later that the worker is done with the task. If the scheduler has queued
        the task again by then, it takes the report for one about the new attempt, and fails the task
        (``SchedulerJobRunner.process_executor_events``). The start of the task does not help here: triggering the run
        may have taken a while.

        :param began: when the trigger started, by the monotonic clock.
        :param result: of the wait. If it succeeded, the last lines of the log do not matter, unless they are copies.
        """
        if getattr(self, "trigger_id", None) is None:  # dag.test() has no executor
            return
        recorded, now = began + SECONDS_TO_SETTLE, time.monotonic()
        has_lines = bool(self.target.get("stream")) or result.status in (None, WaitStatus.TIMEOUT)
        logged = now + SECONDS_TO_LOG if AIRFLOW_3 and has_lines else now
        await asyncio.sleep(max(recorded, logged) - now)


def read_event(event: Any) -> WaitResult:
    """
    The result in an event of a trigger.

    :raises RemoteError: the error that ended the wait, if one did.
    :raises UnexpectedReply: if the event is not one of this package, as after an upgrade during the wait.
    """
    with airflow_exceptions():
        result = WaitResult.parse(event)
    if result.status is None:
        if result.error == AirflowNotFoundException.__name__:
            raise AirflowNotFoundException(result.summary)
        raise BY_NAME.get(str(result.error), RemoteError)(result.summary)
    return result
