"""`exclude_user_ids` leaves people out: of what is fetched, of what earlier tries staged, and of what is carried over."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.people import LeftOut
from airflow_provider_pageconv.dump.records import CONVERSATIONS, MESSAGES
from airflow_provider_pageconv.graph.errors import GraphFieldError
from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import (
    DAY,
    NOW,
    Breaking,
    Broken,
    assert_counts_are_of_the_files,
    assert_tidy,
    bare,
    checkpoints,
    every_step_saved,
    export,
    exporting,
    go,
    owed,
    store_of,
)
from tests.people.crowd import (
    FORMATS,
    NODES,
    Crowd,
    Looking,
    box_of_a_crowd,
    by_id,
    each_format,
    hashed,
    pseudonyms,
    scratch_in,
    search,
    told,
    without,
)
from tests.servers.destinations import Destination, local
from tests.under_way import no_call_is_left


def assert_left_out(files: Destination, box: Sandbox, crowd: Crowd) -> None:
    """Of one of two people everything is gone, and of the other nothing."""
    owes = owed(box.data(), "inbox")
    conversations, messages = by_id(files, "conversations"), by_id(files, "messages")
    assert set(conversations) == set(owes.conversations) - {crowd.own_thread}
    group = {name for name, thread in owes.thread_of.items() if thread == crowd.group}
    own = {name for name, thread in owes.thread_of.items() if thread == crowd.own_thread}
    assert len(group) == 3
    assert set(owes.messages) - set(messages) >= own
    left = {name: messages[name] for name in group & set(messages)}
    assert {one["from"]["id"] for one in left.values()} == {crowd.other.id, box.page.id}
    assert [user["id"] for one in left.values() for user in one["to"]["data"]].count(crowd.other.id) == 1
    for name in set(owes.messages) - own - group:
        assert bare(messages[name]) == owes.messages[name]
    assert_counts_are_of_the_files(files)


@each_format
def test_a_thread_of_theirs_goes_whole_and_from_others_they_go(how: dict[str, Any], tmp_path: Path) -> None:
    """The Page's answers too; from groups their messages, and they from every list; at no instant are they written down."""
    box, crowd = box_of_a_crowd()
    files, scratch = local(tmp_path / "export"), tmp_path / "scratch"
    with box, every_step_saved(), scratch_in(scratch):
        words, looks = told(crowd.alone), []

        def look() -> None:
            looks.append(search(scratch, words) | search(tmp_path / "export", words))

        options = {"page_size": 5, **without(crowd.alone.id), **how}
        manifest = go(exporting(box, Looking(store_of(files), look), ("inbox",), **options), box.clock)
        assert_left_out(files, box, crowd)
        assert manifest["messages_expected"] == manifest["messages"]
        assert crowd.own_thread not in {call.path.split("/")[-2] for call in box.requests}
    assert len(looks) > 20
    assert set().union(*looks) == set()
    assert search(tmp_path, words) == set()


def test_a_conversation_with_others_stands_in_the_window_in_which_only_they_wrote(tmp_path: Path) -> None:
    """As it would if nobody was left out: others wrote later, and the thread is theirs as well."""
    box, crowd = box_of_a_crowd()
    box.page.add_message(crowd.group, at=NOW - 2 * DAY, text="two days ago")
    files = local(tmp_path)
    with box:
        export(box, store_of(files), until=NOW - DAY, **without(crowd.alone.id))
    assert crowd.group in by_id(files, "conversations")
    assert not [one for one in files.records("messages") if one["_conversation_id"] == crowd.group]


def test_in_a_group_goes_what_they_alone_made_or_may_have_written(tmp_path: Path) -> None:
    """A reaction of nobody else, the snippet, a name that has theirs in it, and messages of which nobody tells who sent them."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path / "export")
    with box:
        newest = box.page.thread(crowd.group).messages[0]
        box.page.unsend(box.page.thread(crowd.group).messages[2].id, leaves="bare")
        assert box.page.thread_node(box.page.thread(crowd.group))["snippet"]
        manifest = export(box, store_of(files), **without(crowd.alone.id))
    conversation = by_id(files, "conversations")[crowd.group]
    assert not {"snippet", "name"} & conversation.keys()
    assert [one["id"] for one in conversation["participants"]["data"]] == [box.page.id, crowd.other.id]
    assert conversation["former_participants"] == {"data": []}
    messages = [one for one in files.records("messages") if one["_conversation_id"] == crowd.group]
    assert len(messages) == 2
    answer = next(one for one in messages if one["id"] == newest.id)
    assert answer["reactions"] == {
        "data": [{"reaction": "love", "users": [{"id": "7000000000000001", "name": "Outsider One"}]}]
    }
    assert [one["name"] for one in answer["tags"]["data"]] == ["inbox", "Outsider Two"]
    assert answer["attachments"]["data"][0]["image_data"] == {"taken_by": [], "width": 1, "height": 1}
    assert answer["story"] == {"mention": {"id": "900000000000003"}}
    assert manifest["messages_expected"] == manifest["messages"]


def test_who_is_left_out_is_counted_nowhere(tmp_path: Path) -> None:
    """Not as unavailable, not as incomplete, and no id of a thread of theirs is named."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path / "export")
    with box:
        box.rules.message_count = "wrong"  # one too high: every thread lacks a message
        manifest = export(box, store_of(files), **without(crowd.alone.id))
        assert len(manifest["conversations_incomplete_ids"]) == manifest["conversations_incomplete"] > 5
        assert crowd.own_thread not in json.dumps(manifest)
        assert crowd.alone.id not in json.dumps(manifest)
    assert_counts_are_of_the_files(files)


@each_format
def test_who_is_named_only_by_a_later_try_is_not_published_either(how: dict[str, Any], tmp_path: Path) -> None:
    """Killed anywhere, and then with a list that grew: what was staged before is gone through once more."""
    with every_step_saved():
        box, crowd = box_of_a_crowd()
        with box:
            options = {"page_size": 5, **how}
            count = Breaking(store_of(local(tmp_path / "count")))
            whole = export(box, count, **options)
            expected = local(tmp_path / "expected")
            told_at_once = export(box, store_of(expected), **without(crowd.alone.id), **options)
            staged = 0
            for at in range(3, count.count, 5):
                files = local(tmp_path / str(at))
                with suppress(Broken):  # which one of a few operations comes last is chance
                    export(box, Breaking(store_of(files), at), **options)
                staged += bool(search(tmp_path / str(at) / "_staging", {crowd.alone.id}))
                if files.manifests():
                    continue
                manifest = export(box, store_of(files), **without(crowd.alone.id), **options)
                assert_left_out(files, box, crowd)
                assert search(tmp_path / str(at), told(crowd.alone)) == set()
                assert_tidy(files)
                for name in ("conversations", "messages", "messages_unavailable", "messages_expected"):
                    assert manifest[name] == told_at_once[name] < whole[name] or name == "messages_unavailable"
                    assert manifest[name] == told_at_once[name]
                assert by_id(files, "messages").keys() == by_id(expected, "messages").keys()
            assert staged > 3


def test_a_thread_that_was_half_read_when_its_person_was_named_goes_as_well(tmp_path: Path) -> None:
    """Messages of it are staged, bare ones too, and its own record is not: it is not read on, and nothing of it is published."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 3}, messages=200, short_messages=2, long_every=3) as box:
        thread = next(one for one in box.page.threads() if len(one.messages) == 200)
        with every_step_saved():
            with pytest.raises(Broken):
                export(box, Breaking(store_of(files), 14), page_size=10)
            assert any(document["readings"] for document in checkpoints(files))
            assert no_call_is_left(20)
            box.forget()
            for number in (1, 2):
                with pytest.raises(Broken):
                    export(box, Breaking(store_of(files), 3 + 2 * number), page_size=10, **without(thread.person.id))
            manifest = export(box, store_of(files), page_size=10, **without(thread.person.id))
    assert [call for call in box.requests if call.edge == "messages"] == []
    assert (manifest["conversations"], manifest["messages"], manifest["messages_expected"]) == (2, 4, 4)
    assert thread.id not in {one["_conversation_id"] for one in files.records("messages")}
    assert_counts_are_of_the_files(files)
    assert search(tmp_path, told(thread.person)) == set()
    assert_tidy(files)


@each_format
@pytest.mark.parametrize("hides", [{}, pseudonyms()], ids=["plain", "pseudonymised"])
def test_what_is_carried_over_is_filtered(how: dict[str, Any], hides: dict[str, Any], tmp_path: Path) -> None:
    """Whatever format it was in, and where the published ids are pseudonyms."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path / "export")
    other = next(one for one in FORMATS if one != how)
    with box:
        export(box, store_of(files), **hides, **other)
        before = by_id(files, "messages")
        box.page.delete_thread(crowd.own_thread)
        box.page.delete_thread(crowd.group)
        manifest = export(box, store_of(files), run="run-2", **hides, **how, **without(crowd.alone.id))
    after = by_id(files, "messages")
    carried = [one for one in after.values() if one["_carried"]]
    assert {one["_conversation_id"] for one in carried} == {crowd.group}
    assert len(carried) == manifest["messages_carried"] == 2
    assert all(one["message"] == before[one["id"]]["message"] for one in carried)
    [group] = [one for one in files.records("conversations") if one["_carried"]]
    assert group["id"] == crowd.group
    words = told(crowd.alone) | {hashed(one) for one in told(crowd.alone)}
    assert search(tmp_path, words) == set()
    assert_counts_are_of_the_files(files)
    assert_tidy(files)


def test_killed_while_it_carries_over_it_takes_in_a_list_that_grew(tmp_path: Path) -> None:
    """A file that an earlier try has gone through is gone through again where somebody in it is to be left out now."""
    box, crowd = box_of_a_crowd()
    with box:
        first = local(tmp_path / "first")
        export(box, store_of(first))
        published = first.snapshot()
        box.page.delete_thread(crowd.own_thread)
        box.page.delete_thread(crowd.group)
        count = Breaking(store_of(first))
        export(box, count, run="run-2")
        met = 0
        for at in range(1, count.count):
            files = local(tmp_path / str(at))
            for name, content in published.items():
                files.write(name, content)
            with suppress(Broken):
                export(box, Breaking(store_of(files), at), run="run-2")
            met += any("/carried-" in name for name in files.names("_staging"))
            if any(one["run_key"]["run_id"] == "run-2" for one in files.manifests().values()):
                continue
            export(box, store_of(files), run="run-2", **without(crowd.alone.id))
            assert search(tmp_path / str(at), told(crowd.alone)) == set()
            assert {one["_conversation_id"] for one in files.records("messages") if one["_carried"]} == {crowd.group}
            assert_counts_are_of_the_files(files)
            assert_tidy(files)
        assert met > 3


def test_who_is_taken_off_the_list_is_back_with_the_next_export(tmp_path: Path) -> None:
    """The list decides nothing else: it may change at any time."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path / "export")
    with box:
        export(box, store_of(files), **without(crowd.alone.id))
        export(box, store_of(files), run="run-2")
        owes = owed(box.data(), "inbox")
    assert by_id(files, "messages").keys() == owes.messages.keys()


@pytest.mark.parametrize("fields", [{"conversation_fields": ("id",)}, {"message_fields": ("id", "message")}])
def test_an_export_of_which_nobody_can_tell_who_is_in_it_is_not_carried_over_from(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    """It may hold who is to be left out: refused before the first call."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 5}, messages=2) as box:
        person = next(box.page.threads()).person
        export(box, store_of(files), **fields)
        box.forget()
        with pytest.raises(
            DumpRefused, match=r"exclude_user_ids leaves out of it: use another destination, or overwrite"
        ):
            export(box, store_of(files), run="run-2", **without(person.id))
        assert box.requests == []
        export(box, store_of(files), run="run-2", overwrite=True, **without(person.id))


@pytest.mark.parametrize("refused", [{"UnifiedThread": ["participants"]}, {"Message": ["from"]}])
def test_an_export_that_the_api_does_not_tell_who_is_who_ends(refused: dict[str, list[str]], tmp_path: Path) -> None:
    """To go on without the field, as with others, would publish who is to be left out."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 5}, messages=2) as box:
        box.rules.refused_fields = refused
        person = next(box.page.threads()).person
        with pytest.raises(GraphFieldError):
            export(box, store_of(files), **without(person.id))
    assert files.manifests() == {}


def test_on_instagram_a_thread_goes_whole_although_the_account_is_not_known_by_its_id(tmp_path: Path) -> None:
    """A thread has one person there, and the other is the account."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, instagram=8, messages=3) as box:
        person = next(box.page.threads()).person
        manifest = export(box, store_of(files), "all", platform="instagram", **without(person.id))
    assert (manifest["conversations"], manifest["messages"]) == (7, 14)
    assert search(tmp_path, {person.id, person.username}) == set()


@given(st.dictionaries(st.sampled_from(["id", "from", "to", "name", "participants", "new_thing"]), NODES))
@settings(max_examples=300, deadline=None)
def test_from_any_node_they_are_taken_out(node: dict[str, Any]) -> None:
    """At whatever depth, and once is enough; where they are not in it, it is the very same."""
    node = {**node, "id": "t_11111111"}
    left = LeftOut(frozenset({"11111111"}), frozenset({"33333333"}))
    for stream in (CONVERSATIONS, MESSAGES):
        made = left.take_out(stream, node)
        assert "11111111" not in json.dumps({key: value for key, value in made.items() if key != "id"})
        assert left.take_out(stream, made) is made
        if "11111111" not in json.dumps({**node, "id": ""}):
            assert made is node
    left.goes(node, shared=False)
    left.goes_whole(node)
