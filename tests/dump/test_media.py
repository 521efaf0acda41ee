"""The files behind links: fetched beside the export, published, replaced and carried with its window, and never a reason to fail."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump import downloads
from airflow_provider_pageconv.dump.endings import DumpRefused, LetGo, Stopped
from airflow_provider_pageconv.dump.export import FoldersFailed
from airflow_provider_pageconv.dump.folder import FolderExport
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.graph.errors import GraphAuthError
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.sandbox import Fault, Sandbox, Thread, Trouble
from airflow_provider_pageconv.sandbox.media import content
from tests.dump.exporting import (
    DAY,
    NOW,
    Breaking,
    Broken,
    Meanwhile,
    assert_tidy,
    every_step_saved,
    export,
    exporting,
    go,
    store_of,
)
from tests.servers.destinations import Destination, local

WITH_FILES: dict[str, Any] = {"download_attachments": True}


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A small Page, a tenth of whose messages have files."""
    with Sandbox(conversations=0, folders={"inbox": 60, "other": 3}, now=NOW, media=True, details="all") as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> Destination:
    """A folder to export to."""
    return local(tmp_path / "export")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes is tried again at once."""
    monkeypatch.setattr(downloads, "_PAUSES", (0.01, 0.01, 0.01))


def media(files: Destination) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Each attachment of the published messages that has something beside it, with its message."""
    return [
        (record, row)
        for record in files.records("messages")
        for row in record.get("attachments", {}).get("data", ())
        if "_media" in row
    ]


def linked(box: Sandbox, folder: str = "inbox") -> int:
    """How many attachments of a folder's messages have a link to a host of media."""
    found = [
        row
        for thread in box.data()["threads"]
        if thread["folder"] == folder
        for message in thread["messages"]
        for row in message.get("attachments", {}).get("data", ())
    ]
    return sum("appointment" not in row.get("type", "") for row in found)


def assert_files_are_whole(files: Destination) -> None:
    """Each file that a record names is there with what it says, each that a manifest names is named by a record, once."""
    rows = {row["path"]: row for one in files.manifests().values() for row in one["files"] if row["stream"] == "media"}
    named = {row["_media"]["path"]: row["_media"] for _, row in media(files) if "path" in row["_media"]}
    assert set(rows) == set(named)
    assert set(files.names("media")) == set(rows)
    for path, told in named.items():
        data = files.read(path)
        assert hashlib.sha256(data).hexdigest() == told["sha256"] == rows[path]["sha256"]
        assert len(data) == told["bytes"] == rows[path]["bytes"]
        assert rows[path]["records"] == 1
    counted = Counter(row["_media"]["error"] for _, row in media(files) if "error" in row["_media"])
    manifests = files.manifests().values()
    assert sum((Counter(one["media_failed"]) for one in manifests), Counter()) == counted
    assert sum(one["media_files"] for one in manifests) == len(rows)
    assert sum(one["media_bytes"] for one in manifests) == sum(row["bytes"] for row in rows.values())


def attach(box: Sandbox, thread: Thread, number: int, link: str = "", **how: Any) -> Any:
    """Put a message with one picture into a thread."""
    link = link or f"https://lookaside.fbsbx.com/ig_messaging_cdn/?asset_id={number}&signature=1"
    row = {"id": str(number), "mime_type": "image/jpeg", "image_data": {"url": link}}
    return box.page.add_message(thread.id, at=NOW - DAY, fields={"attachments": {"data": [row]}}, **how)


def test_each_attachment_says_where_its_file_lies(box: Sandbox, files: Destination) -> None:
    """With its hash, size and type, below the window's own path."""
    manifest = export(box, store_of(files), **WITH_FILES)
    found = media(files)
    assert len(found) == linked(box) > 5
    where = f"media/platform=messenger/page_id={box.page.id}/folder=inbox/window=all/{manifest['export_id']}-"
    for _, row in found:
        assert row["_media"]["path"].startswith(where)
        assert row["_media"]["path"].rpartition("/")[2].startswith(row["_media"]["sha256"])
        assert row["_media"]["type"] == row.get("mime_type", row["_media"]["type"])
    assert manifest["download_attachments"] == {"max_attachment_bytes": None, "attachment_kinds": None}
    assert not [warning for warning in manifest["warnings"] if "attachments" in warning]
    assert_files_are_whole(files)
    assert_tidy(files)


def test_what_is_not_asked_for_is_not_fetched(box: Sandbox, files: Destination) -> None:
    """No file, no word of one in a record, and counts of nothing."""
    manifest = export(box, store_of(files))
    assert box.media is not None
    assert box.media.asked == []
    assert media(files) == []
    assert (manifest["media_files"], manifest["media_failed"], manifest["download_attachments"]) == (0, {}, None)


def test_no_credential_of_the_api_reaches_those_who_serve_files(box: Sandbox, files: Destination) -> None:
    """Neither the token nor the proof."""
    export(box, store_of(files), **WITH_FILES)
    assert box.media is not None
    assert box.media.asked
    assert box.token not in str(box.media.asked)
    assert not {name for _, headers in box.media.asked for name in headers} & {"authorization", "cookie"}


@pytest.mark.parametrize(
    "trouble, reason, words",
    [
        (Trouble("dead", every=3), "expired", "the link is dead"),
        (Trouble("gone", every=3), "expired", "the link is dead"),
        (Trouble("redirect", every=3), "redirect", "the link leads elsewhere"),
        (Trouble("huge", every=3), "too_large", "larger than max_attachment_bytes"),
        (Trouble("endless", every=3), "too_large", "larger than max_attachment_bytes"),
        (Trouble("short", every=3), "unreachable", "the server was not reached or gave no whole file"),
        (Trouble("busy", every=3), "unreachable", "the server was not reached or gave no whole file"),
        (Trouble("stall", every=3), "too_slow", "the server was too slow"),
        (Trouble("trickle", every=3, seconds=0.3), "too_slow", "the server was too slow"),
    ],
    ids=lambda one: one.kind if isinstance(one, Trouble) else "",
)
def test_what_cannot_be_had_is_counted_with_its_reason_and_the_export_is_whole(
    box: Sandbox, files: Destination, monkeypatch: pytest.MonkeyPatch, trouble: Trouble, reason: str, words: str
) -> None:
    """In one warning; the attachment says it as well, and all others have their files."""
    monkeypatch.setattr("airflow_provider_pageconv.dump.engine.PATIENCE", 0.5)
    monkeypatch.setattr(downloads, "ATTEMPTS", 2)
    assert box.media is not None
    box.media.troubles = [trouble]
    manifest = export(box, store_of(files), max_attachment_bytes=2**20, **WITH_FILES)
    assert set(manifest["media_failed"]) == {reason}
    number = manifest["media_failed"][reason]
    assert 0 < number < linked(box)
    [warning] = [warning for warning in manifest["warnings"] if "attachments" in warning]
    noun = "file" if number == 1 else "files"
    assert warning == f"{number} {noun} of attachments could not be had: {number} ({words})."
    assert manifest["media_files"] == linked(box) - number
    assert_files_are_whole(files)
    assert_tidy(files)


def test_a_kind_that_is_not_wanted_is_not_fetched(box: Sandbox, files: Destination) -> None:
    """By what the attachment says, or the server."""
    manifest = export(box, store_of(files), attachment_kinds=("image/*",), **WITH_FILES)
    kinds = {row["_media"].get("type") for _, row in media(files)}
    assert kinds == {"image/jpeg", None}
    assert set(manifest["media_failed"]) == {"unwanted_kind"}
    assert manifest["media_files"]
    assert_files_are_whole(files)


def test_passing_trouble_is_tried_again(box: Sandbox, files: Destination) -> None:
    """Three times in a row are no reason yet."""
    assert box.media is not None
    box.media.troubles = [Trouble("busy", times=2), Trouble("reset", times=1)]
    manifest = export(box, store_of(files), **WITH_FILES)
    assert manifest["media_failed"] == {}
    assert_files_are_whole(files)


def test_a_link_to_another_host_is_not_followed(box: Sandbox, files: Destination) -> None:
    """Of a picture it counts; of what may be no file, as an appointment, nothing is said."""
    thread = box.page.new_thread("inbox", messages=0, at=NOW - DAY)
    attach(box, thread, 1, "https://example.com/1.jpg")
    attach(box, thread, 2, "http://169.254.169.254/latest/meta-data")
    manifest = export(box, store_of(files), **WITH_FILES)
    assert manifest["media_failed"] == {"foreign_host": 2}
    assert not [row for _, row in media(files) if row.get("type") == "appointment_booking"]
    assert_files_are_whole(files)


def test_what_two_messages_have_lies_once_in_the_window(box: Sandbox, files: Destination) -> None:
    """By what it holds, whatever its links are."""
    thread = box.page.new_thread("inbox", messages=0, at=NOW - DAY)
    first, second = attach(box, thread, 71), attach(box, thread, 71)
    export(box, store_of(files), **WITH_FILES)
    paths = {record["id"]: row["_media"]["path"] for record, row in media(files)}
    assert paths[first.id] == paths[second.id]
    assert_files_are_whole(files)


def test_slow_files_slow_no_call_of_the_api(box: Sandbox, files: Destination, monkeypatch: pytest.MonkeyPatch) -> None:
    """The walk is over long before the first of them is given up."""
    monkeypatch.setattr("airflow_provider_pageconv.dump.engine.PATIENCE", 2.0)
    monkeypatch.setattr(downloads, "ATTEMPTS", 1)
    assert box.media is not None
    box.media.troubles = [Trouble("stall", every=2)]
    box.forget()
    began = time.time()
    export(box, store_of(files), page_size=5, **WITH_FILES)
    assert max(request.at for request in box.requests) - began < 2.0
    assert time.time() - began > 2.0


# ---- replaced


def test_the_next_dump_fetches_only_what_is_new(box: Sandbox, files: Destination) -> None:
    """What lies there stays where it is, and is named again."""
    export(box, store_of(files), **WITH_FILES)
    before = {name: files.read(name) for name in files.names("media")}
    assert box.media is not None
    box.media.asked.clear()
    attach(box, next(iter(box.page.threads())), 5)
    manifest = export(box, store_of(files), run="run-2", **WITH_FILES)
    assert len(box.media.asked) == 1
    after = {name: files.read(name) for name in files.names("media")}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1 == manifest["media_files"]
    assert_files_are_whole(files)
    assert_tidy(files)


def test_files_of_messages_that_are_gone_stay_with_them(box: Sandbox, files: Destination) -> None:
    """Carried over, records point to where their files have always been."""
    thread = box.page.new_thread("inbox", messages=1, at=NOW - DAY)
    message = attach(box, thread, 9)
    export(box, store_of(files), **WITH_FILES)
    [path] = [row["_media"]["path"] for record, row in media(files) if record["id"] == message.id]
    box.page.unsend(message.id)
    export(box, store_of(files), run="run-2", **WITH_FILES)
    [(record, row)] = [(record, row) for record, row in media(files) if record["id"] == message.id]
    assert record["_carried"]
    assert row["_media"]["path"] == path
    assert_files_are_whole(files)
    export(box, store_of(files), run="run-3", keep_deleted=False, **WITH_FILES)
    assert path not in files.names()
    assert_files_are_whole(files)
    assert_tidy(files)


def test_what_the_replaced_export_has_is_not_lost_to_a_dead_link(
    box: Sandbox, files: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the new one has tried to fetch it again."""
    export(box, store_of(files), **WITH_FILES)
    assert box.media is not None
    box.media.troubles = [Trouble("dead")]
    monkeypatch.setattr(downloads, "_had_by", lambda *_: None)
    manifest = export(box, store_of(files), run="run-2", **WITH_FILES)
    assert manifest["media_failed"] == {}
    assert manifest["media_files"] == len(files.names("media")) > 0
    assert_files_are_whole(files)


def test_overwriting_fetches_all_of_it_anew(box: Sandbox, files: Destination) -> None:
    """And sweeps up what lay there."""
    export(box, store_of(files), **WITH_FILES)
    before = set(files.names("media"))
    export(box, store_of(files), run="run-2", overwrite=True, **WITH_FILES)
    assert not before & set(files.names("media"))
    assert_files_are_whole(files)
    assert_tidy(files)


def test_an_export_without_files_may_get_them_and_not_the_other_way_round(box: Sandbox, files: Destination) -> None:
    """To replace it by one that fetches none is asking for less, and refused before the first call."""
    export(box, store_of(files))
    export(box, store_of(files), run="run-2", **WITH_FILES)
    assert_files_are_whole(files)
    box.forget()
    with pytest.raises(DumpRefused, match=r"has the files of its attachments, .* say download_attachments=True"):
        export(box, store_of(files), run="run-3")
    assert box.requests == []
    export(box, store_of(files), run="run-4", overwrite=True)
    assert files.names("media") == []
    assert_tidy(files)


def test_a_damaged_file_of_the_replaced_export_refuses_before_the_first_call(box: Sandbox, files: Destination) -> None:
    """As of any other file that it names."""
    export(box, store_of(files), **WITH_FILES)
    files.remove(files.names("media")[0])
    box.forget()
    with pytest.raises(DumpRefused, match="is missing or has another size"):
        export(box, store_of(files), run="run-2", **WITH_FILES)
    assert box.requests == []


@pytest.mark.parametrize("file_format", ["jsonl", "parquet"])
def test_in_either_format_the_same_stands_beside_attachments(
    box: Sandbox, files: Destination, file_format: str
) -> None:
    """Also when one replaces the other."""
    compression = {"jsonl": "gzip", "parquet": "zstd"}
    export(box, store_of(files), file_format=file_format, compression=compression[file_format], **WITH_FILES)
    before = {(record["id"], row["id"]): row["_media"] for record, row in media(files)}
    assert len(before) == linked(box)
    other = "jsonl" if file_format == "parquet" else "parquet"
    export(box, store_of(files), run="run-2", file_format=other, compression=compression[other], **WITH_FILES)
    assert {(record["id"], row["id"]): row["_media"] for record, row in media(files)} == before
    assert_files_are_whole(files)


# ---- interrupted


@contextlib.contextmanager
def dying(box: Sandbox, number: int) -> Iterator[None]:
    """The process ends when the so-many-th file has come; they come one by one, so that checkpoints keep up with them."""
    came = itertools.count(1)
    got = FolderExport.got_file

    def dies(self: FolderExport, *args: Any) -> None:
        got(self, *args)
        time.sleep(0.02)  # a checkpoint that is on its way arrives, and the next one knows of files
        if next(came) == number:
            time.sleep(0.5)
            raise Broken

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FolderExport, "got_file", dies)
        patch.setattr("airflow_provider_pageconv.dump.engine.SIDE_BY_SIDE", 1)
        yield


def test_a_resumed_try_fetches_only_what_no_checkpoint_says(
    box: Sandbox, files: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file once over both tries, but for what came after the last checkpoint."""
    monkeypatch.setattr("airflow_provider_pageconv.dump.engine.SIDE_BY_SIDE", 1)
    with every_step_saved(), dying(box, 9), pytest.raises(Broken):
        export(box, store_of(files), **WITH_FILES)
    assert files.manifests() == {}
    assert files.names("media") == []
    assert box.media is not None
    before = len(box.media.asked)
    manifest = export(box, store_of(files), **WITH_FILES)
    assert manifest["media_failed"] == {}
    assert manifest["media_files"] == linked(box)
    names = [name for name, _ in box.media.asked]
    assert before >= 9
    assert len(names) - len(set(names)) <= 3
    assert_files_are_whole(files)
    assert_tidy(files)


def test_a_link_that_died_between_two_tries_is_counted(box: Sandbox, files: Destination) -> None:
    """What came before is there."""
    with every_step_saved(), dying(box, 15), pytest.raises(Broken):
        export(box, store_of(files), **WITH_FILES)
    assert box.media is not None
    box.media.troubles = [Trouble("dead")]
    manifest = export(box, store_of(files), **WITH_FILES)
    assert manifest["media_failed"]["expired"] + manifest["media_files"] == linked(box)
    assert manifest["media_files"] >= 1
    assert_files_are_whole(files)
    assert_tidy(files)


def test_a_try_that_dies_while_it_publishes_leaves_nothing_behind(box: Sandbox, files: Destination) -> None:
    """Whichever of its copies it was at; names are used once."""
    store = store_of(files)
    seen: set[str] = set()
    for place in range(3, 30, 6):
        with pytest.raises(Broken):
            export(box, Breaking(store, place, only=("copy",)), **WITH_FILES)
        seen |= set(files.names("media"))
    assert seen
    export(box, store, **WITH_FILES)
    assert not seen & set(files.names("media"))
    assert_files_are_whole(files)
    assert_tidy(files)


def test_who_kills_the_task_does_not_wait_for_a_file(box: Sandbox, files: Destination) -> None:
    """What was fetched is safe, and the next try goes on."""
    assert box.media is not None
    box.media.troubles = [Trouble("stall", every=2)]
    one = exporting(box, store_of(files), **WITH_FILES)
    threading.Timer(1.5, one.kill).start()
    began = time.monotonic()
    with pytest.raises(Stopped):
        one.run()
    assert time.monotonic() - began < 1.5 + 4.0
    box.media.troubles = []
    asked = len(box.media.asked)
    manifest = export(box, store_of(files), **WITH_FILES)
    assert len(box.media.asked) - asked < linked(box)
    assert manifest["media_files"] == linked(box)
    assert_files_are_whole(files)
    assert_tidy(files)


def test_a_token_that_dies_meanwhile_takes_no_file_from_who_needs_no_call(box: Sandbox, files: Destination) -> None:
    """That folder still gets its files, and is published."""
    assert box.media is not None
    box.media.troubles = [Trouble("trickle", seconds=0.0005)]
    box.faults.add(Fault(code=190, on="conversations", folder="other"))
    one = exporting(box, store_of(files), ("inbox", "other"), **WITH_FILES)
    with pytest.raises(FoldersFailed) as failed:
        one.run()
    assert {type(error) for error in failed.value.errors.values()} == {GraphAuthError}
    assert_files_are_whole(files)


def test_who_lets_go_while_a_file_does_not_come_publishes_nothing_without_it(files: Destination) -> None:
    """A limit that another folder meets ends the try; the file is still owed, and the next try fetches it."""
    with Sandbox(conversations=0, folders={"other": 9}, now=NOW, media=True, details="all", latency=0.2) as box:
        attach(box, box.page.new_thread("inbox", messages=0, at=NOW - DAY), 11)
        assert box.media is not None
        box.media.troubles = [Trouble("stall")]
        limit = box.faults.add(Fault(code=80006, regain=30, on="conversations", folder="other", at=4))
        with pytest.raises(LetGo):
            go(exporting(box, store_of(files), ("inbox", "other"), policy=Policy(), page_size=2, **WITH_FILES))
        assert limit.fired == 1
        assert [name for name, _ in box.media.asked if "asset_id=11" in name]
        assert files.manifests() == {}
        box.media.troubles = []
        manifest = export(box, store_of(files), clock=lambda: NOW + timedelta(hours=1), page_size=2, **WITH_FILES)
    assert manifest["media_failed"] == {}
    assert manifest["media_files"] == 1
    assert_files_are_whole(files)


def test_where_the_store_does_not_take_a_file_the_folder_ends(box: Sandbox, files: Destination) -> None:
    """That is no matter of the link; the next try goes on."""

    def refuse() -> None:
        raise StoreError("Cannot write: no space")

    with pytest.raises(StoreError, match="no space"):
        export(box, Meanwhile(store_of(files), refuse, "put", "/media-"), **WITH_FILES)
    assert files.manifests() == {}
    export(box, store_of(files), **WITH_FILES)
    assert_files_are_whole(files)
    assert_tidy(files)


# ---- people


def test_files_of_who_is_left_out_are_never_fetched(box: Sandbox, files: Destination) -> None:
    """Nor those of the Page's answers to them alone; also where a try before had begun to."""
    thread = box.page.new_thread("inbox", messages=0, at=NOW - DAY)
    attach(box, thread, 11)
    attach(box, thread, 12, from_page=True)
    left = frozenset({thread.person.id})
    assert box.media is not None
    export(box, store_of(files), exclude_user_ids=left, **WITH_FILES)
    assert not [name for name, _ in box.media.asked if "asset_id=11" in name or "asset_id=12" in name]
    assert_files_are_whole(files)


def test_what_an_earlier_try_left_of_who_is_left_out_now_is_not_fetched(
    box: Sandbox, files: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had written their messages down, and not come to their files."""
    thread = box.page.new_thread("inbox", messages=0, at=NOW - DAY)
    attach(box, thread, 11)
    monkeypatch.setattr("airflow_provider_pageconv.dump.engine.SIDE_BY_SIDE", 1)
    assert box.media is not None
    box.media.troubles = [Trouble("stall")]
    one = exporting(box, store_of(files), **WITH_FILES)
    threading.Timer(1.5, one.kill).start()
    with pytest.raises(Stopped):
        one.run()
    box.media.troubles = []
    box.media.asked.clear()
    export(box, store_of(files), exclude_user_ids=frozenset({thread.person.id}), **WITH_FILES)
    assert box.media.asked
    assert not [name for name, _ in box.media.asked if "asset_id=11" in name]
    assert_files_are_whole(files)


def test_who_is_left_out_between_two_tries_has_no_file_published(box: Sandbox, files: Destination) -> None:
    """Though the first one fetched it."""
    thread = box.page.new_thread("inbox", messages=0, at=NOW - DAY)
    attach(box, thread, 11)
    with every_step_saved(), dying(box, linked(box)), pytest.raises(Broken):
        export(box, store_of(files), **WITH_FILES)
    export(box, store_of(files), exclude_user_ids=frozenset({thread.person.id}), **WITH_FILES)
    path = "/_media/lookaside.fbsbx.com/ig_messaging_cdn/&asset_id=11&signature=1"
    told = hashlib.sha256(content(path)).hexdigest()
    assert not [name for name in files.names() if told in name]
    assert_files_are_whole(files)
    assert_tidy(files)


def test_files_of_who_is_left_out_later_go_with_the_next_export(box: Sandbox, files: Destination) -> None:
    """They are carried over no more than the messages."""
    thread = box.page.new_thread("inbox", messages=0, at=NOW - DAY)
    message = attach(box, thread, 11)
    export(box, store_of(files), **WITH_FILES)
    [path] = [row["_media"]["path"] for record, row in media(files) if record["id"] == message.id]
    export(box, store_of(files), run="run-2", exclude_user_ids=frozenset({thread.person.id}), **WITH_FILES)
    assert path not in files.names()
    assert_files_are_whole(files)
    assert_tidy(files)
