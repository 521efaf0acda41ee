"""The columns that docs/schema.md names are those of the code, and those of the files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import duckdb
import pytest

from airflow_provider_pageconv.dump import schema
from airflow_provider_pageconv.dump.formats import PartWriter
from airflow_provider_pageconv.sandbox import Sandbox
from tests.docs.reading import REPOSITORY, tables_below
from tests.dump.exporting import NOW, export, store_of
from tests.servers.destinations import local

PAGE = REPOSITORY / "docs" / "schema.md"
IN_DUCKDB = {"string": "VARCHAR", "bigint": "BIGINT", "boolean": "BOOLEAN", "timestamp": "TIMESTAMP WITH TIME ZONE"}


def documented(stream: str) -> list[tuple[str, str]]:
    """Names and types of a stream's table, in their order."""
    (table,) = tables_below(PAGE, stream.capitalize())
    return [(row[0].strip("`"), row[1].strip("`")) for row in table[1:]]


@pytest.mark.parametrize("stream", schema.COLUMNS)
def test_columns_and_types_are_those_of_the_code(stream: str) -> None:
    """In their order; a new one needs its row, and a new version."""
    assert documented(stream) == [(name, kind.type) for name, kind in schema.COLUMNS[stream].items()]
    assert f"This is schema version {schema.VERSION}." in PAGE.read_text(encoding="utf-8").replace("\n", " ")


@pytest.mark.parametrize("stream", schema.COLUMNS)
def test_columns_and_types_are_those_of_the_files(stream: str, tmp_path: Path) -> None:
    """As a reader of Parquet sees them that is not the one who wrote them."""
    writer = PartWriter(tmp_path / "part", stream, "zstd", file_format="parquet")
    writer.write({"id": "1"})
    writer.close()
    described = duckdb.sql(f"DESCRIBE FROM read_parquet('{tmp_path / 'part'}')").fetchall()
    # It puts some names in quotes, which is its own affair.
    found = [(name, kind.replace('"', "")) for name, kind, *_ in described]
    assert found == [(name, in_duckdb(kind)) for name, kind in documented(stream)]


def in_duckdb(kind: str) -> str:
    """How DuckDB writes a type."""
    if kind.startswith("list<"):
        return f"{in_duckdb(kind[5:-1])}[]"
    if kind.startswith("struct<"):
        fields = [one.partition(" ") for one in fields_of(kind[7:-1])]
        return f"STRUCT({', '.join(f'{name} {in_duckdb(inner)}' for name, _, inner in fields)})"
    return IN_DUCKDB[kind.removesuffix(" (JSON)")]


def fields_of(text: str) -> list[str]:
    """The fields of a struct, cut at the commas that are its own."""
    found, depth, begin = [], 0, 0
    for at, sign in enumerate(f"{text},"):
        depth += (sign == "<") - (sign == ">")
        if sign == "," and not depth:
            found.append(text[begin:at].strip())
            begin = at + 1
    return found


# ---- what analysts rely on


SCHEMAS = {1: "56a1c9900bb875c1"}  # pragma: allowlist secret
"""Of each version a hash of all its columns with their types, in their order."""


def test_other_columns_are_another_version() -> None:
    """A change here is a new number, and a new row; who has read version 1 once may go on reading it so."""
    text = "\n".join(
        f"{stream} {name} {kind.type}" for stream, columns in schema.COLUMNS.items() for name, kind in columns.items()
    )
    assert max(SCHEMAS) == schema.VERSION
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == SCHEMAS[schema.VERSION]


def never_null() -> set[str]:
    """The columns that the page says are never null."""
    [sentence] = re.findall(r"^- Never null are (.*?)\.\s", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`(\w+)`", sentence))


def test_columns_are_never_null_where_the_page_says_so_and_no_others(tmp_path: Path) -> None:
    """In every row of an export that holds whole records, bare ones and carried ones; a bare message has no other column."""
    files = local(tmp_path)
    with Sandbox(seed=7, folders={"inbox": 12}, messages=30, now=NOW) as box:
        export(box, store_of(files), file_format="parquet", compression="zstd")
        box.page.delete_thread(next(thread.id for thread in box.page.threads()))
        export(box, store_of(files), run="run-2", file_format="parquet", compression="zstd")
    tables = {
        stream: duckdb.sql(
            f"FROM read_parquet('{tmp_path}/{stream}/**/*.parquet', hive_partitioning = false)"
        ).fetchall()
        for stream in schema.COLUMNS
    }
    for stream, rows in tables.items():
        names = list(schema.COLUMNS[stream])
        given = [{name for name, cell in zip(names, row, strict=True) if cell is not None} for row in rows]
        expected = never_null() & set(names)
        assert all(expected <= one for one in given)
        assert {row[names.index("_carried")] for row in rows} == {True, False}
        if stream == "messages":
            assert min(given, key=len) == expected == never_null()
        else:
            assert never_null() - expected == {"_conversation_id"}
