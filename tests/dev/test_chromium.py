"""A browser that runs is found, installed where that is possible, and missing otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from dev import bootstrap, chromium, missing
from dev.missing import Missing

PYTHON = sys.executable

# Stands for apt-get, and for a Python that has Playwright.
FAKE = """#!{python}
import os, sys
from pathlib import Path
with open({calls!r}, "a") as calls:
    print(*sys.argv[1:], file=calls)
if os.environ.get("FAKE_FAILS"):
    sys.exit(1)
if "install" in sys.argv:
    path = Path({made!r})
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\\necho Chromium 120\\n")
    path.chmod(0o755)
elif "-c" in sys.argv:
    print({made!r})
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without a browser, whose user is not root."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(chromium, "MAC", ())
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(missing, "RECORD", tmp_path / "record")
    for name in (*missing.STRICT_VARIABLES, "PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD"):
        monkeypatch.delenv(name, raising=False)
    fake(tmp_path / "python", tmp_path, tmp_path / "cache" / "chrome")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    return tmp_path


def fake(path: Path, machine: Path, made: Path) -> None:
    path.write_text(FAKE.format(python=PYTHON, calls=str(machine / "calls"), made=str(made)))
    path.chmod(0o755)


def browser(path: Path, says: str = "Chromium 120") -> str:
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize("name", chromium.NAMES)
def test_the_machines_own_is_taken(machine: Path, name: str) -> None:
    path = browser(machine / "bin" / name)
    assert chromium.provide() == path
    assert not (machine / "calls").exists()


def test_a_command_that_only_says_how_to_install_one_is_none(machine: Path) -> None:
    browser(machine / "bin" / "chromium-browser", says="Command requires the chromium snap to be installed")
    assert chromium.own() is None


def test_root_gets_debians_package(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    fake(machine / "bin" / "apt-get", machine, machine / "bin" / "chromium")
    assert chromium.provide() == str(machine / "bin" / "chromium")


@pytest.mark.parametrize("user", [0, 1000])
def test_where_there_is_no_such_package_playwright_fetches_one(
    machine: Path, monkeypatch: pytest.MonkeyPatch, user: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert chromium.provide() == str(machine / "cache" / "chrome")
    assert "-m playwright install chromium" in (machine / "calls").read_text()


def test_without_any_the_tests_are_skipped_or_nothing_continues(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FAKE_FAILS", "1")
    with pytest.raises(Missing, match="needs Chromium, which is not here: Playwright's download failed"):
        chromium.provide()
    bootstrap.main(["chromium"])
    assert "Playwright's download failed" in capsys.readouterr().out

    monkeypatch.setenv("CI", "true")
    with pytest.raises(SystemExit, match="Playwright's download failed"):
        bootstrap.main(["chromium"])
