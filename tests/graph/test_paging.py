"""Walking along an edge: what a page too large, passing trouble, a dead cursor and a circle cost."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.graph.edges import ConversationsQuery, EdgePage, MessagesQuery, Row
from airflow_provider_pageconv.graph.errors import (
    GraphAuthError,
    GraphCursorError,
    GraphError,
    GraphFieldError,
    GraphPermissionError,
    GraphRateLimitError,
    GraphRequestError,
    GraphTooLargeError,
    GraphTransientError,
    GraphUnavailableError,
    GraphUnreachableError,
)
from airflow_provider_pageconv.graph.fields import conversation_fields, message_fields
from airflow_provider_pageconv.graph.paging import ATTEMPTS, Pager, PagerState, all_rows, fetch
from airflow_provider_pageconv.graph.protocol import Answer, Request

TOO_LARGE = GraphTooLargeError("too large")
TROUBLE = GraphTransientError("passing trouble at Meta")


def link(after: str) -> str:
    """The link to the next page as Meta writes it."""
    return f"https://graph.facebook.com/v26.0/100/conversations?access_token=EAAB-the-token&limit=25&after={after}"


def answer(ids: Iterable[object], after: str | None = None) -> Answer:
    """A page of rows, with a next one behind a cursor or without."""
    paging = {"cursors": {"after": after}, "next": link(after)} if after is not None else {}
    return Answer({"data": [{"id": str(one)} for one in ids], "paging": paging})


def size(request: Request) -> tuple[int, int]:
    """How many nodes a request asks for, and how many messages inside each."""
    nested = request.params["fields"].partition("messages.limit(")[2].partition(")")[0]
    return int(request.params["limit"]), int(nested or 0)


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
        limit, nested = size(request)
        if limit > self.most or nested > self.most_nested:
            raise GraphTooLargeError("too large")
        self.good.append(request)
        start = int(request.after or 0)
        end = min(start + limit, self.rows)
        return answer(range(start, end), str(end) if end < self.rows else None)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return [size(request) for request in self.asked]


def query(*, nested: bool = False) -> ConversationsQuery:
    """An inbox, with messages or without."""
    fields = conversation_fields(None)
    return ConversationsQuery("100", "messenger", "inbox", None, fields, message_fields(None) if nested else None)


def pager(ceiling: int = 10, *, nested: bool = False) -> Pager:
    """A walk along an inbox."""
    return Pager(query(nested=nested), ceiling)


def resumed(one: Pager, ceiling: int, *, nested: bool = False) -> Pager:
    """The same walk in another process: its state goes through JSON, as in a checkpoint."""
    return Pager(query(nested=nested), ceiling, PagerState(**json.loads(json.dumps(asdict(one.state())))))


def step(one: Pager, get: Callable[[Request], Answer]) -> EdgePage:
    """Get the next page as an engine does: whatever is refused is told to the pager, which may raise it."""
    while True:
        request = one.request()
        try:
            return one.got(get(request))
        except GraphError as error:
            one.failed(error)


def walked(one: Pager, get: Callable[[Request], Answer]) -> list[str]:
    """The ids of a whole walk."""
    ids: list[str] = []
    while not one.done:
        ids += [row.id for row in step(one, get).rows]
    return ids


# ---- pages


@pytest.mark.parametrize("rows, calls", [(0, 1), (1, 1), (10, 1), (11, 2), (95, 10), (100, 10)])
def test_a_walk_takes_as_many_calls_as_there_are_pages(rows: int, calls: int) -> None:
    """And at least one."""
    server = Server(rows)
    assert walked(pager(), server) == [str(at) for at in range(rows)]
    assert len(server.asked) == calls
    assert [request.after for request in server.asked[:3]] == [None, "10", "20"][:calls]


def test_asking_for_the_request_changes_nothing() -> None:
    """It may be looked at as often as one likes; only what comes back moves the walk."""
    one = pager(nested=True)
    before = one.state()
    assert one.request() == one.request()
    assert one.state() == before
    assert one.after is None
    one.got(answer(range(10), "10"))
    assert one.after == one.request().after == "10"


def test_a_walk_may_begin_behind_a_cursor() -> None:
    """As that of a thread whose first messages came with the list."""
    server = Server(35)
    one = Pager(MessagesQuery("t_1", message_fields(None)), 10, after="20")
    assert walked(one, server) == [str(at) for at in range(20, 35)]


def test_a_page_says_how_many_messages_were_asked_for_inside_each_node() -> None:
    """A list that is as long as that may have been cut."""
    assert pager(nested=True).got(answer([1])).asked == 25
    assert pager().got(answer([1])).asked == 0


def test_rows_without_an_id_end_no_walk() -> None:
    """They are counted page by page."""
    one = pager()
    page = one.got(Answer({"data": [None, {"id": "1"}, {}], "paging": {"cursors": {"after": "3"}, "next": link("3")}}))
    assert (page.rows, page.unusable) == ((Row({"id": "1"}),), 2)
    assert (one.done, one.after) == (False, "3")


def test_an_answer_that_cannot_be_used_leaves_the_walk_where_it_was() -> None:
    """The same is asked again, as after any other passing trouble."""
    one = pager()
    one.got(answer(range(10), "10"))
    before, request = one.state(), one.request()
    for data in ({}, {"data": None}, {"data": [], "paging": {"next": "https://no.cursor"}}):
        with pytest.raises(GraphTransientError) as caught:
            one.got(Answer(data))
        assert one.state() == before
        assert one.failed(caught.value) is False
        assert one.request() == request
        one.got(answer([]))  # good: the failures before it are forgotten
        one = Pager(query(), 10, before)


def test_an_id_of_which_no_address_can_be_made_is_said_when_the_request_is_asked_for() -> None:
    """Ids come from the API too."""
    with pytest.raises(GraphUnavailableError):
        Pager(MessagesQuery("..", message_fields(None)), 10).request()


@pytest.mark.parametrize(
    "error",
    [
        GraphAuthError("expired"),
        GraphPermissionError("missing"),
        GraphRequestError("wrong"),
        GraphUnavailableError("gone", may_be_limit=True),
        GraphRateLimitError("limit"),
        GraphCursorError("dead"),
        GraphError("unknown"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_refusals_are_raised_and_leave_the_walk_where_it_was(error: GraphError) -> None:
    """The same page can be asked for again, once the token is good or the limit is over."""
    server = Server(30)
    one = pager()
    step(one, server)
    before = one.state()
    with pytest.raises(type(error)) as caught:
        one.failed(error)
    assert caught.value is error
    assert one.state() == before
    assert walked(one, server) == [str(at) for at in range(10, 30)]


# ---- too large


def test_a_page_too_large_is_asked_for_in_halves_and_never_again_as_it_was() -> None:
    """Down to what the API gives; the same request after a refusal would be refused again."""
    server = Server(40, most=3)
    assert walked(pager(25), server) == [str(at) for at in range(40)]
    assert [limit for limit, _ in server.sizes[:5]] == [25, 12, 6, 3, 3]
    refused = [json.dumps(dict(one.params)) for one in server.asked if one not in server.good]
    assert len(refused) == len(set(refused))
    assert not set(refused) & {json.dumps(dict(one.params)) for one in server.good}


def test_what_is_too_large_is_asked_for_in_less_at_once() -> None:
    """Without a pause: it is no trouble that would pass."""
    one = pager(8)
    assert one.failed(TOO_LARGE) is True
    assert one.limit == 4


def test_after_some_good_pages_it_grows_back_to_the_ceiling_and_not_beyond() -> None:
    """One large thread does not make the rest of the list slow."""

    def heavy(request: Request) -> None:
        if int(request.after or 0) < 10 and size(request)[0] > 1:
            raise GraphTooLargeError("too large")

    server = Server(1500, refuses=heavy)
    assert len(walked(pager(40), server)) == 1500
    limits = [size(request)[0] for request in server.good]
    assert max(limits) == limits[-1] == 40
    assert limits == sorted(limits)


def test_growing_back_waits_longer_each_time_it_was_too_much() -> None:
    """A list of large threads is not asked for too much every fifth page; and no wait is longer than 80 pages."""
    server = Server(8000, most=25)
    one = pager(50)
    assert len(walked(one, server)) == 8000
    refused = [at for at, (limit, _) in enumerate(server.sizes) if limit == 50]
    waits = [after - before - 1 for before, after in itertools.pairwise(refused)]
    assert waits[:7] == [5, 10, 20, 40, 80, 80, 80]
    assert {limit for limit, _ in server.sizes} == {25, 50}


def test_growing_back_waits_longer_too_where_more_was_met_with_passing_trouble() -> None:
    """Not every answer that is too large says so."""
    one = pager(50)
    one.failed(TROUBLE)
    one.failed(TROUBLE)
    waits = []
    for _ in range(4):
        pages = 0
        while one.limit == 25:
            one.got(answer([1], f"{len(waits)}-{pages}"))
            pages += 1
        waits.append(pages)
        one.failed(TROUBLE)
        one.failed(TROUBLE)
        assert one.limit == 25
    assert waits == [5, 10, 20, 40]


def test_a_single_node_too_large_is_asked_for_with_fewer_messages_inside() -> None:
    """First the page shrinks to one node, then what is inside; and the page says how much was asked for."""
    server = Server(3, most_nested=7)
    page = step(pager(4, nested=True), server)
    assert server.sizes == [(4, 25), (2, 25), (1, 25), (1, 12), (1, 6)]
    assert page.asked == 6


def test_inner_messages_grow_back_before_the_page_does() -> None:
    """They are what saves calls."""
    server = Server(200, most_nested=0)
    one = pager(8, nested=True)
    step(one, server)
    assert size(one.request()) == (1, 0)
    server.most_nested = 10**6
    seen = []
    while not one.done:
        step(one, server)
        seen.append(size(one.request()))
    nested = [inner for _, inner in seen]
    assert nested == sorted(nested)
    assert max(nested) == 25
    assert all(limit == 1 for limit, inner in seen if inner < 25)
    assert seen[-1] == (8, 25)


def test_the_smallest_request_too_large_is_an_error() -> None:
    """It is not repeated for ever."""
    server = Server(5, most=0)
    with pytest.raises(GraphTooLargeError):
        step(pager(8, nested=True), server)
    bodies = [json.dumps(dict(request.params)) for request in server.asked]
    assert len(bodies) == len(set(bodies))
    assert server.sizes[-1] == (1, 0)


# ---- passing trouble


def test_a_first_failure_is_asked_again_as_it_was_after_a_pause() -> None:
    """It is most likely no matter of size."""
    one = pager(100, nested=True)
    first = one.request()
    assert one.failed(TROUBLE) is False
    assert one.failures == 1
    assert one.request() == first


def test_two_passing_failures_of_the_same_request_halve_the_page() -> None:
    """Each halving takes two more; it begins to count anew."""
    one = pager(100, nested=True)
    sizes = []
    for _ in range(8):
        assert one.failed(TROUBLE) is False
        sizes.append(size(one.request()))
    assert sizes == [(100, 25), (50, 25), (50, 25), (25, 25), (25, 25), (12, 25), (12, 25), (6, 25)]
    assert one.failures == 0


def test_a_good_page_forgets_the_failures_before_it() -> None:
    """One now and then is nothing."""
    one = pager(100)
    for number in range(20):
        one.failed(TROUBLE)
        one.got(answer(range(100), str(number)))
        assert one.failures == 0
    assert one.limit == 100


def test_a_failure_of_another_request_is_none_of_this_one() -> None:
    """What was too large, refused for a field, or begun again is another request: its own two failures count."""

    def too_large(one: Pager) -> None:
        one.failed(TOO_LARGE)

    def field_dropped(one: Pager) -> None:
        one.failed(GraphFieldError("unknown", fields=("wallpaper",)))

    def begun_again(one: Pager) -> None:
        one.restart()

    for change, limit in ((too_large, 50), (field_dropped, 100), (begun_again, 100)):
        one = pager(100)
        one.got(answer(range(100), "100"))
        one.failed(TROUBLE)
        change(one)
        one.failed(TROUBLE)
        assert one.limit == limit, change.__name__


def test_the_sixth_failure_at_the_smallest_size_is_raised_and_the_size_from_before_comes_back() -> None:
    """It was not the size: a later try is not to crawl from node to node."""
    one = pager(100, nested=True)
    sizes = [size(one.request())]
    with pytest.raises(GraphTransientError) as caught:  # noqa: PT012 - at one of the failures
        while True:
            one.failed(TROUBLE)
            sizes.append(size(one.request()))
    assert caught.value is TROUBLE
    smallest = [at for at, one_size in enumerate(sizes) if one_size == (1, 0)]
    assert len(smallest) == len(sizes) - smallest[0] == ATTEMPTS == 6
    assert size(one.request()) == (100, 25)
    assert one.failures == 0


def test_where_the_server_is_not_reached_less_is_never_asked_for() -> None:
    """It makes no difference there: eight calls of the same size, a minute or so with their pauses, and then the error."""
    unreached = GraphUnreachableError("refused")
    one = pager(100, nested=True)
    for _ in range(7):
        assert not one.failed(unreached)
        assert size(one.request()) == (100, 25)
    with pytest.raises(GraphUnreachableError):
        one.failed(unreached)
    assert one.failures == 0


def test_a_server_that_is_reached_now_and_then_ends_the_walk_too() -> None:
    """Whatever order the two kinds of trouble come in, there is an end."""
    one = pager(100, nested=True)
    with pytest.raises(GraphTransientError):  # noqa: PT012 - at one of the failures
        for number in range(200):
            one.failed(TROUBLE if number % 3 else GraphUnreachableError("refused"))


def test_at_the_smallest_size_six_calls_are_made_in_all() -> None:
    """Where there was nothing to halve."""
    one = Pager(MessagesQuery("t_1", message_fields(None)), 1)
    for number in range(1, 6):
        assert one.failed(TROUBLE) is False
        assert one.failures == number
    with pytest.raises(GraphTransientError):
        one.failed(TROUBLE)
    assert one.limit == 1


def test_the_size_from_before_is_that_before_the_failures_and_not_the_ceiling() -> None:
    """What the API was seen to find too large is not asked for again."""
    one = pager(100)
    one.failed(TOO_LARGE)
    one.got(answer(range(50), "50"))
    with pytest.raises(GraphTransientError):  # noqa: PT012 - at one of the failures
        while True:
            one.failed(TROUBLE)
    assert one.limit == 50


def test_a_smaller_page_that_came_shows_that_it_was_the_size() -> None:
    """It stays small and grows back after some good pages, and later trouble does not bring the size from before back."""
    one = pager(100)
    for _ in range(4):
        one.failed(TROUBLE)
    assert one.limit == 25
    one.got(answer(range(25), "25"))
    assert one.limit == 25
    with pytest.raises(GraphTransientError):  # noqa: PT012 - at one of the failures
        while True:
            one.failed(TROUBLE)
    assert one.limit == 25


def test_a_resumed_walk_knows_of_the_failures_before_it() -> None:
    """Killed between two of them, it does not begin anew; nor is the size from before lost."""
    one = pager(4)
    calls = 0
    with pytest.raises(GraphTransientError):  # noqa: PT012 - at one of the failures
        while True:
            calls += 1
            one = resumed(one, 4)
            one.failed(TROUBLE)
    assert calls == 2 + 2 + 6
    assert one.limit == 4


# ---- refused fields


def test_a_refused_documented_field_costs_one_call_and_stays_away() -> None:
    """On every later page, and named by kind for whoever resumes."""

    def refuses(request: Request) -> None:
        for name, kind in (("wallpaper", "UnifiedThread"), ("story", "Message")):
            if name in request.field_names:
                raise GraphFieldError("unknown", fields=(name,), node_type=kind)

    server = Server(35, refuses=refuses)
    one = pager(10, nested=True)
    assert len(walked(one, server)) == 35
    assert len(server.asked) == 2 + 4
    assert one.dropped == ["conversations.wallpaper", "messages.story"]


def test_several_refused_fields_cost_one_call() -> None:
    """If they are named at once, and without a pause."""
    one = pager(nested=True)
    assert one.failed(GraphFieldError("unknown", fields=("wallpaper", "story"), node_type="UnifiedThread")) is True
    assert one.dropped == ["conversations.wallpaper", "messages.story"]
    assert not one.request().field_names & {"wallpaper", "story"}


def test_a_refused_field_of_the_users_own_is_an_error() -> None:
    """At the first call."""
    one = Pager(MessagesQuery("t_1", message_fields(("nonsense",))), 10)
    before = one.state()
    with pytest.raises(GraphFieldError):
        one.failed(GraphFieldError("unknown", fields=("nonsense",), node_type="Message"))
    assert one.state() == before


def test_what_another_walk_saw_to_be_refused_is_left_out_here_too() -> None:
    """Each name once, and in the state with the walk's own."""
    one = pager(nested=True)
    one.failed(GraphFieldError("unknown", fields=("story",)))
    one.drop(["conversations.wallpaper", "messages.story"])
    one.drop(["conversations.wallpaper"])
    assert one.dropped == ["messages.story", "conversations.wallpaper"]
    later = resumed(one, 10, nested=True)
    for each in (one, later):
        assert not each.request().field_names & {"story", "wallpaper"}
    assert later.query == one.query


def test_a_resumed_walk_changes_nothing_of_the_state_it_was_made_from() -> None:
    """It may be in a checkpoint that is still to be written."""
    one = pager(nested=True)
    one.drop(["messages.story"])
    one.failed(TROUBLE)
    state = one.state()
    before = json.dumps(asdict(state))
    later = Pager(query(nested=True), 10, state)
    later.drop(["messages.sticker"])
    later.failed(TROUBLE)
    later.got(answer([1], "1"))
    one.drop(["messages.tags"])
    assert json.dumps(asdict(state)) == before


# ---- beginning again


def test_a_restart_begins_at_the_head_with_what_was_learned() -> None:
    """The size and the refused fields; not the cursor, nor that the list had ended."""
    one = pager(8)
    one.failed(TOO_LARGE)
    one.drop(["conversations.wallpaper"])
    one.got(answer(range(4), "4"))
    one.got(answer([4]))
    assert one.done
    one.restart()
    assert (one.done, one.after, one.limit) == (False, None, 4)
    assert "wallpaper" not in one.request().field_names


def test_a_restart_may_ask_for_one_node_less() -> None:
    """So that the pages end elsewhere, should one of their cursors be dead for good; one is the least."""
    server = Server(50, refuses=dead_for_good("20"))
    one = pager(10)
    with pytest.raises(GraphCursorError):
        walked(one, server)
    one.restart(fewer=True)
    assert one.limit == 9
    assert walked(one, server) == [str(at) for at in range(50)]
    least = pager(2)
    for limit in (1, 1):
        least.restart(fewer=True)
        assert least.limit == limit


def dead_for_good(after: str) -> Callable[[Request], None]:
    """Refuse one cursor, always."""

    def refuses(request: Request) -> None:
        if request.after == after:
            raise GraphCursorError("dead")

    return refuses


# ---- circles


def circle(length: int, lead: int) -> Callable[[Request], Answer]:
    """Pages whose cursors, after `lead` good ones, go round in a circle."""

    def get(request: Request) -> Answer:
        at = int(request.after or 0)
        return answer([at], str(at + 1 if at + 1 < lead + length else lead))

    return get


@pytest.mark.parametrize("lead", [0, 1, 2, 5, 17])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 16, 33])
def test_a_circle_of_cursors_is_found_and_every_page_in_it_is_given(length: int, lead: int) -> None:
    """Soon, in constant memory, and the page at which it is found is not lost."""
    one = pager()
    room = len(json.dumps(asdict(one.state())))
    pages = pages_until_refused(one, circle(length, lead))
    assert {str(at) for at in range(lead + length)} <= {row.id for page in pages for row in page.rows}
    assert len(pages) <= 3 * (lead + length) + 3
    assert len(json.dumps(asdict(one.state()))) < room + 30
    with pytest.raises(GraphCursorError, match="go round in a circle"):
        one.request()


def pages_until_refused(one: Pager, get: Callable[[Request], Answer], cut: int | None = None) -> list[EdgePage]:
    """The pages of a walk up to a cursor error; after `cut` of them it is resumed from its state."""
    pages: list[EdgePage] = []
    with contextlib.suppress(GraphCursorError):
        while len(pages) < 1000:
            if len(pages) == cut:
                one = resumed(one, 10)
            pages.append(step(one, get))
    assert len(pages) < 1000, "the circle was never found"
    return pages


def test_a_restart_leads_out_of_a_circle() -> None:
    """If the API's cursors are good the second time."""
    one = pager()
    pages_until_refused(one, circle(3, 1))
    one.restart()
    assert walked(one, Server(25)) == [str(at) for at in range(25)]


@pytest.mark.parametrize("length", [1, 3, 8])
def test_a_circle_that_is_always_there_ends_with_all_rows_given_once(length: int) -> None:
    """After a second walk that brings nothing new."""
    given_rows: list[str] = []

    def consume() -> None:
        for row in all_rows(pager(), circle(length, 2)):
            given_rows.append(row.id)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(GraphCursorError):
        consume()
    assert sorted(map(int, given_rows)) == list(range(length + 2))


# ---- empty pages


def empty(one: Pager, pages: int) -> None:
    """So many empty pages, each with a new cursor, so that there is no circle to be found."""
    for _ in range(pages):
        one.got(answer([], f"{one.after or 'c'}{'x' if len(one.after or '') < 600 else ''}"))


def test_pages_that_stay_empty_end_the_walk() -> None:
    """Each with a new cursor, so that there is no circle to be found."""
    one = pager()
    empty(one, 499)
    with pytest.raises(GraphTransientError, match="500 empty pages in a row"):
        empty(one, 1)


def test_a_later_try_gets_as_many_empty_pages_again() -> None:
    """It goes on where the first one stood."""
    one = pager()
    empty(one, 499)
    after = one.after
    later = resumed(one, 10)
    assert later.after == after
    empty(later, 100)
    assert later.after != after


def test_some_empty_pages_do_no_harm() -> None:
    """They have a next one; a row among them counts anew."""
    server = Server(30)

    def get(request: Request) -> Answer:
        if (request.after or "").startswith("empty"):
            return server(Request(request.path, {**request.params, "after": request.after[5:]}))  # type: ignore[index]
        came = server(request)
        if came.data["paging"].get("next"):
            after = f"empty{came.data['paging']['cursors']['after']}"
            return Answer({**came.data, "paging": {"cursors": {"after": after}, "next": link(after)}})
        return came

    assert walked(pager(), get) == [str(at) for at in range(30)]
    one = pager()
    for number in range(3):
        empty(one, 400)
        one.got(answer([number], f"row{number}"))


# ---- going on later


@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(0, 120),
    ceiling=st.integers(1, 40),
    most=st.integers(1, 40),
    most_nested=st.integers(0, 25),
    stops=st.sets(st.integers(0, 200)),
    trouble=st.sets(st.integers(0, 60)),
)
def test_a_resumed_walk_makes_the_same_requests(
    rows: int, ceiling: int, most: int, most_nested: int, stops: set[int], trouble: set[int]
) -> None:
    """Its state goes through JSON, as in a checkpoint, wherever the walk is cut, and whatever was in the way."""

    def server() -> Server:
        def refuses(request: Request) -> None:
            if len(one.asked) - 1 in trouble and len(one.asked) % 5:
                raise GraphTransientError("passing")
            if "wallpaper" in request.field_names:
                raise GraphFieldError("unknown", fields=("wallpaper",), node_type="UnifiedThread")

        one = Server(rows, most=most, most_nested=most_nested, refuses=refuses)
        return one

    whole = server()
    ids = walked(pager(ceiling, nested=True), whole)
    assert ids == [str(at) for at in range(rows)]

    cut = server()
    one = pager(ceiling, nested=True)
    again: list[str] = []
    while not one.done:
        if len(cut.asked) in stops:
            one = resumed(one, ceiling, nested=True)
        try:
            again += [row.id for row in one.got(cut(one.request())).rows]
        except GraphError as error:
            one.failed(error)
    assert again == ids
    assert cut.asked == whole.asked


def test_a_resumed_walk_keeps_to_a_lower_ceiling() -> None:
    """And may grow up to a higher one."""
    one = pager(40)
    one.got(answer(range(40), "40"))
    assert resumed(one, 10).limit == 10
    higher = resumed(one, 100)
    assert higher.limit == 40
    for number in range(20):
        higher.got(answer([number], f"c{number}"))
    assert higher.limit == 100


def test_the_state_of_a_walk_is_all_that_its_class_names() -> None:
    """So that nothing of it is forgotten in a checkpoint."""
    assert set(asdict(pager().state())) == set(PagerState.__dataclass_fields__)


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_circle_is_found_by_a_resumed_walk_too(cut: int) -> None:
    """At the same page."""
    get = circle(5, 2)
    assert pages_until_refused(pager(), get, cut) == pages_until_refused(pager(), get)


# ---- all rows


def test_a_page_is_fetched_in_as_many_calls_as_it_takes() -> None:
    """Smaller where it is too large, without the fields that are refused; any other trouble is the caller's."""

    def refuses(request: Request) -> None:
        if "wallpaper" in request.field_names:
            raise GraphFieldError("unknown", fields=("wallpaper",))

    server = Server(10, most=3, refuses=refuses)
    assert [row.id for row in fetch(pager(12), server).rows] == ["0", "1", "2"]
    assert [limit for limit, _ in server.sizes] == [12, 12, 6, 3]

    def raises(error: GraphError) -> Callable[[Request], Answer]:
        def get(request: Request) -> Answer:
            raise error

        return get

    for error in (TROUBLE, GraphAuthError("expired"), GraphCursorError("dead"), GraphRateLimitError("limit")):
        with pytest.raises(type(error)) as caught:
            fetch(pager(), raises(error))
        assert caught.value is error


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
    """Every row once."""
    server = Server(95, refuses=cursors_die(at))
    assert [row.id for row in all_rows(pager(), server)] == [str(number) for number in range(95)]


def test_a_cursor_that_dies_twice_at_the_same_place_is_an_error() -> None:
    """Not an endless walk: the second one brought nothing new."""

    def refuses(request: Request) -> None:
        if int(request.after or 0) >= 30:
            raise GraphCursorError("too deep", too_deep=True)

    server = Server(95, refuses=refuses)
    rows: Iterator[Any] = all_rows(pager(), server)
    assert [next(rows).id for _ in range(30)] == [str(number) for number in range(30)]
    with pytest.raises(GraphCursorError):
        next(rows)
    assert len(server.asked) == 8


def test_a_row_that_comes_twice_is_given_once() -> None:
    """A thread that jumps to the top pushes another over the edge of a page."""
    pages = {None: answer([1, 2], "a"), "a": answer([2, 3], "b"), "b": answer([3])}
    assert [row.id for row in all_rows(pager(), lambda request: pages[request.after])] == ["1", "2", "3"]


def test_rows_are_given_while_the_walk_goes_on() -> None:
    """Nobody waits for the last page."""
    server = Server(95)
    rows = all_rows(pager(), server)
    assert not server.asked
    next(rows)
    assert len(server.asked) == 1
