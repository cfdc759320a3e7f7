"""What is released: a wheel and an sdist that hold what they should, whose metadata is right."""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import astronomer_remote
from dev.places import ROOT
from tests.package.conftest import NAME


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
    assert tracked() - tracked(".github", ".ci", ".readthedocs.yaml") <= names


def test_the_metadata_says_what_people_and_installers_look_for(wheel: Path) -> None:
    about = metadata(wheel)
    assert (about["Name"], about["License-Expression"]) == ("airflow-provider-astronomer-remote", "Apache-2.0")
    assert about["Author"] == "The authors of Astronomer Remote"
    assert about["Requires-Python"] == "<3.14,>=3.10"
    assert "Framework :: Apache Airflow :: Provider" in about.get_all("Classifier", [])
    assert any(each.startswith("apache-airflow>=2.11") for each in about.get_all("Requires-Dist", []))
    assert about.get_payload().startswith("# ")


def test_the_changelog_has_this_version() -> None:
    assert f" {astronomer_remote.__version__}\n" in (ROOT / "CHANGELOG.md").read_text()
