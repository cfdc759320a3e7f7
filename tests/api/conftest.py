"""How Hypothesis goes about these tests, and what they leave out."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from astronomer_remote.api.protocol import redaction

# A machine that is busy with other things must not make a law look broken.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")


@pytest.fixture(autouse=True, scope="package")
def zone() -> Iterator[None]:
    """A machine whose local time is not UTC, so that a test fails where local time is sent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Kathmandu")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(autouse=True)
def no_masking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's masking of logs is not what these tests are about, and thousands of logins make it slow."""
    monkeypatch.setattr(redaction, "on_issued", [])
