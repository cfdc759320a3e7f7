"""
What the page of remote deployments costs while nobody opens it: ``python -m benchmarks.plugin``.

Two fresh interpreters in turn, so that whatever else the machine does meets both alike: with the page, and with the
switch that turns it off. Measured are building the API server's application, and loading all plugins, which every
component does before it parses a DAG file.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping

SWITCH = "AIRFLOW__ASTRONOMER_REMOTE__UI_PAGE"
KINDS = {
    "API server's application": (
        "import airflow.models",
        "from airflow.api_fastapi.app import create_app; create_app()",
    ),
    "all plugins": (
        "from airflow import plugins_manager; from airflow.providers.common.compat.sdk import DAG",
        "plugins_manager.ensure_plugins_loaded()",
    ),
    "this plugin": (
        "from airflow import plugins_manager; from airflow.providers.common.compat.sdk import DAG",
        "import astronomer_remote.ui.plugin",
    ),
}

MEASURE = """
import json, sys, time
{before}
modules, wall, cpu = len(sys.modules), time.perf_counter(), time.process_time()
{statement}
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu, len(sys.modules) - modules]))
"""


def measured(before: str, statement: str, environ: Mapping[str, str]) -> tuple[float, float, int]:
    """Seconds by the wall, seconds of CPU and modules of a statement in a fresh interpreter."""
    command = [sys.executable, "-c", MEASURE.format(before=before, statement=statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environ})
    wall, cpu, modules = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu, modules


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=7, help="interpreters for each of the two (default 7)")
    times = parser.parse_args().times
    print(f"{'median of ' + str(times):28}{'':10}{'off':>10}{'on':>10}")
    with tempfile.TemporaryDirectory() as home:
        environ = {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        for name, (before, statement) in KINDS.items():
            rounds = [
                [measured(before, statement, {**environ, SWITCH: switch}) for switch in ("False", "True")]
                for _ in range(times)
            ]
            for column, (unit, scale) in enumerate([("wall ms", 1000), ("CPU ms", 1000), ("modules", 1)]):
                off, on = (statistics.median(each[side][column] for each in rounds) * scale for side in (0, 1))
                print(f"{name:28}{unit:10}{off:10.1f}{on:10.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
