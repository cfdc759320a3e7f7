"""Pools, DAGs, configuration, health, and any other endpoint of a remote."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from astronomer_remote.api.dialects.experimental import ExperimentalDialect
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    Conflict,
    DagIsPaused,
    DagNotFound,
    InvalidSettings,
    NotFound,
    NotSupported,
    RemoteError,
    ReplyTooLarge,
    RequestRefused,
    TransientError,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Response
from astronomer_remote.api.protocol.models import DagRun, TaskInstance
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.testing import VirtualClock
from tests.api.script import (
    DATE,
    EXPERIMENTAL,
    LOST,
    OPEN,
    STABLE,
    URL,
    V1,
    V1_OLD,
    V1_OLDEST,
    V2,
    V2_OLDEST,
    VERSIONS,
    ScriptedRemote,
    Speech,
    Turn,
    answer,
    ok,
    page,
    plain,
    with_secret,
)

every_version = pytest.mark.parametrize("version", VERSIONS)
every_stable_version = pytest.mark.parametrize("version", STABLE)
DEFERRING = pytest.mark.parametrize("version", [V1, V2_OLDEST, V2])


def meet(version: str) -> tuple[ScriptedRemote, Speech]:
    return ScriptedRemote(version=version), Speech(version)


# Pools


def pool(version: str, name: str = "p", slots: int = 1, **more: Any) -> dict[str, Any]:
    return {"pool" if version == EXPERIMENTAL else "name": name, "slots": slots, **more}


def pools_turn(version: str, *pools: dict[str, Any], total: int | None = None, offset: int = 0) -> Turn:
    if version == EXPERIMENTAL:
        return Turn("GET /api/experimental/pools", ok(list(pools)))
    body = {"pools": list(pools), "total_entries": total or len(pools)}
    return Turn(f"GET {Speech(version).base}/pools?limit=100&offset={offset}", ok(body))


@every_version
def test_pools_are_listed(version: str) -> None:
    remote, _ = meet(version)
    pools = remote.play(remote.deployment.list_pools(), pools_turn(version, pool(version, "a"), pool(version, "b", -1)))
    assert [(each.name, each.slots) for each in pools] == [("a", 1), ("b", -1)]


@every_version
def test_more_pools_than_a_page_holds_are_all_listed(version: str) -> None:
    remote, _ = meet(version)
    known = [pool(version, f"p{number}") for number in range(150)]
    if version == EXPERIMENTAL:
        turns = [pools_turn(version, *known)]
    else:
        turns = [
            pools_turn(version, *known[:100], total=150),
            pools_turn(version, *known[100:], total=150, offset=100),
        ]
    assert [each.name for each in remote.play(remote.deployment.list_pools(), *turns)] == [
        f"p{number}" for number in range(150)
    ]


@every_version
def test_a_pool_is_read_with_what_the_version_shows_of_it(version: str) -> None:
    remote, speech = meet(version)
    body = pool(version, slots=7, description="d", open_slots=3, a_new_field={})
    found = remote.play(remote.deployment.get_pool("p"), Turn(f"GET {speech.base}/pools/p", ok(body)))
    assert (found.name, found.slots, found.description) == ("p", 7, "d")
    assert found.open_slots == (None if speech.experimental else 3)
    assert found.include_deferred is None


@every_version
def test_an_unknown_pool_is_not_found(version: str) -> None:
    remote, speech = meet(version)
    with pytest.raises(NotFound, match="Could not read pool 'p'"):
        remote.play(remote.deployment.get_pool("p"), Turn(f"GET {speech.base}/pools/p", answer(404, {"detail": "no"})))


@pytest.mark.parametrize(
    ("version", "more"),
    [
        (EXPERIMENTAL, {"description": ""}),
        (V1_OLDEST, {}),
        (V1, {}),
        (V2, {"description": "", "include_deferred": False}),
    ],
)
def test_a_pool_is_created_with_what_the_version_must_be_given(version: str, more: Any) -> None:
    remote, speech = meet(version)
    # 1.10 would overwrite one that is there.
    look = [Turn(f"GET {speech.base}/pools/p", answer(404, {"error": "no"}))] if speech.experimental else []
    turn = Turn(f"POST {speech.base}/pools", ok(pool(version)), {"name": "p", "slots": 1, **more})
    assert remote.play(remote.deployment.create_pool("p", 1), *look, turn).slots == 1


@DEFERRING
def test_a_pool_is_created_with_everything_there_is(version: str) -> None:
    remote, speech = meet(version)
    body = {"name": "p", "slots": 0, "description": "d", "include_deferred": True}
    turn = Turn(f"POST {speech.base}/pools", answer(201, body), body)
    created = remote.play(remote.deployment.create_pool("p", 0, description="d", include_deferred=True), turn)
    assert (created.description, created.include_deferred) == ("d", True)


@every_stable_version
def test_a_pool_of_a_name_that_is_taken_is_a_conflict(version: str) -> None:
    remote, speech = meet(version)
    turn = Turn(f"POST {speech.base}/pools", answer(409, {"detail": "Pool: p already exists"}))
    with pytest.raises(Conflict, match="Pool: p already exists"):
        remote.play(remote.deployment.create_pool("p", 1), turn)


def test_1_10_creates_and_updates_alike_so_that_a_lost_reply_does_no_harm() -> None:
    remote, _ = meet(EXPERIMENTAL)
    create = "POST /api/experimental/pools"
    look = Turn("GET /api/experimental/pools/p", answer(404, {"error": "no"}))
    turns = [look, Turn(create, LOST), Turn(create, ok(pool(EXPERIMENTAL)))]
    assert remote.play(remote.deployment.create_pool("p", 1), *turns).name == "p"


CURRENT = {"slots": 1, "description": "old", "include_deferred": True}


@pytest.mark.parametrize(
    ("version", "change", "line", "body"),
    [
        (
            EXPERIMENTAL,
            {"slots": 5},
            "POST /api/experimental/pools",
            {"name": "p", "slots": 5, "description": "old"},
        ),
        (
            V1_OLDEST,
            {"slots": 5},
            "PATCH /api/v1/pools/p?update_mask=slots",
            {"name": "p", "slots": 5},
        ),
        (
            V1,
            {"slots": 5, "description": "new"},
            "PATCH /api/v1/pools/p?update_mask=description%2Cslots",
            {"name": "p", "slots": 5, "description": "new", "include_deferred": True},
        ),
        (
            V1,
            {"include_deferred": False},
            "PATCH /api/v1/pools/p?update_mask=include_deferred",
            {"name": "p", "slots": 1, "description": "old", "include_deferred": False},
        ),
        (
            V2,
            {"slots": 5, "description": "new"},
            "PATCH /api/v2/pools/p?update_mask=description&update_mask=slots",
            {"pool": "p", "slots": 5, "description": "new", "include_deferred": True},
        ),
        (
            V2,
            {"slots": -1},
            "PATCH /api/v2/pools/p?update_mask=slots",
            {"pool": "p", "slots": -1, "description": "old", "include_deferred": True},
        ),
    ],
)
def test_a_change_of_a_pool_leaves_everything_else_as_it_is(version: str, change: Any, line: str, body: Any) -> None:
    remote, speech = meet(version)
    lines = {"slots": 1} if version == V1_OLDEST else CURRENT
    current = pool(version, **lines)
    turns = [Turn(f"GET {speech.base}/pools/p", ok(current)), Turn(line, ok(current | change), body)]
    assert remote.play(remote.deployment.update_pool("p", **change), *turns).name == "p"


@every_version
def test_a_pool_is_deleted(version: str) -> None:
    remote, speech = meet(version)
    reply = ok(pool(version)) if speech.experimental else Response(204)
    remote.play(remote.deployment.delete_pool("p"), Turn(f"DELETE {speech.base}/pools/p", reply))
    assert remote.requests[-1].method == "DELETE"


@every_version
def test_what_cannot_be_done_to_a_pool_is_refused_before_any_request(version: str) -> None:
    remote, _ = meet(version)
    with pytest.raises(InvalidSettings, match="default_pool"):
        remote.play(remote.deployment.delete_pool("default_pool"))
    with pytest.raises(InvalidSettings, match="at least one of slots"):
        remote.play(remote.deployment.update_pool("p"))
    bad: Any
    for bad in (-2, 2**31, 1.5, "1", None, True):
        with pytest.raises(InvalidSettings, match="must be a whole number"):
            remote.play(remote.deployment.create_pool("p", bad))
    with pytest.raises(InvalidSettings, match="must be a whole number"):
        remote.play(remote.deployment.update_pool("p", slots=-2))


@pytest.mark.parametrize(
    ("version", "fields", "words"),
    [
        (EXPERIMENTAL, {"include_deferred": True}, "cannot count deferred tasks in a pool"),
        (V1_OLD, {"include_deferred": False}, r"count deferred tasks in a pool\. Airflow 2\.7 and later can"),
        (V1_OLD, {"description": "d"}, r"cannot give a pool a description\. Airflow 2\.3 and later can"),
        (V1, {"slots": -1}, "cannot have a pool of unlimited slots"),
        (V2_OLDEST, {"slots": -1}, "cannot have a pool of unlimited slots"),
    ],
)
def test_what_a_version_cannot_give_a_pool_fails_with_a_clear_error(version: str, fields: Any, words: str) -> None:
    remote, speech = meet(version)
    with pytest.raises(NotSupported, match=words):
        remote.play(remote.deployment.create_pool("p", **{"slots": 1, **fields}))
    current = Turn(f"GET {speech.base}/pools/p", ok(pool(version)))
    with pytest.raises(NotSupported, match=words):
        remote.play(remote.deployment.update_pool("p", **fields), current)


@pytest.mark.parametrize("version", [V2_OLDEST, V2])
def test_airflow_3_has_pools_with_a_slash_in_their_name(version: str) -> None:
    remote, speech = meet(version)
    turn = Turn(f"GET {speech.base}/pools/a%2Fb", ok(pool(version, "a/b")))
    assert remote.play(remote.deployment.get_pool("a/b"), turn).name == "a/b"


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1])
def test_a_pool_that_could_not_be_addressed_later_is_refused(version: str) -> None:
    remote, _ = meet(version)
    for flow in (remote.deployment.get_pool("a/b"), remote.deployment.create_pool("a/b", 1)):
        with pytest.raises(InvalidSettings, match="pool name='a/b'"):
            remote.play(flow)


# DAGs


@every_stable_version
def test_a_dag_is_read(version: str) -> None:
    remote, speech = meet(version)
    body = {"dag_id": "d", "is_paused": True, "has_import_errors": False, "fileloc": "/d.py", "max_active_runs": 16}
    dag = remote.play(remote.deployment.get_dag("d"), Turn(f"GET {speech.base}/dags/d", ok(body)))
    assert (dag.dag_id, dag.is_paused, dag.has_import_errors, dag.fileloc) == ("d", True, False, "/d.py")


def test_1_10_shows_of_a_dag_only_that_it_exists() -> None:
    remote, speech = meet(EXPERIMENTAL)
    dag = remote.play(remote.deployment.get_dag("d"), speech.get())
    assert (dag.dag_id, dag.is_paused) == ("d", None)


@every_version
def test_a_missing_dag_is_explained(version: str) -> None:
    remote, speech = meet(version)
    where = f"GET {speech.runs_path}" if speech.experimental else f"GET {speech.base}/dags/d"
    missing = answer(400 if speech.experimental else 404, {"detail": "no", "error": "no"})
    broken = {"filename": "d.py", "stack_trace": "NameError: x"}
    with pytest.raises(DagNotFound, match=r"knows no DAG 'd'"):
        remote.play(remote.deployment.get_dag("d"), Turn(where, missing), *speech.import_errors(broken))


def paused_line(speech: Speech) -> str:
    return f"GET {speech.base}/dags/d" + ("/paused" if speech.experimental else "")


def exists_turns(speech: Speech) -> list[Turn]:
    """1.10 breaks on a request for the pause of a DAG it does not know, so the DAG is read first."""
    return [Turn(f"GET {speech.base}/dags/d/dag_runs", ok([]))] if speech.experimental else []


@every_version
def test_a_paused_dag_is_refused_with_what_to_do(version: str) -> None:
    remote, speech = meet(version)
    lines = {"dag_id": "d", "is_paused": True}
    with pytest.raises(DagIsPaused, match="Unpause it there, or leave fail_when_dag_is_paused off"):
        remote.play(
            remote.deployment.dags.refuse_paused("d"), *exists_turns(speech), Turn(paused_line(speech), ok(lines))
        )
    lines["is_paused"] = False
    remote.play(remote.deployment.dags.refuse_paused("d"), *exists_turns(speech), Turn(paused_line(speech), ok(lines)))


def test_a_missing_dag_is_not_a_paused_one() -> None:
    remote, speech = meet(V2)
    with pytest.raises(DagNotFound, match="no broken DAG file"):
        remote.play(
            remote.deployment.dags.refuse_paused("d"),
            Turn(paused_line(speech), speech.no_dag()),
            *speech.import_errors(),
        )


@every_version
def test_a_dag_is_paused_and_unpaused(version: str) -> None:
    remote, speech = meet(version)
    for paused, flow in ((True, remote.deployment.pause_dag("d")), (False, remote.deployment.unpause_dag("d"))):
        if speech.experimental:
            turn = Turn(f"GET {speech.base}/dags/d/paused/{str(paused).lower()}", ok({"response": "ok"}))
        else:
            turn = Turn(f"PATCH {speech.base}/dags/d", ok({}), {"is_paused": paused})
        remote.play(flow, *exists_turns(speech), turn)
        assert f"{remote.requests[-1].method} {remote.requests[-1].target}" == turn.expected


def exists_turn(speech: Speech) -> Turn:
    return speech.get() if speech.experimental else Turn(f"GET {speech.base}/dags/d", ok({"dag_id": "d"}))


@every_version
def test_tasks_that_are_waited_for_can_be_checked_for_existence(version: str) -> None:
    remote, speech = meet(version)
    check = remote.deployment.dags.check_existence
    good = Turn(f"GET {speech.base}/dags/d/tasks/a", ok({"task_id": "a"}))
    remote.play(check("d", ["a"], None), exists_turn(speech), good)
    missing = Turn(f"GET {speech.base}/dags/d/tasks/typo", answer(404, {"detail": "no"}))
    with pytest.raises(NotFound, match="DAG 'd' has no task 'typo'"):
        remote.play(check("d", ["a", "typo"], None), exists_turn(speech), good, missing)


@every_stable_version
def test_a_task_group_that_is_waited_for_can_be_checked_for_existence(version: str) -> None:
    remote, speech = meet(version)
    check = remote.deployment.dags.check_existence
    tasks = Turn(f"GET {speech.base}/dags/d/tasks", ok({"tasks": [{"task_id": "g.a"}, {"task_id": "b"}]}))
    remote.play(check("d", [], "g"), exists_turn(speech), tasks)
    with pytest.raises(NotFound, match="has no task group 'b'; a group made with prefix_group_id=False"):
        remote.play(check("d", [], "b"), exists_turn(speech), tasks)


def test_2_2_cannot_list_the_tasks_of_a_dag_that_was_triggered_with_a_conf(caplog: pytest.LogCaptureFixture) -> None:
    remote, speech = meet(V1_OLD)
    broken = Turn(f"GET {speech.base}/dags/d/tasks", page(500))
    remote.play(remote.deployment.dags.check_existence("d", [], "g"), exists_turn(speech), broken)
    assert "does not show whether DAG 'd' has the task group 'g'" in caplog.text
    down = Turn(f"GET {speech.base}/dags/d/tasks", page(503))
    there = Turn(f"GET {speech.base}/dags/d/tasks", ok({"tasks": [{"task_id": "g.a"}]}))
    remote.play(remote.deployment.dags.check_existence("d", [], "g"), exists_turn(speech), down, there)
    with pytest.raises(TransientError):
        remote.play(remote.deployment.dags.check_existence("d", [], "g"), exists_turn(speech), *[down] * 6)
    large = Turn(f"GET {speech.base}/dags/d/tasks", replace(page(200), truncated=True))
    with pytest.raises(ReplyTooLarge):
        remote.play(remote.deployment.dags.check_existence("d", [], "g"), exists_turn(speech), large)


# XComs, configuration, health


@pytest.mark.parametrize(
    ("version", "query"), [(V1_OLDEST, ""), (V1_OLD, ""), (V1, "?stringify=false"), (V2_OLDEST, ""), (V2, "")]
)
def test_an_xcom_is_read_as_json_where_the_version_can(version: str, query: str) -> None:
    remote, speech = meet(version)
    line = f"GET {speech.runs_path}/r/taskInstances/t/xcomEntries/return_value{query}"
    assert remote.play(remote.deployment.get_xcom("d", "r", "t"), Turn(line, ok({"value": {"a": 1}}))) == {"a": 1}


def test_the_xcom_of_a_mapped_task_is_requested_by_its_index() -> None:
    remote, speech = meet(V2)
    line = f"GET {speech.runs_path}/r/taskInstances/t/xcomEntries/k?map_index=0"
    turn = Turn(line, ok({"value": 7}))
    assert remote.play(remote.deployment.get_xcom("d", "r", "t", "k", map_index=0), turn) == 7


@every_stable_version
def test_the_configuration_is_read_by_section_and_key(version: str) -> None:
    remote, speech = meet(version)
    body = {"sections": [{"name": "core", "options": [{"key": "parallelism", "value": "32"}]}]}
    config = remote.play(remote.deployment.get_config(), Turn(f"GET {speech.base}/config", ok(body)))
    assert config == {"core": {"parallelism": "32"}}


def test_a_configuration_that_is_hidden_says_so() -> None:
    hidden = answer(403, {"detail": "Your Airflow administrator chose not to expose the configuration"})
    for version, section in ((V1, "webserver"), (V2, "api")):
        remote, speech = meet(version)
        with pytest.raises(AccessDenied, match=rf"\[{section}\] expose_config .*chose not to expose"):
            remote.play(remote.deployment.get_config(), Turn(f"GET {speech.base}/config", hidden))


HEALTH = {EXPERIMENTAL: "/health", V1: "/api/v1/health", V2: "/api/v2/monitor/health"}


@pytest.mark.parametrize("version", HEALTH)
def test_health_is_shown_by_component(version: str) -> None:
    remote, _ = meet(version)
    body = {"metadatabase": {"status": "healthy"}, "dag_processor": {"status": None}, "odd": "text", "x": {"status": 5}}
    health = remote.play(remote.deployment.get_health(), Turn(f"GET {HEALTH[version]}", ok(body)))
    assert health.components == {"metadatabase": "healthy", "dag_processor": None}


PROOF = {EXPERIMENTAL: "/api/experimental/pools", V1: "/api/v1/dags?limit=1", V2: "/api/v2/dags?limit=1"}


def test_a_login_that_does_not_work_is_not_described_as_one() -> None:
    settings = Settings(URL, password="k3y", authentication="astro_token")
    remote = ScriptedRemote(settings, V2)
    with pytest.raises(AuthenticationFailed):
        remote.play(remote.deployment.describe(), Turn(f"GET {PROOF[V2]}", answer(401, {})), settings)


# Any other endpoint


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1, V2])
@pytest.mark.parametrize(
    "endpoint",
    [
        "/dags/d/x",
        "dags/d/x",
        "//dags/d/x",
        " /dags/d/x ",
        "{base}/dags/d/x",
        "https://airflow.example.com{base}/dags/d/x",
    ],
)
def test_an_endpoint_is_given_as_in_airflows_reference_or_whole(version: str, endpoint: str) -> None:
    remote, speech = meet(version)
    turn = Turn(f"GET {speech.base}/dags/d/x", ok({"a": 1}))
    assert remote.play(remote.deployment.call("GET", endpoint.format(base=speech.base)), turn) == {"a": 1}


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1, V2])
@pytest.mark.parametrize(
    "endpoint",
    [
        "/dags/../../../logout",
        "/dags/./x",
        "..",
        "/dags/%2e%2e/%2E%2e/%2e./logout",
        "/dags/%252e%252e/%252e%252e/logout",
        "/dags/..;/..;/..;/logout",
        "/dags//x",
        "/dags/..%5c..%5clogout",
        "https://evil.example.com/dags",
        "http://airflow.example.com/dags",
        "/dags\r\nX-Header: y",
        "/dags/a b",
        "/dags/grö",
    ],
)
def test_an_endpoint_that_leads_out_of_the_api_is_refused_before_any_request(version: str, endpoint: str) -> None:
    remote, _ = meet(version)
    with pytest.raises(InvalidSettings, match="endpoint="):
        remote.play(remote.deployment.call("GET", endpoint))


def test_a_call_sends_what_it_is_given() -> None:
    remote, _ = meet(V2)
    turn = Turn("PATCH /api/v2/variables/k?update_mask=a&update_mask=b&n=1&t=true", ok(None), {"value": [1, 2]})
    params = {"update_mask": ("a", "b"), "n": 1, "t": True, "nothing": None}
    assert remote.play(remote.deployment.call("patch", "/variables/k", {"value": (1, 2)}, params), turn) is None


def test_a_query_in_an_endpoint_is_kept_and_added_to() -> None:
    remote, _ = meet(V2)
    turn = Turn("GET /api/v2/assets?uri_pattern=s3://b/..&limit=1", ok([]))
    assert remote.play(remote.deployment.call("GET", "/assets?uri_pattern=s3://b/..", params={"limit": 1}), turn) == []


@pytest.mark.parametrize("reply", [Response(204), Response(200, {}, b"  ")])
def test_a_call_without_an_answer_returns_none(reply: Response) -> None:
    remote, _ = meet(V2)
    assert remote.play(remote.deployment.call("DELETE", "/x"), Turn("DELETE /api/v2/x", reply)) is None


def test_a_call_has_the_same_login_retries_and_errors_as_everything_else() -> None:
    settings = with_secret(OPEN, authentication="auto", password="k3y")
    remote = ScriptedRemote(settings, V2)
    line = "GET /api/v2/x"
    turns = [Turn(line, LOST), Turn(line, answer(422, {"detail": "no such thing"}), authorization="Bearer k3y")]
    with pytest.raises(RequestRefused, match=r"Could not call GET /x: .* no such thing"):
        remote.play(remote.deployment.call("GET", "/x"), *turns)


NO_SUCH_PAGE = page(404, "Airflow 404 = lots of circles")


@pytest.mark.parametrize(
    ("version", "method", "reply", "times", "error"),
    [
        (EXPERIMENTAL, "GET", NO_SUCH_PAGE, 3, NotFound),
        (EXPERIMENTAL, "POST", NO_SUCH_PAGE, 1, NotFound),
        (EXPERIMENTAL, "GET", answer(404, {"error": "Dag id d not found"}), 1, NotFound),
        (V2, "GET", answer(404, {"detail": "Not Found"}), 1, NotFound),
        # Of these it is a gateway's, which may find its way to the deployment again.
        (V1, "GET", page(404, "default backend"), 3, UnexpectedReply),
        (V2, "POST", page(404, "default backend"), 1, UnexpectedReply),
    ],
)
def test_an_endpoint_that_is_not_there_is_soon_said_to_be_missing(
    version: str, method: str, reply: Response, times: int, error: type[RemoteError]
) -> None:
    remote, speech = meet(version)
    turns = [Turn(f"{method} {speech.base}/x", reply)] * times
    with pytest.raises(error, match=r"Airflow .* may not have this endpoint") as missing:
        remote.play(remote.deployment.call(method, "/x"), *turns)
    assert (type(missing.value), missing.value.status) == (error, 404)
    assert remote.clock.now - VirtualClock().now <= 3


def test_a_page_of_another_status_is_retried_as_always() -> None:
    remote, speech = meet(EXPERIMENTAL)
    turns = [Turn(f"GET {speech.base}/x", reply) for reply in (NO_SUCH_PAGE, *[page(200)] * 4, ok([]))]
    assert remote.play(remote.deployment.call("GET", "/x"), *turns) == []
    with pytest.raises(UnexpectedReply) as odd:
        remote.play(remote.deployment.call("GET", "/x"), *[Turn(f"GET {speech.base}/x", page(200))] * 6)
    assert "may not have" not in str(odd.value)


def test_a_call_is_refused_for_what_http_or_json_does_not_know() -> None:
    remote, _ = meet(V2)
    with pytest.raises(InvalidSettings, match="method='FETCH' must be one of: GET, POST"):
        remote.play(remote.deployment.call("FETCH", "/x"))
    with pytest.raises(InvalidSettings, match="json must be JSON"):
        remote.play(remote.deployment.call("POST", "/x", {"when": object()}))


# What no generation or only some can do

RUN = DagRun("d", "r")


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("ended_runs", (["d"],), {"since": DATE, "bound": DATE}),
        ("set_run_state", ("d", "r", "failed"), {}),
        ("set_run_state", ("d", "r", "success"), {}),
        ("set_run_note", ("d", "r", "n"), {}),
        ("clear_run", (RUN,), {"only_failed": False}),
        ("delete_run", ("d", "r"), {}),
        ("dag_params", ("d",), {}),
        ("import_failures", (), {}),
        ("task_ids", ("d",), {}),
        ("task_instances", (RUN,), {}),
        ("ended_tasks", (["d"], ["r"]), {"since": DATE}),
        ("task_log", (RUN, TaskInstance("t")), {"lines": 20}),
        ("log_part", (RUN, TaskInstance("t")), {}),
        ("xcom", ("d", "r", "t", "k", -1), {}),
        ("config", (), {}),
    ],
)
def test_1_10_fails_at_once_for_what_its_api_cannot_do(name: str, arguments: Any, options: dict[str, Any]) -> None:
    with pytest.raises(NotSupported, match=r"Airflow 1\.10's experimental API cannot "):
        getattr(ExperimentalDialect(URL, None), name)(*arguments, **options)


def test_xcoms_and_configuration_are_refused_on_1_10() -> None:
    remote, _ = meet(EXPERIMENTAL)
    with pytest.raises(NotSupported, match="cannot read XComs"):
        remote.play(remote.deployment.get_xcom("d", "r", "t"))
    with pytest.raises(NotSupported, match="cannot show its configuration"):
        remote.play(remote.deployment.get_config())


def test_a_proxys_plain_words_are_repeated() -> None:
    remote, _ = meet(V2)
    refusal = Turn("GET /api/v2/pools/p", plain(403, "RBAC: access denied"))
    # A gateway's refusal may pass, unlike Airflow's.
    with pytest.raises(UnexpectedReply, match="The remote said: RBAC: access denied"):
        remote.play(remote.deployment.get_pool("p"), *[refusal] * 6)
