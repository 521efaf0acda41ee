"""What replaces what, what is refused, and what readers see meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.destination import DumpRefused, Superseded
from airflow_provider_pageconv.dump.folders import summary
from airflow_provider_pageconv.dump.store import FsspecStore
from airflow_provider_pageconv.graph.errors import GraphAuthError
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.dump.exporting import (
    DAY,
    NOW,
    Breaking,
    Broken,
    all_folders,
    assert_holds,
    assert_reads_one_of,
    assert_tidy,
    client_of,
    export,
    folder_export,
    go,
    held,
    ids,
    owed,
    spec_of,
    store_of,
)
from tests.servers.destinations import Destination, local

KEPT = (
    "The export that is published holds more than this one found, since the API forgets: it stays. "
    "overwrite=True replaces it all the same."
)


def box_of(threads: int = 12, **options: Any) -> Sandbox:
    return Sandbox(**{"conversations": 0, "folders": {"inbox": threads}, "now": NOW, "details": "all", **options})


def test_the_same_export_again_replaces_its_predecessor(destination_files: Destination) -> None:
    """One manifest and its files are there afterwards, under names that were never used before."""
    with box_of() as box:
        first, _ = export(box, store_of(destination_files), run="run-1")
        second, is_new = export(box, store_of(destination_files), run="run-2")
        assert is_new
        assert first["export_id"] != second["export_id"]
        assert not {entry["path"] for entry in first["files"]} & {entry["path"] for entry in second["files"]}
        assert_holds(destination_files, owed(box.data()))
    assert_tidy(destination_files)


def test_an_export_that_holds_fewer_messages_with_details_leaves_the_published_one(
    destination_files: Destination,
) -> None:
    """The API forgets; the task succeeds, and the summary says so. ``overwrite`` replaces all the same."""
    with box_of() as box:
        first = all_folders(box, store_of(destination_files), ("inbox",), run="run-1").run()
        before = destination_files.snapshot()
        message = next(iter(box.page.threads())).messages[0]
        box.page.unsend(message.id, leaves="bare")
        second = all_folders(box, store_of(destination_files), ("inbox",), run="run-2").run()
        told = summary(spec_of(box), {"inbox": second[0]})
        assert destination_files.snapshot() == before
        assert told["warnings"] == [f"inbox: {KEPT}"]
        assert (told["messages"], told["files"]) == (first[0].manifest["messages"], 2)
        assert told["api_calls"] == second[0].api_calls > 0

        third, is_new = export(box, store_of(destination_files), run="run-3", overwrite=True)
        assert is_new
        assert third["messages_unavailable"] == 1
        assert_holds(destination_files, owed(box.data()))
    assert_tidy(destination_files)


def test_fewer_conversations_alone_do_not_keep_a_new_export_back(tmp_path: Path) -> None:
    """As long as it holds as many messages with details; without messages the conversations are counted."""
    with box_of(messages=2) as box:
        files, alone = local(tmp_path / "both"), local(tmp_path / "alone")
        empty = box.page.new_thread("inbox", at=NOW - timedelta(minutes=2), messages=0)
        export(box, store_of(files), run="run-1")
        export(box, store_of(alone), run="run-1", messages=False)
        box.page.delete_thread(empty.id)
        _, is_new = export(box, store_of(files), run="run-2")
        assert is_new
        kept, is_new = export(box, store_of(alone), run="run-2", messages=False)
        assert not is_new
        assert kept["conversations"] == 13
        fewer, is_new = export(box, store_of(alone), run="run-3", messages=False, overwrite=True)
        assert is_new
        assert fewer["conversations"] == 12
        assert_tidy(alone)


def test_newer_messages_do_not_make_up_for_forgotten_ones(destination_files: Destination) -> None:
    """A dump of everything is measured by what is from before the published ``until``."""
    files = destination_files
    with box_of(messages=2) as box:
        threads = [thread.id for thread in box.page.threads()]
        export(box, store_of(files), run="run-1")
        box.page.unsend(box.page.thread(threads[3]).messages[1].id)
        for hours in range(1, 4):
            box.page.add_message(threads[5], at=NOW + timedelta(hours=hours))
        later = lambda: NOW + DAY  # noqa: E731
        kept, is_new = export(box, store_of(files), run="run-2", clock=later)
        assert not is_new
        assert kept["messages"] == 24

        box.page.add_message(threads[3], at=NOW - timedelta(days=60))
        replaced, is_new = export(box, store_of(files), run="run-3", clock=later)
        assert is_new
        assert replaced["messages"] == 27
        assert_holds(files, owed(box.data()))
    assert_tidy(files)


def test_texts_that_the_api_forgot_are_not_replaced_by_bare_ids(destination_files: Destination) -> None:
    """Also where the sender is not asked for, and nobody can tell why there is no text."""
    files = destination_files
    with box_of(messages=20, long_every=1) as box:
        thread = next(iter(box.page.threads()))
        first, _ = export(box, store_of(files), run="run-1")
        for hours in range(1, 4):
            box.page.add_message(thread.id, at=NOW + timedelta(hours=hours))
        options = {"clock": lambda: NOW + DAY, "message_fields": ("message",)}
        kept, is_new = export(box, store_of(files), run="run-2", **options)
        assert not is_new
        assert kept["export_id"] == first["export_id"]

        export(box, store_of(files), run="run-3", overwrite=True, **options)
        again, is_new = export(box, store_of(files), run="run-4", **options)
        assert is_new, "the same export again"
        assert again["messages"] == first["messages"] + 3
        assert again["messages_detailed"] <= again["messages"] - 3


def test_an_export_of_bare_ids_that_was_asked_for_replaces_its_predecessor(destination_files: Destination) -> None:
    """Nothing else was asked for, so nothing is missing."""
    files = destination_files
    with box_of(messages=2) as box:
        for run in ("run-1", "run-2"):
            manifest, is_new = export(box, store_of(files), run=run, message_fields=("id",))
            assert is_new
        assert manifest["messages"] > manifest["messages_detailed"] == 0
        box.page.unsend(next(iter(box.page.threads())).messages[0].id)
        _, is_new = export(box, store_of(files), run="run-3", message_fields=("id",))
        assert not is_new, "fewer ids"


def test_details_replace_bare_ids_and_bare_ids_no_details(tmp_path: Path) -> None:
    """Whatever there is of messages is replaced by what is more telling, however few came with it, never by less."""
    files = local(tmp_path)
    ids: dict[str, Any] = {"message_fields": ("id", "created_time")}
    none: dict[str, Any] = {"messages": False}
    with box_of(messages=30, long_every=1) as box:
        attempts: list[tuple[dict[str, Any], bool]] = [
            (none, True),
            (ids, True),
            (none, False),
            ({}, True),
            (ids, False),
            (none, False),
            ({}, True),
        ]
        for number, (options, expected) in enumerate(attempts):
            manifest, is_new = export(box, store_of(files), run=f"run-{number}", **options)
            assert is_new == expected, number
        assert manifest["messages_detailed"] == manifest["messages"] > 0
    assert_tidy(files)


def test_what_another_run_published_meanwhile_is_measured_as_well(destination_files: Destination) -> None:
    """The walk was counted for the predecessor that was there when it began; it is counted again for the new one."""
    files = destination_files
    with box_of(messages=2) as box:
        slow = folder_export(box, store_of(files), run="run-1")
        assert slow.done_before() is None
        box.faults.add(Fault("empty", at=1))
        slow.begin()
        forgotten = next(iter(box.page.threads())).messages[0]
        export(box, store_of(files), run="run-2")
        box.page.unsend(forgotten.id)
        published, is_new = slow.run()
        assert not is_new
        assert published["run_key"]["run_id"] == "run-2"


WAYS_OUT = (
    "use another destination, or first delete _manifests/{place}/window={other}.json and then "
    "conversations/{place}/window={other}/ and messages/{place}/window={other}/."
)


@pytest.mark.parametrize(
    "windows",
    [
        ((None, None), (NOW - DAY, NOW)),
        ((NOW - DAY, NOW), (None, None)),
        ((NOW - 2 * DAY, NOW - DAY), (NOW - 2 * DAY, NOW)),
        ((None, NOW - DAY), (NOW - 2 * DAY, NOW)),
        ((NOW - 2 * DAY, NOW), (None, NOW - DAY)),
        ((None, NOW), (None, NOW - DAY)),
    ],
    ids=range(6),
)
def test_a_window_that_overlaps_a_published_one_is_refused_before_the_first_call(
    windows: tuple[tuple[datetime | None, datetime | None], ...], destination_files: Destination
) -> None:
    """The sentence names both, and what to do; what is there is not touched."""
    files = destination_files
    (since, until), (new_since, new_until) = windows
    with box_of() as box:
        export(box, store_of(files), run="run-1", since=since, until=until)
        before = files.snapshot()
        box.forget()
        place = f"platform=messenger/page_id={box.page.id}/folder=inbox"
        mine, other = (
            spec_of(box, since=one, until=two).window.name for one, two in ((new_since, new_until), (since, until))
        )
        with pytest.raises(DumpRefused) as caught:
            all_folders(box, store_of(files), run="run-2", since=new_since, until=new_until).run()
        assert str(caught.value) == (
            f"The window {mine} of {place} overlaps {other}, which is published there: "
            + WAYS_OUT.format(place=place, other=other)
        )
        assert box.requests == []
    assert files.snapshot() == before


def test_windows_that_only_touch_are_not_refused(destination_files: Destination) -> None:
    """Nor are those of another folder or another Page."""
    files = destination_files
    with box_of() as box:
        export(box, store_of(files), since=NOW - DAY, until=NOW)
        export(box, store_of(files), since=NOW - 2 * DAY, until=NOW - DAY)
        export(box, store_of(files), until=NOW - 2 * DAY)
        export(box, store_of(files), "spam")
    assert len(files.manifests()) == 4


def test_an_overlap_that_came_up_meanwhile_is_refused_before_publishing(destination_files: Destination) -> None:
    """Another run published while this one walked; its export stays as it is."""
    files = destination_files
    with box_of() as box:
        slow = folder_export(box, store_of(files), run="run-1")
        assert slow.done_before() is None
        slow.begin()
        export(box, store_of(files), run="run-2", since=NOW - DAY, until=NOW)
        published = files.manifests()
        with pytest.raises(DumpRefused, match=r"^The window all of .* overlaps 20261120T100000Z--20261121T100000Z"):
            slow.run()
        assert files.manifests() == published
        assert all(name in json.dumps(published) for name in files.names("messages"))


@pytest.mark.parametrize(
    "first, second",
    [(None, "someone"), ("someone", None), ("someone", "somebody")],
)
def test_a_person_s_conversations_and_a_page_s_are_not_mixed(
    first: str | None, second: str | None, destination_files: Destination
) -> None:
    """Both ways, and for two people; also into the very same window and before the first call."""
    files = destination_files
    with box_of() as box:
        people = [thread.person.id for thread in box.page.threads()]
        known = {"someone": people[0], "somebody": people[3], None: None}
        export(box, store_of(files), run="run-1", user_id=known[first], until=NOW - DAY)
        before = files.snapshot()
        box.forget()
        place = f"platform=messenger/page_id={box.page.id}/folder=inbox"
        mine, theirs = (f"user_id {known[who]}" if who else "the whole Page" for who in (second, first))
        for window in ({"until": NOW - DAY}, {"since": NOW - DAY, "until": NOW}):
            with pytest.raises(DumpRefused) as caught:
                export(box, store_of(files), run="run-2", user_id=known[second], **window)
            assert str(caught.value) == (
                f"This export of {mine} cannot be mixed with the window begin--20261120T100000Z of {place}, which holds "
                f"{theirs}: " + WAYS_OUT.format(place=place, other="begin--20261120T100000Z")
            )
        assert box.requests == []
    assert files.snapshot() == before


def test_a_manifest_that_cannot_be_read_is_refused_and_not_replaced(destination_files: Destination) -> None:
    """Nobody knows what it stood for."""
    files = destination_files
    with box_of() as box:
        name = f"_manifests/platform=messenger/page_id={box.page.id}/folder=inbox/window=all.json"
        for content in (b"", b"{", b"[]", b'{"files": 3}'):
            files.write(name, content)
            with pytest.raises(DumpRefused) as caught:
                export(box, store_of(files))
            assert (
                str(caught.value) == f"The manifest {name} cannot be read: delete it and the files of its window first."
            )
        assert box.requests == []
        assert files.names() == [name]


def test_the_manifest_is_the_last_thing_before_the_sweeping_up(destination_files: Destination) -> None:
    """Parts first, one PUT of the manifest, then the files of the predecessor."""
    files = destination_files
    with box_of() as box:
        old, _ = export(box, store_of(files), run="run-1", max_part_records=5)
        watching = Breaking(store_of(files))
        export(box, watching, run="run-2", max_part_records=5)
    did = watching.did
    put = [number for number, what in enumerate(did) if what.startswith("put_bytes _manifests/")]
    copies = [number for number, what in enumerate(did) if what.startswith("copy ")]
    deletes = [number for number, what in enumerate(did) if what.startswith("delete ") and "window=" in what]
    assert len(put) == 1
    assert copies
    assert max(copies) < put[0] < min(deletes)
    assert all(entry["path"] in did[deletes[0]] for entry in old["files"])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_step_of_the_publish_leaves_one_complete_export(tmp_path: Path, *, after: bool) -> None:
    """The one before or the new one; the next try of the run sweeps up what was left."""
    with box_of(messages=2) as box:
        start = local(tmp_path / "start")
        export(box, store_of(start), run="run-1", max_part_records=5)
        before = start.snapshot()
        first = held(box)
        box.page.add_message(next(iter(box.page.threads())).id, at=NOW - timedelta(minutes=1))
        second = held(box)
        walked = 0
        for number in itertools.count(1):
            files = local(tmp_path / str(number))
            for name, content in before.items():
                files.write(name, content)
            breaking = Breaking(store_of(files), number, after=after)
            try:
                export(box, breaking, run="run-2", max_part_records=5)
            except Broken:
                walked += 1
            else:
                break
            assert len(files.manifests()) == 1
            assert_reads_one_of(files, [first, second])
            export(box, store_of(files), run="run-2", max_part_records=5)
            assert_reads_one_of(files, [second])
            assert_tidy(files)
    assert walked > 20


def test_what_a_crash_in_the_publish_left_is_swept_by_another_run_seven_days_later(tmp_path: Path) -> None:
    """And not before: it might be at work still."""
    files = local(tmp_path)
    with box_of(messages=2) as box:
        counting = Breaking(store_of(local(tmp_path / "count")))
        export(box, counting, run="run-1", max_part_records=5)
        last_copy = 1 + max(number for number, did in enumerate(counting.did) if did.startswith("copy "))
        files = local(tmp_path / "files")
        with pytest.raises(Broken):
            export(box, Breaking(store_of(files), last_copy, after=True), run="run-1", max_part_records=5)
        orphans = set(files.names("messages") + files.names("conversations"))
        assert orphans
        left = set(files.names("_staging"))
        now = datetime.now(timezone.utc)
        for days, gone in ((6, False), (8, True)):
            export(box, store_of(files), run=f"run-after-{days}", clock=lambda days=days: now + timedelta(days=days))
            assert (not set(files.names()) & left) == gone
            assert (not set(files.names()) & orphans) == gone
        named = {entry["path"] for manifest in files.manifests().values() for entry in manifest["files"]}
        assert set(files.names("messages") + files.names("conversations")) == named


def test_files_of_nobody_are_noted_and_swept_seven_days_later(destination_files: Destination) -> None:
    """They may belong to a run that is publishing right now, and are not touched before."""
    files = destination_files
    with box_of(messages=2) as box:
        stranger = f"messages/platform=messenger/page_id={box.page.id}/folder=inbox/window=all/0000-0000-00000.jsonl.gz"
        files.write(stranger, b"somebody's")
        all_folders(box, store_of(files), ("inbox",), run="run-1").run()
        assert files.read(stranger) == b"somebody's"
        assert [name.rpartition("/")[2] for name in files.names("_staging")] == ["note-strangers"]
        # The run once more, after it has finished: still not 7 days.
        all_folders(box, store_of(files), ("inbox",), run="run-1").run()
        assert files.read(stranger) == b"somebody's"
        now = datetime.now(timezone.utc)
        export(box, store_of(files), run="run-2", clock=lambda: now + timedelta(days=6))
        assert files.read(stranger) == b"somebody's"
        export(box, store_of(files), run="run-3", clock=lambda: now + timedelta(days=8))
        assert stranger not in files.names()


def test_files_that_were_published_meanwhile_are_not_swept(tmp_path: Path) -> None:
    """A note names what was nobody's then; what a manifest names now stays."""
    files = local(tmp_path)
    with box_of(messages=2) as box:
        export(box, store_of(files), run="run-1", until=NOW - DAY)
        published = next(name for name in files.names("messages"))
        staging = f"_staging/platform=messenger/page_id={box.page.id}/folder=inbox/feedfacefeedface"
        (manifest,) = files.manifests()
        files.write(f"{staging}/note-strangers", json.dumps({"manifest": manifest, "files": [published]}).encode())
        old = (box.clock() - timedelta(days=9)).timestamp()
        os.utime(Path(files.root) / staging / "note-strangers", (old, old))
        export(box, store_of(files), run="run-2", since=NOW - DAY, until=NOW)
        assert published in files.names()
        assert files.names("_staging") == []


def test_another_run_s_leftovers_are_swept_seven_days_after_their_last_write(destination_files: Destination) -> None:
    """By the same folder's next export, whatever its window; other folders' are left alone."""
    files = destination_files
    with Sandbox(conversations=0, folders={"inbox": 5, "other": 5}, messages=2, now=NOW) as box:
        for folder in ("inbox", "other"):
            box.faults.clear()
            box.faults.add(Fault(code=190))
            with pytest.raises(GraphAuthError):
                export(box, store_of(files), folder, run="run-1", until=NOW - DAY)
        box.faults.clear()
        left = set(files.names("_staging"))
        assert left
        now = datetime.now(timezone.utc)
        export(box, store_of(files), run="run-2", clock=lambda: now + timedelta(days=7, minutes=-5))
        assert set(files.names("_staging")) == left
        export(box, store_of(files), run="run-3", clock=lambda: now + timedelta(days=7, minutes=5))
        assert {name for name in left if "folder=other" in name} == set(files.names("_staging"))


def test_two_runs_that_publish_the_same_window_leave_one_of_them_whole(destination_files: Destination) -> None:
    """Whoever is last; nothing of the other is named, and none of the named files is gone."""
    with box_of(messages=2) as box:
        store = store_of(destination_files)
        exports = [folder_export(box, store, run=f"run-{number}", max_part_records=4) for number in range(2)]
        for one in exports:
            assert one.done_before() is None
            one.begin()
        barrier = threading.Barrier(2)
        errors: list[BaseException] = []

        def race(one: Any) -> None:
            try:
                barrier.wait()
                one.run()
                one.destination.tidy()
            except BaseException as error:  # noqa: BLE001 - shown by the test
                errors.append(error)

        workers = [threading.Thread(target=race, args=(one,)) for one in exports]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert errors == []
        assert len(destination_files.manifests()) == 1
        assert_reads_one_of(destination_files, [held(box)])


def test_a_run_in_the_middle_of_its_publish_is_not_disturbed_by_another(destination_files: Destination) -> None:
    """Its files lie there without a manifest when the other one tidies up; then its manifest names them."""
    files = destination_files

    class Pausing(Breaking):
        """Lets somebody else act right before the manifest is put."""

        between: Callable[[], Any] = staticmethod(lambda: None)

        def with_scratch(self, prefix: str) -> Any:
            return self

        def put_bytes(self, data: bytes, key: str) -> None:
            if key.startswith("_manifests/"):
                self.between()
            self._store.put_bytes(data, key)

    with box_of(messages=2) as box:
        pausing = Pausing(store_of(files))

        def other() -> None:
            all_folders(box, store_of(files), ("inbox",), run="run-2").run()

        pausing.between = other  # type: ignore[method-assign]
        export(box, pausing, run="run-1")
        assert_reads_one_of(files, [held(box)])
        (manifest,) = files.manifests().values()
        assert manifest["run_key"]["run_id"] == "run-1"


def test_one_listing_of_the_manifest_names_tells_what_is_there(destination_files: Destination) -> None:
    """However many windows are published, they are not read one by one."""
    files = destination_files
    with box_of(5, messages=2) as box:
        for number in range(6):
            export(box, store_of(files), since=NOW - (number + 1) * DAY, until=NOW - number * DAY, run=f"run-{number}")
        watching = Breaking(store_of(files))
        folder_export(box, watching, run="run-9", since=NOW - 9 * DAY, until=NOW - 8 * DAY).done_before()
    did = [what.split()[0] for what in watching.did]
    assert did.count("list") == 1
    assert did.count("read") <= 2


def test_an_object_store_that_does_not_tell_times_never_has_anything_swept(tmp_path: Path) -> None:
    """What might have been written just now is left alone."""
    import fsspec

    files = Destination(url="", fs=fsspec.filesystem("memory"), root=f"/export-{tmp_path.name}")

    class Timeless(FsspecStore):
        def list(self, prefix: str) -> Any:
            return [type(entry)(entry.key, entry.size, None) for entry in super().list(prefix)]

    with box_of(5, messages=2) as box:
        box.faults.add(Fault(code=190, at=1))
        store = Timeless(files.fs, files.root)
        with pytest.raises(GraphAuthError):
            export(box, store, run="run-1")
        left = set(files.names("_staging"))
        export(box, store, run="run-2", clock=lambda: NOW + timedelta(days=400))
        assert set(files.names("_staging")) == left
        assert ids(files, "messages") == sorted(owed(box.data()).messages)


def test_on_kill_between_the_walk_and_the_manifest_nothing_is_published(destination_files: Destination) -> None:
    """Not even when every part has been copied already."""
    files = destination_files
    with box_of(5, messages=2) as box:
        exporting: list[Any] = []

        class Killing(Breaking):
            def with_scratch(self, prefix: str) -> Any:
                return self

            def copy(self, source: str, key: str) -> None:
                exporting[0].kill()
                self._store.copy(source, key)

        exporting.append(all_folders(box, Killing(store_of(files)), ("inbox",), client=client_of(box)))
        from airflow_provider_pageconv.graph.errors import CallsStopped

        with pytest.raises(CallsStopped):
            exporting[0].run()
        assert files.manifests() == {}
        box.forget()
        go(folder_export(box, store_of(files)))
        assert box.requests == []
        assert_tidy(files)


def test_a_try_that_is_superseded_while_it_publishes_puts_no_manifest(destination_files: Destination) -> None:
    """It looks right before the PUT; the later try publishes what both have read, without a call."""
    files = destination_files
    with box_of(5, messages=2) as box:
        later = folder_export(box, store_of(files))
        waking = iter([later.begin])

        class Sleepy(Breaking):
            def with_scratch(self, prefix: str) -> Any:
                return self

            def copy(self, source: str, key: str) -> None:
                next(waking, lambda: None)()
                self._store.copy(source, key)

        with pytest.raises(Superseded):
            export(box, Sleepy(store_of(files)))
        assert files.manifests() == {}
        box.forget()
        later.run()
        assert box.requests == []
        later.destination.tidy()
        assert_reads_one_of(files, [held(box)])
        assert_tidy(files)
