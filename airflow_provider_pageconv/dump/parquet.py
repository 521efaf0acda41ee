"""Parquet files: lines of JSON go in, row groups come out, and records come back. The only module that loads pyarrow.

pyarrow is an extra, and takes its time to load: so only functions import it, and none that a DAG file runs when it is parsed.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump import schema
from airflow_provider_pageconv.dump.schema import BOOL, COLUMNS, INT, Items, Kind, Struct, Time, from_row, to_row

if TYPE_CHECKING:
    import pyarrow as pa

MAGIC = b"PAR1"
"""What a file begins with: https://parquet.apache.org/docs/file-format/."""

COMPRESSIONS = ("zstd", "gzip", "snappy", "none")

_GROUP_RECORDS, _GROUP_BYTES = 20_000, 8 * 1024 * 1024
"""A row group ends with so many records, or so many bytes of them as lines of JSON; all of it is held in memory at once."""

_READ_AT_ONCE = 1000

_STREAM, _VERSION = "pageconv.stream", "pageconv.schema_version"
"""What a file says of itself among its key-value metadata."""


def is_installed() -> bool:
    """Whether pyarrow can be found; it is not loaded."""
    return importlib.util.find_spec("pyarrow") is not None


# ---- the schema


@cache
def arrow_schema(stream: str) -> pa.Schema:
    """The columns of a stream, alike in every file."""
    import pyarrow as pa

    return pa.schema([(name, _arrow_type(kind)) for name, kind in COLUMNS[stream].items()])


def _arrow_type(kind: Kind) -> pa.DataType:
    import pyarrow as pa

    if isinstance(kind, Time):
        return pa.timestamp("us", "UTC")
    if isinstance(kind, Struct):
        return pa.struct([(name, _arrow_type(inner)) for name, inner in kind.fields.items()])
    if isinstance(kind, Items):
        return pa.list_(_arrow_type(kind.item))
    return {INT: pa.int64(), BOOL: pa.bool_()}.get(kind, pa.string())


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
        self._batches: list[Any] = []
        self._records = self._bytes = 0

    def compress(self, lines: bytes | bytearray) -> bytes:
        """Add whole lines; returns what of the file is finished."""
        if rows := [to_row(self._stream, record) for record in _documents(lines)]:
            self._batches.append(_batch(self._stream, rows))
            self._records += len(rows)
            self._bytes += len(lines)
        if self._records >= _GROUP_RECORDS or self._bytes >= _GROUP_BYTES:
            self._write_group()
        return self._sink.take()

    def flush(self) -> bytes:
        """Finish the file; returns the rest of it."""
        self._write_group()
        self._writer.close()
        return self._sink.take()

    def _write_group(self) -> None:
        import pyarrow as pa

        if self._writer is None:
            self._writer = self._open()
        if self._batches:
            table = pa.Table.from_batches(self._batches)
            self._batches.clear()
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


def _documents(lines: bytes | bytearray) -> list[Any]:
    """The records of some lines."""
    try:
        return msgspec.json.Decoder().decode_lines(lines)
    except ValueError:  # a lone surrogate, for one, which the standard library takes
        return [json_text.read(line) for line in bytes(lines).split(b"\n") if line]


def _batch(stream: str, rows: list[dict[str, Any]]) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = []
    for field in arrow_schema(stream):
        cells = [row.get(field.name) for row in rows]
        try:
            arrays.append(pa.array(cells, field.type))
        except pa.ArrowException as error:
            # Its own sentence quotes the value, which may be what somebody wrote.
            raise ValueError(f"{field.name} of {stream}: {type(error).__name__}") from None
    return pa.RecordBatch.from_arrays(arrays, schema=arrow_schema(stream))


# ---- reading


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
                for row in _rows(stream, batch):
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


def _rows(stream: str, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    names = [name for name in batch.schema.names if batch.column(name).null_count < len(batch)]
    columns = [_cells(batch.column(name), COLUMNS[stream][name]) for name in names]
    for cells in zip(*columns, strict=True):
        yield dict(zip(names, cells, strict=True))


def _cells(array: pa.Array, kind: Kind) -> list[Any]:
    """The cells of a column. Column by column this takes a fraction of what pyarrow takes value by value."""
    import pyarrow as pa

    if isinstance(kind, Time):
        array = array.cast(pa.int64())
    if isinstance(kind, Struct):
        names = [name for name in kind.fields if array.field(name).null_count < len(array)]
        inner = [_cells(array.field(name), kind.fields[name]) for name in names]
        cells: list[Any] = [dict(zip(names, values, strict=True)) for values in zip(*inner, strict=True)]
        cells = cells or [{} for _ in range(len(array))]
        if array.null_count:
            cells = [cell if there else None for cell, there in zip(cells, array.is_valid().to_pylist(), strict=True)]
        return cells
    if isinstance(kind, Items):
        items = _cells(array.flatten(), kind.item)
        lengths = array.value_lengths().to_pylist()
        cells, at = [], 0
        for length in lengths:
            cells.append(None if length is None else items[at : at + length])
            at += length or 0
        return cells
    found: list[Any] = array.to_pylist()
    return found
