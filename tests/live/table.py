"""The table of the documentation: which local Airflow has been run with which remote, written by ``make matrix``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.live.plan import MATRIX
from tests.live.tables import ROOT, Results, Table, markdown


def draw(known: Results) -> str:
    """The table in Markdown."""
    remotes = list(dict.fromkeys(pair.remote for pair in MATRIX))
    locals_ = dict.fromkeys(pair.local for pair in MATRIX)
    rows = ([local, *(_cell(known.get(f"{local}-to-{remote}")) for remote in remotes)] for local in locals_)
    return markdown(["local ↓ remote →", *remotes], rows)


def _cell(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not run yet"
    failed = f", {result['failed']} failed" if result["failed"] else ""
    return f"{result['passed']} passed{failed}"


PAIRS = Table(ROOT / "docs" / "versions.md", "pairs", Path(__file__).with_name("results.json"), draw)
