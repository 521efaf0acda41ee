"""What tests in a browser begin with.

A module gets an Airflow of its own, `airflow`, and each of its tests a look at it, `looking`:

    def test_…(looking: Looking) -> None:
        page = looking.open("/connections", dark=True)
        page.get_by_text("Add Connection").wait_for()
        looking.picture(page, "connections-dark")

The test fails if the browser complained of anything that `looking.tolerate(…)` did not name. Pictures go into the test's
`tmp_path`, with `PAGECONV_PICTURES=1` into `docs/pictures/`.

What the Airflow is like is said by fixtures that a module replaces by its own of the same name and scope: `dags` (the folder
of its DAGs), `environment` (connections, variables, settings), `prefix` (the path that its address has). `box` is a sandbox,
a Graph API with made-up Pages, for those who want one.

Where there is no browser, and none can be installed, these tests are skipped; where `CI` is "true" they fail. So modules
import Playwright for types alone, or inside of functions.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_pageconv.sandbox import Sandbox
from tests.browser import chromium
from tests.browser.looking import Looking, pictures
from tests.conftest import do_without
from tests.servers.deployment import Deployment
from tests.versions.rows import OF_ITS_DAY, Row
from tests.versions.run import build, install, interpreter

if TYPE_CHECKING:
    from playwright.sync_api import Browser


AIRFLOW = os.environ.get("PAGECONV_AIRFLOW")
SINCE_3_3 = pytest.mark.skipif(bool(AIRFLOW) and str(AIRFLOW) < "3.3", reason="Airflow has it since 3.3")


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter whose Airflow is looked at."""
    if not AIRFLOW:
        return sys.executable
    version = ".".join(map(str, sys.version_info[:2]))
    found, folder = interpreter(version), tmp_path_factory.mktemp("airflow") / AIRFLOW
    assert found
    trouble = install(Row(AIRFLOW, version, OF_ITS_DAY), found, build(tmp_path_factory.mktemp("wheel")), folder)
    assert not trouble
    return str(folder / "bin" / "python")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, one for a module: a longer life would keep an event loop in the way of the tests that come after."""
    started = chromium.running()
    try:
        found = started.__enter__()
    except chromium.BrowserUnavailableError as error:
        do_without(str(error))
        raise
    try:
        yield found
    finally:
        started.__exit__(None, None, None)


@pytest.fixture(scope="module")
def dags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the Airflow's DAGs; it is empty."""
    return tmp_path_factory.mktemp("dags")


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """Connections, variables and settings of the Airflow, beside those that every one of ours has."""
    return {}


@pytest.fixture(scope="module")
def prefix() -> str:
    """The path below which the Airflow lies, such as "/team/airflow", as where several share one host; none."""
    return ""


@pytest.fixture(scope="module")
def airflow(
    browser: Browser,  # before anything that takes half a minute to start
    dags: Path,
    environment: Mapping[str, str],
    prefix: str,
    python: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    """A real Airflow, all of it, in which everybody is an admin."""
    home = tmp_path_factory.mktemp("airflow")
    settings = {"AIRFLOW__CORE__TEST_CONNECTION": "Enabled", **environment}
    with Deployment(home, dags, settings, prefix, python).running() as running:
        yield running


@pytest.fixture(scope="module")
def box() -> Iterator[Sandbox]:
    """Two Pages, reached by a token each has, and by a user's."""
    with Sandbox(pages=2, conversations=20, messages=4) as running:
        yield running


@pytest.fixture
def looking(browser: Browser, airflow: Deployment, tmp_path: Path) -> Iterator[Looking]:
    """A look at the Airflow, which nothing is known of yet; in the end nothing may have gone wrong on its pages."""
    look = Looking(browser, airflow.url, pictures(tmp_path))
    try:
        yield look
    finally:
        look.close()
    assert look.unexpected == []
