"""The files of attachments on their way: which links are still to be followed, and what came of the others. No thread, no sleep.

Links wait in local files, so that memory stays flat however many there are. The engine owns this: it takes up a
:class:`Job`, has it done elsewhere, beside the calls and outside of their pace, and hands back what came of it. A resumed try
learns what is still owed from the parts that wait: of messages with attachments, and of what came of links.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from airflow_provider_pageconv.dump.checkpoint import StagedPart
from airflow_provider_pageconv.dump.media import (
    FETCHED,
    LINKED,
    Attachment,
    attachment_key,
    attachments,
    has_attachments,
    link_key,
    media_of,
    staged_key,
)
from airflow_provider_pageconv.dump.people import LeftOut
from airflow_provider_pageconv.dump.progress import Progress
from airflow_provider_pageconv.dump.records import MESSAGES
from airflow_provider_pageconv.dump.scratch import database
from airflow_provider_pageconv.dump.store import Store
from airflow_provider_pageconv.dump.store_errors import told
from airflow_provider_pageconv.graph.media import MediaError, MediaRules
from airflow_provider_pageconv.graph.media_client import Fetched, Watch

SIDE_BY_SIDE = 8
"""Files of a task that are fetched at the same time."""

ATTEMPTS = 4
"""So often a file is asked for while the trouble is a passing one."""

_PAUSES = (2.0, 10.0, 30.0)
"""Seconds after which it is asked for again; others go first meanwhile."""

PATIENCE, LEAST_RATE = 60.0, 64 * 1024
"""A file that takes more than so many seconds has to have come at so many bytes a second."""


class MediaSource(Protocol):
    """What fetches files; see :class:`~airflow_provider_pageconv.graph.media_client.MediaClient`."""

    @property
    def rules(self) -> MediaRules: ...

    def fetch(self, link: str, mime_type: str, local: Path, watch: Watch) -> Fetched: ...


class Job(NamedTuple):
    """A link to be followed.

    :param known_as: the attachment within its message.
    :param attempt: how often it was tried.
    :param at: not before this moment of the monotonic clock.
    """

    message: str
    known_as: str
    link: str
    mime_type: str
    attempt: int = 0
    at: float = 0.0


class AlreadyThere(NamedTuple):
    """The export that is replaced has the file."""


Result = Fetched | AlreadyThere | MediaError


class _Waiting:
    """Jobs in a local file, first in, first out.

    :param path: of a file that may be there already.
    :param count: how many jobs it holds.
    """

    def __init__(self, path: Path, count: int = 0) -> None:
        self._path = path
        self._told = f"write {path}, which lies among the temporary files of the worker"
        self._count = count
        self._in: BinaryIO | None = None
        self._out: BinaryIO | None = None
        self._next: Job | None = None

    def __len__(self) -> int:
        return self._count

    def add(self, job: Job) -> None:
        """Put a job behind the others.

        :raises StoreError: the disk does not take it.
        """
        with told(self._told):
            if self._in is None:
                self._in = self._path.open("ab")
            self._in.write(json.dumps(job).encode() + b"\n")
        self._count += 1

    @property
    def first(self) -> Job | None:
        """The first of them."""
        if self._next is None and self._count:
            with told(self._told):
                if self._in is not None:
                    self._in.flush()
                if self._out is None:
                    self._out = self._path.open("rb")
                self._next = Job(*json.loads(self._out.readline()))
        return self._next

    def take(self) -> Job:
        """Take the first of them out."""
        job = self.first
        assert job is not None
        self._next = None
        self._count -= 1
        return job

    def finish(self) -> None:
        """Put nothing more in: the file is whole, for another one to take up."""
        if self._in is not None:
            self._in.close()

    def close(self) -> None:
        """Give the file back."""
        for file in (self._in, self._out):
            if file is not None:
                file.close()
        self._path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Prepared:
    """What earlier tries and exports left.

    :param owed: a local file of the jobs that earlier tries of the run left, and how many they are.
    :param had: a local database of the attachments whose files the replaced export has; ``None``: of none.
    """

    owed: tuple[Path, int] | None = None
    had: Path | None = None


class Downloads:
    """Those of one folder's export.

    :param source: fetches files.
    :param progress: what is counted; it is changed.
    :param staging: prefix of this run's staging area.
    :param scratch: a local folder.
    :param write: writes down what came of a link, for the next checkpoint.
    """

    def __init__(
        self,
        source: MediaSource,
        progress: Progress,
        store: Store,
        staging: str,
        scratch: Path,
        write: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._source = source
        self._progress = progress
        self._store, self._staging, self._scratch = store, staging, scratch
        self._write = write
        self._fresh = self._queue()
        self._again = self._queue()
        self._earlier: _Waiting | None = None
        self._had: Path | None = None
        self._is_prepared = False
        self._left: list[Job] = []
        self.under_way = 0

    def _queue(self) -> _Waiting:
        return _Waiting(self._scratch / f"links-{secrets.token_hex(4)}")

    # ---- what there is to do

    @property
    def waiting(self) -> int:
        """How many links are still to be followed, those that are being followed among them."""
        queues = (self._fresh, self._again, self._earlier or (), self._left)
        return sum(map(len, queues)) + self.under_way

    @property
    def is_prepared(self) -> bool:
        """Whether links may be followed."""
        return self._is_prepared

    @property
    def is_done(self) -> bool:
        """Whether all links that are known were followed."""
        return self._is_prepared and not self.waiting

    def prepared(self, found: Prepared) -> None:
        """Take up what earlier tries and exports left; before that no link is followed."""
        self._is_prepared = True
        self._had = found.had
        if found.owed is not None:
            self._earlier = _Waiting(*found.owed)

    def add(self, message: Mapping[str, Any]) -> bool:
        """Have the files of a message fetched that is being written.

        :return: whether it has attachments, so that it has to be written again in the end.
        """
        if not has_attachments(message):
            return False
        for job in jobs_of(message, self._source.rules):
            self._fresh.add(job)
        return True

    def next_at(self) -> float:
        """From when on there is a job, by the monotonic clock."""
        if not self._is_prepared:
            return float("inf")
        if self._left or self._fresh.first or (self._earlier and self._earlier.first):
            return float("-inf")
        return self._again.first.at if self._again.first else float("inf")

    def take(self) -> Job:
        """Begin a job; those that were tried before come last."""
        self.under_way += 1
        if self._left:
            return self._left.pop()
        return next(one for one in (self._earlier, self._fresh, self._again) if one).take()

    def work(self, job: Job) -> Callable[[Watch], Result]:
        """What follows a link, in a thread that owns none of this: the file goes into the staging area, by what it holds.

        It raises nothing but what ends the folder: the store, or the worker's own disk, does not do what it is asked to.
        """
        source, store, staging, had = self._source, self._store, self._staging, self._had
        local = self._scratch / f"media-{secrets.token_hex(4)}"

        def follow(watch: Watch) -> Result:
            if had is not None and _has(had, attachment_key(job.message, job.known_as)):
                return AlreadyThere()
            try:
                with told(f"write {local}, which lies among the temporary files of the worker", MediaError):
                    fetched = source.fetch(job.link, job.mime_type, local, watch)
                if not watch.is_left:
                    store.put(local, staged_key(staging, fetched.sha256))
            except MediaError as error:
                return error
            finally:
                local.unlink(missing_ok=True)
            return fetched

        return follow

    def got(self, job: Job, result: Result, now: float) -> None:
        """Take what came of a job.

        :param now: by the monotonic clock.
        """
        self.under_way -= 1
        counts = self._progress.media
        if isinstance(result, MediaError):
            if result.passing and job.attempt + 1 < ATTEMPTS:
                self._again.add(job._replace(attempt=job.attempt + 1, at=now + _PAUSES[job.attempt]))
                return
            counts.failed += 1
            told_of: dict[str, Any] = {"error": result.reason.value}
        elif isinstance(result, AlreadyThere):
            counts.there += 1
            told_of = {"there": True}
        else:
            counts.files += 1
            counts.bytes += result.bytes
            told_of = {"sha256": result.sha256, "bytes": result.bytes, "type": result.type}
        self._write({"id": job.message, "link": job.link, **told_of})

    def put_back(self, job: Job) -> None:
        """Nobody waits for a job any more; it is still owed, in this try or in the next one."""
        self.under_way -= 1
        self._left.append(job)

    def close(self) -> None:
        """Leave what is not done."""
        for queue in (self._fresh, self._again, self._earlier):
            if queue is not None:
                queue.close()


def jobs_of(message: Mapping[str, Any], rules: MediaRules) -> Iterator[Job]:
    """The links of a message that are to be followed."""
    for one in attachments(message, rules.takes):
        if one.link:
            yield _job(str(message["id"]), one)


def _job(message: str, one: Attachment) -> Job:
    return Job(message, one.known_as, one.link, one.mime_type)


# ---- what was before


_KEYS = "CREATE TABLE keys (key BLOB PRIMARY KEY) WITHOUT ROWID;"

Records = Callable[..., Iterator[dict[str, Any]]]
"""Reads the records of a file in the store: its key, and its row in a manifest, if it has to be true to one."""


def prepare(
    records: Records,
    parts: Sequence[StagedPart],
    staged: Callable[[str], int | None],
    staging: str,
    predecessor: Mapping[str, Any] | None,
    scratch: Path,
    rules: MediaRules,
    left: LeftOut | None,
) -> Prepared:
    """See what earlier tries of the run left to do, and which files the replaced export has.

    :param parts: of the earlier tries.
    :param staged: tells the size of a file in the staging area, if it is there.
    :param predecessor: the manifest that is replaced, if anything of it is to stay.
    :param left: people who are left out: nothing of theirs is fetched, whatever an earlier try began.
    """
    return Prepared(
        _owed(records, parts, staged, staging, scratch, rules, left) if parts else None,
        _had_by(records, predecessor, scratch) if predecessor is not None else None,
    )


def _owed(
    records: Records,
    parts: Sequence[StagedPart],
    staged: Callable[[str], int | None],
    staging: str,
    scratch: Path,
    rules: MediaRules,
    left: LeftOut | None,
) -> tuple[Path, int]:
    path = scratch / f"owed-{secrets.token_hex(4)}"
    done = scratch / f"done-{secrets.token_hex(4)}"
    queue = _Waiting(path)
    path.touch()
    try:
        with database(done, _KEYS, cache_kib=2_000) as known:
            for part in parts:
                for record in records(part.key) if part.kind == FETCHED else ():
                    sha256 = record.get("sha256")
                    if sha256 is None or staged(staged_key(staging, sha256)) == record["bytes"]:
                        _note(known, link_key(record["id"], record["link"]))
            for part in parts:
                if part.part.stream != MESSAGES or part.kind not in (LINKED, "bare"):
                    continue
                for record in records(part.key):
                    if left is not None and left.goes(record, shared=True):
                        continue
                    for job in jobs_of(record, rules):
                        if not _knows(known, link_key(job.message, job.link)):
                            queue.add(job)
    finally:
        done.unlink(missing_ok=True)
    queue.finish()
    return path, len(queue)


def _had_by(records: Records, predecessor: Mapping[str, Any], scratch: Path) -> Path | None:
    """The attachments whose files an export has, as a local database."""
    if not predecessor.get("media_files"):
        return None
    path = scratch / f"had-{secrets.token_hex(4)}"
    with database(path, _KEYS, cache_kib=2_000) as known:
        for file in predecessor["files"]:
            for record in records(str(file["path"]), file) if file["stream"] == MESSAGES else ():
                for known_as, value in media_of(record):
                    if "path" in value:
                        _note(known, attachment_key(record["id"], known_as))
        known.commit()
    return path


def _note(known: sqlite3.Connection, key: bytes) -> None:
    known.execute("INSERT OR IGNORE INTO keys VALUES (?)", (key,))


def _knows(known: sqlite3.Connection, key: bytes) -> bool:
    return known.execute("SELECT 1 FROM keys WHERE key = ?", (key,)).fetchone() is not None


def _has(path: Path, key: bytes) -> bool:
    """Whether a database that nobody writes any more holds a key; each look has a connection of its own, for threads do it."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)) as known:
        return _knows(known, key)
