"""Access tokens: what one says of itself, whose it is, how a user's becomes a Page's, how it is renewed. Pure: no call is made here.

https://developers.facebook.com/docs/facebook-login/guides/access-tokens
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from airflow_provider_pageconv.graph.edges import AccountsQuery, in_path
from airflow_provider_pageconv.graph.errors import (
    GraphAuthError,
    GraphError,
    GraphPermissionError,
    GraphRequestError,
    GraphTransientError,
)
from airflow_provider_pageconv.graph.paging import Pager, all_rows
from airflow_provider_pageconv.graph.protocol import DEAD_CODES, Answer, Request, dead_token

_PAGE_SIZE = 100
_TYPES = {"PAGE": "page", "USER": "user", "SYSTEM_USER": "system_user", "APP": "app"}


@dataclass(frozen=True)
class TokenInfo:
    """What a token says of itself; the token is not in it.

    :param type: ``page``, ``user``, ``system_user`` or ``app``; what the API says, where it names another; ``None`` where it
        does not say.
    :param is_valid: whether it is good; ``None`` where the API does not say.
    :param reason: why it is not.
    :param remedy: what to do about that.
    :param expires_at: when it ends; ``None``: never, or nobody says.
    :param never_ends: whether the API says that it never does.
    :param data_access_expires_at: when it gives no data any more; ``None`` likewise.
    :param scopes: the permissions that were granted.
    :param granted_for: by permission, the ids of the Pages and accounts that it is granted for, where it is not for all.
    :param app_id: of the app that it belongs to.
    :param page_id: of the Page whose own it is.
    """

    type: str | None = None
    is_valid: bool | None = None
    reason: str | None = None
    remedy: str = ""
    expires_at: datetime | None = None
    data_access_expires_at: datetime | None = None
    scopes: tuple[str, ...] = ()
    granted_for: Mapping[str, tuple[str, ...]] | None = None
    app_id: str | None = None
    page_id: str | None = None
    never_ends: bool = False


def look(token: str) -> Request:
    """Ask what a token is: https://developers.facebook.com/docs/graph-api/reference/debug_token.

    The API takes the token in the address only.
    """
    return Request("debug_token", {"input_token": token})


def read_look(document: Mapping[str, Any]) -> TokenInfo:
    """Read the answer to :func:`look`; what is missing or of another kind is not known.

    :raises GraphTransientError: it is of another shape.
    """
    data = document.get("data")
    if not isinstance(data, dict):
        raise GraphTransientError("the answer says nothing of the token", remedy="Try again later")
    found = data.get("error")
    error = found if isinstance(found, dict) else {}
    kind, valid = data.get("type"), data.get("is_valid")
    if error.get("code") not in (None, *DEAD_CODES):
        valid = None  # the look was refused: of a token of another app, for one
    subcode = error.get("subcode", error.get("error_subcode"))
    reason, remedy = dead_token(subcode if isinstance(subcode, int) else None) if valid is False else (None, "")
    return TokenInfo(
        type=_TYPES.get(kind.upper(), kind.lower()) if isinstance(kind, str) else None,
        is_valid=valid if isinstance(valid, bool) else None,
        reason=reason,  # of ours: Meta's own words may name a person
        remedy=remedy,
        expires_at=_moment(data.get("expires_at")),
        data_access_expires_at=_moment(data.get("data_access_expires_at")),
        scopes=_texts(data.get("scopes")),
        granted_for=_granted(data.get("granular_scopes")),
        app_id=_text(data.get("app_id")),
        page_id=_text(data.get("profile_id")) if isinstance(kind, str) and kind.upper() == "PAGE" else None,
        never_ends=_seconds(data.get("expires_at")) == 0,
    )


def _seconds(value: Any) -> float | None:
    """A number of the API, which may come as text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 15:
        return int(value)
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _moment(value: Any) -> datetime | None:
    """A moment of the API; 0 is never."""
    seconds = _seconds(value)
    return datetime.fromtimestamp(seconds, timezone.utc) if seconds is not None and 0 < seconds < 1e11 else None


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and value else None


def _texts(values: Any) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str)) if isinstance(values, list) else ()


def _granted(values: Any) -> dict[str, tuple[str, ...]] | None:
    if not isinstance(values, list):
        return None
    scoped = [one for one in values if isinstance(one, dict) and isinstance(one.get("target_ids"), list)]
    return {str(one.get("scope")): tuple(map(str, one["target_ids"])) for one in scoped}


def renewal(token: str, app_id: str, app_secret: str) -> Request:
    """Ask for the same token, good for 60 more days; one that has ended cannot be renewed.

    https://developers.facebook.com/docs/business-management-apis/system-users/install-apps-and-generate-tokens
    """
    return Request(
        "oauth/access_token",
        {
            "grant_type": "fb_exchange_token",
            "client_id": app_id,
            "client_secret": app_secret,
            "set_token_expires_in_60_days": "true",
            "fb_exchange_token": token,
        },
    )


def read_token(document: Mapping[str, Any]) -> str | None:
    """The token that an answer brings."""
    token = document.get("access_token")
    return token if isinstance(token, str) and token and token.isascii() and token.isprintable() else None


def own_token(page_id: str) -> Request:
    """Ask a Page for its own token, with one of somebody who has a task on it."""
    return Request(in_path(page_id), {"fields": "access_token"})


def find_own_token(page_id: str, get: Callable[[Request], Answer]) -> str:
    """Find the Page's own token with one of a person or system user: ask the Page, and then for all Pages that it reaches.

    :param get: makes one call.
    :raises GraphAuthError: there is none for it, or it is dead itself.
    :raises GraphError: trouble that passes, or a limit.
    """
    refused: GraphError | None = None
    for find in (_of_page, _of_accounts):
        try:
            token = find(page_id, get)
        except (GraphPermissionError, GraphRequestError) as error:
            refused = error
            continue
        if token is not None:
            return token
    raise GraphAuthError(
        f"the access token is not the Page's own, and brings no token of the Page {page_id}",
        remedy=(
            "Give the person or the system user whose token it is a task on the Page (MESSAGING or MODERATE) and the token "
            "pages_show_list and pages_messaging, or put the Page's own token into the connection"
        ),
        code=refused.code if refused else None,
        subcode=refused.subcode if refused else None,
        http_status=refused.http_status if refused else None,
        fbtrace_id=refused.fbtrace_id if refused else None,
    )


def _of_page(page_id: str, get: Callable[[Request], Answer]) -> str | None:
    return read_token(get(own_token(page_id)).data)


def _of_accounts(page_id: str, get: Callable[[Request], Answer]) -> str | None:
    node = account(page_id, get)
    return read_token(node) if node is not None else None


def account(page_id: str, get: Callable[[Request], Answer]) -> dict[str, Any] | None:
    """A Page as it stands among those that a token reaches: its id, tasks and own token; ``None`` where it does not.

    :raises GraphError: the API refuses.
    """
    rows = all_rows(Pager(AccountsQuery(("id", "tasks", "access_token")), _PAGE_SIZE), get)
    return next((row.node for row in rows if row.id == page_id), None)
