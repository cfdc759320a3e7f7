"""Starts deployments for the live tests, one pair after the other, and shows each test its finished local DAG run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dev.deployments import Airflow
from dev.missing import Missing

# Some of these tests run tasks in this process.
from tests.airflow import home  # noqa: F401
from tests.live.campaign import USERS, Campaign
from tests.live.deployments import airflow
from tests.live.local import LocalAirflow
from tests.live.plan import LIVE, MATRIX, Pair, Scenario
from tests.live.remote import RemoteAirflow
from tests.live.seen import Seen
from tests.live.tables import PAIR_TABLES, Results

HERE = Path(__file__).parent
TASKS_AT_ONCE = 6
SECONDS_PER_TEST = 1200  # of those that set none of their own; the first of a pair starts the deployments


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "scenario(Scenario): what a live test is about")
    config.addinivalue_line("markers", "once_per_local: the remote makes no difference")


def _pairs(config: pytest.Config) -> tuple[Pair, ...]:
    """The pairs that the chosen marker stands for."""
    return MATRIX if config.getoption("-m") == "matrix" else LIVE


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    pairs = _pairs(metafunc.config)
    marker = metafunc.definition.get_closest_marker("scenario")
    if marker:
        about: Scenario = marker.args[0]
        fitting = [(pair, mode) for pair in pairs if about.fits(pair) for mode in about.modes]
        metafunc.parametrize(("pair", "mode"), fitting, ids=[f"{pair}-{mode}" for pair, mode in fitting])
    elif "pair" in metafunc.fixturenames:
        if metafunc.definition.get_closest_marker("once_per_local"):
            pairs = tuple({pair.local: pair for pair in reversed(pairs)}.values())
        metafunc.parametrize("pair", pairs, ids=str)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep together what needs the same deployments, and what looks at all local DAG runs of a pair after them."""
    pairs = _pairs(config)

    def order(item: pytest.Item) -> tuple[int, bool]:
        pair = _params(item).get("pair")
        return pairs.index(pair) if pair else -1, item.get_closest_marker("scenario") is None

    items.sort(key=order)
    for item in items:
        if HERE in item.path.parents:
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(SECONDS_PER_TEST))
            item.add_marker("matrix" if pairs is MATRIX else "live")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Keep what came of the pairs of the matrix."""
    if _pairs(config) is not MATRIX:
        return
    found: Results = {}
    for outcome in ("passed", "failed", "error"):
        for report in terminalreporter.stats.get(outcome, ()):
            for pair in MATRIX:
                if f"[{pair}" in report.nodeid:
                    counts = found.setdefault(str(pair), {"passed": 0, "failed": 0, "date": f"{date.today()}"})
                    counts["passed" if outcome == "passed" else "failed"] += 1
    for table in PAIR_TABLES:
        table.record(found)


def _params(item: pytest.Item) -> dict[str, Any]:
    callspec = getattr(item, "callspec", None)
    return callspec.params if callspec else {}


class Campaigns:
    """The deployments of one pair at a time; the local one stays for the next pair if that has the same."""

    def __init__(self, items: list[pytest.Item]) -> None:
        self._items = items
        self._now: Campaign | None = None
        self._broken: dict[Pair, BaseException] = {}
        self._local = contextlib.ExitStack()
        self._remote = contextlib.ExitStack()
        self._locals: dict[str, LocalAirflow] = {}

    def of(self, pair: Pair) -> Campaign:
        """The campaign of a pair, started on first use; one that could not start is not tried again."""
        if pair in self._broken:
            if isinstance(self._broken[pair], Missing):
                raise self._broken[pair]
            pytest.fail(f"the campaign did not start: {self._broken[pair]}"[:500], pytrace=False)
        if self._now is None or self._now.pair != pair:
            try:
                self._now = self._start(pair)
            except BaseException as error:
                self._broken[pair] = error
                raise
        return self._now

    def _start(self, pair: Pair) -> Campaign:
        self._now = None
        self._remote.close()
        remote = RemoteAirflow(self._remote.enter_context(_remote(pair)))
        started = Campaign(pair, self._local_of(pair, remote), remote, self._target(pair))
        started.start()
        return started

    def _local_of(self, pair: Pair, remote: RemoteAirflow) -> LocalAirflow:
        if pair.local not in self._locals:
            self.close_local()
            self._locals[pair.local] = local = LocalAirflow(self._local.enter_context(_local(pair, remote)))
            local.limit_tasks(TASKS_AT_ONCE + 2)
        return self._locals[pair.local]

    def _target(self, pair: Pair) -> list[tuple[Scenario, str]]:
        found = [(item.get_closest_marker("scenario"), _params(item)) for item in self._items]
        return [(marker.args[0], params["mode"]) for marker, params in found if marker and params["pair"] == pair]

    def close_local(self) -> None:
        """Stop the local deployment."""
        self._local.close()
        self._locals.clear()

    def close(self) -> None:
        """Stop everything."""
        self._remote.close()
        self.close_local()


def _remote(pair: Pair) -> Airflow:
    # One of the remotes keeps its configuration to itself.
    shown = str(not pair.smoke)
    env = {"AIRFLOW__WEBSERVER__EXPOSE_CONFIG": shown, "AIRFLOW__API__EXPOSE_CONFIG": shown}
    return airflow(pair.remote, name="remote", dags=HERE / "remote_dags", users=USERS, env=env)


def _local(pair: Pair, remote: RemoteAirflow) -> Airflow:
    env = {
        "AIRFLOW__CORE__PARALLELISM": str(TASKS_AT_ONCE),
        # The DAG files never change.
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
        "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "3600",
    }
    if pair.smoke:
        login, password = USERS["admin"]
        where = quote(remote.url, safe="")
        conn_id = f"AIRFLOW_CONN_REMOTE_{pair.remote.replace('.', '_')}"
        env[conn_id] = f"astronomer://{login}:{password}@{where}"
    return airflow(pair.local, name="local", project=True, dags=HERE / "local_dags", env=env)


@pytest.fixture(scope="session")
def campaigns(request: pytest.FixtureRequest) -> Iterator[Campaigns]:
    started = Campaigns(request.session.items)
    with contextlib.closing(started):
        yield started


@pytest.fixture
def campaign(campaigns: Campaigns, pair: Pair) -> Campaign:
    """Both deployments of a pair, with every local DAG run started."""
    return campaigns.of(pair)


@pytest.fixture
def seen(campaign: Campaign, mode: str, request: pytest.FixtureRequest) -> Seen:
    """The finished local DAG run of a test's scenario."""
    name = request.node.get_closest_marker("scenario").args[0].name
    found = Seen(campaign, campaign.dag_id(name, mode), mode)
    found.wait()
    return found
