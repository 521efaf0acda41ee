"""A record that went through the columns of Parquet is the same record, whatever the API put into it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump.schema import (
    BOOL,
    COLUMNS,
    EXTRA,
    GRAPH_TIME,
    INT,
    JSON,
    TEXT,
    Kind,
    Plain,
    Struct,
    Time,
    from_row,
    to_row,
)
from tests.dump.shapes import MESSAGE, exact, records


def assert_stays(stream: str, record: dict[str, Any]) -> dict[str, Any]:
    """A record is the same after it was a row, all of whose cells are of the kinds of their columns."""
    # What a line of JSON tells of it; a pair of lone surrogates side by side is a character there.
    record = json_text.read(json_text.write(record))
    row = to_row(stream, record)
    assert exact(from_row(stream, row)) == exact(record)
    assert set(row) <= set(COLUMNS[stream])
    for name, cell in row.items():
        assert_of_kind(COLUMNS[stream][name], cell)
    return row


def assert_of_kind(kind: Kind, cell: Any) -> None:
    """A cell fits its column."""
    if isinstance(kind, Time):
        assert type(cell) is int
        assert 0 < cell < 2**62
    elif isinstance(kind, Plain):
        assert type(cell) is {TEXT: str, INT: int, BOOL: bool, JSON: str}[kind]
        assert kind is not INT or -(2**63) <= cell < 2**63
        assert not isinstance(cell, str) or cell.encode() is not None
    elif isinstance(kind, Struct):
        assert set(cell) <= set(kind.fields)
        for name, inner in cell.items():
            if inner is not None:
                assert_of_kind(kind.fields[name], inner)
    else:
        for one in cell:
            if one is not None:
                assert_of_kind(kind.item, one)


@settings(max_examples=400, deadline=None)
@example({"id": "1", "_extra": {"a": 1}, "tags": {"data": []}})
@example({"id": "1", "created_time": 10**30, "_fetched_at": "9999-12-31T23:59:59Z"})
@given(records("messages"))
def test_any_message_stays_itself(record: dict[str, Any]) -> None:
    """Every value in its own kind and form, absent keys absent, nulls null."""
    assert_stays("messages", record)


@settings(max_examples=300, deadline=None)
@given(records("conversations"))
def test_any_conversation_stays_itself(record: dict[str, Any]) -> None:
    """Likewise."""
    assert_stays("conversations", record)


def test_an_ordinary_message_fits_its_columns() -> None:
    """Nothing of it is in `_extra`: people and what hangs on a message are lists of structs, tags a list, times moments."""
    row = assert_stays("messages", MESSAGE)
    assert set(row) == set(COLUMNS["messages"]) - {EXTRA}
    assert row["created_time"] == 1_795_172_340_000_000
    assert row["_fetched_at"] == 1_795_262_400_123_000
    assert row["to"] == [{"username": "tienda", "id": "2"}]
    assert row["tags"] == ["inbox", "source:web"]
    assert row["reactions"] == [{"reaction": "love", "emoji": "❤️", "users": [{"id": "1"}]}]
    assert json.loads(row["shares"][0]["template"]) == MESSAGE["shares"]["data"][0]["template"]  # type: ignore[index]


@pytest.mark.parametrize(
    "name, value, cell",
    [
        ("message", "half \ud83d", None),
        ("message", None, None),
        ("message", 5, None),
        ("id", "\udc00", None),
        ("is_unsupported", "true", None),
        ("is_unsupported", 1, None),
        ("to", [{"id": "1"}], None),
        ("to", {"data": {"id": "1"}}, None),
        ("to", {}, None),
        ("to", {"data": [{"id": "1", "phone": "5"}]}, [{"id": "1"}]),
        ("to", {"data": [{"id": "1", "name": None}, {"id": 2}, "x"]}, [{"id": "1", "name": None}, {"id": None}, None]),
        ("to", {"data": [], "summary": {"total_count": 0}}, []),
        ("tags", {"data": [{"name": "a", "id": "1"}, {}]}, ["a", None]),
        ("from", [{"id": "1"}], None),
        ("from", {"id": "1", "is_page": True}, {"id": "1"}),
        ("attachments", {"data": [{"size": 2**63}]}, [{"size": None}]),
        ("attachments", {"data": [{"size": "12"}]}, [{"size": None}]),
        ("created_time", "2026-11-20T10:59:00+0000", 1_795_172_340_000_000),
        ("created_time", "2026-11-20T11:59:00.25+0100", 1_795_172_340_250_000),
        ("created_time", 1_795_172_340, 1_795_172_340_000_000),
        ("created_time", "1795172340000", 1_795_172_340_000_000),
        ("created_time", "1999-01-01T00:00:00+0000", None),
        ("created_time", "2026-11-22T12:00:01+0000", None),
        ("created_time", "2026-11-31T00:00:00+0000", None),
        ("subject", "new", None),
        ("_extra", {"x": 1}, None),
    ],
    ids=repr,
)
def test_what_a_column_does_not_tell_stands_whole_in_extra(name: str, value: Any, cell: Any) -> None:
    """By its name, as the API gave it; of what fits nothing is kept from the column."""
    row = assert_stays("messages", {**{key: MESSAGE[key] for key in ("id", "_fetched_at")}, name: value})
    assert row.get(name) == cell or name == EXTRA
    if name == "created_time" and value == MESSAGE["created_time"]:
        assert EXTRA not in row
    else:
        assert json.loads(row[EXTRA]) == {name: value}


def test_a_row_of_something_else_is_refused() -> None:
    """With a `ValueError`, which a damaged file ends with."""
    for extra in ("[]", "{", "5"):
        with pytest.raises(ValueError, match=r"."):
            from_row("messages", {"id": "1", EXTRA: extra})
    with pytest.raises(ValueError, match="calendar"):
        from_row("messages", {"created_time": 2**63 - 1})


def test_the_types_are_written_as_engines_name_them() -> None:
    """One word for each, the same inside lists and structs."""
    assert COLUMNS["messages"]["from"].type == "struct<id string, name string, email string, username string>"
    assert COLUMNS["messages"]["tags"].type == "list<string>"
    assert GRAPH_TIME.type == "timestamp"
