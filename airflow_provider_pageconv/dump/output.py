"""The records of one folder's export on their way into part files."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_pageconv.dump.checkpoint import Checkpoints, Progress, StagedPart
from airflow_provider_pageconv.dump.destination import has_details, is_comparable
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES, Part, PartWriter
from airflow_provider_pageconv.dump.threads import Reading, Split


class Output:
    """Writes records, counts them, and stages parts as they fill up.

    :param progress: what is counted, and the export's id.
    :param marks: what every record gets beside its node: Page, platform, folder.
    :param against: ``until`` of the published export that may be replaced, seconds since the epoch.
    :param asks_for_sender: whether the sender of messages is asked for now.
    :param asks_for_details: whether anything is, beside id and time.
    :param parts: those that are staged already.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        progress: Progress,
        *,
        scratch: Path,
        marks: Mapping[str, str],
        against: float | None,
        compression: str,
        max_part_records: int,
        asks_for_sender: Callable[[], bool],
        asks_for_details: Callable[[], bool],
        parts: list[StagedPart],
    ) -> None:
        self._checkpoints = checkpoints
        self._progress = progress
        self._scratch = scratch
        self._marks = {**marks, "_export_id": progress.export_id}
        self._against = against
        self._compression = compression
        self._max_part_records = max_part_records
        self._asks_for_sender = asks_for_sender
        self._asks_for_details = asks_for_details
        self._writers: dict[str, PartWriter] = {}
        self._closed: list[tuple[Path, Part]] = []
        self.parts = parts
        self._named = len(parts)

    def conversation(self, reading: Reading) -> None:
        """Write the record of a thread, in the state in which it was fetched."""
        counts, item = self._progress.counts, reading.item
        record = {**item["node"], **self._marks, "_fetched_at": item["fetched_at"]}
        if reading.thread.unavailable:
            record["_unavailable"] = True
        counts.conversations += 1
        self._write(CONVERSATIONS, record, item["truncated"])

    def message(self, reading: Reading, message: Split, fetched_at: str) -> None:
        """Write the record of a message."""
        counts = self._progress.counts
        node, truncated = message
        record = {**node, **self._marks, "_fetched_at": fetched_at, "_conversation_id": reading.id}
        if "from" not in node and self._asks_for_sender():
            record["_unavailable"] = True
            counts.messages_unavailable += 1
        counts.messages += 1
        counts.messages_detailed += has_details(record)
        counts.comparable += is_comparable(record, self._against, asks_for_details=self._asks_for_details())
        reading.thread.exported += 1
        self._write(MESSAGES, record, truncated)

    def _write(self, stream: str, record: Mapping[str, Any], truncated: Mapping[str, int]) -> None:
        for path, count in truncated.items():
            key = f"{stream}.{path}"
            self._progress.truncated[key] = self._progress.truncated.get(key, 0) + count
        writer = self._writers.get(stream)
        if writer is None:
            local = self._scratch / f"{stream}-{secrets.token_hex(4)}"
            writer = self._writers[stream] = PartWriter(local, stream, self._compression)
        writer.write(record)
        if writer.records >= self._max_part_records:
            self._close(stream)
            self._stage()

    def _close(self, stream: str) -> None:
        writer = self._writers[stream]
        self._closed.append((writer.path, writer.close()))
        del self._writers[stream]

    def _stage(self) -> None:
        """Put the finished parts; one that cannot be put now stays to be put the next time."""
        while self._closed:
            path, part = self._closed[0]
            self.parts.append(self._checkpoints.stage(path, part, len(self.parts)))
            self._closed.pop(0)
            path.unlink()

    def close_all(self) -> None:
        """Finish the parts that are being written; one that cannot be finished is lost."""
        for stream in list(self._writers):
            self._close(stream)

    def stage_all(self) -> list[StagedPart]:
        """Stage the finished parts.

        :return: every part that no checkpoint names yet.
        """
        self._stage()
        return self.parts[self._named :]

    def note_saved(self) -> None:
        """Take note that a checkpoint names every part."""
        self._named = len(self.parts)

    def discard(self) -> None:
        """Leave what is not staged."""
        for writer in self._writers.values():
            writer.discard()
        self._writers.clear()
