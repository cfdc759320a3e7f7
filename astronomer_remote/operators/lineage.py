"""
Connects local tasks with remote DAG runs in OpenLineage.

The local task becomes the parent of what it starts, and the remote runs become dependencies of the local task.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple
from uuid import UUID

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

from astronomer_remote.api.protocol import untrusted
from astronomer_remote.api.protocol.models import DagRun, parse_date, utc_text

if TYPE_CHECKING:
    from astronomer_remote.hooks.astronomer import AstronomerHook

log = logging.getLogger(__name__)

LINEAGE_KEY = "openlineage"
"""Key in a run's conf, and in an asset event's extra, where the OpenLineage provider looks for the parent."""

OLDEST_PROVIDER = "2.8.0"
"""The version from which on the OpenLineage provider reads it; ``TriggerDagRunOperator`` has the same limit."""


def with_parent(values: Mapping[str, Any], ti: Any, name: str) -> dict[str, Any]:
    """
    Add the identifiers of a task and of its root to a conf or an extra.

    The same as in ``TriggerDagRunOperator``: only if the OpenLineage provider is installed, enabled and new enough, and
    only if the values name no parent or root themselves. It never fails.

    :param values: the conf or extra; it is not changed.
    :param ti: the task instance.
    :param name: what to call the values in the log.
    """
    given = values.get(LINEAGE_KEY) or {}
    try:
        parent = _identifiers(ti)
    except AirflowOptionalProviderFeatureException as error:
        log.info("%s gets no OpenLineage parent: %s", name, error)
        parent = {}
    except Exception as error:  # noqa: BLE001  # lineage must not fail a task, whatever the provider does
        log.warning("%s gets no OpenLineage parent: %r", name, error)
        parent = {}
    if not parent:
        return dict(values)
    if not isinstance(given, Mapping):
        log.warning("%s[%r] is not an object, and gets no OpenLineage parent", name, LINEAGE_KEY)
        return dict(values)
    if not parent.keys().isdisjoint(given):
        log.info("%s[%r] names an OpenLineage parent or root already, and is left as it is", name, LINEAGE_KEY)
        return dict(values)
    return {**values, LINEAGE_KEY: {**parent, **given}}


def _identifiers(ti: Any) -> dict[str, str]:
    """The identifiers of a task and of its root; none if no lineage is sent from here."""
    if not _is_enabled():
        return {}
    from airflow.providers.common.compat.openlineage.check import require_openlineage_version

    parent = require_openlineage_version(provider_min_version=OLDEST_PROVIDER)(_read)(ti)
    return {name: str(value) for name, value in parent.items()}


def _is_enabled() -> bool:
    """Whether the OpenLineage provider is installed, and reports the tasks of this deployment."""
    # Imported here: it takes time, and no DAG file needs it to be parsed.
    try:
        from airflow.providers.openlineage.conf import is_disabled

        if is_disabled():
            return False
        # Takes about a second.
        from airflow.providers.openlineage.plugins.listener import get_openlineage_listener
    except ImportError:
        return False
    return bool(get_openlineage_listener())


def _read(ti: Any) -> dict[str, str]:
    from airflow.providers.openlineage.plugins import macros as provided

    # Some of them have no annotations.
    macros: Any = provided
    return {
        "parentRunId": macros.lineage_run_id(ti),
        "parentJobName": macros.lineage_job_name(ti),
        "parentJobNamespace": macros.lineage_job_namespace(),
        "rootParentRunId": macros.lineage_root_run_id(ti),
        "rootParentJobName": macros.lineage_root_job_name(ti),
        "rootParentJobNamespace": macros.lineage_root_job_namespace(ti),
    }


LONGEST_NAME = 1000
"""Characters of an identifier in an event of the remote."""

MOST_JOBS = 100
"""Remote jobs that one task reports at most."""


class RemoteJob(NamedTuple):
    """
    A job of a remote deployment, as OpenLineage identifies it.

    :param run_id: the OpenLineage id of a run of it, if that is known.
    """

    namespace: str
    name: str
    run_id: str | None = None


class ReportsRemoteJobs:
    """
    An operator whose OpenLineage events name the remote jobs that it started or waited for.

    The OpenLineage provider calls :meth:`get_openlineage_facets_on_complete` after the task, in a process of its own,
    where no connection can be read. So the task remembers the jobs while it runs.
    """

    lineage_direction: ClassVar[Literal["upstream", "downstream"]]
    """Whether the task depends on these jobs (``upstream``), or they depend on the task."""

    lineage_type: ClassVar[str]
    """How, as OpenLineage calls it."""

    hook: AstronomerHook
    _remote_jobs: tuple[RemoteJob, ...] = ()

    def report_run(self, run: DagRun) -> None:
        """Report a DAG run of the remote, if the connection names its namespace. It never fails."""
        self._report(lambda namespace: [_job_of(run, namespace)] if namespace else [])

    def report_producers(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Report what produced asset events of the remote. It never fails. :param events: as dicts."""
        self._report(lambda namespace: filter(None, (_producer_of(event, namespace) for event in events)))

    def _report(self, jobs: Callable[[str | None], Iterable[RemoteJob]]) -> None:
        try:
            if _is_enabled():
                found = dict.fromkeys(jobs(self.hook.openlineage_namespace()))
                self._remote_jobs = tuple(islice(found, MOST_JOBS))
        except Exception as error:  # noqa: BLE001  # lineage must not fail a task, whatever the provider does
            log.warning("OpenLineage gets no remote runs of this task: %s", untrusted.readable(repr(error)))

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> Any:  # as the provider calls it
        """What the OpenLineage provider adds to the event about the end of the task, whether or not it failed."""
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.facet_v2 import job_dependencies_run as facets

        if not self._remote_jobs:
            return OperatorLineage()
        jobs = [
            facets.JobDependency(
                job=facets.JobIdentifier(namespace=job.namespace, name=job.name),
                run=facets.RunIdentifier(runId=job.run_id) if job.run_id else None,
                dependency_type=self.lineage_type,
            )
            for job in self._remote_jobs
        ]
        upstream = self.lineage_direction == "upstream"
        facet = facets.JobDependenciesRunFacet(upstream=jobs if upstream else [], downstream=[] if upstream else jobs)
        return OperatorLineage(run_facets={"jobDependencies": facet})


def _job_of(run: DagRun, namespace: str) -> RemoteJob:
    """
    The job of a DAG run, with the id that the OpenLineage provider of the remote computes for it.

    That id changes with each clear of the run, and Airflow's API does not report how many there were: it is the id from
    before the first one.
    """
    from openlineage.client.uuid import generate_static_uuid

    date = run.logical_date or run.run_after
    if date is None:
        return RemoteJob(namespace, run.dag_id)
    made = generate_static_uuid(parse_date(utc_text(date, "date")), f"{namespace}.{run.dag_id}.0".encode())
    return RemoteJob(namespace, run.dag_id, str(made))


def _producer_of(event: Mapping[str, Any], namespace: str | None) -> RemoteJob | None:
    """The job that produced an asset event: what the event itself names or, in the remote, its task."""
    given = (event.get("extra") or {}).get(LINEAGE_KEY)
    named = given if isinstance(given, Mapping) else {}
    names = [named.get(name) for name in ("parentJobNamespace", "parentJobName", "parentRunId")]
    if all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in names):
        return RemoteJob(*map(str, names)) if _is_uuid(str(names[2])) else None
    dag_id, task_id = event.get("source_dag_id"), event.get("source_task_id")
    return RemoteJob(namespace, f"{dag_id}.{task_id}") if namespace and dag_id and task_id else None


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
