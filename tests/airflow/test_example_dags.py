"""Every example DAG loads in this Airflow without a change, a warning or a request, and quickly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from astronomer_remote.compat import AIRFLOW_3

EXAMPLES = Path(__file__).parents[2] / "example_dags"
FOLDERS = [EXAMPLES, *([EXAMPLES / "airflow_3"] if AIRFLOW_3 else [])]
FILES = {path.stem: path for folder in FOLDERS for path in sorted(folder.glob("*.py"))}

# Loads the DAG files in an interpreter where nobody has imported anything yet.
LOAD = """
import json, runpy, socket, sys, warnings

# What a DAG file costs that uses nothing but Airflow itself: Airflow 2 imports `requests` on its own.
from airflow.models.connection import Connection
from airflow.providers.common.compat.sdk import DAG, BaseHook, Connection as NewConnection, task
with DAG("baseline", schedule=None):
    @task
    def nothing(): ...
    nothing()
before = set(sys.modules)

def refuse(*args, **kwargs):
    raise AssertionError(f"called while a DAG file was parsed: {args}")

socket.socket.connect = socket.getaddrinfo = refuse
BaseHook.get_connection = Connection.__init__ = NewConnection.__init__ = refuse

found = {}
for path in sys.argv[1:]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runpy.run_path(path)
    http = sorted({"requests", "aiohttp", "httpx"} & (set(sys.modules) - before))
    found[path] = {"warnings": [str(each.message) for each in caught], "http": http}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def bag() -> Any:
    """The DAGs as Airflow's own reader finds them."""
    try:
        from airflow.dag_processing.dagbag import DagBag
    except ImportError:
        from airflow.models.dagbag import DagBag
    bag = DagBag(dag_folder=os.devnull)
    for path in FILES.values():
        bag.process_file(str(path))
    return bag


def arguments(task: Any) -> dict[str, Any]:
    """What a task was given, also if it is mapped."""
    return getattr(task, "partial_kwargs", None) or vars(task)


def test_no_example_has_an_import_error(bag: Any) -> None:
    assert bag.import_errors == {}


def test_each_example_holds_one_dag_that_is_named_after_its_file(bag: Any) -> None:
    assert set(bag.dags) == set(FILES)
    assert {Path(dag.fileloc).stem: dag.dag_id for dag in bag.dags.values()} == {name: name for name in FILES}


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_example_shows_the_habits_of_production(bag: Any, name: str) -> None:
    for task in bag.dags[name].tasks:
        given = arguments(task)
        assert given["retries"] >= 1, task.task_id
        if given.get("wait_for_completion") or "external_dag_id" in given:
            assert given["deferrable"] is True, task.task_id
            assert "failed" in given["failed_states"], task.task_id
        if "astronomer_conn_id" in given:
            assert given["astronomer_conn_id"] == "astronomer_default", task.task_id


def test_parsing_the_examples_sends_no_request_warns_of_nothing_and_imports_no_http_library() -> None:
    paths = [str(path) for path in FILES.values()]
    # A connection that would be found if it were read.
    env = {**os.environ, "AIRFLOW_CONN_ASTRONOMER_DEFAULT": '{"conn_type": "astronomer"}'}
    done = subprocess.run([sys.executable, "-c", LOAD, *paths], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {path: {"warnings": [], "http": []} for path in paths}
