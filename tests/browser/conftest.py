"""What tests in a browser begin with.

All of them look at one Airflow, `airflow`, which starts with the first and ends with the last: a start takes half a minute.
A test gets a look at it as its admin, `looking`:

    def test_…(looking: Looking) -> None:
        page = looking.open("/connections", dark=True)
        page.get_by_text("Add Connection").wait_for()
        looking.picture(page, "connections-dark")

The test fails if the browser complained of anything that `looking.tolerate(…)` did not name. Pictures go into the test's
`tmp_path`, with `PAGECONV_PICTURES=1` into `docs/pictures/`.

The Airflow lies below a path, has the DAGs of `tests/browser/dags/`, and users with rights of their own (`rights.py`). Two
sandboxes, Graph APIs with made-up Pages, serve it: `box` is quick, `shops` is limited. What a test leaves behind the next one
finds: it names its own connections, and looks for its own Pages. `runs` are begun once, by a click on Trigger.

Where there is no browser, and none can be installed, these tests are skipped; where `CI` is "true" they fail. So modules
import Playwright for types alone, or inside of functions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from airflow_provider_pageconv.sandbox import Limits, Sandbox
from tests.browser import chromium
from tests.browser.form import make, press_test
from tests.browser.looking import Looking, Profiles, pictures
from tests.browser.rights import PASSWORDS, USERS
from tests.conftest import do_without
from tests.operators.running import connection
from tests.servers.airflow_home import REPOSITORY
from tests.servers.deployment import Deployment
from tests.versions.rows import OF_ITS_DAY, Row
from tests.versions.run import build, install, interpreter

if TYPE_CHECKING:
    from playwright.sync_api import Browser


AIRFLOW = os.environ.get("PAGECONV_AIRFLOW")
SINCE_3_3 = pytest.mark.skipif(bool(AIRFLOW) and str(AIRFLOW) < "3.3", reason="Airflow has it since 3.3")
PREFIX = "/air/flow"
DAY = timedelta(days=1)
DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter whose Airflow is looked at."""
    if not AIRFLOW:
        return sys.executable
    version = ".".join(map(str, sys.version_info[:2]))
    found, folder = interpreter(version), tmp_path_factory.mktemp("airflow") / AIRFLOW
    assert found
    row = Row(AIRFLOW, version, OF_ITS_DAY, extra="s3")  # for the links, which lead to a bucket
    trouble = install(row, found, build(tmp_path_factory.mktemp("wheel")), folder)
    assert not trouble
    # Else each of Airflow's processes starts ten seconds later.
    subprocess.run([folder / "bin" / "python", "-m", "compileall", "-qq", folder / "lib"], check=False)
    return str(folder / "bin" / "python")


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, one for these tests: a longer life would keep an event loop in the way of those that come after."""
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


@pytest.fixture(scope="package")
def box() -> Iterator[Sandbox]:
    """Two Pages, reached by a token each has, and by a user's."""
    with Sandbox(page_id="100200300400700", pages=2, conversations=20, messages=4) as running:
        yield running


@pytest.fixture(scope="package")
def midnight() -> datetime:
    """Where the window ends that the shops are exported of."""
    return datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="package")
def shops(midnight: datetime) -> Iterator[Sandbox]:
    """Five Pages, each with a limit of its own; three of them are so large that they reach it, and are told how long it lasts."""
    limits = Limits(
        calls=18, window=50.0, code=80006, regain=True, prolongs=False, headers=("business",), refusal_headers=True
    )
    limits.percent = 10  # says nothing of the limit before it is met
    with Sandbox(
        seed=11,
        pages=5,
        now=midnight,
        span=DAY,
        conversations=(250, 250, 250, 20, 20),
        messages=2,
        long_every=0,
        max_limit=25,
        account_limits=limits,
    ) as running:
        running.clock = lambda: datetime.now(timezone.utc)
        yield running


@pytest.fixture(scope="package")
def window(midnight: datetime) -> dict[str, str]:
    """What each run of the shops is told to export."""
    return {"since": (midnight - DAY).isoformat(), "until": midnight.isoformat()}


@pytest.fixture(scope="package")
def environment(
    box: Sandbox, shops: Sandbox, window: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mapping[str, str]]:
    """Connections of all but the first shop, whose is made in the form, and users with rights of their own."""
    passwords = tmp_path_factory.mktemp("users") / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS), encoding="utf-8")
    with TemporaryDirectory(prefix="exports-") as exports:  # a short name, which is seen on pictures
        yield {
            "PYTHONPATH": str(REPOSITORY),
            "PAGECONV_TEST_DESTINATION": Path(exports).as_uri(),
            "PAGECONV_TEST_PAGES": json.dumps(list(shops.pages)),
            "PAGECONV_TEST_WINDOW": json.dumps(window),
            "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(
                {
                    "conn_type": "pageconv",
                    "host": shops.url,
                    "password": shops.user_token,
                    "extra": {"calls_per_second": 4},
                }
            ),
            "LINKED_PAGES": json.dumps(list(box.pages)),
            "AIRFLOW_CONN_LINKED": connection(box, token=box.user_token),  # which reaches both Pages
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__CORE__AUTH_MANAGER": "tests.browser.rights.PerDagAuthManager",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        }


@pytest.fixture(scope="package")
def airflow(
    browser: Browser,  # before anything that takes half a minute to start
    environment: Mapping[str, str],
    python: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Deployment]:
    """A real Airflow, all of it, below a path, as where several share one host."""
    with Deployment(tmp_path_factory.mktemp("airflow"), DAGS, environment, PREFIX, python).running() as running:
        yield running


@pytest.fixture(scope="package")
def logins(airflow: Deployment) -> dict[str, str]:
    """What stands for each user's login; the API is used as the admin."""
    return {user: airflow.log_in(user, PASSWORDS[user]) for user in ("viewer", "admin")}


@pytest.fixture(scope="package")
def profiles(browser: Browser, airflow: Deployment) -> Profiles:
    """What the browser keeps of its users; it ends with the browser."""
    return Profiles(browser, airflow.url)


def look_at(profiles: Profiles, login: str, folder: Path) -> Looking:
    """A look at the Airflow, of which it is expected what that release does."""
    look = Looking(profiles, login, folder)
    if AIRFLOW and AIRFLOW < "3.3":
        # Airflow's UI asks for the version without the path that it lies below; our page finds out that there is no store.
        look.tolerate(r"^elsewhere: GET [^ ]+:\d+/api/v2/version$", r"/state-store\?map_index=-?\d+(: 422|\)$)")
    return look


@pytest.fixture
def looking(profiles: Profiles, logins: dict[str, str], tmp_path: Path) -> Iterator[Looking]:
    """A look at the Airflow as its admin; in the end nothing may have gone wrong on its pages."""
    look = look_at(profiles, logins["admin"], pictures(tmp_path))
    try:
        yield look
    finally:
        look.close()
    assert look.unexpected == []


@pytest.fixture(scope="package")
def runs(
    profiles: Profiles,
    airflow: Deployment,
    logins: dict[str, str],
    window: dict[str, str],
    shops: Sandbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """The runs of all shops. That of the first is begun as a user does it: a connection in the form, Test, and Trigger."""
    looking = look_at(profiles, logins["admin"], pictures(tmp_path_factory.mktemp("pictures")))
    page, row = make(looking, shops, "shop_connection")
    assert "The access token is that of the Page" in press_test(page, row)
    airflow.processes.wait_for("the DAG", lambda: airflow.api("GET", "/dags?dag_id_pattern=shop")["total_entries"], 120)
    page = looking.open("/dags/shop")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Trigger").click()
    dialog.wait_for(state="hidden")
    [run] = airflow.api("GET", "/dags/shop/dagRuns")["dag_runs"]
    complaints = list(looking.unexpected)
    looking.close()
    assert complaints == []
    # Only now: their tasks take all of a small machine, and the UI would answer late.
    others = {name: airflow.trigger(name, conf=window) for name in ("branches", "without_outlet", "secret")}
    return {"shop": run["dag_run_id"], **others}
