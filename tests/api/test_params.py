"""Which param refuses a conf, as far as that is found out here."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.runs.dags import BOUNDS, LENGTHS, TYPES, refused_param

values = (
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from([0.5, 2.0, "", "a", "abc", [], [1], {}, {"k": 1}])
)
numbers = st.integers(-3, 3)
schemas = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(sorted(TYPES)) | st.lists(st.sampled_from(sorted(TYPES)), min_size=1, unique=True),
        "enum": st.lists(values, min_size=1, max_size=3),
        **dict.fromkeys([*BOUNDS], numbers),
        **dict.fromkeys([*LENGTHS], st.integers(0, 3)),
    },
)


@given(schemas, values)
def test_it_finds_what_jsonschema_finds(schema: dict[str, Any], value: Any) -> None:
    found = refused_param({"p": {"schema": schema, "value": None}}, {"p": value})
    assert (found is None) == jsonschema.Draft7Validator(schema).is_valid(value)


@given(st.dictionaries(st.sampled_from(["type", "enum", "minimum", "maxLength", "pattern", "$ref"]), values), values)
def test_no_schema_of_a_remote_raises_anything(schema: dict[str, Any], value: Any) -> None:
    refused_param({"p": {"schema": schema, "value": value}, "q": schema, "r": value}, {})


def test_a_param_without_a_schema_does_not_hide_the_others() -> None:
    params = {"odd": 1, "bare": {"value": 1}, "p": {"schema": {"type": "integer"}}}
    assert refused_param(params, {"p": "x"}) == "Param 'p' has the value 'x', and its schema wants type 'integer'."


@pytest.mark.parametrize(
    ("conf", "said"),
    [
        ({"p": "x"}, "Param 'p' has the value 'x', and its schema wants type 'integer'."),
        ({}, "Param 'p' is not given, and its schema wants type 'integer'."),
        ({"p": 1, "other": "x"}, None),
    ],
)
def test_it_says_which_param_and_what_it_wants(conf: dict[str, Any], said: str | None) -> None:
    assert refused_param({"p": {"schema": {"type": "integer"}, "value": None}}, conf) == said
