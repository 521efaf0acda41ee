"""An export of a Page's Instagram account holds what its nodes have, and no other platform's."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_pageconv.sandbox import Limits, Sandbox
from tests.dump.exporting import NOW, assert_holds, assert_tidy, export, owed, store_of
from tests.servers.destinations import Destination, local


@pytest.fixture
def files(tmp_path: Path) -> Destination:
    """A place on the disk."""
    return local(tmp_path / "export")


def test_user_names_stories_shares_and_what_is_unsupported_are_kept(files: Destination) -> None:
    """By the documented fields, which name nobody's parts and so take what the platform gives of a person."""
    with Sandbox(conversations=30, instagram=300, details="all", now=NOW) as box:
        export(box, store_of(files), "all", platform="instagram")
        assert_holds(files, owed(box.data(), platform="instagram"))
    assert_tidy(files)
    threads, messages = files.records("conversations"), files.records("messages")
    people = [person for thread in threads for person in thread["participants"]["data"]]
    people += [message["from"] for message in messages]
    assert {tuple(sorted(person)) for person in people} == {("id", "username")}
    kinds = {name for message in messages for name in message} & {
        "shares",
        "story",
        "is_unsupported",
        "reply_to",
        "reactions",
    }
    assert kinds == {"shares", "story", "is_unsupported", "reply_to", "reactions"}
    assert {told for message in messages for told in message.get("story", ())} == {"mention", "reply_to"}
    assert all(share.get("link") for message in messages for share in message.get("shares", {"data": []})["data"]
               if "type" not in share)  # fmt: skip


def test_messages_that_have_lost_their_details_are_marked_as_on_messenger(files: Destination) -> None:
    """Beyond the newest 20 of a thread."""
    with Sandbox(conversations=1, instagram=3, messages=30, long_every=1, now=NOW) as box:
        manifest = export(box, store_of(files), "all", platform="instagram")
    marked = [message for message in files.records("messages") if message.get("_unavailable")]
    assert (manifest["messages"], len(marked)) == (90, 30)


def test_it_is_not_held_up_by_what_messenger_has_used_up(files: Destination) -> None:
    """Meta counts the account's calls apart; usage of Messenger that is reported beside its own counts for nothing."""
    limits = Limits(foreign={"messenger": 100.0})
    with Sandbox(
        conversations=10, instagram=30, now=NOW, limits=limits, account_limits=Limits(calls=50, window=3600)
    ) as box:
        for _ in range(51):
            box.account_limits.take((box.page.id, "messenger"))
        export(box, store_of(files), "all", platform="instagram")
        assert {request.code for request in box.requests} == {None}
    assert len(files.records("conversations")) == 30
