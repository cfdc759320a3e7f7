"""What a deployment of each generation consists of, and its life as the command line shows it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from dev import deployments, state
from dev.deployments import PORT_TAKEN, ROOT, Airflow, StartError
from dev.loopback import free_port
from dev.places import HOME_VARIABLE
from dev.processes import Processes
from dev.settings import DEFAULT_USERS, Place, settings
from dev.state import State
from dev.versions import Release
from tests.waiting import living, soon


@pytest.mark.parametrize(
    ("version", "generation", "components"),
    [
        ("1.10.15", "experimental", ("webserver", "scheduler")),
        ("2.0.2", "v1", ("webserver", "scheduler")),
        ("2.11.2", "v1", ("webserver", "scheduler", "triggerer")),
        ("3.3.2", "v2", ("api-server", "dag-processor", "scheduler", "triggerer")),
        ("4.0.0rc1", "v2", ("api-server", "dag-processor", "scheduler", "triggerer")),
    ],
)
def test_parts_of_a_version(version: str, generation: str, components: tuple[str, ...]) -> None:
    assert Airflow(version).generation == generation
    assert Release.parse(version).components == components


def test_settings_can_be_changed_for_what_starts_later(tmp_path: Path) -> None:
    deployment = Airflow("3.3.2", env={"SECRET": "first", "OTHER": "1"})
    deployment._place = Place(tmp_path, tmp_path, tmp_path, 1)
    deployment.configure({"SECRET": "second"})
    assert (deployment.env["SECRET"], deployment.env["OTHER"]) == ("second", "1")


def test_log_servers_which_would_listen_everywhere_are_left_out() -> None:
    assert Release.parse("3.3.2").command("triggerer") == ["triggerer", "--skip-serve-logs"]
    assert Release.parse("2.2.5").command("triggerer") == ["triggerer"]  # has none, and no such option
    assert Release.parse("2.0.2").command("scheduler") == ["scheduler"]


def test_a_component_that_the_version_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="has no"):
        Airflow("1.10.15", components=["triggerer"])


def test_settings_do_not_leak_in_and_can_be_overridden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "KubernetesExecutor")
    monkeypatch.setenv("AIRFLOW_CONN_SECRET", "http://elsewhere")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    place = Place(tmp_path / "env", tmp_path / "home", tmp_path / "home/dags", 1234)

    made = settings(Release.parse("3.3.2"), place, DEFAULT_USERS, None, {"AIRFLOW__CORE__PARALLELISM": "1"})

    assert made["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert made["AIRFLOW__CORE__PARALLELISM"] == "1"
    assert made["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert made["PATH"].startswith(f"{tmp_path / 'env' / 'bin'}{os.pathsep}")
    assert not {"AIRFLOW_CONN_SECRET", "PYTHONPATH"} & set(made)


@pytest.mark.parametrize(
    ("listed", "made"),
    [
        ({}, "127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "example.com, localhost"}, "example.com,localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "example.com", "no_proxy": "example.org"}, "example.org,127.0.0.1,localhost,::1"),
        ({"NO_PROXY": "*"}, "*"),
    ],
)
def test_no_proxy_of_the_environment_is_used_for_this_machine(
    listed: dict[str, str], made: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in listed.items():
        monkeypatch.setenv(name, value)
    place = Place(tmp_path / "env", tmp_path / "home", tmp_path / "home/dags", 1234)
    env = settings(Release.parse("3.3.2"), place, DEFAULT_USERS, None, {})
    assert (env["NO_PROXY"], env["no_proxy"]) == (made, made)


def test_no_password_is_part_of_a_word_that_a_log_could_have() -> None:
    """Airflow masks passwords everywhere: "administrator" came out as "***istrator"."""
    words = "Your Airflow administrator chose not to expose the configuration to this user or viewer. Stop. admin"
    for login, password in DEFAULT_USERS.values():
        assert login.lower() != password.lower()
        assert password.lower() not in words.lower()


def test_ports_are_given_once() -> None:
    given = [free_port() for _ in range(200)]
    assert len(set(given)) == 200


@pytest.mark.parametrize(
    "said",
    [
        "[Errno 98] error while attempting to bind on address ('127.0.0.1', 23038): address already in use",
        "[ERROR] Connection in use: ('127.0.0.1', 31385)",
    ],
)
def test_either_web_server_is_understood_when_its_port_is_taken(said: str) -> None:
    assert PORT_TAKEN.search(said)


def test_what_is_not_running_says_so() -> None:
    deployment = Airflow("3.3.2", name="asleep")
    deployment.stop()

    assert deployment.processes == {}
    assert not deployment.alive
    with pytest.raises(RuntimeError, match="'asleep' has not been started"):
        assert deployment.url


def test_a_state_file_counts_only_while_its_supervisor_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    folder = tmp_path / "run" / "remote-x"
    folder.mkdir(parents=True)
    processes = Processes(folder, keep=False)
    mine = State("remote", "3.3.2", "http://127.0.0.1:1", str(folder), str(folder), 1, processes.pid, {}, {}, False)
    mine.write()
    assert state.running() == [mine]

    state.stop(mine)

    assert state.running() == []
    processes.end()


def test_what_a_killed_supervisor_left_is_cleared_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    for name, keep in (("gone-x", False), ("kept-x", True)):
        folder = tmp_path / "run" / name
        folder.mkdir(parents=True)
        State(name, "3.3.2", "http://127.0.0.1:1", str(folder), str(folder), 1, 1, {}, {}, keep).write()

    assert state.running() == []
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["kept-x"]


def test_the_command_line_explains_itself() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "dev", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert "python -m dev start 2.11.2" in shown.stdout


@pytest.mark.live
@pytest.mark.timeout(600)
def test_a_component_can_be_killed_and_started_again() -> None:
    with Airflow("3.3.2", name="faults") as deployment:
        before = deployment.processes
        deployment.stop_component("triggerer", sig=signal.SIGKILL)
        assert "triggerer" not in deployment.processes
        deployment.start_component("triggerer")

        assert deployment.processes.keys() == before.keys()
        assert deployment.processes["triggerer"] != before["triggerer"]
        with urllib.request.urlopen(f"{deployment.url}/api/v2/monitor/health", timeout=10) as answer:
            assert json.load(answer)["triggerer"]["status"] == "healthy"
        home = deployment.home
    assert not home.exists()


@pytest.mark.live
@pytest.mark.timeout(600)
def test_a_failing_start_shows_what_the_component_wrote_and_leaves_nothing() -> None:
    deployment = Airflow("3.3.2", name="failing", env={"AIRFLOW__CORE__EXECUTOR": "NoSuchExecutor"})
    with pytest.raises(StartError, match=r"scheduler exited with(?s:.*)NoSuchExecutor"):
        deployment.start()

    assert not deployment.alive
    assert not deployment.home.exists()


@pytest.mark.live
@pytest.mark.timeout(600)
def test_a_killed_command_line_leaves_no_airflow_behind() -> None:
    command = [sys.executable, "-m", "dev", "start", "3.3.2", "--name", "orphan"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        for line in parent.stdout:
            if line.startswith("Ready"):
                break
        mine = next(found for found in state.running() if found.owner == parent.pid)
        parent.kill()
    soon(lambda: not Path(mine.folder).exists(), seconds=10)
    soon(lambda: not living({mine.supervisor, *mine.processes.values()}), seconds=1)


@pytest.mark.live
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", ["1.10.15", "2.11.2", "3.3.2"])
def test_a_port_that_another_program_takes_first_is_given_up_for_another(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ports = iter([port])
        monkeypatch.setattr(deployments, "free_port", lambda: next(ports, None) or free_port())
        with Airflow(version, name="port", components=[Release.parse(version).web]) as deployment:
            assert deployment.url != f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("step", ["template", "home"])
def test_a_deployment_that_is_stopped_while_its_home_is_prepared_leaves_no_supervisor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    deployment = Airflow("3.3.2", name="stopped")

    def stops(*_: object, **__: object) -> Path:
        deployment.stop()
        return tmp_path

    monkeypatch.setattr(deployment, "_install", lambda: tmp_path)
    monkeypatch.setattr(deployments, "home_template", stops if step == "template" else lambda *_, **__: tmp_path)
    monkeypatch.setattr(deployment, "_fill", stops)
    monkeypatch.setattr(deployment, "_start_components", lambda: pytest.fail("it was stopped"))
    with pytest.raises(StartError, match="stopped before it had started"):
        deployment.start()

    assert not deployment.alive
