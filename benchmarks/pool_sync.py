"""
How many requests and how long it takes to bring 500 pools of a real remote in line, on each generation.

``python -m benchmarks.pool_sync`` prints a table; versions can be given as arguments.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import requests

from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.pools.diff import parse, table
from astronomer_remote.api.pools.sync import SyncProgress
from astronomer_remote.api.protocol.flow import Flow
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.transport.sync_driver import SyncDriver, configure
from dev.deployments import Airflow

VERSIONS = ("1.10.15", "2.0.2", "2.11.2", "3.0.6", "3.3.2")
POOLS = 500

ROUNDS: Mapping[str, Mapping[str, int]] = {
    "create 500": {f"pool {number}": number for number in range(POOLS)},
    "nothing to do": {f"pool {number}": number for number in range(POOLS)},
    "resize 500": {f"pool {number}": number + 1 for number in range(POOLS)},
    "delete 500": {},
}


def measure(version: str) -> list[tuple[str, ...]]:
    """What each round costs on a version."""
    component = "api-server" if version.startswith("3") else "webserver"
    rows: list[tuple[str, ...]] = []
    with Airflow(version, name="benchmark", components=[component]) as deployment:
        login, password = deployment.users["admin"]
        extra = {"auth": "none"} if version.startswith("1.") else {}
        settings = Settings.parse(host=deployment.url, login=login, password=password, extra=extra)
        remote, session = Deployment(settings), configure(requests.Session(), settings)
        sent: list[str] = []
        session.hooks["response"].append(lambda reply, **_: sent.append(reply.request.method))
        driver = SyncDriver(session, settings, reload=lambda: settings)
        driver.run(remote.list_pools())  # detection and login are not what is measured
        for name, declared in ROUNDS.items():
            sent.clear()
            started = time.perf_counter()
            progress = driver.run(sync(remote, declared))
            seconds = time.perf_counter() - started
            assert set(progress.outcomes.values()) <= {"done"}
            rows.append((version, name, str(len(sent)), f"{seconds:.1f}", str(len(progress.outcomes))))
        assert [pool.name for pool in driver.run(remote.list_pools())] == ["default_pool"]
    return rows


def sync(remote: Deployment, declared: Mapping[str, int]) -> Flow[SyncProgress]:
    """What the operator does. 1.10 prunes only if forced."""
    plan = yield from remote.pool_sync.plan(parse(declared), prune=True, force=True)
    return (yield from remote.pool_sync.apply(plan, force=True))


if __name__ == "__main__":
    measured = [row for version in sys.argv[1:] or VERSIONS for row in measure(version)]
    print(table(("remote", "what", "requests", "seconds", "changes"), measured))
