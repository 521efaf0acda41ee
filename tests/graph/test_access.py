"""What a token may do, judged by what is known of it: refused is only what is sure to be in vain."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_pageconv.graph.access import (
    PERMISSIONS,
    describe,
    ends_soon,
    lacks_task,
    missing_permissions,
    refuse,
    refuse_owner,
    refuse_tasks,
)
from airflow_provider_pageconv.graph.errors import GraphAuthError, GraphPermissionError
from airflow_provider_pageconv.graph.tokens import TokenInfo, read_look

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=timezone.utc)
PAGE, OTHER = "100200", "100201"
MESSENGER, INSTAGRAM = PERMISSIONS["messenger"], PERMISSIONS["instagram"]
ALL = tuple(dict.fromkeys(MESSENGER + INSTAGRAM))


@pytest.mark.parametrize("platform", PERMISSIONS)
def test_each_permission_of_a_platform_is_missed_if_it_is_not_there(platform: str) -> None:
    """And none of the other platform's."""
    for name in ALL:
        info = TokenInfo(scopes=tuple(scope for scope in ALL if scope != name))
        assert missing_permissions(info, platform, PAGE) == ((name,) if name in PERMISSIONS[platform] else ())


def test_where_nobody_says_what_a_token_may_do_nothing_is_missed() -> None:
    """The API does not tell everybody."""
    assert missing_permissions(TokenInfo(), "messenger", PAGE) == ()
    refuse(TokenInfo(), "messenger", PAGE)


@pytest.mark.parametrize(
    "granted, page_id, lacks",
    [
        ({"pages_messaging": (PAGE, OTHER)}, PAGE, False),
        ({"pages_messaging": (OTHER,)}, PAGE, True),
        # What is granted for no Page in particular is granted for all.
        ({"pages_messaging": ()}, PAGE, False),
        ({}, PAGE, False),
        (None, PAGE, False),
        # No Page is named, or not by its id: nothing can be compared.
        ({"pages_messaging": (OTHER,)}, None, False),
        ({"pages_messaging": (OTHER,)}, "me", False),
        ({"pages_messaging": (OTHER,)}, "the.page", False),
        # A permission that the platform does not need.
        ({"pages_show_list": (OTHER,), "business_management": ("7",)}, PAGE, False),
    ],
)
def test_what_is_granted_for_some_pages_has_to_be_for_this_one(
    granted: dict[str, tuple[str, ...]] | None, page_id: str | None, lacks: bool
) -> None:
    """Where that can be told."""
    info = TokenInfo(scopes=ALL, granted_for=granted)
    assert missing_permissions(info, "messenger", page_id) == (("pages_messaging",) if lacks else ())


def test_what_is_granted_for_instagram_accounts_names_no_pages() -> None:
    """Their ids are not the Page's; the one permission of Pages among them has to be for the Page."""
    accounts = {"instagram_basic": ("17841",), "instagram_manage_messages": ("17841",)}
    assert missing_permissions(TokenInfo(scopes=ALL, granted_for=accounts), "instagram", PAGE) == ()
    granted = {**accounts, "pages_manage_metadata": (OTHER,)}
    assert missing_permissions(TokenInfo(scopes=ALL, granted_for=granted), "instagram", PAGE) == (
        "pages_manage_metadata",
    )


def test_what_is_granted_is_read_from_what_the_api_says() -> None:
    """Ids may come as numbers; rows that cannot be read grant nothing and take nothing away."""
    rows: list[Any] = [
        {"scope": "pages_messaging", "target_ids": [int(OTHER)]},
        {"scope": "pages_read_engagement"},
        {"scope": "pages_manage_metadata", "target_ids": None},
        {"target_ids": [OTHER]},
        "pages_messaging",
        None,
    ]
    info = read_look({"data": {"is_valid": True, "scopes": [*ALL, None, 7], "granular_scopes": rows}})
    assert info.scopes == ALL
    assert missing_permissions(info, "messenger", PAGE) == ("pages_messaging",)
    assert missing_permissions(info, "messenger", OTHER) == ()


@pytest.mark.parametrize(
    "tasks, messenger, instagram",
    [
        (["MESSAGING"], False, False),
        (["MODERATE", "ANALYZE"], False, False),
        (["MANAGE"], False, False),
        (["PROFILE_PLUS_MESSAGING"], False, False),
        (["PROFILE_PLUS_MODERATE"], False, False),
        (["PROFILE_PLUS_FULL_CONTROL"], False, False),
        (["PROFILE_PLUS_ANALYZE", "PROFILE_PLUS_MANAGE"], False, False),
        (["messaging"], False, False),
        (["ANALYZE", "ADVERTISE", "CREATE_CONTENT"], True, False),
        (["PROFILE_PLUS_ANALYZE", "CASHIER_ROLE"], True, False),
        # Only names that begin so are of a Page of the new kind, and a name has to be whole.
        (["MODERATE_PROFILE_PLUS_", "MESSAGING_OF_OTHERS", "PROFILE_PLUS_MODERATE_DELEGATE_COMMUNITY"], True, False),
        ([], True, True),
        # Nothing is known.
        (None, False, False),
        ("MESSAGING", False, False),
        ({"data": []}, False, False),
        ([{"name": "ANALYZE"}], False, False),
        (["ANALYZE", None], False, False),
    ],
)
def test_some_tasks_read_conversations(tasks: Any, messenger: bool, instagram: bool) -> None:
    """Of those that nobody can read nothing is concluded."""
    for platform, lacking in (("messenger", messenger), ("instagram", instagram)):
        assert lacks_task(tasks, platform) is lacking
        if lacking:
            with pytest.raises(GraphPermissionError, match=f"has no task on the Page {PAGE} that reads conversations"):
                refuse_tasks(tasks, platform, PAGE)
        else:
            refuse_tasks(tasks, platform, PAGE)


@pytest.mark.parametrize(
    "info, page_id",
    [
        (TokenInfo(type="page", page_id=PAGE), PAGE),
        (TokenInfo(type="page", page_id=OTHER), None),
        (TokenInfo(type="page", page_id=OTHER), "me"),
        (TokenInfo(type="page", page_id=OTHER), "the.page"),
        (TokenInfo(type="page"), PAGE),
        (TokenInfo(type="user", page_id=None), PAGE),
        (TokenInfo(type="system_user", is_valid=True), PAGE),
        (TokenInfo(type="service"), PAGE),
        (TokenInfo(is_valid=None, reason="whatever"), PAGE),
        # The API's clock, not this machine's, says when a token has ended.
        (TokenInfo(type="page", page_id=PAGE, is_valid=True, expires_at=NOW - timedelta(days=9)), PAGE),
    ],
)
def test_what_is_not_known_to_be_in_vain_is_not_refused(info: TokenInfo, page_id: str | None) -> None:
    """The calls themselves show the rest."""
    refuse_owner(info, page_id)
    if page_id is not None:
        refuse(info, "messenger", page_id)


@pytest.mark.parametrize(
    "info, sentence",
    [
        (
            TokenInfo(is_valid=False, reason="the access token has expired", remedy="Put a new one in"),
            "Graph API: the access token has expired. Put a new one in.",
        ),
        (TokenInfo(is_valid=False), "Graph API: the access token is not valid."),
        (
            TokenInfo(type="app", scopes=ALL),
            (
                "Graph API: the access token is an app's, which reaches no conversations. Put the Page's own token into the "
                "connection, or a user's or system user's that has a task on the Page."
            ),
        ),
        (
            TokenInfo(type="page", page_id=OTHER),
            (
                f"Graph API: the access token is that of the Page {OTHER}, not that of the Page {PAGE}. Put the token of "
                f"the Page {PAGE} into the connection, or export the Page {OTHER}."
            ),
        ),
    ],
)
def test_what_is_in_vain_is_refused(info: TokenInfo, sentence: str) -> None:
    """With what to do about it."""
    for refusing in (lambda: refuse_owner(info, PAGE), lambda: refuse(info, "instagram", PAGE)):
        with pytest.raises(GraphAuthError) as caught:
            refusing()
        assert str(caught.value) == sentence


@pytest.mark.parametrize(
    "left, words",
    [
        (timedelta(days=14), "ends on 2026-12-05 10:00 UTC (in 14 days)"),
        (timedelta(days=1, hours=23), "ends on 2026-11-23 09:00 UTC (in 1 day)"),
        (timedelta(hours=23), "ends on 2026-11-22 09:00 UTC (in less than a day)"),
        (timedelta(seconds=1), "ends on 2026-11-21 10:00 UTC (in less than a day)"),
        (timedelta(0), "ended on 2026-11-21 10:00 UTC"),
        (-timedelta(days=400), "ended on 2025-10-17 10:00 UTC"),
    ],
)
def test_what_ends_soon_or_has_ended_is_warned_of(left: timedelta, words: str) -> None:
    """What is over cannot be renewed, and needs nothing `before`."""
    over = left <= timedelta(0)
    renew = "put a new one into the connection" if over else "renew it before, or put a new one into the connection"
    assert ends_soon(TokenInfo(expires_at=NOW + left), NOW, 14) == [f"The access token {words}: {renew}."]
    log_in = f"the person whose token it is has to log in to the app again{'' if over else ' before'}"
    assert ends_soon(TokenInfo(data_access_expires_at=NOW + left), NOW, 14) == [
        f"The access token's access to data {words}: {log_in}."
    ]


def test_what_ends_later_or_never_is_not_warned_of() -> None:
    """A second may decide."""
    later = NOW + timedelta(days=14, seconds=1)
    assert ends_soon(TokenInfo(expires_at=later, data_access_expires_at=later), NOW, 14) == []
    assert ends_soon(TokenInfo(never_ends=True), NOW, 14) == []


@pytest.mark.parametrize(
    "value, ends, never",
    [
        (0, None, True),
        ("0", None, True),
        (0.0, None, True),
        (1_800_000_000, datetime(2027, 1, 15, 8, 0, tzinfo=timezone.utc), False),
        ("1800000000", datetime(2027, 1, 15, 8, 0, tzinfo=timezone.utc), False),
        (None, None, False),
        (False, None, False),
        ("", None, False),
        ("never", None, False),
        (-1, None, False),
        ("٠", None, False),
        (float("nan"), None, False),
        (float("inf"), None, False),
        ([0], None, False),
    ],
)
def test_an_end_that_cannot_be_read_is_not_never(value: Any, ends: datetime | None, never: bool) -> None:
    """Only 0 is."""
    info = read_look({"data": {"expires_at": value, "data_access_expires_at": value}})
    assert (info.expires_at, info.never_ends, info.data_access_expires_at) == (ends, never, ends)


def test_a_missing_task_is_told_among_the_missing_permissions() -> None:
    """Of a user's token, on the Page that is named."""
    info = TokenInfo(scopes=ALL[1:], never_ends=True)
    assert describe(info, "It is a user's", PAGE, NOW, tasks=["ANALYZE"]) == (
        True,
        (
            "It is a user's; it never ends. For Messenger it lacks pages_messaging and the task MESSAGING (or MODERATE) on "
            "the Page, for Instagram it has what it takes."
        ),
    )
    assert describe(TokenInfo(), "It is a user's", PAGE, NOW, tasks=[]) == (
        False,
        (
            "It is a user's; the API does not say when it ends. For Messenger it lacks the task MESSAGING (or MODERATE) on "
            "the Page, for Instagram it lacks the task MESSAGING (or MODERATE) on the Page."
        ),
    )
