"""A uv that is new enough is used; an old one is not, and one is fetched without touching a Python's own packages."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from dev import uv as module
from dev.missing import InstallError, Missing
from dev.places import HOME_VARIABLE
from dev.pythons import Pythons
from dev.uv import MINIMUM, surroundings, uv

NEW = ".".join(map(str, MINIMUM))

# A stand-in for a Python: writes down how pip is called, and puts a uv where it is to go.
FAKE_PYTHON = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
with open(os.environ["FAKE_CALLS"], "a") as calls:
    calls.write(json.dumps([sys.argv[1:], {{k: v for k, v in os.environ.items() if k.startswith("PIP_")}}]) + "\\n")
way = sys.argv[2]
if way in os.environ.get("FAKE_LACKS", "").split(","):
    sys.exit(f"{{sys.argv[0]}}: No module named {{way}}")
if way == "pip":
    if os.environ.get("FAKE_FAILS"):
        sys.exit("no matching distribution")
    into = Path(sys.argv[sys.argv.index("--target") + 1]) if "--target" in sys.argv else Path(sys.argv[0]).parents[1]
    (into / "bin").mkdir(parents=True, exist_ok=True)
    (into / "bin" / "uv").write_text("#!/bin/sh\\necho 'uv {NEW} (fetched)'\\n")
    (into / "bin" / "uv").chmod(0o755)
elif way == "venv":
    made = Path(sys.argv[3]) / "bin"
    made.mkdir(parents=True)
    (made / "python").write_text(Path(__file__).read_text().replace("FAKE_LACKS", "NOTHING"))
    (made / "python").chmod(0o755)
"""


@pytest.fixture(autouse=True)
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with one Python, and without uv."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("FAKE_CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(module, "pythons", lambda: Pythons([]))
    python = tmp_path / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    return tmp_path / "calls"


def on_path(tmp_path: Path, version: str) -> str:
    path = tmp_path / "bin" / "uv"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\necho 'uv {version} (fake)'\n")
    path.chmod(0o755)
    return str(path)


def pip_calls(calls: Path) -> list[tuple[list[str], dict[str, str]]]:
    return [tuple(json.loads(line)) for line in calls.read_text().splitlines()] if calls.exists() else []


def test_one_that_is_new_enough_is_used(tmp_path: Path, calls: Path) -> None:
    path = on_path(tmp_path, NEW)
    assert uv() == [path]
    assert pip_calls(calls) == []


@pytest.mark.parametrize("version", ["0.5.31", "0.7.22", "nonsense"])
def test_an_old_one_is_left_alone_and_another_is_fetched_once(tmp_path: Path, calls: Path, version: str) -> None:
    on_path(tmp_path, version)

    own = [str(tmp_path / "home" / "uv" / "bin" / "uv")]
    assert uv() == own
    assert uv() == own
    assert len(pip_calls(calls)) == 1


def test_pip_puts_it_into_a_folder_of_its_own_and_says_nothing_that_worries(
    calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_REQUIRE_VIRTUALENV", "1")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("PIP_USER", "1")
    uv()

    ((arguments, settings),) = pip_calls(calls)
    assert "--target" in arguments
    assert settings["PIP_REQUIRE_VIRTUALENV"] == settings["PIP_USER"] == "0"
    assert settings["PIP_ROOT_USER_ACTION"] == "ignore"
    assert settings["PIP_DISABLE_PIP_VERSION_CHECK"] == "1"
    assert "PIP_TARGET" not in settings


def test_a_python_without_pip_may_have_venv(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_LACKS", "pip")
    assert uv()
    assert [arguments[1] for arguments, _ in pip_calls(calls)] == ["pip", "venv", "pip"]


def test_a_python_with_neither_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_LACKS", "pip,venv")
    with pytest.raises(Missing, match=r"no Python here has pip or venv .* apt install python3-pip"):
        uv()


def test_a_failure_says_what_pip_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAILS", "1")
    with pytest.raises(InstallError, match="no matching distribution"):
        uv()
    assert not (tmp_path / "home" / "uv" / "bin" / "uv").exists()


def test_uv_trusts_the_authorities_that_the_system_trusts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in module.TRUST:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "AUTHORITIES", (str(tmp_path / "authorities"),))
    assert "UV_SYSTEM_CERTS" not in surroundings()

    (tmp_path / "authorities").touch()
    assert surroundings()["UV_SYSTEM_CERTS"] == surroundings()["UV_NATIVE_TLS"] == "1"

    monkeypatch.setenv("UV_SYSTEM_CERTS", "0")
    assert surroundings()["UV_SYSTEM_CERTS"] == "0"
    assert "UV_NATIVE_TLS" not in surroundings()
