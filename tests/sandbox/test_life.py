"""The Page lives while it is read: by Python, by schedule, over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from airflow_provider_pageconv.sandbox import FOLDERS, Clock, Life, Sandbox
from tests.sandbox.conftest import NOW, Client

Start = Callable[..., Client]


def ids(rows: list[dict[str, Any]]) -> list[str]:
    """Return the ids of rows, in order."""
    return [row["id"] for row in rows]


def test_message_makes_its_thread_jump(sandbox: Start) -> None:
    """A thread that gets a message is first in its list, with the message first in it and counted."""
    client = sandbox()
    page = client.box.page
    last = client.walk(fields="message_count")[-1]
    message = page.add_message(last["id"], text="¿Hola?")
    top = client.conversations(limit=1, fields="updated_time,message_count").json()["data"][0]
    assert top == {
        "id": last["id"],
        "updated_time": "2026-11-21T10:00:00+0000",
        "message_count": last["message_count"] + 1,
    }
    first = client.walk(f"/{last['id']}/messages", fields="message,created_time")[0]
    assert first == {"id": message.id, "message": "¿Hola?", "created_time": "2026-11-21T10:00:00+0000"}
    assert client.get(f"/{message.id}", fields="message").json()["message"] == "¿Hola?"


def test_late_message_takes_its_place(sandbox: Start) -> None:
    """A message from before is sorted in by its time, and nothing jumps."""
    client = sandbox(folders={"inbox": 5}, messages=6, long_every=1)
    before = client.box.data()["threads"]
    thread = before[2]
    at = thread["messages"][3]["created_time"]
    message = client.box.page.add_message(thread["node"]["id"], at=at)
    after = client.box.data()["threads"]
    assert ids([t["node"] for t in after]) == ids([t["node"] for t in before])
    expected = ids(thread["messages"])
    expected.insert(3, message.id)
    assert ids(after[2]["messages"]) == expected
    assert ids(client.walk(f"/{thread['node']['id']}/messages", limit=2)) == expected


def test_message_that_arrives_late(sandbox: Start) -> None:
    """A message that was sent some time ago takes its thread to where that time puts it, below what is newer."""
    client = sandbox(folders={"inbox": 6})
    page, before = client.box.page, client.walk()
    for row in before[:3]:
        page.add_message(row["id"])
    did = client.box.life.happen(Life("message", thread=before[5]["id"], lag=200))
    client.control("POST", "life", {"event": "new", "lag": 100})
    rows = client.walk(fields="updated_time")
    assert [row["updated_time"] for row in rows[:5]] == [
        *["2026-11-21T10:00:00+0000"] * 3, "2026-11-21T09:58:20+0000", "2026-11-21T09:56:40+0000",
    ]  # fmt: skip
    assert rows[4]["id"] == did["thread"] == before[5]["id"]
    assert client.walk(f"/{did['thread']}/messages")[0]["id"] == did["message"]


def test_late_message_behind_a_newer_one(sandbox: Start) -> None:
    """It moves no thread that has a newer message."""
    client = sandbox(folders={"inbox": 6})
    row = client.walk()[4]
    client.box.page.add_message(row["id"])
    client.box.life.happen(Life("message", thread=row["id"], lag=200))
    assert client.walk()[0] == {**row, "updated_time": "2026-11-21T10:00:00+0000"}
    times = [message["created_time"] for message in client.walk(f"/{row['id']}/messages")]
    assert times[:2] == ["2026-11-21T10:00:00+0000", "2026-11-21T09:56:40+0000"]


@pytest.mark.parametrize("wrong", [{"lag": 1, "time": "2026-11-21T10:00:00Z"}, {"lag": -1}])
def test_wrong_lag(wrong: dict[str, Any]) -> None:
    """A lag from now on, or beside a time, is refused."""
    with pytest.raises(ValueError, match="lag of an event"):
        Life("message", **wrong)


@pytest.mark.parametrize("style", ["anchored", "offset"])
@pytest.mark.parametrize("limit", [1, 2, 7, 40])
@pytest.mark.parametrize(
    "places", [(0,), (0, 0, 0), (3, 0, 3, 17), tuple(range(30)), (39,), (99, 99), (1,), (38, 39)], ids=str
)
def test_pinned_threads_stand_where_they_are_pinned(
    sandbox: Start, style: str, limit: int, places: tuple[int, ...]
) -> None:
    """Each page size brings each row once, in both directions, and pinned ones at their places."""
    client = sandbox(folders={"inbox": 40}, cursor_style=style)
    page, before = client.box.page, ids(client.walk(limit=40))
    pinned = before[::-1][: len(places)]
    for ident, place in zip(pinned, places, strict=True):
        page.pin(ident, place=place)
    rows = ids(client.walk(limit=limit))
    assert sorted(rows) == sorted(before)
    assert [ident for ident in rows if ident not in pinned] == [ident for ident in before if ident not in pinned]
    if len(set(places)) == len(places) and max(places) < 40:
        assert [rows[place] for place in places] == pinned
    if set(places) == {0}:
        assert rows[: len(places)] == pinned
    if min(places) >= 40:
        assert rows[-len(places) :] == pinned
    assert rows == [thread["node"]["id"] for thread in client.box.data()["threads"]]
    last = client.conversations(limit=5, after=client.conversations(limit=35).json()["paging"]["cursors"]["after"])
    assert ids(client.session.get(last.json()["paging"]["previous"]).json()["data"]) == rows[30:35]
    for ident in pinned:
        page.unpin(ident)
    assert ids(client.walk(limit=40)) == before


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_what_jumps_lands_below_pinned_threads(sandbox: Start, limit: int) -> None:
    """A walk of a Page with pinned threads misses no row when others jump to the top of it meanwhile."""
    client = sandbox(folders={"inbox": 20})
    page, before = client.box.page, ids(client.walk())
    for place, ident in enumerate(before[:-4:-1]):
        page.pin(ident, place)
    pinned = before[:-4:-1]
    client.box.life.add(Life("call", every=1, do=lambda page: page.new_thread()))
    assert set(ids(client.walk(limit=limit))) >= set(before)
    client.box.life.clear()
    page.add_message(before[9])
    page.add_message(pinned[1])
    rows = ids(client.walk())
    assert rows[:4] == [*pinned, before[9]]


def test_pinned_threads_move_and_go(sandbox: Start) -> None:
    """A pinned thread that is moved stands at its place in the other list; one that is deleted is pinned no more."""
    client = sandbox()
    page, rows = client.box.page, ids(client.walk())
    for ident in rows[5:7]:
        client.control("POST", "page", {"pin": ident, "place": 2})
    page.move(rows[5], "spam")
    page.delete_thread(rows[6])
    assert ids(client.walk(folder="spam"))[2] == rows[5]
    assert ids(client.walk()) == rows[:5] + rows[7:]
    client.control("POST", "page", {"unpin": rows[5]})
    page.move(rows[5], "inbox")
    assert ids(client.walk()) == rows[:6] + rows[7:]
    with pytest.raises(KeyError):
        page.unpin(rows[5])
    with pytest.raises(ValueError, match="a place counts from 0"):
        page.pin(rows[5], -1)


def test_list_that_is_mostly_in_order(sandbox: Start) -> None:
    """Here and there a row stands up to 30 places off, until its thread gets a message; each comes once."""
    client = sandbox(folders={"inbox": 400, "spam": 10}, order="mostly")
    for folder in ("inbox", "spam"):
        rows = client.walk(folder=folder, limit=33, fields="updated_time")
        right = ids(sorted(rows, key=lambda row: row["updated_time"], reverse=True))
        assert len(set(right)) == len(right) == (400 if folder == "inbox" else 10)
        off = [abs(right.index(row["id"]) - place) for place, row in enumerate(rows)]
        assert 0 < max(off) <= 31
        assert sum(distance > 1 for distance in off) <= len(rows) // 40 + 1
        worst = rows[off.index(max(off))]["id"]
        client.box.page.add_message(worst)
        assert client.walk(folder=folder)[0]["id"] == worst


def test_new_thread(sandbox: Start) -> None:
    """A new thread stands in its list by its time, is found by its person, and on Instagram too."""
    client = sandbox(instagram=2)
    page = client.box.page
    person = client.conversations(fields="participants").json()["data"][3]["participants"]["data"][0]["id"]
    opened = page.new_thread("spam", messages=3, user_id=person)
    assert client.walk(folder="spam")[0]["id"] == opened.id
    assert ids(client.walk(folder="spam", user_id=person)) == [opened.id]
    assert len(client.walk(f"/{opened.id}/messages")) == 3
    story = page.new_thread(platform="instagram", at=NOW - timedelta(days=300), text="antes")
    assert client.walk(platform="instagram")[-1]["id"] == story.id
    assert client.walk(f"/{story.id}/messages", fields="message")[0]["message"] == "antes"
    with pytest.raises(ValueError, match="there is no folder 'x'"):
        page.new_thread("x")


def test_move(sandbox: Start) -> None:
    """A thread that is moved leaves one list for its place in the other, with its time unchanged."""
    client = sandbox()
    row = client.conversations().json()["data"][5]
    client.box.page.move(row["id"], "page_done")
    assert row["id"] not in ids(client.walk())
    done = client.walk(folder="page_done")
    assert row in done
    assert [r["updated_time"] for r in done] == sorted((r["updated_time"] for r in done), reverse=True)
    client.box.page.add_message(row["id"])
    assert client.walk(folder="page_done")[0]["id"] == row["id"]


@pytest.mark.parametrize("leaves", ["nothing", "bare"])
def test_unsend(sandbox: Start, leaves: str) -> None:
    """A message taken back is gone, or an id that is all that is left; by its id it answers 9000001 either way."""
    client = sandbox(folders={"inbox": 1}, messages=22, long_every=1)
    thread = client.box.data()["threads"][0]
    gone = thread["messages"][4]["id"]
    client.box.page.unsend(gone, leaves=leaves)
    rows = client.walk(f"/{thread['node']['id']}/messages", fields="from")
    assert ids(rows) == [i for i in ids(thread["messages"]) if i != gone or leaves == "bare"]
    assert [n for n, row in enumerate(rows) if "from" not in row] == ([20] if leaves == "nothing" else [4, 20, 21])
    assert client.error(client.get(f"/{gone}"))["code"] == 9000001
    assert client.box.data()["threads"][0]["visible"][4] == ({"id": gone} if leaves == "bare" else thread["visible"][5])


def test_delete_thread(sandbox: Start) -> None:
    """A thread that was deleted is in no list and answers 100/33, its messages 9000001."""
    client = sandbox()
    thread = client.box.data()["threads"][0]
    client.box.page.delete_thread(thread["node"]["id"])
    assert thread["node"]["id"] not in ids(client.walk())
    assert client.error(client.get(f"/{thread['node']['id']}/messages"))["error_subcode"] == 33
    assert client.error(client.get(f"/{thread['messages'][0]['id']}"))["code"] == 9000001
    assert thread["node"]["id"] not in [t["node"]["id"] for t in client.box.data()["threads"]]


def test_anchored_cursor_holds_and_offset_slips(sandbox: Start) -> None:
    """While the head grows, an anchored walk goes on where it was; one that counts rows repeats some."""
    for style, repeated in (("anchored", 0), ("offset", 1)):
        client = sandbox(folders={"inbox": 12}, cursor_style=style)
        first = client.conversations(limit=5).json()
        client.box.page.new_thread()
        rest = client.walk(limit=5, after=first["paging"]["cursors"]["after"])
        assert len(set(ids(first["data"])) & set(ids(rest))) == repeated
        assert len(set(ids(first["data"]) + ids(rest))) == 12


def test_anchor_that_jumped_away(sandbox: Start) -> None:
    """The cursor still shows the place when the row that it held on to is gone from there."""
    client = sandbox(folders={"inbox": 12})
    first = client.conversations(limit=5).json()
    client.box.page.add_message(first["data"][4]["id"])
    rest = client.walk(limit=5, after=first["paging"]["cursors"]["after"])
    assert len(rest) == 7
    assert not set(ids(first["data"])) & set(ids(rest))


def test_scheduled_events(sandbox: Start) -> None:
    """Events happen just before the call that they were ordered for."""
    client = sandbox(life=[Life("new", at=2, folder="spam"), Life("delete", every=3, folder="inbox", times=1)])
    counts = [(len(client.walk(folder="spam", limit=100)), len(client.walk(limit=100))) for _ in range(2)]
    assert counts == [(3, 42), (4, 41)]
    assert [event["event"] for event in client.box.life.happened] == ["new", "delete"]


def test_python_event(sandbox: Start) -> None:
    """An event may be whatever Python does to the Page."""
    client = sandbox(folders={"inbox": 3})
    client.box.life.add(Life("call", at=2, do=lambda page: page.new_thread("inbox", messages=2)))
    assert [len(client.conversations().json()["data"]) for _ in range(3)] == [3, 4, 4]


def test_random_life_is_of_the_seed() -> None:
    """The same seed lives the same life, and every usual event is in it."""
    lives = []
    for _ in range(2):
        with Sandbox(conversations=60, now=NOW, life=[Life(p=0.8)]) as box:
            client = Client(box)
            for _ in range(80):
                client.conversations(limit=1)
            lives.append((box.life.happened, box.data()))
    assert lives[0] == lives[1]
    assert {event["event"] for event in lives[0][0]} == {"message", "new", "move", "unsend"}


def test_walk_of_a_living_page(sandbox: Start) -> None:
    """Lists stay sorted and complete through hundreds of events."""
    client = sandbox(instagram=10)
    box = client.box
    box.clock = Clock(NOW + timedelta(hours=1), ticking=True)
    for number in range(300):
        for platform in ("messenger", "instagram"):
            event = ("message", "new", "move", "unsend", "delete")[number % 5]
            box.life.happen(Life(event, platform=platform))
    threads = box.data()["threads"]
    for folder in FOLDERS:
        rows = client.walk(folder=folder, limit=10)
        assert ids(rows) == [t["node"]["id"] for t in threads if t["folder"] == folder]
        times = [row["updated_time"] for row in rows]
        assert times == sorted(times, reverse=True)
    for thread in threads[:20]:
        found = client.walk(f"/{thread['node']['id']}/messages", limit=7)
        assert ids(found) == ids(thread["messages"])


def test_life_over_http(sandbox: Start) -> None:
    """Events are ordered at /_sandbox/life: at once, or for later; wrong ones are refused in a sentence."""
    client = sandbox()
    row = client.conversations().json()["data"][7]
    did = client.control("POST", "life", {"event": "message", "thread": row["id"], "text": "ya"}).json()["did"]
    assert did[0]["thread"] == row["id"] == client.conversations().json()["data"][0]["id"]
    client.control("POST", "life", {"event": "move", "thread": row["id"], "folder": "other", "at": 1})
    assert row["id"] not in ids(client.walk())
    listed = client.control("GET", "life").json()
    assert [event["event"] for event in listed["happened"]] == ["message", "move"]
    assert client.control("DELETE", "life").json()["orders"] == []
    for wrong in ({"event": "x"}, {"colour": 1}, {"event": "new", "folder": "x"}, {"event": "call"}):
        assert client.control("POST", "life", wrong).status_code == 400


def test_clock(sandbox: Start) -> None:
    """The Page's time stands still where `now` was given, and is set from Python and over HTTP."""
    client = sandbox()
    assert client.box.clock() == NOW
    answer = client.control("POST", "clock", {"now": "2026-12-24T18:00:00Z", "ticking": False}).json()
    assert answer == {"now": "2026-12-24T18:00:00+00:00", "ticking": False}
    client.control("POST", "clock", {"advance": 90})
    opened = client.box.page.new_thread()
    assert opened.updated_time == "2026-12-24T18:01:30+0000"
    client.box.clock = lambda: NOW + timedelta(days=100)
    assert client.box.page.new_thread().updated_time == "2027-03-01T10:00:00+0000"
    assert client.control("POST", "clock", {"now": "noon"}).status_code == 400
