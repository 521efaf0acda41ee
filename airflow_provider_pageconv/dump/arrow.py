"""Lines of JSON as columns of Arrow: many at once where the columns tell all of them, record by record where one does not.

pyarrow is an extra, and takes its time to load: so only functions import it, and none that a DAG file runs when it is parsed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump.schema import (
    BOOL,
    COLUMNS,
    EXTRA,
    FETCHED_AT,
    FOREVER,
    INT,
    JSON,
    OUR_TIME,
    Items,
    Kind,
    Struct,
    Time,
    to_row,
)
from airflow_provider_pageconv.times import AHEAD, EARLIEST

if TYPE_CHECKING:
    import pyarrow as pa

_FEW_BYTES = 4096
"""Lines that are looked at one by one sooner than all at once."""


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


def columns(stream: str, lines: bytes | bytearray) -> pa.Table:
    """The rows of some records, which are whole lines; not in their order.

    :raises ValueError: a cell is none; the sentence names its column, not the value.
    """
    import pyarrow as pa

    ordinary, others = _divided(bytes(lines), _marks(stream))
    tables = list(_tables(stream, ordinary)) if ordinary else []
    return pa.concat_tables([*tables, _one_by_one(stream, others)] if others else tables)


def _divided(lines: bytes, marks: Iterable[bytes]) -> tuple[bytes, bytes]:
    """The lines without any of some marks, and those with one."""
    found: set[tuple[int, int]] = set()
    for mark in marks:
        at = lines.find(mark)
        while at >= 0:
            end = lines.index(b"\n", at) + 1
            found.add((lines.rfind(b"\n", 0, at) + 1, end))
            at = lines.find(mark, end)
    if not found:
        return lines, b""
    ordinary, others, at = [], [], 0
    for begin, end in sorted(found):
        ordinary.append(lines[at:begin])
        others.append(lines[begin:end])
        at = end
    return b"".join([*ordinary, lines[at:]]), b"".join(others)


@cache
def _marks(stream: str) -> tuple[bytes, ...]:
    """What stands in a line that has to be looked at by itself: ``null``, and values of any shape."""
    waiting, names = list(COLUMNS[stream].items()), set()
    while waiting:
        name, kind = waiting.pop()
        if isinstance(kind, Struct):
            waiting += kind.fields.items()
        elif isinstance(kind, Items):
            waiting.append((name, kind.item))
        elif kind is JSON:
            names.add(name)
    return (b":null", b"[null", b",null", *(f'"{name}":'.encode() for name in sorted(names)))


def _tables(stream: str, lines: bytes) -> Iterator[pa.Table]:
    """Those of lines of which most can be taken at once: around one that cannot they are halved."""
    quick = _all_at_once(stream, lines) if len(lines) > _FEW_BYTES else None
    if quick is not None:
        yield quick
        return
    half = lines.find(b"\n", len(lines) // 2) + 1
    if len(lines) <= _FEW_BYTES or half in (0, len(lines)):
        yield _one_by_one(stream, lines)
    else:
        yield from _tables(stream, lines[:half])
        yield from _tables(stream, lines[half:])


# ---- record by record


def _one_by_one(stream: str, lines: bytes) -> pa.Table:
    return of_records(stream, _documents(lines))


def of_records(stream: str, records: Iterable[Mapping[str, Any]]) -> pa.Table:
    """The rows of some records, in their order.

    :raises ValueError: a cell is none; the sentence names its column, not the value.
    """
    import pyarrow as pa

    made = [to_row(stream, record) for record in records]
    arrays = []
    for field in arrow_schema(stream):
        cells = [row.get(field.name) for row in made]
        try:
            arrays.append(pa.array(cells, field.type))
        except pa.ArrowException as error:
            # Its own sentence quotes the value, which may be what somebody wrote.
            raise ValueError(f"{field.name} of {stream}: {type(error).__name__}") from None
    return pa.Table.from_arrays(arrays, schema=arrow_schema(stream))


def _documents(lines: bytes) -> list[Any]:
    try:
        return msgspec.json.Decoder().decode_lines(lines)
    except ValueError:  # a lone surrogate, for one, which the standard library takes
        return [json_text.read(line) for line in lines.split(b"\n") if line]


# ---- many at once by pyarrow's own reader of JSON, which lets other threads run meanwhile


class _NotAll(Exception):  # noqa: N818 - what was found, not a fault
    """The columns do not tell all of a value."""


def _all_at_once(stream: str, lines: bytes) -> pa.Table | None:
    """The same rows as record by record, or ``None`` where a value needs a closer look; ``null`` is in none of them."""
    import pyarrow as pa
    from pyarrow import json

    try:
        table = json.read_json(
            pa.BufferReader(lines),
            read_options=json.ReadOptions(use_threads=False, block_size=len(lines) + 1),
            parse_options=json.ParseOptions(explicit_schema=_as_written(stream), unexpected_field_behavior="error"),
        )
        found = {name: table.column(name).combine_chunks() for name in table.column_names}
        fetched = _moments(found[FETCHED_AT], OUR_TIME)
        columns = arrow_schema(stream)
        arrays = [_column(found, field, COLUMNS[stream][field.name], fetched) for field in columns]
        return pa.Table.from_arrays(arrays, schema=columns)
    except (_NotAll, pa.ArrowException):
        return None


@cache
def _as_written(stream: str) -> pa.Schema:
    """What lines of JSON look like of which the columns tell all; another field, or another type, is an error."""
    import pyarrow as pa

    return pa.schema([(name, _type_as_written(kind)) for name, kind in COLUMNS[stream].items() if name != EXTRA])


def _type_as_written(kind: Kind) -> pa.DataType:
    import pyarrow as pa

    if isinstance(kind, Time):
        return pa.string()
    if isinstance(kind, Struct):
        return pa.struct([(name, _type_as_written(inner)) for name, inner in kind.fields.items()])
    if isinstance(kind, Items):
        item = _type_as_written(kind.item)
        rows = pa.list_(pa.struct([(kind.only, item)]) if kind.only else item)
        return pa.struct([("data", rows)]) if kind.edge else rows
    return pa.null() if kind is JSON else _arrow_type(kind)


def _column(found: dict[str, pa.Array], field: pa.Field, kind: Kind, fetched: pa.Array) -> pa.Array:
    import pyarrow as pa
    from pyarrow import compute

    name = field.name
    if name == EXTRA:
        return pa.nulls(len(fetched), field.type)
    array = found[name]
    if isinstance(kind, Time):
        moments = _moments(array, kind)
        latest = compute.add(fetched, round(AHEAD * 1_000_000))
        if name != FETCHED_AT and compute.any(compute.greater(moments, latest)).as_py():
            raise _NotAll
        return moments.cast(field.type)
    if isinstance(kind, Items):  # the schema has edges here, and nowhere deeper
        edges, array = array, array.field("data")
        if array.null_count != edges.null_count:
            raise _NotAll
        if kind.only:
            items = array.values.field(0)
            if items.null_count:
                raise _NotAll
            array = pa.ListArray.from_arrays(array.offsets, items, mask=array.is_null())
    return array if array.type == field.type else array.cast(field.type)


def _moments(array: pa.Array, kind: Time) -> pa.Array:
    """Microseconds since 1970 of texts of which they tell all."""
    import pyarrow as pa
    from pyarrow import compute

    as_it_should_be = compute.match_substring_regex(array, f"^{kind.pattern.pattern}".replace(r"\Z", r"\z"))
    if not compute.all(as_it_should_be, min_count=0).as_py():
        raise _NotAll
    texts = compute.utf8_slice_codeunits(array, 0, kind.length)
    moments = texts.cast(pa.timestamp("us")).cast(pa.int64())
    early = compute.less(moments, round(EARLIEST * 1_000_000))
    late = compute.greater(moments, round(FOREVER * 1_000_000))
    if compute.any(compute.or_(early, late)).as_py():
        raise _NotAll
    return moments


# ---- and back


def rows(stream: str, batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """The rows of a batch, cells by the names of columns; columns without any cell are left out."""
    names = [name for name in batch.schema.names if batch.column(name).null_count < len(batch)]
    cells_of = [_cells(batch.column(name), COLUMNS[stream][name]) for name in names]
    for cells in zip(*cells_of, strict=True):
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
