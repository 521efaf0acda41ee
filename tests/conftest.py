"""Fixtures that the tests of all parts share: real servers, places to export to, and an Airflow of their own."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import airflow_home as own_airflow
from tests.servers import seaweedfs as s3_server
from tests.servers.destinations import S3_CONNECTION, Destination, local, on_s3
from tests.servers.processes import ServerUnavailableError

# Before anything imports Airflow, which reads its settings once.
_AIRFLOW_HOME = Path(tempfile.mkdtemp(prefix="pageconv-airflow-"))
own_airflow.use_own_airflow(os.environ, _AIRFLOW_HOME)


def pytest_unconfigure() -> None:
    """Leave no Airflow behind."""
    shutil.rmtree(_AIRFLOW_HOME, ignore_errors=True)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Divide the tests by what they share; asked only where several processes run them."""
    from tests.side_by_side import ByFile

    return ByFile(config, log)


def do_without(reason: str) -> None:
    """Skip the test for want of a server; where `CI` is "true" that is a failure."""
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def airflow_home() -> Path:
    """The home of an Airflow whose database is ready; `dag.test()` and Airflow's command line work in it."""
    own_airflow.airflow("db", "migrate")
    return _AIRFLOW_HOME


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3_server.S3Server]:
    """A real S3 server on loopback, one for all tests."""
    started = s3_server.running(tmp_path_factory.mktemp("seaweedfs"))
    try:
        server = started.__enter__()
    except ServerUnavailableError as error:
        do_without(str(error))
        raise
    try:
        yield server
    finally:
        started.__exit__(None, None, None)


@pytest.fixture(params=["file", "s3"])
def destination_files(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Destination:
    """A place of this test's own to export to, seen from both sides; each test runs with a local folder and with S3."""
    if request.param == "file":
        return local(tmp_path / "export")
    server: s3_server.S3Server = request.getfixturevalue("seaweedfs")
    monkeypatch.setenv(f"AIRFLOW_CONN_{S3_CONNECTION.upper()}", server.connection())
    return on_s3(server, f"test-{uuid.uuid4().hex[:12]}/export")


@pytest.fixture
def destination(destination_files: Destination) -> str:
    """The root of a data set as a DAG's author writes it; each test runs with a local folder and with S3."""
    return destination_files.url
