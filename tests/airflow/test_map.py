"""The map of what local DAGs depend on: found without a request, written in each format, checked in the remotes."""

from __future__ import annotations

import json
import logging
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import DAG, TaskGroup

from astronomer_remote.cli import map as command
from astronomer_remote.cli.main import main
from astronomer_remote.compat import AIRFLOW_3
from astronomer_remote.map.find import edges_of, read_folders
from astronomer_remote.map.model import Edge, Map, Status
from astronomer_remote.map.page import page
from astronomer_remote.map.writers import WRITERS, graphviz, mermaid, table, to_json
from astronomer_remote.operators.asset import RemoteMaterializeAssetOperator
from astronomer_remote.operators.dag import RemoteClearDagRunOperator, RemoteDeleteDagRunOperator, dag_paused
from astronomer_remote.operators.dag_run import RemoteTriggerDagRunOperator
from astronomer_remote.operators.pool import (
    RemoteCreatePoolOperator,
    RemoteDeletePoolOperator,
    RemoteSyncPoolsOperator,
    RemoteUpdatePoolOperator,
)
from astronomer_remote.operators.pool_loan import borrowed_slots
from astronomer_remote.sensors.asset import RemoteAssetSensor
from astronomer_remote.sensors.dag_run import RemoteDagRunSensor
from astronomer_remote.sensors.pool import RemotePoolSlotSensor
from astronomer_remote.testing import FakeDeployment

LOCAL_DAGS = Path(__file__).parents[1] / "live" / "map_dags" / "local"


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command silences logging in its process."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        yield
    logging.disable(before)


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
    return Map(edges, read["dags"], read["import_errors"])


@pytest.fixture
def remotes(start: Callable[..., FakeDeployment]) -> tuple[FakeDeployment, FakeDeployment]:
    one, two = start("2.11.2", "one"), start("3.3.2", "two")
    one.add_dag("load_sales", tasks=["rows"])
    one.add_pool("warehouse", 4)
    two.add_dag("publish")
    two.add_pool("reports", 2)
    two.add_asset("s3://lake/reports")
    return one, two


def in_a_dag(make: Callable[[], Any], **arguments: Any) -> list[tuple[Any, ...]]:
    """Task, what it does, kind, what, and connection of each edge of a DAG."""
    with DAG("local", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), **arguments) as dag:
        make()
    edges = [Edge(local="here", **fields) for fields in edges_of(dag, "local.py")]
    return [(edge.source, edge.how, edge.kind, edge.target, edge.connection) for edge in edges]


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
    assert list(found.import_errors) == ["broken.py"]
    assert "DAG file is broken" in found.import_errors["broken.py"]
    assert "\x1b" not in found.import_errors["broken.py"]


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

    fine = Map([], 1)
    monkeypatch.setattr("astronomer_remote.map.find.read_folders", lambda folders: fine)
    assert exit_code("--check", "x") == 0
    fine.unreachable["two"] = "down"
    assert exit_code("--check", "x") == 5


def exit_code(*arguments: str) -> Any:
    try:
        main(["map", *arguments])
    except SystemExit as ended:
        return ended.code
    return 0


def test_a_folder_that_ends_the_process_is_reported(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("import os\nfrom airflow import DAG\nos._exit(3)\n")
    with pytest.raises(Exception, match="could not be parsed"):
        read_folders({"x": tmp_path})


def test_each_operator_and_sensor_states_what_it_depends_on() -> None:
    def make() -> None:
        with borrowed_slots("warehouse", slots=9):
            RemoteDeletePoolOperator(task_id="drop", pool_name="old", astronomer_conn_id="b")
        with dag_paused("load"):
            RemoteSyncPoolsOperator(task_id="sync", pools={"x": 1, "y": {"slots": 2}})
        RemoteSyncPoolsOperator(task_id="sync_copy", source_conn_id="b")
        RemoteSyncPoolsOperator(task_id="sync_file", pools_file="pools.json")
        RemoteCreatePoolOperator(task_id="t_create", pool_name="new", slots=1)
        RemoteUpdatePoolOperator(task_id="t_update", pool_name="{{ x }}", slots=1)
        RemoteMaterializeAssetOperator(task_id="u_make", uri="s3://a", wait_for_completion=True)
        RemoteAssetSensor(task_id="u_wait", asset="s3://a")
        RemoteClearDagRunOperator(task_id="v_clear", external_dag_id="load", external_run_id="x")
        RemoteDeleteDagRunOperator(task_id="v_delete", external_dag_id="load", external_run_id="x")
        RemoteDagRunSensor(task_id="w", external_dag_id="load", external_task_ids=["a", "b"])
        RemoteDagRunSensor(task_id="w_group", external_dag_id="{{ x }}", external_task_group_id="g")
        RemoteTriggerDagRunOperator(
            task_id="x", trigger_dag_id="load", wait_for_completion=True, results={"a": ["k"]}, stream_logs=["b"]
        )

    default = "astronomer_default"
    assert in_a_dag(make) == [
        ("borrow_slots", "borrows slots of", "pool", "warehouse", default),
        ("borrow_slots_record", "reads", "pool", "warehouse", default),
        ("borrow_slots_return", "returns slots of", "pool", "warehouse", default),
        ("drop", "deletes", "pool", "old", "b"),
        ("pause_load", "pauses", "DAG", "load", default),
        ("pause_load_record", "reads", "DAG", "load", default),
        ("pause_load_restore", "restores", "DAG", "load", default),
        ("sync", "sets", "pool", "x", default),
        ("sync", "sets", "pool", "y", default),
        ("sync_copy", "copies", "pools", "all", "b"),
        ("sync_copy", "sets", "pools", "all", default),
        ("sync_file", "sets", "pool", "(unknown)", default),
        ("t_create", "creates", "pool", "new", default),
        ("t_update", "updates", "pool", "(unknown)", default),
        ("u_make", "materializes and waits for", "asset", "s3://a", default),
        ("u_wait", "waits for events of", "asset", "s3://a", default),
        ("v_clear", "clears runs of", "DAG", "load", default),
        ("v_delete", "deletes runs of", "DAG", "load", default),
        ("w", "waits for", "task", "load.a", default),
        ("w", "waits for", "task", "load.b", default),
        ("w_group", "waits for", "task group", "(unknown).g", default),
        ("x", "triggers and waits for", "DAG", "load", default),
        ("x", "reads results of", "task", "load.a", default),
        ("x", "reads logs of", "task", "load.b", default),
    ]


class ForRegion(RemoteTriggerDagRunOperator):
    """A subclass with arguments of its own."""

    def __init__(self, *, region: str, **kwargs: Any) -> None:
        super().__init__(trigger_dag_id=f"load_{region}", **kwargs)


def test_mapped_tasks_subclasses_and_groups_are_found() -> None:
    def make() -> None:
        with TaskGroup("group"):
            RemoteTriggerDagRunOperator.partial(task_id="many", astronomer_conn_id="one").expand(
                trigger_dag_id=["a", "b", "{{ c }}"]
            )
        ForRegion(task_id="region", region="eu")
        ForRegion.partial(task_id="regions").expand(region=["eu", "us"])
        listed = RemoteTriggerDagRunOperator.partial(task_id="kwargs", trigger_dag_id="c")
        listed.expand_kwargs([{"conf": {}}, {"astronomer_conn_id": "two"}])
        first = RemoteClearDagRunOperator(task_id="first", external_dag_id="a", external_run_id="r")
        RemotePoolSlotSensor.partial(task_id="late").expand(pool_name=first.output)
        RemotePoolSlotSensor.partial(task_id="later", pool_name="p").expand_kwargs(first.output)

    assert in_a_dag(make, default_args={"astronomer_conn_id": "given"}) == [
        ("first", "clears runs of", "DAG", "a", "given"),
        ("group.many", "triggers", "DAG", "a", "one"),
        ("group.many", "triggers", "DAG", "b", "one"),
        ("group.many", "triggers", "DAG", "(unknown)", "one"),
        ("kwargs", "triggers", "DAG", "c", "given"),
        ("kwargs", "triggers", "DAG", "c", "two"),
        ("late", "waits for slots of", "pool", "(unknown)", "given"),
        ("later", "waits for slots of", "pool", "p", "given"),
        ("region", "triggers", "DAG", "load_eu", "given"),
        ("regions", "triggers", "DAG", "(unknown)", "given"),
    ]


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 has no asset watchers")
def test_the_triggers_of_asset_watchers_are_found() -> None:
    from airflow.sdk import Asset, AssetAll, AssetWatcher

    from astronomer_remote.triggers.event import RemoteAssetEventTrigger, RemoteDagRunTrigger

    events = RemoteAssetEventTrigger(asset="s3://a", astronomer_conn_id="one")
    runs = RemoteDagRunTrigger(dag_id="load", astronomer_conn_id="two")
    watched = Asset("local", watchers=[AssetWatcher(name="a", trigger=events), AssetWatcher(name="b", trigger=runs)])
    with DAG("local", schedule=AssetAll(watched, Asset("other"))) as dag:
        pass
    assert [row(Edge(local="here", **fields)) for fields in edges_of(dag, "local.py")] == [
        ("local", "(schedule)", "waits for events of", "one", "asset", "s3://a"),
        ("local", "(schedule)", "waits for", "two", "DAG", "load"),
    ]


HOSTILE = '</script><script>alert(1)</script><img src=x onerror=alert(1)> " \\ \x1b[2J &amp; ]\n%%DATA%%'


def test_no_name_acts_on_what_reads_the_map() -> None:
    edge = Edge("local", HOSTILE, HOSTILE, "O", "f", "waits for", HOSTILE, "pool", HOSTILE)
    found = Map([edge], 1, {HOSTILE: HOSTILE}, {HOSTILE: HOSTILE})
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
