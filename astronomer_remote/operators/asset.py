"""Registers events of assets of another deployment, and materializes assets there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from astronomer_remote.api.protocol.ids import digest_of_intent
from astronomer_remote.api.protocol.models import AssetEventIntent, asset_ref
from astronomer_remote.arguments import Readers, asset_or_text, check_asset, json_object, text
from astronomer_remote.compat import intent_identity, map_index, try_number
from astronomer_remote.dependencies import ASSET, Dependency
from astronomer_remote.exceptions import airflow_exceptions
from astronomer_remote.operators import lineage
from astronomer_remote.operators.base import RemoteOperator
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from astronomer_remote.api.deployment import Deployment
    from astronomer_remote.api.protocol.flow import Flow
    from astronomer_remote.api.protocol.models import AssetNumber

__all__ = ["RemoteAssetEventOperator", "RemoteMaterializeAssetOperator"]


class RemoteAssetEventOperator(RemoteOperator):
    """
    Registers an event of an asset (a dataset, in Airflow 2) of another deployment, so that DAGs there that are
    scheduled on it run.

    It registers one event, even if its request or reply is lost, the remote answers with an error, or the worker dies
    and the task is retried; the page on assets has the limits. The event carries an id of this task instance in its
    extra, under the key ``astronomer_remote_intent``. A retry searches the asset's events since the start of the local
    DAG run for that id.
    Clearing the task registers a new event.

    Airflow 2.9 and later.

    :param asset: the asset: its URI or name, or an ``Asset`` or ``Dataset`` of Airflow (templated, if it is a text).
    :param uri: the URI of the asset, instead (templated).
    :param extra: JSON object for the event, default ``{}`` (templated).
    :param partition_key: partition of the event; Airflow 3.2 and later (templated).
    :param openlineage_inject_parent_info: whether the event's extra gets the OpenLineage identifiers of this task and
        of its root, as ``openlineage``, default ``True``. Only if the OpenLineage provider, 2.8 or later, is installed
        and enabled here, and the extra names no parent itself.
    :param astronomer_conn_id: connection of type ``astronomer``, default ``astronomer_default`` (templated).
    :return: the event as a dict of plain JSON (see :class:`astronomer_remote.api.protocol.models.AssetEvent`).
    :raises NotFound: if the remote has no such asset; the error names similar ones.
    :raises NotSupported: if the remote's version cannot do it.
    """

    template_fields: Sequence[str] = ("asset", "uri", "extra", "partition_key", "astronomer_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"extra": "json"}
    readers: ClassVar[Readers] = {
        **RemoteOperator.readers,
        "asset": asset_or_text,
        "uri": text,
        "extra": json_object,
        "partition_key": text,
    }
    ui_color = "#f0e7fd"

    def __init__(
        self,
        *,
        asset: Any = None,
        uri: str | None = None,
        extra: Mapping[str, Any] | str | None = None,
        partition_key: str | None = None,
        openlineage_inject_parent_info: bool = True,
        astronomer_conn_id: str = "astronomer_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.asset = asset
        self.uri = uri
        self.extra: Any = extra
        self.partition_key = partition_key
        self.openlineage_inject_parent_info = openlineage_inject_parent_info
        self.astronomer_conn_id = astronomer_conn_id
        with airflow_exceptions():
            check_asset(asset, uri)
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        return (Dependency("registers events of", ASSET, task.uri if task.asset is None else task.asset),)

    def execute(self, context: Context) -> dict[str, Any]:
        self.read_values()
        with airflow_exceptions():
            intent = self._intent(context)
        event = self.hook.run_flow(lambda deployment: deployment.assets.register_event(intent))
        self.log.info("Asset %s has the event %s of %s", intent.asset, event.event_id, event.timestamp)
        return event.as_dict()

    def _intent(self, context: Context) -> AssetEventIntent:
        ti, started = context["ti"], context["dag_run"].start_date
        mark = digest_of_intent(
            dag_id=ti.dag_id, task_id=ti.task_id, map_index=map_index(context), identity=intent_identity(context)
        )
        extra = lineage.with_parent(self.extra, ti, "extra") if self.openlineage_inject_parent_info else self.extra
        # No attempt began before the DAG run did. Only the first one need not search for an event.
        began = started.timestamp() if started else 0.0
        return AssetEventIntent(
            asset_ref(self.asset, self.uri),
            mark,
            extra,
            self.partition_key,
            first_attempt=began if try_number(context) > 1 else None,
        )


class RemoteMaterializeAssetOperator(RemoteTriggerDagRunOperator):
    """
    Triggers the DAG of another deployment that produces an asset (a dataset, in Airflow 2), exactly once per intent,
    and optionally waits for its run.

    It is a :class:`astronomer_remote.operators.dag_run.RemoteTriggerDagRunOperator` that finds the DAG in the remote,
    and has all parameters of it except ``trigger_dag_id``, with the same defaults. Waiting, retries, XComs, the link
    and what happens when the task is killed are also the same.

    In Airflow 3.3 and later, the run is of type ``asset_materialization``. Airflow 2.4 and later.

    :param asset: the asset: its URI or name, or an ``Asset`` or ``Dataset`` of Airflow (templated, if it is a text).
    :param uri: the URI of the asset, instead (templated).
    :return: the run id or, after waiting, the run as a dict of plain JSON
        (see :class:`astronomer_remote.api.protocol.models.DagRun`).
    :raises NotFound: if the remote has no such asset, naming similar ones, or no DAG with a task that has the asset as
        an outlet.
    :raises Conflict: if several DAGs have one; the error names them.
    :raises NotSupported: if the remote's version cannot do it.
    """

    template_fields: Sequence[str] = (
        "asset",
        "uri",
        *(name for name in RemoteTriggerDagRunOperator.template_fields if name != "trigger_dag_id"),
    )
    readers: ClassVar[Readers] = {
        **{name: read for name, read in RemoteTriggerDagRunOperator.readers.items() if name != "trigger_dag_id"},
        "asset": asset_or_text,
        "uri": text,
    }
    ui_color = "#f0e7fd"

    def __init__(self, *, asset: Any = None, uri: str | None = None, **kwargs: Any) -> None:
        # The remote knows which DAG it is.
        super().__init__(trigger_dag_id="", **kwargs)
        self.asset = asset
        self.uri = uri
        with airflow_exceptions():
            check_asset(asset, uri)
        self.check_values()

    @classmethod
    def remote_dependencies(cls, task: Any) -> Iterable[Dependency]:
        waits = " and waits for" if task.wait_for_completion is True else ""
        return (Dependency(f"materializes{waits}", ASSET, task.uri if task.asset is None else task.asset),)

    def _choose_dag(self, deployment: Deployment) -> Flow[AssetNumber | None]:
        self.trigger_dag_id, number = yield from deployment.assets.producer(asset_ref(self.asset, self.uri))
        return number
