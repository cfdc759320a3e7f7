"""The README is true: its code runs, its links lead somewhere, and what it says of names is what the code says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from astronomer_remote import get_provider_info
from astronomer_remote.api.dialects.base import Dialect
from astronomer_remote.api.dialects.v1 import V1Dialect
from astronomer_remote.api.dialects.v2 import V2Dialect
from astronomer_remote.api.models import DagRun, Pool, TriggerIntent, Version
from astronomer_remote.api.settings import Settings
from tests.live.table import PAIRS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
DAGS = [code for code in PYTHON if "with DAG(" in code]
LINKS = re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", TEXT)

# Reads each DAG of the README, and the connection of a URI, as Airflow does.
LOAD = """
import json, sys
from airflow.models.connection import Connection
from airflow.providers.common.compat.sdk import DAG
dags, uri = json.loads(sys.argv[1])
made = []
enter = DAG.__enter__
DAG.__enter__ = lambda self: made.append(self) or enter(self)
for code in dags:
    exec(compile(code, "README.md", "exec"), {})
conn = Connection(uri=uri)
print(json.dumps({
    "tasks": [[dag.dag_id, list(dag.task_ids)] for dag in made],
    "connection": {
        "host": conn.host, "schema": conn.schema, "port": conn.port, "login": conn.login, "password": conn.password,
        "extra": conn.extra_dejson,
    },
}))
"""


def anchor(heading: str) -> str:
    """The fragment by which a heading is linked to."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def uri() -> str:
    """The connection that the README gives as an environment variable."""
    (block,) = (code for language, code in BLOCKS if language == "text" and "AIRFLOW_CONN_" in code)
    name, _, value = shlex.split(block)[0].partition("=")
    assert name == "AIRFLOW_CONN_ASTRONOMER_DEFAULT"
    return value


def test_code_is_marked_as_such() -> None:
    assert len(PYTHON) >= 2
    assert len(DAGS) >= 1
    assert TEXT.count("```") == 2 * len(BLOCKS)


@pytest.mark.parametrize("code", PYTHON)
def test_python_compiles(code: str) -> None:
    compile(code, "README.md", "exec")


def test_the_first_dag_is_on_the_first_screen() -> None:
    before, dag, _ = TEXT.partition("```python\n")[0], *TEXT.partition("```python\n")[1:]
    assert dag
    assert len(before.splitlines()) < 12


def test_dags_and_connections_are_what_airflow_takes(tmp_path: Path) -> None:
    env = {**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    command = [sys.executable, "-c", LOAD, json.dumps([DAGS, uri()])]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found["tasks"]) == len(DAGS)
    assert all(task_ids for _, task_ids in found["tasks"])
    (given,) = (json.loads(code) for language, code in BLOCKS if language == "json")
    assert given.pop("conn_type") == get_provider_info.CONNECTION_TYPE
    assert Settings.parse(**found["connection"]) == Settings.parse(**given)


@pytest.mark.parametrize(("text", "target"), [link for link in LINKS if "://" not in link[1]])
def test_a_link_leads_somewhere(text: str, target: str) -> None:
    path, _, fragment = target.partition("#")
    if path:
        assert (ROOT / path).is_file()
    else:
        headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
        assert fragment in {anchor(heading) for heading in headings}
    named = re.fullmatch(r"`(test_\w+)`", text)
    if named:
        assert re.search(rf"def {named[1]}\(", (ROOT / path).read_text())


def test_every_example_is_a_recipe() -> None:
    recipes = TEXT[TEXT.index("## Recipes") :]
    for path in (ROOT / "example_dags").glob("*.py"):
        assert f"(example_dags/{path.name})" in recipes


def test_every_field_of_a_connection_is_explained() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| `(\w+)` \| [^|]+ \|$", TEXT, re.MULTILINE))
    fields = {field.label: field.name for field in get_provider_info.FIELDS}
    standard = {label: name for name, label in get_provider_info.RELABELING.items()}
    assert {"Deployment URL", "User name"} <= standard.keys()
    assert set(rows.values()) == {*fields.values(), *standard.values()}
    assert {label: rows.get(label) for label in fields} == fields


def test_every_choice_of_a_connection_is_explained() -> None:
    for field in get_provider_info.FIELDS:
        for choice in field.choices:
            assert f"`{choice}`" in TEXT


def test_what_is_to_be_typed_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`make (\w+)", TEXT)) | set(re.findall(r"^make (\w+)", TEXT, re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for variable in re.findall(r"`make demo ([^`]+)`", TEXT):
        for pair in variable.split():
            assert re.search(rf"^{pair.partition('=')[0]} \?=", makefile, re.MULTILINE)


@pytest.mark.parametrize("remote", [V1Dialect("", Version("2.11.2")), V2Dialect("", Version("3.3.2"))])
def test_the_rights_are_those_that_errors_name(remote: Dialect) -> None:
    run, pool = DagRun("dag", "run"), Pool("pool", 1)
    exchanges = {
        "wait for": [
            remote.dag_run("dag", "run"),
            remote.dag_runs("dag"),
            remote.task_instances(run),
            remote.dag("dag"),
            remote.xcom("dag", "run", "task", "key", -1),
        ],
        "list and read pools": [remote.pools(), remote.pool("pool")],
        "trigger": [
            remote.trigger(TriggerIntent("dag", "run")),
            remote.set_run_state("dag", "run", "failed"),
            remote.clear_run(run, only_failed=False),
            remote.delete_run("dag", "run"),
            remote.set_paused("dag", paused=True),
        ],
        "create, change, delete pools": [
            remote.create_pool(pool),
            remote.update_pool(pool, frozenset({"slots"})),
            remote.delete_pool("pool"),
        ],
        "read the configuration": [remote.config()],
    }
    for operation, asked in exchanges.items():
        told = re.search(rf"^\| {operation}[^|]*\| (\w+)", TEXT, re.MULTILINE)
        assert told
        assert {exchange.least_role for exchange in asked} == {told[1]}


def test_the_table_of_versions_is_what_came_of_the_live_tests() -> None:
    assert PAIRS.shown() == PAIRS.due()
