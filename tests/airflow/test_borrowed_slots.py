"""A DAG that borrows slots is run as a whole: whatever happens in between, the pool is restored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator, TaskGroup

from astronomer_remote.operators.dag import dag_paused
from astronomer_remote.operators.pool_loan import borrowed_slots
from astronomer_remote.testing import FakeDeployment

Start = Callable[..., FakeDeployment]

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_what_is_not_given_comes_from_the_dag() -> None:
    default_args: dict[str, Any] = {
        "astronomer_conn_id": "staging",
        "force": True,
        "temporary": True,
        "description": "for a while",
        "if_changed": "restore",
    }
    with (
        DAG("d", start_date=START, schedule=None, default_args=default_args) as dag,
        borrowed_slots("p", 2),
        dag_paused("x"),
    ):
        BaseOperator(task_id="work")
    remote = [task for task in dag.tasks if hasattr(task, "astronomer_conn_id")]
    assert {task.astronomer_conn_id for task in remote} == {"staging"}
    assert len(remote) == 6
    record, give_back = dag.get_task("borrow_slots_record"), dag.get_task("borrow_slots_return")
    assert (record.force, record.temporary, record.description) == (True, True, "for a while")
    assert give_back.if_changed == "restore"


def test_what_is_given_counts() -> None:
    default_args = {"astronomer_conn_id": "staging", "force": True, "if_changed": "restore"}
    with (
        DAG("d", start_date=START, schedule=None, default_args=default_args) as dag,
        borrowed_slots("p", 2, force=False, if_changed="fail", astronomer_conn_id="production"),
    ):
        BaseOperator(task_id="work")
    record, give_back = dag.get_task("borrow_slots_record"), dag.get_task("borrow_slots_return")
    assert (record.astronomer_conn_id, record.force) == ("production", False)
    assert (give_back.astronomer_conn_id, give_back.if_changed) == ("production", "fail")


@pytest.mark.parametrize("prefix", [True, False])
def test_in_a_task_group_every_id_has_its_prefix_once(prefix: bool) -> None:
    with (
        DAG("d", start_date=START, schedule=None) as dag,
        TaskGroup("g", prefix_group_id=prefix),
        borrowed_slots("p", 2),
        dag_paused("x"),
    ):
        BaseOperator(task_id="work")
    start = "g." if prefix else ""
    names = ["borrow_slots", "borrow_slots_record", "borrow_slots_return", "borrow_slots_done"]
    names += ["pause_x", "pause_x_record", "pause_x_restore", "pause_x_done", "work"]
    assert set(dag.task_ids) == {f"{start}{name}" for name in names}


DAG_FILE = """
from datetime import datetime, timezone

from airflow.providers.common.compat.sdk import DAG, task

from astronomer_remote.operators import pool_loan
from astronomer_remote.operators.dag import dag_paused

class DiesAfterTheChange(pool_loan.RemoteBorrowPoolSlotsOperator):
    def execute(self, context):
        super().execute(context)
        raise SystemError("the worker is gone")

with DAG("{dag_id}", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None) as dag:

    @task
    def work():
        from astronomer_remote.hooks.astronomer import AstronomerHook

        hook = AstronomerHook()
        print("SEEN", hook.get_pool("p").slots, hook.get_dag("quick").is_paused)
        if "{dag_id}" == "meddled":
            hook.update_pool("p", slots=7)
        if "{dag_id}" == "work_fails":
            raise ValueError("as it is")

    if "{dag_id}" == "borrower_dies":
        pool_loan.RemoteBorrowPoolSlotsOperator = DiesAfterTheChange
    with pool_loan.borrowed_slots("p", 9), dag_paused("quick"):
        work()

if __name__ == "__main__":
    run = dag.test()
    print("RUN", getattr(run.state, "value", run.state))
    print("STATES", {{ti.task_id: str(getattr(ti.state, "value", ti.state)) for ti in run.get_task_instances()}})
"""


@pytest.fixture
def run_dag(database: None, start: Start, tmp_path: Path) -> Callable[[str], tuple[FakeDeployment, str]]:
    def run(dag_id: str) -> tuple[FakeDeployment, str]:
        remote = start("2.11.2")
        remote.add_dag("quick")
        remote.add_pool("p", 5)
        folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
        folder.mkdir(exist_ok=True)
        path = folder / f"{dag_id}.py"
        path.write_text(DAG_FILE.format(dag_id=dag_id))
        try:
            command = [sys.executable, str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        finally:
            path.unlink()
        return remote, done.stdout + done.stderr

    return run


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    ("dag_id", "failed"),
    [
        ("work_fails", {"work"}),
        ("borrower_dies", {"borrow_slots"}),
        ("all_goes_well", set()),
        ("meddled", {"borrow_slots_return"}),
    ],
)
def test_the_pool_is_restored_unless_others_changed_it(
    run_dag: Callable[[str], tuple[FakeDeployment, str]], dag_id: str, failed: set[str]
) -> None:
    remote, lines = run_dag(dag_id)
    line = next((line for line in lines.splitlines() if line.startswith("STATES ")), None)
    assert line, lines[-6000:]
    states = json.loads(line.removeprefix("STATES ").replace("'", '"'))
    assert {name for name, state in states.items() if state == "failed"} == failed, lines[-6000:]
    assert f"RUN {'failed' if failed else 'success'}" in lines.splitlines(), "neither failure may go unnoticed"
    if dag_id == "meddled":
        assert "It is now 7 slots, and stays like that" in lines
        assert remote.pools()["p"] == 7
        return
    assert states["borrow_slots_return"] == "success"
    if dag_id != "borrower_dies":
        assert "SEEN 9 True" in lines
        assert states["pause_quick_restore"] == "success"
    else:
        # The DAG's switch had not been touched yet.
        assert states["pause_quick_restore"] == "upstream_failed"
    assert remote.pools()["p"] == 5
    assert remote._contents.dags["quick"].is_paused is False
    # It was changed in between.
    assert [path for method, path in remote.requests if method == "PATCH" and "pools" in path] == [
        "/api/v1/pools/p",
        "/api/v1/pools/p",
    ]
