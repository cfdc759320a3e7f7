"""Where a remote run came from, for those who look at it there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astronomer_remote.compat import map_index, task_page

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

LONGEST_NOTE = 1000
"""Characters that Airflow stores."""


def origin(context: Context) -> str:
    """The local task instance and its page, whose address also tells which deployment it is in."""
    ti, index = context["ti"], map_index(context)
    task = f"{ti.task_id}[{index}]" if index >= 0 else ti.task_id
    told = f"Triggered by task {task} of DAG {ti.dag_id}, run {ti.run_id}, in another Airflow deployment"
    page = task_page(ti)
    return (f"{told}: {page}" if page else f"{told}.")[:LONGEST_NOTE]
