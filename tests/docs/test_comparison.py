"""What docs/comparison.md says of others where something goes wrong is what comes of it."""

from __future__ import annotations

import sys

import pytest

from tests.benchmarks import bench_trouble
from tests.docs.reading import REPOSITORY, tables_below

(TITLE, *ROWS), *_ = tables_below(REPOSITORY / "docs" / "comparison.md", "Where something goes wrong")
SAID = {row[0]: dict(zip((title.replace("`", "") for title in TITLE), row, strict=True)) for row in ROWS}
INSTALLED = ("ours", "loop", "facebook-business")
"""Those that the tests' own environment has; dlt is seen by `make bench` alone."""


def test_the_table_has_every_kind_of_trouble() -> None:
    """In the words of the benchmark."""
    assert list(SAID) == list(bench_trouble.TROUBLE)
    assert set(next(iter(SAID.values()))) == {"", *(bench_trouble.TITLES[peer] for peer in bench_trouble.NAMES)}


@pytest.mark.parametrize("title", SAID)
def test_trouble_ends_as_the_table_says(title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each on a sandbox of its own, as often as it takes."""
    monkeypatch.setattr(bench_trouble, "interpreter", lambda peer: sys.executable)
    for peer in INSTALLED:
        found = bench_trouble.outcome(peer, bench_trouble.TROUBLE[title])
        assert (peer, found) == (peer, SAID[title][bench_trouble.TITLES[peer]])
