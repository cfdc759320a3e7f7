"""The hook: what a connection may look like, every operation against every generation, and no secret anywhere."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from astronomer_remote import get_provider_info
from astronomer_remote.api.deployment import Deployment
from astronomer_remote.api.logins.basic import BASIC_REQUESTS_BEFORE_SESSION
from astronomer_remote.api.protocol import errors
from astronomer_remote.api.protocol.models import Generation
from astronomer_remote.api.protocol.settings import Settings
from astronomer_remote.compat import (
    AIRFLOW_3,
    MOST_MASKED,
    connection_parts,
    mask_issued_secret,
    parts_of_tested_connection,
)
from astronomer_remote.exceptions import (
    AccessDenied,
    AuthenticationFailed,
    Conflict,
    DagNotFound,
    DagRunAlreadyExists,
    DagRunNotFound,
    InvalidSettings,
    NotFound,
    NotSupported,
    RemoteError,
    UnexpectedReply,
    Unreachable,
)
from astronomer_remote.hooks.astronomer import AstronomerHook
from astronomer_remote.testing import FakeDeployment
from astronomer_remote.testing.server import RecordedRequest, Reply, Server

Start = Callable[..., FakeDeployment]


def settings_of(conn_id: str = "astronomer_default") -> Settings:
    """What the hook reads from a connection, synchronously and not: the same."""

    def flow(deployment: Deployment) -> Iterator[Any]:
        return deployment.settings
        yield

    plain = AstronomerHook(conn_id).run_flow(flow)  # type: ignore[arg-type]
    assert asyncio.run(AstronomerHook(conn_id).async_settings()) == plain
    return plain


# Making one


def test_making_a_hook_looks_up_no_connection() -> None:
    hook = AstronomerHook("no_such_connection")
    assert hook.astronomer_conn_id == "no_such_connection"


def test_a_missing_connection_is_named_when_it_is_needed() -> None:
    with pytest.raises(Exception, match="no_such_connection"):
        AstronomerHook("no_such_connection").get_version()


def test_the_hook_itself_has_what_older_airflows_read_for_the_form() -> None:
    own = vars(AstronomerHook)
    assert {"get_connection_form_widgets", "get_ui_field_behaviour"} <= set(own)
    assert AstronomerHook.get_ui_field_behaviour() == get_provider_info.ui_field_behaviour()
    assert AstronomerHook.conn_name_attr in inspect.signature(AstronomerHook).parameters
    assert (AstronomerHook.conn_type, AstronomerHook.hook_name) == ("astronomer", "Astronomer Deployment")


def test_each_operation_comes_plain_and_for_event_loops_with_the_same_parameters() -> None:
    public = [name for name in vars(Deployment) if not name.startswith("_")]
    operations = [name for name in public if callable(getattr(Deployment, name)) and name != "describe"]
    assert "trigger_dag_run" in operations
    for name in operations:
        plain, asynchronous = getattr(AstronomerHook, name), getattr(AstronomerHook, f"async_{name}")
        assert inspect.iscoroutinefunction(asynchronous)
        assert not inspect.iscoroutinefunction(plain)
        assert inspect.signature(plain) == inspect.signature(getattr(Deployment, name))
        assert plain.__doc__ == getattr(Deployment, name).__doc__


# Forms of a connection


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "astronomer://user:pw@host.example:8080/prefix",
            {"base_url": "https://host.example:8080/prefix", "login": "user", "password": "pw"},
        ),
        ("astronomer://https://u:p@host.example/path", {"base_url": "https://host.example/path", "login": "u"}),
        ("astronomer://http://u:p@host.example:1/a/b", {"base_url": "http://host.example:1/a/b", "password": "p"}),
        ("astronomer://u:p@[::1]:8080/path", {"base_url": "https://[::1]:8080/path"}),
        ("astronomer://http://u:p@[::1]:8080/path", {"base_url": "http://[::1]:8080/path"}),
        ("astronomer://host.example", {"base_url": "https://host.example", "login": None, "password": None}),
        ("astronomer://:t0ken@host.example/", {"login": None, "password": "t0ken"}),
        ("astronomer://http%3A%2F%2F127.0.0.1%3A8080?auth=none", {"base_url": "http://127.0.0.1:8080"}),
        (
            "astronomer://u%40x:p%2Fw%25@https%3A%2F%2Fhost.example%2Fdeep%2Fairflow",
            {"base_url": "https://host.example/deep/airflow", "login": "u@x", "password": "p/w%"},
        ),
        (
            "astronomer://host.example?read_timeout=5&verify=false&api=v1",
            {"read_timeout": 5.0, "verify": False, "generation": Generation.V1},
        ),
        (
            "astronomer://host.example?__extra__=%7B%22secret_headers%22%3A+%7B%22X-Key%22%3A+%22k%22%7D%7D",
            {"headers": {"X-Key": "k"}},
        ),
    ],
)
def test_a_connection_can_be_a_uri(monkeypatch: pytest.MonkeyPatch, uri: str, expected: dict[str, Any]) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ASTRONOMER_DEFAULT", uri)
    settings = settings_of()
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"host": "https://host.example/api/v2/"}, {"base_url": "https://host.example"}),
        ({"host": "https://host.example/home"}, {"base_url": "https://host.example"}),
        ({"host": "host.example", "schema": "http", "port": 8080}, {"base_url": "http://host.example:8080"}),
        (
            {"host": "https://host.example", "login": "", "password": None},
            {"login": None, "password": None, "authentication": "auto"},
        ),
        (
            {"host": "https://host.example", "extra": {"auth": "", "api": None, "read_timeout": "", "verify": None}},
            {"authentication": "auto", "generation": None, "read_timeout": 30.0, "verify": True},
        ),
        ({"host": "https://host.example", "extra": json.dumps({"api": "v2"})}, {"generation": Generation.V2}),
        ({"host": "https://host.example", "extra": ""}, {"authentication": "auto"}),
        (
            {"host": "https://host.example", "extra": {"secret_headers": '{"X-Key": "k"}'}},
            {"headers": {"X-Key": "k"}},
        ),
    ],
)
def test_a_connection_can_be_json(
    add_connection: Callable[..., str], fields: dict[str, Any], expected: dict[str, Any]
) -> None:
    settings = settings_of(add_connection(**fields))
    assert {name: getattr(settings, name) for name in expected} == expected


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"host": "ftp://host.example"},
        {"host": "https://host.example", "extra": {"auth": "astro-token"}},
        {"host": "https://host.example", "extra": {"read_timeout": "soon"}},
        {"host": "https://host.example", "extra": {"auth": "basic"}, "login": "a user"},
        {"host": "https://host.example", "extra": {"secret_headers": "hush"}},
    ],
)
def test_a_wrong_connection_is_refused_without_a_request(
    add_connection: Callable[..., str], fields: dict[str, Any]
) -> None:
    hook = AstronomerHook(add_connection(**fields))
    with pytest.raises(InvalidSettings, match="connection"):
        hook.get_version()
    good, message = hook.test_connection()
    assert not good
    assert "hush" not in message


# Every operation, against every generation

OPERATIONS: dict[str, tuple[tuple[Any, ...], dict[str, Any], Callable[[Any], Any], Any, tuple[int, ...]]] = {
    # name: arguments, keywords, what to look at, what it must be, first version that can
    "trigger_dag_run": (("quick",), {"run_id": "new", "conf": {"k": 1}}, lambda run: run.run_id, "new", (1, 10)),
    "get_dag_run": (("quick", "old"), {}, lambda run: run.state, "success", (1, 10)),
    "get_newest_dag_run": (("quick",), {}, lambda run: run.run_id, "old", (1, 10)),
    "list_dag_runs": (("quick",), {}, lambda runs: [run.run_id for run in runs], ["old"], (1, 10)),
    "cancel_dag_run": (("slow", "going"), {}, lambda run: run.state, "failed", (2, 2)),
    "clear_dag_run": (("quick", "old"), {}, lambda run: run.run_id, "old", (2, 0)),
    "delete_dag_run": (("quick", "old"), {}, lambda done: done, None, (2, 0)),
    "list_task_instances": (("quick", "old"), {}, lambda tasks: tasks[0].task_id, "hello", (2, 0)),
    "get_task_log": (("quick", "old", "hello"), {}, lambda text: text.split()[-1], "hello-was-here", (2, 0)),
    "get_xcom": (("quick", "old", "hello"), {}, lambda value: value, {"answer": 42}, (2, 0)),
    "get_dag": (("quick",), {}, lambda dag: dag.dag_id, "quick", (1, 10)),
    "pause_dag": (("quick",), {}, lambda done: done, None, (1, 10)),
    "unpause_dag": (("quick",), {}, lambda done: done, None, (1, 10)),
    "list_pools": ((), {}, lambda pools: [pool.name for pool in pools], ["default_pool", "small"], (1, 10)),
    "get_pool": (("small",), {}, lambda pool: pool.slots, 3, (1, 10)),
    "create_pool": (("new", 5), {}, lambda pool: (pool.name, pool.slots), ("new", 5), (1, 10)),
    "update_pool": (("small",), {"slots": 4}, lambda pool: pool.slots, 4, (1, 10)),
    "ensure_pool": (("new", 5), {}, lambda done: done is not None, True, (1, 10)),
    "delete_pool": (("small",), {}, lambda done: done, None, (1, 10)),
    "list_assets": ((), {}, lambda assets: [asset.uri for asset in assets], ["s3://a"], (2, 4)),
    "list_asset_events": (("s3://a",), {}, lambda events: [event.extra for event in events], [{"k": 1}], (2, 4)),
    "create_asset_event": (("s3://a",), {"extra": {"k": 2}}, lambda event: event.extra["k"], 2, (2, 9)),
    "materialize_asset": (
        ("s3://a",),
        {"run_id": "new"},
        lambda run: (run.dag_id, run.run_id),
        ("quick", "new"),
        (2, 4),
    ),
    "get_config": ((), {}, lambda config: config["core"]["parallelism"], "32", (2, 0)),
    "get_version": ((), {}, lambda found: found[0] in Generation, True, (1, 10)),
    "get_health": ((), {}, lambda health: health.components["scheduler"], "healthy", (1, 10)),
    "call": (("GET", "/pools/small"), {}, lambda body: body["slots"], 3, (1, 10)),
}


def test_after_a_fork_the_child_does_not_share_the_parents_connections(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("3.3.2").add_dag("quick")
    hook = AstronomerHook()
    sessions = set()
    for pid in (1, 1, 2):
        monkeypatch.setattr("astronomer_remote.hooks.astronomer.os.getpid", lambda pid=pid: pid)
        assert hook.get_dag("quick").dag_id == "quick"
        sessions.add(hook._session)
    assert len(sessions) == 2


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("version", ["1.10.15", "2.11.2", "3.3.2"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_works_in_every_generation_or_fails_with_a_clear_error(
    start: Start, name: str, version: str, asynchronous: bool
) -> None:
    remote = start(version, config={"core": {"parallelism": "32"}})
    remote.add_dag("quick", tasks=["hello"], results={"hello": {"answer": 42}}, logs={"hello": ["hello-was-here"]})
    remote.add_run("quick", "old")
    remote.add_dag("slow", stays="running")
    remote.add_run("slow", "going", state="running")
    remote.add_pool("small", 3)
    remote.add_asset("s3://a", producers=["quick"])
    remote.add_asset_event("s3://a", {"k": 1})
    arguments, keywords, look, expected, since = OPERATIONS[name]
    hook = AstronomerHook()

    def operate() -> Any:
        if asynchronous:
            return asyncio.run(getattr(hook, f"async_{name}")(*arguments, **keywords))
        return getattr(hook, name)(*arguments, **keywords)

    if tuple(int(number) for number in version.split(".")) >= since:
        assert look(operate()) == expected
        return
    with pytest.raises(NotSupported, match=r"1\.10"):
        operate()
    assert {method for method, _ in remote.requests} <= {"GET"}


def test_every_operation_is_in_the_table_above() -> None:
    operations = {name.removeprefix("async_") for name in vars(AstronomerHook) if name.startswith("async_")}
    operations -= {"run_flow", "driver", "settings"}
    assert operations == set(OPERATIONS)


def test_generation_and_login_are_detected_once(remote: FakeDeployment) -> None:
    hook = AstronomerHook()
    for _ in range(3):
        hook.get_pool("default_pool")
    assert remote.requests.count(("GET", "/api/v2/version")) == 1
    assert remote.requests.count(("POST", "/auth/token")) == 1


@pytest.mark.parametrize(
    ("operate", "expected"),
    [
        (lambda hook: hook.trigger_dag_run("no_such_dag"), DagNotFound),
        (lambda hook: hook.trigger_dag_run("quick", run_id="old"), DagRunAlreadyExists),
        (lambda hook: hook.get_dag_run("quick", "no_such_run"), DagRunNotFound),
        (lambda hook: hook.get_pool("no such pool"), NotFound),
        (lambda hook: hook.create_pool("default_pool", 1), Conflict),
        (lambda hook: hook.get_dag("../variables"), InvalidSettings),
        (lambda hook: hook.call("TRACE", "/pools"), InvalidSettings),
    ],
)
def test_an_operation_fails_with_the_exception_that_fits(
    any_remote: FakeDeployment, operate: Callable[[AstronomerHook], Any], expected: type[RemoteError]
) -> None:
    any_remote.add_run("quick", "old")
    with pytest.raises(expected) as caught:
        operate(AstronomerHook())
    assert type(caught.value) is expected


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_the_error_for_a_hidden_configuration_says_so(start: Start, version: str) -> None:
    start(version)
    with pytest.raises(AccessDenied, match="chose not to expose"):
        AstronomerHook().get_config()


@pytest.mark.parametrize("version", ["2.0.2", "2.11.2", "3.3.2"])
def test_the_error_for_a_user_with_too_few_permissions_names_the_role_that_has_them(
    start: Start, version: str, add_connection: Any
) -> None:
    remote = start(version)
    remote.add_dag("quick")
    add_connection(**remote.connection(login="viewer", password="viewer"))
    with pytest.raises(AccessDenied, match="User"):
        AstronomerHook().trigger_dag_run("quick")
    assert remote.runs("quick") == []


@pytest.mark.usefixtures("no_pauses")
def test_a_remote_that_is_down_is_unreachable(start: Start) -> None:
    start().stop()
    with pytest.raises(Unreachable, match="No reply"):
        AstronomerHook().get_pool("default_pool")


# Credentials


@pytest.mark.parametrize("version", ["1.10.15", "2.11.2", "3.3.2"])
@pytest.mark.parametrize("secret", ["api_token", "api_key"])
@pytest.mark.parametrize("named", [False, True], ids=["auto", "named"])
def test_a_token_or_key_gets_through_a_gateway(
    start: Start, add_connection: Any, version: str, secret: str, named: bool
) -> None:
    remote = start(version, path="/my-release/airflow", **{secret: "s3cr3t"})
    if named:
        way = {"api_token": "astro_token", "api_key": "software_api_key"}[secret]
        add_connection(**remote.connection(extra={"auth": way}))
    assert AstronomerHook().get_pool("default_pool").slots == 128


@pytest.mark.parametrize("asynchronous", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize(
    ("version", "secret"), [("2.2.5", {}), ("2.11.2", {}), ("3.3.2", {}), ("3.3.2", {"api_token": "before"})]
)
def test_a_secret_that_was_changed_is_read_again(
    start: Start, add_connection: Any, version: str, secret: dict[str, str], asynchronous: bool
) -> None:
    remote = start(version, **secret)
    hook = AstronomerHook()

    def read() -> Any:
        return asyncio.run(hook.async_get_pool("default_pool")) if asynchronous else hook.get_pool("default_pool")

    for _ in range(3):
        read()
    remote.change_secret("changed")
    add_connection(**remote.connection())
    assert read().slots == 128


@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_a_login_that_the_remote_forgot_is_renewed(start: Start, version: str) -> None:
    remote = start(version)
    hook = AstronomerHook()
    for _ in range(4):
        hook.get_pool("default_pool")
    remote.forget_logins()
    assert hook.get_pool("default_pool").slots == 128


@pytest.mark.parametrize("version", ["2.2.5", "2.11.2", "3.3.2"])
def test_wrong_credentials_end_in_one_clear_error(start: Start, add_connection: Any, version: str) -> None:
    remote = start(version)
    add_connection(**remote.connection(password="wrong-s3cr3t"))
    with pytest.raises(AuthenticationFailed, match="admin") as caught:
        AstronomerHook().get_pool("default_pool")
    assert "wrong-s3cr3t" not in str(caught.value)
    assert len(remote.requests) <= 6


# Secrets stay secret


@pytest.mark.parametrize("version", ["1.10.15", "2.11.2", "3.3.2"])
def test_no_secret_is_in_a_log_a_representation_or_an_error(
    start: Start, add_connection: Any, caplog: pytest.LogCaptureFixture, version: str
) -> None:
    caplog.set_level(logging.DEBUG)
    remote = start(version, password="s3cr3t-password")
    fields = {"login": "admin", "password": "s3cr3t-password"} if version > "2" else {}
    extra = {"secret_headers": {"X-Gateway-Key": "s3cr3t-header"}, "proxy": ""}
    add_connection(**{**remote.connection(), **fields, "extra": extra})
    hook = AstronomerHook()
    errors = []
    for operate in (
        lambda: hook.get_pool("default_pool"),
        lambda: hook.trigger_dag_run("no_such_dag"),
        lambda: hook.call("GET", "/nowhere"),
        lambda: asyncio.run(hook.async_get_pool("no_such_pool")),
    ):
        try:
            operate()
        except RemoteError as error:
            errors.append(error)
    assert len(errors) == 3
    lines = [caplog.text, repr(hook), str(hook), repr(hook.run_flow(_deployment)), str(hook.test_connection())]
    lines += [text for error in errors for text in (str(error), repr(error), repr(vars(error)))]
    handed_out = [request.headers.get("authorization", "s3cr3t").rpartition(" ")[2] for request in remote.received]
    for secret in ("s3cr3t", *handed_out):
        assert not [text for text in lines if secret in text]


def _deployment(deployment: Deployment) -> Iterator[Any]:
    return deployment.settings
    yield


@pytest.mark.parametrize("asynchronous", [False, True], ids=["worker", "triggerer"])
@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_whatever_is_secret_is_masked_in_every_log(
    start: Start, add_connection: Any, monkeypatch: pytest.MonkeyPatch, version: str, asynchronous: bool
) -> None:
    masked: list[str] = []
    monkeypatch.setattr("astronomer_remote.hooks.astronomer.mask_secret", masked.append)
    monkeypatch.setattr("astronomer_remote.compat.mask_secret", masked.append)
    remote = start(version)
    extra = {"secret_headers": {"X-Key": "hush-hush"}, "proxy": ""}
    add_connection(**{**remote.connection(), "extra": extra})
    hook = AstronomerHook()
    for _ in range(BASIC_REQUESTS_BEFORE_SESSION + 1):
        if asynchronous:
            asyncio.run(hook.async_get_pool("default_pool"))
        else:
            hook.get_pool("default_pool")
    settings = hook.run_flow(_deployment)  # type: ignore[arg-type]
    assert {"hush-hush", settings.password, *settings.secrets} <= set(masked)
    last = remote.received[-1].headers
    issued = last.get("authorization", "").removeprefix("Bearer ") or last["cookie"].removeprefix("session=")
    assert issued in masked


def test_a_remote_that_issues_secrets_without_end_slows_down_no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr("astronomer_remote.compat.mask_secret", masked.append)
    for number in range(3 * MOST_MASKED):
        mask_issued_secret(f"token {number % (2 * MOST_MASKED)}")
    assert masked == [f"token {number}" for number in range(MOST_MASKED)]


# The Test button


def test_the_button_says_what_was_found(any_remote: FakeDeployment) -> None:
    good, message = AstronomerHook().test_connection()
    assert good, message
    assert any_remote.url in message
    assert "healthy" in message
    assert "triggerer is healthy" in message or any_remote.version < "2"


RIGHTS = {
    "admin": "The account may read DAGs, trigger, read pools, write pools.",
    "viewer": "The account may read DAGs, read pools. It may not trigger, write pools.",
}


@pytest.mark.parametrize("who", RIGHTS)
@pytest.mark.parametrize("version", ["2.0.2", "2.11.2", "3.0.6", "3.3.2"])
def test_the_button_says_what_the_account_may_and_changes_nothing(
    start: Start, add_connection: Any, version: str, who: str
) -> None:
    remote = start(version)
    remote.add_dag("quick")
    add_connection(**remote.connection(login=who, password=who))
    good, message = AstronomerHook().test_connection()
    assert good
    assert f"answers as {who}. {RIGHTS[who]} " in message
    assert (remote.runs("quick"), remote.pools()) == ([], {"default_pool": 128})


def test_the_button_says_that_1_10_knows_no_accounts(start: Start) -> None:
    start("1.10.15")
    good, message = AstronomerHook().test_connection()
    assert good
    assert "everything it offers is allowed" in message


def test_the_button_tolerates_a_remote_that_replies_something_else(start: Start) -> None:
    remote = start("3.3.2")
    remote.disturb(422, method="POST", path="/dagRuns")
    remote.disturb(404, path="/monitor/health")
    good, message = AstronomerHook().test_connection()
    assert good
    assert "It is unknown whether it may trigger. Its health could not be read" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"password": "wrong-s3cr3t"}, "login"),
        ({"login": None, "password": "wrong-s3cr3t"}, "token"),
        ({"login": None, "password": None}, "credentials"),
        ({"host": "http://127.0.0.1:9"}, "No reply"),
        ({"host": "http://127.0.0.1:9", "extra": "{}"}, "No reply"),
        (
            {"host": "http://127.0.0.1:9", "extra": {"proxy": "u:s3cr3t@127.0.0.1:1"}},
            "No reply from http://127.0.0.1:9 through the proxy http://127.0.0.1:1 (the connection's proxy)",
        ),
        (
            {"host": "http://127.0.0.1:9", "extra": {"secret_headers": {"X A": "s3cr3t"}}},
            "secret_headers must have names",
        ),
    ],
)
@pytest.mark.parametrize("version", ["2.11.2", "3.3.2"])
def test_the_button_says_what_is_wrong_and_no_secret(
    start: Start, add_connection: Any, version: str, change: dict[str, Any], said: str
) -> None:
    add_connection(**start(version).connection(**change))
    good, message = AstronomerHook().test_connection()
    assert not good
    assert said in message
    assert "s3cr3t" not in message
    assert len(re.findall(r"\.(?=\s|$)", message)) <= 2, message


@pytest.mark.skipif(not AIRFLOW_3, reason="Airflow 2 makes no connection with such an extra")
@pytest.mark.parametrize("extra", ["[1]", '["s3cr3t"]', "s3cr3t", '"s3cr3t"', "5"])
def test_an_extra_that_is_no_object_is_a_setting_to_correct(add_connection: Any, extra: str) -> None:
    add_connection(host="http://127.0.0.1:9", extra=extra)
    good, message = AstronomerHook().test_connection()
    assert not good
    assert "extra must be a JSON object such as" in message
    assert "s3cr3t" not in message
    with pytest.raises(InvalidSettings, match="extra must be a JSON object such as"):
        AstronomerHook().get_version()


@pytest.mark.parametrize(("sent", "verify"), [({"verify": "y"}, True), ({}, False)])
def test_the_button_of_airflow_2_is_understood(add_connection: Any, sent: dict[str, str], verify: bool) -> None:
    fields = {"auth": "auto", **sent}
    doubled = {**fields, **{f"extra__astronomer__{name}": text for name, text in fields.items()}}
    stored = AstronomerHook.get_connection(add_connection(host="https://host.example", extra=doubled))
    assert Settings.parse(**parts_of_tested_connection(stored)).verify is verify
    assert Settings.parse(**connection_parts(stored)).verify, "nothing but a Test takes what is missing for a no"


def test_the_button_says_when_something_else_answers(add_connection: Any) -> None:
    page = Reply(200, "<html><title>Welcome</title></html>", "text/html")
    server = Server(lambda _: page, keep_alive=False)
    try:
        add_connection(host=server.url)
        good, message = AstronomerHook().test_connection()
    finally:
        server.close()
    assert not good
    assert "proxy or login page" in message


def test_the_button_does_not_block_a_web_server(
    remote: FakeDeployment, add_connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_connection(**remote.connection(extra={"connect_timeout": 600, "read_timeout": 600}))
    remote.disturb(503, times=100)
    waits: list[Any] = []
    send = requests.Session.send

    def watched(self: requests.Session, request: Any, **options: Any) -> Any:
        waits.append(options["timeout"])
        return send(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", watched)
    good, _ = AstronomerHook().test_connection()
    assert not good
    # Some of Airflow's versions look up a connection in other places than the environment, too.
    assert sum(wait.total for wait in waits) <= 15


@pytest.mark.parametrize("hangs", [True, False])
def test_the_button_waits_for_no_library_longer_and_calls_it_once(
    add_connection: Any, monkeypatch: pytest.MonkeyPatch, hangs: bool
) -> None:
    pytest.importorskip("boto3")
    from astronomer_remote.api.logins.mwaa import Mwaa

    calls: list[int] = []
    done = threading.Event()

    def web_login(self: Mwaa) -> Any:
        calls.append(1)
        if hangs:
            done.wait(20)
        raise errors.UnexpectedReply("AWS could not be reached.")

    monkeypatch.setattr(Mwaa, "_web_login", web_login)
    monkeypatch.setattr("astronomer_remote.hooks.astronomer.SECONDS_TO_TEST", 0.5 if hangs else 14.0)
    add_connection(extra={"auth": "mwaa", "mwaa_environment": f"environment-{hangs}"})
    began = time.monotonic()
    try:
        good, message = AstronomerHook().test_connection()
    finally:
        done.set()
    assert not good
    assert ("No reply to the login" if hangs else "AWS could not be reached") in message
    assert time.monotonic() - began < 5
    assert len(calls) == 1


# What it inherits


def test_run_is_authenticated_and_sends_no_extra_as_a_header(start: Start, add_connection: Any) -> None:
    for version, endpoint in (("2.11.2", "api/v1/pools"), ("3.3.2", "/api/v2/pools")):
        remote = start(version)
        extra = {"read_timeout": 7, "api": "auto", "secret_headers": {"X-Gateway-Key": "k"}}
        add_connection(**remote.connection(extra=extra))
        reply = AstronomerHook(method="GET").run(endpoint)
        assert reply.json()["total_entries"] == 1
        request = remote.received[-1]
        assert request.headers["x-gateway-key"] == "k"
        assert request.headers["authorization"]
        known = {"accept", "accept-encoding", "authorization", "connection", "host", "user-agent", "x-gateway-key"}
        assert set(request.headers) <= known


def test_run_sends_no_token_of_one_deployment_to_another(start: Start, add_connection: Any) -> None:
    first, second = start("3.3.2"), start("3.3.2", "another", api_token="t0ken-of-the-second")
    hook = AstronomerHook()
    add_connection("astronomer_default", **first.connection())
    assert hook.run("/api/v2/pools").status_code == 200
    add_connection("astronomer_default", **second.connection())
    assert hook.run("/api/v2/pools").status_code == 200
    assert {request.headers.get("authorization") for request in second.received} <= {None, "Bearer t0ken-of-the-second"}


def test_run_takes_data_and_headers_as_in_http_hook(remote: FakeDeployment) -> None:
    hook = AstronomerHook(method="POST")
    reply = hook.run(
        "/api/v2/pools", data=json.dumps({"name": "new", "slots": 2}), headers={"Content-Type": "application/json"}
    )
    assert reply.status_code == 201
    assert remote.pools()["new"] == 2


def test_run_sends_only_get_if_the_connection_is_read_only(remote: FakeDeployment, add_connection: Any) -> None:
    add_connection(**remote.connection(extra={"read_only": True}))
    before = len(remote.received)
    with pytest.raises(AccessDenied, match="Could not send POST: the connection is read_only") as error:
        AstronomerHook(method="POST").run("/api/v2/pools?x=1", data=json.dumps({"name": "new", "slots": 2}))
    assert error.value.path == "/api/v2/pools"
    assert {request.method for request in remote.received[before:] if "/pools" in request.path} == set()
    assert AstronomerHook(method="GET").run("/api/v2/pools").status_code == 200


def test_run_has_a_timeout_and_a_user_may_set_it(
    remote: FakeDeployment, add_connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_connection(**remote.connection(extra={"connect_timeout": 3, "read_timeout": 7}))
    seen: list[Any] = []
    send = requests.Session.send

    def watched(self: requests.Session, request: Any, **options: Any) -> Any:
        seen.append(options.get("timeout"))
        return send(self, request, **options)

    monkeypatch.setattr(requests.Session, "send", watched)
    hook = AstronomerHook()
    hook.run("api/v2/version")
    assert seen[-1] == (3, 7)
    hook.run("api/v2/version", extra_options={"timeout": 1})
    assert seen[-1] == 1


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[RecordedRequest]]]:
    """Another host, and what it heard."""
    heard: list[RecordedRequest] = []

    def answer(request: RecordedRequest) -> Reply:
        heard.append(request)
        return Reply(200, {})

    server = Server(answer, keep_alive=False)
    yield server.url, heard
    server.close()


@pytest.fixture
def redirecting(elsewhere: tuple[str, list[RecordedRequest]], add_connection: Any) -> Iterator[None]:
    """A deployment of Airflow 3 that answers everything with a redirect to the other host."""
    url, _ = elsewhere

    def answer(request: RecordedRequest) -> Reply:
        if request.path == "/api/v2/version":
            return Reply(200, {"version": "3.3.2"})
        return Reply(302, None, headers={"Location": f"{url}/login"})

    server = Server(answer, keep_alive=False)
    add_connection(host=server.url, password="s3cr3t", extra={"secret_headers": {"X-Gate": "g4te"}})
    yield
    server.close()


@pytest.mark.usefixtures("redirecting")
def test_redirects_are_not_followed(elsewhere: tuple[str, list[RecordedRequest]]) -> None:
    hook = AstronomerHook()
    assert hook.run("api/v2/pools", extra_options={"check_response": False}).status_code == 302
    for operate in (hook.list_pools, lambda: asyncio.run(hook.async_list_pools())):
        with pytest.raises((UnexpectedReply, AuthenticationFailed)):
            operate()
    assert elsewhere[1] == []


@pytest.mark.usefixtures("redirecting")
def test_credentials_do_not_follow_a_redirect_that_a_user_allows(elsewhere: tuple[str, list[RecordedRequest]]) -> None:
    AstronomerHook().run("api/v2/pools", extra_options={"allow_redirects": True})
    (request,) = elsewhere[1]
    assert "s3cr3t" not in str(request.headers)
    assert "g4te" not in str(request.headers)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/one/elsewhere", True),
        ("/one", True),
        ("/two/api/v2/pools", False),
        ("/oneself", False),
        ("/", False),
        ("/one/../two", False),
        ("/one/%2e%2e/two", False),
        ("/one/%252E%252E/two", False),
        ("/one/..%5Ctwo", False),
        ("/one/..;/two", False),
        ("/one/%2e%2e;x/two", False),
        ("/one/..%2Ftwo", False),
        ("/one//two", False),
    ],
)
def test_credentials_do_not_follow_a_redirect_to_another_deployment_of_the_same_host(
    add_connection: Any, location: str, shown: bool
) -> None:
    heard: list[RecordedRequest] = []

    def answer(request: RecordedRequest) -> Reply:
        if request.path == "/one/api/v2/version":
            return Reply(200, {"version": "3.3.2"})
        heard.append(request)
        return Reply(302, None, headers={"Location": location}) if len(heard) == 1 else Reply(200, {})

    server = Server(answer, keep_alive=False)
    add_connection(host=f"{server.url}/one", password="s3cr3t", extra={"secret_headers": {"X-Gate": "g4te"}})
    AstronomerHook().run("api/v2/pools", extra_options={"allow_redirects": True})
    server.close()
    first, second = heard
    assert (first.headers["authorization"], first.headers["x-gate"]) == ("Bearer s3cr3t", "g4te")
    assert ("authorization" in second.headers, "x-gate" in second.headers) == (shown, shown)


@pytest.mark.parametrize(
    "endpoint",
    ["../two/api", "%2e%2e/two/api", "..%2ftwo/api", "%252e%252e/two", "..;/two", "%2e%2e%3b/two", "..\\two", "//two"],
)
def test_an_endpoint_that_may_lead_to_another_deployment_is_refused(add_connection: Any, endpoint: str) -> None:
    heard: list[RecordedRequest] = []

    def answer(request: RecordedRequest) -> Reply:
        heard.append(request)
        return Reply(200, {"version": "3.3.2"})

    server = Server(answer, keep_alive=False)
    add_connection(host=f"{server.url}/one", password="s3cr3t", extra={"secret_headers": {"X-Gate": "g4te"}})
    hook = AstronomerHook()
    with pytest.raises(InvalidSettings, match="may lead out of"):
        hook.run(endpoint)
    with hook.get_conn() as session:
        session.get(f"{server.url}/one/{endpoint}", timeout=5)
    server.close()
    # A request that is sent all the same has nothing that is meant for the deployment.
    assert heard
    assert not any({"authorization", "x-gate"} & set(request.headers) for request in heard)


def test_credentials_are_sent_to_the_deployment_alone(
    remote: FakeDeployment, elsewhere: tuple[str, list[RecordedRequest]], add_connection: Any
) -> None:
    add_connection(**remote.connection(extra={"secret_headers": {"X-Gate": "g4te"}}))
    url, heard = elsewhere
    with AstronomerHook().get_conn() as session:
        session.get(f"{remote.url}/api/v2/pools", timeout=5).raise_for_status()
        session.get(f"{url}/api/v2/pools", timeout=5)
    shown = remote.received[-1].headers
    assert "authorization" in shown
    assert shown["x-gate"] == "g4te"
    assert not {"authorization", "x-gate"} & set(heard[0].headers)


def test_netrc_does_not_replace_the_credentials(
    remote: FakeDeployment, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password other\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert AstronomerHook().run("api/v2/pools").status_code == 200
    assert AstronomerHook().get_pool("default_pool").slots == 128


def test_those_who_read_a_connection_at_the_same_time_share_the_read(
    add_connection: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_connection("there", host="https://there.example.com", login="a", password="b")
    reads: list[str] = []
    read = AstronomerHook._read_settings

    def counted(self: AstronomerHook, *parts: Any) -> Any:
        reads.append(self.astronomer_conn_id)
        time.sleep(0.1)
        return read(self, *parts)

    monkeypatch.setattr(AstronomerHook, "_read_settings", counted)

    async def read_at_once(conn_id: str) -> list[Any]:
        reading = [asyncio.create_task(AstronomerHook(conn_id).shared_settings()) for _ in range(5)]
        await asyncio.sleep(0.02)
        # The others get the settings nevertheless.
        reading[0].cancel()
        return await asyncio.gather(*reading, return_exceptions=True)

    async def run() -> None:
        cancelled, *found = await read_at_once("there")
        assert isinstance(cancelled, asyncio.CancelledError)
        assert [each.base_url for each in found] == ["https://there.example.com"] * 4
        assert reads == ["there"]
        # A later one is another read, and so is one of another connection.
        await AstronomerHook("there").shared_settings()
        assert reads == ["there", "there"]
        _, *failed = await read_at_once("nowhere")
        assert [type(each).__name__ for each in failed] == ["AirflowNotFoundException"] * 4
        assert reads == ["there", "there", "nowhere"]
        # All who wait are cancelled, and nothing reads the error.
        alone = asyncio.create_task(AstronomerHook("nowhere").shared_settings())
        await asyncio.sleep(0.02)
        alone.cancel()
        await asyncio.sleep(0.3)

    asyncio.run(run())
