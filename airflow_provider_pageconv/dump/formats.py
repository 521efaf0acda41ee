"""A file format: how its files are named, written and read back."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump.packing import PIECE, Packing
from airflow_provider_pageconv.dump.records import line
from airflow_provider_pageconv.dump.store_errors import told

_SUFFIXES = {("jsonl", "gzip"): ".jsonl.gz", ("jsonl", "none"): ".jsonl"}


class DamagedFile(Exception):  # noqa: N818 - what was found, not a fault of ours
    """A data file cannot be read; the sentence says why."""


def suffix(file_format: str, compression: str) -> str:
    """How the names of data files end.

    :raises KeyError: the format, or its compression, is not known.
    """
    return _SUFFIXES[file_format, compression]


def is_known(file_format: object, compression: object) -> bool:
    """Whether files of this kind can be read back."""
    return (file_format, compression) in _SUFFIXES


@dataclass(frozen=True)
class Part:
    """A finished part file.

    :param stream: which table it belongs to.
    :param bytes: its size as it lies in the destination.
    :param sha256: of the file as it lies in the destination.
    """

    stream: str
    records: int
    bytes: int
    sha256: str


class PartWriter:
    """Writes the records of one part into a local file of JSON Lines.

    :param path: where; must not exist.
    :param compression: ``gzip`` or ``none``.
    :param packing: the worker thread that compresses and writes; without one it is done where it is asked for.
    """

    def __init__(self, path: Path, stream: str, compression: str, packing: Packing | None = None) -> None:
        self.path = path
        self.stream = stream
        self.records = 0
        self._told = f"write {path}, which lies among the temporary files of the worker"
        with told(self._told):
            self._file = path.open("xb")
        # A gzip file without a time, so that the same records make the same bytes.
        self._packer = zlib.compressobj(6, zlib.DEFLATED, 31) if compression == "gzip" else None
        self._packing = packing
        self._buffer = bytearray()
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._failed: Exception | None = None

    def write(self, record: Mapping[str, Any]) -> None:
        """Add a record.

        :raises StoreError: the disk does not take what was written before.
        """
        self.write_lines(line(record), 1)

    def write_lines(self, lines: bytes | bytearray, records: int) -> None:
        """Add records as they stand in the file."""
        self._buffer += lines
        self.records += records
        if len(self._buffer) >= PIECE:
            self._hand_over()

    def close(self) -> Part:
        """Finish the file and tell what is in it.

        :raises StoreError: the disk does not take it.
        """
        self._hand_over()
        return self._packing.finish(self._finish) if self._packing else self._finish()

    def discard(self) -> None:
        """Leave the file unfinished and remove it."""
        self._packing.finish(self._leave) if self._packing else self._leave()

    def _hand_over(self) -> None:
        if self._failed is not None:
            raise self._failed
        piece, self._buffer = self._buffer, bytearray()
        if self._packing:
            self._packing.add(lambda: self._pack(piece), len(piece))
        else:
            self._pack(piece)

    # ---- in the worker thread that packs

    def _pack(self, piece: bytearray) -> None:
        if self._failed is None:
            self._put(self._packer.compress(piece) if self._packer else piece)

    def _put(self, data: bytes | bytearray) -> None:
        try:
            with told(self._told):
                self._file.write(data)
        except Exception as error:  # noqa: BLE001 - raised where somebody waits for it
            self._failed = error
        self._sha256.update(data)
        self._size += len(data)

    def _finish(self) -> Part:
        if self._packer:
            self._put(self._packer.flush())
        if self._failed is not None:
            self._leave()
            raise self._failed
        with told(self._told):
            self._file.close()
        return Part(self.stream, self.records, self._size, self._sha256.hexdigest())

    def _leave(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, for one: what cannot be written is not wanted any more
            self._file.close()
        self.path.unlink(missing_ok=True)


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a local data file, one by one, whatever its compression.

    :raises DamagedFile: it is not what it should be.
    """
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        lines: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        try:
            for text in lines:
                record = json_text.read(text)
                if not isinstance(record, dict) or not isinstance(record.get("id"), str):
                    raise DamagedFile("it holds what is no record")
                yield record
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise DamagedFile(str(error) or type(error).__name__) from None
