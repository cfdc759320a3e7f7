"""The demonstration's deployments: what they are made of, and that their start can be broken off at any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from astronomer_remote.testing import FakeDeployment
from dev import demo, pair
from dev.demo import DemoFailed, Toured
from dev.deployments import LINKED, ROOT, Airflow
from dev.loopback import free_port
from dev.pair import EXAMPLE_DAGS, REMOTE_DAGS, Caller, connection
from dev.settings import Place
from dev.supervisor import descendants
from tests.waiting import living, soon


class Answering:
    """A fake deployment, described as the demonstration's are."""

    def __init__(self, remote: FakeDeployment) -> None:
        self.url, self.generation = remote.url, "v1" if remote.version < "3" else "v2"
        self.users = {"admin": ("admin", "admin")}


# -- what they are made of ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_the_remote_shows_its_configuration(version: str, tmp_path: Path) -> None:
    remote = pair.pair("3.3.2", version).remote
    remote._place = Place(tmp_path, tmp_path, tmp_path, 1)
    section = "API" if version > "3" else "WEBSERVER"
    assert remote.env[f"AIRFLOW__{section}__EXPOSE_CONFIG"] == "True"


def test_the_connection_has_its_port_in_the_field_that_test_wants() -> None:
    with FakeDeployment("2.11.2") as remote:
        described: Any = Answering(remote)
        given = connection(described)
        assert given["port"] == int(remote.url.rpartition(":")[2])
        found = Caller(described)
        assert found.do(found.api.list_pools())


def test_a_folder_of_own_dag_files_is_linked_and_outlives_the_deployment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own" / "local"
    own.mkdir(parents=True)
    (own / "mine.py").write_text("# a DAG")
    deployment = Airflow("3.3.2", dags=EXAMPLE_DAGS, own_dags=own)
    monkeypatch.setattr("dev.deployments.fill_home", lambda *_: None)
    deployment._folder = tmp_path / "run"
    deployment._folder.mkdir()
    deployment._fill(tmp_path, tmp_path)

    assert (deployment.dags / LINKED / "mine.py").read_text() == "# a DAG"
    assert (deployment.dags / "tour.py").exists()
    deployment.stop()
    assert not deployment.home.exists()
    assert (own / "mine.py").exists()


def test_git_ignores_own_dag_files() -> None:
    assert f"/{pair.OWN_DAGS.name}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_remote_has_every_dag_that_an_example_names() -> None:
    text = "".join(path.read_text() for path in REMOTE_DAGS.glob("*.py"))
    for path in EXAMPLE_DAGS.glob("*.py"):
        for line in path.read_text().splitlines():
            if "trigger_dag_id=" in line or "external_dag_id=" in line:
                assert f'"{line.split("_dag_id=")[1].split(chr(34))[1]}"' in text


# -- what the tour counts -------------------------------------------------------------------------------------


class Checked:
    """The end of a tour: what the local tasks returned, and a remote that others use, too."""

    def __init__(self, remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch) -> None:
        described: Any = Answering(remote)
        self.there = Caller(described)
        self.said: list[str] = []
        self._values = {
            "trigger_and_wait": {"run_id": "ours"},
            "list_pools": {"warehouse": 4},
            "resize_pool": {"slots": 8},
        }
        monkeypatch.setattr(demo, "value", lambda here, run, task_id, key="return_value": self._values[task_id])
        remote.add_dag("load_sales", ends="success")
        remote.add_pool("warehouse", slots=8)
        self.trigger("ours", requested_by="demo_1")

    def trigger(self, run_id: str, **conf: str) -> None:
        self.there.do(self.there.api.trigger_dag_run("load_sales", run_id=run_id, conf=conf))

    def look(self) -> None:
        progress: Any = self
        run: Any = type("Run", (), {"run_id": "demo_1"})
        demo.check(self.there, self.there, run, progress)

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> Any:
    with FakeDeployment("2.11.2") as remote:
        yield Checked(remote, monkeypatch)


def test_runs_of_others_do_not_count(checked: Checked) -> None:
    checked.trigger("by_hand", requested_by="someone")
    checked.trigger("by_hand_too")
    checked.look()
    assert "exactly one run of this tour" in checked.said[0]


def test_a_second_run_of_the_tour_is_a_failure(checked: Checked) -> None:
    checked.trigger("again", requested_by="demo_1")
    with pytest.raises(DemoFailed, match="should have one successful run 'ours'"):
        checked.look()


def test_a_pool_that_was_changed_is_mentioned(checked: Checked) -> None:
    checked.there.do(checked.there.api.update_pool("warehouse", slots=32))
    checked.look()
    assert "32 slots in 'warehouse' (the tour left 8; it has been changed since)" in checked.said[0]


def test_a_pool_that_was_not_resized_is_a_failure(checked: Checked) -> None:
    checked.there.do(checked.there.api.update_pool("warehouse", slots=4))
    with pytest.raises(DemoFailed, match="had 4 slots, was set to 8, and has 4"):
        checked.look()


# -- what is printed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("local", "remote"), [("3.3.2", "2.11.2"), ("2.11.2", "1.10.15")])
def test_the_command_that_the_demo_prints_makes_a_dag(
    local: str, remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(demo, "OWN_DAGS", tmp_path)
    (tmp_path / "local").mkdir()
    both = pair.pair(local, remote)
    text = demo.advice(both, Toured("http://127.0.0.1:1/dags/tour/runs/demo", "http://localhost:2/run"))
    (command,) = [line for line in text.splitlines() if line.startswith("    sed ")]

    subprocess.run(command, shell=True, check=True)

    made = (tmp_path / "local" / "my_first.py").read_text()
    assert 'with DAG("my_first", ' in made
    assert "trigger_and_wait" not in made
    assert ("any_endpoint and borrow_slots fail" in text) == (remote == "1.10.15")


def test_both_uis_have_names_of_their_own_so_that_a_browser_keeps_both_logins(tmp_path: Path) -> None:
    both = pair.pair("2.11.2", "1.10.15")
    hosts = {Place(tmp_path, tmp_path, tmp_path, 1, each._host).url for each in both}
    assert hosts == {"http://127.0.0.1:1", "http://localhost:1"}


# -- ending ---------------------------------------------------------------------------------------------------

# The demonstration with an installation that takes for ever, in a process of its own.
INSTALLING = """
import subprocess, sys
from dev import demo, deployments, pair

def install(*args, **kwargs):
    subprocess.run(["sleep", "300"], check=True)

deployments.environment = install
sys.argv[1:] = []
sys.exit(demo.main())
"""
# With a thread that nobody can end, as one that waits for another process's lock.
STUCK = INSTALLING.replace('subprocess.run(["sleep", "300"], check=True)', "__import__('time').sleep(300)")
# With a start that is done and a tour that continues.
TOURING = """
import sys, time
from dev import demo, pair

def start(deployment, outcomes):
    outcomes.put((deployment, None))

pair._start = start
demo.Caller = demo.furnish = lambda *args: None
demo.addresses = lambda both: "started"
demo.tour = lambda *args: time.sleep(300)
sys.argv[1:] = []
sys.exit(demo.main())
"""


def begin(code: str, tmp_path: Path) -> subprocess.Popen[str]:
    # A shell lets what it starts in the background ignore Ctrl-C.
    code = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"
    env = os.environ | {"PYTHONPATH": str(ROOT), "ASTRONOMER_REMOTE_DEV_HOME": str(tmp_path)}
    return subprocess.Popen(
        [sys.executable, "-u", "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("sig", "code", "text"),
    [(signal.SIGINT, 130, "Interrupted; everything is stopped."), (signal.SIGTERM, 143, "")],
    ids=["interrupted", "terminated"],
)
@pytest.mark.parametrize("doing", [INSTALLING, STUCK, TOURING], ids=["installing", "stuck", "touring"])
def test_the_demo_ends_at_once_whatever_it_is_doing(
    doing: str, sig: signal.Signals, code: int, text: str, tmp_path: Path
) -> None:
    process = begin(doing, tmp_path)
    below: set[int] = set()

    def busy() -> bool:
        below.update(descendants({process.pid}))
        return len(below) >= 2 if doing is INSTALLING else below == set()

    assert process.stdout is not None
    until_line = "started" if doing is TOURING else "starting Airflow"
    shown = ""
    while until_line not in shown:
        shown += process.stdout.readline()
    soon(busy)
    time.sleep(0.2)

    began = time.monotonic()
    process.send_signal(sig)
    rest, _ = process.communicate(timeout=30)

    assert process.returncode == code, shown + rest
    assert text in rest
    assert "Traceback" not in rest
    assert time.monotonic() - began < (15 if doing is STUCK else 5)
    assert not living(below)


def test_a_start_that_fails_is_the_error_and_ends_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[str] = []

    class Described:
        def __init__(self, name: str) -> None:
            self.name = name

        def start(self) -> None:
            if self.name == "bad":
                raise OSError("no space left on device")
            soon(lambda: "slow" in ended)
            raise RuntimeError("does not run")

        def stop(self) -> None:
            ended.append(self.name)

    deployments: Any = [Described("slow"), Described("bad")]
    with pytest.raises(OSError, match="no space left"), pair.running(deployments, lambda _: None):
        pytest.fail("nothing is up")
    assert set(ended) == {"slow", "bad"}


def test_a_client_uses_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deployment's start exempts this machine, whatever the environment says."""
    from dev.loopback import bypass_proxy

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    bypass_proxy()
    with FakeDeployment("3.3.2") as remote:
        described: Any = Answering(remote)
        client = Caller(described)
        assert client.do(client.api.list_pools())
