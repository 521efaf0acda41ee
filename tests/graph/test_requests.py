"""What is asked of the two edges: every parameter of the reference page, and nothing that leads elsewhere."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.graph.edges import (
    CONVERSATION_FIELDS,
    FOLDERS,
    MESSAGE_FIELDS,
    NESTED_MESSAGES,
    ConversationsQuery,
    MessagesQuery,
    conversation_fields,
    field_name,
    message_fields,
    parse_fields,
    split_fields,
)
from airflow_provider_pageconv.graph.errors import GraphFieldError, GraphUnavailableError


def conversations(**changes: object) -> ConversationsQuery:
    """A query of the inbox of Page 100 with two fields."""
    asked: dict[str, object] = {
        "page_id": "100",
        "platform": "messenger",
        "folder": "inbox",
        "user_id": None,
        "fields": conversation_fields("messenger", ("id", "updated_time")),
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


# ---- fields


@pytest.mark.parametrize("platform", FOLDERS)
def test_the_documented_fields_are_asked_for_where_the_user_names_none(platform: str) -> None:
    """With `id` and the time field first among them."""
    fields = conversation_fields(platform, None)
    assert fields.documented
    assert fields.expressions == list(CONVERSATION_FIELDS[platform])
    assert {"id", "updated_time"} <= fields.names
    assert message_fields(None).expressions == list(MESSAGE_FIELDS)
    assert {"id", "created_time", "from"} <= message_fields(None).names


@pytest.mark.parametrize(
    "asked, sent",
    [
        (("snippet",), "id,updated_time,snippet"),
        (("snippet", "id"), "updated_time,snippet,id"),
        (("updated_time", "id"), "updated_time,id"),
        (("participants.limit(5){id,name}", "senders"), "id,updated_time,participants.limit(5){id,name},senders"),
    ],
)
def test_what_the_user_names_is_kept_word_for_word_and_the_required_are_added(
    asked: tuple[str, ...], sent: str
) -> None:
    """`id` and the time field are always asked for, and never twice."""
    assert str(conversation_fields("messenger", asked)) == sent


def test_an_inner_id_does_not_stand_for_the_nodes_own() -> None:
    """`from{id}` has no id of the message."""
    assert str(message_fields(("from{id,created_time}",))) == "id,created_time,from{id,created_time}"


@pytest.mark.parametrize(
    "text, fields",
    [
        ("id", ("id",)),
        (" id , snippet ", ("id", "snippet")),
        ("id,from{id,name},to.limit(2){id}", ("id", "from{id,name}", "to.limit(2){id}")),
        ("a{b{c,d},e},f", ("a{b{c,d},e}", "f")),
        ("attachments.limit(2).order(newest){id}", ("attachments.limit(2).order(newest){id}",)),
    ],
)
def test_fields_are_split_at_their_outermost_commas(text: str, fields: tuple[str, ...]) -> None:
    """Braces and parentheses hold together."""
    assert split_fields(text) == fields
    assert parse_fields("fields", text) == fields
    assert parse_fields("fields", [text, "x"]) == (*fields, "x")


@pytest.mark.parametrize(
    "asked",
    [
        "",
        " ",
        ",",
        "id,",
        "id,,x",
        "a{b",
        "a}b",
        "a{b}}",
        "a(b",
        "{id}",
        "id;x",
        "id&x=1",
        [],
        [""],
        [7],
        7,
        {},
        ["id", None],
    ],
)
def test_fields_that_cannot_be_read_are_refused_in_a_sentence(asked: object) -> None:
    """The parameter, its value, what is allowed."""
    with pytest.raises(ValueError, match="fields is ") as caught:
        parse_fields("fields", asked)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"fields is {asked!r}: it takes names of Graph API fields, such as 'id,participants', or None."
    )


def test_none_means_the_documented_fields() -> None:
    """Unlike an empty list, which is a mistake."""
    assert parse_fields("fields", None) is None


@settings(deadline=None)
@given(st.text(alphabet="ab{}(),. \n", max_size=20))
def test_any_text_is_read_as_fields_or_refused(text: str) -> None:
    """And what is read has names."""
    try:
        fields = parse_fields("fields", text)
    except ValueError:
        return
    assert fields
    assert all(field_name(one) for one in fields)


# ---- fields that the API refuses


def refused_field(name: str, node_type: str | None = None) -> GraphFieldError:
    """What the API says of a field."""
    return GraphFieldError("unknown", field=name, node_type=node_type)


def everything() -> ConversationsQuery:
    """All documented fields of threads and of messages."""
    return conversations(fields=conversation_fields("messenger", None), message_fields=message_fields(None))


def test_a_documented_field_of_threads_is_dropped() -> None:
    """Only that one, and only of threads, although attachments and shares have a field of that name."""
    smaller = everything().without(refused_field("name", "UnifiedThread"))
    assert smaller is not None
    query, dropped = smaller
    assert dropped == "conversations.name"
    assert query.fields.expressions == [one for one in CONVERSATION_FIELDS["messenger"] if one != "name"]
    assert query.message_fields == everything().message_fields


def test_a_documented_field_of_messages_is_dropped() -> None:
    """From the messages inside threads and from those of a thread's own edge."""
    for query in (everything(), MessagesQuery("t_1", message_fields(None))):
        smaller = query.without(refused_field("sticker", "Message"))
        assert smaller is not None
        assert smaller[1] == "messages.sticker"
        assert "sticker" not in smaller[0].request(5, 5, None).field_names
        assert "attachments" in smaller[0].request(5, 5, None).field_names


@pytest.mark.parametrize("node_type", ["MessageAttachment", "AttachmentsNode", "Share"])
def test_an_inner_field_is_dropped_where_it_stands(node_type: str) -> None:
    """The others in its braces stay; the thread's own field of that name too."""
    smaller = everything().without(refused_field("name", node_type))
    assert smaller is not None
    query, dropped = smaller
    assert dropped == "messages.name"
    assert "name" in query.fields.names
    assert query.message_fields is not None
    assert (
        "attachments{id,mime_type,size,file_url,image_data,video_data,generic_template}" in query.message_fields.asked
    )
    assert "shares{id,description,link,template}" in query.message_fields.asked


def test_without_a_node_type_the_threads_are_tried_first() -> None:
    """Then the messages; each step asks for less, so it ends."""
    query, dropped = everything().without(refused_field("link")) or (None, None)
    assert dropped == "conversations.link"
    assert query is not None
    query, dropped = query.without(refused_field("link")) or (None, None)
    assert dropped == "messages.link"
    assert query is not None
    assert query.without(refused_field("link")) is None


def test_what_has_to_be_asked_for_is_not_dropped() -> None:
    """Without the id and the time there is no export; that refusal is an error."""
    for name in ("id", "updated_time"):
        assert (
            conversations(fields=conversation_fields("messenger", None)).without(refused_field(name, "UnifiedThread"))
            is None
        )
    for name in ("created_time", "nowhere"):
        assert MessagesQuery("t_1", message_fields(None)).without(refused_field(name, "Message")) is None


def test_an_inner_id_is_dropped_if_the_api_does_not_know_it() -> None:
    """Only the node's own has to be there."""
    smaller = MessagesQuery("t_1", message_fields(None)).without(refused_field("id", "Share"))
    assert smaller is not None
    assert "shares{name,description,link,template}" in smaller[0].fields.asked
    assert smaller[0].fields.asked[0] == "id"
    assert smaller[0].without(refused_field("id", "Share")) is None


def test_a_users_own_field_is_never_dropped() -> None:
    """Whoever named it wants to know."""
    own = conversations(
        fields=conversation_fields("messenger", ("id", "name")), message_fields=message_fields(("sticker",))
    )
    assert own.without(refused_field("name", "UnifiedThread")) is None
    assert own.without(refused_field("sticker", "Message")) is None


def test_an_edge_whose_inner_fields_are_all_dropped_is_asked_for_without_any() -> None:
    """`shares{}` would not be understood."""
    query = MessagesQuery("t_1", message_fields(None))
    for name in ("id", "name", "description", "link", "template"):
        query = (query.without(refused_field(name, "Share")) or (query, ""))[0]
    assert "shares" in query.fields.asked


def test_what_was_dropped_is_dropped_again_by_name() -> None:
    """As when a walk is resumed, or a thread's own edge is asked after the list."""
    query = everything()
    dropped = []
    for error in (
        refused_field("wallpaper", "UnifiedThread"),
        refused_field("story", "Message"),
        refused_field("size", "Attachment"),
    ):
        query, name = query.without(error) or (query, "")
        dropped.append(name)
    assert dropped == ["conversations.wallpaper", "messages.story", "messages.size"]
    assert everything().dropping(dropped) == query
    messages = MessagesQuery("t_1", message_fields(None)).dropping(dropped)
    assert messages.fields == query.message_fields
    assert conversations().dropping(dropped).message_fields is None
