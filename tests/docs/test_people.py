"""What docs/people.md says of erasing, retaining and looking somebody up is what happens."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_pageconv.operators import PageConversationsErasureOperator, PageConversationsRetentionOperator
from airflow_provider_pageconv.sql import views
from tests.docs.reading import BLOCKS, REPOSITORY, Block, tables_below
from tests.dump.exporting import export, store_of
from tests.operators.running import context
from tests.people.crowd import FORMATS, box_of_a_crowd, search, told
from tests.servers.destinations import Destination, local

PAGE = REPOSITORY / "docs" / "people.md"


def blocks_for(test: str) -> list[Block]:
    """The blocks that name a test of this file."""
    return [block for block in BLOCKS if block.test == f"tests/docs/test_people.py::{test}"]


@pytest.fixture(params=FORMATS, ids=lambda how: how["file_format"])
def exported(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Destination, Any]:
    """A data set, and who is on it."""
    box, crowd = box_of_a_crowd()
    files = local(tmp_path / "export")
    with box:
        export(box, store_of(files), **request.param)
    return files, crowd


def run(block: Block, files: Destination, people: Path) -> dict[str, Any]:
    """Run an operator's example as a task would, into a place of this test's own."""
    found: dict[str, Any] = {
        "PageConversationsErasureOperator": PageConversationsErasureOperator,
        "PageConversationsRetentionOperator": PageConversationsRetentionOperator,
        "timedelta": timedelta,
    }
    exec(f"operator = {block.text}", found)
    operator = found["operator"]
    operator.destination = files.url
    if hasattr(operator, "user_ids"):
        assert operator.user_ids == "s3://aws_default@my-bucket/people.txt"
        operator.user_ids = people.as_uri()
    result: dict[str, Any] = operator.execute(context())
    return result


def test_the_examples_erase_and_retain(exported: tuple[Destination, Any], tmp_path: Path) -> None:
    """And return what the table says, each key and no other."""
    files, crowd = exported
    people = tmp_path / "people.txt"
    people.write_text(crowd.alone.id)
    erased, retained = (run(block, files, people) for block in blocks_for("test_the_examples_erase_and_retain"))
    assert search(tmp_path / "export", told(crowd.alone)) == set()
    assert erased["windows_changed"] == 1
    assert retained["windows"] == 1
    _, *rows = tables_below(PAGE, "What the two return")[0]
    keys = {name.strip(" `") for row in rows for name in row[0].split(",")}
    assert set(erased) == set(retained) == keys


def test_what_is_held_about_somebody_is_what_an_erasure_would_touch(exported: tuple[Destination, Any]) -> None:
    """By id, in every window; an id that is a part of a longer one is somebody else's."""
    import duckdb

    files, crowd = exported
    [block] = blocks_for("test_what_is_held_about_somebody_is_what_an_erasure_would_touch")
    with duckdb.connect() as database:
        database.execute(views(files.root))
        found = database.execute(block.text.replace("1403689654214327", crowd.alone.id)).fetchall()
        assert database.execute(block.text.replace("1403689654214327", crowd.alone.id[:-1])).fetchall() == []
    held = {(stream, record["id"]) for stream in ("conversations", "messages") for record in files.records(stream)
            if crowd.alone.id in str(record)}  # fmt: skip
    assert {(row[0], row[4]) for row in found} == held
    assert len(found) == len(held) > 5
    assert all(isinstance(row[5], datetime) and row[5] > datetime(2026, 1, 1, tzinfo=timezone.utc) for row in found)
    told_apart = PageConversationsErasureOperator(
        task_id="it", destination=files.url, user_ids=crowd.alone.id, report_only=True
    ).execute(context())  # type: ignore[arg-type]
    assert told_apart["conversations"] + told_apart["messages"] + told_apart["changed"] == len(held)
