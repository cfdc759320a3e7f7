"""What every test can rely on: nothing leaves this machine, and what it lacks is a reason to skip, not to fail."""

from __future__ import annotations

import logging
import socket
import sys
import warnings
from collections.abc import Generator
from typing import Any

import pytest

from dev import missing
from dev.loopback import bypass_proxy
from dev.missing import Missing

LOOPBACK = ("127.", "::1", "localhost")
# Airflow 2.11's, and that of Airflow 3's task SDK.
MODULES_WITH_A_MASKER = ("airflow.utils.log.secrets_masker", "airflow.sdk.log")


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Any:
    """Refuse a connection to another machine, which would make a test slow, flaky or indiscreet."""
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            raise AssertionError(f"A test tried to connect to {address}.")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect_locally)
        yield


@pytest.fixture
def logging_as_before() -> Any:
    """For tests that call the command in this process, which sets up what is printed of logs and warnings."""
    ours, root = logging.getLogger("astronomer_remote"), logging.getLogger()
    before, level = (ours.handlers, ours.propagate, ours.level), root.level
    with warnings.catch_warnings():
        yield
    ours.handlers, ours.propagate, _ = before
    ours.setLevel(before[2])
    root.setLevel(level)
    logging.disable(logging.NOTSET)


@pytest.fixture(autouse=True)
def forgotten_secrets() -> Any:
    """
    Let Airflow forget after each test what it masks in logs.

    It compiles one pattern of all secrets again with each new one, which thousands of logins make slow.
    """
    yield
    for name in MODULES_WITH_A_MASKER:
        module = sys.modules.get(name)
        if module is not None:
            masker = module._secrets_masker()
            masker.patterns, masker.replacer = set(), None
    compat = sys.modules.get("astronomer_remote.compat")
    if compat is not None:
        compat._MASKED.clear()


def pytest_configure() -> None:
    # Tests talk to servers of their own.
    bypass_proxy()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from skipped_if_missing(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    return (yield from skipped_if_missing(item))


def skipped_if_missing(item: pytest.Item) -> Generator[None, Any, Any]:
    """Skip a test, with the reason, when this machine lacks what it needs; where everything must run, let it fail."""
    try:
        return (yield)
    except Missing as error:
        missing.record(item.path.relative_to(item.config.rootpath).parts[1], error)
        if missing.strict():
            raise
        pytest.skip(str(error))
