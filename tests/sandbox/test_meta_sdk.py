"""Meta's own SDK, which nobody here wrote, walks the sandbox and finds what its data document says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from facebook_business.adobjects.page import Page
from facebook_business.adobjects.unifiedthread import UnifiedThread
from facebook_business.api import FacebookAdsApi
from facebook_business.exceptions import FacebookRequestError
from facebook_business.session import FacebookSession

from airflow_provider_pageconv.sandbox import FOLDERS
from tests.sandbox.conftest import Client

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


def sdk(client: Client, monkeypatch: pytest.MonkeyPatch, **session: Any) -> FacebookAdsApi:
    """Return the SDK's API object; nothing but the base address differs from what talks to Meta."""
    monkeypatch.setattr(FacebookSession, "GRAPH", client.box.url)
    return FacebookAdsApi(FacebookSession(access_token=client.box.token, timeout=30, **session), api_version="v26.0")


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
