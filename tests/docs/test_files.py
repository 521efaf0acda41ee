"""What docs/files.md says that lies in a destination does, and nothing else."""

from __future__ import annotations

import re
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_pageconv.sandbox import Sandbox
from tests.docs.reading import REPOSITORY, blocks, tables_below
from tests.operators.running import CONNECTION, connection, run
from tests.servers.destinations import Destination, local

PAGE = REPOSITORY / "docs" / "files.md"


@dataclass
class Exported:
    """What lies there, and what the task returned."""

    place: Destination
    summary: dict[str, Any]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Three weeks of a Page."""
    place = local(tmp_path_factory.mktemp("files") / "export")
    now = datetime.now(timezone.utc)
    with ExitStack() as stack:
        box = stack.enter_context(Sandbox(conversations=40, messages=25, media=True))
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        monkeypatch.setenv(CONNECTION, connection(box))
        summary = run(
            place.url, since=now - timedelta(days=20), until=now - timedelta(hours=1), download_attachments=True
        )
    return Exported(place, summary)


def patterns() -> list[str]:
    """What the lines of the tree stand for."""
    (tree,) = blocks("docs/files.md", "text")
    names = [line.split("  ")[0] for line in tree.splitlines()]
    below = names[0].partition("/")[2]
    found = []
    for name in names:
        pattern = re.escape(name.replace("…the same…", below)).replace("…", ".+")
        pattern = re.sub(r"<\w+>", "[^/]+?", pattern)
        pattern = pattern.replace(r"\-00000", r"\-\d{5}")
        pattern = re.sub(r"\d{8}T\d{6}Z", r"\\d{8}T\\d{6}Z", pattern)
        found.append(pattern.replace("folder=inbox", r"folder=\w+"))
    return found


def test_the_tree_is_what_an_export_leaves(exported: Exported) -> None:
    """Every file has its line, and every line its files, but for what was under way."""
    names = exported.place.names()
    *kept, staging = patterns()
    assert staging.startswith("_staging/")
    unmatched = [name for name in names if not any(re.fullmatch(pattern, name) for pattern in kept)]
    assert unmatched == []
    assert [pattern for pattern in kept if not any(re.fullmatch(pattern, name) for name in names)] == []


def keys(heading: str) -> list[str]:
    """The keys that the table below a heading names."""
    (table,) = tables_below(PAGE, heading)
    return [key for row in table[1:] for key in re.findall(r"`([^`]+)`", row[0])]


def test_the_keys_of_the_manifest_are_those_of_the_table(exported: Exported) -> None:
    """Each once, whether it is new or old."""
    for manifest in exported.place.manifests().values():
        assert sorted(keys("Manifests")) == sorted(manifest)


def test_the_keys_of_the_summary_are_those_of_the_table(exported: Exported) -> None:
    """Likewise; and those of a folder are counts of the same names."""
    assert sorted(keys("The task's summary")) == sorted(exported.summary)
    for numbers in exported.summary["folders"].values():
        assert set(numbers) - set(exported.summary) == {"published"}


def test_the_keys_that_are_added_to_records_are_those_of_the_table(exported: Exported) -> None:
    """Of conversations all but the one that is there for messages."""
    added = set(keys("Records"))
    for stream, expected in (("messages", added), ("conversations", added - {"_conversation_id"})):
        records = exported.place.records(stream)
        assert records
        for record in records:
            assert {key for key in record if key.startswith("_")} == expected
