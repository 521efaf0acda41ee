"""Parquet files: lines of JSON go in, row groups come out, and records come back; pyarrow is loaded as in :mod:`.arrow`."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_provider_pageconv.dump import schema
from airflow_provider_pageconv.dump.arrow import arrow_schema, columns, of_records, rows
from airflow_provider_pageconv.dump.schema import COLUMNS, from_row

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"PAR1"
"""What a file begins with: https://parquet.apache.org/docs/file-format/."""

COMPRESSIONS = ("zstd", "gzip", "snappy", "none")

_GROUP_RECORDS, _GROUP_BYTES = 20_000, 8 * 1024 * 1024
"""A row group ends with so many records, or so many bytes of them as lines of JSON; all of it is held in memory at once."""

_AT_ONCE_BYTES = 1024 * 1024
"""Lines that are made columns together."""

_READ_AT_ONCE = 1000

_STREAM, _VERSION = "pageconv.stream", "pageconv.schema_version"
"""What a file says of itself among its key-value metadata."""


def is_installed() -> bool:
    """Whether pyarrow can be found; it is not loaded."""
    return importlib.util.find_spec("pyarrow") is not None


# ---- writing


class _Sink(io.RawIOBase):
    """Where pyarrow writes to; what it wrote is taken out again after each row group."""

    def __init__(self) -> None:
        super().__init__()
        self._written: list[bytes] = []
        self._at = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        piece = bytes(data)
        self._written.append(piece)
        self._at += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._at

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken


class ParquetPacker:
    """Makes a file of lines of JSON, piece by piece, as an object of :func:`zlib.compressobj` does.

    :param compression: one of :data:`COMPRESSIONS`.
    """

    def __init__(self, stream: str, compression: str) -> None:
        self._stream = stream
        self._compression = compression
        self._sink = _Sink()
        self._writer: Any = None
        self._lines = bytearray()
        self._tables: list[Any] = []
        self._records = self._bytes = 0

    def compress(self, lines: bytes | bytearray) -> bytes:
        """Add whole lines; returns what of the file is finished."""
        self._lines += lines
        if len(self._lines) >= _AT_ONCE_BYTES:
            self._make_columns()
        if self._records >= _GROUP_RECORDS or self._bytes >= _GROUP_BYTES:
            self._write_group()
        return self._sink.take()

    def flush(self) -> bytes:
        """Finish the file; returns the rest of it."""
        self._make_columns()
        self._write_group()
        self._writer.close()
        return self._sink.take()

    def _make_columns(self) -> None:
        lines, self._lines = self._lines, bytearray()
        if lines:
            table = columns(self._stream, lines)
            self._tables.append(table)
            self._records += len(table)
            self._bytes += len(lines)

    def _write_group(self) -> None:
        import pyarrow as pa

        if self._writer is None:
            self._writer = self._open()
        if self._tables:
            table = pa.concat_tables(self._tables)
            self._tables.clear()
            self._writer.write_table(table, row_group_size=self._records)
            self._records = self._bytes = 0

    def _open(self) -> Any:
        from pyarrow import parquet

        # Without a schema of Arrow's own beside that of the file: what is read goes by the file's alone, in every engine.
        writer = parquet.ParquetWriter(
            self._sink, arrow_schema(self._stream), compression=self._compression, store_schema=False
        )
        writer.add_key_value_metadata({_STREAM: self._stream, _VERSION: str(schema.VERSION)})
        return writer


# ---- reading


def batches(stream: str, records: Iterator[Mapping[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Records as rows, some at a time.

    :raises ValueError: a record does not fit its columns.
    """
    while some := list(islice(records, _READ_AT_ONCE)):
        yield from of_records(stream, some).to_batches()


def read_batches(raw: BinaryIO, stream: str) -> Iterator[pa.RecordBatch]:
    """The rows of a file as they are, some at a time.

    :raises ValueError: it is damaged, or none of this stream's.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(raw) as source:
            if (found := _stream_of(source)) != stream:
                raise ValueError(f"it holds {found}, not {stream}")
            yield from source.iter_batches(_READ_AT_ONCE, use_threads=False)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None


def read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file, one by one, in little memory.

    :raises ValueError: it is damaged, or none of ours.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        # What was read ahead of a whole row group would be in memory at once.
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=64 * 1024) as source:
            stream = _stream_of(source)
            for batch in source.iter_batches(_READ_AT_ONCE, use_threads=False):
                for row in rows(stream, batch):
                    yield from_row(stream, row)
    except pa.ArrowException as error:
        raise ValueError(str(error)) from None


def _stream_of(source: Any) -> str:
    """Which stream's columns a file has.

    :raises ValueError: those of none that is known.
    """
    says = source.metadata.metadata or {}
    stream, version = (says.get(key.encode(), b"").decode(errors="replace") for key in (_STREAM, _VERSION))
    if stream not in COLUMNS or version != str(schema.VERSION):
        raise ValueError(f"its columns are those of stream {stream!r}, schema version {version!r}, which are not known")
    if not source.schema_arrow.equals(arrow_schema(stream)):
        raise ValueError("its columns are not those of the schema that it names")
    return str(stream)
