"""Lines that are made columns many at once are the same columns as record by record."""

from __future__ import annotations

from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump import arrow
from airflow_provider_pageconv.dump.schema import COLUMNS
from tests.dump.shapes import FETCHED, MESSAGE, records

CONVERSATION = {
    "id": "t_1",
    "updated_time": "2026-11-20T10:59:00+0000",
    "message_count": 3,
    "can_reply": True,
    "participants": {"data": [{"name": "Ana", "email": "a@facebook.com", "id": "1"}]},
    "_fetched_at": FETCHED,
    "_unavailable": False,
}
ORDINARY = {"messages": MESSAGE, "conversations": CONVERSATION}


def rows(table: Any) -> Counter[str]:
    """What a table holds, whatever its order."""
    assert table.column_names
    return Counter(map(repr, table.to_pylist()))


def assert_same(stream: str, found: list[dict[str, Any]]) -> None:
    """Quickly and slowly the same comes out, columns and all."""
    lines = b"".join(json_text.write(record) + b"\n" for record in found)
    with patch.object(arrow, "_FEW_BYTES", 0):
        quick = arrow.columns(stream, lines)
    slow = arrow._one_by_one(stream, lines)
    assert quick.schema.equals(slow.schema)
    assert rows(quick) == rows(slow)


@settings(max_examples=300, deadline=None)
@example([{"created_time": "2026-11-22T12:00:00+0000", "_fetched_at": "2026-11-21T12:00:00.000Z"}])
@example([{"created_time": "2026-11-22T12:00:01+0000", "_fetched_at": "2026-11-21T12:00:00.000Z"}])
@example([{"created_time": "2004-01-01T00:00:00+0000"}, {"created_time": "2003-12-31T23:59:59+0000"}])
@example([{"_fetched_at": "9999-12-31T23:59:59.000Z"}, {"created_time": "9999-12-30T23:59:59+0000"}])
@example([{"to": {"data": []}}, {"from": {}}, {"story": {"mention": {}}}, {}])
@example([{"to": {}}])
@example([{"tags": {"data": [{}]}}])
@example([{"created_time": "2026-11-20T11:59:00+0100"}])
@example([{"is_unsupported": 1}, {"attachments": {"data": [{"size": -0.0}, {"size": 2**63}, {"size": "1"}]}}])
@given(st.lists(records("messages"), max_size=6))
def test_any_messages_among_ordinary_ones(found: list[dict[str, Any]]) -> None:
    """So that many can be taken at once, and some not."""
    assert_same("messages", [*[MESSAGE] * 6, *found, {key: MESSAGE[key] for key in ("id", "_fetched_at")}])


@settings(max_examples=200, deadline=None)
@given(st.lists(records("conversations"), max_size=6))
def test_any_conversations_among_ordinary_ones(found: list[dict[str, Any]]) -> None:
    """Likewise."""
    assert_same("conversations", [*[CONVERSATION] * 6, *found])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(COLUMNS)), st.data())
def test_one_value_in_an_ordinary_record(stream: str, data: st.DataObject) -> None:
    """What is odd stands alone, so that nothing else leads to a closer look."""
    one = data.draw(records(stream))
    for name, value in one.items():
        assert_same(stream, [ORDINARY[stream], {**ORDINARY[stream], name: value}])


@pytest.mark.parametrize("stream", sorted(COLUMNS))
def test_ordinary_records_are_taken_at_once(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that the columns do not tell has its neighbours looked at one by one, and no others."""
    met = []
    slow = arrow._one_by_one

    def noted(stream: str, lines: bytes) -> Any:
        met.append(lines.count(b"\n"))
        return slow(stream, lines)

    monkeypatch.setattr(arrow, "_one_by_one", noted)
    plain = {name: value for name, value in ORDINARY[stream].items() if name not in ("attachments", "shares")}
    line = json_text.write(plain) + b"\n"
    assert len(arrow.columns(stream, line * 1000)) == 1000
    assert sum(met) == 0
    odd = json_text.write({**plain, "unheard_of": 1}) + b"\n"
    assert len(arrow.columns(stream, line * 400 + odd + line * 600)) == 1001
    assert 0 < sum(met) <= 2 * 4096 // len(line) + 2
