"""What docs/querying.md shows to be copied does what it says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import pytest
import sqlglot

from airflow_provider_pageconv.dump.schema import COLUMNS
from airflow_provider_pageconv.sandbox import Sandbox
from airflow_provider_pageconv.times import moment
from tests.operators.running import CONNECTION, connection, run
from tests.servers.destinations import on_s3
from tests.servers.seaweedfs import S3Server
from tests.sql.by_hand import data_set, look, record
from tests.sql.copied import PAGE, ROOT, block
from tests.sql.story import DAY, Story


def executed(code: str, root: str) -> dict[str, Any]:
    """Run a piece of Python for another root, and return its names."""
    assert code.count(ROOT) == 1
    found: dict[str, Any] = {}
    exec(code.replace(ROOT, root), found)
    return found


# ---- DuckDB


def test_python_gets_the_views(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    """The messages of one Page."""
    found = executed(block("python", 'duckdb.connect()\ndatabase.execute(views("/data'), story.files.root)
    page = story.box.page.id
    assert len(found["messages"]) == len([key for key in story.messages if key[1] == page])
    assert "page_done" in capsys.readouterr().out


def in_a_shell(code: str, folder: Path) -> str:
    """Run commands as a shell does that finds this Python and DuckDB's command line; what they print."""
    [tool] = [file.parent for file in files("duckdb_cli").iterdir() if file.name == "duckdb"]  # type: ignore[attr-defined]
    path = os.pathsep.join((str(tool), str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder, env={**os.environ, "PATH": path, "HOME": str(folder)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("way", ["a script", "on the fly"])
def test_a_shell_gets_the_views(way: str, story: Story, tmp_path: Path) -> None:
    """DuckDB's own command line, which reads the script first and then answers."""
    code = block("sh", "views.sql")
    if way == "on the fly":
        [opening] = re.findall(r"`(duckdb -init <\(.*?\))`", PAGE)
        code = f'{opening} -c "SELECT count(*) FROM messages"'
    assert code.count(ROOT) == 1
    said = in_a_shell(code.replace(ROOT, shlex.quote(story.files.root)), tmp_path)
    assert re.search(rf"\b{len(story.messages)}\b", said)


def answered(database: duckdb.DuckDBPyConnection, code: Any) -> list[dict[str, Any]]:
    """Return the rows that a query answers."""
    answer = database.execute(code)
    names = [column[0] for column in answer.description or ()]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def answers(database: duckdb.DuckDBPyConnection, having: str) -> list[dict[str, Any]]:
    """Return the answer to the last query of a block."""
    *before, last = duckdb.extract_statements(block("sql", having))
    for statement in before:
        database.execute(statement)
    return answered(database, last)


def test_messages_are_counted_by_day_and_page(story: Story, database: duckdb.DuckDBPyConnection) -> None:
    """By the days of the session's zone; those without a time have none."""
    database.execute("SET TimeZone = 'UTC'")
    expected: dict[Any, int] = {}
    for (platform, page, _), node in story.messages.items():
        time = node.get("created_time")
        day = moment(time.replace("+0000", "Z")).astimezone(timezone.utc).date() if time else None
        expected[platform, page, day] = expected.get((platform, page, day), 0) + 1
    found = answers(database, "created_time::DATE")
    assert {(row["_platform"], row["_page_id"], row["day"]): row["messages"] for row in found} == expected
    assert any(day is None for _, _, day in expected)


def test_waits_for_an_answer_are_those_of_the_threads(story: Story, database: duckdb.DuckDBPyConnection) -> None:
    """Thread by thread in plain Python, from the sandbox's nodes; what is withheld is left out."""
    waits: dict[tuple[str, str], list[float]] = {}
    turns: dict[tuple[str, str], int] = {}
    threads: dict[tuple[str, str, str], list[tuple[float, str, str]]] = {}
    where = {record["id"]: record["_conversation_id"] for record in story.records("messages")}
    for (platform, page, ident), node in story.messages.items():
        sender = node.get("from")
        if isinstance(sender, dict):
            time = moment(node["created_time"].replace("+0000", "Z")).timestamp()
            threads.setdefault((platform, page, where[ident]), []).append((time, ident, sender["id"]))
    for (platform, page, _), messages in threads.items():
        asked = None
        for time, _, sender in sorted(messages):
            if sender in (page, story.box.pages[page].instagram_id):
                if asked is not None:
                    waits.setdefault((platform, page), []).append(time - asked)
                asked = None
            elif asked is None:
                asked = time
                turns[platform, page] = turns.get((platform, page), 0) + 1
    code = block("sql", "FROM response_times")
    assert "WHERE NOT withheld\n" in code
    found = {
        (row["_platform"], row["_page_id"]): row for row in answered(database, code.replace("NOT withheld", "true"))
    }
    assert {key: row["turns"] for key, row in found.items()} == turns
    for key, row in found.items():
        assert row["answered"] == len(waits[key]) > 0
        assert row["minutes"] == pytest.approx(median(waits[key]) / 60)
    trusted = {(row["_platform"], row["_page_id"]): row for row in answered(database, code)}
    assert set(trusted) == set(found)
    assert all(0 < row["turns"] < found[key]["turns"] for key, row in trusted.items() if key[0] == "messenger")


def test_links_that_end_soon_are_named(tmp_path: Path) -> None:
    """Those of tomorrow, not those that are dead, live longer, or do not say."""
    now = datetime.now(timezone.utc).timestamp()
    ends = {"dead": -1, "tomorrow": 24, "next week": 7 * 24}
    links = {name: f"https://x.fbcdn.net/{name}?oe={int(now + hours * 3600):x}" for name, hours in ends.items()}
    files = [{"name": name, "file_url": link} for name, link in {**links, "silent": "https://x.fbcdn.net/1"}.items()]
    with look(data_set(tmp_path, [record(0, attachments={"data": files})])) as database:
        assert [row["name"] for row in answers(database, "link_ends BETWEEN")] == ["tomorrow"]


def test_people_are_new_or_have_come_back(tmp_path: Path) -> None:
    """By when they wrote; who did not write this week, and the Page, are neither."""
    now = datetime.now(timezone.utc)
    wrote = {"new": (1,), "back": (30, 2), "gone": (30,), "1": (1,)}
    told = [
        record(
            0,
            id=f"m_{who}_{days}",
            created_time=(now - days * DAY).strftime("%Y-%m-%dT%H:%M:%S+0000"),
            _fetched_at=now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            **{"from": {"id": who}},
        )
        for who, some in wrote.items()
        for days in some
    ]
    with look(data_set(tmp_path, told)) as database:
        found = answers(database, "AS new")
    assert [(row["new"], row["people"], row["messages"]) for row in found] == [(False, 1, 2), (True, 1, 1)]


def test_each_folder_tells_how_far_it_is(story: Story, database: duckdb.DuckDBPyConnection) -> None:
    """And what could not be had, by its manifests."""
    found = answers(database, "FROM gaps")
    manifests = story.files.manifests().values()
    for row in found:
        ours = [one for one in manifests if all(one[key] == row[key] for key in ("platform", "page_id", "folder"))]
        assert row["until"] == max(moment(one["until"]) for one in ours)
        assert (row["messages"], row["withheld"], row["without_details"]) == tuple(
            sum(one[key] for one in ours) for key in ("messages", "messages_undated", "messages_unavailable")
        )
    assert len(found) == len({(one["platform"], one["page_id"], one["folder"]) for one in manifests})
    assert sum(row["withheld"] for row in found) > 0


def test_conversations_that_wait_are_named(story: Story, database: duckdb.DuckDBPyConnection) -> None:
    """The oldest first."""
    found = answers(database, "unread_count > 0")
    expected = [node for node in story.conversations.values() if node.get("unread_count", 0) > 0]
    assert sorted(row["unread_count"] for row in found) == sorted(node["unread_count"] for node in expected)
    assert found
    times = [row["updated_time"] for row in found]
    assert times == sorted(times)


def test_a_bucket_is_read_through_fsspec(
    seaweedfs: S3Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the credentials and the address that the AWS libraries find in the environment."""
    monkeypatch.setenv("AIRFLOW_CONN_PAGECONV_TEST_S3", seaweedfs.connection())
    bucket = on_s3(seaweedfs, "querying/pages")
    with Sandbox(conversations=20) as box:
        monkeypatch.setenv(CONNECTION, connection(box))
        run(bucket.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", seaweedfs.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", seaweedfs.secret_key)
    monkeypatch.setenv("AWS_ENDPOINT_URL", seaweedfs.endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    code = block("python", "register_filesystem").replace(
        "s3://aws_default@my-bucket/pages", f"s3://aws_default@{bucket.root}"
    )
    exec(code, {})
    assert "page_done" in capsys.readouterr().out


# ---- what no test can run


def columns_of(code: str, dialect: str) -> list[str]:
    """Return the columns of the table that a block makes; its statements are read by a parser of their dialect."""
    [create] = [one for one in sqlglot.parse(code, read=dialect) if one and list(one.find_all(sqlglot.exp.ColumnDef))]
    return [one.name for one in create.find_all(sqlglot.exp.ColumnDef) if isinstance(one.parent, sqlglot.exp.Schema)]


@pytest.mark.parametrize("kind", ["STORED AS PARQUET", "JsonSerDe"])
def test_athena_s_tables_name_what_is_there(kind: str, story: Story) -> None:
    """Columns are fields of messages, partitions those of the layout; what the engines call otherwise is called so."""
    names = set(columns_of(block("sql", kind), "athena"))
    partitions = set(re.findall(r"(\w+)=", story.files.names("messages")[0]))
    assert partitions <= names
    assert names - partitions <= set(COLUMNS["messages"])


def test_trino_s_table_names_what_is_there(story: Story) -> None:
    """Partitions come last, in their order."""
    names = columns_of(block("sql", "external_location"), "trino")
    partitions = re.findall(r"(\w+)=", story.files.names("messages")[0])
    assert names[-len(partitions) :] == partitions
    assert set(names[: -len(partitions)]) <= set(COLUMNS["messages"])


def test_bigquery_and_snowflake_are_asked_for_what_is_there() -> None:
    """Columns of messages, by their names."""
    known = set(COLUMNS["messages"])
    assert set(columns_of(block("sql", "CREATE STAGE"), "snowflake")) <= known
    for having, dialect in (("CREATE STAGE", "snowflake"), ("enable_list_inference", "bigquery")):
        query = sqlglot.parse(block("sql", having), read=dialect)[-1]
        assert query is not None
        used = {part.name for column in query.find_all(sqlglot.exp.Column) for part in column.parts}
        assert used - {"day", "id"} <= known
        assert {"from", "created_time", "_page_id"} <= used
