"""What a replaced export had and the new one did not get stays, once each: the API forgets, a data set does not.

The new export's records are known by the hashes of their ids, in a small database on the worker's disk, so that memory stays
flat. The predecessor's files are read once, one by one; what is carried over from each becomes a part in the staging area
with a note beside it, so that a kill loses one file's work.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.dump.attaching import Attaching, MediaCarried
from airflow_provider_pageconv.dump.checkpoint import StagedPart, staged_part
from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.formats import DamagedFile, PartWriter, stored_records
from airflow_provider_pageconv.dump.idset import WIDTH, digest
from airflow_provider_pageconv.dump.manifest_file import Manifest
from airflow_provider_pageconv.dump.media import FETCHED, LINKED
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES, SETTLED, STREAMS, worth
from airflow_provider_pageconv.dump.refusals import OVERWRITE
from airflow_provider_pageconv.dump.scratch import database
from airflow_provider_pageconv.dump.spec import Spec
from airflow_provider_pageconv.dump.store import Store
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.dump.tally import Tally
from airflow_provider_pageconv.graph.fields import REQUIRED_OF_MESSAGES
from airflow_provider_pageconv.times import moment

log = logging.getLogger(__name__)

_BATCH = 100_000
_CARRIED = SETTLED + 1
"""Worth of a message that stays as it was published."""

_UNOWED = -1
"""Worth of a message that was listed, but of which nobody can tell whether it belongs into the window."""

_TABLES = """
CREATE TABLE messages (id BLOB PRIMARY KEY, worth INT) WITHOUT ROWID;
CREATE TABLE conversations (id BLOB PRIMARY KEY) WITHOUT ROWID;
-- Threads that were read to their end, and threads of which messages were carried over.
CREATE TABLE whole (id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE wanted (id BLOB PRIMARY KEY) WITHOUT ROWID;
"""

_Threads = dict[bytes, bool]
"""Threads with people who are left out, by the hash of their id; whether all of the thread goes."""


@dataclass
class Carried:
    """What lies in the files in the end, beside what the new export counted.

    :param parts: all parts to publish.
    :param dropped: bare messages of the new export that are not written, since better or earlier ones stay.
    :param left: what is not published, since people are left out.
    :param unsettled: messages of which nobody can tell whether they belong into the window, and which no file holds.
    :param media: the files of attachments.
    """

    parts: list[StagedPart] = field(default_factory=list)
    conversations: int = 0
    messages: int = 0
    unavailable: int = 0
    conversations_unavailable: int = 0
    gone: int = 0
    dropped: int = 0
    dropped_unavailable: int = 0
    unsettled: int = 0
    left: Tally = field(default_factory=Tally)
    media: MediaCarried = field(default_factory=MediaCarried)


@dataclass(frozen=True)
class Listed:
    """What the new export's walk saw of the API, beside what it wrote.

    :param whole: a local file of the hashes of the threads whose messages were read to their end, as many as
        ``message_count`` says; ``None`` where nobody looked.
    :param gone: hashes of the conversations that the walk did not meet and that do not exist by their own id.
    :param began: when the walk did; of what somebody else fetched later it can say nothing.
    """

    whole: Path | None = None
    gone: frozenset[bytes] = frozenset()
    began: datetime | None = None


class Carrier:
    """Carries over, for one folder's window.

    :param staging: prefix of this run's staging area.
    :param parts: those of the new export, in the staging area.
    :param earlier: so many of them, the first, were written by earlier tries, who may have left out fewer people.
    :param media: makes what puts the files of attachments beside them, where they are fetched; once for each publication.
    """

    def __init__(
        self,
        spec: Spec,
        store: Store,
        staging: str,
        scratch: Path,
        parts: Sequence[StagedPart],
        listed: Listed,
        *,
        earlier: int = 0,
        media: Callable[[], contextlib.AbstractContextManager[Attaching]] | None = None,
    ) -> None:
        self._spec = spec
        self._store = store
        self._staging = staging
        self._scratch = scratch
        self._fetched = [staged for staged in parts if staged.kind == FETCHED]
        self._parts = [staged for staged in parts if staged.kind != FETCHED]
        self._earlier = sum(staged.kind != FETCHED for staged in parts[:earlier])
        self._media = media
        self._attaching: Attaching | None = None
        self._left_out = spec.people.left_out
        self._left: Tally | None = None
        self._listed = listed
        self._asks_for_details = asks_for_details(spec)

    @property
    def may_repeat(self) -> bool:
        """Whether there are messages that another window of the folder may hold as well."""
        window = self._spec.window
        return window.until is not None and any(staged.kind == "bare" for staged in self._parts)

    def settle(self, predecessor: Manifest | None, others: Sequence[Manifest]) -> Carried:
        """Settle what is published.

        :param predecessor: what is replaced, if anything that is to stay is.
        :param others: the manifests of the folder's other windows.
        :raises DumpRefused: the predecessor cannot be read back.
        """
        if self._media is None:
            return self._settle(predecessor, others)
        with self._media() as self._attaching:
            self._attaching.note_came(record for staged in self._fetched for record in self.records(staged.key))
            if predecessor is not None:
                self._note_files(predecessor, self._attaching)
            carried = self._settle(predecessor, others)
            carried.media = self._attaching.carried()
        return carried

    def _note_files(self, predecessor: Manifest, attaching: Attaching) -> None:
        """Take note of the files of attachments that the replaced export has, and which messages they belong to."""
        attaching.note_there(predecessor["files"])
        if predecessor.get("media_files"):
            for file in predecessor["files"]:
                if file["stream"] == MESSAGES:
                    attaching.note_had(self.records(str(file["path"]), checked=file))

    def _settle(self, predecessor: Manifest | None, others: Sequence[Manifest]) -> Carried:
        left = self._leave_out()
        bare = [staged for staged in self._parts if staged.kind == "bare"]
        unowed = [staged for staged in self._parts if staged.kind == "unowed"]
        linked = [staged for staged in self._parts if staged.kind == LINKED]
        if predecessor is None and not (bare and others):
            again = [*bare, *linked] if self._attaching is not None else []
            kept = [staged for staged in self._parts if staged.kind != "unowed" and staged not in again]
            alone = Carried(kept, unsettled=sum(staged.part.records for staged in unowed), left=left)
            self._write_bare(again, None, alone)
            return alone
        with self._database() as known:
            self._index(known)
            carried = Carried([staged for staged in self._parts if not staged.kind], left=left)
            if predecessor is not None:
                self._carry(predecessor, known, carried)
            self._note_elsewhere(bare, others, known)
            self._write_bare([*bare, *linked], known, carried)
            [(carried.unsettled,)] = known.execute("SELECT count(*) FROM messages WHERE worth = ?", (_UNOWED,))
        return carried

    @contextlib.contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """What is known, by the hashes of ids."""
        path = self._scratch / f"known-{secrets.token_hex(4)}"
        try:
            with database(path, _TABLES, cache_kib=16_000) as known:
                yield known
        finally:
            path.unlink(missing_ok=True)

    def missing(self, predecessor: Manifest, most: int) -> list[str]:
        """Ids of conversations that the predecessor has and the new export has not.

        :param most: no more than so many.
        """
        found: list[str] = []
        left = self._left_out
        with self._database() as known:
            self._index(known)
            for file in predecessor["files"]:
                for record in self.records(str(file["path"]), checked=file) if file["stream"] == CONVERSATIONS else ():
                    if left is not None and left.goes_whole(record):
                        continue
                    if len(found) < most and not self._has_conversation(record, known):
                        found.append(record["id"])
        return found

    def _has_conversation(self, record: Mapping[str, Any], known: sqlite3.Connection) -> bool:
        row = known.execute("SELECT 1 FROM conversations WHERE id = ?", (digest(record["id"]),)).fetchone()
        return row is not None

    # ---- people who are left out

    def _leave_out(self) -> Tally:
        """Take out of the parts of earlier tries who was not left out then; once.

        :return: what went with them.
        """
        if self._left is not None:
            return self._left
        self._left = left = Tally()
        notes = [staged for staged in self._parts if staged.kind == "left"]
        parts = [staged for staged in self._parts if staged.kind != "left"]
        before = {staged.key for staged in self._parts[: self._earlier]}
        if self._left_out is not None and before:
            threads: _Threads = {}
            for staged in notes:
                for record in self.records(staged.key):
                    _note(threads, record["id"], whole=record["whole"])
            for staged in parts:
                if staged.key in before and staged.part.stream == CONVERSATIONS:
                    self._note_threads(self.records(staged.key), threads)
            parts = [
                made
                for staged in parts
                for made in (self._without(staged, threads, left) if staged.key in before else [staged])
            ]
        self._parts = parts
        return left

    def _note_threads(self, conversations: Iterator[dict[str, Any]], threads: _Threads) -> None:
        """Take note of the threads in which somebody is left out."""
        assert self._left_out is not None
        for record in conversations:
            if self._left_out.are_in(record):
                _note(threads, record["id"], whole=self._left_out.goes_whole(record))

    def _kept(self, stream: str, record: dict[str, Any], threads: _Threads) -> Mapping[str, Any] | None:
        """What is kept of a record; the very same object where that is all of it, ``None`` where it goes."""
        left = self._left_out
        if left is None:
            return record
        whole = threads.get(digest(str(record["id" if stream == CONVERSATIONS else "_conversation_id"])))
        if whole or (stream == MESSAGES and left.goes(record, shared=whole is not None)):
            return None
        return left.take_out(stream, record)

    def _without(self, staged: StagedPart, threads: _Threads, left: Tally) -> list[StagedPart]:
        """A part without who is left out; the same where they are not in it."""
        local = self._scratch / f"left-{secrets.token_hex(4)}"
        stream, changed = staged.part.stream, False
        writer = self._writer(local, stream)
        for record in self.records(staged.key):
            kept = self._kept(stream, record, threads)
            changed = changed or kept is not record
            if kept is not None:
                writer.write(kept)
            elif staged.kind != "unowed":
                whole = bool(threads.get(digest(str(record.get("_conversation_id")))))
                left.count(stream, record, whole=whole)
        if not changed:
            writer.discard()
            return [staged]
        part = writer.close()
        made = StagedPart(f"{self._staging}/settled-{secrets.token_hex(8)}", part, staged.kind)
        if part.records:
            self._store.put(local, made.key)
        local.unlink()
        return [made] if part.records else []

    # ---- what the new export has

    def _index(self, known: sqlite3.Connection) -> None:
        for staged in self._parts:
            rows = self.records(staged.key)
            if staged.part.stream == CONVERSATIONS:
                _insert(known, "INSERT OR IGNORE INTO conversations VALUES (?)", ((digest(row["id"]),) for row in rows))
                continue
            worths = (
                (
                    digest(row["id"]),
                    _UNOWED if staged.kind == "unowed" else SETTLED if not staged.kind else self._worth(row),
                )
                for row in rows
            )
            _insert(known, "INSERT OR IGNORE INTO messages VALUES (?, ?)", worths)
        if self._listed.whole is not None:
            with self._listed.whole.open("rb") as file:
                hashes = ((hashed,) for hashed in iter(lambda: file.read(WIDTH), b""))
                _insert(known, "INSERT OR IGNORE INTO whole VALUES (?)", hashes)

    def _worth(self, record: Mapping[str, Any]) -> int:
        return worth(record, asks_for_details=self._asks_for_details)

    # ---- what its predecessor had

    def _carry(self, predecessor: Manifest, known: sqlite3.Connection, carried: Carried) -> None:
        files = [file for file in predecessor["files"] if file["stream"] in STREAMS]
        files.sort(key=lambda file: file["stream"] != MESSAGES)
        threads: _Threads = {}
        if self._left_out is not None:
            for file in files:
                if file["stream"] == CONVERSATIONS:
                    self._note_threads(self.records(str(file["path"]), checked=file), threads)
        for number, file in enumerate(files):
            note_key = f"{self._staging}/carried-{_mark(predecessor, file, self._spec.keep_deleted)}"
            note = self._note(note_key)
            if note is None or not self._holds_none_left_out(note, threads):
                note = self._carry_file(file, known, number, threads)
                self._store.put_bytes(json.dumps(note).encode(), note_key)
            else:
                self._replay(note, known)
            if note["part"] is not None:
                carried.parts.append(staged_part(note["part"]))
            for name in ("conversations", "messages", "unavailable", "conversations_unavailable", "gone"):
                setattr(carried, name, getattr(carried, name) + note[name])

    def _note(self, key: str) -> dict[str, Any] | None:
        """What an earlier try carried over from a file."""
        try:
            note = json.loads(self._store.read(key))
        except (FileNotFoundError, ValueError):
            return None
        return note if isinstance(note, dict) else None

    def _holds_none_left_out(self, note: Mapping[str, Any], threads: _Threads) -> bool:
        """Whether what an earlier try carried over from a file has nobody in it who is to be left out now."""
        part = note["part"]
        if self._left_out is None or part is None:
            return True
        records = self.records(part["key"])
        return all(self._kept(part["stream"], record, threads) is record for record in records)

    def _carry_file(
        self, file: Mapping[str, Any], known: sqlite3.Connection, number: int, threads: _Threads
    ) -> dict[str, Any]:
        """Carry over from one file; returns what a note says of it."""
        stream = str(file["stream"])
        counts = dict.fromkeys(("conversations", "messages", "unavailable", "conversations_unavailable", "gone"), 0)
        local = self._scratch / f"carried-{secrets.token_hex(4)}"
        writer: PartWriter | None = None
        for found in self.records(str(file["path"]), checked=file):
            record = self._kept(stream, found, threads)
            if record is None:
                continue
            stays, gone = (self._message if stream == MESSAGES else self._conversation)(record, known)
            if not stays:
                continue
            if writer is None:
                writer = self._writer(local, stream)
            unavailable = bool(record.get("_unavailable"))
            writer.write({**record, "_unavailable": unavailable, "_carried": True})
            self._note_carried(stream, record, known)
            if stream == MESSAGES:
                counts["messages"] += 1
                counts["unavailable"] += unavailable
                counts["gone"] += gone
            else:
                counts["conversations"] += 1
                counts["conversations_unavailable"] += unavailable
        if writer is None:
            return {"part": None, **counts}
        part = writer.close()
        staged = StagedPart(f"{self._staging}/carry-{number:06d}-{stream}-{secrets.token_hex(4)}", part)
        self._store.put(local, staged.key)
        local.unlink()
        return {"part": {"key": staged.key, "kind": "", **asdict(part)}, **counts}

    def _message(self, record: Mapping[str, Any], known: sqlite3.Connection) -> tuple[bool, bool]:
        """Whether a message of the predecessor stays, and whether it is gone from the API."""
        row = known.execute("SELECT worth FROM messages WHERE id = ?", (digest(record["id"]),)).fetchone()
        if row is not None:
            return self._worth(record) > row[0], False
        thread = digest(str(record.get("_conversation_id")))
        gone = known.execute("SELECT 1 FROM whole WHERE id = ?", (thread,)).fetchone() is not None
        gone = gone and not self._came_later(record) and not self._may_lie_behind(record)
        gone = gone or thread in self._listed.gone
        return not gone or self._spec.keep_deleted, gone

    def _came_later(self, record: Mapping[str, Any]) -> bool:
        """Whether a message may have come only after its thread was read here: another run at work fetched it since."""
        began = self._listed.began
        try:
            return began is not None and moment(str(record.get("_fetched_at"))) > began
        except (ValueError, TypeError):
            return False

    def _may_lie_behind(self, record: Mapping[str, Any]) -> bool:
        """Whether a message may be listed behind the window's end: a bare id gets its time back when newer ones go away."""
        return self._spec.window.until is not None and record.get("created_time") is None

    def _conversation(self, record: Mapping[str, Any], known: sqlite3.Connection) -> tuple[bool, bool]:
        """Whether a conversation of the predecessor stays; the messages that do were settled before."""
        hashed = digest(record["id"])
        if self._has_conversation(record, known):
            return False, False
        if hashed not in self._listed.gone or self._spec.keep_deleted:
            return True, False
        return known.execute("SELECT 1 FROM wanted WHERE id = ?", (hashed,)).fetchone() is not None, False

    def _note_carried(self, stream: str, record: Mapping[str, Any], known: sqlite3.Connection) -> None:
        """Take note that a record stays: of the same id none is written any more."""
        if stream == CONVERSATIONS:
            known.execute("INSERT OR IGNORE INTO conversations VALUES (?)", (digest(record["id"]),))
        else:
            if self._attaching is not None:
                self._attaching.keep(record)
            known.execute("INSERT OR REPLACE INTO messages VALUES (?, ?)", (digest(record["id"]), _CARRIED))
            known.execute("INSERT OR IGNORE INTO wanted VALUES (?)", (digest(str(record.get("_conversation_id"))),))

    def _replay(self, note: Mapping[str, Any], known: sqlite3.Connection) -> None:
        """Take note again of what an earlier try carried over."""
        if note["part"] is not None:
            for record in self.records(note["part"]["key"]):
                self._note_carried(note["part"]["stream"], record, known)

    def _is_beaten(self, record: Mapping[str, Any], known: sqlite3.Connection) -> bool:
        """Whether another record of a message stays."""
        [worth] = known.execute("SELECT worth FROM messages WHERE id = ?", (digest(record["id"]),)).fetchone()
        return bool(worth == _CARRIED)

    # ---- what waited apart

    def _note_elsewhere(
        self, bare: Sequence[StagedPart], others: Sequence[Manifest], known: sqlite3.Connection
    ) -> None:
        """Take note of bare undated messages that another window of the folder holds: they are not written again."""
        if not bare or not others:
            return
        for manifest in others:
            for file in manifest["files"]:
                if file["stream"] == MESSAGES:
                    marks = ((_CARRIED, digest(record["id"])) for record in self.records(file["path"], checked=file))
                    # Worth 0 is bare and undated.
                    _insert(known, "UPDATE messages SET worth = ? WHERE id = ? AND worth = 0", marks)

    def _write_bare(self, bare: Sequence[StagedPart], known: sqlite3.Connection | None, carried: Carried) -> None:
        """Write again those of the messages that waited apart of which no better record stays, with what came of their links."""
        for staged in bare:
            local = self._scratch / f"bare-{secrets.token_hex(4)}"
            writer = self._writer(local, MESSAGES)
            filled = False
            for record in self.records(staged.key):
                if known is not None and self._is_beaten(record, known):
                    carried.dropped += 1
                    carried.dropped_unavailable += bool(record["_unavailable"])
                else:
                    made = self._attaching.fill(record) if self._attaching is not None else record
                    filled = filled or made is not record
                    writer.write(made)
            if writer.records == staged.part.records and not filled:
                writer.discard()
                carried.parts.append(replace(staged, kind=""))
                continue
            part = writer.close()
            if part.records:
                settled = StagedPart(f"{self._staging}/settled-{secrets.token_hex(8)}", part)
                self._store.put(local, settled.key)
                carried.parts.append(settled)
            local.unlink()

    # ---- files

    def _writer(self, local: Path, stream: str) -> PartWriter:
        return PartWriter(local, stream, self._spec.compression, file_format=self._spec.file_format)

    def records(self, key: str, checked: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """The records of a file in the store.

        :param checked: its row in a manifest, which it has to be true to.
        :raises DumpRefused: it is not.
        """
        try:
            yield from stored_records(
                self._store, key, self._scratch, checked["sha256"] if checked is not None else None
            )
        except FileNotFoundError:
            if checked is None:
                raise StoreError(f"Cannot read {key}: it is gone.") from None
            raise DumpRefused(_damaged(key, "it is gone")) from None
        except DamagedFile as damage:
            raise DumpRefused(_damaged(key, str(damage))) from None


def _note(threads: _Threads, thread: str, *, whole: bool) -> None:
    hashed = digest(thread)
    threads[hashed] = threads.get(hashed, False) or whole


def _damaged(key: str, reason: str) -> str:
    return f"{key}, a file of the export that is to be replaced, is damaged: {reason}. It stays as it is; {OVERWRITE}."


def asks_for_details(spec: Spec) -> bool:
    """Whether more of messages than their ids and times is asked for."""
    return not spec.fields_of_messages.names <= {*REQUIRED_OF_MESSAGES}


def _mark(predecessor: Manifest, file: Mapping[str, Any], keep_deleted: bool) -> str:
    """Names what was carried over from a file, for a later try to find it."""
    text = json.dumps([predecessor["export_id"], file["path"], file["sha256"], keep_deleted])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _insert(known: sqlite3.Connection, statement: str, rows: Iterator[tuple[Any, ...]]) -> None:
    """Run a statement for many rows; sorted in batches, so that a large table is not written all over the disk."""
    batch: list[tuple[Any, ...]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            known.executemany(statement, sorted(batch))
            batch.clear()
    known.executemany(statement, sorted(batch))
    known.commit()
