"""Tokens of every kind: a user's becomes the Page's own, is looked at and renewed, and none of them is ever shown."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_pageconv.graph.errors import GraphAuthError, GraphPermissionError, GraphRateLimitError
from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from airflow_provider_pageconv.sandbox.graph_api import APP_ID

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=timezone.utc)
SECRET = "sandbox-app-secret"


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """Three Pages."""
    with Sandbox(pages=3, conversations=4, app_secret=SECRET, require_proof=True, now=NOW) as running:
        yield running


def hook(monkeypatch: pytest.MonkeyPatch, box: Sandbox, token: str, **extra: Any) -> PageConversationsHook:
    """A hook on a connection with a token."""
    more = {"page_id": box.page.id, "calls_per_second": 0, "app_secret": SECRET, "app_id": APP_ID, **extra}
    connection = {"conn_type": "pageconv", "host": box.url, "password": token, "extra": more}
    monkeypatch.setenv("AIRFLOW_CONN_PAGECONV_DEFAULT", json.dumps(connection))
    return PageConversationsHook()


def calls(box: Sandbox) -> list[str]:
    """The paths that were asked for, in order."""
    return [request.path.partition("/")[2].partition("/")[2] for request in box.requests]


def test_a_page_token_is_used_as_it_is(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs not one call more."""
    assert len(list(hook(monkeypatch, box, box.token).conversations())) == 4
    assert calls(box) == [f"{box.page.id}/conversations"]


@pytest.mark.parametrize("code", [190, 210])
def test_a_user_s_token_becomes_the_page_s_own_once(code: int, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the proof that belongs to it; the calls after that take it at once."""
    box.rules.user_token_error = code
    one = hook(monkeypatch, box, box.user_token)
    conversations = list(one.conversations(page_size=2))
    list(one.messages(conversations[0]["id"]))
    conversation, page = f"{box.page.id}/conversations", box.page.id
    assert calls(box) == [conversation, page, conversation, conversation, f"{conversations[0]['id']}/messages"]
    assert [request.params["appsecret_proof"] for request in box.requests[2:]] == [box.proof(box.derived_token)] * 3


def test_each_page_has_a_token_of_its_own(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """One user's token reads all the Pages that it reaches, each at its own pace."""
    one = hook(monkeypatch, box, box.user_token, page_id=None)
    pages = list(one.pages())
    assert [page["id"] for page in pages] == list(box.pages)
    assert all(set(page) == {"id", "name", "tasks"} for page in pages)
    for page in pages:
        assert len(list(one.conversations(page["id"]))) == 4
    assert one.get_conn(pages[0]["id"]) is not one.get_conn(pages[1]["id"])


def test_what_is_read_of_one_page_does_not_change_what_the_token_is(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages are listed with the token of the connection, and messages are read with the token of their Page."""
    first, second = list(box.pages)[:2]
    one = hook(monkeypatch, box, box.user_token, page_id=first)
    threads = list(one.conversations(second))
    assert len(list(one.pages())) == 3
    assert len(list(one.messages(threads[0]["id"]))) > 0
    assert box.requests[-1].params["appsecret_proof"] == box.proof(box.api.derived_token(box.pages[second]))


def test_where_the_page_does_not_give_its_token_the_list_of_pages_does(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second way is tried where the first one is refused."""
    box.faults.add(Fault(code=200, path=f"/{box.page.id}", times=1, when=lambda call: call.parts == [box.page.id]))
    assert len(list(hook(monkeypatch, box, box.user_token).conversations())) == 4
    assert calls(box)[1:3] == [box.page.id, "me/accounts"]


def test_a_token_that_brings_none_of_the_page_is_told_with_what_is_missing(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The person has no task on it."""
    box.add_token("SOMEBODY-ELSE", None, reaches=[])
    with pytest.raises(GraphAuthError) as caught:
        list(hook(monkeypatch, box, "SOMEBODY-ELSE").conversations())
    assert str(caught.value) == (
        f"Graph API: the access token is not the Page's own, and brings no token of the Page {box.page.id}. Give the person "
        "or the system user whose token it is a task on the Page (MESSAGING or MODERATE) and the token pages_show_list and "
        "pages_messaging, or put the Page's own token into the connection."
    )


TASK_AGAIN = "Give the person or the system user whose token is in the connection a task on the Page again (MESSAGING or MODERATE)"
NEW_OF_THEIRS = "Put a new token of the person or the system user into the connection."


@pytest.mark.parametrize("ahead", [False, True], ids=["once the API asks for it", "before the export"])
@pytest.mark.parametrize(
    "subcode, sentence",
    [
        (None, f"the access token is not valid. {TASK_AGAIN}, or put a new token of theirs there."),
        (467, f"the access token is no longer valid. {TASK_AGAIN}, or put a new token of theirs there."),
        (492, f"the person who gave the token has lost their role on the Page. {TASK_AGAIN}."),
        (458, f"the person who gave the token has removed the app. {NEW_OF_THEIRS}"),
        (460, f"the person who gave the token has changed their password. {NEW_OF_THEIRS}"),
        (463, f"the access token has expired. {NEW_OF_THEIRS}"),
        (
            464,
            "the person who gave the token has to confirm their account. Log in, then put a new token in if need be.",
        ),
    ],
)
def test_where_the_token_that_was_brought_is_dead_nobody_is_sent_for_the_page_s_own(
    subcode: int | None, sentence: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch, *, ahead: bool
) -> None:
    """The connection holds a person's or a system user's: theirs is to be mended, and it stays what the connection holds."""
    box.faults.add(Fault(code=190, subcode=subcode, when=lambda call: call.token == box.derived_token))
    one = hook(monkeypatch, box, box.user_token)
    if ahead:
        one.look_ahead(box.page.id, "messenger")
    with pytest.raises(GraphAuthError) as caught:
        list(one.conversations())
    number = f"190/{subcode}" if subcode else "190"
    assert str(caught.value).startswith(f"Graph API error {number}: {sentence} (HTTP status ")


def test_where_a_page_s_own_token_in_the_connection_is_dead_a_new_one_is_put_there(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else's brought it."""
    box.end_tokens(box.page)
    with pytest.raises(GraphAuthError, match=r"\. Put a new access token into the connection\."):
        list(hook(monkeypatch, box, box.token).conversations())


def test_a_header_that_is_swallowed_on_the_way_is_no_dead_token(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the token was brought: nobody has to give another one."""
    one = hook(monkeypatch, box, box.user_token)
    list(one.conversations())
    message = "An active access token must be used to query information about the current user."
    box.faults.add(Fault(code=2500, message=message))
    with pytest.raises(GraphAuthError, match="Something on the way takes the Authorization header"):
        list(one.conversations())


def test_a_limit_met_on_the_way_to_the_page_s_token_is_a_limit(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a reason to give up."""
    box.faults.add(Fault(code=4, times=1, when=lambda call: call.parts == [box.page.id]))
    one = hook(monkeypatch, box, box.user_token)
    with pytest.raises(GraphRateLimitError):
        list(one.conversations())
    assert len(list(one.conversations())) == 4


def test_a_missing_permission_is_no_reason_to_look_for_another_token(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stays what it is."""
    box.faults.add(Fault(code=200, times=1, on="conversations"))
    with pytest.raises(GraphPermissionError, match="a permission is missing"):
        list(hook(monkeypatch, box, box.token).conversations())
    assert len(box.requests) == 1


def test_a_page_s_own_token_reaches_that_page(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its person may do there it cannot tell."""
    assert list(hook(monkeypatch, box, box.token).pages()) == [
        {"id": box.page.id, "name": box.page.name, "tasks": None}
    ]


def test_a_token_tells_what_it_is(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at by the app, with its own token."""
    ends = NOW + timedelta(days=9)
    box.add_token(
        "OF-THE-SYSTEM", None, type="SYSTEM_USER", expires_at=int(ends.timestamp()), scopes=["pages_messaging"]
    )
    info = hook(monkeypatch, box, "OF-THE-SYSTEM").token_info()
    assert (info.type, info.is_valid, info.expires_at, info.data_access_expires_at) == ("system_user", True, ends, None)
    assert (info.scopes, info.app_id, info.page_id) == (("pages_messaging",), APP_ID, None)
    own = hook(monkeypatch, box, box.token).token_info()
    assert (own.type, own.page_id, own.expires_at) == ("page", box.page.id, None)
    assert box.requests[-1].params["appsecret_proof"] == box.proof(f"{APP_ID}|{SECRET}")
    assert "OF-THE-SYSTEM" not in repr(info)


def test_without_the_app_a_token_is_looked_at_by_itself(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API may refuse that."""
    box.rules.require_proof = False
    assert hook(monkeypatch, box, box.user_token, app_id=None, app_secret=None).token_info().type == "user"
    gone = hook(monkeypatch, box, "NOBODY-S", app_id=None, app_secret=None).token_info()
    assert (gone.is_valid, gone.reason) == (False, "the access token is not valid")


def test_a_token_that_has_ended_says_so(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is refused wherever it is used."""
    box.add_token("OVER", None, expires_at=int(NOW.timestamp()) - 1)
    one = hook(monkeypatch, box, "OVER")
    info = one.token_info()
    assert (info.is_valid, info.reason) == (False, "the access token has expired")
    with pytest.raises(GraphAuthError, match="has expired"):
        list(one.conversations())


def test_a_token_is_renewed_for_sixty_days(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one is handed out, and as good as the old one."""
    ends = int((NOW + timedelta(days=9)).timestamp())
    box.add_token("OF-THE-SYSTEM", None, type="SYSTEM_USER", expires_at=ends)
    renewed = hook(monkeypatch, box, "OF-THE-SYSTEM").renew_token()
    assert renewed != "OF-THE-SYSTEM"
    assert hook(monkeypatch, box, renewed).token_info().expires_at == NOW + timedelta(days=60)
    assert len(list(hook(monkeypatch, box, renewed).conversations())) == 4


def test_a_token_that_has_ended_cannot_be_renewed(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing brings it back."""
    box.add_token("OVER", None, expires_at=int(NOW.timestamp()) - 1)
    with pytest.raises(GraphAuthError, match="has expired"):
        hook(monkeypatch, box, "OVER").renew_token()


@pytest.mark.parametrize("missing", ["app_id", "app_secret"])
def test_without_the_app_a_token_cannot_be_renewed(missing: str, box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says what the connection lacks; no call is made."""
    with pytest.raises(ValueError, match=r"cannot renew its token: its extra takes the app_id and the app_secret"):
        hook(monkeypatch, box, box.user_token, **{missing: None}).renew_token()
    assert box.requests == []


def test_no_log_shows_any_of_the_tokens(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG, where urllib3 tells the address of each call."""
    ends = int((NOW + timedelta(days=9)).timestamp())
    box.add_token("OF-THE-SYSTEM", None, type="SYSTEM_USER", expires_at=ends)
    caplog.set_level(logging.DEBUG)
    one = hook(monkeypatch, box, "OF-THE-SYSTEM")
    list(one.conversations())
    one.token_info()
    renewed = one.renew_token()
    assert "debug_token?input_token=***" in caplog.text
    for secret in ("OF-THE-SYSTEM", renewed, box.derived_token, SECRET, f"{APP_ID}%7C{SECRET}"):
        assert secret not in caplog.text


def told_to_the_masker(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What Airflow's masker hears from now on."""
    heard: set[str] = set()

    def hear(secret: object, name: str | None = None) -> None:
        if isinstance(secret, str):  # Airflow itself hands it whole extras
            heard.add(secret)

    monkeypatch.setattr("airflow.sdk.log.mask_secret", hear)
    return heard


def assert_heard(heard: set[str], box: Sandbox, *tokens: str) -> None:
    """Each token, and the proof of it, as it is and as an address quotes it: the masker knows exact texts only."""
    for token in tokens:
        for secret in (token, box.proof(token)):
            assert {secret, quote(secret, safe=""), quote_plus(secret)} <= heard, token


def test_a_token_that_was_exchanged_when_it_was_needed_is_masked(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first call with it."""
    heard = told_to_the_masker(monkeypatch)
    list(hook(monkeypatch, box, box.user_token).conversations())
    assert_heard(heard, box, box.user_token, box.derived_token)


def test_a_token_that_was_exchanged_ahead_is_masked(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the app's own, by which it was looked at."""
    heard = told_to_the_masker(monkeypatch)
    hook(monkeypatch, box, box.user_token).look_ahead(box.page.id, "messenger")
    assert [request.edge for request in box.requests] == ["debug_token", "accounts"]
    assert_heard(heard, box, box.user_token, box.derived_token, f"{APP_ID}|{SECRET}")


@pytest.mark.parametrize("refused", [None, "accounts"])
def test_a_token_that_was_exchanged_by_a_test_of_the_connection_is_masked(
    refused: str | None, box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever way it came."""
    if refused:
        box.faults.add(Fault(code=200, on=refused))
    heard = told_to_the_masker(monkeypatch)
    assert hook(monkeypatch, box, box.user_token).test_connection()[0]
    assert_heard(heard, box, box.user_token, box.derived_token, f"{APP_ID}|{SECRET}")


def test_a_renewed_token_is_masked(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is handed out."""
    heard = told_to_the_masker(monkeypatch)
    assert_heard(heard, box, hook(monkeypatch, box, box.user_token).renew_token())
