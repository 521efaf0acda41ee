"""The page "Page conversations" and the tab "Export", as people look at them: below a path, as an admin, a viewer, and nobody."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_pageconv import __version__
from airflow_provider_pageconv.sandbox import Limits, Sandbox
from tests.browser.conftest import SINCE_3_3
from tests.browser.form import make, press_test
from tests.browser.looking import Looking, pictures
from tests.browser.rights import PASSWORDS, USERS
from tests.servers.airflow_home import REPOSITORY
from tests.servers.deployment import Deployment

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PREFIX = "/air/flow"
PATH = "/plugin/page-conversations"
DAY = timedelta(days=1)
PAGES, DAYS = 50, 30
END_SECONDS = 400
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def midnight() -> datetime:
    """Where the window ends that is exported."""
    return datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="module")
def box(midnight: datetime) -> Iterator[Sandbox]:
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


@pytest.fixture(scope="module")
def dags() -> Path:
    """Those of this folder."""
    return Path(__file__).parent / "dags"


@pytest.fixture(scope="module")
def prefix() -> str:
    """As where several Airflows share one host."""
    return PREFIX


@pytest.fixture(scope="module")
def environment(box: Sandbox, window: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The connection of all but the shop, which is made in the form, and users with rights of their own."""
    home = tmp_path_factory.mktemp("pages")
    passwords = home / "passwords.json"
    passwords.write_text(json.dumps(PASSWORDS), encoding="utf-8")
    pages = list(box.pages)
    connection = {
        "conn_type": "pageconv",
        "host": box.url,
        "password": "SANDBOX-USER-TOKEN",
        "extra": {"calls_per_second": 4},
    }
    return {
        "PYTHONPATH": str(REPOSITORY),
        "PAGECONV_TEST_DESTINATION": (home / "export").as_uri(),
        "PAGECONV_TEST_PAGES": json.dumps(pages),
        "PAGECONV_TEST_WINDOW": json.dumps(window),
        "AIRFLOW_CONN_PAGECONV_DEFAULT": json.dumps(connection),
        "AIRFLOW__CORE__AUTH_MANAGER": "tests.browser.rights.PerDagAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": USERS,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
    }


@pytest.fixture(scope="module")
def logins(airflow: Deployment) -> dict[str, str]:
    """What stands for each user's login; the API is used as the admin."""
    return {user: airflow.log_in(user, PASSWORDS[user]) for user in ("viewer", "admin")}


@pytest.fixture(scope="module")
def window(midnight: datetime) -> dict[str, str]:
    """What each run is told to export."""
    return {"since": (midnight - DAY).isoformat(), "until": midnight.isoformat()}


@pytest.fixture(scope="module")
def runs(
    browser: Browser,
    airflow: Deployment,
    logins: dict[str, str],
    window: dict[str, str],
    box: Sandbox,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """The runs of all DAGs. That of the shop is begun as a user does it: a connection in the form, Test, and Trigger."""
    looking = Looking(browser, airflow.url, pictures(tmp_path_factory.mktemp("pictures")))
    looking.sign_in(logins["admin"])
    page, row = make(looking, box, "shop_connection")
    assert "The access token is the own one of the Page" in press_test(page, row)
    begun = {name: airflow.trigger(name, conf=window) for name in ("branches", "without_outlet", "secret")}
    page = looking.open("/dags/shop")
    page.get_by_role("button", name="Trigger").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Trigger").click()
    dialog.wait_for(state="hidden")
    [run] = airflow.api("GET", "/dags/shop/dagRuns")["dag_runs"]
    complaints = list(looking.unexpected)
    looking.close()
    assert complaints == []
    return {"shop": run["dag_run_id"], **begun}


@pytest.fixture(scope="module")
def ended(airflow: Deployment, runs: dict[str, str]) -> dict[str, str]:
    """All of them, when they have ended well."""
    for name, run_id in runs.items():
        state = airflow.wait_for_end(name, run_id, END_SECONDS)
        assert state == "success", airflow.logs(name)
    return runs


@pytest.fixture
def admin(looking: Looking, logins: dict[str, str]) -> Looking:
    """A look at it as an admin."""
    looking.sign_in(logins["admin"])
    return looking


def requests_of(page: Page) -> list[str]:
    """What the page asks Airflow's API for exports, from now on."""
    asked: list[str] = []
    wanted = re.compile(r"/api/v2/(assets/events|dags/.*/taskInstances)")
    page.on("request", lambda request: asked.append(request.url) if wanted.search(request.url) else None)
    return asked


def open_page(looking: Looking, query: str = "", *, dark: bool = False, **size: int) -> Page:
    page = looking.open(f"{PATH}{query}", dark=dark, **size)
    page.get_by_role("heading", name="Page conversations").wait_for()
    return page


def row_of(page: Page, page_id: str, platform: str = "messenger") -> Any:
    """The strip of a Page, all folders together."""
    return page.get_by_role("group", name=re.compile(f"Page {page_id}, all folders"))


def tab_of(run_id: str, dag_id: str, task_id: str = "export", index: int | None = None) -> str:
    mapped = "" if index is None else f"/mapped/{index}"
    return f"/dags/{dag_id}/runs/{run_id}/tasks/{task_id}{mapped}/plugin/pageconv-export"


# ---- while it is under way


@SINCE_3_3
def test_an_export_that_waits_is_seen_with_its_end_and_its_reason(
    admin: Looking, airflow: Deployment, runs: dict[str, str], box: Sandbox
) -> None:
    """How far, how fast, until when and why, without a look into any log; it comes by itself onto a page that is open."""
    page = open_page(admin)
    first = next(iter(box.pages))
    card = page.locator(".chakra-card__root", has_text=f"Page {first}")
    card.get_by_text(re.compile(r"waiting until \d\d:\d\d:\d\d UTC")).wait_for(timeout=180_000)
    text = card.inner_text()
    assert re.search(
        r"Until \d\d:\d\d:\d\d UTC \(.*\): (the Page's limit is reached \(80006\)|\d+ % of the allowance)", text
    )
    for fact in ("Conversations", "Messages", "Calls", "Limit used", "Lists walked", "Under way for"):
        assert fact in text
    admin.picture(page, "page-under-way")
    tab = admin.open(tab_of(runs["shop"], "shop"), dark=True)
    tab.get_by_test_id("pageconv-export").get_by_text("List back to").wait_for()
    admin.picture(tab, "tab-under-way-dark")
    # A row of each folder, and the Page that no parameter names.
    assert first in tab.get_by_test_id("pageconv-export").inner_text()
    assert tab.get_by_role("cell", name="page_done").count() == 1


# ---- when it has ended


def test_an_export_that_ended_is_seen_with_all_its_figures(
    admin: Looking, airflow: Deployment, ended: dict[str, str], box: Sandbox
) -> None:
    """The same that its result says."""
    result = airflow.xcom("shop", ended["shop"], "export")
    page = open_page(admin, "?days=2")
    first = next(iter(box.pages))
    line = page.get_by_role("row", name=re.compile(first))
    line.wait_for()
    told = line.inner_text()
    for name in ("conversations", "messages", "api_calls", "files"):
        assert f"{result[name]:,}" in told
    assert "published" in told
    assert "shop" in told
    row_of(page, first).locator("rect[data-state=published]").first.wait_for()
    admin.picture(page, "page-exported")


def test_a_task_without_an_outlet_is_there_all_the_same(admin: Looking, ended: dict[str, str], box: Sandbox) -> None:
    """By its result."""
    page = open_page(admin, "?days=2&dag_id=without_outlet")
    page.get_by_role("row", name=re.compile(list(box.pages)[3])).get_by_text("published").wait_for()


def test_mapped_tasks_are_told_apart(admin: Looking, ended: dict[str, str], box: Sandbox) -> None:
    """Each Page on its own row; the link leads to its task, where the tab has its figures."""
    page = open_page(admin, "?days=2&dag_id=branches")
    for index, page_id in enumerate(list(box.pages)[1:3]):
        link = page.get_by_role("row", name=re.compile(page_id)).get_by_role("link")
        assert f"/mapped/{index}" in str(link.get_attribute("href"))
    tab = admin.open(tab_of(ended["branches"], "branches", index=1))
    tab.get_by_text(f"{list(box.pages)[2]} (messenger)").wait_for()


def test_the_tab_says_what_was_exported_withheld_and_where(
    admin: Looking, airflow: Deployment, ended: dict[str, str]
) -> None:
    """By folder, with the manifests."""
    result = airflow.xcom("shop", ended["shop"], "export")
    page = admin.open(tab_of(ended["shop"], "shop"))
    tab = page.get_by_test_id("pageconv-export")
    tab.get_by_text("Duration, all segments").wait_for()
    text = tab.inner_text()
    for manifest in result["manifests"]:
        assert manifest in text
    assert result["destination"] in text
    for folder in result["folders"]:
        assert tab.get_by_role("cell", name=folder, exact=True).count() == 1
    admin.picture(page, "tab-exported")


def test_the_tab_of_another_task_is_one_quiet_sentence(admin: Looking, ended: dict[str, str]) -> None:
    """No table, no error, no further request."""
    page = admin.open(tab_of(ended["shop"], "shop", "other"))
    tab = page.get_by_test_id("pageconv-export")
    tab.get_by_text("This task exports no Page conversations.").wait_for()
    assert tab.inner_text().strip() == "This task exports no Page conversations."


def test_a_click_on_a_window_leads_to_its_run(admin: Looking, ended: dict[str, str], box: Sandbox) -> None:
    """And the keyboard does the same: arrows go from window to window, their numbers are told, Enter follows."""
    first = next(iter(box.pages))
    page = open_page(admin, f"?days=2&page_id={first}")
    row = row_of(page, first)
    row.locator("rect[data-state=published]").first.click()
    page.wait_for_url(re.compile(r"/dags/shop/runs/.*/tasks/export"))
    page.go_back()
    row = row_of(page, first)
    row.wait_for()
    row.focus()
    page.keyboard.press("ArrowLeft")
    tip = page.get_by_role("tooltip")
    tip.get_by_text("messages").wait_for()
    assert "published" in tip.inner_text()
    page.keyboard.press("Escape")
    tip.wait_for(state="hidden")
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"/dags/shop/runs/.*/tasks/export"))


def test_the_navigation_leads_to_the_page(admin: Looking, ended: dict[str, str]) -> None:
    """Under Browse, where its name is not cut."""
    page = admin.open("/")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Page conversations").click()
    page.get_by_role("heading", name="Page conversations").wait_for()
    assert page.url.endswith(f"{PREFIX}{PATH}")


# ---- rights


@SINCE_3_3  # until then asset events are not filtered by the rights on DAGs
def test_a_viewer_sees_nothing_of_a_dag_that_is_not_his(
    looking: Looking, logins: dict[str, str], ended: dict[str, str], box: Sandbox
) -> None:
    """Neither its Page nor its name, on no part of the page; the rest is there."""
    looking.sign_in(logins["viewer"])
    page = open_page(looking, "?days=2")
    page.get_by_role("row", name=re.compile(next(iter(box.pages)))).wait_for()
    content = page.content()
    assert list(box.pages)[4] not in content
    assert "secret" not in page.get_by_test_id("page-conversations").inner_text()


def test_the_same_is_there_for_who_may_see_it(admin: Looking, ended: dict[str, str], box: Sandbox) -> None:
    """So the test before looks at something that is there."""
    page = open_page(admin, "?days=2")
    page.get_by_role("row", name=re.compile(list(box.pages)[4])).wait_for()


@pytest.mark.parametrize("name", ["page", "records", "rules"])
def test_nobody_gets_nothing(airflow: Deployment, logins: dict[str, str], name: str) -> None:
    """Who is not signed in gets a 401 for each file, and what there is not a 404 or the same."""
    address = f"{airflow.url}/pageconv/{__version__}/{name}.js"
    assert status_of(address) == 401
    assert status_of(address, logins["viewer"]) == 200


@pytest.mark.parametrize("path", ["docs", "openapi.json", "redoc", "0/__init__.js", "0/../__init__.py", "0/other.js"])
def test_nothing_else_is_served(airflow: Deployment, logins: dict[str, str], path: str) -> None:
    """No description of the API, no other file."""
    for token in (None, logins["admin"]):
        assert status_of(f"{airflow.url}/pageconv/{path}", token) in (401, 404, 422)


def status_of(url: str, token: str | None = None) -> int:
    request = urllib.request.Request(url, headers={"Cookie": f"_token={token}"} if token else {})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


# ---- when something is not as it should be


def test_a_time_without_exports_says_so(admin: Looking, ended: dict[str, str]) -> None:
    """Where a DAG has none, or is no more, the page says what stands here."""
    page = open_page(admin, "?dag_id=months")  # whose runs are written into the database later
    page.get_by_text("No export in this time").wait_for()
    admin.picture(page, "page-empty")
    admin.tolerate("404")
    open_page(admin, "?dag_id=nobody").get_by_text("No export in this time").wait_for()


def test_an_api_that_fails_is_said_and_asked_again(admin: Looking, ended: dict[str, str], box: Sandbox) -> None:
    """One sentence; when it is well again the page is too, without being reloaded."""
    admin.tolerate("503")
    page = admin.open("/")
    page.route("**/api/v2/dags/**/taskInstances**", lambda route: route.fulfill(status=503, body="no"))
    page.goto(f"{admin.url}{PATH}?days=2")
    page.get_by_role("alert").get_by_text("Airflow answered 503").wait_for()
    page.unroute("**/api/v2/dags/**/taskInstances**")
    page.get_by_role("row", name=re.compile(next(iter(box.pages)))).wait_for()
    assert page.get_by_role("alert").count() == 0


def test_what_the_user_may_not_read_is_said(admin: Looking, ended: dict[str, str], box: Sandbox) -> None:
    """Without asset events the results are still there."""
    admin.tolerate("403")
    page = admin.open("/")
    page.route("**/api/v2/assets/events**", lambda route: route.fulfill(status=403, body="{}"))
    page.goto(f"{admin.url}{PATH}?days=2")
    page.get_by_text("You have no right to read asset events.").wait_for()
    page.get_by_role("row", name=re.compile(next(iter(box.pages)))).wait_for()


# ---- a month of fifty Pages


@pytest.fixture(scope="module")
def month(airflow: Deployment, ended: dict[str, str]) -> None:
    """Written into the database: a day of one Page is missing, and the last one of another failed."""
    subprocess.run(
        [airflow.python, "-m", "tests.browser.months", str(PAGES), str(DAYS)],
        env=airflow.environment,
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )


def test_a_month_of_fifty_pages_takes_twenty_requests_at_the_most(admin: Looking, month: None) -> None:
    """And answers the question of questions: is any window of any Page missing."""
    page = admin.open("/")
    asked = requests_of(page)
    page.goto(f"{admin.url}{PATH}?days=30&dag_id=months")
    page.get_by_text("1 window missing").wait_for()
    page.get_by_text("1 window failed").wait_for()
    page.get_by_text("No export is under way.").wait_for()
    assert 15 <= len(asked) <= 20, asked
    assert page.get_by_role("group", name=re.compile("all folders")).count() == PAGES
    assert page.get_by_text("There are more exports than are shown").count() == 0
    missing = row_of(page, "100200300400003")
    assert missing.locator("rect[data-state=missing]").count() == 1
    missing.scroll_into_view_if_needed()
    missing.locator("rect[data-state=missing]").hover()
    page.get_by_role("tooltip").get_by_text("missing").wait_for()
    admin.picture(page, "page-month")


def test_the_month_in_the_dark(admin: Looking, month: None) -> None:
    """No white frame, nothing that cannot be read: looked at in the picture; here, that the theme reached the page."""
    page = open_page(admin, "?days=30&dag_id=months", dark=True)
    page.get_by_text("1 window missing").wait_for()
    shade = page.get_by_test_id("page-conversations").evaluate(
        "box => { for (let e = box; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;"
        " if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'none'; }"
    )
    lightness = re.match(r"oklch\(([\d.]+)", shade)
    assert lightness, shade
    assert float(lightness[1]) < 0.4, shade
    admin.picture(page, "page-month-dark")


def test_the_table_is_sorted_and_filtered(admin: Looking, month: None) -> None:
    """By a click on a column's name, and by Page and state; the address keeps the choice."""
    from playwright.sync_api import expect

    page = open_page(admin, "?days=30&dag_id=months")
    page.get_by_text("1 window missing").wait_for()
    page.get_by_role("columnheader", name="Messages").get_by_role("button").click()
    cells = page.locator("tbody tr td:nth-child(5)")
    messages = [int(text.strip().replace(",", "")) for text in cells.all_inner_texts()[:20]]
    assert messages == sorted(messages, reverse=True)
    asked = requests_of(page)
    page.get_by_label("State").select_option("failed")
    page.wait_for_url(re.compile("state=failed"))
    expect(page.locator("tbody tr")).to_have_count(1)
    assert len(asked) < 15, "what was just read is not read again"
    page.get_by_label("State").select_option("")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_label("Page", exact=True).select_option("100200300400007")
    page.wait_for_url(re.compile("page_id=100200300400007"))
    expect(page.locator("tbody tr")).to_have_count(DAYS)
    assert set(page.locator("tbody tr td:nth-child(1)").all_inner_texts()) == {"100200300400007"}


@pytest.mark.parametrize("width", [1500, 1100])
def test_nothing_is_cut(admin: Looking, month: None, width: int) -> None:
    """The page is never wider than its window; a table that is wider scrolls within its frame, at 1500 pixels it is not."""
    page = open_page(admin, "?days=30&dag_id=months", width=width, height=1600)
    page.get_by_text("1 window missing").wait_for()
    box = page.get_by_test_id("page-conversations")
    assert box.evaluate("box => box.scrollWidth - box.clientWidth") <= 0
    if width == 1500:
        wider = "frame => frame.scrollWidth - frame.clientWidth"
        frame = page.locator("table").last.locator("xpath=..")
        assert frame.evaluate(wider) <= 0
