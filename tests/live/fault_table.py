"""The table of faults in `docs/faults.md`, written by the live tests from what they saw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.live.fault_cases import CASES, MODES, VERSIONS
from tests.live.tables import ROOT, Results, Table, in_attempt, markdown

PAGE = ROOT / "docs" / "faults.md"


def key(version: str, mode: str, case: str) -> str:
    """The name of a cell."""
    return f"{version}, {mode}, {case}"


def draw(known: Results) -> str:
    """The table in Markdown."""
    columns = [(version, mode) for version in VERSIONS for mode in MODES]
    rows = []
    for case in CASES:
        cells = (_cell(known.get(key(*each, case.name))) if each[0] in case.versions else "" for each in columns)
        rows.append([case.name, *cells])
    return markdown(["fault", *(f"{version}, {mode}" for version, mode in columns)], rows)


def _cell(seen: dict[str, Any] | None) -> str:
    if seen is None:
        return "not run yet"
    requests = f"{seen['sent']} ({seen['arrived']}) of {seen['requests']}"
    return f"{seen['runs']} run, {seen['state']}{in_attempt(seen)}; {requests}"


CELLS = Table(PAGE, "cells", Path(__file__).with_name("faults.json"), draw)
