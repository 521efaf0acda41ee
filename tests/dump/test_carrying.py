"""What a replaced export had stays, once each: the API forgets, a data set does not."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.export import Export
from airflow_provider_pageconv.graph.client import GraphClient
from airflow_provider_pageconv.graph.limits import Policy
from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import (
    DAY,
    NOW,
    Breaking,
    Broken,
    assert_counts_are_of_the_files,
    assert_tidy,
    client_of,
    every_step_saved,
    export,
    ids,
    page,
    spec_of,
    store_of,
    threads,
)
from tests.servers.destinations import Destination, local
from tests.simulated import SimulatedHands, SimulatedTime


@dataclass
class Given:
    """What the API ever gave of the messages of a Page: their ids, and of which the details."""

    ids: set[str] = field(default_factory=set)
    detailed: set[str] = field(default_factory=set)

    def look(self, box: Sandbox) -> None:
        """See what it gives now."""
        for thread in box.data()["threads"]:
            for message in thread["visible"]:
                self.ids.add(message["id"])
                if "from" in message:
                    self.detailed.add(message["id"])


def assert_holds_all_that_was_given(files: Destination, given: Given) -> None:
    """Every message once, and with details if it ever came with them."""
    messages = files.records("messages")
    assert sorted(record["id"] for record in messages) == sorted(given.ids)
    assert {record["id"] for record in messages if not record["_unavailable"]} >= given.detailed
    conversations = ids(files, "conversations")
    assert len(conversations) == len(set(conversations))
    assert {record["_conversation_id"] for record in messages} <= set(conversations)


# ---- night after night


def test_thirty_nightly_dumps_hold_every_message_once_and_lose_no_detail(tmp_path: Path) -> None:
    """Threads grow by one to thirty messages a night, and the API gives details of the 20 newest only."""
    files, given, dice = local(tmp_path / "data"), Given(), random.Random(3)
    with page(messages=22) as box:
        for night in range(30):
            for thread in dice.sample(threads(box), 4):
                for _ in range(dice.choice([1, 1, 2, 19])):
                    box.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
                    box.page.add_message(thread)
            box.clock.advance(timedelta(hours=1))  # type: ignore[attr-defined]
            given.look(box)
            manifest = export(box, store_of(files), run=f"night-{night}")
            assert_holds_all_that_was_given(files, given)
            assert_counts_are_of_the_files(files)
        assert manifest["messages_carried"] > 100
        assert manifest["messages_gone"] == 0
    assert_tidy(files)


def test_unsent_messages_leave_where_what_is_deleted_is_not_kept(tmp_path: Path) -> None:
    """Seen to be gone: the thread was read to its end and gave as many messages as it says that it has."""
    kept, cleaned = local(tmp_path / "kept"), local(tmp_path / "cleaned")
    with page(details="all", messages=8) as box:
        for files in (kept, cleaned):
            export(box, store_of(files))
        unsent = [box.page.thread(thread).messages[1].id for thread in threads(box)[:5]]
        for message in unsent:
            box.page.unsend(message)
        keeping = export(box, store_of(kept), run="run-2")
        cleaning = export(box, store_of(cleaned), run="run-2", keep_deleted=False)
        there = {message["id"] for thread in box.data()["threads"] for message in thread["messages"]}
    assert set(ids(kept, "messages")) == there | set(unsent)
    assert {record["id"] for record in kept.records("messages") if record["_carried"]} == set(unsent)
    assert set(ids(cleaned, "messages")) == there
    assert (keeping["messages_gone"], keeping["messages_carried"]) == (5, 5)
    assert (cleaning["messages_gone"], cleaning["messages_carried"]) == (0, 0)
    assert "among them 5 messages that the API does not list any more" in " ".join(keeping["warnings"])


def test_thirty_nights_without_what_was_unsent_keep_every_detail_of_the_rest(tmp_path: Path) -> None:
    """Under the 20-message rule a message that is a bare id now is listed, so that its details stay."""
    files, given, dice = local(tmp_path / "data"), Given(), random.Random(5)
    with page(messages=22) as box:
        for night in range(30):
            box.page.add_message(dice.choice(threads(box)))
            box.clock.advance(timedelta(minutes=10))  # type: ignore[attr-defined]
            if night % 3 == 2:
                talking = [thread for thread in threads(box) if box.page.thread(thread).messages]
                unsent = box.page.thread(dice.choice(talking)).messages[0].id
                box.page.unsend(unsent)
                given.ids.discard(unsent)
                given.detailed.discard(unsent)
            given.look(box)
            export(box, store_of(files), run=f"night-{night}", keep_deleted=False)
            assert_holds_all_that_was_given(files, given)


# ---- windows


def test_a_window_that_is_exported_again_takes_in_what_came_late(tmp_path: Path) -> None:
    """And keeps what the API has forgotten meanwhile, as it was published."""
    files = local(tmp_path / "data")
    window = {"since": NOW - DAY, "until": NOW}
    with page(span=timedelta(hours=20), messages=18, long_every=1) as box:
        export(box, store_of(files), **window)
        before = {record["id"]: record for record in files.records("messages")}
        thread = threads(box)[0]
        late = box.page.add_message(thread, at=NOW - timedelta(seconds=1))
        box.clock.advance(timedelta(days=7))  # type: ignore[attr-defined]
        for _ in range(18):  # of what it had only the two newest messages have details now
            box.page.add_message(thread, at=NOW + DAY)
        manifest = export(box, store_of(files), run="run-2", **window)
    after = {record["id"]: record for record in files.records("messages")}
    assert set(after) == set(before) | {late.id}
    carried = {key for key, record in after.items() if record["_carried"]}
    assert len(carried) == manifest["messages_carried"] >= 10
    for key in carried:
        assert {**after[key], "_carried": False} == before[key]
    assert_counts_are_of_the_files(files)


def test_a_backfill_after_the_daily_windows_writes_no_bare_id_that_they_hold(tmp_path: Path) -> None:
    """What had a time on its day has none now, and may belong to any window: where one holds it, it does."""
    files = local(tmp_path)
    with page(span=timedelta(days=2), messages=30, long_every=2) as box:
        for day in range(3):
            for thread in threads(box)[:6]:
                for hour in range(12):
                    box.page.add_message(thread, at=NOW + day * DAY + timedelta(hours=hour))
            box.clock.advance(DAY)  # type: ignore[attr-defined]
            export(box, store_of(files), run=f"day-{day}", since=NOW + day * DAY, until=NOW + (day + 1) * DAY)
        daily = set(ids(files, "messages"))
        backfill = export(box, store_of(files), run="backfill", until=NOW)
        bare = {
            message["id"]
            for thread in box.data()["threads"]
            for message in thread["visible"]
            if "created_time" not in message
        }
    assert len(daily) == 6 * 12 * 3
    assert len(bare & daily) > 50
    found = ids(files, "messages")
    assert len(found) == len(set(found)), "a message stands in two windows"
    assert bare <= set(found)
    assert backfill["messages_unavailable"] == len(bare - daily)
    assert_counts_are_of_the_files(files)


def test_a_bare_id_of_a_backfill_stays_when_it_turns_out_to_be_of_a_later_day(tmp_path: Path) -> None:
    """When newer messages are unsent the API tells its time again: it is listed, and not gone, although it is not of the window."""
    files = local(tmp_path)
    with page(folders={"inbox": 1}, messages=5) as box:
        [thread] = threads(box)
        for hour in range(1, 30):
            box.page.add_message(thread, at=NOW + timedelta(hours=hour))
        box.clock.advance(2 * DAY)  # type: ignore[attr-defined]
        export(box, store_of(files), run="backfill", until=NOW)
        bare = {record["id"] for record in files.records("messages") if record.get("created_time") is None}
        for _ in range(9):
            box.page.unsend(box.page.thread(thread).messages[0].id)
        manifest = export(box, store_of(files), run="again", until=NOW, keep_deleted=False)
        dated = {message["id"] for message in box.data()["threads"][0]["visible"] if "created_time" in message}
    assert bare & dated
    assert bare <= set(ids(files, "messages"))
    assert manifest["messages_gone"] == 0


def test_a_window_of_which_nobody_can_tell_says_so(tmp_path: Path) -> None:
    """Messages without a time are left out and counted, with their number and what helps."""
    files = local(tmp_path / "data")
    with page(span=timedelta(hours=2), messages=40, long_every=2) as box:
        manifest = export(box, store_of(files), since=NOW - DAY, until=NOW)
    assert manifest["messages_undated"] > 0
    assert any(
        str(manifest["messages_undated"]) in warning and "shorter windows help" in warning
        for warning in manifest["warnings"]
    )


# ---- conversations


@pytest.mark.parametrize("keep_deleted", [True, False])
def test_deleted_and_moved_threads_stay_unless_they_are_seen_to_be_gone(tmp_path: Path, keep_deleted: bool) -> None:
    """One that the list does not hold any more is asked for by its own id: only where that says no it leaves."""
    files, time = local(tmp_path / "data"), SimulatedTime(NOW)
    with page(details="all") as box:
        simulated(box, files, time).export_now("run-1")
        deleted, moved = threads(box)[2:4], threads(box)[5]
        for thread in deleted:
            box.page.delete_thread(thread)
        box.page.move(moved, "spam")
        before = len(box.requests)
        manifest = simulated(box, files, time, keep_deleted=keep_deleted).export_now("run-2")
        calls = len(box.requests) - before
    conversations = set(ids(files, "conversations"))
    assert moved in conversations
    assert conversations & set(deleted) == (set(deleted) if keep_deleted else set())
    assert manifest["conversations_carried"] == (3 if keep_deleted else 1)
    left = {record["_conversation_id"] for record in files.records("messages")}
    assert left & set(deleted) == (set(deleted) if keep_deleted else set())
    assert calls <= (8 if keep_deleted else 8 + 2 * 2 + 1 + 2)
    assert_counts_are_of_the_files(files)


def test_a_folder_that_comes_back_empty_drops_nothing(tmp_path: Path) -> None:
    """A permission that was taken away looks like that."""
    files = local(tmp_path / "data")
    with page() as box:
        export(box, store_of(files))
        before = ids(files, "messages"), ids(files, "conversations")
        for thread in threads(box):
            box.page.delete_thread(thread)
        manifest = export(box, store_of(files), run="run-2", keep_deleted=False)
    assert (ids(files, "messages"), ids(files, "conversations")) == before
    assert manifest["conversations_carried"] == 12


# ---- formats, and what is refused


def test_another_compression_carries_the_same_values(tmp_path: Path) -> None:
    """What is carried is written in the new one."""
    files = local(tmp_path / "data")
    with page(messages=30) as box:
        export(box, store_of(files))
        before = {record["id"]: record for record in files.records("messages")}
        for thread in threads(box):
            box.page.delete_thread(thread)
        manifest = export(box, store_of(files), run="run-2", compression="none")
    assert {record["id"]: {**record, "_carried": False} for record in files.records("messages")} == before
    assert all(entry["path"].endswith(".jsonl") for entry in manifest["files"])


@pytest.mark.parametrize(
    "less, words",
    [
        ({"messages": False}, "was asked for attachments, created_time, from"),
        ({"message_fields": ("message",)}, "was asked for attachments, from"),
        ({"conversation_fields": ("participants",)}, "of conversations, and this one is not"),
    ],
)
def test_an_export_that_asks_for_less_is_refused_before_the_first_call(
    tmp_path: Path, less: dict[str, Any], words: str
) -> None:
    """It could not carry over what it does not know; with `overwrite` it replaces all the same."""
    files = local(tmp_path / "data")
    with page() as box:
        export(box, store_of(files))
        before = files.snapshot()
        box.forget()
        with pytest.raises(DumpRefused, match=words):
            export(box, store_of(files), run="run-2", **less)
        assert box.requests == []
        assert files.snapshot() == before
        manifest = export(box, store_of(files), run="run-2", overwrite=True, **less)
    assert manifest["messages_carried"] == manifest["conversations_carried"] == 0


def damaged_version(files: Destination, name: str, manifest: dict[str, Any]) -> None:
    files.write(name, json.dumps({**manifest, "manifest_version": 9}).encode())


def unknown_format(files: Destination, name: str, manifest: dict[str, Any]) -> None:
    files.write(name, json.dumps({**manifest, "file_format": "orc"}).encode())


def missing_file(files: Destination, name: str, manifest: dict[str, Any]) -> None:
    files.remove(manifest["files"][0]["path"])


def another_size(files: Destination, name: str, manifest: dict[str, Any]) -> None:
    files.write(manifest["files"][0]["path"], b"cut")


@pytest.mark.parametrize("damage", [damaged_version, unknown_format, missing_file, another_size])
def test_a_predecessor_that_cannot_be_read_back_is_refused_before_the_first_call(
    tmp_path: Path, damage: Callable[[Destination, str, dict[str, Any]], None]
) -> None:
    """Nothing is replaced by an export that cannot keep what is there."""
    files = local(tmp_path / "data")
    with page() as box:
        export(box, store_of(files))
        [(name, manifest)] = files.manifests().items()
        damage(files, name, manifest)
        before = files.snapshot()
        box.forget()
        with pytest.raises(DumpRefused, match="overwrite=True"):
            export(box, store_of(files), run="run-2")
        assert box.requests == []
        assert files.snapshot() == before
        export(box, store_of(files), run="run-2", overwrite=True)


def test_a_predecessor_that_proves_damaged_ends_the_folder_and_stays(tmp_path: Path) -> None:
    """Of the right size, and with other bytes."""
    files = local(tmp_path / "data")
    with page() as box:
        export(box, store_of(files))
        [manifest] = files.manifests().values()
        entry = manifest["files"][-1]
        files.write(entry["path"], b"x" * entry["bytes"])
        with pytest.raises(DumpRefused, match=r"is damaged: .*SHA-256"):
            export(box, store_of(files), run="run-2")
    assert list(files.manifests().values()) == [manifest]


# ---- kills, and others at work


@dataclass
class Simulated:
    """An export without threads and sleep, whose time passes."""

    box: Sandbox
    client: GraphClient
    store: Any
    time: SimulatedTime
    options: dict[str, Any]

    def export_now(self, run: str) -> Any:
        """Run one try of it; the manifest."""
        one = Export(spec_of(self.box, run=run, **self.options), ("inbox",), self.client, self.store, Policy(stay=True))
        hands = SimulatedHands(lambda request: self.client.exchange(request, threading.Event()), self.time)
        [outcome] = one.export(hands)
        return outcome.manifest


def simulated(box: Sandbox, files: Destination, time: SimulatedTime, store: Any = None, **options: Any) -> Simulated:
    """An export whose minutes pass at once."""
    box.rules.date = "page"
    return Simulated(box, client_of(box), store or store_of(files), time, options)


def test_a_kill_at_any_store_operation_of_the_carrying_loses_nothing_and_shows_one_whole_export(tmp_path: Path) -> None:
    """The predecessor stays until the manifest is put; the next try ends with what the undisturbed one ends with."""
    with page(folders={"inbox": 8}, messages=24, long_every=2) as box:
        first = local(tmp_path / "first")
        export(box, store_of(first), max_part_records=20)
        was = {stream: ids(first, stream) for stream in ("conversations", "messages")}
        for thread in threads(box)[:3]:
            box.page.delete_thread(thread)
        for thread in threads(box):
            box.page.add_message(thread, at=NOW)
        calm = copied(first, tmp_path / "calm")
        export(box, store_of(calm), run="run-2", max_part_records=20)
        owed = {stream: ids(calm, stream) for stream in ("conversations", "messages")}
        for after in (False, True):
            for at in range(1, 200):
                files = copied(first, tmp_path / f"files-{after}-{at}")
                store = Breaking(store_of(files), at, after=after)
                try:
                    with every_step_saved():
                        export(box, store, run="run-2", max_part_records=20)  # type: ignore[arg-type]
                except Broken:
                    pass
                else:
                    break
                found = {stream: ids(files, stream) for stream in ("conversations", "messages")}
                assert found in (was, owed)
                export(box, store_of(files), run="run-2", max_part_records=20)
                assert {stream: ids(files, stream) for stream in ("conversations", "messages")} == owed
                assert_tidy(files)
            assert at > 20


def copied(files: Destination, folder: Path) -> Destination:
    """The same data set in another place."""
    other = local(folder)
    for name, content in files.snapshot().items():
        other.write(name, content)
    return other


class Interrupting:
    """A store in which something happens right before the so-many-th look at the manifest."""

    def __init__(self, store: Any, at: int, happening: Callable[[], object]) -> None:
        self._store = store
        self._at = at
        self._happening = happening
        self.looks = 0

    def with_scratch(self, prefix: str) -> Any:
        inner = Interrupting(self._store.with_scratch(prefix), self._at, self._happening)
        inner.looks = self.looks
        return inner

    def read(self, key: str, most: int | None = None) -> bytes:
        if key.startswith("_manifests/"):
            self.looks += 1
            if self.looks == self._at:
                self._happening()
        data: bytes = self._store.read(key, most)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("at", range(1, 7))
def test_two_that_publish_the_same_window_keep_each_others(tmp_path: Path, at: int) -> None:
    """Whoever puts the manifest last has carried over what the other one published meanwhile."""
    files = local(tmp_path / "data")
    with page(details="all") as box:
        export(box, store_of(files))
        gone: set[str] = set()

        def other() -> None:
            """Another run takes in a message, which is unsent again before this one could see it."""
            thread = threads(box)[0]
            message = box.page.add_message(thread, at=NOW - timedelta(seconds=1))
            export(box, store_of(files), run="other")
            box.page.unsend(message.id)
            gone.add(message.id)

        export(box, Interrupting(store_of(files), at, other), run="run-2")  # type: ignore[arg-type]
    assert gone
    assert gone <= set(ids(files, "messages"))
    assert_counts_are_of_the_files(files)


@pytest.mark.parametrize("first", [True, False])
def test_the_try_that_publishes_says_whether_what_is_gone_stays(tmp_path: Path, first: bool) -> None:
    """What an earlier try had carried over, told otherwise, is carried over again."""
    files = local(tmp_path / "data")
    with page(details="all", messages=8) as box:
        export(box, store_of(files))
        unsent = box.page.thread(threads(box)[0]).messages[1].id
        box.page.unsend(unsent)
        with every_step_saved(), pytest.raises(Broken):
            export(box, Breaking(store_of(files), 1, only=("copy",)), run="run-2", keep_deleted=first)  # type: ignore[arg-type]
        export(box, store_of(files), run="run-2", keep_deleted=not first)
    assert (unsent in ids(files, "messages")) is not first
    assert_counts_are_of_the_files(files)


@pytest.mark.parametrize("at", range(1, 8))
def test_what_another_fetched_after_this_one_had_read_the_thread_is_not_gone(tmp_path: Path, at: int) -> None:
    """A message came in between: the older reading does not list it, and nothing of that says that it was unsent."""
    files = local(tmp_path / "data")
    with page(details="all") as box:
        export(box, store_of(files))
        came: set[str] = set()

        def other() -> None:
            came.add(box.page.add_message(threads(box)[0], at=NOW + timedelta(seconds=1)).id)
            box.clock.advance(timedelta(seconds=2))  # type: ignore[attr-defined]
            export(box, store_of(files), run="other")

        store = Interrupting(store_of(files), at, other)
        export(box, store, run="run-2", keep_deleted=False)  # type: ignore[arg-type]
    assert came
    assert came <= set(ids(files, "messages"))
    assert_counts_are_of_the_files(files)


def before(store: Any, number: int, happening: Callable[[], object]) -> tuple[Any, dict[str, int]]:
    """A store in which something happens right before its so-many-th listing or reading, of whatever file.

    :return: the store, and how many there were.
    """
    counted = {"operations": 0}

    class Counting:
        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def with_scratch(self, prefix: str) -> Any:
            return Counting(self._inner.with_scratch(prefix))

        def __getattr__(self, name: str) -> Any:
            method = getattr(self._inner, name)

            def operation(*arguments: Any, **options: Any) -> Any:
                counted["operations"] += 1
                if counted["operations"] == number:
                    happening()
                return method(*arguments, **options)

            return operation if name in ("read", "fetch", "list", "size") else method

    return Counting(store), counted


@pytest.mark.parametrize("keep_deleted", [True, False])
def test_files_that_another_sweeps_up_while_they_are_read_are_read_again_from_what_it_published(
    tmp_path: Path, keep_deleted: bool
) -> None:
    """At any look at the store of its carrying another run may publish: a file that is gone is no damage then."""
    with page(folders={"inbox": 3}, details="all", messages=4) as box:
        first = local(tmp_path / "first")
        export(box, store_of(first))
        was = set(ids(first, "messages"))
        for number in range(1, 200):
            files = copied(first, tmp_path / f"files-{number}")
            others = store_of(files)
            store, counted = before(store_of(files), number, lambda others=others: export(box, others, run="other"))
            export(box, store, run="run-2", keep_deleted=keep_deleted)
            assert set(ids(files, "messages")) == was
            assert_counts_are_of_the_files(files)
            if counted["operations"] < number:
                break
        assert number > 15


@pytest.mark.parametrize("at", range(1, 7))
def test_an_erasure_between_the_reading_and_the_put_is_not_undone(tmp_path: Path, at: int) -> None:
    """Somebody rewrites the published files without a person, and puts their manifest anew."""
    files = local(tmp_path / "data")
    with page(details="all") as box:
        export(box, store_of(files))
        erased = threads(box)[0]
        box.page.delete_thread(erased)  # it comes from what is carried over, if from anywhere

        def erase() -> None:
            [(name, manifest)] = files.manifests().items()
            changed = []
            for entry in manifest["files"]:
                rows = [
                    row for row in files.lines(entry["path"]) if erased not in (row["id"], row.get("_conversation_id"))
                ]
                content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
                path = entry["path"].replace(".jsonl.gz", f"-{at}.jsonl")
                files.write(path, content)
                changed.append(row_of(entry, path, content, len(rows)))
            files.write(name, json.dumps({**manifest, "files": changed}).encode())

        export(box, Interrupting(store_of(files), at, erase), run="run-2")  # type: ignore[arg-type]
    assert erased not in ids(files, "conversations")
    assert erased not in {record["_conversation_id"] for record in files.records("messages")}


def row_of(entry: dict[str, Any], path: str, content: bytes, records: int) -> dict[str, Any]:
    """A manifest's row of a file."""
    import hashlib

    return {
        **entry,
        "path": path,
        "bytes": len(content),
        "records": records,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
