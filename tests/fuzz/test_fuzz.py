"""Whatever a remote answers: a documented error or a result that is true, after a bounded number of requests."""

from __future__ import annotations

import inspect
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import cycle
from random import Random

import pytest

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.protocol.errors import AccessDenied, DagIsPaused, NotSupported, RemoteError
from tests.fuzz.flows import FLOWS, METHODS, check_storable, check_types, furnish
from tests.fuzz.remote import Endless, HostileRemote

VERSIONS = ("1.10.15", "2.0.2", "2.2.5", "2.11.2", "3.0.6", "3.1.8", "3.3.2")
RATES = (0.15, 0.5, 1.0)
MOST_REPORTED = 20


def test_every_operation_of_a_deployment_is_tried() -> None:
    public = {name for name, value in inspect.getmembers(Deployment, inspect.isfunction) if not name.startswith("_")}
    assert public == METHODS.keys()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FLOWS)
def test_a_remote_that_answers_rightly_is_understood(version: str, name: str) -> None:
    remote = furnished(version, Random(0), rate=0.0)
    action = FLOWS[name]
    # What a generation cannot do, a DAG that is paused, a configuration that is hidden.
    with suppress(NotSupported, DagIsPaused, AccessDenied):
        action.check(remote, remote.drive(action.flow(remote.deployment())))


@pytest.mark.fuzz
@pytest.mark.timeout(5400)
@pytest.mark.parametrize("version", VERSIONS)
def test_no_operation_gets_out_of_hand(version: str, fuzz_cases: int, fuzz_seed: int) -> None:
    tally = Tally(version)
    for name, seed in tally.cases(FLOWS, fuzz_cases, fuzz_seed):
        tally.add(name, seed, *_try(version, name, seed))
    tally.check()


class Tally:
    """
    How the cases of one version ended.

    :param version: of Airflow.
    """

    def __init__(self, version: str) -> None:
        self._version = version
        self._ends: Counter[str] = Counter()
        self._faults: dict[str, str] = {}

    def cases(self, names: Iterable[str], number: int, first_seed: int) -> Iterator[tuple[str, int]]:
        """What to try, each with a seed."""
        start = zlib.crc32(self._version.encode()) + first_seed
        return zip(cycle(names), range(start, start + number), strict=False)

    def add(self, name: str, seed: int, end: str, fault: str | None) -> None:
        """Count one; of each kind of fault the first is kept."""
        self._ends[end] += 1
        if fault:
            kind = re.sub(r"= '.*?' is|\d{5,}|'[^']*'", "…", fault.partition("; spoiled")[0])[:160]
            self._faults.setdefault(kind, f"{name}: {fault}\n    again: {self._version}, {name!r}, seed {seed}")

    def check(self) -> None:
        """Fail with what was found."""
        print(f"Airflow {self._version}: {sum(self._ends.values())} tried: {dict(self._ends.most_common())}")
        listed = "\n".join(f"- {text}" for text in [*self._faults.values()][:MOST_REPORTED])
        assert not self._faults, f"{len(self._faults)} kinds of faults\n{listed}"


def _try(version: str, name: str, seed: int) -> tuple[str, str | None]:
    """One case. :return: how it ended, and what is wrong with that, if anything is."""
    random = Random(seed)
    remote = furnished(version, random, rate=random.choice(RATES))
    action = FLOWS[name]
    try:
        result = remote.drive(action.flow(remote.deployment()))
        action.check(remote, result)
        check_types(result)
        check_storable(result)
    except RemoteError as error:
        return documented(error, remote)
    except (Exception, Endless) as error:  # noqa: BLE001  # whatever it is, it is the fault that is looked for
        return type(error).__name__, report(error, remote)
    return "result", None


def documented(error: RemoteError, remote: HostileRemote) -> tuple[str, str | None]:
    """An error of the documented tree, whose text is fit for a log."""
    text = str(error)
    bad = [character for character in text if not (character.isprintable() or character == "\n")]
    if bad:
        return "unprintable error", f"{bad[:5]!r} in {text[:300]!r}; {remote.spoiled[-3:]}"
    if len(text) > 20_000:
        return "endless error", f"{len(text)} characters: {text[:300]!r}; {remote.spoiled[-3:]}"
    if type(error).__name__ == "InvalidSettings":
        return "InvalidSettings", f"a remote's reply is no fault of our settings: {text[:300]}; {remote.spoiled[-3:]}"
    return type(error).__name__, None


def report(error: BaseException, remote: HostileRemote) -> str:
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    where = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames[:-5:-1])
    return f"{error!r:.300} at {where}; spoiled: {remote.spoiled[-3:]}"


def furnished(version: str, random: Random, rate: float) -> HostileRemote:
    remote = HostileRemote(version, random, rate)
    furnish(remote)
    return remote
