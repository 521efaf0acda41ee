"""What the views answer is what the sandbox's Page held and the manifests say, whatever lies between."""

from __future__ import annotations

import gzip
import json
import shutil
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_provider_pageconv.sandbox import Sandbox
from airflow_provider_pageconv.sql import views
from airflow_provider_pageconv.times import EARLIEST, moment, seconds
from tests.operators.running import CONNECTION, connection, run
from tests.servers.destinations import Destination, local
from tests.sql.by_hand import Database, data_set, look, record, rows
from tests.sql.story import DAY, EARLIER, FORMATS, HALF, LATER, ODD, TEXTS, Key, Story

VIEWS = ("exports", "gaps", "conversations_current", "messages", "attachments", "participants", "response_times")
NUMBERS = (
    "conversations", "messages", "messages_unavailable", "messages_undated", "conversations_unavailable",
    "conversations_incomplete", "conversations_carried", "messages_carried", "messages_gone", "messages_expected",
    "api_calls", "waited_seconds",
)  # fmt: skip


def by_key(found: list[dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    """Return records by what they are records of; each is there once."""
    keys = [(row["_platform"], row["_page_id"], row["id"]) for row in found]
    assert [key for key, count in Counter(keys).items() if count > 1] == []
    return dict(zip(keys, found, strict=True))


def columns(database: Database) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of each view with their types."""
    return {view: [row[:2] for row in database.execute(f"DESCRIBE {view}").fetchall()] for view in VIEWS}


# ---- messages


def test_each_message_that_was_owed_is_there_once(story: Story, database: Database) -> None:
    """Over windows, folders, Pages and platforms, and although some stand in several files."""
    found = by_key(rows(database, "FROM messages"))
    assert set(found) == set(story.messages)
    assert len(story.records("messages")) > len(found), "the data set has nothing twice: the test shows nothing"
    assert {key[:2] for key in found} == {
        ("messenger", page) for page in story.box.pages
    } | {("instagram", story.box.page.id)}  # fmt: skip


def test_a_message_is_told_of_at_its_best(story: Story, database: Database) -> None:
    """With text, sender and the true time where the API gave them once, in whatever form; as a bare id where it never did."""
    bare = 0
    for key, row in by_key(rows(database, "FROM messages")).items():
        given = story.messages[key]
        if "created_time" not in given:
            bare += 1
            assert (row["_unavailable"], row["created_time"], row["message"]) == (True, None, None)
            continue
        assert row["_unavailable"] is False
        assert row["created_time"] == moment(given["created_time"].replace("+0000", "Z"))
        text = given.get("message")
        assert row["message"] == (text if text is None else TEXTS.get(text) or text)
        sender = given.get("from")
        if isinstance(sender, dict):
            assert (row["from_id"], row["from_name"]) == (sender["id"], sender.get("name", sender.get("username")))
    assert bare > 50


def test_a_bare_id_gives_way_to_its_details_in_another_window(story: Story, database: Database) -> None:
    """The backfill had the ids alone, the first day's export had all."""
    marked = story.marked["bare, then dated"]
    lying = [record for record in story.records("messages") if record["id"] in marked]
    assert Counter(record["_unavailable"] for record in lying) == {True: 5, False: 5}
    found = rows(
        database, "SELECT window_name, _unavailable FROM messages WHERE list_contains($marked, id)", marked=marked
    )
    assert {row["window_name"] for row in found} == {
        f"{story.day(1)['since']:%Y%m%dT%H%M%SZ}--{story.day(1)['until']:%Y%m%dT%H%M%SZ}"
    }


def test_what_is_fresh_comes_before_what_was_carried_over(story: Story, database: Database) -> None:
    """A conversation changed its folder: the old one keeps the message, the new one has it too."""
    marked = story.marked["in two folders"]
    lying = {record["_folder"]: record["_carried"] for record in story.records("messages") if record["id"] in marked}
    assert lying == {"inbox": True, "other": False}
    [found] = rows(database, "FROM messages WHERE list_contains($marked, id)", marked=marked)
    assert (found["_folder"], found["_carried"]) == ("other", False)


def test_what_only_the_replaced_export_had_is_there(story: Story, database: Database) -> None:
    """A message that was taken back since."""
    [found] = rows(database, "FROM messages WHERE list_contains($marked, id)", marked=story.marked["taken back"])
    assert found["_carried"] is True


UNDATED = {"created_time": None}
UNREADABLE = {"created_time": "yesterday"}


@pytest.mark.parametrize(
    "better, worse",
    [
        pytest.param({}, {"_unavailable": True}, id="details before bare ids"),
        pytest.param(
            {**UNDATED, "_carried": True, **EARLIER}, {"_unavailable": True, **LATER}, id="details before all else"
        ),
        pytest.param({}, UNDATED, id="dated before undated"),
        pytest.param({"_carried": True, **EARLIER}, {**UNDATED, **LATER}, id="dated before fresh and later"),
        pytest.param({"_carried": True, **EARLIER}, {**UNREADABLE, **LATER}, id="a time that is none does not count"),
        pytest.param({**EARLIER}, {"_carried": True, **LATER}, id="fresh before later"),
        pytest.param({**LATER}, {**EARLIER}, id="later before earlier"),
        pytest.param(
            {"_carried": True, **LATER}, {"_carried": True, **EARLIER}, id="later before earlier, both carried"
        ),
    ],
)
@pytest.mark.parametrize("better_first", [True, False])
@pytest.mark.parametrize("file_format", FORMATS)
def test_of_two_records_the_better_one_is_chosen(
    better: dict[str, Any], worse: dict[str, Any], better_first: bool, file_format: str, tmp_path: Path
) -> None:
    """Whichever window it stands in."""
    pair = [[record(1, **better)], [record(2, **worse)]]
    database = look(data_set(tmp_path, *(pair if better_first else pair[::-1]), file_format=file_format))
    assert [row["message"] for row in rows(database, "FROM messages")] == ["1"]


def test_the_same_id_on_another_page_or_platform_is_another_message(tmp_path: Path) -> None:
    """Ids are a Page's own."""
    all_three = [record(1), record(2, _page_id="2"), record(3, _platform="instagram")]
    assert len(rows(look(data_set(tmp_path, all_three)), "FROM messages")) == 3


# ---- texts, times and shapes


def test_texts_are_read_as_they_were_written(story: Story, database: Database) -> None:
    """Line ends of all kinds, quotes and NUL; half an emoji, which no JSON reader of DuckDB takes, is the replacement character."""
    marked = story.marked["texts"]
    found = {
        row["id"]: row["message"]
        for row in rows(database, "FROM messages WHERE list_contains($marked, id)", marked=marked)
    }
    assert [found[ident] for ident in marked] == [text if read is None else read for text, read in TEXTS.items()]
    lying = {one["id"]: one.get("message") for one in story.records("messages")}
    assert HALF in lying.values(), "the export holds no half: the test shows nothing"


def test_shapes_that_nobody_foresaw_hurt_nobody(story: Story, database: Database) -> None:
    """JSON as it came; a boolean that is none is NULL, and so is the id of a sender that is a text."""
    [row] = rows(database, "FROM messages WHERE list_contains($marked, id)", marked=story.marked["odd"])
    [lying] = [one for one in story.records("messages") if one["id"] in story.marked["odd"]]
    for name in ("attachments", "shares", "reactions", "story", "tags", "reply_to"):
        assert json.loads(row[name]) == lying[name]
    assert (json.loads(row["sticker"]), row["is_unsupported"]) == (ODD["sticker"], None)
    assert json.loads(row["record"]) == lying
    [row] = rows(database, "FROM messages WHERE list_contains($marked, id)", marked=story.marked["odd sender"])
    assert (row["from_json"], row["from_id"], row["from_name"]) == ('"somebody"', None, None)


ANYTHING = [
    None,
    True,
    7,
    -1.5,
    10**40,
    "",
    "text",
    [],
    {},
    [1],
    {"a": None},
    {"data": 1},
    {"data": [1, None, {"id": 2}]},
]


@pytest.mark.parametrize("value", ANYTHING, ids=str)
@pytest.mark.parametrize("stream", ["messages", "conversations"])
@pytest.mark.parametrize("file_format", FORMATS)
def test_any_value_in_any_field_of_the_api_hurts_nobody(
    file_format: str, stream: str, value: Any, tmp_path: Path
) -> None:
    """Every column is answered, and the id is what it was."""
    view = {"messages": "messages", "conversations": "conversations_current"}[stream]
    names = {
        "created_time",
        "updated_time",
        "from",
        "to",
        *(name for name, _ in columns(look(tmp_path / "none"))[view]),
    }
    ours = record(1)
    odd = {
        name: value for name in names if name != "id" and not name.startswith("_") and name not in ("from_id", "record")
    }
    root = data_set(tmp_path / "data", [{**ours, **odd}], stream=stream, file_format=file_format)
    database = look(root)
    [row] = rows(database, f"FROM {view}")
    assert (row["id"], row["_page_id"]) == ("m_1", "1")
    assert json.loads(row["record"]) == json.loads(json.dumps({**ours, **odd}))
    for other in ("attachments", "participants", "response_times"):
        rows(database, f"FROM {other}")


FETCHED = datetime(2026, 11, 21, 10, tzinfo=timezone.utc)
TIMES = [
    "2026-11-20T10:00:00+0000", "2026-11-20T10:00:00Z", "2026-11-20T10:00:00z", "2026-11-20T10:00:00+00:00",
    "2026-11-20T15:30:00+0530", "2026-11-20T15:30:00+05:30", "2026-11-20T06:00:00-04", "2026-11-20T10:00:00.250+0000",
    "2026-11-20 10:00:00.25Z", "2026-11-20T10:00:00,5Z", "2026-11-20T10:00:00.123456789Z", "2026-11-20T10:00:00.000Z",
    "2026-11-20T10:00:00", "2026-11-20T10:00Z", "20261120T100000Z", "20261120T100000.250+0000", "20261120T100000.00Z",
    " 2026-11-20T10:00:00 Z ", 1795168800, 1795168800000, 1795168800.5, "1795168800", "1795168800000", "1795168800.25",
    "yesterday", "2026-11-20", "10:00", "", "1", 1, 0, -1, True, None, [], {}, "null", "true", 10**20, "1e9", "9999999999999",
    "2026-13-20T10:00:00+0000", "2026-11-31T10:00:00Z", "2026-11-20T25:00:00Z", "9999-99-99T99:99:99+9999",
    "2026-11-20T10:00:00+24:00", "2026-11-20T10:00:00+00:60", "2026-11-20T10:00:61Z", "2003-12-31T23:59:59Z", "2004-01-01T00:00:00Z", EARLIEST, EARLIEST - 1,
    "2026-11-22T10:00:00Z", "2026-11-22T10:00:01Z", "2027-01-01T00:00:00+0000", 1.0, "١٧٩٥١٦٨٨٠٠",
]  # fmt: skip


@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns"])
@pytest.mark.parametrize("file_format", FORMATS)
def test_times_are_read_as_the_export_reads_them(file_format: str, zone: str, tmp_path: Path) -> None:
    """In every form that the API was seen to use, to the microsecond; what is no time for the export is NULL; in any session."""
    for stream, name in (("messages", "created_time"), ("conversations", "updated_time")):
        ours = [record(0, **{"id": str(number), name: time, **EARLIER}) for number, time in enumerate(TIMES)]
        database = look(data_set(tmp_path / stream, ours, stream=stream, file_format=file_format))
        database.execute(f"SET TimeZone = '{zone}'")
        view = {"messages": "messages", "conversations": "conversations_current"}[stream]
        found = {row["id"]: row["t"] for row in rows(database, f"SELECT id, epoch_us({name}) AS t FROM {view}")}
        for number, time in enumerate(TIMES):
            expected = seconds(time, FETCHED.timestamp())
            assert found[str(number)] == (None if expected is None else pytest.approx(expected * 1e6, abs=1)), repr(
                time
            )


# ---- conversations


def test_each_conversation_is_there_once_in_its_last_state(story: Story, database: Database) -> None:
    """Those that stand in several windows and folders too."""
    found = by_key(rows(database, "FROM conversations_current"))
    assert set(found) == set(story.conversations)
    assert len(story.records("conversations")) > len(found), "the data set has nothing twice: the test shows nothing"
    folders = {
        (page_id, thread["node"]["id"]): thread["folder"]
        for page_id in story.box.pages
        for thread in story.box.data(page_id)["threads"]
    }
    for key, row in found.items():
        node = story.conversations[key]
        assert row["message_count"] == node["message_count"]
        assert row["updated_time"] == moment(node["updated_time"].replace("+0000", "Z"))
        people = node["participants"]["data"]
        assert row["participant_ids"] == [person["id"] for person in people]
        assert row["participant_names"] == [person.get("name", person.get("username")) for person in people]
        if key[0] == "messenger":
            assert row["_folder"] == folders[key[1:]]


def test_a_conversation_that_changed_its_folder_is_in_its_last_one(story: Story, database: Database) -> None:
    """The old folder keeps it, as it was."""
    marked = story.marked["moving"]
    assert {one["_folder"] for one in story.records("conversations") if one["id"] in marked} == {"inbox", "other"}
    [found] = rows(database, "FROM conversations_current WHERE list_contains($marked, id)", marked=marked)
    assert found["_folder"] == "other"


@pytest.mark.parametrize("last_first", [True, False])
@pytest.mark.parametrize(
    "last, other",
    [(LATER, EARLIER), ({**LATER, "_carried": True}, EARLIER), ({**LATER}, {**LATER, "_carried": True})],
    ids=["later", "later although carried", "fresh of two as late"],
)
def test_the_state_that_was_fetched_last_is_the_current_one(
    last: dict[str, Any], other: dict[str, Any], last_first: bool, tmp_path: Path
) -> None:
    """And where two were fetched at the same moment, the one that was not carried over."""
    pair = [[record(1, snippet="last", **last)], [record(2, snippet="other", **other)]]
    database = look(data_set(tmp_path, *(pair if last_first else pair[::-1]), stream="conversations"))
    assert [row["snippet"] for row in rows(database, "FROM conversations_current")] == ["last"]


# ---- exports and gaps


def test_exports_are_what_the_manifests_say(story: Story, database: Database) -> None:
    """Number by number, and under the names that the manifests have."""
    manifests = story.files.manifests()
    found = {row["manifest"]: row for row in rows(database, "FROM exports")}
    assert set(found) == set(manifests)
    for name, says in manifests.items():
        row = found[name]
        for key in (*NUMBERS, "platform", "page_id", "folder", "user_id", "export_id", "warnings", "compression"):
            assert row[key] == says[key], key
        for end in ("since", "until", "started_at", "finished_at"):
            assert row[end] == (moment(says[end]) if says[end] else None)
        assert row["files"] == len(says["files"])
        assert row["bytes"] == sum(len(story.files.read(file["path"])) for file in says["files"])
        assert f"window={row['window_name']}.json" == name.rpartition("/")[2]


def test_exports_sum_up_to_what_the_tasks_said(story: Story, database: Database) -> None:
    """Of the day that was exported twice, to what the second said."""
    told = {(one["platform"], one["page_id"], one["since"], one["until"]): one for one in story.summaries}
    for number in ("conversations", "messages", "messages_carried", "bytes", "files"):
        [[found]] = database.execute(f"SELECT sum({number}) FROM exports").fetchall()
        assert found == sum(summary[number] for summary in told.values()) > 0


def test_the_views_hold_as_many_records_as_the_manifests_count(story: Story, database: Database) -> None:
    """Before each is chosen once; in each window of each folder."""
    for stream in ("conversations", "messages"):
        counted = database.execute(
            f"SELECT _platform, _page_id, _folder, window_name, count(*) FROM pageconv_{stream} GROUP BY ALL"
        ).fetchall()
        said = database.execute(
            f"SELECT platform, page_id, folder, window_name, {stream} FROM exports WHERE {stream} > 0"
        ).fetchall()
        assert sorted(counted) == sorted(said)


def test_the_missing_day_is_a_gap_in_each_folder_and_the_empty_one_is_none(story: Story, database: Database) -> None:
    """With its bounds; a dump and a backfill have none before them."""
    page = story.box.page.id
    gap = {"since": story.day(4)["since"], "until": story.day(4)["until"], "missing": DAY}
    expected = [
        {"platform": "messenger", "page_id": page, "folder": folder, **gap}
        for folder in ("inbox", "other", "page_done", "spam")
    ]
    assert rows(database, "FROM gaps") == expected
    before = rows(
        database, "SELECT folder, since, gap_before FROM exports WHERE gap_before IS NOT NULL ORDER BY folder"
    )
    assert before == [{"folder": one["folder"], "since": story.day(5)["since"], "gap_before": DAY} for one in expected]
    [[files]] = database.execute("SELECT sum(files) FROM exports WHERE since = ?", [story.day(2)["since"]]).fetchall()
    assert files == 0


@pytest.mark.parametrize(
    "other", [("instagram", "1", "inbox"), ("messenger", "2", "inbox"), ("messenger", "1", "other")], ids=str
)
def test_windows_of_another_folder_page_or_platform_make_no_gap(other: tuple[str, str, str], tmp_path: Path) -> None:
    """Each has a first day of its own."""
    data_set(tmp_path, [record(1)])
    with look(data_set(tmp_path, [record(1)], place=other, first=5)) as database:
        assert len(rows(database, "FROM exports")) == 2
        assert rows(database, "FROM gaps") == []


# ---- columns


def test_the_columns_are_the_same_whatever_there_is(story: Story, database: Database, tmp_path: Path) -> None:
    """Nothing at all, an empty day, records of ids alone, a week with everything: the same names and types."""
    bare = {name: value for name, value in record(1).items() if name == "id" or name.startswith("_")}
    nothing, empty = tmp_path / "nothing", data_set(tmp_path / "empty", [], files=[])
    known = columns(database)
    for root in (nothing, empty, data_set(tmp_path / "bare", [bare])):
        with look(root) as other:
            assert columns(other) == known
    for view in VIEWS:
        names = [name for name, _ in known[view]]
        # None of them has to be quoted.
        database.execute(f"SELECT {', '.join(names)} FROM {view}")
        assert dict(known[view]).get("_page_id", "VARCHAR") == dict(known[view]).get("page_id", "VARCHAR") == "VARCHAR"


def test_an_empty_day_hurts_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first export of a Page on which nothing happened: a manifest for each folder, and no file."""
    start = datetime(2025, 1, 1, tzinfo=timezone.utc)
    with Sandbox(conversations=20) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        run(tmp_path.as_uri(), since=start, until=start + DAY)
    with look(tmp_path) as database:
        assert [row["files"] for row in rows(database, "FROM exports")] == [0] * 4
        for view in ("gaps", "messages", "conversations_current", "attachments", "participants", "response_times"):
            assert rows(database, f"FROM {view}") == []


def test_exports_without_messages_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Conversations alone are asked about as ever."""
    with Sandbox(conversations=20) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        summary = run(tmp_path.as_uri(), messages=False)
    with look(tmp_path) as database:
        assert len(rows(database, "FROM conversations_current")) == summary["conversations"] == 20
        assert rows(database, "FROM messages") == []


# ---- what readers go by


def test_files_that_no_manifest_names_are_not_seen(story: Story, tmp_path: Path) -> None:
    """What a crash in the midst of a publish leaves behind, and what is still staged."""
    files = copied(story, tmp_path)
    [name, *_] = files.names("messages")
    files.write(name.replace("-00000", "-00099"), files.read(name))
    files.write(f"_staging/{name}", files.read(name))
    with look(files.root) as database, look(story.files.root) as before:
        for stream in ("messages", "conversations"):
            query = f"SELECT count(*) FROM pageconv_{stream}"
            assert database.execute(query).fetchall() == before.execute(query).fetchall()


def test_who_finds_a_file_gone_reads_the_manifests_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same export again replaced it: the query says so, and the script makes the views anew in the same session."""
    with Sandbox(folders={"inbox": 5}) as box, look(tmp_path) as database:
        monkeypatch.setenv(CONNECTION, connection(box))
        run(tmp_path.as_uri(), folders="inbox")
        database.execute(views(tmp_path))
        before = len(rows(database, "FROM messages"))
        box.page.new_thread(messages=2)
        run(tmp_path.as_uri(), "run-2", folders="inbox")
        with pytest.raises(duckdb.IOException, match="jsonl"):
            rows(database, "FROM messages")
        database.execute(views(tmp_path))
        assert len(rows(database, "FROM messages")) == before + 2


@pytest.mark.parametrize(
    "more, sentence",
    [
        ({"manifest_version": 2}, "is of version 2 and names files of format jsonl, which these views do not know"),
        ({"file_format": "orc"}, "is of version 1 and names files of format orc, which these views do not know"),
        (
            {"file_format": "parquet", "schema_version": 2},
            "is of version 1 and names files of format parquet with columns of version 2, which these views do not know",
        ),
        ({"files": None}, "cannot be read"),
    ],
)
def test_a_manifest_that_the_views_do_not_know_is_refused(more: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    """In a sentence that names it: an answer in which a window is missing would look like any other."""
    root = data_set(tmp_path, [record(1)], **more)
    with pytest.raises(duckdb.Error, match=rf"The manifest _manifests/platform=messenger/\S+\.json {sentence}"):
        look(root)


def test_a_manifest_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """No export leaves one, but a copy may."""
    root = data_set(tmp_path, [record(1)])
    [manifest] = root.glob("_manifests/**/*.json")
    manifest.write_text(manifest.read_text(encoding="utf-8")[:-5], encoding="utf-8")
    with pytest.raises(duckdb.Error, match=r"The manifest _manifests/\S+ cannot be read"):
        look(root)


def test_a_data_file_that_is_damaged_is_an_error(tmp_path: Path) -> None:
    """Not an answer without it."""
    root = data_set(tmp_path, [record(1), record(2, id="m_2")])
    [file] = root.glob("messages/**/*.jsonl")
    file.write_bytes(file.read_bytes()[:-20])
    with look(root) as database, pytest.raises(duckdb.Error, match="JSON"):
        rows(database, "FROM messages")


def test_a_manifest_s_warnings_may_name_anything(tmp_path: Path) -> None:
    """Half an emoji among them: they repeat names of fields that the API gave."""
    with look(data_set(tmp_path, [record(1)], warnings=["1 lists at '\ud83d'"])) as database:
        assert [row["warnings"] for row in rows(database, "FROM exports")] == [["1 lists at '\ufffd'"]]


def test_formats_and_compressions_are_read_side_by_side(story: Story, database: Database) -> None:
    """One window of the week is not compressed."""
    query = "SELECT DISTINCT file_format, compression FROM exports WHERE messages > 0 ORDER BY ALL"
    found = [tuple(row.values()) for row in rows(database, query)]
    if story.parquet:
        assert found == [("jsonl", "gzip"), ("parquet", "none"), ("parquet", "zstd")]
        return
    assert found == [("jsonl", "gzip"), ("jsonl", "none")]
    plain = [name for name in story.files.names("messages") if name.endswith(".jsonl")]
    assert plain
    assert gzip.decompress(
        story.files.read(next(name for name in story.files.names("messages") if name.endswith(".gz")))
    )


def test_a_data_set_in_a_bucket_is_read_through_fsspec(
    destination_files: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the address that the export has, connection id and all, and a slash at its end does not count; a local folder likewise."""
    with Sandbox(conversations=20, messages=30) as box, duckdb.connect() as database:
        monkeypatch.setenv(CONNECTION, connection(box))
        summary = run(destination_files.url)
        if destination_files.url.startswith("s3://"):
            destination_files.fs.invalidate_cache()
            database.register_filesystem(destination_files.fs)
        database.execute(views(f"{destination_files.url}/"))
        for view, stream in (("messages", "messages"), ("conversations_current", "conversations")):
            assert len(rows(database, f"FROM {view}")) == summary[stream] > 0


def copied(story: Story, folder: Path) -> Destination:
    """Return a copy of the week, for tests that change it."""
    shutil.copytree(story.files.root, folder / "copy")
    return local(folder / "copy")
