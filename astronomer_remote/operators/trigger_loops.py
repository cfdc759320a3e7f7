"""Stops DAGs that trigger each other in a loop across deployments: a run's conf contains the path that led to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from astronomer_remote.api.protocol.errors import InvalidSettings

PATH_KEY = "astronomer_remote_path"
"""Key of a run's conf: the DAGs that were triggered on the path to it, itself the last."""


def extended_path(local_conf: Any, *, address: str, dag_id: str) -> list[dict[str, str]]:
    """
    The path of a run that is about to be triggered.

    :param local_conf: conf of the run that triggers it.
    :param address: URL of the deployment to trigger it in.
    :raises InvalidSettings: if the path contains the same DAG of the same deployment already.
    """
    path = local_conf.get(PATH_KEY, []) if isinstance(local_conf, Mapping) else []
    if not (isinstance(path, list) and all(isinstance(each, Mapping) for each in path)):
        raise InvalidSettings(f"{PATH_KEY!r} in the conf of this DAG run is not a list of objects: {path!r}.")
    target = {"deployment": _normalized(address), "dag_id": dag_id}
    if target in path:
        loop = " → ".join(f"{each.get('dag_id')} at {each.get('deployment')}" for each in [*path, target])
        raise InvalidSettings(
            f"Trigger loop: DAG {dag_id!r} at {target['deployment']} led to this run, which would trigger it again: "
            f"{loop}. Break the loop or, if it is intended and ends, set prevent_loops=False."
        )
    return [*map(dict, path), target]


def _normalized(address: str) -> str:
    """Host and path of a deployment's URL, without scheme, user and trailing slash."""
    parts = urlsplit(address)
    return f"{parts.netloc.rpartition('@')[2].lower()}{parts.path.rstrip('/')}"
