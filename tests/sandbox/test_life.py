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
