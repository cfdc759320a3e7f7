"""The GitHub Action and the example for GitLab, run by bash against a fake deployment."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from astronomer_remote.testing import FakeDeployment

ROOT = Path(__file__).parent.parent
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")
"""As GitHub calls it."""


@pytest.fixture
def remote() -> Iterator[FakeDeployment]:
    with FakeDeployment(api_token="secret") as started:
        started.add_dag("quick")
        started.add_dag("bad", ends="failed")
        yield started


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    """What the first step of the action leaves: the command and its Python."""
    folder = tmp_path / "astronomer-remote" / "bin"
    folder.mkdir(parents=True)
    for name, arguments in (("python", ""), ("astronomer-remote", " -m astronomer_remote.cli")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{arguments} "$@"\n')
        (folder / name).chmod(0o755)
    return tmp_path


def trigger(runner: Path, **inputs: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
    """Run the action's second step. :return: the process, and the outputs of the step."""
    given = {name: str(declared.get("default", "")) for name, declared in ACTION["inputs"].items()}
    given |= {name.replace("_", "-"): value for name, value in inputs.items()}
    step = ACTION["runs"]["steps"][1]
    values = {
        name: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: given[found[1]], text)
        for name, text in step["env"].items()
    }
    output = runner / "output"
    output.write_text("")
    places = {"RUNNER_TEMP": str(runner), "GITHUB_OUTPUT": str(output), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*BASH, step["run"]], env={**os.environ, **places, **values}, capture_output=True, text=True, check=False
    )
    return done, dict(line.split("=", 1) for line in output.read_text().splitlines())


def test_the_action_runs_a_dag_once_per_key(remote: FakeDeployment, runner: Path) -> None:
    given: dict[str, Any] = {"url": remote.url, "token": "secret", "dag_id": "quick", "key": "c0ffee"}
    given |= {"conf": '{"a": "b c"}', "note": "from CI; $(exit 9)", "timeout": "60", "cancel_on_interrupt": "true"}
    done, outputs = trigger(runner, **given)
    assert done.returncode == 0, done
    (run,) = remote.runs("quick")
    assert outputs == {"run-id": run["run_id"], "state": "success", "run-url": outputs["run-url"]}
    assert outputs["run-url"].startswith(remote.url)
    assert (run["conf"], run["note"].splitlines()[0]) == ({"a": "b c"}, "from CI; $(exit 9)")
    assert trigger(runner, **given)[1] == outputs
    assert len(remote.runs("quick")) == 1


def test_the_action_fails_with_the_run(remote: FakeDeployment, runner: Path) -> None:
    done, outputs = trigger(runner, url=remote.url, token="secret", dag_id="bad")
    assert (done.returncode, outputs["state"]) == (1, "failed")


@pytest.mark.parametrize(
    ("inputs", "code"),
    [
        ({"dag_id": "missing"}, 4),
        ({"dag_id": "--help"}, 4),
        ({"url": "http://$(touch injected)"}, 2),
        ({"dag_id": "quick; touch injected"}, 4),
        ({"conf": "$(touch injected)"}, 2),
        ({"user": "admin"}, 2),
    ],
)
def test_the_action_reports_what_went_wrong(
    remote: FakeDeployment, runner: Path, inputs: dict[str, str], code: int
) -> None:
    given = {"url": remote.url, "token": "secret", "dag_id": "quick", **inputs}
    done, outputs = trigger(runner, **given)
    assert (done.returncode, outputs, remote.runs("quick")) == (code, {}, []), done
    assert "secret" not in done.stdout + done.stderr
    assert not Path("injected").exists()


def test_no_input_is_a_part_of_a_script() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"]


def test_the_documented_jobs_use_what_exists(remote: FakeDeployment, runner: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
    github, gitlab = (yaml.safe_load(block) for block in blocks)
    step = github["jobs"]["load"]["steps"][0]
    assert set(step["with"]) <= set(ACTION["inputs"])
    assert re.findall(r"outputs\.([a-z-]+)", blocks[0]) == ["run-url"]
    remote.add_dag("load_orders")
    values = {
        "REMOTE_URL": remote.url,
        "ASTRONOMER_REMOTE_TOKEN": "secret",
        "CI_COMMIT_SHA": "c0ffee",
        "CI_JOB_ID": "7",
        "PYTHONPATH": str(ROOT),
        "PATH": f"{runner}/astronomer-remote/bin:{os.environ['PATH']}",
    }
    (script,) = gitlab["load"]["script"]
    done = subprocess.run([*BASH, script], env={**os.environ, **values}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    (run,) = remote.runs("load_orders")
    assert "c0ffee-7" in run["run_id"]
