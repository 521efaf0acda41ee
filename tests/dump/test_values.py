"""The small parts that the promises stand on: the set of ids, names of windows, lines, keys, the local store."""

from __future__ import annotations

import gc
import hashlib
import itertools
import json
import threading
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump.formats import DamagedFile, PartWriter, read_records
from airflow_provider_pageconv.dump.idset import WIDTH, IdSet, digest
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.opening import open_store
from airflow_provider_pageconv.dump.records import line
from airflow_provider_pageconv.dump.store import FsspecStore, LocalStore, Store
from airflow_provider_pageconv.dump.window import Window, overlapping
from airflow_provider_pageconv.times import seconds
from tests.dump.values import JSON, TEXT

DAY = 86_400

# The set of ids


def test_an_id_costs_no_more_than_32_bytes_to_remember() -> None:
    """Beyond a fixed floor, at 200,000 of them, and at every size on the way."""
    hashes = [hashlib.blake2b(str(number).encode(), digest_size=WIDTH).digest() for number in range(200_000)]
    gc.collect()
    tracemalloc.start()
    try:
        ids = IdSet()
        before, _ = tracemalloc.get_traced_memory()
        for number, hashed in enumerate(hashes, 1):
            ids.add(hashed)
            if number % 20_000 == 0:
                taken = tracemalloc.get_traced_memory()[0] - before
                assert taken <= 32 * number + 64 * 1024, number
        assert tracemalloc.get_traced_memory()[1] - before <= 32 * len(hashes) + 256 * 1024
    finally:
        tracemalloc.stop()
    assert len(ids) == len(hashes)
    assert all(hashed in ids for hashed in hashes[::997])


@given(st.lists(st.text(max_size=3), max_size=400), st.lists(st.text(max_size=3), max_size=50))
def test_the_set_of_ids_behaves_as_a_set(added: list[str], asked: list[str]) -> None:
    """Adding says whether it was new; iteration gives each once."""
    ids, model = IdSet(), set[str]()
    for one in added:
        assert ids.add(digest(one)) == (one not in model)
        model.add(one)
    for one in added + asked:
        assert (digest(one) in ids) == (one in model)
    assert sorted(ids) == sorted(digest(one) for one in model)
    assert len(ids) == len(model)


@given(st.lists(st.binary(min_size=WIDTH, max_size=WIDTH).map(lambda data: bytes(8) + data[8:]), max_size=200))
def test_ids_that_all_fall_together_are_kept_apart(hashes: list[bytes]) -> None:
    """Even if every hash lands in one bucket, neighbours are not taken for an id across their border."""
    ids = IdSet()
    ids.update(b"".join(hashes))
    assert set(ids) == set(hashes)
    for one, two in itertools.pairwise(hashes):
        across = one[8:] + two[:8]
        assert (across in ids) == (across in set(hashes))


def test_any_text_can_be_an_id() -> None:
    """Lone surrogates and NUL included."""
    assert len({digest(text) for text in ("", "\0", "\ud800", "\udfff", "a", "á", "x" * 10_000)}) == 7


# Windows

MOMENTS = st.integers(0, 4_000_000_000).map(lambda at: datetime.fromtimestamp(at, timezone.utc))
WINDOWS = st.one_of(
    st.just(Window()),
    st.builds(lambda until: Window(None, until), MOMENTS),
    st.builds(
        lambda since, length: Window(since, since + timedelta(seconds=length)), MOMENTS, st.integers(1, 10_000_000)
    ),
)


@given(WINDOWS)
def test_a_window_s_name_reads_back(window: Window) -> None:
    """It sorts by time, and stands in a path as it is."""
    assert Window.named(window.name) == window
    assert "/" not in window.name


@pytest.mark.parametrize(
    "window, name",
    [
        (Window(), "all"),
        (Window(None, datetime(2026, 11, 21, tzinfo=timezone.utc)), "begin--20261121T000000Z"),
        (
            Window(datetime(2026, 11, 21, tzinfo=timezone.utc), datetime(2026, 11, 22, 1, 2, 3, tzinfo=timezone.utc)),
            "20261121T000000Z--20261122T010203Z",
        ),
        (Window(datetime(33, 1, 2, tzinfo=timezone.utc), datetime(2026, 1, 1, tzinfo=timezone.utc)),
         "00330102T000000Z--20260101T000000Z"),
    ],
)  # fmt: skip
def test_windows_have_the_names_that_users_hold_on_to(window: Window, name: str) -> None:
    """As the contract writes them."""
    assert window.name == name


@pytest.mark.parametrize(
    "name",
    ["", "ALL", "begin", "begin--", "--20261121T000000Z", "20261121T000000Z", "20261321T000000Z--20261421T000000Z",
     "20261121T000000Z--begin", "20261121T000000Z--20261122T000000Z.json", "all\n", "begin--20261121T000000Z\n"],
)  # fmt: skip
def test_other_names_are_no_windows(name: str) -> None:
    """A file of somebody else's in the folder of manifests says nothing."""
    assert Window.named(name) is None


def _instants(window: Window) -> tuple[float, float]:
    since = window.since.timestamp() if window.since else float("-inf")
    until = window.until.timestamp() if window.until else float("inf")
    return since, until


@given(WINDOWS, WINDOWS)
def test_two_windows_overlap_when_a_message_could_fall_into_both(one: Window, two: Window) -> None:
    """By a reference that knows nothing of windows: the later beginning lies before the earlier end."""
    (since, until), (other_since, other_until) = _instants(one), _instants(two)
    assert one.overlaps(two) == two.overlaps(one) == (max(since, other_since) < min(until, other_until))


@given(WINDOWS, st.lists(WINDOWS, max_size=6))
def test_the_first_window_that_overlaps_without_being_the_same_is_named(window: Window, others: list[Window]) -> None:
    """Names that are no windows are left aside."""
    names = [other.name for other in others]
    found = overlapping(window, [*names, "README", "window"])
    conflicting = sorted(other.name for other in others if other != window and other.overlaps(window))
    assert found == (conflicting[0] if conflicting else None)


# Times

FROM_2004 = 1_072_915_200
PRESENT = 4_000_000_000.0
ZONES = {
    "+0000": 0,
    "Z": 0,
    "z": 0,
    "": 0,
    "+00:00": 0,
    "+0530": 19800,
    "-0800": -28800,
    "+05:30": 19800,
    "-08": -28800,
}


@given(
    st.integers(FROM_2004 + DAY, int(PRESENT)), st.sampled_from(sorted(ZONES)), st.sampled_from(["", ".25", ",250000"])
)
def test_graph_times_are_read_in_whatever_zone_and_with_whatever_fraction_they_come(
    at: int, zone: str, fraction: str
) -> None:
    """ISO 8601 in every form that the API was seen to use; a time without a zone is in UTC."""
    text = datetime.fromtimestamp(at, timezone.utc).isoformat()[:19] + fraction + zone
    assert seconds(text, PRESENT + DAY) == at - ZONES[zone] + (0.25 if fraction else 0)


@given(st.integers(FROM_2004, int(PRESENT)))
def test_seconds_and_milliseconds_since_1970_are_read_as_numbers_and_as_text(at: int) -> None:
    """Both are seen; which of the two it is shows in their size."""
    for value in (at, float(at), str(at), at * 1000, str(at * 1000)):
        assert seconds(value, PRESENT) == at


@given(st.one_of(st.none(), st.integers(), st.text(max_size=30), st.lists(st.integers(), max_size=2), st.floats()))
def test_what_is_no_time_is_none(value: Any) -> None:
    """Never an exception, and never a time before there was a Facebook or more than a day ahead."""
    result = seconds(value, PRESENT)
    assert result is None or FROM_2004 <= result <= PRESENT + DAY


@pytest.mark.parametrize(
    "value",
    ["", "soon", "2026-11-21", "2026-13-21T00:00:00+0000", "2026-02-30T00:00:00+0000", "2003-12-31T23:59:59+0000", 0, 7,
     "1969-12-31T23:59:59+0000", "9999-99-99T99:99:99+9999", True, False, 10**400, "1e9", "２０２６-11-21T00:00:00+0000",
     float("nan"), float("inf"), {}, b"1795428000"],
    ids=repr,
)  # fmt: skip
def test_these_are_no_times(value: Any) -> None:
    """Among them moments that are before 2004, and digits that are none to the API."""
    assert seconds(value, PRESENT) is None


def test_a_time_more_than_a_day_ahead_is_none() -> None:
    """A clock of the API's may be ahead of ours, but not by more."""
    assert seconds("2026-11-22T09:59:59+0000", datetime(2026, 11, 21, 10, tzinfo=timezone.utc).timestamp()) is not None
    assert seconds("2026-11-22T10:00:01+0000", datetime(2026, 11, 21, 10, tzinfo=timezone.utc).timestamp()) is None


# Lines


@given(st.dictionaries(TEXT, JSON, max_size=5))
def test_a_record_is_one_line_of_json_that_reads_back(record: dict[str, Any]) -> None:
    """For every text that JSON can bring, lone surrogates and all kinds of line ends included."""
    written = line(record)
    text = written.decode("utf-8")
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    # A pair of lone surrogates side by side is a character to whoever reads JSON.
    assert json.loads(written) == json.loads(json.dumps(record))


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400"])
def test_a_number_that_is_none_in_json_is_never_read_so_never_written(number: bytes, tmp_path: Path) -> None:
    """It would make the whole file unreadable, or turn into another value; neither an answer nor a file may hold one."""
    with pytest.raises(ValueError, match="not a JSON number"):
        json_text.read(b'{"x":%b}' % number)
    (tmp_path / "file").write_bytes(b'{"id":"1","x":%b}\n' % number)
    with pytest.raises(DamagedFile, match="not a JSON number"):
        list(read_records(tmp_path / "file"))


@given(JSON)
def test_what_is_read_quickly_is_what_the_standard_library_reads(value: Any) -> None:
    """Value by value, kind by kind, escapes and lone surrogates included, and again after it was written."""
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False), json.dumps(value, indent=1)):
        read = json_text.read(text.encode("utf-8", "backslashreplace"))
        assert repr(read) == repr(json.loads(text.encode("utf-8", "backslashreplace")))
        assert repr(json.loads(json_text.write(read))) == repr(read)


@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_a_part_written_twice_is_the_same_bytes(compression: str, tmp_path: Path) -> None:
    """Nothing of the moment or of the local path gets into the file."""
    contents = []
    for name in ("one", "other"):
        writer = PartWriter(tmp_path / name, "messages", compression)
        for number in range(5000):
            writer.write({"id": str(number), "text": "ñ" * (number % 50)})
        part = writer.close()
        contents.append((tmp_path / name).read_bytes())
        assert (part.records, part.bytes) == (5000, len(contents[-1]))
        assert part.sha256 == hashlib.sha256(contents[-1]).hexdigest()
    assert contents[0] == contents[1]


# Keys and stores

PLACE = Place("messenger", "1", "inbox", "all")


@pytest.mark.parametrize(
    "key", ["../x", "a/../../x", "/etc/x", "a//x", "a/./x", "", ".", "..", "a\0", "a\\..\\x", "a/"]
)
def test_a_key_that_leads_out_of_the_destination_is_refused(key: str, tmp_path: Path) -> None:
    """Whichever operation it is for, on a local folder and elsewhere."""
    local = LocalStore(fsspec.filesystem("file"), str(tmp_path / "root"))
    remote = FsspecStore(fsspec.filesystem("memory"), "/r")
    acts: list[Callable[[Store], object]] = [
        lambda store: store.put_bytes(b"", key),
        lambda store: store.read(key),
        lambda store: store.list(key),
        lambda store: store.delete([key]),
        lambda store: store.copy("a", key),
    ]
    for store, act in itertools.product((local, remote), acts):
        with pytest.raises(ValueError, match=r"^a key that leads out of the destination"):
            act(store)
    assert list(tmp_path.iterdir()) == []


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """A reader never meets half of one, however often it is replaced."""
    store = open_store(fsspec.filesystem("file"), str(tmp_path / "root"))
    contents = [bytes([number]) * 300_000 for number in range(4)]
    store.put_bytes(contents[0], "x/file")
    stop, bad = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            content = store.read("x/file")
            if content not in contents:
                bad.append(len(content))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        store.put_bytes(contents[number % 4], "x/file")
    stop.set()
    reader.join()
    assert bad == []


def test_many_at_work_in_one_local_folder_do_not_take_it_from_each_other(tmp_path: Path) -> None:
    """Empty folders go with their last file, also while somebody else is about to put one there."""
    root = tmp_path / "root"
    errors: list[BaseException] = []

    def work(number: int) -> None:
        store = open_store(fsspec.filesystem("file"), str(root)).with_scratch(f"_staging/run-{number}")
        try:
            for turn in range(150):
                key = f"_staging/run-{number}/file-{turn}"
                store.put_bytes(b"x", key)
                store.copy(key, f"messages/window=all/{number}-{turn}")
                list(store.list("_staging"))
                store.delete([key, f"messages/window=all/{number}-{turn}"])
        except BaseException as error:  # noqa: BLE001 - shown by the test
            errors.append(error)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert errors == []
    assert not root.exists() or not any(root.iterdir())


@settings(max_examples=20)
@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=8))
def test_a_listing_names_what_was_put_and_not_deleted(names: list[str]) -> None:
    """By keys relative to the root, with sizes and times."""
    memory = fsspec.filesystem("memory")
    store = FsspecStore(memory, "/some/root")
    try:
        for name in names:
            store.put_bytes(name.encode(), f"x/{name}/file")
        store.put_bytes(b"", "xy/file")
        store.delete(["x/a/file", "x/nothing"])
        assert {(entry.key, entry.size) for entry in store.list("x")} == {
            (f"x/{name}/file", 1) for name in names if name != "a"
        }
        assert not list(store.list("nothing"))
    finally:
        memory.rm("/some", recursive=True)


def test_the_place_of_everything_is_as_the_contract_writes_it() -> None:
    """First folder = table, the rest = Hive partitions."""
    assert PLACE.stream("messages") == "messages/platform=messenger/page_id=1/folder=inbox/window=all"
    assert PLACE.manifest == "_manifests/platform=messenger/page_id=1/folder=inbox/window=all.json"
    assert PLACE.staging == "_staging/platform=messenger/page_id=1/folder=inbox"
    assert Place.window_of(PLACE.manifest) == "all"
    assert Place.window_of("_manifests/notes.txt") is None
