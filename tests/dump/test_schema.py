"""A record that went through the columns of Parquet is the same record, whatever the API put into it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump.schema import (
    BOOL,
    COLUMNS,
    EXTRA,
    GRAPH_TIME,
    INT,
    JSON,
    TEXT,
    Items,
    Kind,
    Plain,
    Struct,
    Time,
    from_row,
    to_row,
)

FETCHED = "2026-11-21T12:00:00.123Z"
texts = st.text(st.characters(exclude_categories=()), max_size=8)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.sampled_from([2**63, -(2**63), 2**63 - 1, 10**400, "\ud83d", "\0", "1", 1.0, "{}", "null"])
)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=8
)
moments = st.sampled_from(
    [
        "2026-11-20T10:59:00+0000", "2026-11-22T11:59:59+0000", "2026-11-23T00:00:00+0000", "1999-01-01T00:00:00+0000",
        "2026-11-20 10:59:00+0000", "2026-11-20T10:59:00+0100", "2026-11-20T10:59:00.5+0000", "2026-02-30T10:59:00+0000",
        "2026-11-20T10:59:60+0000", "9999-12-31T23:59:59+0000", "0000-01-01T00:00:00+0000", "2026-W47-6T10:59:00+0000",
        FETCHED, "2026-11-21T12:00:00Z", "2026-11-21T12:00:00.123456Z", "٢٠٢٦-11-20T10:59:00+0000",
        1795428000, 1795428000000, 1795428000.5, "1795428000", 10**30, -1, "soon", "", None, True,
    ]
)  # fmt: skip


def of(kind: Kind) -> st.SearchStrategy[Any]:
    """What the API sends for a column, more or less: here and there anything stands in its place."""
    if isinstance(kind, Time):
        return moments | moments | anything
    if isinstance(kind, Plain):
        good = {TEXT: texts, INT: st.integers(0, 10_000), BOOL: st.booleans(), JSON: anything}[kind]
        return good | good | good | good | anything
    if isinstance(kind, Struct):
        fields = {name: of(inner) for name, inner in kind.fields.items()}
        some = st.fixed_dictionaries({}, optional=fields)
        return some | some | st.fixed_dictionaries({}, optional={**fields, "new": anything}) | anything
    assert isinstance(kind, Items)
    item = of(kind.item)
    if kind.only:
        only = st.fixed_dictionaries({kind.only: item})
        item = only | only | only | st.fixed_dictionaries({}, optional={kind.only: item, "new": anything}) | anything
    rows = st.lists(item, max_size=3)
    if not kind.edge:
        return rows | rows | anything
    edge = st.fixed_dictionaries({"data": rows})
    return edge | edge | rows | st.fixed_dictionaries({}, optional={"data": rows, "summary": anything}) | anything


def records(stream: str) -> st.SearchStrategy[dict[str, Any]]:
    """Records of a stream, known and unknown fields of every shape, one that is called as our own column among them."""
    columns = {name: of(kind) for name, kind in COLUMNS[stream].items()}
    known = st.fixed_dictionaries({}, optional={**columns, "new": anything, EXTRA: anything, "folder": texts})
    return known | known | st.dictionaries(texts | st.sampled_from(sorted(columns)), anything, max_size=4)


def exact(value: Any) -> str:
    """A value with the kinds of its values: 1, 1.0 and true are three."""
    return repr(json.loads(json.dumps(value, sort_keys=True)))


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


MESSAGE = {
    "id": "m_1",
    "created_time": "2026-11-20T10:59:00+0000",
    "from": {"name": "Ana", "email": "a@facebook.com", "id": "1"},
    "to": {"data": [{"username": "tienda", "id": "2"}]},
    "message": "Hola 👋",
    "tags": {"data": [{"name": "inbox"}, {"name": "source:web"}]},
    "attachments": {"data": [{"id": "3", "size": 10, "image_data": {"width": 640, "url": "https://x"}},
                             {"id": "4", "generic_template": {"title": "Pedido", "cta": {"title": "Ver"}}}]},
    "shares": {"data": [{"id": "5", "template": {"text": "t", "buttons": {"data": []}}}]},
    "sticker": "https://s",
    "story": {"mention": {"link": "https://l", "id": "6"}},
    "reactions": {"data": [{"reaction": "love", "emoji": "❤️", "users": [{"id": "1"}]}]},
    "is_unsupported": False,
    "reply_to": {"mid": "m_0", "is_self_reply": True},
    "_page_id": "7", "_platform": "messenger", "_folder": "inbox", "_conversation_id": "t_1", "_fetched_at": FETCHED,
    "_export_id": "e", "_unavailable": False, "_carried": False,
}  # fmt: skip


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
