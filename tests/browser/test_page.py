"""The page "Page conversations" and the tab "Export", as people look at them: below a path, as an admin, a viewer, and nobody."""

from __future__ import annotations

import re
import subprocess
import urllib.error
import urllib.request
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from airflow_provider_pageconv import __version__
from airflow_provider_pageconv.sandbox import Sandbox
from tests.browser.conftest import PREFIX, SINCE_3_3
from tests.browser.looking import Looking
from tests.browser.views import PATH, open_page, tab_of
from tests.servers.airflow_home import REPOSITORY
from tests.servers.deployment import Deployment

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

PAGES, DAYS = 50, 30
END_SECONDS = 400
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def ended(airflow: Deployment, runs: dict[str, str]) -> dict[str, str]:
    """All of them, when they have ended well."""
    for name, run_id in runs.items():
        state = airflow.wait_for_end(name, run_id, END_SECONDS)
        assert state == "success", airflow.logs(name)
    return runs


def requests_of(page: Page) -> list[str]:
    """What the page asks Airflow's API for exports, from now on."""
    asked: list[str] = []
    wanted = re.compile(r"/api/v2/(assets/events|dags/.*/taskInstances)")
    page.on("request", lambda request: asked.append(request.url) if wanted.search(request.url) else None)
    return asked


def row_of(page: Page, page_id: str) -> Locator:
    """The strip of a Page, all folders together."""
    return page.get_by_role("group", name=re.compile(f"Page {page_id}, all folders"))


# ---- when it has ended


def test_an_export_that_ended_is_seen_with_all_its_figures(
    looking: Looking, airflow: Deployment, ended: dict[str, str], shops: Sandbox
) -> None:
    """The same that its result says."""
    result = airflow.xcom("shop", ended["shop"], "export")
    page = open_page(looking, "?days=2")
    first = next(iter(shops.pages))
    line = page.get_by_role("row", name=re.compile(first))
    line.wait_for()
    told = line.inner_text()
    for name in ("conversations", "messages", "api_calls", "files"):
        assert f"{result[name]:,}" in told
    assert "published" in told
    assert "shop" in told
    row_of(page, first).locator("rect[data-state=published]").first.wait_for()
    looking.picture(page, "page-exported")


def test_a_task_without_an_outlet_is_there_all_the_same(
    looking: Looking, ended: dict[str, str], shops: Sandbox
) -> None:
    """By its result."""
    page = open_page(looking, "?days=2&dag_id=without_outlet")
    page.get_by_role("row", name=re.compile(list(shops.pages)[3])).get_by_text("published").wait_for()


def test_mapped_tasks_are_told_apart(looking: Looking, ended: dict[str, str], shops: Sandbox) -> None:
    """Each Page on its own row; the link leads to its task, where the tab has its figures."""
    page = open_page(looking, "?days=2&dag_id=branches")
    for index, page_id in enumerate(list(shops.pages)[1:3]):
        link = page.get_by_role("row", name=re.compile(page_id)).get_by_role("link")
        assert f"/mapped/{index}" in str(link.get_attribute("href"))
    tab = looking.open(tab_of(ended["branches"], "branches", index=1))
    tab.get_by_text(f"{list(shops.pages)[2]} (messenger)").wait_for()


def test_the_tab_says_what_was_exported_withheld_and_where(
    looking: Looking, airflow: Deployment, ended: dict[str, str]
) -> None:
    """By folder, with the manifests."""
    result = airflow.xcom("shop", ended["shop"], "export")
    page = looking.open(tab_of(ended["shop"], "shop"))
    tab = page.get_by_test_id("pageconv-export")
    tab.get_by_text("Duration, waits included").wait_for()
    text = tab.inner_text()
    for manifest in result["manifests"]:
        assert manifest in text
    assert result["destination"] in text
    for folder in result["folders"]:
        assert tab.get_by_role("cell", name=folder, exact=True).count() == 1
    looking.picture(page, "tab-exported")


def test_the_tab_of_another_task_is_one_quiet_sentence(looking: Looking, ended: dict[str, str]) -> None:
    """No table, no error, no further request."""
    page = looking.open(tab_of(ended["shop"], "shop", "other"))
    tab = page.get_by_test_id("pageconv-export")
    tab.get_by_text("This task exports no Page conversations.").wait_for()
    assert tab.inner_text().strip() == "This task exports no Page conversations."


def test_a_click_on_a_window_leads_to_its_run(looking: Looking, ended: dict[str, str], shops: Sandbox) -> None:
    """And the keyboard does the same: arrows go from window to window, their numbers are told, Enter follows."""
    first = next(iter(shops.pages))
    page = open_page(looking, f"?days=2&page_id={first}")
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


def test_the_navigation_leads_to_the_page(looking: Looking, ended: dict[str, str]) -> None:
    """Under Browse, where its name is not cut."""
    page = looking.open("/")
    page.get_by_role("button", name="Browse").click()
    page.get_by_role("menuitem", name="Page conversations").click()
    page.get_by_role("heading", name="Page conversations").wait_for()
    assert page.url.endswith(f"{PREFIX}{PATH}")


# ---- rights


@SINCE_3_3  # until then asset events are not filtered by the rights on DAGs
def test_a_viewer_sees_nothing_of_a_dag_that_is_not_his(
    looking: Looking, logins: dict[str, str], ended: dict[str, str], shops: Sandbox
) -> None:
    """Neither its Page nor its name, on no part of the page; the rest is there."""
    looking.sign_in(logins["viewer"])
    page = open_page(looking, "?days=2")
    page.get_by_role("row", name=re.compile(next(iter(shops.pages)))).wait_for()
    content = page.content()
    assert list(shops.pages)[4] not in content
    assert "secret" not in page.get_by_test_id("page-conversations").inner_text()


def test_the_same_is_there_for_who_may_see_it(looking: Looking, ended: dict[str, str], shops: Sandbox) -> None:
    """So the test before looks at something that is there."""
    page = open_page(looking, "?days=2")
    page.get_by_role("row", name=re.compile(list(shops.pages)[4])).wait_for()


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


def test_a_time_without_exports_says_so(looking: Looking, ended: dict[str, str]) -> None:
    """Where a DAG has none, or is no more, the page says what stands here."""
    page = open_page(looking, "?dag_id=months")  # whose runs are written into the database later
    page.get_by_text("No export in this time").wait_for()
    looking.picture(page, "page-empty")
    looking.tolerate("404")
    open_page(looking, "?dag_id=nobody").get_by_text("No export in this time").wait_for()


def test_an_api_that_fails_is_said_and_asked_again(looking: Looking, ended: dict[str, str], shops: Sandbox) -> None:
    """One sentence; when it is well again the page is too, without being reloaded."""
    looking.tolerate("503")
    page = looking.open("/")
    page.route("**/api/v2/dags/**/taskInstances**", lambda route: route.fulfill(status=503, body="no"))
    page.goto(f"{looking.url}{PATH}?days=2")
    page.get_by_role("alert").get_by_text("Airflow answered 503").wait_for()
    page.unroute("**/api/v2/dags/**/taskInstances**")
    page.get_by_role("row", name=re.compile(next(iter(shops.pages)))).wait_for()
    page.get_by_role("alert").wait_for(state="detached")


def test_what_the_user_may_not_read_is_said(looking: Looking, ended: dict[str, str], shops: Sandbox) -> None:
    """Without asset events the results are still there."""
    looking.tolerate("403")
    page = looking.open("/")
    page.route("**/api/v2/assets/events**", lambda route: route.fulfill(status=403, body="{}"))
    page.goto(f"{looking.url}{PATH}?days=2")
    page.get_by_text("You have no right to read asset events.").wait_for()
    page.get_by_role("row", name=re.compile(next(iter(shops.pages)))).wait_for()


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


def test_a_month_of_fifty_pages_takes_twenty_requests_at_the_most(looking: Looking, month: None) -> None:
    """And answers the question of questions: is any window of any Page missing."""
    page = looking.open("/")
    asked = requests_of(page)
    page.goto(f"{looking.url}{PATH}?days=30&dag_id=months")
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
    looking.picture(page, "page-month")


def test_the_month_in_the_dark(looking: Looking, month: None) -> None:
    """No white frame, nothing that cannot be read: looked at in the picture; here, that the theme reached the page."""
    page = open_page(looking, "?days=30&dag_id=months", dark=True)
    page.get_by_text("1 window missing").wait_for()
    shade = page.get_by_test_id("page-conversations").evaluate(
        "box => { for (let e = box; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;"
        " if (c !== 'rgba(0, 0, 0, 0)') return c; } return 'none'; }"
    )
    lightness = re.match(r"oklch\(([\d.]+)", shade)
    assert lightness, shade
    assert float(lightness[1]) < 0.4, shade
    looking.picture(page, "page-month-dark")


def test_the_table_is_sorted_and_filtered(looking: Looking, month: None) -> None:
    """By a click on a column's name, and by Page and state; the address keeps the choice."""
    from playwright.sync_api import expect

    page = open_page(looking, "?days=7&dag_id=months")
    page.get_by_text("1 window failed").wait_for()
    page.get_by_role("columnheader", name="Messages").get_by_role("button").click()
    cells = page.locator("tbody tr td:nth-child(5)")
    messages = [int(text.strip().replace(",", "")) for text in cells.all_inner_texts()[:20]]
    assert messages == sorted(messages, reverse=True)
    asked = requests_of(page)
    page.get_by_label("State").select_option("failed")
    page.wait_for_url(re.compile("state=failed"))
    expect(page.locator("tbody tr")).to_have_count(1)
    assert len(asked) < 5, "what was just read is not read again"
    page.get_by_label("State").select_option("")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_label("Page", exact=True).select_option("100200300400007")
    page.wait_for_url(re.compile("page_id=100200300400007"))
    # Each day's export ends twelve minutes after midnight: until then there is one of eight days ago as well.
    now = datetime.now(timezone.utc)
    expect(page.locator("tbody tr")).to_have_count(8 if (now.hour, now.minute) < (0, 12) else 7)
    assert set(page.locator("tbody tr td:nth-child(1)").all_inner_texts()) == {"100200300400007"}


def test_nothing_is_cut(looking: Looking, month: None) -> None:
    """The page is never wider than its window; a table that is wider scrolls within its frame, at 1500 pixels it is not."""
    page = open_page(looking, "?days=7&dag_id=months")
    page.get_by_text("1 window failed").wait_for()
    wider = "box => box.scrollWidth - box.clientWidth"
    for width in (1100, 1500):
        page.set_viewport_size({"width": width, "height": 1600})
        assert page.get_by_test_id("page-conversations").evaluate(wider) <= 0
    assert page.locator("table").last.locator("xpath=..").evaluate(wider) <= 0
