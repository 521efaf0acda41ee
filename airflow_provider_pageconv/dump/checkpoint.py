"""How far a folder's export got, kept in the destination as a chain of small files.

Each checkpoint says only what came since the one before it, so that its cost does not grow with what is done; going on
later reads the chain once, from its newest end. So that this does not take ever more requests, every so often a checkpoint
says again what those before it said, as far as that is little, and follows what came before them.
"""

from __future__ import annotations

import base64
import gzip
import json
import logging
import zlib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.dump.endings import Superseded
from airflow_provider_pageconv.dump.formats import Part
from airflow_provider_pageconv.dump.idset import IdSet
from airflow_provider_pageconv.dump.progress import Progress
from airflow_provider_pageconv.dump.store import Entry, Store

log = logging.getLogger(__name__)

VERSION = 2

_FOLD_AFTER, _FOLD_BYTES, _ROW_BYTES = 64, 512 * 1024, 250
"""After so many checkpoints, or so many bytes, one says again what the others said; then those bytes are left as they are."""


_UNUSABLE = (
    FileNotFoundError, LookupError, AttributeError, TypeError, ValueError, EOFError, gzip.BadGzipFile, zlib.error
)  # fmt: skip
"""What reading a damaged or missing file of a checkpoint ends with."""


@dataclass(frozen=True)
class StagedPart:
    """A finished part that waits in the staging area.

    :param key: where it lies.
    :param kind: "" if it is published as it is; "bare" if it waits until it is settled what is carried over; "unowed" if
        it holds messages of which nobody can tell whether they belong into the window; "left" if it notes threads of which
        messages are not to be published, since somebody is left out; "linked" if it holds messages whose attachments' files
        are fetched, and "fetched" if it notes what came of their links.
    """

    key: str
    part: Part
    kind: str = ""


@dataclass(frozen=True)
class ClosedPart:
    """A finished part that lies on the worker's disk; its kind is that of :class:`StagedPart`."""

    path: Path
    part: Part
    kind: str


@dataclass
class Resumed:
    """What a chain of checkpoints tells.

    :param seen: hashes of the threads that are done.
    :param readings: states of the threads that are still to be read, in their order.
    :param read: hashes of their messages that were read, by thread.
    :param whole: hashes of the threads whose messages were read to their end.
    """

    progress: Progress
    parts: list[StagedPart]
    seen: IdSet
    readings: list[dict[str, Any]]
    read: dict[str, IdSet]
    sequence: int
    name: str
    whole: bytes = b""

    @classmethod
    def nothing(cls, progress: Progress) -> Resumed:
        """A beginning: nothing is known."""
        return cls(progress, [], IdSet(), [], {}, 0, "")


@dataclass
class _Link:
    """What one checkpoint adds to those before it; see :meth:`Checkpoints.compose`."""

    seen: bytes
    whole: bytes
    messages: Mapping[str, bytes]
    parts: list[StagedPart]

    @property
    def size(self) -> int:
        return len(self.seen) + len(self.whole) + sum(map(len, self.messages.values())) + _ROW_BYTES * len(self.parts)

    @classmethod
    def read(cls, document: Mapping[str, Any], threads: Container[str]) -> _Link:
        """Read it back, of messages only those of threads that are still to be read."""
        kept = {one: base64.b64decode(text) for one, text in document["read"].items() if one in threads}
        parts = [staged_part(row) for row in document["parts"]]
        return cls(base64.b64decode(document["seen"]), base64.b64decode(document["whole"]), kept, parts)

    @classmethod
    def folded(cls, links: Sequence[_Link]) -> _Link:
        """All of them as one."""
        read: dict[str, bytes] = {}
        for link in links:
            for thread, hashes in link.messages.items():
                read[thread] = read.get(thread, b"") + hashes
        return cls(
            b"".join(link.seen for link in links),
            b"".join(link.whole for link in links),
            read,
            [staged for link in links for staged in link.parts],
        )


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
        self._recent: list[_Link] = []
        self._before_recent: str | None = None

    def claim(self) -> None:
        """Say that this try is the one at work now."""
        self._store.put_bytes(json.dumps({"attempt": self._attempt}).encode(), self.claim_key)

    @property
    def claim_key(self) -> str:
        """Where it stands which try is at work."""
        return f"{self._prefix}/claim"

    def is_superseded(self) -> bool:
        """Whether a later try has claimed the work."""
        try:
            claim = json.loads(self._store.read(self.claim_key))
        except FileNotFoundError:
            return True  # a later try has finished, and swept up; or somebody else did
        return not isinstance(claim, dict) or claim.get("attempt") != self._attempt

    def compose(
        self,
        progress: Progress,
        *,
        closed: Sequence[ClosedPart],
        number: int,
        seen: bytes,
        whole: bytes,
        readings: Sequence[Mapping[str, Any]],
        read: Mapping[str, bytes],
    ) -> tuple[Callable[[], None], list[StagedPart]]:
        """Compose the next checkpoint.

        :param closed: local files of the parts that were finished since the last one.
        :param number: how many parts there were before.
        :param seen: hashes of the threads done since the last one.
        :param whole: hashes of those among them whose messages were read to their end.
        :param readings: states of the threads that came with the list and are still to be read. They go into a file of
            their own, packed, for they are data.
        :param read: hashes of their messages that were read since the last one, by thread.
        :return: what puts it into the store, and the parts as they lie there then.
        """
        self._sequence += 1
        # The names of parts have no suffix that a reader of data would look for.
        parts = [
            StagedPart(f"{self._prefix}/part-{at:06d}-{one.part.stream}-{self._attempt}", one.part, one.kind)
            for at, one in enumerate(closed, number)
        ]
        readings_key = f"{self._prefix}/readings-{self._sequence:06d}-{self._attempt}" if readings else None
        packed = gzip.compress(json.dumps(list(readings)).encode(), 1, mtime=0) if readings else b""
        name = f"checkpoint-{self._sequence:06d}-{self._attempt}"
        link, parent = self._fold(_Link(seen, whole, read, parts), name)
        document = json.dumps(
            {
                "version": VERSION,
                "parent": parent,
                "progress": asdict(progress),
                "parts": [{"key": staged.key, "kind": staged.kind, **asdict(staged.part)} for staged in link.parts],
                "seen": base64.b64encode(link.seen).decode(),
                "whole": base64.b64encode(link.whole).decode(),
                "read": {
                    thread: base64.b64encode(hashes).decode() for thread, hashes in link.messages.items() if hashes
                },
                "readings": readings_key,
            }
        ).encode()
        self._parent = name

        def save() -> None:
            if self.is_superseded():
                raise Superseded(
                    "A later try of this run is at work, or its staging area was emptied; this one adds nothing."
                )
            for one, staged in zip(closed, parts, strict=True):
                self._store.put(one.path, staged.key)
                one.path.unlink()
            if readings_key:
                self._store.put_bytes(packed, readings_key)
            self._store.put_bytes(document, f"{self._prefix}/{name}")

        return save, parts

    def _fold(self, link: _Link, name: str) -> tuple[_Link, str | None]:
        """What a checkpoint says, and which one it follows."""
        self._recent.append(link)
        enough = sum(one.size for one in self._recent) >= _FOLD_BYTES
        if len(self._recent) == 1 or (len(self._recent) < _FOLD_AFTER and not enough):
            says, follows = link, self._parent
        else:
            says, follows = _Link.folded(self._recent), self._before_recent
            self._recent = [says]
        if enough:
            self._recent, self._before_recent = [], name
        return says, follows

    def load(self, entries: Sequence[Entry]) -> Resumed | None:
        """Read the newest chain that is whole; ``None`` where there is none, and the export begins anew.

        :param entries: what lies in the staging area.
        """
        sizes = {entry.key: entry.size for entry in entries if entry.key.startswith(f"{self._prefix}/")}
        names = [key.rpartition("/")[2] for key in sizes]
        heads = sorted((name for name in names if name.startswith("checkpoint-")), reverse=True)
        for head in heads:
            try:
                resumed = self._read(head, sizes)
            except _UNUSABLE as error:
                reason = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
                log.warning("The checkpoint %s cannot be used (%s); looking for an earlier one.", head, reason)
                continue
            self._sequence, self._parent = resumed.sequence, resumed.name
            return resumed
        return None

    def begin_anew(self) -> None:
        """Let the next checkpoint follow none; it is still newer than those that are there."""
        self._parent = self._before_recent = None
        self._recent = []

    def _read(self, head: str, sizes: Mapping[str, int]) -> Resumed:
        newest = self._document(head)
        key = newest["readings"]
        readings = json.loads(gzip.decompress(self._store.read(key))) if key else []
        seen, whole = IdSet(), bytearray()
        read = {reading["node"]["id"]: IdSet() for reading in readings}
        parts: list[StagedPart] = []
        recent: list[_Link] = []
        before: str | None = head
        full = False
        document: dict[str, Any] | None = newest
        while document is not None:
            link = _Link.read(document, read)
            seen.update(link.seen)
            whole += link.whole
            for thread, hashes in link.messages.items():
                read[thread].update(hashes)
            parts[:0] = link.parts
            full = full or sum(one.size for one in recent) + link.size >= _FOLD_BYTES
            if not full:
                recent, before = [link, *recent], document["parent"]
            document = self._document(document["parent"]) if document["parent"] else None
        for staged in parts:
            if sizes.get(staged.key) != staged.part.bytes:
                raise ValueError("a part that it names is missing")
        self._recent, self._before_recent = [_Link.folded(recent)] if recent else [], before
        return Resumed(
            progress=Progress.read(newest["progress"]),
            parts=parts,
            seen=seen,
            readings=readings,
            read=read,
            sequence=int(head.split("-")[1]),
            name=head,
            whole=bytes(whole),
        )

    def _document(self, name: str) -> dict[str, Any]:
        document = json.loads(self._store.read(f"{self._prefix}/{name}"))
        if document["version"] != VERSION:
            raise ValueError("written by another version")
        return dict(document)


def staged_part(row: Mapping[str, Any]) -> StagedPart:
    """Read what a checkpoint or a note says of a part."""
    values = dict(row)
    return StagedPart(values.pop("key"), kind=values.pop("kind"), part=Part(**values))
