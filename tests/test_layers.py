"""The contracts in pyproject.toml let no import through that goes the wrong way."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="a tool of the newest environment only")

ROOT = Path(__file__).parent.parent


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    # Its path comes first, so that the copy is judged and not the package that is installed.
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    linter = "from importlinter.cli import lint_imports_command as lint; lint()"
    options = ["--no-cache", "--no-logo", "--config", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-c", linter, *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package that may be spoiled."""
    folder = tmp_path / "astronomer_remote"
    shutil.copytree(ROOT / "astronomer_remote", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_package_keeps_its_contracts(package: Path) -> None:
    done = lint(package.parent)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("api/protocol/models.py", "airflow.models"),
        ("api/protocol/models.py", "astronomer_remote.get_provider_info"),
        ("api/dialects/base.py", "astronomer_remote.api.client.client"),
        ("api/protocol/flow.py", "astronomer_remote.api.dialects.base"),
        ("api/transport/sync_driver.py", "astronomer_remote.api.client.client"),
        ("api/transport/sync_driver.py", "astronomer_remote.api.runs.runs"),
        ("api/client/client.py", "astronomer_remote.api.watch.watcher"),
        ("hooks/other.py", "astronomer_remote.operators.other"),
        ("operators/other.py", "astronomer_remote.sensors.other"),
        ("compat.py", "astronomer_remote.hooks.other"),
    ],
)
def test_an_import_that_goes_up_breaks_a_contract(package: Path, module: str, imported: str) -> None:
    for path in (module, "hooks/other.py", "operators/other.py", "sensors/other.py"):
        (package / path).parent.mkdir(exist_ok=True)
        (package / path).parent.joinpath("__init__.py").touch()
        (package / path).touch()
    with (package / module).open("a") as file:
        file.write(f"\nimport {imported}\n")
    done = lint(package.parent)
    assert done.returncode == 1, done.stdout + done.stderr
    edge = f"astronomer_remote.{module.removesuffix('.py').replace('/', '.')} -> {imported.split('.models')[0]}"
    # A long line is folded.
    assert edge in " ".join(done.stdout.split())
