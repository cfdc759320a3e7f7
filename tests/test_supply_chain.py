"""What a release is built from is pinned, each job may do no more than it must, and SECURITY.md names real tests."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SECURITY = (ROOT / "SECURITY.md").read_text()

if not WORKFLOWS:
    pytest.skip("an sdist has no workflows", allow_module_level=True)


def workflow(name: str) -> Any:
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    uses = re.findall(r"^\s*(?:- )?uses: (.+)$", path.read_text(), re.MULTILINE)
    assert uses
    for each in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", each), each


def test_an_action_is_pinned_to_one_commit_everywhere() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS)
    pins = set(re.findall(r"uses: ([\w/-]+)@(\w+)", text))
    assert len(pins) == len({action for action, _ in pins})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_each_job_says_what_it_may_do(path: Path) -> None:
    read = workflow(path.stem)
    assert read["permissions"] == {}
    for job in read["jobs"].values():
        assert job["permissions"]
        assert "timeout-minutes" in job


def test_what_builds_may_publish_nothing_and_what_publishes_runs_nothing_of_ours() -> None:
    jobs = workflow("release")["jobs"]
    assert jobs["build"]["permissions"] == {"contents": "read"}
    for name in jobs.keys() - {"build"}:
        assert "write" in jobs[name]["permissions"].values()
        assert not [step for step in jobs[name]["steps"] if "checkout" in step.get("uses", "")]


def test_publishing_needs_no_stored_token() -> None:
    pypi = workflow("release")["jobs"]["pypi"]
    assert pypi["permissions"] == {"id-token": "write"}
    assert pypi["environment"] == "pypi"
    assert "secrets." not in (ROOT / ".github" / "workflows" / "release.yml").read_text()


def test_build_tools_are_pinned_by_hash_and_name_no_index() -> None:
    folder = ROOT / ".github" / "requirements"
    text = (folder / "release.txt").read_text()
    pins = re.findall(
        r"^([\w.-]+)==\S+(?: ; [^\\]+)? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", text, re.MULTILINE
    )
    assert len(pins) == len(re.findall(r"^[\w.-]+==", text, re.MULTILINE))
    target = [line for line in (folder / "release.in").read_text().split("\n") if line and not line.startswith("#")]
    assert set(target) <= {name for name, _ in pins}
    assert "://" not in text
    assert "--index" not in text.replace("--no-emit-index-url", "")


def test_the_build_backend_is_among_them() -> None:
    (backend,) = re.findall(r'^requires = \["([\w-]+)', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert f"\n{backend}==" in (ROOT / ".github" / "requirements" / "release.txt").read_text()


def test_dependabot_keeps_up_what_is_pinned() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    kept = {(each["package-ecosystem"], each["directory"]) for each in updates}
    assert {("github-actions", "/"), ("pip", "/.github/requirements")} <= kept


@pytest.mark.parametrize(("text", "target"), re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", SECURITY))
def test_what_is_said_to_hold_has_a_test(text: str, target: str) -> None:
    assert (ROOT / target).is_file()
    named = re.fullmatch(r"`(test_\w+)`", text)
    if named:
        assert re.search(rf"def {named[1]}\(", (ROOT / target).read_text())


def test_what_is_to_be_typed_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"`make ([\w-]+)`", SECURITY)
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_documentation_is_hosted_as_it_is_built_here() -> None:
    hosted = yaml.safe_load((ROOT / ".readthedocs.yaml").read_text())
    newest = re.search(r"^NEWEST := (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert newest
    install = hosted["build"]["jobs"]["install"][-1]
    assert install == f'pip install "apache-airflow=={newest[1]}" --group docs .'
    assert (ROOT / hosted["sphinx"]["configuration"]).is_file()
    assert hosted["sphinx"]["fail_on_warning"]
