"""The one reader of dates: alike in every Python, and like the newest Python's own where that is strict enough."""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from astronomer_remote.api.protocol.errors import InvalidSettings
from astronomer_remote.api.protocol.models import parse_date, utc_text

BERLIN = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240105", datetime(2024, 1, 5)),  # {{ ds_nodash }}
        ("20240105T030201", datetime(2024, 1, 5, 3, 2, 1)),  # {{ ts_nodash }}
        ("20240105T030201+0000", datetime(2024, 1, 5, 3, 2, 1, tzinfo=timezone.utc)),
        ("20240105T030201.123456+0200", datetime(2024, 1, 5, 3, 2, 1, 123456, tzinfo=BERLIN)),
        ("2024-01-05", datetime(2024, 1, 5)),
        ("2024-01-05 03:02", datetime(2024, 1, 5, 3, 2)),
        ("2024-01-05T03", datetime(2024, 1, 5, 3)),
        ("2024-01-05T03:02:01.5Z", datetime(2024, 1, 5, 3, 2, 1, 500_000, tzinfo=timezone.utc)),
        ("2024-01-05t03:02:01,123456789z", datetime(2024, 1, 5, 3, 2, 1, 123456, tzinfo=timezone.utc)),
        ("2024-01-05T03:02:01+02", datetime(2024, 1, 5, 3, 2, 1, tzinfo=BERLIN)),
        ("2024-01-05T03:02:01+02:00", datetime(2024, 1, 5, 3, 2, 1, tzinfo=BERLIN)),
        ("2024-01-05T03:02-00:30", datetime(2024, 1, 5, 3, 2, tzinfo=timezone(timedelta(minutes=-30)))),
        ("2024-W01-5", datetime(2024, 1, 5)),
        ("2024W01", datetime(2024, 1, 1)),
        ("  2024-01-05\n", datetime(2024, 1, 5)),
    ],
)
def test_a_date_is_read_in_every_python_alike(text: str, expected: datetime) -> None:
    found = parse_date(text)
    assert (found, found.utcoffset()) == (expected, expected.utcoffset())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sometime",
        "2024",
        "2024-01",
        "2024-0105",
        "202401-05",
        "2024-02-30",
        "2024-13-01",
        "0000-01-01",
        "2024-W54",
        "2024-W01-8",
        "2024-01-05T",
        "2024-01-05T3",
        "2024-01-05T24:00",
        "2024-01-05T03:60",
        "2024-01-05T03:02:61",
        "2024-01-05T03:0201",
        "2024-01-05T0302:01",
        "2024-01-05T03:02.5",
        "2024-01-05T03:02:01.",
        "2024-01-05T03:02+",
        "2024-01-05T03:02+24:00",
        "2024-01-05T03:02 +02:00",
        "2024-01-05T03:02+00:00:00.5",
        "2024-01-05Z",
        "2024-01-05x03:02",
        "\u0662\u0660\u0662\u0664-\u0660\u0661-\u0660\u0665",
        "1" * 100_000,
    ],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_date(text)
    with pytest.raises(InvalidSettings, match="logical_date="):
        utc_text(text, "logical_date")


DASHES = st.sampled_from(["", "-"])
COLONS = st.sampled_from(["", ":"])


@st.composite
def clocks(draw: st.DrawFn, most: int, fractions: bool = True) -> str:
    two_digits = st.integers(0, most).map("{:02}".format)
    colon, parts = draw(COLONS), draw(st.lists(two_digits, min_size=1, max_size=3))
    # Without a digit behind it, Python reads a point before a zone, and only there.
    fraction = draw(st.sampled_from(["", ".", ","])) if fractions and len(parts) == 3 else ""
    return colon.join(parts) + fraction + (draw(st.text("0123456789", min_size=1, max_size=9)) if fraction else "")


@st.composite
def dates(draw: st.DrawFn) -> str:
    """Texts in the form of dates, most of which are dates."""
    dash, year = draw(DASHES), draw(st.integers(0, 9999).map("{:04}".format))
    of_month = st.tuples(st.integers(0, 13).map("{:02}".format), st.integers(0, 32).map("{:02}".format))
    of_week = st.tuples(st.integers(0, 54).map("W{:02}".format), st.integers(0, 8).map(str))
    day = dash.join((year, *draw(of_month | of_week)))
    if draw(st.booleans()):
        return day
    zone = draw(st.sampled_from(["", "Z", "+", "-"]))
    # Python reads a zone of "+00:60", too, and ones with parts of a second, not all of them rightly.
    offset = draw(clocks(most=59, fractions=False)) if zone in ("+", "-") else ""
    return day + draw(st.sampled_from("T ")) + draw(clocks(most=99)) + zone + offset


def read_by_python(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="3.10 reads a part of what later ones read")
@given(dates())
@example("2024-01-05T00:00:00.5Z")
@example("20240105T000000-00:30:15")
def test_it_reads_what_pythons_own_reads_and_nothing_else(text: str) -> None:
    expected = read_by_python(text)
    if expected is None or "24" in text.partition("T")[2][:2] + text.partition(" ")[2][:2]:  # 24:00 is new in 3.14
        with pytest.raises(ValueError, match=r"."):
            parse_date(text)
    else:
        found = parse_date(text)
        assert (found, found.utcoffset()) == (expected, expected.utcoffset())


@given(st.text())
def test_no_text_raises_anything_else(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_date(text)
