"""Interpreters are found wherever people have them, and one that does not run is none."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest

from dev import pythons
from dev.pythons import ONLY_VARIABLE, Python, Pythons, search

ROOT = Path(__file__).parents[2]
BEGINNERS = (
    "bootstrap",
    "chromium",
    "environments",
    "loopback",
    "missing",
    "needs",
    "places",
    "pythons",
    "uv",
    "versions",
)


def fake(path: Path, version: str, *, lacks: str = "", usable: bool = True) -> Path:
    """Put an executable there that answers as that Python would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    numbers = ", ".join(version.split("."))
    lacking = f'"{lacks}"' if lacks else ""
    path.write_text(f"#!/bin/sh\necho '[\"{path}\", [{numbers}], {str(usable).lower()}, [{lacking}]]'\n")
    path.chmod(0o755)
    return path


def broken(path: Path) -> Path:
    """Put a shim there as pyenv has it for a version that is not switched on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho 'pyenv: {path.name}: command not found' >&2\nexit 127\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any Python."""
    home = tmp_path / "home"
    home.mkdir()
    for name in (ONLY_VARIABLE, "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME", "RUNNER_TOOL_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AGENT_TOOLSDIRECTORY", raising=False)
    monkeypatch.setenv("HOME", str(home))
    # /bin/sh, which the stand-ins are run by, is found by its path.
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(pythons, "SYSTEM_FOLDERS", (str(tmp_path / "system"),))
    return tmp_path


def versions() -> list[str]:
    return [".".join(map(str, python.full)) for python in search().found]


@pytest.mark.parametrize(
    "where",
    [
        "bin/python3.12",
        "bin/python",
        "home/.pyenv/versions/3.12.1/bin/python3.12",
        "home/.local/share/uv/python/cpython-3.12.1-linux-x86_64-gnu/bin/python3.12",
        "system/python3",
    ],
)
def test_it_is_found(machine: Path, where: str) -> None:
    fake(machine / where, "3.12.1")

    assert versions() == ["3.12.1"]


@pytest.mark.parametrize(
    ("variable", "value", "where"),
    [
        ("PYENV_ROOT", "py", "py/versions/3.12.1/bin/python3"),
        ("UV_PYTHON_INSTALL_DIR", "uvs", "uvs/cpython-3.12.1-linux/bin/python3"),
        ("XDG_DATA_HOME", "data", "data/uv/python/cpython-3.12.1-linux/bin/python3"),
        ("RUNNER_TOOL_CACHE", "tools", "tools/Python/3.12.1/x64/bin/python3"),
    ],
)
def test_it_is_found_where_a_variable_says(
    machine: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, where: str
) -> None:
    monkeypatch.setenv(variable, str(machine / value))
    fake(machine / where, "3.12.1")

    assert versions() == ["3.12.1"]


def test_the_command_pyenv_shows_its_folder(machine: Path) -> None:
    fake(machine / "pyenv" / "bin" / "pyenv", "0.0.0")
    (machine / "bin").mkdir()
    (machine / "bin" / "pyenv").symlink_to(machine / "pyenv" / "bin" / "pyenv")
    fake(machine / "pyenv" / "versions" / "3.10.13" / "bin" / "python3", "3.10.13")

    assert versions() == ["3.10.13"]


def test_a_shim_of_a_version_that_is_not_switched_on_is_none(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shims = machine / "home" / ".pyenv" / "shims"
    broken(shims / "python3.12")
    fake(shims / "python3.11", "3.11.7")
    monkeypatch.setenv("PATH", str(shims))

    assert versions() == ["3.11.7"]


def test_what_is_no_usable_python_is_none(machine: Path) -> None:
    fake(machine / "bin" / "python2", "2.7.18")
    fake(machine / "bin" / "python3.7", "3.7.16")
    fake(machine / "bin" / "python3.13", "3.13.0", usable=False)
    (machine / "bin" / "python3.9").write_text("no program")
    (machine / "bin" / "python3.10").mkdir()
    fake(machine / "bin" / "python3-config", "3.12.1")
    (machine / "bin" / "python3.11").symlink_to(machine / "nowhere")

    assert search().found == []


def test_one_interpreter_is_found_once_under_all_its_names(machine: Path) -> None:
    fake(machine / "bin" / "python3.12", "3.12.1")
    for name in ("python3", "python"):
        (machine / "bin" / name).symlink_to("python3.12")

    assert versions() == ["3.12.1"]


def test_path_is_searched_first_and_newer_patches_before_older(machine: Path) -> None:
    fake(machine / "bin" / "python3.12", "3.12.1")
    for version in ("3.12.9", "3.12.10"):
        fake(machine / "home" / ".pyenv" / "versions" / version / "bin" / "python3.12", version)

    assert versions() == ["3.12.1", "3.12.10", "3.12.9"]
    first = search().first_of([(3, 11), (3, 12)])
    assert first is not None
    assert first.full == (3, 12, 1)


@pytest.mark.parametrize("entry", ["opt", "opt/bin", "opt/bin/python3.10"])
def test_a_variable_limits_the_search(machine: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    fake(machine / "bin" / "python3.12", "3.12.1")
    fake(machine / "system" / "python3.11", "3.11.2")
    fake(machine / "opt" / "bin" / "python3.10", "3.10.13")
    monkeypatch.setenv(ONLY_VARIABLE, str(machine / entry))

    assert versions() == ["3.10.13"]


def test_a_python_compiled_without_a_module_gives_way_and_is_named_with_the_reason(machine: Path) -> None:
    fake(machine / "bin" / "python3.12", "3.12.1", lacks="sqlite3")
    assert search().first_of([(3, 12)]) is None
    assert "3.12.1 (" in str(search())
    assert "without sqlite3" in str(search())

    whole = fake(machine / "system" / "python3.12", "3.12.2")
    found = search().first_of([(3, 12)])
    assert found is not None
    assert found.path == str(whole)


def test_a_real_one_is_inspected(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ONLY_VARIABLE, sys.executable)

    (found,) = search().found
    assert found.full == sys.version_info[:3]
    assert found.lacks == ()
    assert os.access(found.path, os.X_OK)


def test_they_are_named_for_people() -> None:
    assert str(Pythons([])) == "none"
    assert str(Pythons([Python("/a", (3, 12, 1)), Python("/b", (3, 10, 0))])) == "3.10.0 (/b), 3.12.1 (/a)"


@pytest.mark.parametrize("name", BEGINNERS)
def test_what_runs_first_is_written_for_python_3_8(name: str) -> None:
    ast.parse((ROOT / "dev" / f"{name}.py").read_text(), feature_version=(3, 8))


def test_what_runs_first_imports_nothing_but_its_like(tmp_path: Path) -> None:
    import subprocess

    code = "import sys, dev.bootstrap; print(*sorted(m for m in sys.modules if m.startswith('dev.')))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=ROOT,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {each.removeprefix("dev.") for each in done.stdout.split()} <= {*BEGINNERS, "bootstrap"}


def test_what_runs_first_runs_in_python_3_8(monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    monkeypatch.undo()
    oldest = pythons.pythons().first_of([(3, 8)])
    if oldest is None:
        pytest.skip("no Python 3.8 here")
    done = subprocess.run(
        [oldest.path, "-m", "dev.bootstrap", "demo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "Pythons on this machine" in done.stdout, done.stderr
