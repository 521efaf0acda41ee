"""Reading a page of results: where a list ends, what cannot be used, and what came inside a row."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_pageconv.graph.edges import EdgePage, Row, next_cursor, read_page
from airflow_provider_pageconv.graph.errors import GraphTransientError

TOKEN = "EAAB-the-token"


def link(after: str) -> str:
    """The link to the next page as Meta writes it."""
    return f"https://graph.facebook.com/v26.0/100/conversations?access_token={TOKEN}&limit=25&after={after}"


def test_only_the_absence_of_next_ends_a_list() -> None:
    """An empty page with one goes on; a cursor alone does not."""
    assert read_page({"data": [], "paging": {"cursors": {"after": "c"}, "next": link("c")}}) == EdgePage((), "c")
    one = (Row({"id": "1"}),)
    assert read_page({"data": [{"id": "1"}], "paging": {"cursors": {"after": "c"}}}) == EdgePage(one, None)
    assert read_page({"data": [{"id": "1"}], "paging": {"cursors": {"after": "c"}, "next": None}}).after is None
    assert read_page({"data": [{"id": "1"}]}).after is None
    assert read_page({"data": [], "paging": []}).after is None


@pytest.mark.parametrize("cursors", [None, {}, {"before": "b"}, {"after": ""}, {"after": None}, []])
def test_the_cursor_is_read_from_the_link_where_it_stands_nowhere_else(cursors: object) -> None:
    """Percent signs undone, and never the token that stands beside it."""
    assert next_cursor({"cursors": cursors, "next": link("QVFI%3D%3D")}) == "QVFI=="


def test_the_cursor_beside_the_link_comes_first() -> None:
    """The link may lag behind; it is never followed."""
    assert next_cursor({"cursors": {"after": "named"}, "next": link("other")}) == "named"


@pytest.mark.parametrize(
    "more", [link(""), "https://graph.facebook.com/?access_token=x", "http://[", True, 7, {"after": "x"}, ["x"]]
)
def test_more_without_a_cursor_is_passing_trouble(more: object) -> None:
    """Taking it for the end would lose the rest without a word."""
    with pytest.raises(GraphTransientError) as caught:
        next_cursor({"next": more})
    assert str(caught.value) == "Graph API: more results follow, but the answer names no cursor. Try again later."
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("document", [{}, {"data": {}}, {"data": None}, {"id": "1"}, [], None])
def test_what_is_no_list_is_passing_trouble(document: object) -> None:
    """Not an empty list."""
    with pytest.raises(GraphTransientError, match="the answer has no list of results"):
        read_page(document)


USELESS: tuple[object, ...] = (
    {},
    {"id": ""},
    {"id": 7},
    {"id": None},
    {"message": "no id"},
    [],
    ["1"],
    "x",
    None,
    7,
    True,
)


@pytest.mark.parametrize("row", USELESS)
def test_a_row_that_is_no_object_or_has_no_id_is_counted_and_ends_nothing(row: object) -> None:
    """It could not be told from another; the rows around it are as good as ever, and so is the cursor."""
    rows = [{"id": "1"}, row, {"id": "2"}]
    page = read_page({"data": rows, "paging": {"cursors": {"after": "c"}, "next": link("c")}})
    assert [one.id for one in page.rows] == ["1", "2"]
    assert (page.unusable, page.after) == (1, "c")


def test_a_page_of_nothing_but_useless_rows_is_an_empty_one() -> None:
    """With a next page or without one."""
    assert read_page({"data": [*USELESS]}) == EdgePage((), None, 0, len(USELESS))
    assert read_page({"data": [None], "paging": {"next": link("c")}}) == EdgePage((), "c", 0, 1)


def test_a_node_loses_its_paging_and_nothing_else() -> None:
    """Lists of which more follows are counted by their path."""
    node = {
        "id": "1",
        "message": "paging is a word",
        "paging": {"cursors": {}},
        "attachments": {
            "data": [
                {"id": "a", "reactions": {"data": [], "paging": {"next": link("x")}}},
                {"id": "b", "reactions": {"data": [], "paging": {"next": link("y")}}},
            ],
            "paging": {"cursors": {"after": "x"}, "next": link("x")},
        },
        "participants": {"data": [{"id": "p"}], "paging": {"cursors": {"after": "y"}}},
        "lists": [[{"paging": {"next": link("z")}, "kept": None}], [], 7],
    }
    (row,) = read_page({"data": [node]}).rows
    assert row.node == {
        "id": "1",
        "message": "paging is a word",
        "attachments": {"data": [{"id": "a", "reactions": {"data": []}}, {"id": "b", "reactions": {"data": []}}]},
        "participants": {"data": [{"id": "p"}]},
        "lists": [[{"kept": None}], [], 7],
    }
    assert row.truncated == {"attachments": 1, "attachments.data.reactions": 2, "lists": 1}
    assert TOKEN not in json.dumps(row.node)


@pytest.mark.parametrize("paging", [None, [], "x", 7, {}, {"next": ""}, {"next": None}, {"cursors": {"after": "x"}}])
def test_a_paging_without_a_next_page_is_taken_out_too(paging: object) -> None:
    """It counts for nothing."""
    (row,) = read_page({"data": [{"id": "1", "to": {"data": [], "paging": paging}, "paging": paging}]}).rows
    assert (row.node, row.truncated) == ({"id": "1", "to": {"data": []}}, {})


# ---- messages inside a row


def nested(messages: object, asked: int = 25) -> Row:
    """A thread with these messages inside."""
    page = read_page({"data": [{"id": "t_1", "snippet": "x", "messages": messages}]}, asked)
    assert page.asked == asked
    return page.rows[0]


def test_messages_that_were_asked_for_are_a_page_of_their_own() -> None:
    """Taken out of the thread, with their own cursor, and their own useless rows."""
    row = nested(
        {
            "data": [{"id": "m_1", "to": {"data": [], "paging": {"next": link("x")}}}, None, {"id": "m_2"}],
            "paging": {"cursors": {"after": "QVFI"}, "next": link("QVFI")},
        }
    )
    assert row.node == {"id": "t_1", "snippet": "x"}
    assert row.truncated == {}
    assert row.nested == EdgePage((Row({"id": "m_1", "to": {"data": []}}, {"to": 1}), Row({"id": "m_2"})), "QVFI", 0, 1)


def test_no_messages_at_all_are_told_from_messages_that_did_not_come() -> None:
    """An empty list is an answer; no key, `null`, and what is no list are none."""
    assert nested({"data": []}).nested == EdgePage((), None)
    for messages in (None, [], {}, "x", 7, {"data": None}, {"data": {}}, {"data": [], "paging": {"next": True}}):
        row = nested(messages)
        assert row.nested is None, messages
        assert row.node == {"id": "t_1", "snippet": "x"}
    (row,) = read_page({"data": [{"id": "t_1"}]}, 25).rows
    assert row.nested is None


def test_messages_that_were_not_asked_for_stay_in_the_node() -> None:
    """As where a user names them among the fields; only their `paging` goes, and is counted."""
    row = nested({"data": [{"id": "m_1"}], "paging": {"next": link("x")}}, asked=0)
    assert row.nested is None
    assert row.node["messages"] == {"data": [{"id": "m_1"}]}
    assert row.truncated == {"messages": 1}


def test_messages_inside_messages_are_nobodys_page() -> None:
    """Only those of the thread were asked for."""
    row = nested({"data": [{"id": "m_1", "messages": {"data": [{"id": "m_2"}]}}]})
    assert row.nested is not None
    assert row.nested.rows[0].nested is None
    assert row.nested.rows[0].node["messages"] == {"data": [{"id": "m_2"}]}


def test_a_row_that_is_nested_too_deep_is_passing_trouble() -> None:
    """And no exception of another kind."""
    deep: Any = {"id": "x"}
    for _ in range(100_000):
        deep = {"deeper": deep}
    with pytest.raises(GraphTransientError, match="nested too deep"):
        read_page({"data": [{"id": "1", "inner": deep}]})
    while deep:  # taken apart by hand: so deep, Python's own way down would not come back
        deep = deep.pop("deeper", None)
