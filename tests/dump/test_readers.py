"""What readers see while exports of a window replace each other, crash in their publish, race each other and resume."""

from __future__ import annotations

import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump.walk import FolderExport
from airflow_provider_pageconv.sandbox import Life, Sandbox
from tests.dump.exporting import (
    DAY,
    NOW,
    AtOnce,
    Breaking,
    Broken,
    assert_reads_one_of,
    export,
    folder_export,
    go,
    held,
    raw_lines,
    store_of,
)
from tests.servers.destinations import Destination, local

ROUNDS = 9


def box_of(threads: int, **options: Any) -> Sandbox:
    return Sandbox(conversations=0, folders={"inbox": threads}, now=NOW, details="all", **options)


@dataclass
class Story:
    """What happened when, by the clock of one process.

    :param calls: export id, and when each of its calls began.
    :param globbed: export id, and when a file of it had been seen by who globs the streams.
    """

    box: Sandbox
    files: Destination
    calls: list[tuple[str, float]] = field(default_factory=list)
    globbed: list[tuple[str, float]] = field(default_factory=list)
    readings: dict[str, int] = field(default_factory=dict)
    errors: list[BaseException] = field(default_factory=list)

    def export(self, run: str, store: Any = None, **options: Any) -> FolderExport:
        """Return a folder's export whose calls are noted."""
        caller = AtOnce(self.box)
        get = caller.get

        def noted(*arguments: Any) -> Any:
            self.calls.append((one.progress.export_id, time.monotonic()))
            return get(*arguments)

        caller.get = noted  # type: ignore[method-assign]
        options |= {"max_part_records": 5, "page_size": 3}
        one = folder_export(self.box, store or store_of(self.files), caller=caller, run=run, **options)
        return one

    def names(self) -> list[str]:
        """Glob the streams."""
        return self.files.names("messages") + self.files.names("conversations")

    def exports(self) -> set[str]:
        """Return the ids of the exports that who globs the streams sees side by side."""
        return {export_of(name) for name in self.names()}

    def look(self) -> None:
        """Glob the streams once, and read what is there: each file whole, and its records of the export that it names."""
        names = self.names()
        now = time.monotonic()
        self.globbed += [(export_of(name), now) for name in names]
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # replaced meanwhile
                rows = raw_lines(self.files.read(name), name)
                assert {json.loads(row)["_export_id"] for row in rows} == {export_of(name)}

    @contextlib.contextmanager
    def read_by(self, **readers: Callable[[], None]) -> Iterator[None]:
        """Let readers read in a loop, each in a worker thread of its own."""
        stop = threading.Event()

        def loop(name: str, read: Callable[[], None]) -> None:
            try:
                while not stop.is_set():
                    read()
                    self.readings[name] = self.readings.get(name, 0) + 1
            except BaseException as error:  # noqa: BLE001 - shown by the test
                self.errors.append(error)

        workers = [threading.Thread(target=loop, args=reader) for reader in readers.items()]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            stop.set()
            for worker in workers:
                worker.join()


def export_of(name: str) -> str:
    """Return the export id in the name of a part file."""
    return name.rpartition("/")[2].rsplit("-", 2)[0]


@pytest.mark.parametrize("destination_files", ["file", "s3"], indirect=True)
def test_at_every_instant_readers_see_what_they_were_promised(destination_files: Destination) -> None:
    """By the manifest one complete export; by glob no file of an export that makes another call afterwards.

    In turn an export replaces its predecessor, crashes in its publish and is resumed, and races another run.
    """
    draw = random.Random(7)
    with box_of(8, messages=2) as box:
        story = Story(box, destination_files)
        go(story.export("run-0"))
        allowed = [held(box)]

        def by_manifest(again: int = 20) -> None:
            try:
                assert_reads_one_of(destination_files, allowed)
            except FileNotFoundError:  # replaced meanwhile: read the manifests again
                assert again
                by_manifest(again - 1)

        thread = next(iter(box.page.threads())).id
        crashes = 0
        with story.read_by(manifest=by_manifest, glob=story.look):
            for number in range(1, ROUNDS + 1):
                with box.lock:
                    box.page.add_message(thread, at=NOW - timedelta(minutes=30 - number))
                    allowed.append(held(box))
                if number % 3 == 1:
                    breaking = Breaking(store_of(destination_files), draw.randint(1, 9), only=("copy", "delete"))
                    with contextlib.suppress(Broken):
                        go(story.export(f"run-{number}", breaking))
                        crashes -= 1
                    crashes += 1
                elif number % 3 == 2:
                    race(story, f"run-{number}-a", f"run-{number}-b")
                go(story.export(f"run-{number}"))
        assert story.errors == []
        assert crashes >= 2
        assert all(story.readings[reader] > 3 for reader in ("manifest", "glob")), story.readings
        last_call = dict(story.calls)
        too_early = [one for one, at in story.globbed if at < last_call[one]]
        assert too_early == []
        # What a race left is swept by the folder's next export seven days later.
        week = datetime.now(timezone.utc) + timedelta(days=8)
        go(story.export("run-later", clock=lambda: week))
        assert len(story.exports()) == 1
        assert_reads_one_of(destination_files, [held(box)])


def race(story: Story, *runs: str) -> None:
    """Let runs export the same window at once."""
    exports = [story.export(run) for run in runs]
    for one in exports:
        assert one.done_before() is None
        one.begin()
    barrier = threading.Barrier(len(exports))

    def run(one: FolderExport) -> None:
        try:
            barrier.wait()
            one.run()
            one.destination.tidy()
        except BaseException as error:  # noqa: BLE001 - shown by the test
            story.errors.append(error)

    workers = [threading.Thread(target=run, args=(one,)) for one in exports]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def test_after_a_crash_and_the_run_s_next_try_who_globs_sees_one_export(tmp_path: Path) -> None:
    """At whatever copy or deletion of the publish it crashed."""
    with box_of(8, messages=2) as box:
        crashed = 0
        for at in range(1, 20):
            story = Story(box, local(tmp_path / str(at)))
            go(story.export("run-1"))
            try:
                go(story.export("run-2", Breaking(store_of(story.files), at, only=("copy", "delete"))))
            except Broken:
                crashed += 1
            go(story.export("run-2"))
            assert len(story.exports()) == 1
    assert crashed > 5


def test_who_globs_the_streams_sees_no_file_of_an_export_that_is_being_fetched(tmp_path: Path) -> None:
    """At every call the streams hold what was published before, and staging names nothing like a data file."""
    files = local(tmp_path)
    seen: list[list[str]] = []
    with box_of(40, messages=60, long_every=5) as box:
        export(box, store_of(files), run="run-1", until=NOW - DAY)
        published = files.names("messages") + files.names("conversations")
        staged: set[str] = set()

        def look(_: Any) -> None:
            seen.append(files.names("messages") + files.names("conversations"))
            staged.update(files.names("_staging"))

        box.life.add(Life("call", every=1, do=look))
        export(box, store_of(files), run="run-2", overwrite=True, until=NOW - DAY, page_size=10, max_part_records=3)
    assert len(seen) > 3
    assert all(names == published for names in seen)
    assert any("part-" in name for name in staged)
    assert not [name for name in staged if "jsonl" in name or name.endswith((".gz", ".parquet"))]
