"""A week of a Page and its exports, with all that hurts who reads them; and what it owes, by the sandbox's own data.

Windows that follow one another, one that is missing, one that is empty, one that was exported twice; a backfill with bare
ids; threads that stand in two folders; times in several forms; texts and values of odd shapes; two Pages, two platforms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import Owed, owed
from tests.operators.running import run
from tests.servers.destinations import Destination, local

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ROOT = "it's 100% [of] a * #1 — ñandú 👟 %20"
"""What a folder's name may hold that SQL, patterns or addresses take for something else."""

HALF = "cut in halves: \ud83d"
TEXTS = {
    HALF: "cut in halves: \ufffd",
    "two halves the wrong way round: \ude00\ud83d": "two halves the wrong way round: \ufffd\ufffd",
    "no half, but the words \\ud83d and \\\\ud83d": "no half, but the words \\ud83d and \\\\ud83d",
    "whole 😀, \"quoted\", 'quoted', \\, \x01 \t and\nlines\u2028of all\x85kinds\r": None,
    "\0 in the middle of \0 it": None,
    "": None,
    "null": None,
}
"""Texts of messages, and what is read where that is not the same."""

ODD = {
    "attachments": "none",
    "shares": [1, {"data": None}],
    "reactions": {"data": "x"},
    "sticker": {"id": 5},
    "story": 1e300,
    "is_unsupported": "maybe",
    "tags": 10**30,
    "reply_to": [],
}
"""Fields of a message in shapes that nobody foresaw."""

STILL_LINES = ("backfill", "day-3", "other on Instagram")
"""Exports in JSON Lines also where the others are in Parquet; the third day is exported again in the other format."""

Key = tuple[str, str, str]
"""Platform, Page and id."""


def midnight() -> datetime:
    """The beginning of the week, which has passed by the machine's clock as well."""
    return datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - 9 * DAY


@dataclass
class Story:
    """What was exported, and what that owes.

    :param messages: the nodes of all messages that are owed, as they were given at best.
    :param conversations: the nodes of all conversations that are owed, as they were given last.
    :param true: the nodes of all messages that ever were, in full, bare ids included.
    :param summaries: what the tasks returned, in their order.
    :param parquet: whether most exports are in Parquet.
    """

    box: Sandbox
    files: Destination
    start: datetime
    messages: dict[Key, Mapping[str, Any]] = field(default_factory=dict)
    conversations: dict[Key, Mapping[str, Any]] = field(default_factory=dict)
    true: dict[Key, Mapping[str, Any]] = field(default_factory=dict)
    summaries: list[dict[str, Any]] = field(default_factory=list)
    marked: dict[str, list[str]] = field(default_factory=dict)
    parquet: bool = False

    def day(self, number: int) -> dict[str, datetime]:
        """Return the window of a day, which counts from 1."""
        return {"since": self.start + (number - 1) * DAY, "until": self.start + number * DAY}

    def at(self, day: int, hours: float) -> datetime:
        """Return a moment of a day."""
        return self.start + (day - 1) * DAY + hours * HOUR

    def until(self, moment: datetime) -> None:
        """Let the Page's time pass."""
        self.box.clock.advance(moment - self.box.clock())  # type: ignore[attr-defined]

    def export(
        self,
        name: str,
        *,
        page_id: str | None = None,
        platform: str = "messenger",
        time_form: str = "graph",
        messages: bool = True,
        **options: Any,
    ) -> dict[str, Any]:
        """Export by the operator, and take note of what that owes."""
        self.box.rules.time_form = time_form
        page_id = page_id or self.box.page.id
        window = {end: options.get(end) for end in ("since", "until")}
        data = self.box.data(page_id)
        self._note(page_id, platform, data, owed(data, platform=platform, messages=messages, **window))
        if self.parquet and name not in STILL_LINES:
            options = {"file_format": "parquet", **options}
        summary = run(
            f"file://{self.files.root}", name, page_id=page_id, platform=platform, messages=messages, **options
        )
        self.summaries.append(summary)
        return summary

    def _note(self, page_id: str, platform: str, data: Mapping[str, Any], due: Owed) -> None:
        for thread in data["threads"]:
            if thread["platform"] == platform:
                self.true.update({(platform, page_id, node["id"]): node for node in thread["messages"]})
        for ident, node in due.messages.items():
            key = platform, page_id, ident
            if "created_time" in node or key not in self.messages:
                self.messages[key] = node
        self.conversations.update({(platform, page_id, ident): node for ident, node in due.conversations.items()})

    def records(self, stream: str) -> list[dict[str, Any]]:
        """Return all records that the manifests name, as they lie there."""
        return self.files.records(stream)


def tell(box: Sandbox, folder: Path, *, parquet: bool = False) -> Story:
    """Let the week pass."""
    start = midnight()
    story = Story(box, local(folder / ROOT), start, parquet=parquet)
    page = box.page
    box.rules.date = "page"
    in_inbox = [thread["node"]["id"] for thread in box.data()["threads"] if thread["folder"] == "inbox"]
    busy, moving, quick, *others = in_inbox
    story.marked["moving"] = [moving]

    # What is bare when the backfill comes has a time again when the first day's export does.
    for minute in range(25):
        page.add_message(quick, at=story.at(1, 1) + timedelta(minutes=minute))
    story.until(story.at(1, 10))
    story.export("backfill", until=start)
    story.marked["bare, then dated"] = [message.id for message in page.thread(quick).messages[20:25]]
    for message in page.thread(quick).messages[:10]:
        page.unsend(message.id)

    for hour, thread in enumerate((busy, moving, *others[:3]), 12):
        page.add_message(thread, at=story.at(1, hour))
    story.until(story.at(2, 0.5))
    story.export("day-1", **story.day(1), time_form="z")

    # Nothing happens on the second day.
    story.until(story.at(3, 0.5))
    story.export("day-2", **story.day(2))

    came = [page.add_message(busy, at=story.at(3, hour)).id for hour in (3, 4, 5)]
    shared = page.add_message(moving, at=story.at(3, 6)).id
    page.new_thread("other", at=story.at(3, 7), messages=2)
    story.until(story.at(4, 0.5))
    story.export("day-3", **story.day(3), time_form="seconds")
    # Exported again: one message is taken back, and a thread of the day has gone to another folder.
    page.unsend(came[1])
    page.move(moving, "other")
    page.add_message(moving, at=story.at(4, 1))
    story.marked["taken back"], story.marked["in two folders"] = [came[1]], [shared]
    story.until(story.at(4, 2))
    story.export("day-3-again", **story.day(3), time_form="millis")

    # The fourth day is not exported. On the fifth there is more than the API gives the details of.
    for text in TEXTS:
        page.add_message(others[4], at=story.at(5, 2) + timedelta(seconds=len(story.marked.setdefault("texts", []))))
        message = page.thread(others[4]).messages[0]
        message.body["message"] = text
        story.marked["texts"].append(message.id)
    story.marked["odd"] = [page.add_message(others[5], at=story.at(5, 3), fields=ODD).id]
    story.marked["odd sender"] = [page.add_message(others[5], at=story.at(5, 4), fields={"from": "somebody"}).id]
    for minute in range(25):
        page.add_message(busy, at=story.at(5, 5) + timedelta(minutes=minute))
    story.until(story.at(6, 0.5))
    story.export("day-5", **story.day(5), time_form="offset", compression="none")

    story.export("instagram", platform="instagram", time_form="text_seconds")
    other = list(box.pages)[1]
    story.export("other", page_id=other, time_form="fraction", max_part_records=7)
    story.export("other on Instagram", page_id=other, platform="instagram", messages=False)
    return story


def sandbox() -> Sandbox:
    """Return the Page of the week, with another beside it."""
    return Sandbox(
        seed=7,
        folders={"inbox": 12, "other": 3, "spam": 1},
        instagram=4,
        messages=30,
        long_every=3,
        pages=2,
        now=midnight(),
        span=timedelta(days=6),
    )


FORMATS = ("jsonl", "parquet")


EARLIER, LATER = {"_fetched_at": "2026-11-21T10:00:00.000Z"}, {"_fetched_at": "2026-11-22T10:00:00.000Z"}
