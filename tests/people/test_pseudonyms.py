"""With `pseudonymize`, what identifies people is a keyed hash wherever it stands, and the Page stays readable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.people import Pseudonyms
from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import (
    DAY,
    NOW,
    Breaking,
    Broken,
    assert_tidy,
    bare,
    every_step_saved,
    export,
    exporting,
    go,
    owed,
    store_of,
)
from tests.people.crowd import (
    ALL,
    FORMATS,
    KEY,
    Looking,
    box_of_a_crowd,
    by_id,
    each_format,
    everybody,
    hashed,
    pseudonyms,
    scratch_in,
    search,
)
from tests.servers.destinations import local


@each_format
def test_nobody_is_readable_at_any_instant_and_everybody_has_one_value(how: dict[str, Any], tmp_path: Path) -> None:
    """Participants, senders, reactions, tags, undocumented nodes: not in the data, in staging, or on the worker's disk."""
    box, crowd = box_of_a_crowd()
    files, scratch = local(tmp_path / "export"), tmp_path / "scratch"
    with box, every_step_saved(), scratch_in(scratch):
        words, looks = everybody(box), []

        def look() -> None:
            looks.append(search(scratch, words) | search(tmp_path / "export", words))

        one = exporting(box, Looking(store_of(files), look), ("inbox",), page_size=5, **pseudonyms(), **how)
        manifest = go(one, box.clock)
    assert len(looks) > 20
    assert set().union(*looks) == set()
    assert search(tmp_path, words) == set()
    assert manifest["pseudonymize"] == list(ALL)
    assert KEY.decode() not in json.dumps(manifest)
    group = by_id(files, "conversations")[crowd.group]
    value = {"id": hashed(crowd.alone.id), "name": hashed(crowd.alone.name), "email": hashed(crowd.alone.email.lower())}
    assert value in group["participants"]["data"]
    alone = by_id(files, "conversations")[crowd.own_thread]
    assert value in alone["participants"]["data"]
    messages = [one for one in files.records("messages") if one["_conversation_id"] == crowd.group]
    assert sum(one["from"] == value for one in messages) == 1
    assert {user["id"] for one in messages for row in one["reactions"]["data"] for user in row["users"]} == {
        hashed("7000000000000001"), value["id"], hashed(crowd.other.id)
    }  # fmt: skip


@each_format
def test_what_names_nobody_stays_as_it_is(how: dict[str, Any], tmp_path: Path) -> None:
    """The Page, ids of conversations and messages, files, posts, tags, texts, and every other value."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path / "export")
    with box:
        export(box, store_of(files), **pseudonyms(), **how)
        owes, page = owed(box.data(), "inbox"), box.page.as_person().as_sender("messenger")
    conversations, messages = by_id(files, "conversations"), by_id(files, "messages")
    assert set(conversations) == set(owes.conversations)
    assert set(messages) == set(owes.messages)
    people = {"participants", "senders", "former_participants", "name"}
    for name, node in owes.conversations.items():
        assert page in conversations[name]["participants"]["data"]
        same = {key: value for key, value in node.items() if key not in people}
        assert same.items() <= bare(conversations[name]).items()
    people = {"from", "to", "reactions", "tags", "attachments", "shares", "story"}
    for name, node in owes.messages.items():
        same = {key: value for key, value in node.items() if key not in people}
        assert same.items() <= bare(messages[name]).items()
        assert bare(messages[name]).keys() == node.keys()
    answer = next(one for one in messages.values() if one.get("message") == "good evening")
    assert answer["from"] == page
    assert [one["name"] for one in answer["tags"]["data"]] == [
        "inbox", hashed(crowd.alone.name), hashed("Outsider Two")
    ]  # fmt: skip
    [file], [post] = answer["attachments"]["data"], answer["shares"]["data"]
    assert (file["id"], file["name"], post["id"], post["name"]) == (
        "900000000000001", "a file.pdf", "900000000000002", "a post"
    )  # fmt: skip
    mention = answer["story"]["mention"]
    assert mention["id"] == "900000000000003"
    assert mention["link"] == f"https://example.com/{hashed(crowd.alone.id)}/story"


def test_the_same_person_has_the_same_value_in_every_window_and_folder_and_on_every_page(tmp_path: Path) -> None:
    """It hangs on the secret and the value alone, not on where it stands."""
    values = set()
    for seed, page_id in ((1, "100200300400500"), (2, "100200300400501")):
        with Sandbox(seed=seed, conversations=0, page_id=page_id) as box:
            for folder in ("inbox", "spam"):
                box.page.new_thread(folder, messages=1)
                thread = next(one for one in box.page.threads() if one.folder == folder)
                thread.fields["participants"]["data"][0] = {"id": "1", "name": "Ana", "email": " Ana@Mail.example "}
                files = local(tmp_path / page_id / folder)
                export(box, store_of(files), folder, **pseudonyms())
                [record] = files.records("conversations")
                values.add(json.dumps(record["participants"]["data"][0], sort_keys=True))
    assert values == {json.dumps({"email": hashed("ana@mail.example"), "id": hashed("1"), "name": hashed("Ana")})}


def test_on_instagram_user_names_are_hidden_where_they_name_the_thread_too(tmp_path: Path) -> None:
    """The account stays readable by the id that it has there."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, instagram=8, messages=3) as box:
        own, words = box.page.instagram_id, {thread.person.username for thread in box.page.threads()}
        words |= {thread.person.id for thread in box.page.threads()}
        how = {"platform": "instagram", "own_ids": (own,), **pseudonyms("username", "id")}
        export(box, store_of(files), "all", **how)
    assert search(tmp_path, words) == set()
    for record in files.records("conversations"):
        person, account = record["participants"]["data"]
        assert account == {"username": "sandbox.page", "id": own}
        assert record["name"] == person["username"]


@pytest.mark.parametrize("field", ALL)
def test_only_what_is_named_is_hidden(field: str, tmp_path: Path) -> None:
    """Each of the four by itself; an id is hidden in the addresses that Meta makes of it as well."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path / "export")
    with box:
        export(box, store_of(files), **pseudonyms(field))
    person = by_id(files, "conversations")[crowd.own_thread]["participants"]["data"][0]
    plain = {"id": crowd.alone.id, "name": crowd.alone.name, "email": crowd.alone.email}
    for key, value in plain.items():
        made = hashed(value.lower() if key == "email" else value)
        if key == "email" and field == "id":
            made = value.replace(crowd.alone.id, hashed(crowd.alone.id))
        assert person[key] == (made if key == field or (key == "email" and field == "id") else value)


@each_format
def test_killed_anywhere_it_goes_on_to_the_same_records(how: dict[str, Any], tmp_path: Path) -> None:
    """What waits half read is hidden once, and not once more by the next try."""
    box, _ = box_of_a_crowd()
    with box, every_step_saved():
        options = {"page_size": 5, **pseudonyms(), **how}
        whole = local(tmp_path / "whole")
        export(box, store_of(whole), **options)
        count = Breaking(store_of(local(tmp_path / "count")))
        export(box, count, **options)
        for at in range(3, count.count, 7):
            files = local(tmp_path / str(at))
            with suppress(Broken):
                export(box, Breaking(store_of(files), at), **options)
            assert search(tmp_path / str(at), everybody(box)) == set()
            export(box, store_of(files), **options)
            assert_tidy(files)
            for stream in ("conversations", "messages"):
                assert _bare(by_id(files, stream)) == _bare(by_id(whole, stream))


def _bare(records: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {name: bare(record) for name, record in records.items()}


@each_format
def test_what_is_carried_over_is_as_it_was_published(how: dict[str, Any], tmp_path: Path) -> None:
    """Hidden once, with the same secret, whatever format it was in."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path / "export")
    other = next(one for one in FORMATS if one != how)
    with box:
        export(box, store_of(files), **pseudonyms(), **other)
        before = by_id(files, "conversations")[crowd.own_thread]
        box.page.delete_thread(crowd.own_thread)
        manifest = export(box, store_of(files), run="run-2", **pseudonyms(), **how)
        assert search(tmp_path, everybody(box) | {crowd.alone.id, crowd.alone.name}) == set()
    after = by_id(files, "conversations")[crowd.own_thread]
    assert manifest["conversations_carried"] == 1
    assert after == {**before, "_carried": True}


REFUSED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, pseudonyms(), "has nothing of people pseudonymised, and this one name, email, username, id"),
    (pseudonyms(), {}, "has name, email, username, id of people pseudonymised, and this one nothing"),
    (pseudonyms("name"), pseudonyms("name", "id"), "has name of people pseudonymised, and this one name, id"),
    (pseudonyms(), {**pseudonyms(), "pseudonym_key": b"another"}, "was pseudonymised with another pseudonym_secret"),
]


@pytest.mark.parametrize("before, now, says", REFUSED)
def test_to_replace_an_export_that_hides_people_differently_is_refused(
    before: dict[str, Any], now: dict[str, Any], says: str, tmp_path: Path
) -> None:
    """Before the first call, in a sentence with the way out; `overwrite` takes it, and keeps nothing."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 5}, messages=2) as box:
        export(box, store_of(files), **before)
        box.forget()
        snapshot = files.snapshot()
        with pytest.raises(DumpRefused, match=says) as caught:
            export(box, store_of(files), run="run-2", **now)
        assert "overwrite=True" in str(caught.value)
        assert KEY.decode() not in str(caught.value)
        assert box.requests == []
        assert files.snapshot() == snapshot
        export(box, store_of(files), run="run-2", overwrite=True, **now)
    assert_tidy(files)


def test_another_secret_from_a_day_on_is_warned_of(tmp_path: Path) -> None:
    """Nothing is replaced, but who joins the days takes one person for two; another destination, or none, is no news."""
    files = local(tmp_path / "export")
    days = [{"since": NOW - number * DAY, "until": NOW - (number - 1) * DAY} for number in (4, 3, 2, 1)]
    with Sandbox(conversations=0, folders={"inbox": 5}, messages=2, now=NOW) as box:
        export(box, store_of(files), **days[0])
        warned = []
        for day, key in zip(days[1:], (b"one", b"another", b"another"), strict=True):
            warned.append(export(box, store_of(files), **day, pseudonymize=("id",), pseudonym_key=key)["warnings"])
    assert [any("with another pseudonym_secret" in one for one in some) for some in warned] == [False, True, False]


def test_a_try_with_another_secret_does_not_go_on_with_what_the_first_has_staged(tmp_path: Path) -> None:
    """Else one person would have two values in one window."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 30}, messages=2) as box, every_step_saved():
        store = Breaking(store_of(files), 12)
        with pytest.raises(Broken):
            export(box, store, page_size=5, **pseudonyms())
        export(box, store_of(files), page_size=5, **{**pseudonyms(), "pseudonym_key": b"another"})
        people = {one["id"] for record in files.records("conversations") for one in record["participants"]["data"]}
        expected = {hashed(thread.person.id, b"another") for thread in box.page.threads()}
    assert people == expected | {box.page.id}


def test_one_person_s_export_names_them_by_their_pseudonym(tmp_path: Path) -> None:
    """In the manifest, and in the sentence that keeps others out of their data set."""
    files = local(tmp_path / "export")
    box, crowd = box_of_a_crowd()
    with box:
        manifest = export(box, store_of(files), user_id=crowd.alone.id, **pseudonyms())
        assert manifest["user_id"] == hashed(crowd.alone.id)
        assert manifest["conversations"] == 2
        export(box, store_of(files), user_id=crowd.alone.id, run="run-2", **pseudonyms())
        with pytest.raises(DumpRefused) as caught:
            export(box, store_of(files), run="run-3", **pseudonyms())
    assert crowd.alone.id not in str(caught.value)
    assert search(tmp_path, {crowd.alone.id}) == set()


PEOPLE = st.recursive(
    st.none() | st.booleans() | st.integers(0, 99999999) | st.sampled_from(["", "Ana", "12345678", "ana@mail.example"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "name", "email", "username", "users", "user_id", "data", "from", "tags", "else"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["id", "from", "to", "name", "tags", "story", "new_thing"]), PEOPLE))
@settings(max_examples=300, deadline=None)
def test_any_node_keeps_its_shape(node: dict[str, Any]) -> None:
    """The same keys and lists, and texts in place of what is hidden; nothing that comes makes it stumble."""
    made = Pseudonyms(KEY, frozenset(ALL), frozenset({"1"})).hide(node)
    _assert_same_shape(node, made)
    assert made.get("id") == node.get("id")


def _assert_same_shape(before: Any, after: Any) -> None:
    if isinstance(before, dict):
        assert before.keys() == after.keys()
        for key in before:
            _assert_same_shape(before[key], after[key])
    elif isinstance(before, list):
        assert len(before) == len(after)
        for one, other in zip(before, after, strict=True):
            _assert_same_shape(one, other)
    else:
        assert after == before or (isinstance(after, str) and len(after) >= 64)
