"""The command `astronomer-remote` in a shell, against real deployments of each generation."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from dev.deployments import Airflow
from tests.live.deployments import airflow
from tests.live.remote import RemoteAirflow, RemoteRun

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

DAGS = Path(__file__).parent / "remote_dags"
COMMAND = str(Path(sys.executable).with_name("astronomer-remote"))
OURS = ("ASTRONOMER_REMOTE_TOKEN", "ASTRONOMER_REMOTE_USER", "ASTRONOMER_REMOTE_PASSWORD")
QUICKLY = ("--wait", "--poll", "1")

TEXT_OR_NULL = {"type": ["string", "null"]}
RUN = {
    "dag_id": {"type": "string"},
    "run_id": {"type": "string"},
    "state": {"type": "string"},
    "run_type": TEXT_OR_NULL,
    "conf": {"type": ["object", "null"]},
    "note": TEXT_OR_NULL,
    "url": {"type": "string", "pattern": "^http://127.0.0.1:"},
    **dict.fromkeys(("logical_date", "run_after", "start_date", "end_date"), TEXT_OR_NULL),
}
TASK = {
    "name": {"type": "string"},
    "task_id": {"type": "string"},
    "map_index": {"type": "integer"},
    "state": TEXT_OR_NULL,
    "try_number": {"type": "integer"},
    "duration": {"type": ["number", "null"]},
    **dict.fromkeys(("operator", "start_date", "end_date", "dag_id", "run_id"), TEXT_OR_NULL),
}
FAILED_TASK = {
    **{name: TASK[name] for name in ("task_id", "map_index", "try_number", "operator", "duration")},
    **dict.fromkeys(("start_date", "end_date", "log_missing"), TEXT_OR_NULL),
    "log": {"type": "array", "items": {"type": "string"}},
}


def exactly(properties: Mapping[str, Any]) -> dict[str, Any]:
    """A schema of objects with all of these properties and no others."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def a_list_of(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": exactly(properties), "minItems": 1}


FAILURE = exactly(
    {
        **{name: RUN[name] for name in ("dag_id", "run_id", "state", "url")},
        **{key: {"type": ["integer", "null"]} for key in ("task_count", "failed_count")},
        "tasks": {"type": "array", "items": exactly(FAILED_TASK)},
        "remark": TEXT_OR_NULL,
    }
)


class Shell:
    """
    A shell without a terminal, in which the command is called.

    :param deployment: what the command is about.
    """

    def __init__(self, deployment: Airflow) -> None:
        self.remote = RemoteAirflow(deployment)
        self.has_accounts = deployment.generation != "experimental"
        self._users = deployment.users

    def environment(self, role: str = "admin", **more: str) -> dict[str, str]:
        login, password = self._users[role]
        ours = {"ASTRONOMER_REMOTE_USER": login, "ASTRONOMER_REMOTE_PASSWORD": password} if self.has_accounts else {}
        return {**{name: value for name, value in os.environ.items() if name not in OURS}, **ours, **more}

    def arguments(self, *arguments: str) -> list[str]:
        """The command line, with the deployment's URL."""
        return [COMMAND, *arguments, "--url", self.remote.url]

    def call(self, *arguments: str, role: str = "admin") -> subprocess.CompletedProcess[str]:
        """Call the command about the deployment."""
        return self.run(self.arguments(*arguments), self.environment(role))

    def run(self, command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
            start_new_session=True,
        )
        # One of the remote, in the end of a log, has something before it.
        assert not re.search("^Traceback", done.stderr, re.MULTILINE), done.stderr
        return done

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command, and wait until it has triggered its run and polled it."""
        started = subprocess.Popen(
            self.arguments(*arguments),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert started.stderr
        assert started.stderr.readline().startswith("Run "), started.stderr.read()
        assert started.stderr.readline().startswith("Waiting for run "), started.stderr.read()
        return started

    def only_run(self, part_of_id: str) -> RemoteRun:
        """The run in the remote's database whose id holds a text, if there is exactly one."""
        (run,) = self.remote.runs(part_of_id)
        return run


@pytest.fixture(scope="module", params=["1.10.15", "2.11.2", "3.3.2"])
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    with airflow(request.param, name="cli", dags=DAGS) as deployment:
        deployment.wait_dags(["quick", "failing", "sleeper", "chatty"])
        yield Shell(deployment)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_each_exit_code_and_the_json_of_a_run(shell: Shell) -> None:
    done = shell.call("trigger", "quick", "--run-id", "first", "--conf", '{"a": [1, "ü"]}', *QUICKLY, "-o", "json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    validate(run, exactly(RUN))
    assert (run["run_id"], run["state"]) == ("first", "success")
    failed = shell.call("trigger", "failing", "--key", "f", *QUICKLY, "-o", "json")
    assert failed.returncode == 1, failed.stderr
    validate(json.loads(failed.stdout), exactly({**RUN, "failure": FAILURE}))
    if shell.has_accounts:
        assert "boom on purpose" in failed.stderr
    refused = [
        (("trigger", "unknown"), "admin"),
        (("trigger", "quick", "--run-id", "first"), "admin"),
        (("wait", "quick", "unknown"), "admin"),
        *([(("trigger", "quick", "--run-id", "by-viewer"), "viewer")] if shell.has_accounts else []),
    ]
    for arguments, role in refused:
        assert shell.call(*arguments, role=role).returncode == 4, arguments
    for usage in (("trigger", "quick", "--conf", "[1]"), ("trigger",), ("fly",), ("runs", "quick", "--conn-id", "x")):
        assert shell.call(*usage).returncode == 2, usage
    late = shell.call("trigger", "sleeper", "--key", "late", "--conf", '{"seconds": 20}', *QUICKLY, "--timeout", "2")
    assert (late.returncode, "it continues: http" in late.stderr) == (3, True)
    began = time.monotonic()
    closed = shell.run([COMMAND, "runs", "quick", "--url", f"http://127.0.0.1:{free_port()}"], shell.environment())
    assert (closed.returncode, time.monotonic() - began < 20) == (5, True)
    assert {run.run_id for run in shell.remote.runs("") if run.dag_id == "quick"} == {"first"}
    if shell.has_accounts:
        wrong = shell.environment(ASTRONOMER_REMOTE_PASSWORD="very-wrong")
        denied = shell.run(shell.arguments("runs", "quick"), wrong)
        assert (denied.returncode, "very-wrong" in denied.stderr) == (4, False)


def test_listings_are_json(shell: Shell) -> None:
    assert shell.call("trigger", "quick", "--run-id", "listed", *QUICKLY).returncode == 0
    validate(json.loads(shell.call("runs", "quick", "-o", "json").stdout), a_list_of(RUN))
    one = shell.call("runs", "quick", "listed", "-o", "json")
    if shell.has_accounts:
        validate(json.loads(one.stdout), exactly({**RUN, "tasks": a_list_of(TASK)}))
    else:
        assert (one.returncode, one.stdout) == (4, "")
    assert json.loads(shell.call("pause", "failing", "-o", "json").stdout) == {"dag_id": "failing", "is_paused": True}
    assert shell.call("unpause", "failing").returncode == 0


def test_the_same_key_is_one_run(shell: Shell) -> None:
    for _ in range(2):
        assert shell.call("trigger", "quick", "--key", "twice", *QUICKLY).returncode == 0
    assert shell.only_run("twice").state == "success"
    with ThreadPoolExecutor() as pool:
        at_once = pool.map(lambda _: shell.call("trigger", "quick", "--key", "at-once", *QUICKLY), range(2))
    assert [done.returncode for done in at_once] == [0, 0]
    assert shell.only_run("at-once").state == "success"


def test_a_command_that_was_killed_finds_its_run_again(shell: Shell) -> None:
    arguments = ("trigger", "sleeper", "--key", "killed", "--conf", '{"seconds": 15}', *QUICKLY)
    started = shell.start(*arguments)
    started.kill()
    started.communicate()
    assert shell.only_run("killed").state in ("queued", "running")
    again = shell.call(*arguments, "-o", "json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["run_id"] == shell.only_run("killed").run_id


@pytest.mark.parametrize("cancels", [False, True])
def test_ctrl_c_leaves_the_run_alone_unless_it_is_to_be_cancelled(shell: Shell, cancels: bool) -> None:
    key = f"ctrl-c-{cancels}"
    option = ["--cancel-on-interrupt"] if cancels else []
    # It must not end before it is cancelled, and not hold up the next test for long.
    conf = json.dumps({"seconds": 40 if cancels else 10})
    started = shell.start("trigger", "sleeper", "--key", key, "--conf", conf, *QUICKLY, *option)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert (started.returncode, out, "Traceback" in err) == (130, "", False), err
    if not cancels:
        assert "continues: http" in err
    elif shell.has_accounts:
        assert "is now failed" in err
    else:
        assert "could not be cancelled" in err
    state = shell.only_run(key).state
    assert state == "failed" if cancels and shell.has_accounts else state in ("queued", "running"), state


def test_logs_are_printed_and_followed(shell: Shell) -> None:
    assert shell.call("trigger", "chatty", "--run-id", "talk", "--conf", '{"seconds": 15}').returncode == 0
    tasks = shell.call("runs", "chatty", "talk", "-o", "json")
    if not shell.has_accounts:
        assert shell.call("logs", "chatty", "talk", "speak").returncode == 4
        return
    (task,) = {each["task_id"] for each in json.loads(tasks.stdout)["tasks"]}
    followed = shell.call("logs", "chatty", "talk", task, "--follow", "--poll", "2")
    assert followed.returncode == 0, followed.stderr
    words = [f"word {number} of 5" for number in range(1, 6)]
    assert [sum(word in line for line in followed.stdout.splitlines()) for word in words] == [1] * 5
    assert followed.stderr.splitlines()[-1] == f"Task {task} is success"
    printed = shell.call("logs", "chatty", "talk", task, "--try", "1")
    assert [word for word in words if word in printed.stdout] == words
    assert shell.call("logs", "chatty", "talk", task, "--try", "2").returncode == 4


def test_a_reader_that_does_not_read_is_no_error(shell: Shell) -> None:
    command = " ".join(shell.arguments("runs", "quick", "-o", "plain"))
    for reader, codes in (("true", {"141"}), ("head -1", {"0", "141"})):
        done = shell.run(["bash", "-c", f"{command} | {reader}; echo ${{PIPESTATUS[0]}}"], shell.environment())
        assert done.stderr == ""
        assert done.stdout.splitlines()[-1] in codes


def test_a_connection_of_the_environment_is_read_as_uri_or_json(shell: Shell) -> None:
    login, password = shell._users["admin"]
    credentials = {"login": login, "password": password} if shell.has_accounts else {}
    uri = shell.remote.url.replace(
        "http://", f"astronomer://http://{login}:{password}@" if credentials else "http://http://"
    )
    for text in (uri, json.dumps({"conn_type": "astronomer", "host": shell.remote.url, **credentials})):
        environment = shell.environment(AIRFLOW_CONN_THERE=text)
        done = shell.run([COMMAND, "runs", "quick", "--conn-id", "there"], environment)
        assert done.returncode == 0, done.stderr


def test_bash_completes_in_a_terminal(tmp_path: Path) -> None:
    start_up = tmp_path / "bashrc"
    start_up.write_text('PS1="ready> "\nbind "set bell-style none"\neval "$(astronomer-remote completion bash)"\n')
    ours, theirs = pty.openpty()
    path = f"{Path(COMMAND).parent}{os.pathsep}{os.environ['PATH']}"
    bash = subprocess.Popen(
        ["bash", "--noprofile", "--rcfile", str(start_up), "-i"],
        env={**os.environ, "PATH": path, "TERM": "xterm", "HOME": str(tmp_path)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        shown_until(ours, "ready> ")
        os.write(ours, b"astronomer-remote tri\t")
        shown_until(ours, "astronomer-remote trigger ")
        os.write(ours, b"some_dag --cancel\t")
        shown_until(ours, "some_dag --cancel-on-interrupt ")
        os.write(ours, b"--output js\t")
        shown_until(ours, "--output json ")
    finally:
        bash.kill()
        bash.wait()
        os.close(ours)


def shown_until(terminal: int, due: str) -> None:
    """Read what a terminal shows until a text is in it."""
    shown, deadline = "", time.monotonic() + 60
    while due not in shown:
        assert select.select([terminal], [], [], deadline - time.monotonic())[0], shown
        shown += os.read(terminal, 65536).decode()
