"""The table of versions is the one that `make test-versions` makes of today's rows."""

from __future__ import annotations

from tests.docs.reading import tables_below
from tests.versions.rows import EXTRAS, ROWS
from tests.versions.run import MARKS, PAGE, table


def test_it_has_every_row_and_each_passes() -> None:
    """In the order in which they are tried, with the head that the maker gives it."""
    (found,) = tables_below(PAGE, "Versions")
    assert "\n".join(PAGE.read_text(encoding="utf-8").split(MARKS[0])[1].splitlines()[1:3]) == table([], [])
    wanted = [(row.airflow, row.python) for row in (*ROWS, *EXTRAS)]
    shown = [(row[0], ".".join(row[1].split(".")[:2])) for row in found[1:]]
    assert shown == wanted
    assert {row[-1] for row in found[1:]} == {"passes"}
