"""How much is tried: a little in each test run, much on demand (``make fuzz``)."""

from __future__ import annotations

import pytest

from astronomer_remote.api.protocol import redaction
from tests.airflow.conftest import not_rescheduled_yet  # noqa: F401  # a fixture


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("fuzz")
    group.addoption("--fuzz-cases", type=int, default=500, help="cases per version of Airflow")
    group.addoption("--fuzz-seed", type=int, default=0, help="another seed tries other replies")


@pytest.fixture
def fuzz_cases(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fuzz-cases"))


@pytest.fixture
def fuzz_seed(request: pytest.FixtureRequest) -> int:
    return int(request.config.getoption("--fuzz-seed"))


@pytest.fixture(autouse=True)
def no_masking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's masking of logs is not what these tests are about, and thousands of logins make it slow."""
    monkeypatch.setattr(redaction, "on_issued", [])
