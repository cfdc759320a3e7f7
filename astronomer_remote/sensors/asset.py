"""Waits for events of an asset of another deployment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import conf as airflow_conf

from astronomer_remote.api.assets.assets import SECONDS_OF_OVERLAP
from astronomer_remote.api.assets.target import AssetTarget
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import AssetEvent, asset_ref, events_for_xcom, utc_text, utc_text_of
from astronomer_remote.api.waiting.target import WaitStatus
from astronomer_remote.api.waiting.waiter import seconds_of
from astronomer_remote.arguments import Readers, asset_or_text, check_asset, date, json_object, text, whole
from astronomer_remote.dependencies import ASSET, Dependency
from astronomer_remote.exceptions import TransientError, airflow_exceptions
from astronomer_remote.operators.base import RemoteOperator
from astronomer_remote.operators.lineage import ReportsRemoteJobs
from astronomer_remote.sensors.base import DEADLINE, Limit, RemoteSensor
from astronomer_remote.triggers.asset import RemoteAssetTrigger
from astronomer_remote.triggers.base import read_event

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

__all__ = ["RemoteAssetSensor"]


MOST_AWAITED = 1000
"""Events that a sensor may wait for."""


def _count(value: Any, name: str) -> int:
    number = whole(value, name)
    if not 1 <= number <= MOST_AWAITED:
        raise InvalidSettings(f"{name}={number} must be from 1 to {MOST_AWAITED}.")
    return number


class RemoteAssetSensor(ReportsRemoteJobs, RemoteSensor):
    """
    Waits for events of an asset (a dataset, in Airflow 2) of another deployment.

    By default it waits for one event since the local DAG run started. Airflow 2.4 and later.

    :param asset: the asset: its URI or name, or an ``Asset`` or ``Dataset`` of Airflow (templated, if it is a text).
    :param uri: the URI of the asset, instead (templated).
    :param since: only events from this moment on count, by the remote's clock: datetime or ISO 8601 text, UTC if
        without a zone; default: the start of the local DAG run (templated).
    :param extra: only events count whose extra has these keys with these values (templated).
    :param predicate: only events count for which this function returns a true value. It gets the event as a dict with
        the fields of :class:`astronomer_remote.api.protocol.models.AssetEvent`, and is called in the worker only.
    :param count: how many events to wait for, default 1, at most 1000 (templated).
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :param deferrable: whether to wait in the triggerer, where one listing of new events serves all tasks that wait
        there for events of the deployment; default ``[operators] default_deferrable``. With a ``predicate``, the task
        returns to a worker whenever there is another event that matches ``extra``, and waits again if the predicate
        rejects it.
    :param kwargs: those of every sensor: ``poke_interval`` (seconds), ``timeout`` (seconds, from the start of a try;
        0: a single poll), ``execution_timeout``, ``mode``, ``soft_fail``, …
    :return: the ``count`` oldest events that count, as a list of dicts of plain JSON. Of a large event, or of
        events of more than 1 MiB together, some fields are ``None``, and ``left_out`` names them.
    :raises NotFound: if the remote has no such asset; the error names similar ones.
    :raises NotSupported: if the remote's version has no datasets.
    :raises AirflowSensorTimeout: when ``timeout`` has passed; Airflow does not retry the task.
    :raises AirflowTaskTimeout: when ``execution_timeout`` has passed; Airflow's retries apply.
    """

    template_fields: Sequence[str] = ("asset", "uri", "since", "extra", "count", "astronomer_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"extra": "json"}
    readers: ClassVar[Readers] = {
        **RemoteOperator.readers,
        "asset": asset_or_text,
        "uri": text,
        "since": date,
        "extra": json_object,
        "count": _count,
    }
    ui_color = "#f0e7fd"
    lineage_direction = "upstream"
    lineage_type = "IMPLICIT_DEPENDENCY"
    trigger_class = RemoteAssetTrigger
    target: AssetTarget

    def __init__(
        self,
        *,
        asset: Any = None,
        uri: str | None = None,
        since: str | datetime | None = None,
        extra: Mapping[str, Any] | str | None = None,
        predicate: Callable[[dict[str, Any]], object] | None = None,
        count: int | str = 1,
        astronomer_conn_id: str = "astronomer_default",
        deferrable: bool = airflow_conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.asset = asset
        self.uri = uri
        self.since: Any = since
        self.extra: Any = extra
        self.predicate = predicate
        self.count: Any = count
        self.astronomer_conn_id = astronomer_conn_id
        self.deferrable = deferrable
        self._found: list[dict[str, Any]] = []
        self._deadline: float | None = None
        with airflow_exceptions():
            check_asset(asset, uri)
            if predicate is not None and not callable(predicate):
                raise InvalidSettings(f"predicate must be a function, not {type(predicate).__name__}.")
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        return (Dependency("waits for events of", ASSET, task.uri if task.asset is None else task.asset),)

    def result(self) -> list[dict[str, Any]]:
        return self._found

    def make_target(self, context: Context) -> AssetTarget:
        self.read_values()
        with airflow_exceptions():
            ref = asset_ref(self.asset, self.uri)
            since = self.since or utc_text(context["dag_run"].start_date or datetime.now(timezone.utc), "since")
            return AssetTarget(ref.uri, ref.name, since, self.count, self.extra)

    def poll(self, context: Context) -> bool:
        target = self.target
        accepted = set()

        def accept(event: AssetEvent) -> None:
            if self._is_accepted(event):
                accepted.add(event.event_id)

        try:
            candidates = self.hook.run_flow(lambda deployment: deployment.assets.matching_events(target, accept))
        except TransientError as error:
            # The timeout of the sensor limits the wait, also while the remote is down.
            self.log.warning("Could not poll the remote, will keep waiting: %s", error)
            return False
        found = [event for event in candidates if event.event_id in accepted]
        self.log.info("%s", target.summary(found))
        if not target.is_met_by(found):
            if self.predicate and candidates:
                self.target = self._target_of_more(candidates, missing=target.count - len(found))
            return False
        self._found = events_for_xcom(found[: target.count])
        self.report_producers(event.as_dict(largest=None) for event in found[: target.count])
        return True

    def _target_of_more(self, candidates: Sequence[AssetEvent], missing: int) -> AssetTarget:
        """What the triggerer waits for, which does not call the predicate: as many more candidates as are missing."""
        # An event may be shown later than its timestamp says.
        since = max(seconds_of(candidates[-1].timestamp) - SECONDS_OF_OVERLAP, seconds_of(self.target.since))
        known = sum(seconds_of(event.timestamp) >= since for event in candidates)
        moment = utc_text_of(since)
        return replace(self.target, since=moment, count=known + missing)

    def _is_accepted(self, event: AssetEvent) -> bool:
        return self.predicate is None or bool(self.predicate(event.as_dict(largest=None)))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        self._deadline = (next_kwargs or {}).get(DEADLINE)
        return super().resume_execution(next_method, next_kwargs, context)

    def execute_complete(self, context: Context, event: Any, limited_by: str = "timeout") -> list[dict[str, Any]]:
        """Come back from the triggerer: read the events, and wait again if the predicate rejects them."""
        result = read_event(event)
        if result.status is WaitStatus.TIMEOUT:
            self.time_out(limited_by, result.summary or "the remote did not report the events")
        limit = Limit(self._deadline, limited_by) if self._deadline is not None else self._limit(context)
        self._poll_and_defer(context, limit)
        return self._found
