"""The table of versions is the one that `make test-versions` makes of today's rows."""

from __future__ import annotations

from pathlib import Path

from tests.docs.reading import tables_below
from tests.versions.rows import EXTRAS, ROWS
from tests.versions.run import FRONT, MARKS, PAGE, short_table, table


def made(page: Path) -> str:
    """What `make test-versions` has put into a page."""
    begin, end = MARKS
    return page.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip()


def test_the_readme_has_what_it_comes_to() -> None:
    """Each Airflow, with the Pythons that it was tried with."""
    assert made(FRONT) == short_table(made(PAGE))


def test_a_row_that_fails_is_not_in_what_it_comes_to() -> None:
    """Nor one of an extra, which was not run under a scheduler."""
    rows = ["| 3.0.6 | 3.10.1 | least | | | | | fails |", "| 3.1.0 | 3.9 | newest | | | | | passes |"]
    rows += ["| 3.1.0 | 3.10.1 | newest | | | | | passes |", "| 3.1.0 | 3.12 | [s3], least | | | | | passes |"]
    told = short_table("\n".join([table([], []), *rows]))
    assert told.splitlines() == ["| Airflow | 3.1.0 |", "| --- | --- |", "| Python | 3.9, 3.10 |"]


def test_it_has_every_row_and_each_passes() -> None:
    """In the order in which they are tried, with the head that the maker gives it."""
    (found,) = tables_below(PAGE, "Versions")
    assert "\n".join(made(PAGE).splitlines()[:2]) == table([], [])
    wanted = [(row.airflow, row.python) for row in (*ROWS, *EXTRAS)]
    shown = [(row[0], ".".join(row[1].split(".")[:2])) for row in found[1:]]
    assert shown == wanted
    assert {row[-1] for row in found[1:]} == {"passes"}
