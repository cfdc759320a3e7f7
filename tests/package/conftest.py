"""The wheel and the sdist, built once, and clean environments to install the wheel into."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import astronomer_remote
from dev.environments import make, python_for, run_uv
from dev.places import ROOT
from dev.uv import surroundings, uv
from dev.versions import Release

NAME = f"airflow_provider_astronomer_remote-{astronomer_remote.__version__}"
SMOKE = Path(__file__).with_name("smoke.py")


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


class Clean:
    """
    An environment with one version of Airflow as of its release, and with pip; nothing of this project.

    :param folder: where to make it.
    :param version: of Airflow.
    """

    def __init__(self, folder: Path, version: str) -> None:
        self.version = version
        self.folder = folder / f"airflow-{version}"
        self._python = python_for(version, project=True)
        self._date = Release.parse(version).line.exclude_newer
        make(self.folder, self._python, print)
        self.install("pip", f"apache-airflow=={version}", dated=True)

    def install(self, *arguments: str, dated: bool = False) -> None:
        """Install with uv; with `dated` as of the release of the Airflow version."""
        date = ["--exclude-newer", self._date] if dated and self._date else []
        run_uv("pip", "install", "--python", str(self.folder / "bin" / "python"), *date, *arguments, report=print)

    def constraints(self) -> str:
        """What Airflow's constraints file pins of our dependencies: the newest on the day of the release."""
        target = (
            f"apache-airflow=={self.version}\napache-airflow-providers-common-compat\napache-airflow-providers-http\n"
        )
        date = ["--exclude-newer", self._date] if self._date else []
        command = [*uv(), "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python-version", self._python]
        done = subprocess.run(
            [*command, *date, "-"], input=target, env=surroundings(), capture_output=True, text=True, check=True
        )
        return done.stdout

    def sh(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script with this environment first on PATH, as a Dockerfile's ``RUN`` would."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables}
        return subprocess.run(
            ["sh", "-ec", script], cwd=self.folder.parent, env=env, capture_output=True, text=True, check=False
        )

    def version_of(self, distribution: str) -> str:
        """The version of a distribution that is installed."""
        done = self.sh(f"python -c 'from importlib.metadata import version; print(version(\"{distribution}\"))'")
        return done.stdout.strip()

    def smoke(self, *remotes: str) -> None:
        """Check that Airflow finds the provider, and run a DAG against a fake deployment of each of these versions."""
        home = self.folder.parent / "home"
        home.mkdir(exist_ok=True)
        # Isolated, so that nothing is imported from here.
        done = self.sh(f"python -I '{SMOKE}' '{home}' {' '.join(remotes)}")
        assert done.stdout.endswith("works\n"), (done.stdout + done.stderr)[-5000:]
