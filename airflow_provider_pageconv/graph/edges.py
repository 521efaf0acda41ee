"""The conversations and messages edges: what to ask, and what came back.

https://developers.facebook.com/docs/graph-api/reference/page/conversations and
https://developers.facebook.com/docs/graph-api/results on paging.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from airflow_provider_pageconv.graph.errors import (
    GraphCursorError,
    GraphFieldError,
    GraphTooLargeError,
    GraphTransientError,
    GraphUnavailableError,
)
from airflow_provider_pageconv.graph.protocol import Answer, Request

FOLDERS = {"messenger": ("inbox", "other", "page_done", "spam"), "instagram": ("all",)}
"""The folders of each platform; Instagram has one list, for which no folder is sent."""

CONVERSATION_FIELDS = {
    "messenger": (
        "id",
        "updated_time",
        "can_reply",
        "folder",
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
    ),
}
CONVERSATION_FIELDS["instagram"] = CONVERSATION_FIELDS["messenger"]
"""https://developers.facebook.com/docs/graph-api/reference/unified-thread; the API may refuse some of them."""

REQUIRED_OF_MESSAGES = ("id", "created_time")
"""Asked for whatever the user said."""

MESSAGE_FIELDS = (
    "id",
    "created_time",
    "from",
    "to",
    "message",
    "tags",
    "attachments{id,name,mime_type,size,file_url,image_data,video_data,generic_template}",
    "shares{id,name,description,link,template}",
    "sticker",
    "story",
    "reactions",
    "is_unsupported",
    "reply_to",
)
"""https://developers.facebook.com/docs/graph-api/reference/message; the API may refuse some of them."""

THREADS, MESSAGES = "conversations.", "messages."
"""What stands before the name of a dropped field, by the kind of node that it was asked of."""

NESTED_MESSAGES = 25
"""Messages asked for inside each thread of the list: those that may have details (the newest 20), and a few more."""

_GROW_AFTER = 5
_MOST_EMPTY_PAGES = 500


def split_fields(text: str) -> tuple[str, ...]:
    """Split a field expression at its outermost commas.

    :raises ValueError: its braces or parentheses do not match, or a field has no name.
    """
    fields, start, depth = [], 0, 0
    for at, char in enumerate(text + ","):
        if char in "{(":
            depth += 1
        elif char in "})":
            depth -= 1
            if depth < 0:
                raise ValueError(f"braces do not match in {text!r}")
        elif char == "," and depth == 0:
            fields.append(text[start:at].strip())
            start = at + 1
    if depth:
        raise ValueError(f"braces do not match in {text!r}")
    if not all(field_name(one).replace("_", "").isalnum() for one in fields):
        raise ValueError(f"a field without a name in {text!r}")
    return tuple(fields)


def parse_fields(name: str, asked: str | Iterable[str] | None) -> tuple[str, ...] | None:
    """Read a user's choice of fields: one expression, or a list of them.

    :param name: of the parameter, for the sentence.
    :raises ValueError: it names no field, or cannot be read.
    """
    if asked is None:
        return None
    parts = [asked] if isinstance(asked, str) else asked
    try:
        fields = tuple(one for part in parts for one in split_fields(part))
    except (ValueError, TypeError, AttributeError):
        fields = ()
    if not fields:
        raise ValueError(
            f"{name} is {asked!r}: it takes names of Graph API fields, such as 'id,participants', or None."
        )
    return fields


def field_name(one: str) -> str:
    """Name the field of one outermost expression, without its modifiers and inner fields."""
    for at, char in enumerate(one):
        if char in ".{(":
            return one[:at].strip()
    return one.strip()


@dataclass(frozen=True)
class Fields:
    """The fields to ask for.

    :param asked: outermost expressions, in order.
    :param required: names that are asked for whatever the user said.
    :param documented: whether they are the documented ones, of which the API may refuse some.
    """

    asked: tuple[str, ...]
    required: tuple[str, ...]
    documented: bool

    def __str__(self) -> str:
        return ",".join(self.expressions)

    @property
    def expressions(self) -> list[str]:
        """All that is asked for, the required ones first if the user did not name them."""
        return [*(name for name in self.required if name not in self.names), *self.asked]

    @property
    def names(self) -> frozenset[str]:
        return frozenset(field_name(one) for one in self.asked)

    def without(self, name: str) -> Fields | None:
        """Drop a field that the API refused, outermost or inner; ``None`` where it may not be dropped."""
        if not self.documented:
            return None
        kept = tuple(part for one in self.asked if (part := one if one in self.required else _without(one, name)))
        return replace(self, asked=kept) if kept != self.asked else None

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


def conversation_fields(platform: str, asked: Sequence[str] | None) -> Fields:
    """The fields of a thread: the user's, or the documented ones of the platform."""
    return Fields(tuple(asked or CONVERSATION_FIELDS[platform]), ("id", "updated_time"), not asked)


def message_fields(asked: Sequence[str] | None) -> Fields:
    """The fields of a message: the user's, or the documented ones."""
    return Fields(tuple(asked or MESSAGE_FIELDS), REQUIRED_OF_MESSAGES, not asked)


def _in_path(node_id: str) -> str:
    """Quote an id so that it stays one segment of a path, whatever is in it.

    :raises GraphUnavailableError: no quoting keeps it from being read as a step within the path.
    """
    if node_id in ("", ".", ".."):
        raise GraphUnavailableError(f"no object has the id {node_id!r}", remedy="Check the id")
    return quote(node_id, safe="", errors="surrogatepass")


@dataclass(frozen=True)
class ConversationsQuery:
    """What to ask of ``/{page-id}/conversations``.

    :param folder: ``all`` sends none.
    :param message_fields: fields of the messages nested in each thread; ``None`` asks for none.
    """

    page_id: str
    platform: str
    folder: str
    user_id: str | None
    fields: Fields
    message_fields: Fields | None = None

    def request(self, limit: int, nested: int, after: str | None) -> Request:
        fields = str(self.fields)
        if self.message_fields is not None and nested:
            fields += f",messages.limit({nested}){{{self.message_fields}}}"
        params = {"platform": self.platform, "fields": fields, "limit": str(limit)}
        if self.folder != "all":
            params["folder"] = self.folder
        if self.user_id:
            params["user_id"] = self.user_id
        if after is not None:
            params["after"] = after
        return Request(f"{_in_path(self.page_id)}/conversations", params, is_list=True)

    @property
    def nested(self) -> int:
        return NESTED_MESSAGES if self.message_fields is not None else 0

    @property
    def asks_for_sender(self) -> bool:
        """Whether a message without ``from`` is one that came without its details."""
        return self.message_fields is not None and "from" in self.message_fields.names

    @property
    def asks_for_details(self) -> bool:
        """Whether messages are asked for, and more of them than what is always asked for."""
        return self.message_fields is not None and not self.message_fields.names <= {*REQUIRED_OF_MESSAGES}

    def without(self, error: GraphFieldError) -> tuple[ConversationsQuery, str] | None:
        """Drop the field that was refused; the smaller query and what was dropped, ``None`` where it may not be."""
        about_messages = error.node_type not in (None, "UnifiedThread")
        if not about_messages and (smaller := self.fields.without(error.field)):
            return replace(self, fields=smaller), f"{THREADS}{error.field}"
        if self.message_fields is not None and (smaller := self.message_fields.without(error.field)):
            return replace(self, message_fields=smaller), f"{MESSAGES}{error.field}"
        return None

    def dropping(self, dropped: Iterable[str]) -> ConversationsQuery:
        """Drop again what :meth:`without` named."""
        names = list(dropped)
        inner = self.message_fields.dropping(names, MESSAGES) if self.message_fields else None
        return replace(self, fields=self.fields.dropping(names, THREADS), message_fields=inner)


def probe(page_id: str, platform: str) -> Request:
    """The cheapest call that meets the limit of a Page's conversations."""
    return Request(f"{_in_path(page_id)}/conversations", {"platform": platform, "fields": "id", "limit": "1"})


@dataclass(frozen=True)
class MessagesQuery:
    """What to ask of ``/{conversation-id}/messages``."""

    conversation_id: str
    fields: Fields

    def request(self, limit: int, nested: int, after: str | None) -> Request:  # noqa: ARG002 - one signature for both
        params = {"fields": str(self.fields), "limit": str(limit)}
        if after is not None:
            params["after"] = after
        return Request(f"{_in_path(self.conversation_id)}/messages", params, is_list=True)

    @property
    def nested(self) -> int:
        return 0

    def without(self, error: GraphFieldError) -> tuple[MessagesQuery, str] | None:
        """Drop the field that was refused; the smaller query and what was dropped, ``None`` where it may not be."""
        smaller = self.fields.without(error.field)
        return (replace(self, fields=smaller), f"{MESSAGES}{error.field}") if smaller else None

    def dropping(self, dropped: Iterable[str]) -> MessagesQuery:
        """Drop again what :meth:`without` named."""
        return replace(self, fields=self.fields.dropping(dropped, MESSAGES))


Query = ConversationsQuery | MessagesQuery


@dataclass(frozen=True)
class EdgePage:
    """A page of results.

    :param after: the cursor of the next page, ``None`` at the end of the list.
    :param nested: how many messages were asked for inside each node.
    """

    nodes: tuple[dict[str, Any], ...]
    after: str | None
    nested: int = 0


def read_page(document: object) -> EdgePage:
    """Read ``{"data": [...], "paging": {...}}``.

    Only the absence of ``next`` ends a list: a page may be empty or short and have one. The link itself is not followed,
    since it carries the token in clear and no ``appsecret_proof``.

    :raises GraphTransientError: it is not of that shape.
    """
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        raise GraphTransientError("the answer has no list of results", remedy="Try again later")
    nodes = document["data"]
    if not all(isinstance(node, dict) and isinstance(node.get("id"), str) and node["id"] for node in nodes):
        raise GraphTransientError("a row of the answer has no id", remedy="Try again later")
    return EdgePage(tuple(nodes), next_cursor(document.get("paging")))


def next_cursor(paging: object) -> str | None:
    """The cursor that continues a list, ``None`` at its end.

    :raises GraphTransientError: more follows, but no cursor is named.
    """
    if not isinstance(paging, dict) or not paging.get("next"):
        return None
    cursors = paging.get("cursors")
    after = cursors.get("after") if isinstance(cursors, dict) else None
    if not after and isinstance(paging["next"], str):
        try:
            after = parse_qs(urlsplit(paging["next"]).query).get("after", [None])[0]
        except ValueError:
            after = None
    if not isinstance(after, str) or not after:
        raise GraphTransientError("more results follow, but the answer names no cursor", remedy="Try again later")
    return after


@dataclass
class Pager:
    """One walk along an edge, page by page; all that is needed to go on with it later is in its public fields.

    :param query: what to ask.
    :param ceiling: the greatest number of nodes to ask for at once.
    :param after: where to go on.
    :param limit: nodes to ask for at once now; halved when an answer is too large, doubled again after some good ones.
    :param nested: messages to ask for inside each node now; halved when a single node is too large.
    :param anchor: a cursor to compare later ones with (Brent's way of finding a loop in constant memory).
    """

    query: Query
    ceiling: int
    after: str | None = None
    limit: int = 0
    nested: int = -1
    good: int = 0
    empty: int = 0
    anchor: str | None = None
    steps: int = 0
    power: int = 1
    done: bool = False
    looped: bool = False
    dropped: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.limit = self.limit or self.ceiling
        if self.nested < 0:
            self.nested = self.query.nested

    STATE = ("after", "limit", "nested", "good", "empty", "anchor", "steps", "power", "done", "looped", "dropped")

    def state(self) -> dict[str, Any]:
        """What a later :class:`Pager` on the same edge needs to go on, as JSON."""
        return {name: getattr(self, name) for name in self.STATE}

    @classmethod
    def resumed(cls, query: Query, ceiling: int, state: Mapping[str, Any]) -> Pager:
        """Go on where :meth:`state` was taken."""
        pager = cls(query, ceiling, **{name: state[name] for name in cls.STATE})
        pager.limit = min(pager.limit, ceiling)
        pager.query = query.dropping(pager.dropped)
        return pager

    def restart(self) -> None:
        """Begin the list again, as after a refused cursor."""
        self.after, self.anchor, self.steps, self.power, self.empty = None, None, 0, 1, 0
        self.done = self.looped = False

    def fetch(self, get: Callable[[Request], Answer]) -> EdgePage:
        """Get the next page, asking for less where the answer would be too large.

        :param get: makes one call.
        :raises GraphCursorError: the cursor was refused, or the API goes round in a circle.
        :raises GraphTooLargeError: the smallest thing that can be asked for is too large.
        :raises GraphFieldError: the API refuses a field that the user named.
        """
        if self.looped:
            raise GraphCursorError("the API's cursors go round in a circle", remedy="Walk the list again")
        while True:
            try:
                answer = get(self.query.request(self.limit, self.nested, self.after))
                page = replace(read_page(answer.data), nested=self.nested)
                break
            except GraphTooLargeError:
                if not self._shrink():
                    raise
            except GraphFieldError as error:
                smaller = self.query.without(error)
                if smaller is None:
                    raise
                self.query = smaller[0]
                self.dropped.append(smaller[1])
        self._grow()
        self._advance(page)
        return page

    def _shrink(self) -> bool:
        self.good = 0
        if self.limit > 1:
            self.limit //= 2
        elif self.nested:
            self.nested //= 2
        else:
            return False
        return True

    def _grow(self) -> None:
        self.good += 1
        if self.good >= _GROW_AFTER and (self.limit < self.ceiling or self.nested < self.query.nested):
            self.good = 0
            if self.nested < self.query.nested:
                self.nested = min(max(self.nested * 2, 1), self.query.nested)
            else:
                self.limit = min(self.limit * 2, self.ceiling)

    def _advance(self, page: EdgePage) -> None:
        if page.after is None:
            self.done = True
            return
        if page.after in (self.after, self.anchor):
            self.looped = True  # this page is good; the next would be one that was there before
            return
        self.empty = 0 if page.nodes else self.empty + 1
        if self.empty >= _MOST_EMPTY_PAGES:
            self.empty = 0  # a later try gets as many again
            raise GraphTransientError(f"{_MOST_EMPTY_PAGES} empty pages in a row", remedy="Try again later")
        self.after = page.after
        self.steps += 1
        if self.steps == self.power:
            self.anchor, self.steps, self.power = page.after, 0, self.power * 2


def all_nodes(pager: Pager, get: Callable[[Request], Answer]) -> Iterator[dict[str, Any]]:
    """Every node of an edge once, over all pages; a refused cursor costs a walk past what was given.

    :raises GraphError: what :meth:`Pager.fetch` raises; a cursor error once two walks in a row gave nothing new.
    """
    seen: set[str] = set()
    fruitless = 0
    while not pager.done:
        try:
            page = pager.fetch(get)
        except GraphCursorError:
            fruitless += 1
            if fruitless >= 2:
                raise
            pager.restart()
            continue
        fresh = [node for node in page.nodes if node["id"] not in seen]
        for node in fresh:
            seen.add(node["id"])
            fruitless = 0
            yield node


def without_paging(node: Mapping[str, Any], truncated: Counter[str], path: str = "") -> dict[str, Any]:
    """Copy a node without its ``paging`` objects, whose links carry the token.

    :param truncated: counts, by the path of the edge, the lists of which the answer brought only the beginning.
    :raises GraphTransientError: the node is nested deeper than can be followed.
    """
    try:
        return _node_without_paging(node, truncated, path)
    except RecursionError:
        raise GraphTransientError("a row of the answer is nested too deep", remedy="Try again later") from None


def _node_without_paging(node: Mapping[str, Any], truncated: Counter[str], path: str) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for key, value in node.items():
        if key == "paging":
            if isinstance(value, dict) and value.get("next"):
                truncated[path] += 1
            continue
        kept[key] = _without_paging(value, truncated, f"{path}.{key}" if path else key)
    return kept


def _without_paging(value: Any, truncated: Counter[str], path: str) -> Any:
    if isinstance(value, dict):
        return _node_without_paging(value, truncated, path)
    if isinstance(value, list):
        return [_without_paging(item, truncated, path) for item in value]
    return value
