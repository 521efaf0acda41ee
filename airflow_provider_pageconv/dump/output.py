"""The records of one folder's export on their way into part files."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import UNSET

from airflow_provider_pageconv.dump.checkpoint import ClosedPart
from airflow_provider_pageconv.dump.fast import written
from airflow_provider_pageconv.dump.formats import PartWriter
from airflow_provider_pageconv.dump.media import FETCHED, LINKED
from airflow_provider_pageconv.dump.packing import Packing
from airflow_provider_pageconv.dump.progress import Progress
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES, SETTLED, line, worth
from airflow_provider_pageconv.dump.threads import Reading
from airflow_provider_pageconv.graph.edges import Row

_LITTLE = 10_000
"""Records that are put in a moment."""


class Output:
    """Writes records into local files, and counts them.

    :param progress: what is counted, and the export's id.
    :param marks: what every record gets beside its node: Page, platform, folder.
    :param asks_for_details: whether more of messages than their ids and times is asked for.
    :param attached: has the files of a message fetched, and says whether it has any; ``None`` where they are not wanted.
    """

    def __init__(
        self,
        progress: Progress,
        *,
        scratch: Path,
        packing: Packing,
        marks: Mapping[str, str],
        file_format: str,
        compression: str,
        max_part_records: int,
        asks_for_details: bool,
        attached: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        self._progress = progress
        self._scratch, self._packing = scratch, packing
        self._marks = {**marks, "_export_id": progress.export_id}
        self._file_format, self._compression = file_format, compression
        self._max_part_records = max_part_records
        self._asks_for_details = asks_for_details
        self._attached = attached
        self._writers: dict[tuple[str, str], PartWriter] = {}
        self._closed: list[ClosedPart] = []

    def conversation(self, reading: Reading) -> None:
        """Write the record of a thread, in the state in which it was fetched."""
        self._progress.counts.conversations += 1
        self._note_truncated(CONVERSATIONS, reading.truncated)
        ours = {"_fetched_at": reading.fetched_at, "_unavailable": reading.thread.unavailable}
        self._write(CONVERSATIONS, "", line({**reading.node, **self._marks, "_carried": False, **ours}))

    def ordinary(self, threads: Sequence[Any], fetched_at: str, *, messages: bool) -> None:
        """Write the records of threads that went the fast way, and of the messages inside them.

        :param messages: whether there are any; they are taken out.
        """
        counts = self._progress.counts
        marks = {**self._marks, "_carried": False, "_fetched_at": fetched_at, "_unavailable": False}
        if messages:
            lines, count = bytearray(), 0
            for thread in threads:
                inner, thread.messages = thread.messages.data, UNSET
                lines += written(inner, {**marks, "_conversation_id": thread.id})
                count += len(inner)
            counts.messages += count
            self._write(MESSAGES, "", lines, count)
        counts.conversations += len(threads)
        self._write(CONVERSATIONS, "", written(threads, marks), len(threads))

    def message(self, reading: Reading, row: Row, fetched_at: str, *, owed: bool, asks_for_sender: bool) -> None:
        """Write the record of a message.

        :param owed: whether it belongs into the window; else nobody can tell, and it is only noted that it was listed.
        :param asks_for_sender: whether one without a sender came without its details.
        """
        ours = {
            "_fetched_at": fetched_at,
            "_unavailable": asks_for_sender and "from" not in row.node,
            "_conversation_id": reading.id,
        }
        record = {**row.node, **self._marks, "_carried": False, **ours}
        if owed:
            counts = self._progress.counts
            counts.messages += 1
            counts.messages_unavailable += record["_unavailable"]
            reading.thread.exported += 1
            self._note_truncated(MESSAGES, row.truncated)
            kind = "" if worth(record, asks_for_details=self._asks_for_details) == SETTLED else "bare"
            if self._attached is not None and self._attached(record):
                kind = kind or LINKED
        else:
            kind = "unowed"
        self._write(MESSAGES, kind, line(record))

    def left_out(self, thread: str, *, whole: bool) -> None:
        """Note a thread of which messages were written before it was known that somebody in it is to be left out.

        :param whole: whether nothing of it is to be published.
        """
        self._write(CONVERSATIONS, "left", line({"id": thread, "whole": whole}))

    def fetched(self, told: Mapping[str, Any]) -> None:
        """Note what came of a link."""
        self._write(MESSAGES, FETCHED, line(told))

    def _note_truncated(self, stream: str, truncated: Mapping[str, int]) -> None:
        for path, count in truncated.items():
            key = f"{stream}.{path}"
            self._progress.truncated[key] = self._progress.truncated.get(key, 0) + count

    def _write(self, stream: str, kind: str, lines: bytes | bytearray, records: int = 1) -> None:
        """Write records; a part holds no more than it may."""
        if not records:
            return
        writer = self._writers.get((stream, kind))
        if writer is None:
            local = self._scratch / f"{stream}-{secrets.token_hex(4)}"
            writer = self._writers[stream, kind] = PartWriter(
                local, stream, self._compression, self._packing, file_format=self._file_format
            )
        if records > 1 and writer.records + records > self._max_part_records:
            for one in lines.splitlines(keepends=True):
                self._write(stream, kind, one)
            return
        writer.write_lines(lines, records)
        if writer.records >= self._max_part_records:
            self._close(stream, kind)

    def _close(self, stream: str, kind: str) -> None:
        writer = self._writers.pop((stream, kind))
        self._closed.append(ClosedPart(writer.path, writer.close(), kind))

    @property
    def has_full_parts(self) -> bool:
        """Whether parts are finished and wait to be put."""
        return bool(self._closed)

    @property
    def is_little(self) -> bool:
        """Whether all that there is are few records, which wait for nothing before they are published."""
        waits = any(kind for _, kind in self._writers)
        return not (self._closed or waits) and sum(one.records for one in self._writers.values()) <= _LITTLE

    def close(self) -> list[ClosedPart]:
        """Finish the parts that are being written, and hand over all that are finished."""
        for stream, kind in list(self._writers):
            self._close(stream, kind)
        closed, self._closed = self._closed, []
        return closed

    def discard(self) -> None:
        """Leave what is not finished."""
        for writer in self._writers.values():
            writer.discard()
        self._writers.clear()
