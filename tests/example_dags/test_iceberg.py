"""The copy in Iceberg tables is what the manifests name, in every version of the tables that any reader can find."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyarrow import parquet
from pyiceberg.catalog import load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import ValidationException
from pyiceberg.expressions import EqualTo
from pyiceberg.table import StaticTable
from pyiceberg.utils.config import Config

from airflow_provider_pageconv.compat import AirflowFailException
from airflow_provider_pageconv.sandbox import Sandbox
from tests.docs.reading import blocks
from tests.dump.exporting import DAY, NOW, export, page, store_of, threads
from tests.servers.airflow_home import EXAMPLE_DAGS, environment, run_dags
from tests.servers.destinations import Destination, local

STREAMS = ("conversations", "messages")
ICEBERG = "pageconv_iceberg"
Counts = dict[tuple[str, ...], int]


def settings(folder: Path) -> dict[str, str]:
    """A catalog in SQLite, as the DAG's first lines name it."""
    return {
        "PYICEBERG_CATALOG__DEFAULT__URI": f"sqlite:///{folder / 'iceberg.db'}",
        "PYICEBERG_CATALOG__DEFAULT__WAREHOUSE": (folder / "iceberg").as_uri(),
    }


def place_of(name: str) -> tuple[str, ...]:
    """Platform, Page, folder and window, as a manifest's name has them."""
    return tuple(part.partition("=")[2] for part in name.removesuffix(".json").split("/")[1:])


def owed(manifests: dict[str, dict[str, Any]], stream: str) -> Counts:
    """How many rows of each window there have to be, by the manifests; windows without any are not there."""
    return {place_of(name): manifest[stream] for name, manifest in manifests.items() if manifest[stream]}


def held(table: Any, snapshot_id: int | None = None) -> Counts:
    """How many rows of each window a reader counts."""
    rows = table.scan(snapshot_id=snapshot_id).to_arrow()
    names = ("_platform", "_page_id", "_folder", "window_name")
    return dict(Counter(zip(*(rows[name].to_pylist() for name in names), strict=True)))


def versions(table: Any) -> list[Counts | None]:
    """What a reader counts who loads the table, at each moment in its life; ``None`` where there is nothing to read yet."""
    files = [*(entry.metadata_file for entry in table.metadata.metadata_log), table.metadata_location]
    found = [StaticTable.from_metadata(file) for file in files]
    return [held(one) if one.current_snapshot() else None for one in found]


def snapshots(table: Any) -> list[Counts]:
    """What a reader counts who travels in time, to each snapshot that there was."""
    assert len(table.history()) == len(table.metadata.snapshots)
    return [held(table, entry.snapshot_id) for entry in table.history()]


@pytest.mark.usefixtures("airflow_home")
def test_three_days_of_which_two_are_exported_again(tmp_path: Path) -> None:
    """After every commit the counts are the manifests', with a late message, an event told twice, and one that comes too late."""
    files = local(tmp_path / "data")
    today = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0) - DAY
    days = [today - 2 * DAY, today - DAY, today]  # the ends of the windows
    copy = {"dag_id": ICEBERG, "logical_date": None}
    newest = {**copy, "consumes": [-1]}
    with Sandbox(seed=1, conversations=60, now=today, span=3 * DAY) as box:
        box.clock = lambda: datetime.now(timezone.utc)
        airflow = {**environment(box, files.url), **settings(tmp_path)}
        orders = [({"dag_id": "pageconv_daily", "logical_date": day.isoformat()}, newest) for day in days]
        first = run_dags([order for both in orders for order in both], environment=airflow)
        before = files.manifests()
        # In a talk so short that the API tells of all its messages.
        short = min(threads(box), key=lambda thread: len(box.page.thread(thread).messages))
        late = box.page.add_message(short, at=days[1] - timedelta(hours=2))
        # By another DAG, for another run of the same one would know the windows as its own and leave them alone. Each of its
        # four events names one folder.
        again = [{"dag_id": "pageconv_folders", "logical_date": day.isoformat()} for day in days[:2]]
        folders = {**copy, "consumes": [-4, -3, -2, -1]}
        of_the_first_day = {**copy, "consumes": [-11]}  # 3 events of days, and 8 of folders
        then = run_dags([again[0], folders, again[1], folders, folders, of_the_first_day], environment=airflow)
    assert [run["state"] for run in [*first, *then]] == ["success"] * 12, then[0]["log"]

    after = files.manifests()
    assert set(after) == set(before)
    replaced = [name for name in before if before[name]["export_id"] != after[name]["export_id"]]
    assert len(replaced) == 8
    windows = sorted({place_of(name)[-1] for name in before})
    catalog = SqlCatalog("default", uri=f"sqlite:///{tmp_path / 'iceberg.db'}")
    for stream in STREAMS:
        of_days = [
            {name: before[name] for name in before if place_of(name)[-1] in windows[:known]} for known in (1, 2, 3)
        ]
        of_days += [
            {name: (after if place_of(name)[-1] in windows[:known] else before)[name] for name in before}
            for known in (1, 2, 2, 2)
        ]
        expected = [owed(manifests, stream) for manifests in of_days]
        assert len(expected[0]) < len(expected[1]) < len(expected[2])
        table = catalog.load_table(("pageconv", stream))
        assert versions(table) == [None, *expected]
        assert snapshots(table) == expected
        kept = Counter(record["id"] for record in files.records(stream))
        assert Counter(table.scan().to_arrow()["id"].to_pylist()) == kept
    assert late.id in kept
    copied = [run["xcoms"]["copy"]["messages"] for run in first[1::2]]
    assert sum(copied) == sum(manifest["messages"] for manifest in before.values())


# ---- the parts that need no scheduler


@dataclass(frozen=True)
class Copy:
    """The DAG's task, and what it works on."""

    files: Destination
    module: Any

    def __call__(self, *manifests: str) -> dict[str, int]:
        """Run it for an event that names these; for none, as somebody who starts it by hand."""
        events = {"page_conversations": [SimpleNamespace(extra={"manifests": list(manifests)})]} if manifests else {}
        found: dict[str, int] = self.module.copy.function(triggering_asset_events=events)
        return found

    def table(self, stream: str) -> Any:
        """The table, freshly loaded."""
        return load_catalog().load_table(("pageconv", stream))

    def rows(self, stream: str) -> list[dict[str, Any]]:
        """What it holds, by id."""
        found: list[dict[str, Any]] = self.table(stream).scan().to_arrow().to_pylist()
        return sorted(found, key=lambda row: (row["id"], row["window_name"]))

    def assert_is_what_is_published(self) -> None:
        """Window by window."""
        for stream in STREAMS:
            assert held(self.table(stream)) == owed(self.files.manifests(), stream)


def copying(folder: Path, monkeypatch: pytest.MonkeyPatch, files: Destination | None = None) -> Copy:
    """The DAG's file loaded, with a catalog in a folder of its own, and the data set too if it is nowhere else."""
    files = files or local(folder / "data")
    for name, value in settings(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW_VAR_PAGECONV_DESTINATION", files.url)
    monkeypatch.setattr("pyiceberg.catalog._ENV_CONFIG", Config())  # it is read once in a process
    spec = importlib.util.spec_from_file_location(ICEBERG, EXAMPLE_DAGS / f"{ICEBERG}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Copy(files, module)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Copy:
    """The DAG's task, on an empty data set."""
    return copying(tmp_path, monkeypatch)


@pytest.fixture
def box() -> Iterator[Sandbox]:
    """A Page with one folder and messages of two days."""
    with page(span=2 * DAY, messages=20) as running:
        yield running


def export_days(
    box: Sandbox, files: Destination, *, run: str = "run", formats: tuple[str, ...] = ("jsonl", "parquet")
) -> None:
    """Export yesterday and the day before, each in its format."""
    for number, file_format in enumerate(formats):
        compression = {"jsonl": "gzip", "parquet": "zstd"}[file_format]
        window = {"since": NOW - (number + 1) * DAY, "until": NOW - number * DAY}
        how = {"file_format": file_format, "compression": compression, **window}
        export(box, store_of(files), run=f"{run}-{number}", **how)


def test_a_window_in_json_lines_makes_the_rows_of_one_in_parquet(
    box: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Column by column, half an emoji and a field of one's own included."""
    for thread in threads(box)[:2]:
        box.page.add_message(thread, at=NOW - timedelta(hours=1), text="half \ud83d")
        box.page.add_message(
            thread, at=NOW - timedelta(hours=1), fields={"reply_to": {"mid": "m_1", "new_at_meta": [1]}}
        )
    found: list[list[Any]] = []
    for formats in (("jsonl", "jsonl"), ("parquet", "parquet"), ("jsonl", "parquet")):
        copy = copying(tmp_path / "-".join(formats), monkeypatch)
        export_days(box, copy.files, formats=formats)
        copy(*copy.files.manifests())
        copy.assert_is_what_is_published()
        ours = {"_export_id": None}
        found.append([[{**row, **ours} for row in copy.rows(stream)] for stream in STREAMS])
    assert found[0] == found[1] == found[2]
    assert any(row["_extra"] and "new_at_meta" in row["_extra"] for row in found[0][1])
    assert any(row["message"] is None and "ud83d" in (row["_extra"] or "") for row in found[0][1])


def test_the_parts_of_a_window_are_all_there(box: Sandbox, copy: Copy) -> None:
    """A window of many files is replaced by one of others."""
    window = {"since": NOW - DAY, "until": NOW}
    for run, most in (("first", 7), ("second", 9)):
        export(box, store_of(copy.files), run=run, max_part_records=most, **window)
        copy(*copy.files.manifests())
        copy.assert_is_what_is_published()
    assert len(copy.files.names("messages")) > 2
    assert len(snapshots(copy.table("messages"))) == 2


def test_a_run_by_hand_makes_the_tables_what_is_published(
    box: Sandbox, destination_files: Destination, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one commit each: with all that was there before the DAG, and without what retention has taken away since."""
    copy = copying(tmp_path, monkeypatch, destination_files)
    export_days(box, copy.files)
    copy()
    copy.assert_is_what_is_published()
    oldest, _ = sorted(copy.files.manifests())
    for file in copy.files.manifests()[oldest]["files"]:
        copy.files.remove(file["path"])
    copy.files.remove(oldest)
    copy()
    copy.assert_is_what_is_published()
    for stream in STREAMS:
        both, one = snapshots(copy.table(stream))
        assert (len(both), len(one)) == (2, 1)


def test_an_event_that_names_nothing_is_a_run_by_hand(box: Sandbox, copy: Copy) -> None:
    """As Airflow's UI makes one, by *Create Asset Event*."""
    export_days(box, copy.files)
    copy.module.copy.function(
        triggering_asset_events={"page_conversations": [SimpleNamespace(extra={"from_ui": True})]}
    )
    copy.assert_is_what_is_published()


def test_a_root_without_a_manifest_empties_no_table(box: Sandbox, copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is mistyped ends the run with a sentence."""
    export_days(box, copy.files)
    copy()
    monkeypatch.setenv("AIRFLOW_VAR_PAGECONV_DESTINATION", (Path(copy.files.root).parent / "date").as_uri())
    with pytest.raises(AirflowFailException, match="pageconv_destination names no data set with a manifest"):
        copy()
    copy.assert_is_what_is_published()


def test_an_event_of_a_manifest_that_is_gone_takes_nothing_away(
    box: Sandbox, copy: Copy, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told in a warning; what else the event names is copied."""
    export_days(box, copy.files)
    copy()
    before = {stream: held(copy.table(stream)) for stream in STREAMS}
    oldest, newest = sorted(copy.files.manifests())
    copy.files.remove(oldest)
    copy(oldest)
    copy(oldest, newest)
    assert {stream: held(copy.table(stream)) for stream in STREAMS} == before
    assert f"{oldest} is not there any more: the tables keep what they have of it." in caplog.text


def test_a_window_that_has_become_empty_is_empty_in_the_tables(box: Sandbox, copy: Copy) -> None:
    """Its manifest counts nothing and names no file."""
    export_days(box, copy.files)
    copy()
    oldest, newest = sorted(copy.files.manifests())
    nothing = {**copy.files.manifests()[newest], "files": [], "conversations": 0, "messages": 0}
    copy.files.write(newest, json.dumps(nothing).encode())
    assert copy(newest) == {"conversations": 0, "messages": 0}
    copy.assert_is_what_is_published()
    assert [place[-1] for place in held(copy.table("messages"))] == [place_of(oldest)[-1]]


def test_a_file_that_is_replaced_while_it_is_read_leaves_the_table_as_it_was(box: Sandbox, copy: Copy) -> None:
    """The run fails before its commit, and its next try reads the manifests again."""
    export_days(box, copy.files)
    copy()
    before = copy.table("messages").metadata_location
    export_days(box, copy.files, run="again")
    _, newest = sorted(copy.files.manifests())
    *_, last = (file["path"] for file in copy.files.manifests()[newest]["files"] if file["stream"] == "messages")
    content = copy.files.read(last)
    copy.files.remove(last)
    with pytest.raises(FileNotFoundError):
        copy(*copy.files.manifests())
    assert copy.table("messages").metadata_location == before
    copy.files.write(last, content)
    copy(*copy.files.manifests())
    copy.assert_is_what_is_published()


@pytest.mark.parametrize("same", [False, True])
def test_what_somebody_else_commits_meanwhile_is_not_lost(
    same: bool, box: Sandbox, copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To another window: both are there. To the same one: the run fails, and its next try replaces what there is then."""
    export_days(box, copy.files)
    oldest, newest = sorted(copy.files.manifests())
    copy(newest)
    others = copying(Path(copy.files.root).parent, monkeypatch)
    write = copy.module.write

    def write_late(*arguments: Any) -> Any:
        written = write(*arguments)
        monkeypatch.setattr(copy.module, "write", write)
        others(newest if same else oldest)
        return written

    monkeypatch.setattr(copy.module, "write", write_late)
    if same:
        with pytest.raises(ValidationException):
            copy(newest)
        copy(oldest)
    else:
        copy(newest)
    copy(newest)
    copy.assert_is_what_is_published()


def test_columns_that_are_new_are_added_to_a_table_that_is_older(box: Sandbox, copy: Copy) -> None:
    """As with a release whose schema has moved on; the rows that are there already have none in them."""
    export_days(box, copy.files)
    oldest, newest = sorted(copy.files.manifests())
    copy(oldest)
    with copy.table("messages").update_schema() as change:
        change.delete_column("is_unsupported")
    copy(newest)
    copy.assert_is_what_is_published()
    assert "is_unsupported" in copy.table("messages").schema().column_names


def test_a_file_that_holds_several_windows_is_not_dropped_with_one_of_them(box: Sandbox, copy: Copy) -> None:
    """Somebody has partitioned the table otherwise and rewritten it: a sentence, and nothing is lost."""
    export_days(box, copy.files)
    copy()
    table = copy.table("messages")
    with table.update_spec() as partitions:
        partitions.remove_field("window_name")
    table.overwrite(table.scan().to_arrow())
    with table.update_spec() as partitions:
        partitions.add_identity("window_name")
    with pytest.raises(AirflowFailException, match=r"A file of pageconv\.messages holds rows of several windows"):
        copy(*sorted(copy.files.manifests())[:1])
    copy.assert_is_what_is_published()


def test_the_tables_own_metadata_tells_no_name_and_no_text(box: Sandbox, copy: Copy) -> None:
    """Iceberg keeps bounds of columns outside of the data; here of times and partitions alone."""
    export_days(box, copy.files)
    copy()
    for stream, time in zip(STREAMS, ("updated_time", "created_time"), strict=True):
        table = copy.table(stream)
        bounded = {key for bounds in table.inspect.all_files()["lower_bounds"].to_pylist() for key, _ in bounds}
        plain = ("_platform", "_page_id", "_folder", "window_name", time)
        assert bounded == {table.schema().find_field(name).field_id for name in plain}


def test_pyiceberg_s_own_overwrite_leaves_a_snapshot_without_the_window(box: Sandbox, copy: Copy) -> None:
    """Which is why the DAG does not use it: once this fails, it can."""
    export_days(box, copy.files)
    copy()
    table = copy.table("messages")
    window = EqualTo("window_name", place_of(sorted(copy.files.manifests())[0])[-1])
    table.overwrite(table.scan(row_filter=window).to_arrow(), overwrite_filter=window)
    assert [len(counts) for counts in versions(table) if counts is not None] == [2, 2]
    assert [len(counts) for counts in snapshots(table)] == [2, 1, 2]


def test_a_person_is_deleted_from_the_tables_and_from_their_past(box: Sandbox, copy: Copy) -> None:
    """As docs/iceberg.md does it: no file holds them any more, nor a snapshot, and all others stay."""
    export_days(box, copy.files)
    copy()
    copy(*copy.files.manifests())
    before = {stream: copy.rows(stream) for stream in STREAMS}
    senders = [row["from"]["id"] for row in before["messages"] if row["from"]]
    person = next(sender for sender in senders if sender != box.page.id)
    texts = [text.replace("7000000000000001", person) for text in blocks("docs/iceberg.md", "python")]
    assert person in texts[0]
    for text in texts:
        exec(compile(text, "docs/iceberg.md", "exec"), {})
    mine = {row["id"] for row in before["conversations"] if person in [one["id"] for one in row["participants"]]}
    kept = {
        "conversations": [row for row in before["conversations"] if row["id"] not in mine],
        "messages": [row for row in before["messages"] if row["_conversation_id"] not in mine],
    }
    assert mine
    assert {stream: copy.rows(stream) for stream in STREAMS} == kept
    left = list((Path(copy.files.root).parent / "iceberg").rglob("*.parquet"))
    assert len(left) == 4
    assert not [path for path in left if person in str(parquet.read_table(path).to_pylist())]
    for stream in STREAMS:
        assert len(copy.table(stream).metadata.snapshots) == 1
        assert len(kept[stream]) < len(before[stream])


def test_airflow_reads_the_file_where_neither_pyiceberg_nor_pyarrow_is() -> None:
    """Only its task needs them."""
    code = (
        "import runpy, sys\n"
        "sys.modules.update(pyiceberg=None, pyarrow=None)\n"
        f"runpy.run_path({str(EXAMPLE_DAGS / f'{ICEBERG}.py')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
