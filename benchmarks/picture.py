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
        # What no longer answers costs nothing any more.
        for broken in (each for each in kept if "no longer answers" in each.note):
            for axes in (left, right):
                axes.axvline(broken.waiting, color=COLOURS[way], linestyle="--", label=f"{name}: no longer answers")
        kept = [each for each in kept if "no longer answers" not in each.note]
        numbers = [each.waiting for each in kept]
        style = {"marker": "o", "label": name, "color": COLOURS[way]}
        left.plot(numbers, [each.quiet.requests for each in kept if each.quiet], **style)
        right.plot(numbers, [100 * (each.quiet.server + each.quiet.database) for each in kept if each.quiet], **style)
    for axes, unit in ((left, "requests per interval"), (right, "CPU of web server and database, % of a core")):
        axes.set(xscale="log", yscale="log", xlabel="waiting runs", title=unit)
        axes.grid(which="major", alpha=0.3)
        axes.legend(fontsize=7)
    figure.suptitle(title.replace("; ", "\n"), fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
