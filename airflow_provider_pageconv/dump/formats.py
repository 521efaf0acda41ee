"""A file format: how its files are named, written and read back."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump import parquet, schema
from airflow_provider_pageconv.dump.packing import PIECE, Packing
from airflow_provider_pageconv.dump.records import line
from airflow_provider_pageconv.dump.store import Store
from airflow_provider_pageconv.dump.store_errors import told

JSONL, PARQUET = "jsonl", "parquet"

_SUFFIXES = {
    (JSONL, "gzip"): ".jsonl.gz",
    (JSONL, "none"): ".jsonl",
    # A file of Parquet tells its compression itself, and engines go by this ending.
    **{(PARQUET, compression): ".parquet" for compression in parquet.COMPRESSIONS},
}


class DamagedFile(Exception):  # noqa: N818 - what was found, not a fault of ours
    """A data file cannot be read; the sentence says why."""


def suffix(file_format: str, compression: str) -> str:
    """How the names of data files end.

    :raises KeyError: the format, or its compression, is not known.
    """
    return _SUFFIXES[file_format, compression]


def is_known(file_format: object, compression: object, schema_version: object) -> bool:
    """Whether files of this kind can be read back."""
    return (file_format, compression) in _SUFFIXES and schema_version == version_of(str(file_format))


def is_installed(file_format: str) -> bool:
    """Whether what reads and writes this format can be found on this machine."""
    return file_format != PARQUET or parquet.is_installed()


def version_of(file_format: str) -> int | None:
    """The version of the columns that files of this format have; ``None`` where they have none."""
    return schema.VERSION if file_format == PARQUET else None


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


class _Packer(Protocol):
    """Makes the bytes of a file of lines of JSON."""

    def compress(self, lines: bytes | bytearray, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Plain:
    """Leaves them as they are."""

    def compress(self, lines: bytes | bytearray) -> bytes:
        return bytes(lines)

    def flush(self) -> bytes:
        return b""


def _packer(stream: str, file_format: str, compression: str) -> _Packer:
    if file_format == PARQUET:
        return parquet.ParquetPacker(stream, compression)
    # A gzip file without a time, so that the same records make the same bytes.
    return zlib.compressobj(6, zlib.DEFLATED, 31) if compression == "gzip" else _Plain()


class PartWriter:
    """Writes the records of one part into a local file. Whatever the format, they come as lines of JSON.

    :param path: where; must not exist.
    :param compression: one that the format has.
    :param packing: the worker thread that compresses and writes; without one it is done where it is asked for.
    """

    def __init__(
        self, path: Path, stream: str, compression: str, packing: Packing | None = None, *, file_format: str = JSONL
    ) -> None:
        self.path = path
        self.stream = stream
        self.records = 0
        self._told = f"write {path}, which lies among the temporary files of the worker"
        with told(self._told):
            self._file = path.open("xb")
        self._packer = _packer(stream, file_format, compression)
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
            self._put(lambda: self._packer.compress(piece))

    def _put(self, make: Callable[[], bytes]) -> None:
        try:
            data = make()
            with told(self._told):
                self._file.write(data)
        except Exception as error:  # noqa: BLE001 - raised where somebody waits for it
            self._failed = error
            return
        self._sha256.update(data)
        self._size += len(data)

    def _finish(self) -> Part:
        if self._failed is None:
            self._put(self._packer.flush)
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
    """The records of a local data file, one by one, whatever its format and compression.

    :raises DamagedFile: it is not what it should be.
    """
    with path.open("rb") as raw:
        begins = raw.read(len(parquet.MAGIC))
        raw.seek(0)
        try:
            yield from map(_record, parquet.read_parquet(path) if begins == parquet.MAGIC else _read_lines(raw, begins))
        except (ValueError, EOFError, OSError, zlib.error) as error:
            raise DamagedFile(str(error) or type(error).__name__) from None


def stored_records(store: Store, key: str, scratch: Path, sha256: str | None = None) -> Iterator[dict[str, Any]]:
    """The records of a data file in the store, which lies in a local folder while they are read.

    :param sha256: what the file has to have.
    :raises FileNotFoundError: it is gone.
    :raises DamagedFile: it is not what it should be.
    """
    local = scratch / f"read-{secrets.token_hex(4)}"
    try:
        store.fetch(key, local)
        if sha256 is not None and _sha256(local) != sha256:
            raise DamagedFile("its SHA-256 is not the one that the manifest names")
        yield from read_records(local)
    finally:
        local.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    hashed = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            hashed.update(block)
    return hashed.hexdigest()


def read_batches(raw: BinaryIO, stream: str) -> Iterator[Any]:
    """The rows of a data file by the columns of ``docs/schema.md``, whatever its format and compression.

    It needs pyarrow. Readers of exports use it, the export itself does not.

    :param raw: the file, opened for reading; it has to be able to seek.
    :param stream: ``conversations`` or ``messages``, whichever the file holds.
    :return: record batches of pyarrow, in little memory.
    :raises DamagedFile: the file is not what it should be.
    """
    begins = raw.read(len(parquet.MAGIC))
    raw.seek(0)
    try:
        if begins == parquet.MAGIC:
            yield from parquet.read_batches(raw, stream)
        else:
            yield from parquet.batches(stream, map(_record, _read_lines(raw, begins)))
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DamagedFile(str(error) or type(error).__name__) from None


def _record(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict) or not isinstance(found.get("id"), str):
        raise DamagedFile("it holds what is no record")
    return found


def _read_lines(raw: BinaryIO, begins: bytes) -> Iterator[Any]:
    lines: IO[bytes] = gzip.GzipFile(fileobj=raw) if begins[:2] == b"\x1f\x8b" else raw  # type: ignore[assignment]
    return (json_text.read(text) for text in lines)
