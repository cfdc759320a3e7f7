"""Ids, dates and versions: the small values that everything else is made of."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.flow import Request, Response, path
from astronomer_remote.api.protocol.ids import (
    LONGEST_ID,
    checked,
    digest_of_intent,
    run_id_of_intent,
    run_id_of_repetition,
)
from astronomer_remote.api.protocol.models import (
    LARGEST_CONF,
    DagRun,
    Generation,
    Pool,
    Version,
    plain_json,
    same_moment,
    utc_text,
)

ids = st.text(min_size=1, max_size=300)
any_text = st.text(max_size=50)


# Paths and queries


@given(st.lists(any_text, min_size=1, max_size=4))
def test_what_is_quoted_into_a_path_comes_out_again_whole(segments: list[str]) -> None:
    quoted = path(*segments)
    assert re.fullmatch(r"(/[A-Za-z0-9_.~%-]*)+", quoted)
    assert [unquote(part) for part in quoted[1:].split("/")] == segments


@given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(min_size=1, max_size=9), min_size=1))
def test_what_is_quoted_into_a_query_comes_out_again_whole(query: dict[str, str]) -> None:
    target = Request("GET", "/x", query).target
    assert parse_qs(urlsplit(f"http://h{target}").query) == {name: [text] for name, text in query.items()}


def test_a_query_says_true_and_repeats_names_as_airflow_wants_it() -> None:
    query = {"a": True, "b": False, "n": 7, "t": "2026-11-22T07:00:00+00:00", "l": ["x", "y"], "u": (1, 2)}
    target = Request("GET", "/x", query).target
    assert target == "/x?a=true&b=false&n=7&t=2026-11-22T07%3A00%3A00%2B00%3A00&l=x&l=y&u=1&u=2"
    assert Request("GET", "/x?y=1", {"z": 2}).target == "/x?y=1&z=2"
    assert Request("GET", "/x").target == "/x"


def test_a_request_says_itself_whether_it_may_be_repeated() -> None:
    assert Request("GET", "/").may_repeat
    assert Request("DELETE", "/").may_repeat
    assert not Request("POST", "/").may_repeat
    assert Request("POST", "/", repeatable=True).may_repeat
    assert not Request("PATCH", "/", repeatable=False).may_repeat


def test_a_body_is_json_and_nothing_else() -> None:
    assert Request("GET", "/").content() is None
    assert Request("POST", "/", body={"a": None}).content() == b'{"a": null}'
    with pytest.raises(ValueError, match="JSON"):
        Request("POST", "/", body=float("nan")).content()


@pytest.mark.parametrize(
    ("content_type", "is_json"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/problem+json", True),
        ("text/html", False),
        ("", False),
    ],
)
def test_a_reply_is_json_if_its_type_says_so(content_type: str, is_json: bool) -> None:
    assert Response(200, {"content-type": content_type}).is_json is is_json


@given(any_text)
def test_a_checked_id_is_one_segment_of_a_path(value: str) -> None:
    try:
        checked(value, "dag_id")
    except InvalidSettings:
        return
    quoted = path("dags", value, "dagRuns")
    assert quoted.count("/") == 3
    assert unquote(quoted) == f"/dags/{value}/dagRuns"
    assert value not in (".", "..", "~")


@pytest.mark.parametrize(
    "bad", [None, 7, "", "  ", ".", "..", "~", "a/b", "../x", "..;", ".;x", "a\x00", "a\x7f", "x" * 251]
)
def test_an_id_that_names_no_one_thing_fails_with_a_clear_error(bad: Any) -> None:
    with pytest.raises(InvalidSettings, match="external_dag_id"):
        checked(bad, "external_dag_id")


def test_an_id_may_be_long_odd_and_where_it_is_said_hold_a_slash() -> None:
    for good in ("x" * 250, "scheduled__2026-11-22T07:00:00+00:00", "größe ? # % &", "a.b~c"):
        assert checked(good, "run_id") == good
    assert checked("team/pool", "pool", slash=True) == "team/pool"
    with pytest.raises(InvalidSettings):
        checked("..", "pool", slash=True)


# The run id of an intent

intents = st.fixed_dictionaries(
    {
        "dag_id": ids,
        "task_id": ids,
        "map_index": st.integers(-1, 10_000),
        "identity": st.lists(any_text, max_size=4).map(tuple),
    }
)


def run_id_of(**intent: Any) -> str:
    task = {name: intent[name] for name in ("dag_id", "task_id", "map_index")}
    return run_id_of_intent(digest_of_intent(**intent), **task)


@given(intents)
def test_the_run_id_of_an_intent_is_fit_for_every_airflow(intent: dict[str, Any]) -> None:
    run_id = run_id_of(**intent)
    assert re.fullmatch(r"[A-Za-z0-9_.~:+-]+", run_id)
    assert not run_id.startswith(("scheduled__", "manual__", "backfill__"))
    assert len(run_id_of_repetition(run_id, 10_000)) <= LONGEST_ID
    assert checked(run_id, "run_id") == run_id


@given(intents)
def test_the_run_id_of_an_intent_is_always_the_same(intent: dict[str, Any]) -> None:
    assert run_id_of(**intent) == run_id_of(**json.loads(json.dumps(intent)) | {"identity": intent["identity"]})


@given(intents, intents)
def test_two_intents_have_two_run_ids(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (run_id_of(**one) == run_id_of(**other)) == (one == other)


def test_what_an_intent_is_made_of_cannot_run_together() -> None:
    parts: list[tuple[str, str, tuple[str, ...]]] = [
        ("a.b", "c", ()),
        ("a", "b.c", ()),
        ("a", "b", ("c",)),
        ("a", "b", ("", "c")),
        ("a", "b", ("c", "")),
    ]
    made = [run_id_of(dag_id=dag, task_id=task, map_index=-1, identity=rest) for dag, task, rest in parts]
    assert len(set(made)) == len(parts)


def test_mapped_tasks_have_run_ids_of_their_own_that_can_be_read() -> None:
    made = [run_id_of(dag_id="d", task_id="t", map_index=index, identity=("r",)) for index in (-1, 0, 1)]
    assert [run_id.rpartition("__")[0] for run_id in made] == ["remote__d.t", "remote__d.t.0", "remote__d.t.1"]
    assert len(set(made)) == 3


def test_repetitions_are_numbered_from_the_second_on() -> None:
    assert [run_id_of_repetition("r", number) for number in (1, 2, 3)] == ["r", "r.2", "r.3"]


# Dates

EARLIEST = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1)))
"""An hour before the first that can be said in UTC."""


@given(
    st.datetimes(
        min_value=datetime(1, 1, 2), timezones=st.sampled_from([timezone.utc, timezone(timedelta(hours=5, minutes=30))])
    )
)
def test_a_date_is_written_in_utc_with_a_z_and_means_the_same_moment(moment: datetime) -> None:
    written = utc_text(moment, "logical_date")
    assert written.endswith("Z")
    assert "+" not in written
    assert datetime.fromisoformat(written.replace("Z", "+00:00")) == moment
    assert utc_text(moment.isoformat(), "logical_date") == written
    assert same_moment(moment.isoformat(), written)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("2026-11-22T07:00:00Z", "2026-11-22T07:00:00Z"),
        (" 2026-11-22T07:00:00z ", "2026-11-22T07:00:00Z"),
        ("2026-11-22", "2026-11-22T00:00:00Z"),
        ("2026-11-22T09:00:00.000001+02:00", "2026-11-22T07:00:00.000001Z"),
        (datetime(2026, 11, 22, 7), "2026-11-22T07:00:00Z"),
    ],
)
def test_a_date_may_be_given_in_several_ways(given: Any, written: str) -> None:
    assert utc_text(given, "logical_date") == written


@pytest.mark.parametrize("bad", ["", "yesterday", "2026-13-01", 7, None, datetime(2026, 1, 1).date(), EARLIEST])
def test_what_is_no_date_fails_with_a_clear_error(bad: Any) -> None:
    with pytest.raises(InvalidSettings, match="logical_date"):
        utc_text(bad, "logical_date")


def test_dates_that_are_not_there_are_not_the_same() -> None:
    assert not same_moment(None, "2026-11-22T07:00:00Z")
    assert not same_moment(None, None)
    assert not same_moment("2026-11-22T07:00:00Z", "2026-11-22T07:00:01Z")
    assert same_moment("2026-11-22T07:00:00Z", "2026-11-22T08:00:00+01:00")


# Versions and models


def test_versions_are_compared_by_their_numbers() -> None:
    assert Version("2.10.5+astro.1") >= (2, 10)
    assert Version("2.9.3") < (2, 10)
    assert Version("2.9.3") < Version("2.10.0")
    assert Version("3.0.0rc1") >= Version("2.11.2")
    assert Version("main").numbers == ()
    assert str(Version("2.10.5+astro.1")) == "2.10.5+astro.1"


def test_each_generation_has_a_name_for_people() -> None:
    assert [generation.label for generation in Generation] == [
        "Airflow 1.10's experimental API",
        "Airflow 2's /api/v1",
        "Airflow 3's /api/v2",
    ]


@pytest.mark.parametrize("good", [None, 1, "x", [1], {"a": {"b": [None]}}])
def test_plain_json_arrives_as_it_is(good: Any) -> None:
    assert plain_json(good, "conf") == good


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    with pytest.raises(InvalidSettings, match="conf is nested too deeply"):
        plain_json(deep, "conf")


def test_plain_json_is_what_will_arrive() -> None:
    assert plain_json({1: (2, 3)}, "conf") == {"1": [2, 3]}
    for bad in (datetime(2026, 1, 1), {"x": {1, 2}}, float("inf")):
        with pytest.raises(InvalidSettings, match="conf must be JSON"):
            plain_json(bad, "conf")


def test_a_pool_is_plain_json() -> None:
    assert Pool("p", 1).as_dict()["slots"] == 1


def test_a_run_goes_to_xcom_without_what_does_harm_there() -> None:
    conf = {"nan": math.nan, "zero\0": "\ud800", "deep": json.loads("[" * 500 + "]" * 500)}
    plain = DagRun("d", "r", "success", conf=conf, note="\0" + "n" * 5000).as_dict()
    assert (plain["conf"]["nan"], plain["conf"]["zero\ufffd"]) == (None, "\ufffd")
    assert plain["note"] == "\ufffd" + "n" * 999
    assert "left_out" not in plain
    json.dumps(plain, allow_nan=False, ensure_ascii=False).encode()


def test_a_conf_that_is_too_large_is_left_out_with_a_word_on_how_to_read_it() -> None:
    fits = {"x": "y" * (LARGEST_CONF - 9)}
    assert DagRun("d", "r", conf=fits).as_dict()["conf"] == fits
    plain = DagRun("d", "r", conf={"x": "y" * (LARGEST_CONF - 8)}).as_dict()
    assert plain["conf"] is None
    assert plain["left_out"] == (
        "conf: 32769 bytes of JSON, and 32768 are the most that are handed on. "
        "AstronomerHook.get_dag_run reads the whole run."
    )
