"""The link from a task to the remote run that it made or watches, clicked while the task waits and afterwards."""

from __future__ import annotations

import pytest

from dev.deployments import Airflow
from tests.browser.saved import CONNECTION
from tests.browser.ui import Ui
from tests.live.local import LocalAirflow
from tests.waiting import wait_until

RUN_ID = "by_hand"
REMOTE_RUN_ID = "50% of a+b, 12:30"
# DAG and task; a task is named after the state in which it waits.
TASKS = (("triggers", "deferred"), ("watches", "deferred"), ("watches", "running"))


def start(local: LocalAirflow, dag_id: str) -> None:
    """Trigger a local DAG, and wait until its tasks wait and know their run."""
    conf = {"connection": CONNECTION, "run_id": REMOTE_RUN_ID}
    # Airflow 3 requires an explicit null if there is no date.
    date = {"logical_date": None} if local.deployment.generation == "v2" else {}
    local.request("POST", f"/dags/{dag_id}/dagRuns", json={"dag_run_id": RUN_ID, "conf": conf, **date})
    wait_until(lambda: all(waits(local, dag_id, task) for dag, task in TASKS if dag == dag_id), lambda: look(local))


def waits(local: LocalAirflow, dag_id: str, task_id: str) -> bool:
    task = f"/dags/{dag_id}/dagRuns/{RUN_ID}/taskInstances/{task_id}"
    known = [entry["key"] for entry in local.request("GET", f"{task}/xcomEntries")["xcom_entries"]]
    return local.request("GET", task)["state"] == task_id and "remote_run_state" in known


def look(local: LocalAirflow) -> str:
    return f"{local.states('triggers')} {local.states('watches')}\n{local.mentions('held')}"


@pytest.mark.usefixtures("saved")
def test_the_link_leads_to_the_run_while_the_task_waits_and_afterwards(ui: Ui, deployment: Airflow) -> None:
    local = LocalAirflow(deployment)
    start(local, "triggers")
    start(local, "watches")
    for dag_id, task_id in TASKS:
        ui.open_task(dag_id, RUN_ID, task_id)
        ui.picture("link")
        ui.shows_run(ui.follow_link(), "held", REMOTE_RUN_ID)

    (deployment.home / "released").touch()
    done = [{"success": 1}, {"success": 2}]
    wait_until(lambda: [local.states("triggers"), local.states("watches")] == done, lambda: look(local))
    for dag_id, task_id in TASKS:
        ui.open_task(dag_id, RUN_ID, task_id)
        ui.shows_run(ui.follow_link(), "held", REMOTE_RUN_ID)
