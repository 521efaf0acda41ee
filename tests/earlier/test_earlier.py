"""What an earlier version wrote is read, gone on with, and replaced by this one, or refused in a sentence."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.export import FoldersFailed
from airflow_provider_pageconv.sql import views
from tests.dump.exporting import FOLDERS, assert_tidy, exporting, in_tries, simulated, store_of
from tests.earlier import keep
from tests.servers import parquet_files
from tests.servers.destinations import Destination, local

VERSIONS = sorted(path.name for path in keep.HERE.iterdir() if (path / "page.json").exists())


@pytest.fixture(params=VERSIONS)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what a version wrote."""
    copy: Path = tmp_path / "kept"
    shutil.copytree(keep.HERE / request.param, copy)
    return copy


def page_of(kept: Path) -> dict[str, Any]:
    """What the Page held."""
    content: dict[str, Any] = json.loads((kept / "page.json").read_text(encoding="utf-8"))
    return content


def owed(page: dict[str, Any]) -> dict[str, list[str]]:
    """The ids of all that was on the Page."""
    return {
        "conversations": sorted(thread["node"]["id"] for thread in page["threads"]),
        "messages": sorted(message["id"] for thread in page["threads"] for message in thread["messages"]),
    }


def ids(files: Destination) -> dict[str, list[str]]:
    """The ids that the manifests' files hold."""
    return {stream: sorted(one["id"] for one in files.records(stream)) for stream in ("conversations", "messages")}


def test_the_version_of_this_checkout_or_one_before_it_is_kept() -> None:
    """Without any the tests below would say nothing."""
    assert VERSIONS


@pytest.mark.parametrize("window", ["all", "all-parquet", "day"])
def test_its_manifests_say_what_lies_there(kept: Path, window: str) -> None:
    """Readers of the manifests find each file, its size, its hash, and as many records as are promised."""
    files = local(kept / "published" / window)
    manifests = files.manifests()
    assert len(manifests) == len(FOLDERS)
    for manifest in manifests.values():
        assert manifest["manifest_version"] == 1
        counted = {"conversations": 0, "messages": 0}
        for entry in manifest["files"]:
            content = files.read(entry["path"])
            assert (len(content), hashlib.sha256(content).hexdigest()) == (entry["bytes"], entry["sha256"])
            assert len(files.lines(entry["path"])) == entry["records"]
            counted[entry["stream"]] += entry["records"]
        assert counted == {stream: manifest[stream] for stream in counted}
    if window != "day":
        assert ids(files) == owed(page_of(kept))


@pytest.mark.parametrize("dump", ["all", "all-parquet"])
def test_a_dump_of_it_is_replaced_and_nothing_of_it_forgotten(kept: Path, dump: str) -> None:
    """Of a Page that was emptied all is carried over, as it was published, in whatever format."""
    files = local(kept / "published" / dump)
    before = {stream: {one["id"]: one for one in files.records(stream)} for stream in ("conversations", "messages")}
    with keep.page() as box:
        for thread in list(box.page.threads()):
            box.page.delete_thread(thread.id)
        box.page.new_thread("inbox", at=keep.NOW)
        in_tries(box, store_of(files), FOLDERS, run="tonight")
    for stream, records in before.items():
        after = {one["id"]: one for one in files.records(stream)}
        assert {name: after[name] for name in records} == {
            name: {**record, "_carried": True} for name, record in records.items()
        }
    assert_tidy(files)


def test_its_columns_are_those_of_the_version_that_its_manifests_name(kept: Path) -> None:
    """And hold what its lines of JSON hold, of all that both were asked for."""
    lines, columns = (local(kept / "published" / name) for name in ("all", "all-parquet"))
    for manifest in columns.manifests().values():
        assert (manifest["file_format"], manifest["schema_version"]) == ("parquet", 1)
        for entry in manifest["files"]:
            metadata = parquet_files.table(columns.read(entry["path"])).schema.metadata
            assert metadata == {b"pageconv.stream": entry["stream"].encode(), b"pageconv.schema_version": b"1"}
    for stream in ("conversations", "messages"):
        told, typed = ({one["id"]: one for one in files.records(stream)} for files in (lines, columns))
        assert set(told) == set(typed) != set()
        for ident, record in told.items():
            both = (record.keys() & typed[ident].keys()) - {"_export_id", "_fetched_at"}
            assert {name: record[name] for name in both} == {name: typed[ident][name] for name in both}
            assert ("message" in record) == ("message" in typed[ident])


def test_a_day_of_it_is_replaced_by_the_same_day(kept: Path) -> None:
    """The same records, by id, once each."""
    files = local(kept / "published" / "day")
    before = ids(files)
    since, until = keep.WINDOW
    with keep.page() as box:
        in_tries(box, store_of(files), FOLDERS, since=since, until=until, run="again")
    assert ids(files) == before
    assert_tidy(files)


@pytest.mark.parametrize("how", [{}, {"file_format": "parquet", "compression": "zstd"}], ids=["lines", "Parquet"])
def test_a_day_of_this_version_lies_beside_one_of_it(kept: Path, how: dict[str, str]) -> None:
    """An upgrade moves nothing and exports nothing again: the views show both days as one table, without a gap."""
    files = local(kept / "published" / "day")
    before = set(ids(files)["messages"])
    since, _ = keep.WINDOW
    with keep.page() as box:
        in_tries(box, store_of(files), FOLDERS, since=since - keep.DAY, until=since, run="the day before", **how)
    with duckdb.connect() as database:
        database.execute(views(files.root))
        found = [row[0] for row in database.execute("SELECT id FROM messages").fetchall()]
        assert database.execute("FROM gaps").fetchall() == []
    assert len(found) == len(set(found))
    assert before < set(found) == set(ids(files)["messages"])


def test_a_window_that_overlaps_a_day_of_it_is_refused(kept: Path) -> None:
    """Its manifests' names are understood."""
    since, until = keep.WINDOW
    with keep.page() as box, pytest.raises((FoldersFailed, DumpRefused), match="overlap"):
        simulated(
            exporting(
                box, store_of(local(kept / "published" / "day")), FOLDERS, since=since - keep.DAY / 2, until=until
            ),
            box,
        )


def test_an_export_that_it_left_half_way_is_gone_on_with(kept: Path) -> None:
    """The next try of its run makes fewer calls than a whole export, and ends with all that was on the Page.

    If the sandbox draws another Page by now than it did then, this fails at its first assertion: its cursors are of no use.
    """
    files = local(kept / "halfway")
    assert files.names("_staging")
    earlier = files.manifests()
    assert 0 < len(earlier) < len(FOLDERS)
    with keep.page() as box:
        assert owed(box.data()) == owed(page_of(kept))
        in_tries(box, store_of(files), FOLDERS, run="half")
        calls = len(box.requests)
    assert ids(files) == owed(page_of(kept))
    assert {name: files.manifests()[name] for name in earlier} == earlier
    assert_tidy(files)
    with keep.page() as box:
        whole = local(kept / "whole")
        (kept / "whole").mkdir()
        in_tries(box, store_of(whole), FOLDERS)
        assert calls < len(box.requests)
