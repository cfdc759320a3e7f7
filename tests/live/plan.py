"""Which Airflow is tested with which, and what a live test says about itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

SYNC, DEFERRABLE = "sync", "deferrable"
BOTH = (SYNC, DEFERRABLE)


class Pair(NamedTuple):
    """
    Two deployments.

    :param smoke: whether only a few scenarios are run.
    """

    local: str
    remote: str
    smoke: bool = False

    def __str__(self) -> str:
        return f"{self.local}-to-{self.remote}"


LIVE = (
    Pair("2.11.2", "2.11.2", smoke=True),
    Pair("3.3.2", "1.10.15"),
    Pair("3.3.2", "2.11.2"),
    Pair("3.3.2", "3.3.2"),
)
TABLE = tuple(
    Pair(local, remote)
    for local in ("2.11.2", "3.0.6", "3.1.8", "3.2.2", "3.3.2")
    for remote in ("1.10.15", "2.0.2", "2.2.5", "2.11.2", "3.0.6", "3.3.2")
)
# The last release of each other minor version.
OTHERS = tuple(
    Pair("3.3.2", remote)
    for remote in ("2.1.4", "2.3.4", "2.4.3", "2.5.3", "2.6.3", "2.7.3", "2.8.4", "2.9.3", "2.10.5", "3.1.8", "3.2.2")
)
MATRIX = (*TABLE, *OTHERS)


class Scenario(NamedTuple):
    """
    What a test says about itself.

    :param name: of the function in `local_dags` that makes its local DAG.
    :param modes: to run it in.
    :param since: first version of the remote for which it is meant.
    :param before: first one for which it is not.
    :param waits: modes in which its tasks are seen to wait before there is, in the remote, what they wait for.
    :param smoke: whether it belongs to the few that a smoke test runs.
    """

    name: str
    modes: tuple[str, ...]
    since: tuple[int, ...]
    before: tuple[int, ...]
    waits: tuple[str, ...]
    smoke: bool

    def fits(self, pair: Pair) -> bool:
        """Whether the scenario is run with two deployments."""
        return self.since <= numbers(pair.remote) < self.before and (self.smoke or not pair.smoke)


def scenario(
    name: str,
    *modes: str,
    since: tuple[int, ...] = (1, 10),
    before: tuple[int, ...] = (9,),
    waits: tuple[str, ...] = (),
    smoke: bool = False,
) -> Callable[[Any], Any]:
    """Mark a test with what it is about, see :class:`Scenario`; without modes it is run in both."""
    return pytest.mark.scenario(Scenario(name, modes or BOTH, since, before, waits, smoke))


def numbers(version: str) -> tuple[int, ...]:
    """A version for comparisons."""
    return tuple(int(part) for part in version.split("."))
