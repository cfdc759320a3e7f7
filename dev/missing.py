"""
What this machine lacks: as an error for whoever needs it, and as the table of what was not run.

In tests, a :class:`Missing` is a skip (see ``tests/conftest.py``), and a failure where everything must run.
This module runs in any Python from 3.8 on and needs nothing installed.
"""

from __future__ import annotations

import json
import os

from dev.places import ROOT

RECORD = ROOT / "build" / "not-run.jsonl"
STRICT_VARIABLES = ("STRICT", "CI")
"""The first that is set decides whether everything must run. Servers for continuous integration set CI."""


class InstallError(RuntimeError):
    """Something could not be installed; the text holds what the failing command said."""


class Missing(InstallError):
    """
    Something that this machine lacks, and that cannot be installed without its user.

    :param what: that cannot be run without it.
    :param why: it cannot.
    :param how: to get what is missing.
    :param found: what the machine has in its place, as a sentence.
    """

    def __init__(self, what: str, why: str, how: str, found: str = "") -> None:
        super().__init__(" ".join(filter(None, [f"{what} {why}.", found, f"{how}."])))
        self.what, self.why, self.how, self.found = what, why, how, found


def strict() -> bool:
    """Return whether everything must run: what is missing is then a failure."""
    for name in STRICT_VARIABLES:
        value = os.environ.get(name, "").strip().lower()
        if value:
            return value not in {"0", "false", "no"}
    return False


def record(part: str, missing: Missing) -> None:
    """Note that something of this part of the tests was not run."""
    RECORD.parent.mkdir(exist_ok=True)
    with RECORD.open("a") as file:
        file.write(json.dumps({"part": part, "what": missing.what, "why": missing.why, "how": missing.how}) + "\n")


def clear() -> None:
    """Forget what an earlier run did not run."""
    if RECORD.exists():
        RECORD.unlink()


def recorded() -> list[dict[str, str]]:
    """Return what was not run, each once."""
    lines = RECORD.read_text().splitlines() if RECORD.exists() else []
    return [json.loads(line) for line in dict.fromkeys(lines)]


def table(rows: list[dict[str, str]]) -> str:
    """Return what was not run, with the reason and the remedy, in columns."""
    titles = {"part": "part", "what": "not run", "why": "because", "how": "to run it"}
    widths = {key: max(len(row[key]) for row in [titles, *rows]) for key in titles}
    lines = ["  ".join(row[key].ljust(widths[key]) for key in titles).rstrip() for row in [titles, *rows]]
    lines.insert(1, "  ".join("-" * width for width in widths.values()))
    return "\n".join(lines)
