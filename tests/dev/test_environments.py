"""Environments are made once, completely or not at all, and identified by everything that goes into them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from dev import environments
from dev.environments import InstallError, Missing, environment
from dev.places import HOME_VARIABLE
from dev.pythons import DOWNLOADS_VARIABLE, Python, Pythons, minor

# A stand-in for uv that writes down how it is called and makes what `uv venv` would.
FAKE_UV = f"""#!{sys.executable}
import json, os, sys
from pathlib import Path
with open(os.environ["FAKE_UV_CALLS"], "a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if sys.argv[1] == "--version":
    print("uv 99.0.0 (fake)")
elif sys.argv[1] == "venv":
    if os.environ.get("FAKE_UV_FAILS") == "venv":
        sys.exit("no such download")
    (Path(sys.argv[-1]) / "bin").mkdir(parents=True)
elif os.environ.get("FAKE_UV_FAILS"):
    sys.exit("no solution found")
else:
    sys.stderr.write(os.environ.get("FAKE_UV_SAYS", ""))
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
    monkeypatch.delenv(DOWNLOADS_VARIABLE, raising=False)
    have(monkeypatch)
    return tmp_path / "calls"


def have(monkeypatch: pytest.MonkeyPatch, *versions: str) -> None:
    """Give this machine these Pythons and no others."""
    found = Pythons(Python(f"/opt/{each}/python", (*minor(each), 1)) for each in versions)
    monkeypatch.setattr(environments, "pythons", lambda: found)


def made(calls: Path) -> list[list[str]]:
    found = [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []
    return [each for each in found if each != ["--version"]]


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
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.10,<3.14"\n')
    first = environment("3.0.6", project=True)
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.10,<3.14"\ndependencies = []\n')

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


@pytest.mark.parametrize(
    ("here", "used"),
    [
        (("3.10", "3.11", "3.12"), "3.11"),
        (("3.10", "3.12", "3.13"), "3.12"),
        (("3.9", "3.10"), "3.10"),
    ],
)
def test_an_environment_is_made_with_the_best_python_that_is_here(
    calls: Path, monkeypatch: pytest.MonkeyPatch, here: tuple[str, ...], used: str
) -> None:
    have(monkeypatch, *here)

    assert f"-py{used}-" in environment("2.11.2").name
    venv = made(calls)[0]
    assert venv[venv.index("--python") + 1] == f"/opt/{used}/python"


def test_a_python_is_downloaded_only_if_none_is_here(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    have(monkeypatch, "3.13")

    environment("2.11.2", report=said.append)
    venv = made(calls)[0]
    assert venv[venv.index("--python") + 1] == "3.11"
    assert any("uv will download it" in each for each in said)


def test_where_downloads_are_forbidden_the_error_says_what_is_needed_what_is_here_and_what_to_do(
    calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DOWNLOADS_VARIABLE, "never")
    have(monkeypatch, "3.13")

    with pytest.raises(Missing) as caught:
        environment("2.11.2")
    assert "Airflow 2.11.2 needs Python 3.10, 3.11 or 3.12" in str(caught.value)
    assert "3.13.1 (/opt/3.13/python)" in str(caught.value)
    assert "uv python install 3.11" in str(caught.value)
    assert made(calls) == []


def test_a_download_that_fails_is_a_python_that_is_missing(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_UV_FAILS", "venv")

    with pytest.raises(Missing, match=r"Airflow 1\.10\.15 needs Python 3\.8, which .* uv could not download"):
        environment("1.10.15")


def test_an_environment_with_this_package_gets_a_python_that_both_support(
    calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DOWNLOADS_VARIABLE, "never")
    have(monkeypatch, "3.14")

    assert "-py3.14-" in environment("3.3.2").name
    with pytest.raises(Missing, match=r"needs Python 3\.10, 3\.11, 3\.12 or 3\.13"):
        environment("3.3.2", project=True)


def test_each_step_is_reported_with_what_uv_knows_of_it(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "FAKE_UV_SAYS",
        "Resolved 143 packages in 1.20s\nDownloading pandas (12.4MiB)\nPrepared 20 packages in 3s\n"
        "Installed 143 packages in 500ms\n + pandas==2.1\n",
    )
    said: list[str] = []
    environment("2.11.2", report=said.append)

    steps = ["143 packages chosen in 1.20s", "downloading pandas (12.4MiB)"]
    steps += ["20 packages downloaded and unpacked in 3s", "143 packages installed in 500ms"]
    assert [each for each in said if each in steps] == steps
    assert not any("+" in each for each in said)

    said.clear()
    environment("2.11.2", report=said.append)
    assert said == []
