"""The way from deployment to deployment that led to a run, as it travels in the conf of the runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from astronomer_remote.api.protocol.errors import InvalidSettings

HOPS = "astronomer_remote_hops"
"""Key of a run's conf: the DAGs that were triggered on the way to it, itself the last."""


def next_hop(local_conf: Any, *, address: str, dag_id: str) -> list[dict[str, str]]:
    """
    The hops of a run that is to be triggered.

    :param local_conf: conf of the run that triggers it.
    :param address: URL of the deployment in which it shall be.
    :raises InvalidSettings: if the same DAG of the same deployment was triggered on the way here.
    """
    hops = local_conf.get(HOPS, []) if isinstance(local_conf, Mapping) else []
    if not (isinstance(hops, list) and all(isinstance(hop, Mapping) for hop in hops)):
        raise InvalidSettings(f"{HOPS!r} in the conf of this DAG run is no list of hops: {hops!r}.")
    hop = {"deployment": _name_of(address), "dag_id": dag_id}
    if hop in hops:
        way = " → ".join(f"{each.get('dag_id')} at {each.get('deployment')}" for each in [*hops, hop])
        raise InvalidSettings(
            f"This run was itself triggered by way of DAG {dag_id!r} at {hop['deployment']}, and would trigger it "
            f"again: {way}. Break the circle or, if it is meant to come to an end, leave out refuse_circles."
        )
    return [*map(dict, hops), hop]


def _name_of(address: str) -> str:
    """What a deployment is called: its address, however that is spelled."""
    parts = urlsplit(address)
    return f"{parts.netloc.rpartition('@')[2].lower()}{parts.path.rstrip('/')}"
