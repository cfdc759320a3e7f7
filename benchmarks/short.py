"""
How long waits for short runs take: ``python -m benchmarks.short``.

One real deployment, which calls itself through a connection. In each round, our operator and ``TriggerDagRunOperator``
trigger a run of three seconds at the same time and wait for it, first with ``deferrable=True``, then without.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from datetime import datetime, timezone
from statistics import median

from astronomer_remote.api.pools.diff import table
from benchmarks.remote import machine
from dev.places import ROOT
from tests.live.itself import calling_itself, is_finished, start
from tests.live.local import LocalAirflow
from tests.waiting import wait_until

RESULTS = ROOT / "benchmarks" / "results"
SECONDS_PER_ROUND = 90
MODES = ("deferrable", "sync")


def measure(local: LocalAirflow, rounds: int) -> dict[str, list[float]]:
    """Seconds from start to end of each task, by its id; without the first round, in which Airflow starts up."""
    for number in range(rounds + 1):
        start(local, "side_by_side", number)
    wait_until(lambda: is_finished(local, "side_by_side"), timeout=SECONDS_PER_ROUND * (rounds + 1))
    rows = local.query(
        "SELECT run_id, task_id, state, start_date, end_date FROM task_instance WHERE dag_id = 'side_by_side'"
    )
    states = Counter(state for _, _, state, _, _ in rows)
    if set(states) != {"success"}:
        raise RuntimeError(f"not all tasks succeeded: {states}")
    took: dict[str, list[float]] = {}
    for run_id, task_id, _, began, ended in rows:
        if run_id != "round_0":
            seconds = (datetime.fromisoformat(str(ended)) - datetime.fromisoformat(str(began))).total_seconds()
            took.setdefault(task_id, []).append(seconds)
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default="3.3.2", help="version of the deployment (default 3.3.2)")
    parser.add_argument("--rounds", type=int, default=20, help="how often each mode is measured (default 20)")
    arguments = parser.parse_args()
    with calling_itself(arguments.version) as local:
        took = measure(local, arguments.rounds)
    medians = {task_id: round(median(seconds), 1) for task_id, seconds in took.items()}
    rows = [
        (mode, f"{medians[f'airflows_{mode}']} s", f"{ours} s", f"{ours / medians[f'airflows_{mode}']:.2f}")
        for mode in MODES
        for ours in [medians[f"ours_{mode}"]]
    ]
    what = f"Airflow {arguments.version}, {arguments.rounds} rounds; {datetime.now(timezone.utc):%Y-%m-%d}, {machine()}"
    print(f"{what}\n\n{table(('mode', 'TriggerDagRunOperator', 'ours', 'ratio'), rows)}")
    facts = {"what": what, "seconds": {task_id: sorted(seconds) for task_id, seconds in took.items()}}
    (RESULTS / f"short-{arguments.version}.json").write_text(json.dumps(facts, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
