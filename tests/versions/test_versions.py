"""The oldest and the newest of what is supported, tried as a user installs it; `make test-versions` tries all of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.versions.rows import IN_CI, Row
from tests.versions.run import Result, build, try_row


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Row, Result | None]]:
    """Both at the same time, in environments of their own."""
    into = tmp_path_factory.mktemp("versions")
    wheel = build(into / "dist")
    here = f"{sys.version_info[0]}.{sys.version_info[1]}"
    rows = [replace(row, python=here) if row.airflow != "3.0.6" or sys.version_info < (3, 13) else row for row in IN_CI]
    with ThreadPoolExecutor(len(rows)) as pool:
        yield dict(zip(IN_CI, pool.map(lambda row: try_row(row, wheel, into), rows), strict=True))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("row", IN_CI, ids=lambda row: row.name)
def test_the_wheel_does_all_of_its_work(tried: dict[Row, Result | None], row: Row) -> None:
    """Metadata, form, a limit and a kill under a scheduler, the sensor in its modes, without anything of the tests."""
    result = tried[row]
    if result is None:
        pytest.skip(f"Airflow {row.airflow} runs on Python {row.python} at the most, which is not here")
    assert result.sentence == ""
    assert result.found["versions"]["apache-airflow"] == row.airflow
