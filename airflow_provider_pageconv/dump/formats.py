"""A file format: how its files are named, written and read back."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from airflow_provider_pageconv.dump.records import line
from airflow_provider_pageconv.dump.store import told

_SUFFIXES = {("jsonl", "gzip"): ".jsonl.gz", ("jsonl", "none"): ".jsonl"}
_BUFFER = 64 * 1024


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


class _Hashing:
    """A file that is hashed and counted while it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


class PartWriter:
    """Writes the records of one part into a local file of JSON Lines.

    :param path: where; must not exist.
    :param compression: ``gzip`` or ``none``.
    """

    def __init__(self, path: Path, stream: str, compression: str) -> None:
        self.path = path
        self.stream = stream
        self.records = 0
        self._told = f"write {path}, which lies among the temporary files of the worker"
        with told(self._told):
            self._raw = path.open("xb")
        self._sink = _Hashing(self._raw)
        self._gzip = (
            gzip.GzipFile(filename="", fileobj=self._sink, mode="wb", mtime=0, compresslevel=6)
            if compression == "gzip"
            else None
        )
        self._buffer = bytearray()

    def write(self, record: Mapping[str, Any]) -> None:
        self._buffer += line(record)
        self.records += 1
        if len(self._buffer) >= _BUFFER:
            self._drain()

    def close(self) -> Part:
        """Finish the file and tell what is in it."""
        self._drain()
        with told(self._told):
            if self._gzip:
                self._gzip.close()
            self._raw.close()
        return Part(self.stream, self.records, self._sink.size, self._sink.sha256.hexdigest())

    def discard(self) -> None:
        """Leave the file unfinished and remove it."""
        with contextlib.suppress(OSError):  # a full disk, for one: what cannot be written is not wanted any more
            self._raw.close()
        self.path.unlink(missing_ok=True)

    def _drain(self) -> None:
        with told(self._told):
            (self._gzip or self._sink).write(bytes(self._buffer))
        self._buffer.clear()


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
                record = json.loads(text)
                if not isinstance(record, dict) or not isinstance(record.get("id"), str):
                    raise DamagedFile("it holds what is no record")
                yield record
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise DamagedFile(str(error) or type(error).__name__) from None
