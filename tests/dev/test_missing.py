"""What a machine lacks is skipped with its reason, listed in one table, and a failure where everything must run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dev import bootstrap, chromium, environments, missing, needs
from dev.missing import InstallError, Missing
from dev.pythons import DOWNLOADS_VARIABLE, ONLY_VARIABLE, Python, Pythons, minor
from dev.uv import MINIMUM
from tests.browser import conftest as browser
from tests.live.plan import LIVE

ROOT = Path(__file__).parents[2]
LACKS = Missing("Airflow 1.10.15", "needs Python 3.8", "Install it")


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep away from the record of the run that this test is part of."""
    monkeypatch.setattr(missing, "RECORD", tmp_path / "build" / "not-run.jsonl")
    for name in missing.STRICT_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(DOWNLOADS_VARIABLE, "never")


def have(monkeypatch: pytest.MonkeyPatch, *versions: str, browser: str | None = "/opt/chromium") -> None:
    """Give this machine these Pythons, and this browser or none."""
    found = Pythons(Python(f"/opt/{each}/python", (*minor(each), 1)) for each in versions)
    for module in ("environments", "needs", "bootstrap"):
        monkeypatch.setattr(f"dev.{module}.pythons", lambda: found)
    monkeypatch.setattr(chromium, "own", lambda: browser)
    monkeypatch.setattr(chromium, "obtainable", lambda: browser is not None)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, False),
        ({"CI": "true"}, True),
        ({"CI": "1"}, True),
        ({"CI": "false"}, False),
        ({"STRICT": "1"}, True),
        ({"STRICT": "0", "CI": "true"}, False),
        ({"STRICT": "", "CI": "true"}, True),
    ],
)
def test_variables_say_whether_everything_must_run(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert missing.strict() is expected


def test_the_table_names_each_thing_once(capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("live", "live", "browser"):
        missing.record(part, LACKS)
    bootstrap.main(["report"])

    lines = capsys.readouterr().out
    assert len(re.findall(r"^(live|browser) +Airflow 1\.10\.15 +needs Python 3\.8 +Install it$", lines, re.M)) == 2


def test_nothing_left_out_is_said_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap.main(["report"])
    assert "Nothing was skipped" in capsys.readouterr().out


def test_what_is_missing_is_said_first(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    have(monkeypatch, "3.13", browser=None)
    missing.record("live", LACKS)
    bootstrap.main(["test"])

    lines = capsys.readouterr().out
    for part in ("unit-oldest", "package", "browser", "live"):
        assert re.search(rf"^{part} +Airflow 2\.11\.2 +needs Python 3\.10, 3\.11 or 3\.12 ", lines, re.M)
    assert re.search(r"^live +Airflow 1\.10\.15 +needs Python 3\.8 ", lines, re.M)
    assert re.search(r"^browser +The browser tests +needs Chromium", lines, re.M)
    assert missing.recorded() == []


def test_what_is_going_to_be_installed_is_said_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    have(monkeypatch, "3.8", "3.12")
    monkeypatch.setattr(chromium, "own", lambda: None)
    bootstrap.main(["test"])
    assert "browser: there is no Chromium here; " in capsys.readouterr().out


def test_on_a_machine_with_everything_nothing_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    have(monkeypatch, "3.8", "3.11", "3.12")
    monkeypatch.setenv("CI", "true")
    bootstrap.main(["test"])
    assert "cannot run" not in capsys.readouterr().out


def test_where_everything_must_run_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, "3.12")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(SystemExit, match="every part must run"):
        bootstrap.main(["test"])


@pytest.mark.parametrize("command", [["test"], ["demo"], ["venv", "nowhere"]])
def test_without_a_python_that_fits_nothing_is_begun(monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    have(monkeypatch, "3.8", "3.9")
    with pytest.raises(SystemExit, match=r"needs Python 3\.10, 3\.11, 3\.12 or 3\.13\. .*uv python install 3\.12"):
        bootstrap.main(command)


def test_a_part_that_cannot_run_is_skipped_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, "3.12")
    bootstrap.main(["able", "unit-oldest"])
    assert missing.recorded() == []

    have(monkeypatch, "3.13")
    with pytest.raises(SystemExit) as caught:
        bootstrap.main(["able", "unit-oldest"])
    assert caught.value.code == bootstrap.SKIPPED
    (row,) = missing.recorded()
    assert (row["part"], row["what"]) == ("unit-oldest", "Airflow 2.11.2")

    monkeypatch.setenv("STRICT", "1")
    with pytest.raises(SystemExit, match=r"Airflow 2\.11\.2 needs Python 3\.10, 3\.11 or 3\.12"):
        bootstrap.main(["able", "unit-oldest"])


TESTS_THAT_LACK = """
import pytest
from dev import missing
from dev.missing import Missing

def lacking():
    raise Missing("Airflow 1.10.15", "needs Python 3.8", "Install it")

@pytest.fixture
def deployment():
    lacking()

def test_setup(deployment): ...
def test_call(): lacking()
"""


@pytest.mark.parametrize(("strict", "summary"), [("0", "2 skipped"), ("1", "1 failed, 1 error")])
def test_a_test_that_lacks_something_is_skipped_or_fails(tmp_path: Path, strict: str, summary: str) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "test_it.py").write_text(TESTS_THAT_LACK)
    record = tmp_path / "record"
    code = (
        "import pathlib, sys, pytest; from dev import missing; missing.RECORD = pathlib.Path(sys.argv[2]);"
        "sys.exit(pytest.main(['-rs', '-p', 'no:cacheprovider', '--rootdir', sys.argv[1], sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(record)],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "STRICT": strict, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert summary in done.stdout, done.stdout + done.stderr
    assert "Airflow 1.10.15 needs Python 3.8. Install it." in done.stdout
    assert record.read_text().count("1.10.15") == 2


def test_what_the_parts_are_said_to_need_is_what_they_start() -> None:
    said = {part: {each.version for each in needed} for part, needed in needs.AIRFLOWS.items()}
    assert said["live"] == {version for pair in LIVE for version in (pair.local, pair.remote)}
    assert said["browser"] == set(browser.VERSIONS)
    install = (ROOT / "tests" / "package" / "test_install.py").read_text()
    assert set(re.findall(r'"clean", \["([\d.]+)"\]', install)) == said["package"]
    makefile = (ROOT / "Makefile").read_text()
    assert f"OLDEST := {needs.OLDEST}\n" in makefile
    assert f"NEWEST := {needs.NEWEST}\n" in makefile
    assert said["unit-oldest"] == {needs.OLDEST}


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
def test_the_demo_is_the_usual_one_where_its_remote_runs(monkeypatch: pytest.MonkeyPatch, python: str) -> None:
    have(monkeypatch, python)
    assert needs.demo_versions() == ("3.3.2", "2.11.2", "")


def test_the_demo_has_a_remote_that_runs_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, "3.13")
    local, remote, said = needs.demo_versions()
    assert (local, remote) == ("3.3.2", "3.3.2")
    assert said == "The remote is Airflow 3.3.2, since Airflow 2.11.2 needs Python 3.10, 3.11 or 3.12"


def test_a_remote_that_is_named_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    have(monkeypatch, "3.13")
    with pytest.raises(Missing, match=r"Airflow 2\.11\.2 needs Python 3\.10, 3\.11 or 3\.12\. .*3\.13\.1"):
        needs.demo_versions(remote="2.11.2")


def test_a_download_is_announced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    have(monkeypatch, "3.13")
    monkeypatch.delenv(DOWNLOADS_VARIABLE)
    bootstrap.main(["demo", "--remote", "1.10.15"])
    assert "uv will download Python 3.8" in capsys.readouterr().out


def test_it_is_an_error_of_installation() -> None:
    assert isinstance(LACKS, InstallError)
    assert str(LACKS) == "Airflow 1.10.15 needs Python 3.8. Install it."


def test_what_contributing_says_of_pythons_is_what_the_search_goes_by() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+) \| ([\d., or]+) \|$", text, re.MULTILINE))
    said = {title: sorted(re.findall(r"3\.\d+", pythons), key=minor) for title, pythons in rows.items()}
    own = sorted(environments.own_pythons(), key=minor)
    assert said.pop("this package, `make lint`, `make docs`, unit tests in Airflow 3.3") == own
    assert f"one Python from {own[0]} to {own[-1]};" in text
    for title, pythons in said.items():
        for line in re.findall(r"(?:Airflow|and) (\d+\.\d+)", title):
            assert sorted(environments.supported(f"{line}.1"), key=minor) == pythons, title
    assert {"3.0", "3.3", "2.11", "1.10"} <= set(re.findall(r"\d+\.\d+", " ".join(said)))
    assert f"uv** is taken from PATH if it is {'.'.join(map(str, MINIMUM[:2]))} or later" in text
    assert ONLY_VARIABLE in text
    assert DOWNLOADS_VARIABLE in text


def test_metadata_and_classifiers_name_the_same_pythons() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    classified = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)
    assert classified == sorted(environments.own_pythons(), key=minor)


def test_every_target_is_explained_and_every_one_explained_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    explained = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    contributing = set(re.findall(r"`make (\w+)`", (ROOT / "CONTRIBUTING.md").read_text()))
    assert contributing <= explained
    assert explained - contributing <= {"help", "venv", "clean"} | contributing


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_help_comes_first() -> None:
    done = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True)
    named = re.findall(r"^make ([\w-]+) ", done.stdout, re.MULTILINE)
    assert named[:3] == ["help", "demo", "test"]
    assert done.stderr == ""


@pytest.mark.parametrize(("command", "folder"), [("demo", ".dev/demo"), ("test", ".venv")])
def test_an_environment_whose_python_has_gone_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: str, folder: str
) -> None:
    have(monkeypatch, "3.12")
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    ready = tmp_path / folder / bootstrap.READY
    python = tmp_path / folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    ready.touch()
    python.symlink_to(sys.executable)
    bootstrap.main([command])
    assert ready.exists()

    python.unlink()
    python.symlink_to("/nowhere/python3.12")
    bootstrap.main([command])
    assert not ready.exists()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/index.md"])
def test_every_page_says_which_python_is_enough(page: str) -> None:
    own = sorted(environments.own_pythons(), key=minor)
    assert f"one Python from {own[0]} to {own[-1]}" in (ROOT / page).read_text()
