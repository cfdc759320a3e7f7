"""
The Pythons of this machine, each tried by running it.

They are searched on PATH, in pyenv's folder, among those that uv manages, in the tool cache of GitHub's runners and in
the usual folders of systems. What does not run does not count: pyenv puts a command on PATH for each version that is
installed, but only those that are switched on start.

This module runs in any Python from 3.8 on and needs nothing installed, as all that runs before ``make venv``.
"""

from __future__ import annotations

import glob
import json
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Minor = tuple[int, int]

ONLY_VARIABLE = "ASTRONOMER_REMOTE_DEV_PYTHONS"
"""Folders or interpreters, separated as in PATH. If it is set, Pythons are searched there and nowhere else."""

DOWNLOADS_VARIABLE = "UV_PYTHON_DOWNLOADS"
"""uv's own variable; with ``never`` or ``manual``, no Python is downloaded."""

NAMES = re.compile(r"python(3(\.\d+)?)?(\.exe)?$")
SECONDS_TO_ANSWER = 20.0
# Airflow needs these modules; a Python that was compiled without the library behind one of them lacks it.
NEEDED = ("ssl", "sqlite3", "ctypes", "lzma", "bz2")
QUESTION = f"""
import importlib, json, platform, sys, sysconfig
lacks = []
for name in {NEEDED!r}:
    try:
        importlib.import_module(name)
    except ImportError:
        lacks.append(name)
plain = platform.python_implementation() == "CPython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
base = getattr(sys, "_base_executable", None) or sys.executable
print(json.dumps([base, list(sys.version_info[:3]), plain and sys.version_info.releaselevel == "final", lacks]))
"""
SYSTEM_FOLDERS = (
    "/usr/local/bin",
    "/usr/bin",
    "/opt/homebrew/bin",
    "/opt/local/bin",
    "/Library/Frameworks/Python.framework/Versions/*/bin",
)


def minor(text: str) -> Minor:
    """Return ``(3, 12)`` for ``3.12`` or ``3.12.1``."""
    major, second = text.split(".")[:2]
    return int(major), int(second)


def short(version: Minor) -> str:
    """Return ``3.12`` for ``(3, 12)``."""
    return f"{version[0]}.{version[1]}"


@dataclass(frozen=True)
class Python:
    """An interpreter that runs. `lacks` are modules that Airflow needs and that it was compiled without."""

    path: str
    full: tuple[int, int, int]
    lacks: tuple[str, ...] = ()

    @property
    def version(self) -> Minor:
        """The minor version, which decides what can be installed."""
        return self.full[:2]

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.full))} ({self.path})"


def downloads_allowed() -> bool:
    """Return whether uv may fetch a Python that this machine lacks."""
    return os.environ.get(DOWNLOADS_VARIABLE, "automatic").strip().lower() not in {"never", "manual", "false", "0"}


class Pythons:
    """The Pythons found, in the order of the search; at most one of each minor version is usable."""

    def __init__(self, found: Iterable[Python]) -> None:
        self.found: list[Python] = list(found)
        self._usable: dict[Minor, Python] = {}
        for python in self.found:
            if not python.lacks:
                self._usable.setdefault(python.version, python)

    def first_of(self, target: Iterable[Minor]) -> Python | None:
        """Return the Python of the first of these versions that is here, None if none is."""
        return next((self._usable[version] for version in target if version in self._usable), None)

    def __str__(self) -> str:
        """Name them, those that cannot be used with the reason."""
        usable = sorted(self._usable.values(), key=lambda python: python.full)
        texts = [str(python) for python in usable]
        for python in self.found:
            if python.lacks and python.version not in self._usable:
                texts.append(f"{python}, which cannot be used: compiled without {', '.join(python.lacks)}")
        return ", ".join(texts) or "none"


_cache: dict[tuple[str, ...], Pythons] = {}


def pythons() -> Pythons:
    """Search this machine; the result is kept while the environment variables that matter stay as they are."""
    names = (ONLY_VARIABLE, "PATH", "HOME", "PYENV_ROOT", "UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME")
    key = tuple(os.environ.get(name, "") for name in names)
    if key not in _cache:
        _cache[key] = search()
    return _cache[key]


def forget() -> None:
    """Make the next :func:`pythons` search again, after an installation."""
    _cache.clear()


def search() -> Pythons:
    """Try every candidate and return those that run, each once."""
    paths: dict[str, str] = {}
    for path in candidates():
        paths.setdefault(os.path.realpath(path) if not _is_shim(path) else path, path)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(_inspect, paths.values()))
    found: dict[str, Python] = {}
    for python in answers:
        if python is not None:
            found.setdefault(os.path.realpath(python.path), python)
    return Pythons(found.values())


def candidates() -> Iterator[str]:
    """Yield every file that may be an interpreter, in the order of preference."""
    only = os.environ.get(ONLY_VARIABLE)
    if only:
        for entry in filter(None, only.split(os.pathsep)):
            if os.path.isdir(entry):
                yield from _in_folder(entry)
                yield from _in_folder(os.path.join(entry, "bin"))
            else:
                yield entry
        return
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        yield from _in_folder(folder)
    for pattern in (*_pyenv(), *_uv(), *_tool_cache(), *SYSTEM_FOLDERS):
        for folder in sorted(glob.glob(pattern), key=_natural, reverse=True):
            yield from _in_folder(folder)


def _home() -> str:
    return os.path.expanduser("~")


def _pyenv() -> list[str]:
    """Return the folders of pyenv's versions; the command itself need not be on PATH."""
    roots = [os.environ.get("PYENV_ROOT", ""), os.path.join(_home(), ".pyenv")]
    command = shutil.which("pyenv")
    if command:
        # <root>/bin/pyenv, unless a package manager has put it elsewhere.
        root = Path(os.path.realpath(command)).parent.parent
        roots.append(str(root.parent if root.name == "libexec" else root))
    return [os.path.join(root, "versions", "*", "bin") for root in dict.fromkeys(roots) if root]


def _uv() -> list[str]:
    """Return the folders of the Pythons that uv manages, without running uv, which may not be installed yet."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(_home(), ".local", "share")
    roots = [os.environ.get("UV_PYTHON_INSTALL_DIR", ""), os.path.join(data, "uv", "python")]
    return [os.path.join(root, "cpython-*", "bin") for root in roots if root]


def _tool_cache() -> list[str]:
    root = os.environ.get("RUNNER_TOOL_CACHE") or os.environ.get("AGENT_TOOLSDIRECTORY")
    return [os.path.join(root, "Python", "*", "*", "bin")] if root else []


def _in_folder(folder: str) -> Iterator[str]:
    try:
        names = sorted(filter(NAMES.match, os.listdir(folder)), key=_natural)
    except OSError:
        return
    for name in names:
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            yield path


def _natural(text: str) -> list[tuple[int, str]]:
    """Sort 3.9 before 3.10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", text)]


def _is_shim(path: str) -> bool:
    """Return whether this is one of pyenv's or asdf's scripts, which may all be links to one file."""
    return os.path.basename(os.path.dirname(path)) == "shims"


def _inspect(path: str) -> Python | None:
    """Run a candidate; None if it is no Python 3 that could ever be used."""
    try:
        done = subprocess.run(
            [path, "-I", "-c", QUESTION],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS_TO_ANSWER,
            check=False,
        )
        base, version, usable, lacks = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if done.returncode or not usable or version < [3, 8]:
        return None
    return Python(base if os.path.exists(base) else path, tuple(version), tuple(lacks))
