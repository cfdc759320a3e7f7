"""
What waiting for runs costs a real remote: ``python -m benchmarks.waiting``.

The remote is an Airflow with one web worker on PostgreSQL, with many past runs and 10,000 that run. Our waits and,
side by side, one GET per run and poll, which is what others do, wait for the youngest of them: first while nothing
ends, then while half of them end. If the remote stops answering, this is noted and it is restarted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime, timezone

from benchmarks.measuring import Measurement, Measuring
from benchmarks.picture import draw
from benchmarks.remote import LoadedRemote, machine, remote
from benchmarks.reporting import goals, measured, ratios
from dev.places import ROOT

RESULTS = ROOT / "benchmarks" / "results"
WAITING = [1, 10, 100, 250, 500, 1_000, 5_000, 10_000]
# How many are tried with one GET per run: up to what a remote of one worker holds out, and one step beyond.
SINGLY = {"2": [1, 10, 25], "3": [1, 10, 100, 250, 500, 1_000]}
PAST = {"2": 100_000, "3": 1_000_000}


def measurements(it: LoadedRemote, arguments: argparse.Namespace) -> Iterator[Measurement]:
    """Nobody, then every number of waits, our way and the other."""
    measuring = Measuring(it, interval=arguments.interval, seconds=arguments.seconds)
    headers = it.headers()
    yield measuring.idle()
    for way, numbers in (("ours", arguments.waiting), ("singly", arguments.singly)):
        for waiting in numbers:
            found = measuring.measure(way, waiting)
            if not it.answers(headers):
                states = ", ".join(f"{number} {state}" for state, number in it.connections().items())
                found.note += f" the remote no longer answers (connections: {states}); restarted"
                it.restart()
            yield found


def report(found: list[Measurement], arguments: argparse.Namespace) -> None:
    """Tables, goals, a JSON file and a picture."""
    now = datetime.now(timezone.utc)
    what = (
        f"Airflow {arguments.version}, one web worker, PostgreSQL, {arguments.past:,} past and {arguments.running:,} "
        f"running runs, a poll every {arguments.interval:g} s; {now:%Y-%m-%d}, {machine()}"
    )
    reached = goals(found, arguments.interval)
    print(f"\n{what}\n\n{measured(found)}\n\nOne GET per run costs, next to ours:\n\n{ratios(found)}\n")
    for goal, figure, met in reached:
        print(f"{'met   ' if met else 'MISSED'}  {goal}: {figure}")
    arguments.results.mkdir(exist_ok=True)
    path = arguments.results / f"waiting-{arguments.version}"
    facts = {
        "what": what,
        "at": now.isoformat(),
        "measurements": [each.as_dict() for each in found],
        "goals": [{"goal": goal, "measured": figure, "met": met} for goal, figure, met in reached],
    }
    path.with_name(f"{path.name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    draw(found, path.with_name(f"{path.name}.png"), what)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", default="3.3.2", help="version of the remote (default 3.3.2)")
    parser.add_argument("--waiting", type=int, nargs="*", default=WAITING, help="numbers of waits, our way")
    parser.add_argument("--singly", type=int, nargs="*", help="numbers of waits, one GET per run")
    parser.add_argument("--past", type=int, help="runs that ended long ago (default 1,000,000; 100,000 in Airflow 2)")
    parser.add_argument("--running", type=int, default=10_000, help="runs that run (default 10,000)")
    parser.add_argument("--interval", type=float, default=5.0, help="seconds between two polls (default 5)")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of each of the two phases (default 30)")
    parser.add_argument("--results", type=type(RESULTS), default=RESULTS, help="folder for the JSON and the picture")
    arguments = parser.parse_args()
    generation = arguments.version[0]
    arguments.past = PAST[generation] if arguments.past is None else arguments.past
    arguments.singly = SINGLY[generation] if arguments.singly is None else arguments.singly
    found = []
    with remote(arguments.version, past=arguments.past, running=arguments.running) as it:
        for each in measurements(it, arguments):
            found.append(each)
            print(measured([each]), file=sys.stderr, flush=True)
    report(found, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
