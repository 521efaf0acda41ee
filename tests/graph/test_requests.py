"""What is asked of the two edges: every parameter of the reference page, and nothing that leads elsewhere."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.graph.edges import NESTED_MESSAGES, ConversationsQuery, MessagesQuery, probe
from airflow_provider_pageconv.graph.errors import GraphUnavailableError
from airflow_provider_pageconv.graph.fields import Fields, conversation_fields, message_fields
from airflow_provider_pageconv.graph.names import FOLDERS
from airflow_provider_pageconv.graph.protocol import Request

TWO = Fields(("id", "updated_time"), (), False)


def conversations(**changes: object) -> ConversationsQuery:
    """A query of the inbox of Page 100 with two fields."""
    asked: dict[str, object] = {
        "page_id": "100",
        "platform": "messenger",
        "folder": "inbox",
        "user_id": None,
        "fields": TWO,
    }
    return ConversationsQuery(**{**asked, **changes})  # type: ignore[arg-type]


def test_a_request_of_conversations_names_all_that_the_reference_page_knows() -> None:
    """`folder`, `platform`, `user_id`, besides fields, limit and cursor."""
    request = conversations(folder="page_done", user_id="77").request(50, 0, "QVFI==")
    assert request.path == "100/conversations"
    assert request.params == {
        "platform": "messenger",
        "fields": "id,updated_time",
        "limit": "50",
        "folder": "page_done",
        "user_id": "77",
        "after": "QVFI==",
    }


@pytest.mark.parametrize("folder", ["inbox", "other", "page_done", "spam"])
def test_every_folder_of_the_reference_page_is_sent_as_it_is(folder: str) -> None:
    """The inbox too, although it answers where none is named."""
    assert folder in FOLDERS["messenger"]
    assert conversations(folder=folder).request(100, 0, None).params["folder"] == folder


def test_on_instagram_no_folder_is_sent() -> None:
    """It has one list; the API refuses the parameter."""
    request = conversations(platform="instagram", folder=FOLDERS["instagram"][0]).request(100, 0, None)
    assert request.params == {"platform": "instagram", "fields": "id,updated_time", "limit": "100"}


def test_nothing_is_sent_for_what_was_not_asked() -> None:
    """No empty `user_id`, no empty `after`; and never `since` or `until`, which the API ignores."""
    assert set(conversations().request(100, 0, None).params) == {"platform", "folder", "fields", "limit"}


def test_messages_are_asked_for_inside_each_thread() -> None:
    """As many as the walk wants now, with their own fields; none where it wants none."""
    query = conversations(message_fields=message_fields(("id", "created_time", "from")))
    assert query.nested == NESTED_MESSAGES >= 20
    assert query.request(9, 12, None).params["fields"] == ("id,updated_time,messages.limit(12){id,created_time,from}")
    assert query.request(9, 0, None).params["fields"] == "id,updated_time"
    assert conversations().nested == 0
    assert conversations().request(9, 12, None).params["fields"] == "id,updated_time"


def test_a_request_of_messages_has_fields_limit_and_cursor() -> None:
    """Nothing else belongs to that edge."""
    query = MessagesQuery("t_1", message_fields(("message",)))
    assert query.nested == 0
    assert query.request(25, 7, None).params == {"fields": "id,created_time,message", "limit": "25"}
    request = query.request(25, 7, "abc")
    assert request.path == "t_1/messages"
    assert request.params["after"] == request.after == "abc"


@pytest.mark.parametrize("platform", FOLDERS)
def test_a_request_says_whose_limits_count_for_it(platform: str) -> None:
    """The platform's and the Page's, on the list, on a thread's own edge and for the cheapest call on each."""
    threads = conversations(platform=platform, folder=FOLDERS[platform][0])
    messages = MessagesQuery("t_1", message_fields(None), platform)
    for query in (threads, messages):
        for request in (query.request(5, 5, None), query.request(5, 5, "QVFI"), query.ids(1)):  # type: ignore[attr-defined]
            assert request.limited_as == (platform, "pages")
            assert request.is_list
    assert probe("100", platform).limited_as == (platform, "pages")


def test_the_cheapest_call_on_an_edge_is_one_id() -> None:
    """Of the same list, with nothing inside."""
    threads = conversations(
        folder="spam", user_id="77", fields=conversation_fields(None), message_fields=message_fields(None)
    )
    assert threads.ids(1).params == {
        "platform": "messenger",
        "fields": "id",
        "limit": "1",
        "folder": "spam",
        "user_id": "77",
    }
    assert MessagesQuery("t_1", message_fields(None)).ids(1) == Request(
        "t_1/messages", {"fields": "id", "limit": "1"}, True, ("messenger", "pages")
    )
    assert probe("100", "instagram").params == {"platform": "instagram", "fields": "id", "limit": "1"}
    assert probe("100", "messenger").path == "100/conversations"


@pytest.mark.parametrize(
    "asked, sender, details",
    [
        (None, True, True),
        (("id", "created_time"), False, False),
        (("message",), False, True),
        (("from{id}",), True, True),
    ],
)
def test_a_query_knows_what_can_be_told_from_a_message(
    asked: tuple[str, ...] | None, sender: bool, details: bool
) -> None:
    """Without `from` in the fields nobody can tell a message that came without its details."""
    query = conversations(message_fields=message_fields(asked))
    assert (query.asks_for_sender, query.asks_for_details) == (sender, details)
    assert (conversations().asks_for_sender, conversations().asks_for_details) == (False, False)


# ---- ids


@pytest.mark.parametrize(
    "node_id",
    [
        "a/b",
        "../me",
        "..%2f..",
        "a?fields=access_token",
        "a#b",
        "a b",
        "a\nb",
        "a\r\nHost: x",
        "a\x00b",
        "ñ",
        "a;b",
        "...",
        "😀",
    ],
)
def test_an_id_stays_one_segment_of_the_path(node_id: str) -> None:
    """Whatever is in it; ids come from the API too."""
    for query, edge in (
        (conversations(page_id=node_id), "conversations"),
        (MessagesQuery(node_id, message_fields(None)), "messages"),
    ):
        path = query.request(1, 0, None).path  # type: ignore[attr-defined]
        assert path == f"{quote(node_id, safe='')}/{edge}"
        assert path.count("/") == 1


@settings(deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=()), max_size=12))
def test_any_id_is_quoted_back_to_itself_or_refused(node_id: str) -> None:
    """Half characters, which JSON can bring, among them."""
    try:
        path = MessagesQuery(node_id, message_fields(None)).request(1, 0, None).path
    except GraphUnavailableError:
        assert node_id in ("", ".", "..")
        return
    parts = urlsplit(f"http://graph.example/v26.0/{path}")
    assert (parts.query, parts.fragment) == ("", "")
    assert unquote(parts.path, errors="surrogatepass") == f"/v26.0/{node_id}/messages"
    assert parts.path.isascii()


@pytest.mark.parametrize("node_id", ["", ".", ".."])
def test_an_id_that_is_a_step_within_the_path_is_refused(node_id: str) -> None:
    """Clients and proxies take `%2e%2e` for `..`, so no quoting helps: the call would go to another object."""
    for query in (conversations(page_id=node_id), MessagesQuery(node_id, message_fields(None))):
        with pytest.raises(GraphUnavailableError) as caught:
            query.request(1, 0, None)  # type: ignore[attr-defined]
        assert str(caught.value) == f"Graph API: no object has the id {node_id!r}. Check the id."
