"""Every example DAG runs as it stands in the deployments of the demonstration, and does there what it says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from astronomer_remote.api.protocol.models import AssetEvent
from dev.deployments import Airflow
from dev.pair import CONNECTION_ID, EXAMPLE_DAGS, REMOTE_DAGS, Caller, connection, furnish, pair, running
from tests.waiting import wait_until

EXAMPLES = sorted(path.stem for path in EXAMPLE_DAGS.glob("*.py"))
RUN_ID = "by_hand"
# The remote of 1.10 has its turn after the other one.
LEGACY, LEGACY_RUN_ID = "moving_from_1_10", "against_1_10"
TOUR = "tour"
OWN_DAG = "my_first"
MINUTES = 10


class Examples(NamedTuple):
    """The deployments after the example DAGs have run: those of the demonstration, and a remote of 1.10."""

    local: Caller
    remote: Caller
    legacy: Caller
    own_dags: Path

    def end(self, name: str, run_id: str = RUN_ID) -> str | None:
        """How the local run of an example stands."""
        return self.local.do(self.local.api.get_dag_run(name, run_id)).state

    def xcom(self, name: str, task_id: str, *, run_id: str = RUN_ID, **kwargs: Any) -> Any:
        """What a task of an example returned."""
        return self.local.do(self.local.api.get_xcom(name, run_id, task_id, **kwargs))

    def runs(self, dag_id: str) -> list[tuple[str | None, dict[str, Any] | None]]:
        """State and conf of each run of a DAG in the remote of Airflow 2."""
        return [(run.state, run.conf) for run in self.remote.do(self.remote.api.list_dag_runs(dag_id))]

    def republished(self) -> list[AssetEvent]:
        """Events of the asset whose local events are republished, in the remote of Airflow 2."""
        return self.remote.do(self.remote.api.list_asset_events("s3://shop/orders"))

    def run(self, *names: str, run_id: str = RUN_ID) -> None:
        """Run examples at the same time, until the last has ended; nothing is given to them but an id."""
        for name in names:
            self.local.do(self.local.api.trigger_dag_run(name, run_id=run_id))
        deadline = time.monotonic() + MINUTES * 60
        left = list(names)
        while left and time.monotonic() < deadline:
            time.sleep(3)
            left = [name for name in left if self.end(name, run_id) not in ("success", "failed")]


def paste(example: str, dag_id: str, folder: Path) -> None:
    """Put a DAG file into a running deployment's folder, as the demonstration advises."""
    text = (EXAMPLE_DAGS / f"{example}.py").read_text()
    (folder / f"{dag_id}.py").write_text(text.replace(f'"{example}"', f'"{dag_id}"'))


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    own_dags = tmp_path_factory.mktemp("own_dags")
    both = pair("3.3.2", "2.11.2", own_dags=own_dags)
    for each in both:
        (own_dags / each.name).mkdir()
    legacy = Airflow("1.10.15", name="legacy", dags=REMOTE_DAGS)
    with running([*both, legacy], lambda _: None):
        ran = Examples(Caller(both.local), Caller(both.remote), Caller(legacy), own_dags)
        furnish(ran.local, ran.remote, both.remote)
        paste("trigger_and_wait", OWN_DAG, own_dags / "local")
        ran.run(*(name for name in EXAMPLES if name != TOUR))
        both.local.wait_dags([OWN_DAG])
        # Before the connection points to another remote.
        ran.local.do(ran.local.api.create_asset_event(uri="s3://shop/orders", extra={"rows": 12}))
        wait_until(lambda: len(ran.republished()) > 0, timeout=120)
        # It resizes the pool that another example resizes.
        ran.run(TOUR, OWN_DAG)
        body = {"connection_id": CONNECTION_ID, "conn_type": "astronomer", **connection(legacy)}
        ran.local.do(ran.local.api.call("PATCH", f"/connections/{CONNECTION_ID}", json=body))
        ran.run(LEGACY, run_id=LEGACY_RUN_ID)
        yield ran
    assert (own_dags / "local" / f"{OWN_DAG}.py").exists()


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_succeeds(examples: Examples, name: str) -> None:
    assert examples.end(name) == "success"


def test_a_dag_file_that_was_put_there_runs(examples: Examples) -> None:
    assert examples.end(OWN_DAG) == "success"


def test_a_run_was_triggered_and_waited_for(examples: Examples) -> None:
    run = examples.xcom("trigger_and_wait", "load_sales")
    assert (run["dag_id"], run["state"]) == ("load_sales", "success")
    assert ("success", {"requested_by": RUN_ID}) in examples.runs("load_sales")


def test_an_asset_event_was_registered(examples: Examples) -> None:
    event = examples.xcom("remote_assets", "orders_are_there")
    found = examples.remote.do(examples.remote.api.list_asset_events("s3://sales/orders"))
    assert [each.event_id for each in found] == [event["event_id"]]
    assert found[0].extra["loaded_by"] == RUN_ID
    (report,) = examples.xcom("remote_assets", "report_is_there")
    assert report["source_dag_id"] == "report_on_orders"


def test_an_asset_was_materialized(examples: Examples) -> None:
    run = examples.xcom("materialize_asset", "refresh_customers")
    assert (run["dag_id"], run["state"], run["conf"]) == ("count_customers", "success", {"requested_by": RUN_ID})
    (event,) = examples.remote.do(examples.remote.api.list_asset_events("s3://sales/customers"))
    assert event.source_run_id == run["run_id"]


def test_the_run_of_the_remote_runs_a_local_dag(examples: Examples) -> None:
    mirrored = examples.xcom("trigger_and_wait", "load_sales")["run_id"]

    def followed() -> set[str]:
        runs = examples.local.do(examples.local.api.list_dag_runs("mirror_dag"))
        ended = [run.run_id for run in runs if run.state == "success"]
        return {run_id for each in ended for run_id in examples.xcom("mirror_dag", "run_ids", run_id=each)}

    wait_until(lambda: mirrored in followed(), lambda: str(followed()), timeout=120)


def test_an_event_of_a_local_asset_was_republished(examples: Examples) -> None:
    (event,) = examples.republished()
    assert event.extra["rows"] == 12
    wait_until(
        lambda: [state for state, _ in examples.runs("count_orders")] == ["success"],
        lambda: str(examples.runs("count_orders")),
        timeout=60,
    )


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
    assert examples.xcom("remote_pools", "resize")["slots"] == 32
    assert examples.xcom(TOUR, "resize_pool")["slots"] == 64
    assert examples.remote.do(examples.remote.api.get_pool("warehouse")).slots == 64


def test_pools_were_declared_and_one_was_there_for_a_while(examples: Examples) -> None:
    left = {pool.name: pool.slots for pool in examples.remote.do(examples.remote.api.list_pools())}
    assert left == {"default_pool": 128, "warehouse": 64, "reporting": 8, "exports": 2}
    assert examples.xcom("borrow_slots", "load")["slots"] == 16


def test_configuration_and_events_were_read(examples: Examples) -> None:
    assert int(examples.xcom("any_endpoint", "parallelism")) > 0
    assert 1 <= len(examples.xcom("any_endpoint", "newest_events")) <= 10


def test_the_old_airflow_was_driven_like_a_new_one(examples: Examples) -> None:
    assert examples.end(LEGACY, LEGACY_RUN_ID) == "success"
    (run,) = examples.legacy.do(examples.legacy.api.list_dag_runs("legacy_load"))
    assert run.state == "success"
    assert examples.xcom(LEGACY, "legacy_load", run_id=LEGACY_RUN_ID)["run_id"] == run.run_id


def test_the_remote_side_of_the_examples_is_complete() -> None:
    text = "".join(path.read_text() for path in Path(REMOTE_DAGS).glob("*.py"))
    for path in EXAMPLE_DAGS.rglob("*.py"):
        for line in path.read_text().splitlines():
            if "trigger_dag_id=" in line or "external_dag_id=" in line:
                assert line.split('_dag_id="')[1].split('"')[0] in text
