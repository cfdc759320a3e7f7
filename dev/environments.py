"""Virtual environments holding one version of Airflow each, made by uv and kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dev.places import ROOT, locked, subfolder
from dev.versions import Version

MARKER = "complete.json"
# Imported in the new environment: an editable project whose entry point is broken is silently skipped by
# Airflow, and every later test would fail for a reason that is hard to see.
CHECK_ENTRY_POINT = """
from importlib.metadata import entry_points
found = [e for e in entry_points(group="apache_airflow_provider") if e.value.startswith("astronomer_remote")]
assert found, "the project's apache_airflow_provider entry point is not registered"
print(found[0].load()()["package-name"])
"""


class InstallError(RuntimeError):
    """An environment could not be made; the text holds what the failing command said."""


@dataclass(frozen=True)
class Recipe:
    """Everything that goes into an environment; its hash names the environment's folder."""

    version: str
    python: str
    exclude_newer: str | None
    requirements: tuple[str, ...]
    project: str | None

    @property
    def name(self) -> str:
        """Return a folder name that tells people what is inside and differs whenever the recipe does."""
        digest = hashlib.sha256(json.dumps(vars(self), sort_keys=True).encode()).hexdigest()[:10]
        kind = "-project" if self.project is not None else ""
        return f"airflow-{self.version}-py{self.python}{kind}-{digest}"


def environment(
    version: str,
    *,
    extras: Sequence[str] = (),
    project: bool = False,
    wheel: Path | None = None,
    python: str | None = None,
    exclude_newer: str | None = None,
) -> Path:
    """Return a ready virtual environment with this version of Airflow, made on first use.

    `extras` are further requirement strings. With `project` this repository is installed editable, with `wheel` that
    file in its place.
    `python` and `exclude_newer` override the rules of :mod:`dev.versions` (``exclude_newer=""``: no date).
    """
    line = Version.parse(version).line
    date = line.exclude_newer if exclude_newer is None else exclude_newer or None
    recipe = Recipe(
        version=version,
        python=python or line.python,
        exclude_newer=date,
        requirements=(f"apache-airflow=={version}", *line.pins, *sorted(extras)),
        project=_identity(wheel) if wheel else _identity(ROOT / "pyproject.toml") if project else None,
    )
    source = [str(wheel)] if wheel else ["-e", str(ROOT)]
    folder = subfolder("envs") / recipe.name
    if (folder / MARKER).exists():
        return folder
    with locked(folder.with_name(f"{folder.name}.lock")):
        if not (folder / MARKER).exists():
            _build(folder, recipe, source)
    return folder


def _identity(file: Path) -> str:
    """Return what tells one state of the project from others; several checkouts may share their environments."""
    return f"{file}\n{hashlib.sha256(file.read_bytes()).hexdigest()}"


def _build(folder: Path, recipe: Recipe, source: Sequence[str]) -> None:
    """Make the environment in place (its scripts hold absolute paths) and mark it complete as the last act."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _uv("venv", "--no-project", "--python", recipe.python, str(folder))
        install = ["pip", "install", "--python", str(folder / "bin" / "python")]
        dated = ["--exclude-newer", recipe.exclude_newer] if recipe.exclude_newer else []
        _uv(*install, *dated, *recipe.requirements)
        if recipe.project is not None:
            # As a user would: into an Airflow of its time come the newer providers that this project needs, no more.
            _uv(*install, *recipe.requirements, *source)
            _check_project(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    facts = {key: value for key, value in vars(recipe).items() if key != "project"}
    (folder / MARKER).write_text(json.dumps(facts, indent=2))


def _check_project(folder: Path) -> None:
    """Load the project's entry point as Airflow would."""
    _command([str(folder / "bin" / "python"), "-c", CHECK_ENTRY_POINT])


def _uv(*arguments: str) -> None:
    """Run uv: the command when there is one, else the module of this interpreter."""
    found = shutil.which("uv")
    _command([*([found] if found else [sys.executable, "-m", "uv"]), *arguments])


def _command(command: list[str]) -> None:
    clean = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    done = subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InstallError(f"{' '.join(command)}\nended with {done.returncode}:\n{done.stderr.strip()[-4000:]}")
