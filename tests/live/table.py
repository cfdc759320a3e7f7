"""The README's table of which local Airflow has been run with which remote, written by ``make matrix``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.live.plan import MATRIX

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
README = ROOT / "README.md"
TABLE = re.compile(r"(?<=<!-- pairs -->\n).*?(?=<!-- end of pairs -->)", re.DOTALL)

Results = dict[str, dict[str, Any]]


def results() -> Results:
    """What came of each pair when it was run last: how many tests passed and failed, and when."""
    found: Results = json.loads(RESULTS.read_text())
    return found


def record(found: Results) -> None:
    """Keep what came of some pairs, and write it into the README."""
    RESULTS.write_text(json.dumps(dict(sorted({**results(), **found}.items())), indent=2) + "\n")
    README.write_text(TABLE.sub(lambda _: table(results()), README.read_text()))


def table(known: Results) -> str:
    """The table in Markdown."""
    remotes = list(dict.fromkeys(pair.remote for pair in MATRIX))
    rows = [["local ↓ remote →", *remotes], ["---"] * (len(remotes) + 1)]
    for local in dict.fromkeys(pair.local for pair in MATRIX):
        rows.append([local, *(_cell(known.get(f"{local}-to-{remote}")) for remote in remotes)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not run yet"
    failed = f", {result['failed']} failed" if result["failed"] else ""
    return f"{result['passed']} passed{failed}"
