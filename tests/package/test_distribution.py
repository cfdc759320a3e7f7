"""What is released: a wheel and an sdist that hold what they should, and work where only they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import astronomer_remote
from dev.environments import environment
from dev.places import ROOT
from dev.uv import surroundings

SMOKE = Path(__file__).with_name("smoke.py")
NAME = f"airflow_provider_astronomer_remote-{astronomer_remote.__version__}"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what ``python -m build`` makes: an sdist, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--installer", "uv", "--outdir", folder, ROOT],
        env={**surroundings(), "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    return built / f"{NAME}-py3-none-any.whl"


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return Parser().parsestr(archive.read(f"{NAME}.dist-info/METADATA").decode())


def tracked(*folders: str) -> set[str]:
    done = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return set(done.stdout.split())


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = {name for name in names if name.startswith(f"{NAME}.dist-info/")}
    assert names - about == tracked("astronomer_remote")
    assert f"{NAME}.dist-info/licenses/LICENSE" in about
    assert "astronomer_remote/py.typed" in names


def test_the_sdist_holds_what_its_tests_need(built: Path) -> None:
    with tarfile.open(built / f"{NAME}.tar.gz") as archive:
        names = {member.name.partition("/")[2] for member in archive if member.isfile()}
    assert tracked() - tracked(".github", ".ci") <= names


def test_the_metadata_says_what_people_and_installers_look_for(wheel: Path) -> None:
    about = metadata(wheel)
    assert (about["Name"], about["License-Expression"]) == ("airflow-provider-astronomer-remote", "Apache-2.0")
    assert about["Requires-Python"] == "<3.14,>=3.10"
    assert "Framework :: Apache Airflow :: Provider" in about.get_all("Classifier", [])
    assert any(each.startswith("apache-airflow>=2.11") for each in about.get_all("Requires-Dist", []))
    assert about.get_payload().startswith("# ")


def test_the_changelog_tells_of_this_version() -> None:
    assert f" {astronomer_remote.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.timeout(900)  # on the first run, everything that Airflow needs is fetched
@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_it_works_where_nothing_but_airflow_and_the_wheel_is_installed(
    version: str, wheel: Path, tmp_path: Path
) -> None:
    clean = environment(version, wheel=wheel)
    try:
        # Isolated, so that nothing is imported from here.
        command = [clean / "bin" / "python", "-I", SMOKE, tmp_path]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    finally:
        shutil.rmtree(clean)
    assert done.stdout.endswith("works\n"), (done.stdout + done.stderr)[-5000:]
