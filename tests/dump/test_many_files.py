"""What names files one by one takes no more memory however many there are: manifests, notes, listings."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_pageconv.dump import manifest_file
from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.file_table import FileTable, Row
from airflow_provider_pageconv.dump.layout import Place
from airflow_provider_pageconv.dump.leftovers import Leftovers
from airflow_provider_pageconv.dump.long_files import SHORT, opened, put_pieces
from airflow_provider_pageconv.dump.manifest_file import put_manifest, read_manifest, without_media
from airflow_provider_pageconv.dump.store import LocalStore
from airflow_provider_pageconv.dump.store_errors import StoreError
from airflow_provider_pageconv.sandbox import Sandbox
from tests.dump.exporting import NOW, assert_holds, export, owed, store_of
from tests.servers.destinations import local

MANY = 60_000
MIB = 2**20
MOST = 6 * MIB
"""What is taken of memory by Python's objects, at most: less than half of what the file has bytes, and than a third of what its rows
would take."""

PLACE = Place("messenger", "1", "inbox", "all")
PATHS = st.text(st.characters(codec="utf-8"), max_size=6)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty one."""
    return LocalStore(fsspec.filesystem("file"), str(tmp_path / "store"))


def many(number: int = MANY) -> FileTable:
    """Files of attachments."""
    return FileTable(
        Row(f"{PLACE.stream('media')}/0123456789abcdef-0123abcd/{one:064x}.jpg", one) for one in range(number)
    )


@given(st.lists(st.tuples(PATHS, st.integers(0, 2**40))), st.lists(PATHS, max_size=5))
def test_a_table_of_files_holds_each_path_once_in_order(rows: list[tuple[str, int]], asked: list[str]) -> None:
    """Of one path what came first stays; adding says whether it was new."""
    table, model = FileTable(), dict[str, int]()
    for path, size in rows:
        assert table.add(path, size) == (path not in model)
        model.setdefault(path, size)
    assert [(row.path, row.bytes) for row in table] == sorted(model.items())
    assert (len(table), bool(table)) == (len(model), bool(model))
    for path in [*model, *asked]:
        assert (path in table, table.size(path)) == (path in model, model.get(path))
    again = FileTable(Row(path, size) for path, size in rows)
    assert list(again) == list(table)


def test_what_lies_below_a_folder_is_told_from_what_is_named_alike() -> None:
    """By whole parts of the path."""
    table = FileTable(map(Row, ["a/b", "a/b/c", "a/b/c/d", "a/bc/d", "a/b0", "a/b.d", "b/c"]))
    assert [row.path for row in table.below("a/b")] == ["a/b/c", "a/b/c/d"]


@pytest.mark.parametrize("size", [0, 1, SHORT, SHORT + 1, 3 * SHORT])
def test_a_file_made_of_pieces_is_put_once_and_read_back(size: int, store: LocalStore) -> None:
    """Whether it is short or very long; nothing of it stays among the temporary files."""
    content = bytes(range(251)) * (size // 251 + 1)
    put_pieces(store, (content[at : min(at + 1000, size)] for at in range(0, size, 1000)), "x/file")
    with opened(store, "x/file") as file:
        assert file.read() == content[:size]
    with pytest.raises(FileNotFoundError), opened(store, "x/other"):
        pass


def test_a_long_file_that_is_put_anew_while_it_is_fetched_is_one_of_the_two(store: LocalStore) -> None:
    """The libraries of stores fetch it in several requests; one that goes and comes back meanwhile is not taken for gone."""
    old, new = (sign * (SHORT + 10) for sign in (b"a", b"b"))
    store.put_bytes(old, "long")

    class Torn(LocalStore):
        times = 0

        def fetch(self, key: str, local: Path) -> None:
            super().fetch(key, local)
            self.times += 1
            if self.times == 1:
                self.put_bytes(new, key)
                local.write_bytes(old[: SHORT // 2] + new[SHORT // 2 :])
            elif self.times == 2:
                raise FileNotFoundError(key)

    torn = Torn(store._fs, store._root)
    with opened(torn, "long") as file:
        assert file.read() == new
    assert torn.times == 3

    class Unsteady(LocalStore):
        def fetch(self, key: str, local: Path) -> None:
            super().fetch(key, local)
            self.put_bytes(old, key)

    with pytest.raises(StoreError, match="again and again"), opened(Unsteady(store._fs, store._root), "long"):
        pass


def test_names_of_files_may_be_any_bytes(tmp_path: Path) -> None:
    """What somebody has put beside ours does not stop an export, nor what replaces it."""
    files = local(tmp_path / "files")
    with Sandbox(conversations=0, folders={"inbox": 5}, messages=2, now=NOW) as box:
        export(box, store_of(files), run="r1")
        folder = Path(files.root) / next(iter(files.names("messages"))).rpartition("/")[0]
        (folder / os.fsdecode(b"not-ours-\xff")).write_bytes(b"x")
        export(box, store_of(files), run="r2")
        assert_holds(files, owed(box.data()))
    assert (folder / os.fsdecode(b"not-ours-\xff")).exists()


def test_a_manifest_of_very_many_files_is_written_and_read_row_by_row(store: LocalStore) -> None:
    """It says the same afterwards, to whoever reads JSON, to us, and to whoever compares it with what was kept of it."""
    media, files = many(), [{"path": "messages/one", "stream": "messages", "records": 1, "bytes": 2, "sha256": "ab"}]
    tracemalloc.start()
    try:
        put_manifest(store, "manifest", {"a": 1, "warnings": ["files of attachments"], "z": None}, files, media)
        found = read_manifest(store, "manifest")
        assert found is not None
        assert sum(file["bytes"] for file in found["files"]) == 2 + sum(range(MANY))
        kept = without_media(found)
        assert kept == read_manifest(store, "manifest")
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    document = json.loads(store.read("manifest"))
    assert len(store.read("manifest")) > 2 * MOST
    assert document["files"] == list(found["files"])
    assert {name: found[name] for name in document if name != "files"} == {
        "a": 1,
        "warnings": document["warnings"],
        "z": None,
    }
    assert len(kept["files"]) == MANY + 1
    assert list(kept["files"]) == files
    put_manifest(store, "manifest", {"a": 1, "warnings": ["files of attachments"], "z": None}, files, many(MANY - 1))
    assert kept != read_manifest(store, "manifest")


def test_very_many_files_that_are_replaced_leave_nothing_behind(store: LocalStore) -> None:
    """A note names them, and they are deleted, in little memory; those that the manifest names stay."""
    old, new = many(), many(MANY // 2)
    put_manifest(store, PLACE.manifest, {"download_attachments": True}, [], new)
    for row in [*old][MANY // 2 - 2 : MANY // 2 + 2]:
        store.put_bytes(b"x", row.path)
    leftovers = Leftovers(store, PLACE, f"{PLACE.staging}/run")
    tracemalloc.start()
    try:
        leftovers.note("publish", new.paths, old.paths)
        leftovers.tidy()
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()
    assert sorted(entry.key for entry in store.list("media")) == [row.path for row in new][-2:]
    assert not list(store.list("_staging"))


@pytest.mark.parametrize("piece", [1, 2, 7, 100])
def test_a_manifest_reads_the_same_in_whatever_pieces_it_comes(
    piece: int, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a number, a text or a sign is cut in two."""
    monkeypatch.setattr(manifest_file, "_PIECE", piece)
    document: dict[str, Any] = {
        "number": 12345.678e-3,
        "texts": ["ä\\u00e4\ud83d", '"}],{[', ""],
        "files": [{"path": "a", "bytes": 1234567}, {"more": [{}, [], [[1]], {"files": [1]}]}],
        "nothing": None,
        "": {"files": []},
        "last": 10**30,
    }
    for indent in (None, 3):
        store.put_bytes(json.dumps(document, indent=indent).encode(), "manifest")
        assert read_manifest(store, "manifest") == document
    for files in ("[]", "[ ]"):
        store.put_bytes(f'\ufeff {{ "files" : {files} }}\n'.encode(), "manifest")
        assert read_manifest(store, "manifest") == {"files": []}


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "null", "[]", "3", "{", "{}", '{"files"', '{"files":', '{"files": [', '{"files": [1', '{"files": [1,',
        '{"files": [1 2]}', '{"files": []', '{"files": []}}', '{"files": []} x', '{"files": 3}', '{"files": {}}',
        '{"a": 1 "files": []}', '{1: 2, "files": []}', '{"files": [nul]}', "\udcff", '{"files": ["\udcff"]}',
    ],
)  # fmt: skip
def test_what_is_no_manifest_is_refused_in_a_sentence(text: str, store: LocalStore) -> None:
    """Wherever it breaks off."""
    store.put_bytes(text.encode("utf-8", "surrogateescape"), "manifest")
    with pytest.raises(DumpRefused, match=r"^The manifest manifest cannot be read: delete it"):
        read_manifest(store, "manifest")
