"""The XComs that name a remote run, and the link to its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskInstanceKey

    from astronomer_remote.api.protocol.models import DagRun

__all__ = ["REMOTE_RUN_URL", "RemoteDagRunLink", "publish_run", "publish_state"]

REMOTE_RUN_URL = "remote_run_url"
"""XCom key of the page of the remote run."""


def publish_run(context: Context, run: DagRun) -> None:
    """Push which remote run a task triggered or waits for, before it waits; for other tasks and the UI."""
    push = context["ti"].xcom_push
    push(key="trigger_run_id", value=run.run_id)
    push(key=REMOTE_RUN_URL, value=run.url)
    publish_state(context, run)


def publish_state(context: Context, run: DagRun) -> None:
    """Push the state of a run that :func:`publish_run` was called for."""
    context["ti"].xcom_push(key="remote_run_state", value=run.state)


class RemoteDagRunLink(BaseOperatorLink):
    """
    Links to the page of the remote run.

    The task itself writes the URL to XCom as soon as it knows the run: the web server does not read the connection and
    sends no request. Airflow 3 reads the XCom of :attr:`xcom_key`; Airflow 2's web server calls :meth:`get_link`.
    """

    name = "Remote DAG run"

    @property
    def xcom_key(self) -> str:
        return REMOTE_RUN_URL

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        return XCom.get_value(key=REMOTE_RUN_URL, ti_key=ti_key) or ""
