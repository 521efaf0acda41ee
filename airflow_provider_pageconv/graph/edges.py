"""The edges that are walked, conversations, messages, accounts: what to ask, and what came back.

https://developers.facebook.com/docs/graph-api/reference/page/conversations and
https://developers.facebook.com/docs/graph-api/results on paging.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from airflow_provider_pageconv.graph.errors import GraphFieldError, GraphTransientError, GraphUnavailableError
from airflow_provider_pageconv.graph.fields import MESSAGES, REQUIRED_OF_MESSAGES, THREADS, Fields
from airflow_provider_pageconv.graph.protocol import Request

NESTED_MESSAGES = 25
"""Messages asked for inside each thread of the list: those that may have details (the newest 20), and a few more."""

_NESTED = "messages"


def in_path(node_id: str) -> str:
    """Quote an id so that it stays one segment of a path, whatever is in it.

    :raises GraphUnavailableError: no quoting keeps it from being read as a step within the path.
    """
    if node_id in ("", ".", ".."):
        raise GraphUnavailableError(f"no object has the id {node_id!r}", remedy="Check the id")
    return quote(node_id, safe="", errors="surrogatepass")


def _limited_as(platform: str) -> tuple[str, ...]:
    """Whose limits count: the platform's, and the Page's own. The app's have headers of their own."""
    return (platform, "pages")


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
            fields += f",{_NESTED}.limit({nested}){{{self.message_fields}}}"
        params = {"platform": self.platform, "fields": fields, "limit": str(limit)}
        if self.folder != "all":
            params["folder"] = self.folder
        if self.user_id:
            params["user_id"] = self.user_id
        if after is not None:
            params["after"] = after
        return Request(f"{in_path(self.page_id)}/conversations", params, True, _limited_as(self.platform))

    def ids(self, rows: int) -> Request:
        """Ask for the ids of the first rows alone."""
        return replace(self, fields=Fields(("id",), (), False), message_fields=None).request(rows, 0, None)

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

    def without(self, error: GraphFieldError) -> tuple[ConversationsQuery, list[str]] | None:
        """Drop the fields that were refused; the smaller query and what was dropped, ``None`` where none may be.

        What the refusal calls the kind of node decides only where a field is asked of both kinds.
        """
        smaller: ConversationsQuery = self
        dropped: list[str] = []
        for name in error.fields:
            fields = smaller.fields.without(name)
            inner = smaller.message_fields.without(name) if smaller.message_fields is not None else None
            if inner and smaller.fields.asks_for(name):
                if error.node_type in (None, "UnifiedThread"):
                    inner = None
                else:
                    fields = None
            if fields:
                smaller = replace(smaller, fields=fields)
                dropped.append(f"{THREADS}{name}")
            elif inner:
                smaller = replace(smaller, message_fields=inner)
                dropped.append(f"{MESSAGES}{name}")
        return (smaller, dropped) if dropped else None

    def dropping(self, dropped: Iterable[str]) -> ConversationsQuery:
        """Drop again what :meth:`without` named."""
        names = list(dropped)
        inner = self.message_fields.dropping(names, MESSAGES) if self.message_fields else None
        return replace(self, fields=self.fields.dropping(names, THREADS), message_fields=inner)


def probe(page_id: str, platform: str) -> Request:
    """The cheapest call that meets the limit of a Page's conversations."""
    return ConversationsQuery(page_id, platform, "all", None, Fields((), (), False)).ids(1)


@dataclass(frozen=True)
class MessagesQuery:
    """What to ask of ``/{conversation-id}/messages``."""

    conversation_id: str
    fields: Fields
    platform: str = "messenger"

    def request(self, limit: int, nested: int, after: str | None) -> Request:  # noqa: ARG002 - one signature for both
        params = {"fields": str(self.fields), "limit": str(limit)}
        if after is not None:
            params["after"] = after
        return Request(f"{in_path(self.conversation_id)}/messages", params, True, _limited_as(self.platform))

    def ids(self, rows: int) -> Request:
        """Ask for the ids of the newest messages alone."""
        return replace(self, fields=Fields(("id",), (), False)).request(rows, 0, None)

    @property
    def nested(self) -> int:
        return 0

    def without(self, error: GraphFieldError) -> tuple[MessagesQuery, list[str]] | None:
        """Drop the fields that were refused; the smaller query and what was dropped, ``None`` where none may be."""
        fields, dropped = self.fields, []
        for name in error.fields:
            if smaller := fields.without(name):
                fields = smaller
                dropped.append(f"{MESSAGES}{name}")
        return (replace(self, fields=fields), dropped) if dropped else None

    def dropping(self, dropped: Iterable[str]) -> MessagesQuery:
        """Drop again what :meth:`without` named."""
        return replace(self, fields=self.fields.dropping(dropped, MESSAGES))


@dataclass(frozen=True)
class AccountsQuery:
    """What to ask of ``/me/accounts``: the Pages that a user's token reaches.

    https://developers.facebook.com/docs/graph-api/reference/user/accounts

    :param fields: of the Pages.
    """

    fields: tuple[str, ...] = ("id", "name", "tasks")

    def request(self, limit: int, nested: int, after: str | None) -> Request:  # noqa: ARG002 - one signature for all
        params = {"fields": ",".join(self.fields), "limit": str(limit)}
        if after is not None:
            params["after"] = after
        return Request("me/accounts", params, True)

    @property
    def nested(self) -> int:
        return 0

    def without(self, error: GraphFieldError) -> tuple[AccountsQuery, list[str]] | None:
        """Drop what was refused but for the id; ``None`` where nothing else was."""
        kept = tuple(name for name in self.fields if name == "id" or name not in error.fields)
        return (replace(self, fields=kept), []) if kept != self.fields else None

    def dropping(self, dropped: Iterable[str]) -> AccountsQuery:  # noqa: ARG002 - one signature for all
        """What other walks saw to be refused is not of this edge."""
        return self


Query = ConversationsQuery | MessagesQuery | AccountsQuery


@dataclass(frozen=True)
class Row:
    """A node of a list, free of ``paging``, whose links carry the token.

    :param node: all of it but the messages that were asked for inside it.
    :param truncated: by path, how many lists inside the node had further pages.
    :param nested: the messages that came with it; ``None`` where none came.
    """

    node: dict[str, Any]
    truncated: dict[str, int] = field(default_factory=dict)
    nested: EdgePage | None = None

    @property
    def id(self) -> str:
        return str(self.node["id"])


@dataclass(frozen=True)
class EdgePage:
    """A page of results.

    :param after: the cursor of the next page, ``None`` at the end of the list.
    :param asked: how many messages were asked for inside each node.
    :param unusable: rows that are no objects, or have no id.
    """

    rows: tuple[Row, ...]
    after: str | None
    asked: int = 0
    unusable: int = 0


def read_page(document: object, asked: int = 0) -> EdgePage:
    """Read ``{"data": [...], "paging": {...}}``, and take it over: what is not wanted is cut out of the document itself.

    Only the absence of ``next`` ends a list: a page may be empty or short and have one. The link itself is not followed,
    since it carries the token in clear and no ``appsecret_proof``.

    :param asked: how many messages were asked for inside each node.
    :raises GraphTransientError: it is not of that shape, or nested deeper than can be followed.
    """
    if not isinstance(document, dict) or not isinstance(document.get("data"), list):
        raise GraphTransientError("the answer has no list of results", remedy="Try again later")
    rows = document["data"]
    usable = [row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str) and row["id"]]
    try:
        made = tuple(_row(node, asked) for node in usable)
    except RecursionError:
        raise GraphTransientError("a row of the answer is nested too deep", remedy="Try again later") from None
    return EdgePage(made, next_cursor(document.get("paging")), asked, len(rows) - len(usable))


def _row(node: dict[str, Any], asked: int) -> Row:
    nested = None
    if asked and (inner := node.pop(_NESTED, None)) is not None:
        try:
            nested = read_page(inner)
        except GraphTransientError:
            nested = None  # unreadable in here: as if it had not come
    truncated: dict[str, int] = {}
    _cut_paging(node, truncated, "")
    return Row(node, truncated, nested)


def _cut_paging(node: dict[str, Any], truncated: dict[str, int], path: str) -> None:
    paging = node.pop("paging", None)
    if isinstance(paging, dict) and paging.get("next"):
        truncated[path] = truncated.get(path, 0) + 1
    for key, value in node.items():
        if isinstance(value, (dict, list)) and value:
            _cut_inside(value, truncated, f"{path}.{key}" if path else key)


def _cut_inside(value: dict[str, Any] | list[Any], truncated: dict[str, int], path: str) -> None:
    if isinstance(value, dict):
        _cut_paging(value, truncated, path)
    else:
        for item in value:
            if isinstance(item, (dict, list)):
                _cut_inside(item, truncated, path)


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
