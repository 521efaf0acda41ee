"""What the other tests take for granted of the servers that they run against."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.destinations import Destination


def test_what_airflow_writes_to_the_destination_lies_in_storage(destination_files: Destination) -> None:
    """Airflow's path and the file system beneath see the same files."""
    from airflow.sdk import ObjectStoragePath

    path = ObjectStoragePath(destination_files.url) / "folder" / "ünï.txt"
    path.fs.makedirs(path.parent.path, exist_ok=True)
    path.fs.pipe_file(path.path, b"hello")

    assert destination_files.names() == ["folder/ünï.txt"]
    assert destination_files.read("folder/ünï.txt") == b"hello"


def test_what_lies_in_storage_airflow_reads(destination_files: Destination) -> None:
    """The other way round."""
    from airflow.sdk import ObjectStoragePath

    destination_files.write("a/b.txt", b"there")

    assert (ObjectStoragePath(destination_files.url) / "a" / "b.txt").read_bytes() == b"there"
    destination_files.remove("a/b.txt")
    assert destination_files.snapshot() == {}


def test_each_test_has_a_destination_of_its_own(destination_files: Destination) -> None:
    """Nothing of another test is there."""
    assert destination_files.names() == []


@pytest.mark.parametrize("ci, outcome", [("true", "failed"), ("", "skipped")])
def test_a_missing_server_fails_in_ci_and_skips_elsewhere(
    ci: str, outcome: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """`CI=true` turns every skip for want of a server into a failure."""
    test = tmp_path / "test_it.py"
    test.write_text(
        "import pytest\n"
        "from tests.conftest import do_without\n"
        "@pytest.fixture\n"
        "def server(): do_without('There is no server.')\n"
        "def test_it(server): pass\n"
    )
    done = subprocess.run(
        # As a plugin, so that it also cleans up.
        [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", "-ptests.conftest", "-c", os.devnull, test],
        env={**os.environ, "CI": ci, "PYTHONPATH": str(request.config.rootpath)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ("1 skipped" if outcome == "skipped" else "1 error") in done.stdout
    assert (done.returncode == 0) is (outcome == "skipped")
