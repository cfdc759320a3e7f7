"""What answers at a URL: which generation of Airflow, in which version, or what else."""

from __future__ import annotations

from typing import Any

import pytest

from astronomer_remote.api.client.retry import RetryPolicy
from astronomer_remote.api.protocol.errors import (
    AccessDenied,
    AuthenticationFailed,
    NotFound,
    RemoteUnavailable,
    UnexpectedReply,
)
from astronomer_remote.api.protocol.flow import Response
from astronomer_remote.api.protocol.models import Generation, Version
from astronomer_remote.api.protocol.settings import Settings
from tests.api.script import (
    LOST,
    OPEN,
    URL,
    V2,
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

V2_PROBE, V1_PROBE = "GET /api/v2/version", "GET /api/v1/version"
EXPERIMENTAL_PROBE = "GET /api/experimental/test"
TOKEN = Settings(URL, password="t0ken")
GONE = answer(404, {"error": "/api/v1 has been removed in Airflow 3, please use its upgraded version /api/v2 instead."})


@pytest.mark.parametrize("version", VERSIONS)
def test_each_generation_is_found_in_at_most_three_requests_without_credentials(version: str) -> None:
    remote, speech = ScriptedRemote(with_secret(TOKEN, login="me")), Speech(version)
    generation, found = remote.play(remote.deployment.get_version(), *speech.detection())
    assert generation is speech.generation
    assert found == (None if speech.experimental else Version(version))
    assert len(remote.requests) <= 3
    assert not any(request.authenticated or request.headers for request in remote.requests)


def test_what_was_found_is_remembered() -> None:
    remote = ScriptedRemote()
    found = remote.play(remote.deployment.get_version(), *Speech("3.3.2").detection())
    assert remote.play(remote.deployment.get_version()) == found


def test_a_lost_probe_is_sent_again() -> None:
    remote = ScriptedRemote()
    remote.play(remote.deployment.get_version(), Turn(V2_PROBE, LOST), *Speech("3.3.2").detection())
    assert remote.sleeps == [0.5]


@pytest.mark.parametrize(
    ("api", "turn"),
    [
        (Generation.V2, Turn(V2_PROBE, ok({"version": "3.1.8"}))),
        (Generation.V1, Turn(V1_PROBE, ok({"version": "2.10.5+astro.1"}))),
    ],
)
def test_a_generation_named_by_the_connection_gets_a_request_for_its_version_only(api: Generation, turn: Turn) -> None:
    remote = ScriptedRemote(with_secret(OPEN, generation=api))
    generation, version = remote.play(remote.deployment.get_version(), turn)
    assert generation is api
    assert version is not None
    assert version >= (2, 10)


def test_the_experimental_api_named_by_the_connection_is_taken_on_trust() -> None:
    remote = ScriptedRemote(with_secret(OPEN, generation=Generation.EXPERIMENTAL))
    assert remote.play(remote.deployment.get_version()) == (Generation.EXPERIMENTAL, None)


def test_a_generation_named_wrongly_is_not_replaced_by_another() -> None:
    remote = ScriptedRemote(with_secret(OPEN, generation=Generation.V1))
    with pytest.raises(NotFound, match=r"/api/v1/version → 404 application/json"):
        remote.play(remote.deployment.get_version(), Turn(V1_PROBE, GONE))


ONCE = RetryPolicy(attempts=1)


def probes(v2: Response, v1: Response, experimental: Response) -> list[Turn]:
    return [Turn(V2_PROBE, v2), Turn(V1_PROBE, v1), Turn(EXPERIMENTAL_PROBE, experimental)]


@pytest.mark.parametrize(
    "absent", [page(404), plain(404, "default backend - 404"), answer(404, {"message": "no Route"})]
)
def test_nothing_but_404_of_a_gateway_passes(absent: Response) -> None:
    remote = ScriptedRemote()
    remote.play(remote.deployment.get_version(), *probes(*[absent] * 3), *Speech("2.11.2").detection())
    assert remote.sleeps == [0.5]


def test_nothing_but_404_says_in_the_end_that_the_host_is_wrong() -> None:
    remote = ScriptedRemote(retry=ONCE)
    with pytest.raises(
        UnexpectedReply, match=r"No Airflow REST API found at https://airflow.example.com. Check .* path"
    ):
        remote.play(remote.deployment.get_version(), *probes(*[page(404)] * 3))


@pytest.mark.parametrize("status", [401, 403])
def test_a_page_that_refuses_is_not_taken_for_airflow_1_10(status: int) -> None:
    remote = ScriptedRemote()
    generation, _ = remote.play(
        remote.deployment.get_version(),
        *probes(page(404), page(404), page(status)),
        *Speech("2.11.2").detection(),
    )
    assert generation.value == "v1"


@pytest.mark.parametrize(
    "text",
    [
        "9" * 5000,
        "2." + "9" * 5000,
        "3.1\n2026 INFO forged",
        "3.1\x1b[2J",
        ".".join("1" * 60),
        "",
        "\u0663.1",
        3,
        3.1,
        None,
        ["3.1"],
    ],
)
def test_what_is_no_version_is_no_airflow(text: Any) -> None:
    remote = ScriptedRemote(retry=ONCE)
    with pytest.raises(UnexpectedReply, match="No Airflow REST API found"):
        remote.play(remote.deployment.get_version(), *probes(ok({"version": text}), page(404), page(404)))


def test_a_type_of_content_is_repeated_in_short_and_on_one_line() -> None:
    remote = ScriptedRemote(retry=ONCE)
    odd = Response(200, {"content-type": "x/\x1b[2J" + "y" * 5000}, b"")
    with pytest.raises(UnexpectedReply, match=r"/api/v2/version → 200 x/\\x1b\[2jy{44}, /api/v1") as failure:
        remote.play(remote.deployment.get_version(), *probes(odd, page(404), page(404)))
    assert len(str(failure.value)) < 400


def test_a_login_page_that_answers_everything_is_no_airflow() -> None:
    remote = ScriptedRemote(retry=ONCE)
    with pytest.raises(UnexpectedReply, match=r"login page .* /api/v2/version → 200 an HTML page"):
        remote.play(remote.deployment.get_version(), *probes(*[page(200)] * 3))


def test_a_page_that_comes_and_goes_is_borne() -> None:
    remote = ScriptedRemote()
    remote.play(remote.deployment.get_version(), *probes(*[page(200)] * 3), *Speech("2.11.2").detection())
    assert remote.sleeps == [0.5]


def test_a_page_in_place_of_the_newer_api_is_no_reason_to_speak_the_experimental_one() -> None:
    remote = ScriptedRemote()
    generation, _ = remote.play(
        remote.deployment.get_version(),
        *probes(page(404), page(200), ok({"status": "OK"})),
        *Speech("2.0.2").detection(),
    )
    assert generation is Generation.V1


@pytest.mark.parametrize(
    "odd", [ok(["a list"]), ok({"version": "main"}), ok({"status": "UP"}), Response(200, {}, b"{cut")]
)
def test_json_of_something_else_is_no_airflow(odd: Response) -> None:
    remote = ScriptedRemote(retry=ONCE)
    with pytest.raises(UnexpectedReply, match="No Airflow REST API found"):
        remote.play(remote.deployment.get_version(), *probes(odd, odd, odd))


def test_an_experimental_api_that_is_closed_says_how_to_open_it() -> None:
    remote = ScriptedRemote()
    closed = plain(403, "Forbidden")
    with pytest.raises(AccessDenied, match=r"1\.10 whose experimental API is closed.*auth_backend"):
        remote.play(remote.deployment.get_version(), *probes(page(404), page(404), closed))


def test_a_remote_that_is_down_is_no_wrong_host() -> None:
    remote = ScriptedRemote()
    with pytest.raises(RemoteUnavailable, match="503"):
        remote.play(remote.deployment.get_version(), *[Turn(V2_PROBE, page(503))] * 6)


@pytest.mark.parametrize("refusal", [plain(401, "no"), page(403), page(302, location="https://id.example.com/?next=")])
def test_a_gateway_that_lets_nobody_through_is_shown_the_token(refusal: Response) -> None:
    remote = ScriptedRemote(TOKEN)
    generation, _ = remote.play(
        remote.deployment.get_version(),
        Turn(V2_PROBE, refusal, authorization=None),
        Turn(V2_PROBE, page(404), authorization="Bearer t0ken"),
        Turn(V1_PROBE, refusal, authorization=None),
        Turn(V1_PROBE, ok({"version": "2.11.2"}), authorization="Bearer t0ken"),
    )
    assert generation is Generation.V1


def test_a_gateway_that_refuses_the_bearer_form_is_shown_the_bare_key() -> None:
    remote = ScriptedRemote(TOKEN)
    generation, _ = remote.play(
        remote.deployment.get_version(),
        Turn(V2_PROBE, plain(401, ""), authorization=None),
        Turn(V2_PROBE, plain(401, ""), authorization="Bearer t0ken"),
        Turn(V2_PROBE, ok({"version": "3.3.2"}), authorization="t0ken"),
    )
    assert generation is Generation.V2


def test_a_gateway_that_is_out_of_order_for_a_while_is_shown_the_token_in_the_same_forms_again() -> None:
    remote = ScriptedRemote(TOKEN)
    forms = (None, "Bearer t0ken", "t0ken")
    broken = [Turn(V2_PROBE, page(403), authorization=form) for form in forms]
    broken += [
        Turn(probe, page(403), authorization=form)
        for probe in (V1_PROBE, EXPERIMENTAL_PROBE)
        for form in (None, "t0ken")
    ]
    generation, _ = remote.play(
        remote.deployment.get_version(),
        *broken,
        Turn(V2_PROBE, page(403), authorization=None),
        Turn(V2_PROBE, ok({"version": "3.3.2"}), authorization="Bearer t0ken"),
    )
    assert generation is Generation.V2


def refused(*replies: Response) -> list[Turn]:
    """Probes that are refused without and with a token."""
    return [
        Turn(probe, reply, authorization=header)
        for probe, reply in zip((V2_PROBE, V1_PROBE, EXPERIMENTAL_PROBE), replies, strict=True)
        for header in (None, "Bearer t0ken")
    ]


@pytest.mark.parametrize("refusal", [plain(401, ""), page(401), answer(401, {"message": "Unauthorized"})])
def test_a_token_that_a_gateway_refuses_is_a_refused_login_at_once(refusal: Response) -> None:
    settings = with_secret(TOKEN, authentication="astro_token")
    remote = ScriptedRemote(settings)
    with pytest.raises(
        AuthenticationFailed, match=r"did not accept the connection's token or key\. It has expired"
    ) as error:
        remote.play(remote.deployment.get_version(), *refused(*[refusal] * 3), settings)
    assert remote.sleeps == []
    assert (error.value.at_login, error.value.status) == (True, 401)
    assert "t0ken" not in str(error.value)


def test_a_password_that_no_gateway_was_shown_was_not_refused_by_one() -> None:
    remote = ScriptedRemote(Settings(URL, login="u", password="p"), retry=ONCE)
    with pytest.raises(UnexpectedReply, match="a proxy or login page may be in front of it"):
        remote.play(remote.deployment.get_version(), *probes(page(401), page(401), page(401)))


def test_a_token_whose_forms_were_all_refused_is_shown_in_all_forms_the_next_time() -> None:
    remote = ScriptedRemote(TOKEN)
    without, bearer, bare = (
        Turn(V2_PROBE, plain(401, ""), authorization=form) for form in (None, "Bearer t0ken", "t0ken")
    )
    others = [
        Turn(probe, plain(401, ""), authorization=form)
        for probe in (V1_PROBE, EXPERIMENTAL_PROBE)
        for form in (None, "t0ken")
    ]
    with pytest.raises(AuthenticationFailed):
        remote.play(remote.deployment.get_version(), without, bearer, bare, *others, TOKEN)
    found = Turn(V2_PROBE, ok({"version": V2}), authorization="Bearer t0ken")
    remote.play(remote.deployment.get_version(), without, found)


def test_a_token_that_is_rotated_meanwhile_is_read_again() -> None:
    old = with_secret(TOKEN, authentication="astro_token")
    remote = ScriptedRemote(old)
    remote.play(
        remote.deployment.get_version(),
        *refused(*[plain(401, "")] * 3),
        with_secret(old, password="n3w"),
        Turn(V2_PROBE, plain(401, ""), authorization=None),
        Turn(V2_PROBE, ok({"version": V2}), authorization="Bearer n3w"),
    )


def test_a_token_that_pages_refuse_is_a_refused_login_only_in_the_end() -> None:
    settings = with_secret(TOKEN, authentication="astro_token")
    remote = ScriptedRemote(settings, retry=RetryPolicy(attempts=2))
    turns = refused(page(302), page(403), plain(401, ""))
    with pytest.raises(
        AuthenticationFailed, match=r"token or key.*login page is in front.*/api/v2/version → 302 an HTML page"
    ):
        remote.play(remote.deployment.get_version(), *turns, *turns, settings)
    assert remote.sleeps == [0.5]


@pytest.mark.parametrize(
    "turns",
    [
        refused(*[page(301)] * 3),
        [*refused(*[plain(401, "")] * 3)[:2], Turn(V1_PROBE, page(404)), Turn(EXPERIMENTAL_PROBE, page(404))],
    ],
)
def test_an_address_that_is_wrong_is_no_refused_login(turns: list[Turn]) -> None:
    remote = ScriptedRemote(with_secret(TOKEN, authentication="astro_token"), retry=ONCE)
    with pytest.raises(UnexpectedReply, match="No Airflow REST API found"):
        remote.play(remote.deployment.get_version(), *turns)
