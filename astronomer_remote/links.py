"""Links from a local task to what it made or watches in the remote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperatorLink, XCom

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskInstanceKey

    from astronomer_remote.api.protocol.models import DagRun

REMOTE_RUN_URL = "remote_run_url"
"""XCom key of the page of the remote run."""


def publish_run(context: Context, run: DagRun) -> None:
    """Tell other tasks and the UI which remote run a task made or watches, before any waiting."""
    push = context["ti"].xcom_push
    push(key="trigger_run_id", value=run.run_id)
    push(key=REMOTE_RUN_URL, value=run.url)
    push(key="remote_run_state", value=run.state)


class RemoteDagRunLink(BaseOperatorLink):
    """
    Leads to the page of the remote run.

    The task itself writes the address, once it knows it: the web server neither knows the connection nor asks the
    remote. Airflow 3 reads the XCom of :attr:`xcom_key`; Airflow 2's web server calls :meth:`get_link`.
    """

    name = "Remote DAG run"

    @property
    def xcom_key(self) -> str:
        return REMOTE_RUN_URL

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        return XCom.get_value(key=REMOTE_RUN_URL, ti_key=ti_key) or ""
