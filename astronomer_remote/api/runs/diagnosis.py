"""Finds out why a run does not get going; told in the log of whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.dialects.base import Operation
from astronomer_remote.api.protocol.errors import RemoteError
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.models import DagRun

T = TypeVar("T")


class Diagnosis:
    """Asks a deployment about the usual reasons, and bears with one that does not tell."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def why_not_started(self, run: DagRun) -> Flow[str]:
        """Why a run waits to begin, as far as the remote shows it; ``""`` if it shows no reason."""
        dialect = yield from self._client.dialect()
        reasons = []
        if (yield from self._ask(lambda: dialect.is_paused(run.dag_id))):
            reasons.append("its DAG is paused: unpause it in the remote")
        dag = yield from self._ask(lambda: dialect.dag(run.dag_id))
        if dag and dag.has_import_errors:
            reasons.append(f"its DAG file {dag.fileloc} has an import error")
        health = yield from self._ask(dialect.health)
        scheduler = health.components.get("scheduler") if health else None
        if scheduler and scheduler != "healthy":
            reasons.append(f"the remote's scheduler is {scheduler}")
        limit = dag.max_active_runs if dag else None
        running = (yield from self._running(run)) if limit else 0
        if limit and running >= limit:
            reasons.append(f"{running} runs of its DAG are running, and max_active_runs is {limit}")
        return "; ".join(reasons)

    def _running(self, run: DagRun) -> Flow[int]:
        dialect = yield from self._client.dialect()
        page = yield from self._ask(lambda: dialect.dag_runs(run.dag_id, newest_first=dialect.orders_runs, bare=True))
        return sum(each.state == "running" for each in page.items) if page else 0

    def _ask(self, operation: Callable[[], Operation[T]]) -> Flow[T | None]:
        try:
            return (yield from self._client.request(operation()))
        except RemoteError:
            # An explanation that cannot be had must not end the wait that it would explain.
            return None
