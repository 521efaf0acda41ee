"""Each attachment is a row: what it is, where it lies, and until when."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.sql.by_hand import Database, data_set, look, record, rows
from tests.sql.story import FORMATS, Story

ENDS = datetime(2026, 3, 6, 2, 43, 59, tzinfo=timezone.utc)
CDN = "https://scontent-mad1-1.xx.fbcdn.net/v/t1.15752-9/1_n.jpg?_nc_cat=1&oh=03_Q7&oe=69AA3F6F&dl=1"

KINDS: list[tuple[dict[str, Any], tuple[Any, ...]]] = [
    # what the API gave: kind, name, mime type, size, link
    (
        {"id": "1", "name": "a.jpg", "mime_type": "image/jpeg", "size": 7, "image_data": {"url": CDN, "width": 640}},
        ("image", "a.jpg", "image/jpeg", 7, CDN),
    ),
    (
        {"id": "2", "image_data": {"animated_gif_url": "https://x/a.gif", "preview_url": "https://x/p"}},
        ("image", None, None, None, "https://x/a.gif"),
    ),
    ({"id": "3", "video_data": {"url": "https://x/v"}}, ("video", None, None, None, "https://x/v")),
    (
        {"id": "4", "mime_type": "audio/mpeg", "file_url": "https://x/s", "size": 2**40},
        ("audio", None, "audio/mpeg", 2**40, "https://x/s"),
    ),
    (
        {"id": "5", "mime_type": "application/pdf", "name": "ñ.pdf", "file_url": "https://x/f"},
        ("file", "ñ.pdf", "application/pdf", None, "https://x/f"),
    ),
    ({"id": "6", "file_url": "https://x/f"}, ("file", None, None, None, "https://x/f")),
    (
        {"id": "7", "generic_template": {"title": "Order", "media_url": "https://x/t", "cta": {"title": "See"}}},
        ("template", "Order", None, None, "https://x/t"),
    ),
    ({"id": "8", "type": "sticker", "url": "https://x/st"}, ("sticker", None, None, None, "https://x/st")),
    (
        {"id": "9", "type": "appointment_booking", "title": "At ten", "url": ""},
        ("appointment_booking", "At ten", None, None, None),
    ),
    ({"id": "10"}, (None, None, None, None, None)),
    ({}, (None, None, None, None, None)),
    # in shapes that nobody foresaw
    ({"id": "11", "size": "big", "image_data": "none", "mime_type": []}, ("file", None, "[]", None, None)),
]


@pytest.mark.parametrize("file_format", FORMATS)
def test_each_attachment_is_a_row_that_says_what_it_is(file_format: str, tmp_path: Path) -> None:
    """In the order in which the message has them; whatever is no object is none."""
    given = [one for one, _ in KINDS]
    told = [
        record(0, attachments={"data": [*given[:3], "odd", None, *given[3:]]}),
        record(1, id="m_2", attachments={"data": given[:1]}, _carried=True),
        *(record(2, id=f"m_3{n}", attachments=odd) for n, odd in enumerate((None, [], {}, {"data": None}, "x"))),
        record(3, id="m_4"),
    ]
    with look(data_set(tmp_path, told, file_format=file_format)) as database:
        found = rows(database, "FROM attachments WHERE message_id = 'm_1' ORDER BY number")
        others = rows(database, "SELECT message_id, _carried FROM attachments WHERE message_id <> 'm_1'")
    columns = ("kind", "name", "mime_type", "size", "link")
    assert [(row["id"], *(row[name] for name in columns)) for row in found] == [
        (node.get("id"), *expected) for node, expected in KINDS
    ]
    assert [row["number"] for row in found] == [1, 2, 3, *range(6, len(KINDS) + 3)]
    assert [json.loads(row["record"]) for row in found] == given
    assert {(row["_page_id"], row["from_id"], row["_conversation_id"]) for row in found} == {("1", "5", "t_1")}
    assert [tuple(row.values()) for row in others] == [("m_2", True)]


HAD = {"path": "media/platform=messenger/…/1.jpg", "sha256": "ab" * 32, "bytes": 2**33, "type": "image/jpeg"}


@pytest.mark.parametrize("file_format", FORMATS)
def test_where_its_file_lies_or_why_there_is_none_is_told(file_format: str, tmp_path: Path) -> None:
    """Of files that an export fetched; NULL where it fetched none."""
    given = [
        {"id": "1", "_media": HAD},
        {"id": "2", "_media": {"error": "expired"}},
        {"id": "3"},
        {"id": "4", "_media": "x"},
    ]
    told = [record(0, attachments={"data": given})]
    columns = ("media_path", "media_sha256", "media_bytes", "media_type", "media_error")
    with look(data_set(tmp_path, told, file_format=file_format)) as database:
        found = rows(database, f"SELECT {', '.join(columns)} FROM attachments ORDER BY number")
    nothing = (None,) * 4
    assert [tuple(row.values()) for row in found] == [
        (*HAD.values(), None), (*nothing, "expired"), (*nothing, None), (*nothing, None)
    ]  # fmt: skip


LINKS = {
    CDN: ENDS,
    "https://scontent.cdninstagram.com/v/1?oe=69aa3f6f": ENDS,
    "https://platform-lookaside.fbsbx.com/platform/pic/?psid=1&ext=1772765039&hash=A": ENDS,
    "https://video.xx.fbcdn.net/v/1.mp4?oe=69AA3F6F#t=3": ENDS,
    "https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id=1&signature=2": None,
    "https://scontent.xx.fbcdn.net/v/1?noe=69AA3F6F": None,
    "https://scontent.xx.fbcdn.net/v/1?oe=69AA3F6": None,
    "https://scontent.xx.fbcdn.net/v/1?oe=69AA3F6F0": None,
    "https://scontent.xx.fbcdn.net/v/1?oe=nothing!": None,
    # Elsewhere the same letters may say anything.
    "https://example.com/?oe=69AA3F6F": None,
    "https://example.com/?to=https://scontent.xx.fbcdn.net/v/1?oe=69AA3F6F": None,
    "https://fbcdn.net.example.com/?oe=69AA3F6F": None,
    "no link at all?oe=69AA3F6F": None,
}


def test_a_link_of_meta_s_says_itself_when_it_ends(tmp_path: Path) -> None:
    """To the second, in UTC; nothing where it does not say so."""
    told = [record(0, attachments={"data": [{"file_url": link} for link in LINKS]})]
    with look(data_set(tmp_path, told)) as database:
        found = {row["link"]: row["link_ends"] for row in rows(database, "FROM attachments")}
    assert found == LINKS


def test_the_attachments_are_those_of_the_messages_each_once(story: Story, database: Database) -> None:
    """Of all that was owed, over windows, formats and platforms."""
    expected = [
        (*key, item["id"])
        for key, node in story.messages.items()
        if isinstance(node.get("attachments"), dict)
        for item in node["attachments"]["data"]
    ]
    found = rows(database, "SELECT _platform, _page_id, message_id, id, kind, link FROM attachments")
    assert sorted((row["_platform"], row["_page_id"], row["message_id"], row["id"]) for row in found) == sorted(
        expected
    )
    assert {"image", "video", "file", "template", "sticker"} <= {row["kind"] for row in found}
    assert all(row["link"].startswith("https://") for row in found)
