"""The connection form of Airflow's UI, filled in as whoever sets a connection up does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_pageconv.sandbox import Sandbox
from tests.browser.looking import Looking

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def open_form(looking: Looking, *, dark: bool = False) -> tuple[Page, Locator]:
    """Open the form for a new connection of our type, as a user does."""
    page = looking.open("/connections", dark=dark)
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_role("combobox").fill("Facebook Page")
    page.keyboard.press("Enter")
    form.get_by_text("Access token").wait_for()
    return page, form


def fill(form: Locator, **fields: str) -> None:
    """Write into fields, by the names that the form gives to its inputs."""
    for name, text in fields.items():
        form.locator(f"[name='{name}']").fill(text)


def save(page: Page, form: Locator, conn_id: str) -> Locator:
    """Save it, and return its row in the list."""
    form.get_by_role("button", name="Save").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name=conn_id, exact=True))
    row.wait_for()
    return row


def make(looking: Looking, box: Sandbox, conn_id: str, **fields: str) -> tuple[Page, Locator]:
    """Make a connection to the sandbox in the form; return the list, and its row there."""
    page, form = open_form(looking)
    given = {"connection_id": conn_id, "host": box.url, "login": box.page.id, "password": box.token, "port": "443"}
    fill(form, **given | fields)
    return page, save(page, form, conn_id)


def press_test(page: Page, row: Locator) -> str:
    """Press Test in a row of the list, and return what comes up."""
    row.get_by_role("button", name="Test").click()
    told = page.locator("[data-scope=toast][data-part=root]").filter(has_text="Test Connection")
    told.first.wait_for()
    return told.first.inner_text()
