"""The only module that depends on the version of the local Airflow, with the reason beside each difference."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import AirflowTaskTimeout, XCom, conf
from airflow.triggers.base import BaseTrigger
from asgiref.sync import sync_to_async

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator, Connection

try:
    # Airflow 3 moved it, and its serializer knows the new one only.
    from airflow.sdk.definitions._internal.types import NOTSET, ArgNotSet
except ImportError:
    from airflow.utils.types import NOTSET, ArgNotSet  # type: ignore[no-redef,attr-defined]

try:
    # compat.sdk has it only from 1.14.1 on.
    from airflow.providers.common.compat.sdk import determine_kwargs
except ImportError:
    from airflow.utils.operator_helpers import determine_kwargs  # type: ignore[attr-defined]

try:
    # compat.sdk has it only from 1.22 on.
    from airflow.sdk.log import mask_secret
except ImportError:
    from airflow.utils.log.secrets_masker import mask_secret  # type: ignore[no-redef,import-not-found]

try:
    from airflow.triggers.base import BaseEventTrigger
except ImportError:
    # Airflow 2 has none. The triggers that need it can be imported, but not made.
    BaseEventTrigger = BaseTrigger  # type: ignore[misc,assignment]

try:
    # Airflow 3.2 moved it.
    from airflow.sdk.exceptions import TaskDeferralError
except ImportError:
    from airflow.exceptions import TaskDeferralError  # type: ignore[no-redef]

__all__ = [
    "MOST_MASKED",
    "NOTSET",
    "TRIGGERS_HAVE_ON_KILL",
    "ArgNotSet",
    "BaseEventTrigger",
    "LocalState",
    "TaskDeferralError",
    "connection_of_a_command",
    "connection_parts",
    "data_interval_end",
    "determine_kwargs",
    "empty_operator",
    "intent_identity",
    "issued_secrets_masked",
    "logical_date",
    "map_index",
    "mask_issued_secret",
    "mask_secret",
    "off_the_loop",
    "parts_of_tested_connection",
    "polls_before_reschedule",
    "publish_try",
    "require_watchers",
    "store_state",
    "stored_state",
    "task_page",
    "triggerer_stats",
    "try_number",
    "unsent_events",
    "was_cleared",
    "was_given_up",
    "was_stopped_by_a_person",
    "was_trigger_given_up",
    "was_trigger_stopped_by_a_person",
]

T = TypeVar("T")

log = logging.getLogger(__name__)

AIRFLOW_3 = find_spec("airflow.sdk") is not None
"""Whether tasks use Airflow's API server rather than its database."""

TRIGGERS_HAVE_ON_KILL = hasattr(BaseTrigger, "on_kill")
"""Whether Airflow calls a trigger's ``on_kill`` when a person ends its task; from 3.3 on."""


def require_watchers() -> None:
    """:raises ImportError: in Airflow 2, whose assets have no watchers."""
    if not AIRFLOW_3:
        raise ImportError(
            "Watching a remote in order to schedule local DAGs needs Airflow 3. In Airflow 2, use a DAG with "
            "RemoteAssetSensor or RemoteDagRunSensor whose task has the dataset as an outlet."
        )


async def stored_state(trigger: Any, key: str) -> Any:
    """
    What a watcher's trigger has stored under a key, ``None`` if nothing; the text of a variable that is no JSON.

    Airflow 3.3 has a store for each asset. Earlier versions let a trigger read and write only Airflow's variables. So
    does 3.3 for a trigger that does not know its asset, and for what an earlier version has stored.
    """
    store = _asset_store(trigger)
    if store is not None:
        found = await store.aget(key)
        if found is not None:
            return found
    from airflow.sdk.execution_time import comms

    reply = await _send_to_supervisor(comms.GetVariable(key=key))
    if isinstance(reply, comms.VariableResult):
        try:
            return json.loads(reply.value or "null")
        except (ValueError, RecursionError):
            return reply.value
    if isinstance(reply, comms.ErrorResponse) and reply.error.value == "VARIABLE_NOT_FOUND":
        return None
    raise RuntimeError(f"Could not read variable {key}: {reply}")


async def store_state(trigger: Any, key: str, value: Any) -> None:
    """Store a JSON value for :func:`stored_state`."""
    store = _asset_store(trigger)
    if store is not None:
        await store.aset(key, value)
        return
    from airflow.sdk.execution_time import comms

    await _send_to_supervisor(
        comms.PutVariable(
            key=key, value=json.dumps(value), description="Which events of a remote were passed on. Kept by a watcher."
        )
    )


def unsent_events(trigger: Any) -> int | None:
    """
    How many events of a trigger its triggerer holds that it has not sent to its supervisor, which registers them.

    The object that runs all triggers of a process sends their events after it has started new triggers, which may take
    a minute after a restart. It is not passed to triggers, so it is found through the task that runs its loop.

    :return: ``None`` if it is not found.
    """
    for task in asyncio.all_tasks():
        coroutine: Any = task.get_coro()
        if getattr(coroutine, "__qualname__", "") == "TriggerRunner.arun" and coroutine.cr_frame is not None:
            runner = coroutine.cr_frame.f_locals.get("self")
            events = getattr(runner, "events", None)
            # The first item of each is the trigger's number.
            return None if events is None else sum(event[0] == trigger.trigger_id for event in events)
    return None


def _asset_store(trigger: Any) -> Any:
    """The store of a trigger's own asset. A trigger of several assets has a store for each, and cannot list them."""
    stores = getattr(trigger, "asset_state_store", None)
    if stores is None or trigger.local_asset is None:
        return None
    from airflow.sdk import Asset

    try:
        return stores[Asset.ref(name=trigger.local_asset)]
    except KeyError:
        raise ValueError(
            f"local_asset is {trigger.local_asset!r}, which is none of the assets that have this trigger in a watcher."
        ) from None


async def _send_to_supervisor(message: Any) -> Any:
    from airflow.sdk.execution_time import task_runner

    # The reply must be read even if the trigger is cancelled: before 3.3, an unread reply ends the triggerer.
    return await asyncio.shield(task_runner.SUPERVISOR_COMMS.asend(message))


def empty_operator(task_id: str) -> BaseOperator:
    """A task that does nothing; Airflow runs it without a worker."""
    # Imported here: the standard provider that Airflow 3.0.6 came with imports HTTP libraries.
    try:
        # Airflow 3 moved it.
        from airflow.providers.standard.operators.empty import EmptyOperator
    except ImportError:
        from airflow.operators.empty import EmptyOperator  # type: ignore[no-redef,import-not-found]
    return EmptyOperator(task_id=task_id)


def logical_date(context: Mapping[str, Any]) -> datetime:
    """The local run's logical date or, without one, its ``run_after``, as in ``ExternalTaskSensor``."""
    return context.get("logical_date") or context["dag_run"].run_after  # type: ignore[no-any-return]


def data_interval_end(context: Mapping[str, Any]) -> datetime:
    """The end of the local run's data interval or, of a run without one, its logical date."""
    return context.get("data_interval_end") or logical_date(context)


def polls_before_reschedule(context: Mapping[str, Any]) -> int:
    """How often a sensor of mode ``reschedule`` has polled before in this try; 0 if Airflow does not say."""
    if AIRFLOW_3:
        return int(context.get("task_reschedule_count") or 0)
    from airflow.models.taskreschedule import TaskReschedule
    from airflow.utils.session import create_session

    ti = context["ti"]
    try:
        with create_session() as session:
            return int(
                session.query(TaskReschedule)
                .filter_by(
                    dag_id=ti.dag_id,
                    task_id=ti.task_id,
                    run_id=ti.run_id,
                    map_index=ti.map_index,
                    try_number=ti.try_number,
                )
                .count()
            )
    except Exception as error:  # noqa: BLE001  # it only decides when a hint is logged
        log.debug("Could not read how often %s was rescheduled: %s", ti.task_id, error)
        return 0


def try_number(context: Mapping[str, Any]) -> int:
    """
    Number of the local task's try, from 1; clearing the task does not reset it.

    It does not show how many tries there were since the task was cleared: that would take the ``retries`` of that time,
    which a deploy may have changed.
    """
    return int(context["ti"].try_number)


def task_page(ti: Any) -> str | None:
    """URL of a local task instance, if Airflow knows it."""
    page: str | None = getattr(ti, "log_url", None)
    base = conf.get("api", "base_url", fallback="")
    if page and base and page.startswith(f"{base}dags/") and not base.endswith("/"):
        # Airflow 3.0 assumes that the base URL ends with a slash.
        return f"{base}/{page.removeprefix(base)}"
    return page


def was_cleared(context: Mapping[str, Any]) -> bool:
    """Whether the local task was cleared, which deletes the XComs of its earlier tries."""
    ti = context["ti"]
    # Clearing a task sets ``max_tries`` to its retries plus the tries it has had. If they differ before the second try,
    # a deploy has changed the retries.
    return int(ti.try_number) > 1 and int(ti.max_tries) > int(ti.task.retries)


def map_index(context: Mapping[str, Any]) -> int:
    """The local task's map index, -1 if it is not mapped."""
    index = context["ti"].map_index
    return -1 if index is None else int(index)


def intent_identity(context: Mapping[str, Any]) -> tuple[str, ...]:
    """
    What identifies an intent of a local task, besides its DAG, task and map index.

    The local run's ``start_date``, by its microseconds, distinguishes two deployments that run the same DAG; it changes
    only when a finished run is cleared. ``max_tries`` changes only when the task is cleared, to the tries it has had
    plus its retries (``airflow.models.taskinstance.clear_task_instances``): neither a retry nor a deploy that changes
    the retries changes it.
    """
    run, ti = context["dag_run"], context["ti"]
    started = run.start_date.isoformat() if run.start_date else ""
    return str(run.run_id), started, str(ti.max_tries)


def connection_parts(connection: Connection) -> dict[str, Any]:
    """A connection's values, as :meth:`astronomer_remote.api.protocol.settings.Settings.parse` takes them."""
    return {
        "host": connection.host,
        "schema": connection.schema,
        "port": connection.port,
        "login": connection.login,
        "password": connection.password,
        "extra": _extra(connection),
    }


def _extra(connection: Connection) -> Any:
    """A connection's extra as JSON, or as text if it is no JSON, which Airflow reads as an empty extra."""
    parsed = connection.extra_dejson
    if not parsed and connection.extra:
        try:
            return json.loads(connection.extra)
        except (ValueError, RecursionError):
            return connection.extra
    return parsed


def parts_of_tested_connection(connection: Connection) -> dict[str, Any]:
    """The same for the Test button; Airflow 2's repeats each field under a longer name, except an unchecked box."""
    parts = connection_parts(connection)
    field = f"extra__{connection.conn_type}__"
    if not isinstance(parts["extra"], dict):
        return parts
    if any(key.startswith(field) for key in parts["extra"]) and f"{field}verify" not in parts["extra"]:
        parts["extra"] = {**parts["extra"], "verify": False}
    return parts


def connection_of_a_command(conn_id: str) -> Any:
    """A connection for a command or the API server; there, Airflow 3 does not let hooks read its database."""
    from airflow.models.connection import Connection as StoredConnection

    return StoredConnection.get_connection_from_secrets(conn_id)


async def off_the_loop(read: Callable[[], T]) -> T:
    """Read a connection without blocking the event loop. :param read: reads it synchronously."""
    # Reading a connection masks its secrets, for which most versions call Airflow's supervisor synchronously: on the
    # event loop itself that is an error or a deadlock, in a thread it works.
    reading = sync_to_async(read)
    # asgiref drops the message of a cancellation, by which Airflow 3.3 distinguishes a kill from a restart.
    return await asyncio.shield(reading())


MOST_MASKED = 200
"""
How many issued secrets Airflow masks per process. Airflow keeps all of them, and compiles a pattern of all for each new
one: a remote that issues a new secret with every reply would slow down a triggerer without limit. A token is issued
about once a day, and all secrets are removed from what a remote sends back in any case.
"""


def mask_issued_secret(secret: str) -> None:
    """Mask a token or cookie in logs; on an event loop as soon as a thread can do it."""
    if secret in _MASKED or len(_MASKED) >= MOST_MASKED:
        return
    _MASKED.add(secret)
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        mask_secret(secret)
        return
    masking = loop.create_task(sync_to_async(mask_secret)(secret))
    # The event loop keeps only weak references to its tasks.
    _MASKINGS.add(masking)
    masking.add_done_callback(_MASKINGS.discard)


async def issued_secrets_masked() -> None:
    """Wait until Airflow masks all secrets of :func:`mask_issued_secret` on this event loop."""
    loop = asyncio.get_running_loop()
    await asyncio.gather(*(masking for masking in _MASKINGS if masking.get_loop() is loop))


_MASKINGS: set[asyncio.Task[None]] = set()
_MASKED: set[str] = set()


def triggerer_stats() -> Any:
    """Airflow's ``Stats`` for triggerers; from 3.2 on, workers have another one, which a triggerer does not set up."""
    try:
        from airflow.observability.stats import Stats
    except ImportError:
        from airflow.stats import Stats  # type: ignore[assignment]  # it moved
    return Stats


SET_BY_A_PERSON = frozenset({"failed", "success", "skipped", "upstream_failed", "removed", "restarting"})
"""
States of a running task that a person has marked or cleared, or that ended with its DAG run or by a timeout.

If Airflow considers a worker dead, its task gets other states: ``up_for_retry``, then those of the next try. Without
a retry left it is ``failed``, and no other try needs the remote run.
"""


def was_stopped_by_a_person(ti: Any) -> bool:
    """
    Whether a running task is ended by a person or a timeout, rather than by Airflow.

    For ``on_kill``. Both arrive as the same signal, but marking or clearing a running task changes its state first, and
    deleting its DAG run deletes it. If a worker stops, the task is still running; if the worker was only suspended, the
    next try has begun.
    """
    timed_out = isinstance(sys.exc_info()[1], AirflowTaskTimeout)
    local = state_of_try(ti)
    return not local.exists or (not local.is_past(ti) and (timed_out or local.state in SET_BY_A_PERSON))


def was_given_up(ti: Any) -> bool:
    """
    Whether Airflow has given up on this try of a task, for example as its worker was suspended, and started the next.

    The next try then continues with the remote run, even if this try has reached its timeout.
    """
    return state_of_try(ti).is_past(ti)


async def was_trigger_stopped_by_a_person(ti: Any, run_id: str) -> bool:
    """
    Whether a deferred task is ended by a person or a timeout, rather than by Airflow.

    Airflow cancels the trigger in both cases. A task that keeps waiting is still deferred: its triggerer restarts, or
    was suspended and another one has taken the trigger over.

    :param run_id: id of the remote run that the task waits for.
    """
    local = await sync_to_async(_local_state)(ti)
    if not local.exists:
        return True
    if local.max_tries is not None:
        # Airflow 2 shows whether the task was cleared, and whether it has reached its timeout.
        cleared = local.max_tries != ti.max_tries
        return local.state in SET_BY_A_PERSON or cleared or local.next_method == "__fail__"
    if local.state in ("deferred", "up_for_retry"):
        return False
    # Airflow 3 shows the same states for a cleared task up to its next try as for a task that another triggerer has
    # sent back to a worker, and for the next try of that.
    return not await _continues_elsewhere(ti, run_id, local)


async def was_trigger_given_up(ti: Any, run_id: str) -> bool:
    """
    Whether a later try of a deferred task continues with its remote run, so that this try's timeout does not count.

    That happens if a triggerer was suspended: another one took the trigger over, and its wait has ended by now.
    """
    local = await sync_to_async(_local_state)(ti)
    if local.max_tries is not None or local.state == "up_for_retry":
        return local.is_past(ti)
    return local.exists and local.state != "deferred" and await _continues_elsewhere(ti, run_id, local)


def publish_try(ti: Any) -> None:
    """Push the number of the try that waits for the remote run; Airflow 3 does not show it to triggers otherwise."""
    if AIRFLOW_3:
        ti.xcom_push(key=RUN_TRY, value=int(ti.try_number))


RUN_TRY = "remote_run_try"
"""XCom key of the number of the try that waits in the triggerer for the remote run, in Airflow 3."""

SECONDS_UNTIL_PUBLISHED = 8
"""How long to wait for that number from a try that has begun; it is pushed once the try has its remote run."""


async def _continues_elsewhere(ti: Any, run_id: str, local: LocalState) -> bool:
    """
    Whether the task continues with its remote run in a worker, or in a later try.

    A new try deletes the XComs of the one before, and pushes its own once it has its remote run. Until then, in doubt,
    the run is left alone. A cleared task gets another run, and pushes the id of that.
    """
    for _ in range(SECONDS_UNTIL_PUBLISHED):
        number = await sync_to_async(_xcom)(ti, RUN_TRY)
        # A running task with this try's number has come back from another triggerer, or has not pushed its own yet.
        if number == ti.try_number and local.state != "running":
            return False
        if number not in (None, ti.try_number):
            return bool(await sync_to_async(_xcom)(ti, "trigger_run_id") == run_id)
        await asyncio.sleep(1)
    return True


def _xcom(ti: Any, key: str) -> Any:
    """An XCom of a local task."""
    return XCom.get_one(key=key, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)


@dataclass(frozen=True)
class LocalState:
    """
    What Airflow shows of a local task instance; ``None`` for what it does not show.

    :param state: ``None`` also if it was cleared.
    :param exists: whether it exists; a person may have deleted its DAG run.
    :param replaced: whether Airflow 3 has given it a new id since this try began, as it does for each try.
    """

    state: str | None = None
    try_number: int | None = None
    max_tries: int | None = None
    next_method: str | None = None
    exists: bool = True
    replaced: bool = False

    def is_past(self, ti: Any) -> bool:
        """Whether this is the state of a later try than this one, or of the wait before that."""
        if not self.exists:
            return False
        if self.try_number is not None:
            return self.try_number != ti.try_number or self.state == "up_for_retry"
        # Clearing a running task gives it a new id at once. Otherwise this try is running, unless it was ended.
        return self.state != "restarting" and (
            self.replaced or self.state in ("up_for_retry", "scheduled", "queued", "deferred")
        )


def state_of_try(ti: Any) -> LocalState:
    """State of a task instance, read in its own process."""
    if not AIRFLOW_3:
        return _local_state(ti)
    refused = _status_of_try(ti)
    if refused in (401, 403):
        # The token of a worker that was suspended for minutes has expired.
        return LocalState(replaced=True)
    return replace(_local_state(ti), replaced=refused in (404, 410))


def _status_of_try(ti: Any) -> int | None:
    """
    Status with which Airflow 3 rejects a request about this try, ``None`` if it does not.

    Each try has an id of its own, and Airflow does not find that of an earlier try. A task can only read the state of
    its newest try; this request contains the id of the try, and changes nothing.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import ValidateInletsAndOutlets

    try:
        task_runner.SUPERVISOR_COMMS.send(ValidateInletsAndOutlets(ti_id=ti.id))
    except AirflowRuntimeError as error:
        status = (error.error.detail or {}).get("status_code")
        return int(status) if status else None
    return None


def _local_state(ti: Any) -> LocalState:
    if AIRFLOW_3:
        # Imported here: it imports half of a worker, and DAG files import this module.
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        states = RuntimeTaskInstance.get_task_states(
            dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
        )
        found = list(states.get(ti.run_id, {}).values())
        if not found:
            return LocalState(exists=False)
        return LocalState(str(getattr(found[0], "value", found[0])) if found[0] else None)
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session

    with create_session() as session:
        row = (
            session.query(TaskInstance.state, TaskInstance.try_number, TaskInstance.max_tries, TaskInstance.next_method)
            .filter_by(dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index)
            .one_or_none()
        )
        return LocalState(*row) if row else LocalState(exists=False)
