"""The hook as a DAG's author holds it: iterators over everything that the sandbox's Page has."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from airflow_provider_pageconv.graph.errors import GraphFieldError, GraphRequestError, GraphUnavailableError
from airflow_provider_pageconv.hooks import PageConversationsHook
from airflow_provider_pageconv.sandbox import Fault, Limits, Sandbox
from airflow_provider_pageconv.sandbox.errors import REFUSAL_FORMS
from tests.graph.loopback import response, says, serving

PAGE = "100200300400500"
FOLDERS = {"inbox": 130, "other": 12, "page_done": 0, "spam": 1}
SECRET = "sandbox app/secret+"  # pragma: allowlist secret


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A Page with threads in three folders and on Instagram, for reading only."""
    with Sandbox(
        folders=FOLDERS, instagram=23, details="all", messages=30, long_every=20, crowded_every=7, app_secret=SECRET
    ) as running:
        yield running


@pytest.fixture
def hook(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> PageConversationsHook:
    """A hook on the default connection, to that Page."""
    sandbox.forget()
    connect(monkeypatch, sandbox)
    return PageConversationsHook()


def connect(monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox, **changes: Any) -> None:
    """Write the default connection into the environment."""
    extra = {"page_id": PAGE, "calls_per_second": 0, "app_secret": SECRET, **changes.pop("extra", {})}
    connection = {"conn_type": "pageconv", "host": sandbox.url, "password": sandbox.token, "extra": extra, **changes}
    monkeypatch.setenv("AIRFLOW_CONN_PAGECONV_DEFAULT", json.dumps(connection))


def threads(sandbox: Sandbox, platform: str, folder: str | None) -> list[dict[str, Any]]:
    """What the sandbox says that it has, newest first; without the field `folder`, which is asked for on request only."""
    every = [one for one in sandbox.data()["threads"] if one["platform"] == platform]
    found = [one for one in every if folder is None or one["folder"] == folder]
    for one in found:
        one["node"].pop("folder", None)  # a thread of Instagram has none
    return sorted(found, key=lambda one: str(one["node"]["updated_time"]), reverse=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_conversation_of_a_folder_comes_once(hook: PageConversationsHook, sandbox: Sandbox, folder: str) -> None:
    """With all documented fields, newest first, over as many calls as there are pages."""
    got = list(hook.conversations(folder=folder, page_size=50))
    assert got == [one["node"] for one in threads(sandbox, "messenger", folder)]
    assert len(got) == FOLDERS[folder]
    assert len(sandbox.requests) == max(-(-len(got) // 50), 1)
    assert all(request.params["folder"] == folder for request in sandbox.requests)


def test_the_inbox_of_the_connections_page_is_what_is_read_without_parameters(
    hook: PageConversationsHook, sandbox: Sandbox
) -> None:
    """The smallest call that does something."""
    assert list(hook.conversations()) == [one["node"] for one in threads(sandbox, "messenger", "inbox")]
    assert sandbox.requests[0].params["platform"] == "messenger"


@pytest.mark.parametrize("platform", ["instagram", "INSTAGRAM", "Instagram"])
def test_instagram_has_one_list(hook: PageConversationsHook, sandbox: Sandbox, platform: str) -> None:
    """For which no folder is sent."""
    assert list(hook.conversations(platform=platform, page_size=10)) == [
        one["node"] for one in threads(sandbox, "instagram", None)
    ]
    assert len(sandbox.requests) == 3
    assert all("folder" not in request.params for request in sandbox.requests)


@pytest.mark.parametrize("platform", ["messenger", "instagram"])
def test_every_message_of_a_conversation_comes_once(
    hook: PageConversationsHook, sandbox: Sandbox, platform: str
) -> None:
    """With all documented fields; lists inside them lose their `paging` only."""
    longest = max(threads(sandbox, platform, None), key=lambda one: len(one["messages"]))
    got = list(hook.messages(longest["node"]["id"], page_size=7))
    assert len(got) == len(longest["visible"]) == 30
    assert [one["id"] for one in got] == [one["id"] for one in longest["visible"]]
    for node, full in zip(got, longest["visible"], strict=True):
        for name in ("id", "created_time", "from", "to", "message", "sticker", "story", "is_unsupported", "reply_to"):
            assert node.get(name) == full.get(name)
    assert "paging" not in json.dumps(got)
    assert sandbox.token not in json.dumps(got)


def test_one_persons_conversations_can_be_asked_for(hook: PageConversationsHook, sandbox: Sandbox) -> None:
    """An unknown one has none."""
    thread = threads(sandbox, "messenger", "inbox")[3]
    persons = [one["id"] for one in thread["node"]["participants"]["data"] if one["id"] != PAGE]
    got = list(hook.conversations(user_id=persons[0]))
    assert thread["node"]["id"] in [one["id"] for one in got]
    assert len(got) < FOLDERS["inbox"]
    assert list(hook.conversations(user_id="999")) == []


def test_own_fields_are_asked_for_word_for_word(hook: PageConversationsHook, sandbox: Sandbox) -> None:
    """And with them `id`, the time, and how many messages there are."""
    got = list(hook.conversations(folder="other", fields="snippet,participants{id}"))
    assert sandbox.requests[0].params["fields"] == "id,updated_time,message_count,snippet,participants{id}"
    assert {name for one in got for name in one} <= {"id", "updated_time", "message_count", "snippet", "participants"}
    list(hook.messages(got[0]["id"], fields=["message"]))
    assert sandbox.requests[-1].params["fields"] == "id,created_time,message"


def test_a_field_of_the_users_own_that_the_api_refuses_is_an_error(hook: PageConversationsHook) -> None:
    """It is named."""
    with pytest.raises(GraphFieldError, match="the field 'nonsense' is not known"):
        list(hook.conversations(fields="id,nonsense"))


@pytest.mark.parametrize("words", REFUSAL_FORMS)
def test_a_documented_field_that_the_api_refuses_is_left_out(monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    """The walk goes on without it, in whatever words it is refused."""
    refused = {"UnifiedThread": ["wallpaper", "link"], "Message": ["story"], "MessageShare": ["id"]}
    with Sandbox(folders={"inbox": 5}, refused_fields=refused, refusal_form=words) as own:
        connect(monkeypatch, own, extra={"app_secret": None})
        hook = PageConversationsHook()
        got = list(hook.conversations())
        assert len(got) == 5
        assert not {"wallpaper", "link"} & {name for one in got for name in one}
        assert "snippet" in own.requests[-1].params["fields"]
        assert len(list(hook.messages(got[0]["id"]))) == len(threads(own, "messenger", "inbox")[0]["messages"])
        assert "story" not in own.requests[-1].params["fields"]


@pytest.mark.parametrize("words", REFUSAL_FORMS)
def test_the_number_of_messages_is_left_out_where_only_the_export_wants_it(
    monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """A user who did not name it does not miss it."""
    with Sandbox(folders={"inbox": 5}, refused_fields={"UnifiedThread": ["message_count"]}, refusal_form=words) as own:
        connect(monkeypatch, own, extra={"app_secret": None})
        assert len(list(PageConversationsHook().conversations(fields="snippet"))) == 5
        with pytest.raises(GraphFieldError, match="the field 'message_count' is not known"):
            list(PageConversationsHook().conversations(fields="message_count"))


def test_another_page_can_be_named_as_text_or_number(hook: PageConversationsHook) -> None:
    """The connection's is only what is read if a task names none."""
    assert len(list(hook.conversations(PAGE, folder="spam"))) == 1
    assert len(list(hook.conversations(int(PAGE), folder="spam"))) == 1  # type: ignore[arg-type]
    with pytest.raises(GraphUnavailableError):
        list(hook.conversations("777", folder="spam"))


def test_without_any_page_a_sentence_says_where_to_put_one(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first call."""
    sandbox.forget()
    connect(monkeypatch, sandbox, extra={"page_id": ""})
    with pytest.raises(ValueError, match="No page_id") as caught:
        PageConversationsHook().conversations()
    assert str(caught.value) == (
        "No page_id: neither the task nor the extra of the connection 'pageconv_default' names a Page."
    )
    assert not sandbox.requests


IDENTIFIER = "it takes an id of the Graph API (letters, digits, '.', '_' and '-'), or None."


@pytest.mark.parametrize(
    "parameters, sentence",
    [
        ({"platform": "whatsapp"}, "platform is 'whatsapp': it takes 'messenger' or 'instagram'."),
        ({"platform": None}, "platform is None: it takes 'messenger' or 'instagram'."),
        ({"folder": "INBOX"}, "folder is 'INBOX': it takes one of inbox, other, page_done, spam."),
        ({"folder": "all"}, "folder is 'all': it takes one of inbox, other, page_done, spam."),
        ({"folder": None}, "folder is None: it takes one of inbox, other, page_done, spam."),
        (
            {"folder": "spam", "platform": "Instagram"},
            "folder is 'spam': it takes nothing here, for Instagram has one list only.",
        ),
        ({"page_size": 0}, "page_size is 0: it takes a whole number, 1 or more."),
        ({"page_size": True}, "page_size is True: it takes a whole number, 1 or more."),
        ({"page_size": "100"}, "page_size is '100': it takes a whole number, 1 or more."),
        ({"fields": ""}, "fields is '': it takes names of Graph API fields, such as 'id,participants', or None."),
        ({"fields": "id{"}, "fields is 'id{': it takes names of Graph API fields, such as 'id,participants', or None."),
        ({"page_id": ".."}, f"page_id is '..': {IDENTIFIER}"),
        ({"page_id": "me/accounts"}, f"page_id is 'me/accounts': {IDENTIFIER}"),
        ({"page_id": ""}, f"page_id is '': {IDENTIFIER}"),
        ({"user_id": "a b"}, f"user_id is 'a b': {IDENTIFIER}"),
        ({"user_id": ""}, f"user_id is '': {IDENTIFIER}"),
    ],
)
def test_a_wrong_parameter_is_refused_before_the_first_call(
    hook: PageConversationsHook, sandbox: Sandbox, parameters: dict[str, Any], sentence: str
) -> None:
    """Where it is given, not where the first node is asked for."""
    with pytest.raises(ValueError, match=r": ") as caught:
        hook.conversations(**parameters)
    assert str(caught.value) == sentence
    assert not sandbox.requests


@pytest.mark.parametrize("conversation_id", ["", None, 7])
def test_a_conversation_has_an_id(hook: PageConversationsHook, conversation_id: object) -> None:
    """That is text."""
    with pytest.raises(ValueError, match="conversation_id is ") as caught:
        hook.messages(conversation_id)  # type: ignore[arg-type]
    assert str(caught.value) == f"conversation_id is {conversation_id!r}: it takes the id of a conversation."


@pytest.mark.parametrize("conversation_id", ["..", "t_999", "../me", "a?fields=access_token", "a#b"])
def test_a_conversation_that_is_not_there_is_refused(
    hook: PageConversationsHook, sandbox: Sandbox, conversation_id: str
) -> None:
    """And never another object."""
    with pytest.raises(GraphRequestError):
        list(hook.messages(conversation_id))
    sent = [] if conversation_id == ".." else [f"/v26.0/{quote(conversation_id, safe='')}/messages"]
    assert [request.target.partition("?")[0] for request in sandbox.requests] == sent


def test_nothing_is_called_before_the_first_node_is_asked_for(hook: PageConversationsHook, sandbox: Sandbox) -> None:
    """And then only as much as is needed."""
    nodes = hook.conversations(page_size=10)
    assert not sandbox.requests
    next(nodes)
    assert len(sandbox.requests) == 1


def test_usage_is_what_the_last_answer_said(hook: PageConversationsHook) -> None:
    """None before there was one."""
    assert hook.usage is None
    list(hook.conversations(folder="spam"))
    assert hook.usage is not None
    assert 0 <= hook.usage.percent <= 100
    assert "messenger" in hook.usage.by_type


def test_after_an_answer_without_usage_headers_nothing_is_known_of_usage(
    hook: PageConversationsHook, sandbox: Sandbox
) -> None:
    """What an earlier one said may be long out of date."""
    list(hook.conversations())
    sandbox.faults.add(Fault(kind="no_headers"))
    list(hook.conversations())
    assert hook.usage is None


def test_the_usage_of_another_product_is_no_usage_of_conversations(monkeypatch: pytest.MonkeyPatch) -> None:
    """The header tells of all that the business uses."""
    with Sandbox(folders={"inbox": 5}, limits=Limits(foreign={"ads_management": 100.0, "instagram": 99.0})) as own:
        connect(monkeypatch, own, extra={"app_secret": None})
        hook = PageConversationsHook()
        list(hook.conversations())
        assert hook.usage is not None
        assert not {"ads_management", "instagram"} & set(hook.usage.by_type)
        assert hook.usage.percent < 75
        assert hook.usage.regain is None


def test_rows_that_are_no_nodes_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """They end nothing; every conversation comes all the same."""
    body = {"data": [None, {"id": "t_1"}, {"snippet": "no id"}, "x", {"id": "t_2", "paging": {"next": "x"}}]}
    with serving(says(response(json.dumps(body).encode()))) as server:
        extra = json.dumps({"page_id": PAGE, "calls_per_second": 0})
        connection = {"conn_type": "pageconv", "host": server.url, "password": "token", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_PAGECONV_DEFAULT", json.dumps(connection))
        assert list(PageConversationsHook().conversations()) == [{"id": "t_1"}, {"id": "t_2"}]
        assert list(PageConversationsHook().messages("t_1")) == [{"id": "t_1"}, {"id": "t_2"}]


def test_there_is_one_client_and_one_reading_of_the_connection(hook: PageConversationsHook) -> None:
    """So that pace and connections are shared."""
    assert hook.get_conn() is hook.get_conn()
    assert hook.settings is hook.settings
    assert PageConversationsHook("other").pageconv_conn_id == "other"


# ---- secrets


def test_the_secrets_go_to_airflows_masker_in_every_form(
    hook: PageConversationsHook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain and as an address quotes them; it knows exact texts only."""
    masked: Counter[str] = Counter()
    monkeypatch.setattr(
        "airflow.sdk.log.mask_secret",
        lambda secret, name=None: masked.update([secret]) if isinstance(secret, str) else None,
    )
    token = "EAAB/x+7== tail".replace(" ", "~")
    monkeypatch.setenv(
        "AIRFLOW_CONN_PAGECONV_DEFAULT",
        json.dumps({"conn_type": "pageconv", "password": token, "extra": {"app_secret": SECRET}}),
    )
    proof = hook.settings.credentials.proof
    assert proof is not None
    for secret in (token, SECRET, proof):
        for form in (secret, quote(secret, safe=""), quote_plus(secret)):
            assert masked[form]


def test_a_whole_reading_leaves_no_secret_in_the_logs(
    hook: PageConversationsHook, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """With the debug lines of all libraries on."""
    caplog.set_level(logging.DEBUG)
    list(hook.conversations(folder="other", page_size=5))
    assert len(sandbox.requests) == 3
    proof = sandbox.proof()
    assert all(request.params["appsecret_proof"] == proof for request in sandbox.requests)
    assert any(record.name.startswith("urllib3") for record in caplog.records)
    for secret in (sandbox.token, SECRET, proof, quote(SECRET, safe="")):
        assert secret not in caplog.text
        assert not any(secret in target.target for target in sandbox.requests if secret != proof)
