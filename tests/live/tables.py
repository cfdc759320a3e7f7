"""Tables in the documentation that tests write from what they saw last."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tests.live.plan import OTHERS, TABLE, Pair

ROOT = Path(__file__).resolve().parents[2]

Results = dict[str, dict[str, Any]]
"""The result of each thing in a table, by a name for it."""


class Table:
    """
    One table of one page.

    :param page: that it stands in, between two comments.
    :param name: of the table: the first comment names it, the second one ends it.
    :param results: JSON file with what came of everything, so that a part of the tests changes a part of the table.
    :param draw: makes the table of the results.
    """

    def __init__(self, page: Path, name: str, results: Path, draw: Callable[[Results], str]) -> None:
        self.page = page
        self._place = re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL)
        self._results = results
        self._draw = draw

    def results(self) -> Results:
        """What came of each thing when it was run last."""
        found: Results = json.loads(self._results.read_text())
        return found

    def record(self, found: Results) -> None:
        """Keep what came of some, and write it into the page."""
        kept = dict(sorted({**self.results(), **found}.items()))
        self._results.write_text(json.dumps(kept, indent=1) + "\n")
        self.page.write_text(self._place.sub(lambda _: self.due(), self.page.read_text()))

    def shown(self) -> str:
        """The table as it stands in the page."""
        (found,) = self._place.findall(self.page.read_text())
        return str(found)

    def due(self) -> str:
        """The table that the results make."""
        return self._draw(self.results())


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lines of a table."""
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *rows))


def in_attempt(seen: dict[str, Any]) -> str:
    """Which attempt brought a task's state about, if that was not the first."""
    return f" in attempt {seen['attempts']}" if seen["attempts"] > 1 else ""


def draw_pairs(known: Results, pairs: Sequence[Pair]) -> str:
    """Which local Airflow has been run with which remote, written by ``make matrix``."""
    remotes = list(dict.fromkeys(pair.remote for pair in pairs))
    locals_ = dict.fromkeys(pair.local for pair in pairs)
    rows = ([local, *(_pair_cell(known.get(f"{local}-to-{remote}")) for remote in remotes)] for local in locals_)
    return markdown(["local ↓ remote →", *remotes], rows)


def _pair_cell(result: dict[str, Any] | None) -> str:
    if result is None:
        return "not run yet"
    failed = f", {result['failed']} failed" if result["failed"] else ""
    return f"{result['passed']} passed{failed}"


PAIR_TABLES = [
    Table(
        ROOT / "docs" / "versions.md", name, Path(__file__).with_name("results.json"), partial(draw_pairs, pairs=pairs)
    )
    for name, pairs in (("pairs", TABLE), ("other minor versions", OTHERS))
]
