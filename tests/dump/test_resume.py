"""A try that ends early, in whatever way, leaves a state from which the next one goes on to the same result."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.dump import checkpoint
from airflow_provider_pageconv.dump import folder as folders
from airflow_provider_pageconv.dump.checkpoint import Checkpoints
from airflow_provider_pageconv.dump.endings import Stopped, Superseded
from airflow_provider_pageconv.dump.idset import WIDTH
from airflow_provider_pageconv.dump.progress import Progress
from airflow_provider_pageconv.dump.store import LocalStore
from airflow_provider_pageconv.graph.errors import GraphAuthError, GraphRequestError, GraphTransientError
from airflow_provider_pageconv.sandbox import Fault, Life, Sandbox
from tests.dump.exporting import (
    FOLDERS,
    IN_FLIGHT,
    NOW,
    Breaking,
    Broken,
    Meanwhile,
    assert_holds,
    assert_tidy,
    checkpoints,
    every_step_saved,
    export,
    export_in_time,
    exporting,
    least_calls,
    list_calls,
    owed,
    store_of,
)
from tests.servers.destinations import Destination, local, on_s3

SMALL = {"inbox": 23}
"""Three pages of ten, and two threads that need calls of their own."""


def small_box(**options: Any) -> Sandbox:
    return Sandbox(**{"conversations": 0, "folders": SMALL, "messages": 45, "long_every": 12, "now": NOW, **options})


def test_a_refusal_at_any_call_costs_that_call_and_nothing_else(tmp_path: Path) -> None:
    """The token expires before each call in turn; what is under way then is kept, and the next try asks for the rest."""
    with small_box() as box:
        least = least_calls(box.data(), "inbox", 10)
        for number in range(1, least + 1):
            files = local(tmp_path / str(number))
            box.forget()
            box.faults.clear()
            box.faults.add(Fault(code=190, at=number))
            with pytest.raises(GraphAuthError):
                export(box, store_of(files), page_size=10)
            assert number <= len(box.requests) < number + IN_FLIGHT
            assert files.manifests() == {}
            manifest = export(box, store_of(files), page_size=10)
            assert len(box.requests) == least + 1
            assert manifest["api_calls"] == least + 1
            assert_holds(files, owed(box.data()))
            assert_tidy(files)
    assert least == 3 + 2 * 3 + 4


def test_a_stop_at_any_call_costs_no_call_at_all(tmp_path: Path) -> None:
    """All four folders stop with their parts closed, and go on with the next call that is due."""
    folders = dict.fromkeys(FOLDERS, 12)
    with Sandbox(conversations=0, folders=folders, messages=45, long_every=12) as box:
        data = box.data()
        least = sum(least_calls(data, folder, 10) for folder in FOLDERS)
        for number in range(1, least + 1, 2):
            files = local(tmp_path / str(number))
            box.forget()
            box.life.clear()
            first = exporting(box, store_of(files), FOLDERS, page_size=10)
            there: list[set[str]] = []

            def stop(_: object, first: Any = first, files: Any = files, there: Any = there) -> None:
                first.kill()
                there.append(set(files.manifests()))

            box.life.add(Life("call", at=number, do=stop))
            with pytest.raises(Stopped):
                first.run()
            assert set(files.manifests()) <= there[0]
            assert files.names("_staging")
            exporting(box, store_of(files), FOLDERS, page_size=10).run()
            assert len(box.requests) == least
            assert_holds(files, owed(data))
            assert_tidy(files)


def test_a_stop_costs_no_call_when_the_server_takes_its_time(destination_files: Destination) -> None:
    """An answer that is on its way is waited for: it is paid for already."""
    files = destination_files
    with Sandbox(conversations=0, folders={"inbox": 25, "other": 25}, messages=2, latency=0.8) as box:
        data = box.data()
        least = least_calls(data, "inbox", 10) + least_calls(data, "other", 10)
        first = exporting(box, store_of(files), ("inbox", "other"), page_size=10)
        box.life.add(Life("call", at=3, do=lambda _: first.kill()))
        with pytest.raises(Stopped):
            first.run()
        box.latency = 0.0
        exporting(box, store_of(files), ("inbox", "other"), page_size=10).run()
        assert len(box.requests) == least
    assert_holds(files, owed(data))


def test_after_a_kill_nothing_is_published_even_if_all_was_read(destination_files: Destination) -> None:
    """The stop that comes during the last call keeps the manifest back, and the next try needs no call."""
    files = destination_files
    with Sandbox(conversations=0, folders={"inbox": 5}, messages=2) as box:
        first = exporting(box, store_of(files))
        box.life.add(Life("call", at=1, do=lambda _: first.kill()))
        with pytest.raises(Stopped):
            first.run()
        assert files.manifests() == {}
        assert files.names("messages") == files.names("conversations") == []
        exporting(box, store_of(files)).run()
        assert len(box.requests) == 1
    assert_holds(files, owed(box.data()))


@pytest.mark.parametrize("dead", [True, False], ids=["the process is gone", "one operation fails"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_crash_at_any_storage_operation_loses_and_doubles_nothing(tmp_path: Path, *, after: bool, dead: bool) -> None:
    """Each operation in turn breaks, before or after it was done; the next try ends with the same records, tidily."""
    options: dict[str, Any] = {"page_size": 10, "max_part_records": 7}
    with small_box() as box, every_step_saved():
        owes, least = owed(box.data()), least_calls(box.data(), "inbox", 10)
        for number in itertools.count(1, 3 if dead else 5):
            files = local(tmp_path / str(number))
            box.forget()
            breaking = Breaking(store_of(files), number, after=after, dead=dead)
            try:
                export_in_time(box, breaking, **options)
            except Broken:
                pass
            else:
                break  # there are not that many operations
            export_in_time(box, store_of(files), **options)
            assert_holds(files, owes)
            assert_tidy(files)
            assert len(box.requests) <= least + IN_FLIGHT, breaking.did[-1]
    assert number > 60


def test_a_crash_at_any_storage_operation_on_s3_loses_and_doubles_nothing(
    request: pytest.FixtureRequest,
) -> None:
    """The same on a real S3 server, at some of the operations."""
    server = request.getfixturevalue("seaweedfs")
    with small_box() as box, every_step_saved():
        owes, least = owed(box.data()), least_calls(box.data(), "inbox", 10)
        for number in (2, 9, 20, 30, 40):
            files = on_s3(server, f"crash-{number}")
            box.forget()
            with pytest.raises(Broken):
                export_in_time(box, Breaking(store_of(files), number), page_size=10)
            export_in_time(box, store_of(files), page_size=10)
            assert_holds(files, owes)
            assert_tidy(files)
            assert len(box.requests) <= least + IN_FLIGHT


def test_a_dead_cursor_costs_a_walk_past_what_is_done_and_no_record(destination_files: Destination) -> None:
    """The list is begun again; threads that are done are not read a second time."""
    files = destination_files
    with small_box() as box:
        box.faults.add(Fault("dead_cursor", on="conversations", at=2))
        export(box, store_of(files), page_size=10)
        assert_holds(files, owed(box.data()))
        # Two pages, the refusal, three pages again; and so it is in both readings, for the cursor stays dead. The threads'
        # own calls are made once.
        assert Counter(call.edge for call in box.requests) == {"conversations": 3 * (2 + 1 + 3), "messages": 4}
    assert_tidy(files)


def test_a_dead_cursor_in_a_thread_costs_reading_it_again_and_no_message(destination_files: Destination) -> None:
    """The messages that are there already are not written twice."""
    files = destination_files
    with small_box() as box:
        box.faults.add(Fault("dead_cursor", on="messages", at=1))
        box.faults.add(Fault("dead_cursor", on="messages", at=4))
        export(box, store_of(files), page_size=10)
        assert_holds(files, owed(box.data()))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_cursors_that_go_round_in_a_circle_do_not_hold_the_walk(size: int, destination_files: Destination) -> None:
    """A loop of any length is noticed, and the list walked again."""
    files = destination_files
    with small_box(folders={"inbox": 60}) as box:
        cursors = box.faults._cursors

        def is_deep(call: Any) -> bool:
            return 30 <= cursors.depth(call.params.get("after", "")) < 40

        fault = box.faults.add(Fault("loop", on="conversations", size=size, when=is_deep, times=4))
        export(box, store_of(files), page_size=10)
        assert_holds(files, owed(box.data()))
        assert fault.fired == 4
        assert len(box.requests) < 60


def test_cursors_that_always_go_round_end_the_try_and_not_the_export(destination_files: Destination) -> None:
    """Passing trouble: a further try may find it mended."""
    files = destination_files
    with small_box() as box:
        fault = box.faults.add(Fault("loop", on="conversations"))
        with pytest.raises(GraphTransientError) as caught:
            export(box, store_of(files), page_size=10)
        assert re.fullmatch(
            r"Graph API: the cursors died 5 times, \d+ conversations deep in the folder inbox, without a new one in "
            r"between\. Try again later\.",
            str(caught.value),
        )
        box.faults.remove(fault)
        export(box, store_of(files), page_size=10)
        assert_holds(files, owed(box.data()))


def test_a_cursor_that_is_too_deep_twice_fails_and_says_how_deep(destination_files: Destination) -> None:
    """The whole sentence, and what was fetched is safe."""
    files = destination_files
    with small_box() as box:
        box.faults.add(Fault("deep_cursor", on="conversations", size=20))
        with pytest.raises(GraphRequestError) as caught:
            export(box, store_of(files), page_size=10)
        trace = caught.value.fbtrace_id
        assert str(caught.value) == (
            "Graph API error 100: the cursor lies deeper than the API goes, 20 conversations deep in the folder inbox, "
            "twice without a new one in between. Export a window that begins later (since), which does not go as deep. "
            f"(HTTP status 400, fbtrace_id {trace})"
        )
        assert sum(call.code == 100 for call in box.requests) == 2
        assert files.manifests() == {}
        # Mended: goes on with what is missing, past the 20 threads that are done.
        box.faults.clear()
        box.forget()
        export(box, store_of(files), page_size=10)
        assert_holds(files, owed(box.data()))


def test_a_cursor_of_a_thread_that_is_too_deep_twice_fails_and_says_how_deep(destination_files: Destination) -> None:
    """Inside a thread it is as in the list."""
    files = destination_files
    with small_box(folders={"inbox": 1}, messages=90) as box:
        box.faults.add(Fault("deep_cursor", on="messages", size=60))
        with pytest.raises(GraphRequestError) as caught:
            export(box, store_of(files), page_size=20)
        assert type(caught.value) is GraphRequestError
        assert str(caught.value).startswith(
            "Graph API error 100: the cursor lies deeper than the API goes, 65 messages deep in a conversation, twice without "
            "a new one in between. Export a window that begins later (since), "
        )
        assert sum(call.code == 100 for call in box.requests) == 2


def test_a_cursor_of_a_thread_that_dies_again_and_again_ends_the_try_and_not_the_export(
    destination_files: Destination,
) -> None:
    """Passing trouble, which a further try may find mended; nothing that was got is lost."""
    files = destination_files
    with small_box(folders={"inbox": 1}, messages=90) as box:
        fault = box.faults.add(
            Fault(code=100, on="messages", pages="later", when=lambda call: call.params["after"] != "")
        )
        with pytest.raises(GraphTransientError) as caught:
            export(box, store_of(files), page_size=20)
        assert str(caught.value) == (
            "Graph API: the cursors died 5 times, 25 messages deep in a conversation, without a new one in between. "
            "Try again later."
        )
        box.faults.remove(fault)
        export(box, store_of(files), page_size=20)
        assert_holds(files, owed(box.data()))


def _interrupted(box: Sandbox, files: Destination, at: int = 4, **options: Any) -> None:
    """Leave an export behind that ended at some call."""
    fault = box.faults.add(Fault(code=190, at=at))
    with pytest.raises(GraphAuthError):
        export(box, store_of(files), page_size=10, **options)
    box.faults.remove(fault)


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"version": 99}',
        b'{"version": 1}',
        b'{"version": 2}',
        b"\xff\xfe\x00",
        b'{"version":2,"parent":null,"progress":[],"parts":[],"seen":"","read":{},"readings":null}',
        b'{"version":2,"parent":"checkpoint-000001-gone","progress":{},"parts":[],"seen":"","read":{},"readings":null}',
        b'{"version":2,"parent":null,"progress":{"counts":{},"waiting":{}},"parts":[],"seen":"","read":[],"readings":null}',
    ],
    ids=range(11),
)
def test_a_checkpoint_that_cannot_be_read_costs_what_came_after_the_one_before(damage: bytes, tmp_path: Path) -> None:
    """Whatever stands in the newest one; the export goes on from an earlier whole one."""
    files = local(tmp_path)
    with small_box() as box, every_step_saved():
        _interrupted(box, files)
        newest = max(name for name in files.names("_staging") if "/checkpoint-" in name)
        (tmp_path / newest).write_bytes(damage)
        box.forget()
        export(box, store_of(files), page_size=10)
        assert_holds(files, owed(box.data()))
        assert_tidy(files)
        assert len(box.requests) <= least_calls(box.data(), "inbox", 10)


@pytest.mark.parametrize("kind", ["/readings-", "/part-", "/checkpoint-"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "other"])
def test_a_file_of_the_staging_area_that_is_damaged_costs_calls_and_no_record(
    kind: str, damage: str, tmp_path: Path
) -> None:
    """Every one of them in turn is deleted, emptied, cut or overwritten."""
    with small_box() as box, every_step_saved():
        files = local(tmp_path / "template")
        _interrupted(box, files)
        state = files.snapshot()
        names = [name for name in state if kind in name]
        assert names
        for number, name in enumerate(names[:: max(1, len(names) // 6)]):
            copy = local(tmp_path / str(number))
            for other, content in state.items():
                copy.write(other, content)
            path = tmp_path / str(number) / name
            if damage == "missing":
                path.unlink()
            elif damage == "empty":
                path.write_bytes(b"")
            elif damage == "cut":
                path.write_bytes(state[name][: len(state[name]) // 2])
            elif kind != "/part-":  # a part of the right size is taken on trust
                whole = gzip.compress(b"[7]") if kind == "/readings-" else json.dumps({"version": 1}).encode()
                path.write_bytes(whole[:10] + b"\x00" * 20 + whole[10:] if kind == "/readings-" else whole)
            export(box, store_of(copy), page_size=10)
            assert_holds(copy, owed(box.data()))
            assert_tidy(copy)


def test_all_checkpoints_gone_means_an_export_from_the_beginning(destination_files: Destination) -> None:
    """Parts without a checkpoint are not published, and swept up in the end."""
    files = destination_files
    with small_box() as box, every_step_saved():
        _interrupted(box, files)
        for name in files.names("_staging"):
            if "/checkpoint-" in name:
                files.remove(name)
        box.forget()
        export(box, store_of(files), page_size=10)
        assert len(box.requests) == least_calls(box.data(), "inbox", 10)
        assert_holds(files, owed(box.data()))
        assert_tidy(files)


def test_folders_that_this_run_has_published_are_left_alone(destination_files: Destination) -> None:
    """Not a call and not a byte; their numbers are in the result all the same."""
    files = destination_files
    with Sandbox(conversations=0, folders=dict.fromkeys(FOLDERS, 12), messages=2) as box:
        exporting(box, store_of(files), ("inbox", "other")).run()
        before, calls = files.snapshot(), len(box.requests)
        outcomes = exporting(box, store_of(files), FOLDERS).run()
        assert {call.params["folder"] for call in box.requests[calls:]} == {"page_done", "spam"}
        assert [outcome.numbers()["conversations"] for outcome in outcomes] == [12] * 4
        assert {name: content for name, content in files.snapshot().items() if name in before} == before
        assert_holds(files, owed(box.data()))


def test_after_a_clear_finished_folders_are_exported_anew_and_unfinished_ones_go_on(
    destination_files: Destination,
) -> None:
    """The number of the run's clears is one higher, all else is the same."""
    files = destination_files
    with Sandbox(conversations=0, folders={"inbox": 23, "other": 23}, messages=2) as box:
        export(box, store_of(files), "other", page_size=10)
        (finished,) = files.manifests().values()
        fault = box.faults.add(Fault(code=190, folder="inbox", at=3))
        with pytest.raises(GraphAuthError):
            export(box, store_of(files), "inbox", page_size=10)
        box.faults.remove(fault)
        unfinished = {document["progress"]["export_id"] for document in checkpoints(files)}
        box.forget()
        for folder in ("inbox", "other"):
            export(box, store_of(files), folder, clear=1, page_size=10)
        calls = Counter(call.params["folder"] for call in box.requests)
        assert calls == {"inbox": list_calls(box.data(), "inbox", 10) - 2, "other": list_calls(box.data(), "other", 10)}
        by_folder = {manifest["folder"]: manifest for manifest in files.manifests().values()}
        assert {by_folder["inbox"]["export_id"]} == unfinished
        assert by_folder["other"]["export_id"] != finished["export_id"]
        assert {manifest["run_key"]["clear_number"] for manifest in by_folder.values()} == {1}
        assert_holds(files, owed(box.data()))
        assert_tidy(files)


def test_after_a_clear_what_was_published_but_not_tidied_is_exported_anew(tmp_path: Path) -> None:
    """A crash between the manifest and the tidying leaves a checkpoint of a finished export, which nobody takes up."""
    files = local(tmp_path)
    with small_box(details="all") as box:
        counting = Breaking(store_of(local(tmp_path / "count")))
        export(box, counting, page_size=10)
        put = 1 + max(number for number, did in enumerate(counting.did) if did.startswith("put_bytes _manifests/"))
        files = local(tmp_path / "files")
        with pytest.raises(Broken):
            export(box, Breaking(store_of(files), put, after=True), page_size=10)
        (first,) = files.manifests().values()
        box.page.add_message(next(iter(box.page.threads())).id, at=NOW.timestamp() - 1)
        box.forget()
        second = export(box, store_of(files), clear=1, page_size=10)
        assert len(box.requests) == least_calls(box.data(), "inbox", 10)
        assert second["export_id"] != first["export_id"]
        assert_holds(files, owed(box.data()))
        assert_tidy(files)


@pytest.mark.parametrize(
    "change",
    [
        {"run": "run-2"},
        {"since": NOW.replace(year=2025)},
        {"messages": False},
        {"message_fields": ("message",)},
        {"conversation_fields": ("link",)},
        {"max_part_records": 11},
        {"compression": "none"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_another_run_and_changed_parameters_begin_anew(change: dict[str, Any], destination_files: Destination) -> None:
    """What another export left is neither taken up nor touched."""
    files = destination_files
    with small_box(details="all") as box:
        _interrupted(box, files, until=NOW)
        left = files.snapshot()
        box.forget()
        options = {"until": NOW, **change}
        manifest = export(box, store_of(files), page_size=10, **options)
        assert box.requests[0].params.get("after") is None
        assert manifest["api_calls"] == len(box.requests)
        assert {name: files.read(name) for name in left} == left


def test_the_page_size_may_change_between_tries(destination_files: Destination) -> None:
    """It decides about calls, not about records: the export goes on, and never asks for more than it says now."""
    files = destination_files
    with small_box() as box:
        _interrupted(box, files, at=2)
        box.forget()
        export(box, store_of(files), page_size=5)
        assert box.requests[0].params.get("after")
        assert {call.params["limit"] for call in box.requests} == {"5"}
        assert_holds(files, owed(box.data()))


def test_the_cost_of_a_checkpoint_does_not_grow_with_what_is_done(tmp_path: Path) -> None:
    """The last of hundreds writes no more bytes and does no more operations than the first ones did.

    But for each 64th, which says again what those before it said, up to a bound.
    """
    sizes: list[tuple[int, int]] = []

    class Measuring(LocalStore):
        def with_scratch(self, prefix: str) -> Measuring:
            return Measuring(self._fs, self._root, prefix)

        def put(self, local: Path, key: str) -> None:
            bytes_, operations = sizes[-1]
            sizes[-1] = (bytes_ + local.stat().st_size, operations + 1)
            super().put(local, key)

        def put_bytes(self, data: bytes, key: str) -> None:
            bytes_, operations = sizes[-1]
            sizes[-1] = (bytes_ + len(data), operations + 1)
            super().put_bytes(data, key)
            if "/checkpoint-" in key:
                sizes.append((0, 0))

    files = local(tmp_path)
    sizes.append((0, 0))
    with small_box(folders={"inbox": 300}, messages=2) as box, every_step_saved():
        export_in_time(box, Measuring(files.fs, files.root), page_size=5)
    checkpoints = sizes[1:-1]
    assert len(checkpoints) > 50
    early, late = checkpoints[5:25], checkpoints[-25:-5]
    assert statistics.median(size for size, _ in late) < 1.3 * statistics.median(size for size, _ in early)
    assert max(size for size, _ in checkpoints) < 1.5 * checkpoint._FOLD_BYTES
    assert max(count for _, count in late) <= max(count for _, count in early)


def test_a_resume_takes_no_more_requests_after_more_checkpoints(tmp_path: Path) -> None:
    """Of a week-long export as of one of an hour: a checkpoint says again now and then what those before it said."""
    reads: list[int] = []

    class Counting(LocalStore):
        def with_scratch(self, prefix: str) -> Counting:
            return Counting(self._fs, self._root, prefix)

        def read(self, key: str, most: int | None = None) -> bytes:
            reads[-1] += "/checkpoint-" in key
            return super().read(key, most)

    files = local(tmp_path)
    with small_box(folders={"inbox": 600}, messages=2) as box, every_step_saved():
        for at in (100, 250, 200):
            box.faults.clear()
            box.faults.add(Fault(code=190, at=at))
            reads.append(0)
            with pytest.raises(GraphAuthError):
                export_in_time(box, Counting(files.fs, files.root), page_size=1)
    assert len([name for name in files.names("_staging") if "/checkpoint-" in name]) > 500
    assert max(reads) <= 70


def test_a_fast_server_fills_no_memory_between_two_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many threads come within 40 seconds, one follows after so many."""
    saved: list[int] = []
    compose = Checkpoints.compose

    def counting(self: Checkpoints, progress: Progress, **what: Any) -> Any:
        saved.append(len(what["seen"]) // WIDTH)
        return compose(self, progress, **what)

    monkeypatch.setattr(Checkpoints, "compose", counting)
    monkeypatch.setattr(folders, "_CHECKPOINT_BYTES", 20 * WIDTH)
    files = local(tmp_path)
    with small_box(folders={"inbox": 300}, messages=2) as box:
        export_in_time(box, store_of(files), page_size=5)
        assert_holds(files, owed(box.data()))
    assert sum(saved) == 300
    assert max(saved) <= 25


@pytest.mark.parametrize("at", ["/checkpoint-", "/claim", "_manifests/"])
def test_a_try_that_was_superseded_adds_nothing_and_publishes_nothing(at: str, destination_files: Destination) -> None:
    """A zombie that wakes up after its successor has ended leaves the successor's work as it is."""
    files = destination_files
    with small_box() as box:

        def successor() -> None:
            export(box, store_of(files), page_size=10)
            before.update(files.snapshot())

        before: dict[str, bytes] = {}
        operation = "read" if at == "_manifests/" else "put_bytes"
        zombie = Meanwhile(store_of(files), successor, operation, at)
        if at == "/checkpoint-":
            with pytest.raises(Superseded), every_step_saved():
                export(box, zombie, page_size=10)
            after = {name: content for name, content in files.snapshot().items() if not name.startswith("_staging/")}
            assert after == before
        else:  # it slept before it claimed the work: then it is the later one, and there is nothing left to do
            export(box, zombie, page_size=10)
        assert_holds(files, owed(box.data()))
        published = export(box, store_of(files), page_size=10)
        assert len(files.manifests()) == 1
        assert [published] == list(files.manifests().values())


def test_of_two_tries_that_take_turns_the_later_one_goes_on(destination_files: Destination) -> None:
    """The earlier one ends at its next checkpoint, and what it has read since the last is not in the export twice."""
    files = destination_files
    with small_box() as box, every_step_saved():

        def later() -> None:
            box.faults.add(Fault(code=190, at=3))
            with pytest.raises(GraphAuthError):
                export_in_time(box, store_of(files), page_size=10)

        with pytest.raises(Superseded):
            export_in_time(box, Meanwhile(store_of(files), later, "put_bytes", "/checkpoint-000003"), page_size=10)
        assert files.manifests() == {}
        export(box, store_of(files), page_size=10)
        assert_holds(files, owed(box.data()))
        assert_tidy(files)
