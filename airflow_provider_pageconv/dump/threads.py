"""What belongs into a window, thread by thread and message by message; pure rules, no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from airflow_provider_pageconv.dump.idset import IdSet, digest
from airflow_provider_pageconv.dump.listing import MESSAGE_RUN, note_order, run_on
from airflow_provider_pageconv.dump.progress import Order
from airflow_provider_pageconv.dump.window import STOP_MARGIN, Window
from airflow_provider_pageconv.graph.edges import EdgePage, Row
from airflow_provider_pageconv.graph.paging import PagerState
from airflow_provider_pageconv.times import seconds


@dataclass
class Thread:
    """How far the reading of a thread got.

    :param check: it is only asked whether it exists: a replaced export has it, and the walk did not meet it.
    :param pager: state of its messages' pager; ``None`` until its first call.
    :param after: the cursor behind the messages that came with the list.
    :param came: how many those were.
    :param short: they were fewer than there should be.
    :param last_dated: ``created_time`` of the last message that had one.
    :param run: messages one after the other that are older than the window.
    :param undated_run: messages one after the other that have no time.
    :param exported: messages of it that are in the export.
    :param undated: messages of it of which nobody can tell whether they belong into the window.
    :param ended: nothing of the window can follow.
    :param whole: its messages were read to their very end.
    :param cut: it was read no further, since only undated messages followed.
    :param fresh: whether the last page brought a message that was not known.
    :param repeated: messages that came again since its list was last begun.
    :param endless: how often in a row its list brought more messages that were known than there are, and none that was not.
    :param fruitless: refused cursors in a row, none of them deeper than the one before.
    :param shared: somebody who is left out is in it, beside others.
    :param left_out: so many of its messages were left out with them.
    :param held: one of these belongs into the window, so that the thread does.
    :param refused_at: when it last answered that it does not exist, seconds since 1970.
    """

    check: bool = False
    pager: PagerState | None = None
    after: str | None = None
    came: int = 0
    short: bool = False
    last_dated: float | None = None
    order: Order = field(default_factory=Order)
    run: int = 0
    undated_run: int = 0
    exported: int = 0
    undated: int = 0
    ended: bool = False
    whole: bool = False
    cut: bool = False
    fresh: bool = False
    repeated: int = 0
    endless: int = 0
    fruitless: int = 0
    unavailable: bool = False
    shared: bool = False
    left_out: int = 0
    held: bool = False
    refused_at: float | None = None

    def begun_anew(self) -> None:
        """Its messages are read from the newest again."""
        self.last_dated = None
        self.run = self.undated_run = self.repeated = 0
        self.fresh = False


@dataclass
class Reading:
    """A thread that is being read.

    :param node: the thread's node, without its messages, as it may be written down.
    :param truncated: by path, how many lists inside the node had further pages.
    :param fetched_at: when the node was fetched, ISO 8601.
    :param seen: hashes of its messages that were read.
    :param fresh: those of them that no checkpoint has yet.
    :param attempts: passing failures of its present call in a row.
    :param not_before: when it may be asked again, by the monotonic clock.
    """

    node: Mapping[str, Any]
    truncated: Mapping[str, int]
    fetched_at: str
    thread: Thread = field(default_factory=Thread)
    seen: IdSet = field(default_factory=IdSet)
    fresh: bytearray = field(default_factory=bytearray)
    attempts: int = 0
    not_before: float = 0.0

    @property
    def id(self) -> str:
        return str(self.node["id"])

    @property
    def message_count(self) -> int | None:
        """How many messages the API says that it has; ``None`` where it does not say."""
        count = self.node.get("message_count")
        return count if isinstance(count, int) and not isinstance(count, bool) else None

    @property
    def lacks(self) -> bool:
        """Whether fewer messages came than it has."""
        count = self.message_count
        return count is not None and len(self.seen) < count

    @property
    def missing(self) -> int:
        """How many messages are still to come, as far as is known."""
        return (self.message_count or 0) - len(self.seen)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps; the hashes are kept beside it, since they grow."""
        return {
            "node": self.node,
            "truncated": dict(self.truncated),
            "fetched_at": self.fetched_at,
            "thread": asdict(self.thread),
        }

    @classmethod
    def resumed(cls, state: Mapping[str, Any], seen: IdSet) -> Reading:
        """Go on where :meth:`state` was taken."""
        kept = state["thread"]
        pager = PagerState(**kept["pager"]) if kept["pager"] else None
        thread = Thread(**{**kept, "pager": pager, "order": Order(**kept["order"]), "fruitless": 0})
        return cls(state["node"], state["truncated"], state["fetched_at"], thread, seen)


@dataclass(frozen=True)
class Scope:
    """What an export takes.

    :param window: as the user named it.
    :param began: when the walk began, seconds since 1970.
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
        """A dump of everything ends where the walk began, so that all of it is of one moment."""
        return self.window.until.timestamp() if self.window.until else self.began

    def is_old(self, time: float) -> bool:
        """Whether a time is so much older than the window that a walk may stop there."""
        return self.since is not None and time < self.since - STOP_MARGIN.total_seconds()

    def owes(self, thread: Thread, created: float | None) -> bool | None:
        """Whether a message belongs into the export; ``None`` where nobody can tell.

        One without a time was sent no later than the dated one before it.
        """
        if created is not None:
            return (self.since is None or self.since <= created) and created < self.until
        if self.since is None:
            return True
        settled = thread.order.newest_first and thread.last_dated is not None and thread.last_dated < self.since
        return False if settled else None

    @property
    def holds_all(self) -> bool:
        """Whether every thread belongs into the export, whatever its time."""
        return self.window.until is None and self.window.since is None and not self.messages

    def may_hold_messages(self, updated: float | None) -> bool:
        """Whether a thread may hold messages of the window, going by its ``updated_time``."""
        return self.since is None or updated is None or updated >= self.since

    def holds(self, thread: Thread, updated: float | None) -> bool | None:
        """Whether a thread that was read belongs into the export; ``None`` where nobody can tell."""
        if thread.exported or thread.held:
            return True
        # That a thread came after the walk began is known only where it gave messages, all of them later.
        may_have_been_there = thread.unavailable or not self.messages or thread.last_dated is None
        if self.window.until is None and self.window.since is None and may_have_been_there:
            return True
        if updated is None:
            return True if self.since is None else (False if self.messages else None)
        if thread.unavailable and self.may_hold_messages(updated):
            return True  # what could not be read may belong into the window
        return self.may_hold_messages(updated) and updated < self.until

    def take(self, reading: Reading, rows: Sequence[Row], now: float) -> Iterator[tuple[Row, bool | None]]:
        """Read some messages of a thread.

        :param now: the present, seconds since 1970.
        :return: those that were not read before, each with whether it is owed.
        """
        thread = reading.thread
        thread.fresh = False
        times = []
        for row in rows:
            created = seconds(row.node.get("created_time"), now)
            times.append(created)
            hashed = digest(row.id)
            new = reading.seen.add(hashed)
            if created is not None:
                if new and created < self.began:
                    note_order(thread.order, created)
                thread.last_dated = created
            if new:
                reading.fresh += hashed
                thread.fresh = True
                yield row, self.owes(thread, created)
            else:
                thread.repeated += 1
        self._note_end(thread, times)

    def _note_end(self, thread: Thread, times: Sequence[float | None]) -> None:
        """See whether nothing of the window can follow: a run of old messages, or of such that have no time."""
        if self.since is None:
            return
        old = (None if time is None else self.is_old(time) for time in times)
        thread.run, all_old = run_on(thread.run, old)
        thread.undated_run, all_undated = run_on(thread.undated_run, (time is None for time in times))
        if not thread.order.newest_first:
            return
        if all_old and thread.run >= MESSAGE_RUN:
            thread.ended = True
        elif all_undated and thread.undated_run >= MESSAGE_RUN:
            thread.ended = True
            thread.cut = thread.last_dated is None or thread.last_dated >= self.since

    def needs_own_edge(self, reading: Reading, nested: EdgePage | None, asked: int, *, believed: bool) -> bool:
        """Whether a thread's messages have to be asked for at its own edge, beside what came with the list.

        :param nested: what came; ``None`` where nothing did.
        :param asked: how many messages were asked for.
        :param believed: whether lists that are short are taken for whole.
        """
        thread, count = reading.thread, reading.message_count
        if thread.ended:
            return False
        if nested is None:
            return True
        thread.after, thread.came = nested.after, len(nested.rows)
        if nested.after is not None:
            return True
        thread.short = thread.came < count if count is not None else thread.came < asked
        reached = thread.last_dated is not None and self.since is not None and thread.last_dated < self.since
        if reached and thread.order.newest_first:
            return False  # what may be missing is older
        thread.whole = True
        return thread.short and not believed

    def was_there(self, reading: Reading, nested: EdgePage | None, now: float) -> bool:
        """Whether a thread may have been there when the walk began; one whose messages all came, all later, was not."""
        if nested is None or nested.after is not None or not nested.rows or reading.lacks:
            return True
        times = [seconds(row.node.get("created_time"), now) for row in nested.rows]
        return any(time is None or time < self.began for time in times)
