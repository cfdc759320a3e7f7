"""Nothing that a deployment started outlives it, whatever ends first."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.places import ROOT
from dev.processes import ComponentEnded, Processes
from dev.supervisor import descendants
from tests.waiting import living, soon

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")

# What Airflow's parts do: a child in a session of its own whose parent ends at once, and that ignores SIGTERM.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
open(f"{sys.argv[1]}/{os.getpid()}.pid", "w").close()
time.sleep(120)
"""
# As the web server of Airflow 2: what it starts continues when it is gone, in the same session.
LEFT_BEHIND = """
import os, sys, time
os.fork()
open(f"{sys.argv[1]}/{os.getpid()}.pid", "w").close()
time.sleep(120)
"""
PARENT = """
import sys, time
from pathlib import Path
from dev.processes import Processes
folder = Path(sys.argv[1])
processes = Processes(folder, keep=False)
processes.start("stubborn", [sys.executable, "-c", sys.argv[2], sys.argv[3]], {}, folder / "log")
time.sleep(120)
"""


def pids_in(folder: Path) -> set[int]:
    return {int(path.stem) for path in folder.glob("*.pid")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.fixture
def processes(folder: Path) -> Iterator[Processes]:
    made = Processes(folder, keep=False)
    yield made
    made.end()


def start_stubborn(processes: Processes, folder: Path, tmp_path: Path) -> set[int]:
    processes.start("stubborn", [sys.executable, "-c", STUBBORN, str(tmp_path)], {}, folder / "log")
    soon(lambda: len(pids_in(tmp_path)) == 2)
    return pids_in(tmp_path)


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "terminated"])
def test_everything_ends_with_the_parent(folder: Path, tmp_path: Path, sig: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder), STUBBORN, str(tmp_path)], env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    soon(lambda: len(pids_in(tmp_path)) == 2)
    everything = descendants({parent.pid})
    assert pids_in(tmp_path) <= everything

    parent.send_signal(sig)
    parent.wait()

    soon(lambda: not living(everything))
    soon(lambda: not folder.exists())


def test_the_end_takes_daemons_that_ignore_sigterm_with_it(folder: Path, tmp_path: Path) -> None:
    processes = Processes(folder, keep=False)
    pids = start_stubborn(processes, folder, tmp_path)

    processes.end()

    assert not living(pids)
    assert not processes.alive
    assert not folder.exists()
    processes.end()  # a second time does no harm


def test_a_killed_component_takes_its_descendants_with_it_and_no_other(
    processes: Processes, folder: Path, tmp_path: Path
) -> None:
    pids = start_stubborn(processes, folder, tmp_path)
    other = processes.start("other", [sys.executable, "-c", "import time; time.sleep(120)"], {}, folder / "log")

    assert processes.stop("stubborn", signal.SIGKILL) == -signal.SIGKILL

    # The orphan had left its family before the kill; it goes with the rest at the end.
    assert len(living(pids)) <= 1
    assert living({other}) == {other}
    assert processes.poll() == {"other": (other, None)}


def test_what_a_dead_component_left_behind_ends_when_it_is_stopped(
    processes: Processes, folder: Path, tmp_path: Path
) -> None:
    main = processes.start("web", [sys.executable, "-c", LEFT_BEHIND, str(tmp_path)], {}, folder / "log")
    soon(lambda: len(pids_in(tmp_path)) == 2)
    os.kill(main, signal.SIGKILL)
    soon(lambda: processes.poll() == {"web": (main, -signal.SIGKILL)})
    assert len(living(pids_in(tmp_path))) == 1

    processes.stop("web", grace=0.5)

    assert not living(pids_in(tmp_path))


def test_a_component_that_ended_is_reported_with_its_code(processes: Processes, folder: Path) -> None:
    pid = processes.start("brief", [sys.executable, "-c", "raise SystemExit(3)"], {}, folder / "log")

    soon(lambda: processes.poll() == {"brief": (pid, 3)})


def test_a_command_that_does_not_exist_is_an_error_and_the_rest_continues(processes: Processes, folder: Path) -> None:
    with pytest.raises(ComponentEnded, match="FileNotFoundError"):
        processes.start("nothing", [str(folder / "no-such-command")], {}, folder / "log")

    assert processes.poll() == {}


def test_killing_the_supervisor_is_noticed(folder: Path) -> None:
    processes = Processes(folder, keep=False)
    component = processes.start("sleeper", [sys.executable, "-c", "import time; time.sleep(120)"], {}, folder / "log")

    os.kill(processes.pid, signal.SIGKILL)

    soon(lambda: not processes.alive)
    soon(lambda: not living({component}))
    with pytest.raises(ComponentEnded, match="was stopped"):
        processes.poll()
    processes.end()
