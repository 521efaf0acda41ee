"""Usage headers become one value, or nothing; whatever stands in them, nothing breaks on it."""

from __future__ import annotations

import json
import math
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.graph.usage import Usage, read_usage, retry_after
from tests.graph.answers import business_row, business_usage

HEADERS = ("x-app-usage", "x-page-usage", "x-business-use-case-usage")


def test_no_header_is_no_usage() -> None:
    """As with an app that is throttled before anything is counted."""
    assert read_usage({}) is None
    assert read_usage({"content-type": "application/json"}) is None


def test_all_headers_are_read_into_one_value() -> None:
    """The greatest percentage, by limit and over all."""
    usage = read_usage(
        {
            "x-app-usage": '{"call_count":28,"total_time":25,"total_cputime":26}',
            "x-page-usage": '{"call_count":1,"total_time":31.5,"total_cputime":2}',
            **business_usage(business_row(4, percent=60), business_row(0, kind="pages", percent=12)),
        }
    )
    assert usage == Usage(
        percent=60.0,
        regain=timedelta(minutes=4),
        by_type={"app": 28.0, "page": 31.5, "messenger": 60.0, "pages": 12.0},
    )


def test_up_to_32_objects_of_several_owners_are_read() -> None:
    """The greatest of one type counts."""
    rows = {f"{owner}": [business_row(owner, percent=owner * 2 + place) for place in range(2)] for owner in range(16)}
    usage = read_usage({"x-business-use-case-usage": json.dumps(rows)})
    assert usage is not None
    assert usage.by_type == {"messenger": 31.0}
    assert usage.regain == timedelta(minutes=15)


def test_a_regain_time_of_0_names_no_time() -> None:
    """It is sent at 95 % too, so it does not mean "now"."""
    usage = read_usage(business_usage(business_row(0, percent=95)))
    assert usage is not None
    assert usage.regain is None


def test_a_header_without_numbers_counts_as_0() -> None:
    """It was there, and said nothing that slows anyone down."""
    assert read_usage({"x-app-usage": "{}"}) == Usage(percent=0.0, regain=None, by_type={"app": 0.0})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "7", '"x"', "NaN", "[" * 100_000, "9" * 5000, "\x00", "ñ"])
@pytest.mark.parametrize("name", HEADERS)
def test_an_unreadable_header_is_left_aside(name: str, text: str) -> None:
    """The others are read all the same."""
    assert read_usage({name: text}) is None
    other = {"x-app-usage": '{"call_count":5}'} if name != "x-app-usage" else business_usage(business_row(percent=5))
    usage = read_usage({name: text, **other})
    assert usage is not None
    assert usage.percent == 5.0


@pytest.mark.parametrize("value", [-1, -1e308, "x", "", None, True, [], {}, "NaN", "-inf", "Infinity"])
def test_a_value_that_is_no_number_counts_as_0(value: Any) -> None:
    """So do negative ones and those that are not finite."""
    row = {"call_count": value, "total_time": 3, "estimated_time_to_regain_access": value}
    assert read_usage({"x-app-usage": json.dumps(row)}) == Usage(percent=3.0, regain=None, by_type={"app": 3.0})


def test_a_person_in_the_place_of_a_type_is_not_kept() -> None:
    """Usage is logged."""
    usage = read_usage(business_usage({**business_row(percent=9), "type": "ana@example.com"}))
    assert usage is not None
    assert usage.by_type == {"other": 9.0}


@pytest.mark.parametrize(
    "types, percent, regain, by_type",
    [
        ((), 100.0, 45, {"ads_management": 100.0, "messenger": 30.0, "instagram": 90.0, "pages": 50.0}),
        (("messenger",), 30.0, 2, {"messenger": 30.0}),
        (("messenger", "pages"), 50.0, 4, {"messenger": 30.0, "pages": 50.0}),
        (("instagram", "pages"), 90.0, 4, {"instagram": 90.0, "pages": 50.0}),
    ],
)
def test_only_the_limits_that_govern_a_call_count(
    types: tuple[str, ...], percent: float, regain: int, by_type: dict[str, float]
) -> None:
    """In percent and in the time until access is regained; the header tells of every product of the business."""
    headers = business_usage(
        business_row(45, kind="ads_management"),
        business_row(2, percent=30),
        business_row(3, kind="instagram", percent=90),
        business_row(4, kind="pages", percent=50),
    )
    assert read_usage(headers, types) == Usage(percent, timedelta(minutes=regain), by_type)


def test_the_apps_and_the_pages_own_headers_count_for_every_call() -> None:
    """They have no types."""
    headers = {
        "x-app-usage": '{"call_count": 60}',
        "x-page-usage": '{"call_count": 70}',
        **business_usage(business_row(9, kind="ads")),
    }
    assert read_usage(headers, ("messenger", "pages")) == Usage(70.0, None, {"app": 60.0, "page": 70.0})


def test_usage_of_another_product_alone_is_no_usage() -> None:
    """Nor is a type that cannot be read."""
    for kind in ("ads_management", "custom_audience", "ana@example.com", "", 7, None):
        assert read_usage(business_usage({**business_row(45), "type": kind}), ("messenger", "pages")) is None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
rows = st.dictionaries(
    st.sampled_from(["call_count", "total_time", "total_cputime", "estimated_time_to_regain_access", "type"]), anything
)
texts = st.one_of(
    st.text(max_size=30),
    anything.map(json.dumps),
    rows.map(json.dumps),
    st.dictionaries(st.text(max_size=4), st.lists(rows, max_size=3), max_size=3).map(json.dumps),
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from([*HEADERS, "retry-after"]), texts), st.sampled_from([(), ("messenger", "pages")])
)
def test_absurd_headers_never_break_anything(headers: dict[str, str], types: tuple[str, ...]) -> None:
    """No exception, and no number that arithmetic cannot use."""
    usage = read_usage(headers, types)
    waits = [retry_after(headers)]
    if usage is not None:
        numbers = [usage.percent, *usage.by_type.values()]
        assert all(math.isfinite(number) and number >= 0 for number in numbers)
        assert usage.percent == max(usage.by_type.values())
        waits.append(usage.regain)
    assert all(wait is None or timedelta(0) < wait <= timedelta(days=7) for wait in waits)


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("120", 120),
        ("1e-9", None),
        ("0.5", 0.5),
        ("1e12", 7 * 86400),
        ("0", None),
        ("-5", None),
        ("soon", None),
        ("nan", None),
        ("", None),
    ],
)
def test_retry_after_is_read_in_seconds(text: str, seconds: float | None) -> None:
    """A week at most."""
    assert retry_after({"retry-after": text}) == (None if seconds is None else timedelta(seconds=seconds))
