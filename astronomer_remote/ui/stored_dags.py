"""
What the DAGs of this deployment depend on, from where Airflow has stored them.

Airflow's public interfaces list tasks without their arguments. So this reads the database as the API server itself
does, through the model of the stored DAGs. That model is not part of Airflow's public interface: it is used here only,
and imported when the map is read, so that an Airflow that changes it costs the map and not the page.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from datetime import datetime
from threading import Lock
from typing import Any

from astronomer_remote.map.find import map_of
from astronomer_remote.map.model import ImportFailure, Map
from astronomer_remote.ui.workers import Workers

SECONDS_BETWEEN_READS = 60.0

MARK = "astronomer_"
"""In the text of each stored DAG that depends on a remote: the name of an argument, or of this package."""

log = logging.getLogger(__name__)

Known = tuple[datetime, Map]
"""When a DAG was last stored, and its map."""


class DagsUnreadable(Exception):
    """The database could not be read, or this Airflow stores DAGs in another way. The log has the reason."""


class StoredDags:
    """
    The map of each stored DAG. Each version of a DAG is read once, and new ones are searched for once a minute.

    :param clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()
        # One read at a time, however many people open the page.
        self._thread = Workers(1, "map of remote deployments")
        self._future: Future[Mapping[str, Map]] | None = None
        self._began = 0.0
        self._known: dict[str, Known] = {}

    def maps(self) -> Future[Mapping[str, Map]]:
        """
        The map of each DAG, by its id. Does not block.

        :return: may raise :class:`DagsUnreadable`.
        """
        with self._lock:
            now = self._clock()
            if self._future is None or (self._future.done() and now >= self._began + SECONDS_BETWEEN_READS):
                self._future, self._began = self._thread.submit(self._read), now
            return self._future

    def _read(self) -> Mapping[str, Map]:
        try:
            self._known = _read_again(self._known)
        except Exception as error:
            log.exception("The stored DAGs could not be read, for the map of remote deployments")
            raise DagsUnreadable from error
        return {dag_id: found for dag_id, (_, found) in self._known.items()}


def merged(maps: Mapping[str, Map], dag_ids: Collection[str]) -> Map:
    """One map of some of the DAGs."""
    found = Map()
    for dag_id in sorted(maps.keys() & set(dag_ids)):
        found.dags += 1
        found.edges += maps[dag_id].edges
        found.import_errors += maps[dag_id].import_errors
    return found


def _read_again(before: Mapping[str, Known]) -> dict[str, Known]:
    """Read each DAG that a DAG file still defines, unless it is stored as it was before."""
    from airflow.models.dag import DagModel
    from airflow.models.serialized_dag import SerializedDagModel as Stored
    from airflow.utils.session import create_session
    from sqlalchemy import false, func, select

    active = select(DagModel.dag_id).where(DagModel.is_stale == false())
    versions = select(Stored.dag_id, func.max(Stored.last_updated)).where(Stored.dag_id.in_(active))
    found: dict[str, Known] = {}
    with create_session() as session:
        for dag_id, updated in session.execute(versions.group_by(Stored.dag_id)).all():
            if dag_id in before and before[dag_id][0] == updated:
                found[dag_id] = before[dag_id]
            elif newest := Stored.get(dag_id, session=session):
                found[dag_id] = updated, _map_of(dag_id, newest)
    return found


def _map_of(dag_id: str, stored: Any) -> Map:
    # Most DAGs use no remote, and making objects of one takes longer than a search in its text.
    if MARK not in json.dumps(stored.data):
        return Map()
    try:
        return map_of([stored.dag])
    except Exception as error:  # Airflow raises what it likes, and the other DAGs are shown
        log.warning("The stored DAG %s could not be read", dag_id, exc_info=True)
        return Map(import_errors=[ImportFailure("", dag_id, type(error).__name__)])
