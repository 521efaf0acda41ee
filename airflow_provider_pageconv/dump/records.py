"""From a Graph node to a record, and from records to a part file."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from airflow_provider_pageconv.dump.store import told

CONVERSATIONS, MESSAGES = "conversations", "messages"
STREAMS = (CONVERSATIONS, MESSAGES)
SUFFIXES = {"gzip": ".jsonl.gz", "none": ".jsonl"}

_BUFFER = 64 * 1024
# What some readers take for the end of a line though JSON allows it inside a text.
_SEPARATORS = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def line(record: Mapping[str, Any]) -> bytes:
    """One JSON object in UTF-8 and a newline; lone surrogates stay the escapes that they came as."""
    text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_SEPARATORS).encode("utf-8", "backslashreplace") + b"\n"


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
    """Writes the records of one part into a local file.

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
