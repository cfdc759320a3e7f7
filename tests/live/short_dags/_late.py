"""An executor whose reports of finished tasks come late, as on a busy machine. No DAG file."""

from __future__ import annotations

import os
import time
from typing import Any

from airflow.executors.local_executor import LocalExecutor

SECONDS_LATE = float(os.environ.get("SECONDS_LATE", "0"))


class LateExecutor(LocalExecutor):
    """Reports each finished task some seconds after it finished."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._held: list[tuple[float, tuple[Any, ...]]] = []

    def change_state(self, key: Any, state: Any, info: Any = None, remove_running: bool = True) -> None:
        if str(getattr(state, "value", state)) == "success":
            self._held.append((time.monotonic() + SECONDS_LATE, (key, state, info, remove_running)))
        else:
            super().change_state(key, state, info, remove_running)

    def sync(self) -> None:
        super().sync()
        now = time.monotonic()
        due = [report for at, report in self._held if at <= now]
        self._held = [(at, report) for at, report in self._held if at > now]
        for report in due:
            self.log.info("Reporting late: %s", report[0])
            super().change_state(*report)
