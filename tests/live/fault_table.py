"""The table of `docs/faults.md`, written by the live tests from what they saw."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.live.fault_cases import CASES, MODES, VERSIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
RESULTS = Path(__file__).with_name("faults.json")
TABLE = re.compile(r"(?<=<!-- cells -->\n).*?(?=<!-- end of cells -->)", re.DOTALL)

Results = dict[str, dict[str, Any]]
"""What came of each case, by remote, mode and case."""


def key(version: str, mode: str, case: str) -> str:
    """The name of a cell."""
    return f"{version}, {mode}, {case}"


def results() -> Results:
    """What came of each cell when it was run last."""
    found: Results = json.loads(RESULTS.read_text())
    return found


def record(found: Results) -> None:
    """Keep what came of some cells, and write it into the page."""
    RESULTS.write_text(json.dumps(dict(sorted({**results(), **found}.items())), indent=1) + "\n")
    PAGE.write_text(TABLE.sub(lambda _: table(results()), PAGE.read_text()))


def table(known: Results) -> str:
    """The table in Markdown."""
    columns = [(version, mode) for version in VERSIONS for mode in MODES]
    rows = [["fault", *(f"{version}, {mode}" for version, mode in columns)], ["---"] * (len(columns) + 1)]
    for case in CASES:
        cells = (_cell(known.get(key(*each, case.name))) if each[0] in case.versions else "" for each in columns)
        rows.append([case.name, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return "not run yet"
    again = f" in attempt {seen['attempts']}" if seen["attempts"] > 1 else ""
    return f"{seen['runs']} run, {seen['state']}{again}; {seen['sent']} ({seen['arrived']}) of {seen['requests']}"
