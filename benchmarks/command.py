"""
What one call of the command costs, next to a script that sends one request with ``requests``: ``python -m
benchmarks.command``.

Both run in fresh interpreters in turn against the same fake deployment, and are compared as a ratio: see
:mod:`benchmarks.import_cost`.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

from astronomer_remote.testing import FakeDeployment

TOKEN = "benchmark"
SCRIPT = """
import sys, requests
requests.get(sys.argv[1] + "/api/v2/dags/quick/dagRuns", headers={"Authorization": "Bearer " + sys.argv[2]}).json()
"""


def measured(command: list[str]) -> tuple[float, float]:
    """Seconds by the wall and seconds of CPU of a process."""
    environment = {**os.environ, "ASTRONOMER_REMOTE_TOKEN": TOKEN}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=11, help="processes for each of the two (default 11)")
    times = parser.parse_args().times
    with FakeDeployment(api_token=TOKEN) as remote:
        remote.add_dag("quick")
        script = [sys.executable, "-c", SCRIPT, remote.url, TOKEN]
        ours = [sys.executable, "-m", "astronomer_remote.cli", "runs", "quick", "--url", remote.url]
        rounds = [(measured(script), measured(ours)) for _ in range(times)]
    print(f"{'median of ' + str(times):22}{'script':>12}{'ours':>12}{'ratio':>8}")
    for column, name in enumerate(("wall (ms)", "CPU (ms)")):
        bare, whole = (1000 * statistics.median(each[side][column] for each in rounds) for side in (0, 1))
        print(f"{name:22}{bare:12.0f}{whole:12.0f}{whole / bare:8.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
