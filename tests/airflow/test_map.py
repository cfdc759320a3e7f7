"""The map of what local DAGs depend on: found without a request, written in each format, checked in the remotes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.cli import map as command
from astronomer_remote.cli.main import main
from astronomer_remote.map import Edge, ImportFailure, Map, Status, json_schema, read_folders
from astronomer_remote.map.page import page
from astronomer_remote.map.parse import cause
from astronomer_remote.map.writers import WRITERS, graphviz, mermaid, table, to_json
from astronomer_remote.testing import FakeDeployment

pytestmark = pytest.mark.usefixtures("logging_as_before")

LOCAL_DAGS = Path(__file__).parents[1] / "live" / "map_dags" / "local"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("team_a") / "dags"
    shutil.copytree(LOCAL_DAGS, made, ignore=shutil.ignore_patterns("__pycache__"))
    (made / "broken.py").write_text('from airflow import DAG\nraise ValueError("this \\x1b[31m DAG file is broken")\n')
    return made


@pytest.fixture(scope="module")
def found_once(folder: Path) -> str:
    """The map as JSON, since a check changes it."""
    return to_json(read_folders({"team_a": folder}))


@pytest.fixture
def found(found_once: str) -> Map:
    read = json.loads(found_once)
    edges = [Edge(**{**edge, "status": Status(edge["status"])}) for edge in read["edges"]]
    return Map(edges, read["dags"], [ImportFailure(**each) for each in read["import_errors"]])


@pytest.fixture
def remotes(start: Callable[..., FakeDeployment]) -> tuple[FakeDeployment, FakeDeployment]:
    one, two = start("2.11.2", "one"), start("3.3.2", "two")
    one.add_dag("load_sales", tasks=["rows"])
    one.add_pool("warehouse", 4)
    two.add_dag("publish")
    two.add_pool("reports", 2)
    two.add_asset("s3://lake/reports")
    return one, two


def row(edge: Edge) -> tuple[str, ...]:
    return edge.dag_id, edge.source, edge.how, edge.connection, edge.kind, edge.target


DECLARED = [
    ("reports", "announce", "registers events of", "two", "asset", "s3://lake/reports"),
    ("reports", "enlarge", "updates", "two", "pool", "reports"),
    ("reports", "later", "triggers", "two", "DAG", "(unknown)"),
    ("reports", "upstream", "waits for", "two", "DAG", "publish"),
    ("sales", "load", "triggers and waits for", "one", "DAG", "load_sales"),
    ("sales", "missing", "triggers", "one", "DAG", "no_such_dag"),
    ("sales", "room", "waits for slots of", "one", "pool", "warehouse"),
    ("sales", "rows", "waits for", "one", "task", "load_sales.rows"),
]


def test_a_folder_is_parsed_and_a_broken_file_hides_no_other(found: Map) -> None:
    assert [row(edge) for edge in found.edges] == DECLARED
    assert found.dags == 2
    (failed,) = found.import_errors
    assert (failed.local, failed.file) == ("team_a", "broken.py")
    assert failed.error == "ValueError: this \\x1b[31m DAG file is broken"


def test_only_the_processes_that_parse_import_airflow(folder: Path) -> None:
    code = (
        "import sys; from astronomer_remote.cli.main import main; main(sys.argv[1:]); print('airflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "map", str(folder)], capture_output=True, text=True, timeout=100, check=True
    )
    assert "load_sales" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"


def test_all_formats_agree_with_what_was_declared(found: Map) -> None:
    lines = table(found).splitlines()[2:]
    assert [tuple(re.split(r"\s{2,}", line)) for line in lines] == DECLARED
    edges = json.loads(to_json(found))["edges"]
    assert [(edge["dag_id"], edge["task_id"], edge["how"], edge["conn_id"], edge["kind"]) for edge in edges] == [
        each[:5] for each in DECLARED
    ]
    embedded = re.search(r'<script type="application/json" id="map">(.*?)</script>', page(found))
    assert embedded
    assert json.loads(embedded[1])["edges"] == edges
    assert edges_drawn(mermaid(found), r'(n\d+)\["(.*)"\]', r'(n\d+) -->\|"(.*)"\| (n\d+)') == drawn()
    dot = edges_drawn(graphviz(found), r'(n\d+) \[label="(.*)"\]', r'(n\d+) -> (n\d+) \[label="(.*)"\]', last=True)
    assert dot == drawn()


def drawn() -> list[tuple[str, ...]]:
    return [(task, how, f"{kind} {what}") for _, task, how, _, kind, what in DECLARED]


def edges_drawn(text: str, node: str, edge: str, *, last: bool = False) -> list[tuple[str, ...]]:
    plain = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text)
    labels = dict(re.findall(f"^ +{node}", plain, re.MULTILINE))
    edges = re.findall(edge, plain)
    return [
        (labels[begin], how, labels[end])
        for begin, how, end in (((a, c, b) if last else (a, b, c)) for a, b, c in edges)
    ]


def drawn_by_graphviz(found: Map) -> dict[str, Any]:
    """What Graphviz itself makes of the map."""
    dot = shutil.which("dot")
    if dot is None:
        pytest.skip("Graphviz is not installed (Debian: apt-get install graphviz).")
    done = subprocess.run([dot, "-Tjson"], input=graphviz(found), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    drawing: dict[str, Any] = json.loads(done.stdout)
    return drawing


def label_drawn(node: dict[str, Any]) -> str:
    return "".join(each["text"] for each in node["_ldraw_"] if each["op"] == "T")


def test_graphviz_draws_what_was_declared(found: Map) -> None:
    drawing = drawn_by_graphviz(found)
    labels = {each["_gvid"]: label_drawn(each) for each in drawing["objects"]}
    edges = [(labels[each["tail"]], label_drawn(each), labels[each["head"]]) for each in drawing["edges"]]
    assert edges == drawn()
    assert set(labels.values()) >= {"sales", "reports", "one", "two"}


def test_graphviz_shows_names_as_they_are() -> None:
    names = ["a&lt;b&amp;c", "\\N \\G", 'quoted "name"', "<b>bold</b>", "{a|b}", "ü ✓", "ends with \\"]
    found = Map([Edge("l", "d", name, "O", "f", "waits for", "c", "pool", name) for name in names], 1)
    shown = [label_drawn(each) for each in drawn_by_graphviz(found)["objects"]]
    assert [name for name in names if name not in shown or f"pool {name}" not in shown] == []
    assert drawn_by_graphviz(Map())["name"] == "remote"


def test_the_json_is_as_its_schema_says(
    found: Map, remotes: tuple[FakeDeployment, FakeDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = json_schema()
    Draft202012Validator.check_schema(schema)
    for part in (schema, *schema["$defs"].values()):
        # Nothing but what is described, and each described field is always there.
        part["additionalProperties"] = False
        assert list(part["properties"]) == part["required"]
    validator = Draft202012Validator(schema)
    for text in (to_json(found), to_json(Map())):
        validator.validate(json.loads(text))
    remotes[1].stop()
    monkeypatch.setattr(command, "SECONDS_PER_DEPLOYMENT", 1.0)
    command.check_all(found)
    assert found.unreachable
    assert found.broken
    validator.validate(json.loads(to_json(found)))
    for field, value in (("status", "fine"), ("kind", "table"), ("slots", "8"), ("dag_id", None)):
        other = json.loads(to_json(found))
        other["edges"][0][field] = value
        assert not validator.is_valid(other)


def test_edges_are_found_by_their_fields(found: Map) -> None:
    assert [edge.task_id for edge in found.find(dag_id="sales", kind="DAG")] == ["load", "missing"]
    assert found.find(dag_id="sales", kind="DAG", name="load_sales", conn_id="two") == []
    with pytest.raises(TypeError, match="An edge has no field 'dag', 'pool'"):
        found.find(pool="x", dag="sales")


def test_a_check_finds_what_is_missing_and_too_small(
    found: Map, remotes: tuple[FakeDeployment, FakeDeployment]
) -> None:
    command.check_all(found)
    assert {edge.source: edge.status.value for edge in found.edges} == {
        **dict.fromkeys(("announce", "enlarge", "upstream", "load", "rows"), "ok"),
        **dict.fromkeys(("missing", "room"), "broken"),
        "later": "unknown",
    }
    problems = [problem for edge in found.broken for problem in edge.problems]
    assert problems[0].startswith("The remote knows no DAG 'no_such_dag'")
    assert problems[1:] == ["Pool 'warehouse' has 4 slots, and the task waits for 8."]
    assert "BROKEN" in table(found)
    assert "sales.room: Pool 'warehouse' has 4 slots" in table(found)
    assert "-.->" in mermaid(found)
    assert "style=dashed" in graphviz(found)
    # Nothing is changed, and nothing is read twice.
    for remote in remotes:
        assert remote.requests
        assert len(remote.requests) <= 12


def test_a_check_finds_what_is_paused_or_not_allowed(
    found: Map, remotes: tuple[FakeDeployment, FakeDeployment], add_connection: Callable[..., str]
) -> None:
    one, two = remotes
    one.add_dag("load_sales", tasks=["other"], is_paused=True)
    two.remove_pool("reports")
    add_connection("two", **two.connection(login="viewer", password="viewer"))
    command.check_all(found)
    problems = {edge.source: edge.problems for edge in found.edges}
    assert problems["load"] == ["DAG 'load_sales' is paused."]
    assert problems["rows"] == ["DAG 'load_sales' is paused.", "DAG 'load_sales' has no task 'rows'."]
    assert problems["upstream"] == []
    assert problems["announce"][0].startswith("The account may not do this. It takes at least the role")
    assert problems["enlarge"] == [
        "The account may not do this. It takes at least the role Op.",
        "There is no pool 'reports'.",
    ]
    assert problems["later"][0].startswith("The account may not do this.")


def test_a_read_only_connection_may_change_nothing(
    found: Map, remotes: tuple[FakeDeployment, FakeDeployment], add_connection: Callable[..., str]
) -> None:
    add_connection("two", **remotes[1].connection(extra={"read_only": True}))
    command.check_all(found)
    broken = {edge.source: edge.problems for edge in found.broken if edge.conn_id == "two"}
    assert broken == {task: ["The connection is read_only."] for task in ("announce", "enlarge", "later")}


@pytest.mark.parametrize("version", ["1.10.15", "2.2.5", "3.3.2"])
def test_deployments_of_all_generations_are_checked(
    version: str, start: Callable[..., FakeDeployment], found: Map
) -> None:
    remote = start(version, "one")
    remote.add_dag("load_sales", tasks=["rows", "group.a"])
    remote.add_pool("warehouse", 9)
    fields = {"local": "l", "dag_id": "d", "operator": "O", "file": "f", "how": "waits for", "conn_id": "one"}
    parts = [("task", "rows"), ("task", "none"), ("task group", "group"), ("task group", "none")]
    found.edges = [
        *(edge for edge in found.edges if edge.conn_id == "one" and edge.source != "missing"),
        *(Edge(**fields, task_id=name, kind=kind, name=name, remote_dag_id="load_sales") for kind, name in parts),
    ]
    command.check_all(found)
    assert not found.unreachable
    broken = {(edge.kind, edge.name) for edge in found.broken}
    groups = set() if version == "1.10.15" else {("task group", "none")}
    assert broken == {("task", "none"), *groups}


def test_a_remote_that_is_down_or_has_no_connection_is_reported(
    found: Map, remotes: tuple[FakeDeployment, FakeDeployment], monkeypatch: pytest.MonkeyPatch
) -> None:
    remotes[1].stop()
    monkeypatch.setattr(command, "SECONDS_PER_DEPLOYMENT", 1.0)
    monkeypatch.delenv("AIRFLOW_CONN_ONE")
    monkeypatch.setattr("astronomer_remote.compat.connection_of_a_command", no_database)
    command.check_all(found)
    assert list(found.unreachable) == ["two"]
    assert all("no connection" in edge.problems[0] for edge in found.edges if edge.conn_id == "one")
    assert all(edge.status is not Status.OK for edge in found.edges)


def no_database(conn_id: str) -> Any:
    """Connections of the environment, without the database that Airflow would read next."""
    from airflow.providers.common.compat.sdk import AirflowNotFoundException
    from airflow.secrets.environment_variables import EnvironmentVariablesBackend

    found = EnvironmentVariablesBackend().get_connection(conn_id)
    if found is None:
        raise AirflowNotFoundException(f"There is no connection {conn_id!r}")
    return found


def test_the_path_of_a_folder_may_hold_the_sign_that_ends_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "team=a" / "dags"
    folder.mkdir(parents=True)
    assert command._named([str(folder), f"b={folder}"]) == {"team=a": folder, "b": folder}


@pytest.mark.usefixtures("remotes")
def test_the_exit_code_and_the_output_of_the_command(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert exit_code("--check", str(folder)) == 1
    shown = capsys.readouterr()
    assert "load_sales" in shown.out
    assert "broken.py could not be read" in shown.err
    assert exit_code("-o", "html", f"sales={folder}", f"again={folder}") == 0
    assert capsys.readouterr().out.startswith("<!doctype html>")
    assert exit_code(str(folder), str(folder)) == 2
    assert "Two folders are named" in capsys.readouterr().err
    assert exit_code(str(folder / "none")) == 2
    assert exit_code("--output", "none", str(folder)) == 2


def test_the_exit_code_of_a_remote_that_is_down(
    remotes: tuple[FakeDeployment, FakeDeployment],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def read(folders: Any) -> Map:
        needs = (("one", "load_sales"), ("two", "publish"))
        return Map([Edge("l", "d", "t", "O", "f", "waits for", conn_id, "DAG", name) for conn_id, name in needs], 1)

    monkeypatch.setattr("astronomer_remote.map.read_folders", read)
    assert exit_code("--check", "x") == 0
    remotes[1].stop()
    monkeypatch.setattr(command, "SECONDS_PER_DEPLOYMENT", 1.0)
    capsys.readouterr()
    assert exit_code("--check", "-o", "json", "x") == 5
    shown = capsys.readouterr()
    assert [edge["status"] for edge in json.loads(shown.out)["edges"]] == ["ok", "unchecked"]
    assert shown.err.startswith("two could not be checked: ")
    # A problem of a deployment that could be checked counts more.
    remotes[0].remove_dag("load_sales")
    assert exit_code("--check", "x") == 1


def exit_code(*arguments: str) -> Any:
    try:
        main(["map", *arguments])
    except SystemExit as ended:
        return ended.code
    return 0


def test_a_folder_that_ends_the_process_is_reported(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("import os\nfrom airflow import DAG\nos.write(2, b'bye')\nos._exit(3)\n")
    with pytest.raises(InvalidSettings, match=r"could not be parsed: their process ended with 3 after: .*bye"):
        read_folders({"x": tmp_path})


FINE = """
from datetime import datetime, timezone
from airflow import DAG
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
with DAG("fine", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    RemoteTriggerDagRunOperator(task_id="load", trigger_dag_id="load")
"""
READS = "from airflow import DAG\ninput()\n"
LASTS = """
import subprocess, sys, threading
from airflow import DAG
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
threading.Thread(target=threading.Event().wait).start()
"""
TALKS = """
import os, sys
from airflow import DAG
print("on stdout", flush=True)
os.write(1, b"\\xff raw")
sys.exit("ended")
"""
SEVERAL_LINES = 'from airflow import DAG\nraise ValueError("first line\\nsecond line")\n'
RAISES = """
from datetime import datetime, timezone
from airflow import DAG
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
class Broken(RemoteTriggerDagRunOperator):
    @classmethod
    def remote_dependencies(cls, task):
        return [task.no_such_field]
with DAG("broken", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc)):
    Broken(task_id="load", trigger_dag_id="load")
"""


DAGS_OF_THE_DOCUMENTATION = """
from datetime import datetime, timezone
from airflow.providers.common.compat.sdk import DAG
from astronomer_remote.operators.asset import RemoteAssetEventOperator
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.sensors.pool import RemotePoolSlotSensor
START = datetime(2026, 1, 1, tzinfo=timezone.utc)
with DAG("reports", schedule=None, start_date=START):
    RemoteAssetEventOperator(task_id="announce", asset="s3://lake/reports", astronomer_conn_id="analytics")
with DAG("sales", schedule=None, start_date=START):
    load = RemoteTriggerDagRunOperator(
        task_id="load", trigger_dag_id="load_sales", astronomer_conn_id="warehouse", wait_for_completion=True
    )
    RemotePoolSlotSensor(task_id="free_slots", pool_name="loading", slots=2, astronomer_conn_id="warehouse") >> load
"""


def test_the_examples_of_the_documentation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page_of_docs = (Path(__file__).parents[2] / "docs" / "map.md").read_text()
    shown = re.search(r"```console\n\$ astronomer-remote map dags/\n(.*?)```", page_of_docs, re.DOTALL)
    tests = re.search(r"```python\n(from pathlib.*?)```", page_of_docs, re.DOTALL)
    assert shown
    assert tests
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "sales.py").write_text(DAGS_OF_THE_DOCUMENTATION)
    names: dict[str, Any] = {"__file__": str(tmp_path / "tests" / "test_dags.py")}
    exec(compile(tests[1], "docs", "exec"), names)  # our own
    found = names["read_folders"]({"sales": names["DAGS"]})
    checks = [each for name, each in names.items() if name.startswith("test_")]
    assert len(checks) == 3
    for check in checks:
        check(found)

    monkeypatch.setattr("astronomer_remote.map.read_folders", lambda folders: found)
    assert exit_code("dags/") == 0
    assert capsys.readouterr().out.split() == shown[1].split()

    found.find(task_id="load")[0].name = None
    found.import_errors.append(ImportFailure("sales", "x.py", "broken"))
    for check in checks:
        with pytest.raises(AssertionError):
            check(found)


def test_no_dag_file_can_keep_or_hide_what_the_others_hold(tmp_path: Path) -> None:
    files = {"fine": FINE, "reads": READS, "lasts": LASTS, "talks": TALKS, "lines": SEVERAL_LINES, "raises": RAISES}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    began = time.monotonic()
    found = read_folders({"x": tmp_path})
    assert time.monotonic() - began < 45  # the process that a file started runs for 60 seconds
    assert [(edge.dag_id, edge.file) for edge in found.edges] == [("fine", "fine.py")]
    errors = {failed.file: failed.error for failed in found.import_errors}
    assert list(errors) == ["lines.py", "raises.py", "reads.py", "talks.py"]
    assert errors["lines.py"] == "ValueError: first line"
    assert errors["raises.py"].startswith("The dependencies of DAG 'broken' are not known: AttributeError")
    assert errors["reads.py"].startswith("EOFError")
    assert errors["talks.py"] == "SystemExit: ended"


def test_the_cause_of_an_import_error_is_one_line() -> None:
    text = 'Traceback (most recent call last):\n  File "x.py", line 1\n    f(\nTimeout: too slow\n\n* see a page\n'
    assert cause(text) == "Timeout: too slow"
    assert cause("DAG 'x' is also in y.py") == "DAG 'x' is also in y.py"
    assert cause("") == "no reason given"
    assert cause("one\n  two") == "two"


HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(1)> " \\ \x1b[2J &amp; ]\n%%DATA%%'


def test_no_name_acts_on_what_reads_the_map() -> None:
    edge = Edge("local", HOSTILE, HOSTILE, "O", "f", "waits for", HOSTILE, "pool", HOSTILE)
    found = Map([edge], 1, [ImportFailure(HOSTILE, HOSTILE, HOSTILE)], {HOSTILE: HOSTILE})
    html = page(found)
    assert html.count("<script") == 2
    assert "<img" not in html
    embedded = re.search(r'<script type="application/json" id="map">(.*?)</script>', html)
    assert embedded
    assert json.loads(embedded[1])["edges"][0]["name"] == HOSTILE
    for text in (WRITERS["table"](found), mermaid(found), graphviz(found), to_json(found)):
        assert "\x1b" not in text
    assert "<" not in mermaid(found)
    # Every quote within a label is escaped.
    for line in graphviz(found).splitlines():
        assert len(re.sub(r"\\.", "", line).split('"')) in (1, 3)


def test_nothing_of_the_map_is_imported_with_an_operator() -> None:
    code = (
        "import sys, astronomer_remote.operators.dag_run;"
        "print([name for name in sys.modules if name.startswith('astronomer_remote.map')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
