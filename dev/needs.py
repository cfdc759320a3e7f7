"""
What each part of the tests and the demo need of a machine, looked at before anything is installed.

This module runs in any Python from 3.8 on and needs nothing installed.
"""

from __future__ import annotations

from typing import NamedTuple

from dev import chromium
from dev.environments import no_python, own_pythons, supported
from dev.missing import Missing
from dev.pythons import downloads_allowed, minor, pythons
from dev.versions import Release

NEWEST, OLDEST = "3.3.2", "2.11.2"
"""Where mypy and the unit tests find the newest and the oldest Airflow that the package runs in."""

LOCAL, REMOTE = "3.3.2", "2.11.2"
"""The demo's deployments, if nobody names others."""


class Needed(NamedTuple):
    """One version of Airflow. `project`: with this package installed beside it."""

    version: str
    project: bool


AIRFLOWS: dict[str, tuple[Needed, ...]] = {
    "unit-oldest": (Needed(OLDEST, True),),
    "package": (Needed("2.11.2", True), Needed("3.0.6", True), Needed("3.3.2", True)),
    "browser": (Needed("3.3.2", True), Needed("2.11.2", True)),
    "live": (Needed("2.11.2", True), Needed("3.3.2", True), Needed("1.10.15", False)),
}
"""What the parts of ``make test`` install; each part skips what cannot be."""


def base() -> Missing | None:
    """Return why not even the tools can be installed; None if they can."""
    if pythons().first_of(map(minor, own_pythons())) or downloads_allowed():
        return None
    return no_python("This package", own_pythons())


def lacking(version: str, *, project: bool) -> Missing | None:
    """Return why this Airflow cannot be run; None if it can, or if a Python for it is going to be downloaded."""
    target = supported(version, project=project)
    if pythons().first_of(map(minor, target)) or downloads_allowed():
        return None
    return no_python(f"Airflow {version}", target)


def of_part(part: str) -> list[Missing]:
    """Return what a part of the tests lacks."""
    found = [lacking(each.version, project=each.project) for each in AIRFLOWS.get(part, ())]
    if part == "browser" and not chromium.obtainable():
        found.append(chromium.missing())
    return [each for each in found if each]


def downloads(versions: list[Needed]) -> list[str]:
    """Return the Pythons that will be downloaded for these, since the machine lacks them."""
    if not downloads_allowed():
        return []
    target = [supported(each.version, project=each.project) for each in versions]
    return list(dict.fromkeys(each[0] for each in target if not pythons().first_of(map(minor, each))))


def demo_versions(local: str | None = None, remote: str | None = None) -> tuple[str, str, str]:
    """
    Choose the demo's deployments: those that are named, else the usual ones.

    The usual remote gives way to one that runs here when this machine has no Python for it.

    :return: the local and the remote version, and what is to be said of that choice, which may be nothing.
    :raises Missing: when one of them cannot run here.
    """
    said = ""
    local = local or LOCAL
    if remote is None:
        remote, target = REMOTE, supported(REMOTE)
        if not pythons().first_of(map(minor, target)) and pythons().first_of(map(minor, supported(LOCAL))):
            remote = LOCAL
            said = f"The remote is Airflow {LOCAL}, since Airflow {REMOTE} {no_python('', target).why}"
    for version, project in ((local, True), (remote, False)):
        missing = lacking(version, project=project)
        if missing:
            raise missing
    return Release.parse(local).text, Release.parse(remote).text, said
