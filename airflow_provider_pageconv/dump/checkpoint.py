"""How far a folder's export got, kept in the destination as a chain of small files.

Each checkpoint says only what came since the one before it, so that its cost does not grow with what is done; going on
later reads the chain once, from its newest end.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.dump.idset import IdSet
from airflow_provider_pageconv.dump.records import Part
from airflow_provider_pageconv.dump.store import Store

log = logging.getLogger(__name__)

VERSION = 1

_UNUSABLE = (
    FileNotFoundError, LookupError, AttributeError, TypeError, ValueError, EOFError, gzip.BadGzipFile, zlib.error
)  # fmt: skip
"""What reading a damaged or missing file of a checkpoint ends with."""


@dataclass
class Counts:
    """What an export holds so far.

    :param messages_detailed: messages with details, as far as anybody can tell.
    :param comparable: those that count against the export that is there already.
    """

    conversations: int = 0
    messages: int = 0
    messages_unavailable: int = 0
    messages_undated: int = 0
    conversations_unavailable: int = 0
    conversations_undated: int = 0
    messages_detailed: int = 0
    comparable: int = 0


@dataclass
class Waiting:
    """How the task has been waiting for limits, alike in the checkpoints of all its folders.

    :param refusals: limits in a row without a new page in between.
    :param abuses: how often the calls were held to be abusive.
    :param seconds: waited in all without a new page.
    :param since: when the wait under way began, ISO 8601; ``None`` if none is.
    :param until: when it ends.
    :param clear_number: the run's number of clears when this was counted; a Clear counts afresh.
    :param changes: how often this was changed; of what several folders' checkpoints say, the newest counts.
    """

    refusals: int = 0
    abuses: int = 0
    seconds: float = 0.0
    since: str | None = None
    until: str | None = None
    clear_number: int = 0
    changes: int = 0


@dataclass
class Progress:
    """The state of a folder's walk, of a size that does not grow.

    :param began: when the walk began, ISO 8601 in UTC, whole seconds.
    :param phase: ``walk`` (the list from its head to its end), ``head`` (the head again), ``done``.
    :param pager: the list's :class:`~airflow_provider_pageconv.graph.edges.Pager`.
    :param last_page: the page whose threads are being read is the last one of its phase.
    :param pages: pages of this phase so far; in ``head``, of this reading.
    :param mark: down to where the head is to be read, seconds since the epoch.
    :param newest: the newest ``updated_time`` of this reading.
    :param previous: ``updated_time`` of the last new thread, to see whether the list is newest first.
    :param fruitless: refused cursors in a row that brought no new thread.
    :param against: export id and ``until`` of the published export that ``counts.comparable`` is counted for.
    """

    export_id: str
    began: str
    phase: str = "walk"
    pager: dict[str, Any] = field(default_factory=dict)
    last_page: bool = False
    pages: int = 0
    depth: int = 0
    mark: float | None = None
    newest: float | None = None
    previous: float | None = None
    list_ordered: bool = True
    threads_unordered: int = 0
    fruitless: int = 0
    against: dict[str, Any] | None = None
    counts: Counts = field(default_factory=Counts)
    truncated: dict[str, int] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    api_calls: int = 0
    waited_seconds: float = 0.0
    waiting: Waiting = field(default_factory=Waiting)
    graph_version: str | None = None

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Progress:
        known = {one.name for one in fields(cls)}
        values = {name: value for name, value in document.items() if name in known}
        return cls(**{**values, "counts": Counts(**document["counts"]), "waiting": Waiting(**document["waiting"])})


@dataclass(frozen=True)
class StagedPart:
    """A finished part that waits in the staging area.

    :param key: where it lies.
    """

    key: str
    part: Part


@dataclass
class Resumed:
    """What a chain of checkpoints tells.

    :param seen: hashes of the threads that are done.
    :param readings: states of the threads that are still to be read, in their order.
    :param read: hashes of their messages that were read, by thread.
    """

    progress: Progress
    parts: list[StagedPart]
    seen: IdSet
    readings: list[dict[str, Any]]
    read: dict[str, IdSet]
    sequence: int
    name: str


class Checkpoints:
    """Saves and reads the chain of one run's export of one folder.

    :param prefix: where in the store it lies.
    :param attempt: random name of this try; no two tries write the same file.
    """

    def __init__(self, store: Store, prefix: str, attempt: str) -> None:
        self._store = store
        self._prefix = prefix
        self._attempt = attempt
        self._sequence = 0
        self._parent: str | None = None

    def claim(self) -> None:
        """Say that this try is the one at work now."""
        self._store.put_bytes(json.dumps({"attempt": self._attempt}).encode(), f"{self._prefix}/claim")

    def is_superseded(self) -> bool:
        """Whether a later try has claimed the work."""
        try:
            claim = json.loads(self._store.read(f"{self._prefix}/claim"))
        except FileNotFoundError:
            return True  # a later try has finished, and swept up
        return not isinstance(claim, dict) or claim.get("attempt") != self._attempt

    def stage(self, local: Path, part: Part, number: int) -> StagedPart:
        """Put a finished part; its name has no suffix that a reader of data would look for."""
        key = f"{self._prefix}/part-{number:06d}-{part.stream}-{self._attempt}"
        self._store.put(local, key)
        return StagedPart(key, part)

    def save(
        self,
        progress: Progress,
        *,
        parts: Sequence[StagedPart],
        seen: bytes,
        readings: Sequence[Mapping[str, Any]],
        read: Mapping[str, bytes],
    ) -> None:
        """Add a checkpoint.

        :param parts: finished since the last one.
        :param seen: hashes of the threads done since the last one.
        :param readings: states of the threads that came with the list and are still to be read. They go into a file of
            their own, packed, for they are data.
        :param read: hashes of their messages that were read since the last one, by thread.
        """
        self._sequence += 1
        readings_key = None
        if readings:
            readings_key = f"{self._prefix}/readings-{self._sequence:06d}-{self._attempt}"
            self._store.put_bytes(gzip.compress(json.dumps(list(readings)).encode(), 1, mtime=0), readings_key)
        name = f"checkpoint-{self._sequence:06d}-{self._attempt}"
        document = {
            "version": VERSION,
            "parent": self._parent,
            "progress": asdict(progress),
            "parts": [{"key": staged.key, **asdict(staged.part)} for staged in parts],
            "seen": base64.b64encode(seen).decode(),
            "read": {thread: base64.b64encode(hashes).decode() for thread, hashes in read.items() if hashes},
            "readings": readings_key,
        }
        self._store.put_bytes(json.dumps(document).encode(), f"{self._prefix}/{name}")
        self._parent = name

    def load(self) -> Resumed | None:
        """Read the newest chain that is whole; ``None`` where there is none, and the export begins anew."""
        sizes = {entry.key: entry.size for entry in self._store.list(self._prefix)}
        names = [key.rpartition("/")[2] for key in sizes]
        heads = sorted((name for name in names if name.startswith("checkpoint-")), reverse=True)
        for head in heads:
            try:
                resumed = self._read(head, sizes)
            except _UNUSABLE as error:
                log.warning("The checkpoint %s cannot be used (%s); looking for an earlier one.", head, error)
                continue
            self._sequence, self._parent = resumed.sequence, resumed.name
            return resumed
        return None

    def begin_anew(self) -> None:
        """Let the next checkpoint follow none; it is still newer than those that are there."""
        self._parent = None

    def _read(self, head: str, sizes: Mapping[str, int]) -> Resumed:
        document = self._document(head)
        key = document["readings"]
        readings = json.loads(gzip.decompress(self._store.read(key))) if key else []
        seen = IdSet()
        read = {reading["node"]["id"]: IdSet() for reading in readings}
        parts: list[StagedPart] = []
        link: dict[str, Any] | None = document
        while link is not None:
            seen.update(base64.b64decode(link["seen"]))
            for thread, hashes in link["read"].items():
                if thread in read:
                    read[thread].update(base64.b64decode(hashes))
            parts[:0] = [_staged_part(row) for row in link["parts"]]
            link = self._document(link["parent"]) if link["parent"] else None
        for staged in parts:
            if sizes.get(staged.key) != staged.part.bytes:
                raise ValueError("a part that it names is missing")
        return Resumed(
            progress=Progress.read(document["progress"]),
            parts=parts,
            seen=seen,
            readings=readings,
            read=read,
            sequence=int(head.split("-")[1]),
            name=head,
        )

    def _document(self, name: str) -> dict[str, Any]:
        document = json.loads(self._store.read(f"{self._prefix}/{name}"))
        if document["version"] != VERSION:
            raise ValueError("written by another version")
        return dict(document)


def _staged_part(row: Mapping[str, Any]) -> StagedPart:
    values = dict(row)
    return StagedPart(values.pop("key"), Part(**values))


def moment(text: str) -> datetime:
    """Read a moment that this package wrote."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
