"""Requests and answers of the Graph API, without doing any I/O."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from airflow_provider_pageconv import json_text
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
)
from airflow_provider_pageconv.graph.usage import Usage, read_usage, retry_after
from airflow_provider_pageconv.times import from_header

DEFAULT_BASE_URL = "https://graph.facebook.com"
DEFAULT_VERSION = "v26.0"

LIMIT_CODES = frozenset({4, 17, 32, 341, 613, *range(80000, 80015)})
ABUSE_CODE = 368
DEAD_CODES = frozenset({102, 190})

_LIMIT_MEANINGS = {
    4: "the app has used up its calls",
    17: "the user has used up their calls",
    32: "the Page has used up its calls",
    341: "the app has used up its calls for now",
    613: "calls to the conversations API have exceeded its rate limit (2 calls a second for one Page)",
    80001: "there have been too many calls to this Page account",
    80002: "there have been too many calls to this Instagram account",
    80006: "there have been too many Messenger API calls to this Page account",
    ABUSE_CODE: "the calls were held to be abusive and are blocked",
}
_LIMIT_REMEDY = "Stop calling and come back later: calls made meanwhile prolong the block"

_NEW_TOKEN = "Put a new access token into the connection"  # noqa: S105 - a sentence
_LOG_IN = "Log in, then put a new token in if need be"
_AUTH = {
    458: ("the person who gave the token has removed the app", _NEW_TOKEN),
    459: ("the person who gave the token has to log in to Facebook first", _LOG_IN),
    460: ("the person who gave the token has changed their password", _NEW_TOKEN),
    463: ("the access token has expired", _NEW_TOKEN),
    464: ("the person who gave the token has to confirm their account", _LOG_IN),
    467: ("the access token is no longer valid", _NEW_TOKEN),
    492: ("the person who gave the token has lost their role on the Page", "Let someone with a role give a new token"),
}
# Of a Page's own token that another one brought: to put one of the Page into the connection would undo that.
_TASK_AGAIN = "Give the person or the system user whose token is in the connection a task on the Page again (MESSAGING or MODERATE)"
_NEW_OF_THEIRS = "Put a new token of the person or the system user into the connection"
_DERIVED_REMEDIES = {
    458: _NEW_OF_THEIRS,
    459: _LOG_IN,
    460: _NEW_OF_THEIRS,
    463: _NEW_OF_THEIRS,
    464: _LOG_IN,
    492: _TASK_AGAIN,
}
_PERMISSIONS = (
    "pages_messaging",
    "pages_manage_metadata",
    "pages_read_engagement",
    "pages_show_list",
    "instagram_basic",
    "instagram_manage_messages",
    "business_management",
    "read_page_mailboxes",
)
_PERMISSION_REMEDY = (
    "Messenger needs the task MESSAGING on the Page and pages_messaging, pages_manage_metadata and "
    "pages_read_engagement; Instagram needs instagram_basic, instagram_manage_messages and pages_manage_metadata"
)
_UNKNOWN_FIELD = re.compile(
    r"nonexisting fields? \(([\w, ]{1,999})\)|unknown fields?[:\s]\s*[\"'(]?([\w, ]{1,999})|"
    r"(?:^|\s)(\w{1,64}) (?:field )?is deprecated",
    re.I,
)
_NODE_TYPE = re.compile(r"node type \((\w{1,64})\)")
_TRACE_ID = re.compile(r"[A-Za-z0-9_\-]{1,40}\Z")
_VERSION = re.compile(r"v\d{1,3}\.\d{1,2}\Z")


def is_version(text: str) -> bool:
    """Whether a text names a version of the API, such as ``v26.0``."""
    return bool(_VERSION.match(text))


def version_note(answered: str | None, asked: str) -> str | None:
    """What is said where another version answered than was asked for; ``None`` where none did.

    https://developers.facebook.com/docs/graph-api/guides/versioning

    :param answered: as the header ``facebook-api-version`` names it, if it was there.
    """
    if not answered or answered == asked:
        return None
    return (
        f"The API answered as {answered} although {asked} was asked for: that version is dead or not yet alive. "
        "Set api_version in the connection."
    )


@dataclass(frozen=True)
class Credentials:
    """An access token and, where the app demands signed calls, the app secret; neither shows in ``repr``.

    :param derived: whether the token is a Page's own that a person's or a system user's brought.
    """

    token: str = field(repr=False)
    app_secret: str | None = field(default=None, repr=False)
    derived: bool = False

    @cached_property
    def proof(self) -> str | None:
        """The ``appsecret_proof`` of this token: https://developers.facebook.com/docs/graph-api/guides/secure-requests."""
        if not self.app_secret:
            return None
        return hmac.new(self.app_secret.encode(), self.token.encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True)
class Request:
    """One GET, without the address of the server, the version and the credentials.

    :param is_list: the answer has to be a page of results.
    :param limited_as: types of the business use case header whose limits count for it; empty: all.
    """

    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    is_list: bool = False
    limited_as: tuple[str, ...] = ()

    @property
    def field_names(self) -> frozenset[str]:
        """Every name in the request's fields, at any depth."""
        return frozenset(re.findall(r"\w+", self.params.get("fields", "")))

    @property
    def after(self) -> str | None:
        """The cursor that the request continues from."""
        return self.params.get("after")


class Response(NamedTuple):
    """What came over the wire.

    :param headers: header names in lower case.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """A good answer.

    :param data: the JSON object in the body; empty where there is a page.
    :param usage: what the usage headers said.
    :param version: the version that answered; differs from the one asked for where that is dead.
    :param date: what time it is for the API.
    :param page: what a reader of the caller's own made of the body.
    """

    data: Mapping[str, Any]
    usage: Usage | None = None
    version: str | None = None
    date: datetime | None = None
    page: Any = None


PageReader = Callable[[bytes], Any]
"""Reads a good page of results from its bytes; ``None`` where the body is anything else."""


def decipher(response: Response, request: Request, reader: PageReader | None = None) -> Answer:
    """Make an answer of what came over the wire, or raise what the caller has to act on.

    The HTTP status says nothing reliable (a throttled app was seen as 400 and as 403), so ``error.code`` decides first,
    then the subcode, then the status: https://developers.facebook.com/docs/graph-api/guides/error-handling.

    :param request: what was asked; a refused parameter of a request with a cursor is a refused cursor, since the same
        request without one was answered.
    :param reader: asked first.
    :raises GraphError: one of its classes, by what has to be done next.
    """
    status, headers, body = response
    if reader is not None and 200 <= status < 300 and (page := reader(body)) is not None:
        return _answer({}, headers, request, page)
    try:
        document = json_text.read(body)
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        if (error := document.get("error")) is not None:
            raise _error_of(status, headers, error if isinstance(error, dict) else {}, request)
        if 200 <= status < 300 and (isinstance(document.get("data"), list) or not request.is_list):
            return _answer(document, headers, request)
    raise _error_without_body(status, headers, request)


def _answer(data: Mapping[str, Any], headers: Mapping[str, str], request: Request, page: Any = None) -> Answer:
    version = headers.get("facebook-api-version", "")
    return Answer(
        data,
        read_usage(headers, request.limited_as),
        version if is_version(version) else None,
        from_header(headers.get("date", "")),
        page,
    )


def _trace_id(text: Any) -> str | None:
    return text if isinstance(text, str) and _TRACE_ID.match(text) else None


def _error_without_body(status: int, headers: Mapping[str, str], request: Request) -> GraphError:
    facts: dict[str, Any] = {"http_status": status, "fbtrace_id": _trace_id(headers.get("x-fb-trace-id"))}
    if status == 429:
        return GraphRateLimitError(
            "the server refuses calls for now",
            remedy=_LIMIT_REMEDY,
            retry_after=_regain(headers, request),
            usage=read_usage(headers, request.limited_as),
            **facts,
        )
    if 300 <= status < 400:
        return GraphRequestError(
            "the server sends the call elsewhere, and the token is not taken along",
            remedy="Put the base address of the Graph API itself into the connection's host",
            **facts,
        )
    # A 4xx without the API's own words was seen to pass as well: it tells of something on the way, not of the call.
    return GraphTransientError(
        "the answer cannot be read",
        remedy="Try again later; if it stays, check the connection's host, and the proxy if there is one",
        **facts,
    )


def _error_of(status: int, headers: Mapping[str, str], error: Mapping[str, Any], request: Request) -> GraphError:
    code, subcode = _whole(error.get("code")), _whole(error.get("error_subcode"))
    transient = error.get("is_transient") is True
    text = " ".join(str(error.get(key, "")) for key in ("message", "error_user_title", "error_user_msg"))
    lower = text.lower()
    facts: dict[str, Any] = {
        "code": code,
        "subcode": subcode,
        "http_status": status,
        "fbtrace_id": _trace_id(error.get("fbtrace_id")) or _trace_id(headers.get("x-fb-trace-id")),
        "is_transient": transient,
    }

    if code in LIMIT_CODES or code == ABUSE_CODE or (code is None and status == 429):
        return GraphRateLimitError(
            _LIMIT_MEANINGS.get(code or 0, "a limit on calls is reached"),
            remedy=_LIMIT_REMEDY,
            retry_after=_regain(headers, request),
            usage=read_usage(headers, request.limited_as),
            **facts,
        )
    no_token = "access token must be used" in lower or "access token is required" in lower
    if code in DEAD_CODES or (code in (104, 2500) and no_token):
        return _auth_error(code, subcode, lower, facts)
    if "reduce the amount of data" in lower:
        return GraphTooLargeError("the answer would be too large", remedy="Ask for less at once", **facts)
    if code in (12, 100, 104, 2500, 9000001):
        return _request_error(code, subcode, text, request, facts)
    if code in (3, 10) or (code is not None and 200 <= code <= 299):
        return _permission_error(code, text, facts)
    if code in (1, 2) or transient or status >= 500:
        return GraphTransientError("passing trouble at Meta", remedy="Try again later", **facts)
    return GraphError(
        "an error that this version does not know", remedy="Look the code up in Meta's error list", **facts
    )


def dead_token(subcode: int | None, *, derived: bool = False) -> tuple[str, str]:
    """What it means that a token is refused, and what to do.

    :param subcode: ``error_subcode`` of the refusal.
    :param derived: whether it is a Page's own that another token, which is the one in the connection, brought.
    """
    meaning, remedy = _AUTH.get(subcode or 0, ("the access token is not valid", _NEW_TOKEN))
    if derived:
        remedy = _DERIVED_REMEDIES.get(subcode or 0, f"{_TASK_AGAIN}, or put a new token of theirs there")
    return meaning, remedy


def _auth_error(code: int | None, subcode: int | None, lower: str, facts: Mapping[str, Any]) -> GraphError:
    if code not in DEAD_CODES:
        return GraphAuthError(
            "no access token arrived",
            remedy="Something on the way takes the Authorization header: look at the proxy, and at the connection's host",
            **facts,
        )
    if "page access token" in lower:
        return _not_a_pages(GraphAuthError, facts)
    meaning, remedy = dead_token(subcode)
    return GraphAuthError(meaning, remedy=remedy, **facts)


def _not_a_pages(kind: type[GraphError], facts: Mapping[str, Any]) -> GraphError:
    error = kind(
        "the access token is not a Page's", remedy="Put the Page's own access token into the connection", **facts
    )
    error.wants_page_token = True
    return error


def _permission_error(code: int | None, text: str, facts: Mapping[str, Any]) -> GraphError:
    if code == 210 or "page access token is required" in text.lower():
        return _not_a_pages(GraphPermissionError, facts)
    missing = [name for name in _PERMISSIONS if re.search(rf"\b{name}\b", text)]
    if missing:
        meaning = f"a permission is missing: {', '.join(missing)}"
    elif code == 230:
        meaning = "the permission for messages to or from this person is missing"
    else:
        meaning = "a permission is missing"
    return GraphPermissionError(meaning, remedy=_PERMISSION_REMEDY, **facts)


def _request_error(code: int, subcode: int | None, text: str, request: Request, facts: Mapping[str, Any]) -> GraphError:
    lower = text.lower()
    if code == 9000001:
        return GraphUnavailableError("the message is not available (any more)", **facts)
    if code == 104 or "appsecret_proof" in lower:
        return GraphRequestError(
            "the signature of the call (appsecret_proof) is wrong or missing",
            remedy="Put the secret of the app that the token belongs to into the connection's app_secret",
            **facts,
        )
    if code == 2500 and "unknown path components" in lower:
        # https://developers.facebook.com/docs/graph-api/guides/versioning: what is no version is read as a path.
        return GraphRequestError(
            "the API has no such version, or no such path",
            remedy="Check the connection's api_version and host",
            **facts,
        )
    if code == 2500:
        return GraphRequestError(
            "the query cannot be parsed", remedy="Check the page id and the fields that the task names", **facts
        )
    if names := _unknown_fields(text, request):
        node_type = _NODE_TYPE.search(text)
        return GraphFieldError(
            f"the field{'s' if len(names) > 1 else ''} {', '.join(map(repr, names))} {'are' if len(names) > 1 else 'is'} "
            "not known",
            fields=names,
            node_type=node_type.group(1) if node_type else None,
            remedy="Leave it out of the fields",
            **facts,
        )
    if code == 100 and (subcode == 33 or (subcode is None and "does not exist" in lower)):
        return GraphUnavailableError(
            "the object does not exist, or the token may not see it",
            may_be_limit=True,
            remedy="Check the id, and that the token is the Page's",
            **facts,
        )
    if request.after is not None:
        deep = "exceeds the max limit" in lower
        return GraphCursorError(
            "the cursor lies deeper than the API goes" if deep else "the cursor is not valid any more",
            too_deep=deep,
            remedy="Walk the list again from its beginning",
            **facts,
        )
    return GraphRequestError(
        "a parameter is not valid", remedy="Check the page id, the user_id and the fields that the task names", **facts
    )


def _unknown_fields(text: str, request: Request) -> list[str]:
    """The fields that a refusal names, as far as they were asked for."""
    found = _UNKNOWN_FIELD.search(text)
    if found is None:
        return []
    names = next(group for group in found.groups() if group).replace(",", " ").split()
    return [name for name in names if name in request.field_names]


def _regain(headers: Mapping[str, str], request: Request) -> Any:
    usage = read_usage(headers, request.limited_as)
    moments = [moment for moment in (retry_after(headers), usage.regain if usage else None) if moment]
    return max(moments, default=None)


def _whole(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if abs(value) < 10**12 else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        return int(value)
    return None
