"""
A Chromium for the browser tests: the machine's own, else Debian's package, else the one that Playwright downloads.

This module runs in any Python from 3.8 on and needs nothing installed; it uses Playwright if that is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from dev.missing import Missing

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = (
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
PLAYWRIGHTS = "from playwright.sync_api import sync_playwright as s\nwith s() as p: print(p.chromium.executable_path)"
SECONDS_TO_ANSWER = 60.0


def own() -> str | None:
    """Return this machine's Chromium or Chrome. It must run: Ubuntu has a command of that name that is none."""
    for candidate in (*map(shutil.which, NAMES), *MAC):
        if candidate and _runs(candidate):
            return candidate
    return None


def executable() -> str | None:
    """Return the browser to use, run from an environment that has Playwright; None if there is none."""
    found = own()
    if found:
        return found
    done = _run(sys.executable, "-c", PLAYWRIGHTS)
    path = done.stdout.strip() if done and not done.returncode else ""
    return path if path and _runs(path) else None


def obtainable() -> bool:
    """Return whether there is a browser, or one may come with a download."""
    return os.environ.get("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "") in {"", "0"} or _debian() or own() is not None


def plan() -> str:
    """Return what is going to be done for a browser, nothing if there is one."""
    if own() or not obtainable():
        return ""
    if _debian():
        return "there is no Chromium here; Debian's package is going to be installed"
    return "there is no Chromium here; unless Playwright has one already, it downloads one"


def missing(why: str = "needs Chromium, which is not here") -> Missing:
    """Return the error for tests that lack a browser."""
    return Missing("The browser tests", why, "Install it (such as: apt install chromium)")


def provide() -> str:
    """
    Return the browser to use, installed if need be.

    :raises Missing: when none can be installed.
    """
    found = executable()
    if found:
        return found
    said = []
    if _debian():
        print("Installing Debian's package chromium.", flush=True)
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
        ):
            done = _run(*command, env=env, seconds=900)
            if done is None or done.returncode:
                said.append(f"{' '.join(command[:2])} failed")
        found = own()
        if found:
            return found
    print("Downloading Playwright's Chromium.", flush=True)
    done = _run(sys.executable, "-m", "playwright", "install", "chromium", seconds=900)
    if done is None or done.returncode:
        said.append("Playwright's download failed")
    found = executable()
    if found:
        return found
    raise missing(f"needs Chromium, which is not here: {'; '.join(said) or 'the one that was installed does not run'}")


def _debian() -> bool:
    """Return whether Debian's package can be installed without a prompt."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _runs(path: str) -> bool:
    if not Path(path).exists():
        return False
    done = _run(path, "--version")
    return done is not None and not done.returncode and "Chrom" in done.stdout


def _run(
    *command: str, env: dict[str, str] | None = None, seconds: float = SECONDS_TO_ANSWER
) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
