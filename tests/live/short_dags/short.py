"""DAGs that trigger a short run of this same deployment, with this package and with Airflow's own operator."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

from airflow.providers.common.compat.sdk import DAG, BaseOperator

try:
    from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
except ImportError:
    from airflow.operators.trigger_dagrun import TriggerDagRunOperator

from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator

OPTIONS: dict[str, Any] = {"start_date": datetime(2024, 1, 1), "max_active_runs": 64}
WAIT: dict[str, Any] = {"wait_for_completion": True, "poke_interval": 5}
AT_ONCE = 10


class Sleep(BaseOperator):
    """Take some seconds."""

    def execute(self, context: Any) -> None:
        time.sleep(3)


for name in ("three_seconds", "new"):
    with DAG(name, schedule=None, **OPTIONS) as target:
        Sleep(task_id="sleep")
    globals()[name] = target

with DAG("side_by_side", schedule=None, **{**OPTIONS, "max_active_runs": 1}) as side_by_side:
    pairs = [
        [
            RemoteTriggerDagRunOperator(
                task_id=f"ours_{mode}", trigger_dag_id="three_seconds", deferrable=mode == "deferrable", **WAIT
            ),
            TriggerDagRunOperator(
                task_id=f"airflows_{mode}", trigger_dag_id="three_seconds", deferrable=mode == "deferrable", **WAIT
            ),
        ]
        for mode in ("deferrable", "sync")
    ]
    for ours in pairs[0]:
        ours >> pairs[1]

# With `stream_logs`, ours is deferred in any case.
with DAG("late_reports", schedule=None, **OPTIONS) as late_reports:
    numbers = [{"number": number} for number in range(AT_ONCE)]
    options = {"trigger_dag_id": "new", "wait_for_completion": True, "poke_interval": 1, "deferrable": True}
    RemoteTriggerDagRunOperator.partial(task_id="ours", stream_logs=["sleep"], **options).expand(conf=numbers)
    TriggerDagRunOperator.partial(task_id="airflows", **options).expand(conf=numbers)
