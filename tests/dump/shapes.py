"""Records of every shape that the API may give them, for the columns of Parquet."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from airflow_provider_pageconv.dump.schema import (
    BOOL,
    COLUMNS,
    EXTRA,
    INT,
    JSON,
    TEXT,
    Items,
    Kind,
    Plain,
    Struct,
    Time,
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
