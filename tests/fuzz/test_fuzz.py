"""Whatever a remote answers: a documented error or a result that is true, after a bounded number of requests."""

from __future__ import annotations

import inspect
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from random import Random

import pytest

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.errors import AccessDenied, DagIsPaused, NotSupported, RemoteError
from tests.fuzz.operations import METHODS, OPERATIONS, check_storable, check_types, furnish
from tests.fuzz.remote import Endless, HostileRemote

VERSIONS = ("1.10.15", "2.0.2", "2.2.5", "2.11.2", "3.0.6", "3.1.8", "3.3.2")
RATES = (0.15, 0.5, 1.0)
MOST_REPORTED = 20


def test_every_operation_of_a_deployment_is_tried() -> None:
    public = {name for name, value in inspect.getmembers(Deployment, inspect.isfunction) if not name.startswith("_")}
    assert public == METHODS.keys()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_remote_that_answers_rightly_is_understood(version: str, name: str) -> None:
    remote = _furnished(version, Random(0), rate=0.0)
    operation = OPERATIONS[name]
    # What a generation cannot do, a DAG that is paused, a configuration that is hidden.
    with suppress(NotSupported, DagIsPaused, AccessDenied):
        operation.check(remote, remote.drive(operation.flow(remote.deployment())))


@pytest.mark.fuzz
@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_that_a_remote_answers_gets_out_of_hand(version: str, fuzz_cases: int, fuzz_seed: int) -> None:
    faults: dict[str, str] = {}
    ends: Counter[str] = Counter()
    for name, seed in _cases(version, fuzz_cases, fuzz_seed):
        end, fault = _try(version, name, seed)
        ends[end] += 1
        if fault:
            faults.setdefault(_kind(fault), f"{name}: {fault}\n    again: _try({version!r}, {name!r}, {seed})")
    print(f"Airflow {version}: {sum(ends.values())} conversations: {dict(ends.most_common())}")
    listed = "\n".join(f"- {text}" for text in [*faults.values()][:MOST_REPORTED])
    assert not faults, f"{len(faults)} kinds of faults\n{listed}"


def _kind(fault: str) -> str:
    """What faults of one cause have in common: the error and where it came from."""
    return re.sub(r"= '.*?' is|\d{5,}|'[^']*'", "…", fault.partition("; spoiled")[0])[:160]


def _cases(version: str, number: int, first_seed: int) -> Iterator[tuple[str, int]]:
    names = [*OPERATIONS]
    start = zlib.crc32(version.encode()) + first_seed
    for index in range(number):
        yield names[index % len(names)], start + index


def _try(version: str, name: str, seed: int) -> tuple[str, str | None]:
    """One conversation. :return: how it ended, and what is wrong with that, if anything is."""
    random = Random(seed)
    remote = _furnished(version, random, rate=random.choice(RATES))
    operation = OPERATIONS[name]
    try:
        result = remote.drive(operation.flow(remote.deployment()))
        operation.check(remote, result)
        check_types(result)
        check_storable(result)
    except RemoteError as error:
        return _documented(error, remote)
    except (Exception, Endless) as error:  # noqa: BLE001  # whatever it is, it is the fault that is looked for
        return type(error).__name__, _report(error, remote)
    return "result", None


def _documented(error: RemoteError, remote: HostileRemote) -> tuple[str, str | None]:
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


def _report(error: BaseException, remote: HostileRemote) -> str:
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    where = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames[:-5:-1])
    return f"{error!r:.300} at {where}; spoiled: {remote.spoiled[-3:]}"


def _furnished(version: str, random: Random, rate: float) -> HostileRemote:
    remote = HostileRemote(version, random, rate)
    furnish(remote)
    return remote
