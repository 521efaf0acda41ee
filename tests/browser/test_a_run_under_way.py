"""An export as it is seen while it runs. It comes first: the runs that it begins go on during the tests that follow."""

from __future__ import annotations

import re
from datetime import datetime

from airflow_provider_pageconv.sandbox import Sandbox
from tests.browser.conftest import DAY, SINCE_3_3
from tests.browser.looking import Looking
from tests.browser.views import PATH, open_page, tab_of


@SINCE_3_3
def test_an_export_that_waits_is_seen_with_its_end_and_its_reason(
    looking: Looking, runs: dict[str, str], shops: Sandbox
) -> None:
    """How far, how fast, until when and why, without a look into any log; it comes by itself onto a page that is open."""
    page = open_page(looking, height=1020)
    first = next(iter(shops.pages))
    card = page.locator(".chakra-card__root", has_text=f"Page {first}")
    card.get_by_text(re.compile(r"waiting until \d\d:\d\d:\d\d UTC")).wait_for(timeout=180_000)
    text = card.inner_text()
    assert re.search(
        r"Until \d\d:\d\d:\d\d UTC \(.*\): (the Page's limit is reached \(80006\)|\d+ % of the allowance)", text
    )
    for fact in ("Conversations", "Messages", "Calls", "Limit used", "of the lists walked", "Under way for"):
        assert fact in text
    looking.picture(page, "page-under-way")
    tab = looking.open(tab_of(runs["shop"], "shop"), dark=True)
    tab.get_by_test_id("pageconv-export").get_by_text("List back to").wait_for()
    looking.picture(tab, "tab-under-way-dark")
    # A row of each folder, and the Page that no parameter names.
    assert first in tab.get_by_test_id("pageconv-export").inner_text()
    assert tab.get_by_role("cell", name="page_done").count() == 1


def test_an_export_under_way_is_seen_where_airflow_keeps_no_progress(
    looking: Looking, runs: dict[str, str], shops: Sandbox, midnight: datetime
) -> None:
    """As before Airflow 3.3: that it runs or waits, of which window it is, and why there is no more, in a sentence."""
    page = looking.open("/")
    page.route("**/state-store?**", lambda route: route.fulfill(status=422, body="{}"))
    looking.tolerate("422")
    page.goto(f"{looking.url}{PATH}")
    card = page.locator(".chakra-card__root", has_text=f"Page {list(shops.pages)[1]}")
    card.get_by_text("Nothing is known of its progress").wait_for(timeout=180_000)
    text = card.inner_text()
    assert re.search("running|waiting|queued|scheduled", text)
    assert f"{midnight - DAY:%Y-%m-%d}" in text
    page.get_by_role("group", name=re.compile(f"Page {list(shops.pages)[1]}, all folders: 1 under way")).wait_for()
