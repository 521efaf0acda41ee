"""People who ask to be forgotten go out of what is published, and readers see one whole export at every instant."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump.endings import DumpRefused, Stopped
from airflow_provider_pageconv.dump.erasure import Mentions
from airflow_provider_pageconv.dump.leftovers import LEFTOVERS_AFTER
from airflow_provider_pageconv.dump.people import LeftOut
from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import (
    DAY,
    NOW,
    Breaking,
    Broken,
    Meanwhile,
    assert_counts_are_of_the_files,
    assert_tidy,
    every_step_saved,
    export,
    store_of,
)
from tests.people.crowd import (
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
from tests.people.erasing import Watching, copied, erase, held, whole, with_media
from tests.servers.destinations import Destination, local

each_way = pytest.mark.parametrize("hides", [{}, pseudonyms()], ids=["plain", "pseudonymised"])
LATER = datetime.now(timezone.utc) + LEFTOVERS_AFTER + timedelta(hours=1)


def words(crowd: Crowd) -> set[str]:
    """What tells of who asked to be forgotten, plain and hashed."""
    return told(crowd.alone) | {hashed(one) for one in told(crowd.alone)}


def two_days(box: Sandbox, files: Destination, **how: Any) -> None:
    """Export the last two days and what was before, each as a window of its own."""
    for number, (since, until) in enumerate(((None, NOW - DAY), (NOW - DAY, NOW), (NOW, NOW + DAY))):
        export(box, store_of(files), run=f"run-{number}", since=since, until=until, **how)


@each_format
@each_way
def test_what_stays_is_what_an_export_without_them_holds(
    how: dict[str, Any], hides: dict[str, Any], tmp_path: Path
) -> None:
    """Their thread goes whole, from others go their messages and they themselves; all else is untouched."""
    box, crowd = box_of_a_crowd()
    files, expected = local(tmp_path / "export"), local(tmp_path / "expected")
    options = {"max_part_records": 40, **how, **hides}
    if hides:  # whose name is in that of a group, a hash does not tell
        del box.page.thread(crowd.group).fields["name"]
    with box:
        export(box, store_of(files), **options)
        export(box, store_of(expected), **without(crowd.alone.id), **options)
    before = files.snapshot()
    assert search(tmp_path / "export", words(crowd))
    result = erase(store_of(files), crowd.alone.id)
    for stream in ("conversations", "messages"):
        assert whole(files, stream) == whole(expected, stream)
        assert result[stream] == len(whole(copied(before, tmp_path / f"before-{stream}"), stream)) - len(
            whole(files, stream)
        )
    assert search(tmp_path / "export", words(crowd)) == set()
    assert_counts_are_of_the_files(files)
    assert_tidy(files)
    [manifest], [theirs] = files.manifests().values(), expected.manifests().values()
    told_apart = {"export_id", "started_at", "finished_at", "api_calls", "files", "erased_at", "waited_seconds"}
    for name in (manifest.keys() | theirs.keys()) - told_apart:
        assert manifest[name] == theirs[name], name
    assert datetime.fromisoformat(manifest["erased_at"].replace("Z", "+00:00")) > NOW - 3650 * DAY
    assert result["windows_changed"] == 1
    assert result["looks"] == 2
    again = files.snapshot()
    assert erase(store_of(files), crowd.alone.id)["looks"] == 1
    assert files.snapshot() == again


@each_format
def test_a_thread_goes_in_all_windows_and_folders_or_in_none(how: dict[str, Any], tmp_path: Path) -> None:
    """Windows without them are left alone, file for file."""
    box, crowd = box_of_a_crowd()
    files, expected = local(tmp_path / "export"), local(tmp_path / "expected")
    with box:
        box.page.add_message(crowd.own_thread, at=NOW - DAY / 2)
        for place, leaves in ((files, {}), (expected, without(crowd.alone.id))):
            two_days(box, place, **how, **leaves)
            export(box, store_of(place), "other", **how, **leaves)
    untouched = {name: content for name, content in files.snapshot().items() if "/folder=other/" in name}
    result = erase(store_of(files), crowd.alone.id)
    for stream in ("conversations", "messages"):
        assert whole(files, stream) == whole(expected, stream)
    assert search(tmp_path / "export", words(crowd)) == set()
    assert_tidy(files)
    assert_counts_are_of_the_files(files)
    assert {name: files.read(name) for name in untouched} == untouched
    assert result["windows"] == 4
    assert result["windows_changed"] == 2


def test_a_thread_in_which_others_write_too_in_one_window_stays_theirs_in_all(tmp_path: Path) -> None:
    """Somebody joined on the second day: their messages stay, whatever the first day's record says of who was there."""
    files = local(tmp_path)
    with Sandbox(now=NOW, conversations=0, folders={"inbox": 4}, messages=0) as box:
        first, *_, other = box.page.threads()
        ana, ben = first.person, other.person
        assert ana.id != ben.id
        box.page.add_message(first.id, at=NOW - 3 * DAY / 2, by=None, text="of ana")
        box.page.add_message(first.id, at=NOW - 3 * DAY / 2, from_page=True, text="to ana")
        export(box, store_of(files), run="run-1", since=NOW - 2 * DAY, until=NOW - DAY)
        box.page.join(first.id, ben.id)
        box.page.add_message(first.id, at=NOW - DAY / 2, by=ben.id, text="of ben")
        box.page.add_message(first.id, at=NOW - DAY / 2, by=None, text="of ana again")
        export(box, store_of(files), run="run-2", since=NOW - DAY, until=NOW)
    erase(store_of(files), ana.id)
    assert {one["message"] for one in files.records("messages")} == {"of ben"}
    assert search(tmp_path, told(ana)) == set()


@each_format
def test_killed_anywhere_it_leaves_one_whole_export_and_nothing_that_is_not_found(
    how: dict[str, Any], tmp_path: Path
) -> None:
    """Before and after each operation of the store; the next run ends with nothing of them anywhere, staging and all."""
    box, crowd = box_of_a_crowd(folders={"inbox": 6, "other": 2}, messages=3)
    first = local(tmp_path / "first")
    with box:
        two_days(box, first, max_part_records=20, **how)
    content, before = first.snapshot(), held(first)
    count = Breaking(store_of(copied(content, tmp_path / "count")))
    erase(count, crowd.alone.id)
    after = held(local(tmp_path / "count"))
    assert before != after
    crashed = 0
    step = 1 if how["file_format"] == "jsonl" else 5  # it goes the same way, and takes longer
    for at in range(1, count.count + 1, step):
        for late in (False, True):
            folder = tmp_path / f"{at}-{late}"
            files = copied(content, folder)
            watching = Watching(files, [before, after])
            with suppress(Broken):
                erase(Looking(Breaking(store_of(files), at, after=late), watching.look), crowd.alone.id)
                crashed -= 1
            crashed += 1
            watching.look()
            erase(Looking(store_of(files), watching.look), crowd.alone.id)
            assert held(files) == after
            assert search(folder, words(crowd)) == set()
            assert_counts_are_of_the_files(files)
            # What was about to be published might still be, and goes after a week.
            erase(store_of(files), crowd.alone.id, now=LATER)
            assert_tidy(files)
    assert crashed > 60 / step


def test_an_export_that_publishes_meanwhile_is_erased_too(tmp_path: Path) -> None:
    """At whatever operation of the erasure it comes; it has fetched them again, and is gone through in another look."""
    box, crowd = box_of_a_crowd(folders={"inbox": 6, "other": 2}, messages=4)
    first = local(tmp_path / "first")
    with box:
        export(box, store_of(first), run="run-0")
        content = first.snapshot()
        count = Breaking(store_of(copied(content, tmp_path / "count")))
        erase(count, crowd.alone.id)
        after = held(local(tmp_path / "count"))
        for at in range(1, count.count + 1):
            files = copied(content, tmp_path / str(at))

            def publish(files: Destination = files, at: int = at) -> None:
                export(box, store_of(files), run=f"run-{at}")

            result = erase(_At(store_of(files), at, publish), crowd.alone.id)
            # Behind the last look it comes too late for this run, and for no other.
            if search(tmp_path / str(at), words(crowd)):
                assert at > count.count - 8
                result = erase(store_of(files), crowd.alone.id)
            assert search(tmp_path / str(at), words(crowd)) == set()
            assert held(files) == after
            assert_counts_are_of_the_files(files)
            assert result["looks"] <= 4
            erase(store_of(files), crowd.alone.id, now=LATER)  # what each took for the other's
            assert_tidy(files)


@pytest.mark.parametrize("most", [2, 50_000], ids=["some files stay as they are", "each changes"])
def test_what_another_publishes_meanwhile_is_not_lost(most: int, tmp_path: Path) -> None:
    """It has a message more than what was read: the window is read again, and written anew from that."""
    box, crowd = box_of_a_crowd(folders={"inbox": 6, "other": 2}, messages=4)
    for operation, key in (("copy", "conversations/"), ("put_bytes", "/note-publish-")):
        files = local(tmp_path / operation)

        def publish(files: Destination = files) -> None:
            box.page.add_message(box.page.new_thread("inbox", messages=0).id, at=NOW - DAY, text="one more")
            export(box, store_of(files), run="run-1", max_part_records=most)

        with box:
            export(box, store_of(files), run="run-0", max_part_records=most)
            erase(Meanwhile(store_of(files), publish, operation, key), crowd.alone.id)
        assert "one more" in {one.get("message") for one in files.records("messages")}
        assert search(tmp_path / operation, words(crowd)) == set()


@pytest.mark.parametrize("key", ["conversations/", "messages/", "_manifests/"])
def test_an_export_that_is_publishing_keeps_its_files(key: str, tmp_path: Path) -> None:
    """They lie in the streams, and no manifest names them yet. What it publishes then has them in it again, for the next one."""
    box, crowd = box_of_a_crowd(folders={"inbox": 6, "other": 2}, messages=4)
    files = local(tmp_path)
    with box, every_step_saved():
        export(box, store_of(files), run="run-0")
        found: list[dict[str, Any]] = []
        store = Meanwhile(
            store_of(files), lambda: found.append(erase(store_of(files), crowd.alone.id)),
            "put_bytes" if key == "_manifests/" else "copy", key,
        )  # fmt: skip
        export(box, store, run="run-1", page_size=5)
    assert found[0]["staging_left"] == 1
    if key == "_manifests/":  # by then all are copied
        assert found[0]["files_left"] >= 2
    held(files)
    assert_counts_are_of_the_files(files)
    assert erase(store_of(files), crowd.alone.id)["staging_left"] == 0
    assert search(tmp_path, words(crowd)) == set()


class _At:
    """A store in which something else happens before the so-many-th operation."""

    def __init__(self, store: Any, at: int, happens: Any, state: dict[str, Any] | None = None) -> None:
        self._store, self._at, self._happens = store, at, happens
        self._state = state if state is not None else {"count": 0, "lock": threading.RLock()}

    def with_scratch(self, prefix: str) -> Any:
        return _At(self._store.with_scratch(prefix), self._at, self._happens, self._state)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def operation(*arguments: Any, **options: Any) -> Any:
            if name == "delete":
                arguments = (list(arguments[0]),)
            if name in ("put", "put_bytes", "copy", "delete", "list", "read"):
                with self._state["lock"]:
                    self._state["count"] += 1
                    if self._state["count"] == self._at:
                        self._happens()
            return method(*arguments, **options)

        return operation


def test_a_nightly_dump_under_way_does_not_bring_back_what_was_erased_of_its_predecessor(tmp_path: Path) -> None:
    """It has read the predecessor, the erasure comes, and then it publishes: what is carried over is read again."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path)
    with box:
        export(box, store_of(files))
        box.page.delete_thread(crowd.own_thread)
        box.page.delete_thread(crowd.group)
        store = Meanwhile(store_of(files), lambda: erase(store_of(files), crowd.alone.id), "copy")
        manifest = export(box, store, run="run-2", **without(crowd.alone.id))
    assert manifest["messages_carried"] == 2
    assert search(tmp_path, words(crowd)) == set()
    assert_counts_are_of_the_files(files)
    assert_tidy(files)


def test_two_at_once_end_as_one(tmp_path: Path) -> None:
    """Each finds what the other did; readers see one whole export, and nothing is left behind."""
    box, crowd = box_of_a_crowd(folders={"inbox": 8, "other": 2}, messages=6)
    first = local(tmp_path / "first")
    with box:
        two_days(box, first)
    content, before = first.snapshot(), held(first)
    erase(store_of(copied(content, tmp_path / "one")), crowd.alone.id)
    after = held(local(tmp_path / "one"))
    for number in range(5):
        files = copied(content, tmp_path / str(number))
        barrier, errors = threading.Barrier(2), []
        watching = Watching(files, [before, after])

        at = "copy" if number % 2 else "put"

        def run(files: Destination = files, barrier: Any = barrier, errors: Any = errors, at: str = at) -> None:
            try:
                erase(Meanwhile(store_of(files), barrier.wait, at), crowd.alone.id)
            except BaseException as error:  # noqa: BLE001 - shown by the test
                errors.append(error)

        workers = [threading.Thread(target=run) for _ in range(2)]
        for worker in workers:
            worker.start()
        while any(worker.is_alive() for worker in workers):
            watching.look()
        for worker in workers:
            worker.join()
        assert errors == []
        assert held(files) == after
        assert search(tmp_path / str(number), words(crowd)) == set()
        erase(store_of(files), crowd.alone.id, now=LATER)
        assert_tidy(files)


def test_a_report_changes_nothing_and_says_what_would_go(tmp_path: Path) -> None:
    """The same figures as when it is done."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path)
    with box:
        two_days(box, files)
    before = files.snapshot()
    result = erase(store_of(files), crowd.alone.id, report_only=True)
    assert files.snapshot() == before
    done = erase(store_of(files), crowd.alone.id)
    for name in ("pages", "windows", "windows_changed", "conversations", "messages", "changed", "files_rewritten"):
        assert result[name] == done[name], name
    assert result["messages"] > 0
    none = erase(store_of(files), crowd.alone.id, report_only=True)
    assert (none["windows_changed"], none["messages"]) == (0, 0)


def test_what_a_stopped_export_staged_is_told_of_and_goes_after_a_week(tmp_path: Path) -> None:
    """While a run may still go on with it, it is not touched; nobody is named."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path)
    with box, every_step_saved(), suppress(Broken):
        export(box, Breaking(store_of(files), 20), page_size=5)
    assert search(tmp_path / "_staging", {crowd.alone.id})
    staged = files.snapshot()
    result = erase(store_of(files), crowd.alone.id)
    assert files.snapshot() == staged
    assert (result["staging_left"], result["staging_removed"]) == (1, 0)
    assert any("1 run under way" in one and "once more" in one for one in result["warnings"])
    assert crowd.alone.id not in json.dumps(result)
    result = erase(store_of(files), crowd.alone.id, now=LATER)
    assert (result["staging_left"], result["staging_removed"]) == (0, 1)
    assert files.names() == []


def test_what_an_export_replaced_and_did_not_sweep_goes_at_once(tmp_path: Path) -> None:
    """Killed between its manifest and the deletion: no manifest names the old files any more, and none ever will."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path)
    with box:
        export(box, store_of(files))
        with suppress(Broken):
            export(box, Breaking(store_of(files), 1, only=("delete",)), run="run-2", **without(crowd.alone.id))
    [manifest] = files.manifests().values()
    assert manifest["run_key"]["run_id"] == "run-2"
    assert search(tmp_path / "messages", {crowd.alone.id})
    result = erase(store_of(files), crowd.alone.id)
    assert search(tmp_path, words(crowd)) == set()
    assert result["files_deleted"] > 0


def test_an_export_of_them_alone_goes_with_its_manifest(tmp_path: Path) -> None:
    """Killed anywhere, nothing of it is left in the end; a pseudonymised one is known by the secret."""
    for number, hides in enumerate(({}, pseudonyms())):
        first = local(tmp_path / f"first-{number}")
        box, crowd = box_of_a_crowd()
        with box:
            export(box, store_of(first), user_id=crowd.alone.id, **hides)
        content = first.snapshot()
        count = Breaking(store_of(copied(content, tmp_path / f"count-{number}")))
        result = erase(count, crowd.alone.id)
        assert result["windows_removed"] == 1
        assert result["messages"] > 0
        for at in range(1, count.count + 1):
            files = copied(content, tmp_path / f"{number}-{at}")
            with suppress(Broken):
                erase(Breaking(store_of(files), at), crowd.alone.id)
            for manifest in files.manifests().values():
                assert all(file["path"] in files.names() for file in manifest["files"])
            erase(store_of(files), crowd.alone.id)
            assert files.manifests() == {}
            assert search(tmp_path / f"{number}-{at}", words(crowd)) == set()


def test_on_instagram_their_thread_goes_whole(tmp_path: Path) -> None:
    """The account is not known by its id there; a thread has one person beside it."""
    files = local(tmp_path)
    with Sandbox(conversations=0, instagram=8, messages=3) as box:
        person = next(box.page.threads()).person
        export(box, store_of(files), "all", platform="instagram")
    result = erase(store_of(files), person.id)
    assert (result["conversations"], result["messages"]) == (1, 3)
    assert search(tmp_path, {person.id, person.username}) == set()
    assert len(by_id(files, "messages")) == 14


def test_only_what_is_named_is_gone_through(tmp_path: Path) -> None:
    """A Page, a platform; without either, all of the data set."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path)
    with box:
        export(box, store_of(files))
    before = files.snapshot()
    for where in ({"page_id": "1"}, {"platform": "instagram"}, {"page_id": "1", "platform": "messenger"}):
        result = erase(store_of(files), crowd.alone.id, **where)
        assert files.snapshot() == before
        assert result["windows"] == 0
        assert any("Nothing is published there" in one for one in result["warnings"])
    assert erase(store_of(files), crowd.alone.id, page_id=box.page.id)["windows_changed"] == 1


@given(st.dictionaries(st.sampled_from(["id", "from", "to", "name", "participants", "new_thing"]), NODES))
@settings(max_examples=300, deadline=None)
def test_no_record_is_passed_over_of_which_something_goes(node: dict[str, Any]) -> None:
    """Few ids and many are looked for in different ways; where neither finds one, taking them out changes nothing."""
    node = {**node, "id": "t_1"}
    left = LeftOut(frozenset({"11111111"}), frozenset({"33333333"}))
    many = left.ids | {str(10**15 + number) for number in range(50)}
    for stream in ("conversations", "messages"):
        if left.take_out(stream, node) is not node:
            assert Mentions(left.ids)(json_text.write(node))
            assert Mentions(many)(json_text.write(node))


# ---- media


def test_files_of_messages_that_go_go_with_them(tmp_path: Path) -> None:
    """Those that a message points to which stays are named again, where they lie."""
    box, crowd = box_of_a_crowd(messages=5)
    files = local(tmp_path)
    with box:
        export(box, store_of(files), compression="none", max_part_records=9)
    pointed = with_media(files, crowd)
    result = erase(store_of(files), crowd.alone.id)
    kept = {pointed[name] for name in by_id(files, "messages")}
    [manifest] = files.manifests().values()
    assert {file["path"] for file in manifest["files"] if file["stream"] == "media"} == kept
    assert set(files.names("media")) == kept
    assert result["media_files"] == len(set(pointed.values()) - kept) > 0
    assert_tidy(files)


# ---- what cannot be done


def test_a_secret_is_asked_for_only_where_ids_are_hashed(tmp_path: Path) -> None:
    """And the names alone may be hashed without it."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path)
    with box:
        export(box, store_of(files), **pseudonyms("name", "email"))
    erase(store_of(files), crowd.alone.id, key=None)
    assert search(tmp_path, words(crowd)) == set()
    with box_of_a_crowd()[0] as again:
        export(again, store_of(files), run="run-2", overwrite=True, **pseudonyms())
    with pytest.raises(AssertionError, match="the secret was asked for"):
        erase(store_of(files), crowd.alone.id, key=None)


def test_another_secret_is_named_and_all_else_is_done(tmp_path: Path) -> None:
    """Who is in such a window nobody can tell; the sentence shows neither ids nor secrets."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path)
    with box:
        two_days(box, files)
        export(box, store_of(files), "other", **pseudonyms())
    with pytest.raises(
        DumpRefused, match=r"^1 window could not be .* another pseudonym_secret than the conn"
    ) as caught:
        erase(store_of(files), crowd.alone.id, key=b"another")
    assert not [one for one in words(crowd) | {"another'"} if one in str(caught.value)]
    assert search(tmp_path, told(crowd.alone)) == set()
    erase(store_of(files), crowd.alone.id)
    assert search(tmp_path, words(crowd)) == set()


def test_a_damaged_window_is_named_and_all_else_is_done(tmp_path: Path) -> None:
    """A file that is missing, cut, or not what the manifest says; a manifest that cannot be read, or of another version."""
    box, crowd = box_of_a_crowd(folders={"inbox": 6, "other": 2}, messages=4)
    first = local(tmp_path / "first")
    with box:
        two_days(box, first)
    content = first.snapshot()
    manifest = next(name for name in content if name.startswith("_manifests/") and "begin--" in name)
    data = next(name for name in content if name.startswith("messages/") and "begin--" in name)
    newer = json.dumps({**json.loads(content[manifest]), "manifest_version": 2}).encode()
    damages = [(data, None, "it is gone"), (data, b"x", "its SHA-256 is not"), (manifest, b"{", "cannot be read")]
    damages.append((manifest, newer, "is of version 2"))
    for number, (name, bytes_, says) in enumerate(damages):
        files = copied(content, tmp_path / str(number))
        if bytes_ is None:
            files.remove(name)
        else:
            files.write(name, bytes_)
        with pytest.raises(DumpRefused, match=says) as caught:
            erase(store_of(files), crowd.alone.id)
        assert "1 window could not be gone through, all others were" in str(caught.value)
        others = [one for one in files.names() if "begin--" not in one]
        assert not {one for one in search(tmp_path / str(number), words(crowd)) if "begin--" not in one}
        assert others


def test_an_export_that_tells_nobody_who_is_in_it_is_named(tmp_path: Path) -> None:
    """Neither participants nor from were asked for. Where one of them was, that tells."""
    for number, (fields, told_apart) in enumerate(
        (
            ({"conversation_fields": ("id",), "message_fields": ("id", "message")}, False),
            ({"conversation_fields": ("id",)}, True),
            ({"message_fields": ("id", "message")}, True),
        )
    ):
        files = local(tmp_path / str(number))
        with Sandbox(conversations=0, folders={"inbox": 5}, messages=2) as box:
            thread = next(box.page.threads())
            export(box, store_of(files), **fields)
        if not told_apart:
            with pytest.raises(DumpRefused, match="asked for neither participants nor from"):
                erase(store_of(files), thread.person.id)
            continue
        result = erase(store_of(files), thread.person.id)
        assert (result["conversations"], result["messages"]) == (1, 2)
        assert thread.id not in {one["_conversation_id"] for one in files.records("messages")}
        assert_counts_are_of_the_files(files)


def test_the_page_itself_cannot_be_erased(tmp_path: Path) -> None:
    """Its id in the list would take every answer out of everybody's threads."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path)
    with box:
        export(box, store_of(files))
        before = files.snapshot()
        with pytest.raises(DumpRefused, match=f"is that of the Page {box.page.id} itself"):
            erase(store_of(files), crowd.alone.id, box.page.id)
    assert files.snapshot() == before


def test_stopped_it_changes_nothing_more(tmp_path: Path) -> None:
    """At whatever moment the task is killed; what was done until then is whole."""
    box, crowd = box_of_a_crowd(folders={"inbox": 6, "other": 2}, messages=4)
    first = local(tmp_path / "first")
    with box:
        two_days(box, first)
    content, before = first.snapshot(), held(first)
    stops = 0
    for after_looks in range(0, 30, 2):
        files = copied(content, tmp_path / str(after_looks))
        asked = iter(range(10_000))
        try:
            erase(store_of(files), crowd.alone.id, stopped=lambda asked=asked, most=after_looks: next(asked) >= most)
        except Stopped:
            stops += 1
        assert held(files).keys() == before.keys()
        erase(store_of(files), crowd.alone.id)
        assert search(tmp_path / str(after_looks), words(crowd)) == set()
    assert stops > 5


def test_nothing_of_them_lies_on_the_worker_s_disk_afterwards(tmp_path: Path) -> None:
    """What is read is removed file by file, also where it is killed by an error."""
    box, crowd = box_of_a_crowd(folders={"inbox": 6, "other": 2}, messages=4)
    files = local(tmp_path / "export")
    with box:
        export(box, store_of(files))
    with scratch_in(tmp_path / "scratch"):
        with suppress(Broken):
            erase(Breaking(store_of(files), 12), crowd.alone.id)
        assert list((tmp_path / "scratch").iterdir()) == []
        erase(store_of(files), crowd.alone.id)
        assert list((tmp_path / "scratch").iterdir()) == []
