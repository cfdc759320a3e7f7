"""Tasks of a real local Airflow register asset events in a real remote, materialize assets, and wait for events."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dev import faults
from dev.deployments import Airflow
from dev.faults import Fault, Rule
from dev.proxy import Proxy
from tests.live.deployments import airflow
from tests.live.local import LocalAirflow
from tests.live.plan import Pair
from tests.live.remote import RemoteAirflow, RemoteApi
from tests.live.stage import HEARTBEATS, LOCAL
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

HERE = Path(__file__).parent
PAIRS = [
    Pair(local, remote) for local in ("2.11.2", "3.3.2") for remote in ("2.10.5", "2.11.2", "3.0.6", "3.1.8", "3.3.2")
]
EVENTS = r"/(assets|datasets)/events"
RUNS = r"/(dagRuns|materialize)$"
KEY = "astronomer_remote_intent"

FAULTS: dict[str, Fault] = {
    # First, so that the worker still waits for the reply when it is killed.
    "worker_killed": faults.hold,
    "none": faults.none,
    "reply_lost": faults.lose_reply,
    "reset_before": faults.reset_before,
    "reset_after": faults.reset_after,
    "500_before": faults.status(500),
    "500_after": faults.status(500, after=True),
    "503_before": faults.status(503),
    "503_after": faults.status(503, after=True),
    "504_after": faults.status(504, after=True),
    "page_after": faults.page(200, after=True),
}
"""What the first request that registers an event, or triggers a run, meets, by the name of the case."""

POSTS = {"emit": EVENTS, "materialize": RUNS}
"""The request that meets it, by the first word of the local DAG's id."""

SENT_TWICE = {"reset_before", "500_before", "503_before"}
"""Cases in which the first request does not reach the remote, so that another one is sent."""


class Shop:
    """A local and a remote deployment, and the proxies between them."""

    def __init__(self, local: Airflow, remote: Airflow, proxies: dict[str, Proxy]) -> None:
        self.local = LocalAirflow(local)
        self.remote = RemoteAirflow(remote)
        self.api = RemoteApi(remote)
        self.proxies = proxies

    def events(self, case: str) -> list[dict[str, Any]]:
        """Extras of the events of a case, from the remote's database."""
        table = "asset_event" if self.remote.version >= (3, 0) else "dataset_event"
        extras = [json.loads(extra) for (extra,) in self.remote.query(f"SELECT extra FROM {table} ORDER BY id")]
        return [extra for extra in extras if extra.get("case") == case]

    def materialized(self, case: str) -> list[str]:
        """Ids of the runs of a case, from the remote's database."""
        return [run.run_id for run in self.remote.runs(f"materialize_{case}.")]

    def made(self, dag_id: str) -> int:
        """How many events or runs a local DAG has made."""
        kind, case = dag_id.split("_", 1)
        return len(self.events(case) if kind == "emit" else self.materialized(case))

    def state(self, dag_id: str) -> str | None:
        """State of the one task of a local DAG."""
        found = [task["state"] for task in self.local.tasks(dag_id)]
        return found[0] if found else None

    def until(self, dag_id: str, *states: str) -> None:
        """Wait until the one task of a local DAG is in one of these states."""

        def reached() -> bool:
            self.local.check_alive()
            return self.state(dag_id) in states

        wait_until(reached, lambda: f"{dag_id}: {self.state(dag_id)}\n{self.log(dag_id)[-4000:]}", timeout=400)

    def log(self, dag_id: str) -> str:
        """What the one task of a local DAG logged."""
        run = self.local.run(dag_id)
        return self.local.log(dag_id, run["dag_run_id"], dag_id.split("_")[0]) if run else ""

    def returned(self, dag_id: str) -> Any:
        """What the one task of a local DAG returned."""
        run = self.local.run(dag_id)
        assert run
        return self.local.xcom(dag_id, run["dag_run_id"], dag_id.split("_")[0], "return_value", -1)

    def kill_worker(self, dag_id: str) -> None:
        """End the process of the one task of a local DAG with SIGKILL."""
        ((pid,),) = self.local.query("SELECT pid FROM task_instance WHERE dag_id = ?", dag_id)
        os.kill(int(pid), signal.SIGKILL)


@pytest.fixture(scope="module", params=PAIRS, ids=str)
def shop(request: pytest.FixtureRequest) -> Iterator[Shop]:
    with ExitStack() as stack:
        remote = stack.enter_context(airflow(request.param.remote, name="remote", dags=HERE / "remote_dags"))
        login, password = remote.users["admin"]
        proxies: dict[str, Proxy] = {}
        env = LOCAL | HEARTBEATS["v1" if request.param.local.startswith("2.") else "v2"]
        for case, fault in FAULTS.items():
            for kind, path in POSTS.items():
                rules = [Rule([(case, fault)], "POST", path, nth=[1])]
                proxies[f"{kind}_{case}"] = stack.enter_context(Proxy(remote.url, rules))
        for conn_id in ("sense", "wait"):
            proxies[conn_id] = stack.enter_context(Proxy(remote.url))
        for conn_id, proxy in proxies.items():
            fields: dict[str, Any] = {
                "conn_type": "astronomer",
                "host": proxy.url,
                "login": login,
                "password": password,
            }
            if conn_id.endswith("_worker_killed"):
                fields["extra"] = {"read_timeout": 300}
            env[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(fields)
        env["ASSET_CASES"] = json.dumps([*FAULTS])
        local = airflow(request.param.local, name="local", project=True, dags=HERE / "asset_dags", env=env)
        stack.enter_context(local)
        yield Shop(local, remote, proxies)


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.parametrize("kind", POSTS)
def test_whatever_the_request_meets_there_is_one_event_or_run(shop: Shop, kind: str, case: str) -> None:
    dag_id = f"{kind}_{case}"
    proxy, path = shop.proxies[dag_id], POSTS[kind]
    if case == "worker_killed":
        wait_until(lambda: shop.made(dag_id) == 1, lambda: f"{proxy.passed}\n{shop.log(dag_id)}", timeout=200)
        shop.kill_worker(dag_id)
    shop.until(dag_id, "success", "failed")
    assert shop.state(dag_id) == "success", shop.log(dag_id)
    if kind == "emit":
        (extra,) = shop.events(case)
        assert shop.returned(dag_id)["extra"] == extra
    else:
        assert shop.materialized(case) == [shop.returned(dag_id)]
    posts = [each for each in proxy.passed if each.method == "POST" and re.search(path, each.target)]
    # Without PostgreSQL here, a remote answers with 500 if others write to its database for five seconds.
    locked = [each for each in posts if each.remote_status == 500]
    assert len([each for each in posts if each.forwarded]) == 1 + len(locked), posts
    # The fault happened.
    assert len(posts) == (2 if case in SENT_TWICE else 1) + len(locked), posts
    tries = max(task["try_number"] for task in shop.local.tasks(dag_id))
    assert tries == (2 if case == "worker_killed" else 1)


def test_a_clear_registers_another_event(shop: Shop) -> None:
    dag_id = "emit_none"
    shop.until(dag_id, "success")
    run = shop.local.run(dag_id)
    assert run
    body = {
        "dag_run_id": run["dag_run_id"],
        "task_ids": ["emit"],
        "dry_run": False,
        "only_failed": False,
        "reset_dag_runs": True,
    }
    shop.local.request("POST", f"/dags/{dag_id}/clearTaskInstances", json=body)
    wait_until(lambda: len(shop.events("none")) == 2, lambda: shop.log(dag_id), timeout=200)
    shop.until(dag_id, "success")
    assert len({extra[KEY] for extra in shop.events("none")}) == 2


def test_no_two_events_have_the_same_intent(shop: Shop) -> None:
    marks = Counter(extra[KEY] for case in FAULTS for extra in shop.events(case))
    assert set(marks.values()) == {1}
    assert len(marks) == len(FAULTS) + 1


def test_sensors_wait_in_every_mode(shop: Shop) -> None:
    waiting = {"poke": "running", "reschedule": "up_for_reschedule", "deferred": "deferred", "deferred_too": "deferred"}
    for name, state in {**waiting, "predicate": "deferred"}.items():
        shop.until(f"sense_{name}", state, *(["running"] if name == "reschedule" else []))
    proxy = shop.proxies["sense"]
    shop.api.run(shop.api.remote.create_asset_event(uri="s3://contract/orphans", extra={"of": "another", "wave": 1}))
    shop.api.run(shop.api.remote.create_asset_event(uri="s3://contract/orphans", extra={"of": "live test", "wave": 1}))
    for name in ("poke", "reschedule", "deferred"):
        shop.until(f"sense_{name}", "success", "failed")
        (event,) = shop.returned(f"sense_{name}")
        assert (event["extra"]["of"], event["extra"]["wave"]) == ("live test", 1)
    assert {shop.state("sense_deferred_too"), shop.state("sense_predicate")}.isdisjoint({"success", "failed"})
    # Two waits in the triggerer: each listing of new events, without an asset, is for both.
    before = proxy.requests("GET", rf"{EVENTS}\?(?!.*(asset|dataset)_id)")
    shop.api.run(shop.api.remote.create_asset_event(uri="s3://contract/orphans", extra={"of": "live test", "wave": 2}))
    for name, waves in {"deferred_too": [1, 2], "predicate": [2]}.items():
        shop.until(f"sense_{name}", "success", "failed")
        assert [event["extra"]["wave"] for event in shop.returned(f"sense_{name}")] == waves
    assert before > 0


@pytest.mark.parametrize("mode", ["sync", "deferred"])
def test_a_run_that_produces_an_asset_is_waited_for(shop: Shop, mode: str) -> None:
    dag_id = f"wait_{mode}"
    shop.until(dag_id, "success", "failed")
    assert shop.state(dag_id) == "success", shop.log(dag_id)
    run = shop.returned(dag_id)
    by_asset = shop.remote.version >= (3, 3)
    assert (run["dag_id"], run["state"], run["conf"]["mode"], run["run_type"]) == (
        "produces_asset",
        "success",
        mode,
        "asset_materialization" if by_asset else "manual",
    )
    events = shop.api.run(shop.api.remote.list_asset_events(uri="s3://contract/orders"))
    assert [each.source_dag_id for each in events if each.source_run_id == run["run_id"]] == ["produces_asset"]
    path = r"/materialize$" if by_asset else r"/produces_asset/dagRuns$"
    assert shop.proxies["wait"].requests("POST", RUNS) == shop.proxies["wait"].requests("POST", path) > 0
