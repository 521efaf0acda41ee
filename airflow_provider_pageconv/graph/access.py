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
_LOG_IN = "the person whose token it is has to log in to the app again"


def missing_permissions(info: TokenInfo, platform: str, page_id: str | None) -> tuple[str, ...]:
    """The permissions that a token lacks for a platform; none where nobody says what it has.

    :param page_id: what is granted for some Pages has to be for this one, where it is the Page's id and not its name in
        addresses; what is granted for Instagram accounts names those.
    """
    if not info.scopes:
        return ()
    granted = info.granted_for or {}
    return tuple(
        name
        for name in PERMISSIONS[platform]
        if name not in info.scopes
        or (name.startswith("pages_") and granted.get(name) and _are_others(page_id, granted[name]))
    )


def lacks_task(tasks: Any, platform: str) -> bool:
    """Whether the tasks that somebody has on a Page are known, and do not let them read its conversations.

    Of Instagram it is known only that a person without any task reads nothing.
    """
    if not isinstance(tasks, list) or not all(isinstance(task, str) for task in tasks):
        return False
    names = {task.upper().removeprefix(_OF_NEW_PAGES) for task in tasks}
    return not (names if platform == "instagram" else names & {*_TASKS})


def refuse(info: TokenInfo, platform: str, page_id: str) -> None:
    """Refuse a token of which is known that it cannot export a Page's conversations.

    :raises GraphAuthError: it has ended, or is another Page's or an app's.
    :raises GraphPermissionError: a permission is missing.
    """
    refuse_owner(info, page_id)
    if lacking := missing_permissions(info, platform, page_id):
        raise GraphPermissionError(
            f"the access token lacks {_listed(lacking)} for {_NAMES[platform]} of the Page {page_id}",
            remedy=f"Give the app a token again that has {_listed(PERMISSIONS[platform])}",
        )


def refuse_owner(info: TokenInfo, page_id: str | None) -> None:
    """Refuse a token that is not good, or of somebody whom no conversations are given to.

    :param page_id: the Page that is to be read, if that is known.
    :raises GraphAuthError: it has ended, or is another Page's or an app's.
    """
    if info.is_valid is False:
        raise GraphAuthError(info.reason or "the access token is not valid", remedy=info.remedy)
    if info.type == "app":
        raise GraphAuthError(
            "the access token is an app's, which reaches no conversations",
            remedy="Put the Page's own token into the connection, or a user's or system user's that has a task on the Page",
        )
    if info.type == "page" and info.page_id and _are_others(page_id, (info.page_id,)):
        raise GraphAuthError(
            f"the access token is that of the Page {info.page_id}, not that of the Page {page_id}",
            remedy=f"Put the token of the Page {page_id} into the connection, or export the Page {info.page_id}",
        )


def _are_others(page_id: str | None, ids: Collection[str]) -> bool:
    """Whether a Page is known not to be among some: ids can be compared, ``me`` and names in addresses cannot."""
    return page_id is not None and page_id.isdigit() and page_id not in ids


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
    """Warn of what ends within some days, or has ended: the token, its access to data."""
    warnings = []
    for name, moment, before, after in (
        (
            "The access token",
            info.expires_at,
            "renew it before, or put a new one into the connection",
            "put a new one into the connection",
        ),
        ("The access token's access to data", info.data_access_expires_at, f"{_LOG_IN} before", _LOG_IN),
    ):
        if moment is not None and moment - now <= timedelta(days=days):
            warnings.append(f"{name} {_ends(moment, now)}: {before if moment > now else after}.")
    return warnings


def describe(info: TokenInfo, whose: str, page_id: str | None, now: datetime, tasks: Any = None) -> tuple[bool, str]:
    """Say whose token it is, until when it is good, and what it lacks for each platform.

    :param whose: the first words, such as ``The access token is a user's``.
    :param page_id: of the Page for which it is to be good.
    :param tasks: that whoever it belongs to has on the Page, where that is known.
    :return: whether it is good for one platform at least.
    """
    ended = info.data_access_expires_at is not None and info.data_access_expires_at <= now
    lacking = {platform: _lacking(info, platform, page_id, tasks) for platform in PERMISSIONS}
    is_known = bool(info.scopes) or any(lacking.values())
    if not is_known and info.expires_at is None and not info.never_ends:
        return not ended, f"{whose}; the API says neither when it ends nor what it may do.{_of_data(info, now)}"
    said = f"{whose}; {_end(info, now)}.{_of_data(info, now)} "
    if not is_known:
        return not ended, f"{said}The API does not say what it may do."
    if not any(lacking.values()):
        return not ended, f"{said}It has what Messenger and Instagram take."
    rows = [
        f"for {_NAMES[platform]} it {f'lacks {_listed(names)}' if names else 'has what it takes'}"
        for platform, names in lacking.items()
    ]
    return not ended and not all(lacking.values()), f"{said}F{', '.join(rows)[1:]}."


def _lacking(info: TokenInfo, platform: str, page_id: str | None, tasks: Any) -> tuple[str, ...]:
    task = ("the task MESSAGING (or MODERATE) on the Page",) if lacks_task(tasks, platform) else ()
    return missing_permissions(info, platform, page_id) + task


def _end(info: TokenInfo, now: datetime) -> str:
    if info.expires_at is not None:
        return f"it {_ends(info.expires_at, now)}"
    return "it never ends" if info.never_ends else "the API does not say when it ends"


def _of_data(info: TokenInfo, now: datetime) -> str:
    moment = info.data_access_expires_at
    if moment is None:
        return ""
    return f" Its access to data {_ends(moment, now)}: {_LOG_IN}{' before' if moment > now else ''}."


def _ends(moment: datetime, now: datetime) -> str:
    if moment <= now:
        return f"ended on {moment:%Y-%m-%d %H:%M} UTC"
    days = (moment - now) // timedelta(days=1)
    within = "less than a day" if not days else "1 day" if days == 1 else f"{days} days"
    return f"ends on {moment:%Y-%m-%d %H:%M} UTC (in {within})"


def _listed(names: Collection[str]) -> str:
    ordered: Sequence[str] = list(names)
    return ordered[0] if len(ordered) == 1 else f"{', '.join(ordered[:-1])} and {ordered[-1]}"
