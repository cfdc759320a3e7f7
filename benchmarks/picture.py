"""Cost against waiting runs, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib import pyplot as plt

from benchmarks.measuring import Measurement

NAMES = {"ours": "astronomer_remote", "singly": "one GET per run"}
COLOURS = {"ours": "tab:blue", "singly": "tab:red"}


def draw(all_of_them: Sequence[Measurement], path: Path, title: str) -> None:
    """Draw requests per interval and the remote's CPU, both ways, while nothing ends."""
    mpl.use("Agg")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for way, name in NAMES.items():
        kept = [each for each in all_of_them if each.way == way and each.quiet]
        numbers = [each.waiting for each in kept]
        style = {"marker": "o", "label": name, "color": COLOURS[way]}
        left.plot(numbers, [each.quiet.requests for each in kept if each.quiet], **style)
        costs = [100 * (each.quiet.server + each.quiet.database) for each in kept if each.quiet]
        right.plot(numbers, costs, **style)
        broken = [
            (each.waiting, cost) for each, cost in zip(kept, costs, strict=True) if "no longer answers" in each.note
        ]
        for waiting, cost in broken:
            right.annotate("no longer answers", (waiting, cost), textcoords="offset points", xytext=(6, 4), fontsize=8)
    for axes, unit in ((left, "requests per interval"), (right, "CPU of web server and database, % of a core")):
        axes.set(xscale="log", yscale="log", xlabel="waiting runs", title=unit)
        axes.grid(which="major", alpha=0.3)
        axes.legend()
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)
