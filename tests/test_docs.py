"""The documentation is true and complete; that its links lead somewhere, ``make docs`` checks."""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, BaseOperator

from astronomer_remote.get_provider_info import get_provider_info
from astronomer_remote.hooks.astronomer import AstronomerHook

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
    return [cls for cls in found if cls.__name__.startswith("Remote") and issubclass(cls, BaseOperator)]


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


def test_every_operator_and_sensor_is_in_the_reference() -> None:
    reference = PAGES["reference.md"]
    assert len(announced()) >= 14
    for cls in announced():
        assert f"automodule:: {cls.__module__}\n" in reference or f"{cls.__module__}.{cls.__name__}" in reference


def test_every_operation_of_the_hook_is_told() -> None:
    operations = {name.removeprefix("async_") for name in vars(AstronomerHook) if name.startswith("async_")}
    for name in operations - {"converse", "driver", "settings"}:
        assert f"`{name}`" in PAGES["hook.md"], name


def test_every_page_can_be_reached() -> None:
    for page in PAGES:
        if page != "index.md":
            assert re.search(rf"^{re.escape(page.removesuffix('.md'))}$", PAGES["index.md"], re.MULTILINE), page


def test_every_picture_is_shown_and_small() -> None:
    texts = [(DOCS.parent / "README.md").read_text(), *PAGES.values()]
    pictures = sorted(DOCS.glob("pictures/*.png"))
    assert pictures
    for picture in pictures:
        assert any(f"pictures/{picture.name})" in text for text in texts), picture.name
        assert picture.stat().st_size <= 150_000, picture.name
