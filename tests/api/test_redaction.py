"""A remote that repeats what it was sent: no secret comes out of it again."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.protocol import redaction
from astronomer_remote.api.protocol.errors import RemoteError
from astronomer_remote.api.protocol.flow import Request, Response
from astronomer_remote.api.protocol.redaction import MOST_ISSUED, Redaction
from astronomer_remote.api.protocol.settings import Settings
from tests.api.script import URL, V1, V1_OLD, V2, ScriptedRemote, answer, ok, page, plain

PASSWORD, TOKEN, GATEWAY, COOKIE = 'zq"55&wörd', "eyJhbGciOi.t0ken.issued", "g4teway-value", "c00kie-of-a-session"
USER = Settings(URL, login="me", password=PASSWORD, headers={"X-Gateway-Key": GATEWAY})
STATIC = Settings(URL, password="st4tic-token", headers={"X-Gateway-Key": GATEWAY})
BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()


def everything(settings: Settings, request: Request) -> str:
    """What a page shows that lists the request: headers, body and all."""
    sent = {**settings.headers, **request.headers}
    return f"{sent} {request.body} {dict(request.form or {})} {settings.password}"


ECHOES: dict[str, Callable[[str], Response]] = {
    **{
        f"title of a {status}": lambda text, status=status: page(status, text)
        for status in (200, 400, 401, 403, 404, 500, 522)
    },
    **{
        f"detail of a {status}": lambda text, status=status: answer(status, {"detail": text})
        for status in (400, 401, 403, 404, 409, 422, 500, 522)
    },
    **{
        f"words of a {status}": lambda text, status=status: plain(status, text)
        for status in (200, 400, 401, 403, 404, 500)
    },
    "location": lambda text: Response(302, {"location": f"/login/{quote(text)}?{text}"}),
    "location, quoted": lambda text: Response(302, {"location": f"/login/{quote(text, safe='')}"}),
    "type": lambda text: Response(200, {"content-type": text.lower()}, b""),
    "reason": lambda text: answer(409, {"detail": {"reason": text}}),
    "problems": lambda text: answer(422, {"detail": [{"loc": [text], "msg": text, "input": text}]}),
    "HTML": lambda text: page(403, html.escape(text)),
    "JSON in a title": lambda text: page(403, json.dumps(text)),
    "long": lambda text: answer(409, {"detail": "x" * 950 + text}),
    "fields": lambda text: ok({"name": text, "slots": text}),
    "list": lambda text: ok([text]),
    "number": lambda text: ok({text: text}),
    "version": lambda text: ok({"version": f"3.3.2 {text}"}),
    "short version": lambda text: ok({"version": f"3.3.2 {text[-24:]}", "scheduler": {"status": text}}),
}

SECRETS = (
    "zq",
    "55&",
    "w\\u00f6rd",
    "wörd",
    TOKEN,
    "t0ken",
    GATEWAY,
    "g4teway",
    COOKIE,
    "c00kie",
    BASIC[:12],
    "st4tic",
)


@pytest.mark.parametrize("echo", ECHOES)
@pytest.mark.parametrize("from_", ["the first request", "the login", "a later request"])
@pytest.mark.parametrize(
    ("settings", "version"),
    [(USER, V2), (USER, V1), (USER, V1_OLD), (STATIC, V2), (STATIC, V1)],
    ids=["login 3", "login 2", "login 2.2", "token 3", "token 2"],
)
def test_no_secret_comes_back(settings: Settings, version: str, from_: str, echo: str) -> None:
    remote = ScriptedRemote(settings, None if from_ == "the first request" else version, retry=RetryPolicy(attempts=1))
    requests = 0

    def repeat(request: Request) -> Response:
        nonlocal requests
        requests += 1
        if from_ == "a later request" and request.path == "/auth/token":
            return answer(201, {"access_token": TOKEN})
        if from_ == "a later request" and request.path == "/login/":
            cookie = {"set_cookie": f"session={COOKIE}; Path=/"}
            form = b'<input name="csrf_token" value="csrf">'
            return replace(page(302 if request.form else 200, **cookie), body=form)
        if from_ == "a later request" and settings is USER and version == V1 and requests < 3:
            return ok({"name": "p", "slots": 1})
        return ECHOES[echo](everything(settings, request))

    operations: list[Callable[[], Any]] = [
        lambda: remote.deployment.get_pool("p"),
        lambda: remote.deployment.get_pool("p"),
        lambda: remote.deployment.trigger_dag_run("d"),
        lambda: remote.deployment.create_pool("p", 1),
        lambda: remote.deployment.get_health(),
        lambda: remote.deployment.get_dag("d"),
        lambda: remote.deployment.describe(),
    ]
    for action in operations:
        try:
            said = remote.drive(action(), repeat, lambda: settings)
        except RemoteError as error:
            shown = f"{error} {error!r} {error.message} {error.detail}"
        else:
            # What is read is data; but the Test button's sentence is for a person.
            shown = said if isinstance(said, str) else ""
        assert not [secret for secret in SECRETS if secret in shown], shown


def test_each_form_of_a_secret_is_hidden_and_the_longest_first() -> None:
    settings = Settings(URL, login="me", password="part/ of+it", headers={"X-Key": "part/ of+it and more"})
    hide = Redaction().hide
    assert hide("<part/ of+it and more>", settings) == "<***>"
    assert hide("part%2F%20of%2Bit part/%20of%2Bit part%2F+of%2Bit", settings) == "*** *** ***"


def test_what_is_too_short_to_be_a_secret_stays() -> None:
    assert Redaction().hide("a slot of a pool", Settings(URL, password="a")) == "a slot of a pool"


def test_a_remote_cannot_have_words_hidden_or_memory_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(redaction, "on_issued", [lines.append])
    kept = Redaction()
    kept.add(["success", "x" * 16, "x" * 16])
    kept.add(["x" * 16])
    assert lines == ["x" * 16]
    assert kept.hide(f"success {'x' * 16}", Settings(URL)) == "success ***"
    kept.add(f"issued-secret-number-{number}" for number in range(MOST_ISSUED))
    assert kept.hide("x" * 16, Settings(URL)) == "x" * 16
    assert kept.hide(f"issued-secret-number-{MOST_ISSUED - 1}", Settings(URL)) == "***"


QUESTION = Request("GET", "/api/v2/pools")


def in_data(value: Any, secret: str, request: Request = QUESTION) -> Any:
    return Redaction().hide_in(value, Settings(URL, password=secret), request)


def test_secrets_in_data_are_hidden_in_texts_and_names_however_deep() -> None:
    deep: Any = "a s3cret-word"
    for _ in range(5000):
        deep = [deep]
    value = {"s3cret-word": [1, None, True, {"a": "s3cret%2Dword s3cret-word"}], "deep": deep}
    hidden = in_data(value, "s3cret-word")
    assert hidden["***"] == [1, None, True, {"a": "s3cret%2Dword ***"}]
    found = hidden["deep"]
    while isinstance(found, list):
        (found,) = found
    assert found == "a ***"
    # What was read is left as it is, for whoever reads it otherwise.
    assert "s3cret-word" in value


@pytest.mark.parametrize("secret", ["running", "airflow", "20260101", "a-1", "a" * 15])
def test_data_keeps_what_may_be_an_ordinary_word_or_number(secret: str) -> None:
    assert in_data({"state": secret}, secret) == {"state": secret}


@pytest.mark.parametrize("secret", ["hunter2", "a" * 16, "1" * 16, "zq55&w"])
def test_data_keeps_no_other_secret(secret: str) -> None:
    assert in_data({"state": f"<{secret}>"}, secret) == {"state": "<***>"}


@pytest.mark.parametrize(
    "request_",
    [
        Request("GET", "/api/v2/dags/team-7-etl/dagRuns"),
        Request("GET", "/api/v2/dags/team%2D7-etl/dagRuns"),
        Request("POST", "/api/v2/dags/~/dagRuns/list", body={"dag_ids": ["team-7-etl"]}),
    ],
)
def test_an_id_that_the_request_names_is_kept_whole(request_: Request) -> None:
    assert in_data({"dag_id": "team-7-etl"}, "team-7", request_) == {"dag_id": "team-7-etl"}


def test_a_conf_names_nothing() -> None:
    request = Request("POST", "/api/v2/dags/d/dagRuns", body={"conf": {"key": "s3cret-word"}})
    assert in_data({"note": "s3cret-word"}, "s3cret-word", request) == {"note": "***"}
    listed = Request("POST", "/api/v2/x", body=["s3cret-word"])
    assert in_data({"note": "s3cret-word"}, "s3cret-word", listed) == {"note": "s3cret-word"}


def test_logs_that_are_plain_text_hold_no_secret() -> None:
    settings = Settings(URL, password="pä55wörd")
    assert Redaction().hide_in_bytes("x pä55wörd y".encode(), settings) == b"x *** y"
