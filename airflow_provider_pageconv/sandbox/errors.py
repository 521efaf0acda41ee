"""Errors in Meta's shape, with the sentences that Meta sends.

https://developers.facebook.com/docs/graph-api/guides/error-handling
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

TOO_MUCH_DATA = "Please reduce the amount of data you're asking for, then retry your request"
TOO_DEEP = "The After Cursor specified exceeds the max limit supported by this endpoint"
BAD_CURSOR = "(#100) Invalid cursor specified: the cursor is no longer valid for this edge"

_TOO_MANY = "(#{}) There have been too many calls to this {} account. Wait a bit and try again."

# code -> (usual HTTP status, type, message). The status is only what is seen most: nothing may be concluded from it.
_USUAL: dict[int, tuple[int, str, str]] = {
    1: (500, "OAuthException", "An unknown error has occurred."),
    2: (500, "OAuthException", "An unexpected error has occurred. Please retry your request later."),
    3: (400, "OAuthException", "(#3) Application does not have the capability to make this API call."),
    4: (403, "OAuthException", "(#4) Application request limit reached"),
    10: (403, "OAuthException", "(#10) This application does not have permission for this action"),
    17: (400, "OAuthException", "(#17) User request limit reached"),
    32: (403, "OAuthException", "(#32) Page request limit reached"),
    100: (400, "OAuthException", "(#100) Invalid parameter"),
    102: (401, "OAuthException", "Session key invalid or no longer valid"),
    104: (400, "OAuthException", "An access token is required to request this resource."),
    190: (401, "OAuthException", "Error validating access token: The session has been invalidated."),
    200: (403, "OAuthException", "(#200) Requires pages_messaging permission to manage the object"),
    210: (403, "OAuthException", "(#210) A page access token is required to request this resource."),
    230: (403, "OAuthException", "(#230) Requires pages_messaging permission to manage the object"),
    341: (400, "OAuthException", "(#341) Application limit reached"),
    368: (400, "OAuthException", "The action attempted has been deemed abusive or is otherwise disallowed"),
    613: (400, "OAuthException", "(#613) Calls to this api have exceeded the rate limit."),
    2500: (400, "OAuthException", 'Syntax error "Field specified more than once" at character 1'),
    80001: (400, "OAuthException", _TOO_MANY.format(80001, "Page")),
    80002: (400, "OAuthException", _TOO_MANY.format(80002, "Instagram")),
    80006: (400, "OAuthException", _TOO_MANY.format(80006, "Messenger")),
    9000001: (400, "OAuthException", "This Message has been deleted by the user or the business"),
}  # fmt: skip

_SIGNED_OUT = "Error validating access token: The session has been invalidated because the user changed their password."
_BY_SUBCODE: dict[tuple[int, int], str] = {
    (190, 458): "Error validating access token: The user has not authorized application 1234567890.",
    (190, 459): "Error validating access token: The user is in a checkpoint and must log in at www.facebook.com.",
    (190, 460): _SIGNED_OUT,
    (190, 463): "Error validating access token: Session has expired on Saturday, 21-Nov-26 02:00:00 PST.",
    (190, 464): "Error validating access token: Sessions for the user are not allowed because the user is unconfirmed.",
    (190, 467): "Error validating access token: The session is invalid because the user logged out.",
    (190, 492): "Error validating access token: The user no longer has a role on this Page.",
}


@dataclass(eq=False)
class GraphApiError(Exception):
    """An error that the API answers with; raised wherever it is noticed, turned into a body in one place."""

    code: int
    message: str
    status: int = 400
    type: str = "OAuthException"
    subcode: int | None = None
    is_transient: bool | None = None
    user_title: str | None = None
    user_msg: str | None = None

    def body(self, fbtrace_id: str) -> dict[str, Any]:
        """Return the JSON document; what is not known is left out, as Meta does."""
        inner: dict[str, Any] = {"message": self.message, "type": self.type, "code": self.code}
        if self.subcode is not None:
            inner["error_subcode"] = self.subcode
        if self.is_transient is not None:
            inner["is_transient"] = self.is_transient
        if self.user_title is not None:
            inner["error_user_title"] = self.user_title
        if self.user_msg is not None:
            inner["error_user_msg"] = self.user_msg
        inner["fbtrace_id"] = fbtrace_id
        return {"error": inner}


def usual(code: int, subcode: int | None = None, name: str = "") -> GraphApiError:
    """Return what Meta usually says with this code; `name` is the object that was asked for, where one is named."""
    if code == 100 and subcode == 33:
        return not_found(name or "0")
    status, kind, message = _USUAL.get(code, (400, "OAuthException", f"(#{code}) An error has occurred"))
    if subcode is not None:
        message = _BY_SUBCODE.get((code, subcode), message)
    return GraphApiError(
        code, message, status, kind, subcode, is_transient=True if code in (2, 4, 17, 32, 341, 613) else None
    )


def not_found(name: str) -> GraphApiError:
    """Return Meta's one answer for what is not there, is not for this token, or does not know the edge."""
    return GraphApiError(
        100,
        f"Unsupported get request. Object with ID '{name}' does not exist, cannot be loaded due to missing "
        "permissions, or does not support this operation. Please read the Graph API documentation at "
        "https://developers.facebook.com/docs/graph-api",
        type="GraphMethodException",
        subcode=33,
    )


REFUSAL_FORMS = ("node_type", "no_type", "other_type", "unknown", "list", "deprecated")


def unknown_fields(names: Sequence[str], node_type: str, form: str = "node_type") -> GraphApiError:
    """Return the answer to fields that the node type does not have; most forms name the first of them only.

    :param form: the words, one of `REFUSAL_FORMS`.
    """
    name = names[0]
    accessing = "(#100) Tried accessing nonexisting field"
    if form == "list":
        return GraphApiError(100, f"{accessing}s ({','.join(names)}) on node type ({node_type})")
    if form == "no_type":
        return GraphApiError(100, f"{accessing} ({name})")
    if form == "other_type":
        return GraphApiError(
            100, f"{accessing} ({name}) on node type ({_CONNECTION.get(node_type, node_type + 'Edge')})"
        )
    if form == "unknown":
        return GraphApiError(100, f"(#100) Unknown field: {name}")
    if form == "deprecated":
        return GraphApiError(100, f"(#100) {name} field is deprecated for versions v24.0 and higher")
    return GraphApiError(100, f"{accessing} ({name}) on node type ({node_type})")


_CONNECTION = {"UnifiedThread": "ConversationsConnection", "Message": "MessagesConnection"}


def does_not_exist(name: str) -> GraphApiError:
    """Return the other answer for what is not there: shorter, and without a subcode."""
    return GraphApiError(100, f"(#100) Object with ID '{name}' does not exist", type="GraphMethodException")


NO_TOKEN = "An active access token must be used to query information about the current user."  # noqa: S105 - a sentence
UNKNOWN = "An unknown error occurred"


NO_TASK = (
    "(#10) This endpoint requires the 'pages_read_engagement' permission or the 'Page Public Content Access' feature. "
    "Refer to https://developers.facebook.com/docs/apps/review/login-permissions#manage-pages and "
    "https://developers.facebook.com/docs/apps/review/feature#reference-PAGES_ACCESS for details."
)


def bad_parameter(message: str) -> GraphApiError:
    """Return error 100 with a sentence of its own."""
    return GraphApiError(100, f"(#100) {message}")
