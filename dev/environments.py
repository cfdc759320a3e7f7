"""Virtual environments holding one version of Airflow each, made by uv and kept."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dev.missing import InstallError, Missing
from dev.places import ROOT, locked, subfolder
from dev.pythons import ONLY_VARIABLE, downloads_allowed, minor, pythons
from dev.uv import surroundings, uv
from dev.versions import Release

__all__ = ["InstallError", "Missing", "environment"]

MARKER = "complete.json"
# Imported in the new environment: an editable project whose entry point is broken is silently skipped by
# Airflow, and every later test would fail for a reason that is hard to see.
CHECK_ENTRY_POINT = """
from importlib.metadata import entry_points
found = [e for e in entry_points(group="apache_airflow_provider") if e.value.startswith("astronomer_remote")]
assert found, "the project's apache_airflow_provider entry point is not registered"
print(found[0].load()()["package-name"])
"""


if TYPE_CHECKING:
    from collections.abc import Callable

    Report = Callable[[str], None]

STEPS = {
    re.compile(r"Resolved (\d+ packages?) in (.+)"): r"\1 chosen in \2",
    re.compile(r"Downloading (\S+) \((.+)\)"): r"downloading \1 (\2)",
    re.compile(r"Prepared (\d+ packages?) in (.+)"): r"\1 downloaded and unpacked in \2",
    re.compile(r"Installed (\d+ packages?) in (.+)"): r"\1 installed in \2",
    re.compile(r"Downloading (cpython\S+)"): r"downloading \1",
}
"""What uv says of its steps, and how that is passed on."""


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
        """Return a folder name that shows what is inside and changes with the recipe."""
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
    report: Report | None = None,
) -> Path:
    """Return a ready virtual environment with this version of Airflow, made on first use.

    `extras` are further requirement strings. With `project` this repository is installed editable, with `wheel` that
    file in its place.
    `python` and `exclude_newer` override the rules of :mod:`dev.versions` (``exclude_newer=""``: no date).
    `report` is called with a line about each step, if there is anything to do.

    :raises Missing: when this machine has no Python that this needs, and none may be downloaded.
    """
    line = Release.parse(version).line
    date = line.exclude_newer if exclude_newer is None else exclude_newer or None
    chosen = python or python_for(version, project=project or wheel is not None)
    recipe = Recipe(
        version=version,
        python=chosen,
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
            _build(folder, recipe, source, report or (lambda text: None))
    return folder


def supported(version: str, *, project: bool = False) -> tuple[str, ...]:
    """Return the Pythons that this version of Airflow runs in, with `project` those that this package does, too."""
    found = Release.parse(version).line.pythons
    return tuple(each for each in found if not project or each in own_pythons()) or found


def own_pythons() -> tuple[str, ...]:
    """Return the Pythons that this package supports, as its metadata says, the preferred one first."""
    text = (ROOT / "pyproject.toml").read_text()
    bounds = re.search(r'^requires-python = ">=3\.(\d+),<3\.(\d+)"', text, re.MULTILINE)
    if not bounds:
        raise InstallError("pyproject.toml does not say which Pythons this package supports")
    first, end = map(int, bounds.groups())
    every = [f"3.{number}" for number in range(first, end)]
    return tuple(sorted(every, key=lambda each: abs(int(each[2:]) - 12) + (each == "3.13") / 2))


def python_for(version: str, *, project: bool = False) -> str:
    """Return the Python that an environment is made with: the preferred one if it is here, else another one that is.

    :raises Missing: when there is none, and none may be downloaded.
    """
    target = supported(version, project=project)
    found = pythons().first_of(map(minor, target))
    if found is None:
        if not downloads_allowed():
            raise no_python(f"Airflow {version}", target)
        return target[0]
    return f"{found.version[0]}.{found.version[1]}"


def no_python(what: str, target: Sequence[str]) -> Missing:
    """Return the error that says which Python is needed, and how to get it."""
    ordered = sorted(target, key=minor)
    any_of = " or ".join([", ".join(ordered[:-1]), ordered[-1]] if len(ordered) > 1 else ordered)
    return Missing(
        what,
        f"needs Python {any_of}",
        f"Install it (uv python install {target[0]}, pyenv install {target[0]}) or name its folder in {ONLY_VARIABLE}",
        f"The Pythons on this machine: {pythons()}.",
    )


def interpreter(python: str) -> str:
    """Return the path of a Python such as ``3.12``, or that text, which lets uv download it.

    :raises Missing: when it is not here, and must not be downloaded.
    """
    if re.fullmatch(r"\d+\.\d+", python):
        found = pythons().first_of([minor(python)])
        if found is not None:
            return found.path
        if not downloads_allowed():
            raise no_python("An environment", [python])
    return python


def make(folder: Path, python: str, report: Report) -> None:
    """Make an empty virtual environment.

    :raises Missing: when the Python is not here and cannot be downloaded.
    """
    path = interpreter(python)
    if path == python:
        report(f"Python {python} is not on this machine; uv will download it")
    try:
        run_uv("venv", "--quiet", "--no-project", "--allow-existing", "--python", path, str(folder), report=report)
    except InstallError as error:
        if path == python:
            lacking = no_python("An environment", [python])
            why = f"{lacking.why}, which this machine lacks and uv could not download"
            raise Missing(lacking.what, why, lacking.how, lacking.found) from error
        raise


def _identity(file: Path) -> str:
    """Return an identifier of this state of the project; several checkouts may share their environments."""
    return f"{file}\n{hashlib.sha256(file.read_bytes()).hexdigest()}"


def _build(folder: Path, recipe: Recipe, source: Sequence[str], report: Report) -> None:
    """Make the environment in place (its scripts hold absolute paths) and mark it complete as the last act."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    report(f"installing Airflow {recipe.version} for Python {recipe.python}, once")
    try:
        try:
            make(folder, recipe.python, report)
        except Missing as error:
            raise Missing(f"Airflow {recipe.version}", error.why, error.how, error.found) from error
        install = ["pip", "install", "--python", str(folder / "bin" / "python")]
        dated = ["--exclude-newer", recipe.exclude_newer] if recipe.exclude_newer else []
        run_uv(*install, *dated, *recipe.requirements, report=report)
        if recipe.project is not None:
            # As a user would: into an Airflow of its time come the newer providers that this project needs, no more.
            report("installing this package and its dependencies")
            run_uv(*install, *recipe.requirements, *source, report=report)
            _check_project(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    facts = {key: value for key, value in vars(recipe).items() if key != "project"}
    (folder / MARKER).write_text(json.dumps(facts, indent=2))
    report(f"Airflow {recipe.version} is installed after {time.monotonic() - began:.0f} s")


def _check_project(folder: Path) -> None:
    """Load the project's entry point as Airflow would."""
    _command([str(folder / "bin" / "python"), "-c", CHECK_ENTRY_POINT], lambda text: None)


def run_uv(*arguments: str, report: Report) -> None:
    """Run uv, and pass on what it says of its steps."""
    _command([*uv(), *arguments], report)


def _command(command: list[str], report: Report) -> None:
    """Run a command, and pass on what it says of its steps while it does."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=surroundings(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            for pattern, step in STEPS.items():
                found = pattern.fullmatch(line.strip())
                if found:
                    report(found.expand(step))
    if process.returncode:
        raise InstallError(f"{' '.join(command)}\nexited with {process.returncode}:\n{''.join(said).strip()[-4000:]}")
