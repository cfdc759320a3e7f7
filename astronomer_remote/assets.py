"""Local assets of Airflow 3 that get an event whenever something happens in another deployment."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

from astronomer_remote.compat import require_watchers
from astronomer_remote.triggers.event import RemoteAssetEventTrigger, RemoteDagRunTrigger, RemoteEventTrigger

require_watchers()
from airflow.sdk import Asset, AssetWatcher  # noqa: E402  # in Airflow 2, the error says what to do

__all__ = ["remote_asset", "remote_dag_asset"]


def remote_asset(
    uri: str | None = None,
    *,
    asset: Any = None,
    extra: Mapping[str, Any] | None = None,
    astronomer_conn_id: str = "astronomer_default",
    since: str | datetime | None = None,
    poke_interval: float = 30.0,
    name: str | None = None,
    local_conn_id: str | None = None,
) -> Asset:
    """
    A local asset that gets an event for each event of an asset of another deployment.

    Use it in the schedule of a DAG.

    :param uri: URI of the remote asset.
    :param asset: the remote asset, instead: its URI or name, or an ``Asset`` of Airflow.
    :param extra: only events count whose extra has these keys with these values.
    :param astronomer_conn_id: connection of type ``astronomer``.
    :param since: from when on events count at the first start; default: from the first start on.
    :param poke_interval: seconds between two polls, default 30.
    :param name: name of the local asset; default: the connection's id and the remote asset's URI or name, as in
        ``astronomer_default:s3://sales/orders``. Two local assets with different ``extra`` need different names.
    :param local_conn_id: connection of type ``astronomer`` to the local deployment itself. With it, an event that was
        registered right before a triggerer was killed is not registered again.
    :raises InvalidSettings: for an argument that cannot be.
    """
    trigger = RemoteAssetEventTrigger(
        asset=asset,
        uri=uri,
        extra=extra,
        astronomer_conn_id=astronomer_conn_id,
        since=since,
        poke_interval=poke_interval,
    )
    return _watched("asset", str(trigger.uri or trigger.name), name, trigger, local_conn_id)


def remote_dag_asset(
    dag_id: str,
    *,
    states: Collection[Any] = ("success",),
    astronomer_conn_id: str = "astronomer_default",
    since: str | datetime | None = None,
    poke_interval: float = 30.0,
    name: str | None = None,
    local_conn_id: str | None = None,
) -> Asset:
    """
    A local asset that gets an event when a run of a DAG of another deployment ends.

    Use it in the schedule of a DAG.

    :param dag_id: DAG of the remote.
    :param states: only runs count that ended in one of these states, default ``success``; ``failed`` is the other one.
    :param astronomer_conn_id: connection of type ``astronomer``.
    :param since: from when on ends count at the first start; default: from the first start on.
    :param poke_interval: seconds between two polls, default 30.
    :param name: name of the local asset; default: the connection's id and the DAG's, as in
        ``astronomer_default:load_sales``. Two local assets with different ``states`` need different names.
    :param local_conn_id: as for :func:`remote_asset`.
    :raises InvalidSettings: for an argument that cannot be.
    """
    trigger = RemoteDagRunTrigger(
        dag_id=dag_id,
        states=states,
        astronomer_conn_id=astronomer_conn_id,
        since=since,
        poke_interval=poke_interval,
    )
    return _watched("dag", trigger.dag_id, name, trigger, local_conn_id)


def _watched(kind: str, remote: str, name: str | None, trigger: RemoteEventTrigger, local_conn_id: str | None) -> Asset:
    uri = f"astronomer-remote://{quote(trigger.astronomer_conn_id, safe='')}/{kind}/{quote(remote, safe='')}"
    if name:
        uri += f"/{quote(name, safe='')}"
    name = name or f"{trigger.astronomer_conn_id}:{remote}"
    arguments = {**trigger.serialize()[1], "local_asset": name, "local_conn_id": local_conn_id}
    return Asset(name=name, uri=uri, watchers=[AssetWatcher(name="remote", trigger=type(trigger)(**arguments))])
