"""Bodies and headers that no one would expect: an answer or a `GraphError`, and never anything else."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.graph.edges import next_cursor, read_page, without_paging
from airflow_provider_pageconv.graph.errors import GraphError, GraphTransientError
from airflow_provider_pageconv.graph.protocol import Answer, Request, decipher
from tests.graph.answers import LATER, LIST

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([10**30, "\ud800", "next", "x" * 5000, "190"])
)
keys = st.text(max_size=5) | st.sampled_from(
    ["data", "error", "paging", "next", "cursors", "after", "id", "code", "message", "error_subcode", "is_transient"]
)
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5), max_leaves=25
)
errors = st.fixed_dictionaries(
    {"error": st.dictionaries(keys | st.sampled_from(["fbtrace_id", "error_user_msg"]), documents, max_size=6)}
)
bodies = (
    st.binary(max_size=200)
    | documents.map(lambda one: json.dumps(one).encode())
    | errors.map(lambda one: json.dumps(one).encode())
)
headers = st.dictionaries(
    st.sampled_from(
        [
            "x-app-usage",
            "x-page-usage",
            "x-business-use-case-usage",
            "retry-after",
            "facebook-api-version",
            "x-fb-trace-id",
        ]
    ),
    st.text(max_size=40) | documents.map(json.dumps),
)
statuses = st.sampled_from([200, 201, 204, 299, 302, 400, 401, 403, 404, 429, 500, 503]) | st.integers(100, 999)


@settings(deadline=None)
@given(statuses, headers, bodies, st.sampled_from([LIST, LATER]))
def test_any_answer_is_good_or_a_graph_error(
    status: int, headers: dict[str, str], body: bytes, request: Request
) -> None:
    """With a sentence that can be printed; and what holds an error is never good."""
    answer: Answer | GraphError
    try:
        answer = decipher(status, headers, body, request)
    except GraphError as error:
        answer = error
    if isinstance(answer, GraphError):
        assert str(answer).startswith("Graph API")
        assert str(answer).isprintable()
    else:
        assert isinstance(answer, Answer)
        assert 200 <= status < 300
        assert isinstance(answer.data, dict)
        assert answer.data.get("error") is None


@settings(deadline=None)
@given(documents)
def test_any_document_is_a_page_or_a_graph_error(document: Any) -> None:
    """And a page's cursor is text, its rows have ids."""
    try:
        page = read_page(document)
    except GraphTransientError:
        return
    assert all(isinstance(node["id"], str) and node["id"] for node in page.nodes)
    assert page.after is None or (isinstance(page.after, str) and page.after)


@settings(deadline=None)
@given(documents)
def test_any_paging_names_a_cursor_ends_the_list_or_is_a_graph_error(paging: Any) -> None:
    """Broken links among them."""
    try:
        after = next_cursor(paging)
    except GraphTransientError:
        return
    assert after is None or (isinstance(after, str) and after)


@settings(deadline=None)
@given(st.dictionaries(keys, documents, max_size=6))
def test_no_paging_is_left_in_any_node(node: dict[str, Any]) -> None:
    """At whatever depth; its links carry the token."""

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value).union(*map(names, value.values()))
        return set().union(*map(names, value)) if isinstance(value, list) else set()

    assert "paging" not in names(without_paging(node, Counter()))


@pytest.mark.parametrize("depth", [10, 100, 300, 500, 900, 990, 5000])
@pytest.mark.parametrize("begin, end", [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_ends_in_a_node_or_in_a_graph_error(depth: int, begin: str, end: str) -> None:
    """In a node as in an error's text."""
    deep = begin * depth + "1" + end * depth
    assert read(f'{{"data": [{{"id": "1", "x": {deep}}}]}}') == ("node" if depth <= 100 else ANY)
    assert read(f'{{"error": {{"code": 100, "message": {deep}}}}}') == "error"


def read(body: str) -> str:
    """What becomes of a body."""
    try:
        page = read_page(decipher(200, {}, body.encode(), LIST).data)
        without_paging(page.nodes[0], Counter())
    except GraphError:
        return "error"
    return "node"
