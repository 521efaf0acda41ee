"""Windows cut by time what the API cannot cut: each message is in one of them, once, whenever they are exported."""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.graph.protocol import Request
from airflow_provider_pageconv.sandbox import Fault, Life, Sandbox
from tests.dump.exporting import DAY, NOW, ByFunction, assert_holds, assert_tidy, export, ids, moment, owed, store_of
from tests.servers.destinations import Destination, local


def living(box: Sandbox, every: int, folder: str = "inbox") -> list[str]:
    """Let messages arrive in threads of a folder, and now and then a new thread, each in a second of its own.

    :return: the ids of the threads to which it happened, as they come.
    """
    chance, moments = random.Random(5), itertools.count(1)
    happened: list[str] = []

    def happen(page: Any) -> None:
        at = NOW + timedelta(seconds=next(moments))
        rows = page.rows("messenger", folder)
        if chance.random() < 0.2 or not len(rows):
            happened.append(page.new_thread(folder, at=at).id)
        else:
            thread = page.thread_at(rows.serial(chance.randrange(len(rows))))
            page.add_message(thread.id, at=at)
            happened.append(thread.id)

    box.life.add(Life("call", every=every, do=happen))
    return happened


FIRST = NOW.replace(hour=0) - 4 * DAY
DAYS = [(FIRST + number * DAY, FIRST + (number + 1) * DAY) for number in range(3)]


def _messages_between(data: dict[str, Any], since: datetime, until: datetime) -> list[str]:
    return sorted(
        message["id"]
        for thread in data["threads"]
        for message in thread["messages"]
        if since <= moment(message["created_time"]) < until
    )


@pytest.mark.parametrize("order", [(0, 1, 2, 1), (2, 0, 1, 2), (1, 2, 0, 0), (2, 1, 0, 1)], ids=str)
@pytest.mark.parametrize("cursor_style", ["anchored", "offset"])
def test_three_days_in_any_order_hold_each_message_once_while_the_page_lives(
    order: tuple[int, ...], cursor_style: str, tmp_path: Path
) -> None:
    """One of them is exported twice; before every second call something arrives, and threads jump to the top."""
    files = local(tmp_path)
    with Sandbox(
        conversations=120, messages=60, long_every=6, now=NOW, span=6 * DAY, details="all", cursor_style=cursor_style
    ) as box:
        due = {name for since, until in DAYS for name in _messages_between(box.data(), since, until)}
        happened = living(box, every=2)
        for number, day in enumerate(order):
            since, until = DAYS[day]
            for folder in ("inbox", "other", "page_done", "spam"):
                export(box, store_of(files), folder, run=f"run-{number}", since=since, until=until, page_size=5)
        assert len(happened) > 20
    assert ids(files, "messages") == sorted(due)
    assert_tidy(files)


def test_three_days_on_s3_hold_each_message_once(destination_files: Destination) -> None:
    """Each window is a manifest of its own, named after its beginning and end."""
    with Sandbox(conversations=0, folders={"inbox": 60}, now=NOW, span=6 * DAY, details="all") as box:
        for number, (since, until) in enumerate(DAYS):
            export(box, store_of(destination_files), run=f"run-{number}", since=since, until=until, page_size=20)
        due = _messages_between(box.data(), DAYS[0][0], DAYS[-1][1])
    assert ids(destination_files, "messages") == due
    assert [name.rpartition("/")[2] for name in destination_files.manifests()] == [
        "window=20261117T000000Z--20261118T000000Z.json",
        "window=20261118T000000Z--20261119T000000Z.json",
        "window=20261119T000000Z--20261120T000000Z.json",
    ]


def test_the_backfill_ends_where_the_daily_windows_begin(tmp_path: Path) -> None:
    """``until`` alone: with the days behind it, every message is there once."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 60}, now=NOW, span=12 * DAY, details="all") as box:
        for number, (since, until) in enumerate(DAYS):
            export(box, store_of(files), run=f"run-{number}", since=since, until=until, page_size=20)
        manifest = export(box, store_of(files), run="backfill", until=DAYS[0][0], page_size=20)
        due = _messages_between(box.data(), NOW - 400 * DAY, DAYS[-1][1])
    assert ids(files, "messages") == due
    assert (manifest["since"], manifest["until"]) == (None, "2026-11-17T00:00:00Z")
    assert any("window=begin--20261117T000000Z" in name for name in files.manifests())


def test_a_window_s_bounds_are_exact_to_the_second(tmp_path: Path) -> None:
    """What was sent at ``since`` is in, what was sent at ``until`` is not; and so it is with conversations."""
    files = local(tmp_path)
    since, until = DAYS[1]
    with Sandbox(conversations=0, now=NOW) as box:
        names = {}
        for offset in (-1, 0, 1):
            for bound in (since, until):
                at = bound + timedelta(seconds=offset)
                names[at] = box.page.new_thread("inbox", at=at, messages=1).id
        export(box, store_of(files), since=since, until=until)
    inside = sorted(name for at, name in names.items() if since <= at < until)
    assert ids(files, "conversations") == inside
    assert sorted(record["_conversation_id"] for record in files.records("messages")) == inside
    assert len(inside) == 3


def test_a_conversation_is_in_when_one_of_its_messages_is(tmp_path: Path) -> None:
    """Though it was updated later; with ``messages=False`` its ``updated_time`` alone decides."""
    since, until = DAYS[1]
    with Sandbox(conversations=0, now=NOW) as box:
        thread = box.page.new_thread("inbox", at=since + timedelta(hours=1), messages=1)
        box.page.add_message(thread.id, at=NOW - timedelta(hours=1))
        quiet = box.page.new_thread("inbox", at=since + timedelta(hours=2), messages=0)
        both, alone = local(tmp_path / "both"), local(tmp_path / "alone")
        export(box, store_of(both), since=since, until=until)
        export(box, store_of(alone), since=since, until=until, messages=False)
    assert ids(both, "conversations") == sorted([thread.id, quiet.id])
    assert len(ids(both, "messages")) == 1
    assert ids(alone, "conversations") == [quiet.id]
    (record,) = (record for record in both.records("conversations") if record["id"] == thread.id)
    assert record["updated_time"] == "2026-11-21T09:00:00+0000"


def test_everything_ends_when_the_walk_begins(tmp_path: Path) -> None:
    """What arrives during the walk is left to the next dump, but the threads it arrives in are not."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 60}, now=NOW, details="all") as box:
        before = owed(box.data())
        happened = living(box, every=1)
        manifest = export(box, store_of(files), page_size=10)
        assert happened
    assert ids(files, "conversations") == sorted(before.conversations)
    assert ids(files, "messages") == sorted(before.messages)
    assert (manifest["since"], manifest["until"]) == (None, "2026-11-21T10:00:00Z")


def test_a_day_of_two_hundred_changes_costs_little_on_a_page_with_a_hundred_thousand_threads(tmp_path: Path) -> None:
    """About 200 ÷ page size + 2 calls, however many threads are older."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 100_000}, now=NOW, span=100_000 * DAY, messages=2) as box:
        threads = list(itertools.islice(box.page.threads(), 5000))
        box.page.delete_thread(threads[0].id)  # the one that was drawn into the last day
        for number, thread in enumerate(random.Random(3).sample(threads[100:], 200)):
            box.page.add_message(thread.id, at=NOW - timedelta(seconds=400 * (number + 1)))
        box.forget()
        manifest = export(box, store_of(files), since=NOW - DAY, until=NOW)
        assert len(box.requests) <= 200 / 100 + 2
    assert manifest["conversations"] == 200
    assert manifest["messages"] >= 200
    assert manifest["warnings"] == []


@pytest.mark.parametrize("page_size, walked", [(1, 30 + 25), (7, 8 * 7), (10, 6 * 10), (40, 2 * 40), (100, 2 * 100)])
def test_a_walk_stops_after_25_rows_that_are_an_hour_older_however_small_the_pages_are(
    page_size: int, walked: int, tmp_path: Path
) -> None:
    """Clocks of a great service need not agree to the second; and a page of one row says nothing of the next."""
    files = local(tmp_path)
    since = NOW - DAY
    with Sandbox(conversations=0, now=NOW) as box:
        for number in range(10):  # in the window, then within the margin, then beyond
            box.page.new_thread("inbox", at=since + timedelta(minutes=5 + number))
        for number in range(20):
            box.page.new_thread("inbox", at=since - timedelta(minutes=number + 1))
        for number in range(100):
            box.page.new_thread("inbox", at=since - timedelta(minutes=61 + number))
        export(box, store_of(files), since=since, until=NOW, page_size=page_size)
        calls = [call for call in box.requests if call.edge == "conversations"]
    heads = [number for number, call in enumerate(calls) if "after" not in call.params]
    assert heads[1] * page_size == walked
    assert len(ids(files, "conversations")) == 10


def test_a_row_of_the_window_among_old_ones_makes_the_walk_begin_its_run_again(tmp_path: Path) -> None:
    """24 old rows are no run: what stands behind them, up to ten pinned too high, is still found."""
    files = local(tmp_path)
    with Sandbox(conversations=0, now=NOW) as box:
        for number in range(50):
            box.page.new_thread("inbox", at=NOW - DAY - timedelta(hours=2 + number))
        due = [box.page.new_thread("inbox", at=NOW - timedelta(hours=number + 1)) for number in range(3)]
        for old in list(box.page.threads())[3:13]:
            box.page.pin(old.id, 0)
        manifest = export(box, store_of(files), since=NOW - DAY, until=NOW, page_size=5)
        assert sum(call.edge == "conversations" for call in box.requests) < 30
    assert ids(files, "conversations") == sorted(thread.id for thread in due)
    assert manifest["warnings"] == []


@pytest.mark.parametrize("order", ["oldest", "shuffled"])
def test_a_list_that_is_not_newest_first_is_read_to_its_end_and_the_manifest_says_so(
    order: str, tmp_path: Path
) -> None:
    """Nothing of the window is missed, at whatever cost."""
    files = local(tmp_path)
    since, until = DAYS[1]
    with Sandbox(conversations=0, folders={"inbox": 90}, now=NOW, span=30 * DAY, order=order, details="all") as box:
        manifest = export(box, store_of(files), since=since, until=until, page_size=10)
        assert_holds(files, owed(box.data(), since=since, until=until))
        assert sum(call.edge == "conversations" for call in box.requests) >= 9
    assert manifest["warnings"] == [
        "The list of conversations was not newest first: it was read to its end, and again."
    ]


@pytest.mark.parametrize("size", [11, 12])
def test_eleven_rows_that_stand_too_high_are_enough_to_read_to_the_end_and_ten_are_not(
    size: int, tmp_path: Path
) -> None:
    """The API is believed to give the newest first, and it is seen whether it does: here one page comes oldest first."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 120}, now=NOW, span=30 * DAY, messages=2) as box:
        box.faults.add(Fault("disorder", on="conversations", at=1))
        manifest = export(box, store_of(files), since=NOW - DAY, until=NOW, page_size=size)
        calls = sum(call.edge == "conversations" for call in box.requests)
    if size == 11:  # the page, 25 rows that are older, and twice the head
        assert calls == 1 + 3 + 2 * 3
        assert manifest["warnings"] == []
    else:  # ten pages, and ten again
        assert calls == 2 * 10
        assert manifest["warnings"] == [
            "The list of conversations was not newest first: it was read to its end, and again."
        ]


def test_threads_that_jump_during_the_walk_do_not_make_the_list_look_unordered(tmp_path: Path) -> None:
    """What was updated after the walk began is left aside."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 60}, now=NOW, details="all") as box:
        living(box, every=1)
        manifest = export(box, store_of(files), page_size=10)
    assert manifest["warnings"] == []


def test_messages_of_a_thread_that_are_not_newest_first_are_read_to_its_end(tmp_path: Path) -> None:
    """And the manifest counts such threads."""
    files = local(tmp_path)
    since, until = NOW - DAY, NOW
    with Sandbox(conversations=0, now=NOW, details="all") as box:
        thread = box.page.new_thread("inbox", at=NOW - timedelta(minutes=1), messages=0)
        for number in range(125):
            box.page.add_message(thread.id, at=NOW - timedelta(minutes=20 * number + 1))
        box.faults.add(Fault("disorder", on="messages", at=1))
        manifest = export(box, store_of(files), since=since, until=until, page_size=20)
        due = _messages_between(box.data(), since, until)
        # 25 came with the list; the fourth page is older as a whole, and still the fifth is read.
        assert sum(call.edge == "messages" for call in box.requests) == 5
    assert ids(files, "messages") == due
    assert manifest["warnings"] == [
        "The messages of 1 conversation were not newest first: they were read to their end."
    ]


def test_a_long_thread_is_read_no_further_than_its_window_needs(tmp_path: Path) -> None:
    """It stops after ten messages that are older than the window, and a page of them."""
    files = local(tmp_path)
    with Sandbox(conversations=0, now=NOW, details="all") as box:
        thread = box.page.new_thread("inbox", at=NOW - timedelta(minutes=1), messages=0)
        for hours in range(400):
            box.page.add_message(thread.id, at=NOW - timedelta(hours=hours, minutes=1))
        export(box, store_of(files), since=NOW - 2 * DAY, until=NOW, page_size=10)
        # 25 nested, then 48 hours and one of margin: 10 × 3 more, and one page that is older as a whole.
        assert sum(call.edge == "messages" for call in box.requests) == 4
        assert ids(files, "messages") == _messages_between(box.data(), NOW - 2 * DAY, NOW)


def test_a_thread_that_jumps_between_two_pages_is_caught_by_reading_the_head_again(tmp_path: Path) -> None:
    """It stood on a page that was still to come, and stands at the top when that page is read."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 60}, now=NOW, details="all") as box:
        before = owed(box.data())
        threads = [thread.id for thread in box.page.threads()]
        for at, place in ((2, 55), (3, 44), (4, 59)):
            box.life.add(Life("message", at=at, thread=threads[place], time=NOW + timedelta(seconds=at)))
        export(box, store_of(files), page_size=10)
        heads = [call for call in box.requests if call.edge == "conversations" and "after" not in call.params]
    assert ids(files, "conversations") == sorted(before.conversations)
    assert ids(files, "messages") == sorted(before.messages)
    # The walk, a reading that brings them, and two that bring nothing.
    assert len(heads) == 4


def test_the_head_is_read_until_one_reading_fits_a_page(tmp_path: Path) -> None:
    """As long as more jumps than one page holds, and each time only down to what the reading before saw."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 60}, now=None, messages=2, details="all") as box:
        before = owed(box.data())
        threads = [thread.id for thread in box.page.threads()]
        moments = itertools.count(1)

        def jump(places: range) -> Any:
            def happen(page: Any) -> None:
                for place in places:
                    page.add_message(threads[place], at=box.clock() + timedelta(seconds=next(moments)))

            return happen

        box.life.add(Life("call", at=4, do=jump(range(35, 60))))  # 25 threads that were still to come
        box.life.add(Life("call", at=7, do=jump(range(12))))  # while the head is read: more than a page again
        export(box, store_of(files), page_size=10)
        heads = sum(call.edge == "conversations" and "after" not in call.params for call in box.requests)
    assert ids(files, "conversations") == sorted(before.conversations)
    assert set(ids(files, "messages")) == set(before.messages)
    assert heads >= 3


def test_a_folder_that_fits_one_page_needs_no_second_reading(tmp_path: Path) -> None:
    """One call."""
    with Sandbox(conversations=0, folders={"inbox": 10}, messages=2, now=NOW) as box:
        export(box, store_of(local(tmp_path)), page_size=10)
        assert len(box.requests) == 1


@pytest.mark.parametrize("details", ["bare", "dated"])
def test_messages_without_a_time_are_exported_without_a_beginning_and_counted_with_one(
    details: str, tmp_path: Path
) -> None:
    """One counts as sent no later than the dated one before it; where that settles nothing, nobody can tell."""
    since = NOW - 5 * DAY
    with Sandbox(
        conversations=0, folders={"inbox": 5}, messages=40, long_every=1, now=NOW, span=4 * DAY, details=details
    ) as box:
        old = box.page.new_thread("inbox", at=NOW - timedelta(minutes=1), messages=40)
        for message in box.page.thread(old.id).messages[10:]:
            message.created -= int((20 * DAY).total_seconds())
        with_beginning, without, backfill = (local(tmp_path / name) for name in ("with", "without", "until"))
        counted = export(box, store_of(with_beginning), since=since, until=NOW, page_size=10)
        whole = export(box, store_of(without), page_size=10)
        until = export(box, store_of(backfill), until=NOW - DAY, page_size=10)
        data = box.data()
        assert_holds(without, owed(data))
        assert_holds(with_beginning, owed(data, since=since, until=NOW))
        assert_holds(backfill, owed(data, until=NOW - DAY))
    undated = 0 if details == "dated" else 5 * 20
    # In the old thread the dated messages before are older than the window, which settles it.
    assert counted["messages_undated"] + counted["messages"] <= 5 * 40 + 10
    assert counted["messages_undated"] == (
        0 if details == "dated" else 5 * 20 - _beyond_the_first_page(counted, undated)
    )
    assert (whole["messages"], whole["messages_undated"]) == (6 * 40, 0)
    assert until["messages_undated"] == 0


def _beyond_the_first_page(manifest: Any, undated: int) -> int:
    """A thread is read no further than a whole page of messages without a time: 25 came with the list, then ten."""
    return undated - 5 * (5 + 10) if undated else 0


class ListOf:
    """An API that gives one folder of threads on one page."""

    def __init__(self, threads: list[dict[str, Any]]) -> None:
        self.threads = threads
        self.calls = 0

    def __call__(self, request: Request) -> dict[str, Any]:
        self.calls += 1
        return {"data": self.threads if request.path.endswith("/conversations") else []}


def test_a_conversation_without_a_time_is_exported_without_a_beginning_and_counted_with_one(tmp_path: Path) -> None:
    """The manifest's warning says how many were left out."""
    threads = [
        {"id": "t_1"},
        {"id": "t_2", "updated_time": "2026-11-21T09:00:00+0000"},
        {"id": "t_3", "updated_time": 7},
    ]
    files, window = local(tmp_path / "all"), local(tmp_path / "window")
    export(None, store_of(files), client=ByFunction(ListOf(threads)))
    assert ids(files, "conversations") == ["t_1", "t_2", "t_3"]
    manifest = export(
        None, store_of(window), client=ByFunction(ListOf(threads)), since=NOW - DAY, until=NOW, messages=False
    )
    assert ids(window, "conversations") == ["t_2"]
    assert manifest["warnings"] == ["2 conversations came without updated_time: left out."]


def test_threads_that_share_a_second_with_the_mark_are_not_missed(tmp_path: Path) -> None:
    """Ties at the newest time of the first page do not end the reading of the head too early."""
    files = local(tmp_path)
    with Sandbox(conversations=0, folders={"inbox": 60}, now=NOW, messages=2, details="all") as box:
        before = owed(box.data())
        threads = [thread.id for thread in box.page.threads()]
        mark = next(iter(box.page.threads())).updated
        for at, place in (
            (4, 58),
            (5, 50),
            (6, 40),
            (7, 57),
            (7, 56),
        ):  # five in the second of the mark, on pages of four
            box.life.add(Life("message", at=at, thread=threads[place], time=mark))
        export(box, store_of(files), page_size=4)
    assert ids(files, "conversations") == sorted(before.conversations)
    assert set(ids(files, "messages")) >= set(before.messages)
