"""For pytest: write ``pytest_plugins = ["astronomer_remote.testing.fixtures"]`` into a ``conftest.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from astronomer_remote.testing import FakeDeployment


@pytest.fixture
def fake_deployment(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDeployment]:
    """A running :class:`FakeDeployment` of the newest Airflow, behind the connection ``astronomer_default``."""
    with FakeDeployment() as remote:
        monkeypatch.setenv("AIRFLOW_CONN_ASTRONOMER_DEFAULT", json.dumps(remote.connection()))
        yield remote
