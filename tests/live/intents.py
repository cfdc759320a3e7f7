"""Local tasks without a local Airflow: operators and triggers in this process, through a proxy to a real remote."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import TaskDeferred

from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.async_driver import AsyncDriver
from astronomer_remote.api.transport.sync_driver import SyncDriver
from astronomer_remote.exceptions import PermanentError, RemoteError
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from dev.deployments import Airflow
from dev.proxy import Proxy
from tests.airflow.local import in_dag, local_task, resume, to_the_end
from tests.live.fault_cases import TRIGGER
from tests.live.remote import RemoteAirflow, RemoteRun

if TYPE_CHECKING:
    import pytest

HURRY = 20
"""By how much the pauses of the package are shortened, which are meant for remotes that need minutes."""

numbers = itertools.count(1)


@dataclass
class WaitResult:
    """
    What became of a local task.

    :param state: as Airflow would have it: success, failed (for good), up_for_retry.
    :param attempts: at the task.
    :param errors: that ended attempts.
    :param sent: requests to trigger a run that were sent.
    :param arrived: of them, those that reached the remote.
    :param spoiled: requests to trigger a run that the remote failed at by itself, or took too long for.
    :param requests: in all.
    :param met: how many met a fault.
    """

    dag_id: str
    state: str = ""
    attempts: int = 0
    errors: tuple[str, ...] = ()
    run_id: str = ""
    sent: int = 0
    arrived: int = 0
    spoiled: int = 0
    requests: int = 0
    met: int = 0
    seconds: float = 0.0


class Intents:
    """
    Local tasks, each of which wants one run of the remote's DAG ``nothing``.

    :param patch: undone when the remote is no longer needed.
    """

    def __init__(self, deployment: Airflow, patch: pytest.MonkeyPatch) -> None:
        self.remote = RemoteAirflow(deployment)
        self._patch = patch
        patch.setitem(SyncDriver.__init__.__kwdefaults__, "sleep", lambda seconds: time.sleep(seconds / HURRY))
        patch.setitem(AsyncDriver.__init__.__kwdefaults__, "sleep", lambda seconds: asyncio.sleep(seconds / HURRY))
        # Its runs are short, and a deferrable task is to meet the faults in the triggerer.
        patch.setattr(RemoteTriggerDagRunOperator, "_wait_briefly", lambda *_: None)

    def connect(self, url: str, **extra: Any) -> str:
        """Make a connection to the remote through a proxy. :return: its id."""
        conn_id = f"cell_{next(numbers)}"
        login, password = self.remote.deployment.users["admin"]
        who = {} if self.remote.version < (2,) else {"login": login, "password": password}
        fields = {"conn_type": "astronomer", "host": url, "extra": extra, **who}
        self._patch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return conn_id

    def runs(self, outcome: WaitResult) -> list[RemoteRun]:
        """The remote's runs for a local task, by its own account."""
        return self.remote.runs(f"__{outcome.dag_id}.")


class Task:
    """
    One local task. It is made in one thread, since the environment is everybody's, and carried out in any.

    :param proxy: that it goes through; its rules hold for the first attempt.
    :param attempts: that Airflow makes at it.
    :param extra: of the connection.
    """

    def __init__(self, intents: Intents, proxy: Proxy, mode: str, *, attempts: int = 1, **extra: Any) -> None:
        self.outcome = WaitResult(f"cell{next(numbers)}")
        self._proxy = proxy
        self._read_timeout = extra.get("read_timeout", Settings.read_timeout)
        deferrable = mode == "deferrable"
        self._operator: Any = in_dag(
            RemoteTriggerDagRunOperator,
            self.outcome.dag_id,
            trigger_dag_id="nothing",
            astronomer_conn_id=intents.connect(proxy.url, **extra),
            wait_for_completion=True,
            # A sleep of a driver is shortened, a pause of the watcher is not.
            poke_interval=0.5 if deferrable else 0.5 * HURRY,
            wait_timeout=240,
            deferrable=deferrable,
            retries=attempts - 1,
        )

    def carry_out(self) -> WaitResult:
        """Let the attempts run their course."""
        outcome, began = self.outcome, time.monotonic()
        while outcome.state != "success" and outcome.attempts <= self._operator.retries:
            outcome.attempts += 1
            self._attempt(outcome.attempts)
            if outcome.state == "failed":
                break
        outcome.seconds = time.monotonic() - began
        return outcome

    def carry_out_at_once(self, number: int) -> list[Any]:
        """Let so many workers execute the first attempt at the same time. :return: what each of them returned."""
        contexts = [local_task(self._operator).context() for _ in range(number)]
        with ThreadPoolExecutor(number) as pool:
            return list(pool.map(lambda context: to_the_end(self._operator, context), contexts))

    def count(self) -> None:
        """Note what came by the proxy, which this task had for itself."""
        outcome, proxy = self.outcome, self._proxy
        outcome.sent = proxy.requests("POST", TRIGGER)
        outcome.arrived = proxy.requests("POST", TRIGGER, forwarded=True)
        outcome.spoiled = sum(
            each.forwarded
            and ((each.remote_status or 500) >= 500 or (each.fault is None and each.seconds > self._read_timeout))
            for each in proxy.passed
            if each.method == "POST" and re.search(TRIGGER, each.target)
        )
        outcome.requests = proxy.requests()
        outcome.met = sum(each.fault is not None for each in proxy.passed)

    def _attempt(self, number: int) -> None:
        context = local_task(self._operator, try_number=number).context()
        try:
            try:
                run = self._operator.execute(context)
            except TaskDeferred as deferred:
                run = resume(deferred, self._operator, context)
        except RemoteError as error:
            self.outcome.errors += (f"{type(error).__name__}: {error}",)
            self.outcome.state = "failed" if isinstance(error, PermanentError) else "up_for_retry"
        else:
            self.outcome.state, self.outcome.run_id = "success", run["run_id"]
        self._proxy.rules = []
