"""What is known about each line of Airflow: its Pythons, the date to resolve its dependencies at, its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

Generation = Literal["experimental", "v1", "v2"]
PRE_RELEASE = re.compile(r"(a|b|rc|\.dev)\d+$")


@dataclass(frozen=True)
class Line:
    """How one minor line of Airflow is installed.

    `pythons` are those it supports, by its metadata or documentation, in the order of preference. What was run most
    comes first; the others are known to resolve (3.14 is not: no test has run with it). pip and uv do not enforce all
    of them: uv ignores upper bounds, and all tools ignore the ``!=3.13`` of 2.11.2 and 3.0.6 (only 3.13.0).

    Old releases name their dependencies without upper bounds, so they only work with what existed at their
    time: `exclude_newer` is a date a few weeks after the line's last release.
    """

    pythons: tuple[str, ...]
    exclude_newer: str | None
    pins: tuple[str, ...] = field(default=())


LINES: dict[tuple[int, int], Line] = {
    (1, 10): Line(
        ("3.8",),
        "2021-06-01",
        # A plain resolution takes SQLAlchemy 1.4, which the flask-admin of that time cannot import.
        ("sqlalchemy==1.3.24", "sqlalchemy-jsonfield==0.9.0", "sqlalchemy-utils==0.36.8"),
    ),
    (2, 0): Line(("3.8",), "2021-05-20"),
    (2, 1): Line(("3.8",), "2021-10-15"),
    (2, 2): Line(("3.9", "3.8"), "2022-05-20"),
    (2, 3): Line(("3.9", "3.8", "3.10"), "2022-09-15"),
    (2, 4): Line(("3.9", "3.8", "3.10"), "2022-12-01"),
    (2, 5): Line(("3.10", "3.9", "3.8"), "2023-04-25"),
    (2, 6): Line(("3.10", "3.9", "3.8", "3.11"), "2023-08-10"),
    (2, 7): Line(("3.10", "3.9", "3.8", "3.11"), "2023-12-01"),
    (2, 8): Line(("3.11", "3.10", "3.9", "3.8"), "2024-04-05"),
    (2, 9): Line(("3.11", "3.10", "3.9", "3.8", "3.12"), "2024-08-10"),
    (2, 10): Line(("3.11", "3.10", "3.9", "3.12"), "2025-03-20"),
    (2, 11): Line(("3.11", "3.12", "3.10"), "2026-03-20"),
    (3, 0): Line(("3.12", "3.11", "3.10", "3.9"), "2025-09-05"),
    (3, 1): Line(("3.12", "3.11", "3.13", "3.10"), "2026-03-25"),
    (3, 2): Line(("3.12", "3.11", "3.13", "3.10", "3.14"), "2026-06-15"),
    (3, 3): Line(("3.12", "3.11", "3.13", "3.10", "3.14"), None),
}
# Lines that are not known yet are resolved as of today.
NEWEST = Line(("3.12", "3.11", "3.13", "3.14"), None)


TWICE = ("scheduler", "triggerer", "worker")


def kind(component: str) -> str:
    """Return what a component is: ``scheduler-2`` is a scheduler."""
    return re.sub(r"-\d+$", "", component)


@dataclass(frozen=True)
class Release:
    """A version of Airflow and what follows from it."""

    text: str
    minor: tuple[int, int]

    @classmethod
    def parse(cls, text: str) -> Release:
        """Read ``2.11.2``; a bare line such as ``2.11`` is refused, since it does not name one release."""
        match = re.match(r"(\d+)\.(\d+)\.\d+", text)
        if not match:
            raise ValueError(f"{text!r} is not a full Airflow version such as 2.11.2")
        return cls(text, (int(match[1]), int(match[2])))

    @property
    def line(self) -> Line:
        """How this version is installed; a pre-release as of today."""
        line = LINES.get(self.minor, NEWEST)
        return replace(line, exclude_newer=None) if PRE_RELEASE.search(self.text) else line

    @property
    def generation(self) -> Generation:
        """Which REST API it speaks."""
        if self.minor < (2, 0):
            return "experimental"
        return "v1" if self.minor < (3, 0) else "v2"

    @property
    def web(self) -> str:
        """The name of the component that serves the UI and the API."""
        return "api-server" if self.minor >= (3, 0) else "webserver"

    @property
    def components(self) -> tuple[str, ...]:
        """Every process a complete deployment has, in the order in which they are best started."""
        if self.minor >= (3, 0):
            return ("api-server", "dag-processor", "scheduler", "triggerer")
        if self.minor >= (2, 2):
            return ("webserver", "scheduler", "triggerer")
        return ("webserver", "scheduler")

    @property
    def celery_components(self) -> tuple[str, ...]:
        """The same with the CeleryExecutor, since 2.3.

        Two schedulers of Airflow 2 that both parse the DAG files disturb each other when a file is new.
        """
        return (self.web, "dag-processor", *(f"{each}{more}" for more in ("", "-2") for each in TWICE))

    def command(self, component: str) -> list[str]:
        """Return the arguments of `airflow` that start a component.

        Log servers are left out, since they would listen on every network interface.
        """
        serves_logs = {"scheduler": (2, 1), "triggerer": (2, 6)}
        name = kind(component)
        if name == "worker":
            # Each has a name in Celery and a file for its pid.
            named = ["--celery-hostname", component, "--pid", f"{component}.pid"]
            return ["celery", "worker", "--skip-serve-logs", *named]
        since = serves_logs.get(name)
        return [name, "--skip-serve-logs"] if since and self.minor >= since else [name]

    @property
    def health_path(self) -> str:
        """The address that reports health without a login."""
        return "/api/v2/monitor/health" if self.minor >= (3, 0) else "/health"
