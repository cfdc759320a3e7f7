"""What happens in a real remote becomes events of local assets, while triggerers are killed and requests fail."""

from __future__ import annotations

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from dev.deployments import Airflow
from dev.faults import AT_RANDOM, Rule
from dev.proxy import Proxy
from tests.live.deployments import airflow
from tests.live.local import LocalAirflow
from tests.live.remote import RemoteAirflow, RemoteApi
from tests.live.stage import LOCAL
from tests.waiting import wait_until

pytestmark = [pytest.mark.live, pytest.mark.timeout(1500)]

HERE = Path(__file__).parent
PAIRS = [("3.3.2", "3.3.2"), ("3.1.8", "3.1.8"), ("3.0.6", "2.11.2")]
EVENTS = 200
KILLS = {60: ("triggerer", signal.SIGKILL), 130: ("triggerer-2", signal.SIGTERM)}
"""After which event which triggerer is ended, and how."""

SHARE = 0.2
URI = "s3://contract/orphans"
WATCHERS = 53
LISTINGS = r"/(assets|datasets)/events\?(?!.*(asset|dataset)_id)"
OWN = r"/(assets|datasets)/events\?.*(asset|dataset)_id"


class Bridge:
    """A local and a remote deployment."""

    def __init__(self, local: Airflow, remote: Airflow, faulty: Proxy, many: Proxy) -> None:
        self.local = LocalAirflow(local)
        self.remote = RemoteAirflow(remote)
        self.api = RemoteApi(remote)
        self.faulty, self.many = faulty, many

    def emit(self, **extra: Any) -> None:
        """Make an event in the remote."""
        self.api.run(self.api.remote.create_asset_event(uri=URI, extra=extra))

    def payloads(self, name: str) -> list[dict[str, Any]]:
        """What the events of a local asset say, from the local database."""
        sql = "SELECT e.extra FROM asset_event e JOIN asset a ON a.id = e.asset_id WHERE a.name = ? ORDER BY e.id"
        return [json.loads(extra)["payload"] for (extra,) in self.local.deployment.database.query(sql, name)]

    def repeats(self, name: str) -> str:
        """Which events a local asset has more than once, and when each was registered, from the local database."""
        sql = "SELECT e.extra, e.timestamp FROM asset_event e JOIN asset a ON a.id = e.asset_id WHERE a.name = ?"
        seen: dict[int, list[str]] = {}
        for extra, timestamp in self.local.deployment.database.query(f"{sql} ORDER BY e.id", name):
            seen.setdefault(json.loads(extra)["payload"]["extra"]["number"], []).append(str(timestamp)[11:23])
        return "\n".join(f"  {number}: {' '.join(times)}" for number, times in seen.items() if len(times) > 1)

    def watched(self) -> dict[str, int]:
        """Which assets have triggers, with the triggers' numbers, from the local database."""
        table = "asset_watcher" if self.local.deployment.version >= "3.2" else "asset_trigger"
        sql = f"SELECT a.name, t.trigger_id FROM {table} t JOIN asset a ON a.id = t.asset_id"
        return dict(self.local.deployment.database.query(sql))

    def loads(self) -> str:
        """What each triggerer logs once a minute: how many triggers it runs."""
        names = [name for name in self.local.deployment.processes if "triggerer" in name]
        lines = {name: self.local.deployment.log(name, 100_000).splitlines() for name in names}
        found = [f"  {name}: {line[:90]}" for name in names for line in lines[name] if "currently running" in line]
        return "\n".join(found)

    def triggerer_logs(self) -> str:
        names = self.local.deployment.processes
        return "\n".join(self.local.deployment.log(name, 60) for name in names if "triggerer" in name)

    def watching(self) -> int:
        """How many triggers a triggerer runs."""
        sql = "SELECT count(*) FROM trigger WHERE triggerer_id IS NOT NULL"
        return int(self.local.deployment.database.query(sql)[0][0])

    def listings_in_access_log(self) -> int:
        """How many listings of events the remote has answered, by its own log, from any client."""
        logged = self.remote.deployment.logged_requests()
        return sum(each.method == "GET" and bool(re.search("/(assets|datasets)/events", each.path)) for each in logged)


@pytest.fixture(scope="module", params=PAIRS, ids="-".join)
def bridge(request: pytest.FixtureRequest) -> Iterator[Bridge]:
    local_version, remote_version = request.param
    with ExitStack() as stack:
        remote = stack.enter_context(airflow(remote_version, name="remote", dags=HERE / "remote_dags"))
        login, password = remote.users["admin"]
        faulty = stack.enter_context(Proxy(remote.url, [Rule(AT_RANDOM, share=SHARE)], seed=7))
        many = stack.enter_context(Proxy(remote.url))
        env = {
            **LOCAL,
            # So that DAGs which are no longer in their file are given up soon, and with them their watchers.
            "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "5",
        }
        for conn_id, proxy in {"faulty": faulty, "many": many}.items():
            fields = {"conn_type": "astronomer", "host": proxy.url, "login": login, "password": password}
            env[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(fields)
        local = airflow(local_version, name="local", project=True, dags=HERE / "watcher_dags", env=env)
        stack.enter_context(local)
        local.start_component("triggerer-2")
        bridge = Bridge(local, remote, faulty, many)
        login, password = local.users["admin"]
        bridge.local.add_connection("home", host=local.url, login=login, password=password)
        wait_until(lambda: bridge.watching() >= WATCHERS, bridge.triggerer_logs, timeout=200)
        began = time.monotonic()
        # Each trigger stores where it starts.
        wait_until(lambda: has_started(bridge), bridge.triggerer_logs, timeout=200)
        stored = time.monotonic()
        wait_until(lambda: many.requests("GET", LISTINGS) >= 2, bridge.triggerer_logs, timeout=200)
        polled = time.monotonic()
        print(
            f"{local_version}: cursors stored {stored - began:.0f} s, listings {polled - began:.0f} s after the start"
        )
        yield bridge


def has_started(bridge: Bridge) -> bool:
    table = "asset_state_store" if bridge.local.deployment.version >= "3.3" else "variable"
    sql = f"SELECT count(*) FROM {table} WHERE key LIKE 'astronomer_remote_cursor_%'"
    return int(bridge.local.deployment.database.query(sql)[0][0]) >= WATCHERS


def test_fifty_watchers_share_one_request_per_poll(bridge: Bridge) -> None:
    # Each one first reads the past events of its asset.
    time.sleep(20)
    many, faulty = bridge.many, bridge.faulty
    before, past, began = many.requests("GET", LISTINGS), many.requests("GET", OWN), time.monotonic()
    others, logged = faulty.requests("GET", "/events", forwarded=True), bridge.listings_in_access_log()
    time.sleep(40)
    took = time.monotonic() - began
    polls, again = many.requests("GET", LISTINGS) - before, many.requests("GET", OWN) - past
    others = faulty.requests("GET", "/events", forwarded=True) - others
    logged = bridge.listings_in_access_log() - logged
    print(
        f"{polls} listings and {again} readings of past events in {took:.0f} s, by two triggerers, every 5 s; "
        f"{logged} in the access log of the remote, {others} of them from the other connection"
    )
    assert 5 <= polls <= 2 * (took / 5 + 2)
    assert again == 0
    # Some may be on their way.
    assert abs(logged - polls - others) <= 2
    bridge.emit(many=7)
    wait_until(lambda: len(bridge.payloads("many_7")) == 1, bridge.triggerer_logs, timeout=200)
    assert not bridge.payloads("many_8")


def test_no_event_is_lost_while_triggerers_are_killed(bridge: Bridge) -> None:
    local = bridge.local.deployment
    for number in range(EVENTS):
        bridge.emit(of="stream", number=number)
        if number in KILLS:
            name, sig = KILLS[number]
            print(f"{name} gets {sig.name} at {datetime.now(timezone.utc):%H:%M:%S}")
            local.stop_component(name, sig)
            local.start_component(name)
        time.sleep(0.25)

    def numbers(name: str) -> Counter[int]:
        return Counter(payload["extra"]["number"] for payload in bridge.payloads(name))

    def missing() -> set[int]:
        return set(range(EVENTS)) - (set(numbers("exact")) & set(numbers("plain")))

    wait_until(lambda: not missing(), lambda: f"{missing()}\n{bridge.triggerer_logs()}", timeout=300)
    # What was sent last may be sent again.
    time.sleep(15)
    failed = sum(each.fault is not None for each in bridge.faulty.passed)
    repeated = {name: sum(numbers(name).values()) - EVENTS for name in ("exact", "plain")}
    print(f"{local.version}: {EVENTS} of {EVENTS} events, repeated: {repeated}; {failed} requests failed")
    print(f"triggers that each triggerer runs:\n{bridge.loads()}")
    print(f"repeated in spite of local_conn_id:\n{bridge.repeats('exact')}")
    # Before 3.2.2, each triggerer runs the triggers of all watchers, so that two send what both read at the same time.
    assert repeated["exact"] <= (0 if local.version >= "3.3" else EVENTS / 2)
    # What was registered right before each kill.
    assert repeated["plain"] < EVENTS
    runs = local.database.query("SELECT count(*) FROM dag_run WHERE dag_id = 'on_exact'")[0][0]
    assert 1 <= runs <= EVENTS


def test_the_end_of_a_run_schedules_a_local_dag(bridge: Bridge) -> None:
    run = bridge.api.run(bridge.api.remote.trigger_dag_run("produces_asset", conf={"of": "a test"}))
    wait_until(lambda: len(bridge.payloads("runs")) >= 1, bridge.triggerer_logs, timeout=200)
    payload = bridge.payloads("runs")[-1]
    assert (payload["kind"], payload["dag_id"], payload["run_id"]) == ("dag_run", "produces_asset", run.run_id)
    assert (payload["state"], payload["conf"]) == ("success", {"of": "a test"})
    assert payload["url"].startswith("http")
    sql = "SELECT count(*) FROM dag_run WHERE dag_id = 'on_runs'"
    wait_until(lambda: bridge.local.deployment.database.query(sql)[0][0] >= 1, bridge.triggerer_logs, timeout=200)


def test_watchers_that_are_removed_stop(bridge: Bridge) -> None:
    (bridge.local.deployment.dags / "few").touch()
    left = {"exact", "plain", "runs", "many_0"}
    began = time.monotonic()
    if bridge.local.deployment.version >= "3.2":
        # From then on, Airflow keeps what such DAGs are scheduled on until a DAG file is removed or they are deleted.
        sql = "SELECT dag_id FROM dag WHERE is_stale"
        wait_until(lambda: len(bridge.local.query(sql)) == WATCHERS - len(left), timeout=600)
        for (dag_id,) in bridge.local.query(sql):
            bridge.local.request("DELETE", f"/dags/{dag_id}")
    # A minute or two; longer if parsing takes long, as on a busy machine: the file is parsed twice until then.
    wait_until(lambda: bridge.watched().keys() == left, lambda: str(bridge.watched()), timeout=600)
    wait_until(lambda: bridge.watching() == len(left), lambda: str(bridge.watching()), timeout=200)
    print(f"{time.monotonic() - began:.0f} s after its file changed, a DAG's watcher is gone")
    bridge.emit(many=0)
    wait_until(lambda: bridge.payloads("many_0"), bridge.triggerer_logs, timeout=200)
    bridge.emit(many=8)
    time.sleep(15)
    assert not bridge.payloads("many_8")
