"""For pytest: write ``pytest_plugins = ["astronomer_remote.testing.fixtures"]`` into a ``conftest.py``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TypeVar

import pytest

from astronomer_remote.api.client.client import Client
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.transport.sync_driver import SyncDriver
from astronomer_remote.testing import FakeDeployment, VirtualClock, drive
from astronomer_remote.testing.deployment import URL_WITHOUT_SERVER

T = TypeVar("T")

CONNECTION = "AIRFLOW_CONN_ASTRONOMER_DEFAULT"

__all__ = ["fake_deployment", "offline_deployment"]


class _ClockAhead(VirtualClock):
    """The machine's clock, ahead of it by all pauses so far: local DAG runs start by the machine's clock."""

    def __call__(self) -> float:
        return time.time() + sum(self.sleeps)


@pytest.fixture
def fake_deployment(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDeployment]:
    """A running :class:`FakeDeployment` of the newest Airflow, behind the connection ``astronomer_default``."""
    with FakeDeployment() as remote:
        monkeypatch.setenv(CONNECTION, json.dumps(remote.connection()))
        yield remote


@pytest.fixture
def offline_deployment(monkeypatch: pytest.MonkeyPatch) -> FakeDeployment:
    """
    The same without a server: hooks, and operators and sensors in workers, open no socket and do not sleep.

    Triggers, which use an event loop, do not reach it.
    """

    def run(driver: SyncDriver, flow: Flow[T]) -> T:
        return drive(flow, remote.handle, clock=clock, reload=driver._reload)

    clock = _ClockAhead()
    remote = FakeDeployment(clock=clock)
    # The clients of hooks read it, too: retries that only the time limits would never end otherwise.
    defaults = Client.__init__.__kwdefaults__ or {}
    monkeypatch.setattr(Client.__init__, "__kwdefaults__", {**defaults, "clock": clock})
    monkeypatch.setenv(CONNECTION, json.dumps(remote.connection(host=URL_WITHOUT_SERVER)))
    monkeypatch.setattr(SyncDriver, "run", run)
    return remote
