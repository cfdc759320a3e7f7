"""Airflow's own example DAGs about other DAGs, with nothing but the imports changed."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, AirflowSensorTimeout

from astronomer_remote.compat import AIRFLOW_3
from astronomer_remote.exceptions import DagRunFailed
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.testing import FakeDeployment
from tests.airflow.local import DATE, AirflowRescheduleException, local_task, to_the_end

TWINS = {
    "TriggerDagRunOperator": RemoteTriggerDagRunOperator,
    "ExternalTaskSensor": RemoteDagRunSensor,
}

TODAY = DATE.isoformat()


def example_files() -> Iterator[Path]:
    """Every example that is shipped with Airflow and its standard provider and names one of the classes."""
    for name in ("airflow.example_dags", "airflow.providers.standard.example_dags"):
        for path in Path(import_module(name).__path__[0]).rglob("*.py"):
            if any(name in path.read_text() for name in (*TWINS, "ExternalTaskMarker")):
                yield path


class Swap(ast.NodeTransformer):
    """Takes the classes from this package; where Airflow 2 runs an example of Airflow 3, ``DAG`` from there."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> list[ast.stmt]:
        if node.module == "airflow.sdk" and not AIRFLOW_3:
            node.module = "airflow"
        made: list[ast.stmt] = []
        for alias in list(node.names):
            twin = TWINS.get(alias.name)
            if twin is not None:
                node.names.remove(alias)
                imported = ast.alias(twin.__name__, alias.asname or alias.name)
                made.append(ast.ImportFrom(twin.__module__, [imported], 0))
        return [*made, node] if node.names else made


def dags_of(path: Path) -> dict[str, Any]:
    """The DAGs of an example after the swap."""
    tree = ast.fix_missing_locations(Swap().visit(ast.parse(path.read_text())))
    names: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    exec(compile(tree, str(path), "exec"), names)  # Airflow's own file
    return {dag.dag_id: dag for dag in names.values() if isinstance(dag, DAG)}


FILES = sorted(example_files())


@pytest.fixture
def tasks() -> Callable[[str, str], Any]:
    """A task of the newest of the examples that have it."""

    def find(dag_id: str, task_id: str) -> Any:
        found = [dags[dag_id] for dags in map(dags_of, FILES) if dag_id in dags]
        return found[-1].get_task(task_id)

    return find


def run(task: Any, **facts: Any) -> Any:
    context = local_task(task, **facts).context()
    task.render_template_fields(context)
    return to_the_end(task, context)


def test_the_examples_are_there() -> None:
    assert {path.stem for path in FILES} >= {
        "example_external_task_marker_dag",
        "example_external_task_parent_deferrable",
        "example_trigger_controller_dag",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.parent.name}-{path.stem}")
def test_an_example_imports_with_our_classes_in_it(path: Path) -> None:
    tasks = [task for dag in dags_of(path).values() for task in dag.tasks]
    assert tasks
    assert not [task for task in tasks if type(task).__name__ in TWINS]


def test_a_triggered_run_gets_the_conf(remote: FakeDeployment, tasks: Callable[[str, str], Any]) -> None:
    remote.add_dag("example_trigger_target_dag")
    run(tasks("example_trigger_controller_dag", "test_trigger_dagrun"))
    (made,) = remote.runs("example_trigger_target_dag")
    assert made["conf"] == {"message": "Hello World"}


@pytest.mark.parametrize("ends", ["success", "failed"])
def test_a_run_of_the_same_date_is_made_and_waited_for(
    any_remote: FakeDeployment, tasks: Callable[[str, str], Any], ends: str
) -> None:
    any_remote.add_dag("child_dag", tasks=["child_task"], ends=ends)
    task = tasks("example_external_task", "trigger_child_task")
    if ends == "success":
        assert run(task)["state"] == "success"
    else:
        # Whatever its allowed_states say: TriggerDagRunOperator looks at its failed_states first, too.
        with pytest.raises(DagRunFailed, match="leave it out of failed_states"):
            run(task)
    (made,) = any_remote.runs("child_dag")
    assert datetime.fromisoformat(made["logical_date"]) == DATE


def test_a_deferred_sensor_waits_for_the_task_of_the_same_date(
    any_remote: FakeDeployment, tasks: Callable[[str, str], Any]
) -> None:
    any_remote.add_dag("child_dag", tasks=["child_task", "other"], stays="running")
    any_remote.add_run("child_dag", "today", state="running", logical_date=TODAY)
    task = tasks("example_external_task", "parent_task_sensor")
    task.timeout = 0.1
    with pytest.raises(AirflowSensorTimeout):
        run(task)
    any_remote.set_task_state("child_dag", "today", "child_task", "success")
    task.timeout = 60
    run(task)


@pytest.mark.parametrize(("task_id", "of"), [("child_task1", "parent_task"), ("child_task2", "group")])
def test_a_rescheduled_sensor_waits_for_a_task_and_a_group(
    remote: FakeDeployment, not_rescheduled_yet: None, tasks: Callable[[str, str], Any], task_id: str, of: str
) -> None:
    dag_id = "example_external_task_marker_parent"
    instance = "parent_task" if of == "parent_task" else "parent_dag_task_group_id.inner"
    remote.add_dag(dag_id, tasks=[instance], stays="running")
    remote.add_run(dag_id, "today", state="running", logical_date=TODAY)
    task = tasks("example_external_task_marker_child", task_id)
    with pytest.raises(AirflowRescheduleException):
        run(task)
    remote.set_task_state(dag_id, "today", instance, "skipped")
    with pytest.raises(DagRunFailed, match="skipped"):
        run(task)
    remote.set_task_state(dag_id, "today", instance, "success")
    run(task)
