"""What a connection says about a remote: everything a person may paste, and everything that is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.protocol.auth import AUTHENTICATIONS
from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import Generation
from astronomer_remote.api.protocol.settings import Settings

HOST = "https://airflow.example.com"


@pytest.mark.parametrize(
    ("host", "base_url"),
    [
        ("airflow.example.com", HOST),
        (" https://airflow.example.com ", HOST),
        ("https://airflow.example.com/", HOST),
        ("https://airflow.example.com//", HOST),
        ("https://airflow.example.com/home", HOST),
        ("https://airflow.example.com/home/", HOST),
        ("https://airflow.example.com/api", HOST),
        ("https://airflow.example.com/api/v1", HOST),
        ("https://airflow.example.com/api/v2/", HOST),
        ("https://airflow.example.com/api/v2/dags/x/dagRuns", HOST),
        ("https://airflow.example.com/api/experimental", HOST),
        ("https://airflow.example.com/home?status=all#top", HOST),
        ("https://AIRFLOW.example.com", HOST),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://localhost:8080/api/v1/", "http://localhost:8080"),
        ("localhost:8080/x", "https://localhost:8080/x"),
        ("https://cloud.astronomer.run/dabc1234/home", "https://cloud.astronomer.run/dabc1234"),
        ("https://deployments.example.com/solar-1/airflow/api/v1", "https://deployments.example.com/solar-1/airflow"),
        ("https://example.com/home/api-team/", "https://example.com/home/api-team"),
        ("https://example.com/my/api-server", "https://example.com/my/api-server"),
        ("https://example.com/grö ße/a%20b", "https://example.com/gr%C3%B6%20%C3%9Fe/a%20b"),
        ("http://[::1]:8080/api/v2", "http://[::1]:8080"),
        ("[2001:db8::1]", "https://[2001:db8::1]"),
        ("[::1]", "https://[::1]"),
        ("::1", "https://[::1]"),
        ("https://::1/x", "https://[::1]/x"),
        ("https://example.com/dags", HOST.replace("airflow.", "")),
        ("https://example.com/dags/load/runs/manual__1/tasks/t?try_number=1", "https://example.com"),
        ("https://example.com/dabc1234/dags/load/grid", "https://example.com/dabc1234"),
        ("https://example.com/dabc1234/pools", "https://example.com/dabc1234"),
        ("https://example.com/dabc1234/dag_runs?state=failed", "https://example.com/dabc1234"),
        ("https://example.com/a/task_instances/", "https://example.com/a"),
        ("https://example.com/a/pool/list/", "https://example.com/a"),
        ("https://example.com/a/dagrun/list?_flt_3_dag_id=x", "https://example.com/a"),
        ("https://example.com/a/login/?next=home", "https://example.com/a"),
        ("https://example.com/jobs/airflow", "https://example.com/jobs/airflow"),
        ("https://example.com/my/list", "https://example.com/my/list"),
        ("https://example.com/list", "https://example.com/list"),
        ("https://example.com/pool", "https://example.com/pool"),
    ],
)
def test_what_a_person_pastes_is_cut_down_to_the_deployments_url(host: str, base_url: str) -> None:
    assert Settings.parse(host=host).base_url == base_url


@pytest.mark.parametrize(
    ("host", "schema", "port", "base_url"),
    [
        ("example.com", "http", 8080, "http://example.com:8080"),
        ("example.com", "https", None, "https://example.com"),
        ("example.com", None, 8080, "https://example.com:8080"),
        ("example.com", "", None, "https://example.com"),
        ("https://example.com:1", "http", 2, "https://example.com:1"),
        ("https://example.com/x", None, 2, "https://example.com:2/x"),
        ("https://example.com/x", None, 443, "https://example.com/x"),
        ("http://example.com:80", None, None, "http://example.com"),
        ("http://example.com", None, 443, "http://example.com:443"),
        ("example.com", "dabc1234", None, "https://example.com/dabc1234"),
        ("example.com", "dabc1234/api/v1", 8080, "https://example.com:8080/dabc1234"),
        # As Airflow takes apart astronomer://https://u:p@example.com/path and astronomer://u:p@[::1]:8080/path.
        ("https://example.com", "path", None, "https://example.com/path"),
        ("https://example.com/", "/path", None, "https://example.com/path"),
        ("https://example.com", "path/more", 8080, "https://example.com:8080/path/more"),
        ("https://example.com/own", "path", None, "https://example.com/own"),
        ("https://example.com", "http", None, "https://example.com"),
        ("::1", "path", 8080, "https://[::1]:8080/path"),
        ("https://::1", "path", 8080, "https://[::1]:8080/path"),
    ],
)
def test_scheme_port_and_the_path_of_a_uri_may_come_apart(host: str, schema: Any, port: Any, base_url: str) -> None:
    assert Settings.parse(host=host, schema=schema, port=port).base_url == base_url


@pytest.mark.parametrize(
    ("host", "words"),
    [
        (None, "has no host"),
        ("", "has no host"),
        ("  ", "has no host"),
        ("ftp://example.com", "must be an http or https URL, not one of scheme 'ftp'"),
        ("https://", "must be an http or https URL"),
        ("https:///path", "must be an http or https URL"),
        ("https://air flow.example.com", "must be an http or https URL"),
        ("https://example.com:port", "not a URL: Port could not be cast"),
        ("https://example.com:99999", "not a URL: Port out of range"),
        ("https://[::1", "not a URL: Invalid IPv6"),
        ("https://me:s3cret@example.com", "Put login and password into their own fields"),
        ("https://s3cret@example.com", "Put login and password into their own fields"),
        ("https://:s3cret@example.com", "Put login and password into their own fields"),
        ("https://me:s3cret/word@example.com", "Put login and password into their own fields"),
        ("https://me:123/s3cret@example.com", "Put login and password into their own fields"),
        ("me:s3cret#x@example.com", "Put login and password into their own fields"),
    ],
)
def test_a_host_that_is_none_is_refused_with_what_would_be_right(host: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as failure:
        Settings.parse(host=host)
    assert words in str(failure.value)
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with pytest.raises(InvalidSettings, match="must be a number from 1 to 65535"):
        Settings.parse(host=HOST, port=port)


def test_everything_has_a_safe_default() -> None:
    assert Settings.parse(host=HOST) == Settings(
        HOST,
        login=None,
        password=None,
        authentication="auto",
        generation=None,
        connect_timeout=10.0,
        read_timeout=30.0,
        verify=True,
        ca_file=None,
        client_certificate=None,
        client_key_file=None,
        proxy=None,
        headers={},
    )


FIELDS = (
    "api",
    "auth",
    "connect_timeout",
    "read_timeout",
    "verify",
    "ca_file",
    "client_certificate",
    "client_key_file",
    "proxy",
    "secret_headers",
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, st.sampled_from([None, ""]))))
def test_none_and_empty_text_mean_not_set(extra: dict[str, Any]) -> None:
    assert Settings.parse(host=HOST, schema="", login="", password="", extra=extra) == Settings.parse(host=HOST)


@pytest.mark.parametrize(
    ("name", "given", "field", "read"),
    [
        ("api", "auto", "generation", None),
        ("api", "experimental", "generation", Generation.EXPERIMENTAL),
        ("api", " V1 ", "generation", Generation.V1),
        ("api", "v2", "generation", Generation.V2),
        ("auth", "None", "authentication", "none"),
        ("connect_timeout", "2.5", "connect_timeout", 2.5),
        ("connect_timeout", 1, "connect_timeout", 1.0),
        ("read_timeout", 3600, "read_timeout", 3600.0),
        *(("verify", text, "verify", True) for text in (True, "true", "True", "1", 1, "yes", "y", " ON ")),
        *(("verify", text, "verify", False) for text in (False, "false", "FALSE", "0", 0, "no", "off")),
        ("ca_file", " /etc/ca.pem ", "ca_file", "/etc/ca.pem"),
        ("client_certificate", "/c.pem", "client_certificate", "/c.pem"),
        ("client_key_file", "/k.pem", "client_key_file", "/k.pem"),
        *(
            ("proxy", text, "proxy", "http://proxy.example.com:3128")
            for text in (
                "http://proxy.example.com:3128",
                "http://proxy.example.com:3128/",
                "HTTP://proxy.example.com:3128",
                "proxy.example.com:3128",
                " //proxy.example.com:3128 ",
            )
        ),
        ("proxy", "u:p%40w@proxy:3128", "proxy", "http://u:p%40w@proxy:3128"),
        ("proxy", "https://proxy", "proxy", "https://proxy"),
        ("proxy", "http://[::1]:3128", "proxy", "http://[::1]:3128"),
        ("secret_headers", {"X-Key": "k"}, "headers", {"X-Key": "k"}),
        ("secret_headers", '{"X-Key": "k"}', "headers", {"X-Key": "k"}),
        ("an_unknown_one", object(), "verify", True),
    ],
)
def test_each_extra_field_is_read_as_the_form_and_as_json_give_it(name: str, given: Any, field: str, read: Any) -> None:
    assert getattr(Settings.parse(host=HOST, extra={name: given}), field) == read


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("api", "v3", "api='v3' must be one of: auto, experimental, v1, v2"),
        ("auth", "kerberos", "auth='kerberos' must be one of: auto, astro_token"),
        ("auth", 7, "auth='7' must be one of"),
        *(
            ("connect_timeout", bad, "connect_timeout=")
            for bad in (0, -1, "soon", 3601, float("nan"), "inf", [1], True, 10**400)
        ),
        ("read_timeout", "0", "read_timeout='0' must be a number of seconds, up to 3600"),
        *(("verify", bad, "must be true or false") for bad in ("perhaps", 2, [])),
        ("ca_file", 7, "ca_file must be text, not int"),
        ("client_certificate", True, "client_certificate must be text"),
        ("proxy", ["s3cret"], "proxy must be text, not list"),
        *(
            ("proxy", bad, "must be an http or https proxy, for example http://proxy.example.com:3128; other kinds")
            for bad in ("socks5://u:s3cret@proxy:1080", "ftp://proxy", "://s3cret")
        ),
        *(
            ("proxy", bad, "The connection's proxy is not a URL such as http://proxy.example.com:3128.")
            for bad in (
                *(
                    "http://",
                    "//",
                    "http://u:s3cret@",
                    "http://u:s3cret/x@proxy",
                    "u:s3cret#x@proxy",
                    "u:s3cret?@proxy",
                ),
                *("http://proxy:s3cret", "http://proxy:0", "http://proxy:99999", "http://[::1", "http://prö:1"),
                *("http://a b", "http://u:s3\ncret@proxy"),
            )
        ),
        *(
            ("secret_headers", bad, "secret_headers must be a JSON object of header names and texts")
            for bad in ("s3cret", "[1]", ["s3cret"], "5")
        ),
        *(
            ("secret_headers", {"a": bad}, "secret_headers must have texts as values, in ASCII")
            for bad in (1, None, "s3cret\r\nX: y", "ö", " s3cret", "s3cret\x7f")
        ),
        *(
            ("secret_headers", {"X-Good": "s3cret", bad: "s3cret"}, "such as X-Gateway-Key; the name number 2")
            for bad in ("ä", "", "X A", "X-A:", "X\n", "s3cret:")
        ),
        ("secret_headers", {"Transfer-encoding": "s3cret"}, "must not set Transfer-encoding"),
    ],
)
def test_each_bad_extra_field_is_named_with_what_would_be_right(name: str, given: Any, words: str) -> None:
    with pytest.raises(InvalidSettings) as failure:
        Settings.parse(host=HOST, extra={name: given})
    assert words in str(failure.value)
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize("authentication", [each for each in AUTHENTICATIONS if each not in ("mwaa", "composer")])
def test_each_way_of_authentication_says_what_it_needs(authentication: str) -> None:
    extra = {"auth": authentication, "token_url": "https://login.example.com/token"}
    assert Settings.parse(host=HOST, login="me", password="p", extra=extra).authentication == authentication
    of_a_key = ("astro_token", "software_api_key")
    if authentication not in ("auto", "none"):
        needed = "password" if authentication in of_a_key else "login"
        with pytest.raises(InvalidSettings, match=f"needs the connection's {needed}"):
            Settings.parse(host=HOST, extra=extra)
    else:
        assert Settings.parse(host=HOST, extra=extra).password is None


@pytest.mark.parametrize("login", [None, "me"])
@pytest.mark.parametrize("bad", ["two words", "line\n", "cut…", "\ttab"])
def test_a_token_that_was_not_pasted_whole_is_refused_without_being_repeated(login: Any, bad: str) -> None:
    extra = {"auth": "astro_token"} if login else {}
    with pytest.raises(InvalidSettings, match="Was it cut and pasted whole") as failure:
        Settings.parse(host=HOST, login=login, password=bad, extra=extra)
    assert bad not in str(failure.value)


def test_a_users_password_may_hold_any_character() -> None:
    assert Settings.parse(host=HOST, login="me", password="pä ss\n").password == "pä ss\n"


@given(st.text(max_size=30), st.text(max_size=10), st.none() | st.integers(0, 70_000))
def test_any_host_is_read_or_refused_and_what_is_read_is_stable(host: str, schema: str, port: int | None) -> None:
    try:
        base_url = Settings.parse(host=host, schema=schema, port=port).base_url
    except InvalidSettings:
        return
    assert not base_url.endswith("/")
    assert Settings.parse(host=base_url).base_url == base_url


@pytest.mark.parametrize("extra", [[1], ["auth"], "hello", 5])
def test_an_extra_that_is_no_object_is_refused(extra: Any) -> None:
    with pytest.raises(InvalidSettings, match="extra must be a JSON object such as"):
        Settings.parse(host=HOST, extra=extra)


@pytest.mark.parametrize("password", ["a b", "a\nb", "a\x00b", "a\x7fb", "\u00e4"])
def test_a_token_that_cannot_be_sent_is_refused(password: str) -> None:
    with pytest.raises(InvalidSettings, match="to be sent as a token, but holds a line break, a space, a control"):
        Settings.parse(host=HOST, password=password)


def test_the_secrets_are_known_in_each_form_that_requests_carry() -> None:
    settings = Settings.parse(
        host=HOST,
        login="me",
        password="pa55word",
        extra={"proxy": "http://u:pr%40xy@proxy:1", "secret_headers": {"X-Key": "gatekey"}},
    )
    assert set(settings.secrets) == {"pa55word", "bWU6cGE1NXdvcmQ=", "pr%40xy", "pr@xy", "dTpwckB4eQ==", "gatekey"}
    assert Settings.parse(host=HOST, extra={"proxy": "http://proxy:1"}).secrets == ()
