"""The documentation is true and complete; that its links lead somewhere, ``make docs`` checks."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from astronomer_remote import auth, exceptions
from astronomer_remote import get_provider_info as info
from astronomer_remote.api.dialects.base import Dialect, Operation
from astronomer_remote.api.dialects.v1 import V1Dialect
from astronomer_remote.api.dialects.v2 import V2Dialect
from astronomer_remote.api.protocol.models import DagRun, Pool, TriggerIntent, Version
from astronomer_remote.get_provider_info import get_provider_info
from astronomer_remote.hooks.astronomer import AstronomerHook
from astronomer_remote.triggers import event as event_triggers
from tests.live.tables import PAIR_TABLES

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {str(path.relative_to(DOCS)): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
CODE = [
    pytest.param(code, id=f"{page}-{number}")
    for page, text in PAGES.items()
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
]
DAGS = [param for param in CODE if "with DAG(" in str(param.values[0])]


def announced() -> list[type]:
    """Every operator and sensor that the provider announces."""
    info = get_provider_info()
    names = [name for kind in ("operators", "sensors") for each in info[kind] for name in each["python-modules"]]
    found = [cls for name in names for _, cls in inspect.getmembers(import_module(name), inspect.isclass)]
    public = [cls for cls in found if cls.__name__.startswith("Remote") and not cls.__module__.endswith(".base")]
    return [cls for cls in public if issubclass(cls, BaseOperator)]


@pytest.mark.parametrize("code", CODE)
def test_python_in_the_documentation_compiles(code: str) -> None:
    compile(code, "docs", "exec")


@pytest.mark.parametrize("code", DAGS)
def test_a_dag_in_the_documentation_is_what_airflow_takes(code: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(code, "docs", "exec"), names)  # our own
    ids = re.findall(r'with DAG\("([^"]+)"', code)
    assert len(ids) == 1
    assert "airflow.providers" in names["DAG"].__module__ or names["DAG"] is DAG


@pytest.mark.parametrize("cls", announced(), ids=lambda cls: cls.__name__)
def test_every_parameter_is_documented(cls: type) -> None:
    own = [
        name
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    documented = re.findall(r":param (\w+):", cls.__doc__ or "")
    assert own
    assert [name for name in own if name not in documented] == []


def test_the_reference_shows_what_is_public_and_nothing_else() -> None:
    info = get_provider_info()
    modules = [
        name for kind in ("operators", "sensors", "hooks") for each in info[kind] for name in each["python-modules"]
    ]
    modules += [f"astronomer_remote.{name}" for name in ("api.protocol.models", "map", "testing", "testing.fixtures")]
    public = [f"{name}.{each}" for name in modules for each in import_module(name).__all__]
    # Airflow 2 cannot import the first one.
    public += [f"astronomer_remote.assets.{name}" for name in ("remote_asset", "remote_dag_asset")]
    public += [f"astronomer_remote.triggers.event.{name}" for name in event_triggers.__all__]
    # The errors have their own section.
    logins = {name: getattr(auth, name) for name in auth.__all__ if not hasattr(exceptions, name)}
    public += [f"astronomer_remote.auth.{name}" for name, each in logins.items() if not get_args(each)]
    shown = re.findall(r"^\.\. auto(?:class|function):: (\S+)$", PAGES["reference.md"], re.MULTILINE)
    assert sorted(shown) == sorted(public)
    assert {f"{cls.__module__}.{cls.__name__}" for cls in announced()} <= set(shown)
    assert len(announced()) >= 14


def test_the_reference_shows_every_operation_of_the_hook() -> None:
    (methods,) = re.findall(r"AstronomerHook\n   :members: (.+)", PAGES["reference.md"])
    operations = {name.removeprefix("async_") for name in vars(AstronomerHook) if name.startswith("async_")}
    assert set(methods.split(", ")) == operations - {"run_flow", "driver", "settings"} | {"test_connection", "get_conn"}


def test_the_tree_of_exceptions_has_all_of_them() -> None:
    tree = re.findall(r"── (\w+)", exceptions.__doc__ or "")
    assert sorted(tree) == sorted(exceptions.__all__)
    assert ".. automodule:: astronomer_remote.exceptions\n" in PAGES["reference.md"]


def test_every_operation_of_the_hook_is_described() -> None:
    operations = {name.removeprefix("async_") for name in vars(AstronomerHook) if name.startswith("async_")}
    for name in operations - {"run_flow", "driver", "settings"}:
        assert f"`{name}`" in PAGES["hook.md"], name


def test_every_page_can_be_reached() -> None:
    for page in PAGES:
        if page != "index.md":
            assert re.search(rf"^{re.escape(page.removesuffix('.md'))}$", PAGES["index.md"], re.MULTILINE), page


def test_every_module_and_folder_of_the_page_on_architecture_exists() -> None:
    page, package = PAGES["architecture.md"], DOCS.parent / "astronomer_remote"
    tree = re.search(r"^```\nastronomer_remote/\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert tree
    api_at = tree[1].index("  api/")
    paths = re.findall(r"(?<=  )(\w+/|\w+\.py)(?=  )", tree[1][:api_at])
    in_api = re.findall(r"^    (\w+/|\w+\.py) ", tree[1][api_at:], re.MULTILINE)
    assert {"operators/", "sensors/", "compat.py"} <= set(paths)
    assert {"protocol/", "deployment.py"} <= set(in_api)
    shown = {package / path for path in paths} | {package / "api" / path for path in in_api}
    there = {path for folder in (package, package / "api") for path in folder.iterdir() if path.name[0] not in "_."}
    assert shown == there - {package / "api", package / "py.typed"}
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.\w+)?|\w+\.py)`", page))
    assert len(named) > 20
    for path in named:
        assert any((folder / path).exists() for folder in (package, package / "api", DOCS.parent)), path


def test_every_class_of_the_page_on_architecture_exists() -> None:
    code = "".join(path.read_text() for path in (DOCS.parent / "astronomer_remote").rglob("*.py"))
    named = re.findall(r"`([A-Z][a-z]\w+)(?:\.(\w+))?`", PAGES["architecture.md"])
    assert len(named) > 8
    for cls, method in named:
        assert re.search(rf"^class {cls}\b", code, re.MULTILINE), cls
        assert not method or re.search(rf"^    (async )?def {method}\b", code, re.MULTILINE), method
    for function in ("choose", "evaluate", "execute_complete", "on_kill", "ensure"):
        assert f"`{function}" in PAGES["architecture.md"]
        assert re.search(rf"^ *(async )?def {function}\(", code, re.MULTILINE), function


def texts_of_the_package() -> list[str]:
    """Each text in the code, with an ellipsis for what is filled in."""
    texts = []
    for path in (DOCS.parent / "astronomer_remote").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                parts = (each.value if isinstance(each, ast.Constant) else "…" for each in node.values)
                texts.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return texts


def test_troubleshooting_quotes_errors_as_they_are() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \| ", PAGES["troubleshooting.md"], re.MULTILINE)
    quoted = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    assert len(quoted) > 10
    texts = texts_of_the_package()
    for text in quoted:
        # What an Airflow is called is filled in, too.
        for part in re.sub(r"^Airflow \S+( experimental API)?(?= cannot)", "", text).split("…"):
            assert any(part.strip() in each for each in texts), part


def test_every_picture_is_shown_and_small() -> None:
    texts = [(DOCS.parent / "README.md").read_text(), *PAGES.values()]
    pictures = sorted(DOCS.glob("pictures/*.png"))
    assert pictures
    for picture in pictures:
        assert any(f"pictures/{picture.name})" in text for text in texts), picture.name
        assert picture.stat().st_size <= 150_000, picture.name


def test_every_field_of_a_connection_is_explained() -> None:
    rows = dict(re.findall(r"^\| ([^|]+) \| `(\w+)` \| [^|]+ \|$", PAGES["connect/index.md"], re.MULTILINE))
    fields = {field.label: field.name for field in info.FIELDS}
    standard = {label: name for name, label in info.RELABELING.items()}
    assert {"Deployment URL", "User name"} <= standard.keys()
    assert set(rows.values()) == {*fields.values(), *standard.values()}
    assert {label: rows.get(label) for label in fields} == fields


def test_every_choice_of_a_connection_is_explained() -> None:
    for field in info.FIELDS:
        for choice in field.choices:
            assert f"`{choice}`" in PAGES["connect/index.md"]


@pytest.mark.parametrize("remote", [V1Dialect("", Version("2.11.2")), V2Dialect("", Version("3.3.2"))])
def test_the_permissions_are_those_that_errors_name(remote: Dialect) -> None:
    run, pool = DagRun("dag", "run"), Pool("pool", 1)
    operations: dict[str, list[Operation[Any]]] = {
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
        "list assets": [remote.assets(), remote.asset_events()],
        "read the configuration": [remote.config()],
    }
    for action, described in operations.items():
        lines = re.search(rf"^\| {action}[^|]*\| (\w+)", PAGES["connect/permissions.md"], re.MULTILINE)
        assert lines
        assert {operation.least_role for operation in described} == {lines[1]}


def test_the_table_of_versions_is_the_results_of_the_live_tests() -> None:
    for table in PAIR_TABLES:
        assert table.shown() == table.due()


def test_the_page_about_installation_lists_the_dependencies() -> None:
    project = (DOCS.parent / "pyproject.toml").read_text()
    dependencies = project[
        project.index("\ndependencies = [") : project.index("\n]", project.index("\ndependencies = ["))
    ]
    floors = sorted(re.findall(r'^    "([\w-]+)>=([\d.]+)",$', dependencies, re.MULTILINE))
    assert len(floors) == dependencies.count('",')
    shown = re.search(r"<!-- dependencies -->\n(.*?)<!-- end of dependencies -->", PAGES["install.md"], re.DOTALL)
    assert shown
    assert shown[1] == "| package | at least |\n| --- | --- |\n" + "".join(
        f"| {name} | {version} |\n" for name, version in floors
    )


@pytest.mark.timeout(400)  # two DAG runs, each with Airflow's own start and end
def test_the_example_of_the_page_about_testing_runs_as_it_is_written(tmp_path: Path) -> None:
    page = PAGES["testing.md"]
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names = ["dags/orders.py", "conftest.py", "test_orders.py", "test_calls.py", "test_flows.py"]
    positions = [page.index(f"`{name}`") for name in names]
    assert positions == sorted(positions)
    (tmp_path / "dags").mkdir()
    for name, code in zip(names, blocks, strict=True):
        (tmp_path / name).write_text(code)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON", "PYTEST"))}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert "6 passed" in done.stdout
