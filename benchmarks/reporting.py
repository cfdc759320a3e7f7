"""What was measured, as tables, as goals met or missed, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from astronomer_remote.api.pools.diff import table
from benchmarks.measuring import Figures, Measurement

HEADERS = (
    "who waits",
    "waiting",
    "ends/s",
    "requests",
    "web CPU %",
    "DB CPU %",
    "DB ms",
    "own CPU %",
    "KB each",
    "lag median s",
    "lag p99 s",
    "held up ms",
    "",
)
# What a wait costs; the idle remote is what it is measured from.
COSTS = ("requests", "server", "database", "statements", "own")

Goal = tuple[str, str, bool]


def measured(all_of_them: Iterable[Measurement]) -> str:
    """A table: a line for the time in which nothing ended, and one for the time in which runs ended."""
    lines = []
    for each in all_of_them:
        for figures, rate in ((each.quiet, 0.0), (each.busy, each.per_second)):
            if figures:
                lines.append(_line(each, figures, rate))
    return table(HEADERS, lines)


def _line(each: Measurement, figures: Figures, rate: float) -> tuple[str, ...]:
    shares = (f"{100 * share:.2f}" for share in (figures.server, figures.database))
    lags = (each.lag(0.5), each.lag(0.99)) if rate and each.lags else ()
    return (
        each.way,
        str(each.waiting),
        f"{rate:.2g}",
        f"{figures.requests:.1f}",
        *shares,
        f"{figures.statements:.1f}",
        f"{100 * figures.own:.2f}",
        f"{each.kilobytes:.1f}" if each.waiting >= 100 else "",
        *([f"{lag:.1f}" for lag in lags] or ["", ""]),
        f"{1000 * figures.stall:.0f}",
        "; ".join(filter(None, [f"{figures.errors} errors" if figures.errors else "", each.note if rate else ""])),
    )


def ratios(all_of_them: Sequence[Measurement]) -> str:
    """How many times as much one GET per run costs, for the numbers of waits that both were measured with."""
    found = {(each.way, each.waiting): each for each in all_of_them}
    lines = []
    for (way, waiting), other in found.items():
        ours = found.get(("ours", waiting))
        if way == "singly" and ours and ours.quiet and other.quiet:
            costs = [(getattr(other.quiet, name), getattr(ours.quiet, name)) for name in COSTS]
            lines.append((str(waiting), *(f"{theirs / mine:.1f} x" if mine else "" for theirs, mine in costs)))
    return table(("waiting", "requests", "web CPU", "DB CPU", "DB time", "own CPU"), lines)


def goals(all_of_them: Sequence[Measurement], interval: float) -> list[Goal]:
    """What was to be reached, what was, and whether that is enough."""
    ours = {each.waiting: each for each in all_of_them if each.way == "ours"}
    idle = next(each.quiet for each in all_of_them if each.way == "nobody")
    found: list[Goal] = []
    for waiting, each in ours.items():
        found += _for_each_number(waiting, each, interval)
    if 5_000 in ours and (quiet := ours[5_000].quiet) and idle:
        added = quiet.server + quiet.database - idle.server - idle.database
        figure = f"{added:.2%} of a core (web server {quiet.server:.2%} and database {quiet.database:.2%} in all)"
        found.append(("5,000 waiting add at most 1 % of a core to the remote", figure, added <= 0.01))
    if 10_000 in ours and (quiet := ours[10_000].quiet):
        most = max(quiet.own, getattr(ours[10_000].busy, "own", 0.0))
        size = ours[10_000].kilobytes
        found.append(("10,000 waiting take at most 5 % of a core of ours", f"{most:.2%}", most <= 0.05))
        found.append(("10,000 waiting take at most 20 KB each", f"{size:.1f} KB", size <= 20))
    return found


def _for_each_number(waiting: int, each: Measurement, interval: float) -> Iterable[Goal]:
    if not (each.quiet and each.busy):
        return
    for figures, rate in ((each.quiet, 0.0), (each.busy, each.per_second)):
        # Intervals vary by a tenth, every sixth of them reads one run besides, and time may have begun with a request.
        most = (1 + math.ceil(rate * interval / 100)) * 1.1 + 1 / 6 + 1 / figures.intervals
        yield (
            f"{waiting} waiting, {rate:.2g} ends/s: requests per interval",
            f"{figures.requests:.1f}",
            figures.requests <= most,
        )
        yield (
            f"{waiting} waiting: the event loop is held up for at most 50 ms",
            f"{1000 * figures.stall:.0f} ms",
            figures.stall <= 0.05,
        )
    for name, share, most in (("median", 0.5, interval / 2 + 0.3), ("p99", 0.99, interval + 2)):
        yield f"{waiting} waiting: lag {name} at most {most:.1f} s", f"{each.lag(share):.1f} s", each.lag(share) <= most
