"""Which events of a remote were passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from astronomer_remote.api.waiting.event_cursor import (
    KEY_LENGTH,
    SECONDS_KEPT,
    SECONDS_SHOWN_LATE,
    EventCursor,
    RemoteEvent,
    event_key,
)


def event(key: str, moment: float) -> RemoteEvent:
    return RemoteEvent(key, moment, {})


def keys(events: list[RemoteEvent]) -> list[str]:
    return [each.key for each in events]


def test_new_events_are_passed_on_oldest_first_and_once() -> None:
    cursor = EventCursor(100)
    found = [event("b", 120), event("a", 110), event("old", 99)]
    assert keys(cursor.fresh(found)) == ["a", "b"]
    cursor = cursor.passed(cursor.fresh(found)).after(listed_at=125)
    assert keys(cursor.fresh([*found, event("c", 121)])) == ["c"]


def test_an_event_that_is_shown_after_younger_ones_is_passed_on() -> None:
    cursor = EventCursor(0).passed([event("8", 5000)]).after(listed_at=5001)
    assert keys(cursor.fresh([event("7", 5000 - SECONDS_KEPT + 10), event("8", 5000)])) == ["7"]
    assert cursor.fresh([event("6", 5001 - SECONDS_KEPT - 1)]) == []


def test_an_event_is_found_however_the_listings_that_reach_back_fall() -> None:
    between = SECONDS_SHOWN_LATE / 2
    for phase in range(0, int(between), 10):
        shown_at = 10_000 + SECONDS_SHOWN_LATE
        # The last listing before the event is shown was a moment ago; the next that reaches back may be minutes away.
        cursor = EventCursor(0).after(listed_at=shown_at - 1)
        for listed_at in range(int(shown_at), int(shown_at) + phase, 30):
            cursor = cursor.after(listed_at=listed_at)
        assert keys(cursor.fresh([event("late", 10_000)])) == ["late"], phase


def test_keys_that_cannot_come_again_are_dropped() -> None:
    cursor = EventCursor(0).passed([event("a", 10)]).after(listed_at=11)
    assert cursor.seen == {"a": 10}
    assert cursor.after(listed_at=10 + SECONDS_KEPT + 1).seen == {}


def test_the_cursor_does_not_go_back() -> None:
    assert EventCursor(5000).after(listed_at=1).since == 5000


def burst(number: int, seconds: int) -> list[RemoteEvent]:
    return [event(event_key(str(each)), 1000.0 + each * seconds / number) for each in range(number)]


def test_five_events_a_second_fit_into_a_cursor() -> None:
    events = burst(int(4.5 * SECONDS_KEPT), int(SECONDS_KEPT))
    cursor = EventCursor(900).passed(events).after(listed_at=1000 + SECONDS_KEPT)
    assert (len(cursor.seen), cursor.is_full) == (len(events), False)
    assert len(json.dumps(cursor.as_dict())) < 64 * 1024
    # One is shown after all of them.
    assert keys(cursor.fresh([*events, event("late", 1000.5)])) == ["late"]


def test_a_cursor_is_limited_and_repeats_nothing_that_it_dropped() -> None:
    events = burst(20_000, 600)
    cursor = EventCursor(900).passed(events)
    assert cursor.is_full
    assert cursor.since > 900
    assert cursor.fresh(events) == []
    stored = json.dumps(cursor.as_dict())
    assert len(stored) < 64 * 1024
    read = EventCursor.parse(json.loads(stored), now=2000)
    assert read is not None
    assert read.fresh(events) == []
    assert keys(read.fresh([event("late", cursor.since)])) == ["late"]


def test_many_events_of_one_second_are_all_kept() -> None:
    events = burst(8000, 1)
    cursor = EventCursor(900).passed(events).after(listed_at=1010)
    assert len(cursor.seen) == 8000
    assert cursor.fresh(events) == []


def test_an_event_after_the_fraction_of_a_second_where_a_stored_cursor_begins_is_not_repeated() -> None:
    cursor = EventCursor(1000.2, {event_key("a"): 1000.9})
    read = EventCursor.parse(json.loads(json.dumps(cursor.as_dict())), now=2000)
    assert read is not None
    assert read.after(1000.5 + SECONDS_KEPT).fresh([event(event_key("a"), 1000.9)]) == []


def test_a_cursor_is_found_to_be_ahead_after_the_clock_was_set_back() -> None:
    cursor = EventCursor(8000, {event_key("a"): 8100}).reaching_back(listed_at=1000 + SECONDS_KEPT)
    assert cursor == EventCursor(1000, {event_key("a"): 8100})
    assert EventCursor(8000).reaching_back(listed_at=1).since == 0


@pytest.mark.parametrize("parts", [("7", "2026-01-01T00:00:00Z"), ("\udcff", "")])
def test_keys_have_one_length(parts: tuple[str, ...]) -> None:
    assert len(event_key(*parts)) == KEY_LENGTH
    assert event_key(*parts) != event_key(*parts, "")


def test_what_two_triggerers_passed_on_is_merged() -> None:
    one, other = EventCursor(100, {"a": 110, "b": 120}), EventCursor(115, {"c": 130})
    assert one.merged(other) == EventCursor(115, {"b": 120, "c": 130}) == other.merged(one)


def test_a_cursor_by_the_local_clock_is_corrected_once() -> None:
    first = EventCursor(100, by_local_clock=True)
    assert first.by_remote_clock(-30) == EventCursor(70)
    assert first.by_remote_clock(-30).by_remote_clock(-30) == EventCursor(70)
    # Another triggerer has stored where it starts, and not yet corrected it.
    assert EventCursor(70).merged(EventCursor(101, by_local_clock=True)) == EventCursor(70)


@pytest.mark.parametrize(
    "cursor",
    [EventCursor(100.5, {event_key("a"): 110, event_key("b"): 110}), EventCursor(100, by_local_clock=True)],
)
def test_a_cursor_is_plain_json(cursor: EventCursor) -> None:
    assert EventCursor.parse(json.loads(json.dumps(cursor.as_dict())), now=200) == cursor


@pytest.mark.parametrize(
    "value",
    [
        *(None, 7, "text", {}, [], {"since": "x", "seen": {}}, {"since": True, "seen": {}}, {"since": -1, "seen": {}}),
        *({"since": float(text), "seen": {}} for text in ("nan", "inf", "-inf", "1e12")),
    ],
)
def test_anything_else_is_no_cursor(value: Any) -> None:
    assert EventCursor.parse(value, now=200) is None


@pytest.mark.parametrize("seen", [None, [], {"a": "x", "-1": "x" * 10, "110": None, "120": "x" * 11, "1e9": "x" * 10}])
def test_keys_that_cannot_be_read_are_left_out(seen: Any) -> None:
    assert EventCursor.parse({"since": 100, "seen": seen}, now=200) == EventCursor(100)


def test_a_cursor_of_another_version_is_read() -> None:
    value = {"since": 100, "seen": {"110": event_key("a"), "120": "later"}, "format": 2, "by_local_clock": "later"}
    assert EventCursor.parse(value, now=200) == EventCursor(100, {event_key("a"): 110})
