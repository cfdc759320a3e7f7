"""What a reply means: a model, or the one error that fits, with the server's words and without secrets."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from astronomer_remote.api.client import responses
from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.dialects.base import Operation
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    Conflict,
    DagNotFound,
    DagRunNotFound,
    NotFound,
    PermanentError,
    RemoteError,
    RemoteUnavailable,
    RequestRefused,
    TransientError,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Request, Response, TransportError
from astronomer_remote.api.protocol.settings import Settings
from tests.api.script import EXPERIMENTAL, URL, V1, V2, VERSIONS, ScriptedRemote, Speech, Turn, answer, ok, page, plain

GET_RUN = "GET /api/v2/dags/d/dagRuns/r"
ONCE = RetryPolicy(attempts=1)


def get_run(reply: Response) -> Any:
    remote = ScriptedRemote(version=V2, retry=ONCE)
    return remote.play(remote.deployment.get_dag_run("d", "r"), Turn(GET_RUN, reply))


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (answer(403, {"detail": "Forbidden"}), AccessDenied, "lacks the permission; of Airflow's own roles, Viewer"),
        (answer(404, {"detail": "no such run"}), DagRunNotFound, "there is no such thing, or the account may not see"),
        (answer(409, {"detail": "no"}), Conflict, "conflicts with what is there"),
        (answer(405, {"detail": "no"}), RequestRefused, "this version of Airflow does not offer it"),
        (answer(400, {"detail": "no"}), RequestRefused, "the remote refused the request"),
        (answer(422, {"detail": "no"}), RequestRefused, "the remote refused the request"),
        (plain(501, "no"), RemoteUnavailable, "the remote could not answer now."),
        (answer(522, {"detail": "no"}), RemoteUnavailable, "the remote could not answer now."),
        (page(200), UnexpectedReply, "the reply is not JSON but a page (titled 'Sign in'). A proxy or login page"),
        (page(403, "Blocked"), UnexpectedReply, "an HTML page came back where JSON was due (titled 'Blocked')"),
        (page(404, "default backend"), UnexpectedReply, "an HTML page came back where JSON was due"),
        (plain(404, "404 page not found"), UnexpectedReply, "something else came back where JSON was due"),
        (page(520), RemoteUnavailable, "an HTML page came back"),
        *(
            (answer(status, body), UnexpectedReply, "an error that is not Airflow's came back where JSON was due")
            for status in (400, 403, 404, 405, 409, 422)
            for body in ({"message": "no Route matched with those values"}, {}, ["detail"], "detail", None)
        ),
        (plain(403, "RBAC: access denied"), UnexpectedReply, "something else came back where JSON was due"),
        (Response(404, {"content-type": "application/json"}, b"{detail"), UnexpectedReply, "not Airflow's came back"),
        (Response(418, {"content-type": "text/html"}, b"tea"), UnexpectedReply, "(without a title)"),
        (page(302, location="https://id.example.com/login?next=s3cret"), UnexpectedReply, "login'; redirects are not"),
        (plain(300, ""), UnexpectedReply, "to 'nowhere'"),
        (plain(301, ""), UnexpectedReply, "to 'nowhere'"),
        (Response(200, {"content-type": "application/json"}, b'{"dag_id": "d", "dag_'), UnexpectedReply, "not JSON."),
        (Response(200, {}, b"[" * 100_000), UnexpectedReply, "the reply is not JSON."),
        (Response(200, {}, b"\xff\xfe\x00"), UnexpectedReply, "the reply is not JSON."),
        (ok({"dag_id": "d"}), UnexpectedReply, "not what Airflow sends (KeyError: 'dag_run_id')"),
        (ok([1]), UnexpectedReply, "not what Airflow sends (TypeError"),
        (ok({"dag_id": 1, "dag_run_id": 2}), UnexpectedReply, "not what Airflow sends (AnotherReply"),
        (Response(204), UnexpectedReply, "not what Airflow sends (TypeError"),
        (Response(200, {}, b" \n"), UnexpectedReply, "not what Airflow sends (TypeError"),
    ],
)
def test_each_reply_that_is_no_answer_is_one_kind_of_error(
    reply: Response, error: type[RemoteError], words: str
) -> None:
    with pytest.raises(RemoteError) as failure:
        get_run(reply)
    assert type(failure.value) is error
    assert words in str(failure.value)
    assert "Could not read run 'r' of DAG 'd'" in str(failure.value) or "redirects" in str(failure.value)
    facts = failure.value
    assert (facts.status, facts.method, facts.path) == (reply.status, "GET", "/api/v2/dags/d/dagRuns/r")
    assert f"[GET /api/v2/dags/d/dagRuns/r → {reply.status}]" in str(facts)
    assert "s3cret" not in str(facts)


TRANSIENT = (
    page(200),
    page(403),
    page(404),
    ok({"dag_id": "d"}),
    Response(200, {}, b'{"dag_'),
    page(302, location="/"),
)


@pytest.mark.parametrize("reply", TRANSIENT)
def test_what_is_no_reply_of_an_airflow_is_requested_again_where_that_does_no_harm(reply: Response) -> None:
    remote, speech = ScriptedRemote(version=V2), Speech(V2)
    read = remote.deployment.get_dag_run("d", "r")
    assert remote.play(read, *[Turn(GET_RUN, reply)] * 5, speech.get(speech.run())).run_id == "r"
    assert len(remote.sleeps) == 5
    with pytest.raises(UnexpectedReply):
        remote.play(remote.deployment.get_dag_run("d", "r"), *[Turn(GET_RUN, reply)] * 6)
    write = remote.deployment.call("POST", "/connections", json={})
    with pytest.raises(UnexpectedReply):
        remote.play(write, Turn("POST /api/v2/connections", page(403)))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_unknown_dag_is_distinguished_from_an_unknown_run(version: str) -> None:
    remote, speech = ScriptedRemote(version=version), Speech(version)
    with pytest.raises(DagRunNotFound):
        remote.play(remote.deployment.get_dag_run("d", "r"), speech.get())


def test_a_total_beyond_all_numbers_is_an_unexpected_reply() -> None:
    remote = ScriptedRemote(version=V2, retry=ONCE)
    endless = Response(200, {}, b'{"pools": [], "total_entries": Infinity}')
    with pytest.raises(UnexpectedReply, match="total_entries is not a whole number"):
        remote.play(remote.deployment.list_pools(), Turn("GET /api/v2/pools?limit=100&offset=0", endless))


def test_a_body_larger_than_the_limit_is_refused() -> None:
    with pytest.raises(UnexpectedReply, match="larger than this package reads") as failure:
        get_run(Response(200, {"content-type": "application/json"}, b'{"dag', truncated=True))
    assert (failure.value.status, failure.value.method) == (200, "GET")
    assert failure.value.path == "/api/v2/dags/d/dagRuns/r"


@pytest.mark.parametrize(
    ("changes", "status", "said", "message"),
    [
        ({}, 403, "Forbidden", "Could not do it: the account behind the connection lacks the permission."),
        (
            {"least_role": "Op"},
            403,
            None,
            "Could not do it: the account behind the connection lacks the permission; of Airflow's own roles, Op is "
            "the least that may.",
        ),
        ({}, 403, "Hidden", "Could not do it: the remote does not allow it."),
        ({"hint": "Allow it."}, 403, "Hidden", "Could not do it: the remote does not allow it. Allow it."),
        ({}, 404, "no", "Could not do it: there is no such thing, or the account may not see it."),
        ({"missing_status": 400}, 400, "no", "Could not do it: there is no such thing, or the account may not see it."),
        ({}, 405, "no", "Could not do it: this version of Airflow does not offer it."),
        ({}, 409, "no", "Could not do it: it conflicts with what is there."),
        ({}, 422, "no", "Could not do it: the remote refused the request."),
    ],
)
def test_the_error_of_a_refusal_says_what_was_refused_and_what_to_do(
    changes: dict[str, Any], status: int, said: str | None, message: str
) -> None:
    operation: Operation[None] = Operation(Request("GET", "/x"), lambda body: None, "do it", **changes)
    with pytest.raises(PermanentError) as failure:
        responses.check(operation, answer(status, {"detail": said}))
    assert failure.value.message == message


@pytest.mark.parametrize(
    ("path", "reply", "error"),
    [
        ("/api/experimental/pools", plain(401, "Unauthorized"), RequestRefused),
        ("/api/experimental/pools", plain(403, "Forbidden"), AccessDenied),
        ("/api/experimental/pools", plain(404, "Not Found"), UnexpectedReply),
        ("/api/experimental/pools", page(403), UnexpectedReply),
        ("/api/v1/pools", plain(403, "Forbidden"), UnexpectedReply),
    ],
)
def test_only_1_10_refuses_in_a_word_of_plain_text(path: str, reply: Response, error: type[RemoteError]) -> None:
    with pytest.raises(error):
        responses.check(Operation(Request("GET", path), lambda body: None, "do it"), reply)


@pytest.mark.parametrize(
    ("settings", "version", "status", "message"),
    [
        (
            Settings(URL),
            V2,
            401,
            "The remote requires credentials, and the connection sends none: give it login and password, or a token, "
            "and another auth than 'none'.",
        ),
        (
            Settings(URL, password="s3cret", authentication="auto"),
            V2,
            401,
            "The remote did not accept the connection's token or key. Check the connection's password and "
            "authentication; it may have expired or been deleted.",
        ),
        (
            Settings(URL, login="me", password="s3cret", authentication="basic"),
            V1,
            403,
            "The remote did not accept the connection's login 'me', or the account lacks every permission: Airflow "
            "2.11 answers both with 403 and no reason. Check the connection's login, password and authentication; a "
            "token may have expired.",
        ),
    ],
)
def test_the_error_of_refused_credentials_says_which_and_has_the_servers_words(
    settings: Settings, version: str, status: int, message: str
) -> None:
    remote = ScriptedRemote(settings, version)
    refusal = answer(status, {"detail": None, "title": "Forbidden"})
    with pytest.raises(AuthenticationFailed) as failure:
        remote.drive(remote.deployment.get_dag_run("d", "r"), lambda request: refusal, lambda: settings)
    assert (failure.value.message, failure.value.detail, failure.value.status) == (message, "Forbidden", status)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"detail": "DAG 'd'  not\n found"}, "DAG 'd' not found"),
        ({"error": "Dag Run for date not found"}, "Dag Run for date not found"),
        ({"title": "Conflict", "detail": None}, "Conflict"),
        ({"detail": [{"loc": ["body", "conf"], "msg": "Input should be a dict", "input": "s3cret"}]}, "body.conf: Inp"),
        ({"detail": [{"loc": None, "msg": "odd"}, "text"]}, "None: odd; text"),
        ({"detail": {"reason": "Unique constraint violation", "message": "Serious"}}, "Unique constraint violation"),
        ({"detail": {"message": "Serious"}}, "Serious"),
        (["a", "list"], "a; list"),
        ("text", "text"),
        ({}, None),
        (None, None),
    ],
)
def test_each_generation_has_its_own_place_for_the_servers_words(body: Any, words: str | None) -> None:
    said = responses.detail(answer(400, body))
    assert (said is None) if words is None else (said is not None and said.startswith(words))
    assert "s3cret" not in (said or "")


def test_plain_words_of_the_server_are_repeated_and_pages_are_not() -> None:
    assert responses.detail(plain(403, " Forbidden ")) == "Forbidden"
    assert responses.detail(plain(403, "")) is None
    assert responses.detail(page(403)) is None


def test_long_words_of_the_server_are_shortened() -> None:
    for body in ({"detail": "x" * 5_000}, {"detail": [{"loc": ["x"], "msg": "y" * 5_000}]}):
        said = responses.detail(answer(400, body))
        assert said is not None
        assert len(said) == 1_001
        assert said.endswith("…")


def test_a_word_that_the_message_holds_already_is_not_repeated() -> None:
    assert str(NotFound("There is no pool.", detail="no pool")) == "There is no pool."
    assert str(NotFound("There is no pool.", detail="gone")) == "There is no pool. The remote said: gone"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["detail", "error", "title", "loc", "msg", "reason", "message", "items"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@given(json_values)
@example("\r")
def test_the_servers_words_are_found_in_whatever_json_it_sends(body: Any) -> None:
    said = responses.detail(answer(400, body))
    assert said is None or 0 < len(said) <= 1_001


run_keys = ("dag_id", "dag_run_id", "run_id", "state", "logical_date", "execution_date", "conf", "start_date")
list_keys = ("dag_runs", "total_entries", "pools", "name", "slots", "pool", "task_instances", "sections")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(run_keys + list_keys), inner, max_size=6)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("version", [EXPERIMENTAL, V1, V2])
@given(body=anything)
def test_json_of_the_wrong_shape_is_an_unexpected_reply_and_nothing_worse(version: str, body: Any) -> None:
    remote = ScriptedRemote(version=version)
    response = Response(200, {"content-type": "application/json"}, json.dumps(body).encode())
    for flow in (
        remote.deployment.get_dag_run("d", "r"),
        remote.deployment.runs.newest("d"),
        remote.deployment.get_pool("p"),
        remote.deployment.get_health(),
    ):
        with contextlib.suppress(UnexpectedReply, DagRunNotFound):
            remote.drive(flow, lambda _: response)


# Errors as such


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RemoteUnavailable("", status=501), True),
        (RemoteUnavailable("", status=502), False),
        (UnexpectedReply("", status=300), True),
        (UnexpectedReply("", status=499), True),
        (UnexpectedReply("", status=299), False),
        (UnexpectedReply("", status=500), False),
        (UnexpectedReply(""), False),
        (RequestRefused("", status=400), False),
    ],
)
def test_a_gateway_may_block_one_request_but_not_for_now(error: RemoteError, expected: bool) -> None:
    assert responses.may_refuse(error) == expected


@pytest.mark.parametrize("error", [DagNotFound, DagRunNotFound, AccessDenied, Conflict])
def test_permanent_errors_are_distinguished_from_passing_ones(error: type[RemoteError]) -> None:
    assert issubclass(error, PermanentError)
    assert not issubclass(error, TransientError)


def test_no_secret_shows_in_settings_requests_or_responses() -> None:
    settings = Settings(URL, "me", "s3cret", proxy="http://u:s3cret@proxy.example.com", headers={"X-Key": "s3cret"})
    request = Request("POST", "/x", body={"password": "s3cret"}, form={"password": "s3cret"}).with_headers(
        {"Authorization": "s3cret"}
    )
    response = Response(200, {"set-cookie": "s3cret"}, b"s3cret")
    for thing in (settings, request, response):
        assert "s3cret" not in repr(thing) + str(thing)


@pytest.mark.parametrize("version", VERSIONS)
def test_no_secret_shows_in_any_error_of_a_client(version: str) -> None:
    settings = Settings(URL, login="me", password="s3cret", headers={"X-Key": "s3cret"})
    for reply in (answer(401), page(302, location="/?token=s3cret"), answer(500), page(403), answer(403), page()):
        remote = ScriptedRemote(settings, version)
        with pytest.raises(RemoteError) as failure:
            remote.drive(
                remote.deployment.trigger_dag_run("d", conf={"password": "s3cret"}),
                lambda request, reply=reply: (  # type: ignore[misc]
                    answer(201, {"access_token": "s3cret"}) if request.path == "/auth/token" else reply
                ),
                lambda: settings,
            )
        assert "s3cret" not in str(failure.value) + repr(failure.value) + repr(vars(failure.value))


def test_no_reply_names_no_proxy_if_none_was_used() -> None:
    assert responses.unreachable(Settings(URL), Request("GET", "/x"), TransportError("reset")).message == (
        f"No reply from {URL}: reset. Check the connection's host, the network between the two deployments, and "
        "whether the remote is up."
    )


def test_no_reply_names_the_proxy_that_was_used() -> None:
    lost = TransportError("nothing more came for 30 s", proxy="http://proxy:3128 (the environment's HTTPS_PROXY)")
    error = responses.unreachable(Settings(URL), Request("GET", "/x"), lost)
    assert error.message == (
        f"No reply from {URL} through the proxy http://proxy:3128 (the environment's HTTPS_PROXY): nothing more came "
        "for 30 s. Check the connection's host, the proxy, whether NO_PROXY must name the host, the network between "
        "the two deployments, and whether the remote is up."
    )


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "body",
    [
        b"<title" * 1_000_000,
        b"<title>" + b" " * 20_000 + b"x",
        b"<title>" + b"\n" * 5_000_000 + b"</title>",
        b"<title" + b">" * 5_000_000,
        (b"<title>" + b" a " * 5) * 500_000,
        b"x" * 30_000_000 + b"<title>late</title>",
    ],
    ids=["openings", "spaces", "long", "ends", "many", "late"],
)
@pytest.mark.parametrize("status", [200, 403])
def test_no_page_takes_long_to_read(body: bytes, status: int) -> None:
    # 20,000 spaces took seven minutes.
    started = time.monotonic()
    with pytest.raises(UnexpectedReply) as failure:
        get_run(Response(status, {"content-type": "text/html"}, body))
    assert time.monotonic() - started < 1
    assert len(str(failure.value)) < 5000


@pytest.mark.parametrize(
    ("body", "title"),
    [
        (b"<html><head><TITLE lang='en'>\n  Sign\n in </Title>", "titled 'Sign in'"),
        ("<title>größer</title>".encode(), "titled 'größer'"),
        (b"<title>a", "without a title"),
        (b"</title>", "without a title"),
        (b"<title", "without a title"),
        ("<title>İ</title>".encode(), "titled 'İ'"),
        (b"</title><title>a</title>b</title>", "titled 'a'"),
        (b"<title>a</title><title>b</title>", "titled 'a'"),
        (b"<title>\xff</title>", "titled '\ufffd'"),
    ],
)
def test_the_title_of_a_page_is_found(body: bytes, title: str) -> None:
    with pytest.raises(UnexpectedReply, match=title):
        get_run(Response(200, {"content-type": "text/html"}, body))
