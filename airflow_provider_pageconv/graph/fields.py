"""The fields to ask for: the documented ones or the user's own, less what the API refused."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from airflow_provider_pageconv.graph.names import field_name, split_fields

CONVERSATION_FIELDS = (
    "id",
    "updated_time",
    "can_reply",
    "former_participants",
    "is_owner",
    "is_subscribed",
    "link",
    "linked_group",
    "message_count",
    "name",
    "participants",
    "scoped_thread_key",
    "senders",
    "snippet",
    "unread_count",
    "wallpaper",
)
"""https://developers.facebook.com/docs/graph-api/reference/unified-thread, on both platforms; but for ``folder``, which is a
partition of the data set, where engines refuse the name twice."""

MESSAGE_FIELDS = (
    "id",
    "created_time",
    "from",
    "to",
    "message",
    "tags",
    "attachments{id,type,name,title,mime_type,size,url,file_url,image_data,video_data,generic_template}",
    "shares{id,type,url,title,link,name,description,template}",
    "sticker",
    "story",
    "reactions",
    "is_unsupported",
    "reply_to",
)
"""https://developers.facebook.com/docs/graph-api/reference/message."""

THREADS, MESSAGES = "conversations.", "messages."
"""What stands before the name of a dropped field, by the kind of node that it was asked of."""

_THREAD_REQUIRED, _THREAD_ALWAYS = ("id", "updated_time"), ("message_count",)
REQUIRED_OF_MESSAGES = ("id", "created_time")
"""Asked for whatever the user said."""


@dataclass(frozen=True)
class Fields:
    """The fields to ask for.

    :param asked: outermost expressions, in order.
    :param required: names that are asked for whatever the user said.
    :param documented: whether they are the documented ones, of which the API may refuse some.
    :param always: names that are asked for whatever the user said, as long as the API takes them.
    """

    asked: tuple[str, ...]
    required: tuple[str, ...]
    documented: bool
    always: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ",".join(self.expressions)

    @cached_property
    def expressions(self) -> list[str]:
        """All that is asked for, first what the user did not name."""
        added = (*self.required, *self.always)
        return [*(name for name in added if name not in self.names), *self.asked]

    @cached_property
    def names(self) -> frozenset[str]:
        return frozenset(field_name(one) for one in self.asked)

    @cached_property
    def all_names(self) -> frozenset[str]:
        """The names of all that is asked for, outermost."""
        return self.names.union(self.required, self.always)

    def asks_for(self, name: str) -> bool:
        """Whether a field is asked for, outermost."""
        return name in self.all_names

    def without(self, name: str) -> Fields | None:
        """Drop a field that the API refused, outermost or inner; ``None`` where it may not be dropped."""
        always = tuple(one for one in self.always if one != name)
        kept = self.asked
        if self.documented:
            kept = tuple(part for one in kept if (part := one if one in self.required else _without(one, name)))
        smaller = replace(self, asked=kept, always=always)
        # What was added to a user's own fields is dropped only where the user did not name it as well.
        return smaller if str(smaller) != str(self) else None

    def dropping(self, dropped: Iterable[str], kind: str) -> Fields:
        """Drop all fields of a kind (:data:`THREADS` or :data:`MESSAGES`) that stand in a list of dropped ones."""
        fields = self
        for name in dropped:
            if name.startswith(kind):
                fields = fields.without(name[len(kind) :]) or fields
        return fields


def _without(one: str, name: str) -> str:
    """Take a field out of one expression, at whatever depth it stands; empty where it is the expression's own."""
    if field_name(one) == name:
        return ""
    head, brace, inner = one.partition("{")
    if not brace:
        return one
    kept = [part for each in split_fields(inner.rstrip()[:-1]) if (part := _without(each, name))]
    return f"{head}{{{','.join(kept)}}}" if kept else head


def conversation_fields(
    asked: Sequence[str] | None, exclude: Container[str] = (), needed: Sequence[str] = ()
) -> Fields:
    """The fields of a thread: the user's, or the documented ones.

    :param exclude: names of fields that are not asked for.
    :param needed: names of fields that may not be dropped.
    """
    kept = _kept(asked or CONVERSATION_FIELDS, exclude)
    return Fields(kept, (*_THREAD_REQUIRED, *needed), not asked, _THREAD_ALWAYS)


def message_fields(asked: Sequence[str] | None, exclude: Container[str] = (), needed: Sequence[str] = ()) -> Fields:
    """The fields of a message, likewise."""
    return Fields(_kept(asked or MESSAGE_FIELDS, exclude), (*REQUIRED_OF_MESSAGES, *needed), not asked)


def _kept(asked: Sequence[str], exclude: Container[str]) -> tuple[str, ...]:
    return tuple(one for one in asked if field_name(one) not in exclude)


def excludable(conversations: Sequence[str] | None, messages: Sequence[str] | None) -> list[str]:
    """Names of all fields that are asked for and may be left out."""
    asked = (*(conversations or CONVERSATION_FIELDS), *(messages or MESSAGE_FIELDS))
    always = {*_THREAD_REQUIRED, *_THREAD_ALWAYS, *REQUIRED_OF_MESSAGES}
    return sorted({field_name(one) for one in asked} - always)
