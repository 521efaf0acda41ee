"""What belongs into a window, thread by thread and message by message; pure rules, no I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import Any

from airflow_provider_pageconv.dump.idset import IdSet, digest
from airflow_provider_pageconv.dump.window import STOP_MARGIN, Window, seconds
from airflow_provider_pageconv.graph.edges import read_page, without_paging
from airflow_provider_pageconv.graph.errors import GraphTransientError

Split = Sequence[Any]
"""A message without its ``paging``, and a count of the lists inside it that had further pages."""


def split(message: Mapping[str, Any]) -> list[Any]:
    """Make a :data:`Split` of a message's node."""
    truncated: Counter[str] = Counter()
    return [without_paging(message, truncated), truncated]


def prepared(node: dict[str, Any], nested: int, fetched_at: str) -> dict[str, Any]:
    """Make of a thread's node what is kept until it is read: no ``paging``, its nested messages beside it.

    :param nested: how many messages were asked for inside the node.
    """
    inner = node.pop("messages", None)
    messages: list[list[Any]] = []
    after, complete = None, nested > 0
    if nested and inner is not None:
        try:
            page = read_page(inner)
            messages, after, complete = [split(message) for message in page.nodes], page.after, page.after is None
        except GraphTransientError:
            complete = False  # unreadable in here: the thread's own edge is asked from its beginning
    truncated: Counter[str] = Counter()
    return {
        "node": without_paging(node, truncated),
        "truncated": truncated,
        "messages": messages,
        "after": after,
        "complete": complete,
        "fetched_at": fetched_at,
    }


@dataclass
class Thread:
    """How far the reading of a thread got.

    :param pager: state of its messages' pager; ``None`` until its first call.
    :param last_dated: ``created_time`` of the last message that had one.
    :param exported: messages of it that are in the export.
    :param fruitless: refused cursors in a row that brought no new message.
    """

    pager: dict[str, Any] | None = None
    last_dated: float | None = None
    ordered: bool = True
    exported: int = 0
    unavailable: bool = False
    fruitless: int = 0


@dataclass
class Reading:
    """A thread that is being read.

    :param item: what :func:`prepared` made of its node.
    :param seen: hashes of its messages that were read.
    :param fresh: those of them that no checkpoint has yet.
    :param taken: somebody reads it now.
    """

    item: dict[str, Any]
    thread: Thread = field(default_factory=Thread)
    seen: IdSet = field(default_factory=IdSet)
    fresh: bytearray = field(default_factory=bytearray)
    taken: bool = False

    @property
    def id(self) -> str:
        return str(self.item["node"]["id"])

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; the hashes are kept beside it, since they grow."""
        return {**self.item, "messages": [], "thread": asdict(self.thread)}

    @classmethod
    def resumed(cls, state: Mapping[str, Any], seen: IdSet) -> Reading:
        """Go on where :meth:`state` was taken."""
        item = dict(state)
        return cls(item, Thread(**item.pop("thread")), seen)


@dataclass(frozen=True)
class Scope:
    """What an export takes.

    :param window: as the user named it.
    :param began: when the walk began, seconds since the epoch.
    :param messages: whether messages are exported.
    """

    window: Window
    began: float
    messages: bool

    @property
    def since(self) -> float | None:
        return self.window.since.timestamp() if self.window.since else None

    @property
    def until(self) -> float:
        """A dump of everything ends where the walk began, so that what arrives meanwhile does not make it crooked."""
        return self.window.until.timestamp() if self.window.until else self.began

    def is_old(self, time: float | None) -> bool:
        """Whether a time is so much older than the window that a walk may stop there."""
        return self.since is not None and time is not None and time < self.since - STOP_MARGIN.total_seconds()

    def owes(self, thread: Thread, created: float | None) -> bool | None:
        """Whether a message belongs into the export; ``None`` where nobody can tell.

        One without a time was sent no later than the dated one before it.
        """
        if created is not None:
            return (self.since is None or self.since <= created) and created < self.until
        if self.since is None:
            return True
        settled = thread.ordered and thread.last_dated is not None and thread.last_dated < self.since
        return False if settled else None

    def may_hold_messages(self, node: Mapping[str, Any]) -> bool:
        """Whether a thread may hold messages of the window, going by its ``updated_time``."""
        updated = seconds(node.get("updated_time"))
        return self.since is None or updated is None or updated >= self.since

    def holds(self, thread: Thread, node: Mapping[str, Any]) -> bool | None:
        """Whether a thread that was read belongs into the export; ``None`` where nobody can tell."""
        if thread.exported:
            return True
        if self.window.until is None and self.window.since is None and (thread.unavailable or not self.messages):
            return True  # a thread that got a message since the walk began was there before, or may have been
        updated = seconds(node.get("updated_time"))
        if updated is None:
            return True if self.since is None else (False if self.messages else None)
        if thread.unavailable and self.may_hold_messages(node):
            return True  # what could not be read may belong into the window
        return self.may_hold_messages(node) and updated < self.until

    def take(self, reading: Reading, messages: Sequence[Split]) -> Iterator[tuple[Split, bool | None]]:
        """Read some messages of a thread.

        :return: those that were not read before, each with whether it is owed.
        """
        thread = reading.thread
        for message in messages:
            created = seconds(message[0].get("created_time"))
            hashed = digest(message[0]["id"])
            new = reading.seen.add(hashed)
            if created is not None:
                if new and thread.last_dated is not None and thread.last_dated < created < self.began:
                    thread.ordered = False
                thread.last_dated = created
            if new:
                reading.fresh += hashed
                thread.fruitless = 0
                yield message, self.owes(thread, created)

    def ends_with(self, thread: Thread, last_dated: float | None, messages: Sequence[Split]) -> bool:
        """Whether nothing of the window can follow after a page of messages.

        That is so after a whole page that is older, or that has no times at all, in a thread that is newest first.

        :param last_dated: time of the last dated message before the page.
        """
        if self.since is None or not messages or not thread.ordered:
            return False
        times = [seconds(message[0].get("created_time")) for message in messages]
        if all(time is None for time in times):
            return True
        for time in times:
            last_dated = time if time is not None else last_dated
            if not self.is_old(last_dated):
                return False
        return True


def iso(time: datetime, timespec: str = "seconds") -> str:
    """A moment as records, manifests and checkpoints have it."""
    return time.astimezone(timezone.utc).isoformat(timespec=timespec).replace("+00:00", "Z")
