"""Whatever an API puts into its rows: an export ends, with a manifest that tells the truth or with a `GraphError`."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.graph.errors import GraphError
from tests.dump.exporting import DAY, NOW, ByFunction, export_in_time, store_of
from tests.servers.destinations import local

MOST_CALLS = 60

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**400, -(10**30), "\ud800", "2026-11-20T10:59:00+0000", "9999-99-99T99:99:99+9999", "1"])
)
anything = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(), max_size=4), inner, max_size=3)
    ),
)
times = st.sampled_from(["2026-11-20T10:59:00+0000", "2026-11-18T00:00:00+0000", "2020-01-01T00:00:00-1200"]) | leaves
pagings = (
    st.none()
    | st.none()
    | st.just({"cursors": {"after": "b"}})
    | st.fixed_dictionaries({"next": st.just("https://x/?access_token=SECRET"), "cursors": st.just({"after": "c"})})
    | anything
)


def rows(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Rows that have an id as a rule, and may have each known field; in the place of some of them stands anything."""
    ids = st.sampled_from(["1", "2", "3", "m_4", "../5", "\0", "\ud800"])
    row = st.fixed_dictionaries({"id": ids}, optional={**known, "extra": anything})
    strange = st.fixed_dictionaries({"id": leaves}) | anything
    good = st.lists(row, max_size=4)
    return good | good | good | st.lists(row | strange, max_size=3) | anything


def pages(found: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Pages of such rows."""
    return st.fixed_dictionaries({"data": found}, optional={"paging": pagings})


messages = rows(created_time=times, message=anything, **{"from": anything, "attachments": anything})
threads = rows(updated_time=times, messages=pages(messages) | pages(messages) | anything, participants=anything)


class Babbling:
    """An API that answers each call with the next of some documents, and then has nothing more to say."""

    def __init__(self, lists: list[Any], inner: list[Any]) -> None:
        self.lists, self.inner, self.calls = list(lists), list(inner), 0

    def __call__(self, request: Any) -> Any:
        self.calls += 1
        assert self.calls < MOST_CALLS, "it goes on for ever"
        left = self.lists if request.path.endswith("/conversations") else self.inner
        return left.pop(0) if left else {"data": []}


NAMES_NOBODY_CAN_WRITE = {
    "id": "1", "updated_time": "2026-11-20T10:59:00+0000", "\ud800\n": {"data": [], "paging": {"next": "x"}}
}  # fmt: skip


@settings(deadline=None, max_examples=300)
@example([{"data": [NAMES_NOBODY_CAN_WRITE]}], [], None, "jsonl")
@example([{"data": [NAMES_NOBODY_CAN_WRITE]}], [], None, "parquet")
@given(
    st.lists(pages(threads), max_size=4),
    st.lists(pages(messages), max_size=4),
    st.sampled_from([None, NOW - 3 * DAY]),
    st.sampled_from(["jsonl", "parquet"]),
)
def test_any_rows_end_in_a_manifest_or_in_a_graph_error(
    lists: list[Any], inner: list[Any], since: Any, file_format: str
) -> None:
    """Over as many tries as it takes; what is published reads back, is counted, and holds no paging. In either format."""
    api = Babbling(lists, inner)
    with tempfile.TemporaryDirectory() as folder:
        files = local(Path(folder) / "export")
        for _ in range(10):
            with contextlib.suppress(GraphError):
                export_in_time(
                    None, store_of(files), client=ByFunction(api), since=since, until=NOW, file_format=file_format
                )
                break
        else:
            pytest.fail("the API has nothing strange left to say, and the export does not end")
        (manifest,) = files.manifests().values()
        for stream in ("conversations", "messages"):
            found = files.records(stream)
            assert len(found) == manifest[stream]
            assert len({(record["id"], record.get("_conversation_id")) for record in found}) == len(found)
            assert "SECRET" not in json.dumps(found)
