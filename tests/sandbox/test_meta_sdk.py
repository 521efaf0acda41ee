"""Meta's own SDK, which nobody here wrote, walks the sandbox and finds what its data document says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from facebook_business.adobjects.page import Page
from facebook_business.adobjects.unifiedthread import UnifiedThread
from facebook_business.adobjects.user import User
from facebook_business.api import FacebookAdsApi
from facebook_business.exceptions import FacebookRequestError
from facebook_business.session import FacebookSession

from airflow_provider_pageconv.sandbox import FOLDERS
from airflow_provider_pageconv.sandbox.graph_api import APP_ID
from tests.sandbox.conftest import NOW, Client

# The SDK warns of fields that its version of the edge does not list; it sends them all the same.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:facebook_business")

THREAD_FIELDS = [
    "id", "can_reply", "folder", "former_participants", "is_owner", "is_subscribed", "link", "message_count", "name",
    "participants", "scoped_thread_key", "senders", "snippet", "unread_count", "updated_time", "wallpaper",
]  # fmt: skip
MESSAGE_FIELDS = [
    "id", "created_time", "from", "to", "message", "tags", "attachments",
    "shares{id,type,url,title,link,name,description,template}", "story", "reactions", "is_unsupported", "reply_to", "sticker",
]  # fmt: skip


def sdk(client: Client, monkeypatch: pytest.MonkeyPatch, token: str | None = None, **session: Any) -> FacebookAdsApi:
    """Return the SDK's API object; nothing but the base address differs from what talks to Meta.

    :param token: the Page's if left out.
    """
    monkeypatch.setattr(FacebookSession, "GRAPH", client.box.url)
    opened = FacebookSession(access_token=client.box.token if token is None else token, timeout=30, **session)
    return FacebookAdsApi(opened, api_version="v26.0")


def without_paging(node: Any) -> Any:
    """Return a node without the paging objects of its inner lists."""
    if isinstance(node, dict):
        return {name: without_paging(value) for name, value in node.items() if name != "paging"}
    return [without_paging(value) for value in node] if isinstance(node, list) else node


def plain(node: Any) -> Any:
    """Return what the SDK read as plain JSON."""
    return without_paging(node.export_all_data())


@pytest.mark.parametrize("details", ["bare", "dated", "all"])
@pytest.mark.parametrize("platform", ["MESSENGER", "INSTAGRAM"])
def test_sdk_finds_all_threads_and_messages(
    sandbox: Callable[..., Client], monkeypatch: pytest.MonkeyPatch, platform: str, details: str
) -> None:
    """Each folder, each thread, each message: by id and by content, exactly what data() says."""
    client = sandbox(conversations=40, instagram=12, details=details, messages=27)
    api = sdk(client, monkeypatch)
    page = Page(client.box.page.id, api=api)
    folders: list[str | None] = list(FOLDERS) if platform == "MESSENGER" else [None]
    found: list[dict[str, Any]] = []
    for folder in folders:
        params = {"platform": platform, "limit": 7, **({"folder": folder} if folder else {})}
        for thread in page.get_conversations(fields=THREAD_FIELDS, params=params):
            messages = UnifiedThread(thread["id"], api=api).get_messages(fields=MESSAGE_FIELDS, params={"limit": 10})
            found.append(
                {
                    "folder": folder or "all",
                    "node": plain(thread),
                    "visible": [plain(message) for message in messages],
                }
            )
    expected = [
        {"folder": thread["folder"], "node": thread["node"], "visible": thread["visible"]}
        for thread in client.box.data()["threads"]
        if thread["platform"].upper() == platform
    ]
    assert found == expected
    assert {request.status for request in client.box.requests} == {200}


def test_sdk_sends_a_proof_that_is_accepted(sandbox: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK signs with the app secret; with another secret it is refused."""
    client = sandbox(app_secret="geheim", require_proof=True)
    page = Page(client.box.page.id, api=sdk(client, monkeypatch, app_secret="geheim"))
    assert len(page.get_conversations()) == 25
    page = Page(client.box.page.id, api=sdk(client, monkeypatch, app_secret="wrong"))
    with pytest.raises(FacebookRequestError) as caught:
        page.get_conversations()
    assert caught.value.api_error_code() == 100


def test_sdk_reads_errors(sandbox: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK finds code, subcode, type and message of a refusal where it expects them."""
    client = sandbox()
    with pytest.raises(FacebookRequestError) as caught:
        UnifiedThread("t_1", api=sdk(client, monkeypatch)).get_messages()
    assert (caught.value.api_error_code(), caught.value.api_error_subcode()) == (100, 33)
    assert caught.value.api_error_type() == "GraphMethodException"


# ---- tokens


SECRET = "geheim"


def test_sdk_reads_each_page_with_the_token_that_the_list_of_pages_brings(
    sandbox: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It walks the list over its pages, and signs with the proof of the token that it uses; Messenger and Instagram."""
    client = sandbox(pages=7, conversations=3, instagram=2, messages=2, app_secret=SECRET, require_proof=True)
    box = client.box
    person = User("me", api=sdk(client, monkeypatch, box.user_token, app_secret=SECRET))
    pages = list(person.get_accounts(fields=["id", "name", "tasks", "access_token"], params={"limit": 3}))
    assert [(page["id"], page["name"], tuple(page["tasks"])) for page in pages] == [
        (page.id, page.name, tuple(page.tasks)) for page in box.pages.values()
    ]
    assert [request.edge for request in box.requests] == ["accounts"] * 3
    for page in pages:
        own = Page(page["id"], api=sdk(client, monkeypatch, page["access_token"], app_secret=SECRET))
        for platform in ("MESSENGER", "INSTAGRAM"):
            found = own.get_conversations(fields=["id", "updated_time"], params={"platform": platform})
            assert [thread["id"] for thread in found] == [
                thread["node"]["id"]
                for thread in box.data(page["id"])["threads"]
                if thread["platform"] == platform.lower() and thread["folder"] in ("inbox", "all")
            ]
    assert {request.status for request in box.requests} == {200}


def test_sdk_gets_a_page_s_token_from_the_page(sandbox: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """The other way to it; without a task there is none, and without the Page's own there are no conversations."""
    client = sandbox(pages=2)
    box = client.box
    api = sdk(client, monkeypatch, box.user_token)
    page = Page(box.page.id, api=api).api_get(fields=["access_token"])
    assert page["access_token"] == box.derived_token
    assert len(Page(box.page.id, api=sdk(client, monkeypatch, box.derived_token)).get_conversations()) == 25
    with pytest.raises(FacebookRequestError) as caught:
        Page(box.page.id, api=api).get_conversations()
    assert caught.value.api_error_code() == 190
    box.page.tasks = ()
    assert "access_token" not in Page(box.page.id, api=api).api_get(fields=["access_token"])
    (first, _) = User("me", api=api).get_accounts(fields=["id", "access_token", "tasks"])
    assert (first["id"], first["tasks"], "access_token" in first) == (box.page.id, [], False)


def debug(api: FacebookAdsApi, token: str) -> Any:
    """Look at a token, by a call that the SDK has no method for."""
    return api.call("GET", ("debug_token",), params={"input_token": token}).json()["data"]


def test_sdk_looks_at_tokens_with_the_app_s_own(
    sandbox: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each kind; one that is not known is answered as well, and is not valid."""
    client = sandbox(app_secret=SECRET, require_proof=True)
    box = client.box
    box.add_token("OF-THE-SYSTEM", None, type="SYSTEM_USER", expires_at=int(NOW.timestamp()) + 5)
    box.add_token("OVER", box.page, expires_at=int(NOW.timestamp()))
    app = f"{APP_ID}|{SECRET}"
    api = sdk(client, monkeypatch, app, app_secret=SECRET)
    looks = {
        token: debug(api, token) for token in (box.token, box.user_token, "OF-THE-SYSTEM", app, "OVER", "NOBODY-S")
    }
    assert [look.get("type") for look in looks.values()] == ["PAGE", "USER", "SYSTEM_USER", "APP", "PAGE", None]
    assert [look["is_valid"] for look in looks.values()] == [True, True, True, True, False, False]
    assert looks[box.token]["profile_id"] == box.page.id
    assert looks["OF-THE-SYSTEM"]["expires_at"] == int(NOW.timestamp()) + 5
    assert looks["OVER"]["error"]["subcode"] == 463
    assert {look.get("app_id") for look in looks.values()} == {APP_ID, None}


def test_sdk_is_told_that_behind_an_app_s_token_there_is_nobody(
    sandbox: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither `me` nor the Pages of `me`; a Page gives it no conversations."""
    client = sandbox(app_secret=SECRET)
    api = sdk(client, monkeypatch, f"{APP_ID}|{SECRET}")
    for ask, code in (
        (lambda: User("me", api=api).api_get(fields=["id"]), 2500),
        (lambda: User("me", api=api).get_accounts(), 2500),
        (lambda: Page(client.box.page.id, api=api).get_conversations(), 190),
    ):
        with pytest.raises(FacebookRequestError) as caught:
            ask()
        assert caught.value.api_error_code() == code
    assert "access_token" not in Page(client.box.page.id, api=api).api_get(fields=["access_token"])


def test_sdk_renews_a_token(sandbox: Callable[..., Client], monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one is good for sixty days, for the same Pages; one that has ended, or another app, brings none."""
    client = sandbox(app_secret=SECRET, pages=3)
    box = client.box
    second = list(box.pages)[1]
    box.add_token("OF-THE-SYSTEM", None, [second], type="SYSTEM_USER", expires_at=int(NOW.timestamp()) + 5)
    box.add_token("OVER", None, expires_at=int(NOW.timestamp()))
    api = sdk(client, monkeypatch, "OF-THE-SYSTEM")

    def renew(token: str, secret: str = SECRET) -> Any:
        params = {
            "grant_type": "fb_exchange_token",
            "client_id": APP_ID,
            "client_secret": secret,
            "set_token_expires_in_60_days": "true",
            "fb_exchange_token": token,
        }
        return api.call("GET", ("oauth", "access_token"), params=params).json()

    renewed = renew("OF-THE-SYSTEM")
    assert (renewed["token_type"], renewed["expires_in"]) == ("bearer", 60 * 86400)
    look = debug(api, renewed["access_token"])
    assert (look["type"], look["expires_at"]) == ("SYSTEM_USER", int(NOW.timestamp()) + 60 * 86400)
    with_it = User("me", api=sdk(client, monkeypatch, renewed["access_token"]))
    assert [page["id"] for page in with_it.get_accounts(fields=["id"])] == [second]
    for token, secret, code in (("OVER", SECRET, 190), ("NOBODY-S", SECRET, 190), ("OF-THE-SYSTEM", "wrong", 101)):
        with pytest.raises(FacebookRequestError) as caught:
            renew(token, secret)
        assert caught.value.api_error_code() == code


def test_sdk_is_told_of_a_version_that_does_not_exist(
    sandbox: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anybody looks at the token: with one that is good, with one that is not, and without any."""
    client = sandbox()
    for token in (client.box.token, "NOBODY-S", ""):
        api = sdk(client, monkeypatch, token)
        with pytest.raises(FacebookRequestError) as caught:
            api.call("GET", ("me",), api_version="v99.0")
        assert caught.value.api_error_code() == 2500
        assert str(caught.value.api_error_message()).startswith("Unknown path components")
    with pytest.raises(FacebookRequestError) as caught:
        FacebookAdsApi(FacebookSession(access_token="", timeout=30), api_version="v26.0").call("GET", ("me",))
    assert caught.value.api_error_code() == 2500
    assert str(caught.value.api_error_message()).startswith("An active access token must be used")
