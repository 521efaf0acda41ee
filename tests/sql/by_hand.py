"""Small data sets that are written by hand, record by record, and the views on them."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import duckdb

from airflow_provider_pageconv.dump.formats import PartWriter, version_of
from airflow_provider_pageconv.sql import views
from tests.sql.story import DAY, Story

Database = duckdb.DuckDBPyConnection


def look(root: Path | str) -> Database:
    """Return a database with the views on a data set."""
    database = duckdb.connect()
    database.execute(views(root))
    return database


def rows(database: Database, query: str, **values: Any) -> list[dict[str, Any]]:
    """Return a query's rows by the names of their columns."""
    answer = database.execute(query, values or None)
    names = [column[0] for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def record(number: int, **fields: Any) -> dict[str, Any]:
    """Return a message's record as an export writes it."""
    return {
        "id": "m_1", "message": str(number), "created_time": "2026-11-20T10:00:00+0000", "from": {"id": "5"},
        "_page_id": "1", "_platform": "messenger", "_folder": "inbox", "_export_id": "e", "_conversation_id": "t_1",
        "_fetched_at": "2026-11-21T10:00:00.000Z", "_unavailable": False, "_carried": False, **fields,
    }  # fmt: skip


def data_set(
    root: Path,
    *exports: list[dict[str, Any]],
    stream: str = "messages",
    place: tuple[str, str, str] = ("messenger", "1", "inbox"),
    first: int = 0,
    file_format: str = "jsonl",
    **more: Any,
) -> Path:
    """Write a data set by hand: days of a folder, with these records of one stream; days that are there get them as well.

    :param place: platform, Page and folder.
    :param first: the number of the first day.
    :param more: what else the manifests say.
    """
    platform, page_id, folder = place
    for number, records in enumerate(exports, first):
        since = datetime(2026, 11, 20, tzinfo=timezone.utc) + number * DAY
        window = f"window={since:%Y%m%dT%H%M%SZ}--{since + DAY:%Y%m%dT%H%M%SZ}"
        partition = f"platform={platform}/page_id={page_id}/folder={folder}"
        file = root / stream / partition / window / f"e-{number}.{file_format}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if file_format == "jsonl":
            file.write_text("".join(json.dumps(one) + "\n" for one in records), encoding="utf-8")
        else:
            writer = PartWriter(file, stream, "zstd", file_format=file_format)
            for one in records:
                writer.write(one)
            writer.close()
        manifest = root / "_manifests" / partition / f"{window}.json"
        manifest.parent.mkdir(parents=True, exist_ok=True)
        before = json.loads(manifest.read_bytes())["files"] if manifest.exists() else []
        says = {
            "manifest_version": 1, "file_format": file_format, "schema_version": version_of(file_format), "platform": platform, "page_id": page_id, "folder": folder,
            "since": f"{since:%Y-%m-%dT%H:%M:%SZ}", "until": f"{since + DAY:%Y-%m-%dT%H:%M:%SZ}",
            "files": [*before, {"path": file.relative_to(root).as_posix(), "stream": stream, "records": len(records), "bytes": 1}],
            **more,
        }  # fmt: skip
        manifest.write_text(json.dumps(says), encoding="utf-8")
    return root


COLUMNS = (
    "_platform",
    "_page_id",
    "id",
    "_conversation_id",
    "_folder",
    "_unavailable",
    "_carried",
    "from_id",
    "message",
)


def plain(row: dict[str, Any]) -> tuple[str, ...]:
    """Return a row in a form that all libraries share: half an emoji, which some hold as nothing, as nothing."""
    time = row["created_time"]
    dated = time is not None and time == time and hasattr(time, "timestamp")
    rest = ("" if row[name] is None or row[name] != row[name] else str(row[name]) for name in COLUMNS)
    return (str(time.timestamp()) if dated else "", *("" if "\ufffd" in text else text for text in rest))


def by_the_views(root: str) -> list[tuple[str, ...]]:
    """Return what DuckDB's view of the messages holds."""
    with duckdb.connect() as database:
        database.execute(views(root))
        answer = database.execute(f"SELECT {', '.join(COLUMNS)}, created_time FROM messages")
        return sorted(plain(dict(zip((*COLUMNS, "created_time"), row, strict=True))) for row in answer.fetchall())


def assert_mixed(story: Story) -> None:
    """See that the week has all that may go wrong: both formats, bare records and carried ones, times in many forms."""
    manifests = story.files.manifests().values()
    kinds = {
        (one["file_format"], key)
        for one in manifests
        for key in ("messages_unavailable", "messages_carried")
        if one[key]
    }
    assert {file_format for file_format, _ in kinds} == {"jsonl", "parquet"}
    assert ("parquet", "messages_carried") in kinds
