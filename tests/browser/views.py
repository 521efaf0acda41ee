"""Our page, and our tab of a task, opened as a user does who has their addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.looking import Looking

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATH = "/plugin/page-conversations"


def open_page(looking: Looking, query: str = "", *, dark: bool = False, **size: int) -> Page:
    """Open the page, and wait for its head.

    :param query: of its address, with the question mark.
    :param size: ``width`` and ``height`` of the window.
    """
    page = looking.open(f"{PATH}{query}", dark=dark, **size)
    page.get_by_role("heading", name="Page conversations").wait_for()
    return page


def tab_of(run_id: str, dag_id: str, task_id: str = "export", index: int | None = None) -> str:
    """The path of the tab of a task instance."""
    mapped = "" if index is None else f"/mapped/{index}"
    return f"/dags/{dag_id}/runs/{run_id}/tasks/{task_id}{mapped}/plugin/pageconv-export"
