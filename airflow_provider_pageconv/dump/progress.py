"""What is known of a folder's export so far, as values that a checkpoint keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any

from airflow_provider_pageconv.graph.limits import Waiting
from airflow_provider_pageconv.graph.paging import PagerState


class Phase(str, Enum):
    """How far the list of a folder was walked."""

    WALK = "walk"
    WALKED = "walked"
    """Waits for the lists of the task's other folders: until then a thread may come from there."""
    HEAD = "head"
    """Its head is read again."""
    AGAIN = "again"
    """All of it is read again, for it is not newest first."""
    DONE = "done"


@dataclass
class Counts:
    """What an export holds so far.

    :param messages_undated: left out, since nobody can tell whether they belong into the window.
    :param threads_undated: conversations that hold some of those.
    :param conversations_undated: left out for want of a time.
    :param conversations_incomplete: with fewer messages than their ``message_count`` says.
    :param messages_expected: the sum of what ``message_count`` says.
    """

    conversations: int = 0
    messages: int = 0
    messages_unavailable: int = 0
    messages_undated: int = 0
    threads_undated: int = 0
    conversations_unavailable: int = 0
    conversations_undated: int = 0
    conversations_incomplete: int = 0
    messages_expected: int = 0


@dataclass
class Order:
    """Whether a list is newest first.

    :param oldest: times of the oldest rows so far, oldest first; as many as may stand above a newer one, and one more.
    """

    newest_first: bool = True
    oldest: list[float] = field(default_factory=list)


@dataclass
class Walk:
    """How far the list was read.

    :param pager: that of its :class:`~airflow_provider_pageconv.graph.paging.Pager`; ``None`` until its first call.
    :param pages: of the walk, or of this reading.
    :param rows: rows since the list was last begun.
    :param repeated: rows among them that were known.
    :param fresh: whether the last page that had rows brought one that was not known, deeper than ever before.
    :param fruitless: refused cursors in a row, none of them deeper than the one before.
    :param run: rows up to here, one after the other, that say that nothing new follows.
    :param goal: down to where the head is to be read, seconds since 1970.
    :param newest: newest time on the first page of the walk, or of this reading.
    :param reading_began: when this reading began, seconds since 1970.
    :param readings: how often the list, or its head, was read again.
    :param found: threads that this reading brought and that may have been there before.
    :param idle: readings in a row that brought none.
    :param unsettled: the readings ended because there were so many, not because one showed that nothing was missed.
    """

    phase: Phase = Phase.WALK
    pager: PagerState | None = None
    pages: int = 0
    rows: int = 0
    repeated: int = 0
    fresh: bool = False
    fruitless: int = 0
    run: int = 0
    goal: float | None = None
    newest: float | None = None
    reading_began: float = 0.0
    readings: int = 0
    found: int = 0
    idle: int = 0
    unsettled: bool = False
    order: Order = field(default_factory=Order)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Walk:
        """Make one of what a checkpoint holds."""
        pager = PagerState(**document["pager"]) if document["pager"] else None
        phase, order = Phase(document["phase"]), Order(**document["order"])
        return cls(**{**document, "phase": phase, "pager": pager, "order": order})


@dataclass
class Media:
    """What came of links to files.

    :param files: that were fetched.
    :param there: that the replaced export has already.
    :param failed: that could not be had.
    """

    files: int = 0
    bytes: int = 0
    there: int = 0
    failed: int = 0


@dataclass
class Progress:
    """The state of a folder's export, of a size that does not grow.

    :param began: when the walk began, ISO 8601 in UTC, whole seconds.
    :param threads_unordered: conversations whose messages were not newest first.
    :param threads_cut: conversations that were read no further, since only undated messages followed.
    :param short_in_vain: in a row, threads whose own edge brought no more than the short list inside the row.
    :param refused: conversations whose messages were refused for themselves alone, by the error's code.
    :param incomplete: ids of the first conversations with fewer messages than their ``message_count`` says.
    :param unusable: rows that were no objects, or had no id.
    :param controls: threads that gave messages at their own edge, the last ones, then such that came whole with the list.
    :param controls_refused: those of them that were refused since one was answered well.
    :param looked: whether it was looked for what the replaced export has and the walk did not meet.
    :param gone: hashes (hex) of the conversations among those that do not exist by their own id.
    """

    export_id: str
    began: str
    walk: Walk = field(default_factory=Walk)
    counts: Counts = field(default_factory=Counts)
    threads_unordered: int = 0
    threads_cut: int = 0
    short_in_vain: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    incomplete: list[str] = field(default_factory=list)
    unusable: int = 0
    controls: list[str] = field(default_factory=list)
    controls_refused: list[str] = field(default_factory=list)
    looked: bool = False
    gone: list[str] = field(default_factory=list)
    truncated: dict[str, int] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    api_calls: int = 0
    waited_seconds: float = 0.0
    waiting: Waiting = field(default_factory=Waiting)
    graph_version: str | None = None
    media: Media = field(default_factory=Media)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Progress:
        """Make one of what a checkpoint holds.

        :raises LookupError, TypeError, ValueError: something of it is missing or of another kind.
        """
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in document.items() if name in known}
        return cls(
            **{
                **values,
                "walk": Walk.read(document["walk"]),
                "counts": Counts(**document["counts"]),
                "waiting": Waiting(**document["waiting"]),
                "media": Media(**document.get("media", {})),
            }
        )
