"""The Instagram account of a Page: what its threads, people and messages look like, and what is not listed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.sandbox.conftest import Client

Start = Callable[..., Client]
FIELDS = "id,created_time,from,to,message,attachments,shares{id,link},story,reactions,is_unsupported,reply_to"


@pytest.fixture
def account(sandbox: Start) -> Client:
    """An account with all kinds of messages, all of them with details."""
    return sandbox(instagram=400, details="all")


def messages(client: Client) -> list[dict[str, Any]]:
    """Return the messages of all threads as the API gives them."""
    rows = client.walk(platform="instagram", limit=100, fields=f"messages.limit(50){{{FIELDS}}}")
    return [message for row in rows for message in row["messages"]["data"]]


def test_people_have_a_user_name_and_an_id_and_nothing_else(account: Client) -> None:
    """As participants, as senders, as receivers, and where they react; nobody has a name or an address."""
    people = [person for row in account.walk(platform="instagram", limit=100, fields="participants")
              for person in row["participants"]["data"]]  # fmt: skip
    for message in messages(account):
        people += [message["from"], *message["to"]["data"]]
        people += [user for one in message.get("reactions", {"data": []})["data"] for user in one["users"]]
    assert {frozenset(person) for person in people} == {frozenset({"username", "id"})}


def test_the_account_writes_under_an_id_of_its_own(account: Client) -> None:
    """The one that the Page names as its account, and not the Page's."""
    named = account.get(f"/{account.box.page.id}", fields="instagram_business_account").json()
    ident = named["instagram_business_account"]["id"]
    assert ident != account.box.page.id
    for message in messages(account):
        assert ident in (message["from"]["id"], message["to"]["data"][0]["id"])
    [row] = account.conversations(platform="instagram", limit=1, fields="participants").json()["data"]
    assert row["participants"]["data"][1]["id"] == ident


def test_there_is_every_kind_of_message(account: Client) -> None:
    """Text, attachments, posts that were shared, stories, reactions, answers, and what the API cannot show."""
    seen = {name for message in messages(account) for name in message}
    assert seen == {"id", "created_time", "from", "to", "message", "attachments", "shares", "story", "reactions",
                    "is_unsupported", "reply_to"}  # fmt: skip


def test_a_shared_post_comes_with_its_link(account: Client) -> None:
    """Where the link is asked for."""
    shared = [message for message in messages(account) if "shares" in message]
    assert shared
    for message in shared:
        [share] = message["shares"]["data"]
        assert share["link"].startswith("https://www.instagram.com/")
        plain = account.get(f"/{message['id']}", fields="shares").json()
        assert plain["shares"]["data"] == [{"id": share["id"]}]
        break


def test_a_story_is_one_that_mentions_the_account_or_one_that_is_answered(account: Client) -> None:
    """Each with link and id; an answer says something, a mention does not."""
    stories: dict[str, list[dict[str, Any]]] = {}
    for message in messages(account):
        for told, story in message.get("story", {}).items():
            assert set(story) == {"link", "id"}
            stories.setdefault(told, []).append(message)
    assert set(stories) == {"mention", "reply_to"}
    assert all("message" in message for message in stories["reply_to"])
    assert not [message for message in stories["mention"] if "message" in message]


def test_what_cannot_be_shown_is_called_unsupported_and_says_nothing(account: Client) -> None:
    """Neither text nor anything that hangs on it."""
    unsupported = [message for message in messages(account) if "is_unsupported" in message]
    assert unsupported
    for message in unsupported:
        assert message["is_unsupported"] is True
        assert not {"message", "attachments", "shares", "story"} & set(message)


def test_an_answer_names_a_message_of_its_thread(account: Client) -> None:
    """And whether one answers oneself."""
    rows = account.walk(platform="instagram", limit=100, fields="messages.limit(50){id,reply_to}")
    answers = 0
    for row in rows:
        known = {message["id"] for message in row["messages"]["data"]}
        for message in row["messages"]["data"]:
            if "reply_to" in message:
                answers += 1
                assert set(message["reply_to"]) == {"mid", "is_self_reply"}
                assert message["reply_to"]["mid"] in known
    assert answers


def test_threads_know_no_folder_and_no_link(account: Client) -> None:
    """There is one list; asked for what only Messenger's threads have, they leave it out."""
    for row in account.walk(
        platform="instagram", limit=100, fields="id,updated_time,folder,link,name,can_reply,message_count"
    ):
        assert set(row) == {"id", "updated_time", "name", "message_count"}


def test_only_the_newest_twenty_have_details_there_too(sandbox: Start) -> None:
    """The rest are ids, and asked for one of them the API answers that it was deleted."""
    client = sandbox(instagram=1, messages=23, long_every=1, conversations=1)
    thread = client.conversations(platform="instagram").json()["data"][0]["id"]
    rows = client.walk(f"/{thread}/messages", fields="id,created_time,from")
    assert [set(row) for row in rows] == [{"id", "created_time", "from"}] * 20 + [{"id"}] * 3
    assert client.error(client.get(f"/{rows[20]['id']}"))["code"] == 9000001


def test_requests_that_were_idle_for_30_days_are_not_listed(sandbox: Start) -> None:
    """Where there are Requests at all; the other threads are, however old, and a message brings one back."""
    client = sandbox(instagram=40, span=timedelta(days=60), requests_every=4)
    box = client.box
    old = box.clock() - timedelta(days=30)
    everything = [thread["node"] for thread in box.data()["threads"] if thread["platform"] == "instagram"]
    listed = {row["id"] for row in client.walk(platform="instagram", limit=7)}
    missing = [node for node in everything if node["id"] not in listed]
    assert 3 <= len(missing) <= 7
    assert {node["updated_time"] < old.strftime("%Y-%m-%dT%H:%M:%S+0000") for node in missing} == {True}
    assert len(client.walk(folder="inbox", limit=100)) == 42, "Messenger has none"
    box.page.add_message(missing[0]["id"])
    assert missing[0]["id"] == client.walk(platform="instagram")[0]["id"]
    box.rules.requests_every = 0
    assert len(client.walk(platform="instagram", limit=100)) == 40
