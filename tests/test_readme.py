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
from astronomer_remote.api.protocol.settings import Settings
from tests.live.plan import MATRIX

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```$", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = [code for language, code in BLOCKS if language == "python"]
DAGS = [code for code in PYTHON if "with DAG(" in code]
# The page that has the connection in all its forms.
CONNECTION = (ROOT / "docs" / "connect" / "index.md").read_text()
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
    """The connection that the documentation gives as an environment variable."""
    (line,) = re.findall(r"^AIRFLOW_CONN_.+$", CONNECTION, re.MULTILINE)
    name, _, value = shlex.split(line)[0].partition("=")
    assert name == "AIRFLOW_CONN_ASTRONOMER_DEFAULT"
    return value


def test_code_is_marked_as_such() -> None:
    assert len(PYTHON) == 2
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
    (block,) = (code for language, code in BLOCKS if language == "json")
    assert f"```json\n{block}```" in CONNECTION
    given = json.loads(block)
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
    for path in (ROOT / "example_dags").rglob("*.py"):
        assert f"({path.relative_to(ROOT).as_posix()})" in recipes


def test_what_is_to_be_typed_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"`make (\w+)", TEXT)) | set(re.findall(r"^make (\w+)", TEXT, re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for variable in re.findall(r"`make demo ([^`]+)`", TEXT):
        for pair in variable.split():
            assert re.search(rf"^{pair.partition('=')[0]} \?=", makefile, re.MULTILINE)


def test_it_is_short() -> None:
    assert len(TEXT.split()) <= 1800


def test_a_picture_is_near_the_top() -> None:
    picture = re.search(r"^!\[[^\]]+\]\((docs/pictures/[^)]+)\)$", TEXT, re.MULTILINE)
    assert picture
    assert TEXT[: picture.start()].count("\n") < 40


def test_every_page_says_the_same_versions() -> None:
    versions = (ROOT / "docs" / "versions.md").read_text()
    assert "Airflow 2.11 or 3.0 to 3.3, on Python 3.10 to 3.13." in TEXT
    assert "| 2.11, 3.0, 3.1, 3.2, 3.3 |" in versions
    assert "| 3.10, 3.11, 3.12, 3.13, as far" in versions
    for page in ("README.md", "CONTRIBUTING.md", "docs/index.md"):
        assert "`make` and one Python from 3.10 to 3.13" in (ROOT / page).read_text()
    assert "| Airflow | 2.11 or 3.0 to 3.3," in (ROOT / "docs" / "install.md").read_text()
    assert "| Python | 3.10 to 3.13 |" in (ROOT / "docs" / "install.md").read_text()
    assert 'requires-python = ">=3.10,<3.14"' in (ROOT / "pyproject.toml").read_text()
    assert dict.fromkeys(pair.local.rpartition(".")[0] for pair in MATRIX) == dict.fromkeys(
        ["2.11", "3.0", "3.1", "3.2", "3.3"]
    )
