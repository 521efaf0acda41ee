"""Walking along an edge: where a list ends, what a page too large, a dead cursor and a circle cost."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.graph.edges import (
    ConversationsQuery,
    EdgePage,
    MessagesQuery,
    Pager,
    all_nodes,
    conversation_fields,
    message_fields,
    next_cursor,
    read_page,
    without_paging,
)
from airflow_provider_pageconv.graph.errors import (
    GraphAuthError,
    GraphCursorError,
    GraphFieldError,
    GraphTooLargeError,
    GraphTransientError,
)
from airflow_provider_pageconv.graph.protocol import Answer, Request

TOKEN = "EAAB-the-token"


def link(after: str) -> str:
    """The link to the next page as Meta writes it."""
    return f"https://graph.facebook.com/v26.0/100/conversations?access_token={TOKEN}&limit=25&after={after}"


# ---- reading one page


def test_only_the_absence_of_next_ends_a_list() -> None:
    """An empty page with one goes on; a cursor alone does not."""
    assert read_page({"data": [], "paging": {"cursors": {"after": "c"}, "next": link("c")}}) == EdgePage((), "c")
    assert read_page({"data": [{"id": "1"}], "paging": {"cursors": {"after": "c"}}}) == EdgePage(({"id": "1"},), None)
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


@pytest.mark.parametrize("row", [{}, {"id": ""}, {"id": 7}, {"id": None}, [], "x", None])
def test_a_row_without_an_id_is_passing_trouble(row: object) -> None:
    """It could not be told from another."""
    with pytest.raises(GraphTransientError, match="a row of the answer has no id"):
        read_page({"data": [{"id": "1"}, row]})


def test_a_node_loses_its_paging_and_nothing_else() -> None:
    """Lists of which more follows are counted by their path."""
    node = {
        "id": "1",
        "message": "paging is a word",
        "attachments": {
            "data": [{"id": "a", "reactions": {"data": [], "paging": {"next": link("x")}}}],
            "paging": {"cursors": {"after": "x"}, "next": link("x")},
        },
        "participants": {"data": [{"id": "p"}], "paging": {"cursors": {"after": "y"}}},
    }
    before = json.dumps(node)
    truncated: Counter[str] = Counter()
    assert without_paging(node, truncated) == {
        "id": "1",
        "message": "paging is a word",
        "attachments": {"data": [{"id": "a", "reactions": {"data": []}}]},
        "participants": {"data": [{"id": "p"}]},
    }
    assert truncated == {"attachments": 1, "attachments.data.reactions": 1}
    assert json.dumps(node) == before


# ---- walking


@dataclass
class Server:
    """A list behind an edge, with cursors that are positions; what it refuses can be changed while it is walked.

    :param most: calls for more nodes than this are too large.
    :param most_nested: calls for more messages inside each node than this are too large.
    :param refuses: asked before each answer; may raise.
    """

    rows: int
    most: int = 10**6
    most_nested: int = 10**6
    refuses: Callable[[Request], None] | None = None
    asked: list[Request] = field(default_factory=list)
    good: list[Request] = field(default_factory=list)

    def __call__(self, request: Request) -> Answer:
        self.asked.append(request)
        if self.refuses:
            self.refuses(request)
        limit = int(request.params["limit"])
        fields = request.params["fields"]
        nested = int(fields.partition("messages.limit(")[2].partition(")")[0] or 0)
        if limit > self.most or nested > self.most_nested:
            raise GraphTooLargeError("too large")
        self.good.append(request)
        start = int(request.after or 0)
        end = min(start + limit, self.rows)
        paging: dict[str, Any] = {"cursors": {"after": str(end)}}
        if end < self.rows:
            paging["next"] = link(str(end))
        return Answer({"data": [{"id": str(at)} for at in range(start, end)], "paging": paging}, None, None)


def pager(ceiling: int = 10, *, nested: bool = False) -> Pager:
    """A walk along an inbox."""
    return Pager(
        ConversationsQuery(
            "100",
            "messenger",
            "inbox",
            None,
            conversation_fields("messenger", None),
            message_fields(None) if nested else None,
        ),
        ceiling,
    )


def walked(one: Pager, server: Callable[[Request], Answer]) -> list[str]:
    """The ids of a whole walk."""
    ids: list[str] = []
    while not one.done:
        ids += [node["id"] for node in one.fetch(server).nodes]
    return ids


@pytest.mark.parametrize("rows, calls", [(0, 1), (1, 1), (10, 1), (11, 2), (95, 10), (100, 10)])
def test_a_walk_takes_as_many_calls_as_there_are_pages(rows: int, calls: int) -> None:
    """And at least one."""
    server = Server(rows)
    assert walked(pager(), server) == [str(at) for at in range(rows)]
    assert len(server.asked) == calls
    assert [request.after for request in server.asked[:3]] == [None, "10", "20"][:calls]


def test_a_page_too_large_is_asked_for_in_halves_and_never_again_as_it_was() -> None:
    """Down to what the API gives; the same request after a refusal would be refused again."""
    server = Server(40, most=3)
    assert walked(pager(25), server) == [str(at) for at in range(40)]
    assert [request.params["limit"] for request in server.asked[:5]] == ["25", "12", "6", "3", "3"]
    refused = [json.dumps(dict(one.params)) for one in server.asked if one not in server.good]
    assert len(refused) == len(set(refused))
    assert not set(refused) & {json.dumps(dict(one.params)) for one in server.good}


def test_after_some_good_pages_it_grows_back_to_the_ceiling_and_not_beyond() -> None:
    """One large thread does not make the rest of the list slow."""

    def heavy(request: Request) -> None:
        if int(request.after or 0) < 10 and int(request.params["limit"]) > 1:
            raise GraphTooLargeError("too large")

    server = Server(600, refuses=heavy)
    assert len(walked(pager(40), server)) == 600
    limits = [int(request.params["limit"]) for request in server.good]
    assert max(limits) == limits[-1] == 40
    assert limits == sorted(limits)


def test_a_single_node_too_large_is_asked_for_with_fewer_messages_inside() -> None:
    """First the page shrinks to one node, then what is inside; and the page says how much was asked for."""
    server = Server(3, most_nested=7)
    one = pager(4, nested=True)
    page = one.fetch(server)
    asked = [
        (int(r.params["limit"]), r.params["fields"].partition("limit(")[2].partition(")")[0]) for r in server.asked
    ]
    assert asked == [(4, "25"), (2, "25"), (1, "25"), (1, "12"), (1, "6")]
    assert page.nested == 6


def test_inner_messages_grow_back_before_the_page_does() -> None:
    """They are what saves calls."""
    server = Server(200, most_nested=0)
    one = pager(8, nested=True)
    one.fetch(server)
    assert (one.limit, one.nested) == (1, 0)
    server.most_nested = 10**6
    seen = []
    while not one.done:
        one.fetch(server)
        seen.append((one.nested, one.limit))
    nested = [inner for inner, _ in seen]
    assert nested == sorted(nested)
    assert max(nested) == 25
    assert all(limit == 1 for inner, limit in seen if inner < 25)
    assert seen[-1] == (25, 8)


def test_the_smallest_request_too_large_is_an_error() -> None:
    """It is not repeated for ever."""
    server = Server(5, most=0)
    with pytest.raises(GraphTooLargeError):
        pager(8, nested=True).fetch(server)
    bodies = [json.dumps(dict(request.params)) for request in server.asked]
    assert len(bodies) == len(set(bodies))
    assert "messages" not in server.asked[-1].params["fields"].split(",")[-1]


def test_a_refused_documented_field_costs_one_call_and_stays_away() -> None:
    """On every later page, and named by kind for whoever resumes."""

    def refuses(request: Request) -> None:
        for name, kind in (("wallpaper", "UnifiedThread"), ("story", "Message")):
            if name in request.field_names:
                raise GraphFieldError("unknown", field=name, node_type=kind)

    server = Server(35, refuses=refuses)
    one = pager(10, nested=True)
    assert len(walked(one, server)) == 35
    assert len(server.asked) == 2 + 4
    assert one.dropped == ["conversations.wallpaper", "messages.story"]


def test_a_refused_field_of_the_users_own_is_an_error() -> None:
    """At the first call."""

    def refuses(request: Request) -> None:
        raise GraphFieldError("unknown", field="nonsense", node_type="Message")

    server = Server(5, refuses=refuses)
    one = Pager(MessagesQuery("t_1", message_fields(("nonsense",))), 10)
    with pytest.raises(GraphFieldError):
        one.fetch(server)
    assert len(server.asked) == 1


def test_other_refusals_leave_the_walk_where_it_was() -> None:
    """The same page can be asked for again, once the token is good."""
    server = Server(30)
    one = pager()
    one.fetch(server)
    before = one.state()

    def refuse(request: Request) -> None:
        raise GraphAuthError("expired")

    server.refuses = refuse
    with pytest.raises(GraphAuthError):
        one.fetch(server)
    assert one.state() == before


# ---- circles


def circle(length: int, lead: int) -> Callable[[Request], Answer]:
    """Pages whose cursors, after `lead` good ones, go round in a circle."""

    def get(request: Request) -> Answer:
        at = int(request.after or 0)
        following = at + 1 if at + 1 < lead + length else lead
        return Answer(
            {"data": [{"id": str(at)}], "paging": {"cursors": {"after": str(following)}, "next": link(str(following))}},
            None,
            None,
        )

    return get


@pytest.mark.parametrize("lead", [0, 1, 2, 5, 17])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 16, 33])
def test_a_circle_of_cursors_is_found_and_every_page_in_it_is_given(length: int, lead: int) -> None:
    """Soon, in constant memory, and the page at which it is found is not lost."""
    one = pager()
    pages = pages_until_refused(one, circle(length, lead))
    assert {str(at) for at in range(lead + length)} <= {node["id"] for page in pages for node in page.nodes}
    assert len(pages) <= 3 * (lead + length) + 3
    assert len(one.state()) == len(Pager.STATE)
    with pytest.raises(GraphCursorError, match="go round in a circle"):
        one.fetch(circle(length, lead))


def pages_until_refused(one: Pager, get: Callable[[Request], Answer], cut: int | None = None) -> list[EdgePage]:
    """The pages of a walk up to a cursor error; after `cut` of them it is resumed from its state."""
    pages: list[EdgePage] = []
    with contextlib.suppress(GraphCursorError):
        while len(pages) < 1000:
            if len(pages) == cut:
                one = Pager.resumed(one.query, 10, json.loads(json.dumps(one.state())))
            pages.append(one.fetch(get))
    assert len(pages) < 1000, "the circle was never found"
    return pages


@pytest.mark.parametrize("length", [1, 3, 8])
def test_a_circle_that_is_always_there_ends_with_all_nodes_given_once(length: int) -> None:
    """After a second walk that brings nothing new."""
    given_nodes: list[str] = []

    def consume() -> None:
        for node in all_nodes(pager(), circle(length, 2)):
            given_nodes.append(node["id"])  # noqa: PERF401 - what came before the error counts

    with pytest.raises(GraphCursorError):
        consume()
    assert sorted(map(int, given_nodes)) == list(range(length + 2))


def test_pages_that_stay_empty_end_the_walk() -> None:
    """Each with a new cursor, so that there is no circle to be found."""
    calls = 0

    def get(request: Request) -> Answer:
        nonlocal calls
        calls += 1
        return Answer({"data": [], "paging": {"cursors": {"after": f"c{calls}"}, "next": link("x")}}, None, None)

    with pytest.raises(GraphTransientError, match="500 empty pages in a row"):
        walked(pager(), get)
    assert calls == 500


def test_some_empty_pages_do_no_harm() -> None:
    """They have a next one."""
    server = Server(30)

    def get(request: Request) -> Answer:
        if (request.after or "").startswith("empty"):
            return server(Request(request.path, {**request.params, "after": request.after[5:]}))  # type: ignore[index]
        answer = server(request)
        if answer.data["paging"].get("next"):
            after = f"empty{answer.data['paging']['cursors']['after']}"
            return Answer({**answer.data, "paging": {"cursors": {"after": after}, "next": link(after)}}, None, None)
        return answer

    assert walked(pager(), get) == [str(at) for at in range(30)]


# ---- going on later


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(0, 120),
    ceiling=st.integers(1, 40),
    most=st.integers(1, 40),
    most_nested=st.integers(0, 25),
    stops=st.sets(st.integers(0, 200)),
)
def test_a_resumed_walk_makes_the_same_requests(
    rows: int, ceiling: int, most: int, most_nested: int, stops: set[int]
) -> None:
    """Its state goes through JSON, as in a checkpoint, wherever the walk is cut."""

    def refuses(request: Request) -> None:
        if "wallpaper" in request.field_names:
            raise GraphFieldError("unknown", field="wallpaper", node_type="UnifiedThread")

    whole = Server(rows, most=most, most_nested=most_nested, refuses=refuses)
    ids = walked(pager(ceiling, nested=True), whole)
    assert ids == [str(at) for at in range(rows)]

    cut = Server(rows, most=most, most_nested=most_nested, refuses=refuses)
    one = pager(ceiling, nested=True)
    pages = 0
    again: list[str] = []
    while not one.done:
        if pages in stops:
            one = Pager.resumed(pager(nested=True).query, ceiling, json.loads(json.dumps(one.state())))
        again += [node["id"] for node in one.fetch(cut).nodes]
        pages += 1
    assert again == ids
    assert cut.asked == whole.asked


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_circle_is_found_by_a_resumed_walk_too(cut: int) -> None:
    """At the same page."""
    get = circle(5, 2)
    assert pages_until_refused(pager(), get, cut) == pages_until_refused(pager(), get)


# ---- all nodes


def cursors_die(at: set[int]) -> Callable[[Request], None]:
    """Refuse, once each, the calls of these numbers that have a cursor."""
    calls = 0

    def refuses(request: Request) -> None:
        nonlocal calls
        calls += 1
        if calls in at and request.after:
            raise GraphCursorError("dead")

    return refuses


@pytest.mark.parametrize("at", [{2}, {5}, {10}, {3, 9}, {4, 9, 17}])
def test_a_dead_cursor_costs_a_walk_past_what_was_given(at: set[int]) -> None:
    """Every node once."""
    server = Server(95, refuses=cursors_die(at))
    assert [node["id"] for node in all_nodes(pager(), server)] == [str(row) for row in range(95)]


def test_a_cursor_that_dies_twice_at_the_same_place_is_an_error() -> None:
    """Not an endless walk: the second one brought nothing new."""

    def refuses(request: Request) -> None:
        if int(request.after or 0) >= 30:
            raise GraphCursorError("too deep", too_deep=True)

    server = Server(95, refuses=refuses)
    nodes: Iterator[dict[str, Any]] = all_nodes(pager(), server)
    assert [next(nodes)["id"] for _ in range(30)] == [str(row) for row in range(30)]
    with pytest.raises(GraphCursorError):
        next(nodes)
    assert len(server.asked) == 8


def test_a_node_that_comes_twice_is_given_once() -> None:
    """A thread that jumps to the top pushes another over the edge of a page."""
    pages = [(["1", "2"], "a"), (["2", "3"], "b"), (["3"], None)]

    def get(request: Request) -> Answer:
        ids, after = pages[[None, "a", "b"].index(request.after)]
        paging = {"cursors": {"after": after}, "next": link(after)} if after else {}
        return Answer({"data": [{"id": one} for one in ids], "paging": paging}, None, None)

    assert [node["id"] for node in all_nodes(pager(), get)] == ["1", "2", "3"]


def test_nodes_are_given_while_the_walk_goes_on() -> None:
    """Nobody waits for the last page."""
    server = Server(95)
    nodes = all_nodes(pager(), server)
    assert not server.asked
    next(nodes)
    assert len(server.asked) == 1
