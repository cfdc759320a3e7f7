"""Environments are made once, at once or not at all, and told apart by everything that goes into them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dev import environments
from dev.environments import InstallError, environment
from dev.places import HOME_VARIABLE

# A stand-in for uv that writes down how it is called and makes what `uv venv` would.
FAKE_UV = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
with open(os.environ["FAKE_UV_CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "venv":
    (Path(sys.argv[-1]) / "bin").mkdir(parents=True)
elif os.environ.get("FAKE_UV_FAILS"):
    sys.exit("no solution found")
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fake = tmp_path / "bin" / "uv"
    fake.parent.mkdir()
    fake.write_text(FAKE_UV)
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(fake.parent))
    monkeypatch.setenv("FAKE_UV_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "calls"


def made(calls: Path) -> list[list[str]]:
    return [json.loads(line) for line in calls.read_text().splitlines()]


def test_an_environment_is_made_once_as_of_the_time_of_its_release(calls: Path) -> None:
    first = environment("1.10.15")

    assert environment("1.10.15") == first
    (venv, install) = made(calls)
    assert venv[:1] == ["venv"]
    assert venv[venv.index("--python") + 1] == "3.8"
    assert install[install.index("--exclude-newer") + 1] == "2021-06-01"
    assert {"apache-airflow==1.10.15", "sqlalchemy==1.3.24"} <= set(install)


def test_whatever_goes_in_makes_another_environment(calls: Path) -> None:
    paths = {
        environment("2.11.2"),
        environment("2.11.2", extras=["pytest"]),
        environment("2.11.2", python="3.12"),
        environment("2.11.2", exclude_newer="2026-04-01"),
        environment("2.11.2", exclude_newer=""),
        environment("2.11.0"),
    }

    assert len(paths) == 6
    assert environment("2.11.2", extras=["a", "b"]) == environment("2.11.2", extras=["b", "a"])


def test_the_project_is_installed_editable_and_its_configuration_counts(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "_check_project", lambda folder: None)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    first = environment("3.0.6", project=True)
    (tmp_path / "pyproject.toml").write_text("[project]\ndependencies = []\n")

    assert environment("3.0.6", project=True) != first
    airflow, project = made(calls)[1:3]
    assert project[-2:] == ["-e", str(tmp_path)]
    assert "apache-airflow==3.0.6" in airflow
    assert "apache-airflow==3.0.6" in project
    # What the project needs may be newer than this Airflow.
    assert "--exclude-newer" in airflow
    assert "--exclude-newer" not in project


def test_a_failed_install_leaves_nothing_and_says_what_uv_said(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_UV_FAILS", "1")
    with pytest.raises(InstallError, match="no solution found"):
        environment("3.3.2")

    monkeypatch.delenv("FAKE_UV_FAILS")
    assert environment("3.3.2").is_dir()


def test_a_half_made_environment_is_made_again(calls: Path) -> None:
    folder = environment("3.3.2")
    (folder / environments.MARKER).unlink()
    (folder / "leftover").touch()

    assert environment("3.3.2") == folder
    assert not (folder / "leftover").exists()


@pytest.mark.parametrize("text", ["2.11", "latest", ""])
def test_a_version_that_names_no_release_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a full Airflow version"):
        environment(text)
