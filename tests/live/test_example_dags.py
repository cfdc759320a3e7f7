"""Every example DAG does with a real remote what it says; all but the tour, which `make demo` runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dev.demo import REMOTE_DAGS, Client, Progress, connection, running
from dev.deployments import ROOT, Deployment

EXAMPLES = sorted({path.stem for path in (ROOT / "example_dags").glob("*.py")} - {"tour"})
LEGACY = "moving_from_1_10"
DATE, AN_HOUR_EARLIER = "2024-01-05T06:00:00Z", "2024-01-05T05:00:00Z"
MINUTES = 10
EXPOSED = {"AIRFLOW__WEBSERVER__EXPOSE_CONFIG": "True"}


class Examples(NamedTuple):
    """The deployments after the example DAGs have run: the local one, a remote of Airflow 2 and one of 1.10."""

    local: Client
    remote: Client
    legacy: Client

    def end(self, name: str) -> str | None:
        """How the local run of an example stands."""
        return self.local.do(self.local.api.get_dag_run(name, "live")).state

    def xcom(self, name: str, task_id: str, **kwargs: Any) -> Any:
        """What a task of an example returned."""
        return self.local.do(self.local.api.get_xcom(name, "live", task_id, **kwargs))

    def runs(self, dag_id: str) -> list[tuple[str | None, dict[str, Any] | None]]:
        """State and conf of each run of a DAG in the remote of Airflow 2."""
        return [(run.state, run.conf) for run in self.remote.do(self.remote.api.list_dag_runs(dag_id))]

    def run(self, *names: str) -> None:
        """Run examples at the same time, until the last has ended."""
        for name in names:
            self.local.do(self.local.api.trigger_dag_run(name, run_id="live", logical_date=DATE))
        deadline = time.monotonic() + MINUTES * 60
        left = list(names)
        while left and time.monotonic() < deadline:
            time.sleep(3)
            left = [name for name in left if self.end(name) not in ("success", "failed")]


def connect(local: Client, method: str, path: str, remote: Deployment) -> None:
    """Make or change the connection that the examples use."""
    body = {"connection_id": "astronomer_default", "conn_type": "astronomer", **connection(remote)}
    local.do(local.api.call(method, path, json=body))


@pytest.fixture(scope="module")
def examples() -> Iterator[Examples]:
    local = Deployment("3.3.2", name="local", project=True, dags=ROOT / "example_dags")
    remote = Deployment("2.11.2", name="remote", dags=REMOTE_DAGS, env=EXPOSED)
    legacy = Deployment("1.10.15", name="legacy", dags=REMOTE_DAGS)
    with running([local, remote, legacy], Progress()):
        ran = Examples(Client(local), Client(remote), Client(legacy))
        ran.remote.do(ran.remote.api.create_pool("warehouse", 4))
        for date in (DATE, AN_HOUR_EARLIER):
            ran.remote.do(ran.remote.api.trigger_dag_run("load_sales", logical_date=date))
        connect(ran.local, "POST", "/connections", remote)
        ran.run(*(name for name in EXAMPLES if name != LEGACY))
        connect(ran.local, "PATCH", "/connections/astronomer_default", legacy)
        ran.legacy.do(ran.legacy.api.trigger_dag_run("legacy_check"))
        ran.run(LEGACY)
        yield ran


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_succeeds(examples: Examples, name: str) -> None:
    assert examples.end(name) == "success"


def test_a_run_was_triggered_and_waited_for(examples: Examples) -> None:
    run = examples.xcom("trigger_and_wait", "load_sales")
    assert (run["dag_id"], run["state"]) == ("load_sales", "success")
    assert ("success", {"requested_by": "live"}) in examples.runs("load_sales")


def test_a_run_was_triggered_for_now(examples: Examples) -> None:
    (run,) = examples.remote.do(examples.remote.api.list_dag_runs("refresh_dashboards"))
    assert examples.xcom("trigger_and_forget", "refresh_dashboards") == run.run_id
    assert examples.xcom("trigger_and_forget", "refresh_dashboards", key="remote_run_url") == run.url
    assert run.conf == {}


def test_a_run_was_made_for_the_date(examples: Examples) -> None:
    (run,) = examples.remote.do(examples.remote.api.list_dag_runs("daily_report"))
    assert run.logical_date == "2021-11-16T11:34:00+00:00"


def test_a_run_was_made_for_each_region(examples: Examples) -> None:
    regions = ("africa", "americas", "asia", "europe", "oceania")
    runs = examples.runs("load_region")
    assert sorted(conf["region"] for _, conf in runs if conf) == list(regions)
    assert len(examples.xcom("fan_out", "summarize")) == len(regions)


def test_the_pool_was_listed_and_resized(examples: Examples) -> None:
    listed = {pool["name"]: pool["slots"] for pool in examples.xcom("remote_pools", "list_pools")}
    assert (listed["default_pool"], listed["warehouse"]) == (128, 4)
    assert examples.remote.do(examples.remote.api.get_pool("warehouse")).slots == 32


def test_pools_were_declared_and_one_was_there_for_a_while(examples: Examples) -> None:
    left = {pool.name: pool.slots for pool in examples.remote.do(examples.remote.api.list_pools())}
    assert left == {"default_pool": 128, "warehouse": 32, "reporting": 8, "exports": 2}
    assert examples.xcom("borrow_slots", "load")["slots"] == 16


def test_configuration_and_events_were_read(examples: Examples) -> None:
    assert int(examples.xcom("any_endpoint", "parallelism")) > 0
    assert 1 <= len(examples.xcom("any_endpoint", "newest_events")) <= 10


def test_the_old_airflow_was_driven_like_a_new_one(examples: Examples) -> None:
    (run,) = examples.legacy.do(examples.legacy.api.list_dag_runs("legacy_load"))
    assert run.state == "success"
    assert examples.xcom(LEGACY, "legacy_load")["run_id"] == run.run_id


def test_the_remote_side_of_the_examples_is_complete() -> None:
    text = "".join(path.read_text() for path in Path(REMOTE_DAGS).glob("*.py"))
    for path in (ROOT / "example_dags").glob("*.py"):
        for line in path.read_text().splitlines():
            if "trigger_dag_id=" in line or "external_dag_id=" in line:
                assert line.split('_dag_id="')[1].split('"')[0] in text
