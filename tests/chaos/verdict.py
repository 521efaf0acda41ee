"""What a manifest owes at the moment when it is put, by what it replaces and by what the Page was since the export began.

Written from the promises alone; it knows nothing of how an export works.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_provider_pageconv.dump.window import Window
from airflow_provider_pageconv.sandbox import Sandbox
from tests.chaos.world import moment

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Listed:
    """A message as the API lists it at one moment.

    :param created: when it was sent, whether the API tells or not.
    """

    thread: str
    folder: str
    created: datetime
    dated: bool
    detailed: bool


@dataclass(frozen=True)
class Look:
    """A Page at one moment: its threads, with their folders and times, and its messages."""

    folders: dict[str, str]
    updated: dict[str, datetime]
    messages: dict[str, Listed]

    @classmethod
    def at(cls, box: Sandbox, folders: Collection[str], created: dict[str, datetime]) -> Look:
        """Look at some folders of it.

        :param created: when each message was sent that was ever seen; what is left of some does not tell.
        """
        threads = [thread for thread in box.data()["threads"] if thread["folder"] in folders]
        for thread in threads:
            times = {one["id"]: one["created_time"] for one in thread["messages"] if "created_time" in one}
            created.update((key, moment(time)) for key, time in times.items() if key not in created)
        messages = {
            message["id"]: Listed(
                thread["node"]["id"],
                thread["folder"],
                created[message["id"]],
                "created_time" in visible,
                "from" in visible,
            )
            for thread in threads
            for message, visible in zip(thread["messages"], thread["visible"], strict=True)
        }
        return cls(
            {thread["node"]["id"]: thread["folder"] for thread in threads},
            {thread["node"]["id"]: moment(thread["node"]["updated_time"]) for thread in threads},
            messages,
        )


@dataclass
class Run:
    """One run of the task, over as many tries as it takes.

    :param first: number of the look at the Page with which it began.
    :param began: when that was.
    :param keeps: ``keep_deleted`` of the present try.
    :param empty: whether the API shows it empty lists.
    :param counts: what ``message_count`` is.
    :param disturbed: whether something may keep it from seeing that something is gone.
    :param has_looked: whether an earlier try did not keep what is gone, and so may have asked for it.
    """

    number: int
    window: Window
    first: int
    began: datetime
    keeps: bool
    empty: bool
    counts: str
    disturbed: bool
    done: bool = False
    has_looked: bool = False


def by_id(records: Sequence[Record]) -> dict[str, Record]:
    """The records by their ids, each of which stands once."""
    found = {str(record["id"]): record for record in records}
    assert len(found) == len(records), "a record stands twice"
    return found


def counts_of(conversations: Sequence[Record], messages: Sequence[Record]) -> dict[str, int]:
    """What a manifest counts of what lies in its files."""
    return {
        "conversations": len(conversations),
        "messages": len(messages),
        "messages_unavailable": sum(row["_unavailable"] for row in messages),
        "conversations_unavailable": sum(row["_unavailable"] for row in conversations),
        "conversations_carried": sum(row["_carried"] for row in conversations),
        "messages_carried": sum(row["_carried"] for row in messages),
    }


def is_undated(record: Record) -> bool:
    """Whether a message's record is a bare id."""
    return record.get("created_time") is None


@dataclass(frozen=True)
class Verdict:
    """A folder's export, and what it is judged by.

    :param before: conversations and messages of the export that it replaces, by id.
    :param looks: at the Page, from the run's beginning on; one for each change.
    :param elsewhere: the messages of the folder's other windows, by id.
    """

    run: Run
    manifest: Mapping[str, Any]
    conversations: Mapping[str, Record]
    messages: Mapping[str, Record]
    before: tuple[Mapping[str, Record], Mapping[str, Record]]
    looks: Sequence[Look]
    elsewhere: Mapping[str, Record]

    @property
    def folder(self) -> str:
        return str(self.manifest["folder"])

    def give(self) -> None:
        """Compare it with all that is owed."""
        found = counts_of(list(self.conversations.values()), list(self.messages.values()))
        assert {name: self.manifest[name] for name in found} == found
        self.what_was_there_stays()
        self.what_is_gone_leaves()
        self.what_is_there_is_exported()
        self.nothing_else_stands_there()

    def what_was_there_stays(self) -> None:
        """With its details, and as it was published where nothing better came."""
        conversations, messages = self.before
        for key, record in messages.items():
            if key not in self.messages:
                assert self._may_leave(record), f"the message {key} is lost"
            elif not record["_unavailable"]:
                assert not self.messages[key]["_unavailable"], f"the details of {key} are lost"
        for key in set(conversations) - set(self.conversations):
            assert self._may_leave_as_a_thread(key), f"the conversation {key} is lost"
        for had, have in ((conversations, self.conversations), (messages, self.messages)):
            for key, record in have.items():
                if record["_carried"]:
                    assert record == {**had.get(key, {}), "_carried": True}, f"{key} is not carried over as it was"
        threads = {record["_conversation_id"] for record in self.messages.values()}
        assert threads <= set(self.conversations), "messages without their conversation"

    def _may_leave(self, record: Record) -> bool:
        key, thread = record["id"], record["_conversation_id"]
        if is_undated(record) and key in self.elsewhere:
            return True
        if self.run.keeps or self.run.empty:
            return False
        if self._may_leave_as_a_thread(thread):
            return True
        return self.run.counts == "right" and key not in self.looks[-1].messages

    def _may_leave_as_a_thread(self, thread: str) -> bool:
        deleted = thread not in self.looks[-1].folders
        return deleted and not self.run.keeps and not self.run.empty

    def what_is_gone_leaves(self) -> None:
        """What is gone from a Page that stood still is seen to be; it leaves, or is counted."""
        [look, *later] = self.looks
        if later or self.run.disturbed or self.folder not in look.folders.values():
            return
        gone = {
            key
            for key, record in self.messages.items()
            if key not in look.messages
            and look.folders.get(record["_conversation_id"]) == self.folder
            # Of a bare id in a backfill nobody can tell: it may have its time back, and lie behind the window.
            and not (self.run.window.until is not None and is_undated(record))
        }
        if self.run.window.since is None:
            # Each thread was read to its end. A try that was to leave out what is gone has also looked for deleted threads.
            deleted = {key for key, one in self.messages.items() if one["_conversation_id"] not in look.folders}
            assert (
                len(gone) <= self.manifest["messages_gone"] <= len(gone | (deleted if self.run.has_looked else set()))
            )
            assert self.run.keeps or not gone, f"unsent messages stay: {gone}"
        if not self.run.keeps:
            assert set(self.conversations) <= set(look.folders), "deleted conversations stay"

    def what_is_there_is_exported(self) -> None:
        """What the API gave from the run's beginning to its end is new in it, and has all that was given."""
        if self.run.empty:
            return
        unavailable = {key for key, record in self.conversations.items() if record["_unavailable"]}
        for key in self.looks[0].messages:
            listed = [look.messages.get(key) for look in self.looks]
            steady = [one for one in listed if one is not None and one.folder == self.folder]
            if len(steady) < len(listed) or steady[0].thread in unavailable or not self._is_owed(steady):
                continue
            if key not in self.messages:
                assert key in self.elsewhere, f"the message {key} is missing"
                assert not all(one.dated for one in steady), f"the message {key} stands in another window"
            elif all(one.detailed for one in steady):
                assert not self.messages[key]["_unavailable"], f"{key} has no details"
                assert not self.messages[key]["_carried"], f"{key} was fetched later than what is carried over"
        for thread in self.looks[0].folders:
            folders = {look.folders.get(thread) for look in self.looks}
            if folders == {self.folder} and all(self._falls_in(look.updated[thread]) for look in self.looks):
                assert thread in self.conversations, f"the conversation {thread} is missing"
                assert not self.conversations[thread]["_carried"], f"the conversation {thread} is an old one"

    def _is_owed(self, listed: Sequence[Listed]) -> bool:
        """Whether a message that was always listed so belongs into the window."""
        created = listed[0].created
        if all(one.dated for one in listed):
            return self._falls_in(created)
        undated = not any(one.dated for one in listed)
        return self.run.window.since is None and (undated or self._falls_in(created))

    def _falls_in(self, time: datetime) -> bool:
        window = self.run.window
        return (window.since is None or window.since <= time) and time < (window.until or self.run.began)

    def nothing_else_stands_there(self) -> None:
        """What is new was there, and belongs into the window."""
        since = self.run.window.since
        until = datetime.fromisoformat(self.manifest["until"].replace("Z", "+00:00"))
        for key, record in self.messages.items():
            if record["_carried"]:
                continue
            assert record["_export_id"] == self.manifest["export_id"]
            listed = [look.messages[key] for look in self.looks if key in look.messages]
            assert any(one.folder == self.folder for one in listed), f"{key} was never there"
            if is_undated(record):
                assert since is None, "an undated message in a window"
            else:
                assert since is None or since <= listed[0].created
                assert listed[0].created < until

    def doubles(self) -> set[str]:
        """Messages that another window of the folder holds as well."""
        return set(self.messages) & set(self.elsewhere)
