"""Lists inside rows that do not come or are short, rows that nobody can use, times in any form: nothing is lost in silence."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.sandbox.times import TIME_FORMS
from tests.dump.exporting import (
    DAY,
    IN_FLIGHT,
    NOW,
    ByFunction,
    assert_holds,
    export,
    export_in_time,
    ids,
    least_calls,
    list_calls,
    moment,
    owed,
    store_of,
)
from tests.servers.destinations import local

LACKING = "{} conversations gave fewer messages than message_count says."
UNUSABLE = "{} left out: no object, or without an id."


def box_of(threads: int = 30, **options: Any) -> Sandbox:
    options = {"messages": 12, "long_every": 1, "details": "all", **options}
    return Sandbox(conversations=0, folders={"inbox": threads}, now=NOW, **options)


def own_calls(box: Sandbox) -> list[str]:
    """The threads whose own edge was asked, one for each call."""
    return [call.path.split("/")[2] for call in box.requests if call.edge == "messages"]


# Lists inside rows


@pytest.mark.parametrize("message_count", ["right", "absent"])
@pytest.mark.parametrize("nested", ["absent", "null", "empty", "short"])
def test_messages_that_did_not_come_with_the_list_are_asked_for_at_the_thread_s_own_edge(
    nested: str, message_count: str, tmp_path: Path
) -> None:
    """Once for each such thread, and not for the others as far as anybody can tell which those are."""
    files = local(tmp_path)
    with box_of(nested=nested, nested_every=3, message_count=message_count, messages=25) as box:
        manifest = export(box, store_of(files))
        owes = owed(box.data())
        asked = own_calls(box)
    assert ids(files, "messages") == sorted(owes.messages)
    assert len(asked) == len(set(asked)) == 10
    assert manifest["conversations_incomplete"] == 0
    assert manifest["warnings"] == []


@pytest.mark.parametrize("nested", ["absent", "null", "empty", "short"])
def test_a_thread_that_goes_on_behind_what_did_not_come_is_read_to_its_end(nested: str, tmp_path: Path) -> None:
    """Also one whose messages take several pages."""
    files = local(tmp_path)
    with box_of(8, messages=90, nested=nested) as box:
        export(box, store_of(files), page_size=20)
        assert_holds(files, owed(box.data()))


def test_messages_that_came_both_ways_are_written_once(tmp_path: Path) -> None:
    """A short list's rows come again at the thread's own edge."""
    files = local(tmp_path)
    with box_of(nested="short") as box:
        export(box, store_of(files))
        assert_holds(files, owed(box.data()))
        assert len(own_calls(box)) == 30


def test_no_thread_is_asked_for_what_its_count_says_has_come(tmp_path: Path) -> None:
    """A short list is no reason by itself."""
    with box_of() as box:
        manifest = export(box, store_of(local(tmp_path)))
        assert own_calls(box) == []
    assert manifest["conversations_incomplete"] == 0


def test_a_thread_without_messages_whose_count_is_absent_is_asked(tmp_path: Path) -> None:
    """That is no zero."""
    with box_of(0, message_count="absent") as box:
        for number in range(3):
            box.page.new_thread("inbox", at=NOW - timedelta(hours=number + 1), messages=0)
        manifest = export(box, store_of(local(tmp_path)))
        assert len(own_calls(box)) == 3
    assert (manifest["conversations"], manifest["messages"]) == (3, 0)


@pytest.mark.parametrize("size", [100, 10])
def test_where_it_was_in_vain_twenty_times_in_a_row_short_lists_are_believed(size: int, tmp_path: Path) -> None:
    """No more calls than these and what was under way, whatever the page size; nothing is missing."""
    files = local(tmp_path)
    with box_of(250, message_count="absent", messages=8) as box:
        export_in_time(box, store_of(files), page_size=size)
        owes = owed(box.data())
        assert 20 <= len(own_calls(box)) <= 20 + IN_FLIGHT
    assert ids(files, "messages") == sorted(owes.messages)


def test_one_that_was_not_in_vain_makes_the_twenty_begin_again(tmp_path: Path) -> None:
    """Every tenth list is short indeed: none of them is believed."""
    files = local(tmp_path)
    with box_of(120, nested="short", nested_every=10, message_count="absent") as box:
        export_in_time(box, store_of(files), page_size=5)
        owes = owed(box.data())
    assert ids(files, "messages") == sorted(owes.messages)


def test_lists_that_do_not_come_are_asked_for_however_often_others_were_in_vain(tmp_path: Path) -> None:
    """There is nothing to believe."""
    files = local(tmp_path)
    with box_of(120, nested="absent", nested_every=40, message_count="absent") as box:
        export_in_time(box, store_of(files), page_size=10)
        owes = owed(box.data())
    assert ids(files, "messages") == sorted(owes.messages)


def test_threads_that_stay_short_of_their_count_are_counted(tmp_path: Path) -> None:
    """The API says that there is one message more than it gives; those that are believed are counted too."""
    files = local(tmp_path)
    with box_of(60, message_count="wrong") as box:
        manifest = export_in_time(box, store_of(files), page_size=10)
        owes = owed(box.data())
    assert ids(files, "messages") == sorted(owes.messages)
    assert manifest["conversations_incomplete"] == 60
    assert manifest["conversations_unavailable"] == 0
    assert manifest["warnings"] == [LACKING.format(60)]
    assert not any(record["_unavailable"] for record in files.records("conversations"))


def test_a_dump_says_how_many_messages_there_are_to_be(tmp_path: Path) -> None:
    """The sum of what ``message_count`` says, also of threads that come the fast way; the first of those that differ are named."""
    files = local(tmp_path)
    with box_of(60) as box:
        box.page.add_message(next(iter(box.page.threads())).id, at=NOW - timedelta(seconds=1))
        manifest = export_in_time(box, store_of(files), page_size=10)
        counts = [thread["node"]["message_count"] for thread in box.data()["threads"]]
        assert manifest["messages_expected"] == sum(counts) == manifest["messages"]
        assert manifest["conversations_incomplete_ids"] == []
    with box_of(60, message_count="wrong") as box:
        manifest = export_in_time(box, store_of(local(tmp_path / "wrong")), page_size=10)
        assert manifest["messages_expected"] == manifest["messages"] + 60
        named = manifest["conversations_incomplete_ids"]
        assert len(set(named)) == 20
        assert set(named) <= {thread["node"]["id"] for thread in box.data()["threads"]}


@pytest.mark.parametrize("how", [{"since": NOW - DAY}, {"until": NOW}, {"messages": False}])
def test_a_window_expects_no_number_of_messages(how: dict[str, Any], tmp_path: Path) -> None:
    """``message_count`` is of the whole thread."""
    with box_of(3) as box:
        manifest = export(box, store_of(local(tmp_path)), **{"until": NOW if "since" in how else None, **how})
    assert manifest["messages_expected"] is None


def test_a_thread_whose_messages_reach_what_is_older_than_the_window_is_not_asked(tmp_path: Path) -> None:
    """What else there is of it belongs to other windows; and it is not incomplete."""
    files = local(tmp_path)
    with box_of(0) as box:
        for number in range(12):
            thread = box.page.new_thread("inbox", at=NOW - timedelta(minutes=number + 1), messages=0)
            for hours in range(10):
                at = NOW - timedelta(minutes=number + 1) - (timedelta(hours=hours) if hours < 3 else hours * DAY)
                box.page.add_message(thread.id, at=at)
        box.rules.nested = "short"  # five of ten: three of the window, and two that are older
        manifest = export(box, store_of(files), since=NOW - DAY, until=NOW)
        assert own_calls(box) == []
    assert len(ids(files, "messages")) == 12 * 3
    assert manifest["conversations_incomplete"] == 0


def test_a_thread_outside_the_window_is_not_incomplete(tmp_path: Path) -> None:
    """All counts are of what is in the export."""
    with box_of(40, nested="short", span=40 * DAY) as box:
        box.rules.message_count = "wrong"
        manifest = export(box, store_of(local(tmp_path)), since=NOW - 5 * DAY, until=NOW)
        assert manifest["conversations"] == 5
    assert manifest["conversations_incomplete"] == 5


def test_a_thread_that_cannot_hold_messages_of_the_window_is_not_asked_for_what_did_not_come(tmp_path: Path) -> None:
    """It was updated before the window began."""
    files = local(tmp_path)
    with box_of(40, nested="absent", span=40 * DAY) as box:
        data = box.data()
        export(box, store_of(files), since=NOW - 5 * DAY, until=NOW)
        young = {
            thread["node"]["id"]
            for thread in data["threads"]
            if moment(thread["node"]["updated_time"]) >= NOW - 5 * DAY
        }
        assert set(own_calls(box)) == young
        assert ids(files, "messages") == sorted(owed(data, since=NOW - 5 * DAY, until=NOW).messages)


def test_the_count_is_asked_for_whatever_the_fields_are(tmp_path: Path) -> None:
    """And where the API refuses it, the export goes on without."""
    files = local(tmp_path)
    refused = {"UnifiedThread": ["message_count"]}
    with box_of(5, refused_fields=refused, messages=25, nested="short") as box:
        manifest = export(box, store_of(files), conversation_fields=("link",))
        assert ids(files, "messages") == sorted(owed(box.data()).messages)
    assert manifest["fields"]["conversations"] == ["id", "updated_time", "link"]


# Rows that nobody can use


@pytest.mark.parametrize("kind", ["null_row", "text_row", "row_without_id"])
@pytest.mark.parametrize("edge", ["conversations", "messages"])
def test_a_row_that_nobody_can_use_is_counted_and_ends_nothing(kind: str, edge: str, tmp_path: Path) -> None:
    """On both edges, on every page; the others of its page are there."""
    files = local(tmp_path)
    with box_of(25, messages=60) as box:
        fault = box.faults.add(Fault(kind, on=edge))
        manifest = export(box, store_of(files), page_size=10)
        assert_holds(files, owed(box.data()))
        assert len(box.requests) == least_calls(box.data(), "inbox", 10)
    assert manifest["warnings"] == [UNUSABLE.format("1 row" if fault.fired == 1 else f"{fault.fired} rows")]


def test_rows_of_a_list_inside_a_row_that_nobody_can_use_are_counted(tmp_path: Path) -> None:
    """As those of any other list."""
    good = {"id": "m_1", "created_time": "2026-11-20T10:00:00+0000", "from": {"id": "1"}}
    rows = [None, "t_1", 7, [], {"id": ""}, {"id": 5}, {"updated_time": "2026-11-20T10:00:00+0000"}]
    thread = {
        "id": "t_1",
        "updated_time": "2026-11-20T10:00:00+0000",
        "message_count": 1,
        "messages": {"data": [None, good, {"message": "?"}]},
    }
    files = local(tmp_path)
    manifest = export(None, store_of(files), client=ByFunction(lambda _: {"data": [*rows, thread]}))
    assert (ids(files, "conversations"), ids(files, "messages")) == (["t_1"], ["m_1"])
    assert manifest["warnings"] == [UNUSABLE.format(f"{len(rows) + 2} rows")]


@pytest.mark.parametrize("kind", ["null_row", "row_without_id"])
def test_pages_of_nothing_but_rows_that_nobody_can_use_end_nothing(kind: str, tmp_path: Path) -> None:
    """They neither make nor break a run of old rows, and what follows them is read."""
    files = local(tmp_path)
    with box_of(60, messages=2, span=60 * DAY) as box:
        box.faults.add(Fault(kind, on="conversations"))
        export(box, store_of(files), page_size=1, since=NOW - 3 * DAY, until=NOW)
        assert_holds(files, owed(box.data(), since=NOW - 3 * DAY, until=NOW))
        assert sum(call.edge == "conversations" for call in box.requests) < 3 * 40


# Times


@pytest.mark.parametrize("form", sorted(set(TIME_FORMS) - {"unreadable"}))
def test_a_window_is_cut_alike_in_whatever_form_the_api_writes_its_times(form: str, tmp_path: Path) -> None:
    """With any offset and fraction, in seconds or milliseconds since 1970; what is written stays as it came."""
    since, until = NOW - 3 * DAY, NOW - DAY
    files = local(tmp_path)
    with box_of(90, messages=30, long_every=4, span=30 * DAY) as box:
        owes = owed(box.data(), since=since, until=until)
        box.rules.time_form = form
        manifest = export(box, store_of(files), since=since, until=until, page_size=10)
        calls = len(box.requests)
        box.rules.time_form = "graph"
        box.forget()
        export(box, store_of(local(tmp_path / "graph")), since=since, until=until, page_size=10)
        assert calls == len(box.requests)
    assert ids(files, "conversations") == sorted(owes.conversations)
    assert ids(files, "messages") == sorted(owes.messages)
    assert manifest["warnings"] == []


def test_a_dump_holds_everything_whatever_the_times_are(tmp_path: Path) -> None:
    """Nothing is cut by time, so nothing is left out for want of one."""
    files = local(tmp_path)
    with box_of(90, messages=30, long_every=4, time_form="unreadable") as box:
        export(box, store_of(files), page_size=10)
        owes = owed(box.data())
    assert ids(files, "conversations") == sorted(owes.conversations)
    assert ids(files, "messages") == sorted(owes.messages)


@pytest.mark.parametrize("value", [None, "soon", 7, "2003-01-01T00:00:00+0000", "2026-11-23T10:00:00+0000", [], True])
def test_a_time_that_is_none_counts_as_none(value: Any, tmp_path: Path) -> None:
    """Also one before there was a Facebook, or more than a day ahead: the list is newest first all the same."""
    files = local(tmp_path)
    with box_of(90, messages=2, span=90 * DAY) as box:
        threads = list(box.page.threads())
        owes = owed(box.data(), since=NOW - 9 * DAY, until=NOW)
        for place in (0, 5, 30):
            box.page.show_updated(threads[place].id, value)
        manifest = export(box, store_of(files), since=NOW - 9 * DAY, until=NOW, page_size=10)
        assert sum(call.edge == "conversations" for call in box.requests) <= 5 + 2 * 5
    # Their messages are dated, and say whether they belong into the window.
    assert ids(files, "messages") == sorted(owes.messages)
    assert manifest["warnings"] == []


def test_rows_of_the_future_do_not_hold_up_the_readings_of_the_head(tmp_path: Path) -> None:
    """A row that says that it is from tomorrow is no goal, or nothing would ever be older than it."""
    with box_of(90, messages=2) as box:
        least = list_calls(box.data(), "inbox", 10)
        first = next(iter(box.page.threads()))
        box.page.show_updated(first.id, "2026-11-22T09:00:00+0000")
        manifest = export(box, store_of(local(tmp_path)), page_size=10)
        assert sum(call.edge == "conversations" for call in box.requests) == least
    assert manifest["warnings"] == []
