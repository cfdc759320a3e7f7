"""
What a DAG file pays for importing our operator, next to Airflow's own: ``python -m benchmarks.import_cost``.

Both are imported in fresh interpreters in turn, so that whatever else the machine does meets both alike, and compared
as a ratio, which holds on any machine. Airflow itself is imported before the clock starts: every DAG file has it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

BEFORE = "from airflow.providers.common.compat.sdk import DAG, BaseOperator"
OURS = "from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator"
AIRFLOWS = "from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator"

MEASURE = """
import json, sys, time
{before}
modules, wall, cpu = len(sys.modules), time.perf_counter(), time.process_time()
{statement}
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, len(sys.modules) - modules]))
"""


def measured(statement: str, before: str) -> tuple[float, float, int]:
    """Seconds by the wall, seconds of CPU and modules that an import costs in a fresh interpreter."""
    code = MEASURE.format(before=before, statement=statement)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wall, cpu, modules = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu, modules


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7, help="interpreters for each of the two (default 7)")
    parser.add_argument("--cold", action="store_true", help="count what Airflow itself costs, too")
    arguments = parser.parse_args()
    before = "" if arguments.cold else BEFORE
    rounds = [(measured(AIRFLOWS, before), measured(OURS, before)) for _ in range(arguments.times)]
    print(f"{'median of ' + str(arguments.times):22}{'TriggerDagRunOperator':>24}{'ours':>12}{'ratio':>8}")
    for column, (name, scale, unit) in enumerate([("wall", 1000, "ms"), ("CPU", 1000, "ms"), ("modules", 1, "")]):
        airflows, ours = (statistics.median(each[side][column] for each in rounds) * scale for side in (0, 1))
        ratio = f"{ours / airflows:8.2f}" if airflows else f"{'-':>8}"
        print(f"{name + (f' ({unit})' if unit else ''):22}{airflows:24.0f}{ours:12.0f}{ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
