"""The dialects send each version exactly the requests that a real one got, and read its replies in the same way."""

from __future__ import annotations

import pytest

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.dialects.base import Dialect
from astronomer_remote.api.protocol.errors import NotSupported
from tests.contract import recorded
from tests.contract.flows import TABLE
from tests.contract.roles import OPERATIONS, least

VERSIONS = recorded.versions()


def deployment(version: str, started: float) -> Deployment:
    """A deployment that is known already, and an administrator who has logged in."""
    way = "Basic" if version < "3" else "Bearer"
    remote = recorded.deployment(recorded.administrator(recorded.BASE_URL, f"{way} scrubbed"), started)
    recorded.replay(remote.get_version(), recorded.replies(version)["detect"].operations)
    return remote


def dialect(version: str) -> Dialect:
    return recorded.replay(deployment(version, 0).client.dialect(), [])


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", TABLE)
def test_a_flow_runs_as_it_did_with_a_real_deployment(version: str, name: str) -> None:
    recording = recorded.replies(version)[name]
    flow = TABLE[name].play(deployment(version, recording.started))
    if TABLE[name].possible(numbers(version)):
        moments = recorded.Moments()
        outcome = recorded.plain(recorded.replay(flow, recording.operations, moments))
        assert moments.as_recorded(outcome) == recording.outcome
    else:
        with pytest.raises(NotSupported):
            recorded.replay(flow, recording.operations)


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_was_recorded_that_is_not_played(version: str) -> None:
    assert recorded.replies(version).keys() == TABLE.keys()


@pytest.mark.parametrize(
    ("version", "name"), [(version, name) for version in VERSIONS for name in recorded.roles(version)]
)
def test_an_error_names_the_role_that_a_real_deployment_requires(version: str, name: str) -> None:
    if name == "config" and version >= "3":
        pytest.skip("Airflow 3's simple auth manager shows it to everybody; where roles come from FAB, to Op")
    assert OPERATIONS[name](dialect(version)).least_role == least(recorded.roles(version)[name])


@pytest.mark.parametrize("version", VERSIONS)
def test_a_recording_is_small_and_names_nothing_of_the_machine_it_was_made_on(version: str) -> None:
    text = (recorded.FOLDER / f"{version}.json").read_text()
    assert len(text) < 250_000
    for name in ("/home/", "/root/", "/tmp/", "127.0.0.1", "localhost:"):
        assert name not in text
