"""Data frames and engines that go by the manifests hold what the views hold, whichever formats lie there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.sql.by_hand import assert_mixed, by_the_views, plain
from tests.sql.copied import ROOT, block
from tests.sql.story import Story

LIBRARIES = {
    "pandas": lambda frame: frame.to_dict("records"),
    "polars": lambda frame: frame.to_dicts(),
    "pyarrow": lambda table: table.rename_columns(
        [name.removesuffix("_first") for name in table.column_names]
    ).to_pylist(),
}
"""Each with the way from its messages to plain rows."""


def code_for(library: str, root: str) -> str:
    """Return what the page says to write for a library: how all of them begin, and its own."""
    beginning = block("python", "def rows_of_lines")
    assert beginning.count(ROOT) == 1
    return beginning.replace(ROOT, root) + block("python", f"import {library} as")


def read_by(library: str, root: str) -> list[dict[str, Any]]:
    """Return the messages as a library reads them."""
    found: dict[str, Any] = {}
    exec(code_for(library, root), found)
    return LIBRARIES[library](found["messages"])  # type: ignore[no-any-return, no-untyped-call]


@pytest.mark.parametrize("library", LIBRARIES)
def test_data_frames_hold_what_the_views_hold(library: str, story: Story) -> None:
    """Each message once, at its best, with its time whatever form it came in; a week of lines, and one of both formats."""
    if story.parquet:
        assert_mixed(story)
    found = read_by(library, story.files.root)
    assert len(found) == len(story.messages)
    assert sorted(map(plain, found)) == by_the_views(story.files.root)


@pytest.mark.parametrize("library", LIBRARIES)
def test_data_frames_of_an_empty_data_set_are_empty(library: str, tmp_path: Path) -> None:
    """With all their columns."""
    found: dict[str, Any] = {}
    exec(code_for(library, str(tmp_path)), found)
    messages = found["messages"]
    assert len(messages) == 0
    names = messages.column_names if library == "pyarrow" else messages.columns
    assert {"id", "created_time", "from_id", "_unavailable"} <= {name.removesuffix("_first") for name in names}
