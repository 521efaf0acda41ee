"""What replaces what, what is refused, and what readers see meanwhile."""

from __future__ import annotations

import itertools
import json
import os
import threading
from contextlib import nullcontext
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv.dump.checkpoint import Checkpoints
from airflow_provider_pageconv.dump.endings import DumpRefused, Stopped, Superseded
from airflow_provider_pageconv.dump.export import Export
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.manifest_file import read_manifest
from airflow_provider_pageconv.dump.store import FsspecStore, LocalStore
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.graph.errors import GraphAuthError
from airflow_provider_pageconv.sandbox import Fault, Sandbox
from tests.dump.exporting import (
    DAY,
    FOLDERS,
    NOW,
    Breaking,
    Broken,
    Meanwhile,
    assert_holds,
    assert_reads_one_of,
    assert_tidy,
    every_step_saved,
    export,
    exporting,
    held,
    ids,
    owed,
    spec_of,
    store_of,
)
from tests.dump.values import JSON, TEXT
from tests.servers.destinations import Destination, local


def box_of(threads: int = 12, **options: Any) -> Sandbox:
    return Sandbox(**{"conversations": 0, "folders": {"inbox": threads}, "now": NOW, "details": "all", **options})


def test_the_same_export_again_replaces_its_predecessor(destination_files: Destination) -> None:
    """One manifest and its files are there afterwards, under names that were never used before."""
    with box_of() as box:
        first = export(box, store_of(destination_files), run="run-1")
        second = export(box, store_of(destination_files), run="run-2")
        assert first["export_id"] != second["export_id"]
        assert not {entry["path"] for entry in first["files"]} & {entry["path"] for entry in second["files"]}
        assert_holds(destination_files, owed(box.data()))
    assert_tidy(destination_files)


WAYS_OUT = (
    "use another destination, or first delete _manifests/{place}/window={other}.json and then "
    "conversations/{place}/window={other}/, messages/{place}/window={other}/ and media/{place}/window={other}/."
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
            exporting(box, store_of(files), FOLDERS, run="run-2", since=new_since, until=new_until).run()
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


@pytest.mark.parametrize("at_once", [True, False])
def test_an_overlap_that_came_up_meanwhile_is_refused_before_publishing(
    destination_files: Destination, at_once: bool
) -> None:
    """Another run published while this one walked; its export stays as it is."""
    files = destination_files
    with box_of() as box:

        def other() -> None:
            export(box, store_of(files), run="run-2", since=NOW - DAY, until=NOW)
            published.update(files.manifests())

        published: dict[str, Any] = {}
        store = Meanwhile(store_of(files), other, "put_bytes", "/claim" if at_once else "/checkpoint-")
        refused = pytest.raises(DumpRefused, match=r"^The window all of .* overlaps 20261120T100000Z--20261121T100000Z")
        with nullcontext() if at_once else every_step_saved(), refused:
            export(box, store, run="run-1")
        assert published
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
        old = export(box, store_of(files), run="run-1", max_part_records=5)
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
        exporting(box, store_of(files), run="run-1").run()
        assert files.read(stranger) == b"somebody's"
        assert [name.rpartition("/")[2] for name in files.names("_staging")] == ["note-strangers"]
        # The run once more, after it has finished: still not 7 days.
        exporting(box, store_of(files), run="run-1").run()
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
        note = "".join(json.dumps(row) + "\n" for row in ({"manifest": manifest}, {"path": published}))
        files.write(f"{staging}/note-strangers", note.encode())
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
        files.write(f"_staging/platform=messenger/page_id={box.page.id}/folder=inbox/by-itself", b"x")
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
        barrier = threading.Barrier(2)
        errors: list[BaseException] = []

        def race(run: str) -> None:
            try:
                store = Meanwhile(store_of(destination_files), barrier.wait, "copy")
                export(box, store, run=run, max_part_records=4)
            except BaseException as error:  # noqa: BLE001 - shown by the test
                errors.append(error)

        workers = [threading.Thread(target=race, args=(f"run-{number}",)) for number in range(2)]
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

    with box_of(messages=2) as box:

        def other() -> None:
            export(box, store_of(files), run="run-2")

        export(box, Meanwhile(store_of(files), other, "put_bytes", "_manifests/"), run="run-1")
        assert_reads_one_of(files, [held(box)])
        (manifest,) = files.manifests().values()
        assert manifest["run_key"]["run_id"] == "run-1"


def test_one_listing_of_the_manifest_names_tells_what_is_there(tmp_path: Path) -> None:
    """However many windows are published, they are not read one by one."""
    did: list[list[str]] = []
    with box_of(5, messages=2) as box:
        for many in (1, 6):
            files = local(tmp_path / str(many))
            for number in range(many):
                since = NOW - (number + 1) * DAY
                export(box, store_of(files), since=since, until=since + DAY, run=f"run-{number}")
            watching = Breaking(store_of(files))
            export(box, watching, run="run-9", since=NOW - 9 * DAY, until=NOW - 8 * DAY)
            did.append([what.split()[0] for what in watching.did if " _manifests/" in what])
    assert did[0] == did[1]
    before, after = did[0][: did[0].index("put_bytes")], did[0][did[0].index("put_bytes") :]
    assert before.count("list") == 2, "before the first call, and before it publishes"
    assert "list" not in after


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


@pytest.mark.parametrize("at_once", [True, False])
def test_on_kill_between_the_walk_and_the_manifest_nothing_is_published(
    destination_files: Destination, at_once: bool
) -> None:
    """Not even when every part lies where readers look already; what was fetched is safe."""
    files = destination_files
    with box_of(5, messages=2) as box:
        killed: list[Export] = []
        happens = ("put", "messages/platform=") if at_once else ("copy", "")
        killed.append(exporting(box, Meanwhile(store_of(files), lambda: killed[0].kill(), *happens)))
        with nullcontext() if at_once else every_step_saved(), pytest.raises(Stopped):
            killed[0].run()
        assert files.manifests() == {}
        box.forget()
        export(box, store_of(files))
        assert box.requests == []
        assert_reads_one_of(files, [held(box)])
        assert_tidy(files)


@pytest.mark.parametrize("at_once", [True, False])
def test_a_try_that_is_superseded_while_it_publishes_puts_no_manifest(
    destination_files: Destination, at_once: bool
) -> None:
    """It looks right before the PUT; the later try publishes what both have read, without a call if that was safe."""
    files = destination_files
    with box_of(5, messages=2) as box:
        one = exporting(box, store_of(files))
        place = Place("messenger", box.page.id, "inbox", "all")
        later = Checkpoints(store_of(files), f"{place.staging}/{one._spec.staging_name()}", "later")
        happens = ("put", "messages/platform=") if at_once else ("copy", "")
        with nullcontext() if at_once else every_step_saved(), pytest.raises(Superseded):
            export(box, Meanwhile(store_of(files), later.claim, *happens))
        assert files.manifests() == {}
        box.forget()
        export(box, store_of(files))
        assert at_once or box.requests == []
        assert_reads_one_of(files, [held(box)])
        assert_tidy(files)


def test_a_try_whose_successor_has_published_meanwhile_leaves_that_as_it_is(destination_files: Destination) -> None:
    """At whatever step of its publish it sleeps; also when the other has swept up behind it."""
    files = destination_files
    with box_of(5, messages=2) as box:
        for number, step in enumerate(["copy", "put_bytes"]):
            options = {"run": f"run-{number}", "max_part_records": 2}
            published: dict[str, Any] = {}

            def successor(options: Any = options, published: Any = published) -> None:
                export(box, store_of(files), **options)
                published.update(files.manifests())

            where = {"copy": "", "put_bytes": "note-publish"}[step]
            with pytest.raises((Superseded, FileNotFoundError, StoreError)):
                export(box, Meanwhile(store_of(files), successor, step, where), **options)
            assert files.manifests() == published
            assert_reads_one_of(files, [held(box)])


SHA = "ab" * 32
MEDIA_ROW = {"path": f"media/{SHA}.jpg", "stream": "media", "records": 1, "bytes": 3, "sha256": SHA}
ROWS = st.sampled_from(
    [MEDIA_ROW, {**MEDIA_ROW, "new": 1}, {**MEDIA_ROW, "sha256": "cd" * 32}, {"stream": "messages"}, {}]
)


class Holding(LocalStore):
    """A store in which every file holds the same."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self, key: str, most: int | None = None) -> bytes:
        return self._content[:most]


@given(st.dictionaries(TEXT, JSON, max_size=4), st.lists(ROWS | st.dictionaries(TEXT, JSON, max_size=2)), JSON)
@settings(deadline=None)
def test_a_manifest_is_read_as_it_stands(document: dict[str, Any], files: list[dict[str, Any]], media: Any) -> None:
    """Also one with files of attachments, whose rows are kept small, and by whoever compares two of them."""
    document = {**document, "files": files, "media_files": media}
    store = Holding(json.dumps(document).encode())
    found = read_manifest(store, "a manifest")
    assert found is not None
    assert {**found, "files": sorted(map(repr, found["files"]))} == {**document, "files": sorted(map(repr, files))}
    assert found == read_manifest(store, "a manifest")
