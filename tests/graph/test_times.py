"""Moments, in every form that the Graph API was seen to use, and in the one that this package writes."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv import times

NOW = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
TEN = datetime(2026, 11, 21, 10, tzinfo=timezone.utc).timestamp()
FIRST = datetime(2004, 1, 1, tzinfo=timezone.utc)
AHEAD = NOW + timedelta(days=1)
SECOND = timedelta(seconds=1)


def seconds(time: object) -> float | None:
    """Read a time, at noon of 2026-11-21."""
    return times.seconds(time, NOW.timestamp())


# ---- forms


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T10:00:00+0000",
        "2026-11-21T10:00:00+00:00",
        "2026-11-21T10:00:00-0000",
        "2026-11-21T10:00:00+00",
        "2026-11-21T10:00:00Z",
        "2026-11-21T10:00:00z",
        "2026-11-21T10:00:00 Z",
        "2026-11-21T10:00:00 +0000",
        "2026-11-21T10:00:00",
        "2026-11-21 10:00:00+0000",
        "2026-11-21T10:00Z",
        "20261121T100000Z",
        "20261121T100000+0000",
        "20261121T100000.000+0000",
        "  2026-11-21T10:00:00+0000\n",
    ],
)
def test_the_same_moment_may_be_written_in_many_ways(text: str) -> None:
    """As documented, with a colon or a `Z`, with spaces or without any sign between the numbers; without a zone it is UTC."""
    assert seconds(text) == TEN


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T15:00:00+0500",
        "2026-11-21T15:30:00+05:30",
        "2026-11-21T05:00:00-0500",
        "2026-11-21T05:00:00-05",
        "2026-11-20T22:00:00-12:00",
        "2026-11-22T00:00:00+1400",
        "2026-11-21T15:45:00+05:45",
    ],
)
def test_an_offset_is_taken_off(text: str) -> None:
    """East of Greenwich the clock is ahead."""
    assert seconds(text) == TEN


@pytest.mark.parametrize(
    "fraction, part",
    [
        (".5", 0.5),
        (".25", 0.25),
        (".000", 0.0),
        (".123", 0.123),
        (",5", 0.5),
        (".123456", 0.123456),
        (".123456789", 0.123456789),
    ],
)
@pytest.mark.parametrize("zone", ["+0000", "Z", "+00:00", ""])
def test_a_fraction_of_a_second_may_have_any_number_of_digits(fraction: str, part: float, zone: str) -> None:
    """After a point or a comma."""
    assert seconds(f"2026-11-21T10:00:00{fraction}{zone}") == pytest.approx(TEN + part, abs=1e-6)


def test_seconds_and_milliseconds_are_told_apart_by_their_size() -> None:
    """As a number and as text."""
    for one in (TEN, int(TEN), f"{TEN:.0f}", TEN * 1000, int(TEN * 1000), f"{TEN * 1000:.0f}"):
        assert seconds(one) == TEN, one
    for one in (TEN + 0.25, f"{TEN + 0.25}", TEN * 1000 + 250, int(TEN * 1000) + 250, f"{TEN * 1000 + 250:.0f}"):
        assert seconds(one) == TEN + 0.25, one


@pytest.mark.parametrize(
    "time",
    [
        None,
        "",
        " ",
        "yesterday",
        "None",
        True,
        False,
        [],
        [TEN],
        {},
        {"time": TEN},
        b"2026-11-21T10:00:00+0000",
        float("nan"),
        float("inf"),
        float("-inf"),
        10**400,
        -(10**400),
        "nan",
        "1e9",
        "+1795255200",
        "1795255200s",
        "0x6b0c1f20",
        "2026-11-21",
        "10:00:00",
        "2026-13-01T10:00:00+0000",
        "2026-11-31T10:00:00+0000",
        "2026-11-31T10:00:00Z",
        "2026-02-29T10:00:00Z",
        "2026-11-21T25:00:00+0000",
        "2026-11-21T10:60:00Z",
        "2026-11-21T10:00:61Z",
        "2026-11-21T10:00:99+0000",
        "2026-11-21T10:00:00+2400",
        "2026-11-21T10:00:00+0060",
        "2026-11-21T10:00:00.+0000",
        "2026-11-21T10:00:00.1234567890Z",
        "2026-11-21T10:00:00 UTC",
        "2026-11-21T10:00:00+0000 and more",
        "0000-11-21T10:00:00Z",
        "٢٠٢٦-11-21T10:00:00Z",
        "１７９５２５５２００",
    ],
)
def test_what_cannot_be_read_is_no_time(time: object) -> None:
    """Rather none than a wrong one: where a window cuts, a message would be lost or come twice."""
    assert seconds(time) is None


def written(moment: datetime) -> list[object]:
    """A moment in several forms."""
    at = moment.timestamp()
    return [
        moment.isoformat(),
        moment.strftime("%Y-%m-%dT%H:%M:%S+0000"),
        times.iso(moment),
        at,
        f"{at:.0f}",
        at * 1000,
    ]


def test_before_there_was_a_facebook_there_is_no_time() -> None:
    """2004 is the first year, in whatever form."""
    assert [seconds(one) for one in written(FIRST)] == [FIRST.timestamp()] * 6
    assert [seconds(one) for one in written(FIRST - SECOND)] == [None] * 6
    assert [seconds(one) for one in (0, 1, -1, "0", "1970-01-01T00:00:00+0000", "1999-12-31T23:59:59Z")] == [None] * 6


def test_more_than_a_day_ahead_is_no_time() -> None:
    """A day is what a clock, or a zone that was taken for another, may be wrong by."""
    assert [seconds(one) for one in written(AHEAD)] == [AHEAD.timestamp()] * 6
    assert [seconds(one) for one in written(AHEAD + SECOND)] == [None] * 6
    assert [seconds(one) for one in ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-2359", 253402300799, 10**15)] == [
        None
    ] * 4


def test_an_offset_counts_before_the_bounds_do() -> None:
    """What lies a day ahead by its digits alone may be good, and the other way round."""
    assert seconds("2026-11-22T14:00:00+0500") is not None
    assert seconds("2026-11-22T09:00:00-0500") is None
    assert seconds("2003-12-31T20:00:00-0500") is not None
    assert seconds("2004-01-01T04:00:00+0500") is None


zones = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(
    min_value=datetime(2004, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2026, 11, 21),  # noqa: DTZ001 - as above
    timezones=zones,
)


@settings(deadline=None)
@given(moments)
def test_any_moment_with_any_offset_and_fraction_is_read_back(moment: datetime) -> None:
    """With a colon in the offset and without one; in UTC with a `Z`; as seconds and as milliseconds."""
    at = moment.timestamp()
    for text in (
        moment.isoformat(),
        moment.isoformat(" "),
        moment.strftime("%Y-%m-%dT%H:%M:%S.%f%z"),
        moment.strftime("%Y%m%dT%H%M%S.%f%z"),
        times.iso(moment, "microseconds"),
        at,
        f"{at:.6f}",
        at * 1000,
    ):
        assert seconds(text) == pytest.approx(at, abs=1e-5), text
    assert seconds(moment.strftime("%Y-%m-%dT%H:%M:%S%z")) == moment.replace(microsecond=0).timestamp()


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=30)
    | st.from_regex(r"\d{4}-?\d\d-?\d\d[T ]\d\d:?\d\d(:?\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?(\d\d)?)?", fullmatch=True)
    | st.from_regex(r"\d{1,20}(\.\d{1,3})?", fullmatch=True),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@settings(deadline=None, max_examples=400)
@given(anything)
def test_whatever_stands_in_the_place_of_a_time_is_one_within_the_bounds_or_none(value: Any) -> None:
    """No exception, and no number that a window cannot be compared with."""
    read = seconds(value)
    assert read is None or FIRST.timestamp() <= read <= AHEAD.timestamp()


# ---- as this package writes them


@settings(deadline=None)
@given(st.datetimes(timezones=zones, min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)))  # noqa: DTZ001
def test_what_is_written_is_read_as_the_same_moment(moment: datetime) -> None:
    """In UTC, with a `Z`."""
    assert times.iso(moment, "microseconds").endswith("Z")
    back = times.moment(times.iso(moment, "microseconds"))
    assert back == moment
    assert back.utcoffset() == timedelta(0)
    assert times.moment(times.iso(moment)) == moment.replace(microsecond=0)
    assert times.moment(json.loads(json.dumps(moment.isoformat()))) == moment


def test_what_this_package_did_not_write_is_refused() -> None:
    """As in a checkpoint that somebody edited."""
    for text in ("", "soon", "2026-11-31T00:00:00Z"):
        with pytest.raises(ValueError):  # noqa: PT011 - the sentence is Python's
            times.moment(text)


def test_seconds_become_a_moment_in_utc() -> None:
    """And are written without their fractions unless these are asked for."""
    assert times.utc(TEN) == datetime(2026, 11, 21, 10, tzinfo=timezone.utc)
    assert times.iso(times.utc(TEN + 0.25)) == "2026-11-21T10:00:00Z"
    assert times.iso(times.utc(TEN + 0.25), "milliseconds") == "2026-11-21T10:00:00.250Z"
    assert times.iso(datetime(2026, 11, 21, 5, tzinfo=timezone(timedelta(hours=-5)))) == "2026-11-21T10:00:00Z"


@settings(deadline=None)
@given(st.datetimes(timezones=zones, min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)))  # noqa: DTZ001
def test_a_moment_is_rounded_up_to_the_next_whole_second(moment: datetime) -> None:
    """In UTC; one that is whole stays."""
    rounded = times.round_up(moment)
    assert timedelta(0) <= rounded - moment < SECOND
    assert rounded.microsecond == 0
    assert rounded.utcoffset() == timedelta(0)
    assert times.round_up(rounded) == rounded


def test_the_end_of_the_calendar_cannot_be_rounded_up() -> None:
    """Nor is what lies beyond it, in UTC, any moment at all."""
    for moment in (
        datetime.max.replace(tzinfo=timezone.utc),
        datetime.max.replace(microsecond=0, tzinfo=timezone(timedelta(hours=-1))),
    ):
        with pytest.raises(OverflowError):
            times.round_up(moment)


# ---- the clock of the API


@pytest.mark.parametrize(
    "text",
    [
        "Sat, 21 Nov 2026 10:00:00 GMT",
        "Sat, 21 Nov 2026 10:00:00 +0000",
        "Sat, 21 Nov 2026 10:00:00 -0000",
        "21 Nov 2026 10:00:00 GMT",
        "Sat, 21 Nov 2026 05:00:00 -0500",
    ],
)
def test_a_date_header_is_a_moment_with_a_zone(text: str) -> None:
    """Where it names none it is UTC."""
    moment = times.from_header(text)
    assert moment is not None
    assert moment.tzinfo is not None
    assert moment.timestamp() == TEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "soon",
        "0",
        "1795255200",
        "Sat, 32 Nov 2026 10:00:00 GMT",
        "Sat, 21 Nov 2026 25:00:00 GMT",
        "Sat, 21 Nov 99999 10:00:00 GMT",
        "Sat, 21 Nov 2026 10:00:00 +9999999999",
        "2026-11-21T10:00:00Z",
        "\x00",
        ",",
    ],
)
def test_a_date_header_that_is_none_names_no_moment(text: str) -> None:
    """The worker's own clock has to do then."""
    assert times.from_header(text) is None


@settings(deadline=None)
@given(st.datetimes(timezones=st.just(timezone.utc), min_value=datetime(1000, 1, 1)))  # noqa: DTZ001
def test_any_date_header_is_read_back(moment: datetime) -> None:
    """To the second, as it is sent."""
    assert times.from_header(format_datetime(moment, usegmt=True)) == moment.replace(microsecond=0)


@settings(deadline=None, max_examples=400)
@given(
    st.text(max_size=40)
    | st.from_regex(
        r"([A-Z][a-z]{2}, )?\d{1,3} [A-Z][a-z]{2} \d{1,6} \d{1,3}:\d\d(:\d\d)?( [+-]?\w{0,12})?", fullmatch=True
    )
)
def test_any_text_in_a_date_header_is_a_moment_with_a_zone_or_none(text: str) -> None:
    """A proxy may have written it."""
    moment = times.from_header(text)
    assert moment is None or moment.tzinfo is not None
