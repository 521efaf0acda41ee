"""A week of exports, told once for all tests of this folder, and a database that looks at it."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from airflow_provider_pageconv.sql import views
from tests.operators.running import CONNECTION, connection
from tests.sql.story import Story, sandbox, tell


@pytest.fixture(scope="session", params=["lines", "lines and Parquet"])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """What was exported; whoever changes it works on a copy."""
    parquet = request.param != "lines"
    with pytest.MonkeyPatch.context() as patch, sandbox() as box:
        patch.setenv(CONNECTION, connection(box, token=box.user_token))
        yield tell(box, tmp_path_factory.mktemp("story"), parquet=parquet)


@pytest.fixture
def database(story: Story) -> Iterator[duckdb.DuckDBPyConnection]:
    """The views on it."""
    with duckdb.connect() as database:
        database.execute(views(story.files.root))
        yield database
