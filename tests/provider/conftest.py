"""What is built once for the tests of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.servers.airflow_home import REPOSITORY
from tests.versions.run import uv

ADDRESS_VARIABLES = ("PROJECT_ADDRESS", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the sdist, and of the wheel that is built from it, where nobody knows the project's address."""
    folder = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:  # these tests may run in a workflow of GitHub's
        for name in ADDRESS_VARIABLES:
            patch.delenv(name, raising=False)
        done = uv("build", "--out-dir", str(folder), str(REPOSITORY))
    assert done.returncode == 0, done.stderr
    return folder
