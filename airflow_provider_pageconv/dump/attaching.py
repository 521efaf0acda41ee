"""What came of links, put beside the attachments when an export is published, and which files have to be published with it.

It is known by hashes in a small database on the worker's disk, so that memory stays flat.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.dump.file_table import FileTable, Row
from airflow_provider_pageconv.dump.media import (
    MEDIA,
    attachment_key,
    attachments,
    ending,
    link_key,
    media_of,
    with_media,
)
from airflow_provider_pageconv.dump.scratch import database
from airflow_provider_pageconv.graph.media import MediaRules, Reason

_TABLES = """
-- What came of the links of this export, by link; what the replaced one has, by attachment.
CREATE TABLE came (key BLOB PRIMARY KEY, told TEXT) WITHOUT ROWID;
CREATE TABLE had (key BLOB PRIMARY KEY, told TEXT) WITHOUT ROWID;
CREATE TABLE there (path TEXT PRIMARY KEY, bytes INT, sha256 TEXT) WITHOUT ROWID;
CREATE INDEX there_by_content ON there (sha256);
-- What is published in the end, by what it holds.
CREATE TABLE named (sha256 TEXT PRIMARY KEY, path TEXT) WITHOUT ROWID;
"""

IS_NEW = 1
"""Mark of a file that waits in the staging area; else it is published already, by the export that is replaced."""


@dataclass
class MediaCarried:
    """The files of what is published.

    :param files: each marked where it is new.
    :param failed: attachments in it whose files could not be had, by reason.
    """

    files: Collection[Row] = ()
    failed: Counter[str] = field(default_factory=Counter)


class Attaching:
    """Puts what came of links into records, for one publication.

    :param folder: where the files of this publication go; a name that was never used.
    :param known: an empty database with the tables of this.
    """

    def __init__(self, rules: MediaRules, folder: str, known: sqlite3.Connection) -> None:
        self._rules = rules
        self._folder = folder
        self._failed: Counter[str] = Counter()
        self._known = known
        self._files = FileTable()

    @classmethod
    @contextlib.contextmanager
    def at(cls, rules: MediaRules, stream: str, export_id: str, scratch: Path) -> Iterator[Attaching]:
        """One for a publication.

        :param stream: where the window's files lie.
        :raises StoreError: what has to be known does not fit on the worker's disk.
        """
        path = scratch / f"attaching-{secrets.token_hex(4)}"
        try:
            with database(path, _TABLES, cache_kib=2_000) as known:
                yield cls(rules, f"{stream}/{export_id}-{secrets.token_hex(4)}", known)
        finally:
            path.unlink(missing_ok=True)

    def note_came(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take note of what came of links; of two the one that has a file."""
        for record in records:
            key = link_key(record["id"], record["link"])
            told = json.dumps({name: value for name, value in record.items() if name not in ("id", "link")})
            how = "INSERT OR IGNORE" if "error" in record else "INSERT OR REPLACE"
            self._known.execute(f"{how} INTO came VALUES (?, ?)", (key, told))

    def note_there(self, files: Iterable[Mapping[str, Any]]) -> None:
        """Take note of the files that the replaced export names."""
        rows = ((file["path"], file["bytes"], file["sha256"]) for file in files if file["stream"] == MEDIA)
        self._known.executemany("INSERT OR IGNORE INTO there VALUES (?, ?, ?)", rows)

    def note_had(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take note of what stands in messages of the replaced export."""
        for record in records:
            for known_as, value in media_of(record):
                if "path" in value:
                    key = attachment_key(record["id"], known_as)
                    self._known.execute("INSERT OR IGNORE INTO had VALUES (?, ?)", (key, json.dumps(value)))

    def keep(self, record: Mapping[str, Any]) -> None:
        """Keep the files of a message that is carried over as it was published."""
        for _, value in media_of(record):
            if "path" in value:
                self._keep(str(value["path"]))
            elif "error" in value:
                self._failed[str(value["error"])] += 1

    def fill(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """A message of this export with what came of its links; the very same object where that is nothing."""
        found = [
            self._found(str(record["id"]), one.known_as, one.link) for one in attachments(record, self._rules.takes)
        ]
        self._failed.update(one["error"] for one in found if one is not None and "error" in one)
        return with_media(record, found)

    def _found(self, message: str, known_as: str, link: str) -> Mapping[str, Any] | None:
        came = self._told("came", link_key(message, link)) if link else None
        if came is not None and "sha256" in came:
            return {"path": self._name(came), **came}
        # What could not be had now the replaced export may have: nothing is forgotten.
        had = self._told("had", attachment_key(message, known_as))
        if had is not None and self._keep(str(had["path"])):
            return had
        if not link:
            return None
        if came is None:
            return {"error": Reason.SKIPPED.value}
        return came if "error" in came else {"error": Reason.LOST.value}

    def _name(self, came: Mapping[str, Any]) -> str:
        """Where a file is published: once within the window, whatever points to it, and where it is already if it is."""
        sha256 = came["sha256"]
        for statement in ("SELECT path FROM named WHERE sha256 = ?", "SELECT path FROM there WHERE sha256 = ? LIMIT 1"):
            if (row := self._known.execute(statement, (sha256,)).fetchone()) is not None:
                self._keep(str(row[0]))
                return str(row[0])
        path = f"{self._folder}/{sha256}.{ending(came['type'])}"
        self._known.execute("INSERT INTO named VALUES (?, ?)", (sha256, path))
        self._files.add(path, came["bytes"], IS_NEW)
        return path

    def _told(self, table: str, key: bytes) -> dict[str, Any] | None:
        row = self._known.execute(f"SELECT told FROM {table} WHERE key = ?", (key,)).fetchone()  # noqa: S608 - one of two
        return json.loads(row[0]) if row is not None else None

    def _keep(self, path: str) -> bool:
        """Let a file of the replaced export stay; whether it has it."""
        row = self._known.execute("SELECT path, bytes FROM there WHERE path = ?", (path,)).fetchone()
        if row is not None:
            self._files.add(*row)
        return row is not None

    def carried(self) -> MediaCarried:
        """All that is to be published of files."""
        return MediaCarried(self._files, self._failed)
