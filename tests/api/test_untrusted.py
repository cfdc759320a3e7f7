"""What a remote sends, made safe for a parser, a terminal, a log and a database."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.protocol import untrusted

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((depth(each) for each in value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@given(VALUES)
def test_whatever_is_storable_is_strict_json_of_plain_characters(value: Any) -> None:
    text = json.dumps(untrusted.storable(value), allow_nan=False, ensure_ascii=False)
    assert "\0" not in text
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode()


def test_what_is_fine_is_kept() -> None:
    value = {"a": [1, 2.5, True, None, "ä\n\x1b[31m", {"b": 2**63 - 1}], "c": -(2**63)}
    assert untrusted.storable(value) == value
    assert untrusted.loads(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("a\0b", "a\ufffdb"),
        ("\ud800", "\ufffd"),
        ({"k\0": 1}, {"k\ufffd": 1}),
        (math.nan, None),
        ([math.inf, -math.inf], [None, None]),
        (2**63, "9223372036854775808"),
    ],
)
def test_what_cannot_be_stored(value: Any, stored: Any) -> None:
    assert untrusted.storable(value) == stored


def test_an_integer_that_python_does_not_write() -> None:
    assert untrusted.storable(10**5000) == "(left out: an integer of 16610 bits)"


def test_what_is_nested_too_deeply_is_left_out() -> None:
    assert untrusted.storable(nested(untrusted.DEEPEST)) == nested(untrusted.DEEPEST)
    assert depth(untrusted.storable(nested(untrusted.DEEPEST + 1))) == untrusted.DEEPEST
    assert depth(untrusted.storable(nested(900))) == untrusted.DEEPEST


def test_one_value_that_is_nested_too_deeply_does_not_hide_the_others() -> None:
    deep = "[" * 100_000 + "]" * 100_000
    found = untrusted.loads(f'[{{"conf": {deep}, "text": "]\\"["}}, {{"id": "other"}}]'.encode())
    assert found[0]["text"] == ']"['
    assert found[1] == {"id": "other"}
    assert depth(found) == untrusted.DEEPEST
    # Of a text that would begin within it, too.
    assert untrusted.loads(f"[{deep}, {'9' * 5000}]".encode())[1] == "9" * 5000


def test_an_integer_with_too_many_digits_does_not_hide_the_rest() -> None:
    digits = "9" * 5000
    assert untrusted.loads(f'{{"a": {digits}, "b": 1}}'.encode()) == {"a": digits, "b": 1}
    deep = "[" * 100_000 + "]" * 100_000
    assert untrusted.loads(f"[{digits}, {deep}]".encode())[0] == digits


@given(VALUES)
def test_text_of_a_reply_can_be_stored(value: Any) -> None:
    found = untrusted.loads(json.dumps(value).encode())
    assert json.dumps(found) == json.dumps(_stored_texts(value))


def _stored_texts(value: Any) -> Any:
    if isinstance(value, str):
        # Two halves beside each other are one character in JSON.
        return untrusted.storable_text(value.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    if isinstance(value, dict):
        return {_stored_texts(key): _stored_texts(each) for key, each in value.items()}
    return [_stored_texts(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("body", [b"", b"{", b"[1,", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"[" * 5000 + b'"'])
def test_what_is_no_json(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        untrusted.loads(body)


def test_hostile_json_takes_no_longer_than_its_length() -> None:
    began = time.process_time()
    for body in (b"[" * 5000 + b'"' + b'\\"' * 500_000, b'"' * 1_000_000, b'["\\u0000' + b"\\\\" * 500_000 + b'"]'):
        try:
            untrusted.loads(body)
        except ValueError:
            continue
    assert time.process_time() - began < 5


@given(TEXTS)
def test_nothing_readable_acts_on_a_terminal(text: str) -> None:
    shown = untrusted.readable(text)
    assert not any(ord(each) < 32 or 127 <= ord(each) < 160 or each in "\u2028\u2029\u202e\u2066" for each in shown)
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("orders é 👨\u200d👩", "orders é 👨\u200d👩"),
        ("a\x1b[2Jb", "a\\x1b[2Jb"),
        ("ok\n[2026-01-01] {x.py:1} INFO - all is well", "ok\\n[2026-01-01] {x.py:1} INFO - all is well"),
        ("a\r\x9bK\x7f\u202eb\u2028\ud800", "a\\r\\x9bK\\x7f\\u202eb\\u2028\\ud800"),
        ("\ufeffa\u200bb\u200e", "\\ufeffa\\u200bb\\u200e"),
        ("::group::x", ": :group::x"),
        (":::group::: ::endgroup::", ":: :group::: : :endgroup::"),
        ("###[group]x ##[endgroup]", "## #[group]x # #[endgroup]"),
        ("C++::groups", "C++: :groups"),
        (None, "None"),
    ],
)
def test_what_a_person_reads(text: object, shown: str) -> None:
    assert untrusted.readable(text) == shown


def test_what_a_person_reads_is_short() -> None:
    assert untrusted.readable("x" * 1000) == "x" * 1000
    assert untrusted.readable("x" * 1001) == "x" * 1000 + "…"
    assert len(untrusted.readable("\x1b" * 5_000_000)) == 1001
    assert untrusted.sentence(" a\n\tb \x1b ") == "a b \\x1b"
    assert len(untrusted.sentence("a b" * 5_000_000)) == 1001


def test_names() -> None:
    assert untrusted.name("run\x1b") == "run\\x1b"
    assert untrusted.name(None) is None
    assert untrusted.name(["a"]) == ["a"]
    assert untrusted.size({"a": "ä"}) == 15


def test_texts_of_what_goes_to_xcom_are_cut() -> None:
    given = {"a": "x" * 1001, "b": [{"c": "y" * 5000, "d": 1}], "e": "z" * 1000, "f": math.nan}
    cut = {"a": "x" * 1000 + "…", "b": [{"c": "y" * 1000 + "…", "d": 1}], "e": "z" * 1000, "f": None}
    assert untrusted.shortened(given) == cut
