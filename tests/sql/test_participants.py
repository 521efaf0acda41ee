"""Who writes to a Page: each person once, with what was seen of them."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.times import moment
from tests.sql.by_hand import Database, data_set, look, record, rows
from tests.sql.story import EARLIER, FORMATS, LATER, Story

ANA, BOB, PAGE = {"id": "5", "name": "Ana"}, {"id": "6"}, {"id": "1", "name": "The Page"}


def at(clock: str, day: int = 20) -> datetime:
    """Return a time of the first day, or of another."""
    return datetime(2026, 11, day, *map(int, clock.split(":")), tzinfo=timezone.utc)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_person_is_told_of_by_messages_and_conversations(file_format: str, tmp_path: Path) -> None:
    """When they were first and last seen, how much they wrote, and the name that they have now, in whatever order it lies."""
    data_set(
        tmp_path,
        [
            record(1, id="m_1", **{"from": {**ANA, "name": "Anna"}}, **EARLIER),
            record(2, id="m_2", **{"from": ANA}, created_time="2026-11-20T12:00:00+0000", **LATER),
            record(3, id="m_3", **{"from": ANA}, created_time="2026-11-20T11:00:00+0000", _conversation_id="t_2"),
            record(4, id="m_4", **{"from": ANA}, created_time=None),
            record(5, id="m_5", **{"from": PAGE}, created_time="2026-11-20T13:00:00+0000"),
            record(6, id="m_6", **{"from": None}, _unavailable=True),
            record(7, id="m_7", **{"from": ANA}, _platform="instagram"),
        ],
        file_format=file_format,
    )
    updated = {"updated_time": "2026-11-20T14:00:00+0000"}
    data_set(
        tmp_path,
        [
            record(1, id="t_1", participants={"data": [ANA, PAGE, None, "odd", {"name": "No id"}]}, **updated),
            record(2, id="t_3", participants="odd", senders={"data": [BOB]}, former_participants={"data": [ANA]}, **updated),
        ],
        [record(3, id="t_1", participants={"data": [ANA, PAGE]}, updated_time="2026-11-21T09:00:00+0000")],
        stream="conversations", file_format=file_format,
    )  # fmt: skip
    with look(tmp_path) as database:
        found = rows(database, "FROM participants WHERE _platform = 'messenger' ORDER BY id")
        [elsewhere] = rows(database, "FROM participants WHERE _platform = 'instagram'")
    names = ("id", "name", "is_page", "conversations", "messages", "first_seen", "last_seen")
    assert [tuple(row[name] for name in names) for row in found] == [
        ("1", "The Page", True, 1, 1, at("13:00"), at("9:00", 21)),
        ("5", "Ana", False, 3, 4, at("10:00"), at("9:00", 21)),
        ("6", None, False, 1, 0, at("14:00"), at("14:00")),
    ]
    assert [(row["first_message"], row["last_message"]) for row in found] == [
        (at("13:00"), at("13:00")),
        (at("10:00"), at("12:00")),
        (None, None),
    ]
    assert (elsewhere["id"], elsewhere["messages"], elsewhere["is_page"]) == ("5", 1, False)


@pytest.mark.parametrize("last_first", [True, False])
def test_the_name_is_the_one_that_was_fetched_last(last_first: bool, tmp_path: Path) -> None:
    """From a conversation or from a message; one that names nobody says nothing."""
    new = record(1, id="m_1", **{"from": {"id": "5", "name": "New"}}, **LATER)
    old = record(2, id="m_2", **{"from": {"id": "5", "name": "Old"}}, **EARLIER)
    none = record(3, id="m_3", **{"from": {"id": "5"}}, _fetched_at="2026-11-23T10:00:00.000Z")
    told = [new, old, none] if last_first else [none, old, new]
    with look(data_set(tmp_path, *([one] for one in told))) as database:
        assert [row["name"] for row in rows(database, "FROM participants")] == ["New"]


def test_everybody_who_is_owed_is_there_once(story: Story, database: Database) -> None:
    """With as many messages as they wrote, and the account or Page told from people on both platforms."""
    wrote: Counter[tuple[str, str, str]] = Counter()
    times: dict[tuple[str, str, str], list[Any]] = {}
    for (platform, page, _), node in story.messages.items():
        if isinstance(node.get("from"), dict):
            key = platform, page, node["from"]["id"]
            wrote[key] += 1
            times.setdefault(key, []).append(moment(node["created_time"].replace("+0000", "Z")))
    named = {
        (platform, page, person["id"])
        for (platform, page, _), node in story.conversations.items()
        for edge in ("participants", "former_participants", "senders")
        for person in node.get(edge, {"data": []})["data"]
    }
    found = {(row["_platform"], row["_page_id"], row["id"]): row for row in rows(database, "FROM participants")}
    assert set(found) == set(wrote) | named
    assert {key: row["messages"] for key, row in found.items() if row["messages"]} == wrote
    assert {key: (row["first_message"], row["last_message"]) for key, row in found.items() if row["messages"]} == {
        key: (min(one), max(one)) for key, one in times.items()
    }
    assert {key for key, row in found.items() if row["is_page"]} == {
        (platform, page.id, page.id if platform == "messenger" else page.instagram_id)
        for page in story.box.pages.values()
        for platform in ("messenger", "instagram")
    }
