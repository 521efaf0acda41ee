"""From what was asked to what is answered: the Graph API without a network.

Nothing here knows HTTP beyond a status. The wire format follows Meta's reference:
https://developers.facebook.com/docs/graph-api/reference/page/conversations/
https://developers.facebook.com/docs/messenger-platform/conversations
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from airflow_provider_pageconv.sandbox import errors
from airflow_provider_pageconv.sandbox.cursors import Cursors, Places, Rows
from airflow_provider_pageconv.sandbox.encoding import EncodedRow, dumps
from airflow_provider_pageconv.sandbox.errors import GraphApiError
from airflow_provider_pageconv.sandbox.fields import Field, parse_fields
from airflow_provider_pageconv.sandbox.media import Media
from airflow_provider_pageconv.sandbox.nodes import FOLDERS, INSTAGRAM, INSTAGRAM_FOLDER, MESSENGER, Message, Thread
from airflow_provider_pageconv.sandbox.page import Page
from airflow_provider_pageconv.sandbox.rows import MessageRows, ThreadRows
from airflow_provider_pageconv.sandbox.rules import Rules
from airflow_provider_pageconv.sandbox.times import TIME_FORMS
from airflow_provider_pageconv.sandbox.twists import Twist, bend, intrude

VERSIONS = tuple(f"v{number}.0" for number in range(21, 27))
DEFAULT_LIMIT = 25
APP_ID = "1234567890"
_KEPT_ROWS = 4096
_VERSION = re.compile(r"v(\d+)\.(\d+)")

_ANY: frozenset[str] = frozenset()
_PERSON_FIELDS = frozenset({"id", "name", "email", "username", "user_id"})

# What each node type knows. A type that is not listed takes any field: Meta's reference does not name theirs.
NODE_FIELDS: dict[str, frozenset[str]] = {
    "UnifiedThread": frozenset({
        "id", "can_reply", "folder", "former_participants", "is_owner", "is_subscribed", "link", "linked_group",
        "message_count", "messages", "name", "participants", "scoped_thread_key", "senders", "snippet", "subject",
        "unread_count", "updated_time", "wallpaper",
    }),
    "Message": frozenset({
        "id", "created_time", "from", "to", "message", "tags", "attachments", "shares", "story", "reactions",
        "is_unsupported", "reply_to", "sticker",
    }),
    "MessageAttachment": frozenset({
        "id", "name", "mime_type", "size", "file_url", "image_data", "video_data", "generic_template", "title", "type",
        "url",
    }),
    "MessageShare": frozenset({"id", "description", "link", "name", "template", "title", "type", "url"}),
    "Person": _PERSON_FIELDS,
    "Page": frozenset({
        "id", "name", "access_token", "about", "category", "category_list", "conversations", "fan_count",
        "instagram_business_account", "link", "tasks", "username",
    }),
    "User": frozenset({"id", "name", "accounts"}),
}  # fmt: skip
_INNER_TYPES: dict[tuple[str, str], str] = {
    ("Page", "conversations"): "UnifiedThread",
    ("User", "accounts"): "Page",
    ("UnifiedThread", "messages"): "Message",
    ("UnifiedThread", "participants"): "Person",
    ("UnifiedThread", "former_participants"): "Person",
    ("UnifiedThread", "senders"): "Person",
    ("Message", "from"): "Person",
    ("Message", "to"): "Person",
    ("Message", "attachments"): "MessageAttachment",
    ("Message", "shares"): "MessageShare",
}
_DEFAULTS: dict[str, tuple[str, ...]] = {
    "UnifiedThread": ("id", "updated_time", "link"),
    "Message": ("id", "created_time"),
    "Page": ("id", "name"),
    "User": ("id", "name"),
    "MessageShare": ("id",),  # The others have to be asked for.
}
_ACCOUNTS_DEFAULT = ("access_token", "category", "category_list", "name", "id", "tasks")
_PAGED_INNER = frozenset({"attachments", "reactions", "shares", "participants", "former_participants", "senders"})


@dataclass(frozen=True)
class Call:
    """What was asked: the path without its version, the parameters decoded.

    :param base: the address that links in the answer start with.
    :param bearer: the token of the Authorization header, if there was one.
    """

    method: str
    path: str
    params: Mapping[str, str]
    version: str | None = None
    bearer: str | None = None
    base: str = ""

    @property
    def parts(self) -> list[str]:
        """The path's segments."""
        return [part for part in self.path.split("/") if part]

    @property
    def token(self) -> str | None:
        """The access token, from whichever place it came."""
        return self.params.get("access_token") or self.bearer


@dataclass
class Answer:
    """What is answered. `usage` says for which limits the headers report: (page id, type) pairs."""

    status: int
    body: Any
    version: str
    code: int | None = None
    usage: tuple[tuple[str, str], ...] = ()
    error_message: str | None = None


@dataclass
class Access:
    """What a token opens: one Page, or, for a user's token, the Pages of that user.

    :param facts: what `/debug_token` says of it beside the usual; one whose `expires_at` has come is refused.
    :param reaches: ids of the Pages that a user's token reaches; all of them if left out.
    :param advanced_access: whether its app may read what people without a role in it wrote; if not, lists are empty.
    """

    token: str
    page: Page | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reaches: frozenset[str] | None = None
    advanced_access: bool = True


@dataclass
class _Context:
    """One call while it is answered."""

    call: Call
    access: Access
    version: str
    twist: Twist | None
    usage: list[tuple[str, str]]


class GraphApi:
    """Answers calls about some Pages.

    What changes is in the Pages and the rules. What it keeps for itself are rows of threads that nothing happened to,
    as JSON by all that decides what they look like: it may forget them at any time.
    """

    def __init__(
        self,
        pages: Mapping[str, Page],
        accesses: Iterable[Access],
        cursors: Cursors,
        rules: Rules,
        now: Callable[[], float],
        media: Media | None = None,
    ) -> None:
        self.pages = pages
        self.accesses = {access.token: access for access in accesses}
        self.cursors = cursors
        self.rules = rules
        self._now = now
        self.media = media
        self._encoded: dict[Hashable, EncodedRow] = {}

    def derived_token(self, page: Page) -> str:
        """Return the Page token that a user's token is exchanged for."""
        return f"SANDBOX-DERIVED-{hashlib.sha256(f'derived/{page.id}'.encode()).hexdigest()[:32].upper()}"

    def answer(self, call: Call, twist: Twist | None = None) -> Answer:
        """Return the answer to a call; never raises."""
        version = VERSIONS[0]
        usage: list[tuple[str, str]] = []
        try:
            version = answered_version(call.version)
            if call.method != "GET":
                raise GraphApiError(
                    100,
                    f"Unsupported {call.method.lower()} request. This sandbox answers GET and nothing else.",
                    type="GraphMethodException",
                    subcode=33,
                )
            access = self._authorize(call)
            body = self._route(_Context(call, access, version, twist, usage))
            return Answer(200, body, version, usage=tuple(usage))
        except GraphApiError as error:
            return self.refusal(error, call, version, tuple(usage))

    def refusal(
        self, error: GraphApiError, call: Call, version: str, usage: tuple[tuple[str, str], ...] = ()
    ) -> Answer:
        """Return an error as an answer."""
        trace = hashlib.blake2b(f"{call.path}{call.params}{error.code}".encode(), digest_size=8).hexdigest()
        return Answer(error.status, error.body(f"A{trace}"), version, error.code, usage, error.message)

    # ---- who asks

    def proof_of(self, token: str) -> str:
        """Return the `appsecret_proof` that belongs to a token."""
        secret = (self.rules.app_secret or "").encode()
        return hmac.new(secret, token.encode(), hashlib.sha256).hexdigest()

    def _authorize(self, call: Call) -> Access:
        swallowed = self.rules.swallow_authorization
        token = call.params.get("access_token") if swallowed else call.token
        if not token:
            code = self.rules.no_token_code or (2500 if swallowed or call.parts[:1] == ["me"] else 104)
            raise GraphApiError(2500, errors.NO_TOKEN) if code == 2500 else errors.usual(104)
        access = self.accesses.get(token)
        if token == self.app_token:
            access = Access(token, facts={"type": "APP"}, reaches=frozenset())
        if access is None:
            raise GraphApiError(190, f"Malformed access token {token}")
        if self._has_ended(access):
            raise GraphApiError(190, "Error validating access token: Session has expired", subcode=463)
        proof = call.params.get("appsecret_proof")
        if proof is not None and (self.rules.app_secret is None or not _same(proof, self.proof_of(token))):
            raise GraphApiError(
                100, "Invalid appsecret_proof provided in the API argument", type="GraphMethodException"
            )
        if proof is None and self.rules.require_proof:
            raise GraphApiError(
                100, "API calls from the server require an appsecret_proof argument", type="GraphMethodException"
            )
        if access.facts.get("type") == "APP" and call.parts[:1] == ["me"]:
            raise GraphApiError(2500, errors.NO_TOKEN)  # Behind an app's token there is nobody who could be meant.
        return access

    def _has_ended(self, access: Access) -> bool:
        return 0 < int(access.facts.get("expires_at", 0)) <= self._now()

    @property
    def app_token(self) -> str | None:
        """The app's own token, where it has a secret."""
        return f"{APP_ID}|{self.rules.app_secret}" if self.rules.app_secret else None

    # ---- where it goes

    def _route(self, at: _Context) -> Any:
        parts = at.call.parts
        if at.call.params.get("ids"):
            raise errors.bad_parameter(
                "The ids parameter is not supported any more. Ask for each object by a request of its own."
            )
        if not parts:
            raise GraphApiError(2500, "An unknown path was requested: /")
        if parts == ["debug_token"]:
            return self._debug_token(at)
        if parts == ["oauth", "access_token"]:
            return self._renew(at)
        if len(parts) > 2:
            raise GraphApiError(2500, "Unknown path components: /" + "/".join(parts[1:]))
        return self._node_or_edge(at, parts[0], parts[1] if len(parts) == 2 else None)

    def _node_or_edge(self, at: _Context, ident: str, edge: str | None) -> Any:
        if ident == "me" and at.access.page is not None:
            ident = at.access.page.id
        if ident in ("me", "SANDBOX-USER", _USER["id"]) and at.access.page is None:
            if edge is None:
                return self._introspected(at, "user", self._expand(at, "User", dict(_USER), self._asked(at, "User")))
            if edge == "accounts":
                return self._accounts(at)
            raise errors.not_found(ident)
        page = self.pages.get(ident)
        if page is not None:
            if edge is None:
                at.usage.append((page.id, "pages"))
                return self._introspected(at, "page", self._page_node(at, page, self._asked(at, "Page")))
            if edge == "conversations":
                return self._conversations(at, page, at.call.params, self._asked(at, "UnifiedThread"), at.twist)
            raise errors.not_found(ident)
        return self._thread_or_message(at, ident, edge)

    def _thread_or_message(self, at: _Context, ident: str, edge: str | None) -> Any:
        pages = [at.access.page] if at.access.page is not None else list(self.pages.values())
        for page in pages:
            thread = page.find_thread(ident)
            if thread is not None:
                self._needs_page_token(at, page)
                at.usage.append((page.id, thread.platform))
                if edge is None:
                    return self._thread_node(at, page, thread, self._asked(at, "UnifiedThread"))
                if edge == "messages":
                    fields = self._asked(at, "Message")
                    return self._messages(at, thread, at.call.params, fields, at.twist)
                return self._inner_edge(at, "UnifiedThread", page.thread_node(thread), edge)
            if page.was_message(ident):
                self._needs_page_token(at, page)
                found = page.find_message(ident)
                at.usage.append((page.id, found[0].platform if found else MESSENGER))
                if found is None or self._is_bare(found[0].messages[found[1]], found[1]):
                    raise errors.usual(9000001)
                message = found[0].messages[found[1]]
                if edge is None:
                    node = self._linked(at, self._shown(message, message.node()))
                    return self._expand(at, "Message", node, self._asked(at, "Message"))
                return self._inner_edge(at, "Message", self._linked(at, message.node()), edge)
        raise errors.not_found(ident)

    def _needs_page_token(self, at: _Context, page: Page) -> None:
        if at.access.page is page:
            return
        if at.access.page is not None:
            raise errors.not_found(page.id)
        if self.rules.user_token_error == 190:
            raise GraphApiError(190, "This method must be called with a Page Access Token")
        raise errors.usual(self.rules.user_token_error)

    def _reaches(self, access: Access, page: Page) -> bool:
        return access.page is page or (access.page is None and (access.reaches is None or page.id in access.reaches))

    # ---- nodes

    def _asked(self, at: _Context, node_type: str) -> tuple[Field, ...]:
        """Return the fields of the call, checked, or the default of the node type."""
        text = at.call.params.get("fields")
        if not text:
            return _plain(_DEFAULTS[node_type])
        fields = parse_fields(text)
        self._check(fields, node_type, at.version)
        return fields

    def _check(self, fields: Iterable[Field], node_type: str, version: str) -> None:
        """Refuse what the node type does not know: Meta does so whether or not a row would have it."""
        known = NODE_FIELDS.get(node_type, _ANY)
        refused = self.rules.refused_fields.get(node_type, ())
        elsewhen = set()
        if node_type == "UnifiedThread":
            elsewhen = {"subject"} if int(version[1:3]) >= 24 else {"is_owner"}
        names = [field.name for field in fields]
        wrong = [name for name in names if (known and name not in known) or name in refused or name in elsewhen]
        if wrong:
            raise errors.unknown_fields(wrong, node_type, self.rules.refusal_form)
        for field in fields:
            if field.inner is not None:
                self._check(field.inner, _INNER_TYPES.get((node_type, field.name), ""), version)

    def _introspected(self, at: _Context, node_type: str, node: dict[str, Any]) -> dict[str, Any]:
        """Tell what a node is, where that was asked for."""
        return {**node, "metadata": {"type": node_type}} if at.call.params.get("metadata") == "1" else node

    def _page_node(self, at: _Context, page: Page, fields: Sequence[Field]) -> dict[str, Any]:
        node: dict[str, Any] = {
            "id": page.id,
            "name": page.name,
            "about": "Una página de mentira",
            "category": "Shopping & Retail",
            "category_list": [{"id": "200600219953504", "name": "Shopping & Retail"}],
            "fan_count": 1234,
            "instagram_business_account": {"id": page.instagram_id},
            "link": f"https://www.facebook.com/{page.id}",
            "username": "sandbox.page",
        }
        if at.access.page is page:
            node["access_token"] = at.access.token
        elif self._reaches(at.access, page):
            node["tasks"] = list(page.tasks)
            if page.tasks:
                node["access_token"] = self.derived_token(page)
            elif self._refuses_token(at, page, fields):
                raise GraphApiError(10, errors.NO_TASK, status=403)
        for field in fields:
            if field.name == "conversations":
                inner = _or_default(field, "UnifiedThread")
                node["conversations"] = self._conversations(at, page, dict(field.args), inner, source=field.source)
        return self._expand(at, "Page", node, fields)

    def _refuses_token(self, at: _Context, page: Page, fields: Sequence[Field]) -> bool:
        """Tell whether the Page itself is asked for a token that this person may not have, and says so."""
        asked = at.call.parts == [page.id] and any(field.name == "access_token" for field in fields)
        return asked and self.rules.taskless == "refused"

    def _accounts(self, at: _Context) -> dict[str, Any]:
        text = at.call.params.get("fields")
        fields = parse_fields(text) if text else _plain(_ACCOUNTS_DEFAULT)
        self._check(fields, "Page", at.version)
        pages = [page for page in self.pages.values() if self._reaches(at.access, page)]
        return self._edge(
            at,
            Places(len(pages)),
            lambda place: self._page_node(at, pages[place], fields),
            params=at.call.params,
            path=f"/{_USER['id']}/accounts",
            source=text or "",
            twist=at.twist,
        )

    def _renew(self, at: _Context) -> dict[str, Any]:
        """A token for one that is still good."""
        params = at.call.params
        if params.get("grant_type") != "fb_exchange_token" or not params.get("fb_exchange_token"):
            raise errors.bad_parameter("Missing grant_type or fb_exchange_token")
        if params.get("client_id") != APP_ID or params.get("client_secret") != self.rules.app_secret:
            raise GraphApiError(101, "Error validating application. Cannot get application info due to a system error.")
        access = self.accesses.get(params["fb_exchange_token"])
        if access is None or self._has_ended(access):
            raise GraphApiError(190, "Error validating access token: Session has expired", subcode=463)
        lasts = 60 * 86400 if params.get("set_token_expires_in_60_days") == "true" else 0
        ends = int(self._now()) + lasts if lasts else 0
        token = f"SANDBOX-RENEWED-{hashlib.sha256(f'{access.token}/{ends}'.encode()).hexdigest()[:32].upper()}"
        self.accesses[token] = Access(
            token, access.page, {**access.facts, "expires_at": ends}, access.reaches, access.advanced_access
        )
        return {"access_token": token, "token_type": "bearer", **({"expires_in": lasts} if lasts else {})}

    def _debug_token(self, at: _Context) -> dict[str, Any]:
        asked = at.call.params.get("input_token")
        if not asked:
            raise errors.bad_parameter("The parameter input_token is required")
        access = Access(asked, facts={"type": "APP"}) if asked == self.app_token else self.accesses.get(asked)
        scopes = ["pages_manage_metadata", "pages_read_engagement", "pages_messaging", "pages_show_list",
                  "instagram_basic", "instagram_manage_messages"]  # fmt: skip
        if access is None:
            data: dict[str, Any] = {
                "error": {"code": 190, "message": "Invalid OAuth access token - Cannot parse access token"},
                "is_valid": False,
                "scopes": [],
            }
        else:
            data = {
                "app_id": APP_ID,
                "type": "USER" if access.page is None else "PAGE",
                "application": "Sandbox",
                "data_access_expires_at": 0,
                "expires_at": 0,
                "is_valid": True,
                "issued_at": 1_790_000_000,
                "scopes": scopes,
                "granular_scopes": [{"scope": scope} for scope in scopes],
                "user_id": _USER["id"],
            }
            if access.page is not None:
                data["profile_id"] = access.page.id
            data |= access.facts
            if self._has_ended(access):
                data |= {"is_valid": False, "error": {"code": 190, "subcode": 463, "message": "Session has expired"}}
        return {"data": {**data, **self.rules.debug_token}}

    def _thread_node(
        self, at: _Context, page: Page, thread: Thread, fields: Sequence[Field], *, as_row: bool = False
    ) -> dict[str, Any]:
        """Return a thread; as a row of a list its messages come as `rules.nested` says."""
        node = page.thread_node(thread)
        node["updated_time"] = TIME_FORMS[self.rules.time_form](thread.updated)
        node.update(thread.shown or {})
        if self.rules.message_count != "right":
            node["message_count"] = None if self.rules.message_count == "absent" else node["message_count"] + 1
        if int(at.version[1:3]) < 24 and thread.platform == MESSENGER and thread.serial % 3 == 0:
            node["subject"] = "Asunto"
        nested = self.rules.nested if as_row and thread.serial % self.rules.nested_every == 0 else "full"
        for field in fields:
            if field.name == "messages" and nested in ("full", "short"):
                inner = _or_default(field, "Message")
                args = dict(field.args)
                if nested == "full":
                    node["messages"] = self._messages(at, thread, args, inner, source=field.source)
                else:
                    node["messages"] = self._short_messages(at, thread, args, inner)
        made = self._expand(at, "UnifiedThread", node, fields)
        for field in fields:
            if field.name == "messages" and nested in ("null", "empty"):
                made[field.alias] = None if nested == "null" else {"data": []}
        return made

    def _short_messages(
        self, at: _Context, thread: Thread, args: dict[str, str], fields: Sequence[Field]
    ) -> dict[str, Any]:
        """Return half of the messages that were asked for, as if there were no more."""
        rows = min(_limit(args.get("limit"), self.rules.max_inner_limit), len(thread.messages)) // 2
        if not rows:
            return {"data": []}
        made = self._messages(at, thread, {**args, "limit": str(rows)}, fields)
        made["paging"].pop("next", None)
        return made

    def _is_bare(self, message: Message, place: int) -> bool:
        return message.bare or (self.rules.details != "all" and place >= self.rules.detailed_messages)

    def visible(self, message: Message, place: int) -> dict[str, Any]:
        """Return a message with every field that the API still gives at this place of its thread (0 = newest).

        Times are the true ones, in Meta's own form.
        """
        if not self._is_bare(message, place):
            return message.node()
        if self.rules.details == "dated" and not message.bare:
            return {"id": message.id, "created_time": message.created_time}
        return {"id": message.id}

    def _shown(self, message: Message, node: dict[str, Any]) -> dict[str, Any]:
        """Return a message's node with its time as it is answered, which need not be the true one."""
        if "created_time" not in node or (self.rules.time_form == "graph" and message.shown is None):
            return node
        return {**node, "created_time": TIME_FORMS[self.rules.time_form](message.created), **(message.shown or {})}

    def _linked(self, at: _Context, node: dict[str, Any]) -> dict[str, Any]:
        """Return a message's node with its links leading here, where the files behind them are served."""
        return node if self.media is None else self.media.of(node, at.call.base, int(self._now()))

    def _expand(self, at: _Context, node_type: str, node: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
        """Return the fields that were asked for and are there, and always the id."""
        made: dict[str, Any] = {}
        for field in fields:
            value = node.get(field.name)
            if value is None or value == {"data": []}:
                continue
            if isinstance(value, dict) and field.name not in ("messages", "conversations"):
                inner_type = _INNER_TYPES.get((node_type, field.name), "")
                if "data" in value:
                    value = self._inner_list(at, inner_type, node, field, value["data"])
                elif field.inner is not None:
                    value = self._expand(at, inner_type, value, field.inner)
            made[field.alias] = value
        if "id" in node and "id" not in made:
            made["id"] = node["id"]
        return made

    def _inner_list(
        self, at: _Context, inner_type: str, node: Mapping[str, Any], field: Field, data: Sequence[dict[str, Any]]
    ) -> dict[str, Any]:
        fields = field.inner if field.inner is not None else _plain(_DEFAULTS.get(inner_type, ()))
        paged = self.rules.inner_paging and field.name in _PAGED_INNER
        if not paged or (not field.args and len(data) <= min(DEFAULT_LIMIT, self.rules.max_inner_limit)):
            made = {"data": [self._expand(at, inner_type, row, fields) if fields else row for row in data]}
            return {**made, "paging": {"cursors": self._whole(len(data), field.name)}} if paged else made
        return self._edge(
            at,
            Places(len(data)),
            lambda place: self._expand(at, inner_type, data[place], fields) if fields else data[place],
            params=dict(field.args),
            path=f"/{node['id']}/{field.name}",
            source=field.source,
            scope=field.name,
        )

    def _whole(self, length: int, scope: str) -> dict[str, str]:
        """Return the cursors of an inner list that fits one page, as nearly all of them do."""
        rows = Places(length)
        return {"before": self.cursors.write(rows, 0, scope), "after": self.cursors.write(rows, length - 1, scope)}

    def _inner_edge(self, at: _Context, node_type: str, node: Mapping[str, Any], edge: str) -> dict[str, Any]:
        """Answer `/{message-id}/attachments` and its like, where the links of inner lists lead."""
        if (
            edge not in _PAGED_INNER
            or edge not in NODE_FIELDS[node_type]
            or edge in self.rules.refused_fields.get(node_type, ())
        ):
            raise errors.not_found(str(node["id"]))
        inner_type = _INNER_TYPES.get((node_type, edge), "")
        text = at.call.params.get("fields")
        fields = parse_fields(text) if text else _plain(_DEFAULTS.get(inner_type, ()))
        self._check(fields, inner_type, at.version)
        data = node.get(edge, {"data": []})["data"]
        return self._edge(
            at,
            Places(len(data)),
            lambda place: self._expand(at, inner_type, data[place], fields) if fields else data[place],
            params=at.call.params,
            path=f"/{node['id']}/{edge}",
            source=text or "",
            scope=edge,
        )

    # ---- edges

    def _conversations(
        self,
        at: _Context,
        page: Page,
        params: Mapping[str, str],
        fields: Sequence[Field],
        twist: Twist | None = None,
        source: str | None = None,
    ) -> dict[str, Any]:
        self._needs_page_token(at, page)
        platform = params.get("platform", MESSENGER).lower()
        folder = params.get("folder")
        if platform not in (MESSENGER, INSTAGRAM):
            raise errors.bad_parameter("Param platform must be one of {INSTAGRAM, MESSENGER}")
        at.usage.append((page.id, platform))
        if platform == INSTAGRAM and folder:
            raise errors.bad_parameter("Param folder is not supported for the platform INSTAGRAM")
        user = params.get("user_id") or None
        name = INSTAGRAM_FOLDER if platform == INSTAGRAM else (folder or "inbox").lower()
        rows = page.rows(platform, name, user)
        if rows is None:
            raise errors.bad_parameter(f"Param folder must be one of {{{', '.join(FOLDERS)}}}")
        if platform == INSTAGRAM and self.rules.requests_every:
            rows = page.without_idle_requests(rows, self.rules.requests_every)
        if not (page.is_open and at.access.advanced_access):
            rows = ThreadRows([])
        kept = {key: params[key] for key in ("folder", "platform", "user_id") if params.get(key)}
        return self._edge(
            at,
            rows,
            lambda place: self._conversation_row(at, page, rows.serial(place), fields),
            params=params,
            path=f"/{page.id}/conversations",
            source=at.call.params.get("fields", "") if source is None else source,
            scope=f"{page.id}/{platform}/{name}/{user}",
            kept=kept,
            twist=twist,
        )

    def _conversation_row(self, at: _Context, page: Page, serial: int, fields: Sequence[Field]) -> Any:
        """Return a thread as a row; on the edge itself as JSON, which is kept: a Page is often walked more than once.

        A thread that nothing happened to answers the same to the same question.
        """
        if at.call.parts[-1] != "conversations":
            return self._thread_node(at, page, page.thread_at(serial), fields, as_row=True)
        if page.is_touched(serial):
            return EncodedRow(dumps(self._thread_node(at, page, page.thread_at(serial), fields, as_row=True)))
        asked = at.call.params.get("fields")
        media = self.media
        links = None if media is None else (id(media), None if media.dies_after is None else int(self._now()))
        question = (page.id, serial, asked, at.version, at.access.token, at.call.base, self.rules.of_rows(), links)
        row = self._encoded.get(question)
        if row is None:
            row = EncodedRow(dumps(self._thread_node(at, page, page.thread_at(serial), fields, as_row=True)))
            if len(self._encoded) >= _KEPT_ROWS:
                self._encoded.clear()
            self._encoded[question] = row
        return row

    def _messages(
        self,
        at: _Context,
        thread: Thread,
        params: Mapping[str, str],
        fields: Sequence[Field],
        twist: Twist | None = None,
        source: str | None = None,
    ) -> dict[str, Any]:
        messages = thread.messages

        def row(place: int) -> dict[str, Any]:
            message = messages[place]
            node = self._linked(at, self._shown(message, self.visible(message, place)))
            return self._expand(at, "Message", node, fields)

        return self._edge(
            at,
            MessageRows(messages),
            row,
            params=params,
            path=f"/{thread.id}/messages",
            source=at.call.params.get("fields", "") if source is None else source,
            scope=thread.id,
            twist=twist,
        )

    def _edge(
        self,
        at: _Context,
        rows: Rows,
        row: Callable[[int], Any],
        *,
        params: Mapping[str, str],
        path: str,
        source: str,
        scope: str | None = None,
        kept: Mapping[str, str] | None = None,
        twist: Twist | None = None,
    ) -> dict[str, Any]:
        """Return one page of a list, with cursors at both ends and links where more may follow."""
        scope = path if scope is None else scope
        outer = params is at.call.params
        limit = _limit(params.get("limit"), self.rules.max_limit if outer else self.rules.max_inner_limit)
        cursor = params.get("after")
        window = self.cursors.window(rows, limit, cursor, params.get("before"), scope)
        window, places = bend(twist, self.cursors, rows, window, limit, cursor, scope)
        data = intrude(twist, [row(place) for place in places])
        has_next = window.has_next or (self.rules.next_on_full and len(places) >= limit)
        if not data and not has_next and not window.has_previous:
            return {"data": []}
        if not data and not has_next and (twist is None or twist.kind != "empty"):
            return {"data": [], "paging": {"previous": self._link(at, path, source, limit, kept, before=window.before)}}
        paging: dict[str, Any] = {"cursors": {"before": window.before, "after": window.after}}
        if has_next:
            paging["next"] = self._link(at, path, source, limit, kept, after=window.after)
        if window.has_previous:
            paging["previous"] = self._link(at, path, source, limit, kept, before=window.before)
        return {"data": data, "paging": paging}

    def _link(
        self, at: _Context, path: str, source: str, limit: int, kept: Mapping[str, str] | None, **cursor: str
    ) -> str:
        """Return a link as Meta writes it: with the token in clear, and without the proof."""
        query: dict[str, str] = {"access_token": at.access.token}
        if source:
            query["fields"] = source
        query.update(kept or {})
        query["limit"] = str(limit)
        query.update(cursor)
        return f"{at.call.base}/{at.version}{path}?{urlencode(query)}"


_USER = {"id": "10158000000000001", "name": "Ana Usuaria"}


def answered_version(asked: str | None) -> str:
    """Return the version that answers: the oldest live one for none and for dead ones; an unborn one is refused."""
    if asked is None:
        return VERSIONS[0]
    match = _VERSION.fullmatch(asked)
    if match is None or int(match.group(1)) > int(VERSIONS[-1][1:3]):
        raise GraphApiError(2500, f"Unknown path components: /{asked}")
    return asked if asked in VERSIONS else VERSIONS[0]


def split_version(path: str) -> tuple[str | None, str]:
    """Return (version, rest) of a path; version is None where the path names none."""
    first, _, rest = path.lstrip("/").partition("/")
    return (first, "/" + rest) if _VERSION.fullmatch(first) else (None, path)


def nested_limit(params: Mapping[str, str]) -> int:
    """Return how many messages the call asks for inside each thread; 0 if none."""
    try:
        fields = parse_fields(params.get("fields", ""))
    except GraphApiError:
        return 0
    for field in fields:
        if field.name == "messages":
            text = field.arg("limit") or ""
            return int(text) if text.isdigit() else DEFAULT_LIMIT
    return 0


@lru_cache(maxsize=64)
def _plain(names: tuple[str, ...]) -> tuple[Field, ...]:
    return tuple(Field(name, name) for name in names)


def _or_default(field: Field, node_type: str) -> tuple[Field, ...]:
    return field.inner if field.inner is not None else _plain(_DEFAULTS[node_type])


def _limit(text: str | None, most: int) -> int:
    if text is None or text == "":
        return min(DEFAULT_LIMIT, most)
    if not (text.isascii() and text.isdigit()) or int(text[:9]) == 0:
        raise errors.bad_parameter("Param limit must be a positive integer")
    return min(int(text[:9]), most)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
