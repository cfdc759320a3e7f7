"""The command line for pools: what it prints, and the codes it ends with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow import __version__ as airflow_version
from airflow.models.connection import Connection

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.api.protocol.untrusted import UNSAFE
from astronomer_remote.cli.airflow_commands import get_commands
from astronomer_remote.cli.connection import parts_of
from astronomer_remote.cli.main import main
from astronomer_remote.compat import connection_parts
from astronomer_remote.testing import FakeDeployment

pytestmark = pytest.mark.usefixtures("logging_as_before")

Start = Callable[..., FakeDeployment]

AIRFLOW = tuple(int(part) for part in airflow_version.split(".")[:2])


@pytest.fixture
def declare(tmp_path: Path) -> Callable[[Any], str]:
    def write(pools: Any) -> str:
        path = tmp_path / "pools.json"
        path.write_text(json.dumps(pools))
        return str(path)

    return write


def run(*arguments: str) -> int:
    try:
        main(["pools", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_pools_are_listed(any_remote: FakeDeployment, capsys: pytest.CaptureFixture[str]) -> None:
    any_remote.add_pool("p", 3, occupied=2, description="for us")
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "slots", "occupied", "open", "include_deferred", "description"]
    assert [line.split()[:2] for line in lines[2:]] == [["default_pool", "128"], ["p", "3"]]
    assert run("list", "--output", "json") == 0
    assert [pool["name"] for pool in json.loads(capsys.readouterr().out)] == ["default_pool", "p"]


@pytest.mark.parametrize("output", ["table", "json"])
def test_what_a_remote_sends_cannot_control_the_terminal(
    start: Start, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    evil = "\x1b]0;gone\x07\n\u202e\x9b\ud800"
    start("3.3.2").add_pool(f"p{evil}", 1, description=evil)
    assert run("list", "--output", output) == 0
    printed = capsys.readouterr().out
    assert not UNSAFE.search(printed.replace("\n", ""))
    assert "\\x1b]0" in printed or "\\u001b]0" in printed
    if output == "json":
        # Half a character cannot be kept; all the rest is.
        assert json.loads(printed)[1]["name"] == f"p{evil[:-1]}\ufffd"


def test_the_exit_code_says_whether_anything_differs(
    any_remote: FakeDeployment, declare: Callable[[Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = declare({"p": 3})
    assert run("diff", "--file", path) == 1
    assert "create  p" in capsys.readouterr().out
    assert run("sync", "--file", path, "--dry-run") == 1
    assert any_remote.pools() == {"default_pool": 128}
    assert run("sync", "--file", path) == 0
    assert any_remote.pools() == {"default_pool": 128, "p": 3}
    assert run("diff", "--file", path) == 0
    capsys.readouterr()
    assert run("diff", "--file", path, "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["changes"] == []
    assert run("sync", "--file", declare({}), "--prune", "--force", "--output", "json") == 0
    assert [each["outcome"] for each in json.loads(capsys.readouterr().out)["changes"]] == ["done"]
    assert any_remote.pools() == {"default_pool": 128}


def test_another_deployment_can_be_the_declaration(start: Start) -> None:
    start(conn_id="staging").add_pool("p", 3, description="d")
    remote = start("2.11.2", conn_id="production")
    assert run("sync", "--conn-id", "production", "--source-conn-id", "staging", "--fields", "slots") == 0
    assert remote.pools() == {"default_pool": 128, "p": 3}
    assert run("diff", "--conn-id", "production", "--source-conn-id", "staging", "--fields", "slots") == 0
    assert run("diff", "--conn-id", "production", "--source-conn-id", "staging") == 1


def test_an_error_is_one_line_and_another_exit_code(
    start: Start, declare: Callable[[Any], str], capsys: pytest.CaptureFixture[str]
) -> None:
    remote = start("2.11.2")
    calls = {
        ("diff",): "either --file or --source-conn-id",
        ("diff", "--file", "x", "--source-conn-id", "y"): "either --file or --source-conn-id",
        ("diff", "--source-conn-id", "astronomer_default"): "is the same deployment",
        ("diff", "--file", "missing.json"): "cannot be read",
        ("diff", "--file", declare({"p": 1}), "--fields", "size"): "fields holds size",
        ("list", "--conn-id", "unknown"): "unknown",
        ("list", "--colour"): "unrecognized arguments: --colour",
        ("fly",): "invalid choice: 'fly'",
    }
    for call, words in calls.items():
        assert run(*call) == 2, call
        said = capsys.readouterr()
        assert words in said.err, call
        assert "Traceback" not in said.err
    remote.disturb(400, times=1, method="POST")
    assert run("sync", "--file", declare({"a": 1, "b": 1}), "-o", "json") == 4
    said = capsys.readouterr()
    assert [each["outcome"] for each in json.loads(said.out)["changes"]] == ["failed", "not done"]
    assert "RequestRefused: " in said.err


@pytest.mark.parametrize(
    "uri",
    [
        "astronomer://admin:p%40ss@airflow.example.com:8080/path?auth=basic",
        "astronomer://https://user:p%3Aw@H.example.com:8443/a%2Fb",
        "astronomer://:token@https%3A%2F%2Fh.example.com%2FDeploy",
        "astronomer://:token@h/?__extra__=%7B%22api%22%3A+%22v2%22%2C+%22secret_headers%22%3A+%7B%22A%22%3A+%22b%22%7D%7D",
        "astronomer://h?connect_timeout=3&verify=false&ca_file=",
        "astronomer://h/?__extra__=",
        "astronomer://u@[::1]:80/https",
        "http://https://h/x#y",
        "my-type://u:p@h",
    ],
)
def test_a_connection_s_uri_is_read_as_airflow_reads_it(uri: str) -> None:
    read = connection_parts(Connection(uri=uri))
    assert Settings.parse(**parts_of(uri, "")) == Settings.parse(**read)


@pytest.mark.parametrize(
    "text",
    [
        *("nothing", "airflow.example.com:8080", "a://u:secret@h:port", "a://u:secret@h:99999", "a://b://c://secret"),
        *("a://u:secret@https://h", "a://h/?__extra__={secret", '{"password": "secret"', '{"port": "secret"}'),
    ],
)
def test_what_is_no_connection_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^AIRFLOW_CONN_X is no (URI|JSON object) of a connection") as error:
        parts_of(text, "AIRFLOW_CONN_X")
    assert "secret" not in str(error.value)


def test_airflow_takes_the_commands_as_they_are() -> None:
    (group,) = get_commands()
    assert group.name == "remote"
    pools = next(each for each in group.subcommands if each.name == "pools")
    assert [command.name for command in pools.subcommands] == ["list", "diff", "sync"]


@pytest.mark.skipif(AIRFLOW < (3, 2), reason="this Airflow takes no commands from providers")
@pytest.mark.timeout(300)
def test_airflow_s_own_command_line_has_them(database: None, start: Start, declare: Callable[[Any], str]) -> None:
    remote = start()
    connection = json.dumps({"conn_type": "astronomer", **remote.connection()})
    env = {name: value for name, value in os.environ.items() if name != "AIRFLOW_CONN_ASTRONOMER_DEFAULT"}
    airflow = [sys.executable, "-m", "airflow"]
    stored = [*airflow, "connections", "add", "stored", "--conn-json", connection]
    subprocess.run(stored, env=env, check=True, capture_output=True)
    command = [*airflow, "remote", "pools", "sync", "--conn-id", "stored", "--file", declare({"p": 3}), "-o", "json"]
    done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert remote.pools() == {"default_pool": 128, "p": 3}
    assert '"outcome": "done"' in done.stdout
