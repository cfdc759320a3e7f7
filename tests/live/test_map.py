"""The command `astronomer-remote map --check`, with a folder of DAG files that depend on two real deployments."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dev.deployments import Airflow
from tests.live.deployments import airflow
from tests.live.remote import RemoteAirflow

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

DAGS = Path(__file__).parent / "map_dags"
COMMAND = Path(sys.executable).with_name("astronomer-remote")


class Checks:
    """
    Runs the command in a process of its own.

    :param env: with an Airflow connection to each deployment.
    """

    def __init__(self, env: dict[str, str]) -> None:
        self._env = env

    def run(self, output: str, folder: Path = DAGS / "local", **env: str) -> subprocess.CompletedProcess[str]:
        """Check a folder, and return what the command printed and its exit code."""
        arguments = [COMMAND, "map", "--check", "--output", output, f"local={folder}"]
        return subprocess.run(
            arguments, env={**self._env, **env}, capture_output=True, text=True, timeout=120, check=False
        )


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checks]:
    with (
        airflow("2.11.2", name="one", dags=DAGS / "one") as one,
        airflow("3.3.2", name="two", dags=DAGS / "two") as two,
    ):
        one.wait_dags(["load_sales"])
        two.wait_dags(["publish"])
        RemoteAirflow(one).make_pool("warehouse", 4)
        RemoteAirflow(two).make_pool("reports", 2)
        connections = {"AIRFLOW_CONN_ONE": connection_to(one), "AIRFLOW_CONN_TWO": connection_to(two)}
        yield Checks({**os.environ, **connections, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("home"))})


@pytest.fixture(scope="module")
def checked(checks: Checks) -> subprocess.CompletedProcess[str]:
    """The check of the folder, as JSON."""
    return checks.run("json")


@pytest.fixture
def edges(checked: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(checked.stdout)["edges"]


def connection_to(deployment: Airflow) -> str:
    login, password = deployment.users["admin"]
    return json.dumps({"conn_type": "astronomer", "host": deployment.url, "login": login, "password": password})


def test_of_eight_edges_the_two_broken_ones_are_reported(checked: subprocess.CompletedProcess[str], edges: Any) -> None:
    assert {edge["task_id"]: edge["status"] for edge in edges} == {
        **dict.fromkeys(("load", "rows", "upstream", "enlarge", "announce"), "ok"),
        **dict.fromkeys(("missing", "room"), "broken"),
        # Its DAG's id is a template.
        "later": "unknown",
    }
    problems = {edge["task_id"]: edge["problems"] for edge in edges if edge["problems"]}
    assert problems.pop("missing")[0].startswith("The remote knows no DAG 'no_such_dag'")
    assert problems == {"room": ["Pool 'warehouse' has 4 slots, and the task waits for 8."]}
    assert (checked.returncode, checked.stderr) == (1, "")


def test_a_dag_file_with_an_import_error_hides_nothing(checks: Checks, edges: Any, tmp_path: Path) -> None:
    folder = shutil.copytree(DAGS / "local", tmp_path / "dags")
    (folder / "broken.py").write_text("from airflow import DAG\nraise ValueError('this DAG file is broken')\n")
    done = checks.run("json", folder)
    assert json.loads(done.stdout)["edges"] == edges
    assert done.returncode == 1
    assert "broken.py could not be read" in done.stderr
    assert "this DAG file is broken" in done.stderr


ONE_OF_EACH = """
from datetime import datetime
from airflow.providers.common.compat.sdk import DAG
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
with DAG("waits", schedule=None, start_date=datetime(2026, 1, 1)):
    RemoteDagRunSensor(task_id="load", external_dag_id="load_sales", astronomer_conn_id="one")
    RemoteDagRunSensor(task_id="publish", external_dag_id="publish", astronomer_conn_id="two")
"""


def test_a_deployment_that_cannot_be_reached_has_an_exit_code_of_its_own(checks: Checks, tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(ONE_OF_EACH)
    assert checks.run("json", tmp_path).returncode == 0
    with socket.socket() as nobody:
        # Nothing listens at a port that is only bound.
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        done = checks.run("json", tmp_path, AIRFLOW_CONN_TWO=json.dumps({"conn_type": "astronomer", "host": url}))
    found = json.loads(done.stdout)
    assert {edge["task_id"]: edge["status"] for edge in found["edges"]} == {"load": "ok", "publish": "unchecked"}
    assert list(found["unreachable"]) == ["two"]
    assert done.stderr.startswith(f"two could not be checked: No reply from {url}")
    assert done.returncode == 5


def test_every_format_shows_the_same(checks: Checks, edges: Any) -> None:
    broken = [str(number) for number, edge in enumerate(edges) if edge["status"] == "broken"]

    table = checks.run("table").stdout
    rows = table.splitlines()
    for edge in edges:
        shown = {"ok": "ok", "broken": "BROKEN", "unknown": "unknown"}[edge["status"]]
        (row,) = (row for row in rows if row.split()[:2] == [edge["dag_id"], edge["task_id"]])
        assert row.split()[-1] == shown
        for problem in edge["problems"]:
            assert f"{edge['dag_id']}.{edge['task_id']}: {problem}" in table

    flowchart = checks.run("mermaid").stdout
    assert flowchart.count("-->|") + flowchart.count("-.->|") == len(edges)
    assert flowchart.count("-.->|") == len(broken)
    assert f"linkStyle {','.join(broken)} " in flowchart

    graph = checks.run("dot").stdout
    assert graph.count(" -> ") == len(edges)
    assert graph.count("style=dashed") == len(broken)

    html = checks.run("html").stdout
    assert json.loads(html.split('id="map">')[1].split("</script>")[0])["edges"] == edges
