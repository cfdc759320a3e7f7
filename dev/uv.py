"""
A uv that is new enough: the one on PATH, else one that is kept in the folder of everything made here.

``python -m dev.uv ARGUMENTS`` runs it.

This module runs in any Python from 3.8 on and needs nothing installed.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from dev.missing import InstallError, Missing
from dev.places import locked, subfolder
from dev.pythons import pythons

MINIMUM = (0, 8, 0)
"""The oldest that was tried with this project."""

# Whatever else the machine's pip is set to, it is to put uv into one folder, and to say nothing that worries people.
PIP_SETTINGS = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_NO_WARN_SCRIPT_LOCATION": "1",
    "PIP_REQUIRE_VIRTUALENV": "0",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_USER": "0",
}

# Where systems keep the certificate authorities that they trust; those of a company's own are there, too.
AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
TRUST = ("UV_SYSTEM_CERTS", "UV_NATIVE_TLS")
"""Variables that make uv trust those; older ones know only the second."""


def surroundings() -> dict[str, str]:
    """Return the environment variables to run uv with: those of this process, less what would mislead it."""
    kept = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    if any(map(os.path.exists, AUTHORITIES)) and not any(name in kept for name in TRUST):
        kept.update(dict.fromkeys(TRUST, "1"))
    return kept


def uv() -> list[str]:
    """
    Return the command that runs uv, which is installed on first use.

    :raises Missing: when no Python here has pip or venv to install it with.
    """
    own = subfolder("uv") / "bin" / "uv"
    candidates = [shutil.which("uv"), str(own)]
    for path in filter(None, candidates):
        if _version([path]) >= MINIMUM:
            return [path]
    if importlib.util.find_spec("uv") and _version([sys.executable, "-m", "uv"]) >= MINIMUM:
        return [sys.executable, "-m", "uv"]
    with locked(subfolder("uv").with_suffix(".lock")):
        if _version([str(own)]) < MINIMUM:
            _install(own.parent.parent)
    return [str(own)]


def _version(command: list[str]) -> tuple[int, ...]:
    """Return the version that the command says it is; nothing, which is less than any, when it does not run."""
    try:
        done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError):
        return ()
    found = re.match(r"uv (\d+)\.(\d+)\.(\d+)", done.stdout)
    return tuple(map(int, found.groups())) if found and not done.returncode else ()


def _install(folder: Path) -> None:
    """Put uv into a folder of its own by the first Python that has the means."""
    requirement = f"uv>={'.'.join(map(str, MINIMUM))}"
    said = []
    for python in dict.fromkeys([sys.executable, *(each.path for each in pythons().found)]):
        for commands in _ways(python, folder, requirement):
            shutil.rmtree(folder, ignore_errors=True)
            failed = next((error for error in map(_run, commands) if error), "")
            if not failed and _version([str(folder / "bin" / "uv")]) >= MINIMUM:
                return
            said.append(f"{python}: {failed or 'the uv that it installed does not run'}")
    if all("No module named" in text or "ensurepip" in text for text in said):
        raise Missing(
            "This project",
            f"needs uv {'.'.join(map(str, MINIMUM))} or later; none is on PATH, and no Python here has pip or venv to "
            "fetch it with",
            "Install uv or, for Debian's Python, one of: apt install python3-pip, apt install python3-venv",
        )
    raise InstallError("uv could not be installed:\n" + "\n".join(said))


def _ways(python: str, folder: Path, requirement: str) -> Iterator[list[list[str]]]:
    """Yield the ways to install; the first works in an externally managed Python, too, since it leaves it alone."""
    yield [[python, "-m", "pip", "install", "--quiet", "--upgrade", "--target", str(folder), requirement]]
    pip = str(folder / "bin" / "python")
    yield [[python, "-m", "venv", str(folder)], [pip, "-m", "pip", "install", "--quiet", requirement]]


def _run(command: list[str]) -> str:
    """Run a command. Return what it said if it failed, else nothing."""
    env = {key: value for key, value in os.environ.items() if key not in {"PIP_TARGET", "PIP_PREFIX", "PYTHONPATH"}}
    done = subprocess.run(command, env={**env, **PIP_SETTINGS}, capture_output=True, text=True, check=False)
    return (done.stderr.strip() or done.stdout.strip() or "failed")[-1500:] if done.returncode else ""


if __name__ == "__main__":
    arguments = [*uv(), *sys.argv[1:]]
    os.execvpe(arguments[0], arguments, surroundings())  # noqa: S606
