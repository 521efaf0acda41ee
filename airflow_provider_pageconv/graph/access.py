"""What a token may do: what speaks against its use, what will soon, and how that is said. Pure: no call is made here.

https://developers.facebook.com/docs/messenger-platform/conversations names tasks and permissions of Messenger,
https://developers.facebook.com/docs/instagram-platform/instagram-api-with-facebook-login/conversations-api those of Instagram.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from airflow_provider_pageconv.graph.errors import GraphAuthError, GraphPermissionError
from airflow_provider_pageconv.graph.tokens import TokenInfo

PERMISSIONS = {
    "messenger": ("pages_messaging", "pages_manage_metadata", "pages_read_engagement"),
    "instagram": ("instagram_basic", "instagram_manage_messages", "pages_manage_metadata"),
}
"""What a platform's conversations need, by platform."""

_TASKS = ("MESSAGING", "MODERATE", "MANAGE", "FULL_CONTROL")
"""Any of these will do; a Page of the new kind has them with ``PROFILE_PLUS_`` in front."""

_OF_NEW_PAGES = "PROFILE_PLUS_"
_NAMES = {"messenger": "Messenger", "instagram": "Instagram"}


def missing_permissions(info: TokenInfo, platform: str, page_id: str | None) -> tuple[str, ...]:
    """The permissions that a token lacks for a platform; none where nobody says what it has.

    :param page_id: what is granted for some Pages has to be for this one; what is granted for Instagram accounts names those.
    """
    if not info.scopes:
        return ()
    granted = info.granted_for or {}
    return tuple(
        name
        for name in PERMISSIONS[platform]
        if name not in info.scopes
        or (page_id and name.startswith("pages_") and granted.get(name) and page_id not in granted[name])
    )


def lacks_task(tasks: Any, platform: str) -> bool:
    """Whether the tasks that somebody has on a Page are known, and do not let them read its conversations.

    Of Instagram it is known only that a person without any task reads nothing.
    """
    if not isinstance(tasks, list):
        return False
    names = {str(task).removeprefix(_OF_NEW_PAGES) for task in tasks}
    return not (names if platform == "instagram" else names & {*_TASKS})


def refuse(info: TokenInfo, platform: str, page_id: str) -> None:
    """Refuse a token of which is known that it cannot export a Page's conversations.

    :raises GraphAuthError: it has ended, or is another Page's or an app's.
    :raises GraphPermissionError: a permission is missing.
    """
    if info.is_valid is False:
        raise GraphAuthError(info.reason or "the access token is not valid", remedy=info.remedy)
    if info.type == "app":
        raise GraphAuthError(
            "the access token is an app's, which reaches no conversations",
            remedy="Put the Page's own token into the connection, or a user's or system user's that has a task on the Page",
        )
    if info.type == "page" and info.page_id and info.page_id != page_id:
        raise GraphAuthError(
            f"the access token is the own one of the Page {info.page_id}, not of the Page {page_id}",
            remedy=f"Put the token of the Page {page_id} into the connection, or export the Page {info.page_id}",
        )
    if lacking := missing_permissions(info, platform, page_id):
        raise GraphPermissionError(
            f"the access token lacks {_listed(lacking)} for {_NAMES[platform]} of the Page {page_id}",
            remedy=f"Give the app a token again that has {_listed(PERMISSIONS[platform])}",
        )


def refuse_tasks(tasks: Any, platform: str, page_id: str) -> None:
    """Refuse a person's token where their tasks on the Page do not let them read its conversations.

    :raises GraphPermissionError: so it is.
    """
    if lacks_task(tasks, platform):
        raise GraphPermissionError(
            f"whoever the access token belongs to has no task on the Page {page_id} that reads conversations",
            remedy="Give the person or the system user the task MESSAGING (or MODERATE) on it",
        )


def ends_soon(info: TokenInfo, now: datetime, days: float) -> list[str]:
    """Warn of what ends within some days: the token, its access to data."""
    warnings = []
    for name, moment, remedy in (
        ("The access token", info.expires_at, "renew it before, or put a new one into the connection"),
        (
            "The access token's access to data",
            info.data_access_expires_at,
            "the person whose token it is has to log in to the app again before",
        ),
    ):
        if moment is not None and moment - now <= timedelta(days=days):
            warnings.append(f"{name} ends {_on(moment, now)}: {remedy}.")
    return warnings


def describe(info: TokenInfo, whose: str, page_id: str | None, now: datetime) -> str:
    """Say whose token it is, until when it is good, and what it lacks for each platform; in two sentences.

    :param whose: the first words, such as ``The access token is a user's``.
    :param page_id: of the Page for which it is to be good.
    """
    if not info.scopes:
        return f"{whose}. The API does not say until when it is good, nor what it may do."
    ends = "never ends" if info.expires_at is None else f"ends {_on(info.expires_at, now)}"
    if info.data_access_expires_at is not None:
        ends += f", and its access to data {_on(info.data_access_expires_at, now)}"
    rows = []
    for platform, name in _NAMES.items():
        lacking = missing_permissions(info, platform, page_id)
        rows.append(f"for {name} it lacks {_listed(lacking)}" if lacking else f"for {name} it has what it takes")
    rows[0] = rows[0].capitalize().replace("messenger", "Messenger", 1)
    return f"{whose}; it {ends}. {', '.join(rows)}."


def _on(moment: datetime, now: datetime) -> str:
    days = (moment - now) // timedelta(days=1)
    return f"on {moment:%Y-%m-%d %H:%M} UTC ({'in ' if days >= 0 else ''}{_days(days)})"


def _days(days: int) -> str:
    if days < 0:
        return "which has passed"
    return "1 day" if days == 1 else f"{days} days"


def _listed(names: Collection[str]) -> str:
    ordered: Sequence[str] = list(names)
    return ordered[0] if len(ordered) == 1 else f"{', '.join(ordered[:-1])} and {ordered[-1]}"
