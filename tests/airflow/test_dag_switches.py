"""Switches of DAGs of another deployment, and of their runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from astronomer_remote.exceptions import DagNotFound, DagRunNotFound, InvalidSettings, NotSupported
from astronomer_remote.operators.dag import (
    RemoteCancelDagRunOperator,
    RemoteClearDagRunOperator,
    RemoteDeleteDagRunOperator,
    RemotePauseDagOperator,
    RemoteRecordDagOperator,
    RemoteRestoreDagOperator,
    RemoteUnpauseDagOperator,
    dag_paused,
)
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import LocalTask, in_dag, local_task, through_the_database

Start = Callable[..., FakeDeployment]


def run(kind: type, **arguments: Any) -> tuple[Any, LocalTask]:
    task_facts = arguments.pop("task", {})
    made = in_dag(kind, **{"external_dag_id": "quick", "retries": 2, **arguments})
    task = local_task(made, **task_facts)
    return made.execute(task.context()), task


def is_paused(remote: FakeDeployment) -> bool:
    return remote._contents.dags["quick"].is_paused


def test_a_dag_is_paused_and_restored(any_remote: FakeDeployment) -> None:
    before, _ = run(RemoteRecordDagOperator)
    assert before is False
    assert run(RemotePauseDagOperator)[0] is False
    assert is_paused(any_remote)
    assert run(RemotePauseDagOperator)[0] is True, "a retry"
    run(RemoteRestoreDagOperator, paused=before)
    assert not is_paused(any_remote)


def test_a_dag_is_unpaused_and_restored(any_remote: FakeDeployment) -> None:
    run(RemotePauseDagOperator)
    before, _ = run(RemoteRecordDagOperator)
    assert run(RemoteUnpauseDagOperator)[0] is True
    assert not is_paused(any_remote)
    run(RemoteRestoreDagOperator, paused=str(before))
    assert is_paused(any_remote)


def test_a_dag_that_was_not_recorded_is_not_restored(remote: FakeDeployment) -> None:
    with pytest.raises(InvalidSettings, match="paused must be what RemoteRecordDagOperator returned"):
        run(RemoteRestoreDagOperator, paused=None)
    assert remote.requests == []


def test_an_unknown_dag_is_not_found(remote: FakeDeployment) -> None:
    for kind in (RemotePauseDagOperator, RemoteUnpauseDagOperator, RemoteRecordDagOperator):
        with pytest.raises(DagNotFound, match="knows no DAG 'typo'"):
            run(kind, external_dag_id="typo")
    with pytest.raises(InvalidSettings):
        run(RemotePauseDagOperator, external_dag_id="a/b")
    with pytest.raises(InvalidSettings):
        run(RemoteCancelDagRunOperator, external_run_id="")


def test_tasks_of_the_block_run_between_setup_and_teardown() -> None:
    with DAG("d", start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), schedule=None) as dag:
        with dag_paused("quick"):
            BaseOperator(task_id="work")
        with dag_paused("other", paused=False, task_id="wake"):
            BaseOperator(task_id="more_work")
    tasks = dag.task_dict
    assert isinstance(tasks["pause_quick"], RemotePauseDagOperator)
    assert isinstance(tasks["wake"], RemoteUnpauseDagOperator)
    assert tasks["work"].upstream_task_ids == {"pause_quick", "pause_quick_record"}
    assert tasks["pause_quick_restore"].upstream_task_ids == {"pause_quick", "pause_quick_record", "work"}
    assert tasks["wake_restore"].is_teardown
    assert tasks["wake_done"].upstream_task_ids == {"wake_restore"}
    through_the_database(dag)


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_a_run_is_cancelled_cleared_and_deleted(start: Start, version: str) -> None:
    remote = start(version)
    remote.add_dag("quick", stays="running")
    remote.add_run("quick", "r", state="running")
    cancelled, task = run(RemoteCancelDagRunOperator, external_run_id="r")
    assert cancelled["state"] == "failed"
    assert task.xcoms["trigger_run_id"] == "r"
    assert "r" in task.xcoms["remote_run_url"]
    cleared, _ = run(RemoteClearDagRunOperator, external_run_id="r", only_failed=True)
    assert cleared["state"] in ("queued", "running")
    remote.finish("quick", "r")
    assert run(RemoteDeleteDagRunOperator, external_run_id="r")[0] is True
    assert remote.runs("quick") == []
    assert run(RemoteDeleteDagRunOperator, external_run_id="r")[0] is False
    # Nothing shows that an earlier try deleted it, so that every try does what the first does.
    for number in (1, 2):
        with pytest.raises(DagRunNotFound, match="An earlier try of this task may have deleted it"):
            run(RemoteDeleteDagRunOperator, external_run_id="r", if_missing="fail", task={"try_number": number})


def test_1_10_can_only_pause(start: Start) -> None:
    start("1.10.15").add_dag("quick")
    for kind in (RemoteCancelDagRunOperator, RemoteClearDagRunOperator, RemoteDeleteDagRunOperator):
        with pytest.raises((NotSupported, DagRunNotFound)):
            run(kind, external_run_id="r")
