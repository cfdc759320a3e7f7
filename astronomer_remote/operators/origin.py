"""Where a remote run came from, for those who look at it there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from astronomer_remote.api.protocol.ids import LONGEST_NOTE
from astronomer_remote.compat import map_index, task_page

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

ROOM_FOR_MARK = 50
"""Characters of a note that are left for :func:`astronomer_remote.api.protocol.ids.marked_note`."""


def origin(context: Context) -> str:
    """The local task instance and its page, whose address also tells which deployment it is in."""
    ti, index = context["ti"], map_index(context)
    task = f"{ti.task_id}[{index}]" if index >= 0 else ti.task_id
    text = f"Triggered by task {task} of DAG {ti.dag_id}, run {ti.run_id}, in another Airflow deployment"
    page = task_page(ti)
    return (f"{text}: {page}" if page else f"{text}.")[: LONGEST_NOTE - ROOM_FOR_MARK]
