"""Which fields are asked for: how a user may write them, what is always asked for, and what may be dropped."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.graph.fields import (
    CONVERSATION_FIELDS,
    MESSAGE_FIELDS,
    MESSAGES,
    THREADS,
    Fields,
    conversation_fields,
    message_fields,
)
from airflow_provider_pageconv.graph.names import field_name, parse_fields, split_fields


def test_the_documented_fields_are_asked_for_where_the_user_names_none() -> None:
    """With `id` and the time field first among them; on both platforms the same."""
    for asked in (None, (), []):
        fields = conversation_fields(asked)
        assert fields.documented
        assert fields.expressions == list(CONVERSATION_FIELDS)
        assert {"id", "updated_time", "message_count"} <= fields.names
        assert message_fields(asked).expressions == list(MESSAGE_FIELDS)
    assert {"id", "created_time", "from"} <= message_fields(None).names


def test_the_documented_fields_can_be_read_and_name_everything_once() -> None:
    """Also inside attachments and shares, whose fields have to be asked for one by one; and nothing that is a partition."""
    for expressions in (CONVERSATION_FIELDS, MESSAGE_FIELDS):
        assert split_fields(",".join(expressions)) == expressions
        names = [field_name(one) for one in expressions]
        assert len(names) == len(set(names))
        assert not {"platform", "page_id", "folder", "window"} & set(names)
    inner = {field_name(one): one.partition("{")[2].rstrip("}").split(",") for one in MESSAGE_FIELDS if "{" in one}
    assert {"id", "type", "name", "title", "mime_type", "size", "url", "file_url"} <= set(inner["attachments"])
    assert {"image_data", "video_data", "generic_template"} <= set(inner["attachments"])
    assert {"id", "type", "url", "title", "link", "name", "description", "template"} == set(inner["shares"])


def test_no_part_of_a_person_is_named_so_that_each_platform_gives_its_own() -> None:
    """Messenger has names and addresses, Instagram user names: either would refuse or leave out what is the other's."""
    asked = {field_name(one): one for one in (*CONVERSATION_FIELDS, *MESSAGE_FIELDS)}
    for name in ("participants", "senders", "former_participants", "from", "to", "reactions", "story", "reply_to"):
        assert asked[name] == name


@pytest.mark.parametrize(
    "asked, sent",
    [
        (("snippet",), "id,updated_time,message_count,snippet"),
        (("snippet", "id"), "updated_time,message_count,snippet,id"),
        (("updated_time", "id"), "message_count,updated_time,id"),
        (("message_count",), "id,updated_time,message_count"),
        (
            ("participants.limit(5){id,name}", "senders"),
            "id,updated_time,message_count,participants.limit(5){id,name},senders",
        ),
    ],
)
def test_what_the_user_names_is_kept_word_for_word_and_the_required_are_added(
    asked: tuple[str, ...], sent: str
) -> None:
    """`id`, the time field and the number of messages are always asked for, and never twice."""
    assert str(conversation_fields(asked)) == sent


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


# ---- dropping


def test_the_number_of_messages_may_be_dropped_where_the_user_did_not_name_it() -> None:
    """It is asked for the export's own sake; nobody waits for it."""
    documented = conversation_fields(None).without("message_count")
    assert documented is not None
    assert documented.expressions == [one for one in CONVERSATION_FIELDS if one != "message_count"]
    own = conversation_fields(("snippet",)).without("message_count")
    assert own is not None
    assert str(own) == "id,updated_time,snippet"
    assert own.without("message_count") is None
    assert conversation_fields(("snippet", "message_count")).without("message_count") is None


@pytest.mark.parametrize("asked", [None, ("snippet",), ("id", "updated_time")])
def test_the_id_and_the_time_are_never_dropped(asked: tuple[str, ...] | None) -> None:
    """Without them there is no export."""
    for name in ("id", "updated_time", "nowhere"):
        assert conversation_fields(asked).without(name) is None
    assert message_fields(None).without("created_time") is None
    assert message_fields(("message",)).without("id") is None


def test_a_users_own_field_is_never_dropped() -> None:
    """Neither whole nor from its braces."""
    own = message_fields(("message", "shares{id,link}"))
    for name in ("message", "link", "shares"):
        assert own.without(name) is None


def test_a_field_is_dropped_at_whatever_depth_it_stands() -> None:
    """Everywhere at once: each step asks for less, so that it ends."""
    fields = Fields(("id", "a", "b.limit(3){a,c{a,d},e}", "f{a}"), ("id",), True)
    smaller = fields.without("a")
    assert smaller is not None
    assert smaller.asked == ("id", "b.limit(3){c{d},e}", "f")
    assert smaller.without("a") is None


def test_what_was_dropped_of_one_kind_is_dropped_of_that_kind_only() -> None:
    """The name of a message's field may be that of a thread's."""
    dropped = [f"{MESSAGES}name", f"{THREADS}link", f"{THREADS}nowhere", f"{THREADS}id"]
    threads = conversation_fields(None).dropping(dropped, THREADS)
    assert threads.expressions == [one for one in CONVERSATION_FIELDS if one != "link"]
    assert (
        "shares{id,type,url,title,link,description,template}" in message_fields(None).dropping(dropped, MESSAGES).asked
    )


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted({*CONVERSATION_FIELDS, "name", "type", "url", "nowhere", "from", "story"}))))
def test_whatever_is_dropped_leaves_fields_that_can_be_read(names: list[str]) -> None:
    """With the id and the time among them."""
    for fields, kind, time in (
        (conversation_fields(None), THREADS, "updated_time"),
        (message_fields(None), MESSAGES, "created_time"),
    ):
        left = fields.dropping([f"{kind}{name}" for name in names], kind)
        expressions = split_fields(str(left))
        assert {"id", time} <= {field_name(one) for one in expressions}
        assert not {field_name(one) for one in expressions} & ({*names} - {"id", time})
        assert "{}" not in str(left)
