"""An export holds what is on the Page, all of it and nothing else, at the least number of calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv import __version__
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.dump.exporting import (
    DAY,
    FOLDERS,
    MARKS,
    NOW,
    assert_holds,
    assert_tidy,
    bare,
    export,
    export_in_time,
    exporting,
    least_calls,
    owed,
    raw_lines,
    run_key,
    store_of,
)
from tests.servers.destinations import Destination, local

UNDATED = (
    "{} messages of {} conversation came without a time, so that nobody can tell what belongs into the window: left out. "
    "The API gives details of the 20 newest messages of a conversation only; shorter windows help."
)


@pytest.fixture(scope="module")
def big_box() -> Iterator[Sandbox]:
    """2,000 conversations in four folders, 30 messages in every tenth, among them what is hard to write down."""
    with Sandbox(seed=11, conversations=2000, messages=30, long_every=10, short_messages=2) as box:
        texts = ["a\u2028b\u2029c\x85d", "ñandú 👟 e\u0301", "half \ud83d a pair", "\x00\x1f\x7f\r\n\t", '"\\/']
        for text, thread in zip(texts, list(box.page.threads())[5:], strict=False):
            box.page.add_message(thread.id, text=text, at=thread.updated)
        yield box


def test_records_are_those_of_the_page_and_the_calls_are_the_least(
    big_box: Sandbox, destination_files: Destination
) -> None:
    """Every conversation and message of four folders, by id and content, on a local folder and on S3."""
    big_box.forget()
    data = big_box.data()
    outcomes = exporting(big_box, store_of(destination_files), FOLDERS).run()

    assert_holds(destination_files, owed(data))
    assert_tidy(destination_files)
    by_folder = {
        folder: sum(call.params.get("folder") == folder for call in big_box.requests if call.edge == "conversations")
        for folder in FOLDERS
    }
    threads = {thread["node"]["id"]: thread["folder"] for thread in data["threads"]}
    for call in big_box.requests:
        if call.edge == "messages":
            by_folder[threads[call.path.split("/")[2]]] += 1
    assert by_folder == {folder: least_calls(data, folder) for folder in FOLDERS}
    assert [outcome.manifest["api_calls"] for outcome in outcomes] == list(by_folder.values())
    assert {call.method for call in big_box.requests} == {"GET"}
    content = b"".join(destination_files.read(name) for name in destination_files.names())
    assert b'"paging"' not in content


def test_a_record_is_the_node_and_the_export_s_own_keys(big_box: Sandbox, tmp_path: Path) -> None:
    """Page, platform, folder, when, by which export, and two marks that are always there; on messages their thread too."""
    files = local(tmp_path / "export")
    before = datetime.now(timezone.utc)
    manifest = export(big_box, store_of(files), "spam")
    conversations, messages = files.records("conversations"), files.records("messages")
    assert conversations
    assert messages
    for record in conversations + messages:
        own = {name for name in record if name.startswith("_")}
        assert own - {"_conversation_id"} == MARKS
        assert ("_conversation_id" in record) == (record in messages)
        assert record["_page_id"] == big_box.page.id
        assert record["_platform"] == "messenger"
        assert record["_folder"] == "spam"
        assert record["_export_id"] == manifest["export_id"]
        assert record["_fetched_at"].endswith("Z")
        fetched = datetime.fromisoformat(record["_fetched_at"].replace("Z", "+00:00"))
        assert before - timedelta(seconds=1) < fetched < datetime.now(timezone.utc) + timedelta(seconds=1)
        assert record["_carried"] is False
    assert {record["_unavailable"] for record in conversations} == {False}
    for record in messages:
        assert record["_unavailable"] is ("from" not in record)
    assert manifest["messages_unavailable"] == sum(record["_unavailable"] for record in messages) > 0


def test_no_line_holds_a_raw_separator(big_box: Sandbox, tmp_path: Path) -> None:
    """What some readers take for the end of a line is escaped, and still reads back as it was."""
    files = local(tmp_path / "export")
    export(big_box, store_of(files), compression="none")
    names = [name for name in files.names("messages") if name.endswith(".jsonl")]
    for name in names:
        content = files.read(name)
        assert content.endswith(b"}\n")
        for separator in ("\u2028", "\u2029", "\x85"):
            assert separator.encode() not in content
        assert b"\r" not in content
        assert len(content.decode("utf-8").splitlines()) == content.count(b"\n")
    texts = {record.get("message") for record in files.records("messages")}
    everywhere = {
        message["message"] for message in owed(big_box.data(), "inbox").messages.values() if "message" in message
    }
    assert texts - {None} == everywhere
    assert any("\u2028" in (text or "") for text in texts)


@pytest.mark.parametrize("details", ["bare", "dated", "all"])
def test_messages_beyond_the_newest_twenty_are_exported_as_far_as_the_api_gives_them(
    details: str, tmp_path: Path
) -> None:
    """Whether they come as bare ids, with their time, or whole; the manifest counts those without details."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 12}, messages=60, long_every=3, now=NOW, details=details) as box:
        manifest = export(box, store_of(files), page_size=10)
        assert_holds(files, owed(box.data()))
        assert len(box.requests) == least_calls(box.data(), "inbox", 10)
    assert manifest["messages"] == 4 * 60 + 8 * 2
    assert manifest["messages_unavailable"] == (0 if details == "all" else 4 * 40)
    assert sum(record["_unavailable"] for record in files.records("messages")) == manifest["messages_unavailable"]


def test_instagram_is_one_list_for_which_no_folder_is_sent(tmp_path: Path) -> None:
    """It lies in ``folder=all``, and Messenger's threads are not in it."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=20, instagram=250, messages=30, now=NOW) as box:
        manifest = export(box, store_of(files), "all", platform="instagram")
        owes = owed(box.data(), platform="instagram")
        asked = list(box.requests)
        least = least_calls({"threads": [one for one in box.data()["threads"] if one["folder"] == "all"]}, "all")
    assert_holds(files, owes)
    assert len(asked) == least
    assert {call.params["platform"] for call in asked if call.edge == "conversations"} == {"instagram"}
    assert not any("folder" in call.params for call in asked)
    assert (manifest["platform"], manifest["folder"], manifest["conversations"]) == ("instagram", "all", 250)
    assert all(
        "/platform=instagram/" in entry["path"] and "/folder=all/" in entry["path"] for entry in manifest["files"]
    )


def test_without_messages_only_conversations_are_exported(tmp_path: Path) -> None:
    """No message is asked for, and there is no file of them."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 250}, now=NOW) as box:
        manifest = export(box, store_of(files), messages=False)
        assert_holds(files, owed(box.data(), messages=False))
        assert len(box.requests) == 4
        assert not any("messages" in call.params["fields"] for call in box.requests)
    assert {entry["stream"] for entry in manifest["files"]} == {"conversations"}
    assert (manifest["conversations"], manifest["messages"], manifest["fields"]["messages"]) == (250, 0, None)


def test_own_fields_are_asked_for_and_with_them_id_time_and_count(tmp_path: Path) -> None:
    """A choice of fields is kept to, but for what the export itself needs."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 5}, now=NOW) as box:
        manifest = export(
            box, store_of(files), conversation_fields=("participants{id}", "link"), message_fields=("message",)
        )
    assert manifest["fields"] == {
        "conversations": ["id", "updated_time", "message_count", "participants{id}", "link"],
        "messages": ["id", "created_time", "message"],
    }
    for record in files.records("conversations"):
        assert set(bare(record)) == {"id", "updated_time", "message_count", "participants", "link"}
        assert all(set(person) == {"id"} for person in record["participants"]["data"])
    for record in files.records("messages"):
        assert set(bare(record)) <= {"id", "created_time", "message"}
        assert record["_unavailable"] is False
    assert manifest["messages_unavailable"] == 0
    assert manifest["warnings"] == [
        "message_fields has no 'from': nobody can tell which messages came without their details."
    ]


def test_a_documented_field_that_is_refused_is_left_out_and_named(tmp_path: Path) -> None:
    """One warning each, in the manifest, and the rest is there."""
    files = local(tmp_path / "export")
    refused = {"UnifiedThread": ["wallpaper"], "Message": ["story"]}
    with Sandbox(conversations=0, folders={"inbox": 5}, now=NOW, refused_fields=refused, details="all") as box:
        manifest = export(box, store_of(files))
    assert len(files.records("conversations")) == 5
    assert manifest["dropped_fields"] == ["conversations.wallpaper", "messages.story"]
    assert manifest["warnings"] == [
        "The API refuses the documented field 'conversations.wallpaper': it was left out.",
        "The API refuses the documented field 'messages.story': it was left out.",
    ]
    assert "wallpaper" not in manifest["fields"]["conversations"]
    assert "story" not in manifest["fields"]["messages"]


def test_inner_lists_that_have_a_further_page_are_counted(tmp_path: Path) -> None:
    """What was not fetched of attachments and reactions is said, and their links are not in the records."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 30}, now=NOW, crowded_every=3, details="all") as box:
        manifest = export(box, store_of(files))
        crowded = sum(
            len(message.get("attachments", {}).get("data", ())) > 25
            for thread in box.data()["threads"]
            for message in thread["visible"]
        )
    assert crowded
    assert manifest["truncated_edges"] == {"messages.attachments": crowded, "messages.reactions": crowded}
    assert (
        f"{crowded} lists at 'messages.attachments' had further pages, which were not fetched." in manifest["warnings"]
    )
    assert not any(b"paging" in files.read(name) for name in files.names("_manifests"))
    for record in files.records("messages"):
        assert "paging" not in json.dumps(record)


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_parts_roll_and_the_manifest_tells_the_truth_of_each(compression: str, destination_files: Destination) -> None:
    """Records, bytes and SHA-256 of every file are those of the file; no part holds more than asked for.

    A checkpoint closes the parts, so some hold less.
    """
    with Sandbox(conversations=0, folders={"inbox": 130}, messages=30, long_every=5, now=NOW) as box:
        manifest = export(box, store_of(destination_files), max_part_records=40, compression=compression)
        assert_holds(destination_files, owed(box.data()))
    suffix = ".jsonl.gz" if compression == "gzip" else ".jsonl"
    by_stream: dict[str, list[int]] = {"conversations": [], "messages": []}
    for entry in manifest["files"]:
        content = destination_files.read(entry["path"])
        assert entry["bytes"] == len(content)
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["records"] == len(raw_lines(content, entry["path"]))
        assert entry["path"].endswith(suffix)
        assert set(entry) == {"path", "stream", "records", "bytes", "sha256"}
        by_stream[entry["stream"]].append(entry["records"])
    assert max(by_stream["conversations"]) == max(by_stream["messages"]) == 40
    assert (sum(by_stream["conversations"]), sum(by_stream["messages"])) == (130, manifest["messages"])
    paths = [entry["path"] for entry in manifest["files"]]
    assert len(set(paths)) == len(paths)
    assert_tidy(destination_files)


def test_the_manifest_says_what_was_exported_how_and_at_what_cost(tmp_path: Path) -> None:
    """Every key that readers hold on to."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"other": 3}, now=NOW) as box:
        manifest = export(box, store_of(files), "other", since=NOW - 40 * DAY, until=NOW)
        page_id = box.page.id
    place = f"platform=messenger/page_id={page_id}/folder=other"
    window = "window=20261012T100000Z--20261121T100000Z"
    ((name, published),) = files.manifests().items()
    assert name == f"_manifests/{place}/{window}.json"
    assert published == manifest
    paths = {entry["stream"]: entry["path"] for entry in manifest["files"]}
    assert set(paths) == {"conversations", "messages"}
    for stream, path in paths.items():
        prefix = f"{stream}/{place}/{window}/{manifest['export_id']}-"
        assert path.startswith(prefix)
        assert path.endswith("-00000.jsonl.gz")
        assert path.removeprefix(prefix).removesuffix("-00000.jsonl.gz").isalnum()
    expected: dict[str, Any] = {
        "manifest_version": 1,
        "run_key": run_key(),
        "page_id": page_id,
        "platform": "messenger",
        "folder": "other",
        "user_id": None,
        "since": "2026-10-12T10:00:00Z",
        "until": "2026-11-21T10:00:00Z",
        "conversations": 3,
        "messages": 34,
        "messages_unavailable": 10,
        "messages_undated": 0,
        "conversations_unavailable": 0,
        "conversations_incomplete": 0,
        "file_format": "jsonl",
        "compression": "gzip",
        "graph_version": "v26.0",
        "api_calls": 2,
        "waited_seconds": 0.0,
        "started_at": "2026-11-21T10:00:00Z",
        "finished_at": "2026-11-21T10:00:00Z",
        "warnings": [],
        "provider_version": __version__,
    }
    # The thread of 30 messages has ten without a time; the window has a beginning, and so they are not exported.
    expected.update(messages=24, messages_unavailable=0, messages_undated=10, warnings=[UNDATED.format(10, 1)])
    assert {key: manifest[key] for key in expected} == expected
    assert {"export_id", "files", "fields"} <= set(manifest)


def test_an_empty_folder_and_an_empty_page_have_a_manifest_without_files(destination_files: Destination) -> None:
    """Nothing found is a result: counts of 0, one call for each folder."""
    with Sandbox(conversations=0) as box:
        outcomes = exporting(box, store_of(destination_files), FOLDERS).run()
        assert len(box.requests) == 4
    assert len(destination_files.manifests()) == 4
    for manifest in destination_files.manifests().values():
        assert manifest["files"] == []
        assert (manifest["conversations"], manifest["messages"], manifest["api_calls"]) == (0, 0, 1)
    assert [outcome.numbers()["files"] for outcome in outcomes] == [0] * 4
    assert_tidy(destination_files)


def test_a_person_s_conversations_alone_are_exported(tmp_path: Path) -> None:
    """``user_id`` goes to the API, and the manifest names it."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 40}, now=NOW) as box:
        person = next(iter(box.page.threads())).person.id
        manifest = export(box, store_of(files), user_id=person)
        mine = [thread for thread in box.page.threads() if thread.person.id == person]
        assert {call.params["user_id"] for call in box.requests if call.edge == "conversations"} == {person}
    assert sorted(record["id"] for record in files.records("conversations")) == sorted(thread.id for thread in mine)
    assert manifest["user_id"] == person


def test_an_unknown_person_has_no_conversations(tmp_path: Path) -> None:
    """An empty result, not an error."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 40}, now=NOW) as box:
        manifest = export(box, store_of(files), user_id="1234567890123456")
    assert (manifest["conversations"], manifest["messages"], manifest["files"]) == (0, 0, [])


@pytest.mark.parametrize(
    "fault",
    [
        Fault("empty", at=1),
        Fault("empty", on="conversations", every=2, times=3),
        Fault("short", every=2),
        Fault("repeat", every=2),
        Fault("too_much_data", size=200),
        Fault("too_much_data", size=3),
        # Five times at most: a sixth might meet the call that met the other five.
        Fault(code=1, every=3, times=5),
        Fault(code=2, every=4, times=5, status=200),
        Fault("html", every=5, times=5),
        Fault("cut", every=6, times=5),
        Fault("not_json", at=2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.code or fault.size or ''}",
)
def test_what_the_api_does_wrong_in_passing_changes_nothing_in_the_result(fault: Fault, tmp_path: Path) -> None:
    """Pages that are empty, short, repeated, too large, cut or no answer at all: the same records."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 70}, messages=60, long_every=9, now=NOW) as box:
        box.faults.add(fault)
        manifest = export_in_time(box, store_of(files), page_size=20)
        assert_holds(files, owed(box.data()))
        assert manifest["api_calls"] == len(box.requests)
        assert fault.fired
    assert_tidy(files)


def test_a_thread_that_goes_away_half_way_keeps_what_was_got(tmp_path: Path) -> None:
    """It carries ``_unavailable``, and the manifest counts it."""
    files = local(tmp_path / "export")
    with Sandbox(conversations=0, folders={"inbox": 4}, messages=60, long_every=1, now=NOW, details="all") as box:
        lost = list(box.page.threads())[1].id
        box.faults.add(Fault("unavailable", thread=lost, at=2))
        manifest = export_in_time(box, store_of(files), page_size=10)
    assert [record["id"] for record in files.records("conversations") if record["_unavailable"]] == [lost]
    assert manifest["conversations_unavailable"] == 1
    assert sum(message["_conversation_id"] == lost for message in files.records("messages")) == 35
    assert manifest["messages"] == 3 * 60 + 35
