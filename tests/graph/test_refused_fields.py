"""Fields that the API refuses: in whatever words it does so, a documented one is left out and a user's own is an error."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_pageconv.graph.edges import ConversationsQuery, MessagesQuery, Query
from airflow_provider_pageconv.graph.errors import GraphFieldError, GraphRequestError
from airflow_provider_pageconv.graph.fields import (
    CONVERSATION_FIELDS,
    MESSAGE_FIELDS,
    conversation_fields,
    message_fields,
)
from airflow_provider_pageconv.graph.protocol import Request
from tests.graph.answers import LATER, LIST, refused


def conversations(asked: tuple[str, ...] | None = None, inner: tuple[str, ...] | None = None) -> ConversationsQuery:
    """The inbox of Page 100 with messages; the documented fields where none are named."""
    return ConversationsQuery("100", "messenger", "inbox", None, conversation_fields(asked), message_fields(inner))


def messages(asked: tuple[str, ...] | None = None) -> MessagesQuery:
    """The messages of a thread; the documented fields where none are named."""
    return MessagesQuery("t_1", message_fields(asked))


# ---- what the words name

WORDINGS: list[tuple[str, tuple[str, ...], str | None]] = [
    ("(#100) Tried accessing nonexisting field (subject) on node type (UnifiedThread)", ("subject",), "UnifiedThread"),
    ("(#100) Tried accessing nonexisting field (link) on node type (Message)", ("link",), "Message"),
    ("(#100) Tried accessing nonexisting field (link)", ("link",), None),
    (
        "(#100) Tried accessing nonexisting field (link) on node type (ConversationsConnection)",
        ("link",),
        "ConversationsConnection",
    ),
    (
        "(#100) Tried accessing nonexisting fields (link, subject) on node type (UnifiedThread)",
        ("link", "subject"),
        "UnifiedThread",
    ),
    ("(#100) Tried accessing nonexisting fields (link,subject)", ("link", "subject"), None),
    ("(#100) Unknown field: subject", ("subject",), None),
    ("(#100) Unknown fields: subject, link.", ("subject", "link"), None),
    ('(#100) Unknown field: "subject"', ("subject",), None),
    ("(#100) Unknown field 'subject'", ("subject",), None),
    ("(#100) UNKNOWN FIELD (subject)", ("subject",), None),
    ("(#12) subject field is deprecated for versions v24.0 and higher", ("subject",), None),
    ("subject is deprecated", ("subject",), None),
    ("(#12) The field subject is deprecated", ("subject",), None),
]


@pytest.mark.parametrize("request_", [LIST, LATER])
@pytest.mark.parametrize("code", [100, 12])
@pytest.mark.parametrize("message, fields, node_type", WORDINGS)
def test_every_wording_names_the_fields_and_the_node_that_lacks_them(
    message: str, fields: tuple[str, ...], node_type: str | None, code: int, request_: Request
) -> None:
    """So that documented ones can be left out, on a later page as on the first."""
    error = refused(code, message=message, request=request_)
    assert type(error) is GraphFieldError
    assert (error.fields, error.node_type) == (fields, node_type)


@pytest.mark.parametrize(
    "message",
    [
        "(#100) Tried accessing nonexisting field (Ana) on node type (UnifiedThread)",
        "(#100) Tried accessing nonexisting fields (Ana, Maria)",
        "(#100) Unknown field: Ana",
        "Ana is deprecated",
    ],
)
def test_only_a_field_that_was_asked_for_is_named(message: str) -> None:
    """Whatever else Meta's text holds at that place might be anything, a name among them."""
    error = refused(100, message=message)
    assert type(error) is GraphRequestError
    assert "Ana" not in str(error)


def test_of_several_only_those_that_were_asked_for_are_named() -> None:
    """The rest is not told on."""
    error = refused(100, message="(#100) Tried accessing nonexisting fields (Ana, link) on node type (UnifiedThread)")
    assert type(error) is GraphFieldError
    assert error.fields == ("link",)
    assert "Ana" not in str(error)


# ---- from the words to the smaller query


def accessing(*names: str, node_type: str | None = None) -> str:
    """The usual words."""
    nodes = f" on node type ({node_type})" if node_type else ""
    return f"(#100) Tried accessing nonexisting field{'s' if len(names) > 1 else ''} ({', '.join(names)}){nodes}"


def after(query: Query, message: str) -> tuple[Any, list[str]] | None:
    """What a query becomes when its request is refused in these words."""
    error = refused(100, message=message, request=query.request(25, 25, None))
    assert isinstance(error, GraphFieldError)
    return query.without(error)


@pytest.mark.parametrize(
    "message",
    [
        accessing("wallpaper", node_type="UnifiedThread"),
        accessing("wallpaper", node_type="ConversationsConnection"),
        accessing("wallpaper", node_type="Message"),
        accessing("wallpaper"),
        "(#100) Unknown field: wallpaper",
        "(#12) wallpaper field is deprecated for versions v24.0 and higher",
    ],
)
def test_a_field_that_only_threads_have_is_dropped_from_them_in_any_words(message: str) -> None:
    """What the kind of node is called does not matter then."""
    query, dropped = after(conversations(), message) or (None, [])
    assert dropped == ["conversations.wallpaper"]
    assert query is not None
    assert query.fields.expressions == [one for one in CONVERSATION_FIELDS if one != "wallpaper"]
    assert query.message_fields == conversations().message_fields


@pytest.mark.parametrize("query", [conversations(), messages()], ids=["list", "thread"])
@pytest.mark.parametrize(
    "message",
    [
        accessing("story", node_type="Message"),
        accessing("story", node_type="MessagesConnection"),
        accessing("story", node_type="UnifiedThread"),
        accessing("story"),
        "(#100) Unknown field: story",
        "(#12) story field is deprecated for versions v24.0 and higher",
    ],
)
def test_a_field_that_only_messages_have_is_dropped_from_them_in_any_words(query: Query, message: str) -> None:
    """From those inside threads as from those of a thread's own edge."""
    smaller, dropped = after(query, message) or (None, [])
    assert dropped == ["messages.story"]
    assert smaller is not None
    names = smaller.request(5, 5, None).field_names
    assert "story" not in names
    assert {"attachments", "reactions"} <= names


def test_several_at_once_cost_one_call() -> None:
    """Of both kinds."""
    query, dropped = after(conversations(), accessing("wallpaper", "story", "linked_group")) or (None, [])
    assert dropped == ["conversations.wallpaper", "messages.story", "conversations.linked_group"]
    assert query is not None
    assert not query.request(5, 5, None).field_names & {"wallpaper", "story", "linked_group"}
    thread, dropped = after(messages(), accessing("story", "sticker")) or (None, [])
    assert dropped == ["messages.story", "messages.sticker"]
    assert thread is not None
    assert not thread.request(5, 0, None).field_names & {"story", "sticker"}


def test_of_several_those_that_may_not_be_dropped_stay() -> None:
    """The next refusal names them alone, and is an error."""
    query, dropped = after(messages(), accessing("id", "created_time", "story")) or (None, [])
    assert dropped == ["messages.id", "messages.story"]
    assert query is not None
    assert after(query, accessing("created_time")) is None


def test_a_field_of_both_kinds_is_dropped_where_the_node_type_says() -> None:
    """`name` is a thread's, and one of its attachments' and shares'."""
    for node_type, dropped_first in (
        ("UnifiedThread", "conversations.name"),
        (None, "conversations.name"),
        ("MessageAttachment", "messages.name"),
        ("AttachmentsNode", "messages.name"),
        ("Share", "messages.name"),
        ("Message", "messages.name"),
    ):
        query, dropped = after(conversations(), accessing("name", node_type=node_type)) or (None, [])
        assert dropped == [dropped_first]
        assert query is not None
        of_messages = dropped_first.startswith("messages")
        assert ("name" in query.fields.names) is of_messages
        assert (query.message_fields == conversations().message_fields) is not of_messages


def test_an_inner_field_is_dropped_where_it_stands() -> None:
    """The others in its braces stay."""
    query, _ = after(messages(), accessing("name", node_type="Share")) or (None, [])
    assert query is not None
    assert (
        "attachments{id,type,title,mime_type,size,url,file_url,image_data,video_data,generic_template}"
        in query.fields.asked
    )
    assert "shares{id,type,url,title,link,description,template}" in query.fields.asked
    assert len(query.fields.asked) == len(MESSAGE_FIELDS)


@pytest.mark.parametrize("words", [accessing("link"), "(#100) Unknown field: link", "link is deprecated"])
def test_without_a_node_type_the_threads_are_tried_first(words: str) -> None:
    """Then the messages; each step asks for less, so it ends."""
    query, dropped = after(conversations(), words) or (None, [])
    assert dropped == ["conversations.link"]
    assert query is not None
    query, dropped = after(query, words) or (None, [])
    assert dropped == ["messages.link"]
    assert query is not None
    assert query.without(GraphFieldError("unknown", fields=("link",))) is None


def test_what_has_to_be_asked_for_is_not_dropped() -> None:
    """Without the id and the time there is no export; that refusal is an error."""
    without_messages = ConversationsQuery("100", "messenger", "inbox", None, conversation_fields(None))
    for name in ("id", "updated_time"):
        assert after(without_messages, accessing(name, node_type="UnifiedThread")) is None
    assert after(messages(), accessing("created_time", node_type="Message")) is None
    assert messages().without(GraphFieldError("unknown", fields=("nowhere",))) is None


def test_the_number_of_messages_is_dropped_though_the_fields_are_the_users() -> None:
    """As long as they are not those that the user named."""
    query, dropped = after(conversations(("snippet",)), accessing("message_count", node_type="UnifiedThread")) or (
        None,
        [],
    )
    assert dropped == ["conversations.message_count"]
    assert query is not None
    assert str(query.fields) == "id,updated_time,snippet"
    assert after(conversations(("snippet", "message_count")), accessing("message_count")) is None


def test_an_inner_id_is_dropped_if_the_api_does_not_know_it() -> None:
    """Only the node's own has to be there."""
    query, dropped = after(messages(), accessing("id", node_type="Share")) or (None, [])
    assert dropped == ["messages.id"]
    assert query is not None
    assert "shares{type,url,title,link,name,description,template}" in query.fields.asked
    assert query.fields.asked[0] == "id"
    assert after(query, accessing("id", node_type="Share")) is None


def test_a_users_own_field_is_never_dropped() -> None:
    """Whoever named it wants to know."""
    own = conversations(("id", "name"), ("sticker",))
    assert after(own, accessing("name", node_type="UnifiedThread")) is None
    assert after(own, accessing("sticker", node_type="Message")) is None
    assert after(messages(("sticker",)), "(#100) Unknown field: sticker") is None


def test_a_users_own_field_of_threads_costs_the_messages_nothing() -> None:
    """That their documented ones have a field of that name is no reason to drop it there."""
    own = conversations(("id", "name"))
    assert after(own, accessing("name", node_type="UnifiedThread")) is None


def test_an_edge_whose_inner_fields_are_all_dropped_is_asked_for_without_any() -> None:
    """`shares{}` would not be understood."""
    query: Query = messages()
    for name in ("id", "type", "url", "title", "link", "name", "description", "template"):
        query, _ = after(query, accessing(name, node_type="Share")) or (query, [])
    assert "shares" in query.fields.asked


def test_what_was_dropped_is_dropped_again_by_name() -> None:
    """As when a walk is resumed, or a thread's own edge is asked after the list."""
    query: Any = conversations()
    dropped: list[str] = []
    for words in (
        accessing("wallpaper", node_type="UnifiedThread"),
        accessing("story", "name", node_type="Message"),
        accessing("size", node_type="Attachment"),
        "(#100) Unknown field: message_count",
    ):
        query, names = after(query, words) or (query, [])
        dropped += names
    assert dropped == [
        "conversations.wallpaper",
        "messages.story",
        "messages.name",
        "messages.size",
        "conversations.message_count",
    ]
    assert conversations().dropping(dropped) == query
    assert messages().dropping(dropped).fields == query.message_fields
    without_messages = ConversationsQuery("100", "messenger", "inbox", None, conversation_fields(None))
    assert without_messages.dropping(dropped).message_fields is None
