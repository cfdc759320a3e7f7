"""The command astronomer-remote against a fake deployment: what it prints, and the codes it ends with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.ids import run_id_of_key
from astronomer_remote.api.protocol.untrusted import UNSAFE
from astronomer_remote.cli.main import main, parser_of
from astronomer_remote.cli.registry import COMMANDS
from astronomer_remote.cli.remote import settings_of_url
from astronomer_remote.testing import FakeDeployment
from tests.api.command import COMMAND, LOGIN, code_of, run

pytestmark = pytest.mark.usefixtures("logging_as_before")


@pytest.fixture(params=["1.10.15", "2.11.2", "3.3.2"])
def remote(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDeployment]:
    with FakeDeployment(request.param) as started:
        started.add_dag("quick", tasks=["hello"])
        started.add_dag("bad", ends="failed", tasks=["hello"])
        started.add_dag("slow", stays="running")
        if request.param > "2":
            for name, value in LOGIN.items():
                monkeypatch.setenv(name, value)
        yield started


def test_each_exit_code(remote: FakeDeployment, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = ("--wait", "--poll", "0.01")
    calls = {
        ("trigger", "quick", *waiting): 0,
        ("trigger", "bad", *waiting): 1,
        ("trigger", "quick", "--conf", "[1]"): 2,
        ("trigger", "quick", "--conf", "{"): 2,
        ("trigger", "quick", "--conf", "@missing.json"): 2,
        ("trigger", "quick", "--logs", "hello"): 2,
        ("trigger", "quick", "--key", "k", "--run-id", "r"): 2,
        ("trigger", "quick", "--timeout", "-1"): 2,
        ("trigger", "quick", "--key", " "): 2,
        ("trigger", "slow", *waiting, "--timeout", "0.1"): 3,
        ("trigger", "unknown"): 4,
        ("wait", "quick", "unknown"): 4,
    }
    for call, code in calls.items():
        assert run(remote, *call) == code, call
        assert "Traceback" not in capsys.readouterr().err
    remote.stop()
    before = time.monotonic()
    assert code_of("trigger", "quick", "--url", "http://127.0.0.1:9") == 5
    assert time.monotonic() - before < 5


def test_a_wrong_password_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASTRONOMER_REMOTE_USER", "admin")
    monkeypatch.setenv("ASTRONOMER_REMOTE_PASSWORD", "very-secret")
    with FakeDeployment() as remote:
        assert run(remote, "runs", "quick") == 4
    said = capsys.readouterr()
    assert "AuthenticationFailed" in said.err
    assert "very-secret" not in said.out + said.err


def test_the_same_key_means_the_same_run(remote: FakeDeployment, capsys: pytest.CaptureFixture[str]) -> None:
    call = ("trigger", "bad", "--key", "commit abc", "--wait", "--poll", "0.01", "--output", "json")
    assert [run(remote, *call) for _ in range(2)] == [1, 1]
    (only,) = remote.runs("bad")
    assert only["run_id"] == run_id_of_key("commit abc", dag_id="bad")
    assert run(remote, "trigger", "bad", "--key", "another") == 0
    assert len(remote.runs("bad")) == 2


def test_the_same_key_twice_at_once_is_one_run(remote: FakeDeployment) -> None:
    command = [*COMMAND, "trigger", "quick", "--key", "abc", "--output", "json", "--url", remote.url]
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: subprocess.run(command, capture_output=True, text=True, check=True), range(3)))
    assert len(remote.runs("quick")) == 1
    assert len({json.loads(each.stdout)["run_id"] for each in done}) == 1


@pytest.mark.parametrize(("option", "state"), [(None, "running"), ("--cancel-on-interrupt", "failed")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_cancels_only_if_it_should(
    option: str | None, state: str, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeDeployment() as remote:
        remote.add_dag("slow", stays="running")
        options = [option] if option else []
        command = [*COMMAND, "trigger", "slow", "--key", "k", "--wait", "--url", remote.url, *options]
        started = subprocess.Popen(
            command, env={**os.environ, **LOGIN}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert "Run remote__slow.k__" in started.stderr.readline()
            started.stderr.readline()
            started.send_signal(number)
            _, said = started.communicate(timeout=60)
        finally:
            started.kill()
        assert started.returncode == 128 + number
        assert "Traceback" not in said
        assert ("is now failed" if option else "continues: http") in said
        assert [each["state"] for each in remote.runs("slow")] == [state]
        if not option:
            for name, value in LOGIN.items():
                monkeypatch.setenv(name, value)
            remote.finish("slow", remote.runs("slow")[0]["run_id"])
            assert run(remote, "trigger", "slow", "--key", "k", "--wait") == 0
            assert len(remote.runs("slow")) == 1


def test_runs_are_shown_cancelled_and_cleared(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    with FakeDeployment("2.11.2") as remote:
        remote.add_dag("bad", ends="failed", tasks=["hello"])
        remote.add_dag("slow", stays="running")
        assert run(remote, "trigger", "bad", "--run-id", "r", "--wait", "--poll", "0.01", "-o", "json") == 1
        failed = json.loads(capsys.readouterr().out)
        assert (failed["run_id"], failed["failure"]["tasks"][0]["task_id"]) == ("r", "hello")
        assert run(remote, "runs", "bad", "-o", "plain") == 0
        assert capsys.readouterr().out.split("\t")[:2] == ["r", "failed"]
        assert run(remote, "runs", "bad", "--state", "success", "-o", "json") == 0
        assert json.loads(capsys.readouterr().out) == []
        assert run(remote, "runs", "bad", "r", "-o", "json") == 0
        assert json.loads(capsys.readouterr().out)["tasks"][0]["name"] == "hello"
        assert run(remote, "runs", "bad", "r") == 0
        assert "hello" in capsys.readouterr().out
        assert run(remote, "clear", "bad", "r", "--only-failed") == 0
        assert run(remote, "trigger", "slow", "--run-id", "s", "--conf", '{"a": 1}') == 0
        assert run(remote, "cancel", "slow", "s") == 0
        assert remote.runs("slow")[0]["state"] == "failed"
        assert run(remote, "pause", "slow") == 0
        assert run(remote, "call", "GET", "/dags/slow") == 0
        assert '"is_paused": true' in capsys.readouterr().out
        assert run(remote, "unpause", "slow") == 0


def test_the_log_of_a_task_is_printed(remote: FakeDeployment, capsys: pytest.CaptureFixture[str]) -> None:
    remote.add_dag("many", tasks=["a", "b"], mapped={"b": 2}, logs={"a": ["one", "\x1b[2Jtwo"], "b[1]": ["three"]})
    remote.add_run("many", "r")
    if run(remote, "logs", "many", "r", "a") == 4:
        assert remote.version == "1.10.15"
        assert "cannot show the log of a task" in capsys.readouterr().err
        return
    said = capsys.readouterr()
    assert ([line.split()[-1] for line in said.out.splitlines()], said.err) == (["one", "two"], "")
    assert run(remote, "logs", "many", "r", "b", "--map-index", "1", "--follow", "--poll", "0.01") == 0
    said = capsys.readouterr()
    assert (said.out.split()[-1], said.err) == ("three", "Task b[1] is success\n")
    for wrong, words in {
        ("a", "--try", "2"): "has had 1 try",
        ("b",): "Choose one by its map index: 0, 1",
        ("c",): "It has: a, b",
    }.items():
        assert run(remote, "logs", "many", "r", *wrong) == 4
        said = capsys.readouterr()
        assert (said.out, words in said.err) == ("", True)
    for wrong in (("--try", "0"), ("--map-index", "-1")):
        assert run(remote, "logs", "many", "r", "a", *wrong) == 2


def test_a_log_is_followed_to_the_end_of_its_try() -> None:
    with FakeDeployment() as remote:
        remote.add_dag("slow", stays="running", tasks=["a"], logs={"a": ["one"]})
        remote.add_run("slow", "r", state="running")
        command = [*COMMAND, "logs", "slow", "r", "a", "-f", "--poll", "0.1", "--url", remote.url]
        started = subprocess.Popen(
            command, env={**os.environ, **LOGIN}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            # It comes at once, also without a terminal.
            assert started.stdout.readline().endswith("one\n")
            remote.add_dag("slow", stays="running", tasks=["a"], logs={"a": ["one", "two"]})
            assert started.stdout.readline().endswith("two\n")
            remote.finish("slow", "r")
            rest = started.communicate(timeout=60)
        finally:
            started.kill()
    assert (rest, started.returncode) == (("", "Task a is success\n"), 0)


@pytest.mark.parametrize(
    ("given", "positional"),
    [
        (["runs", "d", "--url", "x", "r"], ("d", "r")),
        (["runs", "--url", "x", "d", "-o", "json", "r"], ("d", "r")),
        (["runs", "d", "--url", "x"], ("d", None)),
        (["runs", "--url", "x", "--", "--d", "--r"], ("--d", "--r")),
    ],
)
def test_arguments_may_stand_after_options(given: list[str], positional: tuple[str, str | None]) -> None:
    parsed = parser_of(COMMANDS, "astronomer-remote", "").parse_args(given)
    assert ((parsed.dag_id, parsed.run_id), parsed.url) == (positional, "x")


def test_folders_of_the_map_may_stand_around_an_option() -> None:
    parsed = parser_of(COMMANDS, "astronomer-remote", "").parse_args(["map", "a", "--check", "b"])
    assert (parsed.folders, parsed.check) == (["a", "b"], True)


def test_conf_comes_from_a_file(remote: FakeDeployment, tmp_path: Path) -> None:
    file = tmp_path / "conf.json"
    file.write_text('{"a": 1}')
    assert run(remote, "trigger", "quick", "--conf", f"@{file}") == 0
    assert remote.runs("quick")[0]["conf"] == {"a": 1}


def test_conf_may_be_large_and_its_file_begin_with_a_mark(
    remote: FakeDeployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, large = tmp_path / "conf.json", {"x": "y" * 50_000}
    file.write_text(json.dumps(large), encoding="utf-8-sig")
    arguments = ["trigger", "quick", "--key", "k", "--conf", f"@{file}", "-o", "json"]
    assert run(remote, *arguments) == 0
    first = json.loads(capsys.readouterr().out)
    if remote.version == "1.10.15":
        return
    assert first["conf"] == large
    assert run(remote, "runs", "quick", first["run_id"], "-o", "json") == 0
    assert json.loads(capsys.readouterr().out)["conf"] == large


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("trigger", "quick", "--conf", "[1]"), "conf must be a JSON object, not list"),
        (("assets", "register", "s3://a", "--extra", "[1]"), "extra must be a JSON object, not list"),
        (("trigger", "quick", "--run-id", "a/b"), "run_id='a/b' holds a character"),
        (("trigger", "../x"), "dag_id='../x' has a meaning of its own"),
        (("trigger", "quick", "--timeout", "5"), "--timeout needs --wait"),
        (("trigger", "quick", "--logs", "a"), "--logs needs --wait"),
        (("trigger", "quick", "--cancel-on-interrupt"), "--cancel-on-interrupt needs --wait"),
    ],
)
def test_a_wrong_argument_is_named_as_it_is_given(
    remote: FakeDeployment, given: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [run["run_id"] for run in remote.runs("quick")]
    assert run(remote, *given) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"InvalidSettings: {said}")
    assert [run["run_id"] for run in remote.runs("quick")] == before


def test_a_closed_pipe_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeDeployment() as remote:
        remote.add_dag("many")
        for number in range(3000):
            remote.add_run("many", f"manual__{number}")
        command = " ".join([*COMMAND, "runs", "many", "-o", "plain", "--url", remote.url])
        # Without a terminal or any input, too.
        script = f"{command} | head -1; echo ${{PIPESTATUS[0]}}"
        done = subprocess.run(
            ["bash", "-c", script],
            env={**os.environ, **LOGIN},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
            start_new_session=True,
        )
    first, code = done.stdout.splitlines()
    assert (first.split("\t")[0], code, done.stderr) == ("manual__0", "141", "")


@pytest.mark.parametrize(
    ("redirections", "code", "out", "err"),
    [
        (">&-", 0, "", "success"),
        (">/dev/full", 74, "", "The output could not be written: [Errno 28] No space left on device"),
        ("2>&-", 0, '"state": "success"', ""),
    ],
)
def test_an_output_that_is_closed_or_full_changes_no_other_output(
    redirections: str, code: int, out: str, err: str
) -> None:
    with FakeDeployment() as remote:
        remote.add_dag("quick")
        given = ["trigger", "quick", "--wait", "--poll", "0.01", "-o", "json", "--url", remote.url]
        done = subprocess.run(
            ["bash", "-c", f"{' '.join([*COMMAND, *given])} {redirections}"],
            env={**os.environ, **LOGIN},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert out in done.stdout
    assert err in done.stderr
    if out:
        json.loads(done.stdout)


def test_an_argument_that_is_no_text_is_refused() -> None:
    done = subprocess.run([*COMMAND, "runs", b"\xff"], capture_output=True, check=False)
    assert (done.returncode, b"not valid UTF-8" in done.stderr) == (2, True)


def test_logs_may_be_given_several_times() -> None:
    parser = parser_of(COMMANDS, "astronomer-remote", "")
    given = ["trigger", "d", "--wait", "--logs", "a", "b", "--logs", "c", "--url", "http://x"]
    assert parser.parse_args(given).logs == ["a", "b", "c"]
    assert parser.parse_args(["trigger", "d"]).logs == []


def test_a_limit_is_positive(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["assets", "events", "--limit", "-1", "--url", "http://x"])
    assert (end.value.code, "invalid number value: '-1'" in capsys.readouterr().err) == (2, True)


def test_an_empty_url_is_not_the_default_connection(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["pools", "list", "--url", ""])
    assert (end.value.code, "--url is empty" in capsys.readouterr().err) == (2, True)


def test_a_remote_cannot_control_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    with FakeDeployment() as remote:
        remote.add_dag("bad", ends="failed", tasks=["hello"], logs={"hello": ["\x1b]0;gone\x07"]})
        for output in ("table", "plain", "json"):
            note = "\x1b[2J[red]x[/red]"
            assert run(remote, "trigger", "bad", "--note", note, "--wait", "--poll", "0.01", "-o", output) == 1
            said = capsys.readouterr()
            assert not UNSAFE.search((said.out + said.err).replace("\n", "").replace("\t", ""))
            assert "[red]x[/red]" in said.out


def test_nothing_but_the_command_itself_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = "import sys; from astronomer_remote.cli.main import main\n{}\nprint(sorted(sys.modules), file=sys.stderr)"
    with FakeDeployment() as remote:
        remote.add_dag("quick")
        call = f"main(['trigger', 'quick', '--url', {remote.url!r}])"
        helped = "try: main(['--help'])\nexcept SystemExit: pass"
        for code in ("", helped, call):
            done = subprocess.run(
                [sys.executable, "-c", shown.format(code)],
                env={**os.environ, **LOGIN},
                capture_output=True,
                text=True,
                check=True,
            )
            imported = done.stderr.splitlines()[-1]
            assert "'airflow'" not in imported
            # What only a triggerer, a terminal, a declaration of pools or a shell's completion needs.
            for name in ("aiohttp", "yarl", "asyncio", "rich", "yaml", "jinja2", "argcomplete", "pydantic"):
                assert f"'{name}'" not in imported, name
            assert ("'requests'" in imported) is (code == call)


def test_the_login_comes_from_the_environment_only() -> None:
    user, password, token = (f"ASTRONOMER_REMOTE_{name}" for name in ("USER", "PASSWORD", "TOKEN"))
    assert settings_of_url("https://a", {token: "t"}).password == "t"
    assert settings_of_url("https://a", {user: "u", password: "p"}).login == "u"
    for wrong in ({user: "u"}, {password: "p"}, {token: "t", user: "u", password: "p"}):
        with pytest.raises(InvalidSettings):
            settings_of_url("https://a", wrong)


def test_a_connection_of_the_environment_needs_no_airflow(
    remote: FakeDeployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SHELL", json.dumps(remote.connection(port="", extra="{}")))
    main(["trigger", "quick", "--conn-id", "shell"])
    assert len(remote.runs("quick")) == 1
    login = "" if remote.version == "1.10.15" else "admin:admin@"
    monkeypatch.setenv("AIRFLOW_CONN_SHELL", remote.url.replace("http://", f"astronomer://http://{login}"))
    main(["trigger", "quick", "--conn-id", "shell"])
    assert len(remote.runs("quick")) == 2
    assert run(remote, "trigger", "quick", "--conn-id", "shell") == 2
    monkeypatch.setenv("AIRFLOW_CONN_SHELL", '{"password": "very-secret"')
    with pytest.raises(SystemExit) as end:
        main(["trigger", "quick", "--conn-id", "shell"])
    assert end.value.code == 2
    assert "very-secret" not in capsys.readouterr().err


def test_the_run_id_of_a_key_depends_on_dag_and_key() -> None:
    ids = {run_id_of_key(key, dag_id=dag) for key in ("a", "b", "a" * 500) for dag in ("x", "y")}
    assert len(ids) == 6
    assert all(len(each) <= 250 for each in ids)
    assert run_id_of_key("a", dag_id="x") == run_id_of_key("a", dag_id="x")


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_assets_and_events_are_listed_and_registered(
    version: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    with FakeDeployment(version) as remote:
        remote.add_asset("s3://b/a", producers=["load"])
        assert run(remote, "assets", "register", "s3://b/a", "--extra", '{"k": 1}') == 0
        assert remote.asset_events()[0]["extra"]["k"] == 1
        capsys.readouterr()
        assert run(remote, "assets", "list", "-o", "json") == 0
        assert json.loads(capsys.readouterr().out)[0]["producing_dag_ids"] == ["load"]
        assert run(remote, "assets", "events", "s3://b/a", "-o", "json") == 0
        assert json.loads(capsys.readouterr().out)[0]["extra"]["k"] == 1
        assert run(remote, "assets", "events", "unknown") == 4


def test_bash_completes_the_commands(tmp_path: Path) -> None:
    # Where a user's shell finds it: an executable on PATH.
    script = tmp_path / "astronomer-remote"
    script.write_text(f"#!{sys.executable}\nfrom astronomer_remote.cli.main import main\nmain()\n")
    script.chmod(0o755)
    line = "astronomer-remote tri"
    code = f"""
eval "$(astronomer-remote completion bash)"
COMP_LINE={line!r} COMP_POINT={len(line)} COMP_TYPE=9 COMP_WORDS=(astronomer-remote tri) COMP_CWORD=1
function=$(complete -p astronomer-remote | grep -o '[^ ]* astronomer-remote$' | cut -d' ' -f1)
$function astronomer-remote tri astronomer-remote
echo "${{COMPREPLY[@]}}"
"""
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["trigger"], done.stderr
