"""An export in Parquet holds what one in JSON Lines does, however it came about: one schema, nothing lost, little memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_pageconv import json_text
from airflow_provider_pageconv.dump import arrow, formats, parquet, schema
from airflow_provider_pageconv.dump.endings import DumpRefused
from airflow_provider_pageconv.dump.formats import DamagedFile, Part, PartWriter, read_batches, read_records
from airflow_provider_pageconv.dump.packing import Packing
from airflow_provider_pageconv.dump.records import line
from airflow_provider_pageconv.sandbox import Sandbox
from airflow_provider_pageconv.sandbox.times import TIME_FORMS
from tests.dump.exporting import (
    DAY,
    NOW,
    Breaking,
    Broken,
    assert_counts_are_of_the_files,
    assert_holds,
    assert_tidy,
    every_step_saved,
    export,
    ids,
    owed,
    page,
    spec_of,
    store_of,
    threads,
)
from tests.dump.shapes import MESSAGE, exact, records
from tests.servers import parquet_files
from tests.servers.destinations import Destination, local

PARQUET: dict[str, Any] = {"file_format": "parquet", "compression": "zstd"}
JSONL: dict[str, Any] = {"file_format": "jsonl", "compression": "gzip"}
COMPRESSIONS = {"zstd": "ZSTD", "gzip": "GZIP", "snappy": "SNAPPY", "none": "UNCOMPRESSED"}


def write(path: Path, stream: str, rows: Iterator[dict[str, Any]] | list[dict[str, Any]], **how: Any) -> Part:
    """Write a part file of its own."""
    how = {"compression": "zstd", "packing": None, **how}
    writer = PartWriter(path, stream, how["compression"], how["packing"], file_format="parquet")
    for row in rows:
        writer.write(row)
    return writer.close()


def metadata_of(path: Path) -> Any:
    """What a file says of itself."""
    from pyarrow import parquet as library

    return library.read_metadata(path)


def by_id(records: list[dict[str, Any]]) -> dict[str, str]:
    """Records as texts that tell 1 from true, by their ids, without what differs from export to export."""
    ours = ("_export_id", "_fetched_at")
    return {one["id"]: exact({name: value for name, value in one.items() if name not in ours}) for one in records}


# ---- a file


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(schema.COLUMNS)), st.data())
def test_any_records_come_back_and_the_columns_are_always_the_same(stream: str, data: st.DataObject) -> None:
    """Whatever the records leave out or bring along, and to a reader that goes by the documentation alone; in any order."""
    rows = data.draw(st.lists(records(stream).map(lambda record: {**record, "id": "m"}), max_size=6))
    rows = [json_text.read(json_text.write(row)) for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part"
        part = write(path, stream, rows)
        content = path.read_bytes()
        back = list(read_records(path))
        found = metadata_of(path)
    assert Counter(map(exact, back)) == Counter(map(exact, rows))
    assert Counter(map(exact, parquet_files.nodes(content, stream))) == Counter(map(exact, rows))
    assert (part.records, part.bytes) == (len(rows), len(content))
    assert found.schema.to_arrow_schema().equals(arrow.arrow_schema(stream))
    assert found.metadata == {b"pageconv.stream": stream.encode(), b"pageconv.schema_version": b"1"}


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_file_written_twice_is_the_same_bytes_in_its_compression(compression: str, tmp_path: Path) -> None:
    """Nothing of the moment or of the local path gets into it; the part says what lies there."""
    contents = []
    for name in ("one", "other"):
        rows = [{**MESSAGE, "id": str(number)} for number in range(3000)]
        part = write(tmp_path / name, "messages", rows, compression=compression)
        contents.append((tmp_path / name).read_bytes())
        assert (part.records, part.bytes) == (3000, len(contents[-1]))
        assert part.sha256 == hashlib.sha256(contents[-1]).hexdigest()
    assert contents[0] == contents[1]
    group = metadata_of(tmp_path / "one").row_group(0)
    assert {group.column(at).compression for at in range(group.num_columns)} == {COMPRESSIONS[compression]}


def test_what_is_packed_in_a_thread_of_its_own_is_the_same_file(tmp_path: Path) -> None:
    """The owner hands over lines; the worker thread makes rows, compresses and writes."""
    rows = [{**MESSAGE, "id": str(number)} for number in range(3000)]
    with Packing() as packing:
        aside = write(tmp_path / "aside", "messages", rows, packing=packing)
    assert aside == write(tmp_path / "here", "messages", rows)


@pytest.mark.parametrize("length", [10, 20_000])
def test_row_groups_end_with_so_many_records_or_bytes(length: int, tmp_path: Path) -> None:
    """So what is in memory at once is bounded, whatever a part may hold, in writing and in reading."""
    import pyarrow as pa

    count = 200_000 if length == 10 else 4000
    before = pa.default_memory_pool().bytes_allocated()
    most, rows = 0, ({"id": str(number), "message": "x" * length} for number in range(count))
    writer = PartWriter(tmp_path / "part", "messages", "zstd", file_format="parquet")
    for row in rows:
        writer.write(row)
        most = max(most, pa.default_memory_pool().bytes_allocated() - before)
    writer.close()
    found = metadata_of(tmp_path / "part")
    groups = [found.row_group(at) for at in range(found.num_row_groups)]
    assert len(groups) > 3
    at_once = parquet._AT_ONCE_BYTES + 2 * formats.PIECE
    assert max(group.num_rows for group in groups) <= parquet._GROUP_RECORDS + at_once // 20
    assert max(group.num_rows * length for group in groups) <= parquet._GROUP_BYTES + at_once
    assert most < 3 * parquet._GROUP_BYTES
    most = 0
    for _ in read_records(tmp_path / "part"):
        most = max(most, pa.default_memory_pool().bytes_allocated() - before)
    assert most < 4 * parquet._GROUP_BYTES


def test_half_emoji_and_odd_numbers_do_not_spoil_the_piece_that_they_are_in(tmp_path: Path) -> None:
    """The lines around them are read the plain way, and stay what they are."""
    rows = [MESSAGE, {**MESSAGE, "message": "half \ud83d"}, {**MESSAGE, "size": 10**400, "\udc00": ["\ud83d"]}, MESSAGE]
    write(tmp_path / "part", "messages", rows)
    assert [exact(row) for row in read_records(tmp_path / "part")] == [exact(row) for row in rows]


def test_what_pyarrow_refuses_is_told_without_what_somebody_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own sentences quote values. It ends the part, where somebody waits for it, and nothing is left on the disk."""
    monkeypatch.setattr(arrow, "to_row", lambda _, record: {**record, "is_unsupported": record["message"]})
    with Packing() as packing:
        writer = PartWriter(tmp_path / "part", "messages", "zstd", packing, file_format="parquet")
        writer.write({"id": "1", "message": "a secret", "unheard_of": 1})
        with pytest.raises(ValueError, match="is_unsupported of messages: Arrow") as caught:
            writer.close()
    assert "a secret" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert list(tmp_path.iterdir()) == []


def damaged_files(good: bytes) -> dict[str, bytes]:
    """Files that are none of ours, or not what they were."""
    import pyarrow as pa
    from pyarrow import parquet as library

    def made(metadata: dict[str, str], columns: Any) -> bytes:
        sink = pa.BufferOutputStream()
        with library.ParquetWriter(sink, columns.schema, store_schema=False) as writer:
            writer.write_table(columns)
            writer.add_key_value_metadata(metadata)
        content: bytes = sink.getvalue().to_pybytes()
        return content

    table = parquet_files.table(good)
    of_ours = {"pageconv.stream": "messages", "pageconv.schema_version": "1"}
    return {
        "cut": good[: len(good) // 2],
        "only its beginning": good[:4],
        "somebody else's": made({}, pa.table({"id": ["1"]})),
        "of another version": made({**of_ours, "pageconv.schema_version": "2"}, table),
        "without a column": made(of_ours, table.drop_columns(["message"])),
    }


def test_what_is_no_file_of_ours_is_damaged(tmp_path: Path) -> None:
    """In a sentence, and not by an error of pyarrow's that nobody expects."""
    write(tmp_path / "good", "messages", [MESSAGE] * 10)
    for content in damaged_files((tmp_path / "good").read_bytes()).values():
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(DamagedFile):
            list(read_records(tmp_path / "bad"))
    write(tmp_path / "no-id", "messages", [{"message": "x"}])
    with pytest.raises(DamagedFile, match="what is no record"):
        list(read_records(tmp_path / "no-id"))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(schema.COLUMNS)), st.data())
def test_the_rows_of_a_file_are_the_same_in_either_format(stream: str, data: st.DataObject) -> None:
    """Who copies them into a table need not know which one an export has."""
    rows = data.draw(st.lists(records(stream).map(lambda record: {**record, "id": "m"}), min_size=1, max_size=6))
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for file_format, compression in (("jsonl", "none"), ("jsonl", "gzip"), ("parquet", "zstd")):
            path = Path(folder) / f"{file_format}-{compression}"
            writer = PartWriter(path, stream, compression, file_format=file_format)
            for row in rows:
                writer.write(row)
            writer.close()
            with path.open("rb") as raw:
                batches = list(read_batches(raw, stream))
            assert all(batch.schema.equals(arrow.arrow_schema(stream)) for batch in batches)
            found.append([row for batch in batches for row in batch.to_pylist()])
    assert Counter(map(repr, found[0])) == Counter(map(repr, found[1])) == Counter(map(repr, found[2]))


def test_rows_are_not_taken_of_what_is_no_file_of_ours(tmp_path: Path) -> None:
    """Nor of one that holds the other stream, or lines that are no records."""
    write(tmp_path / "good", "messages", [MESSAGE] * 10)
    good = (tmp_path / "good").read_bytes()
    lines = gzip.compress(line(MESSAGE) * 1000)
    for content in (*damaged_files(good).values(), lines[: len(lines) // 2], b"{", b"[]\n", b'{"message": "x"}\n'):
        with pytest.raises(DamagedFile):
            list(read_batches(io.BytesIO(content), "messages"))
    with pytest.raises(DamagedFile, match="it holds messages, not conversations"):
        list(read_batches(io.BytesIO(good), "conversations"))


# ---- an export


def both(tmp_path: Path, box: Sandbox, **how: Any) -> tuple[Destination, Destination]:
    """The same export in both formats."""
    lines, columns = local(tmp_path / "jsonl"), local(tmp_path / "parquet")
    export(box, store_of(lines), **JSONL, **how)
    export(box, store_of(columns), **PARQUET, **how)
    return lines, columns


@pytest.mark.parametrize("form", sorted(TIME_FORMS))
def test_an_export_holds_the_records_of_one_in_json_lines(tmp_path: Path, form: str) -> None:
    """In whatever form the API writes its times, with all that hangs on messages."""
    with page(messages=40, crowded_every=5) as box:
        box.rules.time_form = form
        lines, columns = both(tmp_path, box)
    for stream in ("conversations", "messages"):
        assert by_id(columns.records(stream)) == by_id(lines.records(stream))
        assert len(columns.records(stream)) == len(lines.records(stream)) > 10
    [manifest] = columns.manifests().values()
    assert [manifest[key] for key in ("file_format", "compression", "schema_version")] == ["parquet", "zstd", 1]
    assert all(file["path"].endswith(".parquet") for file in manifest["files"])
    [manifest] = lines.manifests().values()
    assert manifest["schema_version"] is None
    assert_counts_are_of_the_files(columns)


def test_a_documented_node_needs_no_extra_column(tmp_path: Path) -> None:
    """What the API is documented to give, engines find in columns; both platforms."""
    for platform, folder in (("messenger", "inbox"), ("instagram", "all")):
        with Sandbox(seed=7, conversations=60, messages=20, instagram=30, details="all", now=NOW) as box:
            files = local(tmp_path / platform)
            export(box, store_of(files), folder, platform=platform, **PARQUET)
        for stream in ("conversations", "messages"):
            for name in files.names(stream):
                table = parquet_files.table(files.read(name))
                assert table.num_rows > 10
                assert table.column("_extra").null_count == table.num_rows
                assert table.column("id").null_count == 0


def test_parts_roll_and_the_schema_is_the_same_in_each(tmp_path: Path) -> None:
    """Whatever a part's records happen to leave out."""
    files = local(tmp_path)
    with page(messages=30) as box:
        export(box, store_of(files), max_part_records=40, **PARQUET)
        assert_holds(files, owed(box.data(), "inbox"))
    for stream in ("conversations", "messages"):
        names = files.names(stream)
        schemas = {str(parquet_files.table(files.read(name)).schema) for name in names}
        assert len(schemas) == 1
    assert len(files.names("messages")) >= 5
    assert_tidy(files)


def test_a_kill_at_any_operation_of_the_store_loses_nothing(tmp_path: Path) -> None:
    """Each checkpoint closes its parts, and the next try goes on after them, to the same records."""
    with page(folders={"inbox": 8}, messages=30, long_every=2) as box:
        owes = owed(box.data(), "inbox")
        for at in range(1, 200, 2):
            files = local(tmp_path / str(at))
            store = Breaking(store_of(files), at)
            try:
                with every_step_saved():
                    export(box, store, page_size=10, **PARQUET)  # type: ignore[arg-type]
            except Broken:
                pass
            else:
                break
            export(box, store_of(files), page_size=10, **PARQUET)
            assert_holds(files, owes)
            assert_tidy(files)
            assert_counts_are_of_the_files(files)
        assert at > 10


def test_parts_of_another_schema_are_not_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest names one version for all its files. What was begun in JSON Lines goes on as before."""
    old, lines = spec_of(None, **PARQUET).fingerprint(), spec_of(None).fingerprint()
    monkeypatch.setattr(schema, "VERSION", 2)
    assert spec_of(None, **PARQUET).fingerprint() != old
    assert spec_of(None).fingerprint() == lines


# ---- carried over


@pytest.mark.parametrize("first, second", [(JSONL, PARQUET), (PARQUET, JSONL), (PARQUET, PARQUET)])
def test_what_is_carried_is_written_in_the_new_format_with_the_same_values(
    tmp_path: Path, first: dict[str, Any], second: dict[str, Any]
) -> None:
    """All of it: ids, texts, times in the API's own form, attachments, and what no schema knows."""
    files = local(tmp_path)
    with page(messages=30, crowded_every=4) as box:
        box.rules.time_form = "offset"
        export(box, store_of(files), **first)
        before = {stream: files.records(stream) for stream in ("conversations", "messages")}
        for thread in threads(box):
            box.page.delete_thread(thread)
        manifest = export(box, store_of(files), run="run-2", **second)
    for stream, rows in before.items():
        after = files.records(stream)
        assert all(row["_carried"] for row in after)
        assert sorted(exact({**row, "_carried": False}) for row in after) == sorted(exact(row) for row in rows)
    assert manifest["file_format"] == second["file_format"]
    assert_counts_are_of_the_files(files)
    assert_tidy(files)


def test_nights_in_either_format_hold_every_message_once(tmp_path: Path) -> None:
    """Details that the API forgets, threads that are deleted, over and over, whatever the night before was written in."""
    files, lines = local(tmp_path / "mixed"), local(tmp_path / "lines")
    with page(messages=22) as box:
        for night in range(6):
            for thread in threads(box)[: 6 - night]:
                box.clock.advance(timedelta(seconds=1))  # type: ignore[attr-defined]
                box.page.add_message(thread)
            if night == 3:
                box.page.delete_thread(threads(box)[1])
            export(box, store_of(lines), run=f"night-{night}", **JSONL)
            export(box, store_of(files), run=f"night-{night}", **(PARQUET if night % 3 else JSONL))
            for stream in ("conversations", "messages"):
                assert by_id(files.records(stream)) == by_id(lines.records(stream))
                assert ids(files, stream) == ids(lines, stream)
            assert_counts_are_of_the_files(files)
    assert_tidy(files)


def test_bare_ids_that_another_window_holds_are_not_written_again(tmp_path: Path) -> None:
    """They wait apart, in a part of their own, and are settled against windows in either format."""
    files = local(tmp_path)
    with page(span=timedelta(days=2), messages=30, long_every=2) as box:
        for day, how in enumerate((PARQUET, JSONL)):
            for thread in threads(box)[:6]:
                for hour in range(20):
                    box.page.add_message(thread, at=NOW + day * DAY + timedelta(hours=hour))
            box.clock.advance(DAY)  # type: ignore[attr-defined]
            export(box, store_of(files), run=f"day-{day}", since=NOW + day * DAY, until=NOW + (day + 1) * DAY, **how)
        daily = set(ids(files, "messages"))
        export(box, store_of(files), run="backfill", until=NOW, **PARQUET)
        bare = {
            message["id"]
            for thread in box.data()["threads"]
            for message in thread["visible"]
            if "created_time" not in message
        }
    assert bare & daily
    assert bare - daily
    found = ids(files, "messages")
    assert len(found) == len(set(found))
    assert bare <= set(found)
    assert_counts_are_of_the_files(files)


def test_a_backfill_beside_a_day_of_an_unknown_version_ends_with_a_sentence(tmp_path: Path) -> None:
    """Which bare ids that day has nobody here can tell; the sentence names its manifest and who can."""
    files = local(tmp_path)
    with page(span=timedelta(days=2), messages=30, long_every=2) as box:
        box.page.add_message(threads(box)[0], at=NOW)
        box.clock.advance(DAY)  # type: ignore[attr-defined]
        export(box, store_of(files), since=NOW, until=NOW + DAY, **PARQUET)
        [(name, manifest)] = files.manifests().items()
        files.write(name, json.dumps({**manifest, "schema_version": 9}).encode())
        with pytest.raises(DumpRefused, match=rf"^The manifest {name} .*schema version 9.* or a newer one\.$"):
            export(box, store_of(files), run="backfill", until=NOW, **PARQUET)
    assert list(files.manifests()) == [name]


@pytest.mark.parametrize("version", [9, 0, None, "1", 1.5])
def test_columns_of_an_unknown_version_are_refused_before_the_first_call(tmp_path: Path, version: Any) -> None:
    """Nothing is replaced by an export that cannot keep what is there, and the sentence says who can."""
    files = local(tmp_path)
    with page() as box:
        export(box, store_of(files), **PARQUET)
        [(name, manifest)] = files.manifests().items()
        files.write(name, json.dumps({**manifest, "schema_version": version, "provider_version": "7.1"}).encode())
        before = files.snapshot()
        box.forget()
        with pytest.raises(
            DumpRefused, match=r"format 'parquet'.* does not know: .* '7.1', or a newer one.* overwrite=True"
        ):
            export(box, store_of(files), run="run-2", **PARQUET)
        assert box.requests == []
        assert files.snapshot() == before
        export(box, store_of(files), run="run-2", overwrite=True, **PARQUET)


def test_days_of_columns_that_have_moved_on_stay_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next day is written in the new version beside them; to replace one of the old is refused."""
    files, morning = local(tmp_path), NOW.replace(hour=0)
    day = {"since": morning - DAY, "until": morning}
    with page() as box:
        export(box, store_of(files), **day, **PARQUET)
        before = files.snapshot()
        monkeypatch.setattr(schema, "VERSION", 2)
        box.page.add_message(threads(box)[0], at=NOW)
        box.clock.advance(DAY)  # type: ignore[attr-defined]
        manifest = export(box, store_of(files), run="run-2", since=morning, until=morning + DAY, **PARQUET)
        assert manifest["schema_version"] == 2
        with pytest.raises(DumpRefused, match="schema version 1"):
            export(box, store_of(files), run="run-3", **day, **PARQUET)
    assert before.items() <= files.snapshot().items()


@pytest.mark.parametrize("kind", ["of another version", "without a column", "somebody else's"])
def test_a_file_whose_columns_its_manifest_does_not_name_ends_the_folder_and_stays(tmp_path: Path, kind: str) -> None:
    """Its bytes are those that the manifest names, so somebody has changed both; nothing of it is carried over half."""
    files = local(tmp_path)
    with page() as box:
        export(box, store_of(files), **PARQUET)
        [(name, manifest)] = files.manifests().items()
        entry = next(one for one in manifest["files"] if one["stream"] == "messages")
        content = damaged_files(files.read(entry["path"]))[kind]
        files.write(entry["path"], content)
        entry |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        files.write(name, json.dumps(manifest).encode())
        before = {one: files.read(one) for one in (name, *(file["path"] for file in manifest["files"]))}
        with pytest.raises(DumpRefused, match=r"is damaged: its columns are .*overwrite=True"):
            export(box, store_of(files), run="run-2", **PARQUET)
    assert before.items() <= files.snapshot().items()


# ---- without pyarrow


def test_a_predecessor_in_parquet_is_refused_where_nothing_can_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the first call, with the command that helps; an export without anything to read does not need it."""
    files = local(tmp_path)
    with page() as box:
        export(box, store_of(files), **PARQUET)
        box.forget()
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(DumpRefused, match=r"pip install 'airflow-provider-pageconv\[parquet\]'.*overwrite=True"):
            export(box, store_of(files), run="run-2", **JSONL)
        assert box.requests == []
        export(box, store_of(files), run="run-2", overwrite=True, **JSONL)
        assert_holds(files, owed(box.data(), "inbox"))


def test_an_export_in_json_lines_does_not_load_it(tmp_path: Path) -> None:
    """Nor do the modules that know the columns."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from airflow_provider_pageconv.dump import export, formats, parquet, schema\n"
        f"writer = formats.PartWriter(Path({str(tmp_path / 'part')!r}), 'messages', 'gzip')\n"
        "writer.write({'id': '1'})\n"
        "writer.close()\n"
        "assert list(formats.read_records(writer.path)) == [{'id': '1'}]\n"
        "print([name for name in sys.modules if name.partition('.')[0] in ('pyarrow', 'numpy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_line_is_what_the_packer_takes() -> None:
    """Whole lines, of which the last ends too."""
    packer = parquet.ParquetPacker("messages", "zstd")
    content = packer.compress(line(MESSAGE) + line(MESSAGE)) + packer.flush()
    assert len(parquet_files.nodes(content, "messages")) == 2
