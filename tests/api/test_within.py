"""A path that is not made by this package stays below the deployment's, however servers read it."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Callable
from urllib.parse import quote, unquote

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from astronomer_remote.api.protocol.ids import is_within, stays_below

BASE = "https://airflow.example.com/dep"

LISTING_ATTEMPTS: dict[str, Callable[[str], str]] = {
    "unquote": unquote,
    "drop parameters": lambda path: re.sub(r";[^/]*", "", path),
    "merge slashes": lambda path: re.sub(r"/+", "/", path),
    "take backslashes for slashes": lambda path: path.replace("\\", "/"),
    "drop control characters": lambda path: re.sub(r"[\x00-\x1f\x7f]", "", path),
    "cut at a null character": lambda path: path.partition("\0")[0],
    "drop spaces and dots at the end of a segment": lambda path: re.sub(r"(?<=[^/. ])[ .]+(?=/|$)", "", path),
    "drop spaces": lambda path: path.replace(" ", ""),
    "take similar characters": lambda path: unicodedata.normalize("NFKC", path),
    "read %u": lambda path: re.sub("%u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), path),
}
"""What servers and proxies are known to do to a path, in any order, before they resolve its dots."""

PIECES = [
    *("..", ".", "/", "//", "\\", ";", ";x=1", "a", "api", "%2e", "%2E", "%2f", "%5c", "%252e", "%252f", "%3b", "%00"),
    *(
        "%09",
        "\t",
        " ",
        "%20",
        "\uff0e",
        "\u2025",
        "\uff0f",
        "\uff3c",
        "%c0%ae",
        "%u002e",
        "%u2215",
        "%",
        "%25",
        "other",
        "~",
        ":",
        "&",
    ),
]


def ends_at(path: str) -> str:
    """Where a server arrives that resolves the dots of a path below `/dep`."""
    return posixpath.normpath("/dep" + path)


@given(st.lists(st.sampled_from(PIECES), max_size=10).map("".join), st.lists(st.sampled_from(list(LISTING_ATTEMPTS))))
@example("..;/other", ["drop parameters"])
@example("%2e%2e;/other", ["unquote", "drop parameters"])
@example("%252e%252e%252fother", ["unquote", "unquote"])
@example("..%5cother", ["unquote", "take backslashes for slashes"])
@example("a/..%00/../other", ["unquote", "cut at a null character"])
@example("\u2025/other", ["take similar characters"])
# A path that does not count as within shows nothing, and most do not.
@settings(suppress_health_check=[HealthCheck.filter_too_much])
def test_no_server_is_led_out_by_what_counts_as_within(path: str, readings: list[str]) -> None:
    assume(is_within(f"{BASE}/{path}", BASE))
    read = f"/{path}"
    for name in readings:
        read = LISTING_ATTEMPTS[name](read)
        assert ends_at(read) == "/dep" or ends_at(read).startswith("/dep/"), (path, name, read)


@given(st.lists(st.text(st.characters(categories=("L", "N")), min_size=1).map(lambda name: f"n{name}"), max_size=5))
def test_names_stay_below_quoted_or_not(names: list[str]) -> None:
    for end in ("", "/", "?x=../..", "#../.."):
        assert is_within("/".join([BASE, *map(quote, names)]) + end, BASE)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/api/v2/pools", "/api/v2/pools/", "/pools/a%2Fb", "/dags/~/dagRuns/list", "/a;b", "/50%25", "/.a"],
)
def test_what_is_usual_is_within(path: str) -> None:
    assert is_within(BASE + path, BASE)


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/..;/other",
            "/..;a=b/other",
            "/%2e%2e;/other",
            "/..%3b/other",
            "/.;/x",
            "/%2e%2e/other",
            "/%252e%252e/other",
        ),
        *(
            "/..%2fother",
            "/..%2Fother",
            "/..%5cother",
            "/..\\other",
            "/a\\b",
            "//other",
            "/a//b",
            "/a/%2fb",
            "/.. /other",
        ),
        *(
            "/%c0%ae%c0%ae/other",
            "/%u002e%u002e/other",
            "/\uff0e\uff0e/other",
            "/\u2025/other",
            "/a%00b",
            "/a%0ab",
            "/.%09./other",
        ),
        *("/..", "/.", "/...", "/a/..", "/a/../b", "/%" + "25" * 9 + "2e"),
    ],
)
def test_what_some_server_takes_for_something_else_is_not_within(path: str) -> None:
    assert not is_within(BASE + path, BASE)


@pytest.mark.parametrize("url", [None, "", "https://airflow.example.com", BASE + "other", "https://evil.example/dep/a"])
def test_what_begins_otherwise_is_not_within(url: str | None) -> None:
    assert not is_within(url, BASE)


def test_a_path_of_dots_of_any_quoting_does_not_stay_below() -> None:
    dots = ".."
    for _ in range(8):
        assert not stays_below(f"/{dots}/x")
        dots = dots.replace("%", "%25").replace(".", "%2e")
