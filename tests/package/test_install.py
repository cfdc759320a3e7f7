"""The page about installation: its commands are run as they are written, by pip, in environments of their own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.places import ROOT
from tests.package.conftest import NAME, Clean

PAGE = (ROOT / "docs" / "install.md").read_text()
WHEEL = f"{NAME}-py3-none-any.whl"
FLOORS = dict(re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE))

pytestmark = pytest.mark.timeout(900)  # on the first run, everything that Airflow needs is fetched


def block(heading: str, language: str, number: int = 0) -> str:
    """A piece of code below a heading of the page."""
    section = re.split(r"^## ", PAGE.partition(f"\n## {heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return found[number]


@pytest.fixture
def clean(request: pytest.FixtureRequest, tmp_path: Path, wheel: Path) -> Iterator[Clean]:
    """A clean environment, and the wheel in `dist` beside it as in a clone."""
    (tmp_path / "dist").mkdir()
    shutil.copy(wheel, tmp_path / "dist")
    yield Clean(tmp_path, request.param)
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_the_page_names_the_wheel_of_this_version() -> None:
    assert set(re.findall(r"airflow_provider_astronomer_remote-[^ `\n]+\.whl", PAGE)) == {WHEEL}
    assert len(FLOORS) == 10


@pytest.mark.parametrize("clean", ["3.3.2"], indirect=True)
def test_the_wheel_and_the_lines_of_a_dockerfile(clean: Clean) -> None:
    source = clean.folder.parent / "clone"
    source.mkdir()
    for each in ("astronomer_remote", "pyproject.toml", "README.md", "LICENSE"):
        (shutil.copytree if (ROOT / each).is_dir() else shutil.copy)(ROOT / each, source / each)
    (build,) = re.findall(r"^pip wheel .+$", PAGE, re.MULTILINE)
    made = clean.sh(f"cd '{source}'\n{build}")
    assert made.returncode == 0, made.stderr
    assert [each.name for each in (source / "dist").iterdir()] == [WHEEL]

    dockerfile = block("Dockerfile based on apache/airflow", "dockerfile")
    (image,) = re.findall(r"^FROM apache/airflow:(.+)$", dockerfile, re.MULTILINE)
    (run,) = re.findall(r"^RUN (.+)$", dockerfile, re.MULTILINE)
    assert image == clean.version
    done = clean.sh(run.replace("/tmp/", f"{source}/dist/"), AIRFLOW_VERSION=image)
    assert done.returncode == 0, done.stdout + done.stderr
    assert clean.version_of("apache-airflow") == image
    shown = clean.sh(block("Into an existing environment", "sh", 1), AIRFLOW_HOME=str(clean.folder.parent / "home"))
    assert shown.returncode == 0, shown.stdout + shown.stderr
    clean.smoke("1.10.15", "2.11.2", "3.3.2")


@pytest.mark.parametrize("clean", ["2.11.2"], indirect=True)
def test_with_the_constraints_of_an_airflow_that_is_new_enough(clean: Clean) -> None:
    requirements = mwaa(clean, clean.constraints())
    done = clean.sh(f"pip install --requirement '{requirements}'")
    assert done.returncode == 0, done.stdout + done.stderr
    assert clean.version_of("apache-airflow") == clean.version
    clean.smoke("1.10.15", "2.11.2", "3.3.2")


@pytest.mark.parametrize("clean", ["3.0.6"], indirect=True)
def test_with_constraints_that_are_too_old_in_a_second_step(clean: Clean) -> None:
    folder = clean.folder.parent
    constraints = clean.constraints()
    refused = clean.sh(f"pip install --dry-run --requirement '{mwaa(clean, constraints)}'")
    assert refused.returncode != 0
    assert "conflict" in refused.stderr

    # A platform that insists on a file: the lines that the page says, changed.
    changed = dict(line.split("==") for line in block("With Airflow's constraints", "text").split())
    for name, version in changed.items():
        constraints = re.sub(rf"^{name}==.+$", f"{name}=={version}", constraints, flags=re.MULTILINE)
    accepted = clean.sh(f"pip install --dry-run --requirement '{mwaa(clean, constraints)}'")
    assert accepted.returncode == 0, accepted.stderr

    first, second = block("With Airflow's constraints", "sh").splitlines()
    (folder / "constraints-3.0.6.txt").write_text(clean.constraints())
    for step in (first, second):
        done = clean.sh(step)
        assert done.returncode == 0, done.stdout + done.stderr
    # The oldest that the package says it works with.
    clean.install(*(f"{name}=={version}" for name, version in FLOORS.items() if name in changed or name == "yarl"))
    assert (
        clean.version_of("apache-airflow-providers-common-compat") == FLOORS["apache-airflow-providers-common-compat"]
    )
    assert clean.version_of("apache-airflow") == clean.version
    clean.smoke("2.11.2")


def mwaa(clean: Clean, constraints: str) -> Path:
    """The requirements file of MWAA, with its folders moved to where the environment is."""
    folder = clean.folder.parent
    (folder / "constraints.txt").write_text(constraints)
    text = block("Amazon MWAA", "text")
    assert text.startswith("--constraint ")
    text = text.replace("/usr/local/airflow/dags", str(folder)).replace("/usr/local/airflow/plugins", f"{folder}/dist")
    requirements = folder / "requirements.txt"
    requirements.write_text(text)
    return requirements
