"""The columns that docs/schema.md names are those of the code, and those of the files."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from airflow_provider_pageconv.dump import schema
from airflow_provider_pageconv.dump.formats import PartWriter
from tests.docs.reading import REPOSITORY, tables_below

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
