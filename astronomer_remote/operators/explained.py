"""What a task has that says why a remote run failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.arguments import whole
from astronomer_remote.exceptions import DagRunFailed
from astronomer_remote.operators.connected import Connected

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from astronomer_remote.api.protocol.models import DagRun
    from astronomer_remote.api.runs.failure import FailureReport

REMOTE_FAILURE = "remote_failure"
"""XCom key of the report on a remote run that failed, a dict."""

SECONDS_TO_EXPLAIN = 60.0
"""How long the report may hold up a task that has failed anyway."""

MOST_LOG_LINES = 200


class Explains(Connected):
    """A task that fails because a remote run did, and says why that did."""

    explain_failure: bool
    failure_log_lines: int
    log: Any

    def check_explanation(self) -> None:
        """Refuse what is known to be wrong."""
        if not 0 <= whole(self.failure_log_lines, "failure_log_lines") <= MOST_LOG_LINES:
            raise InvalidSettings(f"failure_log_lines must be a number from 0 to {MOST_LOG_LINES}.")

    def failure(self, context: Context, run: DagRun, what: str, task_ids: Sequence[str] = ()) -> DagRunFailed:
        """
        The error that tells of a failed run, after its reasons went to XCom.

        :param what: what happened, in a line.
        :param task_ids: tasks that are of interest before all others.
        """
        report = self._report(context, run, task_ids) if self.explain_failure and run.state != "success" else None
        return DagRunFailed(f"{what}: {run.url}\n{report}" if report else f"{what}: {run.url}")

    def _report(self, context: Context, run: DagRun, task_ids: Sequence[str]) -> FailureReport | None:
        report = None
        try:
            report = self.hook.run_flow(
                lambda deployment: deployment.failures.report(run, log_lines=self.failure_log_lines, task_ids=task_ids),
                total_seconds=SECONDS_TO_EXPLAIN,
            )
            context["ti"].xcom_push(key=REMOTE_FAILURE, value=report.as_dict())
        except Exception as error:  # noqa: BLE001  # the task fails in any case, and must not fail for another reason
            self.log.warning("Not all of why run %s failed could be told: %s", run.run_id, error)
        return report
