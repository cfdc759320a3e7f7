"""Names the local task as the OpenLineage parent of what it starts in another deployment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow.providers.common.compat.sdk import AirflowOptionalProviderFeatureException

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
    # Imported here: it takes time, and no DAG file needs it to be parsed.
    try:
        from airflow.providers.openlineage.conf import is_disabled

        if is_disabled():
            return {}
        # Takes about a second.
        from airflow.providers.openlineage.plugins.listener import get_openlineage_listener
    except ImportError:
        return {}
    if not get_openlineage_listener():
        return {}
    from airflow.providers.common.compat.openlineage.check import require_openlineage_version

    parent = require_openlineage_version(provider_min_version=OLDEST_PROVIDER)(_read)(ti)
    return {name: str(value) for name, value in parent.items()}


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
