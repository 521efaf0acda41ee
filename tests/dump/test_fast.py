"""The fast way brings what the plain way brings, whatever stands in a page, and takes what is ordinary."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pageconv.dump.fast import Bounds, FastReader
from airflow_provider_pageconv.dump.listing import note_order, note_orders
from airflow_provider_pageconv.dump.progress import Order
from airflow_provider_pageconv.dump.publishing import list_query
from airflow_provider_pageconv.dump.readers import Moments
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.threads import Scope
from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.graph.edges import NESTED_MESSAGES
from tests.both_ways import difference
from tests.dump.values import JSON, TEXT

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=timezone.utc)
TIMES = Moments(NOW.timestamp(), NOW.timestamp() + 5, 7.0)
WINDOWS = {
    "all": Window(),
    "begin": Window(None, NOW - timedelta(hours=20)),
    "days": Window(NOW - timedelta(days=3), NOW - timedelta(hours=20)),
}


def written(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+0000")


def message(number: int, time: datetime) -> dict[str, Any]:
    return {"id": f"m{number}", "created_time": written(time), "from": {"id": "7", "name": "Ann"}, "message": "Hello"}


def thread(number: int, newest: datetime, messages: int = 3) -> dict[str, Any]:
    """An ordinary one."""
    inner = [message(number * 100 + one, newest - timedelta(minutes=one)) for one in range(messages)]
    paging = {"cursors": {"before": "b", "after": "a"}}
    return {
        "id": f"t{number}",
        "updated_time": written(newest),
        "message_count": messages,
        "link": "/1/inbox/1/",
        "messages": {"data": inner, "paging": paging},
    }


def page(*rows: Any, after: str | None = "next") -> dict[str, Any]:
    paging = {"cursors": {"after": after}, "next": "https://graph.facebook.com/"} if after else {}
    return {"data": list(rows), "paging": paging}


def setting(window: str, *, messages: bool = True) -> tuple[FastReader, Spec, Scope]:
    run_key = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1, "clear_number": 0}
    spec = Spec("messenger", "1", WINDOWS[window], run_key, messages=messages)
    reader = FastReader(list_query(spec, "inbox"), NESTED_MESSAGES if messages else 0)
    return reader, spec, Scope(spec.window, NOW.timestamp(), messages)


def compact(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def how_many(document: Any, window: str = "all", *, messages: bool = True) -> list[int | None] | None:
    """For each thread of a page how many messages went the fast way; ``None``: it went the plain way."""
    reader, _, scope = setting(window, messages=messages)
    found = reader.read(compact(document))
    if found is None:
        return None
    bounds = Bounds.of(scope, TIMES.api)
    return [None if found.paged and reader.is_paged(row) else reader.messages(row, bounds) for row in found.rows]


MOMENTS = st.one_of(
    st.integers(0, 12 * 24 * 60).map(lambda minutes: written(NOW - timedelta(minutes=minutes))),
    st.sampled_from(
        [
            "2026-11-21T12:00:00+0100",
            "2026-02-30T12:00:00+0000",
            "2026-11-31T12:00:00+0000",
            "2026-11-18T24:00:00+0000",
            "2026-11-1xT12:00:00+0000",
            "2026-11-19T12:00:00Z",
            "2027-01-01T00:00:00+0000",
            "1999-01-01T00:00:00+0000",
            "0000-00-00T00:00:00+0000",
            1795000000,
            1795000000.5,
            "yesterday",
            "",
            None,
            True,
            [],
        ]
    ),
)
ALMOST = st.fixed_dictionaries(
    {"id": st.one_of(st.integers(0, 6).map(lambda number: f"m{number}"), st.sampled_from(["", None, 5]))},
    optional={
        "created_time": MOMENTS,
        "from": st.one_of(st.just({"id": "7", "name": "Ann"}), st.none()),
        "message": TEXT,
        "_export_id": st.just("theirs"),
        "paging": st.just({"next": "https://x"}),
        "attachments": st.one_of(JSON, st.just({"data": [{"id": "1"}], "paging": {"next": "https://token"}})),
    },
)
NESTED = st.one_of(
    st.none(),
    st.just({}),
    st.lists(ALMOST, max_size=4).map(lambda rows: {"data": rows}),
    st.lists(ALMOST, max_size=4).map(lambda rows: {"data": rows, "paging": {"cursors": {"after": "a"}}}),
    st.lists(ALMOST, max_size=4).map(
        lambda rows: {"data": rows, "paging": {"next": "https://x", "cursors": {"after": "a"}}}
    ),
    st.integers(1, 5).map(lambda count: thread(9, NOW - timedelta(hours=30), count)["messages"]),
)
ROWS = st.one_of(
    st.builds(
        thread,
        st.integers(0, 5),
        st.integers(1, 9000).map(lambda late: NOW - timedelta(minutes=late)),
        st.integers(1, 4),
    ),
    st.fixed_dictionaries(
        {"id": st.integers(0, 5).map(lambda number: f"t{number}")},
        optional={
            "updated_time": MOMENTS,
            "message_count": st.one_of(st.integers(0, 5), st.none(), st.just(2.0), st.just(True)),
            "messages": NESTED,
            "participants": JSON,
            "folder": TEXT,
            "_folder": TEXT,
            "later_field": JSON,
        },
    ),
    st.sampled_from([None, 5, {}, {"id": ""}]),
)


@given(
    rows=st.lists(ROWS, max_size=6),
    window=st.sampled_from(sorted(WINDOWS)),
    messages=st.booleans(),
    escaped=st.booleans(),
    after=st.sampled_from([None, "next", ""]),
)
def test_both_ways_bring_the_same_of_any_page(
    rows: list[Any], window: str, messages: bool, escaped: bool, after: str | None
) -> None:
    """Records, counts, what is to be read still, what the walk sees and where it goes on: value by value."""
    reader, spec, scope = setting(window, messages=messages)
    text = json.dumps(page(*rows, after=after), separators=(",", ":"), ensure_ascii=escaped)
    assert difference(text.encode("utf-8", "backslashreplace"), reader, spec, scope, TIMES) is None


def test_an_ordinary_page_goes_the_fast_way() -> None:
    """Else all of this would be for nothing, and nobody would see it."""
    rows = [thread(number, NOW - timedelta(hours=30 + number), 20) for number in range(5)]
    assert how_many(page(*rows)) == [20] * 5
    assert how_many(page(*rows), "days") == [20] * 5
    for row in rows:
        del row["messages"]
    assert how_many(page(*rows), messages=False) == [0] * 5


def test_a_field_that_was_not_asked_for_is_learnt() -> None:
    """The API may send more than is asked for; from the second page on that costs nothing."""
    row = thread(1, NOW - timedelta(hours=30))
    row["new_one"], row["messages"]["data"][0]["other"] = {"a": [1]}, None
    assert how_many(page(row)) == [3]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row["messages"]["data"][1].pop("from"),
        lambda row: row["messages"]["data"][1].pop("created_time"),
        lambda row: row["messages"]["data"].reverse(),
        lambda row: row["messages"]["data"][1].update(id=row["messages"]["data"][0]["id"]),
        lambda row: row["messages"]["data"][0].update(created_time=written(NOW + timedelta(minutes=1))),
        lambda row: row["messages"]["data"][0].update(created_time="2026-11-21T00:00:00+0100"),
        lambda row: row["messages"]["data"][2].update(created_time="2026-02-30T00:00:00+0000"),
        lambda row: row["messages"]["data"][2].update(attachments={"data": [], "paging": {"next": "https://token"}}),
        lambda row: row["messages"]["paging"].update(next="https://graph.facebook.com/"),
        lambda row: row.update(message_count=4),
        lambda row: row.pop("message_count"),
        lambda row: row.pop("messages"),
    ],
)
def test_one_thread_that_is_not_ordinary_goes_the_plain_way_alone(spoil: Any) -> None:
    """Its neighbours do not become slow on its account."""
    rows = [thread(number, NOW - timedelta(hours=30 + number)) for number in range(3)]
    spoil(rows[1])
    assert how_many(page(*rows)) == [3, None, 3]


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "\ud83d"])
def test_a_page_with_texts_that_could_not_be_written_as_they_came_goes_the_plain_way(text: str) -> None:
    """Line ends that JSON allows inside a text, and halves of characters."""
    row = thread(1, NOW - timedelta(hours=30))
    row["messages"]["data"][0]["message"] = text
    reader, _, _ = setting("all")
    raw = json.dumps(page(row), ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    assert reader.read(raw) is None
    assert reader.read(json.dumps(page(row), indent=1).encode()) is None


def test_a_page_that_is_never_ordinary_is_soon_not_looked_at_any_more() -> None:
    """Where an API answers otherwise throughout, looking twice would make every page slower."""
    reader, _, _ = setting("all")
    odd, even = compact(page({"id": 5})), compact(page(thread(1, NOW - timedelta(hours=30))))
    for _ in range(19):
        assert reader.read(odd) is None
    assert reader.read(even) is not None
    for _ in range(20):
        assert reader.read(odd) is None
    assert reader.read(even) is None


@given(st.lists(st.lists(st.integers(0, 30).map(lambda hours: hours * 3600.0), max_size=25), max_size=6), st.booleans())
def test_the_times_of_a_page_are_taken_in_at_once_as_one_by_one(pages: list[list[float]], ordered: bool) -> None:
    """In whatever order they come."""
    at_once, one_by_one = Order(), Order()
    for times in pages:
        page = sorted(times, reverse=True) if ordered else times
        note_orders(at_once, page)
        for time in page:
            note_order(one_by_one, time)
        assert at_once == one_by_one
